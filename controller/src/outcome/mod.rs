//! What became of an attempt, as a pure function of its Job, its pods and, where the termination message does not do, the
//! end of its log.
//!
//! Success is one thing only: exit code 0, and an `ActionResult` of this execution that says so. Everything else that
//! cannot be read is `NoResult`, and its effect is unknown unless no container can have started.

mod earlier;
mod pod;

use contract::code::Code;
use contract::result::{ActionResult, Effect};
use contract::text::shorten;
use jiff::Timestamp;

use earlier::{began_before, none_comes, with_earlier_pods};
pub use earlier::{may_be_told, may_be_told_until, none_comes_after};
use pod::waits_for;
pub use pod::{effect_of, lacks_rollback, never_started, result_of_pod, strongest};

use crate::api::Reason;
use crate::api::status::EndedPod;
use crate::observe::slim::{SlimJob, SlimPod, Terminated};
use crate::observe::{Life, Seen};

/// The most bytes of an attempt's error in the status.
const ERROR_LIMIT: usize = 300;

/// The state of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It goes on. What keeps it from starting, if something does.
    Running(Option<String>),
    /// Its termination message does not do: the end of this pod's log is needed.
    NeedsLog(String),
    /// Its Job or its pod is not there as far as is known: the API server must be asked.
    NeedsLook,
    /// It has ended.
    Ended(Box<Ended>),
}

/// The end of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// The runner's result, if it could be read.
    pub result: Option<ActionResult>,
    /// The runner's code, `NoResult` or `NeverStarted`.
    pub code: String,
    /// Sentence that says what went wrong, if something did.
    pub error: Option<String>,
    /// Exit code of the container, if known.
    pub exit_code: Option<i32>,
    /// What all pods of the attempt did to the cluster, together.
    pub effect: Effect,
    /// Name of the pod that it was read from.
    pub pod_name: Option<String>,
    /// The image that it ran.
    pub image_id: Option<String>,
    /// When its container ended, by its node's clock.
    pub finished_at: Option<Timestamp>,
}

impl Ended {
    /// An end without a result: what was done is not known.
    pub fn unknown(error: String, pod_name: Option<String>) -> Self {
        let code = Reason::NoResult.name().to_owned();
        Self {
            result: None,
            code,
            error: Some(error),
            exit_code: None,
            effect: Effect::Unknown,
            pod_name,
            image_id: None,
            finished_at: None,
        }
    }

    /// Returns whether the action did what was asked, and verified it.
    pub fn success(&self) -> bool {
        self.exit_code == Some(0) && self.result.as_ref().is_some_and(|result| result.success)
    }
}

/// All that is known of an attempt.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The Job.
    pub job: &'a Seen<SlimJob>,
    /// Its pods, in the order of their creation.
    pub pods: &'a [Seen<SlimPod>],
    /// What is recorded of pods of this attempt that ended before.
    pub ended_pods: &'a [EndedPod],
    /// The end of the newest pod's log, if it was asked for.
    pub log: Option<&'a str>,
    /// True when Job and pods were asked for in this pass.
    pub looked: bool,
    /// The execution's UID, which is its `ACTION_ID`.
    pub id: &'a str,
    /// True when the image is the release's: its exit codes mean what the contract says.
    pub release: bool,
    /// The time.
    pub now: Timestamp,
}

