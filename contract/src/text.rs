//! Helpers for texts that people read: nearest names, shortened messages, short hashes, and no control characters.

use std::borrow::Cow;
use std::io::{self, Write};

use jiff::{Timestamp, Unit};
use sha2::{Digest, Sha256};

/// Returns the candidate nearest to `word`, when it is similar enough to be what was meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Below this Jaro-Winkler similarity a suggestion confuses more than it helps ("replics" ~ "replicas" is 0.97).
    const NEAR: f64 = 0.8;
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(similarity, _)| *similarity >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Returns `, did you mean replicas?`, or nothing when no candidate is similar enough.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map(|one| format!(", did you mean {one}?")).unwrap_or_default()
}

/// Cuts a text to at most this many bytes at a character boundary, and adds `…` where something was cut off.
pub fn shorten(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(most);
    format!("{}…", text.get(..end).unwrap_or_default())
}

/// Returns the first 16 hex digits of a SHA-256: enough to tell requests apart, short enough for an annotation.
pub fn hash(text: &str) -> String {
    use std::fmt::Write as _;
    Sha256::digest(text.as_bytes()).iter().take(8).fold(String::new(), |mut hex, byte| {
        // Writing into a String cannot fail.
        let _infallible = write!(hex, "{byte:02x}");
        hex
    })
}

/// Returns whether a terminal obeys this character instead of showing it: C0 (except for the tab), DEL, C1, the line
/// separators, and the marks, embeddings, overrides and isolates that show text in another order than it stands.
const fn commands_a_terminal(character: char) -> bool {
    matches!(
        character,
        '\0'..='\u{8}'
            | '\n'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
    )
}

/// Returns whether a text holds a character that a terminal obeys.
pub fn has_commands(text: &str) -> bool {
    text.chars().any(commands_a_terminal)
}

/// Escapes what a terminal obeys, as `\n`, `\r` or `\u009b`: the one way in which text of others (a log, the API
/// server's words, a message of a policy) may be shown. The escapes are those of JSON, so that JSON stays valid and means
/// the same; escaping twice is the same as once.
pub fn printable(text: &str) -> Cow<'_, str> {
    // The first bytes of all such characters in UTF-8; most texts hold none of them.
    let suspicious = |byte: u8| byte < b' ' && byte != b'\t' || matches!(byte, 0x7f | 0xc2 | 0xd8 | 0xe2);
    if !text.bytes().any(suspicious) {
        return Cow::Borrowed(text);
    }
    escape(text, commands_a_terminal)
}

fn escape(text: &str, escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&escaped) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            other if !escaped(other) => shown.push(other),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            other => shown.push_str(&format!("\\u{:04x}", u32::from(other))),
        }
    }
    Cow::Owned(shown)
}

/// Writes lines of a log, whose text may be of others, without what a terminal obeys. Whole lines must be written at once.
#[derive(Debug)]
pub struct PrintableLines<W> {
    inner: W,
    coloured: bool,
}

impl<W> PrintableLines<W> {
    /// Wraps a writer. With `coloured` the escape character passes, for the log's own colours: then whoever makes the
    /// lines must escape the one in values.
    pub const fn new(inner: W, coloured: bool) -> Self {
        Self { inner, coloured }
    }
}

impl<W: Write> Write for PrintableLines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let passes = |character: char| character == '\n' || self.coloured && character == '\u{1b}';
        let shown = escape(&text, |character| commands_a_terminal(character) && !passes(character));
        self.inner.write_all(shown.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// RFC 3339, with milliseconds.
pub fn millis(time: Timestamp) -> String {
    let rounded = time.round(Unit::Millisecond).unwrap_or(time);
    format!("{rounded:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_only_what_is_near() {
        assert_eq!(nearest("replics", ["replicas", "wait"]), Some("replicas"));
        assert_eq!(nearest("colour", ["replicas", "wait"]), None);
        assert_eq!(did_you_mean("replics", ["replicas"]), ", did you mean replicas?");
        assert_eq!(did_you_mean("colour", ["replicas"]), "");
    }

    #[test]
    fn a_text_is_cut_at_a_characters_border() {
        assert_eq!(shorten("abc", 3), "abc");
        assert_eq!(shorten("abcd", 3), "abc…");
        assert_eq!(shorten("abéé", 3), "ab…");
        assert_eq!(shorten("abéé", 4), "abé…");
    }

    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        let hostile =
            "a\u{1b}[31m\r\nb\u{7f}\u{9b}2J \u{61c}\u{200e}\u{200f}\u{2028}\u{202a}\u{202e}\u{2066}\u{2069}\tc";
        let shown =
            r"a\u001b[31m\r\nb\u007f\u009b2J \u061c\u200e\u200f\u2028\u202a\u202e\u2066\u2069".to_owned() + "\tc";
        assert_eq!(printable(hostile), shown);
        assert!(has_commands(hostile) && !has_commands(&shown));
        assert_eq!(printable(&shown), shown);
        for plain in ["", "tab\tonly", "é, Â, – and 漢字, ا", r"C:\n"] {
            assert!(matches!(printable(plain), Cow::Borrowed(same) if same == plain), "{plain}");
        }
    }

    /// Every character, so that the look at the first bytes misses none.
    #[test]
    fn no_such_character_passes() {
        for character in (0..=u32::from(char::MAX)).filter_map(char::from_u32) {
            let text = character.to_string();
            assert!(!has_commands(&printable(&text)), "{character:?}");
            assert_eq!(printable(&text) == text, !commands_a_terminal(character), "{character:?}");
        }
    }

    /// In JSON the escape is read back as what was there.
    #[test]
    fn json_means_the_same_when_it_is_printable() {
        let value = serde_json::json!({ "a": "x\u{9b}\u{202e}\u{7f}\n\u{1b}" });
        let shown = printable(&value.to_string()).into_owned();
        assert!(!has_commands(&shown), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).ok(), Some(value));
    }

    #[test]
    fn a_log_keeps_its_lines_and_its_own_colours() {
        let write = |coloured: bool| {
            let mut kept = Vec::new();
            let mut lines = PrintableLines::new(&mut kept, coloured);
            assert_eq!(lines.write("\u{1b}[2mx\u{9b}\u{202e}\n".as_bytes()).ok(), Some(11));
            String::from_utf8(kept).unwrap_or_default()
        };
        assert_eq!(write(true), "\u{1b}[2mx\\u009b\\u202e\n");
        assert_eq!(write(false), "\\u001b[2mx\\u009b\\u202e\n");
    }

    #[test]
    fn a_time_has_milliseconds() {
        let text = |time: &str| millis(time.parse().unwrap_or_default());
        assert_eq!(text("2026-11-23T03:12:07.1146Z"), "2026-11-23T03:12:07.115Z");
        assert_eq!(text("2026-11-23T03:12:07Z"), "2026-11-23T03:12:07.000Z");
    }

    #[test]
    fn a_hash_is_the_same_for_ever() {
        // The hash stands in annotations of objects, which outlive releases.
        assert_eq!(hash("{\"x\":1}"), "5041bf1f713df204");
    }
}
