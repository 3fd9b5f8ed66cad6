//! How attempts end on a real node: what a kubelet says of a container that was killed, evicted or garbled, a log that was
//! rotated away, a quota, and a TTL that the cluster adds. What the status says is held to what the cluster says.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::audit::AuditLog;
use test_cluster::executor::mutating_policy;
use test_cluster::node::WORKLOAD;

use crate::executor::{accounts, ended, execute, execution, scale, with_executor};
use crate::support::{N, scenarios};

scenarios!("endings": all_kinds_of_ends);

/// An image that plays an action: the workload's, with an entry point of its own.
const PLAYED: &str = "localhost/played:1";

async fn all_kinds_of_ends(n: N) -> Result<()> {
    let folder = n.world.folder().join("played");
    fs::create_dir_all(&folder)?;
    let text = format!("FROM {WORKLOAD}\nUSER 65532\nENTRYPOINT [\"/workload\", \"play\"]\n");
    fs::write(folder.join("Containerfile"), text)?;
    n.node.build(&folder, PLAYED)?;
    let settings = json!({
        "images": { "restart": PLAYED, "rollback": PLAYED }, "notRepeatable": ["rollback"],
        "resources": { "requests": { "cpu": "10m", "memory": "16Mi" }, "limits": { "memory": "32Mi" } },
    });
    // Large, as all that is awaited at once in it.
    Box::pin(with_executor(&n, &settings, &["--start-deadline=60s"], json!({}), used)).await
}

