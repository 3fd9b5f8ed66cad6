//! Keeps of the logs what fits: from bytes to lines of limited length and number, without secrets.

use std::borrow::Cow;
use std::collections::BTreeSet;

use contract::text::printable;
use jiff::Timestamp;

use super::line::LogLine;
use super::output::Output;
use super::{CollectLogs, Destination, Details, Report, Source, Target};
use crate::cluster::Line;
use crate::cluster::error::{Error, Result};
use crate::cluster::run::RunContext;
use crate::export::budget::Budget;
use crate::export::redact_text::Redactor;

/// Container runtimes split lines at 8 to 16 KiB; a line on stdout stays below.
const LINE_LIMIT: usize = 8 << 10;
/// No RFC 3339 time is longer.
const TIME_LENGTH: usize = 40;

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
    /// The line that is added, in memory that is used again.
    encoded: Vec<u8>,
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
        Self { budget, errors, incomplete, redacted: 0, cut: 0, encoded: Vec::new() }
    }

    /// Says of the logs of pods in whose place others are by now that they may be those of the others.
    pub(super) fn doubt(&mut self, target: &Target, replaced: &BTreeSet<String>) {
        for (source, error) in target.sources.iter().zip(&mut self.errors) {
            if error.is_none() && replaced.contains(source.pod.name.as_str()) {
                *error = Some("another pod has its name by now: these lines may be of that one".to_owned());
            }
        }
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
    /// Takes one line of a log.
    pub(super) fn keep(
        &self,
        (source, index): (&Source, usize),
        line: &Line,
        redactor: &mut Redactor,
        collection: &mut Collection,
    ) {
        let (clean, count) = if self.redact { redactor.line(&line.bytes) } else { (Cow::Borrowed(&*line.bytes), 0) };
        collection.redacted += count;
        collection.cut += usize::from(self.encode(source, &clean, line.cut, &mut collection.encoded));
        collection.budget.push(index, &collection.encoded);
    }

    /// Encodes a line with at most [`LINE_LIMIT`] bytes, and returns whether its end was cut off.
    fn encode(&self, source: &Source, bytes: &[u8], cut: usize, into: &mut Vec<u8>) -> bool {
        let text = String::from_utf8_lossy(bytes);
        let (timestamp, whole) = match split_time(&text) {
            Some((timestamp, line)) => (Some(timestamp).filter(|_| self.timestamps), line),
            None => (None, text.as_ref()),
        };
        // A terminal may show it: raw, by jq, or from the file.
        let whole = &*printable(whole);
        let (mut kept, mut lost) = (whole.len(), cut);
        loop {
            let end = floor_char_boundary(whole, kept);
            lost += kept - end;
            let mut line = Cow::Borrowed(whole.get(..end).unwrap_or_default());
            if lost > 0 {
                line.to_mut().push_str(&format!("… [cut: {lost} more bytes]"));
            }
            into.clear();
            match self.destination {
                Destination::Stdout => LogLine::encode(source, timestamp, &line, into),
                Destination::Directory | Destination::Url => {
                    for text in timestamp.into_iter().flat_map(|time| [time, " "]).chain([&*line]) {
                        into.extend_from_slice(text.as_bytes());
                    }
                }
            }
            if into.len() <= LINE_LIMIT || end == 0 {
                return lost > 0;
            }
            // Escapes make a line longer: cut a quarter until it fits.
            let shorter = end.min(LINE_LIMIT) * 3 / 4;
            lost += end - shorter;
            kept = shorter;
        }
    }

    /// Writes what was kept.
    pub(super) fn write(
        (sources, pods): (&[Source], usize),
        collection: Collection,
        output: &mut dyn Output,
    ) -> Result<Details> {
        let unwritable = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => Error::Refused(format!(
                "directory: {error}; what lies there is not written to: give an empty folder (files that were written before this one stay)"
            )),
            _ => Error::Internal(format!("failed to write the log lines: {error}")),
        };
        let mut details =
            Details { pods, cut_lines: collection.cut, redacted: collection.redacted, ..Details::default() };
        let Collection { budget, errors, incomplete, .. } = collection;
        let notes = errors.into_iter().zip(incomplete);
        for ((source, share), (error, incomplete)) in sources.iter().zip(budget.into_shares()).zip(notes) {
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
    pub(super) fn set_error(&mut self, index: usize, why: String) {
        if let Some(error) = self.errors.get_mut(index) {
            *error = Some(why);
        }
    }

    pub(super) fn set_incomplete(&mut self, index: usize, why: Option<String>) {
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
    text.split_once(' ').filter(|(word, _)| is_time(word.as_bytes()))
}

/// Returns whether a word is written as RFC 3339 says. Asked of every line, so it is not read as a time.
fn is_time(word: &[u8]) -> bool {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00";
    let same = |(byte, shape): (&u8, &u8)| if *shape == b'0' { byte.is_ascii_digit() } else { byte == shape };
    let (Some(shaped), Some(rest)) = (word.get(..SHAPE.len()), word.get(SHAPE.len()..)) else { return false };
    let zone = rest.strip_prefix(b".").map_or(rest, |rest| {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        rest.get(digits..).unwrap_or_default()
    });
    let numbers = |zone: &[u8]| zone.len() == 6 && zone.iter().zip(b"+00:00").skip(1).all(same);
    let is_zone = match zone.first() {
        Some(b'Z') => zone.len() == 1,
        Some(b'+' | b'-') => numbers(zone),
        _ => false,
    };
    is_zone && word.len() <= TIME_LENGTH && shaped.iter().zip(SHAPE).all(same)
}

/// Returns the part of a line that its time is in.
pub(super) fn head(bytes: &[u8]) -> &[u8] {
    bytes.get(..bytes.len().min(TIME_LENGTH + 1)).unwrap_or_default()
}

/// Returns the time at the beginning of a line.
pub(super) fn line_time(bytes: &[u8]) -> Option<Timestamp> {
    split_time(&String::from_utf8_lossy(head(bytes))).and_then(|(time, _)| time.parse().ok())
}

fn floor_char_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|index| text.is_char_boundary(*index)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect_logs::ContainerKind;
    use crate::k8s::{Kind, ObjectRef};
    use proptest::prelude::*;
    use rstest::rstest;
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
            node: None,
            out_of_sight: false,
        }
    }

    fn encode(parameters: Value, bytes: &[u8], cut: usize) -> (Vec<u8>, bool) {
        let mut line = Vec::new();
        let cut = logs(parameters).encode(&source(), bytes, cut, &mut line);
        (line, cut)
    }

    #[rstest]
    #[case::of_a_kubelet("2026-11-23T10:00:00.123456789Z", true)]
    #[case::of_a_zone("2026-11-23T10:00:00.1+02:00", true)]
    #[case::whole("2026-11-23T10:00:00Z", true)]
    #[case::without_a_zone("2026-11-23T10:00:00.1", false)]
    #[case::a_day("2026-11-23", false)]
    #[case::more("2026-11-23T10:00:00ZZ", false)]
    #[case::half_a_zone("2026-11-23T10:00:00+02", false)]
    #[case::a_level("INFO", false)]
    #[case::nothing("", false)]
    fn a_time_is_known_by_its_shape(#[case] word: &str, #[case] time: bool) {
        assert_eq!(is_time(word.as_bytes()), time);
        assert!(!time || word.parse::<Timestamp>().is_ok(), "what is taken for one can be read");
    }

    #[test]
    fn a_line_is_an_object_of_its_own() {
        let (line, cut) = encode(json!({}), b"2026-11-23T10:00:00.1Z hello", 0);
        assert!(!cut);
        assert_eq!(
            String::from_utf8(line).unwrap(),
            r#"{"kind":"LogLine","namespace":"shop","pod":"web-1","container":"app","previous":false,"timestamp":"2026-11-23T10:00:00.1Z","line":"hello"}"#
        );
    }

    proptest! {
        #[test]
        fn no_line_is_longer_than_the_limit(bytes in proptest::collection::vec(any::<u8>(), 0..20_000)) {
            let (line, _) = encode(json!({ "timestamps": false }), &bytes, 0);
            prop_assert!(line.len() <= LINE_LIMIT);
            prop_assert!(serde_json::from_slice::<Value>(&line).is_ok());
        }
    }

    #[test]
    fn a_line_commands_no_terminal() {
        let raw = "2026-11-23T10:00:00.1Z a\tb\u{1b}[31mred\u{9b}2J\u{7f}\u{202e}txet\u{2066}\r".as_bytes();
        let shown = r"[31mred\u009b2J\u007f\u202etxet\u2066\r";
        let (line, _) = encode(json!({}), raw, 0);
        let text = String::from_utf8(line).unwrap();
        assert!(!contract::text::has_commands(&text), "{text}");
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["line"], format!("a\tb\\u001b{shown}"));
        let (line, _) = encode(json!({ "destination": "directory" }), raw, 0);
        assert_eq!(String::from_utf8(line).unwrap(), format!("2026-11-23T10:00:00.1Z a\tb\\u001b{shown}"));
    }

    #[test]
    fn a_cut_line_says_how_much_is_missing() {
        let (line, cut) = encode(json!({ "timestamps": false }), &vec![b'x'; 10_000], 90_000);
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
