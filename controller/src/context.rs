//! What the passes over one namespace share, or over all: the caches of its watches, and what all passes share.

use std::collections::HashSet;
use std::sync::Arc;

use futures::channel::mpsc::UnboundedSender;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::runtime::reflector::{self, ObjectRef};

use crate::api::{KubernetesExecution, Phase, Stored};
use crate::entrance::{Entrance, Who, Work};
use crate::observe::slim::{SlimJob, SlimPod};
use crate::observe::{Denied, Life, Seen, Store};
use crate::shared::Shared;

/// A pass, from its beginning to its end.
pub struct Entered<'a> {
    context: &'a Context,
    work: Work,
    namespace: String,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.context.entrance.out(self.work, &self.namespace);
        self.context.wake_next();
    }
}

/// What the passes over one namespace, or over all, share.
pub struct Context {
    /// What all share.
    pub shared: Arc<Shared>,
    /// The Jobs, by their execution's UID.
    pub jobs: Store<SlimJob>,
    /// The pods, by their Job's UID.
    pub pods: Store<SlimPod>,
    /// The executions that are watched.
    pub watched: reflector::Store<Stored>,
    /// Asks for a pass.
    pub trigger: UnboundedSender<ObjectRef<Stored>>,
    /// Lets passes in, as many as may be at work.
    pub entrance: Entrance,
    /// What may not be watched in this namespace: another one is none of its business.
    pub denied: Denied,
}

impl Context {
    /// Returns what asks for a pass over this execution.
    pub fn waker(&self, namespace: &str, name: &str) -> impl Fn() + Send + Sync + 'static {
        let (trigger, reference) = (self.trigger.clone(), ObjectRef::new(name).within(namespace));
        // Nobody listens any more when the program ends.
        move || drop(trigger.unbounded_send(reference.clone()))
    }

    /// Lets a pass over this execution begin. Returns `None` when as many passes as may are at such work: another one is asked for
    /// when there is a place.
    pub fn enter(&self, work: Work, metadata: &ObjectMeta) -> Option<Entered<'_>> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (uid, namespace) = (text(&metadata.uid), text(&metadata.namespace));
        let name = ObjectRef::new(&text(&metadata.name)).within(&namespace);
        let created = metadata.creation_timestamp.as_ref().map(|time| time.0);
        let fails = self.shared.fails(&uid);
        // Not `then_some`: what it makes for nothing gives back a place that was never taken.
        self.entrance.enter(work, Who { uid, name, created, fails }).then(|| Entered { context: self, work, namespace })
    }

    /// Returns what a pass over this execution may come to.
    pub fn work(&self, execution: &KubernetesExecution) -> Work {
        if self.begins(execution) { Work::Begins } else { Work::GoesOn }
    }

    /// Returns whether a pass over this execution may start something: it is not over, nobody has said that it is to end, and no
    /// Job of its present attempt is known.
    fn begins(&self, execution: &KubernetesExecution) -> bool {
        let over = execution.status.as_ref().and_then(|status| status.phase).is_some_and(Phase::is_final);
        if over || execution.spec.cancel || execution.metadata.deletion_timestamp.is_some() {
            return false;
        }
        let (name, jobs) = (execution.job_name(), self.jobs.of(execution.metadata.uid.as_deref().unwrap_or_default()));
        !jobs.iter().any(|job| job.object.metadata.name.as_ref() == Some(&name))
    }

    /// Returns for how long an execution is left alone whose last pass failed: until its own time, or somebody changes it. What runs
    /// or is to end is not held up.
    pub fn rests(&self, execution: &KubernetesExecution) -> Option<std::time::Duration> {
        self.shared.rests(execution).filter(|_| self.begins(execution))
    }

    /// Asks for a pass over each execution that is watched.
    pub fn wake_all(&self) {
        for stored in self.watched.state() {
            // Nobody listens any more when the program ends.
            drop(self.trigger.unbounded_send(ObjectRef::from_obj(&*stored)));
        }
    }

    fn wake_next(&self) {
        let watched = |uid: &str, who: &ObjectRef<Stored>| {
            self.watched.get(who).is_some_and(|stored| stored.meta().uid.as_deref() == Some(uid))
        };
        for who in self.entrance.next(watched) {
            // Nobody listens any more when the program ends.
            drop(self.trigger.unbounded_send(who));
        }
    }

    /// Lets others have their turn, now that this execution has ended. What is remembered of it is kept until the watch
    /// says that it is gone: events that are on their way must not be taken for news.
    pub fn ended(&self, execution: &KubernetesExecution) {
        if self.watches_this(execution) {
            self.shared.wake_waiting();
        } else {
            self.forget(execution.metadata.uid.as_deref().unwrap_or_default());
        }
    }

    /// Returns whether the end of something that is stopped, or about to be, is not recorded yet.
    pub fn stops_something(&self) -> bool {
        let going = |job: &Seen<SlimJob>| job.life == Life::Gone || job.object.metadata.deletion_timestamp.is_some();
        let stops = |execution: &KubernetesExecution| {
            let execution = self.shared.newest(execution);
            let metadata = &execution.metadata;
            let asked = execution.spec.cancel || metadata.deletion_timestamp.is_some();
            let runs = execution.status.as_ref().and_then(|status| status.phase) == Some(Phase::Executing);
            let jobs = self.jobs.of(metadata.uid.as_deref().unwrap_or_default());
            let known = execution.status.as_ref().map(|status| status.ended_pods.as_slice()).unwrap_or_default();
            // A node that is drained takes its pods with it: what one of them did is nowhere else.
            let leaves = |job: &Seen<SlimJob>| {
                let pods = self.pods.of(job.object.metadata.uid.as_deref().unwrap_or_default());
                pods.iter().any(|pod| {
                    let told = known.iter().any(|one| Some(&one.pod_uid) == pod.object.metadata.uid.as_ref());
                    pod.object.disrupted() && !told
                })
            };
            runs && jobs.iter().any(|job| asked || going(job) || leaves(job))
        };
        self.watched.state().iter().filter_map(|stored| stored.0.as_ref().ok()).any(stops)
    }

    /// Returns whether an execution is still watched: it is neither settled nor gone.
    pub fn watches(&self, namespace: &str, name: &str, uid: &str) -> bool {
        let reference = ObjectRef::new(name).within(namespace);
        self.watched.get(&reference).is_some_and(|stored| stored.meta().uid.as_deref() == Some(uid))
    }

    /// The same of an execution that is known.
    pub fn watches_this(&self, execution: &KubernetesExecution) -> bool {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let metadata = &execution.metadata;
        self.watches(&text(&metadata.namespace), &text(&metadata.name), &text(&metadata.uid))
    }

    /// Forgets what is kept of executions that are not watched any more: their Jobs and pods have events after their end, and a
    /// list after a restart has them all.
    pub fn prune(&self, namespace: Option<&str>) {
        let there: HashSet<String> =
            self.watched.state().iter().filter_map(|stored| stored.meta().uid.clone()).collect();
        self.shared.prune(namespace, &there);
        let jobs = self.jobs.keep(&there);
        self.pods.keep(&jobs);
    }

    /// Forgets an execution, its Jobs and their pods.
    pub fn forget(&self, uid: &str) {
        for job in self.jobs.of(uid) {
            if let Some(job_uid) = &job.object.metadata.uid {
                self.pods.forget(job_uid);
            }
        }
        self.jobs.forget(uid);
        self.entrance.leave(uid);
        self.shared.forget(uid);
        self.shared.wake_waiting();
    }
}
