//! Reads the logs, so that one that does not come holds no other.
//!
//! The API server asks the kubelet of each pod's node, and waits 30 s for one that is dead. So a log is asked for with
//! little patience at first, and what fails is asked for again when all others are read, in rounds: a node that was
//! silent once is not asked again in the same round. After three such rounds (or when the cluster itself says that the
//! node is not ready) its logs are given up.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use futures::StreamExt;
use tokio::time::Instant;

use super::collection::{Collection, head, line_time};
use super::nodes::{self, Nodes};
use super::pods;
use super::sources::Served;
use super::{CollectLogs, Source, Target};
use crate::cluster::error::{Error, Result};
use crate::cluster::{Cluster, LogError, LogLines, LogOptions};
use crate::export::redact_text::Redactor;

/// The most logs read at once. The kubelet serves about 5 MB/s and the client speaks HTTP/1.1: more do not help.
const AT_ONCE: usize = 4;
/// The most bytes of a raw line that are read: more than are kept, so that a secret at the cut is redacted, not halved.
const RAW_LINE_LIMIT: usize = 64 << 10;
/// Time without a byte after which a log that has begun counts as broken off.
const STALLED: Duration = Duration::from_secs(15);
/// The least share of the time that a log gets: enough for 10 MiB, which is what a kubelet keeps in one file, at a fifth of its
/// usual speed.
const LEAST_SHARE: Duration = Duration::from_secs(10);
/// Pauses before rounds after something that failed at once: an API server that starts is back within seconds.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(200), Duration::from_millis(800), Duration::from_secs(2), Duration::from_secs(5)];

/// Time in which a pod of the same name may have come in another one's place.
const LONG: Duration = Duration::from_secs(2);

/// The state of the reading, shared by the logs that are read at once.
struct Reading<'a> {
    target: &'a Target,
    collection: RefCell<Collection>,
    nodes: RefCell<Nodes<'a>>,
    /// Number of tries of each log that failed at once.
    tries: Vec<Cell<u32>>,
    /// Number of logs that this round has still to begin.
    waiting: Cell<usize>,
    /// Logs for the next round; with the reason, if they failed at once in this one.
    again: RefCell<Vec<(usize, Option<String>)>>,
    failure: RefCell<Option<Error>>,
}

impl CollectLogs {
    /// Reads all logs. Fails only for what concerns the whole run.
    pub(super) async fn read_all(&self, cluster: &Cluster, target: &Target) -> Result<Collection> {
        let reading = Reading {
            target,
            collection: RefCell::new(Collection::new(self, target)),
            nodes: RefCell::default(),
            tries: vec![Cell::new(0); target.sources.len()],
            waiting: Cell::new(0),
            again: RefCell::default(),
            failure: RefCell::default(),
        };
        let readable = target.sources.iter().enumerate().filter(|(_, source)| source.obstacle.is_none());
        let mut round = in_turn(&target.sources, readable.map(|(index, _)| index));
        let (began, mut pauses) = (Instant::now(), PAUSES.iter());
        while !round.is_empty() {
            reading.waiting.set(round.len());
            let each = async |index| self.read(cluster, &reading, index).await;
            futures::stream::iter(round).for_each_concurrent(AT_ONCE, each).await;
            if let Some(error) = reading.failure.take() {
                return Err(error);
            }
            let left = reading.end_of_round(cluster.remaining());
            if left.iter().any(|(_, failed)| failed.is_some()) {
                let pause = pauses.next().or(PAUSES.last()).copied().unwrap_or_default();
                tokio::time::sleep(pause.min(cluster.remaining())).await;
            }
            round = in_turn(&target.sources, left.into_iter().map(|(index, _)| index));
        }
        let mut collection = reading.collection.into_inner();
        if began.elapsed() >= LONG {
            collection.doubt(target, &pods::replaced(cluster, target).await);
        }
        Ok(collection)
    }

