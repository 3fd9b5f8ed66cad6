//! Documents about other objects beside a target: autoscalers, budgets, quotas, pull secrets, revisions, events.

use std::collections::BTreeMap;

use actions::cluster::error::Result;
use actions::cluster::{Cluster, Query, server_name};
use actions::k8s::object::{number, text};
use actions::k8s::quantity::quantity;
use actions::k8s::selector::selects;
use actions::k8s::{ObjectRef, Resource};
use actions::workload::autoscaler::ScaleTarget;
use actions::workload::revisions;
use contract::text::shorten;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::target::ConditionTarget;
use super::{Document, Entry};

/// A HorizontalPodAutoscaler that targets the object. KEDA's ScaledObjects work through one too.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AutoscalerDocument {
    /// Name.
    pub name: String,
    /// `minReplicas`; 1 by default.
    pub min_replicas: i64,
    /// `maxReplicas`
    pub max_replicas: i64,
    /// Number of pods that the autoscaler sees.
    pub current_replicas: i64,
    /// Number of pods that the autoscaler wants.
    pub desired_replicas: i64,
    #[serde(skip)]
    target: ScaleTarget,
}

impl Document for AutoscalerDocument {
    fn read(autoscaler: &Value) -> Self {
        let own = |pointer: &str| text(autoscaler, pointer).unwrap_or_default().to_owned();
        Self {
            name: own("/metadata/name"),
            min_replicas: autoscaler.pointer("/spec/minReplicas").and_then(Value::as_i64).unwrap_or(1),
            max_replicas: number(autoscaler, "/spec/maxReplicas"),
            current_replicas: number(autoscaler, "/status/currentReplicas"),
            desired_replicas: number(autoscaler, "/status/desiredReplicas"),
            target: ScaleTarget::of(autoscaler),
        }
    }

    fn concerns(&self, about: &ConditionTarget) -> bool {
        about.object.as_ref().is_some_and(|object| self.target.is(object))
    }
}

/// A PodDisruptionBudget that selects the target's pods.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DisruptionBudgetDocument {
    /// Name.
    pub name: String,
    /// Number of pods that may be evicted now.
    pub disruptions_allowed: i64,
    /// Number of healthy pods.
    pub current_healthy: i64,
    /// Number of pods that must be healthy.
    pub desired_healthy: i64,
    /// Number of pods that the budget counts.
    pub expected_pods: i64,
    #[serde(skip)]
    selector: Option<Value>,
}

impl Document for DisruptionBudgetDocument {
    fn read(budget: &Value) -> Self {
        let status = |field: &str| number(budget, &format!("/status/{field}"));
        Self {
            name: text(budget, "/metadata/name").unwrap_or_default().to_owned(),
            disruptions_allowed: status("disruptionsAllowed"),
            current_healthy: status("currentHealthy"),
            desired_healthy: status("desiredHealthy"),
            expected_pods: status("expectedPods"),
            selector: budget.pointer("/spec/selector").cloned(),
        }
    }

    fn concerns(&self, about: &ConditionTarget) -> bool {
        self.selector.as_ref().is_some_and(|selector| selects(selector, &about.pod_labels()))
    }
}

/// A `ResourceQuota` of the namespace.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct QuotaDocument {
    /// Name.
    pub name: String,
    /// Limit of each resource, such as `pods` or `requests.cpu`: cores, bytes, or a count.
    pub hard: BTreeMap<String, f64>,
    /// Used amount of each resource.
    pub used: BTreeMap<String, f64>,
    /// True when the quota is only for some pods (`scopes`, `scopeSelector`).
    pub scoped: bool,
}

/// Returns the resource of quotas.
pub fn quotas() -> Resource {
    Resource::known(("", "v1"), "ResourceQuota", "resourcequotas")
}

impl Document for QuotaDocument {
    fn read(quota: &Value) -> Self {
        let amounts = |at: &str| {
            let all = quota.pointer(at).and_then(Value::as_object).into_iter().flatten();
            all.filter_map(|(name, amount)| Some((name.clone(), quantity(amount)?))).collect()
        };
        let name = text(quota, "/metadata/name").unwrap_or_default().to_owned();
        let scoped = quota.pointer("/spec/scopes").is_some() || quota.pointer("/spec/scopeSelector").is_some();
        Self { name, hard: amounts("/status/hard"), used: amounts("/status/used"), scoped }
    }
}

