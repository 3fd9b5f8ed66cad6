//! The situations in which a wait hangs, and what is said of each.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::waiting::Terminating;
use jiff::{SignedDuration, Timestamp};
use rstest::rstest;
use serde_json::{Value, json};

use super::sign::{Crashed, Sign};
use super::table::Place;
use super::*;
use crate::cluster::evidence::{Event, NamespaceState, NodeState};
use crate::k8s::Kind;
use crate::workload::Condition;
use crate::workload::pods::PodView;
use crate::workload::rollout::RolloutStatus;
use crate::workload::testing::{
    Seen, after, began, deployment, leaving, new, old, pod, restart, says, scale, set, stuck, unready, workload,
};

/// The goal of a restart, that many seconds after its begin.
fn at(seconds: i64) -> Goal<'static> {
    Goal { now: after(seconds), ..restart() }
}

fn causes(workload: &Workload, pods: &[PodView], goal: Goal<'_>) -> Vec<Cause> {
    Seen::new(workload, pods, goal).causes()
}

fn first(workload: &Workload, pods: &[PodView], goal: Goal<'_>) -> Cause {
    causes(workload, pods, goal).remove(0)
}

fn event(reason: &str, message: &str, warning: bool, seconds: i64) -> Event {
    let (first, last) = (Some(after(seconds - 1)), Some(after(seconds)));
    Event { reason: reason.to_owned(), message: message.to_owned(), warning, count: 1, first, last }
}

fn events(uid: &str, all: &[Event]) -> Evidence {
    Evidence { events: BTreeMap::from([(uid.to_owned(), all.to_vec())]), ..Evidence::default() }
}

fn condition(reason: &str, message: &str) -> Condition {
    let text = |text: &str| text.to_owned();
    Condition { reason: text(reason), message: text(message), since: text("2026-01-01T00:01:02Z"), updated: text("t") }
}

// ---- pods that are to become ready

#[rstest]
#[case(Class::Slow)]
#[case(Class::MayPass)]
#[case(Class::Certain)]
fn the_worst_cause_comes_first(#[case] class: Class) {
    let pods = [unready(new("a")), stuck(new("b"), class)];
    let all = causes(&deployment(), &pods, restart());
    assert_eq!((all.len(), all[0].class), (2, class));
    assert_eq!(all[0].object.name, if class == Class::Slow { "a" } else { "b" });
}

#[test]
fn a_pod_is_told_with_node_container_time_and_words() {
    let cause = first(&deployment(), &[old("a"), stuck(new("b"), Class::MayPass)], restart());
    let says = "pod b: container app: ErrImagePull since 2026-01-01T00:01:00Z: no such image";
    assert_eq!(cause.to_string(), says);
    assert_eq!((cause.object.kind.as_str(), cause.object.uid.as_deref()), ("Pod", Some("b")));
    assert_eq!((cause.node.as_deref(), cause.about.as_deref(), cause.lead), (Some("node-of-b"), Some("b"), ""));
}

#[test]
fn a_state_without_a_time_is_known_since_it_was_seen() {
    let mut waits = stuck(new("b"), Class::MayPass);
    waits.signs[0].since = None;
    assert_eq!(first(&deployment(), &[new("a"), waits], at(7)).since, Some(after(7)));
}

#[test]
fn an_old_pods_cause_is_not_ours() {
    let all = causes(&deployment(), &[stuck(old("a"), Class::Certain), new("b")], restart());
    let [cause] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!((cause.class, cause.row.place, cause.object.name.as_str()), (Class::Slow, Place::Old, "a"));
    assert!(cause.to_string().contains("it is of before, and its controller has not deleted it yet"), "{cause}");
    assert_eq!(cause.state, "Running");
}

#[test]
fn scaling_down_a_crash_loop_is_no_failure() {
    let pods = ["a", "b", "c"].map(|name| stuck(new(name), Class::Certain));
    let class = |workload: &Workload, pods: &[PodView]| first(workload, pods, scale()).class;
    assert_eq!(class(&deployment(), &pods), Class::Slow);
    assert_eq!(class(&deployment(), &pods[..2]), Class::Certain);
    let stopped = workload(Kind::Deployment, json!({ "replicas": 0 }));
    assert_eq!(class(&stopped, &pods[..1]), Class::Slow);
    // Also before its ReplicaSet is scaled.
    let sets = [set("new", 1, 2)];
    let all = Seen { sets: &sets, ..Seen::new(&stopped, &pods[..1], scale()) }.causes();
    assert!(all.iter().all(|cause| cause.class == Class::Slow), "{all:?}");
    // A restart has to get past each of its pods.
    assert_eq!(first(&deployment(), &pods, restart()).class, Class::Certain);
}

/// Of a set that shrinks a broken pod may be the one that goes.
#[rstest]
#[case::it_stays(1, Class::Certain)]
#[case::one_of_two_goes(0, Class::Slow)]
fn a_broken_pod_of_a_set_that_shrinks_is_no_failure(#[case] replicas: i64, #[case] class: Class) {
    let sets = [set("new", replicas, 2), set("old", 2 - replicas, 2)];
    let pods = [stuck(new("a"), Class::Certain), old("b")];
    let all = Seen { sets: &sets, ..Seen::new(&deployment(), &pods, scale()) }.causes();
    assert_eq!(all[0].class, class, "{all:?}");
}

/// A scale during a stuck rollout never reaches its number, and the reason is the new pod's cause.
#[rstest]
#[case::one(&[set("new", 2, 2), set("old", 0, 2)], scale(), false)]
#[case::two(&[set("new", 1, 2), set("old", 1, 2)], scale(), true)]
#[case::of_a_restart(&[set("new", 1, 2), set("old", 1, 2)], restart(), false)]
fn an_unfinished_rollout_is_named(#[case] sets: &[SetView], #[case] goal: Goal<'static>, #[case] named: bool) {
    let pods = [stuck(new("a"), Class::Certain)];
    let told = Seen { sets, ..Seen::new(&deployment(), &pods, goal) }.causes()[0].to_string();
    let begins = "a rollout that has not finished stands in the way: pod a: container app: InvalidImageName";
    assert_eq!(told.starts_with(begins), named, "{told}");
}

