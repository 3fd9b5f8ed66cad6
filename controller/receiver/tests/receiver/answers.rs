//! Every status, with its sentence; and what is in the database after it.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{Database, LIMIT, Receiver, Reply, event, exchange, run, until, with};

#[tokio::test]
async fn a_kept_event_is_in_its_columns_and_whole() {
    let database = Database::new().await;
    let receiver = Receiver::start(&database.url).await;
    let posted = with(
        event("u", 2, 0),
        json!({
            "timestamp": "2026-11-25T10:00:00.250+02:00", "cluster": "west", "parameters": { "replicas": 3 }, "dryRun": true,
            "reason": "load", "jobInfo": { "name": "j", "podName": "p", "exitCode": 0,
                "resourceUsage": { "cpuMillicores": 3, "memoryBytes": 9_437_184 } },
            "imageId": "i@sha256:1", "workflow": "w", "workflowNamespace": "flows", "stepIndex": 0,
            "target": { "apiVersion": "argoproj.io/v1alpha1", "resourceKind": "Rollout" }, "requestedBy": "alice", "approvedBy": "bob",
            "traceId": "t", "retryCount": 1, "aFieldOfANewerExecutor": [1.5], "effect": "aNewOne",
        }),
    );
    let reply = receiver.post(&posted).await;
    assert_eq!(reply.status, 201);
    assert_eq!(reply.body, json!({ "id": "u/2", "kept": true, "message": "the event is kept" }));
    let mut row = database.row("SELECT * FROM kubernetes_execution_audit").await;
    assert_eq!(row["payload"], posted);
    row.as_object_mut().unwrap().retain(|name, _| name != "payload" && name != "received_at");
    assert_eq!(
        row,
        json!({
            "event_id": "u/2", "execution_uid": "u", "execution_name": "name-of-u", "namespace": "shop", "cluster": "west",
            "action_type": "scale-deployment", "target_namespace": "shop", "target_kind": "Rollout", "target_name": "web",
            "target_api_version": "argoproj.io/v1alpha1",
            "attempt": 2, "final": true, "phase": "Completed", "code": "Changed", "effect": "unknown", "success": true,
            "output": "scaled from 2 to 3", "error": "", "start_time": "2026-11-25T07:59:56.05+00:00",
            "end_time": "2026-11-25T08:00:00.25+00:00", "duration_ms": 4200, "job_name": "j", "pod_name": "p", "exit_code": 0,
            "cpu_millicores": 3, "memory_bytes": 9_437_184, "image_id": "i@sha256:1", "workflow": "w", "workflow_namespace": "flows", "step_index": 0,
            "requested_by": "alice", "approved_by": "bob", "dry_run": true, "retry_count": 1, "max_retries": 3, "trace_id": "t",
        })
    );
}

#[tokio::test]
async fn what_is_not_known_is_null() {
    let database = Database::new().await;
    let receiver = Receiver::start(&database.url).await;
    let posted = with(event("u", 0, 0), json!({ "target": { "namespace": null }, "result": { "duration": 0 } }));
    assert_eq!(receiver.post(&posted).await.status, 201);
    let row = database.row("SELECT * FROM kubernetes_execution_audit").await;
    let nulls =
        ["start_time", "duration_ms", "job_name", "exit_code", "cluster", "workflow", "requested_by", "trace_id"];
    assert!(nulls.iter().chain(&["target_namespace"]).all(|column| row[column].is_null()), "{row}");
    assert_eq!(row["dry_run"], false);
}

