package main

import rego.v1

name := input.target.metadata.name

required_deployment_selectors if {
	input.target.spec.selector.matchLabels.app
	input.target.spec.template.metadata.labels.app
}

deny contains msg if {
	input.target.kind == "Deployment"
	not input.target.spec.template.spec.securityContext.runAsNonRoot
	msg := sprintf("Containers must not run as root in Deployment %s", [name])
}

deny contains msg if {
	input.target.kind == "Deployment"
	not required_deployment_selectors
	msg := sprintf("Deployment %s must provide app/release labels for pod selectors", [name])
}

warn contains msg if {
	some container in input.target.spec.template.spec.containers
	[_, tag] := split(container.image, ":")
	tag == "latest"
	msg := sprintf("container %q uses latest", [container.name])
}
