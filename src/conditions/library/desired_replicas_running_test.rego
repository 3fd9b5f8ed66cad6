package conditions.desired_replicas_running_test

import data.conditions.desired_replicas_running

import data.conditions.fixtures

scaled(spec, ready) := object.union(fixtures.deployment(spec, fixtures.healthy(ready)), {"parameters": {"replicas": 3}})

test_holds if desired_replicas_running.allow with input as scaled(3, 3)

test_fewer_are_ready if {
	not desired_replicas_running.allow with input as scaled(3, 2)
	"2 of 3 pods are ready" in desired_replicas_running.reasons with input as scaled(3, 2)
}

test_somebody_else_scaled_it if not desired_replicas_running.allow with input as scaled(2, 2)

test_without_a_number_of_its_own if desired_replicas_running.allow with input as object.union(fixtures.deployment(2, fixtures.healthy(2)), {"parameters": {}})

test_to_zero if desired_replicas_running.allow with input as {"parameters": {"replicas": 0}, "target": {"kind": "Deployment", "metadata": {}, "spec": {"replicas": 0}, "status": {"observedGeneration": 1}}}

# The one pod that is ready is of before: the new one never comes up.
test_an_old_pod_is_no_new_one if {
	old := {"parameters": {}, "target": {"kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 1}, "status": {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 1, "readyReplicas": 1}}}
	not desired_replicas_running.allow with input as old
	"1 of 1 pods are of its present template, and there are 2" in desired_replicas_running.reasons with input as old
	paused := object.union(old, {"target": {"spec": {"replicas": 1, "paused": true}}})
	desired_replicas_running.allow with input as paused
}

# Three pods that are ready, of which one is of the present template.
partly(strategy) := {"parameters": {}, "target": {
	"kind": "StatefulSet",
	"metadata": {"name": "db"},
	"spec": {"replicas": 3, "updateStrategy": strategy},
	"status": {"observedGeneration": 1, "replicas": 3, "updatedReplicas": 1, "readyReplicas": 3},
}}

test_in_the_middle_of_a_rollout if not desired_replicas_running.allow with input as partly({"type": "RollingUpdate"})

test_old_ones_by_a_partition if desired_replicas_running.allow with input as partly({"type": "RollingUpdate", "rollingUpdate": {"partition": 2}})

test_old_ones_until_they_are_deleted if desired_replicas_running.allow with input as partly({"type": "OnDelete"})

test_gone if {
	gone := {"parameters": {"replicas": 3}, "target": null}
	not desired_replicas_running.allow with input as gone
	"it is gone" in desired_replicas_running.reasons with input as gone
}
