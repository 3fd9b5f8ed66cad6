//! Why a wait ended without its effect. A sentence that names only what was waited for helps nobody, so one that ends so is held
//! to the contract's section 8: it names an object other than the target, which is there; its state and since when; and
//! words that stand in the cluster, and not only in the result.

use jiff::Timestamp;
use serde_json::Value;

use super::claim::Claim;
use super::goal::{Goal, that};
use super::state::State;
use super::{Case, Verdict};
use crate::recorder::{Event, Facts, Seen};

/// What stands in the cluster when a run has ended, as far as its result speaks of it.
#[derive(Debug, Clone, Default)]
pub struct Stands {
    /// The target; null when it is gone.
    pub target: Value,
    /// What replaces the target, a pod; null when it is none.
    pub workload: Value,
    /// The events about these two: who makes pods says so of itself.
    pub events: Vec<Value>,
    /// For each of `details.obstacles`, in their order.
    pub named: Vec<Named>,
}

/// What stands there of one that is named.
#[derive(Debug, Clone, Default)]
pub struct Named {
    /// The object of this kind and name; null when there is none.
    pub object: Value,
    /// The node that it is on.
    pub node: Value,
    /// The events about its UID.
    pub events: Vec<Value>,
}

/// What the runner writes in place of what it leaves out.
const CUTS: [&str; 3] = ["…", "[REDACTED]", "[hidden]"];
/// How much of the words must be in the sentence: it has less room than `details`.
const QUOTED: usize = 24;
/// How long before the exit something may have been there that is not any more: controllers delete what failed at once.
const LOOKED: std::time::Duration = std::time::Duration::from_secs(5);

/// Whether it is a wait that ended without its effect.
pub fn ends_a_wait(case: &Case<'_>) -> bool {
    case.text("/code") == "NotVerified" && case.text("/failedPhase") == "verify" && case.waits()
}

/// Judges what is said of why.
pub fn judge(case: &Case<'_>, claim: &Claim<'_>, verdict: &mut Verdict) {
    let Some(stands) = case.stands.as_ref().filter(|_| ends_a_wait(case)) else { return };
    if nothing_to_wait_for(case, claim) {
        return;
    }
    let trimmed = case.result["trimmed"].as_array().is_some_and(|all| all.iter().any(|one| one == "details"));
    if trimmed {
        return verdict.skipped.push("why a wait has ended: the result had no room for its details".to_owned());
    }
    if let Err(why) = explained(case, claim, stands) {
        verdict.unsaid.push(format!("{why}: {}", case.text("/error")));
    }
}

/// Whether there was nothing to wait for any more: somebody has undone what was waited for, or nobody can know what replaced a
/// pod that was gone before.
fn nothing_to_wait_for(case: &Case<'_>, claim: &Claim<'_>) -> bool {
    if let Goal::Replaced(replaced) = &claim.goal {
        let gone = State::at(&claim.events, case.start).get(replaced.target).is_none();
        if replaced.top.is_none() || gone && case.text("/error").contains("cannot be known") {
            return true;
        }
    }
    let (mut state, mut first, mut undone) = (State::default(), None, false);
    for event in claim.events.iter().filter(|event| event.rv <= case.end) {
        state.apply(event);
        // A partition that is raised leaves out what was reached.
        let partition = as_written(&claim.goal, &state).then(|| partition(&claim.goal, &state));
        undone |= first.is_some_and(|first| partition.is_none_or(|now| now > first));
        first = first.or(partition);
    }
    undone || first.is_none()
}

fn partition(goal: &Goal<'_>, state: &State<'_>) -> i64 {
    let Goal::Rollout(rollout) = goal else { return 0 };
    state.get(rollout.target).and_then(|one| one.seen.workload()).map_or(0, |workload| workload.partition)
}

/// Whether the target is as the run has left it.
fn as_written(goal: &Goal<'_>, state: &State<'_>) -> bool {
    let there = |uid: &str| state.get(uid).map(|one| one.seen).filter(|seen| !seen.leaving);
    match goal {
        Goal::Node { .. } => false,
        Goal::Count(count) => {
            there(count.target).and_then(Seen::workload).is_some_and(|workload| workload.wanted == count.replicas)
        }
        Goal::Rollout(rollout) => there(rollout.target).is_some_and(|seen| {
            let rolls = seen.workload().is_some_and(|one| !one.paused && !one.on_delete);
            rolls && seen.template == Some(rollout.template)
        }),
        Goal::Replaced(replaced) => replaced.top.and_then(there).is_some_and(|top| match &top.facts {
            Facts::Job { wanted } => *wanted > 0,
            _ => true,
        }),
    }
}

