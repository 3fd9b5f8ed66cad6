package conditions.node_schedulable_test

import data.conditions.node_schedulable

node(ready, spec) := {"target": {"spec": spec, "status": {"conditions": [{"type": "Ready", "status": ready}]}}}

test_holds if node_schedulable.allow with input as node("True", {})

test_cordoned if {
	not node_schedulable.allow with input as node("True", {"unschedulable": true})
	"it is cordoned" in node_schedulable.reasons with input as node("True", {"unschedulable": true})
}

test_not_ready if not node_schedulable.allow with input as node("Unknown", {})
