//! Histories that are made up: objects come, change and go, a run begins, looks, and says something.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::recorder::{Kind, Log};
use crate::verdict::{Case, Stands, Verdict, judge};

/// A history in the making. Times are seconds since the beginning.
pub struct Tale {
    log: Log,
    began: Instant,
    seconds: f64,
    rv: u64,
    start: u64,
    first: Option<u64>,
    started: f64,
    looked: u64,
    lines: Vec<Value>,
    events: usize,
    stands: Option<Stands>,
}

/// What a run says when it is done.
pub fn says(action: &str, kind: &str, uid: &str, details: Value) -> Value {
    json!({
        "success": true, "code": "Changed", "effect": "applied", "actionType": action, "actionId": "the-id",
        "target": { "kind": kind, "name": uid, "namespace": "shop", "uid": uid }, "parameters": {}, "details": details,
    })
}

/// The numbers of a run that counts rightly.
pub fn pods(new: u64) -> Value {
    json!({ "new": new, "old": 0, "notReady": 0, "terminating": 0, "outOfReach": 0 })
}

/// The same, when it gives up.
pub fn fails(action: &str, kind: &str, uid: &str, parameters: Value) -> Value {
    let mut result = says(action, kind, uid, json!({}));
    result["success"] = json!(false);
    result["code"] = json!("NotVerified");
    result["failedPhase"] = json!("verify");
    result["error"] = json!("it did not come");
    result["parameters"] = parameters;
    result
}

impl Tale {
    /// A deployment of three pods on its first template, and a set of three.
    pub fn new() -> Self {
        let began = Instant::now();
        let (log, lines) = (Log::default(), Vec::new());
        Self {
            log,
            began,
            seconds: 0.0,
            rv: 1,
            start: 0,
            first: None,
            started: 0.0,
            looked: 0,
            lines,
            events: 0,
            stands: None,
        }
    }

    fn moment(&self, seconds: f64) -> Instant {
        self.began + Duration::from_secs_f64(seconds)
    }

    /// Time passes until then.
    pub fn at(&mut self, seconds: f64) -> &mut Self {
        assert!(seconds >= self.seconds);
        self.seconds = seconds;
        self
    }

    /// An object is made or changed.
    pub fn put(&mut self, kind: Kind, mut object: Value) -> &mut Self {
        self.rv += 1;
        object["metadata"]["resourceVersion"] = json!(self.rv.to_string());
        object["metadata"]["namespace"] = json!("shop");
        let arrived = self.moment(self.seconds);
        self.log.seen(kind, &object, arrived, false);
        self
    }

    /// A pod is gone.
    pub fn gone(&mut self, uid: &str) -> &mut Self {
        self.rv += 1;
        let arrived = self.moment(self.seconds);
        self.log.gone(Kind::Pod, uid, self.rv, arrived, false);
        self
    }

    /// The record has a gap from here on, and goes on with these pods.
    pub fn gap(&mut self, pods: &[Value]) -> &mut Self {
        let before = self.rv;
        self.log.progress(Kind::Pod, before);
        self.rv += 10;
        let mut items = pods.to_vec();
        for pod in &mut items {
            pod["metadata"]["resourceVersion"] = json!((self.rv - 1).to_string());
            pod["metadata"]["namespace"] = json!("shop");
        }
        let list = json!({ "metadata": { "resourceVersion": self.rv.to_string() }, "items": items });
        let arrived = self.moment(self.seconds);
        self.log.listed(Kind::Pod, &list, arrived);
        self.looked = before + 1;
        self
    }

    /// The run begins; what has its id and began before that was the first.
    pub fn begins(&mut self) -> &mut Self {
        self.start = self.rv;
        self.first.get_or_insert(self.rv);
        self.started = self.seconds;
        self
    }

    /// The run looks for the last time.
    pub fn looks(&mut self) -> &mut Self {
        self.looked = self.rv;
        self
    }

    /// It hands out a line of this pod.
    pub fn line(&mut self, pod: &str) -> &mut Self {
        self.lines.push(json!({ "kind": "LogLine", "pod": pod }));
        self
    }

    /// An event is posted.
    pub fn event(&mut self) -> &mut Self {
        self.events += 1;
        self
    }

    /// What stands in the cluster when it has ended.
    pub fn stands(&mut self, stands: Stands) -> &mut Self {
        self.stands = Some(stands);
        self
    }