/// What is wrong with an event, and what the answer must say of it.
fn bad_events() -> Vec<(Value, &'static str)> {
    let event = || event("u", 1, 0);
    let mut without = event();
    without.as_object_mut().unwrap().remove("phase");
    vec![
        (json!([]), "expected a JSON object, got \"[]\""),
        (json!("text"), "expected a JSON object"),
        (without, "missing field `phase`"),
        (with(event(), json!({ "attempt": "one" })), "attempt: invalid type: string, expected a whole number"),
        (with(event(), json!({ "result": { "duration": 1.5 } })), "result.duration: invalid type: floating point"),
        (with(event(), json!({ "eventType": "x" })), "eventType: expected kubernetes.execution, got \"x\""),
        (with(event(), json!({ "id": "u/2" })), "id: expected executionUid/attempt, \"u/1\", got \"u/2\""),
        (with(event(), json!({ "id": "u/-1", "attempt": -1 })), "attempt: expected a number from 0, got -1"),
        (with(event(), json!({ "id": "/1", "executionUid": "" })), "executionUid: expected a text that is not empty"),
        (
            with(event(), json!({ "result": { "duration": -1 } })),
            "result.duration: expected nanoseconds from 0, got -1",
        ),
        (with(event(), json!({ "timestamp": "yesterday" })), "timestamp: expected RFC 3339 such as 2026-"),
        // What only PostgreSQL knows.
        (
            with(event(), json!({ "result": { "output": "a\u{0}b" } })),
            "does not take what it holds: unsupported Unicode",
        ),
        (with(event(), json!({ "parameters": { "a\u{0}": 1 } })), "does not take what it holds"),
        (with(event(), json!({ "id": "u\u{0}/1", "executionUid": "u\u{0}" })), "does not take what it holds"),
        (
            with(event(), json!({ "jobInfo": { "name": "j", "resourceUsage": { "memoryBytes": u64::MAX } } })),
            "does not take what it holds: value \"18446744073709551615\" is out of range",
        ),
        (
            // Of no pattern, or it would be compressed.
            {
                let uid: String = (0..4000_u32).map(|_| test_cluster::fixtures::unique().to_string()).collect();
                with(event(), json!({ "id": format!("{uid}/1"), "executionUid": uid }))
            },
            "does not take what it holds: index row",
        ),
    ]
}

#[tokio::test]
async fn what_is_no_event_is_told_what_is_wrong() {
    let database = Database::new().await;
    let receiver = Receiver::start(&database.url).await;
    for (bad, says) in bad_events() {
        let reply = receiver.post(&bad).await;
        assert!(reply.status == 422 && reply.message().contains(says), "{says}: {reply:?}");
    }
    for (body, says) in [("", "not valid JSON: EOF"), ("{", "not valid JSON"), ("{} {}", "not valid JSON: trailing")] {
        let reply = receiver.post_text(body, &[]).await;
        assert!(reply.status == 400 && reply.message().contains(says), "{says}: {reply:?}");
    }
    let stream = TcpStream::connect(receiver.address).await.unwrap();
    let json = ("Content-Type", "application/json");
    let reply = exchange(stream, "POST", contract::event::PATH, &[json], b"\"\xff\"").await;
    assert!(reply.status == 400 && reply.message().contains("expected JSON in UTF-8"), "{reply:?}");
    assert_eq!(database.counts().await, (0, 0));
    // It was none of the connections' fault.
    assert_eq!(receiver.post(&event("u", 1, 0)).await.status, 201);
}

#[tokio::test]
async fn an_id_in_the_header_is_that_of_the_event() {
    let database = Database::new().await;
    let receiver = Receiver::start(&database.url).await;
    let body = event("u", 1, 0).to_string();
    let reply = receiver.post_text(&body, &[("ce-id", "u/2")]).await;
    assert_eq!(reply.said(), (422, "the header ce-id: expected the event's id, \"u/1\", got \"u/2\""));
    assert_eq!(database.counts().await, (0, 0));
    assert_eq!(receiver.post_text(&body, &[("ce-id", "u/1")]).await.status, 201);
}