/// Returns the state of an attempt.
pub fn outcome(facts: &Facts<'_>) -> Outcome {
    let job = &facts.job.object;
    let over = facts.job.life == Life::Gone || job.ended();
    // One that is being deleted makes no more pods: its last pod's end is the attempt's. Nobody else may ever tell that end: the Job
    // controller may be away.
    let goes = job.metadata.deletion_timestamp.is_some();
    let Some(pod) = facts.pods.last() else {
        return match (over || none_comes(facts), facts.looked) {
            (true, true) => Outcome::Ended(Box::new(without_pod(facts))),
            (true, false) => Outcome::NeedsLook,
            (false, _) => Outcome::Running(None),
        };
    };
    let Some(terminated) = pod.object.terminated() else {
        // A pod that is gone, or that failed before its container started, may be replaced as long as the Job goes on.
        let gone = pod.life == Life::Gone && !may_be_told(pod, facts.now);
        let pod_over = gone || pod.object.ended();
        return match (over || goes && pod_over, facts.looked) {
            (false, _) => Outcome::Running(waits_for(&pod.object)),
            (true, false) => Outcome::NeedsLook,
            (true, true) if pod_over => Outcome::Ended(Box::new(no_result(facts, pod, None))),
            // The pod of a Job that is gone, or has failed, still runs down.
            (true, true) => Outcome::Running(None),
        };
    };
    if goes && !over && !facts.looked {
        return Outcome::NeedsLook;
    }
    // Beside a container that somebody has added, and that goes on: the Job would only tell the end of both.
    let over = over || goes || pod.object.others_run() && !pod.object.disrupted();
    let needs_more = result_of_pod(&pod.object, None, facts.id).as_ref().is_none_or(lacks_rollback);
    // A failure waits for its Job, and its log stays until then; that of a pod which is about to go does not.
    let now = over || terminated.exit_code == 0 || pod.object.disrupted();
    if needs_more && now && facts.log.is_none() && pod.life == Life::There {
        return Outcome::NeedsLog(pod.object.metadata.name.clone().unwrap_or_default());
    }
    let result = result_of_pod(&pod.object, facts.log, facts.id);
    // A pod that something else brings to its end may be replaced, also when it said that all went well: its replacement
    // is a part of this attempt. A failure waits for its Job, which decides that.
    let good = terminated.exit_code == 0 && result.as_ref().is_some_and(|result| result.success);
    let undisturbed = !pod.object.disrupted() && pod.object.status.phase.as_deref() != Some("Failed");
    if !(over || good && undisturbed) {
        return Outcome::Running(None);
    }
    let ended = match result {
        Some(result) => with_result(facts, pod, terminated, result),
        None => no_result(facts, pod, Some(terminated)),
    };
    Outcome::Ended(Box::new(ended))
}

fn with_result(facts: &Facts<'_>, pod: &Seen<SlimPod>, terminated: &Terminated, result: ActionResult) -> Ended {
    // A runner that found its work done by an earlier pod says so, and then that pod did it.
    let own = if result.resumed { Effect::Applied } else { result.effect };
    let exit_code = Some(terminated.exit_code);
    let honest = result.success == (terminated.exit_code == 0);
    let mut error = result.error.clone();
    if !honest {
        error = Some(format!(
            "the result says success: {}, but the container ended with {} ({})",
            result.success,
            terminated.exit_code,
            terminated.reason.as_deref().unwrap_or("no reason")
        ));
    }
    Ended {
        code: code_name(result.code),
        error: error.map(|text| shorten(&text, ERROR_LIMIT)),
        exit_code,
        effect: with_earlier_pods(facts, own),
        pod_name: pod.object.metadata.name.clone(),
        image_id: pod.object.image_id(),
        finished_at: terminated.finished_at,
        result: Some(result),
    }
}

