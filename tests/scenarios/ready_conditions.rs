//! Every ready condition in both directions, on real objects: it holds, and it fails for the reason it is there for.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::fixtures::{node, unique};
use test_cluster::runner::{Outcome, Run};

use crate::support::{METRICS, T, expect, mode, scenarios};

scenarios!("ready_conditions":
    before_a_scale, before_a_scale_that_has_no_room, before_anything, after_a_scale, usage_by_metrics, before_a_restart_or_rollback, of_nodes, the_last_node, of_logs,
);

/// Conditions by their names, which give up soon.
pub fn by_name(names: &[&str]) -> Value {
    within("3s", names)
}

fn within(time: &str, names: &[&str]) -> Value {
    names.iter().map(|name| json!({ "type": name, "timeout": time })).collect()
}

/// Whether all of these results passed, as many as there were conditions.
pub fn all_passed(outcome: &Outcome, field: &str, count: usize) -> Result<()> {
    let results = outcome.result[field].as_array().context("no results")?;
    let passed = results.iter().all(|one| one["evaluated"] == true && one["passed"] == true);
    ensure!(passed && results.len() == count, "{:#}\n{}", outcome.result, outcome.stderr);
    Ok(())
}

/// A precondition that stops the run for this reason, before anything was changed.
async fn refuses(t: &T, run: Run, name: &str, why: &str) -> Result<()> {
    let outcome = t.complete(&run.with("ACTION_PRECONDITIONS", by_name(&[name]))).await?;
    expect(&outcome, "Refused", "none", &format!("precondition {name} does not hold: ")).context(name.to_owned())?;
    let result = &outcome.result["preConditionResults"][0];
    let said = result["errorMessage"].as_str().unwrap_or_default();
    ensure!(said.contains(why), "{name}: expected {why:?} in {said:?}");
    ensure!(result["conditionType"] == name && result["evaluated"] == true && result["passed"] == false, "{result:#}");
    ensure!(outcome.result["failedPhase"] == "preconditions", "{:#}", outcome.result);
    Ok(())
}

/// A postcondition that fails the run for this reason, after the change.
async fn fails(t: &T, run: Run, name: &str, why: &str) -> Result<()> {
    // What it says is what its controller says in the end.
    let outcome = t.complete(&run.with("ACTION_POSTCONDITIONS", within("8s", &[name]))).await?;
    expect(&outcome, "NotVerified", "applied", &format!("postcondition {name} does not hold: "))?;
    let said = outcome.result["postConditionResults"][0]["errorMessage"].as_str().unwrap_or_default();
    ensure!(said.contains(why), "{name}: expected {why:?} in {said:?}");
    ensure!(outcome.result["failedPhase"] == "postconditions", "{:#}", outcome.result);
    Ok(())
}

const BEFORE_A_SCALE: [&str; 7] = [
    "target_exists",
    "deployment_exists",
    "cluster_capacity_available",
    "node_selector_matches",
    "image_pull_secrets_valid",
    "quota_available",
    "no_autoscaler",
];

/// A scale of a Deployment that an autoscaler may not stop.
async fn scale(t: &T, name: &str, replicas: u32) -> Result<Run> {
    let parameters = json!({ "replicas": replicas, "onAutoscaler": "ignore" });
    Ok(t.run("scale-deployment", name).await?.parameters(&parameters))
}

fn template(spec: Value) -> Value {
    json!({ "spec": { "template": { "spec": spec } } })
}

