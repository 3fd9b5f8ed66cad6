//! The table of causes: for every state in which a wait can hang, whether that is certain, may pass, or is only slow.
//!
//! The first row fits that has the place, one of its states, and one of its words in the message. The last row of each
//! place has neither, so that nothing falls through. `docs/causes.md` is made from this table.

/// Tells how a cause ends a wait. In the order of urgency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Looks like a slow start: only the end of the wait ends it.
    Slow,
    /// May pass by itself or by what others do: ends the wait after `stuckAfter` without progress.
    MayPass,
    /// Stays until the workload is changed: ends the wait at once.
    Certain,
}

impl Class {
    /// Returns the name, for the documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::MayPass => "may pass",
            Self::Certain => "certain",
        }
    }

    /// Returns the moment at which the wait ends for such a cause.
    pub const fn bound(self) -> &'static str {
        match self {
            Self::Slow => "when `waitTimeout` is over",
            Self::MayPass => "after `stuckAfter` without progress",
            Self::Certain => "at once: at most 5 s after it is in the cluster",
        }
    }
}

/// Place where the cluster says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Status of the namespace.
    Namespace,
    /// Condition `Progressing` of a Deployment that is out of time.
    Deadline,
    /// Conditions and events about pods (or ReplicaSets) that cannot be made.
    Creation,
    /// Condition `PodScheduled` of a pod.
    Scheduling,
    /// Nothing, where a scheduler or a kubelet should have reported.
    Silence,
    /// Warnings of the kubelet, while a pod is prepared.
    Preparation,
    /// State `waiting` of a container.
    Waiting,
    /// State of a container that ended and is to start again.
    Ended,
    /// The same, for the fifth time since the change.
    EndedOften,
    /// Conditions of a pod whose containers run.
    Running,
    /// Status of pods that failed before or without running.
    Failed,
    /// Deletion of a pod, in its time.
    Leaving,
    /// Deletion of a pod that should be gone by now.
    Overdue,
    /// Pods of before that nobody deletes yet.
    Old,
    /// Condition `DisruptionAllowed` of a disruption budget.
    Budget,
    /// The controller of the workload, which has not reported.
    Controller,
}

impl Place {
    /// Returns the description for the documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Namespace => "the namespace's status",
            Self::Deadline => "a Deployment's condition `Progressing`",
            Self::Creation => {
                "the condition `ReplicaFailure`, `Progressing: False`, or `FailedCreate` events of the controller"
            }
            Self::Scheduling => "a pod's condition `PodScheduled`",
            Self::Silence => "nowhere: nobody has reported about the pod for 10 s",
            Self::Preparation => "a kubelet's events about a pod that is being prepared",
            Self::Waiting => "a container's state `waiting`",
            Self::Ended => "a container that ended and is to start again",
            Self::EndedOften => "the same, for the fifth time since the change",
            Self::Running => "a pod's conditions, while its containers run",
            Self::Failed => "the `reason` of pods that failed without having run, since the change",
            Self::Leaving => "a pod's deletion, in its time",
            Self::Overdue => "a pod's deletion, 10 s after it should be gone",
            Self::Old => "a pod of before",
            Self::Budget => "a disruption budget's condition `DisruptionAllowed`",
            Self::Controller => "nowhere: the workload's controller has not reported",
        }
    }
}

/// One row: what is said where, and what that means for a wait.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// Place where it is said.
    pub place: Place,
    /// Kubernetes' own words for the state; none in the last row of a place, which takes all others.
    pub states: &'static [&'static str],
    /// Parts of messages, in lower case; none when the message does not matter.
    pub words: &'static [&'static str],
    /// Class of the cause.
    pub class: Class,
    /// Meaning of the state, and the reason for the class.
    pub why: &'static str,
    /// Advice to a person; empty when the cluster's words say it all.
    pub advice: &'static str,
    /// True when only what is read beside the pods can tell what it hangs on: events, the node.
    pub events: bool,
}

const fn row(place: Place, states: &'static [&'static str], class: Class, why: &'static str) -> Row {
    Row { place, states, words: &[], class, why, advice: "", events: false }
}