/// Whether the result says why, and what it says is so.
fn explained(case: &Case<'_>, claim: &Claim<'_>, stands: &Stands) -> Result<(), String> {
    if let Some(generation) = unseen(&stands.target) {
        // Unless it says itself why it goes no further.
        if case.text("/error").contains(&format!("generation {generation}")) {
            return Ok(());
        }
    }
    let obstacles = case.result.pointer("/details/obstacles").and_then(Value::as_array);
    let first = obstacles.and_then(|all| all.first()).ok_or("details.obstacles names nothing")?;
    that(has_word(case.text("/error"), text(first, "/object/name")), || {
        format!("the sentence does not name {}", told(first))
    })?;
    that(case.text("/error").contains(text(first, "/state")), || {
        format!("the sentence does not say the state of {}", told(first))
    })?;
    let words: String = pieces(text(first, "/words")).first().unwrap_or(&"").chars().take(QUOTED).collect();
    that(case.text("/error").contains(words.as_str()), || {
        format!("the sentence does not quote the words about {}", told(first))
    })?;
    let nothing = Named::default();
    for (index, obstacle) in obstacles.into_iter().flatten().enumerate() {
        let named = stands.named.get(index).unwrap_or(&nothing);
        // Where another one is told before, nothing need be known of it but that it is there.
        let known = index == 0 || !text(obstacle, "/words").is_empty() && obstacle["since"].is_string();
        if known {
            stands_there(case, stands, (obstacle, named)).map_err(|why| format!("{}: {why}", told(obstacle)))?;
        }
        let itself = index == 0 && text(obstacle, "/object/uid") == case.text("/target/uid");
        that(!itself || speaks_itself(case, claim, stands, (obstacle, named)), || {
            format!("{}: it is the target itself, and something else is in its way", told(obstacle))
        })?;
    }
    Ok(())
}

/// The generation that the target's controller has not seen yet.
fn unseen(target: &Value) -> Option<i64> {
    let generation = target.pointer("/metadata/generation")?.as_i64()?;
    let observed = target.pointer("/status/observedGeneration").and_then(Value::as_i64).unwrap_or(0);
    let controlled = !matches!(text(target, "/kind"), "Pod" | "Job" | "Node");
    (controlled && observed < generation).then_some(generation)
}

/// Whether an obstacle stands in the cluster as it is told.
fn stands_there(case: &Case<'_>, stands: &Stands, told: (&Value, &Named)) -> Result<(), String> {
    let (obstacle, named) = told;
    let uid = text(obstacle, "/object/uid");
    that(!text(obstacle, "/object/kind").is_empty(), || "it has no kind".to_owned())?;
    let recorded = recorded(case, uid);
    let there = !uid.is_empty() && text(&named.object, "/metadata/uid") == uid;
    that(there || !recorded.is_empty() || known_by_name(obstacle, named), || "there is no such object".to_owned())?;
    let mut said: Vec<String> = recorded.iter().flat_map(|seen| seen.said.iter().cloned()).collect();
    let objects = [&named.object, &named.node, &stands.target, &stands.workload];
    objects.into_iter().chain(&named.events).chain(&stands.events).for_each(|object| leaves(object, &mut said));
    // `minReadySeconds` is all that the cluster says of that.
    said.extend(stands.target["spec"].as_object().into_iter().flat_map(|spec| spec.keys().cloned()));
    let words = text(obstacle, "/words");
    let quoted = if words.is_empty() { says_nothing(obstacle, named) } else { quotes(words, &said) };
    that(quoted, || format!("its words stand nowhere in the cluster: {words:?}"))?;
    let state = text(obstacle, "/state");
    that(!state.is_empty(), || "it has no state".to_owned())?;
    since(case, obstacle)?;
    if let Some(node) = obstacle["node"].as_str().filter(|_| there && text(obstacle, "/object/kind") == "Pod") {
        that(text(&named.object, "/spec/nodeName") == node, || format!("it is not on {node}"))?;
    }
    for event in obstacle["events"].as_array().into_iter().flatten() {
        happened(event, &named.events)?;
    }
    Ok(())
}

/// Whether an object without a UID may be named: one that the cluster's words name and that is there, as a quota is that the account
/// may not read; or a pod that is missing.
fn known_by_name(obstacle: &Value, named: &Named) -> bool {
    let name = text(obstacle, "/object/name");
    let nameless = name.is_empty() || !text(obstacle, "/object/uid").is_empty();
    let missing = text(obstacle, "/object/kind") == "Pod" && named.object.is_null();
    !nameless && (missing || !named.object.is_null() && has_word(text(obstacle, "/words"), name))
}

/// Whether there are no words to be quoted: its status has none, and the result says what might.
fn says_nothing(obstacle: &Value, named: &Named) -> bool {
    fn has_message(value: &Value) -> bool {
        match value {
            Value::Array(all) => all.iter().any(has_message),
            Value::Object(all) => {
                all.iter().any(|(key, one)| (key == "message" && one.is_string()) || has_message(one))
            }
            _ => false,
        }
    }
    unread(obstacle) && !has_message(&named.object["status"])
}

/// Whether it says what it could not read.
fn unread(obstacle: &Value) -> bool {
    obstacle["unread"].as_array().is_some_and(|all| !all.is_empty())
}

