package conditions.no_autoscaler_test

import data.conditions.no_autoscaler

test_holds if no_autoscaler.allow with input as {"related": {"autoscalers": []}}

test_one if {
	one := {"related": {"autoscalers": [{"name": "web", "minReplicas": 2, "maxReplicas": 5}]}}
	not no_autoscaler.allow with input as one
	"HorizontalPodAutoscaler web sets its replicas (2 to 5)" in no_autoscaler.reasons with input as one
}
