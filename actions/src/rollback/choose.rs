//! Which revision is meant.

use super::Rollback;
use crate::revision::Revision;

/// The revision that the parameters name; by default the newest one that is not the present one. The error goes on
/// after the object's name.
pub fn revision<'a>(
    rollback: &Rollback,
    revisions: &'a [Revision],
    current: Option<&Revision>,
) -> Result<&'a Revision, String> {
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
    let present = current.map(|revision| revision.name.as_str());
    // A present template that is kept in no revision yet (its controller is behind) leaves the newest as the one before.
    revisions
        .iter()
        .find(|one| Some(one.name.as_str()) != present)
        .ok_or_else(|| format!("has no revision to go back to; it has {}", all()))
}
