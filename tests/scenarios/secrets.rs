//! Values that may be secret are planted in every field of an object that can hold one, and looked for in everything that a
//! run leaves: stdout, stderr, Events, marks. The termination message is the result again, shorter.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::runner::{Outcome, Run};

use crate::support::{T, expect, scenarios};

scenarios!("secrets":
    of_runs_that_change_something, of_conditions_that_print_the_target, of_a_denial_that_quotes_the_object, of_addresses,
);

/// In each planted value but the shortest, and nowhere else.
const PLANTED: &str = "canary";

/// The shortest one that is looked for.
fn pin(revision: u32) -> String {
    format!("Q{revision}9Z")
}

/// A template with a planted value in each place.
fn template(revision: u32) -> Value {
    let planted = |place: &str| format!("{PLANTED}-{place}-{revision}");
    let headers = json!([{ "name": "Authorization", "value": planted("header") }]);
    let container = json!({
        "name": "app", "image": format!("shop/web:{revision}"),
        "command": ["/bin/app", planted("command")], "args": [format!("--token={}", planted("argument"))],
        "env": [{ "name": "PASSWORD", "value": planted("env") }, { "name": "PIN", "value": pin(revision) }],
        "livenessProbe": { "httpGet": { "path": format!("/{}", planted("path")), "port": 8080, "httpHeaders": headers } },
        "readinessProbe": { "exec": { "command": ["test", planted("probe")] } },
        "lifecycle": { "preStop": { "httpGet": { "path": format!("/{}", planted("hook")), "port": 8080, "httpHeaders": headers } } },
        "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
    });
    let volumes = json!([{ "name": "v", "csi": { "driver": "none.example", "volumeAttributes": { "password": planted("csi") } } }]);
    json!({
        "metadata": { "annotations": { "vault.example/role": planted("annotation") } },
        "spec": { "containers": [container], "volumes": volumes },
    })
}

/// A Deployment whose second revision is the present one.
async fn planted(t: &T) -> Result<()> {
    let annotations = |revision: u32| json!({ "kubectl.kubernetes.io/last-applied-configuration": json!({ "spec": { "template": template(revision) } }).to_string() });
    let extra = json!({ "metadata": { "annotations": annotations(1) }, "spec": { "template": template(1) } });
    t.world.workload("Deployment", "web", 1, extra).await?;
    let next = json!({ "metadata": { "annotations": annotations(2) }, "spec": { "template": template(2) } });
    t.meddle("Deployment", "web", next).await?;
    let path = t.world.workload_path("Deployment", "web");
    let settled = |web: &Value| {
        let status = &web["status"];
        status["observedGeneration"] == web["metadata"]["generation"]
            && (&status["updatedReplicas"], &status["replicas"], &status["availableReplicas"])
                == (&json!(1), &json!(1), &json!(1))
    };
    t.world.until(&path, "rolled out", settled).await.map(|_| ())
}

/// A run that no admission policy holds back: what it writes is not what this is about.
fn run(t: &T, action: &str) -> Run {
    Run::new(&t.binary, &t.world.connection.kubeconfig, action, "web")
        .with("TARGET_NAMESPACE", &t.world.namespace)
        .with("ACTION_EVENTS", true)
}

/// Fails if a planted value is in what the run wrote.
fn says_nothing(outcome: &Outcome) -> Result<()> {
    let lines: Vec<String> = outcome.lines.iter().map(Value::to_string).collect();
    for (place, text) in [("stdout", &outcome.text), ("the lines", &lines.join("\n")), ("stderr", &outcome.stderr)] {
        for secret in [PLANTED, &pin(1), &pin(2)] {
            ensure!(!text.contains(secret), "{secret} is in {place}:\n{text}");
        }
    }
    Ok(())
}

