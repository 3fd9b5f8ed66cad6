//! Names that are long, dotted, taken or used twice; texts that Kubernetes or a shell would read differently.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::support::{E, check, scale, scale_with, scenarios};

scenarios!("names": long_and_dotted, somebody_elses_job, replaced_by_somebody_elses, deleted_and_made_again, a_job_relabelled_by_hand, a_pod_relabelled_by_hand,
    text_arrives_as_it_was_written, too_much_text, as_much_text_as_may_be, nested_too_deeply);

async fn long_and_dotted(e: E) -> Result<()> {
    let controller = e.controller()?;
    let names =
        ["x".repeat(63), "y".repeat(200), format!("a.{}.b", "z".repeat(59)), "a.b".to_owned(), "a-b".to_owned()];
    for (number, name) in names.iter().enumerate() {
        let web = format!("web-{number}");
        e.world.workload("Deployment", &web, 1, json!({})).await?;
        let mut spec = scale(2);
        spec["action"]["target"]["resourceName"] = json!(web);
        e.execute(name, spec).await?;
    }
    for name in &names {
        check(&e.ended(name).await?, "Completed", "Changed", "applied")?;
    }
    let mut jobs = e.jobs_created().await?;
    ensure!(jobs.len() == names.len() && jobs.iter().all(|name| name.len() <= 63 && !name.contains('.')), "{jobs:?}");
    jobs.dedup();
    ensure!(jobs.len() == names.len(), "two share a Job: {jobs:?}");
    controller.stop().await
}

/// A Job of somebody else has the name: nothing is started, and that Job is left alone.
async fn somebody_elses_job(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let path = e.world.path("batch/v1", "jobs");
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "up-job", "labels": { "app.kubernetes.io/managed-by": "execution-controller" } },
        "spec": { "suspend": true, "template": { "spec": { "restartPolicy": "Never", "containers": [{ "name": "executor", "image": "x" }] } } },
    });
    let before = e.world.create(&path, &job).await?;
    let controller = e.controller()?;
    e.execute("up", scale(3)).await?;
    let up = e.ended("up").await?;
    ensure!(up["status"]["phase"] == "Failed" && up["status"]["reason"] == "NameTaken", "{up:#}");
    ensure!(up["status"]["message"].as_str().is_some_and(|text| text.contains("up-job")), "{up:#}");
    let after = e.world.get(&format!("{path}/up-job")).await?;
    ensure!(after["metadata"]["uid"] == before["metadata"]["uid"] && after["spec"] == before["spec"], "it was touched");
    ensure!(e.replicas().await? == 1, "something was started");
    controller.stop().await
}

/// The Job of an attempt makes way for one of somebody else: what the attempt did is not known, and the next one is not his.
async fn replaced_by_somebody_elses(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = e.controller()?;
    e.execute("up", scale_with(3, json!({ "reason": "play: first hang" }))).await?;
    e.world.until(&e.execution("up"), "a Job", |one| one["status"]["jobUID"].is_string()).await?;
    controller.stop().await?;
    let path = e.world.path("batch/v1", "jobs");
    e.world.delete(&format!("{path}/up-job?propagationPolicy=Background")).await?;
    e.world.gone(&format!("{path}/up-job")).await?;
    let containers = json!([{ "name": "x", "image": "x" }]);
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "up-job" },
        "spec": { "suspend": true, "template": { "spec": { "restartPolicy": "Never", "containers": containers } } },
    });
    e.world.create(&path, &job).await?;
    let controller = e.controller()?;
    let up = e.ended("up").await?;
    check(&up, "Completed", "Changed", "applied")?;
    let attempts = up["status"]["attempts"].as_array().context("no attempts")?;
    ensure!(attempts.len() == 2 && attempts[0]["code"] == "NoResult" && attempts[1]["jobName"] == "up-job-2", "{up:#}");
    ensure!(e.replicas().await? == 3, "it was not scaled");
    controller.stop().await
}

