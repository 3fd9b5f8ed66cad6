//! Waits by watch, never by polling at an interval, and with patience for obstacles that may pass.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::Workload;
use super::owners::Owners;
use super::pods::PodView;
use super::revisions::{self, SetView};
use super::rollout::{self, Pending, RolloutStatus};
use super::steady::Clock;
use super::tally::{Followed, Goal, Tally};
use crate::cluster::error::{Error, Result};
use crate::cluster::observed::{Observation, Versions};
use crate::cluster::run::{Progress, RunContext};
use crate::cluster::{Cluster, Item, Query, Watch};
use crate::k8s::object::{text, uid};
use crate::k8s::selector::selector;
use crate::k8s::{Kind, ObjectRef};

/// An effect that is waited for.
#[allow(async_fn_in_trait, reason = "never used as a trait object, and everything runs on one thread")]
pub trait Wait {
    /// Returns the object, for sentences.
    fn object(&self) -> &ObjectRef;
    /// Looks at the progress.
    async fn look(&mut self, cluster: &Cluster) -> Result<RolloutStatus>;
    /// Returns once something watched has changed.
    async fn changed(&mut self) -> Result<()>;
    /// Returns the error for an effect that will not come.
    fn failed(&self, why: &str) -> Error {
        Error::NotVerified(format!("{} does not become ready: {why}", self.object()))
    }
}

/// Waits until the effect is there or cannot come, an obstacle has stood for `stuckAfter`, or the cluster's deadline
/// comes.
pub async fn until_done(wait: &mut impl Wait, cluster: &Cluster, run: &RunContext) -> Result<()> {
    let stuck_after = run.wait.stuck_after.get();
    let mut patience = Patience::new(stuck_after);
    loop {
        let pending = match wait.look(cluster).await? {
            RolloutStatus::Done { .. } => return Ok(()),
            RolloutStatus::Failed(why) => return Err(wait.failed(&why)),
            RolloutStatus::Pending(pending) => pending,
        };
        let obstacle = pending.obstacle.as_ref().map(|cause| format!(" ({cause})")).unwrap_or_default();
        run.progress.report(&format!("{}: {}{obstacle}", wait.object(), pending.status));
        let patient = patience.until(&pending).map_err(|why| {
            wait.failed(&format!(
                "{why} (no progress for {} s; raise stuckAfter if this may take longer)",
                stuck_after.as_secs()
            ))
        })?;
        let deadline = Instant::now() + cluster.remaining();
        let again = pending.again.map(|again| Instant::now() + again);
        let wake = patient.into_iter().chain(again).chain([deadline]).min().unwrap_or(deadline);
        tokio::select! {
            changed = wait.changed() => changed?,
            () = tokio::time::sleep_until(wake) => if wake >= deadline { return Err(out_of_time(wait.object(), &run.progress)) },
        }
    }
}

/// A rollout to wait for, and how to notice that somebody overwrote it.
pub struct RolloutWait<'a> {
    /// The workload.
    pub object: &'a ObjectRef,
    /// Kind of the workload.
    pub kind: Kind,
    /// The object as the write left it.
    pub now: Value,
    /// True when the pods must be of the newest revision (restart, rollback), false when any will do (scale).
    pub of_newest_revision: bool,
    /// Returns how the value was overwritten, if so.
    pub overwritten: &'a dyn Fn(&Value) -> Option<String>,
    /// The run.
    pub run: &'a RunContext,
}

impl RolloutWait<'_> {
    /// Waits for the rollout. The last observation stays in the run's progress, however this ends.
    pub async fn wait(&self, cluster: &Cluster) -> Result<()> {
        let before = Workload::read(self.kind, &self.now);
        let workload = cluster.watch_object(self.object, self.now.clone()).await?;
        let labels = selector(&self.now);
        // From the start, so that the time for which pods are ready counts even while the workload's own watch is slow.
        let pods = cluster.watch(Query::beside(self.object, Kind::Pod.resource(), labels.as_str())).await?;
        let mut rollout = Rollout {
            wait: self,
            workload,
            sets: None,
            pods,
            owners: Owners::of(self.object, labels),
            clock: Clock::default(),
            began: cluster.server_time(self.run.now),
            generation: before.generation,
            stale_deadline: before.out_of_time.map(|late| late.since),
            revision: None,
        };
        until_done(&mut rollout, cluster, self.run).await
    }
}

