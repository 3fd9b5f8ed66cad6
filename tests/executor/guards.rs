//! The controller's own account, and the accounts of actions, under the policies that are shipped; and that nothing is stuck
//! behind them: executions are carried out, namespaces go, and people get out of it without the controller.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use controller::api::{FINALIZER, KubernetesExecution};
use controller::job::{self, Start};
use controller::plan::{self, Plan};
use controller::settings::{Component, Settings};
use serde_json::{Value, json};
use test_cluster::executor::GROUP;

use crate::policies::{self, Person, allowed, refused};
use crate::support::{E, scale, scale_with, scenarios};

scenarios!("guards": its_jobs, its_writes, carried_out, accounts, a_namespace_goes, without_the_controller,
    granted_as_the_page_says, an_overlay);

const PAGE: &str = "docs/who-may-use-what.md";

/// The Job that the controller makes of an execution.
async fn real_job(e: &E) -> Result<Value> {
    let execution: KubernetesExecution = serde_json::from_value(e.execute("up", scale(3)).await?)?;
    let Plan::Runnable(plan) = plan::plan(&execution, Settings::default().conditions()) else {
        anyhow::bail!("not runnable")
    };
    let start = Start { attempt: 1, timeout: std::time::Duration::from_mins(5) };
    Ok(job::job(&execution, &plan, &start, &Settings::default(), Some("{}")))
}

type Change = fn(&mut Value);

fn pod(job: &mut Value) -> &mut Value {
    &mut job["spec"]["template"]["spec"]
}

fn container(job: &mut Value) -> &mut Value {
    &mut job["spec"]["template"]["spec"]["containers"][0]
}

