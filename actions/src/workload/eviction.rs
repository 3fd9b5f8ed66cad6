//! Evicts pods within their PodDisruptionBudgets: an eviction that a budget blocks is sent again when a budget changes, not
//! at an interval.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::waiting::WaitOptions;
use serde_json::Value;
use tokio::time::Instant;

use super::Condition;
use super::causes::Cause;
use super::causes::cause::reference;
use super::causes::table::{Class, Place};
use crate::cluster::error::{Error, Result};
use crate::cluster::{Cluster, Commit, Eviction, Query, Watch};
use crate::k8s::object::{text, uid};
use crate::k8s::{ObjectRef, Resource};

/// Returns the resource of PodDisruptionBudgets.
pub fn disruption_budgets() -> Resource {
    Resource::known(("policy", "v1"), "PodDisruptionBudget", "poddisruptionbudgets")
}

/// Evicts a pod once its budgets allow that, which may take as long as the options say. `before_again` gets the pod as it
/// is before each eviction but the first.
pub async fn evict_when_allowed(
    cluster: &Cluster,
    object: &ObjectRef,
    mut eviction: Eviction,
    options: &WaitOptions,
    mut before_again: impl AsyncFnMut(&Value) -> Result<()>,
) -> Result<()> {
    // Opened only when a budget blocks.
    let mut budgets: Option<Watch<Value>> = None;
    let limit = options.timeout.map_or(cluster.remaining(), contract::duration::Duration::get);
    let patient = cluster.until(Instant::now() + limit);
    let mut blocking = Blocking { object, stuck_after: options.stuck_after.get(), since: None };
    loop {
        let blocked = match cluster.evict(object, &eviction, Commit::Execute).await {
            Err(Error::Blocked { message }) => message,
            // It was there when this was decided.
            Err(Error::TargetNotFound(_)) => return Err(gone(object)),
            other => return other,
        };
        match &mut budgets {
            None => budgets = Some(patient.watch(Query::beside(object, disruption_budgets(), "")).await?),
            Some(budgets) => blocking.until_changed(&patient, budgets, &blocked).await?,
        }
        // The pod's resourceVersion moves with its status; its UID must not.
        eviction.pod = match cluster.get(object).await {
            Err(Error::TargetNotFound(_)) => return Err(gone(object)),
            pod => pod?,
        };
        if Some(uid(&eviction.pod)) != object.uid.as_deref()
            || text(&eviction.pod, "/metadata/deletionTimestamp").is_some()
        {
            return Err(gone(object));
        }
        before_again(&eviction.pod).await?;
    }
}

fn gone(object: &ObjectRef) -> Error {
    Error::Conflict(format!("{object} was deleted by someone else before it could be evicted"))
}

/// A pod whose eviction is blocked.
struct Blocking<'a> {
    object: &'a ObjectRef,
    stuck_after: Duration,
    /// Time since which a budget cannot be counted.
    since: Option<Instant>,
}

impl Blocking<'_> {
    /// Waits until a budget has changed. When the time is over, the error names what blocks; a budget that cannot be
    /// counted has only `stuckAfter`, because no pod that becomes ready changes that.
    async fn until_changed(&mut self, cluster: &Cluster, budgets: &mut Watch<Value>, blocked: &str) -> Result<()> {
        let cause = cause(self.object, budgets.items(), blocked);
        let told = cause.as_ref().map(|cause| format!("; {cause}")).unwrap_or_default();
        tracing::info!(blocked, "waiting for the disruption budget to change");
        let uncounted = cause.is_some_and(|cause| cause.class == Class::MayPass);
        self.since = uncounted.then(|| self.since.unwrap_or_else(Instant::now));
        let stuck = self.since.map(|since| since + self.stuck_after);
        let end = Instant::now() + cluster.remaining();
        tokio::select! {
            changed = budgets.changed() => changed,
            () = tokio::time::sleep_until(stuck.map_or(end, |stuck| stuck.min(end))) => Err(if uncounted {
                Error::Refused(format!("{blocked}{told}"))
            } else {
                Error::DeadlineExceeded(format!("{blocked}; it did not allow the eviction until the wait was over{told}"))
            }),
        }
    }
}

