//! Looks up Deployments, StatefulSets, DaemonSets, ReplicaSets and ReplicationControllers, reads their state, and
//! follows their pods and revisions.

pub mod autoscaler;
pub mod causes;
pub mod clues;
pub mod eviction;
pub mod look;
pub mod lookup;
pub mod marks;
pub mod observed;
pub mod obstacles;
pub mod owners;
pub mod patience;
pub mod pods;
pub mod revisions;
pub mod rollout;
pub mod rollout_target;
pub mod steady;
pub mod tally;
#[cfg(test)]
pub(crate) mod testing;
pub mod wait;

use std::time::Duration;

use serde_json::Value;

use crate::k8s::object::{managed_by, number, text};
use crate::k8s::template::normalized;
use crate::k8s::{Kind, ObjectRef};

/// Path of the number of a StatefulSet's first pods that are left alone.
const PARTITION: &str = "/spec/updateStrategy/rollingUpdate/partition";

/// A condition that a controller set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    /// The reason, one word.
    pub reason: String,
    /// Message of the controller.
    pub message: String,
    /// Time of the last transition.
    pub since: String,
    /// Time of the last update.
    pub updated: String,
}

impl Condition {
    /// Returns an object's condition of this type and status, with one of these reasons (with any, if there are none).
    fn of(object: &Value, kind: &str, status: &str, reasons: &[&str]) -> Option<Self> {
        let fits = |one: &&Value| {
            text(one, "/type") == Some(kind)
                && text(one, "/status") == Some(status)
                && (reasons.is_empty() || text(one, "/reason").is_some_and(|reason| reasons.contains(&reason)))
        };
        let found = object.pointer("/status/conditions")?.as_array()?.iter().find(fits)?;
        let own = |pointer: &str| text(found, pointer).unwrap_or_default().to_owned();
        let message = own("/message");
        Some(Self {
            reason: own("/reason"),
            message,
            since: own("/lastTransitionTime"),
            updated: own("/lastUpdateTime"),
        })
    }

    /// Returns the condition of an object whose pods cannot be made: a quota, an admission plugin.
    pub fn replica_failure(object: &Value) -> Option<Self> {
        Self::of(object, "ReplicaFailure", "True", &[])
    }
}

/// State of a workload, as it reports itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Kind of the workload.
    pub kind: Kind,
    /// Generation of the spec.
    pub generation: i64,
    /// Generation that the controller has seen.
    pub observed: i64,
    /// Number of pods that there should be.
    pub desired: i64,
    /// Number of pods that there are.
    pub total: i64,
    /// Number of pods of the newest revision.
    pub updated: i64,
    /// Number of ready pods.
    pub ready: i64,
    /// Number of pods that have been ready for `minReadySeconds`.
    pub available: i64,
    /// True for a Deployment that does not roll out.
    pub paused: bool,
    /// True for a StatefulSet or DaemonSet whose pods are only replaced when somebody deletes them.
    pub on_delete: bool,
    /// True for a StatefulSet that replaces its pods one after the other, each after the one before is ready.
    pub ordered: bool,
    /// Number of a StatefulSet's first pods that an update leaves alone.
    pub partition: i64,
    /// First ordinal of a StatefulSet (`spec.ordinals.start`).
    pub first_ordinal: i64,
    /// Time for which a pod must have been ready to count.
    pub min_ready: Duration,
    /// Number of pods that a Deployment may have beyond its number during a rollout.
    pub max_surge: i64,
    /// Newest revision of a StatefulSet.
    pub update_revision: Option<String>,
    /// The Deployment's own deadline (`progressDeadlineSeconds`), if exceeded.
    pub out_of_time: Option<Condition>,
    /// Reason why a Deployment's ReplicaSet cannot be made.
    pub set_failure: Option<Condition>,
    /// Reason why pods cannot be made.
    pub replica_failure: Option<Condition>,
}

