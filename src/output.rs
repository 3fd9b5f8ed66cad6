//! Writes results to stdout and the termination message. Once, whatever happens; and in time, whether or not anybody reads.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use actions::cluster::run::LogSink;
use contract::result::{API_VERSION, ActionResult, KIND, LINE_LIMIT, TERMINATION_LIMIT};
use contract::text::{printable, shorten};
use serde_json::{Map, Value};

/// The file from which the kubelet reads the termination message; exists only in a pod.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// The longest sentence of a result: an API server's message can be long, and the rest must still fit beside it.
const SENTENCE_LIMIT: usize = 1500;

static WRITTEN: AtomicBool = AtomicBool::new(false);

/// Time for a reader of stderr, and at least that for one of stdout: who reads at all does so within milliseconds.
pub const BRIEFLY: Duration = Duration::from_secs(1);

/// The stack of a thread that only writes.
const STACK: usize = 256 << 10;

/// Writes the result to the termination message, in a pod, and then to stdout, which may take this long; a second call
/// writes nothing. If nobody reads stdout, the result goes to stderr. Returns what could not be written, for the log: a
/// closed stdout does not change how the run ended.
pub fn write(result: &ActionResult, limit: Duration) -> Vec<String> {
    if WRITTEN.swap(true, Ordering::SeqCst) {
        return Vec::new();
    }
    write_to(
        Path::new(TERMINATION_LOG),
        |text| within(limit, move || whole(io::stdout().lock(), text + "\n")),
        result,
        limit,
    )
}

fn write_to(
    termination: &Path,
    stdout: impl FnOnce(String) -> Option<io::Result<()>>,
    result: &ActionResult,
    limit: Duration,
) -> Vec<String> {
    let terminated = terminate(termination, &line_of(result, TERMINATION_LIMIT));
    let text = line_of(result, LINE_LIMIT);
    let stdout = match stdout(text.clone()) {
        Some(Ok(())) => None,
        Some(Err(error)) => Some(format!("failed to write the result to stdout: {error}")),
        None => {
            // If nobody reads that either, the termination message and the exit code are left.
            let _unread = within(BRIEFLY, move || whole(io::stderr().lock(), text + "\n"));
            Some(format!("nobody has read stdout for {:.1} s: the result is on stderr", limit.as_secs_f32()))
        }
    };
    let terminated = terminated.err().map(|error| format!("failed to write the result to {TERMINATION_LOG}: {error}"));
    [stdout, terminated].into_iter().flatten().collect()
}

/// Does something that may never end, for at most this long; afterwards it stays behind on a thread of its own, which ends
/// with the process.
pub fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, waiting) = mpsc::channel();
    let work = move || {
        // Nobody waits any more, if it took too long.
        let _late = done.send(work());
    };
    thread::Builder::new().stack_size(STACK).spawn(work).ok()?;
    waiting.recv_timeout(limit).ok()
}

/// Prints the text of a sub-command.
pub fn print(text: &str) -> io::Result<()> {
    whole(io::stdout().lock(), text)
}

fn whole(mut place: impl Write, text: impl AsRef<[u8]>) -> io::Result<()> {
    place.write_all(text.as_ref())?;
    place.flush()
}

