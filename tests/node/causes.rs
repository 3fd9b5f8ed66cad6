//! Why a rollout does not finish, in a kubelet's own words: what it prepares and cannot, refuses, starts again and again, or waits
//! for. Runs are by hand, beside kubectl; the second judge holds each result to the cluster. `UPDATE=1` writes the table in
//! docs/causes.md.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use test_cluster::fixtures::merge;
use test_cluster::hangs::{Bound, Cause, Ended, Hanging, Table, Told};
use test_cluster::node;
use test_cluster::runner::Run;

use crate::support::{N, pod_spec, scenarios};

scenarios!("causes":
    a_volume_that_cannot_be_mounted, a_secret_that_comes_late, a_variable_of_a_secret_that_is_not_there, images,
    refused_by_the_kubelet, a_readiness_gate, a_probe_that_fails, an_init_container_that_takes_long,
    five_crashes, a_dependency_that_comes_late,
);

/// What came of all causes that this suite makes.
pub static TABLE: Table = Table::new(
    "causes-kubelet",
    &[
        "a Secret that is mounted is not there",
        "a ConfigMap that is mounted is not there",
        "a Secret in a variable is not there",
        "a registry that is not reached",
        "an image that is never pulled, and is not there",
        "an image's name that cannot be read",
        "the kubelet refuses the pods: not enough cpu",
        "the kubelet refuses the pods: another node is selected",
        "a readiness gate that nobody answers for",
        "a readiness probe that fails",
        "an init container that takes long",
        "five crashes, with `obstacleLogs`",
    ],
    // A kubelet says `ErrImagePull` and `ImagePullBackOff` in turn; on a slow machine a probe may time out in place of being refused;
    // and kubectl may see that the container was ready for a moment.
    &["a registry that is not reached", "a readiness probe that fails", "five crashes, with `obstacleLogs`"],
);

/// One of the two tries: under the shipped Role, or with what `components/causes` adds to it.
struct Try {
    n: N,
    causes: bool,
}

/// Tries it twice at the same time, each in a namespace of its own, and puts what came of it into the table.
async fn row(n: &N, what: &'static str, name: &'static str, one: impl AsyncFn(&Try) -> Result<Told>) -> Result<()> {
    let tried = async |causes: bool| {
        let own = N::new(&n.world.connection, name).await?;
        let tried = Try { n: own.clone(), causes };
        let told = one(&tried).await.with_context(|| format!("{what}; with the component: {causes}"));
        drop(tried);
        match told {
            Ok(told) => own.end(Ok(())).await.map(|()| told),
            Err(error) => Err(own.end(Err(error)).await.err().context("no error")?),
        }
    };
    let (shipped, causes) = tokio::join!(tried(false), tried(true));
    TABLE.put(what, &shipped?, &causes?)
}

/// A kubeconfig of the account of `restart-deployment`.
async fn account(n: &N, causes: bool) -> Result<PathBuf> {
    const ACTION: &str = "restart-deployment";
    let flags: &[&str] = if causes { &["--causes"] } else { &[] };
    n.world.account(&n.print(&[&["rbac", ACTION], flags].concat())?).await
}

/// A Deployment `web` of one pod on the real node, with this in its pods; not waited for.
async fn deployment(n: &N, extra: Value) -> Result<()> {
    let mut spec = pod_spec(&["wait"]);
    merge(&mut spec, extra);
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
        "spec": { "replicas": 1, "selector": { "matchLabels": { "app": "web" } }, "template": { "metadata": { "labels": { "app": "web" } }, "spec": spec } },
    });
    n.world.create(&n.world.path("apps/v1", "deployments"), &object).await.map(|_| ())
}

/// A restart of it.
async fn restart(n: &N, causes: bool, parameters: &Value) -> Result<Run> {
    let binary = test_cluster::assets::variable("ACTION_RUNNER");
    let binary = binary.map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_action-runner")), PathBuf::from);
    let run = Run::new(&binary, &account(n, causes).await?, "restart-deployment", "web");
    Ok(run.with("TARGET_NAMESPACE", &n.world.namespace).with("ACTION_TIMEOUT", "240s").parameters(parameters))
}

