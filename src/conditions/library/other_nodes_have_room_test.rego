package conditions.other_nodes_have_room_test

import data.conditions.other_nodes_have_room

import data.conditions.fixtures

nodes(free) := {"target": {"metadata": {"name": "a"}}, "related": {"nodes": [fixtures.node("a", 4, 2), fixtures.node("b", 4, 4 - free)], "pods": [fixtures.pod({}), fixtures.pod({}), object.union(fixtures.pod({}), {"controllerKind": "DaemonSet"})]}}

test_holds if other_nodes_have_room.allow with input as nodes(2)

test_no_room if {
	not other_nodes_have_room.allow with input as nodes(1)
	"its pods ask for 2 cpu, and the other nodes have 1 free" in other_nodes_have_room.reasons with input as nodes(1)
}
