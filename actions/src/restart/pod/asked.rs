//! The restart of one pod as it was asked for: which pods count, how many there shall be, and when none will come.

use serde_json::Value;

use super::job::JobView;
use super::replacer::Replacer;
use super::{RestartPod, Target};
use crate::cluster::Watch;
use crate::cluster::observed::Observation;
use crate::cluster::run::RunContext;
use crate::k8s::Kind;
use crate::k8s::object::text;
use crate::workload::Workload;
use crate::workload::lookup::LiveObject;
use crate::workload::owners::Owners;
use crate::workload::pods::PodView;
use crate::workload::rollout::RolloutStatus;
use crate::workload::tally::Tally;

/// The request, and the state before the eviction.
pub struct PodRestart<'a> {
    pub action: &'a RestartPod,
    pub target: &'a Target,
    pub run: &'a RunContext,
    /// UIDs of the sibling pods before the eviction.
    pub known: &'a [String],
}

impl PodRestart<'_> {
    /// Returns the line while the pod is still there.
    pub fn nothing_yet(&self) -> String {
        format!("waiting for {} to be gone", self.target.object)
    }

    /// Returns the node of the evicted pod, as far as the pod is known.
    pub fn node(&self) -> Option<&str> {
        text(self.target.pod.as_ref()?, "/spec/nodeName")
    }

    /// Returns whether a pod is one of those that replace the evicted one.
    pub fn is_of_replacer(&self, pod: &PodView, owners: &Owners) -> bool {
        match &self.target.replacer {
            // Only pods that came after the evicted one, because nobody says how many there shall be.
            Replacer::Other { uid: owner, .. } if self.target.pod.is_some() => {
                pod.owner.as_ref() == Some(owner) && !self.known.contains(&pod.uid)
            }
            // The pods before one that is gone are not known, so only a pod with its name can be the replacement.
            Replacer::Other { .. } => Some(&pod.uid) == self.target.namesake.as_ref(),
            _ => owners.own(pod),
        }
    }

    /// Returns the number of pods that there shall be, as a workload.
    pub fn wants(&self, replacer: &Value) -> Workload {
        match &self.target.replacer {
            Replacer::Workload(found) => {
                let kind = found.kind().unwrap_or(Kind::ReplicaSet);
                // A rollout in progress does not matter to this action.
                Workload { paused: false, out_of_time: None, set_failure: None, ..Workload::read(kind, replacer) }
            }
            Replacer::Job(_) => plain(JobView::read(replacer).wants),
            Replacer::Other { .. } => plain(1),
            Replacer::Nobody(_) | Replacer::Unknown(_) => plain(0),
        }
    }

    /// Returns the final state once a Job has ended: the replacement may have ended too, or there never was one. Also
    /// if nobody replaces the pod: somebody else deleted it, or the request has `force`.
    pub fn ended<'a>(&self, job: &Value, mut finished: impl Iterator<Item = &'a PodView>) -> Option<RolloutStatus> {
        if let Replacer::Nobody(why) = &self.target.replacer {
            return Some(self.nothing_comes(format!("nothing replaces it: {why}")));
        }
        let Replacer::Job(found) = &self.target.replacer else { return None };
        let view = JobView::read(job);
        if let Some(why) = view.failed {
            return Some(self.nothing_comes(format!("{} has failed: {why}", found.object)));
        }
        // If the pod was already gone at the start, the pods before that are not known.
        let is_another =
            |pod: &PodView| !self.known.contains(&pod.uid) && Some(&pod.uid) != self.target.object.uid.as_ref();
        let another = self.target.pod.is_some() && finished.any(is_another);
        if !view.complete || another {
            return view.complete.then_some(RolloutStatus::Done { surge: 0 });
        }
        Some(self.nothing_comes(format!(
            "{} is complete, and made no other pod that is known: the evicted one ended as a success, or was the last that was needed",
            found.object
        )))
    }

    /// Without a replacement, the eviction is a success only with `force`; otherwise it was no restart.
    fn nothing_comes(&self, why: String) -> RolloutStatus {
        if self.action.force { RolloutStatus::Done { surge: 0 } } else { RolloutStatus::Failed(why) }
    }

    /// Records what is seen, for the result.
    pub fn observe(&self, tally: &Tally<'_>, workload: &Workload, replacer: &Value, pods: &Watch<PodView>) {
        let version = text(replacer, "/metadata/resourceVersion").map(str::to_owned);
        let of = |found: &LiveObject| Some((found.object.resource.plural().to_owned(), version.clone()?));
        let replacer = self.target.replacer.found().and_then(of);
        let pods_version = ("pods".to_owned(), pods.version().to_owned());
        self.run.progress.observe(Observation {
            pods: Some(tally.counts()),
            desired: Some(workload.desired),
            verified_at: replacer.into_iter().chain([pods_version]).collect(),
            ..Observation::default()
        });
    }
}

/// Returns a workload of which only the number of pods is known.
fn plain(desired: i64) -> Workload {
    let mut workload = Workload::read(Kind::ReplicaSet, &Value::Null);
    workload.desired = desired;
    workload
}
