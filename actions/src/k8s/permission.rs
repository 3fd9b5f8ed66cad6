//! Permissions as values: those that an action needs, and whether a list of rules grants them.

use std::fmt;

use k8s_openapi::api::authorization::v1::{ResourceAttributes, ResourceRule};

use crate::k8s::Resource;
use crate::k8s::names::{Name, Namespace};

/// One thing that a ServiceAccount may do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permission {
    /// `apps`; empty for the core group.
    pub group: String,
    /// `deployments`
    pub resource: String,
    /// `scale` in `deployments/scale`.
    pub subresource: Option<&'static str>,
    /// `get`, `list`, `watch`, `patch`, `create`
    pub verb: &'static str,
    /// True when the request names the target, so that `resourceNames` can narrow it (lists and watches do by field
    /// selector).
    pub names_target: bool,
    /// True for objects in a namespace.
    pub namespaced: bool,
}

impl Permission {
    /// Returns the permission for a verb on objects that the request does not name (a list by labels, a create).
    pub fn of(verb: &'static str, resource: &Resource) -> Self {
        Self {
            group: resource.group().to_owned(),
            resource: resource.plural().to_owned(),
            subresource: None,
            verb,
            names_target: false,
            namespaced: resource.namespaced(),
        }
    }

    /// Returns the permission for a verb on the target, by its name.
    pub fn on_target(verb: &'static str, resource: &Resource) -> Self {
        Self { names_target: true, ..Self::of(verb, resource) }
    }

    /// Returns the same permission on a sub-resource.
    #[must_use]
    pub fn on_sub(self, subresource: &'static str) -> Self {
        Self { subresource: Some(subresource), ..self }
    }

    /// Returns the resource as RBAC rules write it, such as `deployments/scale`.
    pub fn resource_path(&self) -> String {
        match self.subresource {
            Some(sub) => format!("{}/{sub}", self.resource),
            None => self.resource.clone(),
        }
    }

    /// Returns whether one of these rules grants the permission, by RBAC's own matching.
    pub fn granted_by(&self, rules: &[ResourceRule], name: Option<&Name>) -> bool {
        rules.iter().any(|rule| self.granted_by_rule(rule, name))
    }

    fn granted_by_rule(&self, rule: &ResourceRule, name: Option<&Name>) -> bool {
        let has =
            |list: &Option<Vec<String>>, wanted: &str| list.iter().flatten().any(|item| item == "*" || item == wanted);
        let verb = rule.verbs.iter().any(|verb| verb == "*" || verb == self.verb);
        let any_of_sub = self.subresource.map(|sub| format!("*/{sub}"));
        let resource = has(&rule.resources, &self.resource_path())
            || any_of_sub.is_some_and(|wild| rule.resources.iter().flatten().any(|item| *item == wild));
        let narrowed = rule.resource_names.as_deref().unwrap_or_default();
        let named = narrowed.is_empty()
            || (self.names_target && name.is_some_and(|name| narrowed.iter().any(|one| one == name.as_str())));
        verb && has(&rule.api_groups, &self.group) && resource && named
    }

    /// Returns the question for an access review.
    pub fn attributes(&self, namespace: Option<&Namespace>, name: Option<&Name>) -> ResourceAttributes {
        ResourceAttributes {
            group: Some(self.group.clone()),
            resource: Some(self.resource.clone()),
            subresource: self.subresource.map(str::to_owned),
            verb: Some(self.verb.to_owned()),
            namespace: namespace.filter(|_| self.namespaced).map(ToString::to_string),
            name: name.filter(|_| self.names_target).map(ToString::to_string),
            ..ResourceAttributes::default()
        }
    }
}

/// `patch deployments/scale (apps)`
impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = if self.group.is_empty() { "core" } else { &self.group };
        write!(f, "{} {} ({group})", self.verb, self.resource_path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::Kind;
    use rstest::rstest;

    fn rule(groups: &str, resources: &str, names: &[&str], verbs: &str) -> ResourceRule {
        let list = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        ResourceRule {
            api_groups: Some(vec![groups.to_owned()]),
            resources: Some(list(resources)),
            resource_names: Some(names.iter().map(ToString::to_string).collect()),
            verbs: list(verbs),
        }
    }

    #[rstest]
    #[case::exact(rule("apps", "deployments/scale", &[], "patch"), true)]
    #[case::everything(rule("*", "*", &[], "*"), true)]
    #[case::any_scale(rule("apps", "*/scale", &[], "patch"), true)]
    #[case::its_name(rule("apps", "deployments/scale", &["web"], "patch"), true)]
    #[case::another_name(rule("apps", "deployments/scale", &["db"], "patch"), false)]
    #[case::the_main_resource(rule("apps", "deployments", &[], "patch"), false)]
    #[case::another_verb(rule("apps", "deployments/scale", &[], "get"), false)]
    #[case::another_group(rule("", "deployments/scale", &[], "patch"), false)]
    fn matches_as_rbac_does(#[case] rule: ResourceRule, #[case] granted: bool) {
        let permission = Permission::on_target("patch", &Kind::Deployment.resource()).on_sub("scale");
        assert_eq!(permission.granted_by(&[rule], Some(&"web".parse().unwrap())), granted);
    }

    #[test]
    fn asks_and_tells_what_it_is() {
        use crate::k8s::Kind;
        let (namespace, name) = ("shop".parse().ok(), "web".parse().ok());
        let scale = Permission::on_target("patch", &Kind::Deployment.resource()).on_sub("scale");
        assert_eq!(scale.to_string(), "patch deployments/scale (apps)");
        let asked = scale.attributes(namespace.as_ref(), name.as_ref());
        let parts = [asked.group, asked.resource, asked.subresource, asked.verb, asked.namespace, asked.name];
        assert_eq!(parts.map(Option::unwrap), ["apps", "deployments", "scale", "patch", "shop", "web"]);
        let nodes = Permission::of("list", &Kind::Node.resource());
        assert_eq!((nodes.to_string(), nodes.resource_path()), ("list nodes (core)".to_owned(), "nodes".to_owned()));
        let asked = nodes.attributes(namespace.as_ref(), name.as_ref());
        assert_eq!((asked.namespace, asked.name, asked.subresource), (None, None, None));
    }

    #[test]
    fn a_list_by_labels_is_not_granted_by_a_named_rule() {
        let permission = Permission::of("list", &Kind::Pod.resource());
        assert!(!permission.granted_by(&[rule("", "pods", &["web"], "list")], Some(&"web".parse().unwrap())));
    }
}
