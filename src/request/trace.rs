//! Reads `TRACEPARENT`.

use super::set;

/// Returns the trace id of a W3C trace context: `00-<trace id>-<parent id>-<flags>`. A bad one is ignored, as
/// specified.
pub(super) fn id(text: Option<&str>, warnings: &mut Vec<String>) -> Option<String> {
    let text = set(text)?;
    let parts: Vec<&str> = text.split('-').collect();
    let hex =
        |part: &&str, length: usize| part.len() == length && part.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
    match parts.as_slice() {
        [version, trace, parent, flags, ..]
            if hex(version, 2)
                && hex(trace, 32)
                && hex(parent, 16)
                && hex(flags, 2)
                && trace.chars().any(|c| c != '0') =>
        {
            Some((*trace).to_owned())
        }
        _ => {
            warnings.push("TRACEPARENT: not a W3C trace context (00-<32 hex>-<16 hex>-<2 hex>); ignored".to_owned());
            None
        }
    }
}
