//! Credentials in addresses: before the host, and in the path of an address that needs no more than itself.

use super::text::{REPLACEMENT, Span, after_any, at, before, find, goes_on, part, run, run_back, scrambled};

/// Addresses whose path is the credential.
const HOOKS: [&str; 6] = [
    "hooks.slack.com/",
    "discord.com/api/webhooks/",
    "discordapp.com/api/webhooks/",
    "webhook.office.com/",
    "chat.googleapis.com/v1/spaces/",
    "hooks.zapier.com/hooks/catch/",
];

/// Returns the path of such an address, whose `://` ends here.
pub(super) fn hook(text: &[u8], from: usize) -> Option<Span> {
    let to = after_any(text, from, &HOOKS)?;
    let end = run(text, to, in_address);
    let from = after_kind(text, to, end);
    (end - from >= 16 || part(text, (from, end)).starts_with(REPLACEMENT.as_bytes())).then_some((from, end))
}

/// `services/` says which kind of hook it is, a number which one.
fn after_kind(text: &[u8], from: usize, end: usize) -> usize {
    let kinds = ["services/", "workflows/", "triggers/", "webhookb2/"];
    let number = run(text, from, |byte| byte.is_ascii_digit());
    let from = if number > from && at(text, number) == b'/' { number + 1 } else { from };
    after_any(text, from, &kinds).unwrap_or(from).min(end)
}

fn in_address(byte: u8) -> bool {
    byte > b' ' && !matches!(byte, b'"' | b'\'' | b'`' | b'<' | b'>' | b'\\' | b'|' | b'{' | b'}') && byte != 0x7f
}

/// Returns the token in a path behind `reset/`, `activate/` and their like; a name or a number may stand before it.
pub(super) fn confirmation(text: &[u8], from: usize) -> Option<Span> {
    let mut from = from;
    for _ in 0..3 {
        let to = run(text, from, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~' | b'%'));
        let own = part(text, (from, to));
        let letters = own.iter().any(u8::is_ascii_alphabetic);
        if own.len() >= 16 && letters && scrambled(own) && at(text, to) != b'.' {
            return Some((from, to));
        }
        if to == from || at(text, to) != b'/' {
            return None;
        }
        from = to + 1;
    }
    None
}

/// Returns the credential before the host of the address whose `://` ends here.
pub(super) fn user(text: &[u8], to: usize) -> Option<Span> {
    // A password may have any sign in it, but an address has no blanks, and rarely a quote.
    let inside = |byte: u8| in_address(byte) || matches!(byte, b'|' | b'{' | b'}' | b'\\' | b'\'');
    let mut end = to;
    while inside(at(text, end)) && !goes_on(text, end, b"://") {
        end += 1;
    }
    let sign = host_sign(text, (to, end), web(text, to))?;
    let name = run(part(text, (0, sign)), to, |byte| byte != b':');
    if name == sign {
        let own = part(text, (to, sign));
        return (own.len() >= 16 && scrambled(own)).then_some((to, sign));
    }
    let user = part(text, (to, name));
    // Tokens are given as the user's name too, with a fixed word for the password.
    let from = if user.len() >= 20 && scrambled(user) { to } else { name + 1 };
    (sign > from).then_some((from, sign))
}

/// Returns whether the address is of the web, where `@` is also part of paths: `/npm/pkg@1.2.3`.
fn web(text: &[u8], to: usize) -> bool {
    let scheme = run_back(text, to.saturating_sub(3), 8, |byte| byte.is_ascii_alphabetic());
    goes_on(text, scheme, b"http")
}

/// Returns the `@` before the host. A password may hold `@` and `/`; a port before the first `/` says that the host was there.
fn host_sign(text: &[u8], (from, end): Span, web: bool) -> Option<usize> {
    let address = part(text, (0, end));
    let authority = run(address, from, |byte| !matches!(byte, b'/' | b'?' | b'#'));
    let first = last_sign(text, (from, authority));
    let all = last_sign(text, (from, end)).filter(|sign| {
        let host =
            run(address, sign + 1, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'['));
        let port = at(text, host) == b':' && at(text, host + 1).is_ascii_digit();
        let named = !web && matches!(at(address, host), b'/' | 0 | b',' | b'?' | b':' | b')' | b']')
            || web && at(address, host) == b'/' && first.is_none();
        host > sign + 1 && (port || named)
    });
    let colon = run(part(text, (0, authority)), from, |byte| byte != b':');
    let port = part(text, (colon + 1, authority));
    let host_was_there = first.is_none()
        && (colon == authority || port.iter().all(u8::is_ascii_digit) && port.len() <= 5 || at(text, from) == b'[');
    if host_was_there { None } else { all.or(first) }
}

/// Returns the last `@` in a part, before any query.
fn last_sign(text: &[u8], (from, to): Span) -> Option<usize> {
    part(text, (from, to)).iter().rposition(|byte| *byte == b'@').map(|at| from + at)
}

/// Returns the password of a data source's name, of Go's or Oracle's: `user:password@tcp(host)/db`, `thin:user/password@host`.
pub(super) fn source(text: &[u8], (from, to): Span) -> Option<Span> {
    const LONGEST: usize = 256;
    let inside = |byte: u8| in_address(byte) || matches!(byte, b'|' | b'{' | b'}');
    if at(text, from) == b':' {
        let end = run(part(text, (0, to + LONGEST)), to, |byte| inside(byte) && byte != b'@');
        let slash = run(part(text, (0, end)), to, |byte| byte != b'/');
        return (at(text, end) == b'@' && end > slash + 1).then_some((slash + 1, end));
    }
    let start = run_back(text, from, LONGEST, inside);
    let start = find(part(text, (0, from)), start, b"://").map_or(start, |sign| sign + 3);
    let colon = run(part(text, (0, from)), start, |byte| byte != b':');
    (from > colon + 1 && before(text, from) != b':').then_some((colon + 1, from))
}
