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

impl Patch {
    /// Returns what an object lacks of what this patch writes into its spec, as the rest of a sentence: admission may write something
    /// else, and say that all is well. What is there beside it (a default, a label that a policy adds) is nobody's business.
    pub fn missing_in(&self, object: &Value) -> Option<String> {
        self.operations.iter().find_map(|operation| {
            let (path, wanted) = match operation {
                PatchOperation::Add(add) => (add.path.as_str(), &add.value),
                PatchOperation::Replace(replace) => (replace.path.as_str(), &replace.value),
                PatchOperation::Remove(remove) => (remove.path.as_str(), &Value::Null),
                PatchOperation::Test(_) | PatchOperation::Move(_) | PatchOperation::Copy(_) => return None,
            };
            let (at, wanted, found) = difference(path, wanted, object.pointer(path))?;
            let shown = |value: &Value| {
                if value.is_object() || value.is_array() { "another one".to_owned() } else { value.to_string() }
            };
            let found = found.map_or("not there".to_owned(), shown);
            let wanted =
                if wanted.is_object() || wanted.is_array() { String::new() } else { format!(", not {wanted}") };
            at.starts_with("/spec/").then(|| format!("{at} is {found}{wanted}"))
        })
    }
}

/// Returns the first place where a value lacks something of the wanted one.
fn difference<'a>(
    at: &str,
    wanted: &'a Value,
    found: Option<&'a Value>,
) -> Option<(String, &'a Value, Option<&'a Value>)> {
    match (wanted, found) {
        (Value::Object(wanted), Some(Value::Object(found))) => {
            wanted.iter().find_map(|(key, value)| difference(&format!("{at}/{}", escape(key)), value, found.get(key)))
        }
        // In their order, with others in between.
        (Value::Array(all), Some(Value::Array(found))) => {
            let mut rest = found.iter();
            let lost = all.iter().position(|one| !rest.any(|other| difference(at, one, Some(other)).is_none()))?;
            let same = found.get(lost).filter(|_| all.len() == found.len());
            let at = format!("{at}/{lost}");
            same.and_then(|same| difference(&at, all.get(lost)?, Some(same)))
                .or_else(|| Some((at, all.get(lost)?, None)))
        }
        (wanted, found) => {
            // Forms of an object leave zero values out, and others write them.
            let zero =
                |value: &Value| value.is_null() || *value == json!(0) || *value == json!(false) || *value == json!("");
            let same = found == Some(wanted) || zero(wanted) && found.is_none_or(zero);
            let empty = wanted.as_object().is_some_and(serde_json::Map::is_empty)
                || wanted.as_array().is_some_and(Vec::is_empty);
            (!(same || empty && found.is_none_or(Value::is_null))).then(|| (at.to_owned(), wanted, found))
        }
    }
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
    use rstest::rstest;

    #[test]
    fn annotates_what_has_no_annotations_yet() {
        let mut value = json!({ "metadata": { "name": "x" }, "spec": { "template": {} } });
        let patch = annotate(&value, "/spec/template", &[("a/b", "1".to_owned())]);
        testing::apply(&mut value, &operations(json!(patch)));
        assert_eq!(value["spec"]["template"]["metadata"]["annotations"]["a/b"], "1");
    }

    fn writes(path: &str, value: Value) -> Patch {
        let operations = operations(
            json!([{ "op": "test", "path": "/spec/x", "value": 9 }, { "op": "add", "path": path, "value": value }]),
        );
        Patch { subresource: None, operations, proof: Proof::FieldManager, rests_on_generation: None }
    }

    #[rstest]
    #[case::as_written("/spec/replicas", json!(5), json!({ "replicas": 5 }), None)]
    #[case::zero_is_left_out("/spec/replicas", json!(0), json!({}), None)]
    #[case::capped("/spec/replicas", json!(5), json!({ "replicas": 3 }), Some("/spec/replicas is 3, not 5"))]
    #[case::dropped("/spec/template/metadata/annotations/a~1b", json!("x"), json!({ "template": {} }), Some("/spec/template/metadata/annotations/a~1b is not there, not \"x\""))]
    #[case::more_beside_it("/spec/template", json!({ "c": [{ "n": "a", "i": "1" }], "e": {} }), json!({ "template": { "c": [{ "n": "sidecar" }, { "n": "a", "i": "1", "d": true }], "l": 1 } }), None)]
    #[case::pinned("/spec/template", json!({ "c": [{ "n": "a", "i": "1" }] }), json!({ "template": { "c": [{ "n": "a", "i": "2" }] } }), Some("/spec/template/c/0/i is \"2\", not \"1\""))]
    #[case::one_is_gone("/spec/template", json!({ "c": [{ "n": "a" }, { "n": "b" }] }), json!({ "template": { "c": [{ "n": "a" }] } }), Some("/spec/template/c/1 is not there"))]
    fn what_admission_changes_is_seen(
        #[case] path: &str,
        #[case] wanted: Value,
        #[case] spec: Value,
        #[case] says: Option<&str>,
    ) {
        assert_eq!(writes(path, wanted).missing_in(&json!({ "spec": spec })).as_deref(), says);
    }

    #[test]
    fn marks_are_no_part_of_what_is_wanted() {
        let mut patch = writes("/metadata/annotations/a", json!("b"));
        assert_eq!(patch.missing_in(&json!({})), None);
        patch.operations = operations(json!([{ "op": "remove", "path": "/spec/unschedulable" }]));
        assert_eq!(patch.missing_in(&json!({ "spec": {} })), None);
        assert!(patch.missing_in(&json!({ "spec": { "unschedulable": true } })).is_some());
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
