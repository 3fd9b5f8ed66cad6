//! The `CustomResourceDefinition`, generated from the types.

use kube::CustomResourceExt;
use serde_json::Value;

use crate::api::KubernetesExecution;
use crate::api::schema::DURATION;

/// Returns the `CustomResourceDefinition` as YAML.
pub fn yaml() -> Result<String, String> {
    let mut crd = serde_json::to_value(KubernetesExecution::crd()).map_err(|error| error.to_string())?;
    without_nulls(&mut crd);
    bound_conditions(&mut crd);
    not_looked_at_yet(&mut crd);
    let text = serde_saphyr::to_string(&crd).map_err(|error| error.to_string())?;
    Ok(format!("# Generated from controller/src/api by `execution-controller crd`; a test fails on drift.\n{text}"))
}

/// What no controller has looked at yet must not look as if all were well: kstatus (Flux, Argo CD, `kubectl` plugins) takes an object
/// without `observedGeneration` and without conditions for one that is as it should be.
fn not_looked_at_yet(crd: &mut Value) {
    let status =
        crd.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/status").and_then(Value::as_object_mut);
    if let Some(status) = status {
        status.insert("default".to_owned(), serde_json::json!({ "observedGeneration": -1 }));
    }
}

/// What a condition may hold is refused at once, not only by the controller that cannot read it. (The type is the runner's
/// too, where the same limits are part of reading it.)
fn bound_conditions(crd: &mut Value) {
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let limits = [
        ("type", "maxLength", Value::from(63)),
        ("type", "pattern", Value::from("^[A-Za-z0-9_.-]+$")),
        ("description", "maxLength", Value::from(1024)),
        ("rego", "maxLength", Value::from(16 << 10)),
        ("timeout", "maxLength", Value::from(18)),
        ("timeout", "pattern", Value::from(DURATION)),
    ];
    for list in ["preConditions", "postConditions"] {
        for (field, key, value) in &limits {
            let path = format!("{spec}/{list}/items/properties/{field}");
            if let Some(field) = crd.pointer_mut(&path).and_then(Value::as_object_mut) {
                field.insert((*key).to_owned(), value.clone());
            }
        }
    }
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
