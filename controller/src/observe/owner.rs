//! Whose an object is: by its controller, never by its labels, which anybody may set.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::api::GROUP;

/// Returns the object that controls this one.
pub fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.as_ref()?.iter().find(|owner| owner.controller == Some(true))
}

/// Returns the execution that controls a Job. Of its kind: a UID alone may stand under any other, which admission policies about our
/// Jobs would let pass.
pub fn execution_of(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    controller(metadata).filter(|owner| owner.kind == "KubernetesExecution" && is_of_group(owner, GROUP))
}

/// Returns the Job that controls a pod.
pub fn job_of(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    controller(metadata).filter(|owner| owner.kind == "Job" && is_of_group(owner, "batch"))
}

fn is_of_group(owner: &OwnerReference, group: &str) -> bool {
    owner.api_version.split_once('/').is_some_and(|(of, _)| of == group)
}
