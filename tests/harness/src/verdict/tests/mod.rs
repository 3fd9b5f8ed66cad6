//! The second judge's specification: what it finds, and what it lets pass. The numbers are those of the review that asked
//! for it.

mod cause;
mod tale;

use rstest::rstest;
use serde_json::{Value, json};

use super::Verdict;
use crate::recorder::Kind;
use tale::{
    Tale, bare, failed, fails, leaving, marked, member, owned_by, pod, pods, replica_set, revision, says, unready,
    with, workload,
};

/// What must come of it.
enum Finds {
    Nothing,
    Lie(&'static str),
    WrongFailure,
    Explained(&'static str),
    Skips(&'static str),
}
use Finds::{Explained, Lie, Nothing, Skips, WrongFailure};

fn compare(verdict: &Verdict, expected: &Finds) {
    let found = format!("{verdict:#?}");
    let (lie, failure, explained, skipped) = match expected {
        Nothing => ("", false, "", ""),
        Lie(why) => (*why, false, "", ""),
        WrongFailure => ("", true, "", ""),
        Explained(why) => ("", false, *why, ""),
        Skips(why) => ("", false, "", *why),
    };
    let fits =
        |all: &[String], one: &str| all.is_empty() == one.is_empty() && all.iter().all(|text| text.contains(one));
    assert!(fits(&verdict.lies, lie), "{found}");
    assert_eq!(verdict.wrong_failures.is_empty(), !failure, "{found}");
    assert!(fits(&verdict.explained, explained), "{found}");
    assert!(fits(&verdict.skipped, skipped), "{found}");
    let bad = !matches!(expected, Nothing | Skips(_));
    assert_eq!(verdict.check(false).is_err(), bad, "{found}");
    assert_eq!(verdict.check(true).is_err(), bad && !matches!(expected, Explained(_)), "{found}");
}

/// A Deployment with three pods (a, b, c) of its first template, before a run begins at 10 s.
fn deployment() -> Tale {
    let mut tale = Tale::new();
    tale.put(Kind::Deployment, workload("Deployment", 3, 1, 1)).put(Kind::ReplicaSet, replica_set(1));
    for name in ["a", "b", "c"] {
        tale.put(Kind::Pod, pod(name, 1));
    }
    tale.at(10.0).begins();
    tale
}

/// The run writes the second template, and three pods (d, e, f) of it come.
fn rolled(tale: &mut Tale) -> &mut Tale {
    tale.at(11.0).put(Kind::Deployment, marked(workload("Deployment", 3, 2, 2), "the-id"));
    tale.put(Kind::ReplicaSet, replica_set(2));
    for name in ["d", "e", "f"] {
        tale.put(Kind::Pod, pod(name, 2));
    }
    tale
}

fn old_ones_go(tale: &mut Tale) -> &mut Tale {
    tale.gone("a").gone("b").gone("c")
}

fn restarted() -> Value {
    says("restart-deployment", "Deployment", "deployment", json!({ "pods": pods(3) }))
}

fn resumed(mut result: Value) -> Value {
    result["code"] = json!("Unchanged");
    result["effect"] = json!("none");
    result["resumed"] = json!(true);
    result
}

#[rstest]
#[case::done(|t: &mut Tale| { old_ones_go(rolled(t)).looks(); }, restarted(), Nothing)]
#[case::n3_an_old_pod_terminates(
    |t: &mut Tale| { rolled(t).gone("a").gone("b").put(Kind::Pod, leaving(pod("c", 1))).looks(); }, restarted(), Lie("pod c is terminating still"))]
#[case::n3_which_may_be_ignored(
    |t: &mut Tale| { rolled(t).gone("a").gone("b").put(Kind::Pod, leaving(pod("c", 1))).looks(); },
    with(restarted(), json!({ "parameters": { "terminating": "ignore" } })), Nothing)]
#[case::an_old_pod_is_there(|t: &mut Tale| { rolled(t).gone("a").gone("b").looks(); }, restarted(), Lie("pod c was there before"))]
#[case::an_old_pod_ran_to_its_end(
    |t: &mut Tale| { rolled(t).gone("a").gone("b").put(Kind::Pod, failed(pod("c", 1))).looks(); }, restarted(), Nothing)]
#[case::too_few(|t: &mut Tale| { old_ones_go(rolled(t)).gone("d").looks(); }, restarted(), Lie("has 2 pods of the revision"))]
#[case::one_is_not_ready(
    |t: &mut Tale| { old_ones_go(rolled(t)).put(Kind::Pod, unready(pod("d", 2))).looks(); }, restarted(), Lie("pod d is not ready"))]
