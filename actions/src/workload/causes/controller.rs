//! Causes that the controller of a workload shows: it cannot make pods, has given up, or says nothing.

use contract::result::ObjectReference;

use super::Situation;
use super::cause::{Cause, pod_reference, reference};
use super::evidence::Evidence;
use super::table::{Class, Place};
use crate::k8s::{Kind, ObjectRef};
use crate::workload::Condition;
use crate::workload::revisions::SetView;
use crate::workload::tally::{Goal, live_of, ordinal, wanted};

/// Returns the namespace, when it is being deleted.
pub fn namespace(target: &ObjectRef, evidence: &Evidence) -> Option<Cause> {
    let found = evidence.namespace.as_ref()?;
    let object = reference(target, "v1", "Namespace", &found.name, Some(found.uid.clone()));
    Some(Cause::new(object, Place::Namespace, "Terminating", &found.message).since(found.since))
}

/// Returns why the controller has not seen the change: it could not make a ReplicaSet (it keeps its observed generation
/// until it can), or it is silent.
pub fn not_observed(seen: Situation<'_>) -> Vec<Cause> {
    let Goal { generation, began, now, .. } = seen.goal;
    let lasts = now.duration_since(began).as_secs().max(0);
    let silent = Cause::new(seen.controller.to_reference(), Place::Controller, "NotObserved", "")
        .since(Some(began))
        .note(format!("its controller has not observed generation {generation} for {lasts} s"));
    let failed = seen.workload.set_failure.as_ref().filter(|failed| younger(seen, failed));
    failed.map(|failed| not_created(seen, None, failed)).into_iter().chain([silent]).collect()
}

/// Returns whether a condition was not there before the change.
fn younger(seen: Situation<'_>, condition: &Condition) -> bool {
    seen.goal.stale_deadline != Some(condition.updated.as_str())
}

/// Returns why pods cannot be made.
pub fn creation(seen: Situation<'_>) -> Vec<Cause> {
    let (sets, workload) = (seen.sets, seen.workload);
    let short = || sets.iter().filter(|set| set.replicas > live_of(seen.tally, &set.uid));
    let of_sets = short().filter_map(|set| Some(not_created(seen, Some(set), set.failure.as_ref()?)));
    let mut all: Vec<Cause> = of_sets.collect();
    if all.is_empty() {
        let no_set = workload.set_failure.as_ref().filter(|failed| younger(seen, failed));
        all.extend(workload.replica_failure.iter().chain(no_set).map(|failed| not_created(seen, None, failed)));
    }
    if all.is_empty() && seen.tally.live() < wanted(workload, seen.goal) {
        let own = seen.controller.uid.iter().map(|uid| (None, uid.as_str()));
        let of_sets = short().map(|set| (Some(set), set.uid.as_str()));
        let events =
            of_sets.chain(own).filter_map(|(set, uid)| Some((set, seen.evidence.creation(uid, seen.goal.began)?)));
        all.extend(events.map(|(set, event)| {
            let object = set.map_or_else(|| named(seen, &event.message), |set| of_set(seen, set));
            Cause::new(object, Place::Creation, &event.reason, &event.message).since(event.first.or(event.last))
        }));
    }
    all
}

fn not_created(seen: Situation<'_>, set: Option<&SetView>, failed: &Condition) -> Cause {
    let object = set.map_or_else(|| named(seen, &failed.message), |set| of_set(seen, set));
    Cause::new(object, Place::Creation, &failed.reason, &failed.message).since(failed.since.parse().ok())
}

fn of_set(seen: Situation<'_>, set: &SetView) -> ObjectReference {
    reference(seen.target, "apps/v1", "ReplicaSet", &set.name, Some(set.uid.clone()))
}

/// Returns the object that a refusal names: a quota, a policy, a ServiceAccount, the namespace (Pod Security); otherwise the
/// controller, where it is not the target, or the pod that could not be made.
fn named(seen: Situation<'_>, message: &str) -> ObjectReference {
    let behind = |words: &str, ends: &[char]| {
        let name = message.split_once(words)?.1;
        name.split(ends).next().filter(|name| !name.is_empty())
    };
    let one = |version: &str, kind: &str, name: &str| reference(seen.target, version, kind, name, None);
    if let Some(name) = behind("exceeded quota: ", &[',', ' ']) {
        return one("v1", "ResourceQuota", name);
    }
    if let Some(name) = behind("ValidatingAdmissionPolicy '", &['\'']) {
        return one("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", name);
    }
    if let Some(name) = behind("serviceaccount \"", &['"']) {
        return one("v1", "ServiceAccount", name);
    }
    let namespace = seen.target.namespace.as_ref().map(ToString::to_string).unwrap_or_default();
    if message.contains("violates PodSecurity") || message.contains("because it is being terminated") {
        return one("v1", "Namespace", &namespace);
    }
    if seen.controller.uid != seen.target.uid {
        return seen.controller.to_reference();
    }
    match behind("pods \"", &['"']).or_else(|| behind("create Pod ", &[' '])) {
        Some(pod) => one("v1", "Pod", pod),
        None => seen.controller.to_reference(),
    }
}

