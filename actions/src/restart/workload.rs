//! # restart of a Deployment, StatefulSet or DaemonSet
//!
//! Sets `kubectl.kubernetes.io/restartedAt` on the pod template, as `kubectl rollout restart` does, and waits for the
//! rollout that this starts. If it would start nothing (paused, `OnDelete`), the action is refused. A rollout that
//! cannot finish is reported with its cause as soon as that is certain.

use std::collections::BTreeSet;

use contract::annotations::{EXECUTIONS_RESTART, RESTARTED_AT};
use contract::result::RollbackInformation;
use contract::waiting::Waits;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::action::{Action, Circumstances, Decision, TargetRef, identity};
use crate::cluster::error::{Error, Result};
use crate::cluster::executions::{self, ChangeCause, Earlier, Intent};
use crate::cluster::observed::{Obstacle, PodCounts, Versions};
use crate::cluster::patch::{Patch, annotate};
use crate::cluster::run::RunContext;
use crate::cluster::{Cluster, Commit};
use crate::k8s::object::{self, text, uid};
use crate::k8s::{Kind, Permission, Resource};
use crate::workload::lookup;
use crate::workload::marks::{self, Deed};
use crate::workload::rollout_target::RolloutTarget;

/// Path of kubectl's annotation in the object.
const RESTARTED_AT_PATH: &str = "/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt";

/// Parameters of `restart` for workloads.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RestartWorkload {}

/// Details of the result of `restart` for a workload.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// Number of pods that there shall be; absent when the run did not wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_replicas: Option<i64>,
    /// Number of ready pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i64>,
    /// Label value (of `pod-template-hash` or `controller-revision-hash`) by which the new pods are recognized.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The workload's pods, as last seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodCounts>,
    /// The resourceVersion of each followed list at that moment.
    #[serde(default, skip_serializing_if = "Versions::is_empty")]
    pub verified_at: Versions,
    /// What stood in the way, when the wait ended without its effect: at most three objects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub obstacles: Vec<Obstacle>,
}

impl RestartWorkload {
    fn request(&self, target: &RolloutTarget) -> Value {
        json!({ "restart": uid(&target.live.value), "parameters": identity(self) })
    }

    fn patch(&self, target: &RolloutTarget, run: &RunContext) -> Patch {
        let value = &target.live.value;
        let before = text(value, RESTARTED_AT_PATH);
        let restarted_at = marks::restarted_at(run.now, before);
        let changes = annotate(value, "/spec/template", &[(RESTARTED_AT, restarted_at.clone())]);
        let mut template = value.pointer("/spec/template").cloned().unwrap_or_default();
        json_patch::merge(&mut template, &json!({ "metadata": { "annotations": { RESTARTED_AT: restarted_at } } }));
        let intent = Intent {
            annotation: EXECUTIONS_RESTART,
            request: self.request(target),
            template,
            goal: json!({ "restartedAt": restarted_at }),
            previous: json!({ "restartedAt": before }),
            cause: ChangeCause::Keep,
        };
        executions::patch(run, &intent, value, changes)
    }
}

impl Action for RestartWorkload {
    type Target = RolloutTarget;
    type Plan = Patch;
    type Details = Details;

    const WAITS: Waits = Waits::ForPods;

