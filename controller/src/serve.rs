//! Health and metrics over HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use std::net::SocketAddr;

use crate::metrics::Metrics;

/// Time without a heartbeat after which the process counts as stuck.
const STUCK: Duration = Duration::from_mins(1);
/// Time between heartbeats.
const BEAT: Duration = Duration::from_secs(5);

/// What health checks are answered from.
#[derive(Debug, Clone)]
pub struct Health {
    started: Instant,
    beat: Arc<AtomicU64>,
    ready: Arc<AtomicBool>,
}

impl Default for Health {
    fn default() -> Self {
        Self { started: Instant::now(), beat: Arc::default(), ready: Arc::default() }
    }
}

impl Health {
    /// Says that the caches are filled, or that this controller stands by.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    fn alive(&self) -> bool {
        let last = Duration::from_millis(self.beat.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(last) < STUCK
    }

    /// Beats on the same thread as everything else: a loop that is stuck stops it, also where nothing has to be done.
    pub async fn beat(self) {
        loop {
            let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.beat.store(now, Ordering::Relaxed);
            tokio::time::sleep(BEAT).await;
        }
    }
}

fn answer(good: bool) -> (StatusCode, &'static str) {
    if good { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "no\n") }
}

/// Serves until the process ends. Health is answered by a thread of its own: what is stuck cannot answer that it is.
pub fn health(address: SocketAddr, health: &Health) -> Result<()> {
    let (live, ready) = (health.clone(), health.clone());
    let router = Router::new()
        .route("/livez", get(move || std::future::ready(answer(live.alive()))))
        .route("/readyz", get(move || std::future::ready(answer(ready.ready.load(Ordering::Relaxed)))));
    serve(address, "--health", router)
}

/// Serves the metrics until the process ends.
pub fn metrics(address: SocketAddr, metrics: &Metrics) -> Result<()> {
    const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let metrics = metrics.clone();
    let text = move || std::future::ready(([(axum::http::header::CONTENT_TYPE, TYPE)], metrics.text()));
    serve(address, "--metrics", Router::new().route("/metrics", get(text)))
}

fn serve(address: SocketAddr, flag: &str, router: Router) -> Result<()> {
    let listener =
        std::net::TcpListener::bind(address).with_context(|| format!("{flag}: failed to listen at {address}"))?;
    listener.set_nonblocking(true)?;
    tracing::info!(address = %listener.local_addr()?, flag, "serving");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    if let Err(error) = axum::serve(listener, router).await {
                        tracing::error!(%error, "the server for health or metrics ended");
                    }
                }
                Err(error) => tracing::error!(%error, "failed to serve health or metrics"),
            }
        });
    });
    Ok(())
}
