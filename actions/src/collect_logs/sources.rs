//! Lists the containers whose logs can be read.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Instances;
use crate::cluster::error::Result;
use crate::cluster::server_name;
use crate::k8s::names::Namespace;
use crate::k8s::{Kind, ObjectRef};

/// Role of a container in its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ContainerKind {
    /// Runs before the other containers, or beside them as a sidecar.
    Init,
    /// Does the pod's work.
    Main,
    /// Was added to the running pod to debug it.
    Ephemeral,
}

/// One log, of a container's current or previous instance.
#[derive(Debug, Clone)]
pub struct Source {
    /// Pod of the container.
    pub pod: ObjectRef,
    /// Name of the container.
    pub container: String,
    /// Role of the container.
    pub kind: ContainerKind,
    /// True for the instance before the last restart.
    pub previous: bool,
    /// Reason why there is no log to read.
    pub obstacle: Option<String>,
    /// Time for which the instance ran.
    pub ran: Option<Ran>,
    /// Name of the pod's node, whose kubelet has the log.
    pub node: Option<String>,
    /// True when the pod's status shows that the cluster has lost sight of its node.
    pub out_of_sight: bool,
}

/// Time for which an instance of a container ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    from: Timestamp,
    /// `None` while the instance is still running.
    until: Option<Timestamp>,
}

impl Ran {
    /// Seconds before the first line that are normal, even for a container that writes at once.
    const QUIET_START: i64 = 5;
    /// The kubelet rotates at 10 MiB by default; clusters may set less.
    const MUCH: u64 = 4 << 20;

    fn read(state: Option<&ContainerState>) -> Option<Self> {
        let state = state?;
        let running = state.running.as_ref().and_then(|running| running.started_at.as_ref()).map(|from| (from, None));
        let ended = || {
            let terminated = state.terminated.as_ref()?;
            Some((terminated.started_at.as_ref()?, terminated.finished_at.as_ref()))
        };
        let (from, until) = running.or_else(ended)?;
        Some(Self { from: from.0, until: until.map(|until| until.0) })
    }

    /// Returns why a log with this beginning (or an empty log) may be incomplete, if the last so many seconds were
    /// asked for. The kubelet serves only its current file; what was rotated away is missing, and nothing says so.
    pub fn missing(&self, served: &Served, since_seconds: Option<i64>) -> Option<String> {
        let end = self.until.unwrap_or(served.asked_at);
        let window =
            since_seconds.and_then(|seconds| Timestamp::from_second(served.asked_at.as_second() - seconds).ok());
        // If the container is older than the time asked for, silence at first is normal.
        let (from, since, quiet) = match window {
            Some(window) if window > self.from => (window, "the time that was asked for began", i64::MAX),
            _ => (self.from, "the container started", Self::QUIET_START),
        };
        let Some(begins) = served.begins else {
            let silent = end.as_second() - from.as_second();
            return (silent > Self::QUIET_START).then(|| {
                format!("is empty for the {silent} s since {since}: nothing was written then, or the kubelet has rotated it away")
            });
        };
        let silent = begins.as_second() - from.as_second();
        // A container that writes this much may have filled an earlier file, which is not served.
        let unseen = served.per_second().saturating_mul(u64::try_from(silent).unwrap_or(0));
        (silent > quiet || unseen > Self::MUCH).then(|| {
            format!("begins {silent} s after {since}: it was silent until then, or the kubelet has rotated away what it wrote")
        })
    }
}

/// The part of a log that was served.
#[derive(Debug)]
pub struct Served {
    /// Time of the request.
    pub asked_at: Timestamp,
    /// Number of lines.
    pub lines: u64,
    /// Number of bytes.
    pub bytes: u64,
    /// Time of the first line.
    pub begins: Option<Timestamp>,
    /// Time of the last line.
    pub ends: Option<Timestamp>,
}

impl Served {
    /// Starts with nothing, for a log that is requested now.
    pub fn now() -> Self {
        Self { asked_at: Timestamp::now(), lines: 0, bytes: 0, begins: None, ends: None }
    }

    /// Returns the number of bytes per second that the container wrote during the served part.
    fn per_second(&self) -> u64 {
        let seconds = self.ends.zip(self.begins).map_or(0, |(ends, begins)| ends.as_second() - begins.as_second());
        self.bytes / u64::try_from(seconds).unwrap_or(0).max(1)
    }
}

