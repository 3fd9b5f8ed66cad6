//! The input document of policies and conditions.

use actions::related::Documents;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::result::API_VERSION;

/// `input`, as policies and conditions see it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConditionInput {
    /// The version of this document.
    pub api_version: &'static str,
    /// `ConditionInput`
    pub kind: &'static str,
    /// What is done.
    pub action: ActionInput,
    /// The action's parameters, after defaults.
    pub parameters: Value,
    /// The object as the API server gives it. For policies and preconditions as it was found, for postconditions as it is now
    /// (null when it is gone). Null for a selection of pods.
    pub target: Value,
    /// What stands beside it: only the documents that the module names. Policies have none.
    pub related: Documents,
    /// The time of the evaluation.
    pub now: Now,
}

/// What is done.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActionInput {
    /// `scale-deployment`: the verb and the kind that it is done to, also when a pod was named that led there.
    pub r#type: String,
    /// `scale`
    pub verb: String,
    /// The kind of the object that it is done to: `Deployment`. Empty for a selection of pods.
    pub kind: String,
    /// Its namespace; empty for a node.
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
    /// The document as it is now.
    pub fn new(action: ActionInput, parameters: Value, target: Value, related: Documents) -> Self {
        let now = Timestamp::now().into();
        Self { api_version: API_VERSION, kind: "ConditionInput", action, parameters, target, related, now }
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
