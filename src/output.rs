//! Where results go: stdout and the termination message. Written once, whatever happens.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use actions::action::LogSink;

use crate::result::{ActionResult, LINE_LIMIT, TERMINATION_LIMIT};

/// Where the kubelet reads the termination message from; there only in a pod.
const TERMINATION_LOG: &str = "/dev/termination-log";

static WRITTEN: AtomicBool = AtomicBool::new(false);

/// Writes the result to stdout and, in a pod, to the termination message; a second call writes nothing. Returns what
/// could not be written, for the log: a closed stdout does not change how the run ended.
pub fn write(result: &ActionResult) -> Vec<String> {
    if WRITTEN.swap(true, Ordering::SeqCst) {
        return Vec::new();
    }
    let termination = terminate(Path::new(TERMINATION_LOG), &result.line(TERMINATION_LIMIT));
    let stdout = line(result.line(LINE_LIMIT).as_bytes());
    let problem = |place: &str, result: io::Result<()>| {
        result.err().map(|error| format!("failed to write the result to {place}: {error}"))
    };
    [problem("stdout", stdout), problem(TERMINATION_LOG, termination)].into_iter().flatten().collect()
}

/// Text of a sub-command.
pub fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

fn line(text: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text)?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}

/// Never creates the file: outside a pod there is none, and nothing is to be left behind.
fn terminate(path: &Path, text: &str) -> io::Result<()> {
    match OpenOptions::new().write(true).truncate(true).open(path) {
        Ok(mut file) => file.write_all(text.as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Log lines on stdout, before the result.
#[derive(Debug)]
pub struct StdoutLines;

impl LogSink for StdoutLines {
    fn write_line(&self, text: &[u8]) -> io::Result<()> {
        if WRITTEN.load(Ordering::SeqCst) {
            return Err(io::Error::other("the result stands already"));
        }
        line(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_termination_message_replaces_what_was_there_and_is_never_created() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("termination-log");
        terminate(&path, "x").unwrap();
        assert!(!path.exists());
        std::fs::write(&path, "an earlier, longer message").unwrap();
        terminate(&path, "{}").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{}");
    }
}
