//! Carries out `KubernetesExecution` objects: each becomes a Job, and what the Job said becomes the object's status.
//!
//! ```text
//! watches of executions, Jobs, pods ─▶ Observed ─▶ next (pure) ─▶ Step ─▶ one request ─▶ its answer ─▶ Observed …
//! ```
//!
//! The object is the plan and the memory, the Job is the record of an attempt, and the status is a copy of what the Job
//! and its pod said. Nothing that decides lives only in memory: killed at any point, the next controller goes on.

pub mod act;
pub mod admission;
pub mod api;
pub mod audit;
pub mod clock;
pub mod context;
pub mod crd;
pub mod entrance;
pub mod events;
pub mod job;
pub mod late;
pub mod lease;
pub mod metrics;
pub mod names;
pub mod next;
pub mod observe;
pub mod outcome;
pub mod plan;
pub mod queue;
pub mod reconcile;
pub mod requests;
pub mod retry;
pub mod run;
pub mod serve;
pub mod settings;
pub mod shallow;
pub mod shared;
pub mod status;
pub mod sweep;
pub mod telemetry;
pub mod unreadable;
pub mod watches;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use settings::{Command, Flags};

/// Reads the arguments, runs, and says why it ends, if it fails.
pub fn program(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let flags = match Flags::try_parse_from(arguments) {
        Ok(flags) => flags,
        Err(error) => {
            // Help is no error. Where nobody can be told, the exit code says it.
            let _closed = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let result = match &flags.command {
        Command::Crd => crd::yaml().map_err(|why| anyhow::anyhow!(why)).and_then(|text| telemetry::print(&text)),
        Command::Admission(flags) => {
            flags.check().map_err(|why| anyhow::anyhow!(why)).and_then(|()| telemetry::print(&admission::yaml(flags)))
        }
        Command::Run(flags) => {
            let audited = flags.audit.address == "none";
            telemetry::start(&flags.log_level, &flags.log_format, audited).and_then(|()| {
                // One thread: it waits for the API server nearly all of its time.
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let ended = runtime.block_on(run::run(flags));
                runtime.shutdown_background();
                ended
            })
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            telemetry::complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
