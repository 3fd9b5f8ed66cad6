//! Secrets that stand on other lines than their names: YAML's blocks and lists, and the `value:` under a `name:`.

use super::harmless::harmless;
use super::names::{Says, says};
use super::text::{Span, at, behind_time, blanks, goes_on, in_name, part, run, trimmed};
use super::values::{Until, value};

/// The most lines of a block.
const LONGEST: usize = 250;

#[derive(Debug, Default)]
enum State {
    #[default]
    Outside,
    /// Behind a secret's name that ended its line, which was so deep; a text's block takes everything that is deeper.
    Under { depth: usize, text: bool, lines: usize },
    /// Behind `name: DB_PASSWORD`.
    Named,
}

/// Follows a log's YAML line by line.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    state: State,
}

impl Blocks {
    /// Returns the part of a line that belongs to a name above it.
    pub(super) fn hide(&mut self, line: &[u8]) -> Option<Span> {
        if matches!(self.state, State::Outside) {
            return None;
        }
        let start = behind_time(line);
        let from = blanks(line, start);
        let to = trimmed(line);
        match &mut self.state {
            State::Outside => None,
            State::Named => {
                self.state = State::Outside;
                let field = ["value: ", "\"value\": "].iter().find(|one| goes_on(line, from, one.as_bytes()))?;
                let found = value(line, blanks(line, from + field.len()), Until::Line)?;
                (!harmless(line, found, false)).then_some(found.span)
            }
            State::Under { depth, text, lines } => {
                *lines += 1;
                let item =
                    goes_on(line, from, b"- ") || at(line, from) == b'"' && at(line, to.saturating_sub(1)) != b':';
                let deeper = from > start + *depth || item && from == start + *depth && !*text;
                let (over, blank) = (*lines > LONGEST, from >= to);
                if blank && !over {
                    return None;
                }
                if over || !deeper || !*text && has_fields(line, from) {
                    self.state = State::Outside;
                    return None;
                }
                let own = if item { blanks(line, from + 1).max(from) } else { from };
                let own = if goes_on(line, from, b"- ") { own } else { from };
                Some((own, to)).filter(|(own, to)| to > own && part(line, (*own, *to)) != b"]")
            }
        }
    }

    /// Looks whether a line, without its secrets, begins a block.
    pub(super) fn follow(&mut self, line: &[u8]) {
        let start = behind_time(line);
        let from = blanks(line, start);
        let item = if goes_on(line, from, b"- ") { blanks(line, from + 2) } else { from };
        let to = trimmed(line);
        if let Some(text) = opens(line, item, to) {
            self.state = State::Under { depth: from - start, text, lines: 0 };
        } else if named(line, item, to) {
            self.state = State::Named;
        }
    }
}

/// Returns whether a secret's name ends the line, and whether it announces a text: `password: |`.
fn opens(line: &[u8], from: usize, to: usize) -> Option<bool> {
    if !matches!(at(line, to.checked_sub(1)?), b':' | b'|' | b'>' | b'-' | b'+' | b'[' | b'1'..=b'9') {
        return None;
    }
    let quoted = matches!(at(line, from), b'"' | b'\'');
    let from = from + usize::from(quoted);
    let name = run(line, from, in_name);
    let colon = name + usize::from(quoted);
    if name == from || at(line, colon) != b':' {
        return None;
    }
    let sign = part(line, (blanks(line, colon + 1), to));
    let text = matches!(sign.first(), Some(b'|' | b'>')) && sign.len() <= 3;
    let known = matches!(says(part(line, (from, name))), Some(Says::Secret | Says::Several));
    (known && (text || sign.is_empty() || sign == b"[")).then_some(text)
}

/// Returns whether the line is a field `name` whose value is a secret's name.
fn named(line: &[u8], from: usize, to: usize) -> bool {
    if !matches!(at(line, from), b'n' | b'k' | b'"') {
        return false;
    }
    let Some(field) = ["name: ", "key: ", "\"name\": "].iter().find(|one| goes_on(line, from, one.as_bytes())) else {
        return false;
    };
    let own = part(line, (from + field.len(), to));
    let own = own.strip_suffix(b",").unwrap_or(own);
    let own = own.strip_prefix(b"\"").and_then(|own| own.strip_suffix(b"\"")).unwrap_or(own);
    own.iter().all(|byte| in_name(*byte)) && says(own).is_some_and(|says| says != Says::Perhaps)
}

/// Returns whether a line has names of its own.
fn has_fields(line: &[u8], from: usize) -> bool {
    let from = if goes_on(line, from, b"- ") { blanks(line, from + 2) } else { from };
    let name = run(line, from, |byte| in_name(byte) || matches!(byte, b'"' | b'\'' | b'/'));
    name > from && at(line, name) == b':' && matches!(at(line, name + 1), b' ' | 0 | b'\r')
        || matches!(at(line, from), b'{' | b'}')
}
