//! Absence is no proof: what a gateway answers, what cannot be looked at, what was changed back; and what is on its way
//! out is not changed any more.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::fixtures::{node, unique};
use test_cluster::proxy::{Canned, Fault, Rule};
use test_cluster::runner::Outcome;

use crate::shown::{
    claims, first_pod, image, name, pod, restart_pod, restarted_at, sent, serving, told, told_by_the_server,
    touched_nothing, uid, until_serving,
};
use crate::support::{T, expect, scenarios};

scenarios!("gone":
    a_gateway_that_knows_no_pod, a_gateway_that_knows_no_owner, a_404_to_a_patch, a_404_to_an_eviction, a_404_to_a_watch,
    scaled_and_scaled_back, cordoned_and_uncordoned, leaving_workloads_are_refused, a_leaving_pod_is_waited_for,
    a_pod_of_a_leaving_owner,
);

/// As a load balancer answers that knows no way.
const HTML: Canned = Canned { html: true, ..Canned::status(404) };
/// A `Status` with the reason `NotFound`, about something else.
const OF_ANOTHER: Canned = Canned::status(404);
/// As often as it is asked.
const ALWAYS: u32 = 1_000_000;

/// What is read through the proxy is answered so; the pod and its eviction are looked at past it.
async fn not_believed(t: &T, contains: &'static str, answer: Canned) -> Result<()> {
    let target = first_pod(t, "web").await?;
    let rule = Rule { fault: Fault::Answer(answer), method: "GET", contains, lacks: "", times: ALWAYS };
    let (proxy, kubeconfig) = t.through_proxy("restart-pod", rule).await?;
    let run = restart_pod(t, &target).await?.with("KUBECONFIG", kubeconfig.display()).with("ACTION_TIMEOUT", "15s");
    let outcome = told_by_the_server(t, &run).await?;
    ensure!(proxy.hits() > 0, "the fault hit");
    let now = pod(t, &name(&target)).await;
    let there = uid(&now) == uid(&target) && now["metadata"]["deletionTimestamp"].is_null();
    ensure!(there && sent(&outcome, "pods", "eviction") == 0, "{:#}", outcome.result);
    claims(&outcome, false, "the pod is there, and nothing evicted it")?;
    let code = outcome.result["code"].as_str().unwrap_or_default();
    ensure!(
        matches!(code, "Unavailable" | "DeadlineExceeded") && outcome.result["effect"] == "none",
        "{:#}",
        outcome.result
    );
    outcome.verdict.check(false)
}

async fn a_gateway_that_knows_no_pod(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    not_believed(&t, "/pods/", HTML).await?;
    not_believed(&t, "/pods/", OF_ANOTHER).await
}

/// Not even `force` makes an owner gone that somebody between does not know.
async fn a_gateway_that_knows_no_owner(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    not_believed(&t, "/replicasets/", HTML).await?;
    not_believed(&t, "/deployments/", OF_ANOTHER).await
}

/// It may have been passed on, or not: looked up, and not sent again before that is known.
async fn a_404_to_a_patch(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    for (answer, reaches) in [(Fault::AnswerAfter(HTML), 1), (Fault::Answer(HTML), 1)] {
        let before = t.object("Deployment", "web").await?;
        let rule = Rule { fault: answer, method: "PATCH", contains: "/deployments/", lacks: "dryRun", times: 1 };
        let (proxy, kubeconfig) = t.through_proxy("restart-deployment", rule).await?;
        let run = t.run("restart-deployment", "web").await?.with("KUBECONFIG", kubeconfig.display());
        let outcome = told_by_the_server(&t, &run).await?;
        ensure!(proxy.hits() == 1, "the fault hit");
        let now = t.object("Deployment", "web").await?;
        let moved = restarted_at(&now) != restarted_at(&before);
        claims(&outcome, moved, &format!("restarted: {moved}"))?;
        let times = sent(&outcome, "deployments", "");
        ensure!(moved && (times == reaches || t.world.connection.audit_log.is_none()), "{times}: {:#}", outcome.result);
        ensure!(now["metadata"]["generation"].as_i64() == before["metadata"]["generation"].as_i64().map(|one| one + 1));
        expect(&outcome, "Changed", "applied", "1 of 1 new pods ready")?;
        outcome.verdict.check(false)?;
    }
    Ok(())
}

