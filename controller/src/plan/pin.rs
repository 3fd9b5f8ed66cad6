//! The pod that a `restart-pod` is about: pinned before anything is started, so that no attempt evicts the one that came in its
//! place.

use actions::catalogue::Verb;
use actions::k8s::Kind;

use super::{action, repeatable};
use crate::api::{KubernetesExecution, Phase};

/// Annotation of an execution: its own UID, and the UID of the pod that a `restart-pod` is about, as it was at first sight. The
/// same in every attempt, so that a later one never evicts the replacement.
pub const TARGET_UID: &str = "kubernetesexecution.kubernaut.io/target-uid";

/// Returns the UID of the target: the spec's, or the one that was pinned.
pub fn target_uid(execution: &KubernetesExecution) -> Option<String> {
    execution.spec.action.target.uid.clone().or_else(|| pinned(execution))
}

/// Returns the value of the annotation that pins a pod; that there was none is written down too. It names the execution: a copy of an
/// execution is about the pod that is there when the copy is made.
pub fn pin(execution: &KubernetesExecution, pod: Option<&str>) -> String {
    format!("{}/{}", execution.metadata.uid.as_deref().unwrap_or_default(), pod.unwrap_or_default())
}

/// Returns what was pinned for this execution: a UID, or nothing.
fn own_pin(execution: &KubernetesExecution) -> Option<&str> {
    let (of, pod) = execution.metadata.annotations.as_ref()?.get(TARGET_UID)?.split_once('/')?;
    (execution.metadata.uid.as_deref() == Some(of)).then_some(pod)
}

fn pinned(execution: &KubernetesExecution) -> Option<String> {
    own_pin(execution).filter(|pod| !pod.is_empty()).map(str::to_owned)
}

/// Returns whether nothing was started yet, as far as the status says.
fn is_new(execution: &KubernetesExecution) -> bool {
    let status = execution.status.as_ref();
    status.is_none_or(|status| status.attempts.is_empty() && matches!(status.phase, None | Some(Phase::Pending)))
}

/// Returns whether the pod is to be pinned, with the finalizer: a copy may have that already. Later it would be the one that came in its
/// place.
pub fn pins(execution: &KubernetesExecution) -> bool {
    wants_uid(execution) && is_new(execution) && own_pin(execution).is_none()
}

/// Returns whether the pod's UID must be pinned before the action may be started a second time.
pub(super) fn wants_uid(execution: &KubernetesExecution) -> bool {
    !repeatable(execution) && matches!(action(execution), Some((Verb::Restart, Some(Kind::Pod))))
}

/// Says why the pod that is to be restarted is not known.
pub(super) fn no_pod(execution: &KubernetesExecution) -> String {
    let name = execution.spec.action.target.resource_name.as_deref().unwrap_or_default();
    if is_new(execution) {
        return format!(
            "spec.action.target.resourceName: pod {name} was not there when the execution was seen first; nothing was started"
        );
    }
    format!(
        "metadata.annotations[{TARGET_UID}]: somebody changed it or took it away, so that which pod {name} was meant is not known: \
         nothing more is started"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Plan;
    use super::super::tests::{execution, plan, scale};
    use super::*;

    /// What is copied with all its annotations is another execution, about the pod that is there then. What was changed while it was
    /// carried out is not guessed again: the pod of that name may be the one that came in its place.
    #[test]
    fn a_pod_is_pinned_for_one_execution_and_once() {
        let action = json!({ "type": "restart-pod", "target": { "resourceName": "web-0" } });
        let mut one = execution(json!({ "action": action }));
        assert!(pins(&one));
        let value = pin(&one, Some("p-1"));
        one.metadata.annotations = Some([(TARGET_UID.to_owned(), value)].into());
        assert_eq!((target_uid(&one).as_deref(), pins(&one)), (Some("p-1"), false));
        let mut copy = one.clone();
        copy.metadata.uid = Some("another".to_owned());
        assert_eq!((target_uid(&copy), pins(&copy)), (None, true));
        // That there was none is known too, and not asked again.
        one.metadata.annotations = Some([(TARGET_UID.to_owned(), pin(&one, None))].into());
        assert_eq!((target_uid(&one), pins(&one)), (None, false));
        assert!(matches!(plan(&one), Plan::NoTarget(why) if why.contains("was not there when")));
        one.metadata.annotations = None;
        one.status = Some(serde_json::from_value(json!({ "phase": "Retrying" })).unwrap());
        assert!(!pins(&one), "pinned while it is carried out");
        assert!(matches!(plan(&one), Plan::NoTarget(why) if why.contains("target-uid]: somebody changed it")));
    }

    #[test]
    fn restarting_a_pod_is_repeatable_once_its_uid_is_known() {
        let mut restart =
            execution(json!({ "action": { "type": "restart-pod", "target": { "resourceName": "web-0" } } }));
        assert!(!repeatable(&restart) && wants_uid(&restart));
        restart.metadata.annotations = Some([(TARGET_UID.to_owned(), pin(&restart, Some("u")))].into());
        assert!(repeatable(&restart) && !wants_uid(&restart));
        assert!(repeatable(&scale(json!({}))) && !wants_uid(&scale(json!({}))));
    }
}
