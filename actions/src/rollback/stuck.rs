//! Evicts the pods that keep an ordered StatefulSet from rolling back.

use serde_json::{Value, json};

use crate::cluster::error::{Error, Result};
use crate::cluster::run::RunContext;
use crate::cluster::{Cluster, Commit, Eviction, Query, server_name};
use crate::k8s::object::text;
use crate::k8s::selector::selector;
use crate::k8s::{Kind, ObjectRef};
use crate::workload::Workload;
use crate::workload::causes::only_starts;
use crate::workload::observed::observed;
use crate::workload::pods::PodView;
use crate::workload::tally::ordinal;

/// The most rounds. A kubelet often writes a crash-looping pod's status, and each time the eviction must be bound anew.
const ROUNDS: u32 = 5;

/// Evicts the pods of other revisions that are not ready, because the controller would wait for them forever. Only
/// after the controller has seen the new template; before that it would recreate them from the bad one.
pub async fn evict(
    cluster: &Cluster,
    set: &ObjectRef,
    (patched, revision): (&Value, &str),
    run: &RunContext,
) -> Result<()> {
    let observed = observed(cluster, Kind::StatefulSet, set, patched, run).await?;
    // The controller may have made a new revision of this template: then the new pods belong to that one.
    let revision = text(&observed, "/status/updateRevision").unwrap_or(revision);
    for _ in 0..ROUNDS {
        if !evict_once(cluster, set, patched, revision).await? {
            break;
        }
    }
    Ok(())
}

/// Result of the dry runs of evictions.
#[derive(Debug, Default)]
pub struct Tried {
    /// Number of evictions.
    pub number: usize,
    /// Messages about evictions that are blocked, of pods that may still be starting.
    pub blocked: Vec<String>,
    /// True when a pod changed before its eviction came, so that nothing was learnt about it.
    changed: bool,
}

impl Tried {
    /// Warns of what the dry runs leave open.
    pub fn warn(&self, object: &ObjectRef, run: &RunContext) {
        // Each is tried alone, and a dry run uses up no budget: a budget that allows one eviction passes several.
        if self.number > 1 {
            run.progress.warn(format!(
                "the evictions of the pods that keep {object} stuck were tried out one by one; a disruption budget that allows each may not allow all"
            ));
        }
        for blocked in &self.blocked {
            run.progress.warn(format!(
                "a pod of {object} that is not ready yet cannot be evicted: {blocked}; unless it becomes ready by itself, the rollback does not get past it"
            ));
        }
    }
}

/// Tries out each eviction that would follow the patch, alone. Pods that break only later are not known yet.
pub async fn try_out(cluster: &Cluster, set: &ObjectRef, value: &Value, revision: &str) -> Result<Tried> {
    let mut tried = Tried { changed: true, ..Tried::default() };
    for _ in 0..ROUNDS {
        if tried.changed {
            tried = try_out_once(cluster, set, value, revision).await?;
        }
    }
    Ok(tried)
}

async fn try_out_once(cluster: &Cluster, set: &ObjectRef, value: &Value, revision: &str) -> Result<Tried> {
    let mut tried = Tried::default();
    let stuck = stuck(cluster, set, value, revision).await?;
    for Stuck { object, eviction, starting } in &stuck {
        match cluster.evict(object, eviction, Commit::DryRun).await {
            Ok(()) | Err(Error::TargetNotFound(_)) => {}
            // The pod may become ready by itself, and then does not block the rollback.
            Err(Error::Blocked { message }) if *starting => tried.blocked.push(message),
            Err(Error::Conflict(_)) => tried.changed = true,
            // As in the real run, nobody waits for this budget, and without the eviction the template does not help.
            Err(Error::Blocked { message }) => return Err(Error::Refused(message)),
            Err(error) => return Err(error),
        }
    }
    Ok(Tried { number: stuck.len(), ..tried })
}

/// Converts an error of the evictions: the template was put back before, so that the whole was not refused.
pub fn applied(error: Error) -> Error {
    match error {
        Error::Refused(why)
        | Error::InvalidRequest(why)
        | Error::Forbidden { message: why, .. }
        | Error::Blocked { message: why } => Error::NotVerified(format!(
            "the template was put back, but the pods that keep it from rolling out could not be evicted: {why}"
        )),
        other => other,
    }
}

