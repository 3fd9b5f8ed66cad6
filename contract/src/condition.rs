//! Conditions that must hold before or after an action, and their results.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::duration::Duration;
use crate::parse;

/// One condition, as `ACTION_PRECONDITIONS` and `ACTION_POSTCONDITIONS` hold them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Condition {
    /// Name in results. Without `rego`, the name of a ready condition (`action-runner policy list`).
    pub r#type: String,
    /// Purpose of the condition, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A Rego module with a package of its own; the condition holds when `allow` in it is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rego: Option<String>,
    /// When true, a condition that does not hold or cannot be evaluated stops the action (before) or fails it (after).
    #[serde(default = "yes")]
    pub required: bool,
    /// Time that a postcondition may take to hold. A precondition is evaluated once; reading and evaluating take no
    /// longer than this.
    #[serde(default = "two_minutes")]
    pub timeout: Duration,
}

const fn yes() -> bool {
    true
}

const fn two_minutes() -> Duration {
    Duration::seconds(120)
}

/// Result of a condition, with the executor's own field names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConditionResult {
    /// `type` of the condition.
    pub condition_type: String,
    /// True when the condition could be evaluated.
    pub evaluated: bool,
    /// True when the condition holds.
    pub passed: bool,
    /// Reason why the condition does not hold or could not be evaluated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// Time of the last evaluation: RFC 3339, with milliseconds.
    pub evaluation_time: String,
}

/// The most conditions of one list: more than anybody judges one action by.
const MOST: usize = 32;
/// The longest `type`: it becomes a file name in messages, and stands in results.
const LONGEST_TYPE: usize = 63;

/// Parses a JSON array of conditions, or returns everything that is wrong with it.
pub fn parse(name: &str, text: &str) -> Result<Vec<Condition>, Vec<String>> {
    let example = example();
    let items: Vec<Value> = serde_json::from_str(text).map_err(|error| {
        vec![format!("{name}: expected a JSON array of conditions such as [{example}] ({})", parse::told(&error))]
    })?;
    if items.len() > MOST {
        return Err(vec![format!("{name}: expected at most {MOST} conditions, has {}", items.len())]);
    }
    let (mut conditions, mut problems) = (Vec::new(), Vec::new());
    for (index, item) in items.iter().enumerate() {
        let place = format!("{name}: [{index}]");
        match parse::object::<Condition>(&place, &item.to_string(), &example) {
            Ok(condition) => {
                problems.extend(bad_type(&condition.r#type).map(|why| format!("{place}.type: {why}")));
                conditions.push(condition);
            }
            Err(more) => problems.extend(more),
        }
    }
    if problems.is_empty() { Ok(conditions) } else { Err(problems) }
}

fn example() -> Value {
    json!({ "type": "no_crashloop_pods" })
}

/// Returns what is wrong with a `type`, if something is.
pub fn bad_type(name: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let good = !name.is_empty() && name.len() <= LONGEST_TYPE && name.chars().all(fits);
    (!good).then(|| format!("expected 1 to {LONGEST_TYPE} letters, digits, '_', '-', '.'"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn reads_conditions_with_their_defaults() {
        let text = r#"[{"type":"target_exists"},{"type":"mine","rego":"package a","required":false,"timeout":"30s"}]"#;
        let all = parse("X", text).unwrap();
        assert!(all[0].required && all[0].rego.is_none() && all[0].timeout.get().as_secs() == 120);
        assert!(!all[1].required && all[1].timeout.get().as_secs() == 30);
    }

    #[test]
    fn has_a_largest_number_and_a_longest_type() {
        let many = |count: usize| format!("[{}]", vec![r#"{"type":"x"}"#; count].join(","));
        assert_eq!(parse("X", &many(32)).unwrap().len(), 32);
        assert_eq!(parse("X", &many(33)).unwrap_err(), ["X: expected at most 32 conditions, has 33"]);
        let long = |length: usize| parse("X", &format!(r#"[{{"type":"{}"}}]"#, "x".repeat(length)));
        assert!(long(63).is_ok() && long(64).is_err() && long(0).is_err());
        let example = serde_json::from_value::<Condition>(example()).unwrap();
        assert_eq!(example.r#type, "no_crashloop_pods");
    }

    #[rstest]
    #[case::no_array(r#"{"type":"x"}"#, "X: expected a JSON array of conditions such as [{\"type\":")]
    #[case::no_objects(r#"["x"]"#, "X: [0]: expected a JSON object")]
    #[case::unknown_field(
        r#"[{"type":"x"},{"type":"y","reqired":true}]"#,
        "X: [1]: unknown field \"reqired\", did you mean required?"
    )]
    #[case::no_type(r#"[{"rego":"x"}]"#, "X: [0]: missing field `type`")]
    #[case::wrong_type(r#"[{"type":"a b"}]"#, "X: [0].type: expected 1 to 63 letters")]
    #[case::wrong_timeout(r#"[{"type":"a","timeout":"soon"}]"#, "X: [0]: timeout: expected a duration such as 90s")]
    #[case::behind_it("[] []", "X: expected a JSON array")]
    fn says_what_is_wrong(#[case] text: &str, #[case] says: &str) {
        let problems = parse("X", text).unwrap_err().join("; ");
        assert!(problems.contains(says), "{problems}");
    }
}
