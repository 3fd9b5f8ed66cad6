//! Servers that take their time: an admission webhook, and a kubelet that answers nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::cluster;
use crate::fixtures::World;

/// How long the API server may take to learn of a webhook.
const LIMIT: Duration = Duration::from_secs(30);

/// A server over TLS that lets everything pass, or never answers.
pub struct Slow {
    /// Its address.
    pub address: SocketAddr,
    certificate: String,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    hangs: AtomicBool,
    denies: AtomicU32,
    asked: AtomicU32,
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A webhook in the API server's configuration.
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
#[derive(Debug, Clone, Copy)]
pub struct Webhook {
    /// Whether it may change what it is asked about: those are asked one after the other.
    pub mutates: bool,
    /// Whether what it is asked about passes when it does not answer.
    pub fails_open: bool,
    /// Seconds after which it counts as not answering.
    pub seconds: u32,
    /// Whether it is asked about dry runs, too.
    pub about_dry_runs: bool,
    /// Resources that it is asked about beside workloads.
    pub about: &'static [&'static str],
    /// Whether it is asked about deletions, too.
    pub deletions: bool,
}

/// What runners and Job makers change.
pub const WORK: &[&str] = &["deployments/scale", "pods/eviction", "jobs"];

impl Slow {
    /// A server that answers still.
    pub fn start() -> Result<Self> {
        let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let key = PrivateKeyDer::from_pem_slice(own.signing_key.serialize_pem().as_bytes())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = config.with_no_client_auth().with_single_cert(vec![own.cert.der().clone()], key)?;
        let listener = crate::listener()?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let (address, shared) = (listener.local_addr()?, Arc::<Shared>::default());
        let task = tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(config)), shared.clone()));
        Ok(Self { address, certificate: own.cert.pem(), shared, task })
    }

    /// From now on nothing is answered.
    pub fn hang(&self) {
        self.shared.hangs.store(true, Ordering::SeqCst);
    }

    /// From now on everything is denied with this code, each time in other words.
    pub fn deny(&self, code: u32) {
        self.shared.denies.store(code, Ordering::SeqCst);
        self.shared.hangs.store(false, Ordering::SeqCst);
    }

    /// How often it was asked.
    pub fn asked(&self) -> u32 {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// Makes it a webhook for what accounts of a namespace do, and then lets it hang.
    pub async fn admits(&self, world: &World, name: &str, webhook: Webhook) -> Result<()> {
        let Webhook { mutates, fails_open, seconds, about_dry_runs, about, deletions } = webhook;
        let accounts = format!("system:serviceaccount:{}:", world.namespace);
        let mut conditions = vec![json!({
            "name": "accounts", "expression": format!("request.userInfo.username.startsWith('{accounts}')"),
        })];
        if !about_dry_runs {
            conditions.push(json!({ "name": "no-dry-runs", "expression": "!has(request.dryRun) || !request.dryRun" }));
        }
        // Whether it is asked is seen by what is done to a Deployment.
        let operations = if deletions { &["CREATE", "UPDATE", "DELETE"][..] } else { &["CREATE", "UPDATE"] };
        let asked_about = [&["deployments"], about].concat();
        let rule = json!({
            "apiGroups": ["*"], "apiVersions": ["*"], "operations": operations, "scope": "Namespaced",
            "resources": asked_about,
        });
        let path = format!("/{name}");
        let (kind, plural) = if mutates {
            ("MutatingWebhookConfiguration", "mutatingwebhookconfigurations")
        } else {
            ("ValidatingWebhookConfiguration", "validatingwebhookconfigurations")
        };
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
            "metadata": { "name": format!("{name}-{}", world.namespace) },
            "webhooks": [{
                "name": format!("{name}.test.example"), "admissionReviewVersions": ["v1"], "timeoutSeconds": seconds,
                "sideEffects": if about_dry_runs { "None" } else { "NoneOnDryRun" },
                "failurePolicy": if fails_open { "Ignore" } else { "Fail" },
                "rules": [rule], "matchConditions": conditions,
                "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": world.namespace } },
                "clientConfig": {
                    "url": format!("https://{}{path}", self.address),
                    "caBundle": base64::prelude::BASE64_STANDARD.encode(&self.certificate),
                },
            }],
        });
        world.create(&format!("/apis/admissionregistration.k8s.io/v1/{plural}"), &configuration).await?;
        let before = self.asked();
        let limit = Instant::now() + LIMIT;
        while self.asked() == before {
            // Another one of its kind may hang already; and one that must answer within a second may not have on a slow machine.
            let code = write(world, "34s").await?;
            ensure!(
                self.asked() != before || Instant::now() < limit,
                "the API server does not ask webhook {name}: the last write was answered with {code}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.hang();
        Ok(())
    }

    /// Makes it the kubelet of a node that kwok plays.
    pub async fn is_kubelet_of(&self, world: &World, node: &str) -> Result<()> {
        let status = json!({ "status": {
            "addresses": [{ "type": "InternalIP", "address": "127.0.0.1" }],
            "daemonEndpoints": { "kubeletEndpoint": { "Port": self.address.port() } },
        } });
        world.strategic(&format!("/api/v1/nodes/{node}/status"), &status).await?;
        self.hang();
        Ok(())
    }
}

