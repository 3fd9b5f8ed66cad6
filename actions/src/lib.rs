//! What can be done to a cluster: one action, one file.
//!
//! The runner (the crate above) reads the environment, runs the phases and writes the result; an action here never sees
//! any of that. To add one: a file of the same order as its neighbours (docs, parameters, target, `impl Action`, private
//! functions, tests), one variant of [`Verb`], and the compiler says what is missing.

pub mod action;
pub mod cluster;
pub mod collect_logs;
pub mod cordon;
pub mod error;
pub mod guard;
pub mod ledger;
pub mod mark;
pub mod names;
pub mod object;
pub mod observed;
pub mod owner;
pub mod parameters;
pub mod permission;
pub mod pod;
pub mod related;
pub mod restart;
pub mod revision;
pub mod rollback;
pub mod rollout;
pub mod scale;
pub mod tally;
pub mod upload;
pub mod wait;
pub mod workload;

use object::Kind;

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
    fn visit<A: action::Action>(self) -> Self::Output;
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
