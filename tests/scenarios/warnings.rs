//! What the API server warns of reaches the person: `Warning:` headers of admission, of Pod Security, of deprecated versions.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::support::{T, expect, scalable_kind, scenarios};

scenarios!("warnings": of_admission, of_pod_security, of_a_deprecated_version);

/// A value of the target that nobody may see.
const SECRET: &str = "hunter22-hunter22";

/// A Deployment that holds it.
async fn deployment(t: &T) -> Result<()> {
    let container = json!({ "name": "app", "image": "shop/web:1", "env": [{ "name": "TOKEN", "value": SECRET }] });
    let extra = json!({ "spec": { "template": { "spec": { "containers": [container] } } } });
    t.world.workload("Deployment", "web", 1, extra).await.map(|_| ())
}

/// The warnings of a dry run of somebody else's: what the API server says is there.
async fn warned(t: &T, path: &str) -> Result<Vec<String>> {
    let patch = json!({ "metadata": { "annotations": { "test/probe": "x" } } }).to_string();
    let request =
        http::Request::patch(format!("{path}?dryRun=All")).header("content-type", "application/merge-patch+json");
    let answer = t.world.client().send(request.body(patch.into_bytes().into())?).await?;
    let headers = answer.headers().get_all("warning").iter();
    Ok(headers.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect())
}

/// Waits until the API server warns of so much: it learns of policies and labels a moment later.
async fn in_force(t: &T, path: &str, number: usize) -> Result<()> {
    let limit = Instant::now() + Duration::from_secs(30);
    loop {
        let headers = warned(t, path).await?;
        if headers.concat().matches("299 ").count() == number {
            return Ok(());
        }
        ensure!(Instant::now() < limit, "expected {number} warnings: {headers:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The API server's own warnings, without the words before them.
fn told(result: &Value) -> Vec<String> {
    let all = result["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str);
    all.filter_map(|one| Some(one.strip_prefix("the API server warns: ")?.to_owned())).collect()
}

/// Policies that only warn, of the dry run and of the write alike: each is told once, without the value that it quotes (also
/// where that is cut), and bounded.
async fn of_admission(t: T) -> Result<()> {
    deployment(&t).await?;
    let (namespace, path) = (&t.world.namespace, t.world.workload_path("Deployment", "web"));
    let head = format!("Validation failed for ValidatingAdmissionPolicy '{namespace}' with binding '{namespace}': ");
    // So that the value lies where the sentence is shortened.
    let filler = "x".repeat(292 - head.len());
    let value = "object.spec.template.spec.containers[0].env[0].value";
    let says = |words: String| json!({ "expression": "false", "messageExpression": words });
    let spec = json!({
        "failurePolicy": "Fail",
        "matchConstraints": { "resourceRules": [{ "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments"] }] },
        "validations": [says(format!("'the token is ' + {value} + ', which is short'")), says(format!("'{filler}' + {value}"))],
    });
    let policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
    t.world.create(policies, &json!({ "metadata": { "name": namespace }, "spec": spec })).await?;
    let own = json!({ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } } });
    let binding = json!({ "policyName": namespace, "validationActions": ["Warn"], "matchResources": own });
    let bindings = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";
    t.world.create(bindings, &json!({ "metadata": { "name": namespace }, "spec": binding })).await?;
    in_force(&t, &path, 2).await?;
    let outcome = t.act("restart-deployment", "web", &json!({})).await?;
    expect(&outcome, "Changed", "applied", "1 of 1 new pods ready")?;
    ensure!(
        outcome.seen.iter().filter(|one| one.verb == "patch").count() == 2,
        "a dry run and a write: {:?}",
        outcome.seen
    );
    let told = told(&outcome.result);
    let expected = [format!("{head}the token is [hidden], which is short"), format!("{head}{filler}[hidden]")];
    ensure!(told == expected, "expected {expected:#?}, got {told:#?}");
    for text in [&outcome.text, &outcome.stderr] {
        ensure!(!text.contains(SECRET.get(..8).context("short")?), "{text}");
    }
    for path in [policies, bindings] {
        t.world.delete(&format!("{path}/{namespace}")).await?;
    }
    Ok(())
}

/// A namespace that warns of pods that are not restricted: of the Deployment's patch, which makes such pods, and not of its
/// `/scale`, which the API server does not look at.
async fn of_pod_security(t: T) -> Result<()> {
    deployment(&t).await?;
    let labels = json!({ "metadata": { "labels": { "pod-security.kubernetes.io/warn": "restricted" } } });
    t.world.merge(&format!("/api/v1/namespaces/{}", t.world.namespace), &labels).await?;
    in_force(&t, &t.world.workload_path("Deployment", "web"), 1).await?;
    let outcome = t.act("scale-deployment", "web", &json!({ "replicas": 2 })).await?;
    expect(&outcome, "Changed", "applied", "from 1 to 2")?;
    ensure!(outcome.result.get("warnings").is_none(), "{:#}", outcome.result);
    let outcome = t.act("restart-deployment", "web", &json!({})).await?;
    expect(&outcome, "Changed", "applied", "2 of 2 new pods ready")?;
    let told = told(&outcome.result);
    let [one] = told.as_slice() else { anyhow::bail!("expected one warning: {:#}", outcome.result) };
    ensure!(one.starts_with("would violate PodSecurity \"restricted:latest\": ") && one.len() <= 303, "{one}");
    Ok(())
}

/// A read is warned of too: the version that was asked for is on its way out.
async fn of_a_deprecated_version(t: T) -> Result<()> {
    let group = format!("{}.example.com", t.world.namespace);
    let toys = scalable_kind(&t, &group, "Toy").await?;
    t.world.create(&toys, &json!({ "apiVersion": format!("{group}/v1"), "kind": "Toy", "metadata": { "name": "one" }, "spec": { "size": 1 } })).await?;
    let crd = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/toys.{group}");
    let mut versions = t.world.get(&crd).await?["spec"]["versions"].clone();
    versions[0]["deprecated"] = json!(true);
    versions[0]["deprecationWarning"] = json!("Toy v1 goes with the next release; use v2");
    t.world.merge(&crd, &json!({ "spec": { "versions": versions } })).await?;
    in_force(&t, &format!("{toys}/one"), 1).await?;
    let run = test_cluster::runner::Run::new(&t.binary, &t.world.connection.kubeconfig, "scale", "one")
        .with("TARGET_NAMESPACE", &t.world.namespace)
        .with("TARGET_KIND", "Toy")
        .with("TARGET_API_VERSION", format!("{group}/v1"))
        .with("ACTION_DRY_RUN", true)
        .parameters(&json!({ "replicas": 2, "wait": false }));
    let outcome = t.complete(&run).await?;
    expect(&outcome, "DryRun", "none", "would scale")?;
    let told = told(&outcome.result);
    ensure!(told == ["Toy v1 goes with the next release; use v2"], "{:#}", outcome.result);
    Ok(())
}
