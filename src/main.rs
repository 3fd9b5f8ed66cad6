//! Starts logging, reads the arguments, runs, and writes the result.

use std::process::ExitCode;

use action_runner::cli::{self, Invocation, Printed};
use action_runner::conditions::sandbox::child;
use action_runner::run::record::RunRecord;
use action_runner::{execute, output, report_panics, telemetry};
use contract::code::Code;

/// The stack of threads that look up names and write.
const STACK: usize = 512 << 10;

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that takes the environment, and the one that ends a panic"
)]
fn main() -> ExitCode {
    if let Some(ended) = child::run_if_asked(std::env::args_os()) {
        return ended;
    }
    let variables: Vec<_> = std::env::vars_os().collect();
    telemetry::start(&variables);
    let record = RunRecord::new(jiff::Timestamp::now());
    report_panics(record.clone(), std::process::exit);
    let (result, code) = match cli::read(std::env::args_os()) {
        Invocation::Text(text) => return printed(&text, 0),
        Invocation::Wrong(message) => (record.fail(Code::InvalidRequest, message), Code::InvalidRequest.exit()),
        asked => match tokio::runtime::Builder::new_current_thread().thread_stack_size(STACK).enable_all().build() {
            Ok(runtime) => {
                let finished = match asked {
                    Invocation::Command(command) => match runtime.block_on(command.run(variables)) {
                        Ok(Printed { text, exit }) => return printed(&text, exit),
                        Err(error) => (record.error(&error), Code::from(&error).exit()),
                    },
                    _ => runtime.block_on(execute(variables, record, std::process::exit)),
                };
                // A hanging name lookup must not delay the result.
                runtime.shutdown_background();
                finished
            }
            Err(error) => (record.fail(Code::Internal, format!("failed to start: {error}")), Code::Internal.exit()),
        },
    };
    // A run has written its result by itself.
    for problem in output::write(&result, output::BRIEFLY) {
        tracing::error!(problem);
    }
    let _unread = output::within(output::BRIEFLY, move || telemetry::summary(&result));
    ExitCode::from(code)
}

fn printed(text: &str, exit: u8) -> ExitCode {
    output::print(text).map_or(ExitCode::from(Code::Internal.exit()), |()| ExitCode::from(exit))
}
