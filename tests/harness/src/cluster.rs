//! A cluster to test against: our own, or one that the user names.

use std::path::{Path, PathBuf};
use std::process::Child;

use anyhow::{Context, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::assets::{Nodes, tell, variable};
use crate::components::Pace;
use crate::node::RealNode;
use crate::supervisor;

/// The token of the test's own all-powerful user.
pub const ADMIN_TOKEN: &str = "test-admin";

/// How to reach a cluster, and what it shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Connection {
    /// A kubeconfig that may do everything.
    pub kubeconfig: PathBuf,
    /// The API server's address.
    pub server: String,
    /// Its certificate authority.
    pub authority: PathBuf,
    /// Its audit log; none on somebody's own cluster.
    pub audit_log: Option<PathBuf>,
    /// The folder with the containers' logs that kwok serves.
    pub logs: Option<PathBuf>,
    /// The key that ServiceAccount tokens are signed with; none on somebody's own cluster.
    pub token_key: Option<PathBuf>,
    /// The real node, if there is one.
    pub node: Option<RealNode>,
}

/// A cluster; dropping it ends it, if it is ours.
pub struct Cluster {
    /// How to reach it.
    pub connection: Connection,
    supervisor: Option<Child>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut supervisor) = self.supervisor.take() {
            drop(supervisor.stdin.take());
            // It ends when it has ended the cluster.
            let _reaped = supervisor.wait();
        }
    }
}

impl Connection {
    /// What each of our own cluster's programs has written so far.
    pub fn component_logs(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let Some(folder) = self.audit_log.as_deref().and_then(Path::parent) else { return Ok(Vec::new()) };
        let mut logs = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let is_log = path.extension().is_some_and(|end| end == "log") && Some(&path) != self.audit_log.as_ref();
            if let (true, Some(program)) = (is_log, path.file_stem()) {
                logs.push((program.to_string_lossy().into_owned(), std::fs::read(&path)?));
            }
        }
        logs.sort();
        Ok(logs)
    }
}

impl Cluster {
    /// Our own cluster with a real node beside the fake ones; see [`crate::node::enter`].
    pub fn with_real_node() -> Result<Self> {
        let (supervisor, connection) = supervisor::start(Nodes::Real, Pace::Tests)?;
        Ok(Self { connection, supervisor: Some(supervisor) })
    }

    /// Ends one of our own cluster's programs as SIGKILL does; the API server comes back some seconds later.
    pub fn kill(&self, name: &str) -> Result<()> {
        let supervisor = self.supervisor.as_ref().context("the cluster is not ours")?.id().to_string();
        crate::node::run("pkill", &["-KILL", "-P", &supervisor, "-x", name.get(..15).unwrap_or(name)]).map(|_| ())
    }

    /// Our own cluster, or the one of `TEST_KUBECONFIG`.
    pub fn start() -> Result<Self> {
        if let Some(file) = variable("TEST_KUBECONFIG") {
            tell(
                "TEST_KUBECONFIG is set: using that cluster. BOTH JUDGES ARE OFF: what runs report is not compared with what the API server saw, nor with what became of the pods.",
            );
            return Ok(Self { connection: existing(Path::new(&file))?, supervisor: None });
        }
        let (supervisor, connection) = supervisor::start(Nodes::Fake, Pace::Tests)?;
        Ok(Self { connection, supervisor: Some(supervisor) })
    }

    /// Our own cluster to measure on: kwok plays the pods in namespaces whose names begin with `figures` by the stages of
    /// `kwok/figures.yaml`.
    pub fn for_figures(pace: Pace) -> Result<Self> {
        let (supervisor, connection) = supervisor::start(Nodes::Fake, pace)?;
        Ok(Self { connection, supervisor: Some(supervisor) })
    }
}

fn existing(file: &Path) -> Result<Connection> {
    let kubeconfig =
        Kubeconfig::read_from(file).with_context(|| format!("TEST_KUBECONFIG: failed to read {}", file.display()))?;
    let cluster =
        kubeconfig.clusters.first().and_then(|one| one.cluster.as_ref()).context("TEST_KUBECONFIG names no cluster")?;
    let server = cluster.server.clone().context("TEST_KUBECONFIG's cluster has no server")?;
    let authority = cluster.certificate_authority.clone().map(PathBuf::from).unwrap_or_default();
    Ok(Connection {
        kubeconfig: file.to_path_buf(),
        server,
        authority,
        audit_log: None,
        logs: None,
        token_key: None,
        node: None,
    })
}

/// A self-contained kubeconfig for a token.
pub fn kubeconfig(server: &str, authority: &Path, token: &str, namespace: &str) -> Result<String> {
    kubeconfig_of(server, authority, &json!({ "token": token }), namespace)
}

/// A kubeconfig for a user.
pub fn kubeconfig_of(server: &str, authority: &Path, user: &serde_json::Value, namespace: &str) -> Result<String> {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{ "name": "test", "cluster": { "server": server, "certificate-authority": authority } }],
        "users": [{ "name": "test", "user": user }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test", "namespace": namespace } }],
    });
    // JSON is YAML.
    Ok(serde_json::to_string_pretty(&config)?)
}

/// A client for a kubeconfig.
pub async fn client(file: &Path) -> Result<kube::Client> {
    Ok(kube::Client::try_from(config(file).await?)?)
}

/// The same, which sends nothing again: what the API server answers is the answer.
pub async fn client_that_asks_once(file: &Path) -> Result<kube::Client> {
    let mut config = config(file).await?;
    config.default_retry = false;
    Ok(kube::Client::try_from(config)?)
}

async fn config(file: &Path) -> Result<kube::Config> {
    let kubeconfig = Kubeconfig::read_from(file)?;
    Ok(kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
}
