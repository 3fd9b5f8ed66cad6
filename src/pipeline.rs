//! The phases, in order, once: `validate → permissions → find → policy → preconditions → dry-run → execute → verify →
//! postconditions`. Everything is decided before the first change, and `execute` sends the request that `dry-run` sent.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use actions::Visitor;
use actions::action::{Action, Decision, LogSink, Named, RunContext, Subject, Told};
use actions::cluster::{Access, Cluster, Commit, KnownRules, forbidden};
use actions::error::{Error, Result};
use actions::ledger::Effect;
use actions::object::{ObjectRef, Resource};
use serde_json::Value;
use tokio::time::Instant;
use tracing::Instrument;

use crate::conditions::checked::Checked;
use crate::judging::Judging;
use crate::prepare::{reach, validate};
use crate::request::Request;
use crate::result::{ActionResult, Code, ResultTarget};
use crate::trail::Trail;

/// How long the phases before the change may take each: they are a few requests, and a server that does not answer them
/// is not one to change anything on.
pub const PHASE_LIMIT: Duration = Duration::from_secs(30);
/// How long before `ACTION_TIMEOUT` the inner deadlines are, so that the error that knows more is the one that is told.
pub const RESERVE: Duration = Duration::from_millis(300);
/// How often is decided, when what a decision rested on changes before it is carried out.
const DECISIONS: u32 = 3;

/// Starts a request with the action that it names.
pub struct Start {
    /// What is asked.
    pub request: Request,
    /// Where the run is recorded.
    pub trail: Trail,
    /// Where log lines go.
    pub sink: Arc<dyn LogSink>,
}

impl Visitor for Start {
    type Output = Pin<Box<dyn Future<Output = Result<ActionResult>>>>;

    fn visit<A: Action>(self) -> Self::Output {
        Box::pin(run::<A>(self))
    }
}

async fn run<A: Action>(start: Start) -> Result<ActionResult> {
    let Start { mut request, trail, sink } = start;
    trail.enter("validate");
    let checked = Checked::check(&request.judged_by, &mut request.problems).await;
    let (action, context) = validate::<A>(&request, &trail, sink)?;
    let parameters = serde_json::to_value(&action).unwrap_or_default();
    let judging = Judging::new(checked?, &request, parameters, trail.clone());
    let (cluster, named, resource) = reach(&request, &trail, &context).await?;
    let events = request.events.then(|| cluster.clone());
    let mut pipeline = Pipeline {
        action,
        dry_run: request.dry_run,
        named,
        resource,
        trail: trail.clone(),
        context,
        cluster,
        rules: KnownRules::default(),
        judging,
    };
    let span = tracing::info_span!(
        "run",
        action = request.action_type(),
        id = request.id.as_ref().map(ToString::to_string),
        trace_id = request.trace_id
    );
    let result = pipeline.phases().instrument(span).await;
    let result = result.unwrap_or_else(|error| trail.error(&error));
    trail.facts().finished = Some(result.clone());
    Ok(match events {
        Some(cluster) => crate::event::post(&cluster, &trail, result).await,
        None => result,
    })
}

struct Pipeline<A: Action> {
    action: A,
    dry_run: bool,
    named: Named,
    resource: Resource,
    trail: Trail,
    context: RunContext,
    cluster: Cluster,
    rules: KnownRules,
    judging: Judging,
}