/// One change of the real Job each, and the rule that refuses it.
#[allow(clippy::too_many_lines, reason = "each line is a case")]
fn bad_jobs() -> Vec<(&'static str, Change)> {
    const OWNER: &str = "nothing but Jobs whose one owner, and controller, is a KubernetesExecution";
    const FIELDS: &str = "may not set these fields of a pod: ";
    const CONTAINER: &str = "may not set these fields of a container: ";
    const LABELS: &str = "no labels and annotations but those that job.rs writes";
    const POD: &str = "run as not root under the runtime's seccomp profile";
    const PROFILE: &str = "containers have the restricted profile";
    const ENV: &str = "the runner's variables, as plain values, and no other";
    const ONE: &str = "pods have one container, executor";
    const ACCOUNT: &str = "run as an account whose name begins with action-";
    const IMAGE: &str = "may not run the image ";
    const SIZE: &str = "one pod at a time, and backoffLimit 0";
    vec![
        (OWNER, |job| job["metadata"]["ownerReferences"] = Value::Null),
        (OWNER, |job| job["metadata"]["ownerReferences"][0]["controller"] = json!(false)),
        (OWNER, |job| job["metadata"]["ownerReferences"][0]["kind"] = json!("ConfigMap")),
        (OWNER, |job| job["metadata"]["ownerReferences"][0]["apiVersion"] = json!("v1")),
        (OWNER, |job| {
            let more = json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "x" });
            job["metadata"]["ownerReferences"].as_array_mut().map(|all| all.push(more)).unwrap_or_default();
        }),
        ("Jobs have no finalizers", |job| job["metadata"]["finalizers"] = json!(["example.com/x"])),
        (LABELS, |job| job["metadata"]["annotations"]["example.com/x"] = json!("x")),
        (LABELS, |job| job["metadata"]["labels"]["app"] = json!("web")),
        (LABELS, |job| job["spec"]["template"]["metadata"]["labels"]["app"] = json!("web")),
        (LABELS, |job| job["spec"]["template"]["metadata"]["annotations"]["k8s.v1.cni.cncf.io/networks"] = json!("x")),
        ("may not set these fields of a Job: ", |job| {
            job["spec"]["completionMode"] = json!("Indexed");
            job["spec"]["backoffLimitPerIndex"] = json!(0);
            job["spec"]["maxFailedIndexes"] = json!(1);
            if let Some(spec) = job["spec"].as_object_mut() {
                spec.remove("backoffLimit");
            }
        }),
        (SIZE, |job| job["spec"]["parallelism"] = json!(2)),
        (SIZE, |job| job["spec"]["completions"] = json!(2)),
        (SIZE, |job| job["spec"]["backoffLimit"] = json!(1)),
        (ACCOUNT, |job| pod(job)["serviceAccountName"] = Value::Null),
        (ACCOUNT, |job| pod(job)["serviceAccountName"] = json!("execution-controller")),
        (FIELDS, |job| pod(job)["hostNetwork"] = json!(true)),
        (FIELDS, |job| pod(job)["hostPID"] = json!(true)),
        (FIELDS, |job| pod(job)["hostIPC"] = json!(true)),
        (FIELDS, |job| pod(job)["shareProcessNamespace"] = json!(true)),
        (FIELDS, |job| pod(job)["volumes"] = json!([{ "name": "x", "secret": { "secretName": "x" } }])),
        (FIELDS, |job| pod(job)["volumes"] = json!([{ "name": "x", "emptyDir": {} }])),
        (FIELDS, |job| pod(job)["initContainers"] = json!([{ "name": "x", "image": "action-scale:1" }])),
        (FIELDS, |job| pod(job)["nodeName"] = json!("node-a")),
        (FIELDS, |job| pod(job)["nodeSelector"] = json!({ "a": "b" })),
        (FIELDS, |job| pod(job)["tolerations"] = json!([{ "operator": "Exists" }])),
        (FIELDS, |job| pod(job)["affinity"] = json!({ "nodeAffinity": {} })),
        (FIELDS, |job| pod(job)["priorityClassName"] = json!("system-node-critical")),
        (FIELDS, |job| pod(job)["runtimeClassName"] = json!("x")),
        (FIELDS, |job| pod(job)["imagePullSecrets"] = json!([{ "name": "x" }])),
        (FIELDS, |job| pod(job)["automountServiceAccountToken"] = json!(false)),
        (FIELDS, |job| pod(job)["hostAliases"] = json!([{ "ip": "10.0.0.1", "hostnames": ["x"] }])),
        (FIELDS, |job| pod(job)["dnsConfig"] = json!({ "nameservers": ["10.0.0.1"] })),
        (FIELDS, |job| pod(job)["hostname"] = json!("x")),
        (FIELDS, |job| pod(job)["subdomain"] = json!("x")),
        (POD, |job| pod(job)["securityContext"]["runAsNonRoot"] = json!(false)),
        (POD, |job| pod(job)["securityContext"]["runAsUser"] = json!(1)),
        (POD, |job| pod(job)["securityContext"]["seccompProfile"]["type"] = json!("Unconfined")),
        (POD, |job| pod(job)["dnsPolicy"] = json!("Default")),
        (POD, |job| pod(job)["schedulerName"] = json!("own")),
        (POD, |job| pod(job)["enableServiceLinks"] = json!(true)),
        (POD, |job| pod(job)["activeDeadlineSeconds"] = Value::Null),
        (ONE, |job| {
            let more = json!({ "name": "more", "image": "action-scale:1" });
            pod(job)["containers"].as_array_mut().map(|all| all.push(more)).unwrap_or_default();
        }),
        (ONE, |job| {
            job["spec"]["podFailurePolicy"] = Value::Null;
            container(job)["name"] = json!("other");
        }),
        (CONTAINER, |job| container(job)["command"] = json!(["sh"])),
        (CONTAINER, |job| container(job)["args"] = json!(["x"])),
        (CONTAINER, |job| container(job)["envFrom"] = json!([{ "secretRef": { "name": "x" } }])),
        (CONTAINER, |job| container(job)["lifecycle"] = json!({ "preStop": { "exec": { "command": ["x"] } } })),
        (CONTAINER, |job| container(job)["livenessProbe"] = json!({ "exec": { "command": ["x"] } })),
        (CONTAINER, |job| container(job)["ports"] = json!([{ "containerPort": 80, "hostPort": 80 }])),
        (CONTAINER, |job| container(job)["workingDir"] = json!("/")),
        (CONTAINER, |job| container(job)["tty"] = json!(true)),
        (IMAGE, |job| pod(job)["containers"][0]["image"] = json!("action-scale:5000/evil/x:1")),
        (IMAGE, |job| container(job)["image"] = json!("evil:1")),
        (IMAGE, |job| container(job)["image"] = json!("evil/action-scale:1")),
        (IMAGE, |job| container(job)["image"] = json!("action-scale-evil/x:1")),
        (PROFILE, |job| container(job)["securityContext"] = Value::Null),
        (PROFILE, |job| container(job)["securityContext"]["privileged"] = json!(false)),
        (PROFILE, |job| container(job)["securityContext"]["readOnlyRootFilesystem"] = json!(false)),
        (PROFILE, |job| {
            container(job)["securityContext"]["capabilities"] = json!({ "drop": ["ALL"], "add": ["NET_ADMIN"] });
        }),
        (PROFILE, |job| container(job)["securityContext"]["runAsUser"] = json!(0)),
        (ENV, |job| container(job)["env"][0] = json!({ "name": "KUBECONFIG", "value": "x" })),
        (ENV, |job| container(job)["env"][0] = json!({ "name": "HTTPS_PROXY", "value": "http://evil" })),
        (ENV, |job| {
            let secret = json!({ "secretKeyRef": { "name": "x", "key": "x" } });
            container(job)["env"][0] = json!({ "name": "ACTION_TYPE", "valueFrom": secret });
        }),
    ]
}

