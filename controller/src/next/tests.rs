//! `next` as a table that reads as its specification: what is known, and what is done. Random histories are in `histories`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "of what the test itself made")]
#![allow(
    clippy::struct_excessive_bools,
    clippy::too_many_lines,
    reason = "each is one thing that is known; each line is a case"
)]

mod histories;

use std::time::Duration;

use contract::result::Effect;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::api::FINALIZER;
use crate::observe::slim::{SlimJob, SlimPod};
use crate::observe::{Life, Seen};
use crate::plan;
use crate::settings::ConditionLimits;

/// When the execution was created, and its Job.
pub const CREATED: &str = "2026-11-25T03:00:00Z";
/// UID of the execution, and so `ACTION_ID`.
pub const UID: &str = "948897b5-4a56-4dcc-bdd4-910732282bc7";

/// A time, so many seconds after the creation.
pub fn at(seconds: i64) -> Timestamp {
    CREATED.parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
}

/// A result of this execution, as a termination message has it.
pub fn message(code: &str, success: bool, effect: &str, retryable: bool) -> String {
    json!({
        "apiVersion": "kubernetesexecution.kubernaut.io/v1alpha1", "kind": "ActionResult", "actionId": UID, "code": code,
        "success": success, "effect": effect, "retryable": retryable, "dryRun": false, "output": "done", "error": "not done",
        "startTime": CREATED, "endTime": CREATED,
        "rollbackInformation": { "available": effect == "applied", "rollbackAction": "scale-deployment", "rollbackParameters": { "replicas": 1 } },
    })
    .to_string()
}

/// What is known in a case of the table.
#[derive(Clone)]
struct Case {
    execution: Value,
    source: Source,
    looked: bool,
    job: Option<Seen<SlimJob>>,
    foreign: Option<&'static str>,
    leaving: bool,
    pods: Vec<Seen<SlimPod>>,
    job_before: Option<SlimJob>,
    lingers: bool,
    log: Option<&'static str>,
    intended: bool,
    lost_until: Option<Timestamp>,
    fails: bool,
    turn: Turn,
    audit: Delivery,
    plan: Option<Plan>,
    repeatable: bool,
    start_deadline: Option<Duration>,
    now: Timestamp,
}

/// A held execution that the API server has just answered with, ten seconds old.
fn new() -> Case {
    let execution = json!({
        "apiVersion": "kubernetesexecution.kubernaut.io/v1alpha1", "kind": "KubernetesExecution",
        "metadata": { "name": "up", "namespace": "shop", "uid": UID, "creationTimestamp": CREATED, "finalizers": [FINALIZER] },
        "spec": { "action": { "type": "scale-deployment", "parameters": { "replicas": 3 }, "target": { "resourceName": "web" } } },
    });
    let plan = Some(plan::plan(&serde_json::from_value(execution.clone()).unwrap(), &ConditionLimits::default()));
    Case {
        execution,
        source: Source::Server,
        looked: false,
        job: None,
        foreign: None,
        leaving: false,
        pods: Vec::new(),
        job_before: None,
        lingers: false,
        log: None,
        intended: false,
        lost_until: None,
        fails: false,
        turn: Turn::Now,
        audit: Delivery::Done,
        plan,
        repeatable: true,
        start_deadline: None,
        now: at(10),
    }
}

/// A Job of this execution.
pub fn job(name: &str, uid: &str, status: &Value) -> SlimJob {
    serde_json::from_value(json!({
        "metadata": {
            "name": name, "namespace": "shop", "uid": uid, "creationTimestamp": CREATED, "resourceVersion": "1",
            "labels": { "app.kubernetes.io/managed-by": "execution-controller" },
            "ownerReferences": [{ "apiVersion": "kubernetesexecution.kubernaut.io/v1alpha1", "kind": "KubernetesExecution", "name": "up", "uid": UID, "controller": true }],
        },
        "status": status,
    }))
    .unwrap()
}

/// A pod of a Job.
pub fn pod(name: &str, job_uid: &str, status: &Value) -> SlimPod {
    serde_json::from_value(json!({
        "metadata": {
            "name": name, "uid": name, "resourceVersion": "1", "creationTimestamp": CREATED,
            "labels": { "app.kubernetes.io/managed-by": "execution-controller" },
            "ownerReferences": [{ "apiVersion": "batch/v1", "kind": "Job", "name": "up-job", "uid": job_uid, "controller": true }],
        },
        "spec": { "nodeName": "n1" }, "status": status,
    }))
    .unwrap()
}

/// The status of a pod whose container has ended.
pub fn ended(exit: i32, message: &str) -> Value {
    let phase = if exit == 0 { "Succeeded" } else { "Failed" };
    let state = json!({ "terminated": { "exitCode": exit, "message": message } });
    json!({ "phase": phase, "containerStatuses": [{ "name": "executor", "state": state }] })
}

/// The same, with the time that its kubelet says, in seconds after the creation.
fn finished_at(mut status: Value, seconds: i64) -> Value {
    status["containerStatuses"][0]["state"]["terminated"]["finishedAt"] = json!(at(seconds));
    status
}

