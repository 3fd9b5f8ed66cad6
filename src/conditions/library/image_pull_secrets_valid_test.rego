package conditions.image_pull_secrets_valid_test

import data.conditions.image_pull_secrets_valid

secrets(exists) := {"related": {"pullSecrets": [{"name": "registry", "exists": exists}]}}

test_holds if image_pull_secrets_valid.allow with input as secrets(true)

test_none_are_named if image_pull_secrets_valid.allow with input as {"related": {"pullSecrets": []}}

test_missing if {
	not image_pull_secrets_valid.allow with input as secrets(false)
	"there is no Secret registry" in image_pull_secrets_valid.reasons with input as secrets(false)
}
