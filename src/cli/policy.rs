//! Tries policies and conditions by hand: lists ready ones, runs tests, and shows the result for a real target.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use actions::action::Action;
use actions::catalogue::{Visitor, with_action};
use actions::cluster::error::{Error, Result};
use actions::export::redact_object;
use clap::Subcommand;
use contract::code::Code;
use contract::condition::ConditionResult;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::Printed;
use crate::conditions::documents::{self, ConditionTarget};
use crate::conditions::module::Module;
use crate::conditions::sandbox::child::{Answer, Task};
use crate::conditions::sandbox::parent;
use crate::conditions::{evaluate, library, parse, policy_dir};
use crate::image_lock::ImageLock;
use crate::output::StdoutLines;
use crate::request::Request;
use crate::run::prepare::{Prepared, prepare};
use crate::run::record::{PHASE_LIMIT, RunRecord};

/// The time limit of one evaluation.
const LIMIT: Duration = Duration::from_secs(15);

#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// List the ready conditions
    List,
    /// Print the Rego of a ready condition, to begin one's own with
    Show {
        /// `no_crashloop_pods`, …
        name: String,
    },
    /// Run the tests of a folder: every rule that begins with `test_`, as `opa test` does
    Test {
        /// The folder with the .rego files
        folder: PathBuf,
    },
    /// Show what policies and conditions say, and why; nothing is changed
    ///
    /// Without --input the environment is read as for a run, and the policy and the conditions in it are evaluated on the
    /// real target. With --input the given files are, on that document.
    Eval {
        /// A file with the input document
        #[arg(long)]
        input: Option<PathBuf>,
        /// Rego files, with --input
        files: Vec<PathBuf>,
    },
}

impl PolicyCommand {
    pub async fn run(self, variables: Vec<(OsString, OsString)>) -> Result<Printed> {
        match self {
            Self::List => Ok(Printed::text(list())),
            Self::Show { name } => show(&name),
            Self::Test { folder } => {
                let modules = policy_dir::read(&folder, true).map_err(Error::InvalidRequest)?;
                test(library::with_shared(modules)).await
            }
            Self::Eval { input: Some(input), files } => on_a_document(&input, &files).await,
            Self::Eval { input: None, files } if files.is_empty() => on_a_target(variables).await,
            Self::Eval { .. } => Err(Error::InvalidRequest(
                "arguments: files go with --input; without it the environment says what is evaluated".to_owned(),
            )),
        }
    }
}

fn list() -> String {
    let mut text = String::new();
    for one in library::ALL {
        // Writing into a String cannot fail.
        let _infallible = writeln!(text, "{:<28} {}", one.name, one.title());
    }
    text
}

fn show(name: &str) -> Result<Printed> {
    let module = library::module(name).ok_or_else(|| {
        let all = library::names().collect::<Vec<_>>().join(", ");
        Error::InvalidRequest(format!("arguments: there is no ready condition {name:?}; there are {all}"))
    })?;
    Ok(Printed::text(module.text))
}

/// Evaluates each test by itself, beside all modules of the folder.
async fn test(modules: Vec<Module>) -> Result<Printed> {
    let declared = parse::declared(&modules).await.map_err(Error::InvalidRequest)?;
    let (mut text, mut passed, mut failed) = (String::new(), 0, 0);
    for (module, declared) in modules.iter().zip(&declared) {
        for rule in declared.rules.iter().filter(|rule| rule.starts_with("test_")) {
            let task = Task { modules: modules.clone(), rules: vec![format!("{}.{rule}", declared.package)] };
            let verdict = match parent::ask(&task, "{}", LIMIT).await {
                Ok(Answer::Values(values)) => match values.into_iter().next() {
                    Some(Ok(Some(Value::Bool(true)))) => None,
                    Some(Ok(Some(value))) => Some(format!("it is {value}")),
                    Some(Ok(None)) => Some("it is undefined".to_owned()),
                    Some(Err(trouble)) => Some(trouble.to_string()),
                    None => Some("the evaluator did not answer".to_owned()),
                },
                Ok(Answer::Trouble(trouble)) => Some(trouble.to_string()),
                Ok(Answer::Declared(_)) => Some("the evaluator answered something else".to_owned()),
                Err(why) => Some(why),
            };
            let (word, count) = if verdict.is_none() { ("PASS", &mut passed) } else { ("FAIL", &mut failed) };
            *count += 1;
            let why = verdict.map(|why| format!(": {why}")).unwrap_or_default();
            // Writing into a String cannot fail.
            let _infallible = writeln!(text, "{word} {} {rule}{why}", module.name);
        }
    }
    if passed + failed == 0 {
        return Err(Error::InvalidRequest(
            "arguments: there is no rule that begins with test_ in that folder".to_owned(),
        ));
    }
    text.push_str(&format!("{passed} passed, {failed} failed\n"));
    Ok(Printed { text, exit: u8::from(failed > 0) })
}

