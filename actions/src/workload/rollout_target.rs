//! A workload whose pod template an action changes: the parts that those actions share.

use std::collections::BTreeSet;

use serde_json::Value;

use super::lookup::LiveObject;
use super::marks::{self, Belief, Deed};
use super::observed::observed;
use super::revisions::{self, Revision};
use super::wait::RolloutWait;
use super::{Workload, Written, owners};
use crate::cluster::Cluster;
use crate::cluster::error::{Error, Result};
use crate::cluster::executions::{self, Earlier, Execution};
use crate::cluster::run::RunContext;
use crate::k8s::object::{controller, number, text};
use crate::k8s::template::template_hash;
use crate::k8s::{Kind, Permission};

/// A Deployment, StatefulSet or DaemonSet.
#[derive(Debug)]
pub struct RolloutTarget {
    /// The object.
    pub live: LiveObject,
    /// Kind of the object.
    pub kind: Kind,
    /// Revisions of the workload, newest first.
    pub revisions: Vec<Revision>,
}

impl RolloutTarget {
    /// Takes a workload that was looked up. Its revisions are not read yet.
    pub fn new(live: LiveObject, kind: Kind, run: &RunContext) -> Self {
        if let Some(warning) = Workload::read(kind, &live.value).partition_warning(&live.object) {
            run.progress.warn(warning);
        }
        let strays = number(&live.value, "/status/numberMisscheduled");
        if kind == Kind::DaemonSet && strays > 0 {
            run.progress.warn(format!(
                "{strays} pods of {} run on nodes that it does not choose any more (a taint, a label): they go, and no other pods come \
                 in their place",
                live.object
            ));
        }
        Self { live, kind, revisions: Vec::new() }
    }

    /// Reads the revisions too. A mark that was written just now is not to be seen on them: then the controller is waited
    /// for, so that nothing is applied twice.
    pub async fn with_revisions(self, cluster: &Cluster, run: &RunContext) -> Result<Self> {
        let mut target = self;
        loop {
            let (live, revisions) = revisions::beside(cluster, target.kind, target.live, run).await?;
            target = Self { live, revisions, ..target };
            let object = &target.live.object;
            if !target.is_early(run) {
                return Ok(target);
            }
            let seen = observed(cluster, target.kind, object, &target.live.value, run);
            target.live.value = match tokio::time::timeout(cluster.remaining().mul_f32(0.9), seen).await {
                Ok(seen) => seen?,
                Err(_) => {
                    return Err(Error::DeadlineExceeded(format!(
                        "{object} has a mark of this execution, and its controller does not observe generation {}: it \
                         cannot be known yet whether the mark is true; look at that controller, and try again with the \
                         same ACTION_ID",
                        number(&target.live.value, "/metadata/generation")
                    )));
                }
            };
        }
    }

    /// Returns whether there are marks of this execution of which the revisions show nothing, and the controller has not
    /// seen the present state yet.
    fn is_early(&self, run: &RunContext) -> bool {
        let proven = |one: &Execution| {
            [Deed::Restart, Deed::Rollback].into_iter().any(|deed| self.belief(one, deed) == Belief::Proven)
        };
        let (marks, seen) = (self.marks(run), Workload::read(self.kind, &self.live.value));
        !marks.is_empty() && !marks.iter().any(proven) && !seen.has_observed(seen.generation)
    }

    /// Returns the permissions to find a workload, to patch it, with an `ACTION_ID` to look for its marks, and with `waits` to
    /// follow its pods.
    pub fn permissions(kind: Kind, waits: bool, has_id: bool) -> BTreeSet<Permission> {
        let resource = kind.resource();
        let mut all =
            BTreeSet::from([Permission::on_target("get", &resource), Permission::on_target("patch", &resource)]);
        // The marks of this id are looked for on the revisions, and the new pods of a DaemonSet are recognized by its.
        if has_id || (waits && kind == Kind::DaemonSet) {
            all.insert(Permission::of("list", &revisions::resource(kind)));
        }
        // To learn whether the controller has seen an earlier execution, and then this one.
        if has_id || waits {
            all.insert(Permission::on_target("watch", &resource));
        }
        if waits {
            all.insert(Permission::of("list", &Kind::Pod.resource()));
            all.insert(Permission::of("watch", &Kind::Pod.resource()));
            all.extend(owners::set_permissions(kind));
        }
        all
    }

