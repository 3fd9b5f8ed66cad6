//! What a rollback account may change of a pod template, field by field: all that is not named by the policy must be equal,
//! absence included.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::assets::tell;

use crate::held::{Both, POD, gone, op, put, send};
use crate::support::{T, expect, scenarios};

scenarios!("fields":
    confinement_left_out, another_confinement, what_was_never_confined, the_privileges_of_another, where_it_runs,
    containers_are_the_same, fields_that_may_differ, fields_that_may_not_differ, more_volumes, other_volumes, metadata_of_the_pods,
    repositories, a_realistic_pair, a_realistic_deployment_goes_back_and_forth, the_largest_template,
);

const KINDS: [&str; 3] = ["Deployment", "StatefulSet", "DaemonSet"];

/// A pod with a bit of everything. No node takes it.
fn pod() -> Value {
    let confined = json!({
        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "runAsUser": 1000, "runAsNonRoot": true,
        "capabilities": { "drop": ["ALL"] }, "seccompProfile": { "type": "RuntimeDefault" },
        "appArmorProfile": { "type": "Localhost", "localhostProfile": "web" },
    });
    let token = json!({ "serviceAccountToken": { "audience": "vault", "expirationSeconds": 3600, "path": "token" } });
    json!({
        "nodeSelector": { "test/pool": "nowhere" }, "runtimeClassName": "gvisor", "terminationGracePeriodSeconds": 30,
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 2000, "seccompProfile": { "type": "RuntimeDefault" },
            "appArmorProfile": { "type": "Localhost", "localhostProfile": "web" },
        },
        "resourceClaims": [{ "name": "gpu", "resourceClaimName": "gpu" }],
        "initContainers": [
            { "name": "net", "image": "shop/net:1", "securityContext": { "privileged": true, "runAsUser": 0, "runAsNonRoot": false } },
            { "name": "prepare", "image": "shop/prepare:1", "volumeMounts": [{ "name": "data", "mountPath": "/data", "subPath": "web" }] },
        ],
        "containers": [
            {
                "name": "app", "image": "registry.example:5000/shop/web:1", "imagePullPolicy": "IfNotPresent", "command": ["web"],
                "env": [{ "name": "GREETING", "value": "hello" }], "ports": [{ "name": "http", "containerPort": 8080 }],
                "resources": { "requests": { "cpu": "100m", "memory": "64Mi" }, "limits": { "memory": "128Mi", "example.com/gpu": "1" } },
                "readinessProbe": { "httpGet": { "path": "/", "port": 8080 } }, "lifecycle": { "preStop": { "exec": { "command": ["sleep", "1"] } } },
                "volumeMounts": [
                    { "name": "config", "mountPath": "/etc/web" }, { "name": "creds", "mountPath": "/creds", "readOnly": true },
                    { "name": "cache", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount" }, { "name": "mixed", "mountPath": "/mixed" },
                ],
                "securityContext": confined,
            },
            {
                "name": "logs", "image": "shop/logs:1", "resources": { "claims": [{ "name": "gpu" }] },
                "volumeMounts": [
                    { "name": "scratch", "mountPath": "/scratch" }, { "name": "host", "mountPath": "/host", "readOnly": true, "subPath": "web" },
                    { "name": "token", "mountPath": "/token" },
                ],
            },
        ],
        "volumes": [
            { "name": "config", "configMap": { "name": "web-abc123" } }, { "name": "creds", "secret": { "secretName": "web-def456" } },
            { "name": "cache", "emptyDir": {} }, { "name": "scratch", "emptyDir": {} },
            { "name": "host", "hostPath": { "path": "/var/log" } }, { "name": "token", "projected": { "sources": [token, { "configMap": { "name": "ca-1" } }] } },
            { "name": "data", "persistentVolumeClaim": { "claimName": "web" } },
            { "name": "mixed", "projected": { "sources": [{ "configMap": { "name": "a-1" } }, { "secret": { "name": "b-1" } }] } },
        ],
    })
}

