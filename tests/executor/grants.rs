//! Who may use what, under the policies that are shipped: every refusal with what is let pass beside it, from what a real API
//! server answers to real users of real RBAC.

use anyhow::{Context, Result, ensure};
use controller::api::FINALIZER;
use controller::settings::Component;
use serde_json::{Value, json};
use test_cluster::executor::GROUP;
use test_cluster::fixtures::World;

use crate::policies::{self, Answer, Person, allowed, refused};
use crate::support::{E, scale, scale_with, scenarios};

scenarios!("grants": the_matrix, one_spelling, who_created_it, stamped, four_eyes, the_record, the_largest, costs, types_are_checked);

const CREATED_BY: &str = controller::api::CREATED_BY;
const PAGE: &str = "docs/who-may-use-what.md";

fn action(kind: &str, target: Value) -> Value {
    json!({ "action": { "type": kind, "target": target } })
}

fn word(answer: &Answer) -> &'static str {
    if answer.is_ok() { "yes" } else { "no" }
}

/// A grant of `use`: where (nowhere in particular is the whole cluster), and of what.
type Grant<'a> = (Option<&'a str>, &'a str);

/// The columns of the matrix, and what is asked for.
fn requests(shop: &str, other: &str) -> Vec<(&'static str, Value)> {
    let web = |more: Value| {
        let mut target = json!({ "resourceName": "web" });
        test_cluster::fixtures::merge(&mut target, more);
        target
    };
    let node = json!({ "resourceName": "node-a" });
    vec![
        ("scale-deployment, no namespace (shop's own)", action("scale-deployment", web(json!({})))),
        ("scale-deployment in shop", action("scale-deployment", web(json!({ "namespace": shop })))),
        ("scale-deployment in depot", action("scale-deployment", web(json!({ "namespace": other })))),
        ("restart-deployment in shop", action("restart-deployment", web(json!({})))),
        ("cordon-node", action("cordon-node", node)),
        ("cordon-node with namespace shop", action("cordon-node", web(json!({ "namespace": shop })))),
        ("restart, resourceKind Deployment", action("restart", web(json!({ "resourceKind": "Deployment" })))),
    ]
}

/// Requester × action × namespace × cluster scope.
async fn the_matrix(e: E) -> Result<()> {
    let depot = World::new(&e.world.connection, "depot").await?;
    let (shop, other) = (e.world.namespace.clone(), depot.namespace.clone());
    policies::install(&e, &[Component::Use], &[&other]).await?;
    let grants: [(&str, &str, Option<Grant<'_>>); 6] = [
        ("alice", "`scale-deployment` in shop", Some((Some(&shop), "scale-deployment"))),
        ("bob", "nothing", None),
        ("carol", "every action in shop", Some((Some(&shop), "*"))),
        ("dave", "`cordon-node` in shop (a mistake: it is no action there)", Some((Some(&shop), "cordon-node"))),
        ("erin", "`cordon-node` in the whole cluster", Some((None, "cordon-node"))),
        ("frank", "`scale-deployment` in the whole cluster", Some((None, "scale-deployment"))),
    ];
    let asked = requests(&shop, &other);
    let mut rows = Vec::new();
    for (user, what, grant) in grants {
        let person = Person::new(&e, &format!("{user}-{shop}"));
        person.may_everything_but_use(&shop).await?;
        if let Some((namespace, action)) = grant {
            person.may(namespace, "use", action).await?;
        }
        let mut row = vec![user.to_owned(), what.to_owned()];
        for (_, spec) in &asked {
            let answer = person.asks(spec.clone()).await?;
            if answer.is_err() {
                refused(&e, &answer, "execution-use", "")?;
            }
            row.push(word(&answer).to_owned());
        }
        rows.push(row);
    }
    sentences(&e, &other, &asked).await?;
    let head: Vec<&str> = ["who", "has `use` of"].into_iter().chain(asked.iter().map(|(name, _)| *name)).collect();
    policies::hold_block(PAGE, "matrix", &table(&head, &rows))?;
    policies::remove(&e, &[Component::Use]).await?;
    depot.end().await
}

/// Who lacks what, and where; and from an execution in another namespace the target's is what counts, too.
async fn sentences(e: &E, other: &str, asked: &[(&str, Value)]) -> Result<()> {
    // What stands in the sentences.
    let shop = e.world.namespace.clone();
    let alice = Person::new(e, &format!("alice-{shop}"));
    let says = |where_: &str, action: &str| {
        format!(
            "403 Forbidden: kubernetesexecutions.{GROUP} \"asked\" is forbidden: ValidatingAdmissionPolicy '{}' with binding '{}' denied request: \
            alice-{shop} may not use action {action} in {where_}: needs verb \"use\" on actions.{GROUP} \"{action}\" there",
            policies::named(e, "execution-use"),
            policies::named(e, "execution-use")
        )
    };
    for (spec, place, kind) in [
        (&asked[2].1, format!("namespace {other}"), "scale-deployment"),
        (&asked[3].1, format!("namespace {shop}"), "restart-deployment"),
        (&asked[4].1, "the whole cluster".to_owned(), "cordon-node"),
    ] {
        let answer = alice.asks(spec.clone()).await?;
        ensure!(answer.as_ref().is_err_and(|why| *why == says(&place, kind)), "{answer:#?}");
    }
    // From an execution in another namespace the target's namespace is what counts, too.
    alice.may_everything_but_use(other).await?;
    let from =
        |namespace: &str| format!("/apis/{GROUP}/v1alpha1/namespaces/{namespace}/kubernetesexecutions?dryRun=All");
    let there = policies::execution("asked", asked[1].1.clone());
    allowed(&alice.send("POST", &from(other), &there).await?)?;
    let own = policies::execution("asked", asked[0].1.clone());
    refused(e, &alice.send("POST", &from(other), &own).await?, "execution-use", &format!("in namespace {other}"))?;
    Ok(())
}

fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
    let mut text = line(head.to_vec()) + &format!("|{}\n", "---|".repeat(head.len()));
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text
}

