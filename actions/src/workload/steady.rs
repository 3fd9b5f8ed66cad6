//! Measures how long pods have been ready.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::causes::Memory;
use super::pods::PodView;
use super::tally::Followed;

/// Time for which each pod has been ready, by our own clock.
#[derive(Default)]
pub struct Clock(BTreeMap<String, (String, Instant)>);

impl Clock {
    /// Returns each pod with the time for which it has been ready without a container starting again. A pod from before
    /// the run may have been ready for longer than we have looked: its kubelet says since when, in whole seconds. What is
    /// remembered of crashes tells for how long it must be.
    pub fn follow<'a>(
        &mut self,
        pods: impl Iterator<Item = &'a PodView>,
        memory: &Memory,
        (began, now): (Timestamp, Timestamp),
    ) -> Vec<Followed<'a>> {
        let mut seen = BTreeMap::new();
        let followed = pods.map(|pod| Followed {
            pod,
            steady: self.steady(pod, began, now, &mut seen),
            to_outlive: memory.to_outlive(pod),
        });
        let followed = followed.collect();
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
        // Times have whole seconds, so that a pod created in the run's first second may be new.
        let from_before = pod.created.is_some_and(|created| created < began - SignedDuration::from_secs(1));
        // By the kubelet's clock, which may be behind; at most the age of the pod, by the API server's clock.
        let since_then = |time: Option<Timestamp>| Duration::try_from(now.duration_since(time?)).ok();
        let told = since_then(pod.ready_since).filter(|_| from_before).min(since_then(pod.created)).unwrap_or_default();
        since.elapsed().max(told.saturating_sub(Duration::from_secs(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn ready(created: &str, since: &str) -> PodView {
        let (created, ready_since) = (Some(at(created)), Some(at(since)));
        PodView {
            uid: "p".to_owned(),
            instances: "c:0".to_owned(),
            ready: true,
            created,
            ready_since,
            ..PodView::default()
        }
    }

    fn steady(clock: &mut Clock, pod: &PodView) -> u64 {
        let (began, now) = (at("2026-01-01T00:01:00Z"), at("2026-01-01T00:01:30Z"));
        clock.follow([pod].into_iter(), &Memory::default(), (began, now))[0].steady.as_secs()
    }

    /// By its kubelet's word, less the second that whole seconds may hide; of a pod of this run only what we have seen.
    #[rstest]
    #[case::of_before("2026-01-01T00:00:00Z", "2026-01-01T00:00:10Z", 79)]
    #[case::its_kubelet_is_behind("2026-01-01T00:00:30Z", "2026-01-01T00:00:10Z", 59)]
    #[case::ready_in_this_run("2026-01-01T00:00:00Z", "2026-01-01T00:01:20Z", 9)]
    #[case::made_in_the_runs_first_second("2026-01-01T00:00:59Z", "2026-01-01T00:01:00Z", 0)]
    #[case::made_in_this_run("2026-01-01T00:01:10Z", "2026-01-01T00:01:11Z", 0)]
    #[tokio::test(start_paused = true)]
    async fn what_was_there_before_has_its_own_time(#[case] created: &str, #[case] since: &str, #[case] seconds: u64) {
        assert_eq!(steady(&mut Clock::default(), &ready(created, since)), seconds);
    }

    #[tokio::test(start_paused = true)]
    async fn a_container_that_starts_again_begins_anew() {
        let mut clock = Clock::default();
        let pod = ready("2026-01-01T00:01:10Z", "2026-01-01T00:01:11Z");
        assert_eq!(steady(&mut clock, &pod), 0);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(steady(&mut clock, &pod), 10);
        let again = PodView { instances: "c:1".to_owned(), ..pod.clone() };
        assert_eq!(steady(&mut clock, &again), 0);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(steady(&mut clock, &again), 5);
        assert_eq!(steady(&mut clock, &PodView { ready: false, ..again.clone() }), 0);
        assert_eq!(steady(&mut clock, &again), 0, "it was not ready in between");
    }
}
