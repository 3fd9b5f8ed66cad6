//! Logs, to stderr; and what is printed, to stdout.

use std::io::Write;

use anyhow::{Context, Result};
use contract::text::PrintableLines;
use tracing_subscriber::EnvFilter;

/// The lines that are audit events, where there is no other place for them.
const AUDIT: &str = "controller::audit::lane=info";

/// Starts logging. `audited` is true when audit events are lines of the log: no level keeps them out of it.
pub fn start(level: &str, format: &str, audited: bool) -> Result<()> {
    let mut filter = EnvFilter::try_new(level).with_context(|| format!("--log-level: not a filter: {level:?}"))?;
    if audited {
        filter = filter.add_directive(AUDIT.parse()?);
    }
    // Only text has colours of its own.
    let coloured = format == "text";
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || PrintableLines::new(std::io::stderr(), coloured));
    match format {
        "text" => builder.init(),
        _ => builder.json().with_span_list(false).init(),
    }
    Ok(())
}

/// Prints the text of a sub-command.
pub fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Says why the program ends.
pub fn complain(message: &str) {
    // Where stderr is closed nobody can be told.
    let _closed = writeln!(PrintableLines::new(std::io::stderr(), false), "execution-controller: {message}");
}
