//! Stops a Job that arrives when its execution is over: its creation was on its way while another controller carried the
//! execution to its end. Such an execution is not watched any more, so that no pass would see the Job.

use std::sync::Arc;

use kube::runtime::watcher::Event;

use crate::api::{GROUP, KubernetesExecution, Phase};
use crate::context::Context;
use crate::next::recorded;
use crate::observe::owner::execution_of;
use crate::observe::slim::SlimJob;
use crate::requests::Failure;

/// Looks at a Job that the watch shows, if it runs for an execution that is not watched.
pub fn look(context: &Arc<Context>, event: &Event<SlimJob>) {
    let (Event::Apply(job) | Event::InitApply(job)) = event else { return };
    let over = job.ended() || job.metadata.deletion_timestamp.is_some();
    let Some(owner) = execution_of(&job.metadata).filter(|_| !over) else { return };
    let (name, uid, context, job) = (owner.name.clone(), owner.uid.clone(), context.clone(), job.clone());
    if context.shared.is_recorded(job.metadata.uid.as_deref().unwrap_or_default()) {
        return;
    }
    if context.watches(job.metadata.namespace.as_deref().unwrap_or_default(), &name, &uid) {
        return;
    }
    tokio::spawn(async move {
        // At the start the Jobs may be listed before the executions are.
        if context.watched.wait_until_ready().await.is_ok()
            && let Err(failure) = stop(&context, &name, &uid, &job).await
        {
            tracing::warn!(%failure, name, "failed to look for the execution of a Job");
        }
    });
}

async fn stop(context: &Context, execution: &str, uid: &str, job: &SlimJob) -> Result<(), Failure> {
    let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
    let requests = &context.shared.requests;
    if context.watches(namespace, execution, uid) {
        return Ok(());
    }
    let path = format!("/apis/{GROUP}/v1alpha1/namespaces/{namespace}/kubernetesexecutions/{execution}");
    let owner: KubernetesExecution = match requests.get(&path, "kubernetesexecutions").await {
        Ok(owner) => owner,
        // The garbage collector takes the Job.
        Err(failure) if failure.code() == Some(404) => return Ok(()),
        Err(failure) => return Err(failure),
    };
    // The Job of an attempt comes to its own end a moment after its pod; its log is kept.
    if recorded(&owner, job.metadata.uid.as_deref()) {
        return Ok(());
    }
    let over = owner.status.as_ref().and_then(|status| status.phase).is_some_and(Phase::is_final);
    if owner.metadata.uid.as_deref() != Some(uid) || !over || !context.shared.gate.allows(requests.horizon()) {
        return Ok(());
    }
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (name, job_uid) = (text(&job.metadata.name), text(&job.metadata.uid));
    tracing::warn!(namespace, execution, job = name, "a Job came when its execution was over: stopped");
    let path = format!("/apis/batch/v1/namespaces/{namespace}/jobs/{name}");
    match requests.delete(&path, "jobs", &job_uid, "Foreground").await {
        Err(failure) if !matches!(failure.code(), Some(404 | 409)) => Err(failure),
        _ => Ok(()),
    }
}
