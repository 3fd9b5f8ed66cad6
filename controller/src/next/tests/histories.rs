//! Random histories: a model of the API server, its Job controller and a kubelet, in which writes are lost or land late, caches
//! are stale, controllers are killed, and people delete, cancel and relabel. Whatever happens, what is promised holds.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::api::FINALIZER;
use crate::api::KubernetesExecutionStatus;
use crate::audit;
use crate::names;
use crate::status;

/// How an attempt's container ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Ends {
    Well,
    Passing,
    ForGood,
    WithoutAWord,
    Never,
}

/// What happens to a step's request.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Answered,
    /// Killed before it arrived.
    Lost,
    /// Killed after it was applied.
    Unanswered,
    /// Killed, and it arrives so many events later.
    Late(u8),
}

/// What happens between steps.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// The controller does its next step.
    Step(Fate),
    /// The caches catch up.
    Catch,
    /// The pod starts, or ends; the Job follows.
    Pod,
    /// Seconds pass.
    Time(u16),
    /// A person deletes the Job.
    DeleteJob,
    /// A person cancels.
    Cancel,
    /// A person deletes the execution.
    Delete,
    /// The pod's label is changed: the watch says that it is gone.
    Relabel,
    /// The audit store goes away, or comes back.
    Store(bool),
}

/// A Job and its pod.
#[derive(Debug, Clone)]
struct Attempt {
    name: String,
    uid: String,
    number: usize,
    going: bool,
    done: bool,
    pod: Option<(SlimPod, Ends)>,
}

/// The cluster, and a controller's view of it.
struct World {
    server: Value,
    version: u64,
    jobs: BTreeMap<String, Attempt>,
    created: BTreeMap<String, usize>,
    runs: usize,
    applied: bool,
    ends: Vec<Ends>,
    meddled: bool,
    late: Vec<(u8, Step, u64)>,
    now: i64,
    gone: bool,
    repeatable: bool,
    final_phase: Option<String>,
    store_away: bool,
    /// Events in the store, and in the spool.
    kept: BTreeSet<i32>,
    // The controller.
    /// What it remembers of its events.
    told: BTreeMap<i32, audit::Known>,
    cached: Value,
    jobs_seen: BTreeMap<String, Seen<SlimJob>>,
    pods_seen: BTreeMap<String, Seen<SlimPod>>,
    pass: Pass,
}

#[derive(Clone)]
struct Pass {
    execution: Option<Value>,
    looked: bool,
    intended: bool,
    log: bool,
}

const FRESH: Pass = Pass { execution: None, looked: false, intended: false, log: false };

impl World {
    fn new(ends: Vec<Ends>, repeatable: bool) -> Self {
        let mut execution = super::new().execution;
        execution["metadata"]["finalizers"] = Value::Null;
        Self {
            cached: execution.clone(),
            server: execution,
            version: 1,
            jobs: BTreeMap::new(),
            created: BTreeMap::new(),
            runs: 0,
            applied: false,
            ends,
            meddled: false,
            late: Vec::new(),
            now: 1,
            gone: false,
            repeatable,
            final_phase: None,
            store_away: false,
            kept: BTreeSet::new(),
            told: BTreeMap::new(),
            jobs_seen: BTreeMap::new(),
            pods_seen: BTreeMap::new(),
            pass: FRESH,
        }
    }

    fn execution(value: &Value) -> KubernetesExecution {
        serde_json::from_value(value.clone()).unwrap()
    }

    fn name(value: &Value) -> String {
        let ended = value["status"]["attempts"].as_array().map_or(0, Vec::len);
        names::job("up", i32::try_from(ended).unwrap() + 1)
    }

