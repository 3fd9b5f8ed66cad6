//! rollback, against a real API server.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use test_cluster::audit::Entry;
use test_cluster::proxy::{Fault, Rule};

use crate::support::{T, expect, mode, scenarios};

scenarios!("rollback":
    every_kind_and_forth, by_number, no_such_revision, already_that_template, guards, not_found_and_forbidden, dry_run_leaves_no_trace,
    same_id_applies_once, stuck_stateful_set, a_stuck_set_is_freed_by_the_second_run, a_lost_eviction_of_a_stuck_pod, partition_is_warned_of, overwritten_while_waiting, conflict_with_a_new_rollout,
    resumed_after_somebody_else, after_an_exceeded_deadline, lost_answer_is_found_out, secrets_are_hidden, stray_fields_are_gone, warns_of_gitops,
);

fn image(number: u32) -> Value {
    container(json!({ "image": format!("shop/web:{number}"), "env": [{ "name": "GREETING", "value": "hello" }] }))
}

/// A template with this container, which is as confined as the fixture's: a rollback that changes that is denied by admission.
fn container(mut container: Value) -> Value {
    container["name"] = json!("app");
    container["securityContext"] = json!({ "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } });
    json!({ "spec": { "template": { "spec": { "containers": [container] } } } })
}

async fn resumed_after_somebody_else(t: T) -> Result<()> {
    // The first run put revision 1 back; somebody rolled out another template since. That is no success of ours.
    with_revisions(&t, "Deployment", "web", 2).await?;
    let run = t.run("rollback-deployment", "web").await?.with("ACTION_ID", "exec-1");
    expect(&t.complete(&run).await?, "Changed", "applied", "back to revision 1")?;
    t.meddle("Deployment", "web", image(3)).await?;
    settled(&t, "Deployment", "web").await?;
    expect(&t.complete(&run).await?, "NotVerified", "none", "has another pod template by now")
}

async fn after_an_exceeded_deadline(t: T) -> Result<()> {
    // Going back to a ReplicaSet that exists does not reset the condition of the rollout that failed.
    t.world.workload("Deployment", "web", 1, json!({ "spec": { "progressDeadlineSeconds": 2 } })).await?;
    let mut bad = image(2);
    bad["spec"]["template"]["metadata"] = json!({ "labels": { "test/mode": "never-ready" } });
    t.meddle("Deployment", "web", bad).await?;
    let late = |web: &Value| {
        web["status"]["conditions"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["reason"] == "ProgressDeadlineExceeded"))
    };
    t.world.until(&t.world.workload_path("Deployment", "web"), "late", late).await?;
    // The rollback has time; the condition stays what it is.
    t.meddle("Deployment", "web", json!({ "spec": { "progressDeadlineSeconds": 60 } })).await?;
    expect(&t.act("rollback-deployment", "web", &json!({})).await?, "Changed", "applied", "1 of 1 pods ready")
}

/// A workload with this many revisions, images 1, 2, …
async fn with_revisions(t: &T, kind: &str, name: &str, revisions: u32) -> Result<()> {
    t.world.workload(kind, name, 2, json!({})).await?;
    for number in 2..=revisions {
        t.meddle(kind, name, image(number)).await?;
        settled(t, kind, name).await?;
    }
    Ok(())
}

async fn settled(t: &T, kind: &str, name: &str) -> Result<()> {
    let updated = if kind == "DaemonSet" { "updatedNumberScheduled" } else { "updatedReplicas" };
    let ready = if kind == "DaemonSet" { "numberReady" } else { "readyReplicas" };
    let what = |object: &Value| {
        let status = |field: &str| object["status"][field].as_i64().unwrap_or(0);
        let desired = if kind == "DaemonSet" {
            status("desiredNumberScheduled")
        } else {
            object["spec"]["replicas"].as_i64().unwrap_or(0)
        };
        let total = if kind == "DaemonSet" { desired } else { status("replicas") };
        object["status"]["observedGeneration"] == object["metadata"]["generation"]
            && status(updated) == desired
            && status(ready) == desired
            && total == desired
    };
    t.world.until(&t.world.workload_path(kind, name), "rolled out", what).await.map(|_| ())
}

async fn present_image(t: &T, kind: &str, name: &str) -> Result<String> {
    let object = t.object(kind, name).await?;
    Ok(object["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default().to_owned())
}

async fn every_kind_and_forth(t: T) -> Result<()> {
    for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
        let name = kind.to_lowercase();
        with_revisions(&t, kind, &name, 3).await?;
        let template = t.object(kind, &name).await?["spec"]["template"].clone();
        let outcome = t.act(&format!("rollback-{name}"), &name, &json!({})).await?;
        expect(&outcome, "Changed", "applied", "back to revision 2")?;
        ensure!(present_image(&t, kind, &name).await? == "shop/web:2");
        for pod in t.world.pods(&name).await?.iter().filter(|pod| pod["metadata"].get("deletionTimestamp").is_none()) {
            ensure!(pod["spec"]["containers"][0]["image"] == "shop/web:2", "a pod still has the other image: {pod}");
        }
        let forth = t.undo(&outcome, &name).await?;
        expect(&forth, "Changed", "applied", "rolled")?;
        ensure!(t.object(kind, &name).await?["spec"]["template"] == template, "the template is what it was");
    }
    Ok(())
}

async fn by_number(t: T) -> Result<()> {
    with_revisions(&t, "Deployment", "web", 3).await?;
    let outcome = t.act("rollback-deployment", "web", &json!({ "toRevision": 1 })).await?;
    expect(&outcome, "Changed", "applied", "back to revision 1")?;
    ensure!(present_image(&t, "Deployment", "web").await? == "shop/web:1");
    ensure!(outcome.result["details"]["fromRevision"]["images"] == json!(["shop/web:3"]), "{:#}", outcome.result);
    Ok(())
}

async fn no_such_revision(t: T) -> Result<()> {
    with_revisions(&t, "Deployment", "web", 2).await?;
    expect(
        &t.act("rollback-deployment", "web", &json!({ "toRevision": 9 })).await?,
        "Refused",
        "none",
        "has no revision 9; it has 2 (",
    )?;
    t.world.workload("Deployment", "fresh", 1, json!({})).await?;
    expect(
        &t.act("rollback-deployment", "fresh", &json!({})).await?,
        "Refused",
        "none",
        "has no revision to go back to",
    )
}

async fn already_that_template(t: T) -> Result<()> {
    with_revisions(&t, "Deployment", "web", 2).await?;
    expect(
        &t.act("rollback-deployment", "web", &json!({ "toRevision": 2 })).await?,
        "Unchanged",
        "none",
        "has the template of revision 2",
    )
}

async fn guards(t: T) -> Result<()> {
    with_revisions(&t, "Deployment", "web", 2).await?;
    t.meddle("Deployment", "web", json!({ "spec": { "paused": true } })).await?;
    expect(&t.act("rollback-deployment", "web", &json!({})).await?, "Refused", "none", "is paused")?;
    let owner = json!([{ "apiVersion": "example.com/v1", "kind": "Shop", "name": "s", "uid": "11111111-1111-1111-1111-111111111111", "controller": true }]);
    t.meddle("Deployment", "web", json!({ "spec": { "paused": false }, "metadata": { "ownerReferences": owner } }))
        .await?;
    expect(&t.act("rollback-deployment", "web", &json!({})).await?, "Refused", "none", "is controlled by the Shop s")
}

async fn not_found_and_forbidden(t: T) -> Result<()> {
    expect(&t.act("rollback-statefulset", "db", &json!({})).await?, "TargetNotFound", "none", "does not exist")?;
    let account = t.account("cordon-node").await?;
    let run = t.run("rollback-statefulset", "db").await?.with("KUBECONFIG", account.display());
    expect(&t.complete(&run).await?, "Forbidden", "none", "list controllerrevisions (apps)")
}

async fn dry_run_leaves_no_trace(t: T) -> Result<()> {
    with_revisions(&t, "StatefulSet", "db", 2).await?;
    let before = t.object("StatefulSet", "db").await?;
    let run = t.run("rollback-statefulset", "db").await?.with("ACTION_DRY_RUN", true);
    let outcome = t.complete(&run).await?;
    expect(&outcome, "DryRun", "none", "would roll statefulset")?;
    // Its status may be written at any time.
    let after = t.object("StatefulSet", "db").await?;
    ensure!(before["metadata"]["annotations"] == after["metadata"]["annotations"], "{after:#}");
    ensure!(before["spec"] == after["spec"] && !outcome.seen.iter().any(Entry::changes_something), "{after:#}");
    Ok(())
}

async fn same_id_applies_once(t: T) -> Result<()> {
    // Without the mark, the one before would be the one we came from: run twice, it would roll forth again.
    with_revisions(&t, "Deployment", "web", 2).await?;
    let run = t.run("rollback-deployment", "web").await?.with("ACTION_ID", "exec-1");
    expect(&t.complete(&run).await?, "Changed", "applied", "back to revision 1")?;
    let again = t.complete(&run).await?;
    expect(&again, "Unchanged", "none", "was rolled back by this execution")?;
    ensure!(again.result["resumed"] == true && present_image(&t, "Deployment", "web").await? == "shop/web:1");
    expect(&t.undo(&again, "web").await?, "Changed", "applied", "rolled deployment")?;
    ensure!(present_image(&t, "Deployment", "web").await? == "shop/web:2");
    Ok(())
}

async fn stuck_stateful_set(t: T) -> Result<()> {
    t.world.workload("StatefulSet", "db", 2, json!({})).await?;
    // By its name, and by a pod that leads to it.
    for (action, name, tag) in [("rollback-statefulset", "db", 2), ("rollback-pod", "db-1", 3)] {
        let mut bad = image(tag);
        bad["spec"]["template"]["metadata"] = json!({ "labels": { "test/mode": "crash-loop" } });
        t.meddle("StatefulSet", "db", bad).await?;
        let broken = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"] == 3;
        t.world.until(&format!("{}/db-1", t.world.path("v1", "pods")), "broken", broken).await?;
        let outcome = t.act(action, name, &json!({})).await?;
        expect(&outcome, "Changed", "applied", "2 of 2 pods ready")?;
        let changes = outcome.result["changes"].as_array().into_iter().flatten();
        let operations: Vec<_> = changes.map(|change| change["operation"].clone()).collect();
        ensure!(
            operations == [json!("patch"), json!("evict")],
            "the broken pod was evicted after the patch: {operations:?}"
        );
    }
    Ok(())
}

/// A StatefulSet whose second revision never becomes ready.
async fn stuck(t: &T) -> Result<()> {
    t.world.workload("StatefulSet", "db", 2, json!({})).await?;
    let mut bad = image(2);
    bad["spec"]["template"]["metadata"] = json!({ "labels": { "test/mode": "never-ready" } });
    t.meddle("StatefulSet", "db", bad).await?;
    let stuck = |set: &Value| set["status"]["updatedReplicas"] == 1 && set["status"]["readyReplicas"] == 1;
    t.world.until(&t.world.workload_path("StatefulSet", "db"), "stuck", stuck).await.map(|_| ())
}

/// The eviction that frees it gets lost on its way there, or its answer on the way back.
async fn a_lost_eviction_of_a_stuck_pod(t: T) -> Result<()> {
    for fault in [Fault::Drop, Fault::LoseAnswer] {
        stuck(&t).await?;
        let rule = Rule { fault, method: "POST", contains: "/eviction", lacks: "dryRun", times: 1 };
        let (proxy, kubeconfig) = t.through_proxy("rollback-statefulset", rule).await?;
        let run = t.run("rollback-statefulset", "db").await?.with("KUBECONFIG", kubeconfig.display());
        let outcome = t.complete(&run.unjudged()).await?;
        ensure!(proxy.hits() == 1, "the fault hit");
        expect(&outcome, "Changed", "applied", "2 of 2 pods ready")?;
        t.world.delete(&t.world.workload_path("StatefulSet", "db")).await?;
        let pods = format!("{}?labelSelector=app%3Ddb", t.world.path("v1", "pods"));
        t.world.until(&pods, "gone", |pods| pods["items"].as_array().is_some_and(Vec::is_empty)).await?;
    }
    Ok(())
}

/// The first run is killed between its patch and the eviction. The second one does not wait, and finishes the work all the same.
async fn a_stuck_set_is_freed_by_the_second_run(t: T) -> Result<()> {
    stuck(&t).await?;
    let rule = Rule { fault: Fault::StallBefore, method: "POST", contains: "/eviction", lacks: "dryRun", times: 1 };
    let (proxy, kubeconfig) = t.through_proxy("rollback-statefulset", rule).await?;
    let run = t.run("rollback-statefulset", "db").await?.with("ACTION_ID", "exec-1");
    let mut first = run.clone().with("KUBECONFIG", kubeconfig.display()).start(&t.world)?;
    while proxy.hits() == 0 {
        ensure!(!first.has_ended()?, "the first run ended before its eviction");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    first.kill().await?;
    let second = run.parameters(&json!({ "wait": false }));
    let outcome = t.complete(&second).await?;
    expect(&outcome, "Changed", "applied", "was rolled back by this execution")?;
    let changes = outcome.result["changes"].as_array().map_or(0, Vec::len);
    let evicted = outcome.result["changes"][0]["operation"] == "evict" && changes == 1;
    ensure!(evicted && outcome.result["resumed"] == true, "{:#}", outcome.result);
    settled(&t, "StatefulSet", "db").await?;
    expect(&t.complete(&second).await?, "Unchanged", "none", "was rolled back by this execution")
}

async fn partition_is_warned_of(t: T) -> Result<()> {
    t.world
        .workload(
            "StatefulSet",
            "db",
            2,
            json!({ "spec": { "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": 1 } } } }),
        )
        .await?;
    t.meddle("StatefulSet", "db", image(2)).await?;
    t.world
        .until(&t.world.workload_path("StatefulSet", "db"), "half way", |set| {
            set["status"]["updatedReplicas"] == 1
                && set["status"]["readyReplicas"] == 2
                && set["status"]["observedGeneration"] == set["metadata"]["generation"]
        })
        .await?;
    let outcome = t.act("rollback-statefulset", "db", &json!({})).await?;
    expect(&outcome, "Changed", "applied", "rolled statefulset")?;
    ensure!(
        outcome.result["warnings"][0].as_str().is_some_and(|text| text.contains("has a partition")),
        "{:#}",
        outcome.result
    );
    Ok(())
}

async fn overwritten_while_waiting(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 1, mode("slow")).await?;
    t.meddle("Deployment", "web", image(2)).await?;
    settled(&t, "Deployment", "web").await?;
    let run = t.run("rollback-deployment", "web").await?;
    let running = run.start(&t.world)?;
    let path = t.world.workload_path("Deployment", "web");
    t.world
        .until(&path, "rolled back", |object| {
            object["spec"]["template"]["spec"]["containers"][0]["image"] == "shop/web:1"
        })
        .await?;
    t.meddle("Deployment", "web", image(2)).await?;
    let outcome = running.complete(&t.world).await?;
    expect(&outcome, "NotVerified", "applied", "its pod template is another one now")
}

