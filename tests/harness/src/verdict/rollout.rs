//! `restart` of a workload, and `rollback`: every pod in reach is of the revision that was written, and no other is left.

use std::collections::BTreeSet;

use super::goal::{Holds, that, there};
use super::state::{Family, Standing, State};
use crate::recorder::{Kind, Pod, Seen, Workload};

/// Pods of one revision.
#[derive(Debug)]
pub struct Rollout<'h> {
    /// The workload.
    pub target: &'h str,
    /// Its template, as the run (or the one before it of the same id) has written it.
    pub template: u64,
    /// The pods that were there before the first run; none of them may be left. Empty for a rollback, whose pods may have
    /// been of the right revision before.
    pub before: BTreeSet<&'h str>,
    /// Whether something must have been replaced: a restart that reaches no pod was none.
    pub restart: bool,
    /// Only what the object says: it was not waited for the pods.
    pub object_only: bool,
    /// `terminating: ignore`.
    pub leaving_may_stay: bool,
}

impl<'h> Rollout<'h> {
    /// Whether it holds.
    pub fn holds<'s>(&self, state: &'s State<'h>, family: &'s Family<'h>) -> Result<Holds<'s, 'h>, String> {
        let target = there(state, self.target)?;
        let workload = target.workload().ok_or_else(|| format!("{} is no workload", target.told()))?;
        that(target.template == Some(self.template), || {
            format!("{} does not have the template that was written", target.told())
        })?;
        let mut holds = Holds::default();
        if self.object_only {
            return Ok(holds);
        }
        that(!workload.paused, || format!("{} is paused", target.told()))?;
        that(workload.observed >= target.generation, || format!("{}: its controller has not seen it", target.told()))?;
        let wanted = wanted(target, workload);
        let nothing = self.restart && (workload.on_delete || (wanted == 0 && workload.wanted > 0));
        that(!nothing, || format!("{} has no pod that a restart would reach", target.told()))?;
        let revisions = self.revisions(state, target);
        for (pod, facts) in family.pods(state, self.target) {
            if !facts.finished && in_reach(workload, facts) && self.stays(pod, &revisions, family)? {
                holds.count(pod, workload.min_ready)?;
            }
        }
        let counted = i64::try_from(holds.counted.len()).unwrap_or(i64::MAX);
        that(counted == wanted, || {
            format!("{} has {counted} pods of the revision that was written, not {wanted}", target.told())
        })?;
        that(target.kind != Kind::DaemonSet || one_a_node(&holds), || format!("{}: two on a node", target.told()))?;
        Ok(holds)
    }

    /// Whether it is a pod that must be there: of the revision that was written, and not on its way out.
    fn stays(&self, pod: &Standing<'h>, revisions: &BTreeSet<&str>, family: &Family<'h>) -> Result<bool, String> {
        let seen = pod.seen;
        let of_set = family.owner(&seen.uid).is_some_and(|(_, owner)| revisions.contains(owner));
        let new = of_set || revisions.contains(seen.revision.as_str());
        let before = self.before.contains(seen.uid.as_str());
        if seen.leaving {
            // What is of the right revision and goes was scaled away meanwhile.
            let may = self.leaving_may_stay || (new && !before);
            that(may, || format!("{} is terminating still", seen.told()))?;
            return Ok(false);
        }
        that(!before, || format!("{} was there before", seen.told()))?;
        that(new, || format!("{} is not of the revision that was written", seen.told()))?;
        Ok(true)
    }

    /// What tells the pods of the written revision: their ReplicaSet's UID, or the label that sets give them.
    fn revisions(&self, state: &State<'h>, target: &Seen) -> BTreeSet<&'h str> {
        let kind = if target.kind == Kind::Deployment { Kind::ReplicaSet } else { Kind::ControllerRevision };
        let ours = state.of(kind).map(|one| one.seen).filter(|seen| {
            let owned = seen.owner.as_ref().is_some_and(|owner| owner.uid == self.target);
            owned && seen.template == Some(self.template)
        });
        ours.map(|seen| if kind == Kind::ReplicaSet { seen.uid.as_str() } else { seen.revision.as_str() }).collect()
    }
}

/// Whether the workload's controller replaces this pod by itself: below the partition it does not.
fn in_reach(workload: &Workload, pod: &Pod) -> bool {
    workload.partition == 0 || pod.ordinal.is_none_or(|ordinal| ordinal >= workload.first + workload.partition)
}

/// How many pods in reach there are to be.
fn wanted(target: &Seen, workload: &Workload) -> i64 {
    let out_of_reach = if target.kind == Kind::StatefulSet { workload.partition } else { 0 };
    (workload.wanted - out_of_reach).max(0)
}

fn one_a_node(holds: &Holds<'_, '_>) -> bool {
    let nodes: BTreeSet<_> = holds.counted.iter().filter_map(|one| one.seen.pod()?.node.as_deref()).collect();
    nodes.len() == holds.counted.len()
}
