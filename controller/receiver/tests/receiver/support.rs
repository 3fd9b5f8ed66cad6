//! The database, the program, and requests.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use test_cluster::postgres::Postgres;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_postgres::{Client, NoTls};

/// The longest wait for anything: the machine may be busy.
pub const LIMIT: Duration = Duration::from_mins(1);

const PROGRAM: &str = env!("CARGO_BIN_EXE_audit-receiver");

/// A database that no other test has, in the server of all tests.
pub struct Database {
    pub url: String,
    pub client: Client,
}

pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    // It ends with the client, or with its server.
    tokio::spawn(async move { drop(connection.await) });
    client
}

impl Database {
    pub async fn new() -> Self {
        static SERVER: OnceLock<Postgres> = OnceLock::new();
        let server = SERVER.get_or_init(|| Postgres::start().unwrap()).url();
        let name = format!("test_{}", test_cluster::fixtures::unique());
        let create = format!("CREATE DATABASE {name}");
        connect(server).await.batch_execute(&create).await.unwrap();
        let (before, _) = server.rsplit_once('/').unwrap();
        let url = format!("{before}/{name}");
        Self { client: connect(&url).await, url }
    }

    /// Creates the tables by the program.
    pub async fn migrated() -> Self {
        let database = Self::new().await;
        database.run(&["migrate"]);
        database
    }

    /// Runs the program to its end; it must succeed.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = run(&self.url, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Rows as JSON objects.
    pub async fn rows(&self, sql: &str) -> Vec<Value> {
        let rows = self.client.query(&format!("SELECT to_jsonb(one) FROM ({sql}) AS one"), &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// The only row.
    pub async fn row(&self, sql: &str) -> Value {
        let mut rows = self.rows(sql).await;
        assert_eq!(rows.len(), 1, "{sql}: {rows:?}");
        rows.remove(0)
    }

    /// The only number.
    pub async fn number(&self, sql: &str) -> i64 {
        self.client.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Rows of the table, and ids.
    pub async fn counts(&self) -> (i64, i64) {
        (
            self.number("SELECT count(*) FROM kubernetes_execution_audit").await,
            self.number("SELECT count(*) FROM kubernetes_execution_audit_id").await,
        )
    }
}

pub fn run(url: &str, arguments: &[&str]) -> Output {
    command(url, PROGRAM).args(arguments).output().unwrap()
}

fn command(url: &str, program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("DATABASE_URL", url).env("LOG_LEVEL", "debug");
    command
}

/// The program, serving.
pub struct Receiver {
    pub child: Child,
    pub address: SocketAddr,
    log: Arc<Mutex<String>>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // Both fail only for a process that is gone.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Receiver {
    /// Serves, without a token, and with tables.
    pub async fn start(url: &str) -> Self {
        let receiver = Self::start_with(url, &["--insecure-no-token"]);
        receiver.wait_ready().await;
        receiver
    }

    /// Serves with flags of the test's own.
    pub fn start_with(url: &str, flags: &[&str]) -> Self {
        // It ends with the test, also when that is killed.
        let mut child = command(url, "setpriv")
            .args(["--pdeathsig", "KILL", "--", PROGRAM, "serve", "--listen", "127.0.0.1:0"])
            .args(flags)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(String::new()));
        let (written, (sender, addresses)) = (log.clone(), mpsc::channel());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let read: Value = serde_json::from_str(&line).unwrap_or_default();
                if read["fields"]["message"] == "serving" {
                    // The test may have failed meanwhile.
                    let _gone = sender.send(read["fields"]["address"].as_str().unwrap().parse().unwrap());
                }
                written.lock().unwrap().push_str(&format!("{line}\n"));
            }
        });
        let address = addresses.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("{}", log.lock().unwrap()));
        Self { child, address, log }
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub async fn wait_ready(&self) {
        until("ready", async || self.get("/readyz").await.status == 200).await;
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], "").await
    }

    pub async fn post(&self, event: &Value) -> Reply {
        self.post_text(&event.to_string(), &[]).await
    }

    pub async fn post_text(&self, body: &str, headers: &[(&str, &str)]) -> Reply {
        let all: Vec<_> = [("Content-Type", "application/json")].iter().chain(headers).copied().collect();
        self.send("POST", contract::event::PATH, &all, body).await
    }

    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
        exchange(stream, method, path, headers, body.as_bytes()).await
    }
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Value,
}

impl Reply {
    /// The sentence, which every answer has.
    pub fn message(&self) -> &str {
        let message = self.body["message"].as_str().unwrap_or_else(|| panic!("no sentence: {self:?}"));
        assert!(self.head.contains("content-type: application/json"), "{self:?}");
        message
    }

    /// Status and sentence.
    pub fn said(&self) -> (u16, &str) {
        (self.status, self.message())
    }
}

/// One request on a connection of its own.
pub async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: receiver\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "Transfer-Encoding") {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
    // Who is refused before the body is read may be cut off while sending it.
    let _cut = stream.write_all(body).await;
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(LIMIT, stream.read_to_end(&mut bytes)).await.unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{read:?}: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, head: head.to_owned(), body: serde_json::from_str(body).unwrap_or_default() }
}

/// Waits for a condition.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + LIMIT;
    while !condition().await {
        assert!(Instant::now() < until, "waited {} s for: {what}", LIMIT.as_secs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An event of an attempt that succeeded, and ended so many days ago.
pub fn event(uid: &str, attempt: i32, days_ago: i64) -> Value {
    let end = Timestamp::now() - SignedDuration::from_hours(24 * days_ago);
    json!({
        "eventType": "kubernetes.execution", "id": format!("{uid}/{attempt}"), "timestamp": end.to_string(),
        "executionName": format!("name-of-{uid}"), "executionUid": uid, "namespace": "shop", "actionType": "scale-deployment",
        "target": { "namespace": "shop", "resourceKind": "Deployment", "resourceName": "web" },
        "attempt": attempt, "final": true, "phase": "Completed", "code": "Changed", "effect": "applied", "retryCount": 0,
        "maxRetries": 3, "result": { "success": true, "output": "scaled from 2 to 3", "error": "", "duration": 4_200_000_000_i64 },
    })
}

/// The event with other fields.
pub fn with(mut event: Value, other: Value) -> Value {
    test_cluster::fixtures::merge(&mut event, other);
    event
}
