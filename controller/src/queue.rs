//! Whose turn it is, as a pure function of all executions that are known: the oldest first, one at a time for a target
//! (a courtesy, no lock: another controller or a person may be at it), and no more at once than is set.

use std::collections::{BTreeSet, HashMap};

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
        let outside = [Reason::JobRefused, Reason::JobUnanswered, Reason::Forbidden, Reason::NameTaken];
        let refused = reason.is_some_and(|one| outside.iter().any(|outside| outside.name() == one));
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

    fn order(&self) -> Order {
        (self.created, self.uid.clone())
    }
}

/// Place in the order: time of creation, then UID.
type Order = (Option<Timestamp>, String);

/// All executions that are known. Every question is answered by looking at few of them, whatever their number: with 5,000 at
/// once each is asked about several times, and each one's end asks for those that may follow.
#[derive(Debug, Default)]
pub struct Queue {
    entries: HashMap<String, Entry>,
    /// Those that wait and that no other one with their target is before, oldest first.
    ready: BTreeSet<Order>,
    started: usize,
    targets: HashMap<String, Target>,
}

/// Those that have been started and those that wait for one target.
#[derive(Debug, Default)]
struct Target {
    started: BTreeSet<Order>,
    waits: BTreeSet<Order>,
}

impl Target {
    /// Returns the one that may start: the oldest, when none is at it.
    fn ready(&self) -> Option<&Order> {
        if self.started.is_empty() { self.waits.first() } else { None }
    }
}

impl Queue {
    /// Returns what is known of an execution.
    pub fn get(&self, uid: &str) -> Option<&Entry> {
        self.entries.get(uid)
    }

    /// Returns all entries.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Takes a state of an execution, in place of an earlier one.
    pub fn put(&mut self, entry: Entry) {
        self.remove(&entry.uid);
        self.placed(&entry, true);
        self.entries.insert(entry.uid.clone(), entry);
    }

    /// Forgets an execution.
    pub fn remove(&mut self, uid: &str) {
        if let Some(entry) = self.entries.remove(uid) {
            self.placed(&entry, false);
        }
    }

    /// Takes an entry into the sets that it belongs to, or out of them.
    fn placed(&mut self, entry: &Entry, there: bool) {
        let order = entry.order();
        match entry.place {
            Place::Out => return,
            Place::Started if there => self.started += 1,
            Place::Started => self.started -= 1,
            Place::Waits => {}
        }
        let Some(name) = &entry.target else {
            if entry.place == Place::Waits {
                set(&mut self.ready, order, there);
            }
            return;
        };
        let target = self.targets.entry(name.clone()).or_default();
        if let Some(before) = target.ready() {
            self.ready.remove(before);
        }
        let own = if entry.place == Place::Started { &mut target.started } else { &mut target.waits };
        set(own, order, there);
        if let Some(now) = target.ready() {
            self.ready.insert(now.clone());
        }
        if target.started.is_empty() && target.waits.is_empty() {
            self.targets.remove(name);
        }
    }

    /// Returns whether the execution with this UID may start, when at most so many may run at once.
    pub fn turn(&self, uid: &str, most: usize) -> Turn {
        let Some(own) = self.entries.get(uid) else { return Turn::Full(0) };
        let order = own.order();
        let target = own.target.as_ref().and_then(|name| self.targets.get(name));
        let before = target.and_then(|target| {
            let started = target.started.iter().find(|one| **one != order);
            started.or_else(|| target.waits.first().filter(|one| **one < order))
        });
        if let Some(before) = before.and_then(|(_, uid)| self.entries.get(uid)) {
            return Turn::Behind(before.name.clone());
        }
        let started = self.started - usize::from(own.place == Place::Started);
        let free = most.saturating_sub(started);
        // Who waits for a target holds no place back from who could start.
        let earlier = self.ready.range(..order).take(free).count();
        if earlier >= free { Turn::Full(started) } else { Turn::Now }
    }

    /// Returns those for whom there is a place when at most so many may run at once, oldest first.
    pub fn next(&self, most: usize) -> impl Iterator<Item = &Entry> {
        let free = most.saturating_sub(self.started);
        self.ready.iter().take(free).filter_map(|(_, uid)| self.entries.get(uid))
    }
}

