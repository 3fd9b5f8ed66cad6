//! Reads the environment, once and whole. Nothing else in the runner does (except `PATH`, to look for a login plugin).
//!
//! Every bad variable is reported at once, by its full name, with what was expected.

mod conditions;
mod connection;
mod policy;
mod text;
mod trace;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use actions::catalogue::target::{self, KindInput, TargetInput, TargetTexts};
use actions::catalogue::{self, Verb};
use actions::cluster::Connection;
use actions::export::destination::AllowedHost;
use actions::k8s::Kind;
use actions::k8s::names::ActionId;
use contract::condition::Condition;
use contract::text::did_you_mean;
use contract::variables::VARIABLES;
use serde::Deserialize;

pub use policy::PolicySource;

/// Default of `ACTION_TIMEOUT`.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(5);

/// The environment as optional strings in a flat struct, as envy needs it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Raw {
    action_type: Option<String>,
    target_kind: Option<String>,
    target_name: Option<String>,
    target_namespace: Option<String>,
    target_selector: Option<String>,
    target_api_version: Option<String>,
    target_uid: Option<String>,
    target_resource: Option<String>,
    action_parameters: Option<String>,
    action_parameters_file: Option<String>,
    action_preconditions: Option<String>,
    action_preconditions_file: Option<String>,
    action_postconditions: Option<String>,
    action_postconditions_file: Option<String>,
    action_policy_dir: Option<String>,
    action_policies: Option<String>,
    action_timeout: Option<String>,
    action_dry_run: Option<String>,
    action_id: Option<String>,
    action_reason: Option<String>,
    action_events: Option<String>,
    action_upload_hosts: Option<String>,
    kubeconfig: Option<String>,
    kube_context: Option<String>,
    kubernetes_service_host: Option<String>,
    home: Option<String>,
    https_proxy: Option<String>,
    no_proxy: Option<String>,
    traceparent: Option<String>,
}

/// The request, as far as it could be read.
#[derive(Debug)]
pub struct Request {
    /// Verb of the action.
    pub verb: Option<Verb>,
    /// Kind of the target, if built in.
    pub kind: Option<Kind>,
    /// Target of the action.
    pub target: TargetInput,
    /// `ACTION_PARAMETERS`, or the file's content.
    pub parameters: String,
    /// `ACTION_TIMEOUT`
    pub timeout: Duration,
    /// `ACTION_DRY_RUN`
    pub dry_run: bool,
    /// `ACTION_ID`
    pub id: Option<ActionId>,
    /// `ACTION_REASON`
    pub reason: Option<String>,
    /// `ACTION_EVENTS`
    pub events: bool,
    /// `ACTION_UPLOAD_HOSTS`
    pub upload_hosts: Vec<AllowedHost>,
    /// True when the image's lock requires redaction.
    pub redact_required: bool,
    /// `ACTION_POLICY_DIR` and `ACTION_POLICIES`.
    pub policy: PolicySource,
    /// `ACTION_PRECONDITIONS`
    pub preconditions: Vec<Condition>,
    /// `ACTION_POSTCONDITIONS`
    pub postconditions: Vec<Condition>,
    /// The trace id of `TRACEPARENT`.
    pub trace_id: Option<String>,
    /// The way to reach the cluster.
    pub connection: Option<Connection>,
    /// Errors, each with its variable's name first.
    pub problems: Vec<String>,
    /// Oddities that are no reason to stop.
    pub warnings: Vec<String>,
}

impl Request {
    /// Reads the environment.
    pub fn read(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut problems = Vec::new();
        let texts = texts(variables, &mut problems);
        unknown(&texts, &mut problems);
        // envy ignores case, so that two names that differ only in case would be one field twice. Ours are upper case.
        let exact = texts.into_iter().filter(|(name, _)| name.is_ascii() && *name == name.to_ascii_uppercase());
        // A flat struct of optional strings, which envy always accepts.
        let raw: Raw = envy::from_iter(exact).unwrap_or_default();
        let action = catalogue::parse_action_type(raw.action_type.as_deref(), &mut problems);
        let (verb, named_kind) = action.map_or((None, None), |(verb, kind)| (Some(verb), kind));
        let target = target::read(&target_texts(&raw), verb, named_kind.as_deref(), &mut problems);
        let kind = built_in(&target);
        let mut warnings = Vec::new();
        Self {
            verb,
            kind,
            parameters: text::read(
                "ACTION_PARAMETERS",
                raw.action_parameters.as_ref(),
                raw.action_parameters_file.as_ref(),
                &mut problems,
            )
            .filter(|text| !text.trim().is_empty())
            .unwrap_or_else(|| "{}".to_owned()),
            policy: PolicySource::of(raw.action_policy_dir.as_deref(), raw.action_policies.as_deref()),
            preconditions: conditions_of(
                "ACTION_PRECONDITIONS",
                raw.action_preconditions.as_ref(),
                raw.action_preconditions_file.as_ref(),
                &mut problems,
            ),
            postconditions: conditions_of(
                "ACTION_POSTCONDITIONS",
                raw.action_postconditions.as_ref(),
                raw.action_postconditions_file.as_ref(),
                &mut problems,
            ),
            timeout: timeout(raw.action_timeout.as_deref(), &mut problems),
            dry_run: boolean("ACTION_DRY_RUN", raw.action_dry_run.as_deref(), &mut problems),
            id: set(raw.action_id.as_deref())
                .and_then(|text| note(text.parse().map_err(|error| format!("ACTION_ID: {error}")), &mut problems)),
            reason: text::reason(raw.action_reason.as_deref(), &mut problems),
            events: boolean("ACTION_EVENTS", raw.action_events.as_deref(), &mut problems),
            upload_hosts: upload_hosts(raw.action_upload_hosts.as_deref(), &mut problems),
            redact_required: false,
            trace_id: trace::id(raw.traceparent.as_deref(), &mut warnings),
            connection: connection::of(&raw, &mut problems),
            target,
            problems,
            warnings,
        }
    }

