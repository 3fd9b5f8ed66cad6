//! # cordon and uncordon
//!
//! Marks a node unschedulable, or schedulable again: `spec.unschedulable` and one annotation of the runner's own, which
//! keeps who did it, when and why. Pods that run there stay; nothing is drained. Taints are others': an uncordon tells those
//! that still keep pods out.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::action::{Action, Decision, Named, RollbackInformation, RunContext, Subject, Told};
use crate::cluster::{Cluster, Commit, Patch, Proof};
use crate::error::{Error, Result};
use crate::guard::{self, annotate, operations};
use crate::object::{Kind, Resource, annotation, text, uid};
use crate::parameters::{Period, Waiting, one_minute, yes};
use crate::permission::Permission;
use crate::related::TaintDocument;
use crate::workload::{self, Found};

/// The annotation on a node: who last cordoned or uncordoned it through the runner, when and why.
pub const MARK: &str = "kubernetesexecution.kubernaut.io/cordon";

/// The taint by which the node controller repeats `spec.unschedulable`; it follows an uncordon by itself.
const OWN_TAINT: &str = "node.kubernetes.io/unschedulable";

/// Parameters of `cordon`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cordon {
    /// Why, for people; kept on the node. By default `ACTION_REASON`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub reason: Option<String>,
    /// Look once more whether it stayed so.
    #[serde(default = "yes")]
    pub wait: bool,
    /// How long that look may take; by default what is left of `ACTION_TIMEOUT`, less a tenth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_timeout: Option<Period>,
}

/// Parameters of `uncordon`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Uncordon {
    /// Why, for people; kept on the node. By default `ACTION_REASON`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub reason: Option<String>,
    /// Look once more whether it stayed so.
    #[serde(default = "yes")]
    pub wait: bool,
    /// How long that look may take; by default what is left of `ACTION_TIMEOUT`, less a tenth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_timeout: Option<Period>,
}

/// What `cordon` and `uncordon` report.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// Whether the node takes no new pods now.
    pub unschedulable: bool,
    /// Who cordoned or uncordoned the node before, when and why, where the runner did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<Value>,
    /// The resourceVersion, by resource, of the last look that found it so; not there where none was taken.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub verified_at: BTreeMap<String, String>,
}

/// The node.
#[derive(Debug)]
pub struct Target {
    found: Found,
    /// The taints that keep pods out, by the last answer about the node.
    closed_by: RefCell<Vec<String>>,
}

impl Subject for Target {
    fn found(&self) -> Option<&Found> {
        Some(&self.found)
    }
}

impl Target {
    fn new(found: Found) -> Self {
        let closed_by = RefCell::new(closing_taints(&found.value));
        Self { found, closed_by }
    }

    fn unschedulable(&self) -> bool {
        unschedulable(&self.found.value)
    }

    /// The node as it is now.
    fn saw(&self, now: &Value) {
        self.closed_by.replace(closing_taints(now));
    }
}

fn unschedulable(node: &Value) -> bool {
    node.pointer("/spec/unschedulable").and_then(Value::as_bool).unwrap_or(false)
}

/// The taints, but for the cordon's own, that keep pods out.
fn closing_taints(node: &Value) -> Vec<String> {
    let own = |taint: &TaintDocument| taint.key == OWN_TAINT && taint.effect == "NoSchedule";
    let all = TaintDocument::all_of(node).into_iter();
    all.filter(|taint| taint.closes() && !own(taint)).map(|taint| taint.to_string()).collect()
}

/// What cordon and uncordon have in common: all but the direction.
struct Turn<'a> {
    wanted: bool,
    reason: Option<&'a String>,
}