/// A failing probe is no slow start any more when the Deployment itself says that its rollout has timed out.
#[test]
fn a_slow_start_that_is_out_of_time_may_pass_or_not() {
    let mut late = deployment();
    let pods = [new("a"), unready(new("b"))];
    assert_eq!(first(&late, &pods, scale()).class, Class::Slow);
    late.out_of_time = Some(condition("ProgressDeadlineExceeded", "late"));
    assert_eq!(first(&late, &pods, scale()).class, Class::MayPass);
    let certain = [new("a"), stuck(new("b"), Class::Certain)];
    assert_eq!(first(&late, &certain, scale()).class, Class::Certain);
}

/// Of thousands that say the same a few are looked at, and what one of them says beside that is found.
#[test]
fn of_many_pods_each_kind_of_cause_is_found() {
    let many = workload(Kind::Deployment, json!({ "replicas": 3000 }));
    let mut pods: Vec<PodView> = (0..1000).map(|number| unready(new(&format!("a{number}")))).collect();
    pods.extend((0..1000).map(|number| stuck(new(&format!("b{number}")), Class::MayPass)));
    pods.extend((0..100).map(|number| PodView { ready: false, ..new(&format!("c{number}")) }));
    let mut other = unready(new("d"));
    other.signs[0].container = Some("side".to_owned());
    pods.extend([other, stuck(new("e"), Class::Certain), crashing(crashed(1, true, None))]);
    pods.extend((0..100).map(|number| old(&format!("f{number}"))));
    pods.extend(
        (0..100).map(|number| PodView { due: Some(after(999 - number)), ..leaving(old(&format!("g{number}"))) }),
    );
    let all = causes(&many, &pods, at(20));
    let count = |place: Place| all.iter().filter(|cause| cause.row.place == place).count();
    let counts = [Place::Running, Place::Waiting, Place::Ended, Place::Old, Place::Leaving].map(count);
    assert_eq!(counts, [21, 21, 1, 20, 20]);
    assert_eq!(all[0].object.name, "e");
    // Those that should be gone first are among them.
    assert!(all.iter().any(|cause| cause.object.name == "g99") && all.iter().all(|cause| cause.object.name != "g0"));
}

// ---- silence, preparation, scheduling

fn silent(pod: PodView) -> PodView {
    let sign = Sign {
        since: Some(began()),
        note: Some("bound".to_owned()),
        ..Sign::new(Place::Silence, "Pending", "Pending")
    };
    PodView { ready: false, ready_since: None, signs: vec![sign], ..pod }
}

#[rstest]
#[case::early(9, Class::Slow, Some(1))]
#[case::at_its_time(10, Class::MayPass, None)]
#[case::long(99, Class::MayPass, None)]
fn silence_is_told_after_ten_seconds(#[case] seconds: i64, #[case] class: Class, #[case] again: Option<i64>) {
    let cause = first(&deployment(), &[new("a"), silent(new("b"))], at(seconds));
    assert_eq!((cause.class, cause.again), (class, again.map(SignedDuration::from_secs)));
    assert_eq!(cause.to_string(), "pod b on node node-of-b: Pending since 2026-01-01T00:01:00Z; bound");
}

fn node(ready: bool, message: &str) -> Evidence {
    let node = NodeState {
        uid: "n".to_owned(),
        ready,
        reason: "NodeStatusUnknown".to_owned(),
        message: message.to_owned(),
        since: Some(after(2)),
    };
    Evidence { nodes: BTreeMap::from([("node-of-b".to_owned(), node)]), ..Evidence::default() }
}

#[rstest]
#[case::ready(true, "fine", "Pending since 2026-01-01T00:01:00Z; bound")]
#[case::says_why(
    false,
    "Kubelet stopped posting",
    "Pending since 2026-01-01T00:01:00Z: Kubelet stopped posting; bound; its node is not ready: NodeStatusUnknown since 2026-01-01T00:01:02Z"
)]
#[case::says_nothing(
    false,
    "",
    "Pending since 2026-01-01T00:01:00Z: NodeStatusUnknown; bound; its node is not ready: NodeStatusUnknown since 2026-01-01T00:01:02Z"
)]
fn a_node_that_is_not_ready_has_words(#[case] ready: bool, #[case] message: &str, #[case] says: &str) {
    let (workload, pods) = (deployment(), [new("a"), silent(new("b"))]);
    let seen = Seen { evidence: node(ready, message), ..Seen::new(&workload, &pods, at(20)) };
    assert_eq!(seen.causes()[0].to_string(), format!("pod b on node node-of-b: {says}"));
}

/// What the kubelet warns of counts while the pod is prepared, and not later.
#[rstest]
#[case::creating(says(new("b"), Place::Waiting, "ContainerCreating", ""), true)]
#[case::initializing(says(new("b"), Place::Waiting, "PodInitializing", ""), true)]
#[case::bound(silent(new("b")), true)]
#[case::not_bound(PodView { node: None, ..silent(new("b")) }, false)]
#[case::waits_for_something_else(says(new("b"), Place::Waiting, "ErrImagePull", ""), false)]
#[case::runs(unready(new("b")), false)]
fn a_warning_of_the_kubelet_says_what_a_pod_waits_for(#[case] waits: PodView, #[case] told: bool) {
    let evidence = events("b", &[event("FailedMount", "secret \"x\" not found", true, 5)]);
    let (workload, pods) = (deployment(), [new("a"), waits]);
    let all = Seen { evidence, ..Seen::new(&workload, &pods, at(20)) }.causes();
    let [cause] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(cause.row.place == Place::Preparation, told, "{cause:?}");
    if told {
        let says = "pod b on node node-of-b: FailedMount since 2026-01-01T00:01:04Z: secret \"x\" not found";
        assert_eq!((cause.to_string().as_str(), cause.class), (says, Class::MayPass));
    }
}

