//! `restart-pod`: done when the pod is gone, and what controls it, by UID, has as many serving pods as it wants now.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde_json::{Value, json};
use test_cluster::audit::AuditLog;
use test_cluster::fixtures::unique;
use test_cluster::runner::Outcome;

use crate::shown::{
    claims, first_pod, name, pod, restart_pod, serving, told, touched_nothing, uid, uids, until_serving,
};
use crate::support::{T, expect, mode, scenarios};

scenarios!("replaced":
    an_overdue_pod, an_overdue_pod_that_goes_after_all, a_label_set_at_run_time, an_on_delete_set_with_another_template,
    a_deployment_that_rolls_or_shrinks_meanwhile, a_failed_pod, a_controller_of_an_unknown_kind, a_set_of_an_unknown_controller,
    nobody_replaces_it,
);

fn end(end: &str) -> Value {
    json!({ "spec": { "template": { "metadata": { "labels": { "test/end": end } } } } })
}

fn pod_path(t: &T, pod: &Value) -> String {
    format!("{}/{}", t.world.path("v1", "pods"), name(pod))
}

/// A pod that somebody has deleted, on a node that does not answer.
async fn overdue(t: &T, kind: &str) -> Result<Value> {
    let app = kind.to_lowercase();
    t.world.workload(kind, &app, 2, end("never")).await?;
    let target = first_pod(t, &app).await?;
    t.world.delete(&pod_path(t, &target)).await?;
    let leaves = |pod: &Value| pod["metadata"]["deletionTimestamp"].is_string();
    t.world.until(&pod_path(t, &target), "a deletionTimestamp", leaves).await
}

async fn an_overdue_pod(t: T) -> Result<()> {
    let target = overdue(&t, "Deployment").await?;
    until_serving(&t, "deployment", 2).await?;
    let run = restart_pod(&t, &target).await?.parameters(&json!({ "stuckAfter": "1s" }));
    let outcome = told(&t, &run).await?;
    let now = pod(&t, &name(&target)).await;
    ensure!(uid(&now) == uid(&target), "it is there still");
    claims(&outcome, false, "the pod should have been gone long ago, and is there")?;
    touched_nothing(&outcome)?;
    let node = now["spec"]["nodeName"].as_str().context("no node")?;
    expect(&outcome, "NotVerified", "none", &format!("pod {} on node {node}: Terminating since ", name(&target)))?;
    let pods = &outcome.result["details"]["pods"];
    ensure!(pods["new"] == 2 && pods["terminating"] == 1, "all else is there: {pods:#}");
    ensure!(pods["notAsAsked"][0]["name"] == json!(name(&target)) && pods["notAsAsked"][0]["node"] == node, "{pods:#}");
    outcome.verdict.check(false)?;
    t.world.delete(&format!("{}?gracePeriodSeconds=0", pod_path(&t, &target))).await
}

