//! Pods that cannot be made, and pods that do not go. What forbids or holds them is the control plane's own.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::hangs::{Bound, Cause, Ended, Told};
use test_cluster::runner::Outcome;

use crate::causes::{held_by_its_node, on, own_node};
use crate::shown::{first_pod, name, touched_nothing, uid};
use crate::support::{T, expect, scenarios};
use crate::why::{Try, condition, patience, row};

scenarios!("causes_pods":
    a_quota, a_quota_of_replica_sets, pod_security, an_admission_policy, a_webhook_that_is_not_reached, a_finalizer,
    a_dead_node, a_budget_that_cannot_be_counted,
);

const STUCK: Bound = Bound::StuckAfter(3, 0);

/// From now on no pod is made in the namespace.
async fn no_more_pods(t: &T) -> Result<()> {
    let quotas = t.world.path("v1", "resourcequotas");
    let quota = json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "none" }, "spec": { "hard": { "pods": "0" } } });
    t.world.create(&quotas, &quota).await?;
    let counted = |quota: &Value| quota["status"]["hard"]["pods"] == "0";
    t.world.until(&format!("{quotas}/none"), "in force", counted).await?;
    until_forbidden(t, "exceeded quota").await
}

/// Waits until the API server makes no pod any more, for this reason.
async fn until_forbidden(t: &T, why: &str) -> Result<()> {
    let spec = json!({ "containers": [{ "name": "app", "image": "x" }] });
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "probe" }, "spec": spec });
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let request = http::Request::post(format!("{}?dryRun=All", t.world.path("v1", "pods")))
            .header("content-type", "application/json")
            .body(pod.to_string().into_bytes())?;
        let answer = t.world.client().request::<Value>(request).await;
        if answer.as_ref().is_err_and(|error| error.to_string().contains(why)) {
            return Ok(());
        }
        ensure!(std::time::Instant::now() < limit, "pods are made: {answer:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// A Deployment's ReplicaSet, which has a condition.
async fn not_made(of: &Try, ended: &Ended, words: &str) -> Result<Told> {
    let (told, set) =
        of.because(ended, &Cause { kind: "ReplicaSet", state: "FailedCreate", words, bound: STUCK }).await?;
    let failure = condition(&set, "ReplicaFailure");
    let says = failure["message"].as_str().unwrap_or_default();
    ensure!(failure["reason"] == "FailedCreate" && says.contains(words), "{set:#}");
    Ok(told)
}

/// A set has no condition: only events say that the quota forbids its pods. Without them the pod that is missing is named, or the
/// DaemonSet itself, and what would tell more.
async fn not_made_by(of: &Try, ended: &Ended, kind: &str) -> Result<Told> {
    if of.causes {
        let (state, words) = ("FailedCreate", "exceeded quota: none");
        let cause = Cause { kind: "ResourceQuota", state, words, bound: STUCK };
        return of.because(ended, &cause).await.map(|(told, _)| told);
    }
    let kind = if kind == "StatefulSet" { "Pod" } else { kind };
    let cause = Cause { kind, state: "NotReported", words: "", bound: Bound::WaitTimeout(12) };
    let (told, _) = of.because(ended, &cause).await?;
    let unread = ended.outcome.result["details"]["obstacles"][0]["unread"].to_string();
    ensure!(unread.contains("events"), "{:#}", ended.outcome.result);
    Ok(told)
}

/// Soon over, where nothing can be told.
fn short(of: &Try) -> Value {
    json!({ "stuckAfter": "3s", "waitTimeout": if of.causes { "60s" } else { "12s" } })
}

async fn a_quota(t: T) -> Result<()> {
    let one = async |what: &'static str, kind: &'static str| {
        row(&t, what, &format!("full-{}", kind.to_lowercase()), async |of: &Try| {
            of.workload(kind, 2, json!({})).await?;
            no_more_pods(&of.t).await?;
            let ended = of.restarted(kind, short(of)).await?;
            match kind {
                "Deployment" => not_made(of, &ended, "exceeded quota: none").await,
                _ => not_made_by(of, &ended, kind).await,
            }
        })
        .await
    };
    let replacement = row(&t, "a quota, of `restart-pod`'s replacement", "full-pod", async |of: &Try| {
        of.workload("Deployment", 2, json!({})).await?;
        no_more_pods(&of.t).await?;
        let pod = name(&first_pod(&of.t, &of.app).await?);
        let ended = of.begin("restart-pod", &pod, "Deployment", short(of)).await?.ends(&of.t.world).await?;
        let (state, words) = ("FailedCreate", "exceeded quota: none");
        let cause = Cause { kind: "ResourceQuota", state, words, bound: STUCK };
        of.because(&ended, &cause).await.map(|(told, _)| told)
    });
    tokio::try_join!(
        one("a quota, of a Deployment", "Deployment"),
        one("a quota, of a StatefulSet", "StatefulSet"),
        one("a quota, of a DaemonSet", "DaemonSet"),
        replacement,
    )
    .map(|_| ())
}

/// Not even the ReplicaSet can be made: the controller says so, and leaves the generation that it has observed behind.
async fn a_quota_of_replica_sets(t: T) -> Result<()> {
    row(&t, "a quota of ReplicaSets", "full-sets", async |of: &Try| {
        of.workload("Deployment", 1, json!({})).await?;
        let quotas = of.t.world.path("v1", "resourcequotas");
        let hard = json!({ "hard": { "count/replicasets.apps": "1" } });
        let quota =
            json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "sets" }, "spec": hard });
        of.t.world.create(&quotas, &quota).await?;
        let counted = |quota: &Value| quota["status"]["used"]["count/replicasets.apps"] == "1";
        of.t.world.until(&format!("{quotas}/sets"), "counted", counted).await?;
        let ended = of.restarted("Deployment", patience(3)).await?;
        let cause = Cause {
            kind: "ResourceQuota",
            state: "ReplicaSetCreateError",
            words: "exceeded quota: sets",
            bound: STUCK,
        };
        let (told, _) = of.because(&ended, &cause).await?;
        let deployment = of.t.object("Deployment", &of.app).await?;
        ensure!(condition(&deployment, "Progressing")["reason"] == "ReplicaSetCreateError", "{deployment:#}");
        ensure!(deployment["status"]["observedGeneration"] != deployment["metadata"]["generation"], "{deployment:#}");
        Ok(told)
    })
    .await
}

