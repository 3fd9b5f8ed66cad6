//! The delivery of events as a table: what is known, and what is done. And what an event says.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "of what the test itself made")]

use serde_json::{Value, json};

use super::event::Origin;
use super::*;

const CREATED: &str = "2026-11-25T03:00:00Z";

fn at(seconds: i64) -> Timestamp {
    CREATED.parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
}

/// An execution with this phase, and an attempt for each of these phases.
fn execution(phase: &str, attempts: &[&str]) -> Value {
    let attempt = |(index, phase): (usize, &&str)| {
        json!({
            "attempt": index + 1, "jobName": format!("up-job-{index}"), "podName": "p", "exitCode": 7, "code": "Conflict", "phase": phase,
            "effect": "none", "error": format!("short {index}"), "startTime": CREATED, "endTime": at(2).to_string(),
            "usage": { "cpuMs": 20, "memoryPeakBytes": 9 },
        })
    };
    json!({
        "apiVersion": "kubernetesexecution.kubernaut.io/v1alpha1", "kind": "KubernetesExecution",
        "metadata": { "name": "up", "namespace": "shop", "uid": "u", "creationTimestamp": CREATED, "annotations": {
            "kubernetesexecution.kubernaut.io/traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "kubernetesexecution.kubernaut.io/created-by": "alice",
        } },
        "spec": {
            "action": { "type": "scale-deployment", "parameters": { "replicas": 3 }, "target": { "resourceName": "web" } },
            "reason": "see token=abcdefgh", "workflowExecutionRef": { "name": "w" }, "stepIndex": 1,
        },
        "status": {
            "phase": phase, "reason": "Conflict", "message": "it was cancelled", "retryCount": attempts.len().saturating_sub(1),
            "endTime": at(9).to_string(), "attempts": attempts.iter().enumerate().map(attempt).collect::<Vec<_>>(),
            "result": { "success": false, "error": "the whole sentence", "code": "Conflict", "effect": "none" },
        },
    })
}

fn read(value: Value) -> KubernetesExecution {
    serde_json::from_value(value).unwrap()
}

#[test]
fn every_end_has_one_event() {
    for (phase, attempts, expected) in [
        ("Pending", &[][..], &[][..]),
        ("Executing", &["Retrying"][..], &[1][..]),
        ("Retrying", &["Retrying"][..], &[1][..]),
        ("Completed", &["Retrying", "Completed"][..], &[1, 2][..]),
        // Nothing was started.
        ("Failed", &[][..], &[0][..]),
        // Ended between two attempts.
        ("Cancelled", &["Retrying"][..], &[1, 0][..]),
    ] {
        assert_eq!(due(&read(execution(phase, attempts))), expected, "{phase} {attempts:?}");
    }
    // Recorded by a release that did not keep the phase with the attempt.
    let mut old = execution("Failed", &["Failed"]);
    old["status"]["attempts"][0].as_object_mut().unwrap().remove("phase");
    assert_eq!(due(&read(old)), [1]);
}

