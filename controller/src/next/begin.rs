//! While no Job of the present attempt is known: wait, refuse, or start it.

use std::time::Duration;

use jiff::Timestamp;

use super::attempt::{describe, record_attempt};
use super::{Observed, Source, Step, after, awaits_approval, clean, ending};
use crate::api::{Attempt, KubernetesExecutionStatus, Phase, Reason};
use crate::job::Start;
use crate::outcome::Ended;
use crate::plan::Plan;
use crate::queue::Turn;
use crate::status;

/// No Job of the present attempt is known.
pub(super) fn absent(seen: &Observed<'_>) -> Step {
    let status = seen.execution.status.clone().unwrap_or_default();
    if let Some(until) = seen.lost_until.filter(|until| seen.now < *until) {
        return Step::Wait(Some(until));
    }
    // Before anything is concluded from there being no Job, the API server is asked.
    let concludes = seen.lost_until.is_some() || ending(seen.execution).is_some();
    if concludes && !seen.looked {
        return Step::Look;
    }
    match status.phase {
        Some(Phase::Executing) => vanished(seen, &status),
        Some(Phase::Retrying) => again(seen, &status),
        _ => first(seen),
    }
}

/// Returns when it must have been started.
fn start_by(seen: &Observed<'_>) -> Timestamp {
    let created = seen.execution.metadata.creation_timestamp.as_ref().map_or(seen.now, |time| time.0);
    after(
        created,
        Duration::from_secs(u64::try_from(seen.execution.spec.starting_deadline_seconds).unwrap_or_default()),
    )
}

/// Returns whether it is to end without a further start.
pub(super) fn is_over(seen: &Observed<'_>) -> bool {
    let status = seen.execution.status.as_ref();
    let limit = match status.and_then(|status| status.phase) {
        None | Some(Phase::Pending) => Some(start_by(seen)),
        _ => seen.deadline(),
    };
    ending(seen.execution).is_some() || limit.is_some_and(|limit| seen.now >= limit)
}

/// A Job of an earlier execution by the same name is on its way out: it is waited for, but for nothing that this one must end for.
pub(super) fn leaving(seen: &Observed<'_>) -> Step {
    let status = seen.execution.status.as_ref();
    let phase = status.and_then(|status| status.phase);
    let ran = phase == Some(Phase::Executing) && status.is_some_and(|status| status.job_uid.is_some());
    if ran || is_over(seen) {
        return absent(seen);
    }
    // Its deletion asks for a pass by itself; for whoever misses that, a tenth of the time that was waited already.
    let created = seen.execution.metadata.creation_timestamp.as_ref().map_or(seen.now, |time| time.0);
    let waited = Duration::try_from(seen.now.duration_since(created)).unwrap_or_default();
    let soon = (waited / 10).clamp(Duration::from_secs(1), Duration::from_secs(10));
    let soon = Step::Wait(Some(after(seen.now, soon)));
    let phase = match phase {
        Some(Phase::Executing) => return soon,
        Some(Phase::Retrying) => Phase::Retrying,
        _ => Phase::Pending,
    };
    let message = super::leaving(&seen.execution.job_name());
    match seen.show(status::with_phase(seen.status(), phase, Reason::NameTaken.name(), &message, seen.now)) {
        Step::Wait(_) => soon,
        step => step,
    }
}

/// The status says that an attempt runs, and its Job is not there.
fn vanished(seen: &Observed<'_>, status: &KubernetesExecutionStatus) -> Step {
    // The intent was written in this pass: nobody else can have sent the Job.
    if seen.intended && ending(seen.execution).is_none() {
        return start(seen);
    }
    if !seen.looked {
        return Step::Look;
    }
    let name = status.job_name.clone().unwrap_or_default();
    if status.job_uid.is_none() {
        // It was about to be created, and whether it was is not known. Another one by that name does no harm where a
        // second pod cannot apply the action twice.
        let refused = matches!(seen.plan, Some(Plan::Invalid(_) | Plan::NoTarget(_)));
        if seen.repeatable && !refused && ending(seen.execution).is_none() {
            return start(seen);
        }
        let arrives_by = status.next_attempt_time.map(|sent| after(sent, seen.limits.arrives_within));
        if let Some(until) = arrives_by.filter(|until| seen.now < *until) {
            return Step::Wait(Some(until));
        }
    }
    let error = match status.job_uid {
        Some(_) => format!("job {name} is gone, and its result was not seen"),
        None => format!("whether job {name} was ever created is not known: it is not there, and was about to be"),
    };
    record_attempt(seen, seen.status(), &Ended::unknown(error, None), &name, status.job_uid.as_deref())
}

