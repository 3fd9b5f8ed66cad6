//! # rollback
//!
//! Puts the pod template of an earlier revision back: of a Deployment from its ReplicaSets, of a StatefulSet or
//! DaemonSet from its ControllerRevisions, owner-checked and pinned by the revision object's name. The whole template
//! is replaced; a merge would keep fields that the old revision did not have.
//!
//! A StatefulSet that replaces its pods one by one stays stuck behind a pod that never became ready, also after its
//! template was put back (kubernetes#67250): those pods are evicted.

mod choose;
mod stuck;

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::action::{Action, Decision, Named, Progress, RollbackInformation, RunContext, Subject, Told, identity};
use crate::cluster::{Cluster, Commit, Patch};
use crate::error::{Error, Result};
use crate::guard::{self, CHANGE_CAUSE};
use crate::mark::{self, ChangeCause, Earlier, Execution, Mark, Marker};
use crate::object::{Kind, Resource, annotation, controller, text, uid};
use crate::observed::{PodCounts, Versions};
use crate::parameters::{Period, Settle, Terminating, Waiting, one_minute, yes};
use crate::permission::Permission;
use crate::revision::{self, Revision, normalized};
use crate::wait::Rollout;
use crate::workload::{self, Found, Workload, Written};

/// Parameters of `rollback`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rollback {
    /// The number of the revision to go back to; by default the last one before the present one whose pod template differs
    /// by more than a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub to_revision: Option<i64>,
    /// The name of the revision's object (ReplicaSet or ControllerRevision), which stays the same when numbers move; in
    /// place of `toRevision`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_revision_name: Option<String>,
    /// Wait until the pods of that revision are ready and the others gone.
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
    /// `wait` until the abandoned pods are gone, or `ignore` those that are being deleted: they may run on for their grace
    /// period.
    #[serde(default)]
    pub terminating: Terminating,
}

/// One revision, as results name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionName {
    /// The object that holds it.
    pub name: String,
    /// Its number when it was looked at; an old revision that comes back gets a new one.
    pub number: i64,
    /// Its containers' images.
    pub images: Vec<String>,
}

/// What `rollback` reports.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// The revision before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_revision: Option<RevisionName>,
    /// The revision that was put back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_revision: Option<RevisionName>,
    /// How many pods there are to be; absent when it was not waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_replicas: Option<i64>,
    /// How many are ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i64>,
    /// The workload's pods, as they were seen last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodCounts>,
    /// The resourceVersion of each followed list at that moment.
    #[serde(default, skip_serializing_if = "Versions::is_empty")]
    pub verified_at: Versions,
}

/// The workload and its revisions, newest first.
#[derive(Debug)]
pub struct Target {
    found: Found,
    kind: Kind,
    revisions: Vec<Revision>,
    progress: Progress,
}

impl Subject for Target {
    fn found(&self) -> Option<&Found> {
        Some(&self.found)
    }
}

/// The patch, and the names of the two revisions: what a second decision must agree with.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    patch: Patch,
    from: Option<String>,
    to: String,
}

impl Target {
    fn current(&self) -> Option<&Revision> {
        revision::current(&self.revisions, &self.found.value)
    }

    fn named(&self, name: Option<&str>) -> Option<&Revision> {
        self.revisions.iter().find(|revision| Some(revision.name.as_str()) == name)
    }
}

impl Rollback {
    fn request(&self, target: &Target) -> Value {
        json!({ "rollback": uid(&target.found.value), "parameters": identity(self) })
    }

    fn earlier(&self, target: &Target, run: &RunContext) -> Earlier {
        let objects =
            std::iter::once(&target.found.value).chain(target.revisions.iter().map(|revision| &revision.object));
        mark::earlier(run, &self.request(target), objects)
    }

