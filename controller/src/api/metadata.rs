//! What is kept of an object's metadata. Who wrote which field (`managedFields`) is longer than all else in it, and as a tree of
//! small pieces takes many times its length: it is not even read. Of annotations, which may hold 256 KiB, ours are kept.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

use super::{GROUP, MANAGED_BY};

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Kept {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    deletion_grace_period_seconds: Option<i64>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    finalizers: Option<Vec<String>>,
    owner_references: Option<Vec<OwnerReference>>,
}

/// Reads metadata without that.
pub fn kept<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let mut kept = Kept::deserialize(deserializer)?;
    if let Some(annotations) = &mut kept.annotations {
        annotations.retain(|name, _| name.starts_with(GROUP));
    }
    Ok(ObjectMeta {
        name: kept.name,
        namespace: kept.namespace,
        uid: kept.uid,
        resource_version: kept.resource_version,
        generation: kept.generation,
        creation_timestamp: kept.creation_timestamp,
        deletion_timestamp: kept.deletion_timestamp,
        deletion_grace_period_seconds: kept.deletion_grace_period_seconds,
        labels: kept.labels,
        annotations: kept.annotations,
        finalizers: kept.finalizers,
        owner_references: kept.owner_references,
        ..ObjectMeta::default()
    })
}

/// Reads the metadata of a Job or a pod: of its labels and annotations those that we ask for, which are few of many.
pub fn ours<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let mut metadata = kept(deserializer)?;
    let asked_for = |name: &String| name.starts_with(GROUP) || name == MANAGED_BY;
    for all in [&mut metadata.labels, &mut metadata.annotations] {
        *all = all.take().map(|all| all.into_iter().filter(|(name, _)| asked_for(name)).collect());
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn of_a_job_what_is_asked_for_is_kept() {
        let all = json!({ MANAGED_BY: "execution-controller", "kubernetesexecution.kubernaut.io/execution": "up", "batch.kubernetes.io/job-name": "x" });
        let read = ours(json!({ "name": "up-job", "labels": all, "annotations": all })).unwrap();
        let ours = json!({ "kubernetesexecution.kubernaut.io/execution": "up" });
        let labels = json!({ MANAGED_BY: "execution-controller", "kubernetesexecution.kubernaut.io/execution": "up" });
        assert_eq!(
            serde_json::to_value(read).unwrap(),
            json!({ "name": "up-job", "labels": labels, "annotations": ours })
        );
    }

    /// All that the API server sends, but for what is too long.
    #[test]
    fn all_else_is_kept() {
        let mut sent = json!({
            "name": "up", "namespace": "shop", "uid": "u", "resourceVersion": "7", "generation": 2,
            "creationTimestamp": "2026-11-26T05:00:00Z", "deletionTimestamp": "2026-11-26T06:00:00Z", "deletionGracePeriodSeconds": 0,
            "labels": { "a": "b" }, "annotations": { "kubernetesexecution.kubernaut.io/c": "d" }, "finalizers": ["e"],
            "ownerReferences": [{ "apiVersion": "v1", "kind": "K", "name": "n", "uid": "o", "controller": true }],
        });
        let expected = sent.clone();
        sent["managedFields"] = json!([{ "manager": "kubectl", "fieldsV1": { "f:spec": {} } }]);
        sent["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = json!("{}");
        assert_eq!(serde_json::to_value(kept(sent).unwrap()).unwrap(), expected);
        assert_eq!(serde_json::to_value(kept(json!({})).unwrap()).unwrap(), json!({}));
        assert!(kept(Value::from("none")).is_err());
    }
}
