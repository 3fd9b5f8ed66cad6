//! Asks the API server for what the watches do not show, or may show late.

use jiff::Timestamp;
use serde::Deserialize;

use super::{Foreign, Pass, Trouble, trouble};
use crate::api::{KubernetesExecution, Phase};
use crate::context::Context;
use crate::observe::Life;
use crate::observe::owner::{controller, execution_of, job_of};
use crate::observe::slim::{CONTAINER, SlimJob, SlimPod};

#[derive(Deserialize)]
struct Pods {
    items: Vec<SlimPod>,
}

impl Pass {
    /// Returns the UID of the pod that is to be restarted, as it is now. Without it a second attempt could evict the pod that
    /// came in its place.
    pub(super) async fn target_pod(&self, context: &Context) -> Result<Option<String>, Trouble> {
        let target = &self.execution.spec.action.target;
        let namespace = target.namespace.as_deref().unwrap_or_else(|| self.namespace());
        let names =
            (namespace.parse::<actions::k8s::names::Namespace>(), target.resource_name.as_deref().map(str::parse));
        let (Ok(namespace), Some(Ok(name))) = names else { return Ok(None) };
        let name: actions::k8s::names::Name = name;
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
        match context.shared.requests.get::<SlimPod>(&path, "pods").await {
            Ok(pod) => Ok(pod.metadata.uid),
            Err(failure) if failure.code() == Some(404) => Ok(None),
            Err(failure) => {
                Err(trouble("read the target pod (not needed where spec.action.target.uid names it)")(failure))
            }
        }
    }

    /// Asks for the execution alone.
    pub(super) async fn read(&mut self, context: &Context) -> Result<(), Trouble> {
        let path = self.path();
        let answer = context.shared.requests.get::<KubernetesExecution>(&path, "kubernetesexecutions").await;
        let execution = match answer {
            Ok(execution) if execution.metadata.uid.as_deref() == Some(&self.uid()) => execution,
            // Another one by that name.
            Ok(_) => return Err(Trouble::Gone),
            Err(failure) if failure.code() == Some(404) => return Err(Trouble::Gone),
            Err(failure) => return Err(trouble("read the execution")(failure)),
        };
        self.take(context, execution);
        Ok(())
    }

    pub(super) async fn look(&mut self, context: &Context) -> Result<(), Trouble> {
        self.read(context).await?;
        self.look_at_job(context).await?;
        let uid = self.uid();
        for job in context.jobs.of(&uid) {
            if job.object.metadata.name == Some(self.execution.job_name())
                && let Some(job_uid) = &job.object.metadata.uid
            {
                self.look_at_pods(context, job_uid).await?;
            }
        }
        self.look_for_orphans(context).await?;
        if context.shared.lost_until(&uid).is_some_and(|until| Timestamp::now() >= until) {
            context.shared.found(&uid);
            // It never came: until it is sent again, later each time, it holds nobody up.
            if !context.jobs.of(&uid).iter().any(|job| job.object.metadata.name == Some(self.execution.job_name())) {
                context.shared.unclaim(&self.execution);
                if !self.execution.spec.cancel && self.execution.metadata.deletion_timestamp.is_none() {
                    return Err(Trouble::Unanswered);
                }
            }
        }
        self.looked = true;
        Ok(())
    }

    async fn look_at_job(&mut self, context: &Context) -> Result<(), Trouble> {
        let name = self.execution.job_name();
        match context.shared.requests.get::<SlimJob>(&format!("{}/{name}", self.jobs()), "jobs").await {
            Ok(job) => self.found(context, job),
            Err(failure) if failure.code() == Some(404) => {
                self.foreign = None;
                context.jobs.absent(&self.uid(), &name);
            }
            Err(failure) => return Err(trouble("read the Job")(failure)),
        }
        Ok(())
    }

    /// Takes a Job that has the name of ours.
    pub(super) fn found(&mut self, context: &Context, job: SlimJob) {
        let owner = controller(&job.metadata);
        let execution = execution_of(&job.metadata);
        // One that was orphaned while nobody watched is still the one that the status names.
        let named =
            self.execution.status.as_ref().is_some_and(|status| {
                status.job_uid.is_some() && status.job_uid == job.metadata.uid && owner.is_none()
            });
        let ours = named || execution.is_some_and(|owner| owner.uid == self.uid());
        let same_name = execution.is_some_and(|owner| Some(&owner.name) == self.execution.metadata.name.as_ref());
        let whose = owner.map_or_else(
            || "nobody controls that Job".to_owned(),
            |owner| format!("that Job belongs to {} {}", owner.kind, owner.name),
        );
        self.foreign = match (ours, same_name) {
            (true, _) => None,
            (false, true) => Some(Foreign::Leaving),
            (false, false) => Some(Foreign::Other(whose)),
        };
        if ours {
            context.shared.found(&self.uid());
            if named {
                context.jobs.adopt(&self.uid(), job, Life::There);
            } else {
                context.jobs.saw(job);
            }
        }
    }

