//! What an action points at: kinds, resources, and references to objects.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::names::{Group, InvalidName, KindName, Name, Namespace, Plural, Version, nearest};

/// The kinds that the runner knows by itself; any other one needs its API version and costs a request to learn its plural.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// apps/v1 Deployment
    Deployment,
    /// apps/v1 StatefulSet
    StatefulSet,
    /// apps/v1 DaemonSet
    DaemonSet,
    /// apps/v1 ReplicaSet
    ReplicaSet,
    /// v1 ReplicationController
    ReplicationController,
    /// v1 Pod
    Pod,
    /// v1 Node
    Node,
    /// batch/v1 Job
    Job,
    /// batch/v1 CronJob
    CronJob,
}

impl Kind {
    /// Every built-in kind.
    pub const ALL: [Kind; 9] = [
        Kind::Deployment,
        Kind::StatefulSet,
        Kind::DaemonSet,
        Kind::ReplicaSet,
        Kind::ReplicationController,
        Kind::Pod,
        Kind::Node,
        Kind::Job,
        Kind::CronJob,
    ];

    /// group, version, kind, plural, and the short names that kubectl accepts.
    const fn facts(self) -> (&'static str, &'static str, &'static str, &'static str, &'static [&'static str]) {
        match self {
            Kind::Deployment => ("apps", "v1", "Deployment", "deployments", &["deploy"]),
            Kind::StatefulSet => ("apps", "v1", "StatefulSet", "statefulsets", &["sts"]),
            Kind::DaemonSet => ("apps", "v1", "DaemonSet", "daemonsets", &["ds"]),
            Kind::ReplicaSet => ("apps", "v1", "ReplicaSet", "replicasets", &["rs"]),
            Kind::ReplicationController => ("", "v1", "ReplicationController", "replicationcontrollers", &["rc"]),
            Kind::Pod => ("", "v1", "Pod", "pods", &["po"]),
            Kind::Node => ("", "v1", "Node", "nodes", &["no"]),
            Kind::Job => ("batch", "v1", "Job", "jobs", &[]),
            Kind::CronJob => ("batch", "v1", "CronJob", "cronjobs", &["cj"]),
        }
    }

    /// `Deployment`
    pub const fn name(self) -> &'static str {
        self.facts().2
    }

    /// `deployment`: as it stands in an action type and in a sentence.
    pub fn lower(self) -> String {
        self.name().to_lowercase()
    }

    /// A kind by its name, plural or short name, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_lowercase();
        Self::ALL.into_iter().find(|kind| {
            let (_, _, name, plural, short) = kind.facts();
            name.to_lowercase() == text || plural == text || short.contains(&text.as_str())
        })
    }

    /// The built-in kind nearest to a word.
    pub fn nearest(text: &str) -> Option<&'static str> {
        nearest(text, Self::ALL.map(Kind::name))
    }

    /// The resource that serves this kind.
    pub fn resource(self) -> Resource {
        let (group, version, kind, plural, _) = self.facts();
        Resource {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
            namespaced: self != Kind::Node,
        }
    }
}

/// A resource of the API: where a kind is served. Its parts were checked when it was made, they are safe in a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Resource {
    group: String,
    version: String,
    kind: String,
    plural: String,
    namespaced: bool,
}

impl Resource {
    /// A resource that the API server told of (a kind outside the built-in ones).
    pub fn discovered(api_version: &str, kind: &str, plural: &str, namespaced: bool) -> Result<Self, InvalidName> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        group.parse::<Group>()?;
        version.parse::<Version>()?;
        kind.parse::<KindName>()?;
        plural.parse::<Plural>()?;
        let own = str::to_owned;
        Ok(Self { group: own(group), version: own(version), kind: own(kind), plural: own(plural), namespaced })
    }

    /// A namespaced resource that is read beside targets: the crate's own constants, which need no checks.
    pub(crate) fn known(
        (group, version): (&'static str, &'static str),
        kind: &'static str,
        plural: &'static str,
    ) -> Self {
        let own = str::to_owned;
        Self { group: own(group), version: own(version), kind: own(kind), plural: own(plural), namespaced: true }
    }

    /// `apps/v1`, or `v1` for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `apps`; empty for the core group.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// `Deployment`
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// `deployments`
    pub fn plural(&self) -> &str {
        &self.plural
    }

    /// Whether objects of this kind live in a namespace.
    pub fn namespaced(&self) -> bool {
        self.namespaced
    }

    /// Whether every API server serves it: the groups of Kubernetes itself that are used here have no dot in their names;
    /// of those under `k8s.io` some are served by extensions (`metrics.k8s.io`).
    pub fn always_served(&self) -> bool {
        !self.group.contains('.')
    }

    /// The built-in kind that this resource serves, if it is one.
    pub fn built_in(&self) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.resource() == *self)
    }

    /// The path of all objects of this kind in a namespace (or in the cluster).
    pub fn collection_path(&self, namespace: Option<&Namespace>) -> String {
        let root = if self.group.is_empty() { "/api" } else { "/apis" };
        let mut path = format!("{root}/{}", self.api_version());
        if let Some(namespace) = namespace.filter(|_| self.namespaced) {
            path.push_str("/namespaces/");
            path.push_str(namespace.as_str());
        }
        path.push('/');
        path.push_str(&self.plural);
        path
    }
}

