//! Evidence beside what a wait follows: events, nodes, the namespace. Each part may be missing, because not every account
//! may read it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::cluster::evidence::{Event, NamespaceState, NodeState};

/// Events that only come after a pod's volumes and network are there.
const PREPARED: [&str; 5] = ["Pulling", "Pulled", "BackOff", "Created", "Started"];

/// Events about an object of which a controller could make nothing.
const NOT_CREATED: [&str; 3] = ["FailedCreate", "FailedDaemonPod", "ReplicaSetCreateError"];

/// What was read beside the followed objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Events by the UID of the object that they are about.
    pub events: BTreeMap<String, Vec<Event>>,
    /// Nodes by name.
    pub nodes: BTreeMap<String, NodeState>,
    /// The target's namespace.
    pub namespace: Option<NamespaceState>,
    /// Sentences about what could not be read.
    pub unread: Vec<String>,
}

impl Evidence {
    fn of(&self, uid: &str) -> &[Event] {
        self.events.get(uid).map(Vec::as_slice).unwrap_or_default()
    }

    /// Returns the warning for which a pod's preparation hangs: the newest one, unless the image was pulled since, for
    /// which volumes and network must be there.
    pub fn preparation(&self, pod: &str) -> Option<&Event> {
        let all = self.of(pod);
        let prepared =
            all.iter().filter(|one| PREPARED.contains(&one.reason.as_str())).filter_map(|one| one.last).max();
        let hangs = |one: &&Event| {
            one.warning && !one.reason.contains("Schedul") && prepared.is_none_or(|prepared| one.last > Some(prepared))
        };
        all.iter().filter(hangs).filter(|one| one.reason != "Unhealthy").max_by_key(|one| one.last)
    }

    /// Returns the newest event about a probe that failed.
    pub fn unhealthy(&self, pod: &str) -> Option<&Event> {
        self.of(pod).iter().filter(|one| one.reason == "Unhealthy").max_by_key(|one| one.last)
    }

    /// Returns why a controller could not make a pod since the change, unless it made one after that.
    pub fn creation(&self, controller: &str, began: Timestamp) -> Option<&Event> {
        let all = self.of(controller);
        let failed = all.iter().filter(|one| one.warning && NOT_CREATED.contains(&one.reason.as_str()));
        // Times have whole seconds.
        let since = began - SignedDuration::from_secs(1);
        let newest = failed.filter(|one| one.last >= Some(since)).max_by_key(|one| one.last)?;
        let made = all.iter().filter(|one| one.reason == "SuccessfulCreate").filter_map(|one| one.last).max();
        Some(newest).filter(|newest| made <= newest.last)
    }

    /// Returns the state of a node that is not ready.
    pub fn broken_node(&self, name: Option<&str>) -> Option<&NodeState> {
        self.nodes.get(name?).filter(|node| !node.ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn event(reason: &str, warning: bool, second: i64) -> Event {
        Event {
            reason: reason.to_owned(),
            message: reason.to_owned(),
            warning,
            count: 1,
            first: None,
            last: Some(at(second)),
        }
    }

    fn evidence(events: &[Event]) -> Evidence {
        Evidence { events: BTreeMap::from([("u".to_owned(), events.to_vec())]), ..Evidence::default() }
    }

    #[rstest]
    #[case::none(&[], None)]
    #[case::hangs(&[event("Scheduled", false, 1), event("FailedMount", true, 1)], Some("FailedMount"))]
    #[case::the_newest(&[event("FailedAttachVolume", true, 3), event("FailedMount", true, 2)], Some("FailedAttachVolume"))]
    #[case::passed(&[event("FailedMount", true, 2), event("Pulling", false, 3)], None)]
    #[case::passed_in_the_same_second(&[event("FailedMount", true, 2), event("Pulled", false, 2)], None)]
    #[case::again(&[event("Pulled", false, 2), event("FailedCreatePodSandBox", true, 3)], Some("FailedCreatePodSandBox"))]
    #[case::of_the_scheduler(&[event("FailedScheduling", true, 2)], None)]
    #[case::of_a_probe(&[event("Unhealthy", true, 2)], None)]
    #[case::no_warning(&[event("SuccessfulAttachVolume", false, 2)], None)]
    fn what_a_pods_preparation_hangs_on(#[case] events: &[Event], #[case] says: Option<&str>) {
        let found = evidence(events);
        assert_eq!(found.preparation("u").map(|one| one.reason.as_str()), says);
        assert!(found.preparation("another").is_none());
    }

    #[rstest]
    #[case::none(&[], None)]
    #[case::failed(&[event("FailedCreate", true, 10)], Some(10))]
    #[case::the_newest(&[event("FailedDaemonPod", true, 11), event("FailedCreate", true, 12)], Some(12))]
    #[case::of_a_set(&[event("ReplicaSetCreateError", true, 11)], Some(11))]
    #[case::in_the_first_second(&[event("FailedCreate", true, 9)], Some(9))]
    #[case::before_the_change(&[event("FailedCreate", true, 8)], None)]
    #[case::made_since(&[event("FailedCreate", true, 10), event("SuccessfulCreate", false, 11)], None)]
    #[case::made_before(&[event("FailedCreate", true, 11), event("SuccessfulCreate", false, 10)], Some(11))]
    #[case::made_in_that_second(&[event("FailedCreate", true, 11), event("SuccessfulCreate", false, 11)], Some(11))]
    #[case::no_warning(&[event("FailedCreate", false, 11)], None)]
    #[case::another(&[event("FailedDelete", true, 11)], None)]
    fn why_a_controller_makes_nothing(#[case] events: &[Event], #[case] second: Option<i64>) {
        let found = evidence(events).creation("u", at(10)).and_then(|one| one.last);
        assert_eq!(found, second.map(at));
    }

    #[test]
    fn probes_and_nodes_have_words_of_their_own() {
        let found = evidence(&[event("Unhealthy", true, 1), event("Unhealthy", true, 3), event("BackOff", true, 9)]);
        assert_eq!(found.unhealthy("u").and_then(|one| one.last), Some(at(3)));
        let node = |ready| NodeState { ready, ..NodeState::default() };
        let nodes = BTreeMap::from([("up".to_owned(), node(true)), ("down".to_owned(), node(false))]);
        let found = Evidence { nodes, ..Evidence::default() };
        let broken = ["up", "down", "other"].map(|name| found.broken_node(Some(name)).is_some());
        assert_eq!((broken, found.broken_node(None)), ([false, true, false], None));
    }
}
