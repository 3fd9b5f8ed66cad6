//! Helpers for the tests of several actions.

#![allow(clippy::missing_panics_doc, reason = "for tests")]

use std::sync::Arc;
use std::time::Duration;

use contract::waiting::WaitOptions;
use jiff::Timestamp;
use json_patch::PatchOperation;
use serde_json::Value;

use super::{Action, RunOutcome};
use crate::cluster::run::{LogSink, Progress, RunContext};
use crate::cluster::server_name;
use crate::k8s::object::text;
use crate::k8s::{Kind, ObjectRef};
use crate::workload::lookup::LiveObject;

/// Refuses every line.
#[derive(Debug)]
struct NoSink;

impl LogSink for NoSink {
    fn write_lines(&self, _lines: &[u8]) -> std::io::Result<()> {
        Err(std::io::Error::other("no line was expected"))
    }
}

/// Returns a run without id or reason.
pub fn run() -> RunContext {
    RunContext {
        upload_hosts: Vec::new(),
        redact_required: false,
        id: None,
        reason: None,
        run: "r1".to_owned(),
        now: Timestamp::UNIX_EPOCH,
        wait: WaitOptions::default(),
        progress: Progress::default(),
        sink: Arc::new(NoSink),
    }
}

/// Returns the sentence about a run that took 1.5 s.
pub fn sentence<A: Action>(
    action: &A,
    target: &A::Target,
    details: &A::Details,
    (dry_run, already): (bool, Option<&str>),
) -> String {
    let outcome = RunOutcome { dry_run, already: already.map(str::to_owned), took: Duration::from_millis(1500) };
    outcome.sentence(action, target, details)
}

/// Applies a patch as the API server does, where a test for null means "absent".
pub fn apply(value: &mut Value, operations: &[PatchOperation]) {
    let changes: Vec<_> = operations.iter().filter(|one| !matches!(one, PatchOperation::Test(_))).cloned().collect();
    json_patch::patch(value, &changes).expect("a patch that fits");
}

/// Returns an object called `web` in `shop` (or in the cluster).
pub fn live(kind: Kind, value: Value) -> LiveObject {
    let resource = kind.resource();
    let namespace = "shop".parse().ok().filter(|_| resource.namespaced());
    let uid = text(&value, "/metadata/uid").map(str::to_owned);
    let object = ObjectRef { resource, namespace, name: server_name("web").expect("a name"), uid };
    LiveObject { object, value, resolved_from: None }
}
