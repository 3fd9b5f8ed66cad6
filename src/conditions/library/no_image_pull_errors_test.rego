package conditions.no_image_pull_errors_test

import data.conditions.no_image_pull_errors

import data.conditions.fixtures

pods(container) := {"related": {"pods": [fixtures.pod(container)]}}

test_holds if no_image_pull_errors.allow with input as pods({})

test_fails if {
	not no_image_pull_errors.allow with input as pods({"reason": "ImagePullBackOff"})
	"pod web-1: ImagePullBackOff for the image web:1" in no_image_pull_errors.reasons with input as pods({"reason": "ImagePullBackOff"})
}