/// Each rule by changes of the real Job; the real one passes.
async fn its_jobs(e: E) -> Result<()> {
    let real = real_job(&e).await?;
    let components = [Component::Controller];
    policies::install(&e, &components, &[]).await?;
    let (ours, other) = (Person::ours(&e), Person::new(&e, &format!("other-{}", e.world.namespace)));
    for one in [&ours, &other] {
        one.may_everything_but_use(&e.world.namespace).await?;
    }
    let jobs = e.world.path("batch/v1", "jobs");
    let dry = format!("{jobs}?dryRun=All");
    allowed(&ours.send("POST", &dry, &real).await?)?;
    let mut seen = BTreeSet::new();
    for (says, change) in bad_jobs() {
        let mut job = real.clone();
        change(&mut job);
        let answer = ours.send("POST", &dry, &job).await?;
        refused(&e, &answer, "execution-jobs", says)?;
        seen.insert(says.split(": ").next());
        // Nobody else is concerned, but that no execution owns what he makes.
        job["metadata"]["ownerReferences"] = Value::Null;
        allowed(&other.send("POST", &dry, &job).await?).with_context(|| says.to_owned())?;
    }
    // A TTL, or a queue that suspends Jobs, may be added by the cluster's own policies.
    let mut more = real.clone();
    (more["spec"]["ttlSecondsAfterFinished"], more["spec"]["suspend"]) = (json!(60), json!(true));
    allowed(&ours.send("POST", &dry, &more).await?)?;
    // Changed by nobody's hand, and deleted only where it is an execution's.
    allowed(&ours.send("POST", &jobs, &real).await?)?;
    let mut foreign = real.clone();
    (foreign["metadata"]["ownerReferences"], foreign["metadata"]["name"]) = (Value::Null, json!("foreign"));
    allowed(&other.send("POST", &jobs, &foreign).await?)?;
    forged(&e, &other, &real, &foreign).await?;
    seen.insert(Some(FORGED));
    let answer = ours.send("PATCH", &format!("{jobs}/up-job"), &json!({ "spec": { "suspend": true } })).await?;
    refused(&e, &answer, "execution-jobs", "may not change Jobs")?;
    seen.insert(Some("the execution controller may not change Jobs"));
    let answer = ours.send("DELETE", &format!("{jobs}/foreign"), &json!({})).await?;
    refused(&e, &answer, "execution-jobs", "nothing but Jobs whose one owner")?;
    allowed(&ours.send("DELETE", &format!("{jobs}/up-job"), &json!({})).await?)?;
    let shipped = policies::shipped(&e, Component::Controller)?;
    let rules = shipped[0]["spec"]["validations"].as_array().map_or(0, Vec::len);
    ensure!(seen.len() == rules, "{} of {rules} rules of a Job are tried: {seen:#?}", seen.len());
    policies::remove(&e, &components).await
}

const FORGED: &str = "may not make a Job that belongs to a KubernetesExecution";

/// Nobody else makes a Job that an execution owns; what is done to those that are there goes on.
async fn forged(e: &E, other: &Person<'_>, real: &Value, foreign: &Value) -> Result<()> {
    let jobs = e.world.path("batch/v1", "jobs");
    let dry = format!("{jobs}?dryRun=All");
    let owners = json!({ "metadata": { "ownerReferences": real["metadata"]["ownerReferences"] } });
    let mut forged = foreign.clone();
    forged["metadata"]["ownerReferences"] = owners["metadata"]["ownerReferences"].clone();
    let told = format!("{} {FORGED}", other.user);
    refused(e, &other.send("POST", &dry, &forged).await?, "execution-jobs", &told)?;
    refused(e, &other.send("PATCH", &format!("{jobs}/foreign"), &owners).await?, "execution-jobs", &told)?;
    // What the Job controller and the garbage collector do to those that are there, and what people may.
    let paused = json!({ "metadata": { "labels": { "x": "y" } }, "spec": { "suspend": true } });
    allowed(&other.send("PATCH", &format!("{jobs}/up-job?dryRun=All"), &paused).await?)?;
    let orphaned = json!({ "metadata": { "ownerReferences": null } });
    allowed(&other.send("PATCH", &format!("{jobs}/up-job?dryRun=All"), &orphaned).await?)?;
    Ok(())
}

