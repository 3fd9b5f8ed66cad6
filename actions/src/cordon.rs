//! # cordon and uncordon
//!
//! Marks a node unschedulable, or schedulable again: sets `spec.unschedulable` and one annotation of the runner, which
//! keeps who did it, when and why. Pods that run on the node stay; nothing is drained. Taints belong to others: an
//! uncordon names those that still keep pods out.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use contract::annotations::CORDON;
use contract::result::RollbackInformation;
use contract::text::has_commands;
use contract::waiting::Waits;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::action::{self, Action, Circumstances, Decision, TargetRef};
use crate::cluster::error::{Error, Result};
use crate::cluster::patch::{annotate, operations, unless_leaving};
use crate::cluster::run::RunContext;
use crate::cluster::{Cluster, Commit, Patch, Proof};
use crate::k8s::object::{self, annotation, text, uid};
use crate::k8s::taint::Taint;
use crate::k8s::{Kind, Permission, Resource};
use crate::workload::lookup::{self, LiveObject};

/// The taint by which the node controller repeats `spec.unschedulable`. The controller removes it after an uncordon.
const OWN_TAINT: &str = "node.kubernetes.io/unschedulable";

/// Parameters of `cordon`.
pub type Cordon = SetUnschedulable<true>;

/// Parameters of `uncordon`.
pub type Uncordon = SetUnschedulable<false>;

/// Parameters of `cordon` and `uncordon`; `WANTED` is the value that `spec.unschedulable` shall have.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SetUnschedulable<const WANTED: bool> {
    /// Reason for people; kept on the node. By default `ACTION_REASON`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Written by hand, because each of the two has a name of its own in the schema.
impl<const WANTED: bool> JsonSchema for SetUnschedulable<WANTED> {
    fn schema_name() -> Cow<'static, str> {
        if WANTED { "Cordon".into() } else { "Uncordon".into() }
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": format!("Parameters of `{}`.", verb(WANTED)),
            "properties": {
                "reason": {
                    "type": ["string", "null"],
                    "maxLength": LONGEST_REASON,
                    "description": "Why, for people; kept on the node. By default `ACTION_REASON`.",
                },
            },
        })
    }
}

/// The most characters of a reason.
const LONGEST_REASON: usize = 256;

const fn verb(wanted: bool) -> &'static str {
    if wanted { "cordon" } else { "uncordon" }
}

const fn state(wanted: bool) -> &'static str {
    if wanted { "cordoned" } else { "schedulable" }
}

/// Details of the results of `cordon` and `uncordon`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// True when the node takes no new pods now.
    pub unschedulable: bool,
    /// Who cordoned or uncordoned the node before, when and why, if the runner did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<Value>,
    /// The resourceVersion, by resource, of the read that verified the state; absent when nothing was verified.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub verified_at: BTreeMap<String, String>,
}

/// The node.
#[derive(Debug)]
pub struct Target {
    live: LiveObject,
    /// The taints that keep pods out, from the last answer about the node.
    closed_by: RefCell<Vec<String>>,
}

impl action::Target for Target {
    fn live(&self) -> Option<&LiveObject> {
        Some(&self.live)
    }
}

impl Target {
    fn new(live: LiveObject) -> Self {
        let closed_by = RefCell::new(closing_taints(&live.value));
        Self { live, closed_by }
    }

    fn unschedulable(&self) -> bool {
        unschedulable(&self.live.value)
    }

    /// Records the taints of the node as it is now.
    fn saw(&self, now: &Value) {
        self.closed_by.replace(closing_taints(now));
    }
}

fn unschedulable(node: &Value) -> bool {
    node.pointer("/spec/unschedulable").and_then(Value::as_bool).unwrap_or(false)
}

/// Returns the taints that keep pods out, other than the cordon's own.
fn closing_taints(node: &Value) -> Vec<String> {
    let own = |taint: &Taint| taint.key == OWN_TAINT && taint.effect == "NoSchedule";
    let all = Taint::all_of(node).into_iter();
    all.filter(|taint| taint.closes() && !own(taint)).map(|taint| taint.to_string()).collect()
}

impl<const WANTED: bool> SetUnschedulable<WANTED> {
    /// Fails unless the node is still the same object and in the wanted state.
    fn check_node(target: &Target, node: &Value) -> Result<()> {
        let object = &target.live.object;
        if uid(node) != uid(&target.live.value) {
            return Err(Error::NotVerified(format!("{object} was deleted and recreated meanwhile")));
        }
        if unschedulable(node) == WANTED {
            return Ok(());
        }
        Err(Error::NotVerified(format!(
            "{object} is not {} any more: someone else changed it back{}",
            state(WANTED),
            object::last_writer(node, "")
        )))
    }

