//! Documents about the target's pods, and the resources that one of them requests.

use actions::k8s::object::{label, number, text};
use actions::k8s::quantity::quantity;
use contract::text::shorten;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::Document;
use super::objects::MESSAGE_LIMIT;
use super::target::{ConditionTarget, Owned};

/// CPU and memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, JsonSchema)]
pub struct Resources {
    /// Cores: 0.5 for `500m`.
    pub cpu: f64,
    /// Bytes.
    pub memory: f64,
}

impl Resources {
    fn read(amounts: Option<&Value>) -> Self {
        let one = |name: &str| amounts.and_then(|all| quantity(all.get(name)?)).unwrap_or(0.0);
        Self { cpu: one("cpu"), memory: one("memory") }
    }

    /// Returns the requests of a container.
    fn wanted(resources: Option<&Value>) -> Self {
        let one = |name: &str| wanted(resources, name).unwrap_or(0.0);
        Self { cpu: one("cpu"), memory: one("memory") }
    }

    /// Rounds sums of decimal fractions, which are a little off: 39 times 0.1 is 3.9000000000000017.
    pub(super) fn rounded(self) -> Self {
        const MICRO: f64 = 1e6;
        Self { cpu: (self.cpu * MICRO).round() / MICRO, memory: self.memory.round() }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self { cpu: self.cpu + other.cpu, memory: self.memory + other.memory }
    }

    fn max(self, other: Self) -> Self {
        Self { cpu: self.cpu.max(other.cpu), memory: self.memory.max(other.memory) }
    }
}

/// Returns what the scheduler reserves for a pod: its containers and sidecars together, or the peak of an init
/// container with the sidecars before it. A value for the whole pod wins; overhead is added.
///
/// A limit without a request counts as a request: the API server adds that to pods, but not to templates. (What a
/// `LimitRange` adds is not seen.)
pub fn requests(spec: &Value) -> Resources {
    let of = |container: &Value| Resources::wanted(container.get("resources"));
    let all = |field: &str| spec.get(field).and_then(Value::as_array).into_iter().flatten();
    let (mut sidecars, mut peak) = (Resources::default(), Resources::default());
    for init in all("initContainers") {
        if text(init, "/restartPolicy") == Some("Always") {
            sidecars = sidecars.plus(of(init));
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(sidecars.plus(of(init)));
        }
    }
    let running = all("containers").fold(sidecars, |sum, container| sum.plus(of(container)));
    let mut whole = running.max(peak);
    // A value for the whole pod wins.
    whole.cpu = wanted(spec.get("resources"), "cpu").unwrap_or(whole.cpu);
    whole.memory = wanted(spec.get("resources"), "memory").unwrap_or(whole.memory);
    whole.plus(Resources::read(spec.get("overhead"))).rounded()
}

/// Returns the request for one resource.
fn wanted(resources: Option<&Value>, name: &str) -> Option<f64> {
    let of = |field: &str| resources?.get(field)?.get(name).and_then(quantity);
    of("requests").or_else(|| of("limits"))
}

/// The most that a pod may use, if all of its containers have a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, JsonSchema)]
pub struct Limits {
    /// Cores; null where a container has none.
    pub cpu: Option<f64>,
    /// Bytes; null where a container has none.
    pub memory: Option<f64>,
}

/// Returns the limits of a pod's containers and sidecars together; a value for the whole pod wins.
pub fn limits(spec: &Value) -> Limits {
    let all = |field: &str| spec.get(field).and_then(Value::as_array).into_iter().flatten();
    let one = |name: &str| {
        let of = |holder: &Value| quantity(holder.pointer("/resources/limits")?.get(name)?);
        let sidecars = all("initContainers").filter(|init| text(init, "/restartPolicy") == Some("Always"));
        of(spec).or_else(|| all("containers").chain(sidecars).map(of).sum())
    };
    Limits { cpu: one("cpu"), memory: one("memory") }
}

/// One of the target's pods.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodDocument {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Name of the pod's node; empty before the pod is scheduled.
    pub node: String,
    /// Revision, from the label `pod-template-hash` or `controller-revision-hash`; empty without either.
    pub revision: String,
    /// Kind of the controller, such as `ReplicaSet`; empty for a pod that nothing would replace.
    pub controller_kind: String,
    /// `Pending`, `Running`, `Succeeded`, `Failed`, `Unknown`
    pub phase: String,
    /// True when the `Ready` condition is true.
    pub ready: bool,
    /// True while the pod is being deleted.
    pub terminating: bool,
    /// Reason why no node takes the pod; empty when one does.
    pub unschedulable: String,
    /// Restarts of all containers together.
    pub restarts: i64,
    /// Requested resources.
    pub requests: Resources,
    /// Containers, init containers first.
    pub containers: Vec<ContainerDocument>,
    #[serde(skip)]
    owned: Owned,
}

/// One container's state.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerDocument {
    /// Name.
    pub name: String,
    /// True for an init container.
    pub init: bool,
    /// Image.
    pub image: String,
    /// True when the container is ready.
    pub ready: bool,
    /// Number of restarts.
    pub restarts: i64,
    /// `waiting`, `running`, `terminated`; empty before the container has a state.
    pub state: String,
    /// Reason for waiting or ending: `CrashLoopBackOff`, `ImagePullBackOff`, `OOMKilled`, …; empty while running.
    pub reason: String,
    /// Message about the state, cut to 200 bytes.
    pub message: String,
    /// Exit code of the last end; null if the container has never ended.
    pub exit_code: Option<i64>,
    /// Reason for the end of the instance before; empty when there was none.
    pub last_reason: String,
}

