//! Nobody reads what a run writes: it ends in time all the same, with its exit code.

use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::binary;

/// A pipe that is full; its reader stays, and never reads.
fn full() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while writer.write(b" ").is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    (reader, writer)
}

/// A run that ends as soon as its kubeconfig is looked at, and then wants to say so.
fn start(stdout: PipeWriter, stderr: Stdio, timeout: &str) -> Child {
    Command::new(binary())
        .env_clear()
        .env("ACTION_TYPE", "scale-deployment")
        .env("TARGET_NAME", "web")
        .env("KUBECONFIG", "/no/such/file")
        .env("ACTION_TIMEOUT", timeout)
        .env("LOG_LEVEL", "debug")
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .unwrap()
}

/// Its exit code, and how long it took; a run that does not end is ended.
fn ended(child: &mut Child, since: Instant, most: Duration) -> (Option<i32>, Duration) {
    while since.elapsed() < most {
        if let Some(status) = child.try_wait().unwrap() {
            return (status.code(), since.elapsed());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    (None, since.elapsed())
}

#[test]
fn a_stdout_that_nobody_reads_holds_no_run() {
    let (_unread, stdout) = full();
    let mut child = start(stdout, Stdio::piped(), "2s");
    let (code, took) = ended(&mut child, Instant::now(), Duration::from_secs(30));
    assert_eq!(code, Some(2));
    // As long as the run may take it waits for a reader, and no longer.
    assert!(took > Duration::from_millis(1500) && took < Duration::from_secs(20), "{took:?}");
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    let line = log.lines().find(|line| line.contains(r#""kind":"ActionResult""#)).unwrap();
    assert_eq!(serde_json::from_str::<Value>(line).unwrap()["code"], "InvalidRequest");
    assert!(log.contains("nobody has read stdout for"), "{log}");
}

/// As of a terminal's pager, or with `2>&1`: then a line of the log is what the run hangs in.
#[test]
fn a_log_that_nobody_reads_holds_no_run_either() {
    let ((_unread, stdout), (_nor, stderr)) = (full(), full());
    let mut child = start(stdout, stderr.into(), "2s");
    let (code, took) = ended(&mut child, Instant::now(), Duration::from_secs(30));
    assert_eq!(code, Some(8), "{took:?}");
    assert!(took < Duration::from_secs(12), "{took:?}");
}

/// Who stops a run does not have to wait for a reader.
#[test]
fn a_run_that_waits_for_a_reader_can_be_stopped() {
    let (_unread, stdout) = full();
    let mut child = start(stdout, Stdio::piped(), "5m");
    let log = BufReader::new(child.stderr.take().unwrap()).lines();
    let (found, said) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut writes = log.map_while(Result::ok).filter(|line| line.contains("writing the result"));
        found.send(writes.next()).unwrap();
        // Its log is read until its end.
        writes.for_each(drop);
    });
    if said.recv_timeout(Duration::from_secs(30)).ok().flatten().is_none() {
        child.kill().unwrap();
        panic!("it does not say that it writes the result");
    }
    let since = Instant::now();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    let (code, took) = ended(&mut child, since, Duration::from_secs(30));
    assert_eq!(code, Some(2), "{took:?}");
    assert!(took < Duration::from_secs(8), "{took:?}");
}
