//! Every kind of a pod's end. Success is only what a result of this execution says; what is not known is said to be unknown.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::executor::mutating_policy;

use crate::support::{E, check, scale, scale_with, scenarios};

scenarios!("ends": exit_codes, no_result_is_no_success, a_result_that_does_not_fit, the_log_has_it, the_log_has_more, never_scheduled, the_log_is_gone, a_quota, no_account, evicted_after_success,
    drained_and_replaced, a_ttl_added_by_a_policy, the_job_is_deleted_by_hand, beside_a_container_that_goes_on);

/// An attempt that changes nothing but by what is played.
fn played(target: &str, how: &str) -> Value {
    json!({
        "action": { "type": "scale-deployment", "parameters": { "replicas": 3 }, "target": { "resourceName": target } },
        "reason": format!("play: {how}"), "maxRetries": 0,
    })
}

async fn exit_codes(e: E) -> Result<()> {
    let controller = e.controller()?;
    let codes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 130, 137, 143, 77];
    for code in codes {
        e.execute(&format!("exit-{code}"), played(&format!("t{code}"), &format!("exit {code}"))).await?;
    }
    for code in codes {
        let ended = e.ended(&format!("exit-{code}")).await?;
        // The runner ends with 2 before it asks the cluster anything.
        check(&ended, "Failed", "NoResult", if code == 2 { "none" } else { "unknown" })?;
        ensure!(ended["status"]["attempts"][0]["exitCode"] == code, "{ended:#}");
    }
    controller.stop().await
}

async fn no_result_is_no_success(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = e.controller()?;
    let ends = ["garbled", "empty", "oom", "foreign", "lies"];
    for how in ends {
        e.execute(how, played(how, how)).await?;
    }
    for how in ends {
        let ended = e.ended(how).await?;
        ensure!(ended["status"]["phase"] == "Failed", "{how}: {ended:#}");
        let effect = &ended["status"]["result"]["effect"];
        ensure!(*effect == if how == "lies" { "applied" } else { "unknown" }, "{how}: {ended:#}");
    }
    let oom = e.world.get(&e.execution("oom")).await?;
    ensure!(oom["status"]["message"].as_str().is_some_and(|text| text.contains("OOMKilled")), "{oom:#}");
    controller.stop().await
}

/// An image of one's own writes what the definition does not take: that is left out and named, and the execution ends.
async fn a_result_that_does_not_fit(e: E) -> Result<()> {
    let controller = e.controller()?;
    for field in ["details", "usage"] {
        e.execute(field, played(field, field)).await?;
        let up = e.ended(field).await?;
        check(&up, "Completed", "Changed", "applied")?;
        ensure!(up["status"]["result"]["trimmed"] == json!([field]), "{up:#}");
        ensure!(up["metadata"]["finalizers"].is_null(), "held for ever: {:#}", up["metadata"]);
    }
    controller.stop().await
}

/// The termination message is missing: the log has the result.
async fn the_log_has_it(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = e.controller()?;
    e.execute("up", scale_with(3, json!({ "reason": "play: log" }))).await?;
    check(&e.ended("up").await?, "Completed", "Changed", "applied")?;
    ensure!(e.replicas().await? == 3, "it was not scaled");
    controller.stop().await
}

/// A message that was cut, and one from which the way back was left out: the log has the whole.
async fn the_log_has_more(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = e.controller()?;
    for (how, from, to) in [("cut", 1, 2), ("trimmed", 2, 3)] {
        e.execute(how, scale_with(to, json!({ "reason": format!("play: {how}") }))).await?;
        let ended = e.ended(how).await?;
        check(&ended, "Completed", "Changed", "applied")?;
        ensure!(ended["status"]["rollbackInformation"]["rollbackParameters"]["replicas"] == from, "{how}: {ended:#}");
        ensure!(ended["status"]["attempts"].as_array().is_some_and(|all| all.len() == 1), "{how}: {ended:#}");
    }
    controller.stop().await
}

