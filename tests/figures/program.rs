//! The controller that is measured: a process of its own, with the shipped permissions.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use test_cluster::assets::tell;
use tokio::process::{Child, Command};

use crate::arena::Field;

/// The argument by which this program is the controller.
pub const CONTROLLER: &str = "__controller";

/// What cargo tells this program of its package: ring's build script looks at it, and would build all of it anew each time.
const OF_THIS_PACKAGE: [&str; 7] = [
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_LINKS",
    "CARGO_PKG_NAME",
    "CARGO_PKG_VERSION_MAJOR",
    "CARGO_PKG_VERSION_MINOR",
    "CARGO_PKG_VERSION_PATCH",
    "CARGO_PKG_VERSION_PRE",
];

/// The program that is started, and the arguments in front of all others.
pub struct Program {
    path: PathBuf,
    first: Option<&'static str>,
}

impl Program {
    /// `release` is built first, unless there is nothing to be done with it; `self` is this program; else a path.
    pub fn find(wanted: &str, unused: bool) -> Result<Self> {
        if wanted == "self" {
            return Ok(Self { path: std::env::current_exe()?, first: Some(CONTROLLER) });
        }
        if wanted != "release" {
            let path = PathBuf::from(wanted);
            ensure!(path.is_file(), "--controller: there is no file {wanted}");
            return Ok(Self { path, first: None });
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        // Where cargo has put this very program tells where it puts others: target/debug/deps/figures-….
        let own = std::env::current_exe()?;
        let target = own.ancestors().nth(3).context("this program is not in a target folder")?;
        if !unused {
            tell("building the controller as it is released");
            let mut cargo = std::process::Command::new(env!("CARGO"));
            for name in OF_THIS_PACKAGE {
                cargo.env_remove(name);
            }
            let built = cargo
                .current_dir(root)
                .args(["build", "--release", "--package", "execution-controller", "--target-dir"])
                .arg(target)
                .status()?;
            ensure!(built.success(), "the controller cannot be built; cargo's messages are above");
        }
        Ok(Self { path: target.join("release/execution-controller"), first: None })
    }
}

/// A controller that runs.
pub struct Controller {
    child: Child,
    log: PathBuf,
}

/// What the kernel says of a process' memory, in MiB.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// What it has now.
    pub now: f64,
    /// The most that it has had.
    pub most: f64,
}

impl Controller {
    /// Starts one, and waits until it leads.
    pub async fn start(field: &Field<'_>, more: &[&str]) -> Result<Self> {
        // Another one's Lease may have to run out first.
        const LIMIT: Duration = Duration::from_mins(2);
        let started = Self::start_only(field, more)?;
        let limit = Instant::now() + LIMIT;
        while started.said("leading")?.is_none() {
            ensure!(Instant::now() < limit, "the controller does not lead: {}", started.text()?);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(started)
    }

    fn start_only(field: &Field<'_>, more: &[&str]) -> Result<Self> {
        let program = field.arena.program;
        let log = field.world.folder().join(format!("controller-{:08x}.log", test_cluster::fixtures::unique()));
        let namespace = &field.world.namespace;
        let child = Command::new(&program.path)
            .args(program.first)
            .args(["run", "--namespaces", namespace, "--namespace", namespace, "--log-level", "info"])
            .args(["--health", "127.0.0.1:0", "--metrics", "127.0.0.1:0"])
            .args(more)
            .env("KUBECONFIG", &field.kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("failed to start {}", program.path.display()))?;
        Ok(Self { child, log })
    }

    fn text(&self) -> Result<String> {
        Ok(std::fs::read_to_string(&self.log)?)
    }

    /// When it said this first, if it did.
    pub fn said(&self, message: &str) -> Result<Option<Timestamp>> {
        let text = self.text()?;
        let Some(line) = text.lines().find(|line| line.contains(&format!("\"message\":\"{message}\""))) else {
            return Ok(None);
        };
        let line: Value = serde_json::from_str(line)?;
        Ok(Some(line["timestamp"].as_str().context("a line of the log without its time")?.parse()?))
    }

    /// How many executions it has brought to this phase.
    pub fn ended(&self, phase: &str) -> Result<usize> {
        let phase = format!("\"phase\":\"{phase}\"");
        Ok(self.text()?.lines().filter(|line| line.contains(&phase)).count())
    }

    /// Its memory.
    pub fn memory(&self) -> Result<Memory> {
        let pid = self.child.id().context("the controller has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| -> Result<f64> {
            let line = status.lines().find(|line| line.starts_with(name)).context("no memory of the controller")?;
            let kib: f64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
            Ok(kib / 1024.0)
        };
        Ok(Memory { now: field("VmRSS:")?, most: field("VmHWM:")? })
    }

    /// Ends it as the kernel does.
    pub async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Tells it to stop, and waits until it has.
    pub async fn stop(mut self) -> Result<()> {
        let pid =
            self.child.id().and_then(|id| i32::try_from(id).ok()).context("the controller has ended by itself")?;
        kill(Pid::from_raw(pid), Signal::SIGTERM)?;
        let status = tokio::time::timeout(Duration::from_mins(1), self.child.wait()).await??;
        ensure!(status.success(), "the controller ended with {status}: {}", self.text()?);
        Ok(())
    }
}
