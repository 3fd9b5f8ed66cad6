//! From an object to its verified result: what goes well, what is refused, what waits, what is tried again.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::executor::GROUP;

use crate::support::{E, check, scale, scale_with, scenarios};

scenarios!("flow": a_scale_is_carried_out_once, a_bad_request_fails_without_a_job, a_failure_that_passes_is_healed, retries_end,
    a_dry_run_changes_nothing, one_at_a_time_for_a_target, no_more_than_max_active, suspended_until_it_is_not,
    approved_before_it_starts, a_job_of_what_nobody_approved, not_started_in_time, its_time_is_over, a_policy_of_the_operator, a_pod_is_restarted_once,
    a_copy_is_about_the_pod_that_is_there, what_was_pinned_is_taken_away, a_pod_that_is_not_there, what_a_selector_finds, suspended_between_attempts, namespaces_share_places,
    one_that_cannot_be_held, refused_and_not_repeatable, an_earlier_job_by_its_name,
    an_earlier_job_and_not_repeatable, a_retry_that_is_refused,
    not_repeatable_however_it_is_asked_for);

async fn a_scale_is_carried_out_once(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = e.controller()?;
    e.execute("up", scale(3)).await?;
    let up = e.ended("up").await?;
    check(&up, "Completed", "Changed", "applied")?;
    ensure!(e.replicas().await? == 3, "the Deployment was not scaled");
    let status = &up["status"];
    ensure!(status["attempts"].as_array().is_some_and(|all| all.len() == 1) && status["retryCount"] == 0, "{status:#}");
    ensure!(status["rollbackInformation"]["rollbackParameters"]["replicas"] == 1, "{status:#}");
    ensure!(status["result"]["usage"]["cpuMs"].is_number(), "no usage: {status:#}");
    ensure!(up["metadata"]["finalizers"].is_null(), "held for ever: {:#}", up["metadata"]);
    for (condition, value) in [("Finished", "True"), ("Complete", "True"), ("Failed", "False"), ("Ready", "True")] {
        let has = |one: &Value| one["type"] == condition && one["status"] == value;
        ensure!(status["conditions"].as_array().is_some_and(|all| all.iter().any(has)), "{condition}: {status:#}");
    }
    ensure!(e.jobs_created().await? == ["up-job"] && e.jobs().await? == 1, "not one Job");
    // Hold, start, show, record, release, settle; and two Events.
    costs(&e, 8, 0).await?;
    let events = |list: &Value| {
        let reasons: Vec<_> =
            list["items"].as_array().into_iter().flatten().filter_map(|one| one["reason"].as_str()).collect();
        reasons.contains(&"Started") && reasons.contains(&"Completed")
    };
    let about = "?fieldSelector=involvedObject.kind%3DKubernetesExecution";
    e.world.until(&(e.world.path("v1", "events") + about), "its Events", events).await?;
    // It comes to its own end, and stays with its log.
    let complete = |job: &Value| job["status"]["succeeded"] == 1 && job["metadata"]["deletionTimestamp"].is_null();
    e.world.until(&format!("{}/up-job", e.world.path("batch/v1", "jobs")), "complete", complete).await?;
    // One trace id from the execution to the runner.
    let trace =
        up["metadata"]["annotations"]["kubernetesexecution.kubernaut.io/traceparent"].as_str().context("none")?;
    let result = e.player.results().pop().context("no run")?;
    ensure!(result["traceId"].as_str().is_some_and(|id| trace.contains(id)), "{trace}, {}", result["traceId"]);
    controller.stop().await
}

/// Holds the requests of the controller to so many writes, and so many looks: up to two more of them where the watch of Jobs tells of an
/// end before that of pods does, so that it looks for the pod.
async fn costs(e: &E, writes: usize, looks: usize) -> Result<()> {
    const BEFORE_ITS_POD: usize = 2;
    let requests = e.requests().await?;
    let looked = requests.iter().filter(|one| one.verb == "get").count();
    let written = requests.len() - looked;
    ensure!(
        written <= writes && looked <= looks + BEFORE_ITS_POD,
        "{written} writes and {looked} looks: {requests:#?}"
    );
    Ok(())
}

