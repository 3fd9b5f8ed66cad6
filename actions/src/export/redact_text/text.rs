//! Steps through a line's bytes.

/// The text that replaces a secret.
pub(super) const REPLACEMENT: &str = "[REDACTED]";

/// A part of a line: from where, to where.
pub(super) type Span = (usize, usize);

/// Returns whether a replaced secret ends there.
pub(super) fn is_replaced(text: &[u8], to: usize) -> bool {
    part(text, (to.saturating_sub(REPLACEMENT.len()), to)) == REPLACEMENT.as_bytes()
}

/// Returns the byte there, and 0 behind the end.
pub(super) fn at(text: &[u8], index: usize) -> u8 {
    text.get(index).copied().unwrap_or(0)
}

/// Returns the byte before it, and 0 at the beginning.
pub(super) fn before(text: &[u8], index: usize) -> u8 {
    index.checked_sub(1).map_or(0, |index| at(text, index))
}

/// Returns the bytes between, and none if there are none.
pub(super) fn part(text: &[u8], (from, to): Span) -> &[u8] {
    text.get(from..to.min(text.len())).unwrap_or_default()
}

/// Returns the end of the bytes of a kind that begin here.
pub(super) fn run(text: &[u8], from: usize, of: impl Fn(u8) -> bool) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    from + rest.iter().position(|byte| !of(*byte)).unwrap_or(rest.len())
}

/// Returns the beginning of the bytes of a kind that end here; at most so many.
pub(super) fn run_back(text: &[u8], to: usize, most: usize, of: impl Fn(u8) -> bool) -> usize {
    let head = part(text, (to.saturating_sub(most), to));
    to - head.iter().rev().position(|byte| !of(*byte)).unwrap_or(head.len())
}

/// Returns the end of the spaces and tabs that begin here.
pub(super) fn blanks(text: &[u8], from: usize) -> usize {
    run(text, from, |byte| matches!(byte, b' ' | b'\t'))
}

/// Returns whether the text goes on like that, in whichever case.
pub(super) fn goes_on(text: &[u8], from: usize, with: &[u8]) -> bool {
    text.get(from..from.saturating_add(with.len())).is_some_and(|found| found.eq_ignore_ascii_case(with))
}

/// Returns whether a text ends like that, in whichever case.
pub(super) fn ends_like(text: &[u8], with: &[u8]) -> bool {
    text.len().checked_sub(with.len()).is_some_and(|from| goes_on(text, from, with))
}

/// Returns the first of these that the text goes on with, as its end.
pub(super) fn after_any(text: &[u8], from: usize, of: &[&str]) -> Option<usize> {
    of.iter().find(|one| goes_on(text, from, one.as_bytes())).map(|one| from + one.len())
}

/// Returns where the text stands next.
pub(super) fn find(text: &[u8], from: usize, what: &[u8]) -> Option<usize> {
    memchr::memmem::find(text.get(from..)?, what).map(|at| from + at)
}

/// Bytes of a name: `spring.datasource.password`, `X-Api-Key`, `DB_PASSWORD`.
pub(super) fn in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// A table of the bytes that are letters, digits or one of these.
#[expect(clippy::indexing_slicing, reason = "evaluated when it is compiled: out of bounds it does not build")]
const fn letters_and(others: &[u8]) -> [bool; 256] {
    let (mut table, mut byte) = ([false; 256], 0);
    while byte < 128_u8 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut index = 0;
    while index < others.len() {
        table[others[index] as usize] = true;
        index += 1;
    }
    table
}

/// Letters and digits, by a table: it is asked of every byte of long words.
pub(super) fn is_letter(byte: u8) -> bool {
    const TABLE: [bool; 256] = letters_and(b"");
    TABLE.get(usize::from(byte)).copied().unwrap_or(false)
}

/// Bytes of base64, of either alphabet, without the padding.
pub(super) fn in_base64(byte: u8) -> bool {
    const TABLE: [bool; 256] = letters_and(b"+/-_");
    TABLE.get(usize::from(byte)).copied().unwrap_or(false)
}

/// Bytes of long words: base64, and the dots between the parts of some keys.
pub(super) fn in_word(byte: u8) -> bool {
    const TABLE: [bool; 256] = letters_and(b"+/-_.");
    TABLE.get(usize::from(byte)).copied().unwrap_or(false)
}

/// Returns whether a word begins here: behind a letter or a digit none does, unless those are an escape's (`%3D`, `\n`,
/// `\u003d`).
pub(super) fn begins_word(text: &[u8], index: usize) -> bool {
    let back = |count: usize| index.checked_sub(count).map_or(0, |index| at(text, index));
    !back(1).is_ascii_alphanumeric()
        || back(3) == b'%' && back(2).is_ascii_hexdigit() && back(1).is_ascii_hexdigit()
        || back(2) == b'\\' && matches!(back(1), b'n' | b'r' | b't')
        || back(6) == b'\\' && back(5) == b'u'
}

