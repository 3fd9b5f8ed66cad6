//! A line of a log on stdout.

use schemars::JsonSchema;
use serde::Serialize;

use super::Source;
use crate::k8s::names::Namespace;

/// One line of a container's log, as it stands on stdout.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogLine<'a> {
    /// `LogLine`
    pub kind: &'static str,
    /// Namespace of the pod.
    pub namespace: &'a str,
    /// Name of the pod.
    pub pod: &'a str,
    /// Name of the container.
    pub container: &'a str,
    /// True when the line is from the instance before the last restart.
    pub previous: bool,
    /// Time when the line was written, if `timestamps`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<&'a str>,
    /// The line, with escapes in place of what a terminal obeys.
    pub line: &'a str,
}

impl LogLine<'_> {
    /// Writes a line as JSON.
    pub(super) fn encode(source: &Source, timestamp: Option<&str>, line: &str, into: &mut Vec<u8>) {
        let line = LogLine {
            kind: "LogLine",
            namespace: source.pod.namespace.as_ref().map(Namespace::as_str).unwrap_or_default(),
            pod: source.pod.name.as_str(),
            container: &source.container,
            previous: source.previous,
            timestamp,
            line,
        };
        // Strings and a bool, into memory: writing them as JSON cannot fail.
        let _infallible = serde_json::to_writer(into, &line);
    }
}
