//! Judging a run by Rego: policies that may deny it, conditions that must hold before and after it.
//!
//! ```text
//! texts ─▶ checked (parsed in a child: packages, rules, which documents they read) ─▶ permissions
//!       ─▶ policy, preconditions: once, on the target that was found ─▶ …the change… ─▶ postconditions: until they hold
//! ```
//!
//! Rego is never parsed or evaluated in this process. A module may loop, grow or recurse; regorus' own limits do not hold
//! (a `numbers.range` of 200 million ran for 8.7 s past a limit of 300 ms), so each evaluation is a child under limits of the
//! operating system: see [`engine`] for the child, [`evaluator`] for this side of it.

pub mod checked;
pub mod engine;
pub mod evaluator;
pub mod input;
pub mod judge;
pub mod library;
pub mod policy;
mod reads;

use actions::parameters::Period;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One condition, as `ACTION_PRECONDITIONS` and `ACTION_POSTCONDITIONS` hold them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Condition {
    /// Its name in results; without `rego` the name of a ready condition (`action-runner policy list`).
    pub r#type: String,
    /// What it is for, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A Rego module with a package of its own; the condition holds when `allow` in it is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rego: Option<String>,
    /// Whether it stops the action (before), or fails it (after), when it does not hold or cannot be evaluated.
    #[serde(default = "yes")]
    pub required: bool,
    /// How long a postcondition may take to hold. A precondition is evaluated once; reading and evaluating take no longer than this.
    #[serde(default = "two_minutes")]
    pub timeout: Period,
}

const fn yes() -> bool {
    true
}

const fn two_minutes() -> Period {
    Period::seconds(120)
}

/// What became of a condition: the executor's own field names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConditionResult {
    /// The condition's `type`.
    pub condition_type: String,
    /// Whether it came to an answer.
    pub evaluated: bool,
    /// Whether it holds.
    pub passed: bool,
    /// Why it does not hold, or could not be evaluated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// When it was evaluated last: RFC 3339, with milliseconds.
    pub evaluation_time: String,
}

/// A Rego module and the name that errors show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// A file's name, or one made of the condition's type.
    pub name: String,
    /// The text.
    pub text: String,
}

/// What the environment asks to be judged by, as text.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// `ACTION_POLICY_DIR`
    pub policy_dir: Option<std::path::PathBuf>,
    /// `ACTION_PRECONDITIONS`
    pub before: Vec<Condition>,
    /// `ACTION_POSTCONDITIONS`
    pub after: Vec<Condition>,
}