async fn before_a_scale(t: T) -> Result<()> {
    t.allow("scale-deployment", &by_name(&BEFORE_A_SCALE)).await?;
    let pull_secret = template(json!({ "imagePullSecrets": [{ "name": "registry" }] }));
    t.world.workload("Deployment", "web", 1, pull_secret).await?;
    refuses(&t, scale(&t, "web", 3).await?, "image_pull_secrets_valid", "there is no Secret registry").await?;
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "registry" }, "stringData": { "password": "hunter22" } });
    t.world.create(&t.world.path("v1", "secrets"), &secret).await?;
    let all = scale(&t, "web", 3).await?.with("ACTION_PRECONDITIONS", by_name(&BEFORE_A_SCALE));
    let outcome = t.complete(&all.with("ACTION_DRY_RUN", true)).await?;
    expect(&outcome, "DryRun", "none", "would scale")?;
    all_passed(&outcome, "preConditionResults", BEFORE_A_SCALE.len())?;

    let autoscaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": { "name": "web" },
        "spec": { "minReplicas": 1, "maxReplicas": 4, "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" } },
    });
    t.world.create(&t.world.path("autoscaling/v2", "horizontalpodautoscalers"), &autoscaler).await?;
    let run = scale(&t, "web", 3).await?;
    refuses(&t, run, "no_autoscaler", "HorizontalPodAutoscaler web sets its replicas (1 to 4)").await?;

    let quota = json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "small" }, "spec": { "hard": { "pods": "4" } } });
    let quotas = t.world.path("v1", "resourcequotas");
    t.world.create(&quotas, &quota).await?;
    t.world.until(&format!("{quotas}/small"), "counted", |quota| quota["status"]["used"]["pods"] == "1").await?;
    let why = "quota small leaves 3 of pods, and 8 more is needed";
    refuses(&t, scale(&t, "web", 9).await?, "quota_available", why).await
}

/// A full node: it has 64 cores, of which two pods more take 40 and four would take 80. And no node at all.
async fn before_a_scale_that_has_no_room(t: T) -> Result<()> {
    t.allow("scale-deployment", &by_name(&["cluster_capacity_available", "node_selector_matches"])).await?;
    let name = format!("node-{:08x}", unique());
    node(&t.world, &name, json!([{ "key": "test/own", "effect": "NoSchedule" }])).await?;
    let large = json!({
        "nodeSelector": { "kubernetes.io/hostname": name }, "tolerations": [{ "key": "test/own", "operator": "Exists" }],
        "containers": [{ "name": "app", "image": "shop/web:1", "resources": { "requests": { "cpu": "20" } } }],
    });
    t.world.workload("Deployment", "large", 1, template(large)).await?;
    let why = "4 more pods are asked for, and 1 of 1 nodes that they may go to have room for 2";
    refuses(&t, scale(&t, "large", 5).await?, "cluster_capacity_available", why).await?;
    let fits = scale(&t, "large", 3).await?.with("ACTION_PRECONDITIONS", by_name(&["cluster_capacity_available"]));
    expect(&t.complete(&fits).await?, "Changed", "applied", "3 of 3 replicas ready")?;

    let nowhere = template(json!({ "nodeSelector": { "no": "such-label" } }));
    t.world.create_workload("Deployment", "nowhere", 1, nowhere).await?;
    let why = "nodes is ready, not cordoned, tolerated";
    refuses(&t, scale(&t, "nowhere", 2).await?, "node_selector_matches", why).await
}

async fn before_anything(t: T) -> Result<()> {
    t.world.workload("StatefulSet", "db", 1, json!({})).await?;
    let other = t.run("scale-statefulset", "db").await?.parameters(&json!({ "replicas": 2 }));
    refuses(&t, other, "deployment_exists", "the target is a StatefulSet").await?;
    let kept = json!({ "metadata": { "finalizers": ["test/keep"] } });
    let path = t.world.create_workload("Deployment", "going", 1, kept).await?;
    t.world.delete(&path).await?;
    // What would change it is refused before any condition is asked; who only reads may want to know.
    let reads = t.run("collect-logs-deployment", "going").await?;
    refuses(&t, reads, "target_exists", "it is being deleted since 2").await?;
    t.world.merge(&path, &json!({ "metadata": { "finalizers": null } })).await.map(|_| ())
}

const AFTER_A_SCALE: [&str; 6] = [
    "desired_replicas_running",
    "deployment_health_check",
    "rollout_settled",
    "no_crashloop_pods",
    "no_image_pull_errors",
    "no_unschedulable_pods",
];

