//! What the actions need to know of a Deployment, StatefulSet, DaemonSet, ReplicaSet or ReplicationController.

use serde_json::Value;

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::object::{Kind, ObjectRef, controller, number, text, uid};

/// The annotation by which an owner keeps the runner away.
pub const PROTECTED: &str = "kubernetesexecution.kubernaut.io/protected";

/// An object that was looked up.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its name, with its UID.
    pub object: ObjectRef,
    /// The object as the API server gave it.
    pub value: Value,
    /// The object that was named, when it led to this one.
    pub resolved_from: Option<ObjectRef>,
}

impl Found {
    /// Why every action that changes something must leave the object alone.
    pub fn protection(&self) -> Option<String> {
        (crate::object::annotation(&self.value, PROTECTED) == Some("true")).then(|| {
            format!("{} is protected by its annotation {PROTECTED}; remove it, or ask whoever set it", self.object)
        })
    }

    /// The kind, when it is a built-in one.
    pub fn kind(&self) -> Option<Kind> {
        self.object.resource.built_in()
    }
}

/// Looks an object up, and follows its controllers while `leads_on` says of a kind that its owner is meant.
pub async fn find(cluster: &Cluster, named: &ObjectRef, leads_on: impl Fn(Kind) -> bool) -> Result<Found> {
    let mut object = named.clone();
    let mut resolved_from = None;
    loop {
        let value = cluster.get(&object).await?;
        object = same(&object, uid(&value))?;
        let owner = controller(&value).filter(|_| object.resource.built_in().is_some_and(&leads_on));
        let Some(next) = owner.and_then(|owner| owner_ref(&object, owner)) else {
            return Ok(Found { object, value, resolved_from });
        };
        resolved_from.get_or_insert_with(|| object.clone());
        object = next;
    }
}

/// The object with its UID; refused when `TARGET_UID` (or an owner reference) meant another one of the same name.
fn same(object: &ObjectRef, uid: &str) -> Result<ObjectRef> {
    match &object.uid {
        Some(known) if known != uid => Err(Error::Refused(format!(
            "{object} is another object by now: its UID is {uid}, not {known}; look at it before you decide again"
        ))),
        _ => Ok(ObjectRef { uid: Some(uid.to_owned()), ..object.clone() }),
    }
}

fn owner_ref(object: &ObjectRef, owner: &Value) -> Option<ObjectRef> {
    let kind = Kind::parse(text(owner, "/kind")?)?;
    let resource = kind.resource();
    (text(owner, "/apiVersion") == Some(&resource.api_version())).then_some(())?;
    let name = text(owner, "/name")?.parse().ok()?;
    Some(object.sibling(resource, name, text(owner, "/uid").map(str::to_owned)))
}

/// A Deployment's own deadline, exceeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutOfTime {
    /// What its controller says.
    pub message: String,
    /// When it last said so.
    pub since: String,
}

/// A workload's own account of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Which of the kinds.
    pub kind: Kind,
    /// The generation of its spec.
    pub generation: i64,
    /// The generation that its controller has seen.
    pub observed: i64,
    /// How many pods it should have.
    pub desired: i64,
    /// How many pods it has.
    pub total: i64,
    /// How many of them are of the newest revision.
    pub updated: i64,
    /// How many are ready.
    pub ready: i64,
    /// How many have been ready for `minReadySeconds`.
    pub available: i64,
    /// A Deployment that does not roll out.
    pub paused: bool,
    /// A StatefulSet or DaemonSet whose pods are only replaced when somebody deletes them.
    pub on_delete: bool,
    /// A StatefulSet that replaces its pods only one after the other, each ready.
    pub ordered: bool,
    /// A StatefulSet's first ordinal that is updated.
    pub partition: i64,
    /// A StatefulSet's newest revision.
    pub update_revision: Option<String>,
    /// Why the Deployment's own deadline (`progressDeadlineSeconds`) was exceeded.
    pub out_of_time: Option<OutOfTime>,
    /// Why its pods cannot even be created (a quota, an admission plugin).
    pub replica_failure: Option<String>,
}

