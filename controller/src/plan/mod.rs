//! Checks an execution without a pod: what the runner's own parsing would refuse, in the same words, with the names of
//! the fields in place of the variables'. Rego is left to the runner.

mod limits;
mod pin;

use std::sync::Arc;

use actions::action::parse::Parameters;
use actions::action::{Action, TargetRef};
use actions::catalogue::account::purpose;
use actions::catalogue::target::{self, KindInput, TargetInput, TargetTexts};
use actions::catalogue::{self, Verb, Visitor, with_action};
use actions::cluster::run::{LogSink, Progress, RunContext};
use actions::k8s::{Kind, ObjectRef};
use contract::waiting::WaitOptions;
use jiff::Timestamp;
use serde_json::Value;

pub use pin::{TARGET_UID, pin, pins, target_uid};
use pin::{no_pod, wants_uid};

use crate::api::{KubernetesExecution, TargetSpec};
use crate::settings::ConditionLimits;

/// Result of the check.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// It can be carried out.
    Runnable(Runnable),
    /// It cannot, whatever the cluster says. The sentence names each field, and what was expected.
    Invalid(String),
    /// The pod that is to be restarted was not there at first sight.
    NoTarget(String),
}

/// An execution that can be carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct Runnable {
    /// The verb.
    pub verb: Verb,
    /// The one spelling of the action type, such as `scale-deployment`.
    pub action_type: String,
    /// Name of the ServiceAccount that its pods run as.
    pub account: String,
    /// Namespace of the target; none for cluster-scoped kinds.
    pub namespace: Option<String>,
    /// UID of the target, if known.
    pub target_uid: Option<String>,
    /// Whether a second pod cannot apply the action twice.
    pub repeatable: bool,
}