    fn kinds() -> &'static [Kind] {
        &[Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet, Kind::ReplicaSet]
    }

    fn example() -> Value {
        json!({})
    }

    fn permissions(&self, resource: &Resource, circumstances: Circumstances) -> BTreeSet<Permission> {
        match resource.built_in() {
            Some(kind) if kind != Kind::ReplicaSet => {
                RolloutTarget::permissions(kind, circumstances.waits, circumstances.has_id)
            }
            _ => [Permission::on_target("get", resource)].into(),
        }
    }

    fn owner_kinds(kind: Kind) -> &'static [Kind] {
        if kind == Kind::ReplicaSet { &[Kind::Deployment] } else { &[] }
    }

    async fn find(&self, cluster: &Cluster, named: &TargetRef, run: &RunContext) -> Result<RolloutTarget> {
        let live = lookup::find(cluster, named.object()?, Self::owner_kinds).await?;
        let kind = live.kind().filter(|kind| *kind != Kind::ReplicaSet).ok_or_else(|| {
            Error::InvalidRequest(format!(
                "{} has no rollout: nothing controls it that has one; restart its pods one by one with restart-pod",
                live.object
            ))
        })?;
        let target = RolloutTarget::new(live, kind, run);
        if run.id.is_none() {
            return Ok(target);
        }
        // The entry of an earlier run of this ACTION_ID may be only on a revision, and a revision must show that it is true.
        let target = target.with_revisions(cluster, run).await?;
        target.warn_of_marks(run, &self.request(&target), Deed::Restart);
        Ok(target)
    }

    fn decide(&self, target: &RolloutTarget, run: &RunContext) -> Decision<Patch> {
        let object = &target.live.object;
        if let Some(why) = target.live.leaving() {
            return Decision::Refuse(why);
        }
        match target.earlier(run, &self.request(target), Deed::Restart) {
            Earlier::Same(execution) => {
                let message = format!("{object} was restarted by this execution at {}", execution.time);
                return Decision::AlreadySo { message, resumed: true };
            }
            Earlier::Different(execution) => return Decision::Refuse(executions::used_for_another(&execution)),
            Earlier::Never => {}
        }
        match target.live.protection().or_else(|| target.unreachable()) {
            Some(why) => Decision::Refuse(why),
            None => Decision::Change(self.patch(target, run)),
        }
    }

    async fn apply(&self, cluster: &Cluster, target: &RolloutTarget, plan: &Patch, commit: Commit) -> Result<Value> {
        cluster.patch(&target.live.object, &target.live.value, plan, commit).await
    }

    /// Compares the annotation with the goal.
    fn stands(&self, target: &RolloutTarget, run: &RunContext) -> Result<()> {
        let (object, value) = (&target.live.object, &target.live.value);
        let Earlier::Same(execution) = target.earlier(run, &self.request(target), Deed::Restart) else { return Ok(()) };
        let written = marks::written_by(&execution);
        let undone = if text(value, RESTARTED_AT_PATH) == written.as_deref() {
            target.undone(&execution)
        } else {
            Some(replaced(value, written.as_deref()))
        };
        let doubt = target.doubt(run, &self.request(target), Deed::Restart);
        let by = if doubt.is_some() { "has a mark by which it was restarted" } else { "was restarted" };
        let undone = undone
            .map(|how| Error::NotVerified(format!("{object} {by} by this execution at {}, and {how}", execution.time)));
        undone.or(doubt).map_or(Ok(()), Err)
    }

    async fn verify(
        &self,
        cluster: &Cluster,
        target: &RolloutTarget,
        now: &Value,
        run: &RunContext,
    ) -> Result<Details> {
        let written = text(now, RESTARTED_AT_PATH);
        let restarted_again =
            |value: &Value| (text(value, RESTARTED_AT_PATH) != written).then(|| replaced(value, written));
        target.verify(cluster, now, run, restarted_again).await?;
        Ok(self.details(target, run))
    }

    fn details(&self, _target: &RolloutTarget, run: &RunContext) -> Details {
        let seen = run.progress.observation();
        Details {
            desired_replicas: seen.desired,
            ready_replicas: seen.ready(),
            revision: seen.revision,
            pods: seen.pods,
            verified_at: seen.verified_at,
            obstacles: seen.obstacles,
        }
    }

    fn undo(&self, _target: &RolloutTarget, _applied: bool, _run: &RunContext) -> RollbackInformation {
        RollbackInformation::unavailable("a restart replaces pods by equal ones: there is nothing to put back")
    }

    fn intent(&self, target: &RolloutTarget, _details: &Details) -> String {
        format!("restart {}", target.live.object)
    }

    fn done(&self, target: &RolloutTarget, _details: &Details) -> String {
        format!("restarted {}", target.live.object)
    }

    fn proof(&self, _target: &RolloutTarget, details: &Details, took: &str) -> String {
        match (details.ready_replicas, details.desired_replicas) {
            (Some(ready), Some(desired)) => format!("; {ready} of {desired} new pods ready after {took}"),
            _ => "; not waited for".to_owned(),
        }
    }
}

