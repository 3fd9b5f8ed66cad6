//! Reads the target from up to six variables, which must not contradict each other.

use contract::text::did_you_mean;

use super::{Verb, kinds};
use crate::k8s::Kind;
use crate::k8s::names::{KindName, Name, Namespace};

/// Returns the text of a variable, unless it is unset or empty.
fn set(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

/// Returns the value, or notes the problem.
fn note<T>(result: Result<T, String>, problems: &mut Vec<String>) -> Option<T> {
    result.map_err(|problem| problems.push(problem)).ok()
}

/// A kind as the request names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KindInput {
    /// A kind that the runner knows.
    BuiltIn(Kind),
    /// A kind whose plural only the API server knows.
    Other {
        /// `argoproj.io/v1alpha1`
        api_version: String,
        /// `Rollout`
        kind: String,
    },
}

impl KindInput {
    /// Returns the kind as an action type spells it.
    pub fn lower(&self) -> String {
        match self {
            Self::BuiltIn(kind) => kind.lower(),
            Self::Other { kind, .. } => kind.to_lowercase(),
        }
    }
}

/// The target as the environment names it.
#[derive(Debug, Default)]
pub struct TargetInput {
    /// Kind of the target.
    pub kind: Option<KindInput>,
    /// Name of the target.
    pub name: Option<Name>,
    /// Namespace of the target, if given.
    pub namespace: Option<Namespace>,
    /// Selector in place of the name.
    pub selector: Option<String>,
    /// UID of the target.
    pub uid: Option<String>,
}

/// The texts of the `TARGET_*` variables.
#[derive(Debug, Default)]
pub struct TargetTexts<'a> {
    /// `TARGET_KIND`
    pub kind: Option<&'a str>,
    /// `TARGET_NAME`
    pub name: Option<&'a str>,
    /// `TARGET_NAMESPACE`
    pub namespace: Option<&'a str>,
    /// `TARGET_SELECTOR`
    pub selector: Option<&'a str>,
    /// `TARGET_API_VERSION`
    pub api_version: Option<&'a str>,
    /// `TARGET_UID`
    pub uid: Option<&'a str>,
    /// `TARGET_RESOURCE`
    pub resource: Option<&'a str>,
}

/// Reads the texts. `named_kind` is the kind in `ACTION_TYPE`.
pub fn read(
    texts: &TargetTexts<'_>,
    verb: Option<Verb>,
    named_kind: Option<&str>,
    problems: &mut Vec<String>,
) -> TargetInput {
    let resource = set(texts.resource).and_then(|text| note(split(text), problems)).unwrap_or_default();
    let selector = set(texts.selector).map(str::to_owned);
    if selector.is_some() && verb.is_some_and(|verb| verb != Verb::CollectLogs) {
        problems.push("TARGET_SELECTOR: only collect-logs takes a selector; set TARGET_NAME".to_owned());
    }
    let api_version = set(texts.api_version);
    let kind = kind(
        &[("ACTION_TYPE", named_kind), ("TARGET_KIND", set(texts.kind)), ("TARGET_RESOURCE", resource.kind.as_deref())],
        api_version,
        problems,
    );
    let kind = kind.or_else(|| default_kind(verb, selector.is_some()));
    if kind.is_none() && verb.is_some() && named_kind.is_none() && set(texts.kind).is_none() {
        problems.push("TARGET_KIND: needed, since ACTION_TYPE names no kind; for example Deployment".to_owned());
    }
    let name = agree(("TARGET_NAME", set(texts.name)), ("TARGET_RESOURCE", resource.name.as_deref()), problems);
    match (&name, &selector) {
        (None, None) if texts.resource.is_none() => {
            problems.push("TARGET_NAME: needed; the name of the object".to_owned());
        }
        (Some(_), Some(_)) => problems.push("TARGET_NAME, TARGET_SELECTOR: expected one of them, got both".to_owned()),
        _ => {}
    }
    let namespace =
        agree(("TARGET_NAMESPACE", set(texts.namespace)), ("TARGET_RESOURCE", resource.namespace.as_deref()), problems);
    let cluster_scoped = kind == Some(KindInput::BuiltIn(Kind::Node));
    if cluster_scoped && resource.namespace.is_some() {
        problems.push("TARGET_RESOURCE: a node has no namespace; expected kind/name".to_owned());
    }
    TargetInput {
        kind,
        name: name
            .and_then(|(variable, text)| note(text.parse().map_err(|error| format!("{variable}: {error}")), problems)),
        namespace: namespace
            .filter(|_| !cluster_scoped)
            .and_then(|(variable, text)| note(text.parse().map_err(|error| format!("{variable}: {error}")), problems)),
        selector,
        uid: set(texts.uid).map(str::to_owned),
    }
}

