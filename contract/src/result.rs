//! The result of a run: one `ActionResult`, the same on stdout, in the termination message and in the exit code.
//!
//! Results are read leniently: unknown fields are skipped, absent fields get their defaults, and an unknown word that a
//! newer runner wrote is read as the variant that claims the least.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::code::Code;
use crate::condition::ConditionResult;

/// `apiVersion` of the result.
pub const API_VERSION: &str = "kubernetesexecution.kubernaut.io/v1alpha1";
/// `kind` of the result, by which a reader finds its line among others.
pub const KIND: &str = "ActionResult";

/// The longest result line: container runtimes split lines from 8 KiB on.
pub const LINE_LIMIT: usize = 8 << 10;
/// The longest termination message: the kubelet cuts at 4096 bytes, and half a JSON object cannot be read.
pub const TERMINATION_LIMIT: usize = 4000;
/// The target, and the object that led to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResultTarget {
    /// The object.
    #[serde(flatten)]
    pub object: ObjectReference,
    /// The object that the request named, when the target is its owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_from: Option<ObjectReference>,
}

/// The result of one run.
#[expect(clippy::struct_excessive_bools, reason = "each is a field of the contract")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActionResult {
    /// Always [`API_VERSION`].
    pub api_version: String,
    /// Always [`KIND`].
    pub kind: String,
    /// True when the action did what was asked and verified that, when nothing had to be done, or when the dry run
    /// passed.
    pub success: bool,
    /// Code that tells how the run ended.
    pub code: Code,
    /// Sentence for a person that says what was done; when `success` is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Sentence that says what went wrong, with which object, and what to do about it; when `success` is false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The same request may succeed later without anyone changing it, and sending it again cannot apply it twice.
    pub retryable: bool,
    /// Effect on the cluster. Never a guess.
    pub effect: Effect,
    /// True when an earlier run of the same `ACTION_ID` had applied the change and this one finished its work.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resumed: bool,
    /// Problems that did not stop the run, but that a person should know. What the API server warns of (admission, Pod
    /// Security, deprecated versions) begins with `the API server warns:`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// RFC 3339, with milliseconds.
    pub start_time: String,
    /// RFC 3339, with milliseconds.
    pub end_time: String,
    /// The action type, such as `scale-deployment`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action_type: Option<String>,
    /// `ACTION_ID`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action_id: Option<String>,
    /// `ACTION_DRY_RUN`
    pub dry_run: bool,
    /// The trace id of `TRACEPARENT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The target, once found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<ResultTarget>,
    /// The parameters, after defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Value>,
    /// The changes that were made; in a dry run: those that would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<Change>>,
    /// The action's own report; `action-runner schema ACTION --output` is its schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
    /// Results of `ACTION_PRECONDITIONS`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pre_condition_results: Vec<ConditionResult>,
    /// Results of `ACTION_POSTCONDITIONS`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub post_condition_results: Vec<ConditionResult>,
    /// The request that undoes the effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback_information: Option<RollbackInformation>,
    /// The phase in which the run failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_phase: Option<PhaseName>,
    /// The phases that the run went through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phases: Option<Vec<Phase>>,
    /// Number of API requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<Requests>,
    /// What the run cost on its node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Version of the runner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runner: Option<Runner>,
    /// Fields that were left out (or shortened) because the result would have been too long.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trimmed: Vec<String>,
}

/// An object as results name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectReference {
    /// API group and version, such as `apps/v1`.
    pub api_version: String,
    /// Kind, such as `Deployment`.
    pub kind: String,
    /// Namespace; absent for cluster-scoped kinds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// UID, once the object was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The sub-resource that was written, such as `scale`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subresource: Option<String>,
}

/// Effect of the run on the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// Nothing that changes the cluster was sent, or none of it is known to have been applied.
    None,
    /// At least one change was applied: known from the server's answer, our mark, or a watch that was opened before.
    Applied,
    /// A change was sent, but whether it was applied could not be found out.
    #[serde(other)]
    Unknown,
}

/// The way in which an object was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Operation {
    /// The object's fields were patched.
    Patch,
    /// The pod was evicted.
    Evict,
    /// An operation that only a newer runner does. Read, and never written.
    #[serde(other)]
    #[schemars(skip)]
    Other,
}

/// One object that was changed (in a dry run: that would be).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// The object.
    pub object: ObjectReference,
    /// Operation on the object.
    pub operation: Operation,
    /// An RFC 6902 JSON Patch from the object before to the object after; for `patch` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<Value>,
}

/// Numbers of requests that were sent to the API server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Requests {
    /// All requests, access reviews and dry runs included.
    pub total: u32,
    /// Requests that were sent again after a failure.
    pub retries: u32,
    /// Requests without an answer, because the connection failed, or a deadline or a signal cut them off: the API
    /// server may not have seen these.
    pub unanswered: u32,
    /// `User-Agent` of all the requests: the key to find them in the API server's audit log.
    pub user_agent: String,
}

