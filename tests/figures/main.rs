//! `cargo figures`: what the executor costs, beside bare Jobs on the same cluster, and what it was to cost.
//!
//! ```text
//! cargo figures --plan                               what is left to measure, and how long that takes
//! cargo figures                                      all of it (hours)
//! cargo figures --only 100,1000 --times 1 --tuned    some of it
//! cargo figures --smoke                              20 at once, once, every part: whether it measures
//! cargo figures --page                               docs/figures.md and its plot from what was measured
//! ```
//!
//! What is measured is kept line by line in `docs/figures.jsonl`, by the content of the measured code and by machine: what is
//! there already is not measured again, so that a run that was interrupted goes on, on another day and in another checkout too.
//! After each run the page is written anew.
#![allow(clippy::indexing_slicing, reason = "of JSON: what is missing is null, and fails the check that follows")]

mod arena;
mod burst;
mod goals;
mod idle;
#[path = "../blackbox/markdown.rs"]
#[allow(dead_code, clippy::panic, reason = "its other functions are for the generated documents, which are tests")]
mod markdown;
mod memory;
mod numbers;
mod page;
mod plan;
mod plot;
mod program;
mod results;
mod seen;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use test_cluster::Pace;
use test_cluster::assets::tell;

use arena::Arena;
use plan::{Part, Step, time};
use program::Program;
use results::{Figures, Results};

/// What is to be measured.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[derive(Debug, Clone, Parser)]
#[command(name = "cargo figures", about = "Measures the executor beside bare Jobs, and writes docs/figures.md")]
pub struct Arguments {
    /// How many at once, separated by commas
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<usize>,
    /// The most rounds of each
    #[arg(long)]
    pub times: Option<usize>,
    /// These parts alone, separated by commas
    #[arg(long, value_delimiter = ',', value_enum)]
    pub parts: Vec<Part>,
    /// Only with the controller manager's default flags
    #[arg(long, conflicts_with = "tuned")]
    pub defaults: bool,
    /// Only with tuned flags
    #[arg(long)]
    pub tuned: bool,
    /// Measure again what was measured
    #[arg(long)]
    pub again: bool,
    /// Every part with 20 at once, once: whether it measures. Kept apart, and never in the docs
    #[arg(long)]
    pub smoke: bool,
    /// Say what is left to measure and how long that takes, and measure nothing
    #[arg(long)]
    pub plan: bool,
    /// Write the page from what was measured, and measure nothing
    #[arg(long)]
    pub page: bool,
    /// The controller: `release` (cargo builds it), `self` (this program, for a proof), or a path
    #[arg(long)]
    pub controller: Option<String>,
}

fn main() -> ExitCode {
    test_cluster::supervise_if_asked();
    let own: Vec<_> = std::env::args_os().collect();
    if own.get(1).is_some_and(|argument| argument == program::CONTROLLER) {
        return ::controller::program(own.into_iter().skip(1));
    }
    // `cargo figures --smoke` is as good as `cargo figures --smoke`.
    let divides = |(place, argument): &(usize, OsString)| *place == 1 && argument == "--";
    let arguments = own.into_iter().enumerate().filter(|one| !divides(one)).map(|(_, argument)| argument);
    let measured = measure(&Arguments::parse_from(arguments));
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Result<()> {
    let wanted =
        arguments.controller.clone().unwrap_or_else(|| (if arguments.smoke { "self" } else { "release" }).to_owned());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("target/figures");
    std::fs::create_dir_all(&folder)?;
    // A proof leaves nothing in the checkout.
    let proof = arguments.smoke || wanted == "self";
    let file = if proof { folder.join("proof.jsonl") } else { root.join("docs/figures.jsonl") };
    let mut results = Results::open(&file, &wanted, arguments.smoke)?;
    let steps = plan::wanted(arguments);
    let is_left = |step: &&Step| arguments.again || !results.has(step);
    let left: Vec<Step> = steps.iter().filter(is_left).cloned().collect();
    tell(&format!("code {}, {}", results.key().code, results.key().machine));
    tell(&format!(
        "{} of {} steps are left, planned time {}:",
        left.len(),
        steps.len(),
        time(planned(&left, &results))
    ));
    for step in &left {
        tell(&format!("  {step}: {}", time(step.seconds(&results))));
    }
    if arguments.plan {
        return Ok(());
    }
    if !arguments.page {
        let program = Program::find(&wanted, left.is_empty())?;
        for (index, step) in left.iter().enumerate() {
            let rest = planned(left.get(index..).unwrap_or_default(), &results);
            tell(&format!(
                "[{}/{}] {step} (planned {}; all that is left {})",
                index + 1,
                left.len(),
                time(step.seconds(&results)),
                time(rest)
            ));
            let began = Instant::now();
            let figures = carry_out(step, &program, arguments.smoke)
                .with_context(|| format!("{step}; run it again to go on from here"))?;
            tell(&format!("  {figures}"));
            results.keep(step, figures, began.elapsed())?;
        }
    }
    if results.shown().is_empty() {
        tell("nothing is kept of any run: the page stays as it is");
        return Ok(());
    }
    page::write(&results, &folder, proof, arguments.smoke)
}

fn planned(steps: &[Step], results: &Results) -> f64 {
    steps.iter().map(|step| step.seconds(results)).sum()
}

/// One step, on a cluster of its own.
fn carry_out(step: &Step, program: &Program, smoke: bool) -> Result<Figures> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let pace = Pace::FIGURES.into_iter().find(|pace| pace.name() == step.pace).context("an unknown pace")?;
        let arena = Arena::start(pace, program, smoke).await?;
        match step.part {
            Part::Beside => burst::beside(&arena, step).await,
            Part::Paced => burst::paced(&arena, step).await,
            Part::Queue => burst::queue(&arena, step).await,
            Part::Retries => burst::retries(&arena, step).await,
            Part::Idle => idle::measure(&arena).await,
            Part::Memory => memory::measure(&arena, step).await,
        }
    })
}
