//! What the cluster's own programs wrote during a run: lines that the redaction must leave as they are.

use actions::export::redact_text::Redactor;
use anyhow::{Result, ensure};
use test_cluster::Connection;
use test_cluster::assets::tell;

/// Looks that of all lines at most one in a hundred is changed. One that is may well hold what has a secret's name: etcd
/// calls its cluster's name a token.
pub fn stay_as_they_are(connection: &Connection) -> Result<()> {
    let logs = connection.component_logs()?;
    if logs.is_empty() {
        tell("SKIPPED: what redaction makes of components' lines is only known on a cluster of our own");
    }
    let (mut all, mut changed, mut shown) = (0, 0, String::new());
    for (program, log) in logs {
        let mut redactor = Redactor::default();
        let (mut own, mut own_changed) = (0, 0);
        for line in log.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            own += 1;
            let (clean, count) = redactor.line(line);
            if count > 0 {
                own_changed += 1;
                shown += &format!("\n  {}\n  {}", String::from_utf8_lossy(line), String::from_utf8_lossy(&clean));
            }
        }
        tell(&format!("redaction changes {own_changed} of {own} lines of {program}"));
        (all, changed) = (all + own, changed + own_changed);
    }
    ensure!(changed * 100 <= all, "redaction changes {changed} of {all} lines that components wrote:{shown}");
    Ok(())
}