/// What the controller may write of executions, with the widest permissions that RBAC has.
async fn its_writes(e: E) -> Result<()> {
    let components = [Component::Controller];
    policies::install(&e, &components, &[]).await?;
    let ours = Person::ours(&e);
    ours.may_everything_but_use(&e.world.namespace).await?;
    let mut object = policies::execution("up", scale_with(3, json!({ "approvalRequired": true })));
    object["metadata"]["finalizers"] = json!(["example.com/x"]);
    object["metadata"]["annotations"] = json!({ "example.com/x": "x" });
    let answer = ours.send("POST", &e.executions(), &object).await?;
    refused(&e, &answer, "execution-writes", "creates no executions")?;
    e.world.create(&e.executions(), &object).await?;
    let bad = [
        (json!({ "spec": { "cancel": true } }), "spec is the people's"),
        (json!({ "spec": { "approvedBy": "me" } }), "spec is the people's"),
        (json!({ "metadata": { "labels": { "a": "b" } } }), "labels or owners"),
        (
            json!({ "metadata": { "ownerReferences": [{ "apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "x" }] } }),
            "labels or owners",
        ),
        (json!({ "metadata": { "finalizers": [FINALIZER] } }), "may not touch finalizers but"),
        (json!({ "metadata": { "finalizers": ["example.com/x", "example.com/y"] } }), "may not touch finalizers but"),
        (json!({ "metadata": { "annotations": { "example.com/x": null } } }), "the annotations example.com/x"),
        (json!({ "metadata": { "annotations": { format!("{GROUP}/created-by"): "me" } } }), "/created-by"),
    ];
    for (patch, says) in bad {
        refused(&e, &ours.patch("up", patch.clone()).await?, "execution-writes", says)
            .with_context(|| patch.to_string())?;
    }
    let annotation = |value: Value| json!({ "metadata": { "annotations": { format!("{GROUP}/expires-at"): value } } });
    allowed(&ours.patch("up", json!({ "metadata": { "finalizers": ["example.com/x", FINALIZER] } })).await?)?;
    // Deleted by its own hand only when it is settled and has a time to live.
    let (delete, status) = (format!("{}?dryRun=All", e.execution("up")), format!("{}/status", e.execution("up")));
    let settled = |settled: Value| json!({ "status": { "phase": "Completed", "settled": settled } });
    for (patch, path, may) in [
        (annotation(Value::Null), e.execution("up"), false),
        (annotation(json!("2026-01-01T00:00:00Z")), e.execution("up"), false),
        (settled(json!(true)), status.clone(), true),
        (settled(json!(false)), status, false),
    ] {
        allowed(&ours.send("PATCH", &path, &patch).await?)?;
        let answer = ours.send("DELETE", &delete, &json!({})).await?;
        if may {
            allowed(&answer)?;
        } else {
            refused(&e, &answer, "execution-writes", "nothing but settled executions")?;
        }
    }
    e.patch("up", json!({ "metadata": { "finalizers": null } })).await?;
    policies::remove(&e, &components).await
}

/// Everything that the controller does, with all policies in force: a success, a retry, a pod that is pinned, a stop, a time
/// to live.
async fn carried_out(e: E) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    e.world.workload("StatefulSet", "db", 1, json!({})).await?;
    let components = policies::all(&e).await?;
    policies::install(&e, &components, &[]).await?;
    let alice = Person::new(&e, &format!("alice-{}", e.world.namespace));
    alice.may_everything_but_use(&e.world.namespace).await?;
    alice.may(Some(&e.world.namespace), "use", "*").await?;
    let controller = e.controller()?;
    let execute = async |name: &str, spec: Value| {
        let answer = alice.send("POST", &e.executions(), &policies::execution(name, spec)).await?;
        allowed(&answer)
    };
    execute("up", scale(2)).await?;
    let up = e.ended("up").await?;
    ensure!(up["status"]["phase"] == "Completed", "{up:#}");
    let stamped = components.contains(&Component::CreatedBy);
    let created_by = &up["metadata"]["annotations"][controller::api::CREATED_BY];
    ensure!(created_by.is_null() != stamped && (!stamped || *created_by == alice.user.as_str()), "{up:#}");
    execute("again", scale_with(3, json!({ "reason": "play: first exit 9" }))).await?;
    let again = e.ended("again").await?;
    ensure!(again["status"]["phase"] == "Completed" && again["status"]["retryCount"] == 1, "{again:#}");
    execute("pod", json!({ "action": { "type": "restart-pod", "target": { "resourceName": "db-0" } } })).await?;
    let pod = e.ended("pod").await?;
    ensure!(pod["status"]["phase"] == "Completed", "{pod:#}");
    execute("hangs", scale_with(4, json!({ "reason": "play: hang" }))).await?;
    e.phase("hangs", "Executing").await?;
    allowed(&alice.patch("hangs", json!({ "spec": { "cancel": true } })).await?)?;
    let hangs = e.ended("hangs").await?;
    ensure!(hangs["status"]["phase"] == "Cancelled", "{hangs:#}");
    execute("brief", scale_with(2, json!({ "ttlSecondsAfterFinished": 0 }))).await?;
    e.world.gone(&e.execution("brief")).await?;
    ensure!(
        !controller.log()?.contains("ValidatingAdmissionPolicy"),
        "it was refused something: {}",
        controller.log()?
    );
    controller.stop().await?;
    policies::remove(&e, &components).await
}

fn template(kind: &str, account: &str) -> (String, &'static str, Value) {
    let labels = json!({ "app": "x" });
    let restart = if matches!(kind, "Job" | "CronJob") { "Never" } else { "Always" };
    let pod = json!({
        "metadata": { "labels": labels },
        "spec": { "serviceAccountName": account, "restartPolicy": restart, "containers": [{ "name": "x", "image": "x" }] },
    });
    let (version, plural) = match kind {
        "Job" => ("batch/v1", "jobs"),
        "CronJob" => ("batch/v1", "cronjobs"),
        "ReplicationController" => ("v1", "replicationcontrollers"),
        "StatefulSet" => ("apps/v1", "statefulsets"),
        "DaemonSet" => ("apps/v1", "daemonsets"),
        "ReplicaSet" => ("apps/v1", "replicasets"),
        _ => ("apps/v1", "deployments"),
    };
    let spec = match kind {
        "Job" => json!({ "template": pod }),
        "CronJob" => json!({ "schedule": "0 0 1 1 *", "jobTemplate": { "spec": { "template": pod } } }),
        "ReplicationController" => json!({ "replicas": 0, "selector": labels, "template": pod }),
        "StatefulSet" => {
            json!({ "replicas": 0, "serviceName": "x", "selector": { "matchLabels": labels }, "template": pod })
        }
        "DaemonSet" => json!({ "selector": { "matchLabels": labels }, "template": pod }),
        _ => json!({ "replicas": 0, "selector": { "matchLabels": labels }, "template": pod }),
    };
    (
        version.to_owned(),
        plural,
        json!({ "apiVersion": version, "kind": kind, "metadata": { "name": "x" }, "spec": spec }),
    )
}

/// Pods with an action's account, however they are asked for; and that what was asked for rightly gets its pods.
async fn accounts(e: E) -> Result<()> {
    const KINDS: [&str; 7] =
        ["Job", "CronJob", "ReplicationController", "StatefulSet", "DaemonSet", "ReplicaSet", "Deployment"];
    let components = [Component::Accounts];
    policies::install(&e, &components, &[]).await?;
    let shop = e.world.namespace.clone();
    let (alice, bob) = (Person::new(&e, &format!("alice-{shop}")), Person::new(&e, &format!("bob-{shop}")));
    let (pipeline, ours) = (Person::new(&e, "pipeline"), Person::ours(&e));
    for one in [&alice, &bob, &pipeline, &ours] {
        one.may_everything_but_use(&shop).await?;
    }
    alice.may(Some(&shop), "use", "scale-deployment").await?;
    let pods = format!("{}?dryRun=All", e.world.path("v1", "pods"));
    let mut asked = vec![(
        pods.clone(),
        policies::pod("action-scale-deployment"),
        policies::pod("action-restart-pod"),
        policies::pod("default"),
    )];
    for kind in KINDS {
        let of = |account: &str| template(kind, account).2;
        let (version, plural, _) = template(kind, "x");
        let path = format!("{}?dryRun=All", e.world.path(&version, plural));
        asked.push((path, of("action-scale-deployment"), of("action-restart-pod"), of("default")));
    }
    let says = |who: &Person<'_>, account: &str| {
        format!("{} may not run pods as {account} in namespace {shop}: needs verb \"use\"", who.user)
    };
    for (path, granted, other, usual) in &asked {
        for who in [&alice, &pipeline, &ours] {
            allowed(&who.send("POST", path, granted).await?).with_context(|| path.clone())?;
        }
        refused(
            &e,
            &bob.send("POST", path, granted).await?,
            "execution-accounts",
            &says(&bob, "action-scale-deployment"),
        )?;
        refused(
            &e,
            &alice.send("POST", path, other).await?,
            "execution-accounts",
            &says(&alice, "action-restart-pod"),
        )?;
        allowed(&bob.send("POST", path, usual).await?)?;
    }
    not_bobs_to_change(&e, &alice, &bob).await?;
    of_nodes_and_of_jobs(&e, &bob, &pipeline).await?;
    policies::remove(&e, &components).await
}

async fn of_nodes_and_of_jobs(e: &E, bob: &Person<'_>, pipeline: &Person<'_>) -> Result<()> {
    of_nodes(e, &e.world.namespace).await?;
    of_a_job(e, bob, pipeline).await
}

/// An account for nodes reaches all of them, so that who may use its action in one namespace may not run as it.
async fn of_nodes(e: &E, shop: &str) -> Result<()> {
    let (dave, erin) = (Person::new(e, &format!("dave-{shop}")), Person::new(e, &format!("erin-{shop}")));
    for one in [&dave, &erin] {
        one.may_everything_but_use(shop).await?;
    }
    dave.may(Some(shop), "use", "cordon-node").await?;
    dave.may(Some(shop), "use", "scale-deployment").await?;
    erin.may(None, "use", "cordon-node").await?;
    // Accounts are looked for before policies are asked.
    let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "action-cordon-node" } });
    e.world.create(&e.world.path("v1", "serviceaccounts"), &account).await?;
    let pods = format!("{}?dryRun=All", e.world.path("v1", "pods"));
    let says =
        format!("{} may not run pods as action-cordon-node in namespace {shop}: needs verb \"use\" on", dave.user);
    let answer = dave.send("POST", &pods, &policies::pod("action-cordon-node")).await?;
    refused(e, &answer, "execution-accounts", &says)?;
    refused(e, &answer, "execution-accounts", "\"cordon-node\" in the whole cluster")?;
    allowed(&dave.send("POST", &pods, &policies::pod("action-scale-deployment")).await?)?;
    allowed(&erin.send("POST", &pods, &policies::pod("action-cordon-node")).await?)
}

