//! What each account can do, tried: each cell with the account's own token, and with that of an account of the same Role under
//! a name that the policies do not know. `UPDATE=1` writes the table in rbac/README.md.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use test_cluster::fixtures::unique;

use crate::held::{Answer, Both, op, send_as};
use crate::support::{T, scenarios};

scenarios!("table": accounts_and_capabilities);

/// The accounts: each stands for those of its verb, of other kinds.
const ACCOUNTS: [&str; 7] = [
    "scale-deployment",
    "restart-deployment",
    "restart-pod",
    "rollback-deployment",
    "rollback-statefulset",
    "cordon-node",
    "collect-logs-deployment",
];

/// Something that somebody may want to do: what it is called, and the request.
struct Row {
    what: &'static str,
    method: &'static str,
    path: Place,
    body: Value,
    /// In whose name it is sent, if not in the account's own.
    name: Option<String>,
}

/// What a request is about.
enum Place {
    /// The workload of the account's kind, or a part of it.
    Workload(&'static str),
    /// The same of one that is protected.
    Protected(&'static str),
    /// Anything else.
    At(String),
}

fn row(what: &'static str, method: &'static str, path: Place, body: Value) -> Row {
    Row { what, method, path, body, name: None }
}

/// Operations on the pods' spec.
fn template(what: &'static str, operations: &[(&str, &str, Value)]) -> Row {
    let operations: Vec<Value> = operations.iter().map(|(kind, path, value)| op(kind, path, value.clone())).collect();
    row(what, "PATCH", Place::Workload(""), json!(operations))
}

fn one(what: &'static str, path: &str, value: Value) -> Row {
    template(what, &[("add", path, value)])
}

/// An operation on the object.
fn add(path: &str, value: Value) -> Value {
    json!([{ "op": "add", "path": path, "value": value }])
}

fn object(what: &'static str, path: &str, value: Value) -> Row {
    row(what, "PATCH", Place::Workload(""), add(path, value))
}

fn annotation(what: &'static str, key: &str) -> Row {
    object(what, &format!("/metadata/annotations/{}", key.replace('/', "~1")), json!("[]"))
}

const RESTARTED: &str = "/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt";

/// What a rollback is for.
fn allowed_fields() -> Vec<Row> {
    let secret = json!([{ "name": "X", "valueFrom": { "secretKeyRef": { "name": "any", "key": "x" } } }]);
    let mount = json!([{ "name": "cache", "mountPath": "/cache" }]);
    vec![
        object("restart the pods (`restartedAt`)", RESTARTED, json!("2026-01-01T00:00:00Z")),
        one("another tag or digest of a container's image", "/containers/0/image", json!("shop/web:2")),
        one("another command, other arguments, probes, variables", "/containers/0/command", json!(["sh", "-c", "x"])),
        one("a variable from **any Secret** of the namespace", "/containers/0/env", secret),
        one("a volume's ConfigMap or Secret by another name", "/volumes/0/configMap/name", json!("other")),
        one("other cpu, memory, ephemeral-storage", "/containers/0/resources/requests", json!({ "cpu": "64" })),
        one(
            "a mount of the pod's own emptyDir, ConfigMap or Secret in another container",
            "/containers/1/volumeMounts",
            mount,
        ),
    ]
}

/// What a rollback is not for.
fn held_fields() -> Vec<Row> {
    let volume = |source: &str, value: Value| {
        let mount = json!([{ "name": "more", "mountPath": "/more" }]);
        [("add", "/volumes/-", json!({ "name": "more", source: value })), ("add", "/containers/1/volumeMounts", mount)]
    };
    let host = json!([{ "name": "host", "mountPath": "/host" }]);
    let probe = json!({ "httpGet": { "host": "169.254.169.254", "port": 80 } });
    let tolerations = json!([{ "operator": "Exists" }]);
    let label = "/spec/template/metadata/labels/more";
    let apparmor = "/spec/template/metadata/annotations/container.apparmor.security.beta.kubernetes.io~1app";
    vec![
        one("an image from another repository", "/containers/0/image", json!("evil/web:1")),
        template(
            "less confinement: a `securityContext` field left out",
            &[("remove", "/securityContext/runAsNonRoot", json!(null))],
        ),
        one(
            "another `securityContext` field: user, group, SELinux, seccomp, Windows",
            "/securityContext/seLinuxOptions",
            json!({ "type": "spc_t" }),
        ),
        template("no runtime class", &[("remove", "/runtimeClassName", json!(null))]),
        object("AppArmor by annotation", apparmor, json!("unconfined")),
        one("privileges that another container has", "/containers/0/securityContext", json!({ "privileged": true })),
        one("another ServiceAccount", "/serviceAccountName", json!("admin")),
        one("a ServiceAccount's token where there is none", "/automountServiceAccountToken", json!(true)),
        one(
            "another audience or lifetime of a token",
            "/volumes/3/projected/sources/0/serviceAccountToken/audience",
            json!("api"),
        ),
        one("the host's namespaces", "/hostPID", json!(true)),
        one("a port of the host", "/containers/0/ports", json!([{ "containerPort": 80, "hostPort": 80 }])),
        one("a probe or hook of another host", "/containers/0/livenessProbe", probe),
        one("a device, a claim, huge pages", "/containers/0/resources/limits", json!({ "example.com/fuse": "1" })),
        template("a new path of the host", &volume("hostPath", json!({ "path": "/" }))),
        one("a path of the host, a disk, a token that another container mounts", "/containers/0/volumeMounts", host),
        template("a new claim, NFS, CSI, flexVolume", &volume("nfs", json!({ "server": "10.0.0.1", "path": "/" }))),
        template(
            "a node by its name, tolerations",
            &[("add", "/nodeName", json!("node-a")), ("add", "/tolerations", tolerations)],
        ),
        one("a priority class", "/priorityClassName", json!("system-node-critical")),
        one("another container", "/containers/-", json!({ "name": "more", "image": "shop/web:1" })),
        object("another label of the pods", label, json!("x")),
    ]
}

/// Of the object itself.
fn of_the_object() -> Vec<Row> {
    let owner = json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "gone", "uid": "11111111-1111-1111-1111-111111111111" }]);
    let restarted = add(RESTARTED, json!("2026-01-01T00:00:00Z"));
    vec![
        row("a number of replicas by `/scale`", "PATCH", Place::Workload("/scale"), add("/spec/replicas", json!(2))),
        object("a number of replicas in the object", "/spec/replicas", json!(2)),
        object("another field of `spec`", "/spec/minReadySeconds", json!(9)),
        object("its labels", "/metadata/labels/more", json!("x")),
        object("its owners: to have it deleted", "/metadata/ownerReferences", owner),
        object("its finalizers", "/metadata/finalizers", json!(["x.example/y"])),
        object("whose fields are whose (`managedFields`)", "/metadata/managedFields", json!([{}])),
        annotation("`kubernetes.io/change-cause`", "kubernetes.io/change-cause"),
        annotation("the marks of restarts", "kubernetesexecution.kubernaut.io/executions-restart"),
        annotation("the marks of rollbacks", "kubernetesexecution.kubernaut.io/executions-rollback"),
        annotation("the marks of releases up to 0.1", "kubernetesexecution.kubernaut.io/executions"),
        annotation("`protected`, and any other annotation", "kubernetesexecution.kubernaut.io/protected"),
        row("restart what is protected", "PATCH", Place::Protected(""), restarted),
        row("scale what is protected", "PATCH", Place::Protected("/scale"), add("/spec/replicas", json!(2))),
        row("delete it", "DELETE", Place::Workload(""), json!({})),
    ]
}

