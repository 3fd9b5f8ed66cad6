//! The executor's part of the demo: an object, its phases as they pass, its result, and a retry that heals.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::executor::{self, GROUP};
use test_cluster::fixtures::World;
use test_cluster::player::Player;

use super::heading;

/// The argument by which this program is the controller.
pub const CONTROLLER: &str = "__controller";

/// Shows it. Pods are played: kwok runs nothing, so that the runner is started in their place, as their accounts.
pub async fn show(world: &World, runner: &Path) -> Result<()> {
    heading("executor: a KubernetesExecution becomes a Job, and a verified result");
    if world.connection.audit_log.is_none() {
        println!(
            "LEFT OUT: on a cluster of your own its Jobs need the images there; docs/executor.md says how to install it\n"
        );
        return Ok(());
    }
    executor::install(&world.connection).await?;
    let kubeconfig = executor::account(world, &executor::rules()?).await?;
    let output = std::process::Command::new(runner)
        .args(["rbac", "scale-deployment", "--namespace", &world.namespace])
        .output()?;
    // The demo has made it already, unless it was changed.
    let _there = world.account(&String::from_utf8(output.stdout)?).await;
    let _player = Player::start(&world.connection, &world.namespace, runner)?;
    let mut controller = tokio::process::Command::new(std::env::current_exe()?)
        .args([CONTROLLER, "run", "--namespaces", &world.namespace, "--namespace", &world.namespace, "--backoff", "2s"])
        .args(["--health", "127.0.0.1:0", "--metrics", "127.0.0.1:0"])
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(world.folder().join("controller.log"))?)
        .kill_on_drop(true)
        .spawn()?;
    println!(
        "$ execution-controller run --namespaces {}   # under the Role of controller/deploy/base/role.yaml",
        world.namespace
    );
    let shown = objects(world).await;
    controller.kill().await?;
    shown.with_context(|| std::fs::read_to_string(world.folder().join("controller.log")).unwrap_or_default())
}

async fn objects(world: &World) -> Result<()> {
    let action =
        json!({ "type": "scale-deployment", "parameters": { "replicas": 4 }, "target": { "resourceName": "web" } });
    let up = execute(world, "scale-web", json!({ "action": action })).await?;
    println!("  result: {}", up["status"]["result"]["output"]);
    println!(
        "  effect: {}, rollbackInformation: {}\n",
        up["status"]["result"]["effect"], up["status"]["rollbackInformation"]
    );
    println!(
        "The first pod of the next one is killed (137) before it says a word. Nothing says what it did, so a second one finds out:"
    );
    let action =
        json!({ "type": "scale-deployment", "parameters": { "replicas": 3 }, "target": { "resourceName": "web" } });
    let healed = execute(world, "heals", json!({ "action": action, "reason": "play: first exit 137" })).await?;
    ensure!(healed["status"]["retryCount"] == 1, "{healed:#}");
    println!("  attempts: {}\n", healed["status"]["attempts"].as_array().map_or(0, Vec::len));
    println!("And one that asks for what there is not:");
    let action =
        json!({ "type": "scale-deployment", "parameters": { "replics": 3 }, "target": { "resourceName": "web" } });
    let bad = execute(world, "typo", json!({ "action": action })).await?;
    ensure!(bad["status"]["jobName"].is_null(), "{bad:#}");
    println!();
    Ok(())
}

/// Creates an execution, and tells its phases until it has ended.
async fn execute(world: &World, name: &str, spec: Value) -> Result<Value> {
    const LIMIT: Duration = Duration::from_mins(2);
    let object = json!({
        "apiVersion": format!("{GROUP}/v1alpha1"), "kind": "KubernetesExecution", "metadata": { "name": name, "namespace": world.namespace },
        "spec": spec,
    });
    println!("$ kubectl create -f - <<< '{object}'");
    let all = world.path(&format!("{GROUP}/v1alpha1"), "kubernetesexecutions");
    world.create(&all, &object).await?;
    println!("$ kubectl wait --for=condition=Finished kex/{name}");
    let (until, mut told) = (Instant::now() + LIMIT, String::new());
    loop {
        let execution = world.get(&format!("{all}/{name}")).await?;
        let status = &execution["status"];
        let text = |field: &str| status[field].as_str().unwrap_or_default().to_owned();
        let line = format!("  {:<10} {:<14} {}", text("phase"), text("reason"), text("message"));
        if !status["phase"].is_null() && line != told {
            println!("{line}");
            told = line;
        }
        if status["settled"] == true {
            return Ok(execution);
        }
        ensure!(Instant::now() < until, "it did not end: {execution:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