/// Evicts the blocking pods once; returns true when a pod changed before its eviction, and so may still be there.
async fn evict_once(cluster: &Cluster, set: &ObjectRef, patched: &Value, revision: &str) -> Result<bool> {
    let mut changed = false;
    for Stuck { object, eviction, starting } in stuck(cluster, set, patched, revision).await? {
        match cluster.evict(&object, &eviction, Commit::Execute).await {
            // A missing pod was replaced by the controller first.
            Ok(()) | Err(Error::TargetNotFound(_)) => {}
            Err(Error::Conflict(_)) => changed = true,
            Err(Error::Blocked { .. }) if starting => {}
            Err(Error::Blocked { message }) => {
                return Err(Error::NotVerified(format!(
                    "the template was put back, and {object} of the abandoned revision stands in the way: {message}"
                )));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(changed)
}

/// A pod that blocks the rollback, and its eviction.
struct Stuck {
    object: ObjectRef,
    eviction: Eviction,
    /// True when the pod may still be starting.
    starting: bool,
}

async fn stuck(cluster: &Cluster, set: &ObjectRef, value: &Value, revision: &str) -> Result<Vec<Stuck>> {
    let (pods, _) = cluster.list::<PodView>(&Query::beside(set, Kind::Pod.resource(), selector(value))).await?;
    let first = Workload::read(Kind::StatefulSet, value).first_in_reach();
    let stuck = pods.iter().filter(|pod| is_stuck(pod, set, revision, first));
    let one = |pod: &PodView| {
        let object = set.sibling(Kind::Pod.resource(), server_name(&pod.name)?, Some(pod.uid.clone()));
        let seen = json!({ "metadata": { "uid": pod.uid, "resourceVersion": pod.version } });
        Ok(Stuck { object, eviction: Eviction { pod: seen, grace_period_seconds: None }, starting: only_starts(pod) })
    };
    stuck.map(one).collect()
}

/// Returns whether a pod of another revision keeps the set from going on. Pods before the first ordinal in reach are
/// protected by the partition.
fn is_stuck(pod: &PodView, set: &ObjectRef, revision: &str, first: i64) -> bool {
    pod.owner == set.uid
        && pod.revision.as_deref() != Some(revision)
        && !pod.ready
        && !pod.terminating
        && !pod.finished
        && ordinal(&pod.name).is_some_and(|ordinal| ordinal >= first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fake::{Answer, cluster, object};
    use rstest::rstest;

    #[rstest]
    #[case::broken("db-1", "bad", false, true)]
    #[case::ready("db-1", "bad", true, false)]
    #[case::of_the_goal("db-1", "good", false, false)]
    #[case::below_the_partition("db-0", "bad", false, false)]
    fn only_what_stands_in_the_way(
        #[case] name: &str,
        #[case] revision: &str,
        #[case] ready: bool,
        #[case] stuck: bool,
    ) {
        let set = ObjectRef {
            resource: Kind::StatefulSet.resource(),
            namespace: None,
            name: "db".parse().unwrap(),
            uid: Some("s".to_owned()),
        };
        let pod = PodView {
            name: name.to_owned(),
            revision: Some(revision.to_owned()),
            ready,
            owner: set.uid.clone(),
            ..PodView::default()
        };
        assert_eq!(is_stuck(&pod, &set, "good", 1), stuck);
    }

    /// A dry run that meets a conflict has learnt nothing, so it is repeated and then meets the budget. That refuses
    /// the rollback, unless the pod may still be starting.
    #[rstest]
    #[case::broken(json!({ "waiting": { "reason": "ImagePullBackOff" } }), true)]
    #[case::starting(json!({ "running": {} }), false)]
    #[tokio::test]
    async fn an_eviction_that_met_a_change_is_tried_out_again(#[case] state: Value, #[case] refused: bool) {
        let status = |code: u16, reason: &str, cause: &str| {
            let details = json!({ "causes": [{ "reason": cause, "message": "the budget strict" }] });
            let body = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "reason": reason, "code": code, "message": reason, "details": details });
            Answer::Json(code, body)
        };
        let container =
            json!({ "name": "app", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state });
        let status_of = json!({ "containerStatuses": [container] });
        let (cluster, seen) = cluster(move |line, before| match (line.contains("/eviction"), before) {
            (false, _) => {
                let owner = json!([{ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "u", "controller": true }]);
                let meta = json!({ "name": "web-0", "uid": "p", "resourceVersion": "5", "ownerReferences": owner });
                Answer::Json(
                    200,
                    json!({ "kind": "PodList", "metadata": { "resourceVersion": "9" }, "items": [{ "metadata": meta, "status": status_of.clone() }] }),
                )
            }
            (true, 0) => status(409, "Conflict", "x"),
            (true, _) => status(429, "TooManyRequests", "DisruptionBudget"),
        });
        let set = object(Kind::StatefulSet);
        let value = json!({ "spec": { "selector": { "matchLabels": { "app": "web" } } } });
        let tried = try_out(&cluster, &set, &value, "good").await;
        assert_eq!(matches!(tried, Err(Error::Refused(_))), refused, "{tried:?}");
        assert_eq!(seen.with("/eviction").len(), 2);
    }

    #[rstest]
    #[case::none(0, &[], &[])]
    #[case::one(1, &[], &[])]
    #[case::several(2, &[], &["a disruption budget that allows each may not allow all"])]
    #[case::blocked(1, &["the budget strict"], &["cannot be evicted: the budget strict; unless it becomes ready by itself"])]
    fn warns_of_what_was_not_learnt(#[case] number: usize, #[case] blocked: &[&str], #[case] says: &[&str]) {
        let tried = Tried { number, blocked: blocked.iter().map(ToString::to_string).collect(), changed: false };
        let run = crate::action::testing::run();
        tried.warn(&object(Kind::StatefulSet), &run);
        let warnings = run.progress.warnings();
        assert_eq!(warnings.len(), says.len(), "{warnings:?}");
        assert!(warnings.iter().zip(says).all(|(warning, says)| warning.contains(says)), "{warnings:?}");
    }
}
