//! A stored execution that cannot be read fails alone, and holds nothing up: neither the others, nor its own deletion.

use contract::event::{AuditEvent, EVENT_TYPE, EventResult, EventTarget};
use contract::result::Effect;
use contract::text::shorten;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::controller::Action;
use serde_json::{Value, json};

use crate::act::Trouble;
use crate::api::{FINALIZER, GROUP, KubernetesExecution, Phase, Reason, TRACEPARENT};
use crate::audit::event::envelope;
use crate::audit::{self, FULL, hide};
use crate::context::Context;
use crate::requests::Failure;
use crate::status;

/// The most bytes of an error in a sentence.
const SENTENCE: usize = 300;

/// Says so in its status, unless it had a phase already, which whoever could read it has written; and lets it go when it is
/// deleted. Both are events too: they go through the spool, as far as they can be told.
pub async fn settle(context: &Context, metadata: &ObjectMeta, error: &str) -> Result<Action, Trouble> {
    let shared = &context.shared;
    shared.metrics.unreadable();
    let (namespace, name) =
        (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default());
    tracing::error!(namespace, name, error, "a stored execution cannot be read");
    let path = format!("/apis/{GROUP}/v1alpha1/namespaces/{namespace}/kubernetesexecutions/{name}");
    let stored: Value = match shared.requests.get(&path, "kubernetesexecutions").await {
        Err(failure) if failure.code() == Some(404) => return Ok(Action::await_change()),
        answer => answer.map_err(trouble)?,
    };
    // Somebody has mended it meanwhile: the watch will say so.
    if serde_json::from_value::<KubernetesExecution>(stored.clone()).is_ok() {
        return Ok(Action::await_change());
    }
    let text = |pointer: &str| stored.pointer(pointer).and_then(Value::as_str);
    let deleted = text("/metadata/deletionTimestamp").is_some();
    let ours = finalizers(&stored).iter().any(|one| one == FINALIZER);
    let phase = text("/status/phase");
    // Recorded by us, and not done with yet.
    let recorded = text("/status/reason") == Some(Reason::Unreadable.name());
    let error = hide::text(&shorten(error, SENTENCE));
    if phase.is_none() && !deleted {
        return record(context, &path, &stored, &error).await;
    }
    if !shared.gate.allows(shared.requests.horizon()) || !(recorded || deleted && ours) {
        return Ok(Action::await_change());
    }
    let message = match phase.filter(|_| !recorded) {
        None => what_was_started(&stored, &error),
        Some(phase) => format!("it was deleted, and what it had come to (phase {phase}) cannot be read: {error}"),
    };
    let event = event(&stored, &message, was_held(&stored) || phase.is_some() && !recorded);
    let event = AuditEvent { cluster: shared.audit.origin.cluster.clone(), ..event };
    if shared.audit.store().is_some() {
        // The same bound as for all: it waits until there is room, and so does its deletion.
        if !shared.audit.has_room() {
            return Ok(Action::requeue(FULL));
        }
        shared.spool.put(&envelope(&event), None).await.map_err(trouble)?;
        shared.audit.spooled(&event.execution_uid, event.attempt);
    } else {
        audit::log(&envelope(&event));
    }
    let_go(context, &path, &stored, ours).await
}

/// Takes its finalizer away, or writes that it is settled.
async fn let_go(context: &Context, path: &str, stored: &Value, ours: bool) -> Result<Action, Trouble> {
    let shared = &context.shared;
    let version = stored.pointer("/metadata/resourceVersion");
    // Before it is settled: what is not watched any more could not be let go when it is deleted.
    let answer = if ours {
        let left: Vec<_> = finalizers(stored).into_iter().filter(|one| one != FINALIZER).collect();
        let patch = json!({ "metadata": { "resourceVersion": version, "finalizers": left } });
        shared.requests.patch::<Value>(path, "kubernetesexecutions", &patch).await
    } else {
        let patch = json!({ "metadata": { "resourceVersion": version }, "status": { "settled": true } });
        shared.requests.patch::<Value>(&format!("{path}/status"), "kubernetesexecutions/status", &patch).await
    };
    answer.map(|_| Action::await_change()).map_err(trouble)
}

fn trouble(failure: Failure) -> Trouble {
    Trouble::Request { what: "write what an unreadable execution came to".to_owned(), failure }
}

