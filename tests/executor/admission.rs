//! What the API server refuses by the definition alone, and what it lets pass.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::support::{E, scale, scale_with, scenarios};

scenarios!("admission": never_changes, may_change, no_cancel_after_the_end, bounds, defaults);

/// For each field: it cannot be added, removed, or changed.
async fn never_changes(e: E) -> Result<()> {
    let fields = [
        ("workflowExecutionRef", json!({ "name": "w" }), json!({ "name": "v" })),
        ("stepIndex", json!(1), json!(2)),
        ("timeout", json!("1m"), json!("2m")),
        ("preConditions", json!([{ "type": "target_exists" }]), json!([{ "type": "target_ready" }])),
        ("postConditions", json!([{ "type": "target_exists" }]), json!([{ "type": "target_ready" }])),
        ("dryRun", json!(true), json!(false)),
        ("reason", json!("this"), json!("that")),
        ("cluster", json!("west"), json!("east")),
        ("approvalRequired", json!(true), json!(false)),
        ("ttlSecondsAfterFinished", json!(1), json!(2)),
    ];
    for (number, (field, value, other)) in fields.into_iter().enumerate() {
        let (with, without) = (format!("with-{number}"), format!("without-{number}"));
        e.execute(&with, scale_with(1, json!({ field: value }))).await?;
        e.execute(&without, scale(1)).await?;
        for (name, to) in [(&without, &value), (&with, &Value::Null), (&with, &other)] {
            let says =
                e.refused(name, json!({ "spec": { field: to } })).await.with_context(|| format!("{field} {to}"))?;
            ensure!(says.contains(&format!("spec.{field}: never changes")), "{field}: {says}");
        }
    }
    // Those with a default can only be changed.
    e.execute("defaulted", scale(1)).await?;
    for (field, to) in [("maxRetries", 1), ("startingDeadlineSeconds", 5)] {
        let says = e.refused("defaulted", json!({ "spec": { field: to } })).await?;
        ensure!(says.contains(&format!("spec.{field}: never changes")), "{says}");
    }
    let actions = [
        json!({ "parameters": { "replicas": 2 } }),
        json!({ "parameters": { "allowZero": true } }),
        json!({ "parameters": null }),
        json!({ "type": "restart-deployment" }),
        json!({ "target": { "resourceName": "other" } }),
        json!({ "target": { "namespace": "other" } }),
        json!({ "target": { "uid": "u" } }),
    ];
    for action in actions {
        let says = e.refused("defaulted", json!({ "spec": { "action": action } })).await?;
        ensure!(says.contains("spec.action: never changes"), "{action}: {says}");
    }
    Ok(())
}

async fn may_change(e: E) -> Result<()> {
    e.execute("one", scale_with(1, json!({ "approvalRequired": true }))).await?;
    for suspend in [true, false] {
        e.patch("one", json!({ "spec": { "suspend": suspend } })).await?;
    }
    e.patch("one", json!({ "metadata": { "labels": { "team": "shop" }, "finalizers": ["example.com/x"] } })).await?;
    e.patch("one", json!({ "metadata": { "finalizers": null } })).await?;
    e.patch("one", json!({ "spec": { "approvedBy": "alice" } })).await?;
    for (change, says) in [
        (json!({ "approvedBy": "bob" }), "spec.approvedBy: is set once"),
        (json!({ "approvedBy": null }), "spec.approvedBy: is set once"),
    ] {
        ensure!(e.refused("one", json!({ "spec": change })).await?.contains(says), "{says}");
    }
    e.patch("one", json!({ "spec": { "cancel": true } })).await?;
    for change in [json!({ "cancel": false }), json!({ "cancel": null })] {
        ensure!(
            e.refused("one", json!({ "spec": change })).await?.contains("spec.cancel: cannot be taken back"),
            "it was"
        );
    }
    Ok(())
}

/// Nobody looks at what has ended: a cancel that was accepted would make `kubectl wait` wait for its being observed. What a GitOps
/// tool sets again, and what changes nothing, is let pass.
async fn no_cancel_after_the_end(e: E) -> Result<()> {
    for (number, phase) in ["Completed", "Failed", "TimedOut", "Cancelled", "Retrying"].into_iter().enumerate() {
        let name = format!("up-{number}");
        e.execute(&name, scale_with(1, json!({ "approvalRequired": true }))).await?;
        let status = json!({ "status": { "phase": phase } });
        e.world.merge(&format!("{}/status", e.execution(&name)), &status).await?;
        for other in [json!({ "suspend": true }), json!({ "approvedBy": "alice" }), json!({ "cancel": false })] {
            e.patch(&name, json!({ "spec": other })).await.with_context(|| format!("{other} of what is {phase}"))?;
        }
        let cancel = json!({ "spec": { "cancel": true } });
        if phase == "Retrying" {
            e.patch(&name, cancel).await?;
            continue;
        }
        let says = e.refused(&name, cancel).await.with_context(|| format!("what is {phase} is cancelled"))?;
        ensure!(says.contains("spec.cancel: it has ended"), "{says}");
    }
    // One that was cancelled stays so.
    e.execute("stays", scale_with(1, json!({ "cancel": true }))).await?;
    let status = json!({ "status": { "phase": "Cancelled" } });
    e.world.merge(&format!("{}/status", e.execution("stays")), &status).await?;
    e.patch("stays", json!({ "spec": { "suspend": true } })).await.map(drop)
}

