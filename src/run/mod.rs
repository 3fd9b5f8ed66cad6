//! Runs the phases, in order, once: `validate → permissions → find → policy → preconditions → dry-run → execute →
//! verify → postconditions`. All is decided before the first change, and `execute` sends the request of `dry-run`.

mod conditions;
mod event;
mod permissions;
pub mod prepare;
pub mod record;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use actions::action::{Action, Decision, RunOutcome, Target, TargetRef};
use actions::catalogue::Visitor;
use actions::cluster::error::{Error, Result};
use actions::cluster::run::LogSink;
use actions::cluster::{Cluster, Commit, KnownRules};
use actions::k8s::{ObjectRef, object};
use contract::code::Code;
use contract::result::{ActionResult, Effect, PhaseName, ResultTarget, RollbackInformation};
use contract::waiting::Waits;
use serde_json::Value;
use tracing::Instrument;

use crate::request::Request;
pub use event::cut_off;
use prepare::{Prepared, prepare};
use record::{DRY_RUN_LIMIT, PHASE_LIMIT, RunRecord};

/// The most decisions of a run: each is made again when its basis changes before it is carried out.
const DECISIONS: u32 = 3;

/// Starts a request with the type of its action.
pub struct Start {
    /// The request.
    pub request: Request,
    /// Record of the run.
    pub record: RunRecord,
    /// Receives the log lines.
    pub sink: Arc<dyn LogSink>,
}

impl Visitor for Start {
    type Output = Pin<Box<dyn Future<Output = Result<ActionResult>>>>;

    fn visit<A: Action>(self) -> Self::Output {
        Box::pin(run::<A>(self))
    }
}

async fn run<A: Action>(start: Start) -> Result<ActionResult> {
    let Start { request, record, sink } = start;
    let prepared = prepare::<A>(&request, &record, sink).await?;
    let events = request.events.then(|| prepared.cluster.clone());
    let mut running = Running { dry_run: request.dry_run, rules: KnownRules::default(), prepared };
    let span = tracing::info_span!(
        "run",
        action = request.action_type(),
        id = request.id.as_ref().map(ToString::to_string),
        trace_id = request.trace_id
    );
    let result = running.phases().instrument(span).await;
    let result = result.unwrap_or_else(|error| record.error(&error));
    record.lock().finished = Some(result.clone());
    Ok(match events {
        Some(cluster) => event::post(&cluster, &record, result).await,
        None => result,
    })
}

/// The state of a run in its phases.
struct Running<A: Action> {
    prepared: Prepared<A>,
    dry_run: bool,
    rules: KnownRules,
}

impl<A: Action> Running<A> {
    async fn phases(&mut self) -> Result<ActionResult> {
        self.permissions_beforehand().await?;
        let mut target = self.find().await?;
        let mut first: Option<A::Plan> = None;
        for _ in 0..DECISIONS {
            let plan = match self.prepared.action.decide(&target, &self.prepared.context) {
                Decision::Refuse(why) => return Err(Error::Refused(why)),
                Decision::AlreadySo { message, resumed } => return self.already(&target, message, resumed).await,
                Decision::Change(plan) => plan,
            };
            if first.as_ref().is_some_and(|first| !A::same_intent(first, &plan)) {
                return Err(Error::Conflict("someone else changed the target meanwhile, and what was asked would now mean something else; look at it before you decide again".to_owned()));
            }
            self.before(&target).await?;
            let conflict = match self.carry_out(&target, &plan).await {
                Err(Error::Conflict(message)) => message,
                Ok(now) => return self.finish(&target, &now).await,
                Err(error) => return Err(error),
            };
            tracing::info!(conflict, "what the decision rested on has changed, looking again");
            let again = match self.find().await {
                // It was found before: its name is not wrong.
                Err(Error::TargetNotFound(_)) => return Err(Error::Conflict(format!("{conflict}, and it is gone"))),
                again => again?,
            };
            if uid(&again) != uid(&target) {
                return Err(Error::Refused(
                    "the target was deleted and recreated meanwhile; look at it before you decide again".to_owned(),
                ));
            }
            if version(&again) == version(&target) {
                return Err(Error::Refused(format!(
                    "{conflict}, yet the target is unchanged: the API server does not accept the patch"
                )));
            }
            first.get_or_insert(plan);
            target = again;
        }
        Err(Error::Conflict(format!(
            "someone else changed the target {DECISIONS} times before the change could be made; try again"
        )))
    }

    fn object(&self) -> Option<&ObjectRef> {
        match &self.prepared.named {
            TargetRef::Object(object) => Some(object),
            TargetRef::Selection { .. } => None,
        }
    }

    fn begin(&self, phase: PhaseName, limit: Duration) -> Cluster {
        self.prepared.record.begin(phase, &self.prepared.cluster, limit)
    }

    async fn find(&mut self) -> Result<A::Target> {
        let cluster = self.begin(PhaseName::Find, PHASE_LIMIT);
        let target = self.prepared.action.find(&cluster, &self.prepared.named, &self.prepared.context).await?;
        let progress = &self.prepared.context.progress;
        target.value().into_iter().for_each(|value| progress.hide(value));
        target.templates().into_iter().for_each(|template| progress.hide_template(template));
        if let Some(object) = target.object().cloned() {
            let resolved_from = target.resolved_from().cloned();
            self.prepared.record.lock().target = Some(ResultTarget {
                object: object.to_reference(),
                resolved_from: resolved_from.map(|from| from.to_reference()),
            });
        }
        self.permissions_once_found(&target).await?;
        Ok(target)
    }

