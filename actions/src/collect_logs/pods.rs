//! Finds the pods whose logs are read.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::Target;
use super::sources::{LogPod, PodSources, in_namespace};
use crate::action::TargetRef;
use crate::cluster::error::{Error, Result};
use crate::cluster::run::Progress;
use crate::cluster::{Cluster, Query};
use crate::k8s::names::Namespace;
use crate::k8s::object::{text, uid};
use crate::k8s::selector::selector;
use crate::k8s::{Kind, ObjectRef};
use crate::workload::lookup::{self, LiveObject};
use crate::workload::owners::controlled_uids;

/// Finds the pods, and the object that the request named (none for a selector).
pub async fn find(
    cluster: &Cluster,
    named: &TargetRef,
    progress: &Progress,
) -> Result<(Option<LiveObject>, Vec<PodSources>)> {
    let object = match named {
        TargetRef::Selection { namespace, selector } => {
            let pods = select(cluster, namespace, selector.clone()).await.map_err(|error| match error {
                Error::InvalidRequest(why) => Error::InvalidRequest(format!(
                    "TARGET_SELECTOR: expected labels such as app=web,tier!=cache, got {selector:?}: {why}"
                )),
                other => other,
            })?;
            if pods.is_empty() {
                return Err(Error::TargetNotFound(format!(
                    "no pod in namespace {namespace} has the labels {selector:?}; check TARGET_SELECTOR"
                )));
            }
            return Ok((None, all_in(namespace, pods)?));
        }
        TargetRef::Object(object) => object,
    };
    let found = lookup::find(cluster, object, |_| &[]).await?;
    let namespace = found
        .object
        .namespace
        .clone()
        .ok_or_else(|| Error::InvalidRequest(format!("{object} has no pods of its own")))?;
    let pods = match found.kind() {
        Some(Kind::Pod) => {
            vec![LogPod::deserialize(&found.value).map_err(|error| Error::Internal(error.to_string()))?]
        }
        Some(Kind::CronJob) => of_jobs(cluster, &found, &namespace).await?,
        _ => of_workload(cluster, &found, &namespace, progress).await?,
    };
    Ok((Some(found), all_in(&namespace, pods)?))
}

/// Returns the labels by which the pods of a target are listed, if they are.
pub fn labels(live: Option<&LiveObject>, named: &TargetRef) -> Option<String> {
    match (live, named) {
        (_, TargetRef::Selection { selector, .. }) => Some(selector.clone()),
        (Some(found), _) if !matches!(found.kind(), Some(Kind::Pod | Kind::CronJob)) => Some(selector(&found.value)),
        _ => None,
    }
}

/// Returns the names of the pods in whose place others of their name are by now: a log is asked for by its pod's name, and a
/// StatefulSet uses names again. What cannot be read says nothing.
pub async fn replaced(cluster: &Cluster, target: &Target) -> BTreeSet<String> {
    let known: BTreeMap<&str, Option<&str>> =
        target.sources.iter().map(|source| (source.pod.name.as_str(), source.pod.uid.as_deref())).collect();
    let Some(first) = target.sources.first().map(|source| &source.pod) else { return BTreeSet::new() };
    let now: Vec<(String, String)> = match (&target.labels, &target.live) {
        (Some(labels), _) => {
            let query = Query::beside(first, Kind::Pod.resource(), labels.as_str());
            let (pods, _) = cluster.list::<LogPod>(&query).await.unwrap_or_default();
            pods.into_iter().map(|pod| (pod.name, pod.uid)).collect()
        }
        (None, Some(live)) if live.kind() == Some(Kind::Pod) => {
            let pod = cluster.get(&ObjectRef { uid: None, ..first.clone() }).await.unwrap_or_default();
            text(&pod, "/metadata/name").map(|name| (name.to_owned(), uid(&pod).to_owned())).into_iter().collect()
        }
        _ => Vec::new(),
    };
    let another = |(name, uid): &(String, String)| known.get(name.as_str()).is_some_and(|before| *before != Some(uid));
    now.into_iter().filter(another).map(|(name, _)| name).collect()
}

