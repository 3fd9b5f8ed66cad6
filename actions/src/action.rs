//! What an action must say of itself. An action never sees phases, stdout, policies or exit codes.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::cluster::{Cluster, Commit};
use crate::error::Result;
use crate::names::ActionId;
use crate::object::{Kind, ObjectRef, Resource};
use crate::observed::Observation;
use crate::permission::Permission;
use crate::upload::AllowedHost;
use crate::workload::Found;

/// What an action is pointed at.
#[derive(Debug, Clone)]
pub enum Named {
    /// One object.
    Object(ObjectRef),
    /// Everything that a label selector finds (`TARGET_SELECTOR`; `collect-logs` only).
    Selection {
        /// Where.
        namespace: crate::names::Namespace,
        /// Which.
        selector: String,
    },
}

/// What comes with the run, beside the parameters.
#[derive(Debug, Clone)]
pub struct RunContext {
    /// `ACTION_ID`.
    pub id: Option<ActionId>,
    /// `ACTION_REASON`.
    pub reason: Option<String>,
    /// Unlike any other run's.
    pub run: String,
    /// When the run began: the time in marks and annotations.
    pub now: Timestamp,
    /// Where states for people go.
    pub progress: Progress,
    /// Where log lines go that an action reports before its result.
    pub sink: Arc<dyn LogSink>,
    /// The hosts outside the cluster that something may be sent to.
    pub upload_hosts: Vec<AllowedHost>,
}

/// The line that says how far things are: logged once per change, and kept for the result of a run that is cut off.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Mutex<ProgressState>>);

#[derive(Debug, Default)]
struct ProgressState {
    status: Option<String>,
    observation: Observation,
    warnings: Vec<String>,
}

impl Progress {
    /// A new state of affairs.
    pub fn report(&self, status: &str) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.status.as_deref() != Some(status) {
            tracing::info!(status, "progress");
            state.status = Some(status.to_owned());
        }
    }

    /// The last state of affairs.
    pub fn last(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).status.clone()
    }

    /// What a wait saw, in place of what it saw before.
    pub fn observe(&self, observation: Observation) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).observation = observation;
    }

    /// What a wait saw last.
    pub fn observation(&self) -> Observation {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).observation.clone()
    }

    /// Something that does not stop the run, and that a person should know.
    pub fn warn(&self, warning: impl Into<String>) {
        let warning = warning.into();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.warnings.contains(&warning) {
            tracing::warn!(warning, "warning");
            state.warnings.push(warning);
        }
    }

    /// All warnings so far.
    pub fn warnings(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).warnings.clone()
    }
}

/// Takes the lines that come before the result.
pub trait LogSink: std::fmt::Debug + Send + Sync {
    /// One line, without its end.
    fn write_line(&self, line: &[u8]) -> std::io::Result<()>;
}

/// What to do about the target as it is.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision<C> {
    /// This.
    Change(C),
    /// Nothing: it is so already.
    AlreadySo {
        /// Why, in a sentence.
        message: String,
        /// Whether it was this very execution (the same `ACTION_ID`) that made it so before.
        resumed: bool,
    },
    /// Nothing: a guard says no. The sentence says why, and what to do.
    Refuse(String),
}

/// How the request that takes the effect back looks.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
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

/// A target that was looked up, whatever else an action found out about it.
pub trait Subject {
    /// The object that was looked up, where there is one.
    fn found(&self) -> Option<&Found>;
    /// Its name.
    fn object(&self) -> Option<&ObjectRef> {
        self.found().map(|found| &found.object)
    }
    /// The object that was named, when it led to this one.
    fn resolved_from(&self) -> Option<&ObjectRef> {
        self.found().and_then(|found| found.resolved_from.as_ref())
    }
    /// The object as the API server gave it.
    fn value(&self) -> Option<&Value> {
        self.found().map(|found| &found.value)
    }
}

/// How the effect came about, for the sentence that tells it.
#[derive(Debug, Clone)]
pub struct Told {
    /// It would: nothing was changed.
    pub dry_run: bool,
    /// Why nothing had to be changed.
    pub already: Option<String>,
    /// How long the run took until now.
    pub took: Duration,
}