impl Workload {
    /// Reads the object. The API omits zero values; an absent `replicas` in the spec means 1.
    pub fn read(kind: Kind, object: &Value) -> Self {
        let daemon = kind == Kind::DaemonSet;
        let status = |field: &str| number(object, &format!("/status/{field}"));
        let strategy = text(object, "/spec/updateStrategy/type");
        Self {
            kind,
            generation: number(object, "/metadata/generation"),
            observed: status("observedGeneration"),
            // Pods on nodes that it would not choose any more, as after a taint, keep running; they are counted apart.
            desired: if daemon {
                status("desiredNumberScheduled") + status("numberMisscheduled")
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
            partition: number(object, PARTITION),
            first_ordinal: number(object, "/spec/ordinals/start"),
            min_ready: Duration::from_secs(number(object, "/spec/minReadySeconds").try_into().unwrap_or(0)),
            max_surge: max_surge(object),
            update_revision: text(object, "/status/updateRevision").map(str::to_owned),
            out_of_time: Condition::of(object, "Progressing", "False", &["ProgressDeadlineExceeded"]),
            set_failure: Condition::of(object, "Progressing", "False", &["ReplicaSetCreateError", "FailedCreate"]),
            replica_failure: Condition::replica_failure(object),
        }
    }

    /// Returns the first ordinal of a StatefulSet that a change of its template reaches.
    pub fn first_in_reach(&self) -> i64 {
        self.first_ordinal + self.partition
    }

    /// Returns the number of pods that a change of the template reaches.
    pub fn in_reach(&self) -> i64 {
        (self.desired - self.partition).max(0)
    }

    /// Returns why a change of the template would replace no pod; the sentence continues the object's name.
    pub fn unreachable(&self) -> Option<String> {
        if self.paused {
            return Some("is paused, its pods would only be replaced when it is resumed; resume it first (kubectl rollout resume)".to_owned());
        }
        if self.on_delete {
            return Some(
                "has the update strategy OnDelete, which replaces no pod by itself; change the strategy first"
                    .to_owned(),
            );
        }
        (self.partition > 0 && self.in_reach() == 0).then(|| {
            format!(
                "has the partition {} and {} replicas, so that no pod would be replaced; lower the partition first",
                self.partition, self.desired
            )
        })
    }

    /// Returns a warning about the pods that a partition leaves alone.
    pub fn partition_warning(&self, object: &ObjectRef) -> Option<String> {
        (self.partition > 0).then(|| {
            format!(
                "{object} has a partition: only its pods from ordinal {} on are replaced, {} of {}",
                self.first_in_reach(),
                self.in_reach(),
                self.desired
            )
        })
    }

    /// Returns whether the controller has seen this spec; before that, the status is about an earlier one.
    pub fn has_observed(&self, generation: i64) -> bool {
        self.observed >= generation
    }
}

/// Returns `maxSurge` as a number of pods: a percentage of the replicas, rounded up; 0 without rolling updates.
fn max_surge(object: &Value) -> i64 {
    let replicas = object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    match object.pointer("/spec/strategy/rollingUpdate/maxSurge") {
        Some(Value::String(percent)) => {
            let percent: i64 = percent.trim_end_matches('%').parse().unwrap_or(0);
            percent.saturating_mul(replicas).saturating_add(99) / 100
        }
        Some(surge) => surge.as_i64().unwrap_or(0),
        None => 0,
    }
}

/// The fields of a changed workload that must stay until its pods are there. Others may still set the number of
/// replicas.
#[derive(Debug)]
pub struct Written {
    template: Option<Value>,
    paused: bool,
    strategy: Option<String>,
    partition: i64,
}

impl Written {
    /// Reads the fields from the object as the write left it.
    pub fn of(now: &Value) -> Self {
        Self {
            template: now.pointer("/spec/template").map(normalized),
            paused: now.pointer("/spec/paused") == Some(&Value::Bool(true)),
            strategy: text(now, "/spec/updateStrategy/type").map(str::to_owned),
            partition: number(now, PARTITION),
        }
    }

