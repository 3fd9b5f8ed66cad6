//! Wires everything together: connection, leadership, watches, passes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use actions::cluster::{Reached, random, reach};
use actions::k8s::names::Namespace;
use anyhow::{Context as _, Result, anyhow};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::audit::event::Origin;
use crate::audit::spool::Spool;
use crate::audit::{Destination, Lane, Store};
use crate::clock::Clock;
use crate::lease::{Gate, Lease};
use crate::metrics::Metrics;
use crate::requests::{self, Requests};
use crate::serve::{self, Health};
use crate::settings::{AuditFlags, RunFlags, Settings};
use crate::shallow::shallow;
use crate::shared::{Remembered, Shared, Timing};
use crate::sweep;
use crate::watches::{GRACE, passes};

/// Runs until it is told to stop, or until it leads no more.
pub async fn run(flags: &RunFlags) -> Result<()> {
    let mut signals = Signals::listen()?;
    let settings =
        Settings::read(flags.settings.as_deref(), flags.policy_dir.as_deref()).map_err(|why| anyhow!(why))?;
    settings.policies().map_err(|why| anyhow!(why))?;
    check_lease(flags)?;
    let destination = destination(&flags.audit).map_err(|why| anyhow!(why))?;
    let (metrics, health) = (Metrics::default(), Health::default());
    serve::health(flags.health, &health)?;
    serve::metrics(flags.metrics, &metrics)?;
    tokio::spawn(health.clone().beat());
    let agent = format!("execution-controller/{}", env!("CARGO_PKG_VERSION"));
    let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
    let Reached { client, server, namespace } =
        reach(&flags.connection().map_err(|why| anyhow!(why))?, &agent, deadline).await?;
    let client = shallow(client, Arc::new(Clock::new(metrics.clone())));
    let namespace = flags.namespace.clone().or(namespace).map(String::from);
    let namespace = namespace
        .context("--namespace: needed for the Lease; neither the ServiceAccount nor the kubeconfig names one")?;
    let identity = flags.identity.clone().unwrap_or_default() + &format!("_{:016x}", random());
    tracing::info!(server, namespace, identity, "starting");
    let requests = Requests::new(client.clone(), metrics.clone(), flags.write_limit);
    let gate = Gate::default();
    let mut lease =
        Lease::new(requests.clone(), &namespace, &identity, flags.lease_duration, flags.lease_renewal, gate.clone());
    // Who stands by is as ready as it can be.
    health.set_ready();
    tokio::select! {
        acquired = lease.acquire() => acquired.context("the Lease cannot be had")?,
        () = signals.told_to_stop() => return Ok(()),
    }
    let timing = Timing {
        max_active: flags.max_active,
        backoff: flags.backoff,
        start_deadline: flags.start_deadline,
        stop_after: flags.stop_after,
    };
    // An empty variable is one that is not set.
    let cluster = flags.audit.cluster.clone().filter(|cluster| !cluster.is_empty());
    let origin = Origin { cluster, created_by_is_stamped: flags.audit.trust_created_by };
    let audit = Arc::new(Lane::new(destination, origin, flags.audit.patience, flags.audit.spool, metrics.clone()));
    let spool = Spool { requests: requests.clone(), gate: gate.clone(), namespace };
    let remembered = Remembered::default();
    let shared = Arc::new(Shared { requests, gate, settings, timing, metrics, identity, audit, spool, remembered });
    lead(client, shared, &flags.namespaces, lease, &mut signals).await
}

fn check_lease(flags: &RunFlags) -> Result<()> {
    if flags.lease_duration.subsec_nanos() > 0 {
        return Err(anyhow!("--lease-duration: expected whole seconds, as a Lease has them"));
    }
    let least = flags.lease_renewal * 2 + requests::horizon(flags.write_limit);
    if least >= flags.lease_duration {
        return Err(anyhow!(
            "--lease-duration: expected more than {} s: a write may take --write-limit and 2 s, and two of --lease-renewal must fit \
             beside it",
            least.as_secs_f32()
        ));
    }
    Ok(())
}

/// Sets the figures and wakes who has a place, for ever.
async fn keep(shared: &Shared) -> std::convert::Infallible {
    const PAUSE: Duration = Duration::from_secs(1);
    loop {
        shared.figures();
        shared.wake_waiting();
        tokio::time::sleep(PAUSE).await;
    }
}

/// Where audit events go.
fn destination(flags: &AuditFlags) -> Result<Destination, String> {
    if flags.address == "none" {
        if flags.ca.is_some() || flags.token_file.is_some() {
            tracing::warn!(
                "--audit-ca and --audit-token-file are not used: --audit is none, and audit events are lines of the log"
            );
        }
        return Ok(Destination::Log);
    }
    let store = Store::new(&flags.address, flags.ca.as_deref(), flags.token_file.as_deref())?;
    tracing::info!(address = store.address(), "audit events are posted");
    Ok(Destination::Store(Box::new(store)))
}

/// Carries out executions as long as the Lease is held.
async fn lead(
    client: kube::Client,
    shared: Arc<Shared>,
    namespaces: &[Namespace],
    mut lease: Lease,
    signals: &mut Signals,
) -> Result<()> {
    tracing::info!("leading");
    shared.metrics.leads(true);
    // Each once, however often it is named: two watches of one namespace would be two passes over one execution at a time.
    let named: BTreeSet<&Namespace> = namespaces.iter().collect();
    let namespaces: Vec<Option<String>> =
        if named.is_empty() { vec![None] } else { named.into_iter().map(|one| Some(one.to_string())).collect() };
    let (end, ended) = tokio::sync::watch::channel(false);
    let passes = namespaces.iter().map(|one| passes(client.clone(), one.clone(), shared.clone(), ended.clone()));
    let mut work = std::pin::pin!(futures::future::join_all(passes));
    let lost = tokio::select! {
        () = lease.hold() => true,
        () = signals.told_to_stop() => false,
        _ = &mut work => return Err(anyhow!("the watches ended")),
        never = sweep::sweep(shared.clone(), namespaces.clone()) => match never {},
        never = shared.audit.keep() => match never {},
        never = keep(&shared) => match never {},
        never = shared.spool.clone().drain(shared.audit.clone()) => match never {},
    };
    shared.metrics.leads(false);
    if lost {
        // Whoever leads now goes on from what is in the cluster; a fresh start is the cleanest way to stand by.
        return Err(anyhow!("the Lease is lost"));
    }
    tracing::info!("stopping: what has begun is finished");
    // Nobody listens only if all passes have ended.
    let _ended = end.send(true);
    tokio::select! {
        _ = &mut work => {}
        () = lease.hold() => tracing::warn!("the Lease was lost meanwhile"),
        () = tokio::time::sleep(GRACE) => tracing::warn!("not everything came to an end in time"),
    }
    lease.release().await;
    Ok(())
}

/// The signals that tell the process to stop; from when this is made on, none is lost.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("failed to listen for signals");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn told_to_stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