    fn patch(&self, target: &Target, run: &RunContext) -> Patch {
        let entry = json!({
            "action": verb(WANTED), "run": run.run, "id": run.id, "time": run.now.to_string(),
            "reason": self.reason.as_ref().or(run.reason.as_ref()),
        });
        let node = &target.live.value;
        // The API omits false, and its JSON Patch test for null passes for an absent field.
        let (expected, change) = if WANTED {
            (Value::Null, json!({ "op": "add", "path": "/spec/unschedulable", "value": true }))
        } else {
            (json!(true), json!({ "op": "remove", "path": "/spec/unschedulable" }))
        };
        let mut patch = vec![
            json!({ "op": "test", "path": "/metadata/uid", "value": uid(node) }),
            unless_leaving(),
            json!({ "op": "test", "path": "/spec/unschedulable", "value": expected }),
            change,
        ];
        patch.extend(annotate(node, "", &[(CORDON, entry.to_string())]));
        let proof = Proof::Annotation { key: CORDON, holds: format!("\"{}\"", run.run) };
        // Nodes have no generation; another cordon or uncordon since then has replaced the annotation, which shows it.
        Patch { subresource: None, operations: operations(json!(patch)), proof, rests_on_generation: None }
    }
}

impl<const WANTED: bool> Action for SetUnschedulable<WANTED> {
    type Target = Target;
    type Plan = Patch;
    type Details = Details;

    const WAITS: Waits = Waits::ForObject;

    fn repeatable(_run: &RunContext, _has_uid: bool) -> bool {
        true
    }

