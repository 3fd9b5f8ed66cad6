//! `restart-pod` of a Job's pod: the Job is asked whether it makes another one, and told truthfully when it did not.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::shown::{claims, name, pod, restart_pod, serving, told, touched_nothing, uid, uids, until_serving};
use crate::support::{T, expect, scenarios};

scenarios!("jobs": with_tries_left, without_tries, evictions_that_do_not_count, an_index_without_tries, complete_afterwards, suspended_meanwhile, by_force);

/// A Job of this name with so much in its spec; returns its first pod when all of them serve.
pub async fn create(t: &T, name: &str, spec: Value) -> Result<Value> {
    let wanted = usize::try_from(spec["parallelism"].as_i64().unwrap_or(1))?;
    let labels = json!({ "app": name });
    let mut job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": name },
        "spec": { "template": { "metadata": { "labels": labels }, "spec": {
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [{ "name": "app", "image": "x" }],
        } } },
    });
    for (field, value) in spec.as_object().into_iter().flatten() {
        if field == "test/end" {
            job["spec"]["template"]["metadata"]["labels"][field] = value.clone();
        } else {
            job["spec"][field] = value.clone();
        }
    }
    t.world.create(&t.world.path("batch/v1", "jobs"), &job).await?;
    let pods = until_serving(t, name, wanted).await?;
    Ok(pods.first().cloned().unwrap_or_default())
}

async fn job(t: &T, name: &str) -> Result<Value> {
    t.world.get(&t.world.workload_path("Job", name)).await
}

/// Evicted, and the Job has made another one. A Job with a `podFailurePolicy` makes it when a kubelet has said how the pod
/// ended; here the scenario is the kubelet.
async fn is_replaced(t: &T, app: &str, target: &Value, ended_by_kubelet: bool) -> Result<()> {
    let running = restart_pod(t, target).await?.told().start(&t.world)?;
    if ended_by_kubelet {
        let path = format!("{}/{}", t.world.path("v1", "pods"), name(target));
        t.world.until(&path, "evicted", |pod| pod["metadata"]["deletionTimestamp"].is_string()).await?;
        t.world.merge(&format!("{path}/status"), &json!({ "status": { "phase": "Failed" } })).await?;
    }
    let outcome = running.complete(&t.world).await?;
    let pods = serving(t, app).await?;
    let seen = format!("{app}: {} serve, {} of before", pods.len(), usize::from(uids(&pods).contains(&uid(target))));
    claims(&outcome, true, &seen)?;
    ensure!(pods.len() == 1 && !uids(&pods).contains(&uid(target)), "{:#}", outcome.result);
    let owner = &pods[0]["metadata"]["ownerReferences"][0]["uid"];
    ensure!(*owner == job(t, app).await?["metadata"]["uid"], "it is the Job's own");
    expect(&outcome, "Changed", "applied", &format!("its replacement {} is ready", name(&pods[0])))?;
    ensure!(outcome.result["details"]["workload"]["kind"] == "Job", "{:#}", outcome.result);
    outcome.verdict.check(false)
}

async fn with_tries_left(t: T) -> Result<()> {
    let target = create(&t, "calc", json!({ "backoffLimit": 1 })).await?;
    is_replaced(&t, "calc", &target, false).await
}

/// Nothing would come: refused, and the pod stays.
async fn is_refused(t: &T, app: &str, target: &Value, says: &str) -> Result<()> {
    for dry_run in [true, false] {
        let run = restart_pod(t, target).await?.with("ACTION_DRY_RUN", dry_run);
        let outcome = told(t, &run.parameters(&json!({ "waitTimeout": "8s" }))).await?;
        let now = pod(t, &name(target)).await;
        let stays = uid(&now) == uid(target) && now["metadata"]["deletionTimestamp"].is_null();
        claims(&outcome, false, &format!("{app}: the pod stays: {stays}"))?;
        ensure!(stays, "SEEN: evicted, and the Job makes no other; SAID: {:#}", outcome.result);
        touched_nothing(&outcome)?;
        expect(&outcome, "Refused", "none", says)?;
        outcome.verdict.check(false)?;
    }
    Ok(())
}

async fn without_tries(t: T) -> Result<()> {
    let target = create(&t, "calc", json!({ "backoffLimit": 0 })).await?;
    is_refused(&t, "calc", &target, "counts an eviction as a failure, and its backoffLimit is used up; set force").await
}

