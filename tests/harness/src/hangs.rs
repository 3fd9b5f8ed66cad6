//! What hangs: a run that ends without its effect, held to what the cluster shows, and kubectl beside it, which waits for the
//! same. They are rows of a table in the docs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::fixtures::World;
use crate::runner::{Outcome, Run, Running};

/// When a run must end for a cause. The seconds are those of its parameters.
#[derive(Debug, Clone, Copy)]
pub enum Bound {
    /// It is certain: soon after it is in the cluster.
    Certain,
    /// It may pass: after `stuckAfter`; before that it takes so long until it is one.
    StuckAfter(i64, i64),
    /// It is only slow: when `waitTimeout` is over.
    WaitTimeout(i64),
}

/// How soon after it is in the cluster a certain cause ends a run.
const SOON: i64 = 5;
/// How much later it may be seen where only events tell it: they are read again after 2, 4 and 8 s.
const SEEN: i64 = 4;
/// How much later anything may be on a machine with two cores and many tests, and how exact the cluster's times are.
const LATE: i64 = 4;
const ROUGHLY: i64 = 1;

impl Bound {
    /// Whether the end of a run is in time, where what hangs came into the cluster between these two moments.
    pub fn check(self, (first, last): (Timestamp, Timestamp), end: Timestamp) -> Result<()> {
        let (least, most) = match self {
            Self::Certain => (-ROUGHLY, SOON),
            Self::StuckAfter(after, first) => (after + first - ROUGHLY, after + first + SOON + SEEN),
            Self::WaitTimeout(after) => (after - SOON, after + ROUGHLY),
        };
        let (longest, shortest) = (end.duration_since(first), end.duration_since(last));
        let fits = longest >= SignedDuration::from_secs(least) && shortest <= SignedDuration::from_secs(most + LATE);
        ensure!(fits, "{self:?}: it came into the cluster at {first} to {last}, and the run ended at {end}");
        Ok(())
    }

    fn told(self) -> String {
        match self {
            Self::Certain => "at once".to_owned(),
            Self::StuckAfter(after, 0) => format!("`stuckAfter`, here {after} s"),
            Self::StuckAfter(after, first) => format!("{first} s, and `stuckAfter`, here {after} s"),
            Self::WaitTimeout(after) => format!("`waitTimeout`, here {after} s"),
        }
    }
}

/// What a run must name as being in the way.
#[derive(Debug, Clone, Copy)]
pub struct Cause<'a> {
    /// The object's kind.
    pub kind: &'a str,
    /// Its state, in Kubernetes' own word.
    pub state: &'a str,
    /// A part of the words; what they are is known to the test from the cluster.
    pub words: &'a str,
    /// When the run must end.
    pub bound: Bound,
}

/// Holds a result to a cause; returns the object that is named, as it stands in the cluster. That its words stand there too is the
/// second judge's.
async fn named(world: &World, result: &Value, cause: &Cause<'_>, from: Timestamp) -> Result<Value> {
    let obstacle = &result["details"]["obstacles"][0];
    let text = |pointer: &str| obstacle.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    ensure!(
        text("/object/kind") == cause.kind && text("/state") == cause.state && text("/words").contains(cause.words),
        "expected a {} {} that says {:?}: {result:#}",
        cause.state,
        cause.kind,
        cause.words
    );
    let (version, plural) = (text("/object/apiVersion"), cause.kind.to_lowercase() + "s");
    let path = match text("/object/namespace") {
        "" => format!("/api/{version}/{plural}/{}", text("/object/name")),
        _ => format!("{}/{}", world.path(version, &plural), text("/object/name")),
    };
    // It may be gone by now: controllers delete what failed.
    let object = world.get(&path).await.unwrap_or_default();
    let of = |field: &str| object["metadata"][field].as_str().and_then(|time| time.parse::<Timestamp>().ok());
    let time = |field: &str| result[field].as_str().context("no time")?.parse::<Timestamp>().context("no time");
    let (start, end) = (time("startTime")?, time("endTime")?);
    let came = of("deletionTimestamp").or(of("creationTimestamp"));
    // The object may be the last of many.
    let (first, last) = (start, came.map_or(from, |came| came.max(from)));
    cause.bound.check((first, last), end).with_context(|| format!("{result:#}"))?;
    Ok(object)
}

/// `kubectl rollout status`, at work.
pub struct Kubectl {
    child: Child,
    said: PathBuf,
}

