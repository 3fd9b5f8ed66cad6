//! collect-logs, against a real API server; kwok is the kubelet and serves files as logs.

use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::fixtures::World;
use test_cluster::runner::Outcome;

use crate::support::{T, expect, mode, scenarios};

scenarios!("collect-logs": everything);

/// The logs are files that all scenarios would share: so this one does everything, one after the other.
async fn everything(t: T) -> Result<()> {
    let lines: Vec<String> = (0..50).map(|number| format!("line {number}")).collect();
    write(&t.world, "app.log", &lines)?;
    write(&t.world, "app.previous.log", &["before the restart".to_owned(), "login with password=hunter22".to_owned()])?;
    write(&t.world, "setup.log", &["set up".to_owned()])?;
    every_kind(&t).await?;
    only_its_own(&t).await?;
    selected_by_others(&t).await?;
    a_pod_without_a_node(&t).await?;
    labels_that_are_none(&t).await?;
    a_pod_on_its_way_out(&t).await?;
    both_instances_and_redaction(&t).await?;
    the_last_one_in_back_off(&t).await?;
    selection_and_regex(&t).await?;
    limits(&t).await?;
    directory(&t).await?;
    one_that_cannot_be_read(&t).await?;
    strange_bytes(&t).await?;
    guards(&t).await
}

/// Writes a log as a container runtime does.
fn write(world: &World, file: &str, lines: &[String]) -> Result<()> {
    let folder = world.connection.logs.as_ref().context("logs are only served by our own cluster")?;
    let lines: Vec<String> =
        lines.iter().map(|line| format!("2026-11-23T10:00:00.000000001Z stdout F {line}")).collect();
    Ok(std::fs::write(folder.join(file), lines.join("\n") + "\n")?)
}

fn texts(outcome: &Outcome) -> Vec<String> {
    outcome.lines.iter().map(|line| line["line"].as_str().unwrap_or_default().to_owned()).collect()
}

async fn every_kind(t: &T) -> Result<()> {
    for kind in ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController"] {
        let name = kind.to_lowercase();
        t.world.workload(kind, &name, 1, json!({})).await?;
        let outcome = t.act(&format!("collect-logs-{name}"), &name, &json!({ "tailLines": 2 })).await?;
        expect(&outcome, "Completed", "none", "lines")?;
        let texts = texts(&outcome);
        ensure!(texts.len() >= 2 && texts[..2] == ["line 48", "line 49"], "{texts:?}");
        ensure!(
            outcome.lines[0]["timestamp"] == "2026-11-23T10:00:00.000000001Z" && outcome.lines[0]["container"] == "app"
        );
    }
    let job = json!({ "spec": { "parallelism": 1, "replicas": null, "selector": null, "template": { "spec": { "restartPolicy": "Never" } } } });
    t.world.create_workload("Job", "job", 1, job).await?;
    t.world.until(&t.world.workload_path("Job", "job"), "running", |job| job["status"]["ready"] == 1).await?;
    let outcome = t.act("collect-logs-job", "job", &json!({ "tailLines": 1 })).await?;
    ensure!(texts(&outcome) == ["line 49"], "{:#}", outcome.result);
    cron_job(t).await?;
    let pod = t.world.pods("deployment").await?[0]["metadata"]["name"].as_str().context("no pod")?.to_owned();
    let outcome = t.act("collect-logs-pod", &pod, &json!({ "timestamps": false })).await?;
    ensure!(texts(&outcome).len() == 50 && outcome.lines[0].get("timestamp").is_none());
    expect(&t.act("collect-logs-pod", "no-such-pod", &json!({})).await?, "TargetNotFound", "none", "does not exist")
}