    fn next(&self) -> Step {
        let value = self.pass.execution.as_ref().unwrap_or(&self.cached);
        let execution = Self::execution(value);
        let job = self.jobs_seen.get(&Self::name(value));
        let pods: Vec<_> = job
            .and_then(|job| self.pods_seen.get(job.object.metadata.uid.as_deref().unwrap()))
            .cloned()
            .into_iter()
            .collect();
        let before =
            value["status"]["attempts"].as_array().and_then(|all| all.last()).map(|one| one["jobName"].clone());
        let before = before.and_then(|name| self.jobs_seen.get(name.as_str().unwrap()));
        let plan = self.pass.execution.is_some().then(|| plan::plan(&execution, &ConditionLimits::default()));
        next(&Observed {
            execution: &execution,
            source: if self.pass.execution.is_some() { Source::Server } else { Source::Cache },
            looked: self.pass.looked,
            job: job.map_or(TheJob::Absent, TheJob::Ours),
            pods: &pods,
            lingers: false,
            job_before: before.filter(|job| job.life == Life::There).map(|job| &job.object),
            log: self.pass.log.then_some(""),
            intended: self.pass.intended,
            lost_until: None,
            fails: false,
            turn: &Turn::Now,
            audit: audit::delivery(&execution, Some(&self.told), true, Duration::from_mins(1), at(self.now)),
            plan: plan.as_ref(),
            repeatable: self.repeatable,
            release: true,
            limits: Limits {
                timeout: Duration::from_mins(5),
                backoff: Duration::from_secs(10),
                start_deadline: None,
                stop_after: Duration::from_secs(90),
                arrives_within: Duration::from_secs(15),
            },
            now: at(self.now),
        })
    }

    /// The API server carries out a request that was decided on this version. Returns whether it was taken.
    fn serve(&mut self, step: &Step, version: u64) -> bool {
        let conflict = version != self.version || self.gone;
        match step {
            Step::Hold | Step::Release | Step::Settle | Step::Show(_) | Step::Record(_) if conflict => return false,
            Step::Hold => self.server["metadata"]["finalizers"] = json!([FINALIZER]),
            Step::Release => self.server["metadata"]["finalizers"] = Value::Null,
            Step::Settle => json_patch::merge(&mut self.server["status"], &json!({ "settled": true })),
            Step::Show(wanted) | Step::Record(wanted) => self.write(wanted),
            Step::Start(start) => return self.create(start.attempt),
            Step::Stop { uid, .. } | Step::Clean { uid, .. } => {
                for job in self.jobs.values_mut().filter(|job| job.uid == *uid) {
                    job.going = true;
                }
                return true;
            }
            Step::Deliver(attempt) => {
                if !self.store_away {
                    self.kept.insert(*attempt);
                }
                return true;
            }
            Step::Spool(attempt) => {
                self.kept.insert(*attempt);
                return true;
            }
            Step::Wait(_) | Step::Read | Step::Look | Step::ReadLog(_) => return true,
        }
        self.version += 1;
        let deleted = !self.server["metadata"]["deletionTimestamp"].is_null();
        if deleted && self.server["metadata"]["finalizers"].is_null() {
            self.gone = true;
        }
        true
    }

    fn write(&mut self, wanted: &KubernetesExecutionStatus) {
        let patch = status::patch(&Self::execution(&self.server), wanted);
        json_patch::merge(&mut self.server["status"], &patch["status"]);
        let phase = self.server["status"]["phase"].as_str().unwrap().to_owned();
        if let Some(before) = &self.final_phase {
            assert_eq!(*before, phase, "a final phase was left");
        }
        if ["Completed", "Failed", "TimedOut", "Cancelled"].contains(&phase.as_str()) {
            self.final_phase = Some(phase);
        }
    }

    fn create(&mut self, attempt: i32) -> bool {
        let name = names::job("up", attempt);
        if self.jobs.contains_key(&name) || self.gone {
            return false;
        }
        let count = self.created.entry(name.clone()).or_default();
        *count += 1;
        let uid = format!("{name}/{count}");
        let number = usize::try_from(attempt).unwrap() - 1;
        self.jobs.insert(name.clone(), Attempt { name, uid, number, going: false, done: false, pod: None });
        true
    }

