//! What a wait saw last, for machines: which pods are as asked, which are not, and in which state of the cluster.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

/// The workload's own pods, by what was asked of them. Pods that ran to their end count nowhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodCounts {
    /// As asked: of the revision that was written (restart, rollback), or any (scale); ready, for `minReadySeconds` and
    /// through `settle`.
    pub new: usize,
    /// As asked, but not ready (long enough) yet.
    pub not_ready: usize,
    /// Of another revision, or beyond a StatefulSet's number: they are to go.
    pub old: usize,
    /// Being deleted.
    pub terminating: usize,
    /// Left alone by a StatefulSet's partition.
    pub out_of_reach: usize,
    /// Those that are not as asked, at most ten of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_as_asked: Vec<NotAsAsked>,
}

/// A pod that is not as asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotAsAsked {
    /// The pod.
    pub name: String,
    /// The node it is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// What it is in place of that.
    pub why: Why,
}

/// What a pod is that is not as asked.
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

/// A followed list's plural name, and the resourceVersion of the state that was looked at.
pub type Versions = BTreeMap<String, String>;

/// The last look of a wait.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observation {
    /// The pods.
    pub pods: Option<PodCounts>,
    /// How many pods there are to be.
    pub desired: Option<i64>,
    /// The label value that tells the new pods.
    pub revision: Option<String>,
    /// How many pods a paused rollout keeps beyond the number.
    pub surge: Option<i64>,
    /// Which state of the cluster this was.
    pub verified_at: Versions,
}

impl Observation {
    /// How many pods are as asked.
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
