//! The target of an action, as the request names it.

use crate::cluster::error::{Error, Result};
use crate::k8s::ObjectRef;
use crate::k8s::names::Namespace;

/// The target of an action.
#[derive(Debug, Clone)]
pub enum TargetRef {
    /// One object.
    Object(ObjectRef),
    /// All pods that match a label selector (`TARGET_SELECTOR`; `collect-logs` only).
    Selection {
        /// Namespace of the pods.
        namespace: Namespace,
        /// Label selector.
        selector: String,
    },
}

impl TargetRef {
    /// Returns the one object that every action but `collect-logs` needs.
    pub fn object(&self) -> Result<&ObjectRef> {
        match self {
            TargetRef::Object(object) => Ok(object),
            TargetRef::Selection { .. } => Err(Error::InvalidRequest(
                "TARGET_SELECTOR: only collect-logs takes a selector; set TARGET_NAME".to_owned(),
            )),
        }
    }
}
