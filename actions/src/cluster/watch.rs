//! Watches objects: holds their current state, and wakes up whenever something changes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::events::{Event, Item, Learnt, Start};
use super::watcher::Watcher;
use super::{Cluster, Query};
use crate::cluster::error::{Error, Result};
use crate::k8s::ObjectRef;

/// Events are small and read at once; a full channel only makes the watcher wait.
const CHANNEL: usize = 64;

/// A set of objects that follows the cluster. Reading from it is cancel-safe.
pub struct Watch<T> {
    query: Query,
    items: BTreeMap<String, T>,
    /// The resourceVersion of each object; `None` after a list in between, which does not tell them.
    known: Option<BTreeMap<String, String>>,
    version: String,
    events: mpsc::Receiver<Result<Learnt<T>>>,
    watcher: JoinHandle<()>,
}

impl<T> Drop for Watch<T> {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

impl<T: Item> Watch<T> {
    /// Returns the objects as they are now, by key.
    pub fn items(&self) -> &BTreeMap<String, T> {
        &self.items
    }

    /// Returns the resourceVersion of the last event, list or bookmark: [`Self::items`] is exactly the state of the
    /// cluster at this version. Moves only while waiting for [`Self::changed`]. (If a GET did not find the single
    /// object, the API server gives no version: this is empty until the watch gives one.)
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Waits until something has changed.
    pub async fn changed(&mut self) -> Result<()> {
        let mut changed = false;
        while !changed {
            let Some(learnt) = self.events.recv().await else {
                return Err(Error::Internal("the watch ended without a word".to_owned()));
            };
            changed = self.apply(learnt?);
        }
        while let Ok(learnt) = self.events.try_recv() {
            self.apply(learnt?);
        }
        Ok(())
    }

    /// Reads the objects as they are now, whatever the watch has said: it may have gone silent. Returns whether it has kept
    /// anything back. For a last look: an event that comes after this may be older.
    pub async fn refresh(&mut self, cluster: &Cluster) -> Result<bool> {
        let (items, from) = cluster.read_anew(&self.query).await?;
        let kept_back = self.known.replace(from.known) != self.known;
        (self.items, self.version) = (index(items), from.version);
        Ok(kept_back)
    }

    /// Applies an event, and returns whether the objects may have changed.
    fn apply(&mut self, learnt: Learnt<T>) -> bool {
        self.version = learnt.version;
        match learnt.event {
            Event::Set(item) => {
                if let Some(known) = &mut self.known {
                    known.insert(item.key().to_owned(), self.version.clone());
                }
                self.items.insert(item.key().to_owned(), item);
            }
            Event::Gone(name) => {
                if let Some(known) = &mut self.known {
                    known.remove(&name);
                }
                self.items.remove(&name);
            }
            Event::All(items) => (self.items, self.known) = (index(items), None),
            Event::Bookmark => return false,
        }
        true
    }
}

fn index<T: Item>(items: Vec<T>) -> BTreeMap<String, T> {
    items.into_iter().map(|item| (item.key().to_owned(), item)).collect()
}

impl Cluster {
    /// Watches one object from the state in hand. When this returns, the watch is open: no later change is missed.
    pub async fn watch_object(&self, object: &ObjectRef, now: Value) -> Result<Watch<Value>> {
        let from = Start::at(&now);
        self.open(Query::only(object), vec![now], from).await
    }

    /// Watches all objects of a query. When this returns, the watch is open.
    pub async fn watch<T: Item>(&self, query: Query) -> Result<Watch<T>> {
        let (items, from) = self.list_to_follow(&query).await?;
        self.open(query, items, from).await
    }

