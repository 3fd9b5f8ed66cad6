//! What was recorded: for each object its states, each from the resourceVersion and the moment on at which it began.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::seen::{Kind, Seen};

/// How long what is gone is remembered: longer than the longest run (five minutes) and the one of the same id before it.
const REMEMBERED: Duration = Duration::from_mins(8);

/// One state of an object, from here on.
#[derive(Debug, Clone)]
pub struct Event {
    /// The resourceVersion. Those of one etcd are one sequence, whatever the kind (own clusters have one etcd).
    pub rv: u64,
    /// When it arrived here.
    pub arrived: Instant,
    /// It was found in a list: how long it had been so is not known.
    pub listed: bool,
    /// The object's kind.
    pub kind: Kind,
    /// The object.
    pub uid: Arc<str>,
    /// Its state; none when it is gone.
    pub seen: Option<Arc<Seen>>,
}

/// A stretch of resourceVersions of which only the end is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Of which kind.
    pub kind: Kind,
    /// The last one that was seen.
    pub from: u64,
    /// The list after it.
    pub to: u64,
}

/// The history of some objects.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// In the order of their resourceVersions.
    pub events: Vec<Event>,
    /// What is missing from it.
    pub gaps: Vec<Gap>,
}

/// A list, as far as one must know of it to tell whether the recorder has seen as much.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Of which kind.
    pub kind: Kind,
    /// In which namespace; everywhere where there is none.
    pub namespace: Option<String>,
    /// Only what has this name, where the list was asked for one.
    pub name: Option<String>,
    /// The list's own resourceVersion.
    pub rv: u64,
    /// UIDs and resourceVersions of what is in it.
    pub items: BTreeMap<String, u64>,
}

impl Listed {
    /// As the API server answers it.
    pub fn read(kind: Kind, namespace: Option<&str>, name: Option<&str>, list: &Value) -> Self {
        let items = list["items"].as_array().into_iter().flatten();
        let uid = |item: &Value| item["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let items = items.map(|item| (uid(item), version(item))).collect();
        let own = |text: Option<&str>| text.map(str::to_owned);
        Self { kind, namespace: own(namespace), name: own(name), rv: version(list), items }
    }
}

/// The resourceVersion of an object or a list.
pub fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[derive(Debug)]
struct Object {
    kind: Kind,
    name: String,
    /// The last resourceVersion, also of states that are like the one before.
    latest: u64,
    states: Vec<Event>,
}

impl Object {
    fn is_there(&self) -> bool {
        self.states.last().is_some_and(|event| event.seen.is_some())
    }
}

/// Everything that was recorded.
#[derive(Debug, Default)]
pub struct Log {
    objects: HashMap<Arc<str>, Object>,
    places: HashMap<String, BTreeSet<Arc<str>>>,
    gaps: Vec<Gap>,
    last: BTreeMap<Kind, u64>,
}

impl Log {
    /// An object was made or changed.
    pub fn seen(&mut self, kind: Kind, object: &Value, arrived: Instant, listed: bool) {
        let rv = version(object);
        self.progress(kind, rv);
        let Some(seen) = Seen::read(kind, object) else { return };
        let uid: Arc<str> = Arc::from(seen.uid.as_str());
        let known = self.objects.entry(Arc::clone(&uid)).or_insert_with(|| Object {
            kind,
            name: seen.name.clone(),
            latest: 0,
            states: Vec::new(),
        });
        if known.latest >= rv {
            return;
        }
        known.latest = rv;
        // Heartbeats and the like change nothing that is judged.
        if known.states.last().and_then(|event| event.seen.as_deref()) == Some(&seen) {
            return;
        }
        self.places.entry(seen.namespace.clone()).or_default().insert(Arc::clone(&uid));
        known.states.push(Event { rv, arrived, listed, kind, uid, seen: Some(Arc::new(seen)) });
    }

    /// An object is gone.
    pub fn gone(&mut self, kind: Kind, uid: &str, rv: u64, arrived: Instant, listed: bool) {
        self.progress(kind, rv);
        let Some((uid, known)) = self.objects.get_key_value(uid).map(|(uid, _)| Arc::clone(uid)).and_then(|uid| {
            let known = self.objects.get_mut(&uid)?;
            Some((uid, known))
        }) else {
            return;
        };
        if known.is_there() {
            known.latest = known.latest.max(rv);
            known.states.push(Event { rv, arrived, listed, kind, uid, seen: None });
        }
    }

    /// The list with which the watch of a kind begins, and begins again: what happened since the last event is not known then.
    pub fn listed(&mut self, kind: Kind, list: &Value, arrived: Instant) {
        let listed = Listed::read(kind, None, None, list);
        if let Some(from) = self.last.get(&kind).copied() {
            self.gaps.push(Gap { kind, from, to: listed.rv });
        }
        let held = self.objects.iter().filter(|(_, one)| one.kind == kind && one.is_there());
        let lost: Vec<Arc<str>> =
            held.map(|(uid, _)| uid).filter(|uid| !listed.items.contains_key(&***uid)).cloned().collect();
        for uid in lost {
            self.gone(kind, &uid, listed.rv, arrived, true);
        }
        for item in list["items"].as_array().into_iter().flatten() {
            self.seen(kind, item, arrived, true);
        }
        self.progress(kind, listed.rv);
    }

    /// Everything of a kind up to here was seen.
    pub fn progress(&mut self, kind: Kind, rv: u64) {
        let last = self.last.entry(kind).or_default();
        *last = (*last).max(rv);
    }

