//! What an action is pointed at.

use crate::cluster::error::{Error, Result};
use crate::k8s::ObjectRef;
use crate::k8s::names::Namespace;

/// What an action is pointed at.
#[derive(Debug, Clone)]
pub enum TargetRef {
    /// One object.
    Object(ObjectRef),
    /// Everything that a label selector finds (`TARGET_SELECTOR`; `collect-logs` only).
    Selection {
        /// Where.
        namespace: Namespace,
        /// Which.
        selector: String,
    },
}

impl TargetRef {
    /// The one object that every action but `collect-logs` is pointed at.
    pub fn object(&self) -> Result<&ObjectRef> {
        match self {
            TargetRef::Object(object) => Ok(object),
            TargetRef::Selection { .. } => Err(Error::InvalidRequest(
                "TARGET_SELECTOR: only collect-logs takes a selector; set TARGET_NAME".to_owned(),
            )),
        }
    }
}
