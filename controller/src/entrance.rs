//! Lets passes in: so many at once, by what they do and where. A webhook that keeps each new Job of a namespace waiting, or each of its
//! status writes, or a thousand executions at once, must keep neither a result that is there from being written nor another namespace
//! from its turn.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;

use crate::api::Stored;

/// The work that a pass may come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Work {
    /// Perhaps a start.
    Begins,
    /// Something runs, ends, or is to end.
    GoesOn,
}

/// The most passes at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// That may start something, in all namespaces together.
    pub begins: usize,
    /// Of each kind in one namespace.
    pub each: usize,
}

/// An execution that a pass is asked for.
#[derive(Debug, Clone)]
pub struct Who {
    /// UID.
    pub uid: String,
    /// Namespace and name.
    pub name: ObjectRef<Stored>,
    /// Time of its creation.
    pub created: Option<Timestamp>,
    /// True if its last pass failed.
    pub fails: bool,
}

/// The passes that are at work, and who waits to be let in.
#[derive(Debug)]
pub struct Entrance(Mutex<State>);

#[derive(Debug)]
struct State {
    limits: Limits,
    lanes: HashMap<Key, Lane>,
    /// Where each that waits stands, by its UID.
    stands: HashMap<String, (Key, Order)>,
    /// How many have come that fail.
    failing: u64,
    /// The newest time of creation of all that have come.
    newest: Option<Timestamp>,
}

/// A namespace, and what is to be done there.
type Key = (Work, String);

/// The oldest first, as in the queue: who is asked for because a place is free now is not behind a thousand younger ones that have
/// just come and are only to be told that they wait. Who fails counts as created when it came, behind all that were there: those that
/// fail for ever would keep all others from their turn, and behind all that will ever come they would never have one themselves.
/// That time is the newest one seen, not this machine's: the API server's clock and ours need not agree. Several that fail have the
/// same one, and stand in the order in which they came.
type Order = (Option<Timestamp>, u64, String);

#[derive(Debug, Default)]
struct Lane {
    inside: usize,
    waits: BTreeMap<Order, ObjectRef<Stored>>,
}

