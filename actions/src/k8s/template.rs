//! Compares pod templates, without what controllers and restarts add to them.

use std::collections::BTreeMap;

use contract::annotations::RESTARTED_AT;
use contract::text;
use serde_json::{Value, json};

/// The label that tells a Deployment's pods apart by revision; the controller adds it to the template that it stores.
pub const TEMPLATE_HASH: &str = "pod-template-hash";

/// Returns a pod template without what controllers add to their copies.
pub fn normalized(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(fields) = template.as_object_mut() {
        // A ControllerRevision's data is a strategic merge patch.
        fields.remove("$patch");
    }
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("creationTimestamp");
        if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
            labels.remove(TEMPLATE_HASH);
        }
    }
    template
}

/// Returns a template without what a restart writes.
pub fn without_restarts(template: &Value) -> Value {
    let mut template = normalized(template);
    let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) else { return template };
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(RESTARTED_AT);
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
    template
}

/// Returns a hash that tells pod templates apart, independent of the order of their fields.
pub fn template_hash(template: &Value) -> String {
    text::hash(&sorted(&normalized(template)).to_string())
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: BTreeMap<_, _> = fields.iter().map(|(key, value)| (key, sorted(value))).collect();
            json!(fields)
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        value => value.clone(),
    }
}
