# As many pods as the target should have are ready; after a scale, as many as were asked for.
package conditions.desired_replicas_running

import data.conditions.lib

default allow := false

wanted := object.get(input.parameters, "replicas", lib.desired(input.target))

ready := lib.status(input.target, "readyReplicas")

allow if {
	lib.observed(input.target)
	lib.desired(input.target) == wanted
	ready == wanted
}

reasons contains sprintf("%d of %d pods are ready", [ready, wanted]) if not allow

reasons contains sprintf("it should have %d pods by now, not %d", [lib.desired(input.target), wanted]) if lib.desired(input.target) != wanted

reasons contains "it is gone" if not input.target.metadata.name
