//! PodDisruptionBudgets, which limit how many pods of a workload may be evicted.

use serde_json::Value;

use crate::cluster::error::{Error, Result};
use crate::cluster::{Cluster, Watch};
use crate::k8s::Resource;

/// Returns the resource of disruption budgets.
pub fn disruption_budgets() -> Resource {
    Resource::known(("policy", "v1"), "PodDisruptionBudget", "poddisruptionbudgets")
}

/// Waits until a budget has changed; when the time is over, the error names what blocks.
pub async fn wait_for_change(cluster: &Cluster, budgets: &mut Watch<Value>, blocked: &str) -> Result<()> {
    tracing::info!(blocked, "waiting for the disruption budget to change");
    tokio::select! {
        changed = budgets.changed() => changed,
        () = tokio::time::sleep(cluster.remaining()) => Err(Error::DeadlineExceeded(format!(
            "{blocked}; it did not allow the eviction until the wait was over: make more pods ready, or relax the budget"
        ))),
    }
}
