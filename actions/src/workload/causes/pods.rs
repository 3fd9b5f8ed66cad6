//! Causes that pods show.

use jiff::{SignedDuration, Timestamp};

use super::Situation;
use super::cause::Cause;
use super::memory::{CrashLoop, Failures, TOO_MANY};
use super::sign::{Crashed, Sign};
use super::table::{Class, Place, find};
use crate::workload::pods::PodView;
use crate::workload::tally::{count, live_of, wanted};
use contract::waiting::Terminating;

/// Time after which a scheduler or a kubelet that has said nothing is told: a busy one answers within a few seconds.
const SILENCE: SignedDuration = SignedDuration::from_secs(10);

/// Time that a pod may need after its `deletionTimestamp` (the request plus the grace period): the kubelet stops its
/// containers, removes its sandbox and volumes, and reports that.
pub const DELETION_MARGIN: SignedDuration = SignedDuration::from_secs(10);

/// Beginning of the sentence where a scale meets a rollout that has not finished.
const IN_THE_WAY: &str = "a rollout that has not finished stands in the way: ";

/// Returns whether nothing but a slow start is known to keep the pod from being ready.
pub fn only_starts(pod: &PodView) -> bool {
    let slow = |sign: &Sign| find(sign.place, &sign.state, &sign.words).class == Class::Slow;
    let silent = |sign: &Sign| sign.place == Place::Silence;
    pod.crashes.iter().all(|crashed| !crashed.down) && pod.signs.iter().all(|sign| slow(sign) || silent(sign))
}

/// The most pods that are looked at of those that say the same: a rollout may have thousands of them, at every look.
const SAME: usize = 20;

/// Counts the pods that say the same.
#[derive(Default)]
struct Same<'a>(Vec<((&'static str, Option<&'a str>), usize)>);

impl<'a> Same<'a> {
    /// Returns whether the pod says something that not enough others have said.
    fn is_new(&mut self, pod: &'a PodView) -> bool {
        let of_sign = |sign: &'a Sign| (find(sign.place, &sign.state, &sign.words).why, sign.container.as_deref());
        let nothing = pod.signs.is_empty().then_some(("", None));
        let mut new = !pod.crashes.is_empty();
        for says in pod.signs.iter().map(of_sign).chain(nothing) {
            match self.0.iter_mut().find(|(other, _)| *other == says) {
                Some((_, count)) if *count >= SAME => {}
                Some((_, count)) => (*count, new) = (*count + 1, true),
                None => {
                    self.0.push((says, 1));
                    new = true;
                }
            }
        }
        new
    }
}

/// Returns the causes of the pods that are to become ready.
pub fn coming(seen: Situation<'_>) -> Vec<Cause> {
    let active = seen.sets.iter().filter(|set| set.replicas > 0).count();
    let lead = if seen.goal.revision.is_none() && active > 1 { IN_THE_WAY } else { "" };
    // What is out of time by its controller's word is no slow start any more.
    let late = seen.goal.revision.is_none() && seen.workload.out_of_time.is_some();
    let promoted = |cause: Cause| {
        let class = if late { cause.class.max(Class::MayPass) } else { cause.class };
        Cause { class, lead, ..cause }
    };
    let mut same = Same::default();
    let pods = staying(seen).filter(|pod| same.is_new(pod));
    let mut all: Vec<Cause> = pods.flat_map(|pod| of_pod(seen, pod)).map(promoted).collect();
    all.extend(not_available(seen));
    all
}

/// Returns the pods that stay. Pods to be deleted may be broken: scaling down a crash loop is no failure.
fn staying(seen: Situation<'_>) -> impl Iterator<Item = &PodView> {
    let Situation { tally, goal, workload, sets, .. } = seen;
    let shrinks = move |pod: &PodView| {
        let set = sets.iter().find(|set| pod.owner.as_deref() == Some(set.uid.as_str()));
        match set {
            Some(set) => live_of(tally, &set.uid) > set.replicas,
            None => tally.live() > workload.desired,
        }
    };
    tally.coming.iter().copied().filter(move |pod| goal.revision.is_some() || (workload.desired > 0 && !shrinks(pod)))
}

/// Returns the causes of one pod.
fn of_pod(seen: Situation<'_>, pod: &PodView) -> Vec<Cause> {
    let mut all: Vec<Cause> = pod.crashes.iter().filter_map(|one| of_crash(seen, pod, one)).collect();
    // A container that crashed and runs again is told once.
    let crashing = |sign: &Sign| all.iter().any(|cause| cause.container == sign.container);
    let signs: Vec<&Sign> = pod.signs.iter().filter(|sign| !(sign.place == Place::Running && crashing(sign))).collect();
    all.extend(signs.into_iter().map(|sign| of_sign(seen, pod, sign)));
    if pod.ready && all.is_empty() {
        all.push(ready(seen, pod));
    }
    all
}

