# Another node is ready and not cordoned: this is not the last one.
package conditions.other_node_schedulable

default allow := false

others := [node.name |
	some node in input.related.nodes
	node.name != input.target.metadata.name
	node.ready
	not node.unschedulable
]

allow if count(others) > 0

reasons contains "no other node is ready and schedulable" if not allow
