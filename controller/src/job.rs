//! The Job of one attempt, as a pure function of the execution.

use actions::catalogue::image_of;
use contract::duration::Duration;
use serde_json::{Value, json};

use crate::api::{GROUP, KubernetesExecution, MANAGED_BY, MANAGER, TRACEPARENT};
use crate::names;
use crate::observe::slim::CONTAINER;
use crate::plan::Runnable;
use crate::settings::Settings;

/// Annotation of Jobs and pods: the whole name of their execution, which a label may be too short for.
pub const EXECUTION_ANNOTATION: &str = "kubernetesexecution.kubernaut.io/execution-name";
/// Label of Jobs and pods: which attempt they are.
pub const ATTEMPT_LABEL: &str = "kubernetesexecution.kubernaut.io/attempt";

/// Seconds that the pod may run longer than the runner's own deadline: the result is said by then.
pub const POD_SLACK: u64 = 30;

/// Exit codes after which a replacement pod is of no use, before the rule for disruptions: another request is needed.
const PERMANENT: [u8; 5] = [2, 3, 4, 5, 7];
/// The other ones. They all stand in a rule, because only the message of a rule tells the exit code of a pod that is gone.
const OTHERS: [u8; 7] = [1, 6, 8, 9, 130, 137, 143];

/// One attempt to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// Number of the attempt, from 1.
    pub attempt: i32,
    /// Time that is left for it.
    pub timeout: std::time::Duration,
}

/// Returns the Job.
pub fn job(
    execution: &KubernetesExecution,
    plan: &Runnable,
    start: &Start,
    settings: &Settings,
    policies: Option<&str>,
) -> Value {
    let name = execution.metadata.name.as_deref().unwrap_or_default();
    let namespace = execution.metadata.namespace.as_deref().unwrap_or_default();
    let labels = json!({
        MANAGED_BY: MANAGER,
        "kubernetes-execution": names::label(name),
        "action-type": names::label(&plan.action_type),
        ATTEMPT_LABEL: start.attempt.to_string(),
    });
    let annotations = json!({ EXECUTION_ANNOTATION: name });
    let resources = settings
        .resources
        .clone()
        .unwrap_or_else(|| json!({ "requests": { "cpu": "10m", "memory": "16Mi" }, "limits": { "memory": "64Mi" } }));
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {
            "name": names::job(name, start.attempt), "namespace": namespace,
            "labels": labels, "annotations": annotations,
            "ownerReferences": [{
                "apiVersion": format!("{GROUP}/v1alpha1"), "kind": "KubernetesExecution", "name": name,
                "uid": execution.metadata.uid, "controller": true,
            }],
        },
        "spec": {
            "backoffLimit": 0,
            "podFailurePolicy": { "rules": failure_rules(plan.repeatable && settings.repeatable(&plan.action_type)) },
            "template": {
                "metadata": { "labels": labels, "annotations": annotations },
                "spec": {
                    "serviceAccountName": plan.account,
                    "restartPolicy": "Never",
                    "activeDeadlineSeconds": start.timeout.as_secs() + POD_SLACK,
                    "enableServiceLinks": false,
                    "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
                    "containers": [{
                        "name": CONTAINER,
                        "image": settings.image(&plan.action_type, image_of(plan.verb).name),
                        "resources": resources,
                        "securityContext": {
                            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                            "capabilities": { "drop": ["ALL"] },
                        },
                        "env": environment(execution, plan, start, settings, policies),
                    }],
                },
            },
        },
    })
}

/// Rules from the exit codes. A disruption (a drained node, a preemption) does not count where a second pod cannot apply
/// the action twice.
fn failure_rules(repeatable: bool) -> Value {
    let fail = |codes: &[u8]| json!({ "action": "FailJob", "onExitCodes": { "containerName": CONTAINER, "operator": "In", "values": codes } });
    let ignore = json!({ "action": "Ignore", "onPodConditions": [{ "type": "DisruptionTarget" }] });
    let rules = [Some(fail(&PERMANENT)), repeatable.then_some(ignore), Some(fail(&OTHERS))];
    rules.into_iter().flatten().collect()
}

fn environment(
    execution: &KubernetesExecution,
    plan: &Runnable,
    start: &Start,
    settings: &Settings,
    policies: Option<&str>,
) -> Value {
    let spec = &execution.spec;
    let list = |conditions: &[contract::condition::Condition]| {
        (!conditions.is_empty()).then(|| serde_json::to_string(conditions).unwrap_or_default())
    };
    let annotations = execution.metadata.annotations.as_ref();
    let target = &spec.action.target;
    let pairs = [
        ("ACTION_TYPE", Some(plan.action_type.clone())),
        ("TARGET_KIND", target.resource_kind.clone()),
        ("TARGET_NAMESPACE", plan.namespace.clone()),
        ("TARGET_NAME", target.resource_name.clone()),
        ("TARGET_SELECTOR", target.selector.clone()),
        ("TARGET_API_VERSION", target.api_version.clone()),
        ("TARGET_UID", plan.target_uid.clone()),
        ("ACTION_PARAMETERS", Some(Value::Object(spec.action.parameters.clone().unwrap_or_default()).to_string())),
        ("ACTION_PRECONDITIONS", list(&spec.pre_conditions)),
        ("ACTION_POSTCONDITIONS", list(&spec.post_conditions)),
        ("ACTION_POLICIES", policies.map(str::to_owned)),
        ("ACTION_TIMEOUT", Some(String::from(Duration::seconds(start.timeout.as_secs().max(1))))),
        ("ACTION_DRY_RUN", spec.dry_run.then(|| "true".to_owned())),
        ("ACTION_ID", execution.metadata.uid.clone()),
        ("ACTION_REASON", spec.reason.clone()),
        ("ACTION_EVENTS", settings.target_events.then(|| "true".to_owned())),
        ("ACTION_UPLOAD_HOSTS", settings.upload_hosts.clone()),
        ("TRACEPARENT", annotations.and_then(|all| all.get(TRACEPARENT)).cloned()),
    ];
    pairs.into_iter().filter_map(|(name, value)| Some(json!({ "name": name, "value": escape(&value?) }))).collect()
}

/// Doubles every `$`: the kubelet reads `$(NAME)` as a reference, and `$$` as `$`.
pub fn escape(value: &str) -> String {
    value.replace('$', "$$")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Kubernetes' own rule (`third_party/forked/golang/expansion`): `$$` is `$`, `$(NAME)` is a variable if there is one, and
    /// stays as it is if there is none; any other `$` stays.
    fn expanded(text: &str) -> String {
        let (mut out, mut rest) = (String::new(), text);
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            rest = after;
            if let Some(after) = rest.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|name| name.split_once(')')) {
                out.push_str(if name == "A" { "expanded" } else { "unknown" });
                rest = after;
            } else {
                out.push('$');
            }
        }
        out + rest
    }

    #[test]
    fn kubernetes_would_expand_it() {
        assert_eq!(expanded("x$(A)$$(A)$"), "xexpanded$(A)$");
    }

    proptest! {
        #[test]
        fn text_arrives_as_it_was_written(text in r"[$()A a{}\n\\]{0,40}") {
            prop_assert_eq!(expanded(&escape(&text)), text);
        }
    }
}