    /// Where a watch of a kind goes on.
    pub fn last(&self, kind: Kind) -> Option<u64> {
        self.last.get(&kind).copied()
    }

    /// What a list knows and the recorder does not yet, in words; nothing when it has caught up.
    pub fn behind(&self, list: &Listed) -> Option<String> {
        let missed = list.items.iter().find(|(uid, rv)| {
            let known = self.objects.get(uid.as_str());
            known.is_none_or(|one| one.latest < **rv)
        });
        if let Some((uid, rv)) = missed {
            return Some(format!("{} {uid} at {rv}", list.kind.plural()));
        }
        let place = list.namespace.as_deref().unwrap_or_default();
        let held = self.places.get(place).into_iter().flatten().filter_map(|uid| Some((uid, self.objects.get(uid)?)));
        let extra = held
            .filter(|(_, one)| one.kind == list.kind && list.name.as_ref().is_none_or(|name| *name == one.name))
            .find(|(uid, one)| one.is_there() && !list.items.contains_key(&***uid) && one.latest <= list.rv);
        extra.map(|(_, one)| format!("the end of {} {}", list.kind.plural(), one.name))
    }

    /// The history of a namespace; of what has none (nodes), for an empty name.
    pub fn history(&self, namespace: &str) -> History {
        let objects = self.places.get(namespace).into_iter().flatten().filter_map(|uid| self.objects.get(uid));
        let mut events: Vec<Event> = objects.flat_map(|one| &one.states).cloned().collect();
        events.sort_by_key(|event| event.rv);
        History { events, gaps: self.gaps.clone() }
    }

    /// Forgets what is gone for long.
    pub fn forget(&mut self, now: Instant) {
        let old = |one: &Object| {
            !one.is_there() && one.states.last().is_none_or(|event| now.duration_since(event.arrived) > REMEMBERED)
        };
        self.objects.retain(|_, one| !old(one));
        for place in self.places.values_mut() {
            place.retain(|uid| self.objects.contains_key(uid));
        }
        self.places.retain(|_, place| !place.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(uid: &str, rv: u64, phase: &str) -> Value {
        let metadata = json!({ "uid": uid, "name": uid, "namespace": "shop", "resourceVersion": rv.to_string() });
        json!({ "metadata": metadata, "status": { "phase": phase } })
    }

    fn list(rv: u64, items: &[Value]) -> Value {
        json!({ "metadata": { "resourceVersion": rv.to_string() }, "items": items })
    }

    fn behind(log: &Log, rv: u64, items: &[Value]) -> Option<String> {
        log.behind(&Listed::read(Kind::Pod, Some("shop"), None, &list(rv, items)))
    }

    #[test]
    fn catches_up_with_a_list() {
        let (mut log, now) = (Log::default(), Instant::now());
        log.listed(Kind::Pod, &list(5, &[pod("a", 3, "Running")]), now);
        assert_eq!(behind(&log, 6, &[pod("a", 3, "Running")]), None);
        assert!(behind(&log, 6, &[pod("a", 6, "Running")]).is_some(), "a newer state");
        assert!(behind(&log, 6, &[pod("a", 3, "Running"), pod("b", 6, "Running")]).is_some(), "a pod it does not know");
        assert!(behind(&log, 7, &[]).is_some(), "the end of one");
        log.gone(Kind::Pod, "a", 7, now, false);
        assert_eq!(behind(&log, 7, &[]), None);
        log.seen(Kind::Pod, &pod("c", 9, "Pending"), now, false);
        assert_eq!(behind(&log, 8, &[]), None, "it was made after the list");
    }

    #[test]
    fn what_changes_nothing_is_no_event_and_is_seen_all_the_same() {
        let (mut log, now) = (Log::default(), Instant::now());
        log.seen(Kind::Pod, &pod("a", 3, "Running"), now, false);
        log.seen(Kind::Pod, &pod("a", 4, "Running"), now, false);
        assert_eq!(log.history("shop").events.len(), 1);
        assert_eq!(behind(&log, 4, &[pod("a", 4, "Running")]), None);
    }

    #[test]
    fn a_list_after_an_outage_leaves_a_gap() {
        let (mut log, now) = (Log::default(), Instant::now());
        log.listed(Kind::Pod, &list(5, &[pod("a", 3, "Running"), pod("b", 4, "Running")]), now);
        assert!(log.history("shop").gaps.is_empty());
        log.listed(Kind::Pod, &list(9, &[pod("b", 8, "Failed")]), now);
        let history = log.history("shop");
        assert_eq!(history.gaps, [Gap { kind: Kind::Pod, from: 5, to: 9 }]);
        let ends: Vec<_> = history.events.iter().map(|event| (event.rv, event.seen.is_some())).collect();
        assert_eq!(ends, [(3, true), (4, true), (8, true), (9, false)]);
    }

    #[test]
    fn what_is_gone_for_long_is_forgotten() {
        let (mut log, now) = (Log::default(), Instant::now());
        log.seen(Kind::Pod, &pod("a", 3, "Running"), now, false);
        log.gone(Kind::Pod, "a", 4, now, false);
        log.forget(now + REMEMBERED);
        assert_eq!(log.history("shop").events.len(), 2);
        log.forget(now + REMEMBERED + Duration::from_secs(1));
        assert!(log.history("shop").events.is_empty());
    }
}
