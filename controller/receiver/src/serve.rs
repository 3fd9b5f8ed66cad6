//! Requests and their answers.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::{get, post};

use crate::answer::Answer;
use crate::database::{Away, Database};
use crate::event::{self, Refusal};
use crate::keep::{self, Failure};
use crate::token::Tokens;

/// The longest time in which a body must have come.
const BODY: Duration = Duration::from_secs(10);

/// What requests are answered with.
#[derive(Debug)]
pub struct Receiver {
    /// The database.
    pub database: Database,
    /// The tokens that are taken; `None` takes events from anybody.
    pub tokens: Option<Tokens>,
    /// The most bytes of an event.
    pub largest: usize,
}

/// Returns the routes.
pub fn routes(receiver: Arc<Receiver>) -> Router {
    let largest = receiver.largest;
    let not_allowed = || async { Answer::new(StatusCode::METHOD_NOT_ALLOWED, "events are posted: expected POST") };
    let not_found = || async {
        let message = format!("nothing is here: events are posted to {}", contract::event::PATH);
        Answer::new(StatusCode::NOT_FOUND, message)
    };
    Router::new()
        .route(contract::event::PATH, post(take).fallback(not_allowed))
        .route("/livez", get(|| async { Answer::new(StatusCode::OK, "ok") }))
        .route("/readyz", get(ready))
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(largest))
        .with_state(receiver)
}

async fn ready(State(receiver): State<Arc<Receiver>>) -> Answer {
    match keep::ready(&receiver.database).await {
        Ok(()) => Answer::new(StatusCode::OK, "ok"),
        Err(Away(error)) => {
            tracing::warn!(error, "not ready");
            Answer::later("the database is away, read-only, or has no table yet: the log says which")
        }
    }
}

async fn take(State(receiver): State<Arc<Receiver>>, request: Request) -> Answer {
    receiver.take(request).await.unwrap_or_else(|answer| answer)
}

impl Receiver {
    /// Takes one event; the answer of an error is one that is not about a kept event.
    async fn take(&self, request: Request) -> Result<Answer, Answer> {
        self.check_token(request.headers())?;
        check_content_type(request.headers())?;
        let ce_id = request.headers().get("ce-id").map(|value| value.as_bytes().to_vec());
        let body = self.body(request).await?;
        let event = event::read(&body, ce_id.as_deref()).map_err(|refusal| match refusal {
            Refusal::NotJson(why) => Answer::new(StatusCode::BAD_REQUEST, why),
            Refusal::NotAnEvent(why) => Answer::new(StatusCode::UNPROCESSABLE_ENTITY, why),
        })?;
        let id = event.read.id.as_str();
        match keep::keep(&self.database, &event).await {
            Ok(now) => {
                tracing::debug!(id, now, "an event is kept");
                Ok(Answer::kept(id, now))
            }
            Err(Failure::Content(why)) => {
                tracing::warn!(id, why, "PostgreSQL does not take an event");
                let message = format!("the event: PostgreSQL does not take what it holds: {why}");
                Err(Answer::new(StatusCode::UNPROCESSABLE_ENTITY, message))
            }
            Err(Failure::Away(error)) => {
                // Who posts is told neither hosts nor accounts.
                tracing::warn!(id, error, "the database is away or not well; the event is not known to be kept");
                Err(Answer::later("the database is away or not well: post the event again later"))
            }
        }
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Answer> {
        match self.tokens.as_ref().map(|tokens| tokens.allow(headers)) {
            None | Some(Ok(true)) => Ok(()),
            Some(Ok(false)) => Err(Answer::new(
                StatusCode::UNAUTHORIZED,
                "expected the header Authorization: Bearer with a token of --token-file",
            )),
            Some(Err(error)) => {
                tracing::error!(error, "nobody can be let in");
                Err(Answer::later("the receiver cannot read its tokens: post the event again later"))
            }
        }
    }

    async fn body(&self, request: Request) -> Result<Bytes, Answer> {
        match tokio::time::timeout(BODY, Bytes::from_request(request, &())).await {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                let message = format!("the event: expected at most {} bytes (--largest-event)", self.largest);
                Err(Answer::new(StatusCode::PAYLOAD_TOO_LARGE, message))
            }
            Ok(Err(_)) => Err(Answer::new(StatusCode::BAD_REQUEST, "the body: it did not come whole")),
            Err(_) => {
                let message = format!("the body: it did not come within {} s", BODY.as_secs());
                Err(Answer::new(StatusCode::REQUEST_TIMEOUT, message))
            }
        }
    }
}

/// Checks that the body is an event by itself; CloudEvents' structured mode would wrap it in another object.
fn check_content_type(headers: &HeaderMap) -> Result<(), Answer> {
    const EXPECTED: &str = "application/json";
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(EXPECTED) {
        return Ok(());
    }
    let shown = contract::text::shorten(given, 100);
    let message = format!("the header Content-Type: expected {EXPECTED}, got {shown:?}");
    Err(Answer::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
}
