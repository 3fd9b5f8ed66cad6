//! While an attempt has a Job: wait for its end, stop it, or record what became of it.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Observed, Step, after, ending, stop};
use crate::api::status::EndedPod;
use crate::api::{MANAGED_BY, MANAGER, Phase, Reason};
use crate::observe::slim::{SlimJob, SlimPod};
use crate::observe::{Life, Seen as SeenObject};
use crate::outcome::{self, Ended, Facts, Outcome};
use crate::retry::{self, Retry};
use crate::status::{self, Status};

/// Time after which it is told that no pod of a Job runs: most have one within a second.
const LONG: Duration = Duration::from_secs(15);

/// There is a Job of the present attempt, or was.
pub(super) fn running(seen: &Observed<'_>, job: &SeenObject<SlimJob>) -> Step {
    let id = seen.execution.metadata.uid.as_deref().unwrap_or_default();
    let status = seen.execution.status.as_ref();
    let facts = Facts {
        job,
        pods: seen.pods,
        ended_pods: status.map(|status| status.ended_pods.as_slice()).unwrap_or_default(),
        log: seen.log,
        looked: seen.looked,
        id,
        release: seen.release,
        now: seen.now,
    };
    match outcome::outcome(&facts) {
        Outcome::NeedsLook => Step::Look,
        Outcome::NeedsLog(pod) => Step::ReadLog(pod),
        Outcome::Ended(ended) => record(seen, job, &ended),
        Outcome::Running(trouble) => goes_on(seen, job, trouble),
    }
}

fn goes_on(seen: &Observed<'_>, job: &SeenObject<SlimJob>, trouble: Option<String>) -> Step {
    let metadata = &job.object.metadata;
    let over = job.life == Life::Gone || job.object.ended() || metadata.deletion_timestamp.is_some();
    if let Some(pod) = seen.pods.last().filter(|pod| over && outcome::may_be_told(pod, seen.now)) {
        return Step::Wait(outcome::may_be_told_until(pod));
    }
    let created = metadata.creation_timestamp.as_ref().map(|time| time.0);
    let start = seen.execution.status.as_ref().and_then(|status| status.start_time).or(created).unwrap_or(seen.now);
    let stop_at = after(after(start, seen.limits.timeout), seen.limits.stop_after);
    let started = seen.pods.iter().any(|pod| pod.object.started());
    // Nothing may begin when the timeout is over: what begins has all of its own time.
    let by_itself = after(start, seen.limits.timeout);
    let start_by = seen.limits.start_deadline.and_then(|limit| Some(after(created?, limit)));
    let start_by = start_by.map_or(by_itself, |start_by| start_by.min(by_itself));
    let due = if started { stop_at } else { start_by.min(stop_at) };
    if ending(seen.execution).is_some() || seen.now >= due {
        let going = metadata.deletion_timestamp.is_some() || job.life == Life::Gone;
        // A watch may be late: whether it has not started, or has ended by now, is asked before it is stopped for that.
        if !going && !seen.looked && ending(seen.execution).is_none() {
            return Step::Look;
        }
        return if going { stopping(seen, job) } else { stop(&job.object) };
    }
    let mut status = ended_pods(seen);
    status.job_name.clone_from(&metadata.name);
    status.job_uid.clone_from(&metadata.uid);
    status.start_time = Some(start);
    status.next_attempt_time = None;
    status.timeout = Some(String::from(contract::duration::Duration::from(seen.limits.timeout)));
    let (attempt, name) = (seen.execution.attempt(), metadata.name.as_deref().unwrap_or_default());
    let tell_at = idle_since(seen, job).map(|since| after(since, LONG));
    let message = match (trouble, tell_at.is_some_and(|at| seen.now >= at)) {
        (Some(trouble), _) => trouble,
        (None, true) => idle(seen, &job.object),
        (None, false) if job.life == Life::Gone => {
            format!("attempt {attempt} goes on in its pod, whose job {name} is gone")
        }
        (None, false) => format!("attempt {attempt} runs as job {name}"),
    };
    let wanted = status::with_phase(status, Phase::Executing, "JobCreated", &message, seen.now);
    match seen.show(wanted) {
        Step::Wait(_) => {
            let tell_at = tell_at.filter(|at| seen.now < *at);
            let next = [tell_at, none_comes(seen, job)].into_iter().flatten().fold(due, Timestamp::min);
            watch_closely(seen, job, Some(next))
        }
        step => step,
    }
}

