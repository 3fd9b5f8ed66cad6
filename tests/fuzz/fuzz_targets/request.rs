//! Any environment: `NAME=value` lines. Every problem names its variable; what is understood is understood again.
#![no_main]
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "what fails here is a finding")]

use std::collections::BTreeMap;
use std::ffi::OsString;

use action_runner::request::Request;
use actions::action::Action;
use actions::action::parse::Parameters;
use actions::catalogue::{Visitor, with_action};
use contract::condition;
use contract::variables::VARIABLES;
use libfuzzer_sys::fuzz_target;

/// Those that lead to files, which a fuzzer must not choose.
const FILES: [&str; 6] = [
    "ACTION_PARAMETERS_FILE",
    "ACTION_PRECONDITIONS_FILE",
    "ACTION_POSTCONDITIONS_FILE",
    "ACTION_POLICY_DIR",
    "KUBECONFIG",
    "HOME",
];

fuzz_target!(|text: &str| {
    let mut variables: BTreeMap<String, String> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .filter(|(name, value)| !FILES.contains(&name.as_str()) && !name.is_empty() && !value.contains('\0'))
        .collect();
    let request = read(&variables);
    for problem in &request.problems {
        let mut names = VARIABLES.iter().map(|one| one.name).chain(variables.keys().map(String::as_str));
        let known = names.any(|name| problem.starts_with(name));
        assert!(known, "no variable is named in {problem:?}");
    }
    let Some(verb) = request.verb else {
        assert!(!request.problems.is_empty(), "nothing is to be done, and nothing is wrong");
        return;
    };
    with_action(verb, request.kind, Again(&request.parameters));
    for name in ["ACTION_PRECONDITIONS", "ACTION_POSTCONDITIONS"] {
        if let Some(text) = variables.get(name) {
            // What is wrong with it is among the problems.
            let _checked = condition::parse(name, text);
        }
    }
    if request.problems.is_empty() {
        variables.insert("ACTION_TYPE".to_owned(), request.action_type().unwrap_or_default());
        let again = read(&variables);
        assert_eq!((again.verb, again.kind), (request.verb, request.kind));
        assert_eq!(again.action_type(), request.action_type());
    }
});

fn read(variables: &BTreeMap<String, String>) -> Request {
    Request::read(variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))))
}

struct Again<'a>(&'a str);

impl Visitor for Again<'_> {
    type Output = ();

    /// Parameters that are taken stay the same when they are written down and read again.
    fn visit<A: Action>(self) {
        match Parameters::<A>::parse(self.0) {
            Ok(parameters) => {
                let written = parameters.to_value();
                let again = Parameters::<A>::parse(&written.to_string());
                let again = again.map(|again| again.to_value());
                assert_eq!(again, Ok(written));
            }
            Err(problems) => {
                assert!(problems.iter().all(|problem| problem.starts_with("ACTION_PARAMETERS")), "{problems:?}");
            }
        }
    }
}