/// Makes a rollout that is out of time certain, and names what stands in its way. A scale is no rollout: the exceeded
/// deadline belongs to an earlier one.
pub fn deadline(seen: Situation<'_>, all: &mut Vec<Cause>) {
    let late = seen.workload.out_of_time.as_ref().filter(|late| younger(seen, late));
    let Some(late) = late.filter(|_| seen.goal.revision.is_some()) else { return };
    let class = all.iter().map(|cause| cause.class).max();
    if let Some(worst) = all.iter_mut().find(|cause| Some(cause.class) == class) {
        worst.class = Class::Certain;
        worst.notes.insert(0, format!("its progressDeadlineSeconds is exceeded: {}", late.message));
    } else {
        let set = seen.sets.iter().find(|set| set.pod_label.as_deref() == seen.goal.revision);
        let object = set.map_or_else(|| seen.controller.to_reference(), |set| of_set(seen, set));
        let cause = Cause::new(object, Place::Deadline, &late.reason, &late.message);
        all.push(cause.since(late.since.parse().ok()));
    }
}

/// Returns the default, where nothing else is known: fewer pods than there shall be, or more, and nobody says why.
pub fn missing(seen: Situation<'_>) -> Cause {
    let (live, wanted) = (seen.tally.live(), wanted(seen.workload, seen.goal));
    let behind = || {
        let set = seen.sets.iter().find(|set| !set.observed || live_of(seen.tally, &set.uid) != set.replicas);
        set.map(|set| of_set(seen, set))
    };
    let beyond = || seen.tally.there.first().filter(|_| live > wanted).map(|pod| pod_reference(seen.target, pod));
    let object = lacking(seen).or_else(behind).or_else(beyond).unwrap_or_else(|| seen.controller.to_reference());
    let note = format!("its controller has {live} of {wanted} pods, and has not said why");
    let about = object.uid.clone().or_else(|| seen.controller.uid.clone());
    let cause = Cause::new(object, Place::Controller, "NotReported", "");
    Cause { about, ..cause.since(Some(seen.goal.began)).note(note) }
}

/// Returns the object that lacks pods, or the pod that is lacking.
pub fn lacking(seen: Situation<'_>) -> Option<ObjectReference> {
    let tally = seen.tally;
    let there = tally.there.iter().chain(&tally.coming).chain(&tally.old);
    if !seen.sets.is_empty() {
        let own = |set: &SetView| there.clone().filter(|pod| pod.owner.as_deref() == Some(&set.uid)).count();
        let lacks = |set: &&SetView| i64::try_from(own(set)).is_ok_and(|own| own < set.replicas);
        return seen.sets.iter().find(lacks).map(|set| of_set(seen, set));
    }
    if seen.workload.kind == Kind::StatefulSet {
        return missing_ordinal(seen).map(|pod| reference(seen.target, "v1", "Pod", &pod, None));
    }
    // A DaemonSet makes the next pod of a node when the one before is gone.
    let leaving = tally.terminating.iter().filter(|_| seen.workload.kind == Kind::DaemonSet);
    let count = i64::try_from(there.chain(leaving).count()).unwrap_or(i64::MAX);
    (count < wanted(seen.workload, seen.goal)).then(|| seen.controller.to_reference())
}

/// Returns the name of the first pod that a StatefulSet lacks.
fn missing_ordinal(seen: Situation<'_>) -> Option<String> {
    if seen.workload.kind != Kind::StatefulSet {
        return None;
    }
    let tally = seen.tally;
    let pods = [&tally.there, &tally.coming, &tally.old, &tally.terminating, &tally.out_of_reach];
    let there: Vec<i64> = pods.into_iter().flatten().filter_map(|pod| ordinal(&pod.name)).collect();
    let first = seen.workload.first_ordinal;
    let missing = (first..first + seen.workload.desired).find(|ordinal| !there.contains(ordinal))?;
    Some(format!("{}-{missing}", seen.controller.name))
}
