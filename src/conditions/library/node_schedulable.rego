# The node is ready and takes pods.
package conditions.node_schedulable

default allow := false

ready if {
	some condition in input.target.status.conditions
	condition.type == "Ready"
	condition.status == "True"
}

allow if {
	ready
	object.get(input.target.spec, "unschedulable", false) == false
}

reasons contains "it is not ready" if not ready

reasons contains "it is cordoned" if input.target.spec.unschedulable == true
