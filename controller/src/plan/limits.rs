//! How much an execution may hold, and what not.

use contract::condition::bad_type;

use crate::api::KubernetesExecution;
use crate::settings::ConditionLimits;

/// The most bytes of the parameters, and of all conditions: the kernel takes 128 KiB for one variable.
const LARGEST: usize = 100 << 10;

/// The deepest nesting of the parameters. What lies deeper than 100 levels in an answer of the API server does not arrive.
const DEEPEST: usize = 32;

/// What a terminal would obey: the reason stands in `kubectl rollout history`.
pub fn reason(execution: &KubernetesExecution) -> Option<String> {
    let commands = execution.spec.reason.as_deref().is_some_and(contract::text::has_commands);
    commands.then(|| "spec.reason: expected one line without control characters: terminals show it".to_owned())
}

/// What is nested too deeply to be anybody's parameters.
pub fn depth(execution: &KubernetesExecution) -> Option<String> {
    let parameters = execution.spec.action.parameters.as_ref()?;
    let deepest = parameters.values().map(levels).max().unwrap_or_default();
    (deepest >= DEEPEST).then(|| format!("spec.action.parameters: expected at most {DEEPEST} levels of nesting"))
}

fn levels(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Object(fields) => 1 + fields.values().map(levels).max().unwrap_or_default(),
        serde_json::Value::Array(items) => 1 + items.iter().map(levels).max().unwrap_or_default(),
        _ => 0,
    }
}

/// What is longer than the kernel lets a variable be.
pub fn sizes(execution: &KubernetesExecution) -> Vec<String> {
    let spec = &execution.spec;
    let length = |value: serde_json::Result<String>| value.map(|text| text.len()).unwrap_or_default();
    let parameters = length(serde_json::to_string(&spec.action.parameters));
    let conditions = length(serde_json::to_string(&(&spec.pre_conditions, &spec.post_conditions)));
    let too_long = |field: &str, has: usize| {
        (has > LARGEST).then(|| format!("{field}: expected at most {LARGEST} bytes of JSON, has {has}"))
    };
    let all = [
        too_long("spec.action.parameters", parameters),
        too_long("spec.preConditions, spec.postConditions", conditions),
    ];
    all.into_iter().flatten().collect()
}

/// What the conditions hold beyond what the operator lets them.
pub fn conditions(execution: &KubernetesExecution, limits: &ConditionLimits) -> Vec<String> {
    const SETTING: &str = "this controller's setting conditions";
    let mut problems = Vec::new();
    let lists =
        [("preConditions", &execution.spec.pre_conditions), ("postConditions", &execution.spec.post_conditions)];
    for (field, list) in lists {
        if list.len() > limits.most {
            let (most, has) = (limits.most, list.len());
            problems.push(format!("spec.{field}: expected at most {most} ({SETTING}.most), has {has}"));
        }
        for (index, one) in list.iter().enumerate() {
            problems.extend(bad_type(&one.r#type).map(|why| format!("spec.{field}[{index}].type: {why}")));
            let has = one.rego.as_ref().map_or(0, String::len);
            let name = &one.r#type;
            if one.rego.is_some() && limits.rego_bytes == 0 {
                problems.push(format!(
                    "spec.{field}: {name}: rego: only ready conditions are admitted ({SETTING}.regoBytes is 0); leave rego out"
                ));
            } else if has > limits.rego_bytes {
                let most = limits.rego_bytes;
                problems.push(format!(
                    "spec.{field}: {name}: rego: expected at most {most} bytes ({SETTING}.regoBytes), has {has}"
                ));
            }
            if one.timeout.get() > limits.longest_timeout.get() {
                let (most, has) = (String::from(limits.longest_timeout), String::from(one.timeout));
                problems.push(format!(
                    "spec.{field}: {name}: timeout: expected at most {most} ({SETTING}.longestTimeout), has {has}"
                ));
            }
        }
    }
    problems
}
