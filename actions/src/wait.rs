//! Waiting for a rollout: by watch, never by polling at an interval.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::time::Instant;

use crate::action::{Progress, RunContext};
use crate::cluster::{Cluster, Follow, Query};
use crate::error::{Error, Result};
use crate::names::Name;
use crate::object::{Kind, ObjectRef, text, uid};
use crate::observed::Observation;
use crate::owner::Owners;
use crate::parameters::Waiting as Asked;
use crate::pod::PodView;
use crate::revision::{self, SetView};
use crate::rollout::{self, State, Waiting};
use crate::tally::{Followed, Goal, Tally};
use crate::workload::{Workload, selector};

/// What to wait for, and how.
pub struct Rollout<'a> {
    /// The workload.
    pub object: &'a ObjectRef,
    /// Which of the kinds.
    pub kind: Kind,
    /// The object as the write left it.
    pub now: Value,
    /// Whether its pods must be of its newest revision (restart, rollback), or any will do (scale).
    pub of_newest_revision: bool,
    /// Why the value is not ours any more, if it is not.
    pub overwritten: &'a dyn Fn(&Value) -> Option<String>,
    /// How the action waits.
    pub asked: Asked,
}

/// What is followed during a wait.
struct Watched {
    workload: Follow<Value>,
    sets: Option<Follow<SetView>>,
    pods: Follow<PodView>,
}

