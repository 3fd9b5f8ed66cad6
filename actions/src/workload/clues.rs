//! Reads evidence while a wait hangs, where the account may: events, nodes, the namespace. Each is optional, asked for at
//! that moment and never before, and what could not be read is said.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::causes::table::Place;
use super::causes::{Cause, Evidence};
use crate::cluster::error::Result;
use crate::cluster::evidence::{NodeState, events, namespaces};
use crate::cluster::{Access, Cluster, KnownRules, server_name};
use crate::k8s::names::Name;
use crate::k8s::{Kind, ObjectRef, Permission};

/// Time for which something has hung before evidence is read: most starts are over by then.
const AFTER: Duration = Duration::from_secs(2);

/// The longest interval for reading it again: in the first minute what is certain is to be told 5 s after it is in the cluster.
const EVERY: Duration = Duration::from_secs(4);

/// The interval after that: what has hung for a minute seldom changes, and many may hang at once.
const LATER: Duration = Duration::from_secs(10);

/// Time limit for all that is read at once, so that a wait that is to end at once does.
const LIMIT: Duration = Duration::from_secs(2);

/// The most objects of which events are read.
const MOST: usize = 3;

/// The evidence of one wait, and how it is read.
pub struct Clues {
    target: ObjectRef,
    evidence: Evidence,
    rights: Option<Rights>,
    /// Time since which something has hung of which more could be told.
    hanging: Option<Instant>,
    /// Time of the last reading.
    read: Option<Instant>,
    /// Time until the one after it.
    pause: Duration,
}

/// Reads that are granted.
#[derive(Clone, Copy)]
struct Rights {
    events: bool,
    nodes: bool,
    namespaces: bool,
}

impl Clues {
    /// Starts for a target.
    pub fn of(target: &ObjectRef) -> Self {
        Self {
            target: target.clone(),
            evidence: Evidence::default(),
            rights: None,
            hanging: None,
            read: None,
            pause: AFTER,
        }
    }

    /// Returns what was read last.
    pub const fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// Returns when evidence is to be read next, for these causes.
    pub fn next(&self, causes: &[Cause]) -> Option<Instant> {
        let may = self.rights.is_none_or(|rights| rights.events || rights.nodes || rights.namespaces);
        if !may || !causes.iter().any(|cause| cause.row.events) {
            return None;
        }
        let first = self.hanging.map(|since| since + AFTER);
        self.read.map(|read| read + self.pause).max(first)
    }

    /// Reads evidence, if something has hung for long enough; returns whether it did.
    pub async fn follow(&mut self, cluster: &Cluster, causes: &[Cause]) -> bool {
        if !causes.iter().any(|cause| cause.row.events) {
            self.hanging = None;
            self.pause = AFTER;
            return false;
        }
        let since = *self.hanging.get_or_insert_with(Instant::now);
        let due = self.next(causes).is_some_and(|next| next <= Instant::now());
        if due {
            let causes: Vec<&Cause> = causes.iter().filter(|cause| cause.row.events).collect();
            let again = self.read.is_some();
            self.read(cluster, &causes).await;
            self.pause = match since.elapsed() {
                _ if !again => AFTER,
                hanging if hanging < Duration::from_mins(1) => EVERY,
                _ => LATER,
            };
        }
        due
    }

    /// Reads evidence about these causes now. What cannot be read again is kept as it was, and that is said.
    pub async fn read(&mut self, cluster: &Cluster, causes: &[&Cause]) {
        self.read = Some(Instant::now());
        let cluster = &cluster.until(Instant::now() + LIMIT);
        let mut evidence = Evidence::default();
        let rights = match self.rights(cluster).await {
            Ok(rights) => rights,
            Err(error) => {
                // Nobody has said no; what is known already is kept.
                self.evidence.unread = vec![format!("events, node, namespace: {error}")];
                return;
            }
        };
        if rights.events {
            self.events(cluster, causes, &mut evidence).await;
        } else {
            evidence.unread.push(not_granted("events", &Permission::of("list", &events())));
        }
        self.nodes(cluster, causes, rights, &mut evidence).await;
        if let Some(namespace) = self.target.namespace.as_ref().filter(|_| rights.namespaces) {
            match cluster.leaving_namespace(namespace).await {
                Ok(leaving) => evidence.namespace = leaving,
                Err(error) => {
                    evidence.namespace.clone_from(&self.evidence.namespace);
                    evidence.unread.push(format!("namespace: {error}"));
                }
            }
        }
        self.evidence = evidence;
    }

