//! Any bytes as a log, in any pieces: the same lines come of it, redacting twice is redacting once, and a password on a line
//! of its own never passes.
#![no_main]
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "what fails here is a finding")]

use actions::cluster::LogLines;
use actions::export::redact_text::Redactor;
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use libfuzzer_sys::fuzz_target;

const LONGEST_LINE: usize = 1 << 20;
const SECRET: &[u8] = b"Zq9x7Kp2Lm4";
/// What stands before and behind the password, in a line of its own.
const PLANTS: [(&str, &str); 6] = [
    ("db password=", " user=shop"),
    (r#"{"password":""#, r#"","user":"shop"}"#),
    ("password='it''s ", " x'"),
    ("Authorization: Bearer ", ""),
    ("postgres://shop:", "@db:5432/shop"),
    ("<password>", "</password>"),
];

fuzz_target!(|input: (Vec<u8>, u16, &[u8])| {
    let (pieces, place, log) = input;
    if holds(log, SECRET) {
        return;
    }
    let mut lines: Vec<&[u8]> = log.split(|byte| *byte == b'\n').collect();
    let (before, behind) = PLANTS[usize::from(place) % PLANTS.len()];
    let planted = [before.as_bytes(), SECRET, behind.as_bytes()].concat();
    lines.insert(usize::from(place) % (lines.len() + 1), &planted);
    let log = lines.join(&b'\n');
    let whole = read(vec![Bytes::from(log.clone())]);
    assert_eq!(read(cut(&log, &pieces)), whole, "how it arrives makes a difference");
    let once = redact(&whole);
    assert!(!once.iter().any(|line| holds(line, SECRET)), "the password passed");
    assert_eq!(redact(&once), once, "redacting twice is not redacting once");
});

/// The log in pieces of these sizes; the last one is the rest.
fn cut(log: &[u8], sizes: &[u8]) -> Vec<Bytes> {
    let (mut rest, mut pieces) = (log, Vec::new());
    for size in sizes {
        let (piece, left) = rest.split_at(rest.len().min(usize::from(*size)));
        pieces.push(Bytes::copy_from_slice(piece));
        rest = left;
    }
    pieces.push(Bytes::copy_from_slice(rest));
    pieces
}

fn read(pieces: Vec<Bytes>) -> Vec<Vec<u8>> {
    let mut log = LogLines::new(futures::stream::iter(pieces.into_iter().map(Ok)).boxed(), LONGEST_LINE);
    let mut lines = Vec::new();
    // Nothing in it waits.
    while let Some(Ok(Some(line))) = log.next().now_or_never() {
        assert_eq!(line.cut, 0);
        lines.push(line.bytes.to_vec());
    }
    lines
}

fn redact(lines: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut redactor = Redactor::default();
    lines.iter().map(|line| redactor.line(line).0.into_owned()).collect()
}

fn holds(line: &[u8], text: &[u8]) -> bool {
    line.windows(text.len()).any(|window| window == text)
}