/// One object, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRef {
    /// Where its kind is served.
    pub resource: Resource,
    /// Its namespace; `None` exactly for cluster-scoped kinds.
    pub namespace: Option<Namespace>,
    /// Its name.
    pub name: Name,
    /// Its UID, when it matters that it is this very object and not a later one of the same name.
    pub uid: Option<String>,
}

impl ObjectRef {
    /// Another object in the same namespace.
    #[must_use]
    pub fn sibling(&self, resource: Resource, name: Name, uid: Option<String>) -> Self {
        let namespace = self.namespace.clone().filter(|_| resource.namespaced());
        Self { resource, namespace, name, uid }
    }

    /// The object's path, with a sub-resource if one is meant.
    pub fn path(&self, subresource: Option<&'static str>) -> String {
        let mut path = format!("{}/{}", self.resource.collection_path(self.namespace.as_ref()), self.name);
        if let Some(subresource) = subresource {
            path.push('/');
            path.push_str(subresource);
        }
        path
    }

    /// How results name the object.
    pub fn to_target(&self) -> Target {
        Target {
            api_version: self.resource.api_version(),
            kind: self.resource.kind().to_owned(),
            namespace: self.namespace.as_ref().map(ToString::to_string),
            name: self.name.to_string(),
            uid: self.uid.clone(),
            subresource: None,
        }
    }
}

/// `deployment shop/web`, `node n1`: how sentences name the object.
impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.resource.kind().to_lowercase())?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        write!(f, "{}", self.name)
    }
}

/// An object as results name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// API group and version, such as `apps/v1`.
    pub api_version: String,
    /// Kind, such as `Deployment`.
    pub kind: String,
    /// Namespace; absent for cluster-scoped kinds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// UID, once the object was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The sub-resource that was written, such as `scale`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subresource: Option<String>,
}

/// A text inside an object, by JSON pointer.
pub fn text<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer).and_then(Value::as_str)
}

/// A whole number inside an object, by JSON pointer. The API leaves zero values out, so absent is 0.
pub fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// An object's UID.
pub fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid").unwrap_or_default()
}

/// One annotation.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(key)?.as_str()
}

/// One label.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("labels")?.get(key)?.as_str()
}