/// A workload whose pods are nowhere, and the two accounts that may roll it back.
async fn target(t: &T, kind: &str) -> Result<(Both, String)> {
    let metadata = json!({ "labels": { "app.kubernetes.io/version": "1" }, "annotations": { "checksum/config": "1" } });
    let extra = json!({ "spec": { "template": { "metadata": metadata, "spec": pod() } } });
    let name = kind.to_lowercase();
    let path = t.world.create_workload(kind, &name, 0, extra).await?;
    Ok((Both::of(t, &format!("rollback-{name}")).await?, path))
}

/// A case: what it is, the patch, and what the policy says.
type Case = (String, Value, &'static str);

fn case(what: &str, patch: Value, says: &'static str) -> Case {
    (what.to_owned(), patch, says)
}

/// Each of them of each kind.
async fn refused(t: &T, cases: &[Case]) -> Result<()> {
    for kind in KINDS {
        let (both, path) = target(t, kind).await?;
        both.all_refused(&path, cases).await.with_context(|| kind.to_owned())?;
        // What stays as it is passes: the template is not refused for what it is.
        both.allowed(&path, "leave it", &put("/containers/0/image", json!("registry.example:5000/shop/web:2"))).await?;
    }
    Ok(())
}

const OF_POD: &str = "may not change securityContext of the pods";
const OF_APP: &str = "may not change container app: securityContext";

fn of_pod(field: &str) -> String {
    format!("/securityContext/{field}")
}

fn of_app(field: &str) -> String {
    format!("/containers/0/securityContext/{field}")
}

/// Everything that keeps a container in its place, taken away.
async fn confinement_left_out(t: T) -> Result<()> {
    let mut cases = Vec::new();
    for field in ["runAsUser", "runAsNonRoot", "runAsGroup", "fsGroup", "seccompProfile", "appArmorProfile"] {
        cases.push(case(&format!("leave out the pods' {field}"), gone(&of_pod(field)), OF_POD));
    }
    let user = ["runAsUser", "runAsNonRoot", "allowPrivilegeEscalation"];
    let other = ["seccompProfile", "appArmorProfile", "capabilities", "readOnlyRootFilesystem"];
    for field in user.into_iter().chain(other) {
        cases.push(case(&format!("leave out a container's {field}"), gone(&of_app(field)), OF_APP));
    }
    cases.push(case("leave out the runtime class", gone("/runtimeClassName"), "may not change runtimeClassName of"));
    refused(&t, &cases).await
}

/// Loosened, or another one.
async fn another_confinement(t: T) -> Result<()> {
    let windows = || json!({ "runAsUserName": "ContainerAdministrator" });
    let unconfined = || json!({ "type": "Unconfined" });
    let of_pods = [
        ("runAsUser", json!(0)),
        ("runAsGroup", json!(0)),
        ("fsGroup", json!(0)),
        ("supplementalGroups", json!([0])),
        ("seccompProfile", unconfined()),
        ("appArmorProfile", unconfined()),
        ("seLinuxOptions", json!({ "type": "spc_t" })),
        ("sysctls", json!([{ "name": "kernel.msgmax", "value": "1" }])),
        ("windowsOptions", windows()),
    ];
    let of_containers = [
        ("runAsUser", json!(0)),
        ("runAsGroup", json!(0)),
        ("capabilities", json!({ "drop": ["ALL"], "add": ["NET_ADMIN"] })),
        ("capabilities", json!({ "drop": ["NET_RAW"] })),
        ("seccompProfile", unconfined()),
        ("seLinuxOptions", json!({ "type": "spc_t" })),
        ("windowsOptions", windows()),
    ];
    let mut cases = Vec::new();
    for (field, value) in of_pods {
        cases.push(case(&format!("set the pods' {field}"), put(&of_pod(field), value), OF_POD));
    }
    for (field, value) in of_containers {
        cases.push(case(&format!("set a container's {field}"), put(&of_app(field), value), OF_APP));
    }
    let unset = put("/containers/1/securityContext", json!({ "seccompProfile": unconfined() }));
    cases.push(case("unconfine what had no profile", unset, "container logs: securityContext"));
    refused(&t, &cases).await
}

/// What was never confined, and has no field that an annotation would contradict.
async fn what_was_never_confined(t: T) -> Result<()> {
    let extra =
        json!({ "metadata": { "annotations": { "checksum/config": "1" } }, "spec": { "securityContext": null } });
    let extra = json!({ "spec": { "template": extra } });
    let path = t.world.create_workload("Deployment", "plain", 0, extra).await?;
    let annotation = "/spec/template/metadata/annotations/container.apparmor.security.beta.kubernetes.io~1app";
    let annotation = json!([{ "op": "add", "path": annotation, "value": "unconfined" }]);
    let profile = put(&of_pod("seccompProfile"), json!({ "type": "Unconfined" }));
    let cases = [
        case("unconfine by annotation", annotation, "the annotation container.apparmor"),
        case("unconfine what had no profile", profile, OF_POD),
    ];
    Both::of(&t, "rollback-deployment").await?.all_refused(&path, &cases).await
}

/// What one container has is not another's.
async fn the_privileges_of_another(t: T) -> Result<()> {
    const MOUNT: &str = "may not mount what the container does not have";
    let mount = |name: &str| put("/containers/0/volumeMounts/-", json!({ "name": name, "mountPath": "/more" }));
    let prepare = "/initContainers/1/volumeMounts/0/subPath";
    let cases = [
        case(
            "be privileged as another",
            put("/containers/0/securityContext", json!({ "privileged": true })),
            "container app: securityContext",
        ),
        case(
            "run another's image",
            put("/containers/0/image", json!("shop/net:1")),
            "image from another repository (container app)",
        ),
        case("mount another's path of the host", mount("host"), MOUNT),
        case("mount another's token", mount("token"), MOUNT),
        case("mount another's disk", mount("data"), MOUNT),
        case("make a path of the host writable", gone("/containers/1/volumeMounts/1/readOnly"), MOUNT),
        case("mount more of the host", gone("/containers/1/volumeMounts/1/subPath"), MOUNT),
        case("mount more of a disk", gone(prepare), MOUNT),
        case(
            "see the host's mounts",
            put("/containers/1/volumeMounts/1/mountPropagation", json!("HostToContainer")),
            MOUNT,
        ),
        case(
            "see the host's mounts in an empty one",
            put("/containers/1/volumeMounts/0/mountPropagation", json!("HostToContainer")),
            MOUNT,
        ),
        case("uncover the token", gone("/containers/0/volumeMounts/2"), MOUNT),
        case(
            "take another's device",
            put("/containers/0/resources/claims", json!([{ "name": "gpu" }])),
            "cpu, memory and ephemeral-storage (container app)",
        ),
    ];
    refused(&t, &cases).await
}

/// Where the pods run, as whom, and what of the host is theirs.
async fn where_it_runs(t: T) -> Result<()> {
    let host = json!([op("add", "/hostNetwork", json!(true)), { "op": "remove", "path": format!("{POD}/containers/0/ports") }]);
    let account =
        json!([op("add", "/serviceAccountName", json!("admin")), op("add", "/serviceAccount", json!("admin"))]);
    let tolerations = json!([{ "operator": "Exists" }]);
    let node = json!([op("add", "/nodeName", json!("node-a")), op("add", "/tolerations", tolerations.clone())]);
    let spread = json!([{ "maxSkew": 1, "topologyKey": "x", "whenUnsatisfiable": "DoNotSchedule" }]);
    let mut cases = vec![
        case("share the host's network", host, "may not change hostNetwork of the pods"),
        case("run as another account", account, "serviceAccountName"),
        case("name a node", node, "nodeName"),
    ];
    let fields = [
        ("hostPID", json!(true)),
        ("hostIPC", json!(true)),
        ("hostUsers", json!(true)),
        ("shareProcessNamespace", json!(true)),
        ("automountServiceAccountToken", json!(true)),
        ("tolerations", tolerations),
        ("priorityClassName", json!("system-node-critical")),
        ("schedulerName", json!("another")),
        ("nodeSelector", json!({ "node-role.kubernetes.io/control-plane": "" })),
        ("affinity", json!({ "nodeAffinity": {} })),
        ("topologySpreadConstraints", spread),
        ("hostAliases", json!([{ "ip": "10.0.0.1", "hostnames": ["vault"] }])),
        ("dnsPolicy", json!("Default")),
        ("dnsConfig", json!({ "nameservers": ["10.0.0.1"] })),
        ("hostname", json!("vault")),
        ("subdomain", json!("shop")),
        ("imagePullSecrets", json!([{ "name": "another" }])),
        ("resourceClaims", json!([{ "name": "gpu", "resourceClaimName": "another" }])),
        ("enableServiceLinks", json!(false)),
        ("terminationGracePeriodSeconds", json!(3600)),
        ("readinessGates", json!([{ "conditionType": "x.example/y" }])),
    ];
    for (field, value) in fields {
        cases.push(case(&format!("set {field}"), put(&format!("/{field}"), value), field));
    }
    refused(&t, &cases).await
}

async fn containers_are_the_same(t: T) -> Result<()> {
    const SAME: &str = "may not add, remove or rename containers";
    let more = || json!({ "name": "more", "image": "shop/web:1" });
    let (first, second) = (format!("{POD}/initContainers/0"), format!("{POD}/initContainers/1"));
    let cases = [
        case("add a container", put("/containers/-", more()), SAME),
        case("add an init container", put("/initContainers/0", more()), SAME),
        case("remove a container", gone("/containers/1"), SAME),
        case("remove an init container", gone("/initContainers/0"), SAME),
        case("rename a container", put("/containers/1/name", json!("another")), SAME),
        case("run init containers otherwise", json!([{ "op": "move", "from": first, "path": second }]), SAME),
    ];
    refused(&t, &cases).await
}

/// A field of the container `app`.
fn app(path: &str, value: Value) -> Value {
    put(&format!("/containers/0/{path}"), value)
}

/// What a container may have otherwise, but not so.
async fn fields_that_may_differ(t: T) -> Result<()> {
    const HANDLER: &str = "another host, nor another kind of end (container app)";
    const PORTS: &str = "ports of the host (container app)";
    const RESOURCES: &str = "resources but cpu, memory and ephemeral-storage (container app)";
    const PULL: &str = "imagePullPolicy from or to Never (container app)";
    let metadata = || json!({ "httpGet": { "host": "169.254.169.254", "path": "/", "port": 80 } });
    let tcp = json!({ "tcpSocket": { "host": "10.0.0.1", "port": 22 } });
    let port = json!({ "containerPort": 90, "hostPort": 90 });
    let cases = [
        case("take a port of the host", app("ports/0/hostPort", json!(8080)), PORTS),
        case("take a new port of the host", app("ports/-", port), PORTS),
        case("take an address of the host", app("ports/0/hostIP", json!("127.0.0.1")), PORTS),
        case("probe another host", app("readinessProbe/httpGet/host", json!("169.254.169.254")), HANDLER),
        case("probe another host anew", app("livenessProbe", metadata()), HANDLER),
        case("probe another host by TCP", app("startupProbe", tcp), HANDLER),
        case("call another host before the end", app("lifecycle/preStop", metadata()), HANDLER),
        case("call another host at the start", app("lifecycle/postStart", metadata()), HANDLER),
        case("take a device", app("resources/limits/example.com~1fuse", json!("1")), RESOURCES),
        case("take more devices", app("resources/limits/example.com~1gpu", json!("8")), RESOURCES),
        case("give a device back", gone("/containers/0/resources/limits/example.com~1gpu"), RESOURCES),
        case("take huge pages", app("resources/limits/hugepages-2Mi", json!("2Mi")), RESOURCES),
        case("run what the node has", app("imagePullPolicy", json!("Never")), PULL),
    ];
    refused(&t, &cases).await
}

async fn fields_that_may_not_differ(t: T) -> Result<()> {
    let fields = [
        ("workingDir", json!("/")),
        ("stdin", json!(true)),
        ("tty", json!(true)),
        ("terminationMessagePath", json!("/etc/web")),
        ("terminationMessagePolicy", json!("FallbackToLogsOnError")),
        ("volumeDevices", json!([{ "name": "data", "devicePath": "/dev/x" }])),
    ];
    let mut cases = Vec::new();
    for (field, value) in fields {
        cases.push(case(&format!("set {field}"), app(field, value), "may not change container app: "));
    }
    let always = put("/initContainers/1/restartPolicy", json!("Always"));
    cases.push(case("keep an init container running", always, "container prepare: restartPolicy"));
    refused(&t, &cases).await
}

async fn more_volumes(t: T) -> Result<()> {
    const SAME: &str = "may not add, remove or rename volumes";
    let with = |what: &str, source: &str, value: Value| {
        let volume = json!({ "name": "more", source: value });
        let mount = json!({ "name": "more", "mountPath": "/more" });
        let patch = json!([op("add", "/volumes/-", volume), op("add", "/containers/0/volumeMounts/-", mount)]);
        case(&format!("add {what}"), patch, SAME)
    };
    let cases = [
        with("a claim", "persistentVolumeClaim", json!({ "claimName": "others" })),
        with("NFS", "nfs", json!({ "server": "10.0.0.1", "path": "/" })),
        with("an inline CSI volume", "csi", json!({ "driver": "x.example" })),
        with("a flexVolume", "flexVolume", json!({ "driver": "x.example/y" })),
        with("a path of the host", "hostPath", json!({ "path": "/" })),
        with("a Secret", "secret", json!({ "secretName": "others" })),
        with("an image", "image", json!({ "reference": "evil:1" })),
    ];
    refused(&t, &cases).await
}

/// The volumes by their places in [`pod`].
async fn other_volumes(t: T) -> Result<()> {
    const TOKEN: &str = "/volumes/5/projected/sources/0/serviceAccountToken";
    let instead = |what: &str, path: &str, value: Value, says: &'static str| {
        case(what, json!([op("replace", path, value)]), says)
    };
    let set = |what: &str, path: &str, value: Value, says: &'static str| case(what, put(path, value), says);
    let audience = || json!({ "serviceAccountToken": { "audience": "vault", "path": "more" } });
    let nfs = json!({ "name": "cache", "nfs": { "server": "10.0.0.1", "path": "/" } });
    let secret = json!({ "name": "config", "secret": { "secretName": "web-abc123" } });
    let source = "/volumes/7/projected/sources/0";
    let cases = [
        set("take another claim", "/volumes/6/persistentVolumeClaim/claimName", json!("others"), "volume data"),
        instead("take NFS in place of it", "/volumes/2", nfs, "volume cache"),
        instead("take a Secret in place of a ConfigMap", "/volumes/0", secret, "volume config"),
        set("take another path of the host", "/volumes/4/hostPath/path", json!("/"), "volume host"),
        set("change a token's audience", &format!("{TOKEN}/audience"), json!("api"), "volume token"),
        set("change a token's lifetime", &format!("{TOKEN}/expirationSeconds"), json!(86400), "volume token"),
        set("add a token to a volume", "/volumes/7/projected/sources/-", audience(), "volume mixed"),
        instead("put a token in a source's place", source, audience(), "volume mixed"),
        instead("put a Secret in a source's place", source, json!({ "secret": { "name": "a-1" } }), "volume mixed"),
        set("make a source optional", &format!("{source}/configMap/optional"), json!(true), "volume mixed"),
        set("make it optional", "/volumes/0/configMap/optional", json!(true), "volume config"),
        set("change its mode", "/volumes/1/secret/defaultMode", json!(511), "volume creds"),
        set("keep it in memory", "/volumes/2/emptyDir/medium", json!("Memory"), "volume cache"),
    ];
    refused(&t, &cases).await
}

