//! Parses text into a checked request: strictly, with all errors at once, each with its place.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::text::did_you_mean;

/// The longest text of one request: more than any parameters need. A larger file is the wrong file.
pub const LARGEST: usize = 512 << 10;

/// Returns the names of a type's fields.
pub fn fields<T: JsonSchema>() -> Vec<String> {
    let schema = schemars::schema_for!(T);
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.map(|properties| properties.keys().cloned().collect()).unwrap_or_default()
}

/// Parses one JSON object, or returns everything that is wrong with it.
pub fn object<T: DeserializeOwned + JsonSchema>(name: &str, text: &str, example: &Value) -> Result<T, Vec<String>> {
    check(name, text, example, &fields::<T>())?;
    read(name, text).map_err(|problem| vec![problem])
}

/// Checks that the text is a JSON object without unknown fields. Derived structs would read an array as an object
/// without names, and name only the first unknown field.
pub fn check(name: &str, text: &str, example: &Value, known: &[String]) -> Result<(), Vec<String>> {
    if text.len() > LARGEST {
        return Err(vec![format!("{name}: expected at most {LARGEST} bytes, has {}", text.len())]);
    }
    if !text.trim_start().starts_with('{') {
        let shown: String = text.chars().take(20).collect();
        return Err(vec![format!("{name}: expected a JSON object such as {example}, got {shown:?}")]);
    }
    let given: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| vec![format!("{name}: not valid JSON: {error}")])?;
    let unknown = given.keys().filter(|field| !known.contains(field));
    let problems: Vec<String> = unknown
        .map(|field| {
            let shown: String = field.chars().take(60).collect();
            let hint = did_you_mean(field, known.iter().map(String::as_str));
            format!("{name}: unknown field {shown:?}{hint} (known: {})", known.join(", "))
        })
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Reads one JSON object, or returns what is wrong with it and where.
pub fn read<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, String> {
    let mut json = serde_json::Deserializer::from_str(text);
    let parsed: T = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let (path, error) = (error.path().to_string(), error.inner());
        let place = if path == "." { String::new() } else { format!("{path}: ") };
        format!("{name}: {place}{error}")
    })?;
    json.end().map_err(|error| format!("{name}: expected one JSON object and nothing after it: {error}"))?;
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Neither a byte more nor a byte less.
    #[test]
    fn a_text_has_a_largest_length() {
        let of = |length: usize| check("X", &format!("{{{}}}", " ".repeat(length - 2)), &Value::Null, &[]);
        assert_eq!(of(LARGEST), Ok(()));
        assert_eq!(of(LARGEST + 1), Err(vec![format!("X: expected at most {LARGEST} bytes, has {}", LARGEST + 1)]));
        assert_eq!(LARGEST, 524_288);
    }
}
