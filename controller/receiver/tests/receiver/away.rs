//! The database is away, or not as it should be: who posts is told to come back, and the receiver mends itself.

use std::io::{Read, Write};
use std::net::TcpListener;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use test_cluster::postgres::Postgres;

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
    assert_eq!(receiver.get("/readyz").await.said(), (503, "the database is away, or has no table yet"));
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
