//! The admission policies of rbac/components/admission, which all scenarios run under: what an action's own token may not
//! do, though RBAC lets it.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::held::Both;
use crate::support::{T, scenarios};

scenarios!("admission": other_names, bare_verbs_may_evict, restart, rollback, cordon, protected, owners, scale, collect_logs, as_shipped, nobody_else_is_concerned);

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
/// Where the first release left both, and where a cordon leaves its own.
const FIRST_RELEASE: &str = "kubernetesexecution.kubernaut.io/executions";
const CORDON: &str = "kubernetesexecution.kubernaut.io/cordon";
const PROTECTED: &str = "kubernetesexecution.kubernaut.io/protected";

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
            (json!({ "metadata": { "annotations": { FIRST_RELEASE: "[]" } } }), "annotations kubernetesexecution"),
            (json!({ "metadata": { "annotations": { CORDON: "{}" } } }), "annotations kubernetesexecution"),
            (json!({ "metadata": { "annotations": { PROTECTED: "false" } } }), "annotations kubernetesexecution"),
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

/// What a rollback does not touch, whatever the revisions are. What it may change of the template: `fields.rs`.
async fn rollback(t: T) -> Result<()> {
    let annotated = |key: &str, value: &str| json!({ "metadata": { "annotations": { key: value } } });
    for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
        let name = kind.to_lowercase();
        let path = t.world.create_workload(kind, &name, 1, json!({})).await?;
        let cases = [
            (json!({ "metadata": { "labels": { "more": "x" } } }), "labels, owners or finalizers"),
            (json!({ "metadata": { "finalizers": ["x.example/y"] } }), "labels, owners or finalizers"),
            (annotated("other", "x"), "annotations other"),
            (annotated(RESTARTS, "[]"), "annotations kubernetesexecution"),
            (annotated(FIRST_RELEASE, "[]"), "annotations kubernetesexecution"),
            (annotated(CORDON, "{}"), "annotations kubernetesexecution"),
            (annotated(PROTECTED, "true"), "annotations kubernetesexecution"),
            (json!({ "spec": { "minReadySeconds": 9 } }), "but the pod template"),
        ];
        let image =
            json!([{ "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "shop/web:2" }]);
        let allowed = annotated(ROLLBACKS, "[]");
        denied(&t, &format!("rollback-{name}"), &path, &cases, &allowed).await?;
        Both::of(&t, &format!("rollback-{name}")).await?.allowed(&path, "take another image", &image).await?;
    }
    Ok(())
}

/// What each verb's account is for, on an object of its own.
async fn purposes(t: &T) -> Result<Vec<(Both, String, Value)>> {
    let restarted = json!([{ "op": "add", "path": "/spec/template/metadata/annotations", "value": { "kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z" } }]);
    let image = json!([{ "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "shop/web:3" }]);
    let mut all = Vec::new();
    for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
        let name = kind.to_lowercase();
        let path = t.world.create_workload(kind, &name, 1, json!({})).await?;
        // An entry of somebody's that has nothing but what the account may change.
        let named = format!("{path}?fieldManager=zz-pipeline");
        let mine =
            json!([{ "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "shop/web:2" }]);
        let request = http::Request::patch(named)
            .header("content-type", "application/json-patch+json")
            .body(mine.to_string().into_bytes())?;
        t.world.client().request::<Value>(request).await?;
        all.push((Both::of(t, &format!("restart-{name}")).await?, path.clone(), restarted.clone()));
        all.push((Both::of(t, &format!("rollback-{name}")).await?, path, image.clone()));
    }
    let name = format!("node-{:08x}", test_cluster::fixtures::unique());
    test_cluster::fixtures::node(&t.world, &name, json!([{ "key": "test/own", "effect": "NoSchedule" }])).await?;
    let path = format!("/api/v1/nodes/{name}");
    let unschedulable = |value: bool| json!([{ "op": "add", "path": "/spec/unschedulable", "value": value }]);
    all.push((Both::of(t, "cordon-node").await?, path.clone(), unschedulable(true)));
    all.push((Both::of(t, "uncordon-node").await?, path, unschedulable(false)));
    Ok(all)
}

/// The annotation is held where admission sees the object: on `/scale` and on an eviction it does not.
async fn protected(t: T) -> Result<()> {
    for (both, path, purpose) in purposes(&t).await? {
        let annotated = |value: &str| json!({ "metadata": { "annotations": { PROTECTED: value } } });
        t.world.merge(&path, &annotated("true")).await?;
        both.refused(&path, "change what is protected", &purpose, "may not change what is protected").await?;
        t.world.merge(&path, &annotated("false")).await?;
        both.allowed(&path, "do what it is for", &purpose).await?;
    }
    Ok(())
}

/// Who owns which field, and whom the object belongs to: to take that away is a way to have others delete it or lose track of it.
async fn owners(t: T) -> Result<()> {
    const FIELDS: &str = "may not take away what metadata.managedFields says of";
    let add = |path: &str, value: Value| json!([{ "op": "add", "path": path, "value": value }]);
    let owner = json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "gone", "uid": "11111111-1111-1111-1111-111111111111" }]);
    for (both, path, purpose) in purposes(&t).await? {
        let (of_nothing, emptied) = (
            json!({ "f:spec": { "f:template": {} } }),
            json!([{ "op": "remove", "path": "/metadata/managedFields/0" }]),
        );
        let cases = [
            ("reset the fields' owners".to_owned(), add("/metadata/managedFields", json!([{}])), FIELDS),
            ("empty the fields' owners".to_owned(), add("/metadata/managedFields", json!([])), FIELDS),
            ("take one owner out".to_owned(), emptied, FIELDS),
            ("take an owner's fields".to_owned(), add("/metadata/managedFields/0/fieldsV1", of_nothing), FIELDS),
            (
                "give it an owner".to_owned(),
                add("/metadata/ownerReferences", owner.clone()),
                "labels, owners or finalizers",
            ),
            (
                "give it a finalizer".to_owned(),
                add("/metadata/finalizers", json!(["x.example/y"])),
                "labels, owners or finalizers",
            ),
        ];
        both.all_refused(&path, &cases).await?;
        both.allowed(&path, "do what it is for", &purpose).await?;
    }
    Ok(())
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
        (json!({ "metadata": { "annotations": { ROLLBACKS: "[]" } } }), "annotations kubernetesexecution"),
        (json!({ "metadata": { "annotations": { PROTECTED: "true" } } }), "annotations kubernetesexecution"),
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
    // Other scenarios have policies of their own.
    let installed = |policies: &Value| -> Vec<Value> {
        let all = policies["items"].as_array().into_iter().flatten();
        let ours = all.filter(|one| {
            let name = crate::shown::name(one);
            name.starts_with("action-") && !name.ends_with(AS_SHIPPED)
        });
        ours.cloned().collect()
    };
    let checked = |policies: &Value| {
        let ours = installed(policies);
        ours.len() == 5 && ours.iter().all(|one| one["status"]["observedGeneration"].is_u64())
    };
    let policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
    let policies = t.world.until(policies, "five policies, type checked", checked).await?;
    for policy in installed(&policies) {
        let warnings = &policy["status"]["typeChecking"]["expressionWarnings"];
        ensure!(warnings.is_null(), "{}: {warnings:#}", policy["metadata"]["name"]);
    }
    Ok(())
}

/// The rollback policy with nothing widened, in force in one namespace only.
const AS_SHIPPED: &str = "-as-shipped";

async fn as_shipped(t: T) -> Result<()> {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("rbac/components/admission/rollback.yaml");
    let root = "/apis/admissionregistration.k8s.io/v1";
    let name = format!("action-{}{AS_SHIPPED}", t.world.namespace);
    for mut document in serde_saphyr::from_multiple::<Value>(&std::fs::read_to_string(file)?)? {
        document["metadata"]["name"] = json!(name);
        let binding = document["kind"] == "ValidatingAdmissionPolicyBinding";
        if binding {
            let only = json!({ "matchLabels": { "kubernetes.io/metadata.name": t.world.namespace } });
            document["spec"]["policyName"] = json!(name);
            document["spec"]["matchResources"] = json!({ "namespaceSelector": only });
        }
        let plural = if binding { "validatingadmissionpolicybindings" } else { "validatingadmissionpolicies" };
        t.world.create(&format!("{root}/{plural}"), &document).await?;
    }
    let path = t.world.create_workload("Deployment", "web", 0, json!({})).await?;
    let both = Both::of(&t, "rollback-deployment").await?;
    let image =
        |image: &str| json!([{ "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image }]);
    let label =
        |key: &str| json!([{ "op": "add", "path": format!("/spec/template/metadata/labels/{key}"), "value": "x" }]);
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(30);
    // The API server learns of a policy a moment later.
    while both.refused(&path, "run another repository's", &image("mirror.example/shop/web:1"), &name).await.is_err() {
        ensure!(std::time::Instant::now() < limit, "the policy as shipped does not come into force");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let says = "may not change the label test/mode of the pods";
    both.refused(&path, "label the pods", &label("test~1mode"), says).await?;
    both.allowed(&path, "name the version", &label("app.kubernetes.io~1version")).await?;
    both.allowed(&path, "take another tag", &image("shop/web:2")).await?;
    for plural in ["validatingadmissionpolicybindings", "validatingadmissionpolicies"] {
        t.world.delete(&format!("{root}/{plural}/{name}")).await?;
    }
    Ok(())
}