/// Returns since when no pod of a Job runs; `None` while one does, and when the Job is gone and makes none.
fn idle_since(seen: &Observed<'_>, job: &SeenObject<SlimJob>) -> Option<Timestamp> {
    if job.life == Life::Gone {
        return None;
    }
    let created = job.object.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let ended = |pod: &SeenObject<SlimPod>| {
        // By its node's clock: one that is ahead would hide it.
        let finished = pod.object.terminated().and_then(|end| end.finished_at).filter(|at| *at <= seen.now);
        // One that ended before its container began has no time of that.
        let over = pod.object.ended() || pod.object.terminated().is_some();
        let made = pod.object.metadata.creation_timestamp.as_ref().map(|time| time.0).filter(|_| over);
        pod.gone_since.or(finished).or(made)
    };
    let ends: Option<Vec<_>> = seen.pods.iter().map(ended).collect();
    ends.and_then(|ends| ends.into_iter().max().max(created))
}

/// Says that no pod of a Job runs, and what is known of why.
fn idle(seen: &Observed<'_>, job: &SlimJob) -> String {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    if let Some(suspended) = job.condition("Suspended") {
        let says = suspended.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
        format!("job {name} is suspended, and not by this controller{says}")
    } else if seen.pods.is_empty() && job.had_pods() {
        format!("job {name} has a pod, and it is not among those that are this Job's: it is looked for")
    } else if seen.pods.is_empty() {
        format!(
            "job {name} has no pod yet; its Events say why, if there are any: a quota, an admission policy, a missing ServiceAccount"
        )
    } else {
        format!(
            "no pod of job {name} runs any more; that it has ended, or another pod, is for the Job controller to say"
        )
    }
}

/// Returns when it is known that no pod comes of a Job that is on its way out, if that is still to come.
fn none_comes(seen: &Observed<'_>, job: &SeenObject<SlimJob>) -> Option<Timestamp> {
    outcome::none_comes_after(job).filter(|at| seen.pods.is_empty() && seen.now < *at)
}

/// Waits for the end of what was stopped; not for ever: on a node that is gone nobody confirms it.
fn stopping(seen: &Observed<'_>, job: &SeenObject<SlimJob>) -> Step {
    const LONGEST: Duration = Duration::from_mins(5);
    let since = job.object.metadata.deletion_timestamp.as_ref().map(|time| time.0).or(job.gone_since);
    let since = since.unwrap_or(seen.now);
    let until = after(since, LONGEST);
    if seen.now < until {
        return watch_closely(seen, job, Some(none_comes(seen, job).unwrap_or(until)));
    }
    if !seen.looked {
        return Step::Look;
    }
    let pod = seen.pods.last().map(|pod| &pod.object);
    let pod_name = pod.and_then(|pod| pod.metadata.name.clone());
    let node = pod.and_then(|pod| pod.spec.node_name.as_deref()).unwrap_or("no node");
    // One that lost its Job otherwise, as an orphan does, was told nothing.
    let what = match pod {
        Some(pod) if pod.metadata.deletion_timestamp.is_none() => "lost its Job",
        _ => "was stopped",
    };
    let ago = Duration::from_secs(Duration::try_from(seen.now.duration_since(since)).unwrap_or_default().as_secs());
    let ago = describe(ago);
    let who = pod_name.as_ref().map(|name| format!("pod {name} on {node}"));
    let who = who.unwrap_or_else(|| "its pod, which is not known,".to_owned());
    let error = format!("{who} {what} {ago} ago, and its end is not confirmed: it may still run");
    record(seen, job, &Ended::unknown(error, pod_name))
}

/// Waits for the watches; for what they do not show (somebody changed its labels), it is asked again and again.
fn watch_closely(seen: &Observed<'_>, job: &SeenObject<SlimJob>, due: Option<Timestamp>) -> Step {
    const AGAIN: Duration = Duration::from_secs(5);
    let followed = |metadata: &ObjectMeta| {
        metadata.labels.as_ref().is_some_and(|labels| labels.get(MANAGED_BY).is_some_and(|value| value == MANAGER))
    };
    // The newest pod left the watch, and was not deleted: what becomes of it is not shown any more.
    let strays = seen.pods.last().is_some_and(|pod| pod.life == Life::Gone && !pod.last_word);
    // Nor is one shown that never had the label: a policy of the cluster may have set another one.
    let hidden = seen.pods.is_empty()
        && job.object.had_pods()
        && idle_since(seen, job).is_some_and(|since| seen.now >= after(since, LONG));
    let all_followed = (job.life == Life::Gone || followed(&job.object.metadata))
        && seen.pods.iter().all(|pod| followed(&pod.object.metadata));
    if all_followed && !strays && !hidden {
        return Step::Wait(due);
    }
    if seen.looked {
        let soon = after(seen.now, AGAIN);
        return Step::Wait(Some(due.map_or(soon, |due| due.min(soon))));
    }
    Step::Look
}