impl Kubectl {
    /// Starts it.
    pub fn rollout_status(world: &World, kind: &str, name: &str) -> Result<Self> {
        let said = world.folder().join(format!("kubectl-{:08x}.txt", crate::fixtures::unique()));
        let file = File::create(&said)?;
        let child = Command::new(crate::assets::kubectl()?)
            .arg("--kubeconfig")
            .arg(&world.connection.kubeconfig)
            .args(["--namespace", &world.namespace, "rollout", "status", &format!("{}/{name}", kind.to_lowercase())])
            .env("HOME", world.folder())
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .context("failed to start kubectl")?;
        Ok(Self { child, said })
    }

    /// What it has said last, and whether it is at an end.
    pub async fn last_words(mut self) -> Result<String> {
        let ended = self.child.try_wait()?;
        if ended.is_none() {
            self.child.kill().await?;
        }
        let said = fs::read_to_string(&self.said)?;
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing").trim().to_owned();
        Ok(match ended.and_then(|status| status.code()) {
            None => format!("(waits) {last}"),
            Some(code) => format!("(exit {code}) {last}"),
        })
    }
}

/// A run that is on its way, and kubectl beside it.
pub struct Hanging {
    running: Running,
    kubectl: Kubectl,
    from: Timestamp,
}

impl Hanging {
    /// Begins a run; kubectl follows this workload from the moment on at which the target is seen to have changed: before that it
    /// would be told of what was before.
    pub async fn begin(world: &World, run: &Run, target: &str, (kind, app): (&str, &str)) -> Result<Self> {
        let state = |object: &Value| {
            let of = |field: &str| object["metadata"][field].clone();
            // A pod's generation is its spec's, and its deletion counts too.
            [of("uid"), of("generation"), of("deletionTimestamp")]
        };
        let before = state(&world.get(target).await?);
        let mut running = run.start(world)?;
        while state(&world.get(target).await.unwrap_or_default()) == before && !running.has_ended()? {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let kubectl = Kubectl::rollout_status(world, kind, app)?;
        Ok(Self { running, kubectl, from: Timestamp::now() })
    }

    /// Waits for its end.
    pub async fn ends(self, world: &World) -> Result<Ended> {
        let outcome = self.running.complete(world).await?;
        Ok(Ended { outcome, kubectl: self.kubectl.last_words().await?, from: self.from })
    }
}

/// A run that has ended.
pub struct Ended {
    /// What came of it.
    pub outcome: Outcome,
    /// The moment from which on what stood in its way was in the cluster at the latest, unless it is younger.
    pub from: Timestamp,
    kubectl: String,
}

impl Ended {
    /// Holds it to a cause; returns what the table says of it, and the named object.
    pub async fn because(&self, world: &World, app: &str, cause: &Cause<'_>) -> Result<(Told, Value)> {
        let result = &self.outcome.result;
        ensure!(result["code"] == "NotVerified" && result["effect"] == "applied", "{result:#}");
        let object = named(world, result, cause, self.from).await.with_context(|| self.outcome.stderr.clone())?;
        Ok((Told::of(world, app, result, cause.bound, &self.kubectl)?, object))
    }

    /// The state that is told first.
    pub fn state(&self) -> &str {
        self.outcome.result["details"]["obstacles"][0]["state"].as_str().unwrap_or_default()
    }
}

/// What came of a cause, for the table.
#[derive(Debug, Clone)]
pub struct Told {
    /// What the result says.
    pub says: String,
    /// When it must have been said.
    pub bound: Bound,
    /// How long after its beginning the run had ended.
    pub after: SignedDuration,
    /// What kubectl had said by then.
    pub kubectl: String,
}

impl Told {
    /// Of a run on something of this name.
    pub fn of(world: &World, app: &str, result: &Value, bound: Bound, kubectl: &str) -> Result<Self> {
        let time = |field: &str| result[field].as_str().context("no time")?.parse::<Timestamp>().context("no time");
        let said = result["output"].as_str().or(result["error"].as_str()).unwrap_or_default();
        Ok(Self {
            says: readable(said, &world.namespace, app),
            bound,
            after: time("endTime")?.duration_since(time("startTime")?),
            kubectl: readable(kubectl, &world.namespace, app),
        })
    }
}

/// A table in `docs/causes.md`, whose rows come from as many tests.
pub struct Table {
    block: &'static str,
    rows: &'static [&'static str],
    /// Those in which what is said depends on the moment.
    loose: &'static [&'static str],
    said: Mutex<BTreeMap<usize, String>>,
}

