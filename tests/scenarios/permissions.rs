//! Least privilege: every permission of a shipped Role is needed, and nothing beyond them is granted.

use std::collections::BTreeSet;

use action_runner::conditions::documents::Related;
use actions::catalogue::{Account, Verb};
use actions::k8s::{Kind, Permission};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::runner::Run;

use crate::support::{METRICS, T, expect, scenarios};

scenarios!("permissions": scale, restart, rollback, cordon, collect_logs, conditions, nothing_else_is_granted, narrowed_to_the_target, what_leads_on_uses_its_owners, a_request_needs_what_it_uses, what_leads_on_needs_its_own_owner, what_leads_nowhere_says_so);

/// A pod or a ReplicaSet leads to its workload: under the Role of `scale-pod`, of `rollback-replicaset`, …, to each kind.
async fn what_leads_on_uses_its_owners(t: T) -> Result<()> {
    for kind in ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController"] {
        let name = kind.to_lowercase();
        t.world.workload(kind, &name, 1, json!({})).await?;
        if kind != "DaemonSet" {
            act(&t, "scale-pod", &first(&t, "pods", &name).await?, json!({ "replicas": 2 })).await?;
        }
        if kind == "Deployment" {
            act(&t, "scale-replicaset", &first(&t, "replicasets", &name).await?, json!({ "replicas": 1 })).await?;
            act(&t, "restart-replicaset", &first(&t, "replicasets", &name).await?, json!({})).await?;
            next_revision(&t, kind, 2).await?;
            act(&t, "rollback-replicaset", &first(&t, "replicasets", &name).await?, json!({})).await?;
        }
        if matches!(kind, "StatefulSet" | "DaemonSet") {
            act(&t, &format!("restart-{name}"), &name, json!({})).await?;
            next_revision(&t, kind, 2).await?;
            act(&t, &format!("rollback-{name}"), &name, json!({})).await?;
        }
        if matches!(kind, "Deployment" | "StatefulSet" | "DaemonSet") {
            next_revision(&t, kind, 3).await?;
            act(&t, "rollback-pod", &first(&t, "pods", &name).await?, json!({})).await?;
        }
    }
    Ok(())
}

async fn act(t: &T, action: &str, target: &str, parameters: Value) -> Result<()> {
    let id = format!("{action}-{:08x}", test_cluster::fixtures::unique());
    let run = t.run(action, target).await?.parameters(&parameters).with("ACTION_ID", id);
    let outcome = t.complete(&run).await?;
    expect(&outcome, "Changed", "applied", "").with_context(|| format!("{action} {target}"))
}

/// The name of the first object of an app.
async fn first(t: &T, plural: &str, app: &str) -> Result<String> {
    let path = t.world.path(if plural == "pods" { "v1" } else { "apps/v1" }, plural);
    let list = format!("{path}?labelSelector=app%3D{app}");
    let list = t.world.until(&list, "there", |list| list["items"][0].is_object()).await?;
    Ok(list["items"][0]["metadata"]["name"].as_str().context("no name")?.to_owned())
}

/// A new template, rolled out: the pods of the one before are gone.
async fn next_revision(t: &T, kind: &str, number: u8) -> Result<()> {
    let number = number.to_string();
    let template = json!({ "metadata": { "annotations": { "test/revision": number } } });
    t.meddle(kind, &kind.to_lowercase(), json!({ "spec": { "template": template } })).await?;
    settled(t, &kind.to_lowercase(), &number).await
}

/// Waits until all pods are of this revision, and ready: the pods of the one before are gone.
async fn settled(t: &T, app: &str, revision: &str) -> Result<()> {
    let pods = format!("{}?labelSelector=app%3D{app}", t.world.path("v1", "pods"));
    let settled = |list: &Value| {
        let ready = |pod: &Value| {
            pod["status"]["conditions"]
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
        };
        list["items"].as_array().is_some_and(|all| {
            !all.is_empty()
                && all.iter().all(|pod| pod["metadata"]["annotations"]["test/revision"] == revision && ready(pod))
        })
    };
    t.world.until(&pods, "settled", settled).await.map(|_| ())
}