/// A message that says when the run ended, in seconds after the creation.
fn ended_at(message: &str, seconds: i64) -> String {
    let mut message: Value = serde_json::from_str(message).unwrap();
    message["endTime"] = json!(at(seconds));
    message.to_string()
}

fn running_pod() -> Value {
    json!({ "phase": "Running", "containerStatuses": [{ "name": "executor", "state": { "running": {} } }] })
}

fn failed() -> Value {
    json!({ "conditions": [{ "type": "Failed", "status": "True" }] })
}

impl Case {
    fn with(mut self, part: &str, fields: &Value) -> Self {
        json_patch::merge(&mut self.execution[part], fields);
        self
    }
    fn spec(self, fields: Value) -> Self {
        self.with("spec", &fields)
    }
    fn status(self, fields: Value) -> Self {
        self.with("status", &fields)
    }
    fn metadata(self, fields: Value) -> Self {
        self.with("metadata", &fields)
    }
    /// An attempt runs, by the status, and by its Job.
    fn executing(self) -> Self {
        let status = json!({
            "phase": "Executing", "reason": "JobCreated", "jobName": "up-job", "jobUID": "j", "startTime": CREATED,
            "message": "attempt 1 runs as job up-job", "observedGeneration": null,
        });
        self.status(status).job(&json!({ "active": 1 }))
    }
    fn retrying(self) -> Self {
        self.status(json!({
            "phase": "Retrying", "reason": "Unavailable", "startTime": CREATED, "nextAttemptTime": at(20), "jobName": "up-job",
            "attempts": [{ "attempt": 1, "jobName": "up-job", "jobUID": "j", "code": "Unavailable", "effect": "none", "error": "not reached" }],
        }))
    }
    fn over(self, phase: &str) -> Self {
        self.status(json!({ "phase": phase, "startTime": CREATED, "endTime": CREATED }))
    }
    fn job(mut self, status: &Value) -> Self {
        self.job = Some(Seen {
            object: job("up-job", "j", status),
            life: Life::There,
            watched: true,
            last_word: false,
            gone_since: None,
            going_since: None,
        });
        self
    }
    fn job_gone(mut self) -> Self {
        self.job.as_mut().unwrap().life = Life::Gone;
        self
    }
    fn job_gone_since(mut self, second: i64) -> Self {
        self.job.as_mut().unwrap().gone_since = Some(at(second));
        self.job_gone()
    }
    fn job_terminating(mut self) -> Self {
        let time = serde_json::from_value(json!(CREATED)).unwrap();
        let job = self.job.as_mut().unwrap();
        (job.object.metadata.deletion_timestamp, job.going_since) = (Some(time), Some(at(0)));
        self
    }
    fn pod(mut self, status: &Value) -> Self {
        let name = format!("pod-{}", self.pods.len());
        self.pods.push(Seen {
            object: pod(&name, "j", status),
            life: Life::There,
            watched: true,
            last_word: false,
            gone_since: None,
            going_since: None,
        });
        self
    }
    fn pod_gone(mut self) -> Self {
        self.pods.last_mut().unwrap().life = Life::Gone;
        self
    }
    fn cached(mut self) -> Self {
        (self.source, self.plan) = (Source::Cache, None);
        self
    }
    fn looked(mut self) -> Self {
        self.looked = true;
        self
    }
    fn set(mut self, change: impl FnOnce(&mut Case)) -> Self {
        change(&mut self);
        self
    }
    fn at(mut self, seconds: i64) -> Self {
        self.now = at(seconds);
        self
    }

    fn next(&self) -> Step {
        let execution: KubernetesExecution = serde_json::from_value(self.execution.clone()).unwrap();
        let job = match (&self.job, self.foreign, self.leaving) {
            (Some(job), _, _) => TheJob::Ours(job),
            (None, Some(whose), _) => TheJob::Foreign(whose),
            (None, None, true) => TheJob::Leaving,
            (None, None, false) => TheJob::Absent,
        };
        next(&Observed {
            execution: &execution,
            source: self.source,
            looked: self.looked,
            job,
            pods: &self.pods,
            job_before: self.job_before.as_ref(),
            lingers: self.lingers,
            log: self.log,
            intended: self.intended,
            lost_until: self.lost_until,
            fails: self.fails,
            turn: &self.turn,
            audit: self.audit,
            plan: self.plan.as_ref(),
            repeatable: self.repeatable,
            release: true,
            limits: Limits {
                timeout: Duration::from_mins(5),
                backoff: Duration::from_secs(10),
                start_deadline: self.start_deadline,
                stop_after: Duration::from_secs(90),
                arrives_within: Duration::from_secs(15),
            },
            now: self.now,
        })
    }
}