/// Of pods, and of what makes them.
fn elsewhere(t: &T) -> Vec<Row> {
    let (v1, at) = (|plural: &str| t.world.path("v1", plural), Place::At);
    let pods = v1("pods");
    let evict = |pod: &str| json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": pod } });
    let spec = json!({ "containers": [{ "name": "app", "image": "x" }], "restartPolicy": "Never" });
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "made" }, "spec": spec });
    let job = json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "made" }, "spec": { "template": { "spec": spec } } });
    let role = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin" });
    let binding = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": "made" }, "roleRef": role });
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "name": "made" }, "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "x", "reportingInstance": "x", "action": "x", "reason": "x", "type": "Normal",
        "regarding": { "kind": "Pod", "namespace": t.world.namespace, "name": "one" },
    });
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "made" } });
    let token = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {} });
    vec![
        row("evict a pod", "POST", at(format!("{pods}/one/eviction")), evict("one")),
        row("evict a protected pod", "POST", at(format!("{pods}/kept/eviction")), evict("kept")),
        row("delete a pod", "DELETE", at(format!("{pods}/one")), json!({})),
        row("run a pod", "POST", at(pods.clone()), pod),
        row("run a Job", "POST", at(t.world.path("batch/v1", "jobs")), job),
        row(
            "make a token of another ServiceAccount",
            "POST",
            at(format!("{}/default/token", v1("serviceaccounts"))),
            token,
        ),
        row("grant a Role", "POST", at(t.world.path("rbac.authorization.k8s.io/v1", "rolebindings")), binding),
        row("write a Secret", "POST", at(v1("secrets")), secret),
        row("read a Secret", "GET", at(format!("{}/any", v1("secrets"))), Value::Null),
        row("read a ConfigMap", "GET", at(format!("{}/kube-root-ca.crt", v1("configmaps"))), Value::Null),
        row("read a pod's spec, environment included", "GET", at(pods.clone()), Value::Null),
        row("read a pod's log", "GET", at(format!("{pods}/one/log?tailLines=0")), Value::Null),
        row("post an Event (`components/events`)", "POST", at(t.world.path("events.k8s.io/v1", "events")), event),
    ]
}