#[case::of_another_revision(
    |t: &mut Tale| { old_ones_go(rolled(t)).gone("d").put(Kind::Pod, pod("x", 1)).looks(); }, restarted(), Lie("pod x is not of the revision"))]
#[case::foreign_pods_with_the_same_labels_do_not_count(
    |t: &mut Tale| { old_ones_go(rolled(t)).put(Kind::Pod, owned_by(pod("x", 1), "ReplicaSet", "other")).looks(); }, restarted(), Nothing)]
#[case::a_pod_that_was_released_is_nobodys(
    |t: &mut Tale| {
        rolled(t).gone("a").gone("b").put(Kind::Pod, with(pod("c", 1), json!({ "metadata": { "ownerReferences": null } }))).looks();
    }, restarted(), Nothing)]
#[case::n9_the_template_changed_while_it_waited(
    |t: &mut Tale| { old_ones_go(rolled(t)).put(Kind::Deployment, marked(workload("Deployment", 3, 3, 4), "the-id")).looks(); }, restarted(),
    Lie("does not have the template that was written"))]
#[case::n9_paused_while_it_waited(
    |t: &mut Tale| { old_ones_go(rolled(t)).put(Kind::Deployment, with(workload("Deployment", 3, 3, 2), json!({ "spec": { "paused": true } }))).looks(); },
    restarted(), Lie("is paused"))]
#[case::scaled_while_it_waited(
    |t: &mut Tale| { old_ones_go(rolled(t)).put(Kind::Deployment, workload("Deployment", 2, 3, 2)).put(Kind::Pod, leaving(pod("f", 2))).looks(); },
    with(restarted(), json!({ "details": { "pods": { "new": 2 } } })), Nothing)]
#[case::n21_on_its_way_out(
    |t: &mut Tale| { old_ones_go(rolled(t)).put(Kind::Deployment, leaving(workload("Deployment", 3, 2, 2))).looks(); }, restarted(),
    Lie("deployment deployment is being deleted"))]
#[case::its_controller_has_not_seen_it(
    |t: &mut Tale| { old_ones_go(rolled(t)).put(Kind::Deployment, with(workload("Deployment", 3, 3, 2), json!({ "status": { "observedGeneration": 2 } }))).looks(); },
    restarted(), Lie("its controller has not seen it"))]
#[case::looked_before_the_write(|t: &mut Tale| { t.looks(); old_ones_go(rolled(t)); }, restarted(), Lie("does not have the template that was written"))]
#[case::does_not_say_where_it_looked(
    |t: &mut Tale| { old_ones_go(rolled(t)).looks(); }, with(restarted(), json!({ "details": { "verifiedAt": { "deployments": "9" } } })),
    Lie("does not say where pods were looked at last"))]
#[case::counts_wrongly(
    |t: &mut Tale| { old_ones_go(rolled(t)).looks(); }, with(restarted(), json!({ "details": { "pods": { "new": 2 } } })),
    Lie("details.pods.new is 2, and there are 3"))]
#[case::says_itself_that_one_terminates(
    |t: &mut Tale| { old_ones_go(rolled(t)).looks(); }, with(restarted(), json!({ "details": { "pods": { "terminating": 1 } } })),
    Lie("details.pods.terminating is 1"))]
#[case::contradicted_long_before_the_end(
    |t: &mut Tale| { old_ones_go(rolled(t)).looks().at(17.0).put(Kind::Pod, unready(pod("d", 2))); }, restarted(), Lie("pod d is not ready"))]
#[case::contradicted_in_its_last_second(
    |t: &mut Tale| { old_ones_go(rolled(t)).looks().at(19.5).put(Kind::Pod, unready(pod("d", 2))); }, restarted(), Explained("pod d is not ready"))]
#[case::contradicted_after_it(
    |t: &mut Tale| { old_ones_go(rolled(t)).looks().at(20.1).put(Kind::Pod, leaving(pod("d", 2))).gone("d"); }, restarted(), Explained("has 2 pods"))]
#[case::a_pod_that_vanishes_after_it(
    |t: &mut Tale| { old_ones_go(rolled(t)).looks().at(20.1).gone("d"); }, restarted(), Skips("vanished without having been terminating"))]
