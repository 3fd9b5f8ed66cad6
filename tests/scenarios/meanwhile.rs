//! What was written must stand while it is waited for; a number of replicas that others set is theirs.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::goal::{on_delete, partition, revised};
use crate::shown::{claims, image, restart_by_hand, uids};
use crate::support::{T, expect, mode, scenarios};

scenarios!("meanwhile": changed_while_a_restart_waits, changed_while_a_rollback_waits, scaled_while_it_waits);

/// A run that waits for pods that are never ready, while somebody changes the workload: told within seconds.
async fn changed_meanwhile(t: &T, verb: &str, kind: &str, what: &str, change: Value, says: &str) -> Result<()> {
    const SOON: Duration = Duration::from_secs(10);
    let name = format!("{}-{what}", kind.to_lowercase());
    let path = t.world.create_workload(kind, &name, 2, mode("never-ready")).await?;
    if verb == "rollback" {
        let observed = |object: &Value| object["status"]["observedGeneration"] == 1;
        t.world.until(&path, "its first revision", observed).await?;
        t.meddle(kind, &name, image(2)).await?;
        t.world.until(&path, "its second revision", |object| revised(kind, object)).await?;
    }
    let before = t.object(kind, &name).await?["metadata"]["generation"].as_i64();
    let run = t.run(&format!("{verb}-{}", kind.to_lowercase()), &name).await?;
    let mut running = run.parameters(&json!({ "waitTimeout": "20s" })).told().start(&t.world)?;
    let begun = |object: &Value| {
        let generation = &object["metadata"]["generation"];
        generation.as_i64() > before && object["status"]["observedGeneration"] == *generation
    };
    while !begun(&t.world.get(&path).await?) {
        if running.has_ended()? {
            return expect(&running.complete(&t.world).await?, "NotVerified", "applied", "it has not begun");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    t.meddle(kind, &name, change).await?;
    let changed = Instant::now();
    let outcome = running.complete(&t.world).await?;
    let took = outcome.ended.saturating_duration_since(changed);
    claims(&outcome, false, &format!("{kind}: {what} by somebody else"))?;
    let said = outcome.result["error"].as_str().unwrap_or_default();
    ensure!(took < SOON, "SEEN: {kind}, {what} by somebody else; SAID after {took:?}: {said}");
    let generation = t.object(kind, &name).await?["metadata"]["generation"].as_i64();
    ensure!(generation == before.map(|before| before + 2), "somebody changed it once, and the run once");
    expect(&outcome, "NotVerified", "applied", says)?;
    outcome.verdict.check(true)
}

async fn everything_meanwhile(t: &T, verb: &str) -> Result<()> {
    let fix = || json!({ "spec": { "template": { "metadata": { "annotations": { "fix": "1" } } } } });
    let paused = json!({ "spec": { "paused": true } });
    let again = restart_by_hand(json!("2031-01-01T00:00:00Z"));
    let restarted =
        if verb == "restart" { "restartedAt is 2031-01-01T00:00:00Z now" } else { "its pod template is another one" };
    let template = "its pod template is another one now";
    tokio::try_join!(
        changed_meanwhile(t, verb, "Deployment", "template", fix(), template),
        changed_meanwhile(t, verb, "Deployment", "paused", paused, "it is paused now"),
        changed_meanwhile(t, verb, "Deployment", "restarted", again, restarted),
        changed_meanwhile(t, verb, "StatefulSet", "template", fix(), template),
        changed_meanwhile(t, verb, "StatefulSet", "on-delete", on_delete(), "its update strategy is OnDelete now"),
        changed_meanwhile(t, verb, "StatefulSet", "partition", partition(1), "its partition is 1 now, not 0"),
        changed_meanwhile(t, verb, "DaemonSet", "template", fix(), template),
        changed_meanwhile(t, verb, "DaemonSet", "on-delete", on_delete(), "its update strategy is OnDelete now"),
    )
    .map(|_| ())
}

async fn changed_while_a_restart_waits(t: T) -> Result<()> {
    Box::pin(everything_meanwhile(&t, "restart")).await
}

async fn changed_while_a_rollback_waits(t: T) -> Result<()> {
    Box::pin(everything_meanwhile(&t, "rollback")).await
}

/// A number of replicas that others set is theirs.
async fn scaled_while_it_waits(t: T) -> Result<()> {
    let one = async |verb: &str, kind: &str| {
        let name = format!("{verb}-{}", kind.to_lowercase());
        let path = t.world.workload_path(kind, &name);
        t.world.workload(kind, &name, 3, json!({})).await?;
        if verb == "rollback" {
            t.meddle(kind, &name, image(2)).await?;
            t.world.until(&path, "its second revision", |object| revised(kind, object)).await?;
        }
        let before = uids(&t.world.pods(&name).await?);
        let generation = t.object(kind, &name).await?["metadata"]["generation"].as_i64();
        let run = t.run(&format!("{verb}-{}", kind.to_lowercase()), &name).await?;
        let running = run.told().start(&t.world)?;
        t.world.until(&path, "written", |object| object["metadata"]["generation"].as_i64() > generation).await?;
        t.meddle(kind, &name, json!({ "spec": { "replicas": 5 } })).await?;
        let outcome = running.complete(&t.world).await?;
        let (now, pods) = (t.object(kind, &name).await?, crate::shown::serving(&t, &name).await?);
        let new = |pod: &&Value| verb == "rollback" || !before.contains(&crate::shown::uid(pod));
        let image = &now["spec"]["template"]["spec"]["containers"][0]["image"];
        let right = |pod: &&Value| new(pod) && pod["spec"]["containers"][0]["image"] == *image;
        let right = pods.iter().filter(right).count();
        claims(&outcome, true, &format!("{kind} scaled from 3 to 5, {right} new pods serve"))?;
        ensure!(right == 5 && pods.len() == 5 && now["spec"]["replicas"] == 5, "{right} of {}", pods.len());
        expect(&outcome, "Changed", "applied", "5 of 5 ")?;
        outcome.verdict.check(true)
    };
    tokio::try_join!(one("restart", "Deployment"), one("restart", "StatefulSet"), one("rollback", "Deployment"))
        .map(|_| ())
}
