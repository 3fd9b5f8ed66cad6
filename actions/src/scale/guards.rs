//! The guards that refuse a scale.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Scale, Target};
use crate::k8s::Kind;
use crate::k8s::object::{controller, number, text};
use crate::workload::lookup::{LiveObject, owner_ref};

/// Choice for a target with an autoscaler.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnAutoscaler {
    /// Refuse, and name it.
    #[default]
    Refuse,
    /// Scale anyway, without looking for autoscalers.
    Ignore,
}

impl Target {
    /// Returns whether scaling to this number deletes the volumes of the pods that go.
    pub(super) fn deletes_volumes(&self, wanted: i64) -> bool {
        let value = &self.live.value;
        let deletes = text(value, "/spec/persistentVolumeClaimRetentionPolicy/whenScaled") == Some("Delete");
        let claims = value.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array);
        self.replicas > wanted && deletes && claims.is_some_and(|claims| !claims.is_empty())
    }
}

impl Scale {
    /// Returns a warning if volumes will be deleted, as the request allows.
    pub(super) fn volume_warning(&self, target: &Target) -> Option<String> {
        let wanted = self.replicas.get();
        let first = number(&target.live.value, "/spec/ordinals/start") + wanted;
        (self.allow_volume_deletion && target.deletes_volumes(wanted)).then(|| {
            format!(
                "{}: the volumes of the pods from ordinal {first} on are deleted with them \
                 (persistentVolumeClaimRetentionPolicy.whenScaled is Delete)",
                target.live.object
            )
        })
    }

    /// Returns the sentence of the first guard that refuses.
    pub(super) fn refusal(&self, target: &Target) -> Option<String> {
        let object = &target.live.object;
        let (now, wanted) = (target.replicas, self.replicas.get());
        if let Some(why) = target.live.protection().or_else(|| controlled(target)) {
            return Some(why);
        }
        if let Some(expected) = self.current_replicas.filter(|expected| expected.get() != now) {
            return Some(format!(
                "{object} has {now} replicas, not {} as currentReplicas says; look again before you decide",
                expected.get()
            ));
        }
        if wanted == 0 && !self.allow_zero {
            return Some(format!("scaling {object} to 0 stops it; set allowZero to true if that is meant"));
        }
        if target.deletes_volumes(wanted) && !self.allow_volume_deletion {
            return Some(format!(
                "scaling {object} from {now} to {wanted} deletes the volumes of the pods that go \
                 (persistentVolumeClaimRetentionPolicy.whenScaled is Delete); set allowVolumeDeletion to true if that is meant"
            ));
        }
        let name = target.autoscalers.first()?;
        Some(if wanted == 0 {
            format!(
                "{object} is scaled by the HorizontalPodAutoscaler {name}, which 0 replicas switch off until someone scales it \
                 up again; set onAutoscaler to \"ignore\" if that is meant"
            )
        } else {
            format!(
                "{object} is scaled by the HorizontalPodAutoscaler {name}, which would overwrite {wanted} within seconds; \
                 change its minReplicas or maxReplicas, or set onAutoscaler to \"ignore\""
            )
        })
    }
}

/// Refuses a ReplicaSet or ReplicationController under a controller that is not built in (Argo Rollouts, OpenShift):
/// that controller sets the number, so it has to be scaled instead.
fn controlled(target: &Target) -> Option<String> {
    matches!(target.live.kind(), Some(Kind::ReplicaSet | Kind::ReplicationController)).then_some(())?;
    let owner = controller(&target.live.value)?;
    Some(format!(
        "{} is controlled by {}, which sets its number; scale that: {}",
        target.live.object,
        described(owner),
        named(owner)
    ))
}

/// Says why an object that has no number of replicas leads to none.
pub(super) fn nothing_to_scale(live: &LiveObject) -> String {
    let object = &live.object;
    let Some(owner) = controller(&live.value) else {
        return format!("there is nothing to scale: {object} has no number of replicas, and nothing controls it");
    };
    let owned = format!("{object} is controlled by {}", described(owner));
    match owner_ref(object, owner) {
        Some(_) => format!("there is nothing to scale: {owned}, which has no number of replicas"),
        // Nobody asked whether it has one: that takes its API version and a permission of its own.
        None => format!(
            "{owned}, of a kind that is not built in; if that has a number of replicas, scale it: {}",
            named(owner)
        ),
    }
}

/// Returns the variables that name an owner as the target.
fn named(owner: &Value) -> String {
    let own = |pointer: &str| text(owner, pointer).unwrap_or_default();
    format!("TARGET_KIND={} TARGET_API_VERSION={} TARGET_NAME={}", own("/kind"), own("/apiVersion"), own("/name"))
}

pub(super) fn described(owner: &Value) -> String {
    format!("the {} {}", text(owner, "/kind").unwrap_or("object"), text(owner, "/name").unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::testing::live;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case::of_a_job(
        json!([{ "controller": true, "apiVersion": "batch/v1", "kind": "Job", "name": "nightly" }]),
        "there is nothing to scale: pod shop/web is controlled by the Job nightly, which has no number of replicas"
    )]
    #[case::of_nobody(json!([]), "there is nothing to scale: pod shop/web has no number of replicas, and nothing controls it")]
    #[case::of_a_kind_that_is_not_known(
        json!([{ "controller": true, "apiVersion": "apps.kruise.io/v1beta1", "kind": "CloneSet", "name": "web" }]),
        "pod shop/web is controlled by the CloneSet web, of a kind that is not built in; if that has a number of replicas, scale it: \
         TARGET_KIND=CloneSet TARGET_API_VERSION=apps.kruise.io/v1beta1 TARGET_NAME=web"
    )]
    fn a_pod_that_leads_to_no_number_says_so(#[case] owners: Value, #[case] says: &str) {
        let pod = live(Kind::Pod, json!({ "metadata": { "uid": "u", "ownerReferences": owners } }));
        assert_eq!(nothing_to_scale(&pod), says);
    }
}
