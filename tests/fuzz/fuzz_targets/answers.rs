//! Any answers for any request: each action is done against a server that begins with the truth and says something else
//! wherever the fuzzer likes. It ends, does not panic, and what the ledger says of the effect is what the server did.
#![no_main]
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "what fails here is a finding")]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actions::action::parse::Parameters;
use actions::action::{Action, Circumstances, Decision, RunOutcome, Target, TargetRef};
use actions::catalogue::{Verb, Visitor, with_action};
use actions::cluster::ledger::Ledger;
use actions::cluster::run::{LogSink, Progress, RunContext};
use actions::cluster::{Cluster, Commit, KnownRules};
use actions::k8s::{Kind, ObjectRef};
use bytes::Bytes;
use contract::result::Effect;
use futures::StreamExt;
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::client::Body;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use tokio::time::Instant;

/// What is done, and to what.
const RUNS: [(Verb, Kind); 12] = [
    (Verb::Scale, Kind::Deployment),
    (Verb::Scale, Kind::StatefulSet),
    (Verb::Restart, Kind::Deployment),
    (Verb::Restart, Kind::StatefulSet),
    (Verb::Restart, Kind::DaemonSet),
    (Verb::Restart, Kind::Pod),
    (Verb::Rollback, Kind::Deployment),
    (Verb::Rollback, Kind::StatefulSet),
    (Verb::Cordon, Kind::Node),
    (Verb::Uncordon, Kind::Node),
    (Verb::CollectLogs, Kind::Deployment),
    (Verb::CollectLogs, Kind::Pod),
];

/// How long a run may take, on a clock that runs as fast as nobody has anything to do.
const LIMIT: Duration = Duration::from_mins(1);

#[derive(Debug, Arbitrary)]
struct Script {
    run: u8,
    /// What is said to each request in turn; the truth after that.
    answers: Vec<Answer>,
}

#[derive(Debug, Clone, Arbitrary)]
enum Answer {
    Truth,
    /// The truth, with other values at some places.
    Edited(Vec<(u16, Thing)>),
    Status(u8, Vec<(u16, Thing)>),
    Bytes(Vec<u8>),
    Nothing,
}

#[derive(Debug, Clone, Arbitrary)]
enum Thing {
    Null,
    Bool(bool),
    Small(i8),
    Number(i64),
    Float(f64),
    Text(String),
    Long(u16),
    List,
    Object,
    /// What stands at another place.
    Other(u16),
}

/// What the server was really asked to change.
#[derive(Debug, Default)]
struct Truth {
    answers: Vec<Answer>,
    asked: usize,
    applied: bool,
    unclear: bool,
}

fuzz_target!(|script: Script| {
    let (verb, kind) = RUNS[usize::from(script.run) % RUNS.len()];
    with_action(verb, Some(kind), Drive { kind, answers: script.answers });
});

struct Drive {
    kind: Kind,
    answers: Vec<Answer>,
}

impl Visitor for Drive {
    type Output = ();

    fn visit<A: Action>(self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime");
        let truth = Arc::new(Mutex::new(Truth { answers: self.answers, ..Truth::default() }));
        runtime.block_on(async {
            let ledger = Ledger::new("fuzz");
            let run = drive::<A>(self.kind, ledger.clone(), truth.clone());
            tokio::time::timeout(LIMIT * 3, run).await.expect("the run does not end");
            let truth = truth.lock().unwrap_or_else(PoisonError::into_inner);
            let fits = match ledger.effect() {
                Effect::None => !truth.applied,
                Effect::Applied => truth.applied || truth.unclear,
                Effect::Unknown => truth.unclear,
            };
            assert!(fits, "the effect is {:?}, and the truth {truth:?}", ledger.effect());
        });
    }
}

