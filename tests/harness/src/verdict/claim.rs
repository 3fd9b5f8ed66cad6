//! From a result to the goal that it claims to have reached (or to have missed).

use std::collections::{BTreeMap, BTreeSet};

use super::Case;
use super::count::Count;
use super::goal::Goal;
use super::replaced::Replaced;
use super::rollout::Rollout;
use super::state::{Family, State};
use crate::recorder::{Event, Kind};

/// A goal, and what is needed to judge it.
pub struct Claim<'h> {
    /// What must hold.
    pub goal: Goal<'h>,
    /// Who belongs to whom.
    pub family: Family<'h>,
    /// What happened to the target, to what belongs to it, and to the revisions that it had.
    pub events: Vec<&'h Event>,
    /// The kinds that a run must have looked at to know; `details.verifiedAt` has a resourceVersion for each.
    pub looked_at: Vec<Kind>,
    /// What the result says beside the goal, and should not.
    pub wrong: Vec<String>,
    /// What of it cannot be judged.
    pub skipped: Vec<String>,
}

/// Why there is no goal to be judged by.
pub enum NoGoal {
    /// It is not known.
    Skipped(String),
    /// There was none: the result itself is wrong.
    Lie(String),
}

impl<T: Into<String>> From<T> for NoGoal {
    fn from(why: T) -> Self {
        Self::Skipped(why.into())
    }
}

/// The claim of a result.
pub fn of<'h>(case: &Case<'h>) -> Result<Claim<'h>, NoGoal> {
    let uid = case.result.pointer("/target/uid").and_then(|uid| uid.as_str());
    let uid = uid.ok_or_else(|| "the result names no target by UID".to_owned())?;
    let name = case.text("/target/kind");
    let kind = Kind::named(name).ok_or_else(|| format!("{name} is no kind that is recorded"))?;
    let family = Family::of(&case.history.events);
    let root = if kind == Kind::Pod { top(case, &family, uid) } else { uid };
    let events: Vec<&Event> = case.history.events.iter().filter(|event| family.belongs(&event.uid, root)).collect();
    let goal = Goal::Node { uid, unschedulable: false };
    let mut claim = Claim { goal, family, events, looked_at: vec![kind], wrong: Vec::new(), skipped: Vec::new() };
    claim.goal = match case.verb() {
        "scale" => claim.scale(case, uid)?,
        "restart" if kind == Kind::Pod => claim.pod(case, uid, root)?,
        "restart" | "rollback" => claim.rollout(case, uid)?,
        verb @ ("cordon" | "uncordon") => Goal::Node { uid, unschedulable: verb == "cordon" },
        verb => {
            return Err(NoGoal::Skipped(format!(
                "nobody has said yet what {verb} claims: tests/harness/src/verdict/claim.rs"
            )));
        }
    };
    if !matches!(claim.goal, Goal::Node { .. }) && kind != Kind::Pod {
        claim.looked_at.push(Kind::Pod);
    }
    Ok(claim)
}

/// Who controls a pod, at the top of those that are recorded: what is above them does not say how many pods it wants.
fn top<'h>(case: &Case<'h>, family: &Family<'h>, pod: &'h str) -> &'h str {
    let recorded = |uid: &&str| case.history.events.iter().any(|event| *event.uid == **uid);
    family.line(pod).into_iter().rfind(recorded).unwrap_or(pod)
}

/// `terminating: ignore`.
fn leaving_may_stay(case: &Case<'_>) -> bool {
    case.text("/parameters/terminating") == "ignore"
}

