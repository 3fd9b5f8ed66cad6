//! Tables, and where they go in a document.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// A table.
pub fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        text.push_str(&format!("| {} |\n", row.join(" | ").replace('\n', " ")));
    }
    text
}

/// The fields of a schema's object, with their defaults and meanings.
pub fn fields(schema: &Value) -> String {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let rows = schema["properties"].as_object().into_iter().flatten().map(|(name, field)| {
        let default = match field.get("default") {
            Some(Value::Null) | None if required.contains(&name.as_str()) => "**needed**".to_owned(),
            Some(Value::Null) | None => String::new(),
            Some(value) => format!("`{value}`"),
        };
        let mut meaning = field["description"].as_str().unwrap_or_default().to_owned();
        if let Some(choices) = reference(field).and_then(|reference| schema.pointer(reference.trim_start_matches('#')))
        {
            for choice in
                choices["oneOf"].as_array().into_iter().flatten().filter(|choice| choice.get("const").is_some())
            {
                meaning.push_str(&format!(
                    " `{}`: {}",
                    choice["const"].as_str().unwrap_or_default(),
                    choice["description"].as_str().unwrap_or_default()
                ));
            }
        }
        vec![format!("`{name}`"), kind(schema, field), default, meaning]
    });
    let text = table(&["field", "type", "default", "meaning"], rows);
    if text.lines().count() > 2 { text } else { "None.\n".to_owned() }
}

/// What a field is defined by elsewhere, also where it may be absent.
fn reference(field: &Value) -> Option<&str> {
    let either = field["anyOf"].as_array().and_then(|either| either.iter().find_map(|one| one["$ref"].as_str()));
    field["$ref"].as_str().or(either)
}

fn kind(schema: &Value, field: &Value) -> String {
    let definition = reference(field).and_then(|reference| schema.pointer(reference.trim_start_matches('#')));
    match (&field["type"], definition) {
        (Value::String(one), _) => one.clone(),
        (Value::Array(several), _) => {
            several.iter().filter_map(Value::as_str).filter(|one| *one != "null").collect::<Vec<_>>().join(" or ")
        }
        (_, Some(definition)) if definition.get("oneOf").is_some() => "one of".to_owned(),
        _ => "object".to_owned(),
    }
}

/// The document with its generated blocks filled: what stands between `<!-- generated: name -->` and `<!-- end -->`.
pub fn fill(path: &Path, blocks: &[(&str, &String)]) -> String {
    let mut document = fs::read_to_string(path).unwrap_or_default();
    for (name, text) in blocks {
        let (begin, end) = (format!("<!-- generated: {name} -->\n"), "<!-- end -->");
        let start =
            document.find(&begin).unwrap_or_else(|| panic!("{} has no place for {name}", path.display())) + begin.len();
        let stop =
            document[start..].find(end).unwrap_or_else(|| panic!("{}: {name} has no end", path.display())) + start;
        document.replace_range(start..stop, text);
    }
    document
}
