//! Permissions as YAML, from the same code that asks for them before a run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use actions::action::Action;
use actions::names::{Name, Namespace};
use actions::permission::Permission;
use actions::{Visitor, with_action};

use crate::catalogue::Entry;

/// What the YAML is for.
pub struct Options {
    /// Where the Role and the ServiceAccount are.
    pub namespace: Namespace,
    /// The target, if it is known beforehand.
    pub target: Option<Name>,
    /// Whether events are posted too.
    pub events: bool,
}

struct Permissions(Entry);

impl Visitor for Permissions {
    type Output = BTreeSet<Permission>;
    fn visit<A: Action>(self) -> BTreeSet<Permission> {
        let example: Option<A> = serde_json::from_value(A::example()).ok();
        example.map(|action| action.permissions(&self.0.kind.resource())).unwrap_or_default()
    }
}

/// The permissions of some entries together.
pub fn permissions(entries: &[Entry]) -> BTreeSet<Permission> {
    entries.iter().flat_map(|entry| with_action(entry.verb, Some(entry.kind), Permissions(*entry))).collect()
}

/// ServiceAccount, Role (ClusterRole for nodes) and binding.
pub fn yaml(action: &str, entries: &[Entry], options: &Options) -> String {
    let name = format!("action-{}", action.to_lowercase().replace('_', "-"));
    let mut permissions = permissions(entries);
    let namespace = &options.namespace;
    let cluster = permissions.iter().any(|permission| !permission.namespaced);
    let event = Permission {
        group: "events.k8s.io".to_owned(),
        resource: "events".to_owned(),
        subresource: None,
        verb: "create",
        names_target: false,
        namespaced: true,
    };
    let mut text =
        format!("apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {name}\n  namespace: {namespace}\n");
    if options.events && cluster {
        // Events about nodes are only accepted in `default`.
        let events = BTreeSet::from([event]);
        text.push_str(&role("", &format!("{name}-events"), &name, ("default", namespace), &events, None));
    } else if options.events {
        permissions.insert(event);
    }
    let prefix = if cluster { "Cluster" } else { "" };
    text + &role(prefix, &name, &name, (namespace.as_str(), namespace), &permissions, options.target.as_ref())
}

fn role(
    prefix: &str,
    name: &str,
    account: &str,
    places: (&str, &Namespace),
    permissions: &BTreeSet<Permission>,
    target: Option<&Name>,
) -> String {
    let (role_namespace, account_namespace) = places;
    let place = if prefix.is_empty() { format!("\n  namespace: {role_namespace}") } else { String::new() };
    format!(
        "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: {prefix}Role\nmetadata:\n  name: {name}{place}\nrules:\n{}\
         ---\napiVersion: rbac.authorization.k8s.io/v1\nkind: {prefix}RoleBinding\nmetadata:\n  name: {name}{place}\n\
         roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: {prefix}Role\n  name: {name}\n\
         subjects:\n- kind: ServiceAccount\n  name: {account}\n  namespace: {account_namespace}\n",
        rules(permissions, target)
    )
}

/// One rule per group and resource, its verbs together.
fn rules(permissions: &BTreeSet<Permission>, target: Option<&Name>) -> String {
    let mut grouped: BTreeMap<(&str, String, bool), BTreeSet<&str>> = BTreeMap::new();
    for permission in permissions {
        let narrowed = permission.names_target && target.is_some();
        grouped.entry((&permission.group, permission.resource_path(), narrowed)).or_default().insert(permission.verb);
    }
    let mut text = String::new();
    for ((group, resource, narrowed), verbs) in grouped {
        let verbs = verbs.into_iter().collect::<Vec<_>>().join(", ");
        // Writing into a String cannot fail.
        let _infallible = writeln!(text, "- apiGroups: [\"{group}\"]\n  resources: [\"{resource}\"]");
        if let Some(target) = target.filter(|_| narrowed) {
            let _infallible = writeln!(text, "  resourceNames: [\"{target}\"]");
        }
        let _infallible = writeln!(text, "  verbs: [{verbs}]");
    }
    text
}
