//! The binaries of the cluster: found where the user says, or built once from their Go modules.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// The release under test; `tests/go/kubernetes/go.mod` has the same.
pub const KUBERNETES: &str = "v1.36.3";
const KWOK: &str = "v0.8.0";

/// A binary and the package it is built from.
struct Binary {
    name: &'static str,
    package: &'static str,
    module: &'static str,
}

const BINARIES: [Binary; 5] = [
    Binary { name: "etcd", package: "go.etcd.io/etcd/server/v3", module: "kubernetes" },
    Binary { name: "kube-apiserver", package: "k8s.io/kubernetes/cmd/kube-apiserver", module: "kubernetes" },
    Binary {
        name: "kube-controller-manager",
        package: "k8s.io/kubernetes/cmd/kube-controller-manager",
        module: "kubernetes",
    },
    Binary { name: "kube-scheduler", package: "k8s.io/kubernetes/cmd/kube-scheduler", module: "kubernetes" },
    Binary { name: "kwok", package: "sigs.k8s.io/kwok/cmd/kwok", module: "kwok" },
];

/// Where each binary is.
#[derive(Debug, Clone)]
pub struct Assets {
    cache: PathBuf,
    given: Option<PathBuf>,
}

impl Assets {
    /// Finds the binaries, building those that are missing. Says on stderr what it does: the first time takes minutes.
    pub fn ensure() -> Result<Self> {
        let given = variable("KUBEBUILDER_ASSETS").map(PathBuf::from);
        let cache = cache_folder()?;
        fs::create_dir_all(&cache).with_context(|| format!("failed to make {}", cache.display()))?;
        let assets = Self { cache, given };
        // Two at once: the second waits for the first, and finds everything built.
        let lock = File::create(assets.cache.join("lock")).context("failed to open the cache's lock")?;
        lock.lock().context("failed to lock the cache")?;
        let missing: Vec<&Binary> = BINARIES.iter().filter(|binary| !assets.path(binary.name).is_file()).collect();
        if !missing.is_empty() {
            check_go()?;
            say(&format!(
                "building {} binaries of the test cluster (Kubernetes {KUBERNETES}); this takes 5 to 15 minutes, once",
                missing.len()
            ));
        }
        for (index, binary) in missing.iter().enumerate() {
            let started = Instant::now();
            say(&format!("  [{}/{}] {} …", index + 1, missing.len(), binary.name));
            build(binary, &assets.cache)?;
            say(&format!(
                "  [{}/{}] {} built in {} s",
                index + 1,
                missing.len(),
                binary.name,
                started.elapsed().as_secs()
            ));
        }
        Ok(assets)
    }

    /// The path of a binary; `KUBEBUILDER_ASSETS` wins for what it holds.
    pub fn path(&self, name: &str) -> PathBuf {
        let given = self.given.as_ref().map(|folder| folder.join(name)).filter(|path| path.is_file());
        given.unwrap_or_else(|| self.cache.join(name))
    }
}

/// An environment variable of the harness.
#[expect(clippy::disallowed_methods, reason = "the harness has variables of its own; the rule is the runner's")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn say(text: &str) {
    tell(text);
}

/// A line for the person who waits.
#[expect(clippy::print_stderr, reason = "progress of the harness is for the terminal")]
pub fn tell(text: &str) {
    eprintln!("{text}");
}

fn cache_folder() -> Result<PathBuf> {
    let base = variable("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".cache")));
    let base =
        base.context("neither XDG_CACHE_HOME nor HOME is set: there is no place to keep the cluster's binaries")?;
    Ok(base.join("action-runner").join(format!("kubernetes-{KUBERNETES}-kwok-{KWOK}")))
}

fn check_go() -> Result<()> {
    let found = Command::new("go").arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    bail!(
        "the test cluster's binaries are built with Go, which is not installed. Either\n  - install Go 1.26 or later (https://go.dev/dl), or\n  \
         - use a cluster you have: TEST_KUBECONFIG=~/.kube/config (kind, k3d; the audit judge is off then)"
    )
}

fn build(binary: &Binary, folder: &Path) -> Result<()> {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("go").join(binary.module);
    let version = format!("-s -w -X k8s.io/component-base/version.gitVersion={KUBERNETES}");
    let unfinished = folder.join(format!(".{}.unfinished", binary.name));
    let status = Command::new("go")
        .current_dir(&module)
        .env("CGO_ENABLED", "0")
        .args(["build", "-trimpath", "-ldflags", &version, "-o"])
        .arg(&unfinished)
        .arg(binary.package)
        .status()
        .context("failed to start go")?;
    if !status.success() {
        bail!("go could not build {} in {}; its messages are above", binary.name, module.display());
    }
    fs::rename(&unfinished, folder.join(binary.name)).context("failed to keep the built binary")
}
