//! Who is there before a run begins, and knows afterwards what happened meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::future::try_join_all;
use jiff::Timestamp;
use serde_json::Value;

use super::cause::{self, Named, Stands};
use super::state::Family;
use super::{Case, Verdict, judge};
use crate::fixtures::World;
use crate::recorder::{History, Kind, Listed, Recorder, version};

/// How long an API server that was killed may take to answer again.
const LIMIT: Duration = Duration::from_secs(30);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);
/// What the runner's events say of who posted them.
const REPORTER: &str = "action-runner";

/// Where the first run of an `ACTION_ID` on a target began: the runs of one id are judged as one.
static FIRST: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());

/// The beginning of a run.
pub struct Witness {
    recorder: Arc<Recorder>,
    start: u64,
    first: u64,
    began: Instant,
    time: Timestamp,
}

/// What came of a run, as it was read.
pub struct Ended<'a> {
    /// The result.
    pub result: &'a Value,
    /// The lines before it.
    pub lines: &'a [Value],
    /// When it had ended.
    pub exit: Instant,
    /// `TARGET_SELECTOR`.
    pub selector: Option<&'a str>,
}

impl<'a> Ended<'a> {
    /// Where nobody stood beside it (a Job's pod is seen to have ended a second or two later): when it says it ended itself.
    pub fn by_its_word(result: &'a Value, lines: &'a [Value]) -> Self {
        let end = result["endTime"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
        let ago = end.and_then(|end| Duration::try_from(Timestamp::now().duration_since(end)).ok()).unwrap_or_default();
        let now = Instant::now();
        Self { result, lines, exit: now.checked_sub(ago).unwrap_or(now), selector: None }
    }
}

impl Witness {
    /// Before a run. The name, where there is one, is the same for all runs of one `ACTION_ID` on one target.
    pub fn before(world: &World, name: Option<&str>) -> Result<Self> {
        let recorder = Recorder::of(&world.connection.kubeconfig)?;
        let start = recorder.now()?;
        let first = name.map_or(start, |name| {
            let key = format!("{} {name}", world.connection.kubeconfig.display());
            *FIRST.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_insert(start)
        });
        Ok(Self { recorder, start, first, began: Instant::now(), time: Timestamp::now() })
    }

    /// After its end: one look at the cluster, without waiting for anything but that the recorder has seen as much.
    pub async fn judge(&self, world: &World, ended: &Ended<'_>) -> Result<Verdict> {
        let history = History::default();
        let mut case = Case {
            result: ended.result,
            lines: ended.lines,
            start: self.start,
            first: self.first,
            began: self.began,
            exit: ended.exit,
            end: 0,
            history: &history,
            selected: None,
            events: 0,
            stands: None,
        };
        if !case.is_judged() {
            return Ok(Verdict::default());
        }
        // First, for it is the first to change.
        if cause::ends_a_wait(&case) {
            case.stands = Some(stands(world, ended.result).await?);
        }
        let target = &ended.result["target"];
        let kind = Kind::named(target["kind"].as_str().unwrap_or_default());
        let place =
            target["namespace"].as_str().unwrap_or(if kind == Some(Kind::Node) { "" } else { &world.namespace });
        let lists = self.lists(world, place, kind, target).await?;
        self.recorder.catch_up(&lists).await?;
        let history = self.recorder.history(place);
        case.history = &history;
        case.end = lists.iter().map(|list| list.rv).max().unwrap_or_default();
        if let Some(selector) = ended.selector {
            case.selected = Some(selected(world, place, selector).await?);
        }
        if case.is("/dryRun") == Some(true) {
            case.events = self.events(world, place, target).await?;
        }
        Ok(judge(&case))
    }

    /// How things are now, as far as the claim may rest on it.
    async fn lists(&self, world: &World, place: &str, kind: Option<Kind>, target: &Value) -> Result<Vec<Listed>> {
        if kind == Some(Kind::Node) {
            let name = target["name"].as_str().unwrap_or_default();
            return Ok(vec![list(world, Kind::Node, place, Some(name)).await?]);
        }
        let mut kinds = BTreeSet::from([Kind::Pod]);
        kinds.extend(kind);
        match kind {
            Some(Kind::Deployment) => kinds.extend([Kind::ReplicaSet]),
            Some(Kind::StatefulSet | Kind::DaemonSet) => kinds.extend([Kind::ControllerRevision]),
            Some(Kind::Pod) => kinds.extend(self.owners(place, target["uid"].as_str().unwrap_or_default())),
            _ => {}
        }
        try_join_all(kinds.into_iter().map(|kind| list(world, kind, place, None))).await
    }

    /// The kinds of those who control a pod.
    fn owners(&self, place: &str, pod: &str) -> BTreeSet<Kind> {
        let history = self.recorder.history(place);
        let family = Family::of(&history.events);
        let line = family.line(pod);
        line.iter().filter_map(|uid| family.owner(uid)).filter_map(|(kind, _)| Kind::named(kind)).collect()
    }