/// The owner that controls the object, if there is one.
pub fn controller(object: &Value) -> Option<&Value> {
    let owners = object.pointer("/metadata/ownerReferences")?.as_array()?;
    owners.iter().find(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("deploy", Some(Kind::Deployment))]
    #[case("Deployments", Some(Kind::Deployment))]
    #[case("sts", Some(Kind::StatefulSet))]
    #[case("NODE", Some(Kind::Node))]
    #[case("deploymnt", None)]
    fn reads_kinds_as_kubectl_does(#[case] text: &str, #[case] kind: Option<Kind>) {
        assert_eq!(Kind::parse(text), kind);
    }

    #[test]
    fn every_kind_is_found_by_its_own_names_and_served_where_kubernetes_serves_it() {
        for kind in Kind::ALL {
            let resource = kind.resource();
            for name in [kind.name(), resource.plural(), &kind.lower()] {
                assert_eq!(Kind::parse(name), Some(kind));
            }
            assert_eq!((resource.kind(), resource.built_in()), (kind.name(), Some(kind)));
            assert_eq!(resource.namespaced(), kind != Kind::Node);
        }
        let paths = Kind::ALL.map(|kind| kind.resource().collection_path("shop".parse().ok().as_ref()));
        assert_eq!(
            paths,
            [
                "/apis/apps/v1/namespaces/shop/deployments",
                "/apis/apps/v1/namespaces/shop/statefulsets",
                "/apis/apps/v1/namespaces/shop/daemonsets",
                "/apis/apps/v1/namespaces/shop/replicasets",
                "/api/v1/namespaces/shop/replicationcontrollers",
                "/api/v1/namespaces/shop/pods",
                "/api/v1/nodes",
                "/apis/batch/v1/namespaces/shop/jobs",
                "/apis/batch/v1/namespaces/shop/cronjobs",
            ]
        );
        assert_eq!(Kind::nearest("Deploymnt"), Some("Deployment"));
        assert_eq!(Kind::nearest("Secret"), None);
        assert_eq!(Kind::Deployment.resource().built_in(), Some(Kind::Deployment));
        let rollout = Resource::discovered("argoproj.io/v1alpha1", "Rollout", "rollouts", true).unwrap();
        let facts = (rollout.api_version(), rollout.group(), rollout.kind(), rollout.plural(), rollout.built_in());
        assert_eq!(facts, ("argoproj.io/v1alpha1".to_owned(), "argoproj.io", "Rollout", "rollouts", None));
        let known = Resource::known(("policy", "v1"), "PodDisruptionBudget", "poddisruptionbudgets");
        assert_eq!(known.collection_path(None), "/apis/policy/v1/poddisruptionbudgets");
    }

    #[test]
    fn an_object_is_told_as_people_name_it() {
        let web = ObjectRef {
            resource: Kind::Deployment.resource(),
            namespace: "shop".parse().ok(),
            name: "web".parse().unwrap(),
            uid: Some("u".to_owned()),
        };
        assert_eq!(web.to_string(), "deployment shop/web");
        assert_eq!(web.path(None), "/apis/apps/v1/namespaces/shop/deployments/web");
        assert_eq!(web.path(Some("scale")), "/apis/apps/v1/namespaces/shop/deployments/web/scale");
        let expected = serde_json::json!({ "apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web", "uid": "u" });
        assert_eq!(serde_json::json!(web.to_target()), expected);
        let pod = web.sibling(Kind::Pod.resource(), "web-1".parse().unwrap(), None);
        assert_eq!((pod.to_string(), pod.uid), ("pod shop/web-1".to_owned(), None));
        let node = web.sibling(Kind::Node.resource(), "n1".parse().unwrap(), None);
        assert_eq!(node.to_string(), "node n1");
    }

    #[test]
    fn reads_fields_of_an_object() {
        let object = serde_json::json!({
            "metadata": { "uid": "u", "annotations": { "a/b": "1" }, "labels": { "c/d": "2" },
                "ownerReferences": [{ "uid": "x" }, { "uid": "y", "controller": false }, { "uid": "z", "controller": true }] },
            "spec": { "replicas": 3 },
        });
        assert_eq!((uid(&object), annotation(&object, "a/b"), label(&object, "c/d")), ("u", Some("1"), Some("2")));
        assert_eq!((number(&object, "/spec/replicas"), number(&object, "/spec/nothing")), (3, 0));
        assert_eq!(controller(&object).and_then(|owner| text(owner, "/uid")), Some("z"));
        assert_eq!((uid(&Value::Null), controller(&Value::Null)), ("", None));
    }

    /// Names that are nearly good, with what would change a path.
    fn tricky() -> impl Strategy<Value = String> {
        prop_oneof!["[a-z0-9]{1,8}", "[a-z0-9./%?#\\\\ -]{1,12}", "(\\.\\./){1,3}[a-z]{1,5}", ".{0,40}"]
    }

    proptest! {
        /// Whatever is given as name, namespace, API version, kind and plural: either it is refused, or the path has
        /// the segments that were meant, and no query.
        #[test]
        fn no_input_changes_the_shape_of_a_path(
            name in tricky(), namespace in tricky(), api in tricky(), kind in tricky(), plural in tricky(),
        ) {
            let (Ok(name), Ok(namespace)) = (name.parse::<Name>(), namespace.parse::<Namespace>()) else { return Ok(()) };
            let resource = Resource::discovered(&api, &kind, &plural, true).unwrap_or_else(|_| Kind::Deployment.resource());
            let segments = if resource.group().is_empty() { 7 } else { 8 };
            let object = ObjectRef { resource, namespace: Some(namespace), name: name.clone(), uid: None };
            let uri: http::Uri = object.path(Some("scale")).parse().unwrap();
            let path: Vec<_> = uri.path().split('/').skip(1).collect();
            prop_assert_eq!(path.len(), segments);
            prop_assert_eq!(path[segments - 2], name.as_str());
            prop_assert_eq!(path[segments - 1], "scale");
            prop_assert!(uri.query().is_none());
        }
    }
}