/// A set makes no other as long as it is there: what is overdue may pass.
async fn an_overdue_pod_that_goes_after_all(t: T) -> Result<()> {
    let target = overdue(&t, "StatefulSet").await?;
    let due: Timestamp = target["metadata"]["deletionTimestamp"].as_str().unwrap_or_default().parse()?;
    let mut running = restart_pod(&t, &target).await?.told().start(&t.world)?;
    while Timestamp::now() < due + jiff::SignedDuration::from_secs(12) {
        if running.has_ended()? {
            let outcome = running.complete(&t.world).await?;
            return claims(&outcome, false, "the pod is there");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    t.world.delete(&format!("{}?gracePeriodSeconds=0", pod_path(&t, &target))).await?;
    let outcome = running.complete(&t.world).await?;
    let pods = serving(&t, "statefulset").await?;
    ensure!(pods.len() == 2 && !uids(&pods).contains(&uid(&target)), "{:#}", outcome.result);
    expect(&outcome, "Unchanged", "none", &format!("its replacement {} is ready", name(&target)))?;
    outcome.verdict.check(true)?;
    // The others would never end either.
    for pod in pods {
        t.world.merge(&pod_path(&t, &pod), &json!({ "metadata": { "labels": { "test/end": null } } })).await?;
    }
    Ok(())
}

/// Evicted, gone, and as many as wanted serve: that is so, and a failure would be wrong.
pub async fn replaced(t: &T, app: &str, target: &Value, wanted: usize, outcome: &Outcome) -> Result<()> {
    let pods = serving(t, app).await?;
    let gone = !uids(&pods).contains(&uid(target));
    claims(outcome, true, &format!("gone: {gone}; {} of {wanted} pods serve", pods.len()))?;
    ensure!(gone && pods.len() == wanted, "{} of {wanted}: {:#}", pods.len(), outcome.result);
    let evicted = json!({ "op": "evict", "uid": uid(target) });
    let change = &outcome.result["changes"][0];
    ensure!(json!({ "op": change["operation"], "uid": change["object"]["uid"] }) == evicted, "{change:#}");
    let replacement = outcome.result["details"]["replacement"].as_str();
    let there = replacement.is_none_or(|replacement| pods.iter().any(|pod| name(pod) == replacement));
    ensure!(there, "the replacement {replacement:?} does not serve");
    expect(outcome, "Changed", "applied", "evicted pod")?;
    outcome.verdict.check(true)
}

async fn a_label_set_at_run_time(t: T) -> Result<()> {
    for kind in ["Deployment", "StatefulSet"] {
        let app = kind.to_lowercase();
        t.world.workload(kind, &app, 2, json!({})).await?;
        let target = first_pod(&t, &app).await?;
        t.world.merge(&pod_path(&t, &target), &json!({ "metadata": { "labels": { "role": "leader" } } })).await?;
        let run = restart_pod(&t, &target).await?.parameters(&json!({ "waitTimeout": "12s" }));
        replaced(&t, &app, &target, 2, &told(&t, &run).await?).await?;
    }
    Ok(())
}

async fn an_on_delete_set_with_another_template(t: T) -> Result<()> {
    let one = async |kind: &str, wanted| {
        let app = kind.to_lowercase();
        let mut extra = json!({ "spec": { "updateStrategy": { "type": "OnDelete" }, "template": { "metadata": { "labels": {} } } } });
        extra["spec"]["template"]["metadata"]["labels"]["version"] = json!("1");
        t.world.workload(kind, &app, 2, extra).await?;
        let target = first_pod(&t, &app).await?;
        let newer = json!({ "spec": { "template": { "metadata": { "labels": { "version": "2" } } } } });
        t.meddle(kind, &app, newer).await?;
        let observed = |object: &Value| object["status"]["observedGeneration"] == object["metadata"]["generation"];
        t.world.until(&t.world.workload_path(kind, &app), "observed", observed).await?;
        let run = restart_pod(&t, &target).await?.parameters(&json!({ "waitTimeout": "12s" }));
        let outcome = told(&t, &run).await?;
        replaced(&t, &app, &target, wanted, &outcome).await?;
        let newer = serving(&t, &app).await?.iter().filter(|pod| pod["metadata"]["labels"]["version"] == "2").count();
        ensure!(newer == 1, "{newer} pods of the newer template");
        Ok(())
    };
    tokio::try_join!(one("StatefulSet", 2), one("DaemonSet", 3)).map(|_| ())
}

async fn a_deployment_that_rolls_or_shrinks_meanwhile(t: T) -> Result<()> {
    let rolls = json!({ "spec": { "template": { "metadata": { "annotations": { "fix": "1" } } } } });
    let one = async |app: &str, change: Value, wanted| {
        t.world.workload("Deployment", app, 3, mode("slow")).await?;
        let target = first_pod(&t, app).await?;
        let running =
            restart_pod(&t, &target).await?.parameters(&json!({ "waitTimeout": "25s" })).told().start(&t.world)?;
        // Its replacement is made, and takes 3 s to be ready.
        let pods = format!("{}?labelSelector=app%3D{app}", t.world.path("v1", "pods"));
        let gone = |list: &Value| list["items"].as_array().is_some_and(|all| !uids(all).contains(&uid(&target)));
        t.world.until(&pods, "gone", gone).await?;
        t.meddle("Deployment", app, change).await?;
        let outcome = running.complete(&t.world).await?;
        let pods = serving(&t, app).await?;
        claims(&outcome, true, &format!("{app}: {} of {wanted} serve", pods.len()))?;
        ensure!(pods.len() >= wanted && !uids(&pods).contains(&uid(&target)), "{:#}", outcome.result);
        expect(&outcome, "Changed", "applied", "evicted pod")?;
        outcome.verdict.check(true)
    };
    tokio::try_join!(one("rolls", rolls, 3), one("shrinks", json!({ "spec": { "replicas": 2 } }), 2)).map(|_| ())
}

/// A Failed pod stays for ever, beside the one that took its place long ago.
async fn a_failed_pod(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    let target = first_pod(&t, "web").await?;
    let failed = json!({ "status": { "phase": "Failed", "reason": "Evicted", "conditions": [] } });
    t.world.merge(&format!("{}/status", pod_path(&t, &target)), &failed).await?;
    let pods = until_serving(&t, "web", 2).await?;
    let made = |pod: &Value| pod["status"]["startTime"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
    let youngest = pods.iter().filter_map(made).max().context("no pod has started")?;
    while Timestamp::now() < youngest + jiff::SignedDuration::from_secs(3) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let outcome = told(&t, &restart_pod(&t, &target).await?).await?;
    expect(&outcome, "Refused", "none", "it has run to its end; set force to true")?;
    let run = restart_pod(&t, &target).await?.parameters(&json!({ "force": true, "waitTimeout": "60s" }));
    let begun = Instant::now();
    let outcome = told(&t, &run).await?;
    replaced(&t, "web", &target, 2, &outcome).await?;
    let took = outcome.ended.saturating_duration_since(begun);
    ensure!(uids(&serving(&t, "web").await?) == uids(&pods) && took < Duration::from_secs(30), "{took:?}");
    Ok(())
}

/// A pod as an unknown controller makes it.
async fn pod_of(t: &T, name: &str, owner: &str) -> Result<Value> {
    let owner =
        json!({ "apiVersion": "example.com/v1", "kind": "Shop", "name": "shop", "uid": owner, "controller": true });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "labels": { "app": "shop" }, "ownerReferences": [owner] },
        "spec": { "terminationGracePeriodSeconds": 1, "containers": [{ "name": "app", "image": "x" }] },
    });
    let pods = t.world.path("v1", "pods");
    t.world.create(&pods, &pod).await?;
    t.world.until(&format!("{pods}/{name}"), "ready", crate::shown::serves).await
}