/// By what is somebody else's: another's name, another's pod.
fn as_another(t: &T) -> Vec<Row> {
    let at = Place::At;
    let review = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let whoami = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
    let pods = t.world.path("v1", "pods");
    vec![
        Row {
            name: Some(format!("system:serviceaccount:{}:default", t.world.namespace)),
            ..row("be another ServiceAccount (impersonate)", "POST", at(review.to_owned()), whoami)
        },
        // Who may, is told that the connection was to become another one.
        row(
            "run a command in a pod (`exec`)",
            "GET",
            at(format!("{pods}/one/exec?command=id&stdout=true")),
            Value::Null,
        ),
    ]
}

/// Of nodes.
fn of_nodes(node: &str) -> Vec<Row> {
    let own = || Place::At(format!("/api/v1/nodes/{node}"));
    let kept = Place::At(format!("/api/v1/nodes/{node}-kept"));
    let cordon = "/metadata/annotations/kubernetesexecution.kubernaut.io~1cordon";
    let taint = json!([{ "key": "x", "effect": "NoExecute" }]);
    vec![
        row("cordon a node", "PATCH", own(), add("/spec/unschedulable", json!(true))),
        row("cordon a protected node", "PATCH", kept, add("/spec/unschedulable", json!(true))),
        row("say why on the node", "PATCH", own(), add(cordon, json!("{}"))),
        row("taint a node", "PATCH", own(), add("/spec/taints", taint)),
        row("label a node", "PATCH", own(), add("/metadata/labels/more", json!("x"))),
    ]
}

/// With `components/causes`.
fn with_causes(t: &T, node: &str) -> Vec<Row> {
    let get = |what, path: String| row(what, "GET", Place::At(path), Value::Null);
    let pods = t.world.path("v1", "pods");
    vec![
        get("list the Events of the namespace", t.world.path("events.k8s.io/v1", "events")),
        get("list the Events of another namespace", "/apis/events.k8s.io/v1/namespaces/kube-system/events".to_owned()),
        get("read a pod's log", format!("{pods}/one/log?tailLines=0")),
        get("read its own namespace", format!("/api/v1/namespaces/{}", t.world.namespace)),
        get("read another namespace", "/api/v1/namespaces/kube-system".to_owned()),
        get("read a node", format!("/api/v1/nodes/{node}")),
        get("list the nodes", "/api/v1/nodes?limit=1".to_owned()),
    ]
}

/// The API server's word that a request got as far as the pod: nobody asked for another protocol.
const NO_UPGRADE: &str = "Upgrade request required";

/// What the answer says of who refused.
fn cell(answer: &Answer) -> Result<&'static str> {
    match answer {
        Ok(_) => Ok("yes"),
        Err(why) if why.contains(NO_UPGRADE) => Ok("yes"),
        Err(why) if why.contains("ValidatingAdmissionPolicy 'action-") => Ok("policy"),
        Err(why) if why.contains("is forbidden: User") && why.contains("cannot") => Ok("no"),
        Err(why) => bail!("neither allowed nor forbidden: {why}"),
    }
}