impl Turn<'_> {
    const fn verb(&self) -> &'static str {
        if self.wanted { "cordon" } else { "uncordon" }
    }

    const fn state(&self) -> &'static str {
        if self.wanted { "cordoned" } else { "schedulable" }
    }

    fn decide(&self, target: &Target, run: &RunContext) -> Decision<Patch> {
        // Before "already so": what a node that goes is like will not be so for long.
        if let Some(why) = target.found.leaving() {
            return Decision::Refuse(why);
        }
        if target.unschedulable() == self.wanted {
            let message = format!("{} is {} already", target.found.object, self.state());
            return Decision::AlreadySo { message, resumed: false };
        }
        if let Some(why) = target.found.protection() {
            return Decision::Refuse(why);
        }
        let mark = json!({
            "action": self.verb(), "run": run.run, "id": run.id, "time": run.now.to_string(),
            "reason": self.reason.or(run.reason.as_ref()),
        });
        let node = &target.found.value;
        // The API leaves false out, and a test of null passes where there is nothing.
        let (expected, change) = if self.wanted {
            (Value::Null, json!({ "op": "add", "path": "/spec/unschedulable", "value": true }))
        } else {
            (json!(true), json!({ "op": "remove", "path": "/spec/unschedulable" }))
        };
        let mut patch = vec![
            json!({ "op": "test", "path": "/metadata/uid", "value": uid(node) }),
            workload::unless_leaving(),
            json!({ "op": "test", "path": "/spec/unschedulable", "value": expected }),
            change,
        ];
        patch.extend(annotate(node, "", &[(MARK, mark.to_string())]));
        let proof = Proof::Annotation { key: MARK, holds: format!("\"{}\"", run.run) };
        // Nodes have no generation; whoever turned it since then has replaced the annotation, or is told by it.
        let operations = operations(json!(patch));
        Decision::Change(Patch { subresource: None, operations, proof, rests_on_generation: None })
    }

    /// Looks at what is so now, also where it was so already: that is what is said.
    async fn verify(&self, cluster: &Cluster, target: &Target, run: &RunContext) -> Result<Details> {
        let object = &target.found.object;
        let node = cluster.get(object).await.map_err(|error| match error {
            Error::TargetNotFound(_) => Error::NotVerified(format!("{object} was deleted meanwhile")),
            error => error,
        })?;
        target.saw(&node);
        self.judge(target, &node)?;
        let version = text(&node, "/metadata/resourceVersion").map(str::to_owned);
        let verified_at = version.map(|version| (object.resource.plural().to_owned(), version)).into_iter().collect();
        Ok(Details { verified_at, ..self.details(target, run) })
    }

    /// Whether the node is the one that was meant, and as it was wanted.
    fn judge(&self, target: &Target, node: &Value) -> Result<()> {
        let object = &target.found.object;
        if uid(node) != uid(&target.found.value) {
            return Err(Error::NotVerified(format!("{object} was deleted and made anew meanwhile")));
        }
        if unschedulable(node) == self.wanted {
            return Ok(());
        }
        Err(Error::NotVerified(format!(
            "{object} is not {} any more: someone else changed it back{}",
            self.state(),
            guard::last_writer(node, "")
        )))
    }

    /// What is reported of the node as the last answer had it; with a warning where it stays closed all the same.
    fn details(&self, target: &Target, run: &RunContext) -> Details {
        let closed_by = target.closed_by.borrow();
        if !self.wanted && !closed_by.is_empty() {
            run.progress.warn(format!(
                "uncordon leaves other taints on {}, which keep out every pod that does not tolerate them: {}",
                target.found.object,
                closed_by.join(", ")
            ));
        }
        let previous = annotation(&target.found.value, MARK).and_then(|mark| serde_json::from_str(mark).ok());
        Details { unschedulable: self.wanted, previous, verified_at: BTreeMap::new() }
    }

    fn sentence(&self, target: &Target, told: &Told) -> String {
        let object = &target.found.object;
        match (&told.already, told.dry_run) {
            (Some(message), _) => message.clone(),
            (None, true) => format!("would {} {object}", self.verb()),
            (None, false) => format!("{}ed {object}", self.verb()),
        }
    }

    fn undo(&self, applied: bool) -> RollbackInformation {
        if !applied {
            return RollbackInformation::unavailable(format!("the node was {} already", self.state()));
        }
        let back = Turn { wanted: !self.wanted, reason: None };
        RollbackInformation::request(format!("{}-node", back.verb()), json!({}))
    }
}

fn too_long(reason: Option<&String>) -> Vec<String> {
    const LONGEST: usize = 256;
    let length = reason.map_or(0, |reason| reason.chars().count());
    if length > LONGEST {
        vec![format!("ACTION_PARAMETERS: reason: expected at most {LONGEST} characters, has {length}")]
    } else {
        Vec::new()
    }
}

