//! Kubernetes quantities as numbers: `500m` is 0.5, `64Mi` is 67108864.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The suffixes, longest first, and their factors.
const SUFFIXES: [(&str, f64); 15] = [
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
];

/// Returns a quantity as a number, or `None` if malformed. Kubernetes writes strings, and accepts bare numbers too.
pub fn quantity(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => parse(text),
        _ => None,
    }
}

fn parse(text: &str) -> Option<f64> {
    let (digits, factor) =
        SUFFIXES.iter().find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor))).unwrap_or((text, 1.0));
    let number = |c: char| c.is_ascii_digit() || matches!(c, '.' | '+' | '-' | 'e' | 'E');
    // `inf` and `nan` are numbers for Rust, not for Kubernetes.
    digits.chars().all(number).then(|| digits.parse::<f64>().ok()).flatten().map(|number| number * factor)
}

/// A number of pods: 0 to 2147483647, the range of an `int32` in the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Replicas(i32);

impl Replicas {
    /// Returns the number in the API's range.
    pub const fn get(self) -> i64 {
        self.0 as i64
    }
}

impl TryFrom<i64> for Replicas {
    type Error = String;
    fn try_from(number: i64) -> Result<Self, String> {
        let fits = i32::try_from(number).ok().filter(|number| *number >= 0);
        fits.map(Self).ok_or_else(|| format!("expected 0 to {}", i32::MAX))
    }
}

impl From<Replicas> for i64 {
    fn from(replicas: Replicas) -> Self {
        replicas.get()
    }
}

impl JsonSchema for Replicas {
    fn schema_name() -> Cow<'static, str> {
        "Replicas".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 0, "maximum": i32::MAX })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case(json!("500m"), Some(0.5))]
    #[case(json!("64Mi"), Some(67_108_864.0))]
    #[case(json!("1e3"), Some(1000.0))]
    #[case(json!("2E"), Some(2e18))]
    #[case(json!("1.5Gi"), Some(1_610_612_736.0))]
    #[case(json!("0"), Some(0.0))]
    #[case(json!(4), Some(4.0))]
    #[case(json!("inf"), None)]
    #[case(json!(""), None)]
    #[case(json!("lots"), None)]
    fn reads_quantities_as_kubernetes_writes_them(#[case] value: Value, #[case] number: Option<f64>) {
        assert_eq!(quantity(&value), number);
    }
}
