//! A disruption budget that is in the way, for as long as a scenario wants it to be.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use test_cluster::audit::{AuditLog, Entry};

use crate::support::T;

/// The budget `strict`: at first none of its pods may be evicted.
pub struct Budget {
    path: String,
    audit: Option<AuditLog>,
}

impl Budget {
    /// Makes it for the pods of an app, and waits until the controller has counted them.
    pub async fn strict(t: &T, app: &str) -> Result<Self> {
        let budget = json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": "strict" },
            "spec": { "maxUnavailable": 0, "selector": { "matchLabels": { "app": app } } },
        });
        let budgets = t.world.path("policy/v1", "poddisruptionbudgets");
        t.world.create(&budgets, &budget).await?;
        let path = format!("{budgets}/strict");
        let counted = |budget: &serde_json::Value| {
            budget["status"]["observedGeneration"] == budget["metadata"]["generation"]
                && budget["status"]["expectedPods"].as_i64() > Some(0)
        };
        t.world.until(&path, "counted", counted).await?;
        let audit = t.world.connection.audit_log.as_deref().map(AuditLog::from_now).transpose()?;
        Ok(Self { path, audit })
    }

    /// Waits until the API server has answered a real eviction of the pod with 429, and not only the dry run. Without an
    /// audit log nobody can tell.
    pub async fn blocks(&self, t: &T, pod: &str) -> Result<()> {
        let Some(audit) = &self.audit else { return Ok(()) };
        let real = |one: &Entry| {
            one.name == pod && one.subresource == "eviction" && one.code == 429 && !one.uri.contains("dryRun")
        };
        let limit = Instant::now() + Duration::from_secs(30);
        while !audit.requests(t.world.client(), "action-runner/").await?.iter().any(real) {
            ensure!(Instant::now() < limit, "no eviction of {pod} is blocked");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// From now on one pod may go.
    pub async fn gives_way(&self, t: &T) -> Result<()> {
        t.world.merge(&self.path, &json!({ "spec": { "maxUnavailable": 1 } })).await.map(|_| ())
    }
}
