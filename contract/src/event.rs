//! The audit event of one attempt: what the executor posts, and what a receiver keeps.
//!
//! An event is about the end of an attempt. One with `attempt` 0 is about an end that no attempt brought: nothing was
//! started, or the execution was ended between two attempts. Its `id` is always the same for the same end, so that a second
//! delivery is known as such: the first one counts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::result::Effect;

/// `eventType` of the event.
pub const EVENT_TYPE: &str = "kubernetes.execution";
/// `CloudEvents` type of the event, in the header `ce-type`.
pub const CLOUD_EVENT_TYPE: &str = "io.kubernaut.kubernetes.execution";
/// Path below the storage service's address to which events are posted.
pub const PATH: &str = "/api/v1/audit/kubernetes-execution";
/// The most bytes of an event as JSON; what is longer is left out, and `trimmed` names it.
pub const LARGEST: usize = 64 << 10;

/// The end of one attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEvent {
    /// Always `kubernetes.execution`.
    pub event_type: String,
    /// `<UID of the execution>/<attempt>`: the key under which the event is kept once.
    pub id: String,
    /// Time of the attempt's end, RFC 3339.
    pub timestamp: String,
    /// Name of the execution.
    pub execution_name: String,
    /// UID of the execution, which is the `ACTION_ID` of all its attempts.
    pub execution_uid: String,
    /// Namespace of the execution.
    pub namespace: String,
    /// Name of the cluster, as the controller's operator calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The action type, such as `scale-deployment`.
    pub action_type: String,
    /// The object that the action is about.
    pub target: EventTarget,
    /// The action's parameters, without what may be secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Value>,
    /// True when nothing was to be changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// `spec.reason`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Number of the attempt, from 1; 0 for an end that no attempt brought.
    pub attempt: i32,
    /// True when the execution ended with this.
    pub r#final: bool,
    /// Phase of the execution after this: `Retrying`, or a final one.
    pub phase: String,
    /// The runner's code, such as `Changed`; `NoResult` when there was none; for attempt 0 the reason for the phase.
    pub code: String,
    /// Effect of this attempt on the cluster.
    pub effect: Effect,
    /// Number of attempts after the first one, so far.
    pub retry_count: i32,
    /// `spec.maxRetries`.
    pub max_retries: i32,
    /// What came of it.
    pub result: EventResult,
    /// The Job of the attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_info: Option<JobInfo>,
    /// The image that ran, with its digest, as the node reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// Name of the workflow that the execution is a step of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// Namespace of that workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_namespace: Option<String>,
    /// Index of the step in that workflow, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_index: Option<i32>,
    /// The user who created the execution, where the cluster stamps that; never what a user claims of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<String>,
    /// `spec.approvedBy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// The trace id that execution, Job and runner share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Fields that were left out (or shortened) because the event would have been too long.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trimmed: Vec<String>,
}

/// The object that an action is about.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EventTarget {
    /// Namespace of the object; absent for cluster-scoped kinds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// API version of a kind that is not built in, such as `argoproj.io/v1alpha1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// Kind of the object, such as `Deployment`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_kind: Option<String>,
    /// Name of the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_name: Option<String>,
    /// Label selector in place of the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
}

/// What came of an attempt.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EventResult {
    /// True when the action did what was asked and verified that, or nothing had to be done.
    pub success: bool,
    /// Sentence that says what was done.
    pub output: String,
    /// Sentence that says what went wrong.
    pub error: String,
    /// Duration of the attempt in nanoseconds; 0 when it is not known.
    pub duration: i64,
}

/// The Job of an attempt.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct JobInfo {
    /// Name of the Job.
    pub name: String,
    /// Name of its last pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_name: Option<String>,
    /// Exit code of the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// What the run cost on its node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_usage: Option<ResourceUsage>,
}

/// What a run cost on its node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceUsage {
    /// CPU time over the duration of the attempt, in thousandths of a CPU.
    pub cpu_millicores: u64,
    /// Peak memory in bytes.
    pub memory_bytes: u64,
}

impl AuditEvent {
    /// Returns the key of the event of this attempt.
    pub fn key(execution_uid: &str, attempt: i32) -> String {
        format!("{execution_uid}/{attempt}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The founding design's fields, and ours beside them: a receiver of today reads both.
    #[test]
    fn an_event_is_read_as_it_was_written() {
        let event = json!({
            "eventType": EVENT_TYPE, "id": "u/1", "timestamp": "2026-11-25T10:00:00Z", "executionName": "x", "executionUid": "u",
            "namespace": "shop", "actionType": "scale-deployment",
            "target": { "namespace": "shop", "resourceKind": "Deployment", "resourceName": "web" },
            "attempt": 1, "final": true, "phase": "Completed", "code": "Changed", "effect": "applied", "retryCount": 0, "maxRetries": 3,
            "result": { "success": true, "output": "scaled", "error": "", "duration": 4_200_000_000_i64 },
            "jobInfo": { "name": "x-job", "podName": "x-job-1", "exitCode": 0, "resourceUsage": { "cpuMillicores": 3, "memoryBytes": 9_437_184 } },
        });
        let read: AuditEvent = serde_json::from_value(event.clone()).unwrap();
        assert_eq!(json!(read), event);
        assert_eq!(AuditEvent::key("u", 1), read.id);
    }
}
