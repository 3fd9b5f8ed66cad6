//! Finds what replaces a pod: the workload at the top of its owners, a Job, a controller of a kind that is not built
//! in, or nothing. Decided by owner references and UIDs; for a pod that is gone, only its name is left.

use contract::result::ObjectReference;
use jiff::Timestamp;
use serde_json::Value;

use super::job::JobView;
use crate::cluster::error::{Error, Result};
use crate::cluster::{Cluster, Query};
use crate::k8s::object::{controller, leaving_since, text};
use crate::k8s::selector::selector;
use crate::k8s::{Kind, ObjectRef};
use crate::workload::lookup::{self, LiveObject};
use crate::workload::pods::PodView;
use crate::workload::tally::ordinal;

/// The kinds of owners that are looked up.
pub const KINDS: [Kind; 6] =
    [Kind::ReplicaSet, Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet, Kind::ReplicationController, Kind::Job];

/// Returns whether a pod has completed.
pub fn is_finished(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), Some("Succeeded" | "Failed"))
}

/// The controller that replaces a pod.
#[derive(Debug)]
pub enum Replacer {
    /// This workload keeps as many pods as it wants.
    Workload(Box<LiveObject>),
    /// This Job may make another pod.
    Job(Box<LiveObject>),
    /// A controller of a kind that is not built in: nobody knows whether it replaces its pods.
    Other {
        /// Name for sentences.
        name: String,
        /// UID of the controller.
        uid: String,
    },
    /// No controller, for this reason.
    Nobody(String),
    /// Not known, for this reason.
    Unknown(String),
}

impl Replacer {
    /// Returns the object, if it was looked up.
    pub fn found(&self) -> Option<&LiveObject> {
        match self {
            Self::Workload(found) | Self::Job(found) => Some(found),
            _ => None,
        }
    }

    /// Returns the object, as results name it.
    pub fn target(&self) -> Option<ObjectReference> {
        self.found().map(|found| found.object.to_reference())
    }

    /// Returns why nothing would replace a pod that exists.
    pub fn none(&self, pod: &Value) -> Option<String> {
        match self {
            Self::Nobody(why) => Some(why.clone()),
            Self::Job(job) => JobView::read(&job.value).replaces_none(pod).map(|why| format!("{} {why}", job.object)),
            _ => None,
        }
    }
}

/// Returns the kinds that own this one: a ReplicaSet leads to its Deployment.
fn owner_of_set(kind: Kind) -> &'static [Kind] {
    if kind == Kind::ReplicaSet { &[Kind::Deployment] } else { &[] }
}

/// Finds the replacer of a pod that exists.
pub async fn of(cluster: &Cluster, object: &ObjectRef, pod: &Value) -> Result<Replacer> {
    let Some(owner) = controller(pod) else { return Ok(Replacer::Nobody("no controller owns it".to_owned())) };
    let own = |pointer: &str| text(owner, pointer).unwrap_or_default();
    let described = format!("{} {}", own("/kind"), own("/name"));
    let Some(owner) = lookup::owner_ref(object, owner) else {
        return Ok(Replacer::Other { name: described, uid: own("/uid").to_owned() });
    };
    match lookup::find(cluster, &owner, owner_of_set).await {
        Ok(found) => Ok(classify(found)),
        // The controller is gone, or another object has its name.
        Err(Error::TargetNotFound(_) | Error::Refused(_)) => {
            Ok(Replacer::Nobody(format!("its controller, the {described}, is gone")))
        }
        Err(error) => Err(error),
    }
}

fn classify(found: LiveObject) -> Replacer {
    if let Some(why) = found.leaving() {
        return Replacer::Nobody(why);
    }
    let owner = controller(&found.value);
    match (found.kind(), owner) {
        (Some(Kind::Job), _) => Replacer::Job(Box::new(found)),
        // A ReplicaSet under a controller that is not built in still replaces its own pods.
        _ => Replacer::Workload(Box::new(found)),
    }
}

