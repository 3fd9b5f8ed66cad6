//! What is shipped to run the executor, put into a test cluster: the definition, and an account with exactly its permissions.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::Connection;
use crate::fixtures::World;

/// The account of the controller.
pub const ACCOUNT: &str = "execution-controller";
/// The API group.
pub const GROUP: &str = "kubernetesexecution.kubernaut.io";

/// The documents of a file below `controller/`.
pub fn shipped(path: &str) -> Result<Vec<Value>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../controller").join(path);
    Ok(serde_saphyr::from_multiple::<Value>(
        &std::fs::read_to_string(&file).with_context(|| file.display().to_string())?,
    )?)
}

/// Installs the CRD.
pub async fn install(connection: &Connection) -> Result<()> {
    let world = World::existing(connection, "default").await?;
    for crd in shipped("crds/kubernetesexecutions.yaml")? {
        world.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &crd).await?;
    }
    let path =
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/kubernetesexecutions.kubernetesexecution.kubernaut.io";
    let established = |crd: &Value| {
        crd["status"]["conditions"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["type"] == "Established" && one["status"] == "True"))
    };
    world.until(path, "established", established).await?;
    Ok(())
}

/// The rules that are shipped: of the controller, and those for its Lease.
pub fn rules() -> Result<Vec<Value>> {
    let mut rules = Vec::new();
    for role in shipped("deploy/base/role.yaml")?.into_iter().chain(shipped("deploy/base/lease.yaml")?) {
        rules.extend(role["rules"].as_array().cloned().unwrap_or_default());
    }
    Ok(rules)
}

/// Makes the controller's account with these rules, and returns its kubeconfig.
pub async fn account(world: &World, rules: &[Value]) -> Result<PathBuf> {
    let documents = [
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": ACCOUNT, "namespace": world.namespace } }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": { "name": ACCOUNT, "namespace": world.namespace }, "rules": rules,
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": { "name": ACCOUNT, "namespace": world.namespace },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": ACCOUNT },
            "subjects": [{ "kind": "ServiceAccount", "name": ACCOUNT, "namespace": world.namespace }],
        }),
    ];
    // JSON is YAML.
    let yaml = documents.map(|document| document.to_string()).join("\n---\n");
    world.account(&yaml).await
}

/// A policy of the cluster that changes every Job of this namespace, and works.
pub async fn mutating_policy(world: &World, expression: &str) -> Result<()> {
    let (name, group) = (&world.namespace, "admissionregistration.k8s.io");
    let policy = json!({
        "apiVersion": format!("{group}/v1"), "kind": "MutatingAdmissionPolicy", "metadata": { "name": name },
        "spec": {
            "matchConstraints": {
                "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": name } },
                "resourceRules": [{ "apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"] }],
            },
            "failurePolicy": "Fail", "reinvocationPolicy": "Never",
            "mutations": [{ "patchType": "JSONPatch", "jsonPatch": { "expression": format!("[{expression}]") } }],
        },
    });
    let binding = json!({
        "apiVersion": format!("{group}/v1"), "kind": "MutatingAdmissionPolicyBinding", "metadata": { "name": name },
        "spec": { "policyName": name },
    });
    world.create(&format!("/apis/{group}/v1/mutatingadmissionpolicies"), &policy).await?;
    world.create(&format!("/apis/{group}/v1/mutatingadmissionpolicybindings"), &binding).await?;
    let probe = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "probe" },
        "spec": { "template": { "spec": { "restartPolicy": "Never", "containers": [{ "name": "x", "image": "x" }] } } },
    });
    let path = format!("{}?dryRun=All", world.path("batch/v1", "jobs"));
    let limit = Instant::now() + Duration::from_mins(1);
    while world.create(&path, &probe).await?["spec"]["ttlSecondsAfterFinished"].is_null() {
        ensure!(Instant::now() < limit, "the policy does not work");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
