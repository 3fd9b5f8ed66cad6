//! The admission policies of rbac/components/admission, which all scenarios run under: what an action's own token may not
//! do, though RBAC lets it.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::support::{T, scenarios};

scenarios!("admission": other_names, bare_verbs_may_evict, restart, rollback, cordon, scale, collect_logs, nobody_else_is_concerned);

/// Sends a request as the action's account; whether it was accepted, and what was said.
async fn as_account(t: &T, action: &str, method: &str, path: &str, body: &Value) -> Result<Result<Value, String>> {
    let client = test_cluster::client(&t.account(action).await?).await?;
    let content = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", content)
        .body(body.to_string().into_bytes())?;
    Ok(client.request::<Value>(request).await.map_err(|error| error.to_string()))
}

/// Each patch is denied by the policy, and by nothing else; the last one is what the action is for, and passes.
async fn denied(t: &T, action: &str, path: &str, cases: &[(Value, &str)], allowed: &Value) -> Result<()> {
    for (patch, says) in cases {
        let answer = as_account(t, action, "PATCH", path, patch).await?;
        let error = answer.err().with_context(|| format!("{action} may {patch}"))?;
        ensure!(
            error.contains("ValidatingAdmissionPolicy") && error.contains(says),
            "{action} {patch}: expected {says:?} in {error}"
        );
    }
    let answer = as_account(t, action, "PATCH", path, allowed).await?;
    ensure!(answer.is_ok(), "{action} may not {allowed}: {answer:?}");
    Ok(())
}

/// An account that a kustomization gave a suffix is still one of ours.
async fn other_names(t: T) -> Result<()> {
    let path = t.world.create_workload("Deployment", "web", 1, json!({})).await?;
    for verb in ["scale", "restart", "rollback", "cordon", "collect-logs"] {
        for suffix in ["", "-deployment", "-deployment-eu1", "-2"] {
            let user = format!("system:serviceaccount:{}:action-{verb}{suffix}", t.world.namespace);
            let request = http::Request::patch(format!("{path}?dryRun=All"))
                .header("content-type", "application/merge-patch+json")
                .header("impersonate-user", &user)
                .header("impersonate-group", "system:masters")
                .body(json!({ "metadata": { "labels": { "a": "b" } } }).to_string().into_bytes())?;
            let answer = t.world.client().request::<Value>(request).await;
            let denied =
                answer.as_ref().err().is_some_and(|error| error.to_string().contains("ValidatingAdmissionPolicy"));
            ensure!(denied, "{user}: {answer:?}");
        }
    }
    Ok(())
}

/// The account of a bare verb serves all of its kinds, those that evict too.
async fn bare_verbs_may_evict(t: T) -> Result<()> {
    for verb in ["restart", "rollback"] {
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": verb }, "spec": { "containers": [{ "name": "app", "image": "x" }] } });
        t.world.create(&t.world.path("v1", "pods"), &pod).await?;
        let path = format!("{}/{verb}/eviction?dryRun=All", t.world.path("v1", "pods"));
        let eviction = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": verb } });
        let answer = as_account(&t, verb, "POST", &path, &eviction).await?;
        ensure!(answer.is_ok(), "{verb}: {answer:?}");
    }
    Ok(())
}

/// Where restarts and rollbacks leave their marks.
const RESTARTS: &str = "kubernetesexecution.kubernaut.io/executions-restart";
const ROLLBACKS: &str = "kubernetesexecution.kubernaut.io/executions-rollback";

