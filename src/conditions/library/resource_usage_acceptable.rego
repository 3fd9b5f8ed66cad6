# Each running pod of the target uses at most nine tenths of its CPU and memory limits, by metrics.k8s.io, which must have looked
# at all of them. What has no limit does not count.
package conditions.resource_usage_acceptable

default allow := false

most := 0.9

high contains [one.pod, what, one.usage[what], one.limits[what]] if {
	some one in input.related.usage
	some what in ["cpu", "memory"]
	one.limits[what] > 0
	one.usage[what] > most * one.limits[what]
}

unknown := [one.pod | some one in input.related.usage; one.usage == null]

allow if {
	count(input.related.usage) > 0
	count(unknown) == 0
	count(high) == 0
}

reasons contains sprintf("pod %s uses %v %s of %v", [one[0], one[2], one[1], one[3]]) if some one in high

reasons contains sprintf("there are no metrics of pod %s yet", [pod]) if some pod in unknown

reasons contains "it has no running pods" if count(input.related.usage) == 0