/// A CronJob's pods are its Jobs'; the Job here is one that the CronJob controls, without waiting for its schedule.
async fn cron_job(t: &T) -> Result<()> {
    let template = json!({ "spec": { "template": { "spec": { "restartPolicy": "Never", "containers": [{ "name": "app", "image": "x" }] } } } });
    let cron = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": { "name": "nightly" },
        "spec": { "schedule": "0 3 * * *", "suspend": true, "jobTemplate": template },
    });
    let path = t.world.path("batch/v1", "cronjobs");
    let uid = t.world.create(&path, &cron).await?["metadata"]["uid"].clone();
    let owner =
        json!([{ "apiVersion": "batch/v1", "kind": "CronJob", "name": "nightly", "uid": uid, "controller": true }]);
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "nightly-1", "ownerReferences": owner },
        "spec": template["spec"],
    });
    t.world.create(&t.world.path("batch/v1", "jobs"), &job).await?;
    t.world.until(&t.world.workload_path("Job", "nightly-1"), "running", |job| job["status"]["ready"] == 1).await?;
    let outcome = t.act("collect-logs-cronjob", "nightly", &json!({ "tailLines": 1 })).await?;
    ensure!(texts(&outcome) == ["line 49"], "{:#}", outcome.result);
    Ok(())
}

/// Two Deployments whose selectors overlap: each gives its own pods' logs, and none of the other's.
async fn only_its_own(t: &T) -> Result<()> {
    let labels = json!({ "app": "broad", "track": "canary" });
    let narrow =
        json!({ "spec": { "selector": { "matchLabels": labels }, "template": { "metadata": { "labels": labels } } } });
    t.world.workload("Deployment", "broad", 2, json!({})).await?;
    t.world.workload("Deployment", "narrow", 1, narrow).await?;
    for (name, pods, warns) in [("broad", 2, true), ("narrow", 1, false)] {
        let outcome = t.act("collect-logs-deployment", name, &json!({ "tailLines": 1 })).await?;
        let foreign = foreign(t, &outcome, name).await?;
        ensure!(foreign.is_empty(), "{name} does not control {foreign:?}, whose logs came: {:#}", outcome.result);
        expect(&outcome, "Completed", "none", &format!("from {pods} containers of {pods} pods"))?;
        ensure!(texts(&outcome).len() == pods, "{:#}", outcome.result);
        let said = outcome.result["warnings"].to_string();
        let says = said.contains("deployment") && said.contains("also finds 1 pods that it does not control (narrow-");
        ensure!(says == warns, "{:#}", outcome.result);
    }
    let run = t.select("app=broad").await?.parameters(&json!({ "tailLines": 1 }));
    // Who names labels, means labels.
    expect(&t.complete(&run).await?, "Completed", "none", "from 3 containers of 3 pods")
}

/// A pod that never ran is not one that wrote nothing: it is listed, with what it says of itself.
async fn a_pod_without_a_node(t: &T) -> Result<()> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "nowhere" },
        "spec": { "nodeSelector": { "no-node": "has" }, "containers": [{ "name": "app", "image": "x" }] },
    });
    let pods = t.world.path("v1", "pods");
    t.world.create(&pods, &pod).await?;
    let told = |pod: &Value| pod["status"]["conditions"][0]["reason"] == "Unschedulable";
    t.world.until(&format!("{pods}/nowhere"), "told why", told).await?;
    let outcome = t.act("collect-logs-pod", "nowhere", &json!({})).await?;
    expect(&outcome, "Completed", "none", "from 1 containers of 1 pods")?;
    let container = &outcome.result["details"]["containers"][0];
    ensure!(
        container["container"] == "app"
            && container["error"] == "its pod is Pending: Unschedulable, and shows no state of it",
        "{:#}",
        outcome.result
    );
    Ok(())
}

async fn labels_that_are_none(t: &T) -> Result<()> {
    for labels in ["app=web,,", "app in web", "-=x", "a=b=c"] {
        expect(
            &t.complete(&t.select(labels).await?).await?,
            "InvalidRequest",
            "none",
            &format!("TARGET_SELECTOR: expected labels such as app=web,tier!=cache, got {labels:?}"),
        )?;
    }
    Ok(())
}

