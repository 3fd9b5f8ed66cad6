//! Follows the documents: holds their current state, and wakes up whenever something changes.

use std::collections::BTreeMap;
use std::time::Duration;

use actions::cluster::error::{Error, Result};
use actions::cluster::{Cluster, Query, Watch};
use actions::k8s::Kind;
use actions::k8s::object::uid;
use actions::workload::autoscaler::autoscalers;
use actions::workload::eviction::disruption_budgets;
use futures::FutureExt;
use futures::future::{BoxFuture, select_all};
use serde_json::Value;
use tokio::time::Instant;

use super::nodes::{self, NodeDocument, Room};
use super::objects::{AutoscalerDocument, DisruptionBudgetDocument, QuotaDocument, quotas};
use super::pods::{self, PodDocument};
use super::target::ConditionTarget;
use super::{
    Document, Documents, Entry, Needed, Presence, Related, everywhere, in_namespace, pods_query, read_single,
    with_requested,
};

/// Time after which documents that cannot be watched (usage, sums over all pods, …) are read again.
const AGAIN: Duration = Duration::from_secs(10);

/// The target and the documents about it, as they change.
pub struct Watched {
    about: ConditionTarget,
    needed: Needed,
    missing: BTreeMap<Related, String>,
    target: Option<Watch<Value>>,
    pods: Option<Watch<Entry<PodDocument>>>,
    nodes: Option<Watch<Entry<NodeDocument>>>,
    autoscalers: Option<Watch<Entry<AutoscalerDocument>>>,
    budgets: Option<Watch<Entry<DisruptionBudgetDocument>>>,
    quotas: Option<Watch<Entry<QuotaDocument>>>,
    read: Option<Read>,
}

/// The documents that were read but are not followed.
struct Read {
    at: Instant,
    documents: Documents,
    requested: BTreeMap<String, Room>,
}

impl Watched {
    /// Starts to follow. The target is read again, because the change has altered it.
    pub async fn open(cluster: &Cluster, mut about: ConditionTarget, needed: &Needed) -> Result<Self> {
        let target = match about.object.clone() {
            Some(object) => match cluster.get(&object).await {
                Ok(now) => {
                    about.value = now.clone();
                    Some(cluster.watch_object(&object, now).await?)
                }
                // An evicted pod.
                Err(Error::TargetNotFound(_)) => None,
                Err(error) => return Err(error),
            },
            None => None,
        };
        let mut all = Self {
            about,
            needed: needed.clone(),
            missing: BTreeMap::new(),
            target,
            pods: None,
            nodes: None,
            autoscalers: None,
            budgets: None,
            quotas: None,
            read: None,
        };
        all.pods = all.follow(cluster, Related::Pods, pods_query).await?;
        all.nodes = all.follow(cluster, Related::Nodes, |_| Ok(everywhere(&Kind::Node.resource()))).await?;
        all.autoscalers =
            all.follow(cluster, Related::Autoscalers, |about| Ok(in_namespace(about, autoscalers()))).await?;
        all.budgets = all
            .follow(cluster, Related::DisruptionBudgets, |about| Ok(in_namespace(about, disruption_budgets())))
            .await?;
        all.quotas = all.follow(cluster, Related::Quotas, |about| Ok(in_namespace(about, quotas()))).await?;
        Ok(all)
    }

    /// Follows a document, if needed. If no required condition needs a document that cannot be read, it is missing.
    async fn follow<D: Document>(
        &mut self,
        cluster: &Cluster,
        one: Related,
        query: impl Fn(&ConditionTarget) -> Result<Query>,
    ) -> Result<Option<Watch<Entry<D>>>> {
        if !self.has(one)? {
            return Ok(None);
        }
        match cluster.watch(query(&self.about)?).await {
            Ok(follow) => Ok(Some(follow)),
            Err(error) => self.lacks(one, error).map(|()| None),
        }
    }

    /// Returns whether a document is needed and exists about this target.
    fn has(&mut self, one: Related) -> Result<bool> {
        if !self.needed.contains_key(&one) || self.missing.contains_key(&one) {
            return Ok(false);
        }
        match one.presence(&self.about) {
            Presence::Fits => Ok(true),
            Presence::Unknowable(why) => {
                self.missing.insert(one, why);
                Ok(false)
            }
            Presence::Unfit(error) => self.lacks(one, error).map(|()| false),
        }
    }

