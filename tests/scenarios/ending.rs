//! `terminating: wait | ignore`: pods that take their time to end, and those that never do.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::fixtures::node;

use crate::look::{After, Pod, act, label, own_taint, pods, probed, tolerated, until, with};
use crate::support::{T, scenarios};

scenarios!("ending":
    a_restart_may_ignore_them, a_scale_down_may_ignore_them, an_end_that_never_comes, a_scale_down_whose_end_never_comes,
    a_finalizer_is_named, a_node_that_is_gone,
);

/// Old pods that end are there still, and nothing else is missing.
async fn a_restart_may_ignore_them(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, never(1)).await?;
    let before = pods(&t, "web").await?;
    let after = act(&t, "restart-deployment", "web", &json!({ "terminating": "ignore" })).await?;
    let (old, new): (Vec<_>, Vec<_>) = after.pods.iter().partition(|pod| before.iter().any(|one| one.uid == pod.uid));
    after.shows("two new pods that serve", new.len() == 2 && new.iter().all(|pod| pod.serves()))?;
    after.shows("old pods that all end", !old.is_empty() && old.iter().all(|pod| pod.ending))?;
    after.says("Changed", "applied", "2 of 2 new pods ready")?;
    let terminating = after.result()["details"]["pods"]["terminating"].as_u64().unwrap_or_default();
    ensure!(terminating >= 1, "{:#}", after.result());
    force(&t, &after.pods).await
}

async fn a_scale_down_may_ignore_them(t: T) -> Result<()> {
    for (kind, to) in [("Deployment", 1), ("StatefulSet", 2)] {
        let name = kind.to_lowercase();
        t.world.workload(kind, &name, 3, never(1)).await?;
        let parameters = json!({ "replicas": to, "terminating": "ignore" });
        let after = act(&t, &format!("scale-{name}"), &name, &parameters).await?;
        let serving = after.pods.iter().filter(|pod| pod.serves()).count();
        after.shows("what is beyond the number on its way out", serving == to && after.pods.len() == 3)?;
        after.says("Changed", "applied", &format!("{to} of {to} replicas ready"))?;
        after.counts(&json!({ "new": to, "terminating": 3 - to }))?;
        force(&t, &after.pods).await?;
    }
    Ok(())
}

/// Who has not gone in time: named with its node, and all else is there.
fn overdue(after: &After, new: usize, terminating: usize) -> Result<()> {
    let stays: Vec<&Pod> = after.pods.iter().filter(|pod| pod.ending).collect();
    let serving = after.pods.iter().filter(|pod| pod.serves()).count();
    after.shows("all but what does not end", stays.len() == terminating && serving == new)?;
    after.shows("that all of them are gone, as was said", after.result()["success"] == false)?;
    after.says("NotVerified", "applied", "should have been gone at")?;
    let error = after.result()["error"].as_str().unwrap_or_default();
    let named = after.result()["details"]["pods"]["notAsAsked"].as_array().context("nobody is named")?;
    ensure!(named.len() == terminating, "{:#}", after.result());
    for one in named {
        let known = stays.iter().any(|pod| one["name"] == pod.name.as_str());
        let node = one["node"].as_str().is_some_and(|node| node.starts_with("node-") || node.contains("own"));
        ensure!(known && node && one["why"] == "terminating", "{:#}", after.result());
    }
    let told = stays.iter().any(|pod| error.contains(&format!("pod {} on node ", pod.name)));
    ensure!(told && error.contains("raise stuckAfter"), "{error}");
    after.counts(&json!({ "new": new, "terminating": terminating }))
}

/// Gone for good.
async fn force(t: &T, pods: &[Pod]) -> Result<()> {
    for pod in pods.iter().filter(|pod| pod.ending) {
        t.world.delete(&format!("{}/{}?gracePeriodSeconds=0", t.world.path("v1", "pods"), pod.name)).await?;
    }
    Ok(())
}

fn never(image: u32) -> Value {
    with(probed(image), label("test/end", "never"))
}

/// After the grace period (1 s), the margin (10 s) and `stuckAfter` the wait is given up.
async fn an_end_that_never_comes(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, never(1)).await?;
    let after = act(&t, "restart-deployment", "web", &json!({ "stuckAfter": "2s" })).await?;
    overdue(&after, 2, 2)?;
    // What does not end can be left to whoever looks after its node.
    let parameters = json!({ "terminating": "ignore" });
    let ignored = act(&t, "restart-deployment", "web", &parameters).await?;
    ignored.shows("two that serve", ignored.pods.iter().filter(|pod| pod.serves()).count() == 2)?;
    ignored.says("Changed", "applied", "2 of 2 new pods ready")?;
    force(&t, &ignored.pods).await
}

async fn a_scale_down_whose_end_never_comes(t: T) -> Result<()> {
    let one = |kind: &'static str| {
        let t = t.clone();
        async move {
            let name = kind.to_lowercase();
            t.world.workload(kind, &name, 2, never(1)).await?;
            let parameters = json!({ "replicas": 1, "stuckAfter": "2s" });
            let after = act(&t, &format!("scale-{name}"), &name, &parameters).await?;
            overdue(&after, 1, 1)?;
            force(&t, &after.pods).await
        }
    };
    tokio::try_join!(one("Deployment"), one("StatefulSet")).map(|_| ())
}

async fn a_finalizer_is_named(t: T) -> Result<()> {
    let held = json!({ "spec": { "template": { "metadata": { "finalizers": ["test.example/hold"] } } } });
    t.world.workload("ReplicaSet", "web", 2, with(probed(1), held)).await?;
    let after = act(&t, "scale-replicaset", "web", &json!({ "replicas": 1, "stuckAfter": "2s" })).await;
    for pod in pods(&t, "web").await? {
        let path = format!("{}/{}", t.world.path("v1", "pods"), pod.name);
        t.world.merge(&path, &json!({ "metadata": { "finalizers": null } })).await?;
    }
    let after = after?;
    overdue(&after, 1, 1)?;
    let error = after.result()["error"].as_str().unwrap_or_default();
    ensure!(error.contains("held by its finalizers test.example/hold"), "{error}");
    Ok(())
}

/// The node of an old pod is gone: nobody is left to say that its containers have stopped.
async fn a_node_that_is_gone(t: T) -> Result<()> {
    let own = format!("own-{}", t.world.namespace);
    node(&t.world, &own, own_taint()).await?;
    let hosts = |hosts: &[&str]| json!([{ "key": "kubernetes.io/hostname", "operator": "In", "values": hosts }]);
    let affinity = json!({ "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [{ "matchExpressions": hosts(&[&own, "node-a"]) }] },
        "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 100, "preference": { "matchExpressions": hosts(&[&own]) } }],
    } });
    let there = json!({ "spec": { "template": { "spec": { "affinity": affinity } } } });
    t.world.workload("Deployment", "web", 1, with(with(never(1), tolerated()), there)).await?;
    let before = pods(&t, "web").await?;
    t.world.delete(&format!("/api/v1/nodes/{own}")).await?;
    let after = act(&t, "restart-deployment", "web", &json!({ "stuckAfter": "2s" })).await?;
    after.shows("the pod of before", after.pods.iter().any(|pod| pod.uid == before[0].uid && pod.ending))?;
    overdue(&after, 1, 1)?;
    until(&t, "web", "two", |pods| pods.len() == 2).await?;
    force(&t, &after.pods).await
}
