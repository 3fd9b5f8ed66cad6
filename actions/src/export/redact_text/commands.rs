//! Passwords that commands take: by a flag (`curl -u a:b`), by their place (`add_user bob x`), or from a pipe (`echo x | kinit`).

use super::text::{Quote, Span, after_any, at, before, blanks, find, part, run, run_back, trimmed};

/// Commands, the flags by which they take a password, and how.
const COMMANDS: &[(&str, &[&str], Takes)] = &[
    ("curl", &["-u", "--user", "--proxy-user"], Takes::Pair),
    ("mysql", &["-p"], Takes::Attached),
    ("mariadb", &["-p"], Takes::Attached),
    ("sshpass", &["-p"], Takes::Word),
    ("redis-cli", &["-a"], Takes::Word),
    ("docker login", &["-p"], Takes::Word),
    ("podman login", &["-p"], Takes::Word),
    ("registry login", &["-p"], Takes::Word),
    ("mongo", &["-p"], Takes::Word),
    ("sqlcmd", &["-P"], Takes::Word),
    ("ldap", &["-w"], Takes::Word),
    ("oc login", &["-p"], Takes::Word),
    ("az login", &["-p"], Takes::Word),
    ("zip", &["-P"], Takes::Word),
    ("ipmitool", &["-P"], Takes::Word),
    ("mosquitto", &["-P"], Takes::Word),
    ("psexec", &["-p"], Takes::Word),
    ("PsExec", &["-p"], Takes::Word),
    ("plink", &["-pw"], Takes::Word),
    ("cqlsh", &["-p"], Takes::Word),
    ("bcp", &["-P"], Takes::Word),
    ("7z", &["-p"], Takes::Attached),
    ("", &["identified by"], Takes::Quoted),
];

/// How a command's flag is followed by its password.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Takes {
    /// `-u name:password`
    Pair,
    /// `-p password`, `-ppassword`
    Word,
    /// `-ppassword`; a word after a blank is something else.
    Attached,
    /// `IDENTIFIED BY 'password'`
    Quoted,
}

/// Returns the password behind a flag, of a command that stands before it.
pub(super) fn flag(text: &[u8], hit: Span) -> Option<Span> {
    const FAR: usize = 256;
    const LONGEST_FLAG: usize = 16;
    let head = part(text, (hit.0.saturating_sub(FAR), hit.1));
    let start = run_back(text, hit.1, LONGEST_FLAG, |byte| byte.is_ascii_alphabetic() || matches!(byte, b'-' | b' '));
    COMMANDS.iter().find_map(|(command, flags, takes)| {
        find(head, 0, command.as_bytes())?;
        let end = flags.iter().find_map(|flag| {
            (start..hit.1).find_map(|from| {
                after_any(text, from, &[flag]).filter(|end| {
                    *end >= hit.1 - 1
                        && part(text, (from, *end)).eq_ignore_ascii_case(flag.as_bytes())
                        && (at(text, from) != b'-'
                            || part(text, (from, *end)) == flag.as_bytes() && before(text, from) == b' ')
                })
            })
        })?;
        password(text, end, *takes)
    })
}

fn password(text: &[u8], found: usize, takes: Takes) -> Option<Span> {
    let next = at(text, found);
    // `-user` is not `-u`.
    if takes == Takes::Pair && !matches!(next, b' ' | b'=' | b'\'' | b'"') {
        return None;
    }
    let start = if takes == Takes::Attached { found } else { run(text, found, |byte| matches!(byte, b' ' | b'=')) };
    let quote = Quote::open(text, start);
    if takes == Takes::Quoted && quote.is_none() {
        return None;
    }
    let (from, end) = match quote {
        Some(quote) => (quote.end, quote.close(text, text.len()).map_or(text.len(), |(to, _)| to)),
        None => (start, run(text, start, |byte| !byte.is_ascii_whitespace() && !matches!(byte, b'"' | b'\'' | b'`'))),
    };
    let from = match takes {
        Takes::Pair => run(part(text, (0, end)), from, |byte| !matches!(byte, b':' | b'%')) + 1,
        _ => from,
    };
    let own = part(text, (from, end));
    (own.len() >= 3 && !own.starts_with(b"$") && !own.starts_with(b"-")).then_some((from, end))
}

/// The longest command that is looked through on either side.
const NEAR: usize = 512;

/// What says that a command reads a password from a pipe.
const READERS: [&str; 13] = [
    "password-stdin",
    "--stdin",
    "passphrase-fd",
    "kinit",
    "chpasswd",
    "passwd",
    "sudo -S",
    "--with-token",
    "with-token",
    "token-stdin",
    "cryptsetup",
    "pass:stdin",
    "passin stdin",
];