/// No node has room: nothing was done, and the scheduler's words are told.
async fn never_scheduled(e: E) -> Result<()> {
    let settings = e.world.folder().join("settings.yaml");
    std::fs::write(&settings, "resources: { requests: { cpu: 1000 } }\n")?;
    let flag = format!("--settings={}", settings.display());
    let first = e.controller_with(&e.kubeconfig, &[&flag])?;
    e.execute("up", scale_with(3, json!({ "maxRetries": 0 }))).await?;
    let told = |one: &Value| one["status"]["message"].as_str().is_some_and(|text| text.contains("Insufficient cpu"));
    e.world.until(&e.execution("up"), "the cause", told).await?;
    first.stop().await?;
    let controller = e.controller_with(&e.kubeconfig, &["--start-deadline", "1s", &flag])?;
    let up = e.ended("up").await?;
    check(&up, "Failed", "NeverStarted", "none")?;
    ensure!(told(&up), "{up:#}");
    controller.stop().await
}

/// Neither the message nor the log has it: it may have been done.
async fn the_log_is_gone(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = e.controller()?;
    e.execute("up", scale_with(3, json!({ "reason": "play: mute", "maxRetries": 0 }))).await?;
    check(&e.ended("up").await?, "Failed", "NoResult", "unknown")?;
    ensure!(e.replicas().await? == 3, "the runner did not run");
    controller.stop().await
}

/// A quota allows no pod: nothing was done, and the cause is told.
async fn a_quota(e: E) -> Result<()> {
    let quota = json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "none" }, "spec": { "hard": { "pods": "0" } } });
    let quotas = e.world.path("v1", "resourcequotas");
    e.world.create(&quotas, &quota).await?;
    e.world.until(&format!("{quotas}/none"), "in force", |one| one["status"]["hard"].is_object()).await?;
    let controller = e.controller_with(&e.kubeconfig, &["--start-deadline", "3s"])?;
    e.execute("up", scale_with(3, json!({ "maxRetries": 0 }))).await?;
    let up = e.ended("up").await?;
    check(&up, "Failed", "NeverStarted", "none")?;
    controller.stop().await
}

async fn no_account(e: E) -> Result<()> {
    let controller = e.controller_with(&e.kubeconfig, &["--start-deadline", "3s"])?;
    // No account action-rollback-deployment was made in this namespace.
    let rollback =
        json!({ "action": { "type": "rollback-deployment", "target": { "resourceName": "web" } }, "maxRetries": 0 });
    e.execute("back", rollback).await?;
    let back = e.ended("back").await?;
    check(&back, "Failed", "NeverStarted", "none")?;
    ensure!(back["status"]["message"].as_str().is_some_and(|text| text.contains("ServiceAccount")), "{back:#}");
    controller.stop().await
}

/// The container ended well, and then its pod was evicted: the Job replaces it, and the replacement is a part of the attempt.
async fn evicted_after_success(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = e.controller()?;
    e.execute("up", scale_with(3, json!({ "reason": "play: first evicted" }))).await?;
    let up = e.ended("up").await?;
    ensure!(up["status"]["phase"] == "Completed", "{up:#}");
    // The second pod found it done; the first one had done it.
    ensure!(up["status"]["result"]["effect"] == "applied", "{up:#}");
    ensure!(up["status"]["rollbackInformation"]["rollbackParameters"]["replicas"] == 1, "{up:#}");
    ensure!(e.jobs_created().await? == ["up-job"] && e.player.results().len() == 2, "{}", e.player.results().len());
    controller.stop().await
}

