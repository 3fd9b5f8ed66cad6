//! scale, against a real API server.

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use test_cluster::proxy::{Fault, Rule};
use test_cluster::runner::Outcome;

use crate::support::{T, expect, mode, scenarios};

scenarios!("scale":
    every_kind_and_back, already_so, custom_resource, from_and_to_zero, guards, autoscaler_refuses, not_found, forbidden,
    overwritten_while_waiting, conflict_is_decided_again, conflict_that_a_guard_refuses, conflict_without_end, answer_that_never_comes, waits_in_vain, names_the_image_that_cannot_be_pulled, a_quota_is_named, a_crash_loop_is_scaled_away,
    dry_run_leaves_no_trace, pod_leads_to_its_deployment, another_uid, lost_answer_is_found_out, lost_answer_of_a_number_that_is_gone,
    few_requests, controlled_by_events, sigterm_tells_what_is_known, memory_is_small,
);

async fn replicas(t: &T, kind: &str, name: &str) -> Result<Value> {
    Ok(t.object(kind, name).await?["spec"]["replicas"].clone())
}

async fn every_kind_and_back(t: T) -> Result<()> {
    for kind in ["Deployment", "StatefulSet", "ReplicaSet", "ReplicationController"] {
        let name = kind.to_lowercase();
        t.world.workload(kind, &name, 2, json!({})).await?;
        let outcome = t.act(&format!("scale-{name}"), &name, &json!({ "replicas": 4 })).await?;
        expect(&outcome, "Changed", "applied", "from 2 to 4; 4 of 4 replicas ready")?;
        ensure!(
            outcome.result["changes"][0]["patch"] == json!([{ "op": "replace", "path": "/spec/replicas", "value": 4 }]),
            "{:#}",
            outcome.result
        );
        ensure!(outcome.result["changes"][0]["object"]["subresource"] == "scale");
        let back = t.undo(&outcome, &name).await?;
        expect(&back, "Changed", "applied", "from 4 to 2; 2 of 2 replicas ready")?;
        ensure!(replicas(&t, kind, &name).await? == 2);
    }
    Ok(())
}

async fn already_so(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    let outcome = t.act("scale-deployment", "web", &json!({ "replicas": 2 })).await?;
    expect(&outcome, "Unchanged", "none", "has 2 replicas already; 2 of 2 replicas ready")?;
    ensure!(outcome.result["rollbackInformation"]["available"] == false && outcome.result.get("changes").is_none());
    Ok(())
}

async fn custom_resource(t: T) -> Result<()> {
    let group = format!("{}.example.com", t.world.namespace);
    let path = crate::support::scalable_kind(&t, &group, "Widget").await?;
    let widget = json!({ "apiVersion": format!("{group}/v1"), "kind": "Widget", "metadata": { "name": "w" }, "spec": { "size": 2 } });
    t.world.create(&path, &widget).await?;
    t.world.merge(&format!("{path}/w/status"), &json!({ "status": { "size": 2 } })).await?;
    // No Role is generated for kinds that are not built in: the administrator runs it.
    let run = test_cluster::runner::Run::new(&t.binary, &t.world.connection.kubeconfig, "scale", "w")
        .with("TARGET_NAMESPACE", &t.world.namespace)
        .with("TARGET_KIND", "Widget")
        .with("TARGET_API_VERSION", format!("{group}/v1"))
        .parameters(&json!({ "replicas": 3, "wait": false }));
    let outcome = t.complete(&run).await?;
    expect(&outcome, "Changed", "applied", "scaled widget")?;
    ensure!(t.world.get(&format!("{path}/w")).await?["spec"]["size"] == 3);
    t.world.merge(&format!("{path}/w/status"), &json!({ "status": { "size": 3 } })).await?;
    let outcome = t.complete(&run.clone().parameters(&json!({ "replicas": 3 }))).await?;
    expect(&outcome, "Unchanged", "none", "has 3 replicas already")?;
    ensure!(
        outcome.result["warnings"][0].as_str().is_some_and(|text| text.contains("no selector")),
        "{:#}",
        outcome.result
    );
    let unset =
        json!({ "apiVersion": format!("{group}/v1"), "kind": "Widget", "metadata": { "name": "unset" }, "spec": {} });
    t.world.create(&path, &unset).await?;
    let outcome = t.complete(&run.with("TARGET_NAME", "unset")).await?;
    expect(&outcome, "Refused", "none", "is broken")
}

