//! # scale
//!
//! Sets the number of a workload's pods, only through its `/scale` sub-resource: the permission for this cannot change
//! an image, a command or a ServiceAccount.
//!
//! Guards: an autoscaler that sets the same number (it would overwrite ours within seconds), scaling to zero by
//! mistake, a number that is no longer what the caller saw, volumes that would be deleted. Verified by the pods
//! themselves: exactly the wanted number is left and ready, and the others are gone. A number that somebody else sets
//! meanwhile is reported as such, where kubectl calls it success.

mod guards;
mod other;

pub use guards::OnAutoscaler;

use std::collections::BTreeSet;

use contract::result::RollbackInformation;
use contract::waiting::Waits;
use json_patch::PatchOperation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::action::{self, Action, Circumstances, Decision, TargetRef};
use crate::cluster::error::{Error, Result};
use crate::cluster::observed::{Obstacle, PodCounts, Versions};
use crate::cluster::patch::operations;
use crate::cluster::run::RunContext;
use crate::cluster::{Cluster, Commit, Patch, Proof};
use crate::k8s::object::{self, controller, number, uid};
use crate::k8s::quantity::Replicas;
use crate::k8s::{Kind, Permission, Resource};
use crate::workload::autoscaler::{autoscalers, autoscalers_of};
use crate::workload::lookup::{self, LiveObject};
use crate::workload::wait::RolloutWait;
use crate::workload::{Workload, owners};

/// Parameters of `scale`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scale {
    /// Number of pods that there shall be.
    pub replicas: Replicas,
    /// Refuse when the number is no longer this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_replicas: Option<Replicas>,
    /// Refuse or ignore a HorizontalPodAutoscaler that targets the object and would overwrite the number.
    #[serde(default)]
    pub on_autoscaler: OnAutoscaler,
    /// Allow scaling to 0.
    #[serde(default)]
    pub allow_zero: bool,
    /// Allow scaling a StatefulSet down that deletes the volumes of the pods that go
    /// (`persistentVolumeClaimRetentionPolicy.whenScaled: Delete`).
    #[serde(default)]
    pub allow_volume_deletion: bool,
}

/// Details of the result of `scale`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// The number before.
    pub from_replicas: i64,
    /// The number asked for.
    pub to_replicas: i64,
    /// Number of pods that were ready in the end; absent when the run did not wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i64>,
    /// Number of pods beyond the number asked for, which a Deployment keeps when paused in the middle of a rollout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub surge_replicas: Option<i64>,
    /// The object's pods, as last seen. Those that `new` counts are of any revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodCounts>,
    /// The resourceVersion of each followed list at that moment.
    #[serde(default, skip_serializing_if = "Versions::is_empty")]
    pub verified_at: Versions,
    /// What stood in the way, when the wait ended without its effect: at most three objects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub obstacles: Vec<Obstacle>,
}

/// The object, its number, and the autoscalers that set it too.
#[derive(Debug)]
pub struct Target {
    live: LiveObject,
    replicas: i64,
    autoscalers: Vec<String>,
}

impl action::Target for Target {
    fn live(&self) -> Option<&LiveObject> {
        Some(&self.live)
    }
}

impl Action for Scale {
    type Target = Target;
    type Plan = Patch;
    type Details = Details;

    const WAITS: Waits = Waits::ForPods;

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

    fn permissions(&self, resource: &Resource, circumstances: Circumstances) -> BTreeSet<Permission> {
        let mut all = BTreeSet::from([Permission::on_target("get", resource)]);
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
        if circumstances.waits {
            all.insert(Permission::on_target("watch", resource));
            all.insert(Permission::of("list", &Kind::Pod.resource()));
            all.insert(Permission::of("watch", &Kind::Pod.resource()));
            match resource.built_in() {
                Some(kind) => all.extend(owners::set_permissions(kind)),
                // The pods may belong to ReplicaSets of the object.
                None => _ = all.insert(Permission::of("list", &Kind::ReplicaSet.resource())),
            }
        }
        all
    }

