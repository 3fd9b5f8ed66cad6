//! JSON Schemas, generated from the types themselves.

use actions::action::Action;
use actions::{Visitor, with_action};
use schemars::Schema;

use crate::conditions::input::ConditionInput;
use crate::result::ActionResult;

struct Schemas {
    output: bool,
}

impl Visitor for Schemas {
    type Output = Schema;
    fn visit<A: Action>(self) -> Schema {
        if self.output { schemars::schema_for!(A::Details) } else { schemars::schema_for!(A) }
    }
}

/// The schema of an action's parameters, or of its details; `result` is the whole result's.
pub fn text(action: &str, output: bool) -> Result<String, String> {
    let schema = if action == "result" {
        schemars::schema_for!(ActionResult)
    } else if action == "condition-input" {
        schemars::schema_for!(ConditionInput)
    } else {
        let entries = super::known(action)?;
        let entry = entries.first().ok_or("unknown action")?;
        // A bare `restart` is the one of workloads; `restart-pod` has parameters of its own.
        with_action(entry.verb, Some(entry.kind), Schemas { output })
    };
    serde_json::to_string_pretty(&schema).map(|text| text + "\n").map_err(|error| error.to_string())
}