    /// How many events about the target the runner has posted since this run began.
    async fn events(&self, world: &World, place: &str, target: &Value) -> Result<usize> {
        let place = if place.is_empty() { "default" } else { place };
        let list = get(world, &format!("/apis/events.k8s.io/v1/namespaces/{place}/events")).await?;
        let ours = list["items"].as_array().into_iter().flatten().filter(|event| {
            let time = event["eventTime"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
            event["regarding"]["uid"] == target["uid"]
                && event["reportingController"].as_str().is_some_and(|name| name.contains(REPORTER))
                && time.is_some_and(|time| time >= self.time)
        });
        Ok(ours.count())
    }
}

/// What stands in the cluster of the target and of each object that a result names as being in the way.
async fn stands(world: &World, result: &Value) -> Result<Stands> {
    let obstacles = result["details"]["obstacles"].as_array().into_iter().flatten();
    let named = try_join_all(obstacles.map(|obstacle| named(world, &obstacle["object"])));
    let (target, workload) = (&result["target"], &result["details"]["workload"]);
    let events = try_join_all([target, workload].map(|one| events(world, one)));
    let (target, workload) = (object(world, target), object(world, workload));
    let (named, events, target, workload) = tokio::try_join!(named, events, target, workload)?;
    Ok(Stands { target, workload, events: events.concat(), named })
}

/// The events about an object.
async fn events(world: &World, reference: &Value) -> Result<Vec<Value>> {
    let Some(uid) = reference["uid"].as_str() else { return Ok(Vec::new()) };
    let place = reference["namespace"].as_str().unwrap_or("default");
    let path = format!("/apis/events.k8s.io/v1/namespaces/{place}/events?fieldSelector=regarding.uid%3D{uid}");
    Ok(there(world, &path).await?["items"].as_array().cloned().unwrap_or_default())
}

async fn named(world: &World, reference: &Value) -> Result<Named> {
    let (object, events) = tokio::try_join!(object(world, reference), events(world, reference))?;
    let node = match object["spec"]["nodeName"].as_str() {
        Some(node) => there(world, &format!("/api/v1/nodes/{node}")).await?,
        None => Value::Null,
    };
    Ok(Named { object, node, events })
}

/// The object of a reference; null when there is none.
async fn object(world: &World, reference: &Value) -> Result<Value> {
    let of = |field: &str| reference[field].as_str().unwrap_or_default();
    let (version, kind) = (of("apiVersion"), of("kind").to_lowercase());
    if version.is_empty() || kind.is_empty() {
        return Ok(Value::Null);
    }
    let root = if version.contains('/') { "apis" } else { "api" };
    let place = reference["namespace"].as_str().map(|name| format!("/namespaces/{name}")).unwrap_or_default();
    // Plurals of the kinds that may be named are regular.
    there(world, &format!("/{root}/{version}{place}/{kind}s/{}", of("name"))).await
}

/// What is there; null when the API server says that nothing is.
async fn there(world: &World, path: &str) -> Result<Value> {
    let until = Instant::now() + LIMIT;
    loop {
        let request = http::Request::get(path).body(Vec::new())?;
        match world.client().request::<Value>(request).await {
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Value::Null),
            Err(_) if Instant::now() < until => tokio::time::sleep(PAUSE).await,
            answer => return answer.context("the second judge cannot look at the cluster"),
        }
    }
}

async fn list(world: &World, kind: Kind, place: &str, name: Option<&str>) -> Result<Listed> {
    let namespace = (!place.is_empty()).then_some(place);
    let query = name.map(|name| format!("?fieldSelector=metadata.name%3D{name}")).unwrap_or_default();
    let list = get(world, &format!("{}{query}", kind.path(namespace))).await?;
    anyhow::ensure!(version(&list) > 0, "a list without resourceVersion: {list}");
    Ok(Listed::read(kind, Some(place), name, &list))
}

/// The pods that a selector finds: the API server knows how to read it.
async fn selected(world: &World, place: &str, selector: &str) -> Result<BTreeSet<String>> {
    let escaped: String = selector
        .bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    let list = get(world, &format!("{}?labelSelector={escaped}", Kind::Pod.path(Some(place)))).await?;
    let uids = list["items"].as_array().into_iter().flatten().filter_map(|pod| pod["metadata"]["uid"].as_str());
    Ok(uids.map(str::to_owned).collect())
}

async fn get(world: &World, path: &str) -> Result<Value> {
    let until = Instant::now() + LIMIT;
    loop {
        match world.get(path).await {
            Err(_) if Instant::now() < until => tokio::time::sleep(PAUSE).await,
            answer => return answer.context("the second judge cannot look at the cluster"),
        }
    }
}