    /// The run ends now and says this; its look is in it unless it speaks of it itself.
    pub fn judged(&self, mut result: Value, exit: f64) -> Verdict {
        if result["success"] == true && result["details"]["verifiedAt"].is_null() {
            let all = Kind::ALL.map(|kind| (kind.plural().to_owned(), json!(self.looked.to_string())));
            result["details"]["verifiedAt"] = Value::Object(all.into_iter().collect());
        }
        judge(&Case {
            result: &result,
            lines: &self.lines,
            start: self.start,
            first: self.first.unwrap_or(self.start),
            began: self.moment(self.started),
            exit: self.moment(exit),
            end: self.rv,
            history: &self.log.history("shop"),
            selected: None,
            events: self.events,
            stands: self.stands.clone(),
        })
    }
}

fn owner(kind: &str, uid: &str) -> Value {
    json!([{ "kind": kind, "name": uid, "uid": uid, "controller": true }])
}

fn template(number: u64) -> Value {
    json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "image": number } })
}

/// Lays one JSON over another.
pub fn with(mut object: Value, extra: Value) -> Value {
    fn lay(under: &mut Value, over: Value) {
        match (under, over) {
            (Value::Object(under), Value::Object(over)) => {
                for (key, value) in over {
                    lay(under.entry(key).or_insert(Value::Null), value);
                }
            }
            (under, over) => *under = over,
        }
    }
    lay(&mut object, extra);
    object
}

/// A workload of this kind's name in lower case, at a generation that its controller has seen, with a template.
pub fn workload(kind: &str, replicas: i64, generation: i64, number: u64) -> Value {
    let name = kind.to_lowercase();
    json!({
        "metadata": { "uid": name, "name": name, "generation": generation, "annotations": {} },
        "spec": { "replicas": replicas, "template": template(number) },
        "status": { "observedGeneration": generation, "desiredNumberScheduled": replicas },
    })
}

/// The same, marked by the execution of this id.
pub fn marked(object: Value, id: &str) -> Value {
    let marks = format!(r#"[{{"id":"{id}"}}]"#);
    with(object, json!({ "metadata": { "annotations": { "kubernetesexecution.kubernaut.io/executions": marks } } }))
}

/// A revision of the Deployment.
pub fn replica_set(number: u64) -> Value {
    let name = format!("rs-{number}");
    let mut object = json!({
        "metadata": { "uid": name, "name": name, "ownerReferences": owner("Deployment", "deployment") },
        "spec": { "replicas": 3, "template": template(number) },
    });
    object["spec"]["template"]["metadata"]["labels"]["pod-template-hash"] = json!(name);
    object
}

/// A revision of a set.
pub fn revision(kind: &str, number: u64) -> Value {
    let name = format!("revision-{number}");
    let set = kind.to_lowercase();
    json!({
        "metadata": { "uid": name, "name": name, "ownerReferences": owner(kind, &set) },
        "data": { "spec": { "template": with(template(number), json!({ "$patch": "replace" })) } },
    })
}

/// A pod of a revision, ready, with a readiness probe.
pub fn pod(uid: &str, revision: u64) -> Value {
    let name = format!("rs-{revision}");
    json!({
        "metadata": { "uid": uid, "name": uid, "ownerReferences": owner("ReplicaSet", &name) },
        "spec": { "containers": [{ "name": "app", "readinessProbe": {} }] },
        "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] },
    })
}

/// A pod of a set: its ordinal is in its name.
pub fn member(kind: &str, uid: &str, name: &str, revision: u64) -> Value {
    let labels = json!({ "controller-revision-hash": format!("revision-{revision}") });
    let set = kind.to_lowercase();
    let metadata = json!({ "name": name, "labels": labels, "ownerReferences": owner(kind, &set) });
    with(pod(uid, 0), json!({ "metadata": metadata, "spec": { "nodeName": name } }))
}

/// A pod that somebody else's controller owns.
pub fn owned_by(pod: Value, kind: &str, uid: &str) -> Value {
    with(pod, json!({ "metadata": { "ownerReferences": owner(kind, uid) } }))
}

/// On its way out.
pub fn leaving(object: Value) -> Value {
    with(object, json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } }))
}

/// Not ready.
pub fn unready(pod: Value) -> Value {
    with(pod, json!({ "status": { "conditions": [{ "type": "Ready", "status": "False" }] } }))
}

/// Ran to its end.
pub fn failed(pod: Value) -> Value {
    with(unready(pod), json!({ "status": { "phase": "Failed" } }))
}

/// Without a readiness probe, in its so manieth instance.
pub fn bare(pod: Value, instance: u64) -> Value {
    let status = json!([{ "name": "app", "containerID": format!("c-{instance}"), "restartCount": instance }]);
    with(pod, json!({ "spec": { "containers": [{ "name": "app" }] }, "status": { "containerStatuses": status } }))
}