/// Deleted while it runs, and made again at once under the same name: two executions, a Job for each, one after the other.
async fn deleted_and_made_again(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = e.controller()?;
    let first = e.execute("up", scale_with(2, json!({ "reason": "play: hang" }))).await?;
    e.phase("up", "Executing").await?;
    e.world.delete(&format!("{}?propagationPolicy=Background", e.execution("up"))).await?;
    e.world.gone(&e.execution("up")).await?;
    let second = e.execute("up", scale(3)).await?;
    let up = e.ended("up").await?;
    check(&up, "Completed", "Changed", "applied")?;
    ensure!(
        up["metadata"]["uid"] == second["metadata"]["uid"] && second["metadata"]["uid"] != first["metadata"]["uid"],
        "{up:#}"
    );
    ensure!(
        e.replicas().await? == 3 && e.jobs_created().await? == ["up-job", "up-job"],
        "{:?}",
        e.jobs_created().await?
    );
    controller.stop().await
}

/// Whose a Job is says its owner, not its labels. The watch loses it, and it is looked at all the same.
async fn a_job_relabelled_by_hand(e: E) -> Result<()> {
    relabelled(&e, "batch/v1", "jobs").await
}

async fn a_pod_relabelled_by_hand(e: E) -> Result<()> {
    relabelled(&e, "v1", "pods").await
}

async fn relabelled(e: &E, api_version: &str, plural: &str) -> Result<()> {
    let never = json!({ "spec": { "template": { "metadata": { "labels": { "test/mode": "never-ready" } } } } });
    e.world.create_workload("Deployment", "web", 1, never).await?;
    let controller = e.controller()?;
    e.execute("up", scale(3)).await?;
    let web = e.world.workload_path("Deployment", "web");
    e.world.until(&web, "scaled", |web| web["spec"]["replicas"] == 3).await?;
    e.phase("up", "Executing").await?;
    let path = e.world.path(api_version, plural);
    let list =
        e.world.get(&format!("{path}?labelSelector=app.kubernetes.io%2Fmanaged-by%3Dexecution-controller")).await?;
    let name = list["items"][0]["metadata"]["name"].as_str().context("none")?.to_owned();
    let labels = json!({ "metadata": { "labels": { "app.kubernetes.io/managed-by": "somebody" } } });
    e.world.merge(&format!("{path}/{name}"), &labels).await?;
    e.world
        .merge(&web, &json!({ "spec": { "template": { "metadata": { "labels": { "test/mode": null } } } } }))
        .await?;
    check(&e.ended("up").await?, "Completed", "Changed", "applied")?;
    ensure!(e.jobs_created().await? == ["up-job"], "{:?}", e.jobs_created().await?);
    controller.stop().await
}

/// `$(NAME)` is not expanded by the kubelet, and nothing else is read differently.
async fn text_arrives_as_it_was_written(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = e.controller()?;
    let reason = "costs $5 \"$(ACTION_ID)\" $$(X) ${Y} `z` 'and' more";
    e.execute("up", scale_with(3, json!({ "reason": reason }))).await?;
    check(&e.ended("up").await?, "Completed", "Changed", "applied")?;
    let job = e.world.get(&format!("{}/up-job", e.world.path("batch/v1", "jobs"))).await?;
    let variables = job["spec"]["template"]["spec"]["containers"][0]["env"].as_array().context("no variables")?;
    let value = variables.iter().find(|one| one["name"] == "ACTION_REASON").context("no reason")?;
    ensure!(value["value"] == reason.replace('$', "$$"), "{value}");
    // What a terminal would obey is refused before anything starts.
    e.execute("lines", scale_with(4, json!({ "reason": "disk\nfull" }))).await?;
    let lines = e.ended("lines").await?;
    ensure!(
        lines["status"]["phase"] == "Failed"
            && lines["status"]["message"].as_str().is_some_and(|text| text.contains("spec.reason: expected one line")),
        "{lines:#}"
    );
    ensure!(e.jobs_created().await? == ["up-job"] && e.replicas().await? == 3, "something was started");
    controller.stop().await
}