    /// Returns how somebody has changed the fields since.
    pub fn overwritten(&self, value: &Value) -> Option<String> {
        let managed = managed_by(value).map(|tool| format!("; it is managed by {tool}")).unwrap_or_default();
        if value.pointer("/spec/template").map(normalized) != self.template {
            return Some(format!("its pod template is another one now{managed}"));
        }
        if !self.paused && value.pointer("/spec/paused") == Some(&Value::Bool(true)) {
            return Some("it is paused now".to_owned());
        }
        let strategy = text(value, "/spec/updateStrategy/type");
        if strategy != self.strategy.as_deref() {
            return Some(format!("its update strategy is {} now", strategy.unwrap_or("unset")));
        }
        let partition = number(value, PARTITION);
        (partition > self.partition).then(|| format!("its partition is {partition} now, not {}", self.partition))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[expect(clippy::unnecessary_wraps, reason = "conditions may be absent")]
    fn condition(reason: &str, message: &str, since: &str, updated: &str) -> Option<Condition> {
        let [reason, message, since, updated] = [reason, message, since, updated].map(str::to_owned);
        Some(Condition { reason, message, since, updated })
    }

    #[test]
    fn reads_what_controllers_say() {
        let object = json!({
            "metadata": { "generation": 4 },
            "spec": { "replicas": 3, "paused": true, "ordinals": { "start": 5 }, "minReadySeconds": 10, "podManagementPolicy": "OrderedReady", "updateStrategy": { "type": "OnDelete", "rollingUpdate": { "partition": 1 } } },
            "status": { "observedGeneration": 3, "replicas": 5, "updatedReplicas": 2, "readyReplicas": 4, "availableReplicas": 1, "updateRevision": "web-2",
                "desiredNumberScheduled": 12, "numberMisscheduled": 1, "currentNumberScheduled": 15, "updatedNumberScheduled": 12, "numberReady": 14, "numberAvailable": 11,
                "conditions": [
                    { "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "late", "lastUpdateTime": "t", "lastTransitionTime": "s" },
                    { "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota" } ] },
        });
        let set = Workload::read(Kind::StatefulSet, &object);
        let expected = Workload {
            kind: Kind::StatefulSet,
            generation: 4,
            observed: 3,
            desired: 3,
            total: 5,
            updated: 2,
            ready: 4,
            available: 1,
            paused: true,
            on_delete: true,
            ordered: true,
            partition: 1,
            first_ordinal: 5,
            min_ready: Duration::from_secs(10),
            max_surge: 0,
            update_revision: Some("web-2".to_owned()),
            out_of_time: condition("ProgressDeadlineExceeded", "late", "s", "t"),
            set_failure: None,
            replica_failure: condition("FailedCreate", "quota", "", ""),
        };
        assert_eq!(set, expected);
        assert!(set.has_observed(3) && set.has_observed(2) && !set.has_observed(4));
        let daemons = Workload::read(Kind::DaemonSet, &object);
        let counts =
            (daemons.desired, daemons.total, daemons.updated, daemons.ready, daemons.available, daemons.ordered);
        assert_eq!(counts, (13, 15, 12, 14, 11, false));
        let parallel = json!({ "spec": { "podManagementPolicy": "Parallel" }, "status": { "conditions": [
            { "type": "Progressing", "status": "False", "reason": "Other" }, { "type": "Progressing", "status": "True", "reason": "ProgressDeadlineExceeded" },
            { "type": "ReplicaFailure", "status": "False" } ] } });
        let read = Workload::read(Kind::StatefulSet, &parallel);
        assert_eq!(
            (read.ordered, read.paused, read.on_delete, read.out_of_time, read.replica_failure),
            (false, false, false, None, None)
        );
    }

    #[rstest]
    #[case::of_a_set("False", "ReplicaSetCreateError", Some(""))]
    #[case::of_old_clusters("False", "FailedCreate", Some(""))]
    #[case::another_reason("False", "ProgressDeadlineExceeded", None)]
    #[case::passed("True", "ReplicaSetCreateError", None)]
    fn a_set_that_cannot_be_made_is_no_deadline(
        #[case] status: &str,
        #[case] reason: &str,
        #[case] says: Option<&str>,
    ) {
        let object =
            json!({ "status": { "conditions": [{ "type": "Progressing", "status": status, "reason": reason }] } });
        let found = Workload::read(Kind::Deployment, &object).set_failure;
        assert_eq!(found.as_ref().map(|one| one.message.as_str()), says);
        assert!(found.is_none_or(|one| one.reason == reason));
    }

    #[rstest]
    #[case::same(json!({}), "")]
    #[case::scaled(json!({ "replicas": 9 }), "")]
    #[case::template(json!({ "template": { "spec": { "image": "b" } } }), "its pod template is another one now")]
    #[case::paused(json!({ "paused": true }), "it is paused now")]
    #[case::strategy(json!({ "updateStrategy": { "type": "OnDelete" } }), "its update strategy is OnDelete now")]
    #[case::raised(json!({ "updateStrategy": { "rollingUpdate": { "partition": 2 } } }), "its partition is 2 now, not 1")]
    #[case::lowered(json!({ "updateStrategy": { "rollingUpdate": { "partition": 0 } } }), "")]
    fn what_was_written_must_stay(#[case] change: Value, #[case] says: &str) {
        let mut object = json!({ "spec": { "replicas": 3, "template": { "spec": { "image": "a" } },
            "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": 1 } } } });
        let written = Written::of(&object);
        json_patch::merge(&mut object["spec"], &change);
        assert_eq!(written.overwritten(&object).unwrap_or_default(), says);
    }

