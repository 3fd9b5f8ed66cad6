//! Describes for machines, and for whoever is woken by it, what stood in the way when a wait ended.

use std::time::Duration;

use contract::result::ObjectReference;
use contract::text::shorten;
use jiff::Timestamp;
use tokio::time::Instant;

use super::causes::cause::{QUOTED, seconds};
use super::causes::{Cause, Class};
use super::clues::{Clues, not_granted};
use crate::cluster::evidence::Event;
use crate::cluster::observed::{LogTail, Obstacle, SeenEvent};
use crate::cluster::run::{Progress, RunContext};
use crate::cluster::{Cluster, LogError, LogOptions, server_name};
use crate::export::redact_text::Redactor;
use crate::k8s::{Kind, ObjectRef, Permission};

/// The most obstacles: a rollout of thousands of pods hangs on few different causes.
const MOST: usize = 3;

/// The most events of each.
const EVENTS: usize = 3;

/// The longest message of an event, in bytes.
const EVENT: usize = 200;

/// The most bytes of all obstacles but their logs: a result line is at most 8 KiB.
const ALL: usize = 3 << 10;

/// The most bytes of all lines of logs.
const LOGS: usize = 2 << 10;

/// The most lines that are asked for of one log.
const LINES: u64 = 20;

/// The longest line of a log, in bytes.
const LINE: usize = 400;

/// Time limit for reading logs: the node may be the one that hangs.
const LOG_LIMIT: Duration = Duration::from_secs(2);

/// Returns the causes that are told: of those of a kind only the first, and beside one that is more than slow none that is not.
pub fn told<'a>(causes: impl IntoIterator<Item = &'a Cause>) -> Vec<&'a Cause> {
    let mut all: Vec<&Cause> = Vec::new();
    for cause in causes {
        let beside_worse = cause.class == Class::Slow && all.iter().any(|other| other.class > Class::Slow);
        if all.len() < MOST && !beside_worse && all.iter().all(|other| other.kind() != cause.kind()) {
            all.push(cause);
        }
    }
    all
}

/// Describes the causes, with what was read about them, and the logs of the first pod if the run asks for them.
pub async fn describe(clues: &Clues, cluster: &Cluster, run: &RunContext, causes: &[&Cause]) -> Vec<Obstacle> {
    let mut all: Vec<Obstacle> = causes.iter().map(|cause| obstacle(clues, &run.progress, cause)).collect();
    bound(&mut all);
    if run.wait.obstacle_logs {
        let with_logs = causes.iter().zip(&mut all).find_map(|(cause, told)| Some((cause.container.as_deref()?, told)));
        if let Some((container, told)) = with_logs {
            let cluster = cluster.until(Instant::now() + LOG_LIMIT);
            logs(clues, &cluster, &run.progress, container, told).await;
        }
    }
    all
}

fn obstacle(clues: &Clues, progress: &Progress, cause: &Cause) -> Obstacle {
    let evidence = clues.evidence();
    let mut events: Vec<&Event> = cause.about.iter().filter_map(|uid| evidence.events.get(uid)).flatten().collect();
    events.sort_by_key(|event| (!event.warning, std::cmp::Reverse(event.last)));
    Obstacle {
        object: cause.object.clone(),
        state: progress.clean(&cause.state),
        since: cause.since.map(seconds),
        words: shorten(progress.clean(cause.words.trim()).as_str(), QUOTED),
        container: cause.container.clone(),
        node: cause.node.clone(),
        advice: cause.advice().map(|advice| shorten(&progress.clean(&advice), QUOTED)),
        events: events.into_iter().take(EVENTS).map(|event| seen(progress, event)).collect(),
        logs: Vec::new(),
        unread: evidence.unread.iter().map(|unread| shorten(&progress.clean(unread), EVENT)).collect(),
    }
}

fn seen(progress: &Progress, event: &Event) -> SeenEvent {
    SeenEvent {
        reason: progress.clean(&event.reason),
        message: shorten(&progress.clean(event.message.trim()), EVENT),
        count: event.count,
        last_seen: event.last.map(seconds),
    }
}

/// Leaves out events, and then whole obstacles, from the last one on, until all fit.
fn bound(all: &mut Vec<Obstacle>) {
    let size = |all: &[Obstacle]| serde_json::to_string(all).map_or(0, |text| text.len());
    while size(all) > ALL {
        if let Some(one) = all.iter_mut().rev().find(|one| !one.events.is_empty()) {
            one.events.pop();
        } else if all.len() > 1 {
            all.pop();
        } else {
            return;
        }
    }
}

