//! The database is away, or not as it should be: who posts is told to come back, and the receiver mends itself.

use std::io::{Read, Write};
use std::net::TcpListener;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use test_cluster::postgres::Postgres;
use tokio::io::AsyncWriteExt;

use super::support::{Database, Receiver, Reply, connect, event, run, until};

fn told_to_come_back(reply: &Reply) {
    assert_eq!(reply.said(), (503, "the database is away or not well: post the event again later"));
    assert!(reply.head.contains("retry-after: 5"), "{reply:?}");
}

#[tokio::test]
async fn a_killed_database_comes_back_and_so_do_its_events() {
    let mut postgres = Postgres::start_own().unwrap();
    let receiver = Receiver::start(postgres.url()).await;
    assert_eq!(receiver.post(&event("before", 1, 0)).await.status, 201);
    postgres.kill().unwrap();
    told_to_come_back(&receiver.post(&event("meanwhile", 1, 0)).await);
    // As often as it is asked: what a connection that broke leaves behind is found by the first one.
    told_to_come_back(&receiver.post(&event("meanwhile", 1, 0)).await);
    assert_eq!(
        receiver.get("/readyz").await.said(),
        (503, "the database is away, read-only, or has no table yet: the log says which")
    );
    assert_eq!(receiver.get("/livez").await.status, 200);
    postgres.restart().unwrap();
    until("the event is kept", async || receiver.post(&event("meanwhile", 1, 0)).await.status == 201).await;
    assert_eq!(receiver.get("/readyz").await.status, 200);
    assert_eq!(receiver.post(&event("before", 1, 0)).await.status, 200);
    let rows = connect(postgres.url()).await;
    let rows = rows.query("SELECT event_id FROM kubernetes_execution_audit ORDER BY 1", &[]).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<String>>(), ["before/1", "meanwhile/1"]);
    // Nobody is told the password, whatever went wrong.
    let password = postgres.url().split([':', '@']).nth(2).unwrap();
    assert!(password.starts_with("password-") && !receiver.log().contains(password), "{}", receiver.log());
}

#[tokio::test]
async fn a_database_that_is_not_there_yet_is_waited_for() {
    let mut postgres = Postgres::start_own().unwrap();
    postgres.kill().unwrap();
    let receiver = Receiver::start_with(postgres.url(), &["--insecure-no-token"]);
    told_to_come_back(&receiver.post(&event("u", 1, 0)).await);
    postgres.restart().unwrap();
    receiver.wait_ready().await;
    assert_eq!(receiver.post(&event("u", 1, 0)).await.status, 201);
}

#[tokio::test]
async fn a_unix_socket_will_do() {
    let postgres = Postgres::start_own().unwrap();
    let (folder, port) = postgres.socket().unwrap();
    let password = postgres.url().split([':', '@']).nth(2).unwrap();
    let url = format!("host={} port={port} user=test password={password} dbname=postgres", folder.display());
    let receiver = Receiver::start(&url).await;
    assert_eq!(receiver.post(&event("u", 1, 0)).await.status, 201);
}

/// PostgreSQL itself says whether a connection is encrypted.
#[tokio::test]
async fn over_tls_the_server_is_verified() {
    let postgres = Postgres::start_own().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let authorities = folder.path().join("ca.crt");
    let flags = ["--insecure-no-token", "--database-ca", authorities.to_str().unwrap()];
    std::fs::copy(postgres.authority().unwrap(), &authorities).unwrap();
    let receiver = Receiver::start_with(postgres.url(), &flags);
    receiver.wait_ready().await;
    assert_eq!(receiver.post(&event("u", 1, 0)).await.status, 201);
    let encrypted = "SELECT bool_and(ssl), count(*) > 0 FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
        WHERE application_name = 'audit-receiver'";
    let row = connect(postgres.url()).await.query_one(encrypted, &[]).await.unwrap();
    assert_eq!((row.get(0), row.get(1)), (true, true));
    // An authority that did not sign the server's certificate: nothing is sent to it.
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(&authorities, other.cert.pem()).unwrap();
    let stranger = Receiver::start_with(postgres.url(), &flags);
    until("the certificate is not taken", async || stranger.log().contains("invalid peer certificate")).await;
    assert_eq!(stranger.get("/readyz").await.status, 503);
    // The file is read again for each connection.
    std::fs::copy(postgres.authority().unwrap(), &authorities).unwrap();
    stranger.wait_ready().await;
}

/// Somebody on the way who says that there is no TLS gets no word more, and no password.
#[test]
fn where_tls_was_asked_for_nothing_goes_without() {
    let postgres = Postgres::start_own().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgresql://test:geheim@{}/postgres", listener.local_addr().unwrap());
    let between = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = [0; 8];
        stream.read_exact(&mut asked).unwrap();
        stream.write_all(b"N").unwrap();
        let mut more = Vec::new();
        stream.read_to_end(&mut more).unwrap();
        (asked, more)
    });
    let output = run(&url, &["migrate", "--database-ca", postgres.authority().unwrap().to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && text.contains("TLS"), "{text}");
    // The request for TLS is 80877103 (PostgreSQL's message formats, SSLRequest).
    assert_eq!(between.join().unwrap(), ([0, 0, 0, 8, 4, 210, 22, 47], Vec::new()));
}

