//! Lets passes in: so many at once, by what they do and where. A webhook that keeps each new Job of a namespace waiting, or each of its
//! status writes, or a thousand executions at once, must keep neither a result that is there from being written nor another namespace
//! from its turn.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

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

/// The passes that are at work, and who waits to be let in.
#[derive(Debug)]
pub struct Entrance(Mutex<State>);

#[derive(Debug)]
struct State {
    limits: Limits,
    lanes: HashMap<Key, Lane>,
    /// Where each that waits stands, by its UID.
    came: HashMap<String, (Key, u64)>,
    last: u64,
}

/// A namespace, and what is to be done there.
type Key = (Work, String);

#[derive(Debug, Default)]
struct Lane {
    inside: usize,
    /// UID and name of who waits, by when they came: who tries again and again comes behind those that have not had their turn.
    waits: BTreeMap<u64, (String, ObjectRef<Stored>)>,
}

impl Entrance {
    /// So many at once.
    pub fn new(limits: Limits) -> Self {
        Self(Mutex::new(State { limits, lanes: HashMap::new(), came: HashMap::new(), last: 0 }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the execution with this UID in, or remembers that it waits. Returns whether it is in.
    pub fn enter(&self, work: Work, uid: &str, who: ObjectRef<Stored>) -> bool {
        let mut state = self.state();
        let key = (work, who.namespace.clone().unwrap_or_default());
        let has_room = state.room(work) > 0 && state.lanes.get(&key).is_none_or(|lane| lane.inside < state.limits.each);
        if has_room {
            state.leave(uid);
            state.lanes.entry(key).or_default().inside += 1;
        } else if state.came.get(uid).is_none_or(|(before, _)| *before != key) {
            // It may have waited to begin, and now it is to end.
            state.leave(uid);
            state.last += 1;
            let number = state.last;
            state.lanes.entry(key.clone()).or_default().waits.insert(number, (uid.to_owned(), who));
            state.came.insert(uid.to_owned(), (key, number));
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

    /// Returns those for whom there is room: of the namespace with the fewest inside first, and there first come first; and forgets
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
        // How many would be inside with each that may come in, and when it came.
        let (mut ready, mut gone) = (Vec::new(), Vec::new());
        for (_, lane) in self.lanes.iter().filter(|(key, _)| key.0 == work) {
            let mut inside = lane.inside;
            for (number, (uid, who)) in &lane.waits {
                if inside >= self.limits.each {
                    break;
                }
                if there(uid, who) {
                    inside += 1;
                    ready.push((inside, *number, who.clone()));
                } else {
                    gone.push(uid.clone());
                }
            }
        }
        ready.sort_unstable_by_key(|(inside, number, _)| (*inside, *number));
        next.extend(ready.into_iter().take(self.room(work)).map(|(_, _, who)| who));
        for uid in gone {
            self.leave(&uid);
        }
    }

    fn leave(&mut self, uid: &str) -> bool {
        let Some((key, number)) = self.came.remove(uid) else { return false };
        let left = self.lanes.get_mut(&key).is_some_and(|lane| lane.waits.remove(&number).is_some());
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

    fn who(name: &str) -> ObjectRef<Stored> {
        let (namespace, name) = name.split_once('/').unwrap_or(("shop", name));
        ObjectRef::new(name).within(namespace)
    }

    fn entrance(begins: usize, each: usize) -> Entrance {
        Entrance::new(Limits { begins, each })
    }

    fn begins(entrance: &Entrance, name: &str) -> bool {
        entrance.enter(Begins, name, who(name))
    }

    fn next(entrance: &Entrance) -> Vec<String> {
        entrance.next(|_, _| true).into_iter().map(|who| who.name).collect()
    }

    #[test]
    fn who_came_first_is_next_for_each_place() {
        let entrance = entrance(2, 2);
        assert!(begins(&entrance, "x") && begins(&entrance, "y"));
        for name in ["c", "a", "b", "c"] {
            assert!(!begins(&entrance, name), "three places of two");
        }
        assert!(next(&entrance).is_empty(), "there is no place");
        entrance.out(Begins, "shop");
        assert_eq!(next(&entrance), ["c"]);
        // It has not taken it yet.
        entrance.out(Begins, "shop");
        assert_eq!(next(&entrance), ["c", "a"]);
        assert!(begins(&entrance, "c"));
        assert_eq!(next(&entrance), ["a"]);
    }

    /// However old it is: those that fail for ever would keep all others from their turn.
    #[test]
    fn who_tries_again_comes_behind_those_that_wait() {
        let entrance = entrance(1, 1);
        assert!(begins(&entrance, "a") && !begins(&entrance, "b"));
        assert!(!begins(&entrance, "a"), "its next pass, while its last one is not over");
        entrance.out(Begins, "shop");
        assert_eq!(next(&entrance), ["b"]);
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
        assert_eq!(entrance.next(|uid, _| uid != "b"), [who("c")]);
        assert!(!entrance.leave("b"), "who is gone is remembered");
    }

    /// However many there are of it, and however long they stay.
    #[test]
    fn one_namespace_leaves_room_for_the_next() {
        let entrance = entrance(3, 2);
        assert!(begins(&entrance, "slow/a") && begins(&entrance, "slow/b") && !begins(&entrance, "slow/c"));
        assert!(begins(&entrance, "shop/a"), "the second namespace has no place");
        for name in ["slow/d", "shop/b", "shop/c"] {
            assert!(!begins(&entrance, name));
        }
        entrance.out(Begins, "slow");
        assert_eq!(next(&entrance), ["c"], "there is one place, and both have one");
        entrance.out(Begins, "shop");
        assert_eq!(next(&entrance), ["b", "c"], "the one with none inside comes first");
        // What is to end does not wait for what begins.
        assert!(entrance.enter(GoesOn, "slow/c", who("slow/c")) && !entrance.leave("slow/c"));
        assert_eq!(next(&entrance), ["b", "d"]);
    }

    #[test]
    fn nothing_is_kept_of_a_namespace_where_nothing_is_going_on() {
        let entrance = entrance(1, 1);
        assert!(begins(&entrance, "shop/a") && !begins(&entrance, "other/b"));
        entrance.out(Begins, "shop");
        assert!(entrance.leave("other/b"));
        assert!(entrance.state().lanes.is_empty() && entrance.state().came.is_empty());
    }
}