impl Try {
    /// Restarts a Deployment with this in its pods, beside kubectl, to the end.
    async fn restarted(&self, extra: Value, parameters: &Value) -> Result<Ended> {
        deployment(&self.n, extra).await?;
        // There is a pod of before, whatever becomes of it.
        let any = |list: &Value| list["items"].as_array().is_some_and(|all| !all.is_empty());
        self.n.world.until(&self.n.world.path("v1", "pods"), "a pod", any).await?;
        let run = restart(&self.n, self.causes, parameters).await?;
        let path = self.n.world.workload_path("Deployment", "web");
        Hanging::begin(&self.n.world, &run, &path, ("Deployment", "web")).await?.ends(&self.n.world).await
    }

    async fn because(&self, ended: &mut Ended, cause: &Cause<'_>) -> Result<(Told, Value)> {
        if let Some(first) = self.first_said(ended, cause.words).await? {
            ended.from = ended.from.max(first);
        }
        ended.because(&self.n.world, "web", cause).await
    }

    /// When the kubelet first said these words of the pod in the way, if it said them in an event: until then nobody could know.
    async fn first_said(&self, ended: &Ended, words: &str) -> Result<Option<Timestamp>> {
        let pod = &ended.outcome.result["details"]["obstacles"][0]["object"]["uid"];
        let path = format!(
            "/apis/events.k8s.io/v1/namespaces/{}/events?fieldSelector=type%3DWarning,regarding.uid%3D{}",
            self.n.world.namespace,
            pod.as_str().unwrap_or_default()
        );
        let events = self.n.world.get(&path).await?;
        let all = events["items"].as_array().into_iter().flatten();
        let said = all.filter(|one| !words.is_empty() && one["note"].as_str().is_some_and(|note| note.contains(words)));
        Ok(said.filter_map(|one| one["deprecatedFirstTimestamp"].as_str()?.parse::<Timestamp>().ok()).min())
    }
}

/// The container, with this in it.
fn container(extra: Value) -> Value {
    let mut container = pod_spec(&["wait"])["containers"][0].clone();
    merge(&mut container, extra);
    json!({ "containers": [container] })
}

fn patience() -> Value {
    json!({ "stuckAfter": "4s", "waitTimeout": "25s" })
}

/// The pod shows only that its container is being created; which volume it is, the kubelet's events alone say.
async fn a_volume_that_cannot_be_mounted(n: N) -> Result<()> {
    let one = async |what: &'static str, name: &'static str, source: Value, words: &str| {
        row(&n, what, name, async |of: &Try| {
            let mut spec = container(json!({ "volumeMounts": [{ "name": "settings", "mountPath": "/settings" }] }));
            let mut volume = json!({ "name": "settings" });
            merge(&mut volume, source.clone());
            spec["volumes"] = json!([volume]);
            let mut ended = of.restarted(spec, &patience()).await?;
            let (state, words, bound) = if of.causes {
                ("FailedMount", words, Bound::StuckAfter(4, 0))
            } else {
                ("ContainerCreating", "containers with unready status: [app]", Bound::WaitTimeout(25))
            };
            let (told, pod) = of.because(&mut ended, &Cause { kind: "Pod", state, words, bound }).await?;
            let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"];
            ensure!(waiting == "ContainerCreating", "{pod:#}");
            if !of.causes {
                ensure!(told.says.contains("components/causes"), "it does not say what would tell more: {}", told.says);
            }
            Ok(told)
        })
        .await
    };
    tokio::try_join!(
        one(
            "a Secret that is mounted is not there",
            "mounts-secret",
            json!({ "secret": { "secretName": "missing" } }),
            "secret \"missing\" not found"
        ),
        one(
            "a ConfigMap that is mounted is not there",
            "mounts-map",
            json!({ "configMap": { "name": "missing" } }),
            "configmap \"missing\" not found"
        ),
    )
    .map(|_| ())
}

/// A variable that comes from the Secret `late`.
fn variable() -> Value {
    let from = json!({ "secretKeyRef": { "name": "late", "key": "password" } });
    container(json!({ "env": [{ "name": "PASSWORD", "valueFrom": from }] }))
}

async fn a_variable_of_a_secret_that_is_not_there(n: N) -> Result<()> {
    row(&n, "a Secret in a variable is not there", "variable", async |of: &Try| {
        let mut ended = of.restarted(variable(), &patience()).await?;
        let (state, words) = ("CreateContainerConfigError", "secret \"late\" not found");
        let cause = Cause { kind: "Pod", state, words, bound: Bound::StuckAfter(4, 0) };
        of.because(&mut ended, &cause).await.map(|(told, _)| told)
    })
    .await
}

