//! One slow thing holds nothing else: webhooks that hang, a node that is dead, a watch that went silent, a reader that never
//! reads.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::fixtures::node;
use test_cluster::proxy::{Fault, Proxy, Rule};
use test_cluster::runner::{Outcome, Run, Running};
use test_cluster::webhook::{self, Slow, WORK, Webhook};

use crate::look::{own_taint, tolerated, with};
use crate::support::{T, expect, scalable_kind, scenarios};

scenarios!("slow":
    the_longest_webhook_there_is, a_webhook_that_skips_dry_runs_and_has_to_answer, a_webhook_that_has_to_answer,
    two_webhooks_that_add_up, a_webhook_that_fails_open, a_webhook_that_skips_dry_runs, a_dead_node_and_healthy_ones,
    a_watch_that_goes_silent, connections_that_die, a_reader_that_never_reads,
);

/// As long as a webhook has by default.
const DEFAULT: u32 = 10;
/// Fails open after that, like most: nobody is named in an answer.
const OPEN: Webhook =
    Webhook { mutates: false, fails_open: true, seconds: DEFAULT, about_dry_runs: true, about: WORK, deletions: false };

/// A Deployment, and webhooks that hang, each on a server of its own.
async fn hanging(t: &T, webhooks: &[Webhook]) -> Result<Vec<Slow>> {
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    let mut all = Vec::new();
    for (number, webhook) in webhooks.iter().enumerate() {
        let server = Slow::start()?;
        server.admits(&t.world, &format!("slow-{number}"), *webhook).await?;
        all.push(server);
    }
    Ok(all)
}

/// The run of an account that no policy is about: the webhooks are the only ones that are asked.
async fn run(t: &T, action: &str, name: &str) -> Result<Run> {
    let account = t.called("unheld", action, &[]).await?;
    let run = Run::new(&t.binary, &account, action, name).with("TARGET_NAMESPACE", &t.world.namespace);
    Ok(run.with("ACTION_TIMEOUT", "180s"))
}

/// Scales the Deployment to 2, and holds it against the object's generation and the audit log: once, or not at all.
async fn scaled(t: &T, webhooks: &[Webhook], is_changed: bool, writes: usize) -> Result<Outcome> {
    let servers = hanging(t, webhooks).await?;
    let generation = async || anyhow::Ok(t.object("Deployment", "web").await?["metadata"]["generation"].as_i64());
    let (before, asked) = (generation().await?, servers.iter().map(Slow::asked).collect::<Vec<_>>());
    let run = run(t, "scale-deployment", "web").await?.parameters(&json!({ "replicas": 2 }));
    let outcome = t.complete(&run).await?;
    let now = generation().await?;
    webhook::end(&t.world).await?;
    let moved = now.zip(before).map(|(now, before)| now - before);
    ensure!(moved == Some(i64::from(is_changed)), "the generation moved by {moved:?}: {:#}", outcome.result);
    ensure!(servers.iter().zip(asked).all(|(server, before)| server.asked() > before), "a webhook was not asked");
    let meant = |one: &&test_cluster::audit::Entry| one.changes_something() || one.may_have_changed_something();
    let sent = outcome.seen.iter().filter(meant).count();
    let applied = outcome.seen.iter().filter(|one| one.changes_something()).count();
    let judged = t.world.connection.audit_log.is_some();
    ensure!(!judged || (sent, applied) == (writes, usize::from(is_changed)), "{sent} writes, {applied} applied");
    Ok(outcome)
}

/// Nobody can do more than to wait, and not to ask for what does not help.
fn gave_up(outcome: &Outcome, says: &str) -> Result<()> {
    expect(outcome, "Unavailable", "none", says)?;
    let error = outcome.result["error"].as_str().unwrap_or_default();
    ensure!(!error.contains("ACTION_TIMEOUT") && outcome.result["retryable"] == true, "{:#}", outcome.result);
    Ok(())
}

/// The write of a scale, and an eviction.
async fn a_webhook_that_fails_open(t: T) -> Result<()> {
    let outcome = scaled(&t, &[OPEN], true, 1).await?;
    expect(&outcome, "Changed", "applied", "2 of 2 replicas ready")?;
    let server = Slow::start()?;
    server.admits(&t.world, "evict", OPEN).await?;
    let pod = t.world.pods("web").await?[0]["metadata"].clone();
    let run = run(&t, "restart-pod", pod["name"].as_str().context("no pod")?).await?;
    let outcome = t.complete(&run).await?;
    webhook::end(&t.world).await?;
    expect(&outcome, "Changed", "applied", "its replacement ")?;
    let pods = t.world.pods("web").await?;
    ensure!(pods.len() == 2 && pods.iter().all(|one| one["metadata"]["uid"] != pod["uid"]), "{pods:#?}");
    Ok(())
}

