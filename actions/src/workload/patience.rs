//! Decides when a wait is given up for a cause: at once, or when it has stood for too long without progress.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::causes::{Cause, Class};
use super::rollout::Pending;

/// A kind of cause, by which patience is measured: the pods that show it may follow each other.
type Kind = (&'static str, Option<String>);

/// Measures how long each cause that may pass has stood without progress.
pub struct Patience {
    allowed: Duration,
    best: i64,
    since: BTreeMap<Kind, Instant>,
}

/// The answer to what was seen.
#[derive(Debug, PartialEq)]
pub enum Verdict<'a> {
    /// This cause stays: the wait is over.
    Certain(&'a Cause),
    /// This cause stood for too long: the wait is over.
    TooLong(&'a Cause),
    /// Wait on, until this time if nothing changes.
    Wait(Option<Instant>),
}

impl Patience {
    /// Allows each cause that may pass this long.
    pub const fn new(allowed: Duration) -> Self {
        Self { allowed, best: i64::MIN, since: BTreeMap::new() }
    }

    /// Judges what was seen. Progress, or a moment without the cause, begins anew.
    pub fn judge<'a>(&mut self, pending: &'a Pending) -> Verdict<'a> {
        if let Some(certain) = pending.causes.iter().find(|cause| cause.class == Class::Certain) {
            return Verdict::Certain(certain);
        }
        let now = Instant::now();
        if pending.reached > self.best {
            self.best = pending.reached;
            self.since.clear();
        }
        let standing = pending.causes.iter().filter(|cause| cause.class == Class::MayPass);
        let standing: Vec<(Kind, &Cause)> = standing.map(|cause| (kind(cause), cause)).collect();
        self.since.retain(|kind, _| standing.iter().any(|(other, _)| other == kind));
        let mut next = None;
        for (kind, cause) in standing {
            let over = *self.since.entry(kind).or_insert(now) + self.allowed;
            if over <= now {
                return Verdict::TooLong(cause);
            }
            next = Some(next.map_or(over, |next: Instant| next.min(over)));
        }
        Verdict::Wait(next)
    }
}

fn kind(cause: &Cause) -> Kind {
    let (row, container) = cause.kind();
    (row, container.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fake::object;
    use crate::workload::causes::table::Place;

    fn cause(state: &str) -> Cause {
        Cause::new(object(crate::k8s::Kind::Pod).to_reference(), Place::Waiting, state, "")
    }

    fn pending(reached: i64, states: &[&str]) -> Pending {
        Pending { reached, ..Pending::plain("", states.iter().map(|state| cause(state)).collect()) }
    }

    const PULL: &str = "ErrImagePull";
    const OTHER: &str = "CreateContainerError";

    fn waits(patience: &mut Patience, reached: i64, states: &[&str]) -> bool {
        matches!(patience.judge(&pending(reached, states)), Verdict::Wait(_))
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_certain_ends_at_once_and_what_is_slow_never() {
        let mut patience = Patience::new(Duration::from_mins(1));
        let both = pending(0, &[PULL, "InvalidImageName"]);
        assert_eq!(patience.judge(&both), Verdict::Certain(&both.causes[1]));
        assert_eq!(patience.judge(&pending(0, &["ContainerCreating"])), Verdict::Wait(None));
        tokio::time::advance(Duration::from_secs(999)).await;
        assert_eq!(patience.judge(&pending(0, &["ContainerCreating"])), Verdict::Wait(None));
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_only_without_progress() {
        let mut patience = Patience::new(Duration::from_mins(1));
        let until = Instant::now() + Duration::from_mins(1);
        assert_eq!(patience.judge(&pending(0, &[PULL])), Verdict::Wait(Some(until)));
        tokio::time::advance(Duration::from_secs(50)).await;
        assert!(waits(&mut patience, 1, &[PULL]), "one more is ready: it begins anew");
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(waits(&mut patience, 1, &[PULL]));
        assert!(waits(&mut patience, 0, &[PULL]), "fewer than before is no progress");
        tokio::time::advance(Duration::from_secs(1)).await;
        let late = pending(1, &[PULL]);
        assert_eq!(patience.judge(&late), Verdict::TooLong(&late.causes[0]));
    }

    /// States that alternate are one cause; another one has a time of its own.
    #[tokio::test(start_paused = true)]
    async fn each_cause_has_its_time() {
        let mut patience = Patience::new(Duration::from_mins(1));
        assert!(waits(&mut patience, 0, &[PULL]));
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(waits(&mut patience, 0, &["ImagePullBackOff", OTHER]));
        tokio::time::advance(Duration::from_secs(20)).await;
        let soon = Instant::now() + Duration::from_secs(10);
        assert_eq!(patience.judge(&pending(0, &[OTHER, PULL])), Verdict::Wait(Some(soon)));
        tokio::time::advance(Duration::from_secs(10)).await;
        let late = pending(0, &[OTHER, PULL]);
        assert_eq!(patience.judge(&late), Verdict::TooLong(&late.causes[1]));
        assert!(waits(&mut patience, 0, &[OTHER]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cause_that_passed_is_forgotten() {
        let mut patience = Patience::new(Duration::from_mins(1));
        assert!(waits(&mut patience, 0, &[PULL]));
        assert_eq!(patience.judge(&pending(0, &[])), Verdict::Wait(None));
        tokio::time::advance(Duration::from_secs(70)).await;
        assert!(waits(&mut patience, 0, &[PULL]));
    }
}
