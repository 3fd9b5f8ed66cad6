//! # scale
//!
//! Sets how many pods a workload has, through its `/scale` sub-resource and nothing else: the permission for it cannot
//! change an image, a command or a ServiceAccount.
//!
//! Guards: an autoscaler that sets the same number (it would overwrite ours within seconds), scaling to zero by
//! mistake, a number that is no longer what the caller saw, volumes that would be deleted. Verified by the pods
//! themselves: exactly so many are left, ready, and the others gone; a number that somebody else sets meanwhile is
//! reported as such, where kubectl calls it success.

mod other;

use std::collections::BTreeSet;

use json_patch::PatchOperation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::action::{Action, Decision, Named, RollbackInformation, RunContext, Subject, Told};
use crate::cluster::{Cluster, Commit, Patch, Proof};
use crate::error::{Error, Result};
use crate::guard::{self, operations};
use crate::object::{Kind, ObjectRef, Resource, controller, number, text, uid};
use crate::observed::{PodCounts, Versions};
use crate::parameters::{Period, Replicas, Settle, Terminating, Waiting, one_minute, yes};
use crate::permission::Permission;
use crate::related::{self, autoscalers};
use crate::wait::Rollout;
use crate::workload::{self, Found, Workload};

/// Parameters of `scale`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scale {
    /// How many pods there shall be.
    pub replicas: Replicas,
    /// Refuse when the number is another one now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_replicas: Option<Replicas>,
    /// What to do when a HorizontalPodAutoscaler targets the object: it would overwrite the number.
    #[serde(default)]
    pub on_autoscaler: OnAutoscaler,
    /// Allow scaling to 0.
    #[serde(default)]
    pub allow_zero: bool,
    /// Allow scaling a StatefulSet down that deletes the volumes of the pods that go
    /// (`persistentVolumeClaimRetentionPolicy.whenScaled: Delete`).
    #[serde(default)]
    pub allow_volume_deletion: bool,
    /// Wait until the pods are ready (or gone).
    #[serde(default = "yes")]
    pub wait: bool,
    /// How long to wait; by default what is left of `ACTION_TIMEOUT`, less a tenth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_timeout: Option<Period>,
    /// How long an obstacle that may pass (no node has room, a quota is used up, an image cannot be pulled) may stand
    /// without progress before the wait is given up. Raise it where a cluster autoscaler adds nodes.
    #[serde(default = "one_minute")]
    pub stuck_after: Period,
    /// How long pods without a readiness probe that become ready in this run are followed, since they are ready as soon as
    /// they run: the same containers must still run then. `0s` turns it off.
    #[serde(default)]
    pub settle: Settle,
    /// `wait` until the pods that go are gone, or `ignore` those that are being deleted: they may run on for their grace
    /// period.
    #[serde(default)]
    pub terminating: Terminating,
}

/// What to do about an autoscaler.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnAutoscaler {
    /// Refuse, and name it.
    #[default]
    Refuse,
    /// Scale all the same. Autoscalers are not even looked up.
    Ignore,
}

/// What `scale` reports.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// The number before.
    pub from_replicas: i64,
    /// The number that was asked for.
    pub to_replicas: i64,
    /// How many pods were ready in the end; absent when it was not waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i64>,
    /// How many pods there are beyond the number: a Deployment that is paused in the middle of a rollout keeps them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub surge_replicas: Option<i64>,
    /// The object's pods, as they were seen last. Those that `new` counts are of any revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodCounts>,
    /// The resourceVersion of each followed list at that moment.
    #[serde(default, skip_serializing_if = "Versions::is_empty")]
    pub verified_at: Versions,
}

/// The object, its number, and who else sets it.
#[derive(Debug)]
pub struct Target {
    found: Found,
    replicas: i64,
    autoscalers: Vec<String>,
}

impl Subject for Target {
    fn found(&self) -> Option<&Found> {
        Some(&self.found)
    }
}

impl Action for Scale {
    type Target = Target;
    type Change = Patch;
    type Details = Details;