async fn two_webhooks_that_add_up(t: T) -> Result<()> {
    let mutates = Webhook { mutates: true, ..OPEN };
    let outcome = scaled(&t, &[mutates, mutates], true, 1).await?;
    expect(&outcome, "Changed", "applied", "2 of 2 replicas ready")
}

/// 30 s is the most that a webhook may have, and 34 s what the API server gives a write: with 30 it would not see the end of
/// the webhook.
async fn the_longest_webhook_there_is(t: T) -> Result<()> {
    let longest = Webhook { seconds: 30, ..OPEN };
    let outcome = scaled(&t, &[longest], true, 1).await?;
    expect(&outcome, "Changed", "applied", "2 of 2 replicas ready")?;
    let server = Slow::start()?;
    server.admits(&t.world, "longest", longest).await?;
    let codes = tokio::try_join!(webhook::write(&t.world, "30s"), webhook::write(&t.world, "34s"))?;
    webhook::end(&t.world).await?;
    ensure!(matches!(codes, (0 | 504, 200)), "{codes:?}");
    Ok(())
}

/// The dry run does not show it: the first write has too little time, and the second one does it.
async fn a_webhook_that_skips_dry_runs(t: T) -> Result<()> {
    let outcome = scaled(&t, &[Webhook { about_dry_runs: false, ..OPEN }], true, 2).await?;
    expect(&outcome, "Changed", "applied", "2 of 2 replicas ready")
}

async fn a_webhook_that_has_to_answer(t: T) -> Result<()> {
    let outcome = scaled(&t, &[Webhook { fails_open: false, ..OPEN }], false, 0).await?;
    gave_up(&outcome, "failed calling webhook \"slow-0.test.example\"")
}

async fn a_webhook_that_skips_dry_runs_and_has_to_answer(t: T) -> Result<()> {
    let webhook = Webhook { fails_open: false, about_dry_runs: false, ..OPEN };
    let outcome = scaled(&t, &[webhook], false, 2).await?;
    gave_up(&outcome, "failed calling webhook \"slow-0.test.example\"")
}

/// Six pods whose kubelet takes every request and answers none, and two that are well, whose names come last.
async fn a_dead_node_and_healthy_ones(t: T) -> Result<()> {
    let logs = t.world.connection.logs.as_ref().context("logs are only served by our own cluster")?;
    let lines = (0..50).map(|number| format!("2026-11-23T10:00:00Z stdout F line {number}"));
    std::fs::write(logs.join("slow.log"), lines.collect::<Vec<_>>().join("\n") + "\n")?;
    let dead = format!("dead-{}", t.world.namespace);
    node(&t.world, &dead, own_taint()).await?;
    let kubelet = Slow::start()?;
    kubelet.is_kubelet_of(&t.world, &dead).await?;
    let container = json!([{ "name": "slow", "image": "x" }]);
    let of = |name: &str, node: Value| {
        let labels = json!({ "app": name, "team": "slow" });
        let spec = json!({ "nodeSelector": node, "containers": container });
        json!({ "spec": { "template": { "metadata": { "labels": labels }, "spec": spec } } })
    };
    let there = with(of("dead", json!({ "kubernetes.io/hostname": dead })), tolerated());
    t.world.workload("Deployment", "dead", 6, there).await?;
    t.world.workload("Deployment", "well", 2, of("well", json!({ "test/pool": "shared" }))).await?;
    let run = Run::new(&t.binary, &t.account("collect-logs").await?, "collect-logs", "")
        .with("TARGET_NAMESPACE", &t.world.namespace)
        .with("TARGET_SELECTOR", "team=slow")
        .with("ACTION_TIMEOUT", "100s");
    let begun = Instant::now();
    let outcome = t.complete(&run).await?;
    let took = outcome.ended.duration_since(begun);
    ensure!(kubelet.asked() > 0, "the dead node was not asked");
    expect(&outcome, "Completed", "none", "from 8 containers of 8 pods")?;
    let of = |name: &str| {
        outcome.lines.iter().filter(|line| line["pod"].as_str().is_some_and(|pod| pod.starts_with(name))).count()
    };
    ensure!((of("well-"), of("dead-")) == (100, 0), "{:#}", outcome.result);
    for one in outcome.result["details"]["containers"].as_array().context("no containers")? {
        let (pod, error) = (one["pod"].as_str().unwrap_or_default(), one["error"].as_str().unwrap_or_default());
        let says = format!("its node {dead} was asked for logs 3 times, and sent nothing for 5, 15, 15 s");
        let told = if pod.starts_with("well-") { error.is_empty() } else { error == says };
        ensure!(told && one["lines"] == if pod.starts_with("well-") { 50 } else { 0 }, "{one:#}");
    }
    ensure!(took < Duration::from_secs(50), "it took {took:?}: {:#}", outcome.result);
    Ok(())
}

