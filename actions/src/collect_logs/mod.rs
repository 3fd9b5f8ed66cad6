//! # collect-logs
//!
//! Reads the logs of every container (init, main, ephemeral) of a pod, a workload's pods or a selection, of the current
//! and, where a container was restarted, the previous instance. The newest lines are kept, the budget is shared fairly,
//! and secrets are redacted. One container that cannot be read does not stop the others; it is listed with its reason.

mod budget;
mod redact;
mod sources;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use futures::StreamExt;
use regex::bytes::RegexBuilder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::action::{Action, Decision, LogSink, Named, RollbackInformation, RunContext, Subject, Told};
use crate::cluster::{Cluster, Commit, LogError, LogOptions};
use crate::error::{Error, Result};
use crate::object::{Kind, ObjectRef, Resource};
use crate::parameters::{Waiting, yes};
use crate::permission::Permission;
use budget::Budget;
use redact::Redactor;
pub use sources::{ContainerKind, Source};

/// The kubelet serves about 5 MB/s and the client speaks HTTP/1.1: more connections would only be more connections.
const AT_ONCE: usize = 4;
/// Container runtimes split lines at 8 to 16 KiB; a line on stdout stays below.
const LINE_LIMIT: usize = 8 << 10;
/// How much of one raw line is looked at, so that a secret behind the cut is redacted and not halved.
const RAW_LINE_LIMIT: usize = 64 << 10;
/// The most on stdout: the kubelet rotates the runner's own log at 10 MiB.
const MOST_ON_STDOUT: u64 = 5 << 20;
/// The most in files: it is held in memory until the newest lines are known, in a pod of 64 MiB.
const MOST_IN_FILES: u64 = 32 << 20;

/// Parameters of `collect-logs`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CollectLogs {
    /// Which instances of each container.
    #[serde(default)]
    pub instances: Instances,
    /// Only lines younger than this many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub since_seconds: Option<u64>,
    /// Only this many lines from the end of each log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail_lines: Option<u64>,
    /// Only containers whose whole name matches this regular expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containers: Option<String>,
    /// How many bytes of output over all containers: 5 MiB at most on stdout, 32 MiB in files.
    #[serde(default = "one_mebibyte")]
    pub max_bytes: u64,
    /// Whether lines carry their time.
    #[serde(default = "yes")]
    pub timestamps: bool,
    /// Whether what looks like a secret is replaced by `[REDACTED]`.
    #[serde(default = "yes")]
    pub redact: bool,
    /// Where the lines go.
    #[serde(default)]
    pub destination: Destination,
    /// The folder for `destination: directory`: it must exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
}

fn one_mebibyte() -> u64 {
    1 << 20
}

/// Which instances of a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Instances {
    /// The current one and, of a container that was restarted, the one before.
    #[default]
    Both,
    /// The current one.
    Current,
    /// The one before.
    Previous,
}

/// Where the lines go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Destination {
    /// As `LogLine` objects on stdout, before the result.
    #[default]
    Stdout,
    /// As text in a folder, one file per container.
    Directory,
}

/// What `collect-logs` reports.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// How many pods there were.
    pub pods: usize,
    /// How many lines were written.
    pub lines: usize,
    /// How many bytes they have, as written.
    pub bytes: usize,
    /// How many older lines did not fit into `maxBytes`.
    pub dropped_lines: usize,
    /// How many lines were longer than 8 KiB and lost their end.
    pub cut_lines: usize,
    /// How many secrets were replaced.
    pub redacted: usize,
    /// One entry per container and instance.
    pub containers: Vec<Report>,
}

/// What became of one container's log.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The pod.
    pub pod: String,
    /// The container.
    pub container: String,
    /// Its role in the pod.
    pub kind: ContainerKind,
    /// Whether it is the instance before the last restart.
    pub previous: bool,
    /// How many lines were written.
    pub lines: usize,
    /// How many older ones did not fit.
    pub dropped_lines: usize,
    /// Why it could not be read, or not to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One line of a container's log, as it stands on stdout.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogLine<'a> {
    /// `LogLine`
    pub kind: &'static str,
    /// The pod's namespace.
    pub namespace: &'a str,
    /// The pod.
    pub pod: &'a str,
    /// The container.
    pub container: &'a str,
    /// Whether it is from the instance before the last restart.
    pub previous: bool,
    /// When it was written, if `timestamps`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<&'a str>,
    /// The line.
    pub line: &'a str,
}