/// Fails if a planted value is in an Event of the runner's, or in its marks; returns how many Events there are.
async fn left_nothing(t: &T) -> Result<usize> {
    let events = t.world.get(&t.world.path("events.k8s.io/v1", "events")).await?;
    let ours = |event: &&Value| event["reportingController"].as_str().is_some_and(|by| by.contains("action-runner"));
    let events: Vec<&Value> = events["items"].as_array().into_iter().flatten().filter(ours).collect();
    let web = t.object("Deployment", "web").await?;
    let own = |(key, _): &(&String, &Value)| key.contains("kubernetesexecution") || key.contains("change-cause");
    let marks: Vec<_> = web["metadata"]["annotations"].as_object().into_iter().flatten().filter(own).collect();
    let left = json!({ "events": events, "marks": marks }).to_string();
    for secret in [PLANTED, &pin(1), &pin(2)] {
        ensure!(!left.contains(secret), "{secret} is in {left}");
    }
    Ok(events.len())
}

async fn of_runs_that_change_something(t: T) -> Result<()> {
    planted(&t).await?;
    let back = run(&t, "rollback-deployment").with("ACTION_ID", "exec-1").with("ACTION_REASON", "worse");
    let dry = t.complete(&back.clone().with("ACTION_DRY_RUN", true)).await?;
    expect(&dry, "DryRun", "none", "back to revision 1")?;
    let done = t.complete(&back).await?;
    expect(&done, "Changed", "applied", "back to revision 1")?;
    for outcome in [&dry, &done] {
        says_nothing(outcome)?;
        // What was hidden is there, and what may be shown is shown: else nothing was looked at.
        let patch = outcome.result["changes"][0]["patch"].to_string();
        ensure!(patch.contains("[hidden]") && patch.contains("shop/web:1") && !patch.contains("hash"), "{patch}");
    }
    let restart = run(&t, "restart-deployment").with("ACTION_ID", "exec-2");
    for code in ["Changed", "Unchanged"] {
        let outcome = t.complete(&restart).await?;
        ensure!(outcome.result["code"] == code, "{:#}", outcome.result);
        says_nothing(&outcome)?;
    }
    ensure!(left_nothing(&t).await? >= 3, "too few Events were posted");
    Ok(())
}

async fn of_conditions_that_print_the_target(t: T) -> Result<()> {
    planted(&t).await?;
    let template = "input.target.spec.template";
    let container = format!("{template}.spec.containers[0]");
    let printed = [
        format!("{container}.env"),
        format!("{container}.env[1].value"),
        format!("[{container}.args, {container}.command]"),
        format!("{container}.livenessProbe"),
        format!("{container}.readinessProbe"),
        format!("{container}.lifecycle"),
        format!("{template}.metadata.annotations"),
        format!("{template}.spec.volumes"),
        "input.target.metadata.annotations".to_owned(),
        "input.target".to_owned(),
    ];
    let module = |value: &String| {
        format!(
            "package printed\nallow := false\nreasons contains {value}\nreasons contains json.marshal({value})\n\
             reasons contains sprintf(\"it is %vand more\", [{value}])"
        )
    };
    let condition = |(index, value): (usize, &String)| json!({ "type": format!("printed_{index}"), "rego": module(value), "timeout": "2s" });
    let conditions: Value = printed.iter().enumerate().map(condition).collect();
    let refused = t.complete(&run(&t, "restart-deployment").with("ACTION_PRECONDITIONS", &conditions)).await?;
    expect(&refused, "Refused", "none", "[hidden]")?;
    let failed = t.complete(&run(&t, "restart-deployment").with("ACTION_POSTCONDITIONS", &conditions)).await?;
    expect(&failed, "NotVerified", "applied", "[hidden]")?;
    let conversion = format!("package number\nallow if to_number({container}.env[0].value) > 1");
    let conversion = json!([{ "type": "number", "rego": conversion }]);
    let unevaluated = t.complete(&run(&t, "restart-deployment").with("ACTION_PRECONDITIONS", conversion)).await?;
    expect(&unevaluated, "Refused", "none", "could not be evaluated")?;
    let denies: Vec<String> = printed.iter().map(|value| format!("deny contains json.marshal({value})")).collect();
    let policy = json!({ "p.rego": format!("package action.policy\n{}", denies.join("\n")) });
    let denied = t.complete(&run(&t, "restart-deployment").with("ACTION_POLICIES", policy)).await?;
    expect(&denied, "Refused", "none", "the policy denies it")?;
    for outcome in [&refused, &failed, &unevaluated, &denied] {
        says_nothing(outcome)?;
    }
    left_nothing(&t).await.map(|_| ())
}

