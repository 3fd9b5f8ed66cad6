//! The lane on which events travel: a few at a time, and only one as long as the store is not well. An event is in memory
//! only while it is sent; an execution whose event waits is asked for it again when its turn has come.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use super::event::{Envelope, Origin};
use super::pace::{FIRST, Pace, later, of_one};
use super::{Answer, Delivery, Destination, Known, State, Store, delivery};
use crate::api::KubernetesExecution;
use crate::metrics::Metrics;

/// Delay after the store has refused an event for its content.
const AFTER_REFUSAL: Duration = Duration::from_secs(10);
/// Delay after an event could not be put into the spool.
const AFTER_NO_SPOOL: Duration = Duration::from_secs(30);
/// Asks for a pass over the execution whose event waits.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// The lane.
pub struct Lane {
    destination: Destination,
    /// What the operator says about events.
    pub origin: Origin,
    patience: Duration,
    largest_spool: usize,
    metrics: Metrics,
    /// Told when something came into the spool.
    filled: Notify,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    events: HashMap<String, BTreeMap<i32, Known>>,
    /// Who waits for a slot, oldest first.
    queue: VecDeque<(String, i32, Waker)>,
    /// True when the next one may be one that fails while others are taken: these come every other time, so that many of them do not
    /// hold up one that is well.
    turn_of_the_failing: bool,
    pace: Pace,
    spooled: usize,
}

