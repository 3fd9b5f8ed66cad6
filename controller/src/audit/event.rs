//! The event of an attempt, built from the execution alone: the same again after a restart, but for what a newer release
//! says in other words.

use contract::event::{AuditEvent, EVENT_TYPE, EventResult, EventTarget, JobInfo, LARGEST, ResourceUsage};
use contract::result::Effect;
use contract::text::shorten;
use jiff::Timestamp;
use serde_json::Value;

use super::hide;
use crate::api::{Attempt, CREATED_BY, KubernetesExecution, KubernetesExecutionStatus, Phase, TRACEPARENT};
use crate::plan;

/// An event on its way: its body, and what the headers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Its id: `<UID>/<attempt>`.
    pub id: String,
    /// `CloudEvents` source.
    pub source: String,
    /// `CloudEvents` subject: the execution.
    pub subject: String,
    /// Time of the attempt's end.
    pub time: String,
    /// The event as JSON.
    pub body: String,
}

/// What the operator says about events.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// Name of this cluster.
    pub cluster: Option<String>,
    /// Whether an admission policy stamps `created-by`: without one it is only a claim, and left out.
    pub created_by_is_stamped: bool,
}

/// Returns the event of an attempt that has ended; attempt 0 is the end that no attempt brought.
pub fn of(execution: &KubernetesExecution, attempt: i32, origin: &Origin) -> AuditEvent {
    let status = execution.status.clone().unwrap_or_default();
    let one = status.attempts.iter().find(|one| one.attempt == attempt);
    let (metadata, spec) = (&execution.metadata, &execution.spec);
    let annotation = |name: &str| metadata.annotations.as_ref()?.get(name).cloned();
    let uid = metadata.uid.clone().unwrap_or_default();
    let workflow = spec.workflow_execution_ref.as_ref();
    let phase = one.map_or(status.phase, |one| Some(after_attempt(&status, one))).unwrap_or(Phase::Pending);
    let mut parameters = plan::shown_parameters(execution);
    hide::value(&mut parameters);
    let event = AuditEvent {
        event_type: EVENT_TYPE.to_owned(),
        id: AuditEvent::key(&uid, attempt),
        timestamp: end_of(&status, one, metadata.creation_timestamp.as_ref().map(|time| time.0)).to_string(),
        execution_name: metadata.name.clone().unwrap_or_default(),
        execution_uid: uid,
        namespace: metadata.namespace.clone().unwrap_or_default(),
        cluster: origin.cluster.clone(),
        action_type: spec.action.r#type.clone(),
        target: target(execution),
        parameters: Some(parameters),
        dry_run: spec.dry_run,
        reason: spec.reason.as_deref().map(hide::text),
        attempt,
        r#final: phase.is_final(),
        phase: phase.name().to_owned(),
        // A status that somebody wrote by hand may have none.
        code: one
            .map_or_else(|| status.reason.clone(), |one| Some(one.code.clone()))
            .unwrap_or_else(|| "Unknown".to_owned()),
        effect: one.map_or(Effect::None, |one| one.effect),
        retry_count: if attempt > 0 { attempt - 1 } else { status.retry_count.unwrap_or(0) },
        max_retries: spec.max_retries,
        result: result(&status, one),
        job_info: one.map(job_info),
        image_id: one.and_then(|one| one.image_id.clone()),
        workflow: workflow.map(|workflow| workflow.name.clone()),
        workflow_namespace: workflow
            .and_then(|workflow| workflow.namespace.clone().or_else(|| metadata.namespace.clone())),
        step_index: spec.step_index,
        requested_by: annotation(CREATED_BY).filter(|_| origin.created_by_is_stamped),
        approved_by: spec.approved_by.clone(),
        trace_id: annotation(TRACEPARENT).and_then(|text| trace_id(&text)),
        trimmed: Vec::new(),
    };
    bounded(event)
}

fn target(execution: &KubernetesExecution) -> EventTarget {
    let target = &execution.spec.action.target;
    let own = execution.metadata.namespace.clone().filter(|_| !plan::on_a_node(execution));
    EventTarget {
        namespace: target.namespace.clone().or(own),
        api_version: target.api_version.clone(),
        resource_kind: plan::kind(execution),
        resource_name: target.resource_name.clone(),
        selector: target.selector.clone(),
    }
}

/// Returns the phase after an attempt. Releases that did not keep it went on after every attempt but the last one of an
/// execution that has ended.
fn after_attempt(status: &KubernetesExecutionStatus, attempt: &Attempt) -> Phase {
    let last = status.attempts.last().is_some_and(|last| last.attempt == attempt.attempt);
    let ended = status.phase.filter(|phase| last && phase.is_final());
    attempt.phase.or(ended).unwrap_or(Phase::Retrying)
}

/// Returns the trace id of a W3C trace context, if it is one: whoever creates an execution writes that annotation.
fn trace_id(text: &str) -> Option<String> {
    const DIGITS: usize = 32;
    let id = text.split('-').nth(1)?;
    (id.len() == DIGITS && id.bytes().all(|digit| digit.is_ascii_hexdigit())).then(|| id.to_owned())
}

