//! Label selectors.

use serde_json::{Map, Value};

use super::object::text;

/// Returns a workload's label selector for a query. A ReplicationController's selector is a plain map.
pub fn selector(object: &Value) -> String {
    let Some(selector) = object.pointer("/spec/selector") else { return String::new() };
    let labels = selector.get("matchLabels").or_else(|| selector.get("matchExpressions").is_none().then_some(selector));
    let mut parts: Vec<String> = labels
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)))
        .collect();
    for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
        let key = text(expression, "/key").unwrap_or_default();
        let values: Vec<&str> = expression
            .get("values")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let values = values.join(",");
        match text(expression, "/operator") {
            Some("In") => parts.push(format!("{key} in ({values})")),
            Some("NotIn") => parts.push(format!("{key} notin ({values})")),
            Some("Exists") => parts.push(key.to_owned()),
            Some("DoesNotExist") => parts.push(format!("!{key}")),
            _ => {}
        }
    }
    parts.join(",")
}

/// Returns whether a label selector matches these labels; an empty selector matches everything.
pub fn selects(selector: &Value, labels: &Map<String, Value>) -> bool {
    let all = |field: &str| selector.get(field).and_then(Value::as_array).into_iter().flatten();
    let expected = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
    let fits = |expression: &Value| {
        let has = text(expression, "/key").and_then(|key| labels.get(key));
        let among =
            |has: &Value| expression.get("values").and_then(Value::as_array).is_some_and(|all| all.contains(has));
        match text(expression, "/operator") {
            Some("In") => has.is_some_and(among),
            Some("NotIn") => !has.is_some_and(among),
            Some("Exists") => has.is_some(),
            Some("DoesNotExist") => has.is_none(),
            _ => false,
        }
    };
    { expected }.all(|(key, value)| labels.get(key) == Some(value)) && all("matchExpressions").all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case(json!({ "matchLabels": { "app": "web", "tier": "a" } }), "app=web,tier=a")]
    #[case(json!({ "app": "web" }), "app=web")]
    #[case(json!({ "matchExpressions": [
        { "key": "a", "operator": "In", "values": ["x", "y"] }, { "key": "b", "operator": "NotIn", "values": ["z"] },
        { "key": "c", "operator": "Exists" }, { "key": "d", "operator": "DoesNotExist" },
    ] }), "a in (x,y),b notin (z),c,!d")]
    fn writes_selectors_as_queries_do(#[case] selector_value: Value, #[case] query: &str) {
        assert_eq!(selector(&json!({ "spec": { "selector": selector_value } })), query);
    }

    #[rstest]
    #[case(json!({}), true)]
    #[case(json!({ "matchLabels": { "app": "web" } }), true)]
    #[case(json!({ "matchLabels": { "app": "db" } }), false)]
    #[case(json!({ "matchExpressions": [{ "key": "app", "operator": "In", "values": ["web", "x"] }] }), true)]
    #[case(json!({ "matchExpressions": [{ "key": "tier", "operator": "NotIn", "values": ["web"] }] }), true)]
    #[case(json!({ "matchExpressions": [{ "key": "app", "operator": "NotIn", "values": ["web"] }] }), false)]
    #[case(json!({ "matchExpressions": [{ "key": "app", "operator": "In", "values": ["x"] }] }), false)]
    #[case(json!({ "matchExpressions": [{ "key": "app", "operator": "Exists" }] }), true)]
    #[case(json!({ "matchExpressions": [{ "key": "tier", "operator": "Exists" }] }), false)]
    #[case(json!({ "matchExpressions": [{ "key": "tier", "operator": "DoesNotExist" }] }), true)]
    #[case(json!({ "matchLabels": { "app": "web" }, "matchExpressions": [{ "key": "tier", "operator": "Exists" }] }), false)]
    #[case(json!({ "matchExpressions": [{ "key": "app", "operator": "DoesNotExist" }] }), false)]
    #[case(json!({ "matchExpressions": [{ "key": "app", "operator": "Gt", "values": ["1"] }] }), false)]
    fn selects_as_the_api_server_does(#[case] selector: Value, #[case] selected: bool) {
        let labels = json!({ "app": "web" });
        assert_eq!(selects(&selector, labels.as_object().unwrap()), selected);
    }
}
