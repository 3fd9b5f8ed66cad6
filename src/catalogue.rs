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