impl Row {
    const fn words(self, words: &'static [&'static str]) -> Self {
        Self { words, ..self }
    }
    const fn advice(self, advice: &'static str) -> Self {
        Self { advice, ..self }
    }
    const fn events(self) -> Self {
        Self { events: true, ..self }
    }
}

use Class::{Certain, MayPass, Slow};

/// All rows, in the order in which they are tried.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row(Place::Namespace, &[], Certain, "nothing can be made there any more, and a deletion is never taken back"),

    row(Place::Deadline, &[], Certain, "its own controller has given it up by `progressDeadlineSeconds`; the pod that stands in the way is named"),

    row(Place::Creation, &[], Certain, "the namespace is being deleted").words(&["because it is being terminated"]),
    row(Place::Creation, &[], MayPass, "a quota is used up until something is freed").words(&["exceeded quota"]).advice("free something, or raise the quota"),
    row(Place::Creation, &[], MayPass, "a webhook, a policy, Pod Security, a missing ServiceAccount: may be mended without touching the workload"),

    row(Place::Scheduling, &["Unschedulable"], MayPass, "a node may be added or get room; not counted while pods that leave in time make room").advice("free or add a node that fits, or raise stuckAfter where an autoscaler adds nodes"),
    row(Place::Scheduling, &["SchedulingGated"], MayPass, "whoever set the gates has to take them away"),
    row(Place::Scheduling, &[], MayPass, "another reason of the scheduler's"),

    row(Place::Silence, &[], MayPass, "no scheduler, or a node whose kubelet is dead or cut off; silence is no proof, so it is never certain").events(),

    row(Place::Preparation, &["FailedMount", "FailedAttachVolume", "FailedMapVolume"], MayPass, "a volume, Secret or ConfigMap that is not there may come"),
    row(Place::Preparation, &["FailedCreatePodSandBox", "NetworkNotReady", "FailedPrepareDynamicResources"], MayPass, "the node's network, runtime or driver may recover"),
    row(Place::Preparation, &[], MayPass, "another warning of the kubelet's"),

    row(Place::Waiting, &["InvalidImageName"], Certain, "the image's name cannot be read; no other will be tried").advice("correct the image's name"),
    row(Place::Waiting, &["ErrImageNeverPull"], Certain, "`imagePullPolicy: Never`, and the node does not have the image: nothing will bring it").advice("bring the image to the node, or let it be pulled"),
    row(Place::Waiting, &["CreateContainerConfigError"], Slow, "a kubelet that has just started: it asks again in seconds").words(&["failed to sync", "have not yet been read"]),
    row(Place::Waiting, &["CreateContainerConfigError"], MayPass, "the Secret, ConfigMap or key that is missing may come"),
    row(Place::Waiting, &["ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable"], MayPass, "also \"not found\" and \"denied\": an image may be pushed, and its pull Secret made, seconds later, and the kubelet tries again"),
    row(Place::Waiting, &["ContainerCreating"], Slow, "volumes, network, image; only events tell what it hangs on").events(),
    row(Place::Waiting, &["PodInitializing"], Slow, "init containers run, or the image is pulled").events(),
    row(Place::Waiting, &[], MayPass, "another reason of the kubelet's or the runtime's (`CreateContainerError`, `RunContainerError`, `PostStartHookError`, …)"),

    row(Place::Ended, &[], MayPass, "what it needs may come; since the last start that lived longer than those before. Only crashes since the change count"),

    row(Place::EndedOften, &[], Certain, "five crashes since the change, whatever `stuckAfter`: starts come at about 0, 3, 14, 44 and 98 s"),

    row(Place::Running, &["PodInitializing"], Slow, "an init container runs: as long as it needs"),
    row(Place::Running, &["ReadinessGatesNotReady"], Slow, "whoever answers for the gate (a load balancer) may be slow").advice("look at what sets that condition"),
    row(Place::Running, &["ContainersNotReady"], Slow, "a startup or readiness probe that fails or has not passed yet: a slow start looks the same; with `progressDeadlineSeconds` the controller ends it"),
    row(Place::Running, &["Ready"], Slow, "ready, but not for `minReadySeconds` (or `settle`) yet"),
    row(Place::Running, &[], Slow, "another reason why a pod that runs is not ready"),

    row(Place::Failed, &["Evicted", "Preempting"], MayPass, "the node ran short, and the next pod may fare better"),
    row(Place::Failed, &["NodeAffinity", "UnexpectedAdmissionError"], MayPass, "the kubelet refuses what the scheduler sends, again and again"),
    row(Place::Failed, &[], MayPass, "another refusal of the kubelet's (`OutOfcpu`, `OutOfmemory`, `OutOfpods`, `NodePorts`, …)"),

    row(Place::Leaving, &[], Slow, "it has until its `deletionTimestamp`, and 10 s for its node"),

    row(Place::Overdue, &[], MayPass, "a finalizer holds it, or its node does not answer").events(),

    row(Place::Old, &[], Slow, "its controller replaces pods one after the other"),

    row(Place::Budget, &["SyncFailed"], MayPass, "the budget cannot be counted, so that it allows nothing: nothing that pods do changes that").advice("mend the budget's selector, or the pods' owners"),
    row(Place::Budget, &[], Slow, "the budget allows no eviction for now").advice("make more pods ready, or relax the budget"),

    row(Place::Controller, &[], Slow, "the default where nothing else is known: it may be down, or busy").events(),
];

