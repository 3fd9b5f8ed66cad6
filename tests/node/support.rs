//! What every scenario on the real node has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::Connection;
use test_cluster::assets::tell;
use test_cluster::audit::{AuditLog, judge};
use test_cluster::fixtures::World;
use test_cluster::node::{self, RealNode};
use test_cluster::result;
use test_cluster::verdict::{self, Witness};
use tokio::sync::Mutex;

/// Lists scenarios by their functions: one that is not listed is dead code, which does not pass clippy.
macro_rules! scenarios {
    ($module:literal: $($name:ident),+ $(,)?) => {
        /// The scenarios of this file.
        pub fn all() -> Vec<$crate::support::Scenario> {
            vec![$((concat!($module, "::", stringify!($name)), |n| Box::pin($name(n)))),+]
        }
    };
}
pub(crate) use scenarios;

/// A scenario's name and what it does.
pub type Scenario = (&'static str, fn(N) -> Pin<Box<dyn Future<Output = Result<()>>>>);

/// A scenario's namespace on the cluster with the real node.
#[derive(Clone)]
pub struct N(Arc<Inner>);

pub struct Inner {
    pub world: World,
    pub node: RealNode,
    accounts: Mutex<BTreeSet<String>>,
    /// Who was there before each Job, by its name.
    witnesses: Mutex<BTreeMap<String, Witness>>,
}

impl std::ops::Deref for N {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// Runs a future on this thread.
pub fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where `images/build.sh` leaves the archives.
pub fn images() -> PathBuf {
    root().join("target/images")
}

/// Builds the images, as the release does: before the namespaces are entered, where nothing is reached any more.
pub fn build_images() -> Result<()> {
    if node::inside() {
        return Ok(());
    }
    tell("building the images (images/build.sh); the first time takes some minutes");
    let status = Command::new(root().join("images/build.sh")).status().context("failed to start images/build.sh")?;
    ensure!(status.success(), "images/build.sh failed; its messages are above");
    Ok(())
}

/// Gives the node the images, under the names that the Job templates have.
pub async fn load_images(connection: &Connection) -> Result<()> {
    let node = connection.node.as_ref().context("no real node")?;
    let world = World::new(connection, "node").await?;
    let ready = |node: &Value| {
        let conditions = node["status"]["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
    };
    node.load_workload()?;
    let others = ["execution-controller", "audit-receiver"];
    for image in actions::catalogue::IMAGES.iter().map(|image| image.name).chain(others) {
        node.load(&images().join(format!("{image}.tar")))?;
    }
    world.until(&format!("/api/v1/nodes/{}", node::NAME), "ready", ready).await.map(|_| ())
}

/// A Job's pod that has ended, and the result as it can be read from it.
pub struct Ended {
    /// The pod.
    pub pod: Value,
    /// The last line of its log, or its termination message.
    pub result: Value,
    /// The lines before it.
    pub lines: Vec<Value>,
    /// `state.terminated` of its container.
    pub terminated: Value,
}

/// A container's log and termination message, held open.
pub struct Held {
    log: File,
    message: File,
}

impl Held {
    fn message(&mut self) -> Result<String> {
        let mut text = String::new();
        self.message.read_to_string(&mut text)?;
        Ok(text)
    }

    /// The log without what the container runtime writes before each line: time, stream, and whether the line goes on.
    fn log(&mut self) -> Result<String> {
        let (mut text, mut log) = (String::new(), String::new());
        self.log.read_to_string(&mut text)?;
        for line in text.lines() {
            let mut parts = line.splitn(4, ' ').skip(2);
            let whole = parts.next() != Some("P");
            log.push_str(parts.next().unwrap_or_default());
            log.push_str(if whole { "\n" } else { "" });
        }
        Ok(log)
    }
}

impl Ended {
    fn exit(&self) -> Result<i32> {
        let code = self.terminated["exitCode"].as_i64().and_then(|code| i32::try_from(code).ok());
        code.context("no exit code")
    }
}

impl N {
    pub async fn new(connection: &Connection, name: &str) -> Result<Self> {
        let world = World::new(connection, name).await?;
        let node = connection.node.clone().context("no real node")?;
        let restricted = json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": "restricted" } } });
        world.merge(&format!("/api/v1/namespaces/{}", world.namespace), &restricted).await?;
        Ok(Self(Arc::new(Inner { world, node, accounts: Mutex::default(), witnesses: Mutex::default() })))
    }

    /// Cleans up after a success; after a failure tells what the cluster looks like.
    pub async fn end(self, outcome: Result<()>) -> Result<()> {
        match outcome {
            Ok(()) => Arc::into_inner(self.0).context("the scenario still runs")?.world.end().await,
            Err(error) => Err(error.context(self.world.post_mortem().await)),
        }
    }

    /// What a sub-command of the runner prints.
    pub fn print(&self, arguments: &[&str]) -> Result<String> {
        node::run(env!("CARGO_BIN_EXE_action-runner"), &[arguments, &["--namespace", &self.world.namespace]].concat())
    }

    /// The Job of the template for an action, with these variables set otherwise.
    pub fn job(&self, action: &str, target: &str, variables: &[(&str, &str)]) -> Result<Value> {
        let mut job = serde_saphyr::from_str::<Value>(&self.print(&["job", action, "--target", target])?)?;
        let env = job.pointer_mut("/spec/template/spec/containers/0/env").and_then(Value::as_array_mut);
        let env = env.context("the Job has no variables")?;
        for (name, value) in variables {
            env.retain(|one| one["name"] != *name);
            env.push(json!({ "name": name, "value": value }));
        }
        Ok(job)
    }

    /// Makes the account of an action and the Job; returns its name.
    pub async fn start(&self, action: &str, job: &Value) -> Result<String> {
        let mut accounts = self.accounts.lock().await;
        if accounts.insert(action.to_owned()) {
            self.world.account(&self.print(&["rbac", action, "--events"])?).await?;
        }
        let name = job["metadata"]["name"].as_str().context("the Job has no name")?.to_owned();
        self.witnesses.lock().await.insert(name.clone(), Witness::before(&self.world, None)?);
        self.world.create(&self.world.path("batch/v1", "jobs"), job).await?;
        Ok(name)
    }

    /// Makes the account of an action with what these conditions read too; before its first Job.
    pub async fn allow(&self, action: &str, conditions: &Value) -> Result<()> {
        let file = self.world.folder().join("conditions.json");
        std::fs::write(&file, conditions.to_string())?;
        let yaml = self.print(&["rbac", action, "--conditions", &file.display().to_string()])?;
        self.world.account(&yaml).await?;
        self.accounts.lock().await.insert(action.to_owned());
        Ok(())
    }

    /// The same, unless the account is there already.
    pub async fn allow_once(&self, action: &str, conditions: &Value) -> Result<()> {
        let known = self.accounts.lock().await.contains(action);
        if known { Ok(()) } else { self.allow(action, conditions).await }
    }

    /// A Deployment `noisy` of so many pods, each of which has written 9 MiB: below the 10 at which the kubelet rotates.
    pub async fn noisy(&self, replicas: u64) -> Result<()> {
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "noisy" },
            "spec": { "replicas": replicas, "selector": { "matchLabels": { "app": "noisy" } },
                      "template": { "metadata": { "labels": { "app": "noisy" } }, "spec": pod_spec(&["write", "9", "0"]) } },
        });
        self.world.create(&self.world.path("apps/v1", "deployments"), &deployment).await?;
        let path = format!("{}/noisy", self.world.path("apps/v1", "deployments"));
        self.world.until(&path, "ready", |noisy| noisy["status"]["readyReplicas"] == replicas).await?;
        for pod in self.world.pods("noisy").await? {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            let log = format!("{}/{name}/log?tailLines=1", self.world.path("v1", "pods"));
            self.until_text(&log, "its last line", |text| text.contains("line 0000009215 ")).await?;
        }
        Ok(())
    }

    /// The path of the Job's pod, as soon as there is one.
    pub async fn pod_of(&self, job: &str) -> Result<String> {
        let pods = self.world.path("v1", "pods");
        let list = format!("{pods}?labelSelector=batch.kubernetes.io%2Fjob-name%3D{job}");
        let found = self.world.until(&list, "a pod", |list| list["items"][0].is_object()).await?;
        Ok(format!("{pods}/{}", found["items"][0]["metadata"]["name"].as_str().context("no name")?))
    }

    /// The most memory that a pod's cgroup held: its high-water mark, read while it is there.
    pub async fn peak_until_its_end(&self, pod: &str) -> Result<u64> {
        let uid = self.world.get(pod).await?["metadata"]["uid"].as_str().context("no UID")?.to_owned();
        let mut peak = 0;
        let running = |pod: &Value| pod["status"]["phase"] != "Succeeded" && pod["status"]["phase"] != "Failed";
        while running(&self.world.get(pod).await?) {
            peak = peak.max(self.node.peak_memory(&uid).unwrap_or(0));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(peak)
    }

    /// Waits until the pod's container has ended, and reads the result in all ways there are.
    pub async fn ended(&self, pod: &str) -> Result<Ended> {
        let told = self.message(pod).await?;
        let log = self.world.text(&format!("{pod}/log")).await?;
        self.judged(Self::agree(told, &log)?).await
    }

    /// Holds what a pod says to what its target and the pods of that went through since its Job was made.
    async fn judged(&self, ended: Ended) -> Result<Ended> {
        let job = ended.pod["metadata"]["labels"]["batch.kubernetes.io/job-name"].as_str().unwrap_or_default();
        let witnesses = self.witnesses.lock().await;
        let witness = witnesses.get(job).with_context(|| format!("nobody was there before Job {job:?}"))?;
        self.held(witness, &ended.result, &ended.lines).await?;
        drop(witnesses);
        Ok(ended)
    }

    /// Holds a result to what its target and the pods of that went through.
    pub async fn held(&self, witness: &Witness, result: &Value, lines: &[Value]) -> Result<()> {
        let verdict = witness.judge(&self.world, &verdict::Ended::by_its_word(result, lines)).await?;
        verdict.tell();
        verdict.check(false).with_context(|| format!("{result:#}"))
    }

    /// The same of a pod that the kubelet evicts: it removes the container with its log as soon as it has ended, and it may
    /// do so before it has written into the status what it read.
    pub async fn ended_and_removed(&self, pod: &str, mut held: Held) -> Result<Ended> {
        let state = |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["terminated"].clone();
        let pod = self.world.until(pod, "to its end", |pod| !state(pod).is_null()).await?;
        let (message, log) = (held.message()?, held.log()?);
        let result =
            serde_json::from_str(&message).with_context(|| format!("the termination message is no JSON: {message}"))?;
        let mut terminated = state(&pod);
        if terminated["reason"] == "ContainerStatusUnknown" {
            // What the kubelet says when it was too quick for itself.
            terminated["exitCode"] = json!(143);
        }
        self.judged(Self::agree(Ended { result, lines: Vec::new(), terminated, pod }, &log)?).await
    }

    /// Opens what a pod's container writes, so that it can be read when it is gone.
    pub fn hold(&self, pod: &Value) -> Result<Held> {
        let of = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
        let (name, uid) = (of("name"), of("uid"));
        let open = |path: &Path| File::open(path).with_context(|| format!("failed to open {}", path.display()));
        let log = format!("/var/log/pods/{}_{name}_{uid}/executor/0.log", self.world.namespace);
        let folder = format!("/var/lib/kubelet/pods/{uid}/containers/executor");
        let message = std::fs::read_dir(&folder)?.next().with_context(|| format!("{folder} is empty"))??;
        Ok(Held { log: open(Path::new(&log))?, message: open(&message.path())? })
    }

    /// The log says the same as the termination message and the exit code.
    fn agree(told: Ended, log: &str) -> Result<Ended> {
        let mut lines = Vec::new();
        for line in log.lines() {
            // Logs of the runner itself are in between: a pod's log is stdout and stderr together.
            let line: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
            if matches!(line["kind"].as_str(), Some("ActionResult" | "LogLine")) {
                lines.push(line);
            }
        }
        let result = lines.pop().with_context(|| format!("no result in {log:?}; {:#}", told.pod))?;
        let last = log.lines().rev().find(|line| line.contains(r#""kind":"ActionResult""#)).unwrap_or_default();
        result::check(&result, &lines, told.exit()?, last)?;
        let trimmed = told.result["trimmed"].is_array();
        for (key, value) in told.result.as_object().into_iter().flatten().filter(|(key, _)| *key != "trimmed") {
            ensure!(
                trimmed || result[key] == *value,
                "{key} is not the same in log and termination message: {} {value}",
                result[key]
            );
        }
        ensure!(
            told.result["code"] == result["code"] && told.result["effect"] == result["effect"],
            "{:#} {result:#}",
            told.result
        );
        Ok(Ended { result, lines, ..told })
    }

    /// Waits until the pod's container has ended, and reads the termination message alone: the kubelet removes the
    /// containers of a deleted pod, and their logs with them, as soon as they have ended.
    pub async fn ended_by_message(&self, pod: &str) -> Result<Ended> {
        self.judged(self.message(pod).await?).await
    }

    async fn message(&self, pod: &str) -> Result<Ended> {
        let terminated = |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["terminated"].clone();
        let pod = self.world.until(pod, "to its end", |pod| !terminated(pod).is_null()).await?;
        let terminated = terminated(&pod);
        let message = terminated["message"].as_str().unwrap_or_default();
        let result =
            serde_json::from_str(message).with_context(|| format!("the termination message is no JSON: {pod:#}"))?;
        let ended = Ended { result, lines: Vec::new(), terminated: terminated.clone(), pod };
        result::check(&ended.result, &[], ended.exit()?, message)?;
        Ok(ended)
    }

    /// Runs an action as a Job to its end, and holds it to the audit log too.
    pub async fn complete(&self, action: &str, job: &Value) -> Result<Ended> {
        let audit = AuditLog::from_now(self.world.connection.audit_log.as_deref().context("no audit log")?)?;
        let name = self.start(action, job).await?;
        let ended = self.ended(&self.pod_of(&name).await?).await?;
        let agent = ended.result["requests"]["userAgent"].as_str().unwrap_or_default().to_owned();
        if !agent.is_empty() {
            judge(&ended.result, &audit.requests(self.world.client(), &agent).await?)?;
        }
        Ok(ended)
    }

    /// Waits until a log says what it should.
    pub async fn until_text(&self, path: &str, what: &str, holds: impl Fn(&str) -> bool) -> Result<()> {
        let limit = Instant::now() + Duration::from_mins(1);
        loop {
            // The container may not have started yet.
            let text = self.world.text(path).await;
            if text.as_ref().is_ok_and(|text| holds(text)) {
                return Ok(());
            }
            ensure!(Instant::now() < limit, "{path} did not get {what}: {text:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What the kubelet has rotated away first of the pod's log, as soon as it has.
    pub async fn rotated(&self, pod: &Value) -> Result<String> {
        let of = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
        // The kubelet's own layout: the file that is served is `0.log`, beside it are the ones before it.
        let folder = format!("/var/log/pods/{}_{}_{}/app", self.world.namespace, of("name"), of("uid"));
        let limit = Instant::now() + Duration::from_mins(1);
        loop {
            let files = std::fs::read_dir(&folder).with_context(|| format!("failed to read {folder}"))?;
            let mut paths = files.flatten().map(|file| file.path());
            if let Some(rotated) = paths.find(|path| !path.ends_with("0.log")) {
                return std::fs::read_to_string(&rotated)
                    .with_context(|| format!("failed to read {}", rotated.display()));
            }
            ensure!(Instant::now() < limit, "the kubelet has rotated nothing in {folder}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// A pod of the test's own program on the real node, running.
    pub async fn workload(&self, name: &str, arguments: &[&str]) -> Result<Value> {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "labels": { "app": name } },
            "spec": pod_spec(arguments),
        });
        self.world.create(&self.world.path("v1", "pods"), &pod).await?;
        let path = format!("{}/{name}", self.world.path("v1", "pods"));
        self.world.until(&path, "running", |pod| pod["status"]["phase"] == "Running").await
    }
}

/// What runs the test's own program, as a namespace that enforces `restricted` wants it.
pub fn pod_spec(arguments: &[&str]) -> Value {
    json!({
        "nodeSelector": { "kubernetes.io/hostname": node::NAME },
        "terminationGracePeriodSeconds": 1,
        "securityContext": { "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": { "type": "RuntimeDefault" } },
        "containers": [{
            "name": "app", "image": node::WORKLOAD, "imagePullPolicy": "Never", "args": arguments,
            "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
        }],
    })
}

/// Compares with the code, the effect, and (a part of) what is said.
pub fn expect(ended: &Ended, code: &str, effect: &str, says: &str) -> Result<()> {
    let result = &ended.result;
    let said = result["output"].as_str().or(result["error"].as_str()).unwrap_or_default();
    let fits = result["code"] == code && result["effect"] == effect && said.contains(says);
    ensure!(fits, "expected {code}, effect {effect}, {says:?}; got {result:#}");
    Ok(())
}
