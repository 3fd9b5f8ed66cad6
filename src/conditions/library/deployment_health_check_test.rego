package conditions.deployment_health_check_test

import data.conditions.deployment_health_check

import data.conditions.fixtures

test_holds if deployment_health_check.allow with input as fixtures.deployment(3, fixtures.healthy(3))

test_not_available if {
	broken := fixtures.deployment(3, object.union(fixtures.healthy(3), {"conditions": [{"type": "Available", "status": "False"}]}))
	not deployment_health_check.allow with input as broken
	"it is not available" in deployment_health_check.reasons with input as broken
}

test_an_old_pod_is_left if not deployment_health_check.allow with input as fixtures.deployment(3, object.union(fixtures.healthy(3), {"replicas": 4}))

test_old_pods if not deployment_health_check.allow with input as fixtures.deployment(3, object.union(fixtures.healthy(3), {"updatedReplicas": 2}))