/// A Secret with which the pods pull images.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PullSecretDocument {
    /// Name.
    pub name: String,
    /// True when a Secret of this name exists. Its content is not read.
    pub exists: bool,
}

/// Returns the resource of Secrets.
pub fn secrets() -> Resource {
    Resource::known(("", "v1"), "Secret", "secrets")
}

/// Checks the Secrets that the template names (not those that the ServiceAccount adds).
pub(super) async fn pull_secrets(cluster: &Cluster, about: &ConditionTarget) -> Result<Vec<PullSecretDocument>> {
    let named = about.pod_spec().and_then(|spec| spec.get("imagePullSecrets")?.as_array());
    let mut all = Vec::new();
    for name in named.into_iter().flatten().filter_map(|one| text(one, "/name")) {
        let resource = secrets();
        let object = ObjectRef { resource, namespace: about.namespace.clone(), name: server_name(name)?, uid: None };
        all.push(PullSecretDocument { name: name.to_owned(), exists: cluster.exists(&object).await? });
    }
    Ok(all)
}

/// A revision of the workload, newest first.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RevisionDocument {
    /// Name of the ReplicaSet or ControllerRevision.
    pub name: String,
    /// Number of the revision; the highest is the newest.
    pub number: i64,
    /// True when the revision's template is the workload's current one.
    pub current: bool,
    /// Images of the containers.
    pub images: Vec<String>,
}

pub(super) async fn revisions(cluster: &Cluster, about: &ConditionTarget) -> Result<Vec<RevisionDocument>> {
    let (Some(object), Some(kind)) = (about.object.as_ref(), about.kind()) else { return Ok(Vec::new()) };
    let all = revisions::list(cluster, kind, object, &about.value).await?;
    let current = revisions::current(&all, &about.value).map(|revision| revision.name.clone());
    let images = |template: &Value| {
        let containers = template.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
        containers.filter_map(|one| text(one, "/image")).map(str::to_owned).collect()
    };
    let document = |one: revisions::Revision| RevisionDocument {
        current: current.as_ref() == Some(&one.name),
        number: one.number,
        images: images(&one.template),
        name: one.name,
    };
    Ok(all.into_iter().map(document).collect())
}

/// An event about the target itself.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventDocument {
    /// `Normal` or `Warning`.
    pub r#type: String,
    /// Reason, such as `FailedScheduling`.
    pub reason: String,
    /// Message, cut to 200 bytes.
    pub message: String,
    /// Number of times that the event happened.
    pub count: i64,
    /// Time of the last time, as RFC 3339.
    pub last_seen: String,
}

/// Returns the resource of events.
pub fn events() -> Resource {
    Resource::known(("", "v1"), "Event", "events")
}

impl Document for EventDocument {
    fn read(event: &Value) -> Self {
        let own = |pointer: &str| text(event, pointer).unwrap_or_default().to_owned();
        let count = number(event, "/count").max(number(event, "/series/count")).max(1);
        let last = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
        Self {
            r#type: own("/type"),
            reason: own("/reason"),
            message: shorten(&own("/message"), MESSAGE_LIMIT),
            count,
            last_seen: last.into_iter().find_map(|at| text(event, at)).unwrap_or_default().to_owned(),
        }
    }
}

/// The longest message in bytes: enough to recognize it.
pub(super) const MESSAGE_LIMIT: usize = 200;

/// Reads the newest events about the target, at most 50.
pub(super) async fn events_about(cluster: &Cluster, about: &ConditionTarget) -> Result<Vec<EventDocument>> {
    const MOST: usize = 50;
    let Some(uid) = about.object.as_ref().and_then(|object| object.uid.clone()) else { return Ok(Vec::new()) };
    // Kubelets put the node's name in place of its UID, and whoever posts those events chooses their namespace.
    let field = match (&about.namespace, &about.object) {
        (None, Some(node)) => ("involvedObject.name", node.name.to_string()),
        _ => ("involvedObject.uid", uid),
    };
    let namespace = about.namespace.clone();
    let query = Query { resource: events(), namespace, labels: String::new(), name: None, field: Some(field) };
    let (events, _) = cluster.list::<Entry<EventDocument>>(&query).await?;
    let mut events: Vec<EventDocument> = events.into_iter().map(Entry::into_document).collect();
    events.sort_by(|a, b| b.last_seen.cmp(&a.last_seen));
    events.truncate(MOST);
    Ok(events)
}
