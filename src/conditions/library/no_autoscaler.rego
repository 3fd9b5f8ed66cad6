# No HorizontalPodAutoscaler sets the target's replicas.
package conditions.no_autoscaler

default allow := false

allow if count(input.related.autoscalers) == 0

reasons contains sprintf("HorizontalPodAutoscaler %s sets its replicas (%d to %d)", [one.name, one.minReplicas, one.maxReplicas]) if some one in input.related.autoscalers
