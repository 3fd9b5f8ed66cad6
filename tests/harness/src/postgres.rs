//! A real PostgreSQL, on this machine, in a folder of its own, as an ordinary user (as root it does not start).
//!
//! Its processes belong to a shell that waits for the end of its standard input, which is this process's end too, in whatever
//! way it comes: then the shell stops the server and removes the folder.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User};

use crate::assets::variable;

/// The oldest release that is tried: that of Debian 12.
const OLDEST: u32 = 15;
/// Where Debian and Ubuntu keep the server's programs, by release.
const RELEASES: &str = "/usr/lib/postgresql";
/// Accounts that run the server when we are root.
const ACCOUNTS: [&str; 2] = ["postgres", "nobody"];
/// The server's certificate, which it signed itself.
const CERTIFICATE: &str = "server.crt";
/// The longest time for a start, an end, or a recovery: seconds, unless the machine is busy.
const LIMIT: Duration = Duration::from_mins(1);
/// Starts the server for each line that it reads, and at the end stops it (without a checkpoint: nobody reads it again).
const KEEPER: &str = r#"folder=$1; shift
while read -r _; do "$@" </dev/null >>"$folder/log" 2>&1 & server=$!; done
kill -QUIT $server 2>/dev/null; wait; cd /; rm -rf "$folder""#;

/// A server. It ends when this is dropped, or when this process ends.
#[derive(Debug)]
pub struct Postgres {
    url: String,
    own: Option<Own>,
}

/// A server of our own.
#[derive(Debug)]
struct Own {
    keeper: Child,
    programs: PathBuf,
    port: u16,
    // Its end removes it too: a static is never dropped.
    folder: tempfile::TempDir,
}

impl Postgres {
    /// Starts a server, or takes the one of `TEST_DATABASE_URL`.
    pub fn start() -> Result<Self> {
        match variable("TEST_DATABASE_URL") {
            Some(url) => Ok(Self { url, own: None }),
            None => Self::start_own(),
        }
    }

    /// Starts a server that may be killed.
    pub fn start_own() -> Result<Self> {
        let programs = programs()?;
        let folder = tempfile::Builder::new().prefix("postgres-").tempdir()?;
        let account = if nix::unistd::geteuid().is_root() { Some(account()?) } else { None };
        if let Some(account) = &account {
            chown(folder.path(), Some(account.uid.as_raw()), Some(account.gid.as_raw()))?;
        }
        let as_account = |program: &Path| {
            let mut command = Command::new(program);
            if let Some(account) = &account {
                command.uid(account.uid.as_raw()).gid(account.gid.as_raw());
            }
            // A group of its own: Ctrl-C in the terminal ends us, and the keeper then ends the server.
            command.current_dir(folder.path()).env("LC_ALL", "C").process_group(0);
            command
        };
        let password = format!("password-{}", crate::fixtures::unique());
        let (data, password_file) = (folder.path().join("data"), folder.path().join("password"));
        fs::write(&password_file, &password)?;
        let mut initdb = as_account(&programs.join("initdb"));
        initdb
            .args(["--username=test", "--auth=scram-sha-256", "--encoding=UTF8", "--no-sync", "--no-instructions"])
            .arg(format!("--pwfile={}", password_file.display()))
            .arg(&data);
        succeed(initdb)?;
        let key = certificate(folder.path(), account.as_ref())?;
        let port = crate::listener()?.local_addr()?.port();
        let keeper = as_account(Path::new("/bin/sh"))
            .args(["-c", KEEPER, "keeper"])
            .arg(folder.path())
            .arg(programs.join("postgres"))
            .arg("-D")
            .arg(&data)
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c"])
            .arg(format!("port={port}"))
            .arg("-c")
            .arg(format!("unix_socket_directories={}", folder.path().display()))
            .args(["-c", "ssl=on", "-c"])
            .arg(format!("ssl_cert_file={}", folder.path().join(CERTIFICATE).display()))
            .arg("-c")
            .arg(format!("ssl_key_file={}", key.display()))
            .stdin(Stdio::piped())
            // Not ours: whoever reads them to their end would wait for the keeper too.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("failed to start a shell")?;
        let url = format!("postgresql://test:{password}@127.0.0.1:{port}/postgres");
        let mut started = Self { url, own: Some(Own { keeper, programs, port, folder }) };
        started.restart()?;
        Ok(started)
    }

    /// Returns the address of the database `postgres`, with its password. The account may do everything.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the folder of the unix socket, and the port in its name; `None` for a user's own server.
    pub fn socket(&self) -> Option<(&Path, u16)> {
        self.own.as_ref().map(|own| (own.folder.path(), own.port))
    }

    fn own(&mut self) -> Result<&mut Own> {
        self.own.as_mut().context("the server of TEST_DATABASE_URL is not ours to kill")
    }

