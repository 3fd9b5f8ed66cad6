//! Pods, sets and goals for the tests of rollouts and of causes.

use std::time::Duration;

use contract::waiting::Terminating;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Workload;
use super::causes::sign::Sign;
use super::causes::table::{Class, Place};
use super::causes::{Cause, Evidence, Memory, Situation};
use super::pods::PodView;
use super::revisions::SetView;
use super::rollout::{self, RolloutStatus};
use super::tally::{Followed, Goal, Tally};
use crate::cluster::fake::object;
use crate::k8s::Kind;

/// Begin of the run.
pub fn began() -> Timestamp {
    "2026-01-01T00:01:00Z".parse().expect("a time")
}

/// That many seconds later.
pub fn after(seconds: i64) -> Timestamp {
    began() + SignedDuration::from_secs(seconds)
}

/// Ready long before the run, with a probe.
pub fn pod(name: &str, revision: &str) -> PodView {
    PodView {
        name: name.to_owned(),
        uid: name.to_owned(),
        owner: Some(format!("set-{revision}")),
        revision: Some(revision.to_owned()),
        node: Some(format!("node-of-{name}")),
        created: Some("2026-01-01T00:00:00Z".parse().expect("a time")),
        ready: true,
        ready_since: Some("2026-01-01T00:00:00Z".parse().expect("a time")),
        probed: true,
        phase: "Running".to_owned(),
        ..PodView::default()
    }
}

pub fn new(name: &str) -> PodView {
    pod(name, "new")
}

pub fn old(name: &str) -> PodView {
    pod(name, "old")
}

/// Runs, and its probe has not passed yet.
pub fn unready(pod: PodView) -> PodView {
    says(pod, Place::Running, "ContainersNotReady", "containers with unready status: [app]")
}

/// Not ready, and says this of its container.
pub fn says(pod: PodView, place: Place, state: &str, words: &str) -> PodView {
    let sign = Sign { container: Some("app".to_owned()), since: Some(began()), ..Sign::new(place, state, words) };
    PodView { ready: false, ready_since: None, signs: vec![sign], ..pod }
}

/// Not ready for a reason of this class.
pub fn stuck(pod: PodView, class: Class) -> PodView {
    match class {
        Class::Slow => unready(pod),
        Class::MayPass => says(pod, Place::Waiting, "ErrImagePull", "no such image"),
        Class::Certain => says(pod, Place::Waiting, "InvalidImageName", "no such name"),
    }
}

pub fn leaving(pod: PodView) -> PodView {
    PodView { terminating: true, leaving_since: Some(began()), due: Some(after(30)), ..pod }
}

pub fn finished(pod: PodView) -> PodView {
    PodView { finished: true, ready: false, ready_since: None, ..pod }
}

pub fn set(revision: &str, replicas: i64, desired: i64) -> SetView {
    SetView {
        name: format!("web-{revision}"),
        uid: format!("set-{revision}"),
        replicas,
        observed: true,
        desired: Some(desired),
        pod_label: Some(revision.to_owned()),
        ..SetView::default()
    }
}

const SETTLE: Duration = Duration::from_secs(3);

fn goal(revision: Option<&'static str>) -> Goal<'static> {
    Goal {
        generation: 2,
        revision,
        stale_deadline: None,
        terminating: Terminating::Wait,
        settle: SETTLE,
        began: began(),
        now: began(),
    }
}

pub fn restart() -> Goal<'static> {
    goal(Some("new"))
}

pub fn scale() -> Goal<'static> {
    goal(None)
}

/// `shop/web`, which is to have two pods.
pub fn workload(kind: Kind, spec: Value) -> Workload {
    let mut object = json!({ "metadata": { "generation": 2 }, "spec": { "replicas": 2 },
        "status": { "observedGeneration": 2, "desiredNumberScheduled": 2 } });
    json_patch::merge(&mut object, &json!({ "spec": spec }));
    Workload::read(kind, &object)
}

pub fn deployment() -> Workload {
    workload(Kind::Deployment, json!({}))
}

/// What is seen of a workload.
pub struct Seen<'a> {
    pub workload: &'a Workload,
    pub pods: &'a [PodView],
    pub sets: &'a [SetView],
    pub goal: Goal<'a>,
    pub evidence: Evidence,
    /// What was seen of the pods before.
    pub memory: Memory,
    /// Time for which ready pods have been ready, by our own clock.
    pub steady: Duration,
}

impl<'a> Seen<'a> {
    pub fn new(workload: &'a Workload, pods: &'a [PodView], goal: Goal<'a>) -> Self {
        let (evidence, memory) = (Evidence::default(), Memory::default());
        Self { workload, pods, sets: &[], goal, evidence, memory, steady: Duration::from_mins(1) }
    }

    /// Does something with it, as a wait would.
    pub fn look<T>(mut self, use_it: impl FnOnce(Situation<'_>) -> T) -> T {
        let target = object(self.workload.kind);
        self.memory.follow(self.pods.iter(), self.goal.began, self.goal.now);
        let follow = |pod| Followed { pod, steady: self.steady, to_outlive: self.memory.to_outlive(pod) };
        let followed: Vec<_> = self.pods.iter().map(follow).collect();
        use_it(Situation {
            target: &target,
            controller: &target,
            workload: self.workload,
            tally: &Tally::of(self.workload, &followed, self.goal),
            sets: self.sets,
            goal: self.goal,
            memory: &self.memory,
            evidence: &self.evidence,
        })
    }

    pub fn state(self) -> RolloutStatus {
        self.look(rollout::state)
    }

    pub fn causes(self) -> Vec<Cause> {
        self.look(super::causes::of)
    }
}
