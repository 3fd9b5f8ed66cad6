//! Pending until an evicted pod is gone and replaced: until the workload at the top of its owners, by UID, has as many
//! serving pods as it wants now. Which of them took the place of which is nobody's to say, and its labels may have changed.

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

/// How often what the replacer wants is asked for anew while it is waited for: it may be scaled meanwhile.
const ASK_AGAIN: std::time::Duration = std::time::Duration::from_secs(2);

/// What is waited for.
pub struct Asked<'a> {
    pub action: &'a RestartPod,
    pub target: &'a Target,
    pub run: &'a RunContext,
    /// The pods beside it before the eviction, by UID.
    pub known: &'a [String],
}

/// A pod's replacement, while it is waited for.
struct Replacement<'a> {
    asked: Asked<'a>,
    pods: Watch<PodView>,
    owners: Owners,
    clock: Clock,
    began: Timestamp,
    now: Timestamp,
    /// The replacer as it was seen last.
    replacer: Option<Value>,
    seen: Instant,
    /// Whether the API server said that the pod is gone.
    gone: bool,
}

/// Waits for it; returns the name of the pod that came, where one can be told.
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
        asked: Asked { action, target, run, known },
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
        &self.asked.target.object
    }

    async fn look(&mut self, cluster: &Cluster) -> Result<RolloutStatus> {
        let target = self.asked.target;
        let there = self.pods.items().values().any(|pod| Some(&pod.uid) == target.object.uid.as_ref());
        self.gone = !there && (self.gone || self.is_gone(cluster).await?);
        let all: Vec<&PodView> = self.pods.items().values().collect();
        self.owners.learn(cluster, &[], &all).await?;
        self.now = cluster.server_now();
        let status = self.status();
        let done = matches!(status, RolloutStatus::Done { .. });
        // Done by what it wanted when it was asked last: what does it want now?
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
        Error::NotVerified(format!("the replacement of {} does not become ready: {why}", self.asked.target.object))
    }
}

