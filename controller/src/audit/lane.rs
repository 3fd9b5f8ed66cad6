//! The lane on which events travel: a few at a time, and only one as long as the store is not well. An event is in memory
//! only while it is sent; an execution whose event waits is asked for it again when its turn has come.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;

use super::event::{Envelope, Origin};
use super::{Answer, Delivery, Destination, Known, State, Store, delivery};
use crate::api::KubernetesExecution;
use crate::metrics::Metrics;

/// The most events that are sent at once.
const SLOTS: usize = 8;
/// Failures in a row after which the store counts as not well: one event at a time tries it from then on.
const BREAKS: u32 = 3;
/// Delay after the first failure; doubled each time.
const FIRST: Duration = Duration::from_secs(1);
/// Delay after the store has refused an event for its content.
const AFTER_REFUSAL: Duration = Duration::from_secs(10);
/// Delay after an event could not be put into the spool.
const AFTER_NO_SPOOL: Duration = Duration::from_secs(30);
/// The longest delay: a store that is back is found within this.
const LONGEST: Duration = Duration::from_mins(1);

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
    sending: usize,
    /// Failures of the store in a row.
    failures: u32,
    closed_until: Option<Timestamp>,
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
    pub fn admits(&self, uid: &str, attempt: i32, wake: &Waker) -> bool {
        if self.store().is_none() {
            return true;
        }
        let now = Timestamp::now();
        let mut inner = self.inner();
        // As long as the store is not well only one at a time tries it, each in its turn: an event that never goes through
        // must not take every turn.
        let in_turn = inner.failures < BREAKS || inner.queue.is_empty();
        let free = inner.free(now) > 0;
        let known = inner.events.entry(uid.to_owned()).or_default().entry(attempt).or_insert(Known::new(now));
        let admitted = free && (in_turn || known.state == State::Ready);
        known.state = if admitted { State::Sending } else { State::Waiting };
        if admitted {
            inner.sending += 1;
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
        inner.sending = inner.sending.saturating_sub(1);
        if let Some(known) = inner.events.get_mut(uid).and_then(|all| all.get_mut(&attempt)) {
            known.state = State::Failing(later(Timestamp::now(), FIRST));
        }
    }

    /// Sends an event that was admitted. `wake` asks for another pass when something came of it.
    pub fn send(self: &Arc<Self>, uid: &str, attempt: i32, envelope: Envelope, wake: Waker) {
        if self.store().is_none() {
            tracing::info!(id = envelope.id, event = envelope.body, "audit");
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
        inner.sending = inner.sending.saturating_sub(1);
        let failed = if let Answer::Later(_, asked) = &answer { Some(asked.unwrap_or_default()) } else { None };
        let again = inner.after_answer(failed, now);
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
                known.state = State::Failing(again);
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

    /// Returns the store's words, if it has refused this event for its content.
    pub fn refusal(&self, uid: &str, attempt: i32) -> Option<String> {
        let inner = self.inner();
        inner.events.get(uid)?.get(&attempt)?.refused.as_ref().map(|(_, why)| why.clone())
    }

    /// Forgets an execution.
    pub fn forget(&self, uid: &str) {
        self.inner().events.remove(uid);
    }

    /// Lets those go on for whom there is a slot.
    fn wake_next(&self) {
        let woken: Vec<Waker> = {
            let mut inner = self.inner();
            let free = inner.free(Timestamp::now());
            let mut woken = Vec::new();
            while woken.len() < free
                && let Some((uid, attempt, wake)) = inner.queue.pop_front()
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
                    (count + 1, Some(oldest.map_or(known.since, |oldest: Timestamp| oldest.min(known.since))))
                })
            };
            let age = oldest.and_then(|since| Duration::try_from(Timestamp::now().duration_since(since)).ok());
            self.metrics.backlog(backlog, age.unwrap_or_default());
            tokio::time::sleep(FIRST).await;
        }
    }
}

impl Inner {
    /// Takes how the store does: `failed` is how long it asks to be left alone. Returns when a failed event is sent again.
    fn after_answer(&mut self, failed: Option<Duration>, now: Timestamp) -> Timestamp {
        let Some(asked) = failed else {
            (self.failures, self.closed_until) = (0, None);
            return now;
        };
        let again = later(now, backoff(self.failures).max(asked).min(LONGEST));
        self.failures = self.failures.saturating_add(1);
        self.closed_until = (self.failures >= BREAKS).then_some(again);
        again
    }

    /// How many events may be sent beside those that are on their way.
    fn free(&self, now: Timestamp) -> usize {
        if self.closed_until.is_some_and(|until| now < until) {
            return 0;
        }
        let slots = if self.failures >= BREAKS { 1 } else { SLOTS };
        slots.saturating_sub(self.sending)
    }
}

fn backoff(failures: u32) -> Duration {
    FIRST.saturating_mul(1 << failures.min(16)).min(LONGEST)
}

fn later(time: Timestamp, duration: Duration) -> Timestamp {
    SignedDuration::try_from(duration).ok().and_then(|one| time.checked_add(one).ok()).unwrap_or(Timestamp::MAX)
}
