//! Wires the parts together.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use jiff::SignedDuration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use crate::database::{Away, Database};
use crate::serve::Receiver;
use crate::settings::{DatabaseFlags, MigrateFlags, QueryFlags, ServeFlags};
use crate::tls::Tls;
use crate::token::Tokens;
use crate::{connections, queries, schema, serve, telemetry, upkeep};

/// Time between two looks at the partitions: the next month's is there for a month before it is needed.
const UPKEEP: Duration = Duration::from_hours(24);
/// Time after which a failed one is tried again; doubled each time, up to [`LATEST`].
const AGAIN: Duration = Duration::from_secs(1);
/// The longest time after which a failed one is tried again.
const LATEST: Duration = Duration::from_mins(1);

impl DatabaseFlags {
    fn open(&self, connections: usize) -> Result<Database> {
        Database::new(&self.database, self.database_ca.as_deref(), connections).map_err(|why| anyhow!(why))
    }
}

/// Takes events until it is told to stop. A database that is not there yet is waited for.
pub async fn serve(flags: &ServeFlags) -> Result<()> {
    let wrong = |why: String| anyhow!(why);
    let tokens = flags.token_file.as_deref().map(Tokens::new).transpose().map_err(wrong)?;
    let tls = match (&flags.tls_cert, &flags.tls_key) {
        (Some(certificate), Some(key)) => Some(Tls::new(certificate, key).map_err(wrong)?),
        _ => None,
    };
    let database = flags.database.open(flags.connections)?;
    let receiver = Arc::new(Receiver { database, tokens, largest: flags.largest_event });
    let address = flags.listen;
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("--listen: failed to listen at {address}"))?;
    let (mut terminated, mut interrupted) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    if !flags.no_migrate {
        tokio::spawn(keep_tables(receiver.clone(), flags.retain));
    }
    tracing::info!(address = %listener.local_addr()?, tls = tls.is_some(), "serving");
    let stop = async {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
        tracing::info!("told to stop");
    };
    connections::serve(listener, tls, serve::routes(receiver), stop).await;
    Ok(())
}

/// Creates or updates the tables as soon as the database is there, and looks after the partitions from then on.
async fn keep_tables(receiver: Arc<Receiver>, retain: Option<SignedDuration>) {
    let mut again = AGAIN;
    loop {
        match prepare(&receiver.database, retain).await {
            Ok(()) => {
                again = AGAIN;
                sleep(UPKEEP).await;
            }
            Err(Away(error)) => {
                tracing::warn!(error, "failed to look after the tables; again in {} s", again.as_secs());
                sleep(again).await;
                again = LATEST.min(again * 2);
            }
        }
    }
}

async fn prepare(database: &Database, retain: Option<SignedDuration>) -> Result<(), Away> {
    // Of its own: it may wait for others that change tables.
    let mut session = database.connect().await?;
    schema::migrate(session.client()).await?;
    let now = upkeep::now(session.client()).await?;
    let done = upkeep::upkeep(session.client(), now, retain).await?;
    tracing::info!(?done, "looked after the tables");
    Ok(())
}

/// Creates or updates the tables, and looks after the partitions once.
pub async fn migrate(flags: &MigrateFlags) -> Result<()> {
    let database = flags.database.open(1)?;
    prepare(&database, flags.retain).await.map_err(|Away(why)| anyhow!("failed to migrate the database: {why}"))
}

/// Prints the rows of a query.
pub async fn query(flags: &QueryFlags) -> Result<()> {
    let database = flags.database.open(1)?;
    let failed = |Away(why): Away| anyhow!("failed to query the database: {why}");
    let mut session = database.connect().await.map_err(failed)?;
    let rows = queries::rows(session.client(), &flags.query).await.map_err(|error| failed(error.into()))?;
    telemetry::print(&rows)
}
