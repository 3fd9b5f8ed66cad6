//! Lists the documents: their names, the permissions to read them, and the targets that have them.

use std::collections::BTreeSet;

use actions::cluster::error::Error;
use actions::k8s::{Kind, Permission, Resource};
use actions::workload::autoscaler::autoscalers;
use actions::workload::eviction::disruption_budgets;
use actions::workload::revisions;
use contract::text::did_you_mean;

use super::target::ConditionTarget;
use super::{objects, usage};

/// A document: `input.related.<name>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Related {
    /// The target's pods.
    Pods,
    /// Resources that one pod of the target requests.
    PodRequests,
    /// Every node, with the requests of its pods.
    Nodes,
    /// The autoscalers that set the target's replicas.
    Autoscalers,
    /// The disruption budgets of the target's pods.
    DisruptionBudgets,
    /// The quotas of the namespace.
    Quotas,
    /// The Secrets with which the target's pods pull images.
    PullSecrets,
    /// The target's revisions.
    Revisions,
    /// The events about the target.
    Events,
    /// Usage of the target's pods.
    Usage,
}

impl Related {
    /// All documents, in the order of the documentation.
    pub const ALL: [Related; 10] = [
        Related::Pods,
        Related::PodRequests,
        Related::Nodes,
        Related::Autoscalers,
        Related::DisruptionBudgets,
        Related::Quotas,
        Related::PullSecrets,
        Related::Revisions,
        Related::Events,
        Related::Usage,
    ];

    /// Returns the name in `input.related`.
    pub const fn name(self) -> &'static str {
        match self {
            Related::Pods => "pods",
            Related::PodRequests => "podRequests",
            Related::Nodes => "nodes",
            Related::Autoscalers => "autoscalers",
            Related::DisruptionBudgets => "disruptionBudgets",
            Related::Quotas => "quotas",
            Related::PullSecrets => "pullSecrets",
            Related::Revisions => "revisions",
            Related::Events => "events",
            Related::Usage => "usage",
        }
    }

    /// Returns the document of a name, or a sentence that lists the names.
    pub fn parse(name: &str) -> std::result::Result<Self, String> {
        Self::ALL.into_iter().find(|one| one.name() == name).ok_or_else(|| {
            let hint = did_you_mean(name, Self::ALL.map(Self::name));
            let all = Self::ALL.map(Self::name).join(", ");
            format!("input.related has no {name:?}{hint}; it has {all}")
        })
    }

    /// Returns the permissions to read the document about a target of this kind; with `watch`, to follow it.
    pub fn permissions(self, resource: &Resource, watch: bool) -> BTreeSet<Permission> {
        let kind = resource.built_in();
        let pods = Kind::Pod.resource();
        // A node's pods, and those of all nodes, are in all namespaces.
        let of_cluster = |permission: Permission| Permission { namespaced: false, ..permission };
        let pods_of = |verb| {
            if kind == Some(Kind::Node) { of_cluster(Permission::of(verb, &pods)) } else { Permission::of(verb, &pods) }
        };
        let followed = |resource: &Resource| {
            let mut all = BTreeSet::from([Permission::of("list", resource)]);
            all.extend(watch.then(|| Permission::of("watch", resource)));
            all
        };
        match self {
            Related::Pods => {
                let mut all = BTreeSet::from([pods_of("list")]);
                all.extend(watch.then(|| pods_of("watch")));
                all
            }
            Related::PodRequests => BTreeSet::new(),
            Related::Nodes => {
                let mut all = followed(&Kind::Node.resource());
                all.insert(of_cluster(Permission::of("list", &pods)));
                all
            }
            Related::Autoscalers => followed(&autoscalers()),
            Related::DisruptionBudgets => followed(&disruption_budgets()),
            Related::Quotas => followed(&objects::quotas()),
            Related::PullSecrets => [Permission::of("get", &objects::secrets())].into(),
            Related::Revisions => kind
                .filter(|kind| has_revisions(*kind))
                .map(|kind| Permission::of("list", &revisions::resource(kind)))
                .into_iter()
                .collect(),
            Related::Events if kind == Some(Kind::Node) => {
                [of_cluster(Permission::of("list", &objects::events()))].into()
            }
            Related::Events => [Permission::of("list", &objects::events())].into(),
            Related::Usage => [Permission::of("list", &usage::pod_metrics()), pods_of("list")].into(),
        }
    }

    /// Returns whether the permission can be checked before the target is known: the target names the Secrets to read.
    pub const fn asked_beforehand(self) -> bool {
        !matches!(self, Related::PullSecrets)
    }

    /// Returns why nothing can be known, if so: a pod that was gone before this run has left no trace of its owner.
    fn unknowable(self, about: &ConditionTarget) -> Option<String> {
        let of_pods = matches!(
            self,
            Related::Pods | Related::Usage | Related::DisruptionBudgets | Related::PodRequests | Related::PullSecrets
        );
        let gone = about.kind() == Some(Kind::Pod) && about.value.is_null();
        (of_pods && gone)
            .then(|| format!("{} was gone already: what it was, and what replaces it, is not known", about.shown()))
    }

    /// Returns why there is no such document about this target, if so.
    pub fn unfit(self, about: &ConditionTarget) -> Option<String> {
        let kind = about.kind();
        let fits = match self {
            Related::Pods | Related::Usage => {
                about.pods().is_some() && (self == Related::Pods || about.namespace.is_some())
            }
            // An object that is gone has no template any more.
            Related::PodRequests | Related::PullSecrets | Related::DisruptionBudgets => {
                about.object.is_some() && (about.value.is_null() || about.pod_spec().is_some())
            }
            Related::Autoscalers => about.object.is_some() && about.namespace.is_some(),
            Related::Quotas => about.namespace.is_some(),
            Related::Revisions => kind.is_some_and(has_revisions),
            Related::Events => about.object.is_some(),
            Related::Nodes => true,
        };
        (!fits).then(|| format!("there is no input.related.{} about {}", self.name(), about.shown()))
    }
}

const fn has_revisions(kind: Kind) -> bool {
    matches!(kind, Kind::Deployment | Kind::StatefulSet | Kind::DaemonSet)
}

/// Tells whether there is such a document about a target.
pub(super) enum Presence {
    Fits,
    Unknowable(String),
    Unfit(Error),
}

impl Related {
    pub(super) fn presence(self, about: &ConditionTarget) -> Presence {
        match (self.unknowable(about), self.unfit(about)) {
            (Some(why), _) => Presence::Unknowable(why),
            (None, Some(why)) => Presence::Unfit(Error::InvalidRequest(why)),
            (None, None) => Presence::Fits,
        }
    }
}
