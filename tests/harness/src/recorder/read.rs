//! From an object, as the API server has it, to what is kept of it.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use serde_json::Value;

use super::seen::{Facts, Kind, Owner, Pod, Seen, Workload};

/// The annotations that the runner writes begin with this.
const OURS: &str = "kubernetesexecution.kubernaut.io/";
/// The label by which pods of sets tell their revision.
const REVISION: &str = "controller-revision-hash";

impl Seen {
    /// What matters of an object; nothing when it is none.
    pub fn read(kind: Kind, object: &Value) -> Option<Self> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let name = text("/metadata/name");
        let label = object["metadata"]["labels"][REVISION].as_str();
        let revision = if kind == Kind::ControllerRevision { Some(label.unwrap_or(&name)) } else { label };
        let template = if kind == Kind::ControllerRevision { "/data/spec/template" } else { "/spec/template" };
        Some(Self {
            kind,
            uid: object.pointer("/metadata/uid")?.as_str()?.to_owned(),
            namespace: text("/metadata/namespace"),
            owner: owner(object),
            generation: number(object, "/metadata/generation"),
            leaving: object["metadata"]["deletionTimestamp"].is_string(),
            marks: marks(object),
            content: content(object),
            template: object.pointer(template).filter(|_| kind != Kind::Pod).map(template_hash),
            revision: revision.unwrap_or_default().to_owned(),
            said: if kind == Kind::Pod { said(object) } else { Vec::new() },
            facts: facts(kind, object),
            name,
        })
    }
}

fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

fn owner(object: &Value) -> Option<Owner> {
    let all = object["metadata"]["ownerReferences"].as_array()?;
    let controller = all.iter().find(|one| one["controller"] == true)?;
    let text = |field: &str| controller[field].as_str().unwrap_or_default().to_owned();
    Some(Owner { kind: text("kind"), uid: text("uid") })
}

fn marks(object: &Value) -> String {
    let annotations = object["metadata"]["annotations"].as_object().into_iter().flatten();
    let ours = annotations.filter(|(key, _)| key.starts_with(OURS));
    ours.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect::<Vec<_>>().join("\n")
}

/// A hash of JSON. (Maps are sorted: the same content is the same text.)
fn hash(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.to_string().hash(&mut hasher);
    hasher.finish()
}

fn content(object: &Value) -> u64 {
    let mut annotations = object["metadata"]["annotations"].clone();
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.retain(|key, _| !key.starts_with("deployment.kubernetes.io/"));
    }
    let none = annotations.as_object().is_none_or(serde_json::Map::is_empty);
    hash(&serde_json::json!([object["spec"], if none { Value::Null } else { annotations }]))
}

/// A template without what controllers add to the copies that they keep of it.
fn template_hash(template: &Value) -> u64 {
    let mut template = template.clone();
    if let Some(fields) = template.as_object_mut() {
        fields.remove("$patch");
    }
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("creationTimestamp");
        if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
            labels.remove("pod-template-hash");
        }
    }
    hash(&template)
}

fn said(pod: &Value) -> Vec<String> {
    fn words(value: &Value, into: &mut Vec<String>) {
        match value {
            Value::Array(all) => all.iter().for_each(|one| words(one, into)),
            Value::Object(all) => all.iter().for_each(|(key, one)| match one {
                Value::String(text) if matches!(key.as_str(), "message" | "reason") => into.push(text.clone()),
                one => words(one, into),
            }),
            _ => {}
        }
    }
    let mut said = Vec::new();
    words(&pod["status"], &mut said);
    said.extend(pod["status"]["phase"].as_str().map(str::to_owned));
    let finalizers = pod["metadata"]["finalizers"].as_array().into_iter().flatten();
    said.extend(finalizers.filter_map(|one| one.as_str().map(str::to_owned)));
    said
}

fn facts(kind: Kind, object: &Value) -> Facts {
    match kind {
        Kind::Pod => Facts::Pod(pod(object)),
        Kind::Job => Facts::Job { wanted: job(object) },
        Kind::Node => Facts::Node { unschedulable: object["spec"]["unschedulable"] == true },
        Kind::ControllerRevision => Facts::None,
        _ => Facts::Workload(workload(kind, object)),
    }
}

fn pod(object: &Value) -> Pod {
    let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let ready = conditions.find(|one| one["type"] == "Ready" && one["status"] == "True");
    let containers = object["spec"]["containers"].as_array().into_iter().flatten();
    let unprobed = containers.filter(|one| one["readinessProbe"].is_null()).filter_map(|one| one["name"].as_str());
    let statuses = object["status"]["containerStatuses"].as_array();
    let status = |name: &str| statuses.and_then(|all| all.iter().find(|one| one["name"] == name));
    let instance = |name: &str| {
        let status = status(name);
        let id = status.and_then(|one| one["containerID"].as_str()).unwrap_or_default().to_owned();
        (id, status.map_or(0, |one| number(one, "/restartCount")))
    };
    let index = object["metadata"]["labels"]["apps.kubernetes.io/pod-index"].as_str();
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let lives = statuses.into_iter().flatten().filter_map(|one| {
        let last = &one["lastState"]["terminated"];
        let of = |field: &str| last[field].as_str()?.parse::<jiff::Timestamp>().ok();
        std::time::Duration::try_from(of("finishedAt")?.duration_since(of("startedAt")?)).ok()
    });
    Pod {
        node: object["spec"]["nodeName"].as_str().map(str::to_owned),
        ready: ready.is_some(),
        ready_since: ready.and_then(|one| one["lastTransitionTime"].as_str()?.parse().ok()),
        finished: matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed")),
        ordinal: index.or(name.rsplit_once('-').map(|(_, last)| last)).and_then(|index| index.parse().ok()),
        unprobed: unprobed.map(|name| (name.to_owned(), instance(name))).collect(),
        lived: lives.max(),
    }
}

