package capacity

default allow := false

more := input.parameters.replicas - object.get(input.target.spec, "replicas", 1)

request := units.parse(input.target.spec.template.spec.containers[0].resources.requests.cpu)

room[node.name] := n if {
	some node in input.related.nodes
	node.ready
	n := floor((node.allocatable.cpu - node.requested.cpu) / request)
}

allow if sum([n | some n in room]) >= more

reasons contains sprintf("%d more, room for %v", [more, room]) if not allow
