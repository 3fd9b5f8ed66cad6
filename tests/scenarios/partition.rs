//! StatefulSets that a change reaches only in part: by the pods, each by its UID.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::look::{Pod, act, after, break_pod, label, partition, pods, probed, slow_end, until, with};
use crate::support::{T, scenarios};

scenarios!("partition":
    a_canary_is_rolled_back, a_canary_of_a_parallel_set_is_rolled_back, a_restart_that_reaches_no_pod_is_refused,
    a_restart_counts_what_is_in_reach, ordinals_may_start_elsewhere, a_protected_pod_is_not_evicted,
    a_broken_pod_below_the_partition_is_named, a_canary_that_never_comes,
);

/// A set of three, whose last pod alone has image 2 and is ready.
async fn with_canary(t: &T, extra: Value) -> Result<Vec<Pod>> {
    t.world.workload("StatefulSet", "db", 3, with(with(slow_end(1), partition(2)), extra)).await?;
    t.meddle("StatefulSet", "db", probed(2)).await?;
    let canary = |pods: &[Pod]| {
        pods.len() == 3
            && pods.iter().all(Pod::serves)
            && pods[2].image == "shop/web:2"
            && pods[1].image == "shop/web:1"
    };
    until(t, "db", "a canary", canary).await
}

/// Issue, 1: pods below the partition filled the sum, and the canary was bad still.
async fn canary(t: &T, extra: Value) -> Result<()> {
    let before = with_canary(t, extra).await?;
    let after = act(t, "rollback-statefulset", "db", &json!({})).await?;
    after.serves(3)?;
    let image = |pod: &Pod| pod.image == "shop/web:1";
    after.shows(
        "the canary on the image of before",
        after.pods.iter().all(image) && after.pods[2].uid != before[2].uid,
    )?;
    after.shows("that the partition's pods were left alone", after.pods[..2] == before[..2])?;
    after.says("Changed", "applied", "1 of 1 pods ready")?;
    after.counts(&json!({ "new": 1, "outOfReach": 2 }))?;
    after.warns("only its pods from ordinal 2 on are replaced, 1 of 3")
}

async fn a_canary_is_rolled_back(t: T) -> Result<()> {
    canary(&t, json!({})).await
}

async fn a_canary_of_a_parallel_set_is_rolled_back(t: T) -> Result<()> {
    canary(&t, json!({ "spec": { "podManagementPolicy": "Parallel" } })).await
}

/// Issue, 2.
async fn a_restart_that_reaches_no_pod_is_refused(t: T) -> Result<()> {
    t.world.workload("StatefulSet", "db", 2, with(probed(1), partition(2))).await?;
    let before = pods(&t, "db").await?;
    for beyond in [2, 3] {
        t.meddle("StatefulSet", "db", partition(beyond)).await?;
        let after = act(&t, "restart-statefulset", "db", &json!({})).await?;
        after.shows("the same pods", after.pods == before)?;
        after.says("Refused", "none", "no pod would be replaced; lower the partition first")?;
    }
    let set = t.object("StatefulSet", "db").await?;
    ensure!(set["spec"]["template"]["metadata"].get("annotations").is_none(), "{set:#}");
    // The same of a rollback.
    t.meddle("StatefulSet", "db", probed(2)).await?;
    let after = act(&t, "rollback-statefulset", "db", &json!({})).await?;
    after.shows("the same pods", after.pods == before)?;
    after.says("Refused", "none", "no pod would be replaced; lower the partition first")
}

/// Issue, 2: with a smaller partition only what is in reach is counted.
async fn a_restart_counts_what_is_in_reach(t: T) -> Result<()> {
    t.world.workload("StatefulSet", "db", 3, with(slow_end(1), partition(2))).await?;
    let before = pods(&t, "db").await?;
    let after = act(&t, "restart-statefulset", "db", &json!({})).await?;
    after.serves(3)?;
    after.shows("db-2 replaced, and no other", after.pods[..2] == before[..2] && after.pods[2].uid != before[2].uid)?;
    after.says("Changed", "applied", "1 of 1 new pods ready")?;
    after.counts(&json!({ "new": 1, "outOfReach": 2 }))
}

fn from_five() -> Value {
    with(partition(1), json!({ "spec": { "ordinals": { "start": 5 } } }))
}

