package conditions.deployment_exists_test

import data.conditions.deployment_exists

test_holds if deployment_exists.allow with input as {"target": {"kind": "Deployment", "metadata": {"name": "web"}}}

test_another_kind if {
	not deployment_exists.allow with input as {"target": {"kind": "StatefulSet", "metadata": {}}}
	"the target is a StatefulSet" in deployment_exists.reasons with input as {"target": {"kind": "StatefulSet", "metadata": {}}}
}

test_being_deleted if not deployment_exists.allow with input as {"target": {"kind": "Deployment", "metadata": {"deletionTimestamp": "x"}}}