impl Table {
    /// With these rows; those among them in which what is said depends on the moment are only compared by their names.
    pub const fn new(block: &'static str, rows: &'static [&'static str], loose: &'static [&'static str]) -> Self {
        Self { block, rows, loose, said: Mutex::new(BTreeMap::new()) }
    }

    /// What came of a row: under the shipped Role, and with what `components/causes` adds to it.
    pub fn put(&self, row: &str, shipped: &Told, causes: &Told) -> Result<()> {
        let place = self.rows.iter().position(|one| *one == row).with_context(|| format!("{row} is no row"))?;
        let says = if alike(&shipped.says) == alike(&causes.says) {
            causes.says.clone()
        } else {
            format!("{}<br>without the component: {}", causes.says, shipped.says)
        };
        let after = format!("{}: {:.1} s", causes.bound.told(), causes.after.as_secs_f64());
        let cells = [row, &says, &after, &causes.kubectl].map(|cell| cell.replace('|', "\\|").replace('\n', " "));
        self.said.lock().unwrap_or_else(PoisonError::into_inner).insert(place, format!("| {} |\n", cells.join(" | ")));
        Ok(())
    }

    /// Compares it with the docs, or writes it there; not when some of the tests have not run.
    pub fn hold(&self, root: &str) -> Result<()> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() < self.rows.len() {
            if !said.is_empty() {
                crate::assets::tell(&format!("SKIPPED: docs/causes.md, {}: not all of its rows were made", self.block));
            }
            return Ok(());
        }
        let head =
            "| what hangs | what the result says | after | `kubectl rollout status`, by then |\n|---|---|---|---|\n";
        let text = said.values().fold(head.to_owned(), |text, row| text + row);
        let like = |text: &str| {
            let line = |line: &str| {
                let loose = self.loose.iter().find(|row| line.starts_with(&format!("| {row} |")));
                loose.map_or_else(|| alike(but_for_the_moment(line)), |row| (*row).to_owned())
            };
            text.lines().map(line).collect::<Vec<_>>().join("\n")
        };
        crate::document::hold_block_like(root, "docs/causes.md", self.block, &text, like)
    }
}

/// A text without what is another one in each run: the namespace, names that controllers make, UIDs, and times of day.
pub fn readable(text: &str, namespace: &str, app: &str) -> String {
    let text = text.replace(namespace, "shop");
    let word = |one: char| one.is_ascii_alphanumeric() || matches!(one, '-' | ':' | '.');
    let (mut shown, mut rest) = (String::new(), text.as_str());
    while let Some(start) = rest.find(word) {
        let (before, after) = rest.split_at(start);
        let end = after.find(|one| !word(one)).unwrap_or(after.len());
        let (found, after) = after.split_at(end);
        shown.push_str(before);
        // A sentence may end behind it.
        let bare = found.trim_end_matches(['.', ':']);
        shown.push_str(&readable_word(bare, app));
        shown.push_str(found.get(bare.len()..).unwrap_or_default());
        rest = after;
    }
    shown + rest
}

fn readable_word(word: &str, app: &str) -> String {
    /// What names are made of by controllers.
    const SAFE: &str = "bcdfghjklmnpqrstvwxz2456789";
    if word.parse::<Timestamp>().is_ok() {
        return "12:00:00".to_owned();
    }
    let made = |part: &str| part.len() >= 5 && part.chars().all(|one| SAFE.contains(one));
    let uid = word.len() == 36 && word.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    if uid {
        return "…".to_owned();
    }
    let Some(rest) = word.strip_prefix(app) else {
        let shared = ["node-b", "node-c"].contains(&word);
        return if shared { "node-a".to_owned() } else { word.to_owned() };
    };
    match rest.strip_prefix('-') {
        None if rest.is_empty() => "web".to_owned(),
        Some(rest) if rest.split('-').all(made) => "web-…".to_owned(),
        Some(rest) => format!("web-{rest}"),
        None => word.to_owned(),
    }
}

/// A row up to how kubectl ended, or that it waits: which of its lines was the last one by then depends on the moment. Of
/// `restart-pod`, which is no rollout, so does whether kubectl waits at all.
fn but_for_the_moment(row: &str) -> &str {
    let last = row.rfind(" | (").unwrap_or(row.len());
    let name = row.trim_start_matches("| ").split(" | ").next().unwrap_or_default();
    if name.contains("`restart-pod`") {
        return &row[..last];
    }
    let end = row[last..].find(") ").map_or(row.len(), |end| last + end + 1);
    &row[..end]
}

/// What two runs have in common: not the numbers, and not which nodes there were.
fn alike(text: &str) -> String {
    const NODES: &str = " nodes are available: ";
    // One is said in another way than more of them.
    let text = text.replace("one pod failed so", "1 pods failed so");
    let (mut shown, mut rest) = (String::new(), text.as_str());
    while let Some((before, after)) = rest.split_once(NODES) {
        let (said, advice) = after.split_at(after.find(';').unwrap_or(after.len()));
        shown = shown + before + NODES;
        // How many nodes are in the way of what. A claim that is not there is no node.
        rest = if said.contains("node(s)") { advice } else { after };
    }
    let mut alike = String::new();
    for one in (shown + rest).chars() {
        let digit = one.is_ascii_digit() || (one == '.' && alike.ends_with('#'));
        if !(digit && alike.ends_with('#')) {
            alike.push(if digit { '#' } else { one });
        }
    }
    alike
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::a_pod("pod web-7d9c8bf5d4-x2v9k of gated-1a2b", "pod web-… of shop")]
    #[case::a_set("replicaset web-7d9c8bf5d4:", "replicaset web-…:")]
    #[case::a_sets_pod("pod web-0 is", "pod web-0 is")]
    #[case::itself("deployment gated-1a2b/web.", "deployment shop/web.")]
    #[case::anothers("webhook web2 webs", "webhook web2 webs")]
    #[case::a_time("since 2026-11-26T09:00:01Z: x", "since 12:00:00: x")]
    #[case::a_uid("web-0_shop(0c2ab2f5-6f4b-4f2e-9d0e-0123456789ab)", "web-0_shop(…)")]
    #[case::a_node("on node-c", "on node-a")]
    fn names_are_alike_in_each_run(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(readable(text, "gated-1a2b", "web"), shown);
    }

