//! What stops an execution: a person, a deletion, its timeout. Whatever was done by then is told.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::support::{E, check, scale_with, scenarios};

scenarios!("stopped": cancelled_while_it_runs, told_to_stop_meanwhile, cancelled_before_it_starts, cancelled_between_attempts, deleted_in_the_background,
    deleted_in_the_foreground, deleted_before_it_starts, out_of_time_by_the_runner, out_of_time_without_a_word,
    it_never_starts, the_namespace_goes, its_job_is_orphaned, its_job_is_orphaned_and_nobody_watches,
    it_is_orphaned_and_nobody_watches);

/// A scale whose pods never become ready: the runner has done it, and waits.
async fn waits(e: &E, name: &str, more: Value) -> Result<Value> {
    let never = json!({ "spec": { "template": { "metadata": { "labels": { "test/mode": "never-ready" } } } } });
    e.world.create_workload("Deployment", "web", 1, never).await?;
    e.execute(name, scale_with(3, more)).await?;
    e.world.until(&e.world.workload_path("Deployment", "web"), "scaled", |web| web["spec"]["replicas"] == 3).await
}

async fn cancelled_while_it_runs(e: E) -> Result<()> {
    let controller = e.controller()?;
    waits(&e, "up", json!({})).await?;
    e.patch("up", json!({ "spec": { "cancel": true } })).await?;
    let up = e.ended("up").await?;
    ensure!(up["status"]["phase"] == "Cancelled" && up["status"]["reason"] == "Cancelled", "{up:#}");
    // The runner was told, and said what it had done.
    ensure!(up["status"]["result"]["code"] == "Interrupted" && up["status"]["result"]["effect"] == "applied", "{up:#}");
    ensure!(up["status"]["rollbackInformation"]["rollbackParameters"]["replicas"] == 1, "{up:#}");
    e.world.gone(&format!("{}/up-job", e.world.path("batch/v1", "jobs"))).await?;
    ensure!(e.jobs_created().await? == ["up-job"], "more than one Job");
    controller.stop().await
}

/// The controller is told to stop while it stops a Job: it waits for what the pod says, and records it.
async fn told_to_stop_meanwhile(e: E) -> Result<()> {
    let controller = e.controller()?;
    waits(&e, "up", json!({})).await?;
    e.patch("up", json!({ "spec": { "cancel": true } })).await?;
    let job = format!("{}/up-job", e.world.path("batch/v1", "jobs"));
    // It may be gone already: then it was told to stop after that.
    let going = |list: &Value| {
        let of = list["items"].as_array().cloned().unwrap_or_default();
        of.iter().all(|one| !one["metadata"]["deletionTimestamp"].is_null())
    };
    e.world.until(&e.world.path("batch/v1", "jobs"), "stopped", going).await?;
    controller.stop().await?;
    e.world.gone(&job).await?;
    let second = e.controller()?;
    let up = e.ended("up").await?;
    ensure!(up["status"]["phase"] == "Cancelled" && up["status"]["result"]["effect"] == "applied", "{up:#}");
    second.stop().await
}

async fn cancelled_before_it_starts(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = e.controller()?;
    e.execute("up", scale_with(3, json!({ "suspend": true }))).await?;
    e.reason("up", "Suspended").await?;
    e.patch("up", json!({ "spec": { "cancel": true } })).await?;
    let up = e.ended("up").await?;
    ensure!(up["status"]["phase"] == "Cancelled" && up["status"]["result"].is_null(), "{up:#}");
    ensure!(e.jobs_created().await?.is_empty() && e.replicas().await? == 1, "something was started");
    controller.stop().await
}

async fn cancelled_between_attempts(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = e.controller_with(&e.kubeconfig, &["--backoff", "60s"])?;
    e.execute("up", scale_with(3, json!({ "reason": "play: exit 9" }))).await?;
    e.phase("up", "Retrying").await?;
    e.patch("up", json!({ "spec": { "cancel": true } })).await?;
    let up = e.ended("up").await?;
    ensure!(up["status"]["phase"] == "Cancelled" && up["status"]["result"]["effect"] == "unknown", "{up:#}");
    ensure!(e.jobs_created().await? == ["up-job"], "more than one Job");
    controller.stop().await
}

async fn deleted_in_the_background(e: E) -> Result<()> {
    deleted(&e, "Background").await
}

async fn deleted_in_the_foreground(e: E) -> Result<()> {
    deleted(&e, "Foreground").await
}

