//! Carries out one step: the only place that writes. The answer is a part of what is known from then on.

mod audit;
mod jobs;
mod look;
mod write;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::{FINALIZER, GROUP, KubernetesExecution, Phase, Reason, TRACEPARENT};
use crate::context::Context;
use crate::next::{Source, Step};
use crate::plan::{self, Plan};
use crate::requests::Failure;
use crate::status;

/// Annotation of a settled execution: when it is deleted.
pub const EXPIRES: &str = "kubernetesexecution.kubernaut.io/expires-at";

/// What one pass has learnt.
#[derive(Debug, Clone)]
pub struct Pass {
    /// The execution.
    pub execution: KubernetesExecution,
    /// Who said so.
    pub source: Source,
    /// True when Job and pods were asked for.
    pub looked: bool,
    /// True when the intent to start was written.
    pub intended: bool,
    /// Who has the name of the Job, if it is not ours.
    pub foreign: Option<Foreign>,
    /// The end of the newest pod's log.
    pub log: Option<String>,
    /// Result of the check without a pod.
    pub plan: Option<Plan>,
    /// True when the Job of the attempt before was deleted.
    pub cleaned: bool,
}

/// Who has the name of our Job.
#[derive(Debug, Clone)]
pub enum Foreign {
    /// Somebody else. A sentence.
    Other(String),
    /// An earlier execution by the same name, which is gone.
    Leaving,
}

/// Why a step was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The execution is gone: nothing is left to do.
    #[error("the execution is gone")]
    Gone,
    /// A request failed.
    #[error("failed to {what}: {failure}")]
    Request {
        /// What was to be done.
        what: String,
        /// How it failed.
        failure: Failure,
    },
    /// The creation of the Job was not answered, and no Job came of it.
    #[error("the creation of the Job was not answered, and none has come of it: it is sent again")]
    Unanswered,
    /// The operator's policies cannot be read: nothing may be started.
    #[error("{0}")]
    Policies(String),
    /// Jobs or pods cannot be watched: what is not seen may be there, so that nothing may be concluded.
    #[error("{0}")]
    Blind(String),
}

/// Names the creation of a Job in sentences.
pub const CREATE: &str = "create the Job";
/// Names the deletion of a Job in sentences.
pub const DELETE: &str = "delete the Job";
/// Names the patch that puts the finalizer on in sentences.
pub const HOLD: &str = "hold the execution";

fn trouble(what: &str) -> impl FnOnce(Failure) -> Trouble {
    let what = what.to_owned();
    move |failure| Trouble::Request { what, failure }
}

impl Pass {
    /// Begins a pass from what is known.
    pub fn new(execution: KubernetesExecution) -> Self {
        let (source, plan) = (Source::Cache, None);
        Self { execution, source, looked: false, intended: false, foreign: None, log: None, plan, cleaned: false }
    }

    fn uid(&self) -> String {
        self.execution.metadata.uid.clone().unwrap_or_default()
    }

