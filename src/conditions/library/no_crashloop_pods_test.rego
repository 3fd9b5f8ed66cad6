package conditions.no_crashloop_pods_test

import data.conditions.no_crashloop_pods

import data.conditions.fixtures

pods(container) := {"related": {"pods": [fixtures.pod(container)]}}

test_holds if no_crashloop_pods.allow with input as pods({})

test_one_restart_long_ago if no_crashloop_pods.allow with input as pods({"restarts": 7})

test_backing_off if {
	broken := pods({"ready": false, "restarts": 3, "reason": "CrashLoopBackOff", "lastReason": "Error"})
	not no_crashloop_pods.allow with input as broken
	"container app of pod web-1 was restarted 3 times (Error)" in no_crashloop_pods.reasons with input as broken
}

test_between_two_crashes if not no_crashloop_pods.allow with input as pods({"ready": false, "restarts": 2})

test_a_pod_that_has_ended_does_not_count if no_crashloop_pods.allow with input as {"related": {"pods": [object.union(fixtures.pod({"ready": false, "restarts": 3}), {"phase": "Failed"})]}}

test_a_pod_that_goes_does_not_count if no_crashloop_pods.allow with input as {"related": {"pods": [object.union(fixtures.pod({"reason": "CrashLoopBackOff"}), {"terminating": true})]}}