impl Workload {
    /// Reads the object. The API leaves zero values out; an absent `replicas` in the spec means 1.
    pub fn read(kind: Kind, object: &Value) -> Self {
        let daemon = kind == Kind::DaemonSet;
        let status = |field: &str| number(object, &format!("/status/{field}"));
        let strategy = text(object, "/spec/updateStrategy/type");
        Self {
            kind,
            generation: number(object, "/metadata/generation"),
            observed: status("observedGeneration"),
            desired: if daemon {
                status("desiredNumberScheduled")
            } else {
                object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1)
            },
            total: status(if daemon { "currentNumberScheduled" } else { "replicas" }),
            updated: status(if daemon { "updatedNumberScheduled" } else { "updatedReplicas" }),
            ready: status(if daemon { "numberReady" } else { "readyReplicas" }),
            available: status(if daemon { "numberAvailable" } else { "availableReplicas" }),
            paused: object.pointer("/spec/paused").and_then(Value::as_bool) == Some(true),
            on_delete: strategy == Some("OnDelete"),
            ordered: kind == Kind::StatefulSet && text(object, "/spec/podManagementPolicy") != Some("Parallel"),
            partition: number(object, "/spec/updateStrategy/rollingUpdate/partition"),
            update_revision: text(object, "/status/updateRevision").map(str::to_owned),
            out_of_time: condition(object, "Progressing", "False", Some("ProgressDeadlineExceeded")).map(|found| {
                OutOfTime {
                    message: message(found),
                    since: text(found, "/lastUpdateTime").unwrap_or_default().to_owned(),
                }
            }),
            replica_failure: condition(object, "ReplicaFailure", "True", None).map(message),
        }
    }

    /// Whether its controller has seen this spec; before that, its status speaks of an earlier one.
    pub fn has_observed(&self, generation: i64) -> bool {
        self.observed >= generation
    }
}

fn message(condition: &Value) -> String {
    text(condition, "/message").unwrap_or("no message").to_owned()
}

fn condition<'a>(object: &'a Value, kind: &str, status: &str, reason: Option<&str>) -> Option<&'a Value> {
    let fits = |one: &&Value| {
        text(one, "/type") == Some(kind)
            && text(one, "/status") == Some(status)
            && (reason.is_none() || text(one, "/reason") == reason)
    };
    object.pointer("/status/conditions")?.as_array()?.iter().find(fits)
}

/// A workload's label selector, as a query has it. A ReplicationController's is a plain map.
pub fn selector(object: &Value) -> String {
    let Some(selector) = object.pointer("/spec/selector") else { return String::new() };
    let labels = selector.get("matchLabels").or_else(|| selector.get("matchExpressions").is_none().then_some(selector));
    let mut parts: Vec<String> = labels
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)))
        .collect();
    for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
        let key = text(expression, "/key").unwrap_or_default();
        let values: Vec<&str> = expression
            .get("values")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let values = values.join(",");
        match text(expression, "/operator") {
            Some("In") => parts.push(format!("{key} in ({values})")),
            Some("NotIn") => parts.push(format!("{key} notin ({values})")),
            Some("Exists") => parts.push(key.to_owned()),
            Some("DoesNotExist") => parts.push(format!("!{key}")),
            _ => {}
        }
    }
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case(json!({ "matchLabels": { "app": "web", "tier": "a" } }), "app=web,tier=a")]
    #[case(json!({ "app": "web" }), "app=web")]
    #[case(json!({ "matchExpressions": [
        { "key": "a", "operator": "In", "values": ["x", "y"] }, { "key": "b", "operator": "NotIn", "values": ["z"] },
        { "key": "c", "operator": "Exists" }, { "key": "d", "operator": "DoesNotExist" },
    ] }), "a in (x,y),b notin (z),c,!d")]
    fn writes_selectors_as_queries_do(#[case] selector_value: Value, #[case] query: &str) {
        assert_eq!(selector(&json!({ "spec": { "selector": selector_value } })), query);
    }

    #[test]
    fn absent_replicas_mean_one() {
        assert_eq!(Workload::read(Kind::Deployment, &json!({})).desired, 1);
    }
}