fn finalizers(stored: &Value) -> Vec<Value> {
    stored.pointer("/metadata/finalizers").and_then(Value::as_array).cloned().unwrap_or_default()
}

/// Returns whether it was held, also if it is not any more: a Job may have been made of it since, whatever its status says. The
/// trace context is written with the finalizer.
fn was_held(stored: &Value) -> bool {
    let annotations = stored.pointer("/metadata/annotations").and_then(Value::as_object);
    finalizers(stored).iter().any(|one| one == FINALIZER)
        || annotations.is_some_and(|all| all.contains_key(TRACEPARENT))
}

fn what_was_started(stored: &Value, error: &str) -> String {
    let started = if was_held(stored) {
        "whether anything was started is not known (look for its Job)"
    } else {
        "nothing was started"
    };
    format!("the stored object cannot be read, and {started}: {error}")
}

/// Writes the final phase. That it is settled follows when its event is kept.
async fn record(context: &Context, path: &str, stored: &Value, error: &str) -> Result<Action, Trouble> {
    let shared = &context.shared;
    if !shared.gate.allows(shared.requests.horizon()) {
        return Ok(Action::await_change());
    }
    let (phase, reason) = (Phase::Failed, Reason::Unreadable.name());
    let looked_at = stored.pointer("/metadata/generation").and_then(Value::as_i64);
    let status = status::with_phase(
        status::Status { observed_generation: looked_at, ..Default::default() },
        phase,
        reason,
        &what_was_started(stored, error),
        Timestamp::now(),
    );
    let version = stored.pointer("/metadata/resourceVersion");
    let patch = json!({ "metadata": { "resourceVersion": version }, "status": status });
    let answer = shared.requests.patch::<Value>(&format!("{path}/status"), "kubernetesexecutions/status", &patch).await;
    // The watch shows it, and the rest follows.
    answer.map(|_| Action::await_change()).map_err(trouble)
}

/// The event of an end that cannot be read, from what can be.
fn event(stored: &Value, message: &str, may_have_run: bool) -> AuditEvent {
    let text = |pointer: &str| stored.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let needed = |pointer: &str| text(pointer).unwrap_or_default();
    let target = |field: &str| text(&format!("/spec/action/target/{field}"));
    let uid = needed("/metadata/uid");
    AuditEvent {
        event_type: EVENT_TYPE.to_owned(),
        id: AuditEvent::key(&uid, 0),
        timestamp: Timestamp::now().to_string(),
        execution_name: needed("/metadata/name"),
        execution_uid: uid,
        namespace: needed("/metadata/namespace"),
        cluster: None,
        action_type: text("/spec/action/type").unwrap_or_else(|| "unknown".to_owned()),
        target: EventTarget {
            namespace: target("namespace"),
            api_version: target("apiVersion"),
            resource_kind: target("resourceKind"),
            resource_name: target("resourceName"),
            selector: target("selector"),
        },
        parameters: None,
        dry_run: stored.pointer("/spec/dryRun").and_then(Value::as_bool).unwrap_or_default(),
        reason: None,
        attempt: 0,
        r#final: true,
        phase: Phase::Failed.name().to_owned(),
        code: Reason::Unreadable.name().to_owned(),
        effect: if may_have_run { Effect::Unknown } else { Effect::None },
        retry_count: 0,
        max_retries: 0,
        result: EventResult { error: message.to_owned(), ..EventResult::default() },
        job_info: None,
        image_id: None,
        workflow: None,
        workflow_namespace: None,
        step_index: None,
        requested_by: None,
        approved_by: None,
        trace_id: None,
        trimmed: vec!["parameters".to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Between the hold and the first status a Job may have been made.
    #[test]
    fn that_nothing_was_started_is_said_only_of_what_was_never_held() {
        let never = json!({ "metadata": {} });
        assert!(what_was_started(&never, "e").contains("nothing was started"));
        let held = json!({ "metadata": { "finalizers": [FINALIZER] } });
        let let_go = json!({ "metadata": { "annotations": { TRACEPARENT: "x" } } });
        for stored in [held, let_go] {
            assert!(what_was_started(&stored, "e").contains("is not known"));
            assert_eq!(event(&stored, "m", was_held(&stored)).effect, Effect::Unknown);
        }
    }
}
