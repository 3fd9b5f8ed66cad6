//! # restart
//!
//! Replaces pods by new ones of the same template: all of a workload's, in the order of its own update strategy
//! ([`workload`]), or one pod, by eviction so that disruption budgets hold ([`pod`]).

pub mod pod;
pub mod workload;
