//! What stands around a name, and makes it one, or another one.

use super::name::{Name, Sign};
use super::names::{Says, says};
use super::nearby::is_mixed;
use super::text::{Span, after_any, at, before, ends_like, find, goes_on, part, run, run_back, scrambled};
use super::values::Until;

/// The longest word before a name.
const LONGEST: usize = 96;

/// Returns whether what stands behind three or four letters can make them a name.
pub(super) fn short(text: &[u8], hit: Span) -> bool {
    let next = at(text, hit.1 + 1);
    let psk = at(text, hit.1 - 1) | 0x20 == b'k';
    match at(text, hit.1) {
        b' ' if psk => next != b'[',
        b'=' | b':' | b'"' | b'\'' | b'%' | b'\\' | b'>' | b']' => true,
        b' ' => matches!(next, b'"' | b'\'' | b'=' | b':') || after_any(text, hit.1 + 1, &["is ", "was "]).is_some(),
        b'_' => goes_on(text, hit.0, b"code_verifier"),
        b's' => at(text, hit.0) == b'c' && matches!(next, b'"' | b':' | b'='),
        _ => false,
    }
}

/// Returns what a name says together with the word before it: `Unseal Key: x`, `Your verification code is 123456`.
pub(super) fn of_two_words(text: &[u8], name: &Name<'_>) -> Option<Says> {
    let last = name.text;
    if !["key", "code", "codes"].iter().any(|one| last.eq_ignore_ascii_case(one.as_bytes()))
        || before(text, name.span.0) != b' '
    {
        return None;
    }
    let from = run_back(text, name.span.0 - 1, 24, |byte| byte.is_ascii_alphabetic() || byte == b'-');
    let secret = says(part(text, (from, name.span.1))) == Some(Says::Secret);
    secret.then_some(Says::Perhaps)
}

/// Returns whether what stands before a name makes it something else: a path, a name of the cloud's, a service of PAM's.
pub(super) fn is_other(text: &[u8], name: &Name<'_>, sign: Option<(Sign, usize, Until)>) -> bool {
    let Some((sign, from, _)) = sign else { return false };
    let arrow = sign == Sign::Equals && before(text, from) != b'=' && part(text, (name.span.1, from)).contains(&b'>');
    let path = arrow && before(text, name.span.0) == b'/';
    let word = || run_back(text, name.span.0, LONGEST, |byte| !byte.is_ascii_whitespace() && byte != b'"');
    let colon = sign == Sign::Colon && from == name.span.1 + 1;
    path || name.text == b"PASS" && sign == Sign::Colon && !is_password(text, name, from)
        || colon && is_command(text, from)
        || match before(text, name.span.0) {
            b':' if sign == Sign::Colon => goes_on(text, word(), b"arn:"),
            b'(' => colon && find(part(text, (word(), name.span.0)), 0, b"pam_").is_some(),
            _ => false,
        }
}

/// Returns whether `PASS: x` is a password, and no test that has passed.
fn is_password(text: &[u8], name: &Name<'_>, from: usize) -> bool {
    let own = part(text, (from, run(text, from, |byte| !byte.is_ascii_whitespace())));
    let test = own.starts_with(b"Test") || own.contains(&b'_') || own.contains(&b'/');
    is_mixed(own) && !test && before(text, name.span.0.saturating_sub(1)) != b'-'
}

/// `rails credentials:edit`, `rake secret:generate`
fn is_command(text: &[u8], from: usize) -> bool {
    const VERBS: [&str; 14] = [
        "edit", "show", "create", "generate", "list", "rotate", "reset", "refresh", "revoke", "init", "setup",
        "update", "diff", "fetch",
    ];
    after_any(text, from, &VERBS)
        .is_some_and(|end| matches!(at(text, end), 0 | b' ' | b'`' | b'\'' | b'"' | b'\n' | b'\r'))
}

/// Parsers complain of tokens: `unexpected token: x`.
pub(super) fn unexpected(text: &[u8], from: usize) -> bool {
    let head = part(text, (from.saturating_sub(24), from)).to_ascii_lowercase();
    ["unexpected ", "illegal ", "syntax error near ", "next ", "current "]
        .iter()
        .any(|one| head.ends_with(one.as_bytes()))
}

/// Returns whether a value looks made; a grant's `code` is long, since other codes have that name too.
pub(super) fn is_made(text: &[u8], name: &Name<'_>, own: &[u8]) -> bool {
    if name.text.eq_ignore_ascii_case(b"code") && of_two_words(text, name).is_none() {
        return own.len() >= 16 && scrambled(own) && !own.iter().all(u8::is_ascii_digit);
    }
    scrambled(own) || is_code(own) && is_code_name(name.text)
}

/// `Your code is 482913`
fn is_code(own: &[u8]) -> bool {
    let own = own.strip_suffix(b".").unwrap_or(own);
    (4..=8).contains(&own.len()) && own.iter().all(u8::is_ascii_digit)
}

fn is_code_name(name: &[u8]) -> bool {
    ["code", "codes", "pin", "otp", "totp", "passcode"].iter().any(|one| ends_like(name, one.as_bytes()))
}
