//! Pods that really run: containers that take their time to end, that end by themselves, that end well. The second judge
//! holds each result to every state that these pods went through; what is looked at here beside it is the node itself.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::fixtures::unique;

use crate::support::{N, expect, pod_spec, scenarios};

scenarios!(
    "pods": old_containers_have_ended, zero_is_no_container, a_container_that_ends_at_once, a_container_that_ends_again_and_again, a_jobs_pod_that_ends_well,
    a_jobs_pod_that_fails, a_stateful_sets_pod,
);

/// A workload `web` of real pods whose containers do this, ready.
async fn workload(n: &N, kind: &str, replicas: u64, arguments: &[&str]) -> Result<()> {
    let mut spec = pod_spec(arguments);
    spec["terminationGracePeriodSeconds"] = json!(30);
    let object = json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": { "name": "web" },
        "spec": { "replicas": replicas, "selector": { "matchLabels": { "app": "web" } }, "serviceName": (kind == "StatefulSet").then_some("web"),
                  "template": { "metadata": { "labels": { "app": "web" } }, "spec": spec } },
    });
    n.world.create(&n.world.path("apps/v1", &format!("{}s", kind.to_lowercase())), &object).await?;
    let path = n.world.workload_path(kind, "web");
    n.world.until(&path, "ready", |web| web["status"]["readyReplicas"] == replicas).await.map(|_| ())
}

/// The UIDs of the pods whose containers may run, terminating ones too. The kubelet deletes a pod's object some time after it
/// has said that all of its containers have ended: until then it is there, and is of no more interest to who waits for it.
async fn may_run(n: &N) -> Result<Vec<String>> {
    let pods = n.world.pods("web").await?;
    let ended = |pod: &Value| pod["status"]["phase"] == "Succeeded" || pod["status"]["phase"] == "Failed";
    Ok(pods
        .iter()
        .filter(|pod| !ended(pod))
        .filter_map(|pod| pod["metadata"]["uid"].as_str().map(str::to_owned))
        .collect())
}

async fn run(n: &N, action: &str, target: &str, parameters: Value) -> Result<crate::support::Ended> {
    let mut job = n.job(action, target, &[("ACTION_PARAMETERS", &parameters.to_string())])?;
    job["metadata"]["name"] = json!(format!("{action}-{:08x}", unique()));
    n.complete(action, &job).await
}

/// Containers run on for 4 s after their Deployment says that all new pods are ready: a restart is done when they have ended.
async fn old_containers_have_ended(n: N) -> Result<()> {
    workload(&n, "Deployment", 2, &["linger", "4"]).await?;
    let before = may_run(&n).await?;
    let ended = run(&n, "restart-deployment", "web", json!({})).await?;
    let after = may_run(&n).await?;
    expect(&ended, "Changed", "applied", "2 of 2 new pods ready")?;
    ensure!(after.iter().all(|uid| !before.contains(uid)), "old pods run still: {before:?} {after:?}");
    ensure!(ended.result["details"]["pods"]["new"] == 2, "{:#}", ended.result);
    let ignored = run(&n, "restart-deployment", "web", json!({ "terminating": "ignore" })).await?;
    expect(&ignored, "Changed", "applied", "2 of 2 new pods ready")
}

async fn zero_is_no_container(n: N) -> Result<()> {
    workload(&n, "Deployment", 2, &["linger", "4"]).await?;
    let ended = run(&n, "scale-deployment", "web", json!({ "replicas": 0, "allowZero": true })).await?;
    let after = may_run(&n).await?;
    expect(&ended, "Changed", "applied", "from 2 to 0; 0 of 0 replicas ready")?;
    ensure!(after.is_empty(), "pods run still: {after:?}");
    ensure!(ended.result["changes"][0]["patch"][0]["op"] == "replace", "{:#}", ended.result);
    Ok(())
}

/// Ready as soon as it runs, since there is no probe; and then it ends.
async fn a_container_that_ends_at_once(n: N) -> Result<()> {
    workload(&n, "Deployment", 1, &["wait"]).await?;
    let path = n.world.workload_path("Deployment", "web");
    let fails =
        json!({ "spec": { "template": { "spec": { "containers": [{ "name": "app", "args": ["fail", "1"] }] } } } });
    // The template that is restarted: its pods would end after a second.
    n.world.strategic(&path, &fails).await?;
    let ended = run(&n, "restart-deployment", "web", json!({ "stuckAfter": "10s" })).await?;
    expect(&ended, "NotVerified", "applied", "container app")?;
    ensure!(ended.result["details"]["pods"]["new"] == 0, "{:#}", ended.result);
    Ok(())
}

