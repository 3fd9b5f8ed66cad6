//! Policies from a mounted ConfigMap and conditions, as Jobs: under the account that `rbac --conditions` prints, in 64 Mi
//! together with the child that evaluates them.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::fixtures::{self, unique};

use crate::limits::fits;
use crate::support::{Ended, N, expect, scenarios};

scenarios!("conditions": hold_before_and_after, of_every_action, a_mounted_policy_denies, a_module_that_grows_does_not_take_the_pod_with_it);

fn by_name(names: &[&str], timeout: &str) -> Value {
    names.iter().map(|name| json!({ "type": name, "timeout": timeout })).collect()
}

/// Every ready condition that makes sense for a scale.
fn every_condition() -> Value {
    let within = |names: &[&str]| by_name(names, "20s");
    json!({
        "preconditions": within(&[
            "target_exists", "deployment_exists", "cluster_capacity_available", "node_selector_matches", "image_pull_secrets_valid",
            "quota_available", "no_autoscaler",
        ]),
        "postconditions": within(&[
            "desired_replicas_running", "deployment_health_check", "rollout_settled", "no_crashloop_pods", "no_image_pull_errors",
            "no_unschedulable_pods",
        ]),
    })
}

/// Runs a Job to its end; what its pod's cgroup held at the most.
async fn run(n: &N, name: &str, job: &mut Value) -> Result<(Ended, u64)> {
    run_action(n, "scale-deployment", name, job).await
}

async fn run_action(n: &N, action: &str, name: &str, job: &mut Value) -> Result<(Ended, u64)> {
    job["metadata"]["name"] = json!(name);
    let job_name = n.start(action, job).await?;
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

/// An action on a target with conditions before and after it, and what must come of it.
struct Case {
    action: &'static str,
    target: String,
    parameters: Value,
    before: &'static [&'static str],
    after: &'static [&'static str],
    code: &'static str,
    says: &'static str,
}

/// The conditions of the other actions, and those that fail for the real reason: a full cluster, a budget, a crash loop, no pods.
fn cases(node: &str) -> Vec<Case> {
    const STATE: &[&str] = &["no_crashloop_pods", "no_image_pull_errors", "no_unschedulable_pods"];
    const ROOM: &[&str] = &["other_node_schedulable", "other_nodes_have_room"];
    let case = |action, target: &str, before, after, code, says| Case {
        action,
        target: target.to_owned(),
        parameters: json!({}),
        before,
        after,
        code,
        says,
    };
    vec![
        case("cordon-node", node, ROOM, &["node_cordoned"], "Changed", "cordoned"),
        case("uncordon-node", node, &["target_exists"], &["node_schedulable"], "Changed", "uncordoned"),
        case("collect-logs-deployment", "web", &["pods_found"], &[], "Completed", "collected"),
        case("collect-logs-deployment", "large", &["pods_found"], &[], "Refused", "pods_found does not hold"),
        case("restart-deployment", "web", &["rollout_settled", "disruption_allowed"], STATE, "Changed", "restarted"),
        case("restart-deployment", "guarded", &["disruption_allowed"], &[], "Refused", "PodDisruptionBudget all"),
        // Its two revisions differ by a restart alone: it goes to one only when it is told to.
        Case {
            parameters: json!({ "toRevision": 1 }),
            ..case("rollback-deployment", "web", &["earlier_revision_exists"], STATE, "Changed", "rolled deployment")
        },
        Case {
            parameters: json!({ "replicas": 1 }),
            ..case("scale-deployment", "large", &["cluster_capacity_available"], &[], "Refused", "room for 0")
        },
        Case {
            parameters: json!({ "replicas": 2, "wait": false }),
            ..case("scale-deployment", "sick", &["target_exists"], STATE, "NotVerified", "no_crashloop_pods does not")
        },
    ]
}

async fn of_every_action(n: N) -> Result<()> {
    let node = format!("node-{:08x}", unique());
    make_targets(&n, &node).await?;
    let cases = cases(&node);
    for (index, case) in cases.iter().enumerate() {
        let of_action = cases.iter().filter(|other| other.action == case.action);
        let all = of_action.flat_map(|one| [one.before, one.after].concat()).collect::<Vec<_>>();
        n.allow_once(case.action, &by_name(&all, "5s")).await?;
        let (before, after) = (by_name(case.before, "5s").to_string(), by_name(case.after, "5s").to_string());
        let parameters = case.parameters.to_string();
        let variables =
            [("ACTION_PRECONDITIONS", &*before), ("ACTION_POSTCONDITIONS", &after), ("ACTION_PARAMETERS", &parameters)];
        let mut job = n.job(case.action, &case.target, &variables)?;
        let (ended, _) = run_action(&n, case.action, &format!("case-{index}"), &mut job).await?;
        let effect = if matches!(case.code, "Changed" | "NotVerified") { "applied" } else { "none" };
        expect(&ended, case.code, effect, case.says).with_context(|| format!("{} {}", case.action, case.target))?;
        let count = |field: &str| ended.result[field].as_array().map_or(0, Vec::len);
        let reached = if case.code == "Refused" { 0 } else { case.after.len() };
        let counts = (count("preConditionResults"), count("postConditionResults"));
        ensure!(counts == (case.before.len(), reached), "{:#}", ended.result);
    }
    Ok(())
}

async fn make_targets(n: &N, node: &str) -> Result<()> {
    fixtures::node(&n.world, node, json!([{ "key": "test/own", "effect": "NoSchedule" }])).await?;
    n.world.workload("Deployment", "web", 1, json!({})).await?;
    n.world.workload("Deployment", "guarded", 1, json!({})).await?;
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": "all" },
        "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "guarded" } } },
    });
    let budgets = n.world.path("policy/v1", "poddisruptionbudgets");
    n.world.create(&budgets, &budget).await?;
    n.world.until(&format!("{budgets}/all"), "counted", |budget| budget["status"]["currentHealthy"] == 1).await?;
    // No node has so many processors, and no pod of it is there.
    let containers = json!([{ "name": "app", "image": "shop/web:1", "resources": { "requests": { "cpu": "5000" } } }]);
    let large = json!({ "spec": { "template": { "spec": { "containers": containers } } } });
    let path = n.world.create_workload("Deployment", "large", 0, large).await?;
    n.world.until(&path, "observed", |large| large["status"]["observedGeneration"] == 1).await?;
    let crash = json!({ "spec": { "template": { "metadata": { "labels": { "test/mode": "crash-loop" } } } } });
    n.world.create_workload("Deployment", "sick", 1, crash).await?;
    let pods = format!("{}?labelSelector=app%3Dsick", n.world.path("v1", "pods"));
    let crashes = |pods: &Value| pods["items"][0]["status"]["containerStatuses"][0]["restartCount"].as_i64() >= Some(2);
    n.world.until(&pods, "crashing", crashes).await.map(|_| ())
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
            "it took ",
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
