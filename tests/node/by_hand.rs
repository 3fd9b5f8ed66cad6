//! The image by hand, with podman and a kubeconfig: it works, and where it cannot, the error names cause and cure.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::node;
use test_cluster::verdict::Witness;

use crate::support::{N, images, scenarios};

scenarios!("by_hand": with_the_token_of_an_account, the_four_classic_failures, an_image_is_small_and_holds_no_more_than_it_needs);

/// What podman needs to run beside a kubelet, without systemd, from a storage of the test's own.
struct Podman {
    arguments: Vec<String>,
    folder: PathBuf,
}

impl Podman {
    fn new(n: &N, image: &str) -> Result<Self> {
        let folder = n.world.folder().join("podman");
        let place = |name: &str| folder.join(name).display().to_string();
        let arguments = [
            "--root",
            &place("root"),
            "--runroot",
            &place("run"),
            "--storage-driver",
            "vfs",
            "--cgroup-manager",
            "cgroupfs",
            "--runtime",
            "runc",
            "--events-backend",
            "none",
        ]
        .map(str::to_owned)
        .to_vec();
        let podman = Self { arguments, folder: n.world.folder().to_path_buf() };
        podman.call(&["load", "--quiet", "--input", &images().join(format!("{image}.tar")).display().to_string()])?;
        Ok(podman)
    }

    fn call(&self, arguments: &[&str]) -> Result<String> {
        let all: Vec<&str> = self.arguments.iter().map(String::as_str).chain(arguments.iter().copied()).collect();
        node::run("podman", &all)
    }

    /// `podman run` with a kubeconfig, as the documentation says; the result and the exit code.
    fn run(&self, image: &str, options: &[&str], kubeconfig: &Path) -> Result<(Value, i32)> {
        self.run_with(image, options, &[], kubeconfig)
    }

    /// The same, with arguments for the runner.
    fn run_with(&self, image: &str, options: &[&str], arguments: &[&str], kubeconfig: &Path) -> Result<(Value, i32)> {
        let mount = format!("{}:/kubeconfig:ro", kubeconfig.display());
        let output = Command::new("podman")
            .args(&self.arguments)
            .args([
                "run",
                "--rm",
                "--read-only",
                "--cap-drop=all",
                "--volume",
                &mount,
                "--env",
                "KUBECONFIG=/kubeconfig",
            ])
            .args([
                "--env",
                "ACTION_TYPE=scale-deployment",
                "--env",
                "TARGET_NAME=web",
                "--env",
                r#"ACTION_PARAMETERS={"replicas":2}"#,
            ])
            .args(options)
            .arg(format!("docker.io/library/{image}:{}", env!("CARGO_PKG_VERSION")))
            .args(arguments)
            .output()
            .context("failed to start podman")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let line =
            text.lines().last().with_context(|| format!("no result: {}", String::from_utf8_lossy(&output.stderr)))?;
        Ok((serde_json::from_str(line)?, output.status.code().context("killed")?))
    }

    /// A kubeconfig of this content and mode.
    fn file(&self, name: &str, content: &str, mode: u32) -> Result<PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        Ok(path)
    }
}

