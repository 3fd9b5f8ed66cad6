//! The audit record: one event for each attempt that has ended, delivered to a storage service at least once.
//!
//! The execution's finalizer is the outbox. It goes only when every event was acknowledged, or kept in the spool: a
//! ConfigMap in the controller's namespace. Nothing of a delivery is needed to survive: after a restart the events are built
//! again from the status, under the same ids, and the receiver drops what it has. No phase waits for a delivery.

pub mod event;
pub mod hide;
mod lane;
mod pace;
pub mod spool;
mod store;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

pub use lane::{Lane, Waker, log};
pub use store::{Answer, Store};

use crate::api::KubernetesExecution;

/// Where events go.
#[derive(Debug)]
pub enum Destination {
    /// Into the log: `--audit=none`.
    Log,
    /// To a storage service.
    Store(Box<Store>),
}

/// What is known of the delivery of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It waits until others are through, or until the store is well again.
    Waiting,
    /// It may be sent now.
    Ready,
    /// It is on its way.
    Sending,
    /// It was sent, and not taken; it is sent again at this time.
    Failing(Timestamp),
    /// It is acknowledged, or in the spool.
    Kept,
}

/// An event that was seen first at this time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Since when it is to be delivered, for this controller.
    pub since: Timestamp,
    /// When its attempt ended: an earlier controller may have tried for long.
    pub ended: Timestamp,
    /// What became of it.
    pub state: State,
    /// Since when the store refuses it for its content, and in which words. It is sent again for a while, for a store that is
    /// being changed may be wrong.
    pub refused: Option<(Timestamp, String)>,
    /// Time before which it is not put into the spool again, after that has failed.
    pub not_spooled_before: Option<Timestamp>,
    /// How often it alone failed: the store had taken the one before it.
    pub failures: u32,
}

impl Known {
    /// One that is new.
    pub fn new(now: Timestamp) -> Self {
        Self { since: now, ended: now, state: State::Waiting, refused: None, not_spooled_before: None, failures: 0 }
    }
}

/// What is to be done next about the events of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Nothing: all are kept.
    Done,
    /// The event of this attempt is to be handed to the lane.
    Offer(i32),
    /// The event of this attempt is to be put into the spool.
    Spool(i32),
    /// Something is on its way. At this time it must be looked at again, whatever comes of it.
    Outstanding(Option<Timestamp>),
}

/// Returns the attempts whose events are due: those that have ended, and 0 for an end that no attempt brought.
pub fn due(execution: &KubernetesExecution) -> Vec<i32> {
    let Some(status) = &execution.status else { return Vec::new() };
    let mut all: Vec<i32> = status.attempts.iter().map(|attempt| attempt.attempt).collect();
    let ended_by = |phase| status.attempts.last().is_some_and(|last| last.phase.is_none_or(|own| own == phase));
    if status.phase.is_some_and(|phase| phase.is_final() && !ended_by(phase)) {
        all.push(0);
    }
    all
}

/// Returns what is to be done next, from what is known of the events: a pure function.
pub fn delivery(
    execution: &KubernetesExecution,
    known: Option<&BTreeMap<i32, Known>>,
    spool_has_room: bool,
    patience: Duration,
    now: Timestamp,
) -> Delivery {
    let deleted = execution.metadata.deletion_timestamp.as_ref().map(|time| time.0);
    let mut outstanding: Option<Option<Timestamp>> = None;
    for attempt in due(execution) {
        let Some(event) = known.and_then(|known| known.get(&attempt)) else { return Delivery::Offer(attempt) };
        // Who is deleted does not wait for a store that is away, nor does anybody for one that has refused the event for good.
        let refused = event.refused.as_ref().map(|(since, _)| after(*since, patience));
        let leaves = deleted.map(|deleted| after(deleted.max(event.since), patience));
        let spool_at = [refused, leaves].into_iter().flatten().min();
        let spool_at = spool_at.map(|at| event.not_spooled_before.map_or(at, |before| at.max(before)));
        let overdue = spool_has_room && spool_at.is_some_and(|at| now >= at);
        // Somebody may make room.
        let spool_at = spool_at.map(|at| if now >= at { after(now, FULL) } else { at });
        let again = match event.state {
            State::Kept => continue,
            // Its answer comes within seconds.
            State::Sending => {
                outstanding = Some(outstanding.flatten());
                continue;
            }
            _ if overdue => return Delivery::Spool(attempt),
            State::Ready => return Delivery::Offer(attempt),
            State::Waiting => None,
            State::Failing(again) if now >= again => return Delivery::Offer(attempt),
            State::Failing(again) => Some(again),
        };
        let look = [again, spool_at].into_iter().flatten().min();
        outstanding = Some([outstanding.flatten(), look].into_iter().flatten().min());
    }
    outstanding.map_or(Delivery::Done, Delivery::Outstanding)
}

/// Time between two looks at a spool that is full.
pub const FULL: Duration = Duration::from_mins(1);

fn after(time: Timestamp, duration: Duration) -> Timestamp {
    SignedDuration::try_from(duration).ok().and_then(|one| time.checked_add(one).ok()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
