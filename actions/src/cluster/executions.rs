//! The executions that an object keeps in an annotation. An entry proves "applied once", even if the answer was lost or
//! the pod of the Job ran twice, and keeps what was written, so that "applied once" is not taken for "still in force".
//!
//! The annotation is in the object's own metadata, never in the pod template (which would start another rollout). Each
//! verb has its own annotation, so that an admission policy can keep one verb's account from writing another's.
//! Deployments copy their annotations to ReplicaSets, StatefulSets and DaemonSets copy them to ControllerRevisions; an
//! undo by others may bring old annotations back, so an id is looked for on the revisions too.

use contract::annotations::{CHANGE_CAUSE, EXECUTIONS_0_1, EXECUTIONS_RESTART, EXECUTIONS_ROLLBACK};
use contract::text::hash;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::patch::{Patch, Proof, annotate, escape, operations, unless_leaving};
use super::run::RunContext;
use crate::k8s::object::{annotation, number, uid};
use crate::k8s::template::template_hash;

/// The most executions that an object keeps: a Job's retries come within minutes, and annotations have 256 KiB in all.
const KEPT: usize = 10;

/// One execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Execution {
    /// `ACTION_ID`, or the run's own name.
    pub id: String,
    /// Name of the run: unique, even among runs of the same id.
    pub run: String,
    /// Hash of the request.
    pub request: String,
    /// Time of the run.
    pub time: String,
    /// The goal that was written, to be compared with the later state. Null in entries of releases up to 0.1.
    #[serde(default)]
    pub goal: Value,
    /// The replaced state, as the action needs it to undo the effect.
    pub previous: Value,
}

/// The change that an action is about to write.
#[derive(Debug)]
pub struct Intent {
    /// Annotation of the action's verb.
    pub annotation: &'static str,
    /// The request.
    pub request: Value,
    /// The new pod template; its hash goes into the goal.
    pub template: Value,
    /// The rest of the goal.
    pub goal: Value,
    /// The state that the change replaces.
    pub previous: Value,
    /// New value of `kubernetes.io/change-cause`.
    pub cause: ChangeCause,
}

/// New value of `kubernetes.io/change-cause`, which tells the reason for a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeCause {
    /// The value stays, unless there is an `ACTION_REASON`.
    Keep,
    /// The value of the revision that is put back (none, if that has none), unless there is an `ACTION_REASON`.
    OfRevision(Option<String>),
}

impl Execution {
    /// Returns the execution of this run.
    pub fn new(run: &RunContext, intent: &Intent) -> Self {
        let id = run.id.as_ref().map_or_else(|| run.run.clone(), ToString::to_string);
        let mut goal = intent.goal.clone();
        if let Some(goal) = goal.as_object_mut() {
            goal.insert("template".to_owned(), json!(template_hash(&intent.template)));
        }
        let (request, previous) = (hash(&intent.request.to_string()), intent.previous.clone());
        Self { id, run: run.run.clone(), request, time: run.now.to_string(), goal, previous }
    }

    /// Returns the annotation's new value: this execution first, then the ones that were there.
    fn on_top_of(&self, key: &str, object: &Value) -> String {
        let mut all = read(key, object);
        all.insert(0, self.clone());
        all.truncate(KEPT);
        json!(all).to_string()
    }
}

/// Reads the executions in an annotation; an unreadable annotation counts as empty.
fn read(key: &str, object: &Value) -> Vec<Execution> {
    annotation(object, key).and_then(|value| serde_json::from_str(value).ok()).unwrap_or_default()
}

/// Earlier execution of this `ACTION_ID` on an object.
#[derive(Debug, Clone, PartialEq)]
pub enum Earlier {
    /// There was none, or none that is believed.
    Never,
    /// There was one, with the same request.
    Same(Execution),
    /// There was one, with another request.
    Different(Execution),
}

/// Returns the entries of this execution on an object, of any verb, since an id names one execution. There is more than one
/// when somebody has written one that this execution did not.
pub fn of(run: &RunContext, object: &Value) -> Vec<Execution> {
    let Some(id) = &run.id else { return Vec::new() };
    let all = [EXECUTIONS_RESTART, EXECUTIONS_ROLLBACK, EXECUTIONS_0_1];
    all.into_iter().flat_map(|key| read(key, object)).filter(|one| one.id == id.as_str()).collect()
}

