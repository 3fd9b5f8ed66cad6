//! What is stored is not what was asked for: an admission policy makes something else of it and says that all is well, or somebody
//! writes before the lost answer is looked for. A dry run says so beforehand; what was written is held to what was asked.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use test_cluster::fixtures::World;
use test_cluster::proxy::{Fault, Rule};

use crate::shown::{claims, image, restarted_at, told, told_by_the_server, touched_nothing};
use crate::support::{T, expect, scenarios};

scenarios!("rewritten": a_restart_that_is_dropped, a_scale_that_is_capped, a_template_that_is_pinned, rolled_out_before_anybody_looked);

/// A policy of the cluster that changes what is written.
struct Policy<'a> {
    /// To this resource of the namespace.
    resource: &'a str,
    /// Where this expression holds.
    when: &'a str,
    /// In this way.
    patch: &'a str,
}

/// Puts it in force, also or only for real requests.
async fn begin(world: &World, only_real: bool, policy: &Policy<'_>) -> Result<()> {
    let Policy { resource, when, patch } = policy;
    let (name, group) = (&world.namespace, "admissionregistration.k8s.io");
    let real = if only_real { "!has(request.dryRun) || !request.dryRun" } else { "true" };
    let (api, base) = (format!("/apis/{group}/v1"), resource.split('/').next().unwrap_or_default());
    let policy = json!({
        "apiVersion": format!("{group}/v1"), "kind": "MutatingAdmissionPolicy", "metadata": { "name": name },
        "spec": {
            "matchConstraints": {
                "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": name } },
                "resourceRules": [{
                    "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": [base, resource],
                }],
            },
            "matchConditions": [{ "name": "real", "expression": real }, { "name": "when", "expression": when }],
            "failurePolicy": "Fail", "reinvocationPolicy": "Never",
            "mutations": [{ "patchType": "JSONPatch", "jsonPatch": { "expression": format!("[{patch}]") } }],
        },
    });
    let binding = json!({
        "apiVersion": format!("{group}/v1"), "kind": "MutatingAdmissionPolicyBinding", "metadata": { "name": name },
        "spec": { "policyName": name },
    });
    world.create(&format!("{api}/mutatingadmissionpolicies"), &policy).await?;
    world.create(&format!("{api}/mutatingadmissionpolicybindings"), &binding).await.map(drop)
}

async fn end(world: &World) -> Result<()> {
    let (name, api) = (&world.namespace, "/apis/admissionregistration.k8s.io/v1");
    world.delete(&format!("{api}/mutatingadmissionpolicybindings/{name}")).await?;
    world.delete(&format!("{api}/mutatingadmissionpolicies/{name}")).await
}

