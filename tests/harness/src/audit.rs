//! The judge: what the API server saw of a run, against what the run says of itself.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// One request, as the audit log has it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The request's own id; its stages share it.
    pub id: String,
    /// `get`, `patch`, `create`, …
    pub verb: String,
    /// Path and query.
    pub uri: String,
    /// `deployments`, …
    pub resource: String,
    /// `scale`, `eviction`, …
    pub subresource: String,
    /// The object's namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// HTTP status; 0 when the log does not tell.
    pub code: u64,
}

impl Entry {
    fn read(line: &Value) -> Self {
        let text = |pointer: &str| line.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        Self {
            id: text("/auditID"),
            verb: text("/verb"),
            uri: text("/requestURI"),
            resource: text("/objectRef/resource"),
            subresource: text("/objectRef/subresource"),
            namespace: text("/objectRef/namespace"),
            name: text("/objectRef/name"),
            code: line.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or(0),
        }
    }

    /// Whether the request changed something: it was meant to, and was accepted.
    pub fn changes_something(&self) -> bool {
        self.is_meant() && (200..300).contains(&self.code)
    }

    /// Whether it may have: a change whose answer is a 5xx, or was not given. It may have been made all the same.
    pub fn may_have_changed_something(&self) -> bool {
        self.is_meant() && (self.code == 0 || self.code >= 500)
    }

    /// Whether it is to change something: no dry run, no review, no event.
    fn is_meant(&self) -> bool {
        let mutating = matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection");
        let review = self.resource.starts_with("selfsubject");
        mutating && !review && self.resource != "events" && !self.uri.contains("dryRun=All")
    }
}

/// The audit log from a point in time on.
#[derive(Clone)]
pub struct AuditLog {
    path: PathBuf,
    from: u64,
}

