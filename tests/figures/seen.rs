//! What the API server saw of a burst, by its own clock: objects' times have a resolution of a second.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use test_cluster::tail::{Request, Tail};

use crate::numbers::seconds;

/// The controller's user agent.
const OURS: &str = "execution-controller/";
/// The kubelet's: kwok plays it.
const KUBELET: &str = "kwok";
/// A part of the Job controller's.
const JOB_CONTROLLER: &str = "job-controller";
/// How kubelets change a pod twice: it runs, it has ended.
const ENDED: usize = 2;

/// A burst, as the audit log tells it. Objects stand under the name of their execution or bare Job, which has no dash.
#[derive(Default)]
pub struct Seen {
    /// When the first creation arrived.
    pub first: Option<Timestamp>,
    /// When executions or bare Jobs were created.
    pub created: HashMap<String, Timestamp>,
    /// When the controller's first Job of each was created.
    pub started: HashMap<String, Timestamp>,
    /// By pod, how often its kubelet has spoken, and when last.
    pub pods: HashMap<String, (usize, Timestamp)>,
    /// The controller's changes of each status.
    status: HashMap<String, Vec<Timestamp>>,
    /// The controller's requests about each.
    pub requests: HashMap<String, usize>,
    /// All of them, by what they are.
    pub kinds: BTreeMap<String, usize>,
    /// Those that were answered with 429.
    pub too_many: usize,
    /// When the controller first changed anything but its Lease.
    pub first_write: Option<Timestamp>,
    /// When the Job controller was done with the last Job.
    pub jobs_done: Option<Timestamp>,
}

/// The execution or bare Job that an object belongs to: `e00007-job-2-x7k2p`, `e00007.1f`.
fn owner(name: &str) -> &str {
    name.split(['-', '.']).next().unwrap_or_default()
}

/// What a request is, in a few words.
fn kind(request: &Request<'_>) -> String {
    let object = &request.object;
    let sub = if object.subresource.is_empty() { String::new() } else { format!("/{}", object.subresource) };
    let swept = request.uri.contains("status.settled%3Dtrue") || request.uri.contains("status.settled=true");
    let how = if swept { " (the sweep of what is settled)" } else { "" };
    format!("{} {}{sub}{how}", request.verb, object.resource)
}

impl Seen {
    /// Reads on.
    pub fn follow(&mut self, tail: &mut Tail, namespace: &str) -> Result<()> {
        let texts = [OURS, KUBELET, JOB_CONTROLLER, "\"resource\":\"jobs\"", "\"resource\":\"kubernetesexecutions\""];
        tail.read(&texts, |request| {
            // Watches and sweeps of one namespace carry it in their path.
            if request.object.namespace == namespace {
                self.take(request);
            }
        })
        .map(drop)
    }

    fn take(&mut self, request: &Request<'_>) {
        let object = &request.object;
        let of = owner(&object.name).to_owned();
        let created = request.verb == "create" && request.accepted();
        if request.user_agent.starts_with(OURS) {
            self.take_ours(request, of);
        } else if request.user_agent.starts_with(KUBELET) {
            if object.resource == "pods" && object.subresource == "status" && request.accepted() {
                let (count, last) = self.pods.entry(object.name.to_string()).or_insert((0, request.answered));
                (*count, *last) = (*count + 1, request.answered.max(*last));
            }
        } else if request.user_agent.contains(JOB_CONTROLLER) {
            if object.resource == "jobs" && object.subresource == "status" && request.accepted() {
                self.jobs_done = self.jobs_done.max(Some(request.answered));
            }
        } else if created && matches!(&*object.resource, "jobs" | "kubernetesexecutions") {
            self.first = Some(self.first.map_or(request.received, |first| first.min(request.received)));
            self.created.insert(of, request.answered);
        }
    }

    fn take_ours(&mut self, request: &Request<'_>, of: String) {
        let object = &request.object;
        *self.kinds.entry(kind(request)).or_default() += 1;
        self.too_many += usize::from(request.code() == 429);
        if object.resource == "leases" || request.verb == "watch" || request.verb == "list" {
            return;
        }
        *self.requests.entry(of.clone()).or_default() += 1;
        if request.verb != "get" {
            self.first_write = Some(self.first_write.map_or(request.answered, |first| first.min(request.answered)));
        }
        if object.resource == "kubernetesexecutions" && object.subresource == "status" && request.accepted() {
            self.status.entry(of).or_default().push(request.answered);
        } else if object.resource == "jobs" && request.verb == "create" && request.accepted() {
            self.started.entry(of).or_insert(request.answered);
        }
    }

    /// How many pods have ended.
    pub fn ended(&self) -> usize {
        self.pods.values().filter(|(count, _)| *count >= ENDED).count()
    }

