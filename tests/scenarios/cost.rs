//! What `collect-logs` costs beside `kubectl logs`: the processor time of both, one after the other, for the same log.
//!
//! `COST=whole ACTION_RUNNER=FILE cargo test --test scenarios -- cost` measures that release build with 40 MB of lines that this cluster's own programs wrote,
//! eleven times, and prints the medians of the ratios. A usual run measures a little once and only looks that both give all
//! lines: processor time of a debug build beside other scenarios says nothing.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::assets::{kubectl, tell, variable};

use crate::support::{T, scenarios};

scenarios!("cost": beside_kubectl);

/// The time of each line.
const TIME: &str = "2026-11-23T10:00:00.000000001Z";

async fn beside_kubectl(t: T) -> Result<()> {
    let whole = variable("COST").as_deref() == Some("whole");
    let release = variable("ACTION_RUNNER").is_some();
    ensure!(release || !whole, "COST=whole measures a release build: name it by ACTION_RUNNER");
    let (bytes, rounds) = if whole { (40_000_000, 11) } else { (400_000, 1) };
    let Some(logs) = &t.world.connection.logs else {
        tell("SKIPPED: what collect-logs costs is only measured on a cluster of our own");
        return Ok(());
    };
    let lines = component_lines(&t, bytes)?;
    let count = lines.len();
    // The log of every container of this name.
    std::fs::write(logs.join("cost.log"), lines.concat())?;
    let container =
        json!({ "spec": { "template": { "spec": { "containers": [{ "name": "cost", "image": "shop/web:1" }] } } } });
    t.world.workload("Deployment", "web", 1, container).await?;
    let pod = t.world.pods("web").await?[0]["metadata"]["name"].as_str().context("no pod")?.to_owned();
    let account = t.account("collect-logs-pod").await?;
    let runner = |redact: bool| {
        let mut command = Command::new(&t.binary);
        command.envs([
            ("KUBECONFIG", account.to_str().unwrap_or_default()),
            ("ACTION_TYPE", "collect-logs-pod"),
            ("TARGET_NAMESPACE", t.world.namespace.as_str()),
            ("TARGET_NAME", &pod),
            ("ACTION_PARAMETERS", &json!({ "redact": redact }).to_string()),
        ]);
        command
    };
    let mut other = Command::new(kubectl()?);
    other.arg("--kubeconfig").arg(&account).args(["--namespace", &t.world.namespace, "logs", "--timestamps", &pod]);
    let mut ratios = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        let (kubectl, lines) = cost(&other)?;
        ensure!(lines.lines().count() == count, "kubectl logs: {} of {count} lines", lines.lines().count());
        for (redact, ratios) in [true, false].into_iter().zip(&mut ratios) {
            let (own, lines) = cost(&runner(redact))?;
            let result: Value = serde_json::from_str(lines.lines().last().unwrap_or_default())?;
            let read = [&result["details"]["lines"], &result["details"]["droppedLines"]].map(Value::as_u64);
            ensure!(read.iter().flatten().sum::<u64>() == count as u64, "all {count} lines are read: {result:#}");
            tell(&format!("round {round}: redact {redact}: {own:.3} s, kubectl logs: {kubectl:.3} s"));
            ratios.push(own / kubectl);
        }
    }
    for (what, ratios) in ["with redaction", "without"].into_iter().zip(&mut ratios) {
        ratios.sort_by(f64::total_cmp);
        let (least, median, most) = (ratios[0], ratios[ratios.len() / 2], ratios[ratios.len() - 1]);
        tell(&format!("{what}: {median:.2} of kubectl logs ({least:.2} to {most:.2}, {bytes} bytes)"));
    }
    Ok(())
}

/// Lines that this cluster's programs wrote, over and over, as a container runtime keeps them.
fn component_lines(t: &T, bytes: usize) -> Result<Vec<String>> {
    let logs = t.world.connection.component_logs()?;
    let text = logs.iter().map(|(_, log)| String::from_utf8_lossy(log)).collect::<String>();
    let all: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    ensure!(!all.is_empty(), "no program has written anything");
    let (mut lines, mut size) = (Vec::new(), 0);
    while size < bytes {
        for line in &all {
            size += line.len() + TIME.len();
            lines.push(format!("{TIME} stdout F {line}\n"));
        }
    }
    Ok(lines)
}

/// Runs a command to its end; returns the processor time that it took in seconds, and what it wrote.
fn cost(command: &Command) -> Result<(f64, String)> {
    let mut timed = Command::new("bash");
    timed.args(["-c", "TIMEFORMAT='%3U %3S'; time \"$@\" 2>/dev/null", "bash"]);
    timed.arg(command.get_program()).args(command.get_args());
    timed.env_remove("ACTION_RUNNER").envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = timed.output()?;
    let times = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{command:?}: {times}{}", String::from_utf8_lossy(&output.stdout));
    let seconds = times.split_whitespace().map(str::parse::<f64>).sum::<Result<f64, _>>().context(times.clone())?;
    Ok((seconds, String::from_utf8_lossy(&output.stdout).into_owned()))
}