async fn a_controller_of_an_unknown_kind(t: T) -> Result<()> {
    let owner = |number: u32| format!("11111111-1111-1111-1111-{number:012x}");
    let (ours, other) = (owner(unique()), owner(unique()));
    for comes in [false, true] {
        let target = pod_of(&t, if comes { "shop-2" } else { "shop-1" }, &ours).await?;
        let run = restart_pod(&t, &target).await?;
        let limit = if comes { "20s" } else { "3s" };
        let running = run.parameters(&json!({ "waitTimeout": limit })).told().start(&t.world)?;
        let pods = t.world.path("v1", "pods");
        let gone = |list: &Value| list["items"].as_array().is_some_and(|all| !uids(all).contains(&uid(&target)));
        t.world.until(&pods, "gone", gone).await?;
        // Another owner's, with the same labels, is none of its own.
        pod_of(&t, &format!("other-{comes}"), &other).await?;
        if comes {
            pod_of(&t, "shop-3", &ours).await?;
        }
        let outcome = running.complete(&t.world).await?;
        let seen = format!("its owner made another one: {comes}");
        claims(&outcome, comes, &seen)?;
        expect(
            &outcome,
            if comes { "Changed" } else { "NotVerified" },
            "applied",
            if comes { "its replacement shop-3" } else { "waitTimeout" },
        )?;
        let warned =
            outcome.result["warnings"][0].as_str().is_some_and(|text| text.contains("controlled by the Shop shop"));
        ensure!(warned, "{:#}", outcome.result);
        outcome.verdict.check(true)?;
    }
    Ok(())
}

/// As Argo Rollouts does it: a ReplicaSet replaces its pods whoever controls it.
async fn a_set_of_an_unknown_controller(t: T) -> Result<()> {
    let owner = json!([{ "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "r", "uid": "22222222-2222-2222-2222-222222222222", "controller": true }]);
    t.world.workload("ReplicaSet", "bare", 2, json!({ "metadata": { "ownerReferences": owner } })).await?;
    let target = first_pod(&t, "bare").await?;
    let run = restart_pod(&t, &target).await?;
    replaced(&t, "bare", &target, 2, &told(&t, &run).await?).await?;
    ensure!(told(&t, &run).await?.result["code"] == "Unchanged", "found again by its name");
    Ok(())
}

/// Deleted by somebody else, and nobody makes another one: no restart, unless that was forced.
async fn nobody_replaces_it(t: T) -> Result<()> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "lonely", "labels": { "test/end": "never" } },
        "spec": { "terminationGracePeriodSeconds": 1, "containers": [{ "name": "app", "image": "x" }] },
    });
    for force in [false, true] {
        let path = format!("{}/lonely", t.world.path("v1", "pods"));
        t.world.create(&t.world.path("v1", "pods"), &pod).await?;
        let target = t.world.until(&path, "running", |pod| pod["status"]["phase"] == "Running").await?;
        t.world.delete(&path).await?;
        let run = restart_pod(&t, &target).await?.parameters(&json!({ "force": force }));
        let audit = t.world.connection.audit_log.as_deref().map(AuditLog::from_now).transpose()?;
        // It goes when the run has seen it.
        let goes = async {
            let limit = Instant::now() + Duration::from_mins(1);
            while let Some(audit) = &audit {
                ensure!(Instant::now() < limit, "the run does not look at the pod");
                let seen = audit.requests(t.world.client(), "action-runner/").await?;
                if seen
                    .iter()
                    .any(|one| one.namespace == t.world.namespace && one.name == "lonely" && one.verb == "get")
                {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            t.world.delete(&format!("{path}?gracePeriodSeconds=0")).await
        };
        let (outcome, ()) = tokio::try_join!(told(&t, &run), goes)?;
        ensure!(crate::shown::pod(&t, "lonely").await.is_null(), "it is gone, and no other came");
        claims(&outcome, force, &format!("gone, and nothing came in its place; forced: {force}"))?;
        touched_nothing(&outcome)?;
        let code = if force { "Unchanged" } else { "NotVerified" };
        expect(&outcome, code, "none", "nothing replaces it: no controller owns it")?;
        outcome.verdict.check(true)?;
    }
    Ok(())
}
