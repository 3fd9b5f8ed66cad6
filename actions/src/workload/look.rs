//! An effect that is waited for, and how a wait for it ends without it.

use std::time::Duration;

use tokio::time::Instant;

use super::causes::{self, Cause};
use super::clues::Clues;
use super::obstacles;
use super::rollout::{Pending, RolloutStatus};
use crate::cluster::Cluster;
use crate::cluster::error::{Error, Result};
use crate::cluster::run::RunContext;
use crate::k8s::ObjectRef;

/// An effect that is waited for.
#[allow(async_fn_in_trait, reason = "never used as a trait object, and everything runs on one thread")]
pub trait Wait {
    /// Returns the object, for sentences.
    fn object(&self) -> &ObjectRef;
    /// Returns the evidence beside what is watched.
    fn clues(&mut self) -> &mut Clues;
    /// Looks at the progress.
    async fn look(&mut self, cluster: &Cluster) -> Result<RolloutStatus>;
    /// Returns once something watched has changed.
    async fn changed(&mut self) -> Result<()>;
    /// Reads anew what is watched, for a last look; returns whether a watch has kept anything back.
    async fn refresh(&mut self, cluster: &Cluster) -> Result<bool>;
    /// Returns whether the object itself is gone, or on its way out.
    fn lost(&self) -> bool {
        false
    }
    /// Returns the error for an effect that will not come.
    fn failed(&self, why: &str) -> Error {
        Error::NotVerified(format!("{} does not become ready: {why}", self.object()))
    }
}

/// Returns whether an error is that of a watch that could not be opened again until there was no time for another try.
pub fn is_late(error: &Error, cluster: &Cluster) -> bool {
    /// The pause before a try may be as long.
    const TOO_LATE: Duration = Duration::from_secs(6);
    matches!(error, Error::Unavailable { .. }) && cluster.remaining() < TOO_LATE
}

/// Ends a wait whose time is over: a last look decides, with what can be read about its causes. If that fails too, the wait
/// ends with what it had failed by, if anything.
pub async fn over(
    wait: &mut impl Wait,
    cluster: &Cluster,
    run: &RunContext,
    (pending, failed): (Pending, Option<Error>),
) -> Result<()> {
    let cluster = &cluster.for_a_last_look();
    let (last, late) = match last_look(wait, cluster, run).await {
        Ok(RolloutStatus::Done { .. }) => return Ok(()),
        Ok(RolloutStatus::Failed(why)) => return Err(wait.failed(&why)),
        Ok(RolloutStatus::Pending(last)) => (last, String::new()),
        Err(error @ Error::NotVerified(_)) => return Err(with_its_namespace(wait, cluster, run, error).await),
        Err(_) if failed.is_some() => return failed.map_or(Ok(()), Err),
        Err(error) => (pending, format!("; a last look failed: {}", error.full_message())),
    };
    wait.clues().read(cluster, &obstacles::told(&last.causes)).await;
    // Evidence may tell more causes.
    let last = match wait.look(cluster).await {
        Ok(RolloutStatus::Pending(last)) => last,
        _ => last,
    };
    let causes = obstacles::told(&last.causes);
    let described = obstacles::describe(wait.clues(), cluster, run, &causes).await;
    run.progress.obstacles(described);
    let told = sentence(wait, &last);
    let unread = causes.first().map(|cause| unread(cause, wait.clues())).unwrap_or_default();
    Err(Error::NotVerified(format!("waitTimeout is over; {told}{unread}{late}")))
}

/// Looks once more, by reads: a watch may have gone silent (behind a load balancer that has died, say), and what it said
/// last proves nothing. What it kept back and only has to stay so through `settle` is given that time.
async fn last_look(wait: &mut impl Wait, cluster: &Cluster, run: &RunContext) -> Result<RolloutStatus> {
    /// The least time between two looks.
    const LEAST: Duration = Duration::from_millis(100);
    let kept_back = wait.refresh(cluster).await?;
    let mut until = None;
    loop {
        let status = wait.look(cluster).await?;
        let now = Instant::now();
        let until = *until.get_or_insert(now + run.wait.settle.get().min(cluster.remaining()));
        match &status {
            RolloutStatus::Pending(Pending { again: Some(again), .. }) if kept_back && now < until => {
                tokio::time::sleep_until(until.min(now + (*again).max(LEAST))).await;
                wait.refresh(cluster).await?;
            }
            _ => return Ok(status),
        }
    }
}

