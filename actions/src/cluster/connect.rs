//! Connects to the API server, by ServiceAccount in a pod or by kubeconfig elsewhere, and explains why that fails.

use std::error::Error as StdError;
use std::path::PathBuf;
use std::sync::Arc;

use http::HeaderValue;
use kube::Config;
use kube::client::{AuthError, RustlsTlsError};
use tokio::time::Instant;

use super::clock::ServerClock;
pub use super::kubeconfig::Proxy;
use super::tries::Admission;
use super::{Cluster, client, credentials, kubeconfig};
use crate::cluster::error::Error;
use crate::cluster::ledger::Ledger;
use crate::k8s::names::Namespace;

/// The way to reach the cluster, from the environment.
#[derive(Debug, Clone)]
pub enum Connection {
    /// The pod's own ServiceAccount.
    InCluster,
    /// Kubeconfig files, merged in this order, and the context to use.
    Kubeconfig {
        /// The files.
        files: Vec<PathBuf>,
        /// The context; the files' current context if `None`.
        context: Option<String>,
        /// The proxy variables.
        proxy: Proxy,
    },
}

impl Cluster {
    /// Reads the credentials; sends nothing to the API server yet.
    pub async fn connect(connection: &Connection, ledger: Ledger, run: &str, deadline: Instant) -> Result<Self, Error> {
        let Reached { client, server, namespace } = reach(connection, &ledger.requests().user_agent, deadline).await?;
        Ok(Self::new(client, server, namespace, ledger, run, deadline))
    }

    /// Wraps this client. The server's address is only for messages.
    pub fn new(
        client: kube::Client,
        server: String,
        namespace: Option<Namespace>,
        ledger: Ledger,
        run: &str,
        deadline: Instant,
    ) -> Self {
        Self {
            client,
            server,
            namespace,
            ledger,
            run: run.to_owned(),
            deadline,
            end: deadline,
            admission: Admission::default(),
            settled: Arc::default(),
            clock: ServerClock::default(),
        }
    }
}

/// A client, and what it was made for.
pub struct Reached {
    /// The client; it retries nothing by itself.
    pub client: kube::Client,
    /// The server's address, for messages.
    pub server: String,
    /// Namespace of the ServiceAccount or of the kubeconfig's context.
    pub namespace: Option<Namespace>,
}

/// Makes a client: the one reader of credentials and kubeconfigs. Sends nothing to the API server yet.
pub async fn reach(connection: &Connection, user_agent: &str, deadline: Instant) -> Result<Reached, Error> {
    let mut config = match connection {
        Connection::InCluster => Config::incluster().map_err(|error| {
            invalid(format!(
                "the pod has no ServiceAccount credentials: set automountServiceAccountToken, or KUBECONFIG ({error})"
            ))
        })?,
        Connection::Kubeconfig { files, context, proxy } => {
            kubeconfig::read(files, context.as_ref(), proxy).await.map_err(invalid)?
        }
    };
    let in_cluster = matches!(connection, Connection::InCluster);
    credentials::check(&config.auth_info, in_cluster).map_err(invalid)?;
    if config.cluster_url.scheme_str() != Some("https") {
        return Err(invalid(format!(
            "the cluster's address {} is not https: the token would be readable on the way",
            config.cluster_url
        )));
    }
    let agent = HeaderValue::from_str(user_agent).map_err(|error| Error::Internal(error.to_string()))?;
    config.headers.push((http::header::USER_AGENT, agent));
    let server = config.cluster_url.to_string();
    let namespace = config.default_namespace.parse().ok();
    // A kubeconfig's login plugin runs in here and may wait for a login, so not on the thread that keeps time.
    let login = tokio::task::spawn_blocking(move || client::build(config));
    match tokio::time::timeout_at(deadline, login).await {
        Ok(Ok(client)) => Ok(Reached { client: client.map_err(client_error)?, server, namespace }),
        Ok(Err(error)) => Err(Error::Internal(error.to_string())),
        Err(_) => Err(Error::DeadlineExceeded("the kubeconfig's login plugin did not come to an end".to_owned())),
    }
}

