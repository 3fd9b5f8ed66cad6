//! Two at once, a server that has no time, a server that dies, and a process that has little.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::Cluster;
use test_cluster::fixtures::node;
use test_cluster::proxy::{Canned, Fault, Rule};
use test_cluster::runner::{Outcome, Running};

use crate::support::{T, expect, mode, scenarios};

scenarios!("hardship":
    an_api_server_that_is_killed, two_with_one_id, two_with_different_ids, an_api_server_that_rejects, a_watch_that_is_too_old,
    stdout_that_is_closed_or_full, a_reader_that_is_slow, few_files_and_little_memory,
);

fn changes(outcomes: &[&Outcome]) -> usize {
    outcomes.iter().flat_map(|outcome| &outcome.seen).filter(|entry| entry.changes_something()).count()
}

/// Jobs run at least once, and perhaps at the same time: one does it, the other finds that it was done.
async fn two_with_one_id(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    let run = t.run("restart-deployment", "web").await?.with("ACTION_ID", "the-same");
    let (one, other) = tokio::try_join!(t.complete(&run), t.complete(&run))?;
    let mut codes = [one.result["code"].clone(), other.result["code"].clone()];
    codes.sort_by_key(ToString::to_string);
    ensure!(codes == [json!("Changed"), json!("Unchanged")], "{:#}\n{:#}", one.result, other.result);
    ensure!(changes(&[&one, &other]) == 1, "{:?} {:?}", one.seen, other.seen);
    Ok(())
}

/// Two that want different things: whoever comes last has it, and the other one says that it has not.
async fn two_with_different_ids(t: T) -> Result<()> {
    let slow = mode("slow");
    t.world.workload("Deployment", "web", 1, slow).await?;
    let run = async |replicas: u32| {
        let run = t.run("scale-deployment", "web").await?.parameters(&json!({ "replicas": replicas }));
        anyhow::Ok(run.with("ACTION_ID", format!("to-{replicas}")))
    };
    let (three, four) = (run(3).await?, run(4).await?);
    let (three, four) = tokio::try_join!(t.complete(&three), t.complete(&four))?;
    let found = t.object("Deployment", "web").await?["spec"]["replicas"].as_u64().context("no replicas")?;
    let (winner, loser) = if found == 3 { (&three, &four) } else { (&four, &three) };
    ensure!(winner.exit == 0, "{:#}", winner.result);
    let told = matches!(loser.result["code"].as_str(), Some("NotVerified" | "Conflict"));
    ensure!(told, "the other one has its number still, it says: {:#}", loser.result);
    Ok(())
}

/// API Priority and Fairness: a level that has room for one request at a time, and others of the same account that take it.
async fn an_api_server_that_rejects(t: T) -> Result<()> {
    const OTHERS: usize = 8;
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    let run = t.run("scale-deployment", "web").await?;
    let (group, name) = ("/apis/flowcontrol.apiserver.k8s.io/v1", t.world.namespace.clone());
    let level = json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration", "metadata": { "name": name },
        "spec": { "type": "Limited", "limited": { "nominalConcurrencyShares": 0, "lendablePercent": 0, "borrowingLimitPercent": 0, "limitResponse": { "type": "Reject" } } },
    });
    let subject = json!({ "kind": "ServiceAccount", "serviceAccount": { "name": "action-scale-deployment", "namespace": t.world.namespace } });
    let rule =
        json!({ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"], "namespaces": ["*"], "clusterScope": true });
    let schema = json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": { "name": name },
        "spec": { "matchingPrecedence": 2, "priorityLevelConfiguration": { "name": name }, "rules": [{ "subjects": [subject], "resourceRules": [rule] }] },
    });
    t.world.create(&format!("{group}/prioritylevelconfigurations"), &level).await?;
    t.world.create(&format!("{group}/flowschemas"), &schema).await?;
    let mut others = tokio::task::JoinSet::new();
    for _ in 0..OTHERS {
        let client = test_cluster::client(&t.account("scale-deployment").await?).await?;
        let path = t.world.path("v1", "pods");
        others.spawn(async move {
            while let Ok(request) = http::Request::get(&path).body(Vec::new()) {
                // What it gets does not matter, only that it takes the place.
                let _any = client.request::<Value>(request).await;
            }
        });
    }
    // The API server learns of it a moment later: until the first request of a run is rejected; then the others stop.
    let limit = std::time::Instant::now() + Duration::from_secs(30);
    let mut replicas = 2;
    let outcome = loop {
        let running = run.clone().parameters(&json!({ "replicas": replicas })).start(&t.world)?;
        let enough = |_: &Running| {
            others.abort_all();
            Ok(())
        };
        let outcome = running.when("the API server answered 429", enough, &t.world).await?;
        if outcome.result["requests"]["retries"].as_u64() > Some(0) || std::time::Instant::now() > limit {
            break outcome;
        }
        replicas = if replicas == 2 { 3 } else { 2 };
    };
    others.abort_all();
    t.world.delete(&format!("{group}/flowschemas/{name}")).await?;
    t.world.delete(&format!("{group}/prioritylevelconfigurations/{name}")).await?;
    expect(&outcome, "Changed", "applied", "replicas ready")?;
    ensure!(outcome.result["requests"]["retries"].as_u64() > Some(0), "nothing was rejected: {:#}", outcome.result);
    ensure!(outcome.seen.iter().any(|entry| entry.code == 429), "{:?}", outcome.seen);
    Ok(())
}

