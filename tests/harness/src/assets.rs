//! The binaries of the cluster: found where the user says, or built once from their Go modules.

use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// The release under test; `tests/harness/go/kubernetes/go.mod` has the same.
pub const KUBERNETES: &str = "v1.36.3";

/// A Go module in `tests/go`, and the version that its binaries are cached under.
struct Module {
    name: &'static str,
    version: &'static str,
}

const KUBERNETES_MODULE: Module = Module { name: "kubernetes", version: KUBERNETES };
const KWOK: Module = Module { name: "kwok", version: "v0.8.0" };
const CONTAINERD: Module = Module { name: "containerd", version: "v2.4.2" };
const OPA: Module = Module { name: "opa", version: "v1.22.2" };
const WORKLOAD: Module = Module { name: "workload", version: "" };

/// A binary and the package it is built from.
struct Binary {
    name: &'static str,
    package: &'static str,
    module: Module,
}

const fn kubernetes(name: &'static str, package: &'static str) -> Binary {
    Binary { name, package, module: KUBERNETES_MODULE }
}

/// The control plane, and kwok for nodes and pods.
const CONTROL_PLANE: [Binary; 5] = [
    kubernetes("etcd", "go.etcd.io/etcd/server/v3"),
    kubernetes("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
    kubernetes("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    kubernetes("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
    Binary { name: "kwok", package: "sigs.k8s.io/kwok/cmd/kwok", module: KWOK },
];

/// What people send requests with.
const KUBECTL: Binary = kubernetes("kubectl", "k8s.io/kubernetes/cmd/kubectl");

/// What a real node has beside that, kubectl, and what runs in its pods.
const NODE: [Binary; 7] = [
    KUBECTL,
    kubernetes("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
    kubernetes("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
    Binary { name: "containerd", package: "github.com/containerd/containerd/v2/cmd/containerd", module: CONTAINERD },
    Binary {
        name: "containerd-shim-runc-v2",
        package: "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
        module: CONTAINERD,
    },
    Binary { name: "ctr", package: "github.com/containerd/containerd/v2/cmd/ctr", module: CONTAINERD },
    Binary { name: "workload", package: ".", module: WORKLOAD },
];

/// The peer that our answers to Rego are compared with.
const PEER: Binary = Binary { name: "opa", package: "github.com/open-policy-agent/opa", module: OPA };

/// `opa`, built once.
pub fn opa() -> Result<PathBuf> {
    one(&PEER)
}

/// `kubectl` of the release under test, built once.
pub fn kubectl() -> Result<PathBuf> {
    one(&KUBECTL)
}

fn one(binary: &Binary) -> Result<PathBuf> {
    let cache = cache_folder()?;
    let path = cache.join(binary.module.folder()).join(binary.name);
    if !path.is_file() {
        let _lock = locked(&cache)?;
        if !path.is_file() {
            check_go()?;
            say(&format!("building {}; this takes minutes, once", binary.name));
            build(binary, &cache)?;
        }
    }
    Ok(path)
}

/// The cache, for this one alone. Two at once, processes or threads: the second waits for the first, and finds everything built.
fn locked(cache: &Path) -> Result<File> {
    fs::create_dir_all(cache).with_context(|| format!("failed to make {}", cache.display()))?;
    let lock = File::create(cache.join("lock")).context("failed to open the cache's lock")?;
    lock.lock().context("failed to lock the cache")?;
    Ok(lock)
}

/// Where each binary is.
#[derive(Debug, Clone)]
pub struct Assets {
    cache: PathBuf,
    given: Option<PathBuf>,
}

impl Assets {
    /// Finds the binaries, building those that are missing. Says on stderr what it does: the first time takes minutes.
    pub fn ensure(nodes: Nodes) -> Result<Self> {
        let given = variable("KUBEBUILDER_ASSETS").map(PathBuf::from);
        let cache = cache_folder()?;
        let assets = Self { cache, given };
        let _lock = locked(&assets.cache)?;
        let of_node: &[Binary] = if nodes == Nodes::Real { &NODE } else { &[] };
        let all = CONTROL_PLANE.iter().chain(of_node);
        let missing: Vec<&Binary> = all.filter(|binary| !assets.path(binary.name).is_file()).collect();
        if !missing.is_empty() {
            check_go()?;
            say(&format!(
                "building {} binaries of the test cluster (Kubernetes {KUBERNETES}); this takes 5 to 20 minutes, once",
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
        let binary = CONTROL_PLANE.iter().chain(&NODE).find(|binary| binary.name == name);
        let module = binary.map_or(&KUBERNETES_MODULE, |binary| &binary.module);
        given.unwrap_or_else(|| self.cache.join(module.folder()).join(name))
    }

    /// `PATH` for the components: containerd looks for its shim there.
    pub fn search_path(&self) -> String {
        format!("{}:{}", self.cache.join(CONTAINERD.folder()).display(), variable("PATH").unwrap_or_default())
    }
}

impl Module {
    /// The cache's folder for what is built from it. Our own workload has no version: its source stands for it.
    fn folder(&self) -> String {
        let version = if self.name == WORKLOAD.name {
            let mut hasher = std::hash::DefaultHasher::new();
            (include_str!("../go/workload/main.go"), include_str!("../go/workload/play.go")).hash(&mut hasher);
            format!("{:016x}", hasher.finish())
        } else {
            self.version.to_owned()
        };
        format!("{}-{version}", self.name)
    }
}

/// What plays the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nodes {
    /// kwok, all of them.
    Fake,
    /// One real node, beside fake ones.
    Real,
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
    Ok(base.join("action-runner"))
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

fn build(binary: &Binary, cache: &Path) -> Result<()> {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("go").join(binary.module.name);
    let folder = cache.join(binary.module.folder());
    fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
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
