//! From environment to result.
//!
//! ```text
//! environment ─▶ Request ─▶ Action (checked parameters) ─▶ permissions ─▶ Target ─▶ Decision ─▶ policy, preconditions
//!             ─▶ dry run ─▶ execute ─▶ proof ─▶ postconditions ─▶ ActionResult ─▶ stdout, termination message, exit code
//! ```
//!
//! Each step consumes what the step before made; nothing calls back up. What can be done to a cluster is the crate
//! `actions`; here is what comes before and after.

pub mod catalogue;
pub mod cli;
pub mod conditions;
pub mod event;
mod judging;
pub mod lock;
pub mod output;
pub mod pipeline;
mod prepare;
pub mod request;
pub mod result;
mod secrets;
pub mod telemetry;
pub mod trail;

use std::ffi::OsString;
use std::sync::Arc;

use actions::error::Error;
use actions::with_action;
use tokio::signal::unix::{SignalKind, signal};

use request::Request;
use result::{ActionResult, Code};
use trail::Trail;

/// Runs one action as the variables say, and returns its result with the exit code. Ends by its deadline, and at once
/// on SIGTERM or SIGINT, with what is known then.
pub async fn run(variables: Vec<(OsString, OsString)>, trail: Trail) -> (ActionResult, u8) {
    let request = Request::read(variables);
    {
        let mut facts = trail.facts();
        facts.action_type = request.action_type();
        facts.action_id = request.id.as_ref().map(ToString::to_string);
        facts.dry_run = request.dry_run;
        facts.trace_id.clone_from(&request.trace_id);
        for warning in &request.warnings {
            facts.progress.warn(warning);
        }
    }
    let timeout = request.timeout;
    let work = work(request, trail.clone());
    let cut = tokio::select! {
        result = work => return with_exit(result),
        () = tokio::time::sleep(timeout) => None,
        code = interrupted() => Some(code),
    };
    // A verified result stands, also when the event about it was cut off.
    let finished = trail.facts().finished.clone();
    match (finished, cut) {
        (Some(result), _) => with_exit(event::cut_off(&trail, result)),
        (None, None) => with_exit(trail.fail(
            Code::DeadlineExceeded,
            cut_off(&trail, &format!("ACTION_TIMEOUT ({} s) is over", timeout.as_secs())),
        )),
        (None, Some(code)) => {
            let name = if code == 130 { "SIGINT" } else { "SIGTERM" };
            (trail.fail(Code::Interrupted, cut_off(&trail, &format!("interrupted by {name}"))), code)
        }
    }
}

fn with_exit(result: ActionResult) -> (ActionResult, u8) {
    let exit = result.code.exit();
    (result, exit)
}

async fn work(request: Request, trail: Trail) -> ActionResult {
    let Some(verb) = request.verb else {
        return trail.error(&Error::InvalidRequest(request.problems.join("; ")));
    };
    let lock = match lock::Lock::of_this_image(verb) {
        Ok(lock) => lock,
        Err(error) => return trail.error(&error),
    };
    let request = Request { upload_hosts: lock.upload_hosts(request.upload_hosts), ..request };
    let kind = request.kind;
    let start = pipeline::Start { request, trail: trail.clone(), sink: Arc::new(output::StdoutLines) };
    with_action(verb, kind, start).await.unwrap_or_else(|error| trail.error(&error))
}

/// What to say of a run that was cut off: why, and how far it was.
fn cut_off(trail: &Trail, why: &str) -> String {
    let last = trail.facts().progress.last();
    last.map_or_else(|| why.to_owned(), |last| format!("{why}; {last}"))
}

/// 128 + the number of the signal that arrives. A program that is PID 1 has no default handlers.
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

/// A panic is a defect of the runner; it still ends with a result, and with the truth about the effect.
pub fn report_panics(trail: Trail, exit: fn(i32) -> !) {
    std::panic::set_hook(Box::new(move |panic| {
        tracing::error!(%panic, "panic");
        let place = panic.location().map(|place| format!(" at {}:{}", place.file(), place.line())).unwrap_or_default();
        // The payload may hold a value of the request: only the place is told.
        let result = trail.fail(
            Code::Internal,
            format!("the runner panicked{place}; this is a defect of action-runner: please report it"),
        );
        for problem in output::write(&result) {
            tracing::error!(problem);
        }
        exit(i32::from(Code::Internal.exit()));
    }));
}
