//! Waiting until an evicted pod is gone and replaced: until the workload at the top of its owners, by UID, has as many
//! serving pods as it wants now. Which of them took the place of which is nobody's to say, and its labels may have changed.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::job::JobView;
use super::replacer::Replacer;
use super::{RestartPod, Target};
use crate::action::RunContext;
use crate::cluster::{Cluster, Follow, Query};
use crate::error::{Error, Result};
use crate::object::{Kind, ObjectRef, text, uid};
use crate::observed::Observation;
use crate::owner::Owners;
use crate::pod::PodView;
use crate::rollout::{self, State, Waiting};
use crate::tally::{Goal, Tally};
use crate::wait::{Clock, Patience, out_of_time};
use crate::workload::{Found, Workload, leaving_since, selector};

/// How often what the replacer wants is asked for anew while it is waited for: it may be scaled meanwhile.
const ASK_AGAIN: std::time::Duration = std::time::Duration::from_secs(2);

/// How far the replacement is.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// It is there.
    Done,
    /// It is not, and this stands in the way, or nothing does.
    Waiting(Waiting),
    /// It never will be, for this reason.
    Failed(String),
}

/// A wait for a pod's replacement.
pub struct Replacement<'a> {
    pub action: &'a RestartPod,
    pub target: &'a Target,
    pub run: &'a RunContext,
    /// The pods beside it before the eviction, by UID.
    pub known: &'a [String],
}

struct Look {
    owners: Owners,
    clock: Clock,
    began: Timestamp,
    now: Timestamp,
    /// The replacer as it was seen last.
    replacer: Option<Value>,
    asked: Instant,
    /// Whether the API server said that the pod is gone.
    gone: bool,
}

