//! What is known of Jobs and pods: their last state, also of those that are gone, because a pod's end may be told only
//! by its deletion.

mod denied;
pub mod owner;
pub mod slim;
mod store;

pub use denied::Denied;
pub use store::{Ours, Store};

use jiff::Timestamp;

use crate::api::{GROUP, KubernetesExecution};

/// An object, as it was seen last.
#[derive(Debug, Clone)]
pub struct Seen<K> {
    /// Its last state.
    pub object: K,
    /// Whether it is there.
    pub life: Life,
    /// True when it was followed from before it could have pods: nothing about it can have been missed.
    pub watched: bool,
    /// True when the API server said that this was its last state, by the event of its deletion. What is only not there any more
    /// may have changed before it went.
    pub last_word: bool,
    /// Since when it is known that it is gone.
    pub gone_since: Option<Timestamp>,
    /// Since when it is known that it is on its way out.
    pub going_since: Option<Timestamp>,
}

impl<K> Seen<K> {
    /// Takes that it is not there any more.
    fn is_gone(&mut self) {
        self.life = Life::Gone;
        self.gone_since.get_or_insert_with(Timestamp::now);
    }
}

/// Whether an object is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It is there, as far as is known.
    There,
    /// It is gone.
    Gone,
}

/// Takes away what only the creation of a Job needs, and then from the API server's own answer.
pub fn trim(execution: &mut KubernetesExecution) {
    execution.metadata.managed_fields = None;
    if let Some(annotations) = &mut execution.metadata.annotations {
        annotations.retain(|name, _| name.starts_with(GROUP));
    }
    execution.spec.action.parameters = None;
    // Their places too: a list that was cleared keeps them.
    execution.spec.pre_conditions = Vec::new();
    execution.spec.post_conditions = Vec::new();
}

/// The resourceVersion as a number: they can be compared, by Kubernetes' own promise since 1.35 and in fact before.
pub fn version(execution: &KubernetesExecution) -> u64 {
    execution.metadata.resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or_default()
}
