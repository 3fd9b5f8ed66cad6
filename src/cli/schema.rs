//! JSON Schemas, generated from the types themselves.

use actions::action::{Action, parse};
use actions::catalogue::{Visitor, with_action};
use contract::result::ActionResult;
use schemars::Schema;

use crate::conditions::input::ConditionInput;

struct Schemas {
    output: bool,
}

impl Visitor for Schemas {
    type Output = Schema;
    fn visit<A: Action>(self) -> Schema {
        if self.output { schemars::schema_for!(A::Details) } else { parse::schema::<A>() }
    }
}

/// The schema of an action's parameters, or of its details; `result` is the whole result's.
pub fn text(action: &str, output: bool) -> Result<String, String> {
    let schema = if action == "result" {
        schemars::schema_for!(ActionResult)
    } else if action == "condition-input" {
        schemars::schema_for!(ConditionInput)
    } else {
        let action_types = super::known(action)?;
        let one = action_types.first().ok_or("unknown action")?;
        // A bare `restart` is the one of workloads; `restart-pod` has parameters of its own.
        with_action(one.verb, Some(one.kind), Schemas { output })
    };
    serde_json::to_string_pretty(&schema).map(|text| text + "\n").map_err(|error| error.to_string())
}