/// A step in short: `Record Completed Changed applied`.
fn short(step: &Step) -> String {
    let status = |name: &str, status: &Status| {
        let effect = status.result.as_ref().map(|result| format!(" {}", json!(result.effect).as_str().unwrap()));
        let (phase, reason) = (status.phase.unwrap().name(), status.reason.as_deref().unwrap_or_default());
        format!("{name} {phase} {reason}{}", effect.unwrap_or_default())
    };
    match step {
        Step::Wait(None) => "Wait".to_owned(),
        Step::Wait(Some(until)) => format!("Wait until {}", until.duration_since(at(0)).as_secs()),
        Step::Show(wanted) => status("Show", wanted),
        Step::Record(wanted) => status("Record", wanted),
        Step::Start(start) => format!("Start {} with {} s", start.attempt, start.timeout.as_secs()),
        Step::ReadLog(pod) => format!("ReadLog {pod}"),
        Step::Stop { name, uid } => format!("Stop {name} {uid}"),
        Step::Clean { name, uid } => format!("Clean {name} {uid}"),
        Step::Hold => "Hold".to_owned(),
        Step::Read => "Read".to_owned(),
        Step::Look => "Look".to_owned(),
        Step::Release => "Release".to_owned(),
        Step::Settle => "Settle".to_owned(),
        Step::Deliver(attempt) => format!("Deliver {attempt}"),
        Step::Spool(attempt) => format!("Spool {attempt}"),
    }
}

fn hold_to(table: Vec<(&str, Case, &str)>) {
    for (known, case, done) in table {
        assert_eq!(short(&case.next()), done, "{known}");
    }
}

#[test]
fn before_anything_is_started() {
    let bare = new().metadata(json!({ "finalizers": null }));
    let paused = |seconds| new().spec(json!({ "suspend": true })).at(seconds);
    let leaving = |seconds| new().set(|c| c.leaving = true).at(seconds);
    let unheld = |seconds| new().metadata(json!({ "finalizers": null })).set(|c| c.fails = true).at(seconds);
    hold_to(vec![
        ("it is new", bare.clone().cached(), "Hold"),
        ("it is new, and deleted", bare.metadata(json!({ "deletionTimestamp": CREATED })).cached(), "Wait"),
        (
            "a copy of one that was held, about a pod that was another one then",
            new().spec(json!({ "action": { "type": "restart-pod", "target": { "resourceName": "db-0" } } })),
            "Hold",
        ),
        ("only the cache speaks", new().cached(), "Read"),
        ("the API server has answered", new(), "Start 1 with 300 s"),
        (
            "the request is bad",
            new().set(|c| c.plan = Some(Plan::Invalid("no".into()))),
            "Record Failed InvalidRequest",
        ),
        (
            "its pod was not there",
            new().set(|c| c.plan = Some(Plan::NoTarget("no".into()))),
            "Record Failed TargetNotFound",
        ),
        (
            "a bad one that would have to wait",
            paused(1).set(|c| c.plan = Some(Plan::Invalid("no".into()))),
            "Record Failed InvalidRequest",
        ),
        ("another one is at its target", new().set(|c| c.turn = Turn::Behind("b".into())), "Show Pending TargetBusy"),
        ("as many run as may run", new().set(|c| c.turn = Turn::Full { running: 9, most: 9 }), "Show Pending Queued"),
        ("suspended", paused(1), "Show Pending Suspended"),
        (
            "suspended, and said so",
            paused(1).status(json!({ "phase": "Pending", "reason": "Suspended", "message": "spec.suspend is true" })),
            "Wait until 600",
        ),
        ("suspended for too long", paused(600), "Look"),
        ("and it was looked at", paused(600).looked(), "Record Failed NotStarted"),
        ("not approved", new().spec(json!({ "approvalRequired": true })), "Show Pending AwaitingApproval"),
        ("approved", new().spec(json!({ "approvalRequired": true, "approvedBy": "alice" })), "Start 1 with 300 s"),
        (
            "not approved, and somebody made a Job of it",
            new().spec(json!({ "approvalRequired": true })).job(&json!({ "active": 1 })),
            "Look",
        ),
        (
            "and it was looked at",
            new().spec(json!({ "approvalRequired": true })).job(&json!({ "active": 1 })).looked(),
            "Record Failed NameTaken",
        ),
        ("cancelled, not looked yet", new().spec(json!({ "cancel": true })), "Look"),
        ("cancelled", new().spec(json!({ "cancel": true })).looked(), "Record Cancelled Cancelled"),
        (
            "cancelled wins over suspended",
            paused(1).spec(json!({ "cancel": true })).looked(),
            "Record Cancelled Cancelled",
        ),
        ("deleted", new().metadata(json!({ "deletionTimestamp": CREATED })).looked(), "Record Cancelled Deleted"),
        ("a creation got no answer", new().set(|c| c.lost_until = Some(at(15))), "Wait until 15"),
        ("and its time is over", new().set(|c| c.lost_until = Some(at(9))), "Look"),
        ("and it is not there", new().looked().set(|c| c.lost_until = Some(at(9))), "Start 1 with 300 s"),
        ("somebody else has the name", new().set(|c| c.foreign = Some("x")), "Look"),
        ("and it was looked at", new().looked().set(|c| c.foreign = Some("x")), "Record Failed NameTaken"),
        (
            "and this attempt had begun",
            new().executing().looked().set(|c| (c.job, c.foreign) = (None, Some("x"))),
            "Record Retrying NoResult unknown",
        ),
        (
            "and an earlier one's goes",
            new().executing().looked().set(|c| (c.job, c.leaving) = (None, true)),
            "Record Retrying NoResult unknown",
        ),
        ("an earlier one of its name goes", leaving(10), "Show Pending NameTaken"),
        (
            "it goes still",
            leaving(10).status(json!({ "phase": "Pending", "reason": "NameTaken", "message": "job up-job of an earlier execution by this name is still being deleted" })),
            "Wait until 11",
        ),
        ("it goes, and this one is cancelled", leaving(10).spec(json!({ "cancel": true })), "Look"),
        ("and it was looked at", leaving(10).spec(json!({ "cancel": true })).looked(), "Record Cancelled Cancelled"),
        ("it goes for too long", leaving(600).looked(), "Record Failed NotStarted"),
        ("cannot be held", unheld(10), "Hold"),
        ("cannot be held, and is cancelled", unheld(10).spec(json!({ "cancel": true })), "Look"),
        ("and it was looked at", unheld(10).spec(json!({ "cancel": true })).looked(), "Record Cancelled Cancelled"),
        ("cannot be held for too long", unheld(600).looked(), "Record Failed NotStarted"),
        (
            "not held yet, and cancelled",
            unheld(10).spec(json!({ "cancel": true })).set(|c| c.fails = false),
            "Hold",
        ),
        ("a phase of a newer controller", new().status(json!({ "phase": "Paused" })), "Wait"),
    ]);
}

