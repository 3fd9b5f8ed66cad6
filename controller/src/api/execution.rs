//! `KubernetesExecution`: one action, asked for once.
#![allow(clippy::struct_excessive_bools, reason = "each is a field that a person sets")]

use contract::condition::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::schema::{any_object, not_cancelled_too_late, unchanged};
use super::status::KubernetesExecutionStatus;
use crate::names;

/// What a person or a workflow asks for. Only `suspend`, `cancel` and `approvedBy` change after creation: to ask for
/// something else, create another execution.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "kubernetesexecution.kubernaut.io",
    version = "v1alpha1",
    kind = "KubernetesExecution",
    plural = "kubernetesexecutions",
    shortname = "kex",
    category = "kubernaut",
    namespaced,
    status = "KubernetesExecutionStatus",
    derive = "PartialEq",
    doc = "One action on the cluster, carried out once by a Job of its own, with its verified result in the status.",
    selectable = ".spec.action.type",
    selectable = ".status.phase",
    selectable = ".status.settled",
    printcolumn(name = "Action", type_ = "string", json_path = ".spec.action.type"),
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.action.target.resourceName"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Effect", type_ = "string", json_path = ".status.result.effect"),
    printcolumn(name = "Retries", type_ = "integer", json_path = ".status.retryCount"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Job", type_ = "string", json_path = ".status.jobName", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1),
    validation = Rule::new("self.metadata.name.size() <= 200").message("metadata.name: at most 200 characters; the names of its Jobs are made from it"),
    validation = Rule::new(not_cancelled_too_late()).message("spec.cancel: it has ended, so that nothing is left to cancel; see status.phase")
)]
#[x_kube(
    validation = Rule::new(unchanged("action")).message("spec.action: never changes; create another execution").field_path(".action"),
    validation = Rule::new(unchanged("workflowExecutionRef")).message("spec.workflowExecutionRef: never changes; create another execution"),
    validation = Rule::new(unchanged("stepIndex")).message("spec.stepIndex: never changes; create another execution"),
    validation = Rule::new(unchanged("timeout")).message("spec.timeout: never changes; create another execution"),
    validation = Rule::new(unchanged("maxRetries")).message("spec.maxRetries: never changes; create another execution"),
    validation = Rule::new(unchanged("preConditions")).message("spec.preConditions: never changes; create another execution"),
    validation = Rule::new(unchanged("postConditions")).message("spec.postConditions: never changes; create another execution"),
    validation = Rule::new(unchanged("dryRun")).message("spec.dryRun: never changes; create another execution"),
    validation = Rule::new(unchanged("reason")).message("spec.reason: never changes; create another execution"),
    validation = Rule::new(unchanged("cluster")).message("spec.cluster: never changes; create another execution"),
    validation = Rule::new(unchanged("approvalRequired")).message("spec.approvalRequired: never changes; create another execution"),
    validation = Rule::new(unchanged("startingDeadlineSeconds")).message("spec.startingDeadlineSeconds: never changes; create another execution"),
    validation = Rule::new(unchanged("ttlSecondsAfterFinished")).message("spec.ttlSecondsAfterFinished: never changes; create another execution"),
    validation = Rule::new("!has(oldSelf.approvedBy) || (has(self.approvedBy) && self.approvedBy == oldSelf.approvedBy)")
        .message("spec.approvedBy: is set once"),
    validation = Rule::new("!has(oldSelf.cancel) || !oldSelf.cancel || (has(self.cancel) && self.cancel)")
        .message("spec.cancel: cannot be taken back"),
    validation = Rule::new("!has(self.timeout) || (duration(self.timeout) >= duration('1s') && duration(self.timeout) <= duration('24h'))")
        .message("spec.timeout: from 1s to 24h"),
    validation = Rule::new("!has(self.preConditions) || self.preConditions.all(c, duration(c.timeout) >= duration('1s') && duration(c.timeout) <= duration('24h'))")
        .message("spec.preConditions: timeout: from 1s to 24h"),
    validation = Rule::new("!has(self.postConditions) || self.postConditions.all(c, duration(c.timeout) >= duration('1s') && duration(c.timeout) <= duration('24h'))")
        .message("spec.postConditions: timeout: from 1s to 24h"),
    validation = Rule::new("!has(self.approvedBy) || (has(self.approvalRequired) && self.approvalRequired)")
        .message("spec.approvedBy: only where approvalRequired is true")
)]
pub struct KubernetesExecutionSpec {
    /// The workflow that this execution is a step of. Information for people and for the workflow's controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_execution_ref: Option<WorkflowExecutionReference>,
    /// Index of the step in that workflow, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub step_index: Option<i32>,
    /// The action.
    pub action: ActionSpec,
    /// The time that all attempts together may take, such as `90s`, `5m` or `1h30m`, counted from the creation of the
    /// first Job; from `1s` to `24h`. By default the controller's setting for the action type (`status.timeout` says
    /// which).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,5}s)?$"), length(min = 2, max = 18))]
    pub timeout: Option<String>,
    /// The most retries: after an attempt whose result says that the same request may succeed later, and that sending it
    /// again cannot apply it twice.
    #[serde(default = "three_retries")]
    #[schemars(range(min = 0, max = 10))]
    pub max_retries: i32,
    /// Conditions that must hold before the action; see the runner's documentation of conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub pre_conditions: Vec<Condition>,
    /// Conditions that must hold after the action.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub post_conditions: Vec<Condition>,
    /// When true, everything is checked and tried out by the API server, and nothing is changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Why, for people, in one line: kept on the object that is changed, and in Events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub reason: Option<String>,
    /// Name of another cluster. Not served by this release: an execution that names one fails before anything starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub cluster: Option<String>,
    /// When true, nothing starts before `approvedBy` is set. Who may set it is for RBAC and admission policies to say.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approval_required: bool,
    /// Who approved it. Set once, by whoever approves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub approved_by: Option<String>,
    /// When true, no attempt is started. One that runs is left alone: `cancel` stops it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// When true, what runs is stopped and nothing more is started. Wins over `suspend`, and cannot be taken back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cancel: bool,
    /// Seconds within which the first attempt must have been started, counted from the execution's creation; after that
    /// it fails without having done anything. By default 600.
    #[serde(default = "ten_minutes")]
    #[schemars(range(min = 1, max = 86_400))]
    pub starting_deadline_seconds: i32,
    /// Seconds after its end at which the execution is deleted, with its Job and pod. By default it stays: what a GitOps
    /// tool has created would be created again, and done again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub ttl_seconds_after_finished: Option<i32>,
}