/// After an API server has started anew, its history does not reach back: who followed one object reads it again, with no more
/// permissions than before.
async fn a_watch_that_is_too_old(t: T) -> Result<()> {
    let slow = mode("slow");
    t.world.workload("Deployment", "web", 1, slow).await?;
    for (replicas, fault) in [(2, Fault::WatchError(410)), (3, Fault::Answer(Canned::status(410)))] {
        let rule = Rule { times: 2, ..lost("GET", "fieldSelector=metadata.name%3Dweb", "", fault) };
        let (proxy, kubeconfig) = t.through_proxy("scale-deployment", rule).await?;
        let run = t.run("scale-deployment", "web").await?.with("KUBECONFIG", kubeconfig.display());
        let outcome = t.complete(&run.parameters(&json!({ "replicas": replicas })).unjudged()).await?;
        expect(&outcome, "Changed", "applied", &format!("{replicas} of {replicas} replicas ready"))?;
        ensure!(proxy.hits() == 2, "the fault did not hit");
    }
    Ok(())
}

/// Where each phase before the wait meets the end of the API server: a request that never arrives there, or an answer that
/// never comes; whatever is sent next finds nobody.
const PHASES: [(&str, Rule); 6] = [
    ("permissions", lost("POST", "selfsubjectrulesreviews", "", Fault::Drop)),
    ("find", lost("GET", "/deployments/web", "watch", Fault::Drop)),
    ("preconditions", lost("GET", "/pods?", "watch", Fault::Drop)),
    ("dry-run", lost("PATCH", "dryRun", "", Fault::Drop)),
    ("execute, before it arrives", lost("PATCH", "/scale", "dryRun", Fault::Drop)),
    ("execute, after it arrived", lost("PATCH", "/scale", "dryRun", Fault::LoseAnswer)),
];

const fn lost(method: &'static str, contains: &'static str, lacks: &'static str, fault: Fault) -> Rule {
    Rule { fault, method, contains, lacks, times: 1 }
}

