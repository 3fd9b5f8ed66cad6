package gatekeeper.ports

ports[name] := numbers if {
	some container in input.target.spec.template.spec.containers
	name := container.name
	numbers := {port.containerPort | some port in container.ports}
}

host_ports := [p | p := input.target.spec.template.spec.containers[_].ports[_].hostPort]

in_range if {
	every port in host_ports {
		port >= 8000
		port <= 9000
	}
}
