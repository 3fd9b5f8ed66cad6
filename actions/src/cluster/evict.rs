//! Evictions, and the truth about them. They leave no mark, but are bound to the pod's resourceVersion.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::status::Failure;
use super::write::{Commit, MARGIN};
use super::{Cluster, build, with_query};
use crate::error::{Error, Result};
use crate::ledger::{Change, Operation};
use crate::object::{ObjectRef, text, uid};
use crate::permission::Permission;

/// An eviction: by the API, so that disruption budgets hold.
#[derive(Debug, Clone)]
pub struct Eviction {
    /// The pod as it was decided upon: its UID and resourceVersion are the preconditions.
    pub pod: Value,
    /// The pod's own grace period when `None`.
    pub grace_period_seconds: Option<u32>,
}

impl Cluster {
    /// Evicts a pod.
    pub async fn evict(&self, pod: &ObjectRef, eviction: &Eviction, commit: Commit) -> Result<()> {
        let mut options = json!({
            "preconditions": { "uid": uid(&eviction.pod), "resourceVersion": text(&eviction.pod, "/metadata/resourceVersion") }
        });
        if let (Some(seconds), Some(options)) = (eviction.grace_period_seconds, options.as_object_mut()) {
            options.insert("gracePeriodSeconds".to_owned(), json!(seconds));
        }
        let body = json!({
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": { "name": pod.name, "namespace": pod.namespace },
            "deleteOptions": options,
        });
        let limit = self.write_limit()?;
        let timeout = format!("{}ms", limit.as_millis());
        let pairs = if commit == Commit::DryRun { ("dryRun", "All") } else { ("timeout", timeout.as_str()) };
        let uri = with_query(&pod.path(Some("eviction")), &[pairs]);
        let request = build(Method::POST, &uri, "application/json", body.to_string().into_bytes())?;
        let change = Change { object: pod.to_target(), operation: Operation::Evict, patch: None };
        let what = format!("evict {pod}");
        if commit == Commit::DryRun {
            self.ledger.dry_run_begins();
            return match self.call(request, limit, false).await {
                Ok(_) => {
                    self.ledger.would_change(change);
                    Ok(())
                }
                Err(failure) => Err(self.evict_error(&what, failure, pod).await),
            };
        }
        self.ledger.write_begins();
        let Err(failure) = self.call(request, limit + MARGIN, false).await else {
            self.ledger.write_applied(change);
            return Ok(());
        };
        if matches!(&failure, Failure::Status(status) if status.code < 500) {
            self.ledger.write_not_applied();
            return Err(self.evict_error(&what, failure, pod).await);
        }
        self.look_after_eviction(pod, &eviction.pod, change, limit, failure).await
    }

    /// An eviction leaves no mark, but it was bound to the pod's resourceVersion: it is the first change after that, or
    /// it was not applied. So the pod's history, read from that version, tells.
    async fn look_after_eviction(
        &self,
        pod: &ObjectRef,
        before: &Value,
        change: Change,
        limit: Duration,
        failure: Failure,
    ) -> Result<()> {
        tracing::warn!(%failure, "the answer to the eviction is lost, looking at the pod's history");
        let version = text(before, "/metadata/resourceVersion").unwrap_or_default();
        match self.first_change(pod, version, limit + MARGIN).await {
            // Ours could only be the first change. (Somebody else's at that very moment looks the same: docs/contract.md.)
            Some(first) if evicted(&first) && !evicted(before) => {
                self.ledger.write_applied(change);
                return Ok(());
            }
            Some(first) if !evicted(&first) && text(&first, "/metadata/deletionTimestamp").is_none() => {
                self.ledger.write_not_applied();
                return Err(self.unavailable(&format!("evict {pod} (it was not evicted)"), failure));
            }
            // Deleted, or evicted a second time: by whom is not known.
            Some(_) | None => {}
        }
        if let Ok(now) = self.get(pod).await
            && text(&now, "/metadata/resourceVersion") == Some(version)
        {
            self.ledger.write_not_applied();
            return Err(self.unavailable(&format!("evict {pod} (it was not evicted)"), failure));
        }
        self.ledger.write_unknown();
        Err(self.unavailable(&format!("evict {pod}: whether it was evicted by this request cannot be known"), failure))
    }

    async fn evict_error(&self, what: &str, failure: Failure, pod: &ObjectRef) -> Error {
        if let Failure::Status(status) = &failure
            && let Some(budget) = status.budget()
        {
            return Error::Blocked { message: format!("failed to {what}: {budget}") };
        }
        match failure {
            Failure::Status(status)
                if status.code == 500 && status.message.contains("more than one PodDisruptionBudget") =>
            {
                Error::Refused(format!(
                    "failed to {what}: {}; leave only one budget that selects the pod",
                    status.message
                ))
            }
            failure => {
                let permission = Permission::on_target("create", &pod.resource).on_sub("eviction");
                self.write_error(what, failure, &permission, pod).await
            }
        }
    }
}

/// Whether the eviction API has been at the pod: it sets this condition before it deletes.
fn evicted(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    conditions.is_some_and(|all| {
        all.iter().any(|one| {
            text(one, "/type") == Some("DisruptionTarget") && text(one, "/reason") == Some("EvictionByEvictionAPI")
        })
    })
}
