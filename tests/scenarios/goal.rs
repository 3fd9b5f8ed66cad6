//! A goal is a value that was written: whether it still stands is looked up in a second run of the same id.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::proxy::{Fault, Rule};
use test_cluster::runner::{Outcome, Run};

use crate::shown::{claims, image, restart_by_hand, restarted_at, told, touched_nothing, uids, until_serving};
use crate::support::{T, expect, scenarios};

scenarios!("goal":
    a_restart_that_was_undone, a_rollback_that_was_undone, killed_after_its_write_and_undone, marks_of_the_first_release,
    an_undo_brings_an_old_mark_back, killed_and_out_of_reach,
);

const KINDS: [&str; 3] = ["Deployment", "StatefulSet", "DaemonSet"];
const FIRST_RELEASE: &str = "kubernetesexecution.kubernaut.io/executions";

/// Whether an object has what a run has written, and rolls it out by itself.
fn stands(object: &Value, written: &Value) -> bool {
    let strategy = &object["spec"]["updateStrategy"];
    let partition = strategy["rollingUpdate"]["partition"].as_i64().unwrap_or(0);
    let reaches =
        strategy["type"] != "OnDelete" && (partition == 0 || Some(partition) < object["spec"]["replicas"].as_i64());
    object["spec"]["template"] == written["spec"]["template"] && object["spec"]["paused"] != true && reaches
}

/// The same id again: held against what was written, and it must have changed nothing.
async fn again(t: &T, run: &Run, (kind, name): (&str, &str), written: &Value, says: &str) -> Result<Outcome> {
    let before = t.object(kind, name).await?;
    let outcome = told(t, run).await?;
    let after = t.object(kind, name).await?;
    let stands = stands(&after, written);
    let seen = format!(
        "{kind}: restartedAt {:?} (written {:?}), image {}, paused {}",
        restarted_at(&after),
        restarted_at(written),
        after["spec"]["template"]["spec"]["containers"][0]["image"],
        after["spec"]["paused"],
    );
    claims(&outcome, stands, &seen)?;
    ensure!(before["spec"] == after["spec"] && before["metadata"]["generation"] == after["metadata"]["generation"]);
    touched_nothing(&outcome)?;
    expect(&outcome, if stands { "Unchanged" } else { "NotVerified" }, "none", says)?;
    ensure!(outcome.result["resumed"] == true, "{:#}", outcome.result);
    outcome.verdict.check(true)?;
    Ok(outcome)
}

/// Somebody changes it in each of these ways, one after the other; in the end what was written is put back.
async fn undone(t: &T, run: &Run, target: (&str, &str), ways: Vec<(Value, &str)>) -> Result<()> {
    let (kind, name) = target;
    let written = t.object(kind, name).await?;
    // A merge leaves what it does not name: the annotation that a restart by hand adds.
    let mut back = restart_by_hand(json!(restarted_at(&written)));
    back["spec"]["template"]["spec"] = written["spec"]["template"]["spec"].clone();
    back["spec"]["paused"] = Value::Null;
    if kind != "Deployment" {
        back["spec"]["updateStrategy"] = written["spec"]["updateStrategy"].clone();
    }
    for (change, says) in ways {
        t.meddle(kind, name, change).await?;
        again(t, run, target, &written, says).await?;
        t.meddle(kind, name, back.clone()).await?;
    }
    again(t, run, target, &written, "ready after").await.map(|_| ())
}

pub fn on_delete() -> Value {
    json!({ "spec": { "updateStrategy": { "type": "OnDelete", "rollingUpdate": null } } })
}

pub fn partition(partition: u32) -> Value {
    json!({ "spec": { "updateStrategy": { "rollingUpdate": { "partition": partition } } } })
}

