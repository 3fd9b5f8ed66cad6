//! What can be done to a cluster: one action, one file.
//!
//! The runner (the crate above) reads the environment, runs the phases and writes the result; an action here never sees
//! any of that. To add one: a file of the same order as its neighbours (docs, parameters, target, `impl Action`, private
//! functions, tests), one variant of [`Verb`], and the compiler says what is missing.

pub mod action;
pub mod catalogue;
pub mod cluster;
pub mod collect_logs;
pub mod cordon;
pub mod export;
pub mod k8s;
pub mod restart;
pub mod rollback;
pub mod scale;
pub mod workload;
