//! Months of UTC, each of which has a partition.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// A month of UTC, by its first day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Month(Date);

impl Month {
    /// Returns the month that a time is in.
    pub fn of(time: Timestamp) -> Self {
        Self(time.to_zoned(TimeZone::UTC).date().first_of_month())
    }

    /// Returns the month after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1.month()))
    }

    /// Reads what [`Month::suffix`] wrote, and nothing else.
    pub fn from_suffix(text: &str) -> Option<Self> {
        let (year, month) = text.split_once('_')?;
        let month = Self(Date::new(year.parse().ok()?, month.parse().ok()?, 1).ok()?);
        (month.suffix() == text).then_some(month)
    }

    /// Returns the end of a partition's name: `2026_11`.
    pub fn suffix(self) -> String {
        format!("{:04}_{:02}", self.0.year(), self.0.month())
    }

    /// Returns the first moment of the month as SQL reads it, whatever the session's time zone.
    pub fn start(self) -> String {
        format!("{}T00:00:00Z", self.0)
    }

    /// Returns whether the whole month is before this moment.
    pub fn is_before(self, time: Timestamp) -> bool {
        self.next() <= Self::of(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn month(text: &str) -> Month {
        Month::of(text.parse().unwrap())
    }

    #[test]
    fn a_month_is_that_of_utc() {
        let december = month("2026-12-31T23:59:59.999999Z");
        assert_eq!((december.suffix(), december.start()), ("2026_12".into(), "2026-12-01T00:00:00Z".into()));
        assert_eq!(december.next(), month("2027-01-01T00:00:00Z"));
        assert_eq!(december.next(), month("2026-12-31T23:00:00-02:00"));
    }

    #[rstest]
    #[case("2026-11-30T23:59:59Z", false)]
    #[case("2026-12-01T00:00:00Z", true)]
    #[case("2026-10-31T23:59:59Z", false)]
    fn a_month_is_over_when_the_next_one_begins(#[case] time: &str, #[case] over: bool) {
        assert_eq!(month("2026-11-15T00:00:00Z").is_before(time.parse().unwrap()), over);
    }

    #[rstest]
    #[case("2026_11", true)]
    #[case("2026_1", false)]
    #[case("2026_13", false)]
    #[case("default", false)]
    #[case("2026_11_old", false)]
    #[case("+2026_11", false)]
    fn only_our_own_names_are_months(#[case] suffix: &str, #[case] ours: bool) {
        assert_eq!(Month::from_suffix(suffix).is_some(), ours);
    }
}