/// As often as it is asked.
const ALWAYS: u32 = 1_000_000;
const SILENT: Rule =
    Rule { fault: Fault::WatchSilent, method: "GET", contains: "watch=true", lacks: "", times: ALWAYS };
/// Sooner than a quiet watch is checked.
const SHORT: &str = "18s";

/// Every kind of wait: all watches begin, and nothing comes on them, while what is waited for comes to pass.
async fn a_watch_that_goes_silent(t: T) -> Result<()> {
    let kinds = [
        ("restart-deployment", "Deployment", 2),
        ("restart-statefulset", "StatefulSet", 1),
        ("scale-deployment", "Deployment", 1),
    ];
    for (action, kind, replicas) in kinds {
        t.world.workload(kind, action, replicas, json!({})).await?;
    }
    t.world.workload("Deployment", "restart-pod", 1, json!({})).await?;
    let pod = t.world.pods("restart-pod").await?[0]["metadata"]["name"].as_str().context("no pod")?.to_owned();
    let act = async |action: &str, name: &str, parameters: Value| {
        let (proxy, kubeconfig) = t.through_proxy(action, SILENT).await?;
        let run = t.run(action, name).await?.with("KUBECONFIG", kubeconfig.display()).parameters(&parameters);
        let outcome = t.complete(&run).await?;
        ensure!(proxy.hits() > 0, "no watch was silent");
        expect(&outcome, "Changed", "applied", "")
    };
    let short = || json!({ "waitTimeout": SHORT });
    tokio::try_join!(
        act("restart-deployment", "restart-deployment", short()),
        act("restart-statefulset", "restart-statefulset", short()),
        act("scale-deployment", "scale-deployment", json!({ "replicas": 3, "waitTimeout": SHORT })),
        act("restart-pod", &pod, short()),
        custom_kind(&t),
    )
    .map(|_| ())
}

/// A kind that is not built in, whose controller is played here: no Role is generated for it, so the administrator runs it.
async fn custom_kind(t: &T) -> Result<()> {
    let group = format!("{}.example.com", t.world.namespace);
    let path = scalable_kind(t, &group, "Snail").await?;
    let api_version = format!("{group}/v1");
    let snail =
        json!({ "apiVersion": api_version, "kind": "Snail", "metadata": { "name": "s" }, "spec": { "size": 1 } });
    let uid = t.world.create(&path, &snail).await?["metadata"]["uid"].clone();
    let owner = json!([{ "apiVersion": api_version, "kind": "Snail", "name": "s", "uid": uid, "controller": true }]);
    // So many pods, and their count.
    let has = async |count: u32| {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": format!("s-{count}"), "labels": { "app": "s" }, "ownerReferences": owner },
            "spec": { "containers": [{ "name": "app", "image": "x" }] },
        });
        t.world.create(&t.world.path("v1", "pods"), &pod).await?;
        let status = json!({ "status": { "size": count, "selector": "app=s" } });
        t.world.merge(&format!("{path}/s/status"), &status).await.map(|_| ())
    };
    has(1).await?;
    let connection = &t.world.connection;
    let proxy = Proxy::start(&connection.server, &connection.authority, t.world.folder(), SILENT)?;
    let (theirs, ours) = (connection.authority.display().to_string(), proxy.authority.display().to_string());
    let kubeconfig = std::fs::read_to_string(&connection.kubeconfig)?;
    let file = t.world.folder().join("admin-through-proxy.kubeconfig");
    std::fs::write(&file, kubeconfig.replace(&connection.server, &proxy.server).replace(&theirs, &ours))?;
    let run = Run::new(&t.binary, &file, "scale", "s")
        .with("TARGET_NAMESPACE", &t.world.namespace)
        .with("TARGET_KIND", "Snail")
        .with("TARGET_API_VERSION", &api_version)
        .parameters(&json!({ "replicas": 2, "waitTimeout": SHORT }));
    let controller = async {
        t.world.until(&format!("{path}/s"), "scaled", |snail| snail["spec"]["size"] == 2).await?;
        has(2).await
    };
    let (outcome, ()) = tokio::try_join!(t.complete(&run), controller)?;
    ensure!(proxy.hits() > 0, "no watch was silent");
    expect(&outcome, "Changed", "applied", "2 of 2 replicas ready")
}

