//! The spool: events that nobody can wait for any longer, each a ConfigMap in the controller's namespace. It is the bounded
//! way out when an execution must go, or when the store refuses an event for good; what is in it is delivered from there.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
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
            Err(failure) if !failure.already_exists() => Err(failure),
            _ => Ok(()),
        }
    }

    /// Delivers what is in the spool, for ever.
    pub async fn drain(self, lane: Arc<Lane>) -> Infallible {
        let (mut refusals, mut from) = (HashMap::new(), None);
        loop {
            let pause = match self.once(&lane, &mut refusals, &mut from).await {
                Ok(pause) => pause,
                Err(failure) => {
                    tracing::warn!(%failure, "failed to look into the spool of audit events");
                    SOON
                }
            };
            if pause == SELDOM {
                // Many may come at once.
                drop(tokio::time::timeout(pause, lane.spool_filled()).await);
                tokio::time::sleep(LEAST).await;
            } else {
                // What comes meanwhile would only wait behind what waits already.
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// Delivers what waits, from where it was given up the last time: three that are never taken do not keep all behind them from
    /// their turn. Returns when to look again.
    async fn once(
        &self,
        lane: &Lane,
        refusals: &mut HashMap<String, Timestamp>,
        from: &mut Option<String>,
    ) -> Result<Duration, Failure> {
        /// So many in a row that are not taken mean the store, and not one event that never goes through.
        const IN_A_ROW: usize = 3;
        let Some(store) = lane.store() else { return Ok(SELDOM) };
        self.count(lane).await?;
        let (mut next, mut in_a_row, mut pause, mut left) = (String::new(), 0, SOON, false);
        loop {
            let path =
                format!("{}?labelSelector={}%3D{WAITING}&limit={PAGE}{next}", self.path(), LABEL.replace('/', "%2F"));
            let page: Page<ConfigMap> = self.requests.list(&path, "configmaps").await?;
            for kept in page.items.into_iter().flatten() {
                if from.is_some() && kept.metadata.name <= *from {
                    left = true;
                    continue;
                }
                let Some(envelope) = read(&kept) else { continue };
                let answer = store.post(&envelope).await;
                in_a_row = if let Answer::Later(_, asked) = &answer {
                    pause = pause.max(asked.unwrap_or_default()).min(SELDOM);
                    in_a_row + 1
                } else {
                    0
                };
                left |= match self.answered(lane, &kept, &envelope, answer, refusals).await {
                    Ok(left) => left,
                    Err(Failure::NotLeading) => return Err(Failure::NotLeading),
                    // The others need not wait for it.
                    Err(failure) => {
                        tracing::warn!(%failure, id = envelope.id, "failed to keep what the store said of a spooled audit event");
                        true
                    }
                };
                if in_a_row >= IN_A_ROW {
                    *from = kept.metadata.name;
                    return Ok(pause);
                }
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => next = format!("&continue={token}"),
                None => break,
            }
        }
        *from = None;
        self.count(lane).await?;
        Ok(if left { pause } else { SELDOM })
    }

    /// Takes what the store said of an event in the spool. Returns whether it stays there to be sent again.
    async fn answered(
        &self,
        lane: &Lane,
        kept: &ConfigMap,
        envelope: &Envelope,
        answer: Answer,
        refusals: &mut HashMap<String, Timestamp>,
    ) -> Result<bool, Failure> {
        let id = &envelope.id;
        match answer {
            Answer::Kept => {
                refusals.remove(id);
                self.remove(kept).await?;
                Ok(false)
            }
            // A store that is being changed may be wrong for a while.
            Answer::Refused(why) => {
                let now = Timestamp::now();
                let since = *refusals.entry(id.clone()).or_insert(now);
                if Duration::try_from(now.duration_since(since)).unwrap_or_default() < lane.patience() {
                    return Ok(true);
                }
                tracing::error!(id, why, "the store refused a spooled audit event: a person has to look at it");
                self.writes()?;
                self.keep(&another_name(kept, id), envelope, Some(&why)).await?;
                self.remove(kept).await?;
                refusals.remove(id);
                Ok(false)
            }
            Answer::Later(why, _) => {
                tracing::warn!(id, why, "a spooled audit event could not be delivered");
                refusals.remove(id);
                Ok(true)
            }
        }
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
    // Headers are made of these; an editor may have left a line's end.
    let text = |key: &str| data.get(key).map(|text| text.trim().to_owned());
    let envelope = Envelope {
        id: text("id")?,
        source: text("source")?,
        subject: text("subject")?,
        time: text("time")?,
        body: text("event")?,
    };
    Some(envelope)
}