/// Where a second pod could apply the action twice, the intent is written before the Job is sent.
#[test]
fn what_is_not_repeatable() {
    let once = || new().set(|c| c.repeatable = false);
    let intent = json!({ "phase": "Executing", "reason": "JobRequested", "jobName": "up-job", "startTime": CREATED, "nextAttemptTime": at(10) });
    let meant = || once().status(intent.clone());
    hold_to(vec![
        ("nothing is started", once(), "Show Executing JobRequested"),
        ("the intent was written in this pass", meant().set(|c| c.intended = true), "Start 1 with 290 s"),
        ("the intent stands there", meant(), "Look"),
        ("and no Job is there, yet", meant().looked(), "Wait until 25"),
        ("and none has come", meant().looked().at(30), "Record Failed NoResult unknown"),
        ("the same of what is repeatable", meant().looked().set(|c| c.repeatable = true), "Start 1 with 290 s"),
        (
            "and it is refused by now: what was sent before is not known",
            meant().looked().at(30).set(|c| (c.repeatable, c.plan) = (true, Some(Plan::Invalid("no".into())))),
            "Record Retrying NoResult unknown",
        ),
        (
            "its pod left no result",
            once().executing().job(&failed()).pod(&ended(137, "")).set(|c| c.log = Some("")),
            "Record Failed NoResult unknown",
        ),
    ]);
}

/// What a drained pod said goes with it: where its message is cut, its log is read before its successor comes.
#[test]
fn what_a_drained_pod_wrote_into_its_log_is_kept() {
    let mut trimmed: Value = serde_json::from_str(&message("Changed", true, "applied", false)).unwrap();
    trimmed.as_object_mut().unwrap().remove("rollbackInformation");
    trimmed["trimmed"] = json!(["rollbackInformation"]);
    let mut drained = ended(0, &trimmed.to_string());
    drained["conditions"] = json!([{ "type": "DisruptionTarget", "status": "True" }]);
    let whole: &'static str = message("Changed", true, "applied", false).leak();
    let case = new().executing().pod(&drained);
    assert_eq!(short(&case.next()), "ReadLog pod-0");
    let Step::Show(status) = case.set(|c| c.log = Some(whole)).next() else { panic!("not shown") };
    let pod = &status.ended_pods[0];
    assert_eq!((pod.effect, pod.rollback_information.as_ref().unwrap().available), (Effect::Applied, true));
}

/// Events hold up nothing but the end.
#[test]
fn what_is_recorded_is_told() {
    let audit = |case: Case, audit: Delivery| case.set(|c| c.audit = audit);
    let over = || new().status(json!({ "phase": "Completed", "endTime": CREATED }));
    let later = Some(at(50));
    hold_to(vec![
        (
            "an event is due, and the attempt runs",
            audit(new().executing().pod(&running_pod()), Delivery::Offer(1)),
            "Deliver 1",
        ),
        (
            "what is to be done comes first",
            audit(new().job(&json!({})), Delivery::Offer(1)),
            "Show Executing JobCreated",
        ),
        (
            "it is on its way, and the attempt runs",
            audit(new().executing().pod(&running_pod()), Delivery::Outstanding(later)),
            "Wait until 50",
        ),
        ("it is over, and an event is due", audit(over(), Delivery::Offer(2)), "Deliver 2"),
        ("on its way: the finalizer stays", audit(over(), Delivery::Outstanding(None)), "Wait"),
        ("nobody can wait any longer", audit(over(), Delivery::Spool(2)), "Spool 2"),
        ("all are kept", audit(over(), Delivery::Done), "Release"),
        (
            "somebody took its finalizer: that says nothing about its events",
            audit(over().metadata(json!({ "finalizers": null })), Delivery::Offer(1)),
            "Deliver 1",
        ),
    ]);
}

