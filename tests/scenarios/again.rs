//! `restart-pod` once more, with the same id and UID: an eviction leaves no mark, and a pod that is gone is not yet
//! replaced. Who replaced it is known by its name alone, if that controller exists.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::runner::Run;

use crate::replaced::replaced;
use crate::shown::{
    claims, first_pod, name, pod, restart_pod, serving, told, touched_nothing, uid, uids, until_serving,
};
use crate::support::{T, expect, scenarios};

scenarios!("again":
    every_workload, jobs, a_first_run_that_was_killed, a_pod_that_nobody_knows, an_owner_that_is_gone, two_that_may_have_made_it,
    a_set_that_is_gone, a_sibling_is_no_replacement,
);

/// From now on no pod is made in the namespace.
async fn no_more_pods(t: &T) -> Result<String> {
    let quotas = t.world.path("v1", "resourcequotas");
    let quota = json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "none" }, "spec": { "hard": { "pods": "0" } } });
    t.world.create(&quotas, &quota).await?;
    let path = format!("{quotas}/none");
    t.world.until(&path, "in force", |quota| quota["status"]["hard"]["pods"] == "0").await?;
    Ok(path)
}

/// Evicted, and not waited for.
async fn evicted(t: &T, target: &Value) -> Result<Run> {
    let run = restart_pod(t, target).await?;
    let outcome = told(t, &run.clone().parameters(&json!({ "wait": false }))).await?;
    expect(&outcome, "Changed", "applied", "not waited for a replacement")?;
    Ok(run)
}

/// Until it is not there any more: a Job takes its finalizer off, kwok acts in its own time.
async fn until_gone(t: &T, target: &Value) -> Result<()> {
    let gone = |list: &Value| list["items"].as_array().is_some_and(|all| !uids(all).contains(&uid(target)));
    t.world.until(&t.world.path("v1", "pods"), "gone", gone).await.map(|_| ())
}

/// As long as no other pod can come: waited for, and not verified. Siblings without a probe that became ready just before would
/// count only after `settle`, which is longer than this waits.
async fn nothing_comes(t: &T, run: &Run, app: &str, wanted: usize) -> Result<()> {
    let outcome = told(t, &run.clone().parameters(&json!({ "waitTimeout": "6s", "settle": "0s" }))).await?;
    let there = serving(t, app).await?.len();
    ensure!(there < wanted, "no pod can be made");
    claims(&outcome, false, &format!("{app}: {there} of {wanted} pods, no other can be made"))?;
    touched_nothing(&outcome)?;
    expect(&outcome, "NotVerified", "none", "waitTimeout is over")?;
    ensure!(outcome.result["details"]["pods"]["new"] == there, "{:#}", outcome.result);
    outcome.verdict.check(false)
}

/// The other one is there, or comes while it is waited for.
async fn it_comes(t: &T, run: &Run, (app, wanted): (&str, usize), target: &Value) -> Result<()> {
    let outcome = told(t, run).await?;
    let pods = serving(t, app).await?;
    claims(&outcome, true, &format!("{app}: {} of {wanted} pods", pods.len()))?;
    ensure!(pods.len() == wanted && !uids(&pods).contains(&uid(target)), "{:#}", outcome.result);
    touched_nothing(&outcome)?;
    expect(&outcome, "Unchanged", "none", "with this UID was gone already; ")?;
    outcome.verdict.check(false)
}

async fn every_workload(t: T) -> Result<()> {
    let kinds = [
        ("Deployment", "my-web-app", 2),
        ("StatefulSet", "db", 2),
        ("DaemonSet", "agent", 3),
        ("ReplicationController", "old-rc", 2),
    ];
    let mut targets = Vec::new();
    for (kind, app, _) in kinds {
        t.world.workload(kind, app, 2, json!({})).await?;
        targets.push(first_pod(&t, app).await?);
    }
    let quota = no_more_pods(&t).await?;
    // Together: the longer no pod can be made, the longer their controllers wait before they try again.
    let runs = kinds.iter().zip(&targets).map(async |((kind, app, wanted), target)| {
        let run = evicted(&t, target).await?.with("ACTION_TIMEOUT", "150s");
        until_gone(&t, target).await?;
        if *kind == "Deployment" {
            let told = |web: &Value| {
                let all = web["status"]["conditions"].as_array();
                all.is_some_and(|all| all.iter().any(|one| one["type"] == "ReplicaFailure"))
            };
            t.world.until(&t.world.workload_path(kind, app), "the quota's words", told).await?;
        }
        nothing_comes(&t, &run, app, *wanted).await?;
        anyhow::Ok(run)
    });
    let runs = futures::future::try_join_all(runs).await?;
    t.world.delete(&quota).await?;
    for ((_, app, wanted), (target, run)) in kinds.iter().zip(targets.iter().zip(&runs)) {
        it_comes(&t, run, (app, *wanted), target).await?;
    }
    Ok(())
}

/// Also one whose pods have an index in their names.
async fn jobs(t: T) -> Result<()> {
    let plain = crate::jobs::create(&t, "calc-plain", json!({ "backoffLimit": 3, "parallelism": 2 })).await?;
    let indexed = json!({ "backoffLimit": 3, "parallelism": 2, "completions": 2, "completionMode": "Indexed" });
    let indexed = crate::jobs::create(&t, "calc-indexed", indexed).await?;
    let targets = [("calc-plain", plain), ("calc-indexed", indexed)];
    let quota = no_more_pods(&t).await?;
    let mut runs = Vec::new();
    for (app, target) in &targets {
        let run = evicted(&t, target).await?;
        until_gone(&t, target).await?;
        nothing_comes(&t, &run, app, 2).await?;
        runs.push(run);
    }
    t.world.delete(&quota).await?;
    for ((app, target), run) in targets.iter().zip(&runs) {
        it_comes(&t, run, (app, 2), target).await?;
    }
    Ok(())
}