#[allow(clippy::too_many_lines, reason = "a run, from its beginning to its end")]
async fn drive<A: Action>(kind: Kind, ledger: Ledger, truth: Arc<Mutex<Truth>>) {
    let service = tower::service_fn(move |request: Request<Body>| {
        let answer = serve(&request, &truth);
        async move { answer }
    });
    let namespace = "shop".parse().ok();
    let client = kube::Client::new(service, "shop");
    let cluster = Cluster::new(client, "https://fuzz".to_owned(), namespace, ledger, "run", Instant::now() + LIMIT);
    let parameters = Parameters::<A>::parse(&A::example().to_string());
    let Parameters { action, wait } = parameters.expect("the example is what it should be");
    let resource = kind.resource();
    let namespace = "shop".parse().ok().filter(|_| resource.namespaced());
    let object = ObjectRef {
        resource: resource.clone(),
        namespace: namespace.clone(),
        name: "web".parse().expect("a name"),
        uid: Some("1".to_owned()),
    };
    let (name, named) = (object.name.clone(), TargetRef::Object(object));
    let run = RunContext {
        id: "one".parse().ok(),
        reason: None,
        run: "run".to_owned(),
        now: jiff::Timestamp::UNIX_EPOCH,
        wait,
        progress: Progress::default(),
        sink: Arc::new(Nowhere),
        upload_hosts: Vec::new(),
        redact_required: false,
    };
    let needed = action.permissions(&resource, Circumstances::of(&run, &named));
    let _granted = cluster.missing(&needed, namespace.as_ref(), Some(&name), &mut KnownRules::default()).await;
    let Ok(target) = action.find(&cluster, &named, &run).await else { return };
    let now = match action.decide(&target, &run) {
        Decision::Refuse(_) => return,
        Decision::AlreadySo { .. } => target.value().cloned().unwrap_or_default(),
        Decision::Change(plan) => {
            if action.apply(&cluster, &target, &plan, Commit::DryRun).await.is_err() {
                return;
            }
            let Ok(now) = action.apply(&cluster, &target, &plan, Commit::Execute).await else { return };
            now
        }
    };
    let _undo = action.undo(&target, true, &run);
    let details = match action.verify(&cluster, &target, &now, &run).await {
        Ok(details) => details,
        Err(_) => action.details(&target, &run),
    };
    let outcome = RunOutcome { dry_run: false, already: None, took: LIMIT };
    let _sentence = outcome.sentence(&action, &target, &details);
}

#[derive(Debug)]
struct Nowhere;

impl LogSink for Nowhere {
    fn write_lines(&self, _lines: &[u8]) -> std::io::Result<()> {
        Ok(())
    }
}

type Answered = UnsyncBoxBody<Bytes, std::io::Error>;

fn serve(request: &Request<Body>, truth: &Arc<Mutex<Truth>>) -> Result<Response<Answered>, std::io::Error> {
    const STATUS: [u16; 14] = [200, 201, 204, 400, 401, 403, 404, 409, 410, 422, 429, 500, 502, 504];
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    let mut truth = truth.lock().unwrap_or_else(PoisonError::into_inner);
    let answer = truth.answers.get(truth.asked).cloned().unwrap_or(Answer::Truth);
    truth.asked += 1;
    let (status, body) = match answer {
        Answer::Truth => (200, true_answer(path).to_string().into_bytes()),
        Answer::Edited(edits) => (200, edited(true_answer(path), &edits).to_string().into_bytes()),
        Answer::Status(status, edits) => {
            let status = STATUS[usize::from(status) % STATUS.len()];
            let body = json!({ "kind": "Status", "code": status, "message": "no", "details": { "causes": [{ "reason": "DisruptionBudget", "message": "no" }], "retryAfterSeconds": 1 } });
            (status, edited(body, &edits).to_string().into_bytes())
        }
        Answer::Bytes(bytes) => (200, bytes),
        Answer::Nothing => (0, Vec::new()),
    };
    if matches!(*request.method(), Method::PATCH | Method::POST)
        && !path.contains("selfsubject")
        && !query.contains("dryRun")
    {
        // A success that is no JSON, and a refusal that is no Status, come from something between.
        let object = body.trim_ascii_start().starts_with(b"{");
        let spoken = serde_json::from_slice::<Value>(&body).is_ok_and(|body| body["kind"] == "Status");
        let (done, refused) = ((200..300).contains(&status) && object, (300..500).contains(&status) && spoken);
        truth.applied |= done;
        truth.unclear |= !done && !refused;
    }
    if status == 0 {
        return Err(std::io::Error::other("the connection broke"));
    }
    let body = if query.contains("watch=true") && status == 200 {
        watched(&body)
    } else {
        Full::from(body).map_err(|never| match never {}).boxed_unsync()
    };
    Response::builder().status(status).body(body).map_err(std::io::Error::other)
}

