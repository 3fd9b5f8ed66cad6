//! Connections to PostgreSQL: made when they are needed, used again while they work.
//!
//! A connection after whose use anything but an answer of PostgreSQL came is not used again. So nothing has to notice that
//! the database was restarted, or that another one took its place.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::AbortHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::{CancelToken, Client, Config, Connection, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

/// The longest time to connect, where the URL sets none.
const CONNECT: Duration = Duration::from_secs(5);
/// The longest time until a connection works: what accepts it may be something that says nothing.
const WORKS: Duration = Duration::from_secs(15);
/// The longest time for which what was sent may stay without an acknowledgement, where the URL sets none.
const SILENCE: Duration = Duration::from_secs(30);

/// The database.
#[derive(Debug)]
pub struct Database {
    config: Config,
    /// Certificate authorities of the server; without them there is no TLS.
    authorities: Option<PathBuf>,
    idle: Mutex<Vec<Session>>,
    permits: Semaphore,
}

/// A connection, which is closed with it.
#[derive(Debug)]
pub struct Session {
    client: Client,
    closes: Arc<Closes>,
}

/// Closes a connection when the last of these is gone.
#[derive(Debug)]
struct Closes(AbortHandle);

impl Drop for Closes {
    fn drop(&mut self) {
        // One whose other side does not answer would wait for ever.
        self.0.abort();
    }
}

impl Session {
    fn new<S>(client: Client, connection: Connection<Socket, S>) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = explain(&error), "a connection to the database ended");
            }
        });
        Self { client, closes: Arc::new(Closes(task.abort_handle())) }
    }

    /// Returns the client.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }
}

/// A connection that is taken from the others.
#[derive(Debug)]
pub struct Lease<'a> {
    database: &'a Database,
    session: Session,
    cancel: Cancel,
    _permit: SemaphorePermit<'a>,
}

impl Lease<'_> {
    /// Returns the client.
    pub fn client(&self) -> &Client {
        &self.session.client
    }

    /// Closes the connection: what was asked is answered.
    pub fn close(mut self) {
        self.cancel.token = None;
    }

    /// Gives the connection back: it works. Without either, what was asked is cancelled, and then the connection is closed.
    pub fn give_back(mut self) {
        self.cancel.token = None;
        if let Ok(mut idle) = self.database.idle.lock() {
            idle.push(self.session);
        }
    }
}

/// Cancels what nobody waits for any more. What waits for a lock does not notice that its connection is closed: PostgreSQL
/// would keep one after another, until it lets nobody in.
struct Cancel {
    token: Option<CancelToken>,
    /// It stays open until then: behind a pooler, what was asked would not be found any more.
    closes: Arc<Closes>,
    authorities: Option<PathBuf>,
}

impl std::fmt::Debug for Cancel {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Cancel").finish_non_exhaustive()
    }
}

impl Drop for Cancel {
    fn drop(&mut self) {
        let Some(token) = self.token.take() else { return };
        let (authorities, closes) = (self.authorities.take(), self.closes.clone());
        let cancelled = async move {
            match authorities.as_deref().map(read).transpose().map_err(Away)? {
                Some(tls) => token.cancel_query(MakeRustlsConnect::new(tls)).await.map_err(Away::from),
                None => token.cancel_query(NoTls).await.map_err(Away::from),
            }
        };
        tokio::spawn(async move {
            if let Ok(Err(Away(error))) = tokio::time::timeout(WORKS, cancelled).await {
                tracing::debug!(error, "what nobody waits for could not be cancelled");
            }
            drop(closes);
        });
    }
}

