//! cordon and uncordon, against a real API server.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::fixtures::{node, unique};
use test_cluster::proxy::{Fault, Proxy, Rule, Script, Shape};
use test_cluster::runner::{Outcome, Run};

use crate::look::own_taint;
use crate::support::{T, expect, scenarios};

scenarios!("cordon": there_and_back, an_event_about_a_node, already_so, keeps_the_reason, protected, not_found, forbidden, dry_run_leaves_no_trace,
    others_taints_stay, conflict_is_told, overwritten_meanwhile, lost_answers_are_found_out, warns_of_a_foreign_cordon,
    a_node_that_is_being_deleted, tells_the_taints_that_stay, a_dry_run_posts_no_event, what_was_so_already_is_looked_at_too, says_where_it_looked);

/// A node of this scenario alone.
async fn own_node(t: &T) -> Result<String> {
    let name = format!("node-{:08x}", unique());
    // Tainted, so that no pod of another scenario lands on a node that is deleted in the end.
    node(&t.world, &name, own_taint()).await?;
    Ok(name)
}

async fn read(t: &T, name: &str) -> Result<Value> {
    t.world.get(&format!("/api/v1/nodes/{name}")).await
}

async fn cordon(t: &T, name: &str, parameters: &Value) -> Result<Outcome> {
    t.act("cordon-node", name, parameters).await
}

async fn there_and_back(t: T) -> Result<()> {
    let name = own_node(&t).await?;
    let outcome = cordon(&t, &name, &json!({})).await?;
    expect(&outcome, "Changed", "applied", &format!("cordoned node {name}"))?;
    ensure!(read(&t, &name).await?["spec"]["unschedulable"] == true);
    let back = t.undo(&outcome, &name).await?;
    expect(&back, "Changed", "applied", &format!("uncordoned node {name}"))?;
    ensure!(read(&t, &name).await?["spec"].get("unschedulable").is_none());
    expect(&t.undo(&back, &name).await?, "Changed", "applied", "cordoned node")
}

/// Events about what has no namespace are in `default`, where the printed Role allows them.
async fn an_event_about_a_node(t: T) -> Result<()> {
    let name = own_node(&t).await?;
    let run = t.run("cordon-node", &name).await?.with("ACTION_EVENTS", true);
    let outcome = t.complete(&run).await?;
    expect(&outcome, "Changed", "applied", "cordoned")?;
    ensure!(outcome.result.get("warnings").is_none(), "{:#}", outcome.result);
    let events = t.world.get("/apis/events.k8s.io/v1/namespaces/default/events").await?;
    let mut about = events["items"].as_array().into_iter().flatten().filter(|event| event["regarding"]["name"] == name);
    ensure!(about.any(|event| event["reason"] == "ActionChanged"), "{events:#}");
    Ok(())
}

async fn already_so(t: T) -> Result<()> {
    let name = own_node(&t).await?;
    cordon(&t, &name, &json!({})).await?;
    expect(&cordon(&t, &name, &json!({})).await?, "Unchanged", "none", "is cordoned already")?;
    let run = t.run("uncordon-node", &name).await?;
    expect(&t.complete(&run).await?, "Changed", "applied", "uncordoned")?;
    expect(&t.complete(&run).await?, "Unchanged", "none", "is schedulable already")
}

async fn keeps_the_reason(t: T) -> Result<()> {
    let name = own_node(&t).await?;
    let run = t.run("cordon-node", &name).await?.with("ACTION_REASON", "disk errors").with("ACTION_ID", "exec-1");
    expect(&t.complete(&run).await?, "Changed", "applied", "cordoned")?;
    let annotations = read(&t, &name).await?["metadata"]["annotations"].clone();
    let mark: Value =
        serde_json::from_str(annotations["kubernetesexecution.kubernaut.io/cordon"].as_str().unwrap_or_default())?;
    ensure!(mark["reason"] == "disk errors" && mark["id"] == "exec-1" && mark["action"] == "cordon", "{mark}");
    Ok(())
}

async fn protected(t: T) -> Result<()> {
    let name = own_node(&t).await?;
    let patch = json!({ "metadata": { "annotations": { "kubernetesexecution.kubernaut.io/protected": "true" } } });
    t.world.merge(&format!("/api/v1/nodes/{name}"), &patch).await?;
    expect(&cordon(&t, &name, &json!({})).await?, "Refused", "none", "is protected")
}

