//! Waits until an evicted pod is gone and replaced: until the workload at the top of its owners, by UID, has as many
//! serving pods as it wants now. Nobody can say which pod replaced which, and labels may have changed.

use std::collections::BTreeSet;

use contract::waiting::Terminating;
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

pub use super::asked::PodRestart;
use super::replacer::Replacer;
use super::{RestartPod, Target};
use crate::cluster::error::{Error, Result};
use crate::cluster::run::RunContext;
use crate::cluster::{Cluster, Query, Watch};
use crate::k8s::object::{leaving_since, uid};
use crate::k8s::selector::selector;
use crate::k8s::{Kind, ObjectRef};
use crate::workload::causes::{self, Memory, Situation};
use crate::workload::clues::Clues;
use crate::workload::lookup::LiveObject;
use crate::workload::owners::Owners;
use crate::workload::pods::PodView;
use crate::workload::rollout::{self, Pending, RolloutStatus};
use crate::workload::steady::Clock;
use crate::workload::tally::{Goal, Tally, earlier};
use crate::workload::wait::{self, Wait};

/// Interval for reading again how many pods the replacer wants, because it may be scaled meanwhile.
const ASK_AGAIN: std::time::Duration = std::time::Duration::from_secs(2);

/// The state of the wait for a pod's replacement.
struct Replacement<'a> {
    restart: PodRestart<'a>,
    pods: Watch<PodView>,
    owners: Owners,
    clock: Clock,
    memory: Memory,
    clues: Clues,
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
        memory: Memory::default(),
        clues: Clues::of(object),
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

    fn clues(&mut self) -> &mut Clues {
        &mut self.clues
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

    async fn refresh(&mut self, cluster: &Cluster) -> Result<bool> {
        self.pods.refresh(cluster).await
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
        let nothing_yet = |causes| RolloutStatus::Pending(Pending::plain(restart.nothing_yet(), causes));
        let Some(replacer) = self.replacer.clone() else { return nothing_yet(Vec::new()) };
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
        let own: Vec<&PodView> = own.collect();
        self.memory.follow(own.iter().copied(), self.began, self.now);
        let followed = self.clock.follow(own.into_iter(), &self.memory, (self.began, self.now));
        let workload = restart.wants(&replacer);
        let mut tally = Tally::of(&workload, &followed, goal);
        // Other pods that are being deleted do not matter here, and more pods than wanted are enough.
        let evicted = |pod: &&PodView| Some(&pod.uid) == restart.target.object.uid.as_ref();
        tally.terminating = self.pods.items().values().filter(evicted).collect();
        restart.observe(&tally, &workload, &replacer, &self.pods);
        let target = &restart.target.object;
        let controller = restart.target.replacer.found().map_or(target, |found| &found.object);
        let (memory, evidence) = (&self.memory, self.clues.evidence());
        let seen =
            Situation { target, controller, workload: &workload, tally: &tally, sets: &[], goal, memory, evidence };
        let finished = followed.iter().map(|one| one.pod).filter(|pod| pod.finished);
        if let Some(ended) = restart.ended(&replacer, finished) {
            return if self.gone { ended } else { nothing_yet(causes::of(seen)) };
        }
        // Of a DaemonSet's pods only one per node counts: when all nodes have one, the evicted pod's node does too.
        let nodes: BTreeSet<_> = tally.there.iter().map(|pod| pod.node.as_deref()).collect();
        let daemon = workload.kind == Kind::DaemonSet;
        let there = if daemon { nodes.len() } else { tally.there.len() };
        // A node that it does not choose any more (a taint) gets no other pod, and is then not counted either.
        let on_its_node = !daemon || self.restart.node().is_none_or(|node| nodes.contains(&Some(node)));
        if self.gone && on_its_node && i64::try_from(there).unwrap_or(i64::MAX) >= workload.desired {
            return RolloutStatus::Done { surge: 0 };
        }
        match rollout::state(seen) {
            RolloutStatus::Done { .. } => nothing_yet(causes::of(seen)),
            status => status,
        }
    }

    /// Returns the name of the new pod: for a DaemonSet the one on the same node, otherwise one that was not there
    /// before. `None` if the pod was already gone at the start, because the pods before that are not known.
    fn newcomer(&self) -> Option<String> {
        self.restart.target.pod.as_ref()?;
        let node = self.restart.node();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::testing::{live, run};
    use crate::cluster::fake::{Answer, cluster, not_found};
    use contract::waiting::WaitOptions;
    use rstest::rstest;
    use serde_json::json;
    use std::time::Duration;

    /// A pod of this owner on this node, ready and with a probe; made before the run, or in it.
    fn pod(name: &str, owner: &str, node: &str, created: &str) -> Value {
        let ready = json!([{ "type": "Ready", "status": "True", "lastTransitionTime": created }]);
        json!({
            "metadata": { "name": name, "uid": name, "resourceVersion": "91", "creationTimestamp": created,
                "ownerReferences": [{ "uid": owner, "controller": true, "name": owner }] },
            "spec": { "nodeName": node, "containers": [{ "name": "app", "readinessProbe": {} }] },
            "status": { "conditions": ready },
        })
    }

    const OLD: &str = "2020-01-01T00:00:00Z";
    const NEW: &str = "2020-02-02T00:00:00Z";

    fn ended(mut pod: Value) -> Value {
        pod["status"] = json!({ "phase": "Succeeded" });
        pod
    }

    /// `web`, which is to have this many pods.
    fn web(replicas: i64, uid: &str) -> Value {
        json!({ "metadata": { "name": "web", "uid": uid, "resourceVersion": "77" }, "spec": { "replicas": replicas },
            "status": { "desiredNumberScheduled": replicas } })
    }

    fn evicted(replacer: Replacer) -> Target {
        let object = ObjectRef {
            resource: Kind::Pod.resource(),
            namespace: "shop".parse().ok(),
            name: "web-0".parse().unwrap(),
            uid: Some("web-0".to_owned()),
        };
        let pod = Some(pod("web-0", "u", "n0", OLD));
        Target { object, pod, replacer, siblings: Vec::new(), namesake: None, wait: WaitOptions::default() }
    }

    fn by(kind: Kind) -> Replacer {
        Replacer::Workload(Box::new(live(kind, web(2, "u"))))
    }

    fn other() -> Replacer {
        Replacer::Other { name: "Rollout web".to_owned(), uid: "u".to_owned() }
    }

    /// Waits for 30 s, where these pods are there, the evicted one is found as `named`, and `web` is asked for in turn.
    async fn waited(
        target: &Target,
        pods: &[Value],
        named: Option<&str>,
        webs: Vec<Option<Value>>,
    ) -> (Result<Option<String>>, RunContext) {
        let (pods, named) = (pods.to_vec(), named.map(str::to_owned));
        let (cluster, _) = cluster(move |line, before| match line {
            line if line.contains("watch=true") => Answer::Watch(Vec::new()),
            line if line.contains("/pods/web-0") => match &named {
                Some(uid) => Answer::Json(200, json!({ "metadata": { "name": "web-0", "uid": uid } })),
                None => not_found("pods", "", "web-0"),
            },
            line if line.contains("/pods") => {
                Answer::Json(200, json!({ "metadata": { "resourceVersion": "100" }, "items": pods }))
            }
            line if line.contains("/replicasets") => Answer::Json(200, json!({ "metadata": {}, "items": [] })),
            _ => match webs.get(before).or(webs.last()).cloned().flatten() {
                Some(web) => Answer::Json(200, web),
                None => not_found("replicationcontrollers", "", "web"),
            },
        });
        let cluster = cluster.until(Instant::now() + Duration::from_secs(30));
        let (run, action) = (run(), serde_json::from_value(json!({})).unwrap());
        (wait(&cluster, &action, target, &run, &["web-1".to_owned()]).await, run)
    }

    #[rstest]
    #[case::there(&[pod("web-1", "u", "n1", OLD), pod("web-2", "u", "n2", NEW)], None, Some("web-2"))]
    #[case::another_of_its_name(&[pod("web-1", "u", "n1", OLD), pod("web-2", "u", "n2", NEW)], Some("other"), Some("web-2"))]
    #[case::the_newest_of_two(&[pod("web-2", "u", "n1", NEW), pod("web-3", "u", "n2", OLD)], None, Some("web-2"))]
    #[tokio::test(start_paused = true)]
    async fn is_there_once_the_workload_has_what_it_wants(
        #[case] pods: &[Value],
        #[case] named: Option<&str>,
        #[case] new: Option<&str>,
    ) {
        let (came, run) = waited(&evicted(by(Kind::ReplicationController)), pods, named, vec![Some(web(2, "u"))]).await;
        assert_eq!(came.unwrap().as_deref(), new);
        let seen = run.progress.observation();
        assert_eq!((seen.ready(), seen.desired), (Some(2), Some(2)));
        let versions = seen.verified_at.iter().map(|(list, at)| (list.as_str(), at.as_str())).collect::<Vec<_>>();
        assert_eq!(versions, [("pods", "100"), ("replicationcontrollers", "77")]);
    }

    #[rstest]
    #[case::it_is_still_listed(&[pod("web-0", "u", "n0", OLD), pod("web-1", "u", "n1", OLD), pod("web-2", "u", "n2", NEW)], None)]
    #[case::it_is_out_of_sight(&[pod("web-1", "u", "n1", OLD), pod("web-2", "u", "n2", NEW)], Some("web-0"))]
    #[case::one_is_missing(&[pod("web-1", "u", "n1", OLD)], None)]
    #[case::one_is_anothers(&[pod("web-1", "u", "n1", OLD), pod("web-2", "x", "n2", NEW)], None)]
    #[tokio::test(start_paused = true)]
    async fn is_waited_for_until_time_is_over(#[case] pods: &[Value], #[case] named: Option<&str>) {
        let began = Instant::now();
        let (ended, _) = waited(&evicted(by(Kind::ReplicationController)), pods, named, vec![Some(web(2, "u"))]).await;
        let why = ended.unwrap_err().to_string();
        assert!(why.starts_with("waitTimeout is over; pod shop/web-0: "), "{why}");
        assert_eq!(began.elapsed().as_secs(), 30);
    }

    /// It may be scaled meanwhile: asked every two seconds.
    #[rstest]
    #[case::down(vec![Some(web(2, "u")), Some(web(1, "u"))], Some(2))]
    #[case::later(vec![Some(web(2, "u")), Some(web(2, "u")), Some(web(1, "u"))], Some(4))]
    #[tokio::test(start_paused = true)]
    async fn what_it_wants_is_asked_again(#[case] webs: Vec<Option<Value>>, #[case] seconds: Option<u64>) {
        let began = Instant::now();
        let (came, _) =
            waited(&evicted(by(Kind::ReplicationController)), &[pod("web-1", "u", "n1", OLD)], None, webs).await;
        assert_eq!(came.unwrap(), None, "the one that is there was there before");
        assert_eq!(Some(began.elapsed().as_secs()), seconds);
    }

    #[rstest]
    #[case::gone(None, "replicationcontroller shop/web is gone")]
    #[case::another_one(Some(web(2, "v")), "replicationcontroller shop/web was deleted and recreated")]
    #[case::leaving(
        Some(json!({ "metadata": { "name": "web", "uid": "u", "deletionTimestamp": "2026-01-01T00:00:00Z" } })),
        "replicationcontroller shop/web is being deleted since 2026-01-01T00:00:00Z"
    )]
    #[tokio::test(start_paused = true)]
    async fn without_its_workload_nothing_comes(#[case] now: Option<Value>, #[case] says: &str) {
        let (ended, _) = waited(&evicted(by(Kind::ReplicationController)), &[], None, vec![now]).await;
        let says = format!("the replacement of pod shop/web-0 does not become ready: {says}");
        assert_eq!(ended.unwrap_err().to_string(), says);
    }

    /// Two daemons on one node leave another node without.
    #[rstest]
    #[case::one_on_each(&[pod("web-1", "u", "n1", OLD), pod("web-2", "u", "n0", NEW)], Some("web-2"))]
    #[case::two_on_one(&[pod("web-1", "u", "n1", OLD), pod("web-2", "u", "n1", NEW)], None)]
    #[tokio::test(start_paused = true)]
    async fn daemons_are_counted_by_their_nodes(#[case] pods: &[Value], #[case] new: Option<&str>) {
        let (came, _) = waited(&evicted(by(Kind::DaemonSet)), pods, None, vec![Some(web(2, "u"))]).await;
        assert_eq!(came.ok().flatten().as_deref(), new);
    }

    /// A node with a taint by now: its pod was counted as long as it was there, and no other one comes.
    #[tokio::test(start_paused = true)]
    async fn a_node_that_is_not_chosen_any_more_gets_no_other() {
        let there = [pod("web-1", "u", "n1", OLD)];
        let (came, _) = waited(&evicted(by(Kind::DaemonSet)), &there, None, vec![Some(web(1, "u"))]).await;
        assert!(came.is_err(), "{came:?}");
    }

    /// How many pods a controller of another kind wants nobody says: one that came after the eviction is the replacement.
    #[rstest]
    #[case::it_came(&[pod("web-1", "u", "n1", OLD), pod("web-2", "u", "n2", NEW)], Some("web-2"))]
    #[case::only_those_of_before(&[pod("web-1", "u", "n1", OLD)], None)]
    #[case::anothers(&[pod("web-2", "x", "n2", NEW)], None)]
    #[tokio::test(start_paused = true)]
    async fn of_another_controller_a_newcomer_counts(#[case] pods: &[Value], #[case] new: Option<&str>) {
        let (came, _) = waited(&evicted(other()), pods, None, vec![]).await;
        assert_eq!(came.ok().flatten().as_deref(), new);
        // Of a pod that was gone before the run only its namesake can be told.
        let gone = Target { pod: None, namesake: Some("web-2".to_owned()), ..evicted(other()) };
        let (came, run) = waited(&gone, pods, None, vec![]).await;
        let there = pods.iter().any(|pod| pod["metadata"]["name"] == "web-2");
        assert_eq!((came.is_ok(), run.progress.observation().ready() == Some(1)), (there, there));
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_can_know_is_no_success() {
        let (ended, _) = waited(&evicted(Replacer::Unknown("why".to_owned())), &[], None, vec![]).await;
        let says = "pod shop/web-0 is gone; what replaced it cannot be known: why";
        assert_eq!(ended.unwrap_err().to_string(), says);
    }

    /// A Job that is complete may have made another pod, which ran to its end too.
    #[rstest]
    #[case::another_one_ended(&[ended(pod("web-2", "u", "n2", NEW))], true, true)]
    #[case::one_of_before_ended(&[ended(pod("web-1", "u", "n1", OLD))], true, false)]
    #[case::it_ended_itself(&[ended(pod("web-0", "u", "n0", OLD))], true, false)]
    #[case::nothing_is_known_of_before(&[ended(pod("web-2", "u", "n2", NEW))], false, false)]
    fn a_complete_job_needs_another_pod(#[case] pods: &[Value], #[case] was_there: bool, #[case] done: bool) {
        let complete = json!({ "status": { "conditions": [{ "type": "Complete", "status": "True" }] } });
        let mut target = evicted(Replacer::Job(Box::new(live(Kind::Job, complete.clone()))));
        target.pod.take_if(|_| !was_there);
        let action = serde_json::from_value(json!({})).unwrap();
        let known = ["web-1".to_owned()];
        let restart = PodRestart { action: &action, target: &target, run: &run(), known: &known };
        let pods: Vec<PodView> = pods.iter().map(|pod| serde_json::from_value(pod.clone()).unwrap()).collect();
        match restart.ended(&complete, pods.iter()) {
            Some(RolloutStatus::Done { .. }) => assert!(done),
            Some(RolloutStatus::Failed(why)) => {
                assert!(!done && why.contains("made no other pod that is known"), "{why}");
            }
            status => panic!("{status:?}"),
        }
        let running = json!({ "spec": { "parallelism": 1 } });
        assert_eq!(restart.ended(&running, pods.iter()), None);
        let workload = evicted(by(Kind::ReplicationController));
        let restart = PodRestart { action: &action, target: &workload, run: &run(), known: &known };
        assert_eq!(restart.ended(&complete, pods.iter()), None);
    }

    /// Whether it rolls out at the moment is not this action's business.
    #[test]
    fn a_rollout_of_the_workload_does_not_matter() {
        let late = json!([{ "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded" }]);
        let deployment = json!({ "spec": { "paused": true, "replicas": 2 }, "status": { "conditions": late } });
        let target = evicted(Replacer::Workload(Box::new(live(Kind::Deployment, deployment.clone()))));
        let action = serde_json::from_value(json!({})).unwrap();
        let wants = PodRestart { action: &action, target: &target, run: &run(), known: &[] }.wants(&deployment);
        assert_eq!((wants.paused, wants.out_of_time, wants.desired), (false, None, 2));
    }
}
