# No node refuses a pod of the target.
package conditions.no_unschedulable_pods

import data.conditions.lib

default allow := false

refused := [pod | some pod in input.related.pods; pod.unschedulable != ""; lib.counts(pod)]

allow if count(refused) == 0

reasons contains sprintf("pod %s: %s", [pod.name, pod.unschedulable]) if some pod in refused
