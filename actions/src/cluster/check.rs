//! Reads the watched objects again: when the watch history is too old, and to check a watch that is quiet.

use std::time::Duration;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tokio::time::Instant;

use super::events::{Event, Item, Start, version_of};
use super::watcher::Watcher;
use super::{Cluster, Query};
use crate::cluster::error::{Error, Result};

/// Limit for a check, because events wait for it. A server that is slower has more trouble than a quiet watch.
const CHECK_LIMIT: Duration = Duration::from_secs(10);

/// An object with its resourceVersion, of whatever type.
struct Versioned<T> {
    item: T,
    version: String,
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Versioned<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Only one object at a time is held as a whole.
        let object = Value::deserialize(deserializer)?;
        let version = version_of(&object);
        Ok(Self { item: serde_json::from_value(object).map_err(D::Error::custom)?, version })
    }
}

impl Cluster {
    /// Lists the objects, and returns where a watch can continue.
    pub(super) async fn list_to_follow<T: Item>(&self, query: &Query) -> Result<(Vec<T>, Start)> {
        let (all, version) = self.list::<Versioned<T>>(query).await?;
        let known = all.iter().map(|one| (one.item.key().to_owned(), one.version.clone())).collect();
        Ok((all.into_iter().map(|one| one.item).collect(), Start { version, known }))
    }

    /// Reads all objects as they are now. One object is read by GET, so that following it needs no permission to list.
    pub(super) async fn read_anew<T: Item>(&self, query: &Query) -> Result<(Vec<T>, Start)> {
        let Some(object) = query.object() else { return self.list_to_follow(query).await };
        match self.get(&object).await {
            Ok(now) => {
                let from = Start::at(&now);
                let unreadable = |error| Error::unavailable(format!("failed to read {object}"), error);
                Ok((vec![serde_json::from_value(now).map_err(unreadable)?], from))
            }
            // The object is gone: the watch continues with the next event.
            Err(Error::TargetNotFound(_)) => Ok((Vec::new(), Start::default())),
            Err(error) => Err(error),
        }
    }
}

impl<T: Item> Watcher<T> {
    /// Replaces all objects that were sent before.
    pub(super) async fn replace(&mut self, items: Vec<T>, from: Start) {
        (self.version, self.known) = (from.version, from.known);
        self.send(Event::All(items)).await;
    }