/// Waits until the API server knows of it, or not any more: an ordinary write shows that.
async fn until(works: &mut impl AsyncFnMut() -> Result<bool>, wanted: bool) -> Result<()> {
    let limit = Instant::now() + Duration::from_mins(1);
    while works().await? != wanted {
        ensure!(Instant::now() < limit, "the policy should work: {wanted}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Runs an action where the policy shows itself in the dry run, and where it does so only in the real write.
async fn twice(
    t: &T,
    (action, parameters): (&str, &Value),
    policy: &Policy<'_>,
    mut works: impl AsyncFnMut() -> Result<bool>,
    says: &str,
) -> Result<()> {
    let path = t.world.workload_path("Deployment", "web");
    for only_real in [false, true] {
        let before = t.world.get(&path).await?;
        begin(&t.world, only_real, policy).await?;
        until(&mut works, true).await?;
        for dry_run in [true, false] {
            let run = t.run(action, "web").await?.parameters(parameters).with("ACTION_DRY_RUN", dry_run);
            let outcome = told(t, &run).await?;
            match (only_real, dry_run) {
                (false, _) => {
                    touched_nothing(&outcome)?;
                    expect(&outcome, "Refused", "none", "would make something else of it")?;
                    expect(&outcome, "Refused", "none", says)?;
                    ensure!(t.world.get(&path).await?["spec"] == before["spec"], "it was changed");
                }
                // Nobody can know it beforehand.
                (true, true) => expect(&outcome, "DryRun", "none", "would")?,
                (true, false) => {
                    claims(&outcome, false, "the policy has made something else of it")?;
                    expect(&outcome, "NotVerified", "applied", says)?;
                }
            }
            outcome.verdict.check(false)?;
        }
        end(&t.world).await?;
        until(&mut works, false).await?;
    }
    Ok(())
}

/// A tool that owns the template's annotations: no pod is replaced.
async fn a_restart_that_is_dropped(t: T) -> Result<()> {
    const AT: &str = "kubectl.kubernetes.io/restartedAt";
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    let probe = t.world.create_workload("Deployment", "probe", 0, json!({})).await?;
    let has = format!(
        "has(object.spec.template.metadata.annotations) && '{AT}' in object.spec.template.metadata.annotations"
    );
    let drop = format!(
        r#"JSONPatch{{op: "remove", path: "/spec/template/metadata/annotations/" + jsonpatch.escapeKey("{AT}")}}"#
    );
    let works = async || {
        let patch = json!({ "spec": { "template": { "metadata": { "annotations": { AT: "now" } } } } });
        let is_dropped = restarted_at(&t.world.merge(&probe, &patch).await?).is_none();
        let back = json!({ "spec": { "template": { "metadata": { "annotations": { AT: null } } } } });
        t.world.merge(&probe, &back).await?;
        Ok(is_dropped)
    };
    let policy = Policy { resource: "deployments", when: &has, patch: &drop };
    twice(&t, ("restart-deployment", &json!({})), &policy, works, "restartedAt is not there").await?;
    ensure!(restarted_at(&t.object("Deployment", "web").await?).is_none(), "it was restarted: this shows nothing");
    Ok(())
}

async fn a_scale_that_is_capped(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    let probe = t.world.create_workload("Deployment", "probe", 0, json!({})).await?;
    let cap = r#"JSONPatch{op: "replace", path: "/spec/replicas", value: 3}"#;
    let works = async || {
        let scale = json!({ "spec": { "replicas": 5 } });
        let is_capped = t.world.merge(&format!("{probe}/scale"), &scale).await?["spec"]["replicas"] == 3;
        t.world.merge(&format!("{probe}/scale"), &json!({ "spec": { "replicas": 0 } })).await?;
        Ok(is_capped)
    };
    let when = "has(object.spec.replicas) && object.spec.replicas > 3";
    let policy = Policy { resource: "deployments/scale", when, patch: cap };
    // Not even where nobody waits for it.
    let parameters = json!({ "replicas": 5, "wait": false });
    twice(&t, ("scale-deployment", &parameters), &policy, works, "/spec/replicas is 3, not 5").await?;
    ensure!(t.object("Deployment", "web").await?["spec"]["replicas"] == 3);
    Ok(())
}

/// The present image is pinned: put back, it is nevertheless what runs.
async fn a_template_that_is_pinned(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    let probe = t.world.create_workload("Deployment", "probe", 0, json!({})).await?;
    for path in [&t.world.workload_path("Deployment", "web"), &probe] {
        t.world.merge(path, &image(2)).await?;
        let observed = |object: &Value| object["status"]["observedGeneration"] == object["metadata"]["generation"];
        t.world.until(path, "its second revision", observed).await?;
    }
    let present = t.object("Deployment", "web").await?["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    let pinned = present.as_str().unwrap_or_default().to_owned();
    let at = "/spec/template/spec/containers/0/image";
    let pin = format!(r#"JSONPatch{{op: "replace", path: "{at}", value: "{pinned}"}}"#);
    let when = format!("object.spec.template.spec.containers[0].image != '{pinned}'");
    let works = async || {
        let is_pinned = t.world.merge(&probe, &image(7)).await?.pointer(at) == Some(&present);
        t.world.merge(&probe, &image(2)).await?;
        Ok(is_pinned)
    };
    let policy = Policy { resource: "deployments", when: &when, patch: &pin };
    twice(&t, ("rollback-deployment", &json!({})), &policy, works, &format!("{at} is \"{pinned}\"")).await?;
    ensure!(t.object("Deployment", "web").await?.pointer(at) == Some(&present), "it was put back: this shows nothing");
    Ok(())
}

/// The answer is lost, the mark shows that the write was ours, and somebody has rolled out the newer template again since.
async fn rolled_out_before_anybody_looked(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    let path = t.world.workload_path("Deployment", "web");
    t.world.merge(&path, &image(2)).await?;
    let observed = |object: &Value| object["status"]["observedGeneration"] == object["metadata"]["generation"];
    let before = t.world.until(&path, "its second revision", observed).await?;
    let rule = Rule { fault: Fault::Stall, method: "PATCH", contains: "/deployments/", lacks: "dryRun", times: 1 };
    let (_proxy, kubeconfig) = t.through_proxy("rollback-deployment", rule).await?;
    let run = t.run("rollback-deployment", "web").await?.with("KUBECONFIG", kubeconfig.display()).told().unjudged();
    let running = run.start(&t.world)?;
    let template = |object: &Value| object["spec"]["template"].clone();
    t.world.until(&path, "put back", |object| template(object) != template(&before)).await?;
    t.world.merge(&path, &image(2)).await?;
    let outcome = running.complete(&t.world).await?;
    let now = t.world.get(&path).await?;
    ensure!(template(&now) == template(&before), "{now:#}");
    claims(&outcome, false, "the newer template runs")?;
    expect(&outcome, "NotVerified", "applied", "somebody else has changed it")?;
    // With nobody between, it is what it says.
    let again = told_by_the_server(&t, &t.run("rollback-deployment", "web").await?).await?;
    expect(&again, "Changed", "applied", "back to revision")
}