/// Returns whether an entry is one of this request.
pub fn is_of(one: &Execution, request: &Value) -> bool {
    one.request == hash(&request.to_string())
}

/// Returns the sentence that refuses an id that was used for another request.
pub fn used_for_another(one: &Execution) -> String {
    format!("ACTION_ID {} was used for another request on this object at {}; use a new one", one.id, one.time)
}

/// Builds a workload's patch with this run's execution in it. The patch tests the object's UID and generation, and
/// keeps the reason.
pub fn patch(run: &RunContext, intent: &Intent, value: &Value, changes: Vec<Value>) -> Patch {
    let key = intent.annotation;
    let mut annotations = vec![(key, Execution::new(run, intent).on_top_of(key, value))];
    let cause = match (&run.reason, &intent.cause) {
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
    // The generation is among the tests.
    Patch { subresource: None, operations: operations(json!(patch)), proof, rests_on_generation: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::testing;
    use rstest::rstest;

    const BOTH: [&str; 2] = [EXECUTIONS_RESTART, EXECUTIONS_ROLLBACK];

    fn run(id: &str) -> RunContext {
        RunContext { id: Some(id.parse().unwrap()), ..testing::run() }
    }

    fn intent(annotation: &'static str, request: &Value) -> Intent {
        Intent {
            annotation,
            request: request.clone(),
            template: json!({ "spec": { "image": "a" } }),
            goal: json!({}),
            previous: json!({}),
            cause: ChangeCause::Keep,
        }
    }

    fn with(object: &Value, id: &str, key: &'static str, request: &Value) -> Value {
        let all = Execution::new(&run(id), &intent(key, request)).on_top_of(key, object);
        json!({ "metadata": { "annotations": { key: all } } })
    }

    #[test]
    fn finds_itself_and_refuses_a_foreign_request() {
        for key in BOTH {
            let object = with(&json!({}), "a", key, &json!({ "x": 1 }));
            let found = of(&run("a"), &object);
            assert!(found.len() == 1 && is_of(&found[0], &json!({ "x": 1 })) && !is_of(&found[0], &json!({ "x": 2 })));
            assert_eq!(of(&run("b"), &object), []);
        }
    }

    /// An entry as release 0.1 wrote it: the id is still found, so that nothing is applied twice across the upgrade.
    #[test]
    fn one_without_a_goal_is_found() {
        let old = json!([{ "id": "a", "run": "r", "request": hash("{\"x\":1}"), "time": "t", "previous": {} }]);
        let object = json!({ "metadata": { "annotations": { EXECUTIONS_0_1: old.to_string() } } });
        let found = of(&run("a"), &object);
        assert!(found.len() == 1 && is_of(&found[0], &json!({ "x": 1 })));
        assert_eq!(found[0].goal, Value::Null);
    }

    #[test]
    fn keeps_the_last_ten() {
        let next = |object, number| with(&object, &format!("id-{number}"), EXECUTIONS_RESTART, &json!({}));
        let object = (0..12).fold(json!({}), next);
        let ids: Vec<_> = read(EXECUTIONS_RESTART, &object).into_iter().map(|one| one.id).collect();
        assert_eq!(ids.len(), 10);
        assert_eq!(ids[0], "id-11");
    }

    #[test]
    fn an_unreadable_annotation_counts_as_none() {
        let object = json!({ "metadata": { "annotations": { EXECUTIONS_RESTART: "not json" } } });
        assert!(of(&run("a"), &object).is_empty());
    }

    /// The reason for a revision goes back with it: the bad revision's reason must not stand on the good one.
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
        let patch = patch(&run, &Intent { cause, ..intent(EXECUTIONS_ROLLBACK, &json!({})) }, &object, Vec::new());
        testing::apply(&mut object, &patch.operations);
        assert_eq!(annotation(&object, CHANGE_CAUSE), left);
    }
}
