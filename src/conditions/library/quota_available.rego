# The namespace's quotas leave room for the pods that a scale adds: their number, CPU and memory requests. Quotas with scopes
# are not looked at; they hold only for some pods.
package conditions.quota_available

import data.conditions.lib

default allow := false

needed := lib.added(input.parameters, input.target)

per_pod := {
	"pods": 1,
	"count/pods": 1,
	"requests.cpu": input.related.podRequests.cpu,
	"cpu": input.related.podRequests.cpu,
	"requests.memory": input.related.podRequests.memory,
	"memory": input.related.podRequests.memory,
}

allow if count(exceeded) == 0

exceeded contains [quota.name, resource, lib.shown(quota.hard[resource] - object.get(quota.used, resource, 0)), lib.shown(needed * amount)] if {
	some quota in input.related.quotas
	not quota.scoped
	some resource, amount in per_pod
	needed * amount > (quota.hard[resource] - object.get(quota.used, resource, 0)) + lib.tiny
}

reasons contains sprintf("quota %s leaves %v of %s, and %v more is needed", [one[0], one[2], one[1], one[3]]) if some one in exceeded
