//! The goals (issue 14), and what was measured of each.

use std::collections::BTreeMap;

use test_cluster::Pace;

use crate::markdown;
use crate::numbers::{median, spread};
use crate::page::Shown;
use crate::plan::Part;

/// How many at once: nothing, 1,000, 5,000; in a proof fewer stand for them.
#[derive(Clone, Copy)]
enum Size {
    One,
    Many,
    Most,
}

/// A goal of the executor.
struct Goal {
    /// `N` stands for how many at once.
    name: &'static str,
    part: Part,
    pace: Pace,
    size: Size,
    /// The number that was measured, and what is taken from it.
    number: &'static str,
    less: Option<&'static str>,
    unit: &'static str,
    wanted: Wanted,
}

/// What a number is to be.
#[derive(Clone, Copy)]
enum Wanted {
    AtLeast(f64),
    AtMost(f64),
    /// It is told, and there is nothing to reach.
    Told,
}

const fn goal(
    name: &'static str,
    of: (Part, Pace, Size),
    number: &'static str,
    unit: &'static str,
    wanted: Wanted,
) -> Goal {
    let (part, pace, size) = of;
    Goal { name, part, pace, size, number, less: None, unit, wanted }
}

const BESIDE: [(Part, Pace, Size); 2] =
    [(Part::Beside, Pace::Default, Size::Many), (Part::Beside, Pace::Tuned, Size::Many)];
const MEMORY: (Part, Pace, Size) = (Part::Memory, Pace::Tuned, Size::Most);
const IDLE: (Part, Pace, Size) = (Part::Idle, Pace::Tuned, Size::One);

/// All of them.
const GOALS: [Goal; 14] = [
    goal("executions/s over bare Jobs/s, N at once, default flags", BESIDE[0], "ratio", "", Wanted::AtLeast(0.9)),
    goal(
        "executions/s over bare Jobs/s that are created when the executor's were, N at once, default flags",
        (Part::Paced, Pace::Default, Size::Many),
        "ratio",
        "",
        Wanted::Told,
    ),
    goal("executions/s over bare Jobs/s, N at once, tuned flags", BESIDE[1], "ratio", "", Wanted::Told),
    goal("requests for a success, Events among them", BESIDE[1], "requests each", "", Wanted::AtMost(6.0)),
    goal("of them Events", BESIDE[1], "of them events", "", Wanted::Told),
    goal("requests more for a retry", (Part::Retries, Pace::Tuned, Size::One), "a retry more", "", Wanted::AtMost(3.0)),
    goal(
        "container's end to final phase, p95, N at once, default flags",
        BESIDE[0],
        "end to phase p95 ms",
        " ms",
        Wanted::AtMost(500.0),
    ),
    goal(
        "container's end to final phase, p95, N at once, tuned flags",
        BESIDE[1],
        "end to phase p95 ms",
        " ms",
        Wanted::AtMost(500.0),
    ),
    goal("creation to Job, p95, one at a time", IDLE, "creation to job p95 ms", " ms", Wanted::AtMost(50.0)),
    goal("memory with N active", MEMORY, "active MiB", " MiB", Wanted::AtMost(64.0)),
    Goal {
        less: Some("none MiB"),
        ..goal("memory with N settled, over that with none", MEMORY, "settled MiB", " MiB", Wanted::AtMost(2.0))
    },
    goal("restart with N active: leading to first step", MEMORY, "restart to first step s", " s", Wanted::AtMost(5.0)),
    goal(
        "restart with N active: leading to first write",
        MEMORY,
        "restart to first write s",
        " s",
        Wanted::AtMost(5.0),
    ),
    goal(
        "idle: requests that are neither Lease nor watch nor told sweep",
        IDLE,
        "not told of",
        "",
        Wanted::AtMost(0.0),
    ),
];

impl Goal {
    fn values(&self, shown: &Shown<'_>) -> Vec<f64> {
        let lines = match self.part {
            // Whatever their number: it is counted for each.
            Part::Retries => shown.of_part(self.part),
            part => shown.of(part, self.pace, self.at_once(shown)),
        };
        let number = |name: &str, numbers: &BTreeMap<String, f64>| numbers.get(name).copied();
        let value = |numbers: &BTreeMap<String, f64>| {
            let less = self.less.map_or(Some(0.0), |less| number(less, numbers))?;
            Some(number(self.number, numbers)? - less)
        };
        lines.iter().filter_map(|line| value(&line.figures.numbers)).collect()
    }

    fn at_once(&self, shown: &Shown<'_>) -> usize {
        match self.size {
            Size::One => 1,
            Size::Many => shown.sizes[0],
            Size::Most => shown.sizes[1],
        }
    }

    fn row(&self, shown: &Shown<'_>, reasons: &BTreeMap<String, String>) -> Vec<String> {
        let name = self.name.replace(" N ", &format!(" {} ", self.at_once(shown)));
        let values = self.values(shown);
        let wanted = match self.wanted {
            Wanted::AtLeast(value) => format!("≥ {value}{}", self.unit),
            Wanted::AtMost(value) => format!("≤ {value}{}", self.unit),
            Wanted::Told => "told".to_owned(),
        };
        let reached = match (self.wanted, median(&values)) {
            (_, None) => "not measured yet",
            (Wanted::Told, _) => "no goal",
            (Wanted::AtLeast(least), Some(value)) if value >= least => "yes",
            (Wanted::AtMost(most), Some(value)) if value <= most => "yes",
            _ => "**no**",
        };
        let measured = if values.is_empty() { "-".to_owned() } else { spread(&values) + self.unit };
        let why = reasons.get(&name).cloned().unwrap_or_default();
        vec![name, wanted, measured, reached.to_owned(), why]
    }
}

/// The table of all goals. What was written by hand in its last column of this page stays.
pub fn table(shown: &Shown<'_>, page: &str) -> String {
    let reasons = reasons(page);
    let rows = GOALS.iter().map(|goal| goal.row(shown, &reasons));
    markdown::table(&["goal", "wanted", "measured", "reached", "why, and what the limit is"], rows)
}

/// What was written by hand beside the goals.
fn reasons(page: &str) -> BTreeMap<String, String> {
    let block = page.split_once("<!-- generated: goals -->").and_then(|(_, rest)| rest.split_once("<!-- end -->"));
    let mut reasons = BTreeMap::new();
    for line in block.map_or("", |(block, _)| block).lines() {
        let line = line.trim().trim_start_matches('|').trim_end_matches('|');
        // A reason may hold a `|` of its own.
        let mut cells = line.splitn(5, " | ");
        if let (Some(name), Some(why)) = (cells.next(), cells.nth(3)) {
            reasons.insert(name.trim().to_owned(), why.trim().to_owned());
        }
    }
    reasons
}