    /// Returns the file of the authority that signed the server's certificate, for those who ask for TLS; `None` for a user's own
    /// server.
    pub fn authority(&self) -> Option<PathBuf> {
        self.own.as_ref().map(|own| own.folder.path().join(CERTIFICATE))
    }

    /// Ends all of the server's processes by SIGKILL, as a node does that loses its power.
    pub fn kill(&mut self) -> Result<()> {
        let own = self.own()?;
        let pid_file = own.folder.path().join("data/postmaster.pid");
        let text = fs::read_to_string(&pid_file).with_context(|| format!("failed to read {}", pid_file.display()))?;
        let server: i32 = text.lines().next().unwrap_or_default().parse()?;
        let all: Vec<i32> = [server].into_iter().chain(children(server)?).collect();
        for process in &all {
            // One of the children may have ended by itself.
            let _gone = kill(Pid::from_raw(*process), Signal::SIGKILL);
        }
        wait_until("the killed server to be gone", || all.iter().all(|process| !is_alive(*process)))
    }

    /// Starts the server again, with its data, and returns when it takes connections.
    pub fn restart(&mut self) -> Result<()> {
        let own = self.own()?;
        let stdin = own.keeper.stdin.as_mut().context("the keeper has no stdin")?;
        stdin.write_all(b"start\n")?;
        stdin.flush()?;
        let address = ["--host=127.0.0.1".to_owned(), format!("--port={}", own.port)];
        let takes_connections = || {
            let asked = Command::new(own.programs.join("pg_isready")).args(&address).stdout(Stdio::null()).status();
            asked.is_ok_and(|status| status.success())
        };
        let log = own.folder.path().join("log");
        wait_until("PostgreSQL to take connections", takes_connections)
            .with_context(|| format!("its log:\n{}", fs::read_to_string(log).unwrap_or_default()))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // It fails only where somebody else has waited.
        let _ended = self.keeper.wait();
    }
}

fn succeed(mut command: Command) -> Result<()> {
    let made = command.output().with_context(|| format!("failed to start {}", command.get_program().display()))?;
    ensure!(
        made.status.success(),
        "{} failed: {}",
        command.get_program().display(),
        String::from_utf8_lossy(&made.stderr)
    );
    Ok(())
}

/// Writes the server's certificate and its key into the folder; returns the key's file.
fn certificate(folder: &Path, account: Option<&User>) -> Result<PathBuf> {
    let (certificate, text) = crate::node::certificate("127.0.0.1")?;
    fs::write(folder.join(CERTIFICATE), certificate)?;
    let key = folder.join("server.key");
    fs::write(&key, text)?;
    // The server takes no key that others may read, nor one that is not its own.
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
    if let Some(account) = account {
        chown(&key, Some(account.uid.as_raw()), Some(account.gid.as_raw()))?;
    }
    Ok(key)
}

/// Returns the folder of the newest release's programs.
fn programs() -> Result<PathBuf> {
    let entries = fs::read_dir(RELEASES).into_iter().flatten().flatten();
    let releases = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let newest = releases.filter(|release| *release >= OLDEST).max();
    let newest = newest.with_context(|| {
        format!(
            "PostgreSQL {OLDEST} or later is needed, and {RELEASES} holds none: run tests/harness/install-packages.sh, or set \
             TEST_DATABASE_URL to a database that tests may write to"
        )
    })?;
    Ok(Path::new(RELEASES).join(newest.to_string()).join("bin"))
}

fn account() -> Result<User> {
    let mut found = ACCOUNTS.iter().filter_map(|name| User::from_name(name).ok().flatten());
    found.next().with_context(|| format!("PostgreSQL does not run as root, and there is no account of {ACCOUNTS:?}"))
}

/// Returns state and parent of a process, while there is one.
fn status(process: &str) -> Option<(String, i32)> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // Its name stands in brackets, and may hold anything.
    let mut rest = text.get(text.rfind(')')? + 1..)?.split_whitespace();
    Some((rest.next()?.to_owned(), rest.next()?.parse().ok()?))
}

fn is_alive(process: i32) -> bool {
    // The keeper reaps at its end.
    status(&process.to_string()).is_some_and(|(state, _)| state != "Z")
}

fn children(parent: i32) -> Result<Vec<i32>> {
    let names = fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let of_parent = names.filter(|name| status(name).is_some_and(|(_, of)| of == parent));
    Ok(of_parent.filter_map(|name| name.parse().ok()).collect())
}

fn wait_until(what: &str, condition: impl Fn() -> bool) -> Result<()> {
    let until = Instant::now() + LIMIT;
    while !condition() {
        if Instant::now() > until {
            bail!("waited {} s for {what}", LIMIT.as_secs());
        }
        sleep(Duration::from_millis(20));
    }
    Ok(())
}