    fn lacks(&mut self, one: Related, error: Error) -> Result<()> {
        if self.needed.get(&one) == Some(&true) {
            return Err(error);
        }
        self.missing.insert(one, error.full_message());
        Ok(())
    }

    /// Returns the target as it is now; null when it is gone, or another object has its name.
    pub fn target(&self) -> Value {
        let Some((object, target)) = self.about.object.as_ref().zip(self.target.as_ref()) else { return Value::Null };
        let now = target.items().get(object.name.as_str());
        now.filter(|now| object.uid.as_deref().is_none_or(|known| known == uid(now))).cloned().unwrap_or_default()
    }

    /// Returns the documents as they are now.
    pub async fn documents(&mut self, cluster: &Cluster) -> Result<Documents> {
        let mut about = self.about.clone();
        let now = self.target();
        if !now.is_null() {
            about.value = now;
        }
        if self.read.as_ref().is_none_or(|read| read.at.elapsed() >= AGAIN) {
            self.read = Some(self.read_again(cluster, &about).await?);
        }
        let read = self.read.as_ref();
        let mut documents = Documents {
            pods: self.pods.as_ref().map(|all| of(all, &about)),
            nodes: self.nodes.as_ref().map(|all| of(all, &about)),
            autoscalers: self.autoscalers.as_ref().map(|all| of(all, &about)),
            disruption_budgets: self.budgets.as_ref().map(|all| of(all, &about)),
            quotas: self.quotas.as_ref().map(|all| of(all, &about)),
            ..read.map(|read| read.documents.clone()).unwrap_or_default()
        };
        if let Some((nodes, read)) = documents.nodes.as_mut().zip(read) {
            with_requested(nodes, &read.requested);
        }
        if documents.pod_requests.is_some() {
            // Needs no request, so that it is never older than the target.
            documents.pod_requests = about.pod_spec().map(pods::requests);
        }
        documents.missing.extend(self.missing.clone());
        Ok(documents)
    }

    /// Reads the documents that cannot be followed.
    async fn read_again(&mut self, cluster: &Cluster, about: &ConditionTarget) -> Result<Read> {
        let (mut documents, mut requested) = (Documents::default(), BTreeMap::new());
        if self.nodes.is_some() {
            match nodes::requested(cluster).await {
                Ok(sums) => requested = sums,
                Err(error) => {
                    self.lacks(Related::Nodes, error)?;
                    self.nodes = None;
                }
            }
        }
        for one in Related::ALL {
            if self.has(one)?
                && let Err(error) = read_single(cluster, about, one, &mut documents).await
            {
                self.lacks(one, error)?;
            }
        }
        Ok(Read { at: Instant::now(), documents, requested })
    }

    /// Waits until something has changed, or until documents that cannot be watched should be read again.
    pub async fn changed(&mut self) -> Result<()> {
        let again = self.needed.keys().any(|one| {
            matches!(one, Related::Nodes | Related::PullSecrets | Related::Revisions | Related::Events | Related::Usage)
        });
        let again = self.read.as_ref().filter(|_| again).map(|read| read.at + AGAIN);
        let mut changes: Vec<BoxFuture<'_, Result<()>>> = Vec::new();
        changes.extend(self.target.as_mut().map(|all| all.changed().boxed()));
        changes.extend(self.pods.as_mut().map(|all| all.changed().boxed()));
        changes.extend(self.nodes.as_mut().map(|all| all.changed().boxed()));
        changes.extend(self.autoscalers.as_mut().map(|all| all.changed().boxed()));
        changes.extend(self.budgets.as_mut().map(|all| all.changed().boxed()));
        changes.extend(self.quotas.as_mut().map(|all| all.changed().boxed()));
        changes.push(
            async move {
                match again {
                    Some(again) => tokio::time::sleep_until(again).await,
                    None => std::future::pending().await,
                }
                Ok(())
            }
            .boxed(),
        );
        select_all(changes).await.0
    }
}

fn of<D: Document + Clone>(all: &Watch<Entry<D>>, about: &ConditionTarget) -> Vec<D> {
    let documents = all.items().values().map(|entry| &entry.document);
    documents.filter(|document| document.concerns(about)).cloned().collect()
}
