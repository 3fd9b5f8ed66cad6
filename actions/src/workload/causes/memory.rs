//! Remembers what one look at the cluster cannot tell: how often containers crashed since the change, how many pods
//! failed in it, and since when a container has waited.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::sign::{Crashed, Sign};
use crate::workload::pods::PodView;

/// The fifth crash since the change ends a wait. Kubelets start a container anew after about 3, 14, 44 and 98 s: whoever
/// waits for a dependency with `stuckAfter: 2m` gets five starts.
pub const TOO_MANY: i32 = 5;

/// Times have whole seconds: a life is longer than another one only by more than that.
const WHOLE_SECOND: SignedDuration = SignedDuration::from_secs(1);

/// Time for which an instance must run longer than those before it, so that it is known to run: its kubelet would have said
/// that it has ended. A kubelet looks for what has ended once a second and says it a moment later, and whole seconds hide two.
const REPORTED: SignedDuration = SignedDuration::from_secs(5);

/// The longest life that an instance must outlive to count as started, however long others lived before: where `stuckAfter` is a
/// minute, as it is by default, there must be time for that.
const PROVEN: SignedDuration = SignedDuration::from_secs(30);

/// Time after the last failure in which pods that failed still count as the present state, although another one has been
/// made: it may fail within seconds too.
const FAILS_AGAIN: SignedDuration = SignedDuration::from_secs(10);

/// A container, by the UID of its pod and its name.
type Container = (String, String);

/// The memory of one wait.
#[derive(Debug, Default)]
pub struct Memory {
    /// UIDs of all pods so far: what they had not done when they were first seen, they have done since.
    pods: BTreeSet<String>,
    loops: BTreeMap<Container, CrashLoop>,
    seen: BTreeMap<(String, String, &'static str), Timestamp>,
    failures: BTreeMap<(String, Option<String>), Failures>,
}

/// The crashes of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrashLoop {
    /// Number of ends before the change, or before we first looked.
    before: i32,
    /// Number of ends so far.
    ended: i32,
    /// The longest life.
    longest: SignedDuration,
    /// Time of the first end that we know, or of the last one after a longer life than any before.
    pub since: Timestamp,
}

impl CrashLoop {
    /// Returns the number of crashes since the change.
    pub const fn crashes(&self) -> i32 {
        self.ended - self.before
    }

    /// Returns the time for which an instance must run to have outlived those before it.
    fn to_outlive(&self) -> SignedDuration {
        self.longest.min(PROVEN) + REPORTED
    }

    /// Returns the time at which the instance that runs now has outlived those before it.
    pub fn outlived(&self, running_since: Timestamp) -> Timestamp {
        running_since + self.to_outlive()
    }
}

/// The pods of one revision that failed for one reason.
#[derive(Debug, Clone)]
pub struct Failures {
    uids: BTreeSet<String>,
    /// The one that was seen last.
    pub newest: PodView,
    /// Time of the first failure that we saw.
    pub since: Timestamp,
    /// Time when we saw the last one.
    pub last: Timestamp,
}

impl Failures {
    /// Returns the number of pods, those included that are gone by now.
    pub fn count(&self) -> usize {
        self.uids.len()
    }

    /// Returns whether another pod may fail in the next moment.
    pub fn goes_on(&self, now: Timestamp) -> bool {
        self.last + FAILS_AGAIN > now
    }
}