impl<A: Action> Pipeline<A> {
    async fn phases(&mut self) -> Result<ActionResult> {
        self.permissions(self.resource.clone(), self.object().cloned()).await?;
        let mut target = self.find().await?;
        let mut first: Option<A::Change> = None;
        for _ in 0..DECISIONS {
            let change = match self.action.decide(&target, &self.context) {
                Decision::Refuse(why) => return Err(Error::Refused(why)),
                Decision::AlreadySo { message, resumed } => return self.already(&target, message, resumed).await,
                Decision::Change(change) => change,
            };
            if first.as_ref().is_some_and(|first| !A::still_meant(first, &change)) {
                return Err(Error::Conflict("someone else changed the target meanwhile, and what was asked would now mean something else; look at it before you decide again".to_owned()));
            }
            self.judging.before(&self.cluster, &target, &self.named).await?;
            let conflict = match self.carry_out(&target, &change).await {
                Err(Error::Conflict(message)) => message,
                Ok(now) => return self.finish(&target, &now).await,
                Err(error) => return Err(error),
            };
            tracing::info!(conflict, "what the decision rested on has changed, looking again");
            let again = self.find().await?;
            if uid(&again) != uid(&target) {
                return Err(Error::Refused(
                    "the target was deleted and made anew meanwhile; look at it before you decide again".to_owned(),
                ));
            }
            if version(&again) == version(&target) {
                return Err(Error::Refused(format!(
                    "{conflict}, yet the target is unchanged: the API server does not accept the patch"
                )));
            }
            first.get_or_insert(change);
            target = again;
        }
        Err(Error::Conflict(format!(
            "someone else changed the target {DECISIONS} times before the change could be made; try again"
        )))
    }

    fn object(&self) -> Option<&ObjectRef> {
        match &self.named {
            Named::Object(object) => Some(object),
            Named::Selection { .. } => None,
        }
    }

    fn phase(&self, name: &'static str, limit: Duration) -> Cluster {
        self.trail.enter(name);
        tracing::debug!(phase = name, "phase begins");
        self.cluster.until(Instant::now() + limit)
    }

    /// All permissions that are missing are named, before anything is changed.
    async fn permissions(&mut self, resource: Resource, object: Option<ObjectRef>) -> Result<()> {
        let cluster = self.phase("permissions", PHASE_LIMIT);
        let mut needed = self.action.permissions(&resource);
        needed.extend(self.judging.permissions(&resource));
        let namespace = match &self.named {
            Named::Object(object) => object.namespace.clone(),
            Named::Selection { namespace, .. } => Some(namespace.clone()),
        };
        let name = object.map(|object| object.name);
        match cluster.missing(&needed, namespace.as_ref(), name.as_ref(), &mut self.rules).await? {
            Access::Granted => Ok(()),
            Access::Denied(missing) => Err(forbidden(missing, namespace.as_ref())),
            Access::CouldNotAsk(why) => {
                self.context
                    .progress
                    .warn(format!("which permissions there are could not be asked ({why}); going on without knowing"));
                Ok(())
            }
        }
    }

    async fn find(&mut self) -> Result<A::Target> {
        let cluster = self.phase("find", PHASE_LIMIT);
        let target = self.action.find(&cluster, &self.named, &self.context).await?;
        if let Some(object) = target.object().cloned() {
            let resolved_from = target.resolved_from().cloned();
            let led_on = resolved_from.is_some();
            self.trail.facts().target = Some(ResultTarget {
                object: object.to_target(),
                resolved_from: resolved_from.map(|from| from.to_target()),
            });
            if led_on {
                self.permissions(object.resource.clone(), Some(object)).await?;
            }
        }
        Ok(target)
    }

    /// The dry run and then, unless only that was asked, the same request for real. Returns the object as it then is.
    async fn carry_out(&self, target: &A::Target, change: &A::Change) -> Result<Value> {
        if A::READ_ONLY {
            return Ok(Value::Null);
        }
        let cluster = self.phase("dry-run", PHASE_LIMIT);
        cluster.ledger().dry_run_begins();
        match self.action.apply(&cluster, target, change, Commit::DryRun).await {
            Ok(value) if self.dry_run => return Ok(value),
            Ok(_) => {}
            // A budget that blocks now is waited for in the real run.
            Err(Error::Blocked { .. }) if !self.dry_run => {}
            Err(error) => return Err(error),
        }
        self.trail.facts().undo = Some(self.action.undo(target, true, &self.context));
        let cluster = self.phase("execute", self.cluster.remaining().mul_f32(0.9));
        self.action.apply(&cluster, target, change, Commit::Execute).await
    }

