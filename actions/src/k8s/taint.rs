//! Taints of nodes.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::object::text;

/// A taint.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[schemars(rename = "TaintDocument")]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value; empty if the taint has none.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule`, `NoExecute`
    pub effect: String,
}

impl Taint {
    /// Returns a node's taints.
    pub fn all_of(node: &Value) -> Vec<Self> {
        let taints = node.pointer("/spec/taints").and_then(Value::as_array).into_iter().flatten();
        let own = |taint: &Value, pointer: &str| text(taint, pointer).unwrap_or_default().to_owned();
        taints
            .map(|taint| Self { key: own(taint, "/key"), value: own(taint, "/value"), effect: own(taint, "/effect") })
            .collect()
    }

    /// Returns whether the taint keeps out every pod that does not tolerate it.
    pub fn closes(&self) -> bool {
        matches!(self.effect.as_str(), "NoSchedule" | "NoExecute")
    }
}

/// Writes `key=value:effect`, as kubectl takes it.
impl fmt::Display for Taint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.value.is_empty() { "" } else { "=" };
        write!(f, "{}{sign}{}:{}", self.key, self.value, self.effect)
    }
}
