//! # collect-logs
//!
//! Reads the logs of every container (init, main, ephemeral) of a pod, of the pods that a workload controls or of a selection, of
//! the current and, where a container was restarted, the previous instance. The newest lines are kept, the budget is shared fairly,
//! and secrets are redacted. One container that cannot be read does not stop the others; it is listed with its reason.

mod collection;
mod line;
mod nodes;
mod output;
mod parameters;
mod pods;
mod reading;
mod sources;

use std::collections::BTreeSet;

use contract::result::RollbackInformation;
use contract::waiting::Waits;
use regex::bytes::RegexBuilder;
use serde_json::{Value, json};

use crate::action::{self, Action, Circumstances, Decision, TargetRef};
use crate::cluster::error::{Error, Result};
use crate::cluster::run::RunContext;
use crate::cluster::{Cluster, Commit};
use crate::export::destination::UploadAddress;
use crate::export::upload;
use crate::k8s::{Kind, Permission, Resource};
use crate::workload::lookup::LiveObject;
use crate::workload::owners;
use collection::{Collection, report};
use output::{Bundle, Folder, Lines, Output};
pub use parameters::{CollectLogs, Destination, Details, Instances, Report};
pub use sources::{ContainerKind, Source};

/// The most bytes on stdout: the kubelet rotates the runner's own log at 10 MiB.
const MOST_ON_STDOUT: u64 = 5 << 20;
/// The most bytes in files: they are held in memory until the newest lines are known, in a pod of 64 MiB.
const MOST_IN_FILES: u64 = 32 << 20;
/// The most bytes to an address: the bundle is in memory beside its lines, and may be no smaller than they are.
const MOST_TO_ADDRESS: u64 = 16 << 20;

/// The containers whose logs are read.
#[derive(Debug)]
pub struct Target {
    live: Option<LiveObject>,
    pods: usize,
    sources: Vec<Source>,
    /// The labels by which its pods are listed; `None` where they are not listed.
    labels: Option<String>,
}

impl action::Target for Target {
    fn live(&self) -> Option<&LiveObject> {
        self.live.as_ref()
    }
}

impl Action for CollectLogs {
    type Target = Target;
    type Plan = ();
    type Details = Details;

    const READ_ONLY: bool = true;
    const WAITS: Waits = Waits::Never;

    fn repeatable(_run: &RunContext, _has_uid: bool) -> bool {
        true
    }
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

    fn permissions(&self, resource: &Resource, circumstances: Circumstances) -> BTreeSet<Permission> {
        let pods = Kind::Pod.resource();
        if circumstances.by_selector {
            return [Permission::of("list", &pods), Permission::of("get", &pods).on_sub("log")].into();
        }
        let mut all = BTreeSet::from([Permission::on_target("get", resource)]);
        if resource.built_in() == Some(Kind::Pod) {
            all.insert(Permission::on_target("get", &pods).on_sub("log"));
            return all;
        }
        all.insert(Permission::of("list", &pods));
        all.insert(Permission::of("get", &pods).on_sub("log"));
        all.extend(owners::permissions(resource));
        all
    }