/// Returns what the budget that the API server names says of itself.
fn cause(pod: &ObjectRef, budgets: &BTreeMap<String, Value>, blocked: &str) -> Option<Cause> {
    let named = |name: &str| blocked.split_whitespace().any(|word| word == name);
    let (name, budget) = budgets.iter().find(|(name, _)| named(name))?;
    let condition = Condition::of(budget, "DisruptionAllowed", "False", &[])?;
    let object = reference(pod, "policy/v1", "PodDisruptionBudget", name, Some(uid(budget).to_owned()));
    let cause = Cause::new(object, Place::Budget, &condition.reason, &condition.message);
    Some(cause.since(condition.since.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fake::{Answer, cluster, object};
    use crate::k8s::Kind;
    use rstest::rstest;
    use serde_json::json;

    fn budget(name: &str, reason: &str, message: &str) -> Value {
        let condition = json!({ "type": "DisruptionAllowed", "status": "False", "reason": reason, "message": message, "lastTransitionTime": "2026-01-01T00:00:02Z" });
        json!({ "metadata": { "name": name, "uid": "b" }, "status": { "conditions": [condition] } })
    }

    fn blocked(message: &str) -> Answer {
        let details = json!({ "causes": [{ "reason": "DisruptionBudget", "message": message }] });
        let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "TooManyRequests",
            "code": 429, "message": "Cannot evict pod", "details": details });
        Answer::Json(429, status)
    }

    async fn evicted(words: &'static str, budgets: Value) -> (Result<()>, u64) {
        let (cluster, _) = cluster(move |line, _| match line {
            line if line.contains("/eviction") => blocked(words),
            line if line.contains("watch=true") => Answer::Watch(Vec::new()),
            line if line.contains("/poddisruptionbudgets") => {
                Answer::Json(200, json!({ "metadata": { "resourceVersion": "9" }, "items": budgets }))
            }
            _ => Answer::Json(200, json!({ "metadata": { "name": "web", "uid": "u", "resourceVersion": "5" } })),
        });
        let pod = json!({ "metadata": { "uid": "u", "resourceVersion": "5" } });
        let eviction = Eviction { pod, grace_period_seconds: None };
        let options: WaitOptions = serde_json::from_value(json!({ "waitTimeout": "30s", "stuckAfter": "5s" })).unwrap();
        let began = Instant::now();
        let result = evict_when_allowed(&cluster, &object(Kind::Pod), eviction, &options, async |_| Ok(())).await;
        (result, began.elapsed().as_secs())
    }

    /// A pod that was there has no wrong name.
    #[tokio::test(start_paused = true)]
    async fn one_that_goes_while_a_budget_is_waited_for_was_there() {
        let (cluster, _) = cluster(move |line, _| match line {
            line if line.contains("/eviction") => blocked("The disruption budget strict needs 1 healthy pods"),
            line if line.contains("watch=true") => Answer::Watch(Vec::new()),
            line if line.contains("/poddisruptionbudgets") => {
                Answer::Json(200, json!({ "metadata": { "resourceVersion": "9" }, "items": [] }))
            }
            _ => crate::cluster::fake::not_found("pods", "", "web"),
        });
        let pod = json!({ "metadata": { "uid": "u", "resourceVersion": "5" } });
        let options: WaitOptions = serde_json::from_value(json!({})).unwrap();
        let eviction = Eviction { pod, grace_period_seconds: None };
        let result = evict_when_allowed(&cluster, &object(Kind::Pod), eviction, &options, async |_| Ok(())).await;
        assert!(
            matches!(&result, Err(Error::Conflict(why)) if why.contains("was deleted by someone else")),
            "{result:?}"
        );
    }

    const UNCOUNTED: &str =
        "The disruption budget strict does not allow evicting pods currently because it failed sync: no scale";

    #[tokio::test(start_paused = true)]
    async fn a_budget_that_cannot_be_counted_is_not_waited_for_to_the_end() {
        let budgets = json!([budget("other", "SyncFailed", "x"), budget("strict", "SyncFailed", "no scale")]);
        let (Err(Error::Refused(why)), seconds) = evicted(UNCOUNTED, budgets).await else { panic!() };
        let says = "; poddisruptionbudget strict: SyncFailed since 2026-01-01T00:00:02Z: no scale; mend the budget's selector, or the pods' owners";
        assert!(why.contains(UNCOUNTED) && why.ends_with(says), "{why}");
        assert!(!why.contains("make more pods ready"), "{why}");
        assert_eq!(seconds, 5);
    }

    #[rstest]
    #[case::says_why(
        json!([budget("strict", "InsufficientPods", "")]),
        "; poddisruptionbudget strict: InsufficientPods since 2026-01-01T00:00:02Z; make more pods ready, or relax the budget"
    )]
    #[case::is_another(json!([budget("other", "SyncFailed", "x")]), "until the wait was over")]
    #[tokio::test(start_paused = true)]
    async fn a_budget_that_allows_none_is_waited_for(#[case] budgets: Value, #[case] says: &str) {
        let words = "The disruption budget strict needs 1 healthy pods and has 1 currently";
        let (Err(Error::DeadlineExceeded(why)), seconds) = evicted(words, budgets).await else { panic!() };
        assert!(why.contains(words) && why.ends_with(says), "{why}");
        assert_eq!(seconds, 30);
    }
}
