//! Names that are safe in a URL.
//!
//! kube-rs escapes nothing: the node name `n/status` would patch another sub-resource, and `web?x=` another object. So
//! every part of a path is one of these types, each with the rule of the Kubernetes API server; a string that breaks
//! the rule never becomes one. A property test in `reference.rs` checks the result: no input yields a path with more
//! segments than were meant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The rule that a string breaks, as a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidName(String);

/// Checks for `[a-z0-9]([-a-z0-9]*[a-z0-9])?`, at most `max` characters (RFC 1123, called a label by the API server).
fn check_label(text: &str, max: usize) -> Result<(), String> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() {
        return Err("must not be empty".to_owned());
    }
    if text.len() > max {
        return Err(format!("must have at most {max} characters, has {}", text.chars().count()));
    }
    if !text.chars().all(inner) || text.starts_with('-') || text.ends_with('-') {
        return Err(
            "may hold lower case letters, digits and '-', and must begin and end with a letter or digit".to_owned()
        );
    }
    Ok(())
}

/// Checks for labels joined by dots, at most 253 characters (RFC 1123, called a subdomain by the API server).
fn check_subdomain(text: &str) -> Result<(), String> {
    const MAX: usize = 253;
    if text.is_empty() {
        return Err("must not be empty".to_owned());
    }
    if text.len() > MAX {
        return Err(format!("must have at most {MAX} characters, has {}", text.chars().count()));
    }
    text.split('.').try_for_each(|label| check_label(label, MAX)).map_err(|_| {
        "may hold lower case letters, digits, '-' and '.', and each part must begin and end with a letter or digit"
            .to_owned()
    })
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Returns the name as text; safe as one segment of a path.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let check: fn(&str) -> Result<(), String> = $check;
                check(text).map_err(|rule| InvalidName(format!(concat!($what, " {}"), rule)))?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// The name of an object: an RFC 1123 subdomain. Every kind that the runner acts on follows this rule (or a narrower one).
    Name, "an object's name", check_subdomain
);
name_type!(
    /// The name of a namespace: an RFC 1123 label, because it becomes a part of DNS names.
    Namespace, "a namespace", |text| check_label(text, 63)
);
name_type!(
    /// An API group such as `apps` or `argoproj.io`; the core group is the empty string.
    Group, "an API group", |text| if text.is_empty() { Ok(()) } else { check_subdomain(text) }
);
name_type!(
    /// An API version such as `v1` or `v1beta2`.
    Version, "an API version", |text| check_label(text, 63)
);
name_type!(
    /// The plural of a resource as the API server serves it, such as `deployments`.
    Plural, "a resource's plural", |text| check_label(text, 63)
);
name_type!(
    /// A kind such as `Deployment`. Never part of a URL, but of messages and lookups.
    KindName, "a kind", |text| {
        if text.is_empty() || text.len() > 63 || !text.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err("must be 1 to 63 letters and digits".to_owned());
        }
        Ok(())
    }
);
name_type!(
    /// `ACTION_ID`, the name of one execution. Fits into an annotation, a User-Agent header and a label value.
    ActionId, "an action id", |text| {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if text.is_empty() || text.len() > 63 || !text.chars().all(fits) {
            return Err("must be 1 to 63 letters, digits, '.', '_' or '-'".to_owned());
        }
        Ok(())
    }
);

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::sub_resource("n/status")]
    #[case::parent("../../kube-system/deployments/coredns")]
    #[case::query("web?x=")]
    #[case::escape("web%2Fstatus")]
    #[case::too_long(&"a".repeat(300))]
    #[case::emoji("🚀")]
    #[case::empty("")]
    #[case::dot(".")]
    #[case::upper_case("Web")]
    #[case::trailing_dot("web.")]
    #[case::space("web ")]
    fn refuses_what_is_no_object_name(#[case] text: &str) {
        assert!(text.parse::<Name>().is_err());
        assert!(text.parse::<Namespace>().is_err());
    }

    #[rstest]
    #[case("web")]
    #[case("ip-10-0-0-1.eu-central-1.compute.internal")]
    #[case("0")]
    fn accepts_object_names(#[case] text: &str) {
        assert_eq!(text.parse::<Name>().unwrap().as_str(), text);
    }

    #[test]
    fn a_label_has_63_characters_and_a_name_253() {
        assert!("a".repeat(63).parse::<Namespace>().is_ok() && "a".repeat(64).parse::<Namespace>().is_err());
        assert!("a".repeat(253).parse::<Name>().is_ok() && "a".repeat(254).parse::<Name>().is_err());
        for text in ["-a", "a-", "", "a_b"] {
            assert!(text.parse::<Namespace>().is_err(), "{text}");
        }
        assert_eq!("shop".parse::<Namespace>().unwrap().as_str(), "shop");
        assert_eq!("web".parse::<Name>().unwrap().to_string(), "web");
        assert_eq!(String::from("web".parse::<Name>().unwrap()), "web");
    }

    #[test]
    fn kinds_and_ids_have_63_characters_of_their_own() {
        assert!("Rollout2".parse::<KindName>().is_ok() && "K".repeat(63).parse::<KindName>().is_ok());
        for text in ["", "Roll-out", "K/x", &"K".repeat(64)] {
            assert!(text.parse::<KindName>().is_err(), "{text}");
        }
        assert!("A.b_c-1".parse::<ActionId>().is_ok() && "a".repeat(63).parse::<ActionId>().is_ok());
        for text in ["", "a b", "a/b", &"a".repeat(64)] {
            assert!(text.parse::<ActionId>().is_err(), "{text}");
        }
        assert!(
            "".parse::<Group>().is_ok() && "argoproj.io".parse::<Group>().is_ok() && "a/b".parse::<Group>().is_err()
        );
    }

    #[test]
    fn a_namespace_has_no_dots() {
        assert!("kube.system".parse::<Namespace>().is_err());
    }
}
