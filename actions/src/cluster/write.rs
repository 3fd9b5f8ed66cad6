//! Writes, and what became of them.
//!
//! A write carries the server-side `timeout` parameter, after which it cannot land any more. If its answer is lost (no
//! answer, a 5xx, or one that the API server does not give), the runner looks at the object (see [`super::lost`]).

use std::time::Duration;

use contract::result::{Change, Operation};
use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::lost::Lost;
use super::outcome::Outcome;
use super::status::{Failure, Status};
use super::tries::{Commit, MARGIN, Tries};
use super::{Cluster, FIELD_MANAGER, build, read, with_query};
use crate::cluster::error::{Error, Result};
use crate::cluster::patch::{Patch, Proof};
use crate::k8s::names::Namespace;
use crate::k8s::object::text;
use crate::k8s::{ObjectRef, Permission};

impl Cluster {
    /// Patches an object, and returns the object as the server then stored it (in a dry run: as it would have).
    pub async fn patch(&self, object: &ObjectRef, before: &Value, patch: &Patch, commit: Commit) -> Result<Value> {
        let what = format!("patch {object}");
        let permission =
            Permission { subresource: patch.subresource, ..Permission::on_target("patch", &object.resource) };
        let mut tries = Tries::new(commit);
        loop {
            let failure = match self.patch_once(object, before, patch, &mut tries).await? {
                Outcome::Applied(after) => return as_asked(object, patch, after, commit),
                Outcome::NotApplied(failure) => failure,
                Outcome::Unknown(failure) => return Err(self.unavailable(&what, tries.told(failure))),
            };
            if !self.writes_on(&failure, &mut tries).await {
                return Err(self.write_error(&what, tries.told(failure), &permission, object).await);
            }
        }
    }

    async fn patch_once(
        &self,
        object: &ObjectRef,
        before: &Value,
        patch: &Patch,
        tries: &mut Tries,
    ) -> Result<Outcome> {
        let manager = match patch.proof {
            Proof::FieldManager => format!("{FIELD_MANAGER}/{}", self.run),
            Proof::Annotation { .. } => FIELD_MANAGER.to_owned(),
        };
        let body = serde_json::to_vec(&patch.operations).map_err(|error| Error::Internal(error.to_string()))?;
        let path = object.path(patch.subresource);
        let request = |uri: &str| build(Method::PATCH, uri, "application/json-patch+json", body.clone());
        let change = |after: &Value| Change {
            object: contract::result::ObjectReference {
                subresource: patch.subresource.map(str::to_owned),
                ..object.to_reference()
            },
            operation: Operation::Patch,
            patch: Some(difference(before, after, patch.subresource)),
        };
        let limit = self.begin(tries)?;
        if tries.commit == Commit::DryRun {
            let uri = with_query(&path, &[("dryRun", "All"), ("fieldManager", &manager)]);
            return Ok(match self.try_out(request(&uri)?, tries).await {
                Ok(body) => {
                    let after = read::parse(&body, "dry-run the patch")?;
                    self.ledger.would_change(change(&after));
                    Outcome::Applied(after)
                }
                Err(failure) => Outcome::NotApplied(failure),
            });
        }
        let uri = with_query(&path, &[("timeout", &format!("{}ms", limit.as_millis())), ("fieldManager", &manager)]);
        let request = request(&uri)?;
        let horizon = Instant::now() + limit + MARGIN;
        self.ledger.write_begins();
        let outcome = match self.call_write(request, tries).await {
            // Parsed as far as possible: with a success status the write is applied, even if the answer is cut off.
            Ok(body) => Outcome::Applied(serde_json::from_slice(&body).unwrap_or_default()),
            Err(failure) if failure.refuses_a_write() => Outcome::NotApplied(failure),
            Err(failure) => {
                let lost = Lost { object, before, patch, manager: &manager, horizon };
                self.look_after(&lost, failure).await
            }
        };
        self.enter(&outcome, change);
        Ok(outcome)
    }

    /// Posts an event, once. An event changes no object, so it is not part of the run's effect.
    pub async fn post_event(&self, event: Value) -> Result<(), String> {
        /// The run is over, and nobody waits for an event.
        const LIMIT: Duration = Duration::from_secs(5);
        let Some(namespace) = text(&event, "/metadata/namespace").and_then(|name| name.parse::<Namespace>().ok())
        else {
            return Err("it has no namespace".to_owned());
        };
        let uri = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
        let request = build(Method::POST, &uri, "application/json", event.to_string().into_bytes())
            .map_err(|error| error.to_string())?;
        self.call(request, LIMIT, false).await.map(|_| ()).map_err(|failure| failure.to_string())
    }

