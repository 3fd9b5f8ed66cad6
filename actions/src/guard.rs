//! Small things that several actions ask or build.

use std::collections::BTreeSet;

use json_patch::PatchOperation;
use serde_json::{Value, json};

use crate::action::Named;
use crate::error::{Error, Result};
use crate::object::{Kind, ObjectRef, Resource, annotation, label, text};
use crate::permission::Permission;
use crate::workload::PROTECTED;

/// The annotation in which Kubernetes keeps why a revision came about.
pub const CHANGE_CAUSE: &str = "kubernetes.io/change-cause";

/// The one object that every action but `collect-logs` is pointed at.
pub fn object(named: &Named) -> Result<&ObjectRef> {
    match named {
        Named::Object(object) => Ok(object),
        Named::Selection { .. } => Err(Error::InvalidRequest(
            "TARGET_SELECTOR: only collect-logs takes a selector; set TARGET_NAME".to_owned(),
        )),
    }
}

/// What it takes, beside reading it, to follow a Pod to the workload that controls it.
pub fn owner_permissions(resource: &Resource) -> BTreeSet<Permission> {
    match resource.built_in() {
        Some(Kind::Pod) => [Permission::of("get", &Kind::ReplicaSet.resource())].into(),
        _ => BTreeSet::new(),
    }
}

/// What it takes to know whose pods are whose: a Deployment's are its ReplicaSets'.
pub fn set_permissions(kind: Kind) -> BTreeSet<Permission> {
    match kind {
        Kind::Deployment => ["list", "watch"].map(|verb| Permission::of(verb, &Kind::ReplicaSet.resource())).into(),
        _ => BTreeSet::new(),
    }
}

/// A JSON Patch written as JSON. The literals of this crate are well formed; what is not becomes a patch that tests for
/// the impossible and so changes nothing.
pub fn operations(patch: Value) -> Vec<PatchOperation> {
    serde_json::from_value(patch).unwrap_or_else(|_| {
        serde_json::from_value(json!([{ "op": "test", "path": "/metadata/uid", "value": "malformed patch" }]))
            .unwrap_or_default()
    })
}

/// The operations that set annotations of the object at `at` (empty for the object, `/spec/template` for its pods).
pub fn annotate(value: &Value, at: &str, annotations: &[(&str, String)]) -> Vec<Value> {
    let holder = format!("{at}/metadata/annotations");
    let mut operations = Vec::new();
    if !value.pointer(&format!("{at}/metadata")).is_some_and(Value::is_object) {
        operations.push(json!({ "op": "add", "path": format!("{at}/metadata"), "value": {} }));
    }
    if !value.pointer(&holder).is_some_and(Value::is_object) {
        // Annotations do not move the generation: what somebody adds meanwhile must not be wiped.
        operations.push(json!({ "op": "test", "path": holder, "value": null }));
        operations.push(json!({ "op": "add", "path": holder, "value": {} }));
    }
    if at.is_empty() && value.pointer(&holder).is_some_and(Value::is_object) {
        // Protected in the meantime is protected all the same. (A test of null passes where there is nothing.)
        let protected = annotation(value, PROTECTED);
        operations.push(json!({ "op": "test", "path": format!("{holder}/{}", escape(PROTECTED)), "value": protected }));
    }
    operations.extend(annotations.iter().map(|(key, text)| {
        let escaped = escape(key);
        json!({ "op": "add", "path": format!("{holder}/{escaped}"), "value": text })
    }));
    operations
}

/// A key as a JSON pointer has it.
pub fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Who wrote last, by the object's managed fields: a hint for the person who has to find out.
pub fn last_writer(value: &Value, subresource: &str) -> String {
    let entries = value.pointer("/metadata/managedFields").and_then(Value::as_array);
    let writer = entries.into_iter().flatten().find(|entry| text(entry, "/subresource") == Some(subresource));
    writer
        .and_then(|entry| text(entry, "/manager"))
        .map(|manager| format!(" (field manager {manager})"))
        .unwrap_or_default()
}

/// Marks of tools that will put the object back to what they have on record.
pub fn managed_by(value: &Value) -> Option<&'static str> {
    let annotations = [("argocd.argoproj.io/tracking-id", "Argo CD"), ("meta.helm.sh/release-name", "Helm")];
    let labels = [
        ("argocd.argoproj.io/instance", "Argo CD"),
        ("kustomize.toolkit.fluxcd.io/name", "Flux"),
        ("helm.toolkit.fluxcd.io/name", "Flux"),
    ];
    let by_annotation = annotations.into_iter().find(|(key, _)| annotation(value, key).is_some());
    let by_label = labels.into_iter().find(|(key, _)| label(value, key).is_some());
    by_annotation.or(by_label).map(|(_, tool)| tool)
}

/// What the tests of several actions need.
#[cfg(test)]
#[allow(clippy::missing_panics_doc, reason = "for tests")]
pub mod test_support {
    use super::*;
    use crate::action::{Progress, RunContext};
    use crate::workload::Found;

    /// Takes no lines.
    #[derive(Debug)]
    struct NoSink;

    impl crate::action::LogSink for NoSink {
        fn write_line(&self, _line: &[u8]) -> std::io::Result<()> {
            Err(std::io::Error::other("no line was expected"))
        }
    }

    /// A run without id or reason.
    pub fn run() -> RunContext {
        RunContext {
            upload_hosts: Vec::new(),
            id: None,
            reason: None,
            run: "r1".to_owned(),
            now: jiff::Timestamp::UNIX_EPOCH,
            progress: Progress::default(),
            sink: std::sync::Arc::new(NoSink),
        }
    }

    /// How a sentence is to be told: 1.5 s after the beginning.
    pub fn told(dry_run: bool, already: Option<&str>) -> crate::action::Told {
        let took = std::time::Duration::from_millis(1500);
        crate::action::Told { dry_run, already: already.map(str::to_owned), took }
    }

    /// Applies a patch as the API server does, where a test of null means "absent".
    pub fn apply(value: &mut Value, operations: &[PatchOperation]) {
        let changes: Vec<_> =
            operations.iter().filter(|one| !matches!(one, PatchOperation::Test(_))).cloned().collect();
        json_patch::patch(value, &changes).expect("a patch that fits");
    }

    /// An object called `web` in `shop` (or in the cluster).
    pub fn found(kind: Kind, value: Value) -> Found {
        let resource = kind.resource();
        let namespace = "shop".parse().ok().filter(|_| resource.namespaced());
        let uid = text(&value, "/metadata/uid").map(str::to_owned);
        Found {
            object: ObjectRef { resource, namespace, name: crate::wait::server_name("web").expect("a name"), uid },
            value,
            resolved_from: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotates_what_has_no_annotations_yet() {
        let mut value = json!({ "metadata": { "name": "x" }, "spec": { "template": {} } });
        let patch = annotate(&value, "/spec/template", &[("a/b", "1".to_owned())]);
        test_support::apply(&mut value, &operations(json!(patch)));
        assert_eq!(value["spec"]["template"]["metadata"]["annotations"]["a/b"], "1");
    }

    #[test]
    fn sees_who_manages_an_object() {
        let value = json!({ "metadata": { "annotations": { "meta.helm.sh/release-name": "shop" } } });
        assert_eq!(managed_by(&value), Some("Helm"));
        assert_eq!(managed_by(&json!({})), None);
    }
}