    /// Returns the action type, such as `scale-deployment`.
    pub fn action_type(&self) -> Option<String> {
        let verb = self.verb?.name();
        Some(match &self.target.kind {
            Some(kind) => format!("{verb}-{}", kind.lower()),
            None => verb.to_owned(),
        })
    }
}

/// Returns the target's kind, if it is built in.
fn built_in(target: &TargetInput) -> Option<Kind> {
    match &target.kind {
        Some(KindInput::BuiltIn(kind)) => Some(*kind),
        _ => None,
    }
}

/// Returns the text of a variable, unless it is unset or empty.
fn set(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

/// Returns the value, or notes the problem.
fn note<T>(result: Result<T, String>, problems: &mut Vec<String>) -> Option<T> {
    result.map_err(|problem| problems.push(problem)).ok()
}

/// Returns the variables as text. One that is not UTF-8 is a problem if it is ours; others (a shell's) are ignored.
fn texts(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    problems: &mut Vec<String>,
) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    for (name, value) in variables {
        let Ok(name) = name.into_string() else { continue };
        match value.into_string() {
            Ok(value) => {
                // The upper-case names of the proxy variables win over the lower-case ones of curl and Go.
                let lower_case_proxy = matches!(name.as_str(), "https_proxy" | "no_proxy");
                if !(lower_case_proxy && texts.contains_key(&name.to_uppercase())) {
                    texts.insert(if lower_case_proxy { name.to_uppercase() } else { name }, value);
                }
            }
            Err(_) if is_ours(&name) => problems.push(format!("{name}: expected UTF-8 text")),
            Err(_) => {}
        }
    }
    texts
}

fn is_ours(name: &str) -> bool {
    name.starts_with("ACTION_") || name.starts_with("TARGET_")
}

/// Reports unknown variables, because `ACTION_DRYRUN` must never run for real. Except those that Kubernetes' service
/// links make of a Service that happens to be called `action-…` or `target-…`.
fn unknown(texts: &BTreeMap<String, String>, problems: &mut Vec<String>) {
    let service_link = |name: &str| {
        name.ends_with("_SERVICE_HOST")
            || name.contains("_SERVICE_PORT")
            || name.ends_with("_PORT")
            || name.contains("_PORT_")
    };
    let known = || VARIABLES.iter().map(|variable| variable.name).filter(|name| is_ours(name));
    // `action_dry_run` must not run for real either.
    let other_case = |name: &str| known().any(|one| one != name && one.eq_ignore_ascii_case(name));
    for name in texts.keys().filter(|name| is_ours(name) && !service_link(name) || other_case(name)) {
        if !known().any(|one| one == name) {
            let hint = did_you_mean(&name.to_ascii_uppercase(), known());
            problems.push(format!(
                "{name}: unknown variable{hint} (variables that begin with ACTION_ or TARGET_ are the runner's)"
            ));
        }
    }
}

/// Returns the conditions of a variable, or of the file that another variable names.
fn conditions_of(
    name: &str,
    inline: Option<&String>,
    file: Option<&String>,
    problems: &mut Vec<String>,
) -> Vec<Condition> {
    let text = text::read(name, inline, file, problems);
    conditions::read(name, text.as_deref(), problems)
}

fn target_texts(raw: &Raw) -> TargetTexts<'_> {
    TargetTexts {
        kind: raw.target_kind.as_deref(),
        name: raw.target_name.as_deref(),
        namespace: raw.target_namespace.as_deref(),
        selector: raw.target_selector.as_deref(),
        api_version: raw.target_api_version.as_deref(),
        uid: raw.target_uid.as_deref(),
        resource: raw.target_resource.as_deref(),
    }
}

fn timeout(text: Option<&str>, problems: &mut Vec<String>) -> Duration {
    let duration = set(text)
        .map(|text| text.parse::<contract::duration::Duration>().map_err(|error| format!("ACTION_TIMEOUT: {error}")));
    duration.and_then(|result| note(result, problems)).map_or(DEFAULT_TIMEOUT, contract::duration::Duration::get)
}

fn boolean(name: &str, text: Option<&str>, problems: &mut Vec<String>) -> bool {
    match set(text) {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => {
            problems.push(format!("{name}: expected true or false"));
            // Nothing may run for real because of a typo. (The run ends with the problem anyway.)
            true
        }
    }
}

/// Parses hosts, separated by commas.
fn upload_hosts(text: Option<&str>, problems: &mut Vec<String>) -> Vec<AllowedHost> {
    let hosts = set(text).into_iter().flat_map(|text| text.split(',')).map(str::trim).filter(|host| !host.is_empty());
    hosts
        .filter_map(|host| {
            note(host.parse().map_err(|error| format!("ACTION_UPLOAD_HOSTS: expected {error}")), problems)
        })
        .collect()
}

#[cfg(test)]
mod tests;
