//! Reads what tells why a wait hangs: events about an object, the state of a node or of the namespace. Optional: whoever
//! asks does without it when it may not be read.

use jiff::Timestamp;
use serde_json::Value;

use super::read::parse;
use super::status::Scope;
use super::{Cluster, Query, with_query};
use crate::cluster::error::Result;
use crate::k8s::names::Namespace;
use crate::k8s::object::{number, text, uid};
use crate::k8s::{ObjectRef, Permission, Resource};

/// The most events that are read about one object: a controller that fails for each of its pods writes many.
const MOST: &str = "500";

/// An event, reduced to what tells why something hangs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The reason, one word.
    pub reason: String,
    /// The message (`note`).
    pub message: String,
    /// True for events of the type `Warning`.
    pub warning: bool,
    /// Number of times that it was seen.
    pub count: i64,
    /// Time when it was first seen.
    pub first: Option<Timestamp>,
    /// Time when it was last seen.
    pub last: Option<Timestamp>,
}

/// The Ready condition of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeState {
    /// UID of the node.
    pub uid: String,
    /// True when the condition is true.
    pub ready: bool,
    /// Reason of the condition.
    pub reason: String,
    /// Message of the condition.
    pub message: String,
    /// Time of its last transition.
    pub since: Option<Timestamp>,
}

/// A namespace that is being deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamespaceState {
    /// Name of the namespace.
    pub name: String,
    /// UID of the namespace.
    pub uid: String,
    /// Time of the deletion request.
    pub since: Option<Timestamp>,
    /// Message of a condition that says what is left; otherwise its phase.
    pub message: String,
}

/// Returns the resource of events.
pub fn events() -> Resource {
    Resource::known(("events.k8s.io", "v1"), "Event", "events")
}

/// Returns the resource of namespaces, for permissions: a namespace counts as one of its own objects, so that a Role in it
/// can grant to read it.
pub fn namespaces() -> Resource {
    Resource::known(("", "v1"), "Namespace", "namespaces")
}

fn time(object: &Value, pointer: &str) -> Option<Timestamp> {
    text(object, pointer)?.parse().ok()
}

impl Event {
    /// Reads the event. Those of old clients have their own count and times.
    pub fn read(event: &Value) -> Self {
        let own = |pointer: &str| text(event, pointer).unwrap_or_default().to_owned();
        let first = ["/deprecatedFirstTimestamp", "/eventTime", "/metadata/creationTimestamp"];
        let times =
            ["/series/lastObservedTime", "/deprecatedLastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
        Self {
            reason: own("/reason"),
            message: own("/note"),
            warning: text(event, "/type") == Some("Warning"),
            count: number(event, "/series/count").max(number(event, "/deprecatedCount")).max(1),
            first: first.into_iter().find_map(|pointer| time(event, pointer)),
            last: times.into_iter().find_map(|pointer| time(event, pointer)),
        }
    }
}

impl NodeState {
    /// Reads the node.
    pub fn read(node: &Value) -> Self {
        let all = node.pointer("/status/conditions").and_then(Value::as_array);
        let ready = all.into_iter().flatten().find(|one| text(one, "/type") == Some("Ready"));
        let ready = ready.unwrap_or(&Value::Null);
        Self {
            uid: uid(node).to_owned(),
            ready: text(ready, "/status") == Some("True"),
            reason: text(ready, "/reason").unwrap_or("NotReady").to_owned(),
            message: text(ready, "/message").unwrap_or_default().to_owned(),
            since: time(ready, "/lastTransitionTime"),
        }
    }
}

impl NamespaceState {
    /// Reads the namespace, if it is being deleted.
    pub fn read(namespace: &Value) -> Option<Self> {
        let since = text(namespace, "/metadata/deletionTimestamp")?;
        let all = namespace.pointer("/status/conditions").and_then(Value::as_array);
        // What could not be deleted says more than what is left, and that more than that all is well.
        let rank = |one: &Value| {
            let kind = text(one, "/type").unwrap_or_default();
            ["NamespaceDeletionDiscoveryFailure", "NamespaceDeletionContentFailure", "NamespaceFinalizersRemaining"]
                .iter()
                .position(|other| *other == kind)
                .unwrap_or(usize::MAX)
        };
        let open =
            all.into_iter().flatten().filter(|one| text(one, "/status") == Some("True")).min_by_key(|one| rank(one));
        let message = open.and_then(|one| text(one, "/message"));
        Some(Self {
            name: text(namespace, "/metadata/name").unwrap_or_default().to_owned(),
            uid: uid(namespace).to_owned(),
            since: since.parse().ok(),
            message: message.or_else(|| text(namespace, "/status/phase")).unwrap_or("Terminating").to_owned(),
        })
    }
}

impl Cluster {
    /// Reads the events about an object in the namespace of another one: one page, for they are many only where all say the
    /// same.
    pub async fn events_about(&self, beside: &ObjectRef, uid: &str) -> Result<Vec<Event>> {
        let field = Some(("regarding.uid", uid.to_owned()));
        let query = Query { field, ..Query::beside(beside, events(), "") };
        let pairs = [("limit", MOST), ("fieldSelector", &query.fields())];
        let what = "list events";
        match self.read(&with_query(&query.path(), &pairs), Scope::All(&query.resource)).await {
            Ok(body) => {
                let page: Value = parse(&body, what)?;
                let items = page.get("items").and_then(Value::as_array);
                Ok(items.into_iter().flatten().map(Event::read).collect())
            }
            Err(failure) => {
                let permission = query.permission("list");
                Err(self.read_error(what, failure, &permission, query.namespace.as_ref(), None).await)
            }
        }
    }

