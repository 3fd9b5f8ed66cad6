//! The watches of executions, Jobs and pods, and what each of their events leads to: a pass over the execution that it is about.

use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc::{UnboundedReceiver, unbounded};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, applier, reflector, watcher as watch};
use kube::{Api, Resource};

use crate::api::{MANAGED_BY, MANAGER, Stored};
use crate::context::Context;
use crate::entrance::{Entrance, Limits};
use crate::job::EXECUTION_ANNOTATION;
use crate::late;
use crate::observe::owner::execution_of;
use crate::observe::slim::{SlimJob, SlimPod};
use crate::observe::{Denied, Ours, Store, trim};
use crate::queue::EACH;
use crate::reconcile::{after_trouble, reconcile};
use crate::requests::{chain, permission};
use crate::shared::Shared;

/// The most passes at once: each has at most one request, and each request a connection.
const PASSES: u16 = 112;
/// The most of them that are at starting something, and the most of each kind in one namespace: three namespaces whose webhooks let
/// nothing through take 96 places, and leave the others theirs.
const LIMITS: Limits = Limits { begins: 48, each: EACH };
/// How many objects are listed at once: nothing but the API server's own limit bounds an execution's parameters, and its Job
/// and pod carry them along.
const PAGE: u32 = 100;
/// Seconds after which a watch is begun anew: one that has fallen silent on its way holds nothing up for longer.
const WATCH: u32 = 60;
/// Time that a clean end may take.
pub const GRACE: Duration = Duration::from_secs(20);

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
pub async fn passes(
    client: kube::Client,
    namespace: Option<String>,
    shared: Arc<Shared>,
    mut ended: tokio::sync::watch::Receiver<bool>,
) {
    let (trigger, triggered) = unbounded();
    shared.follow(namespace.as_deref(), trigger.clone());
    let (jobs, pods) = (Store::default(), Store::default());
    let (reader, writer) = reflector::store::<Stored>();
    let (watched, entrance, denied) = (reader.clone(), Entrance::new(LIMITS), Denied::default());
    let context = Arc::new(Context { shared, jobs, pods, watched, trigger, entrance, denied });
    let namespace = namespace.as_deref();
    // Settled executions are not watched: memory and the time of a restart follow what is active, not what was.
    let unsettled = watcher::Config::default().timeout(WATCH).fields("status.settled!=true").page_size(PAGE);
    let executions = watch(api::<Stored>(&client, namespace), unsettled).default_backoff();
    let executions = told(executions, context.clone(), "kubernetesexecutions");
    let noting = context.clone();
    let executions = executions
        .modify(|stored| {
            if let Ok(execution) = &mut stored.0 {
                trim(execution);
            }
        })
        .inspect_ok(move |event| note(&noting, event))
        .reflect(writer);
    let executions = whole(executions, context.clone()).touched_objects().map_ok(|stored| ObjectRef::from_obj(&stored));
    let ours = || watcher::Config::default().timeout(WATCH).labels(&format!("{MANAGED_BY}={MANAGER}")).page_size(PAGE);
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

/// Asks for a pass over all when a list is whole: what comes in pages is seen only then, and the passes that its pages asked for saw
/// what was before it.
fn whole(
    events: impl Stream<Item = Result<Event<Stored>, watcher::Error>>,
    context: Arc<Context>,
) -> impl Stream<Item = Result<Event<Stored>, watcher::Error>> {
    events.inspect_ok(move |event| {
        if matches!(event, Event::InitDone) {
            context.wake_all();
        }
    })
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
                // A Job that somebody else made of an execution need not say whose it is as ours do.
                let said = metadata.annotations.as_ref().and_then(|all| all.get(EXECUTION_ANNOTATION));
                let name = said.or_else(|| execution_of(metadata).map(|owner| &owner.name))?;
                Some(Ok(ObjectRef::new(name).within(metadata.namespace.as_deref()?)))
            });
            stream::iter(names.collect::<Vec<_>>())
        })
        .try_flatten()
        .boxed()
}
