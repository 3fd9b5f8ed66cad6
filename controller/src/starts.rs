//! How many passes may be at starting something at once: the other passes are kept for what runs and ends. A webhook that keeps
//! each new Job waiting, or a thousand executions at once, must not keep a result that is there from being written.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::runtime::reflector::ObjectRef;

use crate::api::Stored;

/// The passes that may start something, and who waits for one.
#[derive(Debug)]
pub struct Starts(Mutex<State>);

#[derive(Debug)]
struct State {
    free: usize,
    /// UID and name of who waits, by when they came: who tries again and again comes behind those that have not had their turn.
    waits: BTreeMap<u64, (String, ObjectRef<Stored>)>,
    /// When each of them came.
    came: HashMap<String, u64>,
    last: u64,
}

impl Starts {
    /// So many at once.
    pub fn new(most: usize) -> Self {
        Self(Mutex::new(State { free: most, waits: BTreeMap::new(), came: HashMap::new(), last: 0 }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for the execution with this UID, or remembers that it waits for one. Returns whether it has one.
    pub fn take(&self, uid: &str, who: ObjectRef<Stored>) -> bool {
        let mut state = self.state();
        if state.free == 0 {
            if !state.came.contains_key(uid) {
                state.last += 1;
                let number = state.last;
                state.waits.insert(number, (uid.to_owned(), who));
                state.came.insert(uid.to_owned(), number);
            }
            return false;
        }
        state.free -= 1;
        state.leave(uid);
        true
    }

    /// Gives a place back.
    pub fn give_back(&self) {
        self.state().free += 1;
    }

    /// Remembers no longer that this execution waits for a place. Returns whether it did.
    pub fn leave(&self, uid: &str) -> bool {
        self.state().leave(uid)
    }

    /// Returns those for whom there is a place, first come first, and forgets those before them that are not there any more. They
    /// are remembered until they take it or leave: none is passed over because a place was taken in between.
    pub fn next(&self, there: impl Fn(&str, &ObjectRef<Stored>) -> bool) -> Vec<ObjectRef<Stored>> {
        let mut state = self.state();
        let (free, mut next, mut gone) = (state.free, Vec::new(), Vec::new());
        for (uid, who) in state.waits.values() {
            if next.len() == free {
                break;
            }
            if there(uid, who) {
                next.push(who.clone());
            } else {
                gone.push(uid.clone());
            }
        }
        for uid in gone {
            state.leave(&uid);
        }
        next
    }
}

impl State {
    fn leave(&mut self, uid: &str) -> bool {
        self.came.remove(uid).is_some_and(|number| self.waits.remove(&number).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(name: &str) -> ObjectRef<Stored> {
        ObjectRef::new(name)
    }

    fn take(starts: &Starts, name: &str) -> bool {
        starts.take(name, who(name))
    }

    #[test]
    fn who_came_first_is_next_for_each_place() {
        let starts = Starts::new(2);
        assert!(take(&starts, "x") && take(&starts, "y"));
        for name in ["c", "a", "b", "c"] {
            assert!(!take(&starts, name), "three places of two");
        }
        assert!(starts.next(|_, _| true).is_empty(), "there is no place");
        starts.give_back();
        assert_eq!(starts.next(|_, _| true), [who("c")]);
        // It has not taken it yet.
        starts.give_back();
        assert_eq!(starts.next(|_, _| true), [who("c"), who("a")]);
        assert!(take(&starts, "c"));
        assert_eq!(starts.next(|_, _| true), [who("a")]);
    }

    /// However old it is: those that fail for ever would keep all others from their turn.
    #[test]
    fn who_tries_again_comes_behind_those_that_wait() {
        let starts = Starts::new(1);
        assert!(take(&starts, "a") && !take(&starts, "b"));
        assert!(!take(&starts, "a"), "its next pass, while its last one is not over");
        starts.give_back();
        assert_eq!(starts.next(|_, _| true), [who("b")]);
    }

    #[test]
    fn who_is_gone_or_has_left_holds_nobody_up() {
        let starts = Starts::new(1);
        assert!(take(&starts, "x"));
        for name in ["a", "b", "c", "d"] {
            assert!(!take(&starts, name));
        }
        assert!(starts.leave("a") && !starts.leave("a") && !starts.leave("z"));
        starts.give_back();
        assert_eq!(starts.next(|uid, _| uid != "b"), [who("c")]);
        assert!(!starts.leave("b"), "who is gone is remembered");
    }
}
