//! The status of an execution, as pure functions of what it was and of what was learnt.

mod trim;

use contract::condition::ConditionResult;
use contract::result::{ActionResult, Effect};
use contract::text::{printable, shorten};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

pub use trim::trimmed;
use trim::{bounded, trimmed_by};

use crate::api::status::{EndedPod, RollbackInformation, ValidationResults};
use crate::api::{Attempt, Condition, ExecutionResult, KubernetesExecution, KubernetesExecutionStatus, Phase};
use crate::outcome::{Ended, lacks_rollback, strongest};

/// The most bytes of a status: far below what etcd takes, with room for the spec beside it.
pub const LARGEST: usize = 32 << 10;
/// The most bytes of a sentence.
const SENTENCE: usize = 1500;

/// Status, as the next write will have it.
pub type Status = KubernetesExecutionStatus;

/// Returns the present status, for the generation that was looked at.
pub fn of(execution: &KubernetesExecution) -> Status {
    let mut status = execution.status.clone().unwrap_or_default();
    status.observed_generation = execution.metadata.generation;
    status
}

/// Returns the status with this phase, and what people and machines are told about it.
#[must_use]
pub fn with_phase(mut status: Status, phase: Phase, reason: &str, message: &str, now: Timestamp) -> Status {
    // It may quote a kubelet, an image that is not ours, or a spec: `kubectl describe` shows it on a terminal.
    let message = &*printable(message);
    status.phase = Some(phase);
    status.reason = Some(reason.to_owned());
    status.message = Some(shorten(message, SENTENCE));
    if phase.is_final() {
        status.end_time = Some(now);
        status.next_attempt_time = None;
    }
    status.conditions = conditions(&status, phase, reason, message, now);
    bounded(status)
}

/// The same of an attempt that has just ended: what followed from it is kept with it.
#[must_use]
pub fn decided(mut status: Status, phase: Phase, reason: &str, message: &str, now: Timestamp) -> Status {
    if let Some(attempt) = status.attempts.last_mut() {
        attempt.phase = Some(phase);
    }
    with_phase(status, phase, reason, message, now)
}

