//! # restart of a pod
//!
//! Evicts the pod (by the eviction API, so that disruption budgets hold) and waits until it is gone and the workload at
//! the top of its owners has as many serving pods as it wants. A pod that nothing would replace is refused unless
//! `force`. If a budget blocks, the eviction is sent again when a budget changes, not at an interval.

mod asked;
mod job;
mod replaced;
mod replacer;

use std::collections::BTreeSet;

use contract::annotations::PROTECTED;
use contract::result::{ObjectReference, RollbackInformation};
use contract::waiting::{WaitOptions, Waits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::action::{self, Action, Circumstances, Decision, TargetRef};
use crate::cluster::error::{Error, Result};
use crate::cluster::observed::{Obstacle, PodCounts, Versions};
use crate::cluster::run::RunContext;
use crate::cluster::{Cluster, Commit, Eviction};
use crate::k8s::object::{annotation, text, uid};
use crate::k8s::{Kind, ObjectRef, Permission, Resource};
use crate::workload::eviction::{self, disruption_budgets};
use crate::workload::lookup::LiveObject;
use crate::workload::owners;
use replacer::Replacer;

/// Parameters of `restart` for a pod.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestartPod {
    /// Seconds that the containers get to end by themselves; by default those of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_period_seconds: Option<u32>,
    /// Evict even a pod that nothing would replace: it is then gone for good.
    #[serde(default)]
    pub force: bool,
}

/// Details of the result of `restart` for a pod.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// Name of the pod's replacement; absent when there is none or the run did not wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replacement: Option<String>,
    /// The workload at the top of the pod's owners, which shall have as many pods as it wants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<ObjectReference>,
    /// Number of pods that the workload wants; absent when the run did not wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_replicas: Option<i64>,
    /// Number of ready pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i64>,
    /// The workload's pods, as last seen; `terminating` is the evicted one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodCounts>,
    /// The resourceVersions of the objects at that moment.
    #[serde(default, skip_serializing_if = "Versions::is_empty")]
    pub verified_at: Versions,
    /// What stood in the way, when the wait ended without its effect: at most three objects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub obstacles: Vec<Obstacle>,
}

/// The pod, and its replacer.
#[derive(Debug)]
pub struct Target {
    object: ObjectRef,
    /// The pod; `None` when already gone.
    pod: Option<Value>,
    replacer: Replacer,
    /// UIDs of the other pods with the same owner.
    siblings: Vec<String>,
    /// UID of the new pod that has the name of a pod that is gone.
    namesake: Option<String>,
    /// Options for waiting.
    wait: WaitOptions,
}

impl action::Target for Target {
    fn live(&self) -> Option<&LiveObject> {
        None
    }
    fn object(&self) -> Option<&ObjectRef> {
        Some(&self.object)
    }
    fn value(&self) -> Option<&Value> {
        self.pod.as_ref()
    }
}

/// The decision to evict; the resourceVersion is chosen when the eviction is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evict;

impl Action for RestartPod {
    type Target = Target;
    type Plan = Evict;
    type Details = Details;

    const WAITS: Waits = Waits::ForPod;

    /// An eviction leaves no mark, but the UID tells that the pod is gone.
    fn repeatable(_run: &RunContext, has_uid: bool) -> bool {
        has_uid
    }