async fn restart(t: T) -> Result<()> {
    for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
        let name = kind.to_lowercase();
        let path = t.world.create_workload(kind, &name, 1, json!({})).await?;
        let template = |template: Value| json!({ "spec": { "template": template } });
        let mut cases = vec![
            (template(json!({ "spec": { "containers": [{ "name": "app", "image": "evil:1" }] } })), "pods' spec"),
            (template(json!({ "spec": { "serviceAccountName": "admin" } })), "pods' spec"),
            (template(json!({ "spec": { "hostNetwork": true } })), "pods' spec"),
            (template(json!({ "metadata": { "labels": { "more": "x" } } })), "pods' labels"),
            (template(json!({ "metadata": { "annotations": { "other": "x" } } })), "pods' annotations"),
            (json!({ "metadata": { "labels": { "more": "x" } } }), "labels, owners or finalizers"),
            (json!({ "metadata": { "finalizers": ["x.example/y"] } }), "labels, owners or finalizers"),
            (json!({ "metadata": { "annotations": { "other": "x" } } }), "annotations other"),
            (json!({ "metadata": { "annotations": { ROLLBACKS: "[]" } } }), "annotations kubernetesexecution"),
            (
                json!({ "metadata": { "annotations": { "kubernetesexecution.kubernaut.io/protected": "false" } } }),
                "annotations",
            ),
        ];
        if kind != "DaemonSet" {
            cases.push((json!({ "spec": { "replicas": 9 } }), "but the pod template"));
        }
        if kind == "Deployment" {
            cases.push((json!({ "spec": { "paused": true } }), "but the pod template"));
        }
        let allowed = json!({
            "metadata": { "annotations": { "kubernetes.io/change-cause": "x", RESTARTS: "[]" } },
            "spec": { "template": { "metadata": { "annotations": { "kubectl.kubernetes.io/restartedAt": "2026-11-23T00:00:00Z" } } } },
        });
        denied(&t, &format!("restart-{name}"), &path, &cases, &allowed).await?;
    }
    Ok(())
}

/// A pod that mounts logs of the host, has no token, and is as confined as `restricted` wants it.
fn confined(read_only: bool) -> Value {
    json!({ "spec": { "template": { "spec": {
        "automountServiceAccountToken": false,
        "volumes": [{ "name": "logs", "hostPath": { "path": "/var/log" } }],
        "containers": [{
            "name": "app", "image": "shop/web:0", "volumeMounts": [{ "name": "logs", "mountPath": "/logs", "readOnly": read_only }],
            "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
        }],
    } } } })
}

/// A change of the pods' spec.
fn pod(spec: Value) -> Value {
    json!({ "spec": { "template": { "spec": spec } } })
}

/// What a rollback does not touch, whatever the revisions are.
fn no_template() -> Vec<(Value, &'static str)> {
    vec![
        (json!({ "metadata": { "labels": { "more": "x" } } }), "labels, owners or finalizers"),
        (json!({ "metadata": { "annotations": { "other": "x" } } }), "annotations other"),
        (json!({ "metadata": { "annotations": { RESTARTS: "[]" } } }), "annotations kubernetesexecution"),
        (
            json!({ "metadata": { "annotations": { "kubernetesexecution.kubernaut.io/protected": "true" } } }),
            "annotations",
        ),
        (json!({ "spec": { "minReadySeconds": 9 } }), "but the pod template"),
    ]
}