async fn a_bad_request_fails_without_a_job(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = e.controller()?;
    let target = json!({ "resourceName": "web" });
    let cases = [
        (
            json!({ "type": "scale-deployment", "parameters": { "replics": 3 }, "target": target }),
            "spec.action.parameters: unknown field \"replics\", did you mean replicas?",
        ),
        (json!({ "type": "scael-deployment", "target": target }), "unknown action, did you mean scale-deployment?"),
        (json!({ "type": "scale-deployment", "target": target }), "missing field `replicas`"),
        (
            json!({ "type": "cordon-node", "target": { "namespace": "x", "resourceName": "n" } }),
            "a node has no namespace",
        ),
    ];
    for (number, (action, says)) in cases.into_iter().enumerate() {
        let name = format!("bad-{number}");
        e.execute(&name, json!({ "action": action })).await?;
        let bad = e.ended(&name).await?;
        ensure!(bad["status"]["phase"] == "Failed" && bad["status"]["reason"] == "InvalidRequest", "{bad:#}");
        ensure!(bad["status"]["message"].as_str().is_some_and(|text| text.contains(says)), "{bad:#}");
    }
    e.execute("elsewhere", scale_with(2, json!({ "cluster": "west" }))).await?;
    ensure!(e.ended("elsewhere").await?["status"]["reason"] == "InvalidRequest", "another cluster was accepted");
    ensure!(e.jobs_created().await?.is_empty() && e.replicas().await? == 1, "something was started");
    controller.stop().await
}

/// A pod that is not there: another one by that name, which comes later, was not meant.
async fn a_pod_that_is_not_there(e: E) -> Result<()> {
    let controller = e.controller()?;
    let restart = json!({ "type": "restart-pod", "target": { "resourceName": "db-0" } });
    e.execute("up", json!({ "action": restart })).await?;
    let up = e.ended("up").await?;
    ensure!(up["status"]["phase"] == "Failed" && up["status"]["reason"] == "TargetNotFound", "{up:#}");
    ensure!(e.jobs_created().await?.is_empty(), "something was started");
    controller.stop().await
}

/// What a selector finds is read by the account for that, and one pod by the one for pods: each may do what it does, and no more.
async fn what_a_selector_finds(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 2, json!({})).await?;
    let pod = e.world.pods("web").await?[0]["metadata"]["name"].clone();
    let controller = e.controller()?;
    for (name, target, account, pods) in [
        ("found", json!({ "selector": "app=web" }), "action-collect-logs-selector", 2),
        ("named", json!({ "resourceName": pod }), "action-collect-logs-pod", 1),
    ] {
        let action = json!({ "type": "collect-logs-pod", "target": target, "parameters": { "tailLines": 1 } });
        e.execute(name, json!({ "action": action })).await?;
        let ended = e.ended(name).await?;
        check(&ended, "Completed", "Completed", "none").with_context(|| name.to_owned())?;
        ensure!(ended["status"]["result"]["details"]["pods"] == pods, "{ended:#}");
        let job = e.world.get(&format!("{}/{name}-job", e.world.path("batch/v1", "jobs"))).await?;
        ensure!(job["spec"]["template"]["spec"]["serviceAccountName"] == account, "{job:#}");
    }
    controller.stop().await
}

