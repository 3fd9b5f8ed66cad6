//! The kinds of the other files once more, in situations that nobody has reported.

use anyhow::{Result, ensure};
use serde_json::json;
use test_cluster::fixtures::node;

use crate::look::{After, Pod, act, bare, label, own_taint, partition, pods, probed, slow_end, tolerated, until, with};
use crate::support::{T, scenarios};

scenarios!("variants":
    the_partition_is_lowered_meanwhile, an_ordered_set_whose_end_never_comes, daemons_with_a_surge, a_node_joins_its_daemons,
    a_pod_that_was_released, nothing_to_restart, a_stuck_rollout_is_rolled_back, the_template_is_put_back_meanwhile,
    a_bare_pod_of_the_same_labels, a_pod_of_before_crashes_in_the_wait,
);

/// Somebody lowers it while the restart waits: then the rest is in reach too.
async fn the_partition_is_lowered_meanwhile(t: T) -> Result<()> {
    t.world.workload("StatefulSet", "db", 2, with(slow_end(1), partition(1))).await?;
    let before = pods(&t, "db").await?;
    let running = t.run("restart-statefulset", "db").await?.told().start(&t.world)?;
    until(&t, "db", "an end", |pods| pods.iter().any(|pod| pod.ending)).await?;
    t.meddle("StatefulSet", "db", partition(0)).await?;
    let after = After::of(&t, running.complete(&t.world).await?, "db").await?.meddled();
    after.replaced(&before, 2)?;
    after.says("Changed", "applied", "2 of 2 new pods ready")?;
    after.counts(&json!({ "new": 2 }))
}

/// An ordered set goes no further: what is left of before is told with what ends.
async fn an_ordered_set_whose_end_never_comes(t: T) -> Result<()> {
    t.world.workload("StatefulSet", "db", 2, with(probed(1), label("test/end", "never"))).await?;
    let before = pods(&t, "db").await?;
    let after = act(&t, "restart-statefulset", "db", &json!({ "stuckAfter": "2s" })).await?;
    let same = after.pods.iter().zip(&before).all(|(now, then)| now.uid == then.uid);
    after.shows("both pods of before, one of them ending", same && after.pods[1].ending && !after.pods[0].ending)?;
    after.says("NotVerified", "applied", "pod db-1 on node node-")?;
    after.counts(&json!({ "old": 1, "terminating": 1 }))?;
    t.world.delete(&format!("{}/db-1?gracePeriodSeconds=0", t.world.path("v1", "pods"))).await?;
    t.world.delete(&t.world.workload_path("StatefulSet", "db")).await
}

/// Two on a node while one of them ends.
async fn daemons_with_a_surge(t: T) -> Result<()> {
    let surge =
        json!({ "spec": { "updateStrategy": { "rollingUpdate": { "maxSurge": "100%", "maxUnavailable": 0 } } } });
    t.world.workload("DaemonSet", "logs", 0, with(slow_end(1), surge)).await?;
    let before = pods(&t, "logs").await?;
    let after = act(&t, "restart-daemonset", "logs", &json!({})).await?;
    after.replaced(&before, 3)?;
    after.says("Changed", "applied", "3 of 3 new pods ready")
}

/// One node more while the restart waits: its pod is one of those that must be there.
async fn a_node_joins_its_daemons(t: T) -> Result<()> {
    let (first, second) = (format!("first-{}", t.world.namespace), format!("second-{}", t.world.namespace));
    for name in [&first, &second] {
        node(&t.world, name, own_taint()).await?;
    }
    let labels = json!({ "metadata": { "labels": { "test/pool": t.world.namespace } } });
    t.world.merge(&format!("/api/v1/nodes/{first}"), &labels).await?;
    let there = with(
        tolerated(),
        json!({ "spec": { "template": { "spec": { "nodeSelector": { "test/pool": t.world.namespace } } } } }),
    );
    t.world.workload("DaemonSet", "logs", 0, with(slow_end(1), there)).await?;
    let before = pods(&t, "logs").await?;
    let running = t.run("restart-daemonset", "logs").await?.told().start(&t.world)?;
    until(&t, "logs", "an end", |pods| pods.iter().any(|pod| pod.ending)).await?;
    t.world.merge(&format!("/api/v1/nodes/{second}"), &labels).await?;
    let after = After::of(&t, running.complete(&t.world).await?, "logs").await?.meddled();
    after.replaced(&before, 2)?;
    after.says("Changed", "applied", "2 of 2 new pods ready")
}

