//! `ACTION_EVENTS`: one Kubernetes Event about the target. Best effort: it never changes how the run ended.

use actions::cluster::Cluster;
use actions::object::Target;
use serde_json::{Value, json};

use crate::result::ActionResult;
use crate::trail::Trail;

/// `note` may have 1 KiB, `reason` and `action` 128 characters.
const NOTE_LIMIT: usize = 1000;

/// Posts the event and returns the result, with a warning when that failed.
pub async fn post(cluster: &Cluster, trail: &Trail, result: ActionResult) -> ActionResult {
    let Some(target) = result.target.as_ref().filter(|target| target.object.uid.is_some()) else { return result };
    let event = event(&target.object, &result);
    let warning =
        cluster.post_event(event).await.err().map(|why| format!("ACTION_EVENTS: the event could not be posted: {why}"));
    ActionResult {
        requests: Some(trail.facts().ledger.requests()),
        warnings: result.warnings.iter().cloned().chain(warning).collect(),
        ..result
    }
}

/// The result of a run whose event was cut off.
pub fn cut_off(trail: &Trail, result: ActionResult) -> ActionResult {
    let warning = "ACTION_EVENTS: the run was cut off while it posted the event; it may or may not be there".to_owned();
    ActionResult {
        requests: Some(trail.facts().ledger.requests()),
        warnings: result.warnings.iter().cloned().chain([warning]).collect(),
        ..result
    }
}

fn event(target: &Target, result: &ActionResult) -> Value {
    let note = result.output.as_deref().or(result.error.as_deref()).unwrap_or_default();
    json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event",
        // Events about cluster-scoped objects are only accepted in `default`.
        "metadata": { "generateName": "action-runner-", "namespace": target.namespace.as_deref().unwrap_or("default") },
        "eventTime": format!("{:.6}", jiff::Timestamp::now()),
        "type": if result.success { "Normal" } else { "Warning" },
        "reason": format!("Action{:?}", result.code),
        "action": result.action_type,
        "note": note.chars().scan(0, |bytes, c| { *bytes += c.len_utf8(); (*bytes <= NOTE_LIMIT).then_some(c) }).collect::<String>(),
        "reportingController": "kubernetesexecution.kubernaut.io/action-runner",
        "reportingInstance": result.action_id.as_deref().unwrap_or("action-runner"),
        "regarding": { "apiVersion": target.api_version, "kind": target.kind, "namespace": target.namespace, "name": target.name, "uid": target.uid },
    })
}
