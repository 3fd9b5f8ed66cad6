//! What the second judge asks of a wait that ended without its effect: each result is one that somebody may write.

use rstest::rstest;
use serde_json::{Value, json};

use super::tale::{Tale, fails, leaving, marked, owned_by, pod, replica_set, unready, with, workload};
use crate::recorder::Kind;
use crate::verdict::{Named, Stands, Verdict};

const WORDS: &str = "0/3 nodes are available: 3 Insufficient cpu. no new claims";

/// The Deployment's second template is written, and its pod `d` waits for a node.
fn tale() -> Tale {
    let mut tale = Tale::new();
    tale.put(Kind::Deployment, workload("Deployment", 1, 1, 1)).put(Kind::ReplicaSet, replica_set(1));
    tale.put(Kind::Pod, pod("a", 1)).at(10.0).begins();
    tale.at(11.0).put(Kind::Deployment, marked(workload("Deployment", 1, 2, 2), "the-id"));
    tale.put(Kind::ReplicaSet, replica_set(2)).put(Kind::Pod, stuck());
    tale.at(20.0);
    tale
}

fn stuck() -> Value {
    let condition = json!({ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": WORDS });
    with(unready(pod("d", 2)), json!({ "status": { "conditions": [condition] } }))
}

fn target() -> Value {
    with(
        workload("Deployment", 1, 2, 2),
        json!({ "kind": "Deployment", "status": { "conditions": [
            { "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: small" } ] } }),
    )
}

fn event() -> Value {
    json!({ "reason": "FailedScheduling", "note": WORDS })
}

fn stands(object: Value) -> Stands {
    Stands {
        target: target(),
        named: vec![Named { object, node: Value::Null, events: vec![event()] }],
        ..Stands::default()
    }
}

/// What an honest run says.
fn says(obstacle: Value) -> Value {
    let obstacle = with(
        json!({
            "object": { "apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "d", "uid": "d" },
            "state": "Unschedulable", "since": "2026-01-01T00:00:11Z", "words": WORDS,
            "events": [{ "reason": "FailedScheduling", "message": "0/3 nodes are…", "count": 2 }],
        }),
        obstacle,
    );
    let of = |field: &str| obstacle[field].as_str().unwrap_or_default().to_owned();
    let error = format!(
        "deployment shop/deployment: pod {} {} since 00:00:11: {}",
        obstacle["object"]["name"],
        of("state"),
        of("words")
    );
    let more = json!({ "error": error.replace('"', ""), "endTime": "2026-01-01T00:00:20Z", "details": { "obstacles": [obstacle] } });
    with(fails("restart-deployment", "Deployment", "deployment", json!({})), more)
}

fn itself(words: &str, unread: &[&str]) -> Value {
    let object = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "deployment", "uid": "deployment" });
    json!({ "object": object, "words": words, "state": "FailedCreate", "events": null, "unread": unread })
}

fn judged(tale: &mut Tale, result: Value, stands: Stands) -> Verdict {
    tale.stands(stands).judged(result, 20.0)
}

#[rstest]
#[case::honest(json!({}), "")]
#[case::cut(json!({ "words": "0/3 nodes are available: 3 Ins…", "events": null }), "")]
#[case::cut_in_the_middle(json!({ "words": "0/3 nodes … no new claims" }), "")]
#[case::something_is_hidden(json!({ "words": "0/3 nodes are [hidden]: 3 Insufficient [REDACTED]. no" }), "")]
#[case::another_order(json!({ "words": "no new claims … 0/3 nodes" }), "its words stand nowhere")]
#[case::its_own_words(json!({ "words": "the pod cannot be scheduled" }), "its words stand nowhere")]
#[case::nothing_but_cuts(json!({ "words": "…" }), "its words stand nowhere")]
#[case::a_letter(json!({ "words": "a" }), "its words stand nowhere")]
#[case::no_words(json!({ "words": "" }), "its words stand nowhere")]
#[case::no_words_although_there_are_some(json!({ "words": "", "unread": ["events"] }), "its words stand nowhere")]
#[case::another_pod(json!({ "object": { "uid": "z" } }), "there is no such object")]
#[case::no_uid(json!({ "object": { "uid": "" } }), "there is no such object")]
#[case::no_kind(json!({ "object": { "kind": "" } }), "it has no kind")]
#[case::no_name(json!({ "object": { "uid": "", "name": "" } }), "there is no such object")]
#[case::no_state(json!({ "state": "" }), "it has no state")]
#[case::since_never(json!({ "since": null }), "it does not say since when")]
#[case::since_tomorrow(json!({ "since": "2026-01-02T00:00:00Z" }), "which is to come")]
#[case::on_another_node(json!({ "node": "n2" }), "it is not on n2")]
#[case::no_such_event(json!({ "events": [{ "reason": "FailedMount", "message": "0/3 nodes" }] }), "there is no such event")]
#[case::an_event_says_something_else(json!({ "events": [{ "reason": "FailedScheduling", "message": "no room" }] }), "there is no such event")]
#[case::the_target(itself("0/3 nodes are available", &["events"]), "it is the target itself")]
#[case::the_target_by_its_own_condition(itself("exceeded quota: small", &[]), "")]
#[case::the_target_for_want_of_events(itself("deployment", &["events"]), "it is the target itself")]
fn of_one_that_is_named(#[case] obstacle: Value, #[case] finds: &str) {
    let object = with(stuck(), json!({ "spec": { "nodeName": "n1" } }));
    let object = if obstacle["object"]["kind"] == "Deployment" { target() } else { object };
    let stands = stands(object);
    let stands =
        if obstacle["object"]["kind"] == "Deployment" { Stands { target: target(), ..stands } } else { stands };
    let verdict = judged(&mut tale(), says(obstacle), stands);
    assert_eq!(verdict.unsaid.is_empty(), finds.is_empty(), "{verdict:#?}");
    assert!(verdict.unsaid.iter().all(|why| why.contains(finds)), "{verdict:#?}");
    assert_eq!(verdict.check(true).is_err(), !finds.is_empty());
}

/// A quota that the account may not read has no UID in the result; the words name it, and it is there. So with a pod that could
/// not be made: that it is missing is so.
#[rstest]
#[case::a_quota("ResourceQuota", "small", json!({ "metadata": { "uid": "q" } }), "")]
#[case::no_such_quota("ResourceQuota", "small", Value::Null, "there is no such object")]
#[case::another_quota("ResourceQuota", "large", json!({ "metadata": { "uid": "q" } }), "there is no such object")]
#[case::a_pod("Pod", "d-2", Value::Null, "")]
#[case::a_pod_that_is_there("Pod", "d-2", stuck(), "there is no such object")]
fn of_one_without_a_uid(#[case] kind: &str, #[case] name: &str, #[case] object: Value, #[case] finds: &str) {
    let obstacle = json!({ "object": { "kind": kind, "name": name, "uid": null }, "words": "exceeded quota: small", "events": null });
    let verdict = judged(&mut tale(), says(obstacle), stands(object));
    assert_eq!(verdict.unsaid.is_empty(), finds.is_empty(), "{verdict:#?}");
    assert!(verdict.unsaid.iter().all(|why| why.contains(finds)), "{verdict:#?}");
}

/// The words of what a controller has deleted since stand in the record.
#[test]
fn what_is_gone_at_once_was_there() {
    let mut tale = tale();
    tale.gone("d");
    let gone = Stands {
        target: target(),
        named: vec![Named { events: vec![event()], ..Named::default() }],
        ..Stands::default()
    };
    assert!(judged(&mut tale, says(json!({})), gone.clone()).unsaid.is_empty());
    let mut long_ago = self::tale();
    long_ago.gone("d").at(30.0);
    let verdict = long_ago.stands(gone).judged(says(json!({})), 30.0);
    assert!(verdict.unsaid.iter().any(|why| why.contains("there is no such object")), "{verdict:#?}");
}

#[rstest]
#[case::nothing(json!({ "details": null }), "names nothing")]
#[case::an_empty_list(json!({ "details": { "obstacles": [] } }), "names nothing")]
#[case::another_name(json!({ "error": "deployment shop/web: pod web-1 Unschedulable since 00:00:11: 0/3 nodes are available:" }), "does not name pod d")]
#[case::no_state(json!({ "error": "pod d since 00:00:11: 0/3 nodes are available: 3 Insu" }), "does not say the state")]
#[case::no_words(json!({ "error": "pod d Unschedulable since 00:00:11" }), "does not quote")]
fn of_the_sentence(#[case] change: Value, #[case] finds: &str) {
    let verdict = judged(&mut tale(), with(says(json!({})), change), stands(stuck()));
    assert!(verdict.unsaid.iter().any(|why| why.contains(finds)), "{verdict:#?}");
}

/// Nothing that can be read says why: the result says what would tell more, and no pod shows that something is wrong.
#[test]
fn when_nothing_speaks_the_target_may_be_named() {
    let stands = || Stands { target: with(target(), json!({ "status": { "conditions": null } })), ..stands(target()) };
    let quiet = || Stands {
        named: vec![Named { object: json!({ "metadata": { "uid": "deployment" } }), ..Named::default() }],
        ..stands()
    };
    let mut tale = tale();
    tale.gone("d").gone("a");
    assert!(judged(&mut tale, says(itself("", &["events"])), quiet()).unsaid.is_empty());
    let unread = judged(&mut tale, says(itself("", &[])), quiet());
    assert!(!unread.unsaid.is_empty(), "it does not say what would tell more");
    let pod = judged(&mut self::tale(), says(itself("", &["events"])), quiet());
    assert!(pod.unsaid.iter().any(|why| why.contains("it is the target itself")), "{pod:#?}");
}

#[rstest]
#[case::said("deployment shop/deployment: its controller has not observed generation 2 for 9 s", true)]
#[case::not_said("waitTimeout is over", false)]
fn a_silent_controller_is_the_exception(#[case] error: &str, #[case] fine: bool) {
    let silent = with(target(), json!({ "status": { "observedGeneration": 1 } }));
    let stands = Stands { target: silent, ..Stands::default() };
    let result = with(says(json!({})), json!({ "error": error, "details": null }));
    assert_eq!(judged(&mut tale(), result, stands).unsaid.is_empty(), fine);
}

/// Who has undone what was waited for has ended the wait, and is told in other words.
#[rstest]
#[case::the_template(workload("Deployment", 1, 3, 1))]
#[case::paused(with(workload("Deployment", 1, 3, 2), json!({ "spec": { "paused": true } })))]
#[case::going(leaving(workload("Deployment", 1, 2, 2)))]
#[case::a_partition(with(workload("Deployment", 1, 3, 2), json!({ "spec": { "updateStrategy": { "rollingUpdate": { "partition": 1 } } } })))]
fn what_others_have_undone_is_no_wait(#[case] now: Value) {
    let mut tale = tale();
    tale.put(Kind::Deployment, now);
    let result = with(says(json!({})), json!({ "details": null, "error": "someone else changed it" }));
    assert!(judged(&mut tale, result, stands(stuck())).unsaid.is_empty());
}

#[rstest]
#[case::not_waited(json!({ "parameters": { "wait": false } }))]
#[case::of_a_postcondition(json!({ "failedPhase": "postconditions" }))]
#[case::of_the_deadline(json!({ "code": "DeadlineExceeded" }))]
fn what_is_no_wait(#[case] change: Value) {
    let result = with(with(says(json!({})), json!({ "details": null, "error": "x" })), change);
    assert!(judged(&mut tale(), result, stands(stuck())).unsaid.is_empty());
}

/// The evicted pod is held by a finalizer, and nothing else says so.
#[rstest]
#[case::held(&["example.com/keep"], "example.com/keep", "")]
#[case::by_something_else(&["example.com/keep"], "example.com/other", "its words stand nowhere")]
fn a_pod_that_cannot_go_may_be_named_itself(#[case] held: &[&str], #[case] words: &str, #[case] finds: &str) {
    let mut tale = Tale::new();
    let set = with(replica_set(1), json!({ "metadata": { "ownerReferences": null } }));
    let target = with(
        leaving(owned_by(pod("a", 1), "ReplicaSet", "rs-1")),
        json!({ "kind": "Pod", "metadata": { "finalizers": held } }),
    );
    tale.put(Kind::ReplicaSet, set).put(Kind::Pod, owned_by(pod("a", 1), "ReplicaSet", "rs-1")).at(10.0).begins();
    tale.put(Kind::Pod, target.clone()).at(20.0);
    let obstacle =
        json!({ "object": { "name": "a", "uid": "a" }, "state": "Terminating", "words": words, "events": null });
    let result = says(obstacle);
    let result = with(
        fails("restart-pod", "Pod", "a", json!({})),
        json!({
        "error": result["error"], "details": result["details"], "endTime": result["endTime"] }),
    );
    let stands = Stands {
        target: target.clone(),
        named: vec![Named { object: target, ..Named::default() }],
        ..Stands::default()
    };
    let verdict = judged(&mut tale, result, stands);
    assert_eq!(verdict.unsaid.is_empty(), finds.is_empty(), "{verdict:#?}");
    assert!(verdict.unsaid.iter().all(|why| why.contains(finds)), "{verdict:#?}");
}
