//! One pass over one execution: asks `next` what is to be done, does it, and asks again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::runtime::controller::Action;
use tracing::Instrument;

use crate::act::{CREATE, DELETE, Foreign, HOLD, Pass, Trouble};
use crate::api::{KubernetesExecution, Phase, Reason, Stored, TRACEPARENT};
use crate::context::Context;
use crate::entrance::Work;
use crate::next::{Limits, Observed, Source, Step, TheJob, next};
use crate::observe::slim::SlimJob;
use crate::observe::{Life, Seen};
use crate::plan;
use crate::queue::{self, Turn};
use crate::requests::Failure;
use crate::status;
use crate::unreadable;

/// The most steps of one pass; an execution that would take more waits for its next turn.
const STEPS: usize = 16;
/// The longest time that a request is on its way at least, however short a write may be once it has arrived.
const ON_ITS_WAY: Duration = Duration::from_secs(15);
/// How far the clocks of two controllers may be apart, where one waits for what the other one sent.
const CLOCKS: Duration = Duration::from_secs(3);
/// Time after which what was not there, and is in the watch, is looked at again.
const GONE: Duration = Duration::from_secs(10);
/// The longest delay after failed passes.
const LONGEST: Duration = Duration::from_secs(30);

/// One pass.
pub async fn reconcile(stored: Arc<Stored>, context: Arc<Context>) -> Result<Action, Trouble> {
    match &stored.0 {
        Ok(execution) => pass_over(execution, &context).await,
        Err(invalid) => {
            let Some(_entered) = context.enter(Work::GoesOn, &invalid.metadata) else {
                return Ok(Action::await_change());
            };
            unreadable::settle(&context, &invalid.metadata, &invalid.error).await
        }
    }
}

async fn pass_over(cached: &KubernetesExecution, context: &Context) -> Result<Action, Trouble> {
    // It left the watch after this pass was asked for.
    if !context.watches_this(cached) {
        return Ok(Action::await_change());
    }
    let Some(_entered) = context.enter(context.work(cached), &cached.metadata) else {
        return Ok(Action::await_change());
    };
    // Before the first lists are read, what is not known is not absent.
    let ready = context.jobs.ready() && context.pods.ready();
    let begun = cached.status.as_ref().and_then(|status| status.phase).is_some_and(|phase| phase != Phase::Pending);
    if let Some(why) = context.denied.why().filter(|_| !(ready && begun)) {
        let trouble = Trouble::Blind(why);
        tell(&mut Pass::new(context.shared.newest(cached)), context, &trouble).await;
        return Err(trouble);
    }
    if !ready {
        return Ok(Action::requeue(Duration::from_millis(100)));
    }
    // What we have written of a failure is no reason to try again sooner.
    if let Some(rest) = context.rests(cached) {
        return Ok(Action::requeue(rest));
    }
    let began = Instant::now();
    let uid = cached.metadata.uid.clone().unwrap_or_default();
    let mut pass = Pass::new(context.shared.newest(cached));
    let result = steps(&mut pass, context).instrument(span(cached)).await;
    context.shared.metrics.pass(began.elapsed());
    match result {
        Ok(action) => {
            // What was sent and not answered has not succeeded yet.
            if context.shared.lost_until(&uid).is_none() {
                context.shared.passed(&uid, &pass.execution);
            }
            if pass.execution.status.as_ref().and_then(|status| status.phase).is_some_and(Phase::is_final) {
                context.ended(&pass.execution);
            }
            Ok(action)
        }
        Err(Trouble::Gone) => {
            context.forget(&uid);
            // The watch is about to say so; as long as it does not, it is asked again.
            Ok(Action::requeue(GONE))
        }
        Err(trouble) => {
            tell(&mut pass, context, &trouble).await;
            Err(trouble)
        }
    }
}

/// What every line of a pass carries: which execution it is about, and the trace id that its Job and its runner share.
fn span(execution: &KubernetesExecution) -> tracing::Span {
    let metadata = &execution.metadata;
    let attempt = execution.attempt();
    let trace = metadata.annotations.as_ref().and_then(|all| all.get(TRACEPARENT)?.split('-').nth(1));
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (namespace, execution, uid) = (text(&metadata.namespace), text(&metadata.name), text(&metadata.uid));
    tracing::info_span!("pass", namespace, execution, uid, attempt, trace_id = trace)
}

