//! Every action type as a Job on a real kubelet: from its own image, under its own account, in a namespace that enforces
//! `restricted`, within 64 Mi. The result is read in three ways, and they agree.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::fixtures::{node, unique};

use crate::support::{N, expect, pod_spec, scenarios};

scenarios!("jobs": scale, restart, rollback, cordon, collect_logs, lock, events);

/// Runs the template as it stands for a target, and expects it to succeed.
async fn runs(n: &N, action: &str, target: &str, code: &str) -> Result<()> {
    let job = n.job(action, target, &[])?;
    let ended = n.complete(action, &job).await.with_context(|| action.to_owned())?;
    let effect = if code == "Changed" { "applied" } else { "none" };
    expect(&ended, code, effect, "").with_context(|| action.to_owned())?;
    let path = format!("{}/{}", n.world.path("batch/v1", "jobs"), job["metadata"]["name"].as_str().unwrap_or_default());
    n.world.until(&path, "complete", |job| job["status"]["succeeded"] == 1).await.map(|_| ())
}

/// The name of the first pod of a workload.
async fn a_pod(n: &N, app: &str) -> Result<String> {
    let pods = n.world.pods(app).await?;
    Ok(pods.first().context("no pod")?["metadata"]["name"].as_str().context("no name")?.to_owned())
}

async fn scale(n: N) -> Result<()> {
    for kind in ["Deployment", "StatefulSet", "ReplicaSet", "ReplicationController"] {
        let name = kind.to_lowercase();
        n.world.workload(kind, &name, 1, json!({})).await?;
        runs(&n, &format!("scale-{name}"), &name, "Changed").await?;
    }
    n.world.workload("Deployment", "by-pod", 1, json!({})).await?;
    runs(&n, "scale-pod", &a_pod(&n, "by-pod").await?, "Changed").await
}

async fn restart(n: N) -> Result<()> {
    for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
        let name = kind.to_lowercase();
        n.world.workload(kind, &name, 2, json!({})).await?;
        runs(&n, &format!("restart-{name}"), &name, "Changed").await?;
    }
    n.world.workload("Deployment", "owned", 1, json!({})).await?;
    let sets = n.world.get(&format!("{}?labelSelector=app%3Downed", n.world.path("apps/v1", "replicasets"))).await?;
    let set = sets["items"][0]["metadata"]["name"].as_str().context("no ReplicaSet")?;
    runs(&n, "restart-replicaset", set, "Changed").await?;
    n.world.workload("Deployment", "replaced", 1, json!({})).await?;
    runs(&n, "restart-pod", &a_pod(&n, "replaced").await?, "Changed").await
}

async fn rollback(n: N) -> Result<()> {
    let second = json!({ "spec": { "template": { "metadata": { "annotations": { "test/revision": "2" } } } } });
    for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
        let name = kind.to_lowercase();
        n.world.workload(kind, &name, 1, json!({})).await?;
        n.world.merge(&n.world.workload_path(kind, &name), &second).await?;
        runs(&n, &format!("rollback-{name}"), &name, "Changed").await?;
    }
    for (name, action) in [("by-set", "rollback-replicaset"), ("by-pod", "rollback-pod")] {
        n.world.workload("Deployment", name, 1, json!({})).await?;
        let pod = a_pod(&n, name).await?;
        let set = pod.rsplit_once('-').context("no ReplicaSet")?.0.to_owned();
        let path = n.world.workload_path("Deployment", name);
        n.world.merge(&path, &second).await?;
        n.world.until(&path, "its second revision", |web| web["status"]["observedGeneration"] == 2).await?;
        // The pod of the first revision may go at any moment; the one of the second stays.
        let newest = || async {
            let pods = n.world.pods(name).await?;
            let second = pods.iter().find(|pod| pod["metadata"]["annotations"]["test/revision"] == "2");
            anyhow::Ok(second.and_then(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)))
        };
        let mut target = set;
        if action == "rollback-pod" {
            n.world.until(&path, "its second revision's pod", |web| web["status"]["updatedReplicas"] == 1).await?;
            target = newest().await?.context("no pod of the second revision")?;
        }
        runs(&n, action, &target, "Changed").await?;
    }
    Ok(())
}