    /// The controller does its next step, and this becomes of its request.
    fn step(&mut self, fate: Fate) {
        if self.gone {
            return;
        }
        let step = self.next();
        let decided_on = self.pass.execution.as_ref().unwrap_or(&self.cached)["metadata"]["resourceVersion"]
            .as_str()
            .map_or(1, |text| text.parse().unwrap());
        if matches!(step, Step::Start(_)) {
            assert!(self.pass.execution.is_some(), "a Job is started by the cache alone");
            let status = &self.pass.execution.as_ref().unwrap()["status"]["phase"];
            assert!(
                status.is_null() || ["Pending", "Executing", "Retrying"].contains(&status.as_str().unwrap()),
                "started in {status}"
            );
        }
        // An event is built from the API server's own answer.
        if matches!(step, Step::Deliver(_) | Step::Spool(_)) && self.pass.execution.is_none() {
            self.pass.execution = Some(self.versioned());
            return;
        }
        match fate {
            Fate::Lost => self.killed(),
            Fate::Unanswered => {
                self.serve(&step, decided_on);
                self.killed();
            }
            Fate::Late(later) => {
                self.late.push((later, step, decided_on));
                self.killed();
            }
            Fate::Answered => self.answered(step, decided_on),
        }
    }

    fn killed(&mut self) {
        self.pass = FRESH;
        self.told.clear();
    }

    fn answered(&mut self, step: Step, decided_on: u64) {
        let taken = self.serve(&step, decided_on);
        match step {
            // A pass ends, and the next one begins from the cache.
            Step::Wait(_) => self.pass = FRESH,
            Step::ReadLog(_) => self.pass.log = true,
            Step::Stop { .. } | Step::Clean { .. } => self.observe_jobs(),
            Step::Start(_) if taken => self.observe_jobs(),
            Step::Read => self.pass.execution = Some(self.versioned()),
            Step::Look => self.look(),
            Step::Deliver(attempt) | Step::Spool(attempt) => {
                let now = at(self.now);
                let known = self.told.entry(attempt).or_insert(audit::Known::new(now));
                let kept = !self.store_away || matches!(step, Step::Spool(_));
                known.state =
                    if kept { audit::State::Kept } else { audit::State::Failing(now + SignedDuration::from_secs(5)) };
            }
            _ if !taken => self.look(),
            Step::Show(wanted) => {
                self.pass.intended = wanted.job_uid.is_none() && wanted.phase == Some(Phase::Executing);
                self.pass.execution = Some(self.versioned());
            }
            _ => self.pass.execution = Some(self.versioned()),
        }
    }

    fn versioned(&self) -> Value {
        let mut value = self.server.clone();
        value["metadata"]["resourceVersion"] = json!(self.version.to_string());
        value
    }

    fn look(&mut self) {
        self.pass.execution = Some(self.versioned());
        self.pass.looked = true;
        self.observe_jobs();
        self.observe_pods(true);
    }

    fn observe_jobs(&mut self) {
        for (name, attempt) in &self.jobs {
            let conditions = if attempt.done { failed() } else { json!({ "active": 1 }) };
            let mut object = job(&attempt.name, &attempt.uid, &conditions);
            if attempt.going {
                object.metadata.deletion_timestamp = Some(serde_json::from_value(json!(CREATED)).unwrap());
            }
            self.jobs_seen.insert(
                name.clone(),
                Seen {
                    object,
                    life: Life::There,
                    watched: true,
                    last_word: false,
                    gone_since: None,
                    going_since: None,
                },
            );
        }
        for (name, seen) in &mut self.jobs_seen {
            if !self.jobs.contains_key(name) {
                seen.life = Life::Gone;
            }
        }
    }