/// The pods of before take longer to end than the new ones live, who crash because of their configuration: when the old ones are
/// gone, the second instances run and are ready, and end as the first did.
async fn a_container_that_ends_again_and_again(n: N) -> Result<()> {
    let maps = n.world.path("v1", "configmaps");
    let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "web" }, "data": { "verb": "linger", "seconds": "8" } });
    n.world.create(&maps, &map).await?;
    workload(&n, "Deployment", 1, &["wait"]).await?;
    let from = |key: &str| json!({ "configMapKeyRef": { "name": "web", "key": key } });
    let env =
        json!([{ "name": "VERB", "valueFrom": from("verb") }, { "name": "SECONDS", "valueFrom": from("seconds") }]);
    let container = json!({ "name": "app", "args": ["$(VERB)", "$(SECONDS)"], "env": env });
    let path = n.world.workload_path("Deployment", "web");
    n.world.strategic(&path, &json!({ "spec": { "template": { "spec": { "containers": [container] } } } })).await?;
    let rolled = |object: &Value| {
        let status = &object["status"];
        status["observedGeneration"] == object["metadata"]["generation"]
            && status["updatedReplicas"] == 1
            && status["replicas"] == 1
            && status["readyReplicas"] == 1
    };
    n.world.until(&path, "rolled out", rolled).await?;
    n.world.merge(&format!("{maps}/web"), &json!({ "data": { "verb": "fail", "seconds": "4" } })).await?;
    let ended = run(&n, "restart-deployment", "web", json!({ "stuckAfter": "15s" })).await?;
    expect(&ended, "NotVerified", "applied", "container app")?;
    ensure!(ended.result["details"]["pods"]["new"] == 0, "{:#}", ended.result);
    Ok(())
}

/// A Job of one pod, running.
async fn job(n: &N, arguments: &[&str]) -> Result<(String, String)> {
    let mut spec = pod_spec(arguments);
    spec["restartPolicy"] = json!("Never");
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "web" },
        // A pod is made anew only when the one before has ended: how it ended is known then.
        "spec": { "podReplacementPolicy": "Failed", "template": { "metadata": { "labels": { "app": "web" } }, "spec": spec } },
    });
    n.world.create(&n.world.path("batch/v1", "jobs"), &job).await?;
    let pods = format!("{}?labelSelector=app%3Dweb", n.world.path("v1", "pods"));
    let pods = n.world.until(&pods, "running", |pods| pods["items"][0]["status"]["phase"] == "Running").await?;
    let of = |field: &str| pods["items"][0]["metadata"][field].as_str().map(str::to_owned);
    Ok((of("name").context("no name")?, of("uid").context("no UID")?))
}

/// A container that ends with 0 when it is told to stop counts as a success: its Job is complete, and nothing replaces it.
/// (Where the Job need not wait for the end, it mostly makes another pod at once.)
async fn a_jobs_pod_that_ends_well(n: N) -> Result<()> {
    let (name, _) = job(&n, &["wait"]).await?;
    let ended = run(&n, "restart-pod", &name, json!({})).await?;
    expect(&ended, "NotVerified", "applied", "is complete, and made no other pod")?;
    let web = n.world.get(&format!("{}/web", n.world.path("batch/v1", "jobs"))).await?;
    ensure!(web["status"]["succeeded"] == 1, "{:#}", web["status"]);
    Ok(())
}

async fn a_jobs_pod_that_fails(n: N) -> Result<()> {
    let (name, uid) = job(&n, &["refuse"]).await?;
    let ended = run(&n, "restart-pod", &name, json!({})).await?;
    let after = may_run(&n).await?;
    expect(&ended, "Changed", "applied", "its replacement web-")?;
    ensure!(after.len() == 1 && !after.contains(&uid), "{after:?}");
    Ok(())
}

/// Its new pod has the old one's name.
async fn a_stateful_sets_pod(n: N) -> Result<()> {
    workload(&n, "StatefulSet", 1, &["linger", "3"]).await?;
    let before = may_run(&n).await?;
    let ended = run(&n, "restart-pod", "web-0", json!({})).await?;
    let after = may_run(&n).await?;
    expect(&ended, "Changed", "applied", "its replacement web-0 is ready")?;
    ensure!(after.len() == 1 && after != before, "{before:?} {after:?}");
    Ok(())
}
