//! Writes results to stdout and the termination message. Once, whatever happens.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use actions::cluster::run::LogSink;
use contract::result::{API_VERSION, ActionResult, KIND, LINE_LIMIT, TERMINATION_LIMIT};
use contract::text::shorten;
use serde_json::{Map, Value};

/// The file from which the kubelet reads the termination message; exists only in a pod.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// The longest sentence of a result: an API server's message can be long, and the rest must still fit beside it.
const SENTENCE_LIMIT: usize = 1500;

static WRITTEN: AtomicBool = AtomicBool::new(false);

/// Writes the result to stdout and, in a pod, to the termination message; a second call writes nothing. Returns what
/// could not be written, for the log: a closed stdout does not change how the run ended.
pub fn write(result: &ActionResult) -> Vec<String> {
    if WRITTEN.swap(true, Ordering::SeqCst) {
        return Vec::new();
    }
    let termination = terminate(Path::new(TERMINATION_LOG), &line_of(result, TERMINATION_LIMIT));
    let stdout = line(line_of(result, LINE_LIMIT).as_bytes());
    let problem = |place: &str, result: io::Result<()>| {
        result.err().map(|error| format!("failed to write the result to {place}: {error}"))
    };
    [problem("stdout", stdout), problem(TERMINATION_LOG, termination)].into_iter().flatten().collect()
}

/// Prints the text of a sub-command.
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
    fn write_line(&self, text: &[u8]) -> io::Result<()> {
        if WRITTEN.load(Ordering::SeqCst) {
            return Err(io::Error::other("the result stands already"));
        }
        line(text)
    }
}

/// A field that can be left out, and the function that does so.
type Trim = (&'static str, fn(&mut ActionResult) -> bool);

const TRIMS: [Trim; 12] = [
    ("details.containers", |result| {
        result
            .details
            .as_mut()
            .and_then(Value::as_object_mut)
            .is_some_and(|details| details.remove("containers").is_some())
    }),
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
