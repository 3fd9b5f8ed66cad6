//! What tests put into the cluster: a namespace of their own, workloads, accounts with exactly the permissions that the
//! runner prints.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::cluster::{self, Connection};

/// A namespace of one test, and a client that may do everything.
pub struct World {
    /// The cluster.
    pub connection: Connection,
    /// The namespace.
    pub namespace: String,
    client: kube::Client,
    folder: tempfile::TempDir,
}

/// kwok's annotation of the nodes that it plays, and their taint beside a real node.
const FAKE: &str = "kwok.x-k8s.io/node";
/// How long a fixture may take to get where it should be.
const LIMIT: Duration = Duration::from_mins(3);

impl World {
    /// A new namespace, named after the test.
    pub async fn new(connection: &Connection, test: &str) -> Result<Self> {
        let short: String = test
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
            .take(40)
            .collect();
        Self::named(connection, &format!("{}-{:08x}", short.trim_matches('-'), unique())).await
    }

    /// A new namespace of this very name.
    pub async fn named(connection: &Connection, namespace: &str) -> Result<Self> {
        let world = Self::existing(connection, namespace).await?;
        world
            .create(
                "/api/v1/namespaces",
                &json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": world.namespace } }),
            )
            .await?;
        // Pods need it, and a controller makes it.
        world.until(&format!("{}/default", world.path("v1", "serviceaccounts")), "there", |_| true).await?;
        Ok(world)
    }

    /// A namespace that is there already, with a client of the present runtime's own.
    pub async fn existing(connection: &Connection, namespace: &str) -> Result<Self> {
        let client = cluster::client(&connection.kubeconfig).await?;
        let namespace = namespace.to_owned();
        Ok(Self { connection: connection.clone(), namespace, client, folder: tempfile::tempdir()? })
    }

    /// The client, for what is not here.
    pub fn client(&self) -> &kube::Client {
        &self.client
    }

    /// A folder of the test's own.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The path of a namespaced collection: `apps/v1`, `deployments`.
    pub fn path(&self, api_version: &str, plural: &str) -> String {
        let root = if api_version.contains('/') { "apis" } else { "api" };
        format!("/{root}/{api_version}/namespaces/{}/{plural}", self.namespace)
    }

    async fn send(&self, method: &str, path: &str, content_type: &str, body: Option<&Value>) -> Result<Value> {
        let body = body.map(ToString::to_string).unwrap_or_default().into_bytes();
        let request =
            http::Request::builder().method(method).uri(path).header("content-type", content_type).body(body)?;
        Ok(self.client.request::<Value>(request).await?)
    }

    /// Creates an object.
    pub async fn create(&self, path: &str, object: &Value) -> Result<Value> {
        self.send("POST", path, "application/json", Some(object))
            .await
            .with_context(|| format!("failed to create {object}"))
    }

