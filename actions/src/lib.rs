//! The actions on a cluster: one action, one file.
//!
//! The runner (the crate above) reads the environment, runs the phases and writes the result; an action here never sees
//! any of that. To add an action: write a file in the same order as its neighbours (docs, parameters, target, `impl
//! Action`, private functions, tests) and add one variant of [`Verb`]. The compiler says what is missing.

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