async fn pod_security(t: T) -> Result<()> {
    row(&t, "Pod Security", "insecure", async |of: &Try| {
        let open = json!({ "spec": { "template": { "spec": {
            "securityContext": null, "containers": [{ "name": "app", "image": "shop/web:1" }] } } } });
        of.workload("Deployment", 1, open).await?;
        let enforce = json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": "restricted" } } });
        of.t.world.merge(&format!("/api/v1/namespaces/{}", of.t.world.namespace), &enforce).await?;
        until_forbidden(&of.t, "violates PodSecurity").await?;
        let ended = of.restarted("Deployment", patience(3)).await?;
        not_made(of, &ended, "violates PodSecurity \"restricted:latest\"").await
    })
    .await
}

/// In which pods are made.
fn pods_of(t: &T) -> (Value, Value) {
    let namespace = json!({ "matchLabels": { "kubernetes.io/metadata.name": t.world.namespace } });
    let rules = json!([{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"] }]);
    (namespace, rules)
}

const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";

async fn an_admission_policy(t: T) -> Result<()> {
    row(&t, "an admission policy", "friday", async |of: &Try| {
        of.workload("Deployment", 1, json!({})).await?;
        let ((namespace, rules), own) = (pods_of(&of.t), &of.t.world.namespace);
        let version = "admissionregistration.k8s.io/v1";
        let policy = json!({
            "apiVersion": version, "kind": "ValidatingAdmissionPolicy", "metadata": { "name": own },
            "spec": { "matchConstraints": { "namespaceSelector": namespace, "resourceRules": rules },
                      "validations": [{ "expression": "false", "message": "no pods on a Friday" }] },
        });
        let binding = json!({
            "apiVersion": version, "kind": "ValidatingAdmissionPolicyBinding", "metadata": { "name": own },
            "spec": { "policyName": own, "validationActions": ["Deny"] },
        });
        of.t.world.create(&format!("{ADMISSION}/validatingadmissionpolicies"), &policy).await?;
        of.t.world.create(&format!("{ADMISSION}/validatingadmissionpolicybindings"), &binding).await?;
        until_forbidden(&of.t, "no pods on a Friday").await?;
        let ended = of.restarted("Deployment", patience(3)).await?;
        let told = not_made(of, &ended, "no pods on a Friday").await?;
        of.t.world.delete(&format!("{ADMISSION}/validatingadmissionpolicybindings/{own}")).await?;
        of.t.world.delete(&format!("{ADMISSION}/validatingadmissionpolicies/{own}")).await?;
        Ok(told)
    })
    .await
}

/// Nobody answers at its address. What its path is may be a secret, and is not told.
async fn a_webhook_that_is_not_reached(t: T) -> Result<()> {
    row(&t, "a webhook that is not reached", "hooked", async |of: &Try| {
        of.workload("Deployment", 1, json!({})).await?;
        let ((namespace, rules), own) = (pods_of(&of.t), &of.t.world.namespace);
        let hook = json!({
            "name": "pods.example.com", "clientConfig": { "url": "https://127.0.0.1:9/hunter22" }, "failurePolicy": "Fail", "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "timeoutSeconds": 2, "namespaceSelector": namespace, "rules": rules,
        });
        let hooks = json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": { "name": own }, "webhooks": [hook] });
        of.t.world.create(&format!("{ADMISSION}/validatingwebhookconfigurations"), &hooks).await?;
        until_forbidden(&of.t, "failed calling webhook").await?;
        let ended = of.restarted("Deployment", patience(3)).await?;
        let told = not_made(of, &ended, "failed calling webhook \"pods.example.com\"").await?;
        ensure!(!ended.outcome.text.contains("hunter22"), "{}", ended.outcome.text);
        of.t.world.delete(&format!("{ADMISSION}/validatingwebhookconfigurations/{own}")).await?;
        Ok(told)
    })
    .await
}

const KEEP: &str = "example.com/keep";

/// Pods that are held, once they are deleted.
fn kept(mut extra: Value) -> Value {
    extra["spec"]["template"]["metadata"]["finalizers"] = json!([KEEP]);
    extra
}

/// Lets go of all pods: their namespace could not go either.
async fn let_go(t: &T) -> Result<()> {
    let pods = t.world.path("v1", "pods");
    let list = t.world.get(&pods).await?;
    for pod in list["items"].as_array().into_iter().flatten().filter(|pod| pod["metadata"]["finalizers"].is_array()) {
        let free = json!({ "metadata": { "finalizers": null } });
        t.world.merge(&format!("{pods}/{}", name(pod)), &free).await?;
    }
    Ok(())
}

async fn held(of: &Try, ended: &Ended) -> Result<Told> {
    let cause = Cause { kind: "Pod", state: "Terminating", words: KEEP, bound: Bound::StuckAfter(3, 10) };
    let (told, pod) = of.because(ended, &cause).await?;
    ensure!(pod["metadata"]["deletionTimestamp"].is_string() && pod["metadata"]["finalizers"][0] == KEEP, "{pod:#}");
    let_go(&of.t).await?;
    Ok(told)
}

async fn a_finalizer(t: T) -> Result<()> {
    let recreate = row(
        &t,
        "a finalizer holds a pod of a Deployment with the strategy `Recreate`",
        "recreated",
        async |of: &Try| {
            of.workload("Deployment", 1, kept(json!({ "spec": { "strategy": { "type": "Recreate" } } }))).await?;
            held(of, &of.restarted("Deployment", patience(3)).await?).await
        },
    );
    let set = row(&t, "a finalizer holds a StatefulSet's pod", "kept", async |of: &Try| {
        of.workload("StatefulSet", 1, kept(json!({}))).await?;
        held(of, &of.restarted("StatefulSet", patience(3)).await?).await
    });
    let pod = row(&t, "a finalizer holds the pod of `restart-pod`", "kept-pod", async |of: &Try| {
        of.workload("Deployment", 1, kept(json!({}))).await?;
        let pod = name(&first_pod(&of.t, &of.app).await?);
        held(of, &of.begin("restart-pod", &pod, "Deployment", patience(3)).await?.ends(&of.t.world).await?).await
    });
    tokio::try_join!(recreate, set, pod).map(|_| ())
}

async fn a_dead_node(t: T) -> Result<()> {
    let set = row(&t, "a StatefulSet's pod on a dead node", "db", async |of: &Try| {
        let node = own_node(&of.t).await?;
        of.workload("StatefulSet", 1, on(&node)).await?;
        let hanging = of.restart("StatefulSet", patience(3)).await?;
        held_by_its_node(of, hanging, &node).await
    });
    let pod = row(&t, "the pod of `restart-pod` is on a dead node", "dead-pod", async |of: &Try| {
        let node = own_node(&of.t).await?;
        of.workload("StatefulSet", 1, on(&node)).await?;
        let hanging = of.begin("restart-pod", "dead-pod-0", "StatefulSet", patience(3)).await?;
        held_by_its_node(of, hanging, &node).await
    });
    tokio::try_join!(set, pod).map(|_| ())
}

/// Whose pod it is cannot be asked how many it wants: the budget is never counted, and allows nothing.
async fn a_budget_that_cannot_be_counted(t: T) -> Result<()> {
    let owner = json!([{ "apiVersion": "example.com/v1", "kind": "Shop", "name": "shop", "uid": "11111111-2222-1111-1111-111111111111", "controller": true }]);
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "shop-1", "labels": { "app": "shop" }, "ownerReferences": owner },
        "spec": { "terminationGracePeriodSeconds": 1, "containers": [{ "name": "app", "image": "x" }] },
    });
    let (pods, budgets) = (t.world.path("v1", "pods"), t.world.path("policy/v1", "poddisruptionbudgets"));
    t.world.create(&pods, &pod).await?;
    let target = t.world.until(&format!("{pods}/shop-1"), "ready", crate::shown::serves).await?;
    let selector = json!({ "matchLabels": { "app": "shop" } });
    let budget = json!({ "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": "strict" }, "spec": { "maxUnavailable": 1, "selector": selector } });
    t.world.create(&budgets, &budget).await?;
    let failed = |budget: &Value| condition(budget, "DisruptionAllowed")["reason"] == "SyncFailed";
    let budget = t.world.until(&format!("{budgets}/strict"), "SyncFailed", failed).await?;
    for causes in [false, true] {
        let mut run =
            t.run("restart-pod", "shop-1").await?.parameters(&json!({ "waitTimeout": "6s", "stuckAfter": "2s" }));
        if causes {
            run = run.with("KUBECONFIG", t.with_causes("restart-pod").await?.display());
        }
        not_counted(&t, &t.complete(&run).await?, &budget, &target).await?;
    }
    Ok(())
}

async fn not_counted(t: &T, outcome: &Outcome, budget: &Value, target: &Value) -> Result<()> {
    let message = condition(budget, "DisruptionAllowed")["message"].as_str().context("no message")?;
    let result = &outcome.result;
    let code = result["code"].as_str().unwrap_or_default();
    expect(outcome, code, "none", message)?;
    touched_nothing(outcome)?;
    ensure!(result["success"] == false && result["retryable"] == false, "{result:#}");
    let said = result["error"].as_str().unwrap_or_default();
    ensure!(said.contains("strict") && said.contains("SyncFailed") && !said.contains("make more pods ready"), "{said}");
    let now = t.world.get(&format!("{}/shop-1", t.world.path("v1", "pods"))).await?;
    ensure!(uid(&now) == uid(target) && now["metadata"]["deletionTimestamp"].is_null(), "{now:#}");
    Ok(())
}
