//! What the API server says when it does not do what was asked.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use http::response::Parts;
use serde::Deserialize;

/// Why a request has no good answer.
#[derive(Debug)]
pub enum Failure {
    /// No answer, or half of one: whether the server acted is not known.
    Network(Box<dyn StdError + Send + Sync>),
    /// The server's own answer.
    Status(Status),
}

/// A `meta/v1 Status`, or what a proxy in between sent in its place.
#[derive(Debug, Clone)]
pub struct Status {
    /// HTTP status.
    pub code: u16,
    /// The sentence.
    pub message: String,
    /// The causes in its details, such as the disruption budget that stands in the way.
    causes: Vec<Cause>,
    retry_after: Option<Duration>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    message: String,
    details: Option<Details>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Details {
    causes: Option<Vec<Cause>>,
    retry_after_seconds: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Cause {
    reason: String,
    message: String,
}

impl Status {
    /// Reads an answer; a body that is no Status (HTML from a proxy) is quoted in part.
    pub fn read(head: &Parts, body: &[u8]) -> Self {
        let header = head.headers.get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let parsed: Option<Body> = serde_json::from_slice(body).ok();
        let body = parsed.unwrap_or_else(|| Body { message: excerpt(body), ..Body::default() });
        let details = body.details.unwrap_or_default();
        let seconds = header.unwrap_or(0).max(details.retry_after_seconds);
        Self {
            code: head.status.as_u16(),
            message: body.message,
            causes: details.causes.unwrap_or_default(),
            retry_after: (seconds > 0).then(|| Duration::from_secs(seconds)),
        }
    }

    /// What stands in the way when it is a disruption budget (an answer, not overload): the cause names the budget, the
    /// message does not.
    pub fn budget(&self) -> Option<String> {
        let cause = self.causes.iter().find(|cause| self.code == 429 && cause.reason == "DisruptionBudget")?;
        Some(format!("{} {}", self.message, cause.message))
    }

    /// Whether the eviction API will not choose among several disruption budgets: an answer too, though it is a 500.
    pub fn several_budgets(&self) -> bool {
        self.code == 500 && self.message.contains("more than one PodDisruptionBudget")
    }

    /// Whether the server did not get to the request, or nobody knows: a read may be sent again.
    pub fn transient(&self) -> bool {
        let busy = matches!(self.code, 429 | 500 | 502 | 503 | 504);
        busy && self.budget().is_none() && !self.several_budgets()
    }

    /// A 422 that says nothing: a failed `test` of a JSON Patch (or a patch that does not fit the object).
    pub fn failed_test(&self) -> bool {
        self.code == 422 && self.causes.is_empty() && self.message.contains("the server rejected our request")
    }
}

impl Failure {
    /// How long the server asks to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status(status) => status.retry_after,
            Self::Network(_) => None,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the API server answered {}", self.code)?;
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => status.fmt(f),
            Self::Network(error) => error.fmt(f),
        }
    }
}

/// The first words of a body that is no Status.
fn excerpt(body: &[u8]) -> String {
    const LENGTH: usize = 120;
    String::from_utf8_lossy(body).split_whitespace().collect::<Vec<_>>().join(" ").chars().take(LENGTH).collect()
}
