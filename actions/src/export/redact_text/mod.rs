//! Replaces text that looks like a secret. A help, but no guarantee: a secret that matches no pattern stays. Takes linear
//! time, and redacting twice is the same as once.
//!
//! A line is looked through once for texts that secrets have (`triggers`): names (`name`, `names`, `signs`, `named`, `values`, `harmless`),
//! schemes (`schemes`, `cookies`), commands and calls (`commands`, `calls`, `columns`), addresses (`addresses`). Only where one
//! stands more is done. Beside that its long words are looked at (`encoded`): vendors' keys (`prefixes`, `vendors`), cards' numbers (`cards`) and base64. And lines are followed that
//! a secret spans, or that announce one (`keys`, `blocks`, `dialogue`).

mod addresses;
mod blocks;
mod calls;
mod cards;
mod columns;
mod commands;
mod context;
mod cookies;
mod dialogue;
mod encoded;
mod harmless;
mod keys;
mod name;
mod named;
mod names;
mod nearby;
mod prefixes;
mod scan;
mod schemes;
mod shadow;
mod signs;
mod text;
mod triggers;
mod values;
mod vendors;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use super::address::hide_in_text;
use blocks::Blocks;
use dialogue::Dialogue;
use keys::Keys;
use names::{Says, says};
use shadow::Shadow;
use text::{REPLACEMENT, Span, part};

/// The most rounds on a line, since one replacement may be what lets another secret be seen. A line that is still not clean
/// then was made so on purpose, and is replaced as a whole.
const ROUNDS: usize = 16;

/// Redacts one log, line by line: a private key spans many lines, and so do YAML's blocks.
#[derive(Debug, Default)]
pub struct Redactor {
    keys: Keys,
    blocks: Blocks,
    dialogue: Dialogue,
}

impl Redactor {
    /// Returns the line without secrets, and the number of secrets.
    pub fn line<'a>(&mut self, line: &'a [u8]) -> (Cow<'a, [u8]>, usize) {
        let mut found = first_of(line, [&mut |seen| self.of_lines_before(seen), &mut scan::secrets]);
        if found.is_empty() {
            self.follow(line);
            return (Cow::Borrowed(line), 0);
        }
        let (mut clean, mut count) = (without(line, &found), found.len());
        for _ in 0..ROUNDS {
            found = first_of(&clean, [&mut scan::secrets, &mut keys::begun]);
            if found.is_empty() {
                self.follow(&clean);
                return (Cow::Owned(clean), count);
            }
            clean = without(&clean, &found);
            count += found.len();
        }
        self.follow(REPLACEMENT.as_bytes());
        (Cow::Borrowed(REPLACEMENT.as_bytes()), count)
    }

    /// Looks what a line, without its secrets, says about the next ones.
    fn follow(&mut self, line: &[u8]) {
        self.blocks.follow(line);
        self.dialogue.follow(line);
        self.keys.follow(line);
    }

    /// Returns the parts of a line that are secret because of what stood above it.
    fn of_lines_before(&mut self, line: &[u8]) -> Vec<Span> {
        let block = self.blocks.hide(line).or_else(|| self.dialogue.hide(line));
        let mut found = self.keys.hide(line);
        if let Some(block) = block {
            found.push(block);
        }
        if found.is_empty() { found } else { scan::merge(found, line) }
    }
}

/// Returns whether a name says that its value is secret, whatever that looks like: `password`, but not `session`.
#[must_use]
pub fn names_a_secret(name: &str) -> bool {
    says(name.as_bytes()).is_some_and(|says| says != Says::Perhaps)
}

type Find<'a> = &'a mut dyn FnMut(&[u8]) -> Vec<Span>;

/// Finds parts of a line in what a person sees of it: what the first of these finds, that finds any.
fn first_of<const N: usize>(line: &[u8], find: [Find<'_>; N]) -> Vec<Span> {
    let shadow = Shadow::of(line);
    let seen = shadow.as_ref().map_or(line, |shadow| &shadow.text);
    let found = find.into_iter().map(|find| find(seen)).find(|found| !found.is_empty()).unwrap_or_default();
    match shadow {
        Some(shadow) => found.into_iter().map(|span| shadow.place(span)).collect(),
        None => found,
    }
}

/// Replaces parts of a line.
fn without(line: &[u8], parts: &[Span]) -> Vec<u8> {
    let (mut clean, mut from) = (Vec::with_capacity(line.len()), 0);
    for (start, end) in parts {
        clean.extend_from_slice(part(line, (from, *start)));
        clean.extend_from_slice(REPLACEMENT.as_bytes());
        from = *end;
    }
    clean.extend_from_slice(part(line, (from, line.len())));
    clean
}
