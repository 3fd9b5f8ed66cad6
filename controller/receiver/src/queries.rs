//! The queries that are ready; each is a file of SQL, which psql can run too.

use jiff::{SignedDuration, Timestamp};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error};

use crate::settings::Query;

/// Returns the rows of a query, each a JSON object with its columns in order.
pub async fn rows(client: &Client, query: &Query) -> Result<Vec<String>, Error> {
    let from = |since: &SignedDuration| Timestamp::now().saturating_sub(*since).unwrap_or(Timestamp::MIN);
    match query {
        Query::Failures { since } => json(client, include_str!("sql/failures.sql"), &[&from(since)]).await,
        Query::Durations { since } => json(client, include_str!("sql/durations.sql"), &[&from(since)]).await,
        Query::Requesters { since } => json(client, include_str!("sql/requesters.sql"), &[&from(since)]).await,
        Query::Workflow { namespace, name } => json(client, include_str!("sql/workflow.sql"), &[namespace, name]).await,
    }
}

async fn json(client: &Client, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<String>, Error> {
    let rows = client.query(&format!("SELECT row_to_json(one)::text FROM (\n{sql}\n) AS one"), parameters).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}
