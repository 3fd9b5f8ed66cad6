//! # restart of a pod
//!
//! Evicts the pod (the eviction API, so that disruption budgets hold) and waits until its replacement is ready. A pod
//! that nothing would replace is refused unless `force`. A budget that blocks is waited for: the eviction is sent again
//! when a budget changes, not at an interval.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::action::{Action, Decision, Named, RollbackInformation, RunContext, Subject, Told};
use crate::cluster::{Cluster, Commit, Eviction, Follow, Query};
use crate::error::{Error, Result};
use crate::guard;
use crate::object::{Kind, ObjectRef, Resource, annotation, controller, text, uid};
use crate::parameters::{Period, Waiting, one_minute, yes};
use crate::permission::Permission;
use crate::pod::PodView;
use crate::related::disruption_budgets;
use crate::rollout;
use crate::wait::out_of_time;
use crate::workload::{Found, PROTECTED};

/// Labels that differ from pod to pod of one controller, or from revision to revision: a replacement has others.
const OWN_LABELS: [&str; 6] = [
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/job-completion-index",
    "pod-template-hash",
    "controller-revision-hash",
    "pod-template-generation",
];

/// Parameters of `restart` for a pod.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestartPod {
    /// How many seconds the containers get to end by themselves; by default what the pod says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_period_seconds: Option<u32>,
    /// Evict also a pod that nothing would replace: it is then gone for good.
    #[serde(default)]
    pub force: bool,
    /// Wait until the replacement is ready.
    #[serde(default = "yes")]
    pub wait: bool,
    /// How long to wait, for a disruption budget and for the replacement; by default what is left of `ACTION_TIMEOUT`,
    /// less a tenth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_timeout: Option<Period>,
    /// How long an obstacle that may pass (no node has room, an image cannot be pulled) may keep the replacement from
    /// being ready before the wait is given up. Raise it where a cluster autoscaler adds nodes.
    #[serde(default = "one_minute")]
    pub stuck_after: Period,
}

/// What `restart` of a pod reports.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// The pod that took its place; absent when there is none or it was not waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replacement: Option<String>,
}

/// The pod, and those beside it under the same controller.
#[derive(Debug)]
pub struct Target {
    object: ObjectRef,
    /// `None` when it is gone already.
    pod: Option<Value>,
    siblings: Vec<PodView>,
}

impl Subject for Target {
    fn found(&self) -> Option<&Found> {
        None
    }
    fn object(&self) -> Option<&ObjectRef> {
        Some(&self.object)
    }
    fn value(&self) -> Option<&Value> {
        self.pod.as_ref()
    }
}

/// The decision to evict; which resourceVersion is up to the moment it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evict;

impl Action for RestartPod {
    type Target = Target;
    type Change = Evict;
    type Details = Details;

    /// An eviction leaves no mark; the UID of a pod that is gone is enough.
    fn repeatable(_run: &RunContext, has_uid: bool) -> bool {
        has_uid
    }

