//! The audit record as it is installed: the executor, the receiver's image and a real PostgreSQL, by the shipped manifests.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::node;
use test_cluster::postgres::Postgres;

use crate::executor::{accounts, ended, execute, execution, scale, with_executor};
use crate::manifests::kubectl;
use crate::support::{N, images, scenarios};

scenarios!("receiver": every_attempt_is_a_row);

/// Of the Service: no name is resolved in this cluster.
const ADDRESS: &str = "10.96.85.85";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/audit/deployments/audit-receiver";

/// A path of this repository, as kustomize takes it in a folder.
fn relative(folder: &Path, path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path).display().to_string();
    format!("{}{}", "../".repeat(folder.components().count() - 1), path.trim_start_matches('/'))
}

/// A kustomization of a user's own: an address that is known before, and the node's network, where the test's PostgreSQL is.
fn overlay(n: &N) -> Result<String> {
    let folder = n.world.folder().join("receiver");
    fs::create_dir_all(&folder)?;
    let network = json!([
        { "op": "add", "path": "/spec/template/spec/hostNetwork", "value": true },
        // Two would share a port there.
        { "op": "replace", "path": "/spec/replicas", "value": 1 },
    ]);
    let address = json!([{ "op": "add", "path": "/spec/clusterIP", "value": ADDRESS }]);
    // The node's network is not for the restricted level.
    let level = json!([{ "op": "remove", "path": "/metadata/labels" }]);
    let patch = |kind: &str, name: &str, patch: Value| json!({ "target": { "kind": kind, "name": name }, "patch": patch.to_string() });
    let text = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
        "resources": [relative(&folder, "controller/receiver/deploy")],
        "patches": [
            patch("Deployment", "audit-receiver", network), patch("Service", "audit-receiver", address), patch("Namespace", "audit", level),
        ],
    });
    fs::write(folder.join("kustomization.yaml"), text.to_string())?;
    Ok(folder.display().to_string())
}

/// The files of the two Secrets that docs/audit.md asks for.
fn secrets(n: &N, url: &str) -> Result<PathBuf> {
    // Kustomize takes files beside its own only.
    let folder = n.world.folder().join("executor");
    fs::create_dir_all(&folder)?;
    let (certificate, key) = node::certificate(ADDRESS)?;
    let files = [
        ("url", url),
        ("token", "a-token-of-this-test"),
        ("tls.crt", &certificate),
        ("tls.key", &key),
        ("ca.crt", &certificate),
    ];
    for (name, text) in files {
        fs::write(folder.join(name), text)?;
    }
    Ok(folder)
}

/// As they are shipped, two of them start at the restricted level; without a database they live, and are not ready.
async fn shipped(n: &N) -> Result<()> {
    let pods = "/api/v1/namespaces/audit/pods";
    let started = |list: &Value| {
        let all = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        let of = |pod: &Value| pod["status"]["containerStatuses"][0].clone();
        all.len() == 2 && all.iter().all(|pod| of(pod)["started"] == true && of(pod)["ready"] == false)
    };
    n.world.until(pods, "two that live, and are not ready", started).await.map(|_| ())
}

async fn every_attempt_is_a_row(n: N) -> Result<()> {
    let database = Postgres::start_own()?;
    let files = secrets(&n, database.url())?;
    let from = |name: &str| format!("--from-file={}", files.join(name).display());
    kubectl(&n, &["create", "namespace", "audit"])?;
    let names = [from("url"), from("token"), from("tls.crt"), from("tls.key")];
    let arguments: Vec<&str> = ["--namespace=audit", "create", "secret", "generic", "audit-receiver"]
        .into_iter()
        .chain(names.iter().map(String::as_str))
        .collect();
    kubectl(&n, &arguments)?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("controller/receiver/deploy").display().to_string();
    kubectl(&n, &["apply", "--validate=strict", "--kustomize", &folder])?;
    shipped(&n).await?;
    // An address of one's choice is given to a Service when it is made.
    kubectl(&n, &["--namespace=audit", "delete", "service,deployment", "audit-receiver"])?;
    let overlay = overlay(&n)?;
    kubectl(&n, &["apply", "--validate=strict", "--kustomize", &overlay])?;
    n.world.until(DEPLOYMENT, "ready", |one| one["status"]["readyReplicas"] == 1).await.context("ready")?;

    let digests = pinned(&n)?;
    let at = n.world.folder().join("executor");
    let more = json!({
        "components": [relative(&at, "controller/deploy/components/audit")],
        "generatorOptions": { "disableNameSuffixHash": true },
        "secretGenerator": [{
            "name": "execution-controller-audit", "namespace": "execution-controller",
            "files": ["token", "ca.crt"],
        }],
    });
    let audit = format!("--audit=https://{ADDRESS}:8085");
    let used = async |n: &N| used(n, database.url()).await;
    Box::pin(with_executor(&n, &json!({ "imageDigests": digests }), &[&audit], more, used)).await?;
    kubectl(&n, &["delete", "--kustomize", &overlay])?;
    n.world.gone("/api/v1/namespaces/audit").await
}

/// The digests that `images/build.sh` wrote for the settings; the node has the images by them, as from a registry.
fn pinned(n: &N) -> Result<Value> {
    let text = fs::read_to_string(images().join("by-digest/settings.yaml"))?;
    let digests = serde_saphyr::from_str::<Value>(&text)?["imageDigests"].take();
    let scale = digests["action-scale"].as_str().context("no digest of action-scale")?;
    let name = "docker.io/library/action-scale";
    n.node.tag(&format!("{name}:{}", env!("CARGO_PKG_VERSION")), &format!("{name}@{scale}"))?;
    Ok(digests)
}

async fn used(n: &N, url: &str) -> Result<()> {
    accounts(n, &["scale-deployment"]).await?;
    n.world.workload("Deployment", "web", 1, json!({})).await?;
    execute(n, "up", scale("web", 2)).await?;
    ended(n, "up", "Completed", "Changed", "applied").await?;
    let job = n.world.get(&format!("{}/up-job", n.world.path("batch/v1", "jobs"))).await?;
    let image = job["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
    ensure!(image.contains("action-scale:") && image.contains("@sha256:"), "not by its digest: {image}");
    // Its finalizer is the outbox: gone when the event is kept.
    n.world.until(&execution(n, "up"), "let go", |one| one["metadata"].get("finalizers").is_none()).await?;
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    let _ends_with_the_client = tokio::spawn(connection);
    let sql = "SELECT row_to_json(one)::text FROM kubernetes_execution_audit AS one";
    let rows = client.query(sql, &[]).await?.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>();
    let row: Value = serde_json::from_str(rows.first().context("no row")?)?;
    ensure!(
        rows.len() == 1 && row["execution_name"] == "up" && row["effect"] == "applied" && row["attempt"] == 1,
        "expected one row for the one attempt: {rows:?}"
    );
    Ok(())
}
