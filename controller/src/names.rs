//! Names and label values that are made from an execution's name, which may be longer than theirs may be.

use sha2::{Digest, Sha256};

/// The longest name of a Job whose pods can carry it as a label, and the longest value of a label.
pub const LONGEST: usize = 63;

/// Returns the name of the Job of an attempt: `<execution>-job`, from the second attempt on `<execution>-job-<n>`.
pub fn job(execution: &str, attempt: i32) -> String {
    let suffix = if attempt <= 1 { "-job".to_owned() } else { format!("-job-{attempt}") };
    short(execution, LONGEST - suffix.len()) + &suffix
}

/// Returns the value of a label that stands for this name.
pub fn label(name: &str) -> String {
    short(name, LONGEST)
}

/// Returns the name itself if it fits and has no dot (a Job's name becomes its pods' host name); else its beginning with
/// a hash of the whole, so that two names that begin alike stay apart.
fn short(name: &str, most: usize) -> String {
    const HASH: usize = 8;
    if name.len() <= most && !name.contains('.') {
        return name.to_owned();
    }
    let digest = Sha256::digest(name.as_bytes());
    let hash = digest.iter().take(HASH / 2).fold(String::new(), |hash, byte| hash + &format!("{byte:02x}"));
    let head: String = name.replace('.', "-").chars().take(most - HASH - 1).collect();
    format!("{}-{hash}", head.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("web", 1, "web-job")]
    #[case("web", 2, "web-job-2")]
    #[case(&"x".repeat(59), 1, &format!("{}-job", "x".repeat(59)))]
    #[case("a.b", 1, "a-b-2d5c8e1d-job")]
    fn a_job_is_named_after_its_execution(#[case] execution: &str, #[case] attempt: i32, #[case] job_name: &str) {
        let name = job(execution, attempt);
        if execution.contains('.') {
            assert!(name.starts_with("a-b-") && name.ends_with("-job") && name.len() == "a-b-".len() + 8 + 4, "{name}");
        } else {
            assert_eq!(name, job_name);
        }
    }

    #[test]
    fn long_names_stay_apart_and_fit() {
        let (one, other) = (format!("{}a", "x".repeat(199)), format!("{}b", "x".repeat(199)));
        for attempt in [1, 2, 11] {
            assert!(job(&one, attempt).len() <= LONGEST);
            assert_ne!(job(&one, attempt), job(&other, attempt));
        }
        assert_ne!(job("a.b", 1), job("a-b", 1));
        // A dot just before the cut must not leave a dash behind a dash, nor a name that ends with one.
        let dotted = format!("{}.{}", "x".repeat(49), "y".repeat(60));
        let name = job(&dotted, 1);
        assert!(!name.contains("--") && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{name}");
    }
}
