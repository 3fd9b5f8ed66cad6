//! JSON Patches: the tests they depend on, what they write, and how they are recognized later.

use contract::annotations::PROTECTED;
use json_patch::PatchOperation;
use serde_json::{Value, json};

use crate::k8s::object::annotation;

/// The mark by which the object shows that this run's write changed it, and no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// A text in an annotation that no other run writes.
    Annotation {
        /// Key of the annotation.
        key: &'static str,
        /// Text that the value then contains.
        holds: String,
    },
    /// A field manager that no other run has. `/scale` cannot carry an annotation, but the server keeps who set the
    /// replicas; the next one to set them takes the entry over, so that the entries do not pile up.
    FieldManager,
}

/// A JSON Patch, with the `test` operations that it depends on.
#[derive(Debug, Clone, PartialEq)]
pub struct Patch {
    /// The sub-resource, unless the patch is for the object itself.
    pub subresource: Option<&'static str>,
    /// The operations: first the tests, then the changes.
    pub operations: Vec<PatchOperation>,
    /// The mark of this run's write.
    pub proof: Proof,
    /// The object's generation when the patch was decided on, unless the tests include it: after a lost answer the old
    /// value alone does not prove that the patch was not applied, because somebody may have set it back.
    pub rests_on_generation: Option<i64>,
}

/// Reads a JSON Patch written as JSON. The literals of this crate are well formed; anything malformed becomes a patch
/// whose test always fails, so that it changes nothing.
pub fn operations(patch: Value) -> Vec<PatchOperation> {
    serde_json::from_value(patch).unwrap_or_else(|_| {
        serde_json::from_value(json!([{ "op": "test", "path": "/metadata/uid", "value": "malformed patch" }]))
            .unwrap_or_default()
    })
}

/// Returns operations that set annotations of the object at `at` (empty for the object, `/spec/template` for its pods).
pub fn annotate(value: &Value, at: &str, annotations: &[(&str, String)]) -> Vec<Value> {
    let holder = format!("{at}/metadata/annotations");
    let mut operations = Vec::new();
    if !value.pointer(&format!("{at}/metadata")).is_some_and(Value::is_object) {
        operations.push(json!({ "op": "add", "path": format!("{at}/metadata"), "value": {} }));
    }
    if !value.pointer(&holder).is_some_and(Value::is_object) {
        // Annotations do not change the generation, so that this test protects those that somebody adds meanwhile.
        operations.push(json!({ "op": "test", "path": holder, "value": null }));
        operations.push(json!({ "op": "add", "path": holder, "value": {} }));
    }
    if at.is_empty() && value.pointer(&holder).is_some_and(Value::is_object) {
        // If the object becomes protected meanwhile, the patch must fail. (A test for null passes for an absent field.)
        let protected = annotation(value, PROTECTED);
        operations.push(json!({ "op": "test", "path": format!("{holder}/{}", escape(PROTECTED)), "value": protected }));
    }
    operations.extend(annotations.iter().map(|(key, text)| {
        let escaped = escape(key);
        json!({ "op": "add", "path": format!("{holder}/{escaped}"), "value": text })
    }));
    operations
}

/// Escapes a key for a JSON pointer.
pub fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Returns the test that fails a patch once the object is being deleted. (A test for null passes for an absent field.)
pub fn unless_leaving() -> Value {
    json!({ "op": "test", "path": "/metadata/deletionTimestamp", "value": null })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::testing;

    #[test]
    fn annotates_what_has_no_annotations_yet() {
        let mut value = json!({ "metadata": { "name": "x" }, "spec": { "template": {} } });
        let patch = annotate(&value, "/spec/template", &[("a/b", "1".to_owned())]);
        testing::apply(&mut value, &operations(json!(patch)));
        assert_eq!(value["spec"]["template"]["metadata"]["annotations"]["a/b"], "1");
    }

    /// Protected in the meantime is protected all the same: only where the object's own annotations are written beside others.
    #[test]
    fn rests_on_not_being_protected_where_that_can_be_said() {
        let with = json!({ "metadata": { "annotations": { "x": "y" } }, "spec": { "template": { "metadata": { "annotations": { "x": "y" } } } } });
        let tests = |value: &Value, at: &str| {
            let all = annotate(value, at, &[("a/b", "1".to_owned())]);
            all.into_iter().filter(|one| one["op"] == "test").map(|one| one["path"].clone()).collect::<Vec<_>>()
        };
        let protected = json!("/metadata/annotations/kubernetesexecution.kubernaut.io~1protected");
        assert_eq!(tests(&with, ""), [protected]);
        assert!(tests(&with, "/spec/template").is_empty());
        assert_eq!(tests(&json!({ "metadata": {} }), ""), [json!("/metadata/annotations")]);
    }
}
