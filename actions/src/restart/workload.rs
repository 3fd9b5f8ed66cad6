//! # restart of a Deployment, StatefulSet or DaemonSet
//!
//! Sets `kubectl.kubernetes.io/restartedAt` on the pod template, as `kubectl rollout restart` does, and waits for the
//! rollout that this starts. Where that would start nothing (paused, `OnDelete`) it is refused. A rollout that cannot
//! finish is reported with its cause as soon as that is certain.

use std::collections::BTreeSet;

use jiff::{Timestamp, Unit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::action::{Action, Decision, Named, RollbackInformation, RunContext, Subject, Told, identity};
use crate::cluster::{Cluster, Commit, Patch};
use crate::error::{Error, Result};
use crate::guard::{self, annotate};
use crate::mark::{self, ChangeCause, Earlier, Execution, Marker};
use crate::object::{Kind, Resource, text, uid};
use crate::observed::{PodCounts, Versions};
use crate::parameters::{Period, Settle, Terminating, Waiting, one_minute, yes};
use crate::permission::Permission;
use crate::revision::{self, Revision};
use crate::wait::Rollout;
use crate::workload::{self, Found, Workload, Written};

/// kubectl's annotation of the pod template.
pub const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";
/// Where it stands in the object.
const RESTARTED_AT_PATH: &str = "/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt";

/// Parameters of `restart` for workloads.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestartWorkload {
    /// Wait until the new pods are ready and the old ones gone.
    #[serde(default = "yes")]
    pub wait: bool,
    /// How long to wait; by default what is left of `ACTION_TIMEOUT`, less a tenth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_timeout: Option<Period>,
    /// How long an obstacle that may pass (no node has room, a quota is used up, an image cannot be pulled) may stand
    /// without progress before the wait is given up. Raise it where a cluster autoscaler adds nodes.
    #[serde(default = "one_minute")]
    pub stuck_after: Period,
    /// How long new pods without a readiness probe are followed, which are ready as soon as they run: the same containers
    /// must still run then. `0s` turns it off.
    #[serde(default)]
    pub settle: Settle,
    /// `wait` until the old pods are gone, or `ignore` those that are being deleted: they may run on for their grace period.
    #[serde(default)]
    pub terminating: Terminating,
}

/// What `restart` of a workload reports.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// How many pods there are to be; absent when it was not waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_replicas: Option<i64>,
    /// How many are ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i64>,
    /// The label value (`pod-template-hash`, `controller-revision-hash`) that tells the new pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The workload's pods, as they were seen last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodCounts>,
    /// The resourceVersion of each followed list at that moment.
    #[serde(default, skip_serializing_if = "Versions::is_empty")]
    pub verified_at: Versions,
}

/// The workload, and what earlier executions left.
#[derive(Debug)]
pub struct Target {
    found: Found,
    kind: Kind,
    revisions: Vec<Revision>,
}

impl Subject for Target {
    fn found(&self) -> Option<&Found> {
        Some(&self.found)
    }
}

impl RestartWorkload {
    fn request(&self, target: &Target) -> Value {
        json!({ "restart": uid(&target.found.value), "parameters": identity(self) })
    }

    fn earlier(&self, target: &Target, run: &RunContext) -> Earlier {
        let objects =
            std::iter::once(&target.found.value).chain(target.revisions.iter().map(|revision| &revision.object));
        mark::earlier(run, &self.request(target), objects)
    }
}

impl Action for RestartWorkload {
    type Target = Target;
    type Change = Patch;
    type Details = Details;