#[test]
fn while_an_attempt_runs() {
    let good = message("Changed", true, "applied", false);
    let disrupted = |mut status: Value| {
        status["conditions"] = json!([{ "type": "DisruptionTarget", "status": "True" }]);
        status
    };
    let pull = json!({ "phase": "Pending", "containerStatuses": [{ "name": "executor", "state": { "waiting": { "reason": "ErrImagePull" } } }] });
    let cancelled = || new().executing().spec(json!({ "cancel": true })).pod(&running_pod());
    hold_to(vec![
        ("its Job is there, and not in the status", new().job(&json!({})), "Show Executing JobCreated"),
        ("all is told", new().executing().pod(&running_pod()), "Wait until 390"),
        ("it has no pod", new().executing(), "Wait until 15"),
        ("and still has none, which is told", new().executing().at(15), "Show Executing JobCreated"),
        ("its pod cannot start", new().executing().pod(&pull), "Show Executing JobCreated"),
        ("it ended well", new().executing().pod(&ended(0, &good)), "Record Completed Changed applied"),
        (
            "it ended well before anybody looked",
            new().job(&json!({})).pod(&ended(0, &good)),
            "Record Completed Changed applied",
        ),
        (
            "well, but its pod is disrupted: it may be replaced, and what it did is kept",
            new().executing().pod(&disrupted(ended(0, &good))),
            "Show Executing JobCreated",
        ),
        (
            "and the Job has ended",
            new().executing().job(&failed()).pod(&disrupted(ended(0, &good))),
            "Record Completed Changed applied",
        ),
        ("exit code 0 and no message", new().executing().pod(&ended(0, "")), "ReadLog pod-0"),
        ("nor a log: the Job decides", new().executing().pod(&ended(0, "")).set(|c| c.log = Some("")), "Wait until 15"),
        (
            "and the Job is complete",
            new()
                .executing()
                .job(&json!({ "conditions": [{ "type": "Complete", "status": "True" }] }))
                .pod(&ended(0, ""))
                .set(|c| c.log = Some("")),
            "Record Retrying NoResult unknown",
        ),
        (
            "a result of another execution",
            new().executing().job(&failed()).pod(&ended(0, &good.replace(UID, "x"))).set(|c| c.log = Some("")),
            "Record Retrying NoResult unknown",
        ),
        (
            "success, and another exit code",
            new().executing().job(&failed()).pod(&ended(1, &good)),
            "Record Failed Changed applied",
        ),
        (
            "a failure waits for its Job",
            new().executing().pod(&ended(8, &message("Unavailable", false, "none", true))),
            "Wait until 15",
        ),
        (
            "one that passes",
            new().executing().job(&failed()).pod(&ended(8, &message("Unavailable", false, "none", true))),
            "Record Retrying Unavailable none",
        ),
        (
            "one that does not",
            new().executing().job(&failed()).pod(&ended(3, &message("Refused", false, "none", false))),
            "Record Failed Refused none",
        ),
        (
            "it found its time over",
            new()
                .executing()
                .job(&failed())
                .at(299)
                .pod(&ended(7, &ended_at(&message("DeadlineExceeded", false, "applied", false), 299))),
            "Record TimedOut DeadlineExceeded applied",
        ),
        (
            "refused in time, and seen when it was over",
            new()
                .executing()
                .job(&failed())
                .at(900)
                .pod(&ended(3, &ended_at(&message("Refused", false, "none", false), 5))),
            "Record Failed Refused none",
        ),
        (
            "killed in time, and seen when it was over",
            new().executing().job(&failed()).at(900).pod(&finished_at(ended(137, ""), 5)).set(|c| c.log = Some("")),
            "Record Failed NoResult unknown",
        ),
        (
            "killed when its time was over",
            new().executing().job(&failed()).at(900).pod(&finished_at(ended(137, ""), 301)).set(|c| c.log = Some("")),
            "Record TimedOut DeadlineExceeded unknown",
        ),
        (
            "a deadline of its own, long before",
            new().executing().job(&failed()).pod(&ended(7, &message("DeadlineExceeded", false, "none", true))),
            "Record Retrying DeadlineExceeded none",
        ),
        ("cancelled", cancelled(), "Stop up-job j"),
        ("cancelled, and nobody confirms its end", cancelled().job_terminating().at(301), "Look"),
        ("and it was looked at", cancelled().job_terminating().at(301).looked(), "Record Cancelled Cancelled unknown"),
        (
            "it ended, and somebody deletes its Job",
            new().executing().job_terminating().pod(&ended(8, &message("Unavailable", false, "applied", true))),
            "Look",
        ),
        (
            "and it was looked at: nobody else may ever say that it has ended",
            new()
                .executing()
                .job_terminating()
                .pod(&ended(8, &message("Unavailable", false, "applied", true)))
                .looked(),
            "Record Retrying Unavailable applied",
        ),
        (
            "cancelled, and it ended with a result",
            cancelled()
                .set(|c| c.pods.clear())
                .job_terminating()
                .pod(&ended(9, &message("NotVerified", false, "applied", true)))
                .looked(),
            "Record Cancelled Cancelled applied",
        ),
        (
            "cancelled, and its pod was never let in by its node",
            cancelled()
                .set(|c| c.pods.clear())
                .job_terminating()
                .pod(&json!({ "phase": "Failed", "reason": "OutOfcpu" }))
                .looked(),
            "Record Cancelled Cancelled unknown",
        ),
        ("cancelled, and on its way out", cancelled().job_terminating(), "Wait until 300"),
        ("cancelled, its Job is gone, and its pod goes on", cancelled().job_gone_since(5).looked(), "Wait until 305"),
        ("and nobody confirms its end", cancelled().job_gone_since(5).at(306), "Look"),
        ("and it was looked at", cancelled().job_gone_since(5).at(306).looked(), "Record Cancelled Cancelled unknown"),
        (
            "cancelled, and it ended well",
            new().executing().spec(json!({ "cancel": true })).pod(&ended(0, &good)),
            "Record Completed Changed applied",
        ),
        ("far over its timeout", new().executing().at(390).pod(&running_pod()), "Look"),
        ("and it was looked at", new().executing().at(390).pod(&running_pod()).looked(), "Stop up-job j"),
        (
            "it has not started in time",
            new().executing().at(61).pod(&pull).set(|c| c.start_deadline = Some(Duration::from_mins(1))),
            "Look",
        ),
        (
            "and it was looked at",
            new().executing().at(61).pod(&pull).looked().set(|c| c.start_deadline = Some(Duration::from_mins(1))),
            "Stop up-job j",
        ),
        ("its Job is gone", new().executing().job_gone().pod(&running_pod()), "Look"),
        (
            "and its pod runs down, which is told",
            new().executing().job_gone().pod(&running_pod()).looked(),
            "Show Executing JobCreated",
        ),
        (
            "and is gone, unseen",
            new().executing().job_gone().pod(&running_pod()).pod_gone().looked(),
            "Record Retrying NoResult unknown",
        ),
        (
            "the status knows a Job that is not there",
            new().executing().set(|c| c.job = None).looked(),
            "Record Retrying NoResult unknown",
        ),
    ]);
}

