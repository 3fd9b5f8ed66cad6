//! The mark that an execution leaves on an object: it proves "applied once", also when the answer was lost or the pod of
//! the Job ran twice.
//!
//! It stands on the object's own metadata, never in the pod template (that would be another rollout). Deployments copy
//! their annotations to ReplicaSets, StatefulSets and DaemonSets to ControllerRevisions; an undo by others may bring an
//! old set of annotations back, so an id is looked for on the revisions too.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::action::RunContext;
use crate::cluster::{Patch, Proof};
use crate::guard::{CHANGE_CAUSE, annotate, operations};
use crate::object::{annotation, number, uid};

/// The annotation.
pub const EXECUTIONS: &str = "kubernetesexecution.kubernaut.io/executions";

/// How many marks an object keeps: a Job's retries come within minutes, and annotations are limited to 256 KiB in all.
const KEPT: usize = 10;

/// One execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// `ACTION_ID`, or the run's own name.
    pub id: String,
    /// The run: unlike any other, also of the same id.
    pub run: String,
    /// Hash of what was asked.
    pub request: String,
    /// When.
    pub time: String,
    /// What it replaced, as the action needs it to take the effect back.
    pub previous: Value,
}

impl Mark {
    /// This run's mark.
    pub fn new(run: &RunContext, request: &Value, previous: Value) -> Self {
        let id = run.id.as_ref().map_or_else(|| run.run.clone(), ToString::to_string);
        Self { id, run: run.run.clone(), request: hash(&request.to_string()), time: run.now.to_string(), previous }
    }

    /// The annotation's new value: this mark first, then the ones that were there.
    pub fn on_top_of(&self, object: &Value) -> String {
        let mut marks = read(object);
        marks.insert(0, self.clone());
        marks.truncate(KEPT);
        json!(marks).to_string()
    }
}

/// The marks of an object; an annotation that somebody made unreadable counts as none.
pub fn read(object: &Value) -> Vec<Mark> {
    annotation(object, EXECUTIONS).and_then(|value| serde_json::from_str(value).ok()).unwrap_or_default()
}

/// What the marks say about this `ACTION_ID`.
#[derive(Debug, Clone, PartialEq)]
pub enum Earlier {
    /// It was not here.
    Never,
    /// It was, with the same request.
    Same(Mark),
    /// It was, with another request.
    Different(Mark),
}

/// This execution's mark on an object.
pub fn of(run: &RunContext, object: &Value) -> Option<Mark> {
    let id = run.id.as_ref()?;
    read(object).into_iter().find(|mark| mark.id == id.as_str())
}

/// Looks for this execution's id on the object and its revisions.
pub fn earlier<'a>(run: &RunContext, request: &Value, mut objects: impl Iterator<Item = &'a Value>) -> Earlier {
    let Some(mark) = objects.find_map(|object| of(run, object)) else { return Earlier::Never };
    if mark.request == hash(&request.to_string()) { Earlier::Same(mark) } else { Earlier::Different(mark) }
}

/// The sentence that refuses an id that was used for another request.
pub fn used_for_another(mark: &Mark) -> String {
    format!("ACTION_ID {} was used for another request on this object at {}; use a new one", mark.id, mark.time)
}

/// A patch of a workload with this run's mark in it: it rests on the object's UID and generation, and keeps the reason.
pub fn patch(run: &RunContext, request: &Value, previous: Value, value: &Value, changes: Vec<Value>) -> Patch {
    let mut annotations = vec![(EXECUTIONS, Mark::new(run, request, previous).on_top_of(value))];
    if let Some(reason) = &run.reason {
        annotations.push((CHANGE_CAUSE, reason.clone()));
    }
    let mut patch = vec![
        json!({ "op": "test", "path": "/metadata/uid", "value": uid(value) }),
        json!({ "op": "test", "path": "/metadata/generation", "value": number(value, "/metadata/generation") }),
    ];
    patch.extend(changes);
    patch.extend(annotate(value, "", &annotations));
    let proof = Proof::Annotation { key: EXECUTIONS, holds: format!("\"{}\"", run.run) };
    // Its generation is among the tests.
    Patch { subresource: None, operations: operations(json!(patch)), proof, rests_on_generation: None }
}

/// The first 16 hex digits of a SHA-256: enough to tell requests apart, short enough for an annotation.
pub fn hash(text: &str) -> String {
    use std::fmt::Write as _;
    Sha256::digest(text.as_bytes()).iter().take(8).fold(String::new(), |mut hex, byte| {
        // Writing into a String cannot fail.
        let _infallible = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(id: &str) -> RunContext {
        RunContext { id: Some(id.parse().unwrap()), ..crate::guard::test_support::run() }
    }

    fn marked(object: &Value, id: &str, request: &Value) -> Value {
        json!({ "metadata": { "annotations": { EXECUTIONS: Mark::new(&run(id), request, json!({})).on_top_of(object) } } })
    }

    #[test]
    fn finds_its_own_mark_and_refuses_a_foreign_request() {
        let object = marked(&json!({}), "a", &json!({ "x": 1 }));
        assert!(matches!(earlier(&run("a"), &json!({ "x": 1 }), [&object].into_iter()), Earlier::Same(_)));
        assert!(matches!(earlier(&run("a"), &json!({ "x": 2 }), [&object].into_iter()), Earlier::Different(_)));
        assert_eq!(earlier(&run("b"), &json!({ "x": 1 }), [&object].into_iter()), Earlier::Never);
    }

    #[test]
    fn keeps_the_last_ten() {
        let object = (0..12).fold(json!({}), |object, number| marked(&object, &format!("id-{number}"), &json!({})));
        let ids: Vec<_> = read(&object).into_iter().map(|mark| mark.id).collect();
        assert_eq!(ids.len(), 10);
        assert_eq!(ids[0], "id-11");
    }

    #[test]
    fn an_unreadable_annotation_counts_as_none() {
        assert!(read(&json!({ "metadata": { "annotations": { EXECUTIONS: "not json" } } })).is_empty());
    }
}