macro_rules! node_action {
    ($action:ident, $wanted:literal) => {
        impl $action {
            fn turn(&self) -> Turn<'_> {
                Turn { wanted: $wanted, reason: self.reason.as_ref() }
            }
        }

        impl Action for $action {
            type Target = Target;
            type Change = Patch;
            type Details = Details;

            fn repeatable(_run: &RunContext, _has_uid: bool) -> bool {
                true
            }
            fn kinds() -> &'static [Kind] {
                &[Kind::Node]
            }
            fn example() -> Value {
                json!({ "reason": "disk errors" })
            }
            fn permissions(&self, resource: &Resource) -> BTreeSet<Permission> {
                ["get", "patch"].map(|verb| Permission::on_target(verb, resource)).into()
            }
            fn check(&self, _named: &Named, _run: &RunContext) -> Vec<String> {
                too_long(self.reason.as_ref())
            }
            async fn find(&self, cluster: &Cluster, named: &Named, run: &RunContext) -> Result<Target> {
                let target = Target::new(workload::find(cluster, guard::object(named)?, |_| false).await?);
                if !$wanted && target.unschedulable() && annotation(&target.found.value, MARK).is_none() {
                    run.progress.warn(format!("{} was not cordoned by the runner: whoever did may count on it", target.found.object));
                }
                Ok(target)
            }
            fn decide(&self, target: &Target, run: &RunContext) -> Decision<Patch> {
                self.turn().decide(target, run)
            }
            async fn apply(&self, cluster: &Cluster, target: &Target, change: &Patch, commit: Commit) -> Result<Value> {
                let now = cluster.patch(&target.found.object, &target.found.value, change, commit).await?;
                target.saw(&now);
                Ok(now)
            }
            async fn verify(&self, cluster: &Cluster, target: &Target, _now: &Value, run: &RunContext) -> Result<Details> {
                self.turn().verify(cluster, target, run).await
            }
            fn details(&self, target: &Target, run: &RunContext) -> Details {
                self.turn().details(target, run)
            }
            fn undo(&self, _target: &Target, applied: bool, _run: &RunContext) -> RollbackInformation {
                self.turn().undo(applied)
            }
            fn sentence(&self, target: &Target, _details: &Details, told: &Told) -> String {
                self.turn().sentence(target, told)
            }
            fn waiting(&self) -> Option<Waiting> {
                Some(Waiting::of(self.wait, self.wait_timeout, one_minute()))
            }
        }
    };
}

node_action!(Cordon, true);
node_action!(Uncordon, false);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::test_support::{found, run, told};
    use rstest::rstest;

    fn node(spec: Value, annotations: Value) -> Target {
        Target::new(found(Kind::Node, json!({ "metadata": { "uid": "u", "annotations": annotations }, "spec": spec })))
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
        json_patch::patch(&mut target.found.value, &operations).unwrap();
        assert!(target.unschedulable());
        let mark: Value = serde_json::from_str(annotation(&target.found.value, MARK).unwrap()).unwrap();
        assert_eq!(text(&mark, "/reason"), Some("disk"));
    }

    #[test]
    fn already_so_comes_before_protection() {
        let target = node(json!({ "unschedulable": true }), json!({ workload::PROTECTED: "true" }));
        assert!(matches!(cordon().decide(&target, &run()), Decision::AlreadySo { .. }));
    }

    fn uncordon() -> Uncordon {
        serde_json::from_value(json!({})).unwrap()
    }

    #[rstest]
    #[case::to_be_done(json!({}))]
    #[case::already_so(json!({ "unschedulable": true }))]
    fn a_node_that_is_being_deleted_is_refused_whatever_it_is_like(#[case] spec: Value) {
        let mut target = node(spec, json!({ workload::PROTECTED: "true" }));
        target.found.value["metadata"]["deletionTimestamp"] = json!("2026-11-23T03:00:30Z");
        for decision in [cordon().decide(&target, &run()), uncordon().decide(&target, &run())] {
            assert!(matches!(decision, Decision::Refuse(why) if why.contains("node web is being deleted since")));
        }
    }

    #[test]
    fn a_node_that_is_deleted_before_the_write_is_not_written_to() {
        let Decision::Change(patch) = cordon().decide(&node(json!({}), json!({})), &run()) else { panic!() };
        let [expected] = guard::operations(json!([workload::unless_leaving()])).try_into().unwrap();
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
    #[case::another_one(json!({ "metadata": { "uid": "v" }, "spec": { "unschedulable": true } }), Some("made anew meanwhile"))]
    fn the_last_look_decides(#[case] now: Value, #[case] says: Option<&str>) {
        let judged = cordon().turn().judge(&node(json!({}), json!({})), &now);
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
        let (target, told) = (node(json!({}), json!({})), told(dry_run, already));
        let uncordon = uncordon();
        assert_eq!(cordon().sentence(&target, &cordon().details(&target, &run()), &told), cordoned);
        assert_eq!(uncordon.sentence(&target, &uncordon.details(&target, &run()), &told), uncordoned);
    }

    #[test]
    fn the_way_back_is_the_other_one() {
        let target = node(json!({}), json!({ MARK: r#"{"reason":"disk"}"# }));
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
        let problems = long.check(&Named::Object(target.object().unwrap().clone()), &run());
        assert_eq!(!problems.is_empty(), refused);
        assert!(problems.iter().all(|one| one.contains("expected at most 256 characters, has 257")), "{problems:?}");
    }

    #[test]
    fn a_protected_node_is_refused() {
        let target = node(json!({}), json!({ workload::PROTECTED: "true" }));
        assert!(matches!(cordon().decide(&target, &run()), Decision::Refuse(_)));
    }
}
