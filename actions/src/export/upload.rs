//! Sends a bundle to an address outside the cluster, by one HTTP PUT to a presigned address.
//!
//! The address is a parameter, and parameters come from whoever asks for the action. So the host must be one that the
//! image or the Job allows, and redirects are not followed. An address of this node's own services (loopback,
//! link-local: cloud metadata) is refused in every spelling: the address that is checked is the one that is connected
//! to.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioExecutor;
use tokio::time::Instant;

use crate::export::destination::{UploadAddress, not_public};

/// The most tries of a PUT, which sends the same bytes to the same name, so that a second one changes nothing.
const ATTEMPTS: u32 = 4;

/// Why something was not sent. Each variant is one of the same name among the errors of a run.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// This program or this machine is not set up for it.
    #[error("{0}")]
    InvalidRequest(String),
    /// It is not sent there, or the other side does not take it.
    #[error("{0}")]
    Refused(String),
    /// The other side did not answer in time.
    #[error("{0}")]
    DeadlineExceeded(String),
    /// The other side was not reached, or is not well.
    #[error("{0}")]
    Unavailable(String),
    /// A defect of this program.
    #[error("{0}")]
    Internal(String),
}

/// Sends the bytes, and tries again while the other side is not there or not well, until the deadline.
pub async fn put(
    address: &UploadAddress,
    bytes: Vec<u8>,
    content_type: &str,
    deadline: Instant,
) -> Result<(), UploadError> {
    let shown = address.shown();
    if let Some(host) = address.uri().host().map(|host| host.trim_matches(['[', ']']))
        && let Ok(literal) = host.parse::<IpAddr>()
        && let Some(why) = not_public(literal)
    {
        // The connector resolves no literal addresses, so the resolver below does not see this one.
        return Err(UploadError::Refused(format!("logs are not sent to {shown}: {literal} is {why}")));
    }
    let client = Client::builder(TokioExecutor::new()).build::<_, Full<Bytes>>(connector()?);
    let bytes = Bytes::from(bytes);
    let mut attempt = 0;
    loop {
        let request = Request::put(address.uri().clone())
            .header(header::CONTENT_TYPE, content_type)
            .header(header::CONTENT_LENGTH, bytes.len())
            .header(header::USER_AGENT, concat!("action-runner/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(bytes.clone()))
            .map_err(|error| UploadError::Internal(format!("failed to build the upload: {error}")))?;
        // Half of what is left for each but the last: a server that never answers gets more than one try.
        let left = deadline.saturating_duration_since(Instant::now());
        let limit = if attempt + 1 < ATTEMPTS { left / 2 } else { left };
        let why = match tokio::time::timeout(limit, client.request(request)).await {
            Err(_) if attempt + 1 < ATTEMPTS => format!("no answer within {:.1} s", limit.as_secs_f32()),
            Err(_) => {
                return Err(UploadError::DeadlineExceeded(format!(
                    "the upload to {shown} did not come to an end in time"
                )));
            }
            Ok(Ok(response)) => match read_reply(response.status()) {
                Reply::Stored => return Ok(()),
                Reply::Refused(why) => {
                    return Err(UploadError::Refused(format!("{shown} answered {}: {why}", response.status())));
                }
                Reply::Later => format!("it answered {}", response.status()),
            },
            Ok(Err(error)) => match never_sent(&error) {
                Some(why) => return Err(UploadError::Refused(format!("logs are not sent to {shown}: {why}"))),
                None => root_cause(&error),
            },
        };
        attempt += 1;
        let wait = Duration::from_millis(500) * (1 << attempt);
        if attempt >= ATTEMPTS || Instant::now() + wait >= deadline {
            return Err(UploadError::Unavailable(format!("failed to send the logs to {shown}: {why}")));
        }
        tracing::warn!(why, "upload failed, trying again");
        tokio::time::sleep(wait).await;
    }
}

fn connector() -> Result<HttpsConnector<HttpConnector<Resolver>>, UploadError> {
    let mut http = HttpConnector::new_with_resolver(Resolver);
    http.enforce_http(false);
    http.set_connect_timeout(Some(Duration::from_secs(5)));
    let builder = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
        .map_err(|error| {
            UploadError::InvalidRequest(format!(
                "no certificate authorities to check the upload's host with: set SSL_CERT_FILE ({error})"
            ))
        })?;
    Ok(builder.https_or_http().enable_http1().wrap_connector(http))
}

enum Reply {
    Stored,
    Refused(&'static str),
    Later,
}

fn read_reply(status: StatusCode) -> Reply {
    match status.as_u16() {
        200..=299 => Reply::Stored,
        300..=399 => Reply::Refused("redirects are not followed; give the address it leads to"),
        401 | 403 => Reply::Refused("the presigned address is not valid (any more); make a new one"),
        408 | 429 | 500..=599 => Reply::Later,
        _ => Reply::Refused("it does not take this upload; look at how the address was made"),
    }
}

/// Resolves names to addresses that may be sent to; the address that is checked is the one that is connected to.
#[derive(Debug, Clone, Copy)]
struct Resolver;

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NotThere(String);

type Addresses = std::vec::IntoIter<SocketAddr>;

impl tower_service::Service<Name> for Resolver {
    type Response = Addresses;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Addresses>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            // One bad address is enough: a name that leads to good and bad ones does so on purpose.
            if let Some((address, why)) = found.iter().find_map(|one| Some((one.ip(), not_public(one.ip())?))) {
                return Err(io::Error::other(NotThere(format!("{name} leads to {address}, which is {why}"))));
            }
            Ok(found.into_iter())
        })
    }
}

