//! Values that are no secrets whatever stands before them.

use std::collections::HashSet;
use std::sync::OnceLock;

use super::text::{REPLACEMENT, after_any, at, before, ends_value, part, run, scrambled};
use super::values::Value;

/// Values that programs write where there is none, or that say what is wrong with one.
const WORDS: &str = "\
    null nil none true false undefined yes no on off <nil> nan unset n/a empty string bytes object number \
    boolean integer text varchar str int bool optional void required missing invalid wrong expired unknown \
    unexpected failed denied redacted hidden masked omitted enabled disabled default basic bearer simple jwt \
    oauth2 oauth oidc token password secret mismatch anonymous unauthorized unauthenticated set ok not \
    filtered sanitized scrubbed sensitive protected obfuscated removed";

/// First words of sentences about a secret: `invalid token: signature is …`.
const SENTENCES: &str = "\
    cannot could must should is was has have an a the too error unable signature permission this that it got \
    want expected can't couldn't no not already did does failed failure illegal malformed rpc context open read \
    write dial get please you your unsupported incorrect bad only at for from in to on token length eof invalid \
    unexpected missing expired unknown crypto/rsa square/go-jose parsing loading generating creating using \
    found waiting there secrets configmaps services pods";

/// Returns whether a word stands in one of the lists.
fn has(sentences: bool, word: &str) -> bool {
    const LONGEST: usize = 20;
    static LISTS: OnceLock<[HashSet<&str>; 2]> = OnceLock::new();
    let [words, first] = LISTS.get_or_init(|| [WORDS, SENTENCES].map(|list| list.split_ascii_whitespace().collect()));
    word.len() <= LONGEST && if sentences { first.contains(word) } else { words.contains(word) }
}

/// Returns whether a value is no secret: absent, a word for its absence, a reference, or hidden by somebody else.
pub(super) fn harmless(text: &[u8], value: Value, sentence: bool) -> bool {
    let (from, to) = value.span;
    if elsewhere(text, value) {
        return true;
    }
    // A bracket that closes one of the value's own belongs to it.
    let paired = matches!((at(text, from), at(text, to)), (b'<', b'>') | (b'$', b'}' | b')') | (b'[', b']'));
    let own = part(text, (from, to + usize::from(paired && !value.closed)));
    if own.len() > 64 {
        return false;
    }
    if own.len() < 3
        || own.starts_with(b"{{")
        || own.starts_with(b"${{")
        || own.starts_with(b"%(")
        || own.starts_with(b"%s")
    {
        return true;
    }
    let sign = usize::from(matches!(own.last(), Some(b'.' | b':' | b';' | b',')));
    let word = part(own, (0, own.len() - sign)).to_ascii_lowercase();
    let word = std::str::from_utf8(&word).unwrap_or_default();
    let prose = sentence && !value.closed && at(text, to) != 0 && has(true, word);
    let same = own.iter().all(|byte| matches!(byte, b'*' | b'x' | b'X' | b'.' | b'-' | b'#' | b'?' | b' '));
    has(false, word) || prose || same || reference(own) || placeholder(own) || !value.closed && code(own)
}

/// Beginnings of what names a value that is kept elsewhere, in programs and in what plans them.
const ELSEWHERE: [&str; 15] = [
    "process.env.",
    "import.meta.env.",
    "os.environ",
    "os.getenv(",
    "os.Getenv(",
    "getenv(",
    "env(",
    "System.getenv(",
    "ENV[",
    "secrets.",
    "var.",
    "local.",
    "module.",
    "random_password.",
    "data.",
];

