//! Wires everything together: connection, leadership, watches, passes.

use std::sync::Arc;
use std::time::Duration;

use actions::cluster::{Reached, random, reach};
use anyhow::{Context as _, Result, anyhow};
use futures::channel::mpsc::{UnboundedReceiver, unbounded};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, applier, reflector, watcher as watch};
use kube::{Api, Resource};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::audit::event::Origin;
use crate::audit::spool::Spool;
use crate::audit::{Destination, Lane, Store as AuditStore};
use crate::context::{Context, Stored};
use crate::job::{EXECUTION_ANNOTATION, MANAGED_BY, MANAGER};
use crate::late;
use crate::lease::{Gate, Lease};
use crate::metrics::Metrics;
use crate::observe::slim::{SlimJob, SlimPod};
use crate::observe::{Denied, Ours, Store, trimmed};
use crate::reconcile::{after_trouble, reconcile};
use crate::requests::{self, Requests, chain, permission};
use crate::serve::{self, Health};
use crate::settings::{AuditFlags, RunFlags, Settings};
use crate::shared::{Remembered, Shared, Timing};
use crate::sweep;

/// The most passes at once: each has at most one request, and each request a connection.
const PASSES: u16 = 32;
/// How many executions are listed at once: nothing but the API server's own limit bounds their parameters.
const PAGE: u32 = 50;
/// Seconds after which a watch is begun anew: one that has fallen silent on its way holds nothing up for longer.
const WATCH: u32 = 60;
/// Time that a clean end may take.
const GRACE: Duration = Duration::from_secs(20);

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
    let namespace = flags.namespace.clone().or_else(|| namespace.map(|one| one.to_string()));
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
    let origin = Origin { cluster: flags.audit.cluster.clone(), created_by_is_stamped: flags.audit.trust_created_by };
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

/// Sets the figures, for ever.
async fn figures(shared: &Shared) -> std::convert::Infallible {
    const PAUSE: Duration = Duration::from_secs(1);
    loop {
        shared.figures();
        tokio::time::sleep(PAUSE).await;
    }
}

/// Where audit events go.
fn destination(flags: &AuditFlags) -> Result<Destination, String> {
    if flags.address == "none" {
        return Ok(Destination::Log);
    }
    let store = AuditStore::new(&flags.address, flags.ca.as_deref(), flags.token_file.as_deref())?;
    tracing::info!(address = store.address(), "audit events are posted");
    Ok(Destination::Store(Box::new(store)))
}

