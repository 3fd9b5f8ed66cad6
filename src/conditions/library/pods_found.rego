# The target has at least one pod.
package conditions.pods_found

default allow := false

allow if count(input.related.pods) > 0

reasons contains "it has no pods" if count(input.related.pods) == 0
