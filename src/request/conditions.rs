//! Parses `ACTION_PRECONDITIONS` and `ACTION_POSTCONDITIONS`.

use contract::condition::{self, Condition};

/// Returns the conditions of a variable; an empty list when it is not set.
pub(super) fn read(name: &str, text: Option<&str>, problems: &mut Vec<String>) -> Vec<Condition> {
    let Some(text) = text else { return Vec::new() };
    if text.trim().is_empty() {
        problems.push(format!("{name}_FILE: the file is empty; no conditions are written as []"));
        return Vec::new();
    }
    condition::parse(name, text).unwrap_or_else(|more| {
        problems.extend(more);
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_no_empty_list() {
        let mut problems = Vec::new();
        assert!(read("X", None, &mut problems).is_empty() && problems.is_empty());
        assert!(read("X", Some(" "), &mut problems).is_empty());
        assert_eq!(problems, ["X_FILE: the file is empty; no conditions are written as []"]);
    }
}