    async fn open<T: Item>(&self, query: Query, items: Vec<T>, from: Start) -> Result<Watch<T>> {
        let (sender, events) = mpsc::channel(CHANNEL);
        let (version, known) = (from.version.clone(), Some(from.known.clone()));
        let mut watcher = Watcher::new(self.clone(), query.clone(), from, sender);
        watcher.connect().await?;
        let watcher = tokio::spawn(watcher.run());
        Ok(Watch { query, items: index(items), known, version, events, watcher })
    }
}

impl Cluster {
    /// Returns the first change of an object after the version in hand, from the history that the API server keeps
    /// (five minutes by default), or `None` if there is none within `wait`.
    pub(super) async fn first_change(&self, object: &ObjectRef, version: &str, wait: Duration) -> Option<Value> {
        let (sender, mut events) = mpsc::channel(CHANNEL);
        let query = Query::only(object);
        let known = BTreeMap::from([(object.name.to_string(), version.to_owned())]);
        let from = Start { version: version.to_owned(), known };
        let mut watcher = Watcher::new(self.clone(), query, from, sender);
        watcher.connect().await.ok()?;
        let task = tokio::spawn(watcher.run());
        let first = async {
            loop {
                match events.recv().await {
                    Some(Ok(Learnt { event: Event::Bookmark, .. })) => {}
                    Some(Ok(Learnt { event: Event::Set(object), .. })) => return Some(object),
                    // Deleted at once, or the history is no longer complete: this proves nothing.
                    _ => return None,
                }
            }
        };
        let first = tokio::time::timeout(wait, first).await;
        task.abort();
        // No change so far proves nothing either.
        first.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fake::{Answer, cluster, object};
    use crate::k8s::Kind;
    use crate::k8s::object::number;
    use serde_json::json;

    fn deployment(version: &str, replicas: u32) -> Value {
        json!({ "metadata": { "name": "web", "resourceVersion": version }, "spec": { "replicas": replicas } })
    }

    fn replicas(follow: &Watch<Value>) -> Option<i64> {
        Some(number(follow.items().get("web")?, "/spec/replicas"))
    }

    #[tokio::test(start_paused = true)]
    async fn its_version_is_that_of_what_was_applied() {
        let bookmark = json!({ "type": "BOOKMARK", "object": { "metadata": { "resourceVersion": "9" } } });
        let (cluster, _) = cluster(move |_, _| {
            Answer::Watch(vec![
                (1, json!({ "type": "MODIFIED", "object": deployment("7", 2) })),
                (1, bookmark.clone()),
                (1, json!({ "type": "DELETED", "object": deployment("12", 2) })),
            ])
        });
        let mut follow = cluster.watch_object(&object(Kind::Deployment), deployment("5", 1)).await.unwrap();
        assert_eq!((follow.version(), replicas(&follow)), ("5", Some(1)));
        // An event that has arrived but was not applied does not count.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!((follow.version(), replicas(&follow)), ("5", Some(1)));
        follow.changed().await.unwrap();
        assert_eq!((follow.version(), replicas(&follow)), ("7", Some(2)));
        // A bookmark changes only the version: it does not wake.
        let early = tokio::time::timeout(Duration::from_secs(1), follow.changed()).await;
        assert!(early.is_err());
        assert_eq!((follow.version(), replicas(&follow)), ("9", Some(2)));
        follow.changed().await.unwrap();
        assert_eq!((follow.version(), replicas(&follow)), ("12", None));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_change_is_no_bookmark() {
        let bookmark = json!({ "type": "BOOKMARK", "object": { "metadata": { "resourceVersion": "6" } } });
        let (cluster, _) = cluster(move |_, _| {
            Answer::Watch(vec![(1, bookmark.clone()), (1, json!({ "type": "MODIFIED", "object": deployment("7", 2) }))])
        });
        let object = object(Kind::Deployment);
        let first = cluster.first_change(&object, "5", Duration::from_secs(10)).await;
        assert_eq!(first, Some(deployment("7", 2)));
        assert_eq!(cluster.first_change(&object, "5", Duration::from_millis(1500)).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_version_that_is_too_old_is_read_anew() {
        let (cluster, seen) = cluster(|asked, _| match asked {
            asked if asked.contains("resourceVersion=5&") => {
                Answer::Json(410, json!({ "kind": "Status", "code": 410, "message": "too old" }))
            }
            asked if asked.contains("watch=true") => Answer::Watch(Vec::new()),
            _ => Answer::Json(200, deployment("8", 3)),
        });
        let mut follow = cluster.watch_object(&object(Kind::Deployment), deployment("5", 1)).await.unwrap();
        follow.changed().await.unwrap();
        assert_eq!((follow.version(), replicas(&follow)), ("8", Some(3)));
        assert_eq!(seen.with("resourceVersion=8&").len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_on_the_way_is_tried_again() {
        let (cluster, seen) = cluster(|_, before| match before {
            0 => Answer::Lost,
            1 => Answer::Text(502, "<html>"),
            _ => Answer::Watch(vec![(1, json!({ "type": "MODIFIED", "object": deployment("7", 2) }))]),
        });
        let mut follow = cluster.watch_object(&object(Kind::Deployment), deployment("5", 1)).await.unwrap();
        follow.changed().await.unwrap();
        assert_eq!((follow.version(), seen.with("watch=true").len()), ("7", 3));
    }
}
