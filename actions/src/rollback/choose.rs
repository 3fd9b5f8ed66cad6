//! Which revision is meant.

use serde_json::Value;

use super::Rollback;
use crate::object::annotation;
use crate::restart::workload::RESTARTED_AT;
use crate::revision::{Revision, current, normalized};

/// The revision that the parameters name; by default the newest one whose template differs from the present one by more
/// than a restart. The error goes on after the object's name.
pub fn revision<'a>(rollback: &Rollback, revisions: &'a [Revision], workload: &Value) -> Result<&'a Revision, String> {
    let all =
        || match revisions.iter().map(|one| format!("{} ({})", one.number, one.name)).collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => "none (its revisionHistoryLimit may be 0)".to_owned(),
            all => all,
        };
    if let Some(name) = &rollback.to_revision_name {
        return revisions
            .iter()
            .find(|one| one.name == *name)
            .ok_or_else(|| format!("has no revision named {name:?}; it has {}", all()));
    }
    if let Some(number) = rollback.to_revision {
        return revisions
            .iter()
            .find(|one| one.number == number)
            .ok_or_else(|| format!("has no revision {number}; it has {}", all()));
    }
    // A present template that is kept in no revision yet (its controller is behind) leaves the newest as the one before.
    let present = workload.pointer("/spec/template").map(without_restarts);
    revisions.iter().find(|one| Some(without_restarts(&one.template)) != present).ok_or_else(|| {
        format!("has no revision to go back to whose template differs by more than a restart; it has {}", all())
    })
}

/// The revisions between the present one and the one that is chosen by default: they differ by a restart alone.
pub fn passed_over(rollback: &Rollback, revisions: &[Revision], workload: &Value) -> Vec<String> {
    if rollback.to_revision.is_some() || rollback.to_revision_name.is_some() {
        return Vec::new();
    }
    let present = current(revisions, workload).map(|revision| revision.name.as_str());
    let chosen = revision(rollback, revisions, workload).ok().map(|revision| revision.name.as_str());
    let before = revisions.iter().take_while(|one| Some(one.name.as_str()) != chosen);
    before
        .filter(|one| chosen.is_some() && Some(one.name.as_str()) != present)
        .map(|one| {
            let at =
                annotation(&one.template, RESTARTED_AT).map(|at| format!(", restarted at {at}")).unwrap_or_default();
            format!("revision {} ({}{at})", one.number, one.name)
        })
        .collect()
}

/// A template without what a restart writes.
fn without_restarts(template: &Value) -> Value {
    let mut template = normalized(template);
    let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) else { return template };
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(RESTARTED_AT);
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
    template
}
