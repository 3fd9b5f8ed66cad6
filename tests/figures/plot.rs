//! The plot: executions a second beside bare Jobs, with the least and the most of all rounds.

use test_cluster::Pace;

use crate::numbers::{median, number, shown};
use crate::page::Shown;
use crate::plan::Part;

const HEIGHT: f64 = 220.0;
const TOP: f64 = 50.0;
const LEFT: f64 = 50.0;
const BAR: f64 = 34.0;
const GROUP: f64 = 130.0;
/// What is drawn, in which colour.
const SERIES: [(&str, &str, &str); 2] = [("executions/s", "executions", "#2f6f9f"), ("jobs/s", "bare Jobs", "#b9b9b9")];

/// The plot; none as long as there is nothing to be seen in it.
pub fn svg(figures: &Shown<'_>) -> Option<String> {
    let groups: Vec<(Pace, usize)> = Pace::FIGURES
        .into_iter()
        .flat_map(|pace| figures.sizes_of(Part::Beside, pace).into_iter().map(move |size| (pace, size)))
        .collect();
    let values = |pace, size, name| figures.values(Part::Beside, pace, size, name);
    let all = groups.iter().flat_map(|(pace, size)| SERIES.map(|(name, _, _)| values(*pace, *size, name)).concat());
    let most = all.fold(0.0, f64::max);
    if most <= 0.0 {
        return None;
    }
    let width = LEFT + GROUP * number(groups.len()) + 20.0;
    let mut body = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {:.0}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n<text x=\"{LEFT}\" y=\"18\" font-size=\"14\">a second, until the last pod has ended</text>\n",
        TOP + HEIGHT + 50.0
    );
    for (place, (_, name, colour)) in SERIES.iter().enumerate() {
        let x = LEFT + number(place) * 110.0;
        let text = x + 15.0;
        body += &format!(
            "<rect x=\"{x}\" y=\"26\" width=\"10\" height=\"10\" fill=\"{colour}\"/><text x=\"{text}\" y=\"35\">{name}</text>\n"
        );
    }
    body +=
        &format!("<line x1=\"{LEFT}\" y1=\"{0}\" x2=\"{width:.0}\" y2=\"{0}\" stroke=\"#333333\"/>\n", TOP + HEIGHT);
    for (place, (pace, size)) in groups.iter().enumerate() {
        let left = LEFT + GROUP * number(place) + 20.0;
        for (place, (name, _, colour)) in SERIES.iter().enumerate() {
            body += &bar(&values(*pace, *size, name), left + number(place) * (BAR + 6.0), most, colour);
        }
        let (centre, below) = (left + BAR + 3.0, TOP + HEIGHT);
        for (line, text) in [(18.0, format!("{size} at once")), (34.0, format!("{} flags", pace.name()))] {
            body += &format!("<text x=\"{centre}\" y=\"{}\" text-anchor=\"middle\">{text}</text>\n", below + line);
        }
    }
    Some(body + "</svg>\n")
}

/// A bar to the median, a line from the least to the most, and the median's number.
fn bar(values: &[f64], x: f64, most_of_all: f64, colour: &str) -> String {
    let Some(middle) = median(values) else { return String::new() };
    let y = |value: f64| TOP + HEIGHT * (1.0 - value / most_of_all);
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    let centre = x + BAR / 2.0;
    format!(
        "<rect x=\"{x}\" y=\"{:.1}\" width=\"{BAR}\" height=\"{:.1}\" fill=\"{colour}\"/>\
         <line x1=\"{centre}\" y1=\"{:.1}\" x2=\"{centre}\" y2=\"{:.1}\" stroke=\"#111111\"/>\
         <text x=\"{centre}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
        y(middle),
        HEIGHT * middle / most_of_all,
        y(least),
        y(most),
        y(most) - 4.0,
        shown(middle)
    )
}
