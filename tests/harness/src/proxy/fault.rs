//! What can go wrong with one request, and how the proxy makes it so.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::Result;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::{Response, StatusCode, Version, header};
use serde_json::json;

/// An answer, whatever its body is made of.
pub type Answer = Response<BoxBody<Bytes, Broken>>;

/// A body that breaks off.
pub type Broken = Box<dyn std::error::Error + Send + Sync>;

/// What to do to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The API server never gets it; the connection ends.
    Drop,
    /// The same, and for a while no new connection is taken.
    Refuse,
    /// The API server never gets it; the connection stays, and nothing comes.
    StallBefore,
    /// The API server gets it, and the connection ends before it can answer: it may or may not do it.
    CutOff,
    /// The API server gets it and answers; the answer is lost, the connection ends.
    LoseAnswer,
    /// The API server gets it and answers; the answer never comes, the connection stays.
    Stall,
    /// The connection ends at once, and the API server gets it only after this time.
    HoldBack(Duration),
    /// The API server never gets it; this is the answer.
    Answer(Canned),
    /// The API server gets it and answers; this is what arrives.
    AnswerAfter(Canned),
    /// The answer's JSON ends in the middle, and the answer with it, as if it were whole.
    Truncated,
    /// The connection ends in the middle of the answer.
    BreaksOff,
    /// 50 MB of answer.
    Huge,
    /// The answer says that it is HTML.
    WrongType,
    /// The answer is HTTP/1.0.
    Http10,
    /// The answer comes in very small pieces.
    Trickle,
    /// A watch ends as soon as it has begun.
    WatchEnds,
    /// A watch begins, and nothing ever comes.
    WatchSilent,
    /// A watch begins, and nothing comes for this long; then all that has come to pass comes at once.
    WatchLate(Duration),
    /// A watch reports an error of this code in its stream, and ends.
    WatchError(u16),
    /// Somebody else changes an object just before the API server gets it: a merge patch, with the administrator's token.
    /// Every `N` in the patch becomes a number that has not been there before.
    ChangeFirst {
        /// The object's path.
        path: String,
        /// The merge patch.
        patch: String,
    },
}

/// An answer that the proxy gives by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canned {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u32>,
    /// The cause in its details.
    pub cause: Option<&'static str>,
    /// Whether it is HTML, as load balancers answer.
    pub html: bool,
}

impl Canned {
    /// A Kubernetes Status.
    pub const fn status(status: u16) -> Self {
        Self { status, retry_after: None, cause: None, html: false }
    }

    /// As a response.
    pub fn answer(self) -> Answer {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let cause = self.cause.map(|cause| json!({ "causes": [{ "reason": cause, "message": "by the fault proxy" }] }));
        let body = json!({
            "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": self.status,
            "message": "answered by the fault proxy", "reason": status.canonical_reason().unwrap_or_default().replace(' ', ""),
            "details": cause,
        });
        let (kind, body) = if self.html {
            ("text/html", "<html><body><h1>502 Bad Gateway</h1></body></html>".to_owned())
        } else {
            ("application/json", body.to_string())
        };
        let mut answer = Response::new(whole(body));
        *answer.status_mut() = status;
        answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
        if let Some(seconds) = self.retry_after {
            answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        answer
    }
}

/// Which requests a fault makes sense for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concerns {
    /// Every request.
    All,
    /// Watches.
    Watches,
    /// What has a body that ends: everything but watches.
    Answers,
    /// Writes that are meant.
    Writes,
}

/// Every fault of the matrix, under the name that its table has.
pub fn matrix() -> Vec<(&'static str, Fault, Concerns)> {
    use Concerns::{All, Answers, Watches, Writes};
    let canned = |status| Fault::Answer(Canned::status(status));
    let later = |status, seconds| Fault::Answer(Canned { retry_after: Some(seconds), ..Canned::status(status) });
    vec![
        ("reset before the request arrives", Fault::Drop, All),
        ("reset before the request arrives, then refused for 1 s", Fault::Refuse, All),
        ("stall before the request arrives", Fault::StallBefore, All),
        ("reset in the middle", Fault::CutOff, Writes),
        ("reset after the request arrived", Fault::LoseAnswer, All),
        ("stall after the request arrived", Fault::Stall, All),
        ("held back for 3 s, after a reset", Fault::HoldBack(Duration::from_secs(3)), Writes),
        ("401", canned(401), All),
        ("403", canned(403), All),
        ("404", canned(404), All),
        ("409", canned(409), All),
        ("410", canned(410), All),
        ("422", canned(422), All),
        ("429", canned(429), All),
        ("429 with Retry-After: 1", later(429, 1), All),
        (
            "429 with cause DisruptionBudget",
            Fault::Answer(Canned { cause: Some("DisruptionBudget"), ..Canned::status(429) }),
            Writes,
        ),
        ("500", canned(500), All),
        ("502 with an HTML body", Fault::Answer(Canned { html: true, ..Canned::status(502) }), All),
        ("503", canned(503), All),
        ("504 after the request arrived", Fault::AnswerAfter(Canned::status(504)), All),
        ("truncated JSON", Fault::Truncated, Answers),
        ("reset in the middle of the answer", Fault::BreaksOff, All),
        ("50 MB of answer", Fault::Huge, Answers),
        ("a wrong content type", Fault::WrongType, All),
        ("HTTP/1.0", Fault::Http10, All),
        ("the answer trickles", Fault::Trickle, Answers),
        ("the watch ends at once", Fault::WatchEnds, Watches),
        ("the watch falls silent", Fault::WatchSilent, Watches),
        ("410 inside the watch", Fault::WatchError(410), Watches),
        ("500 inside the watch", Fault::WatchError(500), Watches),
    ]
}

