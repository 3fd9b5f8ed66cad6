package gatekeeper.containerlimits

import rego.v1

missing(obj, field) if not obj[field]

missing(obj, field) if obj[field] == ""

canonify_cpu(orig) := orig * 1000 if is_number(orig)

canonify_cpu(orig) := to_number(replace(orig, "m", "")) if {
	not is_number(orig)
	endswith(orig, "m")
}

canonify_cpu(orig) := to_number(orig) * 1000 if {
	not is_number(orig)
	not endswith(orig, "m")
	regex.match(`^[0-9]+(\.[0-9]+)?$`, orig)
}

mem_multiple("Ki") := 1024

mem_multiple("Mi") := 1048576

mem_multiple("Gi") := 1073741824

canonify_mem(orig) := to_number(replace(orig, suffix, "")) * mem_multiple(suffix) if {
	suffix := substring(orig, count(orig) - 2, -1)
	mem_multiple(suffix)
}

violation contains {"msg": msg} if {
	container := input.target.spec.template.spec.containers[_]
	limit := container.resources.limits.cpu
	canonify_cpu(limit) > canonify_cpu(input.parameters.cpu)
	msg := sprintf("container <%v> cpu limit <%v> is higher than the maximum allowed of <%v>", [container.name, limit, input.parameters.cpu])
}

violation contains {"msg": msg} if {
	container := input.target.spec.template.spec.containers[_]
	limit := container.resources.limits.memory
	canonify_mem(limit) > canonify_mem(input.parameters.memory)
	msg := sprintf("container <%v> memory limit <%v> is higher than the maximum allowed of <%v>", [container.name, limit, input.parameters.memory])
}

violation contains {"msg": msg} if {
	container := input.target.spec.template.spec.containers[_]
	missing(container.resources.limits, "cpu")
	msg := sprintf("container <%v> has no cpu limit", [container.name])
}