/// What was found to read.
#[derive(Debug)]
pub struct Target {
    object: Option<ObjectRef>,
    pods: usize,
    sources: Vec<Source>,
}

impl Subject for Target {
    fn object(&self) -> Option<&ObjectRef> {
        self.object.as_ref()
    }
    fn resolved_from(&self) -> Option<&ObjectRef> {
        None
    }
    fn value(&self) -> Option<&Value> {
        None
    }
}

impl Action for CollectLogs {
    type Target = Target;
    type Change = ();
    type Details = Details;

    const READ_ONLY: bool = true;
    const IDEMPOTENT: bool = true;

    fn kinds() -> &'static [Kind] {
        &[
            Kind::Pod,
            Kind::Deployment,
            Kind::StatefulSet,
            Kind::DaemonSet,
            Kind::ReplicaSet,
            Kind::ReplicationController,
            Kind::Job,
            Kind::CronJob,
        ]
    }

    fn example() -> Value {
        json!({ "sinceSeconds": 600 })
    }

    fn permissions(&self, resource: &Resource) -> BTreeSet<Permission> {
        let pods = Kind::Pod.resource();
        let mut all = BTreeSet::from([Permission::on_target("get", resource)]);
        if resource.built_in() == Some(Kind::Pod) {
            all.insert(Permission::on_target("get", &pods).sub("log"));
            return all;
        }
        all.insert(Permission::of("list", &pods));
        all.insert(Permission::of("get", &pods).sub("log"));
        if resource.built_in() == Some(Kind::CronJob) {
            all.insert(Permission::of("list", &Kind::Job.resource()));
        }
        all
    }

    fn check(&self, _named: &Named, _run: &RunContext) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(Err(error)) = self.containers.as_deref().map(container_pattern) {
            problems.push(format!("ACTION_PARAMETERS: containers: expected a regular expression ({error})"));
        }
        let most = if self.destination == Destination::Stdout { MOST_ON_STDOUT } else { MOST_IN_FILES };
        if self.max_bytes == 0 || self.max_bytes > most {
            problems.push(format!("ACTION_PARAMETERS: maxBytes: expected 1 to {most} for this destination, got {}", self.max_bytes));
        }
        if self.since_seconds == Some(0) {
            problems.push("ACTION_PARAMETERS: sinceSeconds: expected 1 or more; leave it out to read from the beginning".to_owned());
        }
        match (self.destination, &self.directory) {
            (Destination::Directory, None) => problems.push("ACTION_PARAMETERS: directory: needed when destination is directory".to_owned()),
            (Destination::Directory, Some(folder)) if !folder.is_dir() => {
                problems.push(format!("ACTION_PARAMETERS: directory: {} is no folder; mount one there", folder.display()));
            }
            (Destination::Stdout, Some(_)) => problems.push("ACTION_PARAMETERS: directory: goes with destination: directory".to_owned()),
            _ => {}
        }
        problems
    }

    async fn find(&self, cluster: &Cluster, named: &Named, run: &RunContext) -> Result<Target> {
        let pattern = self.containers.as_deref().map(container_pattern).transpose().map_err(Error::InvalidRequest)?;
        let (object, pods) = sources::pods(cluster, named).await?;
        let count = pods.len();
        let mut sources: Vec<Source> = pods.into_iter().flat_map(|pod| pod.sources(self.instances)).collect();
        sources.retain(|source| pattern.as_ref().is_none_or(|pattern| pattern.is_match(source.container.as_bytes())));
        if sources.is_empty() {
            run.progress.warn("no container matches: nothing was read");
        }
        Ok(Target { object, pods: count, sources })
    }

    fn decide(&self, _target: &Target, _run: &RunContext) -> Decision<()> {
        Decision::Change(())
    }

    async fn apply(&self, _cluster: &Cluster, _target: &Target, _change: &(), _commit: Commit) -> Result<Value> {
        Ok(Value::Null)
    }

    async fn verify(&self, cluster: &Cluster, target: &Target, _now: &Value, run: &RunContext) -> Result<Details> {
        let collection = RefCell::new(Collection::new(self, target));
        let failure: RefCell<Option<Error>> = RefCell::new(None);
        let readable = target.sources.iter().enumerate().filter(|(_, source)| source.obstacle.is_none());
        futures::stream::iter(readable)
            .for_each_concurrent(AT_ONCE, async |(index, source)| {
                if failure.borrow().is_some() {
                    return;
                }
                if let Err(error) = self.read(cluster, source, index, &collection).await {
                    failure.replace(Some(error));
                }
            })
            .await;
        if let Some(error) = failure.into_inner() {
            return Err(error);
        }
        let collection = collection.into_inner();
        collection.complain(target, run)?;
        self.write(target, collection, run.sink.as_ref())
    }

    fn details(&self, target: &Target) -> Details {
        let containers = target.sources.iter().map(|source| report(source, 0, 0, source.obstacle.clone())).collect();
        Details { pods: target.pods, containers, ..Details::default() }
    }

    fn undo(&self, _target: &Target, _applied: bool, _run: &RunContext) -> RollbackInformation {
        RollbackInformation::unavailable("collecting logs changes nothing")
    }

    fn sentence(&self, target: &Target, details: &Details, told: &Told) -> String {
        let from = format!("{} containers of {} pods", details.containers.len(), target.pods);
        if told.dry_run {
            return format!("would collect the logs of {from}");
        }
        let dropped = if details.dropped_lines > 0 { format!("; {} older lines did not fit into maxBytes", details.dropped_lines) } else { String::new() };
        format!("collected {} lines ({} bytes) from {from} in {:.1} s{dropped}", details.lines, details.bytes, told.took.as_secs_f32())
    }

    fn waiting(&self) -> Option<Waiting> {
        None
    }
}

