//! Hides what may be secret in an event, by the runner's own rules.

use actions::export::redact_text::{Redactor, hide_in_text, names_a_secret};
use serde_json::Value;

/// Returns a text without what looks like a secret.
pub fn text(text: &str) -> String {
    let mut redactor = Redactor::default();
    let lines = text.split('\n').map(|line| String::from_utf8_lossy(&redactor.line(line.as_bytes()).0).into_owned());
    hide_in_text(&lines.collect::<Vec<_>>().join("\n"))
}

/// Hides what looks like a secret in a value: by itself, by the name of its field or of one around it, or by the `name` beside
/// its `value`.
pub fn value(value: &mut Value) {
    within(value, false);
}

fn within(value: &mut Value, secret: bool) {
    match value {
        Value::Object(fields) => {
            let named = fields.get("name").and_then(Value::as_str).is_some_and(names_a_secret);
            for (name, field) in fields {
                within(field, secret || names_a_secret(name) || named && name == "value");
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| within(item, secret)),
        Value::String(_) | Value::Number(_) if secret => *value = Value::from("[REDACTED]"),
        Value::String(own) => *own = text(own),
        Value::Number(_) | Value::Bool(_) | Value::Null => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hides_by_the_value_and_by_the_name() {
        let mut all = json!({
            "replicas": 3, "password": "x'hunter2", "apiKey": 7_777_777, "tokens": ["one-hunter2"], "credentials": { "value": "hunter2" },
            "env": [{ "name": "DB_PASSWORD", "value": "hunter2" }, { "name": "MODE", "value": "fast" }], "note": "use Bearer abcdefghijklmnop", "list": ["ok", "token=abcdef"],
            "destination": { "url": "https://h/x?X-Amz-Signature=abcdef" }, "containers": ["web"],
        });
        value(&mut all);
        let text = all.to_string();
        for secret in ["hunter2", "abcdef", "7777777"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert_eq!((&all["replicas"], &all["containers"]), (&json!(3), &json!(["web"])));
        assert_eq!(all["env"][1]["value"], "fast");
    }
}
