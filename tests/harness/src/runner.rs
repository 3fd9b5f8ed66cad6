//! Runs the real binary as a Job would, and holds its result against its schema, the audit log and the recorded history.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use crate::audit::{AuditLog, Entry, judge};
use crate::fixtures::World;
use crate::result::check;
use crate::verdict::{Ended, Verdict, Witness};

/// One run to be.
#[derive(Debug, Clone)]
pub struct Run {
    binary: PathBuf,
    environment: BTreeMap<String, String>,
    judged: bool,
    claims: Claims,
}

/// What is done about what the second judge finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claims {
    /// Whatever it finds is an error, also what ceased to be so when the run was over.
    Strict,
    /// Somebody else is at work: what ceased to be so afterwards is counted only.
    Meddled,
    /// The outcome has it, for who tells it himself.
    Told,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// The result: the last line of stdout.
    pub result: Value,
    /// The result as it stands on stdout, its fields in their order.
    pub text: String,
    /// The lines before it.
    pub lines: Vec<Value>,
    /// Logs.
    pub stderr: String,
    /// The exit code.
    pub exit: i32,
    /// The requests that the API server saw; empty where the judge is off.
    pub seen: Vec<Entry>,
    /// What the second judge found.
    pub verdict: Verdict,
    /// When it had ended.
    pub ended: Instant,
    /// Peak resident memory in KiB, as far as it could be watched.
    pub peak_kib: u64,
}

/// A run that goes on.
pub struct Running {
    child: Child,
    audit: Option<AuditLog>,
    witness: Option<Witness>,
    claims: Claims,
    selector: Option<String>,
    started: Instant,
}

/// No run may take longer: none has an `ACTION_TIMEOUT` above four minutes.
const LIMIT: Duration = Duration::from_mins(5);

impl Run {
    /// An action on a target in the world's namespace, with a kubeconfig.
    pub fn new(binary: &Path, kubeconfig: &Path, action: &str, name: &str) -> Self {
        let mut run =
            Self { binary: binary.to_path_buf(), environment: BTreeMap::new(), judged: true, claims: Claims::Strict };
        run.environment.extend([
            ("KUBECONFIG".to_owned(), kubeconfig.display().to_string()),
            ("ACTION_TYPE".to_owned(), action.to_owned()),
            ("TARGET_NAME".to_owned(), name.to_owned()),
            ("ACTION_TIMEOUT".to_owned(), "40s".to_owned()),
            ("LOG_LEVEL".to_owned(), "debug".to_owned()),
        ]);
        run
    }

    /// With a variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.environment.insert(name.to_owned(), value.to_string());
        self
    }

    /// With parameters.
    #[must_use]
    pub fn parameters(self, parameters: &Value) -> Self {
        self.with("ACTION_PARAMETERS", parameters)
    }

    /// The value of a variable.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str)
    }

    /// Without the audit judge: only where a proxy keeps requests from the API server.
    #[must_use]
    pub fn unjudged(mut self) -> Self {
        self.judged = false;
        self
    }

    /// While somebody else changes the target or its pods: what was claimed may cease to be so in the last second of the run
    /// or after it. Everything else is judged as ever.
    #[must_use]
    pub fn meddled(mut self) -> Self {
        self.claims = Claims::Meddled;
        self
    }

    /// What the second judge finds is in the outcome, and no error.
    #[must_use]
    pub fn told(mut self) -> Self {
        self.claims = Claims::Told;
        self
    }

    /// What the runs of one `ACTION_ID` on one target have in common.
    fn execution(&self) -> Option<String> {
        const NAMES: [&str; 5] = ["ACTION_TYPE", "TARGET_KIND", "TARGET_NAMESPACE", "TARGET_NAME", "TARGET_RESOURCE"];
        let id = self.environment.get("ACTION_ID")?;
        let values = NAMES.iter().filter_map(|name| self.environment.get(*name));
        Some(values.fold(id.clone(), |key, value| key + " " + value))
    }

    /// The command line that a person could copy.
    pub fn command_line(&self) -> String {
        const ORDER: [&str; 6] =
            ["KUBECONFIG", "ACTION_TYPE", "TARGET_NAMESPACE", "TARGET_NAME", "ACTION_PARAMETERS", "ACTION_ID"];
        let quoted =
            |value: &str| if value.contains(['{', ' ', '"']) { format!("'{value}'") } else { value.to_owned() };
        let shown = ORDER.iter().filter_map(|name| Some(format!("{name}={}", quoted(self.environment.get(*name)?))));
        format!("{} action-runner", shown.collect::<Vec<_>>().join(" "))
    }

    /// Runs it by a shell in which `$RUNNER` is it, for what only a shell can take away from it; the second judge holds it to
    /// its word if it could say any.
    pub async fn by_shell(&self, script: &str, world: &World) -> Result<Output> {
        let witness = self.witness(world)?;
        let mut command = Command::new("bash");
        command.args(["-c", script]).env_clear().envs(&self.environment).stdin(Stdio::null());
        command.env("PATH", crate::assets::variable("PATH").unwrap_or_default()).env("RUNNER", &self.binary);
        let output = command.kill_on_drop(true).output().await?;
        let last = String::from_utf8_lossy(&output.stdout).lines().last().map(serde_json::from_str::<Value>);
        if let (Some(witness), Some(Ok(result))) = (witness, last) {
            witness.judge(world, &Ended::by_its_word(&result, &[])).await?.check(false)?;
        }
        Ok(output)
    }

    /// Only our own clusters have one etcd, whose resourceVersions are one sequence, and nobody else in them.
    fn witness(&self, world: &World) -> Result<Option<Witness>> {
        let own = world.connection.audit_log.is_some();
        own.then(|| Witness::before(world, self.execution().as_deref())).transpose()
    }

    /// Starts it; before that, its witness: the recorder goes already, past every proxy.
    pub fn start(&self, world: &World) -> Result<Running> {
        let witness = self.witness(world)?;
        let audit =
            world.connection.audit_log.as_deref().filter(|_| self.judged).map(AuditLog::from_now).transpose()?;
        let child = Command::new(&self.binary)
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("failed to start {}", self.binary.display()))?;
        let selector = self.environment.get("TARGET_SELECTOR").cloned();
        Ok(Running { child, audit, witness, claims: self.claims, selector, started: Instant::now() })
    }

    /// Runs it to its end.
    pub async fn complete(&self, world: &World) -> Result<Outcome> {
        self.start(world)?.complete(world).await
    }
}

