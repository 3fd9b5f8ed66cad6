package gatekeeper.capabilities

disallowed(container) := {c | some c in container.securityContext.capabilities.add} - {"NET_BIND_SERVICE"}

not_dropped contains container.name if {
	some container in input.target.spec.template.spec.containers
	not "ALL" in object.get(container, ["securityContext", "capabilities", "drop"], [])
}

violation contains msg if {
	some container in input.target.spec.template.spec.containers
	count(disallowed(container)) > 0
	msg := sprintf("container <%v> adds %v", [container.name, disallowed(container)])
}
