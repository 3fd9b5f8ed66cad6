//! Answers: a status and a JSON object with one sentence.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Seconds after which an event may be posted again: a PostgreSQL that was restarted is back by then, or soon after.
const RETRY_AFTER: &str = "5";

/// An answer.
#[derive(Debug, Serialize)]
pub struct Answer {
    #[serde(skip)]
    status: StatusCode,
    /// Id of the event, once it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// True when it is kept now, false when one by this id was there already.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<bool>,
    /// The sentence.
    message: String,
}

impl Answer {
    /// Makes an answer that is about no event that could be kept.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, id: None, kept: None, message: message.into() }
    }

    /// Makes the answer for an event that is kept, now or already.
    pub fn kept(id: &str, now: bool) -> Self {
        let (status, message) = if now {
            (StatusCode::CREATED, "the event is kept")
        } else {
            (StatusCode::OK, "an event by this id was there already, and stays: the first one counts")
        };
        Self { status, id: Some(id.to_owned()), kept: Some(now), message: message.to_owned() }
    }

    /// Makes the answer for an event that is to be posted again.
    pub fn later(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = (status, Json(self)).into_response();
        let also = match status {
            StatusCode::SERVICE_UNAVAILABLE => Some((header::RETRY_AFTER, RETRY_AFTER)),
            StatusCode::UNAUTHORIZED => Some((header::WWW_AUTHENTICATE, "Bearer")),
            _ => None,
        };
        if let Some((name, value)) = also {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}
