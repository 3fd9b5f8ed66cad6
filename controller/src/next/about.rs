//! What an execution itself says.

use crate::api::{FINALIZER, KubernetesExecution, Reason};

/// Returns whether the status knows this Job: it is that of an attempt.
pub fn recorded(execution: &KubernetesExecution, job_uid: Option<&str>) -> bool {
    let Some(status) = &execution.status else { return false };
    job_uid.is_some()
        && (status.job_uid.as_deref() == job_uid || status.attempts.iter().any(|one| one.job_uid.as_deref() == job_uid))
}

/// Returns whether it has our finalizer.
pub(super) fn held(execution: &KubernetesExecution) -> bool {
    execution.metadata.finalizers.iter().flatten().any(|one| one == FINALIZER)
}

/// Returns whether it is being deleted.
pub(super) fn deleted(execution: &KubernetesExecution) -> bool {
    execution.metadata.deletion_timestamp.is_some()
}

/// Returns whether nothing may be started before somebody approves. An approval is never taken back.
pub(super) fn awaits_approval(execution: &KubernetesExecution) -> bool {
    execution.spec.approval_required && execution.spec.approved_by.is_none()
}

/// Why an execution is brought to its end from outside, if it is.
pub(super) fn ending(execution: &KubernetesExecution) -> Option<(Reason, &'static str)> {
    if execution.spec.cancel {
        Some((Reason::Cancelled, "it was cancelled"))
    } else if deleted(execution) {
        Some((Reason::Deleted, "it was deleted"))
    } else {
        None
    }
}