#[tokio::test]
async fn what_is_elsewhere_or_otherwise_is_refused() {
    let database = Database::new().await;
    let receiver = Receiver::start(&database.url).await;
    let path = contract::event::PATH;
    let reply = receiver.get("/api/v1/audit").await;
    assert_eq!(reply.said(), (404, "nothing is here: events are posted to /api/v1/audit/kubernetes-execution"));
    let reply = receiver.get(path).await;
    assert_eq!(reply.said(), (405, "events are posted: expected POST"));
    assert!(reply.head.contains("allow: POST"), "{reply:?}");
    let body = event("u", 1, 0).to_string();
    for (given, shown) in
        [("text/plain", "\"text/plain\""), ("application/cloudevents+json", "\"application/cl"), ("", "\"\"")]
    {
        let reply = receiver.send("POST", path, &[("Content-Type", given)], &body).await;
        assert!(
            reply.status == 415 && reply.message().contains(&format!("expected application/json, got {shown}")),
            "{reply:?}"
        );
    }
    assert_eq!(receiver.send("POST", path, &[], &body).await.status, 415);
    assert_eq!(database.counts().await, (0, 0));
    let reply = receiver.send("POST", path, &[("content-type", "Application/JSON; charset=utf-8")], &body).await;
    assert_eq!(reply.status, 201);
}

#[tokio::test]
async fn an_event_has_a_largest_length() {
    let database = Database::new().await;
    let receiver = Receiver::start(&database.url).await;
    let most = 256 << 10;
    let of = |length: usize| {
        let padded = |by: usize| {
            with(event("u", 1, 0), json!({ "timestamp": "2026-11-25T10:00:00Z", "x": "x".repeat(by) })).to_string()
        };
        padded(length - padded(0).len())
    };
    let reply = receiver.post_text(&of(most + 1), &[]).await;
    assert_eq!(reply.said(), (413, "the event: expected at most 262144 bytes (--largest-event)"));
    // Nor does it help not to say the length.
    let pieces = format!("{:x}\r\n{}\r\n0\r\n\r\n", most + 1, of(most + 1));
    assert_eq!(receiver.post_text(&pieces, &[("Transfer-Encoding", "chunked")]).await.status, 413);
    assert_eq!(database.counts().await, (0, 0));
    assert_eq!(receiver.post_text(&of(most), &[]).await.status, 201);
    let small = Receiver::start_with(&database.url, &["--insecure-no-token", "--largest-event", "65536"]);
    let reply = small.post_text(&of(65_537), &[]).await;
    assert_eq!(reply.said(), (413, "the event: expected at most 65536 bytes (--largest-event)"));
}

fn authorized(token: &str) -> [(&'static str, String); 1] {
    [("Authorization", format!("Bearer {token}"))]
}

async fn post_as(receiver: &Receiver, uid: &str, token: &str) -> Reply {
    let [(name, value)] = authorized(token);
    receiver.post_text(&event(uid, 1, 0).to_string(), &[(name, &value)]).await
}

#[tokio::test]
async fn tokens_change_while_it_serves() {
    let database = Database::migrated().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "old\n").unwrap();
    let receiver = Receiver::start_with(&database.url, &["--token-file", file.path().to_str().unwrap()]);
    let reply = receiver.post(&event("u", 1, 0)).await;
    assert_eq!(reply.said(), (401, "expected the header Authorization: Bearer with a token of --token-file"));
    assert!(reply.head.contains("www-authenticate: Bearer"), "{reply:?}");
    let statuses = async || [post_as(&receiver, "u", "old").await.status, post_as(&receiver, "v", "new").await.status];
    assert_eq!(statuses().await, [201, 401]);
    assert_eq!(database.counts().await, (1, 1));
    fs::write(file.path(), "new\nold\n").unwrap();
    assert_eq!(statuses().await, [200, 201]);
    fs::write(file.path(), "new\n").unwrap();
    assert_eq!(statuses().await, [401, 200]);
    // It is the receiver that is at fault then, not who posts.
    fs::write(file.path(), "").unwrap();
    let reply = post_as(&receiver, "w", "new").await;
    assert_eq!(reply.said(), (503, "the receiver cannot read its tokens: post the event again later"));
    // Probes have no token.
    assert_eq!((receiver.get("/livez").await.status, receiver.get("/readyz").await.status), (200, 200));
    assert_eq!(database.counts().await, (2, 2));
}