    fn patch(&self, target: &Target, to: &Revision, run: &RunContext) -> Patch {
        let previous = target.current().map(|revision| revision.name.clone());
        let change = json!({ "op": "replace", "path": "/spec/template", "value": to.template });
        let execution = Execution {
            marker: Marker::Rollback,
            request: self.request(target),
            template: to.template.clone(),
            goal: json!({ "revision": to.name, "number": to.number }),
            previous: json!({ "revision": previous }),
            cause: ChangeCause::OfRevision(annotation(&to.object, CHANGE_CAUSE).map(str::to_owned)),
        };
        mark::patch(run, &execution, &target.found.value, vec![change])
    }

    fn asked(&self) -> Waiting {
        Waiting {
            wait: self.wait,
            timeout: self.wait_timeout,
            stuck_after: self.stuck_after,
            settle: self.settle,
            terminating: self.terminating,
        }
    }
}

impl Action for Rollback {
    type Target = Target;
    type Change = Change;
    type Details = Details;

    fn kinds() -> &'static [Kind] {
        &[Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet, Kind::ReplicaSet, Kind::Pod]
    }

    fn example() -> Value {
        json!({})
    }

    fn permissions(&self, resource: &Resource) -> BTreeSet<Permission> {
        let mut all = guard::owner_permissions(resource);
        all.insert(Permission::on_target("get", resource));
        let Some(kind) = resource.built_in().filter(|kind| !matches!(kind, Kind::ReplicaSet | Kind::Pod)) else {
            return all;
        };
        all.insert(Permission::on_target("patch", resource));
        all.insert(Permission::of("list", &revision::resource(kind)));
        if kind == Kind::StatefulSet {
            all.insert(Permission::of("create", &Kind::Pod.resource()).on_sub("eviction"));
        }
        if self.wait || kind == Kind::StatefulSet {
            all.insert(Permission::on_target("watch", resource));
            // Also what becomes of an eviction whose answer is lost.
            all.insert(Permission::of("list", &Kind::Pod.resource()));
            all.insert(Permission::of("watch", &Kind::Pod.resource()));
        }
        if self.wait {
            all.extend(guard::set_permissions(kind));
        }
        all
    }

    fn leads_to(kind: Kind) -> &'static [Kind] {
        match kind {
            Kind::Pod => &[Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet],
            Kind::ReplicaSet => &[Kind::Deployment],
            _ => &[],
        }
    }

    fn check(&self, _named: &Named, _run: &RunContext) -> Vec<String> {
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

    async fn find(&self, cluster: &Cluster, named: &Named, run: &RunContext) -> Result<Target> {
        let found =
            workload::find(cluster, guard::object(named)?, |kind| matches!(kind, Kind::Pod | Kind::ReplicaSet)).await?;
        let kind = found.kind().filter(|kind| matches!(kind, Kind::Deployment | Kind::StatefulSet | Kind::DaemonSet));
        let kind = kind.ok_or_else(|| {
            Error::InvalidRequest(format!("{} has no revisions, and nothing that has some controls it", found.object))
        })?;
        let (found, revisions) = revision::beside(cluster, kind, found, run).await?;
        if let Some(tool) = guard::managed_by(&found.value) {
            run.progress.warn(format!(
                "{} is managed by {tool}, which may put the newer template back: change it there too",
                found.object
            ));
        }
        if let Some(warning) = Workload::read(kind, &found.value).partition_warning(&found.object) {
            run.progress.warn(warning);
        }
        let target = Target { found, kind, revisions, progress: run.progress.clone() };
        let passed = choose::passed_over(self, &target.revisions, &target.found.value);
        if !passed.is_empty() && mark::of(run, &target.found.value).is_none() {
            run.progress.warn(format!(
                "passed over {}: the present template, but for a restart; name one by toRevision if it is meant",
                passed.join(", ")
            ));
        }
        Ok(target)
    }

    fn decide(&self, target: &Target, run: &RunContext) -> Decision<Change> {
        let object = &target.found.object;
        if let Some(why) = target.found.leaving() {
            return Decision::Refuse(why);
        }
        match self.earlier(target, run) {
            Earlier::Same(mark) => {
                let message = format!("{object} was rolled back by this execution at {}", mark.time);
                return Decision::AlreadySo { message, resumed: true };
            }
            Earlier::Different(mark) => return Decision::Refuse(mark::used_for_another(&mark)),
            Earlier::Never => {}
        }
        let to = match choose::revision(self, &target.revisions, &target.found.value) {
            Ok(to) => to,
            Err(why) => return Decision::Refuse(format!("{object} {why}")),
        };
        if target.found.value.pointer("/spec/template").map(normalized).as_ref() == Some(&to.template) {
            let message = format!("{object} has the template of revision {} ({}) already", to.number, to.name);
            return Decision::AlreadySo { message, resumed: false };
        }
        if let Some(why) = target.found.protection().or_else(|| refusal(target)) {
            return Decision::Refuse(why);
        }
        let from = target.current().map(|revision| revision.name.clone());
        Decision::Change(Change { patch: self.patch(target, to, run), from, to: to.name.clone() })
    }

    fn still_meant(first: &Change, again: &Change) -> bool {
        (&first.from, &first.to) == (&again.from, &again.to)
    }

    async fn apply(&self, cluster: &Cluster, target: &Target, change: &Change, commit: Commit) -> Result<Value> {
        let (object, value) = (&target.found.object, &target.found.value);
        let after = cluster.patch(object, value, &change.patch, commit).await?;
        if !Workload::read(target.kind, value).ordered {
            return Ok(after);
        }
        match commit {
            Commit::DryRun => warn_of(&stuck::try_out(cluster, object, value, &change.to).await?, target),
            Commit::Execute => stuck::evict(cluster, object, &after, &change.to).await.map_err(stuck::applied)?,
        }
        Ok(after)
    }

    /// A mark of release 0.1 has no goal but the revision's name.
    fn stands(&self, target: &Target, run: &RunContext) -> Result<()> {
        let Earlier::Same(mark) = self.earlier(target, run) else { return Ok(()) };
        let (object, now) = (&target.found.object, &target.found.value);
        let to = goal(&mark);
        let template = now.pointer("/spec/template").map(normalized);
        let undone = match target.named(Some(to)) {
            None if mark.goal.is_null() => Some("that revision is gone by now".to_owned()),
            Some(revision) if mark.goal.is_null() && template.as_ref() != Some(&revision.template) => {
                Some("it has another pod template by now: someone else changed it".to_owned())
            }
            _ => mark.undone(target.kind, now).map(|how| format!("it {how}")),
        };
        undone.map_or(Ok(()), |how| {
            Err(Error::NotVerified(format!(
                "{object} was rolled back to {to} by this execution at {}, and {how}",
                mark.time
            )))
        })
    }

    /// The pods that stand in its way must go, whether or not the first run got to them.
    async fn resume(&self, cluster: &Cluster, target: &Target, run: &RunContext) -> Result<()> {
        let Earlier::Same(mark) = self.earlier(target, run) else { return Ok(()) };
        let (object, now) = (&target.found.object, &target.found.value);
        if Workload::read(target.kind, now).ordered {
            stuck::evict(cluster, object, now, goal(&mark)).await.map_err(stuck::applied)?;
        }
        Ok(())
    }

    async fn verify(&self, cluster: &Cluster, target: &Target, now: &Value, run: &RunContext) -> Result<Details> {
        let written = Written::of(now);
        let rollout = Rollout {
            object: &target.found.object,
            kind: target.kind,
            now: now.clone(),
            of_newest_revision: true,
            overwritten: &|value| written.overwritten(value),
            asked: self.asked(),
        };
        rollout.wait(cluster, run).await?;
        Ok(self.details(target, run))
    }

    fn details(&self, target: &Target, run: &RunContext) -> Details {
        let (from, to) = match self.earlier(target, run) {
            Earlier::Same(mark) => (target.named(text(&mark.previous, "/revision")), target.named(Some(goal(&mark)))),
            _ => (target.current(), choose::revision(self, &target.revisions, &target.found.value).ok()),
        };
        let seen = run.progress.observation();
        Details {
            from_revision: from.map(named),
            to_revision: to.map(named),
            desired_replicas: seen.desired,
            ready_replicas: seen.ready(),
            pods: seen.pods,
            verified_at: seen.verified_at,
        }
    }

    fn undo(&self, target: &Target, applied: bool, run: &RunContext) -> RollbackInformation {
        let object = &target.found.object;
        let previous = match self.earlier(target, run) {
            Earlier::Same(mark) => text(&mark.previous, "/revision").map(str::to_owned),
            _ if applied => target.current().map(|revision| revision.name.clone()),
            _ => return RollbackInformation::unavailable("it had that template already; what was before is not known"),
        };
        match previous {
            Some(name) => RollbackInformation::request(
                format!("rollback-{}", object.resource.kind().to_lowercase()),
                json!({ "toRevisionName": name }),
            ),
            None => RollbackInformation::unavailable("the template before is kept in no revision"),
        }
    }

    fn sentence(&self, target: &Target, details: &Details, told: &Told) -> String {
        let object = &target.found.object;
        let to = details
            .to_revision
            .as_ref()
            .map_or_else(|| "an earlier revision".to_owned(), |to| format!("revision {} ({})", to.number, to.name));
        let ready = match (details.ready_replicas, details.desired_replicas) {
            (Some(ready), Some(desired)) => {
                format!("; {ready} of {desired} pods ready after {:.1} s", told.took.as_secs_f32())
            }
            _ => "; not waited for".to_owned(),
        };
        match (&told.already, told.dry_run) {
            (Some(message), true) => message.clone(),
            (Some(message), false) => format!("{message}{ready}"),
            (None, true) => format!("would roll {object} back to {to}"),
            (None, false) => format!("rolled {object} back to {to}{ready}"),
        }
    }

    fn waiting(&self) -> Option<Waiting> {
        Some(self.asked())
    }
}