async fn scale(t: T) -> Result<()> {
    each_is_needed(&t, &[Verb::Scale]).await
}

async fn restart(t: T) -> Result<()> {
    each_is_needed(&t, &[Verb::Restart]).await
}

async fn rollback(t: T) -> Result<()> {
    each_is_needed(&t, &[Verb::Rollback]).await
}

async fn cordon(t: T) -> Result<()> {
    each_is_needed(&t, &[Verb::Cordon, Verb::Uncordon]).await
}

async fn collect_logs(t: T) -> Result<()> {
    each_is_needed(&t, &[Verb::CollectLogs]).await
}

/// A request: whose account it runs as, and what its permissions depend on.
struct Case {
    account: Account,
    parameters: Value,
    has_id: bool,
}

impl Case {
    fn of(purpose: &str, parameters: Value, has_id: bool) -> Result<Self> {
        let account = *Account::named(purpose).first().with_context(|| format!("no account for {purpose}"))?;
        Ok(Self { account, parameters, has_id })
    }

    fn needs(&self) -> Result<BTreeSet<Permission>> {
        action_runner::cli::permissions_for(self.account, &self.parameters.to_string(), self.has_id)
            .map_err(anyhow::Error::msg)
    }

    /// A run of it on this target: an object's name, or a selector.
    fn run(&self, t: &T, kubeconfig: &std::path::Path, target: &str) -> Run {
        let (action, by_selector) = (self.account.action_type.name(), self.account.by_selector);
        let run = Run::new(&t.binary, kubeconfig, &action, if by_selector { "" } else { target })
            .with("TARGET_NAMESPACE", &t.world.namespace)
            .parameters(&self.parameters);
        let run = if by_selector { run.with("TARGET_SELECTOR", target) } else { run };
        let id = format!("{action}-{:08x}", test_cluster::fixtures::unique());
        if self.has_id { run.with("ACTION_ID", id) } else { run }
    }
}

/// The requests that the shipped Roles are for. A restart of a pod with an id needs the pod's UID too, and no more permissions.
fn shipped(verbs: &[Verb]) -> Vec<Case> {
    let all = Account::all().into_iter().filter(|one| verbs.contains(&one.action_type.verb));
    let has_id = |account: Account| (account.action_type.verb, account.action_type.kind) != (Verb::Restart, Kind::Pod);
    all.map(|account| Case { account, parameters: parameters(account), has_id: has_id(account) }).collect()
}

/// With every permission but one, a run ends `Forbidden`, names that one, and has changed nothing; with all of them it
/// would do what it is asked.
async fn each_is_needed(t: &T, verbs: &[Verb]) -> Result<()> {
    workloads(t).await?;
    for case in shipped(verbs) {
        let (action, all) = (case.account.purpose(), action_runner::cli::permissions_of(case.account));
        ensure!(all == case.needs()?, "{action}: the shipped Role is not that for the defaults");
        let name = target(t, case.account, None).await?;
        let outcome =
            t.complete(&case.run(t, &t.account(&action).await?, &name).with("ACTION_DRY_RUN", "true")).await?;
        ensure!(outcome.exit == 0, "{action} with its whole Role: {:#}", outcome.result);
        each_is_missed(t, &case, &all).await?;
    }
    Ok(())
}

/// Takes them away one by one.
async fn each_is_missed(t: &T, case: &Case, all: &BTreeSet<Permission>) -> Result<()> {
    let action = case.account.purpose();
    for missing in all {
        let rest: Vec<&Permission> = all.iter().filter(|one| *one != missing).collect();
        let file = account(t, &unique(&action), &rest).await?;
        let name = target(t, case.account, Some(missing)).await?;
        let outcome = t.complete(&case.run(t, &file, &name)).await?;
        expect(&outcome, "Forbidden", "none", &format!(": {missing}; "))
            .with_context(|| format!("{action} {} without {missing}", case.parameters))?;
        let changed = outcome.seen.iter().any(test_cluster::audit::Entry::changes_something);
        ensure!(!changed, "{action} without {missing}: {:?}", outcome.seen);
    }
    Ok(())
}

