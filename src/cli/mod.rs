//! The sub-commands, which print the actions, their schemas, and the permissions that they need.

mod job;
mod policy;
mod rbac;
mod schema;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Write as _;

use actions::catalogue::{self, Account, ActionType, Verb, kinds};
use actions::cluster::error::Error;
use actions::k8s::Permission;
use clap::{CommandFactory, Parser, Subcommand};
use contract::result::Runner;
use contract::text::did_you_mean;
use contract::variables::VARIABLES;
use job::JobTarget;
use rbac::Asked;

use crate::run::record::this_runner;

/// Does one thing to a Kubernetes cluster, safely, and says truthfully what it did.
#[derive(Debug, Parser)]
#[command(name = "action-runner", version, disable_version_flag = true, after_long_help = manual())]
#[command(long_about = "Does one thing to a Kubernetes cluster, safely, and says truthfully what it did.\n\n\
    Without a sub-command it runs one action, as the environment says, and writes one JSON object (ActionResult) to stdout: \
    the last line. Logs and progress go to stderr.")]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

/// The one action type that takes a selector in place of a name.
const SELECTION: &str = "collect-logs-pod";

/// A sub-command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the actions and the kinds they take
    List,
    /// Print the JSON Schema of an action's parameters (`result` for the whole result, `condition-input` for what conditions see)
    Schema {
        /// scale, scale-deployment, …, result, or condition-input
        action: String,
        /// The schema of what it reports in `details` instead
        #[arg(long)]
        output: bool,
    },
    /// Print the ServiceAccount, Role and binding that each of some actions needs, as YAML
    Rbac(rbac::Flags),
    /// Policies and conditions: ready ones, tests, and what they say of a target
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Print a Job that runs an action, as YAML
    Job {
        /// scale-deployment, …
        action: String,
        /// The namespace of the Job, and of its target
        #[arg(long, short, default_value = "default")]
        namespace: String,
        /// The target's namespace, if it is another one
        #[arg(long)]
        target_namespace: Option<String>,
        /// The target's name
        #[arg(long, required_unless_present = "selector")]
        target: Option<String>,
        /// Labels of the pods, in place of the name: for collect-logs-pod
        #[arg(long, conflicts_with = "target")]
        selector: Option<String>,
        /// The target's UID: with it a restart-pod can be repeated
        #[arg(long)]
        uid: Option<String>,
        /// The image, in place of the released one
        #[arg(long)]
        image: Option<String>,
    },
    /// Print the version and the commit
    Version,
    /// Print a completion script for a shell
    Completions {
        /// bash, zsh, fish, elvish, powershell
        shell: clap_complete::Shell,
    },
}

/// Returns the permissions of a shipped account, for its documentation.
pub fn permissions_of(account: Account) -> BTreeSet<Permission> {
    // The example's parameters are right.
    rbac::permissions(&[account], &Asked::default()).unwrap_or_default()
}

/// Returns whether runs of an account wait for pods, so that more can be told of what they wait for.
pub fn tells_causes(account: Account) -> bool {
    rbac::waits_for_pods(account)
}

/// Returns the permissions that runs with these parameters need, with or without an `ACTION_ID`.
pub fn permissions_for(account: Account, parameters: &str, has_id: bool) -> Result<BTreeSet<Permission>, String> {
    let parameters = Some(parameters.to_owned());
    rbac::permissions(&[account], &Asked { parameters, no_id: !has_id, ..Asked::default() })
}

/// The request in the arguments.
pub enum Invocation {
    /// Run an action.
    Run,
    /// Print this text to stdout.
    Text(String),
    /// Run a sub-command.
    Command(Box<Command>),
    /// The arguments cannot be understood; the message says why.
    Wrong(String),
}

/// Reads the arguments (the first is the program's name).
pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Invocation {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) if error.exit_code() == 0 => return Invocation::Text(error.to_string()),
        Err(error) => {
            let message =
                error.to_string().trim_start_matches("error: ").split_whitespace().collect::<Vec<_>>().join(" ");
            return Invocation::Wrong(format!("arguments: {message}"));
        }
    };
    match cli.command {
        None => Invocation::Run,
        Some(command) => Invocation::Command(Box::new(command)),
    }
}

/// Output and exit code of a sub-command.
pub struct Printed {
    /// Text for stdout.
    pub text: String,
    /// The exit code.
    pub exit: u8,
}

impl Printed {
    fn text(text: String) -> Self {
        Self { text, exit: 0 }
    }
}

