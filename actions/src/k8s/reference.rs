//! References to objects.

use std::fmt;

use contract::result::ObjectReference;

use super::kinds::Resource;
use super::names::{Name, Namespace};

/// One object, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRef {
    /// Resource that serves the object's kind.
    pub resource: Resource,
    /// Namespace; `None` exactly for cluster-scoped kinds.
    pub namespace: Option<Namespace>,
    /// Name of the object.
    pub name: Name,
    /// UID, if only this very object is meant and not a later one of the same name.
    pub uid: Option<String>,
}

impl ObjectRef {
    /// Returns another object in the same namespace.
    #[must_use]
    pub fn sibling(&self, resource: Resource, name: Name, uid: Option<String>) -> Self {
        let namespace = self.namespace.clone().filter(|_| resource.namespaced());
        Self { resource, namespace, name, uid }
    }

    /// Returns the object's path, or the path of a sub-resource.
    pub fn path(&self, subresource: Option<&'static str>) -> String {
        let mut path = format!("{}/{}", self.resource.collection_path(self.namespace.as_ref()), self.name);
        if let Some(subresource) = subresource {
            path.push('/');
            path.push_str(subresource);
        }
        path
    }

    /// Returns the object as results name it.
    pub fn to_reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: self.resource.api_version(),
            kind: self.resource.kind().to_owned(),
            namespace: self.namespace.as_ref().map(ToString::to_string),
            name: self.name.to_string(),
            uid: self.uid.clone(),
            subresource: None,
        }
    }
}

/// Writes `deployment shop/web` or `node n1`, as sentences name the object.
impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.resource.kind().to_lowercase())?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        write!(f, "{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::Kind;
    use proptest::prelude::*;

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
        assert_eq!(serde_json::json!(web.to_reference()), expected);
        let pod = web.sibling(Kind::Pod.resource(), "web-1".parse().unwrap(), None);
        assert_eq!((pod.to_string(), pod.uid), ("pod shop/web-1".to_owned(), None));
        let node = web.sibling(Kind::Node.resource(), "n1".parse().unwrap(), None);
        assert_eq!(node.to_string(), "node n1");
    }

    /// Names that are almost valid, with characters that would change a path.
    fn tricky() -> impl Strategy<Value = String> {
        prop_oneof!["[a-z0-9]{1,8}", "[a-z0-9./%?#\\\\ -]{1,12}", "(\\.\\./){1,3}[a-z]{1,5}", ".{0,40}"]
    }

    proptest! {
        /// For any name, namespace, API version, kind and plural: either they are refused, or the path has exactly the
        /// segments that were meant, and no query.
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