#[test]
fn a_pod_that_is_prepared_is_only_slow_while_nothing_is_known() {
    let cause = first(&deployment(), &[new("a"), says(new("b"), Place::Waiting, "ContainerCreating", "")], at(99));
    assert_eq!((cause.class, cause.row.events), (Class::Slow, true));
    let says = "pod b: container app: ContainerCreating since 2026-01-01T00:01:00Z; bound to node node-of-b";
    assert_eq!(cause.to_string(), says);
}

#[rstest]
#[case::it_fails(&[event("Unhealthy", "Readiness probe failed: 503", true, 5)], "Readiness probe failed: 503")]
#[case::nothing_is_known(&[], "containers with unready status: [app]")]
fn a_failing_probe_has_words(#[case] all: &[Event], #[case] words: &str) {
    let (workload, pods) = (deployment(), [new("a"), unready(new("b"))]);
    let cause = Seen { evidence: events("b", all), ..Seen::new(&workload, &pods, at(20)) }.causes().remove(0);
    assert_eq!((cause.state.as_str(), cause.words.as_str(), cause.class), ("ContainersNotReady", words, Class::Slow));
}

/// Of an init container that runs a probe says nothing.
#[test]
fn a_probe_that_failed_is_told_of_what_is_probed() {
    let runs = says(new("b"), Place::Running, "PodInitializing", "containers with incomplete status: [setup]");
    let (workload, pods) = (deployment(), [new("a"), runs]);
    let evidence = events("b", &[event("Unhealthy", "Startup probe failed", true, 5)]);
    let cause = Seen { evidence, ..Seen::new(&workload, &pods, at(20)) }.causes().remove(0);
    assert_eq!(cause.words, "containers with incomplete status: [setup]");
}

/// What is on its way out within its time makes room on its node; once it is late it does not any more.
#[rstest]
#[case::in_time(40, "Unschedulable", Class::Slow)]
#[case::late(41, "Unschedulable", Class::MayPass)]
#[case::gates_do_not_wait_for_room(40, "SchedulingGated", Class::MayPass)]
fn what_leaves_in_time_makes_room(#[case] seconds: i64, #[case] state: &str, #[case] class: Class) {
    let waits = says(PodView { node: None, ..new("a") }, Place::Scheduling, state, "0/1 nodes");
    let all = causes(&deployment(), &[new("b"), waits, leaving(old("c"))], at(seconds));
    let cause = all.iter().find(|cause| cause.object.name == "a").unwrap();
    assert_eq!((cause.class, cause.notes.len()), (class, usize::from(class == Class::Slow)), "{cause:?}");
}

// ---- crashes

fn crashed(ended: i32, down: bool, running_since: Option<i64>) -> Crashed {
    Crashed {
        container: "app".to_owned(),
        ended,
        down,
        running_since: running_since.map(after),
        last: Some((after(2), after(4))),
        state: "CrashLoopBackOff".to_owned(),
        words: "back-off 20s".to_owned(),
        exit: Some((1, "Error".to_owned())),
    }
}

/// Made in this run.
fn crashing(crashed: Crashed) -> PodView {
    PodView {
        created: Some(began()),
        ready: false,
        ready_since: None,
        signs: vec![],
        crashes: vec![crashed],
        ..new("b")
    }
}

#[rstest]
#[case::once(1, Class::MayPass, "crashed once since the change")]
#[case::four_times(4, Class::MayPass, "crashed 4 times since the change")]
#[case::five_times(5, Class::Certain, "crashed 5 times since the change")]
fn the_fifth_crash_since_the_change_is_certain(#[case] ended: i32, #[case] class: Class, #[case] says: &str) {
    let cause = first(&deployment(), &[new("a"), crashing(crashed(ended, true, None))], at(20));
    let told = format!(
        "pod b: container app: CrashLoopBackOff since 2026-01-01T00:01:04Z: back-off 20s; {says} (last exit code 1, Error)"
    );
    assert_eq!((cause.to_string(), cause.class, cause.again), (told, class, None));
}

/// A lifetime's count proves nothing.
#[test]
fn an_old_pods_crashes_are_of_before() {
    let before = PodView { created: Some(after(-99)), ..crashing(crashed(40, true, None)) };
    let cause = first(&deployment(), &[new("a"), before], scale());
    assert_eq!(
        (cause.class, cause.notes[0].as_str()),
        (Class::MayPass, "crashed 40 times before (last exit code 1, Error)")
    );
}

/// It runs again, and has not lived for longer than the 2 s of before: at 10 s + 2 s, and the 5 s within which its kubelet would
/// have said that it has ended, it has.
#[rstest]
#[case::begins(10, Some(7000))]
#[case::not_longer(12, Some(5000))]
#[case::its_end_may_be_on_its_way(16, Some(1000))]
#[case::longer(17, None)]
fn a_container_that_lives_for_longer_loops_no_more(#[case] now: i64, #[case] again: Option<i64>) {
    let mut runs = crashing(crashed(2, false, Some(10)));
    runs.signs = unready(new("b")).signs;
    let all = causes(&deployment(), &[new("a"), runs], at(now));
    let [cause] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(cause.row.place == Place::Ended, again.is_some(), "{cause:?}");
    assert_eq!(cause.again, again.map(SignedDuration::from_millis));
}

#[rstest]
#[case::never_crashed_in_this_run(PodView { created: Some(after(-99)), ..crashing(crashed(7, false, Some(1))) })]
#[case::without_a_start(crashing(crashed(2, false, None)))]
fn what_runs_and_has_not_crashed_since_is_no_loop(#[case] runs: PodView) {
    let all = causes(&deployment(), &[new("a"), PodView { signs: unready(new("b")).signs, ..runs }], at(2));
    assert!(all.len() == 1 && all[0].row.place == Place::Running, "{all:?}");
}