/// By the kernel, as soon as the pod is gone.
async fn a_first_run_that_was_killed(t: T) -> Result<()> {
    t.world.workload("StatefulSet", "db", 2, json!({})).await?;
    let target = first_pod(&t, "db").await?;
    let quota = no_more_pods(&t).await?;
    let run = restart_pod(&t, &target).await?;
    let first = run.start(&t.world)?;
    let pods = t.world.path("v1", "pods");
    t.world
        .until(&pods, "gone", |list| list["items"].as_array().is_some_and(|all| !uids(all).contains(&uid(&target))))
        .await?;
    first.kill().await?;
    nothing_comes(&t, &run, "db", 2).await?;
    t.world.delete(&quota).await?;
    it_comes(&t, &run, ("db", 2), &target).await
}

/// What replaced it cannot be known: said, and not taken for done.
async fn unknown(t: &T, run: &Run, says: &str) -> Result<()> {
    let outcome = told(t, run).await?;
    claims(&outcome, false, says)?;
    touched_nothing(&outcome)?;
    expect(&outcome, "NotVerified", "none", "is gone; what replaced it cannot be known: ")?;
    expect(&outcome, "NotVerified", "none", says)?;
    outcome.verdict.check(false)
}

async fn a_pod_that_nobody_knows(t: T) -> Result<()> {
    for pod in ["gone", "web-5d4f6-x2v9k", "db-7"] {
        let run = t.run("restart-pod", pod).await?.with("TARGET_UID", "11111111-1111-1111-1111-111111111111");
        unknown(&t, &run, &format!("no controller is there whose pods are named like {pod}")).await?;
    }
    Ok(())
}

async fn an_owner_that_is_gone(t: T) -> Result<()> {
    t.world.workload("StatefulSet", "db", 1, json!({})).await?;
    let target = first_pod(&t, "db").await?;
    let quota = no_more_pods(&t).await?;
    let run = evicted(&t, &target).await?;
    until_gone(&t, &target).await?;
    t.world.delete(&t.world.workload_path("StatefulSet", "db")).await?;
    unknown(&t, &run, "no controller is there whose pods are named like db-0").await?;
    t.world.delete(&quota).await
}

/// A ReplicaSet and a DaemonSet of one name give their pods names alike.
async fn two_that_may_have_made_it(t: T) -> Result<()> {
    t.world.workload("ReplicaSet", "web", 1, json!({})).await?;
    let target = first_pod(&t, "web").await?;
    let other = json!({ "metadata": { "labels": { "app": "other" } }, "spec": { "selector": { "matchLabels": { "app": "other" } }, "template": { "metadata": { "labels": { "app": "other" } } } } });
    t.world.create_workload("DaemonSet", "web", 1, other).await?;
    let run = evicted(&t, &target).await?;
    until_gone(&t, &target).await?;
    unknown(&t, &run, "may have made a pod of this name").await
}

/// Its Deployment rolled on, and keeps no history: the name alone does not say whose pod it was.
async fn a_set_that_is_gone(t: T) -> Result<()> {
    t.world.workload("Deployment", "my-web-app", 1, json!({ "spec": { "revisionHistoryLimit": 0 } })).await?;
    let target = first_pod(&t, "my-web-app").await?;
    let run = restart_pod(&t, &target).await?;
    replaced(&t, "my-web-app", &target, 1, &told(&t, &run).await?).await?;
    t.meddle("Deployment", "my-web-app", crate::shown::image(2)).await?;
    let sets = t.world.path("apps/v1", "replicasets");
    t.world
        .until(&sets, "one set", |list| {
            list["items"].as_array().is_some_and(|all| {
                all.len() == 1 && all[0]["spec"]["template"]["spec"]["containers"][0]["image"] == "shop/web:2"
            })
        })
        .await?;
    let outcome = told(&t, &run).await?;
    ensure!(uid(&pod(&t, &name(&target)).await) != uid(&target), "it is gone");
    touched_nothing(&outcome)?;
    expect(&outcome, "NotVerified", "none", "what replaced it cannot be known")?;
    outcome.verdict.check(true)
}

/// Scaled down after the eviction, to a pod that was there before it: that one took nobody's place.
async fn a_sibling_is_no_replacement(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    let target = first_pod(&t, "web").await?;
    let run = restart_pod(&t, &target).await?;
    let outcome = told(&t, &run).await?;
    replaced(&t, "web", &target, 2, &outcome).await?;
    let newcomer = outcome.result["details"]["replacement"].as_str().context("no replacement")?.to_owned();
    // The controller takes the one that costs the least.
    let cheap = json!({ "metadata": { "annotations": { "controller.kubernetes.io/pod-deletion-cost": "-9" } } });
    t.world.merge(&format!("{}/{newcomer}", t.world.path("v1", "pods")), &cheap).await?;
    t.meddle("Deployment", "web", json!({ "spec": { "replicas": 1 } })).await?;
    let left = until_serving(&t, "web", 1).await?;
    ensure!(left.iter().all(|pod| name(pod) != newcomer && uid(pod) != uid(&target)), "the sibling is left");
    let outcome = told(&t, &run).await?;
    claims(&outcome, true, "one of one serves")?;
    let replacement = &outcome.result["details"]["replacement"];
    ensure!(replacement.is_null(), "SEEN: {} was there before; SAID: replacement {replacement}", name(&left[0]));
    expect(&outcome, "Unchanged", "none", "has 1 of 1 pods ready")?;
    outcome.verdict.check(true)
}
