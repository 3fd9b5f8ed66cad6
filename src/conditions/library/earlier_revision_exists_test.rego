package conditions.earlier_revision_exists_test

import data.conditions.earlier_revision_exists

revisions(parameters, numbers) := {"parameters": parameters, "related": {"revisions": [{"name": sprintf("web-%d", [number]), "number": number, "current": number == 3} | some number in numbers]}}

test_holds if earlier_revision_exists.allow with input as revisions({}, [3, 2])

test_only_the_present_one if not earlier_revision_exists.allow with input as revisions({}, [3])

test_the_one_that_is_asked_for if earlier_revision_exists.allow with input as revisions({"toRevision": 1}, [3, 2, 1])

test_one_that_is_not_there if {
	not earlier_revision_exists.allow with input as revisions({"toRevision": 1}, [3, 2])
	"there are the revisions [3, 2]" in earlier_revision_exists.reasons with input as revisions({"toRevision": 1}, [3, 2])
}

test_by_name if earlier_revision_exists.allow with input as revisions({"toRevisionName": "web-2"}, [3, 2])
