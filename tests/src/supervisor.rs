//! The process that owns the cluster's processes, and ends them when its standard input closes.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::assets::{Assets, tell};
use crate::cluster::{ADMIN_TOKEN, Connection};

/// The argument that turns a program into the supervisor.
pub const ARGUMENT: &str = "__supervise-test-cluster";
/// How long the API server may take to become ready: seconds, unless the machine is busy.
const START_LIMIT: Duration = Duration::from_secs(90);

/// Becomes the supervisor, if this program was started as one; never returns then.
#[expect(clippy::exit, clippy::disallowed_methods, reason = "this is the main function of another process")]
pub fn supervise_if_asked() {
    if std::env::args().nth(1).as_deref() != Some(ARGUMENT) {
        return;
    }
    let code = match supervise() {
        Ok(()) => 0,
        Err(error) => {
            tell(&format!("the test cluster failed: {error:#}"));
            1
        }
    };
    std::process::exit(code);
}

/// Starts this program again as the supervisor. Dropping the returned child's stdin ends the cluster.
pub fn start() -> Result<(Child, Connection)> {
    let program = std::env::current_exe().context("failed to find this program")?;
    // A group of its own: Ctrl-C in the terminal ends us, and the supervisor then ends the cluster in order.
    let mut child = Command::new(program).arg(ARGUMENT).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0).spawn()?;
    let mut line = String::new();
    let stdout = child.stdout.take().context("the supervisor has no stdout")?;
    io::BufRead::read_line(&mut io::BufReader::new(stdout), &mut line)?;
    if line.is_empty() {
        bail!("the test cluster did not start; its messages are above");
    }
    Ok((child, serde_json::from_str(&line)?))
}

