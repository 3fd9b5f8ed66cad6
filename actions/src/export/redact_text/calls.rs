//! Calls whose values have no names: `login('bob', 'x')`, and PHP's stack traces, which show what each function was given.

use super::harmless::harmless;
use super::text::{Quote, Span, at, blanks, goes_on, in_name, part, run};
use super::values::Value;

/// Functions that take a password, by a part of their names, and its place among what they are given.
const TAKES: [(&str, usize); 8] = [
    ("pdo", 2),
    ("mysqli", 2),
    ("connect", 2),
    ("_bind", 2),
    ("ftp_login", 2),
    ("login", 1),
    ("auth", 1),
    ("attempt", 1),
];

/// Functions whose first value is the password.
const FIRST: [&str; 3] = ["password", "passwd", "secret"];

/// The longest list of values.
const LONGEST: usize = 1 << 10;

/// Returns the password of the call that stands here.
pub(super) fn password(text: &[u8], hit: Span) -> Option<Span> {
    if goes_on(text, hit.0, b"ogin(") {
        return argument(text, hit.1, 1);
    }
    // `#0 /srv/db.php(12): PDO->__construct('…', 'root', 'x')`
    let line = run(part(text, (0, hit.1 + 8)), hit.1, |byte| byte.is_ascii_digit());
    let start = if line > hit.1 && goes_on(text, line, b"): ") { line + 3 } else { return None };
    let end = run(part(text, (0, start + 128)), start, |byte| in_name(byte) || matches!(byte, b'\\' | b':' | b'>'));
    let name = part(text, (start, end)).to_ascii_lowercase();
    let has = |one: &str| memchr::memmem::find(&name, one.as_bytes()).is_some();
    let place = if FIRST.iter().any(|one| has(one)) {
        0
    } else {
        TAKES.iter().find(|(one, _)| has(one)).map(|(_, place)| *place)?
    };
    // `login` is also asked by its own text.
    (at(text, end) == b'(').then(|| argument(text, end + 1, place))?
}

/// Returns what stands in quotes at that place of a list of values.
fn argument(text: &[u8], from: usize, place: usize) -> Option<Span> {
    let near = part(text, (0, from + LONGEST));
    let mut from = from;
    for index in 0..=place {
        from = blanks(near, from);
        let quote = Quote::open(near, from);
        let Some(quote) = quote else {
            if index == place {
                return None;
            }
            from = bare(near, from)? + 1;
            continue;
        };
        let (to, end) = quote.close(near, near.len())?;
        if index == place {
            let value = Value { span: (quote.end, to), closed: true };
            return (matches!(at(near, end), b',' | b')') && !harmless(text, value, false)).then_some(value.span);
        }
        if at(near, end) != b',' {
            return None;
        }
        from = end + 1;
    }
    None
}

/// Returns the comma behind a value without quotes: `NULL`, `Object(LDAP\Connection)`.
fn bare(text: &[u8], from: usize) -> Option<usize> {
    let end = run(text, from, |byte| !matches!(byte, b',' | b'(' | b')' | b'"' | b'\''));
    let end = if at(text, end) == b'(' { run(text, end, |byte| byte != b')') + 1 } else { end };
    (at(text, end) == b',').then_some(end)
}