    fn kinds() -> &'static [Kind] {
        &[Kind::Pod]
    }

    fn example() -> Value {
        json!({ "gracePeriodSeconds": 30 })
    }

    fn permissions(&self, resource: &Resource) -> BTreeSet<Permission> {
        let mut all = BTreeSet::from([
            Permission::on_target("get", resource),
            Permission::on_target("create", resource).on_sub("eviction"),
            Permission::of("list", &disruption_budgets()),
            Permission::of("watch", &disruption_budgets()),
        ]);
        if self.wait {
            all.insert(Permission::of("list", resource));
            all.insert(Permission::of("watch", resource));
        }
        all
    }

    fn check(&self, named: &Named, run: &RunContext) -> Vec<String> {
        let has_uid = matches!(named, Named::Object(ObjectRef { uid: Some(_), .. }));
        if run.id.is_some() && !has_uid {
            return vec!["TARGET_UID: restart-pod with an ACTION_ID needs it: an eviction leaves no mark, so only the UID tells that this pod is gone already".to_owned()];
        }
        Vec::new()
    }

    async fn find(&self, cluster: &Cluster, named: &Named, _run: &RunContext) -> Result<Target> {
        let named = guard::object(named)?;
        let gone = || Target { object: named.clone(), pod: None, siblings: Vec::new() };
        let pod = match cluster.get(named).await {
            // That it is gone means success here: something between may have said so for the API server, so it is asked twice.
            Err(Error::TargetNotFound(_)) if named.uid.is_some() => match cluster.get(named).await {
                Err(Error::TargetNotFound(_)) => return Ok(gone()),
                again => again?,
            },
            first => first?,
        };
        if named.uid.as_deref().is_some_and(|known| known != uid(&pod)) {
            return Ok(gone());
        }
        let object = ObjectRef { uid: Some(uid(&pod).to_owned()), ..named.clone() };
        let siblings = if self.wait { siblings(cluster, &object, &pod).await? } else { Vec::new() };
        Ok(Target { object, pod: Some(pod), siblings })
    }

    fn decide(&self, target: &Target, _run: &RunContext) -> Decision<Evict> {
        let object = &target.object;
        let already = |message: String| Decision::AlreadySo { message, resumed: false };
        let Some(pod) = &target.pod else { return already(format!("{object} with this UID is gone")) };
        if text(pod, "/metadata/deletionTimestamp").is_some() {
            return already(format!("{object} is being deleted"));
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
        let finished = matches!(text(pod, "/status/phase"), Some("Succeeded" | "Failed"));
        if (controller(pod).is_none() || finished) && !self.force {
            let why = if finished { "it has run to its end" } else { "no controller owns it" };
            return Decision::Refuse(format!(
                "nothing would replace {object}: {why}; set force to true to evict it for good"
            ));
        }
        Decision::Change(Evict)
    }

    async fn apply(&self, cluster: &Cluster, target: &Target, _change: &Evict, commit: Commit) -> Result<Value> {
        let pod = target.pod.clone().unwrap_or_default();
        let mut eviction = Eviction { pod, grace_period_seconds: self.grace_period_seconds };
        if commit == Commit::DryRun {
            cluster.evict(&target.object, &eviction, commit).await?;
            return Ok(Value::Null);
        }
        // Opened only when a budget is in the way; the wait for it ends with `waitTimeout` at the latest.
        let mut budgets: Option<Follow<Value>> = None;
        let limit = self.wait_timeout.map_or(cluster.remaining(), Period::get);
        let patient = cluster.until(tokio::time::Instant::now() + limit);
        let mut known: Vec<String> = target.siblings.iter().map(|pod| pod.uid.clone()).collect();
        loop {
            let blocked = match cluster.evict(&target.object, &eviction, commit).await {
                Ok(()) => return Ok(json!({ "known": known })),
                Err(Error::Blocked { message }) => message,
                Err(error) => return Err(error),
            };
            match &mut budgets {
                None => budgets = Some(patient.follow(Query::beside(&target.object, disruption_budgets(), "")).await?),
                Some(budgets) => wait_for_budget(&patient, budgets, &blocked).await?,
            }
            // Its resourceVersion moves with its status; its UID must not.
            eviction.pod = cluster.get(&target.object).await?;
            if uid(&eviction.pod) != uid_of(target) || text(&eviction.pod, "/metadata/deletionTimestamp").is_some() {
                return Err(Error::Conflict(format!(
                    "{} was deleted by someone else while a disruption budget was waited for",
                    target.object
                )));
            }
            // Pods that came meanwhile (they may be what moves the budget) are no replacements.
            if self.wait {
                known =
                    siblings(cluster, &target.object, &eviction.pod).await?.into_iter().map(|pod| pod.uid).collect();
            }
        }
    }

    async fn verify(&self, cluster: &Cluster, target: &Target, now: &Value, run: &RunContext) -> Result<Details> {
        // Gone already: what else there was at that time is not known, so nothing can be recognised as its replacement.
        let known = now.get("known").and_then(Value::as_array);
        let (Some(pod), Some(known)) = (target.pod.as_ref(), known) else { return Ok(self.details(target, run)) };
        let Some(owner) = controller(pod).and_then(|owner| text(owner, "/uid")) else {
            return Ok(self.details(target, run));
        };
        let query = Query::beside(&target.object, Kind::Pod.resource(), shared_labels(pod));
        let mut pods: Follow<PodView> = cluster.follow(query).await?;
        let is_known = |pod: &PodView| pod.uid == uid_of(target) || known.iter().any(|uid| uid == pod.uid.as_str());
        let node = daemon_node(pod);
        let mut stuck: Option<tokio::time::Instant> = None;
        loop {
            let fresh = pods.items().values().filter(|pod| {
                !is_known(pod) && pod.owner.as_deref() == Some(owner) && (node.is_none() || pod.node.as_deref() == node)
            });
            let old_is_gone = !pods.items().values().any(|pod| pod.uid == uid_of(target));
            if let Some(replacement) = fresh.clone().find(|pod| pod.serves() && old_is_gone) {
                return Ok(Details { replacement: Some(replacement.name.clone()) });
            }
            let worst = rollout::worst(fresh.filter(|pod| !pod.terminating));
            let wake = self.judge(worst, &mut stuck, target, run)?;
            tokio::select! {
                changed = pods.changed() => changed?,
                () = sleep_until(wake) => {}
                () = tokio::time::sleep(cluster.remaining()) => return Err(out_of_time(&target.object, &run.progress)),
            }
        }
    }

    fn details(&self, _target: &Target, _run: &RunContext) -> Details {
        Details { replacement: None }
    }

    fn undo(&self, _target: &Target, _applied: bool, _run: &RunContext) -> RollbackInformation {
        RollbackInformation::unavailable("an evicted pod does not come back; its controller makes another one")
    }

    fn sentence(&self, target: &Target, details: &Details, told: &Told) -> String {
        let object = &target.object;
        match (&told.already, told.dry_run, &details.replacement) {
            (Some(message), _, _) => message.clone(),
            (None, true, _) => format!("would evict {object}"),
            (None, false, Some(replacement)) => {
                format!(
                    "evicted {object}; its replacement {replacement} is ready after {:.1} s",
                    told.took.as_secs_f32()
                )
            }
            (None, false, None) => format!("evicted {object}; not waited for a replacement"),
        }
    }

    fn waiting(&self) -> Option<Waiting> {
        Some(Waiting { wait: self.wait, timeout: self.wait_timeout, stuck_after: self.stuck_after })
    }
}

