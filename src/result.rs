//! What a run says at its end: one `ActionResult`, with the same truth on stdout, in the termination message and in the
//! exit code.

use actions::action::RollbackInformation;
use actions::error::Error;
use actions::ledger::{Change, Effect, Requests};
use actions::object::Target;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::conditions::ConditionResult;

/// `apiVersion` of the result.
pub const API_VERSION: &str = "kubernetesexecution.kubernaut.io/v1alpha1";
/// `kind` of the result: how a reader finds the line among others.
pub const KIND: &str = "ActionResult";

/// The longest result line: container runtimes split longer ones from 8 KiB on.
pub const LINE_LIMIT: usize = 8 << 10;
/// The longest termination message: the kubelet cuts at 4096 bytes, and half a JSON object is none.
pub const TERMINATION_LIMIT: usize = 4000;
/// The longest sentence in it: what an API server says can be long, the rest of the result must still fit beside it.
const SENTENCE_LIMIT: usize = 1500;

/// How the run ended, for machines. Codes are added, never renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub enum Code {
    /// Changed, and the effect was verified.
    Changed,
    /// It was so already.
    Unchanged,
    /// It would be changed.
    DryRun,
    /// Done, by an action that changes nothing by nature.
    Completed,
    /// The request cannot be understood or does not fit the target.
    InvalidRequest,
    /// A policy, a precondition, a guard, an admission plugin or a quota said no.
    Refused,
    /// The target does not exist.
    TargetNotFound,
    /// Permissions are missing; all of them are named.
    Forbidden,
    /// Someone else changed the target meanwhile.
    Conflict,
    /// Applied, and the effect did not come or did not stay.
    NotVerified,
    /// `ACTION_TIMEOUT`, or a wait before the change.
    DeadlineExceeded,
    /// The API server was not reached, or is overloaded.
    Unavailable,
    /// By SIGINT or SIGTERM.
    Interrupted,
    /// A defect of the runner.
    Internal,
}

impl Code {
    /// Every code, in the order of the documentation.
    pub const ALL: [Code; 14] = [
        Code::Changed,
        Code::Unchanged,
        Code::DryRun,
        Code::Completed,
        Code::Internal,
        Code::InvalidRequest,
        Code::Refused,
        Code::TargetNotFound,
        Code::Forbidden,
        Code::Conflict,
        Code::NotVerified,
        Code::DeadlineExceeded,
        Code::Unavailable,
        Code::Interrupted,
    ];

    /// The process' exit code. `Interrupted` is 128 + the signal (SIGTERM here).
    pub const fn exit(self) -> u8 {
        match self {
            Code::Changed | Code::Unchanged | Code::DryRun | Code::Completed => 0,
            Code::Internal => 1,
            Code::InvalidRequest => 2,
            Code::Refused => 3,
            Code::TargetNotFound => 4,
            Code::Forbidden => 5,
            Code::Conflict => 6,
            Code::NotVerified => 7,
            Code::DeadlineExceeded => 8,
            Code::Unavailable => 9,
            Code::Interrupted => 143,
        }
    }

    /// Whether the same request may succeed later without anyone changing it.
    pub const fn may_succeed_later(self) -> bool {
        matches!(self, Code::Conflict | Code::DeadlineExceeded | Code::Unavailable | Code::Interrupted)
    }
}

impl From<&Error> for Code {
    fn from(error: &Error) -> Self {
        match error {
            Error::InvalidRequest(_) => Code::InvalidRequest,
            // A budget that blocks and is not waited for (a dry run).
            Error::Refused(_) | Error::Blocked { .. } => Code::Refused,
            Error::TargetNotFound(_) => Code::TargetNotFound,
            Error::Forbidden { .. } => Code::Forbidden,
            Error::Conflict(_) => Code::Conflict,
            Error::NotVerified(_) => Code::NotVerified,
            Error::DeadlineExceeded(_) => Code::DeadlineExceeded,
            Error::Unavailable { .. } | Error::NotServed(_) => Code::Unavailable,
            Error::Internal(_) => Code::Internal,
        }
    }
}

/// One phase of the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Phase {
    /// `validate`, `permissions`, `find`, `policy`, `preconditions`, `dry-run`, `execute`, `verify`, `postconditions`
    pub name: String,
    /// How long it took.
    pub duration_ms: u64,
}

/// What ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Runner {
    /// The runner's version.
    pub version: String,
    /// The commit it was built from, where the build knew it.
    pub revision: String,
}

impl Runner {
    /// This one.
    pub fn this() -> Self {
        let revision = option_env!("ACTION_RUNNER_REVISION").unwrap_or("unknown");
        Self { version: env!("CARGO_PKG_VERSION").to_owned(), revision: revision.to_owned() }
    }
}

/// The target, and what led to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResultTarget {
    /// The object.
    #[serde(flatten)]
    pub object: Target,
    /// The object that was named, when it led to its owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_from: Option<Target>,
}