    /// Reads an object.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.send("GET", path, "application/json", None).await.with_context(|| format!("failed to get {path}"))
    }

    /// Reads what is no object: a log.
    pub async fn text(&self, path: &str) -> Result<String> {
        let request = http::Request::get(path).body(Vec::new())?;
        self.client.request_text(request).await.with_context(|| format!("failed to get {path}"))
    }

    /// Changes an object by merge patch, as somebody else.
    pub async fn merge(&self, path: &str, patch: &Value) -> Result<Value> {
        self.send("PATCH", path, "application/merge-patch+json", Some(patch))
            .await
            .with_context(|| format!("failed to patch {path}"))
    }

    /// Changes an object as `kubectl patch` does: lists of containers are merged by name.
    pub async fn strategic(&self, path: &str, patch: &Value) -> Result<Value> {
        self.send("PATCH", path, "application/strategic-merge-patch+json", Some(patch))
            .await
            .with_context(|| format!("failed to patch {path}"))
    }

    /// Deletes an object.
    pub async fn delete(&self, path: &str) -> Result<()> {
        self.send("DELETE", path, "application/json", None)
            .await
            .map(|_| ())
            .with_context(|| format!("failed to delete {path}"))
    }

    /// Waits until a condition on an object holds.
    pub async fn until(&self, path: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        let limit = Instant::now() + LIMIT;
        loop {
            // It may not be there yet.
            let object = self.get(path).await.unwrap_or_default();
            if !object.is_null() && holds(&object) {
                return Ok(object);
            }
            if Instant::now() > limit {
                bail!("{path} did not get {what}: {object:#}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until an object is gone: the API server itself says so.
    pub async fn gone(&self, path: &str) -> Result<()> {
        let limit = Instant::now() + LIMIT;
        loop {
            let request = http::Request::get(path).body(Vec::new())?;
            match self.client.request::<Value>(request).await {
                Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
                other => ensure!(Instant::now() < limit, "{path} is still there: {other:#?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A workload, ready: `kind` is Deployment, StatefulSet, DaemonSet, ReplicaSet or ReplicationController.
    pub async fn workload(&self, kind: &str, name: &str, replicas: i64, extra: Value) -> Result<Value> {
        let path = self.create_workload(kind, name, replicas, extra).await?;
        let ready = if kind == "DaemonSet" { "/status/numberReady" } else { "/status/readyReplicas" };
        let total = if kind == "DaemonSet" { "/status/desiredNumberScheduled" } else { "/spec/replicas" };
        self.until(&path, "ready", |object| {
            let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
            let observed = number("/status/observedGeneration") >= number("/metadata/generation");
            observed && number(ready) == number(total) && (kind != "DaemonSet" || number(total) > 0)
        })
        .await
    }

    /// A workload, not waited for; returns its path.
    pub async fn create_workload(&self, kind: &str, name: &str, replicas: i64, extra: Value) -> Result<String> {
        let (api_version, plural) = location(kind);
        let mut object = workload(kind, api_version, name, replicas);
        if self.connection.node.is_some() {
            // What runs nothing stays away from the node where pods are real.
            let spec = &mut object["spec"]["template"]["spec"];
            spec["nodeSelector"] = json!({ "test/pool": "shared" });
            spec["tolerations"] = json!([{ "key": FAKE, "operator": "Exists" }]);
        }
        merge(&mut object, extra);
        let path = self.path(api_version, plural);
        self.create(&path, &object).await?;
        Ok(format!("{path}/{name}"))
    }

    /// The path of a workload.
    pub fn workload_path(&self, kind: &str, name: &str) -> String {
        let (api_version, plural) = location(kind);
        format!("{}/{name}", self.path(api_version, plural))
    }

    /// The pods of a workload, newest last.
    pub async fn pods(&self, app: &str) -> Result<Vec<Value>> {
        let list = self.get(&format!("{}?labelSelector=app%3D{app}", self.path("v1", "pods"))).await?;
        Ok(list.pointer("/items").and_then(Value::as_array).cloned().unwrap_or_default())
    }

    /// Makes the objects of the YAML that `action-runner rbac` printed, and a kubeconfig for its ServiceAccount.
    pub async fn account(&self, yaml: &str) -> Result<PathBuf> {
        let (mut account, mut documents) = (String::new(), Vec::new());
        for mut document in serde_saphyr::from_multiple::<Value>(yaml)? {
            let kind = document["kind"].as_str().unwrap_or_default().to_owned();
            let name = document["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let path = match kind.as_str() {
                "ServiceAccount" => {
                    account.clone_from(&name);
                    self.path("v1", "serviceaccounts")
                }
                "Role" | "RoleBinding" | "ClusterRole" | "ClusterRoleBinding" => {
                    // Outside its namespace (a node's events go to `default`) a test must not share a name with others.
                    let own = format!("{name}-{}", self.namespace);
                    document["metadata"]["name"] = json!(own);
                    if kind.ends_with("Binding") {
                        document["roleRef"]["name"] = json!(own);
                    }
                    let place = document["metadata"]["namespace"]
                        .as_str()
                        .map(|namespace| format!("/namespaces/{namespace}"))
                        .unwrap_or_default();
                    format!("/apis/rbac.authorization.k8s.io/v1{place}/{}s", kind.to_lowercase())
                }
                other => bail!("rbac printed a {other}"),
            };
            self.create(&path, &document).await?;
            documents.push(document);
        }
        for role in documents.iter().filter(|one| one["kind"].as_str().is_some_and(|kind| kind.ends_with("Role"))) {
            self.granted(&account, role).await?;
        }
        self.token_kubeconfig(&account, &self.connection.server, &self.connection.authority).await
    }

    /// Waits until the API server's authorizer has learnt of a role and of its binding to an account.
    async fn granted(&self, account: &str, role: &Value) -> Result<()> {
        let rule = &role["rules"][0];
        if rule.is_null() {
            return Ok(());
        }
        let resource = rule["resources"][0].as_str().unwrap_or_default();
        let (resource, sub) = resource.split_once('/').unwrap_or((resource, ""));
        let review = json!({ "spec": {
            "user": format!("system:serviceaccount:{}:{account}", self.namespace),
            "resourceAttributes": {
                "group": rule["apiGroups"][0], "resource": resource, "subresource": sub, "verb": rule["verbs"][0],
                "name": rule["resourceNames"][0], "namespace": role["metadata"]["namespace"],
            },
        } });
        let limit = Instant::now() + LIMIT;
        loop {
            let answer = self.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await?;
            if answer["status"]["allowed"] == true {
                return Ok(());
            }
            ensure!(Instant::now() < limit, "{account} is not granted what {role:#} says");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A kubeconfig for a user of this cluster.
    pub fn kubeconfig_of(&self, user: &Value) -> Result<PathBuf> {
        let file = self.folder().join(format!("{:08x}.kubeconfig", unique()));
        let (server, authority) = (&self.connection.server, &self.connection.authority);
        std::fs::write(&file, cluster::kubeconfig_of(server, authority, user, &self.namespace)?)?;
        Ok(file)
    }

    /// A kubeconfig with a token of a ServiceAccount, for this address.
    pub async fn token_kubeconfig(&self, account: &str, server: &str, authority: &Path) -> Result<PathBuf> {
        let path = format!("{}/{account}/token", self.path("v1", "serviceaccounts"));
        let review = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": { "expirationSeconds": 21600 } });
        let answer = self.create(&path, &review).await?;
        let token = answer.pointer("/status/token").and_then(Value::as_str).context("no token")?;
        let file = self.folder().join(format!("{account}-{:08x}.kubeconfig", unique()));
        std::fs::write(&file, cluster::kubeconfig(server, authority, token, &self.namespace)?)?;
        Ok(file)
    }

    /// The state of all pods and the events: what one wants to see of a test that failed.
    pub async fn post_mortem(&self) -> String {
        let pods = self.get(&self.path("v1", "pods")).await.unwrap_or_default();
        let mut text = format!("pods of {}:\n", self.namespace);
        for pod in pods["items"].as_array().into_iter().flatten() {
            let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            let conditions: Vec<String> = conditions.map(|one| format!("{}={}", one["type"], one["status"])).collect();
            text.push_str(&format!(
                "  {} {} {} {}\n",
                pod["metadata"]["name"],
                pod["status"]["phase"],
                conditions.join(" "),
                pod["status"]["containerStatuses"]
            ));
        }
        let events = self.get(&self.path("v1", "events")).await.unwrap_or_default();
        for event in events["items"].as_array().into_iter().flatten() {
            // How often, and when last: of repeated ones there is one event.
            let when = [&event["lastTimestamp"], &event["eventTime"]].into_iter().find_map(Value::as_str);
            text.push_str(&format!(
                "  {} {} {} × {}: {} {}\n",
                when.unwrap_or_default(),
                event["involvedObject"]["name"],
                event["reason"],
                event["count"].as_i64().unwrap_or(1),
                event["reportingComponent"].as_str().unwrap_or_default(),
                event["message"]
            ));
        }
        text
    }

    /// Removes the namespace, what is in it, and the nodes that are labelled with it.
    pub async fn end(self) -> Result<()> {
        self.delete(&format!("/api/v1/nodes?labelSelector=test%2Fnamespace%3D{}", self.namespace)).await?;
        let namespace = format!("/api/v1/namespaces/{}", self.namespace);
        match self.delete(&namespace).await {
            // A test may be about that.
            Err(_) if self.gone(&namespace).await.is_ok() => Ok(()),
            deleted => deleted,
        }
    }
}

/// Three nodes for all scenarios.
pub async fn nodes(connection: &Connection) -> Result<()> {
    let world = World::new(connection, "nodes").await?;
    if world.connection.audit_log.is_none() {
        return Ok(());
    }
    for name in ["node-a", "node-b", "node-c"] {
        // Beside a real node, nothing that should run lands where nothing does.
        let taints =
            if connection.node.is_some() { json!([{ "key": FAKE, "effect": "NoSchedule" }]) } else { json!([]) };
        node(&world, name, taints).await?;
        world
            .merge(&format!("/api/v1/nodes/{name}"), &json!({ "metadata": { "labels": { "test/pool": "shared" } } }))
            .await?;
    }
    Ok(())
}

/// A node that kwok plays, ready, with these taints.
pub async fn node(world: &World, name: &str, taints: Value) -> Result<Value> {
    node_with(world, name, taints, json!({})).await
}

/// The same, with more labels.
pub async fn node_with(world: &World, name: &str, taints: Value, more: Value) -> Result<Value> {
    let mut labels = json!({ "kubernetes.io/hostname": name, "test/namespace": world.namespace });
    merge(&mut labels, more);
    let node = json!({
        "apiVersion": "v1", "kind": "Node", "spec": { "taints": taints },
        "metadata": { "name": name, "labels": labels, "annotations": { FAKE: "fake" } },
    });
    world.create("/api/v1/nodes", &node).await?;
    let ready = |node: &Value| {
        let conditions = node["status"]["conditions"].as_array();
        let taints = node["spec"]["taints"].as_array();
        conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
            && taints.is_none_or(|all| all.iter().all(|one| one["key"] == "test/own" || one["key"] == FAKE))
    };
    world.until(&format!("/api/v1/nodes/{name}"), "ready", ready).await
}

/// A number that no other test has.
pub fn unique() -> u32 {
    use std::hash::{BuildHasher, Hasher};
    let random = std::hash::RandomState::new().build_hasher().finish();
    u32::try_from(random & 0xffff_ffff).unwrap_or_default()
}

fn location(kind: &str) -> (&'static str, &'static str) {
    match kind {
        "StatefulSet" => ("apps/v1", "statefulsets"),
        "DaemonSet" => ("apps/v1", "daemonsets"),
        "ReplicaSet" => ("apps/v1", "replicasets"),
        "ReplicationController" => ("v1", "replicationcontrollers"),
        "Job" => ("batch/v1", "jobs"),
        "CronJob" => ("batch/v1", "cronjobs"),
        _ => ("apps/v1", "deployments"),
    }
}

fn workload(kind: &str, api_version: &str, name: &str, replicas: i64) -> Value {
    let labels = json!({ "app": name });
    let selector = if kind == "ReplicationController" { labels.clone() } else { json!({ "matchLabels": labels }) };
    let template = json!({
        "metadata": { "labels": labels },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            // As a namespace that enforces `restricted` wants them.
            "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [{
                "name": "app", "image": "shop/web:1", "env": [{ "name": "GREETING", "value": "hello" }],
                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
            }],
        },
    });
    let mut object = json!({
        "apiVersion": api_version, "kind": kind, "metadata": { "name": name, "labels": labels },
        "spec": { "selector": selector, "template": template },
    });
    if kind == "DaemonSet" {
        // Not on the nodes that other tests make and delete.
        object["spec"]["template"]["spec"]["nodeSelector"] = json!({ "test/pool": "shared" });
    } else {
        object["spec"]["replicas"] = json!(replicas);
    }
    if kind == "StatefulSet" {
        object["spec"]["serviceName"] = json!(name);
    }
    object
}

/// JSON merge: what is in `extra` wins.
pub fn merge(object: &mut Value, extra: Value) {
    match (object, extra) {
        (Value::Object(object), Value::Object(extra)) => {
            for (key, value) in extra {
                merge(object.entry(key).or_insert(Value::Null), value);
            }
        }
        (object, extra) => *object = extra,
    }
}
