//! Decides whether a workload has reached the goal and, if not, why. Pure: from what was seen to an answer.
//!
//! Decided by the pods, one by one, never by sums of status fields: a sum cannot tell old pods from new ones, does not
//! count terminating pods, and mixes what a partition leaves alone with the rest.

use std::collections::BTreeSet;
use std::time::Duration;

use contract::waiting::Terminating;
use jiff::SignedDuration;

use crate::k8s::Kind;
use crate::workload::pods::{Outlook, PodView};
use crate::workload::revisions::SetView;
use crate::workload::tally::{Goal, Tally, count, earlier, leaving};
use crate::workload::{OutOfTime, Workload};

/// Time that a pod may need after its `deletionTimestamp` (the request plus the grace period): the kubelet stops its
/// containers, removes its sandbox and volumes, and reports that.
const DELETION_MARGIN: SignedDuration = SignedDuration::from_secs(10);

/// Progress of a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RolloutStatus {
    /// The goal is reached.
    Done {
        /// Number of pods beyond the desired number, which a Deployment keeps when paused in the middle of a rollout.
        surge: i64,
    },
    /// The goal is not reached yet.
    Pending(Pending),
    /// The goal will never be reached, for this reason.
    Failed(String),
}

/// The state of a rollout on its way to the goal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// One line for people, the same until something changes.
    pub status: String,
    /// Number of pods as asked, less those that have to go: while this grows there is progress.
    pub reached: i64,
    /// Obstacle that may pass.
    pub obstacle: Option<String>,
    /// Time after which the answer may change by itself.
    pub again: Option<Duration>,
}

impl Pending {
    /// Returns a status line only, without an obstacle.
    pub fn plain(status: impl Into<String>) -> Self {
        Self { status: status.into(), reached: i64::MIN, obstacle: None, again: None }
    }
}

/// Returns a workload's progress. The pods are its own, by their owners; the sets are a Deployment's ReplicaSets.
pub fn state(workload: &Workload, tally: &Tally<'_>, sets: &[SetView], goal: Goal<'_>) -> RolloutStatus {
    if !workload.has_observed(goal.generation) {
        return RolloutStatus::Pending(Pending::plain(not_observed(goal.generation)));
    }
    let wanted = wanted(workload, goal);
    let gone = tally.old.is_empty() && (tally.terminating.is_empty() || goal.terminating == Terminating::Ignore);
    let complete = tally.coming.is_empty()
        && count(&tally.there) == wanted
        && on_nodes_of_their_own(workload, tally)
        && available(workload, wanted);
    if gone && complete && sets_agree(tally, wanted, sets, goal) {
        return RolloutStatus::Done { surge: 0 };
    }
    if let Some(surge) = paused_surge(workload, tally, sets, goal).filter(|_| gone) {
        return RolloutStatus::Done { surge };
    }
    match obstacle(workload, tally, sets, goal) {
        Err(certain) => RolloutStatus::Failed(certain),
        Ok(obstacle) => {
            let reached = count(&tally.there) - count(&tally.old) - count(&tally.terminating);
            let again = earlier(tally.again, until_overdue(tally, goal));
            let blocked = blocked(workload, tally, goal).filter(|(_, outlook)| *outlook == Outlook::Starting);
            let blocked = blocked.map(|(cause, _)| format!("; {cause}")).unwrap_or_default();
            RolloutStatus::Pending(Pending {
                status: status(workload, tally, wanted, goal) + &blocked,
                reached,
                obstacle,
                again,
            })
        }
    }
}

/// Returns the number of pods that must be as asked.
pub fn wanted(workload: &Workload, goal: Goal<'_>) -> i64 {
    if goal.revision.is_some() { workload.in_reach() } else { workload.desired }
}

/// Returns whether a Deployment's ReplicaSets want exactly these pods and the controller has observed that. Otherwise
/// the number is right only by chance, and another pod may be about to come.
fn sets_agree(tally: &Tally<'_>, wanted: i64, sets: &[SetView], goal: Goal<'_>) -> bool {
    let ours = |set: &&SetView| goal.revision.is_none() || set.pod_label.as_deref() == goal.revision;
    let has_its_pods = |set: &SetView| set.observed && live_of(tally, &set.uid) == set.replicas;
    let own: i64 = sets.iter().filter(ours).map(|set| set.replicas).sum();
    sets.is_empty() || (sets.iter().all(has_its_pods) && own == wanted)
}

/// Returns whether the workload's own controller has also seen `minReadySeconds` pass: clocks differ, and others rely
/// on the controller's word, which never decides alone.
fn available(workload: &Workload, wanted: i64) -> bool {
    workload.min_ready.is_zero() || workload.available >= wanted
}

/// Returns whether each pod of a DaemonSet is on its own node: two pods on one node do not count for two nodes.
fn on_nodes_of_their_own(workload: &Workload, tally: &Tally<'_>) -> bool {
    let nodes: BTreeSet<_> = tally.there.iter().map(|pod| pod.node.as_deref()).collect();
    workload.kind != Kind::DaemonSet || nodes.len() == tally.there.len()
}