/// Takes the passwords that a command is given by their places, and returns where to look on.
pub(super) fn places(text: &[u8], hit: Span, all: &mut Vec<Span>) -> usize {
    let head = || part(text, (hit.0.saturating_sub(NEAR), hit.0)).to_ascii_lowercase();
    let follows = |command: &str| find(&head(), 0, command.as_bytes()).is_some();
    let found = match at(text, hit.0) {
        b'e' => piped(text, hit.1),
        b'L' => login(text, hit),
        b'/' if at(text, hit.0 + 1) == b'r' => follows("schtasks").then(|| word(text, hit.1)).flatten(),
        b'/' => follows("net use").then(|| share(text, hit)).flatten(),
        b'a' => follows("rabbitmq").then(|| word(text, blanks(text, blank(text, blanks(text, hit.1))))).flatten(),
        _ => {
            snmp(text, hit, all);
            None
        }
    };
    let secret = found.filter(|(from, to)| to - from >= 3 && !matches!(at(text, *from), b'$' | b'*'));
    all.extend(secret);
    hit.1
}

/// Returns the end of a word.
fn blank(text: &[u8], from: usize) -> usize {
    run(text, from, |byte| !byte.is_ascii_whitespace())
}

/// Returns the word here, without the quotes around it.
fn word(text: &[u8], from: usize) -> Option<Span> {
    let from = blanks(text, from);
    let (from, to) = match Quote::open(text, from) {
        Some(quote) => (quote.end, quote.close(text, text.len()).map_or(text.len(), |(to, _)| to)),
        None => (from, run(text, from, |byte| !byte.is_ascii_whitespace() && !matches!(byte, b'"' | b'\'' | b'`'))),
    };
    (to > from).then_some((from, to))
}

/// `echo x | kinit bob`, `echo 'bob:x' | chpasswd`
fn piped(text: &[u8], from: usize) -> Option<Span> {
    let near = part(text, (0, from + NEAR));
    let bar = find(near, from, b"|")?;
    let reader = part(text, (bar, bar + NEAR));
    READERS.iter().find(|one| find(reader, 0, one.as_bytes()).is_some())?;
    let flags = after_any(text, from, &["-n ", "-e ", "-ne ", "-en "]).unwrap_or(from);
    let (start, end) = word(near, flags)?;
    let (start, end) =
        if Quote::open(text, flags).is_some() { (start, end) } else { (start, end.max(trimmed(part(text, (0, bar))))) };
    let pair = find(reader, 0, b"chpasswd").is_some();
    let colon = run(part(text, (0, end)), start, |byte| byte != b':');
    Some(if pair && colon < end { (colon + 1, end) } else { (start, end) })
}

/// IMAP's `a3 LOGIN bob "x"`
fn login(text: &[u8], hit: Span) -> Option<Span> {
    let blank_before = hit.0.checked_sub(1).filter(|index| at(text, *index) == b' ')?;
    let tag = run_back(text, blank_before, 16, |byte| byte.is_ascii_alphanumeric() || byte == b'.');
    let tagged = part(text, (tag, blank_before)).iter().any(u8::is_ascii_digit);
    let quote = usize::from(Quote::open(text, hit.1).is_some());
    let user = word(text, hit.1)?;
    let (from, to) = word(text, user.1 + quote).filter(|(from, _)| tagged && *from > user.1 + quote)?;
    let rest = part(text, (to, text.len()));
    let last = rest.iter().all(|byte| byte.is_ascii_whitespace() || b"\"'\\rn[]".contains(byte));
    last.then_some((from, to))
}

/// `net use Z: \\srv\share /user:bob x`, and with the password before the user.
fn share(text: &[u8], hit: Span) -> Option<Span> {
    let behind = word(text, blank(text, hit.1)).filter(|(from, _)| at(text, *from) != b'/');
    behind.or_else(|| {
        let to = trimmed(part(text, (0, hit.0)));
        let from = run_back(text, to, NEAR, |byte| !byte.is_ascii_whitespace());
        let own = part(text, (from, to));
        (!own.starts_with(b"\\\\") && !own.ends_with(b":") && !own.starts_with(b"/")).then_some((from, to))
    })
}

/// The tools' communities and passphrases, and the community of a router.
fn snmp(text: &[u8], hit: Span, all: &mut Vec<Span>) {
    const TOOLS: [&str; 12] = [
        "walk ",
        "get ",
        "getnext ",
        "set ",
        "bulkwalk ",
        "bulkget ",
        "table ",
        "trap ",
        "inform ",
        "df ",
        "status ",
        "test ",
    ];
    if let Some(to) = after_any(text, hit.1, &["-server community ", "_community ", " community "]) {
        all.extend(word(text, to));
        return;
    }
    let Some(mut from) = after_any(text, hit.1, &TOOLS) else { return };
    let near = part(text, (0, hit.1 + NEAR));
    while from < near.len() {
        let flag = blanks(near, from);
        let end = blank(near, flag);
        if ["-c", "-A", "-X"].iter().any(|one| part(near, (flag, end)) == one.as_bytes()) {
            all.extend(word(near, end).filter(|(from, _)| at(near, *from) != b'$'));
        }
        from = end.max(from + 1);
    }
}