    fn kinds() -> &'static [Kind] {
        &[Kind::Node]
    }

    fn example() -> Value {
        json!({ "reason": "disk errors" })
    }

    fn permissions(&self, resource: &Resource, _circumstances: Circumstances) -> BTreeSet<Permission> {
        ["get", "patch"].map(|verb| Permission::on_target(verb, resource)).into()
    }

    fn check(&self, _named: &TargetRef, _run: &RunContext) -> Vec<String> {
        let length = self.reason.as_ref().map_or(0, |reason| reason.chars().count());
        if length > LONGEST_REASON {
            vec![format!("ACTION_PARAMETERS: reason: expected at most {LONGEST_REASON} characters, has {length}")]
        } else if self.reason.as_deref().is_some_and(has_commands) {
            vec!["ACTION_PARAMETERS: reason: expected one line without control characters".to_owned()]
        } else {
            Vec::new()
        }
    }

    async fn find(&self, cluster: &Cluster, named: &TargetRef, run: &RunContext) -> Result<Target> {
        let target = Target::new(lookup::find(cluster, named.object()?, Self::owner_kinds).await?);
        if !WANTED && target.unschedulable() && annotation(&target.live.value, CORDON).is_none() {
            run.progress
                .warn(format!("{} was not cordoned by the runner: whoever did may count on it", target.live.object));
        }
        Ok(target)
    }

    fn decide(&self, target: &Target, run: &RunContext) -> Decision<Patch> {
        // Before "already so", because the state of a node that is being deleted does not last.
        if let Some(why) = target.live.leaving() {
            return Decision::Refuse(why);
        }
        if target.unschedulable() == WANTED {
            let message = format!("{} is {} already", target.live.object, state(WANTED));
            return Decision::AlreadySo { message, resumed: false };
        }
        match target.live.protection() {
            Some(why) => Decision::Refuse(why),
            None => Decision::Change(self.patch(target, run)),
        }
    }

    async fn apply(&self, cluster: &Cluster, target: &Target, plan: &Patch, commit: Commit) -> Result<Value> {
        let now = cluster.patch(&target.live.object, &target.live.value, plan, commit).await?;
        target.saw(&now);
        Ok(now)
    }

    /// Reads the node again, even if nothing had to be changed, so that the result reports the current state.
    async fn verify(&self, cluster: &Cluster, target: &Target, _now: &Value, run: &RunContext) -> Result<Details> {
        let object = &target.live.object;
        let node = cluster.get(object).await.map_err(|error| match error {
            Error::TargetNotFound(_) => Error::NotVerified(format!("{object} was deleted meanwhile")),
            error => error,
        })?;
        target.saw(&node);
        Self::check_node(target, &node)?;
        let version = text(&node, "/metadata/resourceVersion").map(str::to_owned);
        let verified_at = version.map(|version| (object.resource.plural().to_owned(), version)).into_iter().collect();
        Ok(Details { verified_at, ..self.details(target, run) })
    }

    /// Reports the node as of the last answer, with a warning if taints still keep pods out.
    fn details(&self, target: &Target, run: &RunContext) -> Details {
        let closed_by = target.closed_by.borrow();
        if !WANTED && !closed_by.is_empty() {
            run.progress.warn(format!(
                "uncordon leaves other taints on {}, which keep out every pod that does not tolerate them: {}",
                target.live.object,
                closed_by.join(", ")
            ));
        }
        let previous = annotation(&target.live.value, CORDON).and_then(|entry| serde_json::from_str(entry).ok());
        Details { unschedulable: WANTED, previous, verified_at: BTreeMap::new() }
    }

    fn undo(&self, _target: &Target, applied: bool, _run: &RunContext) -> RollbackInformation {
        if !applied {
            return RollbackInformation::unavailable(format!("the node was {} already", state(WANTED)));
        }
        RollbackInformation::request(format!("{}-node", verb(!WANTED)), json!({}))
    }

    fn intent(&self, target: &Target, _details: &Details) -> String {
        format!("{} {}", verb(WANTED), target.live.object)
    }

    fn done(&self, target: &Target, _details: &Details) -> String {
        format!("{}ed {}", verb(WANTED), target.live.object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::testing::{live, run, sentence};
    use contract::annotations::PROTECTED;
    use rstest::rstest;

    fn node(spec: Value, annotations: Value) -> Target {
        Target::new(live(Kind::Node, json!({ "metadata": { "uid": "u", "annotations": annotations }, "spec": spec })))
    }

    fn cordon() -> Cordon {
        serde_json::from_value(json!({ "reason": "disk" })).unwrap()
    }

    #[test]
    fn keeps_the_reason_on_the_node() {
        let mut target = node(json!({}), json!({}));
        let Decision::Change(patch) = cordon().decide(&target, &run()) else { panic!() };
        // The API server takes a test of null for "absent"; this library does not.
        let operations: Vec<_> =
            patch.operations.into_iter().filter(|one| !matches!(one, json_patch::PatchOperation::Test(_))).collect();
        json_patch::patch(&mut target.live.value, &operations).unwrap();
        assert!(target.unschedulable());
        let mark: Value = serde_json::from_str(annotation(&target.live.value, CORDON).unwrap()).unwrap();
        assert_eq!(text(&mark, "/reason"), Some("disk"));
    }

    #[test]
    fn already_so_comes_before_protection() {
        let target = node(json!({ "unschedulable": true }), json!({ PROTECTED: "true" }));
        assert!(matches!(cordon().decide(&target, &run()), Decision::AlreadySo { .. }));
    }

    fn uncordon() -> Uncordon {
        serde_json::from_value(json!({})).unwrap()
    }

    #[rstest]
    #[case::to_be_done(json!({}))]
    #[case::already_so(json!({ "unschedulable": true }))]
    fn a_node_that_is_being_deleted_is_refused_whatever_it_is_like(#[case] spec: Value) {
        let mut target = node(spec, json!({ PROTECTED: "true" }));
        target.live.value["metadata"]["deletionTimestamp"] = json!("2026-11-23T03:00:30Z");
        for decision in [cordon().decide(&target, &run()), uncordon().decide(&target, &run())] {
            assert!(matches!(decision, Decision::Refuse(why) if why.contains("node web is being deleted since")));
        }
    }

    #[test]
    fn a_node_that_is_deleted_before_the_write_is_not_written_to() {
        let Decision::Change(patch) = cordon().decide(&node(json!({}), json!({})), &run()) else { panic!() };
        let [expected] = operations(json!([unless_leaving()])).try_into().unwrap();
        assert!(patch.operations.contains(&expected));
    }

    #[rstest]
    #[case::none(json!({}), &[])]
    #[case::the_cordons_own(json!([{ "key": OWN_TAINT, "effect": "NoSchedule" }]), &[])]
    #[case::somebody_elses_of_that_name(json!([{ "key": OWN_TAINT, "effect": "NoExecute" }]), &["node.kubernetes.io/unschedulable:NoExecute"])]
    #[case::with_a_value(json!([{ "key": "a/b", "value": "c", "effect": "NoSchedule" }]), &["a/b=c:NoSchedule"])]
    #[case::without_one(json!([{ "key": "a/b", "value": "", "effect": "NoExecute" }, { "key": "d", "effect": "NoSchedule" }]), &["a/b:NoExecute", "d:NoSchedule"])]
    #[case::a_wish(json!([{ "key": "a/b", "effect": "PreferNoSchedule" }]), &[])]
    fn an_uncordon_tells_the_taints_that_stay(#[case] taints: Value, #[case] told: &[&str]) {
        let target = node(json!({ "unschedulable": true, "taints": taints }), json!({}));
        let (there, back) = (run(), run());
        cordon().details(&target, &there);
        uncordon().details(&target, &back);
        assert!(there.progress.warnings().is_empty(), "a cordon has nothing to say of them");
        let warnings = back.progress.warnings();
        assert_eq!(warnings.len(), usize::from(!told.is_empty()));
        let list = told.join(", ");
        assert!(warnings.iter().all(|warning| warning.ends_with(&format!("does not tolerate them: {list}"))));
    }

    #[test]
    fn the_taints_are_those_of_the_last_answer() {
        let target = node(json!({ "taints": [{ "key": "a", "effect": "NoSchedule" }] }), json!({}));
        target.saw(&json!({ "spec": { "taints": [{ "key": "b", "effect": "NoSchedule" }] } }));
        let back = run();
        uncordon().details(&target, &back);
        assert!(back.progress.warnings()[0].ends_with("does not tolerate them: b:NoSchedule"));
    }

    #[rstest]
    #[case::it_stands(json!({ "metadata": { "uid": "u" }, "spec": { "unschedulable": true } }), None)]
    #[case::undone(json!({ "metadata": { "uid": "u", "managedFields": [{ "manager": "kubectl" }] } }), Some("node web is not cordoned any more"))]
    #[case::another_one(json!({ "metadata": { "uid": "v" }, "spec": { "unschedulable": true } }), Some("recreated meanwhile"))]
    fn the_last_look_decides(#[case] now: Value, #[case] says: Option<&str>) {
        let judged = Cordon::check_node(&node(json!({}), json!({})), &now);
        match (judged, says) {
            (Ok(()), None) => {}
            (Err(Error::NotVerified(why)), Some(says)) => assert!(why.contains(says), "{why}"),
            (judged, _) => panic!("{judged:?}"),
        }
    }

    #[rstest]
    #[case::done(false, None, "cordoned node web", "uncordoned node web")]
    #[case::dry_run(true, None, "would cordon node web", "would uncordon node web")]
    #[case::already(false, Some("it is so"), "it is so", "it is so")]
    fn tells(#[case] dry_run: bool, #[case] already: Option<&str>, #[case] cordoned: &str, #[case] uncordoned: &str) {
        let (target, outcome) = (node(json!({}), json!({})), (dry_run, already));
        let uncordon = uncordon();
        assert_eq!(sentence(&cordon(), &target, &cordon().details(&target, &run()), outcome), cordoned);
        assert_eq!(sentence(&uncordon, &target, &uncordon.details(&target, &run()), outcome), uncordoned);
    }

    #[test]
    fn the_way_back_is_the_other_one() {
        let target = node(json!({}), json!({ CORDON: r#"{"reason":"disk"}"# }));
        let uncordon = uncordon();
        let back = |undo: RollbackInformation| undo.rollback_action.ok_or(undo.failure_reason.unwrap_or_default());
        assert_eq!(back(cordon().undo(&target, true, &run())), Ok("uncordon-node".to_owned()));
        assert_eq!(back(uncordon.undo(&target, true, &run())), Ok("cordon-node".to_owned()));
        assert_eq!(back(cordon().undo(&target, false, &run())), Err("the node was cordoned already".to_owned()));
        assert_eq!(back(uncordon.undo(&target, false, &run())), Err("the node was schedulable already".to_owned()));
        assert_eq!(
            json!(cordon().details(&target, &run())),
            json!({ "unschedulable": true, "previous": { "reason": "disk" } })
        );
    }

    #[rstest]
    #[case(256, false)]
    #[case(257, true)]
    fn a_reason_has_at_most_256_characters(#[case] length: usize, #[case] refused: bool) {
        let long: Cordon = serde_json::from_value(json!({ "reason": "é".repeat(length) })).unwrap();
        let target = node(json!({}), json!({}));
        let problems = long.check(&TargetRef::Object(target.live.object.clone()), &run());
        assert_eq!(!problems.is_empty(), refused);
        assert!(problems.iter().all(|one| one.contains("expected at most 256 characters, has 257")), "{problems:?}");
    }

    #[test]
    fn a_protected_node_is_refused() {
        let target = node(json!({}), json!({ PROTECTED: "true" }));
        assert!(matches!(cordon().decide(&target, &run()), Decision::Refuse(_)));
    }
}