/// A watch: an event for each item, then silence, then its end.
fn watched(body: &[u8]) -> Answered {
    let list: Value = serde_json::from_slice(body).unwrap_or_default();
    let items = list["items"].as_array().cloned().unwrap_or_else(|| vec![list.clone()]);
    let mut text: Vec<u8> = Vec::new();
    if list.is_null() {
        text.extend_from_slice(body);
    }
    for item in items {
        let kind = if item["code"].is_u64() { "ERROR" } else { "MODIFIED" };
        text.extend_from_slice(json!({ "type": kind, "object": item }).to_string().as_bytes());
        text.push(b'\n');
    }
    let first = futures::stream::iter([Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from(text)))]);
    let end = futures::stream::once(async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        Ok(http_body::Frame::data(Bytes::new()))
    });
    StreamBody::new(first.chain(end)).boxed_unsync()
}

/// The value with other things at some places, counted from its root.
fn edited(mut value: Value, edits: &[(u16, Thing)]) -> Value {
    for (place, thing) in edits {
        let mut places = Vec::new();
        pointers(&value, &mut String::new(), &mut places);
        let at = |place: u16| places.get(usize::from(place) % places.len()).cloned().unwrap_or_default();
        let new = match thing {
            Thing::Null => Value::Null,
            Thing::Bool(value) => json!(value),
            Thing::Small(value) => json!(value),
            Thing::Number(value) => json!(value),
            Thing::Float(value) => json!(value),
            Thing::Text(value) => json!(value),
            Thing::Long(length) => json!("x".repeat(usize::from(*length))),
            Thing::List => json!([]),
            Thing::Object => json!({}),
            Thing::Other(place) => value.pointer(&at(*place)).cloned().unwrap_or_default(),
        };
        if let Some(old) = value.pointer_mut(&at(*place)) {
            *old = new;
        }
    }
    value
}

fn pointers(value: &Value, at: &mut String, all: &mut Vec<String>) {
    all.push(at.clone());
    let length = at.len();
    let mut visit = |key: &str, child: &Value, all: &mut Vec<String>| {
        at.push('/');
        at.push_str(&key.replace('~', "~0").replace('/', "~1"));
        pointers(child, at, all);
        at.truncate(length);
    };
    match value {
        Value::Array(items) => items.iter().enumerate().for_each(|(index, item)| visit(&index.to_string(), item, all)),
        Value::Object(fields) => fields.iter().for_each(|(key, field)| visit(key, field, all)),
        _ => {}
    }
}