/// SIGKILL to the API server in a cluster of its own, which stays away for 10 s, in each phase: every run goes on, and does it
/// once. Then to the controllers, which do not come back.
async fn an_api_server_that_is_killed(t: T) -> Result<()> {
    let Some(cluster) = t.own_cluster("hardship::an_api_server_that_is_killed")? else { return Ok(()) };
    let own = T::new(&cluster.connection, "killed").await?;
    node(&own.world, "node", json!([])).await?;
    let slow = mode("slow");
    own.world.workload("Deployment", "web", 1, slow).await?;
    let conditions = json!([{ "type": "no_crashloop_pods" }]);
    own.allow("scale-deployment", &conditions).await?;
    in_the_wait(&cluster, &own).await.context("in the wait")?;
    let mut replicas = 2;
    for (phase, rule) in PHASES {
        replicas += 1;
        let (proxy, kubeconfig) = own.through_proxy("scale-deployment", rule).await?;
        // After more than one outage the controllers take minutes to come back: these runs do not wait for them.
        let run = own.run("scale-deployment", "web").await?.with("KUBECONFIG", kubeconfig.display()).unjudged();
        let run = run.parameters(&json!({ "replicas": replicas, "wait": false }));
        let run = run.with("ACTION_PRECONDITIONS", &conditions).with("ACTION_TIMEOUT", "120s");
        let mut running = run.start(&own.world)?;
        while proxy.hits() == 0 && !running.has_ended()? {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        cluster.kill("kube-apiserver")?;
        once(&own, &running.complete(&own.world).await?, replicas).await.context(phase)?;
    }
    // Nobody acts on the change any more: that is told, in time.
    cluster.kill("kube-controller-manager")?;
    let run = own.run("scale-deployment", "web").await?.parameters(&json!({ "replicas": 4, "waitTimeout": "3s" }));
    expect(
        &run.complete(&own.world).await?,
        "NotVerified",
        "applied",
        "waiting for the controller to observe generation",
    )
}

/// It was changed, by one write, though the API server was away for a part of the run.
async fn once(own: &T, outcome: &Outcome, replicas: u32) -> Result<()> {
    expect(outcome, "Changed", "applied", "")?;
    ensure!(outcome.result["requests"]["retries"].as_u64() > Some(2), "it met no outage: {:#}", outcome.result);
    ensure!(outcome.result["changes"].as_array().is_some_and(|all| all.len() == 1), "{:#}", outcome.result);
    let web = own.object("Deployment", "web").await?;
    ensure!(web["metadata"]["generation"] == replicas && web["spec"]["replicas"] == replicas, "{web:#}");
    Ok(())
}

async fn in_the_wait(cluster: &Cluster, own: &T) -> Result<()> {
    let run = own.run("scale-deployment", "web").await?.with("ACTION_TIMEOUT", "240s").unjudged();
    let running = run.parameters(&json!({ "replicas": 2 })).start(&own.world)?;
    let path = own.world.workload_path("Deployment", "web");
    own.world.until(&path, "scaled", |web| web["spec"]["replicas"] == 2).await?;
    cluster.kill("kube-apiserver")?;
    let outcome = running.complete(&own.world).await?;
    ensure!(
        outcome.result["output"].as_str().is_some_and(|text| text.contains("2 of 2 replicas ready")),
        "{:#}\n{}",
        outcome.result,
        outcome.stderr
    );
    once(own, &outcome, 2).await
}

/// What becomes of the run does not depend on whether anybody reads it.
async fn stdout_that_is_closed_or_full(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    for (replicas, stdout) in [(2, ">&-"), (3, ">/dev/full")] {
        let run = t.run("scale-deployment", "web").await?.parameters(&json!({ "replicas": replicas }));
        let output = run.by_shell(&format!("exec \"$RUNNER\" {stdout}"), &t.world).await?;
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(0), "{stdout}: {:?} {log}", output.status);
        ensure!(stdout == ">&-" || log.contains("failed to write the result to stdout"), "{log}");
        ensure!(t.object("Deployment", "web").await?["spec"]["replicas"] == replicas);
    }
    Ok(())
}

/// A reader that begins late gets everything.
async fn a_reader_that_is_slow(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    let run = t.run("scale-deployment", "web").await?.parameters(&json!({ "replicas": 2 }));
    let script = "exec \"$RUNNER\" | (sleep 2; while read -r -n 1 c; do printf %s \"$c\"; done)";
    let output = run.by_shell(script, &t.world).await?;
    let text = String::from_utf8(output.stdout)?;
    let result: Value = serde_json::from_str(text.lines().last().unwrap_or_default())?;
    ensure!(result["code"] == "Changed", "{result:#}");
    Ok(())
}

/// 16 open files are enough, and 24 MiB of address space for the released binary (a debug build takes 50 by itself).
async fn few_files_and_little_memory(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    let released = test_cluster::assets::variable("ACTION_RUNNER").is_some();
    for (replicas, limit) in [(2, "-n 16"), (3, if released { "-v 24576" } else { "-v 131072" })] {
        let run = t.run("scale-deployment", "web").await?.parameters(&json!({ "replicas": replicas }));
        let output = run.by_shell(&format!("ulimit {limit}; exec \"$RUNNER\""), &t.world).await?;
        let text = String::from_utf8(output.stdout)?;
        let result: Value = serde_json::from_str(text.lines().last().unwrap_or_default())?;
        ensure!(result["code"] == "Changed", "ulimit {limit}: {result:#}");
    }
    Ok(())
}