/// Returns the reason why a retry cannot help, if so.
fn never_sent(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(one) = cause {
        if let Some(not_there) =
            one.downcast_ref::<io::Error>().and_then(|error| error.get_ref()?.downcast_ref::<NotThere>())
        {
            return Some(not_there.to_string());
        }
        let text = one.to_string();
        if text.contains("invalid peer certificate") {
            return Some(format!("{text} (a private certificate authority: mount it and set SSL_CERT_FILE)"));
        }
        cause = one.source();
    }
    None
}

fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("ftp://h/x")]
    #[case("/etc/passwd")]
    #[case("https://user:password@h/x")]
    fn other_addresses_are_no_addresses(#[case] text: &str) {
        assert!(text.parse::<UploadAddress>().is_err());
    }

    #[rstest]
    #[case("169.254.169.254", true)]
    #[case("::ffff:169.254.169.254", true)]
    #[case("fe80::1", true)]
    #[case("fd00:ec2::254", true)]
    #[case("64:ff9b::a9fe:a9fe", true)]
    #[case("64:ff9b:1::a9fe:a9fe", true)]
    #[case("2002:a9fe:a9fe::", true)]
    #[case("::169.254.169.254", true)]
    #[case("fd20:ce::254", true)]
    #[case("100.100.100.200", true)]
    #[case("::ffff:168.63.129.16", true)]
    #[case("0.1.2.3", true)]
    #[case("127.0.0.1", true)]
    #[case("::1", true)]
    #[case("0.0.0.0", true)]
    #[case("10.0.0.7", false)]
    #[case("203.0.113.9", false)]
    #[case("2001:db8::1", false)]
    fn nothing_is_sent_to_the_node_itself(#[case] address: &str, #[case] refused: bool) {
        assert_eq!(not_public(address.parse().unwrap()).is_some(), refused);
    }

    #[tokio::test]
    async fn a_name_that_leads_there_is_refused_too() {
        let address: UploadAddress = "http://localhost:9/x?token=secret".parse().unwrap();
        let error = put(&address, Vec::new(), "x", Instant::now() + Duration::from_secs(5)).await.unwrap_err();
        assert!(
            matches!(error, UploadError::Refused(_)) && error.to_string().contains("localhost leads to"),
            "{error}"
        );
        assert!(!error.to_string().contains("secret"));
    }

    #[rstest]
    #[case::query("https://h:8443/x?sig=secret", "https://h:8443/[hidden]")]
    #[case::path("https://h/services/secret", "https://h/[hidden]")]
    #[case::neither("https://h", "https://h/")]
    fn the_credential_is_never_shown(#[case] address: &str, #[case] expected: &str) {
        let address: UploadAddress = address.parse().unwrap();
        assert_eq!(address.shown(), expected);
        let shown = format!("{address:?} {}", serde_json::to_string(&address).unwrap());
        assert!(!shown.contains("secret") && !shown.contains("hash"), "{shown}");
    }
}
