//! `ACTION_PARAMETERS`: from text to checked parameters, with errors that say where.

use std::fs::File;
use std::io::Read;

use actions::action::Action;
use actions::names::nearest;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::set;

/// More than any parameters need; a file of that size is the wrong file.
const LARGEST: usize = 512 << 10;

/// The text, from the variable or the file (`<variable>_FILE`); `None` when neither is set.
pub(super) fn text(
    name: &str,
    variable: Option<&String>,
    file: Option<&String>,
    problems: &mut Vec<String>,
) -> Option<String> {
    let inline = set(variable.map(String::as_str));
    let Some(path) = set(file.map(String::as_str)) else {
        return inline.map(str::to_owned);
    };
    if inline.is_some() {
        problems.push(format!("{name}, {name}_FILE: expected one of them, got both"));
    }
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST as u64 + 1).read_to_string(&mut text));
    if let Err(error) = read {
        problems.push(format!("{name}_FILE: failed to read {path:?}: {error}"));
        return None;
    }
    Some(text)
}

/// The names of a type's fields.
pub fn fields<T: JsonSchema>() -> Vec<String> {
    let schema = schemars::schema_for!(T);
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.map(|properties| properties.keys().cloned().collect()).unwrap_or_default()
}

/// The parameters, or everything that is wrong with them.
pub fn parse<A: Action>(text: &str) -> Result<A, Vec<String>> {
    object("ACTION_PARAMETERS", text, &A::example())
}

/// One JSON object of a variable, or everything that is wrong with it.
pub(super) fn object<T: DeserializeOwned + JsonSchema>(
    name: &str,
    text: &str,
    example: &Value,
) -> Result<T, Vec<String>> {
    if text.len() > LARGEST {
        return Err(vec![format!("{name}: expected at most {LARGEST} bytes, has {}", text.len())]);
    }
    let unknown = unknown_fields::<T>(name, text, example)?;
    if !unknown.is_empty() {
        return Err(unknown);
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let parsed: T = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let (path, error) = (error.path().to_string(), error.inner());
        let place = if path == "." { String::new() } else { format!("{path}: ") };
        vec![format!("{name}: {place}{error}")]
    })?;
    json.end().map_err(|error| vec![format!("{name}: expected one JSON object and nothing after it: {error}")])?;
    Ok(parsed)
}

/// Derived structs would read an array as an object without names, and name only the first unknown field.
fn unknown_fields<T: JsonSchema>(name: &str, text: &str, example: &Value) -> Result<Vec<String>, Vec<String>> {
    if !text.trim_start().starts_with('{') {
        let shown: String = text.chars().take(20).collect();
        return Err(vec![format!("{name}: expected a JSON object such as {example}, got {shown:?}")]);
    }
    let given: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| vec![format!("{name}: not valid JSON: {error}")])?;
    let known = fields::<T>();
    let unknown = given.keys().filter(|field| !known.contains(field));
    Ok(unknown
        .map(|field| {
            let shown: String = field.chars().take(60).collect();
            let hint = nearest(field, known.iter().map(String::as_str))
                .map(|one| format!(", did you mean {one}?"))
                .unwrap_or_default();
            format!("{name}: unknown field {shown:?}{hint} (known: {})", known.join(", "))
        })
        .collect())
}
