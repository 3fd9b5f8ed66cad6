//! A store that is real: the receiver, over TLS, in front of a PostgreSQL of its own database.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use test_cluster::postgres::Postgres;
use tokio::process::{Child, Command};
use tokio_postgres::NoTls;

use crate::support::E;

/// The argument by which this program is the receiver.
pub const RECEIVER: &str = "__receiver";
/// The token that it takes.
const TOKEN: &str = "a-token-of-the-tests";

/// The server that most scenarios share.
static SHARED: Mutex<Option<Postgres>> = Mutex::new(None);

/// Ends the shared server.
pub fn end() {
    SHARED.lock().unwrap_or_else(PoisonError::into_inner).take();
}

/// Returns the address of the shared server.
fn shared() -> Result<String> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if shared.is_none() {
        *shared = Some(Postgres::start()?);
    }
    Ok(shared.as_ref().context("no PostgreSQL")?.url().to_owned())
}

/// A receiver and its database.
pub struct Store {
    folder: PathBuf,
    database: String,
    listen: String,
    child: Option<Child>,
}

impl Store {
    /// Starts a receiver with a database of its own on the shared server.
    pub async fn start(e: &E) -> Result<Self> {
        let server = shared()?;
        let name = e.world.namespace.replace('-', "_");
        let (client, connection) = tokio_postgres::connect(&server, NoTls).await?;
        let connection = tokio::spawn(connection);
        client.batch_execute(&format!("CREATE DATABASE {name}")).await?;
        drop(client);
        connection.await??;
        let (base, _) = server.rsplit_once('/').context("the address names no database")?;
        Self::with(e, &format!("{base}/{name}")).await
    }

    /// Starts a receiver with this database.
    pub async fn with(e: &E, database: &str) -> Result<Self> {
        let folder = e.world.folder().join("store");
        std::fs::create_dir_all(&folder)?;
        let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        std::fs::write(folder.join("tls.crt"), own.cert.pem())?;
        std::fs::write(folder.join("tls.key"), own.signing_key.serialize_pem())?;
        std::fs::write(folder.join("tokens"), TOKEN)?;
        std::fs::write(folder.join("token"), TOKEN)?;
        // It comes back at this port.
        let listen = test_cluster::listener()?.local_addr()?.to_string();
        let mut store = Self { folder, database: database.to_owned(), listen, child: None };
        store.up().await?;
        Ok(store)
    }

    /// Starts the receiver, at the address that it had.
    pub async fn up(&mut self) -> Result<()> {
        if self.child.is_some() {
            return Ok(());
        }
        let log = self.folder.join("receiver.log");
        let file = |name: &str| self.folder.join(name).display().to_string();
        let child = Command::new(std::env::current_exe()?)
            .args([RECEIVER, "serve", "--listen", &self.listen, "--token-file", &file("tokens")])
            .args(["--tls-cert", &file("tls.crt"), "--tls-key", &file("tls.key")])
            .env("DATABASE_URL", &self.database)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .kill_on_drop(true)
            .spawn()?;
        self.child = Some(child);
        let limit = Instant::now() + Duration::from_mins(1);
        loop {
            let text = std::fs::read_to_string(&log)?;
            if let Some(line) = text.lines().find(|line| line.contains("\"serving\"")) {
                let line: Value = serde_json::from_str(line)?;
                line["fields"]["address"].as_str().context("no address")?.clone_into(&mut self.listen);
                return Ok(());
            }
            ensure!(Instant::now() < limit, "the receiver does not serve: {text}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends the receiver as the kernel does.
    pub async fn down(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().await?;
        }
        Ok(())
    }

    /// Its address.
    pub fn address(&self) -> String {
        format!("https://{}", self.listen)
    }

    /// Its certificate.
    pub fn authority(&self) -> PathBuf {
        self.folder.join("tls.crt")
    }

    /// Changes the token that the controller sends, or those that the receiver takes.
    pub fn set_token(&self, file: &str, token: &str) -> Result<()> {
        Ok(std::fs::write(self.folder.join(file), token)?)
    }

    /// The token that it takes.
    pub const fn token() -> &'static str {
        TOKEN
    }

    /// A controller's flags for this store at this address, which may be a proxy's.
    pub fn flags_at(&self, address: &str, authority: &Path) -> Vec<String> {
        let token = self.folder.join("token");
        vec![
            format!("--audit={address}"),
            format!("--audit-ca={}", authority.display()),
            format!("--audit-token-file={}", token.display()),
        ]
    }

    /// A controller's flags for this store.
    pub fn flags(&self) -> Vec<String> {
        self.flags_at(&self.address(), &self.authority())
    }

    /// The events that the database holds, by attempt, of this execution.
    pub async fn rows(&self, uid: &str) -> Result<BTreeMap<i32, Value>> {
        let all = self.all().await?;
        let mut rows = BTreeMap::new();
        for event in all.into_iter().filter(|event| event["executionUid"] == uid) {
            let attempt = i32::try_from(event["attempt"].as_i64().context("no attempt")?)?;
            ensure!(rows.insert(attempt, event).is_none(), "attempt {attempt} is there twice");
        }
        Ok(rows)
    }

    /// All events that the database holds.
    pub async fn all(&self) -> Result<Vec<Value>> {
        let (client, connection) = tokio_postgres::connect(&self.database, NoTls).await?;
        let connection = tokio::spawn(connection);
        let rows = client.query("SELECT payload::text FROM kubernetes_execution_audit", &[]).await?;
        drop(client);
        connection.await??;
        rows.iter().map(|row| Ok(serde_json::from_str(row.get::<_, &str>(0))?)).collect()
    }

    /// From now on the database refuses what it is told of this execution, for what it holds; of none, if the name is empty.
    pub async fn refuses(&self, execution: &str) -> Result<()> {
        let (client, connection) = tokio_postgres::connect(&self.database, NoTls).await?;
        let connection = tokio::spawn(connection);
        // The class of errors that are about what a row holds.
        let refuse = format!(
            "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF NEW.execution_name = '{execution}' THEN
                     RAISE EXCEPTION 'not this one' USING ERRCODE = 'untranslatable_character';
                 END IF;
                 RETURN NEW;
             END $$;
             CREATE OR REPLACE TRIGGER refuse BEFORE INSERT ON kubernetes_execution_audit FOR EACH ROW EXECUTE FUNCTION refuse()"
        );
        // The receiver may not have made the table yet.
        let limit = Instant::now() + Duration::from_mins(1);
        while let Err(error) = client.batch_execute(&refuse).await {
            ensure!(Instant::now() < limit, "the database cannot be made to refuse: {error:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop(client);
        Ok(connection.await??)
    }
}

/// The spool of a namespace: events by their id, and whether the store had refused them.
pub async fn spool(e: &E) -> Result<BTreeMap<String, bool>> {
    let label = "kubernetesexecution.kubernaut.io/spool";
    let path = format!("{}?labelSelector={}", e.world.path("v1", "configmaps"), label.replace('/', "%2F"));
    let list = e.world.get(&path).await?;
    let mut all = BTreeMap::new();
    for kept in list["items"].as_array().context("no list")? {
        let event: Value = serde_json::from_str(kept["data"]["event"].as_str().context("no event")?)?;
        let id = event["id"].as_str().context("no id")?.to_owned();
        ensure!(kept["data"]["id"] == id.as_str(), "{kept:#}");
        let refused = kept["metadata"]["labels"][label] == "refused";
        all.insert(id, refused);
    }
    Ok(all)
}
