//! `INSERT INTO users (name, password) VALUES ('bob', 'x'), (…)`: which value has which name is a matter of places.

use super::harmless::harmless;
use super::names::{Says, says};
use super::text::{Quote, Span, after_any, at, before, blanks, find, goes_on, in_name, part, run, run_back};
use super::values::Value;

/// The longest list of columns, before and behind the name that was seen, and the longest values that are looked through.
const LONGEST_LIST: usize = 1 << 10;
const LONGEST_VALUES: usize = 16 << 10;

/// Takes the values of the columns whose names are secrets', if the name there is one of such a list; returns how far was
/// looked.
pub(super) fn values(text: &[u8], name: Span, all: &mut Vec<Span>) -> Option<usize> {
    let listed = |byte: u8| in_name(byte) || matches!(byte, b',' | b' ' | b'`' | b'"' | b'[' | b']' | b'\\');
    let end = run(part(text, (0, name.1 + 8)), name.1, |byte| matches!(byte, b'`' | b'"' | b']' | b' ' | b'\\'));
    if !matches!(at(text, end), b',' | b')') {
        return None;
    }
    let start = run_back(text, name.0, LONGEST_LIST, listed);
    if before(text, start) != b'(' || !is_insert(text, start - 1) {
        return None;
    }
    let close = run(part(text, (0, end + LONGEST_LIST)), end, listed);
    let word = blanks(text, close + 1);
    let from = after_any(text, word, &["values"]).filter(|_| at(text, close) == b')')?;
    let secret: Vec<bool> = part(text, (start, close)).split(|byte| *byte == b',').map(is_secret).collect();
    Some(rows(part(text, (0, from + LONGEST_VALUES)), from, &secret, all))
}

/// Returns whether a list of columns of `INSERT INTO table` begins here.
fn is_insert(text: &[u8], bracket: usize) -> bool {
    let head = part(text, (bracket.saturating_sub(96), bracket)).to_ascii_lowercase();
    find(&head, 0, b"into ").is_some()
}

fn is_secret(column: &[u8]) -> bool {
    let name = |byte: &u8| in_name(*byte);
    let from = column.iter().position(name).unwrap_or(0);
    let to = column.iter().rposition(name).map_or(0, |last| last + 1);
    says(part(column, (from, to))).is_some_and(|says| says != Says::Perhaps)
}

/// Takes the values of some columns of all rows, and returns where the rows end.
fn rows(text: &[u8], from: usize, secret: &[bool], all: &mut Vec<Span>) -> usize {
    let mut from = blanks(text, from);
    while at(text, from) == b'(' {
        from += 1;
        for secret in secret {
            from = blanks(text, from);
            let quote = Quote::open(text, if matches!(at(text, from), b'N' | b'E') { from + 1 } else { from });
            let (value, end) = if let Some(quote) = quote {
                let (to, end) = quote.close(text, text.len()).unwrap_or((text.len(), text.len()));
                (Value { span: (quote.end, to), closed: true }, end)
            } else {
                let end = run(text, from, |byte| !matches!(byte, b',' | b')' | b'(' | b'\''));
                (Value { span: (from, end), closed: false }, end)
            };
            if *secret && value.closed && !harmless(text, value, false) {
                all.push(value.span);
            }
            // What is computed has brackets of its own: its place is not looked for.
            from = blanks(text, end);
            if at(text, from) != b',' {
                break;
            }
            from += 1;
        }
        if !goes_on(text, from, b")") {
            return from;
        }
        from = blanks(text, from + 1);
        if at(text, from) == b',' {
            from = blanks(text, from + 1);
        }
    }
    from
}