/// A workload of a bit of everything, and one that is protected.
async fn targets(t: &T) -> Result<()> {
    let token = json!({ "serviceAccountToken": { "audience": "vault", "path": "token" } });
    let metadata = json!({ "annotations": { "checksum/config": "1" } });
    let spec = json!({
        "runtimeClassName": "gvisor", "nodeSelector": { "test/pool": "nowhere" },
        "containers": [
            { "name": "app", "image": "shop/web:1" },
            { "name": "logs", "image": "shop/logs:1", "volumeMounts": [{ "name": "host", "mountPath": "/host", "readOnly": true }] },
        ],
        "volumes": [
            { "name": "config", "configMap": { "name": "web" } }, { "name": "cache", "emptyDir": {} },
            { "name": "host", "hostPath": { "path": "/var/log" } }, { "name": "token", "projected": { "sources": [token] } },
        ],
    });
    for kind in ["Deployment", "StatefulSet"] {
        for (name, protected) in [("web", "false"), ("kept", "true")] {
            let annotations = json!({ "kubernetesexecution.kubernaut.io/protected": protected });
            let extra = json!({ "metadata": { "annotations": annotations }, "spec": { "template": { "metadata": metadata, "spec": spec } } });
            t.world.create_workload(kind, name, 0, extra).await?;
        }
    }
    for (name, protected) in [("one", "false"), ("kept", "true")] {
        let metadata =
            json!({ "name": name, "annotations": { "kubernetesexecution.kubernaut.io/protected": protected } });
        let spec = json!({ "containers": [{ "name": "app", "image": "x" }] });
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec });
        t.world.create(&t.world.path("v1", "pods"), &pod).await?;
        let ready = |pod: &Value| pod["status"]["phase"] == "Running";
        t.world.until(&format!("{}/{name}", t.world.path("v1", "pods")), "running", ready).await?;
    }
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "any" } });
    t.world.create(&t.world.path("v1", "secrets"), &secret).await.map(|_| ())
}

/// The answer to an account, with the policies and without.
async fn tried(t: &T, both: &Both, row: &Row) -> Result<&'static str> {
    let kind = if both.action.ends_with("statefulset") { "StatefulSet" } else { "Deployment" };
    let path = match &row.path {
        Place::Workload(part) => t.world.workload_path(kind, "web") + part,
        Place::Protected(part) => t.world.workload_path(kind, "kept") + part,
        Place::At(path) => path.clone(),
    };
    let request = (row.method, path.as_str());
    let name = row.name.as_deref();
    let anybody = send_as(t.world.client(), request, &row.body, name).await?;
    ensure!(cell(&anybody).is_ok_and(|cell| cell == "yes"), "no case, for nobody may: {anybody:?}");
    if let (Some(name), Ok(answer)) = (name, &anybody) {
        ensure!(answer["status"]["userInfo"]["username"] == name, "it was not sent in that name: {answer}");
    }
    let free = cell(&send_as(&both.free, request, &row.body, name).await?)?;
    let held = cell(&send_as(&both.held, request, &row.body, name).await?)?;
    match (free, held) {
        ("yes", "yes") => Ok("**yes**"),
        ("yes", "policy") => Ok("policy"),
        ("no", "no") => Ok("no"),
        other => bail!("without and with the policies: {other:?}"),
    }
}

async fn accounts_and_capabilities(t: T) -> Result<()> {
    targets(&t).await?;
    let node = format!("node-{:08x}", unique());
    for name in [node.clone(), format!("{node}-kept")] {
        test_cluster::fixtures::node(&t.world, &name, json!([{ "key": "test/own", "effect": "NoSchedule" }])).await?;
    }
    let kept = json!({ "metadata": { "annotations": { "kubernetesexecution.kubernaut.io/protected": "true" } } });
    t.world.merge(&format!("/api/v1/nodes/{node}-kept"), &kept).await?;
    let (mut accounts, mut telling) = (Vec::new(), Vec::new());
    for action in ACCOUNTS {
        accounts.push(Both::with(&t, action, &["--events"]).await?);
        telling.push(Both::with(&t, action, &["--causes"]).await?);
    }
    let head: Vec<String> = ACCOUNTS.iter().map(|action| format!("`{action}`")).collect();
    let mut table = String::new();
    let parts = [
        ("of the object", of_the_object(), &accounts),
        ("of the pods, what a rollback is for", allowed_fields(), &accounts),
        ("of the pods, what it is not for", held_fields(), &accounts),
        ("elsewhere", [elsewhere(&t), as_another(&t), of_nodes(&node)].into_iter().flatten().collect(), &accounts),
        ("with `components/causes`", with_causes(&t, &node), &telling),
    ];
    for (part, rows, accounts) in parts {
        table.push_str(&format!("| {part} | {} |\n|---|{}\n", head.join(" | "), "---|".repeat(head.len())));
        for row in rows {
            let mut cells = Vec::new();
            for both in accounts {
                cells.push(
                    tried(&t, both, &row).await.with_context(|| format!("action-{}: {}", both.action, row.what))?,
                );
            }
            table.push_str(&format!("| {} | {} |\n", row.what, cells.join(" | ")));
        }
        table.push('\n');
    }
    let table = format!("{}\n", table.trim_end());
    test_cluster::document::hold_block(env!("CARGO_MANIFEST_DIR"), "rbac/README.md", "accounts", &table)
}