/// A name of an account that the admission policies are about.
fn unique(action: &str) -> String {
    format!("action-{action}-{:08x}", test_cluster::fixtures::unique())
}

fn parameters(account: Account) -> Value {
    if account.action_type.verb == Verb::Scale { json!({ "replicas": 2 }) } else { json!({}) }
}

/// What a run did with permissions, as the API server saw it. Reviews of its own rights need none.
fn used(outcome: &test_cluster::runner::Outcome) -> BTreeSet<String> {
    let own = outcome
        .seen
        .iter()
        .filter(|entry| !entry.resource.is_empty() && !entry.resource.starts_with("selfsubject") && entry.code < 300);
    let path =
        |resource: &str, sub: &str| if sub.is_empty() { resource.to_owned() } else { format!("{resource}/{sub}") };
    own.map(|entry| format!("{} {}", entry.verb, path(&entry.resource, &entry.subresource))).collect()
}

/// A request with other parameters than the defaults, under exactly what it needs: it does what it is asked, uses all of it,
/// and is `Forbidden` without any one of them.
async fn a_request_needs_what_it_uses(t: T) -> Result<()> {
    workloads(&t).await?;
    let at_once = || json!({ "wait": false });
    // What is looked at only when there is a mark of this very id.
    let early = |plural: &str| vec![format!("watch {plural}")];
    let cases = [
        (Case::of("restart-deployment", at_once(), false)?, vec![]),
        (Case::of("restart-statefulset", at_once(), false)?, vec![]),
        (Case::of("restart-daemonset", at_once(), false)?, vec![]),
        (Case::of("restart-statefulset", json!({}), false)?, vec![]),
        (Case::of("restart-deployment", at_once(), true)?, early("deployments")),
        (Case::of("restart-statefulset", at_once(), true)?, early("statefulsets")),
        (Case::of("rollback-deployment", at_once(), false)?, vec![]),
        (Case::of("rollback-daemonset", at_once(), false)?, vec![]),
        (Case::of("scale-deployment", json!({ "replicas": 3, "wait": false }), false)?, vec![]),
        (
            Case::of("scale-statefulset", json!({ "replicas": 2, "onAutoscaler": "ignore", "wait": false }), true)?,
            vec![],
        ),
        (Case::of("scale-statefulset", json!({ "replicas": 3, "onAutoscaler": "ignore" }), true)?, vec![]),
        (Case::of("collect-logs-selector", json!({ "tailLines": 1 }), false)?, vec![]),
    ];
    for (case, unused) in cases {
        let (action, all) = (case.account.purpose(), case.needs()?);
        let what = format!("{action} {}, {} id", case.parameters, if case.has_id { "an" } else { "no" });
        let file = account(&t, &unique(&action), &all.iter().collect::<Vec<_>>()).await?;
        let name = target(&t, case.account, None).await?;
        let outcome = t.complete(&case.run(&t, &file, &name)).await.with_context(|| what.clone())?;
        ensure!(outcome.exit == 0, "{what}: {:#}", outcome.result);
        let needs: BTreeSet<String> = all.iter().map(|one| format!("{} {}", one.verb, one.resource_path())).collect();
        let expected: BTreeSet<String> = needs.into_iter().filter(|one| !unused.contains(one)).collect();
        ensure!(used(&outcome) == expected, "{what}: granted {expected:?}, used {:?}", used(&outcome));
        each_is_missed(&t, &case, &all).await.with_context(|| what.clone())?;
    }
    Ok(())
}

