//! Helpers for texts that people read: nearest names, shortened messages, short hashes.

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
