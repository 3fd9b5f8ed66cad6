//! What the cluster itself shows of a workload's pods right after a run, whatever the run says.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use test_cluster::fixtures::merge;
use test_cluster::runner::{Outcome, Run};

use crate::support::{T, expect};

/// A pod, as one sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    pub name: String,
    pub uid: String,
    pub image: String,
    pub ready: bool,
    pub ending: bool,
    pub finished: bool,
    pub restarts: u64,
}

impl Pod {
    fn read(pod: &Value) -> Self {
        let own = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let conditions = pod["status"]["conditions"].as_array();
        Self {
            name: own("/metadata/name"),
            uid: own("/metadata/uid"),
            image: own("/spec/containers/0/image"),
            ready: conditions
                .is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True")),
            ending: !own("/metadata/deletionTimestamp").is_empty(),
            finished: matches!(own("/status/phase").as_str(), "Succeeded" | "Failed"),
            restarts: pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or(0),
        }
    }

    /// Ready, and not on its way out.
    pub fn serves(&self) -> bool {
        self.ready && !self.ending && !self.finished
    }
}

/// The pods of an app, by name.
pub async fn pods(t: &T, app: &str) -> Result<Vec<Pod>> {
    let mut pods: Vec<Pod> = t.world.pods(app).await?.iter().map(Pod::read).collect();
    pods.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(pods)
}

/// Waits until an app's pods are so.
pub async fn until(t: &T, app: &str, what: &str, holds: impl Fn(&[Pod]) -> bool) -> Result<Vec<Pod>> {
    let path = format!("{}?labelSelector=app%3D{app}", t.world.path("v1", "pods"));
    let read = |list: &Value| {
        let mut pods: Vec<Pod> = list["items"].as_array().into_iter().flatten().map(Pod::read).collect();
        pods.sort_by(|one, other| one.name.cmp(&other.name));
        pods
    };
    t.world.until(&path, what, |list| holds(&read(list))).await.map(|list| read(&list))
}

/// The UIDs of pods.
pub fn uids(pods: &[Pod]) -> BTreeSet<&str> {
    pods.iter().map(|pod| pod.uid.as_str()).collect()
}

/// A run, and how its target's pods were when it had ended.
#[derive(Debug)]
pub struct After {
    pub outcome: Outcome,
    pub pods: Vec<Pod>,
    pub meddled: bool,
}

/// Runs it, and looks at the cluster before anything that it says.
pub async fn after(t: &T, run: &Run, app: &str) -> Result<After> {
    let outcome = t.complete(&run.clone().told()).await?;
    After::of(t, outcome, app).await
}

/// The same, of an action with parameters.
pub async fn act(t: &T, action: &str, name: &str, parameters: &Value) -> Result<After> {
    let run = t.run(action, name).await?.parameters(parameters);
    after(t, &run, name).await
}

impl After {
    /// Of a run that was told to tell what the second judge finds.
    pub async fn of(t: &T, outcome: Outcome, app: &str) -> Result<Self> {
        Ok(Self { outcome, pods: pods(t, app).await?, meddled: false })
    }

    /// Somebody else changes the target.
    pub fn meddled(mut self) -> Self {
        self.meddled = true;
        self
    }

    /// The result.
    pub fn result(&self) -> &Value {
        &self.outcome.result
    }

    /// Something that must be so in the cluster.
    pub fn shows(&self, what: &str, holds: bool) -> Result<()> {
        if holds {
            return Ok(());
        }
        let result = self.result();
        let said = result["output"].as_str().or(result["error"].as_str()).unwrap_or_default();
        let pods: Vec<String> = self.pods.iter().map(|pod| format!("\n  {pod:?}")).collect();
        bail!("the cluster does not show {what}:{}\nthe run said {}: {said}\n{result:#}", pods.concat(), result["code"])
    }

    /// Exactly so many pods serve, and beside them there are only those that ran to their end.
    pub fn serves(&self, number: usize) -> Result<()> {
        let serving = self.pods.iter().filter(|pod| pod.serves()).count();
        let others = self.pods.iter().any(|pod| !pod.serves() && !pod.finished);
        self.shows(&format!("{number} serving pods and no others"), serving == number && !others)
    }