/// A node is drained under the runner: the Job makes another pod, which goes on where the first one was.
async fn drained_and_replaced(e: E) -> Result<()> {
    let never = json!({ "spec": { "template": { "metadata": { "labels": { "test/mode": "never-ready" } } } } });
    e.world.create_workload("Deployment", "web", 1, never).await?;
    let controller = e.controller()?;
    e.execute("up", scale(3)).await?;
    let web = e.world.workload_path("Deployment", "web");
    e.world.until(&web, "scaled", |web| web["spec"]["replicas"] == 3).await?;
    let pods = e.world.path("v1", "pods");
    let ours = "?labelSelector=app.kubernetes.io%2Fmanaged-by%3Dexecution-controller";
    let list = e.world.get(&format!("{pods}{ours}")).await?;
    let pod = list["items"][0]["metadata"]["name"].as_str().context("no pod")?.to_owned();
    let eviction = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": pod } });
    e.world.create(&format!("{pods}/{pod}/eviction"), &eviction).await?;
    e.world.gone(&format!("{pods}/{pod}")).await?;
    // The pods become ready now, and the second pod sees it.
    e.world
        .merge(&web, &json!({ "spec": { "template": { "metadata": { "labels": { "test/mode": null } } } } }))
        .await?;
    let up = e.ended("up").await?;
    ensure!(up["status"]["phase"] == "Completed" && up["status"]["result"]["effect"] == "applied", "{up:#}");
    ensure!(up["status"]["rollbackInformation"]["rollbackParameters"]["replicas"] == 1, "{up:#}");
    ensure!(e.jobs_created().await? == ["up-job"], "another Job");
    ensure!(e.player.results().len() == 2, "it was not replaced: this shows nothing");
    controller.stop().await
}

/// A policy of the cluster gives Jobs a TTL of 0: the result is seen in time, or it is unknown; it is never run again as if
/// nothing had been.
async fn a_ttl_added_by_a_policy(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    mutating_policy(&e.world, "JSONPatch{op: \"add\", path: \"/spec/ttlSecondsAfterFinished\", value: 0}").await?;
    let controller = e.controller()?;
    e.execute("up", scale(3)).await?;
    let up = e.ended("up").await?;
    check(&up, "Completed", "Changed", "applied")?;
    ensure!(e.jobs_created().await? == ["up-job"], "{:?}", e.jobs_created().await?);
    controller.stop().await
}

async fn the_job_is_deleted_by_hand(e: E) -> Result<()> {
    let controller = e.controller()?;
    e.execute("up", scale_with(3, json!({ "reason": "play: hang", "maxRetries": 0 }))).await?;
    e.phase("up", "Executing").await?;
    e.runs("up-job").await?;
    e.world.delete(&format!("{}/up-job?propagationPolicy=Background", e.world.path("batch/v1", "jobs"))).await?;
    check(&e.ended("up").await?, "Failed", "NoResult", "unknown")?;
    ensure!(e.jobs_created().await? == ["up-job"], "it was started again");
    controller.stop().await
}

/// A policy of the cluster has added a container that does not end: what the runner came to is told at once, and the Job, which has not
/// ended, makes no other pod.
async fn beside_a_container_that_goes_on(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = e.controller()?;
    let jobs = e.world.path("batch/v1", "jobs");
    e.execute("up", scale_with(3, json!({ "reason": "play: first beside exit 9" }))).await?;
    // The Job would tell it when its pod is stopped for its timeout of five minutes.
    let up = e.ended_within("up", std::time::Duration::from_mins(1)).await?;
    check(&up, "Completed", "Changed", "applied")?;
    ensure!(up["status"]["attempts"][0]["exitCode"] == 9 && up["status"]["retryCount"] == 1, "{up:#}");
    e.world.gone(&format!("{jobs}/up-job")).await?;
    e.execute("down", scale_with(1, json!({ "reason": "play: beside exit 9", "maxRetries": 0 }))).await?;
    let down = e.ended_within("down", std::time::Duration::from_mins(1)).await?;
    check(&down, "Failed", "NoResult", "unknown")?;
    e.world.gone(&format!("{jobs}/down-job")).await?;
    ensure!(e.jobs_created().await? == ["up-job", "up-job-2", "down-job"], "{:?}", e.jobs_created().await?);
    ensure!(e.replicas().await? == 3, "it was scaled again");
    controller.stop().await
}