/// Finds the replacer of a pod that is gone, by the rules for naming pods, and only if exactly one such controller
/// exists. `now` is the pod that has the name today, if any: only a StatefulSet uses names again.
pub async fn of_gone(cluster: &Cluster, object: &ObjectRef, now: Option<&Value>) -> Result<Replacer> {
    if let Some(pod) = now {
        return of(cluster, object, pod).await;
    }
    let mut found = Vec::new();
    let candidates = candidates(object.name.as_str());
    for (kind, name) in &candidates {
        let Ok(name) = name.parse() else { continue };
        let named = object.sibling(kind.resource(), name, None);
        match lookup::find(cluster, &named, owner_of_set).await {
            Ok(one) => found.push(one),
            Err(Error::TargetNotFound(_) | Error::Refused(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(match (found.pop(), found.pop()) {
        (Some(one), None) => classify(one),
        (Some(one), Some(other)) => {
            Replacer::Unknown(format!("both {} and {} may have made a pod of this name", one.object, other.object))
        }
        _ => Replacer::Unknown(format!("no controller is there whose pods are named like {}", object.name)),
    })
}

/// Returns the controllers that may have made a pod of this name. `generateName` is the controller's name and a dash,
/// to which the API server adds five characters; a StatefulSet adds the ordinal, an Indexed Job the index before those
/// five.
fn candidates(name: &str) -> Vec<(Kind, String)> {
    /// The API server's alphabet for generated names: no vowels, and no characters that look alike.
    const GENERATED: &str = "bcdfghjklmnpqrstvwxz2456789";
    let mut all = Vec::new();
    let Some((base, last)) = name.rsplit_once('-') else { return all };
    if last.len() == 5 && last.chars().all(|c| GENERATED.contains(c)) {
        let kinds = [Kind::ReplicaSet, Kind::DaemonSet, Kind::ReplicationController, Kind::Job];
        all.extend(kinds.map(|kind| (kind, base.to_owned())));
        if let Some((job, _)) = base.rsplit_once('-').filter(|_| ordinal(base).is_some()) {
            all.push((Kind::Job, job.to_owned()));
        }
    }
    if ordinal(name).is_some() {
        all.push((Kind::StatefulSet, base.to_owned()));
    }
    all
}

/// Returns the UIDs of the pods that have the same controller. For a pod that is being deleted, only of the pods that
/// were there before, because its replacement may already exist.
pub async fn siblings(cluster: &Cluster, object: &ObjectRef, pod: &Value, replacer: &Replacer) -> Result<Vec<String>> {
    let labels = replacer.found().map(|found| selector(&found.value)).unwrap_or_default();
    let owner = controller(pod).and_then(|owner| text(owner, "/uid"));
    let leaving_since = leaving_since(pod).and_then(|since| since.parse::<Timestamp>().ok());
    let (pods, _) = cluster.list::<PodView>(&Query::beside(object, Kind::Pod.resource(), labels)).await?;
    let before = |pod: &PodView| leaving_since.is_none_or(|since| pod.created.is_some_and(|created| created < since));
    let same = pods.into_iter().filter(|pod| pod.owner.is_some() && pod.owner.as_deref() == owner && before(pod));
    Ok(same.map(|pod| pod.uid).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::testing::live;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case::replica_set("web-5d4f6-x2v9k", &["ReplicaSet web-5d4f6", "DaemonSet web-5d4f6", "ReplicationController web-5d4f6", "Job web-5d4f6"])]
    #[case::set("db-0", &["StatefulSet db"])]
    #[case::indexed_job("calc-3-x2v9k", &["ReplicaSet calc-3", "DaemonSet calc-3", "ReplicationController calc-3", "Job calc-3", "Job calc"])]
    #[case::either("db-24567", &["ReplicaSet db", "DaemonSet db", "ReplicationController db", "Job db", "StatefulSet db"])]
    #[case::neither("web-hello", &[])]
    #[case::no_dash("web", &[])]
    fn controllers_name_their_pods_by_rules(#[case] name: &str, #[case] expected: &[&str]) {
        let all: Vec<_> = candidates(name).into_iter().map(|(kind, name)| format!("{} {name}", kind.name())).collect();
        assert_eq!(all, expected);
    }

    #[test]
    fn what_is_on_its_way_out_replaces_nothing() {
        let leaving = live(Kind::Deployment, json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } }));
        assert!(matches!(classify(leaving), Replacer::Nobody(why) if why.contains("is being deleted")));
        assert!(matches!(classify(live(Kind::Deployment, json!({}))), Replacer::Workload(_)));
        assert!(matches!(classify(live(Kind::Job, json!({}))), Replacer::Job(_)));
    }
}