/// Returns the one spelling of the action type, by which settings are looked up: `scale-deployment`, also for `scale` with a kind
/// beside it, or `scale-deploy`. What is no type is returned as it is.
pub fn action_type(execution: &KubernetesExecution) -> String {
    let action = &execution.spec.action;
    let found = catalogue::parse_action_type(Some(&action.r#type), &mut Vec::new()).and_then(|(verb, named)| {
        let target = target::read(&texts(&action.target), Some(verb), named.as_deref(), &mut Vec::new());
        Some(spelling(verb, &target.kind?))
    });
    found.unwrap_or_else(|| action.r#type.clone())
}

fn spelling(verb: Verb, kind: &KindInput) -> String {
    format!("{}-{}", verb.name(), kind.lower())
}

/// Returns whether a second pod cannot apply the action twice, as far as the action's type tells; settings may say otherwise.
pub fn repeatable(execution: &KubernetesExecution) -> bool {
    let Some((verb, kind)) = action(execution) else { return false };
    with_action(verb, kind, Repeatable { id: execution.metadata.uid.clone(), uid: target_uid(execution).is_some() })
}

/// Returns the key of the target, by which one action at a time is let at it; `None` for what changes nothing.
pub fn target_key(execution: &KubernetesExecution) -> Option<String> {
    let (verb, kind) = action(execution)?;
    let target = &execution.spec.action.target;
    if verb == Verb::CollectLogs || execution.spec.dry_run {
        return None;
    }
    let kind_name = kind.map_or_else(|| target.resource_kind.clone().unwrap_or_default().to_lowercase(), Kind::lower);
    let own = execution.metadata.namespace.as_deref().unwrap_or_default();
    let namespace = if kind == Some(Kind::Node) { "" } else { target.namespace.as_deref().unwrap_or(own) };
    Some(format!("{kind_name}/{namespace}/{}", target.resource_name.as_deref().unwrap_or_default()))
}

/// Returns the kind of the target, such as `Deployment`.
pub fn kind(execution: &KubernetesExecution) -> Option<String> {
    let known = action(execution).and_then(|(_, kind)| kind).map(|kind| kind.name().to_owned());
    known.or_else(|| execution.spec.action.target.resource_kind.clone())
}

/// Returns whether the target is a node, which has no namespace.
pub fn on_a_node(execution: &KubernetesExecution) -> bool {
    action(execution).is_some_and(|(_, kind)| kind == Some(Kind::Node))
}

/// Returns the parameters as results show them: after defaults. Those that cannot be read are shown as they are.
pub fn shown_parameters(execution: &KubernetesExecution) -> Value {
    let raw = Value::Object(execution.spec.action.parameters.clone().unwrap_or_default());
    let shown = action(execution).and_then(|(verb, kind)| with_action(verb, kind, Shown(&raw.to_string())));
    shown.unwrap_or(raw)
}

fn action(execution: &KubernetesExecution) -> Option<(Verb, Option<Kind>)> {
    let spec = &execution.spec.action;
    let (verb, named) = catalogue::parse_action_type(Some(&spec.r#type), &mut Vec::new())?;
    let kind = named.as_deref().or(spec.target.resource_kind.as_deref()).and_then(Kind::parse);
    Some((verb, kind))
}

/// Checks an execution.
pub fn plan(execution: &KubernetesExecution, limits: &ConditionLimits) -> Plan {
    let mut problems = Vec::new();
    let spec = &execution.spec;
    if spec.cluster.is_some() {
        problems.push("spec.cluster: this controller serves only its own cluster; leave it out".to_owned());
    }
    let action = &spec.action;
    let verb_and_kind = catalogue::parse_action_type(Some(&action.r#type), &mut problems);
    let (verb, named_kind) = verb_and_kind.map_or((None, None), |(verb, kind)| (Some(verb), kind));
    let target = target::read(&texts(&action.target), verb, named_kind.as_deref(), &mut problems);
    let node = target.kind == Some(KindInput::BuiltIn(Kind::Node));
    if node && action.target.namespace.is_some() {
        problems.push("TARGET_NAMESPACE: a node has no namespace; leave it out".to_owned());
    }
    problems.extend(limits::reason(execution));
    problems.extend(limits::sizes(execution));
    problems.extend(limits::depth(execution));
    problems.extend(limits::conditions(execution, limits));
    if problems.is_empty() && wants_uid(execution) {
        return Plan::NoTarget(no_pod(execution));
    }
    let (Some(verb), Some(kind)) = (verb, target.kind.clone()) else { return invalid(&problems) };
    let built_in = if let KindInput::BuiltIn(kind) = &kind { Some(*kind) } else { None };
    let parameters = Value::Object(action.parameters.clone().unwrap_or_default()).to_string();
    let uid = target_uid(execution);
    let check = Check { verb, kind: &kind, target: &target, parameters: &parameters, uid: uid.clone(), execution };
    let repeatable = match with_action(verb, built_in, check) {
        Ok(repeatable) => repeatable,
        Err(more) => {
            problems.extend(more);
            false
        }
    };
    if !problems.is_empty() {
        return invalid(&problems);
    }
    let own = execution.metadata.namespace.clone();
    Plan::Runnable(Runnable {
        verb,
        action_type: spelling(verb, &kind),
        account: format!("action-{}", purpose(verb, &kind.lower(), target.selector.is_some())),
        namespace: if node { None } else { action.target.namespace.clone().or(own) },
        target_uid: uid,
        repeatable,
    })
}

fn texts(target: &TargetSpec) -> TargetTexts<'_> {
    TargetTexts {
        kind: target.resource_kind.as_deref(),
        name: target.resource_name.as_deref(),
        namespace: target.namespace.as_deref(),
        selector: target.selector.as_deref(),
        api_version: target.api_version.as_deref(),
        uid: target.uid.as_deref(),
        resource: None,
    }
}

fn invalid(problems: &[String]) -> Plan {
    /// The runner's variables, and the fields that they are made from.
    const FIELDS: [(&str, &str); 8] = [
        ("ACTION_PARAMETERS", "spec.action.parameters"),
        ("ACTION_TYPE", "spec.action.type"),
        ("TARGET_API_VERSION", "spec.action.target.apiVersion"),
        ("TARGET_KIND", "spec.action.target.resourceKind"),
        ("TARGET_NAMESPACE", "spec.action.target.namespace"),
        ("TARGET_NAME", "spec.action.target.resourceName"),
        ("TARGET_SELECTOR", "spec.action.target.selector"),
        ("TARGET_UID", "spec.action.target.uid"),
    ];
    let text = problems.join("; ");
    Plan::Invalid(FIELDS.iter().fold(text, |text, (variable, field)| text.replace(variable, field)))
}

#[derive(Debug)]
struct NoLines;

impl LogSink for NoLines {
    fn write_lines(&self, _lines: &[u8]) -> std::io::Result<()> {
        Ok(())
    }
}

/// The context that the runner will have, as far as checks look at it.
fn context(execution: Option<&KubernetesExecution>, id: Option<&str>, wait: WaitOptions) -> RunContext {
    RunContext {
        id: id.and_then(|id| id.parse().ok()),
        reason: execution.and_then(|one| one.spec.reason.clone()),
        run: String::new(),
        now: Timestamp::UNIX_EPOCH,
        wait,
        progress: Progress::default(),
        sink: Arc::new(NoLines),
        upload_hosts: Vec::new(),
        redact_required: false,
    }
}

struct Repeatable {
    id: Option<String>,
    uid: bool,
}

impl Visitor for Repeatable {
    type Output = bool;
    fn visit<A: Action>(self) -> bool {
        A::repeatable(&context(None, self.id.as_deref(), WaitOptions::default()), self.uid)
    }
}

struct Shown<'a>(&'a str);

impl Visitor for Shown<'_> {
    type Output = Option<Value>;
    fn visit<A: Action>(self) -> Option<Value> {
        Parameters::<A>::parse(self.0).ok().map(|all| all.to_value())
    }
}

struct Check<'a> {
    verb: Verb,
    kind: &'a KindInput,
    target: &'a TargetInput,
    parameters: &'a str,
    uid: Option<String>,
    execution: &'a KubernetesExecution,
}

impl Visitor for Check<'_> {
    type Output = Result<bool, Vec<String>>;

    fn visit<A: Action>(self) -> Self::Output {
        let mut problems: Vec<String> = catalogue::check_kind::<A>(self.verb, self.kind).err().into_iter().collect();
        let parameters = Parameters::<A>::parse(self.parameters).map_err(|more| {
            problems.extend(more);
            problems.clone()
        })?;
        let run = context(Some(self.execution), self.execution.metadata.uid.as_deref(), parameters.wait);
        problems.extend(self.named().iter().flat_map(|named| parameters.action.check(named, &run)));
        if problems.is_empty() { Ok(A::repeatable(&run, self.uid.is_some())) } else { Err(problems) }
    }
}

