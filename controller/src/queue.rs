//! Whose turn it is, as a pure function of all executions that are known: the oldest first, one at a time for a target
//! (a courtesy, no lock: another controller or a person may be at it), and no more at once than is set.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::Timestamp;

use crate::api::{KubernetesExecution, KubernetesExecutionStatus, Phase, Reason};
use crate::plan::target_key;

/// Whether an execution may start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// It may.
    Now,
    /// Another one has the same target, and was first.
    Behind(String),
    /// No place is left for it.
    Full {
        /// Number of those that run.
        running: usize,
        /// Number of those that may: where it is more, older ones are next.
        most: usize,
    },
    /// Creations in its namespace are not answered: one at a time is tried.
    Unanswered,
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
    /// True while it is being started.
    pub begins: bool,
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
        let status = execution.status.as_ref();
        let held = spec.suspend || spec.cancel || spec.approval_required && spec.approved_by.is_none();
        let place = match phase {
            Some(phase) if phase.is_final() => Place::Out,
            Some(Phase::Executing | Phase::Unrecognized) => Place::Started,
            _ if claimed => Place::Started,
            // It tries again by itself, and takes no place from others meanwhile.
            _ if status.is_some_and(|status| has(status, &REFUSED)) => Place::Out,
            // Its next attempt has its place, unless it was refused and gave it back.
            Some(Phase::Retrying) if !status.is_some_and(gave_back) => Place::Started,
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
            begins: claimed || phase == Some(Phase::Executing) && status.is_some_and(|status| status.job_uid.is_none()),
        }
    }

    fn order(&self) -> Order {
        (self.created, self.uid.clone())
    }

    fn namespace(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }
}

/// The most passes of one namespace that start something at once.
pub const EACH: usize = 16;

/// Reasons that keep an attempt from being started, and pass or are mended.
const REFUSED: [Reason; 5] =
    [Reason::JobRefused, Reason::JobUnanswered, Reason::HoldUnanswered, Reason::Forbidden, Reason::NameTaken];
/// Reasons for which an attempt waits.
const WAITS: [Reason; 3] = [Reason::Queued, Reason::TargetBusy, Reason::Suspended];

fn has(status: &KubernetesExecutionStatus, reasons: &[Reason]) -> bool {
    status.reason.as_deref().is_some_and(|one| reasons.iter().any(|reason| reason.name() == one))
}

/// Returns whether an execution has to wait for its turn.
pub fn has_no_place(status: Option<&KubernetesExecutionStatus>) -> bool {
    let phase = status.and_then(|status| status.phase);
    phase.is_none_or(|phase| phase == Phase::Pending) || status.is_some_and(gave_back)
}

/// Returns whether the next attempt has no place: it was refused when it was about to be started, and waits since.
fn gave_back(status: &KubernetesExecutionStatus) -> bool {
    status.phase == Some(Phase::Retrying) && (has(status, &REFUSED) || has(status, &WAITS))
}

/// Place in the order: time of creation, then UID.
type Order = (Option<Timestamp>, String);

/// All executions that are known. Every question is answered by looking at few of them, whatever their number: with 5,000 at
/// once each is asked about several times, and each one's end asks for those that may follow.
#[derive(Debug, Default)]
pub struct Queue {
    entries: HashMap<String, Entry>,
    /// By namespace those that wait and that no other one with their target is before, oldest first.
    ready: BTreeMap<String, BTreeSet<Order>>,
    started: usize,
    targets: HashMap<String, Target>,
    /// Number of those that are being started in each namespace.
    begin: HashMap<String, usize>,
    /// Namespaces in which creations are not answered. Those that wait there are before nobody.
    unanswered: HashSet<String>,
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

    /// Takes that creations in a namespace are not answered, or that they are again.
    pub fn answers(&mut self, namespace: &str, answers: bool) {
        if answers {
            self.unanswered.remove(namespace);
        } else {
            self.unanswered.insert(namespace.to_owned());
        }
    }

    /// Returns the oldest that waits in a namespace, and for nothing but a place.
    pub fn oldest_in(&self, namespace: &str) -> Option<&Entry> {
        self.ready.get(namespace)?.first().and_then(|(_, uid)| self.entries.get(uid))
    }

