//! # cordon and uncordon
//!
//! Marks a node unschedulable, or schedulable again: `spec.unschedulable` and one annotation of the runner's own, which
//! keeps who did it, when and why. Pods that run there stay; nothing is drained.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::action::{Action, Decision, Named, RollbackInformation, RunContext, Subject, Told};
use crate::cluster::{Cluster, Commit, Patch, Proof};
use crate::error::{Error, Result};
use crate::guard::{self, annotate, operations};
use crate::object::{Kind, Resource, annotation, uid};
use crate::parameters::{Period, Waiting, one_minute, yes};
use crate::permission::Permission;
use crate::workload::{self, Found};

/// The annotation on a node: who last cordoned or uncordoned it through the runner, when and why.
pub const MARK: &str = "kubernetesexecution.kubernaut.io/cordon";

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
}

/// The node.
#[derive(Debug)]
pub struct Target(Found);

impl Subject for Target {
    fn found(&self) -> Option<&Found> {
        Some(&self.0)
    }
}

impl Target {
    fn unschedulable(&self) -> bool {
        unschedulable(&self.0.value)
    }

    fn details(&self, unschedulable: bool) -> Details {
        let previous = annotation(&self.0.value, MARK).and_then(|mark| serde_json::from_str(mark).ok());
        Details { unschedulable, previous }
    }
}

fn unschedulable(node: &Value) -> bool {
    node.pointer("/spec/unschedulable").and_then(Value::as_bool).unwrap_or(false)
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
        if target.unschedulable() == self.wanted {
            let message = format!("{} is {} already", target.0.object, self.state());
            return Decision::AlreadySo { message, resumed: false };
        }
        if let Some(why) = target.0.protection() {
            return Decision::Refuse(why);
        }
        let mark = json!({
            "action": self.verb(), "run": run.run, "id": run.id, "time": run.now.to_string(),
            "reason": self.reason.or(run.reason.as_ref()),
        });
        let node = &target.0.value;
        // The API leaves false out, and a test of null passes where there is nothing.
        let (expected, change) = if self.wanted {
            (Value::Null, json!({ "op": "add", "path": "/spec/unschedulable", "value": true }))
        } else {
            (json!(true), json!({ "op": "remove", "path": "/spec/unschedulable" }))
        };
        let mut patch = vec![
            json!({ "op": "test", "path": "/metadata/uid", "value": uid(node) }),
            json!({ "op": "test", "path": "/spec/unschedulable", "value": expected }),
            change,
        ];
        patch.extend(annotate(node, "", &[(MARK, mark.to_string())]));
        let proof = Proof::Annotation { key: MARK, holds: format!("\"{}\"", run.run) };
        // Nodes have no generation; whoever turned it since then has replaced the annotation, or is told by it.
        let operations = operations(json!(patch));
        Decision::Change(Patch { subresource: None, operations, proof, rests_on_generation: None })
    }

    async fn verify(&self, cluster: &Cluster, target: &Target, now: &Value) -> Result<Details> {
        if now == &target.0.value {
            return Ok(target.details(self.wanted));
        }
        let object = &target.0.object;
        let node = cluster.get(object).await.map_err(|error| match error {
            Error::TargetNotFound(_) => Error::NotVerified(format!("{object} was deleted meanwhile")),
            error => error,
        })?;
        if uid(&node) != uid(&target.0.value) {
            return Err(Error::NotVerified(format!("{object} was deleted and made anew meanwhile")));
        }
        if unschedulable(&node) == self.wanted {
            return Ok(target.details(self.wanted));
        }
        Err(Error::NotVerified(format!(
            "{object} is not {} any more: someone else changed it back{}",
            self.state(),
            guard::last_writer(&node, "")
        )))
    }

    fn sentence(&self, target: &Target, told: &Told) -> String {
        let object = &target.0.object;
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

async fn find_node(cluster: &Cluster, named: &Named) -> Result<Target> {
    Ok(Target(workload::find(cluster, guard::object(named)?, |_| false).await?))
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
                let target = find_node(cluster, named).await?;
                if !$wanted && target.unschedulable() && annotation(&target.0.value, MARK).is_none() {
                    run.progress.warn(format!("{} was not cordoned by the runner: whoever did may count on it", target.0.object));
                }
                Ok(target)
            }
            fn decide(&self, target: &Target, run: &RunContext) -> Decision<Patch> {
                self.turn().decide(target, run)
            }
            async fn apply(&self, cluster: &Cluster, target: &Target, change: &Patch, commit: Commit) -> Result<Value> {
                cluster.patch(&target.0.object, &target.0.value, change, commit).await
            }
            async fn verify(&self, cluster: &Cluster, target: &Target, now: &Value, _run: &RunContext) -> Result<Details> {
                self.turn().verify(cluster, target, now).await
            }
            fn details(&self, target: &Target, _run: &RunContext) -> Details {
                target.details($wanted)
            }
            fn undo(&self, _target: &Target, applied: bool, _run: &RunContext) -> RollbackInformation {
                self.turn().undo(applied)
            }
            fn sentence(&self, target: &Target, _details: &Details, told: &Told) -> String {
                self.turn().sentence(target, told)
            }
            fn waiting(&self) -> Option<Waiting> {
                Some(Waiting { wait: self.wait, timeout: self.wait_timeout, stuck_after: one_minute() })
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
    use crate::object::text;
    use rstest::rstest;

    fn node(spec: Value, annotations: Value) -> Target {
        Target(found(Kind::Node, json!({ "metadata": { "uid": "u", "annotations": annotations }, "spec": spec })))
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
        json_patch::patch(&mut target.0.value, &operations).unwrap();
        assert!(target.unschedulable());
        let mark: Value = serde_json::from_str(annotation(&target.0.value, MARK).unwrap()).unwrap();
        assert_eq!(text(&mark, "/reason"), Some("disk"));
    }

    #[test]
    fn already_so_comes_before_protection() {
        let target = node(json!({ "unschedulable": true }), json!({ workload::PROTECTED: "true" }));
        assert!(matches!(cordon().decide(&target, &run()), Decision::AlreadySo { .. }));
    }

    #[rstest]
    #[case::done(false, None, "cordoned node web", "uncordoned node web")]
    #[case::dry_run(true, None, "would cordon node web", "would uncordon node web")]
    #[case::already(false, Some("it is so"), "it is so", "it is so")]
    fn tells(#[case] dry_run: bool, #[case] already: Option<&str>, #[case] cordoned: &str, #[case] uncordoned: &str) {
        let (target, told) = (node(json!({}), json!({})), told(dry_run, already));
        let uncordon: Uncordon = serde_json::from_value(json!({})).unwrap();
        assert_eq!(cordon().sentence(&target, &cordon().details(&target, &run()), &told), cordoned);
        assert_eq!(uncordon.sentence(&target, &uncordon.details(&target, &run()), &told), uncordoned);
    }

    #[test]
    fn the_way_back_is_the_other_one() {
        let target = node(json!({}), json!({ MARK: r#"{"reason":"disk"}"# }));
        let uncordon: Uncordon = serde_json::from_value(json!({})).unwrap();
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
