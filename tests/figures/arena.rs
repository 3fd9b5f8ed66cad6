//! Where it is measured: a cluster of its own for each step, and a namespace of its own for each burst.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use controller::api::KubernetesExecution;
use controller::job::{Start, job};
use controller::plan::{Plan, plan};
use controller::settings::Settings;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use test_cluster::executor::{self, GROUP};
use test_cluster::fixtures::{self, World};
use test_cluster::tail::Tail;
use test_cluster::{Cluster, Pace};

use crate::program::Program;

/// Requests at once of whoever creates "at once".
const CREATORS: usize = 32;
/// The longest that anything is waited for: a burst of 5,000 takes half an hour.
const LIMIT: Duration = Duration::from_hours(2);
/// The timeout of executions: none runs out while so many wait for the Job controller.
const TIMEOUT: Duration = Duration::from_hours(12);

/// A cluster.
pub struct Arena<'a> {
    cluster: Cluster,
    /// The controller that is measured.
    pub program: &'a Program,
    /// Whether it is only tried.
    pub smoke: bool,
}

/// A namespace, with the accounts that are needed.
pub struct Field<'a> {
    /// Its cluster.
    pub arena: &'a Arena<'a>,
    /// The namespace.
    pub world: World,
    /// The controller's kubeconfig.
    pub kubeconfig: PathBuf,
}

impl<'a> Arena<'a> {
    /// Starts a cluster whose controller manager has this pace.
    pub async fn start(pace: Pace, program: &'a Program, smoke: bool) -> Result<Self> {
        let cluster = Cluster::for_figures(pace)?;
        fixtures::nodes(&cluster.connection).await?;
        executor::install(&cluster.connection).await?;
        Ok(Self { cluster, program, smoke })
    }

    /// A new namespace.
    pub async fn field(&'a self, name: &str) -> Result<Field<'a>> {
        let world = World::new(&self.cluster.connection, &format!("figures-{name}")).await?;
        let kubeconfig = executor::account(&world, &executor::rules()?).await?;
        // Its pods run nothing: the account needs no permissions.
        let account =
            json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "action-scale-deployment" } });
        world.create(&world.path("v1", "serviceaccounts"), &account).await?;
        Ok(Field { arena: self, world, kubeconfig })
    }

    /// The audit log, from now on.
    pub fn tail(&self) -> Result<Tail> {
        Tail::from_now(self.cluster.connection.audit_log.as_deref().context("no audit log")?)
    }

    /// Waits until the cluster has little to do: what was before is over.
    pub async fn quiet(&self) -> Result<()> {
        /// Lines of the audit log in a second of a cluster that only beats and renews.
        const FEW: usize = 40;
        let (mut tail, mut calm) = (self.tail()?, 0);
        let limit = Instant::now() + LIMIT;
        while calm < 2 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            calm = if tail.read(&[], |_| {})? <= FEW { calm + 1 } else { 0 };
            ensure!(Instant::now() < limit, "the cluster does not become quiet");
        }
        Ok(())
    }
}

/// An execution: each has a target of its own, which need not exist.
pub fn execution(name: &str, reason: &str, rego: usize) -> Value {
    let mut spec = json!({
        "action": { "type": "scale-deployment", "parameters": { "replicas": 2 }, "target": { "resourceName": format!("{name}-target") } },
        "reason": reason, "timeout": format!("{}s", TIMEOUT.as_secs()), "startingDeadlineSeconds": TIMEOUT.as_secs(),
    });
    if rego > 0 {
        let head = "package figures\n\nallow := true\n# ";
        let padding = "x".repeat(rego.saturating_sub(head.len()));
        spec["preConditions"] = json!([{ "type": "figures", "rego": format!("{head}{padding}") }]);
    }
    json!({ "apiVersion": format!("{GROUP}/v1alpha1"), "kind": "KubernetesExecution", "metadata": { "name": name }, "spec": spec })
}

