//! The context of a run, which everything in the run can use.

use std::sync::{Arc, Mutex, PoisonError};

use contract::waiting::WaitOptions;
use jiff::Timestamp;

use super::observed::Observation;
use crate::export::destination::AllowedHost;
use crate::k8s::names::ActionId;

/// The context of a run, beside the parameters.
#[derive(Debug, Clone)]
pub struct RunContext {
    /// `ACTION_ID`.
    pub id: Option<ActionId>,
    /// `ACTION_REASON`.
    pub reason: Option<String>,
    /// Unique name of this run.
    pub run: String,
    /// Start of the run: the time in marks and annotations.
    pub now: Timestamp,
    /// Options for waiting until the action takes effect.
    pub wait: WaitOptions,
    /// Receives progress messages for people.
    pub progress: Progress,
    /// Receives the log lines that an action reports before its result.
    pub sink: Arc<dyn LogSink>,
    /// Hosts outside the cluster to which the run may send data.
    pub upload_hosts: Vec<AllowedHost>,
}

/// The latest progress message: logged once per change, and kept for the result of a run that is cut off.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Mutex<ProgressState>>);

#[derive(Debug, Default)]
struct ProgressState {
    status: Option<String>,
    observation: Observation,
    warnings: Vec<String>,
}

impl Progress {
    /// Reports progress.
    pub fn report(&self, status: &str) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.status.as_deref() != Some(status) {
            tracing::info!(status, "progress");
            state.status = Some(status.to_owned());
        }
    }

    /// Returns the last progress message.
    pub fn last(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).status.clone()
    }

    /// Records what a wait saw, in place of what it saw before.
    pub fn observe(&self, observation: Observation) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).observation = observation;
    }

    /// Returns what a wait saw last.
    pub fn observation(&self) -> Observation {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).observation.clone()
    }

    /// Records a problem that does not stop the run, but that a person should know.
    pub fn warn(&self, warning: impl Into<String>) {
        let warning = warning.into();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.warnings.contains(&warning) {
            tracing::warn!(warning, "warning");
            state.warnings.push(warning);
        }
    }

    /// Returns all warnings so far.
    pub fn warnings(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).warnings.clone()
    }
}

/// Receives the lines that come before the result.
pub trait LogSink: std::fmt::Debug + Send + Sync {
    /// Writes one line, without its end.
    fn write_line(&self, line: &[u8]) -> std::io::Result<()>;
}