/// What a pod of a Job prints is told as what that came to: only the Job controller makes one, and those on the list.
async fn of_a_job(e: &E, bob: &Person<'_>, pipeline: &Person<'_>) -> Result<()> {
    const LABEL: &str = "may not label a pod batch.kubernetes.io/controller-uid";
    const SAYS: &str = "may not make a pod that belongs to a Job: only the Job controller does";
    let pods = e.world.path("v1", "pods");
    let dry = format!("{pods}?dryRun=All");
    let owned = |version: &str, kind: &str, controls: bool| {
        let mut pod = policies::pod("default");
        let owner =
            json!({ "apiVersion": version, "kind": kind, "name": "up-job", "uid": "u", "controller": controls });
        pod["metadata"]["ownerReferences"] = json!([owner]);
        pod
    };
    refused(e, &bob.send("POST", &dry, &owned("batch/v1", "Job", true)).await?, "execution-accounts", SAYS)?;
    allowed(&pipeline.send("POST", &dry, &owned("batch/v1", "Job", true)).await?)?;
    for other in [owned("batch/v1", "Job", false), owned("batch.volcano.sh/v1alpha1", "Job", true)] {
        allowed(&bob.send("POST", &dry, &other).await?)?;
    }
    let mut own = policies::pod("default");
    own["metadata"]["name"] = json!("own");
    allowed(&bob.send("POST", &pods, &own).await?)?;
    let label = json!({ "metadata": { "labels": { "batch.kubernetes.io/controller-uid": "u" } } });
    let mut labelled = policies::pod("default");
    labelled["metadata"]["labels"] = label["metadata"]["labels"].clone();
    refused(e, &bob.send("POST", &dry, &labelled).await?, "execution-accounts", LABEL)?;
    allowed(&pipeline.send("POST", &dry, &labelled).await?)?;
    refused(e, &bob.send("PATCH", &format!("{pods}/own"), &label).await?, "execution-accounts", LABEL)?;
    let adopt =
        json!({ "metadata": { "ownerReferences": owned("batch/v1", "Job", true)["metadata"]["ownerReferences"] } });
    refused(e, &bob.send("PATCH", &format!("{pods}/own"), &adopt).await?, "execution-accounts", SAYS)?;
    allowed(&bob.send("PATCH", &format!("{pods}/own"), &json!({ "metadata": { "labels": { "a": "b" } } })).await?)
}