/// Deleting is stopping: the execution goes when its Job is stopped, and what was done stands in an Event.
async fn deleted(e: &E, propagation: &str) -> Result<()> {
    let controller = e.controller()?;
    waits(e, "up", json!({})).await?;
    e.phase("up", "Executing").await?;
    e.world.delete(&format!("{}?propagationPolicy={propagation}", e.execution("up"))).await?;
    e.world.gone(&e.execution("up")).await?;
    e.world.gone(&format!("{}/up-job", e.world.path("batch/v1", "jobs"))).await?;
    let pods = "?labelSelector=app.kubernetes.io%2Fmanaged-by%3Dexecution-controller";
    e.world
        .until(&(e.world.path("v1", "pods") + pods), "no pod", |list| {
            list["items"].as_array().is_some_and(Vec::is_empty)
        })
        .await?;
    let told = |list: &Value| {
        let cancelled = |one: &Value| {
            one["reason"] == "Cancelled"
                && one["message"].as_str().is_some_and(|text| text.starts_with("it was deleted"))
        };
        list["items"].as_array().is_some_and(|all| all.iter().any(cancelled))
    };
    let about = "?fieldSelector=involvedObject.kind%3DKubernetesExecution";
    e.world.until(&(e.world.path("v1", "events") + about), "its end as an Event", told).await?;
    let seen = e.seen().await?;
    // The record comes before the finalizer goes.
    let patches: Vec<_> = seen.iter().filter(|one| one.verb == "patch" && one.code == 200).collect();
    let last = patches.last().context("no patch")?;
    ensure!(last.subresource.is_empty() && patches[patches.len() - 2].subresource == "status", "{patches:#?}");
    ensure!(e.jobs_created().await? == ["up-job"] && e.player.results().len() == 1, "it ran more than once");
    controller.stop().await
}

async fn deleted_before_it_starts(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = e.controller()?;
    e.execute("up", scale_with(3, json!({ "suspend": true }))).await?;
    e.reason("up", "Suspended").await?;
    e.world.delete(&e.execution("up")).await?;
    e.world.gone(&e.execution("up")).await?;
    ensure!(e.jobs_created().await?.is_empty() && e.replicas().await? == 1, "something was started");
    controller.stop().await
}

async fn out_of_time_by_the_runner(e: E) -> Result<()> {
    // The runner's time begins when its process does, the controller's when the Job is created: here it never comes first.
    let controller = e.controller_with(&e.kubeconfig, &["--stop-after", "60s"])?;
    waits(&e, "up", json!({ "timeout": "12s" })).await?;
    let up = e.ended("up").await?;
    ensure!(up["status"]["phase"] == "TimedOut" && up["status"]["result"]["effect"] == "applied", "{up:#}");
    ensure!(up["status"]["rollbackInformation"]["available"] == true && up["status"]["retryCount"] == 0, "{up:#}");
    ensure!(up["status"]["timeout"] == "12s", "{up:#}");
    // Nothing had to be stopped: the Job and its log stay.
    ensure!(e.jobs().await? == 1, "the Job is gone");
    controller.stop().await
}

async fn out_of_time_without_a_word(e: E) -> Result<()> {
    // Its pod runs before anybody looks whether the time is over.
    let first = e.controller_with(&e.kubeconfig, &["--stop-after", "60s", "--start-deadline", "60s"])?;
    e.execute("up", scale_with(3, json!({ "timeout": "15s", "reason": "play: hang" }))).await?;
    e.runs("up-job").await?;
    first.stop().await?;
    let controller = e.controller()?;
    let up = e.ended("up").await?;
    check(&up, "TimedOut", "NoResult", "unknown")?;
    e.world.gone(&format!("{}/up-job", e.world.path("batch/v1", "jobs"))).await?;
    controller.stop().await
}

/// The image cannot be pulled: nothing was done, and the cause is told while it waits and at the end.
async fn it_never_starts(e: E) -> Result<()> {
    let first = e.controller()?;
    e.execute("up", scale_with(3, json!({ "reason": "play: pull", "maxRetries": 0 }))).await?;
    let told = |one: &Value| one["status"]["message"].as_str().is_some_and(|text| text.contains("ImagePullBackOff"));
    e.world.until(&e.execution("up"), "the cause", told).await?;
    // A kubelet that says nothing may have started it. At another target: this one is taken.
    let mut silent = scale_with(3, json!({ "reason": "play: silent", "maxRetries": 0 }));
    silent["action"]["target"]["resourceName"] = json!("other");
    e.execute("silent", silent).await?;
    let pods = format!("{}?labelSelector=batch.kubernetes.io%2Fjob-name%3Dsilent-job", e.world.path("v1", "pods"));
    e.world.until(&pods, "placed", |list| list["items"][0]["spec"]["nodeName"].is_string()).await?;
    e.phase("silent", "Executing").await?;
    first.stop().await?;
    let controller = e.controller_with(&e.kubeconfig, &["--start-deadline", "1s"])?;
    let up = e.ended("up").await?;
    check(&up, "Failed", "NeverStarted", "none")?;
    ensure!(told(&up), "{up:#}");
    check(&e.ended("silent").await?, "Failed", "NoResult", "unknown")?;
    controller.stop().await
}

/// Nothing of ours keeps a namespace from going.
async fn the_namespace_goes(e: E) -> Result<()> {
    // The controller's account and its Role do not go with it: as installed, they are elsewhere, and bound everywhere.
    let home = E::new(&e.world.connection, "home").await?;
    let outcome = the_namespace_goes_from(&e, &home).await;
    home.end(outcome).await
}