/// Returns the number of pods beyond the desired number, for a Deployment that is paused in the middle of a rollout.
/// Its controller is done when each ReplicaSet was scaled for the desired number and has its pods.
fn paused_surge(workload: &Workload, tally: &Tally<'_>, sets: &[SetView], goal: Goal<'_>) -> Option<i64> {
    let active: Vec<&SetView> = sets.iter().filter(|set| set.replicas > 0).collect();
    let has_its_pods = |set: &SetView| set.observed && live_of(tally, &set.uid) == set.replicas;
    let scaled = |set: &&SetView| set.desired == Some(workload.desired) && has_its_pods(set);
    let as_left = goal.revision.is_none() && workload.paused && active.len() > 1 && active.iter().all(scaled);
    let surge = tally.live() - workload.desired;
    let fits = count(&tally.there) >= workload.desired && (0..=workload.max_surge).contains(&surge);
    (as_left && fits).then_some(surge)
}

fn live_of(tally: &Tally<'_>, set: &str) -> i64 {
    let of_set = tally.there.iter().chain(&tally.coming).filter(|pod| pod.owner.as_deref() == Some(set));
    i64::try_from(of_set.count()).unwrap_or(i64::MAX)
}

/// Returns an obstacle that may pass; an error for one that certainly stays.
fn obstacle(
    workload: &Workload,
    tally: &Tally<'_>,
    sets: &[SetView],
    goal: Goal<'_>,
) -> Result<Option<String>, String> {
    let stuck = goal.revision.is_none() && workload.out_of_time.is_some();
    let prefix = if goal.revision.is_none() && sets.iter().filter(|set| set.replicas > 0).count() > 1 {
        "a rollout that has not finished stands in the way: "
    } else {
        ""
    };
    // Pods that leave in time make room, for example for a host port or an anti-affinity rule.
    let makes_room = tally.terminating.iter().any(|pod| pod.due.is_some_and(|due| due + DELETION_MARGIN >= goal.now));
    let staying = staying(workload, tally, sets, goal).filter(|pod| !makes_room || !pod.waits_for_room());
    let worst = worst(staying).map(|(cause, outlook)| (format!("{prefix}{cause}"), outlook));
    let worst = worst.into_iter().chain(blocked(workload, tally, goal)).max_by_key(|(_, outlook)| *outlook);
    if let Some((cause, Outlook::Stays)) = worst {
        return Err(cause);
    }
    // A scale is no rollout: the exceeded deadline belongs to an earlier one.
    let out_of_time = workload.out_of_time.as_ref().filter(|late| goal.stale_deadline != Some(late.since.as_str()));
    if let Some(OutOfTime { message, .. }) = out_of_time.filter(|_| goal.revision.is_some()) {
        let cause = worst.map(|(cause, _)| format!("; {cause}")).unwrap_or_default();
        return Err(format!("its progressDeadlineSeconds is exceeded: {message}{cause}"));
    }
    let failure = workload.replica_failure.as_ref().map(|message| format!("pods cannot be created: {message}"));
    let may_pass = worst.filter(|(_, outlook)| stuck || *outlook == Outlook::MayPass).map(|(cause, _)| cause);
    Ok(failure.or(may_pass).or_else(|| overdue(tally, goal)))
}

/// Returns the pods that stay. Pods to be deleted may be broken: scaling down a crash loop is no failure.
fn staying<'a>(
    workload: &'a Workload,
    tally: &'a Tally<'a>,
    sets: &'a [SetView],
    goal: Goal<'a>,
) -> impl Iterator<Item = &'a PodView> {
    let shrinks = move |pod: &PodView| {
        let set = sets.iter().find(|set| pod.owner.as_deref() == Some(set.uid.as_str()));
        match set {
            Some(set) => live_of(tally, &set.uid) > set.replicas,
            None => tally.live() > workload.desired,
        }
    };
    tally.coming.iter().copied().filter(move |pod| goal.revision.is_some() || (workload.desired > 0 && !shrinks(pod)))
}

/// Returns the pod that should be gone by now: its node does not answer, or a finalizer holds it.
fn overdue(tally: &Tally<'_>, goal: Goal<'_>) -> Option<String> {
    let late = |pod: &&&PodView| pod.due.is_some_and(|due| due + DELETION_MARGIN < goal.now);
    let pod = tally.terminating.iter().filter(|_| goal.terminating == Terminating::Wait).find(late)?;
    Some(leaving(pod, true))
}

fn until_overdue(tally: &Tally<'_>, goal: Goal<'_>) -> Option<Duration> {
    let left = |pod: &&PodView| Duration::try_from((pod.due? + DELETION_MARGIN).duration_since(goal.now)).ok();
    tally.terminating.iter().filter_map(left).min().map(|left| left + Duration::from_millis(1))
}

/// Returns whether the pod has an obstacle other than a normal start.
fn is_obstacle(pod: &PodView) -> bool {
    pod.obstacle.as_ref().is_some_and(|obstacle| obstacle.outlook > Outlook::Starting)
}

