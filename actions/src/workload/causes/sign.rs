//! Reads from a pod why it is not ready: the parts of its status that the table of causes looks at.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateTerminated, ContainerStatus, Pod, PodCondition, PodSpec, PodStatus,
};

use super::table::Place;

/// Something that a pod that is not ready says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sign {
    /// Place where it is said.
    pub place: Place,
    /// Kubernetes' own word for the state.
    pub state: String,
    /// The cluster's own words, as they stand there.
    pub words: String,
    /// Name of the container that it is about.
    pub container: Option<String>,
    /// Time since which it is so, if the cluster says that.
    pub since: Option<Timestamp>,
    /// Remark in our words.
    pub note: Option<String>,
}

/// A container that ended and is started again: now, or before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crashed {
    /// Name of the container.
    pub container: String,
    /// Number of its instances that have ended, in its whole life.
    pub ended: i32,
    /// True when no instance runs now.
    pub down: bool,
    /// Start of the instance that runs now.
    pub running_since: Option<Timestamp>,
    /// Start and end of the last instance that ended.
    pub last: Option<(Timestamp, Timestamp)>,
    /// Kubernetes' own word for the state.
    pub state: String,
    /// The cluster's own words.
    pub words: String,
    /// Exit code and reason of the last instance that ended.
    pub exit: Option<(i32, String)>,
}

impl Sign {
    pub(crate) fn new(place: Place, state: &str, words: &str) -> Self {
        Self { place, state: state.to_owned(), words: words.to_owned(), container: None, since: None, note: None }
    }
}

/// Returns why the node refused or ended the pod without its containers, if it did.
pub fn failure(pod: &Pod) -> Option<Sign> {
    let status = pod.status.as_ref().filter(|status| status.phase.as_deref() == Some("Failed"))?;
    let reason = status.reason.as_deref().filter(|reason| !reason.is_empty())?;
    let since = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    Some(Sign { since, ..Sign::new(Place::Failed, reason, status.message.as_deref().unwrap_or_default()) })
}

/// Returns why a pod that is neither ready nor finished is not ready; the crashes of its containers stand apart.
pub fn signs(pod: &Pod) -> Vec<Sign> {
    let (no_spec, no_status) = (PodSpec::default(), PodStatus::default());
    let (spec, status) = (pod.spec.as_ref().unwrap_or(&no_spec), pod.status.as_ref().unwrap_or(&no_status));
    if let Some(scheduled) = condition(status, "PodScheduled").filter(|one| one.status == "False") {
        return vec![unscheduled(spec, scheduled)];
    }
    let reported = status.container_statuses.iter().chain(&status.init_container_statuses).any(|all| !all.is_empty());
    if !reported {
        return vec![unreported(pod, spec.node_name.as_deref())];
    }
    let mut all: Vec<Sign> = statuses(spec, status).filter_map(|one| of_container(&one, status)).collect();
    // The main containers wait for it.
    if all.iter().any(|sign| sign.place == Place::Running && sign.state == "PodInitializing") {
        all.retain(|sign| sign.place != Place::Waiting || sign.state != "PodInitializing");
    }
    if all.is_empty() { vec![not_ready(spec, status)] } else { all }
}

/// Returns the containers that have ended and are started again.
pub fn crashes(pod: &Pod) -> Vec<Crashed> {
    let no_spec = PodSpec::default();
    let (spec, Some(status)) = (pod.spec.as_ref().unwrap_or(&no_spec), pod.status.as_ref()) else { return Vec::new() };
    statuses(spec, status).filter_map(|one| crash(&one)).collect()
}

/// A container's status, with what its spec says.
struct OfContainer<'a> {
    status: &'a ContainerStatus,
    /// True for an init container that has to end before the next one starts.
    init: bool,
    /// True when the container is started again also after it ended well.
    always: bool,
}

fn statuses<'a>(spec: &'a PodSpec, status: &'a PodStatus) -> impl Iterator<Item = OfContainer<'a>> {
    let is_sidecar = |name: &str| {
        let own = |one: &&Container| one.name == name;
        spec.init_containers
            .iter()
            .flatten()
            .find(own)
            .is_some_and(|one| one.restart_policy.as_deref() == Some("Always"))
    };
    let always = spec.restart_policy.as_deref().is_none_or(|policy| policy == "Always");
    let init = status.init_container_statuses.iter().flatten().map(move |status| {
        let sidecar = is_sidecar(&status.name);
        OfContainer { status, init: !sidecar, always: sidecar }
    });
    let main = status.container_statuses.iter().flatten();
    init.chain(main.map(move |status| OfContainer { status, init: false, always }))
}