impl Check<'_> {
    /// The target without the cluster's answer about its kind: enough for rules across parameters.
    fn named(&self) -> Option<TargetRef> {
        let own = self.execution.metadata.namespace.as_deref().unwrap_or("default");
        let namespace = self.target.namespace.clone().or_else(|| own.parse().ok());
        if let Some(selector) = &self.target.selector {
            return Some(TargetRef::Selection { namespace: namespace?, selector: selector.clone() });
        }
        let (name, uid) = (self.target.name.clone()?, self.uid.clone());
        Some(TargetRef::Object(ObjectRef { resource: Kind::Pod.resource(), namespace, name, uid }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    pub fn plan(execution: &KubernetesExecution) -> Plan {
        super::plan(execution, &ConditionLimits::default())
    }

    pub fn execution(spec: Value) -> KubernetesExecution {
        serde_json::from_value(json!({
            "apiVersion": "kubernetesexecution.kubernaut.io/v1alpha1", "kind": "KubernetesExecution",
            "metadata": { "name": "x", "namespace": "shop", "uid": "948897b5-4a56-4dcc-bdd4-910732282bc7" }, "spec": spec,
        }))
        .unwrap()
    }

    pub fn scale(parameters: Value) -> KubernetesExecution {
        execution(
            json!({ "action": { "type": "scale-deployment", "parameters": parameters, "target": { "resourceName": "web" } } }),
        )
    }

    #[test]
    fn a_good_request_is_runnable() {
        let Plan::Runnable(plan) = plan(&scale(json!({ "replicas": 3 }))) else { panic!() };
        assert_eq!((plan.action_type.as_str(), plan.namespace.as_deref()), ("scale-deployment", Some("shop")));
        assert!(plan.repeatable);
    }

    /// The account is made from the type, so that every way to ask for it leads to the same one.
    #[test]
    fn a_bare_verb_gets_its_kind() {
        let spec = json!({ "type": "restart", "target": { "resourceKind": "deploy", "resourceName": "web" } });
        let Plan::Runnable(plan) = plan(&execution(json!({ "action": spec }))) else { panic!() };
        assert_eq!(
            (plan.action_type.as_str(), plan.account.as_str()),
            ("restart-deployment", "action-restart-deployment")
        );
    }

    /// By that settings are looked up: what is not repeatable, whose image it is, how long it may take. Also where the request is bad.
    #[rstest]
    #[case(json!({ "type": "restart", "target": { "resourceKind": "Deployment", "resourceName": "web" } }), "restart-deployment")]
    #[case(json!({ "type": "restart-deploy", "target": { "resourceName": "web" } }), "restart-deployment")]
    #[case(json!({ "type": "RESTART_Deployments", "target": { "resourceName": "web" } }), "restart-deployment")]
    #[case(json!({ "type": "scale", "target": { "resourceKind": "Rollout", "apiVersion": "argoproj.io/v1alpha1", "resourceName": "web" } }), "scale-rollout")]
    #[case(json!({ "type": "collect-logs", "target": { "selector": "app=web" } }), "collect-logs-pod")]
    #[case(json!({ "type": "scael", "target": { "resourceName": "web" } }), "scael")]
    fn an_action_type_has_one_spelling(#[case] action: Value, #[case] name: &str) {
        let one = execution(json!({ "action": action }));
        assert_eq!(action_type(&one), name);
        if let Plan::Runnable(plan) = plan(&one) {
            assert_eq!(plan.action_type, name);
        }
    }

    /// Whatever type asks for it: what a selector finds is read by the account for that.
    #[rstest]
    #[case(json!({ "type": "collect-logs", "target": { "selector": "app=web" } }), "action-collect-logs-selector")]
    #[case(json!({ "type": "collect-logs-pod", "target": { "selector": "app=web" } }), "action-collect-logs-selector")]
    #[case(json!({ "type": "collect-logs-pod", "target": { "resourceName": "web-1" } }), "action-collect-logs-pod")]
    fn a_selector_has_an_account_of_its_own(#[case] action: Value, #[case] account: &str) {
        let Plan::Runnable(plan) = plan(&execution(json!({ "action": action }))) else { panic!() };
        assert_eq!((plan.action_type.as_str(), plan.account.as_str()), ("collect-logs-pod", account));
    }

    #[rstest]
    #[case::unknown_field(json!({ "type": "scale-deployment", "parameters": { "replics": 3 }, "target": { "resourceName": "web" } }), "spec.action.parameters: unknown field \"replics\", did you mean replicas?")]
    #[case::missing(json!({ "type": "scale-deployment", "target": { "resourceName": "web" } }), "spec.action.parameters: missing field `replicas`")]
    #[case::out_of_range(json!({ "type": "scale-deployment", "parameters": { "replicas": -1 }, "target": { "resourceName": "web" } }), "spec.action.parameters: replicas")]
    #[case::unknown_action(json!({ "type": "scael-deployment", "target": { "resourceName": "web" } }), "spec.action.type: unknown action, did you mean scale-deployment?")]
    #[case::another_kind(json!({ "type": "scale-deployment", "parameters": { "replicas": 1 }, "target": { "resourceKind": "Pod", "resourceName": "web" } }), "spec.action.type, spec.action.target.resourceKind: they disagree")]
    #[case::a_kind_it_is_not_for(json!({ "type": "scale-node", "parameters": { "replicas": 1 }, "target": { "resourceName": "n1" } }), "spec.action.target.resourceKind: scale does not go with a node")]
    #[case::a_node_in_a_namespace(json!({ "type": "cordon-node", "target": { "namespace": "shop", "resourceName": "n1" } }), "spec.action.target.namespace: a node has no namespace")]
    #[case::a_name_that_is_none(json!({ "type": "restart-deployment", "target": { "resourceName": "a/b" } }), "spec.action.target.resourceName: an object's name may hold")]
    #[case::too_many_bytes(json!({ "type": "scale-deployment", "parameters": { "replicas": 1, "x": "y".repeat(100 << 10) }, "target": { "resourceName": "web" } }), "spec.action.parameters: expected at most 102400 bytes")]
    fn a_bad_one_names_the_field(#[case] action: Value, #[case] says: &str) {
        let Plan::Invalid(why) = plan(&execution(json!({ "action": action }))) else { panic!("runnable") };
        assert!(why.contains(says), "{why}");
        assert!(!why.contains("TARGET_") && !why.contains("ACTION_"), "{why}");
    }

    #[test]
    fn the_operator_may_admit_less_of_conditions() {
        let mut spec = json!({ "action": { "type": "restart-deployment", "target": { "resourceName": "web" } } });
        spec["preConditions"] = json!([{ "type": "own", "rego": "package x", "timeout": "5m" }, { "type": "m o r e" }]);
        let limits =
            ConditionLimits { most: 1, rego_bytes: 0, longest_timeout: contract::duration::Duration::seconds(60) };
        let Plan::Invalid(why) = super::plan(&execution(spec), &limits) else { panic!("runnable") };
        for part in [
            "expected at most 1 (",
            "[1].type: expected 1 to 63 letters",
            "own: rego: only ready conditions",
            "own: timeout: expected at most 1m (",
        ] {
            assert!(why.contains(part), "{why}");
        }
    }

    #[test]
    fn a_reason_is_one_line() {
        let mut two = scale(json!({ "replicas": 3 }));
        for reason in ["disk\nfull", "\u{1b}[2Jdisk"] {
            two.spec.reason = Some(reason.to_owned());
            assert!(matches!(plan(&two), Plan::Invalid(why) if why.starts_with("spec.reason: expected one line")));
        }
        two.spec.reason = Some("disk full: $5 `z` \u{e9}".to_owned());
        assert!(matches!(plan(&two), Plan::Runnable(_)));
    }

    #[test]
    fn another_cluster_is_refused() {
        let mut other = scale(json!({ "replicas": 3 }));
        other.spec.cluster = Some("west".to_owned());
        assert!(matches!(plan(&other), Plan::Invalid(why) if why.starts_with("spec.cluster: ")));
    }

    #[test]
    fn the_target_has_one_key_however_it_is_named() {
        let one = execution(json!({ "action": { "type": "scale-deployment", "target": { "resourceName": "web" } } }));
        let other = execution(
            json!({ "action": { "type": "restart", "target": { "namespace": "shop", "resourceKind": "deploy", "resourceName": "web" } } }),
        );
        assert_eq!(target_key(&one), target_key(&other));
        let logs = execution(json!({ "action": { "type": "collect-logs-pod", "target": { "resourceName": "web" } } }));
        assert_eq!(target_key(&logs), None);
        let dry = execution(
            json!({ "dryRun": true, "action": { "type": "scale-deployment", "target": { "resourceName": "web" } } }),
        );
        assert_eq!(target_key(&dry), None);
    }
}