fn set(of: &mut BTreeSet<Order>, one: Order, there: bool) {
    if there {
        of.insert(one);
    } else {
        of.remove(&one);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn entry(uid: &str, created: i64, target: Option<&str>, place: Place) -> (String, Entry) {
        let created = Some(Timestamp::from_second(created).unwrap());
        let target = target.map(str::to_owned);
        (
            uid.to_owned(),
            Entry { uid: uid.to_owned(), name: format!("ns/{uid}"), created, target, place, phase: Phase::Pending },
        )
    }

    fn all(entries: &[(String, Entry)]) -> Queue {
        let mut queue = Queue::default();
        for (_, entry) in entries {
            queue.put(entry.clone());
        }
        queue
    }

    fn turn(uid: &str, all: &Queue, most: usize) -> Turn {
        all.turn(uid, most)
    }

    /// The same by looking at every entry: what the sets must agree with.
    fn by_looking_at_all(uid: &str, all: &HashMap<String, Entry>, most: usize) -> Turn {
        let own = &all[uid];
        let others = || all.values().filter(|one| one.uid != own.uid);
        let earlier = |one: &&Entry| one.place == Place::Waits && one.order() < own.order();
        let same_target = |one: &&Entry| own.target.is_some() && one.target == own.target;
        if let Some(before) = others().filter(same_target).find(|one| one.place == Place::Started || earlier(one)) {
            return Turn::Behind(before.name.clone());
        }
        let started = others().filter(|one| one.place == Place::Started);
        let mut busy: HashSet<&str> = started.clone().filter_map(|one| one.target.as_deref()).collect();
        let mut waiting: Vec<&Entry> = others().filter(earlier).collect();
        waiting.sort_by_key(|one| one.order());
        let ready = waiting.iter().filter(|one| one.target.as_deref().is_none_or(|target| busy.insert(target))).count();
        if started.clone().count() + ready >= most { Turn::Full(started.count()) } else { Turn::Now }
    }

    fn changes() -> impl Strategy<Value = Vec<(u8, i64, Option<u8>, Option<Place>)>> {
        let place =
            prop_oneof![Just(None), Just(Some(Place::Started)), Just(Some(Place::Waits)), Just(Some(Place::Out))];
        let target = proptest::option::of(0..4_u8);
        proptest::collection::vec((0..12_u8, 0..4_i64, target, place), 0..60)
    }

    proptest! {
        /// Whatever came and went: the sets say what looking at every entry says.
        #[test]
        fn the_sets_say_what_looking_at_all_says(changes in changes(), most in 0..8_usize) {
            let (mut queue, mut plain) = (Queue::default(), HashMap::new());
            for (uid, created, target, place) in changes {
                let uid = format!("u{uid}");
                let Some(place) = place else {
                    queue.remove(&uid);
                    plain.remove(&uid);
                    continue;
                };
                let target = target.map(|one| format!("t{one}"));
                let (_, entry) = entry(&uid, created, target.as_deref(), place);
                queue.put(entry.clone());
                plain.insert(uid, entry);
            }
            for uid in plain.keys() {
                match (queue.turn(uid, most), by_looking_at_all(uid, &plain, most)) {
                    // Which of several is named does not matter.
                    (Turn::Behind(_), Turn::Behind(_)) => {}
                    (one, other) => prop_assert_eq!(one, other, "{}", uid),
                }
            }
            let waits = plain.values().filter(|one| one.place == Place::Waits);
            let free = |one: &&Entry| !matches!(by_looking_at_all(&one.uid, &plain, usize::MAX), Turn::Behind(_));
            let mut ready: Vec<&Entry> = waits.filter(free).collect();
            ready.sort_by_key(|one| one.order());
            prop_assert_eq!(queue.next(usize::MAX).collect::<Vec<_>>(), ready);
        }
    }

    /// A ratio within one run: looking at all of 4,000 takes hundreds of times as long.
    #[test]
    fn many_that_wait_are_no_burden() {
        let name = |n: i64| format!("u{n:05}");
        let entries: Vec<_> = (0..4000).map(|n| entry(&name(n), n, Some(&name(n)), Place::Waits)).collect();
        let (queue, plain) = (all(&entries), entries.into_iter().collect());
        let took = |ask: &dyn Fn(&str) -> Turn| {
            let ask = |_| {
                let began = std::time::Instant::now();
                assert!((3900..3920).all(|n| ask(&name(n)) == Turn::Full(0)));
                began.elapsed()
            };
            (0..3).map(ask).min().unwrap()
        };
        let (sets, looking) = (took(&|uid| queue.turn(uid, 200)), took(&|uid| by_looking_at_all(uid, &plain, 200)));
        assert!(sets * 10 < looking, "{sets:?}, by looking at all {looking:?}");
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
