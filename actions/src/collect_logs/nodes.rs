//! The nodes in which the logs lie: which of them answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::evidence::NodeState;
use crate::cluster::{Access, Cluster, KnownRules, server_name};
use crate::k8s::{Kind, ObjectRef, Permission};

/// Time for a log's first byte, by the rounds in which its node was silent before. A kubelet answers within milliseconds,
/// under load within seconds; the later rounds are for one that needs longer.
pub(super) const PATIENCE: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(15), Duration::from_secs(15)];

/// What is known of the nodes.
#[derive(Default)]
pub(super) struct Nodes<'a> {
    /// Number of rounds in which a node was silent and has sent nothing since.
    silences: BTreeMap<&'a str, usize>,
    /// Nodes that have answered, but not at once.
    slow: BTreeSet<&'a str>,
    /// Nodes that were silent in this round.
    silent_now: BTreeSet<&'a str>,
    /// Nodes of which nothing is expected any more, and why.
    given_up: BTreeMap<&'a str, String>,
}

impl<'a> Nodes<'a> {
    /// Returns how long to wait for a node's answer; `None` when it is not to be asked in this round.
    pub(super) fn patience(&self, node: &str) -> Option<Duration> {
        let round = self.silences.get(node).copied().unwrap_or_else(|| usize::from(self.slow.contains(node)));
        PATIENCE.get(round).copied().filter(|_| !self.silent_now.contains(node))
    }

    /// Records that a node has sent something.
    pub(super) fn answered(&mut self, node: &'a str) {
        if self.silences.remove(node).is_some() {
            self.slow.insert(node);
        }
        self.silent_now.remove(node);
    }

    /// Records that a node was silent; returns whether that was the first time.
    pub(super) fn was_silent(&mut self, node: &'a str) -> bool {
        if !self.silent_now.insert(node) {
            return false;
        }
        let rounds = self.silences.entry(node).or_default();
        *rounds += 1;
        *rounds == 1
    }

    /// Gives up a node of which the cluster says this.
    pub(super) fn give_up(&mut self, node: &'a str, why: &str) {
        let waited = PATIENCE.first().map(Duration::as_secs).unwrap_or_default();
        self.given_up.insert(node, format!("its node {node} sent nothing for {waited} s, and is not ready: {why}"));
    }

    /// Returns why a node is given up, if it is.
    pub(super) fn given_up(&self, node: &str) -> Option<String> {
        let silent = || {
            let rounds = self.silences.get(node).filter(|rounds| **rounds >= PATIENCE.len())?;
            let waited = PATIENCE.map(|patience| patience.as_secs().to_string()).join(", ");
            Some(format!("its node {node} was asked for logs {rounds} times, and sent nothing for {waited} s"))
        };
        self.given_up.get(node).cloned().or_else(silent)
    }

    /// Begins the next round.
    pub(super) fn next_round(&mut self) {
        self.silent_now.clear();
    }
}

/// Returns what the cluster says of a node that is not ready; `None` if the node is ready, or if it may not be read.
pub(super) async fn trouble(cluster: &Cluster, node: &str) -> Option<String> {
    /// The logs of other nodes may be waiting.
    const LIMIT: Duration = Duration::from_secs(5);
    let (cluster, name) = (cluster.until(Instant::now() + LIMIT), server_name(node).ok()?);
    let resource = Kind::Node.resource();
    let get = BTreeSet::from([Permission::on_target("get", &resource)]);
    // No error here concerns the run: without a word about its node, a log is just asked for again.
    let access = cluster.missing(&get, None, Some(&name), &mut KnownRules::default()).await.ok()?;
    if access != Access::Granted {
        return None;
    }
    let node = cluster.get(&ObjectRef { resource, namespace: None, name, uid: None }).await.ok()?;
    let NodeState { ready, reason, message, since, .. } = NodeState::read(&node);
    let since = since.map(|since| format!(" since {since}")).unwrap_or_default();
    (!ready).then(|| format!("{reason}{since}: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fake::{Answer, cluster};
    use rstest::rstest;
    use serde_json::json;

    #[test]
    fn a_silent_node_is_asked_once_a_round_and_given_up_after_three() {
        let mut nodes = Nodes::default();
        for (round, patience) in PATIENCE.into_iter().enumerate() {
            assert_eq!((nodes.patience("n"), nodes.given_up("n")), (Some(patience), None));
            assert_eq!(nodes.was_silent("n"), round == 0);
            // Others were asked at the same time: that is one silence.
            assert!(!nodes.was_silent("n"));
            assert_eq!((nodes.patience("n"), nodes.patience("other")), (None, Some(PATIENCE[0])));
            nodes.next_round();
        }
        let says = "its node n was asked for logs 3 times, and sent nothing for 5, 15, 15 s";
        assert_eq!(nodes.given_up("n").as_deref(), Some(says));
        nodes.answered("n");
        assert_eq!((nodes.patience("n"), nodes.given_up("n")), (Some(PATIENCE[1]), None), "it needs longer");
        nodes.answered("other");
        assert_eq!(nodes.patience("other"), Some(PATIENCE[0]));
    }

    #[rstest]
    #[case::dead(
        true,
        "Unknown",
        Some("NodeStatusUnknown since 2026-01-01T00:00:00Z: Kubelet stopped posting node status.")
    )]
    #[case::ready(true, "True", None)]
    #[case::not_to_be_read(false, "Unknown", None)]
    #[tokio::test(start_paused = true)]
    async fn what_the_cluster_says_of_a_node_counts_where_it_may_be_read(
        #[case] allowed: bool,
        #[case] ready: &'static str,
        #[case] says: Option<&str>,
    ) {
        let (cluster, seen) = cluster(move |line, _| match line {
            line if line.contains("selfsubjectaccessreviews") => {
                Answer::Json(201, json!({ "status": { "allowed": allowed } }))
            }
            line if line.contains("/nodes/") => {
                let conditions = json!([{ "type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "NodeStatusUnknown",
                    "message": "Kubelet stopped posting node status." }]);
                Answer::Json(200, json!({ "metadata": { "name": "n" }, "status": { "conditions": conditions } }))
            }
            _ => Answer::Json(200, json!({})),
        });
        assert_eq!(trouble(&cluster, "n").await.as_deref(), says);
        assert_eq!(seen.with("/nodes/").len(), usize::from(allowed));
    }
}
