//! What stands between a name and its value, in whichever notation.

use super::name::{Name, Sign};
use super::text::{Quote, after_any, at, before, blanks, goes_on, in_name, part, run, run_back};
use super::values::{Until, begins_line};

/// A tag's attributes are looked through so far.
const FIRST_LOOK: usize = 512;

impl Name<'_> {
    /// Returns where the value begins, behind a sign of its own.
    pub(super) fn value(&self, text: &[u8]) -> Option<usize> {
        self.sign(text).filter(|(sign, ..)| matches!(sign, Sign::Equals | Sign::Colon)).map(|(_, from, _)| from)
    }

    /// Returns the sign behind the name, and where its value begins.
    pub(super) fn sign(&self, text: &[u8]) -> Option<(Sign, usize, Until)> {
        let closed = self.closed(text);
        let bare = closed.unwrap_or(self.span.1);
        let mut from = after_any(text, bare, &["\"]", "']", "]", "%5D"]).unwrap_or(bare);
        from = blanks(text, from);
        if let Some(to) = after_any(text, from, &["%3D", "%3A", "%253D", "%253A"]) {
            return Some((Sign::Equals, to, Until::Escape));
        }
        if let Some(to) = after_any(text, from, &["=>", "->", ":=", "\\u003d", "\\u003a", "&#61;", "=\\u003e"]) {
            return Some((Sign::Equals, blanks(text, to), Until::Blank));
        }
        let next = at(text, from + 1);
        match at(text, from) {
            b'=' if next == b'=' => {
                let to = blanks(text, run(text, from, |byte| byte == b'='));
                Quote::open(text, to).map(|_| (Sign::Equals, to, Until::Blank))
            }
            b'=' if next != b'~' => Some((Sign::Equals, blanks(text, from + 1), Until::Semicolon)),
            b':' if next == b':' || next == b'/' && at(text, from + 2) == b'/' => None,
            b':' => {
                let whole = closed.is_none() && next == b' ' && begins_line(text, self.span.0);
                let to = blanks(text, from + 1);
                Some((Sign::Colon, to, if whole { Until::Line } else { Until::Blank }))
            }
            b'>' if from == self.span.1 => self.tag(text, from + 1),
            _ if self.opens_tag(text) => {
                // `<Password Type="…">x</Password>`
                let to = run(part(text, (0, from + FIRST_LOOK)), from, |byte| !matches!(byte, b'<' | b'>'));
                (at(text, to) == b'>' && before(text, to) != b'/').then_some((Sign::Tag, to + 1, Until::Tag))
            }
            b'(' => Quote::open(text, from + 1).map(|_| (Sign::Near, from + 1, Until::Blank)),
            b',' if self.flag && closed.is_some() => {
                let to = blanks(text, from + 1);
                Quote::open(text, to).map(|_| (Sign::Near, to, Until::Blank))
            }
            b',' => self.tuple(text, from),
            b'>' if goes_on(text, from, b">>,") => self.tuple(text, from + 2),
            _ if from > bare => self.near(text, from),
            _ => None,
        }
    }

    fn tag(&self, text: &[u8], to: usize) -> Option<(Sign, usize, Until)> {
        let from = run_back(text, self.span.0, 32, |byte| in_name(byte) || byte == b':');
        let opened = before(text, from) == b'<' || goes_on(text, from.saturating_sub(4), b"&lt;");
        opened.then_some((Sign::Tag, to, Until::Tag))
    }

    /// Returns whether it is a tag's name, and attributes follow.
    fn opens_tag(&self, text: &[u8]) -> bool {
        at(text, self.span.1) == b' ' && self.quote.is_none() && {
            let from = run_back(text, self.span.0, 32, |byte| in_name(byte) || byte == b':');
            before(text, from) == b'<'
        }
    }
}
