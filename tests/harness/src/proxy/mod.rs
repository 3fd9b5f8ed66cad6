//! A proxy between the runner and the API server that breaks what it is told to: TLS on both sides, requests passed on
//! as they are, answers too unless a fault says otherwise.

mod dead;
mod fault;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use fault::{Answer, Broken};
pub use fault::{Canned, Concerns, Fault, matrix};

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

/// One kind of request of a run, the same in every run: method, path without what is one run's own, and which of those it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    /// `PATCH /apis/apps/v1/namespaces/NAMESPACE/deployments/NAME dry-run`
    pub what: String,
    /// The how manieth of those, from 0.
    pub occurrence: usize,
}

impl Shape {
    /// Whether it opens a watch.
    pub fn is_watch(&self) -> bool {
        self.what.ends_with(" watch")
    }

    /// Whether it is meant to change something.
    pub fn is_write(&self) -> bool {
        !self.what.starts_with("GET") && !self.what.ends_with(" dry-run") && !self.what.contains("/selfsubject")
    }
}

/// What is done to the requests of one run.
#[derive(Debug, Default)]
pub struct Script {
    /// What is this run's own in paths, and what stands for it in shapes.
    pub names: Vec<(String, &'static str)>,
    /// Beginnings of names that end differently in every run, as pods' do, and what stands for such a name.
    pub prefixes: Vec<(&'static str, &'static str)>,
    /// The fault, and the one request that it hits.
    pub fault: Option<(Shape, Fault)>,
}

enum Plan {
    Rule(Rule),
    Script { script: Script, seen: BTreeMap<String, usize>, log: Vec<Shape> },
}

/// A proxy that runs until it is dropped.
pub struct Proxy {
    /// Its address.
    pub server: String,
    /// Its certificate.
    pub authority: PathBuf,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Shared {
    upstream: SocketAddr,
    tls: TlsConnector,
    plan: Mutex<Plan>,
    hits: AtomicU32,
    /// Requests that are held back still.
    held: AtomicU32,
    /// Requests that were answered, and whose answer never goes on.
    stalled: AtomicU32,
    /// Nobody is to listen for a while.
    refuse: Notify,
    /// How many ways to it were dead ends by now: a connection that was made before the last one is on it.
    dead: Arc<AtomicU32>,
}

impl Proxy {
    /// Before this API server, with one rule.
    pub fn start(server: &str, authority: &Path, folder: &Path, rule: Rule) -> Result<Self> {
        Self::with(server, authority, folder, Plan::Rule(rule))
    }

    /// Before this API server, for one run of the matrix.
    pub fn scripted(server: &str, authority: &Path, folder: &Path, script: Script) -> Result<Self> {
        Self::with(server, authority, folder, Plan::Script { script, seen: BTreeMap::new(), log: Vec::new() })
    }