async fn metadata_of_the_pods(t: T) -> Result<()> {
    let meta = |field: &str, value: Value| json!([{ "op": "add", "path": format!("/spec/template/metadata/{field}"), "value": value }]);
    let cases = [
        case("add a label", meta("labels/more", json!("x")), "may not change the label more of the pods"),
        case(
            "add an annotation",
            meta("annotations/sidecar.istio.io~1inject", json!("false")),
            "the annotation sidecar.istio.io/inject",
        ),
        case("add a finalizer", meta("finalizers", json!(["x.example/y"])), "metadata.finalizers"),
        case(
            "change the number of pods' seconds",
            json!([{ "op": "add", "path": "/spec/minReadySeconds", "value": 9 }]),
            "but the pod template",
        ),
    ];
    refused(&t, &cases).await
}

/// The same repository, whatever the tag and the digest; and those that the policy's own variable names.
async fn repositories(t: T) -> Result<()> {
    let (both, path) = target(&t, "Deployment").await?;
    let digest = format!("sha256:{}", "a".repeat(64));
    let image = |image: &str| put("/containers/0/image", json!(image));
    let (own, mirror) = ("registry.example:5000/shop/web", "mirror.example/shop/web");
    for one in [
        own.to_owned(),
        format!("{own}:2"),
        format!("{own}@{digest}"),
        format!("{own}:2@{digest}"),
        format!("{mirror}:2"),
    ] {
        both.allowed(&path, &format!("run {one}"), &image(&one)).await?;
    }
    let others = [
        "shop/web:2",
        "registry.example/shop/web:2",
        "registry.example:5000/shop/web2:2",
        "registry.example:5000/shop/web/evil:2",
        "registry.example:5000/shop:2",
        "registry.example:5001/shop/web:2",
        "docker.io/registry.example:5000/shop/web:2",
        "mirror.example/shop/web2:1",
    ];
    let cases: Vec<Case> = others
        .iter()
        .map(|one| case(&format!("run {one}"), image(one), "image from another repository (container app)"))
        .collect();
    both.all_refused(&path, &cases).await
}

