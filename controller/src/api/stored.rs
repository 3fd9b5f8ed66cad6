//! An execution as the API server has it stored, readable or not: one that is not must not stop the others. (kube's
//! `DeserializeGuard` is for the same, and reads each object twice into a tree of its own before.)

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::error_boundary::InvalidObject;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{KubernetesExecution, metadata};

/// A stored execution, or why it cannot be read.
#[derive(Debug, Clone)]
pub struct Stored(pub Result<KubernetesExecution, InvalidObject>);

#[derive(Deserialize)]
struct Parts {
    #[serde(default, deserialize_with = "metadata::kept")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
}

impl<'de> Deserialize<'de> for Stored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Parts { metadata, spec, status } = Parts::deserialize(deserializer)?;
        let read = serde_json::from_value(spec).and_then(|spec| Ok((spec, serde_json::from_value(status)?)));
        Ok(Self(match read {
            Ok((spec, status)) => {
                let execution = KubernetesExecution::new("", spec);
                Ok(KubernetesExecution { metadata, status, ..execution })
            }
            Err(error) => Err(InvalidObject { error: error.to_string(), metadata }),
        }))
    }
}

impl Resource for Stored {
    type DynamicType = <KubernetesExecution as Resource>::DynamicType;
    type Scope = <KubernetesExecution as Resource>::Scope;

    fn kind(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        KubernetesExecution::kind(dynamic)
    }

    fn group(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        KubernetesExecution::group(dynamic)
    }

    fn version(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        KubernetesExecution::version(dynamic)
    }

    fn plural(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        KubernetesExecution::plural(dynamic)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|wrong| &wrong.metadata, KubernetesExecution::meta)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.as_mut().map_or_else(|wrong| &mut wrong.metadata, KubernetesExecution::meta_mut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_that_cannot_be_read_is_still_named() {
        let action = json!({ "type": "scale-deployment", "target": { "resourceName": "web" } });
        let object = |spec: Value, status: Value| json!({ "metadata": { "name": "up", "uid": "u" }, "spec": spec, "status": status });
        let read = |object: Value| serde_json::from_value::<Stored>(object).unwrap();
        let whole = read(object(json!({ "action": action }), Value::Null)).0.unwrap();
        assert_eq!(
            (whole.metadata.name.as_deref(), whole.spec.action.r#type.as_str()),
            (Some("up"), "scale-deployment")
        );
        let phase = read(object(json!({ "action": action }), json!({ "phase": "Running" })));
        assert!(phase.0.unwrap().status.is_some());
        for wrong in [
            object(json!({}), Value::Null),
            object(json!({ "action": action }), json!({ "phase": 7 })),
            json!({ "metadata": { "name": "up" } }),
        ] {
            let stored = read(wrong);
            assert_eq!(stored.meta().name.as_deref(), Some("up"));
            assert!(!stored.0.unwrap_err().error.is_empty());
        }
    }
}
