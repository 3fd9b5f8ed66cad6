//! Documents about objects beside the target, for conditions: small, typed, each read only if a condition names it.
//!
//! The documents are summaries, not the objects: a run in 64 MiB must be able to read a thousand pods, and a condition
//! that compares numbers should not have to parse `500m`.

mod nodes;
mod objects;
mod pods;
mod related;
mod rollout;
mod target;
mod usage;
mod watch;

use std::collections::{BTreeMap, BTreeSet};

use actions::workload::autoscaler::autoscalers;
use actions::workload::eviction::disruption_budgets;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

pub use nodes::NodeDocument;
pub use objects::{
    AutoscalerDocument, DisruptionBudgetDocument, EventDocument, PullSecretDocument, QuotaDocument, RevisionDocument,
};
pub use pods::{PodDocument, Resources};
pub use related::Related;
pub use rollout::pending;
pub use target::ConditionTarget;
pub use usage::UsageDocument;
pub use watch::Watched;

use actions::cluster::error::{Error, Result};
use actions::cluster::{Cluster, Item, Query, key};
use actions::k8s::object::text;
use actions::k8s::{Kind, Resource};

use related::Presence;

/// The documents that were read.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Documents {
    /// Pods of the target: of a workload, of a Job, of the pod's own controller, on the node, or of the selection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<Vec<PodDocument>>,
    /// Resources that the scheduler reserves for one pod of the target's template. Needs no request to the API server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_requests: Option<Resources>,
    /// Nodes of the cluster, with what their pods request: lists all nodes, and all pods of all namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Vec<NodeDocument>>,
    /// The HorizontalPodAutoscalers that target the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autoscalers: Option<Vec<AutoscalerDocument>>,
    /// The `PodDisruptionBudgets` that select the target's pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disruption_budgets: Option<Vec<DisruptionBudgetDocument>>,
    /// The `ResourceQuotas` of the namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quotas: Option<Vec<QuotaDocument>>,
    /// The `imagePullSecrets` of the target's template, and whether they exist. The only RBAC verb for that is `get
    /// secrets`, which can read them: narrow it by `resourceNames`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_secrets: Option<Vec<PullSecretDocument>>,
    /// The revisions of a Deployment, StatefulSet or DaemonSet, newest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revisions: Option<Vec<RevisionDocument>>,
    /// The newest 50 events about the target itself, newest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<EventDocument>>,
    /// Usage of each pod, by metrics.k8s.io; without a metrics server, a condition that names this is not evaluated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Vec<UsageDocument>>,
    /// Reasons why requested documents are missing.
    #[serde(skip)]
    pub missing: BTreeMap<Related, String>,
}

impl Documents {
    /// Returns only the named documents, without others that were read too.
    #[must_use]
    pub fn only(&self, related: &BTreeSet<Related>) -> Self {
        let has = |one: Related| related.contains(&one);
        let mut own = self.clone();
        own.pods.take_if(|_| !has(Related::Pods));
        own.pod_requests.take_if(|_| !has(Related::PodRequests));
        own.nodes.take_if(|_| !has(Related::Nodes));
        own.autoscalers.take_if(|_| !has(Related::Autoscalers));
        own.disruption_budgets.take_if(|_| !has(Related::DisruptionBudgets));
        own.quotas.take_if(|_| !has(Related::Quotas));
        own.pull_secrets.take_if(|_| !has(Related::PullSecrets));
        own.revisions.take_if(|_| !has(Related::Revisions));
        own.events.take_if(|_| !has(Related::Events));
        own.usage.take_if(|_| !has(Related::Usage));
        own
    }
}

/// A summary of an object.
trait Document: Sized + Send + 'static {
    /// Reads the object.
    fn read(object: &Value) -> Self;
    /// Returns whether the object is about the target, if the query returns more than that.
    fn concerns(&self, _about: &ConditionTarget) -> bool {
        true
    }
}

/// A document with the name of its object, as lists and watches return it.
#[derive(Debug)]
struct Entry<D> {
    name: String,
    key: String,
    document: D,
}

impl<D> Entry<D> {
    fn into_document(self) -> D {
        self.document
    }
}