/// A pod that leads to a StatefulSet needs nothing of Deployments and their ReplicaSets: under what its own owner needs, beside
/// what the pod itself does.
async fn what_leads_on_needs_its_own_owner(t: T) -> Result<()> {
    workloads(&t).await?;
    let pods = |verb| Permission::of(verb, &Kind::Pod.resource());
    for (action, kind, parameters) in [
        ("scale", Kind::StatefulSet, json!({ "replicas": 2 })),
        ("scale", Kind::ReplicationController, json!({ "replicas": 2 })),
        ("rollback", Kind::DaemonSet, json!({})),
    ] {
        let case = Case::of(&format!("{action}-pod"), parameters.clone(), true)?;
        let mut needs = Case::of(&format!("{action}-{}", kind.lower()), parameters, true)?.needs()?;
        needs.insert(pods("get"));
        let file = account(&t, &unique(&format!("{action}-pod")), &needs.iter().collect::<Vec<_>>()).await?;
        let pod = first(&t, "pods", &kind.lower()).await?;
        let outcome = t.complete(&case.run(&t, &file, &pod)).await?;
        expect(&outcome, "Changed", "applied", &kind.lower()).with_context(|| format!("{action} {pod}"))?;
        ensure!(!used(&outcome).iter().any(|one| one.contains("replicasets")), "{:?}", used(&outcome));
    }
    let case = Case::of("restart-pod", json!({}), false)?;
    let beside = ["replicasets", "deployments", "daemonsets", "replicationcontrollers", "jobs"];
    let needs: Vec<Permission> =
        case.needs()?.into_iter().filter(|one| !beside.contains(&one.resource.as_str())).collect();
    let file = account(&t, &unique("restart-pod"), &needs.iter().collect::<Vec<_>>()).await?;
    let pod = first(&t, "pods", "statefulset").await?;
    expect(&t.complete(&case.run(&t, &file, &pod)).await?, "Changed", "applied", "its replacement statefulset-")?;
    // Another pod leads elsewhere: that is said before it is evicted.
    let pod = first(&t, "pods", "deployment").await?;
    expect(&t.complete(&case.run(&t, &file, &pod)).await?, "Forbidden", "none", ": get replicasets (apps); ")
}

/// A pod whose owner has no replicas, or no revisions: there is nothing to do, and no permission would help.
async fn what_leads_nowhere_says_so(t: T) -> Result<()> {
    workloads(&t).await?;
    let pods = t.world.path("v1", "pods");
    let bare = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "bare" }, "spec": { "containers": [{ "name": "app", "image": "x" }] } });
    t.world.create(&pods, &bare).await?;
    let (of_job, of_daemon) = (first(&t, "pods", "job").await?, first(&t, "pods", "daemonset").await?);
    for (pod, why) in [
        (of_job.as_str(), "is controlled by the Job job, which has no number of replicas"),
        (of_daemon.as_str(), "is controlled by the DaemonSet daemonset, which has no number of replicas"),
        ("bare", "has no number of replicas, and nothing controls it"),
    ] {
        let says = format!("there is nothing to scale: pod {}/{pod} {why}", t.world.namespace);
        let outcome = t.act("scale-pod", pod, &json!({ "replicas": 2 })).await?;
        expect(&outcome, "InvalidRequest", "none", &says)?;
        ensure!(used(&outcome) == ["get pods".to_owned()].into(), "{:?}", used(&outcome));
    }
    let outcome = t.act("rollback-pod", &of_job, &json!({})).await?;
    expect(&outcome, "InvalidRequest", "none", "has no revisions, and nothing that has some controls it")
}

/// The Role that `rbac --target` prints is enough for that target, and worth nothing for another one.
async fn narrowed_to_the_target(t: T) -> Result<()> {
    workloads(&t).await?;
    // A selector names nothing, so nothing can be narrowed.
    for case in shipped(&Verb::ALL).into_iter().filter(|case| !case.account.by_selector) {
        let action = case.account.purpose();
        let name = target(&t, case.account, None).await?;
        let yaml = t.print(&["rbac", &action, "--namespace", &t.world.namespace, "--target", &name])?;
        ensure!(yaml.contains(&format!("resourceNames: [\"{name}\"]")), "{action} is not narrowed:\n{yaml}");
        let file = t.world.account(&yaml).await?;
        let run = |name: &str| case.run(&t, &file, name);
        // For real where it waits by watches, which RBAC narrows too.
        let real = matches!(action.as_str(), "scale-deployment" | "restart-statefulset" | "rollback-daemonset");
        let outcome = t.complete(&run(&name).with("ACTION_DRY_RUN", !real)).await?;
        ensure!(outcome.exit == 0, "{action} {name}: {:#}", outcome.result);
        let outcome = t.complete(&run("elsewhere")).await?;
        expect(&outcome, "Forbidden", "none", "").with_context(|| action.clone())?;
    }
    Ok(())
}