/// Without a probe it is ready whenever it runs; the loop goes on.
#[test]
fn a_loop_of_a_pod_that_is_ready_in_between_stands() {
    let runs =
        PodView { ready: true, ready_since: Some(after(10)), probed: false, ..crashing(crashed(2, false, Some(10))) };
    let (workload, pods) = (deployment(), [new("a"), runs]);
    let all = Seen { steady: Duration::from_secs(1), ..Seen::new(&workload, &pods, at(11)) }.causes();
    let of_b: Vec<_> = all.iter().filter(|cause| cause.object.name == "b").collect();
    assert!(of_b.len() == 1 && of_b[0].row.place == Place::Ended, "{all:?}");
}

/// As long as an instance lives, a loop is ready too, whatever a probe says: it counts when it has outlived the others.
#[rstest]
#[case::as_long(2, false)]
#[case::its_end_may_be_on_its_way(6, false)]
#[case::longer(7, true)]
fn a_loop_that_is_ready_counts_when_it_lives_for_longer(#[case] steady: u64, #[case] done: bool) {
    for probed in [true, false] {
        let runs =
            PodView { ready: true, ready_since: Some(after(10)), probed, ..crashing(crashed(2, false, Some(10))) };
        let (workload, pods) = (deployment(), [new("a"), runs]);
        let state = Seen { steady: Duration::from_secs(steady), ..Seen::new(&workload, &pods, at(13)) }.state();
        assert_eq!(matches!(state, RolloutStatus::Done { .. }), done, "{probed} {state:?}");
    }
}

/// A loop of one container does not hide what another one waits for.
#[test]
fn each_container_is_told() {
    let mut both = crashing(crashed(2, true, None));
    let other = |name: &str, place: Place, state: &str| Sign {
        container: Some(name.to_owned()),
        ..Sign::new(place, state, "")
    };
    both.signs = vec![
        other("app", Place::Running, "ContainersNotReady"),
        other("side", Place::Running, "ContainersNotReady"),
        other("app", Place::Waiting, "X"),
    ];
    let all = causes(&deployment(), &[new("a"), both], at(20));
    let told: Vec<_> = all.iter().map(|cause| (cause.row.place, cause.container.as_deref().unwrap())).collect();
    assert_eq!(told, [(Place::Ended, "app"), (Place::Waiting, "app"), (Place::Running, "side")]);
}

// ---- ready, but not for long enough

#[test]
fn min_ready_seconds_are_no_failure() {
    let slow = workload(Kind::Deployment, json!({ "minReadySeconds": 60 }));
    let ready = PodView { ready_since: Some(after(5)), ..new("b") };
    let pods = [new("a"), ready];
    let all = Seen { steady: Duration::from_secs(25), ..Seen::new(&slow, &pods, at(30)) }.causes();
    let cause = all.iter().find(|cause| cause.object.name == "b").unwrap();
    let says = "pod b on node node-of-b: Ready since 2026-01-01T00:01:05Z: minReadySeconds; it has been ready for 25 of 60 s; raise waitTimeout if that is not enough";
    assert_eq!((cause.to_string().as_str(), cause.class), (says, Class::Slow));
}

#[test]
fn settling_is_told_too() {
    let ready = PodView { probed: false, created: Some(began()), ready_since: None, ..new("b") };
    let (workload, pods) = (deployment(), [ready]);
    let cause = Seen { steady: Duration::ZERO, ..Seen::new(&workload, &pods, at(1)) }.causes().remove(0);
    let says = "pod b on node node-of-b: Ready since 2026-01-01T00:01:00Z; without a readiness probe, it is followed for 3 s (settle)";
    assert_eq!(cause.to_string(), says);
}

/// All are there by our clock, and the controller does not say so yet.
#[rstest]
#[case::counts_fewer(1, true)]
#[case::counts_all(2, false)]
fn the_controllers_count_of_available_pods_is_told(#[case] available: i64, #[case] told: bool) {
    let mut slow = workload(Kind::Deployment, json!({ "minReadySeconds": 10 }));
    slow.available = available;
    let youngest = PodView { ready_since: Some(after(-20)), ..new("b") };
    let all = causes(&slow, &[new("a"), youngest, leaving(old("c"))], at(1));
    let found = all.iter().find(|cause| cause.state == "Ready");
    assert_eq!(found.is_some(), told, "{all:?}");
    if let Some(cause) = found {
        assert_eq!(cause.object.name, "b");
        assert!(cause.to_string().ends_with("its controller counts 1 of 2 as available"), "{cause}");
    }
    // Without `minReadySeconds` the controller's count does not matter.
    let mut usual = deployment();
    usual.available = available;
    let all = causes(&usual, &[new("a"), new("b"), leaving(old("c"))], at(1));
    assert!(all.iter().all(|cause| cause.state != "Ready"), "{all:?}");
    // While a pod is missing, that is what is told.
    let all = causes(&slow, &[new("a")], at(1));
    assert!(all.iter().all(|cause| cause.state != "Ready"), "{all:?}");
}

// ---- pods in the way of an ordered StatefulSet

