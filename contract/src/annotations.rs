//! The annotations that the runner reads and writes: their keys, in one place.

/// On an object: its owner keeps the runner away (`"true"`).
pub const PROTECTED: &str = "kubernetesexecution.kubernaut.io/protected";
/// On a node: who cordoned it, when and why.
pub const CORDON: &str = "kubernetesexecution.kubernaut.io/cordon";
/// On a workload: the executions that restarted it.
pub const EXECUTIONS_RESTART: &str = "kubernetesexecution.kubernaut.io/executions-restart";
/// On a workload: the executions that rolled it back.
pub const EXECUTIONS_ROLLBACK: &str = "kubernetesexecution.kubernaut.io/executions-rollback";
/// On a workload: the executions of releases up to 0.1, of both verbs, without goals. Read, and not written any more.
pub const EXECUTIONS_0_1: &str = "kubernetesexecution.kubernaut.io/executions";
/// Set by Kubernetes on a workload: the reason for its revision.
pub const CHANGE_CAUSE: &str = "kubernetes.io/change-cause";
/// Set by kubectl on a pod template: the time of its last restart.
pub const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";
