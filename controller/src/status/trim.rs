//! What is left out of a status: what is too long, and what the API server does not take. The status says so.

use contract::result::ActionResult;
use contract::text::shorten;

use super::{LARGEST, SENTENCE, Status};
use crate::api::ExecutionResult;
use crate::api::status::RollbackInformation;

/// Leaves out what is long, and says so, until the status is small enough.
pub(super) fn bounded(mut status: Status) -> Status {
    type Cut = (&'static str, fn(&mut ExecutionResult));
    const CUTS: [Cut; 3] = [
        ("changes", |result| result.changes = None),
        ("details", |result| result.details = None),
        ("warnings", |result| result.warnings.clear()),
    ];
    let size = |status: &Status| serde_json::to_string(status).map(|text| text.len()).unwrap_or_default();
    for (field, cut) in CUTS {
        let too_large = size(&status) > LARGEST;
        if let Some(result) = status.result.as_mut().filter(|_| too_large) {
            cut(result);
            result.trimmed.push(field.to_owned());
        }
    }
    if size(&status) > LARGEST {
        status.validation_results = None;
    }
    if size(&status) > LARGEST
        && let Some(result) = &mut status.result
    {
        result.output = result.output.as_deref().map(|text| shorten(text, SENTENCE));
        result.error = result.error.as_deref().map(|text| shorten(text, SENTENCE));
    }
    if size(&status) > LARGEST
        && let Some(rollback) = &mut status.rollback_information
    {
        // Half a request is none.
        *rollback = RollbackInformation {
            available: false,
            rollback_action: None,
            rollback_parameters: None,
            failure_reason: Some(
                "the request that undoes the effect is too long for a status; it is in the Job's log".to_owned(),
            ),
        };
    }
    status
}

/// Returns what is not in a status of what a result has.
pub(super) fn trimmed_by(result: &ActionResult) -> Vec<String> {
    let no_object = result.details.as_ref().is_some_and(|details| !details.is_object());
    result.trimmed.iter().cloned().chain(no_object.then(|| "details".to_owned())).collect()
}

/// Returns a status without what an action's image is free to write, or `None` where there is nothing of that in it. What was written
/// before was taken, and stays.
#[must_use]
pub fn trimmed(wanted: &Status, before: Option<&Status>) -> Option<Status> {
    let mut status = wanted.clone();
    let result = status.result.as_mut()?;
    let mut full = vec![
        ("changes", result.changes.take().is_some()),
        ("details", result.details.take().is_some()),
        ("usage", result.usage.take().is_some()),
        ("warnings", !std::mem::take(&mut result.warnings).is_empty()),
    ];
    if let Some(attempt) = status.attempts.last_mut() {
        attempt.usage = None;
    }
    let known = before.and_then(|before| before.validation_results.clone());
    full.push(("validationResults", status.validation_results != known));
    status.validation_results = known;
    let left_out = full.into_iter().filter(|(_, had)| *had).map(|(name, _)| name.to_owned());
    result.trimmed.extend(left_out);
    (status != *wanted).then_some(status)
}
