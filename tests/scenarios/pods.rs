//! Which pods are there when a run says that it is done: those that end take 4 s, those of others are not ours.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use test_cluster::runner::Run;

use crate::look::{After, Pod, act, after, broken, label, pods, probed, slow_end, until, with};
use crate::support::{T, scenarios};

scenarios!("pods":
    a_scale_down_is_over_when_they_are_gone, a_restart_is_over_when_the_old_ones_are_gone, a_rollback_is_over_when_the_old_ones_are_gone,
    a_recreated_deployment, a_deployment_without_history, a_parallel_set_whose_pods_end, a_parallel_set_is_restarted,
    what_ran_to_its_end_counts_as_nothing, selectors_overlap, anothers_ready_pods_do_not_hide_ours, scaled_while_it_restarts,
    a_foreign_controller_is_named,
);

/// Issue, 3: "scaled to 0" while containers run on.
async fn a_scale_down_is_over_when_they_are_gone(t: T) -> Result<()> {
    let one = |kind: &'static str, to: usize| {
        let t = t.clone();
        async move {
            let name = kind.to_lowercase();
            t.world.workload(kind, &name, 3, slow_end(1)).await?;
            let parameters = json!({ "replicas": to, "allowZero": true });
            let after = act(&t, &format!("scale-{name}"), &name, &parameters).await?;
            after.serves(to)?;
            after.says("Changed", "applied", &format!("from 3 to {to}; {to} of {to} replicas ready"))?;
            after.counts(&json!({ "new": to }))
        }
    };
    tokio::try_join!(
        one("Deployment", 0),
        one("ReplicaSet", 1),
        one("ReplicationController", 0),
        one("StatefulSet", 2)
    )?;
    Ok(())
}

/// So many pods at a time.
fn at_once(kind: &str) -> Value {
    match kind {
        "Deployment" => json!({ "spec": { "strategy": { "rollingUpdate": { "maxSurge": "100%" } } } }),
        "DaemonSet" => json!({ "spec": { "updateStrategy": { "rollingUpdate": { "maxUnavailable": "100%" } } } }),
        _ => json!({ "spec": { "podManagementPolicy": "Parallel" } }),
    }
}

/// Issue, 3: a restart's old pods.
async fn a_restart_is_over_when_the_old_ones_are_gone(t: T) -> Result<()> {
    let one = |kind: &'static str, number: usize| {
        let t = t.clone();
        async move {
            let name = kind.to_lowercase();
            t.world.workload(kind, &name, 2, with(slow_end(1), at_once(kind))).await?;
            let before = pods(&t, &name).await?;
            let after = act(&t, &format!("restart-{name}"), &name, &json!({})).await?;
            after.replaced(&before, number)?;
            after.says("Changed", "applied", &format!("{number} of {number} new pods ready"))?;
            after.counts(&json!({ "new": number }))
        }
    };
    tokio::try_join!(one("Deployment", 2), one("DaemonSet", 3), one("StatefulSet", 2))?;
    Ok(())
}

/// Issue, 3: a rollback's.
async fn a_rollback_is_over_when_the_old_ones_are_gone(t: T) -> Result<()> {
    let one = |kind: &'static str, number: usize| {
        let t = t.clone();
        async move {
            let name = kind.to_lowercase();
            t.world.workload(kind, &name, 2, with(slow_end(1), at_once(kind))).await?;
            t.meddle(kind, &name, probed(2)).await?;
            let second =
                |pods: &[Pod]| pods.len() == number && pods.iter().all(|pod| pod.serves() && pod.image == "shop/web:2");
            let before = until(&t, &name, "the second revision", second).await?;
            let after = act(&t, &format!("rollback-{name}"), &name, &json!({})).await?;
            after.replaced(&before, number)?;
            after.shows("the first image", after.pods.iter().all(|pod| pod.image == "shop/web:1"))?;
            after.says("Changed", "applied", &format!("{number} of {number} pods ready"))
        }
    };
    tokio::try_join!(one("Deployment", 2), one("DaemonSet", 3))?;
    Ok(())
}

async fn a_recreated_deployment(t: T) -> Result<()> {
    let recreate = json!({ "spec": { "strategy": { "type": "Recreate", "rollingUpdate": null } } });
    t.world.workload("Deployment", "web", 2, with(slow_end(1), recreate)).await?;
    let before = pods(&t, "web").await?;
    let after = act(&t, "restart-deployment", "web", &json!({})).await?;
    after.replaced(&before, 2)?;
    after.says("Changed", "applied", "2 of 2 new pods ready")
}

/// The ReplicaSet of before is deleted while its pods still end.
async fn a_deployment_without_history(t: T) -> Result<()> {
    let none = json!({ "spec": { "revisionHistoryLimit": 0 } });
    t.world.workload("Deployment", "web", 2, with(with(slow_end(1), at_once("Deployment")), none)).await?;
    let before = pods(&t, "web").await?;
    let after = act(&t, "restart-deployment", "web", &json!({})).await?;
    after.replaced(&before, 2)?;
    after.says("Changed", "applied", "2 of 2 new pods ready")?;
    let after = act(&t, "rollback-deployment", "web", &json!({})).await?;
    after.serves(2)?;
    after.says("Refused", "none", "only the present one")
}

