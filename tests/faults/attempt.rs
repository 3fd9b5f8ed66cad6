//! One run of the matrix, and its judgement.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use nix::sys::signal::Signal;
use test_cluster::Connection;
use test_cluster::audit::{AuditLog, Entry, judge_effect, judge_requests, seen_key};
use test_cluster::fixtures::World;
use test_cluster::proxy::{Fault, Proxy, Script, Shape};
use test_cluster::runner::{Outcome, Running};

use crate::cases::{Case, Target};
use crate::table::Verdict;
use crate::{Cell, Event, TIMEOUT};

/// No run may need more, in KiB: a Job has 64 MiB. (The debug build takes 17 of it by itself.)
const MEMORY: u64 = 56 << 10;
/// What a busy machine needs beside that to start a process, and to see that it has ended.
const SLACK: Duration = Duration::from_secs(2);
/// Within this much more than `ACTION_TIMEOUT`, or of a signal, a run ends.
const GRACE: Duration = Duration::from_secs(1);

struct Attempt<'a> {
    case: &'a Case,
    target: Target,
    world: World,
    proxy: Proxy,
    audit: AuditLog,
}

/// One run in which one thing happens; and whether something that came after it explains that its claim holds no more.
pub async fn attempt(case: &Case, cell: &Cell, connection: &Connection) -> Result<(Verdict, bool)> {
    let world = World::existing(connection, &case.namespace).await?;
    let target = case.target(&world).await.context("no target could be made")?;
    let fault = match &cell.event {
        Event::Fault(fault) => fault.clone(),
        Event::Signal { arrives: true, .. } => Fault::Stall,
        Event::Signal { arrives: false, .. } => Fault::StallBefore,
    };
    let script = Script { names: target.names.clone(), fault: Some((cell.shape.clone(), fault)), ..Script::default() };
    let proxy = Proxy::scripted(&connection.server, &connection.authority, world.folder(), script)?;
    let audit = AuditLog::from_now(connection.audit_log.as_deref().context("no audit log")?)?;
    let attempt = Attempt { case, target, world, proxy, audit };
    let judged = match cell.event {
        Event::Fault(_) => attempt.with_fault().await?,
        Event::Signal { signal, .. } => attempt.with_signal(signal, &cell.shape).await?,
    };
    attempt.case.clean(&attempt.world, &attempt.target).await?;
    Ok(judged)
}

