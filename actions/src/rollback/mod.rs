//! # rollback
//!
//! Puts the pod template of an earlier revision back: for a Deployment from its ReplicaSets, for a StatefulSet or
//! DaemonSet from its ControllerRevisions, whose owner is checked and whose name is pinned. The whole template is
//! replaced; a merge would keep fields that the old revision did not have.
//!
//! A StatefulSet that replaces its pods one by one stays stuck behind a pod that never became ready, even after its
//! template was put back (kubernetes#67250): those pods are evicted.

mod choose;
mod plan;
mod report;
mod stuck;

pub use plan::Plan;
pub use report::{Details, RevisionName};

use std::cell::Cell;
use std::collections::BTreeSet;

use contract::result::RollbackInformation;
use contract::waiting::Waits;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::action::{self, Action, Circumstances, Decision, TargetRef};
use crate::cluster::error::{Error, Result};
use crate::cluster::executions::{self, Earlier};
use crate::cluster::run::RunContext;
use crate::cluster::{Cluster, Commit};
use crate::k8s::object::{self, text};
use crate::k8s::template::normalized;
use crate::k8s::{Kind, Permission, Resource};
use crate::workload::Workload;
use crate::workload::lookup::{self, LiveObject};
use crate::workload::marks::{self, Deed};
use crate::workload::revisions;
use crate::workload::rollout_target::RolloutTarget;

/// Parameters of `rollback`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rollback {
    /// Number of the revision to go back to; by default the last one before the current one whose pod template differs
    /// by more than a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub to_revision: Option<i64>,
    /// Name of the revision's object (ReplicaSet or ControllerRevision), in place of `toRevision`. Stays the same when
    /// numbers move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_revision_name: Option<String>,
    /// Refuse when the present template is not this revision's. The way back that a result offers has it: what somebody rolled out
    /// since is not replaced by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_revision_name: Option<String>,
}

/// The workload with its revisions, and the run, which the evictions need.
#[derive(Debug)]
pub struct Target {
    rollout: RolloutTarget,
    run: RunContext,
    /// Whether the dry run shows exactly the template of the revision: what admission adds makes another revision of it.
    exact: Cell<bool>,
}

impl action::Target for Target {
    fn live(&self) -> Option<&LiveObject> {
        Some(&self.rollout.live)
    }
    fn templates(&self) -> Vec<&Value> {
        self.rollout.revisions.iter().map(|revision| &revision.template).collect()
    }
}

impl Action for Rollback {
    type Target = Target;
    type Plan = Plan;
    type Details = Details;

    const WAITS: Waits = Waits::ForPods;