    /// Returns the error of a refused write. That the object is gone is believed only if the API server says so about
    /// this very object; any other 404 in the API's words (the namespace is gone, an admission webhook says so) is just
    /// a refusal. An answer from something in between was looked into before, and counts as none.
    pub(super) async fn write_error(
        &self,
        what: &str,
        failure: Failure,
        permission: &Permission,
        object: &ObjectRef,
    ) -> Error {
        let status = match failure {
            Failure::Status(status) => status,
            failure => return self.unavailable(what, failure),
        };
        match status.code {
            401 | 403 => self.denied(what, status, permission, object.namespace.as_ref(), Some(&object.name)).await,
            404 if status.says_gone(object) => Error::TargetNotFound(format!("failed to {what}: {}", status.message)),
            409 => Error::Conflict(format!(
                "failed to {what}: someone else changed it at the same time ({})",
                status.message
            )),
            422 if status.failed_test() => {
                Error::Conflict(format!("failed to {what}: what the decision rested on has changed"))
            }
            400 if status.message.contains("dry run") || status.message.contains("dryRun") => webhook(what, &status),
            400 | 404 | 413 | 415 | 422 => Error::Refused(format!("failed to {what}: {}", status.message)),
            _ if status.transient() => self.unavailable(what, Failure::Status(status)),
            _ => Error::Refused(format!("failed to {what}: {status}")),
        }
    }
}

/// Holds what was stored to what was asked for: a success says only that something was.
fn as_asked(object: &ObjectRef, patch: &Patch, after: Value, commit: Commit) -> Result<Value> {
    // An answer that was cut off shows nothing.
    let Some(missing) = patch.missing_in(&after).filter(|_| !after.is_null()) else { return Ok(after) };
    Err(match commit {
        Commit::DryRun => Error::Refused(format!(
            "{object}: an admission policy or webhook would make something else of it: {missing}; change that, or ask for what it allows"
        )),
        Commit::Execute => Error::NotVerified(format!(
            "{object} was written, and is not as it was asked for: {missing}; an admission policy, a webhook or somebody else has changed it"
        )),
    })
}

/// Explains that an admission webhook with side effects makes every dry run fail.
fn webhook(what: &str, status: &Status) -> Error {
    Error::Refused(format!(
        "failed to {what}: {}; an admission webhook does not support dry runs: its configuration needs `sideEffects: None`",
        status.message
    ))
}

/// Returns the changes between two states of an object, without the fields that the server itself maintains.
fn difference(before: &Value, after: &Value, subresource: Option<&str>) -> Value {
    let strip = |object: &Value| {
        let mut object = object.clone();
        if let Some(fields) = object.as_object_mut() {
            fields.remove("status");
            fields.remove("kind");
            fields.remove("apiVersion");
        }
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            for kept_by_server in ["resourceVersion", "generation", "managedFields", "creationTimestamp"] {
                metadata.remove(kept_by_server);
            }
        }
        // A Scale leaves 0 out; without this, a missing number would read as 1 in the object.
        if let (Some("scale"), Some(fields)) = (subresource, object.as_object_mut()) {
            let spec = fields.entry("spec").or_insert_with(|| json!({}));
            if let Some(spec) = spec.as_object_mut() {
                spec.entry("replicas").or_insert(json!(0));
            }
        }
        object
    };
    json!(json_patch::diff(&strip(before), &strip(after)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::to_zero(json!({ "replicas": 3 }), json!({}), json!([{ "op": "replace", "path": "/spec/replicas", "value": 0 }]))]
    #[case::from_zero(json!({}), json!({ "replicas": 3 }), json!([{ "op": "replace", "path": "/spec/replicas", "value": 3 }]))]
    #[case::from_a_zero(json!({ "replicas": 0 }), json!({ "replicas": 3 }), json!([{ "op": "replace", "path": "/spec/replicas", "value": 3 }]))]
    #[case::nothing(json!({ "replicas": 0 }), json!({}), json!([]))]
    fn a_scale_without_a_number_has_none_running(#[case] before: Value, #[case] after: Value, #[case] changes: Value) {
        let scale =
            |spec| json!({ "kind": "Scale", "metadata": { "name": "web", "resourceVersion": "1" }, "spec": spec });
        assert_eq!(difference(&scale(before), &scale(after), Some("scale")), changes);
    }

    #[test]
    fn an_object_without_a_number_stays_as_it_is() {
        let object = |replicas| json!({ "spec": { "replicas": replicas }, "status": { "replicas": replicas } });
        let changes = difference(&json!({ "spec": {} }), &object(3), None);
        assert_eq!(changes, json!([{ "op": "add", "path": "/spec/replicas", "value": 3 }]));
        assert_eq!(difference(&object(3), &json!({}), Some("scale"))[0]["value"], json!(0));
    }
}
