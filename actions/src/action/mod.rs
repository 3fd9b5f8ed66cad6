//! The trait that every action implements. An action never sees phases, stdout, policies or exit codes.

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

/// Decision about the target as found.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision<P> {
    /// Change the target, by this plan.
    Change(P),
    /// Do nothing, because the target is already as asked.
    AlreadySo {
        /// Reason, in a sentence.
        message: String,
        /// True when this very execution (the same `ACTION_ID`) made it so before.
        resumed: bool,
    },
    /// Do nothing, because a guard refuses. The sentence says why, and what to do.
    Refuse(String),
}

/// The target that was looked up, with whatever else an action found out about it.
pub trait Target {
    /// Returns the object that was looked up, if there is one.
    fn live(&self) -> Option<&LiveObject>;
    /// Returns the reference to the object.
    fn object(&self) -> Option<&ObjectRef> {
        self.live().map(|live| &live.object)
    }
    /// Returns the object that the request named, when the target is its owner.
    fn resolved_from(&self) -> Option<&ObjectRef> {
        self.live().and_then(|live| live.resolved_from.as_ref())
    }
    /// Returns the object as the API server gave it.
    fn value(&self) -> Option<&Value> {
        self.live().map(|live| &live.value)
    }
    /// Returns the pod templates that were read beside it, which may hold secrets too.
    fn templates(&self) -> Vec<&Value> {
        Vec::new()
    }
}

impl Target for RolloutTarget {
    fn live(&self) -> Option<&LiveObject> {
        Some(&self.live)
    }
}

/// What decides which permissions a request needs, beside its parameters and the kind of its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Circumstances {
    /// True when the run waits for the effect.
    pub waits: bool,
    /// True when the run has an `ACTION_ID`, whose marks are looked for.
    pub has_id: bool,
    /// True when a selector stands in place of the target's name.
    pub by_selector: bool,
}

impl Circumstances {
    /// Returns those of a run.
    pub fn of(run: &RunContext, named: &TargetRef) -> Self {
        let by_selector = matches!(named, TargetRef::Selection { .. });
        Self { waits: run.wait.wait, has_id: run.id.is_some(), by_selector }
    }
}

