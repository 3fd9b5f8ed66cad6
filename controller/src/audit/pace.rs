//! How fast events are sent: several at once while the store is well, one at a time and ever more seldom while it is not.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The most events that are sent at once.
const SLOTS: usize = 8;
/// Failures in a row after which the store counts as not well: one event at a time tries it from then on.
const BREAKS: u32 = 3;
/// Delay after the first failure; doubled each time.
pub const FIRST: Duration = Duration::from_secs(1);
/// The longest delay: a store that is back is found within this.
const LONGEST: Duration = Duration::from_mins(1);
/// The longest delay of an event that fails while others are taken.
const LONGEST_OF_ONE: Duration = Duration::from_mins(5);

/// How the store does, and how much is on its way to it.
#[derive(Debug, Default)]
pub struct Pace {
    sending: usize,
    /// Failures of the store in a row.
    failures: u32,
    closed_until: Option<Timestamp>,
}

impl Pace {
    /// Takes that an event is on its way.
    pub const fn sent(&mut self) {
        self.sending += 1;
    }

    /// Takes that it is not any more.
    pub const fn ended(&mut self) {
        self.sending = self.sending.saturating_sub(1);
    }

    /// Returns whether the store took what it was sent last.
    pub const fn is_well(&self) -> bool {
        self.failures == 0
    }

    /// Returns whether one event at a time tries the store.
    pub const fn is_broken(&self) -> bool {
        self.failures >= BREAKS
    }

    /// Takes how the store does: `failed` is how long it asks to be left alone. Returns when a failed event is sent again.
    pub fn after_answer(&mut self, failed: Option<Duration>, now: Timestamp) -> Timestamp {
        let Some(asked) = failed else {
            (self.failures, self.closed_until) = (0, None);
            return now;
        };
        let again = later(now, backoff(self.failures, LONGEST).max(asked).min(LONGEST));
        self.failures = self.failures.saturating_add(1);
        self.closed_until = self.is_broken().then_some(again);
        again
    }

    /// How many events may be sent beside those that are on their way.
    pub fn free(&self, now: Timestamp) -> usize {
        if self.closed_until.is_some_and(|until| now < until) {
            return 0;
        }
        let slots = if self.is_broken() { 1 } else { SLOTS };
        slots.saturating_sub(self.sending)
    }
}

/// Returns the delay of an event that has failed so often while others were taken.
pub fn of_one(failures: u32) -> Duration {
    backoff(failures.saturating_sub(1), LONGEST_OF_ONE)
}

fn backoff(failures: u32, longest: Duration) -> Duration {
    FIRST.saturating_mul(1 << failures.min(16)).min(longest)
}

/// A time, some time after another one.
pub fn later(time: Timestamp, duration: Duration) -> Timestamp {
    SignedDuration::try_from(duration).ok().and_then(|one| time.checked_add(one).ok()).unwrap_or(Timestamp::MAX)
}
