package gatekeeper.privileged

violation contains {"msg": msg, "details": {}} if {
	some c in input_containers
	c.securityContext.privileged
	not is_exempt(c)
	msg := sprintf("Privileged container is not allowed: %v, securityContext: %v", [c.name, c.securityContext])
}

input_containers contains c if some c in input.target.spec.template.spec.containers

input_containers contains c if some c in input.target.spec.template.spec.initContainers

is_exempt(container) if {
	exempt := input.parameters.exempt[_]
	endswith(exempt, "*")
	startswith(container.image, trim_suffix(exempt, "*"))
}
