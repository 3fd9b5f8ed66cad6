//! Headers with cookies: their names and attributes stay, their values go.

use super::name::Name;
use super::names::{Says, says};
use super::schemes::{close, opened};
use super::text::{Quote, REPLACEMENT, Span, at, blanks, part, run, scrambled, trimmed};

/// A header is looked at so far before it is known to hold a cookie.
const FIRST_LOOK: usize = 4 << 10;

/// What a server says of a cookie beside its value.
const ATTRIBUTES: [&[u8]; 10] = [
    b"path",
    b"domain",
    b"expires",
    b"max-age",
    b"samesite",
    b"secure",
    b"httponly",
    b"priority",
    b"version",
    b"partitioned",
];

/// Cookies that say what somebody likes to see.
const TASTES: [&[u8]; 10] = [
    b"theme",
    b"lang",
    b"language",
    b"locale",
    b"tz",
    b"timezone",
    b"currency",
    b"country",
    b"consent",
    b"color-scheme",
];

/// Takes the values of the header whose name is around this place, and returns where to look on.
pub(super) fn values(text: &[u8], hit: Span, all: &mut Vec<Span>) -> usize {
    let name = Name::around(text, hit);
    let on = name.span.1.max(hit.0 + 1);
    let Some(from) = name.value(text).filter(|_| says(name.text) == Some(Says::Header)) else { return on };
    let list = at(text, from) == b'[';
    let (mut start, mut open) = opened(text, from);
    let near = part(text, (0, start + FIRST_LOOK));
    let first = part(near, (start, close(near, start, open)));
    let pair = first.contains(&b'=') || scrambled(first) || first.starts_with(REPLACEMENT.as_bytes());
    if first.len() < 3 || !pair {
        return on;
    }
    loop {
        let end = close(text, start, open);
        of_header(text, (start, end), all);
        let next = open.filter(|_| list).and_then(|quote| quote.again(text, end)).map_or(end, |to| blanks(text, to));
        let item = if at(text, next) == b',' { Quote::open(text, blanks(text, next + 1)) } else { None };
        match item.filter(|_| list && next > end) {
            Some(quote) => (start, open) = (quote.end, Some(quote)),
            None => return end.max(on),
        }
    }
}

/// Takes the values of one header.
fn of_header(text: &[u8], (from, end): Span, all: &mut Vec<Span>) {
    let head = part(text, (0, end));
    if !part(text, (from, end)).contains(&b'=') {
        all.push((from, end));
        return;
    }
    let mut from = from;
    while from < end {
        let start = run(head, from, |byte| matches!(byte, b' ' | b'\t' | b';' | b','));
        let stop = cookie_end(head, start);
        let sign = run(part(head, (0, stop)), start, |byte| byte != b'=');
        let value = if sign < stop { (sign + 1, trimmed(part(head, (0, stop)))) } else { (start, stop) };
        let own = part(head, value);
        let harmless = if sign < stop {
            says_nothing(part(head, (start, sign)), own)
        } else {
            !scrambled(own) || own.to_ascii_lowercase().starts_with(b"httponly")
        };
        if !harmless && value.1 > value.0 {
            all.push(value);
        }
        from = stop.max(from + 1);
    }
}

/// Returns the end of a cookie: a semicolon, or a comma behind which another one begins (servers' headers are joined so).
fn cookie_end(text: &[u8], from: usize) -> usize {
    let mut index = from;
    loop {
        index = run(text, index, |byte| !matches!(byte, b';' | b','));
        if at(text, index) != b',' {
            return index;
        }
        let name = blanks(text, index + 1);
        let sign = run(text, name, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
        if sign > name && at(text, sign) == b'=' {
            return index;
        }
        index += 1;
    }
}

fn says_nothing(name: &[u8], value: &[u8]) -> bool {
    let is = |names: &[&[u8]]| names.iter().any(|one| name.eq_ignore_ascii_case(one));
    is(&ATTRIBUTES) || is(&TASTES) && value.len() <= 24 && !scrambled(value)
}
