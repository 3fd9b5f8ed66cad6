//! Connections of those who post: TLS, limits, and a stop that lets what was begun end.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::tls::Tls;

/// The longest time for a TLS handshake, and for the head of a request, the wait for the next one included.
const HEAD: Duration = Duration::from_secs(30);
/// The most connections. The executor posts eight events at a time.
const MOST: usize = 512;
/// The longest time that a stop waits for requests: more than one of them may take, below Kubernetes' 30 s.
const STOP: Duration = Duration::from_secs(25);

/// Serves until it is told to stop, and then until what was begun has its answer.
pub async fn serve(listener: TcpListener, tls: Option<Tls>, routes: Router, stop: impl Future<Output = ()>) {
    let (graceful, places) = (GracefulShutdown::new(), Arc::new(Semaphore::new(MOST)));
    let accept = async {
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // No file descriptor is free, for example: at once would be a loop without rest.
                    tracing::warn!(%error, "failed to accept a connection");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (acceptor, routes, watcher) = (tls.as_ref().map(Tls::acceptor), routes.clone(), graceful.watcher());
            tokio::spawn(async move {
                match acceptor {
                    None => answer(stream, routes, watcher).await,
                    Some(acceptor) => match timeout(HEAD, acceptor.accept(stream)).await {
                        Ok(Ok(stream)) => answer(stream, routes, watcher).await,
                        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                        Err(_) => tracing::debug!("a TLS handshake took too long"),
                    },
                }
                drop(place);
            });
        }
    };
    tokio::select! {
        () = accept => {}
        () = stop => {}
    }
    drop(listener);
    if timeout(STOP, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests without an answer are given up");
    }
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, routes: Router, watcher: Watcher) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended");
    }
}
