//! restart of workloads and pods, against a real API server.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::proxy::{Fault, Rule};

use crate::budget::Budget;
use crate::support::{T, expect, mode, scenarios};

scenarios!("restart":
    every_kind, refused_when_paused_or_on_delete, not_found_and_forbidden, dry_run_leaves_no_trace, keeps_reason_and_mark,
    same_id_applies_once, the_other_run_comes_in_between, mark_survives_a_foreign_undo, id_of_another_request, twice_in_a_second, overwritten_while_waiting,
    crash_loop_is_told_after_stuck_after, failing_rollout_is_told_by_its_deadline, conflict_is_decided_again, lost_answer_is_found_out,
    replica_set_leads_to_its_deployment, pod_is_replaced, stateful_pod_is_replaced, pod_guards, pod_that_is_gone, budget_blocks,
    budget_is_waited_for, lost_eviction_is_found_out,
);

const RESTARTED_AT: &str = "/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt";

fn restarted_at(object: &Value) -> Option<&str> {
    object.pointer(RESTARTED_AT).and_then(Value::as_str)
}

fn uids(pods: &[Value]) -> Vec<String> {
    pods.iter().map(|pod| pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Where a restart leaves its marks.
const MARKS: &str = "kubernetesexecution.kubernaut.io/executions-restart";

async fn every_kind(t: T) -> Result<()> {
    for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
        let name = kind.to_lowercase();
        t.world.workload(kind, &name, 2, json!({})).await?;
        let before = uids(&t.world.pods(&name).await?);
        let outcome = t.act(&format!("restart-{name}"), &name, &json!({})).await?;
        expect(&outcome, "Changed", "applied", "new pods ready after")?;
        let after = t.world.pods(&name).await?;
        let live: Vec<_> =
            after.iter().filter(|pod| pod["metadata"].get("deletionTimestamp").is_none()).cloned().collect();
        ensure!(live.len() >= 2 && uids(&live).iter().all(|uid| !before.contains(uid)), "every pod is a new one");
        ensure!(outcome.result["rollbackInformation"]["available"] == false);
    }
    Ok(())
}

async fn refused_when_paused_or_on_delete(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    t.meddle("Deployment", "web", json!({ "spec": { "paused": true } })).await?;
    expect(&t.act("restart-deployment", "web", &json!({})).await?, "Refused", "none", "is paused")?;
    for kind in ["StatefulSet", "DaemonSet"] {
        let name = kind.to_lowercase();
        t.world.workload(kind, &name, 1, json!({ "spec": { "updateStrategy": { "type": "OnDelete" } } })).await?;
        expect(&t.act(&format!("restart-{name}"), &name, &json!({})).await?, "Refused", "none", "OnDelete")?;
    }
    Ok(())
}

async fn not_found_and_forbidden(t: T) -> Result<()> {
    expect(&t.act("restart-deployment", "web", &json!({})).await?, "TargetNotFound", "none", "does not exist")?;
    expect(&t.act("restart-pod", "web-1", &json!({})).await?, "TargetNotFound", "none", "pod")?;
    let account = t.account("cordon-node").await?;
    let run = t.run("restart-deployment", "web").await?.with("KUBECONFIG", account.display());
    expect(&t.complete(&run).await?, "Forbidden", "none", "patch deployments (apps)")?;
    let run = t.run("restart-pod", "web").await?.with("KUBECONFIG", account.display());
    expect(&t.complete(&run).await?, "Forbidden", "none", "create pods/eviction (core)")
}

async fn dry_run_leaves_no_trace(t: T) -> Result<()> {
    let before = t.world.workload("Deployment", "web", 1, json!({})).await?;
    let run = t.run("restart-deployment", "web").await?.with("ACTION_DRY_RUN", true);
    let outcome = t.complete(&run).await?;
    expect(&outcome, "DryRun", "none", "would restart deployment")?;
    let after = t.object("Deployment", "web").await?;
    ensure!(restarted_at(&after).is_none() && before["metadata"]["generation"] == after["metadata"]["generation"]);
    let pod = t.world.pods("web").await?[0]["metadata"]["name"].as_str().context("no pod")?.to_owned();
    let run = t.run("restart-pod", &pod).await?.with("ACTION_DRY_RUN", true);
    expect(&t.complete(&run).await?, "DryRun", "none", "would evict pod")?;
    ensure!(t.world.pods("web").await?[0]["metadata"].get("deletionTimestamp").is_none());
    Ok(())
}

async fn keeps_reason_and_mark(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    let run =
        t.run("restart-deployment", "web").await?.with("ACTION_REASON", "memory leak").with("ACTION_ID", "exec-1");
    expect(&t.complete(&run).await?, "Changed", "applied", "restarted deployment")?;
    let object = t.object("Deployment", "web").await?;
    let annotations = &object["metadata"]["annotations"];
    ensure!(annotations["kubernetes.io/change-cause"] == "memory leak");
    let marks: Value = serde_json::from_str(annotations[MARKS].as_str().unwrap_or_default())?;
    ensure!(marks[0]["id"] == "exec-1", "{marks}");
    ensure!(
        object
            .pointer("/spec/template/metadata/annotations")
            .and_then(Value::as_object)
            .is_some_and(|all| all.len() == 1),
        "nothing but restartedAt is in the template"
    );
    Ok(())
}

async fn same_id_applies_once(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    let run = t.run("restart-deployment", "web").await?.with("ACTION_ID", "exec-1");
    expect(&t.complete(&run).await?, "Changed", "applied", "restarted")?;
    let first = restarted_at(&t.object("Deployment", "web").await?).map(str::to_owned);
    let again = t.complete(&run).await?;
    expect(&again, "Unchanged", "none", "was restarted by this execution at")?;
    ensure!(again.result["resumed"] == true && again.result.get("changes").is_none());
    ensure!(restarted_at(&t.object("Deployment", "web").await?).map(str::to_owned) == first);
    Ok(())
}

/// Between its look at the Deployment and its look at the revisions, another run of the same id restarts it.
async fn the_other_run_comes_in_between(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    let run = t.run("restart-deployment", "web").await?.with("ACTION_ID", "exec-1");
    expect(&t.complete(&run).await?, "Changed", "applied", "restarted")?;
    let restarted = t.object("Deployment", "web").await?;
    let state = |marks: &Value, restarted_at: Value| {
        let template = json!({ "metadata": { "annotations": { "kubectl.kubernetes.io/restartedAt": restarted_at } } });
        json!({ "metadata": { "annotations": { MARKS: marks } }, "spec": { "template": template } })
    };
    // As it was before, but for the ReplicaSet, which has the mark; and back again just before that is listed.
    t.meddle("Deployment", "web", state(&Value::Null, Value::Null)).await?;
    let back = state(&restarted["metadata"]["annotations"][MARKS], json!(restarted_at(&restarted))).to_string();
    ensure!(!back.contains('N'), "the proxy puts a number there: {back}");
    let fault = Fault::ChangeFirst { path: t.world.workload_path("Deployment", "web"), patch: back };
    let rule = Rule { fault, method: "GET", contains: "/replicasets", lacks: "", times: 1 };
    let (proxy, kubeconfig) = t.through_proxy("restart-deployment", rule).await?;
    let outcome = t.complete(&run.with("KUBECONFIG", kubeconfig.display())).await?;
    ensure!(proxy.hits() == 1, "the fault hit");
    expect(&outcome, "Unchanged", "none", "was restarted by this execution at")?;
    ensure!(outcome.result["resumed"] == true, "{:#}", outcome.result);
    Ok(())
}

async fn mark_survives_a_foreign_undo(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    let run = t.run("restart-deployment", "web").await?.with("ACTION_ID", "exec-1");
    expect(&t.complete(&run).await?, "Changed", "applied", "restarted")?;
    // kubectl's undo puts another set of annotations in place of the Deployment's own.
    t.meddle("Deployment", "web", json!({ "metadata": { "annotations": { MARKS: null } } })).await?;
    expect(&t.complete(&run).await?, "Unchanged", "none", "was restarted by this execution")
}

async fn id_of_another_request(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    let run = t.run("restart-deployment", "web").await?.with("ACTION_ID", "exec-1");
    expect(&t.complete(&run).await?, "Changed", "applied", "restarted")?;
    let other = t.run("rollback-deployment", "web").await?.with("ACTION_ID", "exec-1");
    expect(&t.complete(&other).await?, "Refused", "none", "was used for another request")
}

async fn twice_in_a_second(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    let first = t.act("restart-deployment", "web", &json!({ "wait": false })).await?;
    let second = t.act("restart-deployment", "web", &json!({ "wait": false })).await?;
    expect(&first, "Changed", "applied", "not waited for")?;
    expect(&second, "Changed", "applied", "not waited for")?;
    let value = |outcome: &test_cluster::runner::Outcome| {
        let patch = outcome.result["changes"][0]["patch"].as_array().cloned().unwrap_or_default();
        patch
            .into_iter()
            .find(|one| one["path"].as_str().is_some_and(|path| path.contains("/spec/template")))
            .map(|one| one["value"].clone())
    };
    ensure!(value(&first) != value(&second) && value(&second).is_some());
    Ok(())
}

async fn overwritten_while_waiting(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 1, mode("slow")).await?;
    let run = t.run("restart-deployment", "web").await?;
    let running = run.start(&t.world)?;
    let path = t.world.workload_path("Deployment", "web");
    t.world.until(&path, "restarted", |object| restarted_at(object).is_some()).await?;
    t.meddle("Deployment", "web", json!({ "spec": { "template": { "metadata": { "annotations": { "kubectl.kubernetes.io/restartedAt": null } } } } })).await?;
    let outcome = running.complete(&t.world).await?;
    expect(&outcome, "NotVerified", "applied", "restartedAt is gone now")
}

