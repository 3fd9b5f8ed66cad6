//! Reads the logs and writes what fits: from bytes to lines of limited length and number, without secrets.

use std::cell::RefCell;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::output::Output;
use super::sources::Served;
use super::{CollectLogs, Destination, Details, Report, Source, Target};
use crate::cluster::error::{Error, Result};
use crate::cluster::run::RunContext;
use crate::cluster::{Cluster, Line, LogError, LogOptions};
use crate::export::budget::Budget;
use crate::export::redact_text::Redactor;

/// Container runtimes split lines at 8 to 16 KiB; a line on stdout stays below.
const LINE_LIMIT: usize = 8 << 10;
/// The most bytes of a raw line that are read: more than are kept, so that a secret at the cut is redacted, not halved.
const RAW_LINE_LIMIT: usize = 64 << 10;
/// No RFC 3339 time is longer.
const TIME_LENGTH: usize = 40;

/// One line of a container's log, as it stands on stdout.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogLine<'a> {
    /// `LogLine`
    pub kind: &'static str,
    /// Namespace of the pod.
    pub namespace: &'a str,
    /// Name of the pod.
    pub pod: &'a str,
    /// Name of the container.
    pub container: &'a str,
    /// True when the line is from the instance before the last restart.
    pub previous: bool,
    /// Time when the line was written, if `timestamps`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<&'a str>,
    /// The line.
    pub line: &'a str,
}

pub(super) fn report(source: &Source, error: Option<String>) -> Report {
    Report {
        pod: source.pod.name.to_string(),
        container: source.container.clone(),
        kind: source.kind,
        previous: source.previous,
        lines: 0,
        dropped_lines: 0,
        incomplete: None,
        error,
    }
}

/// The lines that were read so far.
pub(super) struct Collection {
    budget: Budget,
    errors: Vec<Option<String>>,
    incomplete: Vec<Option<String>>,
    redacted: usize,
    cut: usize,
}

impl Collection {
    pub(super) fn new(logs: &CollectLogs, target: &Target) -> Self {
        let most = usize::try_from(logs.max_bytes).unwrap_or(usize::MAX);
        let errors = target.sources.iter().map(|source| source.obstacle.clone()).collect();
        let incomplete = vec![None; target.sources.len()];
        let mut budget = Budget::new(most, target.sources.len());
        if logs.destination == Destination::Url {
            budget = budget.beside_a_bundle();
        }
        Self { budget, errors, incomplete, redacted: 0, cut: 0 }
    }

    /// Warns about single containers; fails when there were logs to read, but nothing could be read.
    pub(super) fn complain(&self, target: &Target, run: &RunContext) -> Result<()> {
        /// Enough to see the pattern; `details.containers` has all.
        const WARNINGS: usize = 5;
        let failed: Vec<_> = target
            .sources
            .iter()
            .zip(&self.errors)
            .filter_map(|(source, error)| Some((source, error.as_ref()?)))
            .collect();
        let tried = target.sources.iter().filter(|source| source.obstacle.is_none()).count();
        let failed_reads = failed.iter().filter(|(source, _)| source.obstacle.is_none()).count();
        for (source, error) in failed.iter().take(WARNINGS) {
            run.progress.warn(format!("container {} of {}: {error}", source.container, source.pod));
        }
        match failed.first() {
            Some((source, error)) if tried > 0 && failed_reads == tried && self.budget.is_empty() => {
                Err(Error::Unavailable {
                    message: format!(
                        "none of {tried} logs could be read; container {} of {}: {error}",
                        source.container, source.pod
                    ),
                    source: None,
                })
            }
            _ => Ok(()),
        }
    }
}

