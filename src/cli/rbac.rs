//! Prints permissions as YAML, from the same code that checks them before a run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use actions::action::Action;
use actions::catalogue::{ActionType, Visitor, with_action};
use actions::cluster::error::{Error, Result};
use actions::k8s::names::{Name, Namespace};
use actions::k8s::{Kind, Permission};
use contract::condition;
use serde::Deserialize;
use serde_json::Value;

use super::yaml;
use crate::conditions::parse::Conditions;
use crate::request::PolicySource;

/// Label with the verb that an object is for.
const VERB_LABEL: &str = "kubernetesexecution.kubernaut.io/verb";
/// Label with the kind of target that an object is for.
const KIND_LABEL: &str = "kubernetesexecution.kubernaut.io/kind";

/// Options of the YAML.
pub struct Options {
    /// Namespace of the Role and the ServiceAccount.
    pub namespace: Namespace,
    /// Name of the target, if known beforehand.
    pub target: Option<Name>,
    /// True when events are posted too.
    pub events: bool,
    /// Conditions that need permissions too.
    pub conditions: Conditions,
}

/// Reads the conditions of a file: an array, as the variables hold them, or an object of both.
pub async fn conditions(file: &Path) -> Result<Conditions> {
    #[derive(Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Both {
        preconditions: Value,
        postconditions: Value,
    }
    let wrong = |error: String| Error::InvalidRequest(format!("--conditions: {}: {error}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let both = if text.trim_start().starts_with('[') {
        let all: Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        Both { preconditions: all.clone(), postconditions: all }
    } else {
        serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?
    };
    let mut problems = Vec::new();
    let mut read = |name: &str, value: &Value| match value {
        Value::Null => Vec::new(),
        value => condition::parse(name, &value.to_string()).unwrap_or_else(|more| {
            problems.extend(more);
            Vec::new()
        }),
    };
    let (before, after) = (read("preconditions", &both.preconditions), read("postconditions", &both.postconditions));
    let conditions = Conditions::parse(&PolicySource::default(), &before, &after, &mut problems).await?;
    if problems.is_empty() { Ok(conditions) } else { Err(wrong(problems.join("; "))) }
}

struct Permissions<'a>(ActionType, &'a Conditions);

impl Visitor for Permissions<'_> {
    type Output = BTreeSet<Permission>;
    fn visit<A: Action>(self) -> BTreeSet<Permission> {
        let Ok(action) = serde_json::from_value::<A>(A::example()) else { return BTreeSet::new() };
        let needed = |kind: Kind| {
            let mut needed = action.all_permissions(&kind.resource(), true);
            needed.extend(self.1.permissions(&kind.resource()));
            needed
        };
        let mut all = needed(self.0.kind);
        for owner in A::owner_kinds(self.0.kind) {
            // The owner's name is not known beforehand.
            let of_owner = needed(*owner).into_iter();
            all.extend(of_owner.map(|permission| Permission { names_target: false, ..permission }));
        }
        all
    }
}

/// Returns the permissions of some action types together.
pub fn permissions(entries: &[ActionType], conditions: &Conditions) -> BTreeSet<Permission> {
    let mut all: BTreeSet<Permission> = entries
        .iter()
        .flat_map(|entry| with_action(entry.verb, Some(entry.kind), Permissions(*entry, conditions)))
        .collect();
    // A permission for any name makes the one for the target's name unnecessary.
    let any: BTreeSet<Permission> = all.iter().filter(|one| !one.names_target).cloned().collect();
    all.retain(|one| !one.names_target || !any.contains(&Permission { names_target: false, ..one.clone() }));
    all
}

/// Returns ServiceAccount, Role and binding; ClusterRole and binding for cluster-scoped kinds (nodes).
pub fn text(action: &str, action_types: &[ActionType], options: &Options) -> String {
    let account = Account::new(action, action_types);
    let (name, namespace) = (account.name.as_str(), yaml(options.namespace.as_str()));
    let place = namespace.as_str();
    let target = options.target.as_ref();
    let (mut own, of_cluster): (BTreeSet<_>, BTreeSet<_>) =
        permissions(action_types, &options.conditions).into_iter().partition(|permission| permission.namespaced);
    let mut text = format!(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {name}\n  namespace: {place}\n{}",
        account.labels
    );
    let about_nodes = own.is_empty();
    if options.events && about_nodes {
        // Events about nodes are only accepted in `default`.
        let events = format!("{name}-events");
        text.push_str(&account.role("", &events, ("default", place), &rules(&[event()].into(), None)));
    } else if options.events {
        own.insert(event());
    }
    if !own.is_empty() && !about_nodes {
        text.push_str(&account.role("", name, (place, place), &rules(&own, target)));
    }
    if !of_cluster.is_empty() {
        // Beside a Role, the ClusterRole is for one namespace. Its name is cluster-wide, so it contains the namespace.
        let role_name = if about_nodes { name.to_owned() } else { format!("{name}-{}", options.namespace) };
        text.push_str(&account.role("Cluster", &role_name, (place, place), &rules(&of_cluster, target)));
    }
    text
}

/// A ServiceAccount, and the labels of all its objects, by which a kustomization selects them.
struct Account {
    name: String,
    labels: String,
}

impl Account {
    fn new(action: &str, action_types: &[ActionType]) -> Self {
        let name = format!("action-{}", action.to_lowercase().replace('_', "-"));
        let mut labels = String::from("  labels:\n    app.kubernetes.io/part-of: action-runner\n");
        if let Some(one) = action_types.first() {
            labels.push_str(&format!("    {VERB_LABEL}: {}\n", one.verb.name()));
        }
        // An account for all kinds of a verb has no kind label.
        if let [one] = action_types {
            labels.push_str(&format!("    {KIND_LABEL}: {}\n", one.kind.lower()));
        }
        Self { name, labels }
    }

    /// Returns a Role with its binding to the account.
    fn role(&self, prefix: &str, name: &str, (role_place, account_place): (&str, &str), rules: &str) -> String {
        let Self { name: account, labels } = self;
        let place = if prefix.is_empty() { format!("\n  namespace: {role_place}") } else { String::new() };
        format!(
            "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: {prefix}Role\nmetadata:\n  name: {name}{place}\n{labels}rules:\n{rules}\
             ---\napiVersion: rbac.authorization.k8s.io/v1\nkind: {prefix}RoleBinding\nmetadata:\n  name: {name}{place}\n{labels}\
             roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: {prefix}Role\n  name: {name}\n\
             subjects:\n- kind: ServiceAccount\n  name: {account}\n  namespace: {account_place}\n"
        )
    }
}

fn event() -> Permission {
    Permission {
        group: "events.k8s.io".to_owned(),
        resource: "events".to_owned(),
        subresource: None,
        verb: "create",
        names_target: false,
        namespaced: true,
    }
}

/// Returns one rule per group and resource, with all its verbs.
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