/// Nearly 100 KiB of conditions, and as much of parameters: what the API server takes, the kernel and the runner take too.
async fn as_much_text_as_may_be(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = e.controller()?;
    let rego = format!("package c\nallow := true\n# {}", "x".repeat(16_200));
    let many: Vec<Value> = (0..6).map(|number| json!({ "type": format!("c{number}"), "rego": rego })).collect();
    ensure!(json!(many).to_string().len() > 97_000, "too little");
    e.execute("up", scale_with(3, json!({ "preConditions": many }))).await?;
    let up = e.ended("up").await?;
    check(&up, "Completed", "Changed", "applied")?;
    let results = up["status"]["validationResults"]["preConditionResults"].as_array().context("no results")?;
    ensure!(results.len() == 6 && results.iter().all(|one| one["passed"] == true), "{results:?}");
    ensure!(e.replicas().await? == 3, "it was not scaled");
    // The same of parameters is only too much for the action itself, which has no such field; a byte more is too much at all.
    for (name, length, says) in [("odd", 102_000, "unknown field"), ("long", 102_400, "expected at most 102400 bytes")]
    {
        let mut spec = scale(4);
        spec["action"]["parameters"]["x"] = json!("y".repeat(length));
        e.execute(name, spec).await?;
        let ended = e.ended(name).await?;
        ensure!(ended["status"]["reason"] == "InvalidRequest", "{name}: {}", ended["status"]);
        ensure!(ended["status"]["message"].as_str().is_some_and(|text| text.contains(says)), "{}", ended["status"]);
    }
    ensure!(e.jobs_created().await? == ["up-job"], "something else was started");
    controller.stop().await
}

async fn too_much_text(e: E) -> Result<()> {
    let controller = e.controller()?;
    let rego = format!("package c\nallow := true\n# {}", "x".repeat(16_000));
    let condition = json!({ "type": "rego", "rego": rego });
    let many: Vec<Value> = (0..8).map(|_| condition.clone()).collect();
    e.execute("up", scale_with(3, json!({ "preConditions": many }))).await?;
    let up = e.ended("up").await?;
    ensure!(up["status"]["reason"] == "InvalidRequest", "{up:#}");
    ensure!(
        up["status"]["message"]
            .as_str()
            .is_some_and(|text| text.contains("spec.preConditions") && text.contains("102400")),
        "{up:#}"
    );
    ensure!(e.jobs_created().await?.is_empty(), "it was started");
    controller.stop().await
}

/// Nobody's parameters, in a list with others: they are refused, and the others are carried out.
async fn nested_too_deeply(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    for (name, levels) in [("deep", 150), ("deeper", 2_000), ("shallow", 33)] {
        let nested = (0..levels).fold(json!(1), |inner, _| json!({ "a": inner }));
        let mut spec = scale(5);
        spec["action"]["parameters"]["x"] = nested;
        // What it answers with is too deep for this test's own client.
        drop(e.execute(name, spec).await);
    }
    e.execute("up", scale(3)).await?;
    // They are there when it lists first, which is when one page of them would stop all.
    let controller = e.controller()?;
    check(&e.ended("up").await?, "Completed", "Changed", "applied")?;
    for name in ["deep", "deeper", "shallow"] {
        let limit = std::time::Instant::now() + std::time::Duration::from_mins(1);
        let mut text = String::new();
        while !text.contains("\"settled\":true") {
            ensure!(std::time::Instant::now() < limit, "{name} did not end: {text}");
            text = e.world.text(&e.execution(name)).await?;
        }
        ensure!(text.contains("\"reason\":\"InvalidRequest\"") && text.contains("32 levels of nesting"), "{text}");
    }
    ensure!(e.jobs_created().await? == ["up-job"] && e.replicas().await? == 3, "something else was started");
    controller.stop().await
}
