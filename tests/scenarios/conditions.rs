//! Policies and conditions: what they stop, what they let pass, and what is said when they cannot be evaluated.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use test_cluster::runner::{Outcome, Run};

use crate::ready_conditions::{all_passed, by_name};
use crate::support::{T, expect, mode, scenarios};

scenarios!("conditions":
    a_policy_denies, a_policy_in_a_variable, a_policy_that_cannot_be_evaluated_lets_nothing_pass, own_rego, what_cannot_be_evaluated, every_phase_in_order,
    nothing_to_do_asks_nobody, a_missing_permission_is_named_before, a_pull_secret_by_its_name, woken_by_changes, the_rollback_information_restores,
    what_is_not_required_stops_nothing, a_misfit_is_told_before, a_resumed_run_hands_over_the_way_back, a_pod_that_was_gone_before,
    nothing_is_judged_before_the_controller_acted, sigterm_tells_the_results_so_far, evaluated_by_hand, of_a_pod_that_is_gone, the_example,
);

/// What `policy eval` prints for a target, and its exit code. The conditions are taken as preconditions.
pub async fn evaluate(t: &T, action: &str, name: &str, conditions: &Value) -> Result<(Value, i32)> {
    let account = t.account(action).await?;
    let output = std::process::Command::new(&t.binary)
        .args(["policy", "eval"])
        .env_clear()
        .env("KUBECONFIG", account)
        .env("ACTION_TYPE", action)
        .env("TARGET_NAME", name)
        .env("TARGET_NAMESPACE", &t.world.namespace)
        .env("ACTION_PRECONDITIONS", conditions.to_string())
        .env("ACTION_PARAMETERS", if action.starts_with("scale") { r#"{"replicas":3}"# } else { "{}" })
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok((serde_json::from_str(&text).with_context(|| text.clone())?, output.status.code().context("killed")?))
}

/// A folder of policies.
fn policies(t: &T, name: &str, files: &[(&str, &str)]) -> Result<PathBuf> {
    let folder = t.world.folder().join(name);
    std::fs::create_dir_all(&folder)?;
    for (file, text) in files {
        std::fs::write(folder.join(file), text)?;
    }
    Ok(folder)
}

async fn scale(t: &T, replicas: u32) -> Result<Run> {
    Ok(t.run("scale-deployment", "web").await?.parameters(&json!({ "replicas": replicas })))
}

fn phases(outcome: &Outcome) -> Vec<String> {
    let phases = outcome.result["phases"].as_array().into_iter().flatten();
    phases.filter_map(|phase| Some(phase["name"].as_str()?.to_owned())).collect()
}

fn untouched(outcome: &Outcome) -> Result<()> {
    let changed = outcome.seen.iter().any(test_cluster::audit::Entry::changes_something);
    ensure!(!changed, "{:?}", outcome.seen);
    Ok(())
}

async fn a_policy_denies(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).hour();
    let doubling = "package action.policy\ndeny contains \"more than twice as many\" if input.parameters.replicas > 2 * input.target.spec.replicas\n";
    let hour =
        |hour: i8| format!("package action.policy\ndeny contains \"not at this hour\" if input.now.hour == {hour}\n");
    let folder = policies(
        &t,
        "calm",
        &[
            ("doubling.rego", doubling),
            ("hour.rego", &hour((now + 12) % 24)),
            ("hour_test.rego", "no Rego at all"),
            ("README.md", ""),
        ],
    )?;
    let run = async |replicas| anyhow::Ok(scale(&t, replicas).await?.with("ACTION_POLICY_DIR", folder.display()));
    let denied = t.complete(&run(5).await?).await?;
    expect(&denied, "Refused", "none", "the policy denies it: more than twice as many; nothing was changed")?;
    ensure!(denied.result["failedPhase"] == "policy", "{:#}", denied.result);
    untouched(&denied)?;
    expect(&t.complete(&run(4).await?).await?, "Changed", "applied", "from 2 to 4")?;
    // The same files, at another hour. It may strike between here and there: then both are told.
    std::fs::write(folder.join("hour.rego"), hour(now) + &hour((now + 1) % 24).replace("package action.policy\n", ""))?;
    expect(&t.complete(&run(5).await?).await?, "Refused", "none", "the policy denies it: not at this hour; nothing")
}

/// A name, the files of a policy, and what must be said of it.
type Policy<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

const UNUSABLE: [Policy<'_>; 12] = [
    ("empty", &[], "holds no .rego file"),
    (
        "syntax",
        &[("night.rego", "package action.policy\ndeny contains \"x\" if {\n  input.now.hour >\n}\n")],
        "night.rego:4:1: expecting expression",
    ),
    (
        "failing",
        &[("night.rego", "package action.policy\ndeny contains \"x\" if to_number(input.target.kind) > 1")],
        "night.rego:2:",
    ),
    (
        "unknown",
        &[("night.rego", "package action.policy\ndeny contains \"x\" if nothing(1)")],
        "could not find function nothing",
    ),
    (
        "harmless",
        &[("night.rego", "package action.policies\ndeny contains \"x\" if false")],
        "it could not deny anything",
    ),
    (
        "reading",
        &[("night.rego", "package action.policy\ndeny contains \"x\" if input.related.pods[_].ready")],
        "use a precondition",
    ),
    (
        "alias",
        &[("night.rego", "package action.policy\nimport input.related.pods as p\ndeny contains \"x\" if p[0].ready")],
        "use a precondition",
    ),
    (
        "stray",
        &[
            ("a.rego", "package action.policy\ndeny contains \"x\" if false"),
            ("b.rego", "package action.policies\ndeny contains \"y\" if true"),
        ],
        "b.rego has a rule `deny` in data.action.policies, where nobody asks for it",
    ),
    (
        "negation",
        &[("night.rego", "package action.policy\ndeny contains \"x\" if not input.target.spec.x[_].y == 1")],
        "write `every`",
    ),
    ("boolean", &[("night.rego", "package action.policy\ndeny := true")], "deny is no set of messages but a boolean"),
    (
        "deep",
        &[("night.rego", "package action.policy\nf(x) := f(x + 1)\ndeny contains \"x\" if f(1)")],
        "it recurses too deeply",
    ),
    (
        "large",
        &[("night.rego", "package action.policy\ndeny contains \"x\" if count(numbers.range(1, 200000000)) > 1")],
        "it needs more than 40 MiB of memory",
    ),
];

async fn a_policy_that_cannot_be_evaluated_lets_nothing_pass(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    for (name, files, says) in UNUSABLE {
        let folder = policies(&t, name, files)?;
        let outcome = t.complete(&scale(&t, 3).await?.with("ACTION_POLICY_DIR", folder.display())).await?;
        expect(&outcome, "Refused", "none", says).context(name)?;
        untouched(&outcome)?;
    }
    let nothing = t.complete(&scale(&t, 3).await?.with("ACTION_POLICY_DIR", "")).await?;
    expect(&nothing, "Refused", "none", "ACTION_POLICY_DIR: it is set, and empty")?;
    let empty = t.world.folder().join("empty.json");
    std::fs::write(&empty, "")?;
    let nothing = t.complete(&scale(&t, 3).await?.with("ACTION_PRECONDITIONS_FILE", empty.display())).await?;
    expect(&nothing, "InvalidRequest", "none", "ACTION_PRECONDITIONS_FILE: the file is empty")?;
    let absent = t.complete(&scale(&t, 3).await?.with("ACTION_POLICY_DIR", "/no/such/folder")).await?;
    expect(&absent, "Refused", "none", "ACTION_POLICY_DIR: failed to read the folder that it names")
}

/// The same without a folder: in a variable, which no object in the Job's namespace can change. Both judge, if both are set.
async fn a_policy_in_a_variable(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    let most = |number: u8| {
        format!("package action.policy\ndeny contains \"more than {number}\" if input.parameters.replicas > {number}\n")
    };
    let inline = json!({ "most.rego": most(4) }).to_string();
    let run = async |replicas| anyhow::Ok(scale(&t, replicas).await?.with("ACTION_POLICIES", &inline));
    let denied = t.complete(&run(5).await?).await?;
    expect(&denied, "Refused", "none", "the policy denies it: more than 4; nothing was changed")?;
    untouched(&denied)?;
    expect(&t.complete(&run(4).await?).await?, "Changed", "applied", "from 2 to 4")?;
    let folder = policies(&t, "lower", &[("lower.rego", &most(2))])?;
    let both = t.complete(&run(3).await?.with("ACTION_POLICY_DIR", folder.display())).await?;
    expect(&both, "Refused", "none", "the policy denies it: more than 2; nothing was changed")?;
    for (text, says) in [
        ("", "ACTION_POLICIES: expected a JSON object"),
        ("{}", "ACTION_POLICIES: it is set, and holds no file"),
        (
            r#"{"a.rego":"package action.policies\ndeny contains \"x\" if false"}"#,
            "ACTION_POLICIES: no file in it has `package action.policy`",
        ),
        (r#"{"a.rego":"package action.policy\ndeny contains if {"}"#, "ACTION_POLICIES: a.rego:2:"),
    ] {
        let outcome = t.complete(&scale(&t, 3).await?.with("ACTION_POLICIES", text)).await?;
        expect(&outcome, "Refused", "none", says)?;
        untouched(&outcome)?;
    }
    Ok(())
}

async fn own_rego(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    let rego = "package mine\nimport rego.v1\ndefault allow := false\nallow if {\n  input.action.type == \"scale-deployment\"\n  input.target.spec.replicas < input.parameters.replicas\n}\nreasons contains sprintf(\"%d is not more than %d\", [input.parameters.replicas, input.target.spec.replicas]) if not allow\n";
    let condition = |required: bool| json!([{ "type": "only_up", "description": "scale up only", "rego": rego, "required": required }]);
    let up = t.complete(&scale(&t, 3).await?.with("ACTION_PRECONDITIONS", condition(true))).await?;
    expect(&up, "Changed", "applied", "from 2 to 3")?;
    all_passed(&up, "preConditionResults", 1)?;
    let down = t.complete(&scale(&t, 1).await?.with("ACTION_PRECONDITIONS", condition(true))).await?;
    expect(&down, "Refused", "none", "precondition only_up does not hold: 1 is not more than 3; nothing was changed")?;
    untouched(&down)?;
    let warned = t.complete(&scale(&t, 1).await?.with("ACTION_PRECONDITIONS", condition(false))).await?;
    expect(&warned, "Changed", "applied", "from 3 to 1")?;
    ensure!(
        warned.result["warnings"] == json!(["precondition only_up does not hold: 1 is not more than 3 (not required)"]),
        "{:#}",
        warned.result
    );
    ensure!(warned.result["preConditionResults"][0]["passed"] == false, "{:#}", warned.result);
    // From a file, as a mounted ConfigMap.
    let file = t.world.folder().join("conditions.json");
    let mut soon = condition(true);
    soon[0]["timeout"] = json!("2s");
    std::fs::write(&file, soon.to_string())?;
    let outcome = t.complete(&scale(&t, 1).await?.with("ACTION_POSTCONDITIONS_FILE", file.display())).await?;
    expect(&outcome, "NotVerified", "none", "postcondition only_up does not hold: 1 is not more than 1")
}

async fn what_cannot_be_evaluated(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    let condition = |rego: &str| json!([{ "type": "mine", "rego": rego }]);
    for (conditions, code, says) in [
        (condition("package mine\nallow if {"), "InvalidRequest", "ACTION_PRECONDITIONS: [0] (mine): mine.rego:2:"),
        (condition("package mine\nallowed if true"), "InvalidRequest", "data.mine has no rule `allow`"),
        (
            condition("package mine\nallow if input.related.podz"),
            "InvalidRequest",
            "has no \"podz\", did you mean pods?",
        ),
        (
            condition("package mine\nallow if count(input.related) > 0"),
            "InvalidRequest",
            "line 2 reads all of input or of input.related",
        ),
        (by_name(&["no_crashloop_pod"]), "InvalidRequest", "did you mean no_crashloop_pods?"),
        (
            condition("package mine\nallow if 1 / (input.target.spec.replicas - 2) > 0"),
            "Refused",
            "precondition mine could not be evaluated: mine.rego:2:",
        ),
        (condition("package mine\nallow := \"yes\""), "Refused", "allow is a string, expected true or false"),
        (
            condition(
                "package mine\nallow if regex.match(\"(a+)+$\", concat(\"\", [s | some _ in numbers.range(1, 5000); s := \"a\"]))",
            ),
            "DryRun",
            "",
        ),
        (
            condition(
                "package mine\nallow if count([1 | some a in numbers.range(1, 9000); some b in numbers.range(1, 9000); a * b == 7]) == 2",
            ),
            "Refused",
            "it took ",
        ),
    ] {
        let run = scale(&t, 3).await?.with("ACTION_PRECONDITIONS", &conditions).with("ACTION_DRY_RUN", true);
        let outcome = t.complete(&run).await?;
        expect(&outcome, code, "none", says).with_context(|| conditions.to_string())?;
    }
    let fields = json!([{ "type": "x", "rego": "package a\nallow := true", "timeouts": "1s" }, { "type": "a b" }]);
    let outcome = t.complete(&scale(&t, 3).await?.with("ACTION_POSTCONDITIONS", fields)).await?;
    expect(&outcome, "InvalidRequest", "none", "[0]: unknown field \"timeouts\", did you mean timeout?")?;
    expect(&outcome, "InvalidRequest", "none", "[1].type: expected 1 to 63 letters")
}

async fn every_phase_in_order(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    let folder = policies(&t, "none", &[("p.rego", "package action.policy\ndeny contains \"x\" if false")])?;
    let always = json!([{ "type": "always", "rego": "package a\nallow := true" }]);
    let run = scale(&t, 3)
        .await?
        .with("ACTION_POLICY_DIR", folder.display())
        .with("ACTION_PRECONDITIONS", &always)
        .with("ACTION_POSTCONDITIONS", &always);
    let outcome = t.complete(&run).await?;
    expect(&outcome, "Changed", "applied", "")?;
    let expected = [
        "validate",
        "permissions",
        "find",
        "policy",
        "preconditions",
        "dry-run",
        "execute",
        "verify",
        "postconditions",
    ];
    ensure!(phases(&outcome) == expected, "{:?}", phases(&outcome));
    let dry =
        t.complete(&scale(&t, 4).await?.with("ACTION_DRY_RUN", true).with("ACTION_POSTCONDITIONS", &always)).await?;
    expect(&dry, "DryRun", "none", "")?;
    ensure!(dry.result.get("postConditionResults").is_none(), "nothing was done: {:#}", dry.result);
    Ok(())
}

/// Where nothing is to be changed, nobody is asked whether it may be; what must hold afterwards is looked at all the same.
async fn nothing_to_do_asks_nobody(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    let never = json!([{ "type": "never", "rego": "package a\nallow := false" }]);
    let outcome = t.complete(&scale(&t, 2).await?.with("ACTION_PRECONDITIONS", &never)).await?;
    expect(&outcome, "Unchanged", "none", "")?;
    let outcome = t
        .complete(&scale(&t, 2).await?.with(
            "ACTION_POSTCONDITIONS",
            json!([{ "type": "never", "rego": "package a\nallow := false", "timeout": "1s" }]),
        ))
        .await?;
    expect(&outcome, "NotVerified", "none", "postcondition never does not hold: allow is false")
}

async fn a_missing_permission_is_named_before(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    // The account of the action alone.
    for (condition, missing) in [
        ("cluster_capacity_available", "list nodes (core), list pods (core)"),
        ("quota_available", "list resourcequotas (core)"),
        ("resource_usage_acceptable", "list pods (metrics.k8s.io)"),
        ("image_pull_secrets_valid", ""),
    ] {
        let run = scale(&t, 3).await?.with("ACTION_PRECONDITIONS", by_name(&[condition])).with("ACTION_DRY_RUN", true);
        let outcome = t.complete(&run).await?;
        if missing.is_empty() {
            // The template names none: nothing is read.
            expect(&outcome, "DryRun", "none", "")?;
        } else {
            expect(&outcome, "Forbidden", "none", missing).context(condition)?;
            ensure!(outcome.result["failedPhase"] == "permissions", "{:#}", outcome.result);
        }
    }
    let run = scale(&t, 3).await?.with("ACTION_POSTCONDITIONS", by_name(&["no_autoscaler"]));
    expect(&t.complete(&run).await?, "Forbidden", "none", "watch horizontalpodautoscalers (autoscaling)")
}

/// `get secrets` may be narrowed to the very Secret: it is asked for when its name is known.
async fn a_pull_secret_by_its_name(t: T) -> Result<()> {
    let template = json!({ "spec": { "template": { "spec": { "imagePullSecrets": [{ "name": "registry" }] } } } });
    t.world.workload("Deployment", "web", 1, template).await?;
    let run = scale(&t, 3)
        .await?
        .with("ACTION_PRECONDITIONS", by_name(&["image_pull_secrets_valid"]))
        .with("ACTION_DRY_RUN", true);
    let outcome = t.complete(&run).await?;
    expect(&outcome, "Forbidden", "none", "get secrets (core)")?;
    let namespace = &t.world.namespace;
    let place = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}");
    let rule = json!({ "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["registry"], "verbs": ["get"] });
    t.world
        .create(&format!("{place}/roles"), &json!({ "metadata": { "name": "one-secret" }, "rules": [rule] }))
        .await?;
    let binding = json!({
        "metadata": { "name": "one-secret" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "one-secret" },
        "subjects": [{ "kind": "ServiceAccount", "name": "action-scale-deployment", "namespace": namespace }],
    });
    t.world.create(&format!("{place}/rolebindings"), &binding).await?;
    let limit = std::time::Instant::now() + Duration::from_secs(10);
    loop {
        let outcome = t.complete(&run).await?;
        // The authorizer has yet to learn of it.
        if outcome.result["code"] == "Forbidden" && std::time::Instant::now() < limit {
            continue;
        }
        return expect(&outcome, "Refused", "none", "there is no Secret registry");
    }
}

/// Pods that are ready after three seconds: told as soon as they are, by watch, with no request for each look.
async fn woken_by_changes(t: T) -> Result<()> {
    let slow = mode("slow");
    t.world.workload("Deployment", "web", 1, slow).await?;
    t.allow("scale-deployment", &by_name(&["desired_replicas_running", "no_crashloop_pods"])).await?;
    let run = t.run("scale-deployment", "web").await?.parameters(&json!({ "replicas": 3, "wait": false }));
    let conditions = json!([{ "type": "desired_replicas_running", "timeout": "30s" }, { "type": "no_crashloop_pods", "timeout": "30s" }]);
    let outcome = t.complete(&run.with("ACTION_POSTCONDITIONS", conditions)).await?;
    expect(&outcome, "Changed", "applied", "from 1 to 3; not waited for")?;
    all_passed(&outcome, "postConditionResults", 2)?;
    let phases = outcome.result["phases"].as_array().context("no phases")?;
    let took = phases.last().and_then(|phase| phase["durationMs"].as_u64()).unwrap_or(0);
    ensure!((1_000..15_000).contains(&took), "{:#}", outcome.result);
    let lists = outcome.seen.iter().filter(|entry| entry.verb == "list" && entry.resource == "pods").count();
    ensure!(lists == 1, "pods were listed {lists} times");
    Ok(())
}

/// What a failed postcondition hands over, sent as the next run, puts the cluster back.
async fn the_rollback_information_restores(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    let few = json!([{ "type": "few", "rego": "package a\nallow if input.target.spec.replicas < 4\nreasons contains \"that is too many\" if not allow", "timeout": "1s" }]);
    let outcome = t.complete(&scale(&t, 5).await?.with("ACTION_POSTCONDITIONS", &few)).await?;
    expect(&outcome, "NotVerified", "applied", "postcondition few does not hold: that is too many")?;
    let undo = &outcome.result["rollbackInformation"];
    ensure!(undo["failureReason"] == "postcondition few does not hold: that is too many", "{:#}", outcome.result);
    ensure!(
        outcome.result["details"]["readyReplicas"] == 5 && outcome.result["retryable"] == false,
        "{:#}",
        outcome.result
    );
    let back = t.undo(&outcome, "web").await?;
    expect(&back, "Changed", "applied", "from 5 to 2; 2 of 2 replicas ready")?;
    ensure!(t.object("Deployment", "web").await?["spec"]["replicas"] == 2);
    Ok(())
}

/// Without a permission, about a target that has no such thing, or for another kind: told, and the run goes on.
async fn what_is_not_required_stops_nothing(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    let optional = |names: &[&str]| {
        names.iter().map(|name| json!({ "type": name, "required": false, "timeout": "1s" })).collect::<Value>()
    };
    let run = scale(&t, 3).await?.with("ACTION_PRECONDITIONS", optional(&["quota_available", "node_cordoned"]));
    let outcome = t
        .complete(&run.with("ACTION_POSTCONDITIONS", optional(&["disruption_allowed", "desired_replicas_running"])))
        .await?;
    expect(&outcome, "Changed", "applied", "from 2 to 3")?;
    let said = |field: &str, index: usize| {
        outcome.result[field][index]["errorMessage"].as_str().unwrap_or_default().to_owned()
    };
    ensure!(said("preConditionResults", 0).contains("list resourcequotas (core)"), "{:#}", outcome.result);
    ensure!(
        said("preConditionResults", 1).contains("node_cordoned is for Node, not for Deployment"),
        "{:#}",
        outcome.result
    );
    ensure!(said("postConditionResults", 0).contains("list poddisruptionbudgets (policy)"), "{:#}", outcome.result);
    ensure!(
        outcome.result["postConditionResults"][1]["passed"] == true,
        "the other one is judged: {:#}",
        outcome.result
    );
    ensure!(outcome.result["warnings"].as_array().is_some_and(|all| all.len() == 3), "{:#}", outcome.result);
    Ok(())
}

async fn a_misfit_is_told_before(t: T) -> Result<()> {
    t.world.workload("StatefulSet", "db", 2, json!({})).await?;
    let run = t.run("scale-statefulset", "db").await?.parameters(&json!({ "replicas": 3 }));
    let outcome = t.complete(&run.with("ACTION_POSTCONDITIONS", by_name(&["deployment_health_check"]))).await?;
    expect(&outcome, "InvalidRequest", "none", "deployment_health_check is for Deployment, not for StatefulSet")?;
    untouched(&outcome)?;
    // A pod that leads to its Deployment is one.
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    let rego = "package a\nallow if input.action.type == \"scale-deployment\"";
    let conditions = json!([{ "type": "deployment_exists" }, { "type": "mine", "rego": rego }]);
    let pods = t.world.pods("web").await?;
    let run = t
        .run("scale-pod", pods[0]["metadata"]["name"].as_str().context("no name")?)
        .await?
        .parameters(&json!({ "replicas": 2 }));
    let outcome = t.complete(&run.with("ACTION_PRECONDITIONS", conditions)).await?;
    expect(&outcome, "Changed", "applied", "from 1 to 2")?;
    all_passed(&outcome, "preConditionResults", 2)
}

async fn a_resumed_run_hands_over_the_way_back(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 1, json!({})).await?;
    t.meddle(
        "Deployment",
        "web",
        json!({ "spec": { "template": { "metadata": { "annotations": { "test/revision": "2" } } } } }),
    )
    .await?;
    t.world
        .until(&t.world.workload_path("Deployment", "web"), "at its second revision", |web| {
            web["status"]["observedGeneration"] == 2
                && web["status"]["updatedReplicas"] == 1
                && web["status"]["replicas"] == 1
        })
        .await?;
    let run = t.run("rollback-deployment", "web").await?.with("ACTION_ID", "once");
    expect(&t.complete(&run).await?, "Changed", "applied", "")?;
    let never = json!([{ "type": "never", "rego": "package a\nallow := false", "timeout": "1s" }]);
    let again = t.complete(&run.with("ACTION_POSTCONDITIONS", never)).await?;
    expect(&again, "NotVerified", "none", "postcondition never does not hold")?;
    ensure!(
        again.result["resumed"] == true && again.result["rollbackInformation"]["available"] == true,
        "{:#}",
        again.result
    );
    let back = t.undo(&again, "web").await?;
    expect(&back, "Changed", "applied", "")?;
    let template = t.object("Deployment", "web").await?["spec"]["template"].clone();
    ensure!(template["metadata"]["annotations"]["test/revision"] == "2", "{template:#}");
    Ok(())
}

/// Whose it was is not known any more: its conditions are not evaluated, in place of holding for no pods at all.
async fn a_pod_that_was_gone_before(t: T) -> Result<()> {
    t.allow("restart-pod", &by_name(&["no_crashloop_pods"])).await?;
    let run = t.run("restart-pod", "web-1").await?.with("TARGET_UID", "00000000-0000-0000-0000-000000000000");
    let run = run.parameters(&json!({ "wait": false }));
    expect(&t.complete(&run).await?, "Unchanged", "none", "was gone already")?;
    let outcome = t.complete(&run.with("ACTION_POSTCONDITIONS", by_name(&["no_crashloop_pods"]))).await?;
    expect(
        &outcome,
        "NotVerified",
        "none",
        "no_crashloop_pods could not be evaluated: input.related.pods is not there",
    )?;
    ensure!(outcome.result["postConditionResults"][0]["evaluated"] == false, "{:#}", outcome.result);
    Ok(())
}

/// Right after the change the old pods are still fine: that is no answer.
async fn nothing_is_judged_before_the_controller_acted(t: T) -> Result<()> {
    t.allow("rollback-deployment", &by_name(&["no_image_pull_errors"])).await?;
    let broken = mode("image-pull");
    t.world.create_workload("Deployment", "web", 2, broken).await?;
    let path = t.world.workload_path("Deployment", "web");
    t.world.until(&path, "observed", |web| web["status"]["observedGeneration"] == 1).await?;
    t.meddle(
        "Deployment",
        "web",
        json!({ "spec": { "template": { "metadata": { "labels": { "test/mode": null } } } } }),
    )
    .await?;
    t.world
        .until(&path, "well", |web| {
            web["status"]["observedGeneration"] == 2
                && web["status"]["availableReplicas"] == 2
                && web["status"]["replicas"] == 2
        })
        .await?;
    let run = t.run("rollback-deployment", "web").await?.parameters(&json!({ "wait": false }));
    let conditions = json!([{ "type": "no_image_pull_errors", "timeout": "4s" }]);
    let outcome = t.complete(&run.with("ACTION_POSTCONDITIONS", conditions)).await?;
    expect(&outcome, "NotVerified", "applied", "postcondition no_image_pull_errors ")
}

async fn sigterm_tells_the_results_so_far(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    let never = json!([{ "type": "never", "rego": "package a\nallow := false" }]);
    let run = scale(&t, 3).await?.with("ACTION_POSTCONDITIONS", never);
    let running = run.start(&t.world)?;
    t.world
        .until(&t.world.workload_path("Deployment", "web"), "scaled", |web| web["status"]["readyReplicas"] == 3)
        .await?;
    // Until it waits for the condition, which nothing in the cluster shows: the log does.
    let outcome = running.when("waiting for never does not hold", |run| run.signal(Signal::SIGTERM), &t.world).await?;
    expect(&outcome, "Interrupted", "applied", "interrupted by SIGTERM; waiting for never does not hold")?;
    ensure!(
        outcome.exit == 143 && outcome.result["postConditionResults"][0]["evaluated"] == true,
        "{:#}",
        outcome.result
    );
    Ok(())
}

async fn evaluated_by_hand(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    t.allow("scale-deployment", &by_name(&["no_crashloop_pods", "cluster_capacity_available"])).await?;
    let (shown, exit) =
        evaluate(&t, "scale-deployment", "web", &by_name(&["no_crashloop_pods", "cluster_capacity_available"])).await?;
    ensure!(exit == 0 && shown["preConditionResults"][1]["passed"] == true, "{shown:#}");
    let input = &shown["input"];
    ensure!(
        input["action"]["type"] == "scale-deployment" && input["action"]["namespace"] == json!(t.world.namespace),
        "{input:#}"
    );
    ensure!(input["parameters"]["replicas"] == 3 && input["target"]["spec"]["replicas"] == 2, "{input:#}");
    ensure!(input["related"]["pods"].as_array().is_some_and(|pods| pods.len() == 2), "{input:#}");
    ensure!(input["related"]["podRequests"]["cpu"] == 0.0 && input["related"].get("events").is_none(), "{input:#}");
    ensure!(!shown.to_string().contains("hello"), "a variable's value is shown: {shown:#}");
    // What is shown is what the schema says.
    let schema: Value = serde_json::from_str(include_str!("../../docs/schema/condition-input.json"))?;
    let validator = jsonschema::validator_for(&schema).map_err(|error| anyhow::anyhow!("{error}"))?;
    let errors: Vec<String> =
        validator.iter_errors(input).map(|error| format!("{error} at {}", error.instance_path())).collect();
    ensure!(errors.is_empty(), "{errors:?}");
    let (shown, exit) =
        evaluate(&t, "scale-deployment", "web", &json!([{ "type": "never", "rego": "package a\nallow := false" }]))
            .await?;
    ensure!(exit == 3 && shown["preConditionResults"][0]["passed"] == false, "{shown:#}");
    let (shown, exit) = evaluate(&t, "scale-deployment", "absent", &json!([])).await?;
    ensure!(exit == 4 && shown["code"] == "TargetNotFound", "{shown:#}");
    ensure!(t.object("Deployment", "web").await?["spec"]["replicas"] == 2);
    Ok(())
}

/// After an eviction the pod is gone; what replaced it is there.
async fn of_a_pod_that_is_gone(t: T) -> Result<()> {
    let rego = "package mine\nallow if {\n  input.target == null\n  count(input.related.pods) >= 2\n  every pod in input.related.pods { pod.ready }\n}\n";
    let conditions = json!([{ "type": "replaced", "rego": rego, "timeout": "20s" }]);
    t.allow("restart-pod", &conditions).await?;
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    let pods = t.world.pods("web").await?;
    let pod = pods[0]["metadata"]["name"].as_str().context("no name")?.to_owned();
    let outcome = t.complete(&t.run("restart-pod", &pod).await?.with("ACTION_POSTCONDITIONS", conditions)).await?;
    expect(&outcome, "Changed", "applied", "its replacement")?;
    all_passed(&outcome, "postConditionResults", 1)
}

/// The policy of the documentation, as it stands there.
async fn the_example(t: T) -> Result<()> {
    t.world.workload("Deployment", "web", 2, json!({})).await?;
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples/policies");
    let run = scale(&t, 5).await?.with("ACTION_POLICY_DIR", folder.display());
    expect(&t.complete(&run).await?, "Refused", "none", "from 2 to 5 replicas is more than twice as many")?;
    let system = Run::new(&t.binary, &t.world.connection.kubeconfig, "collect-logs", "x")
        .with("TARGET_NAMESPACE", "kube-system")
        .with("ACTION_POLICY_DIR", folder.display());
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "x" }, "spec": { "containers": [{ "name": "app", "image": "x" }] } });
    t.world.create("/api/v1/namespaces/kube-system/pods", &pod).await?;
    let outcome = t.complete(&system.with("TARGET_KIND", "pod")).await?;
    t.world.delete("/api/v1/namespaces/kube-system/pods/x").await?;
    expect(&outcome, "Refused", "none", "kube-system is not touched by machines")
}
