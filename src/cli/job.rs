//! Prints a Job for one action, as an executor would create it.

use std::fmt::Write as _;

use actions::action::Action;
use actions::catalogue::{Account, ActionType, Verb, Visitor, image_of, with_action};
use actions::k8s::Kind;
use actions::k8s::names::{Name, Namespace};
use contract::code::Code;
use serde_json::Value;

use super::yaml;

/// Seconds of `ACTION_TIMEOUT` in the template.
const TIMEOUT: u64 = 300;
/// Seconds that the pod may live longer: for its scheduling, the image pull, and the result.
const POD_SLACK: u64 = 120;

/// Options of the Job.
pub struct Options {
    /// Namespace of the Job.
    pub namespace: Namespace,
    /// Namespace of the target, if not the same.
    pub target_namespace: Option<Namespace>,
    /// The target.
    pub target: JobTarget,
    /// UID of the target, which makes a `restart-pod` safe to repeat.
    pub uid: Option<String>,
    /// The image, if not that of the release.
    pub image: Option<String>,
}

/// What the Job is about.
pub enum JobTarget {
    /// An object by its name.
    Named(Name),
    /// The pods that a selector finds.
    Selected(String),
}

struct Example;

impl Visitor for Example {
    type Output = Value;
    fn visit<A: Action>(self) -> Value {
        A::example()
    }
}

/// Returns the Job as YAML.
pub fn text(action_type: ActionType, options: &Options) -> String {
    let Options { namespace, target, uid, image, .. } = options;
    let selected = matches!(target, JobTarget::Selected(_));
    let action = Account { action_type, by_selector: selected }.purpose();
    let release = image_of(action_type.verb).name;
    let image = image.clone().unwrap_or_else(|| format!("{release}:{}", env!("CARGO_PKG_VERSION")));
    let (image, namespace) = (yaml(&image), yaml(namespace.as_str()));
    // An eviction leaves no mark: without the pod's UID a second run would evict the replacement.
    let repeatable = action_type.kind != Kind::Pod || action_type.verb != Verb::Restart || uid.is_some();
    let name = match target {
        JobTarget::Named(target) => job_name(&action, target.as_str()),
        JobTarget::Selected(_) => action.clone(),
    };
    let labels = format!(
        "app.kubernetes.io/name: {release}\n{{indent}}app.kubernetes.io/component: {action}\n{{indent}}# The execution that this Job belongs to; an executor has the name of its own object here.\n{{indent}}kubernetesexecution.kubernaut.io/execution: {name}\n"
    );
    let (outer, inner) = (labels.replace("{indent}", "    "), labels.replace("{indent}", "        "));
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: {name}\n  namespace: {namespace}\n  labels:\n    {outer}\
         spec:\n  # Once: trying again is for whoever reads the result.\n  backoffLimit: 0\n  \
         # Time to read the result; then the Job goes, and its pod with it.\n  ttlSecondsAfterFinished: 3600\n  podFailurePolicy:\n    rules:\n{}  \
         template:\n    metadata:\n      labels:\n        {inner}    spec:\n      serviceAccountName: action-{action}\n      restartPolicy: Never\n      \
         # The pod's, above ACTION_TIMEOUT ({TIMEOUT} s) and the image pull. A Job's own deadline deletes the pod, and the result with it.\n      \
         activeDeadlineSeconds: {}\n      enableServiceLinks: false\n{SECURITY}      containers:\n      - name: executor\n        image: {image}\n{CONTAINER}        env:\n{}",
        failure_rules(repeatable),
        TIMEOUT + POD_SLACK,
        variables(action_type, options, repeatable),
    )
}

/// Returns the Job's name, which becomes a label of its pods: at most 63 characters, with a letter or digit at the end.
fn job_name(action: &str, target: &str) -> String {
    const LONGEST: usize = 63;
    let name: String = format!("{action}-{target}").replace('.', "-").chars().take(LONGEST).collect();
    name.trim_end_matches('-').to_owned()
}

const SECURITY: &str =
    "      securityContext:\n        runAsNonRoot: true\n        seccompProfile: { type: RuntimeDefault }\n";

const CONTAINER: &str = "        resources:\n          requests: { cpu: 10m, memory: 16Mi }\n          limits: { memory: 64Mi }\n        \
    securityContext:\n          allowPrivilegeEscalation: false\n          readOnlyRootFilesystem: true\n          capabilities: { drop: [ALL] }\n";

/// Returns the rules from the exit codes: a code that a retry cannot change fails the Job; a disruption does not count.
fn failure_rules(repeatable: bool) -> String {
    let permanent: Vec<String> = Code::ALL
        .iter()
        .filter(|code| code.exit() > 1 && !code.may_succeed_later())
        .map(|code| code.exit().to_string())
        .collect();
    let mut text = format!(
        "    - action: FailJob\n      onExitCodes: {{ containerName: executor, operator: In, values: [{}] }}\n",
        permanent.join(", ")
    );
    if repeatable {
        text.push_str("    # A drained node or a preemption: the next pod finishes the work, and ACTION_ID keeps it from doing it twice.\n    - action: Ignore\n      onPodConditions: [{ type: DisruptionTarget }]\n");
    }
    text
}

fn variables(action_type: ActionType, options: &Options, repeatable: bool) -> String {
    let parameters = with_action(action_type.verb, Some(action_type.kind), Example);
    let action = action_type.name();
    let namespace = action_type
        .kind
        .resource()
        .namespaced()
        .then(|| options.target_namespace.as_ref().unwrap_or(&options.namespace).to_string());
    let (name, selector) = match &options.target {
        JobTarget::Named(name) => (Some(name.to_string()), None),
        JobTarget::Selected(selector) => (None, Some(selector.clone())),
    };
    let pairs = [
        ("ACTION_TYPE", Some(action)),
        ("TARGET_KIND", Some(action_type.kind.name().to_owned())),
        ("TARGET_NAMESPACE", namespace),
        ("TARGET_NAME", name),
        ("TARGET_SELECTOR", selector),
        ("TARGET_UID", options.uid.clone()),
        ("ACTION_PARAMETERS", Some(parameters.to_string())),
        ("ACTION_TIMEOUT", Some(format!("{TIMEOUT}s"))),
    ];
    let mut text = String::new();
    for (name, value) in pairs.iter().filter_map(|(name, value)| Some((name, value.as_deref()?))) {
        // Writing into a String cannot fail.
        let _infallible = writeln!(text, "        - {{ name: {name}, value: '{}' }}", value.replace('\'', "''"));
    }
    if repeatable {
        text.push_str(
            "        # The same in every pod of this Job. Who tries again with a new Job sets the id of the first one here.\n        - name: ACTION_ID\n          valueFrom: { fieldRef: { fieldPath: \"metadata.labels['batch.kubernetes.io/controller-uid']\" } }\n",
        );
    } else {
        text.push_str("        # No ACTION_ID: without the pod's TARGET_UID a second run would evict the replacement. With one, set both.\n");
    }
    text
}