/// What gives pods more power than they have.
fn more_power() -> Vec<(Value, &'static str)> {
    let container = |context: Value| {
        let mut patch = confined(true);
        patch["spec"]["template"]["spec"]["containers"][0]["securityContext"] = context;
        patch
    };
    let mount = |mount: Value| confined(mount["readOnly"] != json!(false));
    let mut ports = confined(true);
    ports["spec"]["template"]["spec"]["containers"][0]["ports"] = json!([{ "containerPort": 80, "hostPort": 80 }]);
    vec![
        (pod(json!({ "serviceAccountName": "admin" })), "service account"),
        (pod(json!({ "hostNetwork": true })), "host's namespaces"),
        (pod(json!({ "hostPID": true })), "host's namespaces"),
        (pod(json!({ "securityContext": { "sysctls": [{ "name": "kernel.msgmax", "value": "1" }] } })), "sysctls"),
        (pod(json!({ "securityContext": { "appArmorProfile": { "type": "Unconfined" } } })), "AppArmor"),
        (container(json!({ "privileged": true })), "privileged"),
        (container(json!({ "capabilities": { "add": ["SYS_ADMIN"] } })), "capabilities"),
        (
            pod(
                json!({ "volumes": [{ "name": "logs", "hostPath": { "path": "/var/log" } }, { "name": "root", "hostPath": { "path": "/" } }] }),
            ),
            "paths of the host",
        ),
        (mount(json!({ "readOnly": false })), "nor make them writable"),
        (pod(json!({ "automountServiceAccountToken": true })), "a token"),
        (
            pod(
                json!({ "volumes": [{ "name": "logs", "hostPath": { "path": "/var/log" } }, { "name": "token", "projected": { "sources": [{ "serviceAccountToken": { "path": "t" } }] } }] }),
            ),
            "a token",
        ),
        (pod(json!({ "securityContext": { "runAsNonRoot": null } })), "run as root"),
        (pod(json!({ "securityContext": { "runAsUser": 0 } })), "run as root"),
        (
            container(
                json!({ "runAsUser": 0, "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } }),
            ),
            "run as root",
        ),
        (container(json!({ "allowPrivilegeEscalation": true, "capabilities": { "drop": ["ALL"] } })), "loosen"),
        (container(json!({ "allowPrivilegeEscalation": false })), "loosen"),
        (pod(json!({ "securityContext": { "seccompProfile": { "type": "Unconfined" } } })), "loosen"),
        (ports, "ports of the host"),
    ]
}

async fn rollback(t: T) -> Result<()> {
    for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
        let name = kind.to_lowercase();
        let path = t.world.create_workload(kind, &name, 1, confined(true)).await?;
        let cases = [more_power(), no_template()].concat();
        let allowed = json!({
            "metadata": { "annotations": { "kubernetes.io/change-cause": "x", ROLLBACKS: "[]" } },
            "spec": confined(true)["spec"],
        });
        denied(&t, &format!("rollback-{name}"), &path, &cases, &allowed).await?;
    }
    // Users of its own do not go with the host's namespaces, so they have a pod of their own.
    let users = pod(json!({ "hostUsers": false }));
    let path = t.world.create_workload("Deployment", "users", 1, users).await?;
    let cases = [
        (pod(json!({ "hostUsers": true })), "host's namespaces"),
        (pod(json!({ "hostUsers": null })), "host's namespaces"),
    ];
    denied(&t, "rollback-deployment", &path, &cases, &pod(json!({ "terminationGracePeriodSeconds": 2 }))).await?;
    // A process of a Windows host is only valid in a pod that has the host's network already.
    let windows = json!({ "spec": { "template": { "spec": { "hostNetwork": true, "os": { "name": "windows" }, "securityContext": null,
        "containers": [{ "name": "app", "image": "shop/web:0" }] } } } });
    let path = t.world.create_workload("Deployment", "windows", 1, windows).await?;
    let security = |options: Value| json!({ "spec": { "template": { "spec": { "securityContext": { "windowsOptions": options } } } } });
    let cases = [(security(json!({ "hostProcess": true })), "processes of a Windows host")];
    denied(&t, "rollback-deployment", &path, &cases, &security(json!({ "runAsUserName": "ContainerUser" }))).await
}

async fn cordon(t: T) -> Result<()> {
    let name = format!("node-{:08x}", test_cluster::fixtures::unique());
    test_cluster::fixtures::node(&t.world, &name, json!([{ "key": "test/own", "effect": "NoSchedule" }])).await?;
    let path = format!("/api/v1/nodes/{name}");
    let cases = [
        (
            json!({ "metadata": { "labels": { "node-role.kubernetes.io/control-plane": "" } } }),
            "labels, owners or finalizers",
        ),
        (json!({ "metadata": { "annotations": { "other": "x" } } }), "annotations other"),
        (json!({ "metadata": { "annotations": { RESTARTS: "[]" } } }), "annotations kubernetesexecution"),
        (
            json!({ "metadata": { "annotations": { "kubernetesexecution.kubernaut.io/protected": "true" } } }),
            "annotations",
        ),
        (json!({ "spec": { "taints": [{ "key": "x", "effect": "NoExecute" }] } }), "but unschedulable"),
        (json!({ "spec": { "providerID": "x" } }), "but unschedulable"),
    ];
    let allowed = json!({ "metadata": { "annotations": { "kubernetesexecution.kubernaut.io/cordon": "{}" } }, "spec": { "unschedulable": true } });
    denied(&t, "cordon-node", &path, &cases, &allowed).await?;
    let back = json!({ "metadata": { "annotations": { "kubernetesexecution.kubernaut.io/cordon": null } }, "spec": { "unschedulable": null } });
    denied(&t, "uncordon-node", &path, &cases, &back).await
}

/// RBAC does not let these accounts write more than the policies do; the policies are what is left when somebody binds
/// another Role to them.
async fn widened(t: &T, action: &str) -> Result<()> {
    t.account(action).await?;
    let namespace = &t.world.namespace;
    let binding = json!({
        "metadata": { "name": format!("too-much-{action}") },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
        "subjects": [{ "kind": "ServiceAccount", "name": format!("action-{action}"), "namespace": namespace }],
    });
    let path = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings");
    t.world.create(&path, &binding).await.map(|_| ())
}

async fn refuses_all(t: &T, action: &str, says: &str) -> Result<()> {
    let path = t.world.create_workload("Deployment", action, 1, json!({})).await?;
    widened(t, action).await?;
    let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": format!("made-by-{action}") } });
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(10);
    for (method, path, body) in [
        ("PATCH", path.as_str(), json!({ "spec": { "replicas": 2 } })),
        ("PATCH", path.as_str(), json!({ "metadata": { "labels": { "a": "b" } } })),
        ("DELETE", path.as_str(), json!({})),
        ("POST", &t.world.path("v1", "configmaps"), map),
    ] {
        loop {
            let answer = as_account(t, action, method, path, &body).await?;
            let error = answer.err().with_context(|| format!("{action} may {method} {path}"))?;
            if error.contains("ValidatingAdmissionPolicy") && error.contains(says) {
                break;
            }
            // The authorizer has yet to learn of the wider binding.
            ensure!(error.contains("cannot") && std::time::Instant::now() < limit, "{action} {method}: {error}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

async fn scale(t: T) -> Result<()> {
    refuses_all(&t, "scale-deployment", "nothing but /scale").await?;
    let path = t.world.workload_path("Deployment", "scale-deployment");
    let scaled =
        as_account(&t, "scale-deployment", "PATCH", &format!("{path}/scale"), &json!({ "spec": { "replicas": 3 } }))
            .await?;
    ensure!(scaled.is_ok(), "{scaled:?}");
    Ok(())
}

async fn collect_logs(t: T) -> Result<()> {
    refuses_all(&t, "collect-logs-deployment", "may write nothing").await
}

async fn nobody_else_is_concerned(t: T) -> Result<()> {
    let path = t.world.create_workload("Deployment", "web", 1, json!({})).await?;
    t.world.merge(&path, &json!({ "metadata": { "labels": { "more": "x" } }, "spec": { "replicas": 2 } })).await?;
    let checked = |policies: &Value| {
        policies["items"]
            .as_array()
            .is_some_and(|all| all.iter().all(|one| one["status"]["observedGeneration"].is_u64()))
    };
    let policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
    let policies = t.world.until(policies, "type checked", checked).await?;
    let items = policies["items"].as_array().cloned().unwrap_or_default();
    ensure!(items.len() == 5, "{policies:#}");
    for policy in items {
        let warnings = &policy["status"]["typeChecking"]["expressionWarnings"];
        ensure!(warnings.is_null(), "{}: {warnings:#}", policy["metadata"]["name"]);
    }
    Ok(())
}
