//! A real node: kubelet, containerd and kube-proxy, in namespaces of their own.
//!
//! The program that uses it starts itself again in new network, mount and process namespaces ([`enter`]): nothing it does
//! leaves them, and when it ends, in whatever way, the kernel ends every process and takes every mount, address and
//! firewall rule away. What lies outside are cgroups, which are removed by name.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::assets::{Assets, KUBERNETES, Nodes, variable};
use crate::components::flags;

/// The node's own address: on a veth pair, of which the other end leads nowhere.
pub const ADDRESS: &str = "10.201.0.1";
/// The node's name.
pub const NAME: &str = "real-node";
/// The image of the test's own workload program.
pub const WORKLOAD: &str = "localhost/workload:1";
/// Set in the program that was started again.
const INSIDE: &str = "ACTION_RUNNER_TEST_NAMESPACES";
/// Where processes of pods are counted and limited.
const CGROUPS: &str = "/sys/fs/cgroup";
/// Where Debian has the CNI plugins, and where others have them.
const CNI_PLUGINS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];

/// What is known about the node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RealNode {
    folder: PathBuf,
    cgroup: String,
    plugins: PathBuf,
    binaries: PathBuf,
    containerd: PathBuf,
    /// kubectl of the cluster's release.
    pub kubectl: PathBuf,
}

/// What is missing for a real node on this machine, in words; empty when nothing is.
pub fn missing() -> Vec<String> {
    let mut missing = Vec::new();
    if !nix::unistd::geteuid().is_root() {
        missing.push("root".to_owned());
    }
    for (program, package) in [
        ("unshare", "util-linux"),
        ("ip", "iproute2"),
        ("nft", "nftables"),
        ("runc", "runc"),
        ("buildah", "buildah"),
        ("podman", "podman"),
        ("musl-gcc", "musl-tools"),
        ("cargo-auditable", "cargo-auditable of crates.io"),
        ("cargo-cyclonedx", "cargo-cyclonedx of crates.io"),
        ("cargo-about", "cargo-about of crates.io"),
    ] {
        if !on_path(program) {
            missing.push(format!("{program} (package {package})"));
        }
    }
    if cni_plugins().is_none() {
        missing.push("the CNI plugins (package containernetworking-plugins)".to_owned());
    }
    missing
}

