//! Reads a variable's text, or that of the file which another variable names. No error shows a value: what stands in the
//! wrong variable, or in the wrong file, may be a secret.

use std::fs::File;
use std::io::Read;

use contract::parse::LARGEST;
use contract::text::has_commands;

use super::set;

/// Returns the text, from the variable or the file (`<variable>_FILE`); `None` when neither is set.
pub(super) fn read(
    name: &str,
    variable: Option<&String>,
    file: Option<&String>,
    problems: &mut Vec<String>,
) -> Option<String> {
    let inline = set(variable.map(String::as_str));
    let Some(path) = set(file.map(String::as_str)) else {
        return inline.map(str::to_owned);
    };
    if inline.is_some() {
        problems.push(format!("{name}, {name}_FILE: expected one of them, got both"));
    }
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST as u64 + 1).read_to_string(&mut text));
    if let Err(error) = read {
        problems.push(format!("{name}_FILE: failed to read the file that it names: {error}"));
        return None;
    }
    Some(text)
}

/// Returns the text of `ACTION_REASON`. A terminal shows it (`kubectl rollout history`), and must not be commanded by it.
pub(super) fn reason(text: Option<&str>, problems: &mut Vec<String>) -> Option<String> {
    const LONGEST: usize = 256;
    let text = set(text)?;
    let length = text.chars().count();
    if length > LONGEST {
        problems.push(format!("ACTION_REASON: expected at most {LONGEST} characters, has {length}"));
        return None;
    }
    if has_commands(text) {
        problems.push(
            "ACTION_REASON: expected one line without control characters (line breaks, escape sequences, marks of the \
             writing direction): terminals show it"
                .to_owned(),
        );
        return None;
    }
    Some(text.to_owned())
}