/// One workload of each kind, at its second revision where there are any.
async fn workloads(t: &T) -> Result<()> {
    for kind in ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job"] {
        let extra = if kind == "Job" { job() } else { json!({}) };
        let path = t.world.create_workload(kind, &kind.to_lowercase(), 1, extra).await?;
        let second = json!({ "spec": { "template": { "metadata": { "annotations": { "test/revision": "2" } } } } });
        if matches!(kind, "Deployment" | "StatefulSet" | "DaemonSet") {
            t.world.until(&path, "observed", |object| object["status"]["observedGeneration"] == 1).await?;
            t.world.merge(&path, &second).await?;
        }
    }
    for kind in ["deployment", "statefulset", "daemonset"] {
        settled(t, kind, "2").await?;
    }
    Ok(())
}

/// The same for what conditions read: one condition for each document, before and after.
async fn conditions(t: T) -> Result<()> {
    let one = |related: Related| {
        let rego = format!("package a\nallow if {{ _ = input.related.{} }}", related.name());
        // There is no metrics server.
        let (there, timeout) = if related == Related::Usage { (false, "1s") } else { (true, "20s") };
        json!({ "type": related.name(), "rego": rego, "required": there, "timeout": timeout })
    };
    let all: Value = Related::ALL.into_iter().map(one).collect();
    let secret = json!({ "spec": { "template": { "spec": { "imagePullSecrets": [{ "name": "registry" }] } } } });
    t.world.workload("Deployment", "web", 1, secret).await?;
    let own = rules(&t.print(&["rbac", "scale-deployment", "--namespace", &t.world.namespace])?)?;
    let file = t.world.folder().join("all.json");
    std::fs::write(&file, all.to_string())?;
    let file = file.display().to_string();
    let whole = t.print(&["rbac", "scale-deployment", "--namespace", &t.world.namespace, "--conditions", &file])?;
    let _alone = METRICS.lock().await;
    let run = async |yaml: &str, replicas: u32| {
        let with = ["ACTION_PRECONDITIONS", "ACTION_POSTCONDITIONS"];
        let account = t.world.account(yaml).await?;
        let run = Run::new(&t.binary, &account, "scale-deployment", "web").with("TARGET_NAMESPACE", &t.world.namespace);
        let run = with.iter().fold(run, |run, name| run.with(name, &all));
        t.complete(&run.parameters(&json!({ "replicas": replicas }))).await
    };
    let added: Vec<_> = rules(&whole)?.into_iter().filter(|rule| !own.contains(rule)).collect();
    // ReplicaSets are in its own Role.
    ensure!(added.len() >= 11, "{added:?}");
    for (index, rule) in added.iter().enumerate() {
        let outcome = run(&without(&whole, rule, index)?, 2).await?;
        let (_, group, resource, verb) = rule;
        if group == "metrics.k8s.io" {
            let said = outcome.result["preConditionResults"].to_string();
            ensure!(said.contains("list pods (metrics.k8s.io)"), "{:#}", outcome.result);
            continue;
        }
        let group = if group.is_empty() { "core" } else { group };
        expect(&outcome, "Forbidden", "none", &format!("{verb} {resource} ({group})"))
            .with_context(|| format!("without {rule:?}"))?;
    }
    let outcome = run(&whole, 3).await?;
    expect(&outcome, "Changed", "applied", "from 2 to 3")?;
    let held =
        outcome.result["postConditionResults"].as_array().into_iter().flatten().filter(|one| one["passed"] == true);
    ensure!(
        held.count() == Related::ALL.len() - 1,
        "all but usage, for which there is no metrics server: {:#}",
        outcome.result
    );
    Ok(())
}

type Rule = (String, String, String, String);