/// The pods among the lines that a Deployment does not control, by UID from owner to owner.
async fn foreign(t: &T, outcome: &Outcome, deployment: &str) -> Result<Vec<String>> {
    let owner = |object: &Value| {
        let owners = object["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
        owners.into_iter().find(|one| one["controller"] == true).unwrap_or_default()["uid"].clone()
    };
    let uid = t.object("Deployment", deployment).await?["metadata"]["uid"].clone();
    let sets = t.world.get(&t.world.path("apps/v1", "replicasets")).await?;
    let sets = sets["items"].as_array().cloned().unwrap_or_default();
    let own: Vec<Value> =
        sets.iter().filter(|set| owner(set) == uid).map(|set| set["metadata"]["uid"].clone()).collect();
    let mut foreign = Vec::new();
    for line in &outcome.lines {
        let name = line["pod"].as_str().context("no pod")?;
        let pod = t.world.get(&format!("{}/{name}", t.world.path("v1", "pods"))).await?;
        if !own.contains(&owner(&pod)) {
            foreign.push(name.to_owned());
        }
    }
    Ok(foreign)
}

/// For every other kind: a pod with all the labels that are selected, controlled by something else.
async fn selected_by_others(t: &T) -> Result<()> {
    let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "other" } });
    let uid = t.world.create(&t.world.path("v1", "configmaps"), &map).await?["metadata"]["uid"].clone();
    let owner = json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "other", "uid": uid, "controller": true }]);
    for (kind, name, asked) in [
        ("StatefulSet", "statefulset", "statefulset"),
        ("DaemonSet", "daemonset", "daemonset"),
        ("ReplicaSet", "replicaset", "replicaset"),
        ("ReplicationController", "replicationcontroller", "replicationcontroller"),
        ("Job", "job", "job"),
        ("Job", "nightly-1", "nightly"),
    ] {
        let labels = t.object(kind, name).await?["spec"]["template"]["metadata"]["labels"].clone();
        let stray = format!("stray-{name}");
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": stray, "labels": labels, "ownerReferences": owner },
            "spec": { "containers": [{ "name": "app", "image": "x" }] },
        });
        let path = t.world.path("v1", "pods");
        t.world.create(&path, &pod).await?;
        t.world.until(&format!("{path}/{stray}"), "running", |pod| pod["status"]["phase"] == "Running").await?;
        let action = if asked == "nightly" { "collect-logs-cronjob" } else { &format!("collect-logs-{asked}") };
        let outcome = t.act(action, asked, &json!({ "tailLines": 1 })).await?;
        expect(&outcome, "Completed", "none", "lines")?;
        let lines = outcome.lines.iter().filter(|line| line["pod"] == stray).count();
        ensure!(!outcome.lines.is_empty() && lines == 0, "{action}: a stray pod's log came: {:#}", outcome.result);
        t.world.delete(&format!("{path}/{stray}")).await?;
    }
    Ok(())
}

/// A pod that is being deleted has a log still: often the one that is wanted.
async fn a_pod_on_its_way_out(t: &T) -> Result<()> {
    let pod = t.world.pods("statefulset").await?[0]["metadata"]["name"].as_str().context("no pod")?.to_owned();
    let path = format!("{}/{pod}", t.world.path("v1", "pods"));
    t.world.merge(&path, &json!({ "metadata": { "finalizers": ["test/hold"] } })).await?;
    t.world.delete(&path).await?;
    t.world.until(&path, "on its way out", |pod| pod["metadata"]["deletionTimestamp"].is_string()).await?;
    for (action, name) in [("collect-logs-statefulset", "statefulset"), ("collect-logs-pod", pod.as_str())] {
        let outcome = t.act(action, name, &json!({ "tailLines": 1 })).await?;
        expect(&outcome, "Completed", "none", "collected 1 lines")?;
        ensure!(outcome.lines[0]["pod"] == pod.as_str(), "{:#}", outcome.result);
    }
    t.world.merge(&path, &json!({ "metadata": { "finalizers": null } })).await.map(|_| ())
}

async fn both_instances_and_redaction(t: &T) -> Result<()> {
    t.world.workload("Deployment", "restarted", 1, mode("restarted")).await?;
    let outcome = t.act("collect-logs-deployment", "restarted", &json!({ "tailLines": 3 })).await?;
    expect(&outcome, "Completed", "none", "lines")?;
    let previous: Vec<_> =
        outcome.lines.iter().filter(|line| line["previous"] == true).map(|line| line["line"].clone()).collect();
    ensure!(previous == [json!("before the restart"), json!("login with password=[REDACTED]")], "{previous:?}");
    ensure!(outcome.result["details"]["redacted"] == 1);
    let outcome =
        t.act("collect-logs-deployment", "restarted", &json!({ "instances": "previous", "redact": false })).await?;
    ensure!(texts(&outcome)[1] == "login with password=hunter22");
    let warned = outcome.result["warnings"][0].as_str().is_some_and(|text| text.starts_with("redact: false: "));
    ensure!(warned, "{:#}", outcome.result);
    Ok(())
}

