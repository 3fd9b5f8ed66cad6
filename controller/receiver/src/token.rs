//! Bearer tokens.

use std::path::{Path, PathBuf};

use axum::http::{HeaderMap, header};
use subtle::{Choice, ConstantTimeEq};

/// The file of the tokens that are taken. One a line: two of them while the one takes the place of the other.
#[derive(Debug, Clone)]
pub struct Tokens(PathBuf);

impl Tokens {
    /// Takes the file, once it holds a token.
    pub fn new(file: &Path) -> Result<Self, String> {
        let tokens = Self(file.to_path_buf());
        tokens.read().map(|_| tokens)
    }

    /// Reads the file: it is small, and a mounted Secret is in memory.
    fn read(&self) -> Result<Vec<String>, String> {
        let text = std::fs::read_to_string(&self.0)
            .map_err(|error| format!("--token-file: failed to read {}: {error}", self.0.display()))?;
        let tokens: Vec<String> =
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        if tokens.is_empty() {
            return Err(format!(
                "--token-file: expected a token on a line of its own, {} holds none",
                self.0.display()
            ));
        }
        Ok(tokens)
    }

    /// Returns whether a request shows one of the tokens; an error when that cannot be told.
    pub fn allow(&self, headers: &HeaderMap) -> Result<bool, String> {
        let tokens = self.read()?;
        let given = headers.get(header::AUTHORIZATION).map_or(&[][..], |value| value.as_bytes());
        let Some((scheme, given)) = given.split_at_checked("Bearer ".len()) else { return Ok(false) };
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return Ok(false);
        }
        // All of them, each to its end: how long it takes tells nothing but a token's length.
        let equal = tokens.iter().fold(Choice::from(0), |any, token| any | token.as_bytes().ct_eq(given));
        Ok(equal.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(Some("Bearer one"), true)]
    #[case(Some("bearer two"), true)]
    #[case(Some("Bearer three"), false)]
    #[case(Some("Bearer on"), false)]
    #[case(Some("Bearer onee"), false)]
    #[case(Some("Bearer "), false)]
    #[case(Some("Bearer"), false)]
    #[case(Some("Basic one"), false)]
    #[case(Some("one"), false)]
    #[case(None, false)]
    fn only_whole_tokens_are_taken(#[case] header: Option<&str>, #[case] allowed: bool) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "one\n\n two \n").unwrap();
        let headers = header.map(|value| (header::AUTHORIZATION, value.parse().unwrap())).into_iter().collect();
        assert_eq!(Tokens::new(file.path()).unwrap().allow(&headers), Ok(allowed));
    }

    #[test]
    fn without_a_token_nobody_is_let_in() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "\n \n").unwrap();
        assert!(Tokens::new(file.path()).unwrap_err().contains("holds none"));
        assert!(Tokens::new(Path::new("/nowhere")).unwrap_err().starts_with("--token-file: failed to read /nowhere"));
    }
}