#[case::the_wait_was_not_asked_for(
    |t: &mut Tale| { rolled(t).looks(); }, with(says("restart-deployment", "Deployment", "deployment", json!({})), json!({ "parameters": { "wait": false } })), Nothing)]
#[case::not_waited_for_and_gone_again(
    |t: &mut Tale| { rolled(t).at(17.0).put(Kind::Deployment, workload("Deployment", 3, 3, 1)); },
    with(restarted(), json!({ "parameters": { "wait": false } })), Lie("in the end: deployment deployment does not have the template"))]
#[case::in_a_gap_of_the_record_nobody_is_accused(
    |t: &mut Tale| { rolled(t).gap(&[pod("d", 2), pod("e", 2), pod("f", 2)]); }, restarted(), Nothing)]
#[case::wrong_failure(|t: &mut Tale| { old_ones_go(rolled(t)); }, fails("restart-deployment", "Deployment", "deployment", json!({})), WrongFailure)]
#[case::it_stood_for_four_seconds_only(
    |t: &mut Tale| { old_ones_go(rolled(t)); t.at(15.0).put(Kind::Pod, unready(pod("d", 2))).at(16.0).put(Kind::Pod, pod("d", 2)); },
    fails("restart-deployment", "Deployment", "deployment", json!({})), Nothing)]
#[case::right_failure(|t: &mut Tale| { rolled(t); }, fails("restart-deployment", "Deployment", "deployment", json!({})), Nothing)]
#[case::a_postcondition_failed(
    |t: &mut Tale| { old_ones_go(rolled(t)); },
    with(fails("restart-deployment", "Deployment", "deployment", json!({})), json!({ "failedPhase": "postconditions" })), Nothing)]
fn a_restart_of_a_deployment(#[case] happens: fn(&mut Tale), #[case] result: Value, #[case] expected: Finds) {
    let mut tale = deployment();
    happens(&mut tale);
    compare(&tale.judged(result, 20.0), &expected);
}

#[rstest]
#[case::n8_undone_and_said_to_be_so_still(
    |t: &mut Tale| { old_ones_go(rolled(t)).at(15.0).put(Kind::Deployment, workload("Deployment", 3, 3, 1)).at(18.0).begins().looks(); },
    resumed(restarted()), Lie("does not have the template that was written"))]
#[case::finished_by_the_second_run(
    |t: &mut Tale| { rolled(t).at(15.0).begins(); old_ones_go(t).looks(); }, resumed(restarted()), Nothing)]
#[case::pods_of_before_are_those_before_the_first_run(
    |t: &mut Tale| { rolled(t).gone("a").gone("b").at(15.0).begins().looks(); }, resumed(restarted()), Lie("pod c was there before"))]
#[case::deadline_exceeded_though_it_stood(
    |t: &mut Tale| { rolled(t).at(13.0).begins(); old_ones_go(t); },
    with(resumed(fails("restart-deployment", "Deployment", "deployment", json!({}))), json!({ "code": "DeadlineExceeded", "failedPhase": "verify" })),
    WrongFailure)]
#[case::a_mark_that_nobody_wrote(
    |t: &mut Tale| { t.looks(); }, resumed(restarted()), Lie("no run of this execution has written a template"))]
fn a_second_run_of_the_same_id(#[case] happens: fn(&mut Tale), #[case] result: Value, #[case] expected: Finds) {
    let mut tale = deployment();
    happens(&mut tale);
    compare(&tale.judged(result, 20.0), &expected);
}

/// A set of three members on its first template, at most two of them in reach, before a run begins at 10 s.
fn set(spec: Value) -> Tale {
    let mut tale = Tale::new();
    tale.put(Kind::StatefulSet, with(workload("StatefulSet", 3, 1, 1), json!({ "spec": spec })));
    tale.put(Kind::ControllerRevision, revision("StatefulSet", 1))
        .put(Kind::ControllerRevision, revision("StatefulSet", 2));
    tale
}

fn members(tale: &mut Tale, members: &[(&str, &str, u64)]) {
    for (uid, name, revision) in members {
        tale.put(Kind::Pod, member("StatefulSet", uid, name, *revision));
    }
}

fn partition(partition: u64) -> Value {
    json!({ "updateStrategy": { "rollingUpdate": { "partition": partition } } })
}

fn write(tale: &mut Tale, spec: Value, generation: i64, template: u64) {
    let set = with(workload("StatefulSet", 3, generation, template), json!({ "spec": spec }));
    tale.at(11.0).put(Kind::StatefulSet, marked(set, "the-id"));
}