/// Returns the code as results spell it.
fn code_name(code: Code) -> String {
    serde_json::to_value(code).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn no_result(facts: &Facts<'_>, pod: &Seen<SlimPod>, terminated: Option<&Terminated>) -> Ended {
    let name = pod.object.metadata.name.as_deref().unwrap_or_default();
    let exit_code = terminated.map(|one| one.exit_code).or_else(|| exit_code_of(&facts.job.object));
    let never = terminated.is_none() && never_started(pod);
    let (code, effect) = match exit_code {
        // Of the attempt that is said only if no earlier pod of it had begun.
        _ if never && !began_before(facts) => (Reason::NeverStarted, Effect::None),
        _ if never => (Reason::NoResult, Effect::None),
        // The runner ends with 2 before it asks the cluster anything.
        Some(2) if facts.release => (Reason::NoResult, Effect::None),
        _ => (Reason::NoResult, Effect::Unknown),
    };
    let why = match terminated {
        Some(one) => format!(
            "ended with {}{}, without a result of this execution",
            one.exit_code,
            one.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default()
        ),
        None if never => waits_for(&pod.object).map_or_else(
            || "never started".to_owned(),
            |why| why.split_once(": ").map_or(why.clone(), |(_, rest)| format!("never started: {rest}")),
        ),
        None if pod.life == Life::There => "is over, and how its container ended was not told".to_owned(),
        None => "is gone, and its result was not seen".to_owned(),
    };
    let evicted = pod.object.status.reason.as_deref().map(|reason| {
        let message = pod.object.status.message.as_deref().unwrap_or_default();
        format!("; {reason}: {message}")
    });
    let error = format!("pod {name} {why}{}{}", evicted.unwrap_or_default(), job_says(&facts.job.object));
    Ended {
        result: None,
        code: code.name().to_owned(),
        error: Some(shorten(&error, ERROR_LIMIT)),
        exit_code,
        effect: with_earlier_pods(facts, effect),
        pod_name: pod.object.metadata.name.clone(),
        image_id: pod.object.image_id(),
        finished_at: terminated.and_then(|one| one.finished_at),
    }
}

/// The end of a Job of which no pod is known.
fn without_pod(facts: &Facts<'_>) -> Ended {
    let job = &facts.job.object;
    let exit_code = exit_code_of(job);
    // The Job controller counts every pod before it lets it go, and makes none of a Job that is on its way out. One that was
    // deleted in the background may have had a pod that nobody had counted.
    let stopped = facts.job.last_word && job.metadata.deletion_timestamp.is_some();
    let newest = stopped || facts.job.life == Life::There && facts.looked;
    let none = newest && facts.job.watched && !job.had_pods() && exit_code.is_none();
    let (code, effect, why) = if none && facts.ended_pods.is_empty() {
        (Reason::NeverStarted, Effect::None, never_made(job))
    } else if exit_code == Some(2) && facts.release {
        (Reason::NoResult, Effect::None, "its pod is gone, and its result was not seen")
    } else {
        (Reason::NoResult, Effect::Unknown, "its pod is gone, and its result was not seen")
    };
    let name = job.metadata.name.as_deref().unwrap_or_default();
    Ended {
        result: None,
        code: code.name().to_owned(),
        error: Some(shorten(&format!("job {name}: {why}{}", job_says(job)), ERROR_LIMIT)),
        exit_code,
        effect: with_earlier_pods(facts, effect),
        pod_name: None,
        image_id: None,
        finished_at: None,
    }
}

/// Says why a Job never had a pod, as far as it tells.
fn never_made(job: &SlimJob) -> &'static str {
    if job.condition("Suspended").is_some() {
        "no pod was ever made of it: somebody had suspended it"
    } else {
        "no pod was ever made of it; its Events say why, if there are any: a quota, an admission policy, a missing ServiceAccount"
    }
}

/// Returns the Job's own words about its failure.
fn job_says(job: &SlimJob) -> String {
    let failed = job.condition("Failed").and_then(|one| one.message.as_deref());
    failed.map(|message| format!("; the Job says: {message}")).unwrap_or_default()
}

/// Returns the exit code from the message of a failure rule, which stays when the pod is gone: `Container executor for
/// pod … failed with exit code 9 matching FailJob rule at index 2`.
fn exit_code_of(job: &SlimJob) -> Option<i32> {
    let message = job.condition("Failed").or_else(|| job.condition("FailureTarget"))?.message.as_deref()?;
    let rest = message.split_once("with exit code ")?.1;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