/// Every group, resource and verb that YAML of Roles grants, and whether a Role or a ClusterRole does.
fn rules(yaml: &str) -> Result<Vec<Rule>> {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|one| Some(one.as_str()?.to_owned())).collect()
    };
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml)?;
    let mut all = Vec::new();
    for document in &documents {
        let kind = document["kind"].as_str().unwrap_or_default();
        for rule in document["rules"].as_array().into_iter().flatten() {
            let (group, resource) = (texts(&rule["apiGroups"]).concat(), texts(&rule["resources"]).concat());
            let verbs = texts(&rule["verbs"]).into_iter();
            all.extend(verbs.map(|verb| (kind.to_owned(), group.clone(), resource.clone(), verb)));
        }
    }
    Ok(all)
}

/// The same YAML without one of them, for an account of its own.
fn without(yaml: &str, (kind, group, resource, verb): &Rule, index: usize) -> Result<String> {
    let mut documents: Vec<Value> = serde_saphyr::from_multiple(yaml)?;
    let of_kind = documents.iter_mut().filter(|document| document["kind"] == json!(kind));
    for rules in of_kind.filter_map(|document| document["rules"].as_array_mut()) {
        for rule in rules.iter_mut() {
            if rule["apiGroups"] == json!([group]) && rule["resources"] == json!([resource]) {
                rule["verbs"].as_array_mut().context("no verbs")?.retain(|one| one != verb);
            }
        }
        // A rule without verbs is no rule.
        rules.retain(|rule| rule["verbs"] != json!([]));
    }
    // JSON is YAML.
    let text = documents.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n---\n");
    Ok(text.replace("action-scale-deployment", &format!("action-scale-deployment-less-{index}")))
}

fn job() -> Value {
    json!({ "spec": { "selector": null, "replicas": null, "template": { "spec": { "restartPolicy": "Never" } } } })
}

/// An object that leads to where the permission is needed: a pod needs those of its own owner's kind.
async fn target(t: &T, account: Account, missing: Option<&Permission>) -> Result<String> {
    let entry = account.action_type;
    if account.by_selector {
        return Ok("app=deployment".to_owned());
    }
    let resource = missing.map_or("deployments", |permission| permission.resource.as_str());
    let verb = missing.map_or("", |permission| permission.verb);
    let owner = match resource {
        "statefulsets" => "statefulset",
        "controllerrevisions" if entry.kind != Kind::DaemonSet => "statefulset",
        "pods" if missing.is_some_and(|permission| permission.subresource == Some("eviction")) => "statefulset",
        "daemonsets" => "daemonset",
        "replicationcontrollers" => "replicationcontroller",
        // The ReplicaSets between a Deployment and its pods are read; one by itself is scaled and watched.
        "replicasets" if entry.verb == Verb::Scale && !matches!(verb, "get" | "list") => "replicaset",
        "jobs" => "job",
        _ => "deployment",
    };
    match entry.kind {
        Kind::Node => Ok("node-a".to_owned()),
        Kind::Pod => first(t, "pods", owner).await,
        Kind::ReplicaSet if entry.verb != Verb::CollectLogs && owner == "deployment" => {
            first(t, "replicasets", owner).await
        }
        Kind::CronJob => {
            let cron = json!({
                "apiVersion": "batch/v1", "kind": "CronJob", "metadata": { "name": "cronjob" },
                "spec": { "schedule": "0 3 * * *", "jobTemplate": { "spec": { "template": { "spec": { "restartPolicy": "Never", "containers": [{ "name": "app", "image": "x" }] } } } } },
            });
            // The second time it is there.
            let _there = t.world.create(&t.world.path("batch/v1", "cronjobs"), &cron).await;
            Ok("cronjob".to_owned())
        }
        kind => Ok(kind.lower()),
    }
}