async fn a_404_to_an_eviction(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    for (answer, is_done) in [(Fault::AnswerAfter(HTML), true), (Fault::Answer(HTML), false)] {
        let target = first_pod(&t, "web").await?;
        let rule = Rule { fault: answer, method: "POST", contains: "/eviction", lacks: "dryRun", times: ALWAYS };
        let (proxy, kubeconfig) = t.through_proxy("restart-pod", rule).await?;
        let run = t.run("restart-pod", &name(&target)).await?.with("KUBECONFIG", kubeconfig.display());
        let outcome = told_by_the_server(&t, &run.with("ACTION_TIMEOUT", "30s")).await?;
        ensure!(proxy.hits() > 0, "the fault hit");
        let gone = uid(&pod(&t, &name(&target)).await) != uid(&target);
        ensure!(gone == is_done, "the proxy passed it on, or did not");
        claims(&outcome, is_done, &format!("the pod is gone: {gone}"))?;
        let said = outcome.result["effect"].as_str().unwrap_or_default();
        ensure!(said == if gone { "applied" } else { "none" }, "SEEN: gone: {gone}; SAID: {:#}", outcome.result);
        if is_done {
            let pods = serving(&t, "web").await?;
            let named = |pod: &&Value| json!(name(pod)) == outcome.result["details"]["replacement"];
            ensure!(pods.len() == 2 && pods.iter().any(|pod| named(&pod)), "{:#}", outcome.result);
        }
        outcome.verdict.check(false)?;
    }
    Ok(())
}

/// The target was there a moment ago, and it was changed. Once it is looked at again, always it is not known what came of it.
async fn a_404_to_a_watch(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    let faults = [Fault::Answer(OF_ANOTHER), Fault::Answer(HTML), Fault::WatchError(404)];
    for (fault, times) in faults.into_iter().flat_map(|fault| [(fault.clone(), 1), (fault, ALWAYS)]) {
        let before = t.object("Deployment", "web").await?;
        let rule = Rule { fault: fault.clone(), method: "GET", contains: "watch=true", lacks: "", times };
        let (proxy, kubeconfig) = t.through_proxy("restart-deployment", rule).await?;
        let run = t.run("restart-deployment", "web").await?.with("KUBECONFIG", kubeconfig.display());
        let limit = if times == 1 { "20s" } else { "3s" };
        let outcome = told_by_the_server(&t, &run.parameters(&json!({ "waitTimeout": limit }))).await?;
        ensure!(proxy.hits() > 0, "the fault hit");
        let now = t.object("Deployment", "web").await?;
        ensure!(restarted_at(&now) != restarted_at(&before) && uid(&now) == uid(&before), "it is there, and restarted");
        let (code, effect) = (&outcome.result["code"], &outcome.result["effect"]);
        // Without a watch to the end, the last look may still see that it is done; the judge holds it to that.
        let truthful = *code == "Changed" || times == ALWAYS && (*code == "NotVerified" || *code == "Unavailable");
        ensure!(
            truthful && *effect == "applied",
            "SEEN: {fault:?} {times} times, it is there and restarted; SAID: {code}, effect {effect}: {}",
            outcome.result["error"]
        );
        outcome.verdict.check(false)?;
    }
    Ok(())
}