async fn a_failure_that_passes_is_healed(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = e.controller()?;
    e.execute("up", scale_with(2, json!({ "reason": "play: first exit 9" }))).await?;
    let up = e.ended("up").await?;
    // The first pod left no result: what it did is not known, and the second one found out and did it.
    check(&up, "Completed", "Changed", "applied")?;
    ensure!(up["status"]["retryCount"] == 1 && up["status"]["attempts"][0]["exitCode"] == 9, "{up:#}");
    ensure!(e.replicas().await? == 2, "it was not scaled");
    ensure!(e.jobs_created().await? == ["up-job", "up-job-2"], "{:?}", e.jobs_created().await?);
    // Eight for a success; six for the retry: the log of the mute pod, the record, the Job that is cleaned away, the execution as it
    // is now, the start, what is so then.
    costs(&e, 12, 2).await?;
    // A retried and healed failure leaves no failed Job for alerts.
    e.world
        .until(&e.world.path("batch/v1", "jobs"), "one Job", |list| {
            list["items"].as_array().is_some_and(|all| all.len() == 1)
        })
        .await?;
    controller.stop().await
}

async fn retries_end(e: E) -> Result<()> {
    let controller = e.controller()?;
    e.execute("up", scale_with(2, json!({ "reason": "play: exit 9", "maxRetries": 1 }))).await?;
    let up = e.ended("up").await?;
    check(&up, "Failed", "NoResult", "unknown")?;
    ensure!(up["status"]["attempts"].as_array().is_some_and(|all| all.len() == 2), "{up:#}");
    ensure!(up["status"]["message"].as_str().is_some_and(|text| text.contains("maxRetries (1) are used up")), "{up:#}");
    controller.stop().await
}

async fn a_dry_run_changes_nothing(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = e.controller()?;
    e.execute("try", scale_with(3, json!({ "dryRun": true }))).await?;
    check(&e.ended("try").await?, "Completed", "DryRun", "none")?;
    ensure!(e.replicas().await? == 1, "a dry run changed something");
    controller.stop().await
}

async fn one_at_a_time_for_a_target(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = e.controller()?;
    e.execute("first", scale_with(2, json!({ "reason": "play: hang" }))).await?;
    e.phase("first", "Executing").await?;
    e.execute("second", scale(3)).await?;
    let waits = e.reason("second", "TargetBusy").await?;
    ensure!(waits["status"]["message"].as_str().is_some_and(|text| text.contains("/first")), "{waits:#}");
    ensure!(e.jobs_created().await? == ["first-job"], "two at one target");
    e.patch("first", json!({ "spec": { "cancel": true } })).await?;
    check(&e.ended("second").await?, "Completed", "Changed", "applied")?;
    ensure!(e.replicas().await? == 3, "the second one did nothing");
    controller.stop().await
}

async fn no_more_than_max_active(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = e.controller_with(&e.kubeconfig, &["--max-active", "1"])?;
    let other = json!({ "action": { "type": "restart-deployment", "target": { "resourceName": "other" } }, "reason": "play: hang" });
    e.execute("first", other).await?;
    e.phase("first", "Executing").await?;
    e.execute("second", scale(3)).await?;
    e.reason("second", "Queued").await?;
    e.patch("first", json!({ "spec": { "cancel": true } })).await?;
    check(&e.ended("second").await?, "Completed", "Changed", "applied")?;
    controller.stop().await
}

async fn suspended_until_it_is_not(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = e.controller()?;
    e.execute("later", scale_with(3, json!({ "suspend": true }))).await?;
    e.reason("later", "Suspended").await?;
    ensure!(e.jobs_created().await?.is_empty(), "it was started");
    e.patch("later", json!({ "spec": { "suspend": false } })).await?;
    check(&e.ended("later").await?, "Completed", "Changed", "applied")?;
    controller.stop().await
}