fn condition<'a>(status: &'a PodStatus, kind: &str) -> Option<&'a PodCondition> {
    status.conditions.iter().flatten().find(|one| one.type_ == kind)
}

fn since(condition: &PodCondition) -> Option<Timestamp> {
    condition.last_transition_time.as_ref().map(|time| time.0)
}

fn unscheduled(spec: &PodSpec, scheduled: &PodCondition) -> Sign {
    let reason = scheduled.reason.as_deref().unwrap_or("Unscheduled");
    let gates: Vec<&str> = spec.scheduling_gates.iter().flatten().map(|gate| gate.name.as_str()).collect();
    let note = (!gates.is_empty()).then(|| format!("its scheduling gates: {}", gates.join(", ")));
    let message = scheduled.message.as_deref().unwrap_or_default();
    Sign { since: since(scheduled), note, ..Sign::new(Place::Scheduling, reason, message) }
}

/// Returns the sign of a pod about which its scheduler or its kubelet has said nothing.
fn unreported(pod: &Pod, node: Option<&str>) -> Sign {
    let status = pod.status.as_ref();
    let bound = status.and_then(|status| condition(status, "PodScheduled")).and_then(since);
    let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let note = if let Some(node) = node {
        format!("bound to node {node}, and its kubelet has reported nothing")
    } else {
        let scheduler = pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref());
        format!("its scheduler ({}) has reported nothing", scheduler.unwrap_or("default-scheduler"))
    };
    let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
    Sign { since: bound.or(created), note: Some(note), ..Sign::new(Place::Silence, phase, phase) }
}

fn of_container(one: &OfContainer<'_>, status: &PodStatus) -> Option<Sign> {
    let container = Some(one.status.name.clone());
    let state = one.status.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or("waiting");
        let words = waiting.message.as_deref().or_else(|| unready(status)?.message.as_deref());
        let sign = Sign::new(Place::Waiting, reason, words.unwrap_or_default());
        // The crashes of a container are counted apart.
        return (reason != BACK_OFF).then_some(Sign { container, ..sign });
    }
    let running = state.running.as_ref()?;
    let started = running.started_at.as_ref().map(|time| time.0);
    if one.init {
        let message = condition(status, "Initialized").and_then(|one| one.message.as_deref());
        let sign = Sign::new(Place::Running, "PodInitializing", message.unwrap_or(&one.status.name));
        return Some(Sign { container, since: started, note: Some("an init container runs".to_owned()), ..sign });
    }
    (!one.status.ready).then(|| {
        let says = unready(status);
        let reason = says.and_then(|one| one.reason.as_deref()).unwrap_or("ContainersNotReady");
        let message = says.and_then(|one| one.message.as_deref()).unwrap_or(reason);
        let note = "it runs but is not ready: its startup or readiness probe fails or has not passed yet";
        let sign = Sign::new(Place::Running, reason, message);
        Sign { container, since: says.and_then(since).or(started), note: Some(note.to_owned()), ..sign }
    })
}

/// Returns the condition that says that containers are not ready: the one that says more of it.
fn unready(status: &PodStatus) -> Option<&PodCondition> {
    let says = ["ContainersReady", "Ready"].into_iter().filter_map(|kind| condition(status, kind));
    says.filter(|one| one.status == "False").max_by_key(|one| one.message.is_some())
}

/// Returns why a pod is not ready although all its containers are: a readiness gate, or its node.
fn not_ready(spec: &PodSpec, status: &PodStatus) -> Sign {
    let ready = condition(status, "Ready");
    let says = |one: Option<&PodCondition>| one.and_then(|one| one.message.clone()).unwrap_or_default();
    let reason = ready.and_then(|one| one.reason.as_deref()).unwrap_or("NotReady");
    let since = ready.and_then(since);
    let gates = spec.readiness_gates.iter().flatten().map(|gate| gate.condition_type.as_str());
    let open = |gate: &&str| condition(status, gate).is_none_or(|one| one.status != "True");
    let containers = condition(status, "ContainersReady").is_none_or(|one| one.status == "True");
    if let Some(gate) = gates.filter(|_| containers).find(open) {
        let own = says(condition(status, gate));
        let words = if own.is_empty() { says(ready) } else { own };
        let words = if words.is_empty() { gate.to_owned() } else { words };
        let note = Some(format!("its readiness gate {gate} is not True"));
        return Sign { since, note, ..Sign::new(Place::Running, "ReadinessGatesNotReady", &words) };
    }
    let words = says(ready);
    let words = if words.is_empty() { status.phase.clone().unwrap_or_default() } else { words };
    Sign { since, ..Sign::new(Place::Running, reason, &words) }
}