    fn namespace(&self) -> &str {
        self.execution.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn path(&self) -> String {
        let name = self.execution.metadata.name.as_deref().unwrap_or_default();
        format!("/apis/{GROUP}/v1alpha1/namespaces/{}/kubernetesexecutions/{name}", self.namespace())
    }

    fn jobs(&self) -> String {
        format!("/apis/batch/v1/namespaces/{}/jobs", self.namespace())
    }

    fn pods(&self) -> String {
        format!("/api/v1/namespaces/{}/pods", self.namespace())
    }

    /// Takes the API server's answer about the execution.
    fn take(&mut self, context: &Context, execution: KubernetesExecution) {
        context.shared.answered(&execution, &self.execution);
        self.plan = Some(plan::plan(&execution, context.shared.settings.conditions()));
        self.execution = execution;
        self.source = Source::Server;
    }

    /// Carries out a step.
    pub async fn act(&mut self, context: &Context, step: Step) -> Result<(), Trouble> {
        let writes = !matches!(step, Step::Wait(_) | Step::Read | Step::Look | Step::ReadLog(_) | Step::Deliver(_));
        if writes && !context.shared.gate.allows(context.shared.requests.horizon()) {
            return Err(trouble("write")(Failure::NotLeading));
        }
        match step {
            Step::Wait(_) => Ok(()),
            Step::Hold => self.hold(context).await,
            Step::Read => self.read(context).await,
            Step::Look => self.look(context).await,
            Step::Start(start) => self.start(context, &start).await,
            Step::Show(status) | Step::Record(status) => self.write(context, &status).await,
            Step::ReadLog(pod) => self.read_log(context, &pod).await,
            Step::Stop { name, uid } => self.stop(context, &name, &uid).await,
            Step::Clean { name, uid } => self.clean(context, &name, &uid).await,
            Step::Release => self.release(context).await,
            Step::Settle => self.settle(context).await,
            Step::Deliver(attempt) => self.deliver(context, attempt).await,
            Step::Spool(attempt) => self.spool(context, attempt).await,
        }
    }

    /// Changes the execution, on the basis of what was read. Returns whether that was the newest, so that it is done.
    async fn change(&mut self, context: &Context, what: &str, path: &str, patch: &Value) -> Result<bool, Trouble> {
        let resource = if path.ends_with("/status") { "kubernetesexecutions/status" } else { "kubernetesexecutions" };
        match context.shared.requests.patch::<KubernetesExecution>(path, resource, patch).await {
            Ok(execution) => {
                self.take(context, execution);
                Ok(true)
            }
            Err(failure) if failure.code() == Some(404) => Err(Trouble::Gone),
            // Look, and decide again; unless what was changed was the newest: then it is somebody's refusal.
            Err(failure) if failure.code() == Some(409) => {
                let before = self.execution.metadata.resource_version.clone();
                self.look(context).await?;
                if self.execution.metadata.resource_version == before {
                    return Err(trouble(what)(failure));
                }
                Ok(false)
            }
            Err(failure) => Err(trouble(what)(failure)),
        }
    }

    async fn hold(&mut self, context: &Context) -> Result<(), Trouble> {
        let metadata = &self.execution.metadata;
        let mut finalizers = metadata.finalizers.clone().unwrap_or_default();
        // A copy of an execution has it already.
        if !finalizers.iter().any(|one| one == FINALIZER) {
            finalizers.push(FINALIZER.to_owned());
        }
        let mut annotations = serde_json::Map::new();
        if plan::pins(&self.execution) {
            let pod = self.target_pod(context).await?;
            let pin = plan::pin(&self.execution, pod.as_deref());
            annotations.insert(plan::TARGET_UID.to_owned(), Value::from(pin));
        }
        if metadata.annotations.as_ref().is_none_or(|all| !all.contains_key(TRACEPARENT)) {
            annotations.insert(TRACEPARENT.to_owned(), Value::from(traceparent()));
        }
        let patch = json!({ "metadata": {
            "resourceVersion": metadata.resource_version, "finalizers": finalizers, "annotations": annotations,
        } });
        let path = self.path();
        match self.change(context, HOLD, &path, &patch).await {
            // No other request can change that: too many annotations beside ours, or too long ones, or a policy about them.
            Err(Trouble::Request { failure, .. }) if matches!(failure.code(), Some(400 | 413 | 422)) => {
                let message = format!("it cannot be held by a finalizer, and so not be carried out: {failure}");
                let (old, reason) = (status::of(&self.execution), Reason::InvalidRequest.name());
                let wanted = status::with_phase(old, Phase::Failed, reason, &message, Timestamp::now());
                self.write(context, &wanted).await
            }
            Err(trouble) => {
                if matches!(trouble, Trouble::Request { failure: Failure::Lost(_), .. }) {
                    context.shared.answers(self.namespace(), false);
                }
                Err(trouble)
            }
            Ok(_) => Ok(()),
        }
    }

    async fn release(&mut self, context: &Context) -> Result<(), Trouble> {
        let metadata = &self.execution.metadata;
        let finalizers: Vec<_> = metadata.finalizers.iter().flatten().filter(|one| *one != FINALIZER).collect();
        let ended = self.execution.status.as_ref().and_then(|status| status.end_time);
        let seconds = self.execution.spec.ttl_seconds_after_finished.map(i64::from);
        let expires = ended
            .zip(seconds)
            .and_then(|(end, seconds)| end.checked_add(jiff::SignedDuration::from_secs(seconds)).ok());
        let patch = json!({ "metadata": {
            "resourceVersion": metadata.resource_version, "finalizers": finalizers,
            "annotations": { EXPIRES: expires.map(|time| time.to_string()) },
        } });
        let path = self.path();
        self.change(context, "let the execution go", &path, &patch).await.map(drop)
    }

    async fn settle(&mut self, context: &Context) -> Result<(), Trouble> {
        let patch = json!({
            "metadata": { "resourceVersion": self.execution.metadata.resource_version }, "status": { "settled": true },
        });
        let path = format!("{}/status", self.path());
        // Remembered before it is sent: the watch may show that it is no longer ours before the answer comes.
        let attempts = self.execution.status.as_ref().map(|status| status.attempts.as_slice()).unwrap_or_default();
        for job_uid in attempts.iter().filter_map(|attempt| attempt.job_uid.as_deref()) {
            context.shared.recorded(job_uid);
        }
        self.change(context, "settle the execution", &path, &patch).await.map(drop)
    }
}

/// A new W3C trace context: one trace id through execution, Job and runner.
fn traceparent() -> String {
    let random = actions::cluster::random;
    format!("00-{:016x}{:016x}-{:016x}-01", random(), random(), random())
}
