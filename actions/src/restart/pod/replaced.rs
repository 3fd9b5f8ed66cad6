//! Waits until an evicted pod is gone and replaced: until the workload at the top of its owners, by UID, has as many
//! serving pods as it wants now. Nobody can say which pod replaced which, and labels may have changed.

use std::collections::BTreeSet;

use contract::waiting::Terminating;
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::job::JobView;
use super::replacer::Replacer;
use super::{RestartPod, Target};
use crate::cluster::error::{Error, Result};
use crate::cluster::observed::Observation;
use crate::cluster::run::RunContext;
use crate::cluster::{Cluster, Query, Watch};
use crate::k8s::object::{leaving_since, text, uid};
use crate::k8s::selector::selector;
use crate::k8s::{Kind, ObjectRef};
use crate::workload::Workload;
use crate::workload::lookup::LiveObject;
use crate::workload::owners::Owners;
use crate::workload::pods::PodView;
use crate::workload::rollout::{self, Pending, RolloutStatus};
use crate::workload::steady::Clock;
use crate::workload::tally::{Goal, Tally, earlier};
use crate::workload::wait::{self, Wait};

/// Interval for reading again how many pods the replacer wants, because it may be scaled meanwhile.
const ASK_AGAIN: std::time::Duration = std::time::Duration::from_secs(2);

/// The request, and the state before the eviction.
pub struct PodRestart<'a> {
    pub action: &'a RestartPod,
    pub target: &'a Target,
    pub run: &'a RunContext,
    /// UIDs of the sibling pods before the eviction.
    pub known: &'a [String],
}

/// The state of the wait for a pod's replacement.
struct Replacement<'a> {
    restart: PodRestart<'a>,
    pods: Watch<PodView>,
    owners: Owners,
    clock: Clock,
    began: Timestamp,
    now: Timestamp,
    /// The replacer, as last read.
    replacer: Option<Value>,
    seen: Instant,
    /// True when the API server has said that the pod is gone.
    gone: bool,
}

/// Waits for the replacement; returns the name of the new pod, if known.
pub async fn wait(
    cluster: &Cluster,
    action: &RestartPod,
    target: &Target,
    run: &RunContext,
    known: &[String],
) -> Result<Option<String>> {
    let object = &target.object;
    if let Replacer::Unknown(why) = &target.replacer {
        return Err(Error::NotVerified(format!("{object} is gone; what replaced it cannot be known: {why}")));
    }
    let found = target.replacer.found();
    let labels = found.map(|found| selector(&found.value)).unwrap_or_default();
    let pods: Watch<PodView> = cluster.watch(Query::beside(object, Kind::Pod.resource(), labels.as_str())).await?;
    let owner = found.map_or_else(|| object.clone(), |found| found.object.clone());
    let mut replacement = Replacement {
        restart: PodRestart { action, target, run, known },
        pods,
        owners: Owners::of(&owner, labels),
        clock: Clock::default(),
        began: cluster.server_time(run.now),
        now: cluster.server_now(),
        replacer: None,
        seen: Instant::now(),
        gone: target.pod.is_none(),
    };
    wait::until_done(&mut replacement, cluster, run).await?;
    Ok(replacement.newcomer())
}

impl Wait for Replacement<'_> {
    fn object(&self) -> &ObjectRef {
        &self.restart.target.object
    }

    async fn look(&mut self, cluster: &Cluster) -> Result<RolloutStatus> {
        let target = self.restart.target;
        let there = self.pods.items().values().any(|pod| Some(&pod.uid) == target.object.uid.as_ref());
        self.gone = !there && (self.gone || self.is_gone(cluster).await?);
        let all: Vec<&PodView> = self.pods.items().values().collect();
        self.owners.learn(cluster, &[], &all).await?;
        self.now = cluster.server_now();
        let status = self.status();
        let done = matches!(status, RolloutStatus::Done { .. });
        // Done by the number that was last read: read it once more.
        let replaced = target.replacer.found().is_some();
        if self.replacer.is_none() || (replaced && (done || self.seen.elapsed() >= ASK_AGAIN)) {
            self.ask(cluster).await?;
            let status = self.status();
            return Ok(self.again(replaced, status));
        }
        Ok(self.again(replaced, status))
    }

    async fn changed(&mut self) -> Result<()> {
        self.pods.changed().await
    }

    fn failed(&self, why: &str) -> Error {
        Error::NotVerified(format!("the replacement of {} does not become ready: {why}", self.restart.target.object))
    }
}

