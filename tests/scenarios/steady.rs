//! Ready is not enough: `minReadySeconds`, and containers without a readiness probe, which are ready as soon as they run.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::look::{After, act, after, bare, label, pods, probed, until, with};
use crate::support::{T, scenarios};

scenarios!("steady":
    min_ready_seconds_of_a_stateful_set, min_ready_seconds_of_the_others, min_ready_seconds_of_a_scale, a_crash_after_the_first_instant, a_crash_of_what_is_scaled_up,
    settling_may_be_turned_off, what_settles_is_waited_for,
);

const MIN_READY: u64 = 4;

/// Whether the workload's own controller had said that all of its pods are available, when the run looked at it last.
async fn available(t: &T, kind: &str, after: &After, number: usize) -> Result<()> {
    let name = kind.to_lowercase();
    let field = if kind == "DaemonSet" { "numberAvailable" } else { "availableReplicas" };
    let plural = format!("{name}s");
    let looked =
        after.result()["details"]["verifiedAt"][&plural].as_str().context("it did not look at the workload")?;
    let then = format!(
        "{}?fieldSelector=metadata.name%3D{name}&resourceVersion={looked}&resourceVersionMatch=Exact",
        t.world.path("apps/v1", &plural)
    );
    let then = t.world.get(&then).await?;
    let status = &then["items"][0]["status"];
    after.shows(&format!("{number} available pods: {status:#}"), status[field].as_u64() == u64::try_from(number).ok())
}

/// Issue, 6: a StatefulSet's was not waited for.
async fn min_ready_seconds_of_a_stateful_set(t: T) -> Result<()> {
    min_ready(&t, "StatefulSet", 1).await
}

async fn min_ready_seconds_of_the_others(t: T) -> Result<()> {
    tokio::try_join!(min_ready(&t, "Deployment", 1), min_ready(&t, "DaemonSet", 3)).map(|_| ())
}

async fn min_ready(t: &T, kind: &str, number: usize) -> Result<()> {
    let name = kind.to_lowercase();
    let fast = json!({ "spec": { "minReadySeconds": MIN_READY } });
    let daemons = json!({ "spec": { "updateStrategy": { "rollingUpdate": { "maxUnavailable": 3 } } } });
    let extra = if kind == "DaemonSet" { with(fast, daemons) } else { fast };
    t.world.workload(kind, &name, 1, with(probed(1), extra)).await?;
    let before = pods(t, &name).await?;
    let after = act(t, &format!("restart-{name}"), &name, &json!({})).await?;
    available(t, kind, &after, number).await?;
    after.replaced(&before, number)?;
    after.says("Changed", "applied", &format!("{number} of {number} new pods ready"))
}

async fn min_ready_seconds_of_a_scale(t: T) -> Result<()> {
    let one = |kind: &'static str| {
        let t = t.clone();
        async move {
            let name = kind.to_lowercase();
            let extra = json!({ "spec": { "minReadySeconds": MIN_READY } });
            t.world.workload(kind, &name, 1, with(probed(1), extra)).await?;
            let after = act(&t, &format!("scale-{name}"), &name, &json!({ "replicas": 2 })).await?;
            available(&t, kind, &after, 2).await?;
            after.serves(2)?;
            after.says("Changed", "applied", "2 of 2 replicas ready")
        }
    };
    tokio::try_join!(one("Deployment"), one("StatefulSet"), one("ReplicaSet")).map(|_| ())
}

/// A workload whose pods crash a second after they were ready; it has done so already.
async fn crashing(t: &T, kind: &str) -> Result<String> {
    let name = kind.to_lowercase();
    t.world.create_workload(kind, &name, 1, with(bare(1), label("test/mode", "crash-after-ready"))).await?;
    let looping = |pods: &[crate::look::Pod]| !pods.is_empty() && pods.iter().all(|pod| pod.restarts > 0);
    until(t, &name, "in their crash loop", looping).await?;
    Ok(name)
}

/// Issue, 30: success at the first instant.
async fn a_crash_after_the_first_instant(t: T) -> Result<()> {
    let one = |kind: &'static str| {
        let t = t.clone();
        async move {
            let name = crashing(&t, kind).await?;
            let run = t.run(&format!("restart-{name}"), &name).await?;
            let begun = Instant::now();
            let after = after(&t, &run, &name).await?;
            if after.result()["success"] == true {
                // What is claimed here lasts for a second.
                tokio::time::sleep(Duration::from_secs(2).saturating_sub(begun.elapsed())).await;
                let after = After { pods: pods(&t, &name).await?, ..after };
                return after.shows("that what was ready stayed so", after.pods.iter().all(|pod| pod.ready));
            }
            after.shows("a pod that is not ready", after.pods.iter().any(|pod| !pod.ready))?;
            let says = if kind == "StatefulSet" { "container app: " } else { "container app: CrashLoopBackOff since " };
            after.says("NotVerified", "applied", says)
        }
    };
    tokio::try_join!(one("Deployment"), one("StatefulSet"), one("DaemonSet")).map(|_| ())
}

async fn a_crash_of_what_is_scaled_up(t: T) -> Result<()> {
    let mode = label("test/mode", "crash-after-ready");
    t.world.create_workload("Deployment", "web", 0, with(bare(1), mode)).await?;
    let after = act(&t, "scale-deployment", "web", &json!({ "replicas": 2 })).await?;
    after.shows("two pods, neither ready", after.pods.len() == 2 && after.pods.iter().all(|pod| !pod.ready))?;
    after.says("NotVerified", "applied", "container app: CrashLoopBackOff since ")
}

async fn settling_may_be_turned_off(t: T) -> Result<()> {
    t.world.create_workload("Deployment", "web", 0, bare(1)).await?;
    let mut waited = Vec::new();
    for (replicas, settle) in [(1, "0s"), (2, "2s")] {
        let after = act(&t, "scale-deployment", "web", &json!({ "replicas": replicas, "settle": settle })).await?;
        after.says("Changed", "applied", &format!("{replicas} of {replicas} replicas ready"))?;
        waited.push(after.outcome.stderr.contains("not for long enough"));
    }
    ensure!(waited == [false, true], "the log says whether it waited for what is ready: {waited:?}");
    Ok(())
}

async fn what_settles_is_waited_for(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 1, bare(1)).await?;
    let before = pods(&t, "web").await?;
    let begun = Instant::now();
    let after = act(&t, "restart-deployment", "web", &json!({ "settle": "2s" })).await?;
    ensure!(begun.elapsed() >= Duration::from_secs(2), "{:#}", after.result());
    after.replaced(&before, 1)?;
    after.says("Changed", "applied", "1 of 1 new pods ready")?;
    // What was ready before this run has nothing to settle.
    let begun = Instant::now();
    let after = act(&t, "scale-deployment", "web", &json!({ "replicas": 1, "settle": "30s" })).await?;
    ensure!(begun.elapsed() < Duration::from_secs(20), "{:#}", after.result());
    after.says("Unchanged", "none", "1 of 1 replicas ready")
}
