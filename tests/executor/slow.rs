//! One slow thing holds nothing else up.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use test_cluster::webhook::{self, Slow, Webhook};

use crate::support::{E, check, scale_with, scenarios};

scenarios!("slow": jobs_that_are_slow_to_be_created, jobs_that_cannot_be_created);

/// A webhook that never answers keeps each new Job waiting, and there are many: what runs, and what waits, is stopped and its end told
/// when somebody says so, meanwhile, and all of it can be deleted.
async fn jobs_that_are_slow_to_be_created(e: E) -> Result<()> {
    const MANY: usize = 400;
    const SOON: Duration = Duration::from_secs(16);
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = e.controller()?;
    e.execute("first", scale_with(2, json!({ "reason": "play: hang" }))).await?;
    e.phase("first", "Executing").await?;
    let slow = Slow::start()?;
    let hangs = Webhook { mutates: false, fails_open: true, seconds: 30, about_dry_runs: true };
    slow.admits(&e.world, "jobs", hangs).await?;
    let asked = slow.asked();
    for n in 0..MANY {
        let target = json!({ "resourceName": format!("web-{n}") });
        e.execute(&format!("later-{n}"), json!({ "action": { "type": "restart-deployment", "target": target } }))
            .await?;
    }
    let limit = std::time::Instant::now() + Duration::from_secs(30);
    while slow.asked() < asked + 20 {
        ensure!(std::time::Instant::now() < limit, "the API server asks about {} Jobs", slow.asked() - asked);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    e.patch("first", json!({ "spec": { "cancel": true } })).await?;
    let first = e.ended_within("first", SOON).await?;
    ensure!(first["status"]["phase"] == "Cancelled", "{first:#}");
    // One that waits for its turn, too.
    let last = format!("later-{}", MANY - 1);
    e.patch(&last, json!({ "spec": { "cancel": true } })).await?;
    let last = e.ended_within(&last, SOON).await?;
    ensure!(last["status"]["phase"] == "Cancelled", "{last:#}");
    ensure!(e.jobs_created().await? == ["first-job"], "the Jobs did not have to wait: this shows nothing");
    e.world.gone(&format!("{}/first-job", e.world.path("batch/v1", "jobs"))).await?;
    e.world.delete(&e.executions()).await?;
    let none = |list: &serde_json::Value| list["items"].as_array().is_some_and(Vec::is_empty);
    e.world.until(&e.executions(), "the end of all", none).await?;
    webhook::end(&e.world).await?;
    controller.stop().await
}

/// A webhook that is broken keeps the Jobs of one namespace from being made, as many as may run at once: the other namespace's are.
async fn jobs_that_cannot_be_created(e: E) -> Result<()> {
    let other = E::new(&e.world.connection, "others").await?;
    let outcome = are_not_created(&e, &other).await;
    other.end(outcome).await
}

async fn are_not_created(e: &E, other: &E) -> Result<()> {
    e.bind_everywhere().await?;
    other.world.workload("Deployment", "web", 1, json!({})).await?;
    let slow = Slow::start()?;
    let breaks = Webhook { mutates: false, fails_open: false, seconds: 1, about_dry_runs: true };
    slow.admits(&e.world, "jobs", breaks).await?;
    let namespaces = format!("--namespaces={},{}", e.world.namespace, other.world.namespace);
    let controller = e.controller_with(&e.kubeconfig, &["--max-active=2", &namespaces])?;
    for name in ["one", "two"] {
        let target = json!({ "resourceName": name });
        e.execute(name, json!({ "action": { "type": "restart-deployment", "target": target } })).await?;
        let one = e.reason(name, "JobUnanswered").await?;
        let says = one["status"]["message"].as_str().is_some_and(|text| text.contains("webhook"));
        ensure!(says && one["status"]["phase"] == "Pending", "{one:#}");
    }
    other.execute("up", scale_with(3, json!({}))).await?;
    check(&other.ended("up").await?, "Completed", "Changed", "applied")?;
    ensure!(e.jobs_created().await?.iter().all(|name| name == "up-job"), "the others were made: this shows nothing");
    e.patch("one", json!({ "spec": { "cancel": true } })).await?;
    let one = e.ended("one").await?;
    ensure!(one["status"]["phase"] == "Cancelled" && one["status"]["result"].is_null(), "{one:#}");
    // Mended, it is sent again by itself.
    webhook::end(&e.world).await?;
    let two = e.ended("two").await?;
    check(&two, "Failed", "TargetNotFound", "none")?;
    controller.stop().await
}
