//! Hands audit events to the lane, and puts into the spool what nobody can wait for.

use std::sync::Arc;

use super::{Pass, Trouble, trouble};
use crate::audit::event::{self, Envelope};
use crate::context::Context;
use crate::next::Source;

impl Pass {
    pub(super) async fn deliver(&mut self, context: &Context, attempt: i32) -> Result<(), Trouble> {
        let Some(envelope) = self.envelope(context, attempt).await? else { return Ok(()) };
        let (namespace, name) = (self.namespace(), self.execution.metadata.name.as_deref().unwrap_or_default());
        let wake = context.waker(namespace, name);
        context.shared.audit.offer(&self.uid(), attempt, envelope, Arc::new(wake));
        Ok(())
    }

    pub(super) async fn spool(&mut self, context: &Context, attempt: i32) -> Result<(), Trouble> {
        let Some(envelope) = self.envelope(context, attempt).await? else { return Ok(()) };
        let uid = self.uid();
        let refused = context.shared.audit.refusal(&uid, attempt);
        let kept = context.shared.spool.put(&envelope, refused.as_deref()).await;
        kept.map_err(trouble("keep an audit event in the spool"))?;
        tracing::warn!(id = envelope.id, refused, "an audit event went into the spool");
        context.shared.audit.spooled(&uid, attempt);
        Ok(())
    }

    /// Builds the event, from the API server's own answer: the cache has no parameters. Without one the answer is fetched
    /// first, and what follows is decided again.
    async fn envelope(&mut self, context: &Context, attempt: i32) -> Result<Option<Envelope>, Trouble> {
        if self.source == Source::Cache {
            self.read(context).await?;
            return Ok(None);
        }
        let event = event::of(&self.execution, attempt, &context.shared.audit.origin);
        Ok(Some(event::envelope(&event)))
    }
}