impl AuditLog {
    /// From now on.
    pub fn from_now(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_path_buf(), from: path.metadata().context("the audit log is not there")?.len() })
    }

    /// Every request whose user agent holds this text. Waits until a request of our own, sent now, stands in the log:
    /// then everything that was answered before stands there too.
    pub async fn requests(&self, client: &kube::Client, agent: &str) -> Result<Vec<Entry>> {
        static SENTINEL: AtomicU64 = AtomicU64::new(0);
        const LIMIT: Duration = Duration::from_secs(20);
        let name = format!("audit-sentinel-{}-{}", std::process::id(), SENTINEL.fetch_add(1, Ordering::SeqCst));
        let request = http::Request::get(format!("/api/v1/namespaces/default/configmaps/{name}")).body(Vec::new())?;
        // It does not exist; that it was asked for is what counts.
        let _absent = client.request_text(request).await;
        let until = Instant::now() + LIMIT;
        loop {
            let text = self.text()?;
            if text.contains(&name) {
                return Ok(entries(&text, agent));
            }
            ensure!(Instant::now() < until, "the audit log does not show {name}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn text(&self) -> Result<String> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// What a program (by its user agent) has done with success under its ServiceAccounts, in the whole log: account, verb, group,
/// resource with sub-resource.
pub fn permissions_used(path: &Path, agent: &str) -> Result<BTreeSet<(String, String, String, String)>> {
    let text = std::fs::read_to_string(path).context("the audit log is not there")?;
    let mut used = BTreeSet::new();
    for line in text.lines().filter(|line| line.contains("system:serviceaccount:")) {
        let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
        let field = |pointer: &str| line.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let account = field("/user/username").rsplit(':').next().unwrap_or_default().to_owned();
        let sub = field("/objectRef/subresource");
        let resource = field("/objectRef/resource") + if sub.is_empty() { "" } else { "/" } + &sub;
        let code = line.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or_default();
        if field("/userAgent").starts_with(agent) && (200..300).contains(&code) {
            used.insert((account, field("/verb"), field("/objectRef/apiGroup"), resource));
        }
    }
    Ok(used)
}

/// The requests of one user agent, each once, in its last stage.
fn entries(text: &str, agent: &str) -> Vec<Entry> {
    let mut found: Vec<Entry> = Vec::new();
    for line in text.lines().filter(|line| line.contains(agent)) {
        let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
        let entry = Entry::read(&line);
        match found.iter_mut().find(|known| known.id == entry.id) {
            Some(known) => *known = entry,
            None => found.push(entry),
        }
    }
    found
}

/// Holds the run to its word: `effect`, `changes` and `requests.total` are exactly what the API server saw.
pub fn judge(result: &Value, seen: &[Entry]) -> Result<()> {
    judge_effect(result, seen)?;
    judge_requests(result, seen.len()).with_context(|| format!("result: {result:#}\naudit log: {seen:#?}"))
}

/// Whether as many requests were seen as the run says it sent. What was cut off may or may not have arrived.
pub fn judge_requests(result: &Value, seen: usize) -> Result<()> {
    let count = |field: &str| result.pointer(&format!("/requests/{field}")).and_then(Value::as_u64).unwrap_or_default();
    let (total, unanswered, seen) = (count("total"), count("unanswered"), u64::try_from(seen)?);
    ensure!(
        (total - unanswered..=total).contains(&seen),
        "requests: {total} sent, {unanswered} unanswered, {seen} were seen"
    );
    Ok(())
}

/// Whether `effect` and `changes` are what the API server saw.
pub fn judge_effect(result: &Value, seen: &[Entry]) -> Result<()> {
    let changed: Vec<&Entry> = seen.iter().filter(|entry| entry.changes_something()).collect();
    let told = result.pointer("/changes").and_then(Value::as_array).cloned().unwrap_or_default();
    let dry_run = result.pointer("/dryRun").and_then(Value::as_bool).unwrap_or(false);
    let told = if dry_run { Vec::new() } else { told };
    let explain = || format!("\nresult: {result:#}\naudit log: {seen:#?}");
    match result.pointer("/effect").and_then(Value::as_str) {
        Some("none") => ensure!(
            changed.is_empty() && told.is_empty(),
            "effect is none, and the API server changed something{}",
            explain()
        ),
        Some("applied") => {
            ensure!(!changed.is_empty(), "effect is applied, and the API server changed nothing{}", explain());
            let mut seen: Vec<String> = changed.iter().map(|entry| seen_key(entry)).collect();
            let mut said: Vec<String> = told.iter().map(told_key).collect();
            seen.sort();
            said.sort();
            ensure!(seen == said, "changes are not what the API server saw: {said:?} against {seen:?}{}", explain());
        }
        Some("unknown") => {}
        other => bail!("effect is {other:?}{}", explain()),
    }
    Ok(())
}

/// What a change was: comparable with what a result says of it, and with itself.
pub fn seen_key(entry: &Entry) -> String {
    let (operation, sub) =
        if entry.subresource == "eviction" { ("evict", "") } else { ("patch", entry.subresource.as_str()) };
    format!("{operation} {} {} {} {sub}", entry.resource, entry.namespace, entry.name)
}

fn told_key(change: &Value) -> String {
    let text = |pointer: &str| change.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    // Plurals of the kinds under test are regular.
    let resource = format!("{}s", text("/object/kind").to_lowercase());
    format!(
        "{} {resource} {} {} {}",
        text("/operation"),
        text("/object/namespace"),
        text("/object/name"),
        text("/object/subresource")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patch(uri: &str, code: u64) -> Entry {
        Entry {
            id: uri.to_owned(),
            verb: "patch".to_owned(),
            uri: uri.to_owned(),
            resource: "nodes".to_owned(),
            subresource: String::new(),
            namespace: String::new(),
            name: "n1".to_owned(),
            code,
        }
    }

    fn result(effect: &str, total: u64, changes: &Value) -> Value {
        json!({ "effect": effect, "requests": { "total": total }, "changes": changes })
    }

    #[test]
    fn catches_every_lie() {
        let change = json!([{ "object": { "kind": "Node", "name": "n1" }, "operation": "patch" }]);
        let real = [patch("/a", 200)];
        assert!(judge(&result("applied", 1, &change), &real).is_ok());
        assert!(judge(&result("none", 1, &json!([])), &real).is_err(), "it changed something");
        assert!(judge(&result("applied", 1, &json!([])), &real).is_err(), "it does not say what");
        assert!(judge(&result("applied", 2, &change), &real).is_err(), "it counts wrongly");
        assert!(judge(&result("applied", 1, &change), &[patch("/a", 422)]).is_err(), "it was refused");
        assert!(
            judge(&result("none", 1, &json!([])), &[patch("/a?dryRun=All", 200)]).is_ok(),
            "a dry run changes nothing"
        );
    }
}