impl Document for PodDocument {
    fn read(pod: &Value) -> Self {
        let own = |pointer: &str| text(pod, pointer).unwrap_or_default().to_owned();
        let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
        let condition = |kind: &str| conditions.into_iter().flatten().find(|one| text(one, "/type") == Some(kind));
        let unscheduled = condition("PodScheduled").filter(|one| text(one, "/reason") == Some("Unschedulable"));
        let containers = containers(pod);
        let revision = label(pod, "pod-template-hash").or_else(|| label(pod, "controller-revision-hash"));
        Self {
            name: own("/metadata/name"),
            namespace: own("/metadata/namespace"),
            node: own("/spec/nodeName"),
            revision: revision.unwrap_or_default().to_owned(),
            controller_kind: actions::k8s::object::controller(pod)
                .and_then(|owner| text(owner, "/kind"))
                .unwrap_or_default()
                .to_owned(),
            phase: own("/status/phase"),
            ready: condition("Ready").is_some_and(|one| text(one, "/status") == Some("True")),
            terminating: pod.pointer("/metadata/deletionTimestamp").is_some(),
            unschedulable: unscheduled
                .map(|one| shorten(text(one, "/message").unwrap_or("no node fits"), MESSAGE_LIMIT))
                .unwrap_or_default(),
            restarts: containers.iter().map(|container| container.restarts).sum(),
            requests: pod.get("spec").map(requests).unwrap_or_default(),
            containers,
            owned: Owned::read(pod),
        }
    }

    fn concerns(&self, about: &ConditionTarget) -> bool {
        about.owns(&self.owned)
    }
}

fn containers(pod: &Value) -> Vec<ContainerDocument> {
    let of = |field: &'static str, init: bool| {
        let statuses = pod.pointer(field).and_then(Value::as_array).into_iter().flatten();
        statuses.map(move |status| container(status, init))
    };
    of("/status/initContainerStatuses", true).chain(of("/status/containerStatuses", false)).collect()
}

fn container(status: &Value, init: bool) -> ContainerDocument {
    let own = |pointer: &str| text(status, pointer).unwrap_or_default().to_owned();
    let state = ["waiting", "running", "terminated"]
        .into_iter()
        .find(|state| status.pointer(&format!("/state/{state}")).is_some());
    let state = state.unwrap_or_default();
    let exit = |at: &str| status.pointer(at).and_then(Value::as_i64);
    ContainerDocument {
        name: own("/name"),
        init,
        image: own("/image"),
        ready: status.get("ready").and_then(Value::as_bool) == Some(true),
        restarts: number(status, "/restartCount"),
        reason: own(&format!("/state/{state}/reason")),
        message: shorten(&own(&format!("/state/{state}/message")), MESSAGE_LIMIT),
        exit_code: exit("/state/terminated/exitCode").or_else(|| exit("/lastState/terminated/exitCode")),
        last_reason: own("/lastState/terminated/reason"),
        state: state.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn container_of(cpu: &str, sidecar: bool) -> Value {
        json!({ "resources": { "requests": { "cpu": cpu } }, "restartPolicy": if sidecar { "Always" } else { "" } })
    }

    #[test]
    fn asks_for_what_the_scheduler_reserves() {
        let spec = json!({
            "initContainers": [container_of("1", false), container_of("100m", true), container_of("2", false)],
            "containers": [container_of("500m", false), container_of("250m", false)],
            "overhead": { "cpu": "50m" },
        });
        assert!((requests(&spec).cpu - 2.15).abs() < 1e-9, "{:?}", requests(&spec));
        let whole = json!({ "containers": [container_of("500m", false)], "resources": { "requests": { "cpu": "3" } } });
        assert!((requests(&whole).cpu - 3.0).abs() < 1e-9);
        let only_limits =
            json!({ "containers": [{ "resources": { "limits": { "cpu": "2" }, "requests": { "memory": "1Ki" } } }] });
        assert_eq!(requests(&only_limits), Resources { cpu: 2.0, memory: 1024.0 });
        let many: Vec<Value> = (0..39).map(|_| container_of("100m", false)).collect();
        assert_eq!(requests(&json!({ "containers": many })), Resources { cpu: 3.9, memory: 0.0 });
    }

    #[test]
    fn one_container_without_a_limit_means_none() {
        let spec = json!({ "containers": [{ "resources": { "limits": { "memory": "64Mi" } } }, {}] });
        assert_eq!(limits(&spec), Limits::default());
        let sidecar = json!({ "restartPolicy": "Always", "resources": {} });
        let spec =
            json!({ "containers": [{ "resources": { "limits": { "memory": "64Mi" } } }], "initContainers": [sidecar] });
        assert_eq!(limits(&spec), Limits::default());
        let spec = json!({ "containers": [{ "resources": { "limits": { "memory": "64Mi" } } }] });
        assert_eq!(limits(&spec), Limits { cpu: None, memory: Some(67_108_864.0) });
    }
}
