//! Replaces text that looks like a secret. A help, but no guarantee: a secret that matches no pattern stays. All
//! patterns are matched in linear time, and redacting twice is the same as once.

use std::borrow::Cow;
use std::sync::OnceLock;

use regex::bytes::{Captures, Regex};

/// The text that replaces a secret.
const REPLACEMENT: &str = "[REDACTED]";
/// The most lines of a private key whose end never comes (a log may be cut): a 16384-bit RSA key has about 200.
const LONGEST_KEY: usize = 250;

/// The most rounds of all patterns on a line, since one replacement may be what lets another pattern match. A line that
/// is still not clean then was made so on purpose, and is replaced as a whole.
const ROUNDS: usize = 16;

/// The patterns, and the text that replaces a match. Groups keep what tells a person which secret it was.
const PATTERNS: [(&str, &str); 6] = [
    // JSON Web Tokens, ServiceAccount tokens among them.
    (r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.?[A-Za-z0-9_-]*", "[REDACTED]"),
    // Authorization headers.
    (r"(?i)\b((?:bearer|basic)\s+)[A-Za-z0-9+/=._~-]{8,}", "$1[REDACTED]"),
    // Keys with a known beginning: AWS, GitHub, GitLab, Slack, npm, OpenAI, Google.
    (
        r"\b(?:(?:AKIA|ASIA)[A-Z0-9]{16}\b|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}|xox[abprs]-[A-Za-z0-9-]{10,}|npm_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{20,}|AIza[A-Za-z0-9_-]{30,})",
        "[REDACTED]",
    ),
    // Passwords in addresses.
    (r"\b([A-Za-z][A-Za-z0-9+.-]*://[^\s:/@]*:)[^\s@/]+@", "$1[REDACTED]@"),
    // name = value, in JSON, logfmt, shell and query strings; the name stays.
    (
        r#"(?i)((?:pass(?:word|wd|phrase)|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|client[_-]?secret|credentials?)(?:\\?"|')?\s*[:=]\s*)(\\?"|')([^"'\\]{3,})"#,
        "$1$2[REDACTED]",
    ),
    (
        r#"(?i)((?:pass(?:word|wd|phrase)|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|client[_-]?secret|credentials?)\s*[:=]\s*)[^\s"',;&\\]{3,}"#,
        "$1[REDACTED]",
    ),
];

fn patterns() -> &'static [(Regex, &'static str)] {
    static COMPILED: OnceLock<Vec<(Regex, &'static str)>> = OnceLock::new();
    COMPILED.get_or_init(|| {
        let compile = |pattern: &str| regex::bytes::RegexBuilder::new(pattern).unicode(false).build().ok();
        PATTERNS.iter().filter_map(|(pattern, replacement)| Some((compile(pattern)?, *replacement))).collect()
    })
}

/// Replaces what the patterns match, and returns the number of matches that were not replaced before.
fn replace(clean: &mut Vec<u8>) -> usize {
    let mut count = 0;
    for (pattern, replacement) in patterns() {
        let replaced = pattern.replace_all(clean, |found: &Captures<'_>| {
            let mut instead = Vec::new();
            found.expand(replacement.as_bytes(), &mut instead);
            count += usize::from(found.get_match().as_bytes() != instead);
            instead
        });
        if let Cow::Owned(replaced) = replaced {
            *clean = replaced;
        }
    }
    count
}

/// Redacts one log, line by line: a private key spans many lines.
#[derive(Debug, Default)]
pub struct Redactor {
    key_lines: usize,
}

impl Redactor {
    /// Returns the line without secrets, and the number of secrets.
    pub fn line(&mut self, line: &[u8]) -> (Vec<u8>, usize) {
        if let Some(clean) = self.private_key(line) {
            return (clean, 1);
        }
        let (mut clean, mut count) = (line.to_vec(), 0);
        for _ in 0..ROUNDS {
            let replaced = replace(&mut clean);
            if replaced == 0 {
                return (clean, count);
            }
            count += replaced;
        }
        (REPLACEMENT.as_bytes().to_vec(), count)
    }

    fn private_key(&mut self, line: &[u8]) -> Option<Vec<u8>> {
        let holds = |text: &[u8]| line.windows(text.len()).any(|window| window == text);
        let begins = holds(b"PRIVATE KEY-----") && holds(b"-----BEGIN ");
        if !begins && self.key_lines == 0 {
            return None;
        }
        let ends = holds(b"-----END ");
        self.key_lines = if ends || self.key_lines >= LONGEST_KEY { 0 } else { self.key_lines + 1 };
        Some(REPLACEMENT.as_bytes().to_vec())
    }
}

