//! Why a rollout does not finish: each cause stands in the cluster, as the control plane itself has put it there, and the
//! result names it. The second judge holds every such result to the cluster (`tests/harness/src/verdict/cause.rs`); here it is
//! which cause, and when. `UPDATE=1` writes the table in docs/causes.md.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use test_cluster::fixtures::{node_with, unique};
use test_cluster::hangs::{Bound, Cause, Hanging, Table, Told};

use crate::shown::{first_pod, restart_pod, serving, uid};
use crate::support::{T, expect, mode, scenarios};
use crate::why::{Try, condition, patience, row};

scenarios!("causes":
    unschedulable, a_claim_that_is_not_there, gated, nothing_is_reported, a_dead_node_holds_a_daemon, min_ready_seconds, a_probe_that_never_passes,
    an_image_that_cannot_be_pulled, a_crash_loop, rejected_by_the_kubelet, the_namespace_is_terminating,
    restarts_of_before_do_not_count, restarts_of_a_sibling_do_not_count, a_cache_that_is_not_there_yet,
);

/// What came of all causes that this suite makes.
pub static TABLE: Table = Table::new(
    "causes-kwok",
    &[
        "no node fits the pod",
        "a PersistentVolumeClaim that is not there",
        "a scheduling gate",
        "the pod is bound to a node that reports nothing",
        "the pod is bound to a node that is dead",
        "a DaemonSet's pod on a dead node",
        "`minReadySeconds` takes longer than `waitTimeout`",
        "a readiness probe that does not pass",
        "an image that cannot be pulled",
        "a crash loop",
        "a Deployment's pods are refused by their kubelet, again and again",
        "a StatefulSet's pods are refused by their kubelet, again and again",
        "a DaemonSet's pods are refused by their kubelet, again and again",
        "the namespace is being deleted",
        "a quota, of a Deployment",
        "a quota, of a StatefulSet",
        "a quota, of a DaemonSet",
        "a quota, of `restart-pod`'s replacement",
        "a quota of ReplicaSets",
        "Pod Security",
        "an admission policy",
        "a webhook that is not reached",
        "a finalizer holds a pod of a Deployment with the strategy `Recreate`",
        "a finalizer holds a StatefulSet's pod",
        "a finalizer holds the pod of `restart-pod`",
        "a StatefulSet's pod on a dead node",
        "the pod of `restart-pod` is on a dead node",
    ],
    // Its words are longer than what is quoted: where they are cut depends on the pod's name.
    &["Pod Security"],
);

/// A restart of a workload that was never ready, and is no better after it.
async fn never_ready(of: &Try, kind: &str, extra: Value, parameters: Value, cause: Cause<'_>) -> Result<(Told, Value)> {
    of.t.world.create_workload(kind, &of.app, 1, extra).await?;
    // There is a pod of before, whatever becomes of it.
    let pods = format!("{}?labelSelector=app%3D{}", of.t.world.path("v1", "pods"), of.app);
    of.t.world.until(&pods, "a pod", |list| list["items"].as_array().is_some_and(|all| !all.is_empty())).await?;
    let ended = of.restarted(kind, parameters).await?;
    of.because(&ended, &cause).await
}

async fn unschedulable(t: T) -> Result<()> {
    row(&t, "no node fits the pod", "homeless", async |of: &Try| {
        let nowhere = json!({ "spec": { "template": { "spec": { "nodeSelector": { "no": "such-label" } } } } });
        let bound = Bound::StuckAfter(3, 0);
        let cause = Cause { kind: "Pod", state: "Unschedulable", words: "nodes are available", bound };
        let (told, pod) = never_ready(of, "Deployment", nowhere, patience(3), cause).await?;
        ensure!(condition(&pod, "PodScheduled")["reason"] == "Unschedulable", "{pod:#}");
        Ok(told)
    })
    .await
}

async fn a_claim_that_is_not_there(t: T) -> Result<()> {
    row(&t, "a PersistentVolumeClaim that is not there", "claiming", async |of: &Try| {
        let volumes = json!([{ "name": "data", "persistentVolumeClaim": { "claimName": "missing" } }]);
        let extra = json!({ "spec": { "template": { "spec": { "volumes": volumes } } } });
        let words = "persistentvolumeclaim \"missing\" not found";
        let cause = Cause { kind: "Pod", state: "Unschedulable", words, bound: Bound::StuckAfter(3, 0) };
        never_ready(of, "StatefulSet", extra, patience(3), cause).await.map(|(told, _)| told)
    })
    .await
}