/// Reads what can be read about the causes, keeps that for the result, and returns the sentence about the one that ends
/// the wait.
pub async fn end(
    wait: &mut impl Wait,
    cluster: &Cluster,
    run: &RunContext,
    cause: &Cause,
    pending: &Pending,
) -> String {
    let cluster = &cluster.for_a_last_look();
    let others = pending.causes.iter().filter(|other| *other != cause);
    let causes = obstacles::told(std::iter::once(cause).chain(others));
    wait.clues().read(cluster, &causes).await;
    let described = obstacles::describe(wait.clues(), cluster, run, &causes).await;
    run.progress.obstacles(described);
    format!("{cause}{}", unread(cause, wait.clues()))
}

/// Continues the sentence about a cause of which more would be known, if it could be read.
fn unread(cause: &Cause, clues: &Clues) -> String {
    let unread = clues.evidence().unread.first().filter(|_| cause.row.events);
    unread.map(|unread| format!("; what would tell more could not be read: {unread}")).unwrap_or_default()
}

/// Returns the numbers and the first cause.
fn sentence(wait: &impl Wait, pending: &Pending) -> String {
    let cause = pending.causes.first().map(|cause| format!("; {cause}")).unwrap_or_default();
    format!("{}: {}{cause}", wait.object(), pending.status)
}

/// Reports what is still missing.
pub fn report(wait: &impl Wait, pending: &Pending, run: &RunContext) {
    run.progress.report(&sentence(wait, pending));
}