    /// The Job of the running attempt is gone, and nobody watched it go: its pods may go on without it (`--cascade=orphan`), or have
    /// an end to tell.
    async fn look_for_orphans(&self, context: &Context) -> Result<(), Trouble> {
        let status = self.execution.status.as_ref().filter(|status| status.phase == Some(Phase::Executing));
        let Some((job_uid, name)) = status.and_then(|status| status.job_uid.clone().zip(status.job_name.clone()))
        else {
            return Ok(());
        };
        let uid = self.uid();
        if context.jobs.of(&uid).iter().any(|job| job.object.metadata.uid.as_ref() == Some(&job_uid)) {
            return Ok(());
        }
        let named = |pod: &SlimPod| {
            let rest = pod.metadata.name.as_deref().and_then(|pod| pod.strip_prefix(name.as_str()));
            rest.is_some_and(|rest| rest.starts_with('-'))
        };
        let mut pods = self.pods_of(context, &job_uid).await?;
        pods.retain(|pod| match (job_of(&pod.metadata), controller(&pod.metadata)) {
            (Some(owner), _) => owner.uid == job_uid,
            (None, Some(_)) => false,
            (None, None) => named(pod),
        });
        if pods.is_empty() {
            return Ok(());
        }
        let mut job = SlimJob::default();
        (job.metadata.name, job.metadata.uid) = (Some(name.clone()), Some(job_uid.clone()));
        context.jobs.adopt(&uid, job, Life::Gone);
        for pod in pods {
            context.pods.adopt(&job_uid, pod, Life::There);
        }
        Ok(())
    }

    /// Lists what is labelled as a pod of this Job.
    async fn pods_of(&self, context: &Context, job_uid: &str) -> Result<Vec<SlimPod>, Trouble> {
        let selector = format!("batch.kubernetes.io%2Fcontroller-uid%3D{job_uid}");
        let path = format!("{}?labelSelector={selector}", self.pods());
        let listed = context.shared.requests.list::<Pods>(&path, "pods").await;
        listed.map(|pods| pods.items).map_err(trouble("list the pods"))
    }

    async fn look_at_pods(&self, context: &Context, job_uid: &str) -> Result<(), Trouble> {
        let mut there = self.pods_of(context, job_uid).await?;
        // One whose labels somebody changed is not in the list.
        for pod in context.pods.of(job_uid) {
            let listed = there.iter().any(|one| one.metadata.uid == pod.object.metadata.uid);
            let name = pod.object.metadata.name.clone().unwrap_or_default();
            if listed {
                continue;
            }
            match context.shared.requests.get::<SlimPod>(&format!("{}/{name}", self.pods()), "pods").await {
                Ok(one) if one.metadata.uid == pod.object.metadata.uid => there.push(one),
                Ok(_) => {}
                Err(failure) if failure.code() == Some(404) => {}
                Err(failure) => return Err(trouble("read a pod")(failure)),
            }
        }
        // Not by its labels, which anybody may set; one that was orphaned is still the one that was known.
        let known: Vec<_> = context.pods.of(job_uid).into_iter().map(|pod| pod.object.metadata.uid).collect();
        there.retain(|pod| match (job_of(&pod.metadata), controller(&pod.metadata)) {
            (Some(owner), _) => owner.uid == job_uid,
            (None, Some(_)) => false,
            (None, None) => known.contains(&pod.metadata.uid),
        });
        context.pods.looked(job_uid, there);
        Ok(())
    }

    pub(super) async fn read_log(&mut self, context: &Context, pod: &str) -> Result<(), Trouble> {
        let path = format!("{}/{pod}/log?container={CONTAINER}&tailLines=20&limitBytes=524288", self.pods());
        match context.shared.requests.text(&path, "pods/log").await {
            Ok(text) => self.log = Some(text),
            // It is gone, or its kubelet does not answer: without it, what is known stands.
            Err(failure) => {
                const TRIES: u32 = 6;
                let tries = context.shared.failed(&format!("{}/log/{pod}", self.uid()));
                // 400 and 404: there is none, and there will be none.
                let again = !matches!(failure.code(), Some(400 | 404)) && tries < TRIES;
                // A person can grant it, and then it is known; but not for ever.
                if again || failure.lacks_permission() && self.in_time() {
                    return Err(trouble("read the pod's log")(failure));
                }
                tracing::warn!(%failure, pod, "the pod's log cannot be read");
                self.log = Some(String::new());
            }
        }
        Ok(())
    }

    /// Returns whether the timeout is not over yet.
    fn in_time(&self) -> bool {
        let status = self.execution.status.as_ref();
        let timeout = self.execution.timeout_in_effect();
        let start = status.and_then(|status| status.start_time);
        let end = start
            .zip(timeout)
            .and_then(|(start, timeout)| start.checked_add(jiff::SignedDuration::try_from(timeout.get()).ok()?).ok());
        end.is_some_and(|end| Timestamp::now() < end)
    }
}