impl Memory {
    /// Takes the pods as they are now.
    pub fn follow<'a>(&mut self, pods: impl Iterator<Item = &'a PodView>, began: Timestamp, now: Timestamp) {
        let mut here = BTreeSet::new();
        for pod in pods {
            let ours = made_since(pod, began);
            let watched = self.pods.contains(&pod.uid);
            if !watched {
                self.pods.insert(pod.uid.clone());
            }
            for crashed in &pod.crashes {
                self.crashed(pod, crashed, ours || watched, now);
            }
            let timeless = pod.signs.iter().filter(|sign| sign.since.is_none());
            for key in timeless.filter_map(|sign| key(pod, sign)) {
                self.seen.entry(key.clone()).or_insert(now);
                here.insert(key);
            }
            if let Some(failure) = pod.failure.as_ref().filter(|_| ours) {
                self.failed(pod, failure, now);
            }
        }
        self.seen.retain(|key, _| here.contains(key));
    }

    /// Takes a container that crashed; of a pod that was seen from its first crash on, all of them count.
    fn crashed(&mut self, pod: &PodView, crashed: &Crashed, from_the_first: bool, now: Timestamp) {
        let container = (pod.uid.clone(), crashed.container.clone());
        let life = crashed.last.map(|(start, end)| end.duration_since(start)).unwrap_or_default();
        let end = crashed.last.map_or(now, |(_, end)| end);
        let known = self.loops.entry(container).or_insert_with(|| CrashLoop {
            before: if from_the_first { 0 } else { crashed.ended },
            ended: crashed.ended,
            longest: life,
            since: end,
        });
        if crashed.ended > known.ended {
            known.ended = crashed.ended;
            if life > known.longest + WHOLE_SECOND {
                (known.longest, known.since) = (life, end);
            }
        }
    }

    fn failed(&mut self, pod: &PodView, failure: &Sign, now: Timestamp) {
        let key = (failure.state.clone(), pod.revision.clone());
        let new = || Failures { uids: BTreeSet::new(), newest: pod.clone(), since: now, last: now };
        let failures = self.failures.entry(key).or_insert_with(new);
        if failures.uids.insert(pod.uid.clone()) {
            (failures.newest, failures.last) = (pod.clone(), now);
        }
    }

    /// Returns what is known of a container's crashes.
    pub fn crash_loop(&self, pod: &PodView, container: &str) -> Option<&CrashLoop> {
        self.loops.get(&(pod.uid.clone(), container.to_owned()))
    }

    /// Returns the time for which a pod must be ready to have outlived its crashes since the change: a crash loop is ready
    /// too, as long as each instance lives.
    pub fn to_outlive(&self, pod: &PodView) -> Duration {
        let known = pod.crashes.iter().filter_map(|crashed| self.crash_loop(pod, &crashed.container));
        let needed = known.filter(|known| known.crashes() > 0).map(CrashLoop::to_outlive).max();
        needed.and_then(|needed| Duration::try_from(needed).ok()).unwrap_or_default()
    }

    /// Returns the time since which a container has waited for this: the cluster's, or ours.
    pub fn since(&self, pod: &PodView, sign: &Sign) -> Option<Timestamp> {
        sign.since.or_else(|| self.seen.get(&key(pod, sign)?).copied())
    }

    /// Returns the pods that failed, by reason and revision.
    pub fn failures(&self) -> impl Iterator<Item = &Failures> {
        self.failures.values()
    }
}

/// Returns whether the pod was made in this run. The time of creation has whole seconds.
pub fn made_since(pod: &PodView, began: Timestamp) -> bool {
    pod.created.is_none_or(|created| created >= began - WHOLE_SECOND)
}

