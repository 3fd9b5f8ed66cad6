//! The mark that an execution leaves on an object: it proves "applied once", also when the answer was lost or the pod of
//! the Job ran twice; and it keeps what was written, so that "applied once" is not taken for "still in force".
//!
//! It stands on the object's own metadata, never in the pod template (that would be another rollout), in an annotation of
//! its verb's own, so that an admission policy can keep one verb's account from writing another's marks. Deployments copy
//! their annotations to ReplicaSets, StatefulSets and DaemonSets to ControllerRevisions; an undo by others may bring an
//! old set of annotations back, so an id is looked for on the revisions too.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::action::RunContext;
use crate::cluster::{Patch, Proof};
use crate::guard::{CHANGE_CAUSE, annotate, escape, operations};
use crate::object::{Kind, annotation, number, text, uid};
use crate::revision::normalized;
use crate::workload::{Workload, unless_leaving};

/// The annotation of releases up to 0.1, of both verbs; its marks have no goal. It is read, and not written any more.
const BEFORE_GOALS: &str = "kubernetesexecution.kubernaut.io/executions";

/// The actions that leave marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    /// `restart` of a workload.
    Restart,
    /// `rollback`.
    Rollback,
}

impl Marker {
    const ALL: [Self; 2] = [Self::Restart, Self::Rollback];

    /// Its annotation.
    pub const fn annotation(self) -> &'static str {
        match self {
            Self::Restart => "kubernetesexecution.kubernaut.io/executions-restart",
            Self::Rollback => "kubernetesexecution.kubernaut.io/executions-rollback",
        }
    }
}

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
    /// What it wrote, to be compared with what is there later. Null in marks of releases up to 0.1.
    #[serde(default)]
    pub goal: Value,
    /// What it replaced, as the action needs it to take the effect back.
    pub previous: Value,
}

/// What an action writes, for its mark.
#[derive(Debug)]
pub struct Execution {
    /// Which action.
    pub marker: Marker,
    /// What was asked.
    pub request: Value,
    /// The pod template as it is to be; its hash goes into the goal.
    pub template: Value,
    /// What else tells the goal.
    pub goal: Value,
    /// What it replaces.
    pub previous: Value,
    /// What becomes of `kubernetes.io/change-cause`.
    pub cause: ChangeCause,
}

/// What becomes of `kubernetes.io/change-cause`, which says why a revision came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeCause {
    /// It stays as it is, unless there is an `ACTION_REASON`.
    Keep,
    /// It becomes that of the revision that is put back (none, if that has none), unless there is an `ACTION_REASON`.
    OfRevision(Option<String>),
}

impl Mark {
    /// This run's mark.
    pub fn new(run: &RunContext, execution: &Execution) -> Self {
        let id = run.id.as_ref().map_or_else(|| run.run.clone(), ToString::to_string);
        let mut goal = execution.goal.clone();
        if let Some(goal) = goal.as_object_mut() {
            goal.insert("template".to_owned(), json!(template_hash(&execution.template)));
        }
        let (request, previous) = (hash(&execution.request.to_string()), execution.previous.clone());
        Self { id, run: run.run.clone(), request, time: run.now.to_string(), goal, previous }
    }

    /// The annotation's new value: this mark first, then the ones that were there.
    fn on_top_of(&self, marker: Marker, object: &Value) -> String {
        let mut marks = read(marker.annotation(), object);
        marks.insert(0, self.clone());
        marks.truncate(KEPT);
        json!(marks).to_string()
    }

    /// Why what it wrote is not what the object has now, or is not rolled out any more; the sentence goes on after the
    /// object's name. A mark without a goal says nothing of the template.
    pub fn undone(&self, kind: Kind, object: &Value) -> Option<String> {
        let template = object.pointer("/spec/template").map(template_hash);
        let goal = text(&self.goal, "/template").map(str::to_owned);
        if goal.is_some() && goal != template {
            return Some("has another pod template by now: someone else changed it".to_owned());
        }
        // What a run would not have begun with, somebody else has changed since.
        let workload = Workload::read(kind, object);
        if workload.paused { Some("is paused by now".to_owned()) } else { workload.unreachable() }
    }
}