    fn repeatable(_run: &RunContext, _has_uid: bool) -> bool {
        true
    }
    fn kinds() -> &'static [Kind] {
        &[Kind::Deployment, Kind::StatefulSet, Kind::ReplicaSet, Kind::ReplicationController, Kind::Pod]
    }

    fn other_kinds() -> bool {
        true
    }

    fn minimal() -> Value {
        json!({ "replicas": 0 })
    }

    fn example() -> Value {
        json!({ "replicas": 5 })
    }

    fn permissions(&self, resource: &Resource) -> BTreeSet<Permission> {
        let mut all = guard::owner_permissions(resource);
        all.insert(Permission::on_target("get", resource));
        if resource.built_in() == Some(Kind::Pod) {
            return all;
        }
        all.insert(Permission::on_target("patch", resource).on_sub("scale"));
        if resource.built_in().is_none() {
            all.insert(Permission::on_target("get", resource).on_sub("scale"));
        }
        if self.on_autoscaler == OnAutoscaler::Refuse {
            all.insert(Permission::of("list", &autoscalers()));
        }
        if self.wait {
            all.insert(Permission::on_target("watch", resource));
            all.insert(Permission::of("list", &Kind::Pod.resource()));
            all.insert(Permission::of("watch", &Kind::Pod.resource()));
            match resource.built_in() {
                Some(kind) => all.extend(guard::set_permissions(kind)),
                // Its pods may be its ReplicaSets'.
                None => _ = all.insert(Permission::of("list", &Kind::ReplicaSet.resource())),
            }
        }
        all
    }

    fn leads_to(kind: Kind) -> &'static [Kind] {
        match kind {
            Kind::Pod => &[Kind::Deployment, Kind::StatefulSet, Kind::ReplicaSet, Kind::ReplicationController],
            Kind::ReplicaSet => &[Kind::Deployment],
            _ => &[],
        }
    }

    async fn find(&self, cluster: &Cluster, named: &Named, run: &RunContext) -> Result<Target> {
        let found =
            workload::find(cluster, guard::object(named)?, |kind| matches!(kind, Kind::Pod | Kind::ReplicaSet)).await?;
        if matches!(found.kind(), Some(Kind::Pod | Kind::Node | Kind::DaemonSet | Kind::Job | Kind::CronJob)) {
            return Err(Error::InvalidRequest(format!(
                "{} has no number of replicas, and nothing that has one controls it",
                found.object
            )));
        }
        let replicas = match found.kind() {
            Some(_) => found.value.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1),
            None => number(&scale_of(cluster, &found.object).await?, "/spec/replicas"),
        };
        if let Some(owner) = controller(&found.value) {
            run.progress.warn(format!(
                "{} is controlled by {}, which may set its own number",
                found.object,
                described(owner)
            ));
        }
        let ask = self.on_autoscaler == OnAutoscaler::Refuse && replicas != self.replicas.get();
        let autoscalers = if ask { autoscalers_of(cluster, &found.object).await? } else { Vec::new() };
        let target = Target { found, replicas, autoscalers };
        if let Some(warning) = self.volume_warning(&target) {
            run.progress.warn(warning);
        }
        Ok(target)
    }

    fn decide(&self, target: &Target, _run: &RunContext) -> Decision<Patch> {
        let object = &target.found.object;
        let (now, wanted) = (target.replicas, self.replicas.get());
        if let Some(why) = target.found.leaving() {
            return Decision::Refuse(why);
        }
        if now == wanted {
            return Decision::AlreadySo { message: format!("{object} has {wanted} replicas already"), resumed: false };
        }
        match self.refusal(target) {
            Some(why) => Decision::Refuse(why),
            None => Decision::Change(patch(target, wanted)),
        }
    }

    async fn apply(&self, cluster: &Cluster, target: &Target, change: &Patch, commit: Commit) -> Result<Value> {
        let object = &target.found.object;
        // The patch in the result is about the number alone: a Scale has another shape than the object.
        let before = json!({ "metadata": { "name": object.name, "namespace": object.namespace, "uid": object.uid }, "spec": { "replicas": target.replicas } });
        cluster.patch(object, &before, change, commit).await
    }

    async fn verify(&self, cluster: &Cluster, target: &Target, now: &Value, run: &RunContext) -> Result<Details> {
        let object = &target.found.object;
        let wanted = self.replicas.get();
        let Some(kind) = target.found.kind() else {
            other::Scaled { object, wanted, asked: self.asked(), run }.wait(cluster).await?;
            return Ok(self.details(target, run));
        };
        // A Scale does not carry the generation that its controller has to observe.
        let now = if now.pointer("/metadata/generation").is_some() { now.clone() } else { cluster.get(object).await? };
        let overwritten = |value: &Value| {
            let found = Workload::read(kind, value).desired;
            (found != wanted)
                .then(|| format!("replicas are {found} now, not {wanted}{}", guard::last_writer(value, "scale")))
        };
        let asked = self.asked();
        let rollout = Rollout { object, kind, now, of_newest_revision: false, overwritten: &overwritten, asked };
        rollout.wait(cluster, run).await?;
        if let Some(surge) = run.progress.observation().surge {
            run.progress.warn(format!(
                "{object} is paused in the middle of a rollout: it keeps {surge} pods beyond its {wanted} until it is resumed"
            ));
        }
        Ok(self.details(target, run))
    }

    fn details(&self, target: &Target, run: &RunContext) -> Details {
        let seen = run.progress.observation();
        Details {
            from_replicas: target.replicas,
            to_replicas: self.replicas.get(),
            ready_replicas: seen.ready(),
            surge_replicas: seen.surge,
            pods: seen.pods,
            verified_at: seen.verified_at,
        }
    }

    fn undo(&self, target: &Target, applied: bool, _run: &RunContext) -> RollbackInformation {
        if !applied {
            return RollbackInformation::unavailable(
                "the replicas were that number already; what they were before is not known",
            );
        }
        if target.deletes_volumes(self.replicas.get()) {
            return RollbackInformation::unavailable(
                "the volumes of the pods that went were deleted with them; scaling back makes empty ones",
            );
        }
        let mut parameters = json!({ "replicas": target.replicas, "currentReplicas": self.replicas });
        if let Some(fields) = parameters.as_object_mut() {
            if target.replicas == 0 {
                fields.insert("allowZero".to_owned(), json!(true));
            }
            // The way back is down, and may delete volumes that were made on the way up.
            if target.deletes_volumes(-1) {
                fields.insert("allowVolumeDeletion".to_owned(), json!(true));
            }
            if self.on_autoscaler == OnAutoscaler::Ignore {
                fields.insert("onAutoscaler".to_owned(), json!("ignore"));
            }
        }
        RollbackInformation::request(
            format!("scale-{}", target.found.object.resource.kind().to_lowercase()),
            parameters,
        )
    }

    fn sentence(&self, target: &Target, details: &Details, told: &Told) -> String {
        let object = &target.found.object;
        let (from, to) = (details.from_replicas, details.to_replicas);
        let ready = details.ready_replicas.map_or("; not waited for".to_owned(), |ready| {
            let ready = ready.min(to);
            format!("; {ready} of {to} replicas ready after {:.1} s", told.took.as_secs_f32())
        });
        match (&told.already, told.dry_run) {
            (Some(message), true) => message.clone(),
            (Some(message), false) => format!("{message}{ready}"),
            (None, true) => format!("would scale {object} from {from} to {to}"),
            (None, false) => format!("scaled {object} from {from} to {to}{ready}"),
        }
    }

    fn waiting(&self) -> Option<Waiting> {
        Some(self.asked())
    }
}

