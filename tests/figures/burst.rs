//! So many at once: beside bare Jobs, with a limit, and with failures.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::arena::{Arena, Field};
use crate::numbers::{number, percentile};
use crate::plan::Step;
use crate::program::Controller;
use crate::results::Figures;
use crate::seen::Seen;

/// No limit of ours: what is measured is what all of it costs.
pub const UNLIMITED: [&str; 2] = ["--max-active", "100000"];

/// Names without a dash, by which their pods are told.
pub fn names(begins: char, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{begins}{n:05}")).collect()
}

/// As many executions and bare Jobs, one after the other; every second time the Jobs are first. The Job controller's own end of all
/// bare Jobs, which takes longer than all else, is waited for once.
pub async fn beside(arena: &Arena<'_>, step: &Step) -> Result<Figures> {
    const LONG: usize = 1000;
    let count = step.size;
    let to_the_end = step.round == 1 && count <= LONG;
    warm(arena).await?;
    let (ours, theirs) = if step.round % 2 == 1 {
        let ours = executions(arena, &[(names('e', count), "figures")], &UNLIMITED).await?;
        (ours, bare(arena, count, &[], to_the_end).await?)
    } else {
        let theirs = bare(arena, count, &[], to_the_end).await?;
        (executions(arena, &[(names('e', count), "figures")], &UNLIMITED).await?, theirs)
    };
    let per_second = |took: Option<f64>| took.map(|took| number(count) / took);
    let mut figures = rates(count, &ours, &theirs);
    figures.set("final phases/s", per_second(ours.phases_took()));
    figures.set("jobs complete/s", per_second(theirs.jobs_took().filter(|_| to_the_end)));
    latencies(&mut figures, &ours);
    for (name, part) in [("p50", 0.5), ("p95", 0.95)] {
        figures.set(&format!("job to end {name} ms"), percentile(&ours.until_end(), part));
        figures.set(&format!("bare job to end {name} ms"), percentile(&theirs.until_end(), part));
    }
    figures.set("requests each", requests(&ours, "e"));
    figures.set("of them events", ours.kinds.get("create events").map(|events| number(*events) / number(count)));
    figures.set("429s", Some(number(ours.too_many)));
    Ok(figures)
}

/// As many executions, and then bare Jobs that are created when the executor had created its own: the Job controller takes Jobs that
/// come while others end in turn with those that end, whoever creates them, and what is left is what the executor itself costs.
pub async fn paced(arena: &Arena<'_>, step: &Step) -> Result<Figures> {
    warm(arena).await?;
    let ours = executions(arena, &[(names('e', step.size), "figures")], &UNLIMITED).await?;
    let theirs = bare(arena, step.size, &ours.starts(), false).await?;
    let mut figures = rates(step.size, &ours, &theirs);
    latencies(&mut figures, &ours);
    Ok(figures)
}

/// How many a second, beside each other.
fn rates(count: usize, ours: &Seen, theirs: &Seen) -> Figures {
    let mut figures = Figures::default();
    let per_second = |seen: &Seen| seen.pods_took().map(|took| number(count) / took);
    let (own, other) = (per_second(ours), per_second(theirs));
    figures.set("executions/s", own);
    figures.set("jobs/s", other);
    figures.set("ratio", own.zip(other).map(|(own, other)| own / other));
    figures
}

/// With `--max-active`: who starts when.
pub async fn queue(arena: &Arena<'_>, step: &Step) -> Result<Figures> {
    let most = if arena.smoke { 5 } else { 200 };
    warm(arena).await?;
    let seen = executions(arena, &[(names('e', step.size), "figures")], &["--max-active", &most.to_string()]).await?;
    let mut figures = Figures::default();
    figures.set("max active", Some(number(most)));
    figures.set("executions/s", seen.pods_took().map(|took| number(step.size) / took));
    figures.set("most at once", Some(number(seen.most_at_once())));
    figures.set("overtaken by", Some(number(seen.overtaken())));
    figures.set("requests each", requests(&seen, "e"));
    latencies(&mut figures, &seen);
    Ok(figures)
}