/// `suspend` between two attempts holds the next one, says so, and holds up nobody else.
async fn suspended_between_attempts(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = e.controller_with(&e.kubeconfig, &["--max-active", "1"])?;
    e.execute("up", scale_with(2, json!({ "reason": "play: first hang" }))).await?;
    let pod = e.runs("up-job").await?;
    e.patch("up", json!({ "spec": { "suspend": true } })).await?;
    e.world.delete(&pod).await?;
    let retrying = e.reason("up", "Suspended").await?;
    ensure!(retrying["status"]["phase"] == "Retrying", "{retrying:#}");
    let due: jiff::Timestamp = retrying["status"]["nextAttemptTime"].as_str().context("no time")?.parse()?;
    // At the same target, and in the only place.
    e.execute("other", scale(5)).await?;
    check(&e.ended("other").await?, "Completed", "Changed", "applied")?;
    e.until_time(due + std::time::Duration::from_secs(2)).await;
    ensure!(e.jobs_created().await? == ["up-job", "other-job"], "an attempt was started while it was suspended");
    e.patch("up", json!({ "spec": { "suspend": false } })).await?;
    check(&e.ended("up").await?, "Completed", "Changed", "applied")?;
    controller.stop().await
}

async fn approved_before_it_starts(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = e.controller()?;
    e.execute("asked", scale_with(3, json!({ "approvalRequired": true }))).await?;
    e.reason("asked", "AwaitingApproval").await?;
    ensure!(e.jobs_created().await?.is_empty(), "it was started");
    e.patch("asked", json!({ "spec": { "approvedBy": "alice" } })).await?;
    check(&e.ended("asked").await?, "Completed", "Changed", "applied")?;
    controller.stop().await
}

/// Whoever may create Jobs can name an execution as the owner of his: what that prints is not told as what was approved.
async fn a_job_of_what_nobody_approved(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = e.controller()?;
    let spec = scale_with(3, json!({ "approvalRequired": true, "reason": "play: foreign" }));
    let uid = e.execute("asked", spec).await?["metadata"]["uid"].clone();
    e.reason("asked", "AwaitingApproval").await?;
    let labels = json!({ "app.kubernetes.io/managed-by": "execution-controller" });
    let owner = json!({
        "apiVersion": format!("{GROUP}/v1alpha1"), "kind": "KubernetesExecution", "name": "asked", "uid": uid, "controller": true,
    });
    let containers = json!([{ "name": "executor", "image": "x" }]);
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "asked-job", "labels": labels, "ownerReferences": [owner] },
        "spec": { "template": { "metadata": { "labels": labels }, "spec": { "restartPolicy": "Never", "containers": containers } } },
    });
    e.world.create(&e.world.path("batch/v1", "jobs"), &job).await?;
    let asked = e.ended("asked").await?;
    ensure!(asked["status"]["phase"] == "Failed" && asked["status"]["reason"] == "NameTaken", "{asked:#}");
    ensure!(asked["status"]["message"].as_str().is_some_and(|text| text.contains("nobody has approved")), "{asked:#}");
    ensure!(asked["status"]["attempts"].is_null(), "an attempt that nobody made: {asked:#}");
    // Under another kind a UID says nothing.
    let spec = scale_with(3, json!({ "suspend": true }));
    let uid = e.execute("waits", spec).await?["metadata"]["uid"].clone();
    e.reason("waits", "Suspended").await?;
    let mut disguised = job.clone();
    disguised["metadata"]["name"] = json!("waits-job");
    disguised["metadata"]["ownerReferences"] =
        json!([{ "apiVersion": "x.example/v1", "kind": "Foo", "name": "waits", "uid": uid, "controller": true }]);
    e.world.create(&e.world.path("batch/v1", "jobs"), &disguised).await?;
    e.patch("waits", json!({ "spec": { "suspend": false } })).await?;
    let waits = e.ended("waits").await?;
    ensure!(waits["status"]["reason"] == "NameTaken" && waits["status"]["attempts"].is_null(), "{waits:#}");
    ensure!(waits["status"]["message"].as_str().is_some_and(|text| text.contains("belongs to Foo waits")), "{waits:#}");
    controller.stop().await
}

