//! The tables of `docs/figures.md`. Nothing stands in them but what a run gave; the last column of the goals is written by hand, and
//! kept.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;
use test_cluster::Pace;
use test_cluster::assets::tell;

use crate::goals;
use crate::markdown;
use crate::numbers::{shown, spread};
use crate::plan::{self, Part, Step};
use crate::plot;
use crate::results::{Line, Results};

/// Lines of results, asked for by what they are of.
pub struct Shown<'a> {
    lines: Vec<&'a Line>,
    /// What stands for 1,000 and 5,000 at once.
    pub sizes: [usize; 2],
}

impl Shown<'_> {
    /// The lines of a part, in the order of their rounds.
    pub fn of(&self, part: Part, pace: Pace, size: usize) -> Vec<&Line> {
        let is = |step: &Step| step.part == part && step.pace == pace.name() && step.size == size;
        self.lines.iter().copied().filter(|line| is(&line.step)).collect()
    }

    /// The lines of a part, whatever they are of.
    pub fn of_part(&self, part: Part) -> Vec<&Line> {
        self.lines.iter().copied().filter(|line| line.step.part == part).collect()
    }

    /// A number of each of them.
    pub fn values(&self, part: Part, pace: Pace, size: usize, name: &str) -> Vec<f64> {
        self.of(part, pace, size).iter().filter_map(|line| line.figures.numbers.get(name).copied()).collect()
    }

    /// The sizes that were measured of a part.
    pub fn sizes_of(&self, part: Part, pace: Pace) -> Vec<usize> {
        let mut sizes: Vec<usize> = self
            .lines
            .iter()
            .filter(|line| line.step.part == part && line.step.pace == pace.name())
            .map(|line| line.step.size)
            .collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }
}

/// Writes the page and its plot: of a proof beside its results.
pub fn write(results: &Results, folder: &Path, proof: bool, smoke: bool) -> Result<()> {
    let lines = results.shown();
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let page = docs.join("figures.md");
    let sizes = if smoke { [20, 20] } else { [1000, 5000] };
    let shown = Shown { lines, sizes };
    let plot = plot::svg(&shown);
    let before = std::fs::read_to_string(&page)?;
    let blocks = [
        ("machine", machine(&shown)),
        ("goals", goals::table(&shown, if proof { "" } else { &before })),
        (
            "plot",
            plot.as_ref().map_or_else(
                || "No plot yet.\n".to_owned(),
                |_| "![Executions a second beside bare Jobs](figures.svg)\n".to_owned(),
            ),
        ),
        ("beside", beside(&shown)),
        ("queue", queue(&shown)),
        ("memory", memory(&shown)),
        ("requests", told(&shown, Part::Retries)),
        ("idle", told(&shown, Part::Idle)),
        ("missing", missing(&shown, smoke)),
    ];
    let blocks: Vec<(&str, &String)> = blocks.iter().map(|(name, text)| (*name, text)).collect();
    let text = markdown::fill(&page, &blocks);
    let into = if proof { folder } else { &docs };
    std::fs::write(into.join("figures.md"), text)?;
    if let Some(plot) = plot {
        std::fs::write(into.join("figures.svg"), plot)?;
    }
    tell(&format!("written: {}", into.join("figures.md").display()));
    Ok(())
}

fn machine(shown: &Shown<'_>) -> String {
    let Some(line) = shown.lines.iter().max_by_key(|line| line.at) else {
        return "Nothing has been measured yet.\n".to_owned();
    };
    let key = &line.key;
    let mut codes: BTreeMap<(&str, &str), BTreeSet<String>> = BTreeMap::new();
    for one in &shown.lines {
        codes.entry((&one.key.code, &one.commit)).or_default().insert(one.step.part.to_string());
    }
    let parts = |parts: BTreeSet<String>| parts.into_iter().collect::<Vec<_>>().join(", ");
    let codes: Vec<String> = codes
        .into_iter()
        .map(|((code, commit), of)| format!("`{code}` at commit `{commit}` ({})", parts(of)))
        .collect();
    format!(
        "Machine: {} (control plane, nodes and controller share it). Code: {}. Kubernetes {}. Controller: {}. Last measured: {}.\n",
        key.machine,
        codes.join(", "),
        test_cluster::assets::KUBERNETES,
        key.controller,
        line.at.strftime("%Y-%m-%d")
    )
}