/// One thing that can be done to a cluster. `Self` is its checked parameters.
#[allow(async_fn_in_trait, reason = "never used as a trait object, and everything runs on one thread")]
pub trait Action: DeserializeOwned + Serialize + JsonSchema + 'static {
    /// What `find` brings.
    type Target: Subject;
    /// What `decide` wants.
    type Change: PartialEq;
    /// What the action reports.
    type Details: Serialize + JsonSchema;

    /// Whether the action changes nothing by nature.
    const READ_ONLY: bool = false;
    /// Whether sending the same request again cannot apply it twice: by nature, or because the marks of this id prevent it.
    fn repeatable(run: &RunContext, _has_uid: bool) -> bool {
        run.id.is_some()
    }

    /// The kinds that it accepts; empty when it depends on the API server.
    fn kinds() -> &'static [Kind];
    /// Whether it also accepts kinds that are not built in.
    fn other_kinds() -> bool {
        false
    }
    /// An example of its parameters: for its documentation, and for the permissions that `rbac` prints.
    fn example() -> Value;
    /// The parameters that have no default, with any value.
    fn minimal() -> Value {
        Value::Object(Map::new())
    }
    /// What a run with these parameters on this kind needs.
    fn permissions(&self, resource: &Resource) -> BTreeSet<Permission>;
    /// The kinds that an object of this kind may lead to: a pod to its Deployment. What they need comes on top.
    fn leads_to(_kind: Kind) -> &'static [Kind] {
        &[]
    }
    /// Rules across fields; each answer is a sentence that begins with the field.
    fn check(&self, _named: &Named, _run: &RunContext) -> Vec<String> {
        Vec::new()
    }
    /// Reads the target and what the decision rests on.
    async fn find(&self, cluster: &Cluster, named: &Named, run: &RunContext) -> Result<Self::Target>;
    /// What to do. Pure.
    fn decide(&self, target: &Self::Target, run: &RunContext) -> Decision<Self::Change>;
    /// Whether a decision taken again, after someone changed the target in between, is still what was meant.
    fn still_meant(_first: &Self::Change, _again: &Self::Change) -> bool {
        true
    }
    /// Does it, or tries it out. Returns the object as the server then has it (null when it is gone).
    async fn apply(
        &self,
        cluster: &Cluster,
        target: &Self::Target,
        change: &Self::Change,
        commit: Commit,
    ) -> Result<Value>;
    /// Whether what an earlier run of this `ACTION_ID` wrote is still what is there: that it was applied once does not say so.
    fn stands(&self, _target: &Self::Target, _run: &RunContext) -> Result<()> {
        Ok(())
    }
    /// Finishes what an earlier run of this `ACTION_ID` began: what `apply` does after the request that carries its mark.
    async fn resume(&self, _cluster: &Cluster, _target: &Self::Target, _run: &RunContext) -> Result<()> {
        Ok(())
    }
    /// Waits until the effect is there, for the object as `apply` left it (or as it was already). An action that changes
    /// nothing does its work here.
    async fn verify(
        &self,
        cluster: &Cluster,
        target: &Self::Target,
        now: &Value,
        run: &RunContext,
    ) -> Result<Self::Details>;
    /// The details when nothing is waited for, or nothing was changed.
    fn details(&self, target: &Self::Target, run: &RunContext) -> Self::Details;
    /// How to take it back.
    fn undo(&self, target: &Self::Target, applied: bool, run: &RunContext) -> RollbackInformation;
    /// What was done, in a sentence for a person.
    fn sentence(&self, target: &Self::Target, details: &Self::Details, told: &Told) -> String;
    /// How the action waits; `None` when it does not.
    fn waiting(&self) -> Option<crate::parameters::Waiting>;
}

/// What makes two requests the same: the parameters without those that say how to wait, and without those that have their
/// default. A default that a later release adds must not turn a retry across the upgrade into another request.
pub fn identity<A: Action>(parameters: &A) -> Value {
    /// They say how to wait, not what to do.
    const WAITING: [&str; 5] = ["wait", "waitTimeout", "stuckAfter", "settle", "terminating"];
    let mut value = serde_json::to_value(parameters).unwrap_or_default();
    let needed = A::minimal();
    let defaults = serde_json::from_value::<A>(needed.clone()).ok().and_then(|all| serde_json::to_value(all).ok());
    let defaults = defaults.unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|field, value| {
            let default = defaults.get(field) == Some(value) && needed.get(field).is_none();
            !default && !WAITING.contains(&field.as_str())
        });
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restart::workload::RestartWorkload;
    use crate::rollback::Rollback;
    use crate::scale::Scale;
    use serde_json::json;

    fn of<A: Action>(parameters: Value) -> Value {
        identity(&serde_json::from_value::<A>(parameters).unwrap())
    }

    /// These stand, hashed, on users' objects: they never change.
    #[test]
    fn a_request_is_what_differs_from_the_defaults() {
        assert_eq!(of::<RestartWorkload>(json!({})), json!({}));
        let waiting =
            json!({ "wait": false, "waitTimeout": "9s", "stuckAfter": "9s", "settle": "0s", "terminating": "ignore" });
        assert_eq!(of::<RestartWorkload>(waiting), json!({}));
        assert_eq!(of::<Rollback>(json!({})), json!({}));
        assert_eq!(of::<Rollback>(json!({ "toRevision": 3 })), json!({ "toRevision": 3 }));
        assert_eq!(of::<Scale>(json!({ "replicas": 0 })), json!({ "replicas": 0 }));
        assert_eq!(of::<Scale>(json!({ "replicas": 2, "allowZero": false })), json!({ "replicas": 2 }));
        assert_eq!(
            of::<Scale>(json!({ "replicas": 2, "allowZero": true })),
            json!({ "replicas": 2, "allowZero": true })
        );
    }
}
