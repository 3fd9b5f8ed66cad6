package conditions.target_exists_test

import data.conditions.target_exists

test_holds if target_exists.allow with input as {"target": {"metadata": {"name": "web"}}}

test_gone if {
	not target_exists.allow with input as {"target": null}
	"there is no such object" in target_exists.reasons with input as {"target": null}
}

test_being_deleted if not target_exists.allow with input as {"target": {"metadata": {"name": "web", "deletionTimestamp": "2026-01-01T00:00:00Z"}}}