/// A workload's name, what makes it sick, how that shows in its pods, and what must be said of it.
type Sick = (&'static str, Value, fn(&Value) -> bool, &'static [(&'static str, &'static str)]);

async fn after_a_scale(t: T) -> Result<()> {
    t.allow("scale-deployment", &by_name(&AFTER_A_SCALE)).await?;
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    let run = t.run("scale-deployment", "web").await?.parameters(&json!({ "replicas": 3 }));
    let outcome = t.complete(&run.with("ACTION_POSTCONDITIONS", by_name(&AFTER_A_SCALE))).await?;
    expect(&outcome, "Changed", "applied", "3 of 3 replicas ready")?;
    all_passed(&outcome, "postConditionResults", AFTER_A_SCALE.len())?;
    let last = outcome.result["phases"].as_array().and_then(|phases| phases.last()).cloned().unwrap_or_default();
    ensure!(last["name"] == "postconditions", "{:#}", outcome.result);

    let restarts =
        |pods: &Value| pods["items"][0]["status"]["containerStatuses"][0]["restartCount"].as_i64() >= Some(2);
    let waits = |pods: &Value| pods["items"][0]["status"]["containerStatuses"][0]["state"]["waiting"].is_object();
    let refused = |pods: &Value| pods["items"][0]["status"]["conditions"][0]["reason"] == "Unschedulable";
    let there = |pods: &Value| pods["items"][0].is_object();
    let nowhere = json!({ "spec": { "template": { "spec": { "nodeSelector": { "no": "such-label" } } } } });
    let sick: [Sick; 4] = [
        (
            "unready",
            mode("never-ready"),
            there,
            &[
                ("desired_replicas_running", "0 of 2 pods are ready"),
                ("deployment_health_check", "it is not available"),
                ("rollout_settled", "of 2 pods 2 are updated, 0 available, and there are 2"),
            ],
        ),
        ("crashing", mode("crash-loop"), restarts, &[("no_crashloop_pods", "container app of pod crashing-")]),
        ("pulling", mode("image-pull"), waits, &[("no_image_pull_errors", "for the image shop/web:1")]),
        ("homeless", nowhere, refused, &[("no_unschedulable_pods", "pod homeless-")]),
    ];
    for (name, extra, is_sick, conditions) in sick {
        t.world.create_workload("Deployment", name, 1, extra).await?;
        let pods = format!("{}?labelSelector=app%3D{name}", t.world.path("v1", "pods"));
        t.world.until(&pods, "sick", is_sick).await?;
        for (condition, why) in conditions {
            t.meddle("Deployment", name, json!({ "spec": { "replicas": 1 } })).await?;
            let run = t.run("scale-deployment", name).await?.parameters(&json!({ "replicas": 2, "wait": false }));
            fails(&t, run, condition, why).await?;
        }
    }
    Ok(())
}

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// metrics.k8s.io as a custom resource: the control plane has no metrics server.
fn metrics_resource() -> Value {
    let schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "pods.metrics.k8s.io", "annotations": { "api-approved.kubernetes.io": "unapproved, for a test" } },
        "spec": { "group": "metrics.k8s.io", "scope": "Namespaced", "names": { "plural": "pods", "kind": "PodMetrics", "singular": "podmetrics" },
                  "versions": [{ "name": "v1beta1", "served": true, "storage": true, "schema": { "openAPIV3Schema": schema } }] },
    })
}

fn metrics_of(pod: &str, memory: &str) -> Value {
    json!({
        "apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetrics", "metadata": { "name": pod, "labels": { "app": "web" } },
        "containers": [{ "name": "app", "usage": { "cpu": "10m", "memory": memory } }],
    })
}