/// What is granted by one name cannot be had by another one; not even by who may use everything.
#[allow(clippy::too_many_lines, reason = "each line is a case")]
async fn one_spelling(e: E) -> Result<()> {
    policies::install(&e, &[Component::Use], &[]).await?;
    let shop = e.world.namespace.clone();
    let all = Person::new(&e, &format!("all-{shop}"));
    all.may_everything_but_use(&shop).await?;
    all.may(None, "use", "*").await?;
    let target = |more: Value| {
        let mut target = json!({ "resourceName": "web" });
        test_cluster::fixtures::merge(&mut target, more);
        target
    };
    let rollout = |version: &str| target(json!({ "apiVersion": version, "resourceKind": "Rollout" }));
    let bad = [
        ("restart", target(json!({ "resourceKind": "Deployment" })), "spec.action.type: restart is no action type"),
        ("cordon", target(json!({})), "spec.action.type: cordon is no action type"),
        ("scale-deploy", target(json!({})), "spec.action.type: scale-deploy is no action type"),
        ("scale-deployments", target(json!({})), "is no action type"),
        ("scale-deploy", target(json!({ "apiVersion": "apps/v1" })), "is no action type"),
        ("scale-node", target(json!({ "apiVersion": "a.example/v1" })), "is no action type"),
        ("scale-rollout", target(json!({})), "is no action type"),
        ("scale-rollout", target(json!({ "apiVersion": "v1" })), "is no action type"),
        ("restart-rollout", rollout("argoproj.io/v1alpha1"), "is no action type"),
        ("scael-deployment", target(json!({})), "expected one of collect-logs-cronjob, "),
        (
            "scale-deployment",
            target(json!({ "resourceKind": "StatefulSet" })),
            "resourceKind: the type scale-deployment is about a deployment",
        ),
        (
            "scale-rollout",
            target(json!({ "apiVersion": "argoproj.io/v1alpha1", "resourceKind": "Other" })),
            "is about a rollout",
        ),
        (
            "scale-deployment",
            target(json!({ "apiVersion": "other.example/v1" })),
            "apiVersion: the type scale-deployment is about a deployment of apps/v1",
        ),
        ("cordon-node", target(json!({ "namespace": shop })), "spec.action.target.namespace: a node has no namespace"),
        (
            "collect-logs-deployment",
            json!({ "selector": "a=b" }),
            "selector: selects pods, and goes with the type collect-logs-pod alone",
        ),
    ];
    for (kind, target, says) in bad {
        let answer = all.asks(action(kind, target.clone())).await?;
        refused(&e, &answer, "execution-use", says).with_context(|| format!("{kind} {target}"))?;
        ensure!(answer.as_ref().is_err_and(|why| why.starts_with("422 ")), "{answer:#?}");
    }
    let good = [
        ("restart-deployment", target(json!({ "resourceKind": "deploy", "apiVersion": "apps/v1" }))),
        ("scale-deployment", target(json!({ "resourceKind": "Deployment" }))),
        ("cordon-node", target(json!({ "resourceKind": "Node", "apiVersion": "v1" }))),
        ("collect-logs-pod", json!({ "selector": "a=b" })),
        ("scale-rollout", rollout("argoproj.io/v1alpha1")),
    ];
    for (kind, target) in good {
        allowed(&all.asks(action(kind, target.clone())).await?).with_context(|| format!("{kind} {target}"))?;
    }
    // Two kinds of one name in two groups are two.
    let rollouts = Person::new(&e, &format!("rollouts-{shop}"));
    rollouts.may_everything_but_use(&shop).await?;
    rollouts.may(Some(&shop), "use", "scale-rollout.argoproj.io").await?;
    allowed(&rollouts.asks(action("scale-rollout", rollout("argoproj.io/v1alpha1"))).await?)?;
    let answer = rollouts.asks(action("scale-rollout", rollout("other.example/v1"))).await?;
    refused(&e, &answer, "execution-use", "\"scale-rollout.other.example\"")?;
    policies::remove(&e, &[Component::Use]).await
}

