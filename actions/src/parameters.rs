//! Parameter types that several actions share. Their doc comments are the users' documentation.

use std::borrow::Cow;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A length of time, such as `90s`, `5m` or `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period(Duration);

impl Period {
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// As the standard library has it.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl FromStr for Period {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        /// A day: longer than any action runs; what is longer is a mistyped unit.
        const LONGEST: Duration = Duration::from_hours(24);
        let wrong = || format!("expected a duration such as 90s, 5m or 1h30m, from 1s to 24h, got {text:?}");
        let parsed: SignedDuration = text.parse().map_err(|_| wrong())?;
        let period = Duration::try_from(parsed).map_err(|_| wrong())?;
        if period < Duration::from_secs(1) || period > LONGEST { Err(wrong()) } else { Ok(Self(period)) }
    }
}

impl TryFrom<String> for Period {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        let seconds = period.0.as_secs();
        match (seconds / 3600, seconds % 3600 / 60, seconds % 60) {
            (0, 0, s) => format!("{s}s"),
            (0, m, 0) => format!("{m}m"),
            (0, m, s) => format!("{m}m{s}s"),
            (h, 0, 0) => format!("{h}h"),
            (h, m, s) => format!("{h}h{m}m{s}s"),
        }
    }
}

impl JsonSchema for Period {
    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "a duration such as 90s, 5m or 1h30m", "examples": ["90s", "5m"] })
    }
}

/// A number of pods: 0 to 2147483647, the range of an `int32` in the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Replicas(i32);

impl Replicas {
    /// As the API has it.
    pub const fn get(self) -> i64 {
        self.0 as i64
    }
}

impl TryFrom<i64> for Replicas {
    type Error = String;
    fn try_from(number: i64) -> Result<Self, String> {
        let fits = i32::try_from(number).ok().filter(|number| *number >= 0);
        fits.map(Self).ok_or_else(|| format!("expected 0 to {}, got {number}", i32::MAX))
    }
}

impl From<Replicas> for i64 {
    fn from(replicas: Replicas) -> Self {
        replicas.get()
    }
}

impl JsonSchema for Replicas {
    fn schema_name() -> Cow<'static, str> {
        "Replicas".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 0, "maximum": i32::MAX })
    }
}

/// How long a pod without readiness probe is followed, such as `3s`; `0s` turns it off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Settle(Duration);

impl Settle {
    /// As the standard library has it.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl Default for Settle {
    /// A process that cannot start mostly ends within a second or two; a rollout of a hundred pods does not notice three.
    fn default() -> Self {
        Self(Duration::from_secs(3))
    }
}

impl TryFrom<String> for Settle {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        /// What has to run longer before it counts as started has `minReadySeconds` for that.
        const LONGEST: Duration = Duration::from_mins(5);
        let wrong = || format!("expected a duration such as 3s, from 0s to 5m, got {text:?}");
        let parsed: SignedDuration = text.parse().map_err(|_| wrong())?;
        let settle = Duration::try_from(parsed).map_err(|_| wrong())?;
        if settle > LONGEST || settle.subsec_nanos() > 0 { Err(wrong()) } else { Ok(Self(settle)) }
    }
}

impl From<Settle> for String {
    fn from(settle: Settle) -> Self {
        Period(settle.0).into()
    }
}

impl JsonSchema for Settle {
    fn schema_name() -> Cow<'static, str> {
        "Settle".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "a duration from 0s to 5m", "examples": ["3s", "0s"] })
    }
}

/// What to do about pods of before that take their time to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Terminating {
    /// Wait until they are gone.
    #[default]
    Wait,
    /// Do not wait for them: they may run on for as long as their grace period.
    Ignore,
}

/// How an action that changes something waits for its effect. The fields of the same names in each action's parameters.
#[derive(Debug, Clone, Copy)]
pub struct Waiting {
    /// `wait`
    pub wait: bool,
    /// `waitTimeout`
    pub timeout: Option<Period>,
    /// `stuckAfter`
    pub stuck_after: Period,
    /// `settle`
    pub settle: Settle,
    /// `terminating`
    pub terminating: Terminating,
}

impl Waiting {
    /// Without more to say.
    pub fn of(wait: bool, timeout: Option<Period>, stuck_after: Period) -> Self {
        Self { wait, timeout, stuck_after, settle: Settle::default(), terminating: Terminating::default() }
    }
}

/// The default of `wait`.
pub(crate) const fn yes() -> bool {
    true
}

/// The default of `stuckAfter`: long enough for a registry's hiccup or a pod of an old revision to make room; a
/// cluster autoscaler may need more.
pub(crate) const fn one_minute() -> Period {
    Period::seconds(60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("90s", 90)]
    #[case("5m", 300)]
    #[case("1h30m", 5400)]
    fn reads_durations_and_writes_them_back(#[case] text: &str, #[case] seconds: u64) {
        let period: Period = text.parse().unwrap();
        assert_eq!(period.get().as_secs(), seconds);
        assert_eq!(String::from(period).parse::<Period>().unwrap(), period);
    }

    #[rstest]
    #[case(1, "1s")]
    #[case(90, "1m30s")]
    #[case(60, "1m")]
    #[case(3600, "1h")]
    #[case(3605, "1h0m5s")]
    #[case(3660, "1h1m0s")]
    #[case(86_400, "24h")]
    fn writes_durations_for_people(#[case] seconds: u64, #[case] text: &str) {
        assert_eq!(String::from(Period::seconds(seconds)), text);
        assert_eq!(text.parse::<Period>().unwrap().get().as_secs(), seconds);
    }

    #[rstest]
    #[case("0s", Some(0))]
    #[case("3s", Some(3))]
    #[case("5m", Some(300))]
    #[case("5m1s", None)]
    #[case("-1s", None)]
    #[case("500ms", None)]
    #[case("3", None)]
    fn settling_may_be_turned_off(#[case] text: &str, #[case] seconds: Option<u64>) {
        let settle = Settle::try_from(text.to_owned());
        assert_eq!(settle.clone().ok().map(|settle| settle.get().as_secs()), seconds);
        assert!(settle.is_ok() || settle.unwrap_err().starts_with("expected a duration such as 3s, from 0s to 5m"));
        assert_eq!((String::from(Settle::default()), Settle::default().get().as_secs()), ("3s".to_owned(), 3));
    }

    #[test]
    fn has_limits() {
        for text in ["24h1s", "999ms"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
        let replicas = |number: i64| Replicas::try_from(number).map(i64::from);
        assert_eq!((replicas(0), replicas(2_147_483_647)), (Ok(0), Ok(2_147_483_647)));
        assert!(replicas(-1).is_err() && replicas(2_147_483_648).is_err());
        assert_eq!((one_minute().get().as_secs(), yes()), (60, true));
    }

    /// What a schema says stands in the published documents.
    #[test]
    fn has_schemas_of_its_own_in_place() {
        let period = serde_json::json!(schemars::schema_for!(Period));
        let replicas = serde_json::json!(schemars::schema_for!(Replicas));
        assert_eq!((&period["type"], &replicas["maximum"]), (&"string".into(), &2_147_483_647_i64.into()));
        assert_eq!((&period["title"], &replicas["title"]), (&"Period".into(), &"Replicas".into()));
        let holder = serde_json::json!(schemars::schema_for!((Period, Replicas)));
        assert!(holder.get("$defs").is_none(), "{holder}");
    }

    #[rstest]
    #[case("")]
    #[case("5")]
    #[case("-5s")]
    #[case("0s")]
    #[case("100h")]
    #[case("soon")]
    fn refuses_what_is_no_duration(#[case] text: &str) {
        assert!(text.parse::<Period>().unwrap_err().starts_with("expected a duration such as 90s"));
    }
}
