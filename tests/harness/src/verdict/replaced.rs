//! `restart` of a pod: it is gone, and what controlled it has as many serving pods as it wants now.

use std::collections::BTreeSet;

use super::goal::{Holds, that};
use super::state::{Family, State};
use crate::recorder::{Facts, Kind};

/// A pod that was evicted.
#[derive(Debug)]
pub struct Replaced<'h> {
    /// The pod.
    pub target: &'h str,
    /// Who controls it, at the top; none when nothing that is recorded does.
    pub top: Option<&'h str>,
    /// Only the pod itself: it was not waited for its end.
    pub object_only: bool,
}

impl<'h> Replaced<'h> {
    /// Whether it holds.
    pub fn holds<'s>(&self, state: &'s State<'h>, family: &'s Family<'h>) -> Result<Holds<'s, 'h>, String> {
        let mut holds = Holds::default();
        if let Some(pod) = state.get(self.target) {
            that(self.object_only && pod.seen.leaving, || format!("{} is there still", pod.seen.told()))?;
        }
        // What is gone, or on its way out, wants no pods.
        let top = self.top.and_then(|top| state.get(top)).filter(|top| !top.seen.leaving && !self.object_only);
        let Some(top) = top.map(|top| top.seen) else { return Ok(holds) };
        let wanted = match &top.facts {
            Facts::Workload(workload) => workload.wanted,
            Facts::Job { wanted } => *wanted,
            _ => 0,
        };
        for (pod, facts) in family.pods(state, &top.uid) {
            if pod.ready.is_some() && !facts.finished && !pod.seen.leaving {
                holds.count(pod, 0)?;
            }
        }
        // Of a DaemonSet's pods one on each node counts: two on one and none on another are not two.
        let nodes: BTreeSet<_> = holds.counted.iter().filter_map(|one| one.seen.pod()?.node.as_deref()).collect();
        let serving = if top.kind == Kind::DaemonSet { nodes.len() } else { holds.counted.len() };
        let serving = i64::try_from(serving).unwrap_or(i64::MAX);
        that(serving >= wanted, || format!("{} wants {wanted} pods, and {serving} serve", top.told()))?;
        Ok(holds)
    }
}
