//! The API server's answers that are not a success.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use http::response::Parts;
use serde::Deserialize;

use crate::k8s::{ObjectRef, Resource};

/// The reason why a request has no good answer.
#[derive(Debug)]
pub enum Failure {
    /// No answer, or only a part of one: nobody knows whether the server acted.
    Network(Box<dyn StdError + Send + Sync>),
    /// The server's own answer.
    Status(Status),
    /// An answer that the API server does not give. It comes from something in between (a gateway, a login page), so
    /// nobody knows whether the API server saw the request.
    Between(Status),
}

/// Subject of a request, which decides what a 404 can mean.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    /// One object, by name.
    Object(&'a ObjectRef),
    /// All objects of a resource.
    All(&'a Resource),
    /// Neither.
    Other,
}

/// A `meta/v1 Status`, or what a proxy in between sent in its place.
#[derive(Debug, Clone)]
pub struct Status {
    /// HTTP status.
    pub code: u16,
    /// Message for people.
    pub message: String,
    /// True when the body is a `Status`, which only servers of the API write.
    spoken: bool,
    reason: String,
    /// The object that the answer is about.
    about: StatusObject,
    /// Causes in the details, such as the disruption budget that blocks an eviction.
    causes: Vec<Cause>,
    retry_after: Option<Duration>,
}

/// The object that a Status names.
#[derive(Debug, Clone, Default)]
struct StatusObject {
    name: String,
    group: String,
    kind: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    kind: String,
    reason: String,
    message: String,
    details: Option<Details>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Details {
    name: String,
    group: String,
    kind: String,
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
            spoken: body.kind == "Status",
            reason: body.reason,
            about: StatusObject { name: details.name, group: details.group, kind: details.kind },
            causes: details.causes.unwrap_or_default(),
            retry_after: (seconds > 0).then(|| Duration::from_secs(seconds)),
        }
    }

    /// Returns the same answer with more words behind its own.
    pub fn and(mut self, more: &str) -> Self {
        self.message.push_str(more);
        self
    }

    /// Returns whether the answer can be the API server's own: a `Status`, or one of the few answers that it gives in
    /// plain text. (Any 5xx counts too: those are treated alike, whoever sends them.)
    fn may_be_of_the_api_server(&self) -> bool {
        self.spoken || self.code >= 500 || self.too_many() || self.no_such_resource()
    }

    /// Returns whether this is the API server's own 429, from the filters before its handlers, which send no `Status`.
    fn too_many(&self) -> bool {
        self.code == 429 && self.message == "Too many requests, please try again later."
    }

    /// Returns whether the API server may not serve the resource. For a known API group the `Status` has no name, for
    /// an unknown group the answer is plain text. (Other servers written in Go answer the same.)
    pub fn no_such_resource(&self) -> bool {
        self.code == 404 && (self.message == "404 page not found" || self.spoken && self.about.name.is_empty())
    }

    /// Returns whether the API server says that the object does not exist. Only a `Status` with that reason about this
    /// very object counts; a gateway's 404, or one about something else, proves nothing.
    pub fn says_gone(&self, object: &ObjectRef) -> bool {
        let (resource, about) = (&object.resource, &self.about);
        let fits = about.kind == resource.plural() || about.kind == resource.kind();
        let group = about.group.is_empty() || about.group == resource.group();
        self.code == 404
            && self.spoken
            && self.reason == "NotFound"
            && about.name == object.name.as_str()
            && fits
            && group
    }

    /// Returns whether this proves that a write was not done, because the API server (or what implements its API in
    /// front of it) refused the write in its own words. Any other answer below 500 (a gateway's HTML, a 404 in plain
    /// text, a redirect to a login page) may come from something that passed the write on: nobody can know.
    pub fn refuses_a_write(&self) -> bool {
        self.code < 500 && (self.spoken || self.too_many())
    }

    /// Returns the message about a disruption budget, if one blocks the eviction (the server is not overloaded). The
    /// budget's name is only in the cause.
    pub fn budget(&self) -> Option<String> {
        let cause = self.causes.iter().find(|cause| self.code == 429 && cause.reason == "DisruptionBudget")?;
        Some(format!("{} {}", self.message, cause.message))
    }

    /// Returns whether the eviction API refuses to choose among several disruption budgets: final, though a 500.
    pub fn several_budgets(&self) -> bool {
        self.code == 500 && self.message.contains("more than one PodDisruptionBudget")
    }

    /// Returns whether the server was too busy for the request, or may have been: a read may be retried.
    pub fn transient(&self) -> bool {
        let busy = matches!(self.code, 429 | 500 | 502 | 503 | 504);
        busy && self.budget().is_none() && !self.several_budgets()
    }

    /// Returns whether this is the 422 without details of a failed JSON Patch `test` (or of a patch that does not fit).
    pub fn failed_test(&self) -> bool {
        self.code == 422 && self.causes.is_empty() && self.message.contains("the server rejected our request")
    }
}

impl Failure {
    /// Classifies an answer without success, as far as possible without knowing what the request was about.
    pub fn answered(head: &Parts, body: &[u8]) -> Self {
        let status = Status::read(head, body);
        if status.may_be_of_the_api_server() { Self::Status(status) } else { Self::Between(status) }
    }

    /// Classifies the failure further by what was asked: a 404 that does not fit comes from something in between.
    pub fn about(self, asked: Scope<'_>) -> Self {
        match (self, asked) {
            (Self::Status(status), Scope::Object(object)) if status.code == 404 && !status.says_gone(object) => {
                Self::Between(status)
            }
            // Kubernetes' own resources are always served.
            (Self::Status(status), Scope::All(resource)) if status.code == 404 && resource.always_served() => {
                Self::Between(status)
            }
            (failure, _) => failure,
        }
    }