    /// Reads one log, or puts it off until the next round.
    async fn read(&self, cluster: &Cluster, reading: &Reading<'_>, index: usize) {
        let waiting = reading.waiting.replace(reading.waiting.get().saturating_sub(1));
        let (Some(source), Some(tries)) = (reading.target.sources.get(index), reading.tries.get(index)) else { return };
        let node = source.node.as_deref().unwrap_or_default();
        if reading.failure.borrow().is_some() {
            return;
        }
        let Some(patience) = reading.nodes.borrow().patience(node) else {
            reading.again.borrow_mut().push((index, None));
            return;
        };
        let (full, patience) = (patience, patience.min(cluster.remaining()));
        if patience.is_zero() {
            let mut collection = reading.collection.borrow_mut();
            return collection.set_error(index, "not read: the time was over before its turn came".to_owned());
        }
        let options = LogOptions {
            container: source.container.clone(),
            previous: source.previous,
            since_seconds: self.since_seconds,
            tail_lines: self.tail_lines,
        };
        let served = Served::now();
        match cluster.logs(&source.pod, &options, RAW_LINE_LIMIT, (tries.get(), patience)).await {
            Ok(log) => {
                reading.nodes.borrow_mut().answered(node);
                // Those that were put off want their time too.
                let others = waiting + reading.again.borrow().len();
                self.take((log, share(cluster.remaining(), others)), (source, index), served, reading).await;
            }
            Err(LogError::Run(error)) => {
                reading.failure.replace(Some(error));
            }
            Err(LogError::Container(why)) => reading.collection.borrow_mut().set_error(index, why),
            Err(LogError::Later(why)) => {
                tries.set(tries.get() + 1);
                reading.again.borrow_mut().push((index, Some(why)));
            }
            Err(LogError::Silent) if patience < full => {
                let why = format!("nothing came in the last {:.1} s", patience.as_secs_f32());
                reading.again.borrow_mut().push((index, Some(why)));
            }
            Err(LogError::Silent) => {
                reading.again.borrow_mut().push((index, None));
                let is_first = reading.nodes.borrow_mut().was_silent(node);
                if is_first && let Some(why) = nodes::trouble(cluster, node).await {
                    reading.nodes.borrow_mut().give_up(node, &why);
                }
            }
        }
    }

    /// Takes the lines of a log as they come, in its share of the time.
    async fn take(
        &self,
        (mut log, share): (LogLines, Duration),
        (source, index): (&Source, usize),
        mut served: Served,
        reading: &Reading<'_>,
    ) {
        let until = Instant::now() + share;
        let (mut redactor, mut last) = (Redactor::default(), Vec::new());
        let collection = &reading.collection;
        loop {
            let line = match tokio::time::timeout_at(until.min(Instant::now() + STALLED), log.next()).await {
                Ok(Ok(Some(line))) => line,
                Ok(Ok(None)) => {
                    served.ends = line_time(&last);
                    return collection.borrow_mut().set_incomplete(index, self.incomplete(source, &served));
                }
                Ok(Err(why)) => return collection.borrow_mut().set_error(index, why),
                Err(_) => return collection.borrow_mut().set_error(index, not_to_its_end(until, share)),
            };
            served.lines += 1;
            served.bytes += u64::try_from(line.bytes.len() + line.cut).unwrap_or(0);
            if served.lines == 1 && kubelet_error(&line.bytes) {
                collection.borrow_mut().set_error(index, String::from_utf8_lossy(&line.bytes).into_owned());
                continue;
            }
            if served.lines == 1 {
                served.begins = line_time(&line.bytes);
            }
            last.clear();
            last.extend_from_slice(head(&line.bytes));
            self.keep((source, index), &line, &mut redactor, &mut collection.borrow_mut());
        }
    }

    /// Returns why a log that was read to its end may lack its beginning.
    fn incomplete(&self, source: &Source, served: &Served) -> Option<String> {
        let all_that_was_asked = self.tail_lines.is_some_and(|tail| served.lines >= tail);
        let since = self.since_seconds.and_then(|seconds| i64::try_from(seconds).ok());
        source.ran.as_ref().filter(|_| !all_that_was_asked).and_then(|ran| ran.missing(served, since))
    }
}

impl Reading<'_> {
    /// Lists the logs of given-up nodes with the reason, and all others when the time is over; returns the rest.
    fn end_of_round(&self, remaining: Duration) -> Vec<(usize, Option<String>)> {
        let mut nodes = self.nodes.borrow_mut();
        let mut collection = self.collection.borrow_mut();
        let mut left = self.again.take();
        left.retain(|(index, failed)| {
            let source = self.target.sources.get(*index);
            let node = source.and_then(|source| source.node.as_deref()).unwrap_or_default();
            let why = match (nodes.given_up(node), failed) {
                (Some(why), _) => why,
                (None, _) if !remaining.is_zero() => return true,
                (None, Some(failed)) => format!("not read in time: {failed}"),
                (None, None) => format!("not read in time: its node {node} sent nothing when it was asked, and there was no time to ask again"),
            };
            collection.set_error(*index, why);
            false
        });
        nodes.next_round();
        left
    }
}

