//! The change that a rollback makes.

use contract::annotations::{CHANGE_CAUSE, EXECUTIONS_ROLLBACK};
use serde_json::{Value, json};

use super::Rollback;
use crate::action::identity;
use crate::cluster::executions::{self, ChangeCause, Earlier, Intent};
use crate::cluster::patch::Patch;
use crate::cluster::run::RunContext;
use crate::k8s::object::{annotation, uid};
use crate::workload::marks::Deed;
use crate::workload::revisions::Revision;
use crate::workload::rollout_target::RolloutTarget;

/// The patch, and the names of the two revisions, on which a second decision must agree.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub(super) patch: Patch,
    pub(super) from: Option<String>,
    pub(super) to: String,
}

impl Rollback {
    pub(super) fn request(&self, target: &RolloutTarget) -> Value {
        json!({ "rollback": uid(&target.live.value), "parameters": identity(self) })
    }

    pub(super) fn earlier(&self, target: &RolloutTarget, run: &RunContext) -> Earlier {
        target.earlier(run, &self.request(target), Deed::Rollback)
    }

    pub(super) fn patch(&self, target: &RolloutTarget, to: &Revision, run: &RunContext) -> Patch {
        let previous = target.current().map(|revision| revision.name.clone());
        let change = json!({ "op": "replace", "path": "/spec/template", "value": to.template });
        let intent = Intent {
            annotation: EXECUTIONS_ROLLBACK,
            request: self.request(target),
            template: to.template.clone(),
            goal: json!({ "revision": to.name, "number": to.number }),
            previous: json!({ "revision": previous }),
            cause: ChangeCause::OfRevision(annotation(&to.object, CHANGE_CAUSE).map(str::to_owned)),
        };
        executions::patch(run, &intent, &target.live.value, vec![change])
    }
}
