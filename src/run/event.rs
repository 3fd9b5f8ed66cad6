//! `ACTION_EVENTS`: posts one Kubernetes Event about the target. Best effort: never changes how the run ended. Not
//! after a dry run, because an Event is a change of the cluster too.

use actions::cluster::Cluster;
use contract::result::{ActionResult, ObjectReference};
use contract::text::shorten;
use serde_json::{Value, json};

use super::record::RunRecord;

/// Limit of `note`, which may have 1 KiB. (`reason` and `action` may have 128 characters.)
const NOTE_LIMIT: usize = 1000;

/// Posts the event and returns the result, with a warning if posting failed.
pub async fn post(cluster: &Cluster, record: &RunRecord, result: ActionResult) -> ActionResult {
    let Some(target) = about(&result) else { return result };
    let event = event(target, &result);
    let warning =
        cluster.post_event(event).await.err().map(|why| format!("ACTION_EVENTS: the event could not be posted: {why}"));
    ActionResult {
        requests: Some(record.lock().ledger.requests()),
        warnings: result.warnings.iter().cloned().chain(warning).collect(),
        ..result
    }
}

/// Returns the result of a run that was cut off while it posted the event.
pub fn cut_off(record: &RunRecord, result: ActionResult) -> ActionResult {
    let warning = "ACTION_EVENTS: the run was cut off while it posted the event; it may or may not be there".to_owned();
    ActionResult {
        requests: Some(record.lock().ledger.requests()),
        warnings: result.warnings.iter().cloned().chain([warning]).collect(),
        ..result
    }
}

/// Returns the object of the event: none after a dry run, or if no target was found.
fn about(result: &ActionResult) -> Option<&ObjectReference> {
    let found = result.target.as_ref().map(|target| &target.object).filter(|object| object.uid.is_some());
    found.filter(|_| !result.dry_run)
}

fn event(target: &ObjectReference, result: &ActionResult) -> Value {
    let note = result.output.as_deref().or(result.error.as_deref()).unwrap_or_default();
    json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event",
        // Events about cluster-scoped objects are only accepted in `default`.
        "metadata": { "generateName": "action-runner-", "namespace": target.namespace.as_deref().unwrap_or("default") },
        "eventTime": format!("{:.6}", jiff::Timestamp::now()),
        "type": if result.success { "Normal" } else { "Warning" },
        "reason": format!("Action{:?}", result.code),
        "action": result.action_type,
        "note": shorten(note, NOTE_LIMIT),
        "reportingController": "kubernetesexecution.kubernaut.io/action-runner",
        "reportingInstance": result.action_id.as_deref().unwrap_or("action-runner"),
        "regarding": { "apiVersion": target.api_version, "kind": target.kind, "namespace": target.namespace, "name": target.name, "uid": target.uid },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::code::Code;
    use contract::result::ResultTarget;
    use rstest::rstest;

    #[rstest]
    #[case::real(false, Some("u"), true)]
    #[case::dry(true, Some("u"), false)]
    #[case::nothing_was_found(false, None, false)]
    fn is_posted_about_what_was_found_and_not_in_a_dry_run(
        #[case] dry_run: bool,
        #[case] uid: Option<&str>,
        #[case] posted: bool,
    ) {
        let object = ObjectReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            namespace: None,
            name: "n".to_owned(),
            uid: uid.map(str::to_owned),
            subresource: None,
        };
        let result = RunRecord::new(jiff::Timestamp::UNIX_EPOCH).fail(Code::Refused, "no".to_owned());
        let result = ActionResult { dry_run, target: Some(ResultTarget { object, resolved_from: None }), ..result };
        assert_eq!(about(&result).is_some(), posted);
    }
}