    fn kinds() -> &'static [Kind] {
        &[Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet, Kind::ReplicaSet]
    }

    fn example() -> Value {
        json!({})
    }

    fn permissions(&self, resource: &Resource) -> BTreeSet<Permission> {
        let mut all = BTreeSet::from([Permission::on_target("get", resource)]);
        let Some(kind) = resource.built_in().filter(|kind| *kind != Kind::ReplicaSet) else { return all };
        all.insert(Permission::on_target("patch", resource));
        // The marks of earlier executions, and which pods are new.
        all.insert(Permission::of("list", &revision::resource(kind)));
        if self.wait {
            all.insert(Permission::on_target("watch", resource));
            all.insert(Permission::of("list", &Kind::Pod.resource()));
            all.insert(Permission::of("watch", &Kind::Pod.resource()));
            all.extend(guard::set_permissions(kind));
        }
        all
    }

    fn leads_to(kind: Kind) -> &'static [Kind] {
        if kind == Kind::ReplicaSet { &[Kind::Deployment] } else { &[] }
    }

    async fn find(&self, cluster: &Cluster, named: &Named, run: &RunContext) -> Result<Target> {
        let found = workload::find(cluster, guard::object(named)?, |kind| kind == Kind::ReplicaSet).await?;
        let kind = found.kind().filter(|kind| *kind != Kind::ReplicaSet).ok_or_else(|| {
            Error::InvalidRequest(format!(
                "{} has no rollout: nothing controls it that has one; restart its pods one by one with restart-pod",
                found.object
            ))
        })?;
        let (found, revisions) = match run.id {
            Some(_) => revision::beside(cluster, kind, found, run).await?,
            None => (found, Vec::new()),
        };
        if let Some(warning) = Workload::read(kind, &found.value).partition_warning(&found.object) {
            run.progress.warn(warning);
        }
        Ok(Target { found, kind, revisions })
    }

    fn decide(&self, target: &Target, run: &RunContext) -> Decision<Patch> {
        let object = &target.found.object;
        if let Some(why) = target.found.leaving() {
            return Decision::Refuse(why);
        }
        match self.earlier(target, run) {
            Earlier::Same(mark) => {
                let message = format!("{object} was restarted by this execution at {}", mark.time);
                return Decision::AlreadySo { message, resumed: true };
            }
            Earlier::Different(mark) => return Decision::Refuse(mark::used_for_another(&mark)),
            Earlier::Never => {}
        }
        let unreachable = Workload::read(target.kind, &target.found.value).unreachable();
        let refusal = target.found.protection().or_else(|| unreachable.map(|why| format!("{object} {why}")));
        match refusal {
            Some(why) => Decision::Refuse(why),
            None => Decision::Change(self.patch(target, run)),
        }
    }

    async fn apply(&self, cluster: &Cluster, target: &Target, change: &Patch, commit: Commit) -> Result<Value> {
        cluster.patch(&target.found.object, &target.found.value, change, commit).await
    }

    /// A mark of release 0.1 has no goal: the value that it wrote is known from its time.
    fn stands(&self, target: &Target, run: &RunContext) -> Result<()> {
        let (object, value) = (&target.found.object, &target.found.value);
        let Earlier::Same(mark) = self.earlier(target, run) else { return Ok(()) };
        let written = text(&mark.goal, "/restartedAt").map(str::to_owned).or_else(|| {
            let time = mark.time.parse().ok()?;
            Some(restarted_at(time, text(&mark.previous, "/restartedAt")))
        });
        let found = text(value, RESTARTED_AT_PATH);
        let undone = if found == written.as_deref() {
            mark.undone(target.kind, value)
        } else {
            Some(replaced(value, written.as_deref()))
        };
        undone.map_or(Ok(()), |how| {
            Err(Error::NotVerified(format!("{object} was restarted by this execution at {}, and {how}", mark.time)))
        })
    }

    async fn verify(&self, cluster: &Cluster, target: &Target, now: &Value, run: &RunContext) -> Result<Details> {
        let ours = Written::of(now);
        let written = text(now, RESTARTED_AT_PATH);
        let overwritten = |value: &Value| {
            let restarted_again = text(value, RESTARTED_AT_PATH) != written;
            if restarted_again { Some(replaced(value, written)) } else { ours.overwritten(value) }
        };
        let rollout = Rollout {
            object: &target.found.object,
            kind: target.kind,
            now: now.clone(),
            of_newest_revision: true,
            overwritten: &overwritten,
            asked: self.asked(),
        };
        rollout.wait(cluster, run).await?;
        Ok(self.details(target, run))
    }

    fn details(&self, _target: &Target, run: &RunContext) -> Details {
        let seen = run.progress.observation();
        Details {
            desired_replicas: seen.desired,
            ready_replicas: seen.ready(),
            revision: seen.revision,
            pods: seen.pods,
            verified_at: seen.verified_at,
        }
    }

    fn undo(&self, _target: &Target, _applied: bool, _run: &RunContext) -> RollbackInformation {
        RollbackInformation::unavailable("a restart replaces pods by equal ones: there is nothing to put back")
    }

    fn sentence(&self, target: &Target, details: &Details, told: &Told) -> String {
        let object = &target.found.object;
        let ready = match (details.ready_replicas, details.desired_replicas) {
            (Some(ready), Some(desired)) => {
                format!("; {ready} of {desired} new pods ready after {:.1} s", told.took.as_secs_f32())
            }
            _ => "; not waited for".to_owned(),
        };
        match (&told.already, told.dry_run) {
            (Some(message), true) => message.clone(),
            (Some(message), false) => format!("{message}{ready}"),
            (None, true) => format!("would restart {object}"),
            (None, false) => format!("restarted {object}{ready}"),
        }
    }

    fn waiting(&self) -> Option<Waiting> {
        Some(self.asked())
    }
}

impl RestartWorkload {
    fn asked(&self) -> Waiting {
        Waiting {
            wait: self.wait,
            timeout: self.wait_timeout,
            stuck_after: self.stuck_after,
            settle: self.settle,
            terminating: self.terminating,
        }
    }

    fn patch(&self, target: &Target, run: &RunContext) -> Patch {
        let value = &target.found.value;
        let before = text(value, RESTARTED_AT_PATH);
        let restarted_at = restarted_at(run.now, before);
        let changes = annotate(value, "/spec/template", &[(RESTARTED_AT, restarted_at.clone())]);
        let mut template = value.pointer("/spec/template").cloned().unwrap_or_default();
        json_patch::merge(&mut template, &json!({ "metadata": { "annotations": { RESTARTED_AT: restarted_at } } }));
        let execution = Execution {
            marker: Marker::Restart,
            request: self.request(target),
            template,
            goal: json!({ "restartedAt": restarted_at }),
            previous: json!({ "restartedAt": before }),
            cause: ChangeCause::Keep,
        };
        mark::patch(run, &execution, value, changes)
    }
}

