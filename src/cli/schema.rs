//! Prints JSON Schemas, generated from the types themselves.

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

/// Returns the schema of an action's parameters or of its details; of the whole result for `result`.
pub fn text(action: &str, output: bool) -> Result<String, String> {
    let schema = if action == "result" {
        schemars::schema_for!(ActionResult)
    } else if action == "condition-input" {
        schemars::schema_for!(ConditionInput)
    } else {
        let action_types = super::known(action)?;
        let one = action_types.first().ok_or("unknown action")?;
        // A bare `restart` means the one for workloads; `restart-pod` has its own parameters.
        with_action(one.verb, Some(one.kind), Schemas { output })
    };
    serde_json::to_string_pretty(&schema).map(|text| text + "\n").map_err(|error| error.to_string())
}
