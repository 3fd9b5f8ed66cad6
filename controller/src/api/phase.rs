//! Phases of an execution, and the reasons for them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Phase of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Accepted; nothing was started.
    Pending,
    /// It is checked without a pod.
    Validating,
    /// An attempt runs.
    Executing,
    /// An attempt has ended, and another one follows at `nextAttemptTime`.
    Retrying,
    /// The end: done, and verified.
    Completed,
    /// The end: not done, or not verified.
    Failed,
    /// The end: `timeout` was over.
    TimedOut,
    /// The end: cancelled, or deleted while it ran.
    Cancelled,
    /// A phase that only a newer controller has. Read, and never written: whoever wrote it goes on with it.
    #[serde(other)]
    #[schemars(skip)]
    Unrecognized,
}

impl Phase {
    /// All phases that this release writes.
    pub const ALL: [Phase; 7] = [
        Phase::Pending,
        Phase::Executing,
        Phase::Retrying,
        Phase::Completed,
        Phase::Failed,
        Phase::TimedOut,
        Phase::Cancelled,
    ];

    /// Returns whether the phase is never left.
    pub const fn is_final(self) -> bool {
        matches!(self, Phase::Completed | Phase::Failed | Phase::TimedOut | Phase::Cancelled)
    }

    /// Returns the phase as it is spelled.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Pending => "Pending",
            Phase::Validating => "Validating",
            Phase::Executing => "Executing",
            Phase::Retrying => "Retrying",
            Phase::Completed => "Completed",
            Phase::Failed => "Failed",
            Phase::TimedOut => "TimedOut",
            Phase::Cancelled => "Cancelled",
            Phase::Unrecognized => "Unrecognized",
        }
    }
}

/// Reason for a phase, where the runner's code is none: in CamelCase, for machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It waits for `approvedBy`.
    AwaitingApproval,
    /// Another execution has the same target.
    TargetBusy,
    /// As many executions run as may run at once.
    Queued,
    /// `suspend` is true.
    Suspended,
    /// The request was refused before anything was started.
    InvalidRequest,
    /// The pod that is to be restarted was not there.
    TargetNotFound,
    /// `startingDeadlineSeconds` were over before it could start.
    NotStarted,
    /// Something else has the name of its Job.
    NameTaken,
    /// The API server refused the Job.
    JobRefused,
    /// The creation or the deletion of its Job was not answered, or with an error of the server: what came of it is found out.
    JobUnanswered,
    /// The patch that puts the finalizer on was not answered, or with an error of the server: it is sent again.
    HoldUnanswered,
    /// The controller itself lacks a permission.
    Forbidden,
    /// The attempt left no result that could be read.
    NoResult,
    /// No container of the attempt ever started.
    NeverStarted,
    /// `cancel` is true.
    Cancelled,
    /// The execution is being deleted.
    Deleted,
    /// `timeout` was over.
    DeadlineExceeded,
    /// The stored object cannot be read.
    Unreadable,
}

impl Reason {
    /// Returns the reason as it is spelled.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::AwaitingApproval => "AwaitingApproval",
            Reason::TargetBusy => "TargetBusy",
            Reason::Queued => "Queued",
            Reason::Suspended => "Suspended",
            Reason::InvalidRequest => "InvalidRequest",
            Reason::TargetNotFound => "TargetNotFound",
            Reason::NotStarted => "NotStarted",
            Reason::NameTaken => "NameTaken",
            Reason::JobRefused => "JobRefused",
            Reason::JobUnanswered => "JobUnanswered",
            Reason::HoldUnanswered => "HoldUnanswered",
            Reason::Forbidden => "Forbidden",
            Reason::NoResult => "NoResult",
            Reason::NeverStarted => "NeverStarted",
            Reason::Cancelled => "Cancelled",
            Reason::Deleted => "Deleted",
            Reason::DeadlineExceeded => "DeadlineExceeded",
            Reason::Unreadable => "Unreadable",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_of_a_newer_controller_can_be_read_and_is_not_final() {
        let phase: Phase = serde_json::from_str("\"Verifying\"").unwrap();
        assert_eq!((phase, phase.is_final()), (Phase::Unrecognized, false));
    }
}
