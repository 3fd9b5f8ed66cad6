//! Finds a workload's own pods, by UID from owner to owner. Labels only narrow the read: selectors may overlap.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use crate::cluster::error::Result;
use crate::cluster::{Cluster, Query};
use crate::k8s::object::uid;
use crate::k8s::selector::selector;
use crate::k8s::{Kind, ObjectRef, Permission, Resource};
use crate::workload::pods::PodView;
use crate::workload::revisions::SetView;

/// Returns the kind between a workload and its pods, if there is one.
fn between(resource: &Resource) -> Option<Kind> {
    match resource.built_in()? {
        Kind::Deployment => Some(Kind::ReplicaSet),
        Kind::CronJob => Some(Kind::Job),
        _ => None,
    }
}

/// Returns the permissions that [`controlled_uids`] needs, beside reading the workload.
pub fn permissions(resource: &Resource) -> BTreeSet<Permission> {
    between(resource).map(|kind| Permission::of("list", &kind.resource())).into_iter().collect()
}

/// Returns the permissions to follow the owners of pods: a Deployment's pods belong to its ReplicaSets.
pub fn set_permissions(kind: Kind) -> BTreeSet<Permission> {
    match kind {
        Kind::Deployment => ["list", "watch"].map(|verb| Permission::of(verb, &Kind::ReplicaSet.resource())).into(),
        _ => BTreeSet::new(),
    }
}

/// Returns the UIDs of the owners of the workload's pods: for a Deployment its ReplicaSets, for a CronJob its Jobs, for
/// every other kind the workload itself.
///
/// Misses nobody if called after the pods were read: a ReplicaSet that was made in between has none of them. Pods whose
/// ReplicaSet is gone belong to nobody.
pub async fn controlled_uids(cluster: &Cluster, object: &ObjectRef, value: &Value) -> Result<BTreeSet<String>> {
    let own = uid(value);
    let Some(kind) = between(&object.resource) else { return Ok([own.to_owned()].into()) };
    // A Deployment's selector is immutable, and its ReplicaSets must have its labels. A CronJob has none: all Jobs.
    let query = Query::beside(object, kind.resource(), selector(value));
    let (all, _) = cluster.list::<Owned>(&query).await?;
    Ok(controlled_by(own, all))
}

fn controlled_by(owner: &str, all: Vec<Owned>) -> BTreeSet<String> {
    let controls = |one: &OwnerReference| one.controller && one.uid == owner;
    let own = all.into_iter().filter(|one| one.metadata.owner_references.iter().any(controls));
    own.map(|one| one.metadata.uid).collect()
}

/// An object, reduced to its owners, because a ReplicaSet holds a whole template.
#[derive(Debug, Deserialize)]
struct Owned {
    metadata: OwnedMeta,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OwnedMeta {
    uid: String,
    #[serde(default)]
    owner_references: Vec<OwnerReference>,
}

#[derive(Debug, Deserialize)]
struct OwnerReference {
    uid: String,
    #[serde(default)]
    controller: bool,
}

/// The owners of a workload's pods: itself, or the ReplicaSets of a Deployment, even those that are gone.
#[derive(Debug)]
pub struct Owners {
    object: ObjectRef,
    /// `None` for a kind that is not built in: its pods may be its own or, like a Deployment's, its ReplicaSets'.
    kind: Option<Kind>,
    labels: String,
    /// UIDs of other owners, with true for the ReplicaSets of this workload.
    known: BTreeMap<String, bool>,
}

impl Owners {
    /// Starts for this workload, with its selector.
    pub fn of(object: &ObjectRef, labels: String) -> Self {
        Self { object: object.clone(), kind: object.resource.built_in(), labels, known: BTreeMap::new() }
    }

    /// Learns the owners of the ReplicaSets. If a pod's owner is unknown, lists the sets, because the watch of the pods
    /// may be ahead of the watch of the sets.
    pub async fn learn(&mut self, cluster: &Cluster, sets: &[SetView], pods: &[&PodView]) -> Result<()> {
        if !matches!(self.kind, None | Some(Kind::Deployment)) {
            return Ok(());
        }
        self.keep(sets);
        let unknown = |owner: &String| !self.known.contains_key(owner) && self.object.uid.as_ref() != Some(owner);
        if pods.iter().any(|pod| pod.owner.as_ref().is_some_and(unknown)) {
            let query = Query::beside(&self.object, Kind::ReplicaSet.resource(), self.labels.as_str());
            let (sets, _) = cluster.list::<SetView>(&query).await?;
            self.keep(&sets);
            for pod in pods {
                self.settle(pod);
            }
        }
        Ok(())
    }

    fn keep(&mut self, sets: &[SetView]) {
        for set in sets {
            self.known.insert(set.uid.clone(), set.owner == self.object.uid);
        }
    }

    /// Decides about a pod whose owner is not among the ReplicaSets: the owner is of another kind, or gone. A
    /// ReplicaSet that is gone is recognized by its name, made of the Deployment's name and the template's hash: its
    /// pods are being deleted, and must not be overlooked.
    fn settle(&mut self, pod: &PodView) {
        let Some(owner) = pod.owner.as_ref().filter(|owner| !self.known.contains_key(*owner)) else { return };
        let name = pod.revision.as_ref().map(|hash| format!("{}-{hash}", self.object.name));
        let ours = self.kind.is_some() && name.is_some() && name == pod.owner_name;
        self.known.insert(owner.clone(), ours);
    }

