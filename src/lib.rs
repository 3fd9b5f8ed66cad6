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
use std::time::Duration;

use actions::catalogue::with_action;
use actions::cluster::error::Error;
use contract::code::Code;
use contract::result::ActionResult;
use tokio::signal::unix::{Signal, SignalKind, signal};

use request::Request;
use run::record::RunRecord;

/// Time after `ACTION_TIMEOUT` at which a run that has not ended by itself is ended: its thread hangs, in a login plugin or
/// in a write to a stderr that nobody reads.
const OVERDUE: Duration = Duration::from_secs(5);
/// The stack of the thread that waits for that: it makes a result, too.
const WATCHING: usize = 512 << 10;
/// Time for a reader of stdout, once the run is told to stop: a pod has 30 s from SIGTERM to SIGKILL.
const STOPPING: Duration = Duration::from_secs(5);

/// Runs one action from the variables, writes its result, and returns it with the exit code. Ends at its deadline, and at
/// once on SIGTERM or SIGINT, with what is known then.
pub async fn execute(
    variables: Vec<(OsString, OsString)>,
    record: RunRecord,
    exit: fn(i32) -> !,
) -> (ActionResult, u8) {
    let mut stops = Stops::listen();
    let request = Request::read(variables);
    let timeout = request.timeout;
    end_when_overdue(&record, timeout, exit);
    let (result, code) = run_to_its_end(request, record.clone(), &mut stops).await;
    let left = timeout.saturating_sub(record.took()).max(output::BRIEFLY);
    let left = if result.code == Code::Interrupted { left.min(STOPPING) } else { left };
    let told = result.clone();
    tracing::debug!(code = ?result.code, "writing the result");
    tokio::select! {
        problems = tokio::task::spawn_blocking(move || output::write(&told, left)) => report(problems.unwrap_or_default()),
        // Whoever stops the run now has it from the termination message.
        () = async { stops.next().await; tokio::time::sleep(STOPPING).await } => {
            report(vec!["stopped while nobody read the result from stdout".to_owned()]);
        }
    }
    (result, code)
}

/// Logs problems with the output.
fn report(problems: Vec<String>) {
    if problems.is_empty() {
        return;
    }
    let log = move || problems.iter().for_each(|problem| tracing::error!(problem));
    // If nobody reads stderr either, nobody misses this.
    let _unread = output::within(output::BRIEFLY, log);
}

/// Ends the process when the run is overdue, with what is known then.
fn end_when_overdue(record: &RunRecord, timeout: Duration, exit: fn(i32) -> !) {
    let record = record.clone();
    let watch = move || {
        std::thread::sleep(timeout + OVERDUE);
        let told = record.clone();
        let ended = output::within(output::BRIEFLY, move || {
            let finished = told.lock().finished.clone();
            finished.unwrap_or_else(|| {
                let why = format!("ACTION_TIMEOUT ({} s) is over, and the run hangs", timeout.as_secs());
                told.fail(Code::DeadlineExceeded, cut_off(&told, &why))
            })
        });
        let code = ended.as_ref().map_or(Code::DeadlineExceeded, |result| result.code);
        if let Some(result) = ended {
            report(output::write(&result, output::BRIEFLY));
        }
        exit(i32::from(code.exit()));
    };
    if let Err(error) = std::thread::Builder::new().stack_size(WATCHING).spawn(watch) {
        tracing::warn!(%error, "nothing ends the run if it hangs");
    }
}

async fn run_to_its_end(request: Request, record: RunRecord, stops: &mut Stops) -> (ActionResult, u8) {
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
        code = stops.next() => Some(code),
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
    let redact_required = lock.redact_required;
    let request = Request { upload_hosts: lock.upload_hosts(request.upload_hosts), redact_required, ..request };
    let kind = request.kind;
    let start = run::Start { request, record: record.clone(), sink: Arc::new(output::StdoutLines) };
    with_action(verb, kind, start).await.unwrap_or_else(|error| record.error(&error))
}

/// Returns why a run was cut off, and its last progress.
fn cut_off(record: &RunRecord, why: &str) -> String {
    let last = record.lock().progress.last();
    last.map_or_else(|| why.to_owned(), |last| format!("{why}; {last}"))
}

/// The signals that tell a run to stop, heard from its beginning on. A program that is PID 1 has no default handlers.
struct Stops(Option<(Signal, Signal)>);

impl Stops {
    fn listen() -> Self {
        let both = signal(SignalKind::terminate()).and_then(|first| Ok((first, signal(SignalKind::interrupt())?)));
        Self(both.inspect_err(|error| tracing::error!(%error, "failed to listen for signals")).ok())
    }

    /// Waits for a signal, and returns 128 + its number.
    async fn next(&mut self) -> u8 {
        let Some((terminate, interrupt)) = &mut self.0 else { return std::future::pending().await };
        tokio::select! {
            _ = terminate.recv() => 143,
            _ = interrupt.recv() => 130,
        }
    }
}

/// The one place outside the runner that a request can make panic: kube puts a login plugin's token into a header there,
/// unless the plugin says when it expires. Every other token is looked at before.
const UNSENDABLE_TOKEN: &str = "/add_authorization.rs:";

/// Makes a panic, which is a defect of the runner, end with a result that is still true about the effect.
pub fn report_panics(record: RunRecord, exit: fn(i32) -> !) {
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(|place| format!("{}:{}", place.file(), place.line())).unwrap_or_default();
        // The payload may hold a value of the request, so that only the place is shown.
        let (code, why) = if place.contains(UNSENDABLE_TOKEN) {
            (
                Code::InvalidRequest,
                "KUBECONFIG: the token that its login plugin returned holds a line break or another control character, \
                 which no HTTP header may have; mend the plugin"
                    .to_owned(),
            )
        } else {
            (
                Code::Internal,
                format!("the runner panicked at {place}; this is a defect of action-runner: please report it"),
            )
        };
        tracing::error!(place, "panic");
        let exit_code = code.exit();
        let result = record.fail(code, why);
        report(output::write(&result, output::BRIEFLY));
        exit(i32::from(exit_code));
    }));
}