    /// Seconds from the first creation to the end of the last pod.
    pub fn pods_took(&self) -> Option<f64> {
        let last = self.pods.values().map(|(_, last)| *last).max()?;
        Some(seconds(self.first?, last))
    }

    /// Seconds from the first creation to the last Job's own end.
    pub fn jobs_took(&self) -> Option<f64> {
        Some(seconds(self.first?, self.jobs_done?))
    }

    /// Seconds from the first creation to the last final phase.
    pub fn phases_took(&self) -> Option<f64> {
        Some(seconds(self.first?, *self.recorded().values().max()?))
    }

    /// When each final phase was written: the last change of the status but one; the last says that it is settled.
    fn recorded(&self) -> HashMap<&str, Timestamp> {
        let last_but_one =
            |times: &Vec<Timestamp>| times.len().checked_sub(2).and_then(|place| times.get(place).copied());
        self.status.iter().filter_map(|(of, times)| Some((of.as_str(), last_but_one(times)?))).collect()
    }

    /// When the controller had created each Job, from the arrival of the first creation on; the earliest first.
    pub fn starts(&self) -> Vec<Duration> {
        let Some(first) = self.first else { return Vec::new() };
        let since = |time: &Timestamp| Duration::try_from(time.duration_since(first)).unwrap_or_default();
        let mut starts: Vec<Duration> = self.started.values().map(since).collect();
        starts.sort_unstable();
        starts
    }

    /// Milliseconds from each execution's creation to that of its first Job.
    pub fn until_job(&self) -> Vec<f64> {
        let took = |(of, created): (&String, &Timestamp)| Some(seconds(*created, *self.started.get(of)?) * 1000.0);
        self.created.iter().filter_map(took).collect()
    }

    /// Milliseconds from the creation of each Job, ours or a bare one, to the end of its last pod: what others do.
    pub fn until_end(&self) -> Vec<f64> {
        let began = |of: &str| self.started.get(of).or_else(|| self.created.get(of)).copied();
        let took = |(of, end): (&str, Timestamp)| Some(seconds(began(of)?, end) * 1000.0);
        self.ends().into_iter().filter_map(took).collect()
    }

    /// Milliseconds from when a kubelet said that the container had ended to the final phase.
    pub fn until_phase(&self) -> Vec<f64> {
        let ends = self.ends();
        let took = |(of, time): (&str, Timestamp)| Some(seconds(*ends.get(of)?, time) * 1000.0);
        self.recorded().into_iter().filter_map(took).collect()
    }

    /// When the last pod of each ended.
    fn ends(&self) -> HashMap<&str, Timestamp> {
        let mut ends: HashMap<&str, Timestamp> = HashMap::new();
        for (pod, (_, last)) in self.pods.iter().filter(|(_, (count, _))| *count >= ENDED) {
            let end = ends.entry(owner(pod)).or_insert(*last);
            *end = (*end).max(*last);
        }
        ends
    }

    /// Requests for each of those whose names begin so.
    pub fn requests_each(&self, begins: &str) -> Option<f64> {
        use crate::numbers::number;
        let counts: Vec<usize> = self
            .created
            .keys()
            .filter(|of| of.starts_with(begins))
            .map(|of| self.requests.get(of).copied().unwrap_or_default())
            .collect();
        (!counts.is_empty()).then(|| number(counts.iter().sum()) / number(counts.len()))
    }

    /// The controller's requests that are about no execution: a creation whose name the server chose, a list for all.
    pub fn requests_about_none(&self) -> usize {
        self.requests.iter().filter(|(of, _)| !self.created.contains_key(*of)).map(|(_, count)| count).sum()
    }

    /// The most that ran at once: from the creation of the Job to the final phase.
    pub fn most_at_once(&self) -> usize {
        let recorded = self.recorded();
        let mut changes: Vec<(Timestamp, bool)> = self.started.values().map(|time| (*time, true)).collect();
        changes.extend(recorded.values().map(|time| (*time, false)));
        changes.sort_unstable();
        let (mut now, mut most) = (0_usize, 0);
        for (_, starts) in changes {
            now = if starts { now + 1 } else { now.saturating_sub(1) };
            most = most.max(now);
        }
        most
    }

    /// The most that an execution was overtaken by: others that were created more than a second later, and started earlier.
    pub fn overtaken(&self) -> usize {
        let both: Vec<_> =
            self.created.iter().filter_map(|(of, created)| Some((*created, *self.started.get(of)?))).collect();
        let by = |(created, started): &(Timestamp, Timestamp)| {
            let later = |one: &&(Timestamp, Timestamp)| one.1 < *started && seconds(*created, one.0) > 1.0;
            both.iter().filter(later).count()
        };
        both.iter().map(by).max().unwrap_or_default()
    }
}
