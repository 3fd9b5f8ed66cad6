//! Options for waiting until an action takes effect.

use std::borrow::Cow;

use jiff::SignedDuration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::duration::Duration;

/// Time for which a pod without readiness probe is followed, such as `3s`; `0s` turns this off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Settle(std::time::Duration);

impl Settle {
    /// Returns the duration as the standard library's type.
    pub const fn get(self) -> std::time::Duration {
        self.0
    }
}

impl Default for Settle {
    /// 3 s: a process that cannot start mostly ends within 1 or 2, and a rollout of a hundred pods does not notice.
    fn default() -> Self {
        Self(std::time::Duration::from_secs(3))
    }
}

impl TryFrom<String> for Settle {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        /// A container that has to run longer before it counts as started has `minReadySeconds` for that.
        const LONGEST: std::time::Duration = std::time::Duration::from_mins(5);
        let wrong = || "expected a duration such as 3s, from 0s to 5m".to_owned();
        let parsed: SignedDuration = text.parse().map_err(|_| wrong())?;
        let settle = std::time::Duration::try_from(parsed).map_err(|_| wrong())?;
        if settle > LONGEST || settle.subsec_nanos() > 0 { Err(wrong()) } else { Ok(Self(settle)) }
    }
}

impl From<Settle> for String {
    fn from(settle: Settle) -> Self {
        Duration::from(settle.0).into()
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

/// Choice between waiting for old pods that are being deleted and ignoring them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Terminating {
    /// Wait until the pods are gone.
    #[default]
    Wait,
    /// Do not wait for the pods: they may keep running for as long as their grace period.
    Ignore,
}

/// Options for waiting until an action takes effect. These fields stand among the action's parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitOptions {
    /// Wait until the effect is there.
    #[serde(default = "yes")]
    pub wait: bool,
    /// The longest wait, also for a disruption budget that blocks an eviction; by default what is left of
    /// `ACTION_TIMEOUT`, less a tenth.
    #[serde(default, rename = "waitTimeout", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// The longest time without progress for a cause that may pass (no node has room, a quota is used up, an image cannot
    /// be pulled, a container crashes) before the wait is given up. Raise it where a cluster autoscaler adds nodes.
    #[serde(default = "one_minute")]
    pub stuck_after: Duration,
    /// Time for which pods without a readiness probe that become ready in this run are followed. They are ready as soon
    /// as they run, so the same containers must still run after this time. `0s` turns this off.
    #[serde(default)]
    pub settle: Settle,
    /// `wait` until the pods that go are gone, or `ignore` those that are being deleted: they may keep running for
    /// their grace period.
    #[serde(default)]
    pub terminating: Terminating,
    /// When the wait is given up, show the last lines of the log of the container in the way, redacted, at most 2 KiB.
    /// Needs `get` on `pods/log`.
    #[serde(default)]
    pub obstacle_logs: bool,
}

impl Default for WaitOptions {
    fn default() -> Self {
        Self {
            wait: yes(),
            timeout: None,
            stuck_after: one_minute(),
            settle: Settle::default(),
            terminating: Terminating::default(),
            obstacle_logs: false,
        }
    }
}

const fn yes() -> bool {
    true
}

/// Long enough for a registry's hiccup or for an old pod to make room; a cluster autoscaler may need more.
const fn one_minute() -> Duration {
    Duration::seconds(60)
}

/// Object that an action waits for. Decides which of the fields the action takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// Nothing.
    Never,
    /// The object itself.
    ForObject,
    /// A pod.
    ForPod,
    /// All pods of a workload.
    ForPods,
}

impl Waits {
    /// Returns the fields of [`WaitOptions`] that the action takes.
    pub const fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Never => &[],
            Self::ForObject => &["wait", "waitTimeout"],
            Self::ForPod => &["wait", "waitTimeout", "stuckAfter", "settle", "obstacleLogs"],
            Self::ForPods => &["wait", "waitTimeout", "stuckAfter", "settle", "terminating", "obstacleLogs"],
        }
    }

    /// Returns the meaning of `wait`, for people.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Never => "",
            Self::ForObject => "Look once more whether it stayed so.",
            Self::ForPod => "Wait until the replacement is ready.",
            Self::ForPods => "Wait until the pods that are to be are ready, and those that go are gone.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

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
    fn has_defaults_and_names_every_field() {
        let options: WaitOptions = serde_json::from_str("{}").unwrap();
        assert_eq!(options, WaitOptions::default());
        let written = serde_json::json!({ "wait": true, "stuckAfter": "1m", "settle": "3s", "terminating": "wait", "obstacleLogs": false });
        assert_eq!(serde_json::json!(options), written);
        let schema = serde_json::json!(schemars::schema_for!(WaitOptions));
        let names: std::collections::BTreeSet<_> = schema["properties"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(names, Waits::ForPods.fields().iter().map(|one| (*one).to_owned()).collect());
    }
}