/// Returns whether a value can end before this byte: behind a quote or a bracket that closes it.
pub(super) fn ends_value(byte: u8) -> bool {
    byte == 0 || byte.is_ascii_whitespace() || b",;}])>:\"'`\\|&<.!?".contains(&byte)
}

/// Returns whether a value looks made, not written: letters with digits or of both cases in no order that words have.
pub(super) fn scrambled(value: &[u8]) -> bool {
    let (mut digits, mut letters, mut changes, mut last) = (0, 0, 0, 0_u8);
    for byte in value {
        let kind = match byte {
            b'0'..=b'9' => 1,
            b'a'..=b'z' => 2,
            b'A'..=b'Z' => 3,
            _ => 0,
        };
        digits += usize::from(kind == 1);
        letters += usize::from(kind > 1);
        changes += usize::from(kind != last && kind != 0 && last != 0);
        last = kind;
    }
    let long = value.len() >= 8 && !value.iter().any(u8::is_ascii_whitespace);
    long && (digits > 0 && letters > 0 && changes >= 3 || changes * 3 >= value.len() || digits == value.len())
}

/// A quotation mark, as deep in other strings as its escapes say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quote<'a> {
    mark: &'a [u8],
    escapes: usize,
    /// Where what is quoted begins.
    pub end: usize,
}

/// Marks in the spelling of addresses, of XML, and of careful JSON.
const SPELT: [&str; 8] = ["%22", "%27", "&quot;", "&#34;", "&apos;", "&#39;", "\\u0022", "\\u0027"];

/// More backslashes before a mark than strings in strings need.
const MOST_ESCAPES: usize = 31;

impl<'a> Quote<'a> {
    /// Returns the mark that stands here.
    pub(super) fn open(text: &'a [u8], from: usize) -> Option<Self> {
        let spelt = matches!(at(text, from), b'%' | b'&' | b'\\');
        if let Some(end) = if spelt { after_any(text, from, &SPELT) } else { None } {
            return Some(Self { mark: part(text, (from, end)), escapes: 0, end });
        }
        let mark = run(part(text, (0, from + MOST_ESCAPES)), from, |byte| byte == b'\\');
        let found = matches!(at(text, mark), b'"' | b'\'' | b'`');
        found.then(|| Self { mark: part(text, (mark, mark + 1)), escapes: mark - from, end: mark + 1 })
    }

    /// Returns the mark that ends before this place.
    pub(super) fn ending(text: &'a [u8], to: usize) -> Option<Self> {
        let ends = |one: &&&str| to.checked_sub(one.len()).is_some_and(|from| goes_on(text, from, one.as_bytes()));
        let may_end = matches!(before(text, to), b'2' | b'7' | b';');
        if let Some(spelt) = SPELT.iter().find(|one| may_end && ends(one)) {
            return Some(Self { mark: part(text, (to - spelt.len(), to)), escapes: 0, end: to });
        }
        if !matches!(before(text, to), b'"' | b'\'' | b'`') {
            return None;
        }
        let from = run_back(text, to - 1, MOST_ESCAPES, |byte| byte == b'\\');
        Some(Self { mark: part(text, (to - 1, to)), escapes: to - 1 - from, end: to })
    }

    /// Returns whether the same mark stands here, and its end.
    pub(super) fn again(&self, text: &[u8], from: usize) -> Option<usize> {
        let mark = Quote::open(text, from)?;
        (mark.mark.eq_ignore_ascii_case(self.mark) && mark.escapes == self.escapes).then_some(mark.end)
    }

    /// Returns where the closing mark begins and ends. A mark that is escaped, doubled, or in the middle of a word is part of
    /// what is quoted.
    pub(super) fn close(&self, text: &[u8], limit: usize) -> Option<Span> {
        let head = part(text, (0, limit));
        let mut from = self.end;
        while let Some(mark) = find(head, from, self.mark) {
            let end = mark + self.mark.len();
            from = end;
            if self.mark.len() > 1 {
                return Some((mark, end));
            }
            let escapes = mark - run_back(text, mark, mark - self.end, |byte| byte == b'\\');
            if escapes % (2 * (self.escapes + 1)) == 2 * self.escapes + 1 {
                continue;
            }
            if self.escapes == 0 && mark > self.end && at(text, end) == at(self.mark, 0) {
                from = end + 1;
                continue;
            }
            let next = at(text, end);
            if !next.is_ascii_alphanumeric() && !matches!(next, b'_' | b'$' | b'%') {
                return Some((mark - escapes.min(self.escapes), end));
            }
        }
        None
    }
}

/// Returns the end of a line without blanks and line ends.
pub(super) fn trimmed(text: &[u8]) -> usize {
    text.len() - text.iter().rev().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// Returns where a line begins behind the time that the API server puts before it.
pub(super) fn behind_time(text: &[u8]) -> usize {
    let head = part(text, (0, 40));
    let word = run(head, 0, |byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'T' | b':' | b'.' | b'Z' | b'+'));
    if word >= 20 && at(head, 10) == b'T' && at(head, word) == b' ' { word + 1 } else { 0 }
}