impl Rollout<'_> {
    /// Waits until the rollout is done, cannot be, or the cluster's deadline comes. What it saw last stands in the run's
    /// progress, however it ends.
    pub async fn wait(&self, cluster: &Cluster, run: &RunContext) -> Result<()> {
        let progress = &run.progress;
        let before = Workload::read(self.kind, &self.now);
        let workload = cluster.follow_object(self.object, self.now.clone()).await?;
        let labels = selector(&self.now);
        // From the beginning, so that the time in which they are ready counts also while the workload's own watch is slow.
        let pods = cluster.follow(Query::beside(self.object, Kind::Pod.resource(), labels.as_str())).await?;
        let mut watched = Watched { workload, sets: None, pods };
        let mut look = Look {
            owners: Owners::of(self.object, labels),
            clock: Clock::default(),
            began: cluster.server_time(run.now),
            generation: before.generation,
            stale: before.out_of_time.map(|late| late.since),
            revision: None,
        };
        look.revision = self.begun(cluster, &mut watched, &mut look, progress).await?;
        let mut patience = Patience::new(self.asked.stuck_after.get());
        loop {
            match self.look(cluster, &watched, &mut look, progress).await? {
                State::Done { .. } => return Ok(()),
                State::Failed(why) => {
                    return Err(Error::NotVerified(format!("{} does not become ready: {why}", self.object)));
                }
                State::Waiting(waiting) => {
                    let until = self.wake(&waiting, &mut patience, progress)?;
                    self.next(cluster, &mut watched, until, progress).await?;
                }
            }
        }
    }

    /// Waits until the workload's controller has begun: it has seen the change and, where that matters, made a revision of
    /// it. Returns the label of that revision's pods.
    async fn begun(
        &self,
        cluster: &Cluster,
        watched: &mut Watched,
        look: &mut Look,
        progress: &Progress,
    ) -> Result<Option<String>> {
        let generation = look.generation;
        while !Workload::read(self.kind, self.ours(&watched.workload)?).has_observed(generation) {
            progress.report(&format!("{}: waiting for the controller to observe generation {generation}", self.object));
            look.clock.follow(watched.pods.items().values(), look.began, cluster.server_now());
            self.next(cluster, watched, None, progress).await?;
        }
        if self.kind == Kind::Deployment {
            let query = Query::beside(self.object, Kind::ReplicaSet.resource(), selector(&self.now));
            watched.sets = Some(cluster.follow(query).await?);
        }
        if !self.of_newest_revision {
            return Ok(None);
        }
        // It may have seen the change and not have made its revision yet: it does so when it is also scaled at that moment.
        loop {
            let value = self.ours(&watched.workload)?.clone();
            let sets = self.own_sets(watched);
            if let Some(label) = revision::current_pod_label(cluster, self.kind, self.object, &value, &sets).await? {
                return Ok(Some(label));
            }
            progress.report(&format!("{}: waiting for its new revision", self.object));
            look.clock.follow(watched.pods.items().values(), look.began, cluster.server_now());
            self.next(cluster, watched, None, progress).await?;
        }
    }

    /// A Deployment's own ReplicaSets.
    fn own_sets(&self, watched: &Watched) -> Vec<SetView> {
        let sets = watched.sets.iter().flat_map(|sets| sets.items().values());
        sets.filter(|set| set.owner == self.object.uid).cloned().collect()
    }

    /// What the cluster looks like now, measured against the goal.
    async fn look(&self, cluster: &Cluster, watched: &Watched, look: &mut Look, progress: &Progress) -> Result<State> {
        let seen = Workload::read(self.kind, self.ours(&watched.workload)?);
        let pods: Vec<&PodView> = watched.pods.items().values().collect();
        let sets = self.own_sets(watched);
        look.owners.learn(cluster, &sets, &pods).await?;
        let goal = Goal {
            generation: look.generation,
            revision: look.revision.as_deref(),
            stale_deadline: look.stale.as_deref(),
            terminating: self.asked.terminating,
            settle: self.asked.settle.get(),
            began: look.began,
            now: cluster.server_now(),
        };
        let ours = pods.into_iter().filter(|pod| look.owners.own(pod));
        let followed: Vec<Followed<'_>> = look.clock.follow(ours, look.began, goal.now);
        let tally = Tally::of(&seen, &followed, goal);
        let state = rollout::state(&seen, &tally, &sets, goal);
        progress.observe(Observation {
            pods: Some(tally.counts()),
            desired: Some(rollout::wanted(&seen, goal)),
            revision: look.revision.clone(),
            surge: match state {
                State::Done { surge } if surge > 0 => Some(surge),
                _ => None,
            },
            verified_at: self.versions(watched),
        });
        Ok(state)
    }

    fn versions(&self, watched: &Watched) -> BTreeMap<String, String> {
        let own = |resource: &str, version: &str| (resource.to_owned(), version.to_owned());
        let workload = own(self.object.resource.plural(), watched.workload.version());
        let sets = watched.sets.as_ref().map(|sets| own("replicasets", sets.version()));
        sets.into_iter().chain([workload, own("pods", watched.pods.version())]).collect()
    }

    /// When to look again at the latest; an error when an obstacle has stood for too long.
    fn wake(&self, waiting: &Waiting, patience: &mut Patience, progress: &Progress) -> Result<Option<Instant>> {
        let obstacle = waiting.obstacle.as_ref().map(|cause| format!(" ({cause})")).unwrap_or_default();
        progress.report(&format!("{}: {}{obstacle}", self.object, waiting.status));
        let patient = patience.until(waiting).map_err(|why| {
            Error::NotVerified(format!(
                "{} does not become ready: {why} (no progress for {} s; raise stuckAfter if this may take longer)",
                self.object,
                self.asked.stuck_after.get().as_secs()
            ))
        })?;
        let again = waiting.again.map(|wait| Instant::now() + wait);
        Ok(patient.into_iter().chain(again).min())
    }

    /// The workload as it is now; an error when it is gone, another one, or no longer what we made it.
    fn ours<'a>(&self, workload: &'a Follow<Value>) -> Result<&'a Value> {
        let Some(value) = workload.items().get(self.object.name.as_str()) else {
            return Err(Error::NotVerified(format!("{} was deleted while it was waited for", self.object)));
        };
        if self.object.uid.as_deref().is_some_and(|known| known != uid(value)) {
            return Err(Error::NotVerified(format!(
                "{} was deleted and made anew while it was waited for",
                self.object
            )));
        }
        if text(value, "/metadata/deletionTimestamp").is_some() {
            return Err(Error::NotVerified(format!("{} is being deleted while it is waited for", self.object)));
        }
        match (self.overwritten)(value) {
            Some(how) => Err(Error::NotVerified(format!(
                "{} was changed by someone else while it was waited for: {how}",
                self.object
            ))),
            None => Ok(value),
        }
    }

    /// Waits for the next change, until patience or time is over.
    async fn next(
        &self,
        cluster: &Cluster,
        watched: &mut Watched,
        until: Option<Instant>,
        progress: &Progress,
    ) -> Result<()> {
        let deadline = Instant::now() + cluster.remaining();
        let wake = until.unwrap_or(deadline).min(deadline);
        let Watched { workload, sets, pods } = watched;
        tokio::select! {
            changed = workload.changed() => changed,
            changed = changed(sets) => changed,
            changed = pods.changed() => changed,
            () = tokio::time::sleep_until(wake) => if wake < deadline { Ok(()) } else { Err(out_of_time(self.object, progress)) },
        }
    }
}

/// Waits until what may be followed changed; for ever, where it is not.
pub async fn changed<T: crate::cluster::Item>(following: &mut Option<Follow<T>>) -> Result<()> {
    match following {
        Some(following) => following.changed().await,
        None => std::future::pending().await,
    }
}