async fn the_namespace_goes_from(e: &E, home: &E) -> Result<()> {
    home.bind_everywhere().await?;
    let controller = home.controller_with(&home.kubeconfig, &["--namespaces", &e.world.namespace])?;
    e.execute("up", scale_with(3, json!({ "reason": "play: hang" }))).await?;
    e.phase("up", "Executing").await?;
    let namespace = format!("/api/v1/namespaces/{}", e.world.namespace);
    e.world.delete(&namespace).await?;
    e.world.gone(&namespace).await?;
    controller.stop().await
}

/// `kubectl delete job --cascade=orphan`: its pod goes on, and what it says counts; nothing is started beside it.
async fn its_job_is_orphaned(e: E) -> Result<()> {
    let controller = e.controller()?;
    waits(&e, "up", json!({ "maxRetries": 2 })).await?;
    let up = e.phase("up", "Executing").await?;
    let job = format!("{}/up-job", e.world.path("batch/v1", "jobs"));
    e.world.delete(&format!("{job}?propagationPolicy=Orphan")).await?;
    e.world.gone(&job).await?;
    let goes_on =
        |one: &Value| one["status"]["message"].as_str().is_some_and(|text| text.contains("goes on in its pod"));
    e.world.until(&e.execution("up"), "told", goes_on).await?;
    let pods = format!("{}?labelSelector=batch.kubernetes.io%2Fjob-name%3Dup-job", e.world.path("v1", "pods"));
    let alone = |list: &Value| {
        list["items"][0]["metadata"].is_object() && list["items"][0]["metadata"]["ownerReferences"].is_null()
    };
    e.world.until(&pods, "orphaned", alone).await?;
    let ready = json!({ "spec": { "template": { "metadata": { "labels": { "test/mode": null } } } } });
    e.world.merge(&e.world.workload_path("Deployment", "web"), &ready).await?;
    let ended = e.ended("up").await?;
    check(&ended, "Completed", "Changed", "applied")?;
    ensure!(ended["status"]["jobUID"] == up["status"]["jobUID"] && e.jobs_created().await? == ["up-job"], "{ended:#}");
    controller.stop().await
}

/// The same while no controller runs: what goes on in the pod is found by its Job's UID, and nothing is started beside it.
async fn its_job_is_orphaned_and_nobody_watches(e: E) -> Result<()> {
    let first = e.controller()?;
    waits(&e, "up", json!({ "maxRetries": 2 })).await?;
    let up = e.phase("up", "Executing").await?;
    first.stop().await?;
    let job = format!("{}/up-job", e.world.path("batch/v1", "jobs"));
    e.world.delete(&format!("{job}?propagationPolicy=Orphan")).await?;
    e.world.gone(&job).await?;
    let second = e.controller()?;
    let goes_on =
        |one: &Value| one["status"]["message"].as_str().is_some_and(|text| text.contains("goes on in its pod"));
    e.world.until(&e.execution("up"), "told", goes_on).await?;
    let ready = json!({ "spec": { "template": { "metadata": { "labels": { "test/mode": null } } } } });
    e.world.merge(&e.world.workload_path("Deployment", "web"), &ready).await?;
    let ended = e.ended("up").await?;
    check(&ended, "Completed", "Changed", "applied")?;
    ensure!(ended["status"]["jobUID"] == up["status"]["jobUID"] && e.jobs_created().await? == ["up-job"], "{ended:#}");
    ensure!(e.player.results().len() == 1, "it ran twice");
    second.stop().await
}

/// `kubectl delete kex --cascade=orphan` while no controller runs: its Job is stopped all the same, and what it did is told.
async fn it_is_orphaned_and_nobody_watches(e: E) -> Result<()> {
    let first = e.controller()?;
    waits(&e, "up", json!({})).await?;
    e.phase("up", "Executing").await?;
    first.stop().await?;
    e.world.delete(&format!("{}?propagationPolicy=Orphan", e.execution("up"))).await?;
    let job = format!("{}/up-job", e.world.path("batch/v1", "jobs"));
    e.world.until(&job, "orphaned", |job| job["metadata"]["ownerReferences"].is_null()).await?;
    let second = e.controller()?;
    e.world.gone(&e.execution("up")).await?;
    e.world.gone(&job).await?;
    let told = |list: &Value| {
        // In the runner's words: its result was seen.
        let said = |one: &Value| one["message"].as_str().is_some_and(|text| text.contains("interrupted by SIGTERM"));
        let of = |one: &Value| one["reason"] == "Cancelled" && said(one);
        list["items"].as_array().is_some_and(|all| all.iter().any(of))
    };
    e.world.until(&e.world.path("v1", "events"), "its end as an Event", told).await?;
    ensure!(e.jobs_created().await? == ["up-job"] && e.player.results().len() == 1, "it ran more than once");
    second.stop().await
}
