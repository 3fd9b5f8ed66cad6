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
use crate::rollout::{self, Goal, State, Tally};
use crate::wait::{Clock, Patience, changed, out_of_time};
use crate::workload::Workload;

/// Waits until an object of a kind that is not built in has this number of pods: by its own count, and by the pods that it
/// or its ReplicaSets own. Where it owns none of those that its selector finds, its count is all that there is.
pub async fn wait(cluster: &Cluster, object: &ObjectRef, wanted: i64, asked: &Waiting, run: &RunContext) -> Result<()> {
    let mut object_changes = cluster.follow_object(object, cluster.get(object).await?).await?;
    let selector = text(&scale_of(cluster, object).await?, "/status/selector").unwrap_or_default().to_owned();
    let mut pods: Option<Follow<PodView>> = match selector.as_str() {
        "" => None,
        selector => Some(cluster.follow(Query::beside(object, Kind::Pod.resource(), selector)).await?),
    };
    let mut owners = Owners::of(object, selector);
    let mut clock = Clock::default();
    let mut patience = Patience::new(asked.stuck_after.get());
    let began = cluster.server_time(run.now);
    loop {
        check(object, object_changes.items().get(object.name.as_str()))?;
        let total = total(cluster, object, wanted).await?;
        let seen: Vec<&PodView> = pods.iter().flat_map(|pods| pods.items().values()).collect();
        owners.learn(cluster, &[], &seen).await?;
        let strangers = seen.iter().filter(|pod| !pod.finished && !owners.own(pod)).count();
        let now = cluster.server_now();
        let own = clock.follow(seen.iter().copied().filter(|pod| owners.own(pod)), began, now);
        let blind = pods.is_none() || (own.is_empty() && strangers > 0);
        let goal = Goal {
            generation: 0,
            revision: None,
            stale_deadline: None,
            terminating: asked.terminating,
            settle: asked.settle.get(),
            began,
            now,
        };
        let workload = Workload::read(Kind::ReplicaSet, &json!({ "spec": { "replicas": wanted } }));
        let tally = Tally::of(&workload, &own, goal);
        run.progress.observe(Observation {
            pods: (!blind).then(|| tally.counts()),
            desired: Some(wanted),
            verified_at: [
                (object.resource.plural().to_owned(), object_changes.version().to_owned()),
                ("pods".to_owned(), pods.as_ref().map_or("", Follow::version).to_owned()),
            ]
            .into_iter()
            .filter(|(_, version)| !version.is_empty())
            .collect(),
            ..Observation::default()
        });
        if total == wanted && blind {
            run.progress.warn(format!("{object} owns none of the pods that its /scale selects, or tells no selector: verified by its own count, not by ready pods"));
            return Ok(());
        }
        let until = match rollout::state(&workload, &tally, &[], goal) {
            State::Done { .. } if total == wanted => return Ok(()),
            State::Done { .. } => {
                run.progress.report(&format!("{object}: its own count says {total}, not {wanted}"));
                None
            }
            State::Failed(why) if !blind => {
                return Err(Error::NotVerified(format!("{object} does not become ready: {why}")));
            }
            State::Failed(_) => None,
            State::Waiting(waiting) => {
                run.progress.report(&format!("{object}: {}", waiting.status));
                let stuck = patience.until(&waiting);
                let stuck =
                    stuck.map_err(|why| Error::NotVerified(format!("{object} does not become ready: {why}")))?;
                stuck.into_iter().chain(waiting.again.map(|again| Instant::now() + again)).min()
            }
        };
        let deadline = Instant::now() + cluster.remaining();
        let wake = until.unwrap_or(deadline).min(deadline);
        tokio::select! {
            changed = object_changes.changed() => changed?,
            changed = changed(&mut pods) => changed?,
            () = tokio::time::sleep_until(wake) => if wake >= deadline { return Err(out_of_time(object, &run.progress)) },
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
