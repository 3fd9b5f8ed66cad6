//! Scales kinds that are not built in, which are known only through `/scale` and the pods that they own.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cluster::error::{Error, Result};
use crate::cluster::observed::Observation;
use crate::cluster::run::RunContext;
use crate::cluster::{Cluster, Query, Watch};
use crate::k8s::object::{number, text};
use crate::k8s::{Kind, ObjectRef};
use crate::workload::Workload;
use crate::workload::causes::table::Place;
use crate::workload::causes::{self, Cause, Memory, Situation};
use crate::workload::clues::Clues;
use crate::workload::owners::Owners;
use crate::workload::pods::PodView;
use crate::workload::rollout::{self, Pending, RolloutStatus};
use crate::workload::steady::Clock;
use crate::workload::tally::{Goal, Tally};
use crate::workload::wait::{self, Wait};

/// The wait for the pods of an object whose kind is not built in: by its own count, and by the pods that it or its
/// ReplicaSets own. If it owns none of the pods that its selector finds, only its count is left.
pub struct Scaled<'a> {
    object: &'a ObjectRef,
    wanted: i64,
    run: &'a RunContext,
    now: Watch<Value>,
    /// `None` when the object's `/scale` has no selector.
    pods: Option<Watch<PodView>>,
    owners: Owners,
    clock: Clock,
    memory: Memory,
    clues: Clues,
    began: Timestamp,
    /// Label selector of the object.
    labels: String,
    /// True once one of the object's own pods was seen.
    owns: bool,
}

impl<'a> Scaled<'a> {
    /// Waits until the object has this number of pods.
    pub async fn wait(cluster: &Cluster, object: &'a ObjectRef, wanted: i64, run: &'a RunContext) -> Result<()> {
        let now = cluster.watch_object(object, cluster.get(object).await?).await?;
        let scale = scale_of(cluster, object).await?;
        let labels = text(&scale, "/status/selector").unwrap_or_default().to_owned();
        let pods = match labels.as_str() {
            "" => None,
            labels => Some(cluster.watch(Query::beside(object, Kind::Pod.resource(), labels)).await?),
        };
        let owners = Owners::of(object, labels.clone());
        let (clock, memory, clues) = (Clock::default(), Memory::default(), Clues::of(object));
        let began = cluster.server_time(run.now);
        let mut scaled =
            Self { object, wanted, run, now, pods, owners, clock, memory, clues, began, labels, owns: false };
        wait::until_done(&mut scaled, cluster, run).await
    }

    /// Returns whether the object owns no pods by a fresh list, because the watch may be behind.
    async fn owns_none(&mut self, cluster: &Cluster) -> Result<bool> {
        if self.pods.is_some() {
            let query = Query::beside(self.object, Kind::Pod.resource(), self.labels.as_str());
            let (pods, _) = cluster.list::<PodView>(&query).await?;
            let pods: Vec<&PodView> = pods.iter().collect();
            self.owners.learn(cluster, &[], &pods).await?;
            self.owns = pods.iter().any(|pod| !pod.finished && self.owners.own(pod));
        }
        Ok(!self.owns)
    }

    /// Returns the state of the pods; an error with what is missing if that is unknown: the object may own none of the
    /// pods that its selector finds.
    async fn look_at_pods(&mut self, cluster: &Cluster) -> Result<Result<RolloutStatus, Vec<Cause>>> {
        let pods: Vec<&PodView> = self.pods.iter().flat_map(|pods| pods.items().values()).collect();
        self.owners.learn(cluster, &[], &pods).await?;
        let strangers = pods.iter().any(|pod| !pod.finished && !self.owners.own(pod));
        let now = cluster.server_now();
        let ours: Vec<&PodView> = pods.iter().copied().filter(|pod| self.owners.own(pod)).collect();
        self.memory.follow(ours.iter().copied(), self.began, now);
        let own = self.clock.follow(ours.into_iter(), &self.memory, (self.began, now));
        let goal = Goal {
            generation: 0,
            revision: None,
            stale_deadline: None,
            terminating: self.run.wait.terminating,
            settle: self.run.wait.settle.get(),
            began: self.began,
            now,
        };
        self.owns |= !own.is_empty();
        let blind = self.pods.is_none() || (!self.owns && strangers);
        let workload = Workload::read(Kind::ReplicaSet, &json!({ "spec": { "replicas": self.wanted } }));
        let tally = Tally::of(&workload, &own, goal);
        self.run.progress.observe(self.observation(&tally, blind));
        let situation = Situation {
            target: self.object,
            controller: self.object,
            workload: &workload,
            tally: &tally,
            sets: &[],
            goal,
            memory: &self.memory,
            evidence: self.clues.evidence(),
        };
        Ok(if blind { Err(causes::of(situation)) } else { Ok(rollout::state(situation)) })
    }