    fn check(&self, _named: &TargetRef, run: &RunContext) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(Err(error)) = self.containers.as_deref().map(container_pattern) {
            problems.push(format!("ACTION_PARAMETERS: containers: expected a regular expression ({error})"));
        }
        let most = match self.destination {
            Destination::Stdout => MOST_ON_STDOUT,
            Destination::Directory => MOST_IN_FILES,
            Destination::Url => MOST_TO_ADDRESS,
        };
        if self.max_bytes == 0 || self.max_bytes > most {
            problems.push(format!("ACTION_PARAMETERS: maxBytes: expected 1 to {most} for this destination"));
        }
        if self.since_seconds == Some(0) {
            problems.push(
                "ACTION_PARAMETERS: sinceSeconds: expected 1 or more; leave it out to read from the beginning"
                    .to_owned(),
            );
        }
        if run.redact_required && !self.redact {
            problems.push(
                "ACTION_PARAMETERS: redact: this image's lock says `redact required`; leave it out, or set it to true"
                    .to_owned(),
            );
        }
        problems.extend(self.check_destination(run).map(|problem| format!("ACTION_PARAMETERS: {problem}")));
        problems
    }

    async fn find(&self, cluster: &Cluster, named: &TargetRef, run: &RunContext) -> Result<Target> {
        if !self.redact {
            run.progress.warn("redact: false: the lines are as the containers wrote them, with the secrets in them");
        }
        let pattern = self.containers.as_deref().map(container_pattern).transpose().map_err(Error::InvalidRequest)?;
        let (live, pods) = pods::find(cluster, named, &run.progress).await?;
        let labels = pods::labels(live.as_ref(), named);
        let count = pods.len();
        let mut sources: Vec<Source> = pods.into_iter().flat_map(|pod| pod.sources(self.instances)).collect();
        sources.retain(|source| pattern.as_ref().is_none_or(|pattern| pattern.is_match(source.container.as_bytes())));
        if sources.is_empty() {
            run.progress.warn("no container matches: nothing was read");
        }
        Ok(Target { live, pods: count, sources, labels })
    }

    fn decide(&self, _target: &Target, _run: &RunContext) -> Decision<()> {
        Decision::Change(())
    }

    async fn apply(&self, _cluster: &Cluster, _target: &Target, _plan: &(), _commit: Commit) -> Result<Value> {
        Ok(Value::Null)
    }

    async fn verify(&self, cluster: &Cluster, target: &Target, _now: &Value, run: &RunContext) -> Result<Details> {
        // A quarter of the time is kept for sending, and a tenth for writing, whatever a log takes.
        let kept = if self.destination == Destination::Url { 4 } else { 10 };
        let left = cluster.remaining();
        let reading = cluster.until(tokio::time::Instant::now() + left.saturating_sub(left / kept));
        let collection = self.read_all(&reading, target).await?;
        collection.complain(target, run)?;
        match (&self.directory, &self.url) {
            (Some(folder), _) => {
                let (open, path) =
                    (folder.clone(), "directory: the files were not written in time: its file system does not answer");
                let unusable = |error| Error::InvalidRequest(format!("directory: failed to open it: {error}"));
                self.write_in_time(cluster, target, collection, path, move || Folder::open(&open).map_err(unusable))
                    .await
            }
            (None, Some(address)) => self.send(target, collection, address, (cluster, run)).await,
            (None, None) => {
                let sink = run.sink.clone();
                let unread = "the log lines were not written to stdout in time: nobody reads it, or not quickly enough";
                self.write_in_time(cluster, target, collection, unread, move || Ok(Lines(sink))).await
            }
        }
    }

    fn details(&self, target: &Target, _run: &RunContext) -> Details {
        let containers = target.sources.iter().map(|source| report(source, source.obstacle.clone())).collect();
        Details { pods: target.pods, containers, ..Details::default() }
    }

    fn undo(&self, _target: &Target, _applied: bool, _run: &RunContext) -> RollbackInformation {
        RollbackInformation::unavailable("collecting logs changes nothing")
    }

    fn intent(&self, target: &Target, details: &Details) -> String {
        format!("collect the logs of {}", from(target, details))
    }

    fn done(&self, target: &Target, details: &Details) -> String {
        let Details { lines, bytes, .. } = details;
        format!("collected {lines} lines ({bytes} bytes) from {}", from(target, details))
    }

    fn proof(&self, _target: &Target, details: &Details, took: &str) -> String {
        let noted = |count: usize, what: &str| if count > 0 { format!("; {count} {what}") } else { String::new() };
        let incomplete = details.containers.iter().filter(|report| report.incomplete.is_some()).count();
        format!(
            " in {took}{}{}",
            noted(details.dropped_lines, "older lines did not fit into maxBytes"),
            noted(incomplete, "logs may lack their beginning"),
        )
    }
}

/// Returns the origin, such as `3 containers of 2 pods`.
fn from(target: &Target, details: &Details) -> String {
    format!("{} containers of {} pods", details.containers.len(), target.pods)
}

