//! The truth under faults: every action, every request it makes, every fault that can happen to it, on the real API server.
//!
//! Each action runs once through the proxy without a fault: what it sends is the matrix' rows. Then it runs once for each
//! of these requests and each fault. Every run must end in time with one result; what it says of its effect is held
//! against the audit log and the object, how many requests it says it sent against what the proxy saw, and what it claims
//! to have come of it (or not to have come) against what the target and its pods went through.
//!
//! `cargo test` tries a sample of them, another one each time (`FAULTS_SEED` repeats one); `FAULTS=whole` tries all, and
//! writes the table of `docs/faults.md`.

#![allow(clippy::indexing_slicing, reason = "of JSON: what is missing is null, and fails the check that follows")]

mod attempt;
mod cases;
#[path = "../blackbox/markdown.rs"]
#[allow(dead_code, clippy::panic, reason = "its other functions are for the generated documents, which are tests")]
mod markdown;
mod table;

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use test_cluster::assets::{tell, variable};
use test_cluster::audit::judge_requests;
use test_cluster::fixtures::{self, World};
use test_cluster::proxy::{Concerns, Fault, Proxy, Script, Shape, matrix};
use test_cluster::{Cluster, Connection};

use cases::Case;
use table::{Row, Verdict};

/// `ACTION_TIMEOUT` of every run: long enough for a lost write to be looked into, which takes 11 s.
pub const TIMEOUT: u64 = 25;
/// How long a sample takes, at the most.
const SAMPLE: Duration = Duration::from_secs(90);
/// Runs at once: most of the time they wait.
const WORKERS: usize = 8;
/// One cell of the matrix.
pub struct Cell {
    case: usize,
    /// The request at which it happens.
    pub shape: Shape,
    name: &'static str,
    /// What happens.
    pub event: Event,
}

/// What happens at a request.
pub enum Event {
    /// The request meets a fault.
    Fault(Fault),
    /// The runner gets a signal while it waits for the answer; the API server has the request already, or never gets it.
    Signal {
        /// SIGKILL or SIGTERM.
        signal: Signal,
        /// Whether the API server gets the request.
        arrives: bool,
    },
}

/// The signals at every request.
const SIGNALS: [(&str, Signal, bool); 4] = [
    ("SIGKILL before the request arrives, then run again", Signal::SIGKILL, false),
    ("SIGKILL after the request arrived, then run again", Signal::SIGKILL, true),
    ("SIGTERM before the request arrives", Signal::SIGTERM, false),
    ("SIGTERM after the request arrived", Signal::SIGTERM, true),
];

fn main() -> ExitCode {
    test_cluster::supervise_if_asked();
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    if variable("TEST_KUBECONFIG").is_some() {
        tell("SKIPPED: the fault matrix, which judges by the audit log: TEST_KUBECONFIG names a cluster without one");
        return ExitCode::SUCCESS;
    }
    match run() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            tell(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

fn run() -> Result<usize> {
    let whole = variable("FAULTS").is_some_and(|word| word == "whole");
    let seed = variable("FAULTS_SEED").and_then(|seed| seed.parse().ok()).unwrap_or_else(fixtures::unique);
    let cluster = Cluster::start()?;
    let cases = block_on(async {
        fixtures::nodes(&cluster.connection).await?;
        cases::all(&cluster.connection).await
    })?;
    let mut cells = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let shapes =
            block_on(record(case, &cluster.connection)).with_context(|| format!("the clean run of {}", case.action))?;
        cells.extend(shapes.into_iter().flat_map(|shape| of_shape(index, &shape)));
    }
    shuffle(&mut cells, seed);
    let all = cells.len();
    let until = if whole { None } else { Some(Instant::now() + SAMPLE) };
    tell(&format!("{all} cells; FAULTS_SEED={seed}{}", if whole { "" } else { "; a sample of 90 s" }));
    let (queue, rows) = (Mutex::new(cells), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| work(&cluster.connection, &cases, &queue, &rows, until));
        }
    });
    let rows = rows.into_inner().unwrap_or_default();
    ensure!(!rows.is_empty(), "nothing was tried");
    table::tell_of(&rows);
    if whole {
        table::write(&rows)?;
    }
    let failed = rows.iter().filter(|row| matches!(row.verdict, Verdict::Lie(_) | Verdict::WrongFailure(_))).count();
    tell(&format!("{} passed, {failed} failed", rows.len() - failed));
    drop(cluster);
    Ok(failed)
}

fn work(
    connection: &Connection,
    cases: &[Case],
    queue: &Mutex<Vec<Cell>>,
    rows: &Mutex<Vec<Row>>,
    until: Option<Instant>,
) {
    loop {
        if until.is_some_and(|until| until < Instant::now()) {
            return;
        }
        let Some(cell) = queue.lock().ok().and_then(|mut queue| queue.pop()) else { return };
        let Some(case) = cases.get(cell.case) else { return };
        let (verdict, explained) = block_on(attempt::attempt(case, &cell, connection))
            .unwrap_or_else(|error| (Verdict::Lie(format!("{error:#}")), false));
        if let Verdict::Lie(why) | Verdict::WrongFailure(why) = &verdict {
            let what = if matches!(verdict, Verdict::Lie(_)) { "LIE" } else { "WRONG FAILURE" };
            tell(&format!("{what}: {}, {} of {:?}: {why}", case.action, cell.name, cell.shape));
        }
        if let Ok(mut rows) = rows.lock() {
            rows.push(Row { action: case.action, fault: cell.name, verdict, explained });
        }
    }
}

/// What the action sends when nothing goes wrong.
async fn record(case: &Case, connection: &Connection) -> Result<Vec<Shape>> {
    let world = World::existing(connection, &case.namespace).await?;
    let target = case.target(&world).await?;
    let script = Script { names: target.names.clone(), ..Script::default() };
    let proxy = Proxy::scripted(&connection.server, &connection.authority, world.folder(), script)?;
    let file = world.token_kubeconfig(&case.account, &proxy.server, &proxy.authority).await?;
    let outcome = case.run(&target, &file, TIMEOUT).complete(&world).await?;
    ensure!(outcome.exit == 0 && case.is_done(&world, &target).await?, "{:#}\n{}", outcome.result, outcome.stderr);
    outcome.verdict.check(false).with_context(|| format!("{:#}", outcome.result))?;
    judge_requests(&outcome.result, proxy.log().len())?;
    case.clean(&world, &target).await?;
    Ok(proxy.log())
}

fn of_shape(case: usize, shape: &Shape) -> Vec<Cell> {
    let fits = |concerns: &Concerns| match concerns {
        Concerns::All => true,
        Concerns::Watches => shape.is_watch(),
        Concerns::Answers => !shape.is_watch(),
        Concerns::Writes => shape.is_write(),
    };
    let all = matrix().into_iter().filter(|(_, _, concerns)| fits(concerns));
    let cell = |name, event| Cell { case, shape: shape.clone(), name, event };
    let faults = all.map(|(name, fault, _)| cell(name, Event::Fault(fault)));
    let signals = SIGNALS.into_iter().map(|(name, signal, arrives)| cell(name, Event::Signal { signal, arrives }));
    faults.chain(signals).collect()
}

/// Fisher and Yates, with a generator that gives the same order for the same seed.
fn shuffle<T>(items: &mut [T], seed: u32) {
    let mut state = u64::from(seed) | 1;
    for index in (1..items.len()).rev() {
        // splitmix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let other = usize::try_from((mixed ^ (mixed >> 31)) % (index as u64 + 1)).unwrap_or(0);
        items.swap(index, other);
    }
}
