//! `ACTION_POLICIES`: the modules of a policy in the variable itself. A controller passes its operator's policy so, which no
//! object in the Job's namespace can change.

use contract::parse::told;
use serde_json::{Map, Value};

use super::module::Module;

/// Reads a JSON object of file names and their texts.
pub fn read(text: &str) -> Result<Vec<Module>, String> {
    let expected =
        "expected a JSON object of file names and their Rego, such as {\"night.rego\":\"package action.policy\"}";
    let files: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| format!("{expected} ({})", told(&error)))?;
    let module = |(name, text): (String, Value)| match text {
        Value::String(text) => Ok(Module { name, text }),
        _ => Err(format!("{expected}; one of them is no text")),
    };
    let modules: Vec<Module> = files.into_iter().map(module).collect::<Result<_, _>>()?;
    if modules.is_empty() { Err("it is set, and holds no file".to_owned()) } else { Ok(modules) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_files_by_their_names() {
        let modules = read(r#"{"b.rego":"package action.policy","a.rego":"package x"}"#).unwrap();
        let names: Vec<_> = modules.iter().map(|module| module.name.as_str()).collect();
        assert_eq!(names, ["a.rego", "b.rego"]);
    }

    /// Whoever sets it wants a policy: what is none must not read as "everything may pass".
    #[test]
    fn what_holds_nothing_is_an_error() {
        for (text, says) in [
            ("", "expected a JSON object"),
            ("{}", "holds no file"),
            (r#"{"a":1}"#, "one of them is no text"),
            (r#""hunter22""#, "invalid type: string, expected an object"),
            ("[]", "expected"),
        ] {
            assert!(read(text).unwrap_err().contains(says), "{text}");
        }
    }
}
