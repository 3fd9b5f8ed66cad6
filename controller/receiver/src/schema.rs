//! Creates the tables, and brings those of an older version up to date.

use tokio_postgres::{Client, Error, Transaction};

/// The steps from nothing to today's tables. A step that was released is never changed; what changes is a step after it.
const STEPS: [&str; 2] = [include_str!("sql/1-tables.sql"), include_str!("sql/2-workflows.sql")];

/// The table with the number of steps that are done.
const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS kubernetes_execution_audit_schema (
    step integer PRIMARY KEY, done_at timestamptz NOT NULL DEFAULT now()
)";

/// The advisory lock of whoever changes tables; the letters of 'audit' as a number.
const LOCK: i64 = 0x61_75_64_69_74;

/// Takes turns with others that change tables, until the transaction ends. One whose node is gone must not keep its turn, nor the locks
/// that it has.
pub async fn take_turn(transaction: &Transaction<'_>) -> Result<(), Error> {
    transaction.batch_execute("SET LOCAL idle_in_transaction_session_timeout = '30s'").await?;
    transaction.query("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await.map(|_| ())
}

/// Does the steps that are not done yet; all or none. Tables of a newer version are left as they are: its columns are there.
pub async fn migrate(client: &mut Client) -> Result<(), Error> {
    let transaction = client.transaction().await?;
    take_turn(&transaction).await?;
    transaction.batch_execute(VERSIONS).await?;
    let row =
        transaction.query_one("SELECT coalesce(max(step), 0) FROM kubernetes_execution_audit_schema", &[]).await?;
    let done: i32 = row.try_get(0)?;
    for (number, step) in (1_i32..).zip(STEPS).filter(|(number, _)| *number > done) {
        transaction.batch_execute(step).await?;
        transaction.execute("INSERT INTO kubernetes_execution_audit_schema (step) VALUES ($1)", &[&number]).await?;
        tracing::info!(step = number, "the tables are changed");
    }
    transaction.commit().await
}
