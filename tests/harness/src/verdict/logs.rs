//! `collect-logs`: what it hands out is the target's.

use std::collections::BTreeSet;

use super::state::Family;
use super::{Case, Verdict};
use crate::recorder::{Kind, Seen};

/// Judges where the lines come from.
pub fn judge(case: &Case<'_>, verdict: &mut Verdict) {
    let lines = case.lines.iter().filter_map(|line| line["pod"].as_str());
    let containers = case.result["details"]["containers"].as_array().into_iter().flatten();
    let names: BTreeSet<&str> = lines.chain(containers.filter_map(|one| one["pod"].as_str())).collect();
    let family = Family::of(&case.history.events);
    let uid = case.result.pointer("/target/uid").and_then(|uid| uid.as_str());
    let seen: Vec<&Seen> = case.history.events.iter().filter_map(|event| event.seen.as_deref()).collect();
    for name in names {
        let mut pods = seen.iter().filter(|seen| seen.kind == Kind::Pod && seen.name == name).peekable();
        if pods.peek().is_none() {
            verdict.lie(format!("pod {name}, whose log it hands out, never existed"));
            continue;
        }
        match (uid, &case.selected) {
            (Some(uid), _) if pods.any(|pod| family.belongs(&pod.uid, uid)) => {}
            (None, Some(selected)) if pods.any(|pod| selected.contains(&pod.uid)) => {}
            (None, None) => verdict.skipped.push(format!("whether pod {name} was selected: nobody knows the selector")),
            _ => verdict.lie(format!("pod {name}, whose log it hands out, is not the target's")),
        }
    }
}
