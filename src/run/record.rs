//! Records what is known about the run at any moment. The result of a run that is cut off in the middle (deadline,
//! signal, panic) is made from this.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actions::cluster::Cluster;
use actions::cluster::error::Error;
use actions::cluster::ledger::Ledger;
use actions::cluster::run::Progress;
use actions::export::redact_object;
use contract::code::Code;
use contract::condition::ConditionResult;
use contract::result::{
    API_VERSION, ActionResult, Effect, KIND, Phase, PhaseName, ResultTarget, RollbackInformation, Runner,
};
use contract::text::{millis, printable, shorten};
use jiff::Timestamp;
use serde_json::Value;

use crate::usage;

/// Time limit for each phase before the change: a phase is a few requests, and a server that does not answer them
/// should not be changed.
pub const PHASE_LIMIT: Duration = Duration::from_secs(30);
/// Time limit for the dry run: the API server gives a write up to 34 s, as long as its admission webhooks take, and some
/// actions try out two of them.
pub const DRY_RUN_LIMIT: Duration = Duration::from_secs(75);
/// Phases end this long before `ACTION_TIMEOUT`, so that the phase reports its own error instead of a bare timeout.
pub const RESERVE: Duration = Duration::from_millis(300);
/// The longest `failureReason`; the whole error is in `error`.
const REASON_LIMIT: usize = 300;

/// The longest warning of the API server, because a result is at most 8 KiB.
const WARNING_LIMIT: usize = 300;

/// The record of a run so far; clones share it.
#[derive(Debug, Clone)]
pub struct RunRecord(Arc<Mutex<Recorded>>);

/// The recorded facts, from which the result is made.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    /// Action type.
    pub action_type: Option<String>,
    /// `ACTION_ID`
    pub action_id: Option<String>,
    /// `ACTION_DRY_RUN`
    pub dry_run: bool,
    /// Trace id of `TRACEPARENT`.
    pub trace_id: Option<String>,
    /// Target, once found.
    pub target: Option<ResultTarget>,
    /// Parameters, after defaults.
    pub parameters: Option<Value>,
    /// Details that the action reports.
    pub details: Option<Value>,
    /// The request that undoes the change, if the change is applied.
    pub undo: Option<RollbackInformation>,
    /// True when an earlier run of the same id had applied the change.
    pub resumed: bool,
    /// True when sending the request again cannot apply it twice.
    pub repeatable: bool,
    /// Results of the preconditions.
    pub before: Vec<ConditionResult>,
    /// Results of the postconditions so far.
    pub after: Vec<ConditionResult>,
    /// Record of what was sent, with the outcomes.
    pub ledger: Ledger,
    /// Progress and warnings.
    pub progress: Progress,
    /// The result, once known; what comes after (an event) does not change how the run ended.
    pub finished: Option<ActionResult>,
    started: Timestamp,
    clock: Option<Instant>,
    phases: Vec<Phase>,
    current: Option<(PhaseName, Instant)>,
}

impl RunRecord {
    /// Starts the record.
    pub fn new(started: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(Recorded { started, clock: Some(Instant::now()), ..Recorded::default() })))
    }

    /// Locks the facts, to read or to add to.
    pub fn lock(&self) -> MutexGuard<'_, Recorded> {
        // After a panic the facts are still those recorded.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a phase, and ends the one before.
    pub fn enter(&self, phase: PhaseName) {
        {
            let mut recorded = self.lock();
            recorded.end_phase();
            recorded.current = Some((phase, Instant::now()));
        }
        // Without the lock: a log that nobody reads must not keep the record from who ends the run.
        tracing::debug!(?phase, "phase begins");
    }

    /// Begins a phase that asks the cluster, with this time limit.
    pub fn begin(&self, phase: PhaseName, cluster: &Cluster, limit: Duration) -> Cluster {
        self.enter(phase);
        cluster.until(tokio::time::Instant::now() + limit)
    }

    /// Returns the time that the run has taken so far.
    pub fn took(&self) -> Duration {
        self.lock().clock.map(|clock| clock.elapsed()).unwrap_or_default()
    }

    /// Returns the result of a run that did what was asked.
    pub fn succeed(&self, code: Code, output: String) -> ActionResult {
        let mut recorded = self.lock();
        recorded.end_phase();
        ActionResult { success: true, output: Some(printable(&output).into_owned()), ..recorded.result(code) }
    }

    /// Returns the result of a run that failed.
    pub fn fail(&self, code: Code, error: String) -> ActionResult {
        let mut recorded = self.lock();
        let error = recorded.progress.clean(&error);
        let failed_phase = recorded.current.map(|(name, _)| name);
        recorded.end_phase();
        if let Some(undo) = recorded.undo.as_mut().filter(|undo| undo.available) {
            undo.failure_reason = Some(shorten(&error, REASON_LIMIT));
        }
        let effect = recorded.ledger.effect();
        let retryable = code.may_succeed_later() && (effect == Effect::None || recorded.repeatable);
        ActionResult { success: false, error: Some(error), failed_phase, retryable, ..recorded.result(code) }
    }

    /// Returns the result of an error.
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

    /// Returns the action's own warnings, and then those of the API server.
    fn warnings(&self) -> Vec<String> {
        let progress = &self.progress;
        let own = progress.warnings().into_iter().map(|text| progress.clean(&text));
        let theirs = self.ledger.warnings().into_iter().map(|text| progress.clean_foreign(&text, WARNING_LIMIT));
        own.chain(theirs.map(|text| format!("the API server warns: {text}"))).collect()
    }

    /// Cleans the messages of conditions, which are of others' making.
    fn clean(&self, results: &[ConditionResult]) -> Vec<ConditionResult> {
        let clean = |result: &ConditionResult| ConditionResult {
            error_message: result.error_message.as_deref().map(|message| self.progress.clean(message)),
            ..result.clone()
        };
        results.iter().map(clean).collect()
    }

    fn result(&self, code: Code) -> ActionResult {
        let effect = self.ledger.effect();
        let changes = match code {
            _ if !self.dry_run => self.ledger.changes(),
            Code::DryRun => self.ledger.would_changes(),
            // A refused run would change nothing, even if parts of it were tried out.
            _ => Vec::new(),
        };
        let changes: Vec<_> = changes.into_iter().map(redact_object::hide).collect();
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
            warnings: self.warnings(),
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
            pre_condition_results: self.clean(&self.before),
            post_condition_results: self.clean(&self.after),
            rollback_information: self.undo.clone().filter(|_| undo_counts),
            failed_phase: None,
            phases: Some(self.phases.clone()),
            requests: Some(self.ledger.requests()),
            usage: usage::now(),
            runner: Some(this_runner()),
            trimmed: Vec::new(),
        }
    }
}

/// Returns this runner, as results name it.
pub fn this_runner() -> Runner {
    let revision = option_env!("ACTION_RUNNER_REVISION").unwrap_or("unknown");
    Runner { version: env!("CARGO_PKG_VERSION").to_owned(), revision: revision.to_owned() }
}