/// A pattern for whole names, of bounded size.
fn container_pattern(text: &str) -> std::result::Result<regex::bytes::Regex, String> {
    const SIZE: usize = 1 << 20;
    let whole = format!("^(?:{text})$");
    RegexBuilder::new(&whole).unicode(false).size_limit(SIZE).dfa_size_limit(SIZE).build().map_err(|error| error.to_string())
}

fn report(source: &Source, lines: usize, dropped_lines: usize, error: Option<String>) -> Report {
    Report {
        pod: source.pod.name.to_string(),
        container: source.container.clone(),
        kind: source.kind,
        previous: source.previous,
        lines,
        dropped_lines,
        error,
    }
}

/// What was read so far.
struct Collection {
    budget: Budget,
    errors: Vec<Option<String>>,
    redacted: usize,
    cut: usize,
}

impl Collection {
    fn new(logs: &CollectLogs, target: &Target) -> Self {
        let most = usize::try_from(logs.max_bytes).unwrap_or(usize::MAX);
        let errors = target.sources.iter().map(|source| source.obstacle.clone()).collect();
        Self { budget: Budget::new(most, target.sources.len()), errors, redacted: 0, cut: 0 }
    }

    /// Warnings for single containers; an error when there was something to read and nothing of it could be.
    fn complain(&self, target: &Target, run: &RunContext) -> Result<()> {
        /// Enough to see the pattern; `details.containers` has all of them.
        const WARNINGS: usize = 5;
        let failed: Vec<_> = target.sources.iter().zip(&self.errors).filter_map(|(source, error)| Some((source, error.as_ref()?))).collect();
        let tried = target.sources.iter().filter(|source| source.obstacle.is_none()).count();
        let failed_reads = failed.iter().filter(|(source, _)| source.obstacle.is_none()).count();
        for (source, error) in failed.iter().take(WARNINGS) {
            run.progress.warn(format!("container {} of {}: {error}", source.container, source.pod));
        }
        match failed.first() {
            Some((source, error)) if tried > 0 && failed_reads == tried && self.budget.is_empty() => Err(Error::Unavailable {
                message: format!("none of {tried} logs could be read; container {} of {}: {error}", source.container, source.pod),
                source: None,
            }),
            _ => Ok(()),
        }
    }
}

