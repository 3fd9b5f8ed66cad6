//! Measures how long pods have been ready.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::pods::PodView;
use super::tally::Followed;

/// Time for which each pod has been ready, by our own clock.
#[derive(Default)]
pub struct Clock(BTreeMap<String, (String, Instant)>);

impl Clock {
    /// Returns each pod with the time for which it has been ready without a container starting again. A pod from before
    /// the run may have been ready for longer than we have looked: its kubelet says since when, in whole seconds.
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
        // Times have whole seconds, so that a pod created in the run's first second may be new.
        let from_before = pod.created.is_some_and(|created| created < began - SignedDuration::from_secs(1));
        // By the kubelet's clock, which may be behind; at most the age of the pod, by the API server's clock.
        let since_then = |time: Option<Timestamp>| Duration::try_from(now.duration_since(time?)).ok();
        let told = since_then(pod.ready_since).filter(|_| from_before).min(since_then(pod.created)).unwrap_or_default();
        since.elapsed().max(told.saturating_sub(Duration::from_secs(1)))
    }
}
