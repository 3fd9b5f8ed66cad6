//! The view and the queries, over events that were posted.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::support::{Database, Receiver, event, with};

/// What an event says of its time and its end: so many minutes ago.
fn ended(minutes: i64, seconds: i64, other: Value) -> Value {
    let end = Timestamp::now() - SignedDuration::from_mins(minutes);
    with(json!({ "timestamp": end.to_string(), "result": { "duration": seconds * 1_000_000_000 } }), other)
}

fn failed(error: &str) -> Value {
    json!({ "phase": "Failed", "code": "NotVerified", "result": { "success": false, "output": "", "error": error } })
}

fn retried(error: &str) -> Value {
    with(failed(error), json!({ "final": false, "phase": "Retrying" }))
}

/// Events of several executions, in another order than that of their attempts.
async fn posted() -> (Database, Receiver) {
    let database = Database::new().await;
    let receiver = Receiver::start(&database.url).await;
    let step = |index: i32| json!({ "workflow": "evening", "stepIndex": index, "requestedBy": "alice" });
    let cordon = json!({ "actionType": "cordon-node", "target": { "namespace": null, "resourceKind": "Node" } });
    let cancelled =
        with(failed("cancelled by bob"), json!({ "phase": "Cancelled", "code": "Cancelled", "effect": "none" }));
    let events = [
        // Healed by its second attempt, which found nothing left to do.
        (
            ("healed", 2),
            ended(50, 2, json!({ "code": "Unchanged", "effect": "none", "retryCount": 1, "requestedBy": "alice" })),
        ),
        (("healed", 1), ended(60, 10, with(retried("pods are not ready"), json!({ "requestedBy": "alice" })))),
        // Cancelled between two attempts.
        (("cancelled", 1), ended(90, 30, with(retried("lost"), json!({ "effect": "unknown" })))),
        (("cancelled", 0), ended(80, 0, with(cancelled, json!({ "retryCount": 0 })))),
        // Not ended yet.
        (("waiting", 1), ended(20, 5, with(retried("not yet"), json!({ "effect": "none" })))),
        (("waiting", 2), ended(10, 6, with(retried("not yet either"), json!({ "effect": "none", "retryCount": 1 })))),
        // Three steps, of which the second one failed, and the third was a clean-up.
        (("third", 1), ended(30, 1, with(step(2), cordon))),
        (("first", 1), ended(45, 3, step(0))),
        (("second", 1), ended(40, 4, with(step(1), failed("image cannot be pulled")))),
        // Another namespace's workflow by the same name, and an old failure.
        (("other", 1), ended(30, 1, with(step(0), json!({ "namespace": "bank" })))),
        // A step of the first one, in another namespace than the workflow's own.
        (("far", 1), ended(28, 1, with(step(3), json!({ "namespace": "bank", "workflowNamespace": "shop" })))),
        (("old", 1), ended(60 * 24 * 3, 8, failed("long ago"))),
        // Of nobody's interest to durations.
        (("dry", 1), ended(5, 900, json!({ "dryRun": true, "effect": "none" }))),
    ];
    for ((uid, attempt), other) in events {
        assert_eq!(receiver.post(&with(event(uid, attempt, 0), other)).await.status, 201);
    }
    (database, receiver)
}

/// What a query prints: an object a line.
fn printed(database: &Database, arguments: &[&str]) -> Vec<Value> {
    let all: Vec<_> = ["query"].iter().chain(arguments).copied().collect();
    database.run(&all).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn column<'a>(rows: &'a [Value], names: &[&str]) -> Vec<Vec<&'a Value>> {
    rows.iter().map(|row| names.iter().map(|name| &row[*name]).collect()).collect()
}

#[tokio::test]
async fn an_execution_is_one_row() {
    let (database, _receiver) = posted().await;
    let sql = "SELECT * FROM kubernetes_executions WHERE execution_uid IN ('healed', 'cancelled', 'waiting') ORDER BY execution_uid";
    let rows = database.rows(sql).await;
    let names = ["execution_uid", "final", "phase", "code", "success", "effect", "attempts", "error"];
    assert_eq!(
        json!(column(&rows, &names)),
        json!([
            ["cancelled", true, "Cancelled", "Cancelled", false, "unknown", 1, "cancelled by bob"],
            ["healed", true, "Completed", "Unchanged", true, "applied", 2, ""],
            ["waiting", false, "Retrying", "NotVerified", false, "none", 2, "not yet either"],
        ])
    );
    // From the start of the first attempt to the last end, also where the last event has no start.
    let spans = "SELECT execution_uid, round(extract(epoch FROM end_time - start_time))::bigint AS seconds FROM kubernetes_executions
                 WHERE execution_uid IN ('healed', 'cancelled') ORDER BY 1";
    assert_eq!(json!(column(&database.rows(spans).await, &["seconds"])), json!([[630], [610]]));
    assert_eq!(database.number("SELECT count(*) FROM kubernetes_executions").await, 10);
}