    /// None of those of before is left, and so many serve.
    pub fn replaced(&self, before: &[Pod], number: usize) -> Result<()> {
        let of_before = uids(&self.pods).intersection(&uids(before)).count();
        self.shows("only pods that were not there before", of_before == 0)?;
        self.serves(number)
    }

    /// What is said; and the second judge has found nothing.
    pub fn says(&self, code: &str, effect: &str, says: &str) -> Result<()> {
        expect(&self.outcome, code, effect, says)?;
        self.outcome.verdict.check(self.meddled).with_context(|| format!("{:#}", self.result()))
    }

    /// The counts in `details.pods`, those that are not named are 0.
    pub fn counts(&self, expected: &Value) -> Result<()> {
        let pods = &self.result()["details"]["pods"];
        for field in ["new", "notReady", "old", "terminating", "outOfReach"] {
            let number = expected[field].as_u64().unwrap_or(0);
            ensure!(pods[field] == number, "details.pods.{field} is not {number}: {:#}", self.result());
        }
        Ok(())
    }

    /// One of the warnings has these words.
    pub fn warns(&self, words: &str) -> Result<()> {
        let warnings = self.result()["warnings"].as_array();
        let told =
            warnings.is_some_and(|all| all.iter().any(|one| one.as_str().is_some_and(|one| one.contains(words))));
        ensure!(told, "no warning says {words:?}: {:#}", self.result());
        Ok(())
    }

    /// `patch`, `evict`, …: what is in `changes`.
    pub fn operations(&self) -> Vec<String> {
        let changes = self.result()["changes"].as_array().into_iter().flatten();
        changes.filter_map(|change| change["operation"].as_str().map(str::to_owned)).collect()
    }
}

/// One thing on top of another, as a merge patch or a fixture's `extra`.
pub fn with(mut one: Value, other: Value) -> Value {
    merge(&mut one, other);
    one
}

/// A template whose container has this image and a readiness probe: nobody follows it through `settle`.
pub fn probed(image: u32) -> Value {
    container(json!({ "image": format!("shop/web:{image}"), "readinessProbe": { "tcpSocket": { "port": 80 } } }))
}

/// The same without a probe.
pub fn bare(image: u32) -> Value {
    container(json!({ "image": format!("shop/web:{image}") }))
}

fn container(mut container: Value) -> Value {
    container["name"] = json!("app");
    container["securityContext"] = json!({ "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } });
    json!({ "spec": { "template": { "spec": { "containers": [container] } } } })
}

/// Labels of the pods, by which kwok makes them behave.
pub fn label(key: &str, value: &str) -> Value {
    json!({ "spec": { "template": { "metadata": { "labels": { key: value } } } } })
}

/// Pods with a probe that take 4 s to end.
pub fn slow_end(image: u32) -> Value {
    with(probed(image), label("test/end", "slow"))
}

/// A StatefulSet's partition.
pub fn partition(partition: i64) -> Value {
    json!({ "spec": { "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": partition } } } })
}

/// Waits until a pod's container has failed for good.
pub async fn broken(t: &T, pod: &str) -> Result<Value> {
    let path = format!("{}/{pod}", t.world.path("v1", "pods"));
    t.world.until(&path, "broken", |pod| pod["status"]["containerStatuses"][0]["restartCount"] == 3).await
}

/// Breaks one pod that ran: its container crashes again and again, and nothing brings it back.
pub async fn break_pod(t: &T, pod: &str) -> Result<()> {
    let path = format!("{}/{pod}", t.world.path("v1", "pods"));
    t.world.merge(&path, &json!({ "metadata": { "labels": { "test/mode": "broken" } } })).await?;
    let state =
        json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container" } });
    let status = json!({ "status": {
        "conditions": [{ "type": "Ready", "status": "False", "reason": "ContainersNotReady" }],
        "containerStatuses": [{
            "name": "app", "image": "", "imageID": "", "ready": false, "started": false, "restartCount": 3, "state": state,
            "containerID": "containerd://broken",
        }],
    } });
    t.world.merge(&format!("{path}/status"), &status).await.map(|_| ())
}

/// Keeps others' pods off a scenario's own node.
pub fn own_taint() -> Value {
    json!([{ "key": "test/own", "effect": "NoSchedule" }])
}

/// Pods that may run there.
pub fn tolerated() -> Value {
    json!({ "spec": { "template": { "spec": { "tolerations": [{ "key": "test/own", "operator": "Exists" }] } } } })
}