/// Issue, 4: three of three were ready, and two of them on their way out.
async fn a_parallel_set_whose_pods_end(t: T) -> Result<()> {
    t.world.workload("StatefulSet", "db", 3, with(slow_end(1), at_once("StatefulSet"))).await?;
    let before = pods(&t, "db").await?;
    for pod in ["db-1", "db-2"] {
        t.world.delete(&format!("{}/{pod}", t.world.path("v1", "pods"))).await?;
    }
    let after = act(&t, "scale-statefulset", "db", &json!({ "replicas": 3 })).await?;
    after.serves(3)?;
    after
        .shows("two new pods", after.pods[0] == before[0] && after.pods[1..].iter().all(|pod| !before.contains(pod)))?;
    after.says("Unchanged", "none", "3 of 3 replicas ready")
}

async fn a_parallel_set_is_restarted(t: T) -> Result<()> {
    let two =
        json!({ "spec": { "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 2 } } } });
    t.world.workload("StatefulSet", "db", 3, with(with(slow_end(1), at_once("StatefulSet")), two)).await?;
    let before = pods(&t, "db").await?;
    let after = act(&t, "restart-statefulset", "db", &json!({})).await?;
    after.replaced(&before, 3)?;
    after.says("Changed", "applied", "3 of 3 new pods ready")
}

/// Pods that ran to their end are neither old nor new: a Failed one of an old ReplicaSet stays for ever.
async fn what_ran_to_its_end_counts_as_nothing(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 3, probed(1)).await?;
    let mut ended = Vec::new();
    for (pod, phase) in pods(&t, "web").await?.iter().zip(["Failed", "Succeeded"]) {
        let path = format!("{}/{}/status", t.world.path("v1", "pods"), pod.name);
        t.world.merge(&path, &json!({ "status": { "phase": phase, "reason": "Evicted", "conditions": null } })).await?;
        ended.push(pod.uid.clone());
    }
    let whole = |pods: &[Pod]| pods.len() == 5 && pods.iter().filter(|pod| pod.serves()).count() == 3;
    let before = until(&t, "web", "whole again", whole).await?;
    let serving: Vec<Pod> = before.iter().filter(|pod| pod.serves()).cloned().collect();
    let both_stay = |after: &After| {
        let stay = ended.iter().all(|uid| after.pods.iter().any(|pod| pod.uid == *uid && pod.finished));
        after.shows("both that ran to their end", stay)
    };
    let after = act(&t, "restart-deployment", "web", &json!({})).await?;
    after.replaced(&serving, 3)?;
    both_stay(&after)?;
    after.says("Changed", "applied", "3 of 3 new pods ready")?;
    after.counts(&json!({ "new": 3 }))?;
    for replicas in [1, 2] {
        let after = act(&t, "scale-deployment", "web", &json!({ "replicas": replicas })).await?;
        after.serves(replicas)?;
        both_stay(&after)?;
        after.says("Changed", "applied", &format!("{replicas} of {replicas} replicas ready"))?;
    }
    Ok(())
}

/// A Deployment whose pods another one's selector finds too.
fn within_web(tier: &str) -> Value {
    let labels = json!({ "app": "web", "tier": tier });
    json!({ "metadata": { "labels": labels }, "spec": { "selector": { "matchLabels": labels }, "template": { "metadata": { "labels": labels } } } })
}

fn of<'p>(pods: &'p [Pod], workload: &str) -> Vec<&'p Pod> {
    pods.iter().filter(|pod| pod.name.starts_with(&format!("{workload}-"))).collect()
}

/// Issue, 19: a foreign broken pod is not in our way, and does not count.
async fn selectors_overlap(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, slow_end(1)).await?;
    let api = with(with(probed(1), label("test/mode", "crash-loop")), within_web("api"));
    t.world.create_workload("Deployment", "api", 2, api).await?;
    let before =
        until(&t, "web", "the others", |pods| pods.len() == 4 && of(pods, "api").iter().all(|pod| !pod.ready)).await?;
    for api in of(&before, "api") {
        broken(&t, &api.name).await?;
    }
    let before = pods(&t, "web").await?;
    for (action, parameters, number) in [
        ("restart-deployment", json!({}), 2),
        ("scale-deployment", json!({ "replicas": 3 }), 3),
        ("scale-deployment", json!({ "replicas": 1 }), 1),
    ] {
        let after = act(&t, action, "web", &parameters).await?;
        let ours = of(&after.pods, "web");
        after.shows("our pods alone", ours.len() == number && ours.iter().all(|pod| pod.serves()))?;
        after.shows("theirs untouched", of(&after.pods, "api") == of(&before, "api"))?;
        after.says("Changed", "applied", &format!("{number} of {number}"))?;
        after.counts(&json!({ "new": number }))?;
    }
    Ok(())
}