/// Issue, 7: the warning's ordinals.
async fn ordinals_may_start_elsewhere(t: T) -> Result<()> {
    t.world.workload("StatefulSet", "db", 2, with(slow_end(1), from_five())).await?;
    let before = pods(&t, "db").await?;
    ensure!(before[0].name == "db-5" && before[1].name == "db-6", "{before:?}");
    let after = act(&t, "restart-statefulset", "db", &json!({})).await?;
    after.serves(2)?;
    after.shows("db-6 replaced, and not db-5", after.pods[0] == before[0] && after.pods[1].uid != before[1].uid)?;
    after.says("Changed", "applied", "1 of 1 new pods ready")?;
    after.warns("only its pods from ordinal 6 on are replaced, 1 of 2")?;
    let after = act(&t, "scale-statefulset", "db", &json!({ "replicas": 1 })).await?;
    after.shows("db-5 alone", after.pods == before[..1])?;
    after.says("Changed", "applied", "1 of 1 replicas ready")
}

/// Issue, 7: a rollback evicted a pod that the partition protects. db-5 has the second revision, db-6 the third, and both are
/// broken: back to the first one, which may only touch db-6.
async fn a_protected_pod_is_not_evicted(t: T) -> Result<()> {
    let start = json!({ "spec": { "ordinals": { "start": 5 } } });
    t.world.workload("StatefulSet", "db", 2, with(probed(1), start)).await?;
    t.meddle("StatefulSet", "db", probed(2)).await?;
    let second = |pods: &[Pod]| pods.len() == 2 && pods.iter().all(|pod| pod.serves() && pod.image == "shop/web:2");
    until(&t, "db", "the second revision", second).await?;
    t.meddle("StatefulSet", "db", with(with(probed(3), label("test/mode", "never-ready")), partition(1))).await?;
    let third = |pods: &[Pod]| pods.len() == 2 && pods[1].image == "shop/web:3" && !pods[1].ending && !pods[1].ready;
    until(&t, "db", "the third revision", third).await?;
    break_pod(&t, "db-5").await?;
    let before = until(&t, "db", "a broken pod", |pods| pods.iter().all(|pod| !pod.ready)).await?;
    let first = json!({ "toRevision": 1, "waitTimeout": "6s" });
    let run = t.run("rollback-statefulset", "db").await?.parameters(&first);
    let dry = after(&t, &run.clone().with("ACTION_DRY_RUN", true), "db").await?;
    dry.shows("the same pods", dry.pods == before)?;
    let after = after(&t, &run, "db").await?;
    after.shows("the protected pod untouched", after.pods.first() == before.first())?;
    let evicted = &dry.result()["changes"][1]["object"]["name"];
    dry.says("DryRun", "none", "would roll")?;
    ensure!(dry.operations() == ["patch", "evict"] && evicted == "db-6", "{:#}", dry.result());
    // Its controller waits for db-5 before it makes db-6 anew.
    after.says("NotVerified", "applied", "pod db-5: container app: CrashLoopBackOff")
}

/// A StatefulSet that goes in order does nothing while a pod is broken that its partition protects.
async fn a_broken_pod_below_the_partition_is_named(t: T) -> Result<()> {
    t.world.workload("StatefulSet", "db", 2, with(probed(1), partition(1))).await?;
    break_pod(&t, "db-0").await?;
    let before = until(&t, "db", "a broken pod", |pods| pods.len() == 2 && !pods[0].ready && pods[1].serves()).await?;
    let after = act(&t, "restart-statefulset", "db", &json!({ "waitTimeout": "6s" })).await?;
    after.shows("the same pods", after.pods == before)?;
    after.says("NotVerified", "applied", "pod db-0: container app: CrashLoopBackOff")
}

/// The canary is there and never ready: what is below the partition does not make up for it.
async fn a_canary_that_never_comes(t: T) -> Result<()> {
    let before = with_canary(&t, json!({})).await?;
    t.meddle("StatefulSet", "db", with(probed(3), label("test/mode", "crash-loop"))).await?;
    until(&t, "db", "a bad canary", |pods| pods.len() == 3 && pods[2].image == "shop/web:3" && !pods[2].ending).await?;
    let after = act(&t, "restart-statefulset", "db", &json!({ "waitTimeout": "6s" })).await?;
    after.shows("the others as they were", after.pods[..2] == before[..2])?;
    after.says("NotVerified", "applied", "pod db-2: container app: CrashLoopBackOff")
}