/// Writes the termination message. Never creates the file: outside a pod there is none, and nothing is left behind.
fn terminate(path: &Path, text: &str) -> io::Result<()> {
    match OpenOptions::new().write(true).truncate(true).open(path) {
        Ok(mut file) => file.write_all(text.as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Writes log lines to stdout, before the result.
#[derive(Debug)]
pub struct StdoutLines;

impl LogSink for StdoutLines {
    fn write_lines(&self, lines: &[u8]) -> io::Result<()> {
        if WRITTEN.load(Ordering::SeqCst) {
            return Err(io::Error::other("the result stands already"));
        }
        whole(io::stdout().lock(), lines)
    }
}

/// A field that can be left out, and the function that does so.
type Trim = (&'static str, fn(&mut ActionResult) -> bool);

const TRIMS: [Trim; 14] = [
    ("details.containers", |result| {
        result
            .details
            .as_mut()
            .and_then(Value::as_object_mut)
            .is_some_and(|details| details.remove("containers").is_some())
    }),
    ("details.obstacles.logs", |result| of_obstacles(result, "logs")),
    ("details.obstacles.events", |result| of_obstacles(result, "events")),
    ("changes.patch", |result| {
        let mut had = false;
        for change in result.changes.iter_mut().flatten() {
            had |= change.patch.take().is_some();
        }
        had
    }),
    ("phases", |result| result.phases.take().is_some()),
    ("details", |result| result.details.take().is_some()),
    ("parameters", |result| result.parameters.take().is_some()),
    ("runner", |result| result.runner.take().is_some()),
    ("changes", |result| result.changes.take().is_some()),
    ("preConditionResults", |result| !std::mem::take(&mut result.pre_condition_results).is_empty()),
    ("postConditionResults", |result| !std::mem::take(&mut result.post_condition_results).is_empty()),
    ("warnings", |result| !std::mem::take(&mut result.warnings).is_empty()),
    ("rollbackInformation", |result| result.rollback_information.take().is_some()),
    ("requests", |result| result.requests.take().is_some()),
];

/// Leaves out a field of everything that stood in the way.
fn of_obstacles(result: &mut ActionResult, field: &str) -> bool {
    let obstacles =
        result.details.as_mut().and_then(|details| details.get_mut("obstacles")).and_then(Value::as_array_mut);
    let mut had = false;
    for one in obstacles.into_iter().flatten().filter_map(Value::as_object_mut) {
        had |= one.remove(field).is_some();
    }
    had
}

/// Returns the result as one line of JSON of at most `limit` bytes: whole fields are left out until it fits.
pub fn line_of(result: &ActionResult, limit: usize) -> String {
    let mut result = result.clone();
    for (name, sentence) in [("output", &mut result.output), ("error", &mut result.error)] {
        if let Some(sentence) = sentence.as_mut().filter(|sentence| sentence.len() > SENTENCE_LIMIT) {
            *sentence = shorten(sentence, SENTENCE_LIMIT);
            result.trimmed.push(name.to_owned());
        }
    }
    let mut trims = TRIMS.iter();
    loop {
        let line = serde_json::to_string(&result).unwrap_or_else(|error| unserializable(&error));
        // The same JSON, without what a terminal would obey in a text of others.
        let line = printable(&line).into_owned();
        if line.len() <= limit {
            return line;
        }
        match trims.next() {
            Some((name, trim)) => {
                if trim(&mut result) {
                    result.trimmed.push((*name).to_owned());
                }
            }
            None => return line,
        }
    }
}

/// Returns a result for the case that serializing fails, which the types of the result never do.
fn unserializable(error: &serde_json::Error) -> String {
    let mut result = Map::new();
    result.insert("apiVersion".to_owned(), API_VERSION.into());
    result.insert("kind".to_owned(), KIND.into());
    result.insert("success".to_owned(), false.into());
    result.insert("code".to_owned(), "Internal".into());
    result.insert("effect".to_owned(), "unknown".into());
    result.insert("error".to_owned(), error.to_string().into());
    Value::Object(result).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::code::Code;
    use contract::result::{Change, ObjectReference, Operation};
    use proptest::prelude::*;
    use serde_json::json;

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

    /// A reader that never reads holds neither the termination message nor the end.
    #[test]
    fn what_nobody_reads_is_in_the_termination_message() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("termination-log");
        std::fs::write(&path, "").unwrap();
        let (reader, writer) = io::pipe().unwrap();
        let long = "x".repeat(1 << 20);
        let (limit, result) = (Duration::from_millis(50), result("gone wrong".to_owned(), Value::Null));
        let problems = write_to(&path, |_| within(limit, move || whole(writer, long)), &result, limit);
        assert_eq!(problems, ["nobody has read stdout for 0.1 s: the result is on stderr"]);
        let told: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(told["error"], "gone wrong");
        drop(reader);
    }

    #[test]
    fn what_ends_in_time_is_not_cut_off() {
        assert_eq!(within(Duration::from_mins(1), || 7), Some(7));
        assert_eq!(within(Duration::from_millis(10), || thread::sleep(Duration::from_mins(1))), None);
    }

    fn result(error: String, details: Value) -> ActionResult {
        let record = crate::run::record::RunRecord::new(jiff::Timestamp::UNIX_EPOCH);
        let mut result = record.fail(Code::Internal, error);
        result.details = Some(details);
        result
    }

    proptest! {
        #[test]
        fn is_never_longer_than_its_limit(error in ".{0,9000}", size in 0_usize..9000) {
            let result = result(error, json!({ "containers": "x".repeat(size), "other": "y".repeat(size) }));
            for limit in [LINE_LIMIT, TERMINATION_LIMIT] {
                let line = line_of(&result, limit);
                prop_assert!(line.len() <= limit, "{}", line.len());
                let parsed: Value = serde_json::from_str(&line).unwrap();
                prop_assert_eq!(&parsed["kind"], KIND);
                let head = r#"{"apiVersion":"kubernetesexecution.kubernaut.io/v1alpha1","kind":"ActionResult""#;
                prop_assert!(line.starts_with(head), "{}", line);
            }
        }
    }

    /// The least important first; a field that was absent is not listed as left out.
    #[test]
    fn leaves_out_one_field_after_the_other() {
        let mut result = result("x".to_owned(), json!({ "containers": "x".repeat(200), "more": 2 }));
        result.parameters = Some(json!({}));
        result.warnings = vec!["w".to_owned()];
        let trimmed =
            |limit: usize| serde_json::from_str::<Value>(&line_of(&result, limit)).unwrap()["trimmed"].clone();
        let whole = serde_json::to_string(&result).unwrap().len();
        assert_eq!(trimmed(whole), Value::Null);
        assert_eq!(trimmed(whole - 100), json!(["details.containers"]));
        let all =
            ["details.containers", "phases", "details", "parameters", "runner", "changes", "warnings", "requests"];
        let gone: Vec<String> = serde_json::from_value(trimmed(0)).unwrap();
        assert!(gone.iter().all(|one| all.contains(&one.as_str())), "{gone:?}");
        assert!(gone.contains(&"warnings".to_owned()) && gone.contains(&"requests".to_owned()), "{gone:?}");
    }

    /// The words of what stood in the way are kept for longer than its logs and events.
    #[test]
    fn logs_of_obstacles_are_left_out_before_their_events() {
        let obstacle = |fields: Value| json!({ "obstacles": [fields, { "state": "x" }] });
        let text = "x".repeat(3000);
        let both = result("x".to_owned(), obstacle(json!({ "state": "s", "logs": [text], "events": [text] })));
        let parsed: Value = serde_json::from_str(&line_of(&both, 5000)).unwrap();
        assert_eq!(
            (&parsed["trimmed"], &parsed["details"]),
            (&json!(["details.obstacles.logs"]), &obstacle(json!({ "state": "s", "events": [text] })))
        );
        let parsed: Value = serde_json::from_str(&line_of(&both, 2000)).unwrap();
        assert_eq!(parsed["details"], obstacle(json!({ "state": "s" })));
        assert_eq!(parsed["trimmed"], json!(["details.obstacles.logs", "details.obstacles.events"]));
    }

    #[test]
    fn what_does_not_serialise_is_told_in_the_results_own_shape() {
        let error = serde_json::from_str::<Value>("{").unwrap_err();
        let told: Value = serde_json::from_str(&unserializable(&error)).unwrap();
        assert_eq!(
            (&told["kind"], &told["code"], &told["effect"]),
            (&json!(KIND), &json!("Internal"), &json!("unknown"))
        );
        assert!(told["error"].is_string());
    }

    #[test]
    fn a_patch_is_left_out_before_the_change_is() {
        let object = ObjectReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            namespace: None,
            name: "n".to_owned(),
            uid: None,
            subresource: None,
        };
        let patch = Some(json!("x".repeat(LINE_LIMIT)));
        let mut result = result("x".to_owned(), Value::Null);
        result.changes = Some(vec![Change { object, operation: Operation::Patch, patch }]);
        let parsed: Value = serde_json::from_str(&line_of(&result, LINE_LIMIT)).unwrap();
        assert_eq!(parsed["trimmed"], json!(["changes.patch"]));
        assert_eq!(parsed["changes"][0]["object"]["name"], "n");
    }

    #[test]
    fn says_what_was_left_out() {
        let result = result("x".to_owned(), json!({ "containers": "x".repeat(9000) }));
        let line = line_of(&result, LINE_LIMIT);
        let parsed: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(parsed["trimmed"], json!(["details.containers"]));
    }
}
