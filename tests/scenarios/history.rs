//! rollback: which revision is meant, what stays behind of the one that is left, and what a dry run tells of a stuck set.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::look::{After, Pod, act, after, bare, label, pods, probed, until, with};
use crate::support::{T, scenarios};

scenarios!("history":
    a_restart_is_passed_over, nothing_but_restarts, the_change_cause_is_the_revisions, a_reason_is_the_change_cause,
    a_dry_run_shows_the_eviction, a_budget_that_blocks_the_eviction, more_than_one_eviction,
);

const CAUSE: &str = "kubernetes.io/change-cause";

/// All pods have this image, and serve.
fn all_of(image: u32, number: usize) -> impl Fn(&[Pod]) -> bool {
    let image = format!("shop/web:{image}");
    move |pods| pods.len() == number && pods.iter().all(|pod| pod.serves() && pod.image == image)
}

fn restarted(at: &str) -> Value {
    json!({ "spec": { "template": { "metadata": { "annotations": { "kubectl.kubernetes.io/restartedAt": at } } } } })
}

/// Rolls it out, and waits until its controller has.
async fn rolls_out(t: &T, kind: &str, patch: Value) -> Result<()> {
    let name = kind.to_lowercase();
    let path = t.world.workload_path(kind, &name);
    t.meddle(kind, &name, patch).await?;
    let daemon = kind == "DaemonSet";
    let done = |object: &Value| {
        let status = |field: &str| object["status"][field].as_i64().unwrap_or(0);
        let wanted =
            if daemon { status("desiredNumberScheduled") } else { object["spec"]["replicas"].as_i64().unwrap_or(0) };
        let (updated, ready) =
            if daemon { ("updatedNumberScheduled", "numberReady") } else { ("updatedReplicas", "readyReplicas") };
        object["status"]["observedGeneration"] == object["metadata"]["generation"]
            && status(updated) == wanted
            && status(ready) == wanted
            && (daemon || status("replicas") == wanted)
    };
    t.world.until(&path, "rolled out", done).await?;
    let live = |pods: &[Pod]| pods.iter().all(Pod::serves);
    until(t, &name, "steady", live).await.map(|_| ())
}

/// Issue, 28: "the revision before" differed by a restart alone, and the bad image stayed.
async fn a_restart_is_passed_over(t: T) -> Result<()> {
    let one = |kind: &'static str, number: usize| {
        let t = t.clone();
        async move {
            let name = kind.to_lowercase();
            t.world.workload(kind, &name, 2, probed(1)).await?;
            rolls_out(&t, kind, probed(2)).await?;
            rolls_out(&t, kind, restarted("2026-01-01T00:00:00Z")).await?;
            rolls_out(&t, kind, restarted("2026-01-02T00:00:00Z")).await?;
            let after = act(&t, &format!("rollback-{name}"), &name, &json!({})).await?;
            after.serves(number)?;
            after.shows("the image before the restarts", all_of(1, number)(&after.pods))?;
            after.says("Changed", "applied", "back to revision 1 (")?;
            after.warns("passed over revision 3 (")?;
            after.warns(", restarted at 2026-01-01T00:00:00Z), revision 2 (")
        }
    };
    tokio::try_join!(one("Deployment", 2), one("StatefulSet", 2), one("DaemonSet", 3)).map(|_| ())
}

async fn nothing_but_restarts(t: T) -> Result<()> {
    t.world.workload("Deployment", "deployment", 1, probed(1)).await?;
    rolls_out(&t, "Deployment", restarted("2026-01-01T00:00:00Z")).await?;
    let before = pods(&t, "deployment").await?;
    let after = act(&t, "rollback-deployment", "deployment", &json!({})).await?;
    after.shows("the same pods", after.pods == before)?;
    after.says("Refused", "none", "name one by toRevision if that is meant")?;
    let after = act(&t, "rollback-deployment", "deployment", &json!({ "toRevision": 1 })).await?;
    after.replaced(&before, 1)?;
    after.says("Changed", "applied", "back to revision 1 (")
}

fn cause(cause: &str) -> Value {
    json!({ "metadata": { "annotations": { CAUSE: cause } } })
}

/// Issue, 25: without a reason the bad revision's change-cause stayed on the good one.
async fn the_change_cause_is_the_revisions(t: T) -> Result<()> {
    for (kind, first) in [("Deployment", Some("first")), ("StatefulSet", Some("first")), ("DaemonSet", None)] {
        let name = kind.to_lowercase();
        let annotated = first.map_or(json!({}), cause);
        t.world.workload(kind, &name, 1, with(probed(1), annotated)).await?;
        rolls_out(&t, kind, with(probed(2), cause("the bad one"))).await?;
        let after = act(&t, &format!("rollback-{name}"), &name, &json!({})).await?;
        let told = t.object(kind, &name).await?["metadata"]["annotations"][CAUSE].clone();
        after.shows(&format!("the good revision's change-cause, but {told}"), told.as_str() == first)?;
        after.says("Changed", "applied", "back to revision 1 (")?;
    }
    // And so does the ReplicaSet of the revision, which `kubectl rollout history` reads.
    let sets = t.world.get(&t.world.path("apps/v1", "replicasets")).await?;
    let causes: Vec<_> =
        sets["items"].as_array().into_iter().flatten().map(|set| &set["metadata"]["annotations"][CAUSE]).collect();
    ensure!(causes.contains(&&json!("first")) && causes.contains(&&json!("the bad one")), "{causes:?}");
    Ok(())
}

