//! All access to the API server.
//!
//! Every request goes through [`Cluster::exchange`]: it is counted in the ledger, carries the run's user agent, and has
//! its own time limit. Reads are sent again when the network or the server fails; only [`write`] decides whether a
//! write may be sent again. kube-rs' own helpers for restart, cordon, eviction and logs are not used: see
//! `docs/how-a-run-goes.md` for what each of them does differently.

mod check;
mod client;
mod clock;
mod connect;
mod credentials;
pub mod error;
mod events;
mod evict;
pub mod evidence;
pub mod executions;
#[cfg(test)]
pub mod fake;
mod kubeconfig;
pub mod ledger;
mod logs;
mod lost;
pub mod observed;
mod outcome;
pub mod patch;
mod read;
mod retry;
mod review;
pub mod run;
mod status;
mod tries;
mod warning;
mod watch;
mod watcher;
mod write;

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Limited};
use jiff::Timestamp;
use kube::client::Body;
use tokio::time::Instant;

pub use connect::{Connection, Proxy, Reached, reach};
pub use events::{Item, key};
pub use evict::Eviction;
pub use logs::{Line, LogError, LogLines, LogOptions};
pub use patch::{Patch, Proof};
pub use read::{Query, server_name};
pub use review::{Access, KnownRules, missing_permissions};
pub use tries::Commit;
pub use watch::Watch;

use crate::cluster::error::{Error, Result};
use crate::cluster::ledger::Ledger;
use crate::k8s::names::Namespace;
use clock::ServerClock;
use status::Failure;
use tries::Admission;

/// The field manager of every patch but the one of `/scale` (see [`Proof::FieldManager`]).
pub const FIELD_MANAGER: &str = "action-runner";

/// Limit for one read; a server that answers at all does so within a fraction of this.
const READ_LIMIT: Duration = Duration::from_secs(15);

/// The largest answer that is read whole. etcd holds objects of at most 1.5 MiB, and a page of a list at most 100 of
/// them; anything larger than this does not come from an API server.
const BODY_LIMIT: usize = 16 << 20;

/// The cluster, as one run uses it until a deadline.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
    server: String,
    namespace: Option<Namespace>,
    ledger: Ledger,
    run: String,
    deadline: Instant,
    /// Time when the run ends.
    end: Instant,
    admission: Admission,
    /// Time since which the API server has loaded its RBAC roles; `None` before that, and after a failed request.
    settled: Arc<Mutex<Option<Instant>>>,
    clock: ServerClock,
}

impl Cluster {
    /// Returns the same cluster with this deadline, if earlier: waits and retries end then.
    #[must_use]
    pub fn until(&self, deadline: Instant) -> Self {
        Self { deadline: deadline.min(self.deadline), ..self.clone() }
    }

    /// Returns the same cluster for a last look after a wait, in the time that is kept for the result.
    #[must_use]
    pub fn for_a_last_look(&self) -> Self {
        /// Longer than any API server needs that is not ill.
        const LONGEST: Duration = Duration::from_secs(10);
        Self { deadline: self.end.min(Instant::now() + LONGEST), ..self.clone() }
    }

    /// Returns the time until the deadline.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Returns the limit for one read, or for opening a watch: half of the time at most, so that a connection that is dead
    /// does not take all of it. The next try is made on another one.
    fn read_limit(&self) -> Duration {
        /// As long as a busy API server may need.
        const LEAST: Duration = Duration::from_secs(1);
        READ_LIMIT.min(self.remaining() / 2).max(LEAST)
    }

    /// Returns the namespace of the ServiceAccount or of the kubeconfig's context.
    pub fn default_namespace(&self) -> Option<&Namespace> {
        self.namespace.as_ref()
    }

    /// Returns the API server's time, from its answers: accurate to a second, and ours before the first answer.
    pub fn server_now(&self) -> Timestamp {
        self.clock.at(Timestamp::now())
    }

    /// Converts a time of our clock to the API server's.
    pub fn server_time(&self, own: Timestamp) -> Timestamp {
        self.clock.at(own)
    }

