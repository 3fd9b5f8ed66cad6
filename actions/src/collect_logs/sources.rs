//! Which containers of which pods there are to read.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Instances;
use crate::action::Named;
use crate::cluster::{Cluster, Query};
use crate::error::{Error, Result};
use crate::names::Namespace;
use crate::object::{Kind, ObjectRef, controller, text, uid};
use crate::wait::server_name;
use crate::workload::{self, selector};

/// A container's role in its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ContainerKind {
    /// It runs before the others, or beside them as a sidecar.
    Init,
    /// What the pod is for.
    Main,
    /// Added to the running pod to debug it.
    Ephemeral,
}

/// One log: a container's current or previous instance.
#[derive(Debug, Clone)]
pub struct Source {
    /// The pod.
    pub pod: ObjectRef,
    /// The container.
    pub container: String,
    /// Its role.
    pub kind: ContainerKind,
    /// The instance before the last restart.
    pub previous: bool,
    /// Why there is no log to ask for.
    pub obstacle: Option<String>,
}

/// A pod, cut down to its containers.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "Pod")]
struct LogPod {
    name: String,
    uid: String,
    containers: Vec<LogContainer>,
}

#[derive(Debug)]
struct LogContainer {
    name: String,
    kind: ContainerKind,
    restarted: bool,
    waiting: Option<String>,
}

/// A pod and its name as it reaches a URL.
pub struct PodSources {
    pod: ObjectRef,
    containers: Vec<LogContainer>,
}

impl From<Pod> for LogPod {
    fn from(pod: Pod) -> Self {
        let status = pod.status.unwrap_or_default();
        let of = |statuses: Option<Vec<ContainerStatus>>, kind| {
            statuses.unwrap_or_default().into_iter().map(move |status| container(status, kind))
        };
        let containers = of(status.init_container_statuses, ContainerKind::Init)
            .chain(of(status.container_statuses, ContainerKind::Main))
            .chain(of(status.ephemeral_container_statuses, ContainerKind::Ephemeral))
            .collect();
        Self { name: pod.metadata.name.unwrap_or_default(), uid: pod.metadata.uid.unwrap_or_default(), containers }
    }
}

fn container(status: ContainerStatus, kind: ContainerKind) -> LogContainer {
    let waiting = status
        .state
        .as_ref()
        .and_then(|state| state.waiting.as_ref())
        .map(|waiting| waiting.reason.clone().unwrap_or_default());
    let ran_before = status.last_state.as_ref().is_some_and(|state| state.terminated.is_some());
    LogContainer {
        name: status.name,
        kind,
        // While a container waits for its next start, the kubelet serves its last instance as the current one.
        restarted: ran_before && waiting.is_none(),
        waiting: waiting.filter(|_| !ran_before),
    }
}

impl PodSources {
    /// The logs to ask for.
    pub fn sources(self, instances: Instances) -> Vec<Source> {
        let pod = self.pod;
        let mut all = Vec::new();
        for container in self.containers {
            let source = |previous: bool| Source {
                pod: pod.clone(),
                container: container.name.clone(),
                kind: container.kind,
                previous,
                obstacle: container
                    .waiting
                    .as_ref()
                    .map(|reason| format!("it has not started yet ({reason})"))
                    .filter(|_| !previous),
            };
            if instances != Instances::Current && container.restarted {
                all.push(source(true));
            }
            if instances != Instances::Previous {
                all.push(source(false));
            }
        }
        all
    }
}

/// The pods that are meant, and the object that was named (none for a selector).
pub async fn pods(cluster: &Cluster, named: &Named) -> Result<(Option<ObjectRef>, Vec<PodSources>)> {
    let object = match named {
        Named::Selection { namespace, selector } => {
            let pods = select(cluster, namespace, selector.clone()).await?;
            if pods.is_empty() {
                return Err(Error::TargetNotFound(format!(
                    "no pod in namespace {namespace} has the labels {selector:?}; check TARGET_SELECTOR"
                )));
            }
            return Ok((None, pods));
        }
        Named::Object(object) => object,
    };
    let found = workload::find(cluster, object, |_| false).await?;
    let namespace = found
        .object
        .namespace
        .clone()
        .ok_or_else(|| Error::InvalidRequest(format!("{object} has no pods of its own")))?;
    let pods = match found.kind() {
        Some(Kind::Pod) => {
            let pod: LogPod =
                serde_json::from_value(found.value).map_err(|error| Error::Internal(error.to_string()))?;
            vec![in_namespace(&namespace, pod)?]
        }
        Some(Kind::CronJob) => {
            let uids = jobs_of(cluster, &found.object).await?;
            if uids.is_empty() {
                Vec::new()
            } else {
                select(cluster, &namespace, format!("batch.kubernetes.io/controller-uid in ({})", uids.join(",")))
                    .await?
            }
        }
        _ => select(cluster, &namespace, selector(&found.value)).await?,
    };
    Ok((Some(found.object), pods))
}

async fn select(cluster: &Cluster, namespace: &Namespace, labels: String) -> Result<Vec<PodSources>> {
    let query = Query { resource: Kind::Pod.resource(), namespace: Some(namespace.clone()), labels, name: None };
    let (pods, _) = cluster.list::<LogPod>(&query).await?;
    pods.into_iter().map(|pod| in_namespace(namespace, pod)).collect()
}

fn in_namespace(namespace: &Namespace, pod: LogPod) -> Result<PodSources> {
    let name = server_name(&pod.name)?;
    let object =
        ObjectRef { resource: Kind::Pod.resource(), namespace: Some(namespace.clone()), name, uid: Some(pod.uid) };
    Ok(PodSources { pod: object, containers: pod.containers })
}

/// UIDs of the Jobs that a CronJob made: their pods carry them as a label.
async fn jobs_of(cluster: &Cluster, cron: &ObjectRef) -> Result<Vec<String>> {
    let (jobs, _) = cluster.list::<Value>(&Query::beside(cron, Kind::Job.resource(), "")).await?;
    let of_cron = |job: &&Value| controller(job).and_then(|owner| text(owner, "/uid")) == cron.uid.as_deref();
    Ok(jobs.iter().filter(of_cron).map(|job| uid(job).to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

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
    #[case::not_started(json!({ "waiting": { "reason": "ImagePullBackOff" } }), json!({}), Instances::Both, &[(false, true)])]
    fn asks_for_the_logs_there_are(
        #[case] state: Value,
        #[case] last: Value,
        #[case] instances: Instances,
        #[case] expected: &[(bool, bool)],
    ) {
        assert_eq!(sources(state, last, instances), expected);
    }
}