async fn not_started_in_time(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = e.controller()?;
    e.execute("late", scale_with(3, json!({ "suspend": true, "startingDeadlineSeconds": 1 }))).await?;
    let late = e.ended("late").await?;
    ensure!(late["status"]["phase"] == "Failed" && late["status"]["reason"] == "NotStarted", "{late:#}");
    ensure!(e.jobs_created().await?.is_empty() && e.replicas().await? == 1, "something was started");
    controller.stop().await
}

async fn its_time_is_over(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = e.controller()?;
    e.execute("stays", scale(2)).await?;
    e.ended("stays").await?;
    e.execute("goes", scale_with(3, json!({ "ttlSecondsAfterFinished": 1 }))).await?;
    e.world.gone(&e.execution("goes")).await?;
    e.world.gone(&format!("{}/goes-job", e.world.path("batch/v1", "jobs"))).await?;
    ensure!(e.replicas().await? == 3, "it was deleted before it was done");
    e.world.get(&e.execution("stays")).await?;
    controller.stop().await
}

async fn a_policy_of_the_operator(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let folder = e.world.folder().join("policies");
    std::fs::create_dir(&folder)?;
    let policy = "package action.policy\ndeny contains \"not more than 5\" if input.parameters.replicas > 5\n";
    std::fs::write(folder.join("limit.rego"), policy)?;
    let folder = folder.to_str().context("no text")?;
    let controller = e.controller_with(&e.kubeconfig, &["--policy-dir", folder])?;
    e.execute("many", scale(6)).await?;
    let many = e.ended("many").await?;
    check(&many, "Failed", "Refused", "none")?;
    ensure!(many["status"]["message"].as_str().is_some_and(|text| text.contains("not more than 5")), "{many:#}");
    ensure!(e.replicas().await? == 1, "it was scaled");
    e.execute("few", scale(3)).await?;
    check(&e.ended("few").await?, "Completed", "Changed", "applied")?;
    controller.stop().await
}

/// The first pod is killed after it has evicted the target, before it could say so: the second one must not evict the pod that
/// came in its place.
async fn a_pod_is_restarted_once(e: E) -> Result<()> {
    e.world.workload("StatefulSet", "db", 1, json!({})).await?;
    let pod = e.world.path("v1", "pods") + "/db-0";
    let before = e.world.get(&pod).await?["metadata"]["uid"].clone();
    let controller = e.controller()?;
    let restart =
        json!({ "type": "restart-pod", "parameters": { "settle": "1s" }, "target": { "resourceName": "db-0" } });
    e.execute("again", json!({ "action": restart, "reason": "play: first mute" })).await?;
    let again = e.ended("again").await?;
    // The first runner said nothing: what it did is unknown, or the second one found out that it had been done.
    let effect = &again["status"]["result"]["effect"];
    ensure!(again["status"]["phase"] == "Completed" && (*effect == "applied" || *effect == "unknown"), "{again:#}");
    ensure!(again["status"]["attempts"].as_array().is_some_and(|all| all.len() == 2), "{again:#}");
    let after = e.world.get(&pod).await?;
    ensure!(after["metadata"]["uid"] != before, "it was not restarted");
    let pinned = &again["metadata"]["annotations"]["kubernetesexecution.kubernaut.io/target-uid"];
    let wanted = format!("{}/{}", text(&again["metadata"]["uid"]), text(&before));
    ensure!(*pinned == wanted, "pinned {pinned}, was {wanted}");
    let evictions = e.evictions().await?;
    ensure!(evictions == 1, "{evictions} evictions");
    controller.stop().await
}

