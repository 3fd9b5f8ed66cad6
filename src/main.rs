//! Logging, arguments, the run, its result.

use std::process::ExitCode;

use action_runner::cli::{self, Asked, Printed};
use action_runner::conditions::engine;
use action_runner::result::Code;
use action_runner::trail::Trail;
use action_runner::{output, report_panics, run, telemetry};

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that takes the environment, and the one that ends a panic"
)]
fn main() -> ExitCode {
    if let Some(ended) = engine::run_if_asked(std::env::args_os()) {
        return ended;
    }
    let variables: Vec<_> = std::env::vars_os().collect();
    telemetry::start(&variables);
    let trail = Trail::new(jiff::Timestamp::now());
    report_panics(trail.clone(), std::process::exit);
    let (result, code) = match cli::read(std::env::args_os()) {
        Asked::Text(text) => return printed(&text, 0),
        Asked::Wrong(message) => (trail.fail(Code::InvalidRequest, message), Code::InvalidRequest.exit()),
        asked => match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => {
                let finished = match asked {
                    Asked::Command(command) => match runtime.block_on(command.run(variables)) {
                        Ok(Printed { text, exit }) => return printed(&text, exit),
                        Err(error) => (trail.error(&error), Code::from(&error).exit()),
                    },
                    _ => runtime.block_on(run(variables, trail)),
                };
                // A name lookup that hangs must not hold the result back.
                runtime.shutdown_background();
                finished
            }
            Err(error) => (trail.fail(Code::Internal, format!("failed to start: {error}")), Code::Internal.exit()),
        },
    };
    for problem in output::write(&result) {
        tracing::error!(problem);
    }
    telemetry::summary(&result);
    ExitCode::from(code)
}

fn printed(text: &str, exit: u8) -> ExitCode {
    output::print(text).map_or(ExitCode::from(Code::Internal.exit()), |()| ExitCode::from(exit))
}
