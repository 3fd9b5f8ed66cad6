# The other nodes that are ready, not cordoned and not tainted have room for this node's pods, by the sums of their
# requests (no packing). DaemonSets' pods and those that have ended do not count.
package conditions.other_nodes_have_room

import data.conditions.lib

default allow := false

leaving := [pod |
	some pod in input.related.pods
	not pod.controllerKind in ["DaemonSet", "Node"]
	not pod.phase in ["Succeeded", "Failed"]
]

others := [node |
	some node in lib.fitting(input.related.nodes, {})
	node.name != input.target.metadata.name
]

free(what) := sum([max([0, node.allocatable[what] - node.requested[what]]) | some node in others])

asked := {"cpu": sum([pod.requests.cpu | some pod in leaving]), "memory": sum([pod.requests.memory | some pod in leaving]), "pods": count(leaving)}

allow if {
	every what, amount in asked {
		amount <= free(what) + lib.tiny
	}
}

reasons contains sprintf("its pods ask for %v %s, and the other nodes have %v free", [lib.shown(amount), what, lib.shown(free(what))]) if {
	some what, amount in asked
	amount > free(what) + lib.tiny
}
