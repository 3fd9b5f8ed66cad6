# As many pods as the target should have are ready; after a scale, as many as were asked for. Those of an earlier template do not
# count, unless they stay by design: its rollout is paused, or has a partition, or waits for their deletion (OnDelete).
package conditions.desired_replicas_running

import data.conditions.lib

default allow := false

wanted := object.get(input.parameters, "replicas", lib.desired(input.target))

ready := lib.status(input.target, "readyReplicas")

allow if {
	lib.observed(input.target)
	lib.desired(input.target) == wanted
	ready == wanted
	of_present_template
}

of_present_template if not input.target.kind in ["Deployment", "StatefulSet", "DaemonSet"]

of_present_template if object.get(input.target.spec, "paused", false)

of_present_template if input.target.spec.updateStrategy.type == "OnDelete"

of_present_template if input.target.spec.updateStrategy.rollingUpdate.partition > 0

of_present_template if {
	lib.updated(input.target) == wanted
	lib.status(input.target, "replicas") == wanted
}

reasons contains sprintf("%d of %d pods are of its present template, and there are %d", [lib.updated(input.target), wanted, lib.status(input.target, "replicas")]) if not of_present_template

reasons contains sprintf("%d of %d pods are ready", [ready, wanted]) if not allow

reasons contains sprintf("it should have %d pods by now, not %d", [lib.desired(input.target), wanted]) if lib.desired(input.target) != wanted

reasons contains "it is gone" if not input.target.metadata.name