async fn not_found(t: T) -> Result<()> {
    expect(&cordon(&t, "no-such-node", &json!({})).await?, "TargetNotFound", "none", "node no-such-node does not exist")
}

async fn forbidden(t: T) -> Result<()> {
    let name = own_node(&t).await?;
    let account = t.account("scale-deployment").await?;
    let run = t.run("cordon-node", &name).await?.with("KUBECONFIG", account.display());
    let outcome = t.complete(&run).await?;
    expect(&outcome, "Forbidden", "none", "get nodes (core), patch nodes (core)")
}

async fn dry_run_leaves_no_trace(t: T) -> Result<()> {
    let name = own_node(&t).await?;
    let run = t.run("cordon-node", &name).await?.with("ACTION_DRY_RUN", true);
    let outcome = t.complete(&run).await?;
    expect(&outcome, "DryRun", "none", "would cordon node")?;
    let node = read(&t, &name).await?;
    ensure!(
        node["spec"].get("unschedulable").is_none()
            && node["metadata"]["annotations"].get("kubernetesexecution.kubernaut.io/cordon").is_none()
    );
    Ok(())
}

async fn others_taints_stay(t: T) -> Result<()> {
    let name = own_node(&t).await?;
    let taints = json!([{ "key": "example.com/gpu", "value": "yes", "effect": "NoSchedule" }]);
    t.world.merge(&format!("/api/v1/nodes/{name}"), &json!({ "spec": { "taints": taints } })).await?;
    expect(&cordon(&t, &name, &json!({})).await?, "Changed", "applied", "cordoned")?;
    let node = read(&t, &name).await?;
    ensure!(
        node["spec"]["taints"].as_array().is_some_and(|all| all.iter().any(|taint| taint["key"] == "example.com/gpu"))
    );
    Ok(())
}

async fn conflict_is_told(t: T) -> Result<()> {
    // Somebody else cordons the node just before our write: it is so already then.
    let name = own_node(&t).await?;
    let fault = Fault::ChangeFirst {
        path: format!("/api/v1/nodes/{name}"),
        patch: r#"{"spec":{"unschedulable":true}}"#.to_owned(),
    };
    let rule = Rule { fault, method: "PATCH", contains: "/nodes/", lacks: "dryRun", times: 1 };
    let (proxy, kubeconfig) = t.through_proxy("cordon-node", rule).await?;
    let outcome = t.complete(&Run::new(&t.binary, &kubeconfig, "cordon-node", &name)).await?;
    ensure!(proxy.hits() == 1, "the fault hit");
    expect(&outcome, "Unchanged", "none", "is cordoned already")
}

async fn overwritten_meanwhile(t: T) -> Result<()> {
    // Somebody uncordons it between our write and our second look.
    let name = own_node(&t).await?;
    let fault = Fault::ChangeFirst {
        path: format!("/api/v1/nodes/{name}"),
        patch: r#"{"spec":{"unschedulable":null}}"#.to_owned(),
    };
    // The second GET: the first one finds the node.
    let rule = Rule { fault, method: "GET", contains: "/nodes/", lacks: "watch", times: 2 };
    let (_proxy, kubeconfig) = t.through_proxy("cordon-node", rule).await?;
    let outcome = t.complete(&Run::new(&t.binary, &kubeconfig, "cordon-node", &name)).await?;
    expect(&outcome, "NotVerified", "applied", "someone else changed it back")
}

async fn lost_answers_are_found_out(t: T) -> Result<()> {
    let name = own_node(&t).await?;
    for (action, says) in [("cordon-node", "cordoned node"), ("uncordon-node", "uncordoned node")] {
        let rule = Rule { fault: Fault::LoseAnswer, method: "PATCH", contains: "/nodes/", lacks: "dryRun", times: 1 };
        let (proxy, kubeconfig) = t.through_proxy(action, rule).await?;
        let run = Run::new(&t.binary, &kubeconfig, action, &name);
        let outcome = t.complete(&run).await?;
        ensure!(proxy.hits() == 1, "the fault hit");
        expect(&outcome, "Changed", "applied", says)?;
    }
    Ok(())
}

