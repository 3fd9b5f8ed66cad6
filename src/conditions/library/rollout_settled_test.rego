package conditions.rollout_settled_test

import data.conditions.rollout_settled

import data.conditions.fixtures

test_holds if rollout_settled.allow with input as fixtures.deployment(3, fixtures.healthy(3))

test_under_way if {
	under_way := fixtures.deployment(3, object.union(fixtures.healthy(3), {"updatedReplicas": 1}))
	not rollout_settled.allow with input as under_way
	"of 3 pods 1 are updated, 3 available, and there are 3" in rollout_settled.reasons with input as under_way
}

test_an_old_pod_is_left if not rollout_settled.allow with input as fixtures.deployment(3, object.union(fixtures.healthy(3), {"replicas": 4}))

test_a_replica_set if rollout_settled.allow with input as {"target": {"kind": "ReplicaSet", "metadata": {"generation": 1}, "spec": {"replicas": 2}, "status": {"observedGeneration": 1, "replicas": 2, "readyReplicas": 2, "availableReplicas": 2}}}

test_not_observed if not rollout_settled.allow with input as fixtures.deployment(3, object.union(fixtures.healthy(3), {"observedGeneration": 1}))

daemon(ready) := {"target": {"kind": "DaemonSet", "metadata": {"generation": 1}, "spec": {}, "status": {"observedGeneration": 1, "desiredNumberScheduled": 3, "currentNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": ready}}}

test_a_daemon_set if rollout_settled.allow with input as daemon(3)

test_an_unready_daemon_set if not rollout_settled.allow with input as daemon(2)