/// What keeps a kind from rolling out, and then the others.
fn ways(kind: &str, others: Vec<(Value, &'static str)>) -> Vec<(Value, &'static str)> {
    let mut all = match kind {
        "Deployment" => vec![(json!({ "spec": { "paused": true } }), "is paused by now")],
        "StatefulSet" => vec![(on_delete(), "OnDelete"), (partition(2), "has the partition 2 and 2 replicas")],
        _ => vec![(on_delete(), "OnDelete")],
    };
    all.extend(others);
    all
}

async fn a_restart_that_was_undone(t: T) -> Result<()> {
    let one = async |kind: &str| {
        let name = kind.to_lowercase();
        t.world.workload(kind, &name, 2, json!({})).await?;
        let run = t.run(&format!("restart-{name}"), &name).await?.with("ACTION_ID", "exec-1");
        expect(&told(&t, &run).await?, "Changed", "applied", "restarted")?;
        let others = vec![
            (restart_by_hand(Value::Null), "restartedAt is gone now, not "),
            (restart_by_hand(json!("2031-01-01T00:00:00Z")), "restartedAt is 2031-01-01T00:00:00Z now, not "),
            (image(9), "has another pod template by now: someone else changed it"),
        ];
        undone(&t, &run, (kind, &name), ways(kind, others)).await
    };
    tokio::try_join!(one(KINDS[0]), one(KINDS[1]), one(KINDS[2])).map(|_| ())
}

/// A workload with two revisions, and its pods.
async fn two_revisions(t: &T, kind: &str, name: &str) -> Result<()> {
    t.world.workload(kind, name, 2, json!({})).await?;
    t.meddle(kind, name, image(2)).await?;
    t.world.until(&t.world.workload_path(kind, name), "its second revision", |object| revised(kind, object)).await?;
    Ok(())
}

/// Whether its controller has made a second revision.
pub fn revised(kind: &str, object: &Value) -> bool {
    let status = &object["status"];
    let observed = status["observedGeneration"] == object["metadata"]["generation"];
    let number = &object["metadata"]["annotations"]["deployment.kubernetes.io/revision"];
    observed && (kind != "Deployment" || number == "2") && object["metadata"]["generation"].as_i64() > Some(1)
}

async fn a_rollback_that_was_undone(t: T) -> Result<()> {
    let one = async |kind: &str| {
        let name = kind.to_lowercase();
        two_revisions(&t, kind, &name).await?;
        let run = t.run(&format!("rollback-{name}"), &name).await?.with("ACTION_ID", "exec-1");
        expect(&told(&t, &run).await?, "Changed", "applied", "rolled")?;
        let others = vec![
            (image(2), "it has another pod template by now: someone else changed it"),
            (image(3), "it has another pod template by now: someone else changed it"),
            (restart_by_hand(json!("2031-01-01T00:00:00Z")), "it has another pod template by now"),
        ];
        undone(&t, &run, (kind, &name), ways(kind, others)).await
    };
    tokio::try_join!(one(KINDS[0]), one(KINDS[1]), one(KINDS[2])).map(|_| ())
}

async fn killed_after_its_write_and_undone(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    let path = t.world.workload_path("Deployment", "web");
    let before = uids(&t.world.pods("web").await?);
    let rule = Rule { fault: Fault::Stall, method: "PATCH", contains: "/deployments/", lacks: "dryRun", times: 1 };
    let (_proxy, kubeconfig) = t.through_proxy("restart-deployment", rule).await?;
    let run = t.run("restart-deployment", "web").await?.with("ACTION_ID", "exec-1");
    let first = run.clone().with("KUBECONFIG", kubeconfig.display()).start(&t.world)?;
    // Its controller has seen it: what it has not seen never was.
    let seen = |object: &Value| {
        restarted_at(object).is_some() && object["status"]["observedGeneration"] == object["metadata"]["generation"]
    };
    let written = t.world.until(&path, "restarted", seen).await?;
    first.kill().await?;
    t.meddle("Deployment", "web", restart_by_hand(Value::Null)).await?;
    again(&t, &run, ("Deployment", "web"), &written, "restartedAt is gone now").await?;
    t.meddle("Deployment", "web", restart_by_hand(json!(restarted_at(&written)))).await?;
    again(&t, &run, ("Deployment", "web"), &written, "2 of 2 new pods ready").await?;
    ensure!(uids(&until_serving(&t, "web", 2).await?).is_disjoint(&before), "a pod of before is there still");
    Ok(())
}

/// Makes the marks what release 0.1 left, on the object and its revisions: another annotation, and no goal.
async fn as_the_first_release_left_it(t: &T, verb: &str, (kind, name): (&str, &str)) -> Result<()> {
    let key = format!("{FIRST_RELEASE}-{verb}");
    let revisions = if kind == "Deployment" { "replicasets" } else { "controllerrevisions" };
    let revisions = t.world.path("apps/v1", revisions);
    let listed = t.world.get(&revisions).await?;
    let listed = listed["items"].as_array().cloned().unwrap_or_default();
    let paths = listed.iter().map(|one| format!("{revisions}/{}", crate::shown::name(one)));
    for path in paths.chain([t.world.workload_path(kind, name)]) {
        let object = t.world.get(&path).await?;
        let Some(marks) = object["metadata"]["annotations"][&key].as_str() else { continue };
        let mut marks: Value = serde_json::from_str(marks)?;
        for mark in marks.as_array_mut().into_iter().flatten() {
            let goal = mark.as_object_mut().and_then(|mark| mark.remove("goal")).context("no goal")?;
            if verb == "rollback" {
                mark["previous"]["to"] = goal["revision"].clone();
            }
        }
        let annotations = json!({ key.as_str(): null, FIRST_RELEASE: marks.to_string() });
        t.world.merge(&path, &json!({ "metadata": { "annotations": annotations } })).await?;
    }
    Ok(())
}

async fn marks_of_the_first_release(t: T) -> Result<()> {
    let one = async |verb: &str, kind: &str| {
        let name = format!("{verb}-{}", kind.to_lowercase());
        two_revisions(&t, kind, &name).await?;
        let run = t.run(&format!("{verb}-{}", kind.to_lowercase()), &name).await?.with("ACTION_ID", "exec-1");
        expect(&told(&t, &run).await?, "Changed", "applied", "")?;
        as_the_first_release_left_it(&t, verb, (kind, &name)).await?;
        let object = t.object(kind, &name).await?;
        let annotations = &object["metadata"]["annotations"];
        let old = annotations[FIRST_RELEASE].as_str().is_some_and(|marks| !marks.contains("goal"));
        ensure!(old && annotations.get(format!("{FIRST_RELEASE}-{verb}")).is_none(), "{annotations:#}");
        let (change, says) = match verb {
            "restart" => (restart_by_hand(Value::Null), "restartedAt is gone now"),
            _ => (image(3), "it has another pod template by now"),
        };
        undone(&t, &run, (kind, &name), ways(kind, vec![(change, says)])).await
    };
    tokio::try_join!(
        one("restart", KINDS[0]),
        one("restart", KINDS[1]),
        one("rollback", KINDS[0]),
        one("rollback", KINDS[1])
    )
    .map(|_| ())
}

/// As `kubectl rollout undo` does it: template and annotations of the ReplicaSet before.
async fn an_undo_brings_an_old_mark_back(t: T) -> Result<()> {
    const WEB: (&str, &str) = ("Deployment", "web");
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    let run = async |id: &str| Ok::<_, anyhow::Error>(t.run("restart-deployment", "web").await?.with("ACTION_ID", id));
    let (older, newer) = (run("exec-0").await?, run("exec-1").await?);
    expect(&told(&t, &older).await?, "Changed", "applied", "restarted")?;
    let first = t.object("Deployment", "web").await?;
    expect(&told(&t, &newer).await?, "Changed", "applied", "restarted")?;
    let second = t.object("Deployment", "web").await?;
    let sets = t.world.get(&t.world.path("apps/v1", "replicasets")).await?;
    let of_first = |set: &&Value| restarted_at(set) == restarted_at(&first);
    let set = sets["items"].as_array().and_then(|all| all.iter().find(of_first)).context("no ReplicaSet")?;
    let annotations = set["metadata"]["annotations"].as_object().context("no annotations")?;
    let (key, marks) = annotations.iter().find(|(key, _)| key.starts_with(FIRST_RELEASE)).context("no marks")?;
    let marks = marks.as_str();
    ensure!(marks.is_some_and(|marks| marks.contains("exec-0") && !marks.contains("exec-1")), "{set:#}");
    let mut undo = restart_by_hand(json!(restarted_at(&first)));
    undo["metadata"]["annotations"][key] = json!(marks);
    t.meddle("Deployment", "web", undo).await?;
    let before = t.object("Deployment", "web").await?;
    ensure!(stands(&before, &first));
    again(&t, &newer, WEB, &second, "now, not ").await?;
    again(&t, &older, WEB, &first, "2 of 2 new pods ready").await.map(|_| ())
}

/// Killed after its write, and somebody has taken all pods out of reach before any was replaced: none was restarted.
async fn killed_and_out_of_reach(t: T) -> Result<()> {
    for (verb, name) in [("restart", "db"), ("rollback", "other")] {
        t.world.workload("StatefulSet", name, 2, json!({})).await?;
        let path = t.world.workload_path("StatefulSet", name);
        if verb == "rollback" {
            t.meddle("StatefulSet", name, image(2)).await?;
            let rolled = |set: &Value| {
                revised("StatefulSet", set)
                    && set["status"]["updatedReplicas"] == 2
                    && set["status"]["readyReplicas"] == 2
            };
            t.world.until(&path, "its second revision", rolled).await?;
        }
        let before = uids(&t.world.pods(name).await?);
        let action = format!("{verb}-statefulset");
        let rule = Rule { fault: Fault::Stall, method: "PATCH", contains: "/statefulsets/", lacks: "dryRun", times: 1 };
        let (_proxy, kubeconfig) = t.through_proxy(&action, rule).await?;
        let run = t.run(&action, name).await?.with("ACTION_ID", "exec-1");
        let generation = t.object("StatefulSet", name).await?["metadata"]["generation"].as_i64();
        let first = run.clone().with("KUBECONFIG", kubeconfig.display()).start(&t.world)?;
        t.world.until(&path, "written", |set| set["metadata"]["generation"].as_i64() > generation).await?;
        t.meddle("StatefulSet", name, partition(2)).await?;
        first.kill().await?;
        let written = t.object("StatefulSet", name).await?;
        let outcome = again(&t, &run, ("StatefulSet", name), &written, "has the partition 2 and 2 replicas").await?;
        let left = uids(&t.world.pods(name).await?).intersection(&before).count();
        ensure!(
            outcome.result["success"] == false,
            "SEEN: {left} of 2 pods are those of before; SAID: {:#}",
            outcome.result
        );
    }
    Ok(())
}
