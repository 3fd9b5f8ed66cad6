//! Writes what an execution has come to into its status, and counts it.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::{Pass, Trouble, trouble};
use crate::api::{KubernetesExecutionStatus, Phase, Reason};
use crate::context::Context;
use crate::events;
use crate::plan;
use crate::queue::{self, Turn};
use crate::status;

impl Pass {
    pub(super) async fn write(&mut self, context: &Context, wanted: &KubernetesExecutionStatus) -> Result<(), Trouble> {
        let had_job = self.execution.status.as_ref().is_some_and(|status| status.job_uid.is_some());
        let attempts = self.execution.status.as_ref().map_or(0, |status| status.attempts.len());
        // What cannot be repeated takes its place with this, and not with its Job.
        let intends = wanted.phase == Some(Phase::Executing) && wanted.job_uid.is_none();
        let takes_place = intends && queue::has_no_place(self.execution.status.as_ref());
        if takes_place && context.shared.claim(&self.uid()) != Turn::Now {
            return Ok(());
        }
        let seen = self.execution.metadata.resource_version.clone();
        let written = self.write_or_trim(context, wanted).await;
        if takes_place && !matches!(written, Ok(true)) {
            context.shared.unclaim(&self.execution);
        }
        let written = written?;
        // Nothing new was in it: no Event, and nothing to count.
        if !written || seen == self.execution.metadata.resource_version {
            return Ok(());
        }
        if wanted.attempts.len() > attempts {
            // What was learnt of its Job says nothing of the next one.
            (self.looked, self.foreign, self.log, self.cleaned) = (false, None, None, false);
            // It may never have been told that it runs.
            context.shared.unclaim(&self.execution);
        }
        self.intended = intends;
        self.count(context, wanted, attempts);
        if let Some(event) = events::of(&self.execution, had_job, wanted, &context.shared.identity) {
            let (requests, namespace) = (context.shared.requests.clone(), self.namespace().to_owned());
            // Best effort: nothing waits for it.
            tokio::spawn(async move {
                let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
                if let Err(failure) = requests.create::<Value>(&path, "events", &event).await {
                    tracing::debug!(%failure, "failed to post an Event");
                }
            });
        }
        Ok(())
    }

    /// Writes a status; where the API server itself refuses what is in it, once more without what an action's image is free to write: an
    /// end that can never be written would hold the target, a place and the finalizer for ever.
    async fn write_or_trim(&mut self, context: &Context, wanted: &KubernetesExecutionStatus) -> Result<bool, Trouble> {
        const WHAT: &str = "write the status";
        let path = format!("{}/status", self.path());
        let patch = status::patch(&self.execution, wanted);
        let refusal = match self.change(context, WHAT, &path, &patch).await {
            Err(Trouble::Request { failure, .. }) if failure.is_invalid() => failure,
            other => return other,
        };
        let Some(trimmed) = status::trimmed(wanted, self.execution.status.as_ref()) else {
            return Err(trouble(WHAT)(refusal));
        };
        tracing::warn!(%refusal, "a status was refused: it is written without what the image said freely");
        self.change(context, WHAT, &path, &status::patch(&self.execution, &trimmed)).await
    }

    fn count(&self, context: &Context, status: &KubernetesExecutionStatus, attempts: usize) {
        let metrics = &context.shared.metrics;
        let Some(phase) = status.phase else { return };
        if let Some(attempt) = status.attempts.get(attempts) {
            if attempt.code == Reason::NoResult.name() || attempt.code == Reason::NeverStarted.name() {
                metrics.no_result(&attempt.code);
            }
            if phase == Phase::Retrying {
                metrics.retried(&attempt.code);
            }
            let lag = attempt.end_time.map(|end| Duration::try_from(Timestamp::now().duration_since(end)));
            if let Some(Ok(lag)) = lag {
                metrics.collected(lag);
            }
        }
        if phase.is_final() {
            let took = status
                .start_time
                .zip(status.end_time)
                .and_then(|(start, end)| Duration::try_from(end.duration_since(start)).ok());
            let code = status.reason.as_deref().unwrap_or_default();
            metrics.ended(&plan::action_type(&self.execution), phase.name(), code, took);
            tracing::info!(phase = phase.name(), code, message = status.message, "ended");
        }
    }
}
