//! Has this workload reached what we asked for, and if not, why? Pure: from what was seen to an answer.

use crate::object::Kind;
use crate::pod::{Obstacle, Outlook, PodView};
use crate::workload::{OutOfTime, Workload};

/// How far a rollout is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Reached.
    Done,
    /// Not yet.
    Waiting(Waiting),
    /// It never will, for this reason.
    Failed(String),
}

/// What is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// One line for people, the same until something changes.
    pub status: String,
    /// How many pods are there: while this grows there is progress.
    pub reached: i64,
    /// What may pass, but stands in the way now.
    pub obstacle: Option<String>,
}

/// What is asked of a workload.
#[derive(Debug, Clone, Copy)]
pub struct Goal<'a> {
    /// The generation that its controller must have seen.
    pub generation: i64,
    /// The revision that its pods must be of; `None` where any revision will do (scale).
    pub revision: Option<&'a str>,
    /// When the `ProgressDeadlineExceeded` that stood before the change was set: it speaks of an earlier rollout for as
    /// long as it is that one (a rollback to an existing ReplicaSet does not reset it).
    pub stale_deadline: Option<&'a str>,
}

/// How far a workload is on its way to a goal.
pub fn state<'a>(workload: &Workload, pods: impl Iterator<Item = &'a PodView> + Clone, goal: Goal<'_>) -> State {
    if !workload.has_observed(goal.generation) {
        return waiting(format!("waiting for the controller to observe generation {}", goal.generation), 0, None);
    }
    let wanted = wanted(workload, goal);
    if let Some(why) = blocked_by_old(workload, pods.clone(), goal) {
        return State::Failed(why);
    }
    // A pod whose node is gone terminates for ever: the person who waits must know which one.
    let leaving = pods.clone().find(|pod| pod.terminating && goal.revision.is_some());
    let leaving = leaving
        .map(|pod| format!("; pod {} on {} is still terminating", pod.name, pod.node.as_deref().unwrap_or("no node")));
    let ours = pods.filter(|pod| goal.revision.is_none() || pod.revision.as_deref() == goal.revision);
    let serving = count(ours.clone().filter(|pod| pod.serves()));
    if counts_agree(workload, goal) && (goal.revision.is_none() || serving >= wanted) {
        return State::Done;
    }
    let live = ours.filter(|pod| !pod.terminating);
    // What is about to be deleted may be broken: scaling down a crash loop is no failure.
    let shrinking = goal.revision.is_none() && (wanted == 0 || count(live.clone()) > wanted);
    let worst = worst(live).filter(|_| !shrinking);
    if let Some((cause, Outlook::Stays)) = &worst {
        return State::Failed(cause.clone());
    }
    // A scale is no rollout: the deadline that was exceeded is an earlier one's.
    let out_of_time = workload.out_of_time.as_ref().filter(|late| goal.stale_deadline != Some(late.since.as_str()));
    if let Some(OutOfTime { message, .. }) = out_of_time.filter(|_| goal.revision.is_some()) {
        let cause = worst.map(|(cause, _)| format!("; {cause}")).unwrap_or_default();
        return State::Failed(format!("its progressDeadlineSeconds is exceeded: {message}{cause}"));
    }
    let reached = if goal.revision.is_some() { serving } else { workload.ready };
    let status = format!("{reached} of {wanted} {}pods are ready", if goal.revision.is_some() { "new " } else { "" });
    let status = status + &leaving.unwrap_or_default();
    let failure = workload.replica_failure.as_ref().map(|message| format!("pods cannot be created: {message}"));
    let may_pass = worst.filter(|(_, outlook)| *outlook == Outlook::MayPass).map(|(cause, _)| cause);
    waiting(status, reached, failure.or(may_pass))
}

/// A StatefulSet that replaces its pods in order waits for a broken pod of the revision before, for ever (kubernetes#67250).
fn blocked_by_old<'a>(workload: &Workload, pods: impl Iterator<Item = &'a PodView>, goal: Goal<'_>) -> Option<String> {
    goal.revision.filter(|_| workload.ordered)?;
    let old = pods.filter(|pod| !pod.terminating && pod.revision.as_deref() != goal.revision);
    let (cause, outlook) = worst(old)?;
    (outlook == Outlook::Stays).then(|| {
        format!("{cause}; it is of the revision before, and its StatefulSet waits for it: evict it (restart-pod)")
    })
}

