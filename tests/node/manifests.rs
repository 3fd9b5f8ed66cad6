//! Every manifest of rbac/ against the real API server, which is the schema: as it stands, and with each component.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use actions::catalogue::{self, Account, Verb};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use test_cluster::node;

use crate::support::{N, scenarios};

scenarios!("manifests": all_are_accepted, for_one_namespace_and_for_many_and_for_the_cluster, only_the_kinds_that_are_named, causes_for_who_waits, causes_with_the_other_components, admission_policies_are_accepted);

fn rbac() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("rbac")
}

/// kubectl with the cluster's own rights.
pub fn kubectl(n: &N, arguments: &[&str]) -> Result<String> {
    let kubeconfig = n.world.connection.kubeconfig.display().to_string();
    let kubectl = n.node.kubectl.display().to_string();
    node::run(&kubectl, &[&["--kubeconfig", &kubeconfig], arguments].concat())
}

async fn all_are_accepted(n: N) -> Result<()> {
    for verb in Verb::ALL {
        let folder = rbac().join(verb.name()).display().to_string();
        let made = kubectl(&n, &["apply", "--dry-run=server", "--validate=strict", "--kustomize", &folder])?;
        for kind in catalogue::kinds(verb) {
            let account = format!("serviceaccount/action-{}-{} ", verb.name(), kind.lower());
            ensure!(made.contains(&account) && made.contains("binding"), "{account}: {made}");
        }
        for account in Account::of_verb(verb) {
            let account = format!("serviceaccount/action-{} ", account.purpose());
            ensure!(made.contains(&account), "{account}: {made}");
        }
        let job = rbac().with_file_name("docs").join(format!("examples/jobs/{}.yaml", verb.name()));
        let job = job.display().to_string();
        kubectl(&n, &["apply", "--dry-run=server", "--validate=strict", "--filename", &job])?;
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
        &format!(
            "namespace: {own}\nresources: [RBAC/restart]\ncomponents: [RBAC/components/kinds, RBAC/components/events]\n"
        ),
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
            "namespace: {own}\nresources: [RBAC/scale]\ncomponents: [RBAC/components/kinds, RBAC/components/account-elsewhere]\n"
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
        &format!(
            "namespace: {own}\nresources: [RBAC/rollback]\ncomponents: [RBAC/components/kinds, RBAC/components/cluster]\n"
        ),
    )?;
    let made = kubectl(&n, &["apply", "--kustomize", &all])?;
    let everywhere = format!("system:serviceaccount:{own}:action-rollback-deployment");
    let reaches = soon(|| may(&n, &everywhere, other, "patch", "deployments.apps"))
        .and_then(|()| soon(|| may(&n, &everywhere, own, "patch", "deployments.apps")));
    kubectl(&n, &["delete", "--kustomize", &all])?;
    ensure!(made.contains("clusterrole.rbac.authorization.k8s.io/") && !made.contains("\nrole."), "{made}");
    reaches.context("the cluster component does not reach every namespace")?;
    Ok(())
}

/// By one component the accounts that wait may read what tells why, and no others.
async fn causes_for_who_waits(n: N) -> Result<()> {
    let (own, other) = (n.world.namespace.as_str(), "kube-system");
    let account = |action: &str| format!("system:serviceaccount:{own}:action-{action}");
    let waits = kustomization(
        &n,
        "waits",
        &format!(
            "namespace: {own}\nresources: [RBAC/restart, RBAC/scale]\ncomponents: [RBAC/components/causes/restart, RBAC/components/kinds]\n"
        ),
    )?;
    let made = kubectl(&n, &["apply", "--kustomize", &waits])?;
    let told = (|| {
        ensure!(made.matches("-causes").count() == 2, "the role and the one account that is left: {made}");
        let waiting = account("restart-deployment");
        for (verb, resource) in [("list", "events.events.k8s.io"), ("get", "pods/log"), ("get", "nodes")] {
            soon(|| may(&n, &waiting, own, verb, resource)).with_context(|| resource.to_owned())?;
            ensure!(!may(&n, &account("scale-deployment"), own, verb, resource)?, "scale may {verb} {resource}");
        }
        let more = [
            (own, "list", "nodes"),
            (own, "watch", "events.events.k8s.io"),
            (other, "list", "events.events.k8s.io"),
            (other, "get", "pods/log"),
        ];
        for (namespace, verb, resource) in more {
            ensure!(!may(&n, &waiting, namespace, verb, resource)?, "it may {verb} {resource} in {namespace}");
        }
        Ok(())
    })();
    kubectl(&n, &["delete", "--kustomize", &waits])?;
    told
}

