//! Evicts pods within their PodDisruptionBudgets: an eviction that a budget blocks is sent again when a budget changes, not
//! at an interval.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::cluster::error::{Error, Result};
use crate::cluster::{Cluster, Commit, Eviction, Query, Watch};
use crate::k8s::object::{text, uid};
use crate::k8s::{ObjectRef, Resource};

/// Returns the resource of PodDisruptionBudgets.
pub fn disruption_budgets() -> Resource {
    Resource::known(("policy", "v1"), "PodDisruptionBudget", "poddisruptionbudgets")
}

/// Evicts a pod once its budgets allow that, which may take this long. `before_again` gets the pod as it is before each
/// eviction but the first.
pub async fn evict_when_allowed(
    cluster: &Cluster,
    object: &ObjectRef,
    mut eviction: Eviction,
    limit: Duration,
    mut before_again: impl AsyncFnMut(&Value) -> Result<()>,
) -> Result<()> {
    // Opened only when a budget blocks.
    let mut budgets: Option<Watch<Value>> = None;
    let patient = cluster.until(Instant::now() + limit);
    loop {
        let blocked = match cluster.evict(object, &eviction, Commit::Execute).await {
            Err(Error::Blocked { message }) => message,
            other => return other,
        };
        match &mut budgets {
            None => budgets = Some(patient.watch(Query::beside(object, disruption_budgets(), "")).await?),
            Some(budgets) => wait_for_change(&patient, budgets, &blocked).await?,
        }
        // The pod's resourceVersion moves with its status; its UID must not.
        eviction.pod = cluster.get(object).await?;
        if Some(uid(&eviction.pod)) != object.uid.as_deref()
            || text(&eviction.pod, "/metadata/deletionTimestamp").is_some()
        {
            return Err(Error::Conflict(format!(
                "{object} was deleted by someone else while a disruption budget was waited for"
            )));
        }
        before_again(&eviction.pod).await?;
    }
}

/// Waits until a budget has changed; when the time is over, the error names what blocks.
async fn wait_for_change(cluster: &Cluster, budgets: &mut Watch<Value>, blocked: &str) -> Result<()> {
    tracing::info!(blocked, "waiting for the disruption budget to change");
    tokio::select! {
        changed = budgets.changed() => changed,
        () = tokio::time::sleep(cluster.remaining()) => Err(Error::DeadlineExceeded(format!(
            "{blocked}; it did not allow the eviction until the wait was over: make more pods ready, or relax the budget"
        ))),
    }
}