fn on_path(program: &str) -> bool {
    let path = variable("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn cni_plugins() -> Option<PathBuf> {
    CNI_PLUGINS.iter().map(PathBuf::from).find(|folder| folder.join("bridge").is_file())
}

/// Goes on in namespaces of its own: starts this program again in them, and does not return, unless it is there already.
pub fn enter() -> Result<()> {
    if inside() {
        return network().context("failed to set up the node's network");
    }
    // In there nothing is reached any more: the binaries are built, and their modules fetched, before.
    Assets::ensure(Nodes::Real)?;
    let program = std::env::current_exe().context("failed to find this program")?;
    let error = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .exec();
    Err(error).context("failed to start unshare")
}

/// Whether this program is in the namespaces already.
pub fn inside() -> bool {
    variable(INSIDE).is_some()
}

/// Folders that the node's programs write to at fixed places, hidden by empty ones that end with the namespace.
const HIDDEN: [&str; 6] =
    ["/run", "/var/lib/kubelet", "/var/lib/cni", "/var/lib/containerd", "/var/lib/containers", "/var/log"];

fn network() -> Result<()> {
    for folder in HIDDEN {
        fs::create_dir_all(folder)?;
        // The kubelet tells file systems apart by their source.
        run("mount", &["-t", "tmpfs", folder, folder])?;
    }
    run("ip", &["link", "set", "lo", "up"])?;
    run("ip", &["link", "add", "node0", "type", "veth", "peer", "name", "nowhere"])?;
    run("ip", &["address", "add", &format!("{ADDRESS}/24"), "dev", "node0"])?;
    run("ip", &["link", "set", "node0", "up"])?;
    run("ip", &["link", "set", "nowhere", "up"])?;
    // The kubelet takes the node's address from the default route's device.
    run("ip", &["route", "add", "default", "via", "10.201.0.254", "dev", "node0"])?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("failed to switch on forwarding")
}

/// Runs a program to its end.
pub fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output =
        Command::new(program).args(arguments).output().with_context(|| format!("failed to start {program}"))?;
    ensure!(
        output.status.success(),
        "{program} {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

impl RealNode {
    /// Writes what the node's programs read, in the cluster's folder.
    pub fn prepare(cluster: &Path, assets: &Assets) -> Result<Self> {
        let folder = cluster.join("node");
        fs::create_dir_all(folder.join("cni"))?;
        let shim = assets.path("containerd-shim-runc-v2");
        let node = Self {
            cgroup: format!("/action-runner-test-{:08x}", crate::fixtures::unique()),
            plugins: cni_plugins().context("no CNI plugins")?,
            binaries: shim.parent().context("the shim has no folder")?.to_path_buf(),
            containerd: folder.join("containerd.sock"),
            kubectl: assets.path("kubectl"),
            folder,
        };
        for cgroup in node.cgroups() {
            fs::create_dir_all(&cgroup).with_context(|| format!("failed to make {}", cgroup.display()))?;
        }
        fs::write(node.folder.join("containerd.toml"), node.containerd_toml())?;
        fs::write(node.folder.join("cni/10-bridge.conflist"), cni_config().to_string())?;
        node.configure_kubelet(&json!({}))?;
        fs::write(
            node.folder.join("Containerfile"),
            "FROM scratch\nCOPY workload /workload\nENTRYPOINT [\"/workload\"]\n",
        )?;
        fs::copy(assets.path("workload"), node.folder.join("workload"))?;
        Ok(node)
    }

    /// The node's cgroup in each hierarchy: several of version 1, one of version 2.
    fn cgroups(&self) -> Vec<PathBuf> {
        let name = self.cgroup.trim_start_matches('/');
        let root = Path::new(CGROUPS);
        if root.join("cgroup.controllers").is_file() {
            return vec![root.join(name)];
        }
        let hierarchies = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
        hierarchies
            .filter(|path| path.join("cgroup.procs").is_file() && !path.is_symlink())
            .map(|path| path.join(name))
            .collect()
    }

    fn containerd_toml(&self) -> String {
        let at = |name: &str| self.folder.join(name).display().to_string();
        format!(
            r#"version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
address = "{socket}"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "{WORKLOAD}"
[plugins.'io.containerd.cri.v1.runtime']
# Machines without CAP_SYS_RESOURCE (a sandbox) cannot lower it.
restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["{plugins}"]
conf_dir = "{cni}"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = "runc"
SystemdCgroup = false
"#,
            socket = self.containerd.display(),
            plugins = self.plugins.display(),
            cni = at("cni"),
        )
    }

    /// Writes the kubelet's configuration with these fields beside the usual ones; the kubelet reads it when it starts.
    pub fn configure_kubelet(&self, more: &serde_json::Value) -> Result<()> {
        let mut config = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            // Nobody else is in this network.
            "authentication": { "anonymous": { "enabled": true }, "webhook": { "enabled": false } },
            "authorization": { "mode": "AlwaysAllow" },
            "cgroupRoot": self.cgroup, "cgroupDriver": "cgroupfs", "failCgroupV1": false, "failSwapOn": false,
            "resolvConf": "",
            "containerRuntimeEndpoint": format!("unix://{}", self.containerd.display()),
            "containerLogMonitorInterval": "3s", "evictionPressureTransitionPeriod": "5s",
            "nodeStatusUpdateFrequency": "5s", "syncFrequency": "5s",
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        fs::write(self.folder.join("kubelet.json"), config.to_string())
            .context("failed to write the kubelet's configuration")
    }

    /// The node's programs with their flags, in the order to start them.
    pub fn components(&self, cluster: &Path) -> [(&'static str, Vec<String>); 3] {
        let at = |name: &str| self.folder.join(name).display().to_string();
        let kubeconfig = cluster.join("admin.kubeconfig").display().to_string();
        let containerd = ["--config".to_owned(), at("containerd.toml")];
        let kubelet = flags(&[
            ("config", &at("kubelet.json")),
            ("kubeconfig", &kubeconfig),
            ("hostname-override", NAME),
            ("node-ip", ADDRESS),
            ("cert-dir", &at("pki")),
        ]);
        // Nothing of the machine's connection tracking can be written here.
        let proxy = flags(&[
            ("kubeconfig", &kubeconfig),
            ("hostname-override", NAME),
            ("proxy-mode", "nftables"),
            ("conntrack-max-per-core", "0"),
            ("conntrack-min", "0"),
            ("conntrack-tcp-timeout-established", "0"),
            ("conntrack-tcp-timeout-close-wait", "0"),
        ]);
        [("containerd", containerd.to_vec()), ("kubelet", kubelet), ("kube-proxy", proxy)]
    }

    /// Whether a component has done what the next one waits for.
    pub fn is_up(&self, component: &str) -> bool {
        component != "containerd" || self.containerd.exists()
    }

    /// Builds the image of the test's own workload, and gives it to the node.
    pub fn load_workload(&self) -> Result<()> {
        self.build(&self.folder, WORKLOAD)
    }

    /// Builds the image of a folder's Containerfile, which may be made from that of the workload, and gives it to the node.
    pub fn build(&self, folder: &Path, tag: &str) -> Result<()> {
        let (context, archive) = (folder.display().to_string(), folder.join("image.tar"));
        run("buildah", &["build", "--quiet", "--pull=never", "--isolation", "chroot", "--tag", tag, &context])?;
        run("buildah", &["push", "--quiet", tag, &format!("oci-archive:{}:{tag}", archive.display())])?;
        self.load(&archive)
    }

    /// Gives the node the image of an OCI archive, under the name that it has there.
    pub fn load(&self, archive: &Path) -> Result<()> {
        let (socket, archive) = (self.containerd.display().to_string(), archive.display().to_string());
        let client = self.binaries.join("ctr").display().to_string();
        run(&client, &["--address", &socket, "--namespace", "k8s.io", "images", "import", &archive]).map(|_| ())
    }

    /// Gives an image that the node has another name: one with its digest, as a registry would have brought it.
    pub fn tag(&self, image: &str, name: &str) -> Result<()> {
        let socket = self.containerd.display().to_string();
        let client = self.binaries.join("ctr").display().to_string();
        run(&client, &["--address", &socket, "--namespace", "k8s.io", "images", "tag", image, name]).map(|_| ())
    }

    /// Ends the kubelet; its supervisor starts it again, as a service manager would, with its present configuration.
    pub fn restart_kubelet(&self) -> Result<()> {
        run("pkill", &["-x", "kubelet"]).map(|_| ())
    }

    /// The memory limit's peak of a pod's cgroup, in bytes, however the machine counts it.
    pub fn peak_memory(&self, pod_uid: &str) -> Option<u64> {
        let memory = if Path::new(CGROUPS).join("memory").is_dir() { "memory" } else { "" };
        let root = Path::new(CGROUPS).join(memory).join(self.cgroup.trim_start_matches('/'));
        let mut folders = vec![root];
        while let Some(folder) = folders.pop() {
            if folder.file_name().is_some_and(|name| name.to_string_lossy().contains(pod_uid)) {
                let read = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok();
                return read("memory.max_usage_in_bytes").or_else(|| read("memory.peak"));
            }
            let inner = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
            folders.extend(inner.filter(|path| path.is_dir()));
        }
        None
    }

    /// Ends what runs in pods, and removes the cgroups: they are the machine's.
    pub fn end_pods(&self) {
        const LIMIT: Duration = Duration::from_secs(5);
        let until = Instant::now() + LIMIT;
        let roots = self.cgroups();
        while roots.iter().any(|root| root.exists()) && Instant::now() < until {
            for root in &roots {
                remove_cgroup(root);
            }
            sleep(Duration::from_millis(50));
        }
    }
}

/// Kills what is in it and in what is below it; the kernel lets empty ones be removed.
fn remove_cgroup(folder: &Path) {
    for inner in fs::read_dir(folder).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
        remove_cgroup(&inner.path());
    }
    let processes = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    for pid in processes.lines().filter_map(|pid| pid.parse().ok()).filter(|pid| *pid > 0) {
        // It may have ended by itself.
        let _gone = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
    // Not yet while a process is still ending: the caller comes back.
    let _later = fs::remove_dir(folder);
}

/// A self-signed certificate for an address, and its key, as PEM.
pub fn certificate(address: &str) -> Result<(String, String)> {
    let certified = rcgen::generate_simple_self_signed([address.to_owned()])?;
    Ok((certified.cert.pem(), certified.signing_key.serialize_pem()))
}

fn cni_config() -> serde_json::Value {
    json!({
        "cniVersion": "1.0.0", "name": "test",
        "plugins": [
            { "type": "bridge", "bridge": "pods0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
              "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.202.0.0/24" }]], "routes": [{ "dst": "0.0.0.0/0" }] } },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    })
}

/// What is said when there can be no real node.
pub fn skipped(missing: &[String]) -> String {
    format!(
        "SKIPPED: everything that needs a real node (Kubernetes {KUBERNETES}: kubelet, containerd). Missing: {}. \
         `tests/harness/install-packages.sh` installs the packages; run as root: sudo -E cargo test --test node",
        missing.join(", ")
    )
}
