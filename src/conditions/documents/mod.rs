//! What stands beside the target, for conditions: small typed documents, each read only when a condition names it.
//!
//! They are summaries, not the objects: a run in 64 MiB must be able to look at a thousand pods, and a condition that
//! compares numbers should not have to read `500m`.

mod nodes;
mod objects;
mod pods;
mod rollout;
mod target;
mod watch;

use std::collections::{BTreeMap, BTreeSet};

use actions::workload::autoscaler::autoscalers;
use actions::workload::budget::disruption_budgets;
use actions::workload::revisions;
use contract::text::did_you_mean;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

pub use nodes::NodeDocument;
pub use objects::{
    AutoscalerDocument, DisruptionBudgetDocument, EventDocument, PullSecretDocument, QuotaDocument, RevisionDocument,
    UsageDocument,
};
pub use pods::{PodDocument, Resources};
pub use rollout::pending;
pub use target::ConditionTarget;
pub use watch::Watched;

use actions::cluster::error::{Error, Result};
use actions::cluster::{Cluster, Item, Query, key};
use actions::k8s::object::text;
use actions::k8s::{Kind, Permission, Resource};

/// One of the documents: `input.related.<name>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Related {
    /// The target's pods.
    Pods,
    /// What one pod of the target asks for.
    PodRequests,
    /// Every node, with what the pods on it ask for.
    Nodes,
    /// The autoscalers that set the target's replicas.
    Autoscalers,
    /// The disruption budgets of the target's pods.
    DisruptionBudgets,
    /// The quotas of the namespace.
    Quotas,
    /// The Secrets that the target's pods pull images with.
    PullSecrets,
    /// The target's revisions.
    Revisions,
    /// The events about the target.
    Events,
    /// What the target's pods use.
    Usage,
}

/// The documents that were read.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Documents {
    /// The target's pods: of a workload, of a Job, of the pod's own controller, on the node, or of the selection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<Vec<PodDocument>>,
    /// What the scheduler reserves for one pod of the target's template. No request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_requests: Option<Resources>,
    /// Every node of the cluster, with what the pods on it ask for: lists all nodes, and all pods of all namespaces.
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
    /// The `imagePullSecrets` of the target's template, and whether they exist. RBAC knows no verb for that but `get
    /// secrets`, which can read them: narrow it by `resourceNames`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_secrets: Option<Vec<PullSecretDocument>>,
    /// The revisions of a Deployment, StatefulSet or DaemonSet, newest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revisions: Option<Vec<RevisionDocument>>,
    /// The newest 50 events about the target itself, newest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<EventDocument>>,
    /// What each pod uses, by metrics.k8s.io; a condition that names it is not evaluated where no metrics server is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Vec<UsageDocument>>,
    /// Why a document that was asked for is not there.
    #[serde(skip)]
    pub missing: BTreeMap<Related, String>,
}

impl Related {
    /// All of them, in the order of the documentation.
    pub const ALL: [Related; 10] = [
        Related::Pods,
        Related::PodRequests,
        Related::Nodes,
        Related::Autoscalers,
        Related::DisruptionBudgets,
        Related::Quotas,
        Related::PullSecrets,
        Related::Revisions,
        Related::Events,
        Related::Usage,
    ];

