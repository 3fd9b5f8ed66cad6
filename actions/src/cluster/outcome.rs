//! Outcome of a write, and its entry in the ledger.

use contract::result::Change;
use serde_json::Value;

use super::Cluster;
use super::status::Failure;

/// Outcome of a write.
pub(super) enum Outcome {
    /// The object as it was stored.
    Applied(Value),
    NotApplied(Failure),
    Unknown(Failure),
}

impl Cluster {
    /// Enters the outcome of a write in the ledger.
    pub(super) fn enter(&self, outcome: &Outcome, change: impl FnOnce(&Value) -> Change) {
        match outcome {
            Outcome::Applied(after) => self.ledger.write_applied(change(after)),
            Outcome::NotApplied(_) => self.ledger.write_not_applied(),
            Outcome::Unknown(_) => self.ledger.write_unknown(),
        }
    }
}