fn beside(shown: &Shown<'_>) -> String {
    let head = [
        "at once",
        "flags",
        "rounds",
        "executions/s",
        "bare Jobs/s",
        "ratio",
        "final phases/s",
        "bare Jobs complete/s",
        "creation to Job p50, p95 (ms)",
        "end to phase p50, p95 (ms)",
        "Job to pod's end p50, p95 (ms)",
        "the same, bare (ms)",
        "requests each",
        "429s",
    ];
    let row = |(pace, size): (Pace, usize)| {
        let values = |name: &str| shown.values(Part::Beside, pace, size, name);
        let two = |name: &str| ["p50", "p95"].map(|part| spread(&values(&format!("{name} {part} ms")))).join(", ");
        let mut cells = vec![size.to_string(), pace.name().to_owned(), values("ratio").len().to_string()];
        cells.extend(
            ["executions/s", "jobs/s", "ratio", "final phases/s", "jobs complete/s"].map(|name| spread(&values(name))),
        );
        cells.extend([
            two("creation to job"),
            two("end to phase"),
            two("job to end"),
            two("bare job to end"),
            spread(&values("requests each")),
            spread(&values("429s")),
        ]);
        cells
    };
    let both = Pace::FIGURES
        .into_iter()
        .flat_map(|pace| shown.sizes_of(Part::Beside, pace).into_iter().map(move |size| (pace, size)));
    or_nothing(markdown::table(&head, both.map(row)))
}

fn queue(shown: &Shown<'_>) -> String {
    let head = [
        "at once",
        "max active",
        "rounds",
        "executions/s",
        "most at once",
        "overtaken by",
        "creation to Job p50, p95 (s)",
        "requests each",
    ];
    let row = |size: usize| {
        let values = |name| shown.values(Part::Queue, Pace::Tuned, size, name);
        let seconds = |part| spread(&values(part).iter().map(|ms| ms / 1000.0).collect::<Vec<_>>());
        let waited = ["creation to job p50 ms", "creation to job p95 ms"].map(seconds).join(", ");
        let mut cells = vec![size.to_string(), spread(&values("max active")), values("executions/s").len().to_string()];
        cells.extend(["executions/s", "most at once", "overtaken by"].map(|name| spread(&values(name))));
        cells.extend([waited, spread(&values("requests each"))]);
        cells
    };
    or_nothing(markdown::table(&head, shown.sizes_of(Part::Queue, Pace::Tuned).into_iter().map(row)))
}

fn memory(shown: &Shown<'_>) -> String {
    let times = ["none", "active", "restarted", "settled", "started with settled"];
    let head = [&["at once"], &times[..], &["leading to first step (s)", "to first write (s)"]].concat();
    let row = |size: usize| {
        let values = |name: &str| shown.values(Part::Memory, Pace::Tuned, size, name);
        let both = |when: &str| {
            format!("{}, {}", spread(&values(&format!("{when} MiB"))), spread(&values(&format!("{when} most MiB"))))
        };
        let mut cells = vec![size.to_string()];
        cells.extend(times.map(both));
        cells.extend(["restart to first step s", "restart to first write s"].map(|name| spread(&values(name))));
        cells
    };
    or_nothing(markdown::table(&head, shown.sizes_of(Part::Memory, Pace::Tuned).into_iter().map(row)))
}

/// What the last run of a part told.
fn told(shown: &Shown<'_>, part: Part) -> String {
    let Some(line) = shown.lines.iter().rfind(|line| line.step.part == part) else {
        return "Not measured yet.\n".to_owned();
    };
    let of = line.figures.numbers.get("seconds").map_or_else(
        || format!("Of {} executions", line.step.size),
        |seconds| format!("In {} s", self::shown(*seconds)),
    );
    format!("{of}: {}.\n", line.figures.told.join(", "))
}

fn missing(shown: &Shown<'_>, smoke: bool) -> String {
    let mut rounds: BTreeMap<Step, (usize, usize)> = BTreeMap::new();
    for step in plan::whole(smoke) {
        let there = shown.lines.iter().any(|line| line.step == step);
        let (done, all) = rounds.entry(Step { round: 1, ..step }).or_default();
        (*done, *all) = (*done + usize::from(there), *all + 1);
    }
    let left = rounds.iter().filter(|(_, (done, all))| done < all).map(|(step, (done, all))| {
        let name = step.to_string();
        format!("- {}: {done} of {all}\n", name.trim_end_matches(", round 1"))
    });
    let left: String = left.collect();
    if left.is_empty() { "None.\n".to_owned() } else { left }
}

fn or_nothing(table: String) -> String {
    if table.lines().count() > 2 { table } else { "Not measured yet.\n".to_owned() }
}