impl Attempt<'_> {
    async fn start(&self) -> Result<Running> {
        let file = self.world.token_kubeconfig(&self.case.account, &self.proxy.server, &self.proxy.authority).await?;
        self.case.run(&self.target, &file, TIMEOUT).start(&self.world)
    }

    async fn with_fault(&self) -> Result<(Verdict, bool)> {
        let (running, started) = (self.start().await?, Moment::now());
        let outcome = running.complete(&self.world).await?;
        self.judge(&outcome, &started, Duration::from_secs(TIMEOUT) + GRACE).await
    }

    async fn with_signal(&self, signal: Signal, shape: &Shape) -> Result<(Verdict, bool)> {
        let mut running = self.start().await?;
        while self.proxy.hits() == 0 && !running.has_ended()? {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if signal == Signal::SIGKILL {
            running.kill().await?;
            return self.again().await;
        }
        let hit = self.proxy.hits() > 0;
        if hit {
            running.signal(signal)?;
        }
        let started = Moment::now();
        let outcome = running.complete(&self.world).await?;
        // The event comes after the result, which it does not change.
        let interrupted = (outcome.result["code"] == "Interrupted" && outcome.exit == 143)
            || (outcome.exit == 0 && shape.what.contains("/events"));
        ensure!(!hit || interrupted, "no word of SIGTERM: {}", self.said(&outcome));
        self.judge(&outcome, &started, GRACE).await
    }

    fn said(&self, outcome: &Outcome) -> String {
        format!("{:#}\n{:#?}\n{}", outcome.result, self.proxy.log(), outcome.stderr)
    }

    /// One valid result whose code is the exit code is what reading it has checked by itself.
    async fn judge(&self, outcome: &Outcome, from: &Moment, limit: Duration) -> Result<(Verdict, bool)> {
        self.proxy.settled().await;
        let said = || self.said(outcome);
        let (by_itself, by_us) = from.until_the_end(outcome)?;
        ensure!(by_itself < limit && by_us < limit + SLACK, "it took {by_itself:?}, {by_us:?} in all: {}", said());
        ensure!(outcome.peak_kib < MEMORY, "it took {} KiB: {}", outcome.peak_kib, said());
        let seen = self.seen().await?;
        let done = self.case.is_done(&self.world, &self.target).await?;
        if seen.iter().any(Entry::may_have_changed_something) {
            // The API server itself does not know what it answered: the object does.
            let effect = outcome.result["effect"].as_str().unwrap_or_default();
            let fits = matches!((effect, done), ("applied", true) | ("none", false) | ("unknown", _));
            ensure!(fits, "effect is {effect}, and done is {done}: {}", said());
        } else {
            judge_effect(&outcome.result, &seen).with_context(said)?;
        }
        judge_requests(&outcome.result, self.proxy.log().len()).with_context(said)?;
        once(&seen).with_context(said)?;
        let reached = outcome.exit != 0 || self.case.is_reached(&self.world, &self.target).await?;
        ensure!(reached, "it says that it is done, and it is not: {}", said());
        let unknown = outcome.result["effect"] == "unknown";
        self.second(
            outcome,
            match (self.proxy.hits() > 0, outcome.exit) {
                (false, _) => Verdict::NotHit,
                (true, 0) => Verdict::Survived,
                (true, _) if unknown => Verdict::Unknown,
                (true, _) => Verdict::Reported,
            },
        )
    }

    /// What the second judge says of a run that the first one let pass.
    fn second(&self, outcome: &Outcome, verdict: Verdict) -> Result<(Verdict, bool)> {
        let found = &outcome.verdict;
        let explained = !found.explained.is_empty();
        ensure!(found.lies.is_empty(), "it claims what is not so: {}: {}", found.lies.join("; "), self.said(outcome));
        if found.wrong_failures.is_empty() {
            return Ok((verdict, explained));
        }
        Ok((Verdict::WrongFailure(format!("{}: {}", found.wrong_failures.join("; "), self.said(outcome))), explained))
    }

    /// A second run with the same `ACTION_ID`, after the first one could say nothing: together they are one run.
    async fn again(&self) -> Result<(Verdict, bool)> {
        let (case, target, world) = (self.case, &self.target, &self.world);
        let connection = &world.connection;
        let file = world.token_kubeconfig(&case.account, &connection.server, &connection.authority).await?;
        let outcome = case.run(target, &file, TIMEOUT).complete(world).await?;
        let said = || self.said(&outcome);
        let seen = self.seen().await?;
        once(&seen).with_context(said)?;
        let done = outcome.exit == 0 && case.is_reached(world, target).await?;
        ensure!(done, "the second run did not finish the work: {}", said());
        let changes = seen.iter().filter(|entry| entry.changes_something()).count();
        // A change whose answer the API server could not give may have been made, and then no other one was.
        let perhaps = seen.iter().filter(|entry| entry.may_have_changed_something()).count();
        let expected = case.changes();
        ensure!(
            changes <= expected && changes + perhaps >= expected,
            "together they made {changes} changes, and perhaps {perhaps} more: {}",
            said()
        );
        self.second(&outcome, if self.proxy.hits() > 0 { Verdict::Survived } else { Verdict::NotHit })
    }

    /// What the API server saw of all runs with this id.
    async fn seen(&self) -> Result<Vec<Entry>> {
        self.audit.requests(self.world.client(), &format!("id={}", self.target.id)).await
    }
}

/// A moment by both clocks: what a result says is the time of day.
struct Moment(Instant, Timestamp);

impl Moment {
    fn now() -> Self {
        Self(Instant::now(), Timestamp::now())
    }

    /// How long it took from then on, by the result's word and as seen from outside.
    fn until_the_end(&self, outcome: &Outcome) -> Result<(Duration, Duration)> {
        let end: Timestamp = outcome.result["endTime"].as_str().context("no endTime")?.parse()?;
        let told = Duration::try_from(end.duration_since(self.1)).unwrap_or_default();
        Ok((told, outcome.ended.duration_since(self.0)))
    }
}

/// Nothing was done twice.
fn once(seen: &[Entry]) -> Result<()> {
    let mut changes: Vec<String> = seen.iter().filter(|entry| entry.changes_something()).map(seen_key).collect();
    let count = changes.len();
    changes.sort();
    changes.dedup();
    ensure!(changes.len() == count, "it was done twice: {seen:#?}");
    Ok(())
}
