//! For how long pods have been ready.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::pods::PodView;
use super::tally::Followed;

/// For how long each pod has been ready, by our own clock.
#[derive(Default)]
pub struct Clock(BTreeMap<String, (String, Instant)>);

impl Clock {
    /// Pods with the time that each has been ready without a container starting again. What was there before the run may
    /// have been ready for longer than we have looked, and its kubelet says since when; that has whole seconds.
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
        // Times have whole seconds: what was made in the run's first one may be new.
        let from_before = pod.created.is_some_and(|created| created < began - SignedDuration::from_secs(1));
        // By its kubelet's clock, which may be behind; no longer than there is a pod, by the API server's.
        let since_then = |time: Option<Timestamp>| Duration::try_from(now.duration_since(time?)).ok();
        let told = since_then(pod.ready_since).filter(|_| from_before).min(since_then(pod.created)).unwrap_or_default();
        since.elapsed().max(told.saturating_sub(Duration::from_secs(1)))
    }
}