#[derive(Default)]
struct Parts {
    namespace: Option<String>,
    kind: Option<String>,
    name: Option<String>,
}

fn split(text: &str) -> Result<Parts, String> {
    let own = |text: &str| Some(text.to_owned());
    match text.split('/').collect::<Vec<_>>().as_slice() {
        [namespace, kind, name] => Ok(Parts { namespace: own(namespace), kind: own(kind), name: own(name) }),
        [kind, name] => Ok(Parts { namespace: None, kind: own(kind), name: own(name) }),
        _ => Err("TARGET_RESOURCE: expected namespace/kind/name, or kind/name for cluster-scoped kinds".to_owned()),
    }
}

type Source<'a> = (&'static str, Option<&'a str>);

/// Returns the one value of two variables, with the name of the variable that it came from.
fn agree<'a>(first: Source<'a>, second: Source<'a>, problems: &mut Vec<String>) -> Option<(&'static str, &'a str)> {
    if let ((name, Some(one)), (other_name, Some(other))) = (first, second)
        && one != other
    {
        problems.push(format!("{name}, {other_name}: they disagree"));
    }
    first.1.map(|text| (first.0, text)).or_else(|| second.1.map(|text| (second.0, text)))
}

fn kind(sources: &[Source<'_>; 3], api_version: Option<&str>, problems: &mut Vec<String>) -> Option<KindInput> {
    let mut found: Option<(&'static str, KindInput)> = None;
    for (variable, text) in sources.iter().filter_map(|(variable, text)| Some((*variable, (*text)?))) {
        let Some(kind) = note(one_kind(variable, text, api_version), problems) else { continue };
        match &found {
            Some((first, known)) if known.lower() != kind.lower() => {
                problems.push(format!(
                    "{first}, {variable}: they disagree about the kind: {} and {}",
                    known.lower(),
                    kind.lower()
                ));
            }
            // `ACTION_TYPE` is lower case, so TARGET_KIND gives the spelling of a kind that is not built in.
            _ => found = Some((variable, kind)),
        }
    }
    found.map(|(_, kind)| kind)
}

fn one_kind(variable: &str, text: &str, api_version: Option<&str>) -> Result<KindInput, String> {
    let built_in =
        Kind::parse(text).filter(|kind| api_version.is_none_or(|version| version == kind.resource().api_version()));
    match (built_in, api_version) {
        (Some(kind), _) => Ok(KindInput::BuiltIn(kind)),
        (None, Some(api_version)) => {
            text.parse::<KindName>().map_err(|error| format!("{variable}: {error}"))?;
            Ok(KindInput::Other { api_version: api_version.to_owned(), kind: text.to_owned() })
        }
        (None, None) => {
            let hint = did_you_mean(text, Kind::ALL.map(Kind::name));
            Err(format!("{variable}: unknown kind{hint} (a kind that is not built in needs TARGET_API_VERSION)"))
        }
    }
}

/// Returns the kind of an action that has only one, and of a selection of pods.
fn default_kind(verb: Option<Verb>, selection: bool) -> Option<KindInput> {
    let verb = verb?;
    match kinds(verb).as_slice() {
        [only] => Some(KindInput::BuiltIn(*only)),
        _ if verb == Verb::CollectLogs && selection => Some(KindInput::BuiltIn(Kind::Pod)),
        _ => None,
    }
}