/// All connections die at once, also those that are kept for later, and new ones work: when the change has been made, and
/// when it is waited for.
async fn connections_that_die(t: T) -> Result<()> {
    tokio::try_join!(die(&t, "written", "?timeout=10000ms"), die(&t, "waited-for", "\"message\":\"progress\""),)
        .map(|_| ())
}

/// They die as soon as the run's log says this.
async fn die(t: &T, name: &str, when: &str) -> Result<()> {
    t.world.workload("Deployment", name, 2, json!({})).await?;
    let (proxy, kubeconfig) = t.through_proxy("restart-deployment", Rule { times: 0, ..SILENT }).await?;
    let run = t.run("restart-deployment", name).await?.with("KUBECONFIG", kubeconfig.display());
    let run = run.with("ACTION_TIMEOUT", "120s").parameters(&json!({ "waitTimeout": SHORT }));
    let dies = |_: &Running| {
        proxy.lose_connections();
        Ok(())
    };
    let outcome = run.start(&t.world)?.when(when, dies, &t.world).await?;
    expect(&outcome, "Changed", "applied", "2 of 2 new pods ready")?;
    let generation = t.object("Deployment", name).await?["metadata"]["generation"].clone();
    ensure!(generation == 2, "it was restarted once: {generation}");
    Ok(())
}

/// A pipe that is full and that nobody reads: the run ends in time, with its exit code, and its result is on stderr.
async fn a_reader_that_never_reads(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    let folder = t.world.folder().display().to_string();
    let script = |name: &str, fill: &str| {
        format!("mkfifo {folder}/{name}; exec 3<>{folder}/{name}; {fill}timeout 60 \"$RUNNER\" >&3; echo \"exit $?\"")
    };
    let full = "head -c 65536 /dev/zero >&3; ";
    let run =
        t.run("scale-deployment", "web").await?.parameters(&json!({ "replicas": 2 })).with("ACTION_TIMEOUT", "30s");
    let output = run.by_shell(&script("result", full), &t.world).await?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.stdout == b"exit 0\n", "{:?}: {log}", output.stdout);
    ensure!(t.object("Deployment", "web").await?["spec"]["replicas"] == 2);
    let line = log.lines().find(|line| line.contains(r#""kind":"ActionResult""#)).context(log.clone())?;
    ensure!(serde_json::from_str::<Value>(line)?["code"] == "Changed", "{line}");
    // The lines of collect-logs, of which a pipe takes the first 64 KiB.
    let logs = t.world.connection.logs.as_ref().context("logs are only served by our own cluster")?;
    let lines = (0..5000).map(|number| format!("2026-11-23T10:00:00Z stdout F a line of some length, number {number}"));
    std::fs::write(logs.join("unread.log"), lines.collect::<Vec<_>>().join("\n") + "\n")?;
    let unread = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "unread", "image": "x" }] } } } });
    t.world.workload("Deployment", "talks", 1, unread).await?;
    let run = t.run("collect-logs-deployment", "talks").await?.with("ACTION_TIMEOUT", "15s");
    let output = run.by_shell(&script("lines", ""), &t.world).await?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.stdout == b"exit 8\n", "{:?}: {log}", output.stdout);
    let line = log.lines().find(|line| line.contains(r#""kind":"ActionResult""#)).context(log.clone())?;
    let result: Value = serde_json::from_str(line)?;
    let says = result["error"]
        .as_str()
        .is_some_and(|error| error.contains("the log lines were not written to stdout in time"));
    ensure!(result["code"] == "DeadlineExceeded" && result["effect"] == "none" && says, "{result:#}");
    Ok(())
}
