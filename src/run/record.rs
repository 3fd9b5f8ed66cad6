//! What is known about the run at any moment. A run that is cut off in the middle (deadline, signal, panic) is told from
//! here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actions::cluster::Cluster;
use actions::cluster::error::Error;
use actions::cluster::ledger::Ledger;
use actions::cluster::run::Progress;
use actions::export::redact_object;
use actions::export::redact_text::hide_in_text;
use contract::code::Code;
use contract::condition::ConditionResult;
use contract::result::{
    API_VERSION, ActionResult, Effect, KIND, Phase, PhaseName, ResultTarget, RollbackInformation, Runner,
};
use contract::text::{millis, shorten};
use jiff::Timestamp;
use serde_json::Value;

/// How long the phases before the change may take each: they are a few requests, and a server that does not answer them
/// is not one to change anything on.
pub const PHASE_LIMIT: Duration = Duration::from_secs(30);
/// Phases end this long before `ACTION_TIMEOUT`, so that the phase reports its own error instead of a bare timeout.
pub const RESERVE: Duration = Duration::from_millis(300);
/// The longest `failureReason`: what went wrong stands whole in `error`.
const REASON_LIMIT: usize = 300;

/// What is known of the run so far; clones share it.
#[derive(Debug, Clone)]
pub struct RunRecord(Arc<Mutex<Recorded>>);

/// What the result says of the request.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    /// The action as understood.
    pub action_type: Option<String>,
    /// `ACTION_ID`
    pub action_id: Option<String>,
    /// `ACTION_DRY_RUN`
    pub dry_run: bool,
    /// From `TRACEPARENT`.
    pub trace_id: Option<String>,
    /// Once found.
    pub target: Option<ResultTarget>,
    /// After defaults.
    pub parameters: Option<Value>,
    /// What the action reports.
    pub details: Option<Value>,
    /// How to take it back, if it is applied.
    pub undo: Option<RollbackInformation>,
    /// An earlier run of the same id had applied it.
    pub resumed: bool,
    /// Whether sending it again cannot apply it twice.
    pub repeatable: bool,
    /// What became of the preconditions.
    pub before: Vec<ConditionResult>,
    /// What became of the postconditions, so far.
    pub after: Vec<ConditionResult>,
    /// What was sent, and what became of it.
    pub ledger: Ledger,
    /// States and warnings.
    pub progress: Progress,
    /// The result, once it is known; what comes after (an event) does not change it.
    pub finished: Option<ActionResult>,
    started: Timestamp,
    clock: Option<Instant>,
    phases: Vec<Phase>,
    current: Option<(PhaseName, Instant)>,
}

impl RunRecord {
    /// Begins.
    pub fn new(started: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(Recorded { started, clock: Some(Instant::now()), ..Recorded::default() })))
    }

    /// The facts, to read or to add to.
    pub fn lock(&self) -> MutexGuard<'_, Recorded> {
        // After a panic the facts are still the recorded.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a phase; the one before is over.
    pub fn enter(&self, phase: PhaseName) {
        let mut recorded = self.lock();
        recorded.end_phase();
        recorded.current = Some((phase, Instant::now()));
        tracing::debug!(?phase, "phase begins");
    }

    /// Begins a phase that asks the cluster, and may take so long.
    pub fn begin(&self, phase: PhaseName, cluster: &Cluster, limit: Duration) -> Cluster {
        self.enter(phase);
        cluster.until(tokio::time::Instant::now() + limit)
    }

    /// How long the run has taken until now.
    pub fn took(&self) -> Duration {
        self.lock().clock.map(|clock| clock.elapsed()).unwrap_or_default()
    }

    /// The result of a run that did what was asked.
    pub fn succeed(&self, code: Code, output: String) -> ActionResult {
        let mut recorded = self.lock();
        recorded.end_phase();
        ActionResult { success: true, output: Some(output), ..recorded.result(code) }
    }

    /// The result of one that did not.
    pub fn fail(&self, code: Code, error: String) -> ActionResult {
        let error = hide_in_text(&error);
        let mut recorded = self.lock();
        let failed_phase = recorded.current.map(|(name, _)| name);
        recorded.end_phase();
        if let Some(undo) = recorded.undo.as_mut().filter(|undo| undo.available) {
            undo.failure_reason = Some(shorten(&error, REASON_LIMIT));
        }
        let effect = recorded.ledger.effect();
        let retryable = code.may_succeed_later() && (effect == Effect::None || recorded.repeatable);
        ActionResult { success: false, error: Some(error), failed_phase, retryable, ..recorded.result(code) }
    }

    /// The result of an error.
    pub fn error(&self, error: &Error) -> ActionResult {
        self.fail(Code::from(error), error.full_message())
    }
}

impl Recorded {
    fn end_phase(&mut self) {
        if let Some((name, since)) = self.current.take() {
            let duration_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.phases.push(Phase { name, duration_ms });
        }
    }

    /// The action's own, and then the API server's.
    fn warnings(&self) -> Vec<String> {
        let theirs = self.ledger.warnings().into_iter().map(|text| format!("the API server warns: {text}"));
        self.progress.warnings().into_iter().chain(theirs).collect()
    }

    fn result(&self, code: Code) -> ActionResult {
        let effect = self.ledger.effect();
        let changes = match code {
            _ if !self.dry_run => self.ledger.changes(),
            Code::DryRun => self.ledger.would_changes(),
            // What is refused in the end would change nothing, whatever of it was tried out.
            _ => Vec::new(),
        };
        let salt = self.target.as_ref().and_then(|target| target.object.uid.clone()).unwrap_or_default();
        let changes: Vec<_> = changes.into_iter().map(|change| redact_object::hide(change, &salt)).collect();
        let undo_counts = effect != Effect::None || self.resumed || code == Code::Unchanged;
        ActionResult {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            success: false,
            code,
            output: None,
            error: None,
            retryable: false,
            effect,
            resumed: self.resumed,
            warnings: self.warnings().iter().map(|warning| hide_in_text(warning)).collect(),
            start_time: millis(self.started),
            end_time: millis(Timestamp::now()),
            action_type: self.action_type.clone(),
            action_id: self.action_id.clone(),
            dry_run: self.dry_run,
            trace_id: self.trace_id.clone(),
            target: self.target.clone(),
            parameters: self.parameters.clone(),
            changes: (!changes.is_empty()).then_some(changes),
            details: self.details.clone(),
            pre_condition_results: hidden(&self.before),
            post_condition_results: hidden(&self.after),
            rollback_information: self.undo.clone().filter(|_| undo_counts),
            failed_phase: None,
            phases: Some(self.phases.clone()),
            requests: Some(self.ledger.requests()),
            runner: Some(this_runner()),
            trimmed: Vec::new(),
        }
    }
}

/// The results; a message may quote an address with a credential in it.
fn hidden(results: &[ConditionResult]) -> Vec<ConditionResult> {
    let hide = |result: &ConditionResult| ConditionResult {
        error_message: result.error_message.as_deref().map(hide_in_text),
        ..result.clone()
    };
    results.iter().map(hide).collect()
}

/// This runner, as results name it.
pub fn this_runner() -> Runner {
    let revision = option_env!("ACTION_RUNNER_REVISION").unwrap_or("unknown");
    Runner { version: env!("CARGO_PKG_VERSION").to_owned(), revision: revision.to_owned() }
}