async fn used(n: &N) -> Result<()> {
    // All of them, also when one fails: each takes its time.
    let parts = tokio::join!(
        apart(n, "ends-by-itself", by_itself),
        apart(n, "ends-rotated", rotated),
        apart(n, "ends-evicted", evicted),
        apart(n, "ends-ttl", a_ttl),
        apart(n, "ends-no-job", no_job),
        apart(n, "ends-no-pod", no_pod),
    );
    let outcomes = [parts.0, parts.1, parts.2, parts.3, parts.4, parts.5];
    let failed: Vec<_> = outcomes.into_iter().filter_map(|one| one.err().map(|error| format!("{error:#}"))).collect();
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

/// A part in a namespace of its own.
async fn apart(n: &N, name: &'static str, part: impl AsyncFnOnce(&N) -> Result<()>) -> Result<()> {
    let own = N::new(&n.world.connection, name).await?;
    accounts(&own, &["scale-deployment", "restart-deployment", "rollback-deployment"]).await?;
    let outcome = part(&own).await.context(name);
    own.end(outcome).await
}

/// Executes what the image plays: of what is repeatable (`restart`), or is not (`rollback`).
async fn play(n: &N, verb: &str, name: &str, how: &str, retries: u32) -> Result<()> {
    let action = json!({ "type": format!("{verb}-deployment"), "target": { "resourceName": name } });
    execute(n, name, json!({ "action": action, "reason": format!("play: {how}"), "maxRetries": retries })).await
}

/// How the container of the first pod ended, in the kubelet's words.
fn terminated(pod: &Value) -> Value {
    pod["status"]["containerStatuses"][0]["state"]["terminated"].clone()
}

fn says(status: &Value, words: &[&str]) -> Result<()> {
    let message = status["message"].as_str().unwrap_or_default();
    ensure!(words.iter().all(|word| message.contains(word)), "expected {words:?}: {status:#}");
    Ok(())
}

/// The names of the Jobs that the controller has created in the namespace, one for each time.
async fn created(n: &N, audit: &AuditLog) -> Result<Vec<String>> {
    let seen = audit.requests(n.world.client(), "execution-controller/").await?;
    let ours = seen.into_iter().filter(|one| {
        one.namespace == n.world.namespace && one.resource == "jobs" && one.verb == "create" && one.code == 201
    });
    let mut names: Vec<_> = ours.map(|one| one.name).collect();
    names.sort();
    Ok(names)
}

fn audit(n: &N) -> Result<AuditLog> {
    AuditLog::from_now(n.world.connection.audit_log.as_deref().context("no audit log")?)
}

async fn replicas(n: &N, name: &str) -> Result<Value> {
    Ok(n.world.get(&n.world.workload_path("Deployment", name)).await?["spec"]["replicas"].clone())
}

/// Garbage with every kind of exit code, and memory.
async fn by_itself(n: &N) -> Result<()> {
    // 2 too: the image is not the release's.
    let codes = [0, 1, 2, 3, 9, 130];
    for code in codes {
        play(n, "restart", &format!("exit-{code}"), &format!("exit {code}"), 0).await?;
    }
    play(n, "restart", "oom", "oom", 0).await?;
    play(n, "restart", "oom-said", "oom said", 0).await?;
    play(n, "restart", "log", "log", 0).await?;
    for code in codes {
        let name = format!("exit-{code}");
        let status = ended(n, &name, "Failed", "NoResult", "unknown").await?;
        let told = terminated(&n.world.get(&n.pod_of(&format!("{name}-job")).await?).await?);
        ensure!(told["exitCode"] == code && told["message"] == "garbage {", "{told:#}");
        ensure!(status["attempts"][0]["exitCode"] == code && status["result"]["success"] == false, "{status:#}");
    }
    for (name, code, effect) in [("oom", "NoResult", "unknown"), ("oom-said", "Changed", "applied")] {
        let status = ended(n, name, "Failed", code, effect).await?;
        let told = terminated(&n.world.get(&n.pod_of(&format!("{name}-job")).await?).await?);
        // containerd says that memory ran out apart from that the container ended: a kubelet that looks in between says `Error`.
        let reason = told["reason"].as_str().context("no reason")?;
        ensure!(told["exitCode"] == 137 && ["OOMKilled", "Error"].contains(&reason), "{told:#}");
        says(&status, &[reason, "137"]).or_else(|error| if name == "oom" { Err(error) } else { Ok(()) })?;
        ensure!(status["attempts"][0]["exitCode"] == 137 && status["result"]["success"] == false, "{status:#}");
        let error = status["attempts"][0]["error"].as_str().unwrap_or_default();
        ensure!(error.contains(reason), "{status:#}");
    }
    // That no result was found above is not for want of looking into the log.
    let status = ended(n, "log", "Completed", "Changed", "applied").await?;
    ensure!(status["rollbackInformation"]["available"] == true, "{status:#}");
    Ok(())
}

/// The message does not do, and the log that would is rotated away: with its container still there, it is served empty.
async fn rotated(n: &N) -> Result<()> {
    for how in ["garbled", "trimmed"] {
        play(n, "restart", how, &format!("rotated {how}"), 0).await?;
    }
    let garbled = ended(n, "garbled", "Failed", "NoResult", "unknown").await?;
    ensure!(garbled["attempts"][0]["exitCode"] == 0 && garbled["result"]["success"] == false, "{garbled:#}");
    let trimmed = ended(n, "trimmed", "Completed", "Changed", "applied").await?;
    for how in ["garbled", "trimmed"] {
        let pod = n.pod_of(&format!("{how}-job")).await?;
        let log = n.world.text(&format!("{pod}/log")).await?;
        ensure!(!log.contains("ActionResult"), "{how} was not rotated in time: it proves nothing");
        let before = n.world.get(&pod).await?;
        ensure!(terminated(&before)["exitCode"] == 0, "{before:#}");
    }
    let way = &trimmed["rollbackInformation"];
    ensure!(way["available"] == false && way["failureReason"].is_string(), "{trimmed:#}");
    Ok(())
}

/// Containers that write more than they may keep: the kubelet evicts their pods. That is no disruption in the Job's eyes (there
/// is no condition `DisruptionTarget`), and a container that ends with 0 when it is told to is not even said to be evicted.
async fn evicted(n: &N) -> Result<()> {
    let limit = json!({
        "apiVersion": "v1", "kind": "LimitRange", "metadata": { "name": "small" },
        "spec": { "limits": [{ "type": "Container", "default": { "ephemeral-storage": "5Mi" } }] },
    });
    let limits = n.world.path("v1", "limitranges");
    n.world.create(&limits, &limit).await?;
    let audit = audit(n)?;
    play(n, "rollback", "stays", "flood", 3).await?;
    play(n, "rollback", "silent", "flood 0", 3).await?;
    play(n, "rollback", "said", "flood said", 3).await?;
    play(n, "restart", "again", "flood then", 1).await?;
    let mut pods = Vec::new();
    for name in ["stays", "silent", "said", "again"] {
        pods.push(n.pod_of(&format!("{name}-job")).await?);
    }
    // The next attempt may write as it likes.
    n.world.delete(&format!("{limits}/small")).await?;
    let last = by_its_node(n, &pods).await?;
    for (name, pod) in ["stays", "silent"].into_iter().zip(&last) {
        let status = ended(n, name, "Failed", "NoResult", "unknown").await?;
        ensure!(status["result"]["success"] == false && status["retryCount"] == 0, "{status:#}");
        let exit = &terminated(pod)["exitCode"];
        ensure!(*exit == 137 || name == "silent" && *exit == 0, "{pod:#}");
        if *exit == 137 {
            says(&status, &["Evicted: Pod ephemeral local storage usage exceeds"])?;
            // A kubelet that has lost the container says that its pod has failed before it says how the container ended.
            let told = &status["attempts"][0]["exitCode"];
            ensure!(told.is_null() || *told == 137 && says(&status, &["137"]).is_ok(), "{status:#}");
        }
    }
    // The kubelet may have removed the container before it had read what it said.
    let told = terminated(&last[2]);
    let heard = told["exitCode"] == 0 && told["message"].as_str().is_some_and(|text| text.contains("ActionResult"));
    let expected = if heard { ("Completed", "Changed", "applied") } else { ("Failed", "NoResult", "unknown") };
    ended(n, "said", expected.0, expected.1, expected.2).await?;
    let status = ended(n, "again", "Completed", "Changed", "applied").await?;
    ensure!(status["attempts"].as_array().is_some_and(|all| all.len() == 2), "{status:#}");
    let first = &status["attempts"][0];
    ensure!(first["code"] == "NoResult" && first["effect"] == "unknown", "{status:#}");
    ensure!(first["error"].as_str().is_some_and(|text| text.contains("Evicted")), "{status:#}");
    let made = created(n, &audit).await?;
    ensure!(made == ["again-job", "again-job-2", "said-job", "silent-job", "stays-job"], "{made:?}");
    Ok(())
}

/// Waits until the node has evicted these pods, and returns them as they were last.
async fn by_its_node(n: &N, pods: &[String]) -> Result<Vec<Value>> {
    let mut last = Vec::new();
    for pod in pods {
        let pod = n.world.until(pod, "to its end", |pod| !terminated(pod).is_null()).await?;
        let told = |list: &Value| {
            list["items"].as_array().into_iter().flatten().any(|one| {
                one["involvedObject"]["uid"] == pod["metadata"]["uid"]
                    && one["reason"] == "Evicted"
                    && one["message"].as_str().is_some_and(|text| text.contains("ephemeral local storage"))
            })
        };
        n.world.until(&n.world.path("v1", "events"), "its eviction", told).await?;
        last.push(pod);
    }
    Ok(last)
}

/// A policy of the cluster lets Jobs go as soon as they have ended: what became of them is seen, and nothing runs twice.
async fn a_ttl(n: &N) -> Result<()> {
    for name in ["web", "other"] {
        n.world.workload("Deployment", name, 1, json!({})).await?;
    }
    mutating_policy(&n.world, r#"JSONPatch{op: "add", path: "/spec/ttlSecondsAfterFinished", value: 0}"#).await?;
    let audit = audit(n)?;
    execute(n, "up", scale("web", 3)).await?;
    execute(n, "none", scale("other", 0)).await?;
    play(n, "rollback", "once", "exit 9", 3).await?;
    ended(n, "up", "Completed", "Changed", "applied").await?;
    ensure!(replicas(n, "web").await? == 3, "it was not scaled");
    ended(n, "none", "Failed", "Refused", "none").await?;
    let status = ended(n, "once", "Failed", "NoResult", "unknown").await?;
    ensure!(status["attempts"][0]["exitCode"] == 9 && status["retryCount"] == 0, "{status:#}");
    for name in ["up", "none", "once"] {
        n.world.gone(&format!("{}/{name}-job", n.world.path("batch/v1", "jobs"))).await?;
    }
    ensure!(created(n, &audit).await? == ["none-job", "once-job", "up-job"], "another Job");
    Ok(())
}

/// A quota, in force.
async fn quota(n: &N, what: &str) -> Result<String> {
    let quotas = n.world.path("v1", "resourcequotas");
    let quota = json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "none" }, "spec": { "hard": { what: "0" } } });
    n.world.create(&quotas, &quota).await?;
    let path = format!("{quotas}/none");
    n.world.until(&path, "in force", |one| one["status"]["hard"][what] == "0").await?;
    Ok(path)
}