    fn owner_kinds(kind: Kind) -> &'static [Kind] {
        match kind {
            Kind::Pod => &[Kind::Deployment, Kind::StatefulSet, Kind::ReplicaSet, Kind::ReplicationController],
            Kind::ReplicaSet => &[Kind::Deployment],
            _ => &[],
        }
    }

    async fn find(&self, cluster: &Cluster, named: &TargetRef, run: &RunContext) -> Result<Target> {
        let live = lookup::find(cluster, named.object()?, Self::owner_kinds).await?;
        if matches!(live.kind(), Some(Kind::Pod | Kind::Node | Kind::DaemonSet | Kind::Job | Kind::CronJob)) {
            return Err(Error::InvalidRequest(guards::nothing_to_scale(&live)));
        }
        let replicas = match live.kind() {
            Some(_) => live.value.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1),
            None => number(&other::scale_of(cluster, &live.object).await?, "/spec/replicas"),
        };
        if let Some(owner) = controller(&live.value) {
            run.progress.warn(format!(
                "{} is controlled by {}, which may set its own number",
                live.object,
                guards::described(owner)
            ));
        }
        let ask = self.on_autoscaler == OnAutoscaler::Refuse && replicas != self.replicas.get();
        let autoscalers = if ask { autoscalers_of(cluster, &live.object).await? } else { Vec::new() };
        let target = Target { live, replicas, autoscalers };
        if let Some(warning) = self.volume_warning(&target) {
            run.progress.warn(warning);
        }
        Ok(target)
    }

    fn decide(&self, target: &Target, _run: &RunContext) -> Decision<Patch> {
        let object = &target.live.object;
        let (now, wanted) = (target.replicas, self.replicas.get());
        if let Some(why) = target.live.leaving() {
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

    async fn apply(&self, cluster: &Cluster, target: &Target, plan: &Patch, commit: Commit) -> Result<Value> {
        let object = &target.live.object;
        // The patch in the result shows only the number, because a Scale has another form than the object.
        let before = json!({ "metadata": { "name": object.name, "namespace": object.namespace, "uid": object.uid }, "spec": { "replicas": target.replicas } });
        cluster.patch(object, &before, plan, commit).await
    }

    async fn verify(&self, cluster: &Cluster, target: &Target, now: &Value, run: &RunContext) -> Result<Details> {
        let object = &target.live.object;
        let wanted = self.replicas.get();
        let Some(kind) = target.live.kind() else {
            other::Scaled::wait(cluster, object, wanted, run).await?;
            return Ok(self.details(target, run));
        };
        // A Scale does not have the generation that the controller must observe.
        let now = if now.pointer("/metadata/generation").is_some() { now.clone() } else { cluster.get(object).await? };
        let overwritten = |value: &Value| {
            let found = Workload::read(kind, value).desired;
            (found != wanted)
                .then(|| format!("replicas are {found} now, not {wanted}{}", object::last_writer(value, "scale")))
        };
        let wait = RolloutWait { object, kind, now, of_newest_revision: false, overwritten: &overwritten, run };
        wait.wait(cluster).await?;
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
            obstacles: seen.obstacles,
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
        if target.deletes_volumes(-1) {
            return RollbackInformation::unavailable(format!(
                "scaling back to {} deletes the volumes of the pods that go, which may be older than this run; a person has to allow \
                 that by allowVolumeDeletion",
                target.replicas
            ));
        }
        let mut parameters = json!({ "replicas": target.replicas, "currentReplicas": self.replicas });
        if let Some(fields) = parameters.as_object_mut() {
            if target.replicas == 0 {
                fields.insert("allowZero".to_owned(), json!(true));
            }
            if self.on_autoscaler == OnAutoscaler::Ignore {
                fields.insert("onAutoscaler".to_owned(), json!("ignore"));
            }
        }
        RollbackInformation::request(format!("scale-{}", target.live.object.resource.kind().to_lowercase()), parameters)
    }

    fn intent(&self, target: &Target, details: &Details) -> String {
        format!("scale {} from {} to {}", target.live.object, details.from_replicas, details.to_replicas)
    }

    fn done(&self, target: &Target, details: &Details) -> String {
        format!("scaled {} from {} to {}", target.live.object, details.from_replicas, details.to_replicas)
    }

    fn proof(&self, _target: &Target, details: &Details, took: &str) -> String {
        let to = details.to_replicas;
        details.ready_replicas.map_or("; not waited for".to_owned(), |ready| {
            format!("; {} of {to} replicas ready after {took}", ready.min(to))
        })
    }
}

fn patch(target: &Target, wanted: i64) -> Patch {
    // `/scale` omits 0 replicas, and a test for null passes for an absent field.
    let expected = if target.replicas == 0 { Value::Null } else { json!(target.replicas) };
    let operations: Vec<PatchOperation> = operations(json!([
        { "op": "test", "path": "/metadata/uid", "value": uid(&target.live.value) },
        { "op": "test", "path": "/spec/replicas", "value": expected },
        { "op": "add", "path": "/spec/replicas", "value": wanted },
    ]));
    // A Scale has no generation; the object's is the only trace of a number that was set and set back.
    let rests_on_generation = target.live.value.pointer("/metadata/generation").and_then(Value::as_i64);
    Patch { subresource: Some("scale"), operations, proof: Proof::FieldManager, rests_on_generation }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::testing::{live, run, sentence};
    use contract::annotations::PROTECTED;
    use rstest::rstest;

    fn target(replicas: i64, autoscalers: &[&str], annotations: &Value) -> Target {
        let value = json!({ "metadata": { "uid": "u", "annotations": annotations }, "spec": { "replicas": replicas } });
        Target {
            live: live(Kind::Deployment, value),
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
    #[case::protected(json!({ "replicas": 5 }), target(3, &[], &json!({ PROTECTED: "true" })), "is protected")]
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
        let decision = decide(parameters, &target(3, &["hpa"], &json!({ PROTECTED: "true" })));
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
        assert_eq!(sentence(&scale, &target, &details, (dry_run, already)), says);
    }

    /// A set whose volumes are deleted with its pods.
    fn with_volumes(replicas: i64) -> Target {
        let spec = json!({
            "replicas": replicas, "ordinals": { "start": 5 }, "volumeClaimTemplates": [{}],
            "persistentVolumeClaimRetentionPolicy": { "whenScaled": "Delete" },
        });
        let value = json!({ "metadata": { "uid": "u" }, "spec": spec });
        Target { live: live(Kind::StatefulSet, value), replicas, autoscalers: Vec::new() }
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

    /// Of a paused rollout's surge some pods may be ready, or none: as many as asked for are.
    #[rstest]
    #[case::the_surge_is_ready(6)]
    #[case::the_surge_is_broken(5)]
    fn a_surge_is_no_replica_too_many_nor_too_few(#[case] ready: i64) {
        let scale: Scale = serde_json::from_value(json!({ "replicas": 5 })).unwrap();
        let target = target(3, &[], &json!({}));
        let details =
            Details { ready_replicas: Some(ready), surge_replicas: Some(1), ..scale.details(&target, &run()) };
        let says = "scaled deployment shop/web from 3 to 5; 5 of 5 replicas ready after 1.5 s";
        assert_eq!(sentence(&scale, &target, &details, (false, None)), says);
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

    /// The way back is down, and deletes volumes, which were there before where the set was smaller for a while.
    #[test]
    fn a_way_back_that_deletes_volumes_is_a_persons_business() {
        let up: Scale = serde_json::from_value(json!({ "replicas": 3 })).unwrap();
        let back = up.undo(&with_volumes(1), true, &run());
        assert!(!back.available && back.failure_reason.unwrap().contains("allowVolumeDeletion"));
    }

    #[rstest]
    #[case::to_zero(json!({ "replicas": 0, "allowZero": true }), "which 0 replicas switch off")]
    #[case::to_another_number(json!({ "replicas": 5 }), "which would overwrite 5 within seconds")]
    fn an_autoscaler_is_told_by_what_it_would_do(#[case] parameters: Value, #[case] says: &str) {
        let Decision::Refuse(why) = decide(parameters, &target(3, &["web-hpa"], &json!({}))) else { panic!() };
        assert!(why.contains(says), "{why}");
    }

    #[rstest]
    #[case(Kind::ReplicaSet, true)]
    #[case(Kind::ReplicationController, true)]
    #[case(Kind::StatefulSet, false)]
    fn what_a_foreign_controller_scales_is_named(#[case] kind: Kind, #[case] refused: bool) {
        let owner = json!({ "controller": true, "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "r" });
        let value = json!({ "metadata": { "uid": "u", "ownerReferences": [owner] }, "spec": { "replicas": 3 } });
        let target = Target { live: live(kind, value), replicas: 3, autoscalers: Vec::new() };
        match decide(json!({ "replicas": 5 }), &target) {
            Decision::Refuse(why) => {
                let says = "is controlled by the Rollout r, which sets its number; scale that: TARGET_KIND=Rollout \
                     TARGET_API_VERSION=argoproj.io/v1alpha1 TARGET_NAME=r";
                assert!(refused && why.contains(says), "{why}");
            }
            _ => assert!(!refused),
        }
    }
}