async fn from_and_to_zero(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    let outcome = t.act("scale-deployment", "web", &json!({ "replicas": 0, "allowZero": true })).await?;
    expect(&outcome, "Changed", "applied", "from 1 to 0; 0 of 0 replicas ready")?;
    let pods = format!("{}?labelSelector=app%3Dweb", t.world.path("v1", "pods"));
    t.world.until(&pods, "gone", |pods| pods["items"].as_array().is_some_and(Vec::is_empty)).await?;
    let outcome = t.act("scale-deployment", "web", &json!({ "replicas": 2 })).await?;
    expect(&outcome, "Changed", "applied", "from 0 to 2; 2 of 2 replicas ready")?;
    let back = t.undo(&outcome, "web").await?;
    expect(&back, "Changed", "applied", "from 2 to 0")
}

async fn guards(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    expect(&t.act("scale-deployment", "web", &json!({ "replicas": 0 })).await?, "Refused", "none", "allowZero")?;
    expect(
        &t.act("scale-deployment", "web", &json!({ "replicas": 3, "currentReplicas": 1 })).await?,
        "Refused",
        "none",
        "has 2 replicas, not 1",
    )?;
    t.meddle(
        "Deployment",
        "web",
        json!({ "metadata": { "annotations": { "kubernetesexecution.kubernaut.io/protected": "true" } } }),
    )
    .await?;
    expect(&t.act("scale-deployment", "web", &json!({ "replicas": 3 })).await?, "Refused", "none", "is protected")
}

async fn autoscaler_refuses(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": { "name": "web-hpa" },
        "spec": { "minReplicas": 1, "maxReplicas": 9, "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" } },
    });
    t.world.create(&t.world.path("autoscaling/v2", "horizontalpodautoscalers"), &autoscaler).await?;
    expect(
        &t.act("scale-deployment", "web", &json!({ "replicas": 3 })).await?,
        "Refused",
        "none",
        "HorizontalPodAutoscaler web-hpa",
    )?;
    let outcome =
        t.act("scale-deployment", "web", &json!({ "replicas": 3, "onAutoscaler": "ignore", "wait": false })).await?;
    expect(&outcome, "Changed", "applied", "from 2 to 3; not waited for")
}

async fn not_found(t: T) -> Result<()> {
    expect(
        &t.act("scale-deployment", "web", &json!({ "replicas": 3 })).await?,
        "TargetNotFound",
        "none",
        "does not exist",
    )
}

async fn forbidden(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    let account = t.account("cordon-node").await?;
    let run = t
        .run("scale-deployment", "web")
        .await?
        .with("KUBECONFIG", account.display())
        .parameters(&json!({ "replicas": 3 }));
    let outcome = t.complete(&run).await?;
    expect(&outcome, "Forbidden", "none", "missing permissions in namespace")?;
    let error = outcome.result["error"].as_str().unwrap_or_default();
    for permission in [
        "get deployments (apps)",
        "patch deployments/scale (apps)",
        "watch deployments (apps)",
        "list pods (core)",
        "list horizontalpodautoscalers (autoscaling)",
    ] {
        ensure!(error.contains(permission), "{permission} is not named in {error}");
    }
    ensure!(
        outcome.seen.iter().all(|entry| entry.resource.starts_with("selfsubject") || entry.uri == "/readyz"),
        "nothing was tried: {:?}",
        outcome.seen
    );
    Ok(())
}

async fn overwritten_while_waiting(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 1, mode("slow")).await?;
    let run = t.run("scale-deployment", "web").await?.parameters(&json!({ "replicas": 3 }));
    let running = run.start(&t.world)?;
    t.world
        .until(&t.world.workload_path("Deployment", "web"), "scaled", |object| object["spec"]["replicas"] == 3)
        .await?;
    t.meddle("Deployment", "web", json!({ "spec": { "replicas": 2 } })).await?;
    let outcome = running.complete(&t.world).await?;
    expect(&outcome, "NotVerified", "applied", "replicas are 2 now, not 3")?;
    ensure!(outcome.result["rollbackInformation"]["failureReason"].is_string());
    Ok(())
}