/// A pod whose labels somebody took away is nobody's any more: it neither counts nor has to go.
async fn a_pod_that_was_released(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, probed(1)).await?;
    let first = pods(&t, "web").await?;
    let path = format!("{}/{}", t.world.path("v1", "pods"), first[0].name);
    t.world.merge(&path, &json!({ "metadata": { "labels": { "pod-template-hash": null } } })).await?;
    let before = until(&t, "web", "another one", |pods| pods.len() == 3 && pods.iter().all(Pod::serves)).await?;
    let after = act(&t, "restart-deployment", "web", &json!({})).await?;
    let (kept, new): (Vec<_>, Vec<_>) = after.pods.iter().partition(|pod| pod.uid == first[0].uid);
    let all_new = new.iter().all(|pod| pod.serves() && before.iter().all(|one| one.uid != pod.uid));
    after.shows("the released pod and two new ones", kept.len() == 1 && new.len() == 2 && all_new)?;
    after.says("Changed", "applied", "2 of 2 new pods ready")?;
    after.counts(&json!({ "new": 2 }))
}

async fn nothing_to_restart(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 0, probed(1)).await?;
    let after = act(&t, "restart-deployment", "web", &json!({})).await?;
    after.serves(0)?;
    after.says("Changed", "applied", "0 of 0 new pods ready")
}

/// What is broken is of the abandoned revision, and goes.
async fn a_stuck_rollout_is_rolled_back(t: T) -> Result<()> {
    let strategy = json!({ "spec": { "strategy": { "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 1 } } } });
    t.world.workload("Deployment", "web", 3, with(slow_end(1), strategy)).await?;
    t.meddle("Deployment", "web", with(probed(2), label("test/mode", "crash-loop"))).await?;
    let stuck = |pods: &[Pod]| {
        pods.len() == 4 && pods.iter().filter(|pod| pod.serves()).count() == 2 && pods.iter().all(|pod| !pod.ending)
    };
    let before = until(&t, "web", "stuck", stuck).await?;
    let after = act(&t, "rollback-deployment", "web", &json!({})).await?;
    after.serves(3)?;
    let kept = before.iter().filter(|pod| pod.ready).all(|pod| after.pods.contains(pod));
    after.shows(
        "the first image, and who ran with it",
        kept && after.pods.iter().all(|pod| pod.image == "shop/web:1"),
    )?;
    after.says("Changed", "applied", "3 of 3 pods ready")
}

/// Somebody undoes it while the old pods end: all pods serve, and it is no success.
async fn the_template_is_put_back_meanwhile(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, slow_end(1)).await?;
    t.meddle("Deployment", "web", probed(2)).await?;
    let second = |pods: &[Pod]| pods.len() == 2 && pods.iter().all(|pod| pod.serves() && pod.image == "shop/web:2");
    until(&t, "web", "the second revision", second).await?;
    let running = t.run("rollback-deployment", "web").await?.told().start(&t.world)?;
    until(&t, "web", "an end", |pods| pods.iter().any(|pod| pod.ending && pod.image == "shop/web:2")).await?;
    t.meddle("Deployment", "web", probed(2)).await?;
    let after = After::of(&t, running.complete(&t.world).await?, "web").await?.meddled();
    after.shows("that it is undone", after.result()["success"] == false)?;
    after.says("NotVerified", "applied", "its pod template is another one now")
}

/// A StatefulSet does not adopt it: its name has no ordinal of the set.
async fn a_bare_pod_of_the_same_labels(t: T) -> Result<()> {
    t.world.workload("StatefulSet", "db", 2, probed(1)).await?;
    let spec = t.object("StatefulSet", "db").await?["spec"]["template"]["spec"].clone();
    let stranger = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "stranger", "labels": { "app": "db", "test/mode": "crash-loop" } }, "spec": spec });
    t.world.create(&t.world.path("v1", "pods"), &stranger).await?;
    crate::look::broken(&t, "stranger").await?;
    let after = act(&t, "scale-statefulset", "db", &json!({ "replicas": 1 })).await?;
    let serving: Vec<&str> = after.pods.iter().filter(|pod| pod.serves()).map(|pod| pod.name.as_str()).collect();
    after.shows("db-0 and the stranger", serving == ["db-0"] && after.pods.len() == 2)?;
    after.says("Changed", "applied", "1 of 1 replicas ready")?;
    after.counts(&json!({ "new": 1 }))
}

/// What was ready long before the run has no probe, and its container starts again while the scale waits for another one.
async fn a_pod_of_before_crashes_in_the_wait(t: T) -> Result<()> {
    t.world.workload("ReplicaSet", "web", 1, with(bare(1), label("test/mode", "slow"))).await?;
    let before = pods(&t, "web").await?;
    let run = t.run("scale-replicaset", "web").await?.parameters(&json!({ "replicas": 2, "stuckAfter": "2s" }));
    let running = run.told().start(&t.world)?;
    until(&t, "web", "a second pod", |pods| pods.len() == 2).await?;
    crate::look::break_pod(&t, &before[0].name).await?;
    let after = After::of(&t, running.complete(&t.world).await?, "web").await?.meddled();
    after.shows("the broken one", after.pods.iter().any(|pod| pod.uid == before[0].uid && !pod.ready))?;
    after.says("NotVerified", "applied", &format!("pod {}: container app: CrashLoopBackOff", before[0].name))?;
    ensure!(after.result()["details"]["pods"]["notReady"].as_u64() >= Some(1), "{:#}", after.result());
    Ok(())
}
