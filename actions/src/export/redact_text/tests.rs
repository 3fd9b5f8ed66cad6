//! Single lines, the time they take, and lines made of pieces.

use super::*;
use proptest::prelude::*;
use rstest::rstest;

fn redact(line: &str) -> String {
    String::from_utf8(Redactor::default().line(line.as_bytes()).0.into_owned()).unwrap()
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

fn all(lines: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut redactor = Redactor::default();
    lines.iter().map(|line| redactor.line(line).0.into_owned()).collect()
}

#[test]
fn counts_what_it_removes() {
    let count = |line: &str| Redactor::default().line(line.as_bytes()).1;
    assert_eq!(count("password=hunter22 at postgres://app:pa55word@db/shop with token=abcdefgh"), 3);
    assert_eq!((count("nothing here"), count("password=[REDACTED]")), (0, 0));
    assert_eq!(count("postgres://app:[REDACTED]@db/shop"), 0);
}

/// A token that ends where an address begins hides that from whoever looks for addresses first.
#[test]
fn what_hides_another_secret_does_so_only_once() {
    assert_eq!(redact(r#"t://n:xxPassword=ab/cd"@h"#), "t://n:xxPassword=[REDACTED]");
    assert_eq!(redact("t://n:xx?token=ab/cd&at=@h:1"), "t://n:[REDACTED]@h:1");
}

/// Found by fuzzing: with the password in it, the beginning was too long to be one.
#[test]
fn a_beginning_that_a_secret_hides_is_seen() {
    let line = "-----BEGIN RSA PRpassword=0123456789012345678901234567 RSA PRIVATE KEY-----Ks";
    assert_eq!(redact(line), redact(&redact(line)));
}

/// Found by fuzzing: the second one was seen only when the first one was gone.
#[test]
fn each_key_that_begins_in_a_line_is_taken() {
    assert_eq!(
        redact("a -----BEGIN RSA PRIVATE KEY-----MIIEow. b -----BEGIN EC PRIVATE KEY-----MHcCAQ. c"),
        "a [REDACTED]. b [REDACTED]. c"
    );
}

fn log(lines: &[&str]) -> Vec<String> {
    let lines: Vec<_> = lines.iter().map(|line| line.as_bytes().to_vec()).collect();
    all(&lines).into_iter().map(|line| String::from_utf8(line).unwrap()).collect()
}

/// Found by fuzzing: what was a key's alone went in the first round, and what the name above says only in the next.
#[test]
fn a_key_below_a_secrets_name_goes_with_what_stands_beside_it() {
    let key = "- a -----BEGIN EC PRIVATE KEY-----\\nMHcCAQEE\\n-----END EC PRIVATE KEY----- b";
    assert_eq!(log(&["tokens:", key]), ["tokens:", "- [REDACTED]"]);
}

/// Found by fuzzing: the second one was seen only when the first one was gone.
#[test]
fn all_words_of_a_key_in_a_line_are_taken() {
    let word = "AAAAIBZx9Kp2Lm4Rt5Yu8Io1Pa3Sd6Fg9Hj2bolt0";
    let line = format!("{word}, {word}");
    assert_eq!(log(&["Private-Lines: 1", &line])[1], "[REDACTED], [REDACTED]");
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
        lines.iter().map(|line| String::from_utf8(redactor.line(line.as_bytes()).0.into_owned()).unwrap()).collect();
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
#[case("-----BEGIN PRIVATE KEY-----")]
#[case("-----BEGIN PRIVATE KEY-----\\n\"")]
#[case("auth=\"x ")]
#[case("password=\"%s ")]
#[case("authorization: none ")]
#[case("cookie: x ")]
#[case("token=[a ")]
#[case("\\")]
#[case("password=\\")]
#[case("\"value\":\"")]
#[case("name: password ")]
#[case("sk_live_1")]
#[case("cGFzc3dvcmQ6IGh1bnRlcjIy")]
#[case("kty\"d\":\"")]
#[case("curl -u a:")]
#[case("AA:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA1")]
#[case("{\"password\":{")]
#[case("x@tcp(")]
#[case("\u{1b}[1m")]
#[case("passwordpassword")]
#[case("password=a;b c")]
#[case("a.atlasv1.")]
#[case("cookie: a=b, c=d;")]
#[case("cookie: [\"a=b\", ")]
#[case("into t (password) values (")]
#[case("into t (password, password) values ('a', ('b'),")]
#[case("echo x | kinit ")]
#[case("a1 LOGIN bob ")]
#[case("net use /user:b ")]
#[case("snmpwalk -c x ")]
#[case("reset/abcd1efg2hij3kl4/")]
#[case(".php(1): login('a', ")]
#[case("login('a', ")]
#[case("{password,\"x\" ")]
#[case("password generated 1: ")]
#[case("AUTH PLAIN ")]
#[case("4539-1488-0343-6467 card ")]
#[case("$6$")]
#[case("$6$aaaaaaaaaaaaaaaaa")]
#[case("<password a")]
#[case("<password>")]
#[case("password='''")]
#[case("verification code is 1")]
#[case("token=$(")]
#[case("token=(a ")]
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

const PIECES: [&str; 66] = [
    "t://n:",
    "@",
    "/",
    "password=",
    "token: ",
    "secret",
    "\"",
    "'",
    "\\\"",
    " ",
    "abcdefgh12",
    "Bearer ",
    "[",
    "]",
    "\\",
    "eyJabcdefgh.abcdefg1.",
    "AKIAIOSFODNN7EXAMPLE",
    "[REDACTED]",
    ",",
    ";",
    "&x=",
    "%3D",
    "%22",
    "auth",
    "Authorization: ",
    "Cookie: ",
    "{",
    "}",
    "value",
    "name",
    "\u{1b}[1m",
    "curl -u ",
    "--",
    "kty\":\"",
    "\"d\":\"",
    "https://",
    "<password>",
    "</",
    "é",
    "cGFzc3dvcmQ6IGh1bnRlcjIy",
    "echo ",
    " | kinit",
    "\"AUTH\" \"x\" ",
    "AUTH PLAIN ",
    "a1 LOGIN b ",
    "snmpget -c ",
    "into t (a, password) values ('b', '",
    "', '",
    "(",
    ")",
    ".php(1): login(",
    "$6$abcd$",
    "(hidden)",
    "code=",
    "Unseal Key 1: ",
    "reset/",
    "Set-Cookie: a=b; ",
    "theme=dark; ",
    "'''",
    "{password,\"",
    "4539148803436467",
    "cvc: 737",
    "$(",
    "bytes",
    "PASS ",
    "temporary password generated: ",
];

const LINES: [&str; 42] = [
    "-----BEGIN RSA PRIVATE KEY-----",
    "-----END RSA PRIVATE KEY-----",
    "-----BEGIN CERTIFICATE-----",
    "password: |",
    "tokens:",
    "  deeper",
    "- item",
    "- name: DB_PASSWORD",
    "  value: hunter22",
    "MIIEowIBAAKCAQEAx7Zq9x7Kp2Lm4Rt5Yu8Io1Pa3Sd6Fg9Hj2Kl5Zx8Cv1Bn4aa",
    "Rt5Yu8==",
    "Proc-Type: 4,ENCRYPTED",
    "plain words",
    "{\"log\":\"-----BEGIN PRIVATE KEY-----\\n\"}",
    "{\"log\":\"abcd\\n\"}",
    "",
    "Private-Lines: 2",
    "Private-MAC: 01",
    "2026-11-23T10:00:00.1Z -----BEGIN PRIVATE KEY-----",
    "2026-11-23T10:00:00.25Z abcd",
    "x -----BEGIN PRIVATE KEY-----\" 200",
    "secret:",
    "    secretName: web",
    "  password: x'y z",
    "The new password is as follows:",
    "Your recovery codes:",
    "1234 5678",
    "a1b2-c3d4",
    "334 UGFzc3dvcmQ6",
    "C: aHVudGVyMjI=",
    "  [\"password\"]=>",
    "  string(3) \"a\"b\"",
    "Content-Disposition: form-data; name=\"password\"",
    "--x--",
    "chpasswd:",
    "  list: |",
    "    root:pw",
    "chpasswd <<EOF",
    "root:$6$a$b",
    "EOF",
    "Xy12ab9Zq33",
    "\u{1b}[1mXy12ab9Zq33",
];

proptest! {
    #[test]
    fn twice_is_the_same_as_once(line in ".{0,200}") {
        let once = redact(&line);
        prop_assert_eq!(redact(&once), once);
    }

    #[test]
    fn of_pieces_of_secrets_too(pieces in proptest::collection::vec(0_usize..PIECES.len(), 0..40)) {
        let line: String = pieces.into_iter().map(|piece| PIECES[piece]).collect();
        let once = redact(&line);
        prop_assert_eq!(redact(&once), once);
    }

    #[test]
    fn of_logs_too(lines in proptest::collection::vec((0_usize..LINES.len(), 0_usize..PIECES.len(), 0_u8..4), 0..12)) {
        let lines = lines.into_iter().map(|(line, piece, end)| {
            let piece = if end == 0 { PIECES[piece] } else { "" };
            format!("{}{piece}", LINES[line]).into_bytes()
        });
        let once = all(&lines.collect::<Vec<_>>());
        let shown = |lines: &[Vec<u8>]| String::from_utf8_lossy(&lines.join(&b'\n')).into_owned();
        prop_assert_eq!(shown(&all(&once)), shown(&once));
    }
}
