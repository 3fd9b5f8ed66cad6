//! What the matrix runs: each action on a target of its own, made anew for every run.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::Connection;
use test_cluster::fixtures::{World, node, unique};

/// An action, in a namespace where its account is.
pub struct Case {
    /// `scale-deployment`
    pub action: &'static str,
    /// Its parameters.
    pub parameters: Value,
    /// Conditions before and after.
    pub conditions: Option<Value>,
    /// Its namespace.
    pub namespace: String,
    /// The name of its ServiceAccount.
    pub account: String,
}

/// A target, and what of its names is this run's own.
pub struct Target {
    /// Its name.
    pub name: String,
    /// Names in paths, and what stands for them.
    pub names: Vec<(String, &'static str)>,
    /// The path of the object that shows the effect.
    pub path: String,
    /// Its UID: what makes a restart-pod repeatable.
    pub uid: String,
    /// `ACTION_ID` of the runs on it.
    pub id: String,
}

/// The action that posts an event too.
const EVENTFUL: &str = "uncordon-node";

fn binary() -> PathBuf {
    test_cluster::assets::variable("ACTION_RUNNER")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_action-runner")), PathBuf::from)
}

/// Every case, ready to be run.
pub async fn all(connection: &Connection) -> Result<Vec<Case>> {
    let conditions =
        json!([{ "type": "no_crashloop_pods", "timeout": "5s" }, { "type": "rollout_settled", "timeout": "5s" }]);
    // Two thousand runs: one action settles for as long as it does by default, the others for a second.
    let brief = json!({ "settle": "1s" });
    let two = json!({ "replicas": 2, "settle": "1s" });
    let cases = [
        ("scale-deployment", two.clone(), None),
        ("scale-statefulset", two.clone(), Some(conditions)),
        // By a pod that leads to it.
        ("scale-pod", two, None),
        ("restart-deployment", json!({}), None),
        ("restart-statefulset", brief.clone(), None),
        ("rollback-deployment", brief.clone(), None),
        // Stuck behind a pod that never became ready: a patch, and then an eviction.
        ("rollback-statefulset", brief.clone(), None),
        ("restart-pod", brief, None),
        ("cordon-node", json!({}), None),
        ("uncordon-node", json!({}), None),
        ("collect-logs-deployment", json!({}), None),
    ];
    let mut all = Vec::new();
    for (action, parameters, conditions) in cases {
        let world = World::new(connection, action).await?;
        let mut arguments =
            vec!["rbac".to_owned(), action.to_owned(), "--namespace".to_owned(), world.namespace.clone()];
        if action == EVENTFUL {
            arguments.push("--events".to_owned());
        }
        if let Some(conditions) = &conditions {
            let file = world.folder().join("conditions.json");
            std::fs::write(&file, conditions.to_string())?;
            arguments.extend(["--conditions".to_owned(), file.display().to_string()]);
        }
        let output = std::process::Command::new(binary()).args(&arguments).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        world.account(&String::from_utf8(output.stdout)?).await?;
        if action == "collect-logs-deployment" {
            world.workload("Deployment", "web", 2, json!({})).await?;
        }
        all.push(Case {
            action,
            parameters,
            conditions,
            namespace: world.namespace,
            account: format!("action-{action}"),
        });
    }
    Ok(all)
}

impl Case {
    /// The runner, on a target, with this kubeconfig.
    pub fn run(&self, target: &Target, kubeconfig: &std::path::Path, timeout: u64) -> test_cluster::runner::Run {
        let run = test_cluster::runner::Run::new(&binary(), kubeconfig, self.action, &target.name)
            .with("TARGET_NAMESPACE", &self.namespace)
            .with("ACTION_TIMEOUT", format!("{timeout}s"))
            .with("ACTION_ID", &target.id)
            .parameters(&self.parameters)
            // What both judges find is a row of the table; the audit judge is asked by hand, for a proxy is between.
            .unjudged()
            .told();
        let run = if self.action == "restart-pod" { run.with("TARGET_UID", &target.uid) } else { run };
        let run = if self.action == EVENTFUL { run.with("ACTION_EVENTS", true) } else { run };
        match &self.conditions {
            Some(conditions) => run.with("ACTION_PRECONDITIONS", conditions).with("ACTION_POSTCONDITIONS", conditions),
            None => run,
        }
    }

    /// A target that the action would change.
    pub async fn target(&self, world: &World) -> Result<Target> {
        let mut target = self.make(world).await?;
        let object = world.get(&target.path).await?;
        object["metadata"]["uid"].as_str().context("no UID")?.clone_into(&mut target.uid);
        target.id = format!("id-{:08x}", unique());
        Ok(target)
    }

    async fn make(&self, world: &World) -> Result<Target> {
        match self.action {
            "cordon-node" | "uncordon-node" => self.make_node(world).await,
            "collect-logs-deployment" => self.logs(world).await,
            _ => self.make_workload(world).await,
        }
    }

