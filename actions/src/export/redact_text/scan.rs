//! Finds the secrets of one line.

use super::text::{Quote, REPLACEMENT, Span, after_any, at, part, run};
use super::triggers::{self, Trigger};
use super::{addresses, calls, cards, columns, commands, context, cookies, encoded, named, prefixes, schemes};

/// What was encoded twice is decoded twice.
const DEPTH: usize = 2;

/// Returns the parts of a line that are secrets, in their order; those that were replaced before are not among them.
pub(super) fn secrets(text: &[u8]) -> Vec<Span> {
    within(text, DEPTH)
}

fn within(text: &[u8], depth: usize) -> Vec<Span> {
    let mut all = plain(text);
    let mut from = 0;
    while let Some(word) = encoded::next(text, from) {
        from = word.1;
        cards::take(text, word, &mut all);
        if let Some(key) = prefixes::within(text, word) {
            from = from.max(key.1);
            all.push(key);
        } else if depth > 0 {
            let secret = encoded::texts(text, word).filter(|(_, decoded)| !within(decoded, depth - 1).is_empty());
            all.extend(secret.map(|(span, _)| span));
        }
    }
    if all.is_empty() { all } else { merge(all, text) }
}

/// Orders them and joins those that overlap.
pub(super) fn merge(mut all: Vec<Span>, text: &[u8]) -> Vec<Span> {
    all.sort_unstable();
    let mut merged: Vec<Span> = Vec::with_capacity(all.len());
    for span in all {
        match merged.last_mut() {
            Some(last) if span.0 < last.1 => last.1 = last.1.max(span.1),
            _ => merged.push(span),
        }
    }
    merged.retain(|span| span.1 > span.0 && part(text, *span) != REPLACEMENT.as_bytes());
    merged
}

/// Looks at each place where one of the texts stands that secrets have.
fn plain(text: &[u8]) -> Vec<Span> {
    let (mut all, mut from, mut web_key, mut rows) = (Vec::new(), 0, false, 0);
    while let Some((hit, trigger)) = triggers::next(text, from) {
        let (found, on) = match trigger {
            Trigger::Short if !context::short(text, hit) => (None, hit.1),
            Trigger::Name | Trigger::Short => {
                let (found, on) = named::look(text, hit);
                // The values of a column stand behind all columns' names: they are looked for once.
                if found.is_none() && on > rows {
                    rows = columns::values(text, (hit.0, on), &mut all).unwrap_or(rows);
                }
                (found, on)
            }
            Trigger::Cookie => (None, cookies::values(text, hit, &mut all)),
            Trigger::Value => (named::pair_before(text, hit), hit.0 + 1),
            Trigger::Address => (addresses::hook(text, hit.1).or_else(|| addresses::user(text, hit.1)), hit.1),
            Trigger::Path => (addresses::confirmation(text, hit.1), hit.1),
            Trigger::Source => (addresses::source(text, hit), hit.1),
            Trigger::Scheme => (schemes::alone(text, hit), hit.1),
            Trigger::Flag => (commands::flag(text, hit), hit.0 + 1),
            Trigger::Command => (None, commands::places(text, hit, &mut all)),
            Trigger::Call => (calls::password(text, hit), hit.1),
            Trigger::WebKey => {
                if !std::mem::replace(&mut web_key, true) {
                    all.extend(members(text));
                }
                (None, hit.1)
            }
        };
        from = on.max(hit.0 + 1);
        if let Some(span) = found {
            from = from.max(span.1);
            all.push(span);
        }
    }
    all
}

/// Returns the private members of a JSON Web Key.
fn members(text: &[u8]) -> Vec<Span> {
    const MEMBERS: [&str; 8] = ["dp", "dq", "qi", "d", "p", "q", "k", "r"];
    let (mut all, mut from) = (Vec::new(), 0);
    while from < text.len() {
        let Some(quote) = Quote::open(text, from) else {
            from += 1;
            continue;
        };
        from = quote.end;
        let Some(name) = after_any(text, quote.end, &MEMBERS).and_then(|to| quote.again(text, to)) else { continue };
        let value = run(text, name, |byte| matches!(byte, b':' | b' '));
        let Some(open) = Quote::open(text, value).filter(|_| at(text, name) == b':') else { continue };
        let close = open.close(text, text.len()).map_or(text.len(), |(to, _)| to);
        all.push((open.end, close));
        from = close;
    }
    all
}
