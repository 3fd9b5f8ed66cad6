//! The executor as it is installed: its image, its manifests and its permissions, on a real node, with the runner's images.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::fixtures;
use tokio::sync::Mutex;

use crate::manifests::kubectl;
use crate::support::{N, scenarios};

scenarios!("executor": installed_used_and_removed, for_single_namespaces);

/// The same rules, bound in one namespace in place of everywhere, and the controller watches that one only.
async fn for_single_namespaces(n: N) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("controller/deploy/namespaced").display().to_string();
    let made = serde_saphyr::from_multiple::<Value>(&kubectl(&n, &["kustomize", &folder])?)?;
    let of = |kind: &str| made.iter().filter(|one| one["kind"] == kind).cloned().collect::<Vec<_>>();
    ensure!(of("ClusterRoleBinding").is_empty(), "bound everywhere");
    let bound: Vec<_> = of("RoleBinding").iter().map(|one| one["metadata"]["namespace"].clone()).collect();
    ensure!(bound.contains(&json!("shop")) && bound.contains(&json!("execution-controller")), "{bound:?}");
    for subject in of("RoleBinding").iter().map(|one| &one["subjects"][0]) {
        ensure!(subject["namespace"] == "execution-controller", "{subject}");
    }
    let arguments = &of("Deployment")[0]["spec"]["template"]["spec"]["containers"][0]["args"];
    ensure!(arguments.as_array().is_some_and(|all| all.contains(&json!("--namespaces=shop"))), "{arguments}");
    Ok(())
}

const GROUP: &str = "kubernetesexecution.kubernaut.io";

/// A kustomization of a user's own on top of what is shipped: settings, flags, and whatever else stands in one.
fn overlay(n: &N, settings: &Value, flags: &[&str], more: Value) -> Result<String> {
    let folder = n.world.folder().join("executor");
    fs::create_dir_all(&folder)?;
    let up = "../".repeat(folder.components().count() - 1);
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("controller/deploy/base").display().to_string();
    let arguments = flags
        .iter()
        .map(|flag| json!({ "op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": flag }));
    // JSON is YAML, also for the settings.
    let settings = json!([{ "op": "replace", "path": "/data/settings.yaml", "value": settings.to_string() }]);
    let patch = |kind: &str, patch: Value| json!({ "target": { "kind": kind, "name": "execution-controller" }, "patch": patch.to_string() });
    let mut text = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
        "resources": [format!("{up}{}", base.trim_start_matches('/'))],
        "patches": [patch("ConfigMap", settings), patch("Deployment", arguments.collect())],
    });
    fixtures::merge(&mut text, more);
    fs::write(folder.join("kustomization.yaml"), text.to_string())?;
    Ok(folder.display().to_string())
}