    /// Checks whether a quiet watch has missed anything. If so, the watch is no longer trusted and is opened again. A
    /// check that fails proves nothing; the watch ends by itself.
    pub(super) async fn check(&mut self) {
        let read = self.cluster.until(Instant::now() + CHECK_LIMIT).read_anew(&self.query).await;
        self.checked = Instant::now();
        match read {
            Ok((_, from)) if from.known == self.known => {}
            Ok((items, from)) => {
                tracing::warn!("the watch keeps back what a read shows, opening it again");
                self.cluster.settle(false);
                self.lines = None;
                self.replace(items, from).await;
            }
            Err(error) => tracing::debug!(error = error.full_message(), "failed to check a quiet watch"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Watch;
    use crate::cluster::fake::{Answer, cluster, not_found, object};
    use crate::k8s::Kind;
    use rstest::rstest;
    use serde_json::json;

    fn pod(name: &str, version: &str) -> Value {
        json!({ "metadata": { "name": name, "resourceVersion": version } })
    }

    fn list(version: &str, items: &[Value]) -> Answer {
        Answer::Json(200, json!({ "metadata": { "resourceVersion": version }, "items": items }))
    }

    fn pods() -> Query {
        Query::beside(&object(Kind::Pod), Kind::Pod.resource(), "app=web")
    }

    /// Returns whether an event came within this many seconds.
    async fn told(follow: &mut Watch<Value>, seconds: u64) -> bool {
        tokio::time::timeout(Duration::from_secs(seconds), follow.changed()).await.is_ok_and(|changed| changed.is_ok())
    }

    #[rstest]
    #[case::the_same(|| Answer::Json(200, pod("web", "5")), None)]
    #[case::changed(|| Answer::Json(200, pod("web", "9")), Some(("9", 1)))]
    #[case::gone(|| not_found("pods", "", "web"), Some(("", 0)))]
    #[case::no_answer(|| Answer::Lost, None)]
    #[case::a_gateways_404(|| Answer::Text(404, "<html>"), None)]
    #[tokio::test(start_paused = true)]
    async fn one_object_is_read(#[case] answer: fn() -> Answer, #[case] expected: Option<(&str, usize)>) {
        let (cluster, seen) =
            cluster(move |asked, _| if asked.contains("watch=") { Answer::Watch(Vec::new()) } else { answer() });
        let mut follow = cluster.watch_object(&object(Kind::Pod), pod("web", "5")).await.unwrap();
        assert!(!told(&mut follow, 19).await);
        assert_eq!(seen.with("").len(), 1);
        assert_eq!(told(&mut follow, 2).await, expected.is_some());
        let Some(expected) = expected else { return assert_eq!(seen.with("watch=").len(), 1) };
        assert_eq!((follow.version(), follow.items().len()), expected);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let from = if expected.0.is_empty() { "0" } else { expected.0 };
        assert!(seen.with("watch=")[1].contains(&format!("resourceVersion={from}&")), "{:?}", seen.with(""));
    }

    #[rstest]
    #[case::the_same(&[("a", "3"), ("b", "5")], None)]
    #[case::one_changed(&[("a", "3"), ("b", "8")], Some(2))]
    #[case::one_came(&[("a", "3"), ("b", "5"), ("c", "8")], Some(3))]
    #[case::one_went(&[("b", "5")], Some(1))]
    #[case::made_anew(&[("a", "9"), ("b", "5")], Some(2))]
    #[tokio::test(start_paused = true)]
    async fn a_collection_is_listed(#[case] then: &'static [(&str, &str)], #[case] items: Option<usize>) {
        let (cluster, seen) = cluster(move |asked, before| match before {
            _ if asked.contains("watch=") => Answer::Watch(Vec::new()),
            0 => list("6", &[pod("a", "3"), pod("b", "5")]),
            _ => list("9", &then.iter().map(|(name, version)| pod(name, version)).collect::<Vec<_>>()),
        });
        let mut follow: Watch<Value> = cluster.watch(pods()).await.unwrap();
        assert_eq!(told(&mut follow, 21).await, items.is_some());
        let expected = items.map_or(("6", 2), |items| ("9", items));
        assert_eq!((follow.version(), follow.items().len()), expected);
        assert_eq!(seen.with("limit=").len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_watch_said_needs_no_telling() {
        let events = || {
            let event = |kind: &str, object: Value| json!({ "type": kind, "object": object });
            vec![
                (1, event("ADDED", pod("c", "7"))),
                (0, event("MODIFIED", pod("a", "8"))),
                (0, event("DELETED", pod("b", "9"))),
                // The watch counts as quiet only 20 s after this.
                (14, event("BOOKMARK", json!({ "metadata": { "resourceVersion": "12" } }))),
            ]
        };
        let (cluster, seen) = cluster(move |asked, before| match before {
            _ if asked.contains("watch=") => Answer::Watch(events()),
            0 => list("6", &[pod("a", "3"), pod("b", "5")]),
            _ => list("20", &[pod("a", "8"), pod("c", "7")]),
        });
        let mut follow: Watch<Value> = cluster.watch(pods()).await.unwrap();
        let begun = Instant::now();
        tokio::time::sleep_until(begun + Duration::from_secs(2)).await;
        assert!(told(&mut follow, 1).await);
        assert!(!told(&mut follow, 30).await);
        assert_eq!(seen.with("limit=").len(), 1, "33 s in, 18 s after the bookmark");
        assert!(!told(&mut follow, 30).await);
        assert_eq!((follow.version(), follow.items().len()), ("12", 2));
        assert_eq!((seen.with("limit=").len(), seen.with("watch=").len()), (3, 1));
    }
}