/// A body of this text.
pub fn whole(text: impl Into<Bytes>) -> BoxBody<Bytes, Broken> {
    Full::new(text.into()).map_err(|never: Infallible| match never {}).boxed()
}

fn pieces(pieces: Vec<Result<Bytes, Broken>>, pause: Duration) -> BoxBody<Bytes, Broken> {
    let stream = futures::stream::unfold(pieces.into_iter(), move |mut rest| async move {
        let piece = rest.next()?;
        tokio::time::sleep(pause).await;
        Some((piece.map(Frame::data), rest))
    });
    BodyExt::boxed(StreamBody::new(stream))
}

/// A body of which nothing arrives before this time is over.
fn late(body: BoxBody<Bytes, Broken>, time: Duration) -> BoxBody<Bytes, Broken> {
    let stream = futures::stream::unfold((body, time), |(mut body, time)| async move {
        tokio::time::sleep(time).await;
        Some((body.frame().await?, (body, Duration::ZERO)))
    });
    BodyExt::boxed(StreamBody::new(stream))
}

impl Fault {
    /// What becomes of an answer of the API server.
    pub async fn spoil(&self, answer: Answer) -> Result<Answer> {
        let (mut head, body) = answer.into_parts();
        // A watch that is refused has not begun, and keeps its answer.
        let begun = head.status.is_success();
        let body = match self {
            Fault::AnswerAfter(canned) => {
                collected(body).await?;
                return Ok(canned.answer());
            }
            Fault::LoseAnswer => {
                collected(body).await?;
                anyhow::bail!("lost on purpose");
            }
            Fault::Truncated => {
                head.headers.remove(header::CONTENT_LENGTH);
                let all = collected(body).await?;
                whole(all.slice(..all.len() / 2))
            }
            Fault::BreaksOff => {
                head.headers.remove(header::CONTENT_LENGTH);
                pieces(vec![Ok(Bytes::from_static(b"{\"kind\":")), Err("broken off on purpose".into())], Duration::ZERO)
            }
            Fault::Huge => {
                const PIECE: usize = 1 << 20;
                head.headers.remove(header::CONTENT_LENGTH);
                pieces((0..50).map(|_| Ok(Bytes::from(vec![b' '; PIECE]))).collect(), Duration::ZERO)
            }
            Fault::Trickle => {
                let all = collected(body).await?;
                let size = (all.len() / 50).max(1);
                pieces(
                    all.chunks(size).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect(),
                    Duration::from_millis(20),
                )
            }
            Fault::WrongType => {
                head.headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/html"));
                body
            }
            Fault::Http10 => {
                head.version = Version::HTTP_10;
                body
            }
            Fault::WatchEnds if begun => whole(""),
            Fault::WatchSilent if begun => pieces(vec![Ok(Bytes::new())], Duration::from_hours(1)),
            Fault::WatchLate(time) if begun => late(body, *time),
            Fault::WatchError(code) if begun => whole(watch_error(*code)),
            _ => body,
        };
        Ok(Response::from_parts(head, body))
    }
}

/// An event that says that the watch has failed.
fn watch_error(code: u16) -> String {
    let status = json!({ "apiVersion": "v1", "kind": "Status", "code": code, "message": "by the fault proxy", "reason": "Expired" });
    json!({ "type": "ERROR", "object": status }).to_string() + "\n"
}

async fn collected(body: BoxBody<Bytes, Broken>) -> Result<Bytes> {
    Ok(body.collect().await.map_err(|error| anyhow::anyhow!("the API server's answer broke off: {error}"))?.to_bytes())
}
