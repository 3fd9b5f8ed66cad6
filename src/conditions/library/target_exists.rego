# The target is there and is not being deleted.
package conditions.target_exists

default allow := false

allow if {
	input.target.metadata.name
	not input.target.metadata.deletionTimestamp
}

reasons contains "there is no such object" if not input.target.metadata.name

reasons contains sprintf("it is being deleted since %s", [input.target.metadata.deletionTimestamp])