    fn with(server: &str, authority: &Path, folder: &Path, plan: Plan) -> Result<Self> {
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
        let key = PrivateKeyDer::from_pem_slice(own.signing_key.serialize_pem().as_bytes())?;
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = config.with_no_client_auth().with_single_cert(vec![own.cert.der().clone()], key)?;
        let listener = crate::listener()?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let own_file = folder.join(format!("proxy-{}.crt", address.port()));
        std::fs::write(&own_file, own.cert.pem())?;
        let shared = Arc::new(Shared {
            upstream,
            tls: TlsConnector::from(Arc::new(client)),
            plan: Mutex::new(plan),
            hits: AtomicU32::new(0),
            held: AtomicU32::new(0),
            stalled: AtomicU32::new(0),
            refuse: Notify::new(),
            dead: Arc::default(),
        });
        let task = tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(config)), shared.clone()));
        Ok(Self { server: format!("https://{address}"), authority: own_file, shared, task })
    }

    /// How often the fault hit.
    pub fn hits(&self) -> u32 {
        self.shared.hits.load(Ordering::SeqCst)
    }

    /// The requests so far, by their shapes; only of a scripted proxy.
    pub fn log(&self) -> Vec<Shape> {
        match &*self.shared.plan.lock().unwrap_or_else(PoisonError::into_inner) {
            Plan::Script { log, .. } => log.clone(),
            Plan::Rule(_) => Vec::new(),
        }
    }

    /// Waits until the API server has answered a request whose answer stalls.
    pub async fn stalled(&self) {
        while self.shared.stalled.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// From now on nothing comes or goes on the connections that there are, and they stay open: as behind a load balancer one
    /// of whose machines has died. New connections work.
    pub fn lose_connections(&self) {
        self.shared.dead.fetch_add(1, Ordering::SeqCst);
    }

    /// Waits until nothing is held back any more: what is to reach the API server has reached it.
    pub async fn settled(&self) {
        while self.shared.held.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn accept(mut listener: TcpListener, tls: TlsAcceptor, shared: Arc<Shared>) {
    const REFUSED: Duration = Duration::from_secs(1);
    let Ok(address) = listener.local_addr() else { return };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.refuse.notified() => {
                drop(listener);
                tokio::time::sleep(REFUSED).await;
                let Ok(again) = TcpListener::bind(address).await else { return };
                listener = again;
                continue;
            }
        };
        let Ok((stream, _)) = accepted else { return };
        let (tls, shared) = (tls.clone(), shared.clone());
        tokio::spawn(async move {
            let stream = dead::Line::new(stream, shared.dead.clone());
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
    let request = request.map(|body| body.map_err(Broken::from).boxed());
    match &fault {
        Some(Fault::Drop) => anyhow::bail!("dropped on purpose"),
        Some(Fault::Refuse) => {
            shared.refuse.notify_one();
            anyhow::bail!("dropped on purpose, and refused from now on");
        }
        Some(Fault::StallBefore) => return std::future::pending().await,
        Some(Fault::Answer(canned)) => return Ok(canned.answer()),
        Some(Fault::ChangeFirst { path, patch }) => shared.change(path, patch).await?,
        Some(Fault::HoldBack(time)) => {
            shared.clone().hold_back(request, *time).await?;
            anyhow::bail!("held back on purpose");
        }
        Some(Fault::CutOff) => {
            /// As long as it takes to send it, and not as long as it takes to answer.
            const SENT: Duration = Duration::from_millis(2);
            let mut sender = shared.connect().await?;
            let _cut = tokio::time::timeout(SENT, sender.send_request(request)).await;
            anyhow::bail!("cut off on purpose");
        }
        _ => {}
    }
    let mut sender = shared.connect().await?;
    let answer = sender.send_request(request).await?;
    if fault == Some(Fault::Stall) {
        shared.stalled.fetch_add(1, Ordering::SeqCst);
        return std::future::pending().await;
    }
    // The connection must live as long as the body: a watch lasts minutes.
    let answer = answer.map(|body| {
        let alive = body.map_frame(move |frame| {
            let _alive = &sender;
            frame
        });
        alive.map_err(Broken::from).boxed()
    });
    match fault {
        Some(fault) => fault.spoil(answer).await,
        None => Ok(answer),
    }
}

impl Shared {
    /// A connection to the API server.
    async fn connect(&self) -> Result<SendRequest<BoxBody<Bytes, Broken>>> {
        let stream = TcpStream::connect(self.upstream).await?;
        let stream = self.tls.connect(ServerName::from(self.upstream.ip()), stream).await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    /// Sends it to the API server after a while, whatever becomes of whoever sent it.
    async fn hold_back(self: Arc<Self>, request: Request<BoxBody<Bytes, Broken>>, time: Duration) -> Result<()> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
        self.held.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            if let Ok(mut sender) = self.connect().await
                && let Ok(answer) = sender.send_request(Request::from_parts(head, fault::whole(body))).await
            {
                // Nobody waits for it any more.
                let _unread = answer.into_body().collect().await;
            }
            self.held.fetch_sub(1, Ordering::SeqCst);
        });
        Ok(())
    }

    /// Changes an object as the administrator.
    async fn change(&self, path: &str, patch: &str) -> Result<()> {
        static NUMBER: AtomicU32 = AtomicU32::new(20);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let body = fault::whole(patch.replace('N', &number.to_string()));
        let request = Request::patch(path)
            .header("host", self.upstream.to_string())
            .header("authorization", format!("Bearer {}", crate::cluster::ADMIN_TOKEN))
            .header("content-type", "application/merge-patch+json")
            .body(body)?;
        let answer = self.connect().await?.send_request(request).await?;
        anyhow::ensure!(answer.status().is_success(), "the change by somebody else was refused: {}", answer.status());
        Ok(())
    }

    fn fault(&self, request: &Request<Incoming>) -> Option<Fault> {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = match &mut *plan {
            Plan::Rule(rule) => rule.fault(request),
            Plan::Script { script, seen, log } => {
                let what = script.what(request);
                let count = seen.entry(what.clone()).or_default();
                let shape = Shape { what, occurrence: *count };
                *count += 1;
                log.push(shape.clone());
                script.fault.as_ref().filter(|(wanted, _)| *wanted == shape).map(|(_, fault)| fault.clone())
            }
        };
        if fault.is_some() {
            self.hits.fetch_add(1, Ordering::SeqCst);
        }
        fault
    }
}

impl Rule {
    fn fault(&mut self, request: &Request<Incoming>) -> Option<Fault> {
        let uri = request.uri().to_string();
        let hit = self.times > 0
            && request.method() == self.method
            && uri.contains(self.contains)
            && (self.lacks.is_empty() || !uri.contains(self.lacks));
        self.times -= u32::from(hit);
        hit.then(|| self.fault.clone())
    }
}

impl Script {
    fn what(&self, request: &Request<Incoming>) -> String {
        let mut path = request.uri().path().to_owned();
        for (name, stands_for) in &self.names {
            path = path.replace(name, stands_for);
        }
        for (prefix, stands_for) in &self.prefixes {
            let parts = path.split('/').map(|part| if part.starts_with(prefix) { *stands_for } else { part });
            path = parts.collect::<Vec<_>>().join("/");
        }
        let query = request.uri().query().unwrap_or_default();
        let how = if query.contains("watch=true") {
            " watch"
        } else if query.contains("dryRun=All") {
            " dry-run"
        } else {
            ""
        };
        format!("{} {path}{how}", request.method())
    }
}
