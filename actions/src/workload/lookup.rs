//! Looks objects up, and follows them to their owners.

use contract::annotations::PROTECTED;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::cluster::error::{Error, Result};
use crate::k8s::object::{annotation, controller, leaving_since, text, uid};
use crate::k8s::{Kind, ObjectRef};

/// An object that was looked up.
#[derive(Debug, Clone)]
pub struct LiveObject {
    /// Reference to the object, with its UID.
    pub object: ObjectRef,
    /// The object as the API server gave it.
    pub value: Value,
    /// The object that the request named, when it led to this one.
    pub resolved_from: Option<ObjectRef>,
}

impl LiveObject {
    /// Returns why every action that changes something must leave the object alone, if protected.
    pub fn protection(&self) -> Option<String> {
        (annotation(&self.value, PROTECTED) == Some("true")).then(|| {
            format!("{} is protected by its annotation {PROTECTED}; remove it, or ask whoever set it", self.object)
        })
    }

    /// Returns why every action that changes something must leave the object alone, if the object is being deleted: a
    /// change would not last.
    pub fn leaving(&self) -> Option<String> {
        let since = leaving_since(&self.value)?;
        let finalizers = self.value.pointer("/metadata/finalizers").and_then(Value::as_array);
        let finalizers: Vec<&str> = finalizers.into_iter().flatten().filter_map(Value::as_str).collect();
        let held =
            if finalizers.is_empty() { String::new() } else { format!(" (finalizers: {})", finalizers.join(", ")) };
        Some(format!("{} is being deleted since {since}; wait until it is gone{held}", self.object))
    }

    /// Returns the kind, if built in.
    pub fn kind(&self) -> Option<Kind> {
        self.object.resource.built_in()
    }
}

/// Looks an object up, and follows its controllers as far as they are of `owner_kinds`: the kinds that a kind may lead to.
/// Any other controller is not read: no permission for it is needed.
pub async fn find(
    cluster: &Cluster,
    named: &ObjectRef,
    owner_kinds: impl Fn(Kind) -> &'static [Kind],
) -> Result<LiveObject> {
    let mut object = named.clone();
    let mut resolved_from = None;
    loop {
        let value = cluster.get(&object).await?;
        object = same(&object, uid(&value))?;
        let owners = object.resource.built_in().map(&owner_kinds).unwrap_or_default();
        let next = controller(&value).and_then(|owner| owner_ref(&object, owner));
        let Some(next) = next.filter(|next| next.resource.built_in().is_some_and(|kind| leads_to(owners, kind))) else {
            return Ok(LiveObject { object, value, resolved_from });
        };
        resolved_from.get_or_insert_with(|| object.clone());
        object = next;
    }
}

/// Returns whether a controller of this kind is on the way: a ReplicaSet may lead to its Deployment.
fn leads_to(owners: &[Kind], kind: Kind) -> bool {
    owners.contains(&kind) || (kind == Kind::ReplicaSet && owners.contains(&Kind::Deployment))
}

/// Returns the object with its UID; refuses if `TARGET_UID` (or an owner reference) meant another of the same name.
pub fn same(object: &ObjectRef, uid: &str) -> Result<ObjectRef> {
    match &object.uid {
        Some(known) if known != uid => Err(Error::Refused(format!(
            "{object} is another object by now: its UID is {uid}, not {known}; look at it before you decide again"
        ))),
        _ => Ok(ObjectRef { uid: Some(uid.to_owned()), ..object.clone() }),
    }
}

/// Returns the object that an owner reference names; `None` for kinds that are not built in.
pub fn owner_ref(object: &ObjectRef, owner: &Value) -> Option<ObjectRef> {
    let kind = Kind::parse(text(owner, "/kind")?)?;
    let resource = kind.resource();
    (text(owner, "/apiVersion") == Some(&resource.api_version())).then_some(())?;
    let name = text(owner, "/name")?.parse().ok()?;
    Some(object.sibling(resource, name, text(owner, "/uid").map(str::to_owned)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[test]
    fn follows_an_owner_of_a_known_kind() {
        let pod = crate::action::testing::live(Kind::Pod, json!({ "metadata": { "uid": "p" } })).object;
        let owner = |kind: &str, api_version: &str| json!({ "kind": kind, "apiVersion": api_version, "name": "web", "uid": "o" });
        let found = owner_ref(&pod, &owner("ReplicaSet", "apps/v1")).unwrap();
        assert_eq!((found.to_string(), found.uid.as_deref()), ("replicaset shop/web".to_owned(), Some("o")));
        assert!(owner_ref(&pod, &owner("ReplicaSet", "example.com/v1")).is_none());
        assert!(owner_ref(&pod, &owner("Rollout", "argoproj.io/v1alpha1")).is_none());
    }

    /// What cannot be acted on is not read: that would take a permission that nothing else needs.
    #[rstest]
    #[case::its_workload(&[Kind::StatefulSet], Kind::StatefulSet, true)]
    #[case::on_the_way(&[Kind::Deployment], Kind::ReplicaSet, true)]
    #[case::a_job(&[Kind::Deployment, Kind::StatefulSet], Kind::Job, false)]
    #[case::not_on_the_way(&[Kind::StatefulSet], Kind::ReplicaSet, false)]
    #[case::leads_nowhere(&[], Kind::ReplicaSet, false)]
    fn follows_only_to_what_can_be_acted_on(#[case] owners: &[Kind], #[case] kind: Kind, #[case] follows: bool) {
        assert_eq!(leads_to(owners, kind), follows);
    }

    #[test]
    fn another_object_of_the_same_name_is_refused() {
        let known = crate::action::testing::live(Kind::Pod, json!({ "metadata": { "uid": "p" } })).object;
        assert_eq!(same(&known, "p").unwrap().uid.as_deref(), Some("p"));
        assert!(matches!(same(&known, "q"), Err(Error::Refused(why)) if why.contains("its UID is q, not p")));
        let unknown = ObjectRef { uid: None, ..known };
        assert_eq!(same(&unknown, "q").unwrap().uid.as_deref(), Some("q"));
    }

    #[test]
    fn is_protected_only_by_true() {
        let with = |value: &str| {
            let object = json!({ "metadata": { "uid": "u", "annotations": { PROTECTED: value } } });
            crate::action::testing::live(Kind::Deployment, object)
        };
        assert!(with("true").protection().unwrap().starts_with("deployment shop/web is protected"));
        assert_eq!((with("false").protection(), with("true").kind()), (None, Some(Kind::Deployment)));
    }
}