fn status(workload: &Workload, tally: &Tally<'_>, wanted: i64, goal: Goal<'_>) -> String {
    let new = if goal.revision.is_some() { "new " } else { "" };
    let there = count(&tally.there);
    let mut status = format!("{} of {wanted} {new}pods are ready", there.min(wanted));
    let serving = tally.coming.iter().filter(|pod| pod.serves()).count();
    if serving > 0 {
        status.push_str(&format!(" ({serving} more not for long enough)"));
    }
    if let Some(pod) = tally.coming.iter().find(|pod| !pod.ready && !is_obstacle(pod)) {
        let node = pod.node.as_deref().map_or("no node".to_owned(), |node| format!("node {node}"));
        let why = pod.obstacle.as_ref().map_or_else(|| "no container has a state".to_owned(), ToString::to_string);
        status.push_str(&format!("; pod {} on {node} is not ready: {why}", pod.name));
    }
    if there == wanted && !available(workload, wanted) {
        status.push_str(&format!("; its controller counts {} as available", workload.available));
    }
    if tally.live() > wanted {
        status.push_str(&format!("; {} more than that are still there", tally.live() - wanted));
    }
    if let Some(pod) = tally.old.first() {
        status.push_str(&format!("; pod {} of before is still there", pod.name));
    }
    if let Some(pod) = tally.terminating.first().filter(|_| goal.terminating == Terminating::Wait) {
        status.push_str(&format!("; {}", leaving(pod, false)));
    }
    status
}

/// Returns the broken pod that an ordered StatefulSet waits for forever: one of the revision before (kubernetes#67250),
/// or one that the partition protects.
fn blocked(workload: &Workload, tally: &Tally<'_>, goal: Goal<'_>) -> Option<(String, Outlook)> {
    goal.revision.filter(|_| workload.ordered)?;
    let missing = tally.live() < wanted(workload, goal);
    let protected = || worst(tally.out_of_reach.iter().copied()).filter(|_| missing);
    let old = worst(tally.old.iter().copied()).map(|worst| ("is of the revision before", worst));
    let (what, (cause, outlook)) = old.or_else(|| Some(("is left alone by the partition", protected()?)))?;
    Some((format!("{cause}; it {what}, and its StatefulSet waits for it: evict it (restart-pod)"), outlook))
}

/// Returns the status while the controller has not seen the change, so that nothing is known yet.
pub fn not_observed(generation: i64) -> String {
    format!("waiting for the controller to observe generation {generation}")
}