    /// Returns the record of what was sent so far, with the outcomes.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Returns the unique name of this run, a part of its marks.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Records whether the API server has loaded its RBAC roles. Until then a 403 may be wrong and is retried; a failed
    /// request resets this.
    fn settle(&self, settled: bool) {
        *self.settled.lock().unwrap_or_else(PoisonError::into_inner) = settled.then(Instant::now);
    }

    /// Returns whether the API server had loaded its RBAC roles when a request was sent at this time.
    fn was_settled(&self, sent: Instant) -> bool {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|since| since <= sent)
    }

    /// Sends one request and waits for the head of its answer.
    async fn exchange(
        &self,
        request: Request<Vec<u8>>,
        limit: Duration,
        retry: bool,
    ) -> Result<Response<Body>, Failure> {
        let limit = limit.min(self.remaining());
        tracing::debug!(method = %request.method(), uri = %request.uri(), retry, "sending a request");
        self.ledger.request(retry);
        let answer = tokio::time::timeout(limit, self.client.send(request.map(Body::from))).await;
        // A request that reached nobody, or whose connection broke, may not have arrived, so it stays unanswered.
        if matches!(answer, Ok(Ok(_))) {
            self.ledger.answered();
        }
        if !matches!(&answer, Ok(Ok(response)) if !response.status().is_server_error()) {
            self.settle(false);
        }
        match answer {
            Ok(Ok(response)) => {
                for text in warning::texts(response.headers()) {
                    self.ledger.warn(&text);
                }
                // Not from an error, which may come from a gateway with its own clock.
                if response.status().is_success() {
                    self.clock.learn(response.headers(), Timestamp::now());
                }
                Ok(response)
            }
            Ok(Err(error)) => Err(Failure::Network(connect::without_secrets(error.into()))),
            Err(_) => Err(Failure::Network(format!("no answer within {} s", limit.as_secs_f32()).into())),
        }
    }

    /// Sends one request and reads its whole answer; an answer without a success status is a failure.
    async fn call(&self, request: Request<Vec<u8>>, limit: Duration, retry: bool) -> Result<bytes::Bytes, Failure> {
        let started = Instant::now();
        let response = self.exchange(request, limit, retry).await?;
        let (head, body) = response.into_parts();
        let left = limit.min(self.remaining()).saturating_sub(started.elapsed());
        let broken = match tokio::time::timeout(left, Limited::new(body, BODY_LIMIT).collect()).await {
            Ok(Ok(body)) if head.status.is_success() => return Ok(body.to_bytes()),
            Ok(Ok(body)) => return Err(Failure::answered(&head, &body.to_bytes())),
            Ok(Err(error)) => error,
            Err(_) => "the answer broke off in the middle".into(),
        };
        self.settle(false);
        Err(Failure::Network(broken))
    }

    /// Returns the error for a failed request that is not about permissions.
    fn unavailable(&self, what: &str, failure: Failure) -> Error {
        match failure {
            Failure::Network(source) => Error::Unavailable {
                message: format!("failed to {what}: {}{}", self.server, connect::explain(&*source)),
                source: Some(source),
            },
            failure => Error::Unavailable { message: format!("failed to {what}: {failure}"), source: None },
        }
    }
}

/// Returns a random number. The standard library seeds its hasher from the operating system: no crate is needed.
pub fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}

/// Returns a path with its query, each value encoded.
fn with_query(path: &str, pairs: &[(&str, &str)]) -> String {
    let mut uri = path.to_owned();
    for (index, (key, value)) in pairs.iter().filter(|(_, value)| !value.is_empty()).enumerate() {
        let value: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
        // Writing into a String cannot fail.
        let _infallible = write!(uri, "{}{key}={value}", if index == 0 { '?' } else { '&' });
    }
    uri
}

/// Builds a request of this run; the client adds address, credentials and user agent.
fn build(method: Method, uri: &str, content_type: &str, body: Vec<u8>) -> Result<Request<Vec<u8>>> {
    let mut request = Request::builder().method(method).uri(uri).header(header::ACCEPT, "application/json");
    if !body.is_empty() {
        request = request.header(header::CONTENT_TYPE, content_type);
    }
    request.body(body).map_err(|error| Error::Internal(format!("failed to build the request {uri}: {error}")))
}
