//! A real Kubernetes control plane, on this machine, as an ordinary user: etcd, kube-apiserver with its audit log,
//! kube-controller-manager, kube-scheduler, and kwok for nodes and pods.
//!
//! A program that uses it calls [`supervise_if_asked`] first, then [`Cluster::start`]. The processes belong to a
//! supervisor (the same program, started again), which ends them when its standard input closes: however the program
//! ends, nothing stays behind.
#![allow(clippy::indexing_slicing, reason = "of JSON: what is missing is null, and fails the check that follows")]

pub mod assets;
pub mod audit;
mod cluster;
mod components;
pub mod document;
pub mod executor;
pub mod fixtures;
pub mod hangs;
mod inputs;
pub mod node;
pub mod player;
pub mod postgres;
pub mod proxy;
pub mod recorder;
pub mod result;
pub mod runner;
mod supervisor;
pub mod tail;
pub mod token;
pub mod verdict;
pub mod webhook;

pub use cluster::{Cluster, Connection, client};
pub use components::Pace;
pub use supervisor::supervise_if_asked;

/// A listener at a port that is free, and stays free for who had it when it is closed for a while: it is below those that the
/// kernel gives to everybody who asks for any.
pub fn listener() -> std::io::Result<std::net::TcpListener> {
    const PORTS: std::ops::Range<u32> = 10_000..32_000;
    const TRIES: usize = 100;
    let port = || u16::try_from(PORTS.start + fixtures::unique() % (PORTS.end - PORTS.start)).unwrap_or_default();
    let mut tries = (0..TRIES).map(|_| std::net::TcpListener::bind(("127.0.0.1", port())));
    tries.find(Result::is_ok).unwrap_or_else(|| std::net::TcpListener::bind("127.0.0.1:0"))
}