    fn named(&self, name: String, path: String) -> Target {
        let names = vec![(self.namespace.clone(), "NAMESPACE")];
        Target { name, names, path, uid: String::new(), id: String::new() }
    }

    async fn make_node(&self, world: &World) -> Result<Target> {
        let name = format!("t-{:08x}", unique());
        let mut target = self.named(name.clone(), format!("/api/v1/nodes/{name}"));
        node(world, &name, json!([{ "key": "test/own", "effect": "NoSchedule" }])).await?;
        if self.action == "uncordon-node" {
            world.merge(&target.path, &json!({ "spec": { "unschedulable": true } })).await?;
        }
        target.names.push((name, "NAME"));
        Ok(target)
    }

    async fn logs(&self, world: &World) -> Result<Target> {
        let mut target = self.named("web".to_owned(), world.workload_path("Deployment", "web"));
        for pod in world.pods("web").await? {
            target.names.push((pod["metadata"]["name"].as_str().context("no name")?.to_owned(), "POD"));
        }
        Ok(target)
    }

    async fn make_workload(&self, world: &World) -> Result<Target> {
        let name = format!("t-{:08x}", unique());
        world.workload(self.kind(), &name, 1, json!({})).await?;
        let mut target = self.named(name.clone(), world.workload_path(self.kind(), &name));
        if self.action.starts_with("rollback-") {
            self.next_revision(world, &target.path).await?;
        }
        if self.action.ends_with("-pod") {
            let pods = world.pods(&name).await?;
            let pod = pods.first().and_then(|pod| pod["metadata"]["name"].as_str()).context("no pod")?.to_owned();
            // The ReplicaSet's name is the pod's without its last part.
            let set = pod.rsplit_once('-').map(|(set, _)| set.to_owned()).unwrap_or_default();
            if self.action == "restart-pod" {
                target.path = format!("{}/{pod}", world.path("v1", "pods"));
            }
            target.names.extend([(pod.clone(), "POD"), (set, "SET")]);
            target.name = pod;
        }
        target.names.push((name, "NAME"));
        Ok(target)
    }

    /// Another template, rolled out; that of a StatefulSet never becomes ready, and the set is stuck.
    async fn next_revision(&self, world: &World, path: &str) -> Result<()> {
        let mut template = json!({ "metadata": { "annotations": { "test/revision": "2" } } });
        let stuck = self.kind() == "StatefulSet";
        if stuck {
            template["metadata"]["labels"] = json!({ "test/mode": "never-ready" });
        }
        world.merge(path, &json!({ "spec": { "template": template } })).await?;
        let there = |object: &Value| {
            let status = |field: &str| object["status"][field].as_i64().unwrap_or(0);
            let ready = i64::from(!stuck);
            status("observedGeneration") == 2
                && status("updatedReplicas") == 1
                && status("replicas") == 1
                && status("readyReplicas") == ready
        };
        world.until(path, "at its second revision", there).await.map(|_| ())
    }

    /// The kind of its workload.
    fn kind(&self) -> &'static str {
        if self.action.ends_with("-statefulset") { "StatefulSet" } else { "Deployment" }
    }

    /// How many changes of the cluster make one run.
    pub fn changes(&self) -> usize {
        match self.action {
            "collect-logs-deployment" => 0,
            "rollback-statefulset" => 2,
            _ => 1,
        }
    }

    /// Whether what the action waits for is there.
    pub async fn is_reached(&self, world: &World, target: &Target) -> Result<bool> {
        let object = world.get(&target.path).await.unwrap_or_default();
        let ready = self.action != "rollback-statefulset" || object["status"]["readyReplicas"] == 1;
        Ok(ready && self.is_done(world, target).await?)
    }

    /// Whether the object is as the action wants it.
    pub async fn is_done(&self, world: &World, target: &Target) -> Result<bool> {
        let object = world.get(&target.path).await.unwrap_or_default();
        Ok(match self.action {
            "cordon-node" => object["spec"]["unschedulable"] == true,
            "uncordon-node" => object["spec"]["unschedulable"] != true,
            "restart-pod" => object.is_null() || object["metadata"]["deletionTimestamp"].is_string(),
            "restart-deployment" | "restart-statefulset" => {
                object["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"].is_string()
            }
            "rollback-deployment" | "rollback-statefulset" => {
                object["spec"]["template"]["metadata"]["annotations"]["test/revision"].is_null()
            }
            "collect-logs-deployment" => true,
            _ => object["spec"]["replicas"] == 2,
        })
    }

    /// Takes the target away: thousands of them would slow everything down.
    pub async fn clean(&self, world: &World, target: &Target) -> Result<()> {
        let name = target.names.last().map(|(name, _)| name.as_str()).unwrap_or_default();
        match self.action {
            "collect-logs-deployment" => Ok(()),
            "cordon-node" | "uncordon-node" => world.delete(&target.path).await,
            _ => world.delete(&world.workload_path(self.kind(), name)).await,
        }
    }
}
