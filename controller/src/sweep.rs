//! Deletes settled executions whose `ttlSecondsAfterFinished` is over, with their Jobs and pods.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ListMeta, ObjectMeta};
use serde::Deserialize;

use crate::act::EXPIRES;
use crate::api::GROUP;
use crate::requests::Failure;
use crate::shared::Shared;

/// Time between two sweeps.
const PAUSE: Duration = Duration::from_secs(30);
/// How many executions are read at once.
const PAGE: usize = 500;

#[derive(Deserialize)]
struct Page {
    metadata: ListMeta,
    /// The API server writes null for an empty list of metadata.
    items: Option<Vec<Settled>>,
}

/// What is looked at: the rest is skipped while it is read.
#[derive(Deserialize)]
struct Settled {
    #[serde(deserialize_with = "crate::api::metadata::kept")]
    metadata: ObjectMeta,
}

/// Sweeps for ever.
pub async fn sweep(shared: Arc<Shared>, namespaces: Vec<Option<String>>) -> Infallible {
    loop {
        for namespace in &namespaces {
            if let Err(failure) = once(&shared, namespace.as_deref()).await {
                tracing::warn!(%failure, "failed to look for executions whose time is over");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn once(shared: &Shared, namespace: Option<&str>) -> Result<(), Failure> {
    let place = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
    // Where deletions are not answered: each takes as long as a write may, and the others are not to wait for them.
    let mut silent = HashSet::new();
    let mut next = String::new();
    loop {
        let selector = "fieldSelector=status.settled%3Dtrue";
        let path = format!("/apis/{GROUP}/v1alpha1{place}/kubernetesexecutions?{selector}&limit={PAGE}{next}");
        let page: Page = shared.requests.metadata(&path, "kubernetesexecutions").await?;
        for settled in page.items.iter().flatten() {
            let metadata = &settled.metadata;
            if silent.contains(&metadata.namespace) {
                continue;
            }
            // One that may not be deleted holds up none of the others.
            if let Err(failure) = expire(shared, metadata).await {
                if matches!(failure, Failure::Lost(_)) {
                    silent.insert(metadata.namespace.clone());
                }
                tracing::warn!(%failure, namespace = metadata.namespace, name = metadata.name, "failed to delete an execution whose time is over");
            }
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => next = format!("&continue={token}"),
            None => return Ok(()),
        }
    }
}

async fn expire(shared: &Shared, metadata: &ObjectMeta) -> Result<(), Failure> {
    let expires =
        metadata.annotations.as_ref().and_then(|all| all.get(EXPIRES)).and_then(|text| text.parse::<Timestamp>().ok());
    let over = expires.is_some_and(|expires| Timestamp::now() >= expires);
    if !over || metadata.deletion_timestamp.is_some() || !shared.gate.allows(shared.requests.horizon()) {
        return Ok(());
    }
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (namespace, name, uid) = (text(&metadata.namespace), text(&metadata.name), text(&metadata.uid));
    let path = format!("/apis/{GROUP}/v1alpha1/namespaces/{namespace}/kubernetesexecutions/{name}");
    match shared.requests.delete(&path, "kubernetesexecutions", &uid, "Background").await {
        Err(failure) if !matches!(failure.code(), Some(404 | 409)) => Err(failure),
        _ => {
            tracing::info!(namespace, name, "its time is over: deleted");
            Ok(())
        }
    }
}