/// The state of the wait for a rollout.
struct Rollout<'a> {
    wait: &'a RolloutWait<'a>,
    workload: Watch<Value>,
    sets: Option<Watch<SetView>>,
    pods: Watch<PodView>,
    owners: Owners,
    clock: Clock,
    began: Timestamp,
    generation: i64,
    stale_deadline: Option<String>,
    /// Label of the new pods, once the controller has made a revision of the change.
    revision: Option<String>,
}

impl Wait for Rollout<'_> {
    fn object(&self) -> &ObjectRef {
        self.wait.object
    }

    async fn look(&mut self, cluster: &Cluster) -> Result<RolloutStatus> {
        let value = self.ours()?.clone();
        let seen = Workload::read(self.wait.kind, &value);
        if let Some(pending) = self.beginning(cluster, &seen, &value).await? {
            // The pods may be ready long before the controller has begun.
            self.clock.follow(self.pods.items().values(), self.began, cluster.server_now());
            return Ok(RolloutStatus::Pending(pending));
        }
        let pods: Vec<&PodView> = self.pods.items().values().collect();
        let sets = self.own_sets();
        self.owners.learn(cluster, &sets, &pods).await?;
        let options = &self.wait.run.wait;
        let goal = Goal {
            generation: self.generation,
            revision: self.revision.as_deref(),
            stale_deadline: self.stale_deadline.as_deref(),
            terminating: options.terminating,
            settle: options.settle.get(),
            began: self.began,
            now: cluster.server_now(),
        };
        let ours = pods.into_iter().filter(|pod| self.owners.own(pod));
        let followed: Vec<Followed<'_>> = self.clock.follow(ours, self.began, goal.now);
        let tally = Tally::of(&seen, &followed, goal);
        let status = rollout::state(&seen, &tally, &sets, goal);
        self.wait.run.progress.observe(Observation {
            pods: Some(tally.counts()),
            desired: Some(rollout::wanted(&seen, goal)),
            revision: self.revision.clone(),
            surge: match status {
                RolloutStatus::Done { surge } if surge > 0 => Some(surge),
                _ => None,
            },
            verified_at: self.versions(),
        });
        Ok(status)
    }

    async fn changed(&mut self) -> Result<()> {
        let Self { workload, sets, pods, .. } = self;
        tokio::select! {
            changed = workload.changed() => changed,
            changed = changed(sets) => changed,
            changed = pods.changed() => changed,
        }
    }
}

impl Rollout<'_> {
    /// Returns what is missing until the controller has begun: it must have seen the change and, if needed, made a
    /// revision. It may have seen the change without making the revision yet, as when also scaled at that moment.
    async fn beginning(&mut self, cluster: &Cluster, seen: &Workload, value: &Value) -> Result<Option<Pending>> {
        let RolloutWait { object, kind, .. } = *self.wait;
        if !seen.has_observed(self.generation) {
            return Ok(Some(Pending::plain(rollout::not_observed(self.generation))));
        }
        if kind == Kind::Deployment && self.sets.is_none() {
            let query = Query::beside(object, Kind::ReplicaSet.resource(), selector(&self.wait.now));
            self.sets = Some(cluster.watch(query).await?);
        }
        if self.wait.of_newest_revision && self.revision.is_none() {
            self.revision = revisions::current_pod_label(cluster, kind, object, value, &self.own_sets()).await?;
            if self.revision.is_none() {
                return Ok(Some(Pending::plain("waiting for its new revision")));
            }
        }
        Ok(None)
    }

    /// Returns a Deployment's own ReplicaSets.
    fn own_sets(&self) -> Vec<SetView> {
        let sets = self.sets.iter().flat_map(|sets| sets.items().values());
        sets.filter(|set| set.owner == self.wait.object.uid).cloned().collect()
    }

    fn versions(&self) -> Versions {
        let own = |resource: &str, version: &str| (resource.to_owned(), version.to_owned());
        let workload = own(self.wait.object.resource.plural(), self.workload.version());
        let sets = self.sets.as_ref().map(|sets| own("replicasets", sets.version()));
        sets.into_iter().chain([workload, own("pods", self.pods.version())]).collect()
    }

    /// Returns the workload as it is now; an error when it is gone, another object, or no longer as written.
    fn ours(&self) -> Result<&Value> {
        let object = self.wait.object;
        let value = still_there(object, self.workload.items().get(object.name.as_str()))?;
        match (self.wait.overwritten)(value) {
            Some(how) => {
                Err(Error::NotVerified(format!("{object} was changed by someone else while it was waited for: {how}")))
            }
            None => Ok(value),
        }
    }
}