/// Returns what is posted.
pub fn envelope(event: &AuditEvent) -> Envelope {
    let cluster = event.cluster.as_deref().unwrap_or("local");
    let subject = format!("{}/{}", event.namespace, event.execution_name);
    Envelope {
        id: event.id.clone(),
        source: format!(
            "/clusters/{cluster}/namespaces/{}/kubernetesexecutions/{}",
            event.namespace, event.execution_name
        ),
        subject,
        time: event.timestamp.clone(),
        body: storable(event).unwrap_or_default(),
    }
}

/// Returns when the attempt of an event ended.
pub fn ended(execution: &KubernetesExecution, attempt: i32) -> Option<Timestamp> {
    let status = execution.status.as_ref()?;
    let one = status.attempts.iter().find(|one| one.attempt == attempt);
    Some(end_of(status, one, execution.metadata.creation_timestamp.as_ref().map(|time| time.0)))
}

/// Returns when the attempt ended; or the execution, or when it was created, where that is not known.
fn end_of(status: &KubernetesExecutionStatus, attempt: Option<&Attempt>, created: Option<Timestamp>) -> Timestamp {
    let ended = attempt.map_or(status.end_time, |one| one.end_time);
    ended.or(status.end_time).or(created).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn result(status: &KubernetesExecutionStatus, attempt: Option<&Attempt>) -> EventResult {
    let said = |text: Option<&String>| text.map(|text| hide::text(text)).unwrap_or_default();
    let Some(one) = attempt else {
        return EventResult { error: said(status.message.as_ref()), ..EventResult::default() };
    };
    // The status keeps the newest attempt's sentences whole, and of the earlier ones the beginning.
    let newest = status.attempts.last().is_some_and(|last| last.attempt == one.attempt);
    let whole = status.result.as_ref().filter(|_| newest);
    let took = one.start_time.zip(one.end_time).map(|(start, end)| end.duration_since(start).as_nanos());
    EventResult {
        success: after_attempt(status, one) == Phase::Completed,
        output: said(whole.and_then(|whole| whole.output.as_ref())),
        error: said(whole.and_then(|whole| whole.error.as_ref()).or(one.error.as_ref())),
        duration: took.and_then(|nanos| i64::try_from(nanos).ok()).unwrap_or(0).max(0),
    }
}

fn job_info(attempt: &Attempt) -> JobInfo {
    let took = attempt.start_time.zip(attempt.end_time).map(|(start, end)| end.duration_since(start).as_millis());
    let took = took.and_then(|millis| u64::try_from(millis).ok()).filter(|millis| *millis > 0);
    JobInfo {
        name: attempt.job_name.clone(),
        pod_name: attempt.pod_name.clone(),
        exit_code: attempt.exit_code,
        resource_usage: attempt.usage.map(|usage| ResourceUsage {
            cpu_millicores: took.map_or(0, |millis| usage.cpu_ms.saturating_mul(1000) / millis),
            memory_bytes: usage.memory_peak_bytes,
        }),
    }
}

/// Returns the event as JSON, without NUL characters: PostgreSQL stores none, and whoever may create an execution can write them. An event
/// that no store ever takes would be missing from its record for good.
fn storable(event: &AuditEvent) -> serde_json::Result<String> {
    let mut value = serde_json::to_value(event)?;
    // As an event, its fields stand in their own order.
    if without_nul(&mut value) {
        return serde_json::to_string(&serde_json::from_value::<AuditEvent>(value)?);
    }
    serde_json::to_string(event)
}

/// Puts U+FFFD in the place of each NUL. Returns whether there were any.
fn without_nul(value: &mut Value) -> bool {
    const NUL: char = '\0';
    let replaced = |text: &str| text.replace(NUL, "\u{fffd}");
    match value {
        Value::String(text) if text.contains(NUL) => {
            *text = replaced(text);
            true
        }
        Value::Array(items) => items.iter_mut().fold(false, |any, item| without_nul(item) | any),
        Value::Object(fields) => {
            let named = fields.keys().any(|name| name.contains(NUL));
            if named {
                *fields = std::mem::take(fields).into_iter().map(|(name, field)| (replaced(&name), field)).collect();
            }
            fields.values_mut().fold(named, |any, field| without_nul(field) | any)
        }
        _ => false,
    }
}

/// Leaves out what is long, and says so, until the event is small enough for a store and for a ConfigMap.
fn bounded(mut event: AuditEvent) -> AuditEvent {
    const SENTENCE: usize = 2000;
    let size = |event: &AuditEvent| serde_json::to_string(event).map(|text| text.len()).unwrap_or_default();
    if size(&event) > LARGEST {
        event.parameters = None;
        event.trimmed.push("parameters".to_owned());
    }
    if size(&event) > LARGEST {
        event.result.output = shorten(&event.result.output, SENTENCE);
        event.result.error = shorten(&event.result.error, SENTENCE);
        event.trimmed.push("result".to_owned());
    }
    if size(&event) > LARGEST {
        // Control characters are six bytes each.
        (event.reason, event.approved_by, event.image_id) = (None, None, None);
        (event.result.output, event.result.error) = (String::new(), String::new());
        event.trimmed.extend(["reason", "approvedBy", "imageId"].map(str::to_owned));
    }
    event
}