    /// Takes the one at this place in the order, which may be `own`, among those that are ready, or out of them.
    fn set_ready(&mut self, order: Order, own: &Entry, there: bool) {
        let one = if order.1 == own.uid { Some(own) } else { self.entries.get(&order.1) };
        let Some(namespace) = one.map(|one| one.namespace().to_owned()) else { return };
        let ready = self.ready.entry(namespace.clone()).or_default();
        set(ready, order, there);
        if ready.is_empty() {
            self.ready.remove(&namespace);
        }
    }

    /// Takes an entry into the sets that it belongs to, or out of them.
    fn placed(&mut self, entry: &Entry, there: bool) {
        let order = entry.order();
        if entry.begins {
            let begin = self.begin.entry(entry.namespace().to_owned()).or_default();
            *begin = if there { *begin + 1 } else { begin.saturating_sub(1) };
            if *begin == 0 {
                self.begin.remove(entry.namespace());
            }
        }
        match entry.place {
            Place::Out => return,
            Place::Started if there => self.started += 1,
            Place::Started => self.started -= 1,
            Place::Waits => {}
        }
        let Some(name) = &entry.target else {
            if entry.place == Place::Waits {
                self.set_ready(order, entry, there);
            }
            return;
        };
        let target = self.targets.entry(name.clone()).or_default();
        let before = target.ready().cloned();
        let own = if entry.place == Place::Started { &mut target.started } else { &mut target.waits };
        set(own, order, there);
        let now = target.ready().cloned();
        if target.started.is_empty() && target.waits.is_empty() {
            self.targets.remove(name);
        }
        for (one, is_ready) in [(before, false), (now, true)] {
            if let Some(one) = one {
                self.set_ready(one, entry, is_ready);
            }
        }
    }

    /// Returns whether the execution with this UID may start, when at most so many may run at once.
    pub fn turn(&self, uid: &str, most: usize) -> Turn {
        let Some(own) = self.entries.get(uid) else {
            return Turn::Full { running: 0, most };
        };
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
        // Where creations are not answered, each takes as long as a write may: those who can start go first.
        let unanswered = self.unanswered.contains(own.namespace());
        let begin = self.begin.get(own.namespace()).copied().unwrap_or_default();
        if unanswered && begin > usize::from(own.begins) {
            return Turn::Unanswered;
        }
        // Who waits for a target holds no place back from who could start; nor do more of another namespace than can start at once,
        // where the first of them may hang.
        let mut first = 0;
        for (namespace, ready) in &self.ready {
            let (own, answers) = (namespace == own.namespace(), !self.unanswered.contains(namespace));
            first += match (own, answers) {
                (true, _) => ready.range(..&order).take(free).count(),
                (false, true) if unanswered => ready.iter().take(EACH).count(),
                (false, true) => ready.range(..&order).take(EACH).count(),
                (false, false) => 0,
            };
        }
        if first >= free { Turn::Full { running: started, most } } else { Turn::Now }
    }

    /// Returns those for whom there is a place when at most so many may run at once: oldest first, but of each namespace no more than
    /// can start at once before all others have had theirs. No more than `limit` of them.
    pub fn next(&self, most: usize, limit: usize) -> impl Iterator<Item = &Entry> {
        let free = most.saturating_sub(self.started).min(limit);
        let answered = self.ready.iter().filter(|(namespace, _)| !self.unanswered.contains(*namespace));
        let numbered = answered.flat_map(|(_, ready)| ready.iter().take(free).enumerate());
        let mut next: Vec<_> = numbered.map(|(number, order)| (number / EACH, order)).collect();
        next.sort_unstable();
        next.into_iter().take(free).filter_map(|(_, (_, uid))| self.entries.get(uid))
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
    use proptest::prelude::*;

    use super::*;

    fn entry(uid: &str, created: i64, target: Option<&str>, place: Place) -> (String, Entry) {
        let created = Some(Timestamp::from_second(created).unwrap());
        let target = target.map(str::to_owned);
        (
            uid.to_owned(),
            Entry {
                uid: uid.to_owned(),
                name: format!("ns/{uid}"),
                created,
                target,
                place,
                phase: Phase::Pending,
                begins: false,
            },
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
        let running = started.count();
        if running + ready >= most { Turn::Full { running, most } } else { Turn::Now }
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
            prop_assert_eq!(queue.next(usize::MAX, usize::MAX).collect::<Vec<_>>(), ready);
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
                assert!((3900..3920).all(|n| ask(&name(n)) == Turn::Full { running: 0, most: 200 }));
                began.elapsed()
            };
            (0..3).map(ask).min().unwrap()
        };
        let (sets, looking) = (took(&|uid| queue.turn(uid, 200)), took(&|uid| by_looking_at_all(uid, &plain, 200)));
        assert!(sets * 10 < looking, "{sets:?}, by looking at all {looking:?}");
    }

