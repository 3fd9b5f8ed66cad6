//! The details of a rollback's result.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::cluster::observed::{Obstacle, PodCounts, Versions};
use crate::k8s::object::text;
use crate::workload::revisions::Revision;

/// One revision, as results name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionName {
    /// Name of the revision's object.
    pub name: String,
    /// Number when the revision was read; an old revision that comes back gets a new number.
    pub number: i64,
    /// Images of the containers.
    pub images: Vec<String>,
}

/// Details of the result of `rollback`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// The revision before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_revision: Option<RevisionName>,
    /// The revision that was put back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_revision: Option<RevisionName>,
    /// Number of pods that there shall be; absent when the run did not wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_replicas: Option<i64>,
    /// Number of ready pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i64>,
    /// The workload's pods, as last seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodCounts>,
    /// The resourceVersion of each followed list at that moment.
    #[serde(default, skip_serializing_if = "Versions::is_empty")]
    pub verified_at: Versions,
    /// What stood in the way, when the wait ended without its effect: at most three objects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub obstacles: Vec<Obstacle>,
}

impl RevisionName {
    /// Names this revision.
    pub fn of(revision: &Revision) -> Self {
        let containers = revision.template.pointer("/spec/containers").and_then(Value::as_array);
        let images = containers
            .into_iter()
            .flatten()
            .filter_map(|container| text(container, "/image").map(str::to_owned))
            .collect();
        Self { name: revision.name.clone(), number: revision.number, images }
    }
}

impl Details {
    /// Returns the revision that was put back, such as `revision 2 (web-b)`.
    pub fn shown(&self) -> String {
        let to = self.to_revision.as_ref();
        to.map_or_else(|| "an earlier revision".to_owned(), |to| format!("revision {} ({})", to.number, to.name))
    }
}