    #[rstest]
    #[case::none(json!({}), 0)]
    #[case::number(json!({ "rollingUpdate": { "maxSurge": 2 } }), 2)]
    #[case::percent(json!({ "rollingUpdate": { "maxSurge": "25%" } }), 3)]
    fn a_percentage_of_surge_is_rounded_up(#[case] strategy: Value, #[case] surge: i64) {
        let object = json!({ "spec": { "replicas": 10, "strategy": strategy } });
        assert_eq!(Workload::read(Kind::Deployment, &object).max_surge, surge);
    }

    #[rstest]
    #[case::plain(json!({ "replicas": 2 }), 2, "")]
    #[case::paused(json!({ "replicas": 2, "paused": true }), 2, "is paused")]
    #[case::on_delete(json!({ "updateStrategy": { "type": "OnDelete" } }), 1, "OnDelete")]
    #[case::some(json!({ "replicas": 3, "updateStrategy": { "rollingUpdate": { "partition": 2 } } }), 1, "")]
    #[case::all(json!({ "replicas": 2, "updateStrategy": { "rollingUpdate": { "partition": 2 } } }), 0, "no pod would be replaced")]
    #[case::beyond(json!({ "replicas": 2, "updateStrategy": { "rollingUpdate": { "partition": 9 } } }), 0, "no pod would be replaced")]
    fn knows_what_a_change_reaches(#[case] spec: Value, #[case] reach: i64, #[case] refusal: &str) {
        let set = Workload::read(Kind::StatefulSet, &json!({ "spec": spec }));
        assert_eq!(set.in_reach(), reach);
        match set.unreachable() {
            Some(why) => assert!(!refusal.is_empty() && why.contains(refusal), "{why}"),
            None => assert_eq!(refusal, ""),
        }
    }

    #[test]
    fn a_partition_counts_from_the_first_ordinal() {
        let spec = json!({ "replicas": 3, "ordinals": { "start": 5 }, "updateStrategy": { "rollingUpdate": { "partition": 1 } } });
        let found = crate::action::testing::live(Kind::StatefulSet, json!({ "spec": spec }));
        let warning = Workload::read(Kind::StatefulSet, &found.value).partition_warning(&found.object).unwrap();
        assert!(warning.ends_with("only its pods from ordinal 6 on are replaced, 2 of 3"), "{warning}");
    }

    #[rstest]
    #[case::it_stays(json!({}), None)]
    #[case::at_once(
        json!({ "deletionTimestamp": "2026-11-23T03:00:30Z", "deletionGracePeriodSeconds": 0 }),
        Some("is being deleted since 2026-11-23T03:00:30Z; wait until it is gone")
    )]
    #[case::in_its_grace_period(
        json!({ "deletionTimestamp": "2026-11-23T03:00:30Z", "deletionGracePeriodSeconds": 30 }),
        Some("is being deleted since 2026-11-23T03:00:00Z; wait until it is gone")
    )]
    #[case::held(
        json!({ "deletionTimestamp": "2026-11-23T03:00:30Z", "finalizers": ["a/b", "foregroundDeletion"] }),
        Some("is being deleted since 2026-11-23T03:00:30Z; wait until it is gone (finalizers: a/b, foregroundDeletion)")
    )]
    #[case::no_time_that_we_know(
        json!({ "deletionTimestamp": "soon", "finalizers": [] }),
        Some("is being deleted since soon; wait until it is gone")
    )]
    fn tells_what_is_on_its_way_out(#[case] metadata: Value, #[case] says: Option<&str>) {
        let found = crate::action::testing::live(Kind::Deployment, json!({ "metadata": metadata }));
        assert_eq!(found.leaving(), says.map(|says| format!("deployment shop/web {says}")));
    }

    #[test]
    fn absent_replicas_mean_one() {
        assert_eq!(Workload::read(Kind::Deployment, &json!({})).desired, 1);
    }

    /// A set without a partition that is to have no pods is not out of anybody's reach.
    #[test]
    fn no_partition_is_no_reason() {
        let object = crate::action::testing::live(Kind::StatefulSet, json!({})).object;
        let none = Workload::read(Kind::StatefulSet, &json!({ "spec": { "replicas": 0 } }));
        assert_eq!((none.unreachable(), none.partition_warning(&object)), (None, None));
        let spec = json!({ "replicas": 3, "updateStrategy": { "rollingUpdate": { "partition": 1 } } });
        let some = Workload::read(Kind::StatefulSet, &json!({ "spec": spec }));
        assert_eq!(some.unreachable(), None);
        assert!(
            some.partition_warning(&object).unwrap().contains("only its pods from ordinal 1 on are replaced, 2 of 3")
        );
    }
}
