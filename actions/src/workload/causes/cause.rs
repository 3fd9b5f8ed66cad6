//! A cause for which a wait hangs: a named object, its state, since when, and the cluster's own words.

use std::fmt;

use contract::result::ObjectReference;
use jiff::{SignedDuration, Timestamp};

use super::table::{Class, Place, Row, find};
use crate::k8s::{Kind, ObjectRef};
use crate::workload::pods::PodView;

/// The longest quotation in a sentence or result, in bytes: a scheduler's message has a clause for each kind of node.
pub const QUOTED: usize = 400;

/// A cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The object that hangs.
    pub object: ObjectReference,
    /// Row of the table.
    pub row: &'static Row,
    /// Class: the row's, unless the situation makes it another one.
    pub class: Class,
    /// Name of the container that it is about.
    pub container: Option<String>,
    /// Kubernetes' own word for the state.
    pub state: String,
    /// Time since which it is so.
    pub since: Option<Timestamp>,
    /// The cluster's own words.
    pub words: String,
    /// Node of the pod.
    pub node: Option<String>,
    /// Remarks in our words.
    pub notes: Vec<String>,
    /// Beginning of the sentence.
    pub lead: &'static str,
    /// Time after which the class may be another one, although nothing happens.
    pub again: Option<SignedDuration>,
    /// UID of the object whose events tell more.
    pub about: Option<String>,
}

impl Cause {
    /// Returns the cause that the table has for this.
    pub fn new(object: ObjectReference, place: Place, state: &str, words: &str) -> Self {
        let row = find(place, state, words);
        let (state, words) = (state.to_owned(), words.to_owned());
        let (container, since, node, again) = (None, None, None, None);
        let (class, notes, lead) = (row.class, Vec::new(), "");
        let about = object.uid.clone();
        Self { object, row, class, container, state, since, words, node, notes, lead, again, about }
    }

    /// Returns the cause for a pod.
    pub fn of_pod(target: &ObjectRef, pod: &PodView, place: Place, state: &str, words: &str) -> Self {
        Self { node: pod.node.clone(), ..Self::new(pod_reference(target, pod), place, state, words) }
    }

    /// Returns the cause with a time.
    #[must_use]
    pub fn since(self, since: Option<Timestamp>) -> Self {
        Self { since, ..self }
    }

    /// Returns the cause with a remark.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Returns the name of the kind of cause, by which patience is measured: the same for pods that follow each other.
    pub fn kind(&self) -> (&'static str, Option<&str>) {
        (self.row.why, self.container.as_deref())
    }

    /// Returns what a person may do, in our words: remarks, and the table's advice.
    pub fn advice(&self) -> Option<String> {
        let advice = Some(self.row.advice.to_owned()).filter(|advice| !advice.is_empty());
        let all: Vec<String> = self.notes.iter().cloned().chain(advice).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

/// Returns a pod as results name it.
pub fn pod_reference(target: &ObjectRef, pod: &PodView) -> ObjectReference {
    reference(target, "v1", "Pod", &pod.name, Some(pod.uid.clone()))
}

/// Returns an object in the target's namespace as results name it; nodes, namespaces and policies are in none.
pub fn reference(target: &ObjectRef, version: &str, kind: &str, name: &str, uid: Option<String>) -> ObjectReference {
    let in_none = matches!(kind, "Node" | "Namespace" | "ValidatingAdmissionPolicy");
    ObjectReference {
        api_version: version.to_owned(),
        kind: kind.to_owned(),
        namespace: target.namespace.as_ref().filter(|_| !in_none).map(ToString::to_string),
        name: name.to_owned(),
        uid: uid.filter(|uid| !uid.is_empty()),
        subresource: None,
    }
}

/// Writes `pod web-1: container app: ImagePullBackOff since 2026-…: Back-off pulling image …; …`.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { object, state, words, lead, .. } = self;
        write!(f, "{lead}{} {}", object.kind.to_lowercase(), object.name)?;
        // Of a container its own words tell more.
        match (&self.container, &self.node) {
            (Some(container), _) => write!(f, ": container {container}: {state}")?,
            (None, Some(node)) if object.kind == Kind::Pod.name() => write!(f, " on node {node}: {state}")?,
            (None, _) => write!(f, ": {state}")?,
        }
        if let Some(since) = self.since {
            write!(f, " since {}", seconds(since))?;
        }
        if !words.is_empty() && words != state {
            write!(f, ": {}", contract::text::shorten(words.trim(), QUOTED))?;
        }
        self.advice().map_or(Ok(()), |advice| write!(f, "; {advice}"))
    }
}

/// Writes a time as Kubernetes does, in whole seconds.
pub fn seconds(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fake::object;

    fn pod(node: Option<&str>) -> PodView {
        PodView { name: "web-1".to_owned(), uid: "p".to_owned(), node: node.map(str::to_owned), ..PodView::default() }
    }

    #[test]
    fn a_sentence_has_object_state_time_and_words() {
        let target = object(Kind::Deployment);
        let of = |node, state: &str, words: &str| Cause::of_pod(&target, &pod(node), Place::Waiting, state, words);
        let mut cause = of(Some("n1"), "ImagePullBackOff", "Back-off pulling image\n");
        assert_eq!(cause.to_string(), "pod web-1 on node n1: ImagePullBackOff: Back-off pulling image");
        cause = cause.since("2026-01-01T00:00:01.4Z".parse().ok());
        cause.container = Some("app".to_owned());
        cause.lead = "so: ";
        let says = "so: pod web-1: container app: ImagePullBackOff since 2026-01-01T00:00:01Z: Back-off pulling image";
        assert_eq!(cause.to_string(), says);
        assert_eq!(cause.note("one").note("two").to_string(), format!("{says}; one; two"));
        assert_eq!(
            of(None, "InvalidImageName", "InvalidImageName").note("one").to_string(),
            "pod web-1: InvalidImageName; one; correct the image's name"
        );
        let long = of(None, "X", &"x".repeat(999)).to_string();
        assert!(long.len() < 450 && long.ends_with("x…"), "{long}");
    }

    #[test]
    fn what_hangs_is_named_with_its_uid() {
        let target = object(Kind::Deployment);
        let named = |one: ObjectReference| (one.api_version, one.kind, one.namespace, one.name, one.uid);
        let text = |text: &str| text.to_owned();
        let found = named(pod_reference(&target, &pod(None)));
        assert_eq!(found, (text("v1"), text("Pod"), Some(text("shop")), text("web-1"), Some(text("p"))));
        for kind in ["Node", "Namespace", "ValidatingAdmissionPolicy"] {
            assert_eq!(
                reference(&target, "v1", kind, "x", Some(String::new())),
                ObjectReference {
                    api_version: text("v1"),
                    kind: text(kind),
                    namespace: None,
                    name: text("x"),
                    uid: None,
                    subresource: None,
                }
            );
        }
    }

    /// The node is told of a pod alone.
    #[test]
    fn a_node_is_on_no_node() {
        let node = reference(&object(Kind::Deployment), "v1", "Node", "n1", None);
        let cause = Cause { node: Some("n1".to_owned()), ..Cause::new(node, Place::Silence, "Unknown", "") };
        assert_eq!(cause.to_string(), "node n1: Unknown");
    }
}
