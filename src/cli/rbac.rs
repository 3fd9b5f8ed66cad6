//! Prints permissions as YAML, from the same code that checks them before a run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use actions::action::parse::Parameters;
use actions::action::{Action, Circumstances};
use actions::catalogue::account::{causes, post_events};
use actions::catalogue::{Account, Visitor, with_action};
use actions::cluster::error::{Error, Result};
use actions::k8s::Permission;
use actions::k8s::names::{Name, Namespace};
use clap::Args;
use contract::condition;
use contract::waiting::Waits;
use serde::Deserialize;
use serde_json::Value;

use super::{unknown, yaml};
use crate::conditions::parse::Conditions;
use crate::request::PolicySource;

/// Label with the verb that an object is for.
const VERB_LABEL: &str = "kubernetesexecution.kubernaut.io/verb";
/// Label with the kind of target that an object is for.
const KIND_LABEL: &str = "kubernetesexecution.kubernaut.io/kind";

/// The arguments.
#[derive(Debug, Args)]
pub struct Flags {
    /// scale-deployment, … (an account for each; `collect-logs-selector` for `TARGET_SELECTOR`), or a bare verb (one account
    /// for all its kinds)
    #[arg(required = true)]
    actions: Vec<String>,
    /// The namespace that the YAML is for
    #[arg(long, short, default_value = "default")]
    namespace: String,
    /// Narrow what can be narrowed to the target of this name
    #[arg(long)]
    target: Option<String>,
    /// Also allow `ACTION_EVENTS`
    #[arg(long)]
    events: bool,
    /// Also allow what tells why a wait does not end: events, the pods' logs, the nodes' states
    #[arg(long)]
    causes: bool,
    /// What runs with these parameters need (a JSON object, as `ACTION_PARAMETERS` has it), in place of the defaults
    #[arg(long)]
    parameters: Option<String>,
    /// What runs without `ACTION_ID` need: with `wait: false` that is less
    #[arg(long)]
    no_id: bool,
    /// Also allow what these conditions read: a file as `ACTION_PRECONDITIONS` has them (taken as both), or an object of
    /// `preconditions` and `postconditions`
    #[arg(long)]
    conditions: Option<PathBuf>,
}

impl Flags {
    /// Returns the YAML.
    pub async fn print(self) -> Result<String> {
        let conditions = match &self.conditions {
            Some(file) => conditions(file).await?,
            None => Conditions::default(),
        };
        self.texts(conditions).map_err(Error::InvalidRequest)
    }

    fn texts(self, conditions: Conditions) -> std::result::Result<String, String> {
        let namespace = self.namespace.parse().map_err(|error| format!("--namespace: {error}"))?;
        let target = self.target.map(|name| name.parse()).transpose().map_err(|error| format!("--target: {error}"))?;
        let request = Asked { parameters: self.parameters, no_id: self.no_id, causes: self.causes, conditions };
        let options = Options { namespace, target, events: self.events, request };
        let texts = self.actions.iter().map(|action| text(action, &accounts(action)?, &options));
        Ok(texts.collect::<std::result::Result<Vec<_>, String>>()?.join("---\n"))
    }
}

/// Returns the accounts of a name, or a message about an unknown name.
fn accounts(name: &str) -> std::result::Result<Vec<Account>, String> {
    let accounts = Account::named(name);
    let all = || Account::all().into_iter().map(Account::purpose).collect();
    if accounts.is_empty() { Err(unknown(name, all())) } else { Ok(accounts) }
}

/// Options of the YAML.
struct Options {
    /// Namespace of the Role and the ServiceAccount.
    namespace: Namespace,
    /// Name of the target, if known beforehand.
    target: Option<Name>,
    /// True when events are posted too.
    events: bool,
    /// What the runs ask for.
    request: Asked,
}

/// What a request asks for, as far as its permissions depend on that. The default is what the shipped Roles are for.
#[derive(Default)]
pub struct Asked {
    /// Parameters; those of the action's example if not given.
    pub parameters: Option<String>,
    /// True for runs without `ACTION_ID`.
    pub no_id: bool,
    /// True when runs that wait for pods may also read what tells why they wait.
    pub causes: bool,
    /// Conditions that need permissions too.
    pub conditions: Conditions,
}

/// Reads the conditions of a file: an array, as the variables hold them, or an object of both.
async fn conditions(file: &Path) -> Result<Conditions> {
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

struct Permissions<'a>(Account, &'a Asked);