impl RestartPod {
    /// What the state of the replacement means: an error when it cannot become ready, else when to look again.
    fn judge(
        &self,
        worst: Option<(String, crate::pod::Outlook)>,
        stuck: &mut Option<tokio::time::Instant>,
        target: &Target,
        run: &RunContext,
    ) -> Result<Option<tokio::time::Instant>> {
        use crate::pod::Outlook;
        let failed = |cause: &str| {
            Error::NotVerified(format!("the replacement of {} does not become ready: {cause}", target.object))
        };
        let Some((cause, outlook)) = worst else {
            run.progress.report(&format!("{}: waiting for its replacement", target.object));
            *stuck = None;
            return Ok(None);
        };
        run.progress.report(&format!("{}: waiting for its replacement ({cause})", target.object));
        match outlook {
            Outlook::Stays => Err(failed(&cause)),
            Outlook::Starting => {
                *stuck = None;
                Ok(None)
            }
            Outlook::MayPass => {
                let over = *stuck.get_or_insert_with(tokio::time::Instant::now) + self.stuck_after.get();
                if over <= tokio::time::Instant::now() { Err(failed(&cause)) } else { Ok(Some(over)) }
            }
        }
    }
}

async fn sleep_until(wake: Option<tokio::time::Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

fn uid_of(target: &Target) -> &str {
    target.object.uid.as_deref().unwrap_or_default()
}

/// A DaemonSet's replacement is the one on the same node.
fn daemon_node(pod: &Value) -> Option<&str> {
    let owner = controller(pod).and_then(|owner| text(owner, "/kind"));
    text(pod, "/spec/nodeName").filter(|_| owner == Some("DaemonSet"))
}

/// The labels that a replacement will have too, as a selector: it narrows what has to be read.
fn shared_labels(pod: &Value) -> String {
    let labels = pod.pointer("/metadata/labels").and_then(Value::as_object);
    let shared = labels.into_iter().flatten().filter(|(key, _)| !OWN_LABELS.contains(&key.as_str()));
    shared.filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?))).collect::<Vec<_>>().join(",")
}

async fn siblings(cluster: &Cluster, object: &ObjectRef, pod: &Value) -> Result<Vec<PodView>> {
    let owner = controller(pod).and_then(|owner| text(owner, "/uid"));
    let (pods, _) = cluster.list::<PodView>(&Query::beside(object, Kind::Pod.resource(), shared_labels(pod))).await?;
    Ok(pods.into_iter().filter(|pod| pod.owner.as_deref() == owner && pod.owner.is_some()).collect())
}

