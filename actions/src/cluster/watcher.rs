//! The watch requests behind a `Watch`: one after the other, each from where the last one ended.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use http::Method;
use http_body_util::BodyExt;
use kube::client::Body;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::io::StreamReader;

use super::events::{Event, Item, Learnt, Start, key};
use super::status::{Failure, Scope};
use super::{Cluster, Query, build, with_query};
use crate::cluster::error::{Error, Result};

/// Time in seconds for which the server keeps one watch open. Short, because a connection that died silently is noticed
/// only after this (and [`GRACE`]); long, because each new watch is a request.
const WATCH_SECONDS: u64 = 60;

/// Time after [`WATCH_SECONDS`] at which a silent watch counts as dead.
const GRACE: Duration = Duration::from_secs(10);

/// Time without events after which a read checks the watch, because a proxy may hold events back and keep the
/// connection open. Long enough that a wait of minutes costs only a few requests.
const QUIET: Duration = Duration::from_secs(20);

/// A watch that ends sooner than this was of no use; after several of those in a row there is a pause.
const BRIEF: Duration = Duration::from_secs(1);

/// The largest event: an object is at most 1.5 MiB in etcd; JSON and managed fields may make it a few times that.
const LINE_LIMIT: usize = 8 << 20;

pub(super) type Lines = FramedRead<StreamReader<BodyStream, bytes::Bytes>, LinesCodec>;
type BodyStream = futures::stream::BoxStream<'static, std::io::Result<bytes::Bytes>>;

/// The other end of a [`Watch`](super::Watch): opens one watch request after the other, and sends the events.
pub(super) struct Watcher<T> {
    pub(super) cluster: Cluster,
    pub(super) query: Query,
    pub(super) version: String,
    /// The resourceVersion of each object that was sent, by key.
    pub(super) known: BTreeMap<String, String>,
    sender: mpsc::Sender<Result<Learnt<T>>>,
    pub(super) lines: Option<Lines>,
    opened: Instant,
    /// Time when the last line came, or the watch was opened.
    heard: Instant,
    /// Time when the quiet watch was last checked.
    pub(super) checked: Instant,
    brief: u32,
}

/// The part of an event that every event has.
#[derive(Deserialize)]
struct Head {
    r#type: String,
    object: HeadObject,
}

#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[derive(Default)]
struct HeadObject {
    metadata: HeadMeta,
    code: u16,
    message: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct HeadMeta {
    namespace: String,
    name: String,
    resource_version: String,
}

#[derive(Deserialize)]
struct Tail<T> {
    object: T,
}

impl<T: Item> Watcher<T> {
    pub(super) fn new(cluster: Cluster, query: Query, from: Start, sender: mpsc::Sender<Result<Learnt<T>>>) -> Self {
        let (Start { version, known }, now) = (from, Instant::now());
        Self { cluster, query, version, known, sender, lines: None, opened: now, heard: now, checked: now, brief: 0 }
    }

    /// Runs until the watch fails for good, and then sends the error.
    pub(super) async fn run(mut self) {
        if let Err(error) = self.watch().await {
            // A receiver that is gone does not need the error.
            let _unheard = self.sender.send(Err(error)).await;
        }
    }

    async fn watch(&mut self) -> Result<()> {
        let silence = Duration::from_secs(WATCH_SECONDS) + GRACE;
        loop {
            let Some(lines) = self.lines.as_mut() else {
                self.pause().await?;
                self.connect().await?;
                continue;
            };
            let (dead, quiet) = (self.heard + silence, self.heard.max(self.checked) + QUIET);
            match tokio::time::timeout_at(dead.min(quiet), lines.next()).await {
                Ok(Some(Ok(line))) => {
                    self.heard = Instant::now();
                    self.event(&line).await?;
                }
                // The watch ended, broke or went silent: continue from the last version seen.
                Ok(None) => self.lines = None,
                Ok(Some(Err(error))) => {
                    tracing::debug!(%error, "the watch broke, opening it again");
                    self.cluster.settle(false);
                    self.lines = None;
                }
                Err(_) if Instant::now() < dead => self.check().await,
                Err(_) => {
                    tracing::warn!("the watch fell silent, opening it again");
                    self.lines = None;
                }
            }
        }
    }

    /// Waits before the next watch, if the server (or a proxy before it) ends every watch at once.
    async fn pause(&mut self) -> Result<()> {
        self.brief = if self.opened.elapsed() < BRIEF { self.brief + 1 } else { 0 };
        let why = "the watch ended as soon as it had begun";
        if self.brief < 2 || self.cluster.pause(self.brief - 2, &Failure::Network(why.into())).await {
            return Ok(());
        }
        Err(Error::unavailable(format!("failed to watch {}", self.query.resource.plural()), why))
    }

