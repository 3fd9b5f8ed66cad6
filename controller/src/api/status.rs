//! The status of a `KubernetesExecution`: a copy of what its Jobs and pods said, and the plan for what comes next.

use contract::condition::ConditionResult;
use contract::result::Effect;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::phase::Phase;
use super::schema::{any_object_or_none, any_objects, time};

/// What became of the execution so far.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct KubernetesExecutionStatus {
    /// The generation of the spec that this status is about; -1 before a controller has looked at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Phase of the execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Reason for the phase, for machines; in a final phase the runner's code (`Changed`, `Refused`, …) if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Sentence for a person: what happened, or what is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// True when all is done that the controller does about it; it is then not watched any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<bool>,
    /// Time at which the first Job was created, by the API server's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time")]
    pub start_time: Option<Timestamp>,
    /// Time at which the final phase was reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time")]
    pub end_time: Option<Timestamp>,
    /// The timeout in effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// Number of attempts after the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_count: Option<i32>,
    /// Name of the newest attempt's Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_name: Option<String>,
    /// UID of that Job; absent until it is known.
    #[serde(rename = "jobUID", skip_serializing_if = "Option::is_none")]
    pub job_uid: Option<String>,
    /// Time at which the next attempt starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time")]
    pub next_attempt_time: Option<Timestamp>,
    /// The result over all attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<ExecutionResult>,
    /// Results of the conditions, of the newest attempt that evaluated any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_results: Option<ValidationResults>,
    /// The request that undoes the effect: the earliest attempt's, because a later one may have found it done already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_information: Option<RollbackInformation>,
    /// The pods of the running attempt that ended before it: a drained node's, for example.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ended_pods: Vec<EndedPod>,
    /// The attempts that have ended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// Conditions, as Jobs have them (`Complete`, `Failed`), `Finished` in every final phase, and `Ready` and `Stalled` as
    /// kstatus reads them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// The result over all attempts.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionResult {
    /// True when the action did what was asked and verified that, or nothing had to be done.
    pub success: bool,
    /// Sentence that says what was done; when `success` is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Sentence that says what went wrong, and what to do about it; when `success` is false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Time at which the newest attempt began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time")]
    pub start_time: Option<Timestamp>,
    /// Time at which it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time")]
    pub end_time: Option<Timestamp>,
    /// The runner's code, such as `Changed` or `Refused`; `NoResult` when there was none.
    pub code: String,
    /// The strongest effect of all attempts on the cluster: `applied`, `unknown` or `none`.
    pub effect: Effect,
    /// The same request may succeed later without anyone changing it.
    #[serde(default)]
    pub retryable: bool,
    /// Problems that did not stop the action, but that a person should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The changes that were made; in a dry run: those that would be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_objects")]
    pub changes: Option<Vec<Value>>,
    /// The action's own report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object_or_none")]
    pub details: Option<Value>,
    /// CPU time and memory that the runner used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<contract::result::Usage>,
    /// Fields that were left out (or shortened) because the result would have been too long.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trimmed: Vec<String>,
}

/// Results of the conditions.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ValidationResults {
    /// Results of `preConditions`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pre_condition_results: Vec<ConditionResult>,
    /// Results of `postConditions`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub post_condition_results: Vec<ConditionResult>,
}

/// The request that undoes the effect.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RollbackInformation {
    /// True when there is such a request.
    pub available: bool,
    /// Action type of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_action: Option<String>,
    /// Parameters of the request; the target stays the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object_or_none")]
    pub rollback_parameters: Option<Map<String, Value>>,
    /// Reason why there is no such request, or why a rollback is advised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
}

impl From<contract::result::RollbackInformation> for RollbackInformation {
    fn from(information: contract::result::RollbackInformation) -> Self {
        let contract::result::RollbackInformation { available, rollback_action, rollback_parameters, failure_reason } =
            information;
        Self { available, rollback_action, rollback_parameters, failure_reason }
    }
}

/// A pod of the running attempt that ended before the attempt did.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EndedPod {
    /// Name of the pod.
    pub pod_name: String,
    /// UID of the pod.
    #[serde(rename = "podUID")]
    pub pod_uid: String,
    /// What it did to the cluster; `unknown` when its result was not seen.
    pub effect: Effect,
    /// The request that undoes that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_information: Option<RollbackInformation>,
}

/// One attempt that has ended.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// Number of the attempt, from 1.
    pub attempt: i32,
    /// Name of its Job.
    pub job_name: String,
    /// UID of its Job.
    #[serde(rename = "jobUID", default, skip_serializing_if = "Option::is_none")]
    pub job_uid: Option<String>,
    /// Name of its last pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_name: Option<String>,
    /// Exit code of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The runner's code, or `NoResult`, `NeverStarted`.
    pub code: String,
    /// Phase of the execution after the attempt: `Retrying`, or a final one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Effect of the attempt on the cluster.
    pub effect: Effect,
    /// What went wrong: at most 300 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Time at which it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time")]
    pub start_time: Option<Timestamp>,
    /// Time at which it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time")]
    pub end_time: Option<Timestamp>,
    /// The image that ran, with its digest, as the node reported it.
    #[serde(rename = "imageID", default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// CPU time and memory that the runner used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<contract::result::Usage>,
}

/// A condition, as Kubernetes' objects have them.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Type of the condition.
    #[schemars(length(min = 1, max = 63))]
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Reason in CamelCase.
    pub reason: String,
    /// Sentence for a person.
    pub message: String,
    /// Time of the last change of `status`.
    #[schemars(schema_with = "required_time")]
    pub last_transition_time: Timestamp,
    /// Generation of the spec that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

fn required_time(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "string", "format": "date-time" })
}