/// A container that waits for its next start has one instance that ended, and it is the one that is asked for.
async fn the_last_one_in_back_off(t: &T) -> Result<()> {
    t.world.create_workload("Deployment", "crashing", 1, mode("crash-loop")).await?;
    let waits = |list: &Value| {
        list["items"][0]["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    };
    let pods = format!("{}?labelSelector=app%3Dcrashing", t.world.path("v1", "pods"));
    t.world.until(&pods, "in back-off", waits).await?;
    let outcome = t.act("collect-logs-deployment", "crashing", &json!({ "instances": "previous" })).await?;
    expect(&outcome, "Completed", "none", "collected 2 lines")?;
    ensure!(outcome.lines.iter().all(|line| line["previous"] == true), "{:?}", outcome.lines);
    ensure!(texts(&outcome)[0] == "before the restart", "{:?}", texts(&outcome));
    Ok(())
}

async fn selection_and_regex(t: &T) -> Result<()> {
    let extra = json!({ "spec": { "template": { "spec": {
        "initContainers": [{ "name": "setup", "image": "x" }],
        "containers": [{ "name": "app", "image": "x" }, { "name": "sidecar", "image": "x" }],
    } } } });
    t.world.workload("Deployment", "two", 2, extra).await?;
    let run = t.select("app=two").await?.parameters(&json!({ "containers": "app|setup", "tailLines": 1 }));
    let outcome = t.complete(&run).await?;
    expect(&outcome, "Completed", "none", "from 4 containers of 2 pods")?;
    let kinds: Vec<_> = outcome.result["details"]["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| one["kind"].clone())
        .collect();
    ensure!(kinds == [json!("init"), json!("main"), json!("init"), json!("main")], "{kinds:?}");
    let outcome = t.complete(&run.with("TARGET_SELECTOR", "app=nobody")).await?;
    expect(&outcome, "TargetNotFound", "none", "no pod in namespace")
}

async fn limits(t: &T) -> Result<()> {
    let lines: Vec<String> = (0..100_000).map(|number| format!("a line of some length, number {number}")).collect();
    write(&t.world, "app.log", &lines)?;
    t.world.workload("Deployment", "large", 2, json!({})).await?;
    let outcome = t.act("collect-logs-deployment", "large", &json!({ "maxBytes": 100_000 })).await?;
    expect(&outcome, "Completed", "none", "older lines did not fit into maxBytes")?;
    let details = &outcome.result["details"];
    ensure!(details["bytes"].as_u64().is_some_and(|bytes| bytes <= 100_000 && bytes > 99_000), "{details}");
    ensure!(texts(&outcome).last().is_some_and(|line| line.ends_with("number 99999")), "the newest are kept");
    let shares: Vec<_> =
        details["containers"].as_array().into_iter().flatten().filter_map(|one| one["lines"].as_i64()).collect();
    ensure!(shares.len() == 2 && (shares[0] - shares[1]).abs() <= 1, "{shares:?}");
    test_cluster::assets::tell(&format!("peak memory of collect-logs over 2 logs of 7 MB: {} KiB", outcome.peak_kib));
    let most = if test_cluster::assets::variable("ACTION_RUNNER").is_some() { 16 << 10 } else { 48 << 10 };
    ensure!(outcome.peak_kib <= most, "peak memory is {} KiB for 2 logs of 7 MB", outcome.peak_kib);
    Ok(())
}

async fn directory(t: &T) -> Result<()> {
    let folder = t.world.folder().join("out");
    std::fs::create_dir(&folder)?;
    let parameters = json!({ "destination": "directory", "directory": folder, "tailLines": 2 });
    let outcome = t.act("collect-logs-deployment", "two", &parameters).await?;
    expect(&outcome, "Completed", "none", "lines")?;
    let mut files: Vec<String> =
        std::fs::read_dir(&folder)?.filter_map(|file| file.ok()?.file_name().into_string().ok()).collect();
    files.sort();
    ensure!(outcome.lines.is_empty() && files.len() == 6 && files[0].ends_with("_app.log"), "{files:?}");
    let mode = std::fs::metadata(folder.join(&files[0]))?.permissions().mode();
    ensure!(mode & 0o777 == 0o600, "{mode:o}");
    let text = std::fs::read_to_string(folder.join(&files[0]))?;
    ensure!(text.lines().count() == 2 && text.ends_with("number 99999\n"), "{text}");
    let again = t.act("collect-logs-deployment", "two", &parameters).await?;
    expect(&again, "Refused", "none", "what lies there is not written to")?;
    ensure!(std::fs::read_to_string(folder.join(&files[0]))? == text, "it was written to");
    Ok(())
}

async fn one_that_cannot_be_read(t: &T) -> Result<()> {
    // kwok knows no log of this container: the API server answers 400.
    let extra = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "app", "image": "x" }, { "name": "unlogged", "image": "x" }] } } } });
    t.world.workload("Deployment", "half", 1, extra).await?;
    let outcome = t.act("collect-logs-deployment", "half", &json!({ "tailLines": 1 })).await?;
    expect(&outcome, "Completed", "none", "collected 1 lines")?;
    ensure!(
        outcome.result["warnings"][0].as_str().is_some_and(|text| text.contains("container unlogged of pod")),
        "{:#}",
        outcome.result
    );
    t.world.create_workload("Deployment", "unpulled", 1, mode("image-pull")).await?;
    let pods = format!("{}?labelSelector=app%3Dunpulled", t.world.path("v1", "pods"));
    let waits = |pods: &Value| pods["items"][0]["status"]["containerStatuses"][0]["state"]["waiting"].is_object();
    t.world.until(&pods, "a pod that waits", waits).await?;
    let outcome = t.act("collect-logs-deployment", "unpulled", &json!({})).await?;
    expect(&outcome, "Completed", "none", "collected 0 lines")?;
    let warning = outcome.result["warnings"][0].as_str().unwrap_or_default();
    ensure!(warning.contains("it has not started yet"), "{:#}", outcome.result);
    Ok(())
}