/// What an attempt did is not told by its newest pod alone, nor by what the controller happens to have seen.
#[test]
fn what_was_not_seen_is_not_known() {
    let unchanged = message("Unchanged", true, "none", false);
    let interrupted = message("Interrupted", false, "applied", true);
    let late = |seconds: i64, watched: bool| {
        let case = new().executing().job(&json!({ "startTime": CREATED })).pod(&ended(0, &unchanged)).at(60);
        case.set(|c| {
            c.job.as_mut().unwrap().watched = watched;
            c.pods[0].object.metadata.creation_timestamp = serde_json::from_value(json!(at(seconds))).unwrap();
        })
    };
    let pull = json!({ "phase": "Failed", "containerStatuses": [{ "name": "executor", "state": {
        "terminated": { "exitCode": 137, "reason": "ContainerStatusUnknown" } } }] });
    let never = |case: Case| {
        let case = case.job(&failed()).pod(&pull).looked().set(|c| {
            let pod = &mut c.pods.last_mut().unwrap().object;
            pod.waited = Some(crate::observe::slim::Waiting { reason: Some("ErrImagePull".into()), message: None });
            pod.metadata.deletion_timestamp = serde_json::from_value(json!(CREATED)).unwrap();
        });
        case.status(json!({ "jobUID": "j" }))
    };
    let beside = |exit: i32, other: &str| {
        let mut status = ended(exit, &message("Unavailable", false, "none", true));
        status["phase"] = json!("Running");
        let other = json!({ "name": "sidecar", "state": { other: {} } });
        status["containerStatuses"].as_array_mut().unwrap().push(other);
        status
    };
    let cancelled = || new().executing().spec(json!({ "cancel": true }));
    hold_to(vec![
        ("its first pod was seen", late(0, false), "Record Completed Unchanged none"),
        ("a later one, and none before it was seen", late(30, false), "Record Completed Unchanged unknown"),
        ("a later one, and it was watched", late(30, true), "Record Completed Unchanged none"),
        (
            "a later one, and what the one before did is recorded",
            late(30, false).status(json!({ "endedPods": [{ "podName": "a", "podUID": "a", "effect": "none" }] })),
            "Record Completed Unchanged none",
        ),
        (
            "a pod of a Job that was gone when it was looked for",
            late(0, false).set(|c| c.job.as_mut().unwrap().object.status.start_time = None),
            "Record Completed Unchanged unknown",
        ),
        (
            "two pods, of which the first one came late too",
            late(30, false).pod(&ended(0, &unchanged)).set(|c| {
                c.pods[1].object.metadata.creation_timestamp = serde_json::from_value(json!(at(40))).unwrap();
            }),
            "Record Completed Unchanged unknown",
        ),
        ("its only pod never started", never(new().executing()), "Record Retrying NeverStarted none"),
        (
            "its second pod never started, the first one had",
            never(new().executing().pod(&running_pod())),
            "Record Retrying NoResult unknown",
        ),
        (
            "and what the first one did is recorded",
            never(
                new()
                    .executing()
                    .status(json!({ "endedPods": [{ "podName": "a", "podUID": "a", "effect": "applied" }] })),
            ),
            "Record Retrying NoResult applied",
        ),
        (
            "the same where it is not repeatable",
            never(
                new()
                    .executing()
                    .status(json!({ "endedPods": [{ "podName": "a", "podUID": "a", "effect": "applied" }] })),
            )
            .set(|c| c.repeatable = false),
            "Record Failed NoResult applied",
        ),
        (
            "a later pod, of a Job that was suspended for a while",
            late(0, false).set(|c| {
                let resumed =
                    json!({ "startTime": CREATED, "conditions": [{ "type": "Suspended", "status": "False" }] });
                c.job.as_mut().unwrap().object.status = serde_json::from_value(resumed).unwrap();
            }),
            "Record Completed Unchanged unknown",
        ),
        (
            "it failed beside a container that goes on",
            new().executing().pod(&beside(8, "running")),
            "Record Retrying Unavailable none",
        ),
        ("and the Job is about to tell", new().executing().pod(&beside(8, "terminated")), "Wait until 15"),
        (
            "stopped, and its pod is gone before the watch has told its end",
            cancelled()
                .pod(&running_pod())
                .job_gone_since(5)
                .pod_gone()
                .set(|c| c.pods[0].gone_since = Some(at(5)))
                .looked(),
            "Wait until 15",
        ),
        (
            "the watch has told it",
            cancelled()
                .pod(&ended(9, &interrupted))
                .job_gone_since(5)
                .pod_gone()
                .looked()
                .set(|c| c.pods[0].last_word = true),
            "Record Cancelled Cancelled applied",
        ),
        ("stopped before it had a pod", cancelled().job(&json!({})).job_terminating(), "Wait until 15"),
        (
            "and none comes",
            cancelled().job(&json!({})).job_terminating().at(15).looked(),
            "Record Cancelled Cancelled none",
        ),
        (
            "its time is over before anything began: what begins now has all of its own",
            new().executing().pod(&json!({ "phase": "Pending" })).at(300).looked(),
            "Stop up-job j",
        ),
    ]);
}