/// Whose value stands where ours was written.
fn replaced(value: &Value, written: Option<&str>) -> String {
    let writer = guard::managed_by(value).map(|tool| format!("; it is managed by {tool}")).unwrap_or_default();
    let found = text(value, RESTARTED_AT_PATH).unwrap_or("gone");
    format!("{RESTARTED_AT} is {found} now, not {}{writer}", written.unwrap_or("unset"))
}

/// Seconds, as kubectl writes them; finer when that is the value already, since the same value would be no rollout.
fn restarted_at(now: Timestamp, before: Option<&str>) -> String {
    let seconds = now.round(Unit::Second).unwrap_or(now).to_string();
    if before == Some(&seconds) { format!("{now:.9}") } else { seconds }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::test_support::{found, run, told};
    use rstest::rstest;

    fn target(kind: Kind, spec: Value, annotations: Value) -> Target {
        let value = json!({ "metadata": { "uid": "u", "generation": 4, "annotations": annotations }, "spec": spec });
        Target { found: found(kind, value), kind, revisions: Vec::new() }
    }

    fn restart() -> RestartWorkload {
        serde_json::from_value(json!({})).unwrap()
    }

    #[rstest]
    #[case::plain(target(Kind::Deployment, json!({}), json!({})), "")]
    #[case::paused(target(Kind::Deployment, json!({ "paused": true }), json!({})), "is paused")]
    #[case::on_delete(target(Kind::StatefulSet, json!({ "updateStrategy": { "type": "OnDelete" } }), json!({})), "OnDelete")]
    #[case::protected(target(Kind::DaemonSet, json!({}), json!({ workload::PROTECTED: "true" })), "is protected")]
    fn guards(#[case] target: Target, #[case] refusal: &str) {
        match restart().decide(&target, &run()) {
            Decision::Refuse(why) => assert!(!refusal.is_empty() && why.contains(refusal), "{why}"),
            _ => assert_eq!(refusal, ""),
        }
    }

    #[rstest]
    #[case::waited(false, None, Some(4), "restarted deployment shop/web; 4 of 5 new pods ready after 1.5 s")]
    #[case::not_waited(false, None, None, "restarted deployment shop/web; not waited for")]
    #[case::dry_run(true, None, None, "would restart deployment shop/web")]
    #[case::already(false, Some("so it is"), Some(5), "so it is; 5 of 5 new pods ready after 1.5 s")]
    #[case::already_in_a_dry_run(true, Some("so it is"), None, "so it is")]
    fn tells(#[case] dry_run: bool, #[case] already: Option<&str>, #[case] ready: Option<i64>, #[case] says: &str) {
        let target = target(Kind::Deployment, json!({}), json!({}));
        let desired = ready.map(|_| 5);
        let details =
            Details { ready_replicas: ready, desired_replicas: desired, ..restart().details(&target, &run()) };
        assert_eq!(restart().sentence(&target, &details, &told(dry_run, already)), says);
        assert!(!restart().undo(&target, true, &run()).available);
    }

    #[test]
    fn an_id_that_was_used_for_another_request_is_refused() {
        let run = RunContext { id: Some("exec-1".parse().unwrap()), ..run() };
        let mut target = target(Kind::Deployment, json!({ "template": { "metadata": {} } }), json!({}));
        let Decision::Change(patch) = restart().decide(&target, &run) else { panic!() };
        crate::guard::test_support::apply(&mut target.found.value, &patch.operations);
        target.found.value["metadata"]["uid"] = json!("another");
        let Decision::Refuse(why) = restart().decide(&target, &run) else { panic!() };
        assert!(why.starts_with("ACTION_ID exec-1 was used for another request on this object at "), "{why}");
    }

    #[test]
    fn the_same_second_becomes_another_value() {
        let now: Timestamp = "2026-11-23T10:00:00.25Z".parse().unwrap();
        assert_eq!(restarted_at(now, None), "2026-11-23T10:00:00Z");
        assert_eq!(restarted_at(now, Some("2026-11-23T10:00:00Z")), "2026-11-23T10:00:00.250000000Z");
    }

    #[test]
    fn a_second_run_of_the_same_execution_goes_on_with_the_first() {
        let run = RunContext { id: Some("exec-1".parse().unwrap()), ..run() };
        let mut target = target(Kind::Deployment, json!({ "template": { "metadata": {} } }), json!({}));
        let Decision::Change(patch) = restart().decide(&target, &run) else { panic!() };
        crate::guard::test_support::apply(&mut target.found.value, &patch.operations);
        assert!(matches!(restart().decide(&target, &run), Decision::AlreadySo { resumed: true, .. }));
        let other = RunContext { id: Some("exec-2".parse().unwrap()), ..run };
        assert!(matches!(restart().decide(&target, &other), Decision::Change(_)));
    }
}
