//! Months have partitions; what has none is in the default one; what is too old is gone.

use jiff::{SignedDuration, Timestamp};
use receiver::month::Month;
use receiver::upkeep::{Done, upkeep};
use serde_json::json;

use super::support::{Database, Receiver, connect, event, with};

fn at(uid: &str, time: Timestamp) -> serde_json::Value {
    with(event(uid, 1, 0), json!({ "timestamp": time.to_string() }))
}

/// Which partition each event is in.
async fn places(database: &Database) -> Vec<String> {
    let rows = database
        .rows("SELECT execution_uid || ' ' || tableoid::regclass AS place FROM kubernetes_execution_audit ORDER BY 1")
        .await;
    rows.iter().map(|row| row["place"].as_str().unwrap().replace("kubernetes_execution_audit_", "")).collect()
}

fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[tokio::test]
async fn an_event_is_in_its_month_or_in_the_default_partition() {
    let database = Database::new().await;
    let receiver = Receiver::start(&database.url).await;
    let (now, this) = (Timestamp::now(), Month::of(Timestamp::now()));
    let next = time(&this.next().start());
    for (uid, time) in [("a", now), ("b", next), ("c", now - hours(24 * 365 * 3)), ("d", now + hours(24 * 365))] {
        assert_eq!(receiver.post(&at(uid, time)).await.status, 201);
    }
    let expected = [
        format!("a {}", this.suffix()),
        format!("b {}", this.next().suffix()),
        "c default".to_owned(),
        "d default".to_owned(),
    ];
    assert_eq!(places(&database).await, expected);
}

#[tokio::test]
async fn a_month_takes_its_rows_out_of_the_default_partition() {
    let database = Database::migrated().await;
    let receiver = Receiver::start_with(&database.url, &["--insecure-no-token", "--no-migrate"]);
    let times =
        ["2035-04-30T23:59:59.999999Z", "2035-05-01T00:00:00Z", "2035-06-30T23:59:59.999999Z", "2035-07-01T00:00:00Z"];
    for (uid, text) in ["a", "b", "c", "d"].into_iter().zip(times) {
        assert_eq!(receiver.post(&at(uid, time(text))).await.status, 201);
    }
    let mut client = connect(&database.url).await;
    let may = time("2035-05-10T00:00:00Z");
    let done = upkeep(&mut client, may, None).await.unwrap();
    let made = vec![Month::of(may), Month::of(may).next()];
    assert_eq!(done, Done { made, moved: 2, ..Done::default() });
    assert_eq!(places(&database).await, ["a default", "b 2035_05", "c 2035_06", "d default"]);
    // Whole, and still by their ids.
    let row =
        database.row("SELECT payload, received_at FROM kubernetes_execution_audit WHERE execution_uid = 'b'").await;
    assert!(row["payload"]["executionUid"] == "b" && row["received_at"].is_string(), "{row}");
    assert_eq!(receiver.post(&at("b", time("2035-09-01T00:00:00Z"))).await.status, 200);
    assert_eq!(upkeep(&mut client, may, None).await.unwrap(), Done::default());
    // The same indexes and rules as the others.
    let indexes =
        |name: &str| format!("SELECT count(*) FROM pg_indexes WHERE tablename = 'kubernetes_execution_audit_{name}'");
    assert_eq!(database.number(&indexes("2035_05")).await, database.number(&indexes("default")).await);
}

#[tokio::test]
async fn what_is_too_old_is_gone_and_so_are_its_ids() {
    let database = Database::migrated().await;
    let receiver = Receiver::start_with(&database.url, &["--insecure-no-token", "--no-migrate"]);
    let mut client = connect(&database.url).await;
    for month in ["2035-01-15T00:00:00Z", "2035-03-15T00:00:00Z"] {
        upkeep(&mut client, time(month), None).await.unwrap();
    }
    // The default partition has what is before 2035.
    let times = ["2034-10-01T00:00:00Z", "2034-12-20T00:00:00Z", "2035-01-31T23:59:59Z", "2035-02-01T00:00:00Z"];
    for (uid, text) in ["a", "b", "c", "d"].into_iter().zip(times) {
        assert_eq!(receiver.post(&at(uid, time(text))).await.status, 201);
    }
    let now = time("2035-04-10T00:00:00Z");
    // Nothing is a hundred years old.
    assert_eq!(upkeep(&mut client, now, Some(hours(24 * 36_500))).await.unwrap().dropped, []);
    assert_eq!(database.counts().await, (4, 4));
    // 2035-01-31: that day is in a month that is not over yet; what has no month goes by its day.
    let done = upkeep(&mut client, now, Some(hours(24 * 69))).await.unwrap();
    assert_eq!((done.dropped.iter().filter(|month| month.suffix() == "2035_01").count(), done.deleted), (0, 2));
    assert_eq!(places(&database).await, ["c 2035_01", "d 2035_02"]);
    assert_eq!(database.counts().await, (2, 2));
    let done = upkeep(&mut client, now, Some(hours(24 * 68))).await.unwrap();
    assert_eq!(done.dropped.iter().map(|month| month.suffix()).collect::<Vec<_>>(), ["2035_01"]);
    assert_eq!(places(&database).await, ["d 2035_02"]);
    assert_eq!(database.counts().await, (1, 1));
    // Ids of what is gone are free, ids of what is there are not.
    assert_eq!(receiver.post(&at("c", now)).await.status, 201);
    assert_eq!(receiver.post(&at("d", now)).await.status, 200);
}

