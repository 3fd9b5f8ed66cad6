//! The controller's requests: each is sent once, with a limit of its own, and its failure is told apart by whether the
//! API server may have acted.

use std::time::Duration;

use http::{Method, Request};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::metrics::Metrics;

/// Limit for a read; a server that answers at all does so within a fraction of this.
const READ_LIMIT: Duration = Duration::from_secs(15);
/// Time that an answer may need beyond the server's own limit.
const MARGIN: Duration = Duration::from_secs(2);

/// Why a request has no good answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The API server's own answer. Nothing was done.
    #[error("{message}")]
    Answered {
        /// HTTP status.
        code: u16,
        /// Reason, such as `AlreadyExists`.
        reason: String,
        /// Sentence.
        message: String,
    },
    /// No answer, or none that the API server gives: it may have acted.
    #[error("no answer: {0}")]
    Lost(String),
    /// The controller leads no more, or not for long enough.
    #[error("not the leader for long enough to write")]
    NotLeading,
}

/// Returns the longest time that a write with this limit may take.
pub fn horizon(write_limit: Duration) -> Duration {
    write_limit + MARGIN
}

impl Failure {
    /// Returns the HTTP status, if the API server answered.
    pub fn code(&self) -> Option<u16> {
        if let Failure::Answered { code, .. } = self { Some(*code) } else { None }
    }

    /// Returns whether somebody refuses what was asked: a quota, an admission policy, a namespace that is on its way out. Not that the
    /// token is over, that there is too much to do, or that the server is not well.
    pub fn is_refusal(&self) -> bool {
        self.code().is_some_and(|code| (400..500).contains(&code) && !matches!(code, 401 | 429))
    }

    /// Returns whether there is an object of that name already. Other things are answered with 409 too: a quota that is being
    /// counted, a webhook's own idea.
    pub fn already_exists(&self) -> bool {
        matches!(self, Failure::Answered { code: 409, reason, .. } if reason == "AlreadyExists")
    }

    /// Returns whether what was sent breaks the definition: the API server's own words, not those of an admission policy or a webhook.
    pub fn is_invalid(&self) -> bool {
        let own = |message: &str| message.contains("\" is invalid: ") && !message.starts_with("admission webhook");
        matches!(self, Failure::Answered { code: 422, message, .. } if own(message))
    }

    /// Returns whether the account of the controller lacks the permission: the API server's own words.
    pub fn lacks_permission(&self) -> bool {
        let sentence = |message: &str| message.contains("User \"") && permission(message).is_some();
        matches!(self, Failure::Answered { code: 403, message, .. } if sentence(message))
    }
}

/// Sends requests.
#[derive(Clone)]
pub struct Requests {
    client: kube::Client,
    metrics: Metrics,
    write_limit: Duration,
}

impl Requests {
    /// Sends through this client.
    pub fn new(client: kube::Client, metrics: Metrics, write_limit: Duration) -> Self {
        Self { client, metrics, write_limit }
    }

    /// Returns the longest time that a write may take, until which it may still arrive.
    pub fn horizon(&self) -> Duration {
        horizon(self.write_limit)
    }

    /// Reads an object.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, resource: &str) -> Result<T, Failure> {
        let request = request(Method::GET, path, None)?;
        self.send("get", resource, self.client.request::<T>(request), READ_LIMIT).await
    }

    /// Reads a list: to RBAC, and so in the metrics, that is another verb.
    pub async fn list<T: DeserializeOwned>(&self, path: &str, resource: &str) -> Result<T, Failure> {
        let request = request(Method::GET, path, None)?;
        self.send("list", resource, self.client.request::<T>(request), READ_LIMIT).await
    }

    /// Reads the metadata of a list's objects: the rest is not sent.
    pub async fn metadata<T: DeserializeOwned>(&self, path: &str, resource: &str) -> Result<T, Failure> {
        const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        let mut request = request(Method::GET, path, None)?;
        request.headers_mut().insert(http::header::ACCEPT, http::HeaderValue::from_static(METADATA));
        self.send("list", resource, self.client.request::<T>(request), READ_LIMIT).await
    }

    /// Reads text.
    pub async fn text(&self, path: &str, resource: &str) -> Result<String, Failure> {
        let request = request(Method::GET, path, None)?;
        self.send("get", resource, self.client.request_text(request), READ_LIMIT).await
    }

    /// Creates an object.
    pub async fn create<T: DeserializeOwned>(&self, path: &str, resource: &str, body: &Value) -> Result<T, Failure> {
        let request = request(Method::POST, &self.limited(path), Some(body))?;
        self.send("create", resource, self.client.request::<T>(request), self.horizon()).await
    }

    /// Changes an object by merge patch.
    pub async fn patch<T: DeserializeOwned>(&self, path: &str, resource: &str, body: &Value) -> Result<T, Failure> {
        let request = request(Method::PATCH, &self.limited(path), Some(body))?;
        self.send("patch", resource, self.client.request::<T>(request), self.horizon()).await
    }

    /// Replaces an object.
    pub async fn replace<T: DeserializeOwned>(&self, path: &str, resource: &str, body: &Value) -> Result<T, Failure> {
        let request = request(Method::PUT, &self.limited(path), Some(body))?;
        self.send("update", resource, self.client.request::<T>(request), self.horizon()).await
    }

    /// Deletes an object, if it still has this UID.
    pub async fn delete(&self, path: &str, resource: &str, uid: &str, propagation: &str) -> Result<(), Failure> {
        let body = serde_json::json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation, "preconditions": { "uid": uid },
        });
        let request = request(Method::DELETE, &self.limited(path), Some(&body))?;
        self.send("delete", resource, self.client.request::<Value>(request), self.horizon()).await.map(|_| ())
    }

    /// The API server gives up a write after this time: what was sent before is then known to be over.
    fn limited(&self, path: &str) -> String {
        let sign = if path.contains('?') { '&' } else { '?' };
        format!("{path}{sign}timeout={}ms", self.write_limit.as_millis())
    }

    async fn send<T>(
        &self,
        verb: &str,
        resource: &str,
        answer: impl Future<Output = kube::Result<T>>,
        limit: Duration,
    ) -> Result<T, Failure> {
        let result = match tokio::time::timeout(limit, answer).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(kube::Error::Api(status))) => Err(answered(*status)),
            Ok(Err(error)) => Err(Failure::Lost(chain(&error))),
            Err(_) => Err(Failure::Lost(format!("nothing came within {} s", limit.as_secs()))),
        };
        let code = match &result {
            Ok(_) => "2xx".to_owned(),
            Err(failure) => failure.code().map_or_else(|| "none".to_owned(), |code| code.to_string()),
        };
        self.metrics.request(verb, resource, &code);
        if let Err(failure) = &result
            && failure.lacks_permission()
        {
            tracing::warn!(%failure, "a permission is missing");
            self.metrics.forbidden(resource, verb);
        }
        result
    }
}

