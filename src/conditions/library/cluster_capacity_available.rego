# The nodes have room for the pods that a scale adds, by their requests. Nodes that are not ready, cordoned, or that the
# pods may not go to do not count; affinity and volumes are not looked at.
package conditions.cluster_capacity_available

import data.conditions.lib

default allow := false

needed := lib.added(input.parameters, input.target)

fitting := lib.fitting(input.related.nodes, input.target.spec.template.spec)

room := sum([lib.copies(node, input.related.podRequests) | some node in fitting])

allow if room >= needed

reasons contains sprintf("%d more pods are asked for, and %d of %d nodes that they may go to have room for %d", [needed, count([node | some node in fitting; lib.copies(node, input.related.podRequests) > 0]), count(fitting), room]) if room < needed
