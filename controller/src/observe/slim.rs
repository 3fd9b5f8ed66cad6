//! The parts of Jobs and pods that are looked at: what is not here is not kept in memory.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Deserialize;

/// A Job of an attempt.
#[derive(Debug, Clone, Default, Deserialize, Resource)]
#[resource(inherit = Job)]
pub struct SlimJob {
    /// Metadata.
    #[serde(default, deserialize_with = "crate::api::metadata::ours")]
    pub metadata: ObjectMeta,
    /// The one field of its spec that matters.
    #[serde(default)]
    pub spec: JobSpec,
    /// Status.
    #[serde(default)]
    pub status: JobStatus,
    /// True when an earlier state told of a pod: one that is replaced is counted nowhere in the end.
    #[serde(skip)]
    pub had_pods: bool,
}

/// What is looked at in a Job's spec.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobSpec {
    /// Never set by us: a policy of the cluster may add it, and then results go with the Job.
    pub ttl_seconds_after_finished: Option<i32>,
}

/// What is looked at in a Job's status.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobStatus {
    /// Time of its start: when the Job controller has taken it up, and makes its first pod.
    pub start_time: Option<jiff::Timestamp>,
    /// Conditions.
    pub conditions: Vec<Condition>,
    /// Pods that run.
    pub active: i32,
    /// Pods that failed.
    pub failed: i32,
    /// Pods that succeeded.
    pub succeeded: i32,
    /// Pods that are terminating.
    pub terminating: Option<i32>,
    /// Pods that have ended, and are not counted among the others yet.
    pub uncounted_terminated_pods: Option<Uncounted>,
}

/// UIDs of pods that have ended and are not counted yet.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Uncounted {
    /// Those that failed.
    pub failed: Vec<String>,
    /// Those that succeeded.
    pub succeeded: Vec<String>,
}

impl JobStatus {
    /// Returns whether the Job controller knows of a pod.
    fn has_pods(&self) -> bool {
        let uncounted = self.uncounted_terminated_pods.as_ref();
        self.active + self.failed + self.succeeded + self.terminating.unwrap_or(0) > 0
            || uncounted.is_some_and(|pods| !(pods.failed.is_empty() && pods.succeeded.is_empty()))
    }
}

/// A condition of a Job or a pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// Type.
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Reason.
    pub reason: Option<String>,
    /// Message.
    pub message: Option<String>,
}

impl SlimJob {
    /// Returns the condition of this type that is true.
    pub fn condition(&self, name: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|one| one.r#type == name && one.status == "True")
    }

    /// Returns whether the Job controller knows of a pod, or has known of one.
    pub fn had_pods(&self) -> bool {
        self.had_pods || self.status.has_pods()
    }

    /// Keeps what an earlier state said and this one does not repeat.
    pub fn remember(&mut self, before: Option<&Self>) {
        self.had_pods = before.is_some_and(Self::had_pods);
    }

    /// Returns whether the Job starts no pod any more.
    pub fn ended(&self) -> bool {
        self.condition("Complete").is_some() || self.condition("Failed").is_some()
    }
}

/// A pod of an attempt.
#[derive(Debug, Clone, Default, Deserialize, Resource)]
#[resource(inherit = Pod)]
#[serde(rename_all = "camelCase")]
pub struct SlimPod {
    /// Metadata.
    #[serde(default, deserialize_with = "crate::api::metadata::ours")]
    pub metadata: ObjectMeta,
    /// The one field of its spec that matters.
    #[serde(default)]
    pub spec: PodSpec,
    /// Status.
    #[serde(default)]
    pub status: PodStatus,
    /// Reason why its container had not started when that was said last, which its kubelet does not repeat at the end.
    #[serde(skip)]
    pub waited: Option<Waiting>,
}

/// What is looked at in a pod's spec.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// Node that it was given to.
    pub node_name: Option<String>,
}

/// What is looked at in a pod's status.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// Phase.
    pub phase: Option<String>,
    /// Reason, such as `Evicted`.
    pub reason: Option<String>,
    /// Message.
    pub message: Option<String>,
    /// Conditions.
    pub conditions: Vec<Condition>,
    /// States of the containers.
    pub container_statuses: Vec<ContainerStatus>,
}

/// State of a container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// Name.
    pub name: String,
    /// Identity of the container, as soon as there is one.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// The image that it runs, with its digest.
    #[serde(rename = "imageID")]
    pub image_id: String,
    /// State.
    pub state: ContainerState,
    /// State of the container before it. One is never started again: what is here is what a kubelet says of a container that
    /// it saw running and does not find any more, beside a state without a start and without an identity.
    pub last_state: ContainerState,
}