/// Returns the pods that a workload controls. Warns if its selector also finds other pods, because that is a mistake.
async fn of_workload(
    cluster: &Cluster,
    found: &LiveObject,
    namespace: &Namespace,
    progress: &Progress,
) -> Result<Vec<LogPod>> {
    let pods = select(cluster, namespace, selector(&found.value)).await?;
    let (own, others) = apart(pods, &controlled_uids(cluster, &found.object, &found.value).await?);
    if !others.is_empty() {
        progress.warn(left_out(&found.object, &others));
    }
    Ok(own)
}

/// Returns the pods of a CronJob's Jobs, by the label with the Job's UID.
async fn of_jobs(cluster: &Cluster, cron: &LiveObject, namespace: &Namespace) -> Result<Vec<LogPod>> {
    let uids = controlled_uids(cluster, &cron.object, &cron.value).await?;
    if uids.is_empty() {
        return Ok(Vec::new());
    }
    let among = uids.iter().map(String::as_str).collect::<Vec<_>>().join(",");
    let pods = select(cluster, namespace, format!("batch.kubernetes.io/controller-uid in ({among})")).await?;
    Ok(apart(pods, &uids).0)
}

/// Separates the pods with one of these controllers from the others.
fn apart(pods: Vec<LogPod>, uids: &BTreeSet<String>) -> (Vec<LogPod>, Vec<LogPod>) {
    pods.into_iter().partition(|pod| pod.owner.as_ref().is_some_and(|owner| uids.contains(owner)))
}

fn left_out(object: &ObjectRef, others: &[LogPod]) -> String {
    /// Enough names to know whose they are.
    const NAMED: usize = 3;
    let mut names: Vec<&str> = others.iter().take(NAMED).map(|pod| pod.name.as_str()).collect();
    if others.len() > NAMED {
        names.push("…");
    }
    format!(
        "the selector of {object} also finds {} pods that it does not control ({}): their logs are left out; no two \
         workloads should select the same pods",
        others.len(),
        names.join(", ")
    )
}

async fn select(cluster: &Cluster, namespace: &Namespace, labels: String) -> Result<Vec<LogPod>> {
    let query =
        Query { resource: Kind::Pod.resource(), namespace: Some(namespace.clone()), labels, name: None, field: None };
    let (pods, _) = cluster.list::<LogPod>(&query).await?;
    Ok(pods)
}

fn all_in(namespace: &Namespace, pods: Vec<LogPod>) -> Result<Vec<PodSources>> {
    pods.into_iter().map(|pod| in_namespace(namespace, pod)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn pod(name: &str, owners: Value) -> LogPod {
        serde_json::from_value(json!({ "metadata": { "name": name, "uid": name, "ownerReferences": owners } })).unwrap()
    }

    #[rstest]
    #[case::of_a_replica_set_of_its(json!([{ "uid": "r1", "controller": true }]), true)]
    #[case::of_the_revision_before(json!([{ "uid": "r2", "controller": true }]), true)]
    #[case::of_another_workload(json!([{ "uid": "x", "controller": true }]), false)]
    #[case::owned_and_not_controlled(json!([{ "uid": "r1" }]), false)]
    #[case::of_nobody(json!([]), false)]
    fn a_pod_is_told_by_who_controls_it(#[case] owners: Value, #[case] is_own: bool) {
        let owners: Value = owners
            .as_array()
            .unwrap()
            .iter()
            .map(|owner| {
                let mut whole = json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web" });
                whole.as_object_mut().unwrap().extend(owner.as_object().unwrap().clone());
                whole
            })
            .collect();
        let uids = ["r1", "r2"].map(str::to_owned).into();
        let (own, others) = apart(vec![pod("p", owners)], &uids);
        assert_eq!((own.len(), others.len()), if is_own { (1, 0) } else { (0, 1) });
    }

    #[test]
    fn pods_that_are_left_out_are_named() {
        let object = crate::action::testing::live(Kind::Deployment, json!({ "metadata": { "uid": "u" } })).object;
        let others: Vec<LogPod> = ["a", "b", "c", "d"].map(|name| pod(name, json!([]))).into();
        let says = |others: &[LogPod]| left_out(&object, others);
        assert!(says(&others[..1]).contains("deployment shop/web also finds 1 pods that it does not control (a):"));
        assert!(says(&others[..3]).contains("(a, b, c):"));
        assert!(says(&others).contains("finds 4 pods that it does not control (a, b, c, …):"));
    }
}