    /// Finds this execution on the object and its revisions. A mark that the revisions disprove is none.
    pub fn earlier(&self, run: &RunContext, request: &Value, deed: Deed) -> Earlier {
        match self.mark(run, request, deed) {
            Some((one, _)) if executions::is_of(&one, request) => Earlier::Same(one),
            Some((one, _)) => Earlier::Different(one),
            None => Earlier::Never,
        }
    }

    /// Returns the error of a mark that is neither proven nor disproved: it cannot be said that it was carried out, and
    /// carrying it out might be the second time.
    pub fn doubt(&self, run: &RunContext, request: &Value, deed: Deed) -> Option<Error> {
        let (one, why) = self.mark(run, request, deed)?;
        Some(Error::NotVerified(format!(
            "{} has a mark by which this execution {} at {}, and it cannot be known whether that is so: {}; look at it, and \
             use a new ACTION_ID if it is still to be done",
            self.live.object,
            done(deed),
            one.time,
            why?
        )))
    }

    /// Warns of the marks of this execution that the revisions disprove.
    pub fn warn_of_marks(&self, run: &RunContext, request: &Value, deed: Deed) {
        let disproved = |one: &Execution| self.belief(one, Self::deed(one, request, deed)) == Belief::Disproved;
        for one in self.marks(run).iter().filter(|one| disproved(one)) {
            run.progress.warn(format!(
                "{} has a mark by which ACTION_ID {} {} at {}, and its controller's revisions show that it did not: it is \
                 not believed; find out who may write annotations there",
                self.live.object,
                one.id,
                done(Self::deed(one, request, deed)),
                one.time
            ));
        }
    }

    /// Returns the mark of this execution that counts: one that is proven, or else one that may be true, and why that
    /// cannot be known.
    fn mark(&self, run: &RunContext, request: &Value, deed: Deed) -> Option<(Execution, Option<String>)> {
        let mut doubtful = None;
        for one in self.marks(run) {
            match self.belief(&one, Self::deed(&one, request, deed)) {
                Belief::Proven => return Some((one, None)),
                Belief::Unknown(why) => doubtful = doubtful.or(Some((one, Some(why)))),
                Belief::Disproved => {}
            }
        }
        doubtful
    }

    /// Returns all marks of this execution, each once.
    fn marks(&self, run: &RunContext) -> Vec<Execution> {
        let objects = std::iter::once(&self.live.value).chain(self.revisions.iter().map(|one| &one.object));
        let mut all: Vec<Execution> = Vec::new();
        for one in objects.flat_map(|object| executions::of(run, object)) {
            if !all.contains(&one) {
                all.push(one);
            }
        }
        all
    }

    fn belief(&self, mark: &Execution, deed: Deed) -> Belief {
        marks::belief(self.kind, &self.live.value, &self.revisions, mark, deed)
    }

    /// Returns what a mark must show: a mark of our own request what we do, whatever it looks like.
    fn deed(mark: &Execution, request: &Value, deed: Deed) -> Deed {
        if executions::is_of(mark, request) { deed } else { marks::deed(mark) }
    }

    /// Returns the revision whose template the workload has now.
    pub fn current(&self) -> Option<&Revision> {
        revisions::current(&self.revisions, &self.live.value)
    }

    /// Returns the revision with this name.
    pub fn named(&self, name: Option<&str>) -> Option<&Revision> {
        self.revisions.iter().find(|revision| Some(revision.name.as_str()) == name)
    }

    /// Returns the reason if another controller owns the template and would put its own back.
    pub fn owner_of_template(&self) -> Option<String> {
        let owner = controller(&self.live.value)?;
        let (kind, name) = (text(owner, "/kind").unwrap_or("object"), text(owner, "/name").unwrap_or_default());
        Some(format!(
            "{} is controlled by the {kind} {name}, which would put its own template back: roll that back",
            self.live.object
        ))
    }

    /// Returns why a change of the template would replace no pod.
    pub fn unreachable(&self) -> Option<String> {
        let why = Workload::read(self.kind, &self.live.value).unreachable()?;
        Some(format!("{} {why}", self.live.object))
    }

    /// Returns how the result of an execution was undone: the template was changed, or is not rolled out any more. The
    /// sentence continues the object's name. An execution without a goal says nothing about the template.
    pub fn undone(&self, execution: &Execution) -> Option<String> {
        let template = self.live.value.pointer("/spec/template").map(template_hash);
        let goal = text(&execution.goal, "/template").map(str::to_owned);
        if goal.is_some() && goal != template {
            return Some("has another pod template by now: someone else changed it".to_owned());
        }
        // A run would not have started in such a state, so somebody else has changed it since.
        let workload = Workload::read(self.kind, &self.live.value);
        if workload.paused { Some("is paused by now".to_owned()) } else { workload.unreachable() }
    }