fn waiting(status: String, reached: i64, obstacle: Option<String>) -> State {
    State::Waiting(Waiting { status, reached, obstacle })
}

/// How many pods of the goal's revision there must be: below a StatefulSet's partition the old ones stay.
fn wanted(workload: &Workload, goal: Goal<'_>) -> i64 {
    if goal.revision.is_some() { (workload.desired - workload.partition).max(0) } else { workload.desired }
}

/// Whether the workload's own counts say that it is done.
fn counts_agree(workload: &Workload, goal: Goal<'_>) -> bool {
    let all_there = workload.total == workload.desired && workload.ready >= workload.desired;
    match (workload.kind, goal.revision) {
        (_, None) => all_there,
        // The old pods are gone, and the new ones have been ready for minReadySeconds.
        (Kind::Deployment, Some(_)) => {
            workload.updated >= workload.desired
                && workload.total <= workload.updated
                && workload.available >= workload.desired
        }
        (Kind::DaemonSet, Some(_)) => workload.updated >= workload.desired && workload.available >= workload.desired,
        (_, Some(_)) => all_there && workload.updated >= (workload.desired - workload.partition),
    }
}

fn count<'a>(pods: impl Iterator<Item = &'a PodView>) -> i64 {
    i64::try_from(pods.count()).unwrap_or(i64::MAX)
}

