//! The part of each pod that a run keeps.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodSpec, PodStatus};
use serde::Deserialize;

use crate::cluster::Item;
use crate::workload::causes::sign::{self, Crashed, Sign};

/// A pod, reduced to what decisions need, because a rollout may follow thousands.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the pod")]
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Pod")]
pub struct PodView {
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// resourceVersion, to which an eviction is bound.
    pub version: String,
    /// UID of the controlling owner.
    pub owner: Option<String>,
    /// Name of the controlling owner.
    pub owner_name: Option<String>,
    /// Label `pod-template-hash` (of a ReplicaSet's pods) or `controller-revision-hash` (of others).
    pub revision: Option<String>,
    /// Time of creation, by the API server's clock.
    pub created: Option<Timestamp>,
    /// True while the pod is being deleted.
    pub terminating: bool,
    /// Time when the pod should be gone: `deletionTimestamp` is the time of the request plus the grace period.
    pub due: Option<Timestamp>,
    /// Time of the request to delete the pod.
    pub leaving_since: Option<Timestamp>,
    /// Finalizers, which can delay the deletion beside the node.
    pub finalizers: Vec<String>,
    /// True when the Ready condition is true.
    pub ready: bool,
    /// Time since which the pod is ready, by its kubelet's clock.
    pub ready_since: Option<Timestamp>,
    /// True when every container has a readiness probe. Without one a container is ready as soon as it runs.
    pub probed: bool,
    /// Ids and restart counts of the containers, which change when a container starts again.
    pub instances: String,
    /// True when the pod has completed (Succeeded or Failed).
    pub finished: bool,
    /// Name of the node that the pod runs on.
    pub node: Option<String>,
    /// Phase of the pod.
    pub phase: String,
    /// Reasons why a pod that has not completed is not ready, as it says itself.
    pub signs: Vec<Sign>,
    /// Containers that ended and were started again, or will be.
    pub crashes: Vec<Crashed>,
    /// Reason why the node refused or ended the pod.
    pub failure: Option<Sign>,
}

impl Item for PodView {
    fn key(&self) -> &str {
        &self.name
    }
}

impl PodView {
    /// Returns whether the pod is ready and not being deleted.
    pub fn serves(&self) -> bool {
        self.ready && !self.terminating
    }
}

impl From<Pod> for PodView {
    fn from(pod: Pod) -> Self {
        let (signs, crashes, failure) = (sign::signs(&pod), sign::crashes(&pod), sign::failure(&pod));
        let meta = pod.metadata;
        let (spec, status) = (pod.spec.unwrap_or_default(), pod.status.unwrap_or_default());
        let labels = meta.labels.unwrap_or_default();
        let ready = status.conditions.iter().flatten().find(|one| one.type_ == "Ready" && one.status == "True");
        let finished = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        let due = meta.deletion_timestamp.map(|time| time.0);
        let grace = SignedDuration::from_secs(meta.deletion_grace_period_seconds.unwrap_or_default());
        let owner = meta.owner_references.into_iter().flatten().find(|owner| owner.controller == Some(true));
        Self {
            name: meta.name.unwrap_or_default(),
            uid: meta.uid.unwrap_or_default(),
            version: meta.resource_version.unwrap_or_default(),
            owner: owner.as_ref().map(|owner| owner.uid.clone()),
            owner_name: owner.map(|owner| owner.name),
            revision: labels.get("pod-template-hash").or_else(|| labels.get("controller-revision-hash")).cloned(),
            created: meta.creation_timestamp.map(|time| time.0),
            terminating: due.is_some(),
            leaving_since: due.and_then(|due| due.checked_sub(grace).ok()),
            due,
            finalizers: meta.finalizers.unwrap_or_default(),
            ready: ready.is_some(),
            ready_since: ready.and_then(|ready| ready.last_transition_time.as_ref()).map(|time| time.0),
            probed: probed(&spec),
            instances: instances(&status),
            phase: status.phase.unwrap_or_default(),
            node: spec.node_name,
            signs: if ready.is_some() || finished { Vec::new() } else { signs },
            crashes: if finished { Vec::new() } else { crashes },
            failure,
            finished,
        }
    }
}

fn probed(spec: &PodSpec) -> bool {
    let sidecars = spec.init_containers.iter().flatten().filter(|one| one.restart_policy.as_deref() == Some("Always"));
    let mut containers = spec.containers.iter().chain(sidecars);
    containers.all(|container| container.readiness_probe.is_some())
}