fn claimed(name: &str, by: &str, more: Value) -> Value {
    let mut object = policies::execution(name, scale_with(1, more));
    object["metadata"]["annotations"] = json!({ CREATED_BY: by });
    object
}

/// Without the API server's stamp: who created it may say so himself, and nobody says anything else, then or later.
async fn who_created_it(e: E) -> Result<()> {
    policies::install(&e, &[Component::Use], &[]).await?;
    let shop = e.world.namespace.clone();
    let alice = Person::new(&e, &format!("alice-{shop}"));
    alice.may_everything_but_use(&shop).await?;
    alice.may(Some(&shop), "use", "scale-deployment").await?;
    for forged in ["bob", ""] {
        let answer = alice.send("POST", &e.executions(), &claimed("forged", forged, json!({}))).await?;
        refused(&e, &answer, "execution-use", &format!("may not say that {forged} creates it"))?;
    }
    allowed(&alice.send("POST", &e.executions(), &claimed("own", &alice.user, json!({}))).await?)?;
    allowed(&alice.send("POST", &e.executions(), &policies::execution("none", scale(1))).await?)?;
    let claim = |by: Value| json!({ "metadata": { "annotations": { CREATED_BY: by } } });
    for (name, by) in [("own", json!("bob")), ("own", Value::Null), ("none", json!("bob")), ("none", json!(alice.user))]
    {
        refused(&e, &alice.patch(name, claim(by)).await?, "execution-approval", "never changes")?;
    }
    allowed(&alice.patch("own", json!({ "metadata": { "annotations": { "team": "shop" } } })).await?)?;
    policies::remove(&e, &[Component::Use]).await
}

/// With it: the stamp is there, also over a forged one.
async fn stamped(e: E) -> Result<()> {
    let components = [Component::Use, Component::CreatedBy];
    if !policies::all(&e).await?.contains(&Component::CreatedBy) {
        test_cluster::assets::tell("SKIPPED: the stamp needs Kubernetes 1.36");
        return Ok(());
    }
    policies::install(&e, &components, &[]).await?;
    let shop = e.world.namespace.clone();
    let alice = Person::new(&e, &format!("alice-{shop}"));
    alice.may_everything_but_use(&shop).await?;
    alice.may(Some(&shop), "use", "scale-deployment").await?;
    let mut noted = policies::execution("noted", scale(1));
    noted["metadata"]["annotations"] = json!({ "team": "shop" });
    for object in [policies::execution("bare", scale(1)), claimed("forged", "bob", json!({})), noted] {
        let made = alice.send("POST", &e.executions(), &object).await?.map_err(anyhow::Error::msg)?;
        ensure!(made["metadata"]["annotations"][CREATED_BY] == alice.user.as_str(), "{made:#}");
        let team = &object["metadata"]["annotations"]["team"];
        ensure!(made["metadata"]["annotations"]["team"] == *team, "another annotation is gone: {made:#}");
    }
    policies::remove(&e, &components).await
}