/// Settings have one spelling for each action type, an execution may have others: what is not repeatable stays so.
async fn not_repeatable_however_it_is_asked_for(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let settings = e.world.folder().join("settings.yaml");
    std::fs::write(&settings, "notRepeatable: [scale-deployment]\n")?;
    let controller = e.controller_with(&e.kubeconfig, &["--settings", settings.to_str().context("no text")?])?;
    let spellings = [("scale", json!("Deployment")), ("scale-deploy", Value::Null), ("scale-deployments", Value::Null)];
    for (number, (action_type, kind)) in spellings.into_iter().enumerate() {
        let name = format!("up-{number}");
        let target = json!({ "resourceKind": kind, "resourceName": "web" });
        let action = json!({ "type": action_type, "parameters": { "replicas": 3 }, "target": target });
        e.execute(&name, json!({ "action": action, "reason": "play: exit 137" })).await?;
        let up = e.ended(&name).await?;
        check(&up, "Failed", "NoResult", "unknown").with_context(|| action_type.to_owned())?;
        ensure!(up["status"]["attempts"].as_array().is_some_and(|all| all.len() == 1), "tried twice: {up:#}");
    }
    ensure!(e.jobs_created().await?.len() == 3, "{:?}", e.jobs_created().await?);
    controller.stop().await
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn restart_db() -> Value {
    json!({ "type": "restart-pod", "parameters": { "settle": "1s" }, "target": { "resourceName": "db-0" } })
}

/// Made again from what `kubectl get --output yaml` shows: it is about the pod of now, and not done because the first one did it.
async fn a_copy_is_about_the_pod_that_is_there(e: E) -> Result<()> {
    e.world.workload("StatefulSet", "db", 1, json!({})).await?;
    let pod = e.world.path("v1", "pods") + "/db-0";
    let controller = e.controller()?;
    e.execute("first", json!({ "action": restart_db() })).await?;
    let first = e.ended("first").await?;
    check(&first, "Completed", "Changed", "applied")?;
    let before = e.world.get(&pod).await?["metadata"]["uid"].clone();
    let copy = json!({
        "apiVersion": first["apiVersion"], "kind": first["kind"], "spec": first["spec"],
        "metadata": { "name": "second", "annotations": first["metadata"]["annotations"] },
    });
    e.world.create(&e.executions(), &copy).await?;
    check(&e.ended("second").await?, "Completed", "Changed", "applied")?;
    ensure!(e.world.get(&pod).await?["metadata"]["uid"] != before, "the copy restarted nothing");
    ensure!(e.evictions().await? == 2, "not one eviction each");
    controller.stop().await
}

/// Somebody replaces the object between two attempts: which pod was meant is not known any more, and no other one is evicted.
async fn what_was_pinned_is_taken_away(e: E) -> Result<()> {
    e.world.workload("StatefulSet", "db", 1, json!({})).await?;
    let controller = e.controller_with(&e.kubeconfig, &["--backoff", "30s"])?;
    e.execute("up", json!({ "action": restart_db(), "reason": "play: first mute" })).await?;
    e.phase("up", "Retrying").await?;
    e.world.merge(&e.execution("up"), &json!({ "metadata": { "annotations": null, "finalizers": null } })).await?;
    let up = e.ended("up").await?;
    ensure!(up["status"]["phase"] == "Failed" && up["status"]["reason"] == "TargetNotFound", "{up:#}");
    ensure!(up["status"]["message"].as_str().is_some_and(|text| text.contains("target-uid]: somebody")), "{up:#}");
    let evictions = e.evictions().await?;
    ensure!(evictions == 1, "{evictions} evictions");
    ensure!(e.jobs_created().await? == ["up-job"], "{:?}", e.jobs_created().await?);
    controller.stop().await
}

/// Two namespaces and one place: the end in one of them is the turn of the other one, and not a minute later.
async fn namespaces_share_places(e: E) -> Result<()> {
    let other = E::new(&e.world.connection, "other").await?;
    let outcome = share_places(&e, &other).await;
    other.end(outcome).await
}

async fn share_places(e: &E, other: &E) -> Result<()> {
    e.bind_everywhere().await?;
    for one in [e, other] {
        one.world.workload("Deployment", "web", 1, json!({})).await?;
    }
    let namespaces = format!("--namespaces={},{}", e.world.namespace, other.world.namespace);
    let controller = e.controller_with(&e.kubeconfig, &["--max-active=1", &namespaces])?;
    e.execute("first", scale_with(2, json!({ "reason": "play: hang" }))).await?;
    e.phase("first", "Executing").await?;
    other.execute("second", scale(3)).await?;
    other.reason("second", "Queued").await?;
    e.patch("first", json!({ "spec": { "cancel": true } })).await?;
    e.ended("first").await?;
    let began = std::time::Instant::now();
    let starts = |one: &Value| one["status"]["reason"] != "Queued";
    other.world.until(&other.execution("second"), "its turn", starts).await?;
    ensure!(began.elapsed() < std::time::Duration::from_secs(40), "it waited for {:?}", began.elapsed());
    check(&other.ended("second").await?, "Completed", "Changed", "applied")?;
    controller.stop().await
}

/// Its annotations are as long as they may be, so that ours have no place: it ends, and says why.
async fn one_that_cannot_be_held(e: E) -> Result<()> {
    let controller = e.controller()?;
    let object = json!({
        "apiVersion": format!("{GROUP}/v1alpha1"), "kind": "KubernetesExecution",
        "metadata": { "name": "long", "annotations": { "a": "x".repeat((256 << 10) - 8) } }, "spec": scale(3),
    });
    e.world.create(&e.executions(), &object).await?;
    let long = e.ended("long").await?;
    ensure!(
        long["status"]["phase"] == "Failed" && long["status"]["reason"] == "InvalidRequest",
        "{:#}",
        long["status"]
    );
    let says = long["status"]["message"].as_str().unwrap_or_default();
    ensure!(says.contains("cannot be held") && says.contains("annotations"), "{says}");
    ensure!(e.jobs_created().await?.is_empty(), "something was started");
    controller.stop().await
}

/// A quota refuses the Job of what is not repeatable, whose intent is written each time before: that it was written is no reason
/// to try again at once.
async fn refused_and_not_repeatable(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let quota = json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "none" }, "spec": { "hard": { "count/jobs.batch": "0" } } });
    let quotas = e.world.path("v1", "resourcequotas");
    e.world.create(&quotas, &quota).await?;
    e.world.until(&format!("{quotas}/none"), "in force", |one| one["status"]["hard"].is_object()).await?;
    let settings = e.world.folder().join("settings.yaml");
    std::fs::write(&settings, "notRepeatable: [scale]\n")?;
    let controller = e.controller_with(&e.kubeconfig, &[&format!("--settings={}", settings.display())])?;
    e.execute("up", scale(3)).await?;
    e.reason("up", "JobRefused").await?;
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    let tries = e.requests().await?.iter().filter(|one| one.verb == "create" && one.resource == "jobs").count();
    // After 0.5, 1, 2, 4 and 8 s.
    ensure!((3..=6).contains(&tries), "{tries} tries in ten seconds");
    e.world.delete(&format!("{quotas}/none")).await?;
    check(&e.ended("up").await?, "Completed", "Changed", "applied")?;
    controller.stop().await
}