    /// `asked`: the API server was asked for the pods, which finds one that was relabelled.
    fn observe_pods(&mut self, asked: bool) {
        for attempt in self.jobs.values() {
            if let Some((pod, _)) = &attempt.pod {
                let labelled =
                    pod.metadata.labels.as_ref().unwrap()["app.kubernetes.io/managed-by"] == "execution-controller";
                let life = if labelled || asked { Life::There } else { Life::Gone };
                self.pods_seen.insert(
                    attempt.uid.clone(),
                    Seen {
                        object: pod.clone(),
                        life,
                        watched: true,
                        last_word: false,
                        gone_since: None,
                        going_since: None,
                    },
                );
            }
        }
        for (uid, seen) in &mut self.pods_seen {
            if !self.jobs.values().any(|job| job.uid == *uid) {
                seen.life = Life::Gone;
            }
        }
    }

    /// The pod starts or ends, and its Job follows; what is on its way out goes.
    fn pod(&mut self) {
        let ends = self.ends.clone();
        let going: Vec<String> = self.jobs.values().filter(|job| job.going).map(|job| job.name.clone()).collect();
        for attempt in self.jobs.values_mut() {
            let how = *ends.get(attempt.number).unwrap_or(&Ends::Well);
            match &mut attempt.pod {
                None if !attempt.going => {
                    self.runs += 1;
                    // What it does it does at once.
                    self.applied |= how != Ends::Passing && how != Ends::ForGood;
                    attempt.pod = Some((pod("pod", &attempt.uid, &running_pod()), how));
                }
                Some((running, how)) if running.terminated().is_none() => {
                    let (exit, text) = match how {
                        Ends::Never if !attempt.going => continue,
                        Ends::Never => (143, message("Interrupted", false, "applied", true)),
                        Ends::Well => (0, message("Changed", true, "applied", false)),
                        Ends::Passing => (8, message("Unavailable", false, "none", true)),
                        Ends::ForGood => (3, message("Refused", false, "none", false)),
                        Ends::WithoutAWord => (137, String::new()),
                    };
                    let labels = running.metadata.labels.clone();
                    *running = pod("pod", &attempt.uid, &ended(exit, &text));
                    running.metadata.labels = labels;
                }
                _ => attempt.done = true,
            }
        }
        for name in going {
            // A watch shows the end of a pod before that of its Job.
            if self.jobs[&name].pod.as_ref().is_none_or(|(pod, _)| pod.terminated().is_some()) {
                self.observe_pods(false);
                self.jobs.remove(&name);
            }
        }
    }

    fn happen(&mut self, event: Event) {
        let due: Vec<_> = self.late.iter().filter(|(left, ..)| *left == 0).cloned().collect();
        self.late.retain(|(left, ..)| *left > 0);
        self.late.iter_mut().for_each(|(left, ..)| *left -= 1);
        for (_, step, version) in due {
            self.serve(&step, version);
        }
        match event {
            Event::Step(fate) => self.step(fate),
            Event::Catch => {
                self.cached = self.versioned();
                self.observe_pods(false);
                self.observe_jobs();
            }
            Event::Pod => self.pod(),
            Event::Time(seconds) => self.now += i64::from(seconds),
            Event::DeleteJob => {
                self.meddled = true;
                self.jobs.values_mut().for_each(|job| job.going = true);
            }
            Event::Cancel => self.person("spec", &json!({ "cancel": true })),
            Event::Delete => self.person("metadata", &json!({ "deletionTimestamp": CREATED })),
            Event::Store(away) => self.store_away = away,
            Event::Relabel => {
                for (pod, _) in self.jobs.values_mut().filter_map(|job| job.pod.as_mut()) {
                    pod.metadata.labels = Some([("app.kubernetes.io/managed-by".to_owned(), "x".to_owned())].into());
                }
            }
        }
    }

    fn person(&mut self, part: &str, change: &Value) {
        json_patch::merge(&mut self.server[part], change);
        self.version += 1;
        if part == "metadata" && self.server["metadata"]["finalizers"].is_null() {
            self.gone = true;
        }
    }

    /// Nothing is in the way any more, and time passes: it ends.
    fn finish(&mut self) {
        const ROUNDS: usize = 120;
        self.pass = FRESH;
        self.store_away = false;
        for _ in 0..ROUNDS {
            self.happen(Event::Catch);
            for _ in 0..8 {
                self.happen(Event::Step(Fate::Answered));
            }
            self.happen(Event::Pod);
            self.happen(Event::Time(20));
            if self.gone || self.server["status"]["settled"] == true {
                return;
            }
        }
        panic!("it does not end: {:#}", self.server["status"]);
    }
}