async fn warns_of_a_foreign_cordon(t: T) -> Result<()> {
    let name = own_node(&t).await?;
    t.world.merge(&format!("/api/v1/nodes/{name}"), &json!({ "spec": { "unschedulable": true } })).await?;
    let run = t.run("uncordon-node", &name).await?;
    let outcome = t.complete(&run).await?;
    expect(&outcome, "Changed", "applied", "uncordoned")?;
    ensure!(
        outcome.result["warnings"][0].as_str().is_some_and(|text| text.contains("was not cordoned by the runner")),
        "{:#}",
        outcome.result
    );
    Ok(())
}

/// The warnings of a run, in one text.
fn warnings(outcome: &Outcome) -> String {
    outcome.result["warnings"].to_string()
}

/// What is on its way out is left alone, also where it is so already.
async fn a_node_that_is_being_deleted(t: T) -> Result<()> {
    let name = own_node(&t).await?;
    let path = format!("/api/v1/nodes/{name}");
    t.world.merge(&path, &json!({ "metadata": { "finalizers": ["test/hold"] } })).await?;
    t.world.delete(&path).await?;
    let since = read(&t, &name).await?["metadata"]["deletionTimestamp"].as_str().unwrap_or_default().to_owned();
    let says = format!("node {name} is being deleted since {since}; wait until it is gone (finalizers: test/hold)");
    for action in ["cordon-node", "uncordon-node"] {
        expect(&t.act(action, &name, &json!({})).await?, "Refused", "none", &says)?;
    }
    t.world.merge(&path, &json!({ "spec": { "unschedulable": true } })).await?;
    expect(&cordon(&t, &name, &json!({})).await?, "Refused", "none", &says)?;
    let run = t.run("cordon-node", &name).await?.with("ACTION_DRY_RUN", true);
    expect(&t.complete(&run).await?, "Refused", "none", &says)?;
    ensure!(tested(&t, &path).await == Some(422), "what the write tests lets it through");
    t.world.merge(&path, &json!({ "metadata": { "finalizers": null } })).await?;
    let open = own_node(&t).await?;
    ensure!(tested(&t, &format!("/api/v1/nodes/{open}")).await.is_none(), "what the write tests stops every write");
    Ok(())
}

/// Sends the operation by which a write sees a deletion that came in between, and what the API server says against it.
async fn tested(t: &T, path: &str) -> Option<u16> {
    let patch = json!([actions::cluster::patch::unless_leaving()]).to_string().into_bytes();
    let request = http::Request::patch(path).header("content-type", "application/json-patch+json").body(patch);
    match t.world.client().request::<Value>(request.ok()?).await {
        Err(kube::Error::Api(status)) => Some(status.code),
        _ => None,
    }
}

/// A node that another taint keeps closed is not open, whatever its field says.
async fn tells_the_taints_that_stay(t: T) -> Result<()> {
    let name = own_node(&t).await?;
    expect(&cordon(&t, &name, &json!({})).await?, "Changed", "applied", "cordoned")?;
    // The node controller repeats the cordon as a taint, and takes that away again a moment after the uncordon.
    let path = format!("/api/v1/nodes/{name}");
    let tainted = |node: &Value| node["spec"]["taints"].to_string().contains("node.kubernetes.io/unschedulable");
    let node = t.world.until(&path, "the cordon's taint", tainted).await?;
    let mut taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    taints.extend([
        json!({ "key": "example.com/gpu", "value": "yes", "effect": "NoExecute" }),
        json!({ "key": "example.com/soft", "effect": "PreferNoSchedule" }),
    ]);
    t.world.merge(&path, &json!({ "spec": { "taints": taints } })).await?;
    let says = format!(
        "uncordon leaves other taints on node {name}, which keep out every pod that does not tolerate them: \
         test/own:NoSchedule, example.com/gpu=yes:NoExecute\""
    );
    for (variable, value, parameters, code, effect) in [
        ("ACTION_DRY_RUN", "true", json!({}), "DryRun", "none"),
        ("ACTION_ID", "1", json!({}), "Changed", "applied"),
        ("ACTION_ID", "2", json!({}), "Unchanged", "none"),
        ("ACTION_ID", "3", json!({ "wait": false }), "Unchanged", "none"),
    ] {
        let run = t.run("uncordon-node", &name).await?.with(variable, value).parameters(&parameters);
        let outcome = t.complete(&run).await?;
        expect(&outcome, code, effect, "")?;
        ensure!(warnings(&outcome).contains(&says), "expected {says}; got {:#}", outcome.result);
    }
    t.world.merge(&path, &json!({ "spec": { "taints": own_taint() } })).await?;
    // Not without any: pods of other scenarios would come, and this node goes.
    let outcome = t.act("uncordon-node", &name, &json!({})).await?;
    ensure!(warnings(&outcome).contains("does not tolerate them: test/own:NoSchedule\""), "{:#}", outcome.result);
    Ok(())
}