/// Made again under a name whose Job somebody's finalizer keeps: it says so, can be cancelled, and runs when the other Job is gone.
async fn an_earlier_job_by_its_name(e: E) -> Result<()> {
    let controller = e.controller()?;
    let job = leaves_its_job(&e).await?;
    for cancelled in [true, false] {
        e.execute("up", scale(3)).await?;
        let up = e.reason("up", "NameTaken").await?;
        ensure!(up["status"]["phase"] == "Pending", "{up:#}");
        if cancelled {
            e.patch("up", json!({ "spec": { "cancel": true } })).await?;
            ensure!(e.ended("up").await?["status"]["phase"] == "Cancelled", "it was not cancelled");
            e.world.delete(&e.execution("up")).await?;
            e.world.gone(&e.execution("up")).await?;
        }
    }
    e.world.merge(&job, &json!({ "metadata": { "finalizers": null } })).await?;
    check(&e.ended("up").await?, "Completed", "Changed", "applied")?;
    controller.stop().await
}

/// An execution that is gone, and whose Job is not: something holds it. Returns its path.
async fn leaves_its_job(e: &E) -> Result<String> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    e.execute("up", scale(2)).await?;
    e.ended("up").await?;
    let job = format!("{}/up-job", e.world.path("batch/v1", "jobs"));
    e.world.merge(&job, &json!({ "metadata": { "finalizers": ["test.example/keep"] } })).await?;
    e.world.delete(&e.execution("up")).await?;
    e.world.gone(&e.execution("up")).await?;
    Ok(job)
}

