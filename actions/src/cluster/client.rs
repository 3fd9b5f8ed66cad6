//! The HTTP client: kube's parts (credentials, addresses, TLS), with our own connections.
//!
//! kube's own connections have `TCP_NODELAY` off: the second packet of the first request of every connection then waits
//! for the acknowledgement of the first, which the other side delays by 40 ms. A run is a handful of requests; with the
//! option on they take a fifth of the time. And kube sends every verb up to 16 times, which nothing here does.

use std::error::Error as StdError;
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, Write};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::{Client, Config};
use tower::BoxError;
use tower::util::MapErr;
use tower_service::Service;

/// Long enough for a node under load, short enough that an address that drops packets is tried more than once.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Builds a client for this configuration. May run a kubeconfig's login plugin.
pub(super) fn build(mut config: Config) -> kube::Result<Client> {
    // Without any root certificate, every certificate of the system would be parsed for rustls, although here it trusts
    // everybody.
    if config.accept_invalid_certs && config.root_cert.is_none() {
        config.root_cert = Some(Vec::new());
    }
    let direct = connector();
    let Some(proxy) = config.proxy_url.clone() else { return over(&config, direct) };
    match proxy.scheme_str() {
        Some("http") => over(&config, tunnel(&proxy, direct)),
        Some("https") => over(&config, tunnel(&proxy, config.rustls_https_connector_with_connector(direct)?)),
        _ => Err(kube::Error::ProxyProtocolUnsupported { proxy_url: Box::new(proxy) }),
    }
}

/// Returns a connector whose connections send at once what is written.
fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector
}

/// Connects through an HTTP proxy, with the name and password in its address if there are any.
fn tunnel<C>(proxy: &Uri, connector: C) -> Tunnel<C> {
    let tunnel = Tunnel::new(proxy.clone(), connector);
    // The matcher is used only to decode the credentials in the address.
    let matched = Matcher::builder().all(proxy.to_string()).build().intercept(&Uri::from_static("https://any"));
    match matched.as_ref().and_then(|matched| matched.basic_auth()) {
        Some(credentials) => tunnel.with_auth(credentials.clone()),
        None => tunnel,
    }
}

/// Stacks the layers in kube's order, without its retries.
fn over<C>(config: &Config, connector: C) -> kube::Result<Client>
where
    C: Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: Connection + Read + Write + Send + Unpin + 'static,
    C::Future: Send + 'static,
    C::Error: StdError + Send + Sync + 'static,
{
    let credentials = config.auth_layer()?;
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(connector)?);
    connector.set_connect_timeout(Some(CONNECT_LIMIT));
    let http: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new()).build(connector);
    // The credentials layer needs a boxed error.
    let http = MapErr::new(http, BoxError::from);
    let builder = ClientBuilder::new(http, config.default_namespace.clone()).with_layer(&config.extra_headers_layer()?);
    Ok(match credentials {
        Some(credentials) => builder.with_layer(&credentials).with_layer(&config.base_uri_layer()).build(),
        None => builder.with_layer(&config.base_uri_layer()).build(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use rustix::net::{getpeername, sockopt};
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpListener};
    use std::thread::JoinHandle;

    /// Returns whether `TCP_NODELAY` is on, for each connection of this process to that address. `None` where the
    /// kernel does not let a process look at its own sockets (as in some containers).
    fn nodelay(to: SocketAddr) -> Option<Vec<bool>> {
        let own = pidfd_open(getpid(), PidfdFlags::empty()).ok()?;
        let mut all = Vec::new();
        for entry in std::fs::read_dir("/proc/self/fd").ok()?.flatten() {
            let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let socket = match pidfd_getfd(&own, number, PidfdGetfdFlags::empty()) {
                Ok(socket) => socket,
                // Closed meanwhile.
                Err(rustix::io::Errno::BADF) => continue,
                Err(_) => return None,
            };
            let peer = getpeername(&socket).ok().flatten().and_then(|peer| SocketAddr::try_from(peer).ok());
            if peer == Some(to) {
                all.push(sockopt::tcp_nodelay(&socket).unwrap());
            }
        }
        Some(all)
    }

    /// Accepts one connection, answers this, and returns what was sent first.
    fn listen(answer: &'static str) -> (SocketAddr, JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heard = vec![0; 2048];
            let length = stream.read(&mut heard).unwrap();
            heard.truncate(length);
            stream.write_all(answer.as_bytes()).unwrap();
            // Until the other side closes the connection.
            let _closed = stream.read(&mut [0; 16]);
            heard
        });
        (address, heard)
    }

    fn config(server: SocketAddr) -> Config {
        let mut config = Config::new(format!("https://{server}").parse().unwrap());
        config.accept_invalid_certs = true;
        config
    }

    async fn send(client: Client) {
        let request = Request::get("/api").body(Body::empty()).unwrap();
        // Nobody there speaks TLS: only the connection matters.
        let _no_answer = tokio::time::timeout(Duration::from_millis(500), client.send(request)).await;
    }

    #[tokio::test]
    async fn what_is_written_is_sent_at_once() {
        let (server, heard) = listen("");
        let sending = tokio::spawn(send(build(config(server)).unwrap()));
        let mut seen = Some(Vec::new());
        while seen.as_ref().is_some_and(Vec::is_empty) && !sending.is_finished() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            seen = nodelay(server);
        }
        assert!(seen.is_none_or(|all| all == [true]));
        sending.await.unwrap();
        assert_eq!(heard.join().unwrap().first(), Some(&0x16), "a TLS handshake");
    }

    #[tokio::test]
    async fn a_connector_has_it_on() {
        let (server, _heard) = listen("");
        let stream = connector().call(format!("http://{server}").parse().unwrap()).await.unwrap();
        assert!(stream.inner().nodelay().unwrap());
    }

    #[tokio::test]
    async fn a_proxy_is_given_its_name_and_password() {
        let (proxy, heard) = listen("HTTP/1.1 407 No\r\n\r\n");
        let mut config = config("10.9.8.7:443".parse().unwrap());
        config.proxy_url = Some(format!("http://user:pa%40ss@{proxy}").parse().unwrap());
        send(build(config).unwrap()).await;
        let heard = String::from_utf8(heard.join().unwrap()).unwrap().to_lowercase();
        assert!(heard.starts_with("connect 10.9.8.7:443 http/1.1\r\n"), "{heard}");
        // user:pa@ss
        assert!(heard.contains("proxy-authorization: basic dxnlcjpwyubzcw==\r\n"), "{heard}");
    }

    #[tokio::test]
    async fn other_proxies_are_refused() {
        let mut config = config("10.9.8.7:443".parse().unwrap());
        config.proxy_url = Some("socks5://127.0.0.1:1080".parse().unwrap());
        assert!(matches!(build(config), Err(kube::Error::ProxyProtocolUnsupported { .. })));
    }
}