const fn three_retries() -> i32 {
    3
}

const fn ten_minutes() -> i32 {
    600
}

/// The workflow that an execution is a step of.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowExecutionReference {
    /// Name of the workflow.
    #[schemars(regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"), length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the workflow; by default the execution's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"), length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// The action, its parameters and its target.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ActionSpec {
    /// Action type, such as `scale-deployment`; `action-runner list` shows all. The Job runs as the ServiceAccount
    /// `action-<type>` of the execution's namespace.
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"), length(min = 1, max = 56))]
    pub r#type: String,
    /// The action's parameters; `action-runner schema <type>` describes them. At most 100 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub parameters: Option<Map<String, Value>>,
    /// Target of the action.
    pub target: TargetSpec,
}

/// The object that the action is about.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.resourceName) != has(self.selector)")
        .message("spec.action.target: expected resourceName, or (for collect-logs) selector")
)]
pub struct TargetSpec {
    /// Namespace of the object; by default the execution's own. Absent for nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// Kind of the object, such as `Deployment`; by default the one in the action type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub resource_kind: Option<String>,
    /// Name of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub resource_name: Option<String>,
    /// UID of the object: the action is refused when the object by that name is another one by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub uid: Option<String>,
    /// API version of a kind that is not built in, such as `argoproj.io/v1alpha1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub api_version: Option<String>,
    /// Label selector in place of the name; for `collect-logs`. The Job then runs as `action-collect-logs-selector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub selector: Option<String>,
}

impl KubernetesExecution {
    /// Number of the present attempt, or of the one that would follow.
    pub fn attempt(&self) -> i32 {
        let ended = self.status.as_ref().map_or(0, |status| status.attempts.len());
        i32::try_from(ended).unwrap_or(i32::MAX).saturating_add(1)
    }

    /// The timeout that its status tells since its first Job: settings that are changed since are about what starts since.
    pub fn timeout_in_effect(&self) -> Option<contract::duration::Duration> {
        let status = self.status.as_ref().filter(|status| status.start_time.is_some())?;
        status.timeout.as_deref()?.parse().ok()
    }

    /// Name of its Job.
    pub fn job_name(&self) -> String {
        names::job(self.metadata.name.as_deref().unwrap_or_default(), self.attempt())
    }
}
