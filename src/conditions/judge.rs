//! The verdicts: what a policy denies, which conditions hold.

use std::collections::BTreeMap;
use std::time::Duration;

use actions::action::Progress;
use actions::cluster::Cluster;
use actions::error::{Error, Result};
use actions::object::Kind;
use actions::related::{self, About, Documents, Related, Watched};
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::checked::{Checked, Ready};
use super::engine::{Answer, Task, Trouble};
use super::input::{ActionInput, ConditionInput};
use super::{ConditionResult, Module, evaluator, policy};

/// How long at least lies between two evaluations of a postcondition: a rollout changes many objects a second.
const PAUSE: Duration = Duration::from_millis(250);

/// How much time an evaluation needs at least, with what it reads.
const MARGIN: Duration = Duration::from_millis(500);

/// What every input of a run has in common.
#[derive(Debug, Clone)]
pub struct Case {
    /// What is done.
    pub action: ActionInput,
    /// With which parameters.
    pub parameters: Value,
}

impl Case {
    /// The input document about a target as it is now.
    pub fn input(&self, target: Value, related: Documents) -> ConditionInput {
        ConditionInput::new(self.action.clone(), self.parameters.clone(), target, related)
    }
}

/// What the policy says against it; `Refused` when it could not be evaluated.
pub async fn denials(modules: &[Module], case: &Case, target: &Value, limit: Duration) -> Result<Vec<String>> {
    let cannot = |why: String| {
        Error::Refused(format!(
            "the policy could not be evaluated ({why}), so it lets nothing pass; mend ACTION_POLICY_DIR"
        ))
    };
    let input = text(&case.input(target.clone(), Documents::default())).map_err(cannot)?;
    let task = Task { modules: modules.to_vec(), rules: vec![format!("{}.{}", policy::PACKAGE, policy::RULE)] };
    match values(&task, &input, limit).await.map_err(cannot)?.remove(0) {
        Ok(Some(Value::Array(denials))) => Ok(denials.iter().map(shown).collect()),
        Ok(Some(other)) => {
            Err(cannot(format!("deny is no set of messages but {}; write `deny contains msg if …`", kind(&other))))
        }
        Ok(None) => Err(cannot("deny is undefined; write `deny contains msg if …`".to_owned())),
        Err(trouble) => Err(cannot(trouble.to_string())),
    }
}

/// Evaluates the preconditions, each once, and all of them: whoever mends one wants to know of the others.
pub async fn before(checked: &Checked, case: &Case, about: &About, cluster: &Cluster) -> Result<Vec<ConditionResult>> {
    let documents = related::read(cluster, about, &checked.needed_before()).await?;
    let mut results = Vec::new();
    for ready in &checked.before {
        let limit = ready.condition.timeout.get().min(cluster.remaining());
        results.push(evaluate(ready, case, &about.value, &documents, limit).await.result);
    }
    Ok(results)
}

/// Evaluates the postconditions whenever something changes, until all of them hold, one that is required has failed for good,
/// or the time is over. An error means that they could not be looked at any more.
pub async fn after(
    checked: &Checked,
    case: &Case,
    about: About,
    cluster: &Cluster,
    progress: &Progress,
    record: impl Fn(Vec<ConditionResult>),
) -> Result<Vec<ConditionResult>> {
    let mut watched = Watched::open(cluster, about, &checked.needed_after()).await?;
    let mut wait = Wait { checked, case, started: Instant::now(), settled: BTreeMap::new() };
    let mut results: Vec<ConditionResult> = Vec::new();
    loop {
        // What was found out stands; too little time to look again is no finding.
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

/// Waiting for postconditions.
struct Wait<'a> {
    checked: &'a Checked,
    case: &'a Case,
    started: Instant,
    /// The verdict of a condition whose time was over, or that cannot be evaluated at all.
    settled: BTreeMap<usize, ConditionResult>,
}

impl Wait<'_> {
    /// Evaluates what is not settled, and settles what has had its time.
    async fn look(&mut self, target: &Value, documents: &Documents, cluster: &Cluster) -> Vec<ConditionResult> {
        let pending = related::pending(kind_of(self.case), target);
        let mut results = Vec::new();
        for (index, ready) in self.checked.after.iter().enumerate() {
            if let Some(result) = self.settled.get(&index) {
                results.push(result.clone());
                continue;
            }
            let Verdict { result, hopeless } = match &pending {
                // What holds now held before the change: it says nothing yet.
                Some(why) => not_evaluated(ready, why.clone(), false),
                None => evaluate(ready, self.case, target, documents, cluster.remaining()).await,
            };
            if !result.passed && (hopeless || self.end(ready) <= Instant::now()) {
                self.settled.insert(index, result.clone());
            }
            results.push(result);
        }
        results
    }

    fn end(&self, ready: &Ready) -> Instant {
        self.started + ready.condition.timeout.get()
    }

    /// When the time of the next one is over; `None` when there is nothing to wait for: all hold, or one that is required has
    /// failed for good.
    fn next(&self, results: &[ConditionResult]) -> Option<Instant> {
        let all = self.checked.after.iter().enumerate();
        if all.clone().any(|(index, ready)| ready.condition.required && self.settled.contains_key(&index)) {
            return None;
        }
        let open = all.zip(results).filter(|((index, _), one)| !one.passed && !self.settled.contains_key(index));
        open.map(|((_, ready), _)| self.end(ready)).min()
    }
}

