//! Whose pods: by UID, from owner to owner. Labels only narrow what is read, because selectors may overlap.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use crate::cluster::{Cluster, Query};
use crate::error::Result;
use crate::object::{Kind, ObjectRef, Resource, uid};
use crate::permission::Permission;
use crate::workload::selector;

/// The kind that stands between a workload and its pods, where one does.
fn between(resource: &Resource) -> Option<Kind> {
    match resource.built_in()? {
        Kind::Deployment => Some(Kind::ReplicaSet),
        Kind::CronJob => Some(Kind::Job),
        _ => None,
    }
}

/// What [`controlled_uids`] takes beside reading the workload.
pub fn permissions(resource: &Resource) -> BTreeSet<Permission> {
    between(resource).map(|kind| Permission::of("list", &kind.resource())).into_iter().collect()
}

/// The UIDs whose pods are the workload's own: those of its ReplicaSets for a Deployment, of its Jobs for a CronJob, its own
/// for every other kind.
///
/// Read after the pods, it misses nobody: a ReplicaSet that was made in between has none of them. Pods whose ReplicaSet is gone
/// belong to nobody.
pub async fn controlled_uids(cluster: &Cluster, object: &ObjectRef, value: &Value) -> Result<BTreeSet<String>> {
    let own = uid(value);
    let Some(kind) = between(&object.resource) else { return Ok([own.to_owned()].into()) };
    // A Deployment's selector is immutable, and its ReplicaSets must have its labels. A CronJob has none: all Jobs beside it.
    let query = Query::beside(object, kind.resource(), selector(value));
    let (all, _) = cluster.list::<Owned>(&query).await?;
    Ok(controlled_by(own, all))
}

fn controlled_by(owner: &str, all: Vec<Owned>) -> BTreeSet<String> {
    let controls = |one: &OwnerReference| one.controller && one.uid == owner;
    let own = all.into_iter().filter(|one| one.metadata.owner_references.iter().any(controls));
    own.map(|one| one.metadata.uid).collect()
}

/// An object, cut down to whose it is: a ReplicaSet holds a whole template.
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
}