async fn logs(clues: &Clues, cluster: &Cluster, progress: &Progress, container: &str, told: &mut Obstacle) {
    match clues.may_read_logs(cluster).await {
        Ok(true) => {}
        Ok(false) => {
            let permission = Permission::on_target("get", &Kind::Pod.resource()).on_sub("log");
            return told.unread.push(not_granted("logs", &permission));
        }
        Err(error) => return told.unread.push(format!("logs: {error}")),
    }
    let mut room = LOGS;
    for previous in [false, true] {
        // Half of the room for the instance that runs, all that is left for the one before.
        let most = if previous { room } else { LOGS / 2 };
        match tail(cluster, &told.object, (container, previous), progress).await {
            Ok(lines) => {
                let lines = newest(lines, most);
                // Of a container that is down both are the same.
                if lines.is_empty() || told.logs.iter().any(|other| other.lines == lines) {
                    continue;
                }
                room = room.saturating_sub(lines.iter().map(|line| line.len() + 1).sum());
                told.logs.push(LogTail { container: container.to_owned(), previous, lines });
            }
            // There is no instance before.
            Err(_) if previous => {}
            Err(why) => told.unread.push(format!("logs: {}", shorten(&progress.clean(&why), EVENT))),
        }
    }
}

/// Reads the last lines of a log, redacted as collect-logs does.
async fn tail(
    cluster: &Cluster,
    pod: &ObjectReference,
    (container, previous): (&str, bool),
    progress: &Progress,
) -> Result<Vec<String>, String> {
    let namespace = pod.namespace.as_deref().and_then(|namespace| namespace.parse().ok());
    let name = server_name(&pod.name).map_err(|error| error.to_string())?;
    let object = ObjectRef { resource: Kind::Pod.resource(), namespace, name, uid: pod.uid.clone() };
    let options =
        LogOptions { container: container.to_owned(), previous, since_seconds: None, tail_lines: Some(LINES) };
    let late = || format!("no answer within {} s", LOG_LIMIT.as_secs());
    let read = async {
        let mut log = cluster.logs(&object, &options, LINE, (0, LOG_LIMIT)).await.map_err(|error| match error {
            LogError::Container(why) | LogError::Later(why) => why,
            LogError::Silent => late(),
            LogError::Run(error) => error.full_message(),
        })?;
        let (mut redactor, mut lines) = (Redactor::default(), Vec::new());
        while let Some(line) = log.next().await? {
            let Some(text) = without_its_time(&line.bytes) else {
                return Err(String::from_utf8_lossy(&line.bytes).into_owned());
            };
            let (clean, _) = redactor.line(text);
            let mark = if line.cut > 0 { "…" } else { "" };
            lines.push(progress.clean(String::from_utf8_lossy(&clean).trim_end()) + mark);
        }
        Ok(lines)
    };
    tokio::time::timeout(cluster.remaining(), read).await.unwrap_or_else(|_| Err(late()))
}

/// Returns a line without its time; `None` for a line without one, which is the kubelet's: it could not read the log.
fn without_its_time(line: &[u8]) -> Option<&[u8]> {
    let (time, text) = line.split_at(line.iter().position(|byte| *byte == b' ')?);
    std::str::from_utf8(time).ok()?.parse::<Timestamp>().ok()?;
    text.get(1..)
}

