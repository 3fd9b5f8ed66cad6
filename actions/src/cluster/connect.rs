//! Connects to the API server, by ServiceAccount in a pod or by kubeconfig elsewhere, and explains why that fails.

use std::error::Error as StdError;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::HeaderValue;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::time::Instant;

use super::clock::ServerClock;
use super::{Cluster, client};
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

/// `HTTPS_PROXY` and `NO_PROXY`.
#[derive(Debug, Clone, Default)]
pub struct Proxy {
    /// The proxy's address.
    pub https: Option<String>,
    /// Hosts that are reached without the proxy.
    pub none_for: Option<String>,
}

impl Proxy {
    /// Returns whether `NO_PROXY` names the host: itself, a domain that it is in, or `*`. Decided here, because kube
    /// matches the list against the proxy's own host.
    fn bypassed_for(&self, host: &str) -> bool {
        let entries = self.none_for.iter().flat_map(|list| list.split(','));
        let mut entries = entries.map(|entry| entry.trim().trim_start_matches('.')).filter(|entry| !entry.is_empty());
        entries.any(|entry| entry == "*" || host == entry || host.ends_with(&format!(".{entry}")))
    }
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
        Connection::Kubeconfig { files, context, proxy } => from_files(files, context.as_ref(), proxy).await?,
    };
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

async fn from_files(files: &[PathBuf], context: Option<&String>, proxy: &Proxy) -> Result<Config, Error> {
    let mut merged: Option<Kubeconfig> = None;
    for file in files {
        let read = Kubeconfig::read_from(file)
            .map_err(|error| invalid(format!("KUBECONFIG: {}{error}", permissions_hint(file))))?;
        merged = Some(match merged {
            None => read,
            Some(first) => {
                first.merge(read).map_err(|error| invalid(format!("KUBECONFIG: {}: {error}", file.display())))?
            }
        });
    }
    let kubeconfig = merged.ok_or_else(|| invalid("KUBECONFIG: names no file".to_owned()))?;
    check_plugin(&kubeconfig, context)?;
    let options = KubeConfigOptions { context: context.cloned(), ..KubeConfigOptions::default() };
    let own_proxy = kubeconfig.clone();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| {
        let hint = if error.to_string().contains("failed to read file") {
            "; by hand in a container, use a self-contained file: kubectl config view --raw --minify --flatten"
        } else {
            ""
        };
        invalid(format!("KUBECONFIG, KUBE_CONTEXT: {error}{hint}"))
    })?;
    config.proxy_url = proxy_for(&config, &own_proxy, context, proxy)?;
    Ok(config)
}

/// Returns the kubeconfig's own proxy, or the environment's unless `NO_PROXY` names the cluster's host.
fn proxy_for(
    config: &Config,
    kubeconfig: &Kubeconfig,
    context: Option<&String>,
    proxy: &Proxy,
) -> Result<Option<http::Uri>, Error> {
    let name = context.or(kubeconfig.current_context.as_ref());
    let context = kubeconfig.contexts.iter().find(|one| Some(&one.name) == name).and_then(|one| one.context.as_ref());
    let cluster = kubeconfig.clusters.iter().find(|one| context.is_some_and(|context| context.cluster == one.name));
    let own = cluster.and_then(|one| one.cluster.as_ref()?.proxy_url.clone()).filter(|url| !url.is_empty());
    let host = config.cluster_url.host().unwrap_or_default();
    let url = own.or_else(|| proxy.https.clone().filter(|url| !url.is_empty() && !proxy.bypassed_for(host)));
    url.map(|url| {
        url.parse()
            .map_err(|error| invalid(format!("HTTPS_PROXY (or the kubeconfig's proxy-url): not an address ({error})")))
    })
    .transpose()
}

/// Fails if the login plugin is missing: images without a shell have none, and kube's own error would not even name it.
fn check_plugin(kubeconfig: &Kubeconfig, context: Option<&String>) -> Result<(), Error> {
    let name = context.or(kubeconfig.current_context.as_ref());
    let context = kubeconfig.contexts.iter().find(|one| Some(&one.name) == name).and_then(|one| one.context.as_ref());
    let user =
        context.and_then(|context| kubeconfig.auth_infos.iter().find(|one| Some(&one.name) == context.user.as_ref()));
    let command = user.and_then(|user| user.auth_info.as_ref()?.exec.as_ref()?.command.clone());
    match command {
        Some(command) if !on_path(&command) => Err(invalid(format!(
            "KUBECONFIG: its user logs in with the plugin {command:?}, which is not here; use a kubeconfig with a token instead \
             (kubectl create token SERVICEACCOUNT), which also runs with just the permissions that a Job has"
        ))),
        _ => Ok(()),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "PATH is no input of the action, but where the system looks for a login plugin"
)]
fn on_path(command: &str) -> bool {
    if command.contains('/') {
        return Path::new(command).exists();
    }
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(command).exists()))
}

fn permissions_hint(file: &Path) -> String {
    match std::fs::File::open(file) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => format!(
            "{} is not readable for this user (kubeconfigs often have mode 0600): run the container as its owner, --user \"$(id -u):$(id -g)\" (rootless podman: with --userns=keep-id too); ",
            file.display()
        ),
        _ => String::new(),
    }
}

fn client_error(error: kube::Error) -> Error {
    let text = Error::unavailable("", error).full_message();
    if text.contains("auth exec") {
        return invalid("KUBECONFIG: its login plugin failed; run it by hand to see why (its output may hold a token, and is not shown)".to_owned());
    }
    if text.contains("configured proxy") {
        // The address is not shown: it may hold a password.
        return invalid("HTTPS_PROXY (or the kubeconfig's proxy-url): only proxies whose address begins with http:// or https:// can be used".to_owned());
    }
    let hint = if text.contains("No CA certificates were loaded") {
        "; the kubeconfig names no certificate authority and this system has none: set certificate-authority-data, or SSL_CERT_FILE"
    } else if text.contains("UnsupportedCertVersion") {
        "; the client certificate is X.509 v1 (MicroK8s issues such): use a token"
    } else {
        ""
    };
    invalid(format!("KUBECONFIG: failed to set up the connection{text}{hint}"))
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
    } else if text.contains("auth exec") {
        " needs a login plugin that failed; run it by hand to see why"
    } else {
        ""
    }
}

/// Returns whether a retry cannot help: certificates and login plugins that fail now will fail again.
pub(super) fn never_connects(error: &(dyn StdError + 'static)) -> bool {
    let text = chain(error);
    text.contains("invalid peer certificate") || text.contains("auth exec")
}

/// Hides the error of a login plugin, because the error holds the plugin's output, which may be a token.
pub(super) fn without_secrets(error: Box<dyn StdError + Send + Sync>) -> Box<dyn StdError + Send + Sync> {
    if chain(&*error).contains("auth exec") {
        "auth exec: the login plugin failed (its output is not shown)".into()
    } else {
        error
    }
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
    use rstest::rstest;

    #[rstest]
    #[case("api.example.com", "example.com", true)]
    #[case("api.example.com", ".example.com", true)]
    #[case("badexample.com", "example.com", false)]
    #[case("10.0.0.1", "localhost,,10.0.0.1", true)]
    #[case("10.0.0.1", "*", true)]
    #[case("10.0.0.1", "", false)]
    fn no_proxy_is_about_the_cluster(#[case] host: &str, #[case] list: &str, #[case] bypassed: bool) {
        let proxy = Proxy { https: None, none_for: Some(list.to_owned()) };
        assert_eq!(proxy.bypassed_for(host), bypassed);
    }
}