/// What is refused when it is created names the field.
#[allow(clippy::too_many_lines, reason = "each line is a case")]
async fn bounds(e: E) -> Result<()> {
    let action = |action: Value| json!({ "action": action });
    let target = json!({ "resourceName": "web" });
    let cases = [
        (scale_with(1, json!({ "timeout": "0s" })), "spec.timeout: from 1s to 24h"),
        (scale_with(1, json!({ "timeout": "25h" })), "spec.timeout: from 1s to 24h"),
        (scale_with(1, json!({ "timeout": "-5m" })), "spec.timeout"),
        (scale_with(1, json!({ "timeout": "soon" })), "spec.timeout"),
        (scale_with(1, json!({ "maxRetries": 11 })), "spec.maxRetries"),
        (scale_with(1, json!({ "maxRetries": -1 })), "spec.maxRetries"),
        (scale_with(1, json!({ "ttlSecondsAfterFinished": -1 })), "spec.ttlSecondsAfterFinished"),
        (scale_with(1, json!({ "startingDeadlineSeconds": 0 })), "spec.startingDeadlineSeconds"),
        (scale_with(1, json!({ "approvedBy": "alice" })), "spec.approvedBy: only where approvalRequired is true"),
        (scale_with(1, json!({ "reason": "x".repeat(257) })), "spec.reason"),
        (scale_with(1, json!({ "workflowExecutionRef": { "name": "w\u{0}" } })), "spec.workflowExecutionRef.name"),
        (scale_with(1, json!({ "preConditions": vec![json!({ "type": "target_exists" }); 11] })), "spec.preConditions"),
        (
            scale_with(1, json!({ "preConditions": [{ "type": "target_exists", "timeout": "48h" }] })),
            "spec.preConditions: timeout: from 1s to 24h",
        ),
        (
            scale_with(1, json!({ "postConditions": [{ "type": "target_exists", "timeout": "0s" }] })),
            "spec.postConditions: timeout: from 1s to 24h",
        ),
        (
            scale_with(1, json!({ "postConditions": [{ "type": "target_exists", "timeout": "soon" }] })),
            "spec.postConditions[0].timeout",
        ),
        (
            scale_with(1, json!({ "preConditions": [{ "type": "x", "rego": "x".repeat(17 << 10) }] })),
            "spec.preConditions[0].rego",
        ),
        (action(json!({ "type": "scale_deployment", "target": target })), "spec.action.type"),
        (action(json!({ "type": "Scale", "target": target })), "spec.action.type"),
        (
            action(json!({ "type": "scale-deployment", "target": {} })),
            "expected resourceName, or (for collect-logs) selector",
        ),
        (
            action(json!({ "type": "collect-logs-pod", "target": { "resourceName": "x", "selector": "a=b" } })),
            "expected resourceName, or (for collect-logs) selector",
        ),
        (action(json!({ "target": target })), "spec.action.type"),
        (json!({}), "spec.action"),
        (
            action(json!({ "type": "scale-deployment", "parameters": "replicas=3", "target": target })),
            "spec.action.parameters",
        ),
    ];
    for (spec, says) in cases {
        let text = format!("{spec}");
        let Err(error) = e.execute("bad", spec).await else { anyhow::bail!("{text} was accepted") };
        let error = format!("{error:#}");
        ensure!(error.contains(says), "expected {says:?}: {error}");
    }
    let Err(error) = e.execute(&"x".repeat(201), scale(1)).await else { anyhow::bail!("201 characters were accepted") };
    ensure!(format!("{error:#}").contains("metadata.name: at most 200 characters"), "{error:#}");
    e.execute(&"x".repeat(200), scale(1)).await?;
    Ok(())
}

/// What is not written gets its default, and a status that somebody writes is dropped.
async fn defaults(e: E) -> Result<()> {
    let object = json!({
        "apiVersion": "kubernetesexecution.kubernaut.io/v1alpha1", "kind": "KubernetesExecution", "metadata": { "generateName": "up-" },
        "spec": scale(1), "status": { "phase": "Completed", "settled": true },
    });
    let made = e.world.create(&e.executions(), &object).await?;
    ensure!(made["spec"]["maxRetries"] == 3 && made["spec"]["startingDeadlineSeconds"] == 600, "{made:#}");
    // Nobody has looked at it yet: kstatus would take it for one that is well.
    let none = json!({ "observedGeneration": -1 });
    let stored =
        e.world.get(&format!("{}/{}", e.executions(), made["metadata"]["name"].as_str().unwrap_or_default())).await?;
    ensure!(stored["status"] == none, "a status was taken: {stored:#}");
    let selected = format!("{}?fieldSelector=spec.action.type%3Dscale-deployment", e.executions());
    ensure!(
        e.world.get(&selected).await?["items"].as_array().is_some_and(|all| all.len() == 1),
        "not selectable by type"
    );
    Ok(())
}