    /// Waits until the pods of the written template are there. Fails if somebody overwrites the template; `first` may
    /// describe the change better.
    pub async fn verify(
        &self,
        cluster: &Cluster,
        now: &Value,
        run: &RunContext,
        first: impl Fn(&Value) -> Option<String>,
    ) -> Result<()> {
        let written = Written::of(now);
        let overwritten = |value: &Value| first(value).or_else(|| written.overwritten(value));
        let (object, kind) = (&self.live.object, self.kind);
        let wait =
            RolloutWait { object, kind, now: now.clone(), of_newest_revision: true, overwritten: &overwritten, run };
        wait.wait(cluster).await
    }
}

fn done(deed: Deed) -> &'static str {
    match deed {
        Deed::Restart => "restarted it",
        Deed::Rollback => "rolled it back",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::testing::{live, run};
    use crate::cluster::executions::{ChangeCause, Intent};
    use crate::cluster::fake::{Answer, cluster};
    use contract::annotations::{EXECUTIONS_RESTART, EXECUTIONS_ROLLBACK};
    use rstest::rstest;
    use serde_json::json;

    fn target(object: Value) -> RolloutTarget {
        RolloutTarget { live: live(Kind::StatefulSet, object), kind: Kind::StatefulSet, revisions: Vec::new() }
    }

    /// The goal is the written template, in any order of its fields.
    #[rstest]
    #[case::as_written(json!({ "spec": { "template": { "spec": { "b": 1, "a": { "y": [1], "x": 2 } } } } }), "")]
    #[case::another_order(json!({ "spec": { "template": { "spec": { "a": { "x": 2, "y": [1] }, "b": 1 } } } }), "")]
    #[case::another_value(json!({ "spec": { "template": { "spec": { "b": 2, "a": { "y": [1], "x": 2 } } } } }), "another pod template")]
    #[case::gone(json!({}), "another pod template")]
    #[case::on_delete(json!({ "spec": { "updateStrategy": { "type": "OnDelete" }, "template": { "spec": { "b": 1, "a": { "y": [1], "x": 2 } } } } }), "OnDelete")]
    #[case::out_of_reach(json!({ "spec": { "replicas": 2, "updateStrategy": { "rollingUpdate": { "partition": 2 } }, "template": { "spec": { "b": 1, "a": { "y": [1], "x": 2 } } } } }), "the partition 2")]
    #[case::partly_in_reach(json!({ "spec": { "replicas": 2, "updateStrategy": { "rollingUpdate": { "partition": 1 } }, "template": { "spec": { "b": 1, "a": { "y": [1], "x": 2 } } } } }), "")]
    #[case::paused(json!({ "spec": { "paused": true, "template": { "spec": { "b": 1, "a": { "y": [1], "x": 2 } } } } }), "is paused")]
    fn knows_whether_its_goal_stands(#[case] object: Value, #[case] says: &str) {
        let execution = Execution::new(
            &run(),
            &Intent {
                annotation: EXECUTIONS_RESTART,
                request: json!({}),
                template: json!({ "spec": { "b": 1, "a": { "y": [1], "x": 2 } } }),
                goal: json!({}),
                previous: json!({}),
                cause: ChangeCause::Keep,
            },
        );
        match target(object).undone(&execution) {
            Some(why) => assert!(!says.is_empty() && why.contains(says), "{why}"),
            None => assert_eq!(says, ""),
        }
        let without = Execution { goal: Value::Null, ..execution };
        assert_eq!(target(json!({})).undone(&without), None);
    }

    const HISTORY: &str = "deployment.kubernetes.io/revision-history";

    fn template() -> Value {
        json!({ "spec": { "containers": [{ "name": "app", "image": "a" }] } })
    }

    /// A Deployment that its second run finds right after the first has rolled it back.
    fn just_written(observed: u32) -> Value {
        let request = contract::text::hash(&json!({}).to_string());
        let goal = json!({ "revision": "web-a", "number": 1, "template": template_hash(&template()) });
        let mark = json!({ "id": "exec-1", "run": "r", "request": request, "time": "2026-01-01T00:01:00Z", "goal": goal,
            "previous": { "revision": "web-b" } });
        json!({
            "kind": "Deployment", "apiVersion": "apps/v1", "spec": { "selector": { "matchLabels": { "app": "web" } }, "template": template() },
            "metadata": { "name": "web", "uid": "u", "generation": 2, "resourceVersion": format!("{}", 5 + observed),
                "annotations": { EXECUTIONS_ROLLBACK: json!([mark]).to_string() } },
            "status": { "observedGeneration": observed },
        })
    }

    fn sets(came_back: bool) -> Answer {
        let (number, history) = if came_back { ("3", "1") } else { ("1", "") };
        let one = |name: &str, annotations: Value| {
            json!({ "spec": { "template": template() }, "metadata": { "name": name, "creationTimestamp": "2026-01-01T00:00:00Z", "annotations": annotations,
                "ownerReferences": [{ "uid": "u", "controller": true }] } })
        };
        let items = [one("web-a", json!({ NUMBER: number, HISTORY: history })), one("web-b", json!({ NUMBER: "2" }))];
        Answer::Json(200, json!({ "kind": "ReplicaSetList", "metadata": { "resourceVersion": "9" }, "items": items }))
    }

    const NUMBER: &str = "deployment.kubernetes.io/revision";

    async fn second_run(observes: bool) -> (Result<RolloutTarget>, RunContext) {
        let run = RunContext { id: Some("exec-1".parse().unwrap()), ..run() };
        let (cluster, _) = cluster(move |line, before| {
            if line.contains("/replicasets") {
                return sets(before > 0 && observes);
            }
            let seen = json!({ "type": "MODIFIED", "object": just_written(2) });
            let events = if observes { vec![(1, seen)] } else { Vec::new() };
            if line.contains("watch=") { Answer::Watch(events) } else { Answer::Json(200, just_written(1)) }
        });
        let live = live(Kind::Deployment, just_written(1));
        (RolloutTarget::new(live, Kind::Deployment, &run).with_revisions(&cluster, &run).await, run)
    }

    /// Neither believed nor disbelieved before the controller had a chance to show it.
    #[tokio::test(start_paused = true)]
    async fn a_mark_that_was_written_just_now_waits_for_the_controller() {
        let (target, run) = second_run(true).await;
        let target = target.unwrap();
        assert!(matches!(target.earlier(&run, &json!({}), Deed::Rollback), Earlier::Same(_)));
        assert!(target.doubt(&run, &json!({}), Deed::Rollback).is_none());
        target.warn_of_marks(&run, &json!({}), Deed::Rollback);
        assert_eq!(run.progress.warnings(), Vec::<String>::new());
    }

    #[tokio::test(start_paused = true)]
    async fn a_controller_that_sees_nothing_is_named() {
        let Err(Error::DeadlineExceeded(why)) = second_run(false).await.0 else { panic!() };
        assert!(
            why.starts_with("deployment shop/web has a mark of this execution, and its controller does not observe"),
            "{why}"
        );
    }

    /// The one that is true counts, wherever it stands beside the others; one that is not is told.
    #[test]
    fn a_forged_mark_beside_ours_does_not_hide_it() {
        let run = RunContext { id: Some("exec-1".parse().unwrap()), ..run() };
        let mut value = just_written(2);
        let annotations = &mut value["metadata"]["annotations"];
        let mut forged: Value = serde_json::from_str(annotations[EXECUTIONS_ROLLBACK].as_str().unwrap()).unwrap();
        forged[0]["goal"]["number"] = json!(2);
        annotations[EXECUTIONS_RESTART] = json!(forged.to_string());
        let Answer::Json(_, list) = sets(true) else { panic!() };
        let revision = |object: &Value| Revision {
            name: text(object, "/metadata/name").unwrap().to_owned(),
            number: object["metadata"]["annotations"][NUMBER].as_str().unwrap().parse().unwrap(),
            pod_label: None,
            template: template(),
            object: object.clone(),
        };
        let revisions = list["items"].as_array().unwrap().iter().map(revision).collect();
        let target = RolloutTarget { live: live(Kind::Deployment, value), kind: Kind::Deployment, revisions };
        let Earlier::Same(one) = target.earlier(&run, &json!({}), Deed::Rollback) else { panic!() };
        assert_eq!(one.goal["number"], 1);
        assert!(matches!(target.earlier(&run, &json!({ "x": 1 }), Deed::Rollback), Earlier::Different(_)));
        target.warn_of_marks(&run, &json!({}), Deed::Rollback);
        let warnings = run.progress.warnings();
        assert!(
            warnings.len() == 1 && warnings[0].contains("a mark by which ACTION_ID exec-1 rolled it back at"),
            "{warnings:?}"
        );
    }
}
