//! The revisions of a workload: a Deployment's ReplicaSets, a StatefulSet's or DaemonSet's ControllerRevisions.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::cluster::error::Result;
use crate::cluster::run::RunContext;
use crate::cluster::{Cluster, Item, Query, executions};
use crate::k8s::object::{annotation, controller, label, number, text, uid};
use crate::k8s::selector::selector;
use crate::k8s::template::{TEMPLATE_HASH, normalized};
use crate::k8s::{Kind, ObjectRef, Resource};
use crate::workload::lookup::{LiveObject, same};

/// Where a Deployment and its ReplicaSets keep the revision's number.
const NUMBER: &str = "deployment.kubernetes.io/revision";
/// Where a Deployment's controller keeps, on each ReplicaSet that it scales, the Deployment's own number.
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";

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

/// A ReplicaSet, cut down to what a wait for its Deployment needs.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(from = "Value")]
pub struct SetView {
    /// Its name.
    pub name: String,
    /// Its UID: what its pods' owner references say.
    pub uid: String,
    /// UID of the object that controls it.
    pub owner: Option<String>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// How many pods it is to have.
    pub replicas: i64,
    /// Whether its own controller has seen that.
    pub observed: bool,
    /// The Deployment's number when its controller last scaled this set.
    pub desired: Option<i64>,
    /// The label that its pods carry.
    pub pod_label: Option<String>,
    /// Its pod template, as [`normalized`] leaves it.
    pub template: Value,
}

impl Item for SetView {
    fn key(&self) -> &str {
        &self.name
    }
}

impl From<Value> for SetView {
    fn from(set: Value) -> Self {
        let own = |pointer: &str| text(&set, pointer).unwrap_or_default().to_owned();
        Self {
            name: own("/metadata/name"),
            uid: own("/metadata/uid"),
            owner: controller(&set).and_then(|owner| text(owner, "/uid")).map(str::to_owned),
            created: text(&set, "/metadata/creationTimestamp").and_then(|time| time.parse().ok()),
            replicas: set.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1),
            observed: number(&set, "/status/observedGeneration") >= number(&set, "/metadata/generation"),
            desired: annotation(&set, DESIRED).and_then(|number| number.parse().ok()),
            pod_label: label(&set, TEMPLATE_HASH).map(str::to_owned),
            template: set.pointer("/spec/template").map(normalized).unwrap_or_default(),
        }
    }
}

