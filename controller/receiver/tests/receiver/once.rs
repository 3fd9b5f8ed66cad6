//! An event is kept once, by its id alone; tables are created once.

use std::collections::BTreeMap;

use futures::future::join_all;
use serde_json::json;

use super::support::{Database, Receiver, event, run, with};

#[tokio::test]
async fn the_first_one_counts() {
    let database = Database::new().await;
    let receiver = Receiver::start(&database.url).await;
    let first = event("u", 1, 0);
    assert_eq!(receiver.post(&first).await.status, 201);
    // The same again; and another text, time and month by the same id.
    for second in [first.clone(), with(first.clone(), json!({ "result": { "output": "other" } })), event("u", 1, 40)] {
        let reply = receiver.post(&second).await;
        assert_eq!(reply.status, 200);
        let message = "an event by this id was there already, and stays: the first one counts";
        assert_eq!(reply.body, json!({ "id": "u/1", "kept": false, "message": message }));
    }
    assert_eq!(database.row("SELECT payload FROM kubernetes_execution_audit").await["payload"], first);
    assert_eq!(receiver.post(&event("u", 2, 0)).await.status, 201);
    assert_eq!(database.counts().await, (2, 2));
    // A backup of the events alone: the id is there again with the event's next delivery.
    database.client.batch_execute("DELETE FROM kubernetes_execution_audit_id").await.unwrap();
    assert_eq!(receiver.post(&first).await.status, 200);
    assert_eq!(database.counts().await, (2, 1));
}

/// 50 at once at two receivers of four connections each, all by one id, each at another time and half of them in other
/// partitions; several times, since what is looked for is a race.
#[tokio::test]
async fn of_fifty_at_once_one_is_kept() {
    let database = Database::new().await;
    let receivers = [Receiver::start(&database.url).await, Receiver::start(&database.url).await];
    for round in 0..10 {
        let uid = format!("u{round}");
        let events: Vec<_> = (0..50).map(|number| event(&uid, 1, number * 3)).collect();
        let posted = events.iter().zip(receivers.iter().cycle()).map(|(event, receiver)| receiver.post(event));
        let replies = join_all(posted).await;
        let mut statuses = BTreeMap::new();
        for reply in &replies {
            *statuses.entry(reply.status).or_insert(0) += 1;
        }
        assert_eq!(statuses, BTreeMap::from([(200, 49), (201, 1)]));
        let kept = replies.iter().position(|reply| reply.status == 201).unwrap();
        let row = database
            .row(&format!("SELECT payload FROM kubernetes_execution_audit WHERE execution_uid = '{uid}'"))
            .await;
        assert_eq!(row["payload"], events[kept]);
    }
    assert_eq!(database.counts().await, (10, 10));
}

#[tokio::test]
async fn different_events_at_once_are_all_kept() {
    let database = Database::new().await;
    let receiver = Receiver::start(&database.url).await;
    let events: Vec<_> = (0..200).map(|number| event(&format!("u{number}"), 1, 0)).collect();
    let replies = join_all(events.iter().map(|event| receiver.post(event))).await;
    assert!(replies.iter().all(|reply| reply.status == 201));
    assert_eq!(database.counts().await, (200, 200));
}

#[tokio::test]
async fn tables_are_created_once_by_however_many() {
    let database = Database::new().await;
    let url = database.url.clone();
    let all: Vec<_> =
        (0..4).map(|_| url.clone()).map(|url| std::thread::spawn(move || run(&url, &["migrate"]))).collect();
    for output in all.into_iter().map(|one| one.join().unwrap()) {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let receiver = Receiver::start(&database.url).await;
    assert_eq!(receiver.post(&event("u", 1, 0)).await.status, 201);
    // Once more, with rows.
    database.run(&["migrate"]);
    assert_eq!(database.counts().await, (1, 1));
    assert_eq!(
        database.rows("SELECT step FROM kubernetes_execution_audit_schema").await,
        [json!({ "step": 1 }), json!({ "step": 2 })]
    );
    // This month, the next, and the default one.
    let partitions = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'kubernetes_execution_audit'::regclass";
    assert_eq!(database.number(partitions).await, 3);
}

#[tokio::test]
async fn an_account_that_may_only_write_rows_will_do() {
    let database = Database::migrated().await;
    let role = format!("writer_{}", test_cluster::fixtures::unique());
    let create = format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'p';
         GRANT SELECT, INSERT ON kubernetes_execution_audit, kubernetes_execution_audit_id TO {role}"
    );
    database.client.batch_execute(&create).await.unwrap();
    let (_, rest) = database.url.split_once('@').unwrap();
    let url = format!("postgresql://{role}:p@{rest}");
    let receiver = Receiver::start_with(&url, &["--insecure-no-token", "--no-migrate"]);
    receiver.wait_ready().await;
    assert_eq!(receiver.post(&event("u", 1, 0)).await.status, 201);
    assert_eq!(receiver.post(&event("u", 1, 1)).await.status, 200);
    assert_eq!(database.counts().await, (1, 1));
}
