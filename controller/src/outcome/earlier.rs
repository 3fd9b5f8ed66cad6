//! What is known of the pods of an attempt beside its newest one, and what may still come to be known.

use contract::result::Effect;
use jiff::{SignedDuration, Timestamp};

use super::{Facts, effect_of, result_of_pod, strongest};
use crate::observe::slim::{SlimJob, SlimPod};
use crate::observe::{Life, Seen};

/// Time after which no pod comes any more of a Job that is on its way out: the Job controller makes none, but for one that it was
/// about to make.
const NONE_COMES: SignedDuration = SignedDuration::from_secs(15);
/// Time for which a pod that is gone, as the API server said when it was asked, is waited for in the watch: its last word comes there.
const TOLD: SignedDuration = SignedDuration::from_secs(10);
/// Time within which the first pod of a Job is made, once the Job controller has taken the Job up.
const AS_IT_STARTS: SignedDuration = SignedDuration::from_secs(10);

fn after(time: Timestamp, duration: SignedDuration) -> Timestamp {
    time.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// Returns when it is known that no pod comes of a Job that is on its way out, by our clock alone.
pub fn none_comes_after(job: &Seen<SlimJob>) -> Option<Timestamp> {
    job.going_since.map(|since| after(since, NONE_COMES))
}

/// Returns whether no pod was made of a Job that is on its way out, and none comes.
pub fn none_comes(facts: &Facts<'_>) -> bool {
    let over = none_comes_after(facts.job).is_some_and(|at| facts.now >= at);
    over && facts.job.watched && !facts.job.object.had_pods()
}

/// Returns until when the end of a pod that is gone may still be told by the watch.
pub fn may_be_told_until(pod: &Seen<SlimPod>) -> Option<Timestamp> {
    let silent = pod.life == Life::Gone && !pod.last_word;
    pod.gone_since.filter(|_| silent).map(|since| after(since, TOLD))
}

/// Returns whether it may still be told.
pub fn may_be_told(pod: &Seen<SlimPod>, now: Timestamp) -> bool {
    // A clock that was set back is no reason to wait for hours.
    pod.gone_since.is_some_and(|since| since <= now) && may_be_told_until(pod).is_some_and(|until| now < until)
}

/// Returns the strongest effect of the newest pod and of those before it that are known. Those that are recorded are added with
/// the record.
pub fn with_earlier_pods(facts: &Facts<'_>, own: Effect) -> Effect {
    let earlier = facts.pods.split_last().map_or(&[][..], |(_, earlier)| earlier);
    let effect = |pod| effect_of(pod, result_of_pod(&pod.object, None, facts.id).as_ref());
    let own = if one_was_missed(facts) { strongest(own, Effect::Unknown) } else { own };
    earlier.iter().map(effect).fold(own, strongest)
}

/// Returns whether a pod before the newest one may have done something.
pub fn began_before(facts: &Facts<'_>) -> bool {
    let recorded = facts.ended_pods.iter().filter(|one| !is_known(facts, &one.pod_uid)).map(|one| one.effect);
    recorded.fold(with_earlier_pods(facts, Effect::None), strongest) != Effect::None
}

fn is_known(facts: &Facts<'_>, uid: &str) -> bool {
    facts.pods.iter().any(|pod| pod.object.metadata.uid.as_deref() == Some(uid))
}

/// Returns whether there may have been a pod before all that are known: a drained one is counted nowhere, and the controller was
/// away.
fn one_was_missed(facts: &Facts<'_>) -> bool {
    let Some(first) = facts.pods.first().filter(|_| !facts.job.watched) else { return false };
    // It is not the first one, and what the one before did is recorded.
    if facts.ended_pods.iter().any(|one| !is_known(facts, &one.pod_uid)) {
        return false;
    }
    // When it is resumed, the time of its start is another one, and its pod another one too.
    if facts.job.object.status.conditions.iter().any(|one| one.r#type == "Suspended") {
        return true;
    }
    let created = first.object.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let starts = facts.job.object.status.start_time;
    created.zip(starts).is_none_or(|(created, starts)| created > after(starts, AS_IT_STARTS))
}