/// Installs the executor, uses it, and removes it. There is one at a time: its namespace has one name.
pub async fn with_executor(
    n: &N,
    settings: &Value,
    flags: &[&str],
    more: Value,
    used: impl AsyncFnOnce(&N) -> Result<()>,
) -> Result<()> {
    static INSTALLED: Mutex<()> = Mutex::const_new(());
    let _one = INSTALLED.lock().await;
    let overlay = overlay(n, settings, flags, more)?;
    // The definition has to be there before the API server takes objects of it; kubectl applies in the right order.
    kubectl(n, &["apply", "--validate=strict", "--kustomize", &overlay])?;
    let deployment = "/apis/apps/v1/namespaces/execution-controller/deployments/execution-controller";
    n.world.until(deployment, "ready", |one| one["status"]["readyReplicas"] == 2).await?;
    let outcome = used(n).await;
    if outcome.is_err() {
        let logs = kubectl(
            n,
            &[
                "logs",
                "--namespace=execution-controller",
                "--selector=app.kubernetes.io/name=execution-controller",
                "--tail=40",
            ],
        )?;
        return outcome.context(logs);
    }
    // As docs/executor.md says: first what it holds, then the rest.
    kubectl(n, &["delete", "kubernetesexecutions", "--all", "--all-namespaces", "--cascade=foreground"])?;
    kubectl(n, &["delete", "--kustomize", &overlay])?;
    n.world.gone("/api/v1/namespaces/execution-controller").await?;
    n.world
        .gone(&format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/kubernetesexecutions.{GROUP}"))
        .await?;
    n.world
        .until(&n.world.path("batch/v1", "jobs"), "no Job", |list| list["items"].as_array().is_some_and(Vec::is_empty))
        .await
        .map(|_| ())
}

/// Makes the accounts of these actions.
pub async fn accounts(n: &N, actions: &[&str]) -> Result<()> {
    for action in actions {
        n.world.account(&n.print(&["rbac", action])?).await?;
    }
    Ok(())
}

async fn installed_used_and_removed(n: N) -> Result<()> {
    let settings = json!({ "images": { "collect-logs": "127.0.0.1:1/none:1" } });
    with_executor(&n, &settings, &["--start-deadline=45s"], json!({}), used).await
}

async fn used(n: &N) -> Result<()> {
    accounts(n, &["scale-deployment", "restart-deployment", "collect-logs-pod"]).await?;
    carried_out(n).await.context("carried out")?;
    refused(n).await.context("refused")?;
    never_started(n).await.context("never started")?;
    evicted_twice(n).await.context("evicted twice")?;
    deleted(n).await.context("deleted")?;
    other_settings(n).await.context("other settings")
}

pub fn execution(n: &N, name: &str) -> String {
    format!("{}/{name}", n.world.path(&format!("{GROUP}/v1alpha1"), "kubernetesexecutions"))
}

pub async fn execute(n: &N, name: &str, spec: Value) -> Result<()> {
    let object = json!({ "apiVersion": format!("{GROUP}/v1alpha1"), "kind": "KubernetesExecution", "metadata": { "name": name }, "spec": spec });
    n.world.create(&n.world.path(&format!("{GROUP}/v1alpha1"), "kubernetesexecutions"), &object).await.map(|_| ())
}

pub async fn ended(n: &N, name: &str, phase: &str, code: &str, effect: &str) -> Result<Value> {
    let one = n.world.until(&execution(n, name), "settled", |one| one["status"]["settled"] == true).await?;
    let (status, result) = (&one["status"], &one["status"]["result"]);
    ensure!(
        status["phase"] == phase && result["code"] == code && result["effect"] == effect,
        "expected {phase}, {code}, {effect}: {status:#}"
    );
    Ok(one["status"].clone())
}

pub fn scale(target: &str, replicas: i64) -> Value {
    json!({ "action": { "type": "scale-deployment", "parameters": { "replicas": replicas, "settle": "1s" }, "target": { "resourceName": target } } })
}

/// Text arrives as it was written, through a kubelet that expands variables; and what the run cost is known.
async fn carried_out(n: &N) -> Result<()> {
    const REASON: &str = "costs $5 $(ACTION_ID) $$(X) $(NO_SUCH)";
    n.world.workload("Deployment", "web", 1, json!({})).await?;
    execute(n, "up", scale("web", 3)).await?;
    let status = ended(n, "up", "Completed", "Changed", "applied").await?;
    ensure!(status["result"]["usage"]["memoryPeakBytes"].as_u64().is_some_and(|bytes| bytes > 1 << 20), "{status:#}");
    let job = n.world.get(&format!("{}/up-job", n.world.path("batch/v1", "jobs"))).await?;
    let log = n.world.text(&format!("{}/log", n.pod_of("up-job").await?)).await?;
    ensure!(
        job["metadata"]["ownerReferences"][0]["name"] == "up" && log.contains(r#""success":true"#),
        "{job:#}\n{log}"
    );
    let restart = json!({ "type": "restart-deployment", "target": { "resourceName": "web" } });
    execute(n, "restart", json!({ "action": restart, "reason": REASON })).await?;
    ended(n, "restart", "Completed", "Changed", "applied").await?;
    let web = n.world.get(&n.world.workload_path("Deployment", "web")).await?;
    ensure!(web["spec"]["replicas"] == 3 && web.to_string().contains(REASON), "not 3, or no {REASON}: {web:#}");
    Ok(())
}

/// The runner's own refusal, with its exit code.
async fn refused(n: &N) -> Result<()> {
    execute(n, "none", scale("web", 0)).await?;
    let status = ended(n, "none", "Failed", "Refused", "none").await?;
    ensure!(status["attempts"][0]["exitCode"] == 3 && status["retryCount"] == 0, "{status:#}");
    Ok(())
}

/// An image that is nowhere, and an account that nobody made: nothing was done, and the cause is told.
async fn never_started(n: &N) -> Result<()> {
    let logs = json!({ "type": "collect-logs-pod", "target": { "resourceName": "x" } });
    execute(n, "no-image", json!({ "action": logs, "maxRetries": 0 })).await?;
    let back = json!({ "type": "rollback-deployment", "target": { "resourceName": "other" } });
    execute(n, "no-account", json!({ "action": back, "maxRetries": 0 })).await?;
    let status = ended(n, "no-image", "Failed", "NeverStarted", "none").await?;
    ensure!(status["message"].as_str().is_some_and(|text| text.contains("127.0.0.1:1/none:1")), "{status:#}");
    let status = ended(n, "no-account", "Failed", "NeverStarted", "none").await?;
    ensure!(status["message"].as_str().is_some_and(|text| text.contains("ServiceAccount")), "{status:#}");
    Ok(())
}

/// A Deployment whose pods never become ready, scaled: the runner has done it, and waits.
async fn waiting(n: &N, name: &str, more: Value) -> Result<String> {
    let never = json!({ "spec": { "template": { "metadata": { "labels": { "test/mode": "never-ready" } } } } });
    n.world.create_workload("Deployment", name, 1, never).await?;
    let mut spec = scale(name, 3);
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    execute(n, name, spec).await?;
    n.world.until(&n.world.workload_path("Deployment", name), "scaled", |one| one["spec"]["replicas"] == 3).await?;
    n.pod_of(&format!("{name}-job")).await
}

/// A node is drained under the runner, and the next one too: the attempt goes on, and what the first pod did is not forgotten.
async fn evicted_twice(n: &N) -> Result<()> {
    waiting(n, "drained", json!({})).await?;
    let pods = n.world.path("v1", "pods");
    let list = format!("{pods}?labelSelector=batch.kubernetes.io%2Fjob-name%3Ddrained-job");
    let mut seen = Vec::new();
    for _ in 0..2 {
        let running = |pod: &Value| {
            pod["status"]["containerStatuses"][0]["state"]["running"].is_object()
                && pod["metadata"]["deletionTimestamp"].is_null()
        };
        let fresh = |list: &Value| {
            list["items"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|pod| running(pod) && !seen.contains(&pod["metadata"]["name"]))
                .cloned()
        };
        let found = n.world.until(&list, "a running pod", |list| fresh(list).is_some()).await?;
        let pod = fresh(&found).context("no pod")?["metadata"]["name"].clone();
        let name = pod.as_str().context("no name")?.to_owned();
        let eviction = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": name } });
        n.world.create(&format!("{pods}/{name}/eviction"), &eviction).await?;
        seen.push(pod);
    }
    let ready = json!({ "spec": { "template": { "metadata": { "labels": { "test/mode": null } } } } });
    n.world.merge(&n.world.workload_path("Deployment", "drained"), &ready).await?;
    let one = n.world.until(&execution(n, "drained"), "settled", |one| one["status"]["settled"] == true).await?;
    let status = &one["status"];
    ensure!(status["phase"] == "Completed" && status["result"]["effect"] == "applied", "{status:#}");
    ensure!(
        status["rollbackInformation"]["rollbackParameters"]["replicas"] == 1 && status["retryCount"] == 0,
        "{status:#}"
    );
    Ok(())
}

/// Other settings take hold when the controller is started again.
async fn other_settings(n: &N) -> Result<()> {
    let settings = json!({ "data": { "settings.yaml": "resources: { limits: { memory: 32Mi } }" } }).to_string();
    let own = "--namespace=execution-controller";
    kubectl(n, &["patch", "configmap", "execution-controller", own, "--type=merge", "--patch", &settings])?;
    kubectl(n, &["rollout", "restart", "deployment/execution-controller", own])?;
    kubectl(n, &["rollout", "status", "deployment/execution-controller", own, "--timeout=90s"])?;
    // A controller that is being stopped makes Jobs as long as it leads.
    let one = |list: &Value| {
        list["items"].as_array().is_some_and(|all| all.iter().all(|pod| pod["metadata"]["deletionTimestamp"].is_null()))
    };
    let own = "/api/v1/namespaces/execution-controller/pods";
    n.world.until(own, "no controller of before", one).await?;
    execute(n, "small", scale("web", 4)).await?;
    ended(n, "small", "Completed", "Changed", "applied").await?;
    let pod = n.world.get(&n.pod_of("small-job").await?).await?;
    let limits = &pod["spec"]["containers"][0]["resources"]["limits"];
    ensure!(limits["memory"] == "32Mi", "{limits}");
    Ok(())
}

/// Deleting is stopping, also in the foreground, where the garbage collector takes the Job first.
async fn deleted(n: &N) -> Result<()> {
    for propagation in ["background", "foreground"] {
        waiting(n, propagation, json!({})).await?;
        n.world.until(&execution(n, propagation), "Executing", |one| one["status"]["phase"] == "Executing").await?;
        kubectl(
            n,
            &[
                "delete",
                "kubernetesexecution",
                propagation,
                "--namespace",
                &n.world.namespace,
                "--cascade",
                propagation,
                "--timeout=60s",
            ],
        )?;
        let list =
            format!("{}?labelSelector=batch.kubernetes.io%2Fjob-name%3D{propagation}-job", n.world.path("v1", "pods"));
        n.world.until(&list, "no pod", |list| list["items"].as_array().is_some_and(Vec::is_empty)).await?;
        let told = |list: &Value| {
            let ours = |one: &Value| one["reason"] == "Cancelled" && one["involvedObject"]["name"] == propagation;
            list["items"].as_array().is_some_and(|all| all.iter().any(ours))
        };
        n.world.until(&n.world.path("v1", "events"), "its end as an Event", told).await?;
        tokio::time::timeout(Duration::from_mins(1), n.world.gone(&execution(n, propagation))).await??;
    }
    Ok(())
}
