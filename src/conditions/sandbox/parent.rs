//! The parent's side: starts the child, gives it its task, and explains how it ended.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::child::{ARGUMENT, Answer, LARGEST, SECONDS, Task};
use super::memory;

/// The time limit of one evaluation: longer than its processor time, for a machine that is busy with other things.
const LONGEST: Duration = Duration::from_secs(15);
/// The most bytes of an answer that are read.
const ANSWER: u64 = 1 << 20;
/// The most bytes of a child's stderr that are kept.
const COMPLAINT: u64 = 4 << 10;

/// Asks a child. An error says why there is no answer: the task took too much, or is too large.
pub async fn ask(task: &Task, input: &str, limit: Duration) -> Result<Answer, String> {
    let mut text = serde_json::to_string(task).map_err(|error| format!("failed to write the task: {error}"))?;
    text.push('\n');
    text.push_str(input);
    let (size, most) = (text.len() >> 20, (LARGEST >> 20) - 1);
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > most << 20 {
        return Err(format!("the modules and the input together have {size} MiB; at most {most} are evaluated"));
    }
    let limit = limit.min(LONGEST);
    match tokio::time::timeout(limit, exchange(text)).await {
        Ok(answer) => answer,
        // Dropping the child has killed it.
        Err(_) => Err(format!("it took longer than {} s", limit.as_secs_f32())),
    }
}

async fn exchange(text: String) -> Result<Answer, String> {
    let failed = |what: &'static str| move |error: std::io::Error| format!("failed to {what} the evaluator: {error}");
    let program = std::env::current_exe().map_err(failed("find"))?;
    let memory = memory::for_a_child();
    let mut child = Command::new(program)
        .arg(ARGUMENT)
        .arg(memory.to_string())
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed("start"))?;
    let (mut answer, mut complaint) = (Vec::new(), Vec::new());
    {
        let (Some(mut stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err("the evaluator has no pipes".to_owned());
        };
        let write = async move {
            // A child that has died does not read this; its exit status tells why.
            let _broken = stdin.write_all(text.as_bytes()).await;
            drop(stdin);
            Ok(())
        };
        let mut stdout = stdout.take(ANSWER);
        let complain = async {
            let mut stderr = stderr;
            (&mut stderr).take(COMPLAINT).read_to_end(&mut complaint).await?;
            // The rest is not needed, but a full pipe would block the child.
            tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await
        };
        tokio::try_join!(write, stdout.read_to_end(&mut answer), complain).map_err(failed("talk to"))?;
    }
    let status = child.wait().await.map_err(failed("wait for"))?;
    if !status.success() {
        return Err(ended(status, &String::from_utf8_lossy(&complaint), memory));
    }
    serde_json::from_slice(&answer).map_err(|error| format!("the evaluator's answer cannot be read: {error}"))
}

/// Explains how a child ended without an answer, for the author of the Rego.
fn ended(status: ExitStatus, complaint: &str, memory: u64) -> String {
    const SIGKILL: i32 = 9;
    const SIGSEGV: i32 = 11;
    const SIGXCPU: i32 = 24;
    let least = if memory < memory::MOST { ", which is what the container has left; raise its limit" } else { "" };
    let memory = format!("it needs more than {} MiB of memory{least}", memory >> 20);
    match status.signal() {
        Some(SIGXCPU) => format!("it took more than {SECONDS} s of processor time"),
        Some(SIGKILL) => "it was killed; is the pod's memory limit less than 64Mi?".to_owned(),
        _ if complaint.contains("overflowed its stack") => "it recurses too deeply".to_owned(),
        _ if complaint.contains("memory allocation of") => memory,
        Some(SIGSEGV) => format!("it recurses too deeply, or {memory}"),
        _ => format!("the evaluator ended with {status}: {}", complaint.lines().next().unwrap_or("no word")),
    }
}
