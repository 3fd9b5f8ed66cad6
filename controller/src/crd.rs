//! The `CustomResourceDefinition`, generated from the types.

use kube::CustomResourceExt;
use serde_json::Value;

use crate::api::KubernetesExecution;

/// Returns the `CustomResourceDefinition` as YAML.
pub fn yaml() -> Result<String, String> {
    let mut crd = serde_json::to_value(KubernetesExecution::crd()).map_err(|error| error.to_string())?;
    without_nulls(&mut crd);
    let text = serde_saphyr::to_string(&crd).map_err(|error| error.to_string())?;
    Ok(format!("# Generated from controller/src/api by `execution-controller crd`; a test fails on drift.\n{text}"))
}

/// serde's nulls are no part of a manifest; and a field that is null is one that is absent: where a schema is not nullable
/// the API server drops it, and no rule has to ask for it.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|key, value| !(value.is_null() || key == "nullable" && value == &Value::Bool(true)));
            fields.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}
