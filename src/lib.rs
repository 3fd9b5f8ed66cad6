//! Runs one action, from environment to result.
//!
//! ```text
//! environment ─▶ Request ─▶ Action (checked parameters) ─▶ permissions ─▶ Target ─▶ Decision ─▶ policy, preconditions
//!             ─▶ dry run ─▶ execute ─▶ proof ─▶ postconditions ─▶ ActionResult ─▶ stdout, termination message, exit code
//! ```
//!
//! Each step consumes what the step before made; nothing calls back up. The actions on a cluster are in the crate
//! `actions`; everything before and after them is here.

pub mod cli;
pub mod conditions;
mod image_lock;
pub mod output;
pub mod request;
pub mod run;
pub mod telemetry;
mod usage;

use std::ffi::OsString;
use std::sync::Arc;

use actions::catalogue::with_action;
use actions::cluster::error::Error;
use contract::code::Code;
use contract::result::ActionResult;
use tokio::signal::unix::{SignalKind, signal};

use request::Request;
use run::record::RunRecord;

/// Runs one action from the variables, and returns its result with the exit code. Ends at its deadline, and at once on
/// SIGTERM or SIGINT, with what is known then.
pub async fn execute(variables: Vec<(OsString, OsString)>, record: RunRecord) -> (ActionResult, u8) {
    let request = Request::read(variables);
    {
        let mut recorded = record.lock();
        recorded.action_type = request.action_type();
        recorded.action_id = request.id.as_ref().map(ToString::to_string);
        recorded.dry_run = request.dry_run;
        recorded.trace_id.clone_from(&request.trace_id);
        for warning in &request.warnings {
            recorded.progress.warn(warning);
        }
    }
    let timeout = request.timeout;
    let work = work(request, record.clone());
    let cut = tokio::select! {
        result = work => return with_exit(result),
        () = tokio::time::sleep(timeout) => None,
        code = interrupted() => Some(code),
    };
    // A verified result stands, even if the event about it was cut off.
    let finished = record.lock().finished.clone();
    match (finished, cut) {
        (Some(result), _) => with_exit(run::cut_off(&record, result)),
        (None, None) => with_exit(record.fail(
            Code::DeadlineExceeded,
            cut_off(&record, &format!("ACTION_TIMEOUT ({} s) is over", timeout.as_secs())),
        )),
        (None, Some(code)) => {
            let name = if code == 130 { "SIGINT" } else { "SIGTERM" };
            (record.fail(Code::Interrupted, cut_off(&record, &format!("interrupted by {name}"))), code)
        }
    }
}

fn with_exit(result: ActionResult) -> (ActionResult, u8) {
    let exit = result.code.exit();
    (result, exit)
}

async fn work(request: Request, record: RunRecord) -> ActionResult {
    let Some(verb) = request.verb else {
        return record.error(&Error::InvalidRequest(request.problems.join("; ")));
    };
    let lock = match image_lock::ImageLock::of_this_image(verb) {
        Ok(lock) => lock,
        Err(error) => return record.error(&error),
    };
    let request = Request { upload_hosts: lock.upload_hosts(request.upload_hosts), ..request };
    let kind = request.kind;
    let start = run::Start { request, record: record.clone(), sink: Arc::new(output::StdoutLines) };
    with_action(verb, kind, start).await.unwrap_or_else(|error| record.error(&error))
}

/// Returns why a run was cut off, and its last progress.
fn cut_off(record: &RunRecord, why: &str) -> String {
    let last = record.lock().progress.last();
    last.map_or_else(|| why.to_owned(), |last| format!("{why}; {last}"))
}

/// Waits for a signal, and returns 128 + its number. A program that is PID 1 has no default handlers.
async fn interrupted() -> u8 {
    if let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        tokio::select! {
            _ = terminate.recv() => 143,
            _ = interrupt.recv() => 130,
        }
    } else {
        tracing::error!("failed to listen for signals");
        std::future::pending().await
    }
}

/// Makes a panic, which is a defect of the runner, end with a result that is still true about the effect.
pub fn report_panics(record: RunRecord, exit: fn(i32) -> !) {
    std::panic::set_hook(Box::new(move |panic| {
        tracing::error!(%panic, "panic");
        let place = panic.location().map(|place| format!(" at {}:{}", place.file(), place.line())).unwrap_or_default();
        // The payload may hold a value of the request, so that only the place is shown.
        let result = record.fail(
            Code::Internal,
            format!("the runner panicked{place}; this is a defect of action-runner: please report it"),
        );
        for problem in output::write(&result) {
            tracing::error!(problem);
        }
        exit(i32::from(Code::Internal.exit()));
    }));
}