/// What was recorded by a release that kept no phase with its attempts, and what an annotation may hold.
#[test]
fn an_event_of_an_old_record_claims_no_more_than_it_knows() {
    let mut old = execution("Executing", &["Retrying"]);
    old["status"]["attempts"][0].as_object_mut().unwrap().remove("phase");
    let event = event::of(&read(old.clone()), 1, &Origin::default());
    assert_eq!((event.phase.as_str(), event.r#final), ("Retrying", false));
    old["status"]["phase"] = json!("Completed");
    assert!(event::of(&read(old.clone()), 1, &Origin::default()).result.success);
    old["metadata"]["annotations"]["kubernetesexecution.kubernaut.io/traceparent"] =
        json!(format!("00-{}-x-01", "\u{1}".repeat(90_000)));
    old["spec"]["reason"] = json!("\u{1}".repeat(90_000));
    let event = event::of(&read(old), 1, &Origin::default());
    assert_eq!(event.trace_id, None);
    assert!(serde_json::to_string(&event).unwrap().len() <= contract::event::LARGEST);
}

/// With a patience of 60 s. `deleted`: seconds at which it was deleted.
fn next(states: &[(i32, i64, State, Option<i64>)], deleted: Option<i64>, room: bool, now: i64) -> Delivery {
    let mut one = read(execution("Completed", &["Retrying", "Completed"]));
    one.metadata.deletion_timestamp =
        deleted.map(|seconds| k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(seconds)));
    let known = states.iter().cloned().map(|(attempt, since, state, refused)| {
        let refused = refused.map(|since| (at(since), "no".to_owned()));
        (attempt, Known { state, refused, ..Known::new(at(since)) })
    });
    delivery(&one, Some(&known.collect()), room, Duration::from_mins(1), at(now))
}

#[test]
fn what_is_done_next() {
    use Delivery::{Done, Offer, Outstanding, Spool};
    use State::{Failing, Kept, Ready, Sending, Waiting};
    let until = |seconds| Outstanding(Some(at(seconds)));
    let kept = (1, 0, Kept, None);
    let two = |state: State| [kept.clone(), (2, 0, state, None)];
    let refused = |since, again| [kept.clone(), (2, 0, Failing(at(again)), Some(since))];
    let table = [
        ("nothing is known", next(&[], None, true, 0), Offer(1)),
        ("one is kept", next(std::slice::from_ref(&kept), None, true, 0), Offer(2)),
        ("both are", next(&two(Kept), None, true, 0), Done),
        ("one is on its way, the other one need not wait", next(&[(1, 0, Sending, None)], None, true, 0), Offer(2)),
        ("on its way", next(&two(Sending), None, true, 999), Outstanding(None)),
        ("it waits for a slot", next(&two(Waiting), None, true, 999), Outstanding(None)),
        ("its turn has come", next(&two(Ready), None, true, 0), Offer(2)),
        ("it failed", next(&two(Failing(at(5))), None, true, 4), until(5)),
        ("and is sent again", next(&two(Failing(at(5))), None, true, 5), Offer(2)),
        ("an hour later: nobody is in a hurry", next(&two(Failing(at(3700))), None, true, 3600), until(3700)),
        ("deleted: it is waited for", next(&two(Failing(at(99))), Some(10), true, 69), until(70)),
        ("not for ever", next(&two(Failing(at(99))), Some(10), true, 70), Spool(2)),
        ("also where it never was sent", next(&two(Waiting), Some(10), true, 70), Spool(2)),
        ("its answer first", next(&two(Sending), Some(10), true, 70), Outstanding(None)),
        ("the spool is full: it is held again", next(&two(Failing(at(99))), Some(10), false, 70), until(99)),
        ("and looked at again: somebody may make room", next(&two(Waiting), Some(10), false, 70), until(130)),
        ("deleted long before its end", next(&[kept.clone(), (2, 50, Waiting, None)], Some(10), true, 109), until(110)),
        ("refused for good: the store may be wrong", next(&refused(10, 25), None, true, 20), until(25)),
        ("it is asked again", next(&refused(10, 25), None, true, 25), Offer(2)),
        ("for a minute", next(&refused(10, 75), None, true, 70), Spool(2)),
        (
            "the earlier one first",
            next(&[(1, 0, Failing(at(9)), Some(0)), (2, 0, Waiting, None)], None, true, 60),
            Spool(1),
        ),
    ];
    for (known, has, expected) in table {
        assert_eq!(has, expected, "{known}");
    }
}

#[test]
fn an_event_says_what_its_attempt_came_to() {
    let origin = Origin { cluster: Some("west".to_owned()), created_by_is_stamped: true };
    let mut both = execution("Failed", &["Retrying", "Failed"]);
    let (first, last) = (event::of(&read(both.clone()), 1, &origin), event::of(&read(both.clone()), 2, &origin));
    assert_eq!((first.id.as_str(), first.r#final, first.phase.as_str()), ("u/1", false, "Retrying"));
    assert_eq!((last.id.as_str(), last.r#final, last.phase.as_str(), last.retry_count), ("u/2", true, "Failed", 1));
    // Of an earlier attempt the status keeps the beginning of the sentence.
    assert_eq!((first.result.error.as_str(), last.result.error.as_str()), ("short 0", "the whole sentence"));
    assert_eq!(last.result.duration, 2_000_000_000);
    let info = last.job_info.unwrap();
    assert_eq!((info.exit_code, info.resource_usage.unwrap().cpu_millicores), (Some(7), 10));
    assert_eq!((last.requested_by.as_deref(), last.cluster.as_deref()), (Some("alice"), Some("west")));
    assert_eq!(last.trace_id.as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
    assert_eq!((last.workflow.as_deref(), last.step_index), (Some("w"), Some(1)));
    assert_eq!(last.workflow_namespace.as_deref(), Some("shop"));
    assert_eq!(last.target.namespace.as_deref(), Some("shop"));
    assert_eq!(last.parameters.unwrap()["replicas"], 3);
    assert!(!last.reason.unwrap().contains("abcdefgh"));
    // Whoever may create an execution can write that annotation.
    assert_eq!(event::of(&read(both.clone()), 2, &Origin::default()).requested_by, None);
    let envelope = event::envelope(&first);
    assert_eq!(envelope.source, "/clusters/west/namespaces/shop/kubernetesexecutions/up");
    // Ended between two attempts.
    both["status"]["phase"] = json!("Cancelled");
    let none = event::of(&read(both), 0, &origin);
    assert_eq!((none.attempt, none.phase.as_str(), none.result.error.as_str()), (0, "Cancelled", "it was cancelled"));
    assert!(none.job_info.is_none() && none.r#final && !none.result.success);
}

/// PostgreSQL stores no NUL: an event that holds one would be refused for good, whatever the action did.
#[test]
fn whoever_asks_cannot_write_what_no_store_takes() {
    let mut odd = execution("Completed", &["Completed"]);
    odd["spec"]["reason"] = json!("a\0b");
    odd["spec"]["workflowExecutionRef"] = json!({ "name": "w\0" });
    odd["spec"]["action"]["parameters"] = json!({ "x\0": ["y\0", 1] });
    odd["status"]["result"]["output"] = json!("literally \\u0000");
    let body = event::envelope(&event::of(&read(odd), 1, &Origin::default())).body;
    let sent: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&sent["reason"], &sent["workflow"]), (&json!("a\u{fffd}b"), &json!("w\u{fffd}")));
    assert_eq!(sent["parameters"], json!({ "x\u{fffd}": ["y\u{fffd}", 1] }));
    assert_eq!(sent["result"]["output"], json!("literally \\u0000"));
    assert!(body.starts_with("{\"eventType\""), "{body}");
}

#[test]
fn an_event_has_a_limit_and_says_what_it_left_out() {
    let mut long = execution("Failed", &["Failed"]);
    long["spec"]["action"]["parameters"] = json!({ "x": "y".repeat(90 << 10) });
    long["status"]["result"]["error"] = json!("z".repeat(70 << 10));
    let event = event::of(&read(long), 1, &Origin::default());
    let size = serde_json::to_string(&event).unwrap().len();
    assert!(size <= contract::event::LARGEST, "{size}");
    assert_eq!(event.trimmed, ["parameters", "result"]);
}

/// An event that is never taken, among others that are, is sent ever more seldom; and many of them hold up none that is well.
#[test]
fn one_that_fails_alone_is_sent_ever_more_seldom() {
    use super::pace::{Pace, of_one};
    assert_eq!([0, 1, 2, 5, 9, 10, 40].map(|failures| of_one(failures).as_secs()), [1, 1, 2, 16, 256, 300, 300]);
    let mut pace = Pace::default();
    assert!(pace.is_well() && pace.free(at(0)) == 8);
    assert_eq!(pace.after_answer(Some(Duration::ZERO), at(0)), at(1));
    assert!(!pace.is_well() && pace.free(at(0)) == 8, "it is not broken by one");
    assert_eq!(pace.after_answer(Some(Duration::ZERO), at(0)), at(2));
    assert_eq!(pace.after_answer(Some(Duration::from_secs(30)), at(0)), at(30));
    assert!(pace.is_broken() && pace.free(at(29)) == 0 && pace.free(at(30)) == 1);
    pace.after_answer(None, at(30));
    assert!(pace.is_well() && pace.free(at(30)) == 8);
}