/// Pods that the partition protects are not replaced, but an ordered set waits for them before it makes later ones.
#[rstest]
#[case::before_the_next_is_made(&[], json!({}), true)]
#[case::before_the_next_is_replaced(&[old("db-1")], json!({}), true)]
#[case::the_next_is_made_already(&[unready(new("db-1"))], json!({}), false)]
#[case::parallel(&[old("db-1")], json!({ "podManagementPolicy": "Parallel" }), false)]
fn a_broken_pod_below_the_partition_blocks_an_ordered_set(
    #[case] pods: &[PodView],
    #[case] spec: Value,
    #[case] blocks: bool,
) {
    let mut set = workload(Kind::StatefulSet, spec);
    set.partition = 1;
    for class in [Class::Slow, Class::MayPass, Class::Certain] {
        let all = causes(&set, &[&[stuck(old("db-0"), class)], pods].concat(), restart());
        let found = all.iter().find(|cause| cause.object.name == "db-0");
        assert_eq!(found.is_some(), blocks, "{all:?}");
        if let Some(cause) = found {
            assert_eq!(cause.class, class);
            let says = "it is left alone by the partition, and its StatefulSet waits for it: evict it (restart-pod)";
            assert!(cause.to_string().contains(says), "{cause}");
        }
    }
}

#[rstest]
#[case::ordered(json!({}), true)]
#[case::parallel(json!({ "podManagementPolicy": "Parallel" }), false)]
fn a_broken_old_pod_blocks_an_ordered_set(#[case] spec: Value, #[case] blocks: bool) {
    let set = workload(Kind::StatefulSet, spec);
    let cause = first(&set, &[stuck(pod("db-0", "old"), Class::Certain), old("db-1")], restart());
    assert_eq!(cause.class == Class::Certain, blocks, "{cause:?}");
    if blocks {
        let says = "it is of the revision before, and its StatefulSet waits for it: evict it (restart-pod)";
        assert!(cause.to_string().contains(says), "{cause}");
    }
    // One that is ready is replaced in its turn, and a scale does not care for revisions.
    assert_eq!(first(&set, &[old("db-0"), old("db-1")], restart()).row.place, Place::Old);
    let scaled = causes(&set, &[stuck(old("db-0"), Class::MayPass)], scale());
    assert!(scaled.iter().all(|cause| !cause.to_string().contains("StatefulSet waits")), "{scaled:?}");
}

// ---- pods that failed, leave, or are too many

fn refused(name: &str, revision: &str) -> PodView {
    let failure = Some(Sign::new(Place::Failed, "OutOfcpu", "Pod was rejected"));
    PodView { failure, finished: true, ready: false, created: Some(after(1)), ..pod(name, revision) }
}

#[rstest]
#[case::none_comes(&[new("a")], 999, true)]
#[case::another_one_comes(&[new("a"), unready(new("c"))], 11, true)]
#[case::another_one_came(&[new("a"), unready(new("c"))], 12, false)]
fn pods_that_fail_again_and_again_are_counted(#[case] others: &[PodView], #[case] seconds: i64, #[case] told: bool) {
    let workload = deployment();
    let mut memory = Memory::default();
    let failed = [refused("x", "new"), refused("y", "new")];
    memory.follow(failed.iter(), began(), after(2));
    let pods = [others, &failed].concat();
    let all = Seen { memory, ..Seen::new(&workload, &pods, at(seconds)) }.causes();
    let found = all.iter().find(|cause| cause.row.place == Place::Failed);
    assert_eq!(found.is_some(), told, "{all:?}");
    if let Some(cause) = found {
        let says = "OutOfcpu since 2026-01-01T00:01:02Z: Pod was rejected; 2 pods failed so since the change";
        assert!(cause.to_string().ends_with(says) && cause.class == Class::MayPass, "{cause}");
    }
}

#[rstest]
#[case::of_ours("new", restart(), true)]
#[case::of_before("old", restart(), false)]
#[case::of_any("old", scale(), true)]
fn pods_of_another_revision_that_fail_are_not_ours(
    #[case] revision: &str,
    #[case] goal: Goal<'static>,
    #[case] told: bool,
) {
    let all = causes(&deployment(), &[new("a"), refused("x", revision)], goal);
    let found = all.iter().find(|cause| cause.row.place == Place::Failed);
    assert_eq!(found.is_some(), told, "{all:?}");
    assert!(found.is_none_or(|cause| cause.to_string().ends_with("one pod failed so since the change")));
}

#[rstest]
#[case::in_time(
    40,
    Class::Slow,
    "pod c on node node-of-c: Terminating since 2026-01-01T00:01:00Z: a/b; held by its finalizers a/b, c/d",
    Some(1)
)]
#[case::overdue(
    41,
    Class::MayPass,
    "pod c on node node-of-c: Terminating since 2026-01-01T00:01:00Z: a/b; it should have been gone at 2026-01-01T00:01:30Z; held by its finalizers a/b, c/d",
    None
)]
fn a_pod_that_should_be_gone_stands_in_the_way(
    #[case] seconds: i64,
    #[case] class: Class,
    #[case] says: &str,
    #[case] again: Option<i64>,
) {
    let held = PodView { finalizers: vec!["a/b".to_owned(), "c/d".to_owned()], ..leaving(old("c")) };
    let cause = first(&deployment(), &[new("a"), new("b"), held.clone()], at(seconds));
    assert_eq!((cause.to_string().as_str(), cause.class), (says, class));
    assert_eq!(cause.again, again.map(SignedDuration::from_millis));
    let ignored = Goal { terminating: Terminating::Ignore, ..at(seconds) };
    let all = causes(&deployment(), &[new("a"), held], ignored);
    assert!(all.iter().all(|cause| cause.state != "Terminating"), "{all:?}");
}

/// On a dead node nothing holds it but the node.
#[rstest]
#[case::overdue(41, true)]
#[case::in_time(40, false)]
fn a_dead_node_holds_what_should_be_gone(#[case] seconds: i64, #[case] told: bool) {
    let (workload, pods) = (deployment(), [new("a"), leaving(new("b"))]);
    let evidence = node(false, "Kubelet stopped posting");
    let all = Seen { evidence, ..Seen::new(&workload, &pods, at(seconds)) }.causes();
    let cause = all.iter().find(|cause| cause.state == "Terminating").unwrap();
    assert_eq!(cause.words, if told { "Kubelet stopped posting" } else { "2026-01-01T00:01:30Z" });
    assert_eq!(cause.to_string().contains("its node is not ready"), told, "{cause}");
}

