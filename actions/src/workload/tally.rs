//! A workload's pods, each in one place: as asked, on its way there, old, terminating, or out of reach. Pure.

use std::time::Duration;

use contract::waiting::Terminating;
use jiff::{SignedDuration, Timestamp};

use crate::cluster::observed::{NotAsAsked, PodCounts, Why};
use crate::k8s::Kind;
use crate::workload::Workload;
use crate::workload::pods::PodView;

/// The most pods that are named: a result is at most 8 KiB.
const NAMED: usize = 10;

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
    /// Whether pods that are on their way out are waited for.
    pub terminating: Terminating,
    /// How long a pod without readiness probe that became ready in this run must stay as it is.
    pub settle: Duration,
    /// When the run began, by the API server's clock.
    pub began: Timestamp,
    /// Now, by the API server's clock.
    pub now: Timestamp,
}

/// A pod of the workload's own, and for how long it has been ready without a container starting again.
#[derive(Debug, Clone, Copy)]
pub struct Followed<'a> {
    /// The pod.
    pub pod: &'a PodView,
    /// For so long.
    pub steady: Duration,
}

/// The workload's pods, each in one place. Those that ran to their end are in none: they neither serve nor go away.
#[derive(Debug, Default)]
pub struct Tally<'a> {
    /// As asked.
    pub there: Vec<&'a PodView>,
    /// Of the right revision, but not ready (long enough).
    pub coming: Vec<&'a PodView>,
    /// Of another revision, or beyond a StatefulSet's number.
    pub old: Vec<&'a PodView>,
    /// Being deleted.
    pub terminating: Vec<&'a PodView>,
    /// Left alone by a partition.
    pub out_of_reach: Vec<&'a PodView>,
    /// When the next one of `coming` has been ready for long enough, if nothing happens.
    pub again: Option<Duration>,
}

impl<'a> Tally<'a> {
    /// Puts each pod in its place.
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

    /// The counts, as results have them.
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

    /// Pods that count: there, or to be there.
    pub fn live(&self) -> i64 {
        count(&self.there) + count(&self.coming)
    }
}

/// For how much longer a pod has to be ready to count; `None` while it is not ready.
fn missing(workload: &Workload, one: Followed<'_>, goal: Goal<'_>) -> Option<Duration> {
    if !one.pod.serves() {
        return None;
    }
    let settles = !one.pod.probed && became_ready_in(one.pod, goal.began);
    let needed = if settles { workload.min_ready.max(goal.settle) } else { workload.min_ready };
    Some(needed.saturating_sub(one.steady))
}

/// Whether a pod became ready after that moment. Its time has whole seconds, and is its kubelet's.
pub(crate) fn became_ready_in(pod: &PodView, began: Timestamp) -> bool {
    pod.created.is_none_or(|created| created >= began - SignedDuration::from_secs(1))
        || pod.ready_since.is_none_or(|since| since > began - SignedDuration::from_secs(1))
}

/// The number in the name of a StatefulSet's pod.
pub fn ordinal(name: &str) -> Option<i64> {
    name.rsplit_once('-').and_then(|(_, ordinal)| ordinal.parse().ok())
}

/// The earlier of two moments, where there are any.
pub fn earlier(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(other).min()
}

/// `pod web-1 on node-a is still terminating`
pub fn leaving(pod: &PodView, overdue: bool) -> String {
    let node = pod.node.as_deref().map_or("no node".to_owned(), |node| format!("node {node}"));
    let held = if pod.finalizers.is_empty() {
        String::new()
    } else {
        format!(", held by its finalizers {}", pod.finalizers.join(", "))
    };
    match pod.due.filter(|_| overdue) {
        Some(due) => format!("pod {} on {node} should have been gone at {due}{held}", pod.name),
        None => format!("pod {} on {node} is still terminating{held}", pod.name),
    }
}

/// How many they are.
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
