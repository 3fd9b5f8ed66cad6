//! Lengths of time, as people write them.

use std::borrow::Cow;
use std::str::FromStr;

use jiff::SignedDuration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A length of time, such as `90s`, `5m` or `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Duration(std::time::Duration);

impl Duration {
    /// Returns a duration of this many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    /// Returns the duration as the standard library's type.
    pub const fn get(self) -> std::time::Duration {
        self.0
    }
}

impl From<std::time::Duration> for Duration {
    /// Takes any length: the limits apply only to durations that are read from text.
    fn from(duration: std::time::Duration) -> Self {
        Self(duration)
    }
}

impl FromStr for Duration {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        /// A day: longer than any action runs, so that a longer duration is a mistyped unit.
        const LONGEST: std::time::Duration = std::time::Duration::from_hours(24);
        let wrong = || "expected a duration such as 90s, 5m or 1h30m, from 1s to 24h".to_owned();
        let parsed: SignedDuration = text.parse().map_err(|_| wrong())?;
        let duration = std::time::Duration::try_from(parsed).map_err(|_| wrong())?;
        if duration < std::time::Duration::from_secs(1) || duration > LONGEST {
            Err(wrong())
        } else {
            Ok(Self(duration))
        }
    }
}

impl TryFrom<String> for Duration {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Duration> for String {
    fn from(duration: Duration) -> Self {
        let seconds = duration.0.as_secs();
        match (seconds / 3600, seconds % 3600 / 60, seconds % 60) {
            (0, 0, s) => format!("{s}s"),
            (0, m, 0) => format!("{m}m"),
            (0, m, s) => format!("{m}m{s}s"),
            (h, 0, 0) => format!("{h}h"),
            (h, m, s) => format!("{h}h{m}m{s}s"),
        }
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "a duration such as 90s, 5m or 1h30m", "examples": ["90s", "5m"] })
    }
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
        let duration: Duration = text.parse().unwrap();
        assert_eq!(duration.get().as_secs(), seconds);
        assert_eq!(String::from(duration).parse::<Duration>().unwrap(), duration);
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
        assert_eq!(String::from(Duration::seconds(seconds)), text);
        assert_eq!(text.parse::<Duration>().unwrap().get().as_secs(), seconds);
    }

    #[test]
    fn has_limits() {
        for text in ["24h1s", "999ms"] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }

    /// The schema is a part of the published documents.
    #[test]
    fn has_a_schema_of_its_own_in_place() {
        let schema = serde_json::json!(schemars::schema_for!(Duration));
        assert_eq!((&schema["type"], &schema["title"]), (&"string".into(), &"Duration".into()));
        assert!(serde_json::json!(schemars::schema_for!((Duration, Duration))).get("$defs").is_none());
    }

    #[rstest]
    #[case("")]
    #[case("5")]
    #[case("-5s")]
    #[case("0s")]
    #[case("100h")]
    #[case("soon")]
    fn refuses_what_is_no_duration(#[case] text: &str) {
        assert!(text.parse::<Duration>().unwrap_err().starts_with("expected a duration such as 90s"));
    }
}