impl Replacement<'_> {
    /// Where there is somebody to ask what is wanted, it is asked again after a while.
    fn again(&self, replaced: bool, status: RolloutStatus) -> RolloutStatus {
        match status {
            RolloutStatus::Pending(pending) if replaced => {
                let left = ASK_AGAIN.saturating_sub(self.seen.elapsed());
                RolloutStatus::Pending(Pending { again: earlier(pending.again, Some(left)), ..pending })
            }
            status => status,
        }
    }

    /// Asks what the replacer wants now.
    async fn ask(&mut self, cluster: &Cluster) -> Result<()> {
        self.seen = Instant::now();
        let Some(found) = self.asked.target.replacer.found() else {
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

    /// Whether the API server says so: out of the watch's sight is not gone.
    async fn is_gone(&self, cluster: &Cluster) -> Result<bool> {
        let object = ObjectRef { uid: None, ..self.asked.target.object.clone() };
        match cluster.get(&object).await {
            Ok(pod) => Ok(Some(uid(&pod)) != self.asked.target.object.uid.as_deref()),
            Err(Error::TargetNotFound(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// How far it is, by what is known now.
    fn status(&mut self) -> RolloutStatus {
        let asked = &self.asked;
        let Some(replacer) = self.replacer.clone() else { return RolloutStatus::Pending(asked.nothing_yet()) };
        let goal = Goal {
            generation: 0,
            revision: None,
            stale_deadline: None,
            terminating: Terminating::Wait,
            settle: asked.run.wait.settle.get(),
            began: self.began,
            now: self.now,
        };
        let own = self.pods.items().values().filter(|pod| asked.is_of_replacer(pod, &self.owners));
        let followed = self.clock.follow(own, self.began, self.now);
        let workload = asked.wants(&replacer);
        let mut tally = Tally::of(&workload, &followed, goal);
        // Others that leave are not this action's, and where there are more than enough there are enough.
        let evicted = |pod: &&PodView| Some(&pod.uid) == asked.target.object.uid.as_ref();
        tally.terminating = self.pods.items().values().filter(evicted).collect();
        asked.observe(&tally, &workload, &replacer, &self.pods);
        let finished = followed.iter().map(|one| one.pod).filter(|pod| pod.finished);
        if let Some(ended) = asked.ended(&replacer, finished) {
            return if self.gone { ended } else { RolloutStatus::Pending(asked.nothing_yet()) };
        }
        // Of a DaemonSet's pods one on each node counts: with all its nodes there, the one of the evicted pod is too.
        let nodes: BTreeSet<_> = tally.there.iter().map(|pod| pod.node.as_deref()).collect();
        let there = if workload.kind == Kind::DaemonSet { nodes.len() } else { tally.there.len() };
        if self.gone && i64::try_from(there).unwrap_or(i64::MAX) >= workload.desired {
            return RolloutStatus::Done { surge: 0 };
        }
        match rollout::state(&workload, &tally, &[], goal) {
            RolloutStatus::Done { .. } => RolloutStatus::Pending(asked.nothing_yet()),
            status => status,
        }
    }

    /// The pod that came: for a DaemonSet the one on that node, else one that was not there before. Of a pod that was gone
    /// at the beginning, what was there before is not known.
    fn newcomer(&self) -> Option<String> {
        let node = text(self.asked.target.pod.as_ref()?, "/spec/nodeName");
        let daemon = self.asked.target.replacer.found().and_then(LiveObject::kind) == Some(Kind::DaemonSet);
        let is_new = |pod: &&PodView| {
            !self.asked.known.contains(&pod.uid)
                && Some(&pod.uid) != self.asked.target.object.uid.as_ref()
                && (pod.serves() || pod.finished)
                && self.asked.is_of_replacer(pod, &self.owners)
                && (!daemon || pod.node.as_deref() == node)
        };
        self.pods.items().values().filter(is_new).max_by_key(|pod| pod.created).map(|pod| pod.name.clone())
    }
}

impl Asked<'_> {
    fn nothing_yet(&self) -> Pending {
        Pending::plain(format!("waiting for {} to be gone", self.target.object))
    }

    fn is_of_replacer(&self, pod: &PodView, owners: &Owners) -> bool {
        match &self.target.replacer {
            // Only those that came after it: how many there are to be, nobody says.
            Replacer::Other { uid: owner, .. } if self.target.pod.is_some() => {
                pod.owner.as_ref() == Some(owner) && !self.known.contains(&pod.uid)
            }
            // What was there before a pod that is gone is not known: only the one that has its name can have come for it.
            Replacer::Other { .. } => Some(&pod.uid) == self.target.namesake.as_ref(),
            _ => owners.own(pod),
        }
    }

    /// How many pods there are to be, in the shape of a workload.
    fn wants(&self, replacer: &Value) -> Workload {
        match &self.target.replacer {
            Replacer::Workload(found) => {
                let kind = found.kind().unwrap_or(Kind::ReplicaSet);
                // Whether it rolls out at the moment is not this action's business.
                Workload { paused: false, out_of_time: None, ..Workload::read(kind, replacer) }
            }
            Replacer::Job(_) => plain(JobView::read(replacer).wants),
            Replacer::Other { .. } => plain(1),
            Replacer::Nobody(_) | Replacer::Unknown(_) => plain(0),
        }
    }

    /// What a Job that has come to its end means: the replacement may have run to its end too, or there never was one.
    /// The same of a pod that nobody replaces: somebody else has deleted it, or who asks forces it.
    pub fn ended<'a>(&self, job: &Value, mut finished: impl Iterator<Item = &'a PodView>) -> Option<RolloutStatus> {
        if let Replacer::Nobody(why) = &self.target.replacer {
            return Some(self.nothing_comes(format!("nothing replaces it: {why}")));
        }
        let Replacer::Job(found) = &self.target.replacer else { return None };
        let view = JobView::read(job);
        if let Some(why) = view.failed {
            return Some(self.nothing_comes(format!("{} has failed: {why}", found.object)));
        }
        // Of a pod that was gone at the beginning, what was there before is not known.
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

    /// Who forces it wants it gone, and nothing in its place; for everybody else that is no restart.
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

/// A workload of which nothing is known but how many pods it is to have.
fn plain(desired: i64) -> Workload {
    let mut workload = Workload::read(Kind::ReplicaSet, &Value::Null);
    workload.desired = desired;
    workload
}
