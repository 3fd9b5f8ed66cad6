//! The last state that a wait saw, for machines: pods that are as asked, pods that are not, and resourceVersions.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

/// The workload's own pods, counted by what was asked of them. Pods that have completed are not counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodCounts {
    /// Pods as asked: of the revision that was written (restart, rollback) or of any (scale); ready, for
    /// `minReadySeconds` and through `settle`.
    pub new: usize,
    /// Pods as asked, but not ready (long enough) yet.
    pub not_ready: usize,
    /// Pods of another revision, or beyond a StatefulSet's number: they have to go.
    pub old: usize,
    /// Pods that are being deleted.
    pub terminating: usize,
    /// Pods that a StatefulSet's partition leaves alone.
    pub out_of_reach: usize,
    /// Pods that are not as asked, at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_as_asked: Vec<NotAsAsked>,
}

/// A pod that is not as asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotAsAsked {
    /// Name of the pod.
    pub name: String,
    /// Name of the node that the pod is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// State of the pod.
    pub why: Why,
}

/// State of a pod that is not as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Why {
    /// Not ready, or not long enough.
    NotReady,
    /// Of another revision, or beyond the number.
    Old,
    /// Being deleted.
    Terminating,
}

/// Maps the plural name of a followed list to the resourceVersion of the state that was seen.
pub type Versions = BTreeMap<String, String>;

/// The last state that a wait saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observation {
    /// The pods.
    pub pods: Option<PodCounts>,
    /// Number of pods that there shall be.
    pub desired: Option<i64>,
    /// Label value by which new pods are recognized.
    pub revision: Option<String>,
    /// Number of pods that a paused rollout keeps beyond the desired number.
    pub surge: Option<i64>,
    /// resourceVersions of this state of the cluster.
    pub verified_at: Versions,
}

impl Observation {
    /// Returns the number of pods that are as asked.
    pub fn ready(&self) -> Option<i64> {
        self.pods.as_ref().map(|pods| i64::try_from(pods.new).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_are_those_that_are_as_asked() {
        let pods = PodCounts { new: 2, not_ready: 1, ..PodCounts::default() };
        assert_eq!(Observation { pods: Some(pods), ..Observation::default() }.ready(), Some(2));
        assert_eq!(Observation::default().ready(), None);
    }
}
