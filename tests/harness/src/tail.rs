//! Follows the API server's audit log while it grows: each request once, with its times, in as little memory as one line takes.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Deserialize;

/// One request.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request<'a> {
    /// `ResponseStarted`, `ResponseComplete` or `Panic`.
    stage: &'a str,
    /// `get`, `patch`, `create`, …
    pub verb: &'a str,
    /// Path and query.
    #[serde(borrow, rename = "requestURI")]
    pub uri: Cow<'a, str>,
    /// Who sent it, in its own words.
    #[serde(borrow, default)]
    pub user_agent: Cow<'a, str>,
    /// What it is about.
    #[serde(borrow, default, rename = "objectRef")]
    pub object: Object<'a>,
    #[serde(default)]
    response_status: Answer,
    /// When it arrived.
    #[serde(rename = "requestReceivedTimestamp")]
    pub received: Timestamp,
    /// When it was answered: what it writes is written.
    #[serde(rename = "stageTimestamp")]
    pub answered: Timestamp,
}

/// The object of a request.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Object<'a> {
    /// `deployments`, …
    #[serde(borrow, default)]
    pub resource: Cow<'a, str>,
    /// `status`, …
    #[serde(borrow, default)]
    pub subresource: Cow<'a, str>,
    /// Its namespace.
    #[serde(borrow, default)]
    pub namespace: Cow<'a, str>,
    /// Its name; that of what is created stands here too, if its creator chose it.
    #[serde(borrow, default)]
    pub name: Cow<'a, str>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Answer {
    #[serde(default)]
    code: u16,
}

impl Request<'_> {
    /// The HTTP status; 0 when the log does not tell.
    pub fn code(&self) -> u16 {
        self.response_status.code
    }

    /// Whether it was accepted.
    pub fn accepted(&self) -> bool {
        (200..300).contains(&self.code())
    }

    /// A watch is told of when it begins, everything else when it is answered.
    fn counts(&self) -> bool {
        (self.stage == "ResponseStarted") == (self.verb == "watch")
    }
}

/// A place in the audit log.
pub struct Tail {
    file: BufReader<File>,
    /// The beginning of a line whose end is not there yet.
    begun: Vec<u8>,
}

impl Tail {
    /// From now on.
    pub fn from_now(path: &Path) -> Result<Self> {
        let mut file = File::open(path).context("the audit log is not there")?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { file: BufReader::with_capacity(1 << 20, file), begun: Vec::new() })
    }

    /// Hands over what has been written since it was asked last, and returns how many lines that were. Lines that hold none of
    /// these texts are not parsed.
    pub fn read(&mut self, texts: &[&str], mut take: impl FnMut(&Request<'_>)) -> Result<usize> {
        let mut lines = 0;
        loop {
            let read = self.file.read_until(b'\n', &mut self.begun)?;
            if read == 0 || self.begun.last() != Some(&b'\n') {
                // The rest of the line comes the next time.
                return Ok(lines);
            }
            lines += 1;
            let line = String::from_utf8_lossy(&self.begun);
            if texts.iter().any(|text| line.contains(text)) {
                let request: Request<'_> =
                    serde_json::from_str(&line).with_context(|| format!("a line of the audit log: {line}"))?;
                if request.counts() {
                    take(&request);
                }
            }
            self.begun.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use serde_json::json;

    use super::*;

    fn line(verb: &str, stage: &str, agent: &str) -> String {
        let object = json!({ "resource": "jobs", "namespace": "ns", "name": "a-job" });
        let line = json!({
            "kind": "Event", "stage": stage, "auditID": "1", "requestURI": "/apis/batch/v1/namespaces/ns/jobs?a=\"b\"", "verb": verb,
            "userAgent": agent, "objectRef": object, "responseStatus": { "metadata": {}, "code": 201 },
            "requestReceivedTimestamp": "2026-11-26T02:00:00.000001Z", "stageTimestamp": "2026-11-26T02:00:00.500001Z",
        });
        line.to_string() + "\n"
    }

    #[test]
    fn each_request_is_read_once_also_one_that_is_half_written() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(line("get", "ResponseComplete", "me/1").as_bytes()).unwrap();
        let mut tail = Tail::from_now(file.path()).unwrap();
        let mut seen = Vec::new();
        let mut read = |tail: &mut Tail| {
            tail.read(&["me/"], |one| seen.push((one.verb.to_owned(), one.object.name.to_string(), one.accepted())))
        };
        assert_eq!(read(&mut tail).unwrap(), 0, "what was there before is not read");
        let (create, watch) = (line("create", "ResponseComplete", "me/1"), line("watch", "ResponseStarted", "me/1"));
        let (first, rest) = create.split_at(80);
        file.write_all(first.as_bytes()).unwrap();
        assert_eq!(read(&mut tail).unwrap(), 0);
        let more =
            [rest, &watch, &line("watch", "ResponseComplete", "me/1"), &line("get", "ResponseComplete", "you/1")]
                .concat();
        file.write_all(more.as_bytes()).unwrap();
        assert_eq!(read(&mut tail).unwrap(), 4);
        let name = || "a-job".to_owned();
        assert_eq!(seen, [("create".to_owned(), name(), true), ("watch".to_owned(), name(), true)]);
    }
}