impl<'de, D: Document> Deserialize<'de> for Entry<D> {
    fn deserialize<S: Deserializer<'de>>(deserializer: S) -> std::result::Result<Self, S::Error> {
        let object = Value::deserialize(deserializer)?;
        let name = text(&object, "/metadata/name").unwrap_or_default().to_owned();
        let key = key(Self::BY_NAMESPACE, text(&object, "/metadata/namespace").unwrap_or_default(), name.clone());
        Ok(Self { name, key, document: D::read(&object) })
    }
}

impl<D: Document> Item for Entry<D> {
    /// A node's pods are in all namespaces.
    const BY_NAMESPACE: bool = true;
    fn key(&self) -> &str {
        &self.key
    }
}

/// The documents that are needed, each with true if a required condition needs it.
pub type Needed = BTreeMap<Related, bool>;

/// Reads the documents once. A document that cannot be read is missing with its reason, unless required.
pub async fn read(cluster: &Cluster, about: &ConditionTarget, needed: &Needed) -> Result<Documents> {
    let mut documents = Documents::default();
    for (one, required) in needed.iter().map(|(one, required)| (*one, *required)) {
        let done = match one.presence(about) {
            Presence::Fits => read_one(cluster, about, one, &mut documents).await,
            Presence::Unknowable(why) => {
                documents.missing.insert(one, why);
                continue;
            }
            Presence::Unfit(error) => Err(error),
        };
        match done {
            Ok(()) => {}
            Err(error) if required => return Err(error),
            Err(error) => {
                documents.missing.insert(one, error.full_message());
            }
        }
    }
    Ok(documents)
}

async fn read_one(cluster: &Cluster, about: &ConditionTarget, one: Related, documents: &mut Documents) -> Result<()> {
    match one {
        Related::Pods => documents.pods = Some(listed(cluster, about, pods_query(about)?).await?),
        Related::Nodes => {
            let mut nodes: Vec<NodeDocument> = listed(cluster, about, everywhere(&Kind::Node.resource())).await?;
            with_requested(&mut nodes, &nodes::requested(cluster).await?);
            documents.nodes = Some(nodes);
        }
        Related::Autoscalers => {
            documents.autoscalers = Some(listed(cluster, about, in_namespace(about, autoscalers())).await?);
        }
        Related::DisruptionBudgets => {
            let query = in_namespace(about, disruption_budgets());
            documents.disruption_budgets = Some(listed(cluster, about, query).await?);
        }
        Related::Quotas => {
            documents.quotas = Some(listed(cluster, about, in_namespace(about, objects::quotas())).await?);
        }
        other => read_single(cluster, about, other, documents).await?,
    }
    Ok(())
}

/// Reads the documents that cannot be followed, or need not be.
async fn read_single(
    cluster: &Cluster,
    about: &ConditionTarget,
    one: Related,
    documents: &mut Documents,
) -> Result<()> {
    match one {
        Related::PodRequests => documents.pod_requests = about.pod_spec().map(pods::requests),
        Related::PullSecrets => documents.pull_secrets = Some(objects::pull_secrets(cluster, about).await?),
        Related::Revisions => documents.revisions = Some(objects::revisions(cluster, about).await?),
        Related::Events => documents.events = Some(objects::events_about(cluster, about).await?),
        Related::Usage => match usage::usage(cluster, about).await? {
            Ok(usage) => documents.usage = Some(usage),
            Err(why) => {
                documents.missing.insert(one, why);
            }
        },
        Related::Pods | Related::Nodes | Related::Autoscalers | Related::DisruptionBudgets | Related::Quotas => {}
    }
    Ok(())
}

async fn listed<D: Document>(cluster: &Cluster, about: &ConditionTarget, query: Query) -> Result<Vec<D>> {
    let (all, _) = cluster.list::<Entry<D>>(&query).await?;
    Ok(all.into_iter().map(Entry::into_document).filter(|document| document.concerns(about)).collect())
}

fn with_requested(nodes: &mut [NodeDocument], requested: &BTreeMap<String, nodes::Room>) {
    for node in nodes {
        node.requested = requested.get(&node.name).copied().unwrap_or_default();
    }
}

fn pods_query(about: &ConditionTarget) -> Result<Query> {
    about.pods().ok_or_else(|| Error::Internal(format!("{} has no pods", about.shown())))
}

fn everywhere(resource: &Resource) -> Query {
    Query { resource: resource.clone(), namespace: None, labels: String::new(), name: None, field: None }
}

fn in_namespace(about: &ConditionTarget, resource: Resource) -> Query {
    Query { namespace: about.namespace.clone(), ..everywhere(&resource) }
}