#[tokio::test]
async fn the_program_forgets_by_its_flag() {
    let database = Database::new().await;
    let receiver = Receiver::start(&database.url).await;
    for (uid, days) in [("old", 401), ("young", 399), ("of-a-clock-that-is-wrong", 20_000)] {
        assert_eq!(receiver.post(&event(uid, 1, days)).await.status, 201);
    }
    // As if they had come when they ended; the third one has only just come.
    let came = "UPDATE kubernetes_execution_audit SET received_at = end_time WHERE execution_uid IN ('old', 'young')";
    connect(&database.url).await.batch_execute(came).await.unwrap();
    database.run(&["migrate", "--retain", "400d"]);
    assert_eq!(places(&database).await, ["of-a-clock-that-is-wrong default", "young default"]);
    assert_eq!(database.counts().await, (2, 2));
    // So does the one that serves, when it starts.
    let second = Receiver::start_with(&database.url, &["--insecure-no-token", "--retain", "398d"]);
    super::support::until("the row is gone", async || database.counts().await == (1, 1)).await;
    assert_eq!(places(&database).await, ["of-a-clock-that-is-wrong default"]);
    drop(second);
}

/// A query that is not done holds up whoever changes partitions: that is given up before events are.
#[tokio::test]
async fn a_long_query_keeps_no_event_out() {
    let database = Database::migrated().await;
    let receiver = Receiver::start_with(&database.url, &["--insecure-no-token", "--no-migrate"]);
    receiver.wait_ready().await;
    let mut reader = connect(&database.url).await;
    let reading = reader.transaction().await.unwrap();
    reading.query("SELECT count(*) FROM kubernetes_execution_audit", &[]).await.unwrap();
    let mut client = connect(&database.url).await;
    let (changed, reply) = tokio::join!(upkeep(&mut client, time("2035-05-10T00:00:00Z"), None), async {
        let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        super::support::until("upkeep waits", async || database.number(waits).await > 0).await;
        receiver.post(&event("u", 1, 0)).await
    });
    assert!(changed.unwrap_err().as_db_error().unwrap().message().contains("lock timeout"));
    assert_eq!(reply.status, 201);
    drop(reading);
    assert_eq!(upkeep(&mut client, time("2035-05-10T00:00:00Z"), None).await.unwrap().made.len(), 2);
}

/// What has only just come into an old month is of a clock that is wrong: it is kept for as long as all else.
#[tokio::test]
async fn a_month_is_kept_for_what_has_only_just_come_into_it() {
    let database = Database::migrated().await;
    let mut client = connect(&database.url).await;
    upkeep(&mut client, time("2020-05-10T00:00:00Z"), None).await.unwrap();
    let receiver = Receiver::start_with(&database.url, &["--insecure-no-token", "--no-migrate"]);
    assert_eq!(receiver.post(&at("late", time("2020-05-20T00:00:00Z"))).await.status, 201);
    let dropped = async |client: &mut tokio_postgres::Client| {
        let done = upkeep(client, Timestamp::now(), Some(hours(24 * 400))).await.unwrap();
        done.dropped.iter().map(|month| month.suffix()).collect::<Vec<_>>()
    };
    assert_eq!(dropped(&mut client).await, ["2020_06"]);
    assert_eq!(places(&database).await, ["late 2020_05"]);
    client.batch_execute("UPDATE kubernetes_execution_audit SET received_at = end_time").await.unwrap();
    assert_eq!(dropped(&mut client).await, ["2020_05"]);
    assert_eq!(database.counts().await, (0, 0));
}

/// Tables of the version before: what is in them stays, and whoever may read the view may read it still.
#[tokio::test]
async fn older_tables_are_brought_up_to_date() {
    let database = Database::new().await;
    let before = "CREATE TABLE kubernetes_execution_audit_schema (step integer PRIMARY KEY, done_at timestamptz NOT NULL DEFAULT now());
                  INSERT INTO kubernetes_execution_audit_schema (step) VALUES (1)";
    let kept = "INSERT INTO kubernetes_execution_audit_id VALUES ('u/1', now());
                INSERT INTO kubernetes_execution_audit (event_id, execution_uid, execution_name, namespace, action_type, attempt, final,
                    phase, code, effect, success, output, error, end_time, workflow, dry_run, retry_count, max_retries, payload)
                SELECT 'u/1', 'u', 'up', 'shop', 'scale-deployment', 1, true, 'Completed', 'Changed', 'applied', true, '', '', end_time,
                    'evening', false, 0, 3, '{}' FROM kubernetes_execution_audit_id";
    let reader = format!("reader_{}", test_cluster::fixtures::unique());
    let grant = format!("CREATE ROLE {reader}; GRANT SELECT ON kubernetes_executions TO {reader}");
    for sql in [include_str!("../../src/sql/1-tables.sql"), before, kept, &grant] {
        database.client.batch_execute(sql).await.unwrap();
    }
    let receiver = Receiver::start(&database.url).await;
    assert_eq!(receiver.post(&event("u", 1, 0)).await.status, 200);
    assert_eq!(receiver.post(&with(event("v", 2, 0), json!({ "workflow": "evening" }))).await.status, 201);
    let rows =
        database.rows("SELECT workflow_namespace, attempts FROM kubernetes_executions ORDER BY execution_uid").await;
    assert_eq!(
        json!(rows),
        json!([
            { "workflow_namespace": "shop", "attempts": 1 }, { "workflow_namespace": "shop", "attempts": 2 },
        ])
    );
    let may = format!("SELECT has_table_privilege('{reader}', 'kubernetes_executions', 'SELECT')::int::bigint");
    assert_eq!(database.number(&may).await, 1);
    database.client.batch_execute(&format!("DROP OWNED BY {reader}; DROP ROLE {reader}")).await.unwrap();
}
