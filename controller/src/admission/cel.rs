//! Values as CEL literals.

use std::collections::BTreeMap;

use serde_json::Value;

/// A string.
pub fn text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A list of strings.
pub fn list(all: &[impl AsRef<str>]) -> String {
    format!("[{}]", all.iter().map(|one| text(one.as_ref())).collect::<Vec<_>>().join(", "))
}

/// A map from strings to what are literals already.
pub fn map(all: &BTreeMap<String, String>) -> String {
    let pairs: Vec<_> = all.iter().map(|(key, value)| format!("{}: {value}", text(key))).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// A piece of JSON.
pub fn value(json: &Value) -> String {
    match json {
        Value::String(one) => text(one),
        Value::Array(items) => format!("[{}]", items.iter().map(value).collect::<Vec<_>>().join(", ")),
        // The values of a map are of one type, unless it is told not to look.
        Value::Object(fields) => {
            map(&fields.iter().map(|(key, one)| (key.clone(), format!("dyn({})", value(one)))).collect())
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case(json!("a'b\\c"), r"'a\'b\\c'")]
    #[case(json!({ "drop": ["ALL"], "run": true, "n": 1 }), "{'drop': dyn(['ALL']), 'n': dyn(1), 'run': dyn(true)}")]
    #[case(json!(null), "null")]
    fn json_as_cel(#[case] json: Value, #[case] cel: &str) {
        assert_eq!(value(&json), cel);
    }
}
