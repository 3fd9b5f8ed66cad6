# The target is a Deployment that is there and is not being deleted.
package conditions.deployment_exists

default allow := false

allow if {
	input.target.kind == "Deployment"
	not input.target.metadata.deletionTimestamp
}

reasons contains sprintf("the target is a %s", [input.target.kind]) if input.target.kind != "Deployment"

reasons contains "there is no such object" if not input.target.kind

reasons contains sprintf("it is being deleted since %s", [input.target.metadata.deletionTimestamp])