impl<'h> Claim<'h> {
    fn scale(&mut self, case: &Case<'h>, target: &'h str) -> Result<Goal<'h>, NoGoal> {
        let asked = case.number("/parameters/replicas");
        let replicas = case.number("/details/toReplicas").or(asked).ok_or("the result does not say to how many")?;
        if asked.is_some_and(|asked| asked != replicas) {
            self.wrong.push(format!("{asked:?} was asked for, and details.toReplicas is {replicas}"));
        }
        let leaving_may_stay = leaving_may_stay(case);
        Ok(Goal::Count(Count { target, replicas, object_only: !case.waits(), leaving_may_stay }))
    }

    fn pod(&mut self, case: &Case<'h>, target: &'h str, top: &'h str) -> Result<Goal<'h>, NoGoal> {
        if self.events.is_empty() {
            return Err(format!("pod {target} was gone before anything was recorded").into());
        }
        let top = (top != target).then_some(top);
        if let (None, Some((kind, _))) = (top, self.family.owner(target)) {
            self.skipped.push(format!("whether a pod was replaced: a {kind} controls it, which is not recorded"));
        }
        Ok(Goal::Replaced(Replaced { target, top, object_only: !case.waits() }))
    }

    fn rollout(&mut self, case: &Case<'h>, target: &'h str) -> Result<Goal<'h>, NoGoal> {
        let written = self.written(case, target);
        let named = case.text("/details/toRevision/name");
        let kept = self.revision(named);
        let restart = case.verb() == "restart";
        if !restart && case.claims_success() {
            match (kept, written) {
                (None, _) => self.wrong.push(format!("details.toRevision names {named:?}, which does not exist")),
                (Some(kept), Some(written)) if kept != written => {
                    self.wrong.push(format!("what was written is not the template of {named}"));
                }
                _ => {}
            }
        }
        // Every run in this cluster was recorded: what none of them wrote, no run may say that it did.
        let gap = case.history.gaps.iter().any(|gap| Kind::named(case.text("/target/kind")) == Some(gap.kind));
        let says_so = case.claims_success() && (restart || case.is("/resumed") == Some(true));
        if written.is_none() && says_so && !gap {
            return Err(NoGoal::Lie("no run of this execution has written a template".to_owned()));
        }
        let template = written.or(kept).ok_or("no write of this execution was recorded")?;
        let before = State::at(&self.events, case.first);
        Ok(Goal::Rollout(Rollout {
            target,
            template,
            before: if restart { self.family.uids(&before, target) } else { BTreeSet::new() },
            restart,
            object_only: !case.waits(),
            leaving_may_stay: leaving_may_stay(case),
        }))
    }

    /// The template that a revision of this name keeps.
    fn revision(&self, name: &str) -> Option<u64> {
        let all = self.events.iter().filter_map(|event| event.seen.as_deref());
        let revisions = all.filter(|seen| matches!(seen.kind, Kind::ReplicaSet | Kind::ControllerRevision));
        revisions.filter(|seen| seen.name == name).find_map(|seen| seen.template)
    }

    /// The template that this execution wrote: with it came its mark, which has its id or the run's own name. A rollback to
    /// the template that is there already writes nothing.
    fn written(&self, case: &Case<'h>, target: &str) -> Option<u64> {
        let run = case.text("/requests/userAgent").rsplit_once("run=").map(|(_, run)| run.trim_end_matches(')'));
        let names: Vec<String> = [Some(case.text("/actionId")), run]
            .into_iter()
            .flatten()
            .filter(|name| !name.is_empty())
            .map(|name| format!("\"{name}\""))
            .collect();
        let states: Vec<_> = self.events.iter().filter(|event| *event.uid == *target).collect();
        let mut known: BTreeMap<bool, u64> = BTreeMap::new();
        for pair in states.windows(2) {
            let [before, after] = pair else { continue };
            let (Some(before), Some(now)) = (&before.seen, &after.seen) else { continue };
            let marked = names.iter().any(|name| now.marks.contains(name)) && before.marks != now.marks;
            if marked && before.template != now.template {
                known.entry(after.rv > case.first).or_insert(now.template?);
            }
        }
        // Rather the one after the first run began than an older one: ids may be used for one verb after another.
        known.into_values().next_back()
    }
}