/// States that alternate (`ErrImagePull`, `ImagePullBackOff`) are one row, and so have one beginning.
fn key(pod: &PodView, sign: &Sign) -> Option<(String, String, &'static str)> {
    let container = sign.container.clone()?;
    let row = super::table::find(sign.place, &sign.state, &sign.words);
    Some((pod.uid.clone(), container, row.why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::causes::table::Place;
    use rstest::rstest;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn pod(created: i64) -> PodView {
        PodView { uid: "p".to_owned(), created: Some(at(created)), ..PodView::default() }
    }

    /// A container that has ended so often, and lived from here to there the last time.
    fn crashed(ended: i32, from: i64, to: i64) -> Crashed {
        Crashed {
            container: "app".to_owned(),
            ended,
            down: true,
            running_since: None,
            last: Some((at(from), at(to))),
            state: "Error".to_owned(),
            words: "Error".to_owned(),
            exit: None,
        }
    }

    fn after(created: i64, ends: &[Crashed]) -> CrashLoop {
        let mut memory = Memory::default();
        for end in ends {
            let pod = PodView { crashes: vec![end.clone()], ..pod(created) };
            memory.follow([&pod].into_iter(), at(100), at(500));
        }
        memory.crash_loop(&pod(created), "app").unwrap().clone()
    }

    /// A lifetime's count of a pod of before proves nothing.
    #[rstest]
    #[case::of_this_run(100, &[crashed(3, 110, 112)], 3)]
    #[case::of_its_first_second(99, &[crashed(3, 110, 112)], 3)]
    #[case::of_before(98, &[crashed(3, 110, 112)], 0)]
    #[case::of_before_and_once_more(98, &[crashed(3, 110, 112), crashed(4, 120, 122)], 1)]
    #[case::seen_twice(100, &[crashed(1, 110, 112), crashed(1, 110, 112)], 1)]
    #[case::never_fewer(100, &[crashed(2, 110, 112), crashed(1, 110, 112)], 2)]
    fn crashes_count_from_the_change_on(#[case] created: i64, #[case] ends: &[Crashed], #[case] crashes: i32) {
        assert_eq!(after(created, ends).crashes(), crashes);
    }

    /// One that ran well when it was first seen has crashed since.
    #[test]
    fn a_pod_of_before_may_crash_in_the_wait() {
        let mut memory = Memory::default();
        let crashing = PodView { crashes: vec![crashed(4, 110, 112)], ..pod(0) };
        memory.follow([&pod(0)].into_iter(), at(100), at(105));
        memory.follow([&crashing].into_iter(), at(100), at(115));
        assert_eq!(memory.crash_loop(&crashing, "app").map(CrashLoop::crashes), Some(4));
    }

    /// Times have whole seconds, so that 3 s after 2 s may be the same.
    #[rstest]
    #[case::the_first(&[crashed(1, 110, 112)], 112, 2)]
    #[case::as_long(&[crashed(1, 110, 112), crashed(2, 120, 122)], 112, 2)]
    #[case::a_second_more(&[crashed(1, 110, 112), crashed(2, 120, 123)], 112, 2)]
    #[case::longer(&[crashed(1, 110, 112), crashed(2, 120, 124)], 124, 4)]
    #[case::shorter_again(&[crashed(1, 110, 112), crashed(2, 120, 130), crashed(3, 140, 145)], 130, 10)]
    #[case::the_same_end(&[crashed(1, 110, 112), crashed(1, 110, 119)], 112, 2)]
    fn a_longer_life_begins_anew(#[case] ends: &[Crashed], #[case] since: i64, #[case] longest: i64) {
        let found = after(100, ends);
        assert_eq!((found.since, found.outlived(at(200))), (at(since), at(200 + longest + 5)));
    }

    /// By our own clock, and never for longer than half a minute and the time for a report.
    #[rstest]
    #[case::none(100, &[], 0)]
    #[case::of_seconds(100, &[crashed(1, 110, 114)], 9)]
    #[case::the_longest(100, &[crashed(1, 110, 114), crashed(2, 120, 122)], 9)]
    #[case::of_days(100, &[crashed(1, -90_000, 114)], 35)]
    #[case::of_half_a_minute(100, &[crashed(1, 110, 139)], 34)]
    #[case::before_the_change(98, &[crashed(3, 110, 114)], 0)]
    #[case::before_and_once_more(98, &[crashed(3, 110, 114), crashed(4, 120, 123)], 9)]
    fn what_crashed_must_outlive_that(#[case] created: i64, #[case] ends: &[Crashed], #[case] seconds: u64) {
        let mut memory = Memory::default();
        let mut seen = pod(created);
        for end in ends {
            seen.crashes = vec![Crashed { down: false, running_since: Some(at(300)), ..end.clone() }];
            memory.follow([&seen].into_iter(), at(100), at(500));
        }
        assert_eq!(memory.to_outlive(&seen), Duration::from_secs(seconds));
        seen.crashes.clear();
        assert_eq!(memory.to_outlive(&seen), Duration::ZERO, "an init container that is done");
    }

    #[test]
    fn an_end_without_times_is_now() {
        let found = after(100, &[Crashed { last: None, ..crashed(1, 0, 0) }]);
        assert_eq!((found.since, found.outlived(at(0))), (at(500), at(5)));
    }

    fn waiting(state: &str) -> PodView {
        let sign = Sign { container: Some("app".to_owned()), ..Sign::new(Place::Waiting, state, "") };
        PodView { signs: vec![sign], ..pod(0) }
    }

    #[test]
    fn a_state_is_known_since_it_was_first_seen() {
        let mut memory = Memory::default();
        let mut since = |state: &str, now: i64| {
            let pod = waiting(state);
            memory.follow([&pod].into_iter(), at(0), at(now));
            memory.since(&pod, &pod.signs[0])
        };
        assert_eq!(since("ErrImagePull", 10), Some(at(10)));
        assert_eq!(since("ImagePullBackOff", 20), Some(at(10)), "the two alternate");
        assert_eq!(since("CreateContainerError", 30), Some(at(30)));
        assert_eq!(since("ErrImagePull", 40), Some(at(40)), "it was something else in between");
        let told = Sign { since: Some(at(5)), ..waiting("X").signs[0].clone() };
        assert_eq!(memory.since(&pod(0), &told), Some(at(5)), "the cluster's own word comes first");
        let of_the_pod = Sign::new(Place::Scheduling, "Unschedulable", "");
        assert_eq!(memory.since(&pod(0), &of_the_pod), None);
    }

    fn refused(uid: &str, created: i64) -> PodView {
        let failure = Some(Sign::new(Place::Failed, "OutOfcpu", ""));
        PodView { uid: uid.to_owned(), failure, ..pod(created) }
    }

    #[test]
    fn pods_that_failed_are_counted_also_when_they_are_gone() {
        let mut memory = Memory::default();
        memory.follow([&refused("a", 100), &refused("b", 100), &refused("old", 98)].into_iter(), at(100), at(110));
        memory.follow([&refused("c", 115)].into_iter(), at(100), at(120));
        memory.follow([&refused("c", 115)].into_iter(), at(100), at(125));
        let all: Vec<_> = memory.failures().collect();
        let [failures] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!((failures.count(), failures.since, failures.last), (3, at(110), at(120)));
        assert_eq!(failures.newest.uid, "c");
        assert!(failures.goes_on(at(129)) && !failures.goes_on(at(130)));
        let other = PodView { revision: Some("r".to_owned()), ..refused("d", 100) };
        memory.follow([&other].into_iter(), at(100), at(130));
        assert_eq!(memory.failures().map(Failures::count).collect::<Vec<_>>(), [3, 1], "each revision has its own");
    }
}
