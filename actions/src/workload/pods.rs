//! The part of each pod that a run keeps, and the obstacle that keeps the pod from being ready.

use std::fmt;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodSpec, PodStatus};
use serde::Deserialize;

use crate::cluster::Item;

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
    /// Obstacle that keeps the pod from being ready.
    pub obstacle: Option<Obstacle>,
}

/// An obstacle that keeps a pod from being ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// The cause in a few words, such as `container app: ImagePullBackOff: …`.
    pub cause: String,
    /// Outlook of the obstacle.
    pub outlook: Outlook,
}

/// Tells obstacles that pass by themselves from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outlook {
    /// The container runs but is not ready, as in every start.
    Starting,
    /// May pass (a node is added, a registry comes back): given up only after `stuckAfter` without progress.
    MayPass,
    /// The obstacle stays until someone changes something.
    Stays,
}

/// Beginning of the cause when no node takes the pod.
const UNSCHEDULABLE: &str = "unschedulable";

impl Item for PodView {
    fn key(&self) -> &str {
        &self.name
    }
}

impl PodView {
    /// Returns whether no node has taken the pod yet.
    pub fn waits_for_room(&self) -> bool {
        self.obstacle.as_ref().is_some_and(|obstacle| obstacle.cause.starts_with(UNSCHEDULABLE))
    }

    /// Returns whether the pod is ready and not being deleted.
    pub fn serves(&self) -> bool {
        self.ready && !self.terminating
    }
}

/// Writes the cause, such as `container app: CrashLoopBackOff: …`.
impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

