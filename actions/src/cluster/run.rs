//! What comes with a run, for everything that is done in it.

use std::sync::{Arc, Mutex, PoisonError};

use contract::waiting::WaitOptions;
use jiff::Timestamp;

use super::observed::Observation;
use crate::export::destination::AllowedHost;
use crate::k8s::names::ActionId;

/// What comes with the run, beside the parameters.
#[derive(Debug, Clone)]
pub struct RunContext {
    /// `ACTION_ID`.
    pub id: Option<ActionId>,
    /// `ACTION_REASON`.
    pub reason: Option<String>,
    /// Unlike any other run's.
    pub run: String,
    /// When the run began: the time in marks and annotations.
    pub now: Timestamp,
    /// How it waits for its effect.
    pub wait: WaitOptions,
    /// Where states for people go.
    pub progress: Progress,
    /// Where log lines go that an action reports before its result.
    pub sink: Arc<dyn LogSink>,
    /// The hosts outside the cluster that something may be sent to.
    pub upload_hosts: Vec<AllowedHost>,
}

/// The line that says how far things are: logged once per change, and kept for the result of a run that is cut off.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Mutex<ProgressState>>);

#[derive(Debug, Default)]
struct ProgressState {
    status: Option<String>,
    observation: Observation,
    warnings: Vec<String>,
}

impl Progress {
    /// A new state of affairs.
    pub fn report(&self, status: &str) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.status.as_deref() != Some(status) {
            tracing::info!(status, "progress");
            state.status = Some(status.to_owned());
        }
    }

    /// The last state of affairs.
    pub fn last(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).status.clone()
    }

    /// What a wait saw, in place of what it saw before.
    pub fn observe(&self, observation: Observation) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).observation = observation;
    }

    /// What a wait saw last.
    pub fn observation(&self) -> Observation {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).observation.clone()
    }

    /// Something that does not stop the run, and that a person should know.
    pub fn warn(&self, warning: impl Into<String>) {
        let warning = warning.into();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.warnings.contains(&warning) {
            tracing::warn!(warning, "warning");
            state.warnings.push(warning);
        }
    }

    /// All warnings so far.
    pub fn warnings(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).warnings.clone()
    }
}

/// Takes the lines that come before the result.
pub trait LogSink: std::fmt::Debug + Send + Sync {
    /// One line, without its end.
    fn write_line(&self, line: &[u8]) -> std::io::Result<()>;
}