/// Until a budget changes; what blocks is named when the time is over.
async fn wait_for_budget(cluster: &Cluster, budgets: &mut Follow<Value>, blocked: &str) -> Result<()> {
    tracing::info!(blocked, "waiting for the disruption budget to change");
    tokio::select! {
        changed = budgets.changed() => changed,
        () = tokio::time::sleep(cluster.remaining()) => Err(Error::DeadlineExceeded(format!(
            "{blocked}; it did not allow the eviction until the wait was over: make more pods ready, or relax the budget"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::test_support::{run, told};
    use rstest::rstest;

    fn target(pod: Value) -> Target {
        let object =
            ObjectRef { resource: Kind::Pod.resource(), namespace: None, name: "web-1".parse().unwrap(), uid: None };
        Target { object, pod: Some(pod), siblings: Vec::new() }
    }

    fn restart() -> RestartPod {
        serde_json::from_value(json!({})).unwrap()
    }

    fn owned(mut metadata: Value, phase: &str) -> Value {
        metadata["ownerReferences"] = json!([{ "controller": true, "kind": "ReplicaSet", "name": "web", "uid": "o" }]);
        json!({ "metadata": metadata, "status": { "phase": phase } })
    }

    #[rstest]
    #[case::owned(owned(json!({}), "Running"), "")]
    #[case::orphan(json!({ "metadata": {} }), "no controller owns it")]
    #[case::finished(owned(json!({}), "Failed"), "run to its end")]
    #[case::mirror(owned(json!({ "annotations": { "kubernetes.io/config.mirror": "x" } }), "Running"), "static pod")]
    #[case::protected(owned(json!({ "annotations": { PROTECTED: "true" } }), "Running"), "is protected")]
    fn guards(#[case] pod: Value, #[case] refusal: &str) {
        let restart: RestartPod = serde_json::from_value(json!({})).unwrap();
        match restart.decide(&target(pod), &run()) {
            Decision::Refuse(why) => assert!(!refusal.is_empty() && why.contains(refusal), "{why}"),
            _ => assert_eq!(refusal, ""),
        }
    }

    #[rstest]
    #[case::waited(false, None, Some("web-2"), "evicted pod web-1; its replacement web-2 is ready after 1.5 s")]
    #[case::not_waited(false, None, None, "evicted pod web-1; not waited for a replacement")]
    #[case::dry_run(true, None, None, "would evict pod web-1")]
    #[case::already(false, Some("it is gone"), None, "it is gone")]
    fn tells(#[case] dry_run: bool, #[case] already: Option<&str>, #[case] new: Option<&str>, #[case] says: &str) {
        let (restart, target) = (restart(), target(json!({})));
        let details = Details { replacement: new.map(str::to_owned) };
        assert_eq!(restart.sentence(&target, &details, &told(dry_run, already)), says);
        assert!(!restart.undo(&target, true, &run()).available);
        assert_eq!(restart.details(&target, &run()).replacement, None);
    }

    #[test]
    fn an_id_needs_the_pods_uid() {
        let object =
            |uid: Option<&str>| Named::Object(ObjectRef { uid: uid.map(str::to_owned), ..target(json!({})).object });
        let with_id = RunContext { id: Some("exec-1".parse().unwrap()), ..run() };
        assert_eq!(restart().check(&object(None), &with_id).len(), 1);
        assert!(restart().check(&object(Some("u")), &with_id).is_empty());
        assert!(restart().check(&object(None), &run()).is_empty());
    }

    #[test]
    fn a_replacement_has_the_labels_that_do_not_tell_pods_apart() {
        let labels = json!({ "app": "web", "pod-template-hash": "1", "tier": "front" });
        assert_eq!(shared_labels(&json!({ "metadata": { "labels": labels } })), "app=web,tier=front");
        let daemon = |kind: &str| json!({ "metadata": { "ownerReferences": [{ "controller": true, "kind": kind }] }, "spec": { "nodeName": "n1" } });
        assert_eq!((daemon_node(&daemon("DaemonSet")), daemon_node(&daemon("ReplicaSet"))), (Some("n1"), None));
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_waited_for_until_it_is_stuck() {
        use crate::pod::Outlook;
        let (target, run, mut stuck) = (target(json!({})), run(), None);
        let restart: RestartPod = serde_json::from_value(json!({ "stuckAfter": "10s" })).unwrap();
        let mut judge = |outlook: Option<Outlook>| {
            let worst = outlook.map(|outlook| ("image".to_owned(), outlook));
            restart
                .judge(worst, &mut stuck, &target, &run)
                .map(|wake| wake.is_some())
                .map_err(|error| error.to_string())
        };
        assert_eq!(judge(None), Ok(false));
        assert_eq!(judge(Some(Outlook::MayPass)), Ok(true));
        tokio::time::advance(std::time::Duration::from_secs(9)).await;
        assert_eq!(judge(Some(Outlook::MayPass)), Ok(true));
        // What starts has come on: its time begins anew.
        assert_eq!(judge(Some(Outlook::Starting)), Ok(false));
        assert_eq!(judge(Some(Outlook::MayPass)), Ok(true));
        tokio::time::advance(std::time::Duration::from_secs(10)).await;
        let why = "the replacement of pod web-1 does not become ready: image";
        assert_eq!(judge(Some(Outlook::MayPass)), Err(why.to_owned()));
        assert_eq!(judge(Some(Outlook::Stays)), Err(why.to_owned()));
    }

    #[test]
    fn a_pod_that_is_being_deleted_is_restarted_already() {
        let restart: RestartPod = serde_json::from_value(json!({})).unwrap();
        let pod = json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } });
        assert!(matches!(restart.decide(&target(pod), &run()), Decision::AlreadySo { .. }));
    }
}
