//! Keeps one event.

use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::types::{Json, Type};

use crate::database::{Away, Database};
use crate::event::Event;

/// The longest time for one event, the wait for a connection included: below the time after which who posts gives up.
const LIMIT: Duration = Duration::from_secs(7);

/// Why an event is not kept.
#[derive(Debug)]
pub enum Failure {
    /// PostgreSQL will never take it: the reason, in its words.
    Content(String),
    /// The database is away or not well: nothing is wrong with the event.
    Away(String),
}

/// Keeps an event. Returns true when it is kept now, false when one by this id is there already; either way it is committed.
pub async fn keep(database: &Database, event: &Event<'_>) -> Result<bool, Failure> {
    match tokio::time::timeout(LIMIT, insert(database, event)).await {
        Ok(kept) => kept,
        Err(_) => Err(Failure::Away(format!("no answer within {} s", LIMIT.as_secs()))),
    }
}

async fn insert(database: &Database, event: &Event<'_>) -> Result<bool, Failure> {
    let lease = database.take().await.map_err(|Away(why)| Failure::Away(why))?;
    // Types are given, so that nothing is prepared: one request, and a pooler between us does not mind.
    let inserted = lease
        .client()
        .execute_typed(
            include_str!("sql/keep.sql"),
            &[
                (&event.read.id, Type::TEXT),
                (&event.end, Type::TIMESTAMPTZ),
                (&Json(&event.read), Type::JSONB),
                (&event.text, Type::TEXT),
            ],
        )
        .await;
    match inserted {
        Ok(rows) => {
            lease.give_back();
            Ok(rows > 0)
        }
        Err(error) => match error.as_db_error() {
            Some(answer) if is_content(answer.code()) => {
                lease.give_back();
                Err(Failure::Content(answer.message().to_owned()))
            }
            answered => {
                if answered.is_some() {
                    lease.close();
                }
                Err(Away::from(error).into())
            }
        },
    }
}

impl From<Away> for Failure {
    fn from(Away(why): Away) -> Self {
        Self::Away(why)
    }
}

/// Returns whether the reason lies in the row: what it holds (class 22: a NUL, a number that is too large), or that it is too
/// large for an index or too deep (54). All others may pass: no table yet, no partition, a column that somebody has added, no
/// right, no room.
fn is_content(code: &SqlState) -> bool {
    matches!(code.code().get(..2), Some("22" | "54"))
}

/// Returns whether events can be kept: the database answers, has the table, and lets us write into it. No lock is taken: whoever
/// changes the table must not be met by one question after another.
pub async fn ready(database: &Database) -> Result<(), Away> {
    // Events are being kept, or wait for something that the next question will meet.
    if database.is_busy() {
        return Ok(());
    }
    let ask = async {
        let lease = database.take().await?;
        let asked = lease.client().query_typed(include_str!("sql/ready.sql"), &[]).await?;
        let why = asked.first().map(|row| row.try_get::<_, Option<String>>(0)).transpose()?.flatten();
        let Some(why) = why else {
            lease.give_back();
            return Ok(());
        };
        // Another connection may lead to another server, or have other settings.
        lease.close();
        Err(Away(why))
    };
    match tokio::time::timeout(LIMIT, ask).await {
        Ok(answer) => answer,
        Err(_) => Err(Away(format!("no answer within {} s", LIMIT.as_secs()))),
    }
}
