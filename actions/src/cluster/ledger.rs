//! What the runner sent and what became of it: the only source of `effect`, `changes` and `requests`.
//!
//! The door to the API server (`cluster`) writes here, before and after each request. So the truth stands also when the
//! action is cut off in the middle: by its deadline, by SIGTERM, by a panic.

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

/// The most warnings of the API server that are kept; a result is at most 8 KiB.
const WARNINGS: usize = 10;

/// The most characters of one of them; the API server itself cuts them at 256 bytes or so when there are many.
const WARNING_LENGTH: usize = 300;

/// The book itself; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<Mutex<Pages>>);

impl Ledger {
    /// A book for requests that carry this user agent.
    pub fn new(user_agent: &str) -> Self {
        let ledger = Self::default();
        user_agent.clone_into(&mut ledger.pages().requests.user_agent);
        ledger
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        // A panic while the lock was held leaves whole values behind (each method makes one assignment): still the truth.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request is about to be sent.
    pub fn request(&self, retry: bool) {
        let mut pages = self.pages();
        pages.requests.total += 1;
        pages.requests.unanswered += 1;
        pages.requests.retries += u32::from(retry);
    }

    /// The request was answered.
    pub fn answered(&self) {
        self.pages().requests.unanswered -= 1;
    }

    /// A write is about to be sent: until it is settled, the effect is unknown.
    pub fn write_begins(&self) {
        self.pages().in_flight += 1;
    }

    /// The write was applied.
    pub fn write_applied(&self, change: Change) {
        let mut pages = self.pages();
        pages.in_flight -= 1;
        pages.applied.push(change);
    }

    /// The write was not applied: refused, or looked up after its time was over.
    pub fn write_not_applied(&self) {
        self.pages().in_flight -= 1;
    }

    /// Nobody can tell any more.
    pub fn write_unknown(&self) {
        let mut pages = self.pages();
        pages.in_flight -= 1;
        pages.unknown = true;
    }

    /// A dry run told what the write would change. A later dry run replaces an earlier one: it was decided again.
    pub fn dry_run_begins(&self) {
        self.pages().would_change.clear();
    }

    /// One change that the write would make.
    pub fn would_change(&self, change: Change) {
        self.pages().would_change.push(change);
    }

    /// The API server wants a person to know this. Each once, and not too many; it comes from outside, so nothing in it may
    /// break a line or colour a terminal.
    pub fn warn(&self, text: &str) {
        let plain = text.chars().flat_map(|character| {
            let escaped = character.is_control().then(|| character.escape_default());
            escaped.into_iter().flatten().chain((!character.is_control()).then_some(character))
        });
        let text: String = plain.take(WARNING_LENGTH).collect();
        let mut pages = self.pages();
        if pages.warnings.len() < WARNINGS && !pages.warnings.contains(&text) {
            tracing::warn!(text, "the API server warns");
            pages.warnings.push(text);
        }
    }

    /// What the API server warned of.
    pub fn warnings(&self) -> Vec<String> {
        self.pages().warnings.clone()
    }

    /// The effect, as far as it is known now. Unknown outranks applied: what is not known must not hide behind what is.
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

    /// What was changed.
    pub fn changes(&self) -> Vec<Change> {
        self.pages().applied.clone()
    }

    /// What the last dry run said it would change.
    pub fn would_changes(&self) -> Vec<Change> {
        self.pages().would_change.clone()
    }

    /// What was sent.
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
    fn warnings_are_kept_once_short_few_and_plain() {
        let ledger = Ledger::default();
        for text in ["a is deprecated", "a is deprecated", "red: \u{1b}[31m\nnew line é"] {
            ledger.warn(text);
        }
        assert_eq!(ledger.warnings(), ["a is deprecated", "red: \\u{1b}[31m\\nnew line é"]);
        for number in 0..20 {
            ledger.warn(&format!("{number}{}", "é".repeat(400)));
        }
        assert_eq!(ledger.warnings().len(), 10);
        assert_eq!(ledger.warnings()[9].chars().count(), 300);
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
