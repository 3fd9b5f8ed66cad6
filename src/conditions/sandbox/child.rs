//! The child: this binary, started again with one argument. It parses and evaluates Rego under limits of the operating
//! system and writes one answer. It has no environment, no credentials and nothing to lose.
//!
//! The task's modules and rules come as the first line of stdin, the input document as the rest.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use contract::text::shorten;
use regorus::{Engine, Value};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit};
use serde::{Deserialize, Serialize};

use super::declared::{Declared, declared};
use super::memory;
use crate::conditions::module::Module;

/// The argument that turns this program into a child; the memory that it may take, in bytes, follows.
pub const ARGUMENT: &str = "__evaluate-rego";
/// The most processor time, in seconds.
pub const SECONDS: u64 = 5;
/// The most bytes that are read: modules and input together.
pub const LARGEST: u64 = 9 << 20;

/// The longest message about trouble. The parent cuts further, once it has taken out what must not be shown: what is cut
/// in the middle of a value is not found any more.
const MESSAGE_LIMIT: usize = 4096;

/// The task of a child.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Task {
    /// Modules, loaded together: modules of one package merge.
    pub modules: Vec<Module>,
    /// Rules to evaluate, as paths: `data.night.allow`. If empty, the child only parses, and returns the declarations.
    pub rules: Vec<String>,
}

/// Answer to a task.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// Declarations of each module, in their order.
    Declared(Vec<Declared>),
    /// Value of each rule; `None` when undefined, and the reason when it could not be evaluated.
    Values(Vec<Result<Option<serde_json::Value>, Trouble>>),
    /// Trouble with a module that is not valid Rego.
    Trouble(Trouble),
}

/// An error in a module, and its place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Place, such as `night.rego:5:3`; empty when unknown.
    pub place: String,
    /// The line of Rego.
    pub line: String,
    /// Message about the error.
    pub message: String,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.message)?;
        if self.line.is_empty() { Ok(()) } else { write!(f, ", in `{}`", self.line) }
    }
}

/// Does the work if this process is a child, and then returns its exit code.
pub fn run_if_asked(mut arguments: impl Iterator<Item = std::ffi::OsString>) -> Option<ExitCode> {
    if arguments.nth(1)?.to_str() != Some(ARGUMENT) {
        return None;
    }
    let memory = arguments.next().and_then(|bytes| bytes.to_str()?.parse().ok()).unwrap_or(memory::MOST);
    let done = confine(memory).and_then(|()| work());
    Some(if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sets limits: from here on the kernel ends this process when it takes too much, or when its parent is gone. The memory is
/// what it may add to the program's own address space.
fn confine(memory: u64) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let limit = |resource, most: u64| {
        let most = getrlimit(resource).maximum.map_or(most, |already| already.min(most));
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
    };
    // First SIGXCPU, which tells the reason; a second later SIGKILL.
    setrlimit(Resource::Cpu, Rlimit { current: Some(SECONDS), maximum: Some(SECONDS + 1) })?;
    limit(Resource::Core, 0)?;
    limit(Resource::As, address_space()?.saturating_add(memory))?;
    Ok(())
}

/// Returns the address space of the program before it has done anything, in bytes.
fn address_space() -> io::Result<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let pages = pages.split(' ').next().and_then(|size| size.parse::<u64>().ok());
    let page = u64::try_from(rustix::param::page_size()).map_err(io::Error::other)?;
    pages.map(|pages| pages * page).ok_or_else(|| io::Error::other("/proc/self/statm is not what it should be"))
}

fn work() -> io::Result<()> {
    let mut text = String::new();
    io::stdin().lock().take(LARGEST).read_to_string(&mut text)?;
    let (task, input) = text.split_once('\n').unwrap_or((&text, ""));
    let task: Task = serde_json::from_str(task)?;
    let answer = serde_json::to_vec(&answer(&task, input))?;
    let mut stdout = io::stdout().lock();
    stdout.write_all(&answer)?;
    stdout.flush()
}

