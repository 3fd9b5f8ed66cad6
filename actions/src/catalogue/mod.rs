//! The catalogue of all action types, with the Rust type, the image and the account of each.

pub mod account;
pub mod target;

use contract::text::did_you_mean;

use crate::action::Action;
use crate::k8s::Kind;
use crate::{collect_logs, cordon, restart, rollback, scale};
pub use account::Account;
use target::KindInput;

/// The verbs of all actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Set how many pods a workload has.
    Scale,
    /// Replace pods by new ones.
    Restart,
    /// Put an earlier revision's pod template back.
    Rollback,
    /// Mark a node unschedulable.
    Cordon,
    /// Mark a node schedulable.
    Uncordon,
    /// Read containers' logs.
    CollectLogs,
}

impl Verb {
    /// All verbs, in the order of the documentation.
    pub const ALL: [Verb; 6] =
        [Verb::Scale, Verb::Restart, Verb::Rollback, Verb::Cordon, Verb::Uncordon, Verb::CollectLogs];

    /// Returns the verb as `ACTION_TYPE` spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Verb::Scale => "scale",
            Verb::Restart => "restart",
            Verb::Rollback => "rollback",
            Verb::Cordon => "cordon",
            Verb::Uncordon => "uncordon",
            Verb::CollectLogs => "collect-logs",
        }
    }
}

/// Code that needs the type of an action: the runner runs the action, a sub-command prints something about it.
pub trait Visitor {
    /// Result of the visit.
    type Output;
    /// Continues with the action's own type.
    fn visit<A: Action>(self) -> Self::Output;
}

/// Calls the visitor with the type of an action: the registry. Restart is two actions, told apart by the kind.
pub fn with_action<V: Visitor>(verb: Verb, kind: Option<Kind>, visitor: V) -> V::Output {
    match (verb, kind) {
        (Verb::Scale, _) => visitor.visit::<scale::Scale>(),
        (Verb::Restart, Some(Kind::Pod)) => visitor.visit::<restart::pod::RestartPod>(),
        (Verb::Restart, _) => visitor.visit::<restart::workload::RestartWorkload>(),
        (Verb::Rollback, _) => visitor.visit::<rollback::Rollback>(),
        (Verb::Cordon, _) => visitor.visit::<cordon::Cordon>(),
        (Verb::Uncordon, _) => visitor.visit::<cordon::Uncordon>(),
        (Verb::CollectLogs, _) => visitor.visit::<collect_logs::CollectLogs>(),
    }
}

struct Kinds;

impl Visitor for Kinds {
    type Output = Vec<Kind>;
    fn visit<A: Action>(self) -> Vec<Kind> {
        A::kinds().to_vec()
    }
}

/// Returns the kinds that a verb accepts.
pub fn kinds(verb: Verb) -> Vec<Kind> {
    let mut kinds = with_action(verb, None, Kinds);
    if verb == Verb::Restart {
        kinds.extend(with_action(verb, Some(Kind::Pod), Kinds));
    }
    kinds
}

struct OtherKinds;

impl Visitor for OtherKinds {
    type Output = bool;
    fn visit<A: Action>(self) -> bool {
        A::other_kinds()
    }
}

/// Returns whether a verb also accepts kinds that are not built in.
pub fn other_kinds(verb: Verb) -> bool {
    with_action(verb, None, OtherKinds)
}

/// One thing that a request can ask for: a verb on a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActionType {
    /// The verb.
    pub verb: Verb,
    /// The kind.
    pub kind: Kind,
}

impl ActionType {
    /// Returns every action type.
    pub fn all() -> Vec<Self> {
        Verb::ALL.into_iter().flat_map(|verb| kinds(verb).into_iter().map(move |kind| Self { verb, kind })).collect()
    }

    /// Returns the name, such as `scale-deployment`.
    pub fn name(self) -> String {
        format!("{}-{}", self.verb.name(), self.kind.lower())
    }

    /// Returns the action types that a name means: one, or all of a bare verb.
    pub fn named(name: &str) -> Vec<Self> {
        let name = name.to_lowercase().replace('_', "-");
        Self::all().into_iter().filter(|one| one.name() == name || one.verb.name() == name).collect()
    }
}

/// Returns the names of all action types.
pub fn names() -> Vec<String> {
    ActionType::all().into_iter().map(ActionType::name).collect()
}

/// Parses `<verb>-<kind>` or the bare verb; `_` is read as `-`.
pub fn parse_action_type(text: Option<&str>, problems: &mut Vec<String>) -> Option<(Verb, Option<String>)> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else {
        problems.push("ACTION_TYPE: needed; for example scale-deployment (`action-runner list` shows all)".to_owned());
        return None;
    };
    let normal = text.to_lowercase().replace('_', "-");
    let bare = Verb::ALL.into_iter().find(|verb| verb.name() == normal).map(|verb| (verb, None));
    let with_kind = || {
        Verb::ALL.into_iter().find_map(|verb| {
            let kind = normal.strip_prefix(verb.name())?.strip_prefix('-')?;
            Some((verb, Some(kind.to_owned())))
        })
    };
    let found = bare.or_else(with_kind);
    if found.is_none() {
        let all = names();
        let hint = did_you_mean(&normal, all.iter().map(String::as_str).chain(Verb::ALL.map(Verb::name)));
        problems.push(format!("ACTION_TYPE: unknown action{hint} (`action-runner list` shows all)"));
    }
    found
}

/// Fails when the verb does not accept the kind; the sentence says which kinds it accepts.
pub fn check_kind<A: Action>(verb: Verb, kind: &KindInput) -> Result<(), String> {
    let accepted = match kind {
        KindInput::BuiltIn(kind) => kinds(verb).contains(kind),
        KindInput::Other { .. } => A::other_kinds(),
    };
    if accepted {
        return Ok(());
    }
    let kinds: Vec<_> = kinds(verb).into_iter().map(Kind::name).collect();
    Err(format!("TARGET_KIND: {} does not go with a {}; expected {}", verb.name(), kind.lower(), kinds.join(", ")))
}

/// An image that the release pipeline builds: the one binary, locked to some actions.
#[derive(Debug, Clone, Copy)]
pub struct Image {
    /// Name, such as `action-scale`.
    pub name: &'static str,
    /// Purpose, in a few words.
    pub title: &'static str,
    /// Verbs of the image; all of them when the image has no lock.
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
    /// Returns whether the image is locked to some actions.
    pub fn locked(&self) -> bool {
        self.verbs.len() < Verb::ALL.len()
    }

    /// Returns the image's lock, in the format that the runner reads.
    pub fn lock(&self) -> String {
        let head = format!(
            "# The image {} may do this and nothing else, whatever a Job says; see images/README.md.\n",
            self.name
        );
        self.verbs.iter().fold(head, |text, verb| text + "action " + verb.name() + "\n")
    }

    /// Returns the action types that the image serves.
    pub fn action_types(&self) -> Vec<ActionType> {
        ActionType::all().into_iter().filter(|one| self.verbs.contains(&one.verb)).collect()
    }
}

/// Returns the locked image of a verb.
pub fn image_of(verb: Verb) -> Image {
    let [all @ .., runner] = IMAGES;
    all.into_iter().find(|image| image.verbs.contains(&verb)).unwrap_or(runner)
}