/// Who approves has the verb, says his own name, and is not who asked.
async fn four_eyes(e: E) -> Result<()> {
    policies::install(&e, &[Component::Use], &[]).await?;
    let shop = e.world.namespace.clone();
    let (alice, bob, carol) = (person(&e, "alice"), person(&e, "bob"), person(&e, "carol"));
    for one in [&alice, &bob, &carol] {
        one.may_everything_but_use(&shop).await?;
    }
    alice.may(Some(&shop), "use", "scale-deployment").await?;
    for approver in [&alice, &carol] {
        approver.may(Some(&shop), "approve", "scale-deployment").await?;
    }
    let waits = json!({ "approvalRequired": true });
    allowed(&alice.send("POST", &e.executions(), &claimed("up", &alice.user, waits.clone())).await?)?;
    allowed(&alice.send("POST", &e.executions(), &policies::execution("unknown", scale_with(1, waits))).await?)?;
    let approved = json!({ "approvalRequired": true, "approvedBy": alice.user });
    let answer = alice.asks(scale_with(1, approved)).await?;
    refused(&e, &answer, "execution-use", "whoever creates an execution does not approve it")?;
    let by = |one: &Person<'_>| json!({ "spec": { "approvedBy": one.user } });
    let cases = [
        (&alice, "up", by(&alice), format!("{} created it; somebody else has to approve it", alice.user)),
        (&carol, "up", by(&alice), format!("{} may approve in no other name", carol.user)),
        (&carol, "unknown", by(&carol), "nobody knows who created it".to_owned()),
        (
            &bob,
            "up",
            by(&bob),
            format!("{} may not approve action scale-deployment in namespace {shop}: needs verb \"approve\"", bob.user),
        ),
    ];
    for (who, name, patch, says) in cases {
        refused(&e, &who.patch(name, patch).await?, "execution-approval", &says)?;
    }
    allowed(&bob.patch("up", json!({ "spec": { "suspend": true } })).await?)?;
    allowed(&carol.patch("up", by(&carol)).await?)?;
    policies::remove(&e, &[Component::Use]).await
}

fn person<'a>(e: &'a E, name: &str) -> Person<'a> {
    Person::new(e, &format!("{name}-{}", e.world.namespace))
}

/// Status, finalizer and the annotations that the controller goes by, tried by everybody.
async fn the_record(e: E) -> Result<()> {
    let components = [Component::Use, Component::Controller];
    policies::install(&e, &components, &[]).await?;
    let shop = e.world.namespace.clone();
    let (alice, bob, dora) = (person(&e, "alice"), person(&e, "bob"), person(&e, "dora"));
    for one in [&alice, &bob, &dora] {
        one.may_everything_but_use(&shop).await?;
    }
    alice.may(Some(&shop), "use", "scale-deployment").await?;
    dora.may_skip_audit(&shop).await?;
    let ours = Person::ours(&e);
    let mut up = claimed("up", &alice.user, json!({}));
    up["metadata"]["finalizers"] = json!(["example.com/x"]);
    allowed(&alice.send("POST", &e.executions(), &up).await?)?;
    allowed(&ours.patch("up", json!({ "metadata": { "finalizers": ["example.com/x", FINALIZER] } })).await?)?;
    let people = [
        (&alice, "who created it"),
        (&bob, "who may edit"),
        (&dora, "who may `skip` the audit"),
        (&ours, "the controller"),
    ];
    who_writes(&e, people).await?;
    nor_when_it_is_created(&e, &alice).await?;
    // Kubernetes' own finalizers come and go: foreground deletion, by who may not touch ours.
    allowed(&bob.send("DELETE", &format!("{}?propagationPolicy=Foreground", e.execution("up")), &json!({})).await?)?;
    let ours_alone = |one: &Value| {
        one["metadata"]["finalizers"] == json!(["example.com/x", FINALIZER])
            && one["metadata"]["deletionTimestamp"].is_string()
    };
    e.world.until(&e.execution("up"), "only our finalizer left", ours_alone).await?;
    allowed(&dora.patch("up", json!({ "metadata": { "finalizers": null } })).await?)?;
    e.world.gone(&e.execution("up")).await?;
    policies::remove(&e, &components).await
}

