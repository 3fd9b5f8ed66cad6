//! `scale`: exactly so many pods are left, and all of them are ready. A paused rollout keeps its surge beside them, which may
//! be broken.

use super::goal::{Holds, that, there};
use super::state::{Family, State};

/// So many pods.
#[derive(Debug)]
pub struct Count<'h> {
    /// The workload.
    pub target: &'h str,
    /// How many.
    pub replicas: i64,
    /// Only what the object says: it was not waited for the pods.
    pub object_only: bool,
    /// `terminating: ignore`.
    pub leaving_may_stay: bool,
}

impl<'h> Count<'h> {
    /// Whether it holds.
    pub fn holds<'s>(&self, state: &'s State<'h>, family: &'s Family<'h>) -> Result<Holds<'s, 'h>, String> {
        let target = there(state, self.target)?;
        let workload = target.workload().ok_or_else(|| format!("{} is no workload", target.told()))?;
        that(workload.wanted == self.replicas, || {
            format!("{} has spec.replicas {}, not {}", target.told(), workload.wanted, self.replicas)
        })?;
        let mut holds = Holds::default();
        if self.object_only {
            return Ok(holds);
        }
        that(workload.observed >= target.generation, || format!("{}: its controller has not seen it", target.told()))?;
        for (pod, _) in family.pods(state, self.target).filter(|(_, facts)| !facts.finished) {
            if pod.seen.leaving {
                that(self.leaving_may_stay, || format!("{} is terminating still", pod.seen.told()))?;
            } else if pod.ready.is_none() && workload.paused {
                holds.beside.push(pod);
            } else {
                holds.count(pod, workload.min_ready)?;
            }
        }
        // A paused rollout keeps both of its revisions, and the surge with them.
        let most = self.replicas + if workload.paused { workload.surge } else { 0 };
        let number = |pods: &[_]| i64::try_from(pods.len()).unwrap_or(i64::MAX);
        let (ready, broken) = (number(&holds.counted), number(&holds.beside));
        that(ready >= self.replicas && ready + broken <= most, || {
            let unready = if broken > 0 { format!(" and {broken} that are not ready") } else { String::new() };
            format!("{} has {ready} pods{unready}, not {}", target.told(), self.replicas)
        })?;
        Ok(holds)
    }
}