/// A pod, reduced to its containers.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "Pod")]
pub(super) struct LogPod {
    pub(super) name: String,
    pub(super) uid: String,
    /// UID of the controller.
    pub(super) owner: Option<String>,
    node: Option<String>,
    out_of_sight: bool,
    containers: Vec<LogContainer>,
}

#[derive(Debug)]
struct LogContainer {
    name: String,
    kind: ContainerKind,
    /// An instance before the one that the kubelet serves as the current one.
    restarted: bool,
    /// An instance that has ended, and that another one followed or will follow.
    ended_before: bool,
    /// Why there is no log yet.
    without: Option<String>,
    ran: Option<Ran>,
    ran_before: Option<Ran>,
}

/// A pod whose name has been checked, to be used in a URL.
pub struct PodSources {
    pod: ObjectRef,
    node: Option<String>,
    out_of_sight: bool,
    containers: Vec<LogContainer>,
}

impl From<Pod> for LogPod {
    fn from(mut pod: Pod) -> Self {
        let out_of_sight = out_of_sight(&pod);
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        let silent = without_status(&mut pod);
        let status = pod.status.unwrap_or_default();
        let of = |statuses: Option<Vec<ContainerStatus>>, kind| {
            statuses.unwrap_or_default().into_iter().map(move |status| container(status, kind))
        };
        let containers = of(status.init_container_statuses, ContainerKind::Init)
            .chain(of(status.container_statuses, ContainerKind::Main))
            .chain(of(status.ephemeral_container_statuses, ContainerKind::Ephemeral))
            .chain(silent)
            .collect();
        let meta = pod.metadata;
        let controls = meta.owner_references.into_iter().flatten().find(|owner| owner.controller == Some(true));
        Self {
            name: meta.name.unwrap_or_default(),
            uid: meta.uid.unwrap_or_default(),
            owner: controls.map(|owner| owner.uid),
            node,
            out_of_sight,
            containers,
        }
    }
}

/// Returns whether the pod's own status shows that its node is out of sight: when a node goes silent, the control plane
/// takes `Ready` away from its pods, whose containers the kubelet had reported as ready. (A readiness gate does the same.)
fn out_of_sight(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let is = |kind: &str, status: &str| conditions.iter().any(|one| one.type_ == kind && one.status == status);
    let gated = pod.spec.as_ref().and_then(|spec| spec.readiness_gates.as_ref()).is_some_and(|gates| !gates.is_empty());
    is("ContainersReady", "True") && is("Ready", "False") && !gated
}

/// Returns the containers of which the kubelet has told nothing: the pod waits for a node, or was refused or evicted before. They
/// are listed with the pod's own words, so that nobody takes a pod that never ran for one that wrote nothing.
fn without_status(pod: &mut Pod) -> Vec<LogContainer> {
    let status = pod.status.as_ref();
    let lists = [
        status.and_then(|status| status.init_container_statuses.as_ref()),
        status.and_then(|status| status.container_statuses.as_ref()),
        status.and_then(|status| status.ephemeral_container_statuses.as_ref()),
    ];
    let told: Vec<String> = lists.into_iter().flatten().flatten().map(|one| one.name.clone()).collect();
    let unscheduled = || {
        let conditions = status?.conditions.as_ref()?;
        conditions.iter().find(|one| one.type_ == "PodScheduled" && one.status == "False")?.reason.clone()
    };
    let reason = status.and_then(|status| status.reason.clone()).or_else(unscheduled);
    let phase = status.and_then(|status| status.phase.clone()).unwrap_or_else(|| "Pending".to_owned());
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    let without = format!("its pod is {phase}{reason}, and shows no state of it");
    let spec = pod.spec.take().unwrap_or_default();
    let named = |names: Vec<String>, kind| names.into_iter().map(move |name| (name, kind));
    let init = spec.init_containers.into_iter().flatten().map(|one| one.name).collect();
    let main = spec.containers.into_iter().map(|one| one.name).collect();
    let ephemeral = spec.ephemeral_containers.into_iter().flatten().map(|one| one.name).collect();
    named(init, ContainerKind::Init)
        .chain(named(main, ContainerKind::Main))
        .chain(named(ephemeral, ContainerKind::Ephemeral))
        .filter(|(name, _)| !told.contains(name))
        .map(|(name, kind)| LogContainer {
            name,
            kind,
            restarted: false,
            ended_before: false,
            without: Some(without.clone()),
            ran: None,
            ran_before: None,
        })
        .collect()
}