    #[rstest]
    #[case::waits(
        "| what (a) | says | at once: 2.8 s | (waits) Waiting for 1 old |",
        "| what (a) | says | at once: 2.8 s | (waits)"
    )]
    #[case::ended("| what | says | 2 s | (exit 1) error: it |", "| what | says | 2 s | (exit 1)")]
    #[case::the_head("| what hangs | after |", "| what hangs | after |")]
    #[case::no_rollout(
        "| the pod of `restart-pod` | says | 2 s | (exit 0) done |",
        "| the pod of `restart-pod` | says | 2 s"
    )]
    fn what_depends_on_the_moment_is_not_compared(#[case] row: &str, #[case] compared: &str) {
        assert_eq!(but_for_the_moment(row), compared);
    }

    #[rstest]
    #[case::numbers("after 4.2 s, 10s and 3 pods", "after 11.9 s, 9s and 12 pods", true)]
    #[case::one_and_more("one pod failed so since the change", "3 pods failed so since the change", true)]
    #[case::other_words("after 4.2 s", "after 4.2 h", false)]
    #[case::nodes(
        "0/7 nodes are available: 7 node(s) didn't match. preemption: 0/7 nodes are available: 7 Preemption is not helpful.; free or add",
        "0/9 nodes are available: 2 node(s) had taints, 7 node(s) didn't match. preemption: 0/9 nodes are available: 9 Preemption is not helpful.; free or add",
        true
    )]
    #[case::other_advice(
        "0/7 nodes are available: 7 node(s) didn't match.; free",
        "0/7 nodes are available: 7 node(s) didn't match.; add",
        false
    )]
    #[case::a_claim(
        "0/7 nodes are available: \"a\" not found.; free",
        "0/7 nodes are available: \"b\" not found.; free",
        false
    )]
    fn two_runs_are_alike(#[case] one: &str, #[case] other: &str, #[case] same: bool) {
        assert_eq!(alike(one) == alike(other), same, "{} {}", alike(one), alike(other));
    }

    #[rstest]
    #[case::at_once(Bound::Certain, 0, true)]
    #[case::late(Bound::Certain, 10, false)]
    #[case::too_soon(Bound::StuckAfter(6, 0), 3, false)]
    #[case::in_time(Bound::StuckAfter(6, 0), 7, true)]
    #[case::too_late(Bound::StuckAfter(6, 0), 20, false)]
    #[case::not_one_yet(Bound::StuckAfter(3, 10), 6, false)]
    #[case::over(Bound::WaitTimeout(6), 6, true)]
    #[case::before_it_is_over(Bound::WaitTimeout(9), 3, false)]
    fn a_bound_holds(#[case] bound: Bound, #[case] took: i64, #[case] fits: bool) {
        let since: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(bound.check((since, since), since + SignedDuration::from_secs(took)).is_ok(), fits);
    }
}
