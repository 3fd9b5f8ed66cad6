//! A line without its colours: they stand between a name and its value, and in the middle of words.

use super::text::{Span, at, goes_on, run};

/// What a person sees of a line, and where each byte of it stands in the line.
pub(super) struct Shadow {
    pub text: Vec<u8>,
    places: Vec<usize>,
}

/// The beginnings of a sequence: the escape itself, and as JSON and shells write it.
const BEGINNINGS: [&[u8]; 5] = [b"\x1b[", b"\\u001b[", b"\\x1b[", b"\\033[", b"\\e["];

/// The longest sequence.
const LONGEST: usize = 32;

impl Shadow {
    /// Returns the shadow of a line that has colours.
    pub(super) fn of(line: &[u8]) -> Option<Self> {
        let coloured = |bracket: usize| {
            BEGINNINGS
                .iter()
                .any(|one| (bracket + 1).checked_sub(one.len()).is_some_and(|from| goes_on(line, from, one)))
        };
        memchr::memchr_iter(b'[', line).find(|bracket| coloured(*bracket))?;
        let (mut text, mut places, mut index) = (Vec::with_capacity(line.len()), Vec::with_capacity(line.len()), 0);
        while index < line.len() {
            if let Some(end) = sequence(line, index) {
                index = end;
                continue;
            }
            text.push(at(line, index));
            places.push(index);
            index += 1;
        }
        Some(Self { text, places })
    }

    /// Returns the part of the line that a part of the shadow stands for.
    pub(super) fn place(&self, (from, to): Span) -> Span {
        let place = |index: usize| self.places.get(index).copied();
        let first = place(from).unwrap_or(0);
        (first, to.checked_sub(1).and_then(place).map_or(first, |last| last + 1))
    }
}

/// Returns the end of the sequence that begins here.
fn sequence(line: &[u8], from: usize) -> Option<usize> {
    if !matches!(at(line, from), 0x1b | b'\\') {
        return None;
    }
    let beginning = BEGINNINGS.iter().find(|one| goes_on(line, from, one))?;
    let from = from + beginning.len();
    let end = run(line, from, |byte| byte.is_ascii_digit() || matches!(byte, b';' | b':' | b'?'));
    (at(line, end).is_ascii_alphabetic() && end - from <= LONGEST).then_some(end + 1)
}
