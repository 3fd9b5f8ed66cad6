//! Documents about nodes: their resources, and the requests of their pods.

use std::collections::BTreeMap;

use actions::cluster::error::Result;
use actions::cluster::{Cluster, Query};
use actions::k8s::Kind;
use actions::k8s::object::text;
use actions::k8s::quantity::quantity;
use actions::k8s::taint::Taint;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::pods::{Resources, requests};
use super::{Document, Entry};

/// One node.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeDocument {
    /// Name.
    pub name: String,
    /// True when the `Ready` condition is true.
    pub ready: bool,
    /// True when the node is cordoned.
    pub unschedulable: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Taints.
    pub taints: Vec<Taint>,
    /// Resources for pods.
    pub allocatable: Room,
    /// Sum of the requests of the node's pods.
    pub requested: Room,
}

/// CPU, memory and pods.
#[derive(Debug, Clone, Copy, Default, Serialize, JsonSchema)]
pub struct Room {
    /// Cores.
    pub cpu: f64,
    /// Bytes.
    pub memory: f64,
    /// Pods.
    pub pods: f64,
}

impl Document for NodeDocument {
    fn read(node: &Value) -> Self {
        let labels = node.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
        let conditions = node.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
        let amount = |name: &str| node.pointer("/status/allocatable").and_then(|all| quantity(all.get(name)?));
        let amount = |name| amount(name).unwrap_or(0.0);
        let own = |value: &Value, pointer: &str| text(value, pointer).unwrap_or_default().to_owned();
        Self {
            name: own(node, "/metadata/name"),
            ready: { conditions }
                .any(|one| text(one, "/type") == Some("Ready") && text(one, "/status") == Some("True")),
            unschedulable: node.pointer("/spec/unschedulable").and_then(Value::as_bool) == Some(true),
            labels: labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect(),
            taints: Taint::all_of(node),
            allocatable: Room { cpu: amount("cpu"), memory: amount("memory"), pods: amount("pods") },
            requested: Room::default(),
        }
    }
}

/// The part of a node that a pod takes; nothing else is kept of each of a cluster's pods.
#[derive(Debug)]
struct Share {
    node: String,
    requests: Resources,
}

impl Document for Share {
    fn read(pod: &Value) -> Self {
        let finished = matches!(text(pod, "/status/phase"), Some("Succeeded" | "Failed"));
        let node = text(pod, "/spec/nodeName").filter(|_| !finished).unwrap_or_default();
        Self { node: node.to_owned(), requests: pod.get("spec").map(requests).unwrap_or_default() }
    }
}

/// Returns the requests of all pods, by node.
pub(super) async fn requested(cluster: &Cluster) -> Result<BTreeMap<String, Room>> {
    let query =
        Query { resource: Kind::Pod.resource(), namespace: None, labels: String::new(), name: None, field: None };
    let (pods, _) = cluster.list::<Entry<Share>>(&query).await?;
    let mut sums: BTreeMap<String, (Resources, u32)> = BTreeMap::new();
    for Share { node, requests } in pods.into_iter().map(Entry::into_document).filter(|share| !share.node.is_empty()) {
        let (sum, count) = sums.entry(node).or_default();
        *sum = sum.plus(requests);
        *count += 1;
    }
    let room = |(sum, count): (Resources, u32)| {
        let sum = sum.rounded();
        Room { cpu: sum.cpu, memory: sum.memory, pods: f64::from(count) }
    };
    Ok(sums.into_iter().map(|(node, share)| (node, room(share))).collect())
}