fn rolled_back(new: u64) -> Value {
    let details = json!({ "pods": pods(new), "toRevision": { "name": "revision-1", "number": 1 } });
    says("rollback-statefulset", "StatefulSet", "statefulset", details)
}

#[test]
fn n1_a_canary_that_stays_on_the_bad_revision() {
    let mut tale = set(partition(2));
    tale.put(Kind::StatefulSet, with(workload("StatefulSet", 3, 2, 2), json!({ "spec": partition(2) })));
    members(&mut tale, &[("0", "db-0", 1), ("1", "db-1", 1), ("2", "db-2", 2)]);
    tale.at(10.0).begins();
    write(&mut tale, partition(2), 3, 1);
    tale.looks();
    compare(&tale.judged(rolled_back(1), 20.0), &Lie("pod db-2 is not of the revision that was written"));
    tale.gone("2");
    members(&mut tale, &[("3", "db-2", 1)]);
    tale.looks();
    compare(&tale.judged(rolled_back(1), 20.0), &Nothing);
    compare(&tale.judged(rolled_back(3), 20.0), &Lie("details.pods.new is 3, and there are 1"));
    let other = with(rolled_back(1), json!({ "details": { "toRevision": { "name": "revision-2" } } }));
    compare(&tale.judged(other, 20.0), &Lie("what was written is not the template of revision-2"));
}

fn set_restarted(new: u64) -> Value {
    says("restart-statefulset", "StatefulSet", "statefulset", json!({ "pods": pods(new) }))
}

#[rstest]
#[case::n2_nothing_is_in_reach(partition(3), &[], &[], set_restarted(0), Lie("no pod that a restart would reach"))]
#[case::below_the_partition_they_stay(partition(2), &["2"], &[("n2", "db-2", 2)], set_restarted(1), Nothing)]
#[case::above_it_they_do_not(partition(1), &["2"], &[("n2", "db-2", 2)], set_restarted(2), Lie("pod db-1 was there before"))]
#[case::n7_ordinals_that_begin_at_five(
    with(partition(1), json!({ "ordinals": { "start": 1 } })), &["2"], &[("n2", "db-2", 2), ("n3", "db-3", 2)], set_restarted(2), Nothing)]
#[case::all_are_new(json!({}), &["0", "1", "2"], &[("n0", "db-0", 2), ("n1", "db-1", 2), ("n2", "db-2", 2)], set_restarted(3), Nothing)]
#[case::n6_not_ready_for_long_enough(
    json!({ "minReadySeconds": 10 }), &["0", "1", "2"], &[("n0", "db-0", 2), ("n1", "db-1", 2), ("n2", "db-2", 2)], set_restarted(3),
    Lie("have not been ready for minReadySeconds"))]
#[case::on_delete(
    json!({ "updateStrategy": { "type": "OnDelete" } }), &[], &[], set_restarted(3), Lie("no pod that a restart would reach"))]
fn a_restart_of_a_set(
    #[case] spec: Value,
    #[case] go: &[&str],
    #[case] come: &[(&str, &str, u64)],
    #[case] result: Value,
    #[case] expected: Finds,
) {
    let mut tale = set(spec.clone());
    members(&mut tale, &[("0", "db-0", 1), ("1", "db-1", 1), ("2", "db-2", 1)]);
    tale.at(10.0).begins();
    write(&mut tale, spec, 2, 2);
    tale.at(15.0);
    for uid in go {
        tale.gone(uid);
    }
    members(&mut tale, come);
    tale.looks();
    compare(&tale.judged(result, 20.0), &expected);
}

#[test]
fn n4_a_parallel_set_whose_old_members_terminate() {
    let mut tale = set(json!({}));
    members(&mut tale, &[("0", "db-0", 1), ("1", "db-1", 1), ("2", "db-2", 1)]);
    tale.at(10.0).begins();
    write(&mut tale, json!({}), 2, 2);
    tale.gone("2");
    members(&mut tale, &[("n2", "db-2", 2)]);
    tale.put(Kind::Pod, leaving(member("StatefulSet", "0", "db-0", 1)));
    tale.put(Kind::Pod, leaving(member("StatefulSet", "1", "db-1", 1))).looks();
    compare(&tale.judged(set_restarted(3), 20.0), &Lie("pod db-0 is terminating still"));
}

