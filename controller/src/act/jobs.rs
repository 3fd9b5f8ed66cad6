//! Creates, stops and cleans away Jobs.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{CREATE, DELETE, Foreign, Pass, Trouble, trouble};
use crate::api::{Phase, Reason};
use crate::context::Context;
use crate::job::{self, Start};
use crate::next::leaving;
use crate::observe::slim::SlimJob;
use crate::plan::Plan;
use crate::queue::{self, Turn};
use crate::requests::Failure;
use crate::status;

impl Pass {
    pub(super) async fn start(&mut self, context: &Context, start: &Start) -> Result<(), Trouble> {
        let Some(Plan::Runnable(plan)) = &self.plan else { return Ok(()) };
        let uid = self.uid();
        // Somebody else took the place meanwhile: the next view says so.
        if queue::has_no_place(self.execution.status.as_ref()) && context.shared.claim(&uid) != Turn::Now {
            return Ok(());
        }
        context.shared.keeps_place(&self.execution);
        let policies = match context.shared.settings.policies() {
            Ok(policies) => policies,
            Err(why) => {
                self.not_started(context, Reason::Forbidden, &why).await?;
                return Err(Trouble::Policies(why));
            }
        };
        let body = job::job(&self.execution, plan, start, &context.shared.settings, policies.as_deref());
        let sent = std::time::Instant::now();
        let answer = context.shared.requests.create::<SlimJob>(&self.jobs(), "jobs", &body).await;
        context.shared.answers(self.namespace(), !matches!(answer, Err(Failure::Lost(_))));
        match answer {
            Ok(job) => {
                let created = self.execution.metadata.creation_timestamp.as_ref().map(|time| time.0);
                let waited = created.and_then(|time| Duration::try_from(Timestamp::now().duration_since(time)).ok());
                context.shared.metrics.job_created(sent.elapsed(), waited.filter(|_| start.attempt == 1));
                self.found(context, job);
                // What was asked for before it was there tells nothing about its pods.
                self.looked = false;
                Ok(())
            }
            // Ours, from a creation whose answer was lost, or somebody else's: the name tells nothing.
            Err(failure) if failure.already_exists() => {
                self.looked = false;
                if let Err(trouble) = self.look(context).await {
                    context.shared.unclaim(&self.execution);
                    return Err(trouble);
                }
                // There is none of ours: who waits for an earlier one to go holds nobody up.
                if matches!(self.foreign, Some(Foreign::Leaving)) {
                    self.not_started(context, Reason::NameTaken, &leaving(&self.execution.job_name())).await?;
                }
                Ok(())
            }
            Err(failure @ Failure::Lost(_)) => {
                context.shared.lost(&uid);
                Err(trouble(CREATE)(failure))
            }
            Err(failure) => self.refused(context, failure).await,
        }
    }

    /// The API server refused the Job. What another request cannot change is the end; what may pass is tried again.
    async fn refused(&mut self, context: &Context, failure: Failure) -> Result<(), Trouble> {
        if failure.is_refusal() {
            context.shared.metrics.job("refused");
        }
        if !matches!(failure.code(), Some(400 | 422)) {
            let reason = if failure.is_refusal() { Reason::JobRefused } else { Reason::JobUnanswered };
            let trouble = trouble(CREATE)(failure);
            self.not_started(context, reason, &trouble.to_string()).await?;
            return Err(trouble);
        }
        let message = format!("the API server refused the Job: {failure}");
        let status = status::with_phase(
            status::of(&self.execution),
            Phase::Failed,
            Reason::JobRefused.name(),
            &message,
            Timestamp::now(),
        );
        self.write(context, &status).await
    }

    /// The API server has answered that there is no Job: nobody is held up by it, and an intent to start it is taken back.
    async fn not_started(&mut self, context: &Context, reason: Reason, message: &str) -> Result<(), Trouble> {
        if self.intended {
            let mut status = status::of(&self.execution);
            (status.job_name, status.next_attempt_time) = (None, None);
            let phase = if status.attempts.is_empty() { Phase::Pending } else { Phase::Retrying };
            if status.attempts.is_empty() {
                status.start_time = None;
            }
            let status = status::with_phase(status, phase, reason.name(), message, Timestamp::now());
            let written = self.write(context, &status).await;
            context.shared.unclaim(&self.execution);
            return written;
        }
        context.shared.unclaim(&self.execution);
        Ok(())
    }

    pub(super) async fn stop(&mut self, context: &Context, name: &str, uid: &str) -> Result<(), Trouble> {
        self.delete(context, name, uid, "Foreground").await?;
        context.jobs.change(&self.uid(), uid, |job| {
            job.metadata.deletion_timestamp.get_or_insert(Time(Timestamp::now()));
        });
        Ok(())
    }

    pub(super) async fn clean(&mut self, context: &Context, name: &str, uid: &str) -> Result<(), Trouble> {
        // In the background: the next attempt need not wait for the pod, which has ended.
        self.delete(context, name, uid, "Background").await?;
        self.cleaned = true;
        Ok(())
    }

    async fn is_there(&self, context: &Context, name: &str, uid: &str) -> Result<bool, Trouble> {
        match context.shared.requests.get::<SlimJob>(&format!("{}/{name}", self.jobs()), "jobs").await {
            Ok(job) => Ok(job.metadata.uid.as_deref() == Some(uid)),
            Err(failure) if failure.code() == Some(404) => Ok(false),
            Err(failure) => Err(trouble("read the Job")(failure)),
        }
    }

    async fn delete(&mut self, context: &Context, name: &str, uid: &str, propagation: &str) -> Result<(), Trouble> {
        let path = format!("{}/{name}", self.jobs());
        match context.shared.requests.delete(&path, "jobs", uid, propagation).await {
            Ok(()) => Ok(()),
            Err(failure) if failure.code() == Some(404) => {
                context.jobs.gone(&self.uid(), uid);
                Ok(())
            }
            // Another one has its name by now; or somebody refuses that it goes.
            Err(failure) if failure.code() == Some(409) => {
                if self.is_there(context, name, uid).await? {
                    return Err(trouble(DELETE)(failure));
                }
                context.jobs.gone(&self.uid(), uid);
                Ok(())
            }
            Err(failure) => Err(trouble(DELETE)(failure)),
        }
    }
}
