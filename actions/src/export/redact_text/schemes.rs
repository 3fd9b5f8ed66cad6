//! Credentials that a scheme announces: `Authorization: Bearer x`, `AUTH PLAIN x`.

use super::name::Name;
use super::text::{
    Quote, REPLACEMENT, Span, after_any, at, before, begins_word, blanks, ends_value, goes_on, is_replaced, part, run,
    run_back, scrambled, trimmed,
};

/// Schemes with one credential.
const ONE: &[&str] = &[
    "bearer",
    "basic",
    "token",
    "apikey",
    "api-key",
    "negotiate",
    "ntlm",
    "ssws",
    "key",
    "jwt",
    "dpop",
    "bot",
    "splunk",
    "geniekey",
    "sso-key",
    "gss",
    "klaviyo-api-key",
    "vapid",
    "oauth2",
    "private-token",
    "sharedkey",
    "sharedkeylite",
    "aws",
];

/// Schemes with several, up to the end of the header.
const SEVERAL: &[&str] =
    &["digest", "aws4-hmac-sha256", "hawk", "oauth", "signature", "sharedaccesssignature", "hmac", "goog4-rsa-sha256"];

/// A header is looked at so far before it is known to hold a credential.
const FIRST_LOOK: usize = 4 << 10;

/// The longest line of a protocol.
const LONGEST_LINE: usize = 256;

/// Words in place of a credential.
const ABSENT: &[&str] = &[
    "none",
    "null",
    "nil",
    "true",
    "false",
    "rbac",
    "required",
    "failed",
    "missing",
    "header",
    "invalid",
    "webhook",
    "node",
    "alwaysallow",
    "denied",
    "disabled",
    "enabled",
];

/// Returns the credential of an `Authorization` header, whose value begins here; in quotes that also hold the name it goes on
/// to those.
pub(super) fn authorization(text: &[u8], from: usize, quoted: bool) -> Option<Span> {
    let (start, open) = opened(text, from);
    let word = run(text, start, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let scheme = part(text, (start, word.min(start + FIRST_LOOK))).to_ascii_lowercase();
    let is = |all: &[&str]| all.iter().any(|one| one.as_bytes() == scheme.as_slice());
    let after = after_any(text, word, &[" ", "\t", "%20", "+"]);
    if is(ABSENT)
        || matches!(at(text, start), b'{' | b'<' | b'*' | 0)
        || matches!(part(text, (start, start + 2)), b"${" | b"$(")
    {
        return None;
    }
    let end = || close(text, start, open);
    let span = match after.map(|after| blanks(text, after)) {
        Some(credential) if is(SEVERAL) && open.is_none() && !quoted => (credential, line_end(text, credential, false)),
        Some(credential) if is(SEVERAL) => (credential, end()),
        Some(credential) if is(ONE) && (open.is_some() || quoted) => (credential, end()),
        Some(credential) if is(ONE) => (credential, token(text, credential)),
        _ if open.is_some() || quoted => (start, end()),
        _ => {
            let first = token(text, start);
            let second = (blanks(text, first), token(text, blanks(text, first)));
            let more = second.0 > first && !part(text, second).contains(&b'=') && scrambled(part(text, second));
            (start, if more { second.1 } else { first })
        }
    };
    (span.1 >= span.0 + 3).then_some(span)
}

/// Steps into the list and the quotes around a header's value.
pub(super) fn opened(text: &[u8], from: usize) -> (usize, Option<Quote<'_>>) {
    let list = at(text, from) == b'[' && !goes_on(text, from, REPLACEMENT.as_bytes());
    let from = if list { from + 1 } else { from };
    let open = Quote::open(text, from);
    (open.map_or(from, |quote| quote.end), open)
}

/// Returns the end of a header's value.
pub(super) fn close(text: &[u8], start: usize, open: Option<Quote<'_>>) -> usize {
    match open {
        Some(quote) => quote.close(text, text.len()).map_or(text.len(), |(to, _)| to),
        None => line_end(text, start, true),
    }
}

/// Returns the end of an unquoted header: a quote or a bracket that closes, an escaped line end, or the end.
fn line_end(text: &[u8], from: usize, quotes: bool) -> usize {
    let mut index = from;
    loop {
        let next = at(text, index + 1);
        let ends = match at(text, index) {
            0 => index >= text.len(),
            b'\r' | b'\n' => true,
            b'"' | b'\'' | b'`' => quotes && ends_value(next) && before(text, index) != b'=',
            b'\\' => matches!(next, b'r' | b'n' | b'"'),
            b']' | b'}' => ends_value(next) && !is_replaced(text, index + 1),
            _ => false,
        };
        if ends {
            return index;
        }
        index += 1;
    }
}

/// Returns the end of a credential without blanks in it.
fn token(text: &[u8], from: usize) -> usize {
    let first = if goes_on(text, from, REPLACEMENT.as_bytes()) { from + REPLACEMENT.len() } else { from };
    let inside =
        |byte: u8| !byte.is_ascii_whitespace() && !matches!(byte, b'"' | b'\'' | b'`' | b',' | b';' | b'\\' | b'<');
    let mut to = run(text, first, inside);
    while to > first && matches!(before(text, to), b')' | b']' | b'}' | b'.' | b'>') {
        to -= 1;
    }
    to
}

/// Words after `bearer` and `basic` in sentences are no credentials.
const LONGEST_WORD: usize = 15;

/// Returns the credential behind a scheme's name.
pub(super) fn alone(text: &[u8], hit: Span) -> Option<Span> {
    // The hit lacks the first letter, and may have the blank behind the word.
    let from = hit.0.checked_sub(1)?;
    let to = after_any(text, from, &["bearer", "basic"])?;
    if !begins_word(text, from) {
        return None;
    }
    let sign = after_any(text, to, &[" ", "%20", "+", "\\u0020", "\t"]);
    let start = blanks(text, sign.or_else(|| after_any(text, to, &[": ", "=", ":"]))?);
    let start = Quote::open(text, start).map_or(start, |quote| quote.end);
    let end = run(text, start, |byte| byte.is_ascii_alphanumeric() || b"+/=._~-%".contains(&byte));
    let own = part(text, (start, end));
    let word = own.iter().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'.' | b'-' | b'_' | b'='));
    let lower = own.iter().skip(1).all(|byte| !byte.is_ascii_uppercase());
    // `token_type=Bearer expires_in=3600`
    let field = own.iter().skip_while(|byte| **byte != b'=').any(|byte| *byte != b'=');
    (own.len() >= 8 && !field && !(word && lower && own.len() <= LONGEST_WORD)).then_some((start, end))
}

