//! What is wrong with a request is said before anything is sent.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::audit::Entry;
use test_cluster::proxy::{Fault, Rule};
use test_cluster::runner::Run;

use crate::support::{T, expect, scenarios};

scenarios!("requests": bad_names_send_nothing, unreachable_server, untrusted_server, bad_token, lost_read_is_read_again, version_in_the_user_agent, the_readme_tells_the_truth);

async fn bad_names_send_nothing(t: T) -> Result<()> {
    let long = "a".repeat(300);
    for name in ["n/status", "../../kube-system/deployments/coredns", "web?x=", &long, "🚀", "web%2Fstatus"] {
        let outcome = t.act("scale-deployment", name, &json!({ "replicas": 2 })).await?;
        expect(&outcome, "InvalidRequest", "none", "TARGET_NAME: an object's name")?;
        ensure!(outcome.result["requests"]["total"] == 0 && outcome.seen.is_empty());
    }
    Ok(())
}

async fn unreachable_server(t: T) -> Result<()> {
    let file = t.world.folder().join("nowhere.kubeconfig");
    std::fs::write(&file, test_config("https://127.0.0.1:1", &t))?;
    let run = Run::new(&t.binary, &file, "cordon-node", "node-a").with("ACTION_TIMEOUT", "2s").unjudged();
    let outcome = t.complete(&run).await?;
    expect(&outcome, "Unavailable", "none", "refuses the connection")?;
    ensure!(outcome.result["retryable"] == true);
    Ok(())
}

fn test_config(server: &str, t: &T) -> String {
    let authority = &t.world.connection.authority;
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{ "name": "x", "cluster": { "server": server, "certificate-authority": authority } }],
        "users": [{ "name": "x", "user": { "token": "none" } }],
        "contexts": [{ "name": "x", "context": { "cluster": "x", "user": "x" } }],
    })
    .to_string()
}

async fn untrusted_server(t: T) -> Result<()> {
    // The proxy's certificate is not the one that the kubeconfig trusts.
    let rule = Rule { fault: Fault::Drop, method: "NONE", contains: "", lacks: "", times: 0 };
    let (proxy, _) = t.through_proxy("cordon-node", rule).await?;
    let file = t.world.folder().join("untrusted.kubeconfig");
    std::fs::write(&file, test_config(&proxy.server, &t))?;
    let run = Run::new(&t.binary, &file, "cordon-node", "node-a").unjudged();
    expect(&t.complete(&run).await?, "Unavailable", "none", "certificate authority did not sign")
}

async fn bad_token(t: T) -> Result<()> {
    let file = t.world.folder().join("bad.kubeconfig");
    std::fs::write(&file, test_config(&t.world.connection.server, &t))?;
    let run = Run::new(&t.binary, &file, "cordon-node", "node-a");
    expect(&t.complete(&run).await?, "Forbidden", "none", "the credentials are not valid")
}

async fn lost_read_is_read_again(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    let rule = Rule { fault: Fault::LoseAnswer, method: "GET", contains: "/deployments/web", lacks: "watch", times: 2 };
    let (proxy, kubeconfig) = t.through_proxy("scale-deployment", rule).await?;
    let run = t
        .run("scale-deployment", "web")
        .await?
        .with("KUBECONFIG", kubeconfig.display())
        .parameters(&json!({ "replicas": 2 }));
    let outcome = t.complete(&run).await?;
    ensure!(proxy.hits() == 2 && outcome.result["requests"]["retries"] == 2, "{:#}", outcome.result);
    expect(&outcome, "Changed", "applied", "from 1 to 2")
}

async fn version_in_the_user_agent(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    let run = t
        .run("scale-deployment", "web")
        .await?
        .with("ACTION_ID", "exec-9")
        .parameters(&json!({ "replicas": 1, "wait": false }));
    let outcome = t.complete(&run).await?;
    let agent = outcome.result["requests"]["userAgent"].as_str().unwrap_or_default().to_owned();
    ensure!(
        agent.starts_with(&format!("action-runner/{} (scale-deployment; id=exec-9; run=", env!("CARGO_PKG_VERSION"))),
        "{agent}"
    );
    ensure!(t.world.connection.audit_log.is_none() || !outcome.seen.is_empty());
    Ok(())
}

/// The result that README.md shows is the one that its command gives, but for what differs from run to run.
async fn the_readme_tells_the_truth(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 3, json!({})).await?;
    let outcome = t.act("scale-deployment", "web", &json!({ "replicas": 5 })).await?;
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"))?;
    let shown = readme
        .split("```json\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .context("README.md shows no result")?;
    let mut shown: Value = serde_json::from_str(shown)?;
    let text = outcome.text.replace(&t.world.namespace, "shop");
    let mut real: Value = serde_json::from_str(&text)?;
    // Where the new pods are slow to come, it asks what it may read that tells why; the judge has counted all of them.
    let written = outcome.seen.iter().position(Entry::changes_something).unwrap_or(outcome.seen.len());
    let asked = outcome.seen.iter().skip(written).filter(|one| one.resource.starts_with("selfsubject")).count();
    let total = real["requests"]["total"].as_u64().context("no total")?;
    real["requests"]["total"] = json!(total - u64::try_from(asked)?);
    mask(&mut shown);
    mask(&mut real);
    ensure!(shown == real, "README.md shows {shown:#}, and it is {real:#}");
    Ok(())
}

/// Replaces what differs from run to run.
fn mask(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                if matches!(name.as_str(), "startTime" | "endTime" | "uid" | "durationMs" | "userAgent" | "revision") {
                    *field = Value::Null;
                } else if matches!(name.as_str(), "verifiedAt" | "usage") {
                    field.as_object_mut().into_iter().flatten().for_each(|(_, version)| *version = Value::Null);
                } else if name == "output" {
                    let sentence = field.as_str().unwrap_or_default();
                    *field = json!(sentence.split(" after ").next());
                } else {
                    mask(field);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        _ => {}
    }
}