/// The pod that stands in the way the most, with its cause.
pub fn worst<'a>(pods: impl Iterator<Item = &'a PodView>) -> Option<(String, Outlook)> {
    let of = |pod: &'a PodView| pod.obstacle.as_ref().map(|obstacle: &Obstacle| (pod, obstacle));
    let (pod, obstacle) = pods.filter_map(of).max_by_key(|(_, obstacle)| obstacle.outlook)?;
    Some((format!("pod {}: {obstacle}", pod.name), obstacle.outlook))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn deployment(status: Value) -> Workload {
        Workload::read(
            Kind::Deployment,
            &json!({ "metadata": { "generation": 2 }, "spec": { "replicas": 2 }, "status": status }),
        )
    }

    fn pod(name: &str, revision: &str, ready: bool) -> PodView {
        PodView { name: name.to_owned(), revision: Some(revision.to_owned()), ready, ..PodView::default() }
    }

    fn stuck(name: &str, outlook: Outlook) -> PodView {
        let obstacle = Some(Obstacle { cause: "container app: X".to_owned(), outlook });
        PodView { obstacle, ..pod(name, "new", false) }
    }

    const GOAL: Goal<'static> = Goal { generation: 2, revision: Some("new"), stale_deadline: None };

    fn complete() -> Value {
        json!({ "observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2 })
    }

    #[test]
    fn is_done_when_counts_and_pods_agree() {
        let pods = [pod("a", "new", true), pod("b", "new", true)];
        assert_eq!(state(&deployment(complete()), pods.iter(), GOAL), State::Done);
    }

    #[test]
    fn counts_of_an_earlier_generation_do_not_count() {
        let pods = [pod("a", "new", true), pod("b", "new", true)];
        let mut status = complete();
        status["observedGeneration"] = json!(1);
        assert!(matches!(state(&deployment(status), pods.iter(), GOAL), State::Waiting(_)));
    }

    #[test]
    fn counts_alone_are_not_believed() {
        let pods = [pod("a", "new", true), pod("b", "old", true)];
        assert!(matches!(state(&deployment(complete()), pods.iter(), GOAL), State::Waiting(_)));
    }

    #[test]
    fn old_pods_that_are_still_there_are_waited_for() {
        let pods = [pod("a", "new", true), pod("b", "new", true), pod("c", "old", true)];
        let mut status = complete();
        status["replicas"] = json!(3);
        assert!(matches!(state(&deployment(status), pods.iter(), GOAL), State::Waiting(_)));
    }

    #[rstest]
    #[case(Outlook::Stays, true)]
    #[case(Outlook::MayPass, false)]
    #[case(Outlook::Starting, false)]
    fn fails_at_once_only_for_what_stays(#[case] outlook: Outlook, #[case] fails: bool) {
        let status = json!({ "observedGeneration": 2, "replicas": 3, "updatedReplicas": 1 });
        let result = state(&deployment(status), [stuck("a", outlook)].iter(), GOAL);
        assert_eq!(matches!(result, State::Failed(_)), fails, "{result:?}");
    }

    #[test]
    fn an_obstacle_of_an_old_pod_is_not_ours() {
        let old = PodView { revision: Some("old".to_owned()), ..stuck("a", Outlook::Stays) };
        let status = json!({ "observedGeneration": 2, "replicas": 3, "updatedReplicas": 1 });
        assert!(matches!(state(&deployment(status), [old].iter(), GOAL), State::Waiting(_)));
    }

    #[test]
    fn scaling_down_a_crash_loop_is_no_failure() {
        let goal = Goal { revision: None, ..GOAL };
        let status = json!({ "observedGeneration": 2, "replicas": 3 });
        let pods = ["a", "b", "c"].map(|name| stuck(name, Outlook::Stays));
        assert!(matches!(state(&deployment(status.clone()), pods.iter(), goal), State::Waiting(_)));
        assert!(matches!(state(&deployment(status), pods.iter().take(2), goal), State::Failed(_)));
    }

    #[test]
    fn an_old_pod_that_does_not_go_is_named() {
        let leaving = PodView { terminating: true, node: Some("n1".to_owned()), ..pod("c", "old", true) };
        let status = json!({ "observedGeneration": 2, "replicas": 3, "updatedReplicas": 2 });
        let State::Waiting(waiting) = state(&deployment(status), [leaving].iter(), GOAL) else { panic!() };
        assert_eq!(waiting.status, "0 of 2 new pods are ready; pod c on n1 is still terminating");
    }

    #[test]
    fn an_exceeded_progress_deadline_names_the_pod() {
        let status = json!({ "observedGeneration": 2, "conditions": [
            { "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out" } ] });
        let State::Failed(why) = state(&deployment(status), [stuck("a", Outlook::Starting)].iter(), GOAL) else {
            panic!()
        };
        assert_eq!(why, "its progressDeadlineSeconds is exceeded: timed out; pod a: container app: X");
    }

    #[test]
    fn a_deadline_that_an_earlier_rollout_exceeded_is_not_ours() {
        let status = json!({ "observedGeneration": 2, "conditions": [ { "type": "Progressing", "status": "False",
            "reason": "ProgressDeadlineExceeded", "message": "timed out", "lastUpdateTime": "2026-01-01T00:00:00Z" } ] });
        let goal = Goal { stale_deadline: Some("2026-01-01T00:00:00Z"), ..GOAL };
        assert!(matches!(state(&deployment(status.clone()), [].iter(), goal), State::Waiting(_)));
        assert!(matches!(state(&deployment(status), [].iter(), GOAL), State::Failed(_)));
    }

    /// A count that does not agree yet keeps the rollout waiting, whatever the pods look like.
    #[rstest]
    #[case::total_of_a_scale(Kind::StatefulSet, None, "replicas", 3)]
    #[case::ready_of_a_scale(Kind::StatefulSet, None, "readyReplicas", 1)]
    #[case::updated(Kind::Deployment, Some("new"), "updatedReplicas", 1)]
    #[case::available(Kind::Deployment, Some("new"), "availableReplicas", 1)]
    #[case::updated_daemons(Kind::DaemonSet, Some("new"), "updatedNumberScheduled", 1)]
    #[case::available_daemons(Kind::DaemonSet, Some("new"), "numberAvailable", 1)]
    #[case::total_of_a_set(Kind::StatefulSet, Some("new"), "replicas", 3)]
    #[case::updated_of_a_set(Kind::StatefulSet, Some("new"), "updatedReplicas", 1)]
    fn every_count_must_agree(
        #[case] kind: Kind,
        #[case] revision: Option<&str>,
        #[case] field: &str,
        #[case] count: i64,
    ) {
        let mut status = complete();
        for daemons in [
            "desiredNumberScheduled",
            "currentNumberScheduled",
            "updatedNumberScheduled",
            "numberReady",
            "numberAvailable",
        ] {
            status[daemons] = json!(2);
        }
        let goal = Goal { revision, ..GOAL };
        let pods = [pod("a", "new", true), pod("b", "new", true)];
        let of = |status: &Value| {
            let object = json!({ "metadata": { "generation": 2 }, "spec": { "replicas": 2 }, "status": status });
            state(&Workload::read(kind, &object), pods.iter(), goal)
        };
        assert_eq!(of(&status), State::Done);
        status[field] = json!(count);
        assert!(matches!(of(&status), State::Waiting(_)), "{:?}", of(&status));
    }

    #[test]
    fn more_than_enough_is_enough() {
        let mut status = complete();
        for field in ["updatedNumberScheduled", "numberAvailable"] {
            status[field] = json!(3);
        }
        status["desiredNumberScheduled"] = json!(2);
        let object = json!({ "metadata": { "generation": 2 }, "status": status });
        let pods = [pod("a", "new", true), pod("b", "new", true)];
        assert_eq!(state(&Workload::read(Kind::DaemonSet, &object), pods.iter(), GOAL), State::Done);
    }

    #[test]
    fn pods_that_leave_are_named_only_by_a_rollout_and_block_none() {
        let status = json!({ "observedGeneration": 2, "replicas": 3, "readyReplicas": 1 });
        let leaving = PodView { terminating: true, revision: Some("old".to_owned()), ..stuck("c", Outlook::Stays) };
        let goal = Goal { revision: None, ..GOAL };
        let State::Waiting(waiting) = state(&deployment(status), [leaving.clone()].iter(), goal) else { panic!() };
        assert_eq!((waiting.status.as_str(), waiting.obstacle), ("1 of 2 pods are ready", None));
        let object = json!({ "metadata": { "generation": 2 }, "spec": { "replicas": 1 }, "status": { "observedGeneration": 2 } });
        let set = Workload::read(Kind::StatefulSet, &object);
        assert!(matches!(state(&set, [leaving].iter(), GOAL), State::Waiting(_)));
        // A broken pod of this revision is told as what it is, not as one that blocks.
        let own = state(&set, [stuck("db-0", Outlook::Stays)].iter(), GOAL);
        assert_eq!(own, State::Failed("pod db-0: container app: X".to_owned()));
    }

    #[test]
    fn what_only_starts_is_no_obstacle() {
        let status = json!({ "observedGeneration": 2, "replicas": 3, "updatedReplicas": 1 });
        for (outlook, told) in [(Outlook::Starting, None), (Outlook::MayPass, Some("pod a: container app: X"))] {
            let State::Waiting(waiting) = state(&deployment(status.clone()), [stuck("a", outlook)].iter(), GOAL) else {
                panic!()
            };
            assert_eq!(waiting.obstacle.as_deref(), told);
        }
    }

    #[test]
    fn a_quota_is_an_obstacle_that_may_pass() {
        let status = json!({ "observedGeneration": 2, "conditions": [
            { "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: q" } ] });
        let State::Waiting(waiting) = state(&deployment(status), [].iter(), GOAL) else { panic!() };
        assert_eq!(waiting.obstacle.unwrap(), "pods cannot be created: exceeded quota: q");
    }

    #[test]
    fn a_broken_pod_of_the_old_revision_blocks_an_ordered_set() {
        let set = Workload::read(
            Kind::StatefulSet,
            &json!({ "metadata": { "generation": 2 }, "spec": { "replicas": 1 }, "status": { "observedGeneration": 2 } }),
        );
        let old = PodView { revision: Some("old".to_owned()), ..stuck("db-0", Outlook::Stays) };
        assert!(
            matches!(state(&set, [old].iter(), GOAL), State::Failed(why) if why.contains("pod db-0") && why.contains("restart-pod"))
        );
    }

    #[test]
    fn below_a_partition_old_pods_stay() {
        let set = Workload::read(
            Kind::StatefulSet,
            &json!({
                "metadata": { "generation": 2 },
                "spec": { "replicas": 3, "updateStrategy": { "rollingUpdate": { "partition": 2 } } },
                "status": { "observedGeneration": 2, "replicas": 3, "readyReplicas": 3, "updatedReplicas": 1 },
            }),
        );
        let pods = [pod("db-0", "old", true), pod("db-1", "old", true), pod("db-2", "new", true)];
        assert_eq!(state(&set, pods.iter(), GOAL), State::Done);
    }
}