    /// As it stands in `input.related`.
    pub const fn name(self) -> &'static str {
        match self {
            Related::Pods => "pods",
            Related::PodRequests => "podRequests",
            Related::Nodes => "nodes",
            Related::Autoscalers => "autoscalers",
            Related::DisruptionBudgets => "disruptionBudgets",
            Related::Quotas => "quotas",
            Related::PullSecrets => "pullSecrets",
            Related::Revisions => "revisions",
            Related::Events => "events",
            Related::Usage => "usage",
        }
    }

    /// The document of a name, or a sentence that says which there are.
    pub fn parse(name: &str) -> std::result::Result<Self, String> {
        Self::ALL.into_iter().find(|one| one.name() == name).ok_or_else(|| {
            let hint = did_you_mean(name, Self::ALL.map(Self::name));
            let all = Self::ALL.map(Self::name).join(", ");
            format!("input.related has no {name:?}{hint}; it has {all}")
        })
    }

    /// What reading it needs, for a target of this kind; with `watch`, what following it needs.
    pub fn permissions(self, resource: &Resource, watch: bool) -> BTreeSet<Permission> {
        let kind = resource.built_in();
        let pods = Kind::Pod.resource();
        // A node's pods, and those of all nodes, are in all namespaces.
        let of_cluster = |permission: Permission| Permission { namespaced: false, ..permission };
        let pods_of = |verb| {
            if kind == Some(Kind::Node) { of_cluster(Permission::of(verb, &pods)) } else { Permission::of(verb, &pods) }
        };
        let followed = |resource: &Resource| {
            let mut all = BTreeSet::from([Permission::of("list", resource)]);
            all.extend(watch.then(|| Permission::of("watch", resource)));
            all
        };
        match self {
            Related::Pods => {
                let mut all = BTreeSet::from([pods_of("list")]);
                all.extend(watch.then(|| pods_of("watch")));
                all
            }
            Related::PodRequests => BTreeSet::new(),
            Related::Nodes => {
                let mut all = followed(&Kind::Node.resource());
                all.insert(of_cluster(Permission::of("list", &pods)));
                all
            }
            Related::Autoscalers => followed(&autoscalers()),
            Related::DisruptionBudgets => followed(&disruption_budgets()),
            Related::Quotas => followed(&objects::quotas()),
            Related::PullSecrets => [Permission::of("get", &objects::secrets())].into(),
            Related::Revisions => kind
                .filter(|kind| has_revisions(*kind))
                .map(|kind| Permission::of("list", &revisions::resource(kind)))
                .into_iter()
                .collect(),
            Related::Events if kind == Some(Kind::Node) => {
                [of_cluster(Permission::of("list", &objects::events()))].into()
            }
            Related::Events => [Permission::of("list", &objects::events())].into(),
            Related::Usage => [Permission::of("list", &objects::pod_metrics()), pods_of("list")].into(),
        }
    }

    /// Whether its permission can be asked about before the target is known: which Secrets are read, the target says.
    pub const fn asked_beforehand(self) -> bool {
        !matches!(self, Related::PullSecrets)
    }

    /// Why nothing can be known of it, if that is so: a pod that was gone before this run has left no trace of whose it was.
    fn unknowable(self, about: &ConditionTarget) -> Option<String> {
        let of_pods = matches!(
            self,
            Related::Pods | Related::Usage | Related::DisruptionBudgets | Related::PodRequests | Related::PullSecrets
        );
        let gone = about.kind() == Some(Kind::Pod) && about.value.is_null();
        (of_pods && gone)
            .then(|| format!("{} was gone already: what it was, and what replaces it, is not known", about.shown()))
    }

    /// Why there is no such document about this target, if there is none.
    pub fn unfit(self, about: &ConditionTarget) -> Option<String> {
        let kind = about.kind();
        let fits = match self {
            Related::Pods | Related::Usage => {
                about.pods().is_some() && (self == Related::Pods || about.namespace.is_some())
            }
            // An object that is gone has no template any more.
            Related::PodRequests | Related::PullSecrets | Related::DisruptionBudgets => {
                about.object.is_some() && (about.value.is_null() || about.pod_spec().is_some())
            }
            Related::Autoscalers => about.object.is_some() && about.namespace.is_some(),
            Related::Quotas => about.namespace.is_some(),
            Related::Revisions => kind.is_some_and(has_revisions),
            Related::Events => about.object.is_some(),
            Related::Nodes => true,
        };
        (!fits).then(|| format!("there is no input.related.{} about {}", self.name(), about.shown()))
    }
}

const fn has_revisions(kind: Kind) -> bool {
    matches!(kind, Kind::Deployment | Kind::StatefulSet | Kind::DaemonSet)
}

/// A summary of an object.
trait Document: Sized + Send + 'static {
    /// Reads the object.
    fn read(object: &Value) -> Self;
    /// Whether it is about the target, where the query brings more than that.
    fn concerns(&self, _about: &ConditionTarget) -> bool {
        true
    }
}

/// A document under the name of its object, as lists and watches bring it.
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

/// The documents that are needed, each with whether something that is required needs it.
pub type Needed = BTreeMap<Related, bool>;

/// Reads the documents once. What only something optional needs, and cannot be had, is missing with its reason.
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

/// Whether there is such a document about a target.
enum Presence {
    Fits,
    Unknowable(String),
    Unfit(Error),
}

impl Related {
    fn presence(self, about: &ConditionTarget) -> Presence {
        match (self.unknowable(about), self.unfit(about)) {
            (Some(why), _) => Presence::Unknowable(why),
            (None, Some(why)) => Presence::Unfit(Error::InvalidRequest(why)),
            (None, None) => Presence::Fits,
        }
    }
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

/// The documents that cannot be followed, or need not be.
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
        Related::Usage => match objects::usage(cluster, about).await? {
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