/// An attempt has failed and is to be followed by another one.
fn again(seen: &Observed<'_>, status: &KubernetesExecutionStatus) -> Step {
    let due = status.next_attempt_time.unwrap_or(seen.now);
    let last = |attempt: Option<&Attempt>| attempt.and_then(|one| one.error.clone()).unwrap_or_default();
    let before = last(status.attempts.last());
    if let Some((reason, why)) = ending(seen.execution) {
        return seen.end(Phase::Cancelled, reason.name(), &format!("{why}; the last attempt had failed: {before}"));
    }
    if let Some(deadline) = seen.deadline().filter(|deadline| seen.now >= *deadline) {
        // A Job whose creation was not answered may be there, and not where the watch sees it.
        if !seen.looked {
            return Step::Look;
        }
        let message = format!(
            "timeout ({}) was over at {deadline}; the last attempt had failed: {before}",
            describe(seen.limits.timeout)
        );
        return seen.end(Phase::TimedOut, Reason::DeadlineExceeded.name(), &message);
    }
    if let Some(job) = seen.job_before.filter(|_| seen.lingers) {
        return clean(job);
    }
    // Whoever is suspended holds up nobody: its place is given back with these words, and asked for anew.
    let suspended = Reason::Suspended.name();
    if seen.execution.spec.suspend {
        let message = format!("spec.suspend is true; the last attempt had failed: {before}");
        return match seen.show(status::with_phase(seen.status(), Phase::Retrying, suspended, &message, seen.now)) {
            Step::Wait(_) => Step::Wait(seen.deadline()),
            step => step,
        };
    }
    if seen.now < due {
        if status.reason.as_deref() == Some(suspended) {
            let message = format!("waits until {due}; the last attempt had failed: {before}");
            let wanted = status::with_phase(seen.status(), Phase::Retrying, Reason::Queued.name(), &message, seen.now);
            return seen.show(wanted);
        }
        return Step::Wait(Some(due));
    }
    if let Some(job) = seen.job_before.filter(|job| job.metadata.deletion_timestamp.is_none()) {
        return clean(job);
    }
    // One that was refused when it was about to be started has given its place back.
    if *seen.turn == Turn::Now {
        return start(seen);
    }
    let (reason, why) = waits_for(seen.turn);
    match seen.show(status::with_phase(seen.status(), Phase::Retrying, reason.name(), &why, seen.now)) {
        Step::Wait(_) => Step::Wait(seen.deadline()),
        step => step,
    }
}

/// Nothing was started yet.
fn first(seen: &Observed<'_>) -> Step {
    let execution = seen.execution;
    if let Some((reason, why)) = ending(execution) {
        return seen.end(Phase::Cancelled, reason.name(), &format!("{why} before anything was started"));
    }
    // Not only that it can be started is checked: a bad request is told at once, also if it would have to wait.
    let checked = execution.status.as_ref().is_some_and(|status| status.phase == Some(Phase::Pending));
    if !checked && seen.plan.is_none() {
        return Step::Read;
    }
    if let Some(end) = refused(seen) {
        return end;
    }
    let (limit, start_by) = (execution.spec.starting_deadline_seconds, start_by(seen));
    let waits = |reason: Reason, message: &str| match seen.pending(reason, message) {
        Step::Wait(_) => Step::Wait(Some(start_by)),
        step => step,
    };
    if seen.now >= start_by {
        // That nothing was started is not concluded from the watch alone.
        if !seen.looked {
            return Step::Look;
        }
        let before = execution.status.as_ref().and_then(|status| status.message.clone());
        let before = before.map(|before| format!("; {before}")).unwrap_or_default();
        let message = format!("it could not be started within startingDeadlineSeconds ({limit} s){before}");
        return seen.end(Phase::Failed, Reason::NotStarted.name(), &message);
    }
    if awaits_approval(execution) {
        return waits(Reason::AwaitingApproval, "waits for spec.approvedBy");
    }
    if execution.spec.suspend {
        return waits(Reason::Suspended, "spec.suspend is true");
    }
    match seen.turn {
        Turn::Now => start(seen),
        turn => {
            let (reason, message) = waits_for(turn);
            waits(reason, &message)
        }
    }
}