/// How a client says who it is, in the protocols of mail.
const MECHANISMS: [&str; 7] = ["PLAIN ", "LOGIN ", "XOAUTH2 ", "OAUTHBEARER ", "CRAM-MD5 ", "NTLM ", "EXTERNAL "];

/// Returns the credential of `AUTH PLAIN x` (of mail), of `> AUTH x` and of `"AUTH" "user" "x"` (of Redis).
pub(super) fn sasl(text: &[u8], name: &Name<'_>) -> Option<Span> {
    if !["AUTH", "AUTHENTICATE"].iter().any(|one| name.text.eq_ignore_ascii_case(one.as_bytes())) {
        return None;
    }
    let bare = name.closed(text).unwrap_or(name.span.1);
    let from = blanks(text, bare);
    if name.quote.is_some() {
        let open = name.opening(text);
        let first = Quote::open(text, from).filter(|_| part(text, (open.saturating_sub(2), open)) == b"] ")?;
        let (to, end) = first.close(text, text.len())?;
        let second = Quote::open(text, blanks(text, end)).filter(|_| at(text, end) == b' ');
        return match second {
            Some(second) => second.close(text, text.len()).map(|(to, _)| (second.end, to)),
            None => Some((first.end, to)),
        };
    }
    if let Some(from) = after_any(text, from, &MECHANISMS) {
        let end = run(text, from, |byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
        let own = part(text, (from, end));
        return (own.len() >= 8 && (own.ends_with(b"=") || scrambled(own))).then_some((from, end));
    }
    let to = trimmed(part(text, (0, from + LONGEST_LINE)));
    let start = run_back(text, to, to.saturating_sub(from), |byte| !byte.is_ascii_whitespace());
    let typed = part(text, (name.span.0.saturating_sub(2), name.span.0)) == b"> " && to == trimmed(text);
    let words = part(text, (from, to)).split(u8::is_ascii_whitespace).count();
    let mechanism = MECHANISMS.iter().any(|one| goes_on(text, start, one.trim_end().as_bytes()));
    (typed && words <= 2 && from > bare && !mechanism && to >= start + 3).then_some((start, to))
}
