//! How far this machine's clock is from the API server's, by the `Date` of its answers. Timeouts and deadlines count from
//! times that the API server wrote, by our clock: one that is ahead ends executions early, and nothing else shows why.

use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderValue;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

use crate::metrics::Metrics;

/// Seconds from which on it is told: far above what clocks that are kept in step differ by.
const FAR: f64 = 5.0;

/// Measures each answer.
#[derive(Debug)]
pub struct Clock {
    metrics: Metrics,
    told: AtomicBool,
}

impl Clock {
    /// Measures into this gauge.
    pub const fn new(metrics: Metrics) -> Self {
        Self { metrics, told: AtomicBool::new(false) }
    }

    /// Takes the `Date` of an answer to a request that was sent at one of these times and had come at the other.
    pub fn answered(&self, date: Option<&HeaderValue>, sent: Timestamp, come: Timestamp) {
        let date =
            date.and_then(|date| date.to_str().ok()).and_then(|date| DateTimeParser::new().parse_timestamp(date).ok());
        let Some(offset) = date.map(|date| offset(date, sent, come)) else { return };
        self.metrics.clock_offset(offset);
        let far = offset.abs() > FAR;
        if far && !self.told.swap(far, Ordering::Relaxed) {
            tracing::warn!(
                seconds = offset,
                "this machine's clock and the API server's differ; timeouts and deadlines are early by as much as ours is ahead"
            );
        } else if !far {
            self.told.store(false, Ordering::Relaxed);
        }
    }
}

/// Returns the seconds by which our clock is ahead at least (or behind, if negative); 0 where the two may agree. The API
/// server wrote the whole second at some time between the two, so that more than this cannot be known.
fn offset(date: Timestamp, sent: Timestamp, come: Timestamp) -> f64 {
    let (least, most) = (sent.duration_since(date).as_secs_f64() - 1.0, come.duration_since(date).as_secs_f64());
    if least > 0.0 { least } else { most.min(0.0) }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::within_its_second("03:00:00.900", "03:00:00.950", 0.0)]
    #[case::at_the_turn_of_a_second("02:59:59.990", "03:00:00.010", 0.0)]
    #[case::a_slow_answer("02:59:40", "03:00:01", 0.0)]
    #[case::ahead("03:00:31", "03:00:31.5", 30.0)]
    #[case::behind("02:59:29", "02:59:30", -30.0)]
    fn no_more_is_said_than_is_known(#[case] sent: &str, #[case] come: &str, #[case] wanted: f64) {
        let at = |time: &str| format!("2026-11-25T{time}Z").parse().unwrap();
        let found = offset(at("03:00:00"), at(sent), at(come));
        assert!((found - wanted).abs() < 1e-6, "{found}");
    }

    #[test]
    fn it_is_read_as_http_has_it() {
        let metrics = Metrics::default();
        let clock = Clock::new(metrics.clone());
        let at = |time: &str| time.parse::<Timestamp>().unwrap();
        let come = at("2026-11-25T03:00:31Z");
        clock.answered(Some(&HeaderValue::from_static("Wed, 25 Nov 2026 03:00:00 GMT")), come, come);
        assert!(metrics.text().contains("clock_offset_seconds 30.0\n"), "{}", metrics.text());
        for none in [None, Some(&HeaderValue::from_static("soon"))] {
            clock.answered(none, come, come);
        }
        assert!(metrics.text().contains("clock_offset_seconds 30.0\n"), "{}", metrics.text());
    }
}
