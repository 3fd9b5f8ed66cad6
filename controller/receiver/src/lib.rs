//! Keeps the executor's audit events in PostgreSQL.
//!
//! ```text
//! POST ─▶ token ─▶ body ─▶ event (checked) ─▶ keep: one statement ─▶ 201 or 200
//! ```
//!
//! The executor posts an event until it is told that it is kept, so the same one may come twice, also at the same time and
//! at two receivers: the first one counts. An answer says whose turn it is. 4xx: this event will never be taken as it is.
//! 503: it is the receiver or its database, and the same event is to be posted again. The receiver itself holds nothing: what
//! it answered 201 or 200 to is committed.

pub mod answer;
pub mod connections;
pub mod database;
pub mod event;
pub mod keep;
pub mod month;
pub mod queries;
pub mod run;
pub mod schema;
pub mod serve;
pub mod settings;
pub mod telemetry;
pub mod tls;
pub mod token;
pub mod upkeep;

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
    // One thread: it waits for the database nearly all of its time.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        telemetry::start(&flags.log_level, &flags.log_format)?;
        let ended = runtime.block_on(async {
            match &flags.command {
                Command::Serve(flags) => run::serve(flags).await,
                Command::Migrate(flags) => run::migrate(flags).await,
                Command::Query(flags) => run::query(flags).await,
            }
        });
        runtime.shutdown_background();
        ended
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            telemetry::complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