/// Hides the credentials of addresses in a message, because an error quotes a presigned address that was put into the
/// wrong field or variable. User names and queries are removed; the rest stays.
pub fn hide_in_text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, address) = rest.split_at(start + 3);
        shown.push_str(before);
        let end = address
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '`' | '\'' | '<' | '>'))
            .unwrap_or(address.len());
        let (address, after) = address.split_at(end);
        let path = address.find(['/', '?', '#']).unwrap_or(address.len());
        let (authority, path) = address.split_at(path);
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let kept = path.find(['?', '#']).unwrap_or(path.len());
        shown.push_str(host);
        shown.push_str(path.get(..kept).unwrap_or_default());
        if kept < path.len() {
            shown.push_str("?[hidden]");
        }
        rest = after;
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn redact(line: &str) -> String {
        String::from_utf8(Redactor::default().line(line.as_bytes()).0).unwrap()
    }

    #[test]
    fn every_pattern_compiles() {
        assert_eq!(patterns().len(), PATTERNS.len());
    }

    #[rstest]
    #[case("Authorization: Bearer abcdef1234567890", "Authorization: Bearer [REDACTED]")]
    #[case("password=hunter22 user=bob", "password=[REDACTED] user=bob")]
    #[case(r#"{"password":"hunter 22","user":"bob"}"#, r#"{"password":"[REDACTED]","user":"bob"}"#)]
    #[case("DB_PASSWORD: s3cr3t!", "DB_PASSWORD: [REDACTED]")]
    #[case("postgres://app:pa55word@db:5432/shop", "postgres://app:[REDACTED]@db:5432/shop")]
    #[case("key AKIAIOSFODNN7EXAMPLE used", "key [REDACTED] used")]
    #[case("token eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl end", "token [REDACTED] end")]
    #[case("GET /x?api_key=abcdef123&y=1", "GET /x?api_key=[REDACTED]&y=1")]
    fn removes_secrets_and_keeps_their_names(#[case] line: &str, #[case] clean: &str) {
        assert_eq!(redact(line), clean);
    }

    #[rstest]
    #[case("image sha256:0123456789abcdef0123456789abcdef pulled")]
    #[case("the password is wrong")]
    #[case("GET https://shop:8080/a 200")]
    #[case("tokens: 12")]
    #[case("2026-11-23T10:00:00.1Z level=info msg=\"ready\"")]
    fn leaves_the_rest_alone(#[case] line: &str) {
        assert_eq!(redact(line), line);
    }

    #[test]
    fn counts_what_it_removes() {
        let count = |line: &str| Redactor::default().line(line.as_bytes()).1;
        assert_eq!(count("password=hunter22 at postgres://app:pa55word@db/shop with token=abcdefgh"), 3);
        assert_eq!((count("nothing here"), count("password=[REDACTED]")), (0, 0));
        assert_eq!(count("postgres://app:[REDACTED]@db/shop"), 0);
    }

    /// The slash hides the address from its pattern, until the password with the slash is gone.
    #[test]
    fn what_hides_another_secret_does_so_only_once() {
        assert_eq!(redact(r#"t://n:xxPassword=ab/cd"@h"#), "t://n:[REDACTED]@h");
    }

    #[test]
    fn only_the_whole_beginning_of_a_key_is_one() {
        for line in ["a PRIVATE KEY-----", "-----BEGIN CERTIFICATE-----"] {
            assert_eq!(redact(line), line);
        }
    }

    #[test]
    fn a_private_key_is_removed_over_its_lines() {
        let mut redactor = Redactor::default();
        let lines = ["a", "-----BEGIN RSA PRIVATE KEY-----", "MIIEow", "-----END RSA PRIVATE KEY-----", "b"];
        let clean: Vec<_> =
            lines.iter().map(|line| String::from_utf8(redactor.line(line.as_bytes()).0).unwrap()).collect();
        assert_eq!(clean, ["a", REPLACEMENT, REPLACEMENT, REPLACEMENT, "b"]);
    }

    /// A line that is 16 times as long takes about 16 times as long; a quadratic algorithm would take 256 times.
    #[rstest]
    #[case("a.")]
    #[case("a://b:")]
    #[case("password ")]
    #[case("password=\"x")]
    #[case("token='\\")]
    #[case("secret=abc;")]
    #[case("bearer bearer12 ")]
    #[case("eyJaaaaaaaa.")]
    #[case("-----BEGIN PRIVATE KEY----")]
    fn takes_linear_time(#[case] piece: &str) {
        let fastest = |length: usize| {
            let line = piece.repeat(length / piece.len());
            // The CPU time of this thread, so that other load on the processor does not count.
            let now = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            let took = || {
                let start = now();
                Redactor::default().line(line.as_bytes());
                let took = now() - start;
                took.tv_sec * 1_000_000_000 + took.tv_nsec
            };
            (0..5).map(|_| took()).min().unwrap()
        };
        let (short, long) = (fastest(4 << 10), fastest(64 << 10));
        assert!(long < short * 64, "4 KiB in {short} ns, 64 KiB in {long} ns");
    }

    proptest! {
        #[test]
        fn twice_is_the_same_as_once(line in ".{0,200}") {
            let once = redact(&line);
            prop_assert_eq!(redact(&once), once);
        }

        #[test]
        fn of_pieces_of_secrets_too(pieces in proptest::collection::vec(0_usize..16, 0..40)) {
            const PIECES: [&str; 16] = [
                "t://n:", "@", "/", "password=", "token: ", "secret", "\"", "'", "\\\"", " ", "abcdefgh12", "Bearer ",
                "eyJabcdefgh.abcdefgh.", "AKIAIOSFODNN7EXAMPLE", "[REDACTED]", ",",
            ];
            let line: String = pieces.into_iter().map(|piece| PIECES[piece]).collect();
            let once = redact(&line);
            prop_assert_eq!(redact(&once), once);
        }
    }

    #[rstest]
    #[case("got \"https://b.s3/k?X-Sig=hunter22\", expected", "got \"https://b.s3/k?[hidden]\", expected")]
    #[case("unknown variant `https://me:hunter22@h/x`, x", "unknown variant `https://h/x`, x")]
    #[case("https://h?a=hunter22 https://i/x#hunter22", "https://h?[hidden] https://i/x?[hidden]")]
    #[case("nothing://", "nothing://")]
    #[case("deployment shop/web: is it?", "deployment shop/web: is it?")]
    fn an_address_in_a_message_has_no_credentials(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(hide_in_text(text), shown);
    }
}
