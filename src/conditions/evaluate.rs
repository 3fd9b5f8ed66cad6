//! Evaluates policies and conditions, and returns their verdicts.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use actions::cluster::Cluster;
use actions::cluster::error::{Error, Result};
use actions::cluster::run::Progress;
use contract::condition::ConditionResult;
use contract::text::{millis, shorten};
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::documents::{self, ConditionTarget, Documents, Watched};
use super::input::ConditionInput;
use super::module::Module;
use super::parse::{Conditions, ParsedCondition};
use super::policy_dir;
use super::sandbox::child::{Answer, Task, Trouble};
use super::sandbox::parent;
use super::words::Words;

/// The least time between two evaluations of a postcondition, because a rollout changes many objects a second.
const PAUSE: Duration = Duration::from_millis(250);

/// The least time that an evaluation needs, with all that it reads.
const MARGIN: Duration = Duration::from_millis(500);

/// The longest message about one condition: a result has room for many only if none takes all of it.
const MESSAGE_LIMIT: usize = 400;

/// Returns the policy's denials; `Refused` when the policy could not be evaluated.
pub async fn denials(
    modules: &[Module],
    input: &ConditionInput,
    target: &Value,
    limit: Duration,
) -> Result<Vec<String>> {
    let cannot = |why: String| {
        Error::Refused(format!("the policy could not be evaluated ({why}), so it lets nothing pass; mend it"))
    };
    let words = Words::about(target);
    let input = text(&input.with(target.clone(), Documents::default())).map_err(cannot)?;
    let task = Task { modules: modules.to_vec(), rules: vec![format!("{}.{}", policy_dir::PACKAGE, policy_dir::RULE)] };
    match values(&task, &input, limit).await.map_err(cannot)?.remove(0) {
        Ok(Some(Value::Array(denials))) => Ok(denials.iter().map(|denial| words.shown(denial)).collect()),
        Ok(Some(other)) => {
            Err(cannot(format!("deny is no set of messages but {}; write `deny contains msg if …`", kind(&other))))
        }
        Ok(None) => Err(cannot("deny is undefined; write `deny contains msg if …`".to_owned())),
        Err(trouble) => Err(cannot(shorten(&words.trouble(&trouble), MESSAGE_LIMIT))),
    }
}

/// Evaluates all preconditions, each once: whoever fixes one wants to know about the others.
pub async fn before(
    conditions: &Conditions,
    input: &ConditionInput,
    about: &ConditionTarget,
    cluster: &Cluster,
) -> Result<Vec<ConditionResult>> {
    let documents = documents::read(cluster, about, &conditions.needed_before()).await?;
    let mut results = Vec::new();
    for one in &conditions.before {
        let limit = one.condition.timeout.get().min(cluster.remaining());
        results.push(result(evaluate(one, input, &about.value, &documents, limit).await));
    }
    Ok(results)
}

/// Evaluates the postconditions whenever something changes, until all of them hold, a required one has failed for good,
/// or the time is over. An error means that they could not be evaluated any more.
pub async fn after(
    conditions: &Conditions,
    input: &ConditionInput,
    about: ConditionTarget,
    cluster: &Cluster,
    progress: &Progress,
    record: impl Fn(Vec<ConditionResult>),
) -> Result<Vec<ConditionResult>> {
    let mut watched = Watched::open(cluster, about, &conditions.needed_after()).await?;
    let mut wait = Wait { conditions, input, started: Instant::now(), settled: BTreeMap::new() };
    let mut results: Vec<ConditionResult> = Vec::new();
    loop {
        // The last results stand; too little time to look again does not change them.
        if !results.is_empty() && cluster.remaining() < MARGIN {
            return Ok(results);
        }
        let documents = watched.documents(cluster).await?;
        results = wait.look(&watched.target(), &documents, cluster).await;
        record(results.clone());
        let Some(next) = wait.next(&results) else { return Ok(results) };
        let left = cluster.remaining().saturating_sub(MARGIN);
        let open = results.iter().filter(|one| !one.passed).map(reason).collect::<Vec<_>>();
        progress.report(&format!("waiting for {}", open.join("; ")));
        tokio::time::sleep(PAUSE.min(left)).await;
        tokio::select! {
            changed = watched.changed() => changed?,
            () = tokio::time::sleep_until(next.min(Instant::now() + left)) => {}
        }
    }
}

/// The state of the wait for postconditions.
struct Wait<'a> {
    conditions: &'a Conditions,
    input: &'a ConditionInput,
    started: Instant,
    /// Results of conditions whose time was over, or that cannot be evaluated at all.
    settled: BTreeMap<usize, ConditionResult>,
}

impl Wait<'_> {
    /// Evaluates the conditions that are not settled, and settles those whose time is over.
    async fn look(&mut self, target: &Value, documents: &Documents, cluster: &Cluster) -> Vec<ConditionResult> {
        let pending = documents::pending(self.input.target_kind(), target);
        let mut results = Vec::new();
        for (index, one) in self.conditions.after.iter().enumerate() {
            if let Some(result) = self.settled.get(&index) {
                results.push(result.clone());
                continue;
            }
            let evaluated = match &pending {
                // A condition that holds now also held before the change, so that this proves nothing yet.
                Some(why) => ControlFlow::Continue(not_evaluated(one, why)),
                None => evaluate(one, self.input, target, documents, cluster.remaining()).await,
            };
            let settled = evaluated.is_break();
            let result = result(evaluated);
            if !result.passed && (settled || self.end(one) <= Instant::now()) {
                self.settled.insert(index, result.clone());
            }
            results.push(result);
        }
        results
    }

    fn end(&self, one: &ParsedCondition) -> Instant {
        self.started + one.condition.timeout.get()
    }

    /// Returns the time when the next condition times out; `None` when there is nothing to wait for: all hold, or a
    /// required one has failed for good.
    fn next(&self, results: &[ConditionResult]) -> Option<Instant> {
        let all = self.conditions.after.iter().enumerate();
        if all.clone().any(|(index, one)| one.condition.required && self.settled.contains_key(&index)) {
            return None;
        }
        let open = all.zip(results).filter(|((index, _), one)| !one.passed && !self.settled.contains_key(index));
        open.map(|((_, one), _)| self.end(one)).min()
    }
}