/// The result of one run.
#[expect(clippy::struct_excessive_bools, reason = "each is a field of the contract")]
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActionResult {
    /// Always [`API_VERSION`].
    pub api_version: String,
    /// Always [`KIND`].
    pub kind: String,
    /// The action did what was asked, and that was verified (or was so already, or the dry run would).
    pub success: bool,
    /// How the run ended.
    pub code: Code,
    /// What was done, in a sentence for a person; when `success` is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// What went wrong, at what, and what to do about it; when `success` is false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The same request may succeed later without anyone changing it, and sending it again cannot apply it twice.
    pub retryable: bool,
    /// Whether the cluster was changed. Never a guess.
    pub effect: Effect,
    /// An earlier run of the same `ACTION_ID` had applied it; this one finished its work.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resumed: bool,
    /// What did not stop the run, and a person should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// RFC 3339, with milliseconds.
    pub start_time: String,
    /// RFC 3339, with milliseconds.
    pub end_time: String,
    /// The action as understood: `scale-deployment`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action_type: Option<String>,
    /// `ACTION_ID`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action_id: Option<String>,
    /// `ACTION_DRY_RUN`
    pub dry_run: bool,
    /// The trace id of `TRACEPARENT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The target, once it was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<ResultTarget>,
    /// The parameters, after defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Value>,
    /// What was changed; in a dry run: what would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<Change>>,
    /// What this action reports; `action-runner schema ACTION --output` is its schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
    /// What became of `ACTION_PRECONDITIONS`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pre_condition_results: Vec<ConditionResult>,
    /// What became of `ACTION_POSTCONDITIONS`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub post_condition_results: Vec<ConditionResult>,
    /// The request that takes the effect back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback_information: Option<RollbackInformation>,
    /// The phase in which it stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_phase: Option<String>,
    /// The phases it went through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phases: Option<Vec<Phase>>,
    /// API requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<Requests>,
    /// What ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runner: Option<Runner>,
    /// Fields that were left out (or shortened) because the result would have been too long.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trimmed: Vec<String>,
}