/// Returns the awaited object, as a watch has it now; an error when it is gone, being deleted, or another object.
pub fn still_there<'a>(object: &ObjectRef, now: Option<&'a Value>) -> Result<&'a Value> {
    let lost = |how: &str| Err(Error::NotVerified(format!("{object} {how}")));
    match now {
        None => lost("was deleted while it was waited for"),
        Some(now) if object.uid.as_deref().is_some_and(|known| known != uid(now)) => {
            lost("was deleted and recreated while it was waited for")
        }
        Some(now) if text(now, "/metadata/deletionTimestamp").is_some() => {
            lost("is being deleted while it is waited for")
        }
        Some(now) => Ok(now),
    }
}

/// Returns once the watch has changed; never, if there is none.
pub async fn changed<T: Item>(watch: &mut Option<Watch<T>>) -> Result<()> {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// Returns the error for a wait that is over without the effect.
fn out_of_time(object: &ObjectRef, progress: &Progress) -> Error {
    let last = progress.last().unwrap_or_else(|| object.to_string());
    Error::NotVerified(format!("waitTimeout is over; {last}"))
}

/// Measures how long an obstacle that may pass has stood without progress.
struct Patience {
    allowed: Duration,
    best: i64,
    since: Option<Instant>,
}

impl Patience {
    /// Allows an obstacle this long.
    fn new(allowed: Duration) -> Self {
        Self { allowed, best: i64::MIN, since: None }
    }

    /// Returns the time until which to wait for a change; the error names an obstacle that stood too long.
    fn until(&mut self, waiting: &Pending) -> Result<Option<Instant>, String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::testing::run;
    use crate::cluster::fake::{Answer, cluster, object};
    use rstest::rstest;
    use serde_json::json;

    fn waiting(reached: i64, obstacle: bool) -> Pending {
        Pending { status: String::new(), reached, obstacle: obstacle.then(|| "no room".to_owned()), again: None }
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

    /// `deployment shop/web` after a change: how many of its generations its controller has seen.
    fn deployment(observed: i64, version: &str) -> Value {
        json!({
            "metadata": { "name": "web", "uid": "u", "generation": 2, "resourceVersion": version },
            "spec": { "replicas": 1, "selector": { "matchLabels": { "app": "web" } }, "template": { "spec": { "x": 1 } } },
            "status": { "observedGeneration": observed },
        })
    }

    fn event(object: &Value) -> Value {
        json!({ "type": "MODIFIED", "object": object })
    }

    fn listed(items: &[Value]) -> Answer {
        Answer::Json(200, json!({ "metadata": { "resourceVersion": "100" }, "items": items }))
    }

    /// A set of the same template, under this owner.
    fn set(name: &str, owner: &str) -> Value {
        let owners = json!([{ "uid": owner, "controller": true }]);
        let labels = json!({ "pod-template-hash": name });
        json!({
            "metadata": { "name": name, "uid": name, "generation": 1, "labels": labels, "ownerReferences": owners, "resourceVersion": "90",
                "creationTimestamp": if owner == "u" { "2020-01-02T00:00:00Z" } else { "2020-01-01T00:00:00Z" } },
            "spec": { "replicas": 1, "template": { "spec": { "x": 1 } } },
            "status": { "observedGeneration": 1 },
        })
    }

    fn pod(name: &str, set: &str, ready: bool) -> Value {
        json!({
            "metadata": { "name": name, "uid": name, "labels": { "pod-template-hash": set }, "resourceVersion": "91",
                "creationTimestamp": "2020-01-03T00:00:00Z", "ownerReferences": [{ "uid": set, "controller": true, "name": set }] },
            "spec": { "containers": [{ "name": "app", "readinessProbe": {} }] },
            "status": { "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": "2020-01-03T00:00:10Z" }] },
        })
    }

    /// What the API server says: the controller sees the change after a second, the pod becomes ready after another one.
    fn answer(line: &str, becomes_ready: bool) -> Answer {
        let watches = line.contains("watch=true");
        match (line, watches) {
            (line, true) if line.contains("/deployments") => Answer::Watch(vec![(1, event(&deployment(2, "101")))]),
            (line, true) if line.contains("/pods") && becomes_ready => Answer::Watch(vec![(
                2,
                event(&{
                    let mut pod = pod("web-1", "mine", true);
                    pod["metadata"]["resourceVersion"] = json!("102");
                    pod
                }),
            )]),
            (_, true) => Answer::Watch(Vec::new()),
            (line, false) if line.contains("/pods") => {
                listed(&[pod("web-1", "mine", false), pod("other-1", "other", true)])
            }
            (line, false) if line.contains("/replicasets") => listed(&[set("mine", "u"), set("other", "stranger")]),
            _ => Answer::Json(200, deployment(2, "101")),
        }
    }

    async fn waited(becomes_ready: bool, overwritten: Option<&str>, seconds: u64) -> (Result<()>, RunContext) {
        let (cluster, _) = cluster(move |line, _| answer(line, becomes_ready));
        let cluster = cluster.until(Instant::now() + Duration::from_secs(seconds));
        let run = run();
        let object = object(Kind::Deployment);
        // Somebody else's change is there once the controller has seen ours.
        let overwritten =
            |value: &Value| overwritten.filter(|_| value["status"]["observedGeneration"] == 2).map(str::to_owned);
        let (kind, now) = (Kind::Deployment, deployment(1, "99"));
        let wait =
            RolloutWait { object: &object, kind, now, of_newest_revision: true, overwritten: &overwritten, run: &run };
        (wait.wait(&cluster).await, run)
    }

    #[tokio::test(start_paused = true)]
    async fn a_rollout_is_done_once_its_own_new_pod_is_ready() {
        let (done, run) = waited(true, None, 60).await;
        done.unwrap();
        let seen = run.progress.observation();
        assert_eq!(
            (seen.ready(), seen.desired, seen.revision.as_deref(), seen.surge),
            (Some(1), Some(1), Some("mine"), None)
        );
        let versions =
            seen.verified_at.iter().map(|(list, version)| (list.as_str(), version.as_str())).collect::<Vec<_>>();
        assert_eq!(versions, [("deployments", "101"), ("pods", "102"), ("replicasets", "100")]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_with_its_time_and_says_how_far_it_was() {
        let began = Instant::now();
        let (ended, run) = waited(false, None, 30).await;
        let Err(Error::NotVerified(why)) = ended else { panic!("{ended:?}") };
        let says =
            "waitTimeout is over; deployment shop/web: 0 of 1 new pods are ready; pod web-1 on no node is not ready";
        assert!(why.starts_with(says), "{why}");
        assert_eq!(began.elapsed().as_secs(), 30);
        assert_eq!(run.progress.observation().pods.map(|pods| pods.not_ready), Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_somebody_else_changed_ends_the_wait_at_once() {
        let began = Instant::now();
        let (ended, _) = waited(true, Some("it is paused now"), 30).await;
        let Err(Error::NotVerified(why)) = ended else { panic!("{ended:?}") };
        assert_eq!(why, "deployment shop/web was changed by someone else while it was waited for: it is paused now");
        assert_eq!(began.elapsed().as_secs(), 1);
    }

    #[rstest]
    #[case::there(Some(json!({ "metadata": { "uid": "u" } })), "")]
    #[case::gone(None, "was deleted while it was waited for")]
    #[case::another_one(Some(json!({ "metadata": { "uid": "v" } })), "was deleted and recreated while it was waited for")]
    #[case::on_its_way_out(
        Some(json!({ "metadata": { "uid": "u", "deletionTimestamp": "2026-01-01T00:00:00Z" } })),
        "is being deleted while it is waited for"
    )]
    fn an_object_has_to_stay_the_one_that_was_meant(#[case] now: Option<Value>, #[case] says: &str) {
        match still_there(&object(Kind::Deployment), now.as_ref()) {
            Ok(_) => assert_eq!(says, ""),
            Err(error) => assert_eq!(error.to_string(), format!("deployment shop/web {says}")),
        }
    }
}
