//! Keeps the last state of objects by the UID of their controller, as long as somebody needs it.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::runtime::watcher::Event;

use super::owner::{controller, execution_of, job_of};
use super::slim::{SlimJob, SlimPod};
use super::{Life, Seen};

/// A Job or a pod.
pub trait Ours: Clone {
    /// Returns its metadata.
    fn metadata(&self) -> &ObjectMeta;
    /// Returns what it belongs to: the execution of a Job, the Job of a pod.
    fn owner(&self) -> Option<&OwnerReference>;
    /// Returns its metadata, to change what is kept of it.
    fn metadata_mut(&mut self) -> &mut ObjectMeta;
    /// Keeps what an earlier state said and this one does not repeat.
    fn remember(&mut self, before: Option<&Self>);
}

impl Ours for SlimJob {
    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn owner(&self) -> Option<&OwnerReference> {
        execution_of(&self.metadata)
    }
    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
    fn remember(&mut self, before: Option<&Self>) {
        SlimJob::remember(self, before);
    }
}

impl Ours for SlimPod {
    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn owner(&self) -> Option<&OwnerReference> {
        job_of(&self.metadata)
    }
    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
    fn remember(&mut self, before: Option<&Self>) {
        SlimPod::remember(self, before);
    }
}

/// The last states of objects.
#[derive(Debug)]
pub struct Store<K> {
    inner: Mutex<Inner<K>>,
}

#[derive(Debug)]
struct Inner<K> {
    /// By their controller's UID, then by their own. In boxes: the smallest map has places for three, and most have one.
    objects: HashMap<String, HashMap<String, Box<Seen<K>>>>,
    /// UIDs that were listed since the watch began anew.
    listed: Option<HashSet<String>>,
    ready: bool,
}

impl<K> Default for Store<K> {
    fn default() -> Self {
        Self { inner: Mutex::new(Inner { objects: HashMap::new(), listed: None, ready: false }) }
    }
}

