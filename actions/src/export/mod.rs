//! What leaves the cluster or the run: bounded, and without secrets. Nothing here knows of the cluster.

pub mod budget;
pub mod destination;
pub mod redact_object;
pub mod redact_text;
pub mod upload;