async fn gated(t: T) -> Result<()> {
    row(&t, "a scheduling gate", "gated", async |of: &Try| {
        let gate =
            json!({ "spec": { "template": { "spec": { "schedulingGates": [{ "name": "example.com/quota" }] } } } });
        let bound = Bound::StuckAfter(3, 0);
        let cause = Cause { kind: "Pod", state: "SchedulingGated", words: "", bound };
        let (told, pod) = never_ready(of, "Deployment", gate, patience(3), cause).await?;
        ensure!(condition(&pod, "PodScheduled")["reason"] == "SchedulingGated", "{pod:#}");
        ensure!(told.says.contains("example.com/quota"), "it does not say which gate: {}", told.says);
        Ok(told)
    })
    .await
}

/// It is bound, and no kubelet says a word of it: the pod shows only that it is pending.
async fn nothing_is_reported(t: T) -> Result<()> {
    let dead = row(&t, "the pod is bound to a node that is dead", "dead-node", async |of: &Try| {
        let node = own_node(&of.t).await?;
        dies(&of.t, &node).await?;
        let mut extra = on(&node);
        extra["spec"]["template"]["metadata"]["labels"] = json!({ "test/mode": "silent" });
        let cause = Cause { kind: "Pod", state: "Pending", words: of_node(of), bound: Bound::StuckAfter(3, 10) };
        let (told, pod) = never_ready(of, "Deployment", extra, patience(3), cause).await?;
        ensure!(pod["spec"]["nodeName"] == node, "{pod:#}");
        Ok(Told { says: told.says.replace(&node, "node-a"), ..told })
    });
    let silent = row(&t, "the pod is bound to a node that reports nothing", "quiet-node", async |of: &Try| {
        let bound = Bound::StuckAfter(3, 10);
        let cause = Cause { kind: "Pod", state: "Pending", words: "", bound };
        let (told, pod) = never_ready(of, "Deployment", mode("silent"), patience(3), cause).await?;
        ensure!(pod["status"]["containerStatuses"].is_null() && pod["spec"]["nodeName"].is_string(), "{pod:#}");
        Ok(told)
    });
    tokio::try_join!(dead, silent).map(|_| ())
}

/// A node of its own; when it dies, its kubelet says nothing more, and the node's controller says so.
pub async fn own_node(t: &T) -> Result<String> {
    let name = format!("node-{:08x}", unique());
    // DaemonSets of the fixtures go to these alone.
    let labels = json!({ "test/mortal": "true", "test/pool": "shared" });
    node_with(&t.world, &name, json!([{ "key": "test/own", "effect": "NoSchedule" }]), labels).await?;
    Ok(name)
}

/// What keeps a workload's pods on that node, and there for ever when it is dead.
pub fn on(node: &str) -> Value {
    json!({ "spec": { "template": {
        "metadata": { "labels": { "test/end": "never" } },
        "spec": { "nodeSelector": { "kubernetes.io/hostname": node }, "tolerations": [{ "operator": "Exists" }] },
    } } })
}

/// As the node lifecycle controller says it, 40 s after the last heartbeat.
const STOPPED: &str = "Kubelet stopped posting node status.";

/// The node's kubelet is dead from now on.
pub async fn dies(t: &T, name: &str) -> Result<()> {
    let path = format!("/api/v1/nodes/{name}");
    t.world.merge(&path, &json!({ "metadata": { "labels": { "test/dead": "true" } } })).await?;
    let ready = |status: &str, reason: &str| {
        let now = Timestamp::now().to_string();
        json!({ "type": "Ready", "status": status, "reason": reason, "message": STOPPED, "lastHeartbeatTime": now, "lastTransitionTime": now })
    };
    let status = json!({ "status": { "conditions": [ready("Unknown", "NodeStatusUnknown")] } });
    t.world.merge(&format!("{path}/status"), &status).await?;
    t.world.until(&path, "dead", |node| condition(node, "Ready")["status"] == "Unknown").await.map(|_| ())
}

/// With the component the words are the node's.
pub fn of_node(of: &Try) -> &'static str {
    if of.causes { STOPPED } else { "" }
}

/// Its node dies as soon as it is being deleted.
pub async fn dies_under(of: &Try, node: &str) -> Result<()> {
    let pods = of.t.world.path("v1", "pods");
    let leaves = |list: &Value| list["items"][0]["metadata"]["deletionTimestamp"].is_string();
    of.t.world.until(&pods, "a pod that is being deleted", leaves).await?;
    dies(&of.t, node).await
}