/// What differs between two revisions of a program that is developed.
fn developed() -> Vec<(&'static str, Value)> {
    let key = json!({ "name": "PASSWORD", "valueFrom": { "secretKeyRef": { "name": "db", "key": "password" } } });
    let probe = json!({ "exec": { "command": ["true"] }, "periodSeconds": 3, "failureThreshold": 9 });
    let resources = json!({ "requests": { "cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi" }, "limits": { "memory": "2Gi", "example.com/gpu": "1" } });
    let template = |path: &str, value: Value| json!([{ "op": "add", "path": format!("/spec/template/metadata/{path}"), "value": value }]);
    vec![
        ("take another tag", app("image", json!("registry.example:5000/shop/web:2"))),
        ("pull it always", app("imagePullPolicy", json!("Always"))),
        ("set a variable", app("env/-", json!({ "name": "MORE", "value": "x" }))),
        ("read a key of a Secret", app("env/-", key)),
        ("change a variable", app("env/0/value", json!("good day"))),
        ("read a ConfigMap", app("envFrom", json!([{ "configMapRef": { "name": "web" } }]))),
        ("run another command", app("command", json!(["web", "--fast"]))),
        ("give arguments", app("args", json!(["--port=8081"]))),
        ("take other resources", app("resources", resources)),
        ("probe otherwise", app("readinessProbe", probe.clone())),
        ("probe more", app("livenessProbe", probe)),
        ("end otherwise", app("lifecycle", json!({ "preStop": { "sleep": { "seconds": 3 } } }))),
        (
            "serve another port",
            app(
                "ports",
                json!([{ "name": "http", "containerPort": 8081 }, { "name": "metrics", "containerPort": 9090 }]),
            ),
        ),
        (
            "let the sidecar mount a volume that is there",
            put("/containers/1/volumeMounts/-", json!({ "name": "cache", "mountPath": "/cache" })),
        ),
        ("mount at another path", app("volumeMounts/0/mountPath", json!("/etc/web.d"))),
        ("mount less", gone("/containers/0/volumeMounts/3")),
        ("take a ConfigMap by another hash", put("/volumes/0/configMap/name", json!("web-ffffff"))),
        ("take some of its keys", put("/volumes/0/configMap/items", json!([{ "key": "a", "path": "a" }]))),
        ("take a Secret by another hash", put("/volumes/1/secret/secretName", json!("web-ffffff"))),
        (
            "take a projected ConfigMap by another hash",
            put("/volumes/7/projected/sources/0/configMap/name", json!("a-2")),
        ),
        (
            "take one beside a token by another hash",
            put("/volumes/5/projected/sources/1/configMap/name", json!("ca-2")),
        ),
        ("name the version", template("labels/app.kubernetes.io~1version", json!("2"))),
        ("count the configuration", template("annotations/checksum~1config", json!("2"))),
        ("be restarted", template("annotations/kubectl.kubernetes.io~1restartedAt", json!("2026-01-01T00:00:00Z"))),
        (
            "list containers in another order",
            json!([{ "op": "move", "from": format!("{POD}/containers/1"), "path": format!("{POD}/containers/0") }]),
        ),
    ]
}

