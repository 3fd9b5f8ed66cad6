//! What the second judge needs of an object, and nothing else: thousands of runs leave tens of thousands of states.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

/// The kinds that are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A pod.
    Pod,
    /// A Deployment.
    Deployment,
    /// A ReplicaSet: a workload, and a Deployment's revision.
    ReplicaSet,
    /// A StatefulSet.
    StatefulSet,
    /// A DaemonSet.
    DaemonSet,
    /// A ReplicationController.
    ReplicationController,
    /// A revision of a StatefulSet or DaemonSet.
    ControllerRevision,
    /// A Job.
    Job,
    /// A node.
    Node,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Pod,
        Self::Deployment,
        Self::ReplicaSet,
        Self::StatefulSet,
        Self::DaemonSet,
        Self::ReplicationController,
        Self::ControllerRevision,
        Self::Job,
        Self::Node,
    ];

    /// The one of this name, as objects and results have it.
    pub fn named(kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| format!("{one:?}") == kind)
    }

    /// Its name in paths, and in `details.verifiedAt`.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Pod => "pods",
            Self::Deployment => "deployments",
            Self::ReplicaSet => "replicasets",
            Self::StatefulSet => "statefulsets",
            Self::DaemonSet => "daemonsets",
            Self::ReplicationController => "replicationcontrollers",
            Self::ControllerRevision => "controllerrevisions",
            Self::Job => "jobs",
            Self::Node => "nodes",
        }
    }

    /// The path of all of them, or of those in a namespace.
    pub fn path(self, namespace: Option<&str>) -> String {
        let group = match self {
            Self::Pod | Self::ReplicationController | Self::Node => "/api/v1",
            Self::Job => "/apis/batch/v1",
            _ => "/apis/apps/v1",
        };
        let within = namespace.filter(|_| self != Self::Node).map(|name| format!("/namespaces/{name}"));
        format!("{group}{}/{}", within.unwrap_or_default(), self.plural())
    }
}

/// Who controls an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its kind.
    pub kind: String,
    /// Its UID: the only thing by which ownership is decided.
    pub uid: String,
}

/// One state of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What it is.
    pub kind: Kind,
    /// Its UID.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who controls it.
    pub owner: Option<Owner>,
    /// `metadata.generation`.
    pub generation: i64,
    /// Whether it has a deletionTimestamp.
    pub leaving: bool,
    /// The runner's annotations, as they stand.
    pub marks: String,
    /// A hash of what its spec and annotations say, but for what controllers write.
    pub content: u64,
    /// A hash of its pod template, or of the one that it keeps as a revision.
    pub template: Option<u64>,
    /// The label that tells its revision; the name of what has none.
    pub revision: String,
    /// The messages and reasons in a pod's status, and what holds it: who fails may quote them, and controllers delete such pods.
    pub said: Vec<String>,
    /// What its kind has.
    pub facts: Facts,
}

/// What one kind has and others have not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Facts {
    /// A pod's.
    Pod(Pod),
    /// A workload's.
    Workload(Workload),
    /// A Job's.
    Job {
        /// How many pods it wants now.
        wanted: i64,
    },
    /// A node's.
    Node {
        /// Whether it takes no new pods.
        unschedulable: bool,
    },
    /// Nothing more.
    None,
}

/// A pod's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Where it is.
    pub node: Option<String>,
    /// Its Ready condition.
    pub ready: bool,
    /// Since when, by the kubelet's word: a whole second.
    pub ready_since: Option<Timestamp>,
    /// Whether it ran to its end.
    pub finished: bool,
    /// Its number in its StatefulSet.
    pub ordinal: Option<i64>,
    /// The containers that no readiness probe speaks for: their ids and how often they were restarted.
    pub unprobed: BTreeMap<String, (String, i64)>,
    /// How long the container lived that was started anew last, the longest where there are several: a whole second.
    pub lived: Option<Duration>,
}

/// A workload's state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workload {
    /// `spec.replicas`; a DaemonSet's `status.desiredNumberScheduled`.
    pub wanted: i64,
    /// `status.observedGeneration`.
    pub observed: i64,
    /// `spec.minReadySeconds`.
    pub min_ready: u64,
    /// `spec.paused`.
    pub paused: bool,
    /// Whether its pods are only replaced when somebody deletes them.
    pub on_delete: bool,
    /// A StatefulSet's first ordinal.
    pub first: i64,
    /// A StatefulSet's partition.
    pub partition: i64,
    /// How many pods more than wanted a Deployment may have.
    pub surge: i64,
}

impl Seen {
    /// `pod web-1`.
    pub fn told(&self) -> String {
        format!("{} {}", format!("{:?}", self.kind).to_lowercase(), self.name)
    }

    /// A pod's state.
    pub const fn pod(&self) -> Option<&Pod> {
        if let Facts::Pod(pod) = &self.facts { Some(pod) } else { None }
    }

    /// A workload's state.
    pub const fn workload(&self) -> Option<&Workload> {
        if let Facts::Workload(workload) = &self.facts { Some(workload) } else { None }
    }
}
