//! How things stood at a resourceVersion: the replay of what was recorded up to there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::LazyLock;
use std::time::Instant;

use jiff::Timestamp;

use crate::recorder::{Event, Kind, Pod, Seen};

/// Everything that is there.
#[derive(Debug, Clone, Default)]
pub struct State<'h>(BTreeMap<&'h str, Standing<'h>>);

/// One object that is there.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'h> {
    /// Its state.
    pub seen: &'h Seen,
    /// Since when it is ready without a break; pods only.
    pub ready: Option<Ready<'h>>,
}

/// When a pod became ready.
#[derive(Debug, Clone, Copy)]
pub struct Ready<'h> {
    /// The moment; none when it was found to be ready already, as by a list.
    pub since: Option<Instant>,
    /// The resourceVersion.
    pub rv: u64,
    /// How it was then.
    pub then: &'h Pod,
}

impl<'h> State<'h> {
    /// One event later.
    pub fn apply(&mut self, event: &'h Event) {
        let Some(seen) = event.seen.as_deref() else {
            self.0.remove(&*event.uid);
            return;
        };
        let before = self.0.get(&*event.uid).and_then(|one| one.ready);
        let now = || {
            let then = seen.pod()?;
            // An event may arrive late where much goes on; the kubelet knows when it was, to the second.
            let told = then.ready_since.and_then(moment).unwrap_or(event.arrived);
            let since = (!event.listed).then_some(event.arrived.min(told));
            Some(Ready { since, rv: event.rv, then })
        };
        let ready = seen.pod().filter(|pod| pod.ready).and_then(|_| before.or_else(now));
        self.0.insert(&event.uid, Standing { seen, ready });
    }

    /// How it stood before the first event after this resourceVersion.
    pub fn at(events: &[&'h Event], rv: u64) -> Self {
        let mut state = Self::default();
        for event in events.iter().filter(|event| event.rv <= rv) {
            state.apply(event);
        }
        state
    }

    /// One object.
    pub fn get(&self, uid: &str) -> Option<&Standing<'h>> {
        self.0.get(uid)
    }

    /// All of a kind.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Standing<'h>> {
        self.0.values().filter(move |one| one.seen.kind == kind)
    }
}

/// The moment of a time of day.
fn moment(time: Timestamp) -> Option<Instant> {
    static TOGETHER: LazyLock<(Instant, Timestamp)> = LazyLock::new(|| (Instant::now(), Timestamp::now()));
    let later = time.duration_since(TOGETHER.1);
    if later.is_negative() {
        return TOGETHER.0.checked_sub(later.unsigned_abs());
    }
    TOGETHER.0.checked_add(later.unsigned_abs())
}

/// Who belongs to whom, by UID alone. What has been deleted meanwhile is in it too: a pod may outlive its ReplicaSet.
#[derive(Debug, Clone, Default)]
pub struct Family<'h>(HashMap<&'h str, (&'h str, &'h str)>);

impl<'h> Family<'h> {
    /// Of everything that was ever there, as it was last: a pod whose labels somebody took away is nobody's from then on.
    pub fn of(events: &'h [Event]) -> Self {
        let mut owned = HashMap::new();
        for seen in events.iter().filter_map(|event| event.seen.as_deref()) {
            match &seen.owner {
                Some(owner) => owned.insert(seen.uid.as_str(), (owner.kind.as_str(), owner.uid.as_str())),
                None => owned.remove(seen.uid.as_str()),
            };
        }
        Self(owned)
    }

    /// The kind and the UID of who controls this.
    pub fn owner(&self, uid: &str) -> Option<(&'h str, &'h str)> {
        self.0.get(uid).copied()
    }

    /// This, who controls it, and so on: a pod, its ReplicaSet, its Deployment.
    pub fn line<'u>(&self, uid: &'u str) -> Vec<&'u str>
    where
        'h: 'u,
    {
        let (mut line, mut next) = (Vec::new(), Some(uid));
        while let Some(uid) = next.filter(|uid| !line.contains(uid)) {
            line.push(uid);
            next = self.owner(uid).map(|(_, owner)| owner);
        }
        line
    }

    /// Whether it is that, or belongs to it.
    pub fn belongs(&self, uid: &str, root: &str) -> bool {
        self.line(uid).contains(&root)
    }

    /// The pods of a workload that are there.
    pub fn pods<'s>(
        &'s self,
        state: &'s State<'h>,
        root: &'s str,
    ) -> impl Iterator<Item = (&'s Standing<'h>, &'h Pod)> {
        let pods = state.of(Kind::Pod).filter(move |one| self.belongs(&one.seen.uid, root) && one.seen.uid != root);
        pods.filter_map(|one| Some((one, one.seen.pod()?)))
    }

    /// The UIDs of a workload's pods that are there.
    pub fn uids(&self, state: &State<'h>, root: &str) -> BTreeSet<&'h str> {
        state.of(Kind::Pod).map(|one| one.seen.uid.as_str()).filter(|uid| self.belongs(uid, root)).collect()
    }
}