/// Reason of a container that is started again after a while.
const BACK_OFF: &str = "CrashLoopBackOff";

fn crash(one: &OfContainer<'_>) -> Option<Crashed> {
    let status = one.status;
    let terminated = |state: &Option<ContainerState>| state.as_ref().and_then(|state| state.terminated.clone());
    let waiting = status.state.as_ref().and_then(|state| state.waiting.as_ref());
    let ended_now = terminated(&status.state);
    // An init container that ended well is done, and so is any container that is not always started again.
    if ended_now.as_ref().is_some_and(|ended| ended.exit_code == 0 && !one.always) {
        return None;
    }
    let back_off = waiting.filter(|waiting| waiting.reason.as_deref() == Some(BACK_OFF));
    let down = ended_now.is_some() || back_off.is_some();
    if !down && status.restart_count == 0 {
        return None;
    }
    let running = status.state.as_ref().and_then(|state| state.running.as_ref());
    let last = ended_now.or_else(|| terminated(&status.last_state));
    let word = last.as_ref().and_then(|last| last.reason.as_deref()).unwrap_or("Error").to_owned();
    let state = if back_off.is_some() { BACK_OFF.to_owned() } else { word.clone() };
    let words = back_off.and_then(|waiting| waiting.message.clone()).or_else(|| last.as_ref().and_then(says));
    Some(Crashed {
        container: status.name.clone(),
        ended: status.restart_count.saturating_add(i32::from(down)),
        down,
        running_since: running.and_then(|running| running.started_at.as_ref()).map(|time| time.0),
        last: last.as_ref().and_then(|last| Some((last.started_at.as_ref()?.0, last.finished_at.as_ref()?.0))),
        words: words.unwrap_or_else(|| word.clone()),
        exit: last.map(|last| (last.exit_code, word)),
        state,
    })
}