async fn a_reason_is_the_change_cause(t: T) -> Result<()> {
    t.world.workload("Deployment", "deployment", 1, with(probed(1), cause("first"))).await?;
    rolls_out(&t, "Deployment", with(probed(2), cause("the bad one"))).await?;
    let run = t.run("rollback-deployment", "deployment").await?.with("ACTION_REASON", "it leaks");
    let after = after(&t, &run, "deployment").await?;
    let told = t.object("Deployment", "deployment").await?["metadata"]["annotations"][CAUSE].clone();
    after.shows(&format!("the reason, but {told}"), told.as_str().is_some_and(|told| told.contains("it leaks")))?;
    after.says("Changed", "applied", "back to revision 1 (")
}

/// A set of two whose db-1 is stuck on its second revision.
async fn stuck(t: &T) -> Result<Vec<Pod>> {
    t.world.workload("StatefulSet", "db", 2, probed(1)).await?;
    t.meddle("StatefulSet", "db", with(probed(2), label("test/mode", "never-ready"))).await?;
    let stuck = |pods: &[Pod]| {
        pods.len() == 2 && pods[0].serves() && pods[1].image == "shop/web:2" && !pods[1].ready && !pods[1].ending
    };
    until(t, "db", "stuck", stuck).await?;
    t.world
        .until(&format!("{}/db-1", t.world.path("v1", "pods")), "running", |pod| pod["status"]["phase"] == "Running")
        .await?;
    pods(t, "db").await
}

async fn rollback(t: &T, dry_run: bool) -> Result<After> {
    let run = t.run("rollback-statefulset", "db").await?.with("ACTION_DRY_RUN", dry_run);
    after(t, &run, "db").await
}

/// Issue, 24.
async fn a_dry_run_shows_the_eviction(t: T) -> Result<()> {
    let before = stuck(&t).await?;
    let dry = rollback(&t, true).await?;
    dry.shows("the same pods", dry.pods == before)?;
    dry.says("DryRun", "none", "would roll")?;
    let evicted = &dry.result()["changes"][1]["object"];
    let named = evicted["name"] == "db-1" && evicted["uid"] == before[1].uid.as_str();
    ensure!(dry.operations() == ["patch", "evict"] && named, "{:#}", dry.result());
    ensure!(dry.result().get("warnings").is_none(), "{:#}", dry.result());
    let after = rollback(&t, false).await?;
    after.serves(2)?;
    after.shows("db-1 alone replaced", after.pods[0] == before[0] && all_of(1, 2)(&after.pods))?;
    ensure!(after.operations() == dry.operations(), "{:#}", after.result());
    after.says("Changed", "applied", "2 of 2 pods ready")
}

/// Issue, 24: neither is a template put back whose pods the budget then keeps.
async fn a_budget_that_blocks_the_eviction(t: T) -> Result<()> {
    stuck(&t).await?;
    crate::budget::Budget::strict(&t, "db").await?;
    // A pod of which nobody knows whether it only starts is no reason to refuse, but one to warn.
    let may_start = rollback(&t, true).await?;
    may_start.says("DryRun", "none", "would roll")?;
    may_start.warns("cannot be evicted")?;
    crate::look::break_pod(&t, "db-1").await?;
    let before = pods(&t, "db").await?;
    for dry_run in [true, false] {
        let after = rollback(&t, dry_run).await?;
        let image = t.object("StatefulSet", "db").await?["spec"]["template"]["spec"]["containers"][0]["image"].clone();
        after.shows("the template and the pods as they were", image == "shop/web:2" && after.pods == before)?;
        after.says("Refused", "none", "strict")?;
        ensure!(after.operations().is_empty(), "{:#}", after.result());
    }
    Ok(())
}

/// Issue, 24: two evictions, each of which a budget of one allows.
async fn more_than_one_eviction(t: T) -> Result<()> {
    t.world.workload("StatefulSet", "db", 2, probed(1)).await?;
    t.meddle("StatefulSet", "db", bare(2)).await?;
    for pod in until(&t, "db", "rolled out", |pods| all_of(2, 2)(pods) && pods.iter().all(Pod::serves)).await? {
        crate::look::break_pod(&t, &pod.name).await?;
    }
    let looping =
        |pods: &[Pod]| pods.len() == 2 && pods.iter().all(|pod| pod.image == "shop/web:2" && pod.restarts == 3);
    let before = until(&t, "db", "in their crash loop", looping).await?;
    let dry = rollback(&t, true).await?;
    dry.shows("the same pods", dry.pods == before)?;
    dry.says("DryRun", "none", "would roll")?;
    dry.warns("were tried out one by one")?;
    ensure!(dry.operations() == ["patch", "evict", "evict"], "{:#}", dry.result());
    let after = rollback(&t, false).await?;
    after.replaced(&before, 2)?;
    after.shows("the first image", all_of(1, 2)(&after.pods))?;
    after.says("Changed", "applied", "2 of 2 pods ready")
}