/// What can be left out, the least missed first, and how.
type Trim = (&'static str, fn(&mut ActionResult) -> bool);

const TRIMS: [Trim; 12] = [
    ("details.containers", |result| {
        result
            .details
            .as_mut()
            .and_then(Value::as_object_mut)
            .is_some_and(|details| details.remove("containers").is_some())
    }),
    ("changes.patch", |result| {
        let mut had = false;
        for change in result.changes.iter_mut().flatten() {
            had |= change.patch.take().is_some();
        }
        had
    }),
    ("phases", |result| result.phases.take().is_some()),
    ("details", |result| result.details.take().is_some()),
    ("parameters", |result| result.parameters.take().is_some()),
    ("runner", |result| result.runner.take().is_some()),
    ("changes", |result| result.changes.take().is_some()),
    ("preConditionResults", |result| !std::mem::take(&mut result.pre_condition_results).is_empty()),
    ("postConditionResults", |result| !std::mem::take(&mut result.post_condition_results).is_empty()),
    ("warnings", |result| !std::mem::take(&mut result.warnings).is_empty()),
    ("rollbackInformation", |result| result.rollback_information.take().is_some()),
    ("requests", |result| result.requests.take().is_some()),
];

impl ActionResult {
    /// The result as one line of JSON of at most `limit` bytes: whole fields are left out until it fits.
    pub fn line(&self, limit: usize) -> String {
        let mut result = self.clone();
        for (name, sentence) in [("output", &mut result.output), ("error", &mut result.error)] {
            if sentence.as_mut().is_some_and(shorten) {
                result.trimmed.push(name.to_owned());
            }
        }
        let mut trims = TRIMS.iter();
        loop {
            let line = serde_json::to_string(&result).unwrap_or_else(|error| unserializable(&error));
            if line.len() <= limit {
                return line;
            }
            match trims.next() {
                Some((name, trim)) => {
                    if trim(&mut result) {
                        result.trimmed.push((*name).to_owned());
                    }
                }
                None => return line,
            }
        }
    }
}

/// Cuts a sentence that is too long, at a character's border.
fn shorten(sentence: &mut String) -> bool {
    if sentence.len() <= SENTENCE_LIMIT {
        return false;
    }
    let end = (0..=SENTENCE_LIMIT).rev().find(|at| sentence.is_char_boundary(*at)).unwrap_or(0);
    sentence.truncate(end);
    sentence.push('…');
    true
}

/// The types of the result serialise always; should one not, that is told in the result's own shape.
fn unserializable(error: &serde_json::Error) -> String {
    let mut result = Map::new();
    result.insert("apiVersion".to_owned(), API_VERSION.into());
    result.insert("kind".to_owned(), KIND.into());
    result.insert("success".to_owned(), false.into());
    result.insert("code".to_owned(), "Internal".into());
    result.insert("effect".to_owned(), "unknown".into());
    result.insert("error".to_owned(), error.to_string().into());
    Value::Object(result).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn result(error: String, details: Value) -> ActionResult {
        let trail = crate::trail::Trail::new(jiff::Timestamp::UNIX_EPOCH);
        let mut result = trail.fail(Code::Internal, error);
        result.details = Some(details);
        result
    }

    #[test]
    fn codes_and_exit_codes_are_these() {
        let table: Vec<_> = Code::ALL.iter().map(|code| format!("{} {code:?}", code.exit())).collect();
        insta::assert_snapshot!(table.join("\n"));
    }

    proptest! {
        #[test]
        fn is_never_longer_than_its_limit(error in ".{0,9000}", size in 0_usize..9000) {
            let result = result(error, json!({ "containers": "x".repeat(size), "other": "y".repeat(size) }));
            for limit in [LINE_LIMIT, TERMINATION_LIMIT] {
                let line = result.line(limit);
                prop_assert!(line.len() <= limit, "{}", line.len());
                let parsed: Value = serde_json::from_str(&line).unwrap();
                prop_assert_eq!(&parsed["kind"], KIND);
                let head = r#"{"apiVersion":"kubernetesexecution.kubernaut.io/v1alpha1","kind":"ActionResult""#;
                prop_assert!(line.starts_with(head), "{}", line);
            }
        }
    }

    #[test]
    fn errors_have_codes_of_their_own() {
        let text = || "x".to_owned();
        let table = [
            (Error::InvalidRequest(text()), Code::InvalidRequest, false),
            (Error::Refused(text()), Code::Refused, false),
            (Error::Blocked { message: text() }, Code::Refused, false),
            (Error::TargetNotFound(text()), Code::TargetNotFound, false),
            (Error::Forbidden { message: text(), missing: vec![] }, Code::Forbidden, false),
            (Error::Conflict(text()), Code::Conflict, true),
            (Error::NotVerified(text()), Code::NotVerified, false),
            (Error::DeadlineExceeded(text()), Code::DeadlineExceeded, true),
            (Error::Unavailable { message: text(), source: None }, Code::Unavailable, true),
            (Error::NotServed(text()), Code::Unavailable, true),
            (Error::Internal(text()), Code::Internal, false),
        ];
        for (error, code, later) in table {
            assert_eq!((Code::from(&error), code.may_succeed_later()), (code, later));
        }
        assert_eq!(Runner::this().version, env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn a_sentence_is_cut_at_a_characters_border() {
        let mut fits = "x".repeat(SENTENCE_LIMIT);
        assert!(!shorten(&mut fits) && fits.len() == SENTENCE_LIMIT);
        let mut long = "x".repeat(SENTENCE_LIMIT - 1) + "éé";
        assert!(shorten(&mut long));
        assert_eq!(long, "x".repeat(SENTENCE_LIMIT - 1) + "…");
    }

    /// The least missed first; what is not there is not said to be left out.
    #[test]
    fn leaves_out_one_field_after_the_other() {
        let mut result = result("x".to_owned(), json!({ "containers": "x".repeat(200), "more": 2 }));
        result.parameters = Some(json!({}));
        result.warnings = vec!["w".to_owned()];
        let trimmed = |limit: usize| serde_json::from_str::<Value>(&result.line(limit)).unwrap()["trimmed"].clone();
        let whole = serde_json::to_string(&result).unwrap().len();
        assert_eq!(trimmed(whole), Value::Null);
        assert_eq!(trimmed(whole - 100), json!(["details.containers"]));
        let all =
            ["details.containers", "phases", "details", "parameters", "runner", "changes", "warnings", "requests"];
        let gone: Vec<String> = serde_json::from_value(trimmed(0)).unwrap();
        assert!(gone.iter().all(|one| all.contains(&one.as_str())), "{gone:?}");
        assert!(gone.contains(&"warnings".to_owned()) && gone.contains(&"requests".to_owned()), "{gone:?}");
    }

    #[test]
    fn what_does_not_serialise_is_told_in_the_results_own_shape() {
        let error = serde_json::from_str::<Value>("{").unwrap_err();
        let told: Value = serde_json::from_str(&unserializable(&error)).unwrap();
        assert_eq!(
            (&told["kind"], &told["code"], &told["effect"]),
            (&json!(KIND), &json!("Internal"), &json!("unknown"))
        );
        assert!(told["error"].is_string());
    }

    #[test]
    fn a_patch_is_left_out_before_the_change_is() {
        let object = actions::object::Target {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            namespace: None,
            name: "n".to_owned(),
            uid: None,
            subresource: None,
        };
        let patch = Some(json!("x".repeat(LINE_LIMIT)));
        let mut result = result("x".to_owned(), Value::Null);
        result.changes = Some(vec![Change { object, operation: actions::ledger::Operation::Patch, patch }]);
        let parsed: Value = serde_json::from_str(&result.line(LINE_LIMIT)).unwrap();
        assert_eq!(parsed["trimmed"], json!(["changes.patch"]));
        assert_eq!(parsed["changes"][0]["object"]["name"], "n");
    }

    #[test]
    fn says_what_was_left_out() {
        let line = result("x".to_owned(), json!({ "containers": "x".repeat(9000) })).line(LINE_LIMIT);
        let parsed: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(parsed["trimmed"], json!(["details.containers"]));
    }
}