async fn steps(pass: &mut Pass, context: &Context) -> Result<Action, Trouble> {
    for _ in 0..STEPS {
        let step = look_and_decide(pass, context);
        tracing::debug!(?step, "step");
        if let Step::Wait(until) = step {
            return Ok(match until {
                Some(until) => Action::requeue(
                    Duration::try_from(until.duration_since(Timestamp::now())).unwrap_or_default()
                        + Duration::from_millis(1),
                ),
                None => Action::await_change(),
            });
        }
        pass.act(context, step).await?;
    }
    Ok(Action::requeue(Duration::from_millis(10)))
}

/// Gathers what is known, and returns the next step.
fn look_and_decide(pass: &Pass, context: &Context) -> Step {
    let execution = &pass.execution;
    let uid = execution.metadata.uid.clone().unwrap_or_default();
    let jobs = context.jobs.of(&uid);
    let named = |name: &str| jobs.iter().find(|job| job.object.metadata.name.as_deref() == Some(name));
    let job = named(&execution.job_name());
    if job.is_some() {
        context.shared.found(&uid);
    }
    let pods =
        job.and_then(|job| job.object.metadata.uid.as_deref()).map(|uid| context.pods.of(uid)).unwrap_or_default();
    let before = execution.status.as_ref().and_then(|status| status.attempts.last());
    let recorded = |job: &&Seen<_>| job.life == Life::There && !pass.cleaned;
    let job_before = before.and_then(|attempt| named(&attempt.job_name)).filter(recorded);
    let lingers = job_before.is_some_and(|job| lingers(execution, &job.object, context));
    let the_job = match (&pass.foreign, job) {
        (_, Some(job)) => TheJob::Ours(job),
        (Some(Foreign::Other(whose)), None) => TheJob::Foreign(whose),
        (Some(Foreign::Leaving), None) => TheJob::Leaving,
        (None, None) => TheJob::Absent,
    };
    let action_type = &plan::action_type(execution);
    let waits = queue::has_no_place(execution.status.as_ref());
    next(&Observed {
        execution,
        source: pass.source,
        looked: pass.looked,
        job: the_job,
        pods: &pods,
        job_before: job_before.map(|job| &job.object),
        lingers,
        log: pass.log.as_deref(),
        intended: pass.intended,
        lost_until: context.shared.lost_until(&uid),
        audit: context.shared.audit.delivery(execution, Timestamp::now()),
        fails: context.shared.fails(&uid),
        turn: &if waits { context.shared.turn(&uid) } else { Turn::Now },
        plan: pass.plan.as_ref().filter(|_| pass.source == Source::Server),
        repeatable: plan::repeatable(execution) && context.shared.settings.repeatable(action_type),
        release: context.shared.settings.release(action_type),
        limits: limits(execution, action_type, context),
        now: Timestamp::now(),
    })
}

fn limits(execution: &KubernetesExecution, action_type: &str, context: &Context) -> Limits {
    let own = execution.spec.timeout.as_deref().and_then(|text| text.parse::<contract::duration::Duration>().ok());
    let own = own.or_else(|| execution.timeout_in_effect());
    let timing = &context.shared.timing;
    Limits {
        timeout: own.map_or_else(|| context.shared.settings.timeout(action_type), contract::duration::Duration::get),
        backoff: timing.backoff,
        start_deadline: timing.start_deadline,
        stop_after: timing.stop_after,
        arrives_within: (context.shared.requests.horizon() + CLOCKS).max(ON_ITS_WAY),
    }
}

/// Returns whether the Job of the last attempt goes on although that has failed: a container that somebody has added to its pod runs.
fn lingers(execution: &KubernetesExecution, job: &SlimJob, context: &Context) -> bool {
    let last = execution.status.as_ref().and_then(|status| status.attempts.last());
    let failed = last.is_some_and(|attempt| attempt.exit_code.is_some_and(|code| code != 0));
    let over = job.ended() || job.metadata.deletion_timestamp.is_some();
    let pods = context.pods.of(job.metadata.uid.as_deref().unwrap_or_default());
    failed && !over && pods.last().is_some_and(|pod| pod.life == Life::There && !pod.object.ended())
}

/// Returns the reason that is told for a trouble, where it is something a person can change.
fn reason(trouble: &Trouble) -> Option<Reason> {
    match trouble {
        Trouble::Request { failure, .. } if failure.lacks_permission() => Some(Reason::Forbidden),
        // A quota, an admission policy, a namespace that is on its way out. Not that the API server has too much to do.
        Trouble::Request { what, failure } if what == CREATE && failure.is_refusal() => Some(Reason::JobRefused),
        // A webhook that hangs or is broken, an API server that is not well.
        Trouble::Request { what, failure: Failure::Lost(_) | Failure::Answered { code: 500.., .. } }
            if what == CREATE || what == DELETE =>
        {
            Some(Reason::JobUnanswered)
        }
        // An admission policy says so with 422, unless it names another reason.
        Trouble::Request { what, failure } if what == DELETE && failure.is_refusal() => Some(Reason::Forbidden),
        Trouble::Request { what, failure: Failure::Lost(_) } if what == HOLD => Some(Reason::HoldUnanswered),
        // An admission policy or a webhook again, about something else that the controller does; what it may not read or watch.
        Trouble::Request { failure: Failure::Answered { code: 403, .. }, .. }
        | Trouble::Policies(_)
        | Trouble::Blind(_) => Some(Reason::Forbidden),
        _ => None,
    }
}

