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

fn binary() -> PathBuf {
    test_cluster::assets::variable("ACTION_RUNNER")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_action-runner")), PathBuf::from)
}

/// Every case, ready to be run.
pub async fn all(connection: &Connection) -> Result<Vec<Case>> {
    let conditions =
        json!([{ "type": "no_crashloop_pods", "timeout": "5s" }, { "type": "rollout_settled", "timeout": "5s" }]);
    let cases = [
        ("scale-deployment", json!({ "replicas": 2 }), None),
        ("scale-statefulset", json!({ "replicas": 2 }), Some(conditions)),
        ("restart-deployment", json!({}), None),
        ("rollback-deployment", json!({}), None),
        ("restart-pod", json!({}), None),
        ("cordon-node", json!({}), None),
        ("uncordon-node", json!({}), None),
        ("collect-logs-deployment", json!({}), None),
    ];
    let mut all = Vec::new();
    for (action, parameters, conditions) in cases {
        let world = World::new(connection, action).await?;
        let mut arguments =
            vec!["rbac".to_owned(), action.to_owned(), "--namespace".to_owned(), world.namespace.clone()];
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
            .unjudged();
        let run = if self.action == "restart-pod" { run.with("TARGET_UID", &target.uid) } else { run };
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
        let made = |name: String, names, path| Target { name, names, path, uid: String::new(), id: String::new() };
        let name = format!("t-{:08x}", unique());
        let mut names = vec![(self.namespace.clone(), "NAMESPACE")];
        let (kind, target) = match self.action {
            "cordon-node" | "uncordon-node" => {
                let path = format!("/api/v1/nodes/{name}");
                node(world, &name, json!([{ "key": "test/own", "effect": "NoSchedule" }])).await?;
                if self.action == "uncordon-node" {
                    world.merge(&path, &json!({ "spec": { "unschedulable": true } })).await?;
                }
                names.push((name.clone(), "NAME"));
                return Ok(made(name, names, path));
            }
            "collect-logs-deployment" => {
                for pod in world.pods("web").await? {
                    names.push((pod["metadata"]["name"].as_str().context("no name")?.to_owned(), "POD"));
                }
                return Ok(made("web".to_owned(), names, world.workload_path("Deployment", "web")));
            }
            "scale-statefulset" => ("StatefulSet", name.clone()),
            _ => ("Deployment", name.clone()),
        };
        world.workload(kind, &name, 1, json!({})).await?;
        let mut target = made(target, names, world.workload_path(kind, &name));
        if self.action == "rollback-deployment" {
            let second = json!({ "spec": { "template": { "metadata": { "annotations": { "test/revision": "2" } } } } });
            world.merge(&target.path, &second).await?;
            let settled = |web: &Value| {
                web["status"]["observedGeneration"] == 2
                    && web["status"]["updatedReplicas"] == 1
                    && web["status"]["replicas"] == 1
            };
            world.until(&target.path, "at its second revision", settled).await?;
        }
        if self.action == "restart-pod" {
            let pods = world.pods(&name).await?;
            pods.first()
                .and_then(|pod| pod["metadata"]["name"].as_str())
                .context("no pod")?
                .clone_into(&mut target.name);
            target.path = format!("{}/{}", world.path("v1", "pods"), target.name);
            // The ReplicaSet's name is the pod's without its last part.
            let set = target.name.rsplit_once('-').map(|(set, _)| set.to_owned()).unwrap_or_default();
            target.names.extend([(target.name.clone(), "POD"), (set, "SET")]);
        }
        target.names.push((name, "NAME"));
        Ok(target)
    }

    /// Whether the object is as the action wants it.
    pub async fn is_done(&self, world: &World, target: &Target) -> Result<bool> {
        let object = world.get(&target.path).await.unwrap_or_default();
        Ok(match self.action {
            "cordon-node" => object["spec"]["unschedulable"] == true,
            "uncordon-node" => object["spec"]["unschedulable"] != true,
            "restart-pod" => object.is_null() || object["metadata"]["deletionTimestamp"].is_string(),
            "restart-deployment" => {
                object["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"].is_string()
            }
            "rollback-deployment" => object["spec"]["template"]["metadata"]["annotations"]["test/revision"].is_null(),
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
            "scale-statefulset" => world.delete(&world.workload_path("StatefulSet", name)).await,
            _ => world.delete(&world.workload_path("Deployment", name)).await,
        }
    }
}
