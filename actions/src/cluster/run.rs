//! The context of a run, which everything in the run can use.

use std::sync::{Arc, Mutex, PoisonError};

use contract::text::{printable, shorten};
use contract::waiting::WaitOptions;
use jiff::Timestamp;
use serde_json::Value;

use super::observed::{Observation, Obstacle};
use crate::export::address::hide_in_text;
use crate::export::destination::AllowedHost;
use crate::export::hidden::HiddenValues;
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
    /// True when what may be secret must be redacted in log lines.
    pub redact_required: bool,
}

/// The latest progress message: logged once per change, and kept for the result of a run that is cut off. Also the one
/// place where sentences for people are cleaned: the API server, a kubelet and a policy speak in them.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Mutex<ProgressState>>);

#[derive(Debug, Default)]
struct ProgressState {
    status: Option<String>,
    observation: Observation,
    warnings: Vec<String>,
    hidden: HiddenValues,
}

impl ProgressState {
    fn clean(&self, text: &str) -> String {
        self.hidden.in_sentence(&hide_in_text(&printable(text)))
    }
}

impl Progress {
    /// Takes an object whose values may be secret: from now on no sentence shows them.
    pub fn hide(&self, object: &Value) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).hidden.learn(object);
    }

    /// Takes a pod template in the same way.
    pub fn hide_template(&self, template: &Value) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).hidden.learn_template(template);
    }

    /// Returns a sentence as people may see it: without credentials of addresses, values of the target that may be secret,
    /// and characters that a terminal obeys.
    pub fn clean(&self, text: &str) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clean(text)
    }

    /// Returns words of the API server that it may have cut, in the same way; shortened to this many bytes, which is marked.
    pub fn clean_foreign(&self, text: &str, most: usize) -> String {
        /// Where the API server cuts warnings when there are too many, in characters.
        const CUT: usize = 256;
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let clean = state.clean(text);
        let cut = text.chars().count() >= CUT;
        shorten(&if cut { state.hidden.in_cut_sentence(&clean) } else { clean }, most)
    }

    /// Reports progress.
    pub fn report(&self, status: &str) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let status = state.clean(status);
        if state.status.as_ref() != Some(&status) {
            state.status = Some(status.clone());
            // Without the lock: a log that nobody reads must not keep the state from who ends the run.
            drop(state);
            tracing::info!(status, "progress");
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

    /// Records for which objects a wait ended without its effect.
    pub fn obstacles(&self, obstacles: Vec<Obstacle>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).observation.obstacles = obstacles;
    }

    /// Returns what a wait saw last.
    pub fn observation(&self) -> Observation {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).observation.clone()
    }

    /// Records a problem that does not stop the run, but that a person should know.
    pub fn warn(&self, warning: impl Into<String>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let warning = state.clean(&warning.into());
        if !state.warnings.contains(&warning) {
            state.warnings.push(warning.clone());
            drop(state);
            tracing::warn!(warning, "warning");
        }
    }

    /// Returns all warnings so far.
    pub fn warnings(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).warnings.clone()
    }
}

/// Receives the lines that come before the result.
pub trait LogSink: std::fmt::Debug + Send + Sync {
    /// Writes whole lines, each with its end.
    fn write_lines(&self, lines: &[u8]) -> std::io::Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn foreign_words_are_hidden_before_they_are_shortened() {
        let progress = Progress::default();
        progress.hide(&json!({ "apiVersion": "v1", "spec": { "containers": [{ "args": ["hunter22-hunter22"] }] } }));
        let says = |text: &str, most| progress.clean_foreign(text, most);
        assert_eq!(says("it is hunter22-hunter22\u{1b}", 100), r"it is [hidden]\u001b");
        assert_eq!(says("it is hunter22-hunter22 indeed", 16), "it is [hidden] i…");
        assert_eq!(says("it is hunter22-hunter22 indeed", 10), "it is [hid…");
        // Cut by the API server, within the value.
        let cut = format!("{}hunter22-h", "x".repeat(246));
        assert!(says(&cut, 300).ends_with("xx[hidden]"), "{}", says(&cut, 300));
        assert_eq!(says("hunter22-h", 300), "hunter22-h");
    }

    #[test]
    fn what_is_said_is_clean() {
        let progress = Progress::default();
        progress.warn("before: hunter22");
        progress.hide(
            &json!({ "apiVersion": "v1", "spec": { "containers": [{ "image": "web:2", "args": ["hunter22"] }] } }),
        );
        progress.hide_template(&json!({ "spec": { "containers": [{ "env": [{ "value": "hunter33" }] }] } }));
        progress.warn("web:2 got hunter22\u{1b}[2J at https://me:hunter44@h/x");
        progress.report("waiting for hunter33\n");
        assert_eq!(progress.warnings(), ["before: hunter22", r"web:2 got [hidden]\u001b[2J at https://h/[hidden]"]);
        assert_eq!(progress.last().as_deref(), Some(r"waiting for [hidden]\n"));
        assert_eq!(progress.clean("hunter22"), "[hidden]");
        assert!(!format!("{progress:?}").contains("hunter33"), "{progress:?}");
    }
}