/// Returns the runtime's message about a container that did not start. Another message is the container's own, or the
/// end of its log, and may hold what is secret.
fn says(ended: &ContainerStateTerminated) -> Option<String> {
    let by_runtime =
        matches!(ended.reason.as_deref(), Some("StartError" | "ContainerCannotRun" | "ContainerStatusUnknown"));
    ended.message.clone().filter(|_| by_runtime)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    const T1: &str = "2026-01-01T00:00:01Z";
    const T2: &str = "2026-01-01T00:00:02Z";
    const T9: &str = "2026-01-01T00:00:09Z";

    #[expect(clippy::unnecessary_wraps, reason = "times of signs may be absent")]
    fn at(text: &str) -> Option<Timestamp> {
        Some(text.parse().unwrap())
    }

    fn pod(spec: Value, status: Value) -> Pod {
        let mut all = json!({ "metadata": { "creationTimestamp": T1 }, "spec": { "nodeName": "n1", "containers": [] }, "status": { "phase": "Pending" } });
        json_patch::merge(&mut all, &json!({ "spec": spec, "status": status }));
        serde_json::from_value(all).unwrap()
    }

    fn container(name: &str, ready: bool, restarts: i32, state: Value, last: Value) -> Value {
        json!({ "name": name, "image": "", "imageID": "", "ready": ready, "restartCount": restarts, "state": state, "lastState": last })
    }

    fn condition_of(kind: &str, status: &str, reason: &str, message: Option<&str>) -> Value {
        json!({ "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": T2 })
    }

    fn sign(place: Place, state: &str, words: &str, since: &str, note: Option<&str>) -> Sign {
        Sign { since: at(since), note: note.map(str::to_owned), ..Sign::new(place, state, words) }
    }

    #[rstest]
    #[case::no_room(
        json!({}), condition_of("PodScheduled", "False", "Unschedulable", Some("0/3 nodes")),
        sign(Place::Scheduling, "Unschedulable", "0/3 nodes", T2, None)
    )]
    #[case::gated(
        json!({ "schedulingGates": [{ "name": "a/b" }, { "name": "c" }] }), condition_of("PodScheduled", "False", "SchedulingGated", Some("gates")),
        sign(Place::Scheduling, "SchedulingGated", "gates", T2, Some("its scheduling gates: a/b, c"))
    )]
    #[case::without_a_reason(
        json!({}), json!({ "type": "PodScheduled", "status": "False", "lastTransitionTime": T2 }),
        sign(Place::Scheduling, "Unscheduled", "", T2, None)
    )]
    #[case::bound(
        json!({}), condition_of("PodScheduled", "True", "", None),
        sign(Place::Silence, "Pending", "Pending", T2, Some("bound to node n1, and its kubelet has reported nothing"))
    )]
    #[case::no_scheduler(
        json!({ "nodeName": null, "schedulerName": "mine" }), condition_of("Other", "True", "", None),
        sign(Place::Silence, "Pending", "Pending", T1, Some("its scheduler (mine) has reported nothing"))
    )]
    #[case::the_usual_scheduler(
        json!({ "nodeName": null }), condition_of("Other", "True", "", None),
        sign(Place::Silence, "Pending", "Pending", T1, Some("its scheduler (default-scheduler) has reported nothing"))
    )]
    fn a_pod_that_no_kubelet_has(#[case] spec: Value, #[case] condition: Value, #[case] expected: Sign) {
        assert_eq!(signs(&pod(spec, json!({ "conditions": [condition] }))), [expected]);
    }

    #[test]
    fn a_pod_that_says_nothing_at_all_is_silent() {
        let bare: Pod = serde_json::from_value(json!({ "metadata": { "creationTimestamp": T1 } })).unwrap();
        let silent = sign(
            Place::Silence,
            "Pending",
            "Pending",
            T1,
            Some("its scheduler (default-scheduler) has reported nothing"),
        );
        assert_eq!(signs(&bare), [silent]);
        assert_eq!((crashes(&bare), failure(&bare)), (Vec::new(), None));
    }

    #[test]
    fn containers_say_what_they_wait_for() {
        let waits = |reason: Value| json!({ "waiting": { "reason": reason, "message": "words" } });
        let all = [
            container("app", false, 0, waits(json!("ImagePullBackOff")), json!({})),
            container("other", false, 0, waits(Value::Null), json!({})),
            container("done", true, 0, json!({ "running": {} }), json!({})),
            container("loops", false, 2, waits(json!("CrashLoopBackOff")), json!({})),
        ];
        let found = signs(&pod(json!({}), json!({ "containerStatuses": all })));
        let says: Vec<_> = found
            .iter()
            .map(|one| (one.place, one.state.as_str(), one.words.as_str(), one.container.as_deref()))
            .collect();
        assert_eq!(
            says,
            [
                (Place::Waiting, "ImagePullBackOff", "words", Some("app")),
                (Place::Waiting, "waiting", "words", Some("other")),
            ]
        );
    }

    /// What is only prepared has no words of its own.
    #[test]
    fn a_container_without_a_message_has_its_pods() {
        let all = [container("app", false, 0, json!({ "waiting": { "reason": "ContainerCreating" } }), json!({}))];
        let conditions =
            [condition_of("Ready", "False", "ContainersNotReady", Some("containers with unready status: [app]"))];
        let found = signs(&pod(json!({}), json!({ "conditions": conditions, "containerStatuses": all })));
        assert_eq!(
            (found[0].state.as_str(), found[0].words.as_str()),
            ("ContainerCreating", "containers with unready status: [app]")
        );
    }

    #[rstest]
    #[case::containers_ready_says_more(
        json!([condition_of("Ready", "False", "A", None), condition_of("ContainersReady", "False", "B", Some("containers with unready status: [app]"))]),
        "B", "containers with unready status: [app]", T2
    )]
    #[case::ready_says_more(json!([condition_of("ContainersReady", "False", "B", None), condition_of("Ready", "False", "A", Some("words"))]), "A", "words", T2)]
    #[case::true_ones_say_nothing(json!([condition_of("Ready", "True", "A", Some("x"))]), "ContainersNotReady", "ContainersNotReady", T9)]
    #[case::none(json!([]), "ContainersNotReady", "ContainersNotReady", T9)]
    fn a_container_that_runs_is_probed(
        #[case] conditions: Value,
        #[case] state: &str,
        #[case] words: &str,
        #[case] since: &str,
    ) {
        let all = [container("app", false, 0, json!({ "running": { "startedAt": T9 } }), json!({}))];
        let found = signs(&pod(json!({}), json!({ "conditions": conditions, "containerStatuses": all })));
        let note = "it runs but is not ready: its startup or readiness probe fails or has not passed yet";
        let expected =
            Sign { container: Some("app".to_owned()), ..sign(Place::Running, state, words, since, Some(note)) };
        assert_eq!(found, [expected]);
    }

    /// A sidecar is no init container that has to end.
    #[rstest]
    #[case::init(json!({ "name": "setup" }), "PodInitializing", "containers with incomplete status: [setup]")]
    #[case::sidecar(json!({ "name": "setup", "restartPolicy": "Always" }), "ContainersNotReady", "ContainersNotReady")]
    fn an_init_container_that_runs_is_no_failing_probe(#[case] init: Value, #[case] state: &str, #[case] words: &str) {
        let waits = json!({ "waiting": { "reason": "PodInitializing" } });
        let conditions = [condition_of(
            "Initialized",
            "False",
            "ContainersNotInitialized",
            Some("containers with incomplete status: [setup]"),
        )];
        let status = json!({ "conditions": conditions,
            "initContainerStatuses": [container("setup", false, 0, json!({ "running": { "startedAt": T9 } }), json!({}))],
            "containerStatuses": [container("app", false, 0, waits, json!({}))] });
        let found = signs(&pod(json!({ "initContainers": [init] }), status));
        let first = &found[0];
        assert_eq!(
            (first.place, first.state.as_str(), first.words.as_str(), first.since),
            (Place::Running, state, words, at(T9))
        );
        assert_eq!(first.container.as_deref(), Some("setup"));
        let says = if state == "PodInitializing" { "an init container runs" } else { "it runs but is not ready" };
        assert!(first.note.as_deref().is_some_and(|note| note.starts_with(says)), "{first:?}");
        // The main container waits for it, and is told only beside a sidecar, for which nothing waits.
        assert_eq!(found.len(), if state == "PodInitializing" { 1 } else { 2 });
    }

    #[rstest]
    #[case::its_own_words(json!([condition_of("ContainersReady", "True", "", None), condition_of("Ready", "False", "ReadinessGatesNotReady", Some("general")), condition_of("lb/ready", "False", "x", Some("targets are not healthy"))]),
        "ReadinessGatesNotReady", "targets are not healthy", Some("its readiness gate lb/ready is not True"))]
    #[case::not_there(json!([condition_of("Ready", "False", "ReadinessGatesNotReady", Some("general"))]),
        "ReadinessGatesNotReady", "general", Some("its readiness gate lb/ready is not True"))]
    #[case::without_words(json!([condition_of("Ready", "False", "ReadinessGatesNotReady", None)]),
        "ReadinessGatesNotReady", "lb/ready", Some("its readiness gate lb/ready is not True"))]
    #[case::open(json!([condition_of("Ready", "False", "Other", Some("words")), condition_of("lb/ready", "True", "x", None)]), "Other", "words", None)]
    #[case::its_containers_first(json!([condition_of("ContainersReady", "False", "", None), condition_of("Ready", "False", "Other", None)]), "Other", "Pending", None)]
    fn a_gate_is_named(
        #[case] conditions: Value,
        #[case] state: &str,
        #[case] words: &str,
        #[case] note: Option<&str>,
    ) {
        let all = [container("app", true, 0, json!({ "running": {} }), json!({}))];
        let spec = json!({ "readinessGates": [{ "conditionType": "lb/ready" }] });
        let found = signs(&pod(spec, json!({ "conditions": conditions, "containerStatuses": all })));
        assert_eq!(found, [sign(Place::Running, state, words, T2, note)]);
    }

    #[rstest]
    #[case::refused(json!({ "phase": "Failed", "reason": "NodeAffinity", "message": "Pod was rejected" }), Some(("NodeAffinity", "Pod was rejected")))]
    #[case::ended_by_itself(json!({ "phase": "Failed" }), None)]
    #[case::empty(json!({ "phase": "Failed", "reason": "" }), None)]
    #[case::runs(json!({ "phase": "Running", "reason": "NodeLost" }), None)]
    fn a_node_that_refuses_says_so(#[case] status: Value, #[case] says: Option<(&str, &str)>) {
        let expected = says.map(|(state, words)| sign(Place::Failed, state, words, T1, None));
        assert_eq!(failure(&pod(json!({}), status)), expected);
    }

    fn ended(code: i32, reason: &str) -> Value {
        json!({ "terminated": { "exitCode": code, "reason": reason, "message": "words", "startedAt": T1, "finishedAt": T9 } })
    }

    fn crashed(state: &str, count: i32, down: bool, words: &str, exit: (i32, &str)) -> Crashed {
        Crashed {
            container: "app".to_owned(),
            ended: count,
            down,
            running_since: None,
            last: Some((T1.parse().unwrap(), T9.parse().unwrap())),
            state: state.to_owned(),
            words: words.to_owned(),
            exit: Some((exit.0, exit.1.to_owned())),
        }
    }

    /// Whether it waits for its next start, or only says how it ended: both are the same loop.
    #[rstest]
    #[case::backs_off(2, json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 20s" } }), ended(1, "Error"), Some(crashed("CrashLoopBackOff", 3, true, "back-off 20s", (1, "Error"))))]
    #[case::says_how_it_ended(2, ended(137, "OOMKilled"), json!({}), Some(crashed("OOMKilled", 3, true, "OOMKilled", (137, "OOMKilled"))))]
    #[case::ended_well(0, ended(0, "Completed"), json!({}), Some(crashed("Completed", 1, true, "Completed", (0, "Completed"))))]
    #[case::did_not_start(1, ended(128, "StartError"), json!({}), Some(crashed("StartError", 2, true, "words", (128, "StartError"))))]
    #[case::cannot_run(1, ended(128, "ContainerCannotRun"), json!({}), Some(crashed("ContainerCannotRun", 2, true, "words", (128, "ContainerCannotRun"))))]
    #[case::runs_again(1, json!({ "running": { "startedAt": T2 } }), ended(1, "Error"), Some(Crashed { running_since: at(T2), ..crashed("Error", 1, false, "Error", (1, "Error")) }))]
    #[case::runs(0, json!({ "running": { "startedAt": T2 } }), json!({}), None)]
    #[case::waits_for_something_else(0, json!({ "waiting": { "reason": "ContainerCreating" } }), json!({}), None)]
    fn crashes_are_counted(
        #[case] restarts: i32,
        #[case] state: Value,
        #[case] last: Value,
        #[case] expected: Option<Crashed>,
    ) {
        let all = [container("app", false, restarts, state, last)];
        assert_eq!(crashes(&pod(json!({}), json!({ "containerStatuses": all }))).pop(), expected);
    }

    #[test]
    fn one_without_any_word_is_an_error() {
        let all = [container("app", false, 1, json!({ "terminated": { "exitCode": 3 } }), json!({}))];
        let found = crashes(&pod(json!({}), json!({ "containerStatuses": all }))).remove(0);
        assert_eq!(
            (found.state.as_str(), found.words.as_str(), found.last, found.exit),
            ("Error", "Error", None, Some((3, "Error".to_owned())))
        );
    }

    #[rstest]
    #[case::init(json!({ "initContainers": [{ "name": "setup" }] }), "initContainerStatuses", "setup", 0)]
    #[case::failed_init(json!({ "initContainers": [{ "name": "setup" }] }), "initContainerStatuses", "setup", 1)]
    #[case::sidecar(json!({ "initContainers": [{ "name": "setup", "restartPolicy": "Always" }] }), "initContainerStatuses", "setup", 0)]
    #[case::of_a_job(json!({ "restartPolicy": "OnFailure" }), "containerStatuses", "app", 0)]
    #[case::failed_of_a_job(json!({ "restartPolicy": "OnFailure" }), "containerStatuses", "app", 1)]
    #[case::always(json!({ "restartPolicy": "Always" }), "containerStatuses", "app", 0)]
    fn what_ended_well_and_is_done_did_not_crash(
        #[case] spec: Value,
        #[case] list: &str,
        #[case] name: &str,
        #[case] code: i32,
    ) {
        let all = [container(name, false, 0, ended(code, "X"), json!({}))];
        let again =
            code != 0 || spec["initContainers"][0]["restartPolicy"] == "Always" || spec["restartPolicy"] == "Always";
        assert_eq!(!crashes(&pod(spec, json!({ list: all }))).is_empty(), again);
    }
}
