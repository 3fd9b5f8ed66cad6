package graph_

edges := {node.id: {n | some n in node.next} | some node in input.network}

reachable := graph.reachable(edges, {"a"})

alone := graph.reachable(edges, {"c"})

paths contains p if {
	walk(input.parameters, [p, value])
	value == "1Gi"
}

leaves := count([1 | walk(input.network, [_, value]); is_string(value)])
