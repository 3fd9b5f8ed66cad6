//! The smallest permissions: each one that is shipped is needed and used, what is missing is named, and nothing beyond them
//! is granted.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::Connection;
use test_cluster::executor::{ACCOUNT, rules};

use crate::support::{E, scale_with, scenarios};

scenarios!("permissions": for_jobs, for_pods, for_executions, for_the_rest, nothing_else_is_granted, the_lease_is_needed, people);

/// Every permission that is shipped: group, resource, verb.
fn shipped() -> Result<BTreeSet<(String, String, String)>> {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect()
    };
    let mut all = BTreeSet::new();
    for rule in rules()? {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    all.insert((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    Ok(all)
}

/// The shipped rules without one permission.
fn without(group: &str, resource: &str, verb: &str) -> Result<Vec<Value>> {
    let mut rules = rules()?;
    for rule in &mut rules {
        let about = rule["apiGroups"] == json!([group]) && rule["resources"] == json!([resource]);
        if let Some(verbs) = rule["verbs"].as_array_mut().filter(|_| about) {
            verbs.retain(|one| one != verb);
        }
    }
    rules.retain(|rule| rule["verbs"].as_array().is_some_and(|verbs| !verbs.is_empty()));
    Ok(rules)
}

async fn for_jobs(e: E) -> Result<()> {
    each_is_needed(&e, |resource| resource == "jobs").await
}

async fn for_pods(e: E) -> Result<()> {
    each_is_needed(&e, |resource| resource == "pods").await
}

async fn for_executions(e: E) -> Result<()> {
    each_is_needed(&e, |resource| resource == "kubernetesexecutions").await
}

async fn for_the_rest(e: E) -> Result<()> {
    // The spool's are in `audit`.
    let others =
        |resource: &str| !matches!(resource, "jobs" | "pods" | "kubernetesexecutions" | "leases" | "configmaps");
    each_is_needed(&e, others).await
}

/// One permission is taken away at a time. The controller says which is missing, in the execution's status where it can, in
/// its log and in a metric; nothing is half done, and it goes on as soon as the permission is there.
async fn each_is_needed(e: &E, about: fn(&str) -> bool) -> Result<()> {
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    e.world.workload("StatefulSet", "db", 1, json!({})).await?;
    let all: Vec<_> = shipped()?.into_iter().filter(|(_, resource, _)| about(resource)).collect();
    ensure!(!all.is_empty(), "no permission is about this");
    for (number, (group, resource, verb)) in all.iter().enumerate() {
        let what = format!("{verb} {resource}");
        needed(e, number, group, resource, verb).await.with_context(|| format!("without {what}"))?;
    }
    Ok(())
}

/// An execution that needs this permission.
fn needs(resource: &str, verb: &str, replicas: i64) -> Value {
    match (resource, verb) {
        // That nothing was started is not concluded from the watch.
        ("jobs", "get") => scale_with(replicas, json!({ "cancel": true })),
        ("jobs", "delete") | ("kubernetesexecutions", "get") => {
            scale_with(replicas, json!({ "reason": "play: first exit 9" }))
        }
        ("pods/log", _) => scale_with(replicas, json!({ "reason": "play: log" })),
        ("kubernetesexecutions", "delete") => scale_with(replicas, json!({ "ttlSecondsAfterFinished": 0 })),
        ("pods", "get") => json!({ "action": { "type": "restart-pod", "target": { "resourceName": "db-0" } } }),
        _ => scale_with(replicas, json!({})),
    }
}

/// Takes one permission away, and waits until the API server knows.
pub async fn take_away(e: &E, group: &str, resource: &str, verb: &str) -> Result<()> {
    e.world.merge(&e.role(), &json!({ "rules": without(group, resource, verb)? })).await?;
    e.allowed(group, resource, verb, false).await
}

/// Gives all of them back.
pub async fn give_back(e: &E) -> Result<()> {
    e.world.merge(&e.role(), &json!({ "rules": rules()? })).await.map(|_| ())
}

async fn needed(e: &E, number: usize, group: &str, resource: &str, verb: &str) -> Result<()> {
    take_away(e, group, resource, verb).await?;
    let controller = e.controller_with(&e.kubeconfig, &["--metrics", "127.0.0.1:0"])?;
    let name = format!("up-{number}");
    let before = e.replicas().await?;
    let wanted = if before == 2 { 3 } else { 2 };
    let metric = format!("resource=\"{resource}\",verb=\"{verb}\"");
    // Between a list and the watch that is denied, a pass may begin: it knows all that it needs to know.
    if matches!(verb, "list" | "watch") {
        controller.measures("kubernetesexecution_forbidden_total", &metric).await?;
    }
    e.execute(&name, needs(resource, verb, wanted)).await?;
    controller.measures("kubernetesexecution_forbidden_total", &metric).await?;
    ensure!(
        controller.log()?.contains(&format!("cannot {verb} resource \\\"{resource}\\\"")),
        "the log does not name it"
    );
    // Where a status can be written, and something is held up by it.
    let told = match resource {
        "kubernetesexecutions" => matches!(verb, "get" | "patch"),
        "jobs" | "pods" => true,
        _ => false,
    };
    if told {
        let says = |one: &Value| {
            one["status"]["reason"] == "Forbidden"
                && one["status"]["message"]
                    .as_str()
                    .is_some_and(|text| text.contains(&format!("cannot {verb} resource")))
        };
        e.world.until(&e.execution(&name), "told", says).await?;
    }
    let before_the_job =
        matches!(resource, "kubernetesexecutions" | "jobs" | "pods") && !matches!(verb, "get" | "delete");
    ensure!(!before_the_job || e.replicas().await? == before, "something was done without it");
    give_back(e).await?;
    if verb == "delete" && resource == "kubernetesexecutions" {
        e.world.gone(&e.execution(&name)).await?;
    } else {
        let ended = e.ended(&name).await?;
        let phase = if (resource, verb) == ("jobs", "get") { "Cancelled" } else { "Completed" };
        ensure!(ended["status"]["phase"] == phase, "{ended:#}");
    }
    controller.stop().await
}

/// Without its Lease it does nothing, and says why it ends.
async fn the_lease_is_needed(e: E) -> Result<()> {
    for verb in ["get", "create"] {
        e.world.merge(&e.role(), &json!({ "rules": without("coordination.k8s.io", "leases", verb)? })).await?;
        e.allowed("coordination.k8s.io", "leases", verb, false).await?;
        let controller = e.controller()?;
        let log = controller.fails().await?;
        ensure!(log.contains("the Lease cannot be had") && log.contains(&format!("cannot {verb} resource")), "{log}");
    }
    Ok(())
}

/// What the controller's account may not do, asked with its own token. The first one is what it may.
async fn nothing_else_is_granted(e: E) -> Result<()> {
    let own = &e.world.namespace;
    let cases = [
        (true, "batch", "jobs", "create", ""),
        (false, "batch", "jobs", "update", ""),
        (false, "batch", "jobs", "patch", ""),
        (false, "batch", "jobs/status", "patch", ""),
        (false, "", "secrets", "get", ""),
        (false, "", "secrets", "list", ""),
        (false, "", "configmaps", "get", ""),
        (false, "", "pods", "create", ""),
        (false, "", "pods", "delete", ""),
        (false, "", "pods", "patch", ""),
        (false, "", "pods/exec", "create", ""),
        (false, "", "serviceaccounts/token", "create", ""),
        (false, "", "users", "impersonate", ""),
        (false, "", "nodes", "patch", ""),
        (false, "apps", "deployments", "patch", ""),
        (false, "apps", "deployments/scale", "patch", ""),
        (false, "kubernetesexecution.kubernaut.io", "kubernetesexecutions", "create", ""),
        (false, "kubernetesexecution.kubernaut.io", "kubernetesexecutions", "update", ""),
        (false, "kubernetesexecution.kubernaut.io", "kubernetesexecutions/status", "update", ""),
        (false, "rbac.authorization.k8s.io", "roles", "create", ""),
        (false, "rbac.authorization.k8s.io", "rolebindings", "create", ""),
        (false, "coordination.k8s.io", "leases", "update", "another"),
        (true, "coordination.k8s.io", "leases", "update", "execution-controller"),
    ];
    for (may, group, resource, verb, name) in cases {
        let allowed = e.review(group, resource, verb, name).await?;
        ensure!(allowed == may, "{ACCOUNT} in {own}: {verb} {resource} {name}: {allowed}");
    }
    // And tried: the token of the controller, a Secret of its own namespace.
    let secret =
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s" }, "stringData": { "a": "b" } });
    e.world.create(&e.world.path("v1", "secrets"), &secret).await?;
    let client = e.own_client().await?;
    let get = |path: String| client.request::<Value>(http::Request::get(path).body(Vec::new()).unwrap_or_default());
    get(e.executions()).await?;
    let denied = get(format!("{}/s", e.world.path("v1", "secrets"))).await;
    ensure!(matches!(&denied, Err(kube::Error::Api(status)) if status.code == 403), "{denied:?}");
    Ok(())
}

/// Whoever may edit may create executions; whoever may view may see them; neither writes a status.
async fn people(e: E) -> Result<()> {
    e.people().await?;
    let rbac = "rbac.authorization.k8s.io/v1";
    for role in ["view", "edit"] {
        let binding = json!({
            "apiVersion": rbac, "kind": "RoleBinding", "metadata": { "name": role },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": format!("{role}er") }],
        });
        e.world.create(&e.world.path(rbac, "rolebindings"), &binding).await?;
    }
    let cases = [
        ("viewer", "kubernetesexecutions", "get", true),
        ("viewer", "kubernetesexecutions", "create", false),
        ("editer", "kubernetesexecutions", "create", true),
        ("editer", "kubernetesexecutions", "patch", true),
        ("editer", "kubernetesexecutions/status", "patch", false),
    ];
    for (user, resource, verb, may) in cases {
        e.until_allowed(user, "kubernetesexecution.kubernaut.io", resource, verb, may).await?;
    }
    Ok(())
}

/// Over all scenarios each permission of the shipped roles was used: what nobody used, nobody needs.
pub fn every_one_was_used(connection: &Connection, arguments: &libtest_mimic::Arguments) -> Result<()> {
    let Some(log) = connection.audit_log.as_deref() else { return Ok(()) };
    if arguments.filter.is_some() || !arguments.skip.is_empty() {
        test_cluster::assets::tell("SKIPPED: whether every permission is used is only known when all scenarios run");
        return Ok(());
    }
    let used = test_cluster::audit::permissions_used(log, "execution-controller/")?;
    let used: BTreeSet<_> = used.into_iter().map(|(_, verb, group, resource)| (group, resource, verb)).collect();
    let unused: Vec<_> = shipped()?.into_iter().filter(|one| !used.contains(one)).collect();
    ensure!(unused.is_empty(), "permissions of the controller that no scenario used: {unused:?}");
    Ok(())
}
