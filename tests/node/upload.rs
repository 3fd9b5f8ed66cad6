//! `collect-logs` to a presigned address, as a Job: what arrives, and what is not sent.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::support::{Ended, N, expect, scenarios};

scenarios!("upload": a_bundle_arrives, the_largest_bundle_fits_into_64_mebibytes, over_tls_with_a_private_authority, nothing_is_sent_elsewhere);

/// A server that takes uploads, behind a Service: its cluster IP, where no name is resolved in this cluster.
async fn receiver(n: &N) -> Result<String> {
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "receiver" },
        "spec": { "selector": { "app": "receiver" }, "ports": [{ "port": 80, "targetPort": 8080 }] },
    });
    let made = n.world.create(&n.world.path("v1", "services"), &service).await?;
    n.workload("talker", &["write", "1", "0"]).await?;
    Ok(made["spec"]["clusterIP"].as_str().context("no cluster IP")?.to_owned())
}

/// Waits until the Service leads to the server.
async fn reachable(n: &N) -> Result<()> {
    let slices = format!(
        "{}?labelSelector=kubernetes.io%2Fservice-name%3Dreceiver",
        n.world.path("discovery.k8s.io/v1", "endpointslices")
    );
    n.world
        .until(&slices, "an endpoint", |list| list["items"][0]["endpoints"][0]["conditions"]["ready"] == true)
        .await
        .map(|_| ())
}

async fn send(n: &N, url: &str, hosts: &str, change: impl Fn(&mut Value)) -> Result<Ended> {
    let parameters = json!({ "destination": "url", "url": url }).to_string();
    let mut job =
        n.job("collect-logs-pod", "talker", &[("ACTION_PARAMETERS", &parameters), ("ACTION_UPLOAD_HOSTS", hosts)])?;
    job["metadata"]["name"] = json!(format!("upload-{:08x}", test_cluster::fixtures::unique()));
    change(&mut job);
    n.start("collect-logs-pod", &job).await?;
    n.ended(&n.pod_of(job["metadata"]["name"].as_str().unwrap_or_default()).await?).await
}

async fn a_bundle_arrives(n: N) -> Result<()> {
    let address = receiver(&n).await?;
    n.workload("receiver", &["receive", "8080"]).await?;
    reachable(&n).await?;
    let ended =
        send(&n, &format!("http://{address}/logs.tar.gz?X-Signature=hunter22"), &format!("http://{address}"), |_| ())
            .await?;
    expect(&ended, "Completed", "none", "collected 1000 lines")?;
    ensure!(!ended.result.to_string().contains("hunter22"), "the signature is in the result: {:#}", ended.result);
    ensure!(ended.lines.is_empty(), "lines are on stdout too");
    let seen = n.world.text(&format!("{}/receiver/log", n.world.path("v1", "pods"))).await?;
    let size = ended.result["details"]["uploadedBytes"].as_u64().context("no uploadedBytes")?;
    let expected =
        format!("PUT /logs.tar.gz?X-Signature=hunter22 length={size} read={size} chunked=false error=<nil> magic=1f8b");
    ensure!(seen.contains(&expected) && seen.lines().count() == 1, "expected {expected}, the server saw {seen}");
    let redirected = send(&n, &format!("http://{address}/redirect"), &format!("http://{address}"), |_| ()).await?;
    expect(&redirected, "Refused", "none", "redirects are not followed")
}

async fn the_largest_bundle_fits_into_64_mebibytes(n: N) -> Result<()> {
    const MOST: u64 = 16 << 20;
    let address = receiver(&n).await?;
    n.workload("receiver", &["receive", "8080"]).await?;
    reachable(&n).await?;
    n.noisy(3).await?;
    let parameters =
        json!({ "destination": "url", "url": format!("http://{address}/x"), "maxBytes": MOST }).to_string();
    let variables = [("ACTION_PARAMETERS", parameters.as_str()), ("ACTION_UPLOAD_HOSTS", &format!("http://{address}"))];
    let job = n.job("collect-logs-deployment", "noisy", &variables)?;
    let name = n.start("collect-logs-deployment", &job).await?;
    let pod = n.pod_of(&name).await?;
    let peak = n.peak_until_its_end(&pod).await?;
    let ended = n.ended(&pod).await?;
    expect(&ended, "Completed", "none", "older lines did not fit")?;
    let size = ended.result["details"]["uploadedBytes"].as_u64().unwrap_or(0);
    ensure!(size > MOST / 2, "the bundle compresses too well to show anything: {size} bytes");
    crate::limits::fits(&format!("a bundle of {size} bytes from {MOST} bytes of lines"), peak)
}

async fn over_tls_with_a_private_authority(n: N) -> Result<()> {
    let address = receiver(&n).await?;
    let (certificate, key) = test_cluster::node::certificate(&address)?;
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "tls" }, "stringData": { "tls.crt": certificate, "tls.key": key } });
    n.world.create(&n.world.path("v1", "secrets"), &secret).await?;
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "receiver", "labels": { "app": "receiver" } },
        "spec": crate::support::pod_spec(&["receive", "8080", "/tls/tls.crt", "/tls/tls.key"]),
    });
    pod["spec"]["volumes"] = json!([{ "name": "tls", "secret": { "secretName": "tls" } }]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{ "name": "tls", "mountPath": "/tls" }]);
    n.world.create(&n.world.path("v1", "pods"), &pod).await?;
    reachable(&n).await?;
    let url = format!("https://{address}:80/logs.tar.gz");
    let stranger = send(&n, &url, &format!("{address}:80"), |_| ()).await?;
    expect(&stranger, "Refused", "none", "SSL_CERT_FILE")?;
    let trusting = send(&n, &url, &format!("{address}:80"), |job| {
        let pod = &mut job["spec"]["template"]["spec"];
        pod["volumes"] = json!([{ "name": "tls", "secret": { "secretName": "tls", "items": [{ "key": "tls.crt", "path": "ca.crt" }] } }]);
        pod["containers"][0]["volumeMounts"] = json!([{ "name": "tls", "mountPath": "/trust" }]);
        if let Some(env) = pod["containers"][0]["env"].as_array_mut() {
            env.push(json!({ "name": "SSL_CERT_FILE", "value": "/trust/ca.crt" }));
        }
    })
    .await?;
    expect(&trusting, "Completed", "none", "collected 1000 lines")
}

async fn nothing_is_sent_elsewhere(n: N) -> Result<()> {
    n.workload("talker", &["write", "1", "0"]).await?;
    for (url, hosts, code, says) in [
        ("https://logs.example/x", "", "InvalidRequest", "no host may be sent to"),
        ("https://logs.example/x", "other.example", "InvalidRequest", "is not among the hosts"),
        ("http://169.254.169.254/x", "http://169.254.169.254", "Refused", "a cloud metadata service"),
        ("http://127.0.0.1:10250/x", "http://127.0.0.1:10250", "Refused", "the pod itself"),
    ] {
        let ended = send(&n, url, hosts, |_| ()).await?;
        expect(&ended, code, "none", says).with_context(|| url.to_owned())?;
    }
    Ok(())
}
