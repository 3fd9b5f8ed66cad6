//! The harness itself: kwok's pods fail and end as `tests/harness/kwok/stages.yaml` says. What no pod ever does here, no judge sees.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::support::{T, mode, scenarios};

scenarios!("harness": pods_end_slowly_or_never, pods_crash_after_they_were_ready);

fn end(end: &str) -> Value {
    json!({ "spec": { "template": { "metadata": { "labels": { "test/end": end } } } } })
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
}

async fn pods_end_slowly_or_never(t: T) -> Result<()> {
    const SLOW: Duration = Duration::from_secs(4);
    for (name, gone) in [("slow", true), ("never", false)] {
        t.world.workload("StatefulSet", name, 1, end(name)).await?;
        let path = format!("{}/{name}-0", t.world.path("v1", "pods"));
        let pod = t.world.get(&path).await?;
        let id = pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap_or_default();
        let uid = pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        ensure!(id == format!("containerd://{uid}-app-0"), "{pod:#}");
        t.world.delete(&path).await?;
        let deleted = Instant::now();
        let pods = format!("{}?labelSelector=app%3D{name}", t.world.path("v1", "pods"));
        let is_there = |list: &Value| {
            list["items"].as_array().is_some_and(|all| all.iter().any(|pod| pod["metadata"]["uid"] == json!(uid)))
        };
        while deleted.elapsed() < SLOW.mul_f32(0.8) || !gone && deleted.elapsed() < SLOW * 2 {
            let list = t.world.get(&pods).await?;
            ensure!(is_there(&list) && is_ready(&list["items"][0]), "{name}: {list:#}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        if gone {
            t.world.until(&pods, "replaced", |list| !is_there(list) && is_ready(&list["items"][0])).await?;
        } else {
            t.world.delete(&format!("{path}?gracePeriodSeconds=0")).await?;
        }
    }
    Ok(())
}

async fn pods_crash_after_they_were_ready(t: T) -> Result<()> {
    t.world.create_workload("StatefulSet", "db", 1, mode("crash-after-ready")).await?;
    let path = format!("{}/db-0", t.world.path("v1", "pods"));
    let instance = |pod: &Value| pod["status"]["containerStatuses"][0].clone();
    t.world.until(&path, "ready", is_ready).await?;
    let ended = |pod: &Value| !is_ready(pod) && instance(pod)["state"]["terminated"]["exitCode"] == 1;
    let ended = t.world.until(&path, "to its container's end", ended).await?;
    ensure!(instance(&ended)["restartCount"] == 0, "{ended:#}");
    for count in [1, 3] {
        let waits = |pod: &Value| {
            instance(pod)["state"]["waiting"]["reason"] == "CrashLoopBackOff" && instance(pod)["restartCount"] == count
        };
        let pod = t.world.until(&path, "into its crash loop", waits).await?;
        ensure!(!is_ready(&pod) && instance(&pod)["containerID"] != instance(&ended)["containerID"], "{pod:#}");
    }
    Ok(())
}