/// A kubeconfig of an account with these permissions, as soon as the API server's authorizer knows of them.
async fn account(t: &T, name: &str, permissions: &[&Permission]) -> Result<std::path::PathBuf> {
    let namespace = &t.world.namespace;
    let cluster = permissions.iter().any(|one| !one.namespaced);
    let (prefix, place) = if cluster { ("Cluster", String::new()) } else { ("", format!("/namespaces/{namespace}")) };
    let own = if cluster { format!("{name}-{namespace}") } else { name.to_owned() };
    let rules: Vec<Value> = permissions
        .iter()
        .map(|one| json!({ "apiGroups": [one.group], "resources": [one.resource_path()], "verbs": [one.verb] }))
        .collect();
    t.world.create(&t.world.path("v1", "serviceaccounts"), &json!({ "metadata": { "name": name } })).await?;
    let root = format!("/apis/rbac.authorization.k8s.io/v1{place}/{}", prefix.to_lowercase());
    t.world.create(&format!("{root}roles"), &json!({ "metadata": { "name": own }, "rules": rules })).await?;
    let binding = json!({
        "metadata": { "name": own },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": format!("{prefix}Role"), "name": own },
        "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": namespace }],
    });
    t.world.create(&format!("{root}rolebindings"), &binding).await?;
    allowed(t, name, permissions.first().context("no permission is left")?).await?;
    let connection = &t.world.connection;
    t.world.token_kubeconfig(name, &connection.server, &connection.authority).await
}

/// Waits until the API server's authorizer has learnt that an account may do it: the positive control of every "may not".
async fn allowed(t: &T, account: &str, permission: &Permission) -> Result<()> {
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !may(t, account, permission, &t.world.namespace).await? {
        ensure!(std::time::Instant::now() < limit, "{account} may not {permission}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Whether an account of the scenario's namespace may do it in a namespace: the API server's own answer.
async fn may(t: &T, account: &str, permission: &Permission, namespace: &str) -> Result<bool> {
    let own = &t.world.namespace;
    let review = json!({ "spec": {
        "user": format!("system:serviceaccount:{own}:{account}"),
        "groups": ["system:serviceaccounts", format!("system:serviceaccounts:{own}"), "system:authenticated"],
        "resourceAttributes": {
            "group": permission.group, "resource": permission.resource, "subresource": permission.subresource,
            "verb": permission.verb, "namespace": if permission.namespaced { namespace } else { "" },
        },
    } });
    let answer = t.world.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await?;
    Ok(answer["status"]["allowed"] == true)
}

/// What no account of ours may do, whatever its action is.
fn forbidden() -> Vec<Permission> {
    let permission = |verb, group: &str, resource: &str, subresource, namespaced| Permission {
        group: group.to_owned(),
        resource: resource.to_owned(),
        subresource,
        verb,
        names_target: false,
        namespaced,
    };
    vec![
        permission("get", "", "secrets", None, true),
        permission("list", "", "secrets", None, true),
        permission("create", "", "pods", None, true),
        permission("delete", "", "pods", None, true),
        permission("create", "", "pods", Some("exec"), true),
        permission("create", "", "serviceaccounts", Some("token"), true),
        permission("patch", "", "nodes", Some("status"), false),
        permission("get", "", "nodes", Some("proxy"), false),
        permission("delete", "", "nodes", None, false),
        permission("delete", "apps", "deployments", None, true),
        permission("update", "apps", "deployments", None, true),
        permission("create", "rbac.authorization.k8s.io", "rolebindings", None, true),
        permission("escalate", "rbac.authorization.k8s.io", "roles", None, true),
        permission("impersonate", "", "serviceaccounts", None, true),
        permission("*", "*", "*", None, true),
    ]
}

async fn nothing_else_is_granted(t: T) -> Result<()> {
    let everything: BTreeSet<Permission> =
        Account::all().into_iter().flat_map(action_runner::cli::permissions_of).collect();
    let plain = |one: &Permission| Permission { names_target: false, ..one.clone() };
    for account in Account::all() {
        let action = account.purpose();
        t.account(&action).await?;
        let own: BTreeSet<Permission> = action_runner::cli::permissions_of(account).iter().map(plain).collect();
        let name = format!("action-{action}");
        let namespace = t.world.namespace.clone();
        for permission in &own {
            allowed(&t, &name, permission).await?;
            ensure!(
                !permission.namespaced || !may(&t, &name, permission, "kube-system").await?,
                "{name} may {permission} in kube-system"
            );
        }
        let others = everything.iter().map(plain).filter(|permission| !own.contains(permission));
        for permission in others.chain(forbidden()) {
            ensure!(!may(&t, &name, &permission, &namespace).await?, "{name} may {permission}");
        }
    }
    Ok(())
}