async fn evictions_that_do_not_count(t: T) -> Result<()> {
    let policy = json!({ "rules": [{ "action": "Ignore", "onPodConditions": [{ "type": "DisruptionTarget", "status": "True" }] }] });
    let target = create(&t, "calc", json!({ "backoffLimit": 0, "podFailurePolicy": policy })).await?;
    is_replaced(&t, "calc", &target, true).await?;
    let failed = &job(&t, "calc").await?["status"]["failed"];
    ensure!(failed.is_null() || *failed == 0, "it does not count: {failed}");
    Ok(())
}

/// Each index has tries of its own.
async fn an_index_without_tries(t: T) -> Result<()> {
    let spec = json!({ "backoffLimitPerIndex": 0, "completions": 2, "parallelism": 2, "completionMode": "Indexed" });
    let target = create(&t, "calc", spec).await?;
    is_refused(&t, "calc", &target, "backoffLimit is used up").await
}

/// The container ends with 0 when it is told to stop: the Job has what it wanted, and no other pod comes.
async fn complete_afterwards(t: T) -> Result<()> {
    let target = create(&t, "calc", json!({ "backoffLimit": 3, "test/end": "never" })).await?;
    let running = restart_pod(&t, &target).await?.told().start(&t.world)?;
    let path = format!("{}/{}", t.world.path("v1", "pods"), name(&target));
    t.world.until(&path, "evicted", |pod| pod["metadata"]["deletionTimestamp"].is_string()).await?;
    t.world.merge(&format!("{path}/status"), &json!({ "status": { "phase": "Succeeded", "conditions": [] } })).await?;
    let complete = |job: &Value| job["status"]["succeeded"] == 1 && job["status"]["completionTime"].is_string();
    t.world.until(&t.world.workload_path("Job", "calc"), "complete", complete).await?;
    t.world.delete(&format!("{path}?gracePeriodSeconds=0")).await?;
    let outcome = running.complete(&t.world).await?;
    ensure!(t.world.pods("calc").await?.is_empty(), "no other pod comes");
    claims(&outcome, false, "the Job is complete, and no other pod came")?;
    expect(&outcome, "NotVerified", "applied", "is complete, and made no other pod")?;
    outcome.verdict.check(true)
}

/// It wants none any more: that is so, and no failure.
async fn suspended_meanwhile(t: T) -> Result<()> {
    let target = create(&t, "calc", json!({ "backoffLimit": 3, "test/end": "never" })).await?;
    let running = restart_pod(&t, &target).await?.told().start(&t.world)?;
    let path = format!("{}/{}", t.world.path("v1", "pods"), name(&target));
    t.world.until(&path, "evicted", |pod| pod["metadata"]["deletionTimestamp"].is_string()).await?;
    t.meddle("Job", "calc", json!({ "spec": { "suspend": true } })).await?;
    let suspended = |job: &Value| {
        job["status"]["conditions"].as_array().is_some_and(|all| all.iter().any(|one| one["type"] == "Suspended"))
    };
    t.world.until(&t.world.workload_path("Job", "calc"), "suspended", suspended).await?;
    t.world.merge(&format!("{path}/status"), &json!({ "status": { "phase": "Failed" } })).await?;
    t.world.delete(&format!("{path}?gracePeriodSeconds=0")).await?;
    let outcome = running.complete(&t.world).await?;
    ensure!(serving(&t, "calc").await?.is_empty(), "no other pod comes");
    claims(&outcome, true, "the Job is suspended, and wants no pod")?;
    expect(&outcome, "Changed", "applied", "it is gone, and job ")?;
    expect(&outcome, "Changed", "applied", "has 0 of 0 pods ready")?;
    outcome.verdict.check(true)
}

/// Who forces it wants the pod gone, and nothing in its place.
async fn by_force(t: T) -> Result<()> {
    let target = create(&t, "calc", json!({ "backoffLimit": 0 })).await?;
    let outcome = told(&t, &restart_pod(&t, &target).await?.parameters(&json!({ "force": true }))).await?;
    let gone = uid(&pod(&t, &name(&target)).await) != uid(&target);
    claims(&outcome, true, &format!("gone: {gone}, as it was forced"))?;
    ensure!(gone && serving(&t, "calc").await?.is_empty(), "{:#}", outcome.result);
    expect(&outcome, "Changed", "applied", "it is gone, and nothing replaces it: ")?;
    outcome.verdict.check(false)
}
