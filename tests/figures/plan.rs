//! What is to be measured, in which order, and how long that takes.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use test_cluster::Pace;

use crate::Arguments;
use crate::numbers::number;
use crate::results::Results;

/// What is measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// So many executions at once, and as many bare Jobs, one after the other on one cluster; no limit of ours.
    Beside,
    /// So many executions at once, then as many bare Jobs that are created when the executor had created its own.
    Paced,
    /// So many at once with `--max-active`.
    Queue,
    /// Half of them fail once.
    Retries,
    /// Nothing to do, then one at a time.
    Idle,
    /// None, so many active, a restart, so many settled; 16 KiB of conditions each.
    Memory,
}

/// One thing to measure.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Step {
    /// What.
    pub part: Part,
    /// The controller manager's flags: `default` or `tuned`.
    pub pace: String,
    /// How many at once.
    pub size: usize,
    /// Which time, from 1.
    pub round: usize,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} at once, {} flags, round {}", self.part, self.size, self.pace, self.round)
    }
}

/// Jobs a second whose pods had ended, as they were seen at first: until there are figures of this machine.
const AT_FIRST: [(Pace, f64); 2] = [(Pace::Default, 8.0), (Pace::Tuned, 33.9)];
/// Seconds for a cluster to start and to be warm.
const START: f64 = 30.0;

impl Step {
    fn new(part: Part, pace: Pace, size: usize, round: usize) -> Self {
        Self { part, pace: pace.name().to_owned(), size, round }
    }

    /// Seconds that it takes: as long as the last time on this machine, else by the rates of this machine.
    pub fn seconds(&self, results: &Results) -> f64 {
        if let Some(took) = results.took(self) {
            return took;
        }
        let guess = AT_FIRST.into_iter().find(|(pace, _)| pace.name() == self.pace).map_or(1.0, |(_, rate)| rate);
        let rate = results.rate(&self.pace).unwrap_or(guess);
        let (size, all) = (number(self.size), number(self.size) / rate);
        START
            + match self.part {
                // Each with a second's run, and the removal of all of it.
                Part::Beside | Part::Paced => 2.0 * (all + 10.0 + size / 50.0),
                Part::Queue => all + 10.0,
                Part::Retries => 1.5 * all + 20.0,
                Part::Idle => 120.0,
                Part::Memory => 2.0 * all + size / 50.0 + 150.0,
            }
    }
}

/// Everything, in the order of use: what is quick and decides most comes first.
fn all() -> Vec<Step> {
    let (default, tuned) = (Pace::Default, Pace::Tuned);
    let rounds = |part, pace, size, rounds| (1..=rounds).map(move |round| Step::new(part, pace, size, round));
    let mut steps = vec![Step::new(Part::Idle, tuned, 1, 1)];
    steps.extend(rounds(Part::Retries, tuned, 200, 3));
    for size in [100, 1000] {
        steps.extend(rounds(Part::Beside, tuned, size, 5));
        steps.extend(rounds(Part::Beside, default, size, 5));
    }
    steps.extend(rounds(Part::Paced, default, 1000, 1));
    steps.extend(rounds(Part::Queue, tuned, 1000, 5));
    steps.extend(rounds(Part::Memory, tuned, 1000, 1));
    steps.extend(rounds(Part::Memory, tuned, 5000, 1));
    steps.extend(rounds(Part::Beside, tuned, 5000, 3));
    steps.extend(rounds(Part::Queue, tuned, 5000, 1));
    steps.extend(rounds(Part::Beside, default, 5000, 1));
    steps
}

/// All parts with 20 at once.
pub fn smoke() -> Vec<Step> {
    let (default, tuned) = (Pace::Default, Pace::Tuned);
    let all = [
        (Part::Idle, tuned, 1),
        (Part::Retries, tuned, 20),
        (Part::Beside, tuned, 20),
        (Part::Beside, default, 20),
        (Part::Paced, default, 20),
        (Part::Queue, tuned, 20),
        (Part::Memory, tuned, 20),
    ];
    all.map(|(part, pace, size)| Step::new(part, pace, size, 1)).to_vec()
}

/// All that the page shows.
pub fn whole(is_smoke: bool) -> Vec<Step> {
    if is_smoke { smoke() } else { all() }
}

/// What the arguments ask for.
pub fn wanted(arguments: &Arguments) -> Vec<Step> {
    let wants = |step: &Step| {
        // What is no matter of size is left out only where the parts say so.
        let sized = !matches!(step.part, Part::Idle | Part::Retries);
        let size = arguments.only.is_empty()
            || if sized { arguments.only.contains(&step.size) } else { arguments.parts.contains(&step.part) };
        let part = arguments.parts.is_empty() || arguments.parts.contains(&step.part);
        let pace = !(arguments.tuned && step.pace != Pace::Tuned.name()
            || arguments.defaults && step.pace != Pace::Default.name());
        size && part && pace && arguments.times.is_none_or(|times| step.round <= times)
    };
    whole(arguments.smoke).into_iter().filter(wants).collect()
}

/// A time for people.
pub fn time(seconds: f64) -> String {
    if seconds < 90.0 {
        return format!("{seconds:.0} s");
    }
    let minutes = seconds / 60.0;
    if minutes < 90.0 { format!("{minutes:.0} min") } else { format!("{:.1} h", minutes / 60.0) }
}
