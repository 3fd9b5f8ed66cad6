//! Kinds and resources: what an action can point at, and the paths that serve it.

use super::names::{Group, InvalidName, KindName, Namespace, Plural, Version};

/// The kinds that the runner knows. Any other kind needs its API version, and a request to learn its plural.
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

    /// Returns group, version, kind, plural, and the short names that kubectl accepts.
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

    /// Returns the name, such as `Deployment`.
    pub const fn name(self) -> &'static str {
        self.facts().2
    }

    /// Returns the lower-case name, such as `deployment`, for action types and sentences.
    pub fn lower(self) -> String {
        self.name().to_lowercase()
    }

    /// Returns all that the kind may be called, in lower case: its name, its plural, its short names.
    pub fn spellings(self) -> Vec<String> {
        let (_, _, _, plural, short) = self.facts();
        let others = std::iter::once(plural).chain(short.iter().copied()).map(str::to_owned);
        std::iter::once(self.lower()).chain(others).collect()
    }

    /// Finds a kind by its name, plural or short name, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_lowercase();
        Self::ALL.into_iter().find(|kind| kind.spellings().contains(&text))
    }

    /// Returns the resource that serves this kind.
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

/// A resource of the API, which serves a kind. Its parts were checked when it was made: they are safe in a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Resource {
    group: String,
    version: String,
    kind: String,
    plural: String,
    namespaced: bool,
}

impl Resource {
    /// Checks a resource that the API server named (a kind outside the built-in ones).
    pub fn discovered(api_version: &str, kind: &str, plural: &str, namespaced: bool) -> Result<Self, InvalidName> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        group.parse::<Group>()?;
        version.parse::<Version>()?;
        kind.parse::<KindName>()?;
        plural.parse::<Plural>()?;
        let own = str::to_owned;
        Ok(Self { group: own(group), version: own(version), kind: own(kind), plural: own(plural), namespaced })
    }

    /// Returns a namespaced resource that is read beside targets, made of our own constants, which need no checks.
    pub fn known((group, version): (&'static str, &'static str), kind: &'static str, plural: &'static str) -> Self {
        let own = str::to_owned;
        Self { group: own(group), version: own(version), kind: own(kind), plural: own(plural), namespaced: true }
    }

    /// Returns the API version: `apps/v1`, or `v1` for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Returns the group, such as `apps`; empty for the core group.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Returns the kind, such as `Deployment`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Returns the plural, such as `deployments`.
    pub fn plural(&self) -> &str {
        &self.plural
    }

    /// Returns whether objects of this kind live in a namespace.
    pub fn namespaced(&self) -> bool {
        self.namespaced
    }

    /// Returns whether every API server serves the resource: Kubernetes' own groups that are used here have no dot in
    /// their names; some of those under `k8s.io` are served by extensions (`metrics.k8s.io`).
    pub fn always_served(&self) -> bool {
        !self.group.contains('.')
    }

    /// Returns the built-in kind that this resource serves, if any.
    pub fn built_in(&self) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.resource() == *self)
    }

    /// Returns the path of all objects of this kind in a namespace (or in the cluster).
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

#[cfg(test)]
mod tests {
    use super::*;
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
        assert_eq!(Kind::Deployment.resource().built_in(), Some(Kind::Deployment));
        let rollout = Resource::discovered("argoproj.io/v1alpha1", "Rollout", "rollouts", true).unwrap();
        let facts = (rollout.api_version(), rollout.group(), rollout.kind(), rollout.plural(), rollout.built_in());
        assert_eq!(facts, ("argoproj.io/v1alpha1".to_owned(), "argoproj.io", "Rollout", "rollouts", None));
        let known = Resource::known(("policy", "v1"), "PodDisruptionBudget", "poddisruptionbudgets");
        assert_eq!(known.collection_path(None), "/apis/policy/v1/poddisruptionbudgets");
    }
}
