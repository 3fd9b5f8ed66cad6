//! What an operator relies on: the controller's own share of the API server.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use test_cluster::executor::{ACCOUNT, shipped};

use crate::support::{E, scale, scenarios};

scenarios!("operations": the_controllers_requests_have_a_share_of_their_own);

const API: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";

/// The UID of the `FlowSchema` that the API server put this request to.
async fn schema(client: &kube::Client, path: &str) -> Result<String> {
    let request = http::Request::get(path).body(kube::client::Body::empty())?;
    let answer = client.send(request).await?;
    let header = answer.headers().get("x-kubernetes-pf-flowschema-uid");
    Ok(header.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned())
}

/// What is shipped, for this scenario's namespace and under names of its own. Returns the UIDs: of all requests, of the Lease's.
async fn install(e: &E) -> Result<(String, String)> {
    let (own, mut uids) = (e.world.namespace.clone(), Vec::new());
    for document in shipped("deploy/base/priority.yaml")? {
        let mut document: Value = document;
        let kind = document["kind"].as_str().unwrap_or_default().to_lowercase();
        let name = document["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        document["metadata"]["name"] = json!(format!("{name}-{own}"));
        if kind == "flowschema" {
            let level = &mut document["spec"]["priorityLevelConfiguration"]["name"];
            if *level == ACCOUNT {
                *level = json!(format!("{ACCOUNT}-{own}"));
            }
            let rule = &mut document["spec"]["rules"][0];
            rule["subjects"][0]["serviceAccount"]["namespace"] = json!(own);
            let namespaces = &mut rule["resourceRules"][0]["namespaces"];
            if namespaces[0] != "*" {
                *namespaces = json!([own]);
            }
        }
        let made = e.world.create(&format!("{API}/{kind}s"), &document).await?;
        if kind == "flowschema" {
            uids.push(made["metadata"]["uid"].as_str().unwrap_or_default().to_owned());
        }
    }
    let [all, lease] = uids.as_slice() else { anyhow::bail!("expected two FlowSchemas: {uids:?}") };
    Ok((all.clone(), lease.clone()))
}

/// The controller's requests are put to its own level, its Lease to the one of leaders; another account's are not, and were
/// not before.
async fn the_controllers_requests_have_a_share_of_their_own(e: E) -> Result<()> {
    let own = e.own_client().await?;
    let leases = format!("{}/{ACCOUNT}", e.world.path("coordination.k8s.io/v1", "leases"));
    let before = schema(&own, &e.executions()).await?;
    ensure!(!before.is_empty(), "the API server does not tell its FlowSchemas");
    let (all, lease) = install(&e).await?;
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while schema(&own, &e.executions()).await? != all || schema(&own, &leases).await? != lease {
        ensure!(
            std::time::Instant::now() < limit,
            "its requests are not put to {all}, those of its Lease not to {lease}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let another =
        e.world.token_kubeconfig("default", &e.world.connection.server, &e.world.connection.authority).await?;
    let another = kube::config::Kubeconfig::read_from(&another)?;
    let another = kube::Config::from_custom_kubeconfig(another, &kube::config::KubeConfigOptions::default()).await?;
    let another = kube::Client::try_from(another)?;
    for path in [&e.executions(), &leases] {
        let found = schema(&another, path).await?;
        ensure!(found == before, "another account's request to {path} was put to {found}, not to {before}");
    }
    // And the program's own: all that it sends to carry something out.
    e.world.workload("Deployment", "web", 1, json!({})).await?;
    let controller = e.controller()?;
    e.execute("up", scale(2)).await?;
    e.ended("up").await?;
    let figures = e.world.text("/metrics").await?;
    for (name, at_least) in [(ACCOUNT.to_owned(), 6.0), (format!("{ACCOUNT}-lease"), 2.0)] {
        let label = format!("flow_schema=\"{name}-{}\"", e.world.namespace);
        let counted =
            |line: &&str| line.starts_with("apiserver_flowcontrol_dispatched_requests_total{") && line.contains(&label);
        let sent: f64 =
            figures.lines().filter(counted).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
        ensure!(sent >= at_least, "{label}: {sent} requests");
    }
    controller.stop().await
}
