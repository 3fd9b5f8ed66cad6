//! Events about executions: one at the start, one at the end, best effort.

use actions::cluster::random;
use contract::text::shorten;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::{GROUP, KubernetesExecution, KubernetesExecutionStatus, Phase};

/// The API server's own limit for a note.
const NOTE: usize = 1000;

/// Returns the Event about a status that was written, if it is worth one: the first Job, and the end.
pub fn of(
    execution: &KubernetesExecution,
    had_job: bool,
    status: &KubernetesExecutionStatus,
    reporter: &str,
) -> Option<Value> {
    let phase = status.phase?;
    let begins = phase == Phase::Executing && status.job_uid.is_some() && status.attempts.is_empty() && !had_job;
    let (kind, reason) = match phase {
        Phase::Completed => ("Normal", "Completed"),
        phase if phase.is_final() => ("Warning", phase.name()),
        _ if begins => ("Normal", "Started"),
        _ => return None,
    };
    let metadata = &execution.metadata;
    let now = format!("{:.6}", Timestamp::now());
    let namespace = metadata.namespace.clone().unwrap_or_default();
    Some(json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": { "name": format!("{}.{:016x}", metadata.name.as_deref().unwrap_or_default(), random()), "namespace": namespace },
        "eventTime": now, "type": kind, "reason": reason, "action": "Execute",
        "note": shorten(status.message.as_deref().unwrap_or_default(), NOTE),
        "reportingController": format!("{GROUP}/execution-controller"), "reportingInstance": shorten(reporter, 120),
        "regarding": {
            "apiVersion": format!("{GROUP}/v1alpha1"), "kind": "KubernetesExecution", "namespace": namespace,
            "name": metadata.name, "uid": metadata.uid,
        },
    }))
}