/// What alice has made is not bob's to change; how often it runs is.
async fn not_bobs_to_change(e: &E, alice: &Person<'_>, bob: &Person<'_>) -> Result<()> {
    let (version, plural, deployment) = template("Deployment", "action-scale-deployment");
    let path = e.world.path(&version, plural);
    allowed(&alice.send("POST", &path, &deployment).await?)?;
    let image = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "x", "image": "evil" }] } } } });
    refused(e, &bob.strategic(&format!("{path}/x"), &image).await?, "execution-accounts", "may not run pods as")?;
    allowed(&alice.strategic(&format!("{path}/x"), &image).await?)?;
    allowed(&bob.send("PATCH", &format!("{path}/x"), &json!({ "spec": { "replicas": 1 } })).await?)?;
    // Kubernetes' own controllers carry it out.
    let ready = |one: &Value| one["status"]["readyReplicas"] == 1;
    e.world.until(&format!("{path}/x"), "a pod", ready).await?;
    let list = e.world.get(&format!("{}?labelSelector=app%3Dx", e.world.path("v1", "pods"))).await?;
    let pod = list["items"][0]["metadata"]["name"].as_str().context("no pod")?.to_owned();
    let pod = format!("{}/{pod}", e.world.path("v1", "pods"));
    let image = json!({ "spec": { "containers": [{ "name": "x", "image": "evil:2" }] } });
    let debug = json!({ "spec": { "ephemeralContainers": [{ "name": "d", "image": "evil" }] } });
    for (path, patch) in [(pod.clone(), image), (format!("{pod}/ephemeralcontainers"), debug)] {
        refused(e, &bob.strategic(&path, &patch).await?, "execution-accounts", "may not run pods as")?;
        allowed(&alice.strategic(&format!("{path}?dryRun=All"), &patch).await?)?;
    }
    allowed(&bob.send("PATCH", &pod, &json!({ "metadata": { "labels": { "a": "b" } } })).await?)?;
    allowed(&bob.send("DELETE", &format!("{path}/x"), &json!({})).await?)?;
    Ok(())
}

