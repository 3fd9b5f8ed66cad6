//! What scenarios read in the cluster themselves: no sentence of the runner's is believed.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::audit::{AuditLog, Entry};
use test_cluster::runner::{Outcome, Run};

use crate::support::T;

const RESTARTED_AT: &str = "/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt";

/// The value of a restart, on the pod template.
pub fn restarted_at(object: &Value) -> Option<&str> {
    object.pointer(RESTARTED_AT).and_then(Value::as_str)
}

/// A patch that sets it.
pub fn restart_by_hand(value: Value) -> Value {
    json!({ "spec": { "template": { "metadata": { "annotations": { "kubectl.kubernetes.io/restartedAt": value } } } } })
}

/// A patch that sets another image, in a container that is as confined as the fixture's (admission).
pub fn image(number: u32) -> Value {
    json!({ "spec": { "template": { "spec": { "containers": [{
        "name": "app", "image": format!("shop/web:{number}"), "env": [{ "name": "GREETING", "value": "hello" }],
        "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
    }] } } } })
}

/// An object's UID.
pub fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}

/// An object's name.
pub fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

/// UIDs.
pub fn uids(objects: &[Value]) -> BTreeSet<String> {
    objects.iter().map(uid).collect()
}

/// Whether a pod is ready and stays.
pub fn serves(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let ready = conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"));
    ready && pod["metadata"]["deletionTimestamp"].is_null()
}

/// The pods of an app that are ready and stay.
pub async fn serving(t: &T, app: &str) -> Result<Vec<Value>> {
    Ok(t.world.pods(app).await?.into_iter().filter(serves).collect())
}

/// Waits until so many pods of an app serve.
pub async fn until_serving(t: &T, app: &str, count: usize) -> Result<Vec<Value>> {
    let path = format!("{}?labelSelector=app%3D{app}", t.world.path("v1", "pods"));
    let enough = |list: &Value| {
        list["items"].as_array().is_some_and(|all| all.iter().filter(|pod| serves(pod)).count() == count)
    };
    t.world.until(&path, "as many serving pods as it should", enough).await?;
    serving(t, app).await
}

/// The first pod of an app.
pub async fn first_pod(t: &T, app: &str) -> Result<Value> {
    t.world.pods(app).await?.into_iter().next().context("no pod")
}

/// A pod as it is now; null when it is gone.
pub async fn pod(t: &T, name: &str) -> Value {
    t.world.get(&format!("{}/{name}", t.world.path("v1", "pods"))).await.unwrap_or_default()
}

/// `restart-pod` of this very pod, repeatable.
pub async fn restart_pod(t: &T, pod: &Value) -> Result<Run> {
    Ok(t.run("restart-pod", &name(pod)).await?.with("ACTION_ID", "exec-1").with("TARGET_UID", uid(pod)))
}

/// A run whose claims the scenario holds against the cluster before the second judge speaks.
pub async fn told(t: &T, run: &Run) -> Result<Outcome> {
    t.complete(&run.clone().told()).await
}

/// The same where a proxy keeps requests from the API server: no count is judged, but what reached it is in the outcome.
pub async fn told_by_the_server(t: &T, run: &Run) -> Result<Outcome> {
    let audit = t.world.connection.audit_log.as_deref().map(AuditLog::from_now).transpose()?;
    let mut outcome = told(t, &run.clone().unjudged()).await?;
    if let Some(audit) = audit {
        let agent = outcome.result["requests"]["userAgent"].as_str().context("no user agent")?;
        outcome.seen = audit.requests(t.world.client(), agent).await?;
        test_cluster::audit::judge_effect(&outcome.result, &outcome.seen)?;
    }
    Ok(outcome)
}

/// How often the API server was asked to really do this.
pub fn sent(outcome: &Outcome, resource: &str, subresource: &str) -> usize {
    let real = |one: &&Entry| {
        let writes = matches!(one.verb.as_str(), "create" | "patch" | "update") && !one.uri.contains("dryRun");
        writes && one.resource == resource && one.subresource == subresource
    };
    outcome.seen.iter().filter(real).count()
}

/// Nothing was changed, by the audit log.
pub fn touched_nothing(outcome: &Outcome) -> Result<()> {
    let touched: Vec<_> = outcome.seen.iter().filter(|one| one.changes_something()).collect();
    ensure!(touched.is_empty(), "it changed something: {touched:#?}\n{:#}", outcome.result);
    Ok(())
}

/// Whether it claims success: what a scenario has seen to be so, or not.
pub fn claims(outcome: &Outcome, success: bool, seen: &str) -> Result<()> {
    let said = outcome.result["output"].as_str().or(outcome.result["error"].as_str()).unwrap_or_default();
    ensure!(
        outcome.result["success"] == success,
        "SEEN: {seen}; SAID: {} (effect {}): {said}\n{}",
        outcome.result["code"],
        outcome.result["effect"],
        outcome.stderr
    );
    Ok(())
}
