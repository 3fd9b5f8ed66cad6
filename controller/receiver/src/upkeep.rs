//! Partitions are made before their month begins, and dropped when their time is over.

use jiff::{SignedDuration, Timestamp};
use tokio_postgres::{Client, Error, Transaction};

use crate::month::Month;
use crate::schema::take_turn;

/// Name of the table, and what the names of its partitions begin with.
const TABLE: &str = "kubernetes_execution_audit";

/// What the upkeep did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Months that have a partition now.
    pub made: Vec<Month>,
    /// Rows that the default partition held for them.
    pub moved: u64,
    /// Months whose partition is dropped.
    pub dropped: Vec<Month>,
    /// Rows of the default partition that are deleted.
    pub deleted: u64,
}

/// Returns the database's time: one receiver whose clock is ahead must not delete what all keep.
pub async fn now(client: &Client) -> Result<Timestamp, Error> {
    client.query_one("SELECT now()", &[]).await?.try_get(0)
}

/// Makes the partitions of this month and the next; deletes what is older than `retain`.
pub async fn upkeep(client: &mut Client, now: Timestamp, retain: Option<SignedDuration>) -> Result<Done, Error> {
    let mut done = Done::default();
    let transaction = begin(client).await?;
    let there = partitions(&transaction).await?;
    let this = Month::of(now);
    for month in [this, this.next()].into_iter().filter(|month| !there.iter().any(|(one, _)| one == month)) {
        done.moved += make(&transaction, month).await?;
        done.made.push(month);
    }
    transaction.commit().await?;
    // By itself: a partition that cannot be dropped now must not keep the next month from having one.
    if let Some(first) = retain.and_then(|retain| now.checked_sub(retain).ok()) {
        let transaction = begin(client).await?;
        let old = partitions(&transaction).await?.into_iter().filter(|(month, _)| month.is_before(first));
        let old: Vec<_> = old.collect();
        done.deleted = delete_from_default(&transaction, first).await?;
        transaction.commit().await?;
        // Each by itself: events wait for no more than one of them.
        for (month, name) in old {
            let transaction = begin(client).await?;
            if forget(&transaction, month, &name, first).await? {
                done.dropped.push(month);
            }
            transaction.commit().await?;
        }
    }
    Ok(done)
}

async fn begin(client: &mut Client) -> Result<Transaction<'_>, Error> {
    let transaction = client.transaction().await?;
    take_turn(&transaction).await?;
    // Events wait behind a lock that is waited for: a query that runs for minutes would hold up all of them.
    transaction.batch_execute("SET LOCAL lock_timeout = '5s'").await?;
    Ok(transaction)
}

/// Returns the months that have a partition, with its name as SQL. Partitions by other names are somebody else's.
async fn partitions(transaction: &Transaction<'_>) -> Result<Vec<(Month, String)>, Error> {
    let rows = transaction
        .query(
            "SELECT relname::text, inhrelid::regclass::text FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
             WHERE inhparent = $1::text::regclass ORDER BY relname",
            &[&TABLE],
        )
        .await?;
    let mut all = Vec::new();
    for row in rows {
        let (name, quoted): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let suffix = name.strip_prefix(TABLE).and_then(|rest| rest.strip_prefix('_'));
        all.extend(suffix.and_then(Month::from_suffix).map(|month| (month, quoted)));
    }
    Ok(all)
}

/// Makes the partition of a month, and moves the rows there that the default one holds of it: PostgreSQL makes no partition
/// while there are any. Nothing is written meanwhile.
async fn make(transaction: &Transaction<'_>, month: Month) -> Result<u64, Error> {
    let (name, from, to) = (format!("{TABLE}_{}", month.suffix()), month.start(), month.next().start());
    transaction
        .batch_execute(&format!(
            "LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE;
             CREATE TABLE {name} (LIKE {TABLE} INCLUDING DEFAULTS)"
        ))
        .await?;
    let moved = transaction
        .execute(
            &format!(
                "WITH moved AS (
                     DELETE FROM {TABLE}_default WHERE end_time >= '{from}' AND end_time < '{to}' RETURNING *
                 ) INSERT INTO {name} SELECT * FROM moved"
            ),
            &[],
        )
        .await?;
    let attach = format!("ALTER TABLE {TABLE} ATTACH PARTITION {name} FOR VALUES FROM ('{from}') TO ('{to}')");
    transaction.batch_execute(&attach).await?;
    Ok(moved)
}

/// Drops the partition of a month, and its ids with it; unless something in it has only just come, whose time is that of a clock
/// that is wrong.
async fn forget(transaction: &Transaction<'_>, month: Month, name: &str, first: Timestamp) -> Result<bool, Error> {
    let (from, to) = (month.start(), month.next().start());
    let newer = format!("SELECT EXISTS (SELECT FROM {name} WHERE received_at >= $1)");
    // Asked before events have to wait for it, and once more while they do: what comes meanwhile must not be dropped with the rest.
    for lock in [None, Some(format!("LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE"))] {
        if let Some(lock) = lock {
            transaction.batch_execute(&lock).await?;
        }
        // Another receiver may have dropped it already.
        let there = partitions(transaction).await?.iter().any(|(one, _)| *one == month);
        if !there || transaction.query_one(&newer, &[&first]).await?.try_get(0)? {
            return Ok(false);
        }
    }
    transaction
        .batch_execute(&format!(
            "DROP TABLE {name};
             DELETE FROM {TABLE}_id WHERE end_time >= '{from}' AND end_time < '{to}'"
        ))
        .await?;
    Ok(true)
}

/// Deletes what is older than this from the default partition, and its ids with it; not what has only just come, whose time is
/// that of a clock that is wrong.
async fn delete_from_default(transaction: &Transaction<'_>, first: Timestamp) -> Result<u64, Error> {
    let delete = format!(
        "WITH gone AS (DELETE FROM {TABLE}_default WHERE end_time < $1 AND received_at < $1 RETURNING event_id)
         DELETE FROM {TABLE}_id AS id USING gone WHERE id.event_id = gone.event_id"
    );
    transaction.execute(&delete, &[&first]).await
}
