//! Marks that nobody's run has left: written by who may patch the workload, with the id and the request of a run that is to
//! come. The run must do its work all the same, and the cluster shows whether it did.

use actions::k8s::template::template_hash;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::look::{After, Pod, act, after, pods, probed, until};
use crate::support::{T, scenarios};

scenarios!("forged": a_rollback_that_never_was, a_rollback_of_the_first_release_that_never_was, a_restart_that_never_was, a_rollback_that_may_have_been);

const MARKS: &str = "kubernetesexecution.kubernaut.io/executions";
const KINDS: [(&str, usize); 3] = [("Deployment", 2), ("StatefulSet", 2), ("DaemonSet", 3)];

/// Who restarts may patch the whole workload where no policy holds him.
async fn writes(t: &T, kind: &str, key: &str, marks: &Value) -> Result<()> {
    let (name, path) = (kind.to_lowercase(), t.world.workload_path(kind, &kind.to_lowercase()));
    let client = test_cluster::client(&t.called("unheld", &format!("restart-{name}"), &[]).await?).await?;
    let patch = json!({ "metadata": { "annotations": { key: marks.to_string() } } });
    let request = http::Request::patch(path)
        .header("content-type", "application/merge-patch+json")
        .body(patch.to_string().into_bytes())?;
    client.request::<Value>(request).await.map(|_| ()).with_context(|| format!("{kind}: the mark is not written"))
}

/// A workload whose second revision is bad, and its revisions: the newest first, name and number.
async fn bad(t: &T, (kind, number): (&str, usize)) -> Result<(Value, Vec<(String, i64)>)> {
    let name = kind.to_lowercase();
    t.world.workload(kind, &name, 2, probed(1)).await?;
    t.meddle(kind, &name, probed(2)).await?;
    let second =
        |pods: &[Pod]| pods.len() == number && pods.iter().all(|pod| pod.serves() && pod.image == "shop/web:2");
    until(t, &name, "the second revision", second).await?;
    let plural = if kind == "Deployment" { "replicasets" } else { "controllerrevisions" };
    let list = t.world.get(&format!("{}?labelSelector=app%3D{name}", t.world.path("apps/v1", plural))).await?;
    let number = |one: &Value| {
        let annotated = one["metadata"]["annotations"]["deployment.kubernetes.io/revision"].as_str();
        annotated.map_or(one["revision"].as_i64(), |number| number.parse().ok())
    };
    let mut all: Vec<(String, i64)> = Vec::new();
    for one in list["items"].as_array().into_iter().flatten() {
        all.push((crate::shown::name(one), number(one).context("no number")?));
    }
    all.sort_by_key(|one| std::cmp::Reverse(one.1));
    ensure!(all.len() == 2 && all[0].1 == 2, "{all:?}");
    Ok((t.object(kind, &name).await?, all))
}

/// When the marks say that it was: after the revisions were made.
fn soon() -> String {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(2)).to_string()
}

fn mark(verb: &str, object: &Value, goal: Value, previous: Value) -> Value {
    let request = json!({ verb: crate::shown::uid(object), "parameters": {} }).to_string();
    let request = contract::text::hash(&request);
    let mut mark =
        json!({ "id": "exec-1", "run": "r", "request": request, "time": soon(), "goal": goal, "previous": previous });
    if mark["goal"].is_null() {
        mark.as_object_mut().map(|fields| fields.remove("goal"));
    }
    mark
}

