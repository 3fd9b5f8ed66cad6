//! The revisions of a workload: a Deployment's ReplicaSets, a StatefulSet's or DaemonSet's ControllerRevisions.

use serde_json::Value;

use crate::cluster::{Cluster, Query};
use crate::error::Result;
use crate::object::{Kind, ObjectRef, Resource, annotation, controller, label, number, text};
use crate::workload::selector;

/// Where a Deployment and its ReplicaSets keep the revision's number.
const NUMBER: &str = "deployment.kubernetes.io/revision";
/// The label that tells a Deployment's pods by revision; the controller adds it to the template it stores.
const TEMPLATE_HASH: &str = "pod-template-hash";

/// One revision.
#[derive(Debug, Clone)]
pub struct Revision {
    /// The object that holds it. Its name stays, its number moves when an old revision comes back.
    pub name: String,
    /// Its number; the highest is the newest.
    pub number: i64,
    /// The value of the label that its pods carry.
    pub pod_label: Option<String>,
    /// The pod template, raw: typed structs would drop fields that they do not know.
    pub template: Value,
    /// The object itself, for its annotations.
    pub object: Value,
}

/// Where the revisions of a kind are served.
pub fn resource(kind: Kind) -> Resource {
    match kind {
        Kind::Deployment => Kind::ReplicaSet.resource(),
        // The API group and names are constants that pass their own checks.
        _ => Resource::discovered("apps/v1", "ControllerRevision", "controllerrevisions", true)
            .unwrap_or_else(|_| Kind::ReplicaSet.resource()),
    }
}

/// The revisions of a workload, newest first; only those that it controls itself.
pub async fn list(cluster: &Cluster, kind: Kind, workload: &ObjectRef, value: &Value) -> Result<Vec<Revision>> {
    let query = Query::beside(workload, resource(kind), selector(value));
    let (objects, _) = cluster.list::<Value>(&query).await?;
    let mut revisions: Vec<Revision> = objects
        .into_iter()
        .filter(|object| owned_by(object, workload))
        .filter_map(|object| read(kind, object))
        .collect();
    revisions.sort_by_key(|revision| std::cmp::Reverse(revision.number));
    Ok(revisions)
}

fn owned_by(object: &Value, workload: &ObjectRef) -> bool {
    controller(object).and_then(|owner| text(owner, "/uid")) == workload.uid.as_deref()
}

fn read(kind: Kind, object: Value) -> Option<Revision> {
    let name = text(&object, "/metadata/name")?.to_owned();
    if kind == Kind::Deployment {
        let number = annotation(&object, NUMBER)?.parse().ok()?;
        let pod_label = label(&object, TEMPLATE_HASH).map(str::to_owned);
        let template = normalized(object.pointer("/spec/template")?);
        return Some(Revision { name, number, pod_label, template, object });
    }
    // Pods of a StatefulSet carry the revision's whole name, those of a DaemonSet its hash.
    let pod_label = if kind == Kind::StatefulSet {
        Some(name.clone())
    } else {
        label(&object, "controller-revision-hash").map(str::to_owned)
    };
    let template = normalized(object.pointer("/data/spec/template")?);
    Some(Revision { name, number: number(&object, "/revision"), pod_label, template, object })
}

/// A pod template without what controllers add to the copies they keep.
pub fn normalized(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(fields) = template.as_object_mut() {
        // A ControllerRevision's data is a strategic merge patch.
        fields.remove("$patch");
    }
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("creationTimestamp");
        if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
            labels.remove(TEMPLATE_HASH);
        }
    }
    template
}

/// The revision whose template the workload has now.
pub fn current<'a>(revisions: &'a [Revision], workload: &Value) -> Option<&'a Revision> {
    let template = normalized(workload.pointer("/spec/template")?);
    revisions.iter().find(|revision| revision.template == template)
}

/// The pod label of the revision that the workload has now: a StatefulSet says it itself.
pub async fn current_pod_label(
    cluster: &Cluster,
    kind: Kind,
    workload: &ObjectRef,
    value: &Value,
) -> Result<Option<String>> {
    if kind == Kind::StatefulSet {
        return Ok(text(value, "/status/updateRevision").map(str::to_owned));
    }
    let revisions = list(cluster, kind, workload, value).await?;
    // A DaemonSet's template in a revision may differ from the object's by defaults; the newest is then the current one.
    let newest = revisions.first().filter(|_| kind != Kind::Deployment);
    let current = current(&revisions, value).or(newest);
    Ok(current.and_then(|revision| revision.pod_label.clone()))
}
