//! Any JSON as the input of the ready conditions: each holds, does not hold, or says why it cannot tell.
#![no_main]
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "what fails here is a finding")]

use action_runner::conditions::library;
use action_runner::conditions::sandbox::child::{Answer, Task, answer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    if serde_json::from_str::<serde_json::Value>(input).is_err() {
        return;
    }
    for name in library::names() {
        let Some(module) = library::module(name) else { panic!("{name} is listed, and not there") };
        let rules = vec![format!("data.conditions.{name}.allow"), format!("data.conditions.{name}.reasons")];
        let Answer::Values(values) = answer(&Task { modules: library::with_shared(vec![module]), rules }, input) else {
            panic!("{name} was not evaluated");
        };
        for value in values {
            match value {
                Ok(None) => {}
                Ok(Some(value)) => assert!(value.is_boolean() || value.is_array(), "{name}: {value}"),
                Err(trouble) => assert!(!trouble.message.is_empty(), "{name}: {trouble:?}"),
            }
        }
    }
});