/// What one look after the other builds on.
struct Look {
    owners: Owners,
    clock: Clock,
    began: Timestamp,
    generation: i64,
    stale: Option<String>,
    revision: Option<String>,
}

/// For how long each pod has been ready, by our own clock.
#[derive(Default)]
pub struct Clock(BTreeMap<String, (String, Instant)>);

impl Clock {
    /// Pods with the time that each has been ready without a container starting again. What was there before the run may
    /// have been ready for longer than we have looked, and its kubelet says since when; that has whole seconds.
    pub fn follow<'a>(
        &mut self,
        pods: impl Iterator<Item = &'a PodView>,
        began: Timestamp,
        now: Timestamp,
    ) -> Vec<Followed<'a>> {
        let mut seen = BTreeMap::new();
        let followed = pods.map(|pod| Followed { pod, steady: self.steady(pod, began, now, &mut seen) }).collect();
        self.0 = seen;
        followed
    }

    fn steady(
        &self,
        pod: &PodView,
        began: Timestamp,
        now: Timestamp,
        seen: &mut BTreeMap<String, (String, Instant)>,
    ) -> Duration {
        if !pod.ready {
            return Duration::ZERO;
        }
        let known = self.0.get(&pod.uid).filter(|(instances, _)| *instances == pod.instances);
        let since = known.map_or_else(Instant::now, |(_, since)| *since);
        seen.insert(pod.uid.clone(), (pod.instances.clone(), since));
        // Times have whole seconds: what was made in the run's first one may be new.
        let from_before = pod.created.is_some_and(|created| created < began - SignedDuration::from_secs(1));
        // By its kubelet's clock, which may be behind; no longer than there is a pod, by the API server's.
        let since_then = |time: Option<Timestamp>| Duration::try_from(now.duration_since(time?)).ok();
        let told = since_then(pod.ready_since).filter(|_| from_before).min(since_then(pod.created)).unwrap_or_default();
        since.elapsed().max(told.saturating_sub(Duration::from_secs(1)))
    }
}

/// The wait is over, and the effect is not there.
pub fn out_of_time(object: &ObjectRef, progress: &Progress) -> Error {
    let last = progress.last().unwrap_or_else(|| object.to_string());
    Error::NotVerified(format!("waitTimeout is over; {last}"))
}

/// How long an obstacle that may pass has stood, without progress.
pub struct Patience {
    allowed: Duration,
    best: i64,
    since: Option<Instant>,
}

impl Patience {
    /// So long.
    pub fn new(allowed: Duration) -> Self {
        Self { allowed, best: i64::MIN, since: None }
    }

    /// Until when to wait for the next change; an error names the obstacle that stood too long.
    pub fn until(&mut self, waiting: &Waiting) -> Result<Option<Instant>, String> {
        let Some(obstacle) = &waiting.obstacle else {
            self.since = None;
            self.best = self.best.max(waiting.reached);
            return Ok(None);
        };
        if waiting.reached > self.best {
            self.best = waiting.reached;
            self.since = None;
        }
        let over = *self.since.get_or_insert_with(Instant::now) + self.allowed;
        if over <= Instant::now() { Err(obstacle.clone()) } else { Ok(Some(over)) }
    }
}

/// A name that the API server gave.
pub fn server_name(text: &str) -> Result<Name> {
    text.parse()
        .map_err(|error| Error::Internal(format!("the API server names an object that breaks its own rules: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(reached: i64, obstacle: bool) -> Waiting {
        Waiting { status: String::new(), reached, obstacle: obstacle.then(|| "no room".to_owned()), again: None }
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_only_without_progress() {
        let mut patience = Patience::new(Duration::from_mins(1));
        assert!(patience.until(&waiting(0, true)).is_ok());
        tokio::time::advance(Duration::from_secs(50)).await;
        assert!(patience.until(&waiting(1, true)).is_ok(), "one more is ready: it begins anew");
        tokio::time::advance(Duration::from_secs(50)).await;
        assert!(patience.until(&waiting(1, true)).is_ok());
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(patience.until(&waiting(1, true)).unwrap_err(), "no room");
    }

    #[tokio::test(start_paused = true)]
    async fn an_obstacle_that_passed_is_forgotten() {
        let mut patience = Patience::new(Duration::from_mins(1));
        assert!(patience.until(&waiting(0, true)).is_ok());
        assert_eq!(patience.until(&waiting(0, false)), Ok(None));
        tokio::time::advance(Duration::from_secs(70)).await;
        assert!(patience.until(&waiting(0, true)).is_ok());
    }
}
