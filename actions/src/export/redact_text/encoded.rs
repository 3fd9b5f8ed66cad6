//! Long words of a line, and base64 in them, which may hide a name and its value from whoever looks for those.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::text::{Span, at, in_base64, in_word, part, run, run_back};

/// The shortest text that holds a name and a value, encoded.
const SHORTEST: usize = 16;
/// What is longer is decoded so far: four bytes become three.
const LONGEST: usize = 16 << 10;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Returns the next long word, from there on. All that is looked at elsewhere (vendors' keys, encoded text) is one.
pub(super) fn next(text: &[u8], from: usize) -> Option<Span> {
    let mut probe = from;
    // One look at every SHORTEST bytes finds all that are long enough.
    while probe < text.len() {
        if !in_word(at(text, probe)) {
            probe += SHORTEST;
            continue;
        }
        let start = run_back(text, probe, probe - from, in_word);
        let end = run(text, probe, in_word);
        if end - start >= SHORTEST {
            return Some((start, end));
        }
        probe = end + SHORTEST;
    }
    None
}

/// Returns the encoded texts in a long word, and where each stands.
pub(super) fn texts(text: &[u8], (from, to): Span) -> impl Iterator<Item = (Span, Vec<u8>)> {
    let mut from = from;
    std::iter::from_fn(move || {
        while from < to {
            let end = run(part(text, (0, to)), from, in_base64);
            let start = std::mem::replace(&mut from, end + 1);
            let may = end - start >= SHORTEST && is_text(part(text, (start, start + SHORTEST)));
            let decoded = if may { decode(part(text, (start, end))) } else { None };
            if let Some(decoded) = decoded {
                return Some(((start, run(text, end, |byte| byte == b'=')), decoded));
            }
        }
        None
    })
}

/// Returns whether the first bytes, decoded, would be text. It is asked of every long word, so it only looks at the letters: of
/// four the first one says whether the highest bit of a byte is set, or whether it is a control character.
fn is_text(first: &[u8]) -> bool {
    first.iter().step_by(4).all(|byte| matches!(byte, b'C' | b'I'..=b'Z' | b'a'..=b'f'))
}

/// Returns what was encoded, if it is text.
pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let text = part(text, (0, LONGEST));
    let usual: Vec<u8> = text
        .iter()
        .take_while(|byte| **byte != b'=')
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => *other,
        })
        .collect();
    let whole = if usual.len() % 4 == 1 { usual.len() - 1 } else { usual.len() };
    let decoded = LENIENT.decode(part(&usual, (0, whole))).ok()?;
    let readable = decoded.iter().all(|byte| *byte >= b' ' && *byte != 0x7f || byte.is_ascii_whitespace());
    (readable && std::str::from_utf8(&decoded).is_ok()).then_some(decoded)
}