/// Until a time of day: what is tried is how long something may take.
async fn until(time: Timestamp) {
    let left = Duration::try_from(time.duration_since(Timestamp::now())).unwrap_or_default();
    tokio::time::sleep(left).await;
}

/// Twelve seconds after the kubelet has asked for it: the rollout finishes by itself.
async fn a_secret_that_comes_late(n: N) -> Result<()> {
    deployment(&n, variable()).await?;
    let run = restart(&n, false, &json!({ "waitTimeout": "100s" })).await?;
    let path = n.world.workload_path("Deployment", "web");
    let running = run.start(&n.world)?;
    let asks = |list: &Value| {
        let all = list["items"].as_array().into_iter().flatten();
        all.into_iter().any(|pod| {
            let restarted = pod["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"].is_string();
            restarted
                && pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CreateContainerConfigError"
        })
    };
    n.world.until(&n.world.path("v1", "pods"), "a pod whose container cannot be made", asks).await?;
    until(Timestamp::now() + SignedDuration::from_secs(12)).await;
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "late" }, "stringData": { "password": "hunter22" } });
    n.world.create(&n.world.path("v1", "secrets"), &secret).await?;
    let outcome = running.complete(&n.world).await?;
    let web = n.world.get(&path).await?;
    ensure!(web["status"]["readyReplicas"] == 1, "{web:#}");
    ensure!(outcome.result["code"] == "Changed" && outcome.result["effect"] == "applied", "{:#}", outcome.result);
    Ok(())
}

async fn images(n: N) -> Result<()> {
    let pulls = row(&n, "a registry that is not reached", "pulls", async |of: &Try| {
        let image = json!({ "image": "10.201.0.9:5000/shop/web:1", "imagePullPolicy": "Always" });
        let mut ended = of.restarted(container(image), &json!({ "stuckAfter": "4s", "waitTimeout": "60s" })).await?;
        // The kubelet says the one and the other in turn. It takes some seconds to find that nobody is there.
        ensure!(["ErrImagePull", "ImagePullBackOff"].contains(&ended.state()), "{:#}", ended.outcome.result);
        let state = ended.state().to_owned();
        let cause =
            Cause { kind: "Pod", state: &state, words: "10.201.0.9:5000/shop/web:1", bound: Bound::StuckAfter(4, 0) };
        of.because(&mut ended, &cause).await.map(|(told, _)| told)
    });
    let never = row(&n, "an image that is never pulled, and is not there", "never", async |of: &Try| {
        let mut ended = of.restarted(container(json!({ "image": "shop/web:1" })), &patience()).await?;
        let cause = Cause { kind: "Pod", state: "ErrImageNeverPull", words: "shop/web:1", bound: Bound::Certain };
        of.because(&mut ended, &cause).await.map(|(told, _)| told)
    });
    let name = row(&n, "an image's name that cannot be read", "badname", async |of: &Try| {
        let mut ended = of.restarted(container(json!({ "image": "shop/WEB:1" })), &patience()).await?;
        let cause = Cause { kind: "Pod", state: "InvalidImageName", words: "shop/WEB:1", bound: Bound::Certain };
        of.because(&mut ended, &cause).await.map(|(told, _)| told)
    });
    tokio::try_join!(pulls, never, name).map(|_| ())
}

/// Bound past the scheduler: a kubelet refuses such a pod, and its ReplicaSet makes another one, at once and for ever.
async fn refused_by_the_kubelet(n: N) -> Result<()> {
    let one = async |what: &'static str, name: &'static str, extra: Value, state: &str| {
        row(&n, what, name, async |of: &Try| {
            let mut spec = json!({ "nodeName": node::NAME });
            merge(&mut spec, extra.clone());
            let mut ended = of.restarted(spec, &patience()).await?;
            let cause = Cause { kind: "Pod", state, words: "Pod was rejected: ", bound: Bound::StuckAfter(4, 0) };
            let told = of.because(&mut ended, &cause).await;
            // No more of them.
            let none = json!({ "spec": { "replicas": 0 } });
            of.n.world.merge(&of.n.world.workload_path("Deployment", "web"), &none).await?;
            let (told, pod) = told?;
            ensure!(pod["status"]["reason"] == state && pod["status"]["phase"] == "Failed", "{pod:#}");
            Ok(told)
        })
        .await
    };
    let cpu = container(json!({ "resources": { "requests": { "cpu": "500" } } }));
    let elsewhere = json!({ "nodeSelector": { "no": "such-label" } });
    tokio::try_join!(
        one("the kubelet refuses the pods: not enough cpu", "outofcpu", cpu, "OutOfcpu"),
        one("the kubelet refuses the pods: another node is selected", "affinity", elsewhere, "NodeAffinity"),
    )
    .map(|_| ())
}

