//! Hides what may be secret in an event, by the runner's own rules.

use actions::export::redact_text::{Redactor, hide_in_text};
use serde_json::Value;

/// Returns a text without what looks like a secret.
pub fn text(text: &str) -> String {
    let mut redactor = Redactor::default();
    let lines = text.split('\n').map(|line| String::from_utf8_lossy(&redactor.line(line.as_bytes()).0).into_owned());
    hide_in_text(&lines.collect::<Vec<_>>().join("\n"))
}

/// Hides the strings in a value that look like secrets, by themselves or by the name of their field.
pub fn value(value: &mut Value) {
    within("", value);
}

fn within(name: &str, value: &mut Value) {
    match value {
        Value::Object(fields) => fields.iter_mut().for_each(|(name, field)| within(name, field)),
        Value::Array(items) => items.iter_mut().for_each(|item| within(name, item)),
        Value::String(own) => {
            let named = format!("{name}: \"{}\"", own.replace(['"', '\n'], " "));
            let by_name = !name.is_empty() && text(&named).contains(&format!("{name}: \"[REDACTED]"));
            *own = if by_name { "[REDACTED]".to_owned() } else { text(own) };
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hides_by_the_value_and_by_the_name() {
        let mut all = json!({
            "replicas": 3, "password": "hunter2hunter2", "note": "use Bearer abcdefghijklmnop", "list": ["ok", "token=abcdef"],
            "destination": { "url": "https://h/x?X-Amz-Signature=abcdef" }, "containers": ["web"],
        });
        value(&mut all);
        let text = all.to_string();
        for secret in ["hunter2", "abcdef"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert_eq!((&all["replicas"], &all["containers"]), (&json!(3), &json!(["web"])));
    }
}
