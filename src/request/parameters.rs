//! `ACTION_PARAMETERS`: from text to checked parameters, with errors that say where.

use std::fs::File;
use std::io::Read;

use actions::action::Action;
use actions::names::nearest;
use serde_json::{Map, Value};

use super::set;

/// More than any parameters need; a file of that size is the wrong file.
const LARGEST: usize = 512 << 10;

/// The text, from the variable or the file.
pub(super) fn text(variable: Option<&String>, file: Option<&String>, problems: &mut Vec<String>) -> String {
    let inline = set(variable.map(String::as_str));
    let Some(path) = set(file.map(String::as_str)) else {
        return inline.unwrap_or("{}").to_owned();
    };
    if inline.is_some() {
        problems.push("ACTION_PARAMETERS, ACTION_PARAMETERS_FILE: expected one of them, got both".to_owned());
    }
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST as u64 + 1).read_to_string(&mut text));
    if let Err(error) = read {
        problems.push(format!("ACTION_PARAMETERS_FILE: failed to read {path:?}: {error}"));
    }
    if text.trim().is_empty() { "{}".to_owned() } else { text }
}

/// The names of an action's parameters.
pub fn fields<A: Action>() -> Vec<String> {
    let schema = schemars::schema_for!(A);
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.map(|properties| properties.keys().cloned().collect()).unwrap_or_default()
}

/// The parameters, or everything that is wrong with them.
pub fn parse<A: Action>(text: &str) -> Result<A, Vec<String>> {
    if text.len() > LARGEST {
        return Err(vec![format!("ACTION_PARAMETERS: expected at most {LARGEST} bytes, has {}", text.len())]);
    }
    let unknown = unknown_fields::<A>(text)?;
    if !unknown.is_empty() {
        return Err(unknown);
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let parsed: A = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let (path, error) = (error.path().to_string(), error.inner());
        let place = if path == "." { String::new() } else { format!("{path}: ") };
        vec![format!("ACTION_PARAMETERS: {place}{error}")]
    })?;
    json.end()
        .map_err(|error| vec![format!("ACTION_PARAMETERS: expected one JSON object and nothing after it: {error}")])?;
    Ok(parsed)
}

/// Derived structs would read an array as an object without names, and name only the first unknown field.
fn unknown_fields<A: Action>(text: &str) -> Result<Vec<String>, Vec<String>> {
    if !text.trim_start().starts_with('{') {
        let shown: String = text.chars().take(20).collect();
        return Err(vec![format!("ACTION_PARAMETERS: expected a JSON object such as {}, got {shown:?}", A::example())]);
    }
    let given: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| vec![format!("ACTION_PARAMETERS: not valid JSON: {error}")])?;
    let known = fields::<A>();
    let unknown = given.keys().filter(|name| !known.contains(name));
    Ok(unknown
        .map(|name| {
            let shown: String = name.chars().take(60).collect();
            let hint = nearest(name, known.iter().map(String::as_str))
                .map(|one| format!(", did you mean {one}?"))
                .unwrap_or_default();
            format!("ACTION_PARAMETERS: unknown field {shown:?}{hint} (known: {})", known.join(", "))
        })
        .collect())
}
