//! What is shipped to run the executor, put into a test cluster: the definition, and an account with exactly its permissions.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
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
