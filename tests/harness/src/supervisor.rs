//! The process that owns the cluster's processes, and ends them when its standard input closes.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::assets::{Assets, Nodes, tell};
use crate::cluster::{ADMIN_TOKEN, Connection};
use crate::components::{Pace, Plan};
use crate::inputs;
use crate::node::RealNode;

/// The argument that turns a program into the supervisor.
pub const ARGUMENT: &str = "__supervise-test-cluster";
/// The argument after it that asks for a real node.
const WITH_REAL_NODE: &str = "with-real-node";
/// How long the API server may take to become ready: seconds, unless the machine is busy.
const START_LIMIT: Duration = Duration::from_secs(90);
/// How long an API server that was killed stays away.
const DOWN: Duration = Duration::from_secs(10);

/// Becomes the supervisor, if this program was started as one; never returns then.
#[expect(clippy::exit, clippy::disallowed_methods, reason = "this is the main function of another process")]
pub fn supervise_if_asked() {
    if std::env::args().nth(1).as_deref() != Some(ARGUMENT) {
        return;
    }
    let asked = std::env::args().nth(2);
    let nodes = if asked.as_deref() == Some(WITH_REAL_NODE) { Nodes::Real } else { Nodes::Fake };
    let pace = Pace::FIGURES.into_iter().find(|pace| asked.as_deref() == Some(pace.name())).unwrap_or_default();
    let code = match supervise(nodes, pace) {
        Ok(()) => 0,
        Err(error) => {
            tell(&format!("the test cluster failed: {error:#}"));
            1
        }
    };
    std::process::exit(code);
}