/// A row for each of them, and a column for each write.
#[allow(clippy::too_many_lines, reason = "each line is a case")]
async fn who_writes(e: &E, people: [(&Person<'_>, &str); 4]) -> Result<()> {
    let ours = policies::controller(e);
    let dry = |path: &str| format!("{path}?dryRun=All");
    let (up, status) = (dry(&e.execution("up")), dry(&format!("{}/status", e.execution("up"))));
    let annotation =
        |key: &str, value: Value| json!({ "metadata": { "annotations": { format!("{GROUP}/{key}"): value } } });
    let asked = [
        (
            "write the status",
            &status,
            json!({ "status": { "phase": "Completed", "settled": true } }),
            "may not write the status",
        ),
        (
            "remove the finalizer",
            &up,
            json!({ "metadata": { "finalizers": ["example.com/x"] } }),
            "may not remove the finalizer",
        ),
        (
            "set expires-at",
            &up,
            annotation("expires-at", json!("2026-01-01T00:00:00Z")),
            "annotations kubernetesexecution.kubernaut.io/expires-at",
        ),
        (
            "set target-uid",
            &up,
            annotation("target-uid", json!("")),
            "annotations kubernetesexecution.kubernaut.io/target-uid",
        ),
        (
            "change traceparent",
            &up,
            annotation("traceparent", json!("x")),
            "annotations kubernetesexecution.kubernaut.io/traceparent",
        ),
        ("remove another finalizer", &up, json!({ "metadata": { "finalizers": [FINALIZER] } }), ""),
        ("label it", &up, json!({ "metadata": { "labels": { "team": "shop" } } }), ""),
        ("cancel it", &up, json!({ "spec": { "cancel": true } }), ""),
    ];
    let mut rows = Vec::new();
    for (who, name) in people {
        let mut row = vec![name.to_owned()];
        for (what, path, patch, says) in &asked {
            let answer = who.send("PATCH", path, patch).await?;
            if answer.is_err() && who.user == ours {
                refused(e, &answer, "execution-writes", "the execution controller may not")?;
            } else if answer.is_err() {
                ensure!(!says.is_empty(), "{name} may not {what}: {answer:?}");
                refused(e, &answer, "execution-record", says)?;
                let only = format!("only the controller does ({ours}), and who has verb \"skip\"");
                refused(e, &answer, "execution-record", &only)?;
            }
            row.push(word(&answer).to_owned());
        }
        rows.push(row);
    }
    let head: Vec<&str> = std::iter::once("who").chain(asked.iter().map(|(what, ..)| *what)).collect();
    policies::hold_block(PAGE, "record", &table(&head, &rows))?;
    Ok(())
}

/// A trace context may be brought along; what else the controller goes by may not.
async fn nor_when_it_is_created(e: &E, alice: &Person<'_>) -> Result<()> {
    let path = format!("{}?dryRun=All", e.executions());
    for (key, may) in [("expires-at", false), ("target-uid", false), ("traceparent", true)] {
        let mut object = policies::execution("new", scale(1));
        object["metadata"]["annotations"] = json!({ format!("{GROUP}/{key}"): "x" });
        let answer = alice.send("POST", &path, &object).await?;
        if may { allowed(&answer)? } else { refused(e, &answer, "execution-record", key)? }
    }
    let mut held = policies::execution("new", scale(1));
    held["metadata"]["finalizers"] = json!([FINALIZER]);
    refused(e, &alice.send("POST", &path, &held).await?, "execution-record", "may not set the finalizer")?;
    Ok(())
}

/// The largest object that the definition lets pass, under all policies: their cost does not grow with it.
async fn the_largest(e: E) -> Result<()> {
    let components = policies::all(&e).await?;
    policies::install(&e, &components, &[]).await?;
    let shop = e.world.namespace.clone();
    let (alice, bob) = (person(&e, "alice"), person(&e, "bob"));
    for one in [&alice, &bob] {
        one.may_everything_but_use(&shop).await?;
    }
    alice.may(Some(&shop), "use", "scale-deployment").await?;
    let condition = json!({ "type": "x".repeat(63), "description": "d".repeat(1024), "rego": "r".repeat(16 << 10), "timeout": "1m" });
    let mut spec = scale_with(
        1,
        json!({
            "preConditions": vec![condition.clone(); 10], "postConditions": vec![condition; 10], "reason": "r".repeat(256),
        }),
    );
    spec["action"]["parameters"] = json!({ "text": "p".repeat(100 << 10), "many": (0..1000).collect::<Vec<_>>() });
    let mut object = policies::execution(&"x".repeat(200), spec);
    let many = (0..199).map(|number| (format!("example.com/{number}"), json!("v".repeat(1000)))).collect();
    object["metadata"]["annotations"] = Value::Object(many);
    refused(&e, &bob.send("POST", &e.executions(), &object).await?, "execution-use", "may not use action")?;
    // More of them could cost more than the API server lets a policy cost.
    for (field, more) in [
        ("annotations", (0..201).map(|number| (format!("example.com/{number}"), json!("v"))).collect::<Value>()),
        ("finalizers", (0..21).map(|number| format!("example.com/{number}")).collect()),
    ] {
        let mut crowded = policies::execution("crowded", scale(1));
        crowded["metadata"][field] = more;
        let answer = alice.send("POST", &e.executions(), &crowded).await?;
        refused(&e, &answer, "execution-record", "at most 200 annotations and 20 finalizers")?;
    }
    allowed(&alice.send("POST", &e.executions(), &object).await?)?;
    test_cluster::assets::tell(&format!(
        "an execution of {} bytes was let pass, and refused to who may not",
        object.to_string().len()
    ));
    // And the controller's own writes to it.
    let ours = Person::ours(&e);
    let name = "x".repeat(200);
    allowed(&ours.patch(&name, json!({ "metadata": { "finalizers": [controller::api::FINALIZER] } })).await?)?;
    let answer = ours.patch(&name, json!({ "metadata": { "annotations": { "example.com/1": "other" } } })).await?;
    refused(&e, &answer, "execution-writes", "may not change the annotations example.com/1")?;
    allowed(&ours.patch(&name, json!({ "metadata": { "finalizers": null } })).await?)?;
    policies::remove(&e, &components).await
}

/// That no type has a warning says something: one that is wrong has.
async fn types_are_checked(e: E) -> Result<()> {
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": { "name": e.world.namespace },
        "spec": {
            "matchConstraints": { "resourceRules": [
                { "apiGroups": [GROUP], "apiVersions": ["v1alpha1"], "operations": ["CREATE"], "resources": ["kubernetesexecutions"] },
            ] },
            "validations": [{ "expression": "object.spec.acton.type != 'x'" }],
        },
    });
    let path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
    e.world.create(path, &policy).await?;
    let path = format!("{path}/{}", e.world.namespace);
    let warned = |one: &Value| one["status"]["typeChecking"]["expressionWarnings"].is_array();
    e.world.until(&path, "a warning", warned).await?;
    e.world.delete(&path).await
}