async fn usage_by_metrics(t: T) -> Result<()> {
    const NAME: &str = "resource_usage_acceptable";
    let _alone = METRICS.lock().await;
    t.allow("restart-deployment", &by_name(&[NAME])).await?;
    let limits = json!({ "resources": { "limits": { "memory": "100Mi" } }, "name": "app", "image": "shop/web:1" });
    let path = t
        .world
        .create_workload(
            "Deployment",
            "web",
            1,
            json!({ "spec": { "template": { "spec": { "containers": [limits] } } } }),
        )
        .await?;
    t.world.until(&path, "ready", |web| web["status"]["readyReplicas"] == 1).await?;
    let run = t.run("restart-deployment", "web").await?.with("ACTION_DRY_RUN", true);
    let none = t.complete(&run.clone().with("ACTION_PRECONDITIONS", by_name(&[NAME]))).await?;
    expect(
        &none,
        "Refused",
        "none",
        &format!(
            "precondition {NAME} could not be evaluated: input.related.usage is not there: this cluster serves no metrics.k8s.io"
        ),
    )?;
    ensure!(none.result["preConditionResults"][0]["evaluated"] == false, "{:#}", none.result);
    let optional = json!([{ "type": NAME, "required": false }]);
    let none = t.complete(&run.clone().with("ACTION_PRECONDITIONS", optional)).await?;
    expect(&none, "DryRun", "none", "would restart")?;
    ensure!(
        none.result["warnings"][0].as_str().is_some_and(|one| one.contains("no metrics server")),
        "{:#}",
        none.result
    );

    let pods = t.world.pods("web").await?;
    let pod = pods[0]["metadata"]["name"].as_str().context("no name")?.to_owned();
    t.world.create(CRDS, &metrics_resource()).await?;
    let metrics = t.world.path("metrics.k8s.io/v1beta1", "pods");
    t.world.until(&metrics, "served", |list| list["items"].is_array()).await?;
    refuses(&t, run.clone(), NAME, "there are no metrics of pod web-").await?;
    t.world.create(&metrics, &metrics_of(&pod, "50Mi")).await?;
    let calm = t.complete(&run.clone().with("ACTION_PRECONDITIONS", by_name(&[NAME]))).await?;
    expect(&calm, "DryRun", "none", "")?;
    all_passed(&calm, "preConditionResults", 1)?;
    t.world.merge(&format!("{metrics}/{pod}"), &metrics_of(&pod, "95Mi")).await?;
    refuses(&t, run, NAME, &format!("pod {pod} uses ")).await?;
    t.world.delete(&format!("{CRDS}/pods.metrics.k8s.io")).await
}

async fn before_a_restart_or_rollback(t: T) -> Result<()> {
    let conditions = by_name(&["rollout_settled", "disruption_allowed", "earlier_revision_exists"]);
    t.allow("restart-deployment", &by_name(&["rollout_settled", "disruption_allowed"])).await?;
    t.allow("rollback-deployment", &conditions).await?;
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    // Rolling back refuses by itself where there is nothing to go back to; `policy eval` shows what the condition says.
    let (shown, exit) = crate::conditions::evaluate(&t, "rollback-deployment", "web", &conditions).await?;
    ensure!(exit == 3 && shown["preConditionResults"][2]["errorMessage"] == "there are the revisions [1]", "{shown:#}");
    let restart = async || t.run("restart-deployment", "web").await;
    let held = t
        .complete(&restart().await?.with("ACTION_PRECONDITIONS", by_name(&["rollout_settled", "disruption_allowed"])))
        .await?;
    expect(&held, "Changed", "applied", "")?;
    all_passed(&held, "preConditionResults", 2)?;
    let budget = json!({ "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": "all" }, "spec": { "minAvailable": 2, "selector": { "matchLabels": { "app": "web" } } } });
    let budgets = t.world.path("policy/v1", "poddisruptionbudgets");
    t.world.create(&budgets, &budget).await?;
    t.world
        .until(&format!("{budgets}/all"), "counted", |budget| {
            budget["status"]["currentHealthy"] == 2 && budget["status"]["expectedPods"] == 2
        })
        .await?;
    refuses(
        &t,
        restart().await?,
        "disruption_allowed",
        "PodDisruptionBudget all allows no eviction: 2 of 2 pods are healthy, 2 must be",
    )
    .await?;
    t.world.delete(&format!("{budgets}/all")).await?;
    let second = t.run("rollback-deployment", "web").await?.with("ACTION_PRECONDITIONS", &conditions);
    // The two revisions differ by a restart alone.
    let back = t.complete(&second.parameters(&json!({ "toRevision": 1 }))).await?;
    expect(&back, "Changed", "applied", "")?;
    all_passed(&back, "preConditionResults", 3)?;
    t.meddle("Deployment", "web", mode("never-ready")).await?;
    t.world
        .until(&t.world.workload_path("Deployment", "web"), "under way", |web| {
            web["status"]["observedGeneration"] == web["metadata"]["generation"]
                && web["status"]["updatedReplicas"] == 1
        })
        .await?;
    refuses(&t, restart().await?, "rollout_settled", "of 2 pods 1 are updated").await
}