impl CollectLogs {
    /// Returns what is wrong with the destination of the lines.
    fn check_destination(&self, run: &RunContext) -> Option<String> {
        let stray = |given: bool, field: &str| {
            given.then(|| {
                format!("{field}: goes with destination: {}", if field == "url" { "url" } else { "directory" })
            })
        };
        let (folder, address) = (self.directory.as_ref(), self.url.as_ref());
        match self.destination {
            Destination::Stdout => stray(folder.is_some(), "directory").or_else(|| stray(address.is_some(), "url")),
            Destination::Directory => match folder {
                None => Some("directory: needed when destination is directory".to_owned()),
                Some(folder) if !folder.is_dir() => {
                    Some("directory: expected the path of a folder; mount one there".to_owned())
                }
                Some(_) => stray(address.is_some(), "url"),
            },
            Destination::Url => match address {
                None => Some("url: needed when destination is url".to_owned()),
                Some(address) => {
                    address.allowed_by(&run.upload_hosts).err().or_else(|| stray(folder.is_some(), "directory"))
                }
            },
        }
    }

    /// Writes the lines to where that may take as long as somebody else likes: a pipe that nobody reads, a folder on a
    /// server that is away. What cannot be written in time stays behind on a thread of its own, and ends with the process.
    async fn write_in_time<O: Output>(
        &self,
        cluster: &Cluster,
        target: &Target,
        collection: Collection,
        late: &str,
        open: impl FnOnce() -> Result<O> + Send + 'static,
    ) -> Result<Details> {
        let (sources, pods) = (target.sources.clone(), target.pods);
        let writing = tokio::task::spawn_blocking(move || Self::write((&sources, pods), collection, &mut open()?));
        match tokio::time::timeout(cluster.remaining(), writing).await {
            Ok(written) => {
                written.map_err(|error| Error::Internal(format!("failed to write the log lines: {error}")))?
            }
            Err(_) => Err(Error::DeadlineExceeded(late.to_owned())),
        }
    }

    /// Packs the lines and sends them.
    async fn send(
        &self,
        target: &Target,
        collection: Collection,
        address: &UploadAddress,
        (cluster, run): (&Cluster, &RunContext),
    ) -> Result<Details> {
        let packed = |error: std::io::Error| Error::Internal(format!("failed to pack the logs: {error}"));
        let mut bundle = Bundle::new(run.now);
        let mut details = Self::write((&target.sources, target.pods), collection, &mut bundle)?;
        let bytes = bundle.finish(&details).map_err(packed)?;
        details.uploaded_bytes = Some(bytes.len());
        run.progress.report(&format!("sending {} bytes to {}", bytes.len(), address.shown()));
        let deadline = tokio::time::Instant::now() + cluster.remaining();
        upload::put(address, bytes, "application/gzip", deadline).await?;
        Ok(details)
    }
}

/// Compiles a pattern of limited size that matches whole names.
fn container_pattern(text: &str) -> std::result::Result<regex::bytes::Regex, String> {
    const SIZE: usize = 1 << 20;
    let whole = format!("^(?:{text})$");
    RegexBuilder::new(&whole)
        .unicode(false)
        .size_limit(SIZE)
        .dfa_size_limit(SIZE)
        .build()
        // The error quotes the whole pattern, and ends with what is wrong with it.
        .map_err(|error| {
            let text = error.to_string();
            text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::testing::run;

    fn problems(parameters: Value, run: &RunContext) -> String {
        let logs: CollectLogs = serde_json::from_value(parameters).unwrap();
        let named = TargetRef::Selection { namespace: "shop".parse().unwrap(), selector: "app=web".to_owned() };
        logs.check(&named, run).join("; ")
    }

    #[test]
    fn an_image_may_require_redaction() {
        let required = RunContext { redact_required: true, ..run() };
        assert!(problems(json!({ "redact": false }), &required).contains("redact: this image's lock says"));
        assert_eq!(problems(json!({ "redact": false }), &run()), "");
        assert_eq!(problems(json!({}), &required), "");
    }

    /// A value in the wrong field may be a secret.
    #[test]
    fn a_bad_value_is_not_shown() {
        let all = [
            (json!({ "containers": "hunter22(" }), "unclosed group"),
            (json!({ "containers": format!("hunter22{{{}}}", 99_999) }), "size limit"),
            (json!({ "destination": "directory", "directory": "hunter22" }), "expected the path of a folder"),
            (json!({ "maxBytes": 0 }), "maxBytes: expected 1 to"),
            (json!({ "destination": "url", "url": "https://h/hunter22?k=hunter22" }), "no host may be sent to"),
        ];
        for (parameters, says) in all {
            let problems = problems(parameters, &run());
            assert!(problems.contains(says) && !problems.contains("hunter22"), "{problems}");
        }
    }
}
