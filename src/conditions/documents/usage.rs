//! Documents about the usage of pods, by the metrics API.

use std::collections::BTreeMap;
use std::time::Duration;

use actions::cluster::error::{Error, Result};
use actions::cluster::{Cluster, Query};
use actions::k8s::Resource;
use actions::k8s::object::text;
use actions::k8s::quantity::quantity;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use super::pods::{Limits, Resources, limits};
use super::target::{ConditionTarget, Owned};
use super::{Document, Entry, listed};

/// Current usage of a running pod of the target, by the metrics API.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct UsageDocument {
    /// Name of the pod.
    pub pod: String,
    /// Usage of all containers; null when the metrics server has not measured the pod yet.
    pub usage: Option<Resources>,
    /// The most that the containers may use.
    pub limits: Limits,
}

/// A pod's limits, until its usage is known.
#[derive(Debug)]
struct Limited {
    pod: String,
    running: bool,
    limits: Limits,
    owned: Owned,
}

impl Document for Limited {
    fn read(pod: &Value) -> Self {
        Self {
            pod: text(pod, "/metadata/name").unwrap_or_default().to_owned(),
            running: text(pod, "/status/phase") == Some("Running")
                && pod.pointer("/metadata/deletionTimestamp").is_none(),
            limits: pod.get("spec").map(limits).unwrap_or_default(),
            owned: Owned::read(pod),
        }
    }

    fn concerns(&self, about: &ConditionTarget) -> bool {
        self.running && about.owns(&self.owned)
    }
}

/// The metrics API's answer about a pod.
#[derive(Debug)]
struct Used(Resources);

/// Returns the resource of pod metrics, which only a metrics server serves.
pub fn pod_metrics() -> Resource {
    Resource::known(("metrics.k8s.io", "v1beta1"), "PodMetrics", "pods")
}

impl Document for Used {
    fn read(metrics: &Value) -> Self {
        let containers = metrics.get("containers").and_then(Value::as_array).into_iter().flatten();
        let mut usage = Resources::default();
        for container in containers {
            let amount =
                |name: &str| container.pointer("/usage").and_then(|all| quantity(all.get(name)?)).unwrap_or(0.0);
            usage.cpu += amount("cpu");
            usage.memory += amount("memory");
        }
        Self(usage.rounded())
    }
}

/// Returns the usage, or why there is none.
pub(super) async fn usage(
    cluster: &Cluster,
    about: &ConditionTarget,
) -> Result<std::result::Result<Vec<UsageDocument>, String>> {
    /// The answer comes from memory; a server that is not there must not delay the run.
    const LIMIT: Duration = Duration::from_secs(5);
    let Some(query) = about.pods() else { return Ok(Err("the target has no pods of its own".to_owned())) };
    let metrics = Query { resource: pod_metrics(), ..query.clone() };
    match cluster.until(Instant::now() + LIMIT).list::<Entry<Used>>(&metrics).await {
        Ok((all, _)) => {
            let mut used: BTreeMap<String, Resources> = all.into_iter().map(|one| (one.name, one.document.0)).collect();
            let pods = listed::<Limited>(cluster, about, query).await?;
            let document =
                |one: Limited| UsageDocument { usage: used.remove(&one.pod), limits: one.limits, pod: one.pod };
            Ok(Ok(pods.into_iter().map(document).collect()))
        }
        Err(Error::NotServed(_)) => Ok(Err("this cluster serves no metrics.k8s.io: no metrics server".to_owned())),
        Err(Error::Unavailable { message, .. }) => Ok(Err(format!("metrics.k8s.io does not answer: {message}"))),
        Err(error) => Err(error),
    }
}