/// Somebody sets another number between our look and our write.
async fn meddled(t: &T, times: u32, parameters: &Value) -> Result<Outcome> {
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    let path = t.world.workload_path("Deployment", "web");
    let fault = Fault::ChangeFirst { path, patch: r#"{"spec":{"replicas":N}}"#.to_owned() };
    let rule = Rule { fault, method: "PATCH", contains: "/scale", lacks: "dryRun", times };
    let (proxy, kubeconfig) = t.through_proxy("scale-deployment", rule).await?;
    let run = t.run("scale-deployment", "web").await?.with("KUBECONFIG", kubeconfig.display()).parameters(parameters);
    let outcome = t.complete(&run).await?;
    ensure!(proxy.hits() == times.min(3), "the fault hit {} times", proxy.hits());
    Ok(outcome)
}

async fn conflict_is_decided_again(t: T) -> Result<()> {
    let outcome = meddled(&t, 1, &json!({ "replicas": 3 })).await?;
    expect(&outcome, "Changed", "applied", " to 3; 3 of 3 replicas ready")
}

async fn conflict_that_a_guard_refuses(t: T) -> Result<()> {
    let outcome = meddled(&t, 1, &json!({ "replicas": 3, "currentReplicas": 1 })).await?;
    expect(&outcome, "Refused", "none", " replicas, not 1")
}

async fn conflict_without_end(t: T) -> Result<()> {
    let outcome = meddled(&t, 9, &json!({ "replicas": 3 })).await?;
    expect(&outcome, "Conflict", "none", "changed the target 3 times")?;
    ensure!(outcome.result["retryable"] == true);
    Ok(())
}

async fn answer_that_never_comes(t: T) -> Result<()> {
    // The write is applied, its answer stalls: the run ends in time, and finds out that it was applied.
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    let rule = Rule { fault: Fault::Stall, method: "PATCH", contains: "/scale", lacks: "dryRun", times: 1 };
    let (proxy, kubeconfig) = t.through_proxy("scale-deployment", rule).await?;
    let run = t.run("scale-deployment", "web").await?.with("KUBECONFIG", kubeconfig.display());
    let outcome = t.complete(&run.parameters(&json!({ "replicas": 2 }))).await?;
    ensure!(proxy.hits() == 1, "the fault hit");
    expect(&outcome, "Changed", "applied", "from 1 to 2")
}

async fn waits_in_vain(t: T) -> Result<()> {
    t.world.create_workload("Deployment", "web", 1, mode("never-ready")).await?;
    let outcome = t.act("scale-deployment", "web", &json!({ "replicas": 2, "waitTimeout": "3s" })).await?;
    expect(&outcome, "NotVerified", "applied", "waitTimeout is over; deployment")
}

async fn names_the_image_that_cannot_be_pulled(t: T) -> Result<()> {
    t.world.create_workload("Deployment", "web", 1, mode("image-pull")).await?;
    let outcome = t.act("scale-deployment", "web", &json!({ "replicas": 2 })).await?;
    expect(&outcome, "NotVerified", "applied", "container app: ImagePullBackOff")
}

async fn a_crash_loop_is_scaled_away(t: T) -> Result<()> {
    for kind in ["Deployment", "StatefulSet"] {
        let name = kind.to_lowercase();
        let extra = mode("crash-loop");
        let path = t.world.create_workload(kind, &name, 3, extra).await?;
        t.world.until(&path, "a pod", |object| object["status"]["replicas"].as_i64() > Some(0)).await?;
        let outcome = t.act(&format!("scale-{name}"), &name, &json!({ "replicas": 0, "allowZero": true })).await?;
        expect(&outcome, "Changed", "applied", "from 3 to 0")?;
    }
    Ok(())
}

async fn a_quota_is_named(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    let quota = json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "small" }, "spec": { "hard": { "pods": "2" } } });
    let path = t.world.path("v1", "resourcequotas");
    t.world.create(&path, &quota).await?;
    t.world.until(&format!("{path}/small"), "counted", |quota| quota["status"]["used"]["pods"] == "2").await?;
    let outcome = t.act("scale-deployment", "web", &json!({ "replicas": 5, "stuckAfter": "2s" })).await?;
    expect(&outcome, "NotVerified", "applied", "exceeded quota: small")
}

async fn dry_run_leaves_no_trace(t: T) -> Result<()> {
    let before = t.world.workload("Deployment", "web", 2, json!({})).await?;
    let run =
        t.run("scale-deployment", "web").await?.with("ACTION_DRY_RUN", true).parameters(&json!({ "replicas": 3 }));
    let outcome = t.complete(&run).await?;
    expect(&outcome, "DryRun", "none", "would scale deployment")?;
    ensure!(outcome.result["changes"][0]["patch"][0]["value"] == 3, "{:#}", outcome.result);
    let after = t.object("Deployment", "web").await?;
    ensure!(before["metadata"]["generation"] == after["metadata"]["generation"] && after["spec"]["replicas"] == 2);
    ensure!(!outcome.seen.iter().any(test_cluster::audit::Entry::changes_something));
    Ok(())
}

async fn pod_leads_to_its_deployment(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    let pods = t.world.pods("web").await?;
    let pod = pods[0]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let run = test_cluster::runner::Run::new(&t.binary, &t.account("scale-pod").await?, "scale", &pod)
        .with("TARGET_NAMESPACE", &t.world.namespace)
        .with("TARGET_KIND", "pod")
        .parameters(&json!({ "replicas": 3 }));
    let outcome = t.complete(&run).await?;
    expect(&outcome, "Changed", "applied", "scaled deployment")?;
    ensure!(
        outcome.result["target"]["kind"] == "Deployment"
            && outcome.result["target"]["resolvedFrom"]["name"] == json!(pod),
        "{:#}",
        outcome.result
    );
    Ok(())
}