impl Target {
    /// Whether scaling to this number deletes the volumes of the pods that go.
    fn deletes_volumes(&self, wanted: i64) -> bool {
        let value = &self.found.value;
        let deletes = text(value, "/spec/persistentVolumeClaimRetentionPolicy/whenScaled") == Some("Delete");
        let claims = value.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array);
        self.replicas > wanted && deletes && claims.is_some_and(|claims| !claims.is_empty())
    }
}

impl Scale {
    fn asked(&self) -> Waiting {
        Waiting {
            wait: self.wait,
            timeout: self.wait_timeout,
            stuck_after: self.stuck_after,
            settle: self.settle,
            terminating: self.terminating,
        }
    }

    /// Volumes that go, which is meant.
    fn volume_warning(&self, target: &Target) -> Option<String> {
        let wanted = self.replicas.get();
        let first = number(&target.found.value, "/spec/ordinals/start") + wanted;
        (self.allow_volume_deletion && target.deletes_volumes(wanted)).then(|| {
            format!(
                "{}: the volumes of the pods from ordinal {first} on are deleted with them \
                 (persistentVolumeClaimRetentionPolicy.whenScaled is Delete)",
                target.found.object
            )
        })
    }

    /// The guard that says no.
    fn refusal(&self, target: &Target) -> Option<String> {
        let object = &target.found.object;
        let (now, wanted) = (target.replicas, self.replicas.get());
        if let Some(why) = target.found.protection().or_else(|| controlled(target)) {
            return Some(why);
        }
        if let Some(expected) = self.current_replicas.filter(|expected| expected.get() != now) {
            return Some(format!(
                "{object} has {now} replicas, not {} as currentReplicas says; look again before you decide",
                expected.get()
            ));
        }
        if wanted == 0 && !self.allow_zero {
            return Some(format!("scaling {object} to 0 stops it; set allowZero to true if that is meant"));
        }
        if target.deletes_volumes(wanted) && !self.allow_volume_deletion {
            return Some(format!(
                "scaling {object} from {now} to {wanted} deletes the volumes of the pods that go \
                 (persistentVolumeClaimRetentionPolicy.whenScaled is Delete); set allowVolumeDeletion to true if that is meant"
            ));
        }
        let name = target.autoscalers.first()?;
        Some(if wanted == 0 {
            format!(
                "{object} is scaled by the HorizontalPodAutoscaler {name}, which 0 replicas switch off until someone scales it \
                 up again; set onAutoscaler to \"ignore\" if that is meant"
            )
        } else {
            format!(
                "{object} is scaled by the HorizontalPodAutoscaler {name}, which would overwrite {wanted} within seconds; \
                 change its minReplicas or maxReplicas, or set onAutoscaler to \"ignore\""
            )
        })
    }
}