#[tokio::test]
async fn failures_of_the_last_day() {
    let (database, _receiver) = posted().await;
    let rows = printed(&database, &["failures"]);
    let names = ["execution_name", "phase", "error", "retry_count", "effect"];
    assert_eq!(
        json!(column(&rows, &names)),
        json!([
            ["name-of-second", "Failed", "image cannot be pulled", 0, "applied"],
            // It was cancelled between two attempts; what the one before did is not known.
            ["name-of-cancelled", "Cancelled", "cancelled by bob", 0, "unknown"],
        ])
    );
    assert_eq!(printed(&database, &["failures", "--since", "4d"]).len(), 3);
    assert_eq!(printed(&database, &["failures", "--since", "1h"]).len(), 1);
}

#[tokio::test]
async fn durations_by_action() {
    let (database, _receiver) = posted().await;
    let rows = printed(&database, &["durations"]);
    let names = ["action_type", "attempts", "failed", "p50_ms", "p95_ms"];
    // 1, 1, 2, 3, 4, 5, 6, 8, 10 and 30 s; neither the dry run nor the end that no attempt brought.
    assert_eq!(
        json!(column(&rows, &names)),
        json!([["scale-deployment", 10, 6, 4500, 21000], ["cordon-node", 1, 0, 1000, 1000]])
    );
}

#[tokio::test]
async fn who_asked_for_what() {
    let (database, _receiver) = posted().await;
    let rows = printed(&database, &["requesters"]);
    let names = ["requested_by", "namespace", "action_type", "dry_run", "executions", "failed"];
    assert_eq!(
        json!(column(&rows, &names)),
        json!([
            ["alice", "shop", "scale-deployment", false, 3, 1],
            ["alice", "bank", "scale-deployment", false, 2, 0],
            ["alice", "shop", "cordon-node", false, 1, 0],
            [null, "shop", "scale-deployment", false, 2, 2],
            [null, "shop", "scale-deployment", true, 1, 0],
        ])
    );
}

#[tokio::test]
async fn all_of_one_workflow_in_the_order_of_its_steps() {
    let (database, _receiver) = posted().await;
    let rows = printed(&database, &["workflow", "shop", "evening"]);
    let names = ["step_index", "namespace", "execution_name", "action_type", "phase", "attempts"];
    assert_eq!(
        json!(column(&rows, &names)),
        json!([
            [0, "shop", "name-of-first", "scale-deployment", "Completed", 1],
            [1, "shop", "name-of-second", "scale-deployment", "Failed", 1],
            [2, "shop", "name-of-third", "cordon-node", "Completed", 1],
            [3, "bank", "name-of-far", "scale-deployment", "Completed", 1],
        ])
    );
    assert!(printed(&database, &["workflow", "shop", "morning"]).is_empty());
}

/// A workflow among many executions is found by an index; the view is not made whole for it.
#[tokio::test]
async fn a_workflow_is_found_without_reading_all() {
    let database = Database::migrated().await;
    let fill = "INSERT INTO kubernetes_execution_audit (event_id, execution_uid, execution_name, namespace, action_type, attempt, final,
            phase, code, effect, success, output, error, end_time, dry_run, retry_count, max_retries, workflow, step_index, payload)
        SELECT 'u' || n || '/1', 'u' || n, 'n', 'shop', 'scale-deployment', 1, true, 'Completed', 'Changed', 'applied', true, '', '',
            now(), false, 0, 0, 'w' || n / 3, n % 3, '{}' FROM generate_series(0, 20000) AS n;
        ANALYZE kubernetes_execution_audit";
    database.client.batch_execute(fill).await.unwrap();
    let sql = include_str!("../../src/sql/workflow.sql").replace("$1", "'shop'").replace("$2", "'w77'");
    let rows = database.client.query(&format!("EXPLAIN {sql}"), &[]).await.unwrap();
    let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let month = receiver::month::Month::of(Timestamp::now()).suffix();
    let scans = |line: &&String| line.contains("Seq Scan") && line.contains(&month);
    assert!(plan.iter().all(|line| !scans(&line)), "{}", plan.join("\n"));
}

/// An attempt's event may be in the executor's spool still: the number of the newest one counts, and not how many are there.
#[tokio::test]
async fn an_event_that_is_missing_is_an_attempt_all_the_same() {
    let database = Database::new().await;
    let receiver = Receiver::start(&database.url).await;
    assert_eq!(receiver.post(&event("u", 2, 0)).await.status, 201);
    assert_eq!(database.number("SELECT attempts::bigint FROM kubernetes_executions").await, 2);
}

/// Alice of one cluster need not be Alice of another one.
#[tokio::test]
async fn clusters_are_told_apart() {
    let database = Database::new().await;
    let receiver = Receiver::start(&database.url).await;
    for cluster in ["east", "west"] {
        let failed = with(failed("no"), json!({ "cluster": cluster, "requestedBy": "alice", "workflow": "evening" }));
        assert_eq!(receiver.post(&with(event(cluster, 1, 0), failed)).await.status, 201);
    }
    for query in [&["requesters"][..], &["durations"], &["failures"], &["workflow", "shop", "evening"]] {
        let rows = printed(&database, query);
        let mut clusters: Vec<_> = rows.iter().map(|row| row["cluster"].as_str().unwrap()).collect();
        clusters.sort_unstable();
        assert_eq!(clusters, ["east", "west"], "{query:?}");
    }
}