/// Returns the conditions of a phase. One whose status stays the same keeps its time.
fn conditions(status: &Status, phase: Phase, reason: &str, message: &str, now: Timestamp) -> Vec<Condition> {
    let good = phase == Phase::Completed;
    let over = phase.is_final();
    let wanted = [
        ("Finished", Some(over)),
        ("Complete", over.then_some(good)),
        ("Failed", over.then_some(!good)),
        // kstatus: in progress while Ready is False; failed when Stalled is True.
        ("Ready", Some(good)),
        ("Stalled", over.then_some(!good)),
    ];
    let one = |(name, value): (&str, Option<bool>)| {
        let status_text = if value? { "True" } else { "False" };
        let before = status.conditions.iter().find(|one| one.r#type == name && one.status == status_text);
        Some(Condition {
            r#type: name.to_owned(),
            status: status_text.to_owned(),
            reason: reason.to_owned(),
            message: shorten(message, SENTENCE / 2),
            last_transition_time: before.map_or(now, |before| before.last_transition_time),
            observed_generation: status.observed_generation,
        })
    };
    let ours = ["Finished", "Complete", "Failed", "Ready", "Stalled"];
    let others = status.conditions.iter().filter(|one| !ours.contains(&one.r#type.as_str())).cloned();
    others.chain(wanted.into_iter().filter_map(one)).collect()
}

/// Returns the status with an attempt that has ended, its result, and what it did to the cluster.
#[must_use]
pub fn with_attempt(
    mut status: Status,
    ended: &Ended,
    job_name: &str,
    job_uid: Option<&str>,
    now: Timestamp,
) -> Status {
    let times = ended.result.as_ref().map(|result| (time(&result.start_time), time(&result.end_time)));
    let (start_time, end_time) = times.unwrap_or((None, None));
    // Without a word of the runner's, the node's: a clock that is behind the attempt's own beginning is wrong.
    let began = status.start_time.unwrap_or(Timestamp::MIN);
    let ended_at = end_time.or(ended.finished_at.filter(|at| *at >= began)).unwrap_or(now).min(now);
    let effect = status.ended_pods.iter().map(|pod| pod.effect).fold(ended.effect, strongest);
    let before = status.attempts.iter().map(|attempt| attempt.effect).fold(effect, strongest);
    let number = i32::try_from(status.attempts.len()).unwrap_or(i32::MAX).saturating_add(1);
    status.retry_count = Some(number - 1);
    let earlier = status.ended_pods.iter().find_map(|pod| pod.rollback_information.clone());
    let own = ended.result.as_ref().and_then(way_back);
    keep_rollback(&mut status, earlier);
    keep_rollback(&mut status, own);
    status.ended_pods.clear();
    status.attempts.push(Attempt {
        attempt: number,
        job_name: job_name.to_owned(),
        job_uid: job_uid.map(str::to_owned),
        pod_name: ended.pod_name.clone(),
        exit_code: ended.exit_code,
        code: ended.code.clone(),
        effect,
        error: ended.error.as_deref().filter(|_| !ended.success()).map(said),
        start_time,
        end_time: Some(ended_at),
        phase: None,
        image_id: ended.image_id.clone(),
        usage: ended.result.as_ref().and_then(|result| result.usage),
    });
    if let Some(result) = &ended.result {
        let ActionResult { pre_condition_results, post_condition_results, .. } = result;
        if !(pre_condition_results.is_empty() && post_condition_results.is_empty()) {
            let said_of = |results: &[ConditionResult]| {
                let one = |one: &ConditionResult| ConditionResult {
                    error_message: one.error_message.as_deref().map(said),
                    ..one.clone()
                };
                results.iter().map(one).collect()
            };
            status.validation_results = Some(ValidationResults {
                pre_condition_results: said_of(pre_condition_results),
                post_condition_results: said_of(post_condition_results),
            });
        }
    }
    status.result = Some(result(ended, before, start_time, end_time));
    status
}

/// Returns the request that undoes what a result tells of, or why it is not known.
pub fn way_back(result: &ActionResult) -> Option<RollbackInformation> {
    let left_out = || RollbackInformation {
        available: false,
        rollback_action: None,
        rollback_parameters: None,
        failure_reason: Some(
            "it was left out of a termination message that was too long, and no log had it".to_owned(),
        ),
    };
    let known = result.rollback_information.clone().map(Into::into);
    known.or_else(|| lacks_rollback(result).then(left_out))
}

/// Keeps the earliest request that undoes the effect: a later attempt may have found it done, and knows of none.
fn keep_rollback(status: &mut Status, information: Option<RollbackInformation>) {
    let available = status.rollback_information.as_ref().is_some_and(|known| known.available);
    if let Some(information) = information.filter(|_| !available) {
        status.rollback_information = Some(information);
    }
}

/// Returns words of others as a terminal may show them.
fn said(text: &str) -> String {
    printable(text).into_owned()
}

fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

fn result(
    ended: &Ended,
    effect: Effect,
    start_time: Option<Timestamp>,
    end_time: Option<Timestamp>,
) -> ExecutionResult {
    let result = ended.result.as_ref();
    let success = ended.success();
    let values = |changes: &Vec<_>| changes.iter().filter_map(|change| serde_json::to_value(change).ok()).collect();
    ExecutionResult {
        success,
        output: result.and_then(|one| one.output.as_deref()).filter(|_| success).map(said),
        error: result.and_then(|one| one.error.as_deref()).or(ended.error.as_deref()).filter(|_| !success).map(said),
        start_time,
        end_time,
        code: ended.code.clone(),
        effect,
        retryable: result.is_some_and(|one| one.retryable),
        warnings: result.map(|one| one.warnings.iter().map(|one| said(one)).collect()).unwrap_or_default(),
        changes: result.and_then(|one| one.changes.as_ref()).map(values),
        // An image that is not the release's may write anything there; the definition takes an object.
        details: result.and_then(|one| one.details.clone()).filter(Value::is_object),
        usage: result.and_then(|one| one.usage),
        trimmed: result.map(trimmed_by).unwrap_or_default(),
    }
}

/// Returns the status with a pod of the running attempt that ended before it. What was not known of one may be told later.
#[must_use]
pub fn with_ended_pod(mut status: Status, pod: EndedPod) -> Status {
    match status.ended_pods.iter_mut().find(|known| known.pod_uid == pod.pod_uid) {
        None => status.ended_pods.push(pod),
        Some(known) if known.effect == Effect::Unknown && pod.effect != Effect::Unknown => {
            // A log that was read once may have had more.
            let way_back = known.rollback_information.take().filter(|way| way.available);
            *known = EndedPod { rollback_information: way_back.or(pod.rollback_information), ..pod };
        }
        Some(known) => {
            let more = pod.rollback_information.filter(|way| way.available);
            if known.rollback_information.as_ref().is_none_or(|way| !way.available) && more.is_some() {
                known.rollback_information = more;
            }
        }
    }
    status
}

/// Returns the merge patch that turns the status as it was read into the wanted one. What is absent from it now becomes
/// null; what we do not know is left alone.
pub fn patch(execution: &KubernetesExecution, wanted: &Status) -> Value {
    let before = json!(execution.status.clone().unwrap_or_default());
    json!({
        "metadata": { "resourceVersion": execution.metadata.resource_version },
        "status": difference(&before, &json!(wanted)),
    })
}

/// Returns the RFC 7386 merge patch between two values.
fn difference(before: &Value, after: &Value) -> Value {
    let (Value::Object(before), Value::Object(after)) = (before, after) else { return after.clone() };
    let mut patch = Map::new();
    for (key, value) in after {
        match before.get(key) {
            Some(known) if known == value => {}
            Some(known) => {
                patch.insert(key.clone(), difference(known, value));
            }
            None => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    Value::Object(patch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UID: &str = "948897b5-4a56-4dcc-bdd4-910732282bc7";

    fn now() -> Timestamp {
        "2026-11-25T03:00:00Z".parse().unwrap()
    }

    fn execution(status: &Status) -> KubernetesExecution {
        serde_json::from_value(json!({
            "apiVersion": "kubernetesexecution.kubernaut.io/v1alpha1", "kind": "KubernetesExecution",
            "metadata": { "name": "up", "namespace": "shop", "uid": UID, "resourceVersion": "7" },
            "spec": { "action": { "type": "scale-deployment", "target": { "resourceName": "web" } } }, "status": status,
        }))
        .unwrap()
    }

    /// An attempt that ended with a result of about this many bytes in each of its parts.
    fn ended(success: bool, effect: Effect, size: usize) -> Ended {
        let (long, code) = ("x".repeat(size), if success { "Changed" } else { "Unavailable" });
        let result = json!({
            "apiVersion": "kubernetesexecution.kubernaut.io/v1alpha1", "kind": "ActionResult", "actionId": UID, "code": code,
            "success": success, "effect": effect, "retryable": true, "dryRun": false, "output": long, "error": long,
            "startTime": "2026-11-25T03:00:00Z", "endTime": "2026-11-25T03:00:01Z", "details": { "a": long }, "warnings": [long],
            "rollbackInformation": { "available": effect == Effect::Applied, "rollbackAction": "scale-deployment", "rollbackParameters": { "replicas": 1 } },
        });
        Ended {
            result: Some(serde_json::from_value(result).unwrap()),
            code: code.to_owned(),
            error: (!success).then(|| shorten(&long, 300)),
            exit_code: Some(i32::from(!success)),
            effect,
            pod_name: Some("pod".to_owned()),
            image_id: None,
            finished_at: None,
        }
    }

    fn effects() -> impl Strategy<Value = Effect> {
        prop_oneof![Just(Effect::None), Just(Effect::Unknown), Just(Effect::Applied)]
    }

    /// A status after some attempts.
    fn statuses() -> impl Strategy<Value = Status> {
        let attempt = (any::<bool>(), effects(), 0_usize..9000);
        proptest::collection::vec(attempt, 0..11).prop_map(|attempts| {
            let add = |status, (number, (success, effect, size)): (usize, (bool, Effect, usize))| {
                let status = with_attempt(status, &ended(success, effect, size), "up-job", Some("uid"), now());
                let phase = if success { Phase::Completed } else { Phase::Retrying };
                with_phase(status, phase, "Changed", &"m".repeat(size + number), now())
            };
            attempts.into_iter().enumerate().fold(Status::default(), add)
        })
    }

    /// The definition takes an object there, and an end that can never be written holds all.
    #[test]
    fn details_that_are_no_object_are_left_out() {
        let mut ended = ended(true, Effect::Applied, 3);
        ended.result.as_mut().unwrap().details = Some(json!(["ok"]));
        let result = with_attempt(Status::default(), &ended, "up-job", None, now()).result.unwrap();
        assert_eq!((result.details, result.trimmed), (None, vec!["details".to_owned()]));
    }

    #[test]
    fn what_an_image_said_freely_can_be_left_out() {
        let full = with_attempt(Status::default(), &ended(true, Effect::Applied, 3), "up-job", None, now());
        let less = trimmed(&full, None).unwrap();
        let result = less.result.as_ref().unwrap();
        assert_eq!(result.trimmed, ["details", "warnings"]);
        assert_eq!((result.effect, less.attempts.len()), (Effect::Applied, 1));
        assert!(less.rollback_information.as_ref().unwrap().available, "it is typed: it fits");
        assert_eq!(trimmed(&less, None), None, "there is nothing more to leave out");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// A merge patch on what was read gives what is wanted: nothing of an earlier attempt is left beside a later one's.
        #[test]
        fn after_the_patch_the_object_is_as_wanted(before in statuses(), wanted in statuses()) {
            let before = execution(&before);
            let mut object = json!(before);
            json_patch::merge(&mut object, &patch(&before, &wanted));
            let after: KubernetesExecution = serde_json::from_value(object).unwrap();
            prop_assert_eq!(after.status.unwrap_or_default(), wanted);
        }

        /// However much was said, it fits; and what was left out is named.
        #[test]
        fn it_is_bounded(status in statuses()) {
            let size = serde_json::to_string(&status).unwrap().len();
            prop_assert!(size <= LARGEST, "{size}");
        }

        /// The strongest effect of all attempts, and the earliest way back.
        #[test]
        fn nothing_that_was_done_is_forgotten(attempts in proptest::collection::vec(effects(), 1..8)) {
            let mut status = Status::default();
            for effect in &attempts {
                status = with_attempt(status, &ended(false, *effect, 10), "up-job", None, now());
            }
            let result = status.result.unwrap();
            let strongest = attempts.iter().copied().fold(Effect::None, strongest);
            prop_assert_eq!(result.effect, strongest);
            prop_assert_eq!(status.rollback_information.unwrap().available, attempts.contains(&Effect::Applied));
        }
    }

    /// Whoever makes an image, or a condition, writes what `kubectl describe` shows.
    #[test]
    fn nothing_in_a_status_commands_a_terminal() {
        const HOSTILE: &str = "x\u{1b}[2J\u{9b}2J\u{202e}\n";
        let conditions = json!([{ "conditionType": "t", "evaluated": true, "passed": false, "errorMessage": HOSTILE, "evaluationTime": "" }]);
        for success in [true, false] {
            let mut ended = ended(success, Effect::None, 1);
            ended.error = (!success).then(|| HOSTILE.to_owned());
            let mut result = json!(ended.result.unwrap());
            for field in ["output", "error"] {
                result[field] = json!(HOSTILE);
            }
            (result["warnings"], result["preConditionResults"]) = (json!([HOSTILE]), conditions.clone());
            ended.result = Some(serde_json::from_value(result).unwrap());
            let status = with_attempt(Status::default(), &ended, "up-job", None, now());
            let status = with_phase(status, Phase::Failed, "r", HOSTILE, now());
            let texts = json!(status).to_string();
            // JSON has escapes of its own for some of them: what they are read as counts.
            assert!(texts.contains(r"x\\u001b[2J\\u009b2J\\u202e\\n"), "{texts}");
            // An escape of JSON's own would be one backslash.
            assert!(!contract::text::has_commands(&texts) && !texts.replace(r"\\", "").contains('\\'), "{texts}");
        }
    }

    /// A condition that stays as it was keeps its time: a new one at every pass would wake everybody who watches.
    #[test]
    fn a_condition_keeps_its_time() {
        let later = now() + jiff::SignedDuration::from_secs(60);
        let first = with_phase(Status::default(), Phase::Executing, "JobCreated", "a", now());
        let second = with_phase(first.clone(), Phase::Retrying, "NoResult", "b", later);
        let third = with_phase(second.clone(), Phase::Completed, "Changed", "c", later);
        let of = |status: &Status, name: &str| status.conditions.iter().find(|one| one.r#type == name).cloned();
        assert_eq!(of(&second, "Finished").unwrap().last_transition_time, now());
        assert_eq!(of(&third, "Finished").unwrap().last_transition_time, later);
        assert_eq!((of(&first, "Complete"), of(&third, "Failed").unwrap().status.as_str()), (None, "False"));
    }

    /// A log is read once: what it had, and the message has not, is not lost when the pod is looked at again.
    #[test]
    fn what_was_known_of_a_pod_is_not_forgotten() {
        let pod = |effect: &str, available: bool| -> EndedPod {
            let way_back = json!({ "available": available });
            serde_json::from_value(
                json!({ "podName": "a", "podUID": "a", "effect": effect, "rollbackInformation": way_back }),
            )
            .unwrap()
        };
        let kept = |first: &EndedPod, second: &EndedPod| {
            let status = with_ended_pod(with_ended_pod(Status::default(), first.clone()), second.clone());
            let one = &status.ended_pods[0];
            (json!(one.effect), one.rollback_information.as_ref().unwrap().available)
        };
        assert_eq!(kept(&pod("unknown", true), &pod("unknown", false)), (json!("unknown"), true));
        assert_eq!(kept(&pod("unknown", false), &pod("unknown", true)), (json!("unknown"), true));
        assert_eq!(kept(&pod("unknown", true), &pod("applied", false)), (json!("applied"), true));
        assert_eq!(kept(&pod("unknown", false), &pod("applied", true)), (json!("applied"), true));
        assert_eq!(kept(&pod("applied", true), &pod("none", false)), (json!("applied"), true));
    }
}