async fn conflict_with_a_new_rollout(t: T) -> Result<()> {
    // Somebody rolls out a fix meanwhile: "the one before" would now be another revision, and nobody asked for that.
    with_revisions(&t, "Deployment", "web", 2).await?;
    let path = t.world.workload_path("Deployment", "web");
    let patch = r#"{"spec":{"template":{"metadata":{"labels":{"fix":"N"}}}}}"#.to_owned();
    let rule = Rule {
        fault: Fault::ChangeFirst { path, patch },
        method: "PATCH",
        contains: "/deployments/",
        lacks: "dryRun",
        times: 1,
    };
    let (proxy, kubeconfig) = t.through_proxy("rollback-deployment", rule).await?;
    let run = t.run("rollback-deployment", "web").await?.with("KUBECONFIG", kubeconfig.display());
    let outcome = t.complete(&run).await?;
    ensure!(proxy.hits() == 1, "the fault hit");
    expect(&outcome, "Conflict", "none", "would now mean something else")
}

async fn lost_answer_is_found_out(t: T) -> Result<()> {
    with_revisions(&t, "Deployment", "web", 2).await?;
    let rule = Rule { fault: Fault::LoseAnswer, method: "PATCH", contains: "/deployments/", lacks: "dryRun", times: 1 };
    let (proxy, kubeconfig) = t.through_proxy("rollback-deployment", rule).await?;
    let run = t.run("rollback-deployment", "web").await?.with("KUBECONFIG", kubeconfig.display());
    let outcome = t.complete(&run).await?;
    ensure!(proxy.hits() == 1, "the fault hit");
    expect(&outcome, "Changed", "applied", "back to revision 1")
}