    async fn events(&self, cluster: &Cluster, causes: &[&Cause], evidence: &mut Evidence) {
        let about: BTreeSet<&str> = causes.iter().filter_map(|cause| cause.about.as_deref()).take(MOST).collect();
        evidence.events = known(&self.evidence.events, &about);
        for uid in about {
            match cluster.events_about(&self.target, uid).await {
                Ok(events) => _ = evidence.events.insert(uid.to_owned(), events),
                Err(error) => return evidence.unread.push(format!("events: {error}")),
            }
        }
    }

    /// Reads the nodes of pods of which nobody reports, or that should be gone.
    async fn nodes(&self, cluster: &Cluster, causes: &[&Cause], rights: Rights, evidence: &mut Evidence) {
        let silent = |cause: &&&Cause| matches!(cause.row.place, Place::Silence | Place::Overdue);
        let names: BTreeSet<&str> =
            causes.iter().filter(silent).filter_map(|cause| cause.node.as_deref()).take(MOST).collect();
        if !names.is_empty() && !rights.nodes {
            let permission = Permission::on_target("get", &Kind::Node.resource());
            return evidence.unread.push(not_granted("node", &permission));
        }
        evidence.nodes = known(&self.evidence.nodes, &names);
        for name in names {
            match node(cluster, name).await {
                Ok(state) => _ = evidence.nodes.insert(name.to_owned(), state),
                Err(error) => evidence.unread.push(format!("node: {error}")),
            }
        }
    }

    /// Asks once which reads are granted.
    async fn rights(&mut self, cluster: &Cluster) -> Result<Rights> {
        if let Some(rights) = self.rights {
            return Ok(rights);
        }
        let namespace = self.target.namespace.as_ref().map(ToString::to_string).and_then(|name| name.parse().ok());
        let mut asked = Asked { cluster, target: &self.target, rules: KnownRules::default() };
        let rights = Rights {
            events: asked.may(Permission::of("list", &events()), None).await?,
            nodes: asked.may(Permission::on_target("get", &Kind::Node.resource()), None).await?,
            namespaces: asked.may(Permission::on_target("get", &namespaces()), namespace.as_ref()).await?,
        };
        self.rights = Some(rights);
        Ok(rights)
    }

    /// Returns whether the account may read logs of pods.
    pub async fn may_read_logs(&self, cluster: &Cluster) -> Result<bool> {
        let mut asked = Asked { cluster, target: &self.target, rules: KnownRules::default() };
        asked.may(Permission::on_target("get", &Kind::Pod.resource()).on_sub("log"), None).await
    }
}

/// Returns the sentence about a read that is not granted.
pub fn not_granted(what: &str, permission: &Permission) -> String {
    format!("{what}: {permission} is not granted; the component rbac/components/causes grants it")
}

/// Asks for permissions; the rules of the namespace are read once.
struct Asked<'a> {
    cluster: &'a Cluster,
    target: &'a ObjectRef,
    rules: KnownRules,
}

impl Asked<'_> {
    /// Returns the answer; an error where none came, which is no denial.
    async fn may(&mut self, permission: Permission, name: Option<&Name>) -> Result<bool> {
        let namespace = self.target.namespace.as_ref();
        let needed = BTreeSet::from([permission]);
        let answer: Access = self.cluster.missing(&needed, namespace, name, &mut self.rules).await?;
        Ok(matches!(answer, Access::Granted))
    }
}

/// Returns what is known already of these.
fn known<T: Clone>(all: &BTreeMap<String, T>, names: &BTreeSet<&str>) -> BTreeMap<String, T> {
    all.iter()
        .filter(|(name, _)| names.contains(name.as_str()))
        .map(|(name, one)| (name.clone(), one.clone()))
        .collect()
}

