//! What all passes of this controller share. Nothing in it decides alone: it is lost with the process, and found again in
//! the cluster.

mod turns;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::channel::mpsc::UnboundedSender;
use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;

use crate::api::{KubernetesExecution, Phase, Stored};
use crate::audit::Lane;
use crate::audit::spool::Spool;
use crate::lease::Gate;
use crate::metrics::Metrics;
use crate::observe::{trim, version};
use crate::queue::{Entry, Place, Queue};
use crate::requests::Requests;
use crate::settings::Settings;

/// What the flags say about time and number.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// The most executions that run at once.
    pub max_active: usize,
    /// Delay before the first retry.
    pub backoff: Duration,
    /// Time within which a container must have started.
    pub start_deadline: Option<Duration>,
    /// Time after the timeout at which the Job is deleted.
    pub stop_after: Duration,
}

/// What all passes share.
pub struct Shared {
    /// Sends requests.
    pub requests: Requests,
    /// Says whether a write may be sent.
    pub gate: Gate,
    /// What Jobs look like.
    pub settings: Settings,
    /// Time and number.
    pub timing: Timing,
    /// Figures.
    pub metrics: Metrics,
    /// Name of this controller.
    pub identity: String,
    /// Delivers audit events.
    pub audit: Arc<Lane>,
    /// Keeps those that nobody can wait for.
    pub spool: Spool,
    /// What is lost with the process.
    pub remembered: Remembered,
}

/// What is lost with the process, and found again in the cluster.
#[derive(Default)]
pub struct Remembered(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    queue: Queue,
    claims: HashSet<String>,
    answers: HashMap<String, KubernetesExecution>,
    lost: HashMap<String, Timestamp>,
    /// Namespaces in which creations are not answered, and since when that was seen last.
    unanswered: HashMap<String, Timestamp>,
    failures: HashMap<String, u32>,
    /// Until when an execution whose last pass failed is left alone, and its generation then.
    rests: HashMap<String, (Timestamp, Option<i64>)>,
    /// UIDs of Jobs whose execution is settled, and since when: they end a moment after it.
    recorded: HashMap<String, Timestamp>,
    /// By namespace; none is all.
    triggers: Vec<(Option<String>, UnboundedSender<ObjectRef<Stored>>)>,
}

impl Shared {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.remembered.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a state of an execution into the queue.
    pub fn note(&self, execution: &KubernetesExecution) {
        let Some(uid) = execution.metadata.uid.clone() else { return };
        let mut memory = self.memory();
        // From now on its phase says that it has its place.
        if execution.status.as_ref().and_then(|status| status.phase) == Some(Phase::Executing) {
            memory.claims.remove(&uid);
        }
        let mut entry = Entry::of(execution, memory.claims.contains(&uid));
        if entry.place == Place::Out {
            memory.claims.remove(&uid);
            entry = Entry::of(execution, false);
        }
        // Who cannot even be looked at tries again by itself, and takes no place from others meanwhile.
        if entry.place == Place::Waits && memory.failures.contains_key(&uid) {
            entry.place = Place::Out;
        }
        memory.queue.put(entry);
    }

    /// Sets the figures about what is known.
    pub fn figures(&self) {
        let memory = self.memory();
        let count = |place| memory.queue.entries().filter(|one| one.place == place).count();
        self.metrics.queue(count(Place::Started), count(Place::Waits));
        let in_phase = |phase| memory.queue.entries().filter(|one| one.phase == phase).count();
        self.metrics.phases(&Phase::ALL.map(|phase| (phase.name(), in_phase(phase))));
    }

    /// Keeps an answer of the API server until the watch has caught up with it, if it is news beside what was known.
    pub fn answered(&self, execution: &KubernetesExecution, known: &KubernetesExecution) {
        self.note(execution);
        let news = version(execution) > version(known);
        if let Some(uid) = execution.metadata.uid.clone().filter(|_| news) {
            let mut answer = execution.clone();
            trim(&mut answer);
            self.memory().answers.insert(uid, answer);
        }
    }

    /// Returns the newer one of what the watch and what the API server's answers say.
    pub fn newest(&self, cached: &KubernetesExecution) -> KubernetesExecution {
        let Some(uid) = cached.metadata.uid.as_deref() else { return cached.clone() };
        let mut memory = self.memory();
        match memory.answers.get(uid) {
            Some(answer) if version(answer) > version(cached) => answer.clone(),
            _ => {
                memory.answers.remove(uid);
                cached.clone()
            }
        }
    }

