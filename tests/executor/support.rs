//! What every scenario has: a namespace, a controller with the shipped permissions, and somebody who plays its pods.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::Connection;
use test_cluster::audit::{AuditLog, Entry};
use test_cluster::executor::{ACCOUNT, GROUP, account, rules, shipped};
use test_cluster::fixtures::World;
use test_cluster::player::Player;
use tokio::process::{Child, Command};

/// A scenario's name and what it does.
pub type Scenario = (&'static str, fn(E) -> Pin<Box<dyn Future<Output = Result<()>>>>);

/// Lists scenarios by their functions: one that is not listed is dead code, which does not pass clippy.
macro_rules! scenarios {
    ($module:literal: $($name:ident),+ $(,)?) => {
        /// The scenarios of this file.
        pub fn all() -> Vec<$crate::support::Scenario> {
            vec![$((concat!($module, "::", stringify!($name)), |e| Box::pin($name(e)))),+]
        }
    };
}
pub(crate) use scenarios;

/// The argument by which this program is the controller.
pub const CONTROLLER: &str = "__controller";

/// A scenario's namespace, controller and pods.
#[derive(Clone)]
pub struct E(Arc<Inner>);

pub struct Inner {
    /// Where fixtures are made.
    pub world: World,
    /// Plays the pods.
    pub player: Player,
    /// The controller's kubeconfig.
    pub kubeconfig: PathBuf,
    audit: Mutex<AuditLog>,
    known: std::sync::atomic::AtomicBool,
}

impl std::ops::Deref for E {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// Runs a future on this thread.
pub fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

impl E {
    /// A new namespace, with the accounts that are needed.
    pub async fn new(connection: &Connection, name: &str) -> Result<Self> {
        let world = World::new(connection, name).await?;
        let kubeconfig = account(&world, &rules()?).await?;
        for action in
            ["scale-deployment", "restart-pod", "restart-deployment", "collect-logs-pod", "collect-logs-selector"]
        {
            let output = std::process::Command::new(env!("CARGO_BIN_EXE_action-runner"))
                .args(["rbac", action, "--namespace", &world.namespace])
                .output()?;
            world.account(&String::from_utf8(output.stdout)?).await?;
        }
        let runner = Path::new(env!("CARGO_BIN_EXE_action-runner"));
        let player = Player::start(connection, &world.namespace, runner)?;
        let audit =
            AuditLog::from_now(connection.audit_log.as_deref().context("these scenarios need our own cluster")?)?;
        Ok(Self(Arc::new(Inner {
            world,
            player,
            kubeconfig,
            audit: Mutex::new(audit),
            known: std::sync::atomic::AtomicBool::default(),
        })))
    }

    /// Cleans up after a success; after a failure tells what the cluster looks like.
    pub async fn end(self, outcome: Result<()>) -> Result<()> {
        match outcome {
            Ok(()) => Arc::into_inner(self.0).context("the scenario still runs")?.world.end().await,
            Err(error) => {
                let executions = self.world.get(&self.executions()).await.unwrap_or_default();
                let jobs = self.world.get(&self.world.path("batch/v1", "jobs")).await.unwrap_or_default();
                let jobs: Vec<_> = jobs["items"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|job| json!([job["metadata"]["name"], job["metadata"]["uid"], job["status"]]))
                    .collect();
                let logs = self.controllers_said()?;
                let text =
                    format!("{executions:#}\njobs: {jobs:#?}\n{}controllers:\n{logs}", self.world.post_mortem().await);
                Err(error.context(text))
            }
        }
    }

    /// The ends of the controllers' logs.
    fn controllers_said(&self) -> Result<String> {
        const LINES: usize = 40;
        let mut said = String::new();
        for entry in std::fs::read_dir(self.world.folder())? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                let text = std::fs::read_to_string(&path)?;
                let lines: Vec<_> = text.lines().collect();
                let end = lines.iter().skip(lines.len().saturating_sub(LINES)).map(|line| format!("  {line}\n"));
                said.push_str(&format!("{}\n{}", path.display(), end.collect::<String>()));
            }
        }
        Ok(said)
    }

    /// The path of the executions.
    pub fn executions(&self) -> String {
        self.world.path(&format!("{GROUP}/v1alpha1"), "kubernetesexecutions")
    }

    /// The path of one.
    pub fn execution(&self, name: &str) -> String {
        format!("{}/{name}", self.executions())
    }

    /// Starts a controller with this kubeconfig.
    pub fn controller_with(&self, kubeconfig: &Path, more: &[&str]) -> Result<Controller> {
        self.start(kubeconfig, &[&["--namespaces", self.world.namespace.as_str()], more].concat())
    }

    /// Starts a controller for all namespaces, as the base of `controller/deploy` does: on a cluster of the scenario's own.
    pub fn controller_everywhere(&self, more: &[&str]) -> Result<Controller> {
        self.start(&self.kubeconfig, more)
    }

    fn start(&self, kubeconfig: &Path, more: &[&str]) -> Result<Controller> {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let log = self.world.folder().join(format!("controller-{number}.log"));
        let mut arguments = vec![
            CONTROLLER,
            "run",
            "--namespace",
            &self.world.namespace,
            "--health",
            "127.0.0.1:0",
            "--metrics",
            "127.0.0.1:0",
            "--log-level",
            "debug,hyper=info,tower=info,kube_client=info",
            "--lease-duration",
            "20s",
            "--lease-renewal",
            "1s",
            "--write-limit",
            "8s",
            "--backoff",
            "1s",
            "--stop-after",
            "2s",
        ];
        arguments.extend(more);
        let child = Command::new(std::env::current_exe()?)
            .args(&arguments)
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Controller { child, log })
    }

    /// Starts a controller.
    pub fn controller(&self) -> Result<Controller> {
        self.controller_with(&self.kubeconfig, &[])
    }

    /// Creates an execution.
    pub async fn execute(&self, name: &str, spec: Value) -> Result<Value> {
        let object = json!({
            "apiVersion": format!("{GROUP}/v1alpha1"), "kind": "KubernetesExecution", "metadata": { "name": name }, "spec": spec,
        });
        self.world.create(&self.executions(), &object).await
    }

    /// Waits until it has ended and is settled.
    pub async fn ended(&self, name: &str) -> Result<Value> {
        self.world.until(&self.execution(name), "settled", |one| one["status"]["settled"] == true).await
    }

    /// The same, with a limit of its own.
    pub async fn ended_within(&self, name: &str, limit: Duration) -> Result<Value> {
        let limit = std::time::Instant::now() + limit;
        loop {
            let execution = self.world.get(&self.execution(name)).await?;
            if execution["status"]["settled"] == true {
                return Ok(execution);
            }
            ensure!(std::time::Instant::now() < limit, "it did not end: {execution:#}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until the API server, which was killed, is away and there again.
    pub async fn back_again(&self) -> Result<()> {
        let limit = std::time::Instant::now() + Duration::from_mins(2);
        let mut away = false;
        while std::time::Instant::now() < limit {
            let answers = self.world.get(&self.executions()).await.is_ok();
            if away && answers {
                return Ok(());
            }
            away |= !answers;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::bail!("the API server {}", if away { "did not come back" } else { "was never away" })
    }

    /// Returns whether it was there and is settled, or gone.
    pub async fn over(&self, name: &str) -> Result<bool> {
        let list = self.world.get(&self.executions()).await?;
        let one = list["items"].as_array().into_iter().flatten().find(|one| one["metadata"]["name"] == name);
        match one {
            Some(one) => {
                self.known.store(true, std::sync::atomic::Ordering::SeqCst);
                Ok(one["status"]["settled"] == true)
            }
            None => Ok(self.known.load(std::sync::atomic::Ordering::SeqCst)),
        }
    }

    /// How many changes runners made, by the API server's log.
    pub async fn changes(&self) -> Result<usize> {
        let counter = format!("{}/{}", self.world.path("v1", "configmaps"), test_cluster::player::COUNTER);
        let counted = self.world.get(&counter).await.unwrap_or_default();
        let counted = counted["data"]["count"].as_str().unwrap_or("0").parse::<usize>()?;
        Ok(self.runners().await?.iter().filter(|entry| entry.changes_something()).count() + counted)
    }

    /// Waits until it has this phase.
    pub async fn phase(&self, name: &str, phase: &str) -> Result<Value> {
        self.world.until(&self.execution(name), phase, |one| one["status"]["phase"] == phase).await
    }

    /// Waits until the pod of this Job runs. Returns its path.
    pub async fn runs(&self, job: &str) -> Result<String> {
        let pods = self.world.path("v1", "pods");
        let path = format!("{pods}?labelSelector=batch.kubernetes.io%2Fjob-name%3D{job}");
        let running = |list: &Value| list["items"][0]["status"]["phase"] == "Running";
        let list = self.world.until(&path, "running", running).await?;
        Ok(format!("{pods}/{}", list["items"][0]["metadata"]["name"].as_str().context("no name")?))
    }

    /// What the API server saw of the controller: everything with its user agent in this namespace.
    pub async fn seen(&self) -> Result<Vec<Entry>> {
        let audit = self.audit.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let all = audit.requests(self.world.client(), "execution-controller/").await?;
        Ok(all.into_iter().filter(|entry| entry.namespace == self.world.namespace).collect())
    }

    /// What the controller sent but for watches, its lists and its Lease.
    pub async fn requests(&self) -> Result<Vec<Entry>> {
        let mut seen = self.seen().await?;
        seen.retain(|entry| !matches!(entry.verb.as_str(), "watch" | "list") && entry.resource != "leases");
        Ok(seen)
    }

    /// What the API server saw of the runners in this namespace.
    async fn runners(&self) -> Result<Vec<Entry>> {
        let audit = self.audit.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let all = audit.requests(self.world.client(), "action-runner/").await?;
        Ok(all.into_iter().filter(|entry| entry.namespace == self.world.namespace).collect())
    }

    /// How many evictions the runners sent, with success.
    pub async fn evictions(&self) -> Result<usize> {
        let evicted = |entry: &&Entry| entry.subresource == "eviction" && entry.changes_something();
        Ok(self.runners().await?.iter().filter(evicted).count())
    }

    /// Changes an execution as a person.
    pub async fn patch(&self, name: &str, patch: Value) -> Result<Value> {
        self.world.merge(&self.execution(name), &patch).await
    }

    /// Changes an execution as a person, which must be refused. Returns what the API server says.
    pub async fn refused(&self, name: &str, patch: Value) -> Result<String> {
        match self.patch(name, patch.clone()).await {
            Ok(_) => anyhow::bail!("{patch} was accepted"),
            Err(error) => Ok(format!("{error:#}")),
        }
    }

    /// Waits until the execution has this reason.
    pub async fn reason(&self, name: &str, reason: &str) -> Result<Value> {
        self.world.until(&self.execution(name), reason, |one| one["status"]["reason"] == reason).await
    }

    /// Waits for a point in time that the scenario is about.
    pub async fn until_time(&self, time: jiff::Timestamp) {
        let left = Duration::try_from(time.duration_since(jiff::Timestamp::now())).unwrap_or_default();
        tokio::time::sleep(left).await;
    }

    /// The path of the controller's Role.
    pub fn role(&self) -> String {
        format!("{}/{ACCOUNT}-{}", self.world.path("rbac.authorization.k8s.io/v1", "roles"), self.world.namespace)
    }

    async fn asked(&self, user: &str, group: &str, resource: &str, verb: &str, name: &str) -> Result<bool> {
        let (resource, sub) = resource.split_once('/').unwrap_or((resource, ""));
        let review = json!({ "spec": { "user": user, "groups": ["system:authenticated"], "resourceAttributes": {
            "group": group, "resource": resource, "subresource": sub, "verb": verb, "name": name, "namespace": self.world.namespace,
        } } });
        let answer = self.world.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await?;
        Ok(answer["status"]["allowed"] == true)
    }

    /// Returns whether the controller's account may do this.
    pub async fn review(&self, group: &str, resource: &str, verb: &str, name: &str) -> Result<bool> {
        let user = format!("system:serviceaccount:{}:{ACCOUNT}", self.world.namespace);
        self.asked(&user, group, resource, verb, name).await
    }

    /// Waits until the API server's authorizer knows whether the controller's account may do this.
    pub async fn allowed(&self, group: &str, resource: &str, verb: &str, may: bool) -> Result<()> {
        let user = format!("system:serviceaccount:{}:{ACCOUNT}", self.world.namespace);
        self.until_allowed(&user, group, resource, verb, may).await
    }

    /// The same for a user.
    pub async fn until_allowed(&self, user: &str, group: &str, resource: &str, verb: &str, may: bool) -> Result<()> {
        let name = if resource == "leases" && verb != "create" { ACCOUNT } else { "" };
        let limit = std::time::Instant::now() + Duration::from_secs(30);
        while self.asked(user, group, resource, verb, name).await? != may {
            ensure!(std::time::Instant::now() < limit, "{user}: {verb} {resource} should be {may}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// A client with the controller's own token.
    pub async fn own_client(&self) -> Result<kube::Client> {
        let kubeconfig = kube::config::Kubeconfig::read_from(&self.kubeconfig)?;
        let config =
            kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default()).await?;
        Ok(kube::Client::try_from(config)?)
    }

    /// Installs the roles for people.
    pub async fn people(&self) -> Result<()> {
        for role in shipped("deploy/base/people.yaml")? {
            self.world.create("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role).await?;
        }
        Ok(())
    }

    /// Binds the controller's shipped rules everywhere, as the base of `controller/deploy` does.
    pub async fn bind_everywhere(&self) -> Result<()> {
        let name = format!("{ACCOUNT}-{}", self.world.namespace);
        let rbac = "rbac.authorization.k8s.io/v1";
        let role =
            json!({ "apiVersion": rbac, "kind": "ClusterRole", "metadata": { "name": name }, "rules": rules()? });
        let binding = json!({
            "apiVersion": rbac, "kind": "ClusterRoleBinding", "metadata": { "name": name },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
            "subjects": [{ "kind": "ServiceAccount", "name": ACCOUNT, "namespace": self.world.namespace }],
        });
        self.world.create(&format!("/apis/{rbac}/clusterroles"), &role).await?;
        self.world.create(&format!("/apis/{rbac}/clusterrolebindings"), &binding).await.map(|_| ())
    }

    /// The names of the Jobs that were created, one for each time.
    pub async fn jobs_created(&self) -> Result<Vec<String>> {
        let seen = self.seen().await?;
        let created = |entry: &&Entry| entry.verb == "create" && entry.resource == "jobs" && entry.code == 201;
        Ok(seen.iter().filter(created).map(|entry| entry.name.clone()).collect())
    }

    /// How many statuses of executions the controller has written in this namespace.
    pub async fn statuses_written(&self) -> Result<usize> {
        let seen = self.seen().await?;
        let written = |entry: &&Entry| {
            entry.resource == "kubernetesexecutions" && entry.subresource == "status" && entry.code == 200
        };
        Ok(seen.iter().filter(written).count())
    }

    /// How many Jobs are there.
    pub async fn jobs(&self) -> Result<usize> {
        let jobs = self.world.get(&self.world.path("batch/v1", "jobs")).await?;
        Ok(jobs["items"].as_array().map_or(0, Vec::len))
    }

    /// The replicas that the deployment `web` is to have.
    pub async fn replicas(&self) -> Result<i64> {
        let web = self.world.get(&self.world.workload_path("Deployment", "web")).await?;
        web["spec"]["replicas"].as_i64().context("no replicas")
    }
}

/// Holds an execution's end to what is expected: phase, code and effect.
pub fn check(execution: &Value, phase: &str, code: &str, effect: &str) -> Result<()> {
    let status = &execution["status"];
    let has = (&status["phase"], &status["result"]["code"], &status["result"]["effect"]);
    ensure!(has == (&json!(phase), &json!(code), &json!(effect)), "expected {phase}, {code}, {effect}: {execution:#}");
    ensure!(status["result"]["success"] == (phase == "Completed"), "{execution:#}");
    Ok(())
}

/// A scale of the deployment `web`.
pub fn scale(replicas: i64) -> Value {
    json!({ "action": {
        "type": "scale-deployment", "parameters": { "replicas": replicas, "settle": "1s" }, "target": { "resourceName": "web" },
    } })
}

/// The same, with more fields of the spec.
pub fn scale_with(replicas: i64, more: Value) -> Value {
    let mut spec = scale(replicas);
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    spec
}

/// A controller that runs.
pub struct Controller {
    child: Child,
    log: PathBuf,
}

impl Controller {
    /// Ends it as the kernel does: it can do nothing more.
    pub async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) -> Result<()> {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).context("it has ended")?;
        Ok(nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal)?)
    }

    /// Tells it to stop, and waits until it has.
    pub async fn stop(mut self) -> Result<()> {
        // Before it listens, the signal would end it as any process.
        while !self.log()?.contains("\"starting\"") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.signal(nix::sys::signal::Signal::SIGTERM)?;
        let status = tokio::time::timeout(Duration::from_secs(40), self.child.wait()).await??;
        ensure!(status.success(), "it ended with {status}: {}", self.log()?);
        Ok(())
    }

    /// Waits until it has failed by itself, and returns its log.
    pub async fn fails(mut self) -> Result<String> {
        let status = tokio::time::timeout(Duration::from_secs(40), self.child.wait()).await??;
        ensure!(!status.success(), "it ended well: {}", self.log()?);
        self.log()
    }

    /// Waits until its metrics show a counter with these labels.
    pub async fn measures(&self, name: &str, labels: &str) -> Result<()> {
        let limit = std::time::Instant::now() + Duration::from_mins(3);
        let mut text = String::new();
        while std::time::Instant::now() < limit {
            text = self.metrics().await.unwrap_or_default();
            // Some are there from the start, and have counted nothing yet.
            let counted = |line: &str| line.starts_with(name) && line.contains(labels) && !line.ends_with(" 0");
            if text.lines().any(counted) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::bail!("no {name} with {labels}: {text}\n{}", self.log()?)
    }

    /// The text of its metrics.
    async fn metrics(&self) -> Result<String> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let log = self.log()?;
        let serving = log.lines().find(|line| line.contains("--metrics")).context("it serves no metrics")?;
        let address =
            serde_json::from_str::<Value>(serving)?["fields"]["address"].as_str().context("no address")?.to_owned();
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\nhost: test\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text)
    }

    /// Its log.
    pub fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(&self.log)?)
    }
}