fn named(revision: &Revision) -> RevisionName {
    let containers = revision.template.pointer("/spec/containers").and_then(Value::as_array);
    let images =
        containers.into_iter().flatten().filter_map(|container| text(container, "/image").map(str::to_owned)).collect();
    RevisionName { name: revision.name.clone(), number: revision.number, images }
}

/// Why a workload cannot be rolled back as it is.
fn refusal(target: &Target) -> Option<String> {
    let object = &target.found.object;
    if let Some(owner) = controller(&target.found.value) {
        let (kind, name) = (text(owner, "/kind").unwrap_or("object"), text(owner, "/name").unwrap_or_default());
        return Some(format!(
            "{object} is controlled by the {kind} {name}, which would put its own template back: roll that back"
        ));
    }
    let why = Workload::read(target.kind, &target.found.value).unreachable()?;
    Some(format!("{object} {why}"))
}

/// Says what the evictions that were tried out leave open.
fn warn_of(tried: &stuck::Tried, target: &Target) {
    let object = &target.found.object;
    // Each is tried out by itself, and a dry run takes nothing from a budget: one of one pod would let both pass.
    if tried.number > 1 {
        target.progress.warn(format!(
            "the evictions of the pods that keep {object} stuck were tried out one by one; a disruption budget that allows each may not allow all"
        ));
    }
    for blocked in &tried.blocked {
        target.progress.warn(format!(
            "a pod of {object} that is not ready yet cannot be evicted: {blocked}; unless it becomes ready by itself, the rollback does not get past it"
        ));
    }
}

