package conditions.no_unschedulable_pods_test

import data.conditions.no_unschedulable_pods

import data.conditions.fixtures

pods(why) := {"related": {"pods": [object.union(fixtures.pod({}), {"unschedulable": why})]}}

test_holds if no_unschedulable_pods.allow with input as pods("")

test_fails if {
	not no_unschedulable_pods.allow with input as pods("0/3 nodes")
	"pod web-1: 0/3 nodes" in no_unschedulable_pods.reasons with input as pods("0/3 nodes")
}