/// The Job that the controller would make of it, as somebody else's.
fn bare(namespace: &str, name: &str) -> Result<Value> {
    let mut object = execution(name, "figures", 0);
    object["metadata"]["namespace"] = json!(namespace);
    object["metadata"]["uid"] = json!(format!("00000000-0000-4000-8000-{:012x}", fixtures::unique()));
    let execution: KubernetesExecution = serde_json::from_value(object)?;
    let settings = Settings::default();
    let Plan::Runnable(runnable) = plan(&execution, settings.conditions()) else {
        anyhow::bail!("the execution that is measured cannot be carried out")
    };
    let mut made = job(&execution, &runnable, &Start { attempt: 1, timeout: TIMEOUT }, &settings, None);
    made["metadata"].as_object_mut().context("a Job without metadata")?.remove("ownerReferences");
    Ok(made)
}

impl Field<'_> {
    /// The path of the executions.
    pub fn executions(&self) -> String {
        self.world.path(&format!("{GROUP}/v1alpha1"), "kubernetesexecutions")
    }

    fn jobs(&self) -> String {
        self.world.path("batch/v1", "jobs")
    }

    /// Sends these at once, as far as a client does. Returns the answers.
    pub async fn send(&self, path: &str, objects: impl IntoIterator<Item = Value>) -> Result<Vec<Value>> {
        let create = |object: Value| async move { self.world.create(path, &object).await };
        stream::iter(objects).map(create).buffer_unordered(CREATORS).try_collect().await
    }

    /// Creates executions of these names at once. Returns what the API server made of them.
    pub async fn execute(&self, names: &[String], reason: &str, rego: usize) -> Result<Vec<Value>> {
        self.send(&self.executions(), names.iter().map(|name| execution(name, reason, rego))).await
    }

    /// Creates bare Jobs of these names at once.
    pub async fn run_bare(&self, names: &[String]) -> Result<()> {
        let jobs = names.iter().map(|name| bare(&self.world.namespace, name)).collect::<Result<Vec<_>>>()?;
        self.send(&self.jobs(), jobs).await.map(drop)
    }

    /// Creates bare Jobs of these names, each at its time from now on.
    pub async fn run_bare_at(&self, names: &[String], times: &[Duration]) -> Result<()> {
        let (began, path) = (tokio::time::Instant::now(), self.jobs());
        let create = async |(name, after): (&String, &Duration)| {
            let job = bare(&self.world.namespace, name)?;
            tokio::time::sleep_until(began + *after).await;
            self.world.create(&path, &job).await.map(drop)
        };
        futures::future::try_join_all(names.iter().zip(times).map(create)).await.map(drop)
    }

    /// Takes the Job controller's finalizers from pods of a namespace that goes: it would take as long for that as for counting them.
    async fn let_pods_go(&self) -> Result<()> {
        let pods = self.world.path("v1", "pods");
        let list = self.world.get(&pods).await?;
        let names = list["items"].as_array().into_iter().flatten().filter_map(|pod| pod["metadata"]["name"].as_str());
        let let_go = |name: &str| {
            let path = format!("{pods}/{name}");
            // Gone by itself is as good.
            async move { drop(self.world.merge(&path, &json!({ "metadata": { "finalizers": null } })).await) }
        };
        stream::iter(names.map(let_go)).buffer_unordered(CREATORS).collect::<()>().await;
        Ok(())
    }

    /// Whether nothing is left in a list.
    async fn none_left(&self, path: &str, selector: &str) -> Result<bool> {
        let list = self.world.get(&format!("{path}?limit=1&fieldSelector={selector}")).await?;
        Ok(list["items"].as_array().is_none_or(Vec::is_empty))
    }

    /// Whether all executions are settled.
    pub async fn settled(&self) -> Result<bool> {
        self.none_left(&self.executions(), "status.settled%21%3Dtrue").await
    }

    /// Whether all Jobs have succeeded.
    pub async fn complete(&self) -> Result<bool> {
        self.none_left(&self.jobs(), "status.successful%21%3D1").await
    }

    /// Waits until that is so.
    pub async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
        let limit = Instant::now() + LIMIT;
        while !holds().await? {
            ensure!(Instant::now() < limit, "{}: {what} did not come", self.world.namespace);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    /// Removes all of it, and waits until the cluster has got over it.
    pub async fn clear(self) -> Result<()> {
        let (namespace, arena) = (format!("/api/v1/namespaces/{}", self.world.namespace), self.arena);
        self.world.delete(&namespace).await?;
        self.let_pods_go().await?;
        let limit = Instant::now() + LIMIT;
        while self.world.get(&namespace).await.is_ok() {
            ensure!(Instant::now() < limit, "{namespace} does not go");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        arena.quiet().await
    }
}
