//! The controller's memory with nothing, with so many active, and when these are settled; and a restart in between.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::arena::{Arena, Field};
use crate::burst::{UNLIMITED, names};
use crate::numbers::{number, seconds};
use crate::plan::Step;
use crate::program::{Controller, Memory};
use crate::results::Figures;
use crate::seen::Seen;

/// Bytes of Rego in each execution. What an execution brings along can be its parameters or its conditions: the controller
/// keeps neither. The parameters of no action are so long.
const REGO: usize = 16 << 10;
/// Pods that run until they are ended here.
const HOLD: &str = "figures: hold";
/// A Lease that runs out soon, where only whether it measures is tried.
const BRIEF: [&str; 6] = ["--lease-duration", "9s", "--lease-renewal", "1s", "--write-limit", "4s"];
/// How many ends of containers are told at once.
const KUBELETS: usize = 32;

fn keep(figures: &mut Figures, when: &str, memory: Memory) {
    figures.set(&format!("{when} MiB"), Some(memory.now));
    figures.set(&format!("{when} most MiB"), Some(memory.most));
}

/// Measures all of it.
pub async fn measure(arena: &Arena<'_>, step: &Step) -> Result<Figures> {
    // What is over is forgotten once a minute.
    let (rest, forget) = if arena.smoke { (2, 3) } else { (5, 70) };
    let pause = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
    let field = arena.field("memory").await?;
    let mut figures = Figures::default();
    figures.set("bytes of conditions each", Some(number(REGO)));
    let first = if arena.smoke { [&UNLIMITED[..], &BRIEF].concat() } else { UNLIMITED.to_vec() };
    let controller = Controller::start(&field, &first).await?;
    arena.quiet().await?;
    pause(rest).await;
    keep(&mut figures, "none", controller.memory()?);

    let (mut tail, mut seen) = (arena.tail()?, Seen::default());
    let namespace = field.world.namespace.clone();
    let mut ids = ids(field.execute(&names('e', step.size), HOLD, REGO).await?)?;
    field
        .until("so many pods that run", async || {
            seen.follow(&mut tail, &namespace)?;
            Ok(seen.pods.len() >= step.size)
        })
        .await?;
    arena.quiet().await?;
    pause(rest).await;
    keep(&mut figures, "active", controller.memory()?);

    controller.kill().await?;
    let (controller, restart) = restart(&field, &mut figures, &mut ids).await?;
    arena.quiet().await?;
    pause(rest).await;
    keep(&mut figures, "restarted", controller.memory()?);

    seen.pods.extend(restart.pods);
    ensure!(seen.pods.len() == ids.len(), "{} pods of {} executions", seen.pods.len(), ids.len());
    end_pods(&field, seen.pods.keys(), &ids).await?;
    field.until("all of them settled", async || field.settled().await).await?;
    arena.quiet().await?;
    pause(forget).await;
    keep(&mut figures, "settled", controller.memory()?);
    ensure!(controller.ended("Completed")? == ids.len(), "not all executions were completed");
    controller.stop().await?;

    let controller = Controller::start(&field, &UNLIMITED).await?;
    arena.quiet().await?;
    pause(rest).await;
    keep(&mut figures, "started with settled", controller.memory()?);
    controller.stop().await?;
    Ok(figures)
}

/// Another controller takes over, and goes on with an execution that has waited: its finalizer is the first thing that is written.
async fn restart(
    field: &Field<'_>,
    figures: &mut Figures,
    all: &mut HashMap<String, String>,
) -> Result<(Controller, Seen)> {
    all.extend(ids(field.execute(&names('n', 1), HOLD, REGO).await?)?);
    let (mut tail, mut seen) = (field.arena.tail()?, Seen::default());
    let mut flags = [&UNLIMITED[..], &["--log-level", "info,controller::reconcile=debug"]].concat();
    if field.arena.smoke {
        flags.extend(BRIEF);
    }
    let controller = Controller::start(field, &flags).await?;
    let leads = controller.said("leading")?.context("it does not lead")?;
    field.until("its first step", async || Ok(controller.said("step")?.is_some())).await?;
    figures.set("restart to first step s", controller.said("step")?.map(|first| seconds(leads, first)));
    field
        .until("a write and the last pod", async || {
            seen.follow(&mut tail, &field.world.namespace)?;
            Ok(seen.first_write.is_some() && !seen.pods.is_empty())
        })
        .await?;
    figures.set("restart to first write s", seen.first_write.map(|first| seconds(leads, first)));
    Ok((controller, seen))
}

/// The UIDs of executions, by name.
fn ids(created: Vec<Value>) -> Result<HashMap<String, String>> {
    let id = |one: &Value| {
        let text = |field: &str| one["metadata"][field].as_str().map(str::to_owned);
        text("name").zip(text("uid")).context("an execution without a name")
    };
    created.iter().map(id).collect()
}

/// Says of pods that their containers have ended, as a kubelet does, each with a result of its own execution.
async fn end_pods(field: &Field<'_>, pods: impl Iterator<Item = &String>, ids: &HashMap<String, String>) -> Result<()> {
    let end = |pod: &String| {
        let path = format!("{}/{pod}/status", field.world.path("v1", "pods"));
        let id = pod.split('-').next().and_then(|name| ids.get(name)).cloned();
        async move {
            let id = id.context("a pod of no execution")?;
            field.world.strategic(&path, &json!({ "status": ended(&id) })).await.map(drop)
        }
    };
    stream::iter(pods.map(end)).buffer_unordered(KUBELETS).try_collect().await
}

/// The status of a pod whose runner has said that all is well.
fn ended(id: &str) -> Value {
    let now = Timestamp::now();
    let message = json!({
        "apiVersion": "kubernetesexecution.kubernaut.io/v1alpha1", "kind": "ActionResult", "success": true, "code": "Changed",
        "retryable": false, "effect": "applied", "dryRun": false, "actionType": "scale-deployment", "actionId": id,
        "output": "scaled a deployment from 1 to 2; 2 of 2 replicas ready after 0.9 s", "startTime": now, "endTime": now,
    });
    let state = json!({ "terminated": {
        "exitCode": 0, "reason": "Completed", "message": message.to_string(), "startedAt": now, "finishedAt": now,
    } });
    json!({
        "phase": "Succeeded",
        "conditions": [{ "type": "Ready", "status": "False" }, { "type": "ContainersReady", "status": "False" }],
        "containerStatuses": [{
            "name": "executor", "image": "played", "imageID": "played", "ready": false, "started": false, "restartCount": 0, "state": state,
        }],
    })
}
