//! Hands audit events to the lane, and puts into the spool what nobody can wait for.

use std::sync::Arc;

use super::{Pass, Trouble};
use crate::audit::Waker;
use crate::audit::event::{self, Envelope};
use crate::context::Context;
use crate::next::Source;

impl Pass {
    pub(super) async fn deliver(&mut self, context: &Context, attempt: i32) -> Result<(), Trouble> {
        let lane = &context.shared.audit;
        let (uid, name) = (self.uid(), self.execution.metadata.name.clone().unwrap_or_default());
        let wake: Waker = Arc::new(context.waker(self.namespace(), &name));
        if !lane.admits(&uid, attempt, event::ended(&self.execution, attempt), &wake) {
            return Ok(());
        }
        match self.envelope(context, attempt).await {
            Ok(envelope) => lane.send(&uid, attempt, envelope, wake),
            Err(trouble) => {
                lane.give_back(&uid, attempt);
                return Err(trouble);
            }
        }
        Ok(())
    }

    pub(super) async fn spool(&mut self, context: &Context, attempt: i32) -> Result<(), Trouble> {
        let envelope = self.envelope(context, attempt).await?;
        let uid = self.uid();
        let refused = context.shared.audit.refusal(&uid, attempt);
        // No phase waits for it: where it fails, the rest goes on.
        if let Err(failure) = context.shared.spool.put(&envelope, refused.as_deref()).await {
            tracing::error!(%failure, id = envelope.id, "failed to keep an audit event in the spool");
            context.shared.audit.not_spooled(&uid, attempt);
            return Ok(());
        }
        tracing::warn!(id = envelope.id, refused, "an audit event went into the spool");
        context.shared.audit.spooled(&uid, attempt);
        Ok(())
    }

    /// Builds the event, from the API server's own answer: the cache has no parameters.
    async fn envelope(&mut self, context: &Context, attempt: i32) -> Result<Envelope, Trouble> {
        if self.source == Source::Cache {
            self.read(context).await?;
        }
        let event = event::of(&self.execution, attempt, &context.shared.audit.origin);
        Ok(event::envelope(&event))
    }
}
