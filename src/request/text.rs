//! Reads a variable's text, or that of the file which another variable names.

use std::fs::File;
use std::io::Read;

use contract::parse::LARGEST;

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
        problems.push(format!("{name}_FILE: failed to read {path:?}: {error}"));
        return None;
    }
    Some(text)
}