/// The states of an object that were recorded in the last seconds of the run.
fn recorded<'h>(case: &Case<'h>, uid: &str) -> Vec<&'h Seen> {
    let from = case.exit.checked_sub(LOOKED);
    let states: Vec<&Event> = case.history.events.iter().filter(|event| *event.uid == *uid).collect();
    let later = states.iter().position(|event| from.is_none_or(|from| event.arrived >= from));
    let first = later.unwrap_or(states.len()).saturating_sub(1);
    let states = states.get(first..).unwrap_or_default();
    states.iter().filter(|event| event.arrived <= case.exit).filter_map(|event| event.seen.as_deref()).collect()
}

/// Since when: a time, that is not to come.
fn since(case: &Case<'_>, obstacle: &Value) -> Result<(), String> {
    /// The cluster's times are whole seconds, of other clocks.
    const ROUGHLY: jiff::SignedDuration = jiff::SignedDuration::from_secs(2);
    let since: Timestamp = text(obstacle, "/since").parse().map_err(|_| "it does not say since when".to_owned())?;
    let end: Timestamp = case.text("/endTime").parse().map_err(|_| "the run has no end".to_owned())?;
    that(since <= end + ROUGHLY, || format!("it stands since {since}, which is to come"))
}

/// Whether an event happened as it is told. One that stands for many has the words of the last one, which may be another by
/// now.
fn happened(event: &Value, all: &[Value]) -> Result<(), String> {
    const COMBINED: &str = "(combined from similar events): ";
    let is = |one: &Value| text(one, "/reason") == text(event, "/reason");
    let combined = text(event, "/message").starts_with(COMBINED);
    let quoted = |one: &Value| {
        let note = text(one, "/note");
        combined && note.starts_with(COMBINED) || quotes(text(event, "/message"), &[note.to_owned()])
    };
    that(all.iter().any(|one| is(one) && quoted(one)), || format!("there is no such event about it: {event}"))
}

/// Whether the target may be named itself: its own condition or its controller's events say why; it is a pod that cannot go, and nothing else says what
/// holds it; or nothing that could be read says anything, and the result says what it could not read.
fn speaks_itself(case: &Case<'_>, claim: &Claim<'_>, stands: &Stands, told: (&Value, &Named)) -> bool {
    let (obstacle, named) = told;
    let mut said = Vec::new();
    leaves(&stands.target["status"]["conditions"], &mut said);
    let words = text(obstacle, "/words");
    if !words.is_empty() && quotes(words, &said) {
        return true;
    }
    if stands.target["metadata"]["deletionTimestamp"].is_string() {
        let mut held = Vec::new();
        leaves(&stands.target["metadata"]["finalizers"], &mut held);
        leaves(&named.node["status"]["conditions"], &mut held);
        return quotes(words, &held) || unread(obstacle);
    }
    let events: Vec<String> = named.events.iter().map(|event| text(event, "/note").to_owned()).collect();
    (unread(obstacle) || quotes(words, &events)) && all_is_well(case, claim)
}

/// Whether none of the pods of the target shows that something is wrong with it.
fn all_is_well(case: &Case<'_>, claim: &Claim<'_>) -> bool {
    let state = State::at(&claim.events, case.end);
    let mut pods = claim.family.pods(&state, case.text("/target/uid"));
    pods.all(|(pod, facts)| pod.ready.is_some() && !facts.finished && !pod.seen.leaving)
}

/// Whether a name stands in a text, and not only in another name.
fn has_word(text: &str, name: &str) -> bool {
    let apart = |one: char| !one.is_ascii_alphanumeric() && !matches!(one, '-' | '.');
    text.split(apart).any(|word| word.trim_end_matches('.') == name)
}

/// Whether words, but for what was cut or hidden, stand in one of these texts.
fn quotes(words: &str, texts: &[String]) -> bool {
    /// Less than that stands in every text.
    const SHORTEST: usize = 3;
    let pieces = pieces(words);
    let stands = |text: &String| {
        let (text, mut from) = (squeezed(text), 0);
        pieces.iter().all(|piece| {
            let piece = squeezed(piece);
            let found = text.get(from..).and_then(|rest| rest.find(&piece));
            from += found.unwrap_or(0) + piece.len();
            found.is_some()
        })
    };
    pieces.iter().any(|piece| piece.len() >= SHORTEST) && texts.iter().any(stands)
}

fn pieces(words: &str) -> Vec<&str> {
    let mut pieces = vec![words];
    for cut in CUTS {
        pieces = pieces.into_iter().flat_map(|piece| piece.split(cut)).collect();
    }
    pieces.into_iter().map(str::trim).filter(|piece| !piece.is_empty()).collect()
}

/// Without white space and control characters: lines are joined, and what a terminal obeys is escaped.
fn squeezed(text: &str) -> String {
    text.replace("\\n", "").chars().filter(|one| !one.is_whitespace() && !one.is_control()).collect()
}

/// All texts of an object.
fn leaves(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) => into.push(text.clone()),
        Value::Array(all) => all.iter().for_each(|one| leaves(one, into)),
        Value::Object(all) => all.values().for_each(|one| leaves(one, into)),
        _ => {}
    }
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn told(obstacle: &Value) -> String {
    format!("{} {}", text(obstacle, "/object/kind").to_lowercase(), text(obstacle, "/object/name"))
}