async fn node(cluster: &Cluster, name: &str) -> Result<NodeState> {
    let resource = Kind::Node.resource();
    let node = ObjectRef { resource, namespace: None, name: server_name(name)?, uid: None };
    Ok(NodeState::read(&cluster.get(&node).await?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fake::{Answer, Seen, cluster, object};
    use serde_json::{Value, json};

    /// An API server that grants these reads, and has something of each.
    fn server(granted: &'static [&'static str]) -> (Cluster, Seen) {
        cluster(move |line, _| {
            let rule = |group: &str, resource: &str, verb: &str| json!({ "apiGroups": [group], "resources": [resource], "verbs": [verb] });
            let rules: Vec<Value> = granted
                .iter()
                .map(|what| match *what {
                    "events" => rule("events.k8s.io", "events", "list"),
                    "namespaces" => rule("", "namespaces", "get"),
                    "logs" => rule("", "pods/log", "get"),
                    _ => rule("none", "none", "get"),
                })
                .collect();
            Answer::Json(
                200,
                match line {
                    line if line.contains("selfsubjectrulesreviews") => {
                        json!({ "status": { "resourceRules": rules, "nonResourceRules": [], "incomplete": false } })
                    }
                    // Only nodes are asked for so: they are in no namespace.
                    line if line.contains("selfsubjectaccessreviews") => {
                        json!({ "status": { "allowed": granted.contains(&"nodes") } })
                    }
                    line if line.contains("/events") => {
                        json!({ "items": [{ "reason": "FailedMount", "type": "Warning", "note": "words" }] })
                    }
                    line if line.contains("/nodes/") => json!({ "metadata": { "name": "n1", "uid": "n" } }),
                    line if line.ends_with("/namespaces/shop") => {
                        json!({ "metadata": { "name": "shop", "deletionTimestamp": "2026-01-01T00:00:00Z" } })
                    }
                    _ => json!({}),
                },
            )
        })
    }

    fn cause(place: Place, state: &str) -> Cause {
        Cause {
            node: Some("n1".to_owned()),
            about: Some("p".to_owned()),
            ..Cause::new(object(Kind::Pod).to_reference(), place, state, "")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn evidence_is_read_once_it_hangs_and_not_too_often() {
        let (cluster, seen) = server(&["events"]);
        let mut clues = Clues::of(&object(Kind::Deployment));
        let creating = [cause(Place::Waiting, "ContainerCreating")];
        let began = Instant::now();
        let mut read = Vec::new();
        while began.elapsed() < Duration::from_secs(75) {
            if clues.follow(&cluster, &creating).await {
                read.push(began.elapsed().as_secs());
            }
            let next = clues.next(&creating).unwrap();
            assert!(next > Instant::now(), "it would be asked without end");
            tokio::time::sleep_until(next).await;
        }
        let first: Vec<u64> = [2].into_iter().chain((4..=60).step_by(4)).collect();
        assert_eq!(read, [&first[..], &[70]].concat());
        assert_eq!(seen.with("/events").len(), read.len());
        assert_eq!(seen.with("selfsubjectrulesreviews").len(), 1, "what is granted is asked once");
        assert_eq!(clues.evidence().events["p"][0].reason, "FailedMount");
        // What passed has to hang anew.
        assert!(!clues.follow(&cluster, &[cause(Place::Waiting, "ErrImagePull")]).await);
        assert_eq!(clues.next(&[]), None);
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(!clues.follow(&cluster, &creating).await);
        assert_eq!(clues.next(&creating), Some(Instant::now() + AFTER));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_granted_is_said_and_not_tried() {
        let (cluster, seen) = server(&[]);
        let mut clues = Clues::of(&object(Kind::Deployment));
        let (silent, creating) = (cause(Place::Silence, "Pending"), cause(Place::Waiting, "ContainerCreating"));
        clues.read(&cluster, &[&silent]).await;
        let component = "is not granted; the component rbac/components/causes grants it";
        let unread =
            [format!("events: list events (events.k8s.io) {component}"), format!("node: get nodes (core) {component}")];
        assert_eq!(clues.evidence().unread, unread);
        assert!(seen.with("GET /api").is_empty(), "{:?}", seen.with("GET"));
        let before = seen.with("").len();
        tokio::time::advance(EVERY).await;
        assert!(!clues.follow(&cluster, &[creating]).await, "it would learn nothing");
        clues.read(&cluster, &[]).await;
        assert_eq!(seen.with("").len(), before);
        assert_eq!(clues.evidence().unread.len(), 1, "no node was asked for");
        assert!(!clues.may_read_logs(&cluster).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn each_part_is_read_where_it_is_granted() {
        let (cluster, seen) = server(&["nodes", "namespaces", "events"]);
        let mut clues = Clues::of(&object(Kind::Deployment));
        let (silent, overdue) = (cause(Place::Silence, "Pending"), cause(Place::Overdue, "Terminating"));
        let pulls = Cause { node: Some("other".to_owned()), about: None, ..cause(Place::Waiting, "ErrImagePull") };
        clues.read(&cluster, &[&silent, &overdue, &pulls]).await;
        let evidence = clues.evidence();
        assert!(evidence.unread.is_empty(), "{:?}", evidence.unread);
        assert_eq!(evidence.nodes.keys().collect::<Vec<_>>(), ["n1"], "of a pod that says why no node is needed");
        assert_eq!(evidence.namespace.as_ref().map(|found| found.name.as_str()), Some("shop"));
        assert_eq!((seen.with("/nodes/").len(), seen.with("/events").len()), (1, 1));
    }

    /// Nobody has said no: it is asked again, and what was read before is kept.
    #[tokio::test(start_paused = true)]
    async fn a_review_without_an_answer_is_no_denial() {
        let (lost, _) = cluster(|_, _| Answer::Lost);
        let mut clues = Clues::of(&object(Kind::Deployment));
        let creating = cause(Place::Waiting, "ContainerCreating");
        clues.read(&lost, &[&creating]).await;
        let unread = clues.evidence().unread.join("\n");
        assert!(unread.starts_with("events, node, namespace: ") && !unread.contains("not granted"), "{unread}");
        assert!(clues.may_read_logs(&lost.until(Instant::now() + LIMIT)).await.is_err());
        let (granting, _) = server(&["events"]);
        clues.read(&granting, &[&creating]).await;
        assert_eq!(clues.evidence().events["p"][0].reason, "FailedMount");
    }

    /// What was known is not forgotten because it could not be read again, and is of those that are asked about alone.
    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_read_again_is_kept() {
        let (granting, _) = server(&["nodes", "namespaces", "events"]);
        let (lost, _) = cluster(|_, _| Answer::Lost);
        let mut clues = Clues::of(&object(Kind::Deployment));
        let silent = cause(Place::Silence, "Pending");
        clues.read(&granting, &[&silent]).await;
        let before = clues.evidence().clone();
        clues.read(&lost, &[&silent]).await;
        let after = clues.evidence();
        assert_eq!(after.unread.len(), 3, "{:?}", after.unread);
        assert_eq!(Evidence { unread: Vec::new(), ..after.clone() }, before);
        let other = Cause { node: None, about: Some("q".to_owned()), ..cause(Place::Waiting, "ContainerCreating") };
        clues.read(&lost, &[&other]).await;
        assert!(clues.evidence().events.is_empty() && clues.evidence().nodes.is_empty());
        clues.read(&granting, &[&silent]).await;
        assert_eq!(*clues.evidence(), before);
    }

    /// A read that fails all the same is one that is said.
    #[tokio::test(start_paused = true)]
    async fn what_fails_is_said() {
        let (cluster, _) = cluster(|line, _| match line {
            line if line.contains("selfsubject") => Answer::Json(
                200,
                json!({ "status": { "allowed": true, "resourceRules": [], "nonResourceRules": [], "incomplete": false } }),
            ),
            _ => Answer::Lost,
        });
        let mut clues = Clues::of(&object(Kind::Deployment));
        let began = Instant::now();
        clues.read(&cluster, &[&cause(Place::Silence, "Pending")]).await;
        let unread = clues.evidence().unread.join("\n");
        assert!(
            unread.starts_with("events: failed to list events")
                && unread.contains("\nnode: ")
                && unread.contains("\nnamespace: "),
            "{unread}"
        );
        assert!(began.elapsed() <= LIMIT, "{:?}", began.elapsed());
    }
}
