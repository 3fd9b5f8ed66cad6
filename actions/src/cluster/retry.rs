//! Decides whether a request is sent again, and after which pause. Reads are, until the deadline; writes only when they are
//! known not to have been applied.

use std::time::Duration;

use tokio::time::Instant;

use super::status::Failure;
use super::tries::Tries;
use super::{Cluster, random};

/// The number of tries for a 500, which may be a short failure or a permanent one (`/scale` of an object without
/// replicas), and for a gateway's 403, which is its policy. Other failures are retried until the deadline.
pub(super) const FEW_TRIES: u32 = 3;

impl Cluster {
    /// Waits, and returns whether to retry a request that is safe to repeat (a read, a review, a dry run).
    pub(super) async fn goes_on(&self, failure: &Failure, sent: Instant, attempt: u32) -> bool {
        match failure {
            Failure::Status(status) if status.code == 403 => self.starts(sent).await,
            failure => may_read_again(failure, attempt) && self.pause(attempt, failure).await,
        }
    }

    /// Waits, and goes on to the next try of a write that is known not to have been applied; returns whether there is one.
    pub(super) async fn writes_on(&self, failure: &Failure, tries: &mut Tries) -> bool {
        let goes_on =
            tries.may_go_on(failure, self.remaining()) && self.goes_on(failure, tries.began, tries.number).await;
        // Without the time for it, what is known stands: that the write was not applied.
        if !goes_on || !self.has_time_to_write() {
            return false;
        }
        tries.next(failure);
        true
    }

    /// Waits before the next try, unless the deadline comes first.
    pub(super) async fn pause(&self, attempt: u32, failure: &Failure) -> bool {
        // 0.2, 0.4 … 5 s: a dropped connection is retried at once, a restarting API server is not hammered.
        const FIRST: Duration = Duration::from_millis(200);
        const LONGEST: Duration = Duration::from_secs(5);
        let backoff = FIRST.saturating_mul(1 << attempt.min(8)).min(LONGEST);
        let wait = failure.retry_after().unwrap_or_default().max(backoff).mul_f64(jitter());
        if wait >= self.remaining() {
            return false;
        }
        tracing::warn!(failure = %failure, wait_ms = wait.as_millis(), "request failed, trying again");
        tokio::time::sleep(wait).await;
        true
    }
}

/// Returns whether a retry may help, for a request that is safe to repeat.
pub(super) fn may_read_again(failure: &Failure, attempt: u32) -> bool {
    match failure {
        Failure::Network(error) => !super::connect::never_connects(&**error),
        Failure::Status(status) => status.transient() && (status.code != 500 || attempt + 1 < FEW_TRIES),
        // A gateway without a route answers 404, until it has one again.
        Failure::Between(status) => matches!(status.code, 404 | 429) || attempt + 1 < FEW_TRIES,
    }
}

/// Returns a factor between 0.8 and 1.2, so that a thousand Jobs that start together do not retry together.
fn jitter() -> f64 {
    let spread = u8::try_from(random() & 0xff).unwrap_or_default();
    0.8 + 0.4 * f64::from(spread) / 255.0
}