/// Returns the row for what is said.
pub fn find(place: Place, state: &str, message: &str) -> &'static Row {
    /// Never reached, because each place has a row that takes all: the tests hold it to that.
    const NOTHING: Row = row(Place::Controller, &[], Class::Slow, "");
    // Few rows look at the message, and a rollout has thousands.
    let says = |row: &Row| {
        let message = message.to_lowercase();
        row.words.iter().any(|words| message.contains(words))
    };
    let fits = |one: &&Row| {
        one.place == place
            && (one.states.is_empty() || one.states.contains(&state))
            && (one.words.is_empty() || says(one))
    };
    ROWS.iter().find(fits).unwrap_or(&NOTHING)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const PLACES: [Place; 16] = [
        Place::Namespace,
        Place::Deadline,
        Place::Creation,
        Place::Scheduling,
        Place::Silence,
        Place::Preparation,
        Place::Waiting,
        Place::Ended,
        Place::EndedOften,
        Place::Running,
        Place::Failed,
        Place::Leaving,
        Place::Overdue,
        Place::Old,
        Place::Budget,
        Place::Controller,
    ];

    /// The specification, row by row.
    #[rstest]
    #[case::namespace(Place::Namespace, "Terminating", "", Certain)]
    #[case::deadline(Place::Deadline, "ProgressDeadlineExceeded", "", Certain)]
    #[case::in_a_namespace_that_goes(
        Place::Creation,
        "FailedCreate",
        "forbidden: unable to create new content in namespace shop because it is being terminated",
        Certain
    )]
    #[case::quota(Place::Creation, "FailedCreate", "pods \"web-1\" is forbidden: exceeded quota: small", MayPass)]
    #[case::webhook(
        Place::Creation,
        "ReplicaSetCreateError",
        "admission webhook \"no.example.com\" denied the request: no",
        MayPass
    )]
    #[case::no_room(Place::Scheduling, "Unschedulable", "0/3 nodes are available", MayPass)]
    #[case::gated(
        Place::Scheduling,
        "SchedulingGated",
        "Scheduling is blocked due to non-empty scheduling gates",
        MayPass
    )]
    #[case::scheduler_error(Place::Scheduling, "SchedulerError", "", MayPass)]
    #[case::silence(Place::Silence, "Pending", "", MayPass)]
    #[case::mount(Place::Preparation, "FailedMount", "secret \"x\" not found", MayPass)]
    #[case::sandbox(Place::Preparation, "FailedCreatePodSandBox", "", MayPass)]
    #[case::other_warning(Place::Preparation, "FailedSync", "", MayPass)]
    #[case::bad_name(Place::Waiting, "InvalidImageName", "", Certain)]
    #[case::never_pulled(Place::Waiting, "ErrImageNeverPull", "", Certain)]
    #[case::cache(
        Place::Waiting,
        "CreateContainerConfigError",
        "failed to sync configmap cache: timed out waiting for the condition",
        Slow
    )]
    #[case::services(
        Place::Waiting,
        "CreateContainerConfigError",
        "services have not yet been read at least once, cannot construct envvars",
        Slow
    )]
    #[case::missing_secret(Place::Waiting, "CreateContainerConfigError", "secret \"x\" not found", MayPass)]
    #[case::no_such_image(Place::Waiting, "ErrImagePull", "failed to resolve: not found", MayPass)]
    #[case::registry_down(Place::Waiting, "ImagePullBackOff", "dial tcp: i/o timeout", MayPass)]
    #[case::creating(Place::Waiting, "ContainerCreating", "", Slow)]
    #[case::initializing(Place::Waiting, "PodInitializing", "", Slow)]
    #[case::hook(Place::Waiting, "PostStartHookError", "", MayPass)]
    #[case::crash(Place::Ended, "CrashLoopBackOff", "back-off 40s", MayPass)]
    #[case::fifth_crash(Place::EndedOften, "Error", "", Certain)]
    #[case::init_runs(Place::Running, "PodInitializing", "", Slow)]
    #[case::gate(Place::Running, "ReadinessGatesNotReady", "", Slow)]
    #[case::probe(Place::Running, "ContainersNotReady", "", Slow)]
    #[case::not_for_long_enough(Place::Running, "Ready", "", Slow)]
    #[case::another(Place::Running, "PodCompleted", "", Slow)]
    #[case::evicted(Place::Failed, "Evicted", "", MayPass)]
    #[case::affinity(Place::Failed, "NodeAffinity", "", MayPass)]
    #[case::no_cpu(Place::Failed, "OutOfcpu", "", MayPass)]
    #[case::leaving(Place::Leaving, "Terminating", "", Slow)]
    #[case::overdue(Place::Overdue, "Terminating", "", MayPass)]
    #[case::old(Place::Old, "Running", "", Slow)]
    #[case::budget_that_cannot_be_counted(Place::Budget, "SyncFailed", "", MayPass)]
    #[case::budget(Place::Budget, "InsufficientPods", "", Slow)]
    #[case::controller(Place::Controller, "", "", Slow)]
    fn each_state_has_its_class(
        #[case] place: Place,
        #[case] state: &str,
        #[case] message: &str,
        #[case] class: Class,
    ) {
        let found = find(place, state, message);
        assert_eq!((found.place, found.class), (place, class));
    }

    #[test]
    fn every_place_has_a_last_row_that_takes_all_others() {
        for place in PLACES {
            let rows: Vec<_> = ROWS.iter().filter(|row| row.place == place).collect();
            let last = rows.last().unwrap();
            assert!(last.states.is_empty() && last.words.is_empty(), "{place:?}");
            assert_eq!(find(place, "no such state", "no such words"), *last);
            // No row stands behind one that takes all of its.
            for (at, one) in rows.iter().enumerate() {
                assert!(!one.why.is_empty() && !place.name().is_empty());
                let state = one.states.first().copied().unwrap_or("another state");
                let words = one.words.first().copied().unwrap_or("other words");
                assert_eq!(find(place, state, &words.to_uppercase()), rows[at], "{place:?} {state}");
            }
        }
        assert!(ROWS.iter().is_sorted_by_key(|row| row.place), "the rows of a place stand together");
        let reasons: std::collections::BTreeSet<_> = ROWS.iter().map(|row| row.why).collect();
        assert_eq!(reasons.len(), ROWS.len(), "patience is measured by them");
    }

    #[test]
    fn the_bounds_are_said() {
        let said = [Slow, MayPass, Certain].map(|class| (class.name(), class.bound()));
        assert_eq!(said.map(|(name, _)| name), ["slow", "may pass", "certain"]);
        assert!(said[0].1.contains("waitTimeout") && said[1].1.contains("stuckAfter") && said[2].1.contains("5 s"));
    }
}