impl<K: Ours> Store<K> {
    /// Takes an event of the watch. Returns the objects that changed.
    pub fn apply(&self, event: Event<K>) -> Vec<K> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Init => {
                inner.listed = Some(HashSet::new());
                Vec::new()
            }
            Event::InitApply(object) => {
                if let (Some(listed), Some(uid)) = (&mut inner.listed, object.metadata().uid.clone()) {
                    listed.insert(uid);
                }
                inner.put(object, Life::There, false)
            }
            Event::InitDone => {
                inner.ready = true;
                let Some(listed) = inner.listed.take() else { return Vec::new() };
                inner.mark_gone(&listed)
            }
            Event::Apply(object) => inner.put(object, Life::There, false),
            Event::Delete(object) => inner.put(object, Life::Gone, false),
        }
    }

    /// Returns whether the first list has been read.
    pub fn ready(&self) -> bool {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).ready
    }

    /// Returns the objects of a controller, in the order of their creation.
    pub fn of(&self, controller_uid: &str) -> Vec<Seen<K>> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = inner
            .objects
            .get(controller_uid)
            .into_iter()
            .flat_map(HashMap::values)
            .map(|seen| seen.as_ref().clone())
            .collect();
        all.sort_by_key(|one| {
            let metadata = one.object.metadata();
            (metadata.creation_timestamp.as_ref().map(|time| time.0), metadata.name.clone())
        });
        all
    }

    /// Takes what the API server answered when it was asked for all objects of a controller.
    pub fn looked(&self, controller_uid: &str, there: Vec<K>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let listed: HashSet<String> = there.iter().filter_map(|one| one.metadata().uid.clone()).collect();
        for object in there {
            inner.put(object, Life::There, true);
        }
        for (uid, seen) in inner.objects.get_mut(controller_uid).into_iter().flatten() {
            if !listed.contains(uid) {
                seen.is_gone();
            }
        }
    }

    /// Takes an object that the API server answered with.
    pub fn saw(&self, object: K) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).put(object, Life::There, true);
    }

    /// Takes an object that is known to be this controller's, though it does not say so: it was orphaned while nobody watched.
    pub fn adopt(&self, controller_uid: &str, object: K, life: Life) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let uid = object.metadata().uid.clone().unwrap_or_default();
        let of_owner = inner.objects.get(controller_uid);
        let known = of_owner.is_some_and(|all| all.contains_key(&uid));
        inner.put_under(controller_uid.to_owned(), object, life, true);
        // Nobody saw what it has been through.
        if let Some(seen) = inner.objects.get_mut(controller_uid).and_then(|all| all.get_mut(&uid)).filter(|_| !known) {
            seen.watched = false;
        }
    }

    /// Takes that the API server has no object of this name: the one of this controller is gone.
    pub fn absent(&self, controller_uid: &str, name: &str) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let of_owner = inner.objects.get_mut(controller_uid).into_iter().flat_map(HashMap::values_mut);
        for seen in of_owner.filter(|one| one.object.metadata().name.as_deref() == Some(name)) {
            seen.is_gone();
        }
    }

    /// Takes that an object is gone.
    pub fn gone(&self, controller_uid: &str, uid: &str) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = inner.objects.get_mut(controller_uid).and_then(|all| all.get_mut(uid)) {
            seen.is_gone();
        }
    }

    /// Changes what is known of an object, where an answer does not show it.
    pub fn change(&self, controller_uid: &str, uid: &str, change: impl FnOnce(&mut K)) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = inner.objects.get_mut(controller_uid).and_then(|all| all.get_mut(uid)) {
            change(&mut seen.object);
            if seen.object.metadata().deletion_timestamp.is_some() {
                seen.going_since.get_or_insert_with(Timestamp::now);
            }
        }
    }

    /// Forgets the objects of a controller.
    pub fn forget(&self, controller_uid: &str) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).objects.remove(controller_uid);
    }

    /// Keeps the objects of these controllers only. Returns the UIDs of what is kept.
    pub fn keep(&self, controllers: &HashSet<String>) -> HashSet<String> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.objects.retain(|controller, _| controllers.contains(controller));
        inner.objects.values().flat_map(|all| all.keys().cloned()).collect()
    }

    /// Returns how many objects are kept.
    pub fn len(&self) -> usize {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.objects.values().map(HashMap::len).sum()
    }

    /// Returns whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Ours> Inner<K> {
    /// Keeps an object. One that carries an older resourceVersion than what is kept is late, and dropped. What is gone
    /// from the watch (also because its labels were changed) comes back only by a later state, or when the API server
    /// was asked.
    fn put(&mut self, object: K, life: Life, asked: bool) -> Vec<K> {
        let owner = object.metadata().uid.as_deref().and_then(|uid| self.owner(&object, uid));
        owner.map(|owner| self.put_under(owner, object, life, asked)).unwrap_or_default()
    }

    fn put_under(&mut self, owner: String, mut object: K, life: Life, asked: bool) -> Vec<K> {
        let Some(uid) = object.metadata().uid.clone() else { return Vec::new() };
        let version =
            |object: &K| object.metadata().resource_version.as_deref().and_then(|text| text.parse::<u64>().ok());
        let of_owner = self.objects.entry(owner).or_default();
        let known = of_owner.get(&uid).map(Box::as_ref);
        let late = |known: &Seen<K>| {
            let (old, new) = (version(&known.object), version(&object));
            old > new || old == new && known.life == Life::Gone && !asked
        };
        if known.is_some_and(late) {
            return Vec::new();
        }
        object.metadata_mut().managed_fields = None;
        object.remember(known.map(|known| &known.object));
        // What a list has may have changed more than once since, unless it is what was known.
        let followed = self.listed.is_none() || known.is_some_and(|known| version(&known.object) == version(&object));
        let watched = followed && known.map_or(life == Life::There, |known| known.watched);
        // Without a time of deletion it has only left the watch, as by a change of its labels, and goes on elsewhere.
        let last_word = life == Life::Gone && object.metadata().deletion_timestamp.is_some();
        let gone_since = (life == Life::Gone).then(Timestamp::now);
        let going = object.metadata().deletion_timestamp.is_some();
        let going_since = known.and_then(|known| known.going_since).or_else(|| going.then(Timestamp::now));
        let seen = Seen { object: object.clone(), life, watched, last_word, gone_since, going_since };
        of_owner.insert(uid, Box::new(seen));
        vec![object]
    }

    /// Returns the UID of the controller that an object is kept by. One that was orphaned is still the one that was known; one that
    /// says it belongs to something else is not.
    fn owner(&self, object: &K, uid: &str) -> Option<String> {
        if controller(object.metadata()).is_some() {
            return object.owner().map(|owner| owner.uid.clone());
        }
        self.objects.iter().find(|(_, all)| all.contains_key(uid)).map(|(owner, _)| owner.clone())
    }

    fn mark_gone(&mut self, listed: &HashSet<String>) -> Vec<K> {
        let mut changed = Vec::new();
        for (uid, seen) in self.objects.values_mut().flatten() {
            if seen.life == Life::There && !listed.contains(uid) {
                seen.is_gone();
                changed.push(seen.object.clone());
            }
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;

    fn pod(uid: &str, version: &str) -> SlimPod {
        serde_json::from_value(json!({ "metadata": {
            "uid": uid, "name": uid, "resourceVersion": version,
            "ownerReferences": [{ "apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "job", "controller": true }],
        } }))
        .unwrap()
    }

    fn lives(store: &Store<SlimPod>) -> Vec<(String, Life)> {
        store.of("job").into_iter().map(|seen| (seen.object.metadata.name.unwrap_or_default(), seen.life)).collect()
    }

    #[test]
    fn what_is_gone_is_kept_until_it_is_forgotten() {
        let store = Store::default();
        store.apply(Event::Init);
        store.apply(Event::InitApply(pod("a", "1")));
        assert!(!store.ready());
        store.apply(Event::InitDone);
        assert!(store.ready());
        store.apply(Event::Delete(pod("a", "2")));
        assert_eq!(lives(&store), [("a".to_owned(), Life::Gone)]);
        store.apply(Event::Apply(pod("a", "1")));
        assert_eq!(lives(&store), [("a".to_owned(), Life::Gone)], "a late event brings nothing back");
        store.forget("job");
        assert!(store.is_empty());
    }

    /// A watch that begins anew tells nothing of what went meanwhile.
    #[test]
    fn what_a_new_list_lacks_is_gone() {
        let store = Store::default();
        for event in [Event::Init, Event::InitApply(pod("a", "1")), Event::InitApply(pod("b", "2")), Event::InitDone] {
            store.apply(event);
        }
        store.apply(Event::Init);
        store.apply(Event::InitApply(pod("b", "2")));
        let gone = store.apply(Event::InitDone);
        assert_eq!(gone.iter().map(|pod| pod.metadata.name.as_deref()).collect::<Vec<_>>(), [Some("a")]);
        assert_eq!(lives(&store), [("a".to_owned(), Life::Gone), ("b".to_owned(), Life::There)]);
    }

    #[test]
    fn an_answer_counts_as_an_event_does() {
        let store = Store::default();
        store.apply(Event::Apply(pod("a", "5")));
        store.looked("job", vec![pod("b", "6")]);
        assert_eq!(lives(&store), [("a".to_owned(), Life::Gone), ("b".to_owned(), Life::There)]);
        store.apply(Event::Apply(pod("b", "4")));
        assert_eq!(store.of("job")[1].object.metadata.resource_version.as_deref(), Some("6"), "an older state is late");
    }

    /// `kubectl label --overwrite`: the watch tells it as a deletion, of the state before.
    #[test]
    fn what_only_leaves_the_watch_has_not_said_its_last_word() {
        let store = Store::default();
        store.apply(Event::Apply(pod("a", "1")));
        store.apply(Event::Delete(pod("a", "2")));
        assert!(store.of("job").iter().all(|seen| seen.life == Life::Gone && !seen.last_word));
        let mut deleted = pod("a", "3");
        deleted.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        store.apply(Event::Delete(deleted));
        assert!(store.of("job").iter().all(|seen| seen.last_word));
    }

    /// `kubectl delete job --cascade=orphan`.
    #[test]
    fn what_was_orphaned_is_still_known() {
        let store = Store::default();
        store.apply(Event::Apply(pod("a", "1")));
        let mut alone = pod("a", "2");
        alone.metadata.owner_references = None;
        store.apply(Event::Apply(alone.clone()));
        assert_eq!(store.of("job")[0].object.metadata.resource_version.as_deref(), Some("2"));
        alone.metadata.uid = Some("another".to_owned());
        assert!(store.apply(Event::Apply(alone)).is_empty());
    }
}
