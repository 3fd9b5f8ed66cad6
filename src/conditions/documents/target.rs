//! The target of the documents, as far as they need it.

use actions::action::{Target, TargetRef};
use actions::cluster::Query;
use actions::k8s::names::Namespace;
use actions::k8s::object::{controller, text};
use actions::k8s::selector::selector;
use actions::k8s::{Kind, ObjectRef};
use serde_json::{Map, Value};

/// The target, and the way to find its pods.
#[derive(Debug, Clone)]
pub struct ConditionTarget {
    /// Namespace; `None` for a node.
    pub namespace: Option<Namespace>,
    /// The object; `None` for a selection of pods.
    pub object: Option<ObjectRef>,
    /// The object as found; null for a selection.
    pub value: Value,
    selection: String,
}

impl ConditionTarget {
    /// Takes a target that was found.
    pub fn found(target: &impl Target, named: &TargetRef) -> Self {
        let (namespace, selection) = match named {
            TargetRef::Object(object) => (object.namespace.clone(), String::new()),
            TargetRef::Selection { namespace, selector } => (Some(namespace.clone()), selector.clone()),
        };
        let value = target.value().cloned().unwrap_or_default();
        Self { namespace, object: target.object().cloned(), value, selection }
    }

    /// Returns the object's kind, if built in.
    pub fn kind(&self) -> Option<Kind> {
        self.object.as_ref().and_then(|object| object.resource.built_in())
    }

    /// Returns the kind that conditions are for: a selection consists of pods.
    pub fn target_kind(&self) -> Option<Kind> {
        if self.object.is_none() { Some(Kind::Pod) } else { self.kind() }
    }

    /// Returns the target as sentences name it.
    pub fn shown(&self) -> String {
        self.object.as_ref().map_or_else(|| format!("the pods with {}", self.selection), ToString::to_string)
    }

    /// Returns the spec of the pod template, or a pod's own spec.
    pub fn pod_spec(&self) -> Option<&Value> {
        let at = if self.kind() == Some(Kind::Pod) { "/spec" } else { "/spec/template/spec" };
        self.value.pointer(at)
    }

    /// Returns the labels of the target's pods.
    pub fn pod_labels(&self) -> Map<String, Value> {
        let at = if self.kind() == Some(Kind::Pod) { "/metadata/labels" } else { "/spec/template/metadata/labels" };
        self.value.pointer(at).and_then(Value::as_object).cloned().unwrap_or_default()
    }

    /// Returns a query for the target's pods, which may find more: [`ConditionTarget::owns`] sorts them out.
    pub(super) fn pods(&self) -> Option<Query> {
        let pods = Kind::Pod.resource();
        let everywhere =
            Query { resource: pods.clone(), namespace: None, labels: String::new(), name: None, field: None };
        match (&self.object, self.kind()) {
            (None, _) => {
                Some(Query { namespace: self.namespace.clone(), labels: self.selection.clone(), ..everywhere })
            }
            (Some(node), Some(Kind::Node)) => {
                Some(Query { field: Some(("spec.nodeName", node.name.to_string())), ..everywhere })
            }
            (Some(_), Some(Kind::CronJob) | None) => None,
            // A pod's replacement has the same controller, and most of the labels.
            (Some(pod), Some(Kind::Pod)) => Some(Query::beside(pod, pods, "")),
            (Some(object), Some(_)) => Some(Query::beside(object, pods, selector(&self.value))),
        }
    }

    /// Returns whether a pod of [`ConditionTarget::pods`] is the target's own, because selectors may overlap.
    pub(super) fn owns(&self, pod: &Owned) -> bool {
        match (&self.object, self.kind()) {
            (None, _) | (_, Some(Kind::Node)) => true,
            // The ReplicaSets between a Deployment and its pods are not read: they are named by it, and by the hash on the pods.
            (Some(target), Some(Kind::Deployment)) => {
                let set = pod.hash.as_ref().map(|hash| format!("{}-{hash}", target.name));
                set.is_some() && set == pod.set
            }
            (Some(target), Some(Kind::Pod)) => {
                let owner = controller(&self.value).and_then(|owner| text(owner, "/uid"));
                pod.uid.as_deref() == target.uid.as_deref() || (owner.is_some() && pod.owner.as_deref() == owner)
            }
            (Some(target), _) => pod.owner.is_some() && pod.owner == target.uid,
        }
    }
}

/// The owner of a pod.
#[derive(Debug, Clone, Default)]
pub struct Owned {
    uid: Option<String>,
    owner: Option<String>,
    /// The template's hash.
    hash: Option<String>,
    /// Name of the ReplicaSet that controls it.
    set: Option<String>,
}

impl Owned {
    pub(super) fn read(pod: &Value) -> Self {
        let owner = controller(pod);
        let set = owner.filter(|owner| text(owner, "/kind") == Some("ReplicaSet"));
        Self {
            uid: text(pod, "/metadata/uid").map(str::to_owned),
            owner: owner.and_then(|owner| text(owner, "/uid")).map(str::to_owned),
            hash: actions::k8s::object::label(pod, "pod-template-hash").map(str::to_owned),
            set: set.and_then(|set| text(set, "/name")).map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    /// A canary's labels are a superset of the stable Deployment's, whose selector finds its pods too.
    #[rstest]
    #[case::its_own(json!([{ "controller": true, "kind": "ReplicaSet", "name": "web-5d4f6", "uid": "a" }]), true)]
    #[case::a_canarys(json!([{ "controller": true, "kind": "ReplicaSet", "name": "web-canary-5d4f6", "uid": "b" }]), false)]
    #[case::of_another_kind(json!([{ "controller": true, "kind": "Rollout", "name": "web-5d4f6", "uid": "c" }]), false)]
    #[case::nobodys(json!([]), false)]
    fn a_deployments_pods_are_its_replica_sets(#[case] owners: Value, #[case] own: bool) {
        let object = ObjectRef {
            resource: Kind::Deployment.resource(),
            namespace: "shop".parse().ok(),
            name: "web".parse().unwrap(),
            uid: Some("u".to_owned()),
        };
        let (object, selection) = (Some(object), String::new());
        let target = ConditionTarget { namespace: "shop".parse().ok(), object, value: json!({}), selection };
        let labels = json!({ "app": "web", "pod-template-hash": "5d4f6" });
        let pod = json!({ "metadata": { "uid": "p", "labels": labels, "ownerReferences": owners } });
        assert_eq!(target.owns(&Owned::read(&pod)), own);
    }
}
