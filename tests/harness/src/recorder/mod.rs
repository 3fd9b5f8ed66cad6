//! The recorder: everything that the second judge needs to know of a cluster's objects, as it happened.
//!
//! One for each cluster, past every proxy, in a thread with a runtime of its own: each scenario has another runtime, and
//! a recorder that stopped with one of them would miss what the next one does. It lives for as long as the cluster.

mod log;
mod read;
mod seen;
mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::runtime::{Builder, Handle};

pub use log::{Event, Gap, History, Listed, Log, version};
pub use seen::{Facts, Kind, Owner, Pod, Seen, Workload};

/// How long the recorder may take to catch up with a list, and a cluster to answer.
const LIMIT: Duration = Duration::from_secs(10);
/// How long an API server may be away when a run begins (one that was killed stays away for 10 s).
const OUTAGE: Duration = Duration::from_mins(1);
/// How often is looked whether something can be forgotten, and whether the cluster is there still.
const TICK: Duration = Duration::from_secs(10);

/// All recorders, by the kubeconfigs of their clusters.
static ALL: Mutex<BTreeMap<PathBuf, Arc<Recorder>>> = Mutex::new(BTreeMap::new());

/// The recorder of one cluster.
pub struct Recorder {
    shared: Arc<Shared>,
    runtime: Handle,
    client: kube::Client,
}

/// What the watches write and the judge reads.
struct Shared {
    log: Mutex<Log>,
    /// How many events there were: who waits for one is woken.
    events: tokio::sync::watch::Sender<u64>,
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, change: impl FnOnce(&mut Log)) {
        change(&mut self.log());
        self.events.send_modify(|count| *count += 1);
    }
}

impl Recorder {
    /// The recorder of a cluster; the first one who asks starts it, and everybody waits until it has begun.
    pub fn of(kubeconfig: &Path) -> Result<Arc<Self>> {
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(recorder) = all.get(kubeconfig) {
            return Ok(Arc::clone(recorder));
        }
        let recorder = Arc::new(Self::start(kubeconfig.to_path_buf())?);
        all.insert(kubeconfig.to_path_buf(), Arc::clone(&recorder));
        Ok(recorder)
    }

    fn start(kubeconfig: PathBuf) -> Result<Self> {
        let (begun, begins) = mpsc::channel();
        std::thread::Builder::new().name("recorder".to_owned()).spawn(move || record(&kubeconfig, &begun))?;
        begins.recv_timeout(OUTAGE).context("the recorder does not begin")?
    }

    /// The cluster's present resourceVersion. Blocks, so that a run can be started from anywhere.
    pub fn now(&self) -> Result<u64> {
        let (client, (told, tell)) = (self.client.clone(), mpsc::channel());
        self.runtime.spawn(async move {
            let until = Instant::now() + OUTAGE;
            loop {
                let now = present(&client).await;
                if now.is_ok() || Instant::now() > until {
                    // Nobody listens when the run was given up.
                    let _unheard = told.send(now);
                    return;
                }
                tokio::time::sleep(watch::PAUSE).await;
            }
        });
        tell.recv_timeout(OUTAGE + LIMIT).context("the recorder does not answer")?
    }

    /// Waits until everything that stands in these lists has been recorded.
    pub async fn catch_up(&self, lists: &[Listed]) -> Result<()> {
        let mut events = self.shared.events.subscribe();
        let until = tokio::time::Instant::now() + LIMIT;
        loop {
            events.mark_unchanged();
            let behind = lists.iter().find_map(|list| self.shared.log().behind(list));
            let Some(behind) = behind else { return Ok(()) };
            if tokio::time::timeout_at(until, events.changed()).await.is_err() {
                bail!("the recorder does not catch up with the cluster: it has not seen {behind}");
            }
        }
    }

    /// What happened in a namespace; to nodes, for an empty one.
    pub fn history(&self, namespace: &str) -> History {
        self.shared.log().history(namespace)
    }
}

/// A read that is not served from any cache tells how far the cluster is: events have none.
async fn present(client: &kube::Client) -> Result<u64> {
    let request = http::Request::get("/api/v1/namespaces/default/events?limit=1").body(Vec::new())?;
    let list = tokio::time::timeout(LIMIT, client.request::<Value>(request)).await.context("no answer")??;
    Ok(version(&list))
}

/// The recorder's thread.
fn record(kubeconfig: &Path, begun: &mpsc::Sender<Result<Recorder>>) {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _unheard = begun.send(Err(error.into()));
            return;
        }
    };
    runtime.block_on(async {
        let begins = begin(kubeconfig).await;
        let shared = begins.as_ref().ok().map(|recorder| Arc::clone(&recorder.shared));
        let _unheard = begun.send(begins);
        // The kubeconfig is in the cluster's folder, which ends with it.
        while let Some(shared) = shared.as_ref().filter(|_| kubeconfig.exists()) {
            tokio::time::sleep(TICK).await;
            shared.log().forget(Instant::now());
        }
    });
}

async fn begin(kubeconfig: &Path) -> Result<Recorder> {
    let client = crate::cluster::client(kubeconfig).await?;
    let (events, _) = tokio::sync::watch::channel(0);
    let shared = Arc::new(Shared { log: Mutex::default(), events });
    for kind in Kind::ALL {
        watch::list(&client, kind, &shared).await.with_context(|| format!("failed to list {}", kind.plural()))?;
        tokio::spawn(watch::follow(client.clone(), kind, Arc::clone(&shared)));
    }
    Ok(Recorder { shared, runtime: Handle::current(), client })
}