    /// How long there is to wait: `waitTimeout`, or what is left less a tenth.
    fn wait_limit(&self) -> Duration {
        let left = self.cluster.remaining().mul_f32(0.9);
        self.action.waiting().and_then(|waiting| waiting.timeout).map_or(left, |timeout| timeout.get().min(left))
    }

    fn waits(&self) -> bool {
        self.action.waiting().is_none_or(|waiting| waiting.wait)
    }

    async fn verified(&self, target: &A::Target, now: &Value) -> Result<A::Details> {
        if self.dry_run || !self.waits() {
            return Ok(self.action.details(target, &self.context));
        }
        let cluster = self.phase(if A::READ_ONLY { "execute" } else { "verify" }, self.wait_limit());
        let verified = self.action.verify(&cluster, target, now, &self.context).await;
        if verified.is_err() && !A::READ_ONLY {
            // What it saw last says how far it came.
            self.trail.facts().details = serde_json::to_value(self.action.details(target, &self.context)).ok();
        }
        verified.map_err(after_the_change)
    }

    /// The postconditions, unless nothing was done. What the action found out stands also when one of them does not hold.
    async fn judged_after(&self, target: &A::Target, details: &A::Details) -> Result<()> {
        if self.dry_run {
            return Ok(());
        }
        self.trail.facts().details = serde_json::to_value(details).ok();
        self.judging.after(&self.cluster, target, &self.named).await
    }

    async fn finish(&self, target: &A::Target, now: &Value) -> Result<ActionResult> {
        let details = self.verified(target, now).await?;
        self.judged_after(target, &details).await?;
        let code = match (self.dry_run, A::READ_ONLY) {
            (true, _) => Code::DryRun,
            (false, true) => Code::Completed,
            (false, false) => Code::Changed,
        };
        Ok(self.told(target, &details, code, None))
    }

    async fn already(&self, target: &A::Target, message: String, resumed: bool) -> Result<ActionResult> {
        {
            let mut facts = self.trail.facts();
            facts.resumed = resumed;
            facts.undo = Some(self.action.undo(target, false, &self.context));
        }
        if resumed {
            let phase = if self.dry_run { "dry-run" } else { "execute" };
            let cluster = self.phase(phase, self.cluster.remaining().mul_f32(0.9));
            self.action.stands(target, &self.context)?;
            if !self.dry_run {
                self.action.resume(&cluster, target, &self.context).await?;
            }
        }
        let now = target.value().cloned().unwrap_or_default();
        let details = self.verified(target, &now).await?;
        self.judged_after(target, &details).await?;
        // Finishing an earlier run's work may have meant to change something after all.
        let untouched = self.cluster.ledger().effect() == Effect::None;
        Ok(self.told(target, &details, if untouched { Code::Unchanged } else { Code::Changed }, Some(message)))
    }

    fn told(&self, target: &A::Target, details: &A::Details, code: Code, already: Option<String>) -> ActionResult {
        self.trail.facts().details = serde_json::to_value(details).ok();
        let told = Told { dry_run: self.dry_run, already, took: self.trail.took() };
        self.trail.succeed(code, self.action.sentence(target, details, &told))
    }
}

/// What is not there after the change is no target that was not found: it was.
fn after_the_change(error: Error) -> Error {
    match error {
        Error::TargetNotFound(why) => Error::NotVerified(format!("the target could not be looked at any more: {why}")),
        error => error,
    }
}

fn version<T: Subject>(target: &T) -> Option<&str> {
    target.value().and_then(|value| actions::object::text(value, "/metadata/resourceVersion"))
}

fn uid<T: Subject>(target: &T) -> Option<&str> {
    target.object().and_then(|object| object.uid.as_deref())
}