/// Answers a task. Only for the child: nothing here limits memory or time.
pub fn answer(task: &Task, input: &str) -> Answer {
    let mut engine = Engine::new();
    // A failing built-in is an error, not "undefined": a policy that cannot be evaluated must not let anything pass.
    engine.set_strict_builtin_errors(true);
    // Keeps `print` from writing to stderr.
    engine.set_gather_prints(true);
    for module in &task.modules {
        if let Err(error) = engine.add_policy(module.name.clone(), module.text.clone()) {
            return Answer::Trouble(trouble(&error.to_string(), &module.name));
        }
    }
    if task.rules.is_empty() {
        return match engine.get_ast_as_json().map_err(|error| error.to_string()).and_then(|ast| declared(&ast)) {
            Ok(declared) => Answer::Declared(declared),
            Err(error) => Answer::Trouble(Trouble { message: error, ..Trouble::default() }),
        };
    }
    match Value::from_json_str(if input.is_empty() { "{}" } else { input }) {
        Ok(input) => engine.set_input(input),
        Err(error) => return Answer::Trouble(trouble(&format!("the input is not what it should be: {error}"), "")),
    }
    Answer::Values(task.rules.iter().map(|rule| value(&mut engine, rule)).collect())
}

fn value(engine: &mut Engine, rule: &str) -> Result<Option<serde_json::Value>, Trouble> {
    match engine.eval_rule(rule.to_owned()) {
        Ok(Value::Undefined) => Ok(None),
        Ok(value) => serde_json::to_value(&value).map(Some).map_err(|error| trouble(&error.to_string(), "")),
        Err(error) => Err(trouble(&error.to_string(), "")),
    }
}

/// Parses regorus' error, which has the place in several lines: `--> file:line:column`, the line itself, `error: …`.
fn trouble(text: &str, file: &str) -> Trouble {
    let after = |mark: &str| text.lines().find_map(|line| line.trim_start().strip_prefix(mark).map(str::trim));
    let place = after("--> ").unwrap_or(file).to_owned();
    let number = place.rsplit(':').nth(1).unwrap_or_default().to_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{number} |")).filter(|_| !number.is_empty()));
    let message = after("error: ").unwrap_or(text.trim());
    Trouble { place, line: shorten(line.unwrap_or_default().trim(), 120), message: shorten(message, MESSAGE_LIMIT) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn evaluate(rego: &str, rules: &[&str]) -> Answer {
        let module = Module { name: "x.rego".to_owned(), text: rego.to_owned() };
        let rules = rules.iter().map(ToString::to_string).collect();
        answer(&Task { modules: vec![module], rules }, r#"{"target":{"spec":{"replicas":3}}}"#)
    }

    #[test]
    fn evaluates_rules() {
        let rego = "package a\nallow if input.target.spec.replicas < 5\nreasons contains \"x\"\nmore if input.nothing";
        let values = evaluate(rego, &["data.a.allow", "data.a.reasons", "data.a.more"]);
        assert_eq!(values, Answer::Values(vec![Ok(Some(json!(true))), Ok(Some(json!(["x"]))), Ok(None)]));
    }

    #[rstest]
    #[case::syntax("package a\nallow if { input.a > \n}", "x.rego:3:1: expecting expression, in `}`")]
    #[case::interpolation("package a\nx := $\"a\"", "x.rego:2:6: invalid character, in `x := $\"a\"`")]
    fn says_where_a_module_is_wrong(#[case] rego: &str, #[case] says: &str) {
        match evaluate(rego, &["data.a.allow"]) {
            Answer::Trouble(trouble) => assert_eq!(trouble.to_string(), says),
            other => panic!("{other:?}"),
        }
    }

    #[rstest]
    #[case::function("package a\nallow if foo(1)", "x.rego:2:13: could not find function foo, in `allow if foo(1)`")]
    #[case::built_in("package a\nallow := regex.match(\"[\", \"x\")", "x.rego:2:23: invalid regex")]
    #[case::conversion("package a\nallow if to_number(\"abc\") > 1", "x.rego:2:")]
    #[case::conflict("package a\nallow := 1\nallow := 2", "x.rego:3:")]
    #[case::division("package a\nallow if 1 / 0 == 1", "x.rego:2:")]
    fn says_where_an_evaluation_failed(#[case] rego: &str, #[case] says: &str) {
        match evaluate(rego, &["data.a.allow"]) {
            Answer::Values(values) => {
                let error = values.into_iter().next().unwrap().unwrap_err().to_string();
                assert!(error.starts_with(says), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
}
