//! Writes logs to stderr: JSON in a pod, text on a terminal.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};

use contract::result::ActionResult;
use contract::text::{PrintableLines, printable};
use tracing_subscriber::EnvFilter;

/// kube logs every 5xx at ERROR; the runner reports failures itself, with how it handled them.
const QUIET: &str = "kube_client=off,hyper_util=off,tower=off";

/// Reads `RUST_LOG`, `LOG_LEVEL` and `LOG_FORMAT`, and starts logging. Bad values fall back: logging must never stop a run.
pub fn start(variables: &[(OsString, OsString)]) {
    let read = |name: &str| {
        let found = variables.iter().find(|(key, value)| key == name && !value.is_empty());
        found.and_then(|(_, value)| value.to_str())
    };
    let level = read("LOG_LEVEL").unwrap_or("info").to_lowercase();
    let level =
        if ["error", "warn", "info", "debug", "trace"].contains(&level.as_str()) { level } else { "info".to_owned() };
    let filter = read("RUST_LOG").and_then(|text| EnvFilter::try_new(text).ok());
    let filter = filter.unwrap_or_else(|| EnvFilter::new(format!("{level},{QUIET}")));
    let terminal = io::stderr().is_terminal();
    let json = match read("LOG_FORMAT") {
        Some("json") => true,
        Some("text") => false,
        _ => !terminal,
    };
    let coloured = terminal && read("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || PrintableLines::new(io::stderr(), coloured && !json))
        .with_ansi(coloured);
    // A second start (in a test) keeps the first.
    let _kept = if json {
        builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()
    } else {
        builder.with_target(false).try_init()
    };
}

/// Prints a summary on a terminal, for a person who does not read JSON.
pub fn summary(result: &ActionResult) {
    let mut stderr = io::stderr().lock();
    if !stderr.is_terminal() {
        return;
    }
    let mark = if result.success { "✔" } else { "✘" };
    let sentence = result.output.as_deref().or(result.error.as_deref()).unwrap_or_default();
    let mut text = format!("{mark} {:?}: {}\n", result.code, printable(sentence));
    for warning in &result.warnings {
        text.push_str(&format!("  warning: {}\n", printable(warning)));
    }
    if let Some(undo) = result.rollback_information.as_ref().filter(|undo| undo.available) {
        let parameters = undo.rollback_parameters.clone().map(serde_json::Value::Object).unwrap_or_default();
        let action = undo.rollback_action.as_deref().unwrap_or_default();
        text.push_str(&format!(
            "  to take it back: ACTION_TYPE={action} ACTION_PARAMETERS='{}', same target\n",
            printable(&parameters.to_string())
        ));
    }
    // A terminal that is gone needs no summary.
    let _unseen = stderr.write_all(text.as_bytes());
}
