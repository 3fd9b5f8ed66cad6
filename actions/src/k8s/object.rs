//! Fields that every object has.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// Returns a text inside an object, by JSON pointer.
pub fn text<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer).and_then(Value::as_str)
}

/// Returns a whole number inside an object, by JSON pointer. The API omits zero values, so that absent means 0.
pub fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// Returns an object's UID.
pub fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid").unwrap_or_default()
}

/// Returns one annotation.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(key)?.as_str()
}

/// Returns one label.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("labels")?.get(key)?.as_str()
}

/// Returns the owner that controls the object, if there is one.
pub fn controller(object: &Value) -> Option<&Value> {
    let owners = object.pointer("/metadata/ownerReferences")?.as_array()?;
    owners.iter().find(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true))
}

/// Returns the time of the deletion request: the API server keeps the time of its end (a pod's grace period later).
pub fn leaving_since(value: &Value) -> Option<String> {
    let over = text(value, "/metadata/deletionTimestamp")?;
    let grace = SignedDuration::from_secs(number(value, "/metadata/deletionGracePeriodSeconds"));
    let since = over.parse::<Timestamp>().and_then(|over| over.checked_sub(grace));
    Some(since.map_or_else(|_| over.to_owned(), |since| since.to_string()))
}

/// Names the last writer, from the object's managed fields: a hint for the person who has to find out.
pub fn last_writer(value: &Value, subresource: &str) -> String {
    let entries = value.pointer("/metadata/managedFields").and_then(Value::as_array);
    let writer = entries.into_iter().flatten().find(|entry| text(entry, "/subresource") == Some(subresource));
    writer
        .and_then(|entry| text(entry, "/manager"))
        .map(|manager| format!(" (field manager {manager})"))
        .unwrap_or_default()
}

/// Returns the tool that will put the object back to the state that it has on record, known by its marks.
pub fn managed_by(value: &Value) -> Option<&'static str> {
    let annotations = [("argocd.argoproj.io/tracking-id", "Argo CD"), ("meta.helm.sh/release-name", "Helm")];
    let labels = [
        ("argocd.argoproj.io/instance", "Argo CD"),
        ("kustomize.toolkit.fluxcd.io/name", "Flux"),
        ("helm.toolkit.fluxcd.io/name", "Flux"),
    ];
    let by_annotation = annotations.into_iter().find(|(key, _)| annotation(value, key).is_some());
    let by_label = labels.into_iter().find(|(key, _)| label(value, key).is_some());
    by_annotation.or(by_label).map(|(_, tool)| tool)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_fields_of_an_object() {
        let object = serde_json::json!({
            "metadata": { "uid": "u", "annotations": { "a/b": "1" }, "labels": { "c/d": "2" },
                "ownerReferences": [{ "uid": "x" }, { "uid": "y", "controller": false }, { "uid": "z", "controller": true }] },
            "spec": { "replicas": 3 },
        });
        assert_eq!((uid(&object), annotation(&object, "a/b"), label(&object, "c/d")), ("u", Some("1"), Some("2")));
        assert_eq!((number(&object, "/spec/replicas"), number(&object, "/spec/nothing")), (3, 0));
        assert_eq!(controller(&object).and_then(|owner| text(owner, "/uid")), Some("z"));
        assert_eq!((uid(&Value::Null), controller(&Value::Null)), ("", None));
    }

    #[test]
    fn sees_who_manages_an_object() {
        let value = json!({ "metadata": { "annotations": { "meta.helm.sh/release-name": "shop" } } });
        assert_eq!(managed_by(&value), Some("Helm"));
        assert_eq!(managed_by(&json!({})), None);
    }

    #[test]
    fn tells_who_wrote_last() {
        let scale = json!({ "manager": "kubectl", "subresource": "scale" });
        let object = json!({ "metadata": { "managedFields": [{ "manager": "helm" }, scale] } });
        assert_eq!(last_writer(&object, "scale"), " (field manager kubectl)");
        assert_eq!(last_writer(&object, "status"), "");
    }
}
