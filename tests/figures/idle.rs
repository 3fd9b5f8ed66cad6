//! Nothing to do, then one execution at a time.

use std::time::Duration;

use anyhow::Result;
use test_cluster::tail::Tail;

use crate::arena::{Arena, Field};
use crate::burst::names;
use crate::numbers::{number, percentile};
use crate::program::Controller;
use crate::results::Figures;
use crate::seen::Seen;

/// What an idle controller is said to send (docs/executor.md): its Lease, watches that are begun anew, the sweep of what is settled.
fn is_told(kind: &str) -> bool {
    kind.ends_with(" leases") || kind.starts_with("watch ") || kind.contains("the sweep")
}

/// Measures both.
pub async fn measure(arena: &Arena<'_>) -> Result<Figures> {
    let (seconds, count) = if arena.smoke { (10, 5) } else { (60, 50) };
    let field = arena.field("idle").await?;
    let controller = Controller::start(&field, &[]).await?;
    arena.quiet().await?;
    let (mut tail, mut seen) = (arena.tail()?, Seen::default());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    seen.follow(&mut tail, &field.world.namespace)?;
    let mut figures = Figures::default();
    figures.set("seconds", u32::try_from(seconds).ok().map(f64::from));
    figures.set("requests", Some(number(seen.kinds.values().sum())));
    let others: usize = seen.kinds.iter().filter(|(kind, _)| !is_told(kind)).map(|(_, count)| count).sum();
    figures.set("not told of", Some(number(others)));
    figures.told.extend(seen.kinds.iter().map(|(kind, count)| format!("{count} × {kind}")));
    let seen = one_at_a_time(&field, &mut tail, count).await?;
    for (name, part) in [("p50", 0.5), ("p95", 0.95)] {
        figures.set(&format!("creation to job {name} ms"), percentile(&seen.until_job(), part));
        figures.set(&format!("end to phase {name} ms"), percentile(&seen.until_phase(), part));
    }
    controller.stop().await?;
    Ok(figures)
}

/// Each is created when the one before is settled.
async fn one_at_a_time(field: &Field<'_>, tail: &mut Tail, count: usize) -> Result<Seen> {
    let mut seen = Seen::default();
    for name in names('e', count) {
        field.execute(&[name], "figures", 0).await?;
        field.until("its end", async || field.settled().await).await?;
    }
    seen.follow(tail, &field.world.namespace)?;
    Ok(seen)
}