/// A gateway's answer says nothing about what the API server did, nor about what there is: only a Status is its own; and that there
/// is too much to do, which the API server says in plain text.
fn answered(status: kube::core::Status) -> Failure {
    /// The reason that kube gives to an answer that is no Status.
    const NO_STATUS: &str = "Failed to parse error data";
    // JSON of somebody else is read as a Status that says neither success nor failure.
    let no_status = status.status.is_none()
        || status.reason == NO_STATUS && status.code != 429
        || status.reason.is_empty() && status.code >= 500;
    let gateway = no_status || matches!(status.code, 502 | 504);
    if gateway || matches!(status.reason.as_str(), "Timeout" | "ServerTimeout" | "InternalError") {
        return Failure::Lost(format!("{} {}", status.code, status.message));
    }
    Failure::Answered { code: status.code, reason: status.reason, message: status.message }
}

/// Returns what an error says, with its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// Returns verb and resource of the API server's sentence: `… cannot create resource "jobs" in API group …`.
pub fn permission(sentence: &str) -> Option<(String, String)> {
    let verb = sentence.split_once(" cannot ")?.1.split(' ').next()?;
    let resource = sentence.split_once("resource \"")?.1.split('"').next()?;
    Some((verb.to_owned(), resource.to_owned()))
}

fn request(method: Method, path: &str, body: Option<&Value>) -> Result<Request<Vec<u8>>, Failure> {
    let content_type = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let bytes = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
    let request = Request::builder().method(method).uri(path).header(http::header::CONTENT_TYPE, content_type);
    request.body(bytes).map_err(|error| Failure::Lost(format!("failed to build the request {path}: {error}")))
}

/// Returns the API server's Status as kube has it; for tests.
#[cfg(test)]
pub fn status(code: u16, reason: &str, message: &str) -> kube::core::Status {
    kube::core::Status {
        status: Some(kube::core::response::StatusSummary::Failure),
        code,
        reason: reason.to_owned(),
        message: message.to_owned(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateways_answer_is_none() {
        assert!(matches!(answered(status(502, "", "Bad Gateway")), Failure::Lost(_)));
        for code in [400, 404, 413, 422, 503] {
            assert!(
                matches!(answered(status(code, "Failed to parse error data", "<html>")), Failure::Lost(_)),
                "{code}"
            );
        }
        let others = serde_json::from_value(serde_json::json!({ "code": 404, "message": "no route" })).unwrap();
        assert!(matches!(answered(others), Failure::Lost(_)));
        let busy = answered(status(429, "Failed to parse error data", "Too many requests"));
        assert!(matches!(busy, Failure::Answered { code: 429, .. }));
        assert!(matches!(answered(status(503, "ServiceUnavailable", "")), Failure::Answered { code: 503, .. }));
        assert!(matches!(answered(status(504, "Timeout", "request did not complete")), Failure::Lost(_)));
        assert!(matches!(answered(status(409, "Conflict", "")), Failure::Answered { code: 409, .. }));
        let forbidden = answered(status(403, "Forbidden", "User \"x\" cannot create resource \"jobs\""));
        assert!(forbidden.lacks_permission());
        assert!(!answered(status(403, "Forbidden", "exceeded quota")).lacks_permission());
    }

    #[test]
    fn a_missing_permission_is_named() {
        let sentence = "jobs.batch is forbidden: User \"x\" cannot create resource \"jobs\" in API group \"batch\" in the namespace \"ns\"";
        assert_eq!(permission(sentence), Some(("create".to_owned(), "jobs".to_owned())));
        assert_eq!(permission("exceeded quota"), None);
    }

    /// A status is written with less only where the definition refuses it: who else refuses it may take the whole next time.
    #[test]
    fn only_the_definition_makes_a_status_invalid() {
        let said =
            |code, message: &str| Failure::Answered { code, reason: "Invalid".to_owned(), message: message.to_owned() };
        let own = "KubernetesExecution.kubernetesexecution.kubernaut.io \"up\" is invalid: status.result.details: Invalid value";
        assert!(said(422, own).is_invalid());
        for (code, message) in [
            (400, own),
            (422, "admission webhook \"x\" denied the request: \"up\" is invalid: no"),
            (
                422,
                "kubernetesexecutions \"up\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
            ),
        ] {
            assert!(!said(code, message).is_invalid(), "{code} {message}");
        }
    }
}
