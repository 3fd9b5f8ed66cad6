//! Data that leaves the cluster or the run: limited, and without secrets. Nothing here knows the cluster.

pub mod address;
pub mod allowed_host;
pub mod budget;
pub mod destination;
pub mod hidden;
pub mod redact_object;
pub mod redact_text;
pub mod upload;