/// Each by itself, and all at once.
async fn a_realistic_pair(t: T) -> Result<()> {
    for kind in KINDS {
        let (both, path) = target(&t, kind).await?;
        for (what, patch) in developed() {
            both.allowed(&path, what, &patch).await?;
        }
        let all: Vec<Value> =
            developed().into_iter().flat_map(|(_, patch)| patch.as_array().cloned().unwrap_or_default()).collect();
        both.allowed(&path, "do all of it", &json!(all)).await?;
    }
    Ok(())
}

/// The same by the runner itself, whose word is judged by the template.
async fn a_realistic_deployment_goes_back_and_forth(t: T) -> Result<()> {
    let (both, path) = target(&t, "Deployment").await?;
    let first = t.world.get(&path).await?["spec"]["template"].clone();
    let observed = |object: &Value| object["status"]["observedGeneration"] == object["metadata"]["generation"];
    t.world.until(&path, "its first revision", observed).await?;
    let all: Vec<Value> =
        developed().into_iter().flat_map(|(_, patch)| patch.as_array().cloned().unwrap_or_default()).collect();
    let mut second = serde_json::from_value::<Vec<Value>>(json!(all))?;
    second.insert(0, json!({ "op": "test", "path": "/metadata/name", "value": "deployment" }));
    let request = http::Request::patch(&path)
        .header("content-type", "application/json-patch+json")
        .body(json!(second).to_string().into_bytes())?;
    let second = t.world.client().request::<Value>(request).await?["spec"]["template"].clone();
    t.world.until(&path, "its second revision", observed).await?;
    let back = t.act("rollback-deployment", "deployment", &json!({})).await?;
    expect(&back, "Changed", "applied", "back to revision 1")?;
    ensure!(t.world.get(&path).await?["spec"]["template"] == first && first != second);
    expect(&t.undo(&back, "deployment").await?, "Changed", "applied", "back to revision 2")?;
    ensure!(t.world.get(&path).await?["spec"]["template"] == second);
    // And what a policy refuses is told in its words, with what to do.
    let privileged = put("/containers/0/securityContext", json!({ "privileged": true }));
    send(&both.free, ("PATCH", &path), &privileged).await?.map_err(anyhow::Error::msg)?;
    t.meddle("Deployment", "deployment", json!({ "spec": { "template": { "spec": { "runtimeClassName": null } } } }))
        .await?;
    t.world.until(&path, "its third revision", observed).await?;
    let refused = t.act("rollback-deployment", "deployment", &json!({})).await?;
    expect(
        &refused,
        "Refused",
        "none",
        "may not change runtimeClassName of the pods: a person has to put this revision back",
    )
}