#[test]
fn what_is_overdue_comes_before_what_leaves_in_time() {
    let later = PodView { due: Some(after(99)), ..leaving(old("d")) };
    let earlier = PodView { leaving_since: Some(after(-9)), ..leaving(old("e")) };
    let all = causes(&deployment(), &[new("a"), new("b"), later, leaving(old("c")), earlier], at(60));
    let names: Vec<_> = all.iter().map(|cause| cause.object.name.as_str()).collect();
    assert_eq!(names, ["e", "c", "d"]);
    let open = PodView { due: None, ..leaving(old("f")) };
    let cause = first(&deployment(), &[new("a"), new("b"), open], at(999));
    assert_eq!((cause.class, cause.words.as_str(), cause.again), (Class::Slow, "", None));
}

#[test]
fn what_is_beyond_a_sets_number_is_told() {
    let set = workload(Kind::StatefulSet, json!({}));
    let cause = first(&set, &[old("db-0"), old("db-1"), old("db-2")], scale());
    let says = "pod db-2 on node node-of-db-2: Running since 2026-01-01T00:00:00Z; it is beyond the number of replicas, and its controller has not deleted it yet";
    assert_eq!(cause.to_string(), says);
    let unready = PodView { ready_since: None, ..old("db-2") };
    assert_eq!(first(&set, &[old("db-0"), old("db-1"), unready], scale()).since, old("db-2").created);
}

// ---- what the controller says

#[test]
fn a_namespace_that_goes_is_certain() {
    let namespace = NamespaceState {
        name: "shop".to_owned(),
        uid: "n".to_owned(),
        since: Some(after(1)),
        message: "words".to_owned(),
    };
    let (workload, pods) = (deployment(), [stuck(new("a"), Class::Certain)]);
    let evidence = Evidence { namespace: Some(namespace), ..Evidence::default() };
    let cause = Seen { evidence, ..Seen::new(&workload, &pods, restart()) }.causes().remove(0);
    assert_eq!(cause.to_string(), "namespace shop: Terminating since 2026-01-01T00:01:01Z: words");
    assert_eq!((cause.class, cause.object.uid.as_deref(), cause.object.namespace), (Class::Certain, Some("n"), None));
}

fn unseen() -> Workload {
    Workload { observed: 1, ..deployment() }
}

#[test]
fn a_controller_that_is_silent_is_the_last_to_be_named() {
    let all = causes(&unseen(), &[stuck(new("a"), Class::Certain)], at(30));
    let [cause] = all.as_slice() else { panic!("{all:?}") };
    let says =
        "deployment web: NotObserved since 2026-01-01T00:01:00Z; its controller has not observed generation 2 for 30 s";
    assert_eq!((cause.to_string().as_str(), cause.class), (says, Class::Slow));
}

/// It keeps its observed generation until it could make the ReplicaSet.
#[rstest]
#[case::since_the_change(None, true)]
#[case::another_one(Some("s"), true)]
#[case::of_before(Some("t"), false)]
fn a_set_that_cannot_be_made_is_told_before_it_is_observed(#[case] stale: Option<&str>, #[case] told: bool) {
    let message = "Failed to create new replica set \"web-x\": replicasets.apps \"web-x\" is forbidden: exceeded quota: small, requested: count/replicasets.apps=1";
    for observed in [1, 2] {
        let set_failure = Some(condition("ReplicaSetCreateError", message));
        let workload = Workload { observed, set_failure, ..deployment() };
        let goal = Goal { stale_deadline: stale, ..at(3) };
        let cause = first(&workload, &[], goal);
        assert_eq!(cause.row.place == Place::Creation, told, "{cause:?}");
        if told {
            let says = format!(
                "resourcequota small: ReplicaSetCreateError since 2026-01-01T00:01:02Z: {message}; free something, or raise the quota"
            );
            assert_eq!((cause.to_string(), cause.class), (says, Class::MayPass));
        }
    }
}

/// The set that lacks pods and says why is named, and no other.
#[rstest]
#[case::lacks_a_pod(2, true)]
#[case::has_its_pods(1, false)]
fn a_set_whose_pods_cannot_be_made_is_named(#[case] replicas: i64, #[case] told: bool) {
    let failure = Some(condition("FailedCreate", "pods \"web-1\" is forbidden: exceeded quota: small"));
    let sets = [SetView { failure, ..set("new", replicas, 2) }, set("old", 0, 2)];
    let (workload, pods) = (deployment(), [new("a")]);
    let all = Seen { sets: &sets, ..Seen::new(&workload, &pods, restart()) }.causes();
    let found = all.iter().find(|cause| cause.row.place == Place::Creation);
    assert_eq!(found.is_some(), told, "{all:?}");
    if let Some(cause) = found {
        assert!(
            cause
                .to_string()
                .starts_with("replicaset web-new: FailedCreate since 2026-01-01T00:01:02Z: pods \"web-1\""),
            "{cause}"
        );
        assert_eq!((cause.object.api_version.as_str(), cause.object.uid.as_deref()), ("apps/v1", Some("set-new")));
    }
}