async fn of_nodes(t: T) -> Result<()> {
    let name = format!("node-{:08x}", unique());
    node(&t.world, &name, json!([{ "key": "test/own", "effect": "NoSchedule" }])).await?;
    t.allow("cordon-node", &by_name(&["other_node_schedulable", "other_nodes_have_room", "node_cordoned"])).await?;
    t.allow("uncordon-node", &by_name(&["node_schedulable"])).await?;
    let run = t
        .run("cordon-node", &name)
        .await?
        .with("ACTION_PRECONDITIONS", by_name(&["other_node_schedulable", "other_nodes_have_room"]));
    let outcome = t.complete(&run.with("ACTION_POSTCONDITIONS", by_name(&["node_cordoned"]))).await?;
    expect(&outcome, "Changed", "applied", "")?;
    all_passed(&outcome, "preConditionResults", 2)?;
    all_passed(&outcome, "postConditionResults", 1)?;
    let run = t.run("uncordon-node", &name).await?;
    let outcome = t.complete(&run.clone().with("ACTION_POSTCONDITIONS", by_name(&["node_schedulable"]))).await?;
    expect(&outcome, "Changed", "applied", "")?;
    all_passed(&outcome, "postConditionResults", 1)?;
    let run = t.run("cordon-node", &name).await?;
    fails(&t, run, "node_schedulable", "it is cordoned").await?;
    fails(&t, t.run("uncordon-node", &name).await?, "node_cordoned", "spec.unschedulable is not true").await
}

/// A cluster of its own, with one node: what others do on theirs must not change what is the last one.
async fn the_last_node(t: T) -> Result<()> {
    let Some(cluster) = t.own_cluster("ready_conditions::the_last_node")? else { return Ok(()) };
    let own = T::new(&cluster.connection, "the-last-node").await?;
    node(&own.world, "last", json!([])).await?;
    own.allow("cordon-node", &by_name(&["other_node_schedulable", "other_nodes_have_room"])).await?;
    let containers = json!([{ "name": "app", "image": "shop/web:1", "resources": { "requests": { "cpu": "2" } } }]);
    own.world
        .workload("Deployment", "web", 3, json!({ "spec": { "template": { "spec": { "containers": containers } } } }))
        .await?;
    let run = async || own.run("cordon-node", "last").await;
    refuses(&own, run().await?, "other_node_schedulable", "no other node is ready and schedulable").await?;
    refuses(&own, run().await?, "other_nodes_have_room", "its pods ask for 6 cpu, and the other nodes have 0 free")
        .await
}

async fn of_logs(t: T) -> Result<()> {
    t.allow("collect-logs-deployment", &by_name(&["pods_found"])).await?;
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    let run = t.run("collect-logs-deployment", "web").await?.with("ACTION_PRECONDITIONS", by_name(&["pods_found"]));
    let outcome = t.complete(&run.with("ACTION_DRY_RUN", true)).await?;
    all_passed(&outcome, "preConditionResults", 1)?;
    t.world.workload("Deployment", "none", 0, json!({})).await?;
    refuses(&t, t.run("collect-logs-deployment", "none").await?, "pods_found", "it has no pods").await
}
