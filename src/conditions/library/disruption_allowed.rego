# Every PodDisruptionBudget of the target's pods allows at least one eviction now.
package conditions.disruption_allowed

default allow := false

blocking := [budget | some budget in input.related.disruptionBudgets; budget.disruptionsAllowed < 1]

allow if count(blocking) == 0

reasons contains sprintf("PodDisruptionBudget %s allows no eviction: %d of %d pods are healthy, %d must be", [one.name, one.currentHealthy, one.expectedPods, one.desiredHealthy]) if some one in blocking
