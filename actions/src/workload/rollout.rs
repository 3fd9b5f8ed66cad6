//! Decides whether a workload has reached the goal and, if not, how far it is. Pure: from what was seen to an answer.
//!
//! Decided by the pods, one by one, never by sums of status fields: a sum cannot tell old pods from new ones, does not
//! count terminating pods, and mixes what a partition leaves alone with the rest.

use std::collections::BTreeSet;
use std::time::Duration;

use contract::waiting::Terminating;

use crate::k8s::Kind;
use crate::workload::Workload;
use crate::workload::causes::{self, Cause, Situation};
use crate::workload::revisions::SetView;
use crate::workload::tally::{Goal, Tally, count, earlier, live_of, wanted};

/// Progress of a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RolloutStatus {
    /// The goal is reached.
    Done {
        /// Number of pods beyond the desired number, which a Deployment keeps when paused in the middle of a rollout.
        surge: i64,
    },
    /// The goal is not reached yet, and may never be: its causes tell.
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
    /// Causes for which it is not reached, worst first.
    pub causes: Vec<Cause>,
    /// Time after which the answer may change by itself.
    pub again: Option<Duration>,
}

impl Pending {
    /// Returns a status line with its causes, without anything reached.
    pub fn plain(status: impl Into<String>, causes: Vec<Cause>) -> Self {
        let again = causes.iter().filter_map(|cause| Duration::try_from(cause.again?).ok()).min();
        Self { status: status.into(), reached: i64::MIN, causes, again }
    }
}

/// Returns a workload's progress. The pods are its own, by their owners; the sets are a Deployment's ReplicaSets.
pub fn state(seen: Situation<'_>) -> RolloutStatus {
    let Situation { workload, tally, sets, goal, .. } = seen;
    if !workload.has_observed(goal.generation) {
        return RolloutStatus::Pending(Pending::plain(not_observed(goal.generation), causes::of(seen)));
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
    let pending = Pending::plain(status(workload, tally, wanted, goal), causes::of(seen));
    let reached = count(&tally.there) - count(&tally.old) - count(&tally.terminating);
    let again = earlier(tally.again, pending.again);
    RolloutStatus::Pending(Pending { reached, again, ..pending })
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

/// Returns the numbers; the causes name the pods.
fn status(workload: &Workload, tally: &Tally<'_>, wanted: i64, goal: Goal<'_>) -> String {
    let new = if goal.revision.is_some() { "new " } else { "" };
    let (there, serving) = (count(&tally.there), tally.coming.iter().filter(|pod| pod.serves()).count());
    let mut status = if there == wanted && !available(workload, wanted) {
        format!("{} of {wanted} {new}pods are available", workload.available)
    } else {
        format!("{} of {wanted} {new}pods are ready", there.min(wanted))
    };
    if serving > 0 {
        status.push_str(&format!(" ({serving} more not for long enough)"));
    }
    if tally.live() > wanted {
        status.push_str(&format!("; {} more than that are still there", tally.live() - wanted));
    }
    if !tally.old.is_empty() {
        status.push_str(&format!("; {} of before are still there", tally.old.len()));
    }
    if !tally.terminating.is_empty() && goal.terminating == Terminating::Wait {
        status.push_str(&format!("; {} are still terminating", tally.terminating.len()));
    }
    status
}

/// Returns the status while the controller has not seen the change, so that nothing is known yet.
pub fn not_observed(generation: i64) -> String {
    format!("waiting for the controller to observe generation {generation}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::observed::Why;
    use crate::workload::causes::Class;
    use crate::workload::pods::PodView;
    use crate::workload::tally::{Followed, became_ready_in};
    use crate::workload::testing::{
        Seen, after, began, deployment, finished, leaving, new, old, pod, restart, scale, set, stuck, unready, workload,
    };
    use jiff::SignedDuration;
    use rstest::rstest;
    use serde_json::json;

    /// Pods that have been ready for this long by our own clock.
    fn of(workload: &Workload, pods: &[PodView], sets: &[SetView], goal: Goal<'_>, steady: Duration) -> RolloutStatus {
        Seen { sets, steady, ..Seen::new(workload, pods, goal) }.state()
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
        assert_eq!((waits.reached, waits.causes.len()), (i64::MIN, 1));
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
        let broken = [old("db-5"), old("db-6"), stuck(old("db-7"), Class::Certain)];
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
        assert_eq!(waits.status, "1 of 2 new pods are available");
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
    #[case::the_one_beyond_is_broken(&[set("old", 2, 2), set("new", 1, 2)], &[old("a"), old("b"), stuck(new("c"), Class::Certain)], true, Some(1))]
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
        let followed: Vec<_> = pods
            .iter()
            .map(|pod| Followed { pod, steady: Duration::from_secs(3), to_outlive: Duration::ZERO })
            .collect();
        let counts = Tally::of(&set, &followed, restart()).counts();
        let numbers = (counts.new, counts.not_ready, counts.old, counts.terminating, counts.out_of_reach);
        assert_eq!(numbers, (1, 1, 1, 1, 1));
        let names: Vec<_> = counts.not_as_asked.iter().map(|one| (one.name.as_str(), one.why)).collect();
        assert_eq!(names, [("db-2", Why::NotReady), ("db-3", Why::Old), ("db-4", Why::Terminating)]);
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

    /// What has to go is counted in the line, and named by its causes.
    #[test]
    fn the_line_has_the_numbers() {
        let line = |pods: &[PodView], goal| status(look(&deployment(), pods, goal)).status;
        assert_eq!(
            line(&[old("a"), unready(new("b"))], restart()),
            "0 of 2 new pods are ready; 1 of before are still there"
        );
        assert_eq!(
            line(&[new("a"), new("b"), new("c")], scale()),
            "2 of 2 pods are ready; 1 more than that are still there"
        );
        let leaves = [new("a"), new("b"), leaving(old("c"))];
        assert_eq!(line(&leaves, restart()), "2 of 2 new pods are ready; 1 are still terminating");
        let ignored = Goal { terminating: Terminating::Ignore, ..restart() };
        assert_eq!(line(&[new("a"), leaving(old("c"))], ignored), "1 of 2 new pods are ready");
    }

    /// The next look is when a pod has been ready for long enough, or when a cause becomes another one.
    #[test]
    fn looks_again_when_the_answer_may_change_by_itself() {
        let goal = Goal { now: after(20), ..restart() };
        let leaves = status(look(&deployment(), &[new("a"), new("b"), leaving(old("c"))], goal));
        assert_eq!(leaves.again.map(|again| again.as_millis()), Some(20_001));
        let settling = PodView { probed: false, created: Some(began()), ..new("a") };
        let pods = [settling, leaving(old("c"))];
        let both = status(of(&deployment(), &pods, &[], goal, Duration::from_secs(1)));
        assert_eq!(both.again.map(|again| again.as_millis()), Some(2000));
    }
}
