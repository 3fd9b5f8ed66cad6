//! The storage service: one POST for each event.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use contract::event::{CLOUD_EVENT_TYPE, PATH};
use contract::text::shorten;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};

use crate::requests::chain;

/// Limit for one delivery.
const LIMIT: Duration = Duration::from_secs(10);
/// The most bytes of an answer that are read.
const ANSWER: usize = 64 << 10;
/// The most bytes of the store's own words that are kept.
const SENTENCE: usize = 300;

type Bytes = axum::body::Bytes;

/// What the store made of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It has it.
    Kept,
    /// It will not take it, whatever is tried: its own words.
    Refused(String),
    /// It did not take it now. Why, and how long it asks to be left alone.
    Later(String, Option<Duration>),
}

impl Answer {
    /// Returns its name in metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Answer::Kept => "kept",
            Answer::Refused(_) => "refused",
            Answer::Later(..) => "later",
        }
    }
}

/// A storage service.
#[derive(Debug)]
pub struct Store {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    address: Uri,
    token: Option<PathBuf>,
    /// Whether it has acknowledged an event: until then its 400 may be that of something else at this address.
    known: AtomicBool,
}

impl Store {
    /// Reads the address, the certificate authority and the token, so that what is wrong with them is said at the start.
    pub fn new(address: &str, authority: Option<&Path>, token: Option<&Path>) -> Result<Self, String> {
        let wrong =
            |why: &str| format!("--audit: expected none, or an address such as https://storage.example:8085: {why}");
        let base: Uri = address.trim_end_matches('/').parse().map_err(|error| wrong(&format!("{error}")))?;
        if !matches!(base.scheme_str(), Some("http" | "https")) || base.host().is_none() {
            return Err(wrong("it has no http:// or https:// and no host"));
        }
        if base.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(wrong("it holds a user name; a token goes into --audit-token-file"));
        }
        if base.query().is_some() {
            return Err(wrong("it has a query"));
        }
        // The address of the service, or the whole one.
        let whole = if base.path().ends_with(PATH) {
            base.to_string()
        } else {
            format!("{}{PATH}", base.to_string().trim_end_matches('/'))
        };
        let address = whole.parse().map_err(|error| wrong(&format!("{error}")))?;
        let store = Self {
            client: Client::builder(TokioExecutor::new()).build(connector(authority)?),
            address,
            token: token.map(Path::to_path_buf),
            known: AtomicBool::new(false),
        };
        store.authorization().map_err(|why| format!("--audit-token-file: {why}"))?;
        if store.token.is_some() && base.scheme_str() == Some("http") {
            tracing::warn!("--audit: the token is sent without encryption: use https where the network is not trusted");
        }
        Ok(store)
    }

    /// The address that events are posted to.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The token, as it is in its file now: mounted Secrets are renewed in place.
    fn authorization(&self) -> Result<Option<HeaderValue>, String> {
        let Some(path) = &self.token else { return Ok(None) };
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let token = text.trim();
        if token.is_empty() {
            return Err(format!("{}: it is empty", path.display()));
        }
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| format!("{}: expected one line without control characters", path.display()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// Posts an event.
    pub async fn post(&self, envelope: &super::event::Envelope) -> Answer {
        match tokio::time::timeout(LIMIT, self.send(envelope)).await {
            Ok(answer) => answer,
            Err(_) => Answer::Later(format!("no answer within {} s", LIMIT.as_secs()), None),
        }
    }

    async fn send(&self, envelope: &super::event::Envelope) -> Answer {
        let request = match self.request(envelope) {
            Ok(request) => request,
            Err(why) => return Answer::Later(why, None),
        };
        let response = match self.client.request(request).await {
            Ok(response) => response,
            Err(error) => return Answer::Later(chain(&error), None),
        };
        let (head, body) = response.into_parts();
        let kept = head.status.is_success() || head.status == StatusCode::CONFLICT;
        let html = head.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
        if kept && !html {
            self.known.store(true, Ordering::Relaxed);
            return Answer::Kept;
        }
        let body = Limited::new(body, ANSWER).collect().await.map(http_body_util::Collected::to_bytes);
        let said = body.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()).ok();
        // A page for people is no store's answer: an ingress, or a sign-in, has it for whatever is posted.
        let page = html && said.as_deref().is_none_or(is_page);
        let seconds = head.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let asked = seconds.map(Duration::from_secs);
        // What limits the length on the way to a store stands before it for good.
        let too_long = head.status == StatusCode::PAYLOAD_TOO_LARGE && self.known.load(Ordering::Relaxed);
        if page && !too_long {
            let why = format!("what answered {} with an HTML page is no storage service", head.status);
            return Answer::Later(why, asked);
        }
        if kept {
            self.known.store(true, Ordering::Relaxed);
            return Answer::Kept;
        }
        let said = super::hide::text(&shorten(&said.unwrap_or_default(), SENTENCE));
        let sentence = format!("the store answered {}{}{said}", head.status, if said.is_empty() { "" } else { ": " });
        match head.status.as_u16() {
            400 if !self.known.load(Ordering::Relaxed) => Answer::Later(sentence, None),
            400 | 413 | 422 => Answer::Refused(sentence),
            _ => Answer::Later(sentence, asked),
        }
    }

    /// `CloudEvents` in binary mode: the body stays the event itself.
    fn request(&self, envelope: &super::event::Envelope) -> Result<Request<Full<Bytes>>, String> {
        let mut request = Request::post(self.address.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("execution-controller/", env!("CARGO_PKG_VERSION")))
            .header("idempotency-key", &envelope.id)
            .header("ce-specversion", "1.0")
            .header("ce-id", &envelope.id)
            .header("ce-source", &envelope.source)
            .header("ce-type", CLOUD_EVENT_TYPE)
            .header("ce-time", &envelope.time)
            .header("ce-subject", &envelope.subject);
        if let Some(authorization) = self.authorization()? {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let body = Full::new(Bytes::from(envelope.body.clone()));
        request.body(body).map_err(|error| format!("failed to build the request: {error}"))
    }
}

/// Returns whether what is called HTML is: some frameworks call every answer that.
fn is_page(said: &str) -> bool {
    said.trim_start_matches(['\u{feff}', ' ', '\r', '\n', '\t']).starts_with('<')
}

/// Connects with the authorities of this file, or with those of the machine.
fn connector(authority: Option<&Path>) -> Result<HttpsConnector<HttpConnector>, String> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_connect_timeout(Some(Duration::from_secs(5)));
    let provider = rustls::crypto::ring::default_provider();
    let builder = match authority {
        Some(path) => {
            let wrong = |why: &str| format!("--audit-ca: {}: {why}", path.display());
            let mut roots = RootCertStore::empty();
            // The parser quotes the line: another file than was meant may hold a key.
            let not_pem = |error: pem::Error| match error {
                pem::Error::Io(error) => wrong(&error.to_string()),
                _ => wrong("not valid PEM (whose first and last lines stand by themselves)"),
            };
            for certificate in CertificateDer::pem_file_iter(path).map_err(not_pem)? {
                let certificate = certificate.map_err(not_pem)?;
                roots.add(certificate).map_err(|error| wrong(&error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(wrong("expected certificates in PEM, holds none"));
            }
            let config = rustls::ClientConfig::builder_with_provider(provider.into())
                .with_safe_default_protocol_versions()
                .map_err(|error| wrong(&error.to_string()))?
                .with_root_certificates(roots)
                .with_no_client_auth();
            HttpsConnectorBuilder::new().with_tls_config(config)
        }
        None => HttpsConnectorBuilder::new().with_provider_and_native_roots(provider).map_err(|error| {
            format!("--audit-ca: needed, for this machine has no certificate authorities of its own ({error})")
        })?,
    };
    Ok(builder.https_or_http().enable_http1().wrap_connector(http))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("http://storage:8085", "http://storage:8085/api/v1/audit/kubernetes-execution")]
    #[case("http://storage:8085/", "http://storage:8085/api/v1/audit/kubernetes-execution")]
    #[case("http://gateway/audit", "http://gateway/audit/api/v1/audit/kubernetes-execution")]
    #[case("http://s/api/v1/audit/kubernetes-execution", "http://s/api/v1/audit/kubernetes-execution")]
    fn the_path_is_the_services(#[case] given: &str, #[case] posts_to: &str) {
        assert_eq!(Store::new(given, None, None).unwrap().address(), posts_to);
    }

    #[rstest]
    #[case("storage:8085", "no http://")]
    #[case("ftp://storage", "no http://")]
    #[case("http://user:secret@storage", "--audit-token-file")]
    #[case("http://storage?x=1", "query")]
    fn what_is_no_address_is_refused(#[case] given: &str, #[case] says: &str) {
        let why = Store::new(given, None, None).unwrap_err();
        assert!(why.starts_with("--audit: ") && why.contains(says) && !why.contains("secret"), "{why}");
    }

    #[rstest]
    #[case("<!DOCTYPE html><html>sign in</html>", true)]
    #[case("\u{feff}\n <html>", true)]
    #[case("", false)]
    #[case("{\"id\": \"u/1\"}", false)]
    fn what_is_called_html_is_looked_at(#[case] said: &str, #[case] page: bool) {
        assert_eq!(is_page(said), page);
    }

    #[test]
    fn a_file_that_is_none_is_named() {
        let why = Store::new("http://s", Some(Path::new("/nowhere/ca.pem")), None).unwrap_err();
        assert!(why.starts_with("--audit-ca: /nowhere/ca.pem: "), "{why}");
        let why = Store::new("http://s", None, Some(Path::new("/nowhere/token"))).unwrap_err();
        assert!(why.starts_with("--audit-token-file: /nowhere/token: "), "{why}");
    }
}
