//! Ready conditions: usable by name, without writing Rego. Each is a file in `library/` with tests beside it.

use actions::catalogue::Verb;
use actions::k8s::Kind;

use super::module::Module;

/// A ready condition.
#[derive(Debug, Clone, Copy)]
pub struct ReadyMade {
    /// Name, for `type`.
    pub name: &'static str,
    /// Time at which the condition makes sense.
    pub when: When,
    /// Actions that the condition is for.
    pub verbs: &'static [Verb],
    /// Kinds of target that the condition is for; empty for all kinds.
    pub kinds: &'static [Kind],
    /// The module.
    pub rego: &'static str,
}

/// Time of a condition: before or after the action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// A precondition.
    Before,
    /// A postcondition.
    After,
    /// Either.
    Either,
}

/// Kinds that have pods and a number of them.
const WITH_PODS: &[Kind] =
    &[Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet, Kind::ReplicaSet, Kind::ReplicationController];
/// Kinds that can be scaled.
const SCALED: &[Kind] = &[Kind::Deployment, Kind::StatefulSet, Kind::ReplicaSet, Kind::ReplicationController];
/// Kinds that have a pod template, and single pods.
const WITH_TEMPLATE: &[Kind] =
    &[Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet, Kind::ReplicaSet, Kind::ReplicationController, Kind::Pod];
/// Kinds whose pods can be found.
const LOGGED: &[Kind] = &[
    Kind::Deployment,
    Kind::StatefulSet,
    Kind::DaemonSet,
    Kind::ReplicaSet,
    Kind::ReplicationController,
    Kind::Pod,
    Kind::Job,
];

const WORKLOADS: &[Verb] = &[Verb::Scale, Verb::Restart, Verb::Rollback];

macro_rules! ready {
    ($name:literal, $when:ident, $verbs:expr, $kinds:expr) => {
        ReadyMade {
            name: $name,
            when: When::$when,
            verbs: $verbs,
            kinds: $kinds,
            rego: include_str!(concat!($name, ".rego")),
        }
    };
}

/// All ready conditions, in the order of the documentation.
pub const ALL: [ReadyMade; 21] = [
    ready!("target_exists", Before, &Verb::ALL, &[]),
    ready!("deployment_exists", Before, WORKLOADS, &[]),
    ready!("cluster_capacity_available", Before, &[Verb::Scale], SCALED),
    ready!("node_selector_matches", Before, WORKLOADS, WITH_PODS),
    ready!("image_pull_secrets_valid", Before, WORKLOADS, WITH_TEMPLATE),
    ready!("quota_available", Before, &[Verb::Scale], SCALED),
    ready!("no_autoscaler", Before, &[Verb::Scale], SCALED),
    ready!("rollout_settled", Either, WORKLOADS, WITH_PODS),
    ready!("disruption_allowed", Before, &[Verb::Restart, Verb::Rollback], WITH_TEMPLATE),
    ready!(
        "earlier_revision_exists",
        Before,
        &[Verb::Rollback],
        &[Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet]
    ),
    ready!("other_node_schedulable", Before, &[Verb::Cordon], &[Kind::Node]),
    ready!("other_nodes_have_room", Before, &[Verb::Cordon], &[Kind::Node]),
    ready!("pods_found", Before, &[Verb::CollectLogs], LOGGED),
    ready!("desired_replicas_running", After, WORKLOADS, WITH_PODS),
    ready!("deployment_health_check", After, WORKLOADS, &[Kind::Deployment]),
    ready!("no_crashloop_pods", Either, WORKLOADS, WITH_TEMPLATE),
    ready!("no_image_pull_errors", Either, WORKLOADS, WITH_TEMPLATE),
    ready!("no_unschedulable_pods", Either, WORKLOADS, WITH_TEMPLATE),
    ready!("resource_usage_acceptable", Either, WORKLOADS, WITH_TEMPLATE),
    ready!("node_cordoned", After, &[Verb::Cordon], &[Kind::Node]),
    ready!("node_schedulable", After, &[Verb::Uncordon], &[Kind::Node]),
];

/// The module that several ready conditions import.
const SHARED: &str = include_str!("lib.rego");

impl ReadyMade {
    /// Returns the condition's purpose: the comment at the start of its module.
    pub fn title(&self) -> String {
        let comment = self.rego.lines().map_while(|line| line.strip_prefix('#')).map(str::trim);
        comment.collect::<Vec<_>>().join(" ")
    }
}

/// Returns the names of all ready conditions.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.into_iter().map(|one| one.name)
}

/// Returns the kinds of target that a ready condition is for.
pub fn kinds(name: &str) -> Option<&'static [Kind]> {
    ALL.into_iter().find(|one| one.name == name).map(|one| one.kinds)
}

/// Returns a ready condition's module; `None` for an unknown name.
pub fn module(name: &str) -> Option<Module> {
    let found = ALL.into_iter().find(|one| one.name == name)?;
    Some(Module { name: format!("{name}.rego"), text: found.rego.to_owned() })
}

/// Adds the shared module `data.conditions.lib` if one of these modules imports it and none defines it, so that
/// everybody's conditions can use it.
pub fn with_shared(mut modules: Vec<Module>) -> Vec<Module> {
    let imported = modules.iter().any(|module| module.text.contains("import data.conditions.lib"));
    let there = modules.iter().any(|module| module.text.lines().any(|line| line.trim() == "package conditions.lib"));
    if imported && !there {
        modules.push(Module { name: "lib.rego".to_owned(), text: SHARED.to_owned() });
    }
    modules
}
