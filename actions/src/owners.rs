//! Whose a pod is: by the UIDs of its owners, never by its labels. Selectors may overlap, and labels are anybody's to set.

use std::collections::BTreeMap;

use crate::cluster::{Cluster, Query};
use crate::error::Result;
use crate::object::{Kind, ObjectRef};
use crate::pod::PodView;
use crate::revision::SetView;

/// The owners of a workload's pods: itself, or the ReplicaSets of a Deployment, also those that are gone by now.
#[derive(Debug)]
pub struct Owners {
    object: ObjectRef,
    /// `None` for a kind that is not built in: its pods may be its own or, as a Deployment's, its ReplicaSets'.
    kind: Option<Kind>,
    labels: String,
    /// ReplicaSets, and whether they are this Deployment's.
    known: BTreeMap<String, bool>,
}

impl Owners {
    /// Of this workload, whose selector this is.
    pub fn of(object: &ObjectRef, labels: String) -> Self {
        Self { object: object.clone(), kind: object.resource.built_in(), labels, known: BTreeMap::new() }
    }

    /// Learns whose the ReplicaSets are, and asks for those of pods whose owner is not known: the watch of the pods may be
    /// ahead of that of the sets.
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

    /// Decides about a pod whose owner is not among all ReplicaSets: it is another kind, or it is gone. A set that is gone
    /// is told by its name, which its Deployment's controller made of the Deployment's and the template's hash: such a pod
    /// is on its way out, and not to be overlooked.
    fn settle(&mut self, pod: &PodView) {
        let Some(owner) = pod.owner.as_ref().filter(|owner| !self.known.contains_key(*owner)) else { return };
        let name = pod.revision.as_ref().map(|hash| format!("{}-{hash}", self.object.name));
        let ours = self.kind.is_some() && name.is_some() && name == pod.owner_name;
        self.known.insert(owner.clone(), ours);
    }

    /// Whether a pod is the workload's own.
    pub fn own(&self, pod: &PodView) -> bool {
        let Some(owner) = &pod.owner else { return false };
        self.object.uid.as_ref() == Some(owner) || self.known.get(owner).copied().unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn object(kind: Kind) -> ObjectRef {
        crate::guard::test_support::found(kind, serde_json::json!({ "metadata": { "uid": "w" } })).object
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
}