/// Every second one fails once.
pub async fn retries(arena: &Arena<'_>, step: &Step) -> Result<Figures> {
    let half = step.size / 2;
    let groups = [(names('e', half), "figures"), (names('r', half), "figures: fails once")];
    let seen = executions(arena, &groups, &[&UNLIMITED[..], &["--backoff", "1s"]].concat()).await?;
    let (success, retried) = (seen.requests_each("e"), seen.requests_each("r"));
    let mut figures = Figures::default();
    figures.set("a success", success);
    figures.set("a retry more", success.zip(retried).map(|(success, retried)| retried - success));
    figures.set("about none", Some(number(seen.requests_about_none())));
    figures.set("429s", Some(number(seen.too_many)));
    let kinds = seen.kinds.iter().map(|(kind, count)| format!("{count} × {kind}"));
    figures.told.extend(kinds);
    Ok(figures)
}

/// All requests but watches, their lists and the Lease, for each that was settled.
fn requests(seen: &Seen, begins: &str) -> Option<f64> {
    let shared = number(seen.requests_about_none()) / number(seen.created.len());
    seen.requests_each(begins).map(|own| own + shared)
}

fn latencies(figures: &mut Figures, seen: &Seen) {
    for (what, values) in [("creation to job", seen.until_job()), ("end to phase", seen.until_phase())] {
        for (name, part) in [("p50", 0.5), ("p95", 0.95)] {
            figures.set(&format!("{what} {name} ms"), percentile(&values, part));
        }
    }
}

/// Some of each first: the first of all wait for what every server does only once.
async fn warm(arena: &Arena<'_>) -> Result<()> {
    const SOME: usize = 10;
    if arena.smoke {
        return Ok(());
    }
    let before = arena.field("warm").await?;
    before.run_bare(&names('w', SOME)).await?;
    before.until("the end of the first Jobs", async || before.complete().await).await?;
    before.clear().await?;
    executions(arena, &[(names('w', SOME), "figures")], &UNLIMITED).await.map(drop)
}

/// Executions of these names and reasons, all at once, until all of it is over.
async fn executions(arena: &Arena<'_>, groups: &[(Vec<String>, &str)], flags: &[&str]) -> Result<Seen> {
    let field = arena.field("executions").await?;
    let controller = Controller::start(&field, flags).await?;
    arena.quiet().await?;
    let (mut tail, mut seen) = (arena.tail()?, Seen::default());
    let namespace = field.world.namespace.clone();
    let all: usize = groups.iter().map(|(names, _)| names.len()).sum();
    let objects =
        groups.iter().flat_map(|(names, reason)| names.iter().map(|name| crate::arena::execution(name, reason, 0)));
    field.send(&field.executions(), objects.collect::<Vec<_>>()).await?;
    over(&field, all, async || {
        seen.follow(&mut tail, &namespace)?;
        Ok(seen.ended())
    })
    .await?;
    field.until("the end of all executions", async || field.settled().await).await?;
    seen.follow(&mut tail, &namespace)?;
    let completed = controller.ended("Completed")?;
    ensure!(completed == all, "{completed} of {all} executions were completed");
    controller.stop().await?;
    field.clear().await?;
    Ok(seen)
}

/// As many bare Jobs, with no controller of ours, until all pods have ended, or all Jobs: at once, or each at its time after the first.
async fn bare(arena: &Arena<'_>, count: usize, times: &[Duration], to_the_end: bool) -> Result<Seen> {
    let field = arena.field("jobs").await?;
    arena.quiet().await?;
    let (mut tail, mut seen) = (arena.tail()?, Seen::default());
    let namespace = field.world.namespace.clone();
    if times.is_empty() {
        field.run_bare(&names('b', count)).await?;
    } else {
        field.run_bare_at(&names('b', count), times).await?;
    }
    over(&field, count, async || {
        seen.follow(&mut tail, &namespace)?;
        Ok(seen.ended())
    })
    .await?;
    if to_the_end {
        field.until("the end of all Jobs", async || field.complete().await).await?;
        seen.follow(&mut tail, &namespace)?;
    }
    field.clear().await?;
    Ok(seen)
}

/// Waits until so many pods have ended.
async fn over(field: &Field<'_>, count: usize, mut ended: impl AsyncFnMut() -> Result<usize>) -> Result<()> {
    field.until("the end of all pods", async || Ok(ended().await? >= count)).await
}