/// No Job may be made: it is told, it goes on when that is mended, and not after its time.
async fn no_job(n: &N) -> Result<()> {
    for name in ["web", "later"] {
        n.world.workload("Deployment", name, 1, json!({})).await?;
    }
    let quota = quota(n, "count/jobs.batch").await?;
    let audit = audit(n)?;
    let mut late = scale("web", 3);
    late["startingDeadlineSeconds"] = json!(30);
    execute(n, "late", late).await?;
    execute(n, "mended", scale("later", 3)).await?;
    for name in ["late", "mended"] {
        let refused = |one: &Value| one["status"]["reason"] == "JobRefused";
        let one = n.world.until(&execution(n, name), "JobRefused", refused).await?;
        ensure!(one["status"]["phase"] == "Pending", "{one:#}");
        says(&one["status"], &["exceeded quota", "count/jobs.batch"])?;
    }
    let late = n.world.until(&execution(n, "late"), "settled", |one| one["status"]["settled"] == true).await?;
    let status = &late["status"];
    ensure!(status["phase"] == "Failed" && status["reason"] == "NotStarted", "{status:#}");
    ensure!(status["attempts"].as_array().is_none_or(Vec::is_empty) && status["result"].is_null(), "{status:#}");
    says(status, &["startingDeadlineSeconds", "exceeded quota"])?;
    n.world.delete(&quota).await?;
    ended(n, "mended", "Completed", "Changed", "applied").await?;
    ensure!(replicas(n, "web").await? == 1 && replicas(n, "later").await? == 3, "not 1 and 3");
    ensure!(created(n, &audit).await? == ["mended-job"], "another Job");
    Ok(())
}

/// The Job may be made, and no pod of it.
async fn no_pod(n: &N) -> Result<()> {
    n.world.workload("Deployment", "web", 1, json!({})).await?;
    quota(n, "pods").await?;
    let mut up = scale("web", 3);
    up["maxRetries"] = json!(0);
    execute(n, "up", up).await?;
    let job = n.world.until(&format!("{}/up-job", n.world.path("batch/v1", "jobs")), "there", |_| true).await?;
    let why = |list: &Value| {
        list["items"].as_array().into_iter().flatten().any(|one| {
            one["involvedObject"]["uid"] == job["metadata"]["uid"]
                && one["reason"] == "FailedCreate"
                && one["message"].as_str().is_some_and(|text| text.contains("exceeded quota"))
        })
    };
    n.world.until(&n.world.path("v1", "events"), "the Job controller's reason", why).await?;
    let told = |one: &Value| one["status"]["message"].as_str().is_some_and(|text| text.contains("has no pod yet"));
    n.world.until(&execution(n, "up"), "that there is no pod", told).await?;
    let status = ended(n, "up", "Failed", "NeverStarted", "none").await?;
    says(&status, &["quota", "Events"])?;
    ensure!(replicas(n, "web").await? == 1, "it was scaled");
    Ok(())
}