/// The API server, or a webhook, quotes what it does not like.
async fn of_a_denial_that_quotes_the_object(t: T) -> Result<()> {
    planted(&t).await?;
    let name = format!("quotes.{}", t.world.namespace);
    let policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
    let bindings = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";
    let container = "object.spec.template.spec.containers[0]";
    let quoted = format!(
        "'what: ' + {container}.env[0].value + ' pin ' + {container}.env[1].value + ', ' + {container}.args[0] + ', ' + \
         object.spec.template.metadata.annotations['vault.example/role']"
    );
    let rules = json!([{ "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments"] }]);
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": { "name": name },
        "spec": { "matchConstraints": { "resourceRules": rules }, "validations": [{ "expression": "false", "messageExpression": quoted }] },
    });
    let here = json!({ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": t.world.namespace } } });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": { "name": name },
        "spec": { "policyName": name, "validationActions": ["Deny"], "matchResources": here },
    });
    t.world.create(policies, &policy).await?;
    t.world.create(bindings, &binding).await?;
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let touch = json!({ "metadata": { "labels": { "touched": "yes" } } });
    let path = format!("{}?dryRun=All", t.world.workload_path("Deployment", "web"));
    // The API server's own words hold the values: so there is something to hide.
    let words = loop {
        match t.world.merge(&path, &touch).await {
            Err(error) => break format!("{error:#}"),
            Ok(_) => ensure!(std::time::Instant::now() < limit, "the policy does not come into force"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    ensure!(words.contains("canary-env-2") && words.contains(&pin(2)), "{words}");
    let mut outcomes = Vec::new();
    for action in ["restart-deployment", "rollback-deployment"] {
        outcomes.push(t.complete(&run(&t, action)).await?);
    }
    for outcome in &outcomes {
        expect(outcome, "Refused", "none", "what: [hidden] pin [hidden]")?;
        says_nothing(outcome)?;
    }
    t.world.delete(&format!("{bindings}/{name}")).await?;
    t.world.delete(&format!("{policies}/{name}")).await?;
    left_nothing(&t).await.map(|_| ())
}

/// A presigned address is a credential, in its path as well as in its query.
async fn of_addresses(t: T) -> Result<()> {
    planted(&t).await?;
    let url = format!("https://127.0.0.1:9/services/{PLANTED}-path?X-Amz-Signature={PLANTED}-query");
    let run = run(&t, "collect-logs-deployment").parameters(&json!({ "destination": "url", "url": url }));
    let sent = t.complete(&run.clone().with("ACTION_UPLOAD_HOSTS", "127.0.0.1:9/services/")).await?;
    expect(&sent, "Refused", "none", "logs are not sent to https://127.0.0.1:9/[hidden]")?;
    ensure!(sent.result["parameters"]["url"] == "https://127.0.0.1:9/[hidden]", "{:#}", sent.result);
    let elsewhere = t.complete(&run.with("ACTION_UPLOAD_HOSTS", "127.0.0.1:9/others/")).await?;
    expect(&elsewhere, "InvalidRequest", "none", "is not among the hosts")?;
    for outcome in [&sent, &elsewhere] {
        says_nothing(outcome)?;
    }
    let events = t.world.get(&t.world.path("events.k8s.io/v1", "events")).await?;
    let events = events["items"].as_array().context("no list")?;
    ensure!(!json!(events).to_string().contains("canary-path"), "{events:#?}");
    Ok(())
}
