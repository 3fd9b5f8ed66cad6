//! Numbers of payment cards, and the codes beside them.

use super::text::{Span, at, find, part, run};

/// How far around a number something must say that it is a card's, since one in ten numbers has a right check digit.
const AROUND: usize = 128;

/// Returns whether a long word is a card's number of 16 digits, with or without hyphens.
fn is_number(own: &[u8]) -> bool {
    let hyphens = own.len() == 19 && [4, 9, 14].iter().all(|index| at(own, *index) == b'-');
    if own.len() != 16 && !hyphens || !matches!(own.first(), Some(b'2'..=b'6')) {
        return false;
    }
    let digits: Vec<u32> = own.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| u32::from(byte - b'0')).collect();
    let luhn = digits.iter().rev().enumerate().map(|(index, digit)| {
        let twice = if index % 2 == 1 { digit * 2 } else { *digit };
        if twice > 9 { twice - 9 } else { twice }
    });
    digits.len() == 16 && luhn.sum::<u32>().is_multiple_of(10)
}

/// Takes a long word if it is a card's number, and the code that stands near behind it.
pub(super) fn take(text: &[u8], word: Span, all: &mut Vec<Span>) {
    if !is_number(part(text, word)) {
        return;
    }
    let near = part(text, (word.0.saturating_sub(AROUND), word.1 + AROUND)).to_ascii_lowercase();
    if !["card", "cvc", "cvv", "\"pan\"", "pan="].iter().any(|one| find(&near, 0, one.as_bytes()).is_some()) {
        return;
    }
    all.push(word);
    let behind = part(text, (word.1, word.1 + AROUND)).to_ascii_lowercase();
    let Some(code) = ["cvc", "cvv"].iter().find_map(|one| find(&behind, 0, one.as_bytes())) else { return };
    let from = run(&behind, code, |byte| !byte.is_ascii_digit());
    let to = run(&behind, from, |byte| byte.is_ascii_digit());
    if from - code <= 12 && matches!(to - from, 3 | 4) {
        all.push((word.1 + from, word.1 + to));
    }
}
