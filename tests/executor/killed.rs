//! Killed at every request: the controller's process ends (SIGKILL) before a request has arrived, after it was applied and
//! before the answer, or before a request arrives that is still on its way. Another controller goes on. Whatever happens: one
//! Job for each attempt, at most one effect, and the end that it would have had.
//!
//! A sample by default, printed with its seed; `KILLS=whole cargo test --test executor -- killed` does all of them and prints
//! the table of docs/executor.md.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::Cluster;
use test_cluster::executor::{ACCOUNT, GROUP};
use test_cluster::proxy::{Canned, Fault, Proxy, Script, Shape};

use crate::support::{Controller, E, check, scale, scale_with, scenarios};

scenarios!("killed": carried_out, tried_again, a_pod_restarted, counted, cancelled, cancelled_before, deleted,
    deleted_in_the_foreground, out_of_time, read_from_the_log, frozen, a_gateways_answers, held_back, watches_that_expire, the_api_server_is_killed);

/// Flags that make a takeover quick.
pub const QUICK: [&str; 6] = ["--lease-duration", "6s", "--write-limit", "1s", "--lease-renewal", "1s"];

/// What a person does, from the creation on.
type Story = fn(&E) -> Pin<Box<dyn Future<Output = Result<()>> + '_>>;

/// How an execution ended, and what it did.
#[derive(Debug, Clone, PartialEq)]
struct End {
    /// Final phase; `gone` for an execution that was deleted.
    phase: String,
    /// Effect over all attempts.
    effect: String,
    /// Jobs that were created, by name.
    jobs: BTreeMap<String, usize>,
    /// Changes by runners that the API server accepted.
    changes: usize,
    /// Whether a controller was killed.
    killed: bool,
    /// Whether a Job still runs at the end.
    runs: bool,
}

/// Counts for the table, and which steps a controller was killed in.
#[derive(Default)]
struct Score {
    runs: BTreeMap<(&'static str, &'static str), usize>,
    steps: BTreeSet<String>,
}

static SCORE: Mutex<Option<Score>> = Mutex::new(None);

#[expect(clippy::disallowed_methods, reason = "how much of the matrix is to be done")]
pub fn whole() -> bool {
    std::env::var("KILLS").is_ok_and(|value| value == "whole")
}

pub fn faults() -> [(&'static str, Fault); 3] {
    [
        ("before it arrived", Fault::StallBefore),
        ("after it was applied", Fault::Stall),
        ("before it arrived, 7 s late", Fault::HoldBack(Duration::from_secs(7))),
    ]
}

async fn carried_out(e: E) -> Result<()> {
    matrix(e, "carried out", |e| Box::pin(async { prepared(e, scale(3)).await })).await
}

async fn tried_again(e: E) -> Result<()> {
    let story: Story =
        |e| Box::pin(async { prepared(e, scale_with(3, json!({ "reason": "play: first exit 9" }))).await });
    matrix(e, "tried again", story).await
}

async fn read_from_the_log(e: E) -> Result<()> {
    let story: Story = |e| Box::pin(async { prepared(e, scale_with(3, json!({ "reason": "play: log" }))).await });
    matrix(e, "read from the log", story).await
}

/// Makes the Deployment, and asks for the action.
async fn prepared(e: &E, spec: Value) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    e.execute("up", spec).await.map(|_| ())
}

async fn a_pod_restarted(e: E) -> Result<()> {
    matrix(e, "a StatefulSet's pod restarted, its first runner mute", |e| Box::pin(restarted(e))).await
}

async fn restarted(e: &E) -> Result<()> {
    e.world.workload("StatefulSet", "db", 1, json!({})).await?;
    let action =
        json!({ "type": "restart-pod", "parameters": { "settle": "1s" }, "target": { "resourceName": "db-0" } });
    e.execute("up", json!({ "action": action, "reason": "play: first mute" })).await.map(|_| ())
}