/// What is said while no pod of a Job runs: what is known, and no more.
#[test]
fn that_no_pod_runs_is_told() {
    let told = |case: Case| match case.next() {
        Step::Show(status) => status.message.unwrap(),
        other => short(&other),
    };
    let condition = json!({ "conditions": [{ "type": "Suspended", "status": "True", "message": "Job suspended" }] });
    let table = [
        (
            "none was made",
            new().executing().job(&json!({})).at(15),
            "job up-job has no pod yet; its Events say why, if there are any",
        ),
        ("its Job counts one that is not seen", new().executing().at(15), "job up-job has a pod, and it is not among"),
        (
            "the Job is suspended",
            new().executing().job(&condition).at(15),
            "job up-job is suspended, and not by this controller: Job suspended",
        ),
        (
            "its pod has ended, a moment ago",
            new().executing().pod(&finished_at(ended(8, "{}"), 30)).at(44),
            "Wait until 45",
        ),
        (
            "and the Job says nothing",
            new().executing().pod(&finished_at(ended(8, "{}"), 30)).at(45),
            "no pod of job up-job runs any more",
        ),
        (
            "by a clock that is ahead it ends in an hour",
            new().executing().pod(&finished_at(ended(8, "{}"), 3600)).at(45),
            "no pod of job up-job runs any more",
        ),
        (
            "one of two runs",
            new().executing().pod(&finished_at(ended(8, "{}"), 30)).pod(&running_pod()).at(60),
            "attempt 1 runs as job up-job",
        ),
    ];
    for (known, case, says) in table {
        let said = told(case);
        assert!(said.starts_with(says), "{known}: {said}");
    }
}

#[test]
fn between_attempts_and_after_all() {
    let before = || Some(job("up-job", "j", &failed()));
    let released = |case: Case| case.metadata(json!({ "finalizers": null }));
    hold_to(vec![
        ("it is not time yet", new().retrying(), "Wait until 20"),
        (
            "it is time, and the Job before is there",
            new().retrying().at(20).set(|c| c.job_before = before()),
            "Clean up-job j",
        ),
        (
            "it is not time yet, and a container that somebody added goes on",
            new()
                .retrying()
                .set(|c| (c.job_before, c.lingers) = (Some(job("up-job", "j", &json!({ "active": 1 }))), true)),
            "Clean up-job j",
        ),
        (
            "the same when all is over",
            new()
                .over("Failed")
                .set(|c| (c.job_before, c.lingers) = (Some(job("up-job", "j", &json!({ "active": 1 }))), true)),
            "Clean up-job j",
        ),
        ("only the cache speaks", new().retrying().at(20).cached(), "Read"),
        ("it is time", new().retrying().at(20), "Start 2 with 280 s"),
        (
            "it is time, and settings refuse it by now",
            new().retrying().at(20).set(|c| c.plan = Some(Plan::Invalid("no".into()))),
            "Record Failed InvalidRequest",
        ),
        (
            "it gave its place back, and another one has it",
            new().retrying().at(20).set(|c| c.turn = Turn::Full { running: 9, most: 9 }),
            "Show Retrying Queued",
        ),
        (
            "nothing is answered there",
            new().retrying().at(20).set(|c| c.turn = Turn::Unanswered),
            "Show Retrying Queued",
        ),
        ("suspended", new().retrying().at(20).spec(json!({ "suspend": true })), "Show Retrying Suspended"),
        (
            "and goes on, before its time",
            new().retrying().at(19).status(json!({ "reason": "Suspended" })),
            "Show Retrying Queued",
        ),
        ("out of time", new().retrying().at(300), "Look"),
        ("and it was looked at", new().retrying().at(300).looked(), "Record TimedOut DeadlineExceeded"),
        ("cancelled", new().retrying().spec(json!({ "cancel": true })).looked(), "Record Cancelled Cancelled"),
        ("it has ended", new().over("Completed"), "Release"),
        ("it has ended, and a Job came late", new().over("Cancelled").job(&json!({})), "Stop up-job j"),
        (
            "it has ended, and its Job is about to",
            new().over("Completed").status(json!({ "jobUID": "j" })).job(&json!({ "active": 1 })),
            "Release",
        ),
        ("released", released(new().over("Completed")), "Settle"),
        ("settled", released(new().over("Completed").status(json!({ "settled": true }))), "Wait"),
        (
            "released, and deleted",
            released(new().over("Failed")).metadata(json!({ "deletionTimestamp": CREATED })),
            "Wait",
        ),
    ]);
}

