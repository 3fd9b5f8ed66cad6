//! The audit record against a real receiver and a real PostgreSQL: what is there at the end is counted in the database and in
//! the spool, whatever was away, wrong or killed meanwhile.

pub mod killed;
pub mod store;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::postgres::Postgres;
use test_cluster::proxy::{Canned, Fault, Proxy, Rule};

use controller::settings::Component;

use crate::policies::{self, Person};
use crate::support::{Controller, E, scale, scale_with, scenarios};
use store::{Store, spool};

scenarios!("audit": every_end_has_its_event, the_log_instead, the_store_is_away, deleted_while_it_is_away, a_full_spool_holds,
    refused_for_good, answers_that_are_none, the_wrong_authority, the_token_has_expired, postgresql_is_killed, the_namespace_goes,
    a_slow_store, the_spool_needs_its_permissions, who_asked);

/// A controller with these flags.
fn controller(e: &E, flags: &[String]) -> Result<Controller> {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    e.controller_with(&e.kubeconfig, &flags)
}

fn with(mut flags: Vec<String>, more: &[&str]) -> Vec<String> {
    flags.extend(more.iter().map(|one| (*one).to_owned()));
    flags
}

fn uid(execution: &Value) -> Result<String> {
    Ok(execution["metadata"]["uid"].as_str().context("no UID")?.to_owned())
}