/// Evaluates every rule of the files on an input document.
async fn on_a_document(input: &PathBuf, files: &[PathBuf]) -> Result<Printed> {
    let read = |file: &PathBuf| {
        std::fs::read_to_string(file)
            .map_err(|error| Error::InvalidRequest(format!("arguments: failed to read {}: {error}", file.display())))
    };
    let input = read(input)?;
    let module = |file: &PathBuf| Ok(Module { name: file.display().to_string(), text: read(file)? });
    let modules = library::with_shared(files.iter().map(module).collect::<Result<Vec<_>>>()?);
    if modules.is_empty() {
        return Err(Error::InvalidRequest("arguments: --input needs the .rego files to evaluate on it".to_owned()));
    }
    let mut shown = Map::new();
    for declared in parse::declared(&modules).await.map_err(Error::InvalidRequest)? {
        let rules: Vec<&String> = declared.rules.iter().filter(|rule| !rule.starts_with("test_")).collect();
        let paths = rules.iter().map(|rule| format!("{}.{rule}", declared.package)).collect();
        let task = Task { modules: modules.clone(), rules: paths };
        let values = match parent::ask(&task, &input, LIMIT).await.map_err(Error::Refused)? {
            Answer::Values(values) => values,
            Answer::Trouble(trouble) => return Err(Error::InvalidRequest(trouble.to_string())),
            Answer::Declared(_) => Vec::new(),
        };
        let own = shown.entry(declared.package).or_insert_with(|| json!({}));
        for (rule, value) in rules.into_iter().zip(values) {
            match value {
                Ok(Some(value)) => own[rule] = value,
                Ok(None) => {}
                Err(trouble) => own[rule] = json!({ "error": trouble.to_string() }),
            }
        }
    }
    Ok(Printed::text(pretty(&Value::Object(shown))))
}

/// Evaluates the policy and the conditions of the environment on the target as it is now.
async fn on_a_target(variables: Vec<(OsString, OsString)>) -> Result<Printed> {
    let request = Request::read(variables);
    let Some(verb) = request.verb else { return Err(Error::InvalidRequest(request.problems.join("; "))) };
    ImageLock::of_this_image(verb)?;
    let kind = request.kind;
    with_action(verb, kind, Evaluation(request)).await
}

struct Evaluation(Request);

impl Visitor for Evaluation {
    type Output = Pin<Box<dyn Future<Output = Result<Printed>>>>;

    fn visit<A: Action>(self) -> Self::Output {
        Box::pin(evaluation::<A>(self.0))
    }
}

async fn evaluation<A: Action>(request: Request) -> Result<Printed> {
    let record = RunRecord::new(Timestamp::now());
    let Prepared { action, context, conditions, input, cluster, named, .. } =
        prepare::<A>(&request, &record, Arc::new(StdoutLines)).await?;
    let cluster = cluster.until(Instant::now() + PHASE_LIMIT);
    let about = ConditionTarget::found(&action.find(&cluster, &named, &context).await?, &named);
    let input = input.about(&about);
    // An object that cannot be read is shown as such, and does not stop the rest.
    let needed = conditions.needed_before().into_keys().chain(conditions.needed_after().into_keys());
    let documents = documents::read(&cluster, &about, &needed.map(|one| (one, false)).collect()).await?;
    let denials = match &conditions.policy {
        Some(policy) => Some(evaluate::denials(policy, &input, &about.value, LIMIT).await?),
        None => None,
    };
    let mut results: [Vec<ConditionResult>; 2] = [Vec::new(), Vec::new()];
    let mut refused = denials.as_ref().is_some_and(|denials| !denials.is_empty());
    for (all, results) in [&conditions.before, &conditions.after].into_iter().zip(&mut results) {
        for one in all {
            let result = evaluate::result(evaluate::evaluate(one, &input, &about.value, &documents, LIMIT).await);
            refused |= one.condition.required && !result.passed;
            results.push(result);
        }
    }
    let [before, after] = results;
    let mut input = input.with(about.value.clone(), documents);
    redact_object::hide_in_object(&mut input.target);
    let shown = json!({ "input": input, "policyDenies": denials, "preConditionResults": before, "postConditionResults": after });
    Ok(Printed { text: pretty(&shown), exit: if refused { Code::Refused.exit() } else { 0 } })
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}