impl Command {
    /// Runs the sub-command. Only `policy eval` reads the variables.
    pub async fn run(self, variables: Vec<(OsString, OsString)>) -> actions::cluster::error::Result<Printed> {
        match self {
            Self::Policy(command) => command.run(variables).await,
            Self::Rbac(flags) => flags.print().await.map(Printed::text),
            other => other.text().map(Printed::text).map_err(Error::InvalidRequest),
        }
    }

    fn text(self) -> Result<String, String> {
        match self {
            Self::List => Ok(list()),
            Self::Schema { action, output } => schema::text(&action, output),
            Self::Job { action, namespace, target_namespace, target, selector, uid, image } => {
                let namespace = namespace.parse().map_err(|error| format!("--namespace: {error}"))?;
                let target = job_target(target.as_deref(), selector)?;
                let target_namespace = target_namespace.map(|name| name.parse()).transpose();
                let target_namespace = target_namespace.map_err(|error| format!("--target-namespace: {error}"))?;
                match known(&action)?.as_slice() {
                    [entry] if matches!(target, JobTarget::Selected(_)) && entry.name() != SELECTION => {
                        Err(format!("--selector: goes with {SELECTION} alone"))
                    }
                    [entry] => Ok(job::text(*entry, &job::Options { namespace, target_namespace, target, uid, image })),
                    several => Err(format!(
                        "a Job is for one kind: {}",
                        several.iter().map(|one| one.name()).collect::<Vec<_>>().join(", ")
                    )),
                }
            }
            Self::Policy(_) | Self::Rbac(_) => Err("these need more than text".to_owned()),
            Self::Version => {
                let Runner { version, revision } = this_runner();
                Ok(format!("action-runner {version} ({revision})\n"))
            }
            Self::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "action-runner", &mut script);
                String::from_utf8(script).map_err(|error| error.to_string())
            }
        }
    }
}

/// Writes a string as YAML: in quotes (JSON is YAML) if it could be something else, like a namespace `2024` or `null`.
fn yaml(text: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '/' | ':');
    let plain = text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(word) && !text.ends_with(':');
    let special = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"].contains(&text);
    if plain && !special { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

/// Returns the action types of a name, or a message about an unknown name.
fn known(action: &str) -> Result<Vec<ActionType>, String> {
    let entries = ActionType::named(action);
    if entries.is_empty() {
        return Err(unknown(action, catalogue::names()));
    }
    Ok(entries)
}

/// Says that a name is none of these.
fn unknown(name: &str, all: Vec<String>) -> String {
    let hint = did_you_mean(name, all.iter().map(String::as_str));
    format!("unknown action {name:?}{hint} (`action-runner list` shows all)")
}

/// Returns what a Job is about: one of the two is given.
fn job_target(name: Option<&str>, selector: Option<String>) -> Result<JobTarget, String> {
    match (name, selector) {
        (_, Some(selector)) => Ok(JobTarget::Selected(selector)),
        (name, None) => {
            let name = name.unwrap_or_default().parse().map_err(|error| format!("--target: {error}"))?;
            Ok(JobTarget::Named(name))
        }
    }
}

fn list() -> String {
    let mut text = String::new();
    for verb in Verb::ALL {
        let kinds = kinds(verb).into_iter().map(actions::k8s::Kind::lower).collect::<Vec<_>>().join(", ");
        // Writing into a String cannot fail.
        let _infallible = writeln!(text, "{:<13} {kinds}", verb.name());
    }
    text
}

fn manual() -> String {
    let mut text = String::from("Environment:\n");
    for variable in VARIABLES {
        // Writing into a String cannot fail.
        let _infallible = writeln!(text, "  {:<28} {}", variable.name, variable.meaning.replace('`', ""));
    }
    text.push_str(
        "\nExit codes:\n  0  done, so already, or the dry run would     5  forbidden (names every missing permission)\n  \
         1  a defect of the runner                     6  conflict: someone else changed the target\n  \
         2  invalid request                            7  applied, and the effect did not come or stay\n  \
         3  refused by policy, guard, admission, quota   8  deadline exceeded\n  \
         4  the target does not exist                  9  API server not reached, or overloaded\n  \
         130, 143  interrupted by SIGINT, SIGTERM\n\n\
         Example:\n  ACTION_TYPE=scale-deployment TARGET_NAMESPACE=shop TARGET_NAME=web \\\n  \
         ACTION_PARAMETERS='{\"replicas\":5}' action-runner\n",
    );
    text
}
