//! A rollout that does not come to its end, and everything that may end the pod meanwhile: the result still stands in the
//! termination message, and in the log as long as there is one.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::support::{Ended, N, expect, scenarios};

scenarios!("interruptions": the_pod_is_deleted, the_pods_own_deadline, the_node_runs_out_of_memory);

/// A restart whose new pods never become ready, so far that it waits for them; the path of its pod.
async fn waiting_restart(n: &N, change: impl Fn(&mut Value)) -> Result<String> {
    n.world.workload("Deployment", "web", 2, json!({})).await?;
    // kwok keeps pods with this label from becoming ready; the label comes with the next template.
    let stuck =
        json!({ "spec": { "paused": true, "template": { "metadata": { "labels": { "test/mode": "never-ready" } } } } });
    n.world.merge(&n.world.workload_path("Deployment", "web"), &stuck).await?;
    n.world.merge(&n.world.workload_path("Deployment", "web"), &json!({ "spec": { "paused": false } })).await?;
    let mut job = n.job("restart-deployment", "web", &[])?;
    // The Job controller lets a deleted pod go as soon as it has counted it; the test wants to look at it.
    job["spec"]["template"]["metadata"]["finalizers"] = json!(["test/keep"]);
    change(&mut job);
    let name = n.start("restart-deployment", &job).await?;
    let pod = n.pod_of(&name).await?;
    let restarted = |web: &Value| {
        web["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"].is_string()
    };
    n.world.until(&n.world.workload_path("Deployment", "web"), "restarted", restarted).await?;
    n.until_text(&format!("{pod}/log"), "waiting", |log| log.contains("0 of 2 new pods are ready")).await?;
    Ok(pod)
}

/// The change was made, the wait was not over, and both are told.
async fn told(n: &N, pod: &str, ended: Ended) -> Result<Ended> {
    expect(&ended, "Interrupted", "applied", "interrupted by SIGTERM; ")?;
    ensure!(ended.terminated["exitCode"] == 143, "{:#}", ended.terminated);
    ensure!(ended.result["changes"].as_array().is_some_and(|changes| changes.len() == 1), "{:#}", ended.result);
    let keep = json!({ "metadata": { "finalizers": null } });
    n.world.merge(pod, &keep).await?;
    Ok(ended)
}

async fn the_pod_is_deleted(n: N) -> Result<()> {
    let pod = waiting_restart(&n, |_| ()).await?;
    n.world.delete(&pod).await?;
    let ended = n.ended_by_message(&pod).await?;
    told(&n, &pod, ended).await.map(|_| ())
}

async fn the_pods_own_deadline(n: N) -> Result<()> {
    const SOON: u64 = 60;
    let pod = waiting_restart(&n, |job| job["spec"]["template"]["spec"]["activeDeadlineSeconds"] = json!(SOON)).await?;
    let ended = told(&n, &pod, n.ended(&pod).await?).await?;
    ensure!(ended.pod["status"]["reason"] == "DeadlineExceeded", "{:#}", ended.pod["status"]);
    Ok(())
}

/// The kubelet evicts under pressure, with a second's grace. It concerns every pod of the node: this scenario runs alone.
async fn the_node_runs_out_of_memory(n: N) -> Result<()> {
    let pod = waiting_restart(&n, |_| ()).await?;
    let held = n.hold(&n.world.get(&pod).await?)?;
    // What is left of others would go before it, one pod every 10 s.
    let here = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{}", test_cluster::node::NAME);
    let alone = |list: &Value| list["items"].as_array().is_some_and(|all| all.len() == 1);
    n.world.until(&here, "only this pod", alone).await?;
    // More than any machine that runs a kubelet has free: from its first look on there is pressure. It acts at the second
    // one, when it knows its pods again after the restart, and gives them a second, as it does at a hard limit.
    n.node.configure_kubelet(&json!({
        "evictionSoft": { "memory.available": "99%" },
        "evictionSoftGracePeriod": { "memory.available": "5s" },
        "evictionMaxPodGracePeriod": 1,
    }))?;
    n.node.restart_kubelet()?;
    let evicted = n.world.until(&pod, "evicted", |pod| pod["status"]["reason"] == "Evicted").await;
    let ended = n.ended_and_removed(&pod, held).await;
    n.node.configure_kubelet(&json!({}))?;
    n.node.restart_kubelet()?;
    let job = evicted?["metadata"]["labels"]["batch.kubernetes.io/job-name"].as_str().unwrap_or_default().to_owned();
    told(&n, &pod, ended?).await?;
    let pressure = |node: &Value| {
        let conditions = node["status"]["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().all(|one| one["type"] != "MemoryPressure" || one["status"] == "False"))
            && node["spec"]["taints"].as_array().is_none_or(Vec::is_empty)
    };
    n.world.until(&format!("/api/v1/nodes/{}", test_cluster::node::NAME), "without pressure", pressure).await?;
    the_next_pod_goes_on(&n, &job, &pod).await
}

/// The Job's failure policy ignores a disruption: there is a next pod, with the same id. It finds the restart, and waits for it.
async fn the_next_pod_goes_on(n: &N, job: &str, first: &str) -> Result<()> {
    let pods = n.world.path("v1", "pods");
    let list = format!("{pods}?labelSelector=batch.kubernetes.io%2Fjob-name%3D{job}");
    let next = |list: &Value| {
        let names = list["items"].as_array().into_iter().flatten().filter_map(|pod| pod["metadata"]["name"].as_str());
        names.map(|name| format!("{pods}/{name}")).find(|path| path != first)
    };
    let found = n.world.until(&list, "a next pod", |list| next(list).is_some()).await?;
    let pod = next(&found).unwrap_or_default();
    n.until_text(&format!("{pod}/log"), "waiting", |log| log.contains("0 of 2 new pods are ready")).await?;
    n.world.delete(&format!("{}/{job}?propagationPolicy=Background", n.world.path("batch/v1", "jobs"))).await?;
    let ended = n.ended_by_message(&pod).await?;
    expect(&ended, "Interrupted", "none", "interrupted by SIGTERM; ")?;
    ensure!(ended.result["resumed"] == true, "{:#}", ended.result);
    n.world.merge(&pod, &json!({ "metadata": { "finalizers": null } })).await.map(|_| ())
}
