//! The API server's warnings for people: `Warning:` headers (RFC 7234) of code 299, as kubectl shows them.

use http::{HeaderMap, header};

/// Returns the texts of all warnings in an answer.
pub(super) fn texts(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::WARNING).iter();
    values.flat_map(|value| parse(&String::from_utf8_lossy(value.as_bytes()))).collect()
}

/// Parses `299 agent "text" "date", 299 …` into the texts of code 299, the only code that the API server sends. Stops
/// at anything malformed, because half a sentence is no warning.
fn parse(value: &str) -> Vec<String> {
    let (mut texts, mut rest) = (Vec::new(), value.trim_start());
    while let Some((code, after)) = rest.split_once(' ') {
        let Some((_agent, after)) = after.trim_start().split_once(' ') else { break };
        let Some((text, after)) = quoted(after.trim_start()) else { break };
        if code == "299" && !text.is_empty() {
            texts.push(text);
        }
        // A date may follow.
        let after = after.trim_start();
        let after = quoted(after).map_or(after, |(_date, after)| after.trim_start());
        let Some(next) = after.strip_prefix(',') else { break };
        rest = next.trim_start();
    }
    texts
}

/// Returns a quoted string without its quotes and escapes, and the text after it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut characters = text.strip_prefix('"')?.char_indices();
    let mut found = String::new();
    while let Some((at, character)) = characters.next() {
        match character {
            // The index starts after the first quote.
            '"' => return Some((found, text.get(at + 2..)?)),
            '\\' => found.push(characters.next()?.1),
            character => found.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use rstest::rstest;

    #[rstest]
    #[case::as_the_api_server_sends_it(r#"299 - "example.com/v1 Toy is deprecated""#, &["example.com/v1 Toy is deprecated"])]
    #[case::several(r#"299 - "one", 299 - "two, and \"more\"""#, &["one", "two, and \"more\""])]
    #[case::dated(r#"299 host:80 "one" "Sun, 06 Nov 1994 08:49:37 GMT",299 - "two""#, &["one", "two"])]
    #[case::other_codes(r#"199 - "stale", 299 - "é""#, &["é"])]
    #[case::backslash(r#"299 - "a\\b""#, &[r"a\b"])]
    #[case::no_text(r#"299 - """#, &[])]
    #[case::no_end(r#"299 - "one", 299 - "tw"#, &["one"])]
    #[case::ends_in_an_escape(r#"299 - "one\"#, &[])]
    #[case::no_quotes("299 - one", &[])]
    #[case::no_agent("299", &[])]
    #[case::nothing("", &[])]
    fn reads_warnings(#[case] value: &str, #[case] expected: &[&str]) {
        assert_eq!(parse(value), expected);
    }

    #[test]
    fn reads_every_header() {
        let mut headers = HeaderMap::new();
        for value in [r#"299 - "one""#, r#"299 - "two""#] {
            headers.append(header::WARNING, HeaderValue::from_static(value));
        }
        assert_eq!(texts(&headers), ["one", "two"]);
    }
}
