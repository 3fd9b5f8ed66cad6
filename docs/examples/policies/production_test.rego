package action.policy_test

import data.action.policy

scale(namespace, weekday, hour, from, to) := {
	"action": {"type": "scale-deployment", "verb": "scale", "kind": "Deployment", "namespace": namespace},
	"parameters": {"replicas": to},
	"target": {"spec": {"replicas": from}},
	"now": {"weekday": weekday, "hour": hour},
}

test_a_quiet_tuesday if count(policy.deny) == 0 with input as scale("shop", "Tuesday", 10, 2, 4)

test_kube_system if "kube-system is not touched by machines" in policy.deny with input as scale("kube-system", "Tuesday", 10, 2, 4)

test_late if "23:00 UTC on a Tuesday is not the time for a scale" in policy.deny with input as scale("shop", "Tuesday", 23, 2, 4)

test_early if count(policy.deny) == 1 with input as scale("shop", "Tuesday", 5, 2, 4)

test_weekend if count(policy.deny) == 1 with input as scale("shop", "Sunday", 10, 2, 4)

test_logs_may_be_collected_at_night if count(policy.deny) == 0 with input as {"action": {"verb": "collect-logs", "namespace": "shop"}, "now": {"weekday": "Sunday", "hour": 3}}

test_more_than_twice if "from 2 to 5 replicas is more than twice as many" in policy.deny with input as scale("shop", "Tuesday", 10, 2, 5)
