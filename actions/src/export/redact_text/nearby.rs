//! Values behind a name with no sign between the two: of flags, of `PASSWORD 'x'`, of settings (`requirepass x`), of tuples
//! (`{password,"x"}`), of protocols (`PASS x`), and of sentences that tell a password.

use super::harmless::harmless;
use super::name::{Name, Sign};
use super::text::{
    Quote, Span, after_any, at, before, blanks, ends_like, find, goes_on, in_name, part, run, run_back, trimmed,
};
use super::values::{Until, Value};

/// A sentence is looked through so far.
const SENTENCE: usize = 256;

/// Settings whose value stands behind a blank, and that are no words of sentences.
const SETTINGS: [&[u8]; 7] =
    [b"requirepass", b"masterauth", b"primaryauth", b"rpcpassword", b"auth_pass", b"insecure-password", b"wpa-psk"];

/// Names that take a value behind a blank if it looks like a password: `password Apfel12`, `secret 5 $1$x`.
const NAMES: [&[u8]; 6] = [b"password", b"passwd", b"passphrase", b"passwort", b"secret", b"psk"];

impl Name<'_> {
    /// A value that only a blank separates: of a flag, of `PASSWORD 'x'`, of a sentence that tells one.
    pub(super) fn near(&self, text: &[u8], from: usize) -> Option<(Sign, usize, Until)> {
        let is = after_any(text, from, &["is: ", "is ", "was: ", "was ", "= "]);
        if let Some(to) = is {
            return Some((Sign::Says, blanks(text, to), Until::Blank));
        }
        // `Unseal Key 1: x`
        let digits = run(part(text, (0, from + 3)), from, |byte| byte.is_ascii_digit());
        if digits > from && goes_on(text, digits, b": ") && self.text.eq_ignore_ascii_case(b"key") {
            return Some((Sign::Colon, blanks(text, digits + 1), Until::Blank));
        }
        let is = |names: &[&[u8]]| names.iter().any(|one| self.text.eq_ignore_ascii_case(one));
        let flag = self.flag && self.quote.is_none() && !matches!(at(text, from), b'-' | 0);
        let secure = ends_like(self.text, b"securestring");
        let quoted = at(text, from) == b'\'' && goes_on(self.text, 0, b"pass")
            || (secure || ends_like(self.text, b"psk")) && Quote::open(text, from).is_some();
        if flag || quoted {
            return Some((Sign::Near, from, Until::Blank));
        }
        // `ConvertTo-SecureString -String "x"`
        if secure {
            let to = after_any(text, from, &["-String ", "-s "]).map(|to| blanks(text, to))?;
            return Quote::open(text, to).map(|_| (Sign::Near, to, Until::Blank));
        }
        // `rabbitmqctl change_password bob x`
        if is(&[b"change_password"]) {
            let to = blanks(text, run(text, from, |byte| !byte.is_ascii_whitespace()));
            return Some((Sign::Near, to, Until::Blank));
        }
        if is(&SETTINGS) {
            return Some((Sign::Near, from, Until::Blank));
        }
        (self.quote.is_none() && is(&NAMES))
            .then(|| typed(text, from, self.text))?
            .map(|to| (Sign::Near, to, Until::Blank))
    }

    /// `{password,"x"}`, `{<<"password">>,<<"x">>}`, `[('password', 'x')]`: a pair in brackets.
    pub(super) fn tuple(&self, text: &[u8], comma: usize) -> Option<(Sign, usize, Until)> {
        let opened = self.quote.map_or(self.span.0, |_| self.opening(text));
        let opened = if part(text, (opened.saturating_sub(2), opened)) == b"<<" { opened - 2 } else { opened };
        let outside = opened.checked_sub(1)?;
        let list = part(text, (outside.saturating_sub(2), outside));
        let round = at(text, outside) == b'(' && (list.ends_with(b"[") || list.ends_with(b",") || list == b", ");
        if at(text, outside) != b'{' && !(round && self.quote.is_some()) {
            return None;
        }
        let from = blanks(text, comma + 1);
        let from = if goes_on(text, from, b"<<") { from + 2 } else { from };
        let near = part(text, (0, from + 256));
        let quote = Quote::open(near, from)?;
        let (_, end) = quote.close(near, near.len())?;
        let close = if goes_on(near, end, b">>") { end + 2 } else { end };
        matches!(at(near, close), b'}' | b')').then_some((Sign::Near, from, Until::Blank))
    }

    /// `POP3: PASS x`, and a sentence whose last word is the password: `temporary password generated for root@db: x`.
    pub(super) fn alone(&self, text: &[u8]) -> Option<Span> {
        let known = || NAMES.iter().any(|one| self.text.eq_ignore_ascii_case(one)) || ends_like(self.text, b"token");
        if at(text, self.span.1) != b' ' || self.quote.is_some() || self.text != b"PASS" && !known() {
            return None;
        }
        let to = trimmed(part(text, (0, self.span.1 + SENTENCE)));
        let last = to + SENTENCE > text.len() && to == trimmed(text);
        if !last {
            return None;
        }
        if self.text == b"PASS" { self.typed_pass(text, to) } else { self.told(text, to) }
    }

    /// `C: PASS x`
    fn typed_pass(&self, text: &[u8], to: usize) -> Option<Span> {
        let own = part(text, (self.span.1 + 1, to));
        let asked = matches!(before(text, self.span.0.saturating_sub(1)), b'>' | b':');
        let word = own.len() >= 3 && !own.iter().any(|byte| byte.is_ascii_whitespace() || *byte == b'/');
        let first = self.span.0 == run(text, 0, |byte| matches!(byte, b' ' | b'\t'));
        (word && (asked || first && is_mixed(own))).then_some((self.span.1 + 1, to))
    }

    /// `temporary password generated for root@db: x`
    fn told(&self, text: &[u8], to: usize) -> Option<Span> {
        let from = run_back(text, to, to - self.span.1, |byte| !byte.is_ascii_whitespace());
        let own = part(text, (from, to));
        if part(text, (from.saturating_sub(2), from)) != b": " || own.len() < 6 || !is_mixed(own) {
            return None;
        }
        let head = part(text, (self.span.0.saturating_sub(48), from)).to_ascii_lowercase();
        let told = ["temporary", "generated", "initial", "random", "one-time", "bootstrap"]
            .iter()
            .any(|word| find(&head, 0, word.as_bytes()).is_some());
        let value = Value { span: (from, to), closed: true };
        let path = own.starts_with(b"/") || find(own, 0, b"://").is_some();
        (told && !path && !harmless(text, value, false)).then_some((from, to))
    }
}

