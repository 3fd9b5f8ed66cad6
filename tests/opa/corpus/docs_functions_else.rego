package functions

severity(pod) := "critical" if {
	pod.restarts > 5
} else := "warning" if {
	not pod.ready
} else := "ok"

severities := {pod.name: severity(pod) | some pod in input.related.pods}

order := {"ok": 0, "warning": 1, "critical": 2}

highest := max([order[s] | some s in severities])

mixed(x, y) := z if {
	z := {"sum": x + y, "product": x * y, "power": x % y}
}

numbers_ := mixed(7, 3)
