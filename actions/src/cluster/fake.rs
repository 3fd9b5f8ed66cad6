//! A fake API server made of a closure, to test how answers are handled.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Cluster;
use crate::cluster::ledger::Ledger;
use crate::k8s::{Kind, ObjectRef};

/// Answer to one request.
pub enum Answer {
    /// A Kubernetes answer.
    Json(u16, Value),
    /// An answer of something that is not Kubernetes.
    Text(u16, &'static str),
    /// No answer: the connection breaks.
    Lost,
    /// An answer that takes this long.
    Late(Duration, Box<Answer>),
    /// A watch: each event comes after this many seconds; the watch never ends by itself.
    Watch(Vec<(u64, Value)>),
}

/// The requests, such as `GET /path?query`, in the order of their arrival.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    /// Returns all requests that contain this text.
    pub fn with(&self, part: &str) -> Vec<String> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|one| one.contains(part)).cloned().collect()
    }
}

/// Returns a cluster whose API server is this closure. The closure gets the request's method and address, and the
/// number of the same requests before.
pub fn cluster(answer: impl Fn(&str, usize) -> Answer + Send + 'static) -> (Cluster, Seen) {
    let seen = Seen::default();
    let client = kube::Client::new(Fake { answer, seen: seen.clone() }, "shop");
    let deadline = Instant::now() + Duration::from_mins(5);
    let namespace = "shop".parse().ok();
    (Cluster::new(client, "https://fake".to_owned(), namespace, Ledger::default(), "run", deadline), seen)
}

/// Returns `deployment shop/web`, or the same of another kind.
pub(crate) fn object(kind: Kind) -> ObjectRef {
    let resource = kind.resource();
    let namespace = "shop".parse().ok().filter(|_| resource.namespaced());
    ObjectRef { resource, namespace, name: "web".parse().unwrap(), uid: Some("u".to_owned()) }
}

/// Returns the API server's answer for an object that does not exist.
pub fn not_found(kind: &str, group: &str, name: &str) -> Answer {
    Answer::Json(404, not_found_status(kind, group, name))
}

/// Returns the body of that answer.
pub fn not_found_status(kind: &str, group: &str, name: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "NotFound", "code": 404,
        "message": format!("{kind} {name:?} not found"), "details": { "name": name, "group": group, "kind": kind },
    })
}

struct Fake<F> {
    answer: F,
    seen: Seen,
}

impl<F: Fn(&str, usize) -> Answer> tower_service::Service<Request<Body>> for Fake<F> {
    type Response = Response<UnsyncBoxBody<Bytes, Infallible>>;
    type Error = std::io::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let line = format!("{} {}", request.method(), request.uri());
        let before = self.seen.with("").iter().filter(|one| **one == line).count();
        self.seen.0.lock().unwrap_or_else(PoisonError::into_inner).push(line.clone());
        let answer = (self.answer)(&line, before);
        async move {
            let (after, answer) = match answer {
                Answer::Late(after, answer) => (after, *answer),
                answer => (Duration::ZERO, answer),
            };
            tokio::time::sleep(after).await;
            answer.response()
        }
        .boxed()
    }
}

impl Answer {
    fn response(self) -> std::io::Result<Response<UnsyncBoxBody<Bytes, Infallible>>> {
        let (status, body) = match self {
            Answer::Json(status, body) => (status, whole(body.to_string())),
            Answer::Text(status, body) => (status, whole(body.to_owned())),
            Answer::Watch(events) => (200, watched(events)),
            Answer::Lost | Answer::Late(..) => return Err(std::io::Error::other("the connection broke")),
        };
        Response::builder().status(status).body(body).map_err(std::io::Error::other)
    }
}

fn whole(text: String) -> UnsyncBoxBody<Bytes, Infallible> {
    Full::new(Bytes::from(text)).boxed_unsync()
}

fn watched(events: Vec<(u64, Value)>) -> UnsyncBoxBody<Bytes, Infallible> {
    let events = futures::stream::iter(events).then(|(after, event)| async move {
        tokio::time::sleep(Duration::from_secs(after)).await;
        Ok::<_, Infallible>(Frame::data(Bytes::from(event.to_string() + "\n")))
    });
    StreamBody::new(events.chain(futures::stream::pending())).boxed_unsync()
}