/// Returns where a value stands that looks like a password, behind the digit with which routers say how it is hidden.
fn typed(text: &[u8], from: usize, name: &[u8]) -> Option<usize> {
    let kind = at(text, from).is_ascii_digit() && at(text, from + 1) == b' ';
    let start = if kind { from + 2 } else { from };
    let end = run(part(text, (0, start + 128)), start, |byte| !byte.is_ascii_whitespace());
    let own = part(text, (start, end));
    let mixed = own.len() >= 6 && is_mixed(own) && !is_algorithm(own) && !own.contains(&b'=');
    let word = own.iter().all(|byte| in_name(*byte) || b"!@#$%^&*+~?|".contains(byte));
    let told = !name.eq_ignore_ascii_case(b"secret") || kind;
    (told && (kind && own.len() >= 4 && !own.iter().all(u8::is_ascii_lowercase) || mixed && word)).then_some(start)
}

/// Returns whether a word has letters, and digits or signs that words have not.
pub(super) fn is_mixed(own: &[u8]) -> bool {
    let letters = own.iter().any(u8::is_ascii_alphabetic);
    let others = own.iter().any(|byte| byte.is_ascii_digit() || b"!#$%^&*+~?|@".contains(byte));
    let address = own.contains(&b'@') && own.contains(&b'.');
    letters && others && !address
}

fn is_algorithm(own: &[u8]) -> bool {
    let lower = own.to_ascii_lowercase();
    ["sha", "md5", "pbkdf2", "argon2", "base64", "bcrypt", "utf", "ntlmv2", "aes", "blake2"]
        .iter()
        .any(|one| find(&lower, 0, one.as_bytes()).is_some())
}