    fn kinds() -> &'static [Kind] {
        &[Kind::Pod]
    }

    fn example() -> Value {
        json!({ "gracePeriodSeconds": 30 })
    }

    fn permissions(&self, resource: &Resource, _circumstances: Circumstances) -> BTreeSet<Permission> {
        [
            Permission::on_target("get", resource),
            Permission::on_target("create", resource).on_sub("eviction"),
            Permission::of("list", &disruption_budgets()),
            Permission::of("watch", &disruption_budgets()),
            // To learn the outcome of an eviction whose answer is lost.
            Permission::of("list", resource),
            Permission::of("watch", resource),
        ]
        .into()
    }

    /// Those on the owners are asked for by reading them: which they are is known only then.
    fn permissions_once_found(&self, target: &Target, circumstances: Circumstances) -> BTreeSet<Permission> {
        let owner = target.replacer.found().filter(|_| circumstances.waits);
        owner.map(|found| owners::permissions(&found.object.resource)).unwrap_or_default()
    }

    /// To learn whether the pod would be replaced, and by which object.
    fn all_permissions(&self, kind: Kind, circumstances: Circumstances) -> BTreeSet<Permission> {
        let mut all = self.permissions(&kind.resource(), circumstances);
        for kind in replacer::KINDS.map(Kind::resource) {
            all.insert(Permission::of("get", &kind));
            all.extend(owners::permissions(&kind).into_iter().filter(|_| circumstances.waits));
        }
        all
    }

    fn check(&self, named: &TargetRef, run: &RunContext) -> Vec<String> {
        let has_uid = matches!(named, TargetRef::Object(ObjectRef { uid: Some(_), .. }));
        if run.id.is_some() && !has_uid {
            return vec!["TARGET_UID: restart-pod with an ACTION_ID needs it: an eviction leaves no mark, so only the UID tells that this pod is gone already".to_owned()];
        }
        Vec::new()
    }

    async fn find(&self, cluster: &Cluster, named: &TargetRef, run: &RunContext) -> Result<Target> {
        let named = named.object()?;
        let now = match cluster.get(named).await {
            Err(Error::TargetNotFound(_)) if named.uid.is_some() => None,
            now => Some(now?),
        };
        let is_named = |pod: &&Value| named.uid.as_deref().is_none_or(|known| known == uid(pod));
        let Some(pod) = now.as_ref().filter(is_named) else {
            let replacer = if run.wait.wait {
                replacer::of_gone(cluster, named, now.as_ref()).await?
            } else {
                Replacer::Unknown("it was not asked for".to_owned())
            };
            let namesake = now.as_ref().map(|pod| uid(pod).to_owned());
            return Ok(Target {
                object: named.clone(),
                pod: None,
                replacer,
                siblings: Vec::new(),
                namesake,
                wait: run.wait,
            });
        };
        let object = ObjectRef { uid: Some(uid(pod).to_owned()), ..named.clone() };
        let replacer = replacer::of(cluster, &object, pod).await?;
        if let Replacer::Other { name, .. } = &replacer {
            run.progress.warn(format!(
                "{object} is controlled by the {name}, of a kind that is not built in: whether it replaces its pods is not known"
            ));
        }
        let siblings =
            if run.wait.wait { replacer::siblings(cluster, &object, pod, &replacer).await? } else { Vec::new() };
        Ok(Target { object, pod: Some(pod.clone()), replacer, siblings, namesake: None, wait: run.wait })
    }

    fn decide(&self, target: &Target, _run: &RunContext) -> Decision<Evict> {
        let object = &target.object;
        let already = |message: String| Decision::AlreadySo { message, resumed: false };
        let Some(pod) = &target.pod else { return already(format!("{object} with this UID was gone already")) };
        if text(pod, "/metadata/deletionTimestamp").is_some() {
            return already(format!("{object} was being deleted already"));
        }
        if annotation(pod, PROTECTED) == Some("true") {
            return Decision::Refuse(format!(
                "{object} is protected by its annotation {PROTECTED}; remove it, or ask whoever set it"
            ));
        }
        if annotation(pod, "kubernetes.io/config.mirror").is_some() {
            return Decision::Refuse(format!(
                "{object} is a static pod, which only its kubelet can restart: change or move its manifest on the node"
            ));
        }
        let finished = replacer::is_finished(pod).then(|| "it has run to its end".to_owned());
        match finished.or_else(|| target.replacer.none(pod)).filter(|_| !self.force) {
            Some(why) => Decision::Refuse(format!(
                "nothing would replace {object}: {why}; set force to true to evict it for good"
            )),
            None => Decision::Change(Evict),
        }
    }

    async fn apply(&self, cluster: &Cluster, target: &Target, _plan: &Evict, commit: Commit) -> Result<Value> {
        let pod = target.pod.clone().unwrap_or_default();
        let eviction = Eviction { pod, grace_period_seconds: self.grace_period_seconds };
        if commit == Commit::DryRun {
            cluster.evict(&target.object, &eviction, commit).await?;
            return Ok(Value::Null);
        }
        let mut known = target.siblings.clone();
        // Pods that came meanwhile (they may be what moves the budget) are no replacements.
        let look_again = async |pod: &Value| {
            if target.wait.wait {
                known = replacer::siblings(cluster, &target.object, pod, &target.replacer).await?;
            }
            Ok(())
        };
        eviction::evict_when_allowed(cluster, &target.object, eviction, &target.wait, look_again).await?;
        Ok(json!({ "known": known }))
    }

    async fn verify(&self, cluster: &Cluster, target: &Target, now: &Value, run: &RunContext) -> Result<Details> {
        // The siblings at the moment of the eviction, or those of a pod that was already being deleted.
        let known = now.get("known").and_then(Value::as_array);
        let known: Vec<String> = match known {
            Some(known) => known.iter().filter_map(|uid| uid.as_str().map(str::to_owned)).collect(),
            None => target.siblings.clone(),
        };
        let replacement = replaced::wait(cluster, self, target, run, &known).await?;
        Ok(Details { replacement, ..self.details(target, run) })
    }

    fn details(&self, target: &Target, run: &RunContext) -> Details {
        let seen = run.progress.observation();
        Details {
            replacement: None,
            workload: target.replacer.target(),
            desired_replicas: seen.desired,
            ready_replicas: seen.ready(),
            pods: seen.pods,
            verified_at: seen.verified_at,
            obstacles: seen.obstacles,
        }
    }

    fn undo(&self, _target: &Target, _applied: bool, _run: &RunContext) -> RollbackInformation {
        RollbackInformation::unavailable("an evicted pod does not come back; its controller makes another one")
    }

    fn intent(&self, target: &Target, _details: &Details) -> String {
        format!("evict {}", target.object)
    }

    fn done(&self, target: &Target, _details: &Details) -> String {
        format!("evicted {}", target.object)
    }

    fn proof(&self, target: &Target, details: &Details, took: &str) -> String {
        let nothing = target.pod.as_ref().filter(|_| self.force).and_then(|pod| target.replacer.none(pod));
        match (&details.replacement, details.ready_replicas.zip(details.desired_replicas), nothing) {
            (_, None, _) => "; not waited for a replacement".to_owned(),
            (_, _, Some(why)) => format!("; it is gone, and nothing replaces it: {why}"),
            (Some(replacement), _, _) => format!("; its replacement {replacement} is ready after {took}"),
            (None, Some((ready, desired)), None) => {
                let owner = target.replacer.found();
                let owner = owner.map_or("its controller".to_owned(), |found| found.object.to_string());
                let gone = if target.pod.is_some() { "it is gone, and " } else { "" };
                format!("; {gone}{owner} has {ready} of {desired} pods ready after {took}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::testing::{live, run, sentence};
    use crate::k8s::object::controller;
    use crate::workload::rollout::RolloutStatus;
    use rstest::rstest;

    fn target(pod: Value) -> Target {
        let object =
            ObjectRef { resource: Kind::Pod.resource(), namespace: None, name: "web-1".parse().unwrap(), uid: None };
        let replacer = match controller(&pod) {
            Some(_) => Replacer::Workload(Box::new(live(Kind::Deployment, json!({})))),
            None => Replacer::Nobody("no controller owns it".to_owned()),
        };
        Target { object, pod: Some(pod), replacer, siblings: Vec::new(), namesake: None, wait: WaitOptions::default() }
    }

    fn restart() -> RestartPod {
        serde_json::from_value(json!({})).unwrap()
    }

    fn owned(mut metadata: Value, phase: &str) -> Value {
        metadata["ownerReferences"] = json!([{ "controller": true, "kind": "ReplicaSet", "name": "web", "uid": "o" }]);
        json!({ "metadata": metadata, "status": { "phase": phase } })
    }

    fn of_job(failed: i64) -> Target {
        let job = json!({ "spec": { "backoffLimit": 1 }, "status": { "failed": failed } });
        Target { replacer: Replacer::Job(Box::new(live(Kind::Job, job))), ..target(owned(json!({}), "Running")) }
    }

    #[rstest]
    #[case::owned(target(owned(json!({}), "Running")), "")]
    #[case::orphan(target(json!({ "metadata": {} })), "no controller owns it")]
    #[case::finished(target(owned(json!({}), "Failed")), "run to its end")]
    #[case::mirror(target(owned(json!({ "annotations": { "kubernetes.io/config.mirror": "x" } }), "Running")), "static pod")]
    #[case::protected(target(owned(json!({ "annotations": { PROTECTED: "true" } }), "Running")), "is protected")]
    #[case::job_with_tries(of_job(0), "")]
    #[case::job_without(of_job(1), "job shop/web counts an eviction as a failure, and its backoffLimit is used up")]
    fn guards(#[case] target: Target, #[case] refusal: &str) {
        match restart().decide(&target, &run()) {
            Decision::Refuse(why) => assert!(!refusal.is_empty() && why.contains(refusal), "{why}"),
            _ => assert_eq!(refusal, ""),
        }
    }

    #[test]
    fn force_evicts_what_nothing_replaces() {
        let force: RestartPod = serde_json::from_value(json!({ "force": true })).unwrap();
        for target in [target(json!({ "metadata": {} })), target(owned(json!({}), "Failed")), of_job(1)] {
            assert_eq!(force.decide(&target, &run()), Decision::Change(Evict));
        }
    }

    #[rstest]
    #[case::named(false, None, Some("web-2"), Some(2), "evicted pod web-1; its replacement web-2 is ready after 1.5 s")]
    #[case::counted(
        false,
        None,
        None,
        Some(2),
        "evicted pod web-1; it is gone, and deployment shop/web has 2 of 2 pods ready after 1.5 s"
    )]
    #[case::not_waited(false, None, None, None, "evicted pod web-1; not waited for a replacement")]
    #[case::dry_run(true, None, None, None, "would evict pod web-1")]
    #[case::already(
        false,
        Some("it was leaving"),
        None,
        Some(2),
        "it was leaving; it is gone, and deployment shop/web has 2 of 2 pods ready after 1.5 s"
    )]
    #[case::already_in_a_dry_run(true, Some("it is gone"), None, None, "it is gone")]
    fn tells(
        #[case] dry_run: bool,
        #[case] already: Option<&str>,
        #[case] new: Option<&str>,
        #[case] ready: Option<i64>,
        #[case] says: &str,
    ) {
        let (restart, target) = (restart(), target(owned(json!({}), "Running")));
        let replacement = new.map(str::to_owned);
        let details =
            Details { replacement, ready_replicas: ready, desired_replicas: ready, ..restart.details(&target, &run()) };
        assert_eq!(sentence(&restart, &target, &details, (dry_run, already)), says);
        assert!(!restart.undo(&target, true, &run()).available);
        assert_eq!(restart.details(&target, &run()).replacement, None);
        assert_eq!(restart.details(&target, &run()).workload.map(|workload| workload.name), Some("web".to_owned()));
    }

    #[test]
    fn what_nothing_replaces_is_told_as_gone() {
        let force: RestartPod = serde_json::from_value(json!({ "force": true })).unwrap();
        let orphan = (target(json!({ "metadata": {} })), "no controller owns it");
        let of_job = (of_job(1), "job shop/web counts an eviction as a failure, and its backoffLimit is used up");
        for (target, why) in [orphan, of_job] {
            let details =
                Details { ready_replicas: Some(0), desired_replicas: Some(0), ..force.details(&target, &run()) };
            let says = format!("evicted pod web-1; it is gone, and nothing replaces it: {why}");
            assert_eq!(sentence(&force, &target, &details, (false, None)), says);
        }
    }

    /// A completed Job, and a pod without controller: a failure, unless forced.
    #[test]
    fn that_nothing_comes_is_a_success_only_by_force() {
        let failed = json!({ "status": { "conditions": [{ "type": "Failed", "status": "True", "message": "late" }] } });
        let job = Target { replacer: Replacer::Job(Box::new(live(Kind::Job, failed.clone()))), ..of_job(1) };
        for (force, target) in [(false, &job), (true, &job), (false, &target(json!({}))), (true, &target(json!({})))] {
            let action: RestartPod = serde_json::from_value(json!({ "force": force })).unwrap();
            let asked = replaced::PodRestart { action: &action, target, run: &run(), known: &[] };
            match asked.ended(&failed, std::iter::empty()) {
                Some(RolloutStatus::Failed(why)) => {
                    assert!(
                        !force && (why.contains("has failed: late") || why.contains("no controller owns it")),
                        "{why}"
                    );
                }
                status => assert_eq!((status, force), (Some(RolloutStatus::Done { surge: 0 }), true)),
            }
        }
    }

    #[test]
    fn an_id_needs_the_pods_uid() {
        let object = |uid: Option<&str>| {
            TargetRef::Object(ObjectRef { uid: uid.map(str::to_owned), ..target(json!({})).object })
        };
        let with_id = RunContext { id: Some("exec-1".parse().unwrap()), ..run() };
        assert_eq!(restart().check(&object(None), &with_id).len(), 1);
        assert!(restart().check(&object(Some("u")), &with_id).is_empty());
        assert!(restart().check(&object(None), &run()).is_empty());
    }

    #[test]
    fn a_pod_that_is_being_deleted_is_restarted_already() {
        let restart: RestartPod = serde_json::from_value(json!({})).unwrap();
        let pod = json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } });
        assert!(matches!(restart.decide(&target(pod), &run()), Decision::AlreadySo { .. }));
    }
}