/// State of a container: one of these.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    /// It has not started.
    pub waiting: Option<Waiting>,
    /// It runs.
    pub running: Option<Running>,
    /// It has ended.
    pub terminated: Option<Terminated>,
}

/// Reason why a container has not started.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Waiting {
    /// Reason, such as `ImagePullBackOff`.
    pub reason: Option<String>,
    /// Message.
    pub message: Option<String>,
}

/// A container that runs.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Running {}

/// A container that has ended.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Terminated {
    /// Exit code.
    pub exit_code: i32,
    /// Reason, such as `OOMKilled`.
    pub reason: Option<String>,
    /// The termination message.
    pub message: Option<String>,
    /// Time of its start.
    pub started_at: Option<jiff::Timestamp>,
    /// Time of its end.
    pub finished_at: Option<jiff::Timestamp>,
}

/// The name of the container that runs the action.
pub const CONTAINER: &str = "executor";

impl SlimPod {
    /// Returns the state of the container that runs the action.
    pub fn executor(&self) -> Option<&ContainerState> {
        self.status.container_statuses.iter().find(|one| one.name == CONTAINER).map(|one| &one.state)
    }

    /// Returns the image that that container ran, with its digest, as its node reported it.
    pub fn image_id(&self) -> Option<String> {
        let status = self.status.container_statuses.iter().find(|one| one.name == CONTAINER)?;
        Some(status.image_id.clone()).filter(|id| !id.is_empty())
    }

    /// Returns how that container ended, if there was one.
    pub fn terminated(&self) -> Option<&Terminated> {
        self.executor()?.terminated.as_ref().filter(|_| !self.never_had_one())
    }

    /// Returns whether the end that is told is that of no container: of a pod whose image never came, and which is deleted,
    /// a kubelet says `ContainerStatusUnknown` and 137, without a start and without an identity.
    fn never_had_one(&self) -> bool {
        let status = self.status.container_statuses.iter().find(|one| one.name == CONTAINER);
        let unknown =
            |one: &Terminated| one.reason.as_deref() == Some("ContainerStatusUnknown") && one.started_at.is_none();
        let told =
            status.is_some_and(|one| one.container_id.is_empty() && one.state.terminated.as_ref().is_some_and(unknown));
        told && self.waited.is_some() && !self.lost()
    }

    /// Returns whether that container was seen running by its kubelet, which does not find it any more.
    fn lost(&self) -> bool {
        self.status.container_statuses.iter().any(|one| one.name == CONTAINER && one.last_state.terminated.is_some())
    }

    /// Returns why that container has not started, or had not when that was said last.
    pub fn waiting(&self) -> Option<&Waiting> {
        // Every pod passes through these.
        let passing =
            |one: &&Waiting| !matches!(one.reason.as_deref(), None | Some("ContainerCreating" | "PodInitializing"));
        self.executor().and_then(|state| state.waiting.as_ref()).filter(passing).or(self.waited.as_ref())
    }

    /// Keeps what an earlier state said and this one does not repeat.
    pub fn remember(&mut self, before: Option<&Self>) {
        self.waited = before.and_then(|before| before.waiting().cloned());
        self.waited = self.waiting().cloned().filter(|_| !self.started());
    }

    /// Returns whether that container is known to have started. A pod whose kubelet is silent may have started it
    /// nevertheless.
    pub fn started(&self) -> bool {
        self.executor().is_some_and(|state| state.running.is_some()) || self.terminated().is_some() || self.lost()
    }

    /// Returns the condition of this type that is true.
    pub fn condition(&self, name: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|one| one.r#type == name && one.status == "True")
    }

    /// Returns whether the pod ends for a reason that lies outside it: its end is then not the attempt's.
    pub fn disrupted(&self) -> bool {
        self.condition("DisruptionTarget").is_some() || self.metadata.deletion_timestamp.is_some()
    }

    /// Returns whether other containers of it run: those that a policy of the cluster has added.
    pub fn others_run(&self) -> bool {
        self.status.container_statuses.iter().any(|one| one.name != CONTAINER && one.state.running.is_some())
    }

    /// Returns whether nothing in it runs any more.
    pub fn ended(&self) -> bool {
        matches!(self.status.phase.as_deref(), Some("Succeeded" | "Failed"))
    }
}
