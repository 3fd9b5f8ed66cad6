//! What only real logs show: that many megabytes stay inside the pod's limit, and that a rotated log is not told as empty.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use test_cluster::assets::tell;

use crate::support::{N, expect, scenarios};

scenarios!("limits": sixty_megabytes_of_logs_fit_into_64_mebibytes, a_rotated_log_is_incomplete_and_not_empty);

/// The Job template's limit.
const LIMIT: u64 = 64 << 20;

async fn sixty_megabytes_of_logs_fit_into_64_mebibytes(n: N) -> Result<()> {
    n.noisy(7).await?;
    let parameters = json!({ "maxBytes": 5 << 20, "timestamps": false }).to_string();
    let job = n.job("collect-logs-deployment", "noisy", &[("ACTION_PARAMETERS", &parameters)])?;
    let name = n.start("collect-logs-deployment", &job).await?;
    let pod = n.pod_of(&name).await?;
    let peak = n.peak_until_its_end(&pod).await?;
    let ended = n.ended(&pod).await?;
    expect(&ended, "Completed", "none", "older lines did not fit")?;
    let details = &ended.result["details"];
    let seen = details["lines"].as_u64().unwrap_or(0) + details["droppedLines"].as_u64().unwrap_or(0);
    ensure!(seen == 7 * 9 * 1024, "{seen} lines of {}: {details:#}", 7 * 9 * 1024);
    fits(&format!("collect-logs over 7 pods, {} MiB of logs", 7 * 9), peak)?;
    Ok(())
}

/// Whether a pod stayed inside the template's limit; says how far.
#[expect(clippy::cast_precision_loss, reason = "for people")]
pub fn fits(what: &str, peak: u64) -> Result<()> {
    tell(&format!("  {what}: cgroup peak {:.1} MiB of 64", peak as f64 / f64::from(1 << 20)));
    ensure!(peak > 1 << 20 && peak < LIMIT, "{what}: the cgroup's peak is {peak} bytes");
    Ok(())
}

async fn a_rotated_log_is_incomplete_and_not_empty(n: N) -> Result<()> {
    // One goes on writing. One writes a little more than the 10 MiB at which the kubelet rotates, and is silent then.
    n.workload("busy", &["write", "100000", "2"]).await?;
    let silent = rotated_away(&n).await?;
    let busy = format!("{}/busy/log?limitBytes=100", n.world.path("v1", "pods"));
    n.until_text(&busy, "rotated", |text| !text.is_empty() && !text.starts_with("line 0000000000 ")).await?;
    let said = incomplete(&n, &silent, 1).await?;
    ensure!(said.contains("is empty for the ") && said.contains("rotated"), "{said}");
    // For a moment after each rotation this one is empty too.
    let mut said = String::new();
    for attempt in 1..=3 {
        said = incomplete(&n, "busy", attempt).await?;
        if said.contains("begins ") {
            break;
        }
    }
    ensure!(said.contains("begins ") && said.contains("rotated"), "{said}");
    Ok(())
}

/// What collect-logs says of a pod's log that lacks its beginning.
async fn incomplete(n: &N, pod: &str, attempt: u32) -> Result<String> {
    let mut job = n.job("collect-logs-pod", pod, &[("ACTION_PARAMETERS", "{}")])?;
    job["metadata"]["name"] = json!(format!("of-{pod}-{attempt}"));
    let ended = n.complete("collect-logs-pod", &job).await.with_context(|| pod.to_owned())?;
    expect(&ended, "Completed", "none", "1 logs may lack their beginning")?;
    Ok(ended.result["details"]["containers"][0]["incomplete"].as_str().unwrap_or_default().to_owned())
}

/// A pod of which the kubelet has rotated away every line. It looks every 3 s, also while the pod still writes, and leaves
/// the rest in the file that it serves then: another pod is tried.
async fn rotated_away(n: &N) -> Result<String> {
    for attempt in 1..=5 {
        let name = format!("silent-{attempt}");
        let pod = n.workload(&name, &["write", "10", "0"]).await?;
        if n.rotated(&pod).await?.contains("line 0000010239 ") {
            // Silence in the first seconds of a container says nothing: it may not have begun.
            tokio::time::sleep(Duration::from_secs(7)).await;
            return Ok(name);
        }
    }
    bail!("the kubelet rotated five logs while they were written, and none after that")
}
