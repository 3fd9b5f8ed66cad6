package comprehensions

by_node[node] := names if {
	some pod in input.related.pods
	node := pod.node
	names := [p.name | some p in input.related.pods; p.node == node]
}

restarts := {pod.name: pod.restarts | some pod in input.related.pods}

total := sum([r | some r in restarts])

worst := max([pod.restarts | some pod in input.related.pods])

unready := {pod.name | some pod in input.related.pods; not pod.ready}

pairs := {[a, b] | some a in unready; some b in unready; a != b}