/// Returns a sentence about required conditions that do not hold; `None` when all hold. Warns of the others.
pub fn objection(
    conditions: &[ParsedCondition],
    results: &[ConditionResult],
    what: &str,
    progress: &Progress,
) -> Option<String> {
    let failed = conditions.iter().zip(results).filter(|(_, result)| !result.passed);
    let (required, optional): (Vec<_>, Vec<_>) = failed.partition(|(one, _)| one.condition.required);
    for (_, result) in optional {
        progress.warn(format!("{what} {} (not required)", reason(result)));
    }
    let reasons: Vec<String> = required.into_iter().map(|(_, result)| format!("{what} {}", reason(result))).collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// Returns a sentence such as `no_crashloop_pods does not hold: …`.
fn reason(result: &ConditionResult) -> String {
    let verdict = if result.evaluated { "does not hold" } else { "could not be evaluated" };
    let why = result.error_message.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    format!("{} {verdict}{why}", result.condition_type)
}

/// Evaluates one condition. `Break` means that another evaluation would give the same result.
pub async fn evaluate(
    one: &ParsedCondition,
    input: &ConditionInput,
    target: &Value,
    documents: &Documents,
    limit: Duration,
) -> ControlFlow<ConditionResult, ConditionResult> {
    if let Some(why) = one.misfit(input.target_kind()) {
        return ControlFlow::Break(not_evaluated(one, &why));
    }
    if let Some((document, why)) = documents.missing.iter().find(|(document, _)| one.related.contains(document)) {
        let why = format!("input.related.{} is not there: {why}", document.name());
        return ControlFlow::Continue(not_evaluated(one, &why));
    }
    // Documents that the module does not name are left out, even if they were read for another condition.
    let input = match text(&input.with(target.clone(), documents.only(&one.related))) {
        Ok(input) => input,
        Err(why) => return ControlFlow::Break(not_evaluated(one, &why)),
    };
    let mut rules = vec![format!("{}.allow", one.package)];
    if one.has_reasons {
        rules.push(format!("{}.reasons", one.package));
    }
    let task = Task { modules: one.modules.clone(), rules };
    match values(&task, &input, limit).await {
        Ok(values) => evaluated(one, values, &Words::about(target)),
        Err(why) => ControlFlow::Break(not_evaluated(one, &why)),
    }
}

/// Returns the result, final or not.
pub fn result(evaluated: ControlFlow<ConditionResult, ConditionResult>) -> ConditionResult {
    match evaluated {
        ControlFlow::Break(result) | ControlFlow::Continue(result) => result,
    }
}

fn evaluated(
    one: &ParsedCondition,
    values: Vec<std::result::Result<Option<Value>, Trouble>>,
    words: &Words,
) -> ControlFlow<ConditionResult, ConditionResult> {
    let not_yet = |why: &str| ControlFlow::Continue(not_evaluated(one, why));
    let mut values = values.into_iter();
    let allow = match values.next() {
        Some(Ok(allow)) => allow,
        Some(Err(trouble)) => return not_yet(&words.trouble(&trouble)),
        None => return ControlFlow::Break(not_evaluated(one, "the evaluator did not answer")),
    };
    let passed = match &allow {
        Some(Value::Bool(allow)) => *allow,
        None => false,
        Some(other) => return not_yet(&format!("allow is {}, expected true or false", kind(other))),
    };
    let reasons = match values.next() {
        Some(Ok(Some(Value::Array(reasons)))) => {
            reasons.iter().map(|one| words.shown(one)).collect::<Vec<_>>().join("; ")
        }
        Some(Ok(Some(reason @ Value::String(_)))) => words.shown(&reason),
        _ => String::new(),
    };
    let default = if allow.is_none() { "allow is undefined" } else { "allow is false" };
    let why = if reasons.is_empty() { default.to_owned() } else { shorten(&reasons, MESSAGE_LIMIT) };
    let error_message = (!passed).then_some(why);
    ControlFlow::Continue(ConditionResult { evaluated: true, passed, error_message, ..blank(one) })
}

fn not_evaluated(one: &ParsedCondition, why: &str) -> ConditionResult {
    ConditionResult { error_message: Some(shorten(why, MESSAGE_LIMIT)), ..blank(one) }
}

fn blank(one: &ParsedCondition) -> ConditionResult {
    ConditionResult {
        condition_type: one.condition.r#type.clone(),
        evaluated: false,
        passed: false,
        error_message: None,
        evaluation_time: millis(Timestamp::now()),
    }
}

/// Returns the values of a task's rules, one for each rule.
async fn values(
    task: &Task,
    input: &str,
    limit: Duration,
) -> Result<Vec<std::result::Result<Option<Value>, Trouble>>, String> {
    match parent::ask(task, input, limit).await? {
        Answer::Values(values) if values.len() == task.rules.len() => Ok(values),
        Answer::Trouble(trouble) => Err(trouble.to_string()),
        _ => Err("the evaluator answered something else".to_owned()),
    }
}

fn text(input: &ConditionInput) -> Result<String, String> {
    serde_json::to_string(input).map_err(|error| format!("failed to write the input: {error}"))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array or set",
        Value::Object(_) => "an object",
    }
}
