//! What a run says at its end: one `ActionResult`, the same on stdout, in the termination message and in the exit code.
//!
//! Results are read leniently: unknown fields are passed over, absent ones have their defaults, and a word that a newer runner
//! wrote reads as what says the least.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::code::Code;
use crate::condition::ConditionResult;

/// `apiVersion` of the result.
pub const API_VERSION: &str = "kubernetesexecution.kubernaut.io/v1alpha1";
/// `kind` of the result: how a reader finds the line among others.
pub const KIND: &str = "ActionResult";

/// The longest result line: container runtimes split longer ones from 8 KiB on.
pub const LINE_LIMIT: usize = 8 << 10;
/// The longest termination message: the kubelet cuts at 4096 bytes, and half a JSON object is none.
pub const TERMINATION_LIMIT: usize = 4000;
/// The target, and what led to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResultTarget {
    /// The object.
    #[serde(flatten)]
    pub object: ObjectReference,
    /// The object that was named, when it led to its owner.
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
    /// The action did what was asked, and that was verified (or was so already, or the dry run would).
    pub success: bool,
    /// How the run ended.
    pub code: Code,
    /// What was done, in a sentence for a person; when `success` is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// What went wrong, at what, and what to do about it; when `success` is false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The same request may succeed later without anyone changing it, and sending it again cannot apply it twice.
    pub retryable: bool,
    /// Whether the cluster was changed. Never a guess.
    pub effect: Effect,
    /// An earlier run of the same `ACTION_ID` had applied it; this one finished its work.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resumed: bool,
    /// What did not stop the run, and a person should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// RFC 3339, with milliseconds.
    pub start_time: String,
    /// RFC 3339, with milliseconds.
    pub end_time: String,
    /// The action as understood: `scale-deployment`.
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
    /// The target, once it was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<ResultTarget>,
    /// The parameters, after defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Value>,
    /// What was changed; in a dry run: what would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<Change>>,
    /// What this action reports; `action-runner schema ACTION --output` is its schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
    /// What became of `ACTION_PRECONDITIONS`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pre_condition_results: Vec<ConditionResult>,
    /// What became of `ACTION_POSTCONDITIONS`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub post_condition_results: Vec<ConditionResult>,
    /// The request that takes the effect back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback_information: Option<RollbackInformation>,
    /// The phase in which it stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_phase: Option<PhaseName>,
    /// The phases it went through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phases: Option<Vec<Phase>>,
    /// API requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<Requests>,
    /// What ran.
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

/// Whether the cluster was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// Nothing was sent that changes anything, or it is known that nothing of it was applied.
    None,
    /// At least one change was applied: by the server's answer, our mark, or a watch that was open before.
    Applied,
    /// A change was sent, and whether it was applied could not be found out.
    #[serde(other)]
    Unknown,
}

/// How an object was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Operation {
    /// Its fields were patched.
    Patch,
    /// It was evicted.
    Evict,
    /// Something that only a newer runner does. Read, and never written.
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
    /// What was done to it.
    pub operation: Operation,
    /// An RFC 6902 JSON Patch from the object before to the object after; for `patch` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<Value>,
}

/// How many requests the API server was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Requests {
    /// All of them, access reviews and dry runs included.
    pub total: u32,
    /// How many of them were sent again after a failure.
    pub retries: u32,
    /// How many of them were not answered, because the connection failed, or a deadline or a signal cut them off: the API
    /// server may not have seen these.
    pub unanswered: u32,
    /// What they all carried: the key to find them in the API server's audit log.
    pub user_agent: String,
}

/// How the request that takes the effect back looks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RollbackInformation {
    /// Whether there is such a request.
    pub available: bool,
    /// Its `ACTION_TYPE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback_action: Option<String>,
    /// Its `ACTION_PARAMETERS`; the target stays the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback_parameters: Option<Map<String, Value>>,
    /// Why there is none, or why a rollback is called for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
}

impl RollbackInformation {
    /// There is none, for this reason.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self { available: false, rollback_action: None, rollback_parameters: None, failure_reason: Some(reason.into()) }
    }

    /// This request.
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
    /// One that only a newer runner has. Read, and never written.
    #[serde(other)]
    #[schemars(skip)]
    Other,
}

/// One phase of the run, and how long it took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Phase {
    /// Which.
    pub name: PhaseName,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// What ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Runner {
    /// The runner's version.
    pub version: String,
    /// The commit it was built from, where the build knew it.
    pub revision: String,
}
