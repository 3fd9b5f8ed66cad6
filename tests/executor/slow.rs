//! One slow thing holds nothing else up.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use test_cluster::webhook::{self, Slow, Webhook};

use crate::support::{E, scale_with, scenarios};

scenarios!("slow": jobs_that_are_slow_to_be_created);

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