/// Where the revisions of a kind are served.
pub fn resource(kind: Kind) -> Resource {
    match kind {
        Kind::Deployment => Kind::ReplicaSet.resource(),
        _ => Resource::known(("apps", "v1"), "ControllerRevision", "controllerrevisions"),
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

/// A workload with its revisions, which are read after it. An execution of the same id may have come in between, and its mark
/// have reached a revision: then the workload is read again, so that it is not judged by how it was before that.
pub async fn beside(
    cluster: &Cluster,
    kind: Kind,
    mut found: LiveObject,
    run: &RunContext,
) -> Result<(LiveObject, Vec<Revision>)> {
    let revisions = list(cluster, kind, &found.object, &found.value).await?;
    let marked = revisions.iter().any(|revision| executions::of(run, &revision.object).is_some());
    if marked && executions::of(run, &found.value).is_none() {
        found.value = cluster.get(&found.object).await?;
        found.object = same(&found.object, uid(&found.value))?;
    }
    Ok((found, revisions))
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

/// The revision whose template the workload has now.
pub fn current<'a>(revisions: &'a [Revision], workload: &Value) -> Option<&'a Revision> {
    let template = normalized(workload.pointer("/spec/template")?);
    revisions.iter().find(|revision| revision.template == template)
}

/// The pod label of the revision that the workload has now, by what its controller made of it: a Deployment's ReplicaSet of
/// this template, what a StatefulSet says itself, a DaemonSet's newest revision. Its controller must have observed the
/// present generation; it may not have made the revision yet.
pub async fn current_pod_label(
    cluster: &Cluster,
    kind: Kind,
    workload: &ObjectRef,
    value: &Value,
    sets: &[SetView],
) -> Result<Option<String>> {
    match kind {
        Kind::StatefulSet => Ok(text(value, "/status/updateRevision").map(str::to_owned)),
        Kind::Deployment => {
            let template = value.pointer("/spec/template").map(normalized);
            // Of several equal ones its controller takes the oldest.
            let equal = sets.iter().filter(|set| Some(&set.template) == template.as_ref());
            let set = equal.min_by_key(|set| set.created);
            Ok(set.and_then(|set| set.pod_label.clone()))
        }
        // The controller numbers the revision of the present template above all others before it says that it observed it.
        // (By its template it cannot be told: what is stored may differ by defaults.)
        _ => {
            let revisions = list(cluster, kind, workload, value).await?;
            Ok(revisions.first().and_then(|revision| revision.pod_label.clone()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn template(image: &str) -> Value {
        json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [{ "image": image }] } })
    }

    #[test]
    fn reads_replica_sets_and_controller_revisions() {
        let mut kept = template("a");
        kept["metadata"]["labels"][TEMPLATE_HASH] = json!("h");
        kept["metadata"]["creationTimestamp"] = Value::Null;
        let set = json!({
            "metadata": { "name": "web-h", "annotations": { NUMBER: "7" }, "labels": { TEMPLATE_HASH: "h" } },
            "spec": { "template": kept },
        });
        let found = read(Kind::Deployment, set).unwrap();
        assert_eq!((found.name.as_str(), found.number, found.pod_label.as_deref()), ("web-h", 7, Some("h")));
        assert_eq!(found.template, template("a"));
        let mut kept = template("a");
        kept["$patch"] = json!("replace");
        let revision = json!({
            "metadata": { "name": "db-h", "labels": { "controller-revision-hash": "h" } }, "revision": 3,
            "data": { "spec": { "template": kept } },
        });
        for (kind, label) in [(Kind::StatefulSet, "db-h"), (Kind::DaemonSet, "h")] {
            let found = read(kind, revision.clone()).unwrap();
            assert_eq!((found.number, found.pod_label.as_deref(), found.template), (3, Some(label), template("a")));
        }
        assert!(read(Kind::Deployment, json!({ "metadata": { "name": "no-number" } })).is_none());
    }

    #[test]
    fn reads_what_a_wait_needs_of_a_replica_set() {
        let mut kept = template("a");
        kept["metadata"]["labels"][TEMPLATE_HASH] = json!("h");
        let set: SetView = serde_json::from_value(json!({
            "metadata": { "name": "web-h", "uid": "s", "generation": 3, "creationTimestamp": "2026-01-01T00:00:00Z", "annotations": { DESIRED: "5" }, "labels": { TEMPLATE_HASH: "h" },
                "ownerReferences": [{ "controller": true, "uid": "d" }] },
            "spec": { "replicas": 2, "template": kept }, "status": { "observedGeneration": 2 },
        }))
        .unwrap();
        let expected = SetView {
            name: "web-h".to_owned(),
            uid: "s".to_owned(),
            owner: Some("d".to_owned()),
            created: Some("2026-01-01T00:00:00Z".parse().unwrap()),
            replicas: 2,
            observed: false,
            desired: Some(5),
            pod_label: Some("h".to_owned()),
            template: template("a"),
        };
        assert_eq!((set.key(), &set), ("web-h", &expected));
    }

    #[test]
    fn the_present_one_has_the_workloads_template() {
        let revision = |name: &str, image: &str| Revision {
            name: name.to_owned(),
            number: 1,
            pod_label: None,
            template: template(image),
            object: Value::Null,
        };
        let all = [revision("a", "a"), revision("b", "b")];
        let now = |image: &str| {
            current(&all, &json!({ "spec": { "template": template(image) } })).map(|one| one.name.as_str())
        };
        assert_eq!((now("b"), now("c")), (Some("b"), None));
    }

    #[test]
    fn belongs_to_the_workload_that_controls_it() {
        let workload = ObjectRef {
            resource: Kind::Deployment.resource(),
            namespace: "shop".parse().ok(),
            name: "web".parse().unwrap(),
            uid: Some("u".to_owned()),
        };
        let owned = |uid: &str| json!({ "metadata": { "ownerReferences": [{ "uid": uid, "controller": true }] } });
        assert!(
            owned_by(&owned("u"), &workload) && !owned_by(&owned("x"), &workload) && !owned_by(&json!({}), &workload)
        );
        assert_eq!(resource(Kind::Deployment).plural(), "replicasets");
        assert_eq!(resource(Kind::DaemonSet).plural(), "controllerrevisions");
    }
}