#[rstest]
#[case::one_on_each_node(&[("x", "n-1", 2), ("y", "n-2", 2), ("z", "n-3", 2)], Nothing)]
#[case::none_on_one(&[("x", "n-1", 2), ("y", "n-2", 2)], Lie("has 2 pods of the revision that was written, not 3"))]
#[case::two_on_one(&[("x", "n-1", 2), ("y", "n-2", 2), ("z", "n-2", 2)], Lie("two on a node"))]
#[case::an_old_one(&[("x", "n-1", 2), ("y", "n-2", 2), ("z", "n-3", 1)], Lie("is not of the revision"))]
fn a_restart_of_daemons(#[case] come: &[(&str, &str, u64)], #[case] expected: Finds) {
    let mut tale = Tale::new();
    tale.put(Kind::DaemonSet, workload("DaemonSet", 3, 1, 1)).at(10.0).begins();
    tale.put(Kind::DaemonSet, marked(workload("DaemonSet", 3, 2, 2), "the-id"));
    tale.put(Kind::ControllerRevision, revision("DaemonSet", 2));
    for (uid, node, revision) in come {
        tale.put(Kind::Pod, with(member("DaemonSet", uid, node, *revision), json!({ "metadata": { "name": uid } })));
    }
    tale.looks();
    let result = says("restart-daemonset", "DaemonSet", "daemonset", json!({ "pods": pods(3) }));
    compare(&tale.judged(result, 20.0), &expected);
}

fn scaled(replicas: i64, new: u64) -> Value {
    let details = json!({ "fromReplicas": 3, "toReplicas": replicas, "pods": pods(new) });
    with(
        says("scale-deployment", "Deployment", "deployment", details),
        json!({ "parameters": { "replicas": replicas } }),
    )
}

fn to(tale: &mut Tale, replicas: i64, spec: Value) -> &mut Tale {
    tale.at(11.0).put(Kind::Deployment, with(workload("Deployment", replicas, 2, 1), json!({ "spec": spec })))
}

fn paused() -> Value {
    json!({ "paused": true, "strategy": { "rollingUpdate": { "maxSurge": 1 } } })
}

/// Two pods, and one beyond them that is not ready.
fn broken_surge(named: &str) -> Value {
    let pods = json!({ "new": 2, "notReady": 1, "notAsAsked": [{ "name": named, "why": "notReady" }] });
    with(scaled(2, 2), json!({ "details": { "surgeReplicas": 1, "pods": pods } }))
}

#[rstest]
#[case::up(|t: &mut Tale| { to(t, 4, json!({})).put(Kind::Pod, pod("d", 1)).looks(); }, scaled(4, 4), Nothing)]
#[case::n3_to_zero_while_containers_run(
    |t: &mut Tale| { to(t, 0, json!({})).gone("a").gone("b").put(Kind::Pod, leaving(pod("c", 1))).looks(); }, scaled(0, 0), Lie("pod c is terminating still"))]
#[case::n3_which_may_be_ignored(
    |t: &mut Tale| { to(t, 0, json!({})).gone("a").gone("b").put(Kind::Pod, leaving(pod("c", 1))).looks(); },
    with(scaled(0, 0), json!({ "parameters": { "terminating": "ignore" } })), Nothing)]
#[case::to_zero(|t: &mut Tale| { old_ones_go(to(t, 0, json!({}))).looks(); }, scaled(0, 0), Nothing)]
#[case::a_failed_pod_stays(|t: &mut Tale| { to(t, 2, json!({})).gone("a").put(Kind::Pod, pod("x", 1)).put(Kind::Pod, failed(pod("x", 1))).looks(); }, scaled(2, 2), Nothing)]
#[case::one_too_many(|t: &mut Tale| { to(t, 2, json!({})).looks(); }, scaled(2, 2), Lie("has 3 pods, not 2"))]
#[case::another_number_now(|t: &mut Tale| { to(t, 4, json!({})).looks(); }, scaled(5, 3), Lie("has spec.replicas 4, not 5"))]
#[case::another_number_than_asked_for(
    |t: &mut Tale| { to(t, 3, json!({})).looks(); }, with(scaled(3, 3), json!({ "parameters": { "replicas": 4 } })), Lie("4"))]
#[case::not_seen_by_its_controller(
    |t: &mut Tale| { to(t, 3, json!({})).put(Kind::Deployment, with(workload("Deployment", 3, 3, 1), json!({ "status": { "observedGeneration": 2 } }))).looks(); },
    scaled(3, 3), Lie("its controller has not seen it"))]
