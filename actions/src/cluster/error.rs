//! The reasons why an action did not do what was asked.

use std::error::Error as StdError;

use contract::code::Code;

use crate::export::upload::UploadError;
use crate::k8s::Permission;

/// The reasons, in the terms of the contract: each variant is one `code` and one exit code of the result.
///
/// Messages are lower case, name the object, say what to do, and never repeat their source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request cannot be understood or does not fit the target; nothing that changes anything was sent.
    #[error("{0}")]
    InvalidRequest(String),
    /// A guard, an admission plugin or a quota refused the change.
    #[error("{0}")]
    Refused(String),
    /// The target does not exist.
    #[error("{0}")]
    TargetNotFound(String),
    /// Permissions are missing: all of them are listed.
    #[error("{message}")]
    Forbidden {
        /// The sentence for a person.
        message: String,
        /// Permissions that the ServiceAccount lacks.
        missing: Vec<Permission>,
    },
    /// Someone else changed what the decision was based on.
    #[error("{0}")]
    Conflict(String),
    /// The change was applied, but the effect did not come or did not stay.
    #[error("{0}")]
    NotVerified(String),
    /// A wait before the change ran out of time.
    #[error("{0}")]
    DeadlineExceeded(String),
    /// A disruption budget blocks the eviction for now. The API server is not overloaded.
    #[error("{message}")]
    Blocked {
        /// The sentence for a person; names the budget.
        message: String,
    },
    /// The API server was not reached, is overloaded, or its answer was lost.
    #[error("{message}")]
    Unavailable {
        /// The sentence for a person.
        message: String,
        /// Cause from the network or the API server.
        #[source]
        source: Option<Box<dyn StdError + Send + Sync>>,
    },
    /// The API server does not serve the resource: an extension is not installed, not there yet, or gone. Proves
    /// nothing about any object.
    #[error("{0}")]
    NotServed(String),
    /// The runner has a defect, or the API server gave an answer that it never gives.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// Returns the error for an API server that could not be reached.
    pub fn unavailable(message: impl Into<String>, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Unavailable { message: message.into(), source: Some(source.into()) }
    }

    /// Returns the message and all causes, each once: libraries like to repeat their source in their own message.
    pub fn full_message(&self) -> String {
        let mut message = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !message.contains(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            cause = error.source();
        }
        message
    }
}

impl From<UploadError> for Error {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::InvalidRequest(why) => Self::InvalidRequest(why),
            UploadError::Refused(why) => Self::Refused(why),
            UploadError::DeadlineExceeded(why) => Self::DeadlineExceeded(why),
            UploadError::Unavailable(why) => Self::Unavailable { message: why, source: None },
            UploadError::Internal(why) => Self::Internal(why),
        }
    }
}

impl From<&Error> for Code {
    fn from(error: &Error) -> Self {
        match error {
            Error::InvalidRequest(_) => Code::InvalidRequest,
            // A budget that blocks, where the run does not wait for it (a dry run).
            Error::Refused(_) | Error::Blocked { .. } => Code::Refused,
            Error::TargetNotFound(_) => Code::TargetNotFound,
            Error::Forbidden { .. } => Code::Forbidden,
            Error::Conflict(_) => Code::Conflict,
            Error::NotVerified(_) => Code::NotVerified,
            Error::DeadlineExceeded(_) => Code::DeadlineExceeded,
            Error::Unavailable { .. } | Error::NotServed(_) => Code::Unavailable,
            Error::Internal(_) => Code::Internal,
        }
    }
}

/// The result of everything that can fail for one of the reasons above.
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer: {0}")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_cause_is_said_once() {
        let error = Error::unavailable("failed to reach https://x", Outer(std::io::Error::other("refused")));
        assert_eq!(error.full_message(), "failed to reach https://x: outer: refused");
    }

    #[test]
    fn errors_have_codes_of_their_own() {
        let text = || "x".to_owned();
        let table = [
            (Error::InvalidRequest(text()), Code::InvalidRequest, false),
            (Error::Refused(text()), Code::Refused, false),
            (Error::Blocked { message: text() }, Code::Refused, false),
            (Error::TargetNotFound(text()), Code::TargetNotFound, false),
            (Error::Forbidden { message: text(), missing: vec![] }, Code::Forbidden, false),
            (Error::Conflict(text()), Code::Conflict, true),
            (Error::NotVerified(text()), Code::NotVerified, false),
            (Error::DeadlineExceeded(text()), Code::DeadlineExceeded, true),
            (Error::Unavailable { message: text(), source: None }, Code::Unavailable, true),
            (Error::NotServed(text()), Code::Unavailable, true),
            (Error::Internal(text()), Code::Internal, false),
        ];
        for (error, code, later) in table {
            assert_eq!((Code::from(&error), code.may_succeed_later()), (code, later));
        }
    }
}