/// Issue, 19: foreign pods that are ready hid that ours cannot start.
async fn anothers_ready_pods_do_not_hide_ours(t: T) -> Result<()> {
    let ours = with(probed(1), label("test/mode", "crash-loop"));
    t.world.create_workload("Deployment", "web", 1, ours).await?;
    t.world.create_workload("Deployment", "api", 2, with(probed(1), within_web("api"))).await?;
    let theirs = |pods: &[Pod]| pods.len() == 3 && of(pods, "api").iter().all(|pod| pod.serves());
    let before = until(&t, "web", "the others", theirs).await?;
    let after = act(&t, "scale-deployment", "web", &json!({ "replicas": 2, "waitTimeout": "10s" })).await?;
    let ours = of(&after.pods, "web");
    after.shows("that ours do not start", ours.len() == 2 && ours.iter().all(|pod| !pod.ready))?;
    after.says("NotVerified", "applied", "pod web-")?;
    ensure!(
        after.result()["error"].as_str().is_some_and(|error| error.contains("container app: CrashLoopBackOff since "))
    );
    ensure!(of(&after.pods, "api") == of(&before, "api"));
    // The first one crashes since before the run, which may end before the second one is there.
    let not_ready = &after.result()["details"]["pods"]["notReady"];
    ensure!(*not_ready == 1 || *not_ready == 2, "{not_ready} are not ready");
    after.counts(&json!({ "notReady": not_ready }))
}

/// A number of replicas that somebody else sets meanwhile is theirs: the restart is done when all of them are new.
async fn scaled_while_it_restarts(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, slow_end(1)).await?;
    let before = pods(&t, "web").await?;
    let run = t.run("restart-deployment", "web").await?.meddled();
    let running = run.told().start(&t.world)?;
    let path = t.world.workload_path("Deployment", "web");
    t.world.until(&path, "restarted", |web| web["metadata"]["generation"] == 2).await?;
    t.meddle("Deployment", "web", json!({ "spec": { "replicas": 4 } })).await?;
    let after = After::of(&t, running.complete(&t.world).await?, "web").await?.meddled();
    after.replaced(&before, 4)?;
    after.says("Changed", "applied", "4 of 4 new pods ready")
}

/// Issue, 18: a ReplicaSet under a controller that we do not know.
async fn a_foreign_controller_is_named(t: T) -> Result<()> {
    let group = format!("{}.example.com", t.world.namespace);
    let api_version = format!("{group}/v1");
    let rollouts = crate::support::scalable_kind(&t, &group, "Rollout").await?;
    let rollout =
        json!({ "apiVersion": api_version, "kind": "Rollout", "metadata": { "name": "web" }, "spec": { "size": 2 } });
    let rollout = t.world.create(&rollouts, &rollout).await?;
    let owner = json!([{ "apiVersion": api_version, "kind": "Rollout", "name": "web", "uid": rollout["metadata"]["uid"], "controller": true }]);
    let owned = json!({ "metadata": { "ownerReferences": owner } });
    t.world.workload("ReplicaSet", "web-1", 2, with(probed(1), owned)).await?;
    let before = pods(&t, "web-1").await?;
    let pod = Run::new(&t.binary, &t.account("scale-pod").await?, "scale", &before[0].name)
        .with("TARGET_NAMESPACE", &t.world.namespace)
        .with("TARGET_KIND", "pod");
    for run in [t.run("scale-replicaset", "web-1").await?, pod] {
        let after = after(&t, &run.parameters(&json!({ "replicas": 3 })), "web-1").await?;
        after.shows("the same pods", after.pods == before)?;
        after.says("Refused", "none", "is controlled by the Rollout web, which sets its number")?;
        let way = format!("TARGET_KIND=Rollout TARGET_API_VERSION={api_version} TARGET_NAME=web");
        ensure!(after.result()["error"].as_str().is_some_and(|error| error.contains(&way)), "{:#}", after.result());
        ensure!(t.object("ReplicaSet", "web-1").await?["spec"]["replicas"] == 2);
    }
    // That way it works. Nobody plays its controller but we.
    let path = format!("{rollouts}/web");
    let selector = json!({ "status": { "size": 2, "selector": "app=web-1" } });
    t.world.merge(&format!("{path}/status"), &selector).await?;
    let run = Run::new(&t.binary, &t.world.connection.kubeconfig, "scale", "web")
        .with("TARGET_NAMESPACE", &t.world.namespace)
        .with("TARGET_KIND", "Rollout")
        .with("TARGET_API_VERSION", &api_version)
        .parameters(&json!({ "replicas": 3 }));
    let running = run.told().start(&t.world)?;
    t.world.until(&path, "scaled", |rollout| rollout["spec"]["size"] == 3).await?;
    t.world.merge(&format!("{path}/status"), &json!({ "status": { "size": 3 } })).await?;
    t.meddle("ReplicaSet", "web-1", json!({ "spec": { "replicas": 3 } })).await?;
    let after = After::of(&t, running.complete(&t.world).await?, "web-1").await?.meddled();
    after.serves(3)?;
    after.says("Changed", "applied", "scaled rollout")
}