/// Returns whether a value only says where the secret is, how long it is, or that it is not shown: it may go on behind a blank.
fn elsewhere(text: &[u8], value: Value) -> bool {
    const LONGEST: usize = 256;
    let (from, to) = value.span;
    let own = part(text, value.span);
    let near = part(text, (from, from + LONGEST));
    let bare = !matches!(before(text, from), b'"' | b'\'' | b'`' | b';');
    let close = |sign: u8| near.iter().position(|byte| *byte == sign);
    match at(own, 0) {
        b'<' => own.starts_with(b"<set to the key "),
        b'$' if own.starts_with(b"$(") => close(b')').is_some(),
        b'(' => close(b')')
            .is_some_and(|end| end < 40 && ends_value(at(near, end + 1)) && placeholder(part(near, (0, end + 1)))),
        b'0'..=b'9' => {
            let digits = run(text, from, |byte| byte.is_ascii_digit());
            let end = after_any(text, digits, &[" bytes", " byte"]).unwrap_or(0);
            end == to || digits == to && end > to && !at(text, end).is_ascii_alphanumeric()
        }
        b'h' if bare => after_any(own, 0, &["http://", "https://"]).is_some(),
        b'p' | b'i' | b'g' | b'e' | b'o' | b'S' | b'E' | b's' | b'v' | b'l' | b'm' | b'r' | b'd' if bare => {
            let name = |byte: &u8| byte.is_ascii_alphanumeric() || b"._[]()'\",;?!".contains(byte);
            ELSEWHERE.iter().any(|one| own.starts_with(one.as_bytes())) && own.iter().all(name)
        }
        _ => false,
    }
}

/// `${PASSWORD}`, `$(PASSWORD)`, `$PASSWORD`, `$1`, `:password`.
fn reference(own: &[u8]) -> bool {
    let (first, rest) = own.split_first().unwrap_or((&0, &[]));
    let named = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    match (first, rest.first()) {
        (b'$', Some(b'{' | b'(')) => matches!(own.last(), Some(b'}' | b')')),
        (b'$', Some(_)) => rest.iter().all(named),
        (b':', Some(_)) => rest.iter().all(|byte| byte.is_ascii_lowercase() || *byte == b'_'),
        _ => false,
    }
}

/// `getToken()`, `request.headers["x"]`.
fn code(own: &[u8]) -> bool {
    let name = run(own, 0, |byte| byte.is_ascii_alphabetic() || matches!(byte, b'.' | b'_'));
    let rest = part(own, (name, own.len()));
    name >= 3 && (rest.starts_with(b"()") || rest.starts_with(b"[\"") || rest.starts_with(b"['"))
}

/// `<password>`, `<REDACTED>`, `[hidden]`, `(sensitive value)`.
fn placeholder(own: &[u8]) -> bool {
    let bracketed = matches!(
        (own.first(), own.last()),
        (Some(b'<'), Some(b'>')) | (Some(b'['), Some(b']')) | (Some(b'('), Some(b')'))
    );
    let words = own.iter().all(|byte| byte.is_ascii_alphabetic() || b"<>[]() _-'".contains(byte));
    own != REPLACEMENT.as_bytes() && bracketed && words && own.len() <= 40
}

/// Returns whether a value is a file's path.
pub(super) fn names_a_file(own: &[u8]) -> bool {
    let path = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"/._-".contains(byte);
    let slashes = memchr::memchr_iter(b'/', own).count();
    let file = own.starts_with(b"/") && slashes >= 2 || own.starts_with(b"./") || own.starts_with(b"~/");
    file && own.iter().all(path)
}

/// Returns whether a value is an object's name: with its namespace, or of several words.
pub(super) fn names_an_object(own: &[u8]) -> bool {
    let count = |sign: u8| memchr::memchr_iter(sign, own).count();
    let letters = own.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"/-.".contains(byte));
    letters && (count(b'/') == 1 || count(b'-') >= 1) && !scrambled(own)
}

/// Returns whether all that there is are numbers: `12`, `[1, 2, 3]`, `3.5`.
pub(super) fn counts(own: &[u8]) -> bool {
    own.iter().all(|byte| byte.is_ascii_digit() || b", .-+".contains(byte))
}