/// With those that change scope and place, every account that waits has all of it, where the account is.
async fn causes_with_the_other_components(n: N) -> Result<()> {
    let own = &n.world.namespace;
    let all = kustomization(
        &n,
        "elsewhere",
        &format!(
            "namespace: {own}\nresources: [RBAC/restart, RBAC/scale, RBAC/rollback, RBAC/collect-logs]\ncomponents: [RBAC/components/causes, RBAC/components/cluster, RBAC/components/account-elsewhere]\n"
        ),
    )?;
    let objects =
        kubectl(&n, &["apply", "--dry-run=server", "--validate=strict", "--kustomize", &all, "--output", "json"])?;
    let objects: Value = serde_json::from_str(&objects)?;
    let objects: Vec<&Value> = objects["items"].as_array().context("no items")?.iter().collect();
    let bindings = objects.iter().filter(|one| one["kind"] == "ClusterRoleBinding");
    ensure!(bindings.clone().all(|one| one["subjects"][0]["namespace"] == "actions"), "{objects:#?}");
    let waiting =
        Verb::ALL.into_iter().flat_map(Account::of_verb).filter(|one| action_runner::cli::tells_causes(*one)).count();
    let named =
        bindings.filter(|one| one["metadata"]["name"].as_str().is_some_and(|name| name.ends_with("-causes"))).count();
    ensure!(named == waiting, "{named} of {waiting}");
    let reads = |one: &&&Value| one["kind"] == "ClusterRole" && one["rules"].to_string().contains("events.k8s.io");
    ensure!(objects.iter().filter(reads).count() == waiting, "{objects:#?}");
    Ok(())
}

async fn admission_policies_are_accepted(n: N) -> Result<()> {
    let admission = kustomization(&n, "admission", "components: [RBAC/components/admission]\n")?;
    let objects = kubectl(
        &n,
        &["apply", "--dry-run=server", "--validate=strict", "--kustomize", &admission, "--output", "json"],
    )?;
    let objects: Value = serde_json::from_str(&objects)?;
    ensure!(objects["items"].as_array().is_some_and(|items| items.len() == 10), "{objects:#}");
    Ok(())
}

/// A copy of the component keeps the accounts of the kinds that it names, and whatever is not ours.
async fn only_the_kinds_that_are_named(n: N) -> Result<()> {
    const OWN: &str = "apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: mine }\n---\n\
        apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: { name: mine }\nrules: []\n";
    let component = fs::read_to_string(rbac().join("components/kinds/kustomization.yaml"))?;
    let copy = component.replace("notin (deployment)", "notin (statefulset,daemonset)");
    ensure!(copy != component, "the component names other kinds than this test thinks");
    let folder = n.world.folder().join("kinds");
    fs::create_dir_all(folder.join("copy"))?;
    fs::write(folder.join("copy/kustomization.yaml"), copy)?;
    fs::write(folder.join("own.yaml"), OWN)?;
    let text = "resources: [own.yaml, RBAC/scale, RBAC/restart]\ncomponents: [copy, RBAC/components/cluster]\n";
    let folder = kustomization(&n, "kinds", text)?;
    let objects = kubectl(&n, &["apply", "--dry-run=client", "--kustomize", &folder, "--output", "json"])?;
    let objects: Value = serde_json::from_str(&objects)?;
    let mut found: Vec<String> = objects["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| {
            format!(
                "{} {}",
                one["kind"].as_str().unwrap_or_default(),
                one["metadata"]["name"].as_str().unwrap_or_default()
            )
        })
        .collect();
    found.sort();
    let mut expected = vec!["Role mine".to_owned(), "ServiceAccount mine".to_owned()];
    for kind in ["ServiceAccount", "ClusterRole", "ClusterRoleBinding"] {
        expected.extend(
            ["scale-statefulset", "restart-statefulset", "restart-daemonset"].map(|one| format!("{kind} action-{one}")),
        );
    }
    expected.sort();
    ensure!(found == expected, "expected {expected:#?}, found {found:#?}");
    Ok(())
}