/// The script's kubeconfig: self-contained, with a token of the action's own account.
async fn kubeconfig(n: &N) -> Result<String> {
    n.world.account(&n.print(&["rbac", "scale-deployment"])?).await?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("rbac/kubeconfig.sh");
    let output = Command::new(script)
        .args([&n.world.namespace, "action-scale-deployment"])
        .env("KUBECTL", &n.node.kubectl)
        .env("KUBECONFIG", &n.world.connection.kubeconfig)
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

async fn with_the_token_of_an_account(n: N) -> Result<()> {
    n.world.workload("Deployment", "web", 1, json!({})).await?;
    let podman = Podman::new(&n, "action-scale")?;
    let config = kubeconfig(&n).await?;
    let file = podman.file("config", &config, 0o644)?;
    let witness = Witness::before(&n.world, None)?;
    let (result, exit) = podman.run("action-scale", &["--network=host"], &file)?;
    ensure!(exit == 0 && result["code"] == "Changed", "{result:#}");
    n.held(&witness, &result, &[]).await?;
    // Readable for its owner only, as kubectl writes it: run as the owner.
    let private = podman.file("private", &config, 0o600)?;
    std::os::unix::fs::chown(&private, Some(4711), Some(4711))?;
    let witness = Witness::before(&n.world, None)?;
    let (result, exit) = podman.run("action-scale", &["--network=host", "--user=4711:4711"], &private)?;
    ensure!(exit == 0 && result["code"] == "Unchanged", "{result:#}");
    n.held(&witness, &result, &[]).await?;
    // The account's permissions, and no more.
    let (result, exit) =
        podman.run("action-scale", &["--network=host", "--env", "TARGET_NAMESPACE=kube-system"], &file)?;
    ensure!(exit == 5 && result["code"] == "Forbidden", "{result:#}");
    // The lock, whatever variables and arguments say.
    let other = ["--network=host", "--env", "ACTION_TYPE=cordon-node", "--env", "TARGET_NAME=node-a"];
    for arguments in [&[][..], &["policy", "eval"]] {
        let (result, exit) = podman.run_with("action-scale", &other, arguments, &file)?;
        let error = result["error"].as_str().unwrap_or_default();
        ensure!(exit == 3 && error.contains("locked to scale"), "{arguments:?}: {result:#}");
    }
    Ok(())
}

async fn the_four_classic_failures(n: N) -> Result<()> {
    let podman = Podman::new(&n, "action-runner")?;
    let config = kubeconfig(&n).await?;
    let token = config.lines().find(|line| line.contains("token:")).context("no token")?.to_owned();
    let authority =
        config.lines().find(|line| line.contains("certificate-authority-data")).context("no authority")?.to_owned();
    let server = config.lines().find(|line| line.contains("server:")).context("no server")?.to_owned();
    let plugin = config.replace(
        &token,
        "    exec: { apiVersion: client.authentication.k8s.io/v1, command: aws, interactiveMode: Never }",
    );
    let loopback = config.replace(&server, "    server: https://127.0.0.1:6443");
    let stranger = config.replace(&format!("{authority}\n"), "");
    for (name, content, mode, options, says) in [
        (
            "plugin",
            &plugin,
            0o644,
            &["--network=host"][..],
            &["plugin \"aws\", which is not here", "kubectl create token"][..],
        ),
        (
            "private",
            &config,
            0o600,
            &["--network=host"],
            &["not readable for this user", "--user \"$(id -u):$(id -g)\"", "--userns=keep-id"],
        ),
        ("loopback", &loopback, 0o644, &["--network=none"], &["127.0.0.1 is the container itself", "--network host"]),
        ("stranger", &stranger, 0o644, &["--network=host"], &["certificate", "certificate-authority"]),
        (
            "proxy",
            &config,
            0o644,
            &["--network=host", "--env", "HTTPS_PROXY=http://127.0.0.1:9"],
            &["proxy", "NO_PROXY"],
        ),
    ] {
        let file = podman.file(name, content, mode)?;
        let options = [options, &["--env", "ACTION_TIMEOUT=5s"]].concat();
        let (result, exit) = podman.run("action-runner", &options, &file).with_context(|| name.to_owned())?;
        let error = result["error"].as_str().unwrap_or_default();
        ensure!(exit != 0 && result["effect"] == "none", "{name}: {result:#}");
        for part in says {
            ensure!(error.contains(part), "{name}: expected {part:?} in {error:?}");
        }
    }
    Ok(())
}

fn controller_is_small() -> Result<()> {
    const MOST: u64 = 8 << 20;
    let controller = fs::metadata(images().join("execution-controller.tar"))?.len();
    test_cluster::assets::tell(&format!("  execution-controller: {controller} bytes compressed"));
    ensure!(controller <= MOST, "execution-controller has {controller} bytes");
    Ok(())
}

async fn an_image_is_small_and_holds_no_more_than_it_needs(n: N) -> Result<()> {
    // 5.7 MB: what says why a wait does not end took 0.3 of them, and speed for logs 0.3.
    const MOST: u64 = 6 << 20;
    controller_is_small()?;
    let mut large_layer = None;
    for image in actions::catalogue::IMAGES {
        let size = fs::metadata(images().join(format!("{}.tar", image.name)))?.len();
        test_cluster::assets::tell(&format!("  {}: {size} bytes compressed", image.name));
        ensure!(size <= MOST, "{} has {size} bytes", image.name);
        let podman = Podman::new(&n, image.name)?;
        let name = format!("docker.io/library/{}:{}", image.name, env!("CARGO_PKG_VERSION"));
        let inspected: Value = serde_json::from_str(&podman.call(&["inspect", "--type=image", &name])?)?;
        let config = &inspected[0]["Config"];
        ensure!(config["User"] == "65532:65532" && config["Entrypoint"] == json!(["/action-runner"]), "{config:#}");
        // Who pulls all six pulls the binary once.
        let layer = &inspected[0]["RootFS"]["Layers"][0];
        ensure!(layer.is_string() && large_layer.get_or_insert_with(|| layer.clone()) == layer, "{inspected:#}");
        let label = |key: &str| config["Labels"][key].as_str().unwrap_or_default().to_owned();
        ensure!(
            label("org.opencontainers.image.version") == env!("CARGO_PKG_VERSION")
                && !label("org.opencontainers.image.revision").is_empty(),
            "{config:#}"
        );
        let types = label("io.kubernaut.kubernetesexecution.action-types");
        let rules: Value = serde_json::from_str(&label("io.kubernaut.kubernetesexecution.rbac"))?;
        ensure!(
            types.split(' ').count() == image.action_types().len() && types.split(' ').all(|one| rules[one].is_array()),
            "{types}: {rules}"
        );
        let mounted = podman.call(&["image", "mount", &name])?;
        let files = node::run("find", &[mounted.trim(), "-type", "f", "-printf", "%m %U %P\n"])?;
        let mut files: Vec<&str> = files.lines().collect();
        files.sort_unstable();
        let mut expected = vec![
            "444 0 etc/group",
            "444 0 etc/passwd",
            "444 0 etc/ssl/certs/ca-certificates.crt",
            "444 0 licences/CA-ROOTS",
            "444 0 licences/LICENSE",
            "444 0 licences/MUSL",
            "444 0 licences/THIRD-PARTY",
            "555 0 action-runner",
        ];
        if image.locked() {
            expected.insert(0, "444 0 etc/action-runner/lock");
        }
        ensure!(files == expected, "{}: {files:?}", image.name);
        let writable = node::run("find", &[mounted.trim(), "-perm", "/022", "-not", "-type", "l"])?;
        ensure!(writable.is_empty(), "{}: writable for others: {writable}", image.name);
    }
    Ok(())
}
