//! The harness itself: kwok's pods fail and end as `tests/harness/kwok/stages.yaml` says. What no pod ever does here, no judge sees.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{AsyncBufReadExt, TryStreamExt};
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
        // From here on at the earliest.
        let deleted = Instant::now();
        t.world.delete(&path).await?;
        let pods = format!("{}?labelSelector=app%3D{name}", t.world.path("v1", "pods"));
        let is_there = |list: &Value| {
            list["items"].as_array().is_some_and(|all| all.iter().any(|pod| pod["metadata"]["uid"] == json!(uid)))
        };
        loop {
            let list = t.world.get(&pods).await?;
            let passed = deleted.elapsed();
            if !is_there(&list) {
                ensure!(gone && passed > SLOW.mul_f32(0.8), "{name} was gone within {passed:?}: {list:#}");
                break;
            }
            ensure!(is_ready(&list["items"][0]), "{name}: {list:#}");
            ensure!(passed < SLOW * 20, "{name} does not end: {list:#}");
            if !gone && passed > SLOW * 2 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        if gone {
            t.world.until(&pods, "replaced", |list| is_ready(&list["items"][0])).await?;
        } else {
            t.world.delete(&format!("{path}?gracePeriodSeconds=0")).await?;
        }
    }
    Ok(())
}

async fn pods_crash_after_they_were_ready(t: T) -> Result<()> {
    t.world.create_workload("StatefulSet", "db", 1, mode("crash-after-ready")).await?;
    let instance = |pod: &Value| pod["status"]["containerStatuses"][0].clone();
    let waits = |pod: &Value, count: u64| {
        instance(pod)["state"]["waiting"]["reason"] == "CrashLoopBackOff" && instance(pod)["restartCount"] == count
    };
    let mut states = states(&t, "db-0", |pod| waits(pod, 3)).await?.into_iter();
    states.find(is_ready).context("it was never ready")?;
    let ended = |pod: &Value| !is_ready(pod) && instance(pod)["state"]["terminated"]["exitCode"] == 1;
    let ended = states.find(ended).context("its container did not end")?;
    ensure!(instance(&ended)["restartCount"] == 0, "{ended:#}");
    for count in [1, 3] {
        let pod = states.find(|pod| waits(pod, count)).context("it did not wait to be started again")?;
        ensure!(!is_ready(&pod) && instance(&pod)["containerID"] != instance(&ended)["containerID"], "{pod:#}");
    }
    Ok(())
}

/// All states of a pod up to this one, by a watch: some last for half a second.
async fn states(t: &T, name: &str, last: impl Fn(&Value) -> bool) -> Result<Vec<Value>> {
    let watch =
        format!("{}?watch=true&timeoutSeconds=60&fieldSelector=metadata.name%3D{name}", t.world.path("v1", "pods"));
    let lines = t.world.client().request_stream(http::Request::get(watch).body(Vec::new())?).await?.lines();
    futures::pin_mut!(lines);
    let mut states = Vec::new();
    while let Some(line) = lines.try_next().await? {
        let event: Value = serde_json::from_str(&line)?;
        states.push(event["object"].clone());
        if last(&event["object"]) {
            return Ok(states);
        }
    }
    anyhow::bail!("{name} did not come so far: {states:#?}")
}
