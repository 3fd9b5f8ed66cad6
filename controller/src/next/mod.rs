//! The heart: what is to be done next about an execution, as a pure function of what is known of it. It asks nobody, has
//! no clock, and names at most one request; the answer to that request is a part of what it is given the next time.
//!
//! Three rules carry the rest. A Job is created only in a pass in which the API server itself has answered about this
//! execution. A Job is deleted by us only when what became of it is recorded, or to stop it. A final phase is never left.

mod about;
mod attempt;
mod begin;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

pub use about::recorded;
use about::{awaits_approval, deleted, ending, held};

use crate::api::{KubernetesExecution, Phase, Reason};
use crate::audit::Delivery;
use crate::job::Start;
use crate::observe::slim::{SlimJob, SlimPod};
use crate::observe::{Life, Seen as SeenObject};
use crate::plan::{self, Plan};
use crate::queue::Turn;
use crate::status::{self, Status};

/// Who said what is known of the execution in this pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The watch's cache: it may be late, and has no parameters.
    Cache,
    /// The API server, in this pass.
    Server,
}

/// The Job of the present attempt.
#[derive(Debug, Clone, Copy)]
pub enum TheJob<'a> {
    /// None is known.
    Absent,
    /// It is ours: by its name, and by the UID of the execution that owns it.
    Ours(&'a SeenObject<SlimJob>),
    /// Something else has its name. The sentence says whose it is.
    Foreign(&'a str),
    /// A Job of an earlier execution by the same name has it. Its owner is gone, so that it is on its way out.
    Leaving,
}

/// What the settings say.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The timeout in effect.
    pub timeout: Duration,
    /// Delay before the first retry.
    pub backoff: Duration,
    /// Time within which a container must have started.
    pub start_deadline: Option<Duration>,
    /// Time after the timeout at which the Job is deleted.
    pub stop_after: Duration,
    /// Time after which a Job that was sent does not arrive any more: the server-side limit of the write, and some.
    pub arrives_within: Duration,
}

/// All that is known about one execution.
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that is known")]
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// The execution.
    pub execution: &'a KubernetesExecution,
    /// Who said so.
    pub source: Source,
    /// True when Job and pods were asked for in this pass.
    pub looked: bool,
    /// The Job of the present attempt.
    pub job: TheJob<'a>,
    /// Its pods, in the order of their creation.
    pub pods: &'a [SeenObject<SlimPod>],
    /// The Job of the attempt before, if it is still there.
    pub job_before: Option<&'a SlimJob>,
    /// True when the executor has ended badly in a pod of that Job, and another container of the pod goes on: somebody has added it.
    /// The Job has not ended, and could make another pod.
    pub lingers: bool,
    /// The end of the newest pod's log, if it was asked for in this pass.
    pub log: Option<&'a str>,
    /// True when the intent to start was written in this pass: nobody else can have sent the Job.
    pub intended: bool,
    /// Time until which a Job whose creation was never answered may still arrive.
    pub lost_until: Option<Timestamp>,
    /// True when the pass before this one failed.
    pub fails: bool,
    /// Whose turn it is.
    pub turn: &'a Turn,
    /// What is to be done about its audit events.
    pub audit: Delivery,
    /// Result of the check without a pod; known only when the API server has answered, as the cache has no parameters.
    pub plan: Option<&'a Plan>,
    /// Whether a second pod cannot apply the action twice.
    pub repeatable: bool,
    /// Whether the image is the release's.
    pub release: bool,
    /// What the settings say.
    pub limits: Limits,
    /// The time.
    pub now: Timestamp,
}