async fn a_readiness_gate(n: N) -> Result<()> {
    row(&n, "a readiness gate that nobody answers for", "gate", async |of: &Try| {
        let gates = json!({ "readinessGates": [{ "conditionType": "example.com/balancer" }] });
        let mut ended = of.restarted(gates, &json!({ "waitTimeout": "25s" })).await?;
        let cause = Cause {
            kind: "Pod",
            state: "ReadinessGatesNotReady",
            words: "example.com/balancer",
            bound: Bound::WaitTimeout(25),
        };
        of.because(&mut ended, &cause).await.map(|(told, _)| told)
    })
    .await
}

async fn a_probe_that_fails(n: N) -> Result<()> {
    row(&n, "a readiness probe that fails", "probe", async |of: &Try| {
        let probe = json!({ "readinessProbe": { "tcpSocket": { "port": 81 }, "periodSeconds": 1 } });
        let mut ended = of.restarted(container(probe), &json!({ "waitTimeout": "25s" })).await?;
        let words = if of.causes { "Readiness probe failed: " } else { "containers with unready status: [app]" };
        let state = ended.state().to_owned();
        ensure!(["ContainersNotReady", "Unhealthy"].contains(&&*state), "{:#}", ended.outcome.result);
        let cause = Cause { kind: "Pod", state: &state, words, bound: Bound::WaitTimeout(25) };
        of.because(&mut ended, &cause).await.map(|(told, _)| told)
    })
    .await
}

async fn an_init_container_that_takes_long(n: N) -> Result<()> {
    row(&n, "an init container that takes long", "init", async |of: &Try| {
        let mut init = pod_spec(&["wait"])["containers"][0].clone();
        init["name"] = json!("migrate");
        let mut ended = of.restarted(json!({ "initContainers": [init] }), &json!({ "waitTimeout": "25s" })).await?;
        let cause = Cause { kind: "Pod", state: "PodInitializing", words: "", bound: Bound::WaitTimeout(25) };
        let (told, pod) = of.because(&mut ended, &cause).await?;
        ensure!(pod["status"]["initContainerStatuses"][0]["state"]["running"].is_object(), "{pod:#}");
        ensure!(told.says.contains("migrate") && !told.says.contains("probe"), "which one runs: {}", told.says);
        Ok(told)
    })
    .await
}

/// Nobody answers, and nobody will: five crashes since the change are enough, whatever `stuckAfter`.
async fn five_crashes(n: N) -> Result<()> {
    row(&n, "five crashes, with `obstacleLogs`", "crashes", async |of: &Try| {
        let spec = container(json!({ "args": ["need", "10.201.0.1:9", "0"] }));
        let parameters = json!({ "stuckAfter": "10m", "waitTimeout": "3m", "settle": "20s", "obstacleLogs": true });
        let mut ended = of.restarted(spec, &parameters).await?;
        let obstacle = ended.outcome.result["details"]["obstacles"][0].clone();
        let path =
            format!("{}/{}", of.n.world.path("v1", "pods"), obstacle["object"]["name"].as_str().unwrap_or_default());
        let pod = of.n.world.get(&path).await?;
        let status = &pod["status"]["containerStatuses"][0];
        ensure!(status["restartCount"] == 4, "the fifth instance has ended: {pod:#}");
        let last = [&status["state"], &status["lastState"]].into_iter().find(|one| one["terminated"].is_object());
        let last = last.and_then(|one| one["terminated"]["finishedAt"].as_str()).context("it has not ended")?;
        ended.from = last.parse()?;
        let state = ended.state().to_owned();
        let cause = Cause { kind: "Pod", state: &state, words: "", bound: Bound::Certain };
        let (told, _) = of.because(&mut ended, &cause).await?;
        logs(of, &ended, &obstacle, &path).await?;
        Ok(told)
    })
    .await
}