async fn crash_loop_is_told_after_stuck_after(t: T) -> Result<()> {
    for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
        let name = kind.to_lowercase();
        t.world.create_workload(kind, &name, 1, mode("crash-loop")).await?;
        let outcome = t.act(&format!("restart-{name}"), &name, &json!({ "stuckAfter": "2s" })).await?;
        // Since the change or, as a StatefulSet keeps the pod of before, before it: times are whole seconds.
        expect(&outcome, "NotVerified", "applied", "container app: CrashLoopBackOff since ")?;
        let error = outcome.result["error"].as_str().unwrap_or_default();
        let counted =
            ["since the change", "before"].map(|when| format!("crashed 4 times {when} (last exit code 1, Error)"));
        ensure!(counted.iter().any(|says| error.contains(says)), "{error}");
    }
    Ok(())
}

async fn failing_rollout_is_told_by_its_deadline(t: T) -> Result<()> {
    let mut extra = mode("never-ready");
    extra["spec"]["progressDeadlineSeconds"] = json!(8);
    t.world.create_workload("Deployment", "web", 1, extra).await?;
    let outcome = t.act("restart-deployment", "web", &json!({})).await?;
    expect(&outcome, "NotVerified", "applied", "progressDeadlineSeconds is exceeded")?;
    ensure!(
        outcome.result["error"].as_str().is_some_and(|error| error.contains("runs but is not ready")),
        "{:#}",
        outcome.result
    );
    Ok(())
}