fn instances(status: &PodStatus) -> String {
    let all = status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    let one =
        |one: &ContainerStatus| format!("{}:{}", one.container_id.as_deref().unwrap_or_default(), one.restart_count);
    all.map(one).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[test]
    fn keeps_what_decisions_need() {
        let pod = |phase: &str, ready: &str, deleted: Option<&str>| -> PodView {
            serde_json::from_value(json!({
                "metadata": { "name": "web-1", "uid": "u", "resourceVersion": "7", "labels": { "controller-revision-hash": "h" }, "deletionTimestamp": deleted, "creationTimestamp": "2026-01-01T00:00:00Z",
                    "ownerReferences": [{ "apiVersion": "v1", "kind": "X", "name": "x", "uid": "no" }, { "apiVersion": "v1", "kind": "X", "name": "x", "uid": "o", "controller": true }] },
                "spec": { "nodeName": "n1", "containers": [{ "name": "app" }] },
                "status": { "phase": phase, "conditions": [{ "type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:05Z" }, { "type": "Initialized", "status": "True" }],
                    "containerStatuses": [{ "name": "app", "image": "", "imageID": "", "ready": true, "restartCount": 2, "containerID": "containerd://a" }] },
            }))
            .unwrap()
        };
        let view = pod("Running", "True", None);
        let expected = PodView {
            name: "web-1".to_owned(),
            uid: "u".to_owned(),
            version: "7".to_owned(),
            owner: Some("o".to_owned()),
            owner_name: Some("x".to_owned()),
            revision: Some("h".to_owned()),
            created: Some("2026-01-01T00:00:00Z".parse().unwrap()),
            ready: true,
            ready_since: Some("2026-01-01T00:00:05Z".parse().unwrap()),
            instances: "containerd://a:2".to_owned(),
            node: Some("n1".to_owned()),
            phase: "Running".to_owned(),
            crashes: view.crashes.clone(),
            ..PodView::default()
        };
        assert_eq!((view.key(), view.serves()), ("web-1", true));
        assert_eq!(view, expected);
        assert!(!pod("Running", "False", None).serves());
        let leaving = pod("Running", "True", Some("2026-01-01T00:00:00Z"));
        assert!(leaving.terminating && !leaving.serves());
        let finished = ["Succeeded", "Failed", "Running"].map(|phase| pod(phase, "False", None).finished);
        assert_eq!(finished, [true, true, false]);
    }

    /// A container without readiness probe is ready as soon as it runs; a sidecar counts, a plain init container does
    /// not.
    #[rstest]
    #[case::all(json!([{ "name": "a", "readinessProbe": {} }]), json!([]), true)]
    #[case::one_without(json!([{ "name": "a", "readinessProbe": {} }, { "name": "b" }]), json!([]), false)]
    #[case::startup_only(json!([{ "name": "a", "startupProbe": {} }]), json!([]), false)]
    #[case::init(json!([{ "name": "a", "readinessProbe": {} }]), json!([{ "name": "i" }]), true)]
    #[case::sidecar(json!([{ "name": "a", "readinessProbe": {} }]), json!([{ "name": "i", "restartPolicy": "Always" }]), false)]
    fn knows_whether_readiness_is_probed(
        #[case] containers: serde_json::Value,
        #[case] init: serde_json::Value,
        #[case] probed: bool,
    ) {
        let pod = json!({ "metadata": {}, "spec": { "containers": containers, "initContainers": init } });
        assert_eq!(serde_json::from_value::<PodView>(pod).unwrap().probed, probed);
    }

    /// A pod that is ready has no reasons why not; one that has completed neither crashes nor waits, but may have failed.
    #[rstest]
    #[case::starts("Pending", "False", (1, 0, false))]
    #[case::crashes("Running", "False", (1, 1, false))]
    #[case::ready("Running", "True", (0, 1, false))]
    #[case::failed("Failed", "False", (0, 0, true))]
    fn a_pod_says_why_it_is_not_ready(#[case] phase: &str, #[case] ready: &str, #[case] says: (usize, usize, bool)) {
        let running = json!([{ "name": "app", "image": "", "imageID": "", "ready": false, "restartCount": 1, "state": { "running": {} } }]);
        let statuses = if phase == "Pending" { json!([]) } else { running };
        let pod: PodView = serde_json::from_value(json!({ "metadata": {}, "spec": { "nodeName": "n1", "containers": [] },
            "status": { "phase": phase, "reason": "OutOfcpu", "containerStatuses": statuses, "conditions": [{ "type": "Ready", "status": ready }] } }))
        .unwrap();
        assert_eq!((pod.signs.len(), pod.crashes.len(), pod.failure.is_some()), says);
        assert_eq!(pod.phase, phase);
    }

    #[test]
    fn a_deletion_began_a_grace_period_before_its_end() {
        let pod: PodView = serde_json::from_value(
            json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:30Z", "deletionGracePeriodSeconds": 30 } }),
        )
        .unwrap();
        assert_eq!(
            (pod.due, pod.leaving_since),
            ("2026-01-01T00:00:30Z".parse().ok(), "2026-01-01T00:00:00Z".parse().ok())
        );
        assert_eq!(pod.phase, "");
    }
}
