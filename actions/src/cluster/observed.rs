//! The last state that a wait saw, for machines: pods that are as asked, pods that are not, and resourceVersions.

use std::collections::BTreeMap;

use contract::result::ObjectReference;
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

/// An object for which a wait ended without its effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Obstacle {
    /// The object.
    pub object: ObjectReference,
    /// Its state, in Kubernetes' own word, such as `ImagePullBackOff`.
    pub state: String,
    /// Time since which it is so (RFC 3339): the cluster's, or when this run first saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The cluster's own words: a piece of a message, with `[hidden]` for what may be secret and `…` where it was cut.
    pub words: String,
    /// Name of the container that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Name of the node that the pod is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Remarks and advice, in the runner's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// The newest events about it, if they may be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<SeenEvent>,
    /// The last lines of its logs, with `obstacleLogs`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<LogTail>,
    /// What would tell more and could not be read, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
}

/// An event about an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SeenEvent {
    /// The reason, one word.
    pub reason: String,
    /// The message.
    pub message: String,
    /// Number of times that it was seen.
    pub count: i64,
    /// Time when it was last seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<String>,
}

/// The end of a container's log, redacted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogTail {
    /// Name of the container.
    pub container: String,
    /// True for the instance before the last restart.
    pub previous: bool,
    /// The lines, oldest first; `…` where lines or ends of lines were cut.
    pub lines: Vec<String>,
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
    /// Objects for which the wait ended without its effect.
    pub obstacles: Vec<Obstacle>,
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