impl Database {
    /// Takes the address. No error repeats any of it: a password with a character that means something in a URL would be
    /// read as another part.
    pub fn new(url: &str, authorities: Option<&Path>, connections: usize) -> Result<Self, String> {
        let mut config: Config = url.parse().map_err(|_| {
            "--database (DATABASE_URL): not an address of PostgreSQL: expected postgresql://user:password@host:5432/name (a \
             password's special characters as %XX), or \"host=/run/postgresql dbname=name user=user\""
                .to_owned()
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(
                "--database (DATABASE_URL): expected a host, or the folder of a unix socket: it names none".to_owned()
            );
        }
        match authorities {
            // All or nothing: what is asked for must not become plain text because somebody on the way says so.
            Some(path) => {
                read(path)?;
                config.ssl_mode(SslMode::Require);
            }
            None if config.get_ssl_mode() == SslMode::Require => {
                return Err(
                    "--database (DATABASE_URL): sslmode=require: TLS needs --database-ca, a file of the certificate \
                            authorities that may have signed the server's certificate"
                        .to_owned(),
                );
            }
            None => {
                config.ssl_mode(SslMode::Disable);
            }
        }
        if config.get_application_name().is_none() {
            config.application_name("audit-receiver");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(SILENCE);
        }
        if config.get_keepalives_idle() == Config::new().get_keepalives_idle() {
            config.keepalives_idle(SILENCE);
        }
        let authorities = authorities.map(Path::to_path_buf);
        Ok(Self { config, authorities, idle: Mutex::default(), permits: Semaphore::new(connections) })
    }

    /// Connects, beside the connections that are shared.
    pub async fn connect(&self) -> Result<Session, Away> {
        match tokio::time::timeout(WORKS, self.connect_now()).await {
            Ok(connected) => connected,
            Err(_) => Err(Away(format!("no connection within {} s", WORKS.as_secs()))),
        }
    }

    async fn connect_now(&self) -> Result<Session, Away> {
        let Some(path) = &self.authorities else {
            let (client, connection) = self.config.connect(NoTls).await?;
            return Ok(Session::new(client, connection));
        };
        let tls = MakeRustlsConnect::new(read(path).map_err(Away)?);
        let (client, connection) = self.config.connect(tls).await?;
        Ok(Session::new(client, connection))
    }

    /// Returns whether all connections are in use.
    pub fn is_busy(&self) -> bool {
        self.permits.available_permits() == 0
    }

    /// Takes a connection that is free, or makes one; waits while the most are in use.
    pub async fn take(&self) -> Result<Lease<'_>, Away> {
        let permit = self.permits.acquire().await.map_err(|_| Away("this program ends".to_owned()))?;
        let free = || self.idle.lock().ok().and_then(|mut idle| idle.pop());
        let working = std::iter::from_fn(free).find(|session| !session.client.is_closed());
        let session = match working {
            Some(session) => session,
            None => self.connect().await?,
        };
        let (token, authorities) = (Some(session.client.cancel_token()), self.authorities.clone());
        let cancel = Cancel { token, closes: session.closes.clone(), authorities };
        Ok(Lease { database: self, session, cancel, _permit: permit })
    }
}

/// Reads the certificate authorities: for each connection, so that they can be renewed. The server's certificate must be from
/// one of them, and for the host of the address (`verify-full`, as libpq calls it).
fn read(authorities: &Path) -> Result<ClientConfig, String> {
    let wrong = |error: String| format!("--database-ca: {}: {error}", authorities.display());
    let mut roots = RootCertStore::empty();
    let all = CertificateDer::pem_file_iter(authorities).map_err(|error| wrong(error.to_string()))?;
    for one in all {
        roots.add(one.map_err(|error| wrong(error.to_string()))?).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("expected a certificate (PEM), it holds none".to_owned()));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| wrong(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Why the database does not do what it should: it is not there, or not well.
#[derive(Debug)]
pub struct Away(pub String);

impl From<tokio_postgres::Error> for Away {
    fn from(error: tokio_postgres::Error) -> Self {
        Self(explain(&error))
    }
}

/// Returns an error with its causes, which tokio-postgres leaves out.
pub fn explain(error: &tokio_postgres::Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    // The end of the password would be read as an option, and named as one that is unknown.
    #[case("postgresql://user:ge@im?heim=@host/name", "%XX")]
    #[case("ge heim", "not an address")]
    #[case("mysql://user:geheim@host/name", "not an address")]
    #[case("postgresql://user:geheim@host/name?sslmode=require", "needs --database-ca")]
    #[case("dbname=geheim", "names none")]
    fn an_address_that_is_wrong_is_not_repeated(#[case] url: &str, #[case] says: &str) {
        let error = Database::new(url, None, 1).unwrap_err();
        assert!(error.starts_with("--database (DATABASE_URL): ") && error.contains(says), "{error}");
        assert!(!error.contains("heim"), "{error}");
    }
    #[test]
    fn authorities_that_are_none_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.crt");
        for text in ["", "no certificate"] {
            std::fs::write(&file, text).unwrap();
            let error = Database::new("postgresql://user@host/name", Some(&file), 1).unwrap_err();
            assert!(error.starts_with("--database-ca: ") && error.ends_with("it holds none"), "{error}");
        }
    }
}