/// A ReplicaSet or ReplicationController under a controller that is not built in (Argo Rollouts, OpenShift): that one sets
/// the number, and is what has to be scaled.
fn controlled(target: &Target) -> Option<String> {
    matches!(target.found.kind(), Some(Kind::ReplicaSet | Kind::ReplicationController)).then_some(())?;
    let owner = controller(&target.found.value)?;
    let own = |pointer: &str| text(owner, pointer).unwrap_or_default();
    Some(format!(
        "{} is controlled by {}, which sets its number; scale that: TARGET_KIND={} TARGET_API_VERSION={} TARGET_NAME={}",
        target.found.object,
        described(owner),
        own("/kind"),
        own("/apiVersion"),
        own("/name")
    ))
}

fn described(owner: &Value) -> String {
    format!("the {} {}", text(owner, "/kind").unwrap_or("object"), text(owner, "/name").unwrap_or_default())
}

fn patch(target: &Target, wanted: i64) -> Patch {
    // `/scale` leaves 0 replicas out, and a test of null passes where there is nothing.
    let expected = if target.replicas == 0 { Value::Null } else { json!(target.replicas) };
    let operations: Vec<PatchOperation> = operations(json!([
        { "op": "test", "path": "/metadata/uid", "value": uid(&target.found.value) },
        { "op": "test", "path": "/spec/replicas", "value": expected },
        { "op": "add", "path": "/spec/replicas", "value": wanted },
    ]));
    // A Scale tells no generation; that of the object is the only trace that a number leaves that was set and set back.
    let rests_on_generation = target.found.value.pointer("/metadata/generation").and_then(Value::as_i64);
    Patch { subresource: Some("scale"), operations, proof: Proof::FieldManager, rests_on_generation }
}

