//! Parses text into a checked request: strictly, with all errors at once, each with its place.
//!
//! An error tells the kind of what it found and the place, never the value: the text may be of another file than was meant,
//! and what stands in the wrong field may be a secret of any length.

use std::borrow::Cow;

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
        return Err(vec![format!("{name}: expected a JSON object such as {example}, got {}", kind(text))]);
    }
    let given: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| vec![format!("{name}: not valid JSON: {}", told(&error))])?;
    let unknown = given.keys().filter(|field| !known.contains(field));
    let problems: Vec<String> = unknown
        .map(|field| {
            let hint = did_you_mean(field, known.iter().map(String::as_str));
            format!("{name}: unknown field {}{hint} (known: {})", named(field), known.join(", "))
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
        format!("{name}: {place}{}", told(error))
    })?;
    json.end().map_err(|error| format!("{name}: expected one JSON object and nothing after it: {}", told(&error)))?;
    Ok(parsed)
}

/// Returns an error of serde's without the value that it quotes: `invalid type: string, expected i64 at line 1 column 14`.
/// Our own types' errors quote none.
pub fn told(error: &serde_json::Error) -> String {
    let text = error.to_string();
    // The value may hold these words too, what is expected does not: the last ones count.
    let Some((found, expected)) = text.rsplit_once(", expected ") else { return text };
    let quoted = |head: &str| found.strip_prefix(head);
    for head in ["invalid type: ", "invalid value: "] {
        if let Some(found) = quoted(head) {
            let kind = found.split(['"', '`']).next().unwrap_or_default().trim_end();
            let range = if head == "invalid value: " { " of a size that fits" } else { "" };
            return format!("{head}{kind}, expected {}", in_words(expected, range));
        }
    }
    for head in ["unknown variant `", "unknown field `"] {
        if let Some(found) = quoted(head) {
            let candidates = expected.split('`').skip(1).step_by(2);
            let hint = did_you_mean(found.trim_end_matches('`'), candidates);
            return format!("{}, expected {expected}{hint}", head.trim_end_matches(" `"));
        }
    }
    text
}

/// Returns what is expected in the words of JSON: serde names the numbers and objects of Rust. Where it stands follows after ` at `.
fn in_words<'a>(expected: &'a str, size: &str) -> Cow<'a, str> {
    let (what, place) = expected.find(" at ").map_or((expected, ""), |at| expected.split_at(at));
    let size = match what {
        "i8" | "i16" | "i32" | "i64" | "isize" => size,
        "u8" | "u16" | "u32" | "u64" | "usize" => ", 0 or more",
        _ => "",
    };
    let words = match what {
        "i8" | "i16" | "i32" | "i64" | "isize" | "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number",
        "f32" | "f64" => "a number",
        "a sequence" => "an array",
        "a map" => "an object",
        _ if what.starts_with("struct ") => "an object",
        _ => return Cow::Borrowed(expected),
    };
    Cow::Owned(format!("{words}{size}{place}"))
}

/// Returns the kind of what stands in place of an object.
fn kind(text: &str) -> &'static str {
    match serde_json::from_str(text) {
        Ok(Value::Array(_)) => "an array",
        Ok(Value::String(_)) => "a string",
        Ok(Value::Number(_)) => "a number",
        Ok(_) => "null, true or false",
        Err(_) if text.trim_start().starts_with('[') => "an array",
        Err(_) => "text that is no JSON",
    }
}

/// Returns a field's name, or its length if it does not look like one: letters, the first of them a small one.
fn named(field: &str) -> String {
    const LONGEST: usize = 30;
    let letters = field.chars().all(|c| c.is_ascii_alphabetic()) && field.starts_with(|c: char| c.is_ascii_lowercase());
    if letters && field.len() <= LONGEST {
        format!("{field:?}")
    } else {
        format!("of {} characters", field.chars().count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// Neither a byte more nor a byte less.
    #[test]
    fn a_text_has_a_largest_length() {
        let of = |length: usize| check("X", &format!("{{{}}}", " ".repeat(length - 2)), &Value::Null, &[]);
        assert_eq!(of(LARGEST), Ok(()));
        assert_eq!(of(LARGEST + 1), Err(vec![format!("X: expected at most {LARGEST} bytes, has {}", LARGEST + 1)]));
        assert_eq!(LARGEST, 524_288);
    }

    #[rstest]
    #[case("\"many\"", "number: invalid type: string, expected a whole number at line 1 column 16")]
    #[case("1.5", "number: invalid type: floating point, expected a whole number at line")]
    #[case("99999999999999999999", "number: invalid type: floating point, expected a whole number at line")]
    fn a_number_is_called_whole(#[case] value: &str, #[case] says: &str) {
        #[derive(Debug, serde::Deserialize)]
        struct Any {
            #[serde(rename = "number")]
            _number: i64,
        }
        let error = read::<Any>("X", &format!("{{\"number\":{value}}}")).unwrap_err();
        assert!(error.starts_with(&format!("X: {says}")), "{error}");
    }

    #[rstest]
    #[case("u64 at line 1 column 2", "a whole number, 0 or more at line 1 column 2")]
    #[case("f64", "a number")]
    #[case("struct Policy at line 3 column 4", "an object at line 3 column 4")]
    #[case("a sequence", "an array")]
    #[case("a duration such as 90s at line 1 column 2", "a duration such as 90s at line 1 column 2")]
    #[case("`refuse` or `ignore`", "`refuse` or `ignore`")]
    fn what_is_expected_is_told_in_words(#[case] expected: &str, #[case] words: &str) {
        assert_eq!(in_words(expected, ""), words);
    }
}