/// How many pods a Job wants to have running now: none when it has come to its end.
fn job(object: &Value) -> i64 {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let ends = ["Complete", "Failed", "SuccessCriteriaMet", "FailureTarget", "Suspended"];
    let over = |one: &Value| one["status"] == "True" && ends.iter().any(|end| one["type"] == *end);
    if conditions.clone().any(over) {
        return 0;
    }
    let parallel = object["spec"]["parallelism"].as_i64().unwrap_or(1);
    let succeeded = number(object, "/status/succeeded");
    match object["spec"]["completions"].as_i64() {
        Some(all) => (all - succeeded - failed_indexes(object)).clamp(0, parallel.max(0)),
        // A work queue starts no more when one of its pods has ended well.
        None if succeeded > 0 => 0,
        None => parallel,
    }
}

/// Indexes that are not started again: `1,3-5` are four.
fn failed_indexes(object: &Value) -> i64 {
    let ranges = object["status"]["failedIndexes"].as_str().unwrap_or_default().split(',');
    let ends = |range: &str| range.split('-').filter_map(|end| end.parse::<i64>().ok()).collect::<Vec<_>>();
    ranges.map(ends).filter_map(|ends| Some(ends.last()? - ends.first()? + 1)).sum()
}

fn workload(kind: Kind, object: &Value) -> Workload {
    let replicas = object["spec"]["replicas"].as_i64().unwrap_or(1);
    // Those on nodes that it would not choose any more run on.
    let daemons = number(object, "/status/desiredNumberScheduled") + number(object, "/status/numberMisscheduled");
    let strategy = &object["spec"]["updateStrategy"];
    Workload {
        wanted: if kind == Kind::DaemonSet { daemons } else { replicas },
        observed: number(object, "/status/observedGeneration"),
        min_ready: u64::try_from(number(object, "/spec/minReadySeconds")).unwrap_or(0),
        paused: object["spec"]["paused"] == true,
        on_delete: strategy["type"] == "OnDelete",
        first: number(object, "/spec/ordinals/start"),
        partition: number(strategy, "/rollingUpdate/partition"),
        surge: surge(&object["spec"]["strategy"]["rollingUpdate"]["maxSurge"], replicas),
    }
}

/// A Deployment's `maxSurge` in pods: a number, or a part of the replicas, rounded up.
fn surge(max: &Value, replicas: i64) -> i64 {
    let percent = max.as_str().and_then(|text| text.strip_suffix('%')?.parse::<i64>().ok());
    percent.map_or_else(|| max.as_i64().unwrap_or(0), |percent| (replicas * percent + 99) / 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_revision_has_the_template_that_its_workload_had() {
        let template = json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [] } });
        let mut copy = template.clone();
        copy["metadata"]["labels"]["pod-template-hash"] = json!("abc");
        copy["metadata"]["creationTimestamp"] = json!(null);
        let seen = |kind, template: &Value| {
            let object = json!({ "metadata": { "uid": "u" }, "spec": { "template": template } });
            Seen::read(kind, &object).unwrap().template
        };
        assert_eq!(seen(Kind::Deployment, &template), seen(Kind::ReplicaSet, &copy));
        let mut kept = template.clone();
        kept["$patch"] = json!("replace");
        let object = json!({ "metadata": { "uid": "u", "name": "db-1" }, "data": { "spec": { "template": kept } } });
        let revision = Seen::read(Kind::ControllerRevision, &object).unwrap();
        assert_eq!((revision.template, revision.revision.as_str()), (seen(Kind::StatefulSet, &template), "db-1"));
    }

    #[test]
    fn what_a_job_wants() {
        let job = |status: Value| {
            let spec = json!({ "parallelism": 2, "completions": 3 });
            Seen::read(Kind::Job, &json!({ "metadata": { "uid": "u" }, "spec": spec, "status": status })).unwrap().facts
        };
        assert_eq!(job(json!({})), Facts::Job { wanted: 2 });
        assert_eq!(job(json!({ "succeeded": 2 })), Facts::Job { wanted: 1 });
        let complete = json!({ "succeeded": 1, "conditions": [{ "type": "Failed", "status": "True" }] });
        assert_eq!(job(complete), Facts::Job { wanted: 0 });
    }

    #[test]
    fn a_part_of_the_replicas_is_rounded_up() {
        assert_eq!((surge(&json!("25%"), 3), surge(&json!(2), 3), surge(&Value::Null, 3)), (1, 2, 0));
    }
}