/// Returns the pod with the worst obstacle, and the cause.
pub fn worst<'a>(pods: impl Iterator<Item = &'a PodView>) -> Option<(String, Outlook)> {
    let of = |pod: &'a PodView| pod.obstacle.as_ref().map(|obstacle| (pod, obstacle));
    let (pod, obstacle) = pods.filter_map(of).max_by_key(|(_, obstacle)| obstacle.outlook)?;
    Some((format!("pod {}: {obstacle}", pod.name), obstacle.outlook))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::observed::Why;
    use crate::workload::pods::Obstacle;
    use crate::workload::tally::{Followed, became_ready_in};
    use jiff::Timestamp;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn began() -> Timestamp {
        "2026-01-01T00:01:00Z".parse().unwrap()
    }

    /// Ready long before the run, with a probe.
    fn pod(name: &str, revision: &str) -> PodView {
        PodView {
            name: name.to_owned(),
            uid: name.to_owned(),
            owner: Some(format!("set-{revision}")),
            revision: Some(revision.to_owned()),
            node: Some(format!("node-of-{name}")),
            created: Some("2026-01-01T00:00:00Z".parse().unwrap()),
            ready: true,
            ready_since: Some("2026-01-01T00:00:00Z".parse().unwrap()),
            probed: true,
            ..PodView::default()
        }
    }

    fn new(name: &str) -> PodView {
        pod(name, "new")
    }

    fn old(name: &str) -> PodView {
        pod(name, "old")
    }

    fn unready(pod: PodView) -> PodView {
        PodView { ready: false, ready_since: None, ..pod }
    }

    fn leaving(pod: PodView) -> PodView {
        PodView { terminating: true, due: Some(began() + SignedDuration::from_secs(30)), ..pod }
    }

    fn finished(pod: PodView) -> PodView {
        PodView { finished: true, ..unready(pod) }
    }

    fn stuck(pod: PodView, outlook: Outlook) -> PodView {
        PodView { obstacle: Some(Obstacle { cause: "container app: X".to_owned(), outlook }), ..unready(pod) }
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

    fn restart() -> Goal<'static> {
        goal(Some("new"))
    }

    fn scale() -> Goal<'static> {
        goal(None)
    }

    fn workload(kind: Kind, spec: Value) -> Workload {
        let mut object = json!({ "metadata": { "generation": 2 }, "spec": { "replicas": 2 },
            "status": { "observedGeneration": 2, "desiredNumberScheduled": 2 } });
        json_patch::merge(&mut object, &json!({ "spec": spec }));
        Workload::read(kind, &object)
    }

    fn deployment() -> Workload {
        workload(Kind::Deployment, json!({}))
    }

    /// Pods that have been ready for this long by our own clock.
    fn of(workload: &Workload, pods: &[PodView], sets: &[SetView], goal: Goal<'_>, steady: Duration) -> RolloutStatus {
        let followed: Vec<_> = pods.iter().map(|pod| Followed { pod, steady }).collect();
        state(workload, &Tally::of(workload, &followed, goal), sets, goal)
    }

    fn look(workload: &Workload, pods: &[PodView], goal: Goal<'_>) -> RolloutStatus {
        of(workload, pods, &[], goal, Duration::from_mins(1))
    }

    fn done(state: &RolloutStatus) -> bool {
        matches!(state, RolloutStatus::Done { .. })
    }

    fn status(state: RolloutStatus) -> Pending {
        match state {
            RolloutStatus::Pending(waiting) => waiting,
            other => panic!("{other:?}"),
        }
    }

    #[rstest]
    #[case::all_new(&[new("a"), new("b")], true)]
    #[case::one_missing(&[new("a")], false)]
    #[case::one_too_many(&[new("a"), new("b"), new("c")], false)]
    #[case::one_not_ready(&[new("a"), unready(new("b"))], false)]
    #[case::one_old(&[new("a"), old("b")], false)]
    #[case::an_old_one_beside(&[new("a"), new("b"), old("c")], false)]
    #[case::an_old_one_that_terminates(&[new("a"), new("b"), leaving(old("c"))], false)]
    #[case::a_new_one_that_terminates(&[new("a"), new("b"), leaving(new("c"))], false)]
    #[case::an_old_one_that_ran_to_its_end(&[new("a"), new("b"), finished(old("c"))], true)]
    #[case::a_new_one_that_ran_to_its_end(&[new("a"), finished(new("b"))], false)]
    fn a_restart_is_done_when_exactly_the_new_pods_are_left(#[case] pods: &[PodView], #[case] is_done: bool) {
        for kind in [Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet] {
            let pods: Vec<_> = if kind == Kind::StatefulSet {
                // Their names are their ordinals.
                pods.iter()
                    .enumerate()
                    .map(|(at, pod)| PodView { name: format!("db-{}", at.min(1)), ..pod.clone() })
                    .collect()
            } else {
                pods.to_vec()
            };
            let found = look(&workload(kind, json!({})), &pods, restart());
            assert_eq!(done(&found), is_done, "{kind:?} {found:?}");
        }
    }

    #[rstest]
    #[case::exactly(&[old("a"), new("b")], true)]
    #[case::too_few(&[old("a")], false)]
    #[case::too_many(&[old("a"), old("b"), old("c")], false)]
    #[case::not_ready(&[old("a"), unready(old("b"))], false)]
    #[case::one_terminates(&[old("a"), old("b"), leaving(old("c"))], false)]
    #[case::two_of_three_terminate(&[old("a"), leaving(old("b")), leaving(old("c"))], false)]
    #[case::one_ran_to_its_end(&[old("a"), old("b"), finished(old("c"))], true)]
    fn a_scale_is_done_when_exactly_that_many_are_left(#[case] pods: &[PodView], #[case] is_done: bool) {
        for kind in [Kind::Deployment, Kind::ReplicaSet, Kind::ReplicationController] {
            let found = look(&workload(kind, json!({})), pods, scale());
            assert_eq!(done(&found), is_done, "{kind:?} {found:?}");
        }
    }

    #[test]
    fn pods_of_a_status_of_before_do_not_count() {
        let mut deployment = deployment();
        deployment.observed = 1;
        let waits = status(look(&deployment, &[new("a"), new("b")], restart()));
        assert_eq!(waits.status, "waiting for the controller to observe generation 2");
    }

    #[test]
    fn what_terminates_may_be_ignored() {
        let goal = Goal { terminating: Terminating::Ignore, ..restart() };
        assert!(done(&look(&deployment(), &[new("a"), new("b"), leaving(old("c"))], goal)));
        assert!(!done(&look(&deployment(), &[new("a"), new("b"), old("c")], goal)));
        // A terminating pod does not count as one of the wanted pods.
        assert!(!done(&look(&deployment(), &[new("a"), leaving(new("b"))], goal)));
    }

    #[rstest]
    #[case::in_time(20, None, Some(20_001))]
    #[case::at_its_time(30, None, Some(10_001))]
    #[case::overdue(
        41,
        Some("pod c on node node-of-c should have been gone at 2026-01-01T00:01:30Z, held by its finalizers a/b"),
        None
    )]
    fn a_pod_that_should_be_gone_stands_in_the_way(
        #[case] seconds: i64,
        #[case] obstacle: Option<&str>,
        #[case] again: Option<u128>,
    ) {
        let goal = Goal { now: began() + SignedDuration::from_secs(seconds), ..scale() };
        let late = PodView { finalizers: vec!["a/b".to_owned()], ..leaving(old("c")) };
        let waits = status(look(&deployment(), &[new("a"), new("b"), late], goal));
        assert_eq!(waits.obstacle.as_deref(), obstacle);
        assert_eq!(waits.again.map(|again| again.as_millis()), again);
        assert!(
            waits.status.starts_with("2 of 2 pods are ready; pod c on node node-of-c is still terminating"),
            "{waits:?}"
        );
    }

    #[rstest]
    #[case::above(&[("db-0", "old"), ("db-1", "new")], 1, 0, true)]
    #[case::canary_still_bad(&[("db-0", "new"), ("db-1", "old")], 1, 0, false)]
    #[case::below_does_not_matter(&[("db-0", "new"), ("db-1", "new")], 1, 0, true)]
    #[case::ordinals_start_elsewhere(&[("db-5", "old"), ("db-6", "new")], 1, 5, true)]
    #[case::from_the_start(&[("db-5", "old"), ("db-6", "new")], 0, 5, false)]
    fn a_partition_is_out_of_reach(
        #[case] pods: &[(&str, &str)],
        #[case] partition: i64,
        #[case] start: i64,
        #[case] is_done: bool,
    ) {
        let spec = json!({ "ordinals": { "start": start }, "updateStrategy": { "rollingUpdate": { "partition": partition } } });
        let pods: Vec<_> = pods.iter().map(|(name, revision)| pod(name, revision)).collect();
        let found = look(&workload(Kind::StatefulSet, spec), &pods, restart());
        assert_eq!(done(&found), is_done, "{found:?}");
    }

    #[test]
    fn a_set_is_scaled_when_what_is_beyond_its_number_is_gone() {
        let set = workload(Kind::StatefulSet, json!({ "ordinals": { "start": 5 } }));
        let pods = |names: &[&str]| names.iter().map(|name| old(name)).collect::<Vec<_>>();
        assert!(done(&look(&set, &pods(&["db-5", "db-6"]), scale())));
        assert!(!done(&look(&set, &pods(&["db-5", "db-7"]), scale())));
        // Pods beyond the wanted number may be broken.
        let broken = [old("db-5"), old("db-6"), stuck(old("db-7"), Outlook::Stays)];
        assert!(matches!(look(&set, &broken, scale()), RolloutStatus::Pending(_)));
    }

    #[test]
    fn daemons_are_one_on_each_node() {
        let daemons = workload(Kind::DaemonSet, json!({}));
        let twins = ["a", "b"].map(|name| PodView { node: Some("n1".to_owned()), ..new(name) });
        assert!(!done(&look(&daemons, &twins, restart())));
    }

    #[rstest]
    #[case::not_yet(Duration::from_secs(9), Some(1000))]
    #[case::for_long_enough(Duration::from_secs(10), None)]
    fn ready_is_ready_for_min_ready_seconds(#[case] steady: Duration, #[case] again: Option<u128>) {
        for kind in [Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet] {
            let pods =
                [PodView { name: "db-0".to_owned(), ..new("a") }, PodView { name: "db-1".to_owned(), ..new("b") }];
            let mut workload = workload(kind, json!({ "minReadySeconds": 10 }));
            workload.available = 2;
            match of(&workload, &pods, &[], restart(), steady) {
                RolloutStatus::Pending(waiting) => {
                    assert_eq!(waiting.again.map(|again| again.as_millis()), again);
                    assert_eq!(waiting.status, "0 of 2 new pods are ready (2 more not for long enough)");
                }
                other => assert!(again.is_none() && done(&other), "{kind:?} {other:?}"),
            }
        }
    }

    /// The controller says so a moment after us.
    #[test]
    fn for_min_ready_seconds_the_controllers_word_counts_too() {
        let mut slow = workload(Kind::DaemonSet, json!({ "minReadySeconds": 10 }));
        slow.available = 1;
        let pods = [new("a"), new("b")];
        let waits = status(look(&slow, &pods, restart()));
        assert_eq!(waits.status, "2 of 2 new pods are ready; its controller counts 1 as available");
        slow.available = 2;
        assert!(done(&look(&slow, &pods, restart())));
        // Without `minReadySeconds` the controller's count does not matter.
        assert!(done(&look(&workload(Kind::DaemonSet, json!({})), &pods, restart())));
    }

    /// A container without a readiness probe is ready as soon as it runs, even if it ends a moment later.
    #[rstest]
    #[case::with_a_probe(true, true, 0, true)]
    #[case::of_before(false, false, 0, true)]
    #[case::just_ready(false, true, 2, false)]
    #[case::settled(false, true, 3, true)]
    fn without_a_probe_it_has_to_settle(
        #[case] probed: bool,
        #[case] made_in_this_run: bool,
        #[case] seconds: u64,
        #[case] is_done: bool,
    ) {
        let created = if made_in_this_run { began() } else { began() - SignedDuration::from_mins(1) };
        let pods = ["a", "b"].map(|name| PodView { probed, created: Some(created), ..new(name) });
        let found = of(&deployment(), &pods, &[], restart(), Duration::from_secs(seconds));
        assert_eq!(done(&found), is_done, "{found:?}");
        let off = Goal { settle: Duration::ZERO, ..restart() };
        assert!(done(&of(&deployment(), &pods, &[], off, Duration::ZERO)));
    }

    #[test]
    fn a_pod_of_before_that_became_ready_in_this_run_has_to_settle_too() {
        let pod = |since: i64| PodView {
            probed: false,
            ready_since: Some(began() + SignedDuration::from_secs(since)),
            ..new("a")
        };
        assert!(became_ready_in(&pod(1), began()) && became_ready_in(&pod(0), began()));
        assert!(!became_ready_in(&pod(-1), began()));
    }

    #[rstest]
    #[case(Outlook::Stays, true)]
    #[case(Outlook::MayPass, false)]
    #[case(Outlook::Starting, false)]
    fn fails_at_once_only_for_what_stays(#[case] outlook: Outlook, #[case] fails: bool) {
        let result = look(&deployment(), &[old("b"), stuck(new("a"), outlook)], restart());
        assert_eq!(matches!(result, RolloutStatus::Failed(_)), fails, "{result:?}");
        let told = matches!(result, RolloutStatus::Pending(Pending { obstacle: Some(_), .. }));
        assert_eq!(told, outlook == Outlook::MayPass);
    }

    /// For example, the node is gone: nobody reports a state.
    #[test]
    fn a_pod_without_any_state_is_named() {
        let waits = status(look(&deployment(), &[new("a"), unready(new("b"))], restart()));
        let named = "1 of 2 new pods are ready; pod b on node node-of-b is not ready: no container has a state";
        assert_eq!((waits.status.as_str(), waits.obstacle), (named, None));
    }

    #[test]
    fn an_obstacle_of_an_old_pod_is_not_ours() {
        let result = look(&deployment(), &[stuck(old("a"), Outlook::Stays), new("b")], restart());
        assert!(matches!(result, RolloutStatus::Pending(_)), "{result:?}");
    }

    #[test]
    fn scaling_down_a_crash_loop_is_no_failure() {
        let pods = ["a", "b", "c"].map(|name| stuck(new(name), Outlook::Stays));
        assert!(matches!(look(&deployment(), &pods, scale()), RolloutStatus::Pending(_)));
        assert!(matches!(look(&deployment(), &pods[..2], scale()), RolloutStatus::Failed(_)));
        let stopped = workload(Kind::Deployment, json!({ "replicas": 0 }));
        assert!(matches!(look(&stopped, &pods[..1], scale()), RolloutStatus::Pending(_)));
    }

    fn set(revision: &str, replicas: i64, desired: i64) -> SetView {
        SetView {
            uid: format!("set-{revision}"),
            replicas,
            observed: true,
            desired: Some(desired),
            pod_label: Some(revision.to_owned()),
            ..SetView::default()
        }
    }

    /// The number of pods may be right by chance, before the controllers have acted.
    #[rstest]
    #[case::as_asked(&[set("new", 2, 2), set("old", 0, 2)], true, true)]
    #[case::one_more_is_to_come(&[set("new", 3, 2), set("old", 0, 2)], false, false)]
    #[case::old_ones_are_to_come_back(&[set("new", 2, 2), set("old", 1, 2)], false, false)]
    #[case::of_another_set_than_theirs(&[set("new", 1, 2), set("old", 1, 2)], false, false)]
    #[case::not_seen_by_their_controller(&[SetView { observed: false, ..set("new", 2, 2) }], false, false)]
    fn the_replica_sets_must_be_meant_to_have_those_pods(
        #[case] sets: &[SetView],
        #[case] restarted: bool,
        #[case] scaled: bool,
    ) {
        let pods = [new("a"), new("b")];
        for (goal, is_done) in [(restart(), restarted), (scale(), scaled)] {
            let found = of(&deployment(), &pods, sets, goal, Duration::from_mins(1));
            assert_eq!(done(&found), is_done, "{found:?}");
        }
    }

    /// A Deployment that is paused in the middle of a rollout keeps its surge, so that it never has exactly its number.
    #[rstest]
    #[case::as_its_controller_leaves_it(&[set("old", 2, 2), set("new", 1, 2)], &[old("a"), old("b"), new("c")], true, Some(1))]
    #[case::the_one_beyond_is_broken(&[set("old", 2, 2), set("new", 1, 2)], &[old("a"), old("b"), stuck(new("c"), Outlook::Stays)], true, Some(1))]
    #[case::not_enough_are_ready(&[set("old", 2, 2), set("new", 1, 2)], &[old("a"), unready(old("b")), unready(new("c"))], true, None)]
    #[case::not_scaled_yet(&[set("old", 2, 1), set("new", 1, 2)], &[old("a"), old("b"), new("c")], true, None)]
    #[case::pods_are_missing(&[set("old", 3, 2), set("new", 1, 2)], &[old("a"), old("b"), new("c")], true, None)]
    #[case::more_than_its_surge(&[set("old", 3, 2), set("new", 1, 2)], &[old("a"), old("b"), old("d"), new("c")], true, None)]
    #[case::one_set(&[set("new", 3, 2)], &[new("a"), new("b"), new("c")], true, None)]
    #[case::not_paused(&[set("old", 2, 2), set("new", 1, 2)], &[old("a"), old("b"), new("c")], false, None)]
    #[case::one_terminates(&[set("old", 2, 2), set("new", 1, 2)], &[old("a"), old("b"), new("c"), leaving(old("d"))], true, None)]
    fn a_paused_rollout_keeps_its_surge(
        #[case] sets: &[SetView],
        #[case] pods: &[PodView],
        #[case] paused: bool,
        #[case] surge: Option<i64>,
    ) {
        let spec = json!({ "paused": paused, "strategy": { "rollingUpdate": { "maxSurge": 1 } } });
        let found = of(&workload(Kind::Deployment, spec), pods, sets, scale(), Duration::from_mins(1));
        let told = if let RolloutStatus::Done { surge } = &found { Some(*surge) } else { None };
        assert_eq!(told, surge, "{found:?}");
    }

    /// A scale during a stuck rollout never reaches its number, and the reason is the new pod's cause.
    #[test]
    fn a_stuck_rollout_is_the_cause_of_a_scale() {
        let sets = [set("old", 2, 2), set("new", 1, 2)];
        let pods = |outlook| [old("a"), old("b"), stuck(new("c"), outlook)];
        let long = Duration::from_mins(1);
        let found = of(&deployment(), &pods(Outlook::Stays), &sets, scale(), long);
        assert_eq!(
            found,
            RolloutStatus::Failed(
                "a rollout that has not finished stands in the way: pod c: container app: X".to_owned()
            )
        );
        // A set that is scaled down may have broken pods.
        let shrinking = [set("old", 2, 2), set("new", 0, 2)];
        assert!(matches!(
            of(&deployment(), &pods(Outlook::Stays), &shrinking, scale(), long),
            RolloutStatus::Pending(_)
        ));
        // A failing probe is an obstacle when the Deployment itself says that its rollout has timed out.
        let mut late = deployment();
        assert_eq!(status(of(&late, &pods(Outlook::Starting), &sets, scale(), long)).obstacle, None);
        late.out_of_time = Some(OutOfTime { message: "late".to_owned(), since: "t".to_owned() });
        let waits = status(of(&late, &pods(Outlook::Starting), &sets, scale(), long));
        assert!(waits.obstacle.is_some_and(|cause| cause.ends_with("pod c: container app: X")));
        assert_eq!(
            waits.status,
            "2 of 2 pods are ready; pod c on node node-of-c is not ready: container app: X; 1 more than that are still there"
        );
    }

    fn out_of_time(since: &str) -> Workload {
        let message = "timed out".to_owned();
        Workload { out_of_time: Some(OutOfTime { message, since: since.to_owned() }), ..deployment() }
    }

    #[test]
    fn an_exceeded_progress_deadline_names_the_pod() {
        let RolloutStatus::Failed(why) = look(&out_of_time("t"), &[stuck(new("a"), Outlook::Starting)], restart())
        else {
            panic!()
        };
        assert_eq!(why, "its progressDeadlineSeconds is exceeded: timed out; pod a: container app: X");
    }

    #[test]
    fn a_deadline_that_an_earlier_rollout_exceeded_is_not_ours() {
        let goal = Goal { stale_deadline: Some("t"), ..restart() };
        assert!(matches!(look(&out_of_time("t"), &[], goal), RolloutStatus::Pending(_)));
        assert!(matches!(look(&out_of_time("t"), &[], restart()), RolloutStatus::Failed(_)));
        assert!(matches!(look(&out_of_time("t"), &[], scale()), RolloutStatus::Pending(_)));
    }

    #[test]
    fn a_quota_is_an_obstacle_that_may_pass() {
        let full = Workload { replica_failure: Some("exceeded quota: q".to_owned()), ..deployment() };
        let waits = status(look(&full, &[], restart()));
        assert_eq!(waits.obstacle.unwrap(), "pods cannot be created: exceeded quota: q");
    }

    /// Pods that the partition protects are not replaced, but an ordered set waits for them before it makes later ones.
    #[rstest]
    #[case::before_the_next_is_made(&[], json!({}), true)]
    #[case::before_the_next_is_replaced(&[old("db-1")], json!({}), true)]
    #[case::the_next_is_made_already(&[unready(new("db-1"))], json!({}), false)]
    #[case::done(&[new("db-1")], json!({}), false)]
    #[case::parallel(&[old("db-1")], json!({ "podManagementPolicy": "Parallel" }), false)]
    fn a_broken_pod_below_the_partition_blocks_an_ordered_set(
        #[case] pods: &[PodView],
        #[case] spec: Value,
        #[case] blocks: bool,
    ) {
        let mut set = workload(Kind::StatefulSet, spec);
        set.partition = 1;
        let broken = |outlook| [&[stuck(old("db-0"), outlook)], pods].concat();
        let found = look(&set, &broken(Outlook::Stays), restart());
        let told =
            matches!(&found, RolloutStatus::Failed(why) if why.contains("pod db-0") && why.contains("partition"));
        assert_eq!(told, blocks, "{found:?}");
        if blocks {
            let waits = status(look(&set, &broken(Outlook::MayPass), restart()));
            assert!(waits.obstacle.is_some_and(|cause| cause.contains("pod db-0")));
            let waits = status(look(&set, &broken(Outlook::Starting), restart()));
            assert!(waits.obstacle.is_none() && waits.status.contains("pod db-0: container app: X"), "{waits:?}");
        }
    }

    #[rstest]
    #[case::of_the_old_revision("old", json!({}), true)]
    #[case::parallel("old", json!({ "podManagementPolicy": "Parallel" }), false)]
    fn a_broken_old_pod_blocks_an_ordered_set(#[case] revision: &str, #[case] spec: Value, #[case] blocks: bool) {
        let set = workload(Kind::StatefulSet, spec);
        let found = look(&set, &[stuck(pod("db-0", revision), Outlook::Stays)], restart());
        let told =
            matches!(&found, RolloutStatus::Failed(why) if why.contains("pod db-0") && why.contains("restart-pod"));
        assert_eq!(told, blocks, "{found:?}");
    }

    #[test]
    fn progress_is_what_came_and_what_went() {
        let reached = |pods: &[PodView]| status(look(&deployment(), pods, restart())).reached;
        let steps = [
            reached(&[old("a"), old("b")]),
            reached(&[old("a"), old("b"), new("c")]),
            reached(&[leaving(old("a")), old("b"), new("c")]),
            reached(&[old("b"), new("c")]),
        ];
        assert!(steps.is_sorted() && steps[0] < steps[1] && steps[2] < steps[3], "{steps:?}");
    }

    #[test]
    fn counts_are_told_with_the_names_of_what_is_not_as_asked() {
        let spec = json!({ "replicas": 3, "updateStrategy": { "rollingUpdate": { "partition": 1 } } });
        let set = workload(Kind::StatefulSet, spec);
        let pods = [old("db-0"), new("db-1"), unready(new("db-2")), old("db-3"), leaving(old("db-4"))];
        let followed: Vec<_> = pods.iter().map(|pod| Followed { pod, steady: SETTLE }).collect();
        let counts = Tally::of(&set, &followed, restart()).counts();
        let numbers = (counts.new, counts.not_ready, counts.old, counts.terminating, counts.out_of_reach);
        assert_eq!(numbers, (1, 1, 1, 1, 1));
        let names: Vec<_> = counts.not_as_asked.iter().map(|one| (one.name.as_str(), one.why)).collect();
        assert_eq!(names, [("db-2", Why::NotReady), ("db-3", Why::Old), ("db-4", Why::Terminating)]);
    }

    /// What is on its way out within its time makes room on its node; once it is late it does not any more.
    #[rstest]
    #[case::in_time(40, None)]
    #[case::late(41, Some("unschedulable"))]
    fn what_leaves_in_time_makes_room(#[case] seconds: i64, #[case] obstacle: Option<&str>) {
        let goal = Goal { now: began() + SignedDuration::from_secs(seconds), ..restart() };
        let waits = Obstacle { cause: "unschedulable: no free ports".to_owned(), outlook: Outlook::MayPass };
        let unscheduled = PodView { obstacle: Some(waits), node: None, ..unready(new("a")) };
        let found = status(look(&deployment(), &[new("b"), unscheduled, leaving(old("c"))], goal)).obstacle;
        assert_eq!(found.is_some(), obstacle.is_some(), "{found:?}");
        assert!(found.is_none_or(|found| found.contains("unschedulable")));
        // What does not wait for room is told whatever leaves.
        let broken = stuck(new("a"), Outlook::MayPass);
        assert!(status(look(&deployment(), &[new("b"), broken, leaving(old("c"))], goal)).obstacle.is_some());
    }

    /// To the second: its node and its kubelet take the margin.
    #[test]
    fn a_pod_is_overdue_after_its_margin_and_not_at_it() {
        let at = |seconds| Goal { now: began() + SignedDuration::from_secs(seconds), ..scale() };
        let pods = [new("a"), new("b"), leaving(old("c"))];
        assert!(status(look(&deployment(), &pods, at(40))).obstacle.is_none());
        assert!(status(look(&deployment(), &pods, at(41))).obstacle.is_some());
    }

    /// Another set that is to have pods says that a rollout is under way; one that is empty does not.
    #[rstest]
    #[case::one(&[set("new", 2, 2), set("old", 0, 2)], scale(), false)]
    #[case::two(&[set("new", 1, 2), set("old", 1, 2)], scale(), true)]
    #[case::of_a_restart(&[set("new", 1, 2), set("old", 1, 2)], restart(), false)]
    fn an_unfinished_rollout_is_named(#[case] sets: &[SetView], #[case] goal: Goal<'static>, #[case] named: bool) {
        let pods = [stuck(new("a"), Outlook::Stays)];
        let RolloutStatus::Failed(why) = of(&deployment(), &pods, sets, goal, Duration::from_mins(1)) else { panic!() };
        assert_eq!(why.starts_with("a rollout that has not finished stands in the way: pod a"), named, "{why}");
    }

    /// Of a set that shrinks a broken pod may be the one that goes.
    #[rstest]
    #[case::it_stays(1, true)]
    #[case::one_of_two_goes(0, false)]
    fn a_broken_pod_of_a_set_that_shrinks_is_no_failure(#[case] replicas: i64, #[case] fails: bool) {
        let sets = [set("new", replicas, 2), set("old", 2 - replicas, 2)];
        let pods = [stuck(new("a"), Outlook::Stays), old("b")];
        let found = of(&deployment(), &pods, &sets, scale(), Duration::from_mins(1));
        assert_eq!(matches!(found, RolloutStatus::Failed(_)), fails, "{found:?}");
    }

    /// What stands in the way is told as that, and not once more as a pod that is not ready.
    #[rstest]
    #[case(Outlook::Starting, true)]
    #[case(Outlook::MayPass, false)]
    fn an_obstacle_is_told_once(#[case] outlook: Outlook, #[case] in_the_status: bool) {
        let waits = status(look(&deployment(), &[new("a"), stuck(new("b"), outlook)], restart()));
        assert_eq!(waits.status.contains("pod b"), in_the_status, "{waits:?}");
    }

    /// A set that is to have none is not one of those that a paused rollout keeps.
    #[test]
    fn an_empty_set_is_no_half_of_a_paused_rollout() {
        let paused =
            workload(Kind::Deployment, json!({ "paused": true, "strategy": { "rollingUpdate": { "maxSurge": 1 } } }));
        let pods = [new("a"), new("b"), new("c")];
        let sets = [set("new", 3, 2), set("old", 0, 2)];
        assert!(!done(&of(&paused, &pods, &sets, scale(), Duration::from_mins(1))));
    }
}
