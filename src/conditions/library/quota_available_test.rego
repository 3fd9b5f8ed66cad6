package conditions.quota_available_test

import data.conditions.quota_available

import data.conditions.fixtures

quota(pods, cpu) := object.union(fixtures.scale(1, 3, []), {"related": {"quotas": [{"name": "q", "hard": {"pods": 5, "requests.cpu": 4}, "used": {"pods": pods, "requests.cpu": cpu}, "scoped": false}]}})

test_holds if quota_available.allow with input as quota(3, 2)

test_too_many_pods if {
	not quota_available.allow with input as quota(4, 2)
	"quota q leaves 1 of pods, and 2 more is needed" in quota_available.reasons with input as quota(4, 2)
}

test_too_much_cpu if not quota_available.allow with input as quota(1, 3)

tenths := object.union(fixtures.scale(0, 3, []), {"related": {"podRequests": {"cpu": 0.1, "memory": 0}, "quotas": [{"name": "q", "hard": {"requests.cpu": 0.3}, "used": {}, "scoped": false}]}})

test_exactly_as_much_as_there_is if quota_available.allow with input as tenths

test_a_quota_for_some_pods_only if quota_available.allow with input as object.union(fixtures.scale(1, 9, []), {"related": {"quotas": [{"name": "q", "hard": {"pods": 1}, "used": {}, "scoped": true}]}})

test_no_quota if quota_available.allow with input as object.union(fixtures.scale(1, 3, []), {"related": {"quotas": []}})