/// The name of the revision that an execution put back.
fn goal(mark: &Mark) -> &str {
    text(&mark.goal, "/revision").or_else(|| text(&mark.previous, "/to")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::test_support::{found, run, told};
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
        Target {
            found: found(Kind::Deployment, value),
            kind: Kind::Deployment,
            revisions,
            progress: Progress::default(),
        }
    }

    fn rollback(parameters: Value) -> Rollback {
        serde_json::from_value(parameters).unwrap()
    }

    fn decide(parameters: Value, target: &Target) -> Decision<Change> {
        rollback(parameters).decide(target, &run())
    }

    #[rstest]
    #[case::the_one_before(json!({}), "web-b")]
    #[case::by_number(json!({ "toRevision": 1 }), "web-a")]
    #[case::by_name(json!({ "toRevisionName": "web-a" }), "web-a")]
    fn goes_back_to(#[case] parameters: Value, #[case] name: &str) {
        let Decision::Change(change) = decide(parameters, &target("c", json!({}))) else { panic!() };
        assert_eq!((change.from.as_deref(), change.to.as_str()), (Some("web-c"), name));
    }

    #[rstest]
    #[case::no_such_number(json!({ "toRevision": 9 }), json!({}), "has no revision 9; it has 3 (web-c), 2 (web-b), 1 (web-a)")]
    #[case::paused(json!({}), json!({ "spec": { "paused": true } }), "is paused")]
    #[case::on_delete(json!({}), json!({ "spec": { "updateStrategy": { "type": "OnDelete" } } }), "OnDelete")]
    #[case::no_such_name(json!({ "toRevisionName": "x" }), json!({}), "has no revision named \"x\"")]
    #[case::owned(json!({}), json!({ "metadata": { "ownerReferences": [{ "controller": true, "kind": "Rollout", "name": "r" }] } }), "Rollout r")]
    #[case::protected(json!({}), json!({ "metadata": { "annotations": { workload::PROTECTED: "true" } } }), "is protected")]
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
        assert_eq!(rollback.sentence(&target, &details, &told(dry_run, already)), says);
        let images = details.to_revision.unwrap().images;
        assert_eq!((details.from_revision.unwrap().name, images), ("web-c".to_owned(), vec!["b".to_owned()]));
    }

    /// After the patch and, by the marks in it, in a second run of the same execution.
    #[test]
    fn the_way_back_is_the_revision_before() {
        let run = RunContext { id: Some("exec-1".parse().unwrap()), ..run() };
        let (rollback, mut target) = (rollback(json!({})), target("c", json!({})));
        let name = |undo: RollbackInformation| {
            undo.rollback_parameters.map(|all| json!(all)).ok_or(undo.failure_reason.unwrap_or_default())
        };
        let expected = Ok(json!({ "toRevisionName": "web-c" }));
        assert_eq!(name(rollback.undo(&target, true, &run)), expected);
        assert!(name(rollback.undo(&target, false, &run)).unwrap_err().contains("had that template already"));
        let Decision::Change(change) = rollback.decide(&target, &run) else { panic!() };
        crate::guard::test_support::apply(&mut target.found.value, &change.patch.operations);
        assert!(matches!(rollback.decide(&target, &run), Decision::AlreadySo { resumed: true, .. }));
        assert_eq!(name(rollback.undo(&target, false, &run)), expected);
        let Decision::Refuse(why) = self::rollback(json!({ "toRevision": 1 })).decide(&target, &run) else { panic!() };
        assert!(why.contains("was used for another request"), "{why}");
        let details = rollback.details(&target, &run);
        let names = [details.from_revision, details.to_revision].map(|one| one.unwrap().name);
        assert_eq!(names, ["web-c", "web-b"]);
        target.revisions.clear();
        target.found.value = json!({ "metadata": { "uid": "u" }, "spec": { "template": template("x") } });
        assert!(name(rollback.undo(&target, true, &run)).unwrap_err().contains("kept in no revision"));
    }

    #[rstest]
    #[case::both(json!({ "toRevision": 1, "toRevisionName": "x" }), &["expected one of them, got both"])]
    #[case::zero(json!({ "toRevision": 0 }), &["expected 1 or more"])]
    #[case::one(json!({ "toRevision": 1 }), &[])]
    #[case::none(json!({}), &[])]
    fn checks(#[case] parameters: Value, #[case] says: &[&str]) {
        let target = target("c", json!({}));
        let problems = rollback(parameters).check(&Named::Object(target.found.object), &run());
        assert_eq!(problems.len(), says.len(), "{problems:?}");
        assert!(problems.iter().zip(says).all(|(problem, says)| problem.contains(says)), "{problems:?}");
    }

    #[test]
    fn a_workload_without_revisions_says_why() {
        let mut target = target("c", json!({}));
        target.revisions.clear();
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
        assert!(!Rollback::still_meant(&first, &again) && Rollback::still_meant(&first, &first));
    }
}
