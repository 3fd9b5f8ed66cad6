//! Checks a body: is it an event, and one that can be kept?

use std::fmt::Display;

use contract::event::{AuditEvent, EVENT_TYPE};
use contract::text::shorten;
use jiff::Timestamp;
use serde::de::IgnoredAny;

/// An event that can be kept.
#[derive(Debug)]
pub struct Event<'a> {
    /// The event as it is read today.
    pub read: AuditEvent,
    /// Its end.
    pub end: Timestamp,
    /// The event as it came, with fields that only a newer executor writes.
    pub text: &'a str,
}

/// Why a body is not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The body is not JSON.
    NotJson(String),
    /// The JSON is not an event.
    NotAnEvent(String),
}

/// Reads a body, whose request may say the id in a header too.
pub fn read<'a>(body: &'a [u8], ce_id: Option<&[u8]>) -> Result<Event<'a>, Refusal> {
    let text = std::str::from_utf8(body)
        .map_err(|error| Refusal::NotJson(format!("the body: expected JSON in UTF-8: {error}")))?;
    let _syntax: IgnoredAny =
        serde_json::from_str(text).map_err(|error| Refusal::NotJson(format!("the body: not valid JSON: {error}")))?;
    check(text, ce_id).map_err(Refusal::NotAnEvent)
}

fn check<'a>(text: &'a str, ce_id: Option<&[u8]>) -> Result<Event<'a>, String> {
    // A derived struct would read an array as an object without names.
    if !text.trim_start().starts_with('{') {
        return Err(format!("the event: expected a JSON object, got {:?}", shorten(text.trim_start(), 20)));
    }
    let event: AuditEvent = contract::parse::read("the event", text)?;
    if event.event_type != EVENT_TYPE {
        return Err(expected("eventType", EVENT_TYPE, &event.event_type));
    }
    for (field, value) in [
        ("executionUid", &event.execution_uid),
        ("executionName", &event.execution_name),
        ("namespace", &event.namespace),
        ("actionType", &event.action_type),
        ("phase", &event.phase),
        ("code", &event.code),
    ] {
        if value.is_empty() {
            return Err(expected(field, "a text that is not empty", value));
        }
    }
    if event.attempt < 0 {
        return Err(format!("the event: attempt: expected a number from 0, got {}", event.attempt));
    }
    if event.result.duration < 0 {
        return Err(format!("the event: result.duration: expected nanoseconds from 0, got {}", event.result.duration));
    }
    let key = AuditEvent::key(&event.execution_uid, event.attempt);
    if event.id != key {
        return Err(expected("id", format!("executionUid/attempt, {key:?}"), &event.id));
    }
    if let Some(header) = ce_id.filter(|header| *header != event.id.as_bytes()) {
        let shown = shorten(&String::from_utf8_lossy(header), 100);
        return Err(format!("the header ce-id: expected the event's id, {:?}, got {shown:?}", shorten(&event.id, 100)));
    }
    let end = timestamp(&event.timestamp)
        .ok_or_else(|| expected("timestamp", "RFC 3339 such as 2026-11-25T10:00:00Z", &event.timestamp))?;
    Ok(Event { read: event, end, text })
}

fn expected(field: &str, what: impl Display, got: &str) -> String {
    format!("the event: {field}: expected {what}, got {:?}", shorten(got, 100))
}

/// Reads RFC 3339 alone. jiff also reads ISO 8601 without separators, short offsets, and names of time zones.
fn timestamp(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let at = |place: usize, any: &[u8]| bytes.get(place).is_some_and(|byte| any.contains(byte));
    let separators = at(4, b"-") && at(7, b"-") && at(10, b"Tt ") && at(13, b":") && at(16, b":");
    let zulu = matches!(bytes.last(), Some(b'Z' | b'z'));
    let offset = bytes.len().checked_sub(6).is_some_and(|place| at(place, b"+-") && at(place + 3, b":"));
    if separators && (zulu || offset) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("2026-11-25T10:00:00Z", true)]
    #[case("2026-11-25T10:00:00.123456789+02:00", true)]
    #[case("2026-11-25t10:00:00z", true)]
    #[case("2026-11-25T10:00:00", false)]
    #[case("2026-11-25", false)]
    #[case("20261125T100000Z", false)]
    #[case("2026-11-25T10:00:00+02", false)]
    #[case("2026-11-25T10:00:00+00:00[UTC]", false)]
    #[case("2026-11-25T10:00Z", false)]
    #[case("2026-02-30T10:00:00Z", false)]
    #[case("+002026-11-25T10:00:00Z", false)]
    #[case("", false)]
    fn a_time_is_rfc_3339(#[case] text: &str, #[case] good: bool) {
        assert_eq!(timestamp(text).is_some(), good);
    }
}