    fn observation(&self, tally: &Tally<'_>, blind: bool) -> Observation {
        let own = |resource: &str, version: &str| (resource.to_owned(), version.to_owned());
        let object = own(self.object.resource.plural(), self.now.version());
        let pods = self.pods.as_ref().map(|pods| own("pods", pods.version()));
        Observation {
            pods: (!blind).then(|| tally.counts()),
            desired: Some(self.wanted),
            verified_at: pods.into_iter().chain([object]).collect(),
            ..Observation::default()
        }
    }
}

impl Wait for Scaled<'_> {
    fn object(&self) -> &ObjectRef {
        self.object
    }

    fn clues(&mut self) -> &mut Clues {
        &mut self.clues
    }

    fn lost(&self) -> bool {
        wait::still_there(self.object, self.now.items().get(self.object.name.as_str())).is_err()
    }

    async fn look(&mut self, cluster: &Cluster) -> Result<RolloutStatus> {
        wait::still_there(self.object, self.now.items().get(self.object.name.as_str()))?;
        let total = total(cluster, self.object, self.wanted).await?;
        let counted = total == self.wanted;
        let causes = match self.look_at_pods(cluster).await? {
            Err(_) if counted && self.owns_none(cluster).await? => {
                self.run.progress.warn(format!(
                    "{} owns none of the pods that its /scale selects, or tells no selector: verified by its own count, not by ready pods",
                    self.object
                ));
                return Ok(RolloutStatus::Done { surge: 0 });
            }
            Ok(status) if counted || !matches!(status, RolloutStatus::Done { .. }) => return Ok(status),
            Ok(_) => vec![Cause::new(self.object.to_reference(), Place::Controller, "NotReported", "")],
            Err(causes) => causes,
        };
        let status = format!("its own count says {total}, not {}", self.wanted);
        Ok(RolloutStatus::Pending(Pending::plain(status, causes)))
    }

    async fn changed(&mut self) -> Result<()> {
        tokio::select! {
            changed = self.now.changed() => changed,
            changed = wait::changed(&mut self.pods) => changed,
        }
    }

    async fn refresh(&mut self, cluster: &Cluster) -> Result<bool> {
        let kept_back = self.now.refresh(cluster).await?;
        match &mut self.pods {
            Some(pods) => Ok(pods.refresh(cluster).await? || kept_back),
            None => Ok(kept_back),
        }
    }
}

/// Returns the object's own count of its pods; fails when the wanted number was changed.
async fn total(cluster: &Cluster, object: &ObjectRef, wanted: i64) -> Result<i64> {
    let scale = scale_of(cluster, object).await?;
    let found = number(&scale, "/spec/replicas");
    if found != wanted {
        return Err(Error::NotVerified(format!(
            "{object} was changed by someone else while it was waited for: replicas are {found} now, not {wanted}"
        )));
    }
    Ok(number(&scale, "/status/replicas"))
}

/// Reads the `/scale` of a kind that is not built in.
pub async fn scale_of(cluster: &Cluster, object: &ObjectRef) -> Result<Value> {
    cluster.get_sub(object, Some("scale")).await.map_err(|error| match error {
        Error::Unavailable { message, .. } if message.contains("answered 500") => Error::Refused(format!(
            "the /scale sub-resource of {object} is broken ({message}); set its replicas field once by hand"
        )),
        error => error,
    })
}