/// The autoscalers that target the object.
async fn autoscalers_of(cluster: &Cluster, object: &ObjectRef) -> Result<Vec<String>> {
    let all = related::autoscalers_of(cluster, object).await?;
    Ok(all.into_iter().map(|one| one.name).collect())
}

/// The `/scale` of a kind that is not built in.
async fn scale_of(cluster: &Cluster, object: &ObjectRef) -> Result<Value> {
    cluster.get_sub(object, Some("scale")).await.map_err(|error| match error {
        Error::Unavailable { message, .. } if message.contains("answered 500") => Error::Refused(format!(
            "the /scale sub-resource of {object} is broken ({message}); set its replicas field once by hand"
        )),
        error => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::test_support::{found, run, told};
    use rstest::rstest;

    fn target(replicas: i64, autoscalers: &[&str], annotations: &Value) -> Target {
        let value = json!({ "metadata": { "uid": "u", "annotations": annotations }, "spec": { "replicas": replicas } });
        Target {
            found: found(Kind::Deployment, value),
            replicas,
            autoscalers: autoscalers.iter().map(ToString::to_string).collect(),
        }
    }

    fn decide(parameters: Value, target: &Target) -> Decision<Patch> {
        serde_json::from_value::<Scale>(parameters).unwrap().decide(target, &run())
    }

    #[rstest]
    #[case::plain(json!({ "replicas": 5 }), target(3, &[], &json!({})), "")]
    #[case::expected_number(json!({ "replicas": 5, "currentReplicas": 3 }), target(3, &[], &json!({})), "")]
    #[case::zero_allowed(json!({ "replicas": 0, "allowZero": true }), target(3, &[], &json!({})), "")]
    #[case::autoscaler_ignored(json!({ "replicas": 5, "onAutoscaler": "ignore" }), target(3, &[], &json!({})), "")]
    #[case::zero(json!({ "replicas": 0 }), target(3, &[], &json!({})), "allowZero")]
    #[case::another_number(json!({ "replicas": 5, "currentReplicas": 4 }), target(3, &[], &json!({})), "has 3 replicas, not 4")]
    #[case::autoscaler(json!({ "replicas": 5 }), target(3, &["web-hpa"], &json!({})), "HorizontalPodAutoscaler web-hpa")]
    #[case::protected(json!({ "replicas": 5 }), target(3, &[], &json!({ workload::PROTECTED: "true" })), "is protected")]
    fn guards(#[case] parameters: Value, #[case] target: Target, #[case] refusal: &str) {
        match decide(parameters, &target) {
            Decision::Refuse(why) => assert!(!refusal.is_empty() && why.contains(refusal), "{why}"),
            Decision::Change(_) => assert_eq!(refusal, ""),
            Decision::AlreadySo { .. } => panic!("not so yet"),
        }
    }

    #[test]
    fn a_number_that_is_there_already_comes_before_every_guard() {
        let parameters = json!({ "replicas": 3, "currentReplicas": 9 });
        let decision = decide(parameters, &target(3, &["hpa"], &json!({ workload::PROTECTED: "true" })));
        assert!(matches!(decision, Decision::AlreadySo { .. }));
    }

    #[rstest]
    #[case::waited(false, None, Some(4), "scaled deployment shop/web from 3 to 5; 4 of 5 replicas ready after 1.5 s")]
    #[case::not_waited(false, None, None, "scaled deployment shop/web from 3 to 5; not waited for")]
    #[case::dry_run(true, None, None, "would scale deployment shop/web from 3 to 5")]
    #[case::already(false, Some("so it is"), Some(5), "so it is; 5 of 5 replicas ready after 1.5 s")]
    #[case::already_in_a_dry_run(true, Some("so it is"), None, "so it is")]
    fn tells(#[case] dry_run: bool, #[case] already: Option<&str>, #[case] ready: Option<i64>, #[case] says: &str) {
        let scale: Scale = serde_json::from_value(json!({ "replicas": 5 })).unwrap();
        let target = target(3, &[], &json!({}));
        let details = Details { ready_replicas: ready, ..scale.details(&target, &run()) };
        assert_eq!(scale.sentence(&target, &details, &told(dry_run, already)), says);
    }

    /// A set whose volumes go with its pods.
    fn with_volumes(replicas: i64) -> Target {
        let spec = json!({
            "replicas": replicas, "ordinals": { "start": 5 }, "volumeClaimTemplates": [{}],
            "persistentVolumeClaimRetentionPolicy": { "whenScaled": "Delete" },
        });
        let value = json!({ "metadata": { "uid": "u" }, "spec": spec });
        Target { found: found(Kind::StatefulSet, value), replicas, autoscalers: Vec::new() }
    }

    #[test]
    fn volumes_that_go_are_guarded_warned_of_and_do_not_come_back() {
        let target = with_volumes(3);
        let Decision::Refuse(why) = decide(json!({ "replicas": 1 }), &target) else { panic!() };
        assert!(why.contains("allowVolumeDeletion"), "{why}");
        let parameters = json!({ "replicas": 1, "allowVolumeDeletion": true });
        assert!(matches!(decide(parameters.clone(), &target), Decision::Change(_)));
        let scale: Scale = serde_json::from_value(parameters).unwrap();
        let warning = scale.volume_warning(&target).unwrap();
        assert!(warning.contains("the volumes of the pods from ordinal 6 on are deleted with them"), "{warning}");
        assert!(!scale.undo(&target, true, &run()).available);
        assert!(scale.volume_warning(&with_volumes(1)).is_none(), "nothing goes");
    }

    /// Of a paused rollout's surge some may be ready, or none: as many as were asked for are.
    #[rstest]
    #[case::the_surge_is_ready(6)]
    #[case::the_surge_is_broken(5)]
    fn a_surge_is_no_replica_too_many_nor_too_few(#[case] ready: i64) {
        let scale: Scale = serde_json::from_value(json!({ "replicas": 5 })).unwrap();
        let target = target(3, &[], &json!({}));
        let details =
            Details { ready_replicas: Some(ready), surge_replicas: Some(1), ..scale.details(&target, &run()) };
        let says = "scaled deployment shop/web from 3 to 5; 5 of 5 replicas ready after 1.5 s";
        assert_eq!(scale.sentence(&target, &details, &told(false, None)), says);
    }

    #[test]
    fn from_zero_tests_for_nothing() {
        let Decision::Change(patch) = decide(json!({ "replicas": 1 }), &target(0, &[], &json!({}))) else { panic!() };
        let text = serde_json::to_value(&patch.operations).unwrap();
        assert_eq!(text[1]["value"], Value::Null);
    }

    #[test]
    fn its_rollback_guards_the_number_it_left() {
        let scale: Scale = serde_json::from_value(json!({ "replicas": 5 })).unwrap();
        let undo = scale.undo(&target(0, &[], &json!({})), true, &run());
        assert_eq!(undo.rollback_action.unwrap(), "scale-deployment");
        assert!(!scale.undo(&target(0, &[], &json!({})), false, &run()).available);
        let ignores: Scale = serde_json::from_value(json!({ "replicas": 5, "onAutoscaler": "ignore" })).unwrap();
        let parameters = ignores.undo(&target(3, &[], &json!({})), true, &run()).rollback_parameters;
        assert_eq!(json!(parameters), json!({ "replicas": 3, "currentReplicas": 5, "onAutoscaler": "ignore" }));
        assert_eq!(json!(undo.rollback_parameters), json!({ "replicas": 0, "currentReplicas": 5, "allowZero": true }));
    }
}
