//! What an action must say of itself. An action never sees phases, stdout, policies or exit codes.

pub mod parse;
pub mod target;
#[cfg(test)]
pub mod testing;

use std::collections::BTreeSet;
use std::time::Duration;

use contract::result::RollbackInformation;
use contract::waiting::Waits;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub use target::TargetRef;

use crate::cluster::error::Result;
use crate::cluster::run::RunContext;
use crate::cluster::{Cluster, Commit};
use crate::k8s::{Kind, ObjectRef, Permission, Resource};
use crate::workload::lookup::LiveObject;
use crate::workload::rollout_target::RolloutTarget;

/// What to do about the target as it is.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision<P> {
    /// Change it, by this plan.
    Change(P),
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

/// A target that was looked up, whatever else an action found out about it.
pub trait Target {
    /// The object that was looked up, where there is one.
    fn live(&self) -> Option<&LiveObject>;
    /// Its name.
    fn object(&self) -> Option<&ObjectRef> {
        self.live().map(|live| &live.object)
    }
    /// The object that was named, when it led to this one.
    fn resolved_from(&self) -> Option<&ObjectRef> {
        self.live().and_then(|live| live.resolved_from.as_ref())
    }
    /// The object as the API server gave it.
    fn value(&self) -> Option<&Value> {
        self.live().map(|live| &live.value)
    }
}

impl Target for RolloutTarget {
    fn live(&self) -> Option<&LiveObject> {
        Some(&self.live)
    }
}

/// One thing that can be done to a cluster. `Self` is its checked parameters, without those that say how to wait.
#[allow(async_fn_in_trait, reason = "never used as a trait object, and everything runs on one thread")]
pub trait Action: DeserializeOwned + Serialize + JsonSchema + 'static {
    /// What `find` brings.
    type Target: Target;
    /// What `decide` wants to be done.
    type Plan: PartialEq;
    /// What the action reports.
    type Details: Serialize + JsonSchema;

    /// Whether the action changes nothing by nature.
    const READ_ONLY: bool = false;
    /// What it waits for, once it is done.
    const WAITS: Waits;

    /// Whether sending the same request again cannot apply it twice: by nature, or because the entry of this id on the
    /// object prevents it.
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
    /// What a run with these parameters on this kind needs, where it waits or where it does not.
    fn permissions(&self, resource: &Resource, waits: bool) -> BTreeSet<Permission>;
    /// The kinds that an object of this kind may lead to: a pod to its Deployment. What they need comes on top.
    fn owner_kinds(_kind: Kind) -> &'static [Kind] {
        &[]
    }
    /// The same, and what it takes to follow an object to its owner. (What is needed for the owner itself is known once it is
    /// found.)
    fn all_permissions(&self, resource: &Resource, waits: bool) -> BTreeSet<Permission> {
        let mut all = self.permissions(resource, waits);
        if resource.built_in() == Some(Kind::Pod) && Self::owner_kinds(Kind::Pod).contains(&Kind::Deployment) {
            all.insert(Permission::of("get", &Kind::ReplicaSet.resource()));
        }
        all
    }
    /// Rules across fields; each answer is a sentence that begins with the field.
    fn check(&self, _named: &TargetRef, _run: &RunContext) -> Vec<String> {
        Vec::new()
    }
    /// Reads the target and what the decision rests on.
    async fn find(&self, cluster: &Cluster, named: &TargetRef, run: &RunContext) -> Result<Self::Target>;
    /// Decides what to do. Pure.
    fn decide(&self, target: &Self::Target, run: &RunContext) -> Decision<Self::Plan>;
    /// Whether a decision taken again, after someone changed the target in between, is still what was meant.
    fn same_intent(_first: &Self::Plan, _again: &Self::Plan) -> bool {
        true
    }
    /// Does it, or tries it out. Returns the object as the server then has it (null when it is gone).
    async fn apply(&self, cluster: &Cluster, target: &Self::Target, plan: &Self::Plan, commit: Commit)
    -> Result<Value>;
    /// Fails when what an earlier run of this `ACTION_ID` wrote is not what is there now: that it was applied once does not
    /// say so.
    fn stands(&self, _target: &Self::Target, _run: &RunContext) -> Result<()> {
        Ok(())
    }
    /// Finishes what an earlier run of this `ACTION_ID` began: what `apply` does after the request that carries its entry.
    async fn resume(&self, _cluster: &Cluster, _target: &Self::Target, _run: &RunContext) -> Result<()> {
        Ok(())
    }
    /// Waits until the effect is there, for the object as `apply` left it (or as it already was). An action that changes
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
    /// Tells how to take it back.
    fn undo(&self, target: &Self::Target, applied: bool, run: &RunContext) -> RollbackInformation;
    /// What is to be done, for a person: `scale deployment shop/web from 3 to 5`.
    fn intent(&self, target: &Self::Target, details: &Self::Details) -> String;
    /// What was done: `scaled deployment shop/web from 3 to 5`.
    fn done(&self, target: &Self::Target, details: &Self::Details) -> String;
    /// What came of it, to go on after what was done: `; 5 of 5 replicas ready after 1.5 s`, where `took` is `1.5 s`.
    fn proof(&self, _target: &Self::Target, _details: &Self::Details, _took: &str) -> String {
        String::new()
    }
}

/// How a run came to its result, for the sentence that tells it.
#[derive(Debug, Clone)]
pub struct RunOutcome {
    /// Nothing was changed: it would be.
    pub dry_run: bool,
    /// Why nothing had to be changed.
    pub already: Option<String>,
    /// How long the run took until now.
    pub took: Duration,
}

impl RunOutcome {
    /// The sentence for a person.
    pub fn sentence<A: Action>(&self, action: &A, target: &A::Target, details: &A::Details) -> String {
        let proof = || action.proof(target, details, &format!("{:.1} s", self.took.as_secs_f32()));
        match (&self.already, self.dry_run) {
            (Some(message), true) => message.clone(),
            (Some(message), false) => message.clone() + &proof(),
            (None, true) => format!("would {}", action.intent(target, details)),
            (None, false) => action.done(target, details) + &proof(),
        }
    }
}

/// What makes two requests the same: the parameters without those that have their default. A default that a later release
/// adds must not turn a retry across the upgrade into another request.
pub fn identity<A: Action>(parameters: &A) -> Value {
    let mut value = serde_json::to_value(parameters).unwrap_or_default();
    let needed = A::minimal();
    let defaults = serde_json::from_value::<A>(needed.clone()).ok().and_then(|all| serde_json::to_value(all).ok());
    let defaults = defaults.unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|field, value| defaults.get(field) != Some(value) || needed.get(field).is_some());
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
        let waiting = r#"{"wait":false,"waitTimeout":"9s","stuckAfter":"9s","settle":"0s","terminating":"ignore"}"#;
        let restart = parse::Parameters::<RestartWorkload>::parse(waiting).unwrap();
        assert_eq!((identity(&restart.action), restart.wait.wait), (json!({}), false));
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