async fn conflict_is_decided_again(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    for (times, code, effect) in [(1, "Changed", "applied"), (9, "Conflict", "none")] {
        let path = t.world.workload_path("Deployment", "web");
        let fault = Fault::ChangeFirst { path, patch: r#"{"spec":{"revisionHistoryLimit":N}}"#.to_owned() };
        let rule = Rule { fault, method: "PATCH", contains: "/deployments/", lacks: "dryRun", times };
        let (proxy, kubeconfig) = t.through_proxy("restart-deployment", rule).await?;
        let run = t.run("restart-deployment", "web").await?.with("KUBECONFIG", kubeconfig.display());
        let outcome = t.complete(&run).await?;
        ensure!(proxy.hits() == u32::min(times, 3), "the fault hit {} times", proxy.hits());
        expect(&outcome, code, effect, "")?;
    }
    Ok(())
}

async fn lost_answer_is_found_out(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    let rule = Rule { fault: Fault::LoseAnswer, method: "PATCH", contains: "/deployments/", lacks: "dryRun", times: 1 };
    let (proxy, kubeconfig) = t.through_proxy("restart-deployment", rule).await?;
    let run = t.run("restart-deployment", "web").await?.with("KUBECONFIG", kubeconfig.display());
    let outcome = t.complete(&run).await?;
    ensure!(proxy.hits() == 1, "the fault hit");
    expect(&outcome, "Changed", "applied", "1 of 1 new pods ready")
}

async fn replica_set_leads_to_its_deployment(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    let sets = t.world.get(&t.world.path("apps/v1", "replicasets")).await?;
    let name = sets["items"][0]["metadata"]["name"].as_str().context("no ReplicaSet")?.to_owned();
    let outcome = t.act("restart-replicaset", &name, &json!({})).await?;
    expect(&outcome, "Changed", "applied", "restarted deployment")?;
    ensure!(outcome.result["target"]["resolvedFrom"]["kind"] == "ReplicaSet");
    Ok(())
}

async fn first_pod(t: &T, app: &str) -> Result<(String, String)> {
    let pods = t.world.pods(app).await?;
    let text = |pointer: &str| {
        pods.first().and_then(|pod| pod.pointer(pointer)?.as_str().map(str::to_owned)).context("no pod")
    };
    Ok((text("/metadata/name")?, text("/metadata/uid")?))
}

async fn pod_is_replaced(t: T) -> Result<()> {
    for kind in ["Deployment", "DaemonSet"] {
        let app = kind.to_lowercase();
        t.world.workload(kind, &app, 3, json!({})).await?;
        let (name, uid) = first_pod(&t, &app).await?;
        let run = t.run("restart-pod", &name).await?.with("ACTION_ID", "exec-1").with("TARGET_UID", &uid);
        let outcome = t.complete(&run).await?;
        expect(&outcome, "Changed", "applied", "; its replacement ")?;
        ensure!(
            outcome.result["changes"][0]["operation"] == "evict"
                && outcome.result["changes"][0]["object"]["uid"] == json!(uid)
        );
        expect(&t.complete(&run).await?, "Unchanged", "none", "was gone already")?;
    }
    Ok(())
}

async fn stateful_pod_is_replaced(t: T) -> Result<()> {
    t.world.workload("StatefulSet", "db", 2, json!({})).await?;
    let outcome = t.act("restart-pod", "db-1", &json!({ "gracePeriodSeconds": 0 })).await?;
    expect(&outcome, "Changed", "applied", "its replacement db-1 is ready")
}

async fn pod_guards(t: T) -> Result<()> {
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "lonely" }, "spec": { "terminationGracePeriodSeconds": 1, "containers": [{ "name": "app", "image": "x" }] } });
    let path = t.world.path("v1", "pods");
    t.world.create(&path, &pod).await?;
    t.world.until(&format!("{path}/lonely"), "running", |pod| pod["status"]["phase"] == "Running").await?;
    expect(&t.act("restart-pod", "lonely", &json!({})).await?, "Refused", "none", "nothing would replace pod")?;
    let run = t.run("restart-pod", "lonely").await?.with("ACTION_ID", "exec-1");
    expect(&t.complete(&run).await?, "InvalidRequest", "none", "TARGET_UID: restart-pod with an ACTION_ID needs it")?;
    expect(&t.act("restart-pod", "lonely", &json!({ "force": true })).await?, "Changed", "applied", "evicted pod")
}