    /// Classifies the failure of a write.
    pub fn of_a_write(self) -> Self {
        match self {
            Self::Status(status) if status.code < 500 && !status.refuses_a_write() => Self::Between(status),
            failure => failure,
        }
    }

    /// Returns whether this proves that a write was not done: see [`Status::refuses_a_write`].
    pub fn refuses_a_write(&self) -> bool {
        matches!(self, Self::Status(status) if status.refuses_a_write())
    }

    /// Returns the time that the server asks to wait before a retry.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status(status) | Self::Between(status) => status.retry_after,
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
            Self::Between(status) => write!(
                f,
                "something between here and the API server answered {} in its place: {:?}",
                status.code, status.message
            ),
            Self::Network(error) => error.fmt(f),
        }
    }
}

/// Returns the first words of a body that is no Status.
fn excerpt(body: &[u8]) -> String {
    const LENGTH: usize = 120;
    String::from_utf8_lossy(body).split_whitespace().collect::<Vec<_>>().join(" ").chars().take(LENGTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fake::{not_found_status, object};
    use crate::k8s::Kind;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn answered(code: u16, body: &str) -> Failure {
        let (head, ()) = http::Response::builder().status(code).body(()).unwrap().into_parts();
        Failure::answered(&head, body.as_bytes())
    }

    fn status(code: u16, body: &str) -> Status {
        match answered(code, body) {
            Failure::Status(status) | Failure::Between(status) => status,
            Failure::Network(error) => panic!("{error}"),
        }
    }

    fn without(field: &str, mut body: Value) -> String {
        body.as_object_mut().unwrap().remove(field);
        body.to_string()
    }

    #[rstest]
    #[case::what_the_api_server_says(404, not_found_status("deployments", "apps", "web").to_string(), true)]
    #[case::by_kind(404, not_found_status("Deployment", "apps", "web").to_string(), true)]
    #[case::without_a_group(404, not_found_status("deployments", "", "web").to_string(), true)]
    #[case::another_object(404, not_found_status("deployments", "apps", "web-2").to_string(), false)]
    #[case::another_kind(404, not_found_status("clusters", "management.cattle.io", "web").to_string(), false)]
    #[case::another_group(404, not_found_status("deployments", "extensions", "web").to_string(), false)]
    #[case::its_namespace(404, not_found_status("namespaces", "", "shop").to_string(), false)]
    #[case::no_status(404, without("kind", not_found_status("deployments", "apps", "web")), false)]
    #[case::no_reason(404, without("reason", not_found_status("deployments", "apps", "web")), false)]
    #[case::no_details(404, without("details", not_found_status("deployments", "apps", "web")), false)]
    #[case::another_code(410, not_found_status("deployments", "apps", "web").to_string(), false)]
    #[case::html(404, "<html>404</html>".to_owned(), false)]
    #[case::plain_text(404, "404 page not found\n".to_owned(), false)]
    fn gone_is_only_what_the_api_server_says(#[case] code: u16, #[case] body: String, #[case] gone: bool) {
        let object = object(Kind::Deployment);
        assert_eq!(status(code, &body).says_gone(&object), gone);
        let between = matches!(answered(code, &body).about(Scope::Object(&object)), Failure::Between(_));
        assert_eq!(between, code == 404 && !gone);
    }

    #[rstest]
    #[case::refused(403, json!({ "kind": "Status", "code": 403 }).to_string(), true)]
    #[case::failed_test(422, json!({ "kind": "Status", "code": 422 }).to_string(), true)]
    #[case::gone(404, not_found_status("deployments", "apps", "web").to_string(), true)]
    #[case::of_a_namespace(404, not_found_status("namespaces", "", "shop").to_string(), true)]
    #[case::overload(429, "Too many requests, please try again later.\n".to_owned(), true)]
    #[case::a_gateways_limit(429, "<html>slow down</html>".to_owned(), false)]
    #[case::a_gateways_no(403, "<html>Forbidden</html>".to_owned(), false)]
    #[case::a_gateways_404(404, "404 page not found\n".to_owned(), false)]
    #[case::too_large_for_a_gateway(413, "<html>413</html>".to_owned(), false)]
    #[case::to_a_login_page(302, String::new(), false)]
    #[case::json_of_others(400, json!({ "error": "no" }).to_string(), false)]
    fn a_write_is_refused_only_in_the_apis_own_words(#[case] code: u16, #[case] body: String, #[case] refused: bool) {
        assert_eq!(status(code, &body).refuses_a_write(), refused);
        assert_eq!(matches!(answered(code, &body).of_a_write(), Failure::Between(_)), !refused);
    }

    #[rstest]
    #[case::built_in("apps/v1", "404 page not found", true)]
    #[case::extension("example.com/v1", "404 page not found", false)]
    #[case::extension_behind_a_gateway("example.com/v1", "<html>", true)]
    fn a_list_that_is_not_found(#[case] api_version: &str, #[case] body: &str, #[case] between: bool) {
        let resource = Resource::discovered(api_version, "Toy", "toys", true).unwrap();
        let failure = answered(404, body).about(Scope::All(&resource));
        assert_eq!(matches!(failure, Failure::Between(_)), between);
        assert_eq!(failure.to_string().starts_with("something between"), between, "{failure}");
    }

    #[test]
    fn a_server_error_is_one_whoever_says_it() {
        assert!(matches!(answered(502, "<html>").of_a_write(), Failure::Status(_)));
        assert!(!status(502, "<html>").refuses_a_write());
    }
}
