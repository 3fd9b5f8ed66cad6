//! Explains why a wait hangs: one pure function from all that is followed to the causes, worst first.
//!
//! What each state means, and how it ends a wait, stands in [`table`]. Here is only whom it is about, and since when.

pub mod cause;
mod controller;
pub mod evidence;
pub mod memory;
mod pods;
pub mod sign;
pub mod table;

pub use cause::Cause;
pub use controller::namespace;
pub use evidence::Evidence;
pub use memory::Memory;
pub use pods::only_starts;
pub use table::Class;
use table::Place;

use crate::k8s::ObjectRef;
use crate::workload::Workload;
use crate::workload::revisions::SetView;
use crate::workload::tally::{Goal, Tally};

/// All that a cause is found in.
#[derive(Clone, Copy)]
pub struct Situation<'a> {
    /// The target of the run.
    pub target: &'a ObjectRef,
    /// The object that makes the pods: the target, or what replaces it.
    pub controller: &'a ObjectRef,
    /// State of the controller's object.
    pub workload: &'a Workload,
    /// Its pods.
    pub tally: &'a Tally<'a>,
    /// A Deployment's ReplicaSets.
    pub sets: &'a [SetView],
    /// The goal of the wait.
    pub goal: Goal<'a>,
    /// What earlier looks saw.
    pub memory: &'a Memory,
    /// What was read beside it.
    pub evidence: &'a Evidence,
}

/// Returns the causes for which the goal is not reached: the worst first, and of equals the one that is about a pod first.
/// Never empty: where nothing is known, the controller is said to be silent.
pub fn of(seen: Situation<'_>) -> Vec<Cause> {
    let mut all: Vec<Cause> = namespace(seen.target, seen.evidence).into_iter().collect();
    if seen.workload.has_observed(seen.goal.generation) {
        all.extend(pods::coming(seen));
        all.extend(pods::blocking(seen));
        all.extend(controller::creation(seen));
        all.extend(pods::failed(seen));
        let before = all.len();
        all.extend(pods::leaving(seen));
        all.extend(pods::old(seen));
        controller::deadline(seen, &mut all);
        // What is missing comes before what is still there: it is what the others wait for.
        let explained = all.iter().any(|cause| cause.row.place == Place::Creation);
        if all.is_empty() || !explained && controller::lacking(seen).is_some() {
            all.insert(before, controller::missing(seen));
        }
    } else {
        all.extend(controller::not_observed(seen));
    }
    all.sort_by_key(|cause| std::cmp::Reverse(cause.class));
    all
}

#[cfg(test)]
mod tests;
