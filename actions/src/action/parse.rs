//! Parses the parameters of an action strictly, and those that say how to wait, which belong to the run.

use contract::parse;
use contract::waiting::WaitOptions;
use schemars::Schema;
use serde_json::{Map, Value};

use super::Action;

/// The variable that holds the parameters.
const VARIABLE: &str = "ACTION_PARAMETERS";

/// An action with its parameters, and the options for waiting.
#[derive(Debug)]
pub struct Parameters<A> {
    /// The action.
    pub action: A,
    /// Options for waiting.
    pub wait: WaitOptions,
}

impl<A: Action> Parameters<A> {
    /// Parses the parameters, or returns everything that is wrong with them.
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        parse::check(VARIABLE, text, &A::example(), &fields::<A>())?;
        match (parse::read::<A>(VARIABLE, text), parse::read::<WaitOptions>(VARIABLE, text)) {
            (Ok(action), Ok(wait)) => Ok(Self { action, wait }),
            (action, wait) => {
                let mut problems: Vec<String> = action.err().into_iter().chain(wait.err()).collect();
                problems.dedup();
                Err(problems)
            }
        }
    }

    /// Returns all parameters after defaults, as results show them.
    pub fn to_value(&self) -> Value {
        let object = |value: serde_json::Result<Value>| match value {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        let mut fields = object(serde_json::to_value(&self.action));
        let waiting = object(serde_json::to_value(self.wait));
        fields.extend(waiting.into_iter().filter(|(field, _)| A::WAITS.fields().contains(&field.as_str())));
        Value::Object(fields)
    }
}

/// Returns the names of all fields, in alphabetical order.
pub fn fields<A: Action>() -> Vec<String> {
    let mut all = parse::fields::<A>();
    all.extend(A::WAITS.fields().iter().map(|field| (*field).to_owned()));
    all.sort();
    all
}

/// Returns the schema of all fields.
pub fn schema<A: Action>() -> Schema {
    let mut schema = schemars::schema_for!(A);
    let waiting = schemars::schema_for!(WaitOptions);
    for part in ["properties", "$defs"] {
        let Some(more) = waiting.get(part).and_then(Value::as_object) else { continue };
        // The only definition is the one of `terminating`.
        let known = |name: &str| A::WAITS.fields().contains(&if part == "$defs" { "terminating" } else { name });
        let more: Map<String, Value> =
            more.iter().filter(|(name, _)| known(name)).map(|(name, field)| (name.clone(), field.clone())).collect();
        let all = schema.ensure_object().entry(part).or_insert_with(|| Value::Object(Map::new()));
        if let Some(all) = all.as_object_mut() {
            all.extend(more);
        }
    }
    if let Some(wait) = schema.pointer_mut("/properties/wait/description") {
        *wait = Value::from(A::WAITS.meaning());
    }
    if schema.get("$defs").and_then(Value::as_object).is_some_and(Map::is_empty) {
        schema.remove("$defs");
    }
    schema.insert("additionalProperties".to_owned(), Value::Bool(false));
    schema
}