#[case::n5_paused_with_its_surge(
    |t: &mut Tale| { to(t, 2, paused()).looks(); }, with(scaled(2, 3), json!({ "details": { "surgeReplicas": 1 } })), Nothing)]
#[case::n5_paused_with_its_surge_that_nobody_is_told_of(
    |t: &mut Tale| { to(t, 2, paused()).looks(); }, scaled(2, 3), Lie("details.surgeReplicas is 0, and there are 1"))]
#[case::n5_paused_with_more_than_its_surge(
    |t: &mut Tale| { to(t, 2, paused()).put(Kind::Pod, pod("d", 1)).looks(); }, with(scaled(2, 4), json!({ "details": { "surgeReplicas": 2 } })), Lie("has 4 pods, not 2"))]
#[case::n5_paused_with_a_surge_that_is_broken(
    |t: &mut Tale| { to(t, 2, paused()).put(Kind::Pod, unready(pod("c", 1))).looks(); }, broken_surge("c"), Nothing)]
#[case::n5_paused_with_a_broken_surge_that_is_not_named(
    |t: &mut Tale| { to(t, 2, paused()).put(Kind::Pod, unready(pod("c", 1))).looks(); }, broken_surge("b"), Lie("does not name pod c"))]
#[case::n5_paused_with_too_few_that_are_ready(
    |t: &mut Tale| { to(t, 2, paused()).put(Kind::Pod, unready(pod("b", 1))).put(Kind::Pod, unready(pod("c", 1))).looks(); },
    broken_surge("c"), Lie("has 1 pods and 2 that are not ready, not 2"))]
#[case::n5_paused_with_more_than_its_surge_and_broken(
    |t: &mut Tale| { to(t, 2, paused()).put(Kind::Pod, unready(pod("c", 1))).put(Kind::Pod, unready(pod("d", 1))).looks(); },
    broken_surge("c"), Lie("has 2 pods and 2 that are not ready, not 2"))]
#[case::n5_not_paused_and_one_too_many_that_is_broken(
    |t: &mut Tale| { to(t, 2, json!({})).put(Kind::Pod, unready(pod("c", 1))).looks(); }, broken_surge("c"), Lie("pod c is not ready"))]
#[case::n5_paused_with_its_surge_is_no_failure(
    |t: &mut Tale| { to(t, 2, paused()); }, fails("scale-deployment", "Deployment", "deployment", json!({ "replicas": 2 })), WrongFailure)]
#[case::scaled_back_by_somebody(
    |t: &mut Tale| { to(t, 4, json!({})); to(t, 3, json!({})); }, fails("scale-deployment", "Deployment", "deployment", json!({ "replicas": 4 })), Nothing)]
#[case::it_was_so_and_is_said_not_to_be(
    |t: &mut Tale| { t.looks(); }, with(fails("scale-deployment", "Deployment", "deployment", json!({ "replicas": 3 })), json!({ "effect": "none" })), WrongFailure)]
#[case::settle_is_longer(
    |t: &mut Tale| { to(t, 4, json!({})).at(13.0).put(Kind::Pod, pod("d", 1)); },
    fails("scale-deployment", "Deployment", "deployment", json!({ "replicas": 4, "settle": "6s" })), Nothing)]
#[case::a_kind_that_nobody_records(
    |t: &mut Tale| { t.looks(); }, with(scaled(3, 3), json!({ "target": { "kind": "Widget" } })), Skips("Widget is no kind that is recorded"))]
#[case::interrupted(
    |t: &mut Tale| { t.looks(); }, with(scaled(9, 9), json!({ "success": false, "code": "Interrupted" })), Nothing)]
fn a_scale(#[case] happens: fn(&mut Tale), #[case] result: Value, #[case] expected: Finds) {
    let mut tale = deployment();
    happens(&mut tale);
    compare(&tale.judged(result, 20.0), &expected);
}

/// A pod without readiness probe becomes ready in the run, at 15 s.
#[rstest]
#[case::n30_at_the_first_instant(|_: &mut Tale| {}, 15.2, json!({}), Lie("has no readiness probe, and was followed for"))]
#[case::n30_followed(|_: &mut Tale| {}, 18.5, json!({}), Nothing)]
#[case::n30_not_asked_for(|_: &mut Tale| {}, 15.2, json!({ "settle": "0s" }), Nothing)]
#[case::n30_its_container_ended_meanwhile(
    |t: &mut Tale| { t.at(16.0).put(Kind::Pod, bare(pod("d", 1), 1)).looks(); }, 18.5, json!({}), Lie("has ended since it was ready"))]
