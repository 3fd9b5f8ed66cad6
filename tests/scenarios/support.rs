//! What every scenario has.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::Connection;
use test_cluster::fixtures::World;
use test_cluster::proxy::{Proxy, Rule};
use test_cluster::runner::{Outcome, Run};
use tokio::sync::Mutex;

/// A scenario's name and what it does.
pub type Scenario = (&'static str, fn(T) -> Pin<Box<dyn Future<Output = Result<()>>>>);

/// Lists scenarios by their functions: one that is not listed is dead code, which does not pass clippy.
macro_rules! scenarios {
    ($module:literal: $($name:ident),+ $(,)?) => {
        /// The scenarios of this file.
        pub fn all() -> Vec<$crate::support::Scenario> {
            vec![$((concat!($module, "::", stringify!($name)), |t| Box::pin($name(t)))),+]
        }
    };
}
pub(crate) use scenarios;

/// A scenario's namespace, and the runner.
#[derive(Clone)]
pub struct T(Arc<Inner>);

pub struct Inner {
    /// Where fixtures are made.
    pub world: World,
    /// The binary under test.
    pub binary: PathBuf,
    accounts: Mutex<BTreeMap<String, PathBuf>>,
}

impl std::ops::Deref for T {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// Runs a future on this thread.
pub fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

/// The binary that cargo built for this test, or the one that is to be judged in its place.
pub fn binary() -> PathBuf {
    test_cluster::assets::variable("ACTION_RUNNER")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_action-runner")), PathBuf::from)
}

/// Three nodes for all scenarios.
pub async fn nodes(connection: &Connection) -> Result<()> {
    let world = World::new(connection, "nodes").await?;
    if world.connection.audit_log.is_none() {
        return Ok(());
    }
    for name in ["node-a", "node-b", "node-c"] {
        node(&world, name, json!([])).await?;
        world
            .merge(&format!("/api/v1/nodes/{name}"), &json!({ "metadata": { "labels": { "test/pool": "shared" } } }))
            .await?;
    }
    Ok(())
}

/// A node that kwok plays, ready, with these taints.
pub async fn node(world: &World, name: &str, taints: Value) -> Result<Value> {
    let labels = json!({ "kubernetes.io/hostname": name, "test/namespace": world.namespace });
    let node = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": labels }, "spec": { "taints": taints },
    });
    world.create("/api/v1/nodes", &node).await?;
    let ready = |node: &Value| {
        let conditions = node["status"]["conditions"].as_array();
        let taints = node["spec"]["taints"].as_array();
        conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
            && taints.is_none_or(|all| all.iter().all(|one| one["key"] == "test/own"))
    };
    world.until(&format!("/api/v1/nodes/{name}"), "ready", ready).await
}

impl T {
    /// A new namespace.
    pub async fn new(connection: &Connection, name: &str) -> Result<Self> {
        let world = World::new(connection, name).await?;
        Ok(Self(Arc::new(Inner { world, binary: binary(), accounts: Mutex::new(BTreeMap::new()) })))
    }

    /// Cleans up after a success; after a failure tells what the cluster looks like.
    pub async fn end(self, outcome: Result<()>) -> Result<()> {
        match outcome {
            Ok(()) => Arc::into_inner(self.0).context("the scenario still runs")?.world.end().await,
            Err(error) => Err(error.context(self.world.post_mortem().await)),
        }
    }

    /// The YAML that the runner prints for an action.
    pub fn rbac(&self, action: &str) -> Result<String> {
        let output = std::process::Command::new(&self.binary)
            .args(["rbac", action, "--namespace", &self.world.namespace, "--events"])
            .output()?;
        ensure!(output.status.success(), "rbac {action}: {}", String::from_utf8_lossy(&output.stdout));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// A kubeconfig of the action's own ServiceAccount.
    pub async fn account(&self, action: &str) -> Result<PathBuf> {
        let mut accounts = self.accounts.lock().await;
        if let Some(file) = accounts.get(action) {
            return Ok(file.clone());
        }
        let file = self.world.account(&self.rbac(action)?).await?;
        accounts.insert(action.to_owned(), file.clone());
        Ok(file)
    }

    /// A run under the action's own permissions.
    pub async fn run(&self, action: &str, name: &str) -> Result<Run> {
        let account = self.account(action).await?;
        Ok(Run::new(&self.binary, &account, action, name).with("TARGET_NAMESPACE", &self.world.namespace))
    }

    /// Runs it to its end.
    pub async fn complete(&self, run: &Run) -> Result<Outcome> {
        run.complete(&self.world).await
    }

    /// Runs an action with parameters.
    pub async fn act(&self, action: &str, name: &str, parameters: &Value) -> Result<Outcome> {
        let run = self.run(action, name).await?.parameters(parameters);
        self.complete(&run).await
    }

    /// The same run through a proxy with a fault.
    pub async fn through_proxy(&self, action: &str, rule: Rule) -> Result<(Proxy, PathBuf)> {
        self.account(action).await?;
        let (connection, folder): (&Connection, &Path) = (&self.world.connection, self.world.folder());
        let proxy = Proxy::start(&connection.server, &connection.authority, folder, rule).await?;
        let file = self.world.token_kubeconfig(&format!("action-{action}"), &proxy.server, &proxy.authority).await?;
        Ok((proxy, file))
    }

    /// Runs the request that takes an outcome's effect back, as its result says, on the same target.
    pub async fn undo(&self, outcome: &Outcome, name: &str) -> Result<Outcome> {
        let undo = &outcome.result["rollbackInformation"];
        ensure!(undo["available"] == json!(true), "no rollback: {:#}", outcome.result);
        let action = undo["rollbackAction"].as_str().context("no rollbackAction")?;
        self.act(action, name, &undo["rollbackParameters"]).await
    }

    /// A patch by somebody else.
    pub async fn meddle(&self, kind: &str, name: &str, patch: Value) -> Result<()> {
        self.world.merge(&self.world.workload_path(kind, name), &patch).await.map(|_| ())
    }

    /// A workload's present state.
    pub async fn object(&self, kind: &str, name: &str) -> Result<Value> {
        self.world.get(&self.world.workload_path(kind, name)).await
    }
}

/// Compares with the code, the effect, and (a part of) what is said.
pub fn expect(outcome: &Outcome, code: &str, effect: &str, says: &str) -> Result<()> {
    let result = &outcome.result;
    let said = result["output"].as_str().or(result["error"].as_str()).unwrap_or_default();
    let fits = result["code"] == code && result["effect"] == effect && said.contains(says);
    ensure!(fits, "expected {code}, effect {effect}, {says:?}; got {result:#}\n{}", outcome.stderr);
    Ok(())
}