/// Nothing of ours keeps a namespace from going, with all policies in force.
async fn a_namespace_goes(e: E) -> Result<()> {
    // The controller's account, its Role and its Lease do not go with it: as installed, they are elsewhere.
    let home = E::new(&e.world.connection, "home").await?;
    let outcome = a_namespace_goes_from(&e, &home).await;
    home.end(outcome).await
}

async fn a_namespace_goes_from(e: &E, home: &E) -> Result<()> {
    let components = policies::all(home).await?;
    policies::install(home, &components, &[&e.world.namespace]).await?;
    home.bind_everywhere().await?;
    let controller = home.controller_with(&home.kubeconfig, &["--namespaces", &e.world.namespace])?;
    e.execute("up", scale_with(3, json!({ "reason": "play: hang" }))).await?;
    let up = e.phase("up", "Executing").await?;
    ensure!(up["metadata"]["finalizers"] == json!([FINALIZER]), "{up:#}");
    let namespace = format!("/api/v1/namespaces/{}", e.world.namespace);
    e.world.delete(&namespace).await?;
    e.world.gone(&namespace).await?;
    controller.stop().await?;
    policies::remove(home, &components).await
}

/// A block of the page.
fn block(name: &str) -> Result<String> {
    let page = std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE))?;
    let (_, rest) = page.split_once(&format!("<!-- tested: {name} -->\n```")).context("no such block")?;
    let (_, rest) = rest.split_once('\n').context("an empty block")?;
    Ok(rest.split_once("```").context("the block has no end")?.0.to_owned())
}

/// Commands of the page, for this namespace, as a user or as who may everything.
fn commands(e: &E, text: &str, user: Option<&str>) -> Result<Command> {
    // Of one namespace here, and without what is installed once for the cluster.
    let text = text
        .replace("--all-namespaces", "--namespace shop")
        .replace("namespace: shop", &format!("namespace: {}", e.world.namespace));
    let text = text.replace("--namespace shop", &format!("--namespace {}", e.world.namespace));
    let text: String = text.split_inclusive('\n').filter(|line| !line.contains(" --kustomize ")).collect();
    let kubectl = test_cluster::assets::kubectl()?.display().to_string();
    let user = user.map(|user| format!("--as={user}")).unwrap_or_default();
    let head = format!("set -euo pipefail\nkubectl() {{ {kubectl} {user} \"$@\"; }}\n");
    let mut command = Command::new("bash");
    command.args(["-c", &(head + &text)]).env("KUBECONFIG", &e.world.connection.kubeconfig);
    Ok(command)
}

fn run(mut command: Command) -> Result<(bool, String)> {
    let output = command.output()?;
    Ok((
        output.status.success(),
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
    ))
}

/// The controller is gone for good: who may skip the audit lets an execution go by hand, and nobody else; and everything can
/// be removed.
async fn without_the_controller(e: E) -> Result<()> {
    policies::install(&e, &[Component::Use, Component::Controller], &[]).await?;
    let shop = e.world.namespace.clone();
    let (bob, dora) = (Person::new(&e, &format!("bob-{shop}")), Person::new(&e, &format!("dora-{shop}")));
    for one in [&bob, &dora] {
        one.may_everything_but_use(&shop).await?;
    }
    dora.may_skip_audit(&shop).await?;
    let controller = e.controller()?;
    e.execute("up", scale_with(3, json!({ "reason": "play: hang" }))).await?;
    e.phase("up", "Executing").await?;
    e.execute("down", scale_with(1, json!({ "reason": "play: hang" }))).await?;
    e.world.until(&e.execution("down"), "held", |one| one["metadata"]["finalizers"] == json!([FINALIZER])).await?;
    controller.kill().await?;
    let (done, said) = run(commands(&e, &block("break-glass")?, Some(&bob.user))?)?;
    ensure!(!done && said.contains("may not remove the finalizer"), "{said}");
    let (done, said) = run(commands(&e, &block("break-glass")?, Some(&dora.user))?)?;
    ensure!(done, "{said}");
    e.world.gone(&e.execution("up")).await?;
    e.world.gone(&format!("{}/up-job", e.world.path("batch/v1", "jobs"))).await?;
    let (done, said) = run(commands(&e, &block("uninstall")?, Some(&dora.user))?)?;
    ensure!(done, "{said}");
    e.world.gone(&e.execution("down")).await?;
    policies::remove(&e, &[Component::Use, Component::Controller]).await
}

