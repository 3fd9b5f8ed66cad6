//! Pieces of the CRD's schema that cannot be derived.

use super::Phase;
use schemars::{Schema, SchemaGenerator, json_schema};

/// A duration, as Go and the runner write it.
pub const DURATION: &str = r"^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,5}s)?$";

/// A JSON object whose fields only the action knows.
pub fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// The same, which may be absent.
pub fn any_object_or_none(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "nullable": true, "x-kubernetes-preserve-unknown-fields": true })
}

/// Objects whose fields only the action knows.
pub fn any_objects(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "nullable": true,
        "items": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
    })
}

/// A time, as the API server prints it.
pub fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time", "nullable": true })
}

/// The rule of a field that never changes: neither added, nor removed, nor changed. `has` on both sides, because a rule
/// at the field itself is not evaluated when the field is added or removed.
pub fn unchanged(field: &str) -> String {
    format!("has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})")
}

/// The rule, for the whole object, that what has ended is not cancelled any more. It is not looked at again: whoever cancels it
/// would be told nothing, and wait for `observedGeneration` for ever. Other fields may change, with no effect: a GitOps tool sets
/// again what somebody has changed by hand.
pub fn not_cancelled_too_late() -> String {
    let finals: Vec<_> = Phase::ALL.into_iter().filter(|phase| phase.is_final()).map(Phase::name).collect();
    let ended = format!(
        "has(oldSelf.status) && has(oldSelf.status.phase) && oldSelf.status.phase in ['{}']",
        finals.join("', '")
    );
    let cancels = |of: &str| format!("has({of}.spec.cancel) && {of}.spec.cancel");
    format!("!({ended} && {} && !({}))", cancels("self"), cancels("oldSelf"))
}