fn fates() -> impl Strategy<Value = Fate> {
    prop_oneof![6 => Just(Fate::Answered), 1 => Just(Fate::Lost), 1 => Just(Fate::Unanswered), 1 => (0_u8..6).prop_map(Fate::Late)]
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => fates().prop_map(Event::Step),
        5 => Just(Event::Catch),
        4 => Just(Event::Pod),
        3 => (1_u16..40).prop_map(Event::Time),
        1 => any::<bool>().prop_map(Event::Store),
    ]
}

fn meddling() -> impl Strategy<Value = Event> {
    prop_oneof![
        30 => events(),
        4 => Just(Event::DeleteJob),
        1 => Just(Event::Cancel),
        1 => Just(Event::Delete),
        1 => Just(Event::Relabel),
    ]
}

fn ends() -> impl Strategy<Value = Vec<Ends>> {
    let one = prop_oneof![
        Just(Ends::Well),
        Just(Ends::Passing),
        Just(Ends::ForGood),
        Just(Ends::WithoutAWord),
        Just(Ends::Never)
    ];
    proptest::collection::vec(one, 1..4)
}

/// What is promised, of a history that has ended.
fn promised(world: &World, undisturbed: bool) {
    let status = &world.server["status"];
    let attempts = status["attempts"].as_array().map_or(0, Vec::len);
    // Nothing is forgotten by the record: what is let go was told before, whoever was killed and whatever was away.
    let due = audit::due(&World::execution(&world.server));
    assert!(due.iter().all(|one| world.kept.contains(one)), "due {due:?}, kept {:?}", world.kept);
    if !world.repeatable {
        assert!(world.runs <= attempts.max(1), "it ran {} times in {attempts} attempts", world.runs);
    }
    if undisturbed && world.late.is_empty() {
        assert!(world.created.values().all(|count| *count == 1), "Jobs: {:?}", world.created);
    }
    if status["phase"] == "Completed" {
        assert!(
            world.ends.contains(&Ends::Well) || world.ends.len() < attempts,
            "success without a result that says so"
        );
    }
    if world.applied && !world.gone && attempts > 0 {
        assert_ne!(status["result"]["effect"], "none", "an effect was forgotten: {status:#}");
    }
}

proptest! {
    // Each is a history of up to a hundred events and then as many rounds; the defaults would take a quarter of a minute.
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Killed at any step, with writes that are lost, unanswered or late, and with stale caches.
    #[test]
    fn every_history_ends(ends in ends(), repeatable: bool, events in proptest::collection::vec(events(), 0..80)) {
        let mut world = World::new(ends, repeatable);
        for event in events {
            world.happen(event);
        }
        world.finish();
        promised(&world, true);
    }

    /// The same, and people at the Job and the execution.
    #[test]
    fn with_people(ends in ends(), repeatable: bool, events in proptest::collection::vec(meddling(), 0..80)) {
        let mut world = World::new(ends, repeatable);
        for event in events {
            world.happen(event);
        }
        world.finish();
        promised(&world, false);
    }

    /// A controller that is killed after any number of steps, and whose requests were all answered, changes nothing.
    #[test]
    fn a_crash_at_any_prefix_ends_the_same(ends in ends(), steps in 0_usize..30, fate in fates()) {
        let mut undisturbed = World::new(ends.clone(), true);
        undisturbed.finish();
        let mut killed = World::new(ends, true);
        for _ in 0..steps {
            killed.happen(Event::Catch);
            killed.happen(Event::Step(Fate::Answered));
            killed.happen(Event::Pod);
        }
        killed.happen(Event::Step(fate));
        killed.finish();
        prop_assert_eq!(&killed.final_phase, &undisturbed.final_phase);
        promised(&killed, true);
    }
}