fn invalid(message: String) -> Error {
    Error::InvalidRequest(message)
}

fn client_error(error: kube::Error) -> Error {
    let why = match error {
        kube::Error::Auth(error) => credentials::why(&error),
        kube::Error::InferKubeconfig(error) => kubeconfig::why(&error),
        // The address is not shown: it may hold a password.
        kube::Error::ProxyProtocolUnsupported { .. } | kube::Error::ProxyProtocolDisabled { .. } => {
            return invalid("HTTPS_PROXY (or the kubeconfig's proxy-url): only proxies whose address begins with http:// or https:// can be used".to_owned());
        }
        // The line that it quotes may be the key.
        kube::Error::RustlsTls(RustlsTlsError::InvalidIdentityPem(_)) => {
            "client-certificate, client-key: not valid PEM (whose first and last lines stand by themselves)".to_owned()
        }
        error => {
            let text = Error::unavailable("", error).full_message();
            let text = text.trim_start_matches(": ");
            let hint = if text.contains("No CA certificates were loaded") {
                "; the kubeconfig names no certificate authority and this system has none: set certificate-authority-data, or SSL_CERT_FILE"
            } else if text.contains("UnsupportedCertVersion") {
                "; the client certificate is X.509 v1 (MicroK8s issues such): use a token"
            } else {
                ""
            };
            format!("failed to set up the connection: {text}{hint}")
        }
    };
    invalid(format!("KUBECONFIG: {why}"))
}

/// Returns advice for a connection that fails.
pub(super) fn explain(error: &(dyn StdError + 'static)) -> &'static str {
    let text = chain(error);
    if text.contains("UnknownIssuer") || text.contains("invalid peer certificate") {
        " presents a certificate that the kubeconfig's certificate authority did not sign (or, if it names none, the system's or \
         SSL_CERT_FILE's): set certificate-authority-data to the cluster's"
    } else if text.contains("tunnel") || text.contains("proxy") {
        " is to be reached through a proxy (HTTPS_PROXY, or the kubeconfig's proxy-url) that does not let us through; without it: \
         NO_PROXY with the cluster's host"
    } else if text.contains("Connection refused") {
        " refuses the connection (in a container, 127.0.0.1 is the container itself: --network host)"
    } else if text.contains("dns error") || text.contains("failed to lookup address") {
        " has a host name that does not resolve here"
    } else if text.contains(credentials::FAILED) {
        " needs credentials that could not be had"
    } else {
        ""
    }
}

/// Returns whether a retry cannot help: certificates and login plugins that fail now will fail again.
pub(super) fn never_connects(error: &(dyn StdError + 'static)) -> bool {
    let text = chain(error);
    text.contains("invalid peer certificate") || text.contains(credentials::FAILED)
}

/// Replaces the error of credentials that were to be renewed: it may hold a login plugin's output, which may be a token.
pub(super) fn without_secrets(error: Box<dyn StdError + Send + Sync>) -> Box<dyn StdError + Send + Sync> {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(&*error);
    while let Some(one) = cause {
        if let Some(failed) = one.downcast_ref::<AuthError>() {
            return format!("{}: {}", credentials::FAILED, credentials::why(failed)).into();
        }
        cause = one.source();
    }
    error
}

fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A plugin's output, its command and a file's name in the place of a token may be secrets.
    #[test]
    fn credentials_that_cannot_be_renewed_are_not_quoted() {
        let failures = [
            AuthError::AuthExec("hunter22".to_owned()),
            AuthError::ReadTokenFile(std::io::Error::other("no such file"), "hunter22".into()),
        ];
        for failure in failures {
            let error = without_secrets(Box::new(kube::Error::Auth(failure)));
            assert!(error.to_string().starts_with(credentials::FAILED) && never_connects(&*error), "{error}");
            assert!(!error.to_string().contains("hunter22"), "{error}");
            assert!(explain(&*error).contains("credentials that could not be had"));
        }
        let other = without_secrets("connection refused".into());
        assert_eq!((other.to_string().as_str(), never_connects(&*other)), ("connection refused", false));
    }
}
