//! Waiting for a rollout: by watch, never by polling at an interval.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::action::Progress;
use crate::cluster::{Cluster, Follow, Query};
use crate::error::{Error, Result};
use crate::names::Name;
use crate::object::{Kind, ObjectRef, uid};
use crate::pod::PodView;
use crate::revision;
use crate::rollout::{self, Goal, State, Waiting};
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
    /// How long an obstacle that may pass may stand without progress.
    pub stuck_after: Duration,
}

/// How a rollout ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// How many pods there are to be.
    pub desired: i64,
    /// How many are ready.
    pub ready: i64,
    /// The revision of the pods, where it mattered.
    pub revision: Option<String>,
}

impl Rollout<'_> {
    /// Waits until the rollout is done, cannot be, or the cluster's deadline comes.
    pub async fn wait(&self, cluster: &Cluster, progress: &Progress) -> Result<Reached> {
        let before = Workload::read(self.kind, &self.now);
        let (generation, stale) = (before.generation, before.out_of_time.map(|late| late.since));
        let mut workload = cluster.follow_object(self.object, self.now.clone()).await?;
        let mut patience = Patience::new(self.stuck_after);
        // First its controller must have seen the change: only then is there a newest revision to speak of.
        loop {
            let value = self.ours(&workload)?;
            if Workload::read(self.kind, value).has_observed(generation) {
                break;
            }
            progress.report(&format!("{}: waiting for the controller to observe generation {generation}", self.object));
            self.next(cluster, &mut workload, None, None, progress).await?;
        }
        let revision = self.revision(cluster, &mut workload, progress).await?;
        let value = self.ours(&workload)?.clone();
        let query = Query::beside(self.object, Kind::Pod.resource(), selector(&value));
        let mut pods: Follow<PodView> = cluster.follow(query).await?;
        loop {
            let seen = Workload::read(self.kind, self.ours(&workload)?);
            let goal = Goal { generation, revision: revision.as_deref(), stale_deadline: stale.as_deref() };
            let live = pods.items().values().filter(|pod| !pod.finished && self.owns(pod));
            match rollout::state(&seen, live, goal) {
                State::Done => return Ok(Reached { desired: seen.desired, ready: seen.ready, revision }),
                State::Failed(why) => {
                    return Err(Error::NotVerified(format!("{} does not become ready: {why}", self.object)));
                }
                State::Waiting(waiting) => {
                    self.report(progress, &waiting);
                    let until = patience.until(&waiting).map_err(|why| Error::NotVerified(format!(
                        "{} does not become ready: {why} (no progress for {} s; raise stuckAfter if this may take longer)",
                        self.object, self.stuck_after.as_secs()
                    )))?;
                    self.next(cluster, &mut workload, Some(&mut pods), until, progress).await?;
                }
            }
        }
    }

    /// The label of the newest revision's pods, where it matters. The controller may have observed the change and not have
    /// made its revision yet (it does so when it is also scaled at that moment).
    async fn revision(
        &self,
        cluster: &Cluster,
        workload: &mut Follow<Value>,
        progress: &Progress,
    ) -> Result<Option<String>> {
        if !self.of_newest_revision {
            return Ok(None);
        }
        loop {
            let value = self.ours(workload)?.clone();
            if let Some(label) = revision::current_pod_label(cluster, self.kind, self.object, &value).await? {
                return Ok(Some(label));
            }
            progress.report(&format!("{}: waiting for its new revision", self.object));
            self.next(cluster, workload, None, None, progress).await?;
        }
    }

    fn report(&self, progress: &Progress, waiting: &Waiting) {
        let obstacle = waiting.obstacle.as_ref().map(|cause| format!(" ({cause})")).unwrap_or_default();
        progress.report(&format!("{}: {}{obstacle}", self.object, waiting.status));
    }

    /// Selectors may overlap: another workload's broken pod is not in our way. A Deployment's pods are its ReplicaSets',
    /// and carry their hash.
    fn owns(&self, pod: &PodView) -> bool {
        if self.kind == Kind::Deployment { pod.revision.is_some() } else { pod.owner == self.object.uid }
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
        workload: &mut Follow<Value>,
        pods: Option<&mut Follow<PodView>>,
        until: Option<Instant>,
        progress: &Progress,
    ) -> Result<()> {
        let deadline = Instant::now() + cluster.remaining();
        let wake = until.unwrap_or(deadline).min(deadline);
        let pods = async {
            match pods {
                Some(pods) => pods.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = workload.changed() => changed,
            changed = pods => changed,
            () = tokio::time::sleep_until(wake) => if wake < deadline { Ok(()) } else { Err(out_of_time(self.object, progress)) },
        }
    }
}

/// The wait is over, and the effect is not there.
pub fn out_of_time(object: &ObjectRef, progress: &Progress) -> Error {
    let last = progress.last().unwrap_or_else(|| object.to_string());
    Error::NotVerified(format!("waitTimeout is over; {last}"))
}

/// How long an obstacle that may pass has stood, without progress.
struct Patience {
    allowed: Duration,
    best: i64,
    since: Option<Instant>,
}

impl Patience {
    fn new(allowed: Duration) -> Self {
        Self { allowed, best: -1, since: None }
    }

    /// Until when to wait for the next change; an error names the obstacle that stood too long.
    fn until(&mut self, waiting: &Waiting) -> Result<Option<Instant>, String> {
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
        Waiting { status: String::new(), reached, obstacle: obstacle.then(|| "no room".to_owned()) }
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