/// The marks in an annotation; one that somebody made unreadable counts as none.
fn read(key: &str, object: &Value) -> Vec<Mark> {
    annotation(object, key).and_then(|value| serde_json::from_str(value).ok()).unwrap_or_default()
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

/// This execution's mark on an object: of any verb, since an id names one execution.
pub fn of(run: &RunContext, object: &Value) -> Option<Mark> {
    let id = run.id.as_ref()?;
    let keys = Marker::ALL.map(Marker::annotation).into_iter().chain([BEFORE_GOALS]);
    keys.flat_map(|key| read(key, object)).find(|mark| mark.id == id.as_str())
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
pub fn patch(run: &RunContext, execution: &Execution, value: &Value, changes: Vec<Value>) -> Patch {
    let key = execution.marker.annotation();
    let mut annotations = vec![(key, Mark::new(run, execution).on_top_of(execution.marker, value))];
    let cause = match (&run.reason, &execution.cause) {
        (Some(reason), _) => Some(Some(reason.clone())),
        (None, ChangeCause::Keep) => None,
        (None, ChangeCause::OfRevision(cause)) => Some(cause.clone()),
    };
    annotations.extend(cause.clone().flatten().map(|cause| (CHANGE_CAUSE, cause)));
    let mut patch = vec![
        json!({ "op": "test", "path": "/metadata/uid", "value": uid(value) }),
        json!({ "op": "test", "path": "/metadata/generation", "value": number(value, "/metadata/generation") }),
        unless_leaving(),
    ];
    patch.extend(changes);
    patch.extend(annotate(value, "", &annotations));
    if cause == Some(None) && annotation(value, CHANGE_CAUSE).is_some() {
        patch.push(json!({ "op": "remove", "path": format!("/metadata/annotations/{}", escape(CHANGE_CAUSE)) }));
    }
    let proof = Proof::Annotation { key, holds: format!("\"{}\"", run.run) };
    // Its generation is among the tests.
    Patch { subresource: None, operations: operations(json!(patch)), proof, rests_on_generation: None }
}

/// Tells pod templates apart, whatever order their fields are in.
fn template_hash(template: &Value) -> String {
    hash(&sorted(&normalized(template)).to_string())
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: std::collections::BTreeMap<_, _> =
                fields.iter().map(|(key, value)| (key, sorted(value))).collect();
            json!(fields)
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        value => value.clone(),
    }
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
    use rstest::rstest;

    fn run(id: &str) -> RunContext {
        RunContext { id: Some(id.parse().unwrap()), ..crate::guard::test_support::run() }
    }

    fn execution(marker: Marker, request: &Value) -> Execution {
        Execution {
            marker,
            request: request.clone(),
            template: json!({ "spec": { "image": "a" } }),
            goal: json!({}),
            previous: json!({}),
            cause: ChangeCause::Keep,
        }
    }

    fn marked(object: &Value, id: &str, marker: Marker, request: &Value) -> Value {
        let marks = Mark::new(&run(id), &execution(marker, request)).on_top_of(marker, object);
        json!({ "metadata": { "annotations": { marker.annotation(): marks } } })
    }

    #[test]
    fn finds_its_own_mark_and_refuses_a_foreign_request() {
        for marker in Marker::ALL {
            let object = marked(&json!({}), "a", marker, &json!({ "x": 1 }));
            assert!(matches!(earlier(&run("a"), &json!({ "x": 1 }), [&object].into_iter()), Earlier::Same(_)));
            assert!(matches!(earlier(&run("a"), &json!({ "x": 2 }), [&object].into_iter()), Earlier::Different(_)));
            assert_eq!(earlier(&run("b"), &json!({ "x": 1 }), [&object].into_iter()), Earlier::Never);
        }
    }

    /// As release 0.1 left them: the id is still found, so that nothing is applied twice across the upgrade.
    #[test]
    fn a_mark_without_a_goal_is_found() {
        let old = json!([{ "id": "a", "run": "r", "request": hash("{\"x\":1}"), "time": "t", "previous": {} }]);
        let object = json!({ "metadata": { "annotations": { BEFORE_GOALS: old.to_string() } } });
        let Earlier::Same(mark) = earlier(&run("a"), &json!({ "x": 1 }), [&object].into_iter()) else { panic!() };
        assert_eq!((mark.goal.clone(), mark.undone(Kind::Deployment, &json!({}))), (Value::Null, None));
    }

    #[test]
    fn keeps_the_last_ten() {
        let next = |object, number| marked(&object, &format!("id-{number}"), Marker::Restart, &json!({}));
        let object = (0..12).fold(json!({}), next);
        let ids: Vec<_> = read(Marker::Restart.annotation(), &object).into_iter().map(|mark| mark.id).collect();
        assert_eq!(ids.len(), 10);
        assert_eq!(ids[0], "id-11");
    }

    #[test]
    fn an_unreadable_annotation_counts_as_none() {
        let object = json!({ "metadata": { "annotations": { Marker::Restart.annotation(): "not json" } } });
        assert!(of(&run("a"), &object).is_none());
    }

    /// The goal is the template that was written, in whatever order its fields come back.
    #[rstest]
    #[case::as_written(json!({ "spec": { "template": { "spec": { "b": 1, "a": { "y": [1], "x": 2 } } } } }), "")]
    #[case::another_order(json!({ "spec": { "template": { "spec": { "a": { "x": 2, "y": [1] }, "b": 1 } } } }), "")]
    #[case::another_value(json!({ "spec": { "template": { "spec": { "b": 2, "a": { "y": [1], "x": 2 } } } } }), "another pod template")]
    #[case::gone(json!({}), "another pod template")]
    #[case::on_delete(json!({ "spec": { "updateStrategy": { "type": "OnDelete" }, "template": { "spec": { "b": 1, "a": { "y": [1], "x": 2 } } } } }), "OnDelete")]
    #[case::out_of_reach(json!({ "spec": { "replicas": 2, "updateStrategy": { "rollingUpdate": { "partition": 2 } }, "template": { "spec": { "b": 1, "a": { "y": [1], "x": 2 } } } } }), "the partition 2")]
    #[case::partly_in_reach(json!({ "spec": { "replicas": 2, "updateStrategy": { "rollingUpdate": { "partition": 1 } }, "template": { "spec": { "b": 1, "a": { "y": [1], "x": 2 } } } } }), "")]
    #[case::paused(json!({ "spec": { "paused": true, "template": { "spec": { "b": 1, "a": { "y": [1], "x": 2 } } } } }), "is paused")]
    fn knows_whether_its_goal_stands(#[case] object: Value, #[case] says: &str) {
        let template = json!({ "spec": { "b": 1, "a": { "y": [1], "x": 2 } } });
        let mark = Mark::new(&run("a"), &Execution { template, ..execution(Marker::Restart, &json!({})) });
        match mark.undone(Kind::StatefulSet, &object) {
            Some(why) => assert!(!says.is_empty() && why.contains(says), "{why}"),
            None => assert_eq!(says, ""),
        }
    }

    /// Why a revision came about goes back with it: the bad one's reason must not stand on the good one.
    #[rstest]
    #[case::kept(None, ChangeCause::Keep, Some("bad"))]
    #[case::of_the_run(Some("why"), ChangeCause::OfRevision(None), Some("why"))]
    #[case::of_the_revision(None, ChangeCause::OfRevision(Some("good".to_owned())), Some("good"))]
    #[case::none(None, ChangeCause::OfRevision(None), None)]
    fn the_change_cause_is_the_goals(
        #[case] reason: Option<&str>,
        #[case] cause: ChangeCause,
        #[case] left: Option<&str>,
    ) {
        let mut object = json!({ "metadata": { "uid": "u", "generation": 1, "annotations": { CHANGE_CAUSE: "bad" } } });
        let run = RunContext { reason: reason.map(str::to_owned), ..run("a") };
        let patch = patch(&run, &Execution { cause, ..execution(Marker::Rollback, &json!({})) }, &object, Vec::new());
        crate::guard::test_support::apply(&mut object, &patch.operations);
        assert_eq!(annotation(&object, CHANGE_CAUSE), left);
    }
}