/// An image of the operator's own, that counts: what it did twice would stand in the counter.
async fn counted(e: E) -> Result<()> {
    let settings = e.world.folder().join("settings.yaml");
    std::fs::write(&settings, "notRepeatable: [scale]\n")?;
    let story: Story = |e| {
        Box::pin(async {
            let counter = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "counter" } });
            e.world.create(&e.world.path("v1", "configmaps"), &counter).await?;
            e.execute("up", scale_with(3, json!({ "reason": "play: count" }))).await.map(|_| ())
        })
    };
    let flag = format!("--settings={}", settings.display());
    matrix_with(e, "a counter, which is not repeatable", story, &[&flag]).await
}

/// Scaled, and never ready: the runner waits until it is stopped.
async fn waiting(e: &E, more: Value) -> Result<()> {
    let never = json!({ "spec": { "template": { "metadata": { "labels": { "test/mode": "never-ready" } } } } });
    e.world.create_workload("Deployment", "web", 1, never).await?;
    e.execute("up", scale_with(3, more)).await?;
    e.world.until(&e.world.workload_path("Deployment", "web"), "scaled", |web| web["spec"]["replicas"] == 3).await?;
    Ok(())
}

async fn cancelled(e: E) -> Result<()> {
    let story: Story = |e| {
        Box::pin(async {
            waiting(e, json!({})).await?;
            e.patch("up", json!({ "spec": { "cancel": true } })).await.map(|_| ())
        })
    };
    matrix(e, "cancelled", story).await
}

async fn cancelled_before(e: E) -> Result<()> {
    let story: Story = |e| {
        Box::pin(async {
            prepared(e, scale_with(3, json!({ "suspend": true }))).await?;
            e.reason("up", "Suspended").await?;
            e.patch("up", json!({ "spec": { "cancel": true } })).await.map(|_| ())
        })
    };
    matrix(e, "cancelled before anything was started", story).await
}

async fn out_of_time(e: E) -> Result<()> {
    let story: Story =
        |e| Box::pin(async { prepared(e, scale_with(3, json!({ "timeout": "15s", "reason": "play: hang" }))).await });
    matrix(e, "out of time, without a word", story).await
}

async fn deleted(e: E) -> Result<()> {
    matrix(e, "deleted in the background", |e| Box::pin(async { remove(e, "Background").await })).await
}

async fn deleted_in_the_foreground(e: E) -> Result<()> {
    matrix(e, "deleted in the foreground", |e| Box::pin(async { remove(e, "Foreground").await })).await
}

async fn remove(e: &E, propagation: &str) -> Result<()> {
    waiting(e, json!({})).await?;
    e.world.delete(&format!("{}?propagationPolicy={propagation}", e.execution("up"))).await
}

/// Tells the story undisturbed, and then with a kill at each of its requests.
async fn matrix(e: E, name: &'static str, story: Story) -> Result<()> {
    matrix_with(e, name, story, &[]).await
}

async fn matrix_with(e: E, name: &'static str, story: Story, own: &[&str]) -> Result<()> {
    let flags = [&QUICK[..], own].concat();
    let (undisturbed, shapes) = {
        let world = E::new(&e.world.connection, "undisturbed").await?;
        // Nobody takes over here: a slow answer must not count as a lost one.
        let outcome = tell(&world, story, own, None).await;
        let told = outcome.as_ref().ok().cloned();
        world.end(outcome.map(|_| ())).await?;
        told.context("no end")?
    };
    let wanted: Vec<Shape> = shapes.into_iter().filter(is_a_step).collect();
    ensure!(wanted.len() >= 5, "{wanted:?}");
    let seed = test_cluster::fixtures::unique();
    let mut number = usize::try_from(seed)?;
    if !whole() {
        test_cluster::assets::tell(&format!("kills, {name}: a sample, seed {seed}"));
    }
    for shape in wanted {
        number += 1;
        for (kind, (fault_name, fault)) in faults().into_iter().enumerate() {
            // Of the sample, every other request, by one of the faults.
            if !whole() && (number % 2 == 0 || number / 2 % 3 != kind) {
                continue;
            }
            let what = format!("{name}: {} ({}) {fault_name}", shape.what, shape.occurrence);
            let world = E::new(&e.world.connection, "killed").await?;
            let late = matches!(fault, Fault::HoldBack(_));
            let outcome = tell(&world, story, &flags, Some((shape.clone(), fault))).await;
            let killed = outcome.as_ref().is_ok_and(|(end, _)| end.killed);
            let judged = outcome.and_then(|(end, _)| judge(&end, &undisturbed, own.is_empty(), late));
            world.end(judged).await.with_context(|| what.clone())?;
            if !killed {
                test_cluster::assets::tell(&format!("not killed, the request was not sent this time: {what}"));
                continue;
            }
            score_kill(name, fault_name);
        }
    }
    Ok(())
}