/// 100 containers with 100 variables each, all of them others, are not too much for what an expression may cost; what is denied
/// is denied for what it is. How much would be too much is told.
async fn the_largest_template(t: T) -> Result<()> {
    let containers = |variables: usize, value: &str| -> Value {
        let env: Vec<Value> =
            (0..variables).map(|number| json!({ "name": format!("E{number}"), "value": value })).collect();
        (0..100).map(|number| json!({ "name": format!("c{number}"), "image": format!("shop/c{number}:{value}"), "env": env })).collect()
    };
    let extra = json!({ "spec": { "template": { "spec": { "containers": containers(100, "1"), "nodeSelector": { "test/pool": "nowhere" } } } } });
    let path = t.world.create_workload("Deployment", "web", 0, extra).await?;
    let both = Both::of(&t, "rollback-deployment").await?;
    let patch = |containers: &Value| put("/containers", containers.clone());
    let began = std::time::Instant::now();
    both.allowed(&path, "change 10,000 variables", &patch(&containers(100, "2"))).await?;
    let took = began.elapsed();
    let mut last = containers(100, "2");
    last[99]["securityContext"] = json!({ "privileged": true });
    both.refused(&path, "be privileged among many", &patch(&last), "may not change container c99: securityContext")
        .await?;
    let mut most = 100;
    let mut why = "a request may be no larger".to_owned();
    for variables in [150, 200, 300, 400, 600, 800] {
        match send(&both.held, ("PATCH", &path), &patch(&containers(variables, "2"))).await? {
            Ok(_) => most = variables,
            Err(error) => {
                why = error.chars().take(300).collect();
                break;
            }
        }
    }
    tell(&format!(
        "action-rollback: 100 containers of 100 variables in {took:?}; the largest that passes has {most} each, then: {why}"
    ));
    Ok(())
}