/// Its intent is written before its Job is sent, and taken back: the API server has said that nothing was created.
async fn an_earlier_job_and_not_repeatable(e: E) -> Result<()> {
    let settings = e.world.folder().join("settings.yaml");
    std::fs::write(&settings, "notRepeatable: [scale]\n")?;
    let controller = e.controller_with(&e.kubeconfig, &[&format!("--settings={}", settings.display())])?;
    let job = leaves_its_job(&e).await?;
    e.execute("up", scale(3)).await?;
    let up = e.reason("up", "NameTaken").await?;
    let status = &up["status"];
    ensure!(status["phase"] == "Pending" && status["startTime"].is_null() && status["jobName"].is_null(), "{up:#}");
    let written = e.statuses_written().await?;
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    ensure!(e.statuses_written().await? == written, "nothing is new, and it is written again and again");
    e.world.merge(&job, &json!({ "metadata": { "finalizers": null } })).await?;
    check(&e.ended("up").await?, "Completed", "Changed", "applied")?;
    controller.stop().await
}

/// A quota refuses the second attempt in one namespace: its place is another's meanwhile, and it goes on when it may.
async fn a_retry_that_is_refused(e: E) -> Result<()> {
    let other = E::new(&e.world.connection, "others").await?;
    let outcome = refused_retry(&e, &other).await;
    other.end(outcome).await
}

async fn refused_retry(e: &E, other: &E) -> Result<()> {
    e.bind_everywhere().await?;
    for one in [e, other] {
        one.world.workload("Deployment", "web", 1, json!({})).await?;
    }
    let namespaces = format!("--namespaces={},{}", e.world.namespace, other.world.namespace);
    let controller = e.controller_with(&e.kubeconfig, &["--max-active=1", "--backoff=10s", &namespaces])?;
    e.execute("first", scale_with(3, json!({ "reason": "play: first hang" }))).await?;
    let pod = e.runs("first-job").await?;
    let quota = json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "none" }, "spec": { "hard": { "count/jobs.batch": "0" } } });
    let quotas = e.world.path("v1", "resourcequotas");
    e.world.create(&quotas, &quota).await?;
    e.world.until(&format!("{quotas}/none"), "in force", |one| one["status"]["hard"].is_object()).await?;
    // Its pod is killed, now that the quota is in force.
    e.world.delete(&pod).await?;
    e.phase("first", "Retrying").await?;
    other.execute("second", scale(3)).await?;
    let first = e.reason("first", "JobRefused").await?;
    ensure!(first["status"]["phase"] == "Retrying", "{first:#}");
    check(&other.ended("second").await?, "Completed", "Changed", "applied")?;
    ensure!(e.jobs_created().await? == ["first-job"], "it was not refused: this shows nothing");
    e.world.delete(&format!("{quotas}/none")).await?;
    let first = e.ended("first").await?;
    check(&first, "Completed", "Changed", "applied")?;
    ensure!(first["status"]["attempts"].as_array().is_some_and(|all| all.len() == 2), "{first:#}");
    controller.stop().await
}