/// The cluster's processes, in the order they were started.
struct Processes {
    folder: tempfile::TempDir,
    running: Vec<(&'static str, Child)>,
}

impl Drop for Processes {
    fn drop(&mut self) {
        // Clients first, etcd last: an API server without etcd ignores SIGTERM for minutes.
        while let Some((_, mut child)) = self.running.pop() {
            terminate(&mut child);
        }
    }
}

fn terminate(child: &mut Child) {
    const GRACE: Duration = Duration::from_secs(4);
    if let Ok(pid) = i32::try_from(child.id()) {
        // It may have ended by itself.
        let _gone = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
    }
    let until = Instant::now() + GRACE;
    while Instant::now() < until {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        sleep(Duration::from_millis(20));
    }
    // Both fail only for a process that is gone.
    let _gone = child.kill();
    let _reaped = child.wait();
}

fn supervise() -> Result<()> {
    let assets = Assets::ensure()?;
    let mut processes = Processes { folder: tempfile::tempdir()?, running: Vec::new() };
    let connection = control_plane(&assets, &mut processes)?;
    let mut stdout = io::stdout();
    writeln!(stdout, "{}", serde_json::to_string(&connection)?)?;
    stdout.flush()?;
    // Until whoever started us is gone, in whatever way.
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Ports that are free now; they are held together, so that no two are the same.
fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut ports = [0; N];
    let mut held = Vec::new();
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

fn control_plane(assets: &Assets, processes: &mut Processes) -> Result<Connection> {
    let folder = processes.folder.path().to_path_buf();
    let [etcd_client, etcd_peer, api, kubelet] = free_ports::<4>()?;
    write_inputs(&folder)?;
    let server = format!("https://127.0.0.1:{api}");
    let etcd = format!("http://127.0.0.1:{etcd_client}");
    let peer = format!("http://127.0.0.1:{etcd_peer}");
    let running = &mut processes.running;
    let start = |running: &mut Vec<_>, name: &'static str, arguments: &[String]| spawn(assets, &folder, name, arguments, running);
    start(running, "etcd", &flags(&[
        ("data-dir", &path(&folder, "etcd")), ("unsafe-no-fsync", "true"), ("log-level", "error"),
        ("listen-client-urls", &etcd), ("advertise-client-urls", &etcd),
        ("listen-peer-urls", &peer), ("initial-advertise-peer-urls", &peer), ("initial-cluster", &format!("default={peer}")),
    ]))?;
    start(running, "kube-apiserver", &flags(&[
        ("etcd-servers", &etcd), ("cert-dir", &path(&folder, "pki")), ("secure-port", &api.to_string()),
        ("bind-address", "127.0.0.1"), ("advertise-address", "127.0.0.1"), ("service-cluster-ip-range", "10.96.0.0/16"),
        ("authorization-mode", "Node,RBAC"), ("token-auth-file", &path(&folder, "tokens.csv")),
        ("service-account-issuer", "https://kubernetes.default.svc"),
        ("service-account-key-file", &path(&folder, "sa.pub")), ("service-account-signing-key-file", &path(&folder, "sa.key")),
        ("audit-policy-file", &path(&folder, "audit.yaml")), ("audit-log-path", &path(&folder, "audit.log")),
        ("kubelet-preferred-address-types", "InternalIP"), ("profiling", "false"),
        // The audit log must show the last request of a run soon; a batch would hide it.
        ("audit-log-mode", "blocking"),
    ]))?;
    wait_for(&folder, running, "the API server's certificate", || folder.join("pki/apiserver.crt").is_file())?;
    let kubeconfig = folder.join("admin.kubeconfig");
    fs::write(&kubeconfig, crate::cluster::kubeconfig(&server, &folder.join("pki/apiserver.crt"), ADMIN_TOKEN, "default")?)?;
    wait_for(&folder, running, "the API server", || ready(&folder))?;
    let config = kubeconfig.display().to_string();
    start(running, "kube-controller-manager", &flags(&[
        ("kubeconfig", &config), ("secure-port", "0"), ("leader-elect", "false"), ("use-service-account-credentials", "true"),
        ("service-account-private-key-file", &path(&folder, "sa.key")), ("root-ca-file", &path(&folder, "pki/apiserver.crt")),
        ("kube-api-qps", "500"), ("kube-api-burst", "1000"), ("concurrent-deployment-syncs", "20"), ("concurrent-replicaset-syncs", "20"),
    ]))?;
    start(running, "kube-scheduler", &flags(&[
        ("kubeconfig", &config), ("secure-port", "0"), ("leader-elect", "false"), ("kube-api-qps", "500"), ("kube-api-burst", "1000"),
    ]))?;
    start(running, "kwok", &flags(&[
        ("kubeconfig", &config), ("manage-all-nodes", "true"), ("node-ip", "127.0.0.1"), ("node-port", &kubelet.to_string()),
        ("server-address", &format!("127.0.0.1:{kubelet}")), ("config", &path(&folder, "kwok.yaml")),
        ("tls-cert-file", &path(&folder, "kubelet.crt")), ("tls-private-key-file", &path(&folder, "kubelet.key")),
    ]))?;
    Ok(Connection { kubeconfig, server, authority: folder.join("pki/apiserver.crt"), audit_log: Some(folder.join("audit.log")), logs: Some(folder.join("logs")) })
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

fn flags(pairs: &[(&str, &str)]) -> Vec<String> {
    pairs.iter().map(|(name, value)| format!("--{name}={value}")).collect()
}

fn spawn(assets: &Assets, folder: &Path, name: &'static str, arguments: &[String], running: &mut Vec<(&'static str, Child)>) -> Result<()> {
    let log = File::create(folder.join(format!("{name}.log")))?;
    let child = Command::new(assets.path(name))
        .args(arguments)
        .current_dir(folder)
        .env("HOME", folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("failed to start {name}"))?;
    running.push((name, child));
    Ok(())
}

/// Waits for a condition; when it does not come, or a process ends meanwhile, its last words say why.
fn wait_for(folder: &Path, running: &mut [(&'static str, Child)], what: &str, mut condition: impl FnMut() -> bool) -> Result<()> {
    let tail = |name: &str| {
        let text = fs::read_to_string(folder.join(format!("{name}.log"))).unwrap_or_default();
        text.lines().rev().take(5).collect::<Vec<_>>().join("\n")
    };
    let until = Instant::now() + START_LIMIT;
    while !condition() {
        let ended = running.iter_mut().find_map(|(name, child)| matches!(child.try_wait(), Ok(Some(_))).then_some(*name));
        if let Some(name) = ended {
            bail!("{name} ended before {what} was there; its last words:\n{}", tail(name));
        }
        if Instant::now() > until {
            bail!("{what} did not come within {} s\netcd:\n{}\nkube-apiserver:\n{}", START_LIMIT.as_secs(), tail("etcd"), tail("kube-apiserver"));
        }
        sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Whether `/readyz` answers 200.
fn ready(folder: &Path) -> bool {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return false };
    let kubeconfig = folder.join("admin.kubeconfig");
    runtime.block_on(async {
        let Ok(client) = crate::cluster::client(&kubeconfig).await else { return false };
        let Ok(request) = http::Request::get("/readyz").body(Vec::new()) else { return false };
        client.request_text(request).await.is_ok()
    })
}

/// Keys, tokens, policies and kwok's configuration.
fn write_inputs(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder.join("pki"))?;
    fs::create_dir_all(folder.join("logs"))?;
    fs::write(folder.join("tokens.csv"), format!("{ADMIN_TOKEN},admin,admin,system:masters\n"))?;
    fs::write(folder.join("audit.yaml"), "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n- level: Metadata\n")?;
    // ServiceAccount tokens are signed with an ECDSA key, which the API server takes as it takes RSA.
    let key = rcgen::KeyPair::generate()?;
    fs::write(folder.join("sa.key"), key.serialize_pem())?;
    fs::write(folder.join("sa.pub"), key.public_key_pem())?;
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()])?;
    fs::write(folder.join("kubelet.crt"), certified.cert.pem())?;
    fs::write(folder.join("kubelet.key"), certified.signing_key.serialize_pem())?;
    let stages = include_str!("../kwok/stages.yaml");
    fs::write(folder.join("kwok.yaml"), format!("{stages}---\n{}", logs(folder)?))?;
    Ok(())
}

/// Containers by name, and the files that are their logs.
fn logs(folder: &Path) -> Result<String> {
    const CONTAINERS: [&str; 3] = ["app", "sidecar", "setup"];
    let mut text = "apiVersion: kwok.x-k8s.io/v1alpha1\nkind: ClusterLogs\nmetadata:\n  name: containers\nspec:\n  logs:\n".to_owned();
    for name in CONTAINERS {
        let (current, previous): (PathBuf, PathBuf) = (folder.join(format!("logs/{name}.log")), folder.join(format!("logs/{name}.previous.log")));
        fs::write(&current, "")?;
        fs::write(&previous, "")?;
        text.push_str(&format!(
            "  - containers: [{name}]\n    logsFile: {}\n    previousLogsFile: {}\n",
            current.display(), previous.display()
        ));
    }
    Ok(text)
}