/// One thing to do. At most one request.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing, until something changes or this time has come.
    Wait(Option<Timestamp>),
    /// Set our finalizer: the execution then goes only when what became of it is recorded.
    Hold,
    /// Ask the API server for the execution.
    Read,
    /// Ask it for the execution, its Job and its pods.
    Look,
    /// Create the Job of an attempt.
    Start(Start),
    /// Write what is so now.
    Show(Box<Status>),
    /// Write the end of an attempt, or the final phase.
    Record(Box<Status>),
    /// Read the end of this pod's log.
    ReadLog(String),
    /// Delete the present Job, to stop it.
    Stop {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
    /// Delete the Job of a recorded attempt that is tried again.
    Clean {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
    /// Drop our finalizer.
    Release,
    /// Write that all is done: the execution is not watched any more.
    Settle,
    /// Hand the audit event of this attempt to the lane.
    Deliver(i32),
    /// Put the audit event of this attempt into the spool.
    Spool(i32),
}

/// Returns what is to be done next. Audit events hold up nothing but the end: the finalizer stays until all are kept.
pub fn next(seen: &Observed<'_>) -> Step {
    let step = decide(seen);
    let until = match step {
        // Somebody may have taken the finalizer away: that says nothing about the events.
        Step::Release | Step::Settle => None,
        Step::Wait(until) if held(seen.execution) => until,
        _ => return step,
    };
    match seen.audit {
        Delivery::Done => step,
        Delivery::Offer(attempt) => Step::Deliver(attempt),
        Delivery::Spool(attempt) => Step::Spool(attempt),
        Delivery::Outstanding(again) => Step::Wait([until, again].into_iter().flatten().min()),
    }
}

fn decide(seen: &Observed<'_>) -> Step {
    let execution = seen.execution;
    let status = execution.status.as_ref();
    let phase = status.and_then(|status| status.phase);
    match phase {
        // A newer controller wrote it, and goes on with it.
        Some(Phase::Unrecognized) => Step::Wait(None),
        Some(phase) if phase.is_final() => finish(seen),
        _ if !held(execution) && deleted(execution) => Step::Wait(None),
        // One that cannot be held was never started: cancelled, or past its time, it ends all the same.
        _ if !held(execution) && seen.fails && begin::is_over(seen) && matches!(seen.job, TheJob::Absent) => {
            begin::absent(seen)
        }
        _ if !held(execution) || plan::pins(execution) => Step::Hold,
        _ => match seen.job {
            // Whoever may create Jobs can name an execution as the owner of his.
            TheJob::Ours(_) if awaits_approval(execution) => {
                begin::foreign(seen, "that Job is none of this controller's, as nobody has approved this execution")
            }
            TheJob::Ours(job) => attempt::running(seen, job),
            TheJob::Foreign(whose) => begin::foreign(seen, whose),
            TheJob::Leaving => begin::leaving(seen),
            TheJob::Absent => begin::absent(seen),
        },
    }
}

fn finish(seen: &Observed<'_>) -> Step {
    let execution = seen.execution;
    // One that arrived after all was over. What is recorded ends by itself: its log is kept.
    if let TheJob::Ours(job) = seen.job
        && !recorded(execution, job.object.metadata.uid.as_deref())
        && job.life == Life::There
        && !job.object.ended()
        && job.object.metadata.deletion_timestamp.is_none()
    {
        return stop(&job.object);
    }
    // One try: a policy that denies it must not hold the audit event and the finalizer.
    if let Some(job) = seen.job_before.filter(|_| seen.lingers && !seen.fails) {
        return clean(job);
    }
    let settled = execution.status.as_ref().and_then(|status| status.settled) == Some(true);
    match (held(execution), settled, deleted(execution)) {
        (true, _, _) => Step::Release,
        (false, false, false) => Step::Settle,
        (false, true, _) | (false, _, true) => Step::Wait(None),
    }
}

fn clean(job: &SlimJob) -> Step {
    let metadata = &job.metadata;
    Step::Clean { name: metadata.name.clone().unwrap_or_default(), uid: metadata.uid.clone().unwrap_or_default() }
}

fn stop(job: &SlimJob) -> Step {
    let metadata = &job.metadata;
    Step::Stop { name: metadata.name.clone().unwrap_or_default(), uid: metadata.uid.clone().unwrap_or_default() }
}

impl Observed<'_> {
    fn status(&self) -> Status {
        status::of(self.execution)
    }

    /// The end of `timeout`: it counts from the creation of the first Job.
    fn deadline(&self) -> Option<Timestamp> {
        let start = self.execution.status.as_ref()?.start_time?;
        Some(after(start, self.limits.timeout))
    }

    fn pending(&self, reason: Reason, message: &str) -> Step {
        self.show(status::with_phase(self.status(), Phase::Pending, reason.name(), message, self.now))
    }

    /// Writes a status, unless it says nothing new.
    fn show(&self, wanted: Status) -> Step {
        let old = self.execution.status.as_ref();
        let news = |old: &Status| {
            (old.phase, &old.reason, &old.message, &old.job_uid, &old.job_name, &old.ended_pods)
                != (
                    wanted.phase,
                    &wanted.reason,
                    &wanted.message,
                    &wanted.job_uid,
                    &wanted.job_name,
                    &wanted.ended_pods,
                )
        };
        if old.is_none_or(news) { Step::Show(Box::new(wanted)) } else { Step::Wait(None) }
    }

    fn end(&self, phase: Phase, reason: &str, message: &str) -> Step {
        let mut status = self.status();
        // A release that did not keep it: this end is not that attempt's.
        if let Some(attempt) = status.attempts.last_mut() {
            attempt.phase.get_or_insert(Phase::Retrying);
        }
        Step::Record(Box::new(status::with_phase(status, phase, reason, message, self.now)))
    }
}

/// Returns what is said while an earlier execution's Job has the name.
pub fn leaving(job_name: &str) -> String {
    format!("job {job_name} of an earlier execution by this name is still being deleted")
}

/// A time, some time after another one.
fn after(time: Timestamp, duration: Duration) -> Timestamp {
    SignedDuration::try_from(duration)
        .ok()
        .and_then(|duration| time.checked_add(duration).ok())
        .unwrap_or(Timestamp::MAX)
}
