//! # collect-logs
//!
//! Reads the logs of every container (init, main, ephemeral) of a pod, of the pods that a workload controls or of a selection, of
//! the current and, where a container was restarted, the previous instance. The newest lines are kept, the budget is shared fairly,
//! and secrets are redacted. One container that cannot be read does not stop the others; it is listed with its reason.

mod collection;
mod output;
mod parameters;
mod pods;
mod sources;

use std::cell::RefCell;
use std::collections::BTreeSet;

use contract::result::RollbackInformation;
use contract::waiting::Waits;
use futures::StreamExt;
use regex::bytes::RegexBuilder;
use serde_json::{Value, json};

use crate::action::{self, Action, Decision, TargetRef};
use crate::cluster::error::{Error, Result};
use crate::cluster::run::RunContext;
use crate::cluster::{Cluster, Commit};
use crate::export::destination::UploadAddress;
use crate::export::upload;
use crate::k8s::{Kind, Permission, Resource};
use crate::workload::lookup::LiveObject;
use crate::workload::owners;
use collection::{Collection, report};
use output::{Bundle, Folder, Lines};
pub use parameters::{CollectLogs, Destination, Details, Instances, Report};
pub use sources::{ContainerKind, Source};

/// The most logs read at once. The kubelet serves about 5 MB/s and the client speaks HTTP/1.1: more do not help.
const AT_ONCE: usize = 4;
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

    fn permissions(&self, resource: &Resource, _waits: bool) -> BTreeSet<Permission> {
        let pods = Kind::Pod.resource();
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
            problems.push(format!(
                "ACTION_PARAMETERS: maxBytes: expected 1 to {most} for this destination, got {}",
                self.max_bytes
            ));
        }
        if self.since_seconds == Some(0) {
            problems.push(
                "ACTION_PARAMETERS: sinceSeconds: expected 1 or more; leave it out to read from the beginning"
                    .to_owned(),
            );
        }
        problems.extend(self.check_destination(run).map(|problem| format!("ACTION_PARAMETERS: {problem}")));
        problems
    }

    async fn find(&self, cluster: &Cluster, named: &TargetRef, run: &RunContext) -> Result<Target> {
        let pattern = self.containers.as_deref().map(container_pattern).transpose().map_err(Error::InvalidRequest)?;
        let (live, pods) = pods::find(cluster, named, &run.progress).await?;
        let count = pods.len();
        let mut sources: Vec<Source> = pods.into_iter().flat_map(|pod| pod.sources(self.instances)).collect();
        sources.retain(|source| pattern.as_ref().is_none_or(|pattern| pattern.is_match(source.container.as_bytes())));
        if sources.is_empty() {
            run.progress.warn("no container matches: nothing was read");
        }
        Ok(Target { live, pods: count, sources })
    }

    fn decide(&self, _target: &Target, _run: &RunContext) -> Decision<()> {
        Decision::Change(())
    }

    async fn apply(&self, _cluster: &Cluster, _target: &Target, _plan: &(), _commit: Commit) -> Result<Value> {
        Ok(Value::Null)
    }

    async fn verify(&self, cluster: &Cluster, target: &Target, _now: &Value, run: &RunContext) -> Result<Details> {
        let collection = RefCell::new(Collection::new(self, target));
        let failure: RefCell<Option<Error>> = RefCell::new(None);
        // Keep a quarter of the time for sending, so that a log that stalls does not cost the others.
        let sending =
            if self.destination == Destination::Url { cluster.remaining() / 4 } else { std::time::Duration::ZERO };
        let reading = cluster.until(tokio::time::Instant::now() + cluster.remaining().saturating_sub(sending));
        let readable = target.sources.iter().enumerate().filter(|(_, source)| source.obstacle.is_none());
        futures::stream::iter(readable)
            .for_each_concurrent(AT_ONCE, async |(index, source)| {
                if failure.borrow().is_some() {
                    return;
                }
                if let Err(error) = self.read(&reading, source, index, &collection).await {
                    failure.replace(Some(error));
                }
            })
            .await;
        if let Some(error) = failure.into_inner() {
            return Err(error);
        }
        let collection = collection.into_inner();
        collection.complain(target, run)?;
        match (&self.directory, &self.url) {
            (Some(folder), _) => Self::write(target, collection, &mut Folder(folder)),
            (None, Some(address)) => self.send(target, collection, address, (cluster, run)).await,
            (None, None) => Self::write(target, collection, &mut Lines(run.sink.as_ref())),
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
                    Some(format!("directory: {} is no folder; mount one there", folder.display()))
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
        let mut details = Self::write(target, collection, &mut bundle)?;
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
        .map_err(|error| error.to_string())
}