fn of_sign(seen: Situation<'_>, pod: &PodView, sign: &Sign) -> Cause {
    let told = |place: Place, state: &str, words: &str| Cause {
        container: sign.container.clone(),
        notes: sign.note.iter().cloned().collect(),
        ..Cause::of_pod(seen.target, pod, place, state, words).since(seen.memory.since(pod, sign))
    };
    let prepares = sign.place == Place::Silence && pod.node.is_some()
        || sign.place == Place::Waiting && matches!(sign.state.as_str(), "ContainerCreating" | "PodInitializing");
    if let Some(event) = seen.evidence.preparation(&pod.uid).filter(|_| prepares) {
        let cause = told(Place::Preparation, &event.reason, &event.message);
        return Cause { container: None, notes: Vec::new(), since: event.first.or(cause.since), ..cause };
    }
    let probed = sign.place == Place::Running && sign.state == "ContainersNotReady";
    if let Some(event) = seen.evidence.unhealthy(&pod.uid).filter(|_| probed) {
        return told(sign.place, &sign.state, &event.message);
    }
    let cause = told(sign.place, &sign.state, &sign.words);
    match sign.place {
        Place::Silence => silent(seen, pod, cause),
        Place::Scheduling if sign.state == "Unschedulable" && makes_room(seen) => {
            Cause { class: Class::Slow, ..cause.note("pods that leave may make room") }
        }
        Place::Waiting if cause.row.events => {
            let node = pod.node.as_deref().unwrap_or("no node");
            cause.note(format!("bound to node {node}"))
        }
        _ => cause,
    }
}

/// Tells of a pod of which nobody reports: its node's words, where they may be read.
fn silent(seen: Situation<'_>, pod: &PodView, cause: Cause) -> Cause {
    let told = cause.since.map(|since| since + SILENCE).filter(|told| *told > seen.goal.now);
    let cause = match told {
        Some(told) => Cause { class: Class::Slow, again: Some(told.duration_since(seen.goal.now)), ..cause },
        None => cause,
    };
    with_node(seen, pod, cause)
}

/// Puts the words of a node that is not ready in place of silence.
fn with_node(seen: Situation<'_>, pod: &PodView, cause: Cause) -> Cause {
    let Some(node) = seen.evidence.broken_node(pod.node.as_deref()) else { return cause };
    let words = if node.message.is_empty() { &node.reason } else { &node.message };
    let since = node.since.map(|since| format!(" since {}", super::cause::seconds(since))).unwrap_or_default();
    let note = format!("its node is not ready: {}{since}", node.reason);
    Cause { words: words.clone(), ..cause.note(note) }
}

/// Returns the cause of a container that ended, or that ended since the change and has not lived for longer yet.
fn of_crash(seen: Situation<'_>, pod: &PodView, crashed: &Crashed) -> Option<Cause> {
    let known = seen.memory.crash_loop(pod, &crashed.container);
    let crashes = known.map_or(0, CrashLoop::crashes);
    let over = crashed.running_since.and_then(|running| Some(known?.outlived(running)));
    let loops = crashed.down || crashes > 0 && over.is_some_and(|over| over > seen.goal.now);
    if !loops {
        return None;
    }
    let place = if crashes >= TOO_MANY { Place::EndedOften } else { Place::Ended };
    let times = match crashes {
        0 => format!("crashed {} times before", crashed.ended),
        1 => "crashed once since the change".to_owned(),
        more => format!("crashed {more} times since the change"),
    };
    let exit = crashed.exit.as_ref().map(|(code, reason)| format!(" (last exit code {code}, {reason})"));
    let cause = Cause::of_pod(seen.target, pod, place, &crashed.state, &crashed.words);
    Some(Cause {
        container: Some(crashed.container.clone()),
        notes: vec![times + &exit.unwrap_or_default()],
        since: known.map(|known| known.since),
        again: over.filter(|_| !crashed.down).map(|over| over.duration_since(seen.goal.now)),
        ..cause
    })
}

/// Returns the cause of a pod that is ready, but not for long enough yet.
fn ready(seen: Situation<'_>, pod: &PodView) -> Cause {
    let needed = seen.workload.min_ready.as_secs();
    let since = pod.ready_since.or(pod.created);
    let lasts = since.map_or(0, |since| seen.goal.now.duration_since(since).as_secs().max(0));
    let (words, note) = if needed == 0 {
        ("Ready", format!("without a readiness probe, it is followed for {} s (settle)", seen.goal.settle.as_secs()))
    } else {
        (
            "minReadySeconds",
            format!("it has been ready for {lasts} of {needed} s; raise waitTimeout if that is not enough"),
        )
    };
    Cause::of_pod(seen.target, pod, Place::Running, "Ready", words).since(since).note(note)
}

