//! PodDisruptionBudgets: how many of its pods a workload can spare.

use serde_json::Value;

use crate::cluster::error::{Error, Result};
use crate::cluster::{Cluster, Watch};
use crate::k8s::Resource;

/// Where they are served.
pub fn disruption_budgets() -> Resource {
    Resource::known(("policy", "v1"), "PodDisruptionBudget", "poddisruptionbudgets")
}

/// Returns once a budget has changed; the error of a time that is over names what blocks.
pub async fn wait_for_change(cluster: &Cluster, budgets: &mut Watch<Value>, blocked: &str) -> Result<()> {
    tracing::info!(blocked, "waiting for the disruption budget to change");
    tokio::select! {
        changed = budgets.changed() => changed,
        () = tokio::time::sleep(cluster.remaining()) => Err(Error::DeadlineExceeded(format!(
            "{blocked}; it did not allow the eviction until the wait was over: make more pods ready, or relax the budget"
        ))),
    }
}
