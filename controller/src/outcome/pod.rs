//! What one pod says, and what it did to the cluster as far as that can be told.

use contract::result::{ActionResult, Effect, KIND};
use contract::text::shorten;

use super::ERROR_LIMIT;
use crate::observe::Seen;
use crate::observe::slim::SlimPod;

/// Returns whether the request that undoes the effect was left out for lack of space.
pub fn lacks_rollback(result: &ActionResult) -> bool {
    result.trimmed.iter().any(|field| field == "rollbackInformation")
}

/// Returns the result that a pod left: in its termination message, or where that does not do, in its log.
pub fn result_of_pod(pod: &SlimPod, log: Option<&str>, id: &str) -> Option<ActionResult> {
    let message = pod.terminated().and_then(|one| one.message.as_deref()).unwrap_or_default();
    let from_message = result_of(message, id);
    if from_message.as_ref().is_some_and(|result| !lacks_rollback(result)) {
        return from_message;
    }
    log.and_then(|log| result_of(log, id)).or(from_message)
}

/// Returns the last line of a text that is a result of this execution.
fn result_of(text: &str, id: &str) -> Option<ActionResult> {
    let lines = text.lines().rev().map(str::trim).filter(|line| line.starts_with('{'));
    let mut results = lines.filter_map(|line| serde_json::from_str::<ActionResult>(line).ok());
    results.find(|result| result.kind == KIND && result.action_id.as_deref() == Some(id))
}

/// Returns what keeps a pod from starting.
pub fn waits_for(pod: &SlimPod) -> Option<String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let sentence = |reason: &str, message: Option<&str>| {
        let message = message.map(|text| format!(": {}", shorten(text, ERROR_LIMIT))).unwrap_or_default();
        Some(format!("pod {name} has not started: {reason}{message}"))
    };
    let scheduled = pod.status.conditions.iter().find(|one| one.r#type == "PodScheduled" && one.status == "False");
    if let Some(condition) = scheduled {
        return sentence(condition.reason.as_deref().unwrap_or("not scheduled"), condition.message.as_deref());
    }
    let waiting = pod.waiting()?;
    sentence(waiting.reason.as_deref().unwrap_or_default(), waiting.message.as_deref())
}

/// Returns whether no container of the pod can have started: it never had a node, or its kubelet said so after it had
/// learnt that the pod was to go.
pub fn never_started(pod: &Seen<SlimPod>) -> bool {
    let object = &pod.object;
    // Cleaned up without its kubelet: a container may run behind a broken network.
    let by_force =
        object.condition("DisruptionTarget").is_some_and(|one| one.reason.as_deref() == Some("DeletionByPodGC"));
    let never_placed = object.spec.node_name.is_none() && (pod.last_word || object.ended());
    // That the pod is over can be said by others, and without an end of its container is.
    let ended = object.ended() && object.executor().is_some_and(|state| state.terminated.is_some());
    let kubelet_says = object.metadata.deletion_timestamp.is_some() && object.waiting().is_some() && ended;
    !object.started() && !by_force && (never_placed || kubelet_says)
}

/// Returns what one pod did to the cluster, as far as it can be told.
pub fn effect_of(pod: &Seen<SlimPod>, result: Option<&ActionResult>) -> Effect {
    match result {
        Some(result) if result.resumed => Effect::Applied,
        Some(result) => result.effect,
        None if never_started(pod) => Effect::None,
        None => Effect::Unknown,
    }
}

/// Returns the effect that says more: applied, unknown, none.
pub fn strongest(one: Effect, other: Effect) -> Effect {
    match (one, other) {
        (Effect::Applied, _) | (_, Effect::Applied) => Effect::Applied,
        (Effect::Unknown, _) | (_, Effect::Unknown) => Effect::Unknown,
        (Effect::None, Effect::None) => Effect::None,
    }
}