/// One action on a cluster. `Self` is its checked parameters, without those that say how to wait.
#[allow(async_fn_in_trait, reason = "never used as a trait object, and everything runs on one thread")]
pub trait Action: DeserializeOwned + Serialize + JsonSchema + 'static {
    /// Target that `find` returns.
    type Target: Target;
    /// Plan that `decide` makes.
    type Plan: PartialEq;
    /// Details that the action reports.
    type Details: Serialize + JsonSchema;

    /// True when the action never changes anything.
    const READ_ONLY: bool = false;
    /// Object that the action waits for after its change.
    const WAITS: Waits;

    /// Returns whether sending the same request again cannot apply it twice: by the nature of the action, or because
    /// the entry of this id on the object prevents it.
    fn repeatable(run: &RunContext, _has_uid: bool) -> bool {
        run.id.is_some()
    }
    /// Returns the kinds that the action accepts; empty when they depend on the API server.
    fn kinds() -> &'static [Kind];
    /// Returns whether the action also accepts kinds that are not built in.
    fn other_kinds() -> bool {
        false
    }
    /// Returns an example of the parameters: for the documentation, and for the permissions that `rbac` prints.
    fn example() -> Value;
    /// Returns the parameters that have no default, with any value.
    fn minimal() -> Value {
        Value::Object(Map::new())
    }
    /// Returns the permissions that a run with these parameters needs on an object of this kind, before anything is read.
    fn permissions(&self, resource: &Resource, circumstances: Circumstances) -> BTreeSet<Permission>;
    /// Returns the kinds of owners that an object of this kind may lead to, such as a pod to its Deployment.
    fn owner_kinds(_kind: Kind) -> &'static [Kind] {
        &[]
    }
    /// Returns the permissions that the target as found needs beside [`Self::permissions`] of the named object: those on
    /// the owner that it led to. Asked for before anything is changed.
    fn permissions_once_found(&self, target: &Self::Target, circumstances: Circumstances) -> BTreeSet<Permission> {
        match (target.resolved_from(), target.object()) {
            (Some(_), Some(object)) => self.permissions(&object.resource, circumstances),
            _ => BTreeSet::new(),
        }
    }
    /// Returns all permissions that a run may need on an object of this kind and on what it may lead to: for the Role,
    /// which is made before anybody knows what owns an object.
    fn all_permissions(&self, kind: Kind, circumstances: Circumstances) -> BTreeSet<Permission> {
        let mut all = self.permissions(&kind.resource(), circumstances);
        let owners = Self::owner_kinds(kind);
        if kind == Kind::Pod && owners.contains(&Kind::Deployment) {
            all.insert(Permission::of("get", &Kind::ReplicaSet.resource()));
        }
        let of_owners = owners.iter().flat_map(|owner| self.permissions(&owner.resource(), circumstances));
        // The owner's name is not known beforehand.
        all.extend(of_owners.map(|one| Permission { names_target: false, ..one }));
        all
    }
    /// Checks rules across fields. Each problem is a sentence that begins with the field.
    fn check(&self, _named: &TargetRef, _run: &RunContext) -> Vec<String> {
        Vec::new()
    }
    /// Reads the target and all that the decision depends on.
    async fn find(&self, cluster: &Cluster, named: &TargetRef, run: &RunContext) -> Result<Self::Target>;
    /// Decides what to do, as a pure function.
    fn decide(&self, target: &Self::Target, run: &RunContext) -> Decision<Self::Plan>;
    /// Returns whether a second decision, made after someone changed the target meanwhile, is still what was meant.
    fn same_intent(_first: &Self::Plan, _again: &Self::Plan) -> bool {
        true
    }
    /// Makes the change, or tries it out. Returns the object as the server then has it (null when it is gone).
    async fn apply(&self, cluster: &Cluster, target: &Self::Target, plan: &Self::Plan, commit: Commit)
    -> Result<Value>;
    /// Fails when what an earlier run of this `ACTION_ID` wrote has been changed since. That it was applied once does
    /// not mean that it is still there.
    fn stands(&self, _target: &Self::Target, _run: &RunContext) -> Result<()> {
        Ok(())
    }
    /// Finishes what an earlier run of this `ACTION_ID` began: all that `apply` does after the request with the entry.
    async fn resume(&self, _cluster: &Cluster, _target: &Self::Target, _run: &RunContext) -> Result<()> {
        Ok(())
    }
    /// Waits until the effect is there, for the object as `apply` left it (or as found, if nothing had to be done). An
    /// action that changes nothing does its work here.
    async fn verify(
        &self,
        cluster: &Cluster,
        target: &Self::Target,
        now: &Value,
        run: &RunContext,
    ) -> Result<Self::Details>;
    /// Returns the details when nothing is waited for, or nothing was changed.
    fn details(&self, target: &Self::Target, run: &RunContext) -> Self::Details;
    /// Returns the request that undoes the change.
    fn undo(&self, target: &Self::Target, applied: bool, run: &RunContext) -> RollbackInformation;
    /// Says what is to be done, for a person: `scale deployment shop/web from 3 to 5`.
    fn intent(&self, target: &Self::Target, details: &Self::Details) -> String;
    /// Says what was done: `scaled deployment shop/web from 3 to 5`.
    fn done(&self, target: &Self::Target, details: &Self::Details) -> String;
    /// Continues the sentence of `done`: `; 5 of 5 replicas ready after 1.5 s`, where `took` is `1.5 s`.
    fn proof(&self, _target: &Self::Target, _details: &Self::Details, _took: &str) -> String {
        String::new()
    }
}

/// Outcome of a run, for the sentence that reports it.
#[derive(Debug, Clone)]
pub struct RunOutcome {
    /// True when nothing was changed, but would be.
    pub dry_run: bool,
    /// Reason why nothing had to be changed.
    pub already: Option<String>,
    /// Time that the run has taken so far.
    pub took: Duration,
}

impl RunOutcome {
    /// Returns the sentence for a person.
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

/// Returns what identifies a request: its parameters without those that have their default. Otherwise a default that a
/// later release adds would turn a retry across the upgrade into another request.
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

    /// Users' objects hold hashes of these, so they never change.
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
