//! A dry run: the target, its pods and the events about it are as they were.

use super::state::{Family, State};
use super::{Case, Verdict};
use crate::recorder::{Event, Kind};

/// Judges what a dry run left.
pub fn judge(case: &Case<'_>, verdict: &mut Verdict) {
    if case.events > 0 {
        verdict.lie(format!("a dry run posted {} events about its target", case.events));
    }
    let Some(uid) = case.result.pointer("/target/uid").and_then(|uid| uid.as_str()) else { return };
    let kind = case.text("/target/kind");
    if Kind::named(kind).is_none() {
        return verdict.skipped.push(format!("whether a dry run left a {kind} alone: that kind is not recorded"));
    }
    let family = Family::of(&case.history.events);
    let events: Vec<&Event> = case.history.events.iter().filter(|event| family.belongs(&event.uid, uid)).collect();
    let (before, after) = (State::at(&events, case.start), State::at(&events, case.end));
    // A pod is its own target: whether it goes is seen among the pods.
    let content = |state: &State<'_>| state.get(uid).map(|one| (one.seen.content, one.seen.leaving));
    if kind != "Pod" && content(&before) != content(&after) {
        verdict.lie(format!("spec or annotations of {kind} {uid} changed in a dry run"));
    }
    let live = |state: &State<'_>| {
        let pods = state.of(Kind::Pod).filter(|one| !one.seen.leaving);
        pods.map(|one| one.seen.uid.clone()).collect::<std::collections::BTreeSet<_>>()
    };
    if live(&before) != live(&after) {
        verdict.lie(format!("the pods of {kind} {uid} changed in a dry run"));
    }
}
