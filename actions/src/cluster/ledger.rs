//! Records what the runner sent and the outcome: the only source of `effect`, `changes` and `requests`.
//!
//! The code that talks to the API server (`cluster`) writes here, before and after each request. So the record is true
//! even if the action is cut off in the middle by its deadline, by SIGTERM or by a panic.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contract::result::{Change, Effect, Requests};

#[derive(Debug, Default)]
struct Pages {
    requests: Requests,
    in_flight: u32,
    unknown: bool,
    applied: Vec<Change>,
    would_change: Vec<Change>,
    warnings: Vec<String>,
}

/// The most warnings of the API server that are kept, because a result is at most 8 KiB.
const WARNINGS: usize = 10;

/// The most characters of one warning: as many as the API server sends of all of them in one answer. They are shortened only
/// once what is to be hidden in them has been found.
const WARNING_LENGTH: usize = 4096;

/// The ledger itself; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<Mutex<Pages>>);

impl Ledger {
    /// Returns an empty ledger for requests that carry this user agent.
    pub fn new(user_agent: &str) -> Self {
        let ledger = Self::default();
        user_agent.clone_into(&mut ledger.pages().requests.user_agent);
        ledger
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        // A panic while the lock was held leaves whole, true values behind (each method makes one assignment).
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a request is about to be sent.
    pub fn request(&self, retry: bool) {
        let mut pages = self.pages();
        pages.requests.total += 1;
        pages.requests.unanswered += 1;
        pages.requests.retries += u32::from(retry);
    }

    /// Records that the request was answered.
    pub fn answered(&self) {
        self.pages().requests.unanswered -= 1;
    }

    /// Records that a write is about to be sent. Until its outcome is known, the effect is unknown.
    pub fn write_begins(&self) {
        self.pages().in_flight += 1;
    }

    /// Records that the write was applied.
    pub fn write_applied(&self, change: Change) {
        let mut pages = self.pages();
        pages.in_flight -= 1;
        pages.applied.push(change);
    }

    /// Records that the write was not applied: refused, or found missing after the time when it could still be applied.
    pub fn write_not_applied(&self) {
        self.pages().in_flight -= 1;
    }

    /// Records that nobody can tell any more whether the write was applied.
    pub fn write_unknown(&self) {
        let mut pages = self.pages();
        pages.in_flight -= 1;
        pages.unknown = true;
    }

    /// Forgets the changes of an earlier dry run, because the decision is made again.
    pub fn dry_run_begins(&self) {
        self.pages().would_change.clear();
    }

    /// Records one change that the write would make.
    pub fn would_change(&self, change: Change) {
        self.pages().would_change.push(change);
    }

    /// Keeps a warning of the API server: each once, and not too many. It may quote what is to be hidden, so the log does not
    /// have it.
    pub fn warn(&self, text: &str) {
        let text: String = text.chars().take(WARNING_LENGTH).collect();
        let mut pages = self.pages();
        if pages.warnings.len() < WARNINGS && !pages.warnings.contains(&text) {
            pages.warnings.push(text);
            // A log that nobody reads must not hold the ledger.
            drop(pages);
            tracing::warn!("the API server warns; the result says of what");
        }
    }

    /// Returns the warnings of the API server, as they came: nobody has hidden anything in them yet.
    pub fn warnings(&self) -> Vec<String> {
        self.pages().warnings.clone()
    }

    /// Returns the effect, as far as known now. Unknown outranks applied, so that a doubt is never hidden.
    pub fn effect(&self) -> Effect {
        let pages = self.pages();
        if pages.in_flight > 0 || pages.unknown {
            Effect::Unknown
        } else if pages.applied.is_empty() {
            Effect::None
        } else {
            Effect::Applied
        }
    }

    /// Returns the changes that were made.
    pub fn changes(&self) -> Vec<Change> {
        self.pages().applied.clone()
    }

    /// Returns the changes that the last dry run would make.
    pub fn would_changes(&self) -> Vec<Change> {
        self.pages().would_change.clone()
    }

    /// Returns the numbers of requests sent.
    pub fn requests(&self) -> Requests {
        self.pages().requests.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::Kind;
    use contract::result::Operation;

    fn change() -> Change {
        let node = crate::k8s::ObjectRef {
            resource: Kind::Node.resource(),
            namespace: None,
            name: "n1".parse().unwrap(),
            uid: None,
        };
        Change { object: node.to_reference(), operation: Operation::Patch, patch: None }
    }

    #[test]
    fn a_write_in_flight_is_unknown_until_it_is_settled() {
        let ledger = Ledger::default();
        assert_eq!(ledger.effect(), Effect::None);
        ledger.write_begins();
        assert_eq!(ledger.effect(), Effect::Unknown);
        ledger.write_not_applied();
        assert_eq!(ledger.effect(), Effect::None);
        ledger.write_begins();
        ledger.write_applied(change());
        assert_eq!(ledger.effect(), Effect::Applied);
    }

    #[test]
    fn counts_what_was_sent_sent_again_and_not_answered() {
        let ledger = Ledger::new("agent");
        for retry in [false, true, false] {
            ledger.request(retry);
        }
        ledger.answered();
        let expected = Requests { total: 3, retries: 1, unanswered: 2, user_agent: "agent".to_owned() };
        assert_eq!(ledger.requests(), expected);
    }

    #[test]
    fn what_nobody_can_tell_stays_unknown_when_it_is_over() {
        let ledger = Ledger::default();
        ledger.write_begins();
        ledger.write_unknown();
        assert_eq!((ledger.effect(), ledger.pages().in_flight), (Effect::Unknown, 0));
    }

    #[test]
    fn a_later_dry_run_replaces_an_earlier_one() {
        let ledger = Ledger::default();
        for _ in 0..2 {
            ledger.dry_run_begins();
            ledger.would_change(change());
        }
        assert_eq!((ledger.would_changes(), ledger.changes()), (vec![change()], vec![]));
        ledger.write_begins();
        ledger.write_applied(change());
        assert_eq!(ledger.changes(), [change()]);
    }

    #[test]
    fn warnings_are_kept_once_short_and_few() {
        let ledger = Ledger::default();
        for text in ["a is deprecated", "a is deprecated", "another one"] {
            ledger.warn(text);
        }
        assert_eq!(ledger.warnings(), ["a is deprecated", "another one"]);
        for number in 0..20 {
            ledger.warn(&format!("{number}{}", "é".repeat(5000)));
        }
        assert_eq!(ledger.warnings().len(), 10);
        assert_eq!(ledger.warnings()[9].chars().count(), 4096);
    }

    #[test]
    fn unknown_outranks_applied() {
        let ledger = Ledger::default();
        ledger.write_begins();
        ledger.write_applied(change());
        ledger.write_begins();
        ledger.write_unknown();
        assert_eq!(ledger.effect(), Effect::Unknown);
    }
}
