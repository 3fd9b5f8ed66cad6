//! Values: where one begins and ends, and which are no secrets whatever stands before them.

use super::text::{
    Quote, REPLACEMENT, Span, after_any, at, before, blanks, ends_value, find, goes_on, in_name, is_replaced, part,
    run, run_back,
};

/// What ends a value that has no quotes, by where it stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Until {
    /// A blank, or a sign that separates.
    Blank,
    /// The end of the line: YAML.
    Line,
    /// The next sign that is spelt as in addresses, like the one before it: `%26`.
    Escape,
    /// A semicolon, if there is one: values of connection strings have blanks.
    Semicolon,
    /// The next tag.
    Tag,
}

/// A value, and whether quotes or brackets say where it ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value {
    pub span: Span,
    pub closed: bool,
}

/// Returns the value that begins here.
pub(super) fn value(text: &[u8], from: usize, until: Until) -> Option<Value> {
    let from = inner(text, from);
    if goes_on(text, from, REPLACEMENT.as_bytes()) {
        return Some(plain(text, from, until));
    }
    if let Some(mark) = ["\"\"\"", "'''"].iter().find(|mark| goes_on(text, from, mark.as_bytes())) {
        let to = find(text, from + 3, mark.as_bytes());
        if to.is_some() || !matches!(at(text, from + 3), 0 | b',' | b';' | b' ') {
            return Some(Value { span: (from + 3, to.unwrap_or_else(|| last(text, from + 3))), closed: true });
        }
    }
    if let Some(quote) = Quote::open(text, from) {
        let to = quote.close(text, text.len()).map_or_else(|| last(text, quote.end), |(to, _)| to);
        return Some(Value { span: (quote.end, to), closed: true });
    }
    match at(text, from) {
        b'[' => {
            let list = list(text, from).filter(|list| list.span.1 == from || ends_value(at(text, list.span.1 + 1)));
            Some(list.unwrap_or_else(|| plain(text, from, until)))
        }
        b'{' | 0 => None,
        b'|' | b'>' if until == Until::Line && last(text, from) - from <= 2 => None,
        _ => Some(plain(text, from, until)),
    }
}