    /// However old they are, and however many: one of them at a time is tried, and the others are before nobody.
    #[test]
    fn where_nothing_is_answered_one_is_tried() {
        let in_namespace = |namespace: &str, uid: &str, created: i64, place: Place| {
            let (key, mut one) = entry(uid, created, Some(uid), place);
            one.name = format!("{namespace}/{uid}");
            (key, one)
        };
        let mut entries: Vec<_> = (0..9).map(|n| in_namespace("bad", &format!("b{n}"), n, Place::Waits)).collect();
        entries.push(in_namespace("good", "g", 99, Place::Waits));
        let mut queue = all(&entries);
        let full = Turn::Full { running: 0, most: 2 };
        assert_eq!((queue.turn("b0", 2), queue.turn("g", 2)), (Turn::Now, full.clone()));
        queue.answers("bad", false);
        assert_eq!(
            (queue.turn("b0", 2), queue.turn("g", 2), queue.turn("b0", 1)),
            (Turn::Now, Turn::Now, Turn::Full { running: 0, most: 1 })
        );
        assert_eq!(queue.next(9, 9).map(|one| one.uid.as_str()).collect::<Vec<_>>(), ["g"]);
        let (_, tried) = in_namespace("bad", "b0", 0, Place::Started);
        queue.put(Entry { begins: true, ..tried.clone() });
        assert_eq!(
            (queue.turn("b1", 3), queue.turn("b0", 3), queue.turn("g", 3)),
            (Turn::Unanswered, Turn::Now, Turn::Now)
        );
        // It was started after all.
        queue.put(tried);
        assert_eq!(queue.turn("b1", 3), Turn::Now);
        assert_eq!(queue.oldest_in("bad").map(|one| one.uid.as_str()), Some("b1"));
        queue.answers("bad", true);
        assert_eq!((queue.turn("g", 2), queue.next(3, 9).count()), (Turn::Full { running: 1, most: 2 }, 2));
        assert!(queue.begin.is_empty() && queue.unanswered.is_empty());
    }

    /// Only so many of them start at once, and these may take as long as they like.
    #[test]
    fn many_of_one_namespace_hold_back_only_as_many_as_can_start() {
        let mut entries: Vec<_> = (0..50).map(|n| entry(&format!("n{n:02}"), n, None, Place::Waits)).collect();
        let (key, mut other) = entry("x", 99, None, Place::Waits);
        other.name = "other/x".to_owned();
        entries.push((key, other));
        let queue = all(&entries);
        let full = |most| Turn::Full { running: 0, most };
        assert_eq!((queue.turn("x", EACH), queue.turn("x", EACH + 1)), (full(EACH), Turn::Now));
        assert_eq!((queue.turn("n40", EACH + 1), queue.turn("n40", 41)), (full(EACH + 1), Turn::Now));
        let next: Vec<_> = queue.next(EACH + 2, 99).map(|one| one.uid.clone()).collect();
        let first = (0..EACH).map(|n| format!("n{n:02}"));
        let expected: Vec<_> = first.chain(["x".to_owned(), format!("n{EACH:02}")]).collect();
        assert_eq!(next, expected);
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
        assert_eq!((turn("b", &all, 2), turn("c", &all, 2)), (Turn::Now, Turn::Full { running: 1, most: 2 }));
        assert_eq!(turn("b", &all, 1), Turn::Full { running: 1, most: 1 });
        assert_eq!(turn("c", &all, 3), Turn::Now);
    }
}