    /// Returns whether a pod is the workload's own.
    pub fn own(&self, pod: &PodView) -> bool {
        let Some(owner) = &pod.owner else { return false };
        self.object.uid.as_ref() == Some(owner) || self.known.get(owner).copied().unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case::its_controller(json!([{ "uid": "web", "controller": true }]), true)]
    #[case::beside_another_owner(json!([{ "uid": "x" }, { "uid": "web", "controller": true }]), true)]
    #[case::an_owner_that_does_not_control(json!([{ "uid": "web" }, { "uid": "other", "controller": true }]), false)]
    #[case::said_not_to_control(json!([{ "uid": "web", "controller": false }]), false)]
    #[case::another_one(json!([{ "uid": "other", "controller": true }]), false)]
    #[case::an_orphan(json!([]), false)]
    fn a_controller_is_told_by_its_uid(#[case] owners: Value, #[case] own: bool) {
        let set = json!({ "metadata": { "name": "web-1", "uid": "r", "ownerReferences": owners }, "spec": {} });
        let set: Owned = serde_json::from_value(set).unwrap();
        let expected: &[&str] = if own { &["r"] } else { &[] };
        assert_eq!(controlled_by("web", vec![set]), expected.iter().map(ToString::to_string).collect());
    }

    #[test]
    fn what_has_no_owner_is_read_too() {
        let set: Owned = serde_json::from_value(json!({ "metadata": { "uid": "r" } })).unwrap();
        assert!(controlled_by("web", vec![set]).is_empty());
    }

    #[rstest]
    #[case(Kind::Deployment, Some("list replicasets (apps)"))]
    #[case(Kind::CronJob, Some("list jobs (batch)"))]
    #[case(Kind::StatefulSet, None)]
    #[case(Kind::DaemonSet, None)]
    #[case(Kind::ReplicaSet, None)]
    #[case(Kind::ReplicationController, None)]
    #[case(Kind::Job, None)]
    #[case(Kind::Pod, None)]
    fn needs_a_list_of_what_stands_between(#[case] kind: Kind, #[case] needed: Option<&str>) {
        let needs: Vec<String> = permissions(&kind.resource()).iter().map(ToString::to_string).collect();
        assert_eq!(needs.first().map(String::as_str), needed);
        let unknown = Resource::discovered("argoproj.io/v1alpha1", "Rollout", "rollouts", true).unwrap();
        assert!(permissions(&unknown).is_empty());
    }

    fn object(kind: Kind) -> ObjectRef {
        crate::action::testing::live(kind, serde_json::json!({ "metadata": { "uid": "w" } })).object
    }

    fn pod(owner: &str, owner_name: &str, hash: &str) -> PodView {
        PodView {
            owner: Some(owner.to_owned()),
            owner_name: Some(owner_name.to_owned()),
            revision: Some(hash.to_owned()),
            ..PodView::default()
        }
    }

    #[rstest]
    #[case::own_set(pod("s1", "web-a", "a"), true)]
    #[case::anothers_set_of_the_same_labels(pod("s2", "api-b", "b"), false)]
    #[case::a_set_that_is_gone(pod("s3", "web-c", "c"), true)]
    #[case::a_set_of_another_that_is_gone(pod("s4", "api-c", "c"), false)]
    #[case::no_set_at_all(PodView { owner: Some("j".to_owned()), owner_name: Some("web-d".to_owned()), ..PodView::default() }, false)]
    #[case::nobodys(PodView::default(), false)]
    fn a_deployments_pods_are_its_sets(#[case] pod: PodView, #[case] own: bool) {
        let mut owners = Owners::of(&object(Kind::Deployment), String::new());
        let set = |uid: &str, owner: &str| SetView {
            uid: uid.to_owned(),
            owner: Some(owner.to_owned()),
            ..SetView::default()
        };
        owners.keep(&[set("s1", "w"), set("s2", "x")]);
        owners.settle(&pod);
        assert_eq!(owners.own(&pod), own);
    }

    #[test]
    fn a_sets_pods_are_its_own() {
        let owners = Owners::of(&object(Kind::StatefulSet), String::new());
        assert!(
            owners.own(&pod("w", "web", "a")) && !owners.own(&pod("x", "web", "a")) && !owners.own(&PodView::default())
        );
    }

    #[test]
    fn a_set_in_sight_says_whose_its_pods_are() {
        let object =
            crate::action::testing::live(Kind::Deployment, serde_json::json!({ "metadata": { "uid": "u" } })).object;
        let mut owners = Owners::of(&object, String::new());
        let set = |uid: &str, owner: &str| SetView {
            uid: uid.to_owned(),
            owner: Some(owner.to_owned()),
            ..SetView::default()
        };
        owners.keep(&[set("s1", "u"), set("s2", "other")]);
        let pod = |owner: &str| PodView { owner: Some(owner.to_owned()), ..PodView::default() };
        assert!(owners.own(&pod("s1")) && owners.own(&pod("u")));
        assert!(!owners.own(&pod("s2")) && !owners.own(&pod("s3")) && !owners.own(&PodView::default()));
    }
}