/// The effect is the strongest over all attempts and pods, and the way back the earliest: a second run finds it done.
#[test]
fn an_effect_is_not_forgotten() {
    let first = json!([{ "attempt": 1, "jobName": "up-job", "code": "NoResult", "effect": "applied" }]);
    let undo =
        json!({ "available": true, "rollbackAction": "scale-deployment", "rollbackParameters": { "replicas": 7 } });
    let second = job("up-job-2", "j", &json!({}));
    let case = new().executing().status(json!({ "attempts": first, "rollbackInformation": undo }));
    let mut case = case.pod(&ended(0, &message("Unchanged", true, "none", false)));
    case.job.as_mut().unwrap().object = second;
    let Step::Record(status) = case.next() else { panic!("{}", short(&case.next())) };
    assert_eq!(json!(status.result.as_ref().unwrap().effect), "applied");
    assert_eq!(json!(status.rollback_information)["rollbackParameters"]["replicas"], 7);
    assert_eq!((status.attempts.len(), json!(status.attempts[1].effect)), (2, json!("none")));
}

/// A message from which the way back was left out, and a log that is rotated away: that it is not known is said, and why.
#[test]
fn a_way_back_that_is_lost_is_told() {
    let mut trimmed: Value = serde_json::from_str(&message("Changed", true, "applied", false)).unwrap();
    trimmed["trimmed"] = json!(["rollbackInformation"]);
    trimmed["rollbackInformation"].take();
    let case = new().executing().pod(&ended(0, &trimmed.to_string()));
    assert_eq!(short(&case.next()), "ReadLog pod-0");
    let Step::Record(status) = case.set(|c| c.log = Some("")).next() else { panic!() };
    let way = status.rollback_information.unwrap();
    assert!(!way.available && way.failure_reason.unwrap().contains("left out"));
    assert_eq!(status.phase, Some(Phase::Completed));
}

/// What a kubelet says of a pod whose image came late, that ran unseen by us, and was evicted: without the state before it, it
/// is word for word what it says of one that never had a container.
#[test]
fn a_container_that_its_kubelet_has_lost_had_started() {
    let pull = json!({ "phase": "Pending", "containerStatuses": [{ "name": "executor", "state": { "waiting": { "reason": "ErrImagePull" } } }] });
    let unknown = json!({ "terminated": { "exitCode": 137, "reason": "ContainerStatusUnknown", "message": "could not be located" } });
    for (last, started) in [(unknown.clone(), true), (json!({}), false)] {
        for state in [unknown.clone(), json!({ "waiting": { "reason": "ContainerCreating" } })] {
            let status = json!({ "phase": "Failed", "reason": "Evicted", "containerStatuses": [{ "name": "executor", "state": state, "lastState": last }] });
            let mut after = pod("p", "j", &status);
            after.metadata.deletion_timestamp = Some(serde_json::from_value(json!(CREATED)).unwrap());
            after.remember(Some(&pod("p", "j", &pull)));
            let after = Seen {
                object: after,
                life: Life::There,
                watched: true,
                last_word: false,
                gone_since: None,
                going_since: None,
            };
            // That the pod failed is what the garbage collector of pods says of a node that is gone, too, and nothing of its container.
            let never = !started && state["terminated"].is_object();
            assert_eq!((after.object.started(), crate::outcome::never_started(&after)), (started, never), "{state}");
        }
    }
}

/// A drained pod's replacement leaves no trace in the Job: what the first one did is kept in the status.
#[test]
fn a_pod_that_was_replaced_is_kept() {
    let applied = message("Interrupted", false, "applied", true);
    let case = new().executing().pod(&ended(143, &applied)).pod_gone().pod(&running_pod());
    let Step::Show(status) = case.next() else { panic!("{}", short(&case.next())) };
    assert_eq!((status.ended_pods.len(), json!(status.ended_pods[0].effect)), (1, json!("applied")));
    let case = case.status(json!({ "endedPods": status.ended_pods })).set(|c| c.pods.clear());
    let case = case.pod(&ended(0, &message("Unchanged", true, "none", false)));
    let Step::Record(status) = case.next() else { panic!("{}", short(&case.next())) };
    assert_eq!(json!(status.result.unwrap().effect), "applied");
    assert_eq!(json!(status.rollback_information)["rollbackParameters"]["replicas"], 1);
}