/// Takes the webhooks of a namespace away: they are not in it.
pub async fn end(world: &World) -> Result<()> {
    for plural in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
        let path = format!("/apis/admissionregistration.k8s.io/v1/{plural}");
        let all = world.get(&path).await?;
        for one in all["items"].as_array().into_iter().flatten() {
            let name = one["metadata"]["name"].as_str().context("no name")?;
            if name.ends_with(&world.namespace) {
                world.delete(&format!("{path}/{name}")).await?;
            }
        }
    }
    Ok(())
}

/// A write of an account of the namespace, which its webhooks are asked about, with this `timeout`: its HTTP status, or 0 if the
/// connection ends without one, as it may where the API server begins to answer in the moment at which the time is over.
pub async fn write(world: &World, timeout: &str) -> Result<u16> {
    let path = world.workload_path("Deployment", "probe");
    if world.get(&path).await.is_err() {
        world.create_workload("Deployment", "probe", 0, json!({})).await?;
    }
    let request = http::Request::patch(format!("{path}?timeout={timeout}"))
        .header("content-type", "application/merge-patch+json")
        .header("impersonate-user", format!("system:serviceaccount:{}:probe", world.namespace))
        .header("impersonate-group", "system:masters")
        .body(json!({ "metadata": { "labels": { "probed": "yes" } } }).to_string().into_bytes())?;
    match cluster::client_that_asks_once(&world.connection.kubeconfig).await?.request::<Value>(request).await {
        Ok(_) => Ok(200),
        Err(kube::Error::Api(status)) => Ok(status.code),
        Err(kube::Error::Service(_) | kube::Error::HyperError(_)) => Ok(0),
        Err(error) => Err(error).context("a write to the probe"),
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let (tls, shared) = (tls.clone(), shared.clone());
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let service = hyper::service::service_fn(move |request| answer(request, shared.clone()));
            // Who waits no longer ends the connection.
            let _ended =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Full<Bytes>>> {
    shared.asked.fetch_add(1, Ordering::SeqCst);
    if shared.hangs.load(Ordering::SeqCst) {
        return std::future::pending().await;
    }
    let review: Value = serde_json::from_slice(&request.into_body().collect().await?.to_bytes())?;
    let uid = &review["request"]["uid"];
    let response = match shared.denies.load(Ordering::SeqCst) {
        0 => json!({ "uid": uid, "allowed": true }),
        code => {
            json!({ "uid": uid, "allowed": false, "status": { "code": code, "message": format!("request {uid}: no") } })
        }
    };
    let answer = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response });
    Ok(Response::builder().header("content-type", "application/json").body(Full::from(answer.to_string()))?)
}
