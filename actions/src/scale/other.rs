//! Kinds that are not built in: known through `/scale`, and by the pods that they own.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::scale_of;
use crate::action::RunContext;
use crate::cluster::{Cluster, Follow, Query};
use crate::error::{Error, Result};
use crate::object::{Kind, ObjectRef, number, text, uid};
use crate::observed::Observation;
use crate::owner::Owners;
use crate::parameters::Waiting;
use crate::pod::PodView;
use crate::rollout::{self, State};
use crate::tally::{Goal, Tally};
use crate::wait::{Clock, Patience, changed, out_of_time};
use crate::workload::Workload;

/// What to wait for.
pub struct Scaled<'a> {
    /// An object of a kind that is not built in.
    pub object: &'a ObjectRef,
    /// How many pods it is to have.
    pub wanted: i64,
    /// How the action waits.
    pub asked: Waiting,
    /// The run.
    pub run: &'a RunContext,
}

/// What one look after the other builds on.
struct Look {
    object: Follow<Value>,
    /// `None` when the object's `/scale` tells no selector.
    pods: Option<Follow<PodView>>,
    owners: Owners,
    clock: Clock,
    /// Its selector.
    labels: String,
    /// Whether one of its own pods was ever seen.
    owns: bool,
}

/// What a look found.
struct Seen {
    state: State,
    /// How many pods the object counts itself.
    total: i64,
    /// Whether there are pods to judge by: the object may own none of those that its selector finds.
    blind: bool,
}

impl Scaled<'_> {
    /// Waits until the object has its number: by its own count, and by the pods that it or its ReplicaSets own. Where it
    /// owns none of those that its selector finds, its count is all that there is.
    pub async fn wait(&self, cluster: &Cluster) -> Result<()> {
        let (object, progress) = (self.object, &self.run.progress);
        let follow = cluster.follow_object(object, cluster.get(object).await?).await?;
        let scale = scale_of(cluster, object).await?;
        let selector = text(&scale, "/status/selector").unwrap_or_default().to_owned();
        let pods = match selector.as_str() {
            "" => None,
            selector => Some(cluster.follow(Query::beside(object, Kind::Pod.resource(), selector)).await?),
        };
        let mut look = Look {
            object: follow,
            pods,
            owners: Owners::of(object, selector.clone()),
            clock: Clock::default(),
            labels: selector,
            owns: false,
        };
        let mut patience = Patience::new(self.asked.stuck_after.get());
        loop {
            let seen = self.look(cluster, &mut look).await?;
            let until = match seen.state {
                _ if seen.blind && seen.total == self.wanted && self.owns_none(cluster, &mut look).await? => {
                    progress.warn(format!(
                        "{object} owns none of the pods that its /scale selects, or tells no selector: verified by its own count, not by ready pods"
                    ));
                    return Ok(());
                }
                State::Done { .. } if seen.total == self.wanted => return Ok(()),
                State::Failed(why) if !seen.blind => return Err(self.failed(&why)),
                State::Waiting(waiting) if !seen.blind => {
                    progress.report(&format!("{object}: {}", waiting.status));
                    let stuck = patience.until(&waiting).map_err(|why| self.failed(&why))?;
                    stuck.into_iter().chain(waiting.again.map(|again| Instant::now() + again)).min()
                }
                _ => {
                    progress.report(&format!("{object}: its own count says {}, not {}", seen.total, self.wanted));
                    None
                }
            };
            self.next(cluster, &mut look, until).await?;
        }
    }

    /// Whether the API server, asked now, knows no pod of its own: the watch may be behind.
    async fn owns_none(&self, cluster: &Cluster, look: &mut Look) -> Result<bool> {
        if look.pods.is_some() {
            let query = Query::beside(self.object, Kind::Pod.resource(), look.labels.as_str());
            let (pods, _) = cluster.list::<PodView>(&query).await?;
            let pods: Vec<&PodView> = pods.iter().collect();
            look.owners.learn(cluster, &[], &pods).await?;
            look.owns = pods.iter().any(|pod| !pod.finished && look.owners.own(pod));
        }
        Ok(!look.owns)
    }

    fn failed(&self, why: &str) -> Error {
        Error::NotVerified(format!("{} does not become ready: {why}", self.object))
    }

    async fn look(&self, cluster: &Cluster, look: &mut Look) -> Result<Seen> {
        check(self.object, look.object.items().get(self.object.name.as_str()))?;
        let total = total(cluster, self.object, self.wanted).await?;
        let pods: Vec<&PodView> = look.pods.iter().flat_map(|pods| pods.items().values()).collect();
        look.owners.learn(cluster, &[], &pods).await?;
        let strangers = pods.iter().any(|pod| !pod.finished && !look.owners.own(pod));
        let (began, now) = (cluster.server_time(self.run.now), cluster.server_now());
        let own = look.clock.follow(pods.iter().copied().filter(|pod| look.owners.own(pod)), began, now);
        let goal = Goal {
            generation: 0,
            revision: None,
            stale_deadline: None,
            terminating: self.asked.terminating,
            settle: self.asked.settle.get(),
            began,
            now,
        };
        look.owns |= !own.is_empty();
        let blind = look.pods.is_none() || (!look.owns && strangers);
        let workload = Workload::read(Kind::ReplicaSet, &json!({ "spec": { "replicas": self.wanted } }));
        let tally = Tally::of(&workload, &own, goal);
        self.run.progress.observe(self.observation(&tally, blind, look));
        Ok(Seen { state: rollout::state(&workload, &tally, &[], goal), total, blind })
    }

    fn observation(&self, tally: &Tally<'_>, blind: bool, look: &Look) -> Observation {
        let own = |resource: &str, version: &str| (resource.to_owned(), version.to_owned());
        let object = own(self.object.resource.plural(), look.object.version());
        let pods = look.pods.as_ref().map(|pods| own("pods", pods.version()));
        Observation {
            pods: (!blind).then(|| tally.counts()),
            desired: Some(self.wanted),
            verified_at: pods.into_iter().chain([object]).collect(),
            ..Observation::default()
        }
    }

    async fn next(&self, cluster: &Cluster, look: &mut Look, until: Option<Instant>) -> Result<()> {
        let deadline = Instant::now() + cluster.remaining();
        let wake = until.unwrap_or(deadline).min(deadline);
        tokio::select! {
            changed = look.object.changed() => changed,
            changed = changed(&mut look.pods) => changed,
            () = tokio::time::sleep_until(wake) => if wake < deadline { Ok(()) } else { Err(out_of_time(self.object, &self.run.progress)) },
        }
    }
}

fn check(object: &ObjectRef, now: Option<&Value>) -> Result<()> {
    if now.map(uid) != object.uid.as_deref() {
        return Err(Error::NotVerified(format!("{object} was deleted while it was waited for")));
    }
    if now.is_some_and(|now| text(now, "/metadata/deletionTimestamp").is_some()) {
        return Err(Error::NotVerified(format!("{object} is being deleted while it is waited for")));
    }
    Ok(())
}

/// How many pods the object counts itself; an error when the number is not ours any more.
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
