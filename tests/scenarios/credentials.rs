//! Credentials that end, or change, while a run waits.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::proxy::{Fault, Rule};
use test_cluster::runner::{Outcome, Running};
use test_cluster::token::Token;

use crate::budget::Budget;
use crate::support::{T, expect, mode, scenarios};

scenarios!("credentials":
    a_token_that_is_renewed, a_token_that_expires, an_account_that_is_deleted,
);

/// The token is worth nothing from one moment to the next, and the wait needs it again: what was changed until then is told.
async fn an_account_that_is_deleted(t: T) -> Result<()> {
    let never = mode("never-ready");
    t.world.create_workload("Deployment", "web", 1, never).await?;
    // Every watch of the pods ends at once: it is opened again and again, and so meets the end of the account.
    let rule = Rule { fault: Fault::WatchEnds, method: "GET", contains: "/pods?watch", lacks: "", times: u32::MAX };
    let (_proxy, kubeconfig) = t.through_proxy("scale-deployment", rule).await?;
    let run = t.run("scale-deployment", "web").await?.with("KUBECONFIG", kubeconfig.display()).unjudged();
    let run = run.parameters(&json!({ "replicas": 2, "stuckAfter": "50s" })).with("ACTION_TIMEOUT", "60s");
    let running = run.start(&t.world)?;
    t.world.until(&t.world.workload_path("Deployment", "web"), "scaled", |web| web["spec"]["replicas"] == 2).await?;
    t.world.delete(&format!("{}/action-scale-deployment", t.world.path("v1", "serviceaccounts"))).await?;
    let outcome = running.complete(&t.world).await?;
    expect(&outcome, "Forbidden", "applied", "the credentials are not valid (any more)")?;
    ensure!(outcome.result["changes"].as_array().is_some_and(|all| all.len() == 1), "{:#}", outcome.result);
    Ok(())
}

/// A `restart-pod` that waits for a disruption budget, with a kubeconfig that takes its token from a file.
struct Waiting {
    running: Running,
    token: Token,
    budget: Budget,
}

async fn waits(t: &T, file: &Path, lifetime: Duration) -> Result<Waiting> {
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    let budget = Budget::strict(t, "web").await?;
    let pods = t.world.pods("web").await?;
    let pod = pods.first().and_then(|pod| pod["metadata"]["name"].as_str()).context("no pod")?;
    let run = t.run("restart-pod", pod).await?.with("ACTION_TIMEOUT", "120s");
    let token = Token::sign(&t.world, "action-restart-pod", lifetime).await?;
    std::fs::write(file, token.as_str())?;
    let user = json!({ "tokenFile": file });
    let running = run.with("KUBECONFIG", t.world.kubeconfig_of(&user)?.display());
    let running = running.start(&t.world)?;
    budget.blocks(t, pod).await?;
    Ok(Waiting { running, token, budget })
}

impl Waiting {
    /// Once the API server takes the token no more, the budget lets the eviction pass.
    async fn goes_on_when_it_is_over(self, t: &T) -> Result<Outcome> {
        self.token.until_it_is_refused(&t.world).await?;
        self.budget.gives_way(t).await?;
        self.running.complete(&t.world).await
    }
}

fn has_no_key(t: &T, name: &str) -> bool {
    if t.world.connection.token_key.is_none() {
        test_cluster::assets::tell(&format!(
            "SKIPPED: credentials::{name} signs tokens of its own, and TEST_KUBECONFIG names a cluster whose key is not here"
        ));
        return true;
    }
    false
}

/// The credentials end in the middle of the wait, and nobody renews them: that is told, and that nothing was changed.
async fn a_token_that_expires(t: T) -> Result<()> {
    if has_no_key(&t, "a_token_that_expires") {
        return Ok(());
    }
    let waiting = waits(&t, &t.world.folder().join("token"), Duration::from_secs(40)).await?;
    let outcome = waiting.goes_on_when_it_is_over(&t).await?;
    expect(&outcome, "Forbidden", "none", "the credentials are not valid (any more)")?;
    let unchanged: Value = t.object("Deployment", "web").await?;
    ensure!(unchanged["status"]["readyReplicas"] == 1, "{unchanged:#}");
    Ok(())
}

/// As a kubelet does it, the token in the file is replaced before it ends (the file is read again once a minute): a wait
/// that is longer than a token's life goes on with the next one.
async fn a_token_that_is_renewed(t: T) -> Result<()> {
    if has_no_key(&t, "a_token_that_is_renewed") {
        return Ok(());
    }
    let file = t.world.folder().join("token");
    let waiting = waits(&t, &file, Duration::from_secs(75)).await?;
    let next = Token::sign(&t.world, "action-restart-pod", Duration::from_mins(10)).await?;
    std::fs::write(&file, next.as_str())?;
    let outcome = waiting.goes_on_when_it_is_over(&t).await?;
    expect(&outcome, "Changed", "applied", "its replacement")
}
