# No rollout is under way: the present spec was observed, all pods are of it, none is left of an earlier one, and all are available.
package conditions.rollout_settled

import data.conditions.lib

default allow := false

desired := lib.desired(input.target)

allow if {
	lib.observed(input.target)
	lib.updated(input.target) == desired
	lib.status(input.target, "replicas") == desired
	lib.status(input.target, "availableReplicas") >= desired
}

reasons contains "its controller has not observed the present spec yet" if not lib.observed(input.target)

reasons contains sprintf("of %d pods %d are updated, %d available, and there are %d", [desired, lib.updated(input.target), lib.status(input.target, "availableReplicas"), lib.status(input.target, "replicas")]) if {
	not allow
	lib.observed(input.target)
}
