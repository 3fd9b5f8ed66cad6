//! Plays the kubelet for the pods of the executor's Jobs: runs the real runner with the pod's variables and its account's
//! token, and reports what became of it as a kubelet does. What else can become of a pod is asked for in `spec.reason` of
//! the execution, which reaches the pod as `ACTION_REASON`: `play: <how it ends>`, or `play: first <how>` for the first pod of
//! its first attempt only.
//!
//! ```text
//! garbled, empty, oom, exit N   the runner does not run; the pod ends so
//! foreign, lies                 nor here; a result of another execution, and one that says success with exit code 1
//! count                         nor here; a counter is incremented, and a result says so: not repeatable
//! hang                          nor here; the pod ends when it is stopped, without a word
//! pull, silent                  no container starts: the kubelet says so, or says nothing
//! cut, trimmed                  it runs; half of the message arrives, or one without its rollbackInformation; the log is whole
//! log, mute                     it runs; no termination message, and for `mute` no log either
//! evicted                       it runs and ends, and then its pod is evicted
//! beside <how>                  it ends so, and a container that a policy has added to the pod goes on
//! ```

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::sync::Notify;

use crate::Connection;
use crate::fixtures::World;

/// The longest termination message that a kubelet passes on.
const LONGEST_MESSAGE: usize = 4096;
/// The longest time for which the API server may be away.
const AWAY: Duration = Duration::from_mins(1);
/// The ConfigMap that `count` counts in.
pub const COUNTER: &str = "counter";
/// Time between two looks at the pods.
const PAUSE: Duration = Duration::from_millis(50);

/// Plays pods on a thread of its own, until it is dropped.
pub struct Player {
    end: Arc<Notify>,
    runs: Arc<Mutex<Vec<Value>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Player {
    fn drop(&mut self) {
        self.end.notify_one();
        if let Some(thread) = self.thread.take() {
            // It has said what went wrong, if something did.
            let _ended = thread.join();
        }
    }
}

/// How a container ended.
#[derive(Default)]
struct End {
    exit: i32,
    reason: &'static str,
    message: String,
    log: String,
}

impl Player {
    /// Plays the pods of a namespace with this runner.
    pub fn start(connection: &Connection, namespace: &str, runner: &Path) -> Result<Self> {
        let (end, runs) = (Arc::new(Notify::new()), Arc::<Mutex<Vec<Value>>>::default());
        let (connection, namespace, runner) = (connection.clone(), namespace.to_owned(), runner.to_path_buf());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, told) = (end.clone(), runs.clone());
        let thread = std::thread::spawn(move || {
            let local = tokio::task::LocalSet::new();
            let played = local.block_on(&runtime, async {
                let world = Arc::new(World::existing(&connection, &namespace).await?);
                tokio::select! {
                    played = play(world, runner, told) => played,
                    () = stop.notified() => Ok(()),
                }
            });
            if let Err(error) = played {
                crate::assets::tell(&format!("the player of pods failed: {error:#}"));
            }
        });
        Ok(Self { end, runs, thread: Some(thread) })
    }

