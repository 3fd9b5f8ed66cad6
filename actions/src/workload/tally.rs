//! Sorts a workload's pods into groups: as asked, coming, old, terminating, or out of reach. Pure.

use std::time::Duration;

use contract::waiting::Terminating;
use jiff::{SignedDuration, Timestamp};

use crate::cluster::observed::{NotAsAsked, PodCounts, Why};
use crate::k8s::Kind;
use crate::workload::Workload;
use crate::workload::pods::PodView;

/// The most pods that are named, because a result is at most 8 KiB.
const NAMED: usize = 10;

/// The goal for a workload.
#[derive(Debug, Clone, Copy)]
pub struct Goal<'a> {
    /// Generation that the controller must have seen.
    pub generation: i64,
    /// Revision that the pods must be of; `None` for any revision (scale).
    pub revision: Option<&'a str>,
    /// Time of the condition `Progressing: False` before the change. The same time later means that the condition still
    /// belongs to an earlier rollout (a rollback to an existing ReplicaSet does not reset it).
    pub stale_deadline: Option<&'a str>,
    /// Choice to wait for terminating pods.
    pub terminating: Terminating,
    /// Time for which a pod without readiness probe that became ready in this run must stay as it is.
    pub settle: Duration,
    /// Start of the run, by the API server's clock.
    pub began: Timestamp,
    /// Now, by the API server's clock.
    pub now: Timestamp,
}

/// A pod of the workload, and the time for which it has been ready without a container starting again.
#[derive(Debug, Clone, Copy)]
pub struct Followed<'a> {
    /// The pod.
    pub pod: &'a PodView,
    /// Time for which the pod has been ready.
    pub steady: Duration,
    /// Time for which it must be ready to have outlived its crashes since the change.
    pub to_outlive: Duration,
}

/// The workload's pods, each in one group. Completed pods are in none: they neither serve nor go away.
#[derive(Debug, Default)]
pub struct Tally<'a> {
    /// Pods as asked.
    pub there: Vec<&'a PodView>,
    /// Pods of the right revision, but not ready (long enough).
    pub coming: Vec<&'a PodView>,
    /// Pods of another revision, or beyond a StatefulSet's number.
    pub old: Vec<&'a PodView>,
    /// Pods that are being deleted.
    pub terminating: Vec<&'a PodView>,
    /// Pods that a partition leaves alone.
    pub out_of_reach: Vec<&'a PodView>,
    /// Time until the next pod of `coming` has been ready for long enough, if nothing happens.
    pub again: Option<Duration>,
}

impl<'a> Tally<'a> {
    /// Puts each pod into its group.
    pub fn of(workload: &Workload, pods: &[Followed<'a>], goal: Goal<'_>) -> Self {
        let mut tally = Self::default();
        for one in pods.iter().filter(|one| !one.pod.finished) {
            tally.add(workload, *one, goal);
        }
        tally
    }

    fn add(&mut self, workload: &Workload, one: Followed<'a>, goal: Goal<'_>) {
        let pod = one.pod;
        let ordinal = (workload.kind == Kind::StatefulSet).then(|| ordinal(&pod.name)).flatten();
        let protected = workload.first_ordinal..workload.first_in_reach();
        let own = workload.first_ordinal..workload.first_ordinal + workload.desired;
        if goal.revision.is_some() && ordinal.is_some_and(|ordinal| protected.contains(&ordinal)) {
            self.out_of_reach.push(pod);
        } else if pod.terminating {
            self.terminating.push(pod);
        } else if ordinal.is_some_and(|ordinal| !own.contains(&ordinal))
            || goal.revision.is_some_and(|revision| pod.revision.as_deref() != Some(revision))
        {
            self.old.push(pod);
        } else {
            let missing = missing(workload, one, goal);
            match missing {
                Some(Duration::ZERO) => self.there.push(pod),
                missing => {
                    self.coming.push(pod);
                    self.again = earlier(self.again, missing);
                }
            }
        }
    }

    /// Returns the counts, as results show them.
    pub fn counts(&self) -> PodCounts {
        let mut counts = PodCounts {
            new: self.there.len(),
            not_ready: self.coming.len(),
            old: self.old.len(),
            terminating: self.terminating.len(),
            out_of_reach: self.out_of_reach.len(),
            not_as_asked: Vec::new(),
        };
        for (pods, why) in [(&self.coming, Why::NotReady), (&self.old, Why::Old), (&self.terminating, Why::Terminating)]
        {
            let room = NAMED.saturating_sub(counts.not_as_asked.len());
            let one = |pod: &&PodView| NotAsAsked { name: pod.name.clone(), node: pod.node.clone(), why };
            counts.not_as_asked.extend(pods.iter().take(room).map(one));
        }
        counts
    }

    /// Returns the number of pods that count: as asked, or coming.
    pub fn live(&self) -> i64 {
        count(&self.there) + count(&self.coming)
    }
}

/// Returns the time that a pod must still be ready to count; `None` while it is not ready.
fn missing(workload: &Workload, one: Followed<'_>, goal: Goal<'_>) -> Option<Duration> {
    if !one.pod.serves() {
        return None;
    }
    let settles = !one.pod.probed && became_ready_in(one.pod, goal.began);
    let needed = if settles { workload.min_ready.max(goal.settle) } else { workload.min_ready };
    Some(needed.max(one.to_outlive).saturating_sub(one.steady))
}

/// Returns whether a pod became ready after that moment. The time has whole seconds, and is the kubelet's.
pub(crate) fn became_ready_in(pod: &PodView, began: Timestamp) -> bool {
    pod.created.is_none_or(|created| created >= began - SignedDuration::from_secs(1))
        || pod.ready_since.is_none_or(|since| since > began - SignedDuration::from_secs(1))
}

/// Returns the number in the name of a StatefulSet's pod.
pub fn ordinal(name: &str) -> Option<i64> {
    name.rsplit_once('-').and_then(|(_, ordinal)| ordinal.parse().ok())
}

/// Returns the earlier of two times, if there are any.
pub fn earlier(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(other).min()
}

/// Returns the number of pods that must be as asked.
pub fn wanted(workload: &Workload, goal: Goal<'_>) -> i64 {
    if goal.revision.is_some() { workload.in_reach() } else { workload.desired }
}

/// Returns the number of pods of one ReplicaSet that count.
pub fn live_of(tally: &Tally<'_>, set: &str) -> i64 {
    let of_set = tally.there.iter().chain(&tally.coming).filter(|pod| pod.owner.as_deref() == Some(set));
    i64::try_from(of_set.count()).unwrap_or(i64::MAX)
}

/// Returns the number of pods.
pub fn count(pods: &[&PodView]) -> i64 {
    i64::try_from(pods.len()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_at_most_ten() {
        let pod = PodView { name: "web-1".to_owned(), ..PodView::default() };
        let tally = Tally { old: vec![&pod; 7], terminating: vec![&pod; 7], ..Tally::default() };
        let named = tally.counts().not_as_asked;
        let terminating = named.iter().filter(|one| one.why == Why::Terminating).count();
        assert_eq!((named.len(), terminating), (10, 3));
    }
}
