# There is a revision to roll back to: the one that is asked for, or else any but the present one.
package conditions.earlier_revision_exists

default allow := false

earlier := [one | some one in input.related.revisions; not one.current]

allow if {
	not input.parameters.toRevision
	not input.parameters.toRevisionName
	count(earlier) > 0
}

allow if {
	some one in input.related.revisions
	one.number == input.parameters.toRevision
}

allow if {
	some one in input.related.revisions
	one.name == input.parameters.toRevisionName
}

reasons contains sprintf("there are the revisions %v", [[one.number | some one in input.related.revisions]]) if not allow