/// Returns the cause when all pods are ready for long enough by our clock, and not by their controller's.
fn not_available(seen: Situation<'_>) -> Option<Cause> {
    let Situation { workload, tally, goal, .. } = seen;
    let wanted = wanted(workload, goal);
    let short = !workload.min_ready.is_zero() && count(&tally.there) == wanted && workload.available < wanted;
    let youngest = tally.there.iter().max_by_key(|pod| pod.ready_since).filter(|_| short)?;
    Some(ready(seen, youngest).note(format!("its controller counts {} of {wanted} as available", workload.available)))
}

/// Returns the broken pod that an ordered StatefulSet waits for for ever: one of the revision before (kubernetes#67250),
/// or one that the partition protects.
pub fn blocking(seen: Situation<'_>) -> Vec<Cause> {
    let Situation { workload, tally, goal, .. } = seen;
    if goal.revision.is_none() || !workload.ordered {
        return Vec::new();
    }
    let missing = tally.live() < wanted(workload, goal);
    let broken = |pods: &[&PodView], what: &str| -> Vec<Cause> {
        let note = format!("it {what}, and its StatefulSet waits for it: evict it (restart-pod)");
        let broken = pods.iter().filter(|pod| !pod.ready).take(SAME).flat_map(|pod| of_pod(seen, pod));
        broken.map(|cause| cause.note(note.clone())).collect()
    };
    let old = broken(&tally.old, "is of the revision before");
    if old.is_empty() && missing { broken(&tally.out_of_reach, "is left alone by the partition") } else { old }
}

/// Returns the pods that failed without having run since the change: while there are too few others, or the next may fail
/// in a moment.
pub fn failed(seen: Situation<'_>) -> Vec<Cause> {
    let Situation { tally, goal, .. } = seen;
    let too_few = tally.live() < wanted(seen.workload, goal);
    let all = seen.memory.failures().filter(|failures| {
        let ours = goal.revision.is_none() || failures.newest.revision.as_deref() == goal.revision;
        ours && (too_few || failures.goes_on(goal.now))
    });
    let one = |failures: &Failures| {
        let failure = failures.newest.failure.as_ref()?;
        let note = match failures.count() {
            1 => "one pod failed so since the change".to_owned(),
            more => format!("{more} pods failed so since the change"),
        };
        let cause = Cause::of_pod(seen.target, &failures.newest, Place::Failed, &failure.state, &failure.words);
        Some(cause.since(Some(failures.since)).note(note))
    };
    all.filter_map(one).collect()
}

/// Returns the pods that leave: those that are overdue first.
pub fn leaving(seen: Situation<'_>) -> Vec<Cause> {
    let Situation { tally, goal, .. } = seen;
    if goal.terminating == Terminating::Ignore {
        return Vec::new();
    }
    let one = |pod: &&PodView| {
        let over = pod.due.map(|due| due + DELETION_MARGIN);
        let overdue = over.is_some_and(|over| over < goal.now);
        let place = if overdue { Place::Overdue } else { Place::Leaving };
        let due = pod.due.map(|due| due.to_string()).unwrap_or_default();
        let finalizer = pod.finalizers.first().cloned();
        let cause = Cause::of_pod(seen.target, pod, place, "Terminating", finalizer.as_deref().unwrap_or(&due));
        let held =
            (!pod.finalizers.is_empty()).then(|| format!("held by its finalizers {}", pod.finalizers.join(", ")));
        let late = overdue.then(|| format!("it should have been gone at {due}"));
        let again =
            over.filter(|_| !overdue).map(|over| over.duration_since(goal.now) + SignedDuration::from_millis(1));
        let cause = Cause { notes: late.into_iter().chain(held).collect(), again, ..cause.since(pod.leaving_since) };
        if overdue { with_node(seen, pod, cause) } else { cause }
    };
    let mut pods: Vec<&PodView> = tally.terminating.clone();
    pods.sort_by_key(|pod| pod.due);
    let mut all: Vec<Cause> = pods.iter().take(SAME).map(one).collect();
    all.sort_by_key(|cause| (std::cmp::Reverse(cause.class), cause.since));
    all
}

/// Returns the pods of before that nobody deletes yet.
pub fn old(seen: Situation<'_>) -> Vec<Cause> {
    let what = match seen.goal.revision {
        Some(_) => "it is of before, and its controller has not deleted it yet",
        None => "it is beyond the number of replicas, and its controller has not deleted it yet",
    };
    let one = |pod: &&PodView| {
        let cause = Cause::of_pod(seen.target, pod, Place::Old, &pod.phase, &pod.phase);
        cause.since(pod.ready_since.or(pod.created)).note(what)
    };
    seen.tally.old.iter().take(SAME).map(one).collect()
}

/// Returns whether pods leave in time, which makes room, for example for a host port or an anti-affinity rule.
fn makes_room(seen: Situation<'_>) -> bool {
    let in_time = |due: Timestamp| due + DELETION_MARGIN >= seen.goal.now;
    seen.tally.terminating.iter().any(|pod| pod.due.is_some_and(in_time))
}