/// Adds to the error about an object that is gone that its whole namespace goes, if that may be read.
pub async fn with_its_namespace(wait: &mut impl Wait, cluster: &Cluster, run: &RunContext, error: Error) -> Error {
    let Error::NotVerified(why) = error else { return error };
    if !wait.lost() {
        return Error::NotVerified(why);
    }
    let cluster = &cluster.for_a_last_look();
    wait.clues().read(cluster, &[]).await;
    let target = wait.object().clone();
    let Some(cause) = causes::namespace(&target, wait.clues().evidence()) else { return Error::NotVerified(why) };
    let described = obstacles::describe(wait.clues(), cluster, run, &[&cause]).await;
    run.progress.obstacles(described);
    Error::NotVerified(format!("{why}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::testing::run;
    use crate::cluster::fake::{Answer, cluster, object};
    use crate::k8s::Kind;
    use crate::workload::causes::table::Place;
    use crate::workload::wait::until_done;
    use contract::result::ObjectReference;
    use rstest::rstest;
    use serde_json::json;

    /// An effect that hangs for one cause for so many seconds, and is then there.
    struct Hangs {
        object: ObjectRef,
        clues: Clues,
        cause: Cause,
        began: Instant,
        seconds: u64,
        lost: bool,
    }

    impl Wait for Hangs {
        fn object(&self) -> &ObjectRef {
            &self.object
        }
        fn clues(&mut self) -> &mut Clues {
            &mut self.clues
        }
        fn lost(&self) -> bool {
            self.lost
        }
        async fn look(&mut self, _cluster: &Cluster) -> Result<RolloutStatus> {
            if self.lost {
                return Err(Error::NotVerified("it was deleted".to_owned()));
            }
            let left =
                Duration::from_secs(self.seconds).checked_sub(self.began.elapsed()).filter(|left| !left.is_zero());
            Ok(match left {
                None => RolloutStatus::Done { surge: 0 },
                Some(left) => {
                    let pending = Pending::plain("0 of 1", vec![self.cause.clone()]);
                    RolloutStatus::Pending(Pending { again: Some(left), ..pending })
                }
            })
        }
        async fn changed(&mut self) -> Result<()> {
            std::future::pending().await
        }
        async fn refresh(&mut self, _cluster: &Cluster) -> Result<bool> {
            Ok(false)
        }
    }

    const NOTHING: u64 = 99_999;

    fn hangs(place: Place, state: &str, seconds: u64) -> Hangs {
        let pod = ObjectReference { name: "web-1".to_owned(), ..object(Kind::Pod).to_reference() };
        let cause = Cause::new(pod, place, state, "words");
        let object = object(Kind::Deployment);
        Hangs { clues: Clues::of(&object), object, cause, began: Instant::now(), seconds, lost: false }
    }

    /// The account may read nothing but the namespace, which is being deleted.
    async fn waited(mut wait: Hangs, seconds: u64) -> (Result<()>, u64, RunContext) {
        let (cluster, _) = cluster(|line, _| match line {
            line if line.contains("rulesreviews") => {
                let rules = json!([{ "apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"] }]);
                Answer::Json(
                    200,
                    json!({ "status": { "resourceRules": rules, "nonResourceRules": [], "incomplete": false } }),
                )
            }
            line if line.contains("accessreviews") => Answer::Json(200, json!({ "status": { "allowed": false } })),
            _ => Answer::Json(
                200,
                json!({ "metadata": { "name": "shop", "uid": "n", "deletionTimestamp": "2026-01-01T00:00:00Z" }, "status": { "phase": "Terminating" } }),
            ),
        });
        let (run, began) = (run(), Instant::now());
        let cluster = cluster.until(began + Duration::from_secs(seconds));
        let ended = until_done(&mut wait, &cluster, &run).await;
        (ended, began.elapsed().as_secs(), run)
    }

    /// Each class has its bound, and the object is told for machines too.
    #[rstest]
    #[case::certain(
        Place::Waiting,
        "InvalidImageName",
        0,
        "deployment shop/web does not become ready: pod web-1: InvalidImageName: words; correct the image's name"
    )]
    #[case::may_pass(
        Place::Waiting,
        "ErrImagePull",
        60,
        "deployment shop/web does not become ready: pod web-1: ErrImagePull: words (no progress for 60 s; raise stuckAfter if this may take longer)"
    )]
    #[case::slow(
        Place::Waiting,
        "ContainerCreating",
        100,
        "waitTimeout is over; deployment shop/web: 0 of 1; pod web-1: ContainerCreating: words; what would tell more could not be read: \
            events: list events (events.k8s.io) is not granted; the component rbac/components/causes grants it"
    )]
    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_by_its_cause(
        #[case] place: Place,
        #[case] state: &str,
        #[case] seconds: u64,
        #[case] says: &str,
    ) {
        let (ended, took, run) = waited(hangs(place, state, NOTHING), 100).await;
        let Err(Error::NotVerified(why)) = ended else { panic!("{ended:?}") };
        assert_eq!((why.as_str(), took), (says, seconds));
        let obstacles = run.progress.observation().obstacles;
        assert_eq!(obstacles.len(), 1);
        assert_eq!((obstacles[0].object.name.as_str(), obstacles[0].state.as_str()), ("web-1", state));
        assert!(
            obstacles[0].unread[0].starts_with("events: list events (events.k8s.io) is not granted"),
            "{obstacles:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_in_time_is_no_failure() {
        let (ended, took, run) = waited(hangs(Place::Waiting, "ErrImagePull", 59), 100).await;
        assert_eq!((ended.is_ok(), took), (true, 59));
        assert!(run.progress.observation().obstacles.is_empty());
        assert_eq!(run.progress.last().as_deref(), Some("deployment shop/web: 0 of 1; pod web-1: ErrImagePull: words"));
    }

    /// The last look decides, not what was seen before.
    #[tokio::test(start_paused = true)]
    async fn what_is_there_when_the_time_is_over_is_there() {
        let (ended, took, _) = waited(hangs(Place::Waiting, "ContainerCreating", 100), 100).await;
        assert_eq!((ended.is_ok(), took), (true, 100));
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_goes_with_its_namespace_is_told_so() {
        let wait = Hangs { lost: true, ..hangs(Place::Old, "", NOTHING) };
        let (ended, _, run) = waited(wait, 100).await;
        let says = "it was deleted: namespace shop: Terminating since 2026-01-01T00:00:00Z";
        assert_eq!(ended.unwrap_err().to_string(), says);
        assert_eq!(run.progress.observation().obstacles[0].object.kind, "Namespace");
    }
}
