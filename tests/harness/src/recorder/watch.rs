//! One kind, followed from its first list on, whatever becomes of the API server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::{AsyncBufReadExt, TryStreamExt, pin_mut};
use serde::Deserialize;
use serde_json::Value;

use super::Shared;
use super::log::version;
use super::seen::Kind;

/// Between two tries at an API server that is away.
pub const PAUSE: Duration = Duration::from_millis(100);
/// How long a list may take.
const LIMIT: Duration = Duration::from_secs(10);

/// A line of a watch. (kube's own type for it reads everything twice, and the recorder must keep up.)
#[derive(Deserialize)]
struct Change {
    #[serde(rename = "type")]
    what: String,
    object: Value,
}

/// Why a watch goes on with a list.
#[derive(Debug)]
struct TooOld;

/// Everything there is of a kind.
pub async fn list(client: &kube::Client, kind: Kind, shared: &Shared) -> Result<()> {
    let request = http::Request::get(kind.path(None)).body(Vec::new())?;
    let list = tokio::time::timeout(LIMIT, client.request::<Value>(request)).await.context("no answer")??;
    shared.write(|log| log.listed(kind, &list, Instant::now()));
    Ok(())
}

/// Follows a kind for ever.
pub async fn follow(client: kube::Client, kind: Kind, shared: Arc<Shared>) {
    loop {
        let last = shared.log().last(kind).unwrap_or_default();
        let began = Instant::now();
        if let Ok(Err(TooOld)) = watch(&client, kind, last, &shared).await {
            while list(&client, kind, &shared).await.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
        }
        if began.elapsed() < PAUSE {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// One watch, until it ends by itself or breaks.
async fn watch(client: &kube::Client, kind: Kind, from: u64, shared: &Shared) -> Result<Result<(), TooOld>> {
    let path = kind.path(None);
    let query = format!("watch=true&allowWatchBookmarks=true&timeoutSeconds=300&resourceVersion={from}");
    let request = http::Request::get(format!("{path}?{query}")).body(Vec::new())?;
    let lines = match client.request_stream(request).await {
        Ok(lines) => lines.lines(),
        Err(kube::Error::Api(status)) if status.code == 410 => return Ok(Err(TooOld)),
        Err(error) => return Err(error.into()),
    };
    pin_mut!(lines);
    while let Some(line) = lines.try_next().await? {
        let arrived = Instant::now();
        let Change { what, object } = serde_json::from_str(&line)?;
        match what.as_str() {
            "ADDED" | "MODIFIED" => shared.write(|log| log.seen(kind, &object, arrived, false)),
            "DELETED" => {
                let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
                shared.write(|log| log.gone(kind, uid, version(&object), arrived, false));
            }
            "BOOKMARK" => shared.write(|log| log.progress(kind, version(&object))),
            _ if object["code"] == 410 => return Ok(Err(TooOld)),
            _ => anyhow::bail!("{object}"),
        }
    }
    Ok(Ok(()))
}
