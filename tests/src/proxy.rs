//! A proxy between the runner and the API server that breaks what it is told to: TLS on both sides, requests passed on
//! as they are, answers too unless a fault says otherwise.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// What to do to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The API server gets it and answers; the answer is lost, the connection ends.
    LoseAnswer,
    /// The API server never gets it; the connection ends.
    Drop,
    /// The API server gets it and answers; the answer never comes, the connection stays.
    Stall,
    /// Somebody else changes an object just before the API server gets it: a merge patch, with the administrator's token.
    /// Every `N` in the patch becomes a number that has not been there before.
    ChangeFirst {
        /// The object's path.
        path: String,
        /// The merge patch.
        patch: String,
    },
}

/// A fault, and which requests it hits.
pub struct Rule {
    /// The fault.
    pub fault: Fault,
    /// `PATCH`, `POST`, …
    pub method: &'static str,
    /// What the path (with its query) contains.
    pub contains: &'static str,
    /// What it does not contain.
    pub lacks: &'static str,
    /// How often.
    pub times: u32,
}

/// A proxy that runs until it is dropped.
pub struct Proxy {
    /// Its address.
    pub server: String,
    /// Its certificate.
    pub authority: PathBuf,
    hits: Arc<AtomicU32>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Answer = Response<BoxBody<Bytes, hyper::Error>>;

struct Shared {
    upstream: SocketAddr,
    tls: TlsConnector,
    rule: Mutex<Rule>,
    hits: Arc<AtomicU32>,
}

impl Proxy {
    /// Before this API server, with one rule.
    pub async fn start(server: &str, authority: &Path, folder: &Path, rule: Rule) -> Result<Self> {
        let upstream: SocketAddr = server
            .trim_start_matches("https://")
            .trim_end_matches('/')
            .parse()
            .context("the API server has no plain address")?;
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(authority)? {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client =
            rustls::ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let client = client.with_root_certificates(roots).with_no_client_auth();
        let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let own_file = folder.join("proxy.crt");
        std::fs::write(&own_file, own.cert.pem())?;
        let key = PrivateKeyDer::from_pem_slice(own.signing_key.serialize_pem().as_bytes())?;
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = config.with_no_client_auth().with_single_cert(vec![own.cert.der().clone()], key)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let hits = Arc::new(AtomicU32::new(0));
        let shared = Arc::new(Shared {
            upstream,
            tls: TlsConnector::from(Arc::new(client)),
            rule: Mutex::new(rule),
            hits: hits.clone(),
        });
        let task = tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(config)), shared));
        Ok(Self { server: format!("https://{address}"), authority: own_file, hits, task })
    }

    /// How often the fault hit.
    pub fn hits(&self) -> u32 {
        self.hits.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, shared) = (tls.clone(), shared.clone());
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let service = hyper::service::service_fn(move |request| handle(request, shared.clone()));
            // A connection that a fault ends is an error here, and meant.
            let _meant =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn handle(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Answer> {
    let fault = shared.fault(&request);
    match &fault {
        Some(Fault::Drop) => anyhow::bail!("dropped on purpose"),
        Some(Fault::ChangeFirst { path, patch }) => shared.change(path, patch).await?,
        _ => {}
    }
    let mut sender = shared.connect().await?;
    let answer = sender.send_request(request.map(BodyExt::boxed)).await?;
    match &fault {
        Some(Fault::LoseAnswer) => {
            answer.into_body().collect().await?;
            anyhow::bail!("lost on purpose");
        }
        Some(Fault::Stall) => std::future::pending().await,
        _ => {}
    }
    let (head, body) = answer.into_parts();
    // The connection must live as long as the body: a watch lasts minutes.
    let body = body.map_frame(move |frame| {
        let _alive = &sender;
        frame
    });
    Ok(Response::from_parts(head, body.boxed()))
}

impl Shared {
    /// A connection to the API server.
    async fn connect(&self) -> Result<SendRequest<BoxBody<Bytes, hyper::Error>>> {
        let stream = TcpStream::connect(self.upstream).await?;
        let stream = self.tls.connect(ServerName::from(self.upstream.ip()), stream).await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    /// Changes an object as the administrator.
    async fn change(&self, path: &str, patch: &str) -> Result<()> {
        static NUMBER: AtomicU32 = AtomicU32::new(20);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let body = Full::new(Bytes::from(patch.replace('N', &number.to_string()))).map_err(|never| match never {});
        let request = Request::patch(path)
            .header("host", self.upstream.to_string())
            .header("authorization", format!("Bearer {}", crate::cluster::ADMIN_TOKEN))
            .header("content-type", "application/merge-patch+json")
            .body(body.boxed())?;
        let answer = self.connect().await?.send_request(request).await?;
        anyhow::ensure!(answer.status().is_success(), "the change by somebody else was refused: {}", answer.status());
        Ok(())
    }

    fn fault(&self, request: &Request<Incoming>) -> Option<Fault> {
        let mut rule = self.rule.lock().unwrap_or_else(PoisonError::into_inner);
        let uri = request.uri().to_string();
        let hit = rule.times > 0
            && request.method() == rule.method
            && uri.contains(rule.contains)
            && (rule.lacks.is_empty() || !uri.contains(rule.lacks));
        if !hit {
            return None;
        }
        rule.times -= 1;
        self.hits.fetch_add(1, Ordering::SeqCst);
        Some(rule.fault.clone())
    }
}