async fn secrets_are_hidden(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    let secret = container(
        json!({ "image": "shop/web:1", "args": ["--key=topsecret1"], "env": [{ "name": "PASSWORD", "value": "topsecret2" }] }),
    );
    t.meddle("Deployment", "web", secret).await?;
    settled(&t, "Deployment", "web").await?;
    let back = t.act("rollback-deployment", "web", &json!({})).await?;
    let forth = t.undo(&back, "web").await?;
    for outcome in [&back, &forth] {
        ensure!(
            outcome.result["code"] == "Changed"
                && !outcome.result.to_string().contains("topsecret")
                && !outcome.stderr.contains("topsecret"),
            "{:#}",
            outcome.result
        );
    }
    Ok(())
}

async fn stray_fields_are_gone(t: T) -> Result<()> {
    // What the newer revision added must not stay behind, as it does with a merge patch.
    for kind in ["StatefulSet", "DaemonSet"] {
        let name = kind.to_lowercase();
        t.world.workload(kind, &name, 1, json!({})).await?;
        let stray = json!({ "spec": { "template": { "metadata": { "annotations": { "checksum/config": "2" } } } } });
        t.meddle(kind, &name, stray).await?;
        settled(&t, kind, &name).await?;
        expect(&t.act(&format!("rollback-{name}"), &name, &json!({})).await?, "Changed", "applied", "rolled")?;
        let template = &t.object(kind, &name).await?["spec"]["template"];
        ensure!(template.pointer("/metadata/annotations/checksum~1config").is_none(), "{kind}: {template:#}");
    }
    Ok(())
}

async fn warns_of_gitops(t: T) -> Result<()> {
    with_revisions(&t, "Deployment", "web", 2).await?;
    t.meddle(
        "Deployment",
        "web",
        json!({ "metadata": { "annotations": { "argocd.argoproj.io/tracking-id": "shop:apps/Deployment:shop/web" } } }),
    )
    .await?;
    let outcome = t.act("rollback-deployment", "web", &json!({})).await?;
    expect(&outcome, "Changed", "applied", "rolled")?;
    ensure!(
        outcome.result["warnings"][0].as_str().is_some_and(|text| text.contains("managed by Argo CD")),
        "{:#}",
        outcome.result
    );
    Ok(())
}