fn container(status: ContainerStatus, kind: ContainerKind) -> LogContainer {
    let waiting = status
        .state
        .as_ref()
        .and_then(|state| state.waiting.as_ref())
        .map(|waiting| waiting.reason.clone().unwrap_or_default());
    let ran_before = status.last_state.as_ref().is_some_and(|state| state.terminated.is_some());
    let last = Ran::read(status.last_state.as_ref());
    LogContainer {
        ran: Ran::read(status.state.as_ref()).or_else(|| last.clone()),
        ran_before: last,
        name: status.name,
        kind,
        // While a container waits for its next start, the kubelet serves its last instance as the current one.
        restarted: ran_before && waiting.is_none(),
        ended_before: ran_before,
        without: waiting.filter(|_| !ran_before).map(|reason| format!("it has not started yet ({reason})")),
    }
}

impl PodSources {
    /// Returns the logs to read.
    pub fn sources(self, instances: Instances) -> Vec<Source> {
        let pod = self.pod;
        let mut all = Vec::new();
        for container in self.containers {
            let source = |previous: bool| Source {
                pod: pod.clone(),
                container: container.name.clone(),
                kind: container.kind,
                previous,
                obstacle: container.without.clone().filter(|_| !previous),
                ran: if previous { container.ran_before.clone() } else { container.ran.clone() },
                node: self.node.clone(),
                out_of_sight: self.out_of_sight,
            };
            match instances {
                Instances::Current => all.push(source(false)),
                // In a back-off the last instance is both, and read once.
                Instances::Both => {
                    all.extend(container.restarted.then(|| source(true)));
                    all.push(source(false));
                }
                // The last one that ended, also while its container waits for its next start.
                Instances::Previous => all.extend(container.ended_before.then(|| source(true))),
            }
        }
        all
    }
}

