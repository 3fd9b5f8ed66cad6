//! Objects, followed by watch: what there is now, and a wake-up whenever it changes.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use http::Method;
use http_body_util::BodyExt;
use kube::client::Body;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::io::StreamReader;

use super::status::{Failure, Status};
use super::{Cluster, Query, READ_LIMIT, build, with_query};
use crate::error::{Error, Result};
use crate::object::{ObjectRef, text};

/// How long the server keeps one watch open. Short, because a connection that died silently is noticed only when this
/// (and [`GRACE`]) is over; long, because each new watch is a request.
const WATCH_SECONDS: u64 = 60;

/// How long after [`WATCH_SECONDS`] a watch counts as silently dead.
const GRACE: Duration = Duration::from_secs(10);

/// A watch that lasts shorter than this has not done its work; after several of those in a row there is a pause.
const BRIEF: Duration = Duration::from_secs(1);

/// The largest event: an object is at most 1.5 MiB in etcd; JSON and managed fields may make it a few times that.
const LINE_LIMIT: usize = 8 << 20;

/// What a follower keeps of each object; small, because there may be thousands.
pub trait Item: DeserializeOwned + Send + 'static {
    /// Whether it is known by namespace and name (`shop/web`), for what is followed in all namespaces.
    const BY_NAMESPACE: bool = false;
    /// What it is known by, and later events replace it by.
    fn key(&self) -> &str;
}

impl Item for Value {
    fn key(&self) -> &str {
        text(self, "/metadata/name").unwrap_or_default()
    }
}

enum Event<T> {
    Set(T),
    Gone(String),
    All(Vec<T>),
}

/// A set of objects that follows the cluster. Reading from it is cancel-safe.
pub struct Follow<T> {
    items: BTreeMap<String, T>,
    events: mpsc::Receiver<Result<Event<T>>>,
    watcher: JoinHandle<()>,
}

impl<T> Drop for Follow<T> {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

impl<T: Item> Follow<T> {
    /// The objects as they are now, by name.
    pub fn items(&self) -> &BTreeMap<String, T> {
        &self.items
    }

    /// Waits until something changed.
    pub async fn changed(&mut self) -> Result<()> {
        let Some(event) = self.events.recv().await else {
            return Err(Error::Internal("the watch ended without a word".to_owned()));
        };
        self.apply(event?);
        while let Ok(event) = self.events.try_recv() {
            self.apply(event?);
        }
        Ok(())
    }

    fn apply(&mut self, event: Event<T>) {
        match event {
            Event::Set(item) => {
                self.items.insert(item.key().to_owned(), item);
            }
            Event::Gone(name) => {
                self.items.remove(&name);
            }
            Event::All(items) => self.items = index(items),
        }
    }
}

/// What an item is known by.
pub fn key(by_namespace: bool, namespace: &str, name: String) -> String {
    if by_namespace && !namespace.is_empty() { format!("{namespace}/{name}") } else { name }
}

fn index<T: Item>(items: Vec<T>) -> BTreeMap<String, T> {
    items.into_iter().map(|item| (item.key().to_owned(), item)).collect()
}

impl Cluster {
    /// Follows one object from the state in hand. When this returns, the watch is open: no later change is missed.
    pub async fn follow_object(&self, object: &ObjectRef, now: Value) -> Result<Follow<Value>> {
        let version = text(&now, "/metadata/resourceVersion").unwrap_or_default().to_owned();
        self.open(Query::only(object), vec![now], version).await
    }

    /// Follows all objects of a query. When this returns, the watch is open.
    pub async fn follow<T: Item>(&self, query: Query) -> Result<Follow<T>> {
        let (items, version) = self.list(&query).await?;
        self.open(query, items, version).await
    }

    async fn open<T: Item>(&self, query: Query, items: Vec<T>, version: String) -> Result<Follow<T>> {
        /// Events are small and read at once; a full channel only makes the watcher wait.
        const CHANNEL: usize = 64;
        let (sender, events) = mpsc::channel(CHANNEL);
        let mut watcher = Watcher::new(self.clone(), query, version, sender);
        watcher.connect().await?;
        let watcher = tokio::spawn(async move {
            if let Err(error) = watcher.run().await {
                // A receiver that is gone has no use for the error.
                let _unheard = watcher.sender.send(Err(error)).await;
            }
        });
        Ok(Follow { items: index(items), events, watcher })
    }
}

impl Cluster {
    /// The first change of an object after the version in hand, from the history that the API server keeps (five
    /// minutes by default); `None` when there is none until `wait` is over.
    pub(super) async fn first_change(&self, object: &ObjectRef, version: &str, wait: Duration) -> Option<Value> {
        let (sender, mut events) = mpsc::channel(1);
        let query = Query::only(object);
        let mut watcher = Watcher::new(self.clone(), query, version.to_owned(), sender);
        watcher.connect().await.ok()?;
        let task = tokio::spawn(async move { watcher.run().await });
        let first = tokio::time::timeout(wait, events.recv()).await;
        task.abort();
        match first {
            Ok(Some(Ok(Event::Set(object)))) => Some(object),
            // Nothing yet, gone at once, or a history that is no longer whole: it proves nothing.
            _ => None,
        }
    }
}

type Lines = FramedRead<StreamReader<BodyStream, bytes::Bytes>, LinesCodec>;
type BodyStream = futures::stream::BoxStream<'static, std::io::Result<bytes::Bytes>>;

struct Watcher<T> {
    cluster: Cluster,
    query: Query,
    version: String,
    sender: mpsc::Sender<Result<Event<T>>>,
    lines: Option<Lines>,
    opened: Instant,
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
    fn new(cluster: Cluster, query: Query, version: String, sender: mpsc::Sender<Result<Event<T>>>) -> Self {
        Self { cluster, query, version, sender, lines: None, opened: Instant::now(), brief: 0 }
    }

