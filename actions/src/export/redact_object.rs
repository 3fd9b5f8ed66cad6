//! Keeps values that may be secret out of results: replaces them by a short hash, salted with the target's UID, so that
//! a change is visible and the value cannot be looked up in a table.

use contract::result::Change;
use contract::text;
use serde_json::Value;

/// Fields of a container with values that may be secret.
const LISTS: [&str; 2] = ["args", "command"];
/// The annotation in which `kubectl apply` keeps the whole object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Hides the values of a change that may be secret.
pub fn hide(mut change: Change, salt: &str) -> Change {
    for operation in change.patch.as_mut().and_then(Value::as_array_mut).into_iter().flatten() {
        let path = operation.get("path").and_then(Value::as_str).unwrap_or_default().to_owned();
        if let Some(value) = operation.get_mut("value") {
            if path_is_secret(&path) { hash_all(value, salt) } else { walk(value, within_env(&path), salt) }
        }
    }
    change
}

/// Hides the values of an object that may be secret.
pub fn hide_in_object(object: &mut Value, salt: &str) {
    walk(object, false, salt);
}

/// Returns whether the path leads to such a value itself: `/spec/template/spec/containers/0/env/2/value`.
fn path_is_secret(path: &str) -> bool {
    let parts: Vec<String> = path.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect();
    let has = |name: &str| parts.iter().any(|part| part == name);
    LISTS.iter().any(|list| has(list))
        || has(LAST_APPLIED)
        || (has("env") && parts.last().is_some_and(|part| part == "value"))
}

fn within_env(path: &str) -> bool {
    path.split('/').any(|part| part == "env")
}

fn walk(value: &mut Value, in_env: bool, salt: &str) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                if LISTS.contains(&key.as_str()) || key == LAST_APPLIED || (in_env && key == "value") {
                    hash_all(field, salt);
                } else {
                    walk(field, in_env || key == "env", salt);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| walk(item, in_env, salt)),
        _ => {}
    }
}

fn hash_all(value: &mut Value, salt: &str) {
    match value {
        Value::String(text) => *text = format!("hash:{}", text::hash(&format!("{salt}/{text}"))),
        Value::Array(items) => items.iter_mut().for_each(|item| hash_all(item, salt)),
        Value::Object(fields) => fields.values_mut().for_each(|field| hash_all(field, salt)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::result::{ObjectReference, Operation};
    use rstest::rstest;
    use serde_json::json;

    fn hidden(operation: Value) -> String {
        let object = ObjectReference {
            api_version: "apps/v1".into(),
            kind: "Deployment".into(),
            namespace: None,
            name: "web".into(),
            uid: None,
            subresource: None,
        };
        hide(Change { object, operation: Operation::Patch, patch: Some(json!([operation])) }, "u")
            .patch
            .unwrap()
            .to_string()
    }

    #[rstest]
    #[case::one_value(json!({ "op": "replace", "path": "/spec/template/spec/containers/0/env/0/value", "value": "hunter22" }))]
    #[case::one_variable(json!({ "op": "add", "path": "/spec/template/spec/containers/0/env/0", "value": { "name": "A", "value": "hunter22" } }))]
    #[case::a_container(json!({ "op": "add", "path": "/spec/template/spec/containers/0", "value": { "env": [{ "name": "A", "value": "hunter22" }] } }))]
    #[case::arguments(json!({ "op": "replace", "path": "/spec/template/spec/containers/0/args/1", "value": "--password=hunter22" }))]
    #[case::last_applied(json!({ "op": "replace", "path": "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration", "value": "hunter22" }))]
    fn hides_values(#[case] operation: Value) {
        let text = hidden(operation);
        assert!(!text.contains("hunter22") && text.contains("hash:"), "{text}");
    }

    #[test]
    fn shows_images_and_names() {
        let text =
            hidden(json!({ "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "shop:2" }));
        assert!(text.contains("shop:2"));
    }
}
