//! The second judge: what a result claims, against what the cluster's objects went through.
//!
//! The audit judge knows what the runner did; this one knows whether what it says came of it is so. It takes nothing from
//! the runner but the result (and its log lines), decides ownership by UID alone, and does not wait: a judge that lets the
//! cluster settle passes every claim that comes true a second later.
//!
//! - A success must hold where the run looked last (`details.verifiedAt`), in every state from there to a second before
//!   its end, and in the list after it, unless an event of that last second or after it explains the difference.
//! - A failure must not be said of what stood for longer than the run had to look at it: a *wrong failure*.
//! - What was not to be touched (a dry run's target) is as it was.
//! - A wait that ended without its effect says why: see `cause`.

mod cause;
mod claim;
mod count;
mod goal;
mod logs;
mod replaced;
mod rollout;
mod state;
#[cfg(test)]
mod tests;
mod untouched;
mod walk;
mod witness;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::recorder::History;
pub use cause::{Named, Stands};
use claim::NoGoal;
pub use witness::{Ended, Witness};

/// What came of a judgement.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// Claims that do not hold.
    pub lies: Vec<String>,
    /// Failures that were none.
    pub wrong_failures: Vec<String>,
    /// Waits that ended without saying why, or with something that does not stand in the cluster.
    pub unsaid: Vec<String>,
    /// What did not hold any more in the end, because of something that happened when the run was over (or all but).
    pub explained: Vec<String>,
    /// What could not be judged, and why.
    pub skipped: Vec<String>,
    /// Whether there was something to judge.
    pub judged: bool,
}

impl Verdict {
    /// An error where something was found. Differences that are explained are errors too, unless somebody else was at work.
    pub fn check(&self, meddled: bool) -> Result<()> {
        ensure!(self.lies.is_empty(), "a claim that is not so: {}", self.lies.join("; "));
        ensure!(self.wrong_failures.is_empty(), "a wrong failure: {}", self.wrong_failures.join("; "));
        ensure!(self.unsaid.is_empty(), "a wait that does not say why it ended: {}", self.unsaid.join("; "));
        let explained = if meddled { "" } else { &self.explained.join("; ") };
        ensure!(explained.is_empty(), "what was claimed did not last, and nobody meddled: {explained}");
        Ok(())
    }

    /// Says loudly what was not judged.
    pub fn tell(&self) {
        for skipped in &self.skipped {
            crate::assets::tell(&format!("SKIPPED BY THE SECOND JUDGE: {skipped}"));
        }
    }

    fn lie(&mut self, why: impl Into<String>) {
        self.lies.push(why.into());
    }
}

/// A run that has ended, and everything that is known about it.
#[derive(Debug)]
pub struct Case<'a> {
    /// What it says.
    pub result: &'a Value,
    /// What it said before that.
    pub lines: &'a [Value],
    /// The resourceVersion at which it began.
    pub start: u64,
    /// The resourceVersion at which the first run of its `ACTION_ID` on this target began.
    pub first: u64,
    /// When it began.
    pub began: Instant,
    /// When it had ended.
    pub exit: Instant,
    /// The resourceVersion of the list after that.
    pub end: u64,
    /// What happened in its namespace.
    pub history: &'a History,
    /// The pods that `TARGET_SELECTOR` finds after it.
    pub selected: Option<BTreeSet<String>>,
    /// The events that the runner has posted about the target since the run began.
    pub events: usize,
    /// What stands in the cluster of what it says, when it says why a wait has ended.
    pub stands: Option<Stands>,
}

/// How late something may come to be no part of what a run has looked at.
const LATE: Duration = Duration::from_secs(1);
/// How much longer than `settle` something must have stood for a failure to be wrong.
const LONGER: Duration = Duration::from_secs(2);
/// What `settle` is unless the parameters say so.
const SETTLE: Duration = Duration::from_secs(3);

impl Case<'_> {
    fn text(&self, pointer: &str) -> &str {
        self.result.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    fn is(&self, pointer: &str) -> Option<bool> {
        self.result.pointer(pointer).and_then(Value::as_bool)
    }

    fn number(&self, pointer: &str) -> Option<i64> {
        self.result.pointer(pointer).and_then(Value::as_i64)
    }

    /// `scale`, of `scale-deployment`.
    fn verb(&self) -> &str {
        let action = self.text("/actionType");
        ["collect-logs", "scale", "restart", "rollback", "cordon", "uncordon"]
            .into_iter()
            .find(|verb| action == *verb || action.strip_prefix(verb).is_some_and(|rest| rest.starts_with('-')))
            .unwrap_or(action)
    }

    /// Whether it was waited for the effect.
    fn waits(&self) -> bool {
        self.is("/parameters/wait") != Some(false)
    }

    fn settle(&self) -> Duration {
        let period = self.text("/parameters/settle").parse::<jiff::SignedDuration>().ok();
        period.and_then(|period| period.try_into().ok()).unwrap_or(SETTLE)
    }

    fn claims_success(&self) -> bool {
        self.is("/success") == Some(true) && self.is("/dryRun") != Some(true)
    }

    /// Whether it says that the effect did not come: where it was applied, now or by an earlier run, or was there.
    fn claims_failure(&self) -> bool {
        let tried = matches!(self.text("/code"), "NotVerified" | "DeadlineExceeded");
        let phase = self.text("/failedPhase");
        let done = self.text("/effect") == "applied" || self.is("/resumed") == Some(true);
        tried && phase != "postconditions" && (done || (phase == "verify" && self.text("/effect") == "none"))
    }

    /// Whether there is anything to judge; if not, nobody needs to ask the cluster for anything.
    fn is_judged(&self) -> bool {
        self.is("/dryRun") == Some(true) || self.claims_success() || self.claims_failure()
    }
}

/// Judges a run.
pub fn judge(case: &Case<'_>) -> Verdict {
    let mut verdict = Verdict::default();
    if !case.is_judged() {
        return verdict;
    }
    verdict.judged = true;
    if case.is("/dryRun") == Some(true) {
        untouched::judge(case, &mut verdict);
    } else if case.verb() == "collect-logs" {
        logs::judge(case, &mut verdict);
    } else {
        match claim::of(case) {
            Ok(claim) => {
                verdict.skipped.extend(claim.skipped.iter().cloned());
                if case.claims_success() {
                    walk::success(case, &claim, &mut verdict);
                } else {
                    walk::failure(case, &claim, &mut verdict);
                    cause::judge(case, &claim, &mut verdict);
                }
            }
            Err(NoGoal::Skipped(why)) => verdict.skipped.push(why),
            Err(NoGoal::Lie(why)) => verdict.lie(why),
        }
    }
    verdict
}
