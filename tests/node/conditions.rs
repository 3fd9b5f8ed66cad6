//! Policies from a mounted ConfigMap and conditions, as Jobs: under the account that `rbac --conditions` prints, in 64 Mi
//! together with the child that evaluates them.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::limits::fits;
use crate::support::{Ended, N, expect, scenarios};

scenarios!("conditions": hold_before_and_after, a_mounted_policy_denies, a_module_that_grows_does_not_take_the_pod_with_it);

/// Every ready condition that makes sense for a scale.
fn every_condition() -> Value {
    let by_name =
        |names: &[&str]| names.iter().map(|name| json!({ "type": name, "timeout": "20s" })).collect::<Value>();
    json!({
        "preconditions": by_name(&[
            "target_exists", "deployment_exists", "cluster_capacity_available", "node_selector_matches", "image_pull_secrets_valid",
            "quota_available", "no_autoscaler",
        ]),
        "postconditions": by_name(&[
            "desired_replicas_running", "deployment_health_check", "rollout_settled", "no_crashloop_pods", "no_image_pull_errors",
            "no_unschedulable_pods",
        ]),
    })
}

/// Runs a Job to its end; what its pod's cgroup held at the most.
async fn run(n: &N, name: &str, job: &mut Value) -> Result<(Ended, u64)> {
    job["metadata"]["name"] = json!(name);
    let job_name = n.start("scale-deployment", job).await?;
    let pod = n.pod_of(&job_name).await?;
    let peak = n.peak_until_its_end(&pod).await?;
    Ok((n.ended(&pod).await?, peak))
}

async fn hold_before_and_after(n: N) -> Result<()> {
    n.world.workload("Deployment", "web", 1, json!({})).await?;
    let conditions = every_condition();
    n.allow("scale-deployment", &conditions).await?;
    let (before, after) = (conditions["preconditions"].to_string(), conditions["postconditions"].to_string());
    let mut job =
        n.job("scale-deployment", "web", &[("ACTION_PRECONDITIONS", &before), ("ACTION_POSTCONDITIONS", &after)])?;
    let (ended, peak) = run(&n, "conditions-hold", &mut job).await?;
    expect(&ended, "Changed", "applied", "5 of 5 replicas ready")?;
    for (field, count) in [("preConditionResults", 7), ("postConditionResults", 6)] {
        let results = ended.result[field].as_array().cloned().unwrap_or_default();
        ensure!(results.len() == count && results.iter().all(|one| one["passed"] == true), "{:#}", ended.result);
    }
    fits("13 conditions around a scale", peak)?;
    // The same, where one of them does not hold.
    n.world
        .merge(
            &n.world.workload_path("Deployment", "web"),
            &json!({ "spec": { "template": { "spec": { "imagePullSecrets": [{ "name": "absent" }] } } } }),
        )
        .await?;
    let parameters = json!({ "replicas": 7 }).to_string();
    let mut job =
        n.job("scale-deployment", "web", &[("ACTION_PRECONDITIONS", &before), ("ACTION_PARAMETERS", &parameters)])?;
    let (ended, _) = run(&n, "conditions-fail", &mut job).await?;
    expect(&ended, "Refused", "none", "precondition image_pull_secrets_valid does not hold: there is no Secret absent")
}

/// The policy of the documentation, as the documentation mounts it.
async fn a_mounted_policy_denies(n: N) -> Result<()> {
    n.world.workload("Deployment", "web", 1, json!({})).await?;
    let rego = include_str!("../../docs/examples/policies/production.rego");
    let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "action-policy" }, "data": { "production.rego": rego } });
    n.world.create(&n.world.path("v1", "configmaps"), &map).await?;
    let mut job = n.job("scale-deployment", "web", &[("ACTION_POLICY_DIR", "/policies")])?;
    let pod = &mut job["spec"]["template"]["spec"];
    pod["volumes"] = json!([{ "name": "policies", "configMap": { "name": "action-policy" } }]);
    pod["containers"][0]["volumeMounts"] = json!([{ "name": "policies", "mountPath": "/policies", "readOnly": true }]);
    let (ended, _) = run(&n, "policy-denies", &mut job).await?;
    expect(&ended, "Refused", "none", "from 1 to 5 replicas is more than twice as many")?;
    ensure!(ended.terminated["exitCode"] == 3, "{:#}", ended.terminated);
    Ok(())
}

async fn a_module_that_grows_does_not_take_the_pod_with_it(n: N) -> Result<()> {
    n.world.workload("Deployment", "web", 1, json!({})).await?;
    for (name, rego, says) in [
        (
            "grows",
            "package a\nx := numbers.range(1, 2000)\nallow if count([[p, q] | some p in x; some q in x]) > 1",
            "it needs more than 40 MiB of memory",
        ),
        ("recurses", "package a\nf(x) := f(x + 1)\nallow if f(1)", "it recurses too deeply"),
        (
            "loops",
            "package a\nx := numbers.range(1, 9000)\nallow if count([1 | some p in x; some q in x; p * q == 7]) == 2",
            "it took more than 5 s of processor time",
        ),
    ] {
        let conditions = json!([{ "type": name, "rego": rego }]).to_string();
        let mut job = n.job("scale-deployment", "web", &[("ACTION_PRECONDITIONS", &conditions)])?;
        let (ended, peak) = run(&n, name, &mut job).await?;
        expect(&ended, "Refused", "none", &format!("precondition {name} could not be evaluated: {says}"))?;
        ensure!(ended.terminated["reason"] != "OOMKilled", "{:#}", ended.terminated);
        fits(&format!("a condition that {name}"), peak)?;
    }
    Ok(())
}
