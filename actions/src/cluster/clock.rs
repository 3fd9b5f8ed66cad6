//! The API server's time: whether a time that the server set has passed is decided by the server's clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use http::{HeaderMap, header};
use jiff::{SignedDuration, Timestamp};

/// Milliseconds by which the server's clock is ahead of ours; clones share this.
#[derive(Debug, Clone, Default)]
pub(super) struct ServerClock(Arc<AtomicI64>);

impl ServerClock {
    /// Learns from an answer that has just come.
    pub(super) fn learn(&self, headers: &HeaderMap, now: Timestamp) {
        let date = headers.get(header::DATE).and_then(|date| date.to_str().ok());
        if let Some(ahead) = date.and_then(|date| ahead(date, now)) {
            self.0.store(i64::try_from(ahead.as_millis()).unwrap_or_default(), Ordering::Relaxed);
        }
    }

    /// Returns the server's time at this time of ours.
    pub(super) fn at(&self, now: Timestamp) -> Timestamp {
        now.saturating_add(SignedDuration::from_millis(self.0.load(Ordering::Relaxed))).unwrap_or(now)
    }
}

/// Returns how far a `Date` is ahead. The header has whole seconds, and the answer took a while to arrive: a difference
/// that may come from that counts as none. `None` when the text is no date.
fn ahead(date: &str, now: Timestamp) -> Option<SignedDuration> {
    const NOTHING: SignedDuration = SignedDuration::from_secs(2);
    /// The middle of the second that the header names.
    const MIDDLE: SignedDuration = SignedDuration::from_millis(500);
    let date = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
    let ahead = date.duration_since(now) + MIDDLE;
    Some(if ahead.abs() < NOTHING { SignedDuration::ZERO } else { ahead })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    #[rstest]
    #[case::same("1994-11-06T08:49:37.9Z", Some(0))]
    #[case::on_its_way("1994-11-06T08:49:39.4Z", Some(0))]
    #[case::almost("1994-11-06T08:49:35.6Z", Some(0))]
    #[case::ahead("1994-11-06T08:49:27Z", Some(10_500))]
    #[case::behind("1994-11-06T08:54:37Z", Some(-299_500))]
    fn the_difference_of_two_clocks(#[case] now: &str, #[case] expected: Option<i128>) {
        assert_eq!(ahead(DATE, now.parse().unwrap()).map(|ahead| ahead.as_millis()), expected);
    }

    #[test]
    fn what_is_no_date_changes_nothing() {
        let (clock, now) = (ServerClock::default(), "1994-11-06T08:49:27Z".parse().unwrap());
        let with = |date: &'static str| HeaderMap::from_iter([(header::DATE, header::HeaderValue::from_static(date))]);
        clock.clone().learn(&with(DATE), now);
        clock.learn(&with("soon"), now);
        clock.learn(&HeaderMap::new(), now);
        assert_eq!(clock.at(now), "1994-11-06T08:49:37.5Z".parse().unwrap());
        clock.learn(&with(DATE), "1994-11-06T08:49:38Z".parse().unwrap());
        assert_eq!(clock.at(now), now);
    }
}