/// Says in the execution's status what keeps it from going on.
async fn tell(pass: &mut Pass, context: &Context, trouble: &Trouble) {
    let Some(reason) = reason(trouble) else { return };
    let execution = &pass.execution;
    let phase = execution.status.as_ref().and_then(|status| status.phase).unwrap_or(Phase::Pending);
    if phase.is_final() {
        return;
    }
    let message = trouble.to_string();
    let status = execution.status.as_ref();
    // Words that are other ones each time (a webhook's request id) are no news, and writing them would ask for the next pass.
    let again = status.is_some_and(|status| status.reason.as_deref() == Some(reason.name()))
        && context.shared.rests(execution).is_some();
    let wanted = status::with_phase(status::of(execution), phase, reason.name(), &message, Timestamp::now());
    let known = status.is_some_and(|status| status.message == wanted.message);
    if known || again {
        return;
    }
    if let Err(error) = pass.act(context, Step::Show(Box::new(wanted))).await {
        tracing::warn!(%error, "failed to say in the status what is wrong");
    }
}

/// What follows a failed pass: another one, later each time.
pub fn after_trouble(stored: Arc<Stored>, trouble: &Trouble, context: Arc<Context>) -> Action {
    let metadata = stored.0.as_ref().map_or_else(|invalid| &invalid.metadata, |execution| &execution.metadata);
    let uid = metadata.uid.as_deref().unwrap_or_default();
    let count = context.shared.failed(uid);
    let delay = Duration::from_millis(250).saturating_mul(1 << count.min(10)).min(LONGEST);
    context.shared.rest(uid, metadata.generation, delay);
    tracing::warn!(%trouble, namespace = metadata.namespace, name = metadata.name, again = ?delay, "a pass failed");
    Action::requeue(delay)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn answered(code: u16, message: &str) -> Failure {
        Failure::Answered { code, reason: "Forbidden".to_owned(), message: message.to_owned() }
    }

    const ROLE: &str = "jobs.batch is forbidden: User \"system:serviceaccount:a:b\" cannot create resource \"jobs\" in API group \"batch\" in the namespace \"shop\"";

    #[rstest]
    #[case::a_role(CREATE, answered(403, ROLE), Some("Forbidden"))]
    #[case::a_quota(CREATE, answered(403, "jobs.batch \"x\" is forbidden: exceeded quota: none"), Some("JobRefused"))]
    #[case::a_webhooks_words(
        CREATE,
        answered(403, "admission webhook \"x\" denied the request: Jobs cannot be created today"),
        Some("JobRefused")
    )]
    #[case::another_request(HOLD, answered(403, "admission webhook \"x\" denied the request: no"), Some("Forbidden"))]
    #[case::no_answer(CREATE, Failure::Lost("500 failed calling webhook".to_owned()), Some("JobUnanswered"))]
    #[case::no_answer_to_the_hold(HOLD, Failure::Lost("500 failed calling webhook".to_owned()), Some("HoldUnanswered"))]
    #[case::a_deletion_that_a_policy_denies(
        DELETE,
        answered(422, "ValidatingAdmissionPolicy 'p' denied request: no"),
        Some("Forbidden")
    )]
    #[case::a_deletion_that_is_not_answered(DELETE, Failure::Lost("nothing came".to_owned()), Some("JobUnanswered"))]
    #[case::a_token_that_is_over(CREATE, answered(401, "Unauthorized"), None)]
    #[case::too_much_to_do(CREATE, answered(429, "Too many requests"), None)]
    #[case::a_server_that_is_not_well(CREATE, answered(503, "apiserver is shutting down"), Some("JobUnanswered"))]
    #[case::no_answer_to_another("write the status", Failure::Lost("500".to_owned()), None)]
    #[case::a_conflict("write the status", answered(409, "the object has been modified"), None)]
    fn what_a_person_can_change_is_told(#[case] what: &str, #[case] failure: Failure, #[case] told: Option<&str>) {
        assert_eq!(reason(&Trouble::Request { what: what.to_owned(), failure }).map(Reason::name), told);
    }
}