    fn kinds() -> &'static [Kind] {
        &[Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet, Kind::ReplicaSet, Kind::Pod]
    }

    fn example() -> Value {
        json!({})
    }

    fn permissions(&self, resource: &Resource, circumstances: Circumstances) -> BTreeSet<Permission> {
        let Some(kind) = resource.built_in().filter(|kind| !matches!(kind, Kind::ReplicaSet | Kind::Pod)) else {
            return [Permission::on_target("get", resource)].into();
        };
        let mut all = RolloutTarget::permissions(kind, circumstances.waits, circumstances.has_id);
        all.insert(Permission::of("list", &revisions::resource(kind)));
        if kind == Kind::StatefulSet {
            all.insert(Permission::of("create", &Kind::Pod.resource()).on_sub("eviction"));
            // Also to learn the outcome of an eviction whose answer is lost.
            all.insert(Permission::on_target("watch", resource));
            all.insert(Permission::of("list", &Kind::Pod.resource()));
            all.insert(Permission::of("watch", &Kind::Pod.resource()));
        }
        all
    }

    fn owner_kinds(kind: Kind) -> &'static [Kind] {
        match kind {
            Kind::Pod => &[Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet],
            Kind::ReplicaSet => &[Kind::Deployment],
            _ => &[],
        }
    }

    fn check(&self, _named: &TargetRef, _run: &RunContext) -> Vec<String> {
        let mut problems = Vec::new();
        if self.to_revision.is_some() && self.to_revision_name.is_some() {
            problems.push("ACTION_PARAMETERS: toRevision, toRevisionName: expected one of them, got both".to_owned());
        }
        if self.to_revision.is_some_and(|number| number < 1) {
            problems.push(
                "ACTION_PARAMETERS: toRevision: expected 1 or more; leave it out to go to the revision before"
                    .to_owned(),
            );
        }
        problems
    }

    async fn find(&self, cluster: &Cluster, named: &TargetRef, run: &RunContext) -> Result<Target> {
        let live = lookup::find(cluster, named.object()?, Self::owner_kinds).await?;
        let kind = live.kind().filter(|kind| matches!(kind, Kind::Deployment | Kind::StatefulSet | Kind::DaemonSet));
        let kind = kind.ok_or_else(|| {
            Error::InvalidRequest(format!("{} has no revisions, and nothing that has some controls it", live.object))
        })?;
        let rollout = RolloutTarget::new(live, kind, run).with_revisions(cluster, run).await?;
        rollout.warn_of_marks(run, &self.request(&rollout), Deed::Rollback);
        if let Some(tool) = object::managed_by(&rollout.live.value) {
            run.progress.warn(format!(
                "{} is managed by {tool}, which may put the newer template back: change it there too",
                rollout.live.object
            ));
        }
        let passed = choose::passed_over(self, &rollout.revisions, &rollout.live.value);
        if !passed.is_empty() && self.earlier(&rollout, run) == Earlier::Never {
            run.progress.warn(format!(
                "passed over {}: the present template, but for a restart; name one by toRevision if it is meant",
                passed.join(", ")
            ));
        }
        Ok(Target { rollout, run: run.clone(), exact: Cell::new(false) })
    }

    fn decide(&self, target: &Target, run: &RunContext) -> Decision<Plan> {
        let target = &target.rollout;
        let object = &target.live.object;
        if let Some(why) = target.live.leaving() {
            return Decision::Refuse(why);
        }
        match self.earlier(target, run) {
            Earlier::Same(execution) => {
                let message = format!("{object} was rolled back by this execution at {}", execution.time);
                return Decision::AlreadySo { message, resumed: true };
            }
            Earlier::Different(execution) => return Decision::Refuse(executions::used_for_another(&execution)),
            Earlier::Never => {}
        }
        let to = match choose::revision(self, &target.revisions, &target.live.value) {
            Ok(to) => to,
            Err(why) => return Decision::Refuse(format!("{object} {why}")),
        };
        if target.live.value.pointer("/spec/template").map(normalized).as_ref() == Some(&to.template) {
            let message = format!("{object} has the template of revision {} ({}) already", to.number, to.name);
            return Decision::AlreadySo { message, resumed: false };
        }
        let refusal = target.live.protection().or_else(|| self.another_is_current(target));
        if let Some(why) = refusal.or_else(|| target.owner_of_template()).or_else(|| target.unreachable()) {
            return Decision::Refuse(why);
        }
        let from = target.current().map(|revision| revision.name.clone());
        Decision::Change(Plan { patch: self.patch(target, to, run), from, to: to.name.clone() })
    }

    fn same_intent(first: &Plan, again: &Plan) -> bool {
        (&first.from, &first.to) == (&again.from, &again.to)
    }

    async fn apply(&self, cluster: &Cluster, target: &Target, plan: &Plan, commit: Commit) -> Result<Value> {
        let Target { rollout, run, exact } = target;
        let (object, value) = (&rollout.live.object, &rollout.live.value);
        let after = cluster.patch(object, value, &plan.patch, commit).await?;
        let revision = rollout.named(Some(&plan.to)).map(|revision| &revision.template);
        exact.set(after.pointer("/spec/template").map(normalized).as_ref() == revision);
        if !Workload::read(rollout.kind, value).ordered {
            return Ok(after);
        }
        match commit {
            Commit::DryRun => stuck::try_out(cluster, object, value, &plan.to).await?.warn(object, run),
            Commit::Execute => {
                stuck::evict(cluster, object, (&after, &plan.to), run).await.map_err(stuck::applied)?;
            }
        }
        Ok(after)
    }

    /// Compares the template with that of the revision that was put back: what a mark says of its goal is not asked.
    fn stands(&self, target: &Target, run: &RunContext) -> Result<()> {
        let target = &target.rollout;
        let Earlier::Same(execution) = self.earlier(target, run) else { return Ok(()) };
        let (object, to) = (&target.live.object, marks::put_back_by(&execution));
        let template = target.live.value.pointer("/spec/template").map(normalized);
        let undone = match target.named(Some(to)) {
            Some(revision) if template.as_ref() != Some(&revision.template) => {
                Some("it has another pod template by now: someone else changed it".to_owned())
            }
            _ => target.undone(&execution).map(|how| format!("it {how}")),
        };
        let doubt = target.doubt(run, &self.request(target), Deed::Rollback);
        let by = if doubt.is_some() { "has a mark by which it was rolled back" } else { "was rolled back" };
        let undone = undone.map(|how| {
            Error::NotVerified(format!("{object} {by} to {to} by this execution at {}, and {how}", execution.time))
        });
        undone.or(doubt).map_or(Ok(()), Err)
    }

    /// Evicts the pods that block the rollback, whether or not the first run got to them.
    async fn resume(&self, cluster: &Cluster, target: &Target, run: &RunContext) -> Result<()> {
        let target = &target.rollout;
        let Earlier::Same(execution) = self.earlier(target, run) else { return Ok(()) };
        let (object, now) = (&target.live.object, &target.live.value);
        if Workload::read(target.kind, now).ordered {
            stuck::evict(cluster, object, (now, marks::put_back_by(&execution)), run).await.map_err(stuck::applied)?;
        }
        Ok(())
    }

    async fn verify(&self, cluster: &Cluster, target: &Target, now: &Value, run: &RunContext) -> Result<Details> {
        target.rollout.verify(cluster, now, run, |_| None).await?;
        Ok(self.details(target, run))
    }

    fn details(&self, target: &Target, run: &RunContext) -> Details {
        let target = &target.rollout;
        let (from, to) = match self.earlier(target, run) {
            Earlier::Same(execution) => (
                target.named(text(&execution.previous, "/revision")),
                target.named(Some(marks::put_back_by(&execution))),
            ),
            _ => (target.current(), choose::revision(self, &target.revisions, &target.live.value).ok()),
        };
        let seen = run.progress.observation();
        Details {
            from_revision: from.map(RevisionName::of),
            to_revision: to.map(RevisionName::of),
            desired_replicas: seen.desired,
            ready_replicas: seen.ready(),
            pods: seen.pods,
            verified_at: seen.verified_at,
            obstacles: seen.obstacles,
        }
    }

    fn undo(&self, target: &Target, applied: bool, run: &RunContext) -> RollbackInformation {
        self.way_back(target, applied, run)
    }

    fn intent(&self, target: &Target, details: &Details) -> String {
        format!("roll {} back to {}", target.rollout.live.object, details.shown())
    }

    fn done(&self, target: &Target, details: &Details) -> String {
        format!("rolled {} back to {}", target.rollout.live.object, details.shown())
    }

    fn proof(&self, _target: &Target, details: &Details, took: &str) -> String {
        match (details.ready_replicas, details.desired_replicas) {
            (Some(ready), Some(desired)) => format!("; {ready} of {desired} pods ready after {took}"),
            _ => "; not waited for".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::testing::{apply, live, run, sentence};
    use crate::workload::revisions::Revision;
    use contract::annotations::{EXECUTIONS_ROLLBACK, PROTECTED};
    use rstest::rstest;

    fn template(image: &str) -> Value {
        json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [{ "name": "app", "image": image }] } })
    }

    fn revision(name: &str, number: i64, image: &str) -> Revision {
        Revision { name: name.to_owned(), number, pod_label: None, template: template(image), object: json!({}) }
    }

    fn target(image: &str, extra: Value) -> Target {
        let mut value = json!({ "metadata": { "uid": "u", "generation": 7 }, "spec": { "template": template(image) } });
        json_patch::merge(&mut value, &extra);
        let revisions = vec![revision("web-c", 3, "c"), revision("web-b", 2, "b"), revision("web-a", 1, "a")];
        let rollout = RolloutTarget { live: live(Kind::Deployment, value), kind: Kind::Deployment, revisions };
        Target { rollout, run: run(), exact: Cell::new(true) }
    }

    fn rollback(parameters: Value) -> Rollback {
        serde_json::from_value(parameters).unwrap()
    }

    fn decide(parameters: Value, target: &Target) -> Decision<Plan> {
        rollback(parameters).decide(target, &run())
    }

    #[rstest]
    #[case::the_one_before(json!({}), "web-b")]
    #[case::by_number(json!({ "toRevision": 1 }), "web-a")]
    #[case::by_name(json!({ "toRevisionName": "web-a", "currentRevisionName": "web-c" }), "web-a")]
    fn goes_back_to(#[case] parameters: Value, #[case] name: &str) {
        let Decision::Change(change) = decide(parameters, &target("c", json!({}))) else { panic!() };
        assert_eq!((change.from.as_deref(), change.to.as_str()), (Some("web-c"), name));
    }

    #[rstest]
    #[case::no_such_number(json!({ "toRevision": 9 }), json!({}), "has no revision 9; it has 3 (web-c), 2 (web-b), 1 (web-a)")]
    #[case::paused(json!({}), json!({ "spec": { "paused": true } }), "is paused")]
    #[case::on_delete(json!({}), json!({ "spec": { "updateStrategy": { "type": "OnDelete" } } }), "OnDelete")]
    #[case::no_such_name(json!({ "toRevisionName": "x" }), json!({}), "has no revision of the name in toRevisionName")]
    #[case::another_is_current(json!({ "currentRevisionName": "web-b" }), json!({}), "has the template of revision web-c, not of web-b")]
    #[case::owned(json!({}), json!({ "metadata": { "ownerReferences": [{ "controller": true, "kind": "Rollout", "name": "r" }] } }), "Rollout r")]
    #[case::protected(json!({}), json!({ "metadata": { "annotations": { PROTECTED: "true" } } }), "is protected")]
    fn refuses(#[case] parameters: Value, #[case] extra: Value, #[case] why: &str) {
        let Decision::Refuse(said) = decide(parameters, &target("c", extra)) else { panic!() };
        assert!(said.contains(why), "{said}");
    }

    #[rstest]
    #[case::waited(
        false,
        None,
        Some(4),
        "rolled deployment shop/web back to revision 2 (web-b); 4 of 5 pods ready after 1.5 s"
    )]
    #[case::not_waited(false, None, None, "rolled deployment shop/web back to revision 2 (web-b); not waited for")]
    #[case::dry_run(true, None, None, "would roll deployment shop/web back to revision 2 (web-b)")]
    #[case::already(false, Some("so it is"), Some(5), "so it is; 5 of 5 pods ready after 1.5 s")]
    #[case::already_in_a_dry_run(true, Some("so it is"), None, "so it is")]
    fn tells(#[case] dry_run: bool, #[case] already: Option<&str>, #[case] ready: Option<i64>, #[case] says: &str) {
        let (rollback, target) = (rollback(json!({})), target("c", json!({})));
        let desired = ready.map(|_| 5);
        let details = Details { ready_replicas: ready, desired_replicas: desired, ..rollback.details(&target, &run()) };
        assert_eq!(sentence(&rollback, &target, &details, (dry_run, already)), says);
        let images = details.to_revision.unwrap().images;
        assert_eq!((details.from_revision.unwrap().name, images), ("web-c".to_owned(), vec!["b".to_owned()]));
    }

    /// After the patch and, because of its marks, in a second run of the same execution.
    #[test]
    fn the_way_back_is_the_revision_before() {
        let run = RunContext { id: Some("exec-1".parse().unwrap()), ..run() };
        let (rollback, mut target) = (rollback(json!({})), target("c", json!({})));
        let name = |undo: RollbackInformation| {
            undo.rollback_parameters.map(|all| json!(all)).ok_or(undo.failure_reason.unwrap_or_default())
        };
        let expected = Ok(json!({ "toRevisionName": "web-c", "currentRevisionName": "web-b" }));
        assert_eq!(name(rollback.undo(&target, true, &run)), expected);
        assert!(name(rollback.undo(&target, false, &run)).unwrap_err().contains("had that template already"));
        let Decision::Change(change) = rollback.decide(&target, &run) else { panic!() };
        apply(&mut target.rollout.live.value, &change.patch.operations);
        assert!(matches!(rollback.decide(&target, &run), Decision::AlreadySo { resumed: true, .. }));
        assert_eq!(name(rollback.undo(&target, false, &run)), expected);
        let Decision::Refuse(why) = self::rollback(json!({ "toRevision": 1 })).decide(&target, &run) else { panic!() };
        assert!(why.contains("was used for another request"), "{why}");
        let details = rollback.details(&target, &run);
        let names = [details.from_revision, details.to_revision].map(|one| one.unwrap().name);
        assert_eq!(names, ["web-c", "web-b"]);
        target.rollout.revisions.clear();
        target.rollout.live.value = json!({ "metadata": { "uid": "u" }, "spec": { "template": template("x") } });
        assert!(name(rollback.undo(&target, true, &run)).unwrap_err().contains("kept in no revision"));
    }

    #[rstest]
    #[case::both(json!({ "toRevision": 1, "toRevisionName": "x" }), &["expected one of them, got both"])]
    #[case::zero(json!({ "toRevision": 0 }), &["expected 1 or more"])]
    #[case::one(json!({ "toRevision": 1 }), &[])]
    #[case::none(json!({}), &[])]
    fn checks(#[case] parameters: Value, #[case] says: &[&str]) {
        let target = target("c", json!({}));
        let problems = rollback(parameters).check(&TargetRef::Object(target.rollout.live.object), &run());
        assert_eq!(problems.len(), says.len(), "{problems:?}");
        assert!(problems.iter().zip(says).all(|(problem, says)| problem.contains(says)), "{problems:?}");
    }

    #[test]
    fn a_workload_without_revisions_says_why() {
        let mut target = target("c", json!({}));
        target.rollout.revisions.clear();
        let Decision::Refuse(said) = decide(json!({}), &target) else { panic!() };
        assert!(said.contains("it has none (its revisionHistoryLimit may be 0)"), "{said}");
    }

    #[test]
    fn the_same_template_is_already_so() {
        assert!(matches!(decide(json!({ "toRevision": 3 }), &target("c", json!({}))), Decision::AlreadySo { .. }));
    }

    #[test]
    fn a_rollout_in_between_changes_what_the_one_before_means() {
        let Decision::Change(first) = decide(json!({}), &target("c", json!({}))) else { panic!() };
        let Decision::Change(again) = decide(json!({}), &target("b", json!({}))) else { panic!() };
        assert!(!Rollback::same_intent(&first, &again) && Rollback::same_intent(&first, &first));
    }

    /// That it was applied once does not say that it stands. One of release 0.1 knows the revision's name alone.
    #[rstest]
    #[case::as_written(json!({ "revision": "web-b" }), "b", None)]
    #[case::overwritten(json!({ "revision": "web-b" }), "c", Some("it has another pod template by now"))]
    #[case::of_0_1(Value::Null, "b", None)]
    #[case::of_0_1_overwritten(Value::Null, "c", Some("it has another pod template by now"))]
    #[case::of_0_1_and_the_revision_is_gone(
        Value::Null,
        "x",
        Some("cannot be known whether that is so: its revision web-b is gone by now")
    )]
    fn knows_whether_it_stands(#[case] goal: Value, #[case] image: &str, #[case] undone: Option<&str>) {
        let run = RunContext { id: Some("exec-1".parse().unwrap()), ..run() };
        let (rollback, mut target) = (rollback(json!({ "toRevisionName": "web-b" })), target("b", json!({})));
        let mut execution = json!({
            "id": "exec-1", "run": "r", "time": "t", "previous": { "revision": "web-c", "to": "web-b" },
            "request": contract::text::hash(&rollback.request(&target.rollout).to_string()),
        });
        if !goal.is_null() {
            let template = crate::k8s::template::template_hash(&template("b"));
            execution["goal"] = json!({ "revision": goal["revision"], "template": template });
        }
        if image == "x" {
            target.rollout.revisions.retain(|one| one.name != "web-b");
        }
        // Its controller has put it back.
        if let Some(back) = target.rollout.revisions.iter_mut().find(|one| one.name == "web-b") {
            (back.number, back.object) =
                (4, json!({ "metadata": { "annotations": { "deployment.kubernetes.io/revision-history": "2" } } }));
        }
        target.rollout.live.value["spec"]["template"] = template(image);
        target.rollout.live.value["metadata"]["annotations"] =
            json!({ EXECUTIONS_ROLLBACK: json!([execution]).to_string() });
        match (rollback.stands(&target, &run), undone) {
            (Ok(()), None) => {}
            (Err(Error::NotVerified(why)), Some(undone)) => {
                assert!(
                    why.starts_with("deployment shop/web ") && why.contains(" at t, and ") && why.contains(undone),
                    "{why}"
                );
            }
            (found, _) => panic!("{found:?}"),
        }
        assert!(
            rollback.stands(&target, &crate::action::testing::run()).is_ok(),
            "a run without an id has no earlier one"
        );
    }
}
