package conditions.disruption_allowed_test

import data.conditions.disruption_allowed

budget(allowed) := {"related": {"disruptionBudgets": [{"name": "web", "disruptionsAllowed": allowed, "currentHealthy": 2, "desiredHealthy": 2, "expectedPods": 2}]}}

test_holds if disruption_allowed.allow with input as budget(1)

test_no_budget if disruption_allowed.allow with input as {"related": {"disruptionBudgets": []}}

test_blocked if {
	not disruption_allowed.allow with input as budget(0)
	"PodDisruptionBudget web allows no eviction: 2 of 2 pods are healthy, 2 must be" in disruption_allowed.reasons with input as budget(0)
}