async fn cordon(n: N) -> Result<()> {
    let name = format!("node-{:08x}", unique());
    node(&n.world, &name, json!([{ "key": "test/own", "effect": "NoSchedule" }])).await?;
    runs(&n, "cordon-node", &name, "Changed").await?;
    runs(&n, "uncordon-node", &name, "Changed").await
}

/// One pod on the real node, which writes a mebibyte.
fn real_workload(api_version: &str, kind: &str) -> Value {
    let name = kind.to_lowercase();
    let labels = json!({ "app": name });
    let mut spec = pod_spec(&["write", "1", "0"]);
    let mut workload = json!({
        "apiVersion": api_version, "kind": kind, "metadata": { "name": name },
        "spec": { "template": { "metadata": { "labels": labels } } },
    });
    match kind {
        "Job" => spec["restartPolicy"] = json!("Never"),
        "ReplicationController" => workload["spec"]["selector"] = labels,
        _ => workload["spec"]["selector"] = json!({ "matchLabels": labels }),
    }
    workload["spec"]["template"]["spec"] = spec;
    workload
}

/// Of real pods.
async fn collect_logs(n: N) -> Result<()> {
    n.workload("pod", &["write", "1", "0"]).await?;
    runs(&n, "collect-logs-pod", "pod", "Completed").await?;
    for (api_version, kind) in [
        ("apps/v1", "Deployment"),
        ("apps/v1", "StatefulSet"),
        ("apps/v1", "DaemonSet"),
        ("apps/v1", "ReplicaSet"),
        ("v1", "ReplicationController"),
        ("batch/v1", "Job"),
    ] {
        let name = kind.to_lowercase();
        let path = n.world.path(api_version, &format!("{name}s"));
        n.world.create(&path, &real_workload(api_version, kind)).await?;
        let pods = format!("{}?labelSelector=app%3D{name}", n.world.path("v1", "pods"));
        n.world.until(&pods, "running", |pods| pods["items"][0]["status"]["phase"] == "Running").await?;
        runs(&n, &format!("collect-logs-{name}"), &name, "Completed").await?;
    }
    let cron = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": { "name": "nightly" },
        "spec": { "schedule": "0 3 * * *", "jobTemplate": { "spec": { "template": { "spec": { "restartPolicy": "Never", "containers": [{ "name": "app", "image": "x" }] } } } } },
    });
    n.world.create(&n.world.path("batch/v1", "cronjobs"), &cron).await?;
    runs(&n, "collect-logs-cronjob", "nightly", "Completed").await
}

/// A Job that names another action for an image than the image is for.
async fn lock(n: N) -> Result<()> {
    let mut job = n.job("cordon-node", "node-a", &[])?;
    job["spec"]["template"]["spec"]["containers"][0]["image"] =
        json!(format!("action-scale:{}", env!("CARGO_PKG_VERSION")));
    let ended = n.complete("cordon-node", &job).await?;
    expect(&ended, "Refused", "none", "locked to scale")?;
    ensure!(ended.terminated["exitCode"] == 3 && ended.result["requests"]["total"].as_u64().unwrap_or(0) == 0);
    let failed = |job: &Value| {
        job["status"]["conditions"].as_array().is_some_and(|all| all.iter().any(|one| one["type"] == "Failed"))
    };
    let name = job["metadata"]["name"].as_str().unwrap_or_default();
    let ended = n.world.until(&format!("{}/{name}", n.world.path("batch/v1", "jobs")), "failed", failed).await?;
    ensure!(
        ended["status"].to_string().contains("PodFailurePolicy"),
        "the failure policy did not match: {:#}",
        ended["status"]
    );
    Ok(())
}

async fn events(n: N) -> Result<()> {
    n.world.workload("Deployment", "web", 1, json!({})).await?;
    let job = n.job("scale-deployment", "web", &[("ACTION_EVENTS", "true"), ("ACTION_REASON", "a test")])?;
    let ended = n.complete("scale-deployment", &job).await?;
    expect(&ended, "Changed", "applied", "from 1 to 5")?;
    ensure!(ended.result.get("warnings").is_none(), "{:#}", ended.result);
    let events = n.world.path("events.k8s.io/v1", "events");
    let ours = |list: &Value| {
        list["items"].as_array().is_some_and(|all| {
            all.iter().any(|one| one["reason"] == "ActionChanged" && one["regarding"]["name"] == "web")
        })
    };
    n.world.until(&events, "the event", ours).await.map(|_| ())
}
