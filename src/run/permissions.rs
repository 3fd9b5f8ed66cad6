//! The permissions of a run: exactly those that this request needs, asked for before anything is changed.

use std::collections::BTreeSet;

use actions::action::{Action, Circumstances, Target, TargetRef};
use actions::cluster::error::Result;
use actions::cluster::{Access, missing_permissions};
use actions::k8s::{ObjectRef, Permission};
use contract::result::PhaseName;

use super::Running;
use super::prepare::Prepared;
use super::record::PHASE_LIMIT;

impl<A: Action> Running<A> {
    /// Asks for what is needed as far as the request tells.
    pub(super) async fn permissions_beforehand(&mut self) -> Result<()> {
        let Prepared { action, conditions, resource, .. } = &self.prepared;
        let mut needed = action.permissions(resource, self.circumstances());
        needed.extend(conditions.permissions_beforehand(resource));
        let object = self.object().cloned();
        self.ask(needed, object).await
    }

    /// Asks for what is needed beside the first permissions, now that it is known what the target leads to.
    pub(super) async fn permissions_once_found(&mut self, target: &A::Target) -> Result<()> {
        let Prepared { action, conditions, .. } = &self.prepared;
        let mut needed = action.permissions_once_found(target, self.circumstances());
        if let Some(object) = target.object().filter(|_| target.resolved_from().is_some()) {
            needed.extend(conditions.permissions_beforehand(&object.resource));
        }
        if needed.is_empty() { Ok(()) } else { self.ask(needed, target.object().cloned()).await }
    }

    fn circumstances(&self) -> Circumstances {
        Circumstances::of(&self.prepared.context, &self.prepared.named)
    }

    /// Fails before anything is changed if some of these permissions are missing, and names all of those.
    async fn ask(&mut self, needed: BTreeSet<Permission>, object: Option<ObjectRef>) -> Result<()> {
        let cluster = self.begin(PhaseName::Permissions, PHASE_LIMIT);
        let namespace = match &self.prepared.named {
            TargetRef::Object(object) => object.namespace.clone(),
            TargetRef::Selection { namespace, .. } => Some(namespace.clone()),
        };
        let name = object.map(|object| object.name);
        match cluster.missing(&needed, namespace.as_ref(), name.as_ref(), &mut self.rules).await? {
            Access::Granted => Ok(()),
            Access::Denied(missing) => Err(missing_permissions(missing, namespace.as_ref())),
            Access::CouldNotAsk(why) => {
                self.prepared
                    .context
                    .progress
                    .warn(format!("which permissions there are could not be asked ({why}); going on without knowing"));
                Ok(())
            }
        }
    }
}