/// The status with the pods of this attempt that ended while it goes on. What they did must not be forgotten with them.
fn ended_pods(seen: &Observed<'_>) -> Status {
    let id = seen.execution.metadata.uid.as_deref().unwrap_or_default();
    // The newest one too, as soon as it is known that it will be replaced if it can be: its replacement leaves no trace of it.
    let disrupted = |pod: &SeenObject<SlimPod>| pod.object.terminated().is_some() && pod.object.disrupted();
    let gone =
        |pod: &SeenObject<SlimPod>| pod.life == Life::Gone && seen.looked && !outcome::may_be_told(pod, seen.now);
    let over = seen.pods.last().is_some_and(|pod| disrupted(pod) || gone(pod));
    let ended = if over { seen.pods } else { seen.pods.split_last().map_or(&[][..], |(_, earlier)| earlier) };
    ended.iter().fold(seen.status(), |status, pod| {
        let metadata = &pod.object.metadata;
        // The log that was read is the newest pod's.
        let newest = seen.pods.last().is_some_and(|last| last.object.metadata.uid == metadata.uid);
        let result = outcome::result_of_pod(&pod.object, seen.log.filter(|_| newest), id);
        let ended = EndedPod {
            pod_name: metadata.name.clone().unwrap_or_default(),
            pod_uid: metadata.uid.clone().unwrap_or_default(),
            effect: outcome::effect_of(pod, result.as_ref()),
            rollback_information: result.as_ref().and_then(status::way_back),
        };
        status::with_ended_pod(status, ended)
    })
}

/// The attempt has ended: record it, with what follows from it.
fn record(seen: &Observed<'_>, job: &SeenObject<SlimJob>, ended: &Ended) -> Step {
    let metadata = &job.object.metadata;
    let created = metadata.creation_timestamp.as_ref().map(|time| time.0);
    let mut status = ended_pods(seen);
    status.start_time = status.start_time.or(created).or(Some(seen.now));
    status.job_name.clone_from(&metadata.name);
    status.job_uid.clone_from(&metadata.uid);
    let job_name = metadata.name.clone().unwrap_or_default();
    record_attempt(seen, status, ended, &job_name, metadata.uid.as_deref())
}

pub(super) fn record_attempt(
    seen: &Observed<'_>,
    status: Status,
    ended: &Ended,
    job_name: &str,
    job_uid: Option<&str>,
) -> Step {
    const MARGIN: Duration = Duration::from_secs(2);
    let execution = seen.execution;
    let deadline = status.start_time.map_or(seen.now, |start| after(start, seen.limits.timeout));
    let mut status = status::with_attempt(status, ended, job_name, job_uid, seen.now);
    let sentence = status.result.as_ref().and_then(|result| result.output.clone().or_else(|| result.error.clone()));
    let sentence = sentence.unwrap_or_else(|| "no result".to_owned());
    let end = |status: Status, phase: Phase, reason: &str, message: &str| {
        Step::Record(Box::new(status::decided(status, phase, reason, message, seen.now)))
    };
    // What was done is done, also if somebody meant to stop it.
    if ended.success() {
        return end(status, Phase::Completed, &ended.code, &sentence);
    }
    if let Some((reason, why)) = ending(execution) {
        return end(status, Phase::Cancelled, reason.name(), &format!("{why}; {sentence}"));
    }
    // A deadline of the runner's own (a wait before the change) is not the end of `timeout`.
    // When it ended counts, not when that was seen: the controller may have been away.
    // That time is of the node's clock: one that is ahead ends nothing before its time.
    let ended_at = status.attempts.last().and_then(|attempt| attempt.end_time).unwrap_or(seen.now).min(seen.now);
    // A wait of the runner's ends a moment before that.
    let waited = matches!(ended.code.as_str(), "DeadlineExceeded" | "NotVerified");
    let out_of_time = ended_at >= deadline || waited && after(ended_at, MARGIN) >= deadline;
    if out_of_time {
        let message = format!("timeout ({}) is over; {sentence}", describe(seen.limits.timeout));
        return end(status, Phase::TimedOut, Reason::DeadlineExceeded.name(), &message);
    }
    let left = Duration::try_from(deadline.duration_since(seen.now)).unwrap_or_default();
    // Also what a pod did that is only in the record by now.
    let effect = status.attempts.last().map_or(ended.effect, |attempt| attempt.effect);
    let ended = &Ended { effect, ..ended.clone() };
    match retry::decide(execution, ended, seen.repeatable, status.attempts.len(), left, seen.limits.backoff) {
        Retry::After(delay) => {
            let at = after(seen.now, delay);
            status.next_attempt_time = Some(at);
            let message = format!("attempt {} failed: {sentence}", status.attempts.len());
            let status = status::decided(status, Phase::Retrying, &ended.code, &message, seen.now);
            Step::Record(Box::new(Status { next_attempt_time: Some(at), ..status }))
        }
        Retry::No(why) => {
            let message = why.map_or(sentence.clone(), |why| format!("{sentence}; not tried again: {why}"));
            end(status, Phase::Failed, &ended.code, &message)
        }
    }
}

pub(super) fn describe(duration: Duration) -> String {
    String::from(contract::duration::Duration::from(duration))
}