impl Replacement<'_> {
    /// Sets the time of the next look, if there is a replacer to read again.
    fn again(&self, replaced: bool, status: RolloutStatus) -> RolloutStatus {
        match status {
            RolloutStatus::Pending(pending) if replaced => {
                let left = ASK_AGAIN.saturating_sub(self.seen.elapsed());
                RolloutStatus::Pending(Pending { again: earlier(pending.again, Some(left)), ..pending })
            }
            status => status,
        }
    }

    /// Reads how many pods the replacer wants now.
    async fn ask(&mut self, cluster: &Cluster) -> Result<()> {
        self.seen = Instant::now();
        let Some(found) = self.restart.target.replacer.found() else {
            self.replacer = Some(Value::Null);
            return Ok(());
        };
        tracing::debug!(replacer = %found.object, "asking what it wants now");
        let now = match cluster.get(&found.object).await {
            Err(Error::TargetNotFound(_)) => return Err(self.failed(&format!("{} is gone", found.object))),
            now => now?,
        };
        if uid(&now) != uid(&found.value) {
            return Err(self.failed(&format!("{} was deleted and recreated", found.object)));
        }
        if let Some(since) = leaving_since(&now) {
            return Err(self.failed(&format!("{} is being deleted since {since}", found.object)));
        }
        self.replacer = Some(now);
        Ok(())
    }

    /// Returns whether the API server says that the pod is gone: a pod that the watch does not see may still be there.
    async fn is_gone(&self, cluster: &Cluster) -> Result<bool> {
        let object = ObjectRef { uid: None, ..self.restart.target.object.clone() };
        match cluster.get(&object).await {
            Ok(pod) => Ok(Some(uid(&pod)) != self.restart.target.object.uid.as_deref()),
            Err(Error::TargetNotFound(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Returns the state of the replacement, from what is known now.
    fn status(&mut self) -> RolloutStatus {
        let restart = &self.restart;
        let Some(replacer) = self.replacer.clone() else { return RolloutStatus::Pending(restart.nothing_yet()) };
        let goal = Goal {
            generation: 0,
            revision: None,
            stale_deadline: None,
            terminating: Terminating::Wait,
            settle: restart.run.wait.settle.get(),
            began: self.began,
            now: self.now,
        };
        let own = self.pods.items().values().filter(|pod| restart.is_of_replacer(pod, &self.owners));
        let followed = self.clock.follow(own, self.began, self.now);
        let workload = restart.wants(&replacer);
        let mut tally = Tally::of(&workload, &followed, goal);
        // Other pods that are being deleted do not matter here, and more pods than wanted are enough.
        let evicted = |pod: &&PodView| Some(&pod.uid) == restart.target.object.uid.as_ref();
        tally.terminating = self.pods.items().values().filter(evicted).collect();
        restart.observe(&tally, &workload, &replacer, &self.pods);
        let finished = followed.iter().map(|one| one.pod).filter(|pod| pod.finished);
        if let Some(ended) = restart.ended(&replacer, finished) {
            return if self.gone { ended } else { RolloutStatus::Pending(restart.nothing_yet()) };
        }
        // Of a DaemonSet's pods only one per node counts: when all nodes have one, the evicted pod's node does too.
        let nodes: BTreeSet<_> = tally.there.iter().map(|pod| pod.node.as_deref()).collect();
        let there = if workload.kind == Kind::DaemonSet { nodes.len() } else { tally.there.len() };
        if self.gone && i64::try_from(there).unwrap_or(i64::MAX) >= workload.desired {
            return RolloutStatus::Done { surge: 0 };
        }
        match rollout::state(&workload, &tally, &[], goal) {
            RolloutStatus::Done { .. } => RolloutStatus::Pending(restart.nothing_yet()),
            status => status,
        }
    }

    /// Returns the name of the new pod: for a DaemonSet the one on the same node, otherwise one that was not there
    /// before. `None` if the pod was already gone at the start, because the pods before that are not known.
    fn newcomer(&self) -> Option<String> {
        let node = text(self.restart.target.pod.as_ref()?, "/spec/nodeName");
        let daemon = self.restart.target.replacer.found().and_then(LiveObject::kind) == Some(Kind::DaemonSet);
        let is_new = |pod: &&PodView| {
            !self.restart.known.contains(&pod.uid)
                && Some(&pod.uid) != self.restart.target.object.uid.as_ref()
                && (pod.serves() || pod.finished)
                && self.restart.is_of_replacer(pod, &self.owners)
                && (!daemon || pod.node.as_deref() == node)
        };
        self.pods.items().values().filter(is_new).max_by_key(|pod| pod.created).map(|pod| pod.name.clone())
    }
}

impl PodRestart<'_> {
    fn nothing_yet(&self) -> Pending {
        Pending::plain(format!("waiting for {} to be gone", self.target.object))
    }

    fn is_of_replacer(&self, pod: &PodView, owners: &Owners) -> bool {
        match &self.target.replacer {
            // Only pods that came after the evicted one, because nobody says how many there shall be.
            Replacer::Other { uid: owner, .. } if self.target.pod.is_some() => {
                pod.owner.as_ref() == Some(owner) && !self.known.contains(&pod.uid)
            }
            // The pods before one that is gone are not known, so only a pod with its name can be the replacement.
            Replacer::Other { .. } => Some(&pod.uid) == self.target.namesake.as_ref(),
            _ => owners.own(pod),
        }
    }

    /// Returns the number of pods that there shall be, as a workload.
    fn wants(&self, replacer: &Value) -> Workload {
        match &self.target.replacer {
            Replacer::Workload(found) => {
                let kind = found.kind().unwrap_or(Kind::ReplicaSet);
                // A rollout in progress does not matter to this action.
                Workload { paused: false, out_of_time: None, ..Workload::read(kind, replacer) }
            }
            Replacer::Job(_) => plain(JobView::read(replacer).wants),
            Replacer::Other { .. } => plain(1),
            Replacer::Nobody(_) | Replacer::Unknown(_) => plain(0),
        }
    }

    /// Returns the final state once a Job has ended: the replacement may have ended too, or there never was one. Also
    /// if nobody replaces the pod: somebody else deleted it, or the request has `force`.
    pub fn ended<'a>(&self, job: &Value, mut finished: impl Iterator<Item = &'a PodView>) -> Option<RolloutStatus> {
        if let Replacer::Nobody(why) = &self.target.replacer {
            return Some(self.nothing_comes(format!("nothing replaces it: {why}")));
        }
        let Replacer::Job(found) = &self.target.replacer else { return None };
        let view = JobView::read(job);
        if let Some(why) = view.failed {
            return Some(self.nothing_comes(format!("{} has failed: {why}", found.object)));
        }
        // If the pod was already gone at the start, the pods before that are not known.
        let is_another =
            |pod: &PodView| !self.known.contains(&pod.uid) && Some(&pod.uid) != self.target.object.uid.as_ref();
        let another = self.target.pod.is_some() && finished.any(is_another);
        if !view.complete || another {
            return view.complete.then_some(RolloutStatus::Done { surge: 0 });
        }
        Some(self.nothing_comes(format!(
            "{} is complete, and made no other pod that is known: the evicted one ended as a success, or was the last that was needed",
            found.object
        )))
    }

    /// Without a replacement, the eviction is a success only with `force`; otherwise it was no restart.
    fn nothing_comes(&self, why: String) -> RolloutStatus {
        if self.action.force { RolloutStatus::Done { surge: 0 } } else { RolloutStatus::Failed(why) }
    }

    fn observe(&self, tally: &Tally<'_>, workload: &Workload, replacer: &Value, pods: &Watch<PodView>) {
        let version = text(replacer, "/metadata/resourceVersion").map(str::to_owned);
        let of = |found: &LiveObject| Some((found.object.resource.plural().to_owned(), version.clone()?));
        let replacer = self.target.replacer.found().and_then(of);
        let pods_version = ("pods".to_owned(), pods.version().to_owned());
        self.run.progress.observe(Observation {
            pods: Some(tally.counts()),
            desired: Some(workload.desired),
            verified_at: replacer.into_iter().chain([pods_version]).collect(),
            ..Observation::default()
        });
    }
}

/// Returns a workload of which only the number of pods is known.
fn plain(desired: i64) -> Workload {
    let mut workload = Workload::read(Kind::ReplicaSet, &Value::Null);
    workload.desired = desired;
    workload
}
