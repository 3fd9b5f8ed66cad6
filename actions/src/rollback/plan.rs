//! The change that a rollback makes.

use contract::annotations::{CHANGE_CAUSE, EXECUTIONS_ROLLBACK};
use contract::result::RollbackInformation;
use serde_json::{Value, json};

use super::{Rollback, Target, choose};
use crate::action::identity;
use crate::cluster::executions::{self, ChangeCause, Earlier, Intent};
use crate::cluster::patch::Patch;
use crate::cluster::run::RunContext;
use crate::k8s::object::{annotation, text, uid};
use crate::k8s::template::normalized;
use crate::workload::marks::{self, Deed};
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

    /// Returns the request that puts the template back that was there before.
    pub(super) fn way_back(&self, target: &Target, applied: bool, run: &RunContext) -> RollbackInformation {
        let (target, exact) = (&target.rollout, target.exact.get());
        let (previous, to) = match self.earlier(target, run) {
            Earlier::Same(execution) => {
                let to = target.named(Some(marks::put_back_by(&execution)));
                let template = target.live.value.pointer("/spec/template").map(normalized);
                let to = to.filter(|revision| template.as_ref() == Some(&revision.template));
                (text(&execution.previous, "/revision").map(str::to_owned), to)
            }
            _ if applied => {
                let to = choose::revision(self, &target.revisions, &target.live.value).ok().filter(|_| exact);
                (target.current().map(|revision| revision.name.clone()), to)
            }
            _ => return RollbackInformation::unavailable("it had that template already; what was before is not known"),
        };
        let keeps_none = target.live.value.pointer("/spec/revisionHistoryLimit").and_then(Value::as_i64) == Some(0);
        if keeps_none {
            return RollbackInformation::unavailable(
                "its revisionHistoryLimit is 0: the revision before is not kept once no pod is of it",
            );
        }
        let Some(name) = previous else {
            return RollbackInformation::unavailable("the template before is kept in no revision");
        };
        let parameters = match to {
            Some(to) => json!({ "toRevisionName": name, "currentRevisionName": to.name }),
            None => json!({ "toRevisionName": name }),
        };
        RollbackInformation::request(format!("rollback-{}", target.kind.lower()), parameters)
    }
}