/// What a request costs cannot be asked of the API server; what counts can be counted. Its limits are those of
/// `k8s.io/apiserver/pkg/apis/cel/config.go`, and the price of a check that of `pkg/cel/library/cost.go`.
async fn costs(e: E) -> Result<()> {
    const CHECK: usize = 350_000;
    const EXPRESSION: usize = 1_000_000;
    const POLICY: usize = 10_000_000;
    let mut rows = Vec::new();
    for component in policies::ALL {
        for policy in policies::shipped(&e, component)?.iter().filter(|one| one["kind"] == "ValidatingAdmissionPolicy")
        {
            let lists = [&policy["spec"]["variables"], &policy["spec"]["validations"]];
            let all: Vec<&str> = lists
                .into_iter()
                .flat_map(|list| list.as_array().into_iter().flatten())
                .filter_map(|one| one["expression"].as_str())
                .collect();
            let checks: Vec<usize> = all.iter().map(|one| one.matches(".check('").count()).collect();
            let (sum, most) = (checks.iter().sum::<usize>(), checks.iter().copied().max().unwrap_or(0));
            ensure!(most * CHECK < EXPRESSION && sum * CHECK < POLICY, "{}: {checks:?}", policy["metadata"]["name"]);
            rows.push(vec![
                format!("`{}`", policy["metadata"]["name"].as_str().unwrap_or_default()),
                policy["spec"]["validations"].as_array().map_or(0, Vec::len).to_string(),
                sum.to_string(),
                format!("{} of {POLICY}", sum * CHECK),
                format!("{} of {EXPRESSION}", most * CHECK),
            ]);
        }
    }
    let head = ["policy", "rules", "checks of a permission", "cost of all of them", "and in one expression"];
    policies::hold_block(PAGE, "costs", &table(&head, &rows))
}