/// A pod on a dead node that keeps a run waiting, as it is told.
pub async fn held_by_its_node(of: &Try, hanging: Hanging, node: &str) -> Result<Told> {
    dies_under(of, node).await?;
    let ended = hanging.ends(&of.t.world).await?;
    let cause = Cause { kind: "Pod", state: "Terminating", words: of_node(of), bound: Bound::StuckAfter(3, 10) };
    let (told, pod) = of.because(&ended, &cause).await?;
    ensure!(pod["metadata"]["deletionTimestamp"].is_string() && pod["spec"]["nodeName"] == node, "{pod:#}");
    Ok(Told { says: told.says.replace(node, "node-a"), ..told })
}

async fn a_dead_node_holds_a_daemon(t: T) -> Result<()> {
    row(&t, "a DaemonSet's pod on a dead node", "agent", async |of: &Try| {
        let node = own_node(&of.t).await?;
        of.workload("DaemonSet", 1, on(&node)).await?;
        let hanging = of.restart("DaemonSet", patience(3)).await?;
        held_by_its_node(of, hanging, &node).await
    })
    .await
}

async fn min_ready_seconds(t: T) -> Result<()> {
    row(&t, "`minReadySeconds` takes longer than `waitTimeout`", "ripening", async |of: &Try| {
        let bound = Bound::WaitTimeout(6);
        let cause = Cause { kind: "Pod", state: "Ready", words: "", bound };
        let extra = json!({ "spec": { "minReadySeconds": 60 } });
        let (told, pod) = never_ready(of, "Deployment", extra, json!({ "waitTimeout": "6s" }), cause).await?;
        ensure!(condition(&pod, "Ready")["status"] == "True", "{pod:#}");
        ensure!(!told.says.contains("1 of 1 new pods are ready"), "that is no error: {}", told.says);
        ensure!(told.says.contains("minReadySeconds"), "it does not say what it waits for: {}", told.says);
        Ok(told)
    })
    .await
}

async fn a_probe_that_never_passes(t: T) -> Result<()> {
    row(&t, "a readiness probe that does not pass", "probed", async |of: &Try| {
        let bound = Bound::WaitTimeout(6);
        let cause = Cause { kind: "Pod", state: "ContainersNotReady", words: "", bound };
        let parameters = json!({ "waitTimeout": "6s", "stuckAfter": "2s" });
        never_ready(of, "Deployment", mode("never-ready"), parameters, cause).await.map(|(told, _)| told)
    })
    .await
}

async fn an_image_that_cannot_be_pulled(t: T) -> Result<()> {
    row(&t, "an image that cannot be pulled", "pulls", async |of: &Try| {
        let words = "Back-off pulling image: failed to resolve reference: not found";
        let cause = Cause { kind: "Pod", state: "ImagePullBackOff", words, bound: Bound::StuckAfter(3, 0) };
        never_ready(of, "Deployment", mode("image-pull"), patience(3), cause).await.map(|(told, _)| told)
    })
    .await
}

async fn a_crash_loop(t: T) -> Result<()> {
    row(&t, "a crash loop", "crashing", async |of: &Try| {
        let bound = Bound::StuckAfter(3, 0);
        let cause = Cause { kind: "Pod", state: "CrashLoopBackOff", words: "back-off 40s restarting", bound };
        never_ready(of, "Deployment", mode("crash-loop"), patience(3), cause).await.map(|(told, _)| told)
    })
    .await
}

/// Hundreds of pods that nobody sees: each is made, refused, and made again.
async fn rejected_by_the_kubelet(t: T) -> Result<()> {
    let one = async |what: &'static str, kind: &str| {
        row(&t, what, &format!("refused-{}", kind.to_lowercase()), async |of: &Try| {
            let bound = Bound::StuckAfter(4, 0);
            let cause = Cause {
                kind: "Pod",
                state: "NodeAffinity",
                words: "Pod was rejected: Predicate NodeAffinity failed",
                bound,
            };
            never_ready(of, kind, mode("rejected"), patience(4), cause).await.map(|(told, _)| told)
        })
        .await
    };
    tokio::try_join!(
        one("a Deployment's pods are refused by their kubelet, again and again", "Deployment"),
        one("a StatefulSet's pods are refused by their kubelet, again and again", "StatefulSet"),
        one("a DaemonSet's pods are refused by their kubelet, again and again", "DaemonSet"),
    )
    .map(|_| ())
}