#[case::n30_its_container_ended_and_that_may_be(
    |t: &mut Tale| { t.at(16.0).put(Kind::Pod, bare(pod("d", 1), 1)).looks(); }, 18.5, json!({ "settle": "0s" }), Nothing)]
fn a_pod_without_a_readiness_probe(
    #[case] happens: fn(&mut Tale),
    #[case] exit: f64,
    #[case] parameters: Value,
    #[case] expected: Finds,
) {
    let mut tale = deployment();
    to(&mut tale, 4, json!({})).at(15.0).put(Kind::Pod, bare(pod("d", 1), 0)).looks();
    happens(&mut tale);
    compare(&tale.judged(with(scaled(4, 4), json!({ "parameters": parameters })), exit), &expected);
}

fn evicted() -> Value {
    says("restart-pod", "Pod", "a", json!({ "replacement": "d" }))
}

#[rstest]
#[case::replaced(|t: &mut Tale| { t.gone("a").put(Kind::Pod, pod("d", 1)).looks(); }, evicted(), Nothing)]
#[case::n11_nothing_came_in_its_place(|t: &mut Tale| { t.gone("a").looks(); }, resumed(evicted()), Lie("wants 3 pods, and 2 serve"))]
#[case::n12_it_is_there_still(|t: &mut Tale| { t.looks(); }, resumed(evicted()), Lie("pod a is there still"))]
#[case::n15_its_end_is_overdue(|t: &mut Tale| { t.put(Kind::Pod, leaving(pod("a", 1))).looks(); }, resumed(evicted()), Lie("pod a is there still"))]
#[case::n16_replaced_by_one_with_other_labels(
    |t: &mut Tale| { t.gone("a").put(Kind::Pod, with(pod("d", 1), json!({ "metadata": { "labels": { "other": "yes" } } }))).looks(); }, evicted(), Nothing)]
#[case::n16_scaled_down_meanwhile(|t: &mut Tale| { t.gone("a").put(Kind::ReplicaSet, replica_set(1)).put(Kind::Deployment, workload("Deployment", 2, 2, 1)).looks(); }, evicted(), Nothing)]
#[case::n16_a_failure_although_it_was_replaced(
    |t: &mut Tale| { t.gone("a").put(Kind::Pod, pod("d", 1)); }, fails("restart-pod", "Pod", "a", json!({})), WrongFailure)]
#[case::its_replacement_is_not_ready(
    |t: &mut Tale| { t.gone("a").put(Kind::Pod, unready(pod("d", 1))).looks(); }, evicted(), Lie("wants 3 pods, and 2 serve"))]
#[case::it_was_not_waited_for(
    |t: &mut Tale| { t.put(Kind::Pod, leaving(pod("a", 1))); }, with(evicted(), json!({ "parameters": { "wait": false } })), Nothing)]
#[case::n20_a_failed_one_that_was_replaced_long_ago(
    |t: &mut Tale| { t.put(Kind::Pod, failed(pod("x", 1))).begins().gone("x").looks(); },
    with(evicted(), json!({ "target": { "uid": "x" } })), Nothing)]
#[case::n20_which_is_no_failure(
    |t: &mut Tale| { t.put(Kind::Pod, failed(pod("x", 1))).begins().gone("x"); },
    with(fails("restart-pod", "Pod", "x", json!({ "force": true })), json!({ "code": "DeadlineExceeded" })), WrongFailure)]
#[case::n17_its_job_is_done(
    |t: &mut Tale| {
        let job = json!({ "metadata": { "uid": "job", "name": "job" }, "status": { "conditions": [{ "type": "Complete", "status": "True" }] } });
        t.put(Kind::Pod, owned_by(pod("j", 0), "Job", "job")).put(Kind::Job, job).begins().gone("j").looks();
    },
    with(evicted(), json!({ "target": { "uid": "j" } })), Nothing)]
#[case::n17_its_job_wants_another(
    |t: &mut Tale| {
        let job = json!({ "metadata": { "uid": "job", "name": "job" }, "spec": { "parallelism": 1, "completions": 1 } });
        t.put(Kind::Pod, owned_by(pod("j", 0), "Job", "job")).put(Kind::Job, job).begins().gone("j").looks();
    },
    with(evicted(), json!({ "target": { "uid": "j" } })), Lie("job job wants 1 pods, and 0 serve"))]
