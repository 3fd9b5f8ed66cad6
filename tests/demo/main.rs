//! `cargo demo`: a real cluster, a small shop, and each action through the real binary, so that the output teaches the tool.
//!
//! `cargo demo --keep` leaves the cluster running until Enter is pressed, to try things by hand.
//! `TEST_KUBECONFIG=~/.kube/config cargo demo` uses that cluster (pods there must be able to run; a namespace is made and removed).
#![allow(clippy::indexing_slicing, reason = "of JSON: what is missing is null, and fails the check that follows")]
#![expect(clippy::print_stdout, reason = "this program is its output")]

mod executor;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::Cluster;
use test_cluster::fixtures::World;
use test_cluster::runner::{Outcome, Run};

fn main() -> ExitCode {
    test_cluster::supervise_if_asked();
    let own: Vec<_> = std::env::args_os().collect();
    if own.get(1).is_some_and(|argument| argument == executor::CONTROLLER) {
        return controller::program(own.into_iter().skip(1));
    }
    let keep = std::env::args().any(|argument| argument == "--keep");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let shown = runtime.context("failed to start").and_then(|runtime| runtime.block_on(show(keep)));
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            test_cluster::assets::tell(&format!("the demo failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn show(keep: bool) -> Result<()> {
    heading(
        "A real Kubernetes control plane starts (etcd, kube-apiserver, controllers, scheduler; kwok plays the nodes)",
    );
    let cluster = Cluster::start()?;
    // Our own cluster is empty: the namespace can have its plain name.
    let world = if cluster.connection.audit_log.is_some() {
        World::named(&cluster.connection, "shop").await?
    } else {
        World::new(&cluster.connection, "action-runner-demo").await?
    };
    let node = node(&world).await?;
    let demo = Demo { world, binary: PathBuf::from(env!("CARGO_BIN_EXE_action-runner")), accounts: RefCell::default() };
    demo.shop().await?;
    println!("  namespace {}: Deployment web (revisions 1 and 2), StatefulSet db; node {node}\n", demo.world.namespace);

    let scaled = demo
        .act(
            "scale",
            "scale-deployment",
            "web",
            json!({ "replicas": 5 }),
            "The whole result, as a controller reads it from the last line of stdout:",
        )
        .await?;
    demo.back("Every result says how to take its effect back. That is the next run:", &scaled, "web").await?;
    demo.act("restart", "restart-deployment", "web", json!({}), "").await?;
    demo.act("rollback", "rollback-deployment", "web", json!({}), "").await?;
    let cordoned = demo.act("cordon", "cordon-node", &node, json!({ "reason": "disk errors" }), "").await?;
    demo.back("And back:", &cordoned, &node).await?;
    demo.act("collect-logs", "collect-logs-deployment", "web", json!({ "tailLines": 2 }), "").await?;
    demo.refusal().await?;
    executor::show(&demo.world, &demo.binary).await?;
    if keep {
        println!(
            "The cluster is up until you press Enter:\n  export KUBECONFIG={}",
            cluster.connection.kubeconfig.display()
        );
        std::io::stdin().read_line(&mut String::new())?;
    }
    demo.world.end().await
}

/// A node to cordon: kwok's in our own cluster, the first one in somebody's.
async fn node(world: &World) -> Result<String> {
    if world.connection.audit_log.is_none() {
        let nodes = world.get("/api/v1/nodes?limit=1").await?;
        return Ok(nodes["items"][0]["metadata"]["name"].as_str().context("the cluster has no node")?.to_owned());
    }
    for name in ["node-a", "node-b"] {
        world.create("/api/v1/nodes", &json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": { "test/pool": "shared" } } })).await?;
    }
    Ok("node-b".to_owned())
}

struct Demo {
    world: World,
    binary: PathBuf,
    accounts: RefCell<BTreeMap<String, PathBuf>>,
}

impl Demo {
    /// Two workloads; the Deployment has two revisions, and its containers have logs.
    async fn shop(&self) -> Result<()> {
        if let Some(logs) = &self.world.connection.logs {
            let lines = "2026-11-23T03:00:00.000000001Z stdout F GET /cart 500 upstream db: connection refused\n\
                         2026-11-23T03:00:01.000000001Z stdout F retrying with postgres://shop:hunter22@db:5432/shop\n";
            std::fs::write(logs.join("app.log"), lines)?;
        }
        let image = |tag: &str| json!({ "spec": { "template": { "spec": { "containers": [{ "name": "app", "image": format!("registry.k8s.io/pause:{tag}") }] } } } });
        self.world.workload("Deployment", "web", 3, image("3.9")).await?;
        let path = self.world.workload_path("Deployment", "web");
        self.world.merge(&path, &image("3.10")).await?;
        self.world
            .until(&path, "rolled out", |web| {
                web["status"]["updatedReplicas"] == 3
                    && web["status"]["availableReplicas"] == 3
                    && web["status"]["replicas"] == 3
                    && web["status"]["observedGeneration"] == web["metadata"]["generation"]
            })
            .await?;
        self.world.workload("StatefulSet", "db", 1, image("3.9")).await.map(|_| ())
    }

    /// A kubeconfig with exactly the permissions that the action's Role grants; made once per action.
    async fn account(&self, action: &str) -> Result<PathBuf> {
        if let Some(file) = self.accounts.borrow().get(action) {
            return Ok(file.clone());
        }
        let arguments = ["rbac", action, "--namespace", &self.world.namespace];
        let output = std::process::Command::new(&self.binary).args(arguments).output()?;
        let file = self.world.account(&String::from_utf8(output.stdout)?).await?;
        self.accounts.borrow_mut().insert(action.to_owned(), file.clone());
        Ok(file)
    }

    async fn run(&self, account: &Path, action: &str, name: &str, parameters: &Value) -> Result<Outcome> {
        let mut run = Run::new(&self.binary, account, action, name).with("TARGET_NAMESPACE", &self.world.namespace);
        if parameters.as_object().is_some_and(|fields| !fields.is_empty()) {
            run = run.parameters(parameters);
        }
        println!("$ {}", run.command_line());
        let outcome = run.complete(&self.world).await?;
        println!("{}: {}", outcome.result["code"].as_str().unwrap_or_default(), sentence(&outcome));
        Ok(outcome)
    }

    async fn act(&self, title: &str, action: &str, name: &str, parameters: Value, whole: &str) -> Result<Outcome> {
        heading(title);
        println!(
            "# under a ServiceAccount that may do just this: action-runner rbac {action} -n {} | kubectl apply -f -",
            self.world.namespace
        );
        let account = self.account(action).await?;
        let outcome = self.run(&account, action, name, &parameters).await?;
        ensure!(outcome.exit == 0, "{:#}", outcome.result);
        for line in &outcome.lines {
            println!(
                "  {} {}: {}",
                line["pod"].as_str().unwrap_or_default(),
                line["container"].as_str().unwrap_or_default(),
                line["line"].as_str().unwrap_or_default()
            );
        }
        if whole.is_empty() {
            println!(
                "  effect: {}, rollbackInformation: {}\n",
                outcome.result["effect"], outcome.result["rollbackInformation"]
            );
        } else {
            println!("{whole}\n{}\n", pretty(&outcome.text)?);
        }
        Ok(outcome)
    }

    async fn back(&self, text: &str, outcome: &Outcome, name: &str) -> Result<()> {
        println!("{text}");
        let undo = &outcome.result["rollbackInformation"];
        let action = undo["rollbackAction"].as_str().context("it cannot be taken back")?;
        let account = self.account(action).await?;
        let back = self.run(&account, action, name, &undo["rollbackParameters"]).await?;
        ensure!(back.exit == 0, "{:#}", back.result);
        println!();
        Ok(())
    }

    async fn refusal(&self) -> Result<()> {
        heading("and when it will not");
        let account = self.account("scale-deployment").await?;
        let outcome = self.run(&account, "scale-deployment", "web", &json!({ "replicas": 0 })).await?;
        ensure!(outcome.exit == 3, "{:#}", outcome.result);
        println!("  exit code 3, effect: {}\n", outcome.result["effect"]);
        Ok(())
    }
}

/// Indented, the fields in the order in which they were written.
fn pretty(line: &str) -> Result<String> {
    let mut text = Vec::new();
    let mut from = serde_json::Deserializer::from_str(line);
    serde_transcode::transcode(&mut from, &mut serde_json::Serializer::pretty(&mut text))?;
    Ok(String::from_utf8(text)?)
}

fn sentence(outcome: &Outcome) -> &str {
    outcome.result["output"].as_str().or(outcome.result["error"].as_str()).unwrap_or_default()
}

fn heading(text: &str) {
    println!("── {text} {}", "─".repeat(100_usize.saturating_sub(text.chars().count())));
}