#[test]
fn without_a_token_it_does_not_start() {
    let output = run("host=/nowhere", &["serve"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && text.contains("--token-file <TOKEN_FILE>"), "{text}");
    let output = run("host=/nowhere", &["serve", "--token-file", "/nowhere/token"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && text.contains("--token-file: failed to read /nowhere/token"), "{text}");
}

fn certificate(folder: &Path) -> CertificateDer<'static> {
    let certified = rcgen::generate_simple_self_signed(["receiver".to_owned()]).unwrap();
    fs::write(folder.join("key"), certified.signing_key.serialize_pem()).unwrap();
    fs::write(folder.join("cert"), certified.cert.pem()).unwrap();
    certified.cert.der().clone()
}

async fn post_by_tls(receiver: &Receiver, root: CertificateDer<'static>, event: &Value) -> std::io::Result<Reply> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(receiver.address).await?;
    let name = ServerName::try_from("receiver").unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let json = ("Content-Type", "application/json");
    Ok(exchange(stream, "POST", contract::event::PATH, &[json], event.to_string().as_bytes()).await)
}

#[tokio::test]
async fn a_certificate_is_renewed_while_it_serves() {
    let database = Database::migrated().await;
    let folder = tempfile::tempdir().unwrap();
    let first = certificate(folder.path());
    let [cert, key] = ["cert", "key"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
    let receiver =
        Receiver::start_with(&database.url, &["--insecure-no-token", "--tls-cert", &cert, "--tls-key", &key]);
    assert_eq!(post_by_tls(&receiver, first.clone(), &event("u", 1, 0)).await.unwrap().status, 201);
    // Half of a renewal: the last pair that fits is used.
    let before = fs::read(&cert).unwrap();
    let second = certificate(folder.path());
    let after = fs::read(&cert).unwrap();
    fs::write(&cert, before).unwrap();
    assert_eq!(post_by_tls(&receiver, first.clone(), &event("u", 1, 0)).await.unwrap().status, 200);
    fs::write(&cert, after).unwrap();
    assert_eq!(post_by_tls(&receiver, second, &event("v", 1, 0)).await.unwrap().status, 201);
    assert!(post_by_tls(&receiver, first, &event("w", 1, 0)).await.is_err());
    assert_eq!(database.counts().await, (2, 2));
}

#[tokio::test]
async fn told_to_stop_it_answers_what_was_begun() {
    let database = Database::migrated().await;
    let mut receiver = Receiver::start_with(&database.url, &["--insecure-no-token"]);
    // Half of a request, one that only connected, and one that asks for nothing more.
    let body = event("u", 1, 0).to_string();
    let mut begun = TcpStream::connect(receiver.address).await.unwrap();
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: r\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        contract::event::PATH,
        body.len()
    );
    begun.write_all(head.as_bytes()).await.unwrap();
    begun.write_all(&body.as_bytes()[..10]).await.unwrap();
    let _silent = TcpStream::connect(receiver.address).await.unwrap();
    let mut quiet = TcpStream::connect(receiver.address).await.unwrap();
    quiet.write_all(b"GET /livez HTTP/1.1\r\nHost: r\r\n\r\n").await.unwrap();
    assert!(quiet.read(&mut [0; 1000]).await.unwrap() > 0);
    kill(Pid::from_raw(i32::try_from(receiver.child.id()).unwrap()), Signal::SIGTERM).unwrap();
    until("told to stop", async || receiver.log().contains("told to stop")).await;
    until("nobody is let in", async || TcpStream::connect(receiver.address).await.is_err()).await;
    begun.write_all(&body.as_bytes()[10..]).await.unwrap();
    let mut answer = String::new();
    begun.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let asked = Instant::now();
    let status = loop {
        if let Some(status) = receiver.child.try_wait().unwrap() {
            break status;
        }
        assert!(asked.elapsed() < LIMIT, "{}", receiver.log());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert!(status.success() && !receiver.log().contains("given up"), "{}", receiver.log());
    assert_eq!(database.counts().await, (1, 1));
}