/// An Event is a change of the cluster too.
async fn a_dry_run_posts_no_event(t: T) -> Result<()> {
    let name = own_node(&t).await?;
    let events = async || {
        let all = t.world.get("/apis/events.k8s.io/v1/namespaces/default/events").await?;
        let all = all["items"].as_array().cloned().unwrap_or_default();
        let ours = all.into_iter().filter(|one| one["regarding"]["name"] == name && one["action"] == "cordon-node");
        Ok::<_, anyhow::Error>(ours.map(|one| one["reason"].clone()).collect::<Vec<_>>())
    };
    let run = t.run("cordon-node", &name).await?.with("ACTION_EVENTS", true);
    let outcome = t.complete(&run.clone().with("ACTION_DRY_RUN", true)).await?;
    expect(&outcome, "DryRun", "none", "would cordon")?;
    ensure!(outcome.result.get("warnings").is_none(), "{:#}", outcome.result);
    ensure!(events().await?.is_empty(), "a dry run posted {:?}", events().await?);
    expect(&t.complete(&run).await?, "Changed", "applied", "cordoned")?;
    ensure!(events().await? == [json!("ActionChanged")], "{:?}", events().await?);
    Ok(())
}

/// "It is so already" is said of now, not of a moment ago.
async fn what_was_so_already_is_looked_at_too(t: T) -> Result<()> {
    let name = own_node(&t).await?;
    cordon(&t, &name, &json!({})).await?;
    let (path, patch) = (format!("/api/v1/nodes/{name}"), r#"{"spec":{"unschedulable":null}}"#.to_owned());
    let second = Shape { what: "GET /api/v1/nodes/NAME".to_owned(), occurrence: 1 };
    let script = Script {
        names: vec![(name.clone(), "NAME")],
        fault: Some((second, Fault::ChangeFirst { path, patch })),
        ..Script::default()
    };
    let connection = &t.world.connection;
    let proxy = Proxy::scripted(&connection.server, &connection.authority, t.world.folder(), script)?;
    let kubeconfig = t.world.token_kubeconfig("action-cordon-node", &proxy.server, &proxy.authority).await?;
    let outcome = t.complete(&Run::new(&t.binary, &kubeconfig, "cordon-node", &name)).await?;
    expect(&outcome, "NotVerified", "none", "someone else changed it back")
}

/// The look that a result rests on can be found again: by its resourceVersion.
async fn says_where_it_looked(t: T) -> Result<()> {
    let name = own_node(&t).await?;
    let version = async || version(&read(&t, &name).await?["metadata"]["resourceVersion"]);
    for (code, effect) in [("Changed", "applied"), ("Unchanged", "none")] {
        let before = version().await?;
        let outcome = cordon(&t, &name, &json!({})).await?;
        expect(&outcome, code, effect, "cordoned")?;
        let looked = self::version(&outcome.result["details"]["verifiedAt"]["nodes"])
            .with_context(|| format!("{:#}", outcome.result["details"]))?;
        let since = if code == "Changed" { before + 1 } else { before };
        ensure!((since..=version().await?).contains(&looked), "{before}, then looked at {looked}");
    }
    let outcome = cordon(&t, &name, &json!({ "wait": false })).await?;
    expect(&outcome, "Unchanged", "none", "is cordoned already")?;
    ensure!(outcome.result["details"].get("verifiedAt").is_none(), "{:#}", outcome.result["details"]);
    Ok(())
}

fn version(text: &Value) -> Result<u64> {
    text.as_str().context("no resourceVersion")?.parse().context("no number")
}