/// Keeps the newest lines that fit, with a mark for those before.
fn newest(lines: Vec<String>, most: usize) -> Vec<String> {
    const MARK: &str = "…";
    let whole: usize = lines.iter().map(|line| line.len() + 1).sum();
    if whole <= most {
        return lines;
    }
    let mut room = most.saturating_sub(MARK.len() + 1);
    let mut kept: Vec<String> = Vec::new();
    for line in lines.into_iter().rev() {
        let Some(left) = room.checked_sub(line.len() + 1) else { break };
        room = left;
        kept.push(line);
    }
    kept.push(MARK.to_owned());
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::testing::run;
    use crate::cluster::fake::{Answer, cluster, object};
    use crate::workload::causes::table::Place;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn cause(name: &str, state: &str, container: Option<&str>) -> Cause {
        let object = ObjectReference { name: name.to_owned(), ..object(Kind::Pod).to_reference() };
        let container = container.map(str::to_owned);
        Cause { container, ..Cause::new(object, Place::Waiting, state, "words") }
    }

    #[test]
    fn of_each_kind_the_first_is_told() {
        let all = [
            cause("a", "ErrImagePull", None),
            cause("b", "ImagePullBackOff", None),
            cause("c", "ErrImagePull", Some("app")),
            cause("d", "InvalidImageName", None),
            cause("e", "ContainerCreating", None),
        ];
        let names = |all: &[Cause]| told(all).into_iter().map(|cause| cause.object.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&all), ["a", "c", "d"]);
        assert!(told(&[]).is_empty());
        // A slow start is told where nothing else is.
        let slow = [cause("e", "ContainerCreating", None), cause("f", "PodInitializing", None)];
        assert_eq!(names(&slow), ["e", "f"]);
        assert_eq!(names(&[all[0].clone(), slow[0].clone()]), ["a"]);
    }

    #[rstest]
    #[case::all(&["one", "two"], 8, &["one", "two"])]
    #[case::too_many(&["one", "two", "three"], 12, &["…", "three"])]
    #[case::none_fits(&["a long line"], 8, &["…"])]
    #[case::exactly(&["one", "two"], 7, &["…"])]
    #[case::empty(&[], 0, &[])]
    fn the_newest_lines_are_kept(#[case] lines: &[&str], #[case] most: usize, #[case] kept: &[&str]) {
        let lines = lines.iter().map(ToString::to_string).collect();
        assert_eq!(newest(lines, most), kept);
    }

    fn event(number: i64, warning: bool) -> Value {
        json!({ "reason": "R", "note": format!("{number} {}", "x".repeat(300)), "type": if warning { "Warning" } else { "Normal" },
            "deprecatedCount": number, "deprecatedLastTimestamp": format!("2026-01-01T00:00:0{number}Z") })
    }

    /// Grants everything; the log of the instance that runs has two lines.
    async fn described(causes: &[Cause], logs: bool, previous: &'static str) -> Vec<Obstacle> {
        let (cluster, _) = cluster(move |line, _| match line {
            line if line.contains("selfsubject") => {
                let rules = json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]);
                Answer::Json(
                    200,
                    json!({ "status": { "allowed": true, "resourceRules": rules, "nonResourceRules": [], "incomplete": false } }),
                )
            }
            line if line.contains("/events") => Answer::Json(
                200,
                json!({ "items": [event(1, false), event(3, false), event(2, true), event(4, true)] }),
            ),
            line if line.contains("previous=true") => Answer::Text(200, previous),
            line if line.contains("/log?") => {
                Answer::Text(200, "2026-01-01T00:00:00Z hello\n2026-01-01T00:00:01Z password=hunter2hunter2\n")
            }
            _ => Answer::Json(200, json!({})),
        });
        let mut run = run();
        run.wait.obstacle_logs = logs;
        run.progress.hide_template(&json!({ "spec": { "containers": [{ "env": [{ "value": "hunter44" }] }] } }));
        let target = object(Kind::Deployment);
        let mut clues = Clues::of(&target);
        let causes: Vec<&Cause> = causes.iter().collect();
        clues.read(&cluster, &causes).await;
        describe(&clues, &cluster, &run, &causes).await
    }

    #[tokio::test(start_paused = true)]
    async fn an_obstacle_has_all_that_is_known() {
        let mut one =
            cause("a", "ErrImagePull", Some("app")).since("2026-01-01T00:00:01.5Z".parse().ok()).note("a note");
        one.words = "  no hunter44\u{1b}[2J\n".to_owned();
        one.node = Some("n1".to_owned());
        let all = described(&[one], false, "").await;
        let [found] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!(
            (found.object.name.as_str(), found.state.as_str(), found.container.as_deref()),
            ("a", "ErrImagePull", Some("app"))
        );
        assert_eq!(
            (found.since.as_deref(), found.words.as_str()),
            (Some("2026-01-01T00:00:01Z"), r"no [hidden]\u001b[2J")
        );
        assert_eq!((found.node.as_deref(), found.advice.as_deref()), (Some("n1"), Some("a note")));
        let events: Vec<_> =
            found.events.iter().map(|event| (event.count, event.last_seen.as_deref().unwrap())).collect();
        // Warnings first.
        assert_eq!(events, [(4, "2026-01-01T00:00:04Z"), (2, "2026-01-01T00:00:02Z"), (3, "2026-01-01T00:00:03Z")]);
        assert!(found.events.iter().all(|event| event.message.len() <= EVENT + 3 && event.message.ends_with('…')));
        assert!(found.logs.is_empty() && found.unread.is_empty(), "{found:?}");
    }

    /// Redacted, and the one before only when it is another one.
    #[rstest]
    #[case::another_one("2026-01-01T00:00:00Z before\n", 2)]
    #[case::the_same("2026-01-01T00:00:00Z hello\n2026-01-01T00:00:01Z password=hunter2hunter2\n", 1)]
    #[case::none("", 1)]
    #[case::gone("unable to retrieve container logs for containerd://abc", 1)]
    #[tokio::test(start_paused = true)]
    async fn logs_come_when_they_are_asked_for(#[case] previous: &'static str, #[case] number: usize) {
        // The first obstacle that has a container is the one whose logs are shown.
        let all = described(
            &[cause("a", "X", None), cause("b", "Error", Some("app")), cause("c", "ContainerCreating", Some("x"))],
            true,
            previous,
        )
        .await;
        let with_logs: Vec<_> = all.iter().map(|one| one.logs.len()).collect();
        assert_eq!(with_logs, [0, number, 0]);
        let log = &all[1].logs[0];
        assert_eq!((log.container.as_str(), log.previous, log.lines[0].as_str()), ("app", false, "hello"));
        assert!(log.lines[1].starts_with("password=") && !log.lines[1].contains("hunter2"), "{log:?}");
        if let Some(before) = all[1].logs.get(1) {
            assert_eq!((before.previous, before.lines.as_slice()), (true, ["before".to_owned()].as_slice()));
        }
    }

    /// Three obstacles with three long events each do not fit: the last ones lose theirs.
    #[tokio::test(start_paused = true)]
    async fn all_of_it_fits() {
        let long = |name: &str, state: &str| {
            let mut cause = cause(name, state, None);
            cause.words = "w".repeat(999);
            cause.note("n".repeat(999))
        };
        let all =
            described(&[long("a", "ErrImagePull"), long("b", "InvalidImageName"), long("c", "X")], false, "").await;
        let size = serde_json::to_string(&all).unwrap().len();
        assert!(size <= ALL, "{size}");
        assert_eq!(all.len(), 3);
        assert!(all[0].events.len() >= all[1].events.len() && all[1].events.len() >= all[2].events.len(), "{all:?}");
        assert!(all.iter().all(|one| one.words.len() == QUOTED + 3 && one.words.ends_with('…')));
    }

    #[test]
    fn what_does_not_fit_without_events_loses_obstacles() {
        let one = |size: usize| Obstacle {
            object: object(Kind::Pod).to_reference(),
            state: "s".repeat(size),
            since: None,
            words: String::new(),
            container: None,
            node: None,
            advice: None,
            events: Vec::new(),
            logs: Vec::new(),
            unread: Vec::new(),
        };
        let mut all = vec![one(2000), one(2000)];
        bound(&mut all);
        assert_eq!(all.len(), 1);
        let mut all = vec![one(9000)];
        bound(&mut all);
        assert_eq!(all.len(), 1, "one is always told");
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_that_hangs_is_said() {
        let (cluster, _) = cluster(|line, _| match line {
            line if line.contains("rulesreviews") => {
                let rules = json!([{ "apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"] }]);
                Answer::Json(
                    200,
                    json!({ "status": { "resourceRules": rules, "nonResourceRules": [], "incomplete": false } }),
                )
            }
            line if line.contains("/log?") => Answer::Watch(Vec::new()),
            _ => Answer::Json(200, json!({ "status": { "allowed": false } })),
        });
        let (mut run, began) = (run(), Instant::now());
        run.wait.obstacle_logs = true;
        let clues = Clues::of(&object(Kind::Deployment));
        let all = describe(&clues, &cluster, &run, &[&cause("a", "Error", Some("app"))]).await;
        assert_eq!(
            (all[0].logs.len(), all[0].unread.as_slice()),
            (0, ["logs: no answer within 2 s".to_owned()].as_slice())
        );
        assert_eq!(began.elapsed(), LOG_LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_that_is_not_granted_is_said() {
        let (cluster, seen) = cluster(|_, _| {
            Answer::Json(
                200,
                json!({ "status": { "allowed": false, "resourceRules": [], "nonResourceRules": [], "incomplete": false } }),
            )
        });
        let mut run = run();
        run.wait.obstacle_logs = true;
        let clues = Clues::of(&object(Kind::Deployment));
        let all = describe(&clues, &cluster, &run, &[&cause("a", "Error", Some("app"))]).await;
        assert_eq!(
            all[0].unread,
            ["logs: get pods/log (core) is not granted; the component rbac/components/causes grants it"]
        );
        assert!(seen.with("/log?").is_empty());
    }
}