async fn another_uid(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    let run = t
        .run("scale-deployment", "web")
        .await?
        .with("TARGET_UID", "00000000-0000-0000-0000-000000000000")
        .parameters(&json!({ "replicas": 2 }));
    expect(&t.complete(&run).await?, "Refused", "none", "is another object by now")
}

async fn lost_answer_is_found_out(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    let rule = Rule { fault: Fault::LoseAnswer, method: "PATCH", contains: "/scale", lacks: "dryRun", times: 1 };
    let (proxy, kubeconfig) = t.through_proxy("scale-deployment", rule).await?;
    let run = t
        .run("scale-deployment", "web")
        .await?
        .with("KUBECONFIG", kubeconfig.display())
        .parameters(&json!({ "replicas": 3 }));
    let outcome = t.complete(&run).await?;
    ensure!(proxy.hits() == 1, "the fault hit");
    expect(&outcome, "Changed", "applied", "from 2 to 3; 3 of 3 replicas ready")
}

async fn lost_answer_of_a_number_that_is_gone(t: T) -> Result<()> {
    // The request never arrives: after its time is over the old number proves that, and it is sent again.
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    let rule = Rule { fault: Fault::Drop, method: "PATCH", contains: "/scale", lacks: "dryRun", times: 1 };
    let (proxy, kubeconfig) = t.through_proxy("scale-deployment", rule).await?;
    let run = t
        .run("scale-deployment", "web")
        .await?
        .with("KUBECONFIG", kubeconfig.display())
        .parameters(&json!({ "replicas": 3 }))
        .unjudged();
    let outcome = t.complete(&run).await?;
    ensure!(proxy.hits() == 1, "the fault hit");
    expect(&outcome, "Changed", "applied", "from 2 to 3")?;
    ensure!(outcome.result["requests"]["retries"] == 1, "{:#}", outcome.result);
    Ok(())
}

async fn few_requests(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    let outcome = t.act("scale-deployment", "web", &json!({ "replicas": 2, "wait": false })).await?;
    expect(&outcome, "Changed", "applied", "not waited for")?;
    ensure!(
        outcome.result["requests"]["total"].as_u64().is_some_and(|total| total <= 5),
        "{:#}",
        outcome.result["requests"]
    );
    ensure!(!outcome.seen.iter().any(|entry| entry.uri == "/api" || entry.uri == "/apis"), "no discovery");
    Ok(())
}

async fn controlled_by_events(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    let run = t
        .run("scale-deployment", "web")
        .await?
        .with("ACTION_EVENTS", true)
        .with("ACTION_ID", "exec-7")
        .parameters(&json!({ "replicas": 2 }));
    let outcome = t.complete(&run).await?;
    expect(&outcome, "Changed", "applied", "from 1 to 2")?;
    ensure!(outcome.result.get("warnings").is_none(), "{:#}", outcome.result);
    let events = t.world.get(&t.world.path("events.k8s.io/v1", "events")).await?;
    let ours = events["items"].as_array().into_iter().flatten().find(|event| event["reason"] == "ActionChanged");
    ensure!(
        ours.is_some_and(|event| event["note"].as_str().is_some_and(|note| note.starts_with("scaled deployment"))),
        "{events:#}"
    );
    Ok(())
}

async fn sigterm_tells_what_is_known(t: T) -> Result<()> {
    t.world.create_workload("Deployment", "web", 1, mode("never-ready")).await?;
    let run = t.run("scale-deployment", "web").await?.parameters(&json!({ "replicas": 2 }));
    let running = run.start(&t.world)?;
    let outcome = running.when("0 of 2 pods are ready", |run| run.signal(Signal::SIGTERM), &t.world).await?;
    let effect = outcome.result["effect"].as_str().unwrap_or_default().to_owned();
    ensure!(
        outcome.exit == 143 && outcome.result["code"] == "Interrupted" && effect == "applied",
        "{:#}",
        outcome.result
    );
    Ok(())
}

async fn memory_is_small(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    let outcome = t.act("scale-deployment", "web", &json!({ "replicas": 4 })).await?;
    expect(&outcome, "Changed", "applied", "from 2 to 4")?;
    // The promise is for the release binary; a debug build has larger code, and is only told.
    test_cluster::assets::tell(&format!("peak memory of a scale run: {} KiB", outcome.peak_kib));
    let most = if test_cluster::assets::variable("ACTION_RUNNER").is_some() { 12 << 10 } else { 40 << 10 };
    ensure!(
        outcome.peak_kib > 0 && outcome.peak_kib <= most,
        "peak memory is {} KiB, at most {most} is promised",
        outcome.peak_kib
    );
    Ok(())
}