impl CollectLogs {
    /// Reads one log into the collection. Fails only for what concerns the whole run.
    pub(super) async fn read(
        &self,
        cluster: &Cluster,
        source: &Source,
        index: usize,
        collection: &RefCell<Collection>,
    ) -> Result<()> {
        let options = LogOptions {
            container: source.container.clone(),
            previous: source.previous,
            since_seconds: self.since_seconds,
            tail_lines: self.tail_lines,
        };
        let mut served = Served::now();
        let mut log = match cluster.logs(&source.pod, &options, RAW_LINE_LIMIT).await {
            Ok(log) => log,
            Err(LogError::Run(error)) => return Err(error),
            Err(LogError::Container(why)) => {
                collection.borrow_mut().set_error(index, why);
                return Ok(());
            }
        };
        let mut redactor = Redactor::default();
        let mut last = Vec::new();
        loop {
            let line = match tokio::time::timeout(cluster.remaining(), log.next()).await {
                Ok(Ok(Some(line))) => line,
                Ok(Ok(None)) => {
                    served.ends = line_time(&last);
                    collection.borrow_mut().set_incomplete(index, self.incomplete(source, &served));
                    return Ok(());
                }
                Ok(Err(why)) => {
                    collection.borrow_mut().set_error(index, why);
                    return Ok(());
                }
                Err(_) => {
                    collection.borrow_mut().set_error(index, "not read to its end: the time was over".to_owned());
                    return Ok(());
                }
            };
            served.lines += 1;
            served.bytes += u64::try_from(line.bytes.len() + line.cut).unwrap_or(0);
            if served.lines == 1 && kubelet_error(&line.bytes) {
                collection.borrow_mut().set_error(index, String::from_utf8_lossy(&line.bytes).into_owned());
                continue;
            }
            if served.lines == 1 {
                served.begins = line_time(&line.bytes);
            }
            last.clear();
            last.extend(line.bytes.iter().take(TIME_LENGTH + 1));
            self.keep((source, index), line, &mut redactor, &mut collection.borrow_mut());
        }
    }

    /// Returns why a log that was read to its end may lack its beginning.
    fn incomplete(&self, source: &Source, served: &Served) -> Option<String> {
        let all_that_was_asked = self.tail_lines.is_some_and(|tail| served.lines >= tail);
        let since = self.since_seconds.and_then(|seconds| i64::try_from(seconds).ok());
        source.ran.as_ref().filter(|_| !all_that_was_asked).and_then(|ran| ran.missing(served, since))
    }

    fn keep(
        &self,
        (source, index): (&Source, usize),
        line: Line,
        redactor: &mut Redactor,
        collection: &mut Collection,
    ) {
        let mut bytes = line.bytes;
        if self.redact {
            let (clean, count) = redactor.line(&bytes);
            bytes = clean;
            collection.redacted += count;
        }
        let (encoded, cut) = self.encode(source, &bytes, line.cut);
        collection.cut += usize::from(cut);
        collection.budget.push(index, encoded);
    }

    /// Encodes a line with at most [`LINE_LIMIT`] bytes, and returns whether its end was cut off.
    fn encode(&self, source: &Source, bytes: &[u8], cut: usize) -> (Vec<u8>, bool) {
        let text = String::from_utf8_lossy(bytes);
        let (timestamp, whole) = match split_time(&text) {
            Some((timestamp, line)) => (Some(timestamp).filter(|_| self.timestamps), line),
            None => (None, text.as_ref()),
        };
        let (mut kept, mut lost) = (whole.len(), cut);
        loop {
            let end = floor_char_boundary(whole, kept);
            lost += kept - end;
            let mut line = whole.get(..end).unwrap_or_default().to_owned();
            if lost > 0 {
                line.push_str(&format!("… [cut: {lost} more bytes]"));
            }
            let encoded = match self.destination {
                Destination::Stdout => encode_json(source, timestamp, &line),
                Destination::Directory | Destination::Url => {
                    timestamp.map(|time| format!("{time} {line}")).unwrap_or(line).into_bytes()
                }
            };
            if encoded.len() <= LINE_LIMIT || end == 0 {
                return (encoded, lost > 0);
            }
            // Escapes make a line longer: cut a quarter until it fits.
            let shorter = end.min(LINE_LIMIT) * 3 / 4;
            lost += end - shorter;
            kept = shorter;
        }
    }

    pub(super) fn write(target: &Target, collection: Collection, output: &mut dyn Output) -> Result<Details> {
        let unwritable = |error: std::io::Error| Error::Internal(format!("failed to write the log lines: {error}"));
        let mut details = Details {
            pods: target.pods,
            cut_lines: collection.cut,
            redacted: collection.redacted,
            ..Details::default()
        };
        let Collection { budget, errors, incomplete, .. } = collection;
        let notes = errors.into_iter().zip(incomplete);
        for ((source, share), (error, incomplete)) in target.sources.iter().zip(budget.into_shares()).zip(notes) {
            output.put(source, &share).map_err(unwritable)?;
            details.lines += share.lines.len();
            details.bytes += share.bytes;
            details.dropped_lines += share.dropped;
            let (lines, dropped_lines) = (share.lines.len(), share.dropped);
            details.containers.push(Report { lines, dropped_lines, incomplete, ..report(source, error) });
        }
        Ok(details)
    }
}