/// The answer is lost, and somebody has put back what was there before anybody looks.
async fn put_back(t: &T, action: &str, target: &str, path: &str, parts: (&'static str, Value)) -> Result<Outcome> {
    let (contains, back) = parts;
    let rule = Rule { fault: Fault::Stall, method: "PATCH", contains, lacks: "dryRun", times: 1 };
    let before = t.world.get(path).await?;
    let (_proxy, kubeconfig) = t.through_proxy(action, rule).await?;
    let run = t.run(action, target).await?.with("KUBECONFIG", kubeconfig.display()).told();
    let run = if action == "cordon-node" { run } else { run.parameters(&json!({ "replicas": 5 })) };
    let running = run.start(&t.world)?;
    t.world.until(path, "changed", |object| object["spec"] != before["spec"]).await?;
    let after = t.world.merge(path, &back).await?;
    ensure!(after["spec"] == before["spec"], "{after:#}");
    let outcome = running.complete(&t.world).await?;
    let now = t.world.get(path).await?;
    ensure!(
        now["spec"] == before["spec"],
        "SEEN: put back by a person, and changed again: {}; SAID: {:#}",
        now["spec"],
        outcome.result
    );
    Ok(outcome)
}

fn unknown_and_sent_once(t: &T, outcome: &Outcome, resource: &str, subresource: &str) -> Result<()> {
    let times = sent(outcome, resource, subresource);
    ensure!(times == 1 || t.world.connection.audit_log.is_none(), "sent {times} times: {:#}", outcome.result);
    claims(outcome, false, "put back by a person")?;
    expect(outcome, "Unavailable", "unknown", "")?;
    outcome.verdict.check(true)
}

async fn scaled_and_scaled_back(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 3, json!({})).await?;
    let path = t.world.workload_path("Deployment", "web");
    let back = json!({ "spec": { "replicas": 3 } });
    let outcome = put_back(&t, "scale-deployment", "web", &path, ("/scale", back)).await?;
    unknown_and_sent_once(&t, &outcome, "deployments", "scale")
}

/// A node has no generation; the runner's annotation tells: of an uncordon by the runner, and of one by kubectl, which
/// leaves it.
async fn cordoned_and_uncordoned(t: T) -> Result<()> {
    const MARK: &str = "kubernetesexecution.kubernaut.io/cordon";
    let one = async |marked: bool| {
        let name = format!("node-{:08x}", unique());
        node(&t.world, &name, json!([{ "key": "test/own", "effect": "NoSchedule" }])).await?;
        let path = format!("/api/v1/nodes/{name}");
        let mark = if marked { json!({ MARK: "{\"run\":\"another\"}" }) } else { json!({}) };
        let back = json!({ "spec": { "unschedulable": null, "taints": [{ "key": "test/own", "effect": "NoSchedule" }] }, "metadata": { "annotations": mark } });
        let outcome = put_back(&t, "cordon-node", &name, &path, ("/nodes/", back)).await?;
        if marked {
            return unknown_and_sent_once(&t, &outcome, "nodes", "");
        }
        claims(&outcome, false, "uncordoned by a person")?;
        expect(&outcome, "NotVerified", "applied", "")?;
        outcome.verdict.check(true)
    };
    one(true).await?;
    one(false).await
}

/// A workload that is being deleted, and held by a finalizer; with two revisions.
async fn leaving(t: &T, kind: &str, name: &str) -> Result<Value> {
    t.world.workload(kind, name, 1, json!({ "metadata": { "finalizers": ["test.example.com/hold"] } })).await?;
    if kind != "ReplicaSet" {
        t.meddle(kind, name, image(2)).await?;
        let path = t.world.workload_path(kind, name);
        let observed = |object: &Value| object["status"]["observedGeneration"] == object["metadata"]["generation"];
        t.world.until(&path, "its second revision", observed).await?;
    }
    let path = t.world.workload_path(kind, name);
    t.world.delete(&path).await?;
    t.world.until(&path, "a deletionTimestamp", |object| object["metadata"]["deletionTimestamp"].is_string()).await
}

