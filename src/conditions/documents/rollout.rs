//! Checks whether a workload's controller has acted on a change: until then the pods are the old ones.

use actions::k8s::Kind;
use actions::workload::Workload;
use serde_json::Value;

/// Returns why a workload's state does not show the change yet, if so: its controller has not seen the change, or has
/// not made all the pods.
pub fn pending(kind: Option<Kind>, object: &Value) -> Option<String> {
    let kind = kind.filter(|kind| {
        matches!(
            kind,
            Kind::Deployment | Kind::StatefulSet | Kind::DaemonSet | Kind::ReplicaSet | Kind::ReplicationController
        )
    })?;
    // The workload is gone: there is nothing to wait for.
    object.get("metadata")?;
    let seen = Workload::read(kind, object);
    if !seen.has_observed(seen.generation) {
        return Some("its controller has not seen the change yet".to_owned());
    }
    let made = if matches!(kind, Kind::ReplicaSet | Kind::ReplicationController) { seen.total } else { seen.updated };
    // Below a StatefulSet's partition nothing is updated.
    let expected = (seen.desired - seen.partition).max(0);
    (made < expected).then(|| format!("its controller has made {made} of {expected} pods yet"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn object(generation: i64, spec: Value, mut status: Value) -> Value {
        status["observedGeneration"] = json!(2);
        json!({ "metadata": { "generation": generation }, "spec": spec, "status": status })
    }

    #[rstest]
    #[case::not_seen(Kind::Deployment, object(3, json!({ "replicas": 2 }), json!({ "updatedReplicas": 2 })), true)]
    #[case::not_made(Kind::Deployment, object(2, json!({ "replicas": 2 }), json!({ "updatedReplicas": 1, "replicas": 3 })), true)]
    #[case::made(Kind::Deployment, object(2, json!({ "replicas": 2 }), json!({ "updatedReplicas": 2 })), false)]
    #[case::to_zero(Kind::Deployment, object(2, json!({ "replicas": 0 }), json!({})), false)]
    #[case::replica_set(Kind::ReplicaSet, object(2, json!({ "replicas": 2 }), json!({ "replicas": 2 })), false)]
    #[case::partition(Kind::StatefulSet, object(2, json!({ "replicas": 3, "updateStrategy": { "rollingUpdate": { "partition": 2 } } }), json!({ "updatedReplicas": 1 })), false)]
    #[case::daemon_set(Kind::DaemonSet, object(2, json!({}), json!({ "desiredNumberScheduled": 3, "updatedNumberScheduled": 2 })), true)]
    #[case::node(Kind::Node, object(9, json!({}), json!({})), false)]
    #[case::gone(Kind::Deployment, Value::Null, false)]
    fn waits_for_the_controller(#[case] kind: Kind, #[case] object: Value, #[case] waits: bool) {
        assert_eq!(pending(Some(kind), &object).is_some(), waits);
    }
}