/// The request that undoes the effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RollbackInformation {
    /// True when there is such a request.
    pub available: bool,
    /// `ACTION_TYPE` of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback_action: Option<String>,
    /// `ACTION_PARAMETERS` of the request; the target stays the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback_parameters: Option<Map<String, Value>>,
    /// Reason why there is no such request, or why a rollback is advised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
}

impl RollbackInformation {
    /// Says that no request undoes the effect, and why.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self { available: false, rollback_action: None, rollback_parameters: None, failure_reason: Some(reason.into()) }
    }

    /// Returns the information with this request.
    pub fn request(action: String, parameters: Value) -> Self {
        let parameters = match parameters {
            Value::Object(parameters) => parameters,
            _ => Map::new(),
        };
        Self {
            available: true,
            rollback_action: Some(action),
            rollback_parameters: Some(parameters),
            failure_reason: None,
        }
    }
}

/// A phase of the run, in the order of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PhaseName {
    /// what can be checked without the cluster.
    Validate,
    /// which permissions are missing.
    Permissions,
    /// the target is looked up.
    Find,
    /// `ACTION_POLICY_DIR`.
    Policy,
    /// `ACTION_PRECONDITIONS`.
    Preconditions,
    /// the change is tried out.
    DryRun,
    /// the change is made.
    Execute,
    /// the effect is waited for.
    Verify,
    /// `ACTION_POSTCONDITIONS`.
    Postconditions,
    /// A phase that only a newer runner has. Read, and never written.
    #[serde(other)]
    #[schemars(skip)]
    Other,
}

/// One phase of the run, and its duration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Phase {
    /// Name of the phase.
    pub name: PhaseName,
    /// Duration in milliseconds.
    pub duration_ms: u64,
}

/// What a run cost on its node: no API tells it once the pod has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// CPU time in milliseconds, of all processes of the container.
    pub cpu_ms: u64,
    /// Peak memory in bytes: of the container's control group where it is known, else of the runner's process.
    pub memory_peak_bytes: u64,
}

/// Version of the runner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Runner {
    /// Version of the program.
    pub version: String,
    /// Commit that the runner was built from, if the build knew it.
    pub revision: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The least that a runner writes: everything that may be left out is.
    fn least() -> Value {
        json!({
            "apiVersion": API_VERSION, "kind": KIND, "success": false, "code": "Conflict", "error": "e", "retryable": true,
            "effect": "none", "startTime": "s", "endTime": "e", "dryRun": false, "trimmed": ["details"],
        })
    }

    #[test]
    fn a_result_is_read_as_it_was_written() {
        let result: ActionResult = serde_json::from_value(least()).unwrap();
        assert_eq!((result.code, result.effect, result.retryable), (Code::Conflict, Effect::None, true));
        assert_eq!(json!(result), least());
    }

    #[test]
    fn a_rollback_keeps_its_parameters() {
        let undo = RollbackInformation::request("scale-deployment".to_owned(), json!({ "replicas": 3 }));
        let written =
            json!({ "available": true, "rollbackAction": "scale-deployment", "rollbackParameters": { "replicas": 3 } });
        assert_eq!(json!(undo), written);
        assert_eq!(json!(RollbackInformation::request("x".to_owned(), Value::Null))["rollbackParameters"], json!({}));
    }

    /// What others truncate at: container runtimes at 16 KiB at most, the kubelet at 4 KiB.
    #[test]
    fn a_line_and_a_message_have_their_lengths() {
        assert_eq!((LINE_LIMIT, TERMINATION_LIMIT), (8192, 4000));
    }

    /// A newer runner has more fields and more words: what is not understood reads as what says the least.
    #[test]
    fn a_result_of_a_newer_runner_can_be_read() {
        let object = json!({ "apiVersion": "v1", "kind": "Pod", "name": "p" });
        let mut newer = least();
        newer["code"] = json!("Postponed");
        newer["effect"] = json!("partial");
        newer["failedPhase"] = json!("negotiate");
        newer["phases"] = json!([{ "name": "negotiate", "durationMs": 1, "more": 2 }]);
        newer["changes"] = json!([{ "object": object, "operation": "delete" }]);
        newer["more"] = json!({ "a": 1 });
        let result: ActionResult = serde_json::from_value(newer).unwrap();
        assert_eq!((result.code, result.effect), (Code::Unrecognized, Effect::Unknown));
        assert_eq!(result.failed_phase, Some(PhaseName::Other));
        assert_eq!(result.changes.unwrap()[0].operation, Operation::Other);
    }
}