/// The page's commands grant alice one action, and no other.
async fn granted_as_the_page_says(e: E) -> Result<()> {
    policies::install(&e, &[Component::Use], &[]).await?;
    let alice = Person::new(&e, "alice");
    let text = block("grant")?;
    let (grant, proof) = text.split_once("kubectl create --filename").context("no proof")?;
    let proof = format!("kubectl create --filename{proof}");
    let (done, said) = run(commands(&e, grant, None)?)?;
    ensure!(done, "{said}");
    // The API server's authorizer learns of it a moment later.
    let limit = std::time::Instant::now() + std::time::Duration::from_mins(1);
    loop {
        let (done, said) = run(commands(&e, &proof, None)?)?;
        ensure!(done, "{said}");
        if said.trim_end() == "true" {
            break;
        }
        ensure!(std::time::Instant::now() < limit, "{said}");
    }
    allowed(&alice.asks(scale(3)).await?)?;
    let restart = json!({ "action": { "type": "restart-deployment", "target": { "resourceName": "web" } } });
    refused(&e, &alice.asks(restart).await?, "execution-use", "alice may not use action restart-deployment")?;
    policies::remove(&e, &[Component::Use]).await
}

/// The page's kustomization: the base with all components, and other names in the policies. The API server takes them.
async fn an_overlay(e: E) -> Result<()> {
    let folder = e.world.folder().join("overlay");
    std::fs::create_dir_all(&folder)?;
    let up = "../".repeat(folder.canonicalize()?.components().count() - 1);
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).canonicalize()?.display().to_string();
    let at = format!("- {up}{}/controller/deploy/", root.trim_start_matches('/'));
    let others =
        |text: &str| text.replace("system:serviceaccount:execution-controller:execution-controller", "its-name");
    let text = others(&block("overlay")?).replace("- controller/deploy/", &at);
    std::fs::write(folder.join("kustomization.yaml"), text)?;
    let mut kustomize = Command::new(test_cluster::assets::kubectl()?);
    kustomize.arg("kustomize").arg(&folder);
    let output = kustomize.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let made = serde_saphyr::from_multiple::<Value>(&String::from_utf8(output.stdout)?)?;
    ensure!(made.iter().any(|one| one["kind"] == "Deployment"), "the base is not there");
    let stamps = policies::all(&e).await?.contains(&Component::CreatedBy);
    let (mut policies, mut bindings) = (BTreeSet::new(), BTreeSet::new());
    for one in made.iter().filter(|one| one["apiVersion"] == "admissionregistration.k8s.io/v1") {
        let (kind, name) =
            (one["kind"].as_str().unwrap_or_default(), one["metadata"]["name"].as_str().unwrap_or_default());
        ensure!(one["metadata"]["namespace"].is_null(), "{kind} {name} has a namespace");
        if kind.ends_with("Binding") {
            bindings.insert(one["spec"]["policyName"].as_str().unwrap_or_default().to_owned());
        } else {
            policies.insert(name.to_owned());
        }
        if stamps || kind.starts_with("Validating") {
            e.world.create(&format!("{}?dryRun=All", policies::path(kind)), one).await?;
        }
    }
    ensure!(policies.len() == 7 && policies == bindings, "{policies:?} {bindings:?}");
    let first = |name: &str, number: usize| {
        let one = made.iter().find(|one| one["metadata"]["name"] == name && one["kind"] == "ValidatingAdmissionPolicy");
        one.map(|one| one["spec"]["variables"][number]["expression"].clone()).unwrap_or_default()
    };
    for name in ["execution-record", "execution-jobs", "execution-writes", "execution-accounts"] {
        ensure!(first(name, 0) == "['its-name']", "{name}: {}", first(name, 0));
    }
    ensure!(first("execution-jobs", 1) == "['registry.example/kubernaut/action-']", "{}", first("execution-jobs", 1));
    ensure!(first("execution-accounts", 1) == "['system:serviceaccount:argo:workflow-controller']", "the list");
    Ok(())
}
