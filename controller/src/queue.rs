//! Whose turn it is, as a pure function of all executions that are known: the oldest first, one at a time for a target
//! (a courtesy, no lock: another controller or a person may be at it), and no more at once than is set.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use crate::api::{KubernetesExecution, Phase, Reason};
use crate::plan::target_key;

/// Whether an execution may start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// It may.
    Now,
    /// Another one has the same target, and was first.
    Behind(String),
    /// As many run as may run.
    Full(usize),
}

/// What the queue knows of an execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// UID.
    pub uid: String,
    /// Name, with its namespace, for people.
    pub name: String,
    /// Time of its creation, then its UID: the order.
    pub created: Option<Timestamp>,
    /// The target; `None` for what changes nothing.
    pub target: Option<String>,
    /// What it is about.
    pub place: Place,
    /// Its phase, for the figures.
    pub phase: Phase,
}

/// The place of an execution in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It has been started, and has not ended.
    Started,
    /// It waits for its turn.
    Waits,
    /// It does not take part: it has ended, or waits for a person.
    Out,
}

impl Entry {
    /// Returns the entry of an execution. `claimed` is true when this controller is about to start it.
    pub fn of(execution: &KubernetesExecution, claimed: bool) -> Self {
        let (metadata, spec) = (&execution.metadata, &execution.spec);
        let phase = execution.status.as_ref().and_then(|status| status.phase);
        let reason = execution.status.as_ref().and_then(|status| status.reason.as_deref());
        let refused = reason.is_some_and(|one| one == Reason::JobRefused.name() || one == Reason::Forbidden.name());
        let held = spec.suspend || spec.cancel || spec.approval_required && spec.approved_by.is_none();
        let place = match phase {
            Some(phase) if phase.is_final() => Place::Out,
            Some(Phase::Executing | Phase::Retrying | Phase::Unrecognized) => Place::Started,
            _ if claimed => Place::Started,
            // It tries again by itself, and takes no place from others meanwhile.
            _ if refused => Place::Out,
            _ if held || metadata.deletion_timestamp.is_some() => Place::Out,
            _ => Place::Waits,
        };
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        Self {
            uid: text(&metadata.uid),
            name: format!("{}/{}", text(&metadata.namespace), text(&metadata.name)),
            created: metadata.creation_timestamp.as_ref().map(|time| time.0),
            target: target_key(execution),
            place,
            phase: phase.unwrap_or(Phase::Pending),
        }
    }

    fn order(&self) -> (Option<Timestamp>, &str) {
        (self.created, &self.uid)
    }
}

/// Returns whether the execution with this UID may start.
#[expect(clippy::implicit_hasher, reason = "only ever called with the one map")]
pub fn turn(uid: &str, all: &HashMap<String, Entry>, most: usize) -> Turn {
    let Some(own) = all.get(uid) else { return Turn::Full(0) };
    let others = || all.values().filter(|one| one.uid != own.uid);
    let earlier = |one: &&Entry| one.place == Place::Waits && one.order() < own.order();
    let same_target = |one: &&Entry| own.target.is_some() && one.target == own.target;
    let before = others().filter(same_target).find(|one| one.place == Place::Started || earlier(one));
    if let Some(before) = before {
        return Turn::Behind(before.name.clone());
    }
    let started = others().filter(|one| one.place == Place::Started).count();
    // Who waits for a target holds no place back from who could start.
    let mut busy: HashSet<&str> =
        others().filter(|one| one.place == Place::Started).filter_map(|one| one.target.as_deref()).collect();
    let mut waiting: Vec<&Entry> = others().filter(earlier).collect();
    waiting.sort_by(|one, other| one.order().cmp(&other.order()));
    let ready = waiting.iter().filter(|one| one.target.as_deref().is_none_or(|target| busy.insert(target))).count();
    if started + ready >= most { Turn::Full(started) } else { Turn::Now }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(uid: &str, created: i64, target: Option<&str>, place: Place) -> (String, Entry) {
        let created = Some(Timestamp::from_second(created).unwrap());
        let target = target.map(str::to_owned);
        (
            uid.to_owned(),
            Entry { uid: uid.to_owned(), name: format!("ns/{uid}"), created, target, place, phase: Phase::Pending },
        )
    }

    fn all(entries: &[(String, Entry)]) -> HashMap<String, Entry> {
        entries.iter().cloned().collect()
    }

    #[test]
    fn one_at_a_time_for_a_target() {
        let all = all(&[
            entry("a", 1, Some("t"), Place::Started),
            entry("b", 2, Some("t"), Place::Waits),
            entry("c", 3, Some("u"), Place::Waits),
            entry("d", 4, None, Place::Waits),
        ]);
        assert_eq!(turn("b", &all, 9), Turn::Behind("ns/a".to_owned()));
        assert_eq!((turn("c", &all, 9), turn("d", &all, 9)), (Turn::Now, Turn::Now));
    }

    #[test]
    fn the_oldest_goes_first() {
        let all = all(&[
            entry("late", 2, Some("t"), Place::Waits),
            entry("early", 1, Some("t"), Place::Waits),
            entry("b", 2, Some("t"), Place::Waits),
        ]);
        assert_eq!(turn("early", &all, 9), Turn::Now);
        assert!(matches!(turn("late", &all, 9), Turn::Behind(_)) && matches!(turn("b", &all, 9), Turn::Behind(_)));
    }

    #[test]
    fn who_waits_for_a_person_holds_nobody_up() {
        let all = all(&[entry("a", 1, Some("t"), Place::Out), entry("b", 2, Some("t"), Place::Waits)]);
        assert_eq!(turn("b", &all, 1), Turn::Now);
    }

    /// A hundred that wait for one target must not keep out who is for another.
    #[test]
    fn who_waits_for_a_target_holds_no_place_back() {
        let mut entries = vec![entry("a", 1, Some("t"), Place::Started), entry("z", 99, Some("u"), Place::Waits)];
        entries.extend((2..50).map(|n| entry(&format!("w{n}"), n, Some("t"), Place::Waits)));
        assert_eq!(turn("z", &all(&entries), 2), Turn::Now);
    }

    #[test]
    fn no_more_at_once_than_is_set() {
        let all = all(&[
            entry("a", 1, None, Place::Started),
            entry("b", 2, None, Place::Waits),
            entry("c", 3, None, Place::Waits),
        ]);
        assert_eq!((turn("b", &all, 2), turn("c", &all, 2)), (Turn::Now, Turn::Full(1)));
        assert_eq!(turn("b", &all, 1), Turn::Full(1));
        assert_eq!(turn("c", &all, 3), Turn::Now);
    }
}