impl Running {
    /// Sends a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) -> Result<()> {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).context("it has ended")?;
        Ok(nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal)?)
    }

    /// Ends it as the kernel does when memory runs out: it can say nothing more.
    pub async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Does something as soon as its log says this, and waits for its end.
    pub async fn when(self, text: &str, act: impl FnOnce(&Self) -> Result<()>, world: &World) -> Result<Outcome> {
        self.finish(text, Some(act), world).await
    }

    /// Waits for its end, and judges it.
    pub async fn complete(self, world: &World) -> Result<Outcome> {
        self.finish("", None::<fn(&Self) -> Result<()>>, world).await
    }

    async fn finish(
        mut self,
        text: &str,
        mut act: Option<impl FnOnce(&Self) -> Result<()>>,
        world: &World,
    ) -> Result<Outcome> {
        let mut stdout = self.child.stdout.take().context("no stdout")?;
        let mut stderr = self.child.stderr.take().context("no stderr")?;
        let (mut out, mut err, mut peak_kib) = (Vec::new(), Vec::new(), 0);
        let pid = self.child.id().unwrap_or_default();
        let (mut out_ended, mut err_ended) = (false, false);
        while !(out_ended && err_ended) {
            tokio::select! {
                read = stdout.read_buf(&mut out), if !out_ended => out_ended = read? == 0,
                read = stderr.read_buf(&mut err), if !err_ended => err_ended = read? == 0,
                () = tokio::time::sleep(Duration::from_millis(5)) => peak_kib = peak_kib.max(high_water(pid)),
            }
            if let Some(act) = act.take_if(|_| String::from_utf8_lossy(&err).contains(text)) {
                act(&self)?;
            }
            ensure!(self.started.elapsed() < LIMIT, "the run does not end");
        }
        let (status, ended) = (self.child.wait().await?, Instant::now());
        let stderr = String::from_utf8_lossy(&err).into_owned();
        let text = String::from_utf8(out).context("stdout is not UTF-8")?;
        let mut lines = text
            .lines()
            .map(serde_json::from_str::<Value>)
            .collect::<Result<Vec<_>, _>>()
            .with_context(|| format!("stdout is not JSON: {text}\n{stderr}"))?;
        let result = lines.pop().with_context(|| format!("no result\n{stderr}"))?;
        let exit = status.code().with_context(|| format!("killed: {status}"))?;
        check(&result, &lines, exit, text.lines().last().unwrap_or_default())
            .with_context(|| format!("{result:#}\n{stderr}"))?;
        let verdict =
            self.judged(world, &result, &lines, ended).await.with_context(|| format!("{result:#}\n{stderr}"))?;
        let mut seen = Vec::new();
        if let Some(audit) = &self.audit {
            let agent = result.pointer("/requests/userAgent").and_then(Value::as_str).unwrap_or_default();
            if !agent.is_empty() {
                seen = audit.requests(world.client(), agent).await?;
            }
            judge(&result, &seen).with_context(|| stderr.clone())?;
        }
        let text = text.lines().last().unwrap_or_default().to_owned();
        Ok(Outcome { result, text, lines, stderr, exit, seen, verdict, ended, peak_kib })
    }

    /// The second judge's verdict; at once, as long as the cluster is as the run left it.
    async fn judged(&self, world: &World, result: &Value, lines: &[Value], exit: Instant) -> Result<Verdict> {
        let Some(witness) = &self.witness else { return Ok(Verdict::default()) };
        let ended = Ended { result, lines, exit, selector: self.selector.as_deref() };
        let verdict = witness.judge(world, &ended).await?;
        verdict.tell();
        if self.claims != Claims::Told {
            verdict.check(self.claims == Claims::Meddled)?;
        }
        Ok(verdict)
    }
}

fn high_water(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
