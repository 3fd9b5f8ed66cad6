//! HorizontalPodAutoscalers, which also set a workload's replicas.

use serde::Deserialize;
use serde_json::Value;

use crate::cluster::error::Result;
use crate::cluster::{Cluster, Query};
use crate::k8s::object::text;
use crate::k8s::{ObjectRef, Resource};

/// Returns the resource of autoscalers.
pub fn autoscalers() -> Resource {
    Resource::known(("autoscaling", "v2"), "HorizontalPodAutoscaler", "horizontalpodautoscalers")
}

/// The target of an autoscaler. KEDA's ScaledObjects work through an autoscaler too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScaleTarget {
    group: String,
    kind: String,
    name: String,
}

impl ScaleTarget {
    /// Returns the target of this autoscaler.
    pub fn of(autoscaler: &Value) -> Self {
        let own = |pointer: &str| text(autoscaler, pointer).unwrap_or_default().to_owned();
        let api_version = own("/spec/scaleTargetRef/apiVersion");
        Self {
            group: api_version.split_once('/').map_or_else(String::new, |(group, _)| group.to_owned()),
            kind: own("/spec/scaleTargetRef/kind"),
            name: own("/spec/scaleTargetRef/name"),
        }
    }

    /// Returns whether the target is this object.
    pub fn is(&self, object: &ObjectRef) -> bool {
        self.kind == object.resource.kind()
            && self.name == object.name.as_str()
            && self.group == object.resource.group()
    }
}

/// An autoscaler, reduced to its name and target.
#[derive(Debug, Deserialize)]
#[serde(from = "Value")]
struct Autoscaler {
    name: String,
    target: ScaleTarget,
}

impl From<Value> for Autoscaler {
    fn from(autoscaler: Value) -> Self {
        let name = text(&autoscaler, "/metadata/name").unwrap_or_default().to_owned();
        Self { name, target: ScaleTarget::of(&autoscaler) }
    }
}

/// Returns the names of the autoscalers that target the object.
pub async fn autoscalers_of(cluster: &Cluster, object: &ObjectRef) -> Result<Vec<String>> {
    let (all, _) = cluster.list::<Autoscaler>(&Query::beside(object, autoscalers(), "")).await?;
    Ok(all.into_iter().filter(|one| one.target.is(object)).map(|one| one.name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::testing::live;
    use crate::k8s::Kind;
    use serde_json::json;

    /// The version of the group does not matter, but the group does.
    #[test]
    fn targets_by_group_kind_and_name() {
        let object = live(Kind::Deployment, json!({})).object;
        let targets = |api_version: &str, kind: &str, name: &str| {
            let target = json!({ "apiVersion": api_version, "kind": kind, "name": name });
            ScaleTarget::of(&json!({ "spec": { "scaleTargetRef": target } })).is(&object)
        };
        assert!(targets("apps/v1", "Deployment", "web") && targets("apps/v1beta9", "Deployment", "web"));
        assert!(!targets("example.com/v1", "Deployment", "web") && !targets("v1", "Deployment", "web"));
        assert!(!targets("apps/v1", "StatefulSet", "web") && !targets("apps/v1", "Deployment", "other"));
    }
}