    /// Reads a namespace; `None` unless it is being deleted.
    pub async fn leaving_namespace(&self, namespace: &Namespace) -> Result<Option<NamespaceState>> {
        let what = "get the namespace";
        match self.read(&format!("/api/v1/namespaces/{namespace}"), Scope::Other).await {
            Ok(body) => Ok(NamespaceState::read(&parse(&body, what)?)),
            Err(failure) => {
                let permission = Permission::on_target("get", &namespaces());
                Err(self.read_error(what, failure, &permission, Some(namespace), None).await)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fake::{Answer, cluster, object};
    use crate::k8s::Kind;
    use rstest::rstest;
    use serde_json::json;

    #[expect(clippy::unnecessary_wraps, reason = "times of events may be absent")]
    fn at(text: &str) -> Option<Timestamp> {
        Some(text.parse().unwrap())
    }

    #[rstest]
    #[case::series(json!({ "series": { "count": 7, "lastObservedTime": "2026-01-01T00:00:07Z" }, "eventTime": "2026-01-01T00:00:01Z" }), 7, at("2026-01-01T00:00:07Z"))]
    #[case::old_client(json!({ "deprecatedCount": 3, "deprecatedLastTimestamp": "2026-01-01T00:00:03Z", "eventTime": null }), 3, at("2026-01-01T00:00:03Z"))]
    #[case::once(json!({ "eventTime": "2026-01-01T00:00:01Z", "metadata": { "creationTimestamp": "2026-01-01T00:00:02Z" } }), 1, at("2026-01-01T00:00:01Z"))]
    #[case::only_made(json!({ "metadata": { "creationTimestamp": "2026-01-01T00:00:02Z" } }), 1, at("2026-01-01T00:00:02Z"))]
    #[case::without_a_time(json!({}), 1, None)]
    fn an_event_says_when_and_how_often(#[case] event: Value, #[case] count: i64, #[case] last: Option<Timestamp>) {
        let found = Event::read(&event);
        assert_eq!((found.count, found.last, found.warning), (count, last, false));
    }

    #[tokio::test(start_paused = true)]
    async fn events_are_asked_for_by_the_objects_uid() {
        let body = json!({ "metadata": {}, "items": [{ "reason": "FailedMount", "note": "no such secret", "type": "Warning", "deprecatedCount": 2 }] });
        let (fine, seen) = cluster(move |_, _| Answer::Json(200, body.clone()));
        let found = fine.events_about(&object(Kind::Deployment), "p").await.unwrap();
        let expected = Event {
            reason: "FailedMount".to_owned(),
            message: "no such secret".to_owned(),
            warning: true,
            count: 2,
            first: None,
            last: None,
        };
        assert_eq!(found, [expected]);
        let asked = "GET /apis/events.k8s.io/v1/namespaces/shop/events?limit=500&fieldSelector=regarding.uid%3Dp";
        assert_eq!(seen.with(""), [asked]);
        let (empty, _) = cluster(|_, _| Answer::Json(200, json!({ "metadata": {}, "items": null })));
        assert_eq!(empty.events_about(&object(Kind::Deployment), "p").await.unwrap(), []);
    }

    #[test]
    fn an_event_says_since_when() {
        let first = |event: Value| Event::read(&event).first;
        let old = json!({ "deprecatedFirstTimestamp": "2026-01-01T00:00:01Z", "deprecatedLastTimestamp": "2026-01-01T00:00:09Z", "eventTime": "2026-01-01T00:00:05Z" });
        assert_eq!(first(old), at("2026-01-01T00:00:01Z"));
        assert_eq!(first(json!({ "eventTime": "2026-01-01T00:00:05Z" })), at("2026-01-01T00:00:05Z"));
        assert_eq!(
            first(json!({ "metadata": { "creationTimestamp": "2026-01-01T00:00:06Z" } })),
            at("2026-01-01T00:00:06Z")
        );
    }

    #[test]
    fn a_node_says_whether_it_is_ready() {
        let conditions = json!([{ "type": "MemoryPressure", "status": "True" },
            { "type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status.", "lastTransitionTime": "2026-01-01T00:00:02Z" }]);
        let found = NodeState::read(&json!({ "metadata": { "uid": "n" }, "status": { "conditions": conditions } }));
        assert_eq!((found.uid.as_str(), found.ready, found.reason.as_str()), ("n", false, "NodeStatusUnknown"));
        assert_eq!(
            (found.message.as_str(), found.since),
            ("Kubelet stopped posting node status.", at("2026-01-01T00:00:02Z"))
        );
        let ready = json!({ "status": { "conditions": [{ "type": "Ready", "status": "True" }] } });
        assert!(NodeState::read(&ready).ready);
        let silent = NodeState::read(&json!({}));
        assert_eq!((silent.ready, silent.reason.as_str(), silent.message.as_str()), (false, "NotReady", ""));
    }

    #[rstest]
    #[case::says_what_fails(json!([
        { "type": "NamespaceContentRemaining", "status": "True", "message": "remaining" },
        { "type": "NamespaceFinalizersRemaining", "status": "True", "message": "finalizers" },
        { "type": "NamespaceDeletionContentFailure", "status": "True", "message": "failure" },
        { "type": "NamespaceDeletionDiscoveryFailure", "status": "False", "message": "none" }]), "failure")]
    #[case::says_what_is_left(json!([{ "type": "NamespaceContentRemaining", "status": "True", "message": "remaining" }]), "remaining")]
    #[case::says_nothing(json!([]), "Terminating")]
    fn a_namespace_that_goes(#[case] conditions: Value, #[case] says: &str) {
        let metadata = json!({ "name": "shop", "uid": "n", "deletionTimestamp": "2026-01-01T00:00:02Z" });
        let found = NamespaceState::read(
            &json!({ "metadata": metadata, "status": { "phase": "Terminating", "conditions": conditions } }),
        );
        let (name, uid, since) = ("shop".to_owned(), "n".to_owned(), at("2026-01-01T00:00:02Z"));
        assert_eq!(found, Some(NamespaceState { name, uid, since, message: says.to_owned() }));
        assert_eq!(NamespaceState::read(&json!({ "metadata": {} })), None);
    }
}
