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

test_gone if {
	gone := {"parameters": {"replicas": 3}, "target": null}
	not desired_replicas_running.allow with input as gone
	"it is gone" in desired_replicas_running.reasons with input as gone
}
