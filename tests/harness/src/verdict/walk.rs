//! From state to state: where a claim holds, where it ceases to, and since when it stood.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::claim::Claim;
use super::goal::{Goal, Holds};
use super::replaced::Replaced;
use super::state::State;
use super::{Case, LATE, LONGER, Verdict};
use crate::recorder::{Event, Kind};

/// How exactly the time at which a pod became ready is known: the server's times are whole seconds, and events take a while.
const ROUGHLY: Duration = Duration::from_millis(1500);

/// What was looked at last: a resourceVersion for each kind.
struct Cut(BTreeMap<Kind, u64>);

impl Cut {
    fn of(&self, kind: Kind) -> u64 {
        // What was not followed is taken as it was when the rest was seen.
        self.0.get(&kind).or(self.0.values().max()).copied().unwrap_or_default()
    }
}

/// Judges a claim that it is done.
pub fn success(case: &Case<'_>, claim: &Claim<'_>, verdict: &mut Verdict) {
    for wrong in &claim.wrong {
        verdict.lie(wrong);
    }
    // Whether a node takes pods is told by the node alone, whenever it is looked at.
    let looks = case.waits() && !matches!(claim.goal, Goal::Node { .. });
    if !looks {
        return in_the_end(case, claim, verdict);
    }
    let cut = match verified_at(case, claim) {
        Ok(cut) => cut,
        Err(why) => return verdict.lie(why),
    };
    let (mut state, mut rest) = (State::default(), Vec::new());
    for event in claim.events.iter().copied() {
        if event.rv <= cut.of(event.kind) {
            state.apply(event);
        } else if event.rv <= case.end {
            rest.push(event);
        }
    }
    let told = |why: String| format!("at {}: {why}", case.result["details"]["verifiedAt"]);
    match holds(case, claim, &state) {
        Err(why) => return verdict.lie(told(why)),
        Ok(pods) => numbers(case, claim, &pods, verdict),
    }
    followed_long_enough(case, claim, &state, verdict);
    afterwards(case, claim, state, &rest, verdict);
}

/// A claim that holds now must not be contradicted by what came next.
fn afterwards<'h>(case: &Case<'_>, claim: &Claim<'h>, mut state: State<'h>, rest: &[&'h Event], verdict: &mut Verdict) {
    let mut held = true;
    for event in rest {
        let vanishes = event.seen.is_none() && state.get(&event.uid).is_some_and(|one| !one.seen.leaving);
        state.apply(event);
        let now = holds(case, claim, &state);
        let late = event.arrived + LATE > case.exit;
        if let (true, Err(why)) = (held, &now) {
            let why = format!("at {}: {why}", event.rv);
            if late && vanishes {
                // kwok deletes by name alone, and may take the new pod of a StatefulSet for the old one; a kubelet does not.
                verdict.skipped.push(format!("a pod vanished without having been terminating: {why}"));
            } else if late {
                verdict.explained.push(why);
            } else {
                verdict.lie(why);
            }
        }
        held = now.is_ok();
    }
}

/// A claim about an object alone: it must have come true, and be so in the end.
fn in_the_end(case: &Case<'_>, claim: &Claim<'_>, verdict: &mut Verdict) {
    let (mut state, mut last) = (State::default(), Err("nothing was recorded of it".to_owned()));
    let mut broken = None;
    for event in claim.events.iter().filter(|event| event.rv <= case.end) {
        state.apply(event);
        let now = holds(case, claim, &state);
        if now.is_err() && last.is_ok() && event.rv > case.start {
            broken = Some(event);
        }
        last = now.map(|_| ());
    }
    if let Err(why) = last {
        match broken.filter(|event| event.arrived + LATE > case.exit) {
            Some(event) => verdict.explained.push(format!("at {}: {why}", event.rv)),
            None => verdict.lie(format!("in the end: {why}")),
        }
    }
}

/// `details.verifiedAt`, for every kind that the claim rests on. What lies in a gap of the record is taken from its end.
fn verified_at(case: &Case<'_>, claim: &Claim<'_>) -> Result<Cut, String> {
    let told = &case.result["details"]["verifiedAt"];
    let mut cut = BTreeMap::new();
    for kind in Kind::ALL {
        let Some(rv) = told[kind.plural()].as_str() else { continue };
        let rv: u64 = rv.parse().map_err(|_| format!("details.verifiedAt has {rv:?} for {}", kind.plural()))?;
        let gap = case.history.gaps.iter().find(|gap| gap.kind == kind && gap.from < rv && rv < gap.to);
        cut.insert(kind, gap.map_or(rv, |gap| gap.to));
    }
    let missing: Vec<_> =
        claim.looked_at.iter().filter(|kind| !cut.contains_key(kind)).map(|kind| kind.plural()).collect();
    if !missing.is_empty() {
        return Err(format!(
            "details.verifiedAt does not say where {} were looked at last: {told}",
            missing.join(", ")
        ));
    }
    Ok(Cut(cut))
}

/// Whether the goal holds, all of its pods for `minReadySeconds`, and their containers are still those that became ready.
fn holds<'s, 'h>(case: &Case<'_>, claim: &'s Claim<'h>, state: &'s State<'h>) -> Result<Holds<'s, 'h>, String> {
    let holds = claim.goal.holds(state, &claim.family)?;
    if holds.ripe.is_some_and(|ripe| ripe > case.exit + ROUGHLY) {
        return Err("its pods have not been ready for minReadySeconds".to_owned());
    }
    for pod in &holds.counted {
        let (Some(ready), Some(now)) = (pod.ready, pod.seen.pod()) else { continue };
        if ready.rv > case.start && ready.then.unprobed != now.unprobed && !case.settle().is_zero() {
            return Err(format!(
                "{}: a container without readiness probe has ended since it was ready",
                pod.seen.told()
            ));
        }
    }
    Ok(holds)
}

