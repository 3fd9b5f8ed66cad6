# The Deployment's own controller says that it is available, has seen the present spec, has all pods updated and available, and
# none left of an earlier one.
package conditions.deployment_health_check

import data.conditions.lib

default allow := false

available if {
	some condition in input.target.status.conditions
	condition.type == "Available"
	condition.status == "True"
}

allow if {
	lib.observed(input.target)
	available
	lib.status(input.target, "updatedReplicas") == lib.desired(input.target)
	lib.status(input.target, "replicas") == lib.desired(input.target)
	lib.status(input.target, "availableReplicas") == lib.desired(input.target)
}

reasons contains "it is not available" if not available

reasons contains sprintf("of %d pods %d are updated, %d available, and there are %d", [lib.desired(input.target), lib.status(input.target, "updatedReplicas"), lib.status(input.target, "availableReplicas"), lib.status(input.target, "replicas")]) if not allow