/// The last lines of the pod in the way, as they stand in its log, but for the secret; where they may not be read, that is said.
async fn logs(of: &Try, ended: &Ended, obstacle: &Value, path: &str) -> Result<()> {
    ensure!(!ended.outcome.text.contains("hunter22"), "{}", ended.outcome.text);
    if !of.causes {
        ensure!(obstacle["logs"].is_null() && obstacle["unread"].to_string().contains("log"), "{obstacle:#}");
        return Ok(());
    }
    let all = obstacle["logs"].as_array().context("no logs")?;
    let lines = all.iter().flat_map(|one| one["lines"].as_array().into_iter().flatten());
    let lines: Vec<&str> = lines.filter_map(Value::as_str).collect();
    ensure!(lines.iter().map(|line| line.len()).sum::<usize>() <= 2048, "{obstacle:#}");
    let stands = of.n.world.text(&format!("{path}/log?container=app")).await?;
    // The address is an argument, which is shown to nobody.
    let (said, hidden) = ("nobody answers at ", "[hidden]");
    let stand = |line: &&str| line.contains(said) && line.split(hidden).all(|piece| stands.contains(piece));
    ensure!(stands.contains(said) && lines.iter().any(stand), "{stands}: {obstacle:#}");
    let ours = |line: &&str| {
        line.split(hidden).next().is_some_and(|begin| stands.contains(begin)) || line.contains("[REDACTED]")
    };
    ensure!(lines.iter().all(ours), "not all of it stands in the log: {stands}: {obstacle:#}");
    Ok(())
}

/// What it needs is up 95 s after the change. Each start lives for some two seconds, less than `settle`, and the fifth, some 95 s after the change, finds
/// it; on a machine where that start is nearer, it is up a little sooner.
async fn a_dependency_that_comes_late(n: N) -> Result<()> {
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "needed" },
        "spec": { "selector": { "app": "needed" }, "ports": [{ "port": 80, "targetPort": 8080 }] },
    });
    let service = n.world.create(&n.world.path("v1", "services"), &service).await?;
    let address = format!("{}:80", service["spec"]["clusterIP"].as_str().context("no address")?);
    // It runs from the beginning, and the Service does not know it: how long a pod takes to start decides nothing here.
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "needed" }, "spec": pod_spec(&["receive", "8080"]) });
    let needed = n.world.path("v1", "pods") + "/needed";
    n.world.create(&n.world.path("v1", "pods"), &pod).await?;
    let serves = |pod: &Value| {
        pod["status"]["conditions"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
    };
    n.world.until(&needed, "ready", serves).await?;
    deployment(&n, container(json!({ "args": ["need", address, "2"] }))).await?;
    let run = restart(&n, false, &json!({ "stuckAfter": "2m", "waitTimeout": "3m", "settle": "20s" })).await?;
    let (began, running) = (Timestamp::now(), run.start(&n.world)?);
    let fourth = fourth_crash(&n).await?;
    // A kubelet starts it again 40 s after its fourth crash, and no sooner.
    until((began + SignedDuration::from_secs(93)).min(fourth + SignedDuration::from_secs(36))).await;
    n.world.merge(&needed, &json!({ "metadata": { "labels": { "app": "needed" } } })).await?;
    let outcome = running.complete(&n.world).await?;
    let pods = n.world.pods("web").await?;
    let crashes: Vec<_> =
        pods.iter().map(|pod| pod["status"]["containerStatuses"][0]["restartCount"].clone()).collect();
    ensure!(outcome.result["code"] == "Changed", "after {crashes:?} crashes: {:#}", outcome.result);
    ensure!(crashes == [4], "it crashed {crashes:?} times: {pods:#?}");
    Ok(())
}

/// When the fourth instance of what was restarted has ended.
async fn fourth_crash(n: &N) -> Result<Timestamp> {
    let restarted = |pod: &&Value| pod["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"].is_string();
    let ended = |list: &Value| {
        let pod = list["items"].as_array()?.iter().find(restarted)?;
        let status = &pod["status"]["containerStatuses"][0];
        let fourth = status["restartCount"] == 3 && status["state"]["running"].is_null();
        let of = |state: &str| status[state]["terminated"]["finishedAt"].as_str()?.parse::<Timestamp>().ok();
        of("state").or_else(|| of("lastState")).filter(|_| fourth)
    };
    let limit = Timestamp::now() + SignedDuration::from_secs(100);
    loop {
        if let Some(time) = ended(&n.world.get(&n.world.path("v1", "pods")).await?) {
            return Ok(time);
        }
        ensure!(Timestamp::now() < limit, "it does not crash");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