#[case::of_a_controller_that_nobody_records(
    |t: &mut Tale| { t.put(Kind::Pod, owned_by(pod("x", 0), "Widget", "widget")).begins().gone("x").looks(); },
    with(evicted(), json!({ "target": { "uid": "x" } })), Skips("a Widget controls it"))]
#[case::of_nobody(
    |t: &mut Tale| { t.put(Kind::Pod, with(pod("x", 0), json!({ "metadata": { "ownerReferences": [] } }))).begins().gone("x").looks(); },
    with(evicted(), json!({ "target": { "uid": "x" } })), Nothing)]
#[case::gone_before_and_nobody_knows_whose_it_was(
    |t: &mut Tale| { t.put(Kind::Pod, with(pod("x", 0), json!({ "metadata": { "ownerReferences": [] } }))).gone("x").begins(); },
    with(fails("restart-pod", "Pod", "x", json!({})), json!({ "effect": "none", "resumed": true })), Skips("the pod was gone before the run"))]
fn a_restart_of_a_pod(#[case] happens: fn(&mut Tale), #[case] result: Value, #[case] expected: Finds) {
    let mut tale = deployment();
    happens(&mut tale);
    compare(&tale.judged(result, 20.0), &expected);
}

fn node(unschedulable: bool) -> Value {
    json!({ "metadata": { "uid": "n", "name": "n" }, "spec": { "unschedulable": unschedulable } })
}

#[rstest]
#[case::cordoned("cordon-node", |t: &mut Tale| { t.put(Kind::Node, node(true)); }, Nothing)]
#[case::changed_back("cordon-node", |t: &mut Tale| { t.put(Kind::Node, node(true)).at(15.0).put(Kind::Node, node(false)); }, Lie("unschedulable is false"))]
#[case::changed_back_afterwards("cordon-node", |t: &mut Tale| { t.put(Kind::Node, node(true)).at(20.0).put(Kind::Node, node(false)); }, Explained("unschedulable"))]
#[case::never_cordoned("cordon-node", |_: &mut Tale| {}, Lie("unschedulable is false"))]
#[case::uncordoned("uncordon-node", |t: &mut Tale| { t.put(Kind::Node, node(true)).put(Kind::Node, node(false)); }, Nothing)]
fn a_node(#[case] action: &str, #[case] happens: fn(&mut Tale), #[case] expected: Finds) {
    let mut tale = Tale::new();
    tale.put(Kind::Node, node(false)).at(10.0).begins();
    happens(&mut tale);
    compare(&tale.judged(says(action, "Node", "n", json!({ "unschedulable": true })), 20.0), &expected);
}

#[rstest]
#[case::of_the_target("a", Nothing)]
#[case::n19_of_another_with_the_same_labels("x", Lie("pod x, whose log it hands out, is not the target's"))]
#[case::of_nobody("nobody", Lie("never existed"))]
fn logs(#[case] pod_name: &str, #[case] expected: Finds) {
    let mut tale = deployment();
    tale.put(Kind::Pod, owned_by(pod("x", 1), "ReplicaSet", "other")).line(pod_name);
    let result = says("collect-logs-deployment", "Deployment", "deployment", json!({}));
    compare(&tale.judged(with(result, json!({ "code": "Completed" })), 20.0), &expected);
}

#[rstest]
#[case::nothing(|_: &mut Tale| {}, Nothing)]
#[case::n23_an_event(|t: &mut Tale| { t.event(); }, Lie("posted 1 events"))]
#[case::the_target(|t: &mut Tale| { to(t, 4, json!({})); }, Lie("spec or annotations of Deployment deployment changed"))]
#[case::its_annotations(|t: &mut Tale| { t.put(Kind::Deployment, marked(workload("Deployment", 3, 1, 1), "the-id")); }, Lie("spec or annotations"))]
#[case::its_status(|t: &mut Tale| { t.put(Kind::Deployment, with(workload("Deployment", 3, 1, 1), json!({ "status": { "observedGeneration": 7 } }))); }, Nothing)]
#[case::a_pod(|t: &mut Tale| { t.put(Kind::Pod, leaving(pod("a", 1))); }, Lie("the pods of Deployment deployment changed"))]
fn a_dry_run_changes(#[case] happens: fn(&mut Tale), #[case] expected: Finds) {
    let mut tale = deployment();
    happens(&mut tale);
    let result = json!({ "dryRun": true, "code": "DryRun", "effect": "none" });
    compare(&tale.judged(with(scaled(4, 4), result), 20.0), &expected);
}
