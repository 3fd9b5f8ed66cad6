//! Runs the real binary as a Job would, and holds its result against its schema and the audit log.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use crate::audit::{AuditLog, Entry, judge};
use crate::fixtures::World;

/// One run to be.
#[derive(Debug, Clone)]
pub struct Run {
    binary: PathBuf,
    environment: BTreeMap<String, String>,
    judged: bool,
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
    /// When it had ended.
    pub ended: Instant,
    /// Peak resident memory in KiB, as far as it could be watched.
    pub peak_kib: u64,
}

/// A run that goes on.
pub struct Running {
    child: Child,
    audit: Option<AuditLog>,
    started: Instant,
}

/// No run may take longer: none has an `ACTION_TIMEOUT` above four minutes.
const LIMIT: Duration = Duration::from_mins(5);

impl Run {
    /// An action on a target in the world's namespace, with a kubeconfig.
    pub fn new(binary: &Path, kubeconfig: &Path, action: &str, name: &str) -> Self {
        let mut run = Self { binary: binary.to_path_buf(), environment: BTreeMap::new(), judged: true };
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

    /// Without the audit judge: only where a proxy keeps requests from the API server.
    #[must_use]
    pub fn unjudged(mut self) -> Self {
        self.judged = false;
        self
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

    /// A shell in which `$RUNNER` is this run, for what only a shell can take away from it.
    pub fn by_shell(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        command.args(["-c", script]).env_clear().envs(&self.environment);
        command.env("PATH", crate::assets::variable("PATH").unwrap_or_default()).env("RUNNER", &self.binary);
        command.kill_on_drop(true);
        command
    }

    /// Starts it.
    pub fn start(&self, world: &World) -> Result<Running> {
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
        Ok(Running { child, audit, started: Instant::now() })
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
        let mut seen = Vec::new();
        if let Some(audit) = &self.audit {
            let agent = result.pointer("/requests/userAgent").and_then(Value::as_str).unwrap_or_default();
            if !agent.is_empty() {
                seen = audit.requests(world.client(), agent).await?;
            }
            judge(&result, &seen).with_context(|| stderr.clone())?;
        }
        let text = text.lines().last().unwrap_or_default().to_owned();
        Ok(Outcome { result, text, lines, stderr, exit, seen, ended, peak_kib })
    }
}

fn high_water(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// What must hold of every result, whatever the run was.
pub fn check(result: &Value, lines: &[Value], exit: i32, line: &str) -> Result<()> {
    ensure!(
        line.starts_with(r#"{"apiVersion":"kubernetesexecution.kubernaut.io/v1alpha1","kind":"ActionResult","#),
        "the result does not begin as it should"
    );
    ensure!(line.len() <= 8192, "the result line has {} bytes", line.len());
    ensure!(
        lines.iter().all(|line| line["kind"] == "LogLine"),
        "something else than log lines stands before the result"
    );
    let schema: Value = serde_json::from_str(include_str!("../../docs/schema/result.json"))?;
    let validator = jsonschema::validator_for(&schema).map_err(|error| anyhow::anyhow!("{error}"))?;
    if let Some(error) = validator.iter_errors(result).next() {
        bail!("the result breaks its schema: {error} at {}", error.instance_path());
    }
    let code = result["code"].as_str().unwrap_or_default();
    let expected = match code {
        "Changed" | "Unchanged" | "DryRun" | "Completed" => 0,
        "Internal" => 1,
        "InvalidRequest" => 2,
        "Refused" => 3,
        "TargetNotFound" => 4,
        "Forbidden" => 5,
        "Conflict" => 6,
        "NotVerified" => 7,
        "DeadlineExceeded" => 8,
        "Unavailable" => 9,
        "Interrupted" => {
            if exit == 130 {
                130
            } else {
                143
            }
        }
        other => bail!("code is {other:?}"),
    };
    ensure!(exit == expected, "exit code {exit} does not go with {code}");
    ensure!(result["success"].as_bool() == Some(exit == 0), "success does not go with {code}");
    ensure!(
        result.get("output").is_some() == (exit == 0) && result.get("error").is_some() == (exit != 0),
        "output or error is missing, or too much"
    );
    Ok(())
}
