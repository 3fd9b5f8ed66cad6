package gatekeeper.allowedrepos

import rego.v1

violation contains {"msg": msg} if {
	container := input.target.spec.template.spec.containers[_]
	not strings.any_prefix_match(container.image, input.parameters.repos)
	msg := sprintf("container <%v> has an invalid image repo <%v>, allowed repos are %v", [container.name, container.image, input.parameters.repos])
}

violation contains {"msg": msg} if {
	container := input.target.spec.template.spec.initContainers[_]
	not strings.any_prefix_match(container.image, input.parameters.repos)
	msg := sprintf("initContainer <%v> has an invalid image repo <%v>", [container.name, container.image])
}
