//! A stored execution that cannot be read fails alone, and holds nothing up: neither the others, nor its own deletion.

use contract::event::{AuditEvent, EVENT_TYPE, EventResult, EventTarget};
use contract::result::Effect;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::controller::Action;
use serde_json::{Value, json};

use crate::act::Trouble;
use crate::api::{FINALIZER, GROUP, Phase, Reason};
use crate::audit::event::envelope;
use crate::context::Context;
use crate::status;

/// Says so in its status, unless it had a phase already, which whoever could read it has written; and lets it go when it is
/// deleted. Both are kept in the spool of audit events, as far as they can be told.
pub async fn settle(context: &Context, metadata: &ObjectMeta, error: &str) -> Result<Action, Trouble> {
    let shared = &context.shared;
    shared.metrics.unreadable();
    let (namespace, name) =
        (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default());
    tracing::error!(namespace, name, error, "a stored execution cannot be read");
    let path = format!("/apis/{GROUP}/v1alpha1/namespaces/{namespace}/kubernetesexecutions/{name}");
    let what = |failure| Trouble::Request { what: "write what an unreadable execution came to".to_owned(), failure };
    let stored: Value = match shared.requests.get(&path, "kubernetesexecutions").await {
        Err(failure) if failure.code() == Some(404) => return Ok(Action::await_change()),
        answer => answer.map_err(what)?,
    };
    let text = |pointer: &str| stored.pointer(pointer).and_then(Value::as_str);
    let deleted = text("/metadata/deletionTimestamp").is_some();
    let held = stored.pointer("/metadata/finalizers").and_then(Value::as_array).cloned().unwrap_or_default();
    let ours = held.iter().any(|one| one == FINALIZER);
    let phase = text("/status/phase");
    if !shared.gate.allows(shared.requests.horizon()) || !(phase.is_none() && !deleted || deleted && ours) {
        return Ok(Action::await_change());
    }
    let message = if phase.is_none() {
        format!("the stored object cannot be read, and nothing was started: {error}")
    } else {
        format!("it was deleted, and what it had come to (phase {}) cannot be read: {error}", phase.unwrap_or_default())
    };
    if shared.audit.store().is_some() {
        let event = event(&stored, &message, phase.is_some());
        shared.spool.put(&envelope(&event), None).await.map_err(what)?;
        shared.audit.spooled(&event.execution_uid, event.attempt);
    }
    let version = stored.pointer("/metadata/resourceVersion");
    if deleted {
        // Its Job goes with it.
        let left: Vec<_> = held.iter().filter(|one| *one != FINALIZER).collect();
        let patch = json!({ "metadata": { "resourceVersion": version, "finalizers": left } });
        let answer = shared.requests.patch::<Value>(&path, "kubernetesexecutions", &patch).await;
        return answer.map(|_| Action::await_change()).map_err(what);
    }
    let status = status::with_phase(
        status::Status { settled: Some(true), ..status::Status::default() },
        Phase::Failed,
        Reason::Unreadable.name(),
        &message,
        Timestamp::now(),
    );
    let patch = json!({ "metadata": { "resourceVersion": version }, "status": status });
    let answer = shared.requests.patch::<Value>(&format!("{path}/status"), "kubernetesexecutions/status", &patch).await;
    answer.map(|_| Action::await_change()).map_err(what)
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
        action_type: needed("/spec/action/type"),
        target: EventTarget {
            namespace: target("namespace"),
            resource_kind: target("resourceKind"),
            resource_name: target("resourceName"),
            selector: target("selector"),
        },
        parameters: None,
        dry_run: false,
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
        step_index: None,
        requested_by: None,
        approved_by: None,
        trace_id: None,
        trimmed: vec!["parameters".to_owned()],
    }
}
