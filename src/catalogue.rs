//! What the registry holds, asked for by names and kinds.

use actions::action::Action;
use actions::object::Kind;
use actions::{Verb, Visitor, with_action};

struct Kinds;

impl Visitor for Kinds {
    type Output = Vec<Kind>;
    fn visit<A: Action>(self) -> Vec<Kind> {
        A::kinds().to_vec()
    }
}

/// The kinds that a verb accepts.
pub fn kinds(verb: Verb) -> Vec<Kind> {
    let mut kinds = with_action(verb, None, Kinds);
    if verb == Verb::Restart {
        kinds.extend(with_action(verb, Some(Kind::Pod), Kinds));
    }
    kinds
}

/// One thing that can be asked for: a verb on a kind.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The verb.
    pub verb: Verb,
    /// The kind.
    pub kind: Kind,
}

impl Entry {
    /// Every entry.
    pub fn all() -> Vec<Self> {
        Verb::ALL.into_iter().flat_map(|verb| kinds(verb).into_iter().map(move |kind| Self { verb, kind })).collect()
    }

    /// `scale-deployment`
    pub fn action_type(self) -> String {
        format!("{}-{}", self.verb.name(), self.kind.lower())
    }

    /// The entries that a name means: one, or all of a bare verb.
    pub fn named(name: &str) -> Vec<Self> {
        let name = name.to_lowercase().replace('_', "-");
        Self::all().into_iter().filter(|entry| entry.action_type() == name || entry.verb.name() == name).collect()
    }
}

/// All action types.
pub fn action_types() -> Vec<String> {
    Entry::all().into_iter().map(Entry::action_type).collect()
}

/// An image that the release pipeline builds: the one binary, locked to some actions.
#[derive(Debug, Clone, Copy)]
pub struct Image {
    /// `action-scale`
    pub name: &'static str,
    /// What it is for, in a few words.
    pub title: &'static str,
    /// Its actions; all of them when the image has no lock.
    pub verbs: &'static [Verb],
}

/// All images. The first five share all layers but one, the lock.
pub const IMAGES: [Image; 6] = [
    Image {
        name: "action-scale",
        title: "Scales a Kubernetes workload and says truthfully what it did",
        verbs: &[Verb::Scale],
    },
    Image {
        name: "action-restart",
        title: "Restarts a Kubernetes workload or pod and says truthfully what it did",
        verbs: &[Verb::Restart],
    },
    Image {
        name: "action-rollback",
        title: "Rolls a Kubernetes workload back and says truthfully what it did",
        verbs: &[Verb::Rollback],
    },
    Image {
        name: "action-cordon",
        title: "Cordons or uncordons a Kubernetes node and says truthfully what it did",
        verbs: &[Verb::Cordon, Verb::Uncordon],
    },
    Image {
        name: "action-logs",
        title: "Collects the logs of Kubernetes pods, bounded and redacted",
        verbs: &[Verb::CollectLogs],
    },
    Image {
        name: "action-runner",
        title: "Does one thing to a Kubernetes cluster, safely, and says truthfully what it did",
        verbs: &Verb::ALL,
    },
];

impl Image {
    /// Whether the image may do only some actions.
    pub fn locked(&self) -> bool {
        self.verbs.len() < Verb::ALL.len()
    }

    /// The image's lock: what [`crate::lock::Lock`] reads.
    pub fn lock(&self) -> String {
        let head = format!(
            "# The image {} may do this and nothing else, whatever a Job says; see images/README.md.\n",
            self.name
        );
        self.verbs.iter().fold(head, |text, verb| text + "action " + verb.name() + "\n")
    }

    /// The action types that it serves.
    pub fn entries(&self) -> Vec<Entry> {
        Entry::all().into_iter().filter(|entry| self.verbs.contains(&entry.verb)).collect()
    }
}

/// The locked image of a verb.
pub fn image_of(verb: Verb) -> Image {
    let [all @ .., runner] = IMAGES;
    all.into_iter().find(|image| image.verbs.contains(&verb)).unwrap_or(runner)
}
