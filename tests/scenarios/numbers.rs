//! scale: rollouts that have not finished, volumes, autoscalers, and how a 0 is told.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::look::{Pod, act, after, broken, label, pods, probed, until, with};
use crate::support::{T, scenarios};

scenarios!("numbers":
    paused_with_a_broken_surge, paused_with_a_surge_that_is_ready, paused_and_too_few_are_ready, stuck_in_a_rollout,
    volumes_that_go_with_their_pods, zero_is_a_number, an_autoscaler_and_zero,
);

/// A Deployment that was paused when the first pod of its second revision was there: that one is the surge.
async fn paused(t: &T, replicas: usize, second: Value) -> Result<Vec<Pod>> {
    let one = json!({ "spec": { "strategy": { "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } } } });
    t.world.workload("Deployment", "web", i64::try_from(replicas)?, with(probed(1), one)).await?;
    t.meddle("Deployment", "web", with(second, json!({ "spec": { "minReadySeconds": 60 } }))).await?;
    let surge = |pods: &[Pod]| pods.len() == replicas + 1;
    until(t, "web", "a surge", surge).await?;
    t.meddle("Deployment", "web", json!({ "spec": { "paused": true, "minReadySeconds": 0 } })).await?;
    let path = t.world.workload_path("Deployment", "web");
    let seen = |web: &Value| web["status"]["observedGeneration"] == web["metadata"]["generation"];
    t.world.until(&path, "paused", seen).await?;
    pods(t, "web").await
}

/// Issue, 5.
async fn paused_with_a_broken_surge(t: T) -> Result<()> {
    let before = paused(&t, 4, with(probed(2), label("test/mode", "never-ready"))).await?;
    let bad = before.iter().find(|pod| pod.image == "shop/web:2").map(|pod| pod.name.clone()).unwrap_or_default();
    let after = act(&t, "scale-deployment", "web", &json!({ "replicas": 6, "waitTimeout": "10s" })).await?;
    let serving = after.pods.iter().filter(|pod| pod.serves()).count();
    after.shows("six that serve and a broken surge", serving == 6 && after.pods.len() == 7)?;
    after.says("Changed", "applied", "from 4 to 6; 6 of 6 replicas ready")?;
    after.warns("is paused in the middle of a rollout: it keeps 1 pods beyond its 6")?;
    after.counts(&json!({ "new": 6, "notReady": 1 }))?;
    let details = &after.result()["details"];
    let named = &details["pods"]["notAsAsked"][0];
    ensure!(
        details["surgeReplicas"] == 1 && named["name"] == bad.as_str() && named["why"] == "notReady",
        "{details:#}"
    );
    Ok(())
}

async fn paused_with_a_surge_that_is_ready(t: T) -> Result<()> {
    paused(&t, 4, probed(2)).await?;
    until(&t, "web", "a surge that is ready", |pods| pods.len() == 5 && pods.iter().all(Pod::serves)).await?;
    for (replicas, code, effect) in [(4, "Unchanged", "none"), (6, "Changed", "applied"), (2, "Changed", "applied")] {
        let parameters = json!({ "replicas": replicas, "waitTimeout": "10s" });
        let after = act(&t, "scale-deployment", "web", &parameters).await?;
        let there = after.pods.len();
        after.shows("the number, and at most one beyond it", (replicas..=replicas + 1).contains(&there))?;
        after.serves(there)?;
        after.says(code, effect, &format!("{replicas} of {replicas} replicas ready"))?;
        let counts = &after.result()["details"]["pods"];
        let told = counts["new"].as_u64().unwrap_or(0) + counts["notReady"].as_u64().unwrap_or(0);
        ensure!(told == u64::try_from(there)?, "{:#}", after.result());
        if there > replicas {
            after.warns("is paused in the middle of a rollout")?;
        }
    }
    Ok(())
}

/// One of the old ones is not ready either: then it is not as many as were asked for.
async fn paused_and_too_few_are_ready(t: T) -> Result<()> {
    let before = paused(&t, 3, with(probed(2), label("test/mode", "crash-loop"))).await?;
    let old = before.iter().find(|pod| pod.image == "shop/web:1").map(|pod| pod.name.clone()).unwrap_or_default();
    crate::look::break_pod(&t, &old).await?;
    until(&t, "web", "broken", |pods| pods.iter().filter(|pod| pod.ready).count() == 2).await?;
    let after = act(&t, "scale-deployment", "web", &json!({ "replicas": 4, "waitTimeout": "10s" })).await?;
    let serving = after.pods.iter().filter(|pod| pod.serves()).count();
    after.shows("three that serve", serving == 3)?;
    after.says("NotVerified", "applied", "CrashLoopBackOff")
}

/// Issue, 5: exactly that many never come, and the cause was hidden.
async fn stuck_in_a_rollout(t: T) -> Result<()> {
    let one = json!({ "spec": { "strategy": { "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } } } });
    t.world.workload("Deployment", "web", 3, with(probed(1), one)).await?;
    t.meddle("Deployment", "web", with(probed(2), label("test/mode", "crash-loop"))).await?;
    let before = until(&t, "web", "a surge", |pods| pods.len() == 4).await?;
    let bad = before.iter().find(|pod| pod.image == "shop/web:2").map(|pod| pod.name.clone()).unwrap_or_default();
    broken(&t, &bad).await?;
    let after = act(&t, "scale-deployment", "web", &json!({ "replicas": 5, "waitTimeout": "10s" })).await?;
    after.shows("the broken one", after.pods.iter().any(|pod| pod.name == bad && !pod.ready))?;
    after.says("NotVerified", "applied", "a rollout that has not finished stands in the way: pod ")?;
    let error = after.result()["error"].as_str().unwrap_or_default();
    ensure!(error.contains(&format!("pod {bad}: container app: CrashLoopBackOff")), "{error}");
    Ok(())
}

/// A set with two volumes that are there, and go when it is scaled down.
async fn with_volumes(t: &T) -> Result<()> {
    let class = &t.world.namespace;
    for number in 0..2 {
        let volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": format!("{class}-{number}") },
            "spec": {
                "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"], "storageClassName": class,
                "persistentVolumeReclaimPolicy": "Retain", "hostPath": { "path": "/tmp/none" },
            },
        });
        t.world.create("/api/v1/persistentvolumes", &volume).await?;
    }
    let claim = json!({ "metadata": { "name": "data" }, "spec": {
        "accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": { "requests": { "storage": "1Gi" } },
    } });
    let policy = json!({ "whenScaled": "Delete", "whenDeleted": "Retain" });
    let volumes =
        json!({ "spec": { "volumeClaimTemplates": [claim], "persistentVolumeClaimRetentionPolicy": policy } });
    t.world.workload("StatefulSet", "db", 2, with(probed(1), volumes)).await.map(|_| ())
}

async fn claims(t: &T) -> Result<Vec<String>> {
    let claims = t.world.get(&t.world.path("v1", "persistentvolumeclaims")).await?;
    let claims = claims["items"].as_array().into_iter().flatten();
    let live = claims.filter(|claim| claim["metadata"].get("deletionTimestamp").is_none());
    Ok(live.filter_map(|claim| claim["metadata"]["name"].as_str().map(str::to_owned)).collect())
}

/// Issue, 22.
async fn volumes_that_go_with_their_pods(t: T) -> Result<()> {
    with_volumes(&t).await?;
    let before = pods(&t, "db").await?;
    let guarded = act(&t, "scale-statefulset", "db", &json!({ "replicas": 1 })).await?;
    let left = claims(&t).await?;
    guarded.shows(&format!("both volumes and pods, but {left:?}"), left.len() == 2 && guarded.pods == before)?;
    guarded.says("Refused", "none", "set allowVolumeDeletion to true if that is meant")?;
    let after = act(&t, "scale-statefulset", "db", &json!({ "replicas": 1, "allowVolumeDeletion": true })).await?;
    after.serves(1)?;
    after.says("Changed", "applied", "from 2 to 1")?;
    let back = &after.result()["rollbackInformation"];
    let why = back["failureReason"].as_str().unwrap_or_default();
    ensure!(back["available"] == false && why.contains("volumes"), "{back:#}");
    after.warns("volumes")?;
    let path = t.world.path("v1", "persistentvolumeclaims");
    let one = |list: &Value| {
        let items = list["items"].as_array().into_iter().flatten();
        items.filter(|claim| claim["metadata"].get("deletionTimestamp").is_none()).count() == 1
    };
    t.world.until(&path, "left alone", one).await?;
    for number in 0..2 {
        t.world.delete(&format!("/api/v1/persistentvolumes/{}-{number}", t.world.namespace)).await?;
    }
    Ok(())
}

/// Issue, 26: `changes` said `remove`, which applied to a Deployment means 1.
async fn zero_is_a_number(t: T) -> Result<()> {
    for kind in ["Deployment", "StatefulSet"] {
        let name = kind.to_lowercase();
        t.world.workload(kind, &name, 2, probed(1)).await?;
        let run =
            t.run(&format!("scale-{name}"), &name).await?.parameters(&json!({ "replicas": 0, "allowZero": true }));
        for (dry_run, left) in [(true, 2), (false, 0)] {
            let after = after(&t, &run.clone().with("ACTION_DRY_RUN", dry_run), &name).await?;
            after.serves(left)?;
            let replicas = t.object(kind, &name).await?["spec"]["replicas"].clone();
            after.shows(&format!("its number, but {replicas}"), replicas == left)?;
            let patch = &after.result()["changes"][0]["patch"];
            let expected = json!([{ "op": "replace", "path": "/spec/replicas", "value": 0 }]);
            after.shows(&format!("what `changes` says: {patch}"), *patch == expected)?;
            after.outcome.verdict.check(false)?;
        }
        let forth = act(&t, &format!("scale-{name}"), &name, &json!({ "replicas": 1 })).await?;
        forth.serves(1)?;
        let patch = &forth.result()["changes"][0]["patch"];
        ensure!(*patch == json!([{ "op": "replace", "path": "/spec/replicas", "value": 1 }]), "{patch}");
        forth.says("Changed", "applied", "from 0 to 1")?;
    }
    Ok(())
}

/// Issue, 27: an autoscaler does not overwrite a 0, it is switched off by it.
async fn an_autoscaler_and_zero(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, probed(1)).await?;
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": { "name": "web-hpa" },
        "spec": { "minReplicas": 1, "maxReplicas": 9, "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" } },
    });
    t.world.create(&t.world.path("autoscaling/v2", "horizontalpodautoscalers"), &autoscaler).await?;
    for (replicas, words) in [(0, "which 0 replicas switch off"), (3, "which would overwrite 3 within seconds")] {
        let after = act(&t, "scale-deployment", "web", &json!({ "replicas": replicas, "allowZero": true })).await?;
        after.serves(2)?;
        after.says("Refused", "none", words)?;
    }
    let ignored = json!({ "replicas": 0, "allowZero": true, "onAutoscaler": "ignore" });
    let after = act(&t, "scale-deployment", "web", &ignored).await?;
    after.serves(0)?;
    after.says("Changed", "applied", "from 2 to 0")
}