impl Collection {
    fn set_error(&mut self, index: usize, why: String) {
        if let Some(error) = self.errors.get_mut(index) {
            *error = Some(why);
        }
    }

    fn set_incomplete(&mut self, index: usize, why: Option<String>) {
        // If the log could not be read, the error says more.
        let failed = self.errors.get(index).is_some_and(Option::is_some);
        if let Some(incomplete) = self.incomplete.get_mut(index).filter(|_| !failed) {
            *incomplete = why;
        }
    }
}

/// Splits off the time that the API server puts before a line. If the server ignored `timestamps`, the first word must
/// not be taken for a time.
fn split_time(text: &str) -> Option<(&str, &str)> {
    text.split_once(' ').filter(|(word, _)| word.len() <= TIME_LENGTH && word.parse::<Timestamp>().is_ok())
}

/// Returns the time at the beginning of a line.
fn line_time(bytes: &[u8]) -> Option<Timestamp> {
    let head = bytes.get(..bytes.len().min(TIME_LENGTH + 1)).unwrap_or_default();
    split_time(&String::from_utf8_lossy(head)).and_then(|(time, _)| time.parse().ok())
}

fn floor_char_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|index| text.is_char_boundary(*index)).unwrap_or(0)
}

/// Returns whether the line is the kubelet's message that the runtime has lost the file, sent as a log with status 200
/// (kubernetes#142258).
fn kubelet_error(line: &[u8]) -> bool {
    line.starts_with(b"unable to retrieve container logs for ")
        || line.starts_with(b"failed to try resolving symlinks in path ")
}

fn encode_json(source: &Source, timestamp: Option<&str>, line: &str) -> Vec<u8> {
    let namespace = source.pod.namespace.as_ref().map(ToString::to_string).unwrap_or_default();
    let line = LogLine {
        kind: "LogLine",
        namespace: &namespace,
        pod: source.pod.name.as_str(),
        container: &source.container,
        previous: source.previous,
        timestamp,
        line,
    };
    // Strings and a bool: serialising them cannot fail.
    serde_json::to_vec(&line).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect_logs::ContainerKind;
    use crate::k8s::{Kind, ObjectRef};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn logs(parameters: Value) -> CollectLogs {
        serde_json::from_value(parameters).unwrap()
    }

    fn source() -> Source {
        let pod = ObjectRef {
            resource: Kind::Pod.resource(),
            namespace: Some("shop".parse().unwrap()),
            name: "web-1".parse().unwrap(),
            uid: None,
        };
        Source {
            pod,
            container: "app".to_owned(),
            kind: ContainerKind::Main,
            previous: false,
            obstacle: None,
            ran: None,
        }
    }

    #[test]
    fn a_line_is_an_object_of_its_own() {
        let (line, cut) = logs(json!({})).encode(&source(), b"2026-11-23T10:00:00.1Z hello", 0);
        assert!(!cut);
        assert_eq!(
            String::from_utf8(line).unwrap(),
            r#"{"kind":"LogLine","namespace":"shop","pod":"web-1","container":"app","previous":false,"timestamp":"2026-11-23T10:00:00.1Z","line":"hello"}"#
        );
    }

    proptest! {
        #[test]
        fn no_line_is_longer_than_the_limit(bytes in proptest::collection::vec(any::<u8>(), 0..20_000)) {
            let (line, _) = logs(json!({ "timestamps": false })).encode(&source(), &bytes, 0);
            prop_assert!(line.len() <= LINE_LIMIT);
            prop_assert!(serde_json::from_slice::<Value>(&line).is_ok());
        }
    }

    #[test]
    fn a_cut_line_says_how_much_is_missing() {
        let (line, cut) = logs(json!({ "timestamps": false })).encode(&source(), &vec![b'x'; 10_000], 90_000);
        let line: Value = serde_json::from_slice(&line).unwrap();
        let text = line["line"].as_str().unwrap();
        let kept = text.chars().filter(|c| *c == 'x').count();
        assert!(
            cut && text.ends_with(&format!("… [cut: {} more bytes]", 100_000 - kept)),
            "{}",
            &text[text.len() - 40..]
        );
    }
}
