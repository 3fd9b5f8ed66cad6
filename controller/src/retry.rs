//! Whether a failed attempt is followed by another one, and when: a pure function of how it ended.

use std::time::Duration;

use contract::result::Effect;
use sha2::{Digest, Sha256};

use crate::api::KubernetesExecution;
use crate::outcome::Ended;

/// The longest delay.
const LONGEST: Duration = Duration::from_mins(5);

/// What follows a failed attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retry {
    /// Another attempt, after this time.
    After(Duration),
    /// None. A sentence says why, where the result itself does not.
    No(Option<String>),
}

/// Returns what follows the attempt with this number (from 1), with this much time left.
pub fn decide(
    execution: &KubernetesExecution,
    ended: &Ended,
    repeatable: bool,
    attempt: usize,
    left: Duration,
    first: Duration,
) -> Retry {
    let may = match &ended.result {
        Some(result) => result.retryable,
        // Whatever became of it: where a second pod cannot apply the action twice, it is tried again.
        None => repeatable || ended.effect == Effect::None,
    };
    if !may {
        let why = "what it did is not known, and doing it again could do it twice".to_owned();
        return Retry::No(ended.result.is_none().then_some(why));
    }
    let most = usize::try_from(execution.spec.max_retries).unwrap_or_default();
    if attempt > most {
        return Retry::No(Some(format!("maxRetries ({most}) are used up")));
    }
    let delay = delay(execution.metadata.uid.as_deref().unwrap_or_default(), attempt, first);
    if delay >= left {
        return Retry::No(Some("too little of timeout is left".to_owned()));
    }
    Retry::After(delay)
}

/// Returns the delay after this attempt: doubled each time, with up to a fifth more or less by the execution and the
/// attempt, so that it is the same when it is computed again.
fn delay(uid: &str, attempt: usize, first: Duration) -> Duration {
    let doubled = first.saturating_mul(1 << (attempt - 1).min(16)).min(LONGEST);
    let digest = Sha256::digest(format!("{uid}/{attempt}"));
    let byte = digest.first().copied().unwrap_or_default();
    let factor = 0.8 + 0.4 * f64::from(byte) / f64::from(u8::MAX);
    doubled.mul_f64(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_five_minutes_and_are_the_same_again() {
        let first = Duration::from_secs(10);
        for (attempt, base) in [(1, 10.0), (2, 20.0), (3, 40.0), (6, 300.0), (60, 300.0)] {
            let one = delay("u", attempt, first);
            assert_eq!(one, delay("u", attempt, first));
            let seconds = one.as_secs_f64();
            assert!(seconds >= base * 0.8 - 0.001 && seconds <= base * 1.2 + 0.001, "{attempt}: {seconds}");
        }
        assert_ne!(delay("u", 1, first), delay("v", 1, first));
    }
}