    /// Remembers that the creation of a Job was not answered: it may arrive until the write's own limit is over.
    pub fn lost(&self, uid: &str) {
        let until = Timestamp::now() + self.requests.horizon();
        self.memory().lost.insert(uid.to_owned(), until);
    }

    /// Returns until when a Job may still arrive.
    pub fn lost_until(&self, uid: &str) -> Option<Timestamp> {
        self.memory().lost.get(uid).copied()
    }

    /// Forgets that: the Job is there, or was looked for after that time.
    pub fn found(&self, uid: &str) {
        self.memory().lost.remove(uid);
    }

    /// Remembers that a Job is recorded: its execution is being settled.
    pub fn recorded(&self, job_uid: &str) {
        self.memory().recorded.insert(job_uid.to_owned(), Timestamp::now());
    }

    /// Returns whether a Job is known to be recorded: what it does from now on is of no interest.
    pub fn is_recorded(&self, job_uid: &str) -> bool {
        self.memory().recorded.contains_key(job_uid)
    }

    /// Counts a failed pass, and returns how many have failed in a row. Until one succeeds, it has a time of its own at which it
    /// tries again, and no place among those that wait.
    pub fn failed(&self, uid: &str) -> u32 {
        let mut memory = self.memory();
        let count = memory.failures.entry(uid.to_owned()).or_default();
        *count += 1;
        let count = *count;
        if let Some(entry) = memory.queue.get(uid).filter(|entry| entry.place == Place::Waits).cloned() {
            memory.queue.put(Entry { place: Place::Out, ..entry });
        }
        count
    }

    /// Returns whether the last pass failed.
    pub fn fails(&self, uid: &str) -> bool {
        self.memory().failures.contains_key(uid)
    }

    /// Resets that count.
    pub fn passed(&self, uid: &str, execution: &KubernetesExecution) {
        let mut memory = self.memory();
        memory.rests.remove(uid);
        let failed = memory.failures.remove(uid).is_some();
        drop(memory);
        if failed {
            self.note(execution);
        }
    }

    /// Leaves an execution alone for so long, as long as it stays as it is.
    pub fn rest(&self, uid: &str, generation: Option<i64>, delay: Duration) {
        let until = Timestamp::now().checked_add(delay).unwrap_or(Timestamp::MAX);
        self.memory().rests.insert(uid.to_owned(), (until, generation));
    }

    /// Returns for how long it is to be left alone.
    pub fn rests(&self, execution: &KubernetesExecution) -> Option<Duration> {
        let (until, generation) = *self.memory().rests.get(execution.metadata.uid.as_deref()?)?;
        let rest = Duration::try_from(until.duration_since(Timestamp::now())).ok().filter(|rest| !rest.is_zero());
        rest.filter(|_| generation == execution.metadata.generation)
    }

    /// Forgets an execution.
    pub fn forget(&self, uid: &str) {
        self.audit.forget(uid);
        let mut memory = self.memory();
        memory.queue.remove(uid);
        memory.claims.remove(uid);
        memory.answers.remove(uid);
        memory.lost.remove(uid);
        memory.rests.remove(uid);
        memory.failures.retain(|key, _| !key.starts_with(uid));
    }

    /// Forgets what is kept of executions that are not there any more, as far as they are in this namespace.
    pub fn prune(&self, namespace: Option<&str>, there: &HashSet<String>) {
        /// Jobs end within this, also where the Job controller has much to do.
        const LONGEST: jiff::SignedDuration = jiff::SignedDuration::from_mins(10);
        let now = Timestamp::now();
        self.memory().recorded.retain(|_, since| now.duration_since(*since) < LONGEST);
        let ours = |entry: &Entry| namespace.is_none_or(|own| entry.name.split('/').next() == Some(own));
        let gone: Vec<String> = {
            let memory = self.memory();
            let gone = memory.queue.entries().filter(|entry| ours(entry) && !there.contains(&entry.uid));
            gone.map(|entry| entry.uid.clone()).collect()
        };
        for uid in &gone {
            self.forget(uid);
        }
    }
}
