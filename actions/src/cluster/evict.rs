//! Evictions, and what became of them. They leave no mark, but are bound to the pod's resourceVersion.

use contract::result::{Change, Operation};
use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::outcome::Outcome;
use super::status::Failure;
use super::tries::{Commit, MARGIN, Tries};
use super::{Cluster, Query, build, with_query};
use crate::cluster::error::{Error, Result};
use crate::k8s::object::{text, uid};
use crate::k8s::{ObjectRef, Permission};

/// An eviction through the API, so that disruption budgets hold.
#[derive(Debug, Clone)]
pub struct Eviction {
    /// The pod that the decision was made for: its UID and resourceVersion are the preconditions.
    pub pod: Value,
    /// Grace period in seconds; the pod's own if `None`.
    pub grace_period_seconds: Option<u32>,
}

impl Eviction {
    fn body(&self, pod: &ObjectRef) -> Value {
        let mut options = json!({
            "preconditions": { "uid": uid(&self.pod), "resourceVersion": text(&self.pod, "/metadata/resourceVersion") }
        });
        if let (Some(seconds), Some(options)) = (self.grace_period_seconds, options.as_object_mut()) {
            options.insert("gracePeriodSeconds".to_owned(), json!(seconds));
        }
        json!({
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": { "name": pod.name, "namespace": pod.namespace },
            "deleteOptions": options,
        })
    }
}

impl Cluster {
    /// Evicts a pod.
    pub async fn evict(&self, pod: &ObjectRef, eviction: &Eviction, commit: Commit) -> Result<()> {
        let what = format!("evict {pod}");
        let mut tries = Tries::new(commit);
        loop {
            let failure = match self.evict_once(pod, eviction, &mut tries).await? {
                Outcome::Applied(_) => return Ok(()),
                Outcome::NotApplied(failure) => failure,
                Outcome::Unknown(failure) => {
                    let what = format!("{what}: whether it was evicted by this request cannot be known");
                    return Err(self.unavailable(&what, tries.told(failure)));
                }
            };
            if !self.writes_on(&failure, &mut tries).await {
                return Err(self.evict_error(&what, tries.told(failure), pod).await);
            }
        }
    }

    async fn evict_once(&self, pod: &ObjectRef, eviction: &Eviction, tries: &mut Tries) -> Result<Outcome> {
        let limit = self.begin(tries)?;
        let timeout = format!("{}ms", limit.as_millis());
        let pairs = if tries.commit == Commit::DryRun { ("dryRun", "All") } else { ("timeout", timeout.as_str()) };
        let uri = with_query(&pod.path(Some("eviction")), &[pairs]);
        let body = eviction.body(pod).to_string().into_bytes();
        let request = build(Method::POST, &uri, "application/json", body)?;
        let change = Change { object: pod.to_reference(), operation: Operation::Evict, patch: None };
        if tries.commit == Commit::DryRun {
            return Ok(match self.try_out(request, tries).await {
                Ok(_) => {
                    self.ledger.would_change(change);
                    Outcome::Applied(Value::Null)
                }
                Err(failure) => Outcome::NotApplied(failure),
            });
        }
        self.ledger.write_begins();
        let horizon = Instant::now() + limit + MARGIN;
        let outcome = match self.call_write(request, tries).await {
            Ok(_) => Outcome::Applied(Value::Null),
            Err(failure) if failure.refuses_a_write() => Outcome::NotApplied(failure),
            Err(Failure::Status(status)) if status.several_budgets() => Outcome::NotApplied(Failure::Status(status)),
            Err(failure) => self.look_after_eviction(pod, &eviction.pod, horizon, failure).await,
        };
        self.enter(&outcome, |_| change);
        Ok(outcome)
    }

    /// Finds out whether an eviction was applied. It leaves no mark, but is bound to the pod's resourceVersion: either
    /// it is the first change after that, or it was not applied. The pod's history from that version tells.
    async fn look_after_eviction(
        &self,
        pod: &ObjectRef,
        before: &Value,
        horizon: Instant,
        failure: Failure,
    ) -> Outcome {
        tracing::warn!(%failure, "the answer to the eviction is lost, looking at the pod's history");
        let version = text(before, "/metadata/resourceVersion").unwrap_or_default();
        // Until the eviction cannot be applied any more; a change that has happened already comes at once.
        let wait = horizon.saturating_duration_since(Instant::now()) + MARGIN;
        match self.first_change(pod, version, wait).await {
            // Ours can only be the first change. (Somebody else's just then looks the same: docs/contract.md.)
            Some(first) if evicted(&first) && !evicted(before) => return Outcome::Applied(Value::Null),
            Some(first) if !evicted(&first) && text(&first, "/metadata/deletionTimestamp").is_none() => {
                return Outcome::NotApplied(failure);
            }
            // The pod was deleted, or evicted a second time: nobody knows by whom.
            Some(_) => return Outcome::Unknown(failure),
            None => tokio::time::sleep_until(horizon + MARGIN).await,
        }
        // By list, since not every Role that may evict may also get pods.
        let now = self.list::<Value>(&Query::only(pod)).await.ok().and_then(|(mut pods, _)| pods.pop());
        if now.is_some_and(|now| text(&now, "/metadata/resourceVersion") == Some(version)) {
            return Outcome::NotApplied(failure);
        }
        Outcome::Unknown(failure)
    }

    async fn evict_error(&self, what: &str, failure: Failure, pod: &ObjectRef) -> Error {
        if let Failure::Status(status) = &failure
            && let Some(budget) = status.budget()
        {
            return Error::Blocked { message: format!("failed to {what}: {budget}") };
        }
        match failure {
            Failure::Status(status) if status.several_budgets() => Error::Refused(format!(
                "failed to {what}: {}; leave only one budget that selects the pod",
                status.message
            )),
            failure => {
                let permission = Permission::on_target("create", &pod.resource).on_sub("eviction");
                self.write_error(what, failure, &permission, pod).await
            }
        }
    }
}

/// Returns whether the eviction API has handled the pod: it sets this condition before it deletes.
fn evicted(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    conditions.is_some_and(|all| {
        all.iter().any(|one| {
            text(one, "/type") == Some("DisruptionTarget") && text(one, "/reason") == Some("EvictionByEvictionAPI")
        })
    })
}