#[tokio::test]
async fn without_tables_it_is_not_ready_and_events_are_not_lost() {
    let database = Database::new().await;
    let receiver = Receiver::start_with(&database.url, &["--insecure-no-token", "--no-migrate"]);
    assert_eq!(receiver.get("/readyz").await.status, 503);
    told_to_come_back(&receiver.post(&event("u", 1, 0)).await);
    database.run(&["migrate"]);
    assert_eq!(receiver.get("/readyz").await.status, 200);
    assert_eq!(receiver.post(&event("u", 1, 0)).await.status, 201);
}

/// A server that takes the request and says nothing: the event is given up in time, and the connection with it.
#[tokio::test]
async fn a_database_that_hangs_is_given_up() {
    let postgres = Postgres::start_own().unwrap();
    let database = Database { url: postgres.url().to_owned(), client: connect(postgres.url()).await };
    database.run(&["migrate"]);
    let receiver = Receiver::start_with(&database.url, &["--insecure-no-token", "--no-migrate", "--connections", "1"]);
    receiver.wait_ready().await;
    let backends = "SELECT pid::bigint FROM pg_stat_activity WHERE application_name = 'audit-receiver'";
    let pid = Pid::from_raw(i32::try_from(database.number(backends).await).unwrap());
    kill(pid, Signal::SIGSTOP).unwrap();
    let reply = receiver.post(&event("u", 1, 0)).await;
    kill(pid, Signal::SIGCONT).unwrap();
    told_to_come_back(&reply);
    // It may have been kept after all: that is what the id is for.
    assert!(matches!(receiver.post(&event("u", 1, 0)).await.status, 200 | 201));
    assert_eq!(database.counts().await, (1, 1));
}

#[test]
fn a_wrong_password_is_not_repeated() {
    let postgres = Postgres::start_own().unwrap();
    let url = postgres.url().replace("password-", "geheim-");
    let output = run(&url, &["migrate"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && text.contains("password authentication failed"), "{text}");
    assert!(!text.contains("geheim"), "{text}");
}

/// Somebody holds the table: who posts gives up, and what PostgreSQL does for it ends too. It would keep a connection for each,
/// until nobody gets one.
#[tokio::test]
async fn what_nobody_waits_for_is_cancelled() {
    let database = Database::migrated().await;
    let receiver = Receiver::start_with(&database.url, &["--insecure-no-token", "--no-migrate"]);
    receiver.wait_ready().await;
    let mut holder = connect(&database.url).await;
    let holding = holder.transaction().await.unwrap();
    holding.batch_execute("LOCK TABLE kubernetes_execution_audit").await.unwrap();
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND application_name = 'audit-receiver' AND wait_event_type = 'Lock'";
    for uid in ["a", "b"] {
        let body = event(uid, 1, 0).to_string();
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            contract::event::PATH,
            body.len()
        );
        let mut stream = tokio::net::TcpStream::connect(receiver.address).await.unwrap();
        stream.write_all((head + &body).as_bytes()).await.unwrap();
        until("it waits for the lock", async || database.number(waiting).await == 1).await;
        drop(stream);
        until("it is cancelled", async || database.number(waiting).await == 0).await;
    }
    // Whether events can be kept is asked without a lock.
    assert_eq!(receiver.get("/readyz").await.status, 200);
    drop(holding);
    assert_eq!(receiver.post(&event("a", 1, 0)).await.status, 201);
}

/// What is wrong with the tables is no fault of an event's: it is tried again, and not refused for good.
#[tokio::test]
async fn tables_that_somebody_has_changed_are_no_reason_to_refuse_an_event() {
    let database = Database::migrated().await;
    let receiver = Receiver::start_with(&database.url, &["--insecure-no-token", "--no-migrate"]);
    let changes = [
        ("ALTER TABLE kubernetes_execution_audit DETACH PARTITION kubernetes_execution_audit_default", 4000),
        ("ALTER TABLE kubernetes_execution_audit ADD team text NOT NULL", 0),
    ];
    for (change, days) in changes {
        database.client.batch_execute(change).await.unwrap();
        assert_eq!(receiver.post(&event("u", 1, days)).await.status, 503, "{}", receiver.log());
    }
    until("both are told", async || {
        receiver.log().contains("no partition of relation") && receiver.log().contains("violates not-null")
    })
    .await;
}

/// A standby answers, and takes nothing.
#[tokio::test]
async fn a_database_that_is_read_only_is_not_ready() {
    let database = Database::migrated().await;
    let (_, name) = database.url.rsplit_once('/').unwrap();
    let set = |value: &str| format!("ALTER DATABASE {name} SET default_transaction_read_only = {value}");
    database.client.batch_execute(&set("on")).await.unwrap();
    let receiver = Receiver::start_with(&database.url, &["--insecure-no-token", "--no-migrate"]);
    assert_eq!(receiver.get("/readyz").await.status, 503);
    until("the log says why", async || receiver.log().contains("read-only")).await;
    assert_eq!(receiver.post(&event("u", 1, 0)).await.status, 503);
    // Only connections that are new notice that it is over.
    database.client.batch_execute(&format!("SET default_transaction_read_only = off; {}", set("off"))).await.unwrap();
    receiver.wait_ready().await;
    assert_eq!(receiver.post(&event("u", 1, 0)).await.status, 201);
}

/// What accepts a connection and says nothing is given up.
#[tokio::test]
async fn a_database_that_says_nothing_is_away() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgresql://user@127.0.0.1:{}/name", silent.local_addr().unwrap().port());
    let output = run(&url, &["migrate"]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no connection within"), "{said}");
}