impl Entrance {
    /// So many at once.
    pub fn new(limits: Limits) -> Self {
        Self(Mutex::new(State { limits, lanes: HashMap::new(), stands: HashMap::new(), failing: 0, newest: None }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets an execution in, or remembers that it waits. Returns whether it is in.
    pub fn enter(&self, work: Work, who: Who) -> bool {
        let mut state = self.state();
        state.newest = state.newest.max(who.created);
        let key = (work, who.name.namespace.clone().unwrap_or_default());
        let has_room = state.room(work) > 0 && state.lanes.get(&key).is_none_or(|lane| lane.inside < state.limits.each);
        if has_room {
            state.leave(&who.uid);
            state.lanes.entry(key).or_default().inside += 1;
        } else if state.stands.get(&who.uid).is_none_or(|(before, _)| *before != key) {
            // It may have waited to begin, and now it is to end.
            state.leave(&who.uid);
            let order = state.order(&who);
            state.lanes.entry(key.clone()).or_default().waits.insert(order.clone(), who.name);
            state.stands.insert(who.uid, (key, order));
        }
        has_room
    }

    /// Takes that one is out again.
    pub fn out(&self, work: Work, namespace: &str) {
        let mut state = self.state();
        let key = (work, namespace.to_owned());
        if let Some(lane) = state.lanes.get_mut(&key) {
            lane.inside = lane.inside.saturating_sub(1);
        }
        state.tidy(&key);
    }

    /// Remembers no longer that this execution waits. Returns whether it did.
    pub fn leave(&self, uid: &str) -> bool {
        self.state().leave(uid)
    }

    /// Returns those for whom there is room: of the namespace with the fewest inside first, and there in their order; and forgets
    /// those before them that are not there any more. They are remembered until they enter or leave: none is passed over because
    /// another one took the room in between.
    pub fn next(&self, there: impl Fn(&str, &ObjectRef<Stored>) -> bool) -> Vec<ObjectRef<Stored>> {
        let mut state = self.state();
        let mut next = Vec::new();
        for work in [Work::Begins, Work::GoesOn] {
            state.next(work, &there, &mut next);
        }
        next
    }
}

impl State {
    /// Returns how many more may do this, wherever.
    fn room(&self, work: Work) -> usize {
        match work {
            Work::GoesOn => usize::MAX,
            Work::Begins => {
                let inside = |(key, lane): (&Key, &Lane)| if key.0 == work { lane.inside } else { 0 };
                self.limits.begins.saturating_sub(self.lanes.iter().map(inside).sum())
            }
        }
    }

    fn next(
        &mut self,
        work: Work,
        there: impl Fn(&str, &ObjectRef<Stored>) -> bool,
        next: &mut Vec<ObjectRef<Stored>>,
    ) {
        // How many would be inside with each that may come in, and its place in the order.
        let (mut ready, mut gone) = (Vec::new(), Vec::new());
        for (_, lane) in self.lanes.iter().filter(|(key, _)| key.0 == work) {
            let mut inside = lane.inside;
            for (order, who) in &lane.waits {
                if inside >= self.limits.each {
                    break;
                }
                if there(&order.2, who) {
                    inside += 1;
                    ready.push((inside, order, who.clone()));
                } else {
                    gone.push(order.2.clone());
                }
            }
        }
        ready.sort_unstable_by_key(|(inside, order, _)| (*inside, *order));
        next.extend(ready.into_iter().take(self.room(work)).map(|(_, _, who)| who));
        for uid in gone {
            self.leave(&uid);
        }
    }

    fn order(&mut self, who: &Who) -> Order {
        if !who.fails {
            return (who.created, 0, who.uid.clone());
        }
        self.failing += 1;
        (self.newest, self.failing, who.uid.clone())
    }

    fn leave(&mut self, uid: &str) -> bool {
        let Some((key, order)) = self.stands.remove(uid) else { return false };
        let left = self.lanes.get_mut(&key).is_some_and(|lane| lane.waits.remove(&order).is_some());
        self.tidy(&key);
        left
    }

    /// Keeps nothing of a namespace where nothing is going on.
    fn tidy(&mut self, key: &Key) {
        if self.lanes.get(key).is_some_and(|lane| lane.inside == 0 && lane.waits.is_empty()) {
            self.lanes.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Work::{Begins, GoesOn};
    use super::*;

    fn named(name: &str) -> ObjectRef<Stored> {
        let (namespace, name) = name.split_once('/').unwrap_or(("shop", name));
        ObjectRef::new(name).within(namespace)
    }

    /// The first letter of its name says how old it is.
    fn who(name: &str) -> Who {
        let named = named(name);
        let second = named.name.bytes().next().map(i64::from);
        let created = second.and_then(|second| Timestamp::from_second(second).ok());
        Who { uid: name.to_owned(), name: named, created, fails: false }
    }

    fn entrance(begins: usize, each: usize) -> Entrance {
        Entrance::new(Limits { begins, each })
    }

    fn begins(entrance: &Entrance, name: &str) -> bool {
        entrance.enter(Begins, who(name))
    }

    fn fails(entrance: &Entrance, name: &str) -> bool {
        entrance.enter(Begins, Who { fails: true, ..who(name) })
    }

    fn next(entrance: &Entrance) -> Vec<String> {
        entrance.next(|_, _| true).into_iter().map(|who| who.name).collect()
    }

    #[test]
    fn the_oldest_is_next_for_each_place() {
        let entrance = entrance(2, 2);
        assert!(begins(&entrance, "x") && begins(&entrance, "y"));
        for name in ["c", "b", "d", "c"] {
            assert!(!begins(&entrance, name), "three places of two");
        }
        assert!(next(&entrance).is_empty(), "there is no place");
        entrance.out(Begins, "shop");
        assert_eq!(next(&entrance), ["b"]);
        // It has not taken it yet.
        entrance.out(Begins, "shop");
        assert_eq!(next(&entrance), ["b", "c"]);
        assert!(begins(&entrance, "b"));
        // What comes last and is older is before them.
        assert!(begins(&entrance, "z") && !begins(&entrance, "a"));
        entrance.out(Begins, "shop");
        assert_eq!(next(&entrance), ["a"]);
    }

    /// However old it is: those that fail for ever would keep all others from their turn. Also those that were created in the same second
    /// as the newest one.
    #[test]
    fn who_fails_comes_behind_those_that_wait() {
        let entrance = entrance(1, 1);
        assert!(begins(&entrance, "x") && !fails(&entrance, "b") && !fails(&entrance, "a"));
        assert!(!begins(&entrance, "c") && !begins(&entrance, "x2"));
        entrance.out(Begins, "shop");
        let others = [
            ("c", "the oldest that does not fail"),
            ("x2", "the other one"),
            ("b", "the one that came first"),
            ("a", "the last"),
        ];
        for (uid, others) in others {
            assert_eq!(next(&entrance), [uid], "{others}");
            assert!(begins(&entrance, uid));
            // Its next pass, while its last one is not over.
            assert!(!fails(&entrance, uid));
            entrance.out(Begins, "shop");
            assert!(entrance.leave(uid));
        }
    }

    /// Where more comes than can be done, for as long as it does.
    #[test]
    fn who_fails_is_not_behind_those_that_come_later() {
        let entrance = entrance(1, 1);
        assert!(begins(&entrance, "m") && !begins(&entrance, "n") && !fails(&entrance, "a"));
        for later in ["o", "p", "q"] {
            assert!(!begins(&entrance, later));
        }
        entrance.out(Begins, "shop");
        for uid in ["n", "a", "o"] {
            assert_eq!(next(&entrance), [uid]);
            assert!(begins(&entrance, uid));
            entrance.out(Begins, "shop");
        }
    }

    #[test]
    fn who_is_gone_or_has_left_holds_nobody_up() {
        let entrance = entrance(1, 1);
        assert!(begins(&entrance, "x"));
        for name in ["a", "b", "c", "d"] {
            assert!(!begins(&entrance, name));
        }
        assert!(entrance.leave("a") && !entrance.leave("a") && !entrance.leave("z"));
        entrance.out(Begins, "shop");
        assert_eq!(entrance.next(|uid, _| uid != "b"), [named("c")]);
        assert!(!entrance.leave("b"), "who is gone is remembered");
    }

    /// However many there are of it, and however long they stay.
    #[test]
    fn one_namespace_leaves_room_for_the_next() {
        let entrance = entrance(3, 2);
        assert!(begins(&entrance, "slow/a") && begins(&entrance, "slow/b") && !begins(&entrance, "slow/c"));
        assert!(begins(&entrance, "shop/a"), "the second namespace has no place");
        for name in ["slow/d", "shop/e", "shop/f"] {
            assert!(!begins(&entrance, name));
        }
        entrance.out(Begins, "slow");
        assert_eq!(next(&entrance), ["c"], "there is one place, and both have one");
        entrance.out(Begins, "shop");
        assert_eq!(next(&entrance), ["e", "c"], "the one with none inside comes first");
        // What is to end does not wait for what begins.
        assert!(entrance.enter(GoesOn, who("slow/c")) && !entrance.leave("slow/c"));
        assert_eq!(next(&entrance), ["e", "d"]);
    }

    #[test]
    fn nothing_is_kept_of_a_namespace_where_nothing_is_going_on() {
        let entrance = entrance(1, 1);
        assert!(begins(&entrance, "shop/a") && !begins(&entrance, "other/b"));
        entrance.out(Begins, "shop");
        assert!(entrance.leave("other/b"));
        assert!(entrance.state().lanes.is_empty() && entrance.state().stands.is_empty());
    }
}