    async fn event(&mut self, line: &str) -> Result<()> {
        let unreadable = |error| Error::unavailable("failed to read a watch event", error);
        let head: Head = match serde_json::from_str(line) {
            Ok(head) => head,
            // The cut-off last line of a connection that broke.
            Err(error) if error.is_eof() => return Ok(()),
            Err(error) => return Err(unreadable(error)),
        };
        if head.r#type == "ERROR" {
            return self.error(&head.object).await;
        }
        // An event without a version does not tell how far the watch has come.
        if !head.object.metadata.resource_version.is_empty() {
            self.version = head.object.metadata.resource_version;
        }
        let event = match head.r#type.as_str() {
            "ADDED" | "MODIFIED" => {
                let item = serde_json::from_str::<Tail<T>>(line).map_err(unreadable)?.object;
                self.known.insert(item.key().to_owned(), self.version.clone());
                Event::Set(item)
            }
            "DELETED" => {
                let gone = key(T::BY_NAMESPACE, &head.object.metadata.namespace, head.object.metadata.name);
                self.known.remove(&gone);
                Event::Gone(gone)
            }
            "BOOKMARK" => Event::Bookmark,
            _ => return Ok(()),
        };
        self.send(event).await;
        Ok(())
    }

    pub(super) async fn send(&mut self, event: Event<T>) {
        let learnt = Learnt { version: self.version.clone(), event };
        // If the receiver is gone, its Drop ends this task.
        let _unheard = self.sender.send(Ok(learnt)).await;
    }

    /// Handles an error event. 410: the version is too old to continue from, so everything is read again. Any other
    /// error ends the connection.
    async fn error(&mut self, object: &HeadObject) -> Result<()> {
        self.lines = None;
        if object.code == 410 {
            return self.relist().await;
        }
        tracing::warn!(code = object.code, message = object.message, "the watch reported an error, opening it again");
        if self.cluster.pause(0, &Failure::Network(object.message.clone().into())).await {
            return Ok(());
        }
        Err(Error::unavailable("failed to watch", object.message.clone()))
    }

    /// Reads everything again.
    async fn relist(&mut self) -> Result<()> {
        let (items, from) = self.cluster.read_anew(&self.query).await?;
        self.replace(items, from).await;
        Ok(())
    }

    /// Opens the watch, with retries until the deadline.
    pub(super) async fn connect(&mut self) -> Result<()> {
        let mut attempt = 0;
        loop {
            let sent = Instant::now();
            let failure = match self.request(attempt > 0).await? {
                Ok(lines) => {
                    (self.lines, self.opened) = (Some(lines), Instant::now());
                    self.heard = self.opened;
                    return Ok(());
                }
                Err(failure) => failure,
            };
            let too_old = matches!(&failure, Failure::Status(status) if status.code == 410);
            let again = if too_old {
                self.relist().await?;
                // At once after the first 410.
                attempt == 0 || self.cluster.pause(attempt - 1, &failure).await
            } else {
                self.cluster.goes_on(&failure, sent, attempt).await
            };
            if !again {
                let what = format!("watch {}", self.query.resource.plural());
                let permission = self.query.permission("watch");
                let (namespace, name) = (self.query.namespace.as_ref(), self.query.name.as_ref());
                return Err(self.cluster.read_error(&what, failure, &permission, namespace, name).await);
            }
            attempt += 1;
        }
    }

    async fn request(&mut self, retry: bool) -> Result<Result<Lines, Failure>> {
        // If no version is known, start from any: what exists then comes as events.
        let version = if self.version.is_empty() { "0" } else { &self.version };
        let pairs = [
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", version),
            ("timeoutSeconds", &WATCH_SECONDS.to_string()),
            ("labelSelector", &self.query.labels),
            ("fieldSelector", &self.query.fields()),
        ];
        let request = build(Method::GET, &with_query(&self.query.path(), &pairs), "", Vec::new())?;
        let response = match self.cluster.exchange(request, self.cluster.read_limit(), retry).await {
            Ok(response) => response,
            Err(failure) => return Ok(Err(failure)),
        };
        let (head, body) = response.into_parts();
        if head.status.is_success() {
            return Ok(Ok(lines(body)));
        }
        let body =
            http_body_util::Limited::new(body, LINE_LIMIT).collect().await.map(http_body_util::Collected::to_bytes);
        Ok(Err(Failure::answered(&head, &body.unwrap_or_default()).about(Scope::All(&self.query.resource))))
    }
}

fn lines(body: Body) -> Lines {
    let stream = body.into_data_stream().map(|chunk| chunk.map_err(std::io::Error::other)).boxed();
    FramedRead::new(StreamReader::new(stream), LinesCodec::new_with_max_length(LINE_LIMIT))
}