/// Checks the pod's name, to be used in a URL.
pub(super) fn in_namespace(namespace: &Namespace, pod: LogPod) -> Result<PodSources> {
    let name = server_name(&pod.name)?;
    let object =
        ObjectRef { resource: Kind::Pod.resource(), namespace: Some(namespace.clone()), name, uid: Some(pod.uid) };
    Ok(PodSources { pod: object, node: pod.node, out_of_sight: pod.out_of_sight, containers: pod.containers })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn sources(state: Value, last: Value, instances: Instances) -> Vec<(bool, bool)> {
        let status = json!({ "name": "app", "image": "", "imageID": "", "ready": false, "restartCount": 1, "state": state, "lastState": last });
        let pod: LogPod = serde_json::from_value(
            json!({ "metadata": { "name": "web-1" }, "status": { "containerStatuses": [status] } }),
        )
        .unwrap();
        let all = in_namespace(&"shop".parse().unwrap(), pod).unwrap().sources(instances);
        all.into_iter().map(|source| (source.previous, source.obstacle.is_some())).collect()
    }

    #[rstest]
    #[case::running(json!({ "running": {} }), json!({}), Instances::Both, &[(false, false)])]
    #[case::restarted(json!({ "running": {} }), json!({ "terminated": { "exitCode": 1 } }), Instances::Both, &[(true, false), (false, false)])]
    #[case::only_before(json!({ "running": {} }), json!({ "terminated": { "exitCode": 1 } }), Instances::Previous, &[(true, false)])]
    #[case::in_back_off(json!({ "waiting": { "reason": "CrashLoopBackOff" } }), json!({ "terminated": { "exitCode": 1 } }), Instances::Both, &[(false, false)])]
    #[case::the_last_one_in_back_off(json!({ "waiting": { "reason": "CrashLoopBackOff" } }), json!({ "terminated": { "exitCode": 1 } }), Instances::Previous, &[(true, false)])]
    #[case::not_started(json!({ "waiting": { "reason": "ImagePullBackOff" } }), json!({}), Instances::Both, &[(false, true)])]
    fn asks_for_the_logs_there_are(
        #[case] state: Value,
        #[case] last: Value,
        #[case] instances: Instances,
        #[case] expected: &[(bool, bool)],
    ) {
        assert_eq!(sources(state, last, instances), expected);
    }

    #[rstest]
    #[case::no_node(json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable" }] }), "its pod is Pending: Unschedulable, and shows no state of it")]
    #[case::refused(json!({ "phase": "Failed", "reason": "NodeAffinity" }), "its pod is Failed: NodeAffinity, and shows no state of it")]
    #[case::nothing_yet(json!({}), "its pod is Pending, and shows no state of it")]
    fn a_pod_that_says_nothing_of_its_containers_is_listed(#[case] status: Value, #[case] obstacle: &str) {
        let spec = json!({ "initContainers": [{ "name": "setup" }], "containers": [{ "name": "app" }] });
        let pod = json!({ "metadata": { "name": "web-1" }, "spec": spec, "status": status });
        let pod: LogPod = serde_json::from_value(pod).unwrap();
        let all = in_namespace(&"shop".parse().unwrap(), pod).unwrap().sources(Instances::Both);
        let seen: Vec<_> = all.iter().map(|one| (one.container.as_str(), one.obstacle.as_deref())).collect();
        assert_eq!(seen, [("setup", Some(obstacle)), ("app", Some(obstacle))]);
    }

    /// What the node's controller takes away, and the kubelet would not.
    #[rstest]
    #[case::taken_away(json!([]), "True", "False", true)]
    #[case::ready(json!([]), "True", "True", false)]
    #[case::not_ready(json!([]), "False", "False", false)]
    #[case::by_a_readiness_gate(json!([{ "conditionType": "x/y" }]), "True", "False", false)]
    fn a_pod_shows_that_its_node_is_out_of_sight(
        #[case] gates: Value,
        #[case] containers: &str,
        #[case] ready: &str,
        #[case] out: bool,
    ) {
        let condition = |kind: &str, status: &str| json!({ "type": kind, "status": status });
        let conditions = json!([condition("ContainersReady", containers), condition("Ready", ready)]);
        let spec = json!({ "nodeName": "n1", "readinessGates": gates, "containers": [{ "name": "app" }] });
        let pod = json!({ "metadata": { "name": "web-1" }, "spec": spec, "status": { "conditions": conditions } });
        let pod: LogPod = serde_json::from_value(pod).unwrap();
        let all = in_namespace(&"shop".parse().unwrap(), pod).unwrap().sources(Instances::Both);
        assert_eq!((all[0].node.as_deref(), all[0].out_of_sight), (Some("n1"), out));
    }

    #[rstest]
    #[case::from_the_beginning(Some(3), None, None, false)]
    #[case::silent_or_rotated(Some(60), None, None, true)]
    #[case::empty_though_it_runs(None, None, None, true)]
    #[case::empty_and_soon_over(None, Some(2), None, false)]
    #[case::empty_and_long_over(None, Some(60), None, true)]
    #[case::only_the_last_minute_was_asked_for(Some(3590), None, Some(60), false)]
    #[case::nothing_in_the_last_minute(None, None, Some(60), true)]
    #[case::over_before_the_last_minute(None, Some(600), Some(60), false)]
    fn says_when_a_log_may_lack_its_beginning(
        #[case] begins: Option<i64>,
        #[case] until: Option<i64>,
        #[case] since: Option<i64>,
        #[case] says: bool,
    ) {
        let from = Timestamp::from_second(Timestamp::now().as_second() - 3600).unwrap();
        let after = |seconds: i64| Timestamp::from_second(from.as_second() + seconds).unwrap();
        let ran = Ran { from, until: until.map(after) };
        let ends = begins.map(|begins| after(begins + 10));
        let served = Served { lines: 10, bytes: 1000, begins: begins.map(after), ends, ..Served::now() };
        assert_eq!(ran.missing(&served, since).is_some(), says);
    }

    #[test]
    fn who_writes_much_may_have_written_much_in_the_first_seconds() {
        let from = Timestamp::from_second(Timestamp::now().as_second() - 60).unwrap();
        let after = |seconds: i64| Some(Timestamp::from_second(from.as_second() + seconds).unwrap());
        let served = Served { lines: 6000, bytes: 6 << 20, begins: after(3), ends: after(6), ..Served::now() };
        assert!(Ran { from, until: None }.missing(&served, None).is_some());
        let within = Served { begins: after(30), ends: after(33), ..served };
        assert!(
            Ran { from: after(-600).unwrap(), until: None }.missing(&within, Some(50)).is_some(),
            "within what was asked for"
        );
        let slow = Served { bytes: 6 << 10, begins: after(3), ends: after(6), ..within };
        assert!(Ran { from, until: None }.missing(&slow, None).is_none());
    }
}