/// Says which value is there instead of ours, and which tool manages the object.
fn replaced(value: &Value, written: Option<&str>) -> String {
    let writer = object::managed_by(value).map(|tool| format!("; it is managed by {tool}")).unwrap_or_default();
    let found = text(value, RESTARTED_AT_PATH).unwrap_or("gone");
    format!("{RESTARTED_AT} is {found} now, not {}{writer}", written.unwrap_or("unset"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::testing::{apply, live, run, sentence};
    use crate::workload::revisions::Revision;
    use contract::annotations::PROTECTED;
    use rstest::rstest;

    fn target(kind: Kind, spec: Value, annotations: Value) -> RolloutTarget {
        let value = json!({ "metadata": { "uid": "u", "generation": 4, "annotations": annotations }, "spec": spec });
        RolloutTarget { live: live(kind, value), kind, revisions: Vec::new() }
    }

    fn restart() -> RestartWorkload {
        serde_json::from_value(json!({})).unwrap()
    }

    #[rstest]
    #[case::plain(target(Kind::Deployment, json!({}), json!({})), "")]
    #[case::paused(target(Kind::Deployment, json!({ "paused": true }), json!({})), "is paused")]
    #[case::on_delete(target(Kind::StatefulSet, json!({ "updateStrategy": { "type": "OnDelete" } }), json!({})), "OnDelete")]
    #[case::protected(target(Kind::DaemonSet, json!({}), json!({ PROTECTED: "true" })), "is protected")]
    fn guards(#[case] target: RolloutTarget, #[case] refusal: &str) {
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
        assert_eq!(sentence(&restart(), &target, &details, (dry_run, already)), says);
        assert!(!restart().undo(&target, true, &run()).available);
    }

    #[test]
    fn an_id_that_was_used_for_another_request_is_refused() {
        let run = RunContext { id: Some("exec-1".parse().unwrap()), ..run() };
        let mut target = target(Kind::Deployment, json!({ "template": { "metadata": {} } }), json!({}));
        let Decision::Change(patch) = restart().decide(&target, &run) else { panic!() };
        apply(&mut target.live.value, &patch.operations);
        target.live.value["metadata"]["uid"] = json!("another");
        let Decision::Refuse(why) = restart().decide(&target, &run) else { panic!() };
        assert!(why.starts_with("ACTION_ID exec-1 was used for another request on this object at "), "{why}");
    }

    #[test]
    fn a_second_run_of_the_same_execution_goes_on_with_the_first() {
        let run = RunContext { id: Some("exec-1".parse().unwrap()), ..run() };
        let mut target = target(Kind::Deployment, json!({ "template": { "metadata": {} } }), json!({}));
        let Decision::Change(patch) = restart().decide(&target, &run) else { panic!() };
        apply(&mut target.live.value, &patch.operations);
        assert!(matches!(restart().decide(&target, &run), Decision::AlreadySo { resumed: true, .. }));
        let other = RunContext { id: Some("exec-2".parse().unwrap()), ..run };
        assert!(matches!(restart().decide(&target, &other), Decision::Change(_)));
    }

    /// That it was applied once does not say that it stands. One of release 0.1 knows its time alone.
    #[rstest]
    #[case::as_written(json!({ "restartedAt": "2026-01-01T00:00:00Z" }), Some("2026-01-01T00:00:00Z"), None)]
    #[case::of_0_1(Value::Null, Some("2026-01-01T00:00:00Z"), None)]
    #[case::restarted_again(json!({ "restartedAt": "2026-01-01T00:00:00Z" }), Some("2026-02-02T00:00:00Z"), Some("restartedAt is 2026-02-02T00:00:00Z now, not 2026-01-01T00:00:00Z; it is managed by Helm"))]
    #[case::taken_away(Value::Null, None, Some("restartedAt is gone now, not 2026-01-01T00:00:00Z"))]
    fn knows_whether_it_stands(#[case] goal: Value, #[case] now: Option<&str>, #[case] undone: Option<&str>) {
        let run = RunContext { id: Some("exec-1".parse().unwrap()), ..run() };
        let template = json!({ "metadata": { "annotations": { RESTARTED_AT: now } } });
        let mut target = target(Kind::Deployment, json!({ "template": template }), json!({}));
        let mut execution = json!({
            "id": "exec-1", "run": "r", "time": "2026-01-01T00:00:00Z", "previous": { "restartedAt": null },
            "request": contract::text::hash(&restart().request(&target).to_string()),
        });
        if !goal.is_null() {
            execution["goal"] = goal;
        }
        target.live.value["metadata"]["annotations"] =
            json!({ EXECUTIONS_RESTART: json!([execution]).to_string(), "meta.helm.sh/release-name": "shop" });
        // Its controller has made a revision of it.
        let template = json!({ "metadata": { "annotations": { RESTARTED_AT: "2026-01-01T00:00:00Z" } } });
        let (name, pod_label, object) = ("web-a".to_owned(), None, json!({}));
        target.revisions = vec![Revision { name, number: 2, pod_label, template, object }];
        match (restart().stands(&target, &run), undone) {
            (Ok(()), None) => {}
            (Err(Error::NotVerified(why)), Some(undone)) => {
                let begins = "deployment shop/web was restarted by this execution at 2026-01-01T00:00:00Z, and ";
                assert!(why.starts_with(begins) && why.contains(undone), "{why}");
            }
            (found, _) => panic!("{found:?}"),
        }
    }
}