/// The sentence about conditions that are required and do not hold; `None` when all of those hold. The others are warned of.
pub fn objection(conditions: &[Ready], results: &[ConditionResult], what: &str, progress: &Progress) -> Option<String> {
    let failed = conditions.iter().zip(results).filter(|(_, result)| !result.passed);
    let (required, optional): (Vec<_>, Vec<_>) = failed.partition(|(ready, _)| ready.condition.required);
    for (_, result) in optional {
        progress.warn(format!("{what} {} (not required)", reason(result)));
    }
    let reasons: Vec<String> = required.into_iter().map(|(_, result)| format!("{what} {}", reason(result))).collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// `no_crashloop_pods does not hold: …`
fn reason(result: &ConditionResult) -> String {
    let verdict = if result.evaluated { "does not hold" } else { "could not be evaluated" };
    let why = result.error_message.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    format!("{} {verdict}{why}", result.condition_type)
}

/// A result, and whether another evaluation may come to another one.
#[derive(Debug)]
pub struct Verdict {
    /// The result.
    pub result: ConditionResult,
    hopeless: bool,
}

/// Evaluates one condition.
pub async fn evaluate(ready: &Ready, case: &Case, target: &Value, documents: &Documents, limit: Duration) -> Verdict {
    if let Some(why) = ready.misfit(kind_of(case)) {
        return not_evaluated(ready, why, true);
    }
    if let Some((one, why)) = documents.missing.iter().find(|(one, _)| ready.related.contains(one)) {
        return not_evaluated(ready, format!("input.related.{} is not there: {why}", one.name()), false);
    }
    // What the module does not name is not there, also when another condition has had it read.
    let input = match text(&case.input(target.clone(), only(documents, ready))) {
        Ok(input) => input,
        Err(why) => return not_evaluated(ready, why, true),
    };
    let mut rules = vec![format!("{}.allow", ready.package)];
    if ready.has_reasons {
        rules.push(format!("{}.reasons", ready.package));
    }
    let task = Task { modules: ready.modules.clone(), rules };
    match values(&task, &input, limit).await {
        Ok(values) => judged(ready, values),
        Err(why) => not_evaluated(ready, why, true),
    }
}

/// The kind of the target; a selection is one of pods.
fn kind_of(case: &Case) -> Option<Kind> {
    if case.action.kind.is_empty() { Some(Kind::Pod) } else { Kind::parse(&case.action.kind) }
}

fn judged(ready: &Ready, values: Vec<std::result::Result<Option<Value>, Trouble>>) -> Verdict {
    let mut values = values.into_iter();
    let allow = match values.next() {
        Some(Ok(allow)) => allow,
        Some(Err(trouble)) => return not_evaluated(ready, trouble.to_string(), false),
        None => return not_evaluated(ready, "the evaluator did not answer".to_owned(), true),
    };
    let passed = match &allow {
        Some(Value::Bool(allow)) => *allow,
        None => false,
        Some(other) => {
            return not_evaluated(ready, format!("allow is {}, expected true or false", kind(other)), false);
        }
    };
    let reasons = match values.next() {
        Some(Ok(Some(Value::Array(reasons)))) => reasons.iter().map(shown).collect::<Vec<_>>().join("; "),
        Some(Ok(Some(Value::String(reason)))) => reason,
        _ => String::new(),
    };
    let default = if allow.is_none() { "allow is undefined" } else { "allow is false" };
    let why = if reasons.is_empty() { default.to_owned() } else { shorten(&reasons) };
    let error_message = (!passed).then_some(why);
    Verdict { result: ConditionResult { evaluated: true, passed, error_message, ..blank(ready) }, hopeless: false }
}

fn not_evaluated(ready: &Ready, why: String, hopeless: bool) -> Verdict {
    Verdict { result: ConditionResult { error_message: Some(shorten(&why)), ..blank(ready) }, hopeless }
}

fn blank(ready: &Ready) -> ConditionResult {
    ConditionResult {
        condition_type: ready.condition.r#type.clone(),
        evaluated: false,
        passed: false,
        error_message: None,
        evaluation_time: crate::trail::millis(Timestamp::now()),
    }
}

fn only(documents: &Documents, ready: &Ready) -> Documents {
    let has = |one: Related| ready.related.contains(&one);
    let mut own = documents.clone();
    own.pods.take_if(|_| !has(Related::Pods));
    own.pod_requests.take_if(|_| !has(Related::PodRequests));
    own.nodes.take_if(|_| !has(Related::Nodes));
    own.autoscalers.take_if(|_| !has(Related::Autoscalers));
    own.disruption_budgets.take_if(|_| !has(Related::DisruptionBudgets));
    own.quotas.take_if(|_| !has(Related::Quotas));
    own.pull_secrets.take_if(|_| !has(Related::PullSecrets));
    own.revisions.take_if(|_| !has(Related::Revisions));
    own.events.take_if(|_| !has(Related::Events));
    own.usage.take_if(|_| !has(Related::Usage));
    own
}

/// The values of a task's rules; as many as there are rules.
async fn values(
    task: &Task,
    input: &str,
    limit: Duration,
) -> Result<Vec<std::result::Result<Option<Value>, Trouble>>, String> {
    match evaluator::ask(task, input, limit).await? {
        Answer::Values(values) if values.len() == task.rules.len() => Ok(values),
        Answer::Trouble(trouble) => Err(trouble.to_string()),
        _ => Err("the evaluator answered something else".to_owned()),
    }
}

fn text(input: &ConditionInput) -> Result<String, String> {
    serde_json::to_string(input).map_err(|error| format!("failed to write the input: {error}"))
}

/// A message; what is none is shown as JSON.
fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
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

/// A result has room for many conditions only when none of them takes all of it.
fn shorten(text: &str) -> String {
    const LONGEST: usize = 400;
    let mut short: String = text.chars().take(LONGEST).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
