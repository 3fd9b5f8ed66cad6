//! Medians, percentiles, and numbers for people.

use jiff::Timestamp;

/// A count as a number.
pub fn number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// Seconds from one time to another.
pub fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

/// The value that this part of all values is not above; of none there is none.
pub fn percentile(values: &[f64], part: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let mut places = 1..sorted.len();
    let last = number(sorted.len()) * part;
    // The nearest rank: the first place that leaves no more than the rest above it.
    let place = places.find(|place| number(*place) >= last).unwrap_or(sorted.len());
    sorted.get(place.checked_sub(1)?).copied()
}

/// The value in the middle; of an even number the mean of the two.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 { Some(upper) } else { Some(f64::midpoint(upper, *sorted.get(middle.checked_sub(1)?)?)) }
}

/// A number with as many digits as are of use.
pub fn shown(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if size >= 100.0 => format!("{value:.0}"),
        _ if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The median, and the least and the most where there are several.
pub fn spread(values: &[f64]) -> String {
    let Some(middle) = median(values) else { return "-".to_owned() };
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if values.len() == 1 { shown(middle) } else { format!("{} ({} to {})", shown(middle), shown(least), shown(most)) }
}