async fn pod_that_is_gone(t: T) -> Result<()> {
    let run = t.run("restart-pod", "gone").await?.with("TARGET_UID", "some-uid");
    expect(&t.complete(&run).await?, "NotVerified", "none", "is gone; what replaced it cannot be known")?;
    let not_waited = run.parameters(&json!({ "wait": false }));
    expect(&t.complete(&not_waited).await?, "Unchanged", "none", "was gone already; not waited for a replacement")
}

async fn budget_blocks(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    Budget::strict(&t, "web").await?;
    let (name, _) = first_pod(&t, "web").await?;
    let outcome = t.act("restart-pod", &name, &json!({ "waitTimeout": "6s" })).await?;
    expect(&outcome, "DeadlineExceeded", "none", "The disruption budget strict needs")?;
    ensure!(outcome.result["requests"]["retries"] == 0, "an answer is not retried: {:#}", outcome.result);
    let run = t.run("restart-pod", &name).await?.with("ACTION_DRY_RUN", true);
    expect(&t.complete(&run).await?, "Refused", "none", "disruption budget")
}

async fn budget_is_waited_for(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    let budget = Budget::strict(&t, "web").await?;
    let (name, _) = first_pod(&t, "web").await?;
    let run = t.run("restart-pod", &name).await?;
    let running = run.start(&t.world)?;
    budget.blocks(&t, &name).await?;
    budget.gives_way(&t).await?;
    let outcome = running.complete(&t.world).await?;
    expect(&outcome, "Changed", "applied", "its replacement")
}

async fn lost_eviction_is_found_out(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    let (name, _) = first_pod(&t, "web").await?;
    let rule = Rule { fault: Fault::LoseAnswer, method: "POST", contains: "/eviction", lacks: "dryRun", times: 1 };
    let (proxy, kubeconfig) = t.through_proxy("restart-pod", rule).await?;
    let run = t.run("restart-pod", &name).await?.with("KUBECONFIG", kubeconfig.display());
    let outcome = t.complete(&run).await?;
    ensure!(proxy.hits() == 1, "the fault hit");
    expect(&outcome, "Changed", "applied", "its replacement")
}