/// What a well API server would say about a small shop.
fn true_answer(path: &str) -> Value {
    let last = path.rsplit('/').next().unwrap_or_default();
    let list = |items: Value| json!({ "metadata": { "resourceVersion": "9" }, "items": items });
    match last {
        "selfsubjectrulesreviews" => {
            json!({ "status": { "resourceRules": [{ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] }] } })
        }
        "selfsubjectaccessreviews" => json!({ "status": { "allowed": true } }),
        "scale" => json!({ "metadata": meta("web"), "spec": { "replicas": 2 }, "status": { "replicas": 2 } }),
        "replicasets" => list(json!([revision("web-1", "1"), revision("web-2", "2")])),
        "controllerrevisions" => list(json!([controller_revision("web-1", 1), controller_revision("web-2", 2)])),
        "pods" => list(json!([pod("web-2-a"), pod("web-2-b")])),
        "deployments" | "statefulsets" | "daemonsets" => list(json!([workload()])),
        "nodes" => list(json!([node()])),
        "log" => json!("2026-11-24T10:00:00.1Z password=hunter22"),
        _ if path.contains("/nodes/") => node(),
        _ if path.contains("/pods/") => pod("web"),
        _ if last == "web" => workload(),
        _ => list(json!([])),
    }
}

fn meta(name: &str) -> Value {
    json!({
        "name": name, "namespace": "shop", "uid": "1", "resourceVersion": "7", "generation": 2, "labels": { "app": "web" },
        "annotations": { "deployment.kubernetes.io/revision": "2" },
        "managedFields": [{ "manager": "action-runner/run", "subresource": "scale" }],
    })
}

fn template() -> Value {
    json!({ "metadata": { "labels": { "app": "web" }, "annotations": { "x": "y" } }, "spec": { "containers": [{ "name": "app", "image": "shop/web:1" }] } })
}

fn workload() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta("web"),
        "spec": { "replicas": 2, "selector": { "matchLabels": { "app": "web" } }, "template": template(), "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": 0 } }, "strategy": { "type": "RollingUpdate" } },
        "status": {
            "observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2, "currentReplicas": 2,
            "currentRevision": "web-2", "updateRevision": "web-2", "desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 2, "numberReady": 2, "collisionCount": 0,
            "conditions": [{ "type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable", "message": "done" }],
        },
    })
}

fn owned(mut object: Value, kind: &str) -> Value {
    object["ownerReferences"] =
        json!([{ "apiVersion": "apps/v1", "kind": kind, "name": "web", "uid": "1", "controller": true }]);
    object
}

fn revision(name: &str, number: &str) -> Value {
    let mut metadata = owned(meta(name), "Deployment");
    metadata["annotations"] = json!({ "deployment.kubernetes.io/revision": number });
    metadata["uid"] = json!(name);
    let mut template = template();
    template["spec"]["containers"][0]["image"] = json!(format!("shop/web:{number}"));
    json!({ "metadata": metadata, "spec": { "replicas": 2, "template": template }, "status": { "replicas": 2 } })
}

fn controller_revision(name: &str, number: u32) -> Value {
    json!({ "metadata": owned(meta(name), "StatefulSet"), "revision": number, "data": { "spec": { "template": template() } } })
}

fn pod(name: &str) -> Value {
    let mut metadata = owned(meta(name), "ReplicaSet");
    metadata["labels"]["pod-template-hash"] = json!("2");
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
        "spec": { "nodeName": "web", "containers": [{ "name": "app", "image": "shop/web:1" }] },
        "status": {
            "phase": "Running", "startTime": "2026-11-24T10:00:00Z",
            "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": "2026-11-24T10:00:00Z" }],
            "containerStatuses": [{ "name": "app", "ready": true, "restartCount": 1, "image": "shop/web:1", "imageID": "", "state": { "running": { "startedAt": "2026-11-24T10:00:00Z" } },
                "lastState": { "terminated": { "exitCode": 137, "reason": "OOMKilled", "startedAt": "2026-11-24T09:00:00Z", "finishedAt": "2026-11-24T10:00:00Z" } } }],
        },
    })
}

fn node() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": { "name": "web", "uid": "1", "resourceVersion": "7", "annotations": {} },
        "spec": { "unschedulable": false, "taints": [] }, "status": { "conditions": [{ "type": "Ready", "status": "True" }], "allocatable": { "cpu": "4", "memory": "8Gi", "pods": "110" } },
    })
}
