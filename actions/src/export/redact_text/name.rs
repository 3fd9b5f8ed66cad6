//! Names in a line: where one begins and ends, and which quotes it stands in.

use super::text::{Quote, Span, at, before, in_name, part, run, run_back};

/// The longest name on either side of what made it be looked at.
const LONGEST: usize = 96;

/// A name in its line.
#[derive(Clone, Copy)]
pub(super) struct Name<'a> {
    pub span: Span,
    pub text: &'a [u8],
    /// The quote that it stands in.
    pub quote: Option<Quote<'a>>,
    /// `--name`
    pub flag: bool,
}

/// What stands between a name and its value.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Sign {
    Equals,
    Colon,
    /// `name is value`
    Says,
    /// `--name value`, `PASSWORD 'value'`, `password("value")`
    Near,
    /// `<name>value</name>`
    Tag,
}

impl<'a> Name<'a> {
    /// Returns the name around this place.
    pub(super) fn around(text: &'a [u8], hit: Span) -> Self {
        let mut from = run_back(text, hit.0, LONGEST, in_name);
        // The letters of an escape are not the name's: `%5Bpassword`, `\nPASSWORD`.
        if before(text, from) == b'\\' {
            let escape = if at(text, from) == b'u' { 5 } else { 1 };
            from = (from + escape).min(hit.0);
        }
        if before(text, from) == b'%' && from + 2 <= hit.0 {
            from += 2;
        }
        let (flag, quote) = (at(text, from) == b'-', Quote::ending(text, from));
        let from = run(part(text, (0, hit.0)), from, |byte| matches!(byte, b'-' | b'.' | b'_'));
        let mut to = run(part(text, (0, hit.1 + LONGEST)), hit.0, in_name);
        while to > from && matches!(before(text, to), b'.' | b'-') {
            to -= 1;
        }
        Self { span: (from, to), text: part(text, (from, to)), quote, flag }
    }

    /// Returns whether its quote closes behind it, and the place after that.
    pub(super) fn closed(&self, text: &[u8]) -> Option<usize> {
        self.quote.and_then(|quote| quote.again(text, self.span.1))
    }

    /// Returns where the quote begins in which it stands.
    pub(super) fn opening(&self, text: &[u8]) -> usize {
        opening(text, self.span.0)
    }
}

/// Returns where the quote begins that ends here.
pub(super) fn opening(text: &[u8], to: usize) -> usize {
    run_back(text, to, 40, |byte| matches!(byte, b'"' | b'\'' | b'\\' | b'`'))
}
