//! The API types: what a person writes, and what the controller answers. `controller/crds/` is generated from them.

pub mod execution;
pub mod metadata;
pub mod phase;
pub mod schema;
pub mod status;
mod stored;

pub use execution::{ActionSpec, KubernetesExecution, KubernetesExecutionSpec, TargetSpec};
pub use phase::{Phase, Reason};
pub use status::{Attempt, Condition, ExecutionResult, KubernetesExecutionStatus};
pub use stored::Stored;

/// The prefix of our labels and annotations, and the API group.
pub const GROUP: &str = "kubernetesexecution.kubernaut.io";
/// The finalizer: an execution goes only when what became of it is recorded.
pub const FINALIZER: &str = "kubernetesexecution.kubernaut.io/audit";
/// Annotation of an execution: the W3C trace context that its runner takes part in.
pub const TRACEPARENT: &str = "kubernetesexecution.kubernaut.io/traceparent";
/// Annotation of an execution: the user who created it, where an admission policy stamps that.
pub const CREATED_BY: &str = "kubernetesexecution.kubernaut.io/created-by";
/// Label of all that the controller makes.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Its value.
pub const MANAGER: &str = "execution-controller";