/// Carries out executions as long as the Lease is held.
async fn lead(
    client: kube::Client,
    shared: Arc<Shared>,
    namespaces: &[String],
    mut lease: Lease,
    signals: &mut Signals,
) -> Result<()> {
    tracing::info!("leading");
    shared.metrics.leads(true);
    let namespaces: Vec<Option<String>> =
        if namespaces.is_empty() { vec![None] } else { namespaces.iter().cloned().map(Some).collect() };
    let (end, ended) = tokio::sync::watch::channel(false);
    let passes = namespaces.iter().map(|one| passes(client.clone(), one.clone(), shared.clone(), ended.clone()));
    let mut work = std::pin::pin!(futures::future::join_all(passes));
    let lost = tokio::select! {
        () = lease.hold() => true,
        () = signals.told_to_stop() => false,
        _ = &mut work => return Err(anyhow!("the watches ended")),
        never = sweep::sweep(shared.clone(), namespaces.clone()) => match never {},
        never = shared.audit.keep() => match never {},
        never = figures(&shared) => match never {},
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

fn api<K>(client: &kube::Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = kube::core::NamespaceResourceScope>,
    K::DynamicType: Default,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Passes over the executions of one namespace, or of all, until it is told to stop.
async fn passes(
    client: kube::Client,
    namespace: Option<String>,
    shared: Arc<Shared>,
    mut ended: tokio::sync::watch::Receiver<bool>,
) {
    let (trigger, triggered) = unbounded();
    let (jobs, pods) = (Store::default(), Store::default());
    let (reader, writer) = reflector::store::<Stored>();
    let context = Arc::new(Context { shared, jobs, pods, watched: reader.clone(), trigger, denied: Denied::default() });
    let namespace = namespace.as_deref();
    // Settled executions are not watched: memory and the time of a restart follow what is active, not what was.
    let unsettled = watcher::Config::default().timeout(WATCH).fields("status.settled!=true").page_size(PAGE);
    let executions = watch(api::<Stored>(&client, namespace), unsettled).default_backoff();
    let executions = told(executions, context.clone(), "kubernetesexecutions");
    let noting = context.clone();
    let executions = executions
        .modify(|stored| {
            if let Ok(execution) = &mut stored.0 {
                *execution = trimmed(execution.clone());
            }
        })
        .inspect_ok(move |event| note(&noting, event))
        .reflect(writer)
        .touched_objects()
        .map_ok(|stored| ObjectRef::from_obj(&stored));
    let ours = || watcher::Config::default().timeout(WATCH).labels(&format!("{MANAGED_BY}={MANAGER}")).page_size(500);
    let jobs = told(watch(api::<SlimJob>(&client, namespace), ours()).default_backoff(), context.clone(), "jobs");
    let looking = context.clone();
    let jobs = jobs.inspect_ok(move |event| late::look(&looking, event)).boxed();
    let jobs = followed(jobs, context.clone(), |c| &c.jobs);
    let pods = told(watch(api::<SlimPod>(&client, namespace), ours()).default_backoff(), context.clone(), "pods");
    let pods = followed(pods, context.clone(), |c| &c.pods);
    let queue = stream::select_all([executions.boxed(), jobs, pods, asked(triggered)])
        .filter_map(|one| async { one.ok().map(Ok::<_, watcher::Error>) });
    let stopping = context.clone();
    let queue = queue.take_until(async move {
        // An error means that nobody can tell it to stop any more, which is a reason to stop.
        drop(ended.wait_for(|ended| *ended).await);
        // A stop brings the last word of its pod by the watch: closed now, it would be lost.
        let until = tokio::time::Instant::now() + GRACE / 2;
        while stopping.stops_something() && tokio::time::Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let config = Config::default().concurrency(PASSES);
    let pruned = context.clone();
    let work = applier(boxed_reconcile, after_trouble, context, reader, queue.boxed(), config)
        .for_each(|_| std::future::ready(()));
    tokio::select! {
        () = work => {}
        () = prune(&pruned, namespace) => {}
    }
}

/// Forgets what is over, again and again.
async fn prune(context: &Context, namespace: Option<&str>) {
    const PAUSE: Duration = Duration::from_mins(1);
    // Nothing is over as long as the first list is not there; it ends only with the program.
    let _ready = context.watched.wait_until_ready().await;
    loop {
        tokio::time::sleep(PAUSE).await;
        context.prune(namespace);
    }
}

fn boxed_reconcile(
    stored: Arc<Stored>,
    context: Arc<Context>,
) -> futures::future::BoxFuture<'static, Result<Action, crate::act::Trouble>> {
    Box::pin(reconcile(stored, context))
}

/// Tells why a watch fails, and remembers it where a permission is missing. kube begins it anew by itself.
fn told<K: Send + 'static>(
    events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
    context: Arc<Context>,
    resource: &'static str,
) -> BoxStream<'static, Result<Event<K>, watcher::Error>> {
    let tell = move |event: &Result<Event<K>, watcher::Error>| match event {
        Ok(_) => context.denied.set(resource, None),
        Err(error) => {
            let why = format!("failed to watch {resource}: {}", chain(error));
            tracing::warn!(why, "a watch failed");
            if let Some((verb, denied)) = permission(&why) {
                context.shared.metrics.forbidden(&denied, &verb);
                context.denied.set(resource, Some(why));
            }
        }
    };
    events.inspect(tell).boxed()
}

/// Takes what the watch of executions says into the queue.
fn note(context: &Context, event: &Event<Stored>) {
    match event {
        Event::Apply(stored) | Event::InitApply(stored) => {
            if let Ok(execution) = &stored.0 {
                context.shared.note(execution);
            }
        }
        // Deleted, or settled.
        Event::Delete(stored) => context.forget(stored.meta().uid.as_deref().unwrap_or_default()),
        Event::Init | Event::InitDone => {}
    }
}

fn asked(
    triggered: UnboundedReceiver<ObjectRef<Stored>>,
) -> BoxStream<'static, Result<ObjectRef<Stored>, watcher::Error>> {
    triggered.map(Ok).boxed()
}

/// Takes what a watch says into a store, and asks for passes over the executions that it is about.
fn followed<K>(
    events: BoxStream<'static, Result<Event<K>, watcher::Error>>,
    context: Arc<Context>,
    store: fn(&Context) -> &Store<K>,
) -> BoxStream<'static, Result<ObjectRef<Stored>, watcher::Error>>
where
    K: Ours + Send + Sync + 'static,
{
    events
        .map_ok(move |event| {
            let changed = store(&context).apply(event);
            let names = changed.iter().filter_map(|object| {
                let metadata = object.metadata();
                let name = metadata.annotations.as_ref()?.get(EXECUTION_ANNOTATION)?;
                Some(Ok(ObjectRef::new(name).within(metadata.namespace.as_deref()?)))
            });
            stream::iter(names.collect::<Vec<_>>())
        })
        .try_flatten()
        .boxed()
}
