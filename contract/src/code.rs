//! Codes and exit codes that tell machines how a run ended.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The end of a run, for machines. Codes are added, never renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Code {
    /// Changed, and the effect was verified.
    Changed,
    /// Already as asked; nothing had to be changed.
    Unchanged,
    /// A dry run: the change would be made.
    DryRun,
    /// Done, by an action that never changes anything.
    Completed,
    /// The request cannot be understood or does not fit the target.
    InvalidRequest,
    /// A policy, a precondition, a guard, an admission plugin or a quota refused the request.
    Refused,
    /// The target does not exist.
    TargetNotFound,
    /// Permissions are missing; all of them are named.
    Forbidden,
    /// Someone else changed the target meanwhile.
    Conflict,
    /// Applied, but the effect did not come or did not stay.
    NotVerified,
    /// `ACTION_TIMEOUT`, or a wait before the change, ran out.
    DeadlineExceeded,
    /// The API server was not reached, or is overloaded.
    Unavailable,
    /// Stopped by SIGINT or SIGTERM.
    Interrupted,
    /// A defect of the runner.
    Internal,
    /// A code that only a newer runner has: a failure of an unknown kind. Read, and never written.
    #[serde(other)]
    #[schemars(skip)]
    Unrecognized,
}

impl Code {
    /// All codes that a runner writes, in the order of the documentation.
    pub const ALL: [Code; 14] = [
        Code::Changed,
        Code::Unchanged,
        Code::DryRun,
        Code::Completed,
        Code::Internal,
        Code::InvalidRequest,
        Code::Refused,
        Code::TargetNotFound,
        Code::Forbidden,
        Code::Conflict,
        Code::NotVerified,
        Code::DeadlineExceeded,
        Code::Unavailable,
        Code::Interrupted,
    ];

    /// Returns the exit code of the process. `Interrupted` is 128 + the signal (SIGTERM here).
    pub const fn exit(self) -> u8 {
        match self {
            Code::Changed | Code::Unchanged | Code::DryRun | Code::Completed => 0,
            Code::Internal | Code::Unrecognized => 1,
            Code::InvalidRequest => 2,
            Code::Refused => 3,
            Code::TargetNotFound => 4,
            Code::Forbidden => 5,
            Code::Conflict => 6,
            Code::NotVerified => 7,
            Code::DeadlineExceeded => 8,
            Code::Unavailable => 9,
            Code::Interrupted => 143,
        }
    }

    /// Returns whether the same request may succeed later without anyone changing it.
    pub const fn may_succeed_later(self) -> bool {
        matches!(self, Code::Conflict | Code::DeadlineExceeded | Code::Unavailable | Code::Interrupted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_exit_codes_are_these() {
        let table: Vec<_> = Code::ALL.iter().map(|code| format!("{} {code:?}", code.exit())).collect();
        insta::assert_snapshot!(table.join("\n"));
    }

    #[test]
    fn only_these_may_succeed_later() {
        let later: Vec<_> = Code::ALL.into_iter().filter(|code| code.may_succeed_later()).collect();
        assert_eq!(later, [Code::Conflict, Code::DeadlineExceeded, Code::Unavailable, Code::Interrupted]);
    }

    #[test]
    fn a_code_of_a_newer_runner_can_be_read() {
        for (text, code) in [("\"Changed\"", Code::Changed), ("\"Later\"", Code::Unrecognized)] {
            assert_eq!(serde_json::from_str::<Code>(text).ok(), Some(code));
        }
        assert_eq!((Code::Unrecognized.exit(), Code::Unrecognized.may_succeed_later()), (1, false));
    }
}
