//! Every manifest of rbac/ against the real API server, which is the schema: as it stands, and with each component.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use test_cluster::node;

use crate::support::{N, scenarios};

scenarios!("manifests": all_are_accepted, for_one_namespace_and_for_many_and_for_the_cluster);

fn rbac() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("rbac")
}

/// kubectl with the cluster's own rights.
fn kubectl(n: &N, arguments: &[&str]) -> Result<String> {
    let kubeconfig = n.world.connection.kubeconfig.display().to_string();
    let kubectl = n.node.kubectl.display().to_string();
    node::run(&kubectl, &[&["--kubeconfig", &kubeconfig], arguments].concat())
}

/// The folders of action types.
fn action_types() -> Vec<String> {
    actions::catalogue::names()
}

async fn all_are_accepted(n: N) -> Result<()> {
    for action in action_types() {
        let folder = rbac().join(&action);
        let (account, job) = (folder.display().to_string(), folder.join("job.yaml").display().to_string());
        let made = kubectl(&n, &["apply", "--dry-run=server", "--validate=strict", "--kustomize", &account]);
        let made = made.with_context(|| action.clone())?;
        ensure!(made.contains("serviceaccount/") && made.contains("binding"), "{action}: {made}");
        kubectl(&n, &["apply", "--dry-run=server", "--validate=strict", "--filename", &job]).with_context(|| action)?;
    }
    Ok(())
}

/// A kustomization of a user's own, outside of this repository.
fn kustomization(n: &N, name: &str, text: &str) -> Result<String> {
    let folder = n.world.folder().join(name);
    fs::create_dir_all(&folder)?;
    // kustomize takes relative paths only.
    let up = "../".repeat(folder.components().count() - 1);
    let here = format!("{up}{}", rbac().display().to_string().trim_start_matches('/'));
    let head = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n";
    fs::write(folder.join("kustomization.yaml"), format!("{head}{}", text.replace("RBAC", &here)))?;
    Ok(folder.display().to_string())
}

fn may(n: &N, account: &str, namespace: &str, verb: &str, resource: &str) -> Result<bool> {
    let (resource, sub) = resource.split_once('/').unwrap_or((resource, ""));
    let output = std::process::Command::new(&n.node.kubectl)
        .args([
            "auth",
            "can-i",
            verb,
            resource,
            &format!("--subresource={sub}"),
            "--namespace",
            namespace,
            "--as",
            account,
        ])
        .arg("--kubeconfig")
        .arg(&n.world.connection.kubeconfig)
        .output()?;
    // It exits with 1 for "no" and for an error alike: what it says counts.
    match String::from_utf8_lossy(&output.stdout).trim() {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => anyhow::bail!("can-i {verb} {resource}: {}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// What was granted just now is allowed as soon as the API server's authorizer has learnt of it.
fn soon(allowed: impl Fn() -> Result<bool>) -> Result<()> {
    let limit = Instant::now() + Duration::from_secs(10);
    while !allowed()? {
        ensure!(Instant::now() < limit, "it is not allowed");
    }
    Ok(())
}

async fn for_one_namespace_and_for_many_and_for_the_cluster(n: N) -> Result<()> {
    let (own, other) = (n.world.namespace.as_str(), "kube-system");
    let actor = format!("system:serviceaccount:{own}:action-restart-deployment");
    let one = kustomization(
        &n,
        "one",
        &format!("namespace: {own}\nresources: [RBAC/restart-deployment]\ncomponents: [RBAC/components/events]\n"),
    )?;
    kubectl(&n, &["apply", "--kustomize", &one])?;
    soon(|| may(&n, &actor, own, "patch", "deployments.apps"))?;
    soon(|| may(&n, &actor, own, "create", "events.events.k8s.io"))?;
    ensure!(
        !may(&n, &actor, other, "patch", "deployments.apps")? && !may(&n, &actor, own, "delete", "deployments.apps")?
    );

    let many = kustomization(
        &n,
        "many",
        &format!(
            "namespace: {own}\nresources: [RBAC/scale-deployment]\ncomponents: [RBAC/components/account-elsewhere]\n"
        ),
    )?;
    let made = kubectl(&n, &["apply", "--kustomize", &many])?;
    ensure!(!made.contains("serviceaccount/"), "{made}");
    let elsewhere = "system:serviceaccount:actions:action-scale-deployment";
    soon(|| may(&n, elsewhere, own, "patch", "deployments.apps/scale"))?;
    ensure!(!may(&n, elsewhere, other, "patch", "deployments.apps/scale")?);

    let all = kustomization(
        &n,
        "all",
        &format!("namespace: {own}\nresources: [RBAC/rollback-deployment]\ncomponents: [RBAC/components/cluster]\n"),
    )?;
    let made = kubectl(&n, &["apply", "--kustomize", &all])?;
    let everywhere = format!("system:serviceaccount:{own}:action-rollback-deployment");
    let reaches = soon(|| may(&n, &everywhere, other, "patch", "deployments.apps"))
        .and_then(|()| soon(|| may(&n, &everywhere, own, "patch", "deployments.apps")));
    kubectl(&n, &["delete", "--kustomize", &all])?;
    ensure!(made.contains("clusterrole.rbac.authorization.k8s.io/") && !made.contains("\nrole."), "{made}");
    reaches.context("the cluster component does not reach every namespace")?;

    let admission = kustomization(&n, "admission", "components: [RBAC/components/admission]\n")?;
    let objects = kubectl(
        &n,
        &["apply", "--dry-run=server", "--validate=strict", "--kustomize", &admission, "--output", "json"],
    )?;
    let objects: Value = serde_json::from_str(&objects)?;
    ensure!(objects["items"].as_array().is_some_and(|items| items.len() == 10), "{objects:#}");
    Ok(())
}
