//! What a result claims, as something that holds or does not hold of a state of the cluster.

use std::time::{Duration, Instant};

use super::count::Count;
use super::replaced::Replaced;
use super::rollout::Rollout;
use super::state::{Family, Standing, State};
use crate::recorder::{Facts, Seen};

/// What a state is judged by.
#[derive(Debug)]
pub enum Goal<'h> {
    /// So many pods.
    Count(Count<'h>),
    /// Pods of one revision.
    Rollout(Rollout<'h>),
    /// A pod is gone, and what controlled it has as many as it wants.
    Replaced(Replaced<'h>),
    /// A node takes no pods, or does.
    Node {
        /// The node.
        uid: &'h str,
        /// Whether it takes none.
        unschedulable: bool,
    },
}

/// What of a state fits.
#[derive(Debug, Default)]
pub struct Holds<'s, 'h> {
    /// The pods that were counted.
    pub counted: Vec<&'s Standing<'h>>,
    /// Pods that may be there beside those, ready or not: the surge of a rollout that is paused.
    pub beside: Vec<&'s Standing<'h>>,
    /// It holds from this moment on only: then all have been ready for `minReadySeconds`.
    pub ripe: Option<Instant>,
}

impl<'s, 'h> Holds<'s, 'h> {
    /// With one more pod, which must be ready.
    pub fn count(&mut self, pod: &'s Standing<'h>, min_ready: u64) -> Result<(), String> {
        let ready = pod.ready.ok_or_else(|| format!("{} is not ready", pod.seen.told()))?;
        let ripe = ready.since.map(|since| since + Duration::from_secs(min_ready));
        self.ripe = self.ripe.max(ripe);
        self.counted.push(pod);
        Ok(())
    }
}

impl<'h> Goal<'h> {
    /// Whether it holds, and if not, why.
    pub fn holds<'s>(&self, state: &'s State<'h>, family: &'s Family<'h>) -> Result<Holds<'s, 'h>, String> {
        match self {
            Self::Count(count) => count.holds(state, family),
            Self::Rollout(rollout) => rollout.holds(state, family),
            Self::Replaced(replaced) => replaced.holds(state, family),
            Self::Node { uid, unschedulable } => {
                let node = there(state, uid)?;
                let wanted = Facts::Node { unschedulable: *unschedulable };
                let told = || format!("{} is not as claimed: unschedulable is {}", node.told(), !unschedulable);
                (node.facts == wanted).then(Holds::default).ok_or_else(told)
            }
        }
    }
}

/// An object that must be there, and not on its way out.
pub fn there<'h>(state: &State<'h>, uid: &str) -> Result<&'h Seen, String> {
    let seen = state.get(uid).ok_or_else(|| format!("the target ({uid}) does not exist"))?.seen;
    if seen.leaving { Err(format!("{} is being deleted", seen.told())) } else { Ok(seen) }
}

/// A condition, and what is wrong where it does not hold.
pub fn that(holds: bool, wrong: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(wrong()) }
}
