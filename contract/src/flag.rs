//! Values of flags, for the programs that have flags: each error says what was expected.

use std::net::SocketAddr;

use crate::text::did_you_mean;

/// Reads a whole number of at least 1.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "expected a whole number of at least 1".to_owned())
}

/// Reads an address to listen at.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected an IP address and a port, such as 0.0.0.0:8080 or [::]:8080".to_owned())
}

/// Checks a log level, or a filter. A word that is no level would be the name of a module: its lines alone would be written, and
/// nobody means that.
pub fn log_level(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    let is_word = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-' | '.'));
    if is_word && !LEVELS.iter().any(|level| level.eq_ignore_ascii_case(text)) {
        let hint = did_you_mean(text, LEVELS);
        return Err(format!("expected one of {}, or a filter such as info,kube=debug{hint}", LEVELS.join(", ")));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("0")]
    #[case("-1")]
    #[case("1.5")]
    #[case("")]
    #[case("many")]
    #[case("99999999999999999999")]
    fn a_number_is_whole(#[case] text: &str) {
        assert_eq!(at_least_one("1"), Ok(1));
        assert!(at_least_one(text).unwrap_err().starts_with("expected a whole number"));
    }

    #[rstest]
    #[case("8080")]
    #[case("localhost:8080")]
    #[case(":8080")]
    #[case("0.0.0.0:80800")]
    #[case("")]
    fn an_address_has_both_parts(#[case] text: &str) {
        assert!(address(text).unwrap_err().contains("0.0.0.0:8080"));
        assert!(address("[::]:8080").is_ok());
    }

    #[rstest]
    #[case("info", None)]
    #[case("WARN", None)]
    #[case("off", None)]
    #[case("info,kube=debug", None)]
    #[case("controller::audit=trace", None)]
    #[case("loud", Some("expected one of error, warn, info"))]
    #[case("warning", Some("did you mean warn?"))]
    #[case("kube_client::client", Some("info,kube=debug"))]
    #[case("", Some("expected one of"))]
    fn a_word_alone_is_a_level(#[case] text: &str, #[case] problem: Option<&str>) {
        let said = log_level(text).err();
        assert_eq!(said.is_some(), problem.is_some(), "{said:?}");
        assert!(said.unwrap_or_default().contains(problem.unwrap_or_default()));
    }
}