/// Waits until something is so of the database.
async fn until<T, F: Future<Output = Result<T>>>(look: impl Fn() -> F, is: impl Fn(&T) -> bool, what: &str) -> Result<T>
where
    T: std::fmt::Debug,
{
    let limit = Instant::now() + Duration::from_mins(2);
    loop {
        let seen = look().await?;
        if is(&seen) {
            return Ok(seen);
        }
        ensure!(Instant::now() < limit, "{what}: {seen:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn of(rows: &std::collections::BTreeMap<i32, Value>, attempt: i32) -> Result<&Value> {
    rows.get(&attempt).with_context(|| format!("no event of attempt {attempt}: {rows:?}"))
}

/// Success, a refusal before anything starts, and a cancellation between two attempts.
async fn every_end_has_its_event(e: E) -> Result<()> {
    let store = Store::start(&e).await?;
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let flags = with(store.flags(), &["--backoff=60s", "--cluster-name=west"]);
    let controller = controller(&e, &flags)?;
    ended_between_attempts(&e, &store).await?;
    succeeded(&e, &store).await?;
    // Whatever is refused before anything starts is an end too.
    let odd = e
        .execute("odd", scale_with(3, json!({ "action": { "type": "scale-node", "target": { "resourceName": "n" } } })))
        .await?;
    e.ended("odd").await?;
    let rows = store.rows(&uid(&odd)?).await?;
    ensure!(rows.len() == 1 && of(&rows, 0)?["code"] == "InvalidRequest", "{rows:#?}");
    let mut line = controller.log()?;
    line = line.lines().find(|line| line.contains("\"ended\"")).context("no line says that it ended")?.to_owned();
    let line: Value = serde_json::from_str(&line)?;
    ensure!(line["span"]["trace_id"].as_str().is_some_and(|id| id.len() == 32), "{line}");
    controller.measures("kubernetesexecution_audit_deliveries_total", "answer=\"kept\"").await?;
    controller.stop().await
}

async fn ended_between_attempts(e: &E, store: &Store) -> Result<()> {
    let workflow = json!({ "name": "w" });
    let spec = scale_with(2, json!({ "reason": "play: exit 9", "workflowExecutionRef": workflow, "stepIndex": 4 }));
    let between = e.execute("between", spec).await?;
    e.phase("between", "Retrying").await?;
    // The event of an attempt does not wait for the end of its execution.
    let rows =
        until(|| store.rows(between["metadata"]["uid"].as_str().unwrap_or_default()), |rows| rows.len() == 1, "one")
            .await?;
    ensure!(of(&rows, 1)?["phase"] == "Retrying" && of(&rows, 1)?["final"] == false, "{rows:?}");
    e.patch("between", json!({ "spec": { "cancel": true } })).await?;
    let between = e.ended("between").await?;
    let rows = store.rows(&uid(&between)?).await?;
    ensure!(rows.len() == 2, "{rows:#?}");
    let (first, end) = (of(&rows, 1)?, of(&rows, 0)?);
    ensure!((&first["code"], &first["jobInfo"]["exitCode"]) == (&json!("NoResult"), &json!(9)), "{first:#}");
    ensure!(
        (&end["phase"], &end["code"], &end["final"]) == (&json!("Cancelled"), &json!("Cancelled"), &json!(true)),
        "{end:#}"
    );
    ensure!(end["jobInfo"].is_null() && end["effect"] == "none", "{end:#}");
    ensure!(
        (&first["workflow"], &first["stepIndex"], &first["cluster"]) == (&json!("w"), &json!(4), &json!("west")),
        "{first:#}"
    );
    Ok(())
}

async fn succeeded(e: &E, store: &Store) -> Result<()> {
    let up = e.execute("up", scale_with(3, json!({ "reason": "see token=abcdefghijkl" }))).await?;
    let ended = e.ended("up").await?;
    ensure!(e.replicas().await? == 3, "it was not scaled");
    let rows = store.rows(&uid(&up)?).await?;
    let event = of(&rows, 1)?;
    ensure!(rows.len() == 1 && event["final"] == true && event["result"]["success"] == true, "{rows:#?}");
    ensure!((&event["effect"], &event["parameters"]["replicas"]) == (&json!("applied"), &json!(3)), "{event:#}");
    let trace =
        ended["metadata"]["annotations"]["kubernetesexecution.kubernaut.io/traceparent"].as_str().unwrap_or_default();
    ensure!(event["traceId"].as_str().is_some_and(|id| trace.contains(id)), "{event:#}");
    ensure!(event["result"]["duration"].as_i64().is_some_and(|nanos| nanos > 0), "{event:#}");
    ensure!(event["reason"] == "see token=[REDACTED]", "a secret: {event:#}");
    ensure!(event["requestedBy"].is_null(), "nobody stamps who asked: {event:#}");
    Ok(())
}

/// `--audit=none`: each event is a line of the log, whatever its level.
async fn the_log_instead(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = e.controller_with(&e.kubeconfig, &["--log-level", "error"])?;
    e.execute("up", scale_with(3, json!({ "reason": "play: first exit 9" }))).await?;
    let up = e.ended("up").await?;
    let log = controller.log()?;
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let events: Vec<Value> = lines
        .filter(|line| line["fields"]["message"] == "audit")
        .map(|line| serde_json::from_str(line["fields"]["event"].as_str().unwrap_or_default()).unwrap_or_default())
        .collect();
    let ids: Vec<_> = events.iter().map(|event| event["id"].clone()).collect();
    let uid = uid(&up)?;
    ensure!(ids == [format!("{uid}/1"), format!("{uid}/2")], "{ids:?}");
    ensure!(events[1]["phase"] == "Completed" && events[1]["effect"] == "applied", "{events:#?}");
    controller.kill().await
}

/// Phases do not wait for the store; the finalizer does.
async fn the_store_is_away(e: E) -> Result<()> {
    let mut store = Store::start(&e).await?;
    store.down().await?;
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = controller(&e, &store.flags())?;
    let mut uids = Vec::new();
    for number in 2..6 {
        let name = format!("up-{number}");
        uids.push(uid(&e.execute(&name, scale(number)).await?)?);
        e.phase(&name, "Completed").await?;
    }
    controller.measures("kubernetesexecution_audit_deliveries_total", "answer=\"later\"").await?;
    for number in 2..6 {
        let one = e.world.get(&e.execution(&format!("up-{number}"))).await?;
        ensure!(one["metadata"]["finalizers"].as_array().is_some_and(|all| all.len() == 1), "it was let go: {one:#}");
        ensure!(one["status"]["settled"] != true, "it is settled: {one:#}");
    }
    store.up().await?;
    for (number, uid) in (2..6).zip(&uids) {
        e.ended_within(&format!("up-{number}"), Duration::from_mins(2)).await?;
        ensure!(store.rows(uid).await?.len() == 1, "up-{number}: {:?}", store.rows(uid).await?);
    }
    ensure!(spool(&e).await?.is_empty(), "{:?}", spool(&e).await?);
    controller.stop().await
}

/// Who is deleted waits for a while, and then goes; its event is in the spool, and from there in the store.
async fn deleted_while_it_is_away(e: E) -> Result<()> {
    let mut store = Store::start(&e).await?;
    store.down().await?;
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = controller(&e, &with(store.flags(), &["--audit-patience=3s"]))?;
    let uid = uid(&e.execute("up", scale(3)).await?)?;
    e.phase("up", "Completed").await?;
    e.world.delete(&e.execution("up")).await?;
    e.world.gone(&e.execution("up")).await?;
    let kept = spool(&e).await?;
    ensure!(kept.into_iter().collect::<Vec<_>>() == [(format!("{uid}/1"), false)], "it is not in the spool");
    store.up().await?;
    until(|| spool(&e), std::collections::BTreeMap::is_empty, "the spool is not delivered").await?;
    let rows = store.rows(&uid).await?;
    ensure!(rows.len() == 1 && of(&rows, 1)?["result"]["success"] == true, "{rows:#?}");
    controller.stop().await
}

/// A full spool: rather a deletion that waits than an event that is lost.
async fn a_full_spool_holds(e: E) -> Result<()> {
    let mut store = Store::start(&e).await?;
    store.down().await?;
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = controller(&e, &with(store.flags(), &["--audit-patience=1s", "--audit-spool=1"]))?;
    let first = uid(&e.execute("first", scale(2)).await?)?;
    e.phase("first", "Completed").await?;
    e.world.delete(&e.execution("first")).await?;
    e.world.gone(&e.execution("first")).await?;
    let second = uid(&e.execute("second", scale(3)).await?)?;
    e.phase("second", "Completed").await?;
    e.world.delete(&e.execution("second")).await?;
    // Longer than its patience, by the controller's own tries: the lane waits longer after each of them.
    let tries = |log: &str| log.matches(&format!("{second}/1")).count();
    let limit = Instant::now() + Duration::from_mins(4);
    while tries(&controller.log()?) < 3 {
        ensure!(Instant::now() < limit, "it is not tried again: {}", controller.log()?);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let held = e.world.get(&e.execution("second")).await?;
    ensure!(held["metadata"]["finalizers"].as_array().is_some_and(|all| all.len() == 1), "{held:#}");
    ensure!(spool(&e).await?.len() == 1, "{:?}", spool(&e).await?);
    store.up().await?;
    e.world.gone(&e.execution("second")).await?;
    for one in [&first, &second] {
        until(|| store.rows(one), |rows| rows.len() == 1, "a row").await?;
    }
    controller.stop().await
}

/// An event that the store refuses for its content. A person finds it in the spool, with the store's own words; the execution is done
/// with. It is not refused for what whoever asks may write: a character that PostgreSQL does not keep.
async fn refused_for_good(e: E) -> Result<()> {
    let store = Store::start(&e).await?;
    store.refuses("up").await?;
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = controller(&e, &with(store.flags(), &["--audit-patience=3s"]))?;
    let spec = scale_with(
        2,
        json!({ "reason": "a\u{0}b", "action": { "type": "scale-node", "target": { "resourceName": "n" } } }),
    );
    let uid = uid(&e.execute("up", spec).await?)?;
    e.ended_within("up", Duration::from_mins(1)).await?;
    let kept = spool(&e).await?;
    ensure!(kept.into_iter().collect::<Vec<_>>() == [(format!("{uid}/0"), true)], "it is not in the spool as refused");
    let path = format!("{}/audit-{uid}-0-refused", e.world.path("v1", "configmaps"));
    let one = e.world.get(&path).await?;
    let why =
        one["metadata"]["annotations"]["kubernetesexecution.kubernaut.io/refused-because"].as_str().unwrap_or_default();
    ensure!(why.contains("422") && why.contains("not this one"), "{one:#}");
    ensure!(store.rows(&uid).await?.is_empty(), "it was kept");
    controller.measures("kubernetesexecution_audit_spool", "state=\"refused\"} 1").await?;
    // Others are not held up by it.
    let next = self::uid(&e.execute("next", scale(3)).await?)?;
    e.ended("next").await?;
    ensure!(store.rows(&next).await?.len() == 1, "it is not kept");
    controller.stop().await?;
    put_back(&e, &store, &uid, &path).await
}

/// A person puts it back, as the runbook says: it is sent again, refused again, and still there; twice, and whatever its name is.
async fn put_back(e: &E, store: &Store, uid: &str, path: &str) -> Result<()> {
    let again = format!("{path}-again");
    for (from, to) in [(path, again.as_str()), (again.as_str(), path)] {
        let label = json!({ "metadata": { "labels": { "kubernetesexecution.kubernaut.io/spool": "waiting" } } });
        e.world.merge(from, &label).await?;
        let controller = controller(e, &with(store.flags(), &["--audit-patience=2s"]))?;
        e.world.gone(from).await?;
        let kept = e.world.get(to).await?;
        ensure!(kept["metadata"]["labels"]["kubernetesexecution.kubernaut.io/spool"] == "refused", "{kept:#}");
        ensure!(spool(e).await?.into_iter().collect::<Vec<_>>() == [(format!("{uid}/0"), true)], "it is lost");
        controller.stop().await?;
    }
    store.refuses("").await?;
    let label = json!({ "metadata": { "labels": { "kubernetesexecution.kubernaut.io/spool": "waiting" } } });
    e.world.merge(path, &label).await?;
    let controller = controller(e, &store.flags())?;
    e.world.gone(path).await?;
    let rows = store.rows(uid).await?;
    ensure!(rows.len() == 1 && rows[&0]["reason"] == "a\u{fffd}b", "{rows:#?}");
    controller.stop().await
}

/// 500 for everything, then 429 that asks for time, a page of a gateway, also one that says 200: only the last one is an
/// acknowledgement.
async fn answers_that_are_none(e: E) -> Result<()> {
    let store = Store::start(&e).await?;
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let canned = |status, retry_after, html| Fault::Answer(Canned { status, retry_after, cause: None, html });
    let faults = [
        canned(500, None, false),
        canned(429, Some(2), false),
        canned(502, None, true),
        canned(200, None, true),
        canned(200, None, false),
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        let lies = number == 4;
        let folder = e.world.folder().join(format!("proxy-{number}"));
        std::fs::create_dir_all(&folder)?;
        let rule = Rule { fault, method: "POST", contains: "/audit/", lacks: "", times: 2 };
        let proxy = Proxy::start(&store.address(), &store.authority(), &folder, rule)?;
        let controller = controller(&e, &store.flags_at(&proxy.server, &proxy.authority))?;
        let name = format!("up-{number}");
        let uid = uid(&e.execute(&name, scale(i64::try_from(number)? + 2)).await?)?;
        e.ended_within(&name, Duration::from_mins(1)).await?;
        // Who says 200 is believed: that is what an acknowledgement is.
        let expected = usize::from(!lies);
        ensure!(
            store.rows(&uid).await?.len() == expected && proxy.hits() >= 1,
            "{name}: {:?}",
            store.rows(&uid).await?
        );
        controller.stop().await?;
    }
    Ok(())
}

/// A store whose certificate nobody vouches for gets nothing, not even the token.
async fn the_wrong_authority(e: E) -> Result<()> {
    let store = Store::start(&e).await?;
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    let file = e.world.folder().join("other.crt");
    std::fs::write(&file, other.cert.pem())?;
    let first = controller(&e, &store.flags_at(&store.address(), &file))?;
    let uid = uid(&e.execute("up", scale(3)).await?)?;
    e.phase("up", "Completed").await?;
    first.measures("kubernetesexecution_audit_deliveries_total", "answer=\"later\"").await?;
    ensure!(first.log()?.contains("certificate"), "the log does not say why: {}", first.log()?);
    ensure!(store.rows(&uid).await?.is_empty(), "it was delivered");
    first.stop().await?;
    let second = controller(&e, &store.flags())?;
    e.ended("up").await?;
    ensure!(store.rows(&uid).await?.len() == 1, "{:?}", store.rows(&uid).await?);
    second.stop().await
}

/// A token is read again for each event: renewed in its file, nothing has to be restarted.
async fn the_token_has_expired(e: E) -> Result<()> {
    let store = Store::start(&e).await?;
    store.set_token("token", "an-old-one")?;
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = controller(&e, &store.flags())?;
    let uid = uid(&e.execute("up", scale(3)).await?)?;
    e.phase("up", "Completed").await?;
    controller.measures("kubernetesexecution_audit_deliveries_total", "answer=\"later\"").await?;
    ensure!(controller.log()?.contains("401"), "the log does not say why: {}", controller.log()?);
    ensure!(!controller.log()?.contains("an-old-one"), "the log holds the token");
    store.set_token("token", Store::token())?;
    e.ended("up").await?;
    ensure!(store.rows(&uid).await?.len() == 1, "{:?}", store.rows(&uid).await?);
    controller.stop().await
}

/// PostgreSQL is killed under the receiver, and comes back.
async fn postgresql_is_killed(e: E) -> Result<()> {
    let mut server = Postgres::start_own()?;
    let store = Store::with(&e, server.url()).await?;
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = controller(&e, &store.flags())?;
    let before = uid(&e.execute("before", scale(2)).await?)?;
    e.ended("before").await?;
    server.kill()?;
    let meanwhile = uid(&e.execute("meanwhile", scale(3)).await?)?;
    e.phase("meanwhile", "Completed").await?;
    controller.measures("kubernetesexecution_audit_deliveries_total", "answer=\"later\"").await?;
    server.restart()?;
    e.ended_within("meanwhile", Duration::from_mins(2)).await?;
    for one in [&before, &meanwhile] {
        ensure!(store.rows(one).await?.len() == 1, "{:?}", store.rows(one).await?);
    }
    controller.stop().await
}

/// A namespace goes while the store is away: within 90 s, and with all of its events.
async fn the_namespace_goes(e: E) -> Result<()> {
    let mut store = Store::start(&e).await?;
    // The controller and its spool live elsewhere.
    let home = E::new(&e.world.connection, "home").await?;
    let outcome = the_namespace_goes_from(&e, &home, &mut store).await;
    home.end(outcome).await
}

async fn the_namespace_goes_from(e: &E, home: &E, store: &mut Store) -> Result<()> {
    home.bind_everywhere().await?;
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let namespaces = format!("--namespaces={}", e.world.namespace);
    let controller = controller(home, &with(store.flags(), &[&namespaces]))?;
    store.down().await?;
    let mut uids = Vec::new();
    for number in 2..5 {
        let name = format!("up-{number}");
        uids.push(uid(&e.execute(&name, scale(number)).await?)?);
        e.phase(&name, "Completed").await?;
    }
    e.world.delete(&format!("/api/v1/namespaces/{}", e.world.namespace)).await?;
    let going = |list: &Value| {
        let all = list["items"].as_array().into_iter().flatten();
        all.into_iter().all(|one| one["metadata"]["deletionTimestamp"].is_string())
    };
    e.world.until(&e.executions(), "being deleted", going).await?;
    let began = Instant::now();
    while !e.world.get(&e.executions()).await?["items"].as_array().is_some_and(Vec::is_empty) {
        ensure!(began.elapsed() < Duration::from_secs(90), "its executions are still there");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    ensure!(spool(home).await?.len() == uids.len(), "{:?}", spool(home).await?);
    store.up().await?;
    until(|| spool(home), std::collections::BTreeMap::is_empty, "the spool is not delivered").await?;
    for one in &uids {
        ensure!(store.rows(one).await?.len() == 1, "{:?}", store.rows(one).await?);
    }
    controller.stop().await
}

/// An answer that takes longer than the controller waits: the event is sent again, and kept once.
async fn a_slow_store(e: E) -> Result<()> {
    let store = Store::start(&e).await?;
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let rule = Rule { fault: Fault::Stall, method: "POST", contains: "/audit/", lacks: "", times: 1 };
    let folder = e.world.folder().join("proxy");
    std::fs::create_dir_all(&folder)?;
    let proxy = Proxy::start(&store.address(), &store.authority(), &folder, rule)?;
    let controller = controller(&e, &store.flags_at(&proxy.server, &proxy.authority))?;
    let slow = uid(&e.execute("slow", scale(2)).await?)?;
    e.phase("slow", "Completed").await?;
    proxy.stalled().await;
    // Nobody is held up by it.
    let quick = uid(&e.execute("quick", scale(3)).await?)?;
    e.ended("quick").await?;
    e.ended_within("slow", Duration::from_mins(1)).await?;
    for one in [&slow, &quick] {
        ensure!(store.rows(one).await?.len() == 1, "{:?}", store.rows(one).await?);
    }
    controller.stop().await
}

/// Each verb on the spool, taken away by itself: the log and a metric name it, the execution is held, and nothing is lost.
async fn the_spool_needs_its_permissions(e: E) -> Result<()> {
    let mut store = Store::start(&e).await?;
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    for (number, verb) in ["create", "list", "delete"].into_iter().enumerate() {
        store.down().await?;
        crate::permissions::take_away(&e, "", "configmaps", verb).await?;
        let controller = controller(&e, &with(store.flags(), &["--audit-patience=1s"]))?;
        let name = format!("up-{number}");
        let uid = uid(&e.execute(&name, scale(i64::try_from(number)? + 2)).await?)?;
        e.phase(&name, "Completed").await?;
        e.world.delete(&e.execution(&name)).await?;
        if verb != "create" {
            e.world.gone(&e.execution(&name)).await?;
            store.up().await?;
        }
        let metric = format!("resource=\"configmaps\",verb=\"{verb}\"");
        controller.measures("kubernetesexecution_forbidden_total", &metric).await?;
        ensure!(
            controller.log()?.contains(&format!("cannot {verb} resource \\\"configmaps\\\"")),
            "{}",
            controller.log()?
        );
        crate::permissions::give_back(&e).await?;
        if verb == "create" {
            e.world.gone(&e.execution(&name)).await?;
            store.up().await?;
        }
        until(|| spool(&e), std::collections::BTreeMap::is_empty, "the spool is not delivered").await?;
        ensure!(store.rows(&uid).await?.len() == 1, "{verb}: {:?}", store.rows(&uid).await?);
        controller.stop().await?;
    }
    Ok(())
}

/// Where the API server stamps who created an execution, its events say so, whatever the creator claims; and only a controller
/// that was told of the stamp believes it.
async fn who_asked(e: E) -> Result<()> {
    if !policies::all(&e).await?.contains(&Component::CreatedBy) {
        test_cluster::assets::tell("SKIPPED: the stamp needs Kubernetes 1.36");
        return Ok(());
    }
    policies::install(&e, &[Component::CreatedBy], &[]).await?;
    let store = Store::start(&e).await?;
    let alice = Person::new(&e, &format!("alice-{}", e.world.namespace));
    alice.may_everything_but_use(&e.world.namespace).await?;
    for (name, flags, told) in
        [("trusted", &["--trust-created-by"][..], json!(alice.user)), ("not-told", &[][..], Value::Null)]
    {
        let controller = controller(&e, &with(store.flags(), flags))?;
        let spec = json!({ "action": { "type": "scale-node", "target": { "resourceName": "n" } } });
        let mut odd = policies::execution(name, spec);
        odd["metadata"]["annotations"] = json!({ controller::api::CREATED_BY: "bob" });
        let made = alice.send("POST", &e.executions(), &odd).await?.map_err(|why| anyhow::anyhow!("{why}"))?;
        e.ended(name).await?;
        let rows = store.rows(&uid(&made)?).await?;
        ensure!(of(&rows, 0)?["requestedBy"] == told, "{name}: {rows:#?}");
        controller.stop().await?;
    }
    policies::remove(&e, &[Component::CreatedBy]).await
}
