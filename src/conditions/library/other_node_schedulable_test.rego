package conditions.other_node_schedulable_test

import data.conditions.other_node_schedulable

import data.conditions.fixtures

nodes(all) := {"target": {"metadata": {"name": "a"}}, "related": {"nodes": all}}

test_holds if other_node_schedulable.allow with input as nodes([fixtures.node("a", 1, 0), fixtures.node("b", 1, 0)])

test_the_last_one if not other_node_schedulable.allow with input as nodes([fixtures.node("a", 1, 0), object.union(fixtures.node("b", 1, 0), {"ready": false})])