    /// The results of the runs so far, whether or not anybody read them.
    pub fn results(&self) -> Vec<Value> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

type Stops = Arc<Mutex<HashMap<String, Arc<Notify>>>>;

async fn play(world: Arc<World>, runner: PathBuf, told: Arc<Mutex<Vec<Value>>>) -> Result<()> {
    let (mut begun, mut removed, mut executions) = (HashSet::new(), HashSet::new(), HashSet::new());
    let stops: Stops = Arc::default();
    let path =
        format!("{}?labelSelector=app.kubernetes.io%2Fmanaged-by%3Dexecution-controller", world.path("v1", "pods"));
    loop {
        let pods = world.get(&path).await.unwrap_or_default();
        for pod in pods["items"].as_array().cloned().unwrap_or_default() {
            let uid = pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
            let going = !pod["metadata"]["deletionTimestamp"].is_null();
            let placed = pod["spec"]["nodeName"].is_string();
            if placed && !going && begun.insert(uid.clone()) {
                let stop = Arc::new(Notify::new());
                stops.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.clone(), stop.clone());
                let (world, runner, told, stops) = (world.clone(), runner.clone(), told.clone(), stops.clone());
                let variables = variables(&pod);
                // The first attempt's pod may have gone before it was seen: that of the second one is not the first then.
                let first = executions.insert(variables.get("ACTION_ID").cloned())
                    && pod["metadata"]["labels"]["kubernetesexecution.kubernaut.io/attempt"] == "1";
                let how = asked(&variables, first);
                tokio::task::spawn_local(async move {
                    if let Err(error) = one(&world, &runner, &pod, &how, &stop, &told).await {
                        crate::assets::tell(&format!("a pod could not be played: {error:#}"));
                    }
                    stops.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid);
                });
            } else if going && !removed.contains(&uid) {
                let stop = stops.lock().unwrap_or_else(PoisonError::into_inner).get(&uid).cloned();
                if let Some(stop) = stop {
                    // It ends, says so, and is removed the next time.
                    stop.notify_one();
                    continue;
                }
                if remove(&world, &pod).await? {
                    removed.insert(uid);
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Removes a pod that is to go, as a kubelet does when nothing of it runs any more.
/// Returns whether it is gone: an answer may be lost.
async fn remove(world: &World, pod: &Value) -> Result<bool> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    if pod["status"]["containerStatuses"][0]["state"]["waiting"].is_object() {
        // What a real kubelet says of a container that there never was.
        let unknown = json!({ "terminated": {
            "exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": null, "finishedAt": null,
            "message": "The container could not be located when the pod was terminated",
        } });
        report(world, pod, &status("Failed", false, &unknown)).await?;
    }
    let path = format!("{}/{name}?gracePeriodSeconds=0", world.path("v1", "pods"));
    match world.delete(&path).await {
        Ok(()) => Ok(true),
        Err(_) => Ok(is_gone(world.get(path.split('?').next().unwrap_or_default()).await)),
    }
}

fn variables(pod: &Value) -> HashMap<String, String> {
    let all = pod["spec"]["containers"][0]["env"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    // The kubelet turns `$$` into `$`; a single one that names no variable stays.
    all.iter().map(|one| (text(&one["name"]), text(&one["value"]).replace("$$", "$"))).collect()
}

/// What is asked for.
fn asked(variables: &HashMap<String, String>, first: bool) -> String {
    let how = variables.get("ACTION_REASON").and_then(|reason| reason.strip_prefix("play: ")).unwrap_or("run");
    match how.strip_prefix("first ") {
        Some(how) if first => how.to_owned(),
        Some(_) => "run".to_owned(),
        None => how.to_owned(),
    }
}

async fn one(
    world: &World,
    runner: &Path,
    pod: &Value,
    how: &str,
    stop: &Notify,
    told: &Mutex<Vec<Value>>,
) -> Result<()> {
    match how {
        "pull" => return report(world, pod, &waiting("ImagePullBackOff", "Back-off pulling image")).await,
        "silent" => return Ok(()),
        _ => {}
    }
    let (how, beside) = how.strip_prefix("beside ").map_or((how, false), |how| (how, true));
    let started = Timestamp::now();
    report(world, pod, &running(started)).await?;
    let end = end(world, runner, pod, how, stop).await?;
    if let Some(Ok(result)) = end.log.lines().last().map(serde_json::from_str::<Value>) {
        told.lock().unwrap_or_else(PoisonError::into_inner).push(result);
    } else {
        told.lock().unwrap_or_else(PoisonError::into_inner).push(Value::Null);
    }
    // Who is mute leaves no log either; what the message has whole is not read there, and would push out what is.
    let read = matches!(how, "log" | "cut" | "trimmed" | "garbled")
        || end.message.is_empty()
        || end.message.contains("\"trimmed\"");
    if let Some(logs) = world.connection.logs.as_ref().filter(|_| how != "mute" && read) {
        // One file for all: a line says by its `actionId` whose it is.
        let mut file = std::fs::OpenOptions::new().append(true).open(logs.join("executor.log"))?;
        // As a container runtime writes it; the last line alone, so that the last lines of this file are those of many runs.
        let last = end.log.lines().last().map(|line| format!("{} stdout F {line}\n", Timestamp::now()));
        std::io::Write::write_all(&mut file, last.unwrap_or_default().as_bytes())?;
    }
    let message = match how {
        "log" | "mute" => String::new(),
        "cut" => end.message.chars().take(end.message.len() / 2).collect(),
        "trimmed" => trimmed(&end.message)?,
        _ => end.message.clone(),
    };
    let mut status = terminated(&end, &message, started);
    if beside {
        status["phase"] = json!("Running");
        let other = json!({
            "name": "beside", "image": "played", "imageID": "played", "ready": true, "restartCount": 0,
            "state": { "running": { "startedAt": started } },
        });
        status["containerStatuses"].as_array_mut().context("no containers")?.push(other);
    }
    if how == "evicted" {
        status["phase"] = json!("Failed");
        status["reason"] = json!("Evicted");
        let condition = json!({ "type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet" });
        status["conditions"].as_array_mut().context("no conditions")?.push(condition);
    }
    report(world, pod, &status).await
}

/// A result without what undoes it, as one that was too long for the message.
fn trimmed(message: &str) -> Result<String> {
    let mut result: Value = serde_json::from_str(message)?;
    result["rollbackInformation"].take();
    result.as_object_mut().context("no result")?.remove("rollbackInformation");
    result["trimmed"] = json!(["rollbackInformation"]);
    Ok(result.to_string())
}

/// Brings a container to its end, in the way that is asked for.
async fn end(world: &World, runner: &Path, pod: &Value, how: &str, stop: &Notify) -> Result<End> {
    let variables = variables(pod);
    let plain = |exit, reason| End { exit, reason, ..End::default() };
    Ok(match how {
        "garbled" => End {
            exit: 0,
            reason: "Completed",
            message: "{\"kind\":\"Action".to_owned(),
            log: "nothing of use\n".to_owned(),
        },
        "empty" => plain(0, "Completed"),
        "count" => {
            count(world).await?;
            result(&variables, variables.get("ACTION_ID").map_or("", String::as_str), 0)
        }
        "foreign" => result(&variables, "another", 0),
        // Rightly made, but for a field that the definition takes an object in, or a smaller number.
        "details" | "usage" => {
            let end = result(&variables, variables.get("ACTION_ID").map_or("", String::as_str), 0);
            let mut message: Value = serde_json::from_str(&end.message)?;
            let more = if how == "usage" { json!({ "cpuMs": u64::MAX, "memoryPeakBytes": 1 }) } else { json!("ok") };
            message[how] = more;
            End { message: message.to_string(), ..end }
        }
        "lies" => result(&variables, variables.get("ACTION_ID").map_or("", String::as_str), 1),
        "oom" => plain(137, "OOMKilled"),
        "hang" => {
            stop.notified().await;
            plain(143, "Error")
        }
        how => match how.strip_prefix("exit ").and_then(|code| code.parse().ok()) {
            Some(exit) => plain(exit, "Error"),
            None => run(world, runner, pod, &variables, stop).await?,
        },
    })
}

/// Does what is not repeatable by nature.
async fn count(world: &World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let before = world.get(&format!("{path}/{COUNTER}")).await?;
    let count: u64 = before["data"]["count"].as_str().unwrap_or("0").parse()?;
    world
        .merge(&format!("{path}/{COUNTER}"), &json!({ "data": { "count": (count + 1).to_string() } }))
        .await
        .map(|_| ())
}

/// A result that says success, and an exit code.
fn result(variables: &HashMap<String, String>, id: &str, exit: i32) -> End {
    let now = Timestamp::now();
    let message = json!({
        "apiVersion": "kubernetesexecution.kubernaut.io/v1alpha1", "kind": "ActionResult", "dryRun": false, "retryable": false,
        "actionType": variables.get("ACTION_TYPE"), "actionId": id, "success": true,
        "code": "Changed", "effect": "applied", "output": "all is well", "startTime": now, "endTime": now,
    });
    End { exit, reason: "Error", message: message.to_string(), log: String::new() }
}

/// Runs the runner as the pod would.
async fn run(
    world: &World,
    runner: &Path,
    pod: &Value,
    variables: &HashMap<String, String>,
    stop: &Notify,
) -> Result<End> {
    let account = pod["spec"]["serviceAccountName"].as_str().context("no account")?;
    let limit = Instant::now() + AWAY;
    let kubeconfig = loop {
        match world.token_kubeconfig(account, &world.connection.server, &world.connection.authority).await {
            Ok(kubeconfig) => break kubeconfig,
            Err(error) if Instant::now() > limit => return Err(error),
            Err(_) => tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = stop.notified() => return Ok(End { exit: 143, reason: "Error", ..End::default() }),
            },
        }
    };
    let mut child = Command::new(runner)
        .env_clear()
        .envs(variables)
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdout = child.stdout.take().context("no stdout")?;
    let mut log = String::new();
    let pid = i32::try_from(child.id().context("it has ended")?)?;
    {
        // One read to the end: begun anew it would lose what it had read.
        let mut read = std::pin::pin!(stdout.read_to_string(&mut log));
        while tokio::select! {
            read = &mut read => {
                read?;
                false
            }
            () = stop.notified() => {
                // It may have ended by itself just now.
                let _ended = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
                true
            }
        } {}
    }
    let exit = child.wait().await?.code().unwrap_or(137);
    let last = log.lines().last().unwrap_or_default();
    let message = if last.len() <= LONGEST_MESSAGE { last.to_owned() } else { String::new() };
    Ok(End { exit, reason: if exit == 0 { "Completed" } else { "Error" }, message, log })
}

/// Returns whether an answer says that there is no such object.
fn is_gone(answer: Result<Value>) -> bool {
    answer.is_err_and(|error| error.to_string().contains("not found") || format!("{error:#}").contains("NotFound"))
}

async fn report(world: &World, pod: &Value, status: &Value) -> Result<()> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let path = format!("{}/{name}/status", world.path("v1", "pods"));
    let mut patch = json!({ "metadata": { "uid": pod["metadata"]["uid"] }, "status": status });
    patch["status"]["hostIP"] = json!("127.0.0.1");
    patch["status"]["startTime"] = json!(Timestamp::now());
    // As a kubelet, it says so again as long as the API server does not answer.
    let limit = Instant::now() + AWAY;
    loop {
        let Err(error) = world.strategic(&path, &patch).await else { return Ok(()) };
        // It may have been removed by force.
        if is_gone(world.get(path.trim_end_matches("/status")).await) {
            return Ok(());
        }
        if Instant::now() > limit {
            return Err(error);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn status(phase: &str, ready: bool, state: &Value) -> Value {
    let condition = |name: &str, status: bool| json!({ "type": name, "status": if status { "True" } else { "False" } });
    json!({
        "phase": phase,
        "conditions": [condition("Initialized", true), condition("Ready", ready), condition("ContainersReady", ready)],
        "containerStatuses": [{
            "name": "executor", "image": "played", "imageID": "played", "ready": ready, "restartCount": 0, "state": state,
        }],
    })
}

fn waiting(reason: &str, message: &str) -> Value {
    status("Pending", false, &json!({ "waiting": { "reason": reason, "message": message } }))
}

fn running(since: Timestamp) -> Value {
    status("Running", true, &json!({ "running": { "startedAt": since } }))
}

fn terminated(end: &End, message: &str, since: Timestamp) -> Value {
    let state = json!({ "terminated": {
        "exitCode": end.exit, "reason": end.reason, "message": message, "startedAt": since, "finishedAt": Timestamp::now(),
    } });
    status(if end.exit == 0 { "Succeeded" } else { "Failed" }, false, &state)
}