/// Returns what an execution waits for whose turn it is not.
fn waits_for(turn: &Turn) -> (Reason, String) {
    match turn {
        Turn::Behind(who) => (Reason::TargetBusy, format!("execution {who} is at the same target")),
        Turn::Full { running, most } if running >= most => {
            (Reason::Queued, format!("{running} executions run, and no more may at once"))
        }
        Turn::Unanswered => {
            (Reason::Queued, "creations in this namespace are not answered: one at a time is tried".to_owned())
        }
        Turn::Full { .. } | Turn::Now => (Reason::Queued, "older executions are next".to_owned()),
    }
}

/// The end of what cannot be carried out. A retry may come to that too: settings are other ones, or this is another release.
fn refused(seen: &Observed<'_>) -> Option<Step> {
    let (reason, why) = match seen.plan? {
        Plan::Invalid(why) => (Reason::InvalidRequest, why),
        Plan::NoTarget(why) => (Reason::TargetNotFound, why),
        Plan::Runnable(_) => return None,
    };
    let attempts = seen.execution.status.iter().flat_map(|status| &status.attempts);
    let before = attempts.last().and_then(|attempt| attempt.error.as_ref());
    let before = before.map(|before| format!("; the last attempt had failed: {before}")).unwrap_or_default();
    Some(seen.end(Phase::Failed, reason.name(), &format!("{why}{before}")))
}

/// Creates the Job, if the API server has answered in this pass; asks it else.
fn start(seen: &Observed<'_>) -> Step {
    if seen.source == Source::Cache || seen.plan.is_none() {
        // Whether there is a Job already is answered by its creation: 201 or 409.
        return Step::Read;
    }
    if let Some(end) = refused(seen) {
        return end;
    }
    // Whether the name is free by now is found out by a look: to send the Job, what cannot be repeated is written down first.
    let was_taken =
        seen.execution.status.as_ref().is_some_and(|status| status.reason.as_deref() == Some(Reason::NameTaken.name()));
    if was_taken && !seen.looked {
        return Step::Look;
    }
    let attempt = seen.execution.attempt();
    let intent = seen.execution.status.as_ref().is_some_and(|status| {
        status.phase == Some(Phase::Executing) && status.job_name.as_deref() == Some(&seen.execution.job_name())
    });
    // Where a second pod could apply the action twice, it is written down before the Job is sent: a Job that is not found
    // afterwards may have been there.
    if !seen.repeatable && !intent {
        let mut status = seen.status();
        status.job_name = Some(seen.execution.job_name());
        status.job_uid = None;
        status.start_time = status.start_time.or(Some(seen.now));
        status.next_attempt_time = Some(seen.now);
        let message = format!("attempt {attempt} is about to be started");
        return Step::Show(Box::new(status::with_phase(status, Phase::Executing, "JobRequested", &message, seen.now)));
    }
    let left = seen.deadline().map_or(seen.limits.timeout, |deadline| {
        Duration::try_from(deadline.duration_since(seen.now)).unwrap_or_default()
    });
    Step::Start(Start { attempt, timeout: left })
}

/// Something else has the name of the Job.
pub(super) fn foreign(seen: &Observed<'_>, whose: &str) -> Step {
    if !seen.looked {
        return Step::Look;
    }
    let name = seen.execution.job_name();
    let status = seen.execution.status.as_ref();
    // The status says that this attempt runs, and not from this very pass: what it did before its Job was taken away is not known.
    if status.is_some_and(|status| status.phase == Some(Phase::Executing)) && !seen.intended {
        let error = format!("job {name} is not this execution's any more: {whose}; what was done by then is not known");
        let job_uid = status.and_then(|status| status.job_uid.as_deref());
        return record_attempt(seen, seen.status(), &Ended::unknown(error, None), &name, job_uid);
    }
    let message = format!("the name {name} of its Job is taken: {whose}; nothing was started by this attempt");
    seen.end(Phase::Failed, Reason::NameTaken.name(), &message)
}