/// What a step of the controller sends: no watch, no list, no Lease, no Event.
fn is_a_step(shape: &Shape) -> bool {
    let list = ["/kubernetesexecutions", "/jobs", "/pods"].iter().any(|plural| shape.what.ends_with(plural));
    let creates = shape.what.starts_with("POST");
    !shape.is_watch() && !shape.what.contains("/leases") && !shape.what.contains("/events") && (creates || !list)
}

/// Tells a story. With a fault, the controller that meets it is killed, and another one goes on.
async fn tell(e: &E, story: Story, flags: &[&str], fault: Option<(Shape, Fault)>) -> Result<(End, Vec<Shape>)> {
    let script = Script {
        names: vec![(e.world.namespace.clone(), "NAMESPACE")],
        prefixes: vec![("up-job-", "POD-OR-JOB")],
        fault: fault.clone(),
    };
    let proxy = Proxy::scripted(&e.world.connection.server, &e.world.connection.authority, e.world.folder(), script)?;
    let kubeconfig = e.world.token_kubeconfig(ACCOUNT, &proxy.server, &proxy.authority).await?;
    let first = e.controller_with(&kubeconfig, flags)?;
    let kill = async {
        if fault.is_none() {
            return Ok(first);
        }
        while proxy.hits() == 0 {
            // Another run may do without this request.
            if e.over("up").await? && proxy.hits() == 0 {
                return Ok(first);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // What is to be applied is applied before the kill.
        if matches!(fault, Some((_, Fault::Stall))) {
            proxy.stalled().await;
        }
        let log = first.log()?;
        first.kill().await?;
        note_step(&log);
        e.controller_with(&e.kubeconfig, flags)
    };
    let (controller, ()) = tokio::try_join!(kill, story(e))?;
    let end = ended(e, controller, &proxy).await?;
    Ok((end, proxy.log()))
}

/// Waits for the end of an execution and of its controller.
async fn ended(e: &E, controller: Controller, proxy: &Proxy) -> Result<End> {
    let gone = async {
        e.world.gone(&e.execution("up")).await?;
        anyhow::Ok(Value::Null)
    };
    let ended = tokio::select! {
        ended = e.ended("up") => ended?,
        gone = gone => gone?,
    };
    proxy.settled().await;
    let jobs = e.world.path("batch/v1", "jobs");
    if ended.is_null() {
        e.world.until(&jobs, "none", |list| list["items"].as_array().is_some_and(Vec::is_empty)).await?;
    }
    let runs = running(e, &jobs).await?;
    controller.stop().await?;
    let mut created = BTreeMap::new();
    for name in e.jobs_created().await? {
        *created.entry(name).or_default() += 1;
    }
    let text = |value: &Value| value.as_str().unwrap_or("gone").to_owned();
    Ok(End {
        phase: text(&ended["status"]["phase"]),
        effect: text(&ended["status"]["result"]["effect"]),
        jobs: created,
        changes: e.changes().await?,
        killed: proxy.hits() > 0,
        runs,
    })
}

/// Returns whether a Job still runs after a while: one that came late is seen and stopped.
async fn running(e: &E, jobs: &str) -> Result<bool> {
    let limit = std::time::Instant::now() + Duration::from_secs(40);
    loop {
        let list = e.world.get(jobs).await?;
        let ended = |job: &Value| {
            let conditions = job["status"]["conditions"].as_array();
            conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Complete" || one["type"] == "Failed"))
        };
        if list["items"].as_array().is_some_and(|all| all.iter().all(ended)) {
            return Ok(false);
        }
        if std::time::Instant::now() > limit {
            return Ok(true);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn judge(end: &End, undisturbed: &End, repeatable: bool, late: bool) -> Result<()> {
    // The creation of a Job that comes when all is over cannot be kept out: what it makes is stopped, and `ACTION_ID` keeps it
    // from having an effect of its own.
    ensure!(late || end.jobs.values().all(|count| *count == 1), "more than one Job for an attempt: {end:?}");
    ensure!(!end.runs, "a Job still runs: {end:?}");
    ensure!(end.changes <= 1, "more than one effect: {end:?}");
    // Whether the Job had been created cannot be known any more, so that nothing may be started: unknown, and said so.
    let not_known = End {
        phase: "Failed".to_owned(),
        effect: "unknown".to_owned(),
        jobs: BTreeMap::new(),
        changes: 0,
        killed: true,
        runs: false,
    };
    if !repeatable && *end == not_known {
        return Ok(());
    }
    // A pod that was stopped is gone with what it said: killed before the record, that is not known any more.
    let stopped = matches!(undisturbed.phase.as_str(), "Cancelled" | "TimedOut");
    let effect = if stopped && end.effect == "unknown" { undisturbed.effect.clone() } else { end.effect.clone() };
    let jobs = if late { undisturbed.jobs.clone() } else { end.jobs.clone() };
    let end = End { killed: undisturbed.killed, jobs, effect, ..end.clone() };
    ensure!(end == *undisturbed, "it would have been {undisturbed:?}, and is {end:?}");
    Ok(())
}

/// Counts a kill for the table.
pub fn score_kill(story: &'static str, fault: &'static str) {
    let mut score = SCORE.lock().unwrap_or_else(PoisonError::into_inner);
    *score.get_or_insert_default().runs.entry((story, fault)).or_default() += 1;
}

/// Notes the step that a controller was killed in.
pub fn note_step(log: &str) {
    if let Some(step) = last_step(log) {
        SCORE.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().steps.insert(step);
    }
}

/// The step that a controller was about: its log says it before it is done.
fn last_step(log: &str) -> Option<String> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let steps: Vec<_> = lines.filter_map(|line| line["fields"]["step"].as_str().map(str::to_owned)).collect();
    let last = steps.iter().rfind(|step| !step.starts_with("Wait"))?;
    Some(last.split(|c: char| !c.is_ascii_alphabetic()).next()?.to_owned())
}

/// After all scenarios: the table, and that every step was killed in some run of the whole matrix.
pub fn score() -> Result<()> {
    let Some(score) = SCORE.lock().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(()) };
    let total: usize = score.runs.values().sum();
    test_cluster::assets::tell(&format!("killed {total} times, in the steps {:?}", score.steps));
    if !whole() {
        return Ok(());
    }
    let stories: BTreeSet<_> = score.runs.keys().map(|(story, _)| *story).collect();
    for story in stories {
        let counts =
            faults().map(|(fault, _)| score.runs.get(&(story, fault)).copied().unwrap_or_default().to_string());
        test_cluster::assets::tell(&format!("| {story} | {} |", counts.join(" | ")));
    }
    for step in [
        "Hold", "Read", "Look", "Start", "Show", "Record", "ReadLog", "Stop", "Clean", "Release", "Settle", "Deliver",
        "Spool",
    ] {
        ensure!(score.steps.contains(step), "no controller was killed in {step}");
    }
    Ok(())
}

/// The leader is stopped for longer than its Lease, and wakes up: it writes nothing, and ends.
async fn frozen(e: E) -> Result<()> {
    use nix::sys::signal::Signal;
    let first = e.controller_with(&e.kubeconfig, &QUICK)?;
    waiting(&e, json!({})).await?;
    e.phase("up", "Executing").await?;
    first.signal(Signal::SIGSTOP)?;
    let second = e.controller_with(&e.kubeconfig, &QUICK)?;
    e.patch("up", json!({ "spec": { "cancel": true } })).await?;
    let up = e.ended("up").await?;
    ensure!(up["status"]["phase"] == "Cancelled" && up["status"]["result"]["effect"] == "applied", "{up:#}");
    // The second one's last word, which it says beside its work.
    let told = |list: &Value| {
        let of = |one: &Value| one["reason"] == "Cancelled" && one["involvedObject"]["name"] == "up";
        list["items"].as_array().is_some_and(|all| all.iter().any(of))
    };
    e.world.until(&e.world.path("v1", "events"), "its end as an Event", told).await?;
    let before = e.requests().await?.len();
    first.signal(Signal::SIGCONT)?;
    let log = first.fails().await?;
    ensure!(log.contains("the Lease is lost"), "{log}");
    let writes: Vec<_> = e.requests().await?.into_iter().skip(before).filter(|entry| entry.verb != "get").collect();
    ensure!(writes.is_empty(), "it wrote: {writes:#?}");
    ensure!(e.jobs_created().await? == ["up-job"], "more than one Job");
    second.stop().await
}

/// What stands before the API server answers for itself, once, with a page: nothing is concluded from it, of whatever number it is.
async fn a_gateways_answers(e: E) -> Result<()> {
    let executions = path("kubernetesexecutions");
    for (what, status) in [
        (format!("PATCH {executions}/up"), 404),
        (format!("POST {}", path("jobs")), 422),
        (format!("PATCH {executions}/up/status"), 404),
        (format!("GET {}/db-0", path("pods")), 404),
    ] {
        let world = E::new(&e.world.connection, "gateway").await?;
        let outcome = past_a_gateway(&world, &what, status).await.with_context(|| what.clone());
        world.end(outcome).await?;
    }
    Ok(())
}

async fn past_a_gateway(e: &E, what: &str, status: u16) -> Result<()> {
    let page = Fault::Answer(Canned { html: true, ..Canned::status(status) });
    let script = Script {
        names: vec![(e.world.namespace.clone(), "NAMESPACE")],
        prefixes: Vec::new(),
        fault: Some((Shape { what: what.to_owned(), occurrence: 0 }, page)),
    };
    let proxy = Proxy::scripted(&e.world.connection.server, &e.world.connection.authority, e.world.folder(), script)?;
    let kubeconfig = e.world.token_kubeconfig(ACCOUNT, &proxy.server, &proxy.authority).await?;
    let controller = e.controller_with(&kubeconfig, &[])?;
    e.world.workload("StatefulSet", "db", 1, json!({})).await?;
    let action =
        json!({ "type": "restart-pod", "parameters": { "settle": "1s" }, "target": { "resourceName": "db-0" } });
    e.execute("up", json!({ "action": action })).await?;
    let up = e.ended("up").await?;
    check(&up, "Completed", "Changed", "applied")?;
    ensure!(proxy.hits() == 1, "the gateway answered {} times: {:?}", proxy.hits(), proxy.log());
    ensure!(e.evictions().await? == 1 && e.jobs_created().await? == ["up-job"], "{:?}", e.jobs_created().await?);
    controller.stop().await
}

/// What a watch shows is late, of each kind in turn: nothing is started twice, and nothing is taken for gone.
async fn held_back(e: E) -> Result<()> {
    let time = if whole() { Duration::from_mins(1) } else { Duration::from_secs(10) };
    each_watch(&e, &Fault::WatchLate(time)).await
}

/// A watch reports that its resourceVersion is too old, as after a compaction: it is begun anew with a list, and what came to
/// pass in between brought no event.
async fn watches_that_expire(e: E) -> Result<()> {
    each_watch(&e, &Fault::WatchError(410)).await
}

async fn each_watch(e: &E, fault: &Fault) -> Result<()> {
    for plural in ["kubernetesexecutions", "jobs", "pods"] {
        let world = E::new(&e.world.connection, "watches").await?;
        let outcome = with_watch(&world, plural, fault.clone()).await.with_context(|| format!("{fault:?} of {plural}"));
        world.end(outcome).await?;
    }
    Ok(())
}

async fn with_watch(e: &E, plural: &'static str, fault: Fault) -> Result<()> {
    let shape = Shape { what: format!("GET {} watch", path(plural)), occurrence: 0 };
    let script = Script {
        names: vec![(e.world.namespace.clone(), "NAMESPACE")],
        prefixes: Vec::new(),
        fault: Some((shape, fault)),
    };
    let proxy = Proxy::scripted(&e.world.connection.server, &e.world.connection.authority, e.world.folder(), script)?;
    let kubeconfig = e.world.token_kubeconfig(ACCOUNT, &proxy.server, &proxy.authority).await?;
    // It is there when the watches begin: what follows comes to pass while one of them is at fault.
    prepared(e, scale_with(3, json!({ "reason": "play: first exit 9" }))).await?;
    let controller = e.controller_with(&kubeconfig, &[])?;
    healed(e).await?;
    ensure!(proxy.hits() == 1, "the fault hit {} times: {:?}", proxy.hits(), proxy.log());
    controller.stop().await
}

/// Waits for an execution whose first attempt failed and whose second one did it.
async fn healed(e: &E) -> Result<()> {
    let up = e.ended_within("up", Duration::from_mins(3)).await?;
    let attempts = up["status"]["attempts"].as_array().map_or(0, Vec::len);
    ensure!(up["status"]["phase"] == "Completed" && attempts == 2, "{up:#}");
    ensure!(e.jobs_created().await? == ["up-job", "up-job-2"], "{:?}", e.jobs_created().await?);
    ensure!(e.changes().await? == 1 && e.replicas().await? == 3, "{} changes", e.changes().await?);
    Ok(())
}

/// The API server is killed, and is away for some seconds: while an attempt runs, and between two.
async fn the_api_server_is_killed(_: E) -> Result<()> {
    let cluster = Cluster::start()?;
    test_cluster::fixtures::nodes(&cluster.connection).await?;
    test_cluster::executor::install(&cluster.connection).await?;
    let e = E::new(&cluster.connection, "outage").await?;
    let outcome = outages(&cluster, &e).await;
    e.end(outcome).await
}

async fn outages(cluster: &Cluster, e: &E) -> Result<()> {
    // Long enough for the Lease to outlive it, also where the API server takes its time to start.
    let controller = e.controller_with(&e.kubeconfig, &["--lease-duration", "120s", "--backoff", "5s"])?;
    waiting(e, json!({})).await?;
    e.phase("up", "Executing").await?;
    cluster.kill("kube-apiserver")?;
    e.back_again().await?;
    let ready = json!({ "spec": { "template": { "metadata": { "labels": { "test/mode": null } } } } });
    e.world.merge(&e.world.workload_path("Deployment", "web"), &ready).await?;
    let up = e.ended_within("up", Duration::from_mins(3)).await?;
    ensure!(up["status"]["phase"] == "Completed" && up["status"]["result"]["effect"] == "applied", "{up:#}");
    ensure!(up["status"]["attempts"].as_array().is_some_and(|all| all.len() == 1), "{up:#}");
    e.execute("again", scale_with(5, json!({ "reason": "play: first exit 9" }))).await?;
    e.phase("again", "Retrying").await?;
    cluster.kill("kube-apiserver")?;
    e.back_again().await?;
    let again = e.ended_within("again", Duration::from_mins(3)).await?;
    ensure!(again["status"]["phase"] == "Completed" && again["status"]["retryCount"] == 1, "{again:#}");
    ensure!(e.jobs_created().await? == ["up-job", "again-job", "again-job-2"], "{:?}", e.jobs_created().await?);
    ensure!(e.replicas().await? == 5, "it was not scaled");
    unreadable(e).await?;
    controller.stop().await
}

/// An object that another version's definition let pass, and that this controller cannot read, fails alone.
async fn unreadable(e: &E) -> Result<()> {
    let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/kubernetesexecutions.{GROUP}");
    let mut versions = e.world.get(&path).await?["spec"]["versions"].clone();
    let properties = &mut versions[0]["schema"]["openAPIV3Schema"]["properties"];
    properties["spec"]["properties"]["maxRetries"] = json!({ "x-kubernetes-int-or-string": true });
    properties["status"]["properties"]["retryCount"] = json!({ "x-kubernetes-int-or-string": true });
    properties["status"]["x-kubernetes-preserve-unknown-fields"] = json!(true);
    properties["status"]["properties"]["phase"] = json!({ "type": "string" });
    e.world.merge(&path, &json!({ "spec": { "versions": versions } })).await?;
    let limit = std::time::Instant::now() + Duration::from_mins(1);
    while e.execute("odd", scale_with(6, json!({ "maxRetries": "many" }))).await.is_err() {
        ensure!(std::time::Instant::now() < limit, "the API server does not take the other definition");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let odd = e.reason("odd", "Unreadable").await?;
    ensure!(odd["status"]["phase"] == "Failed" && odd["status"]["message"].to_string().contains("many"), "{odd:#}");
    unreadable_while_held(e).await?;
    // A newer controller's phase is left to it, and its fields are left alone.
    let newer = json!({ "status": { "phase": "Paused", "novel": { "a": 1 } } });
    let mut elsewhere = scale_with(7, json!({ "maxRetries": 1, "suspend": true }));
    elsewhere["action"]["target"]["resourceName"] = json!("other");
    e.execute("paused", elsewhere).await?;
    e.world.merge(&format!("{}/status", e.execution("paused")), &newer).await?;
    e.execute("even", scale_with(2, json!({ "maxRetries": 1, "suspend": true }))).await?;
    e.reason("even", "Suspended").await?;
    e.world.merge(&format!("{}/status", e.execution("even")), &json!({ "status": { "novel": { "a": 1 } } })).await?;
    for name in ["even", "paused"] {
        e.patch(name, json!({ "spec": { "suspend": false } })).await?;
    }
    let even = e.ended_within("even", Duration::from_mins(1)).await?;
    ensure!(even["status"]["phase"] == "Completed" && e.replicas().await? == 2, "{even:#}");
    ensure!(even["status"]["novel"]["a"] == 1, "an unknown field was lost: {even:#}");
    let paused = e.world.get(&e.execution("paused")).await?;
    ensure!(paused["status"]["phase"] == "Paused" && paused["status"]["jobName"].is_null(), "{paused:#}");
    Ok(())
}

/// One that became so while it was held, as after a downgrade, can be deleted all the same.
async fn unreadable_while_held(e: &E) -> Result<()> {
    let mut elsewhere = scale_with(7, json!({ "maxRetries": 1, "suspend": true }));
    elsewhere["action"]["target"]["resourceName"] = json!("third");
    e.execute("held", elsewhere).await?;
    e.reason("held", "Suspended").await?;
    e.world.merge(&format!("{}/status", e.execution("held")), &json!({ "status": { "retryCount": "many" } })).await?;
    e.world.delete(&e.execution("held")).await?;
    e.world.gone(&e.execution("held")).await?;
    // And one that says nothing of its phase any more: it is recorded, let go while it is still watched, and can be deleted.
    let mut elsewhere = scale_with(7, json!({ "maxRetries": 1, "suspend": true }));
    elsewhere["action"]["target"]["resourceName"] = json!("fourth");
    e.execute("blank", elsewhere).await?;
    e.reason("blank", "Suspended").await?;
    let blank = json!({ "status": { "phase": null, "reason": null, "retryCount": "many" } });
    e.world.merge(&format!("{}/status", e.execution("blank")), &blank).await?;
    let blank = e.ended("blank").await?;
    ensure!(blank["status"]["reason"] == "Unreadable" && blank["metadata"]["finalizers"].is_null(), "{blank:#}");
    ensure!(blank["status"]["message"].to_string().contains("is not known"), "{blank:#}");
    e.world.delete(&e.execution("blank")).await?;
    e.world.gone(&e.execution("blank")).await?;
    Ok(())
}

fn path(plural: &str) -> String {
    let group = match plural {
        "pods" => "/api/v1",
        "jobs" => "/apis/batch/v1",
        _ => "/apis/kubernetesexecution.kubernaut.io/v1alpha1",
    };
    format!("{group}/namespaces/NAMESPACE/{plural}")
}