    async fn run(&mut self) -> Result<()> {
        let silence = Duration::from_secs(WATCH_SECONDS) + GRACE;
        loop {
            let Some(lines) = self.lines.as_mut() else {
                self.pause().await?;
                self.connect().await?;
                continue;
            };
            match tokio::time::timeout(silence, lines.next()).await {
                Ok(Some(Ok(line))) => self.event(&line).await?,
                // Its time was over, it broke, or it fell silent: on from the last version that was seen.
                Ok(None) => self.lines = None,
                Ok(Some(Err(error))) => {
                    tracing::debug!(%error, "the watch broke, opening it again");
                    self.cluster.settle(false);
                    self.lines = None;
                }
                Err(_) => {
                    tracing::warn!("the watch fell silent, opening it again");
                    self.lines = None;
                }
            }
        }
    }

    /// A server (or what stands before it) that ends every watch at once is not asked as fast as it answers.
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
            // The last line of a connection that broke.
            Err(error) if error.is_eof() => return Ok(()),
            Err(error) => return Err(unreadable(error)),
        };
        if head.r#type == "ERROR" {
            return self.error(&head.object).await;
        }
        self.version = head.object.metadata.resource_version;
        let event = match head.r#type.as_str() {
            "ADDED" | "MODIFIED" => Event::Set(serde_json::from_str::<Tail<T>>(line).map_err(unreadable)?.object),
            "DELETED" => Event::Gone(key(T::BY_NAMESPACE, &head.object.metadata.namespace, head.object.metadata.name)),
            _ => return Ok(()),
        };
        self.send(event).await;
        Ok(())
    }

    async fn send(&mut self, event: Event<T>) {
        // A receiver that is gone ends this task by its Drop.
        let _unheard = self.sender.send(Ok(event)).await;
    }

    /// 410: the version is too old to go on from; everything is read anew. Any other error ends the connection.
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

    /// Everything anew. One object is read by GET: who follows only that need not be allowed to list.
    async fn relist(&mut self) -> Result<()> {
        let (items, version) = match self.query.object() {
            None => self.cluster.list(&self.query).await?,
            Some(object) => match self.cluster.get(&object).await {
                Ok(now) => {
                    let version = text(&now, "/metadata/resourceVersion").unwrap_or_default().to_owned();
                    let what = format!("read {object}");
                    (vec![serde_json::from_value(now).map_err(|error| Error::unavailable(what, error))?], version)
                }
                // Gone: from whatever comes next.
                Err(Error::TargetNotFound(_)) => (Vec::new(), "0".to_owned()),
                Err(error) => return Err(error),
            },
        };
        self.version = version;
        self.send(Event::All(items)).await;
        Ok(())
    }

    /// Opens the watch, trying until the deadline.
    async fn connect(&mut self) -> Result<()> {
        let mut attempt = 0;
        loop {
            let sent = Instant::now();
            let failure = match self.request(attempt > 0).await? {
                Ok(lines) => {
                    (self.lines, self.opened) = (Some(lines), Instant::now());
                    return Ok(());
                }
                Err(failure) => failure,
            };
            let too_old = matches!(&failure, Failure::Status(status) if status.code == 410);
            let again = if too_old {
                self.relist().await?;
                // The first time at once.
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
        let pairs = [
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", &self.version),
            ("timeoutSeconds", &WATCH_SECONDS.to_string()),
            ("labelSelector", &self.query.labels),
            ("fieldSelector", &self.query.fields()),
        ];
        let request = build(Method::GET, &with_query(&self.query.path(), &pairs), "", Vec::new())?;
        let response = match self.cluster.exchange(request, READ_LIMIT, retry).await {
            Ok(response) => response,
            Err(failure) => return Ok(Err(failure)),
        };
        let (head, body) = response.into_parts();
        if head.status.is_success() {
            return Ok(Ok(lines(body)));
        }
        let body =
            http_body_util::Limited::new(body, LINE_LIMIT).collect().await.map(http_body_util::Collected::to_bytes);
        Ok(Err(Failure::Status(Status::read(&head, &body.unwrap_or_default()))))
    }
}

fn lines(body: Body) -> Lines {
    let stream = body.into_data_stream().map(|chunk| chunk.map_err(std::io::Error::other)).boxed();
    FramedRead::new(StreamReader::new(stream), LinesCodec::new_with_max_length(LINE_LIMIT))
}