/// Starts this program again as the supervisor. Dropping the returned child's stdin ends the cluster.
pub fn start(nodes: Nodes, pace: Pace) -> Result<(Child, Connection)> {
    let program = std::env::current_exe().context("failed to find this program")?;
    // A group of its own: Ctrl-C in the terminal ends us, and the supervisor then ends the cluster in order.
    let mut child = Command::new(program)
        .arg(ARGUMENT)
        .args((nodes == Nodes::Real).then_some(WITH_REAL_NODE))
        .args((pace != Pace::Tests).then_some(pace.name()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()?;
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
    plan: Option<Plan>,
    folder: tempfile::TempDir,
    running: Vec<(&'static str, Child)>,
    node: Option<RealNode>,
}

impl Drop for Processes {
    fn drop(&mut self) {
        // Clients first, etcd last: an API server without etcd ignores SIGTERM for minutes.
        while let Some((_, mut child)) = self.running.pop() {
            terminate(&mut child);
        }
        if let Some(node) = &self.node {
            node.end_pods();
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

fn supervise(nodes: Nodes, pace: Pace) -> Result<()> {
    let assets = Assets::ensure(nodes)?;
    let mut processes = Processes { plan: None, folder: tempfile::tempdir()?, running: Vec::new(), node: None };
    let connection = control_plane(&assets, &mut processes, nodes, pace)?;
    let mut stdout = io::stdout();
    writeln!(stdout, "{}", serde_json::to_string(&connection)?)?;
    stdout.flush()?;
    let gone = thread::spawn(|| io::stdin().read_to_end(&mut Vec::new()).map(|_| ()));
    // Until whoever started us is gone, in whatever way; meanwhile what ended is started again, as a service manager would.
    while !gone.is_finished() {
        processes.keep(&assets)?;
        sleep(Duration::from_millis(100));
    }
    Ok(())
}

impl Processes {
    /// Starts the kubelet and the API server again where one has ended. (A test ends them; the others do not come back.)
    fn keep(&mut self, assets: &Assets) -> Result<()> {
        let ended = self.running.iter_mut().position(|(name, child)| {
            matches!(*name, "kubelet" | "kube-apiserver") && matches!(child.try_wait(), Ok(Some(_)))
        });
        let Some(place) = ended else { return Ok(()) };
        let (name, _) = self.running.remove(place);
        let folder = self.folder.path().to_path_buf();
        let kubelet = || self.node.as_ref().map(|node| node.components(&folder).into_iter().nth(1)).unwrap_or_default();
        let flags = if name == "kubelet" {
            kubelet().map(|(_, flags)| flags)
        } else {
            self.plan.as_ref().map(Plan::api_server)
        };
        if name == "kube-apiserver" {
            sleep(DOWN);
        }
        spawn(assets, &folder, name, &flags.unwrap_or_default(), &mut self.running)?;
        // Where it was: clients are ended before what they talk to.
        if let Some(started) = self.running.pop() {
            self.running.insert(place, started);
        }
        Ok(())
    }
}

/// Ports that are free now; they are held together, so that no two are the same.
fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut ports = [0; N];
    let mut held = Vec::new();
    for port in &mut ports {
        let listener = crate::listener()?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

fn control_plane(assets: &Assets, processes: &mut Processes, nodes: Nodes, pace: Pace) -> Result<Connection> {
    let folder = processes.folder.path().to_path_buf();
    let [etcd, etcd_peer, api, kubelet] = free_ports::<4>()?;
    let node = (nodes == Nodes::Real).then(|| RealNode::prepare(&folder, assets)).transpose()?;
    processes.node.clone_from(&node);
    let plan = Plan { folder: folder.clone(), etcd, etcd_peer, api, kubelet, node: node.clone(), pace };
    inputs::write(&folder, pace)?;
    processes.plan = Some(plan.clone());
    let running = &mut processes.running;
    let start =
        |running: &mut Vec<_>, name: &'static str, flags: Vec<String>| spawn(assets, &folder, name, &flags, running);
    start(running, "etcd", plan.etcd())?;
    start(running, "kube-apiserver", plan.api_server())?;
    let authority = folder.join("pki/apiserver.crt");
    wait_for(&folder, running, "the API server's certificate", || authority.is_file())?;
    let (server, kubeconfig) = (plan.server(), folder.join("admin.kubeconfig"));
    fs::write(&kubeconfig, crate::cluster::kubeconfig(&server, &authority, ADMIN_TOKEN, "default")?)?;
    wait_for(&folder, running, "the API server", || ready(&folder))?;
    start(running, "kube-controller-manager", plan.controller_manager())?;
    start(running, "kube-scheduler", plan.scheduler())?;
    start(running, "kwok", plan.kwok())?;
    if let Some(node) = &node {
        for (name, flags) in node.components(&folder) {
            start(running, name, flags)?;
            wait_for(&folder, running, name, || node.is_up(name))?;
        }
    }
    let inside = |name: &str| Some(folder.join(name));
    let (audit_log, logs, token_key) = (inside("audit.log"), inside("logs"), inside("sa.key"));
    Ok(Connection { kubeconfig, server, authority, audit_log, logs, token_key, node })
}

fn spawn(
    assets: &Assets,
    folder: &Path,
    name: &'static str,
    arguments: &[String],
    running: &mut Vec<(&'static str, Child)>,
) -> Result<()> {
    let log = File::options().create(true).append(true).open(folder.join(format!("{name}.log")))?;
    let child = Command::new(assets.path(name))
        .args(arguments)
        .current_dir(folder)
        .env("HOME", folder)
        .env("PATH", assets.search_path())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("failed to start {name}"))?;
    running.push((name, child));
    Ok(())
}

/// Waits for a condition; when it does not come, or a process ends meanwhile, its last words say why.
fn wait_for(
    folder: &Path,
    running: &mut [(&'static str, Child)],
    what: &str,
    mut condition: impl FnMut() -> bool,
) -> Result<()> {
    let tail = |name: &str| {
        let text = fs::read_to_string(folder.join(format!("{name}.log"))).unwrap_or_default();
        text.lines().rev().take(5).collect::<Vec<_>>().join("\n")
    };
    let until = Instant::now() + START_LIMIT;
    while !condition() {
        let ended =
            running.iter_mut().find_map(|(name, child)| matches!(child.try_wait(), Ok(Some(_))).then_some(*name));
        if let Some(name) = ended {
            bail!("{name} ended before {what} was there; its last words:\n{}", tail(name));
        }
        if Instant::now() > until {
            bail!(
                "{what} did not come within {} s\netcd:\n{}\nkube-apiserver:\n{}",
                START_LIMIT.as_secs(),
                tail("etcd"),
                tail("kube-apiserver")
            );
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
