//! One slow thing holds nothing else up.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use test_cluster::Cluster;
use test_cluster::webhook::{self, Slow, WORK, Webhook};

use crate::support::{E, check, scale_with, scenarios};

scenarios!("slow": jobs_that_are_slow_to_be_created, jobs_that_cannot_be_created, a_namespace_that_takes_no_writes,
    a_webhook_that_refuses_in_other_words);

/// The longest that is waited for what nothing holds up.
const SOON: Duration = Duration::from_secs(35);

/// A webhook that never answers keeps each new Job waiting, and there are many: what runs, and what waits, is stopped and its end told
/// when somebody says so, meanwhile, and all of it can be deleted.
async fn jobs_that_are_slow_to_be_created(e: E) -> Result<()> {
    const MANY: usize = 400;
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = e.controller()?;
    e.execute("first", scale_with(2, json!({ "reason": "play: hang" }))).await?;
    e.phase("first", "Executing").await?;
    let slow = Slow::start()?;
    let hangs =
        Webhook { mutates: false, fails_open: true, seconds: 30, about_dry_runs: true, about: WORK, deletions: false };
    slow.admits(&e.world, "jobs", hangs).await?;
    let asked = slow.asked();
    for n in 0..MANY {
        let target = json!({ "resourceName": format!("web-{n}") });
        e.execute(&format!("later-{n}"), json!({ "action": { "type": "restart-deployment", "target": target } }))
            .await?;
    }
    until_asked(&slow, asked + 8).await?;
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
    let breaks =
        Webhook { mutates: false, fails_open: false, seconds: 1, about_dry_runs: true, about: WORK, deletions: false };
    slow.admits(&e.world, "jobs", breaks).await?;
    let namespaces = format!("--namespaces={},{}", e.world.namespace, other.world.namespace);
    let controller = e.controller_with(&e.kubeconfig, &["--max-active=2", &namespaces])?;
    for name in ["one", "two"] {
        let target = json!({ "resourceName": name });
        e.execute(name, json!({ "action": { "type": "restart-deployment", "target": target } })).await?;
        // The second one may come while the first one is tried again.
        let told = |one: &serde_json::Value| {
            let says = |words| one["status"]["message"].as_str().is_some_and(|text| text.contains(words));
            one["status"]["reason"] == "JobUnanswered" && says("webhook") || says("not answered")
        };
        let one = e.world.until(&e.execution(name), "told", told).await?;
        ensure!(one["status"]["phase"] == "Pending", "{one:#}");
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

async fn until_asked(slow: &Slow, times: u32) -> Result<()> {
    // A controller that was stopped while a write was on its way leaves its Lease to run out: 80 s here.
    let limit = std::time::Instant::now() + Duration::from_mins(2);
    while slow.asked() < times {
        ensure!(std::time::Instant::now() < limit, "the API server asks {} times, not {times}", slow.asked());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// With one controller for all namespaces, as it is shipped: webhooks that let no status of one namespace's executions be written, and
/// then not even the finalizer, keep no other namespace waiting.
async fn a_namespace_that_takes_no_writes(_: E) -> Result<()> {
    let cluster = Cluster::start()?;
    test_cluster::fixtures::nodes(&cluster.connection).await?;
    test_cluster::executor::install(&cluster.connection).await?;
    let (e, other) = (E::new(&cluster.connection, "stuck").await?, E::new(&cluster.connection, "others").await?);
    // All of it goes with the cluster.
    match takes_no_writes(&e, &other).await {
        Ok(()) => Ok(()),
        failed => e.end(failed).await,
    }
}

/// More than there are passes, and more of them than may write at once come again and again.
const MANY: usize = 250;

fn never(name: &str) -> serde_json::Value {
    json!({ "action": { "type": "restart-deployment", "target": { "resourceName": name } }, "reason": "play: pull" })
}

async fn takes_no_writes(e: &E, other: &E) -> Result<()> {
    e.bind_everywhere().await?;
    other.world.workload("Deployment", "web", 1, json!({})).await?;
    // Those that are stuck have begun, and keep their places; not one of their writes is given up before the other one has to have ended.
    let longest = ["--max-active=1000", "--write-limit=26s", "--lease-duration=80s"];
    let controller = e.controller_everywhere(&longest)?;
    let slow = Slow::start()?;
    let statuses = ["kubernetesexecutions/status"].as_slice();
    let hangs = Webhook {
        mutates: false,
        fails_open: false,
        seconds: 30,
        about_dry_runs: true,
        about: statuses,
        deletions: false,
    };
    slow.admits(&e.world, "statuses", hangs).await?;
    let asked = slow.asked();
    for n in 0..MANY {
        e.execute(&format!("stuck-{n}"), never(&format!("web-{n}"))).await?;
    }
    until_asked(&slow, asked + 8).await?;
    other.execute("up", scale_with(3, json!({}))).await?;
    // Not one of their writes is given up by then.
    let limit = std::time::Instant::now() + Duration::from_secs(16);
    other.world.until(&other.execution("up"), "started", |one| one["status"]["jobUID"].is_string()).await?;
    ensure!(std::time::Instant::now() < limit, "it was started late");
    check(&other.ended("up").await?, "Completed", "Changed", "applied")?;
    ensure!(e.statuses_written().await? == 0, "statuses were written: this shows nothing");
    webhook::end(&e.world).await?;

    cannot_be_held(e, hangs).await?;
    controller.stop().await?;
    places_that_are_of_no_use(e, other, hangs).await
}

/// What cannot even be held says so: its status can be written.
async fn cannot_be_held(e: &E, hangs: Webhook) -> Result<()> {
    let hold = Slow::start()?;
    let breaks = Webhook { seconds: 1, about: &["kubernetesexecutions"], ..hangs };
    hold.admits(&e.world, "holds", breaks).await?;
    e.execute("unheld", never("nothing")).await?;
    let unheld = e.reason("unheld", "HoldUnanswered").await?;
    let says = unheld["status"]["message"].as_str().is_some_and(|text| text.contains("webhook"));
    ensure!(says && unheld["status"]["phase"] == "Pending", "{unheld:#}");
    ensure!(unheld["metadata"]["finalizers"].is_null(), "it is held: this shows nothing: {unheld:#}");
    webhook::end(&e.world).await?;
    e.phase("unheld", "Executing").await?;
    Ok(())
}

/// Two places, and many older ones for whom they are of no use.
async fn places_that_are_of_no_use(e: &E, other: &E, hangs: Webhook) -> Result<()> {
    let most = format!("--max-active={}", MANY + 3);
    let controller = e.controller_everywhere(&[&most])?;
    let jobs = Slow::start()?;
    jobs.admits(&e.world, "jobs", Webhook { fails_open: true, about: WORK, ..hangs }).await?;
    let asked = jobs.asked();
    for n in 0..30 {
        e.execute(&format!("older-{n}"), never(&format!("other-{n}"))).await?;
    }
    until_asked(&jobs, asked + 2).await?;
    other.execute("again", scale_with(4, json!({}))).await?;
    check(&other.ended_within("again", SOON).await?, "Completed", "Changed", "applied")?;
    webhook::end(&e.world).await?;
    controller.stop().await
}

/// 409 is no sign that the Job is there, and a text that is another one each time is no news: both are tried again later each time.
async fn a_webhook_that_refuses_in_other_words(e: E) -> Result<()> {
    const WATCHED: Duration = Duration::from_secs(10);
    // After 0.5, 1, 2, 4 and 8 s; where it is told, its own write asks for one more each time.
    let few = |tries: usize| (3..=12).contains(&tries);
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = e.controller()?;
    let slow = Slow::start()?;
    let about = Webhook {
        mutates: false,
        fails_open: false,
        seconds: 5,
        about_dry_runs: true,
        about: &["jobs"],
        deletions: true,
    };
    slow.admits(&e.world, "jobs", about).await?;
    slow.deny(409);
    e.execute("up", scale_with(3, json!({ "reason": "play: hang" }))).await?;
    let up = e.reason("up", "JobRefused").await?;
    ensure!(up["status"]["phase"] == "Pending" && up["status"]["message"].to_string().contains(": no"), "{up:#}");
    tokio::time::sleep(WATCHED).await;
    let tries = |verb: &'static str| {
        let e = e.clone();
        async move {
            let requests = e.requests().await?;
            anyhow::Ok(requests.iter().filter(|one| one.verb == verb && one.resource == "jobs").count())
        }
    };
    let created = tries("create").await?;
    ensure!(few(created), "{created} creations in ten seconds");
    webhook::end(&e.world).await?;
    e.phase("up", "Executing").await?;
    let second = Slow::start()?;
    second.admits(&e.world, "jobs", about).await?;
    for code in [403, 409] {
        let before = tries("delete").await?;
        second.deny(code);
        e.patch("up", json!({ "spec": { "cancel": true } })).await?;
        tokio::time::sleep(WATCHED).await;
        let deleted = tries("delete").await? - before;
        // With the second code it goes on as late as it was.
        let least = if code == 403 { 3 } else { 0 };
        ensure!((least..=12).contains(&deleted), "{deleted} deletions in ten seconds after {code}");
        let up = e.world.get(&e.execution("up")).await?;
        ensure!(up["status"]["phase"] == "Executing" && e.jobs().await? == 1, "it was stopped: {up:#}");
        ensure!(up["status"]["message"].to_string().contains("failed to delete the Job"), "it is not told: {up:#}");
    }
    webhook::end(&e.world).await?;
    ensure!(e.ended("up").await?["status"]["phase"] == "Cancelled", "not cancelled");
    controller.stop().await
}