/// Pods are deleted before all else, and one of them is held: the Deployment is there, and no pod can be made for it.
async fn the_namespace_is_terminating(t: T) -> Result<()> {
    row(&t, "the namespace is being deleted", "parting", async |of: &Try| {
        of.workload("Deployment", 1, json!({})).await?;
        // The accounts are there still, and so is their namespace.
        of.t.account("restart-deployment").await?;
        of.t.with_causes("restart-deployment").await?;
        let pods = of.t.world.path("v1", "pods");
        of.t.world.create(&pods, &pod_held_by("example.com/keep")).await?;
        of.t.world.delete(&format!("/api/v1/namespaces/{}", of.t.world.namespace)).await?;
        let only_held = |list: &Value| list["items"].as_array().is_some_and(|all| all.len() == 1);
        of.t.world.until(&pods, "one pod, that is held", only_held).await?;
        let ended = of.restarted("Deployment", json!({ "stuckAfter": "3s", "waitTimeout": "10s" })).await?;
        let bound = if of.causes { Bound::Certain } else { Bound::WaitTimeout(10) };
        let (kind, state) = if of.causes { ("Namespace", "Terminating") } else { ("Deployment", "NotObserved") };
        let cause = Cause { kind, state, words: "", bound };
        let told = of.because(&ended, &cause).await?.0;
        of.t.world.merge(&format!("{pods}/held"), &json!({ "metadata": { "finalizers": null } })).await?;
        Ok(told)
    })
    .await
}

fn pod_held_by(finalizer: &str) -> Value {
    let spec = json!({ "terminationGracePeriodSeconds": 1, "containers": [{ "name": "app", "image": "x" }] });
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "held", "finalizers": [finalizer] }, "spec": spec })
}

/// Crashes of before the change prove nothing: the pod of before recovers by itself, and the rollout goes on.
async fn restarts_of_before_do_not_count(t: T) -> Result<()> {
    t.world.create_workload("StatefulSet", "db", 1, mode("recovers")).await?;
    let pods = t.world.path("v1", "pods");
    let crashed = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"] == 7;
    let before = t.world.until(&format!("{pods}/db-0"), "seven crashes", crashed).await?;
    of_before(&before).await?;
    t.meddle("StatefulSet", "db", mode_of_none()).await?;
    let outcome = t.act("restart-statefulset", "db", &json!({ "stuckAfter": "30s" })).await?;
    let after = serving(&t, "db").await?;
    expect(&outcome, "Changed", "applied", "1 of 1 new pods ready")?;
    ensure!(after.len() == 1 && uid(&after[0]) != uid(&before), "{after:#?}");
    Ok(())
}

/// Until nobody can take a pod for one that was made after a change that comes now: times are whole seconds.
async fn of_before(pod: &Value) -> Result<()> {
    let made: Timestamp = pod["metadata"]["creationTimestamp"].as_str().context("no time")?.parse()?;
    let left = (made + SignedDuration::from_secs(4)).duration_since(Timestamp::now());
    tokio::time::sleep(Duration::try_from(left).unwrap_or_default()).await;
    Ok(())
}

/// Takes the mode away.
fn mode_of_none() -> Value {
    json!({ "spec": { "template": { "metadata": { "labels": { "test/mode": null } } } } })
}

async fn restarts_of_a_sibling_do_not_count(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    let target = first_pod(&t, "web").await?;
    let sibling = t.world.pods("web").await?.into_iter().find(|pod| uid(pod) != uid(&target)).unwrap_or_default();
    of_before(&sibling).await?;
    let path = format!("{}/{}", t.world.path("v1", "pods"), crate::shown::name(&sibling));
    t.world.merge(&path, &json!({ "metadata": { "labels": { "test/mode": "recovers" } } })).await?;
    let sick = json!({ "status": {
        "conditions": [{ "type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "containers with unready status: [app]" }],
        "containerStatuses": [{
            "name": "app", "image": "shop/web:1", "imageID": "", "ready": false, "started": false, "restartCount": 7,
            "containerID": format!("containerd://{}-app-7", uid(&sibling)),
            "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container" } },
            "lastState": { "terminated": { "exitCode": 1, "reason": "Error" } },
        }],
    } });
    t.world.merge(&format!("{path}/status"), &sick).await?;
    let run = restart_pod(&t, &target).await?.parameters(&json!({ "stuckAfter": "30s" }));
    let outcome = t.complete(&run).await?;
    expect(&outcome, "Changed", "applied", "its replacement")?;
    ensure!(serving(&t, "web").await?.len() == 2, "two serve");
    Ok(())
}

/// The kubelet has not read it yet: slow, and no cause to give up.
async fn a_cache_that_is_not_there_yet(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 1, mode("config-cache")).await?;
    let outcome = t.act("restart-deployment", "web", &json!({ "stuckAfter": "2s" })).await?;
    expect(&outcome, "Changed", "applied", "1 of 1 new pods ready")?;
    ensure!(serving(&t, "web").await?.len() == 1, "one serves");
    Ok(())
}