/// A refusal names what refuses; where it does not, the pod that could not be made is named.
#[rstest]
#[case::quota("pods \"web-1\" is forbidden: exceeded quota: small, requested: pods=1", "ResourceQuota", "small", true)]
#[case::policy(
    "pods \"web-1\" is forbidden: ValidatingAdmissionPolicy 'no-root' with binding 'b' denied request: no",
    "ValidatingAdmissionPolicy",
    "no-root",
    false
)]
#[case::account(
    "pods \"web-1\" is forbidden: error looking up service account shop/bot: serviceaccount \"bot\" not found",
    "ServiceAccount",
    "bot",
    true
)]
#[case::pod_security(
    "pods \"web-1\" is forbidden: violates PodSecurity \"restricted:latest\": x",
    "Namespace",
    "shop",
    false
)]
#[case::namespace(
    "pods \"web-1\" is forbidden: unable to create new content in namespace shop because it is being terminated",
    "Namespace",
    "shop",
    false
)]
#[case::webhook("admission webhook \"no.example.com\" denied the request: no", "Deployment", "web", true)]
#[case::webhook_of_a_set(
    "create Pod web-0 in StatefulSet web failed error: admission webhook denied",
    "Pod",
    "web-0",
    true
)]
#[case::limit("pods \"web-1\" is forbidden: maximum cpu usage per Container is 1", "Pod", "web-1", true)]
fn a_refusal_names_its_object(#[case] message: &str, #[case] kind: &str, #[case] name: &str, #[case] namespaced: bool) {
    let workload = Workload { replica_failure: Some(condition("FailedCreate", message)), ..deployment() };
    let cause = first(&workload, &[], restart());
    assert_eq!((cause.object.kind.as_str(), cause.object.name.as_str()), (kind, name));
    assert_eq!(cause.object.namespace.is_some(), namespaced, "{cause:?}");
    assert_eq!((cause.words.as_str(), cause.row.place), (message, Place::Creation));
}

/// Beside a pod that is restarted, its controller is another object than the target.
#[test]
fn a_controller_that_is_not_the_target_is_named() {
    let workload =
        Workload { replica_failure: Some(condition("FailedCreate", "pods \"x\" is forbidden: no")), ..deployment() };
    let target = crate::cluster::fake::object(Kind::Pod);
    let controller = ObjectRef { uid: Some("other".to_owned()), ..crate::cluster::fake::object(Kind::Deployment) };
    let cause = Seen::new(&workload, &[], scale())
        .look(|seen| of(Situation { target: &target, controller: &controller, ..seen }))
        .remove(0);
    assert_eq!((cause.object.kind.as_str(), cause.object.uid.as_deref()), ("Deployment", Some("other")));
}

/// A StatefulSet and a DaemonSet have no condition: their events tell, while pods are missing.
#[rstest]
#[case::missing(&[old("db-0")], true)]
#[case::all_are_there(&[old("db-0"), unready(old("db-1"))], false)]
fn events_say_why_pods_cannot_be_made(#[case] pods: &[PodView], #[case] told: bool) {
    let failed = event(
        "FailedCreate",
        "create Pod db-1 in StatefulSet db failed error: pods \"db-1\" is forbidden: exceeded quota: small",
        true,
        3,
    );
    let workload = workload(Kind::StatefulSet, json!({}));
    let all = Seen { evidence: events("u", &[failed]), ..Seen::new(&workload, pods, scale()) }.causes();
    let cause = &all[0];
    assert_eq!(cause.row.place == Place::Creation, told, "{all:?}");
    if told {
        assert!(
            cause
                .to_string()
                .starts_with("resourcequota small: FailedCreate since 2026-01-01T00:01:02Z: create Pod db-1"),
            "{cause}"
        );
    }
}

/// Of a Deployment the events of its ReplicaSet count, and conditions come before events.
#[test]
fn events_of_a_set_are_its_own() {
    let failed = event("FailedCreate", "Error creating: pods \"web-1\" is forbidden: no", true, 3);
    let sets = [set("new", 2, 2)];
    let (workload, pods) = (deployment(), [new("a")]);
    let seen = |workload, evidence| Seen { sets: &sets, evidence, ..Seen::new(workload, &pods, restart()) };
    let cause = seen(&workload, events("set-new", std::slice::from_ref(&failed))).causes().remove(0);
    assert_eq!((cause.object.kind.as_str(), cause.object.name.as_str()), ("ReplicaSet", "web-new"));
    let own = Workload { replica_failure: Some(condition("FailedCreate", "the condition")), ..deployment() };
    let all = seen(&own, events("set-new", &[failed])).causes();
    let told: Vec<_> = all.iter().map(|cause| cause.words.as_str()).collect();
    assert_eq!(told, ["the condition"]);
}

fn late(updated: &str) -> Workload {
    let out_of_time = Condition { updated: updated.to_owned(), ..condition("ProgressDeadlineExceeded", "timed out") };
    Workload { out_of_time: Some(out_of_time), ..deployment() }
}

#[test]
fn an_exceeded_progress_deadline_names_what_stands_in_the_way() {
    let all = causes(&late("t"), &[old("z"), unready(new("a"))], restart());
    let says = "pod a: container app: ContainersNotReady since 2026-01-01T00:01:00Z: containers with unready status: [app]; its progressDeadlineSeconds is exceeded: timed out";
    assert_eq!((all[0].to_string().as_str(), all[0].class), (says, Class::Certain));
    assert_eq!(all[1].class, Class::Slow);
    // The worst one is named.
    let all = causes(&late("t"), &[unready(new("a")), stuck(new("b"), Class::MayPass)], restart());
    assert_eq!((all[0].object.name.as_str(), all[0].class), ("b", Class::Certain));
}

#[test]
fn an_exceeded_progress_deadline_without_pods_names_the_set() {
    let sets = [set("old", 1, 2), set("new", 1, 2)];
    let (workload, pods) = (late("t"), [new("a"), old("b")]);
    let of =
        |sets: &[SetView], pods: &[PodView]| Seen { sets, ..Seen::new(&workload, pods, restart()) }.causes().remove(0);
    assert_eq!(of(&sets, &pods).object.name, "b", "a pod of before stands there");
    let cause = of(&sets, &[new("a")]);
    assert_eq!(cause.to_string(), "replicaset web-new: ProgressDeadlineExceeded since 2026-01-01T00:01:02Z: timed out");
    assert_eq!(cause.class, Class::Certain);
    assert_eq!(of(&[], &[new("a")]).object.kind, "Deployment");
}

