package conditions.resource_usage_acceptable_test

import data.conditions.resource_usage_acceptable

usage(memory) := {"related": {"usage": [{"pod": "web-1", "usage": {"cpu": 0.1, "memory": memory}, "limits": {"cpu": null, "memory": 100}}]}}

test_holds if resource_usage_acceptable.allow with input as usage(90)

test_too_much if {
	not resource_usage_acceptable.allow with input as usage(91)
	"pod web-1 uses 91 memory of 100" in resource_usage_acceptable.reasons with input as usage(91)
}

test_no_pods if not resource_usage_acceptable.allow with input as {"related": {"usage": []}}

test_no_metrics_of_one_yet if {
	one := {"pod": "web-2", "usage": null, "limits": {"cpu": null, "memory": 100}}
	both := {"related": {"usage": array.concat(usage(50).related.usage, [one])}}
	not resource_usage_acceptable.allow with input as both
	"there are no metrics of pod web-2 yet" in resource_usage_acceptable.reasons with input as both
}