impl CollectLogs {
    /// Reads one log into the collection. Only what concerns the whole run is an error.
    async fn read(&self, cluster: &Cluster, source: &Source, index: usize, collection: &RefCell<Collection>) -> Result<()> {
        let options = LogOptions {
            container: source.container.clone(),
            previous: source.previous,
            since_seconds: self.since_seconds,
            tail_lines: self.tail_lines,
            timestamps: self.timestamps,
        };
        let mut log = match cluster.logs(&source.pod, &options, RAW_LINE_LIMIT).await {
            Ok(log) => log,
            Err(LogError::Run(error)) => return Err(error),
            Err(LogError::Container(why)) => {
                collection.borrow_mut().set_error(index, why);
                return Ok(());
            }
        };
        let mut redactor = Redactor::default();
        let mut seen = 0_usize;
        loop {
            let line = match tokio::time::timeout(cluster.remaining(), log.next()).await {
                Ok(Ok(Some(line))) => line,
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(why)) => {
                    collection.borrow_mut().set_error(index, why);
                    return Ok(());
                }
                Err(_) => {
                    collection.borrow_mut().set_error(index, "not read to its end: the time was over".to_owned());
                    return Ok(());
                }
            };
            seen += 1;
            let mut collection = collection.borrow_mut();
            if seen == 1 && kubelet_error(&line.bytes) {
                collection.set_error(index, String::from_utf8_lossy(&line.bytes).into_owned());
                continue;
            }
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
    }

    /// A line as it is written, at most [`LINE_LIMIT`] bytes, and whether it lost its end.
    fn encode(&self, source: &Source, bytes: &[u8], cut: usize) -> (Vec<u8>, bool) {
        let text = String::from_utf8_lossy(bytes);
        let (timestamp, whole) = match text.split_once(' ').filter(|_| self.timestamps) {
            Some((timestamp, line)) => (Some(timestamp), line),
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
                Destination::Directory => timestamp.map(|time| format!("{time} {line}")).unwrap_or(line).into_bytes(),
            };
            if encoded.len() <= LINE_LIMIT {
                return (encoded, lost > 0);
            }
            // Escapes make a line longer than it is: a quarter less until it fits.
            let shorter = end.min(LINE_LIMIT) * 3 / 4;
            lost += end - shorter;
            kept = shorter;
        }
    }

    fn write(&self, target: &Target, collection: Collection, sink: &dyn LogSink) -> Result<Details> {
        let unwritable = |error: std::io::Error| Error::Internal(format!("failed to write the log lines: {error}"));
        let mut details = Details { pods: target.pods, cut_lines: collection.cut, redacted: collection.redacted, ..Details::default() };
        let shares = collection.budget.into_shares();
        for ((source, share), error) in target.sources.iter().zip(shares).zip(collection.errors) {
            match &self.directory {
                Some(folder) => write_file(folder, source, &share.lines).map_err(unwritable)?,
                None => share.lines.iter().try_for_each(|line| sink.write_line(line)).map_err(unwritable)?,
            }
            details.lines += share.lines.len();
            details.bytes += share.bytes;
            details.dropped_lines += share.dropped;
            details.containers.push(report(source, share.lines.len(), share.dropped, error));
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
}

fn floor_char_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|index| text.is_char_boundary(*index)).unwrap_or(0)
}

/// The kubelet answers 200 and this as the log when the runtime has lost the file (kubernetes#142258).
fn kubelet_error(line: &[u8]) -> bool {
    line.starts_with(b"unable to retrieve container logs for ") || line.starts_with(b"failed to try resolving symlinks in path ")
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

/// The names were checked: pod names are subdomains, container names labels; neither has a path in it.
fn write_file(folder: &Path, source: &Source, lines: &std::collections::VecDeque<Vec<u8>>) -> std::io::Result<()> {
    use std::io::Write;
    let suffix = if source.previous { "_previous" } else { "" };
    let path = folder.join(format!("{}_{}{suffix}.log", source.pod.name, source.container));
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for line in lines {
        file.write_all(line)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn logs(parameters: Value) -> CollectLogs {
        serde_json::from_value(parameters).unwrap()
    }

    fn source() -> Source {
        let pod = ObjectRef { resource: Kind::Pod.resource(), namespace: Some("shop".parse().unwrap()), name: "web-1".parse().unwrap(), uid: None };
        Source { pod, container: "app".to_owned(), kind: ContainerKind::Main, previous: false, obstacle: None }
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
        assert!(cut && text.ends_with(&format!("… [cut: {} more bytes]", 100_000 - kept)), "{}", &text[text.len() - 40..]);
    }
}