#[rstest]
#[case::of_an_earlier_rollout(Goal { stale_deadline: Some("t"), ..restart() }, false)]
#[case::of_this_one(Goal { stale_deadline: Some("s"), ..restart() }, true)]
#[case::a_scale_is_no_rollout(scale(), false)]
fn a_deadline_that_an_earlier_rollout_exceeded_is_not_ours(#[case] goal: Goal<'static>, #[case] ours: bool) {
    let cause = first(&late("t"), &[], goal);
    assert_eq!(cause.class == Class::Certain, ours, "{cause:?}");
}

/// Where nothing is known, the object that lacks something is named, and its controller only if there is no such.
#[rstest]
#[case::a_set_that_lacks_pods(Kind::Deployment, &[new("a")], &[set("old", 0, 2), set("new", 2, 2)], restart(), ("ReplicaSet", "web-new"), Some("set-new"))]
#[case::a_set_that_is_behind(Kind::Deployment, &[new("a")], &[SetView { observed: false, ..set("new", 1, 2) }], restart(), ("ReplicaSet", "web-new"), Some("set-new"))]
#[case::sets_that_have_theirs(Kind::Deployment, &[new("a")], &[set("new", 1, 2)], restart(), ("Deployment", "web"), Some("u"))]
#[case::the_next_pod_of_a_set(Kind::StatefulSet, &[new("web-0")], &[], restart(), ("Pod", "web-1"), Some("u"))]
#[case::the_first_pod_of_a_set(Kind::StatefulSet, &[new("web-1")], &[], scale(), ("Pod", "web-0"), Some("u"))]
#[case::none_is_missing(Kind::StatefulSet, &[new("web-0"), new("web-1"), new("x")], &[], scale(), ("Pod", "web-0"), Some("web-0"))]
#[case::one_too_many(Kind::ReplicaSet, &[new("a"), new("b"), new("c")], &[], scale(), ("Pod", "a"), Some("a"))]
#[case::a_replica_set(Kind::ReplicaSet, &[new("a")], &[], scale(), ("ReplicaSet", "web"), Some("u"))]
#[case::as_many_as_there_shall_be(Kind::ReplicaSet, &[new("a"), new("b")], &[], scale(), ("ReplicaSet", "web"), Some("u"))]
fn the_default_names_what_is_missing(
    #[case] kind: Kind,
    #[case] pods: &[PodView],
    #[case] sets: &[SetView],
    #[case] goal: Goal<'static>,
    #[case] named: (&str, &str),
    #[case] about: Option<&str>,
) {
    let workload = workload(kind, json!({}));
    let all = Seen { sets, ..Seen::new(&workload, pods, goal) }.causes();
    let [cause] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!((cause.object.kind.as_str(), cause.object.name.as_str()), named);
    assert_eq!((cause.about.as_deref(), cause.class), (about, Class::Slow));
    let note = format!(
        "NotReported since 2026-01-01T00:01:00Z; its controller has {} of 2 pods, and has not said why",
        pods.len()
    );
    assert!(cause.to_string().ends_with(&note), "{cause}");
}

/// What is missing comes before what is still there of before: that waits for it.
#[rstest]
#[case::of_a_stateful_set(Kind::StatefulSet, &[old("db-0")], &[], ("Pod", "web-1"))]
#[case::that_still_leaves(Kind::StatefulSet, &[old("db-0"), leaving(old("db-1"))], &[], ("Pod", "db-1"))]
#[case::that_is_there(Kind::StatefulSet, &[old("db-0"), old("db-1")], &[], ("Pod", "db-0"))]
#[case::out_of_reach(Kind::StatefulSet, &[old("db-0"), old("db-2")], &[], ("Pod", "web-1"))]
#[case::of_a_daemon_set(Kind::DaemonSet, &[old("a")], &[], ("DaemonSet", "web"))]
#[case::a_daemon_that_leaves(Kind::DaemonSet, &[old("a"), leaving(old("b"))], &[], ("Pod", "b"))]
#[case::a_replica_set_makes_another_at_once(Kind::ReplicaSet, &[old("a"), leaving(old("b"))], &[], ("ReplicaSet", "web"))]
#[case::of_a_set(Kind::Deployment, &[old("a")], &[set("old", 2, 2), set("new", 0, 2)], ("ReplicaSet", "web-old"))]
#[case::of_another_set(Kind::Deployment, &[old("a")], &[set("old", 1, 2), set("new", 1, 2)], ("ReplicaSet", "web-new"))]
#[case::of_none(Kind::Deployment, &[old("a")], &[set("old", 1, 2), set("new", 0, 2)], ("Pod", "a"))]
fn what_is_missing_is_told_first(
    #[case] kind: Kind,
    #[case] pods: &[PodView],
    #[case] sets: &[SetView],
    #[case] named: (&str, &str),
) {
    let workload = workload(kind, json!({}));
    let cause = Seen { sets, ..Seen::new(&workload, pods, restart()) }.causes().remove(0);
    assert_eq!((cause.object.kind.as_str(), cause.object.name.as_str()), named, "{cause:?}");
}

#[rstest]
#[case::starts(unready(new("a")), true)]
#[case::silent(silent(new("a")), true)]
#[case::says_nothing(PodView { ready: false, ..new("a") }, true)]
#[case::may_pass(stuck(new("a"), Class::MayPass), false)]
#[case::certain(stuck(new("a"), Class::Certain), false)]
#[case::down(crashing(crashed(1, true, None)), false)]
#[case::runs_again(crashing(crashed(1, false, Some(1))), true)]
fn a_pod_may_only_be_starting(#[case] pod: PodView, #[case] starts: bool) {
    assert_eq!(only_starts(&pod), starts);
}

#[test]
fn times_are_whole_seconds() {
    let time: Timestamp = "2026-01-01T00:00:01.7Z".parse().unwrap();
    assert_eq!(cause::seconds(time), "2026-01-01T00:00:01Z");
}
