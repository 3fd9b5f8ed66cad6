//! The catalogue: what can be asked for, which type carries it out, and which image and account are for it.

pub mod target;

use contract::text::did_you_mean;

use crate::action::Action;
use crate::k8s::Kind;
use crate::{collect_logs, cordon, restart, rollback, scale};
use target::KindInput;

/// What can be done.
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
    /// All of them, in the order of the documentation.
    pub const ALL: [Verb; 6] =
        [Verb::Scale, Verb::Restart, Verb::Rollback, Verb::Cordon, Verb::Uncordon, Verb::CollectLogs];

    /// As it stands in `ACTION_TYPE`.
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

/// What is done with an action once it is known which one it is: the runner runs it, a sub-command prints something of it.
pub trait Visitor {
    /// What comes of it.
    type Output;
    /// Goes on with the action's own type.
    fn visit<A: Action>(self) -> Self::Output;
}

/// The registry: which type an action type names. Restart is two actions, told apart by the kind.
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
pub struct ActionType {
    /// The verb.
    pub verb: Verb,
    /// The kind.
    pub kind: Kind,
}

impl ActionType {
    /// Every action type.
    pub fn all() -> Vec<Self> {
        Verb::ALL.into_iter().flat_map(|verb| kinds(verb).into_iter().map(move |kind| Self { verb, kind })).collect()
    }

    /// `scale-deployment`
    pub fn name(self) -> String {
        format!("{}-{}", self.verb.name(), self.kind.lower())
    }

    /// The action types that a name means: one, or all of a bare verb.
    pub fn named(name: &str) -> Vec<Self> {
        let name = name.to_lowercase().replace('_', "-");
        Self::all().into_iter().filter(|one| one.name() == name || one.verb.name() == name).collect()
    }
}

/// The names of all action types.
pub fn names() -> Vec<String> {
    ActionType::all().into_iter().map(ActionType::name).collect()
}

/// `<verb>-<kind>` or the bare verb; `_` is read as `-`.
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
        problems.push(format!("ACTION_TYPE: unknown action {text:?}{hint} (`action-runner list` shows all)"));
    }
    found
}

/// Fails where a verb does not go with a kind; the sentence says which do.
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

    /// The image's lock, as the runner reads it.
    pub fn lock(&self) -> String {
        let head = format!(
            "# The image {} may do this and nothing else, whatever a Job says; see images/README.md.\n",
            self.name
        );
        self.verbs.iter().fold(head, |text, verb| text + "action " + verb.name() + "\n")
    }

    /// The action types that it serves.
    pub fn action_types(&self) -> Vec<ActionType> {
        ActionType::all().into_iter().filter(|one| self.verbs.contains(&one.verb)).collect()
    }
}

/// The locked image of a verb.
pub fn image_of(verb: Verb) -> Image {
    let [all @ .., runner] = IMAGES;
    all.into_iter().find(|image| image.verbs.contains(&verb)).unwrap_or(runner)
}