    /// Sends the dry run and then, unless only that was asked, the same request for real. Returns the object as it then
    /// is.
    async fn carry_out(&self, target: &A::Target, plan: &A::Plan) -> Result<Value> {
        if A::READ_ONLY {
            return Ok(Value::Null);
        }
        let cluster = self.begin(PhaseName::DryRun, DRY_RUN_LIMIT);
        cluster.ledger().dry_run_begins();
        match self.prepared.action.apply(&cluster, target, plan, Commit::DryRun).await {
            Ok(value) if self.dry_run => return Ok(value),
            Ok(_) => {}
            // In the real run, `execute` waits for a budget that blocks now.
            Err(Error::Blocked { .. }) if !self.dry_run => {}
            Err(error) => return Err(error),
        }
        self.prepared.record.lock().undo = Some(self.undo(target, true));
        let cluster = self.begin(PhaseName::Execute, self.most_of_what_is_left());
        self.prepared.action.apply(&cluster, target, plan, Commit::Execute).await
    }

    fn undo(&self, target: &A::Target, applied: bool) -> RollbackInformation {
        self.prepared.action.undo(target, applied, &self.prepared.context)
    }

    fn details(&self, target: &A::Target) -> A::Details {
        self.prepared.action.details(target, &self.prepared.context)
    }

    /// Returns all but a tenth of the time left, because later phases need time too.
    fn most_of_what_is_left(&self) -> Duration {
        self.prepared.cluster.remaining().mul_f32(0.9)
    }

    /// Returns the time to wait: `waitTimeout`, or most of the time left.
    fn wait_limit(&self) -> Duration {
        let left = self.most_of_what_is_left();
        self.prepared.context.wait.timeout.map_or(left, |timeout| timeout.get().min(left))
    }

    fn waits(&self) -> bool {
        A::WAITS == Waits::Never || self.prepared.context.wait.wait
    }

    async fn verified(&self, target: &A::Target, now: &Value) -> Result<A::Details> {
        if self.dry_run || !self.waits() {
            return Ok(self.details(target));
        }
        let cluster = self.begin(if A::READ_ONLY { PhaseName::Execute } else { PhaseName::Verify }, self.wait_limit());
        let verified = self.prepared.action.verify(&cluster, target, now, &self.prepared.context).await;
        if verified.is_err() && !A::READ_ONLY {
            // The last observation shows how far the rollout came.
            self.prepared.record.lock().details = serde_json::to_value(self.details(target)).ok();
        }
        verified.map_err(after_the_change)
    }

    /// Evaluates the postconditions, unless this is a dry run. The action's details stay if a condition does not hold.
    async fn judged_after(&self, target: &A::Target, details: &A::Details) -> Result<()> {
        if self.dry_run {
            return Ok(());
        }
        self.prepared.record.lock().details = serde_json::to_value(details).ok();
        self.after(target).await
    }

    async fn finish(&self, target: &A::Target, now: &Value) -> Result<ActionResult> {
        let details = self.verified(target, now).await?;
        self.judged_after(target, &details).await?;
        let code = match (self.dry_run, A::READ_ONLY) {
            (true, _) => Code::DryRun,
            (false, true) => Code::Completed,
            (false, false) => Code::Changed,
        };
        Ok(self.succeeded(target, &details, code, None))
    }

    async fn already(&self, target: &A::Target, message: String, resumed: bool) -> Result<ActionResult> {
        {
            let mut recorded = self.prepared.record.lock();
            recorded.resumed = resumed;
            recorded.undo = Some(self.undo(target, false));
        }
        if resumed {
            let phase = if self.dry_run { PhaseName::DryRun } else { PhaseName::Execute };
            let cluster = self.begin(phase, self.most_of_what_is_left());
            self.prepared.action.stands(target, &self.prepared.context)?;
            if !self.dry_run {
                self.prepared.action.resume(&cluster, target, &self.prepared.context).await?;
            }
        }
        let now = target.value().cloned().unwrap_or_default();
        let details = self.verified(target, &now).await?;
        self.judged_after(target, &details).await?;
        // Finishing an earlier run's work may have changed something after all.
        let untouched = self.prepared.cluster.ledger().effect() == Effect::None;
        Ok(self.succeeded(target, &details, if untouched { Code::Unchanged } else { Code::Changed }, Some(message)))
    }

    fn succeeded(&self, target: &A::Target, details: &A::Details, code: Code, already: Option<String>) -> ActionResult {
        self.prepared.record.lock().details = serde_json::to_value(details).ok();
        let record = &self.prepared.record;
        let outcome = RunOutcome { dry_run: self.dry_run, already, took: record.took() };
        record.succeed(code, outcome.sentence(&self.prepared.action, target, details))
    }
}

/// Converts "target not found" after the change, because the target was found before.
fn after_the_change(error: Error) -> Error {
    match error {
        Error::TargetNotFound(why) => Error::NotVerified(format!("the target could not be looked at any more: {why}")),
        error => error,
    }
}

fn version<T: Target>(target: &T) -> Option<&str> {
    target.value().and_then(|value| object::text(value, "/metadata/resourceVersion"))
}

fn uid<T: Target>(target: &T) -> Option<&str> {
    target.object().and_then(|object| object.uid.as_deref())
}