/// Orders logs so that no node comes a second time before all others came once; last those out of the cluster's sight.
fn in_turn(sources: &[Source], logs: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut seen: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    let mut ranked: Vec<(bool, usize, usize)> = logs
        .filter_map(|index| {
            let source = sources.get(index)?;
            let turn = seen.entry(source.node.as_deref().unwrap_or_default()).or_default();
            *turn += 1;
            Some((source.out_of_sight, *turn, index))
        })
        .collect();
    ranked.sort_unstable();
    ranked.into_iter().map(|(_, _, index)| index).collect()
}

/// Returns the share of the time for a log, if so many are waiting, itself among them.
fn share(left: Duration, waiting: usize) -> Duration {
    let at_once = u32::try_from(AT_ONCE.min(waiting.max(1))).unwrap_or(1);
    let waiting = u32::try_from(waiting.max(1)).unwrap_or(u32::MAX);
    (left.saturating_mul(at_once) / waiting).max(LEAST_SHARE).min(left)
}

fn not_to_its_end(until: Instant, share: Duration) -> String {
    if Instant::now() < until {
        return format!("not read to its end: nothing more came for {} s", STALLED.as_secs());
    }
    format!("not read to its end: its share of the time ({:.0} s) was over", share.as_secs_f32())
}

/// Returns whether the line is the kubelet's message that the runtime has lost the file, sent as a log with status 200
/// (kubernetes#142258).
fn kubelet_error(line: &[u8]) -> bool {
    line.starts_with(b"unable to retrieve container logs for ")
        || line.starts_with(b"failed to try resolving symlinks in path ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fake::{Answer, Seen, cluster};
    use crate::collect_logs::ContainerKind;
    use crate::k8s::{Kind, ObjectRef};
    use rstest::rstest;
    use serde_json::json;

    fn source(node: &str, number: usize) -> Source {
        let name = format!("{node}-{number}").parse().unwrap();
        let namespace = Some("shop".parse().unwrap());
        Source {
            pod: ObjectRef { resource: Kind::Pod.resource(), namespace, name, uid: None },
            container: "app".to_owned(),
            kind: ContainerKind::Main,
            previous: false,
            obstacle: None,
            ran: None,
            node: Some(node.to_owned()),
            out_of_sight: false,
        }
    }

    /// Pods of these nodes, so many on each.
    fn target(nodes: &[(&str, usize)]) -> Target {
        let sources = nodes.iter().flat_map(|(node, pods)| (0..*pods).map(|number| source(node, number)));
        Target { live: None, pods: nodes.len(), sources: sources.collect(), labels: None }
    }

    fn never() -> Answer {
        Answer::Late(Duration::from_hours(1), Box::new(Answer::Lost))
    }

    /// Reads all logs in this many seconds, from nodes that answer so; returns the lines of each log and its error, and
    /// the seconds that it took.
    async fn read(
        target: &Target,
        seconds: u64,
        answer: impl Fn(&str, usize) -> Answer + Send + 'static,
    ) -> (Vec<(usize, Option<String>)>, u64, Seen) {
        let (cluster, seen) = cluster(move |line, before| {
            if line.contains("selfsubject") {
                return Answer::Json(201, json!({ "status": { "allowed": false } }));
            }
            if line.contains("/readyz") {
                return Answer::Json(200, json!({}));
            }
            answer(line, before)
        });
        let logs: CollectLogs = serde_json::from_value(json!({})).unwrap();
        let begun = Instant::now();
        let deadline = begun + Duration::from_secs(seconds);
        let collection = logs.read_all(&cluster.until(deadline), target).await.unwrap();
        let took = begun.elapsed().as_secs();
        let details = CollectLogs::write((&target.sources, 1), collection, &mut Nowhere).unwrap();
        (details.containers.into_iter().map(|one| (one.lines, one.error)).collect(), took, seen)
    }

    struct Nowhere;

    impl crate::collect_logs::output::Output for Nowhere {
        fn put(&mut self, _source: &Source, _share: &crate::export::budget::Share) -> std::io::Result<()> {
            Ok(())
        }
    }

    const LOG: Answer = Answer::Text(200, "2026-11-23T10:00:00Z hello\n");

    /// The dead nodes' pods come first in the list, as many as are read at once and more.
    #[rstest]
    #[case::one_node(&[("dead", 6), ("well", 2)], 35)]
    #[case::three_nodes(&[("dead-a", 3), ("dead-b", 3), ("dead-c", 3), ("well", 2)], 35)]
    #[case::one_pod(&[("dead", 1), ("well", 1)], 35)]
    #[tokio::test(start_paused = true)]
    async fn what_a_dead_node_holds_holds_no_other(#[case] nodes: &[(&str, usize)], #[case] seconds: u64) {
        let target = target(nodes);
        let answer = |line: &str, _| if line.contains("/dead") { never() } else { LOG };
        let (logs, took, seen) = read(&target, 90, answer).await;
        assert_eq!(took, seconds);
        for ((lines, error), source) in logs.iter().zip(&target.sources) {
            let node = source.node.as_deref().unwrap();
            if node == "well" {
                assert_eq!((*lines, error), (1, &None));
                continue;
            }
            let says = format!("its node {node} was asked for logs 3 times, and sent nothing for 5, 15, 15 s");
            assert_eq!((*lines, error.as_deref()), (0, Some(says.as_str())));
        }
        // One that is well is among the first four that are asked for.
        let first = seen.with("/log?").iter().position(|line| line.contains("/well")).unwrap();
        assert!(first < AT_ONCE, "{:?}", seen.with("/log?"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_needs_longer_is_waited_for() {
        let slow = |_: &str, _| Answer::Late(Duration::from_secs(8), Box::new(LOG));
        let (logs, took, _) = read(&target(&[("slow", 6)]), 90, slow).await;
        assert!(logs.iter().all(|(lines, error)| *lines == 1 && error.is_none()), "{logs:?}");
        // 5 s of patience, then two times 8 s, for four are read at once.
        assert_eq!(took, 21);
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_at_once_is_asked_for_again_after_the_others() {
        let failing = |line: &str, before: usize| match before {
            0 if line.contains("/bad") => Answer::Json(503, json!({ "kind": "Status", "code": 503 })),
            1 if line.contains("/bad") => Answer::Lost,
            _ => LOG,
        };
        let (logs, _, seen) = read(&target(&[("bad", 1), ("well", 5)]), 90, failing).await;
        assert!(logs.iter().all(|(lines, error)| *lines == 1 && error.is_none()), "{logs:?}");
        let order: Vec<_> = seen.with("/log?").iter().map(|line| line.contains("/bad")).collect();
        assert_eq!(order, [true, false, false, false, false, false, true, true]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_read_in_time_is_told_by_name() {
        let (logs, took, _) = read(&target(&[("dead", 2), ("away", 1)]), 12, |line, _| {
            if line.contains("/dead") { never() } else { Answer::Json(503, json!({ "kind": "Status", "code": 503 })) }
        })
        .await;
        let errors: Vec<_> = logs.into_iter().map(|(_, error)| error.unwrap()).collect();
        assert_eq!(errors[0], "not read in time: nothing came in the last 6.8 s");
        assert!(errors[1..].iter().all(|error| error.starts_with("not read")), "{errors:?}");
        assert_eq!(took, 12);
    }

    /// A StatefulSet's pod that comes again on another node while the first one's node is silent.
    #[rstest]
    #[case::the_same("u", 8, false)]
    #[case::another_one("v", 8, true)]
    #[case::too_soon_for_that("v", 1, false)]
    #[tokio::test(start_paused = true)]
    async fn lines_of_a_namesake_are_told(#[case] now: &'static str, #[case] seconds: u64, #[case] told: bool) {
        let mut target = target(&[("slow", 1)]);
        target.labels = Some("app=db".to_owned());
        target.sources[0].pod.uid = Some("u".to_owned());
        let (logs, _, _) = read(&target, 90, move |line, _| match line {
            line if line.contains("/log?") => Answer::Late(Duration::from_secs(seconds), Box::new(LOG)),
            _ => Answer::Json(200, json!({ "metadata": {}, "items": [{ "metadata": { "name": "slow-0", "uid": now }, "spec": {}, "status": {} }] })),
        })
        .await;
        let error = logs[0].1.clone().unwrap_or_default();
        assert_eq!((logs[0].0, error.contains("another pod has its name by now")), (1, told), "{error}");
    }

    #[rstest]
    #[case::alone(1, 270, 270)]
    #[case::as_many_as_are_read_at_once(4, 270, 270)]
    #[case::many(40, 270, 27)]
    #[case::very_many(1000, 270, 10)]
    #[case::at_the_end(1000, 3, 3)]
    fn a_log_has_its_share_of_the_time(#[case] waiting: usize, #[case] left: u64, #[case] expected: u64) {
        assert_eq!(share(Duration::from_secs(left), waiting).as_secs(), expected);
    }

    #[test]
    fn no_node_comes_twice_before_all_came_once() {
        let mut target = target(&[("a", 3), ("b", 2), ("c", 1)]);
        assert_eq!(in_turn(&target.sources, 0..6), [0, 3, 5, 1, 4, 2]);
        target.sources[0].out_of_sight = true;
        assert_eq!(in_turn(&target.sources, 0..6), [3, 5, 1, 4, 2, 0]);
    }
}
