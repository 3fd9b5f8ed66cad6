//! The spool: events that nobody can wait for any longer, each a ConfigMap in the controller's namespace. It is the bounded
//! way out when an execution must go, or when the store refuses an event for good; what is in it is delivered from there.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use serde::Deserialize;
use serde_json::{Value, json};

use super::event::Envelope;
use super::{Answer, Lane};
use crate::lease::Gate;
use crate::requests::{Failure, Requests};

/// Label of what is in the spool.
pub const LABEL: &str = "kubernetesexecution.kubernaut.io/spool";
/// Its value for an event that waits for the store.
pub const WAITING: &str = "waiting";
/// Its value for an event that the store has refused: a person has to look at it.
pub const REFUSED: &str = "refused";
/// Annotation with the store's own words.
const WHY: &str = "kubernetesexecution.kubernaut.io/refused-because";

/// Time between two looks at least: many events may come at once.
const LEAST: Duration = Duration::from_secs(1);
/// Time between two looks while something waits.
const SOON: Duration = Duration::from_secs(10);
/// Time between two looks while nothing is known to wait: a person may have put something back.
const SELDOM: Duration = Duration::from_mins(5);
/// How many are read at once.
const PAGE: usize = 50;

#[derive(Deserialize)]
struct Page<T> {
    metadata: ListMeta,
    items: Option<Vec<T>>,
}

/// What the spool needs to do its work.
#[derive(Clone)]
pub struct Spool {
    /// Sends requests.
    pub requests: Requests,
    /// Says whether a write may be sent.
    pub gate: Gate,
    /// The controller's namespace.
    pub namespace: String,
}

impl Spool {
    fn path(&self) -> String {
        format!("/api/v1/namespaces/{}/configmaps", self.namespace)
    }

    /// Keeps an event. One that is there already is as good.
    pub async fn put(&self, envelope: &Envelope, refused: Option<&str>) -> Result<(), Failure> {
        let state = if refused.is_some() { REFUSED } else { WAITING };
        self.keep(&name(&envelope.id, state), envelope, refused).await
    }

    async fn keep(&self, name: &str, envelope: &Envelope, refused: Option<&str>) -> Result<(), Failure> {
        let state = if refused.is_some() { REFUSED } else { WAITING };
        let body = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": name, "labels": { LABEL: state, "app.kubernetes.io/managed-by": "execution-controller" },
                "annotations": { WHY: refused },
            },
            "data": {
                "id": envelope.id, "source": envelope.source, "subject": envelope.subject, "time": envelope.time,
                "event": envelope.body,
            },
        });
        match self.requests.create::<Value>(&self.path(), "configmaps", &body).await {
            Err(failure) if failure.code() != Some(409) => Err(failure),
            _ => Ok(()),
        }
    }

    /// Delivers what is in the spool, for ever.
    pub async fn drain(self, lane: Arc<Lane>) -> Infallible {
        loop {
            let left = match self.once(&lane).await {
                Ok(left) => left,
                Err(failure) => {
                    tracing::warn!(%failure, "failed to look into the spool of audit events");
                    true
                }
            };
            tokio::time::sleep(LEAST).await;
            let pause = if left { SOON } else { SELDOM };
            // What comes into it is counted at once; whether the store takes it is then known too.
            drop(tokio::time::timeout(pause, lane.spool_filled()).await);
        }
    }

    /// Delivers what waits. Returns whether something is left.
    async fn once(&self, lane: &Arc<Lane>) -> Result<bool, Failure> {
        let Some(store) = lane.store() else { return Ok(false) };
        let mut next = String::new();
        loop {
            let path =
                format!("{}?labelSelector={}%3D{WAITING}&limit={PAGE}{next}", self.path(), LABEL.replace('/', "%2F"));
            let page: Page<ConfigMap> = self.requests.get(&path, "configmaps").await?;
            for kept in page.items.into_iter().flatten() {
                let Some(envelope) = read(&kept) else { continue };
                match store.post(&envelope).await {
                    Answer::Kept => self.remove(&kept).await?,
                    Answer::Refused(why) => {
                        tracing::error!(
                            id = envelope.id,
                            why,
                            "the store refused a spooled audit event: a person has to look at it"
                        );
                        self.writes()?;
                        let name = another_name(&kept, &envelope.id);
                        self.keep(&name, &envelope, Some(&why)).await?;
                        self.remove(&kept).await?;
                    }
                    Answer::Later(why, _) => {
                        tracing::warn!(id = envelope.id, why, "a spooled audit event could not be delivered");
                        self.count(lane).await?;
                        return Ok(true);
                    }
                }
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => next = format!("&continue={token}"),
                None => break,
            }
        }
        self.count(lane).await?;
        Ok(false)
    }

    fn writes(&self) -> Result<(), Failure> {
        if self.gate.allows(self.requests.horizon()) { Ok(()) } else { Err(Failure::NotLeading) }
    }

    async fn remove(&self, kept: &ConfigMap) -> Result<(), Failure> {
        self.writes()?;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (name, uid) = (text(&kept.metadata.name), text(&kept.metadata.uid));
        match self.requests.delete(&format!("{}/{name}", self.path()), "configmaps", &uid, "Background").await {
            Err(failure) if !matches!(failure.code(), Some(404 | 409)) => Err(failure),
            _ => Ok(()),
        }
    }

    /// Counts what the spool holds.
    async fn count(&self, lane: &Lane) -> Result<(), Failure> {
        #[derive(Deserialize)]
        struct One {
            metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
        }
        let (mut waiting, mut refused, mut next) = (0, 0, String::new());
        loop {
            let path = format!("{}?labelSelector={}&limit=500{next}", self.path(), LABEL.replace('/', "%2F"));
            let page: Page<One> = self.requests.metadata(&path, "configmaps").await?;
            for one in page.items.iter().flatten() {
                let state = one.metadata.labels.as_ref().and_then(|labels| labels.get(LABEL));
                if state.is_some_and(|state| state == WAITING) { waiting += 1 } else { refused += 1 }
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => next = format!("&continue={token}"),
                None => break,
            }
        }
        lane.spool_holds(waiting, refused);
        Ok(())
    }
}

/// Returns the name of an event: its id holds the UID and the number, and a slash between them.
fn name(id: &str, state: &str) -> String {
    format!("audit-{}-{state}", id.replace('/', "-"))
}

/// Returns the name under which a refused event is kept on: never its present one, which is removed then. A person may have
/// put a refused one back.
fn another_name(kept: &ConfigMap, id: &str) -> String {
    let refused = name(id, REFUSED);
    if kept.metadata.name.as_deref() == Some(&refused) { format!("{refused}-again") } else { refused }
}

/// Returns the event in a ConfigMap; one that somebody changed beyond reading is left alone.
fn read(kept: &ConfigMap) -> Option<Envelope> {
    let data = kept.data.as_ref()?;
    let text = |key: &str| data.get(key).cloned();
    let envelope = Envelope {
        id: text("id")?,
        source: text("source")?,
        subject: text("subject")?,
        time: text("time")?,
        body: text("event")?,
    };
    Some(envelope)
}