impl Lane {
    /// An empty lane. `patience` is how long a store that is away, or that refuses an event, is waited for before the event
    /// goes into the spool, which holds at most `largest_spool`.
    pub fn new(
        destination: Destination,
        origin: Origin,
        patience: Duration,
        largest_spool: usize,
        metrics: Metrics,
    ) -> Self {
        metrics.spool_limit(largest_spool);
        Self { destination, origin, patience, largest_spool, metrics, filled: Notify::new(), inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store, if events go to one.
    pub fn store(&self) -> Option<&Store> {
        if let Destination::Store(store) = &self.destination { Some(store) } else { None }
    }

    /// Returns what is to be done next about the events of an execution.
    pub fn delivery(&self, execution: &KubernetesExecution, now: Timestamp) -> Delivery {
        let inner = self.inner();
        let known = inner.events.get(execution.metadata.uid.as_deref().unwrap_or_default());
        let room = self.store().is_some() && inner.spooled < self.largest_spool;
        delivery(execution, known, room, self.patience, now)
    }

    /// Returns whether an event may be sent now, and holds a place for it. Otherwise it waits, and `wake` asks for another
    /// pass when its turn has come: it need not be built before.
    pub fn admits(&self, uid: &str, attempt: i32, ended: Option<Timestamp>, wake: &Waker) -> bool {
        if self.store().is_none() {
            return true;
        }
        let now = Timestamp::now();
        let mut inner = self.inner();
        // As long as the store is not well only one at a time tries it, each in its turn: an event that never goes through
        // must not take every turn.
        let in_turn = !inner.pace.is_broken() || inner.queue.is_empty();
        let free = inner.pace.free(now) > 0;
        let known = inner.events.entry(uid.to_owned()).or_default().entry(attempt).or_insert(Known::new(now));
        known.ended = ended.unwrap_or(known.since);
        let admitted = free && (in_turn || known.state == State::Ready);
        known.state = if admitted { State::Sending } else { State::Waiting };
        if admitted {
            inner.pace.sent();
        } else {
            inner.queue.push_back((uid.to_owned(), attempt, wake.clone()));
        }
        admitted
    }

    /// Gives a place back: the event could not be built now.
    pub fn give_back(&self, uid: &str, attempt: i32) {
        if self.store().is_none() {
            return;
        }
        let mut inner = self.inner();
        inner.pace.ended();
        if let Some(known) = inner.events.get_mut(uid).and_then(|all| all.get_mut(&attempt)) {
            known.state = State::Failing(later(Timestamp::now(), FIRST));
        }
    }

    /// Sends an event that was admitted. `wake` asks for another pass when something came of it.
    pub fn send(self: &Arc<Self>, uid: &str, attempt: i32, envelope: Envelope, wake: Waker) {
        if self.store().is_none() {
            log(&envelope);
            self.set(uid, attempt, State::Kept, Timestamp::now());
            return;
        }
        let (lane, uid) = (self.clone(), uid.to_owned());
        tokio::spawn(async move {
            let began = std::time::Instant::now();
            let answer = match lane.store() {
                Some(store) => store.post(&envelope).await,
                None => Answer::Kept,
            };
            lane.metrics.delivered(answer.name(), began.elapsed());
            lane.answered(&uid, attempt, &envelope.id, answer);
            wake();
            lane.wake_next();
        });
    }

    fn answered(&self, uid: &str, attempt: i32, id: &str, answer: Answer) {
        let now = Timestamp::now();
        let mut inner = self.inner();
        inner.pace.ended();
        let failed = if let Answer::Later(_, asked) = &answer { Some(asked.unwrap_or_default()) } else { None };
        // The store is well: this one alone is not taken.
        let alone = inner.pace.is_well();
        let again = inner.pace.after_answer(failed, now);
        // Forgotten meanwhile: its execution is gone.
        let Some(known) = inner.events.get_mut(uid).and_then(|all| all.get_mut(&attempt)) else { return };
        match answer {
            Answer::Kept => known.state = State::Kept,
            Answer::Refused(why) => {
                tracing::warn!(id, why, "the store refused an audit event");
                let since = known.refused.as_ref().map_or(now, |(since, _)| *since);
                known.refused = Some((since, why));
                known.state = State::Failing(later(now, AFTER_REFUSAL));
            }
            Answer::Later(why, _) => {
                tracing::warn!(id, why, "an audit event could not be delivered");
                known.refused = None;
                known.failures = known.failures.saturating_add(u32::from(alone));
                known.state = State::Failing(again.max(later(now, of_one(known.failures))));
            }
        }
    }

    fn set(&self, uid: &str, attempt: i32, state: State, now: Timestamp) {
        let mut inner = self.inner();
        let known = inner.events.entry(uid.to_owned()).or_default().entry(attempt);
        known.or_insert_with(|| Known::new(now)).state = state;
    }

    /// Takes that an event is in the spool.
    pub fn spooled(&self, uid: &str, attempt: i32) {
        self.set(uid, attempt, State::Kept, Timestamp::now());
        self.inner().spooled += 1;
        self.filled.notify_one();
    }

    /// Takes that an event could not be put into the spool: why stands in the log, and it is tried again.
    pub fn not_spooled(&self, uid: &str, attempt: i32) {
        let mut inner = self.inner();
        if let Some(known) = inner.events.get_mut(uid).and_then(|all| all.get_mut(&attempt)) {
            known.not_spooled_before = Some(later(Timestamp::now(), AFTER_NO_SPOOL));
        }
    }

    /// How long a store that is away, or that refuses an event, is waited for.
    pub const fn patience(&self) -> Duration {
        self.patience
    }

    /// Waits until something comes into the spool.
    pub async fn spool_filled(&self) {
        self.filled.notified().await;
    }

    /// Takes how many events the spool holds.
    pub fn spool_holds(&self, waiting: usize, refused: usize) {
        self.inner().spooled = waiting + refused;
        self.metrics.spool(waiting, refused);
    }

    /// Returns whether the spool has room for another event.
    pub fn has_room(&self) -> bool {
        self.inner().spooled < self.largest_spool
    }

    /// Returns the store's words, if it has refused this event for its content for as long as it is waited for; what it has just
    /// begun to refuse, it may take in a moment.
    pub fn refusal(&self, uid: &str, attempt: i32) -> Option<String> {
        let (inner, now) = (self.inner(), Timestamp::now());
        let (since, why) = inner.events.get(uid)?.get(&attempt)?.refused.as_ref()?;
        (now >= later(*since, self.patience)).then(|| why.clone())
    }

    /// Forgets an execution.
    pub fn forget(&self, uid: &str) {
        self.inner().events.remove(uid);
    }

    /// Lets those go on for whom there is a slot.
    fn wake_next(&self) {
        let woken: Vec<Waker> = {
            let mut inner = self.inner();
            let free = inner.pace.free(Timestamp::now());
            let mut woken = Vec::new();
            while woken.len() < free
                && let Some((uid, attempt, wake)) = inner.next()
            {
                // Who is gone, or went into the spool, needs no slot.
                let known = inner.events.get_mut(&uid).and_then(|all| all.get_mut(&attempt));
                if let Some(known) = known.filter(|known| known.state == State::Waiting) {
                    known.state = State::Ready;
                    woken.push(wake);
                }
            }
            woken
        };
        for wake in woken {
            wake();
        }
    }

    /// Keeps the lane going, and its figures, until the program ends.
    pub async fn keep(&self) -> std::convert::Infallible {
        loop {
            self.wake_next();
            let (backlog, oldest) = {
                let inner = self.inner();
                let open = inner.events.values().flat_map(BTreeMap::values).filter(|known| known.state != State::Kept);
                open.fold((0, None), |(count, oldest), known| {
                    (count + 1, Some(oldest.map_or(known.ended, |oldest: Timestamp| oldest.min(known.ended))))
                })
            };
            let age = oldest.and_then(|since| Duration::try_from(Timestamp::now().duration_since(since)).ok());
            self.metrics.backlog(backlog, age.unwrap_or_default());
            tokio::time::sleep(FIRST).await;
        }
    }
}

impl Inner {
    /// Takes the next one from the queue.
    fn next(&mut self) -> Option<(String, i32, Waker)> {
        let well = |(uid, attempt, _): &(String, i32, Waker)| {
            self.events.get(uid).and_then(|all| all.get(attempt)).is_none_or(|known| known.failures == 0)
        };
        let first = if self.turn_of_the_failing { None } else { self.queue.iter().position(well) };
        self.turn_of_the_failing = !self.turn_of_the_failing;
        self.queue.remove(first.unwrap_or(0))
    }
}

/// Writes an event as a line of the log: this module's lines are there at any level, where the log is the only record.
pub fn log(envelope: &Envelope) {
    tracing::info!(id = envelope.id, event = envelope.body, "audit");
}