impl From<Pod> for PodView {
    fn from(pod: Pod) -> Self {
        let obstacle = obstacle(&pod);
        let meta = pod.metadata;
        let (spec, status) = (pod.spec.unwrap_or_default(), pod.status.unwrap_or_default());
        let labels = meta.labels.unwrap_or_default();
        let ready = status.conditions.iter().flatten().find(|one| one.type_ == "Ready" && one.status == "True");
        let owner = meta.owner_references.into_iter().flatten().find(|owner| owner.controller == Some(true));
        Self {
            name: meta.name.unwrap_or_default(),
            uid: meta.uid.unwrap_or_default(),
            version: meta.resource_version.unwrap_or_default(),
            owner: owner.as_ref().map(|owner| owner.uid.clone()),
            owner_name: owner.map(|owner| owner.name),
            revision: labels.get("pod-template-hash").or_else(|| labels.get("controller-revision-hash")).cloned(),
            created: meta.creation_timestamp.map(|time| time.0),
            terminating: meta.deletion_timestamp.is_some(),
            due: meta.deletion_timestamp.map(|time| time.0),
            finalizers: meta.finalizers.unwrap_or_default(),
            ready: ready.is_some(),
            ready_since: ready.and_then(|ready| ready.last_transition_time.as_ref()).map(|time| time.0),
            probed: probed(&spec),
            instances: instances(&status),
            finished: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
            node: spec.node_name,
            obstacle: obstacle.filter(|_| ready.is_none()),
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

/// Returns the worst obstacle of a pod that is not ready.
fn obstacle(pod: &Pod) -> Option<Obstacle> {
    let status = pod.status.as_ref()?;
    let unscheduled = status.conditions.iter().flatten().find(|one| {
        one.type_ == "PodScheduled" && one.status == "False" && one.reason.as_deref() == Some("Unschedulable")
    });
    if let Some(condition) = unscheduled {
        let message = condition.message.as_deref().unwrap_or("no node fits");
        return Some(Obstacle { cause: format!("{UNSCHEDULABLE}: {message}"), outlook: Outlook::MayPass });
    }
    let containers = status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    containers.filter_map(container_obstacle).max_by_key(|obstacle| obstacle.outlook)
}

fn container_obstacle(status: &ContainerStatus) -> Option<Obstacle> {
    /// Restarts that prove a crash loop. A container that crashed once may only have started before what it needs.
    const CRASHES_THAT_TELL: i32 = 2;
    let name = &status.name;
    let state = status.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or("waiting");
        let message = waiting.message.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
        let (cause, outlook) = match reason {
            "InvalidImageName" | "ErrImageNeverPull" | "CreateContainerConfigError" => {
                (format!("{reason}{message}"), Outlook::Stays)
            }
            "CrashLoopBackOff" => {
                let outlook = if status.restart_count >= CRASHES_THAT_TELL { Outlook::Stays } else { Outlook::MayPass };
                (format!("{reason} after {} restarts{}", status.restart_count, last_exit(status)), outlook)
            }
            "ErrImagePull" | "ImagePullBackOff" | "ImageInspectError" | "RegistryUnavailable"
                if says_never(&message) =>
            {
                (format!("{reason}{message}"), Outlook::Stays)
            }
            "PodInitializing" | "ContainerCreating" => return None,
            _ => (format!("{reason}{message}"), Outlook::MayPass),
        };
        return Some(Obstacle { cause: format!("container {name}: {cause}"), outlook });
    }
    if let Some(ended) = state.terminated.as_ref().filter(|ended| ended.exit_code != 0) {
        let reason = ended.reason.as_deref().unwrap_or("Error");
        let cause =
            format!("container {name}: {reason}, exit code {}, {} restarts", ended.exit_code, status.restart_count);
        return Some(Obstacle { cause, outlook: Outlook::MayPass });
    }
    (state.running.is_some() && !status.ready).then(|| Obstacle {
        cause: format!(
            "container {name} runs but is not ready (its startup or readiness probe fails or has not passed yet)"
        ),
        outlook: Outlook::Starting,
    })
}

/// Returns whether a registry's message, in the words of containerd or CRI-O, means that a retry will not help.
fn says_never(message: &str) -> bool {
    let message = message.to_lowercase();
    ["not found", "manifest unknown", "does not exist", "pull access denied", "unauthorized", "invalid reference"]
        .iter()
        .any(|words| message.contains(words))
}

fn last_exit(status: &ContainerStatus) -> String {
    let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    last.map(|ended| {
        format!(" (last exit code {}, {})", ended.exit_code, ended.reason.as_deref().unwrap_or("no reason given"))
    })
    .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn view(state: serde_json::Value, restarts: i32) -> PodView {
        serde_json::from_value(json!({
            "metadata": { "name": "web-1" },
            "status": { "containerStatuses": [{
                "name": "app", "image": "", "imageID": "", "ready": false, "restartCount": restarts, "state": state,
                "lastState": { "terminated": { "exitCode": 137, "reason": "OOMKilled" } },
            }]},
        }))
        .unwrap()
    }

    #[rstest]
    #[case::bad_name("InvalidImageName", "", 0, Outlook::Stays)]
    #[case::missing_secret("CreateContainerConfigError", "secret \"x\" not found", 0, Outlook::Stays)]
    #[case::no_such_image("ErrImagePull", "failed to resolve: not found", 0, Outlook::Stays)]
    #[case::registry_down("ImagePullBackOff", "dial tcp: i/o timeout", 0, Outlook::MayPass)]
    #[case::first_crash("CrashLoopBackOff", "", 1, Outlook::MayPass)]
    #[case::crash_loop("CrashLoopBackOff", "", 2, Outlook::Stays)]
    fn knows_what_stays(#[case] reason: &str, #[case] message: &str, #[case] restarts: i32, #[case] outlook: Outlook) {
        let pod = view(json!({ "waiting": { "reason": reason, "message": message } }), restarts);
        assert_eq!(pod.obstacle.unwrap().outlook, outlook);
    }

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

    #[test]
    fn tells_what_stands_in_the_way() {
        let cause = |state: serde_json::Value| view(state, 3).obstacle.map(|found| (found.to_string(), found.outlook));
        let ended = cause(json!({ "terminated": { "exitCode": 1 } })).unwrap();
        assert_eq!(ended, ("container app: Error, exit code 1, 3 restarts".to_owned(), Outlook::MayPass));
        assert_eq!(cause(json!({ "terminated": { "exitCode": 0 } })), None);
        let running = cause(json!({ "running": {} })).unwrap();
        assert!(running.0.starts_with("container app runs but is not ready") && running.1 == Outlook::Starting);
        assert_eq!(cause(json!({})), None);
        let waits = cause(json!({ "waiting": { "reason": "X", "message": "y" } })).unwrap();
        assert_eq!(waits, ("container app: X: y".to_owned(), Outlook::MayPass));
    }

    #[test]
    fn a_pod_that_no_node_takes_is_unschedulable() {
        let pod = |status: &str, reason: &str| -> Option<Obstacle> {
            let pod: PodView = serde_json::from_value(json!({ "metadata": {}, "status": { "conditions": [
                { "type": "PodScheduled", "status": status, "reason": reason, "message": "0/3 nodes" } ] } }))
            .unwrap();
            pod.obstacle
        };
        let found = pod("False", "Unschedulable").unwrap();
        assert_eq!((found.cause.as_str(), found.outlook), ("unschedulable: 0/3 nodes", Outlook::MayPass));
        assert_eq!((pod("True", "Unschedulable"), pod("False", "SchedulingGated")), (None, None));
        let waits = |obstacle| PodView { obstacle, ..PodView::default() }.waits_for_room();
        let other = Obstacle { cause: "container app: X".to_owned(), outlook: Outlook::MayPass };
        assert!(waits(Some(found)) && !waits(Some(other)) && !waits(None));
    }

    #[test]
    fn names_the_last_exit_of_a_crash_loop() {
        let pod = view(json!({ "waiting": { "reason": "CrashLoopBackOff" } }), 4);
        let cause = pod.obstacle.unwrap().cause;
        assert_eq!(cause, "container app: CrashLoopBackOff after 4 restarts (last exit code 137, OOMKilled)");
    }

    #[test]
    fn a_container_that_is_being_created_is_no_obstacle() {
        assert_eq!(view(json!({ "waiting": { "reason": "ContainerCreating" } }), 0).obstacle, None);
    }
}
