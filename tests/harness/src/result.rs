//! What must hold of a result, whatever the run was.

use anyhow::{Result, bail, ensure};
use serde_json::Value;

/// What must hold of every result, whatever the run was.
pub fn check(result: &Value, lines: &[Value], exit: i32, line: &str) -> Result<()> {
    ensure!(
        line.starts_with(r#"{"apiVersion":"kubernetesexecution.kubernaut.io/v1alpha1","kind":"ActionResult","#),
        "the result does not begin as it should"
    );
    ensure!(line.len() <= 8192, "the result line has {} bytes", line.len());
    ensure!(
        lines.iter().all(|line| line["kind"] == "LogLine"),
        "something else than log lines stands before the result"
    );
    let schema: Value = serde_json::from_str(include_str!("../../../docs/schema/result.json"))?;
    let validator = jsonschema::validator_for(&schema).map_err(|error| anyhow::anyhow!("{error}"))?;
    if let Some(error) = validator.iter_errors(result).next() {
        bail!("the result breaks its schema: {error} at {}", error.instance_path());
    }
    let code = result["code"].as_str().unwrap_or_default();
    let expected = match code {
        "Changed" | "Unchanged" | "DryRun" | "Completed" => 0,
        "Internal" => 1,
        "InvalidRequest" => 2,
        "Refused" => 3,
        "TargetNotFound" => 4,
        "Forbidden" => 5,
        "Conflict" => 6,
        "NotVerified" => 7,
        "DeadlineExceeded" => 8,
        "Unavailable" => 9,
        "Interrupted" => {
            if exit == 130 {
                130
            } else {
                143
            }
        }
        other => bail!("code is {other:?}"),
    };
    ensure!(exit == expected, "exit code {exit} does not go with {code}");
    ensure!(result["success"].as_bool() == Some(exit == 0), "success does not go with {code}");
    ensure!(
        result.get("output").is_some() == (exit == 0) && result.get("error").is_some() == (exit != 0),
        "output or error is missing, or too much"
    );
    Ok(())
}
