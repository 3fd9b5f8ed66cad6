//! Waits by watch, never by polling at an interval, and with patience for causes that may pass.

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::Workload;
use super::causes::{self, Memory, Situation};
use super::clues::Clues;
pub use super::look::Wait;
use super::look::{end, is_late, over, report, with_its_namespace};
use super::owners::Owners;
use super::patience::{Patience, Verdict};
use super::pods::PodView;
use super::revisions::{self, SetView};
use super::rollout::{self, Pending, RolloutStatus};
use super::steady::Clock;
use super::tally::{Followed, Goal, Tally, wanted};
use crate::cluster::error::{Error, Result};
use crate::cluster::observed::{Observation, Versions};
use crate::cluster::run::RunContext;
use crate::cluster::{Cluster, Item, Query, Watch};
use crate::k8s::object::{text, uid};
use crate::k8s::selector::selector;
use crate::k8s::{Kind, ObjectRef};

/// Waits until the effect is there or cannot come, a cause has stood for `stuckAfter`, or the cluster's deadline comes; then a
/// last look decides.
pub async fn until_done(wait: &mut impl Wait, cluster: &Cluster, run: &RunContext) -> Result<()> {
    let stuck_after = run.wait.stuck_after.get();
    let mut patience = Patience::new(stuck_after);
    loop {
        let pending = match wait.look(cluster).await {
            Ok(RolloutStatus::Done { .. }) => return Ok(()),
            Ok(RolloutStatus::Failed(why)) => return Err(wait.failed(&why)),
            Ok(RolloutStatus::Pending(pending)) => pending,
            Err(error) => return Err(with_its_namespace(wait, cluster, run, error).await),
        };
        if wait.clues().follow(cluster, &pending.causes).await {
            continue;
        }
        report(wait, &pending, run);
        let patient = match patience.judge(&pending) {
            Verdict::Wait(until) => until,
            Verdict::Certain(cause) => {
                let told = end(wait, cluster, run, cause, &pending).await;
                return Err(wait.failed(&told));
            }
            Verdict::TooLong(cause) => {
                let told = end(wait, cluster, run, cause, &pending).await;
                let limit = stuck_after.as_secs();
                return Err(wait
                    .failed(&format!("{told} (no progress for {limit} s; raise stuckAfter if this may take longer)")));
            }
        };
        let deadline = Instant::now() + cluster.remaining();
        let again = pending.again.map(|again| Instant::now() + again);
        let times = [patient, again, wait.clues().next(&pending.causes)];
        let wake = times.into_iter().flatten().chain([deadline]).min().unwrap_or(deadline);
        tokio::select! {
            changed = wait.changed() => match changed {
                Err(error) if is_late(&error, cluster) => return over(wait, cluster, run, (pending, Some(error))).await,
                changed => changed?,
            },
            () = tokio::time::sleep_until(wake) => if wake >= deadline {
                return over(wait, cluster, run, (pending, None)).await;
            },
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
            memory: Memory::default(),
            clues: Clues::of(self.object),
            began: cluster.server_time(self.run.now),
            generation: before.generation,
            stale_deadline: before.out_of_time.or(before.set_failure).map(|condition| condition.updated),
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
    memory: Memory,
    clues: Clues,
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

    fn clues(&mut self) -> &mut Clues {
        &mut self.clues
    }

    fn lost(&self) -> bool {
        still_there(self.wait.object, self.workload.items().get(self.wait.object.name.as_str())).is_err()
    }

    async fn look(&mut self, cluster: &Cluster) -> Result<RolloutStatus> {
        let value = self.ours()?.clone();
        let seen = Workload::read(self.wait.kind, &value);
        let beginning = self.beginning(cluster, &seen, &value).await?;
        let pods: Vec<&PodView> = self.pods.items().values().collect();
        let sets = self.own_sets();
        // Before the controller has seen the change, nothing is asked about its pods.
        if seen.has_observed(self.generation) {
            self.owners.learn(cluster, &sets, &pods).await?;
        }
        let now = cluster.server_now();
        let ours: Vec<&PodView> = pods.into_iter().filter(|pod| self.owners.own(pod)).collect();
        self.memory.follow(ours.iter().copied(), self.began, now);
        // From the first look on: the pods may be ready long before the controller has begun.
        let followed: Vec<Followed<'_>> = self.clock.follow(ours.into_iter(), &self.memory, (self.began, now));
        let goal = self.goal(now);
        let tally = Tally::of(&seen, &followed, goal);
        let (target, evidence) = (self.wait.object, self.clues.evidence());
        let (workload, memory) = (&seen, &self.memory);
        let situation =
            Situation { target, controller: target, workload, tally: &tally, sets: &sets, goal, memory, evidence };
        let status = match (beginning, rollout::state(situation)) {
            (Some(what), RolloutStatus::Pending(pending)) => {
                RolloutStatus::Pending(Pending { status: what, reached: i64::MIN, ..pending })
            }
            (Some(what), _) => RolloutStatus::Pending(Pending::plain(what, causes::of(situation))),
            (None, status) => status,
        };
        if seen.has_observed(self.generation) {
            self.observe(&status, &tally, wanted(&seen, goal));
        }
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

    async fn refresh(&mut self, cluster: &Cluster) -> Result<bool> {
        let mut kept_back = self.workload.refresh(cluster).await?;
        if let Some(sets) = &mut self.sets {
            kept_back |= sets.refresh(cluster).await?;
        }
        Ok(self.pods.refresh(cluster).await? || kept_back)
    }
}

impl Rollout<'_> {
    /// Returns the goal as it stands. Before there is a new revision, no pod has it.
    fn goal(&self, now: Timestamp) -> Goal<'_> {
        let options = &self.wait.run.wait;
        Goal {
            generation: self.generation,
            revision: self.wait.of_newest_revision.then(|| self.revision.as_deref().unwrap_or_default()),
            stale_deadline: self.stale_deadline.as_deref(),
            terminating: options.terminating,
            settle: options.settle.get(),
            began: self.began,
            now,
        }
    }

    fn observe(&self, status: &RolloutStatus, tally: &Tally<'_>, desired: i64) {
        self.wait.run.progress.observe(Observation {
            pods: Some(tally.counts()),
            desired: Some(desired),
            revision: self.revision.clone(),
            surge: match status {
                RolloutStatus::Done { surge } if *surge > 0 => Some(*surge),
                _ => None,
            },
            verified_at: self.versions(),
            ..Observation::default()
        });
    }

    /// Returns what is missing until the controller has begun: it must have seen the change and, if needed, made a
    /// revision. It may have seen the change without making the revision yet, as when also scaled at that moment, or
    /// while the strategy `Recreate` waits for the old pods to be gone.
    async fn beginning(&mut self, cluster: &Cluster, seen: &Workload, value: &Value) -> Result<Option<String>> {
        let RolloutWait { object, kind, .. } = *self.wait;
        if !seen.has_observed(self.generation) {
            return Ok(Some(rollout::not_observed(self.generation)));
        }
        if kind == Kind::Deployment && self.sets.is_none() {
            let query = Query::beside(object, Kind::ReplicaSet.resource(), selector(&self.wait.now));
            self.sets = Some(cluster.watch(query).await?);
        }
        if self.wait.of_newest_revision && self.revision.is_none() {
            self.revision = revisions::current_pod_label(cluster, kind, object, value, &self.own_sets()).await?;
            if self.revision.is_none() {
                return Ok(Some("waiting for its new revision".to_owned()));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::testing::run;
    use crate::cluster::fake::{Answer, cluster, object};
    use rstest::rstest;
    use serde_json::json;
    use std::time::Duration;

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
        let says = "waitTimeout is over; deployment shop/web: 0 of 1 new pods are ready; pod web-1: Pending since 2020-01-03T00:00:00Z; \
            its scheduler (default-scheduler) has reported nothing";
        assert!(why.starts_with(says), "{why}");
        assert_eq!(began.elapsed().as_secs(), 30);
        assert_eq!(run.progress.observation().pods.map(|pods| pods.not_ready), Some(1));
    }

    /// Watches that begin and say nothing, while reads show what there is.
    #[rstest]
    #[case::done(true, true, 15)]
    #[case::to_be_settled(false, true, 18)]
    #[case::not_ready_even_after_that(true, false, 18)]
    #[tokio::test(start_paused = true)]
    async fn when_the_time_is_over_a_last_look_decides(#[case] probe: bool, #[case] ready: bool, #[case] seconds: u64) {
        let then = move || {
            let mut pod = pod("web-1", "mine", ready);
            if !probe {
                pod["spec"]["containers"][0] = json!({ "name": "app" });
            }
            // Made in this run.
            pod["metadata"]["creationTimestamp"] = json!(Timestamp::now().to_string());
            pod
        };
        let (cluster, seen) = cluster(move |line, before| match line {
            line if line.contains("watch=true") => Answer::Watch(Vec::new()),
            // What is there when the wait begins, and what comes of it.
            line if line.contains("/pods") && before == 0 => listed(&[pod("web-1", "mine", false)]),
            line if line.contains("/pods") => listed(&[then()]),
            line if line.contains("/replicasets") => listed(&[set("mine", "u")]),
            _ => Answer::Json(200, deployment(2, "101")),
        });
        let (run, object, began) = (run(), object(Kind::Deployment), Instant::now());
        let wait = RolloutWait {
            object: &object,
            kind: Kind::Deployment,
            now: deployment(1, "99"),
            of_newest_revision: true,
            overwritten: &|_| None,
            run: &run,
        };
        // Sooner than a quiet watch is checked.
        let ended = wait.wait(&cluster.until(began + Duration::from_secs(15))).await;
        assert_eq!((ended.is_ok(), began.elapsed().as_secs()), (ready, seconds), "{ended:?}");
        assert_eq!(run.progress.observation().pods.map(|pods| pods.new), Some(usize::from(ready)));
        assert!(seen.with("GET").len() >= 6, "{:?}", seen.with(""));
    }

    #[tokio::test(start_paused = true)]
    async fn a_last_look_that_fails_leaves_what_was_known() {
        let (cluster, _) = cluster(|line, before| match line {
            line if line.contains("watch=true") => Answer::Watch(Vec::new()),
            line if line.contains("/pods") && before == 0 => listed(&[pod("web-1", "mine", false)]),
            line if line.contains("/pods") => Answer::Lost,
            line if line.contains("/replicasets") => listed(&[set("mine", "u")]),
            _ => Answer::Json(200, deployment(2, "101")),
        });
        let (run, object, began) = (run(), object(Kind::Deployment), Instant::now());
        let (kind, now) = (Kind::Deployment, deployment(2, "99"));
        let wait =
            RolloutWait { object: &object, kind, now, of_newest_revision: true, overwritten: &|_| None, run: &run };
        let ended = wait.wait(&cluster.until(began + Duration::from_secs(15))).await;
        let Err(Error::NotVerified(why)) = ended else { panic!("{ended:?}") };
        assert!(why.starts_with("waitTimeout is over; deployment shop/web: 0 of 1 new pods are ready; "), "{why}");
        assert!(why.contains("; a last look failed: failed to list pods: "), "{why}");
        assert!(began.elapsed().as_secs() <= 25, "{:?}", began.elapsed());
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
