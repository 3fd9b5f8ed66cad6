//! The controller killed at every request of a delivery: before it has arrived, after it was taken and before the answer, or
//! while it is still on its way. At the end the rows and the spool hold each event once.
//!
//! A sample by default; `KILLS=whole` does all.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use test_cluster::executor::ACCOUNT;
use test_cluster::proxy::{Fault, Proxy, Script, Shape};

use super::store::{Store, spool};
use super::{uid, until, with};
use crate::killed::{QUICK, faults, score_kill, whole};
use crate::support::{Controller, E, scale_with, scenarios};

scenarios!("audit_killed": at_each_post, at_each_write_to_the_spool, while_the_spool_is_delivered);

/// Where the fault hits.
#[derive(Clone, Copy, PartialEq)]
enum Before {
    Store,
    ApiServer,
}

/// The fault, and how the store does meanwhile.
struct Kill {
    before: Before,
    shape: Shape,
    fault: Fault,
    /// The execution is deleted while the store is away, so that its events go into the spool.
    away: bool,
}

fn post(occurrence: usize) -> Shape {
    Shape { what: "POST /api/v1/audit/kubernetes-execution".to_owned(), occurrence }
}

fn spooled(method: &str, occurrence: usize) -> Shape {
    let name = if method == "DELETE" { "/EVENT" } else { "" };
    Shape { what: format!("{method} /api/v1/namespaces/NAMESPACE/configmaps{name}"), occurrence }
}

/// A retry that heals: two events.
async fn at_each_post(e: E) -> Result<()> {
    each(&e, Before::Store, &[post(0), post(1)], false).await
}

async fn at_each_write_to_the_spool(e: E) -> Result<()> {
    each(&e, Before::ApiServer, &[spooled("POST", 0), spooled("POST", 1)], true).await
}

async fn while_the_spool_is_delivered(e: E) -> Result<()> {
    each(&e, Before::ApiServer, &[spooled("DELETE", 0), spooled("DELETE", 1)], true).await
}

async fn each(e: &E, before: Before, shapes: &[Shape], away: bool) -> Result<()> {
    let seed = usize::try_from(test_cluster::fixtures::unique())?;
    for (number, shape) in shapes.iter().enumerate() {
        for (kind, (name, fault)) in faults().into_iter().enumerate() {
            // Of the sample, each request by one of the faults.
            if !whole() && (seed + number) % 3 != kind {
                continue;
            }
            let what = format!("{} ({}) {name}", shape.what, shape.occurrence);
            let world = E::new(&e.world.connection, "audit-killed").await?;
            let kill = Kill { before, shape: shape.clone(), fault, away };
            let outcome = tell(&world, &kill).await;
            world.end(outcome).await.with_context(|| what.clone())?;
            score_kill("the delivery of audit events", name);
        }
    }
    Ok(())
}

fn folder(e: &E, name: &str) -> Result<PathBuf> {
    let folder = e.world.folder().join(name);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// The proxies, one before the API server and one before the store; one of them has the fault.
struct Proxies {
    api: Proxy,
    store: Proxy,
}

impl Proxies {
    fn start(e: &E, store: &Store, kill: &Kill) -> Result<Self> {
        let script = |here: bool| Script {
            names: vec![(e.world.namespace.clone(), "NAMESPACE")],
            prefixes: vec![("up-job-", "POD-OR-JOB"), ("audit-", "EVENT")],
            fault: here.then(|| (kill.shape.clone(), kill.fault.clone())),
        };
        let (server, authority) = (&e.world.connection.server, &e.world.connection.authority);
        let api = Proxy::scripted(server, authority, &folder(e, "api")?, script(kill.before == Before::ApiServer))?;
        let here = script(kill.before == Before::Store);
        let store = Proxy::scripted(&store.address(), &store.authority(), &folder(e, "to-store")?, here)?;
        Ok(Self { api, store })
    }

    fn with_the_fault(&self, kill: &Kill) -> &Proxy {
        if kill.before == Before::Store { &self.store } else { &self.api }
    }
}

fn controller(e: &E, kubeconfig: &Path, flags: Vec<String>) -> Result<Controller> {
    let flags = with(with(flags, &QUICK), &["--audit-patience=2s"]);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    e.controller_with(kubeconfig, &flags)
}

async fn tell(e: &E, kill: &Kill) -> Result<()> {
    let mut store = Store::start(e).await?;
    let proxies = Proxies::start(e, &store, kill)?;
    let proxy = proxies.with_the_fault(kill);
    let kubeconfig = e.world.token_kubeconfig(ACCOUNT, &proxies.api.server, &proxies.api.authority).await?;
    let first = controller(e, &kubeconfig, store.flags_at(&proxies.store.server, &proxies.store.authority))?;
    if kill.away {
        store.down().await?;
    }
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let up = e.execute("up", scale_with(3, json!({ "reason": "play: first exit 9" }))).await?;
    let uid = uid(&up)?;
    if kill.away {
        e.phase("up", "Completed").await?;
        e.world.delete(&e.execution("up")).await?;
        if kill.shape.what.starts_with("DELETE") {
            e.world.gone(&e.execution("up")).await?;
            store.up().await?;
        }
    }
    let limit = std::time::Instant::now() + Duration::from_mins(2);
    while proxy.hits() == 0 {
        ensure!(std::time::Instant::now() < limit, "{} was not sent: {:?}", kill.shape.what, proxy.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    if kill.fault == Fault::Stall {
        proxy.stalled().await;
    }
    let log = first.log()?;
    first.kill().await?;
    crate::killed::note_step(&log);
    let second = controller(e, &e.kubeconfig, store.flags())?;
    goes_on(e, kill, &mut store).await?;
    proxy.settled().await;
    until(|| spool(e), std::collections::BTreeMap::is_empty, "the spool is not delivered").await?;
    let rows = store.rows(&uid).await?;
    ensure!(rows.keys().copied().collect::<Vec<_>>() == [1, 2], "{rows:#?}");
    ensure!(e.jobs_created().await? == ["up-job", "up-job-2"], "{:?}", e.jobs_created().await?);
    second.stop().await
}

/// Another controller brings it to the end that it would have had.
async fn goes_on(e: &E, kill: &Kill, store: &mut Store) -> Result<()> {
    if kill.away {
        e.world.gone(&e.execution("up")).await?;
        return store.up().await;
    }
    let up = e.ended_within("up", Duration::from_mins(2)).await?;
    ensure!(up["status"]["phase"] == "Completed", "{up:#}");
    Ok(())
}