async fn strange_bytes(t: &T) -> Result<()> {
    let folder = t.world.connection.logs.as_ref().context("no logs")?;
    let mut bytes =
        b"2026-11-23T10:00:00Z stdout F caf\xe9 \x1b[31mred\xc2\x9b2J\xe2\x80\xae\n2026-11-23T10:00:01Z stdout F "
            .to_vec();
    bytes.extend(vec![b'x'; 12_000]);
    bytes.push(b'\n');
    std::fs::write(folder.join("app.log"), bytes)?;
    let outcome = t.act("collect-logs-deployment", "deployment", &json!({})).await?;
    expect(&outcome, "Completed", "none", "collected 2 lines")?;
    let texts = texts(&outcome);
    ensure!(
        texts[0] == r"caf\u{fffd} \u001b[31mred\u009b2J\u202e".replace(r"\u{fffd}", "\u{fffd}")
            && texts[1].contains("… [cut: "),
        "{}",
        &texts[0]
    );
    ensure!(outcome.result["details"]["cutLines"] == 1);
    Ok(())
}

async fn guards(t: &T) -> Result<()> {
    let invalid = [
        (json!({ "maxBytes": 0 }), "maxBytes: expected 1 to"),
        (json!({ "maxBytes": 99_999_999 }), "maxBytes: expected 1 to 5242880"),
        (json!({ "containers": "(" }), "containers: expected a regular expression"),
        (json!({ "destination": "directory" }), "directory: needed"),
        (
            json!({ "destination": "directory", "directory": "/no/such/folder" }),
            "directory: expected the path of a folder",
        ),
    ];
    for (parameters, says) in invalid {
        expect(&t.act("collect-logs-deployment", "deployment", &parameters).await?, "InvalidRequest", "none", says)?;
    }
    let account = t.account("cordon-node").await?;
    let run = t.run("collect-logs-deployment", "deployment").await?.with("KUBECONFIG", account.display());
    let outcome = t.complete(&run).await?;
    expect(&outcome, "Forbidden", "none", "get pods/log (core)")?;
    let run = t.run("collect-logs-deployment", "deployment").await?.with("ACTION_DRY_RUN", true);
    let outcome = t.complete(&run).await?;
    expect(&outcome, "DryRun", "none", "would collect the logs of 1 containers of 1 pods")?;
    ensure!(outcome.lines.is_empty() && outcome.result["details"]["containers"][0]["error"] == Value::Null);
    Ok(())
}
