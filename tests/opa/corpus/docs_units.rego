package units_

cpu := [units.parse("250m"), units.parse("4"), units.parse("1k")]

memory := [units.parse_bytes("64Mi"), units.parse_bytes("2Gi"), units.parse_bytes("1KB")]

total := sum([units.parse_bytes(c.resources.limits.memory) | some c in input.target.spec.template.spec.containers])

fits contains node.name if {
	some node in input.related.nodes
	node.ready
	node.allocatable.memory - node.requested.memory >= total
}