/// The rollback is carried out, and another run of its id knows its own mark from the forged one.
async fn rolls_back(t: &T, (kind, number): (&str, usize)) -> Result<()> {
    let name = kind.to_lowercase();
    let run = t.run(&format!("rollback-{name}"), &name).await?.with("ACTION_ID", "exec-1");
    let first = after(t, &run, &name).await?;
    let good = |after: &After| after.pods.iter().all(|pod| pod.image == "shop/web:1");
    first.shows("the good image", good(&first))?;
    first.serves(number)?;
    first.says("Changed", "applied", "back to revision 1 (")?;
    first.warns("show that it did not: it is not believed")?;
    let again = after(t, &run, &name).await?;
    again.shows("the good image still", good(&again) && again.pods == first.pods)?;
    again.says("Unchanged", "none", "was rolled back by this execution")?;
    ensure!(again.result()["resumed"] == true, "{:#}", again.result());
    Ok(())
}

/// The mark says that the bad revision is what this execution put back.
async fn a_rollback_that_never_was(t: T) -> Result<()> {
    let one = async |kind: (&'static str, usize)| {
        let (object, revisions) = bad(&t, kind).await?;
        let template = template_hash(&object["spec"]["template"]);
        let goal = json!({ "revision": revisions[0].0, "number": 1, "template": template });
        let forged = mark("rollback", &object, goal, json!({ "revision": revisions[1].0 }));
        writes(&t, kind.0, &format!("{MARKS}-rollback"), &json!([forged])).await?;
        rolls_back(&t, kind).await
    };
    tokio::try_join!(one(KINDS[0]), one(KINDS[1]), one(KINDS[2])).map(|_| ())
}

/// The same in the first release's words, which had no goal.
async fn a_rollback_of_the_first_release_that_never_was(t: T) -> Result<()> {
    let one = async |kind: (&'static str, usize)| {
        let (object, revisions) = bad(&t, kind).await?;
        let previous = json!({ "revision": revisions[1].0, "to": revisions[0].0 });
        writes(&t, kind.0, MARKS, &json!([mark("rollback", &object, Value::Null, previous)])).await?;
        rolls_back(&t, kind).await
    };
    tokio::try_join!(one(KINDS[0]), one(KINDS[1]), one(KINDS[2])).map(|_| ())
}

async fn a_restart_that_never_was(t: T) -> Result<()> {
    t.world.workload("Deployment", "deployment", 2, probed(1)).await?;
    let (before, object) = (pods(&t, "deployment").await?, t.object("Deployment", "deployment").await?);
    let goal = json!({ "restartedAt": "2026-01-01T00:00:00Z" });
    let forged = mark("restart", &object, goal, json!({ "restartedAt": null }));
    writes(&t, "Deployment", &format!("{MARKS}-restart"), &json!([forged])).await?;
    let run = t.run("restart-deployment", "deployment").await?.with("ACTION_ID", "exec-1");
    let after = after(&t, &run, "deployment").await?;
    after.replaced(&before, 2)?;
    after.says("Changed", "applied", "2 of 2 new pods ready")?;
    after.warns("show that it did not: it is not believed")
}

/// Its revision is gone: neither is a success claimed, nor is anything applied, for that might be the second time.
async fn a_rollback_that_may_have_been(t: T) -> Result<()> {
    let (object, revisions) = bad(&t, KINDS[0]).await?;
    let template = template_hash(&object["spec"]["template"]);
    let goal = json!({ "revision": "deployment-gone", "number": 1, "template": template });
    let forged = mark("rollback", &object, goal, json!({ "revision": revisions[1].0 }));
    writes(&t, "Deployment", &format!("{MARKS}-rollback"), &json!([forged])).await?;
    let before = pods(&t, "deployment").await?;
    let run = t.run("rollback-deployment", "deployment").await?.with("ACTION_ID", "exec-1");
    let held = after(&t, &run, "deployment").await?;
    held.shows("the same pods", held.pods == before)?;
    held.says(
        "NotVerified",
        "none",
        "it cannot be known whether that is so: its revision deployment-gone is gone by now",
    )?;
    let another = act(&t, "rollback-deployment", "deployment", &json!({})).await?;
    another.shows("the good image", another.pods.iter().all(|pod| pod.image == "shop/web:1"))?;
    another.says("Changed", "applied", "back to revision 1 (")
}