impl Replacement<'_> {
    /// Waits; returns the name of the pod that came, where one can be told.
    pub async fn wait(&self, cluster: &Cluster) -> Result<Option<String>> {
        let object = &self.target.object;
        if let Replacer::Unknown(why) = &self.target.replacer {
            return Err(Error::NotVerified(format!("{object} is gone; what replaced it cannot be known: {why}")));
        }
        let found = self.target.replacer.found();
        let labels = found.map(|found| selector(&found.value)).unwrap_or_default();
        let query = Query::beside(object, Kind::Pod.resource(), labels.as_str());
        let mut pods: Follow<PodView> = cluster.follow(query).await?;
        let owner = found.map_or_else(|| object.clone(), |found| found.object.clone());
        let mut look = Look {
            owners: Owners::of(&owner, labels),
            clock: Clock::default(),
            began: cluster.server_time(self.run.now),
            now: cluster.server_now(),
            replacer: None,
            asked: Instant::now(),
            gone: self.target.pod.is_none(),
        };
        let mut patience = Patience::new(self.action.stuck_after.get());
        loop {
            let waiting = match self.look(cluster, &pods, &mut look).await? {
                Step::Done => return Ok(self.newcomer(&pods, &look)),
                Step::Failed(why) => return Err(self.failed(&why)),
                Step::Waiting(waiting) => waiting,
            };
            let cause = waiting.obstacle.as_ref().map(|cause| format!(" ({cause})")).unwrap_or_default();
            self.run.progress.report(&format!("{object}: {}{cause}", waiting.status));
            let patient = patience.until(&waiting).map_err(|why| self.failed(&why))?;
            let again = waiting.again.map(|again| Instant::now() + again);
            let deadline = Instant::now() + cluster.remaining();
            // Where there is nobody to ask, from now on: a moment that is over would wake it at once, again and again.
            let asked = if self.target.replacer.found().is_some() { look.asked } else { Instant::now() };
            let wakes = [Some(deadline), Some(asked + ASK_AGAIN), patient, again];
            let wake = wakes.into_iter().flatten().min().unwrap_or(deadline);
            tokio::select! {
                changed = pods.changed() => changed?,
                () = tokio::time::sleep_until(wake) => if wake >= deadline { return Err(out_of_time(object, &self.run.progress)) },
            }
        }
    }

    fn failed(&self, why: &str) -> Error {
        Error::NotVerified(format!("the replacement of {} does not become ready: {why}", self.target.object))
    }

    async fn look(&self, cluster: &Cluster, pods: &Follow<PodView>, look: &mut Look) -> Result<Step> {
        let evicted = pods.items().values().find(|pod| Some(&pod.uid) == self.target.object.uid.as_ref());
        look.gone = evicted.is_none() && (look.gone || self.is_gone(cluster).await?);
        let all: Vec<&PodView> = pods.items().values().collect();
        look.owners.learn(cluster, &[], &all).await?;
        look.now = cluster.server_now();
        let step = self.step(evicted, pods, look);
        // Done by what it wanted when it was asked last: what does it want now?
        let asks = self.target.replacer.found().filter(|_| step == Step::Done || look.asked.elapsed() >= ASK_AGAIN);
        let Some(found) = asks else {
            if look.replacer.is_none() {
                self.ask(cluster, look).await?;
                return Ok(self.step(evicted, pods, look));
            }
            return Ok(step);
        };
        tracing::debug!(replacer = %found.object, "asking what it wants now");
        self.ask(cluster, look).await?;
        Ok(self.step(evicted, pods, look))
    }

    async fn ask(&self, cluster: &Cluster, look: &mut Look) -> Result<()> {
        look.asked = Instant::now();
        let Some(found) = self.target.replacer.found() else {
            look.replacer = Some(Value::Null);
            return Ok(());
        };
        let now = match cluster.get(&found.object).await {
            Err(Error::TargetNotFound(_)) => return Err(self.failed(&format!("{} is gone", found.object))),
            now => now?,
        };
        if uid(&now) != uid(&found.value) {
            return Err(self.failed(&format!("{} was deleted and made anew", found.object)));
        }
        if let Some(since) = leaving_since(&now) {
            return Err(self.failed(&format!("{} is being deleted since {since}", found.object)));
        }
        look.replacer = Some(now);
        Ok(())
    }

    /// Whether the API server says so: out of the watch's sight is not gone.
    async fn is_gone(&self, cluster: &Cluster) -> Result<bool> {
        let object = ObjectRef { uid: None, ..self.target.object.clone() };
        match cluster.get(&object).await {
            Ok(pod) => Ok(Some(uid(&pod)) != self.target.object.uid.as_deref()),
            Err(Error::TargetNotFound(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn step(&self, evicted: Option<&PodView>, pods: &Follow<PodView>, look: &mut Look) -> Step {
        let now = look.now;
        let Some(replacer) = look.replacer.clone() else { return Step::Waiting(self.nothing_yet()) };
        let goal = Goal {
            generation: 0,
            revision: None,
            stale_deadline: None,
            terminating: crate::parameters::Terminating::Wait,
            settle: self.action.settle.get(),
            began: look.began,
            now,
        };
        let own = pods.items().values().filter(|pod| self.is_of_replacer(pod, &look.owners));
        let followed = look.clock.follow(own, look.began, now);
        let workload = self.wants(&replacer);
        let mut tally = Tally::of(&workload, &followed, goal);
        // Others that leave are not this action's, and where there are more than enough there are enough.
        tally.terminating = evicted.into_iter().collect();
        self.observe(&tally, &workload, &replacer, pods);
        let finished = followed.iter().map(|one| one.pod).filter(|pod| pod.finished);
        if let Some(ended) = self.ended(&replacer, finished) {
            return if look.gone { ended } else { Step::Waiting(self.nothing_yet()) };
        }
        // Of a DaemonSet's pods one on each node counts: with all its nodes there, the one of the evicted pod is too.
        let nodes: BTreeSet<_> = tally.there.iter().map(|pod| pod.node.as_deref()).collect();
        let there = if workload.kind == Kind::DaemonSet { nodes.len() } else { tally.there.len() };
        if look.gone && i64::try_from(there).unwrap_or(i64::MAX) >= workload.desired {
            return Step::Done;
        }
        match rollout::state(&workload, &tally, &[], goal) {
            State::Failed(why) => Step::Failed(why),
            State::Done { .. } => Step::Waiting(self.nothing_yet()),
            State::Waiting(waiting) => Step::Waiting(waiting),
        }
    }

    fn nothing_yet(&self) -> Waiting {
        let status = format!("waiting for {} to be gone", self.target.object);
        Waiting { status, reached: 0, obstacle: None, again: None }
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
    pub fn ended<'a>(&self, job: &Value, mut finished: impl Iterator<Item = &'a PodView>) -> Option<Step> {
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
            return view.complete.then_some(Step::Done);
        }
        Some(self.nothing_comes(format!(
            "{} is complete, and made no other pod that is known: the evicted one ended as a success, or was the last that was needed",
            found.object
        )))
    }

    /// Who forces it wants it gone, and nothing in its place; for everybody else that is no restart.
    fn nothing_comes(&self, why: String) -> Step {
        if self.action.force { Step::Done } else { Step::Failed(why) }
    }

    fn observe(&self, tally: &Tally<'_>, workload: &Workload, replacer: &Value, pods: &Follow<PodView>) {
        let version = text(replacer, "/metadata/resourceVersion").map(str::to_owned);
        let of = |found: &Found| Some((found.object.resource.plural().to_owned(), version.clone()?));
        let replacer = self.target.replacer.found().and_then(of);
        let pods_version = ("pods".to_owned(), pods.version().to_owned());
        self.run.progress.observe(Observation {
            pods: Some(tally.counts()),
            desired: Some(workload.desired),
            verified_at: replacer.into_iter().chain([pods_version]).collect(),
            ..Observation::default()
        });
    }

    /// The pod that came: for a DaemonSet the one on that node, else one that was not there before. Of a pod that was gone
    /// at the beginning, what was there before is not known.
    fn newcomer(&self, pods: &Follow<PodView>, look: &Look) -> Option<String> {
        let node = text(self.target.pod.as_ref()?, "/spec/nodeName");
        let daemon = self.target.replacer.found().and_then(Found::kind) == Some(Kind::DaemonSet);
        let is_new = |pod: &&PodView| {
            !self.known.contains(&pod.uid)
                && Some(&pod.uid) != self.target.object.uid.as_ref()
                && (pod.serves() || pod.finished)
                && self.is_of_replacer(pod, &look.owners)
                && (!daemon || pod.node.as_deref() == node)
        };
        pods.items().values().filter(is_new).max_by_key(|pod| pod.created).map(|pod| pod.name.clone())
    }
}

/// A workload of which nothing is known but how many pods it is to have.
fn plain(desired: i64) -> Workload {
    let mut workload = Workload::read(Kind::ReplicaSet, &Value::Null);
    workload.desired = desired;
    workload
}
