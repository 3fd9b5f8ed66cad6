//! Beginnings by which vendors' keys are known, wherever they stand. The beginnings are the vendors' own facts.

use std::sync::OnceLock;

use super::text::{Span, at, before, begins_word, find, is_letter, part, run, run_back};
use super::vendors::{KNOWN, Known, Of};

/// Pairs of bytes with which a key begins, one bit each: nearly all words are done with after one look.
#[expect(clippy::indexing_slicing, reason = "evaluated when it is compiled: out of bounds it does not build")]
const PAIRS: [u64; 1024] = {
    let (mut pairs, mut index) = ([0_u64; 1024], 0);
    while index < KNOWN.len() {
        let begins = KNOWN[index].begins.as_bytes();
        let pair = begins[0] as usize * 256 + begins[1] as usize;
        pairs[pair / 64] |= 1 << (pair % 64);
        index += 1;
    }
    pairs
};

fn may_begin(first: u8, second: u8) -> bool {
    let pair = usize::from(first) * 256 + usize::from(second);
    PAIRS.get(pair / 64).is_some_and(|bits| bits >> (pair % 64) & 1 == 1)
}

/// Returns the first key in a long word.
pub(super) fn within(text: &[u8], (from, to): Span) -> Option<Span> {
    if let Some(found) = around(text, (from, to)) {
        return Some(found);
    }
    let known = |index: usize| {
        let first = at(text, index);
        let second = at(text, index + 1);
        let of = table().get(usize::from(first)).filter(|_| may_begin(first, second))?;
        of.iter().filter(|one| one.begins.as_bytes().get(1) == Some(&second)).find_map(|one| one.find(text, index))
    };
    // Escapes have letters that belong to no word: those can only stand at the beginning.
    let escape = match before(text, from) {
        b'%' => 2,
        b'\\' if at(text, from) == b'u' => 5,
        b'\\' => 1,
        _ => 0,
    };
    let first = [from, from + escape].into_iter().filter(|index| begins_word(text, *index)).find_map(known);
    if first.is_some() {
        return first;
    }
    let mut last = 0;
    for (index, byte) in part(text, (from, to)).iter().enumerate() {
        let word = is_letter(*byte);
        let found = if word && !is_letter(last) { known(from + index) } else { None };
        if found.is_some() {
            return found;
        }
        last = *byte;
    }
    None
}

/// The keys by the first byte of their beginnings.
fn table() -> &'static [Vec<&'static Known>] {
    static BY_FIRST: OnceLock<Vec<Vec<&'static Known>>> = OnceLock::new();
    BY_FIRST.get_or_init(|| {
        let of = |byte: u8| KNOWN.iter().filter(|one| one.begins.as_bytes().first() == Some(&byte)).collect();
        (0..=u8::MAX).map(of).collect()
    })
}

/// Returns the key of which this long word is a part: a bot's number before Telegram's, a made word before Terraform's and
/// before those of Azure's applications.
fn around(text: &[u8], (from, to): Span) -> Option<Span> {
    let letters = |byte: u8| Of::Dotted.has(byte) || byte == b'~';
    let enough = |start: usize, least: usize| from - start >= least;
    let end = run(text, to, |byte| Of::Base64.has(byte));
    match (before(text, from), to - from >= 30) {
        (b'$' | b'}', _) => hash(text, from).map(|start| (start, run(text, to, |byte| byte == b'='))),
        (b':', true) if at(text, from) == b'A' && at(text, from + 1) == b'A' => {
            let start = run_back(text, from - 1, 10, |byte| byte.is_ascii_digit());
            let end = run(text, from, |byte| Of::Address.has(byte));
            enough(start, 9).then_some((start, end))
        }
        (b'~', true) if part(text, (from.saturating_sub(7), from)) == b"sha256~" => Some((from - 7, end)),
        (b'~', true) if before(text, from - 1) == b'Q' => {
            let start = run_back(text, from - 1, 5, letters);
            enough(start, 5).then_some((start, end))
        }
        (_, true) if to - from >= 60 && find(part(text, (0, to)), from, b".atlasv1.").is_some() => Some((from, end)),
        _ => None,
    }
}

/// Beginnings of passwords' hashes: of `/etc/shadow`, of web servers, of frameworks.
const HASHES: [&str; 17] = [
    "$1$",
    "$2a$",
    "$2b$",
    "$2y$",
    "$5$",
    "$6$",
    "$7$",
    "$y$",
    "$gy$",
    "$argon2",
    "$apr1$",
    "$scrypt$",
    "$pbkdf2",
    "pbkdf2_sha",
    "argon2$",
    "scrypt$",
    "bcrypt_sha",
];

/// Returns where the hash of a password begins whose last part does here: `$6$salt$hash`, `{SSHA}hash`.
fn hash(text: &[u8], from: usize) -> Option<usize> {
    const LONGEST: usize = 128;
    if before(text, from) == b'}' {
        let start =
            run_back(text, from - 1, 16, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-');
        let known = ["SHA", "MD5", "CRYPT", "PBKDF2"]
            .iter()
            .any(|one| find(part(text, (0, from)), start, one.as_bytes()).is_some());
        return (before(text, start) == b'{' && known).then_some(from);
    }
    let start = run_back(text, from, LONGEST, |byte| byte.is_ascii_alphanumeric() || b"$./=,_+-".contains(&byte));
    let head = part(text, (0, from));
    HASHES.iter().filter_map(|one| find(head, start, one.as_bytes())).min()
}
