//! What a run keeps of each pod, and what stands in the way of one.

use std::fmt;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde::Deserialize;

use crate::cluster::Item;

/// A pod, cut down to what decisions need: a rollout may follow thousands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Pod")]
pub struct PodView {
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// resourceVersion: what an eviction is bound to.
    pub version: String,
    /// UID of the controlling owner.
    pub owner: Option<String>,
    /// Label `pod-template-hash` (of a ReplicaSet) or `controller-revision-hash` (of the others).
    pub revision: Option<String>,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Whether its Ready condition is true.
    pub ready: bool,
    /// Whether it has run to its end (Succeeded or Failed).
    pub finished: bool,
    /// The node it runs on.
    pub node: Option<String>,
    /// What keeps it from being ready.
    pub obstacle: Option<Obstacle>,
}

/// What keeps a pod from being ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// The cause in a few words, such as `container app: ImagePullBackOff: …`.
    pub cause: String,
    /// Whether it goes away.
    pub outlook: Outlook,
}

/// Whether an obstacle goes away by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outlook {
    /// The container runs and is not ready: that is how every start looks.
    Starting,
    /// It may go away (a node is added, a registry comes back): given up only after `stuckAfter` without progress.
    MayPass,
    /// It stays until someone changes something.
    Stays,
}

impl Item for PodView {
    fn key(&self) -> &str {
        &self.name
    }
}

impl PodView {
    /// Ready, and not on its way out.
    pub fn serves(&self) -> bool {
        self.ready && !self.terminating
    }
}

/// `pod web-1: container app: CrashLoopBackOff: …`
impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

impl From<Pod> for PodView {
    fn from(pod: Pod) -> Self {
        let obstacle = obstacle(&pod);
        let meta = pod.metadata;
        let status = pod.status.unwrap_or_default();
        let labels = meta.labels.unwrap_or_default();
        let condition =
            |kind: &str| status.conditions.iter().flatten().any(|one| one.type_ == kind && one.status == "True");
        let ready = condition("Ready");
        Self {
            name: meta.name.unwrap_or_default(),
            uid: meta.uid.unwrap_or_default(),
            version: meta.resource_version.unwrap_or_default(),
            owner: meta
                .owner_references
                .into_iter()
                .flatten()
                .find(|owner| owner.controller == Some(true))
                .map(|owner| owner.uid),
            revision: labels.get("pod-template-hash").or_else(|| labels.get("controller-revision-hash")).cloned(),
            terminating: meta.deletion_timestamp.is_some(),
            ready,
            finished: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
            node: pod.spec.and_then(|spec| spec.node_name),
            obstacle: obstacle.filter(|_| !ready),
        }
    }
}

/// The worst thing that can be said of a pod that is not ready.
fn obstacle(pod: &Pod) -> Option<Obstacle> {
    let status = pod.status.as_ref()?;
    let unscheduled = status.conditions.iter().flatten().find(|one| {
        one.type_ == "PodScheduled" && one.status == "False" && one.reason.as_deref() == Some("Unschedulable")
    });
    if let Some(condition) = unscheduled {
        let message = condition.message.as_deref().unwrap_or("no node fits");
        return Some(Obstacle { cause: format!("unschedulable: {message}"), outlook: Outlook::MayPass });
    }
    let containers = status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    containers.filter_map(container_obstacle).max_by_key(|obstacle| obstacle.outlook)
}

fn container_obstacle(status: &ContainerStatus) -> Option<Obstacle> {
    /// A container that crashed once may only have been faster than what it needs; the third start tells.
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

/// What a registry says of an image that will not be there in a minute either, in the words of containerd and CRI-O.
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
                "metadata": { "name": "web-1", "uid": "u", "resourceVersion": "7", "labels": { "controller-revision-hash": "h" }, "deletionTimestamp": deleted,
                    "ownerReferences": [{ "apiVersion": "v1", "kind": "X", "name": "x", "uid": "no" }, { "apiVersion": "v1", "kind": "X", "name": "x", "uid": "o", "controller": true }] },
                "spec": { "nodeName": "n1", "containers": [] },
                "status": { "phase": phase, "conditions": [{ "type": "Ready", "status": ready }, { "type": "Initialized", "status": "True" }] },
            }))
            .unwrap()
        };
        let view = pod("Running", "True", None);
        let expected = PodView {
            name: "web-1".to_owned(),
            uid: "u".to_owned(),
            version: "7".to_owned(),
            owner: Some("o".to_owned()),
            revision: Some("h".to_owned()),
            ready: true,
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