impl Visitor for Permissions<'_> {
    type Output = std::result::Result<BTreeSet<Permission>, String>;
    fn visit<A: Action>(self) -> Self::Output {
        let Self(Account { action_type, by_selector }, asked) = self;
        let text = asked.parameters.clone().unwrap_or_else(|| A::example().to_string());
        let Parameters { action, wait } = Parameters::<A>::parse(&text).map_err(|problems| wrong(&problems))?;
        let circumstances = Circumstances { waits: wait.wait, has_id: !asked.no_id, by_selector };
        let mut all = action.all_permissions(action_type.kind, circumstances);
        if asked.causes && wait.wait && for_pods::<A>() {
            all.extend(causes());
        }
        all.extend(asked.conditions.permissions(&action_type.kind.resource()));
        for owner in A::owner_kinds(action_type.kind) {
            let of_owner = asked.conditions.permissions(&owner.resource()).into_iter();
            // The owner's name is not known beforehand.
            all.extend(of_owner.map(|permission| Permission { names_target: false, ..permission }));
        }
        Ok(all)
    }
}

fn wrong(problems: &[String]) -> String {
    problems.join("; ").replace("ACTION_PARAMETERS", "--parameters")
}

/// Returns the permissions of some accounts together; fails when the parameters are not those of their action.
pub fn permissions(accounts: &[Account], asked: &Asked) -> std::result::Result<BTreeSet<Permission>, String> {
    let mut all = BTreeSet::new();
    for account in accounts {
        let Account { action_type, .. } = account;
        all.extend(with_action(action_type.verb, Some(action_type.kind), Permissions(*account, asked))?);
    }
    // A permission for any name makes the one for the target's name unnecessary.
    let any: BTreeSet<Permission> = all.iter().filter(|one| !one.names_target).cloned().collect();
    all.retain(|one| !one.names_target || !any.contains(&Permission { names_target: false, ..one.clone() }));
    Ok(all)
}

struct WaitsForPods;

impl Visitor for WaitsForPods {
    type Output = bool;
    fn visit<A: Action>(self) -> bool {
        for_pods::<A>()
    }
}

const fn for_pods<A: Action>() -> bool {
    matches!(A::WAITS, Waits::ForPods | Waits::ForPod)
}

/// Returns whether runs of an action type wait for pods, so that more can be told of what they wait for.
pub fn waits_for_pods(account: Account) -> bool {
    let Account { action_type, .. } = account;
    with_action(action_type.verb, Some(action_type.kind), WaitsForPods)
}

/// Returns ServiceAccount, Role and binding; ClusterRole and binding for cluster-scoped kinds (nodes).
fn text(action: &str, accounts: &[Account], options: &Options) -> std::result::Result<String, String> {
    let account = Labelled::new(action, accounts);
    let (name, namespace) = (account.name.as_str(), yaml(options.namespace.as_str()));
    let place = namespace.as_str();
    let target = options.target.as_ref();
    let all = permissions(accounts, &options.request)?;
    let (mut own, of_cluster): (BTreeSet<_>, BTreeSet<_>) =
        all.into_iter().partition(|permission| permission.namespaced);
    let mut text = format!(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {name}\n  namespace: {place}\n{}",
        account.labels
    );
    let about_nodes = own.is_empty();
    if options.events && about_nodes {
        // Events about nodes are only accepted in `default`.
        let events = format!("{name}-events");
        text.push_str(&account.role("", &events, ("default", place), &rules(&[post_events()].into(), None)));
    } else if options.events {
        own.insert(post_events());
    }
    if !own.is_empty() && !about_nodes {
        text.push_str(&account.role("", name, (place, place), &rules(&own, target)));
    }
    if !of_cluster.is_empty() {
        // Beside a Role, the ClusterRole is for one namespace. Its name is cluster-wide, so it contains the namespace.
        let role_name = if about_nodes { name.to_owned() } else { format!("{name}-{}", options.namespace) };
        text.push_str(&account.role("Cluster", &role_name, (place, place), &rules(&of_cluster, target)));
    }
    Ok(text)
}

/// A ServiceAccount, and the labels of all its objects, by which a kustomization selects them.
struct Labelled {
    name: String,
    labels: String,
}

impl Labelled {
    fn new(action: &str, accounts: &[Account]) -> Self {
        let name = format!("action-{}", action.to_lowercase().replace('_', "-"));
        let mut labels = String::from("  labels:\n    app.kubernetes.io/part-of: action-runner\n");
        if let Some(one) = accounts.first() {
            labels.push_str(&format!("    {VERB_LABEL}: {}\n", one.action_type.verb.name()));
        }
        // An account for all kinds of a verb has no kind label.
        if let [one] = accounts {
            labels.push_str(&format!("    {KIND_LABEL}: {}\n", one.kind()));
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