async fn leaving_workloads_are_refused(t: T) -> Result<()> {
    let one = async |kind: &str, verbs: &[&str]| {
        let name = kind.to_lowercase();
        let before = leaving(&t, kind, &name).await?;
        for (verb, dry_run) in verbs.iter().flat_map(|verb| [(verb, true), (verb, false)]) {
            let parameters = if *verb == "scale" { json!({ "replicas": 3 }) } else { json!({}) };
            let parameters = if dry_run { parameters } else { with(parameters, "waitTimeout", "4s") };
            let run = t.run(&format!("{verb}-{name}"), &name).await?.with("ACTION_DRY_RUN", dry_run);
            let outcome = told(&t, &run.parameters(&parameters)).await?;
            let now = t.object(kind, &name).await?;
            claims(&outcome, false, &format!("{kind}: deleted since {}", now["metadata"]["deletionTimestamp"]))?;
            ensure!(
                now["spec"] == before["spec"],
                "SEEN: {kind}: changed while it is deleted; SAID: {:#}",
                outcome.result
            );
            touched_nothing(&outcome)?;
            expect(&outcome, "Refused", "none", "is being deleted since")?;
            expect(&outcome, "Refused", "none", "(finalizers: test.example.com/hold)")?;
            outcome.verdict.check(false)?;
        }
        t.meddle(kind, &name, json!({ "metadata": { "finalizers": null } })).await
    };
    tokio::try_join!(
        one("Deployment", &["scale", "restart", "rollback"]),
        one("StatefulSet", &["scale", "restart", "rollback"]),
        one("DaemonSet", &["restart", "rollback"]),
        one("ReplicaSet", &["scale"]),
    )
    .map(|_| ())
}

fn with(mut parameters: Value, field: &str, value: &str) -> Value {
    parameters[field] = json!(value);
    parameters
}

/// A pod that somebody deletes, and a finalizer holds: done when it is gone and replaced, and not before.
async fn a_leaving_pod_is_waited_for(t: T) -> Result<()> {
    let one = async |kind: &str| {
        let app = kind.to_lowercase();
        t.world.workload(kind, &app, 2, json!({})).await?;
        let target = first_pod(&t, &app).await?;
        let path = format!("{}/{}", t.world.path("v1", "pods"), name(&target));
        t.world.merge(&path, &json!({ "metadata": { "finalizers": ["test.example.com/hold"] } })).await?;
        t.world.delete(&path).await?;
        let due = |pod: &Value| pod["metadata"]["deletionTimestamp"].is_string();
        t.world.until(&path, "a deletionTimestamp", due).await?;
        let mut running = restart_pod(&t, &target).await?.told().start(&t.world)?;
        // A Deployment replaces it at once, a set when it is gone: neither is the end.
        until_serving(&t, &app, if kind == "Deployment" { 2 } else { 1 }).await?;
        let late = tokio::time::Instant::now() + std::time::Duration::from_secs(5);
        while tokio::time::Instant::now() < late {
            if running.has_ended()? {
                let outcome = running.complete(&t.world).await?;
                return claims(&outcome, false, &format!("{kind}: the pod is still terminating"));
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        t.world.merge(&path, &json!({ "metadata": { "finalizers": null } })).await?;
        let outcome = running.complete(&t.world).await?;
        let pods = serving(&t, &app).await?;
        ensure!(pods.len() == 2 && !pods.iter().any(|pod| uid(pod) == uid(&target)), "{:#}", outcome.result);
        claims(&outcome, true, "it is gone and replaced")?;
        touched_nothing(&outcome)?;
        expect(&outcome, "Unchanged", "none", "was being deleted already; its replacement ")?;
        outcome.verdict.check(true)
    };
    tokio::try_join!(one("Deployment"), one("StatefulSet")).map(|_| ())
}

/// Nobody replaces it any more: refused, unless it is meant; then it is gone, and nothing is waited for.
async fn a_pod_of_a_leaving_owner(t: T) -> Result<()> {
    leaving(&t, "ReplicaSet", "bare").await?;
    let target = first_pod(&t, "bare").await.context("the collector waits for its owner")?;
    let outcome = told(&t, &restart_pod(&t, &target).await?).await?;
    claims(&outcome, false, "its owner is being deleted")?;
    touched_nothing(&outcome)?;
    expect(&outcome, "Refused", "none", "is being deleted since")?;
    let outcome = told(&t, &restart_pod(&t, &target).await?.parameters(&json!({ "force": true }))).await?;
    ensure!(pod(&t, &name(&target)).await.is_null() && serving(&t, "bare").await?.is_empty(), "{:#}", outcome.result);
    expect(&outcome, "Changed", "applied", "it is gone, and nothing replaces it")?;
    outcome.verdict.check(false)?;
    t.meddle("ReplicaSet", "bare", json!({ "metadata": { "finalizers": null } })).await
}