/// What became ready in this run, and has no probe, was followed through `settle`.
fn followed_long_enough(case: &Case<'_>, claim: &Claim<'_>, state: &State<'_>, verdict: &mut Verdict) {
    let Ok(Holds { counted, .. }) = claim.goal.holds(state, &claim.family) else { return };
    for pod in counted {
        let (Some(ready), Some(now)) = (pod.ready, pod.seen.pod()) else { continue };
        let Some(since) = ready.since.filter(|_| ready.rv > case.start && !now.unprobed.is_empty()) else { continue };
        let followed = case.exit.saturating_duration_since(since);
        if followed + LATE < case.settle() {
            let (name, settle) = (pod.seen.told(), case.settle());
            return verdict
                .lie(format!("{name} has no readiness probe, and was followed for {followed:?}, not {settle:?}"));
        }
    }
}

/// The numbers that the result has for machines, and the names of the pods that are not as asked.
fn numbers(case: &Case<'_>, claim: &Claim<'_>, holds: &Holds<'_, '_>, verdict: &mut Verdict) {
    let pods = &case.result["details"]["pods"];
    let of_replaced = matches!(claim.goal, Goal::Replaced(_));
    // Of a controller that is not recorded nobody knows the pods.
    if of_replaced && (pods.is_null() || !claim.skipped.is_empty()) {
        return;
    }
    let mut expected = vec![("new", holds.counted.len()), ("old", 0), ("notReady", holds.beside.len())];
    if of_replaced {
        // There may be more than it wants: where it rolls out meanwhile, some are on their way.
        expected.pop();
    }
    if case.text("/parameters/terminating") == "ignore" {
        // An old pod that goes may be counted as either.
        expected.truncate(1);
    } else {
        expected.push(("terminating", 0));
    }
    for (field, expected) in expected {
        if pods[field].as_u64() != u64::try_from(expected).ok() {
            verdict.lie(format!("details.pods.{field} is {}, and there are {expected}", pods[field]));
        }
    }
    named(pods, holds, verdict);
    if let Goal::Count(count) = &claim.goal {
        let there = i64::try_from(holds.counted.len() + holds.beside.len()).unwrap_or(i64::MAX);
        let (surge, told) = (there - count.replicas, case.number("/details/surgeReplicas").unwrap_or(0));
        if surge != told {
            verdict.lie(format!("details.surgeReplicas is {told}, and there are {surge}"));
        }
    }
}

/// Whether each pod that is there and not ready is named as such.
fn named(pods: &serde_json::Value, holds: &Holds<'_, '_>, verdict: &mut Verdict) {
    let named = pods["notAsAsked"].as_array().into_iter().flatten();
    let named: Vec<_> = named.filter(|one| one["why"] == "notReady").map(|one| &one["name"]).collect();
    let missing = holds.beside.iter().find(|pod| !named.iter().any(|name| **name == *pod.seen.name));
    if let Some(pod) = missing {
        verdict.lie(format!("details.pods.notAsAsked does not name {}", pod.seen.told()));
    }
}

/// Judges a claim that it was not done: it must not have stood for longer than one looks at it.
pub fn failure(case: &Case<'_>, claim: &Claim<'_>, verdict: &mut Verdict) {
    if let Goal::Replaced(Replaced { target, top: None, .. }) = claim.goal
        && State::at(&claim.events, case.start).get(target).is_none()
    {
        // The record knows that nobody controlled it; who finds it gone cannot know, and may say so.
        return verdict.skipped.push("whether a failure is wrong: the pod was gone before the run".to_owned());
    }
    let Some(since) = stood_since(case, claim) else { return };
    let stood = case.exit.saturating_duration_since(since);
    if stood > case.settle().max(to_outlive(case, claim)) + LONGER {
        verdict.wrong_failures.push(format!(
            "{} although it stood for {stood:?} before the exit: {}",
            case.text("/code"),
            case.text("/error")
        ));
    }
}

/// How long a pod must be ready that crashed in the run: longer than it lived before (docs/causes.md).
fn to_outlive(case: &Case<'_>, claim: &Claim<'_>) -> Duration {
    const PROVEN: Duration = Duration::from_secs(30);
    const REPORTED: Duration = Duration::from_secs(5);
    let pods =
        claim.events.iter().filter(|event| event.rv > case.start).filter_map(|event| event.seen.as_deref()?.pod());
    pods.filter_map(|pod| pod.lived).max().map_or(Duration::ZERO, |lived| lived.min(PROVEN) + REPORTED)
}

/// Since when, without a break until the exit, the goal stood.
fn stood_since(case: &Case<'_>, claim: &Claim<'_>) -> Option<Instant> {
    let (mut state, mut since, mut from) = (State::at(&claim.events, case.start), None, case.began);
    let mut later = claim.events.iter().filter(|event| event.rv > case.start && event.arrived <= case.exit).peekable();
    loop {
        let until = later.peek().map_or(case.exit, |event| event.arrived.max(from));
        since = match claim.goal.holds(&state, &claim.family) {
            Err(_) => None,
            Ok(Holds { ripe: Some(ripe), .. }) if ripe > until => None,
            Ok(Holds { ripe: Some(ripe), .. }) if ripe > from => Some(ripe),
            Ok(_) => since.or(Some(from)),
        };
        let Some(event) = later.next() else { return since };
        state.apply(event);
        from = until;
    }
}