/// Returns the end of the line, without what ends a line.
fn last(text: &[u8], from: usize) -> usize {
    text.len() - part(text, (from, text.len())).iter().rev().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// Steps into what stands around a value in programs' own notations: `Some("x")`, `b'x'`, `&"x"`, `(string) (len=7) "x"`.
fn inner(text: &[u8], from: usize) -> usize {
    let mut from = from;
    for _ in 0..3 {
        let Some(end) = after_any(text, from, &["(string) ", "(len=", "!!str ", "!!binary "]) else { break };
        let digits = run(text, end, |byte| byte.is_ascii_digit());
        from = if digits > end { after_any(text, digits, &[") "]).unwrap_or(from) } else { end };
    }
    let signs = run(text, from, |byte| matches!(byte, b'&' | b'*' | b'@' | b'$'));
    let word = run(part(text, (0, signs + 25)), signs, |byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let bracket = if at(text, word) == b'(' { word + 1 } else { word };
    let letters = part(text, (signs, word)).to_ascii_lowercase();
    // `getenv("PASSWORD")` says where it is.
    let near = bracket > word && word - signs <= 24 && !letters.ends_with(b"env")
        || ["", "b", "u", "r", "f", "n", "e", "rb", "br"].iter().any(|one| one.as_bytes() == letters);
    let quoted = matches!(at(text, bracket), b'"' | b'\'') || at(text, bracket) == b'\\' && bracket > word;
    if near && quoted && bracket > from { bracket } else { from }
}

/// A list's items, unless there are objects among them, which have names of their own.
fn list(text: &[u8], from: usize) -> Option<Value> {
    const LONGEST: usize = 4 << 10;
    let text = part(text, (0, from + LONGEST));
    let (mut depth, mut index) = (0_usize, from);
    while index < text.len() {
        if let Some(quote) = Quote::open(text, index) {
            index = quote.close(text, text.len())?.1;
            continue;
        }
        match at(text, index) {
            b'[' => depth += 1,
            b'{' => return Some(Value { span: (from, from), closed: true }),
            b']' if depth == 1 => return Some(Value { span: (from + 1, index), closed: true }),
            b']' => depth -= 1,
            _ => {}
        }
        index += 1;
    }
    None
}

/// A value without quotes.
fn plain(text: &[u8], from: usize, until: Until) -> Value {
    if until == Until::Line {
        let comment = find(text, from, b" #").unwrap_or(text.len());
        let end = last(text, from).min(comment);
        let shut = end.max(from);
        return Value { span: (from, shut), closed: true };
    }
    if until == Until::Tag {
        return Value { span: (from, run(text, from, |byte| byte != b'<')), closed: true };
    }
    let first = if goes_on(text, from, REPLACEMENT.as_bytes()) { from + REPLACEMENT.len() } else { from };
    let mut index = first;
    while !ends(text, from, index, until) {
        index += 1;
    }
    Value { span: (from, index), closed: false }
}

/// Returns whether a value without quotes ends before this byte.
fn ends(text: &[u8], from: usize, index: usize, until: Until) -> bool {
    let next = || at(text, index + 1);
    match at(text, index) {
        0 => index >= text.len() || next() == 0,
        b' ' if until == Until::Semicolon => !field_goes_on(text, index),
        byte if byte.is_ascii_whitespace() => true,
        b'"' | b'\'' | b'`' => ends_value(next()) || until == Until::Escape,
        b'\\' => {
            // Of backslashes in a row the first one is asked.
            let first = index == from || at(text, index - 1) != b'\\';
            let mark = if first { run(text, index, |byte| byte == b'\\') } else { index + 1 };
            let quoted = first && matches!(at(text, mark), b'"' | b'\'') && ends_value(at(text, mark + 1));
            quoted
                || matches!(next(), b'n' | b'r') && name_follows(text, index + 2)
                || after_any(text, index, &["\\r\\n", "\\u0026", "\\u003c", "\\u003e", "\\u0022", "\\u0027"]).is_some()
                || next() == b'n' && at(text, index + 2) == 0
        }
        b'&' => {
            index > from && (ends_value(next()) || name_follows(text, index + 1))
                || after_any(text, index, &["&amp;", "&quot;", "&#"]).is_some()
        }
        b',' | b';' | b'|' => ends_value(next()) || matches!(next(), b'{' | b'[') || name_follows(text, index + 1),
        b')' | b']' | b'}' => index > from && ends_value(next()) && !is_replaced(text, index + 1),
        b'>' => ends_value(next()),
        b'<' => at(text, index + 1) == b'/' || at(text, index + 1).is_ascii_alphabetic() && index > from,
        b'%' => {
            until == Until::Escape
                && after_any(text, index, &["%26", "%22", "%27", "%20", "%0", "%3B", "%2C"]).is_some()
        }
        _ => false,
    }
}

/// Returns whether behind a space the same field goes on: before another name there is a semicolon.
fn field_goes_on(text: &[u8], from: usize) -> bool {
    const FAR: usize = 64;
    let end = run(part(text, (0, from + FAR)), from, |byte| !matches!(byte, b';' | b'"' | b'\'' | b'=' | b'\\'));
    let name = run(part(text, (0, end + FAR)), end + 1, |byte| in_name(byte) || byte == b' ');
    at(text, end) == b';' && at(text, end + 1) != b' ' && name > end + 1 && at(text, name) == b'='
}

/// The longest name that is looked for behind a value.
const LONGEST_NAME: usize = 48;

/// Returns whether a name and its sign stand here.
fn name_follows(text: &[u8], from: usize) -> bool {
    let from = blanks(text, from);
    let end = run(part(text, (0, from + LONGEST_NAME)), from, |byte| in_name(byte) || matches!(byte, b'[' | b']'));
    let sign = matches!(at(text, end), b'=' | b':') || goes_on(text, end, b"%3D");
    end > from && sign
}

/// Returns whether only blanks (and a list's hyphen, a comment's mark, or the time that the API server puts there) stand before
/// this place.
pub(super) fn begins_line(text: &[u8], from: usize) -> bool {
    let start = run_back(text, from, 64, |byte| matches!(byte, b' ' | b'\t' | b'-'));
    start == 0
        || start <= 40 && before(text, start) == b'Z' && start == run(text, 0, |byte| !byte.is_ascii_whitespace())
}
