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
use crate::workload::Condition;
use crate::workload::lookup::{LiveObject, same};

/// Annotation with the revision's number, on a Deployment and its ReplicaSets.
const NUMBER: &str = "deployment.kubernetes.io/revision";
/// Annotation in which a Deployment's controller keeps, on each ReplicaSet that it scales, the Deployment's own number.
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";

/// One revision.
#[derive(Debug, Clone)]
pub struct Revision {
    /// Name of the revision's object. The name stays, the number moves when an old revision comes back.
    pub name: String,
    /// Number; the highest is the newest.
    pub number: i64,
    /// Value of the label on the revision's pods.
    pub pod_label: Option<String>,
    /// Pod template, raw: typed structs would drop unknown fields.
    pub template: Value,
    /// The object itself, for its annotations.
    pub object: Value,
}

/// A ReplicaSet, reduced to what a wait for its Deployment needs.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(from = "Value")]
pub struct SetView {
    /// Name.
    pub name: String,
    /// UID, to which the owner references of pods point.
    pub uid: String,
    /// UID of the controlling owner.
    pub owner: Option<String>,
    /// Time of creation.
    pub created: Option<Timestamp>,
    /// Number of pods that the set shall have.
    pub replicas: i64,
    /// True when the set's own controller has seen this number.
    pub observed: bool,
    /// Number of the Deployment when its controller last scaled this set.
    pub desired: Option<i64>,
    /// Value of the label on the set's pods.
    pub pod_label: Option<String>,
    /// Pod template, as [`normalized`] leaves it.
    pub template: Value,
    /// Reason why the set's pods cannot be made.
    pub failure: Option<Condition>,
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
            failure: Condition::replica_failure(&set),
        }
    }
}

/// Returns the resource of a kind's revisions.
pub fn resource(kind: Kind) -> Resource {
    match kind {
        Kind::Deployment => Kind::ReplicaSet.resource(),
        _ => Resource::known(("apps", "v1"), "ControllerRevision", "controllerrevisions"),
    }
}

/// Lists the revisions of a workload, newest first; only those that it controls itself.
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

/// Returns a workload with its revisions, which are read after it. If an execution of the same id came in between and
/// its mark has reached a revision, the workload is read again, so that the decision is not made on its old state.
pub async fn beside(
    cluster: &Cluster,
    kind: Kind,
    mut found: LiveObject,
    run: &RunContext,
) -> Result<(LiveObject, Vec<Revision>)> {
    let revisions = list(cluster, kind, &found.object, &found.value).await?;
    let marked = revisions.iter().any(|revision| !executions::of(run, &revision.object).is_empty());
    if marked && executions::of(run, &found.value).is_empty() {
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

/// Returns the revision whose template the workload has now.
pub fn current<'a>(revisions: &'a [Revision], workload: &Value) -> Option<&'a Revision> {
    let template = normalized(workload.pointer("/spec/template")?);
    revisions.iter().find(|revision| revision.template == template)
}

/// Returns the pod label of the workload's current revision: from a Deployment's ReplicaSet of this template, a
/// StatefulSet's own status, or a DaemonSet's newest revision. The controller must have observed the current
/// generation; it may not have made the revision yet.
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
            // If several are equal, the controller takes the oldest.
            let equal = sets.iter().filter(|set| Some(&set.template) == template.as_ref());
            let set = equal.min_by_key(|set| set.created);
            Ok(set.and_then(|set| set.pod_label.clone()))
        }
        // The controller numbers the revision of the current template above all others before it reports the generation
        // as observed. (The template cannot identify the revision: the stored one may differ by defaults.)
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
            failure: None,
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
