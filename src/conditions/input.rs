//! The input document of policies and conditions.

use actions::k8s::Kind;
use contract::result::API_VERSION;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::documents::{ConditionTarget, Documents};
use crate::request::Request;

/// `input`, as policies and conditions see it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConditionInput {
    /// Version of this document.
    pub api_version: &'static str,
    /// `ConditionInput`
    pub kind: &'static str,
    /// Action of the run.
    pub action: ActionInput,
    /// The action's parameters, after defaults.
    pub parameters: Value,
    /// The object as the API server gives it: for policies and preconditions as found, for postconditions as it is now
    /// (null when it is gone). Null for a selection of pods.
    pub target: Value,
    /// Documents about objects beside the target: only those that the module names. Policies have none.
    pub related: Documents,
    /// The time of the evaluation.
    pub now: Now,
}

/// Action of the run.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActionInput {
    /// Verb and kind, such as `scale-deployment`. The kind is that of the changed object, even if the request named a
    /// pod that led to it.
    pub r#type: String,
    /// Verb, such as `scale`.
    pub verb: String,
    /// Kind of the object that is changed, such as `Deployment`. Empty for a selection of pods.
    pub kind: String,
    /// Namespace of the object; empty for a node.
    pub namespace: String,
    /// `ACTION_ID`; empty without one.
    pub id: String,
    /// `ACTION_REASON`; empty without one.
    pub reason: String,
    /// `ACTION_DRY_RUN`
    pub dry_run: bool,
}

/// A time, in UTC.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Now {
    /// RFC 3339.
    pub rfc3339: String,
    /// Seconds since 1970.
    pub unix: i64,
    /// 0 to 23.
    pub hour: i8,
    /// `Monday` … `Sunday`
    pub weekday: &'static str,
}

impl From<Timestamp> for Now {
    fn from(time: Timestamp) -> Self {
        use jiff::civil::Weekday;
        let utc = time.to_zoned(TimeZone::UTC);
        let weekday = match utc.weekday() {
            Weekday::Monday => "Monday",
            Weekday::Tuesday => "Tuesday",
            Weekday::Wednesday => "Wednesday",
            Weekday::Thursday => "Thursday",
            Weekday::Friday => "Friday",
            Weekday::Saturday => "Saturday",
            Weekday::Sunday => "Sunday",
        };
        Self { rfc3339: time.to_string(), unix: time.as_second(), hour: utc.hour(), weekday }
    }
}

impl ConditionInput {
    /// Returns the part that is known before the target: the request.
    pub fn of(request: &Request, parameters: Value) -> Self {
        let action = ActionInput {
            r#type: request.action_type().unwrap_or_default(),
            verb: request.verb.map(|verb| verb.name().to_owned()).unwrap_or_default(),
            id: request.id.as_ref().map(ToString::to_string).unwrap_or_default(),
            reason: request.reason.clone().unwrap_or_default(),
            dry_run: request.dry_run,
            ..ActionInput::default()
        };
        let (target, related, now) = (Value::Null, Documents::default(), Timestamp::now().into());
        Self { api_version: API_VERSION, kind: "ConditionInput", action, parameters, target, related, now }
    }

    /// Adds what is known about a target that was found.
    #[must_use]
    pub fn about(&self, about: &ConditionTarget) -> Self {
        let action = ActionInput {
            // The changed object counts, even if the request named a pod that led to it: no policy must be evaded.
            r#type: match &about.object {
                Some(object) => format!("{}-{}", self.action.verb, object.resource.kind().to_lowercase()),
                None => self.action.r#type.clone(),
            },
            kind: about.object.as_ref().map(|object| object.resource.kind().to_owned()).unwrap_or_default(),
            namespace: about.namespace.as_ref().map(ToString::to_string).unwrap_or_default(),
            ..self.action.clone()
        };
        Self { action, ..self.clone() }
    }

    /// Adds the target and the related documents as they are now.
    #[must_use]
    pub fn with(&self, target: Value, related: Documents) -> Self {
        Self { target, related, now: Timestamp::now().into(), ..self.clone() }
    }

    /// Returns the kind of the target; a selection consists of pods.
    pub fn target_kind(&self) -> Option<Kind> {
        if self.action.kind.is_empty() { Some(Kind::Pod) } else { Kind::parse(&self.action.kind) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_hour_in_utc() {
        let now = Now::from("2026-11-24T23:30:00+02:00".parse::<Timestamp>().unwrap());
        assert_eq!((now.hour, now.weekday, now.rfc3339.as_str()), (21, "Tuesday", "2026-11-24T21:30:00Z"));
    }
}
